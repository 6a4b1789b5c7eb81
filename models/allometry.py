"""Tree biomass by allometry, and plot totals with the error that is a plot's own and the error that plots share."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.heights import HeightModel

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SHARED_SPECIES_SHARE = 0.01  # a species with more of the biomass carries a wood density factor of its own
DOMINANT_TREES_PER_HA = 100  # dominant height: mean height of the 100 thickest trees of a hectare
WOOD_DENSITY_LEVELS = ("species", "genus", "family")


@dataclass(frozen=True)
class Form:
    """How an equation computes biomass: ln AGB (kg) and its derivatives.

    `log_agb(a, b, c, dbh, height, wood_density)` and `by_ab(...)` -> (d/da, d/db) work on arrays (n,); AGB goes with
    dbh to the power `dbh_power`(b, c) and likewise for height and wood density (power 0: not needed).
    """

    log_agb: Callable[..., np.ndarray]
    by_ab: Callable[..., tuple[np.ndarray, np.ndarray]]
    dbh_power: Callable[[np.ndarray, np.ndarray], np.ndarray]
    height_power: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    wood_density_power: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    needs_c: bool = False


FORMS: dict[str, Form] = {
    # ln AGB = a + b ln(rho D^2 H)
    "rho_d2h": Form(
        log_agb=lambda a, b, c, dbh, height, rho: a + b * np.log(rho * dbh**2 * height),
        by_ab=lambda a, b, c, dbh, height, rho: (np.ones_like(dbh), np.log(rho * dbh**2 * height)),
        dbh_power=lambda b, c: 2 * b,
        height_power=lambda b, c: b,
        wood_density_power=lambda b, c: b,
    ),
    # ln AGB = a + b ln(D^2 H)
    "log_d2h": Form(
        log_agb=lambda a, b, c, dbh, height, rho: a + b * np.log(dbh**2 * height),
        by_ab=lambda a, b, c, dbh, height, rho: (np.ones_like(dbh), np.log(dbh**2 * height)),
        dbh_power=lambda b, c: 2 * b,
        height_power=lambda b, c: b,
    ),
    # ln AGB = a + b ln D
    "log_d": Form(
        log_agb=lambda a, b, c, dbh, height, rho: a + b * np.log(dbh),
        by_ab=lambda a, b, c, dbh, height, rho: (np.ones_like(dbh), np.log(dbh)),
        dbh_power=lambda b, c: b,
    ),
    # AGB = a D^b
    "power_d": Form(
        log_agb=lambda a, b, c, dbh, height, rho: np.log(a) + b * np.log(dbh),
        by_ab=lambda a, b, c, dbh, height, rho: (1 / a, np.log(dbh)),
        dbh_power=lambda b, c: b,
    ),
    # AGB = a D^b H^c
    "power_dh": Form(
        log_agb=lambda a, b, c, dbh, height, rho: np.log(a) + b * np.log(dbh) + c * np.log(height),
        by_ab=lambda a, b, c, dbh, height, rho: (1 / a, np.log(dbh)),
        dbh_power=lambda b, c: b,
        height_power=lambda b, c: c,
        needs_c=True,
    ),
}
"""The forms by name: one place to add one."""


def check_equations(equations: pd.DataFrame) -> None:
    """Refuse forms that are not known, and coefficients that they lack.

    Raises
    ------
    ValueError
        Naming the equation.
    """
    for row in equations.to_dict("records"):
        if row["form"] not in FORMS:
            raise ValueError(f"equation {row['name']!r} has the form {row['form']!r}; known forms: {', '.join(FORMS)}")
        if FORMS[row["form"]].needs_c and not np.isfinite(row["c"]):
            raise ValueError(f"equation {row['name']!r} of the form {row['form']} needs the coefficient c")
        if row["form"].startswith("power") and row["a"] <= 0:
            raise ValueError(f"equation {row['name']!r} of the form {row['form']} needs a above zero, got {row['a']}")


def needs(equations: pd.DataFrame, variable: str) -> bool:
    """Whether any of the equations uses `variable`: height or wood_density."""
    return any(getattr(FORMS[form], f"{variable}_power") is not None for form in equations["form"])


def dbh_error_cm(dbh_cm: np.ndarray) -> np.ndarray:
    """Standard deviation of a diameter measured in the field, cm: 95 % careful readings, 5 % gross errors.

    References
    ----------
    Chave et al. 2004, doi:10.1098/rstb.2003.1425, as in the R package BIOMASS.
    """
    careful = 0.0062 * dbh_cm + 0.0904
    return np.sqrt(0.95 * careful**2 + 0.05 * 4.64**2)


# ---------------------------------------------------------------- which equation, which wood density


def match_equations(trees: pd.DataFrame, equations: pd.DataFrame) -> np.ndarray:
    """The equation of each tree: by species, else genus, else family, else the default; of several, by dbh.

    Parameters
    ----------
    trees : DataFrame
        species, genus, dbh_cm, and family where known.
    equations : DataFrame
        Rows as in the table of allometry (`level`, `taxon`, `dbh_min_cm`, `dbh_max_cm`).

    Returns
    -------
    array (n,) of int
        Positions in `equations`, -1 where none serves the tree. A tree outside every range of its taxon takes the
        nearest one: extrapolation, which `tree_agb` flags.
    """
    served = np.full(len(trees), -1)
    level, taxon = equations["level"].to_numpy(), equations["taxon"].to_numpy()
    low, high = equations["dbh_min_cm"].to_numpy(), equations["dbh_max_cm"].to_numpy()
    dbh = trees["dbh_cm"].to_numpy()
    for name in (*WOOD_DENSITY_LEVELS, "default"):
        if name != "default" and name not in trees:
            continue
        for group in dict.fromkeys(taxon[level == name]):
            rows = np.flatnonzero((level == name) & (taxon == group))
            open_trees = served < 0
            members = np.flatnonzero(
                open_trees if name == "default" else open_trees & (trees[name] == group).to_numpy()
            )
            away = np.maximum(low[rows] - dbh[members, None], dbh[members, None] - high[rows])
            away = np.where(dbh[members, None] == high[rows], 1e-9, np.maximum(away, 0.0))
            served[members] = rows[np.argmin(away, axis=1)]
    return served


def match_wood_density(trees: pd.DataFrame, table: pd.DataFrame | None, *, groups: pd.Series) -> pd.DataFrame:
    """Wood density per tree: its own, by species, genus or family, else the mean of the known trees around it.

    Parameters
    ----------
    trees : DataFrame
        species, genus, and family and wood_density_g_cm3 where known.
    table : DataFrame, optional
        level, taxon, wood_density_g_cm3, se, sd_tree.
    groups : Series
        The plot or cluster whose known trees stand in for an unknown one; where it has none, all known trees do.

    Returns
    -------
    DataFrame, index as `trees`
        wood_density_g_cm3 (NaN where no tree is known), wood_density_se (of the mean of its species: shared by all
        trees of the species), wood_density_sd (of the single tree), wood_density_level (tree, species, genus, family,
        group). A species that only genus, family or group stand in for departs from them as a whole, so their spread
        counts as shared; of trees not identified to species it counts as their own.
    """
    import pandas as pd

    out = pd.DataFrame(index=trees.index)
    given = trees["wood_density_g_cm3"] if "wood_density_g_cm3" in trees else pd.Series(np.nan, index=trees.index)
    out["wood_density_g_cm3"] = given
    out["wood_density_se"] = np.where(given.notna(), 0.0, np.nan)
    out["wood_density_sd"] = np.where(given.notna(), 0.0, np.nan)
    out["wood_density_level"] = np.where(given.notna(), "tree", "")
    for level in WOOD_DENSITY_LEVELS if table is not None else ():
        if level not in trees:
            continue
        known = table[table["level"] == level].set_index("taxon")
        found = (out["wood_density_level"] == "") & trees[level].isin(known.index) & (trees[level] != "")
        taxa = known.loc[trees.loc[found, level]]
        for ours, theirs in (("g_cm3", "wood_density_g_cm3"), ("se", "se"), ("sd", "sd_tree")):
            out.loc[found, f"wood_density_{ours}"] = taxa[theirs].to_numpy()
        out.loc[found, "wood_density_level"] = level
    unknown = out["wood_density_level"] == ""
    known_trees = out.loc[~unknown, "wood_density_g_cm3"]
    spread = float(known_trees.std()) if len(known_trees) > 1 else np.nan
    around = known_trees.groupby(groups[~unknown]).mean()
    out.loc[unknown, "wood_density_g_cm3"] = groups[unknown].map(around).astype("float64").fillna(known_trees.mean())
    out.loc[unknown, "wood_density_se"] = spread
    out.loc[unknown, "wood_density_sd"] = 0.0
    out.loc[unknown, "wood_density_level"] = "group"
    unnamed = ~out["wood_density_level"].isin(["tree", "species"]) & ~_identified(trees["species"])
    out.loc[unnamed, "wood_density_sd"] = np.hypot(out["wood_density_sd"], out["wood_density_se"])[unnamed]
    out.loc[unnamed, "wood_density_se"] = 0.0
    return out


def _identified(species: pd.Series) -> pd.Series:
    """Whether a name is a species: a genus and an epithet other than indet. or sp."""
    epithet = species.str.split(" ").str[1].fillna("").str.lower()
    vague = epithet.str.startswith("indet") | epithet.isin(["", "sp", "sp.", "spp", "spp."])
    return ~vague & ~species.str.lower().str.startswith("indet")


# ---------------------------------------------------------------- trees


def tree_agb(trees: pd.DataFrame, equations: pd.DataFrame, served: np.ndarray | None = None) -> pd.DataFrame:
    """Aboveground biomass of trees and its derivatives.

    Parameters
    ----------
    trees : DataFrame
        dbh_cm, height_m, wood_density_g_cm3 (the latter two where the equations need them), species and genus where
        equations go by taxon.
    equations : DataFrame
        Rows of an allometry table.
    served : array (n,) of int, optional
        The equation of each tree, by default `match_equations`.

    Returns
    -------
    DataFrame, index as `trees`
        agb_kg (mean: ln models not yet corrected are multiplied by exp(rse^2 / 2), Baskerville 1972), by_dbh,
        by_height, by_wood_density (kg per cm, m, g/cm3; others held fixed), by_a, by_b (kg), residual_sd_kg (NaN
        where the equation has no rse), equation (name), extrapolated (dbh outside the equation's range). Missing where
        a variable that the equation needs is missing, or no equation serves the tree.
    """
    import pandas as pd

    served = match_equations(trees, equations) if served is None else served
    columns = ("agb_kg", "by_dbh", "by_height", "by_wood_density", "by_a", "by_b", "residual_sd_kg")
    out = pd.DataFrame(np.nan, index=trees.index, columns=list(columns))
    out["equation"], out["extrapolated"] = "", False
    for position, row in enumerate(equations.to_dict("records")):
        members = served == position
        if not members.any():
            continue
        form, part = FORMS[row["form"]], trees[members]
        a, b, c = row["a"], row["b"], row["c"]
        dbh = part["dbh_cm"].to_numpy()
        height = part["height_m"].to_numpy() if form.height_power else np.ones(len(part))
        rho = part["wood_density_g_cm3"].to_numpy() if form.wood_density_power else np.ones(len(part))
        correction = 1.0 if row["bias_corrected"] else float(np.exp(row["rse"] ** 2 / 2))
        agb = np.exp(form.log_agb(a, b, c, dbh, height, rho)) * correction
        by_a, by_b = form.by_ab(a, b, c, dbh, height, rho)
        height_power = form.height_power(b, c) if form.height_power else 0.0
        density_power = form.wood_density_power(b, c) if form.wood_density_power else 0.0
        out.loc[members, "agb_kg"] = agb
        out.loc[members, "by_dbh"] = agb * form.dbh_power(b, c) / dbh
        out.loc[members, "by_height"] = agb * height_power / height
        out.loc[members, "by_wood_density"] = agb * density_power / rho
        out.loc[members, "by_a"] = agb * by_a
        out.loc[members, "by_b"] = agb * by_b
        out.loc[members, "residual_sd_kg"] = agb * np.sqrt(np.expm1(row["rse"] ** 2))
        out.loc[members, "equation"] = row["name"]
        out.loc[members, "extrapolated"] = (dbh < row["dbh_min_cm"]) | (dbh > row["dbh_max_cm"])
    return out


# ---------------------------------------------------------------- plots


def plot_totals(
    trees: pd.DataFrame,
    equations: pd.DataFrame,
    *,
    height_model: HeightModel | None = None,
    dbh_sd: Callable[[np.ndarray], np.ndarray] = dbh_error_cm,
) -> pd.DataFrame:
    """Totals of plots per hectare, with first-order errors kept apart by who shares them.

    Parameters
    ----------
    trees : DataFrame
        plot, date, dbh_cm, height_m (measured; NaN where not), status (only `live` counts; a plot whose rows all have
        another status is empty, not missing), trees_per_ha, and where the equations ask for them species, genus,
        family and the columns of `match_wood_density`; volume_m3 where given.
    equations : DataFrame
        Rows of an allometry table.
    height_model : HeightModel, optional
        Gives heights that were not measured, from the curve of the plot's visit (`visits`) where the model was fitted
        to trees of it; measured heights are used as they are and count as exact.
    dbh_sd : function
        Standard deviation of a measured dbh, cm.

    Returns
    -------
    DataFrame, one row per plot and date, ordered
        agb_mg_ha; agb_mg_ha_se: the plot's own error (residuals of trees, dbh, heights around the curve and the plot's
        departure from it, wood density of trees and of the rarer species), independent between plots; f_<name>: Mg/ha
        per standard deviation of a factor that all plots share (parameters of allometry and of the height model,
        rotated to be independent; mean wood density of each species with more than 1 % of the biomass);
        basal_area_m2_ha, stems_n_ha, dominant_height_m (mean of the 100 thickest per hectare, fewer if there are
        fewer; missing where a height is), volume_m3_ha where trees have volumes; extrapolated_percent of biomass.

    References
    ----------
    Errors and their sharing: Rejou-Mechain et al. 2017, doi:10.1111/2041-210X.12753, to first order.
    """
    import pandas as pd

    keys = trees[["plot", "date"]].drop_duplicates().sort_values(["plot", "date"], ignore_index=True)
    live = trees[trees["status"] == "live"].reset_index(drop=True)
    modelled = live["height_m"].isna().to_numpy() & (height_model is not None)
    if modelled.any():
        live.loc[modelled, "height_m"] = height_model.height(
            live.loc[modelled, "dbh_cm"].to_numpy(), visits(live[modelled])
        )
    served = match_equations(live, equations)
    agb = tree_agb(live, equations, served)
    member = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(live[["plot", "date"]]))
    weight = live["trees_per_ha"].to_numpy() / 1000  # kg of one tree to Mg per hectare

    def total(per_tree: np.ndarray) -> np.ndarray:
        return np.bincount(member, np.asarray(per_tree, dtype="float64"), minlength=len(keys))

    out = keys.assign(agb_mg_ha=total(weight * agb["agb_kg"]))
    variance, factors = np.zeros(len(keys)), {}
    for own, shared in _error_parts(live, agb, equations, served, modelled, height_model, weight, dbh_sd, total):
        variance += own
        factors.update(shared)
    out["agb_mg_ha_se"] = np.sqrt(variance)
    basal_area_m2 = np.pi / 4 * (live["dbh_cm"].to_numpy() / 100) ** 2
    out["basal_area_m2_ha"] = total(live["trees_per_ha"] * basal_area_m2)
    out["stems_n_ha"] = total(live["trees_per_ha"])
    out["dominant_height_m"] = dominant_height(live, member, len(keys))
    if "volume_m3" in live:
        out["volume_m3_ha"] = total(live["trees_per_ha"] * live["volume_m3"])
    with np.errstate(invalid="ignore"):
        out["extrapolated_percent"] = 100 * total(weight * agb["agb_kg"] * agb["extrapolated"]) / out["agb_mg_ha"]
    return pd.concat([out, pd.DataFrame(factors, index=out.index)], axis=1)


def _error_parts(
    live: pd.DataFrame,
    agb: pd.DataFrame,
    equations: pd.DataFrame,
    served: np.ndarray,
    modelled: np.ndarray,
    height_model: HeightModel | None,
    weight: np.ndarray,
    dbh_sd: Callable[[np.ndarray], np.ndarray],
    total: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Own variance of the plots and shared factors, source by source."""
    dbh = live["dbh_cm"].to_numpy()
    by_dbh, by_height = agb["by_dbh"].to_numpy().copy(), agb["by_height"].to_numpy()
    if modelled.any():
        where = dbh[modelled], visits(live[modelled])
        by_dbh[modelled] += by_height[modelled] * height_model.by_dbh(*where)
    yield total((weight * agb["residual_sd_kg"]) ** 2), {}
    yield total((weight * by_dbh * dbh_sd(dbh)) ** 2), {}
    if modelled.any():
        effect = np.where(modelled, weight * by_height, 0.0)
        around, between = np.zeros(len(live)), np.zeros(len(live))
        around[modelled] = height_model.residual_sd_m(*where)
        between[modelled] = height_model.between_sd_m(*where)
        slopes = np.zeros((len(live), len(height_model.params)))
        slopes[modelled] = height_model.by_parameter(*where)
        columns = np.column_stack([total(effect * column) for column in slopes.T])
        shared = columns @ _root(height_model.covariance)
        yield total((effect * around) ** 2), {}
        yield total(effect * between) ** 2, {f"f_height_{k + 1}": column for k, column in enumerate(shared.T)}
    for position, row in enumerate(equations.to_dict("records")):
        variances = np.array([[row["var_a"], row["cov_ab"]], [row["cov_ab"], row["var_b"]]])
        if (served == position).any() and np.isfinite(variances).all():
            here = np.where(served == position, weight, 0.0)
            columns = np.column_stack([total(here * agb["by_a"].fillna(0)), total(here * agb["by_b"].fillna(0))])
            name = _slug(row["name"]) + ("" if len(equations) == 1 else f"_{position + 1}")
            shared = columns @ _root(variances)
            yield np.zeros(1), {f"f_allometry_{name}_{k + 1}": column for k, column in enumerate(shared.T)}
    if "wood_density_se" in live and needs(equations, "wood_density"):
        effect = weight * agb["by_wood_density"].to_numpy()
        yield total((effect * live["wood_density_sd"].to_numpy()) ** 2), {}
        yield _species_parts(live, agb, effect, weight, total)


def _species_parts(
    live: pd.DataFrame,
    agb: pd.DataFrame,
    effect: np.ndarray,
    weight: np.ndarray,
    total: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Errors of species' mean wood density: a shared factor for the common ones, own variance for the rarer."""
    biomass = (weight * agb["agb_kg"]).groupby(live["species"].to_numpy()).sum()
    common = set(biomass.index[biomass > SHARED_SPECIES_SHARE * biomass.sum()])
    se = live["wood_density_se"].to_numpy()
    species = live["species"].to_numpy()
    own, factors = np.zeros(1), {}
    for name in sorted(set(species[se > 0])):
        column = total(np.where(species == name, effect * se, 0.0))
        if name in common:
            factors[f"f_wood_density_{_slug(name)}"] = column
        else:
            own = own + column**2
    return own, factors


def visits(trees: pd.DataFrame) -> np.ndarray:
    """A name for each tree's plot at its date: what a height model tells apart, since stands grow."""
    return (trees["plot"].astype(str) + " " + trees["date"].astype(str)).to_numpy(dtype=str)


def dominant_height(live: pd.DataFrame, member: np.ndarray, plots: int) -> np.ndarray:
    """Mean height of the 100 thickest live trees per hectare of each plot, m.

    A tree that stands for more stems per hectare than are left counts with those left; a plot with fewer than 100
    per hectare gives the mean of what it has, a plot without trees, or with a height missing among them, NaN.
    """
    dbh, height = live["dbh_cm"].to_numpy(), live["height_m"].to_numpy()
    per_ha = live["trees_per_ha"].to_numpy()
    order = np.lexsort((np.arange(len(live)), -dbh, member))
    member, height, per_ha = member[order], height[order], per_ha[order]
    before = np.cumsum(per_ha) - per_ha
    start = np.full(plots, np.nan)
    first = np.r_[True, member[1:] != member[:-1]] if len(member) else np.zeros(0, dtype=bool)
    start[member[first]] = before[first]
    share = np.clip(DOMINANT_TREES_PER_HA - (before - start[member]), 0.0, per_ha)
    counted = share > 1e-9
    heights = np.bincount(member[counted], (share * height)[counted], minlength=plots)
    stems = np.bincount(member[counted], share[counted], minlength=plots)
    return np.divide(heights, stems, out=np.full(plots, np.nan), where=stems > 0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """L with L L' = covariance; columns of zero variance stay zero, so that known parameters cause no error."""
    values, vectors = np.linalg.eigh(covariance)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    return vectors * signs * np.sqrt(np.maximum(values, 0.0))


def _slug(name: str) -> str:
    return re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower() or "unnamed"
