"""From aboveground biomass to roots and carbon per plot, each with its errors: by equations, ratios or the plot table itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.parameters import factors
from models import allometry, pools
from pipeline.steps.expansion import and_unverified
from pipeline.steps.notes import caveat

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

ROOT_ERRORS = ("root_shoot_se", "bgb_mg_ha_se", "tree_carbon_t_ha_se", "carbon_fraction_se")


def with_carbon(
    totals: pd.DataFrame, stock: allometry.Inventory, listed: pd.DataFrame, equations: pd.DataFrame, frame: gpd.GeoDataFrame,
    settings: dict[str, Any],
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """bgb_mg_ha, root_shoot and tree_carbon_t_ha by the way that `roots` names, and what of it is unverified."""
    roots = settings["roots"]
    if roots["by"] == "none":
        return totals, []
    agb, doubted, ratio_se = totals["agb_mg_ha"].to_numpy(), [], None
    if roots["by"] == "equations":
        if "bgb_mg_ha" not in totals:
            raise ValueError(
                f"plots.roots.by is equations, and {named_equations(settings)} has no rows of the component roots; name an "
                "allometry that has, or by: continuous or table"
            )
        _say_what_roots_lack(stock, equations)
    else:
        ratio, ratio_se, doubted = _root_shoot(totals, frame, roots)
        with np.errstate(invalid="ignore"):
            totals = totals.assign(bgb_mg_ha=np.where(agb == 0, 0.0, agb * ratio))
    with np.errstate(invalid="ignore", divide="ignore"):
        totals["root_shoot"] = totals["bgb_mg_ha"] / np.where(agb > 0, agb, np.nan)
    mean, mean_se, unchecked = _carbon_fractions(stock, listed, settings)
    totals["tree_carbon_t_ha"] = pools.carbon_by_fraction(agb + totals["bgb_mg_ha"].to_numpy(), mean)
    totals = totals.assign(carbon_fraction=mean, carbon_fraction_se=mean_se)
    totals = _with_root_errors(totals, ratio_se, _root_groups(totals, frame, roots))
    known = totals["bgb_mg_ha"].notna()
    shoots = totals.loc[known, "agb_mg_ha"].sum()
    if shoots > 0:
        whole = totals.loc[known, "bgb_mg_ha"].sum() / shoots
        log.info("roots by %s: %.3f of aboveground biomass over all plots (maps use pools.root_shoot)", roots["by"], whole)
    return totals, doubted + unchecked


def with_roots_of_totals(frame: gpd.GeoDataFrame, settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """Roots and carbon of plots whose biomass comes from no trees: from the plot table itself, or from volume by factors.

    As of plots with trees, by the way that `roots` names; their species is not known, so carbon is by the default fraction.
    """
    roots = settings["roots"]
    if roots["by"] == "none" or "agb_mg_ha" not in frame:
        return frame
    used = (frame["left_out"] == "").to_numpy() if "left_out" in frame else np.full(len(frame), True)
    agb = np.where(used, frame["agb_mg_ha"], np.nan)
    before = frame["bgb_mg_ha"].to_numpy() if "bgb_mg_ha" in frame else np.full(len(frame), np.nan)
    bare = np.isfinite(agb) & np.isnan(before)
    if not bare.any():
        return frame
    if roots["by"] == "equations":
        log.warning("roots by equations give neither roots nor carbon to %d plots and dates that carry no trees", bare.sum())
        return frame
    totals = frame[["plot", "date"]].assign(agb_mg_ha=agb)
    ratio, ratio_se, doubted = _root_shoot(totals, frame, roots)
    table = factors.carbon_fractions(settings["carbon_fractions"])
    default = table[table["level"] == "default"].iloc[0]
    if default["status"] == "unverified":
        named = ["carbon fraction of default"]
        caveat(log, "carbon fraction of status unverified serves %d plots and dates: default", bare.sum(), unverified=named)
        doubted = [*doubted, *named]
    log.info("roots and carbon of %d plots and dates without trees by %s", bare.sum(), roots["by"])
    with np.errstate(invalid="ignore"):
        totals["bgb_mg_ha"] = np.where(agb == 0, 0.0, agb * ratio)
        totals["root_shoot"] = np.where(agb > 0, ratio, np.nan)
    totals["carbon_fraction"], totals["carbon_fraction_se"] = float(default["carbon_fraction"]), float(default["sd"])
    tree = (agb + totals["bgb_mg_ha"]).to_numpy()
    totals["tree_carbon_t_ha"] = pools.carbon_by_fraction(tree, totals["carbon_fraction"].to_numpy())
    shared = [name for name in frame if name.startswith("f_")]
    own_se = frame["agb_mg_ha_se"].to_numpy() if "agb_mg_ha_se" in frame else np.full(len(frame), np.nan)
    totals = totals.assign(agb_mg_ha_se=own_se, **{name: frame[name].fillna(0.0) for name in shared})
    totals = _with_root_errors(totals, ratio_se, _root_groups(totals, frame, roots))
    filled = {}
    for name in ("bgb_mg_ha", "root_shoot", "tree_carbon_t_ha", "carbon_fraction", *ROOT_ERRORS):
        filled[name] = np.where(bare, totals[name], frame.get(name, np.nan))
    if doubted:
        for named in dict.fromkeys(doubted):
            frame = frame.assign(unverified=and_unverified(frame, bare, named))
    return frame.assign(**filled)


def _say_what_roots_lack(stock: allometry.Inventory, equations: pd.DataFrame) -> None:
    """A caveat where equations of roots state no error: roots have that of diameters, heights and aboveground biomass alone."""
    rows = allometry.of_component(equations, "roots")
    found = allometry.match_components(stock.live, rows, stock.equations, stock.served, component="roots")
    used = rows.iloc[np.unique(found[found >= 0])] if found.size else rows
    silent = used[used["rse"].isna() & used[[name for name in used if name.startswith("var_")]].isna().all(axis=1)]
    if len(silent):
        caveat(log, "equations of roots of %s state no error of their own", ", ".join(dict.fromkeys(silent["name"])))


def _with_root_errors(
    totals: pd.DataFrame, ratio_se: np.ndarray | None, groups: np.ndarray | None = None
) -> pd.DataFrame:
    """Errors of roots and carbon: all of biomass, shared or not, carried along, and those of the ratio (None where roots have
    equations, whose errors are there already) and of the carbon fraction, which plots share.

    `groups` (n,) are those whose mean biomass the ratio follows continuously: a plot that holds more than it seems has more roots
    for it and, as its group's ratio falls, fewer for each ton. None where ratios are those of classes, which do not move.
    """
    fraction, fraction_se = totals["carbon_fraction"].to_numpy(), np.nan_to_num(totals["carbon_fraction_se"].to_numpy())
    if ratio_se is None:
        tree_se = totals["tree_mg_ha_se"].to_numpy()
    else:
        roots_se, tree_se = _through_ratio(totals, ratio_se, groups)
        totals = totals.assign(root_shoot_se=ratio_se, bgb_mg_ha_se=roots_se)
    tree = (totals["agb_mg_ha"] + totals["bgb_mg_ha"]).to_numpy()
    return totals.assign(tree_carbon_t_ha_se=np.hypot(fraction * tree_se, tree * fraction_se))


def _through_ratio(
    totals: pd.DataFrame, ratio_se: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors (n,) of roots by a ratio, and of shoots and roots together."""
    agb, own = totals["agb_mg_ha"].to_numpy(), totals["agb_mg_ha_se"].to_numpy()
    shared = totals[[column for column in totals if column.startswith("f_")]].to_numpy(dtype="float64")
    ratio = totals["root_shoot"].fillna(0.0).to_numpy()
    of_ratio = agb * np.nan_to_num(ratio_se)
    falls, variance_of_group, shared_of_group = np.zeros(len(agb)), np.zeros(len(agb)), np.zeros_like(shared)
    if groups is not None:
        known = np.isfinite(agb)
        _, member = np.unique(groups.astype(str), return_inverse=True)

        def summed(values: np.ndarray) -> np.ndarray:
            return np.bincount(member, np.where(known, np.nan_to_num(values), 0.0))[member]

        with np.errstate(invalid="ignore", divide="ignore"):
            # R = e^a m^(b - 1) of the group's mean m: R' = (b - 1) R / m, and a plot moves m by one part in n
            falls = np.nan_to_num((pools.CONTINUOUS_ROOT_SHOOT[1] - 1) * ratio * agb / summed(agb))
        variance_of_group = summed(own**2)
        shared_of_group = np.column_stack([summed(column) for column in shared.T]) if shared.shape[1] else shared

    def se(slope: np.ndarray) -> np.ndarray:
        """Of slope times a plot's biomass plus `falls` times that of its whole group."""
        alone = (slope**2 + 2 * slope * falls) * own**2 + falls**2 * np.where(np.isnan(own), np.nan, variance_of_group)
        together = slope[:, None] * shared + falls[:, None] * shared_of_group
        return np.sqrt(alone + (together**2).sum(axis=1) + of_ratio**2)

    return se(ratio), se(1 + ratio)


def _root_groups(totals: pd.DataFrame, frame: gpd.GeoDataFrame, roots: dict[str, Any]) -> np.ndarray | None:
    """The groups (n,) whose mean decides the continuous ratio; None for ratios of classes."""
    return _groups_of_roots(totals, frame, roots) if roots["by"] == "continuous" else None


def _groups_of_roots(totals: pd.DataFrame, frame: gpd.GeoDataFrame, roots: dict[str, Any]) -> np.ndarray:
    if roots["per"] != "stratum":
        return np.arange(len(totals)).astype(str)
    strata = totals[["plot", "date"]].merge(
        frame[["plot", "date", "stratum"]].drop_duplicates(["plot", "date"]), on=["plot", "date"], how="left"
    )
    groups = strata["stratum"].fillna("").astype(str).to_numpy()
    if roots["by"] == "continuous":  # smooth in biomass, so that dates may each have a mean of their own
        groups = np.char.add(groups.astype(str), (" " + totals["date"].astype(str)).to_numpy(dtype=str))
    return groups


def _root_shoot(
    totals: pd.DataFrame, frame: gpd.GeoDataFrame, roots: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ratio (plots and dates,), its standard error, NaN where its source states none, and what of it is unverified."""
    agb = totals["agb_mg_ha"].to_numpy()
    if roots["per"] == "stratum" and frame["stratum"].isna().all():
        raise ValueError("plots.roots.per is stratum, and no plot has one; give the plots a column stratum, or per: plot")
    groups = _groups_of_roots(totals, frame, roots)
    if roots["by"] == "continuous":
        caveat(log, "the continuous root:shoot function states no error: roots have that of biomass alone")
        return pools.root_shoot_continuous(pools.mean_of_groups(agb, groups)), np.full(len(agb), np.nan), []
    classes = factors.root_shoot_classes(
        zone=roots["zone"], continent=roots["continent"], origin=roots["origin"], forest_type=roots["forest_type"]
    )
    doubted = [f"root:shoot ratio of {classes.source}"] if classes.doubts else []
    for doubt in classes.doubts:
        caveat(log, "root:shoot ratio of %s: %s", classes.source, doubt, unverified=doubted)
    ratio, se = (
        pools.by_class_of_groups(agb, groups, upper=classes.upper_mg_ha, factors=values) for values in (classes.ratio, classes.sd)
    )
    if np.isnan(se[np.isfinite(ratio)]).any():
        caveat(log, "root:shoot ratio of %s states no error: roots have that of biomass alone", classes.source)
    return ratio, se, doubted


def _carbon_fractions(
    stock: allometry.Inventory, listed: pd.DataFrame, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Carbon fraction of each plot and date, its standard error, and which of its sources are unverified.

    Trees take that of their species, genus, family or group, else the default; plots the mean of theirs by biomass. What a
    table states as `sd` of a taxon is taken whole as the error of that taxon's fraction, which all its trees share.
    """
    table = factors.carbon_fractions(settings["carbon_fractions"]).reset_index(drop=True)
    live, kg = stock.live, stock.weight * listed["agb_kg"].to_numpy()
    served = np.full(len(live), -1)
    for level in ("species", "genus", "family", "group"):
        rows = table[table["level"] == level]
        if level in live and len(rows):
            at_level = live[level].map(dict(zip(rows["taxon"], rows.index, strict=True))).fillna(-1).to_numpy(dtype=int)
            served = np.where(served < 0, at_level, served)
    default = table.index[table["level"] == "default"][0]
    served = np.where(served < 0, default, served)
    whole = stock.total(kg)
    mean, variance = np.zeros(len(whole)), np.zeros(len(whole))
    with np.errstate(invalid="ignore", divide="ignore"):
        for row in table.loc[np.unique(served)].itertuples():
            share = np.where(whole > 0, stock.total(np.where(served == row.Index, kg, 0.0)) / whole, 0.0)
            mean += share * row.carbon_fraction
            variance += (share * row.sd) ** 2 if np.isfinite(row.sd) else 0.0
    mean = np.where(whole == 0, table["carbon_fraction"][default], mean)
    used = table.loc[served].assign(name=lambda rows: rows["taxon"].where(rows["taxon"] != "", rows["level"]))
    silent = list(dict.fromkeys(used["name"][used["sd"].isna()]))
    if silent:
        caveat(log, "carbon fractions state no error: %s", ", ".join(silent[:5]) + (", ..." if len(silent) > 5 else ""))
    unchecked = (used["status"] == "unverified").to_numpy()
    names = list(dict.fromkeys(used["name"][unchecked]))
    doubted = [f"carbon fraction of {name}" for name in names]
    if names:
        named = ", ".join(names)
        caveat(log, "carbon fractions of status unverified serve %d trees: %s", unchecked.sum(), named, unverified=doubted)
    return mean, np.sqrt(variance), doubted


def named_equations(settings: dict[str, Any]) -> str:
    chosen = settings["allometry"]
    return ", ".join(chosen) if isinstance(chosen, list | tuple) else chosen
