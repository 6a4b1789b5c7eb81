"""Plot totals per hectare, with the error that is a plot's own and the error that plots share, to first order."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from models.allometry.forms import FORMS
from models.allometry.matching import COMPONENTS, asked, match_equations, needs, of_component
from models.allometry.trees import covariance_of, root_of, spread_is_shared, tree_agb

if TYPE_CHECKING:
    import pandas as pd

    from models.heights import HeightModel

log = logging.getLogger(__name__)

SHARED_SPECIES_SHARE = 0.01  # a species with more of the biomass carries a wood density factor of its own
BESIDE_AGB = ("roots", "stem_volume")  # components that are no part of aboveground biomass
DOMINANT_TREES_PER_HA = 100  # dominant height: mean height of the 100 thickest trees of a hectare
CAREFUL_SHARE, GROSS_SD_CM = 0.95, 4.64  # of diameters read carefully; SD of the gross errors among the others
TURN_STEP = 1e-4  # of a diameter, over which a height model's slope is told apart
GROSS_SD_SHARE = 1 / 4  # of a diameter at most: our choice, so that four SD leave a stem and derivatives hold

HeightModels = "HeightModel | Mapping[str, HeightModel] | None"


def careful_dbh_sd_cm(dbh_cm: np.ndarray) -> np.ndarray:
    """Standard deviation of a diameter that is read carefully, cm (Chave et al. 2004)."""
    return 0.0062 * dbh_cm + 0.0904


def gross_dbh_sd_cm(dbh_cm: np.ndarray) -> np.ndarray:
    """Standard deviation of gross errors of diameters, cm: 4.64 (Chave et al. 2004), at most a quarter of the diameter.

    Drawn around a sapling of 2 cm, 4.64 cm would make every third one vanish, and neither a derivative nor a truncated draw
    says anything of that. The quarter is ours, not of the source; it bears on stems below 18.6 cm.
    """
    return np.minimum(GROSS_SD_CM, GROSS_SD_SHARE * dbh_cm)


def dbh_error_cm(dbh_cm: np.ndarray) -> np.ndarray:
    """Standard deviation of a diameter measured in the field, cm: 95 % careful readings, 5 % gross errors.

    References
    ----------
    Chave et al. 2004, doi:10.1098/rstb.2003.1425, as in the R package BIOMASS.
    """
    return np.sqrt(CAREFUL_SHARE * careful_dbh_sd_cm(dbh_cm) ** 2 + (1 - CAREFUL_SHARE) * gross_dbh_sd_cm(dbh_cm) ** 2)


def dbh_error_fourth(dbh_cm: np.ndarray) -> np.ndarray:
    """Mean fourth power of a diameter's error, cm^4: of normal errors, 95 % careful and 5 % gross, see `dbh_error_cm`."""
    return 3 * (CAREFUL_SHARE * careful_dbh_sd_cm(dbh_cm) ** 4 + (1 - CAREFUL_SHARE) * gross_dbh_sd_cm(dbh_cm) ** 4)


@dataclass(frozen=True)
class Inventory:
    """Live trees ready for their equations: heights filled in, equations chosen, and which plot and date they count for.

    keys : plot and date, ordered; member : (n,) position of each tree's plot and date in it
    modelled : (n,) whether the height is a model's
    served : (n,) position of the tree's equation of aboveground biomass
    """

    keys: pd.DataFrame
    live: pd.DataFrame
    member: np.ndarray
    modelled: np.ndarray
    equations: pd.DataFrame
    served: np.ndarray
    models: Mapping[str, HeightModel]

    @cached_property
    def weight(self) -> np.ndarray:
        """kg of one tree to Mg per hectare."""
        return self.live["trees_per_ha"].to_numpy() / 1000

    def total(self, per_tree: np.ndarray) -> np.ndarray:
        """Sums (plots and dates,) of a quantity of trees (n,)."""
        return np.bincount(self.member, np.asarray(per_tree, dtype="float64"), minlength=len(self.keys))

    def total_of(self, chosen: np.ndarray, per_tree: np.ndarray) -> np.ndarray:
        """Sums (plots and dates,) of a quantity of the trees at positions `chosen`."""
        return np.bincount(self.member[chosen], per_tree, minlength=len(self.keys))

    def modelled_parts(self) -> Iterator[tuple[str, HeightModel, np.ndarray, np.ndarray, np.ndarray]]:
        """Name, model, positions, dbh and visits of the trees whose height each height model gives."""
        group = self.live["height_group"].to_numpy() if "height_group" in self.live else np.full(len(self.live), "")
        for name, model in self.models.items():
            chosen = np.flatnonzero(self.modelled & (group == name))
            if len(chosen):
                part = self.live.iloc[chosen]
                yield name, model, chosen, part["dbh_cm"].to_numpy(), visits(part)


def inventory(
    trees: pd.DataFrame, equations: pd.DataFrame, *, height_model: HeightModels = None
) -> Inventory:
    """See `plot_totals` for what is taken."""
    import pandas as pd

    models = height_model if isinstance(height_model, Mapping) else {"": height_model} if height_model else {}
    if models and isinstance(height_model, Mapping) and "height_group" not in trees:
        raise ValueError("height models by group need the column height_group of the trees")
    if not isinstance(height_model, Mapping):
        trees = trees.drop(columns="height_group", errors="ignore")
    keys = trees[["plot", "date"]].drop_duplicates().sort_values(["plot", "date"], ignore_index=True)
    live = trees[trees["status"] == "live"].reset_index(drop=True)
    equations = of_component(equations, "agb")
    found = Inventory(
        keys=keys,
        live=live,
        member=pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(live[["plot", "date"]])),
        modelled=(live["height_m"].isna() & live["dbh_cm"].notna()).to_numpy() & bool(models),
        equations=equations,
        served=match_equations(live, equations),
        models=models,
    )
    height = live["height_m"].to_numpy(dtype="float64").copy()
    for _, model, chosen, dbh, where in found.modelled_parts():
        height[chosen] = model.height(dbh, where)
    live["height_m"] = height
    return found


def plot_totals(
    trees: pd.DataFrame,
    equations: pd.DataFrame,
    *,
    height_model: HeightModels = None,
    dbh_sd: Callable[[np.ndarray], np.ndarray] = dbh_error_cm,
) -> pd.DataFrame:
    """Totals of plots per hectare, with first-order errors kept apart by who shares them.

    Parameters
    ----------
    trees : DataFrame
        plot, date, dbh_cm (NaN for palms, shrubs and saplings whose equation needs none: they hold biomass, and are no stems at
        breast height, have no basal area and no part in dominant height), height_m (measured; NaN where not), status (`live`
        trees make the totals; a plot whose rows all have another status is empty, not missing), trees_per_ha, and where the
        equations ask for them species, genus, family, group, the columns of `match_wood_density` and other variables;
        volume_m3 where given.
    equations : DataFrame
        Rows of an allometry table; rows of components other than agb give their totals too.
    height_model : HeightModel or mapping of them, optional
        Gives heights that were not measured, from the curve of the plot's visit (`visits`) where the model was fitted
        to trees of it; measured heights are used as they are and count as exact. Several models serve the trees whose
        column `height_group` names them.
    dbh_sd : function
        Standard deviation of a measured dbh, cm.

    Returns
    -------
    DataFrame, one row per plot and date, ordered
        agb_mg_ha; agb_mg_ha_se: the plot's own error (residuals of trees, dbh, heights around the curve and the plot's
        departure from it, wood density of trees and of the rarer species), independent between plots; f_<name>: Mg/ha
        per standard deviation of a factor that all plots share (parameters of allometry and of the height model,
        rotated to be independent; mean wood density of each species with more than 1 % of the biomass);
        <component>_mg_ha (bgb_mg_ha for roots; missing where a tree of the plot has no equation for it);
        basal_area_m2_ha, stems_n_ha, dominant_height_m (mean of the 100 thickest per hectare, fewer if there are
        fewer; missing where a height is), volume_m3_ha where trees have volumes; extrapolated_percent of biomass.

    References
    ----------
    Errors and their sharing: Rejou-Mechain et al. 2017, doi:10.1111/2041-210X.12753, to first order.
    """
    import pandas as pd

    stock = inventory(trees, equations, height_model=height_model)
    agb = tree_agb(stock.live, stock.equations, stock.served)
    out = measured_totals(stock, agb, equations)
    variance, factors = np.zeros(len(out)), {}
    for own, shared in error_parts(stock, agb, dbh_sd):
        variance += own
        twice = factors.keys() & shared.keys()
        if twice:
            raise ValueError(f"two errors that plots share have the name {sorted(twice)[0]!r}; one of them would be lost")
        factors.update(shared)
    out.insert(3, "agb_mg_ha_se", np.sqrt(variance))
    return pd.concat([out, pd.DataFrame(factors, index=out.index)], axis=1)


def measured_totals(stock: Inventory, agb: pd.DataFrame, equations: pd.DataFrame) -> pd.DataFrame:
    """What needs no error model: biomass and its components, basal area, stems, heights, volume."""
    live, total, weight = stock.live, stock.total, stock.weight
    out = stock.keys.assign(agb_mg_ha=total(weight * agb["agb_kg"]))
    dbh = live["dbh_cm"].to_numpy(dtype="float64")
    not_by_dbh = np.isnan(dbh) & ~asked(stock.equations, stock.served, "dbh_cm") & (stock.served >= 0)
    basal_area_m2 = np.where(not_by_dbh, 0.0, np.pi / 4 * (dbh / 100) ** 2)
    out["basal_area_m2_ha"] = total(live["trees_per_ha"] * basal_area_m2)
    out["stems_n_ha"] = total(np.where(not_by_dbh, 0.0, live["trees_per_ha"]))
    out["dominant_height_m"] = dominant_height(live[~not_by_dbh], stock.member[~not_by_dbh], len(out))
    parts = tree_components(live, equations, agb["agb_kg"], stock.served)
    if "volume_m3" in live:
        out["volume_m3_ha"] = total(live["trees_per_ha"] * live["volume_m3"])
    elif "stem_volume" in parts:
        out["volume_m3_ha"] = total(live["trees_per_ha"] * parts["stem_volume"])
    for name in parts.columns.drop("stem_volume", errors="ignore"):
        out["bgb_mg_ha" if name == "roots" else f"{name}_mg_ha"] = total(weight * parts[name])
    with np.errstate(invalid="ignore"):
        out["extrapolated_percent"] = 100 * total(weight * agb["agb_kg"] * agb["extrapolated"]) / out["agb_mg_ha"]
    return out


def tree_components(
    live: pd.DataFrame, equations: pd.DataFrame, agb_kg: pd.Series, served: np.ndarray | None = None
) -> pd.DataFrame:
    """Components of trees, kg (m3 for stem_volume), by the rows of the table that are not of the whole.

    Parts of aboveground biomass come from the equations that gave the tree its biomass: rows of the same name and, unless they
    are shares of it, of the same level and taxon, since parts by one author and the whole by another need not add up. Roots
    and stem volume come from there where it has them, else from any row that serves the tree, which is said. Rows that say
    `sums_to_agb` are scaled together so that they add up to aboveground biomass, as the US national system asks. A tree that no
    row of a component serves has none, which is missing, not zero.

    `served` are the trees' equations of aboveground biomass, by default `match_equations`.
    """
    import pandas as pd

    whole = of_component(equations, "agb")
    served = match_equations(live, whole) if served is None else served
    found, scaled = {}, {}
    trees = live.assign(agb_kg=agb_kg.to_numpy())
    for name in COMPONENTS[1:]:
        rows = of_component(equations, name)
        if len(rows):
            chosen = match_components(trees, rows, whole, served, component=name)
            _say_how_components_are_served(rows, chosen, whole, served, name)
            found[name] = tree_agb(trees, rows, chosen, derivatives=False)["agb_kg"].to_numpy()
            if "sums_to_agb" in rows:
                scaled[name] = np.append(rows["sums_to_agb"].to_numpy(dtype=bool), False)[chosen]
    if any(flags.any() for flags in scaled.values()):
        parts = sum(np.where(flags, found[name], 0.0) for name, flags in scaled.items())
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = trees["agb_kg"].to_numpy() / parts
        for name, flags in scaled.items():
            found[name] = np.where(flags, found[name] * factor, found[name])
    return pd.DataFrame(found, index=live.index)


def match_components(
    trees: pd.DataFrame, rows: pd.DataFrame, whole: pd.DataFrame, served: np.ndarray, *, component: str
) -> np.ndarray:
    """The row of a component for each tree (n,), -1 for none, by the trees' equations of the whole; see `tree_components`."""
    chosen = np.full(len(trees), -1)
    own = np.append(whole["name"].to_numpy(dtype=object), "")[served]
    for name in dict.fromkeys(own[served >= 0]):
        of_name, here = np.flatnonzero(rows["name"] == name), np.flatnonzero(own == name)
        if len(of_name):
            at = match_equations(trees.iloc[here], rows.iloc[of_name].reset_index(drop=True))
            chosen[here] = np.append(of_name, -1)[at]
    if component in BESIDE_AGB:
        elsewhere = np.flatnonzero((chosen < 0) & (served >= 0))
        chosen[elsewhere] = match_equations(trees.iloc[elsewhere], rows)
        return chosen
    shares = np.array(["agb_kg" in FORMS[form].variables for form in rows["form"]])
    keys, keys_of_whole = (
        np.append((table["level"] + "\n" + table["taxon"]).to_numpy(dtype=object), "") for table in (rows, whole)
    )
    apart = (chosen >= 0) & ~np.append(shares, True)[chosen] & (keys[chosen] != keys_of_whole[served])
    return np.where(apart, -1, chosen)


def _say_how_components_are_served(
    rows: pd.DataFrame, chosen: np.ndarray, whole: pd.DataFrame, served: np.ndarray, component: str
) -> None:
    own = np.append(whole["name"].to_numpy(dtype=object), "")[served]
    named = np.append(rows["name"].to_numpy(dtype=object), "")[chosen]
    lacking, lent = (chosen < 0) & (served >= 0), (chosen >= 0) & (named != own)
    if lent.any():
        log.warning(
            "%s of %d of %d trees is by %s, and their biomass by %s", component.replace("_", " "), lent.sum(), len(own),
            ", ".join(dict.fromkeys(named[lent])), ", ".join(dict.fromkeys(own[lent])),
        )  # fmt: skip
    if lacking.any() and component not in BESIDE_AGB:
        log.warning(
            "%d of %d trees have no %s: their equation of biomass (%s) has none", lacking.sum(), len(own),
            component.replace("_", " "), ", ".join(dict.fromkeys(own[lacking])),
        )  # fmt: skip


# ---------------------------------------------------------------- errors


def error_parts(
    stock: Inventory, agb: pd.DataFrame, dbh_sd: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Own variance of the plots and shared factors, source by source.

    Errors of one tree multiply, as what they belong to does: by shares v of their variances it is (1 + v1)(1 + v2) ... - 1, not
    v1 + v2 + ..., which is 3-7 % too little of the SD of thin stems. Residuals stated in kg are added.
    """
    live, weight, total = stock.live, stock.weight, stock.total
    by_dbh, by_height = agb["by_dbh"].to_numpy().copy(), agb["by_height"].to_numpy()
    around, others, turn = np.zeros(len(live)), np.zeros(len(live)), np.zeros(len(live))
    groups, written = [], height_group_names(stock)
    for name, model, chosen, at, where in stock.modelled_parts():
        slopes, between = model.by_parameter(at, where), model.between_sd_m(at, where)
        rise, step = model.by_dbh(at, where), TURN_STEP * at
        by_dbh[chosen] += by_height[chosen] * rise
        bent = (model.by_dbh(at + step, where) - model.by_dbh(at - step, where)) / (2 * step)
        height = live["height_m"].to_numpy()[chosen]
        # a height that rose as a power of the diameter would bend by (H' D / H - 1) H' / D; what it bends beyond that
        turn[chosen] = by_height[chosen] * (bent - (rise * at / height - 1) * rise / at)
        around[chosen] = model.residual_sd_m(at, where)
        others[chosen] = between**2 + np.einsum("ip,pq,iq->i", slopes, model.covariance, slopes)
        groups.append((name, model, chosen, slopes, between))
    residual, added = agb["residual_sd_kg"].fillna(0.0).to_numpy(), _residuals_are_added(stock)
    spread = np.append([spread_is_shared(row) for row in stock.equations.to_dict("records")], False).astype(bool)[stock.served]
    residual = np.where(spread, 0.0, residual)  # of published equations: `coefficient_parts` has it
    kg = agb["agb_kg"].to_numpy()
    own = [np.where(added, 0.0, residual), _of_diameters(stock, kg, by_dbh, turn, dbh_sd), by_height * around]
    dense = "wood_density_se" in live and needs(stock.equations, "wood_density_g_cm3")
    if dense:
        own.append(_times(agb["by_wood_density"].to_numpy(), live["wood_density_sd"].to_numpy()))
    multiplied = _multiplied(kg, own, by_height**2 * others)
    yield total(weight**2 * (multiplied + np.where(added, residual, 0.0) ** 2)), {}
    for name, model, chosen, slopes, between in groups:
        effect = weight[chosen] * by_height[chosen]
        columns = [stock.total_of(chosen, effect * column) for column in slopes.T]
        shared = np.column_stack(columns) @ root_of(model.covariance)
        labels = height_factor_names(written[name], len(model.params))
        yield stock.total_of(chosen, effect * between) ** 2, dict(zip(labels, shared.T, strict=True))
    for labels, columns in coefficient_parts(stock, agb):
        yield np.zeros(1), dict(zip(labels, columns.T, strict=True))
    if dense:
        yield _species_parts(stock, agb, weight * agb["by_wood_density"].to_numpy())


def _times(effect: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Effect times standard deviation (n,), zero where what has the error is not asked for, and may be missing."""
    return np.where(effect == 0, 0.0, effect * sd)


def _of_diameters(
    stock: Inventory, kg: np.ndarray, by_dbh: np.ndarray, turn: np.ndarray, dbh_sd: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Standard deviation (n,) of trees of `kg` that their diameters' errors give, the bend of a power of the diameter included.

    Around D a tree grows as D^p, p = (D / M) dM/dD. Of a relative error x of D the mean of squares is, to the fourth order,
    p^2 E x^2 + (p^2 (p-1)^2 / 4 + p^2 (p-1)(p-2) / 3) E x^4, less the square of the mean p (p-1) E x^2 / 2; E x^4 is three
    times the mean fourth power of the standard deviation, which rare gross errors make large. `turn` (n,), kg/cm^2, is what
    the biomass bends beyond such a power, because its modelled height does.
    """
    dbh = stock.live["dbh_cm"].to_numpy(dtype="float64")
    sd = dbh_sd(dbh)
    fourth = dbh_error_fourth(dbh) if dbh_sd is dbh_error_cm else 3 * sd**4
    with np.errstate(invalid="ignore", divide="ignore"):
        power = by_dbh * dbh / kg
        second, fourth = (sd / dbh) ** 2, fourth / dbh**4
        bend = power * (power - 1) + turn * dbh**2 / kg
        square = power**2 * second + (bend**2 / 4 + power**2 * (power - 1) * (power - 2) / 3) * fourth - (bend * second / 2) ** 2
        bent = kg * np.sqrt(np.maximum(square, 0.0))
    return np.where(np.isnan(dbh), 0.0, np.where(np.isfinite(bent), bent, np.abs(by_dbh) * sd))


def _residuals_are_added(stock: Inventory) -> np.ndarray:
    """Trees (n,) whose equation states its residuals in kg."""
    if "rse_scale" not in stock.equations:
        return np.zeros(len(stock.live), bool)
    return np.append((stock.equations["rse_scale"] == "kg").to_numpy(), False)[stock.served]


def _multiplied(kg: np.ndarray, own: Sequence[np.ndarray], others: np.ndarray) -> np.ndarray:
    """Variance (n,) in kg^2 of trees of `kg` whose `own` errors (SD in kg) multiply, among them and with those that trees of a
    plot or a model share (`others`, variance in kg^2, which is counted elsewhere). Errors of a tree without mass are added."""
    squares = np.array(own) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(kg > 0, squares / kg**2, 0.0)
        product = kg**2 * (np.prod(1 + shares, axis=0) - 1) * (1 + np.where(kg > 0, others / kg**2, 0.0))
    return np.where(kg > 0, product, squares.sum(axis=0))


def height_group_names(stock: Inventory) -> dict[str, str]:
    """Each group of heights as a column's name holds it; the model of all has none."""
    return {"": ""} | slugs(name for name in stock.models if name)


def height_factor_names(name: str, parameters: int) -> list[str]:
    return [f"f_height_{name + '_' if name else ''}{k + 1}" for k in range(parameters)]


def coefficient_parts(stock: Inventory, agb: pd.DataFrame) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and columns (plots, k) of the factors of each equation that states errors which its trees share."""
    for position, labels, coefficients, covariance, spread in shared_equations(stock.equations, stock.served):
        here = np.where(stock.served == position, stock.weight, 0.0)
        columns = [stock.total(here * agb[f"by_{one}"].fillna(0)) for one in coefficients]
        parts = [np.column_stack(columns) @ root_of(covariance)] if columns else []
        if spread:
            parts.append(stock.total(here * agb["residual_sd_kg"].fillna(0))[:, None])
        yield labels, np.hstack(parts)


def shared_equations(
    equations: pd.DataFrame, served: np.ndarray
) -> Iterator[tuple[int, list[str], tuple[str, ...], np.ndarray, bool]]:
    """Of each equation that serves trees and states an error that they share: position, names of its factors, uncertain
    coefficients, their covariance, and whether its spread is shared too (the last factor)."""
    records = equations.to_dict("records")
    for position in np.unique(served[served >= 0]).tolist():
        names, covariance = covariance_of(records[position]) or ((), np.zeros((0, 0)))
        spread = spread_is_shared(records[position])
        if names or spread:
            number = "" if len(records) == 1 else f"_{position + 1}"
            label = f"f_allometry_{slug(records[position]['name'])}{number}"
            labels = [f"{label}_{k + 1}" for k in range(len(names))] + [f"{label}_spread"] * spread
            yield position, labels, names, covariance, spread


def common_species(live: pd.DataFrame, agb_mg_ha: np.ndarray) -> list[str]:
    """Species with more than 1 % of the biomass whose mean wood density is uncertain, in order of name."""
    species = live["species"].to_numpy()
    biomass = {}
    for name in sorted(set(species[live["wood_density_se"].to_numpy() > 0])):
        biomass[name] = float(np.nansum(np.where(species == name, agb_mg_ha, 0.0)))
    whole = float(np.nansum(agb_mg_ha))
    return [name for name, part in biomass.items() if part > SHARED_SPECIES_SHARE * whole]


def _species_parts(
    stock: Inventory, agb: pd.DataFrame, effect: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Errors of species' mean wood density: a shared factor for the common ones, own variance for the rarer."""
    live = stock.live
    common = slugs(common_species(live, stock.weight * agb["agb_kg"].to_numpy()))
    se, species = np.nan_to_num(live["wood_density_se"].to_numpy(dtype="float64")), live["species"].to_numpy()
    own, factors = np.zeros(1), {}
    for name in sorted(set(species[se > 0])):
        column = stock.total(np.where(species == name, effect * se, 0.0))
        if name in common:
            factors[f"f_wood_density_{common[name]}"] = column
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
    per_ha = np.where(np.isnan(dbh), 0.0, live["trees_per_ha"].to_numpy())
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


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Each name as a column's name can hold it, letters of any script, and no two alike ('a-b' and 'a b': a_b, a_b_2)."""
    found: dict[str, str] = {}
    for name in names:
        written = first = slug(name)
        number = 1
        while written in found.values():
            number += 1
            written = f"{first}_{number}"
        found[name] = written
    return found


def slug(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "unnamed"
