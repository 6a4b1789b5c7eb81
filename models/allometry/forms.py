"""The forms of allometric equations: a function each, whose argument names are the tree variables and coefficients it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

COEFFICIENTS = ("a", "b", "c", "d", "e", "f")
STEP = 1e-30  # of complex differentiation, which has no rounding error to balance

VARIABLES: dict[str, str] = {
    "dbh_cm": "diameter at breast height, cm",
    "height_m": "total height, m",
    "wood_density_g_cm3": "basic wood density, g/cm3",
    "upper_diameter_cm": "diameter higher up the stem (7 m, 6 m, ...: the equation's source says where), cm",
    "basal_diameter_cm": "diameter at the ground, cm",
    "crown_diameter_m": "mean crown diameter, m",
    "cover_percent": "crown cover of the shrubs that the row stands for, percent",
    "culm_age_du": "age of a bamboo culm, du (1 du: the first year, later two years each)",
    "environment_e": "environmental stress E of Chave et al. 2014, of the site",
    "volume_m3": "stem volume as the tree table gives it, m3",
    "expansion_mg_m3": "biomass per stem volume of the class of the plot's volume, Mg/m3: plots.expansion",
    "agb_kg": "aboveground biomass of the same tree, kg: components that are shares of it",
}
"""What a form may ask of a tree. All but the last two come from the tree table (wood density also from one of its own)."""


@dataclass(frozen=True)
class Form:
    """How an equation computes a quantity of a tree from variables (n,) and coefficients."""

    name: str
    title: str
    variables: tuple[str, ...]
    coefficients: tuple[str, ...]
    formula: Callable[..., np.ndarray]
    positive: tuple[str, ...] = ()

    def value(self, variables: Mapping[str, np.ndarray], coefficients: Mapping[str, np.ndarray | float]) -> np.ndarray:
        """The quantity (n,), in the unit the equation's coefficients are for."""
        with np.errstate(invalid="ignore"):  # what is missing stays missing, which numpy would remark on
            return self.formula(
                *(variables[name] for name in self.variables), **{name: coefficients[name] for name in self.coefficients}
            )

    def derivatives(
        self, variables: Mapping[str, np.ndarray], coefficients: Mapping[str, float]
    ) -> dict[str, np.ndarray]:
        """Derivatives (n,) by each variable and each coefficient: formulas are analytic, so a complex step gives them
        exactly (Squire and Trapp 1998), and a form needs no second function that could contradict the first."""
        found = {}
        for name in self.variables:
            moved = {**variables, name: np.asarray(variables[name], dtype="float64") + 1j * STEP}
            found[name] = np.imag(self.value(moved, coefficients)) / STEP
        for name in self.coefficients:
            moved = {**coefficients, name: complex(coefficients[name], STEP)}
            found[name] = np.imag(self.value(variables, moved)) / STEP
        return found


FORMS: dict[str, Form] = {}
"""The forms by name."""


def form(*, positive: tuple[str, ...] = ()) -> Callable[[Callable], Callable]:
    """Enter a function as a form: positional arguments are tree variables, keyword-only ones coefficients.

    The formula may use arithmetic, powers, `np.exp`, `np.log` and `np.where`, nothing that is not differentiable in between.
    `positive` names coefficients that must be above zero.
    """

    def enter(formula: Callable) -> Callable:
        arguments = inspect.signature(formula).parameters.values()
        variables = tuple(one.name for one in arguments if one.kind is not one.KEYWORD_ONLY)
        coefficients = tuple(one.name for one in arguments if one.kind is one.KEYWORD_ONLY)
        unknown = [name for name in variables if name not in VARIABLES] + [
            name for name in coefficients if name not in COEFFICIENTS
        ]
        if unknown:
            raise ValueError(
                f"form {formula.__name__!r} takes {', '.join(unknown)}; tree variables: {', '.join(VARIABLES)}; "
                f"coefficients: {', '.join(COEFFICIENTS)}"
            )
        title = (formula.__doc__ or "").strip().split("\n")[0]
        FORMS[formula.__name__] = Form(formula.__name__, title, variables, coefficients, formula, positive)
        return formula

    return enter


# ---------------------------------------------------------------- trees by diameter


@form()
def log_d(dbh_cm, *, a, b):
    """ln M = a + b ln D"""
    return np.exp(a + b * np.log(dbh_cm))


@form()
def log10_d(dbh_cm, *, a, b):
    """log10 M = a + b log10 D"""
    return np.exp(np.log(10.0) * a + b * np.log(dbh_cm))


@form()
def log_d_squared(dbh_cm, *, a, b, c):
    """ln M = a + b ln D + c (ln D)^2"""
    return np.exp(a + b * np.log(dbh_cm) + c * np.log(dbh_cm) ** 2)


@form(positive=("a",))
def power_d(dbh_cm, *, a, b):
    """M = a D^b"""
    return a * np.exp(b * np.log(dbh_cm))


@form()
def quadratic_d(dbh_cm, *, a, b, c):
    """M = a + b D + c D^2"""
    return a + b * dbh_cm + c * dbh_cm**2


@form()
def sum_of_powers_d(dbh_cm, *, a, b, c, d, e, f):
    """M = e^a D^b + e^c D^d + e^e D^f: stem, branches and foliage fitted together"""
    log_dbh = np.log(dbh_cm)
    return np.exp(a + b * log_dbh) + np.exp(c + d * log_dbh) + np.exp(e + f * log_dbh)


# ---------------------------------------------------------------- diameter and height


@form()
def log_d2h(dbh_cm, height_m, *, a, b):
    """ln M = a + b ln(D^2 H)"""
    return np.exp(a + b * np.log(dbh_cm**2 * height_m))


@form()
def log_dh(dbh_cm, height_m, *, a, b, c):
    """ln M = a + b ln D + c ln H"""
    return np.exp(a + b * np.log(dbh_cm) + c * np.log(height_m))


@form(positive=("a",))
def power_dh(dbh_cm, height_m, *, a, b, c):
    """M = a D^b H^c"""
    return a * np.exp(b * np.log(dbh_cm) + c * np.log(height_m))


@form()
def linear_d2h(dbh_cm, height_m, *, a, b):
    """M = a + b D^2 H"""
    return a + b * dbh_cm**2 * height_m


# ---------------------------------------------------------------- with wood density


@form()
def rho_d2h(dbh_cm, height_m, wood_density_g_cm3, *, a, b):
    """ln M = a + b ln(rho D^2 H)"""
    return np.exp(a + b * np.log(wood_density_g_cm3 * dbh_cm**2 * height_m))


@form(positive=("a",))
def rho_power_d(dbh_cm, wood_density_g_cm3, *, a, b):
    """M = a rho D^b"""
    return a * wood_density_g_cm3 * np.exp(b * np.log(dbh_cm))


@form(positive=("a",))
def power_rho_dh(dbh_cm, height_m, wood_density_g_cm3, *, a, b, c, d):
    """M = a rho^b D^c H^d"""
    return a * np.exp(b * np.log(wood_density_g_cm3) + c * np.log(dbh_cm) + d * np.log(height_m))


@form()
def environment_rho_d(dbh_cm, wood_density_g_cm3, environment_e, *, a, b, c, d, e):
    """ln M = a + b E + c ln rho + d ln D + e (ln D)^2"""
    log_dbh = np.log(dbh_cm)
    return np.exp(a + b * environment_e + c * np.log(wood_density_g_cm3) + d * log_dbh + e * log_dbh**2)


# ---------------------------------------------------------------- upper diameters, palms, bamboo, shrubs


@form(positive=("a",))
def power_upper_diameter(dbh_cm, upper_diameter_cm, height_m, *, a, b, c, d):
    """M = a D^b D_upper^c H^d"""
    return a * np.exp(b * np.log(dbh_cm) + c * np.log(upper_diameter_cm) + d * np.log(height_m))


@form(positive=("a",))
def power_h(height_m, *, a, b):
    """M = a H^b: palms by the height of their stem"""
    return a * np.exp(b * np.log(height_m))


@form()
def linear_h(height_m, *, a, b):
    """M = a + b H: palms by the height of their stem"""
    return a + b * height_m


@form(positive=("a", "c", "d"))
def culm(dbh_cm, culm_age_du, *, a, b, c, d, e, f):
    """M = a D^b (c A / (d + A))^e + f: bamboo culms of age A"""
    return a * np.exp(b * np.log(dbh_cm) + e * np.log(c * culm_age_du / (d + culm_age_du))) + f


@form(positive=("a",))
def power_basal_diameter(basal_diameter_cm, *, a, b):
    """M = a D0^b: saplings and shrubs by the diameter at the ground"""
    return a * np.exp(b * np.log(basal_diameter_cm))


@form(positive=("a",))
def power_crown(crown_diameter_m, height_m, *, a, b, c):
    """M = a C^b H^c: shrubs one by one, by crown diameter and height"""
    return a * np.exp(b * np.log(crown_diameter_m) + c * np.log(height_m))


@form(positive=("a",))
def power_cover(cover_percent, *, a, b):
    """M = a P^b: kg per hectare of shrubs that cover P percent (their row stands for one hectare: trees_per_ha 1)"""
    return a * np.exp(b * np.log(cover_percent))


# ---------------------------------------------------------------- stem volume


@form(positive=("a",))
def volume(volume_m3, *, a):
    """M = a V: kg per m3 of stem (a conversion and expansion factor of 0.6 t/m3 is 600)"""
    return a * volume_m3


@form(positive=("a",))
def rho_volume(volume_m3, wood_density_g_cm3, *, a):
    """M = 1000 a rho V: stem volume by wood density, a the expansion factor BEF from stem to all that is above ground"""
    return 1000 * a * wood_density_g_cm3 * volume_m3


@form(positive=("a",))
def expanded_volume(volume_m3, expansion_mg_m3, *, a):
    """M = 1000 a BCEF V: stem volume by the factor of the class of the plot's volume (plots.expansion)"""
    return 1000 * a * expansion_mg_m3 * volume_m3


# ---------------------------------------------------------------- components as shares of the whole


@form(positive=("a",))
def share(agb_kg, *, a):
    """M = a AGB"""
    return a * agb_kg


@form()
def share_by_d(agb_kg, dbh_cm, *, a, b):
    """M = AGB exp(a + b / D)"""
    return agb_kg * np.exp(a + b / dbh_cm)


@form()
def rest_of_shares_by_d(agb_kg, dbh_cm, *, a, b, c, d, e, f):
    """M = AGB (1 - exp(a + b / D) - exp(c + d / D) - exp(e + f / D)): what three components leave"""
    return agb_kg * (1 - np.exp(a + b / dbh_cm) - np.exp(c + d / dbh_cm) - np.exp(e + f / dbh_cm))


@form(positive=("a",))
def agb_over_power_dh(agb_kg, dbh_cm, height_m, *, a, b, c):
    """V = AGB / 1000 / (a D^b H^c): stem volume, m3, by a biomass conversion factor, t/m3"""
    return agb_kg / 1000 / (a * np.exp(b * np.log(dbh_cm) + c * np.log(height_m)))


# ---------------------------------------------------------------- the US national system (package nsvb)
# Its own functions and tables are used (diameters in inches, heights in feet, pounds: the table's units say so).


def _nsvb(model: int, dia: np.ndarray, ht: np.ndarray, **coefficients: float) -> np.ndarray:
    from nsvb.models import MODEL_MAP

    return MODEL_MAP[model](dia, ht, **coefficients)


@form(positive=("a",))
def nsvb_schumacher_hall(dbh_cm, height_m, *, a, b, c):
    """NSVB model 1: a D^b H^c"""
    return _nsvb(1, dbh_cm, height_m, a=a, b=b, c=c)


@form(positive=("a",))
def nsvb_segmented(dbh_cm, height_m, *, a, b, c, d, e):
    """NSVB model 2: a D^b H^c below the diameter e, a e^(b - d) D^d H^c from there on"""
    return _nsvb(2, dbh_cm, height_m, a=a, b=b, b1=d, c=c, k=np.real(e))


@form(positive=("a",))
def nsvb_continuously_variable(dbh_cm, height_m, *, a, b, c, d, e):
    """NSVB model 3: a D^(d (1 - exp(-b D))^e) H^c"""
    return _nsvb(3, dbh_cm, height_m, a=a, b=b, c=c, a1=d, c1=e)


@form(positive=("a",))
def nsvb_modified_wiley(dbh_cm, height_m, *, a, b, c, d):
    """NSVB model 4: a D^b H^c exp(-d D)"""
    return _nsvb(4, dbh_cm, height_m, a=a, b=b, c=c, b1=d)
