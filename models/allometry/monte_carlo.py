"""Plot totals and their errors by simulation, with each error drawn for those who share it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.allometry.forms import FORMS, Form
from models.allometry.matching import needs
from models.allometry.totals import (
    CAREFUL_SHARE,
    HeightModels,
    Inventory,
    careful_dbh_sd_cm,
    common_species,
    gross_dbh_sd_cm,
    height_factor_names,
    height_group_names,
    inventory,
    measured_totals,
    shared_equations,
    slugs,
)
from models.allometry.trees import residual_sd, root_of, tree_agb, units_of

if TYPE_CHECKING:
    import pandas as pd

    from models.heights import HeightModel

log = logging.getLogger(__name__)

BLOCK_TREES = 32768  # whole plots, so that no sum crosses blocks and no thread changes a number
DBH_RANGE_CM = (0.1, 500.0)
WOOD_DENSITY_RANGE_G_CM3 = (0.08, 1.39)  # lowest and highest of the Global Wood Density Database
BREAST_HEIGHT_M, HEIGHT_ABOVE_MAX_M = 1.3, 15.0


def plot_totals_monte_carlo(
    trees: pd.DataFrame,
    equations: pd.DataFrame,
    *,
    height_model: HeightModels = None,
    iterations: int = 1000,
    seed: int = 0,
    dbh_sd: Callable[[np.ndarray], np.ndarray] | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """The table of `plot_totals`, with errors of biomass from draws of everything that is uncertain.

    One iteration draws the coefficients of each equation once for all trees that it serves, the error of each height curve and
    the mean wood density of each species once for all trees that share them, the departure of a plot's visit from the
    height curve once for its trees, and for each tree its diameter, height around the curve, wood density and residual.

    Parameters
    ----------
    trees, equations, height_model
        As of `plot_totals`.
    iterations, seed : int
        Draws, and where the random numbers begin. The same seed gives the same numbers with any number of threads.
    dbh_sd : function, optional
        Standard deviation of a measured dbh, cm; by default 95 % of the trees are read carefully and 5 % carry a gross
        error of SD 4.64 cm (at most a quarter of the diameter), other ones in each iteration (Chave et al. 2004).

    Returns
    -------
    DataFrame
        As of `plot_totals`, agb_mg_ha included: the draws give errors, their mean is only logged, since what is cut off
        draws of thin trees and short heights moves it. f_<name>: the regression of the draws on each shared
        source (so that F F' is what the plots' errors have in common, as far as it is linear in the sources), agb_mg_ha_se
        what that leaves. Drawn diameters are kept within 0.1 to 500 cm, wood densities within 0.08 to 1.39 g/cm3, heights
        within 1.3 m and 15 m above the greatest expected one.

    Raises
    ------
    ValueError
        For fewer than 50 iterations, or not ten per shared source.

    References
    ----------
    Rejou-Mechain et al. 2017, doi:10.1111/2041-210X.12753.
    """
    import pandas as pd

    if iterations < 50:
        raise ValueError(f"a Monte Carlo of fewer than 50 iterations tells nothing, got {iterations}")
    stock = inventory(trees, equations, height_model=height_model)
    expected = tree_agb(stock.live, stock.equations, stock.served, derivatives=False)
    out = measured_totals(stock, expected, equations)
    sources = _Sources.of(stock, expected, iterations, seed)
    if iterations < 10 * sources.shared.shape[1]:
        raise ValueError(
            f"{sources.shared.shape[1]} errors are shared between plots; {iterations} iterations cannot tell them apart, "
            f"take at least {10 * sources.shared.shape[1]}"
        )
    drawn = _drawn_totals(stock, sources, iterations, seed, dbh_sd, threads)
    mean = drawn.mean(axis=1)
    centred, shared = drawn - mean[:, None], sources.shared - sources.shared.mean(axis=0)
    factors = np.linalg.lstsq(shared, centred.T, rcond=None)[0] if shared.shape[1] else np.zeros((0, len(out)))
    rest = centred - (shared @ factors).T
    own = np.sqrt((rest**2).sum(axis=1) / (iterations - 1 - shared.shape[1]))
    whole = out["agb_mg_ha"].sum()
    if whole > 0:
        log.info("the mean of the draws lies %+.2f %% from the biomass that is kept", 100 * (np.nansum(mean) / whole - 1))
    out.insert(3, "agb_mg_ha_se", own)
    return pd.concat([out, pd.DataFrame(dict(zip(sources.names, factors, strict=True)), index=out.index)], axis=1)


@dataclass(frozen=True)
class _Sources:
    """What is drawn once per iteration for all who share it: standard normal numbers (iterations, sources), by name.

    coefficients : of each equation, (iterations,) per coefficient
    spreads : of each equation whose spread its trees share, (iterations,)
    heights : errors of the parameters of each height model (iterations, p)
    species : standard normal numbers (iterations, species) of mean wood densities, and each tree's column in it
    """

    names: list[str]
    shared: np.ndarray
    coefficients: dict[int, dict[str, np.ndarray]]
    spreads: dict[int, np.ndarray]
    heights: dict[str, np.ndarray]
    species: np.ndarray
    species_of: np.ndarray

    @classmethod
    def of(cls, stock: Inventory, expected: pd.DataFrame, iterations: int, seed: int) -> _Sources:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(0,))))
        names, columns, coefficients, spreads, heights = [], [], {}, {}, {}
        written = height_group_names(stock)
        for group, model, *_ in stock.modelled_parts():
            z = rng.standard_normal((iterations, len(model.params)))
            heights[group] = z @ root_of(model.covariance).T
            names += height_factor_names(written[group], len(model.params))
            columns.append(z)
        records = stock.equations.to_dict("records")
        for position, labels, uncertain, covariance, spread in shared_equations(stock.equations, stock.served):
            z = rng.standard_normal((iterations, len(labels)))
            moved = z[:, : len(uncertain)] @ root_of(covariance).T
            if spread:
                spreads[position] = z[:, -1]
            coefficients[position] = {
                one: records[position][one] + moved[:, k] for k, one in enumerate(uncertain)
            }
            names += labels
            columns.append(z)
        species, species_of = np.zeros((iterations, 0)), np.zeros(len(stock.live), dtype=int)
        if "wood_density_se" in stock.live and needs(stock.equations, "wood_density_g_cm3"):
            every, species_of = np.unique(stock.live["species"].to_numpy(dtype=str), return_inverse=True)
            species = rng.standard_normal((iterations, len(every)))
            common = common_species(stock.live, stock.weight * expected["agb_kg"].to_numpy())
            names += [f"f_wood_density_{name}" for name in slugs(common).values()]
            columns.append(species[:, np.searchsorted(every, common)] if common else np.zeros((iterations, 0)))
        shared = np.hstack(columns) if columns else np.zeros((iterations, 0))
        return cls(names, shared, coefficients, spreads, heights, species, species_of)


def _drawn_totals(
    stock: Inventory,
    sources: _Sources,
    iterations: int,
    seed: int,
    dbh_sd: Callable[[np.ndarray], np.ndarray] | None,
    threads: int,
) -> np.ndarray:
    """Biomass (plots and dates, iterations), Mg/ha."""
    order = np.argsort(stock.member, kind="stable")
    member = stock.member[order]
    drawn = np.zeros((len(stock.keys), iterations))
    bounds = _blocks(member)

    def one(number: int) -> None:
        rows = order[bounds[number] : bounds[number + 1]]
        block = _Block.of(stock, sources, rows, dbh_sd)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(1, number))))
        here = stock.member[rows]
        starts = np.flatnonzero(np.r_[True, here[1:] != here[:-1]])
        plots = here[starts]
        for k in range(iterations):
            drawn[plots, k] = np.add.reduceat(block.draw(rng, k) * block.weight, starts)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(bounds) - 1)))
    return drawn


def _blocks(member: np.ndarray) -> np.ndarray:
    """Bounds of blocks of whole plots, of about `BLOCK_TREES` trees; they depend on the trees alone."""
    if not len(member):
        return np.zeros(1, dtype=int)
    starts = np.flatnonzero(np.r_[True, member[1:] != member[:-1]])
    chosen = [0]
    for start, end in zip(starts, [*starts[1:], len(member)], strict=True):
        if end - chosen[-1] > BLOCK_TREES and start > chosen[-1]:
            chosen.append(int(start))
    return np.array([*chosen, len(member)])


@dataclass(frozen=True)
class _Thin:
    """Trees of a curve that breast height bears on: positions among them, expected height, share of the lift drawn."""

    chosen: np.ndarray
    height: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class _Curve:
    """Trees of a block whose heights one model gives: positions, and what is drawn around it.

    The curve moves along its derivatives by the parameters (trees, p), not to drawn parameters: those of saturating curves
    are so entangled that normal draws of them leave what the heights allow, while the curve itself is known well.
    """

    model: HeightModel
    chosen: np.ndarray | slice
    params: np.ndarray
    moved: np.ndarray
    shift: np.ndarray
    slopes: np.ndarray
    visit: np.ndarray
    visits: int
    between: np.ndarray
    thin: _Thin
    highest: float


@dataclass(frozen=True)
class _Equation:
    """Trees of a block that one equation serves."""

    form: Form
    row: Mapping[str, Any]
    chosen: np.ndarray | slice
    scale: Mapping[str, float]
    unit: float
    drawn: Mapping[str, np.ndarray]
    spread: np.ndarray | None


@dataclass(frozen=True)
class _Block:
    """Whole plots, ready to be drawn again and again; arrays (trees,) in single precision, sums in double."""

    weight: np.ndarray
    values: Mapping[str, np.ndarray]
    dbh_sd: np.ndarray
    gross_sd: np.ndarray | None
    curves: list[_Curve]
    equations: list[_Equation]
    density_sd: np.ndarray | None
    density_se: np.ndarray | None
    species_of: np.ndarray
    species: np.ndarray

    @classmethod
    def of(cls, stock: Inventory, sources: _Sources, rows: np.ndarray, dbh_sd: Callable | None) -> _Block:
        live = stock.live.iloc[rows]
        dbh = live["dbh_cm"].to_numpy(dtype="float64")
        place = np.full(len(stock.live), -1)
        place[rows] = np.arange(len(rows))
        served, records = stock.served[rows], stock.equations.to_dict("records")
        equations, used = [], {"dbh_cm"}
        for position in np.unique(served[served >= 0]).tolist():
            form = FORMS[records[position]["form"]]
            used |= set(form.variables)
            scale, unit = units_of(records[position], form)
            drawn = sources.coefficients.get(position, {})
            row = {name: np.float32(records[position][name]) for name in form.coefficients}
            row |= {key: records[position].get(key) for key in ("bias_corrected", "correction_factor", "rse", "rse_scale")}
            chosen = _places(np.flatnonzero(served == position), len(rows))
            equations.append(_Equation(form, row, chosen, scale, unit, drawn, sources.spreads.get(position)))
        dense = "wood_density_g_cm3" in used and "wood_density_se" in live
        return cls(
            weight=stock.weight[rows],
            values={name: live[name].to_numpy(dtype="float32") for name in used | {"height_m"} if name in live},
            dbh_sd=(careful_dbh_sd_cm(dbh) if dbh_sd is None else dbh_sd(dbh)).astype("float32"),
            gross_sd=gross_dbh_sd_cm(dbh).astype("float32") if dbh_sd is None else None,
            curves=[_curve(part, place, len(rows), sources) for part in stock.modelled_parts() if (place[part[2]] >= 0).any()],
            equations=equations,
            density_sd=live["wood_density_sd"].to_numpy(dtype="float32") if dense else None,
            density_se=live["wood_density_se"].to_numpy(dtype="float32") if dense else None,
            species_of=sources.species_of[rows],
            species=sources.species.astype("float32"),
        )

    def draw(self, rng: np.random.Generator, k: int) -> np.ndarray:
        """Biomass (trees,) of iteration k, kg."""
        n = len(self.dbh_sd)
        sd = self.dbh_sd
        if self.gross_sd is not None:
            sd = np.where(rng.random(n, dtype="float32") < CAREFUL_SHARE, sd, self.gross_sd)
        values = dict(self.values)
        values["dbh_cm"] = np.clip(values["dbh_cm"] + sd * _normals(rng, n), *DBH_RANGE_CM)
        if self.curves:
            values["height_m"] = values["height_m"].copy()
        for curve in self.curves:
            values["height_m"][curve.chosen] = _drawn_heights(rng, curve, values["dbh_cm"][curve.chosen], k)
        if self.density_sd is not None:
            moved = self.density_sd * _normals(rng, n)
            if self.species.shape[1]:
                moved = moved + self.density_se * self.species[k, self.species_of]
            values["wood_density_g_cm3"] = np.clip(values["wood_density_g_cm3"] + moved, *WOOD_DENSITY_RANGE_G_CM3)
        kg = np.full(n, np.nan, dtype="float64")
        residual = _normals(rng, n)
        for one in self.equations:
            kg[one.chosen] = _drawn_biomass(one, values, residual[one.chosen], k)
        return kg


def _normals(rng: np.random.Generator, n: int) -> np.ndarray:
    """Standard normal numbers (n,) in single precision, by Box and Muller 1958: whole arrays of uniform numbers, logarithms
    and cosines cost less than the generator's own one after the other. The farthest lie at 5.8 standard deviations."""
    half = (n + 1) // 2
    uniform = rng.random((2, half), dtype="float32")
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - uniform[0]))
    angle = np.float32(2 * np.pi) * uniform[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]


def _places(chosen: np.ndarray, trees: int) -> np.ndarray | slice:
    """Positions in a block; all of them as a slice, which copies nothing."""
    return slice(None) if len(chosen) == trees else chosen


def _curve(part: tuple, place: np.ndarray, trees: int, sources: _Sources) -> _Curve:
    name, model, chosen, dbh, where = part
    inside = place[chosen] >= 0
    highest = float(np.nanmax(model.height(dbh, where))) + HEIGHT_ABOVE_MAX_M
    chosen, dbh, where = place[chosen[inside]], dbh[inside], where[inside]
    shift, between, turn = model.departures_of(where)
    names, visit = np.unique(where, return_inverse=True)
    slopes = model.curve.by_parameter(model.params, dbh) + turn
    height = model.height(dbh, where)
    share, _ = model.above_breast_height(np.full(len(dbh), model.residual_sd), dbh, where)
    thin = np.flatnonzero(share < 1)
    if not model.curve.logarithmic:
        between = model.between_sd_m(dbh, where)
    return _Curve(
        model=model, chosen=_places(chosen, trees), params=model.params.astype("float32"),
        moved=sources.heights[name].astype("float32"), shift=shift.astype("float32"), slopes=slopes.astype("float32"),
        visit=visit, visits=len(names), between=between.astype("float32"), highest=highest,
        thin=_Thin(thin, height[thin].astype("float32"), share[thin].astype("float32")),
    )  # fmt: skip


def _drawn_heights(rng: np.random.Generator, curve: _Curve, dbh: np.ndarray, k: int) -> np.ndarray:
    scale = curve.model.curve.mean(curve.params, dbh) + curve.shift + curve.slopes @ curve.moved[k]
    scale += curve.between * _normals(rng, curve.visits)[curve.visit]
    sd, residual = np.float32(curve.model.residual_sd), _normals(rng, len(dbh))
    height = scale + sd * residual
    height = np.exp(height) if curve.model.curve.logarithmic else height
    thin = curve.thin
    if len(thin.chosen):
        height[thin.chosen] = _thin_heights(curve, scale[thin.chosen], sd * residual[thin.chosen])
    return np.clip(height, BREAST_HEIGHT_M, curve.highest)


def _thin_heights(curve: _Curve, scale: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Heights of stems that breast height bears on: around a drawn mean, errors cut off and brought down to it
    (`HeightModel.above_breast_height`)."""
    thin, half = curve.thin, np.float32(curve.model.residual_sd**2 / 2)
    if curve.model.curve.logarithmic:
        mean, raw = np.exp(scale + half), thin.height * np.exp(residual - half)
    else:
        mean, raw = scale, thin.height + residual
    lift = thin.height - np.float32(BREAST_HEIGHT_M)
    return np.maximum(mean, BREAST_HEIGHT_M) + thin.share * np.maximum(raw - np.float32(BREAST_HEIGHT_M), 0) - lift


def _drawn_biomass(one: _Equation, values: Mapping[str, np.ndarray], residual: np.ndarray, k: int) -> np.ndarray:
    """Biomass (trees,), kg. Residuals in kg or as a share stay whole even where a single tree falls below zero: plots are sums
    of trees, and residuals cut off on one side would raise every sum and lower its spread."""
    scaled = {name: values[name][one.chosen] / np.float32(one.scale[name]) for name in one.form.variables}
    drawn = {**one.row, **{name: np.float32(column[k]) for name, column in one.drawn.items()}}
    kg = np.maximum(one.form.value(scaled, drawn) * np.float32(one.unit), 0.0)
    rse, scale = one.row["rse"], one.row["rse_scale"] or "ln"
    if not one.row["bias_corrected"]:
        own = one.row["correction_factor"]
        known = own is not None and np.isfinite(own)
        kg = kg * np.float32(own if known else np.exp(rse**2 / 2))
    if one.spread is not None:  # shared and drawn as first order has it: a share of the biomass, whole on both sides
        return kg + residual_sd(one.row, kg) * one.spread[k]
    if np.isfinite(rse) and rse > 0:
        if scale == "ln":
            kg = kg * np.exp(np.float32(rse) * residual - np.float32(rse**2 / 2))
        elif scale == "share":
            kg = kg * (1 + np.float32(rse) * residual)
        else:
            kg = kg + np.float32(rse) * residual
    return kg
