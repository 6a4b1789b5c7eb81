"""How many trees of a hectare a counted tree stands for: fixed radius, nested radii, angle count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.plots.findings import Findings
from catalogs.units import UNITS

if TYPE_CHECKING:
    import pandas as pd

MAX_FACTOR_APART = 0.1
"""Expansion factors given and those of the design differ by less where both are right: plots at a border, rounded areas."""
EDGE_TOLERANCE_M = 0.1
"""A tree this much beyond its radius is a matter of the tape."""
MAX_SIZE_APART = 0.05
"""Sizes said twice may differ by what rounding does to a radius or an area."""
MOST_AREA_HA, MOST_RADIUS_M = 100.0, 250.0


def tier_of(dbh_cm: np.ndarray, tiers: list[dict[str, Any]]) -> np.ndarray:
    """The circle a tree is counted in: the last tier whose threshold its dbh reaches, -1 for none (thinner than all)."""
    thresholds = np.array([tier["min_dbh_cm"] for tier in tiers])
    return np.searchsorted(thresholds, np.nan_to_num(dbh_cm, nan=-1.0), side="right") - 1


def limiting_distance_m(dbh_cm: np.ndarray, baf_m2_ha: np.ndarray | float) -> np.ndarray:
    """How far from the point a tree of this dbh is counted (Bitterlich 1948): its circle holds 1 / BAF of its basal area.

    n = BAF / g per hectare and g = pi d^2 / 4 give pi R^2 = 1e4 g / BAF, so R = 50 d / sqrt(BAF) with d in metres.
    """
    return 0.5 * np.asarray(dbh_cm) / np.sqrt(baf_m2_ha)


def trees_per_ha(
    trees: pd.DataFrame, settings: dict[str, Any], *, area_ha: np.ndarray, level: np.ndarray, share: np.ndarray, baf: np.ndarray
) -> np.ndarray:
    """Trees per hectare that each tree stands for: the table's, else by the design, else one over the plot's area.

    Parameters
    ----------
    area_ha : array (trees,)
        Horizontal, measured area of the tree's plot.
    level : array (trees,)
        Horizontal area per area on the ground as it was laid out: the cosine of the slope, 1 for horizontal distances.
    share : array (trees,)
        Part of the plot that was measured.
    baf : array (trees,)
        Basal area factor of the plot, m2/ha; NaN where the plot has none of its own.

    Returns
    -------
    array (trees,)
        NaN for trees thinner than every threshold.
    """
    dbh = trees["dbh_cm"].to_numpy(float)
    designed = np.where(np.isnan(baf), 1 / area_ha, _per_ha_angle(dbh, baf) / (level * share))
    tiers = settings["nested"]
    if tiers:
        which = tier_of(dbh, tiers)
        designed = np.full(len(trees), np.nan)
        for number, tier in enumerate(tiers):
            here = which == number
            if tier["baf_m2_ha"] is not None:
                designed[here] = _per_ha_angle(dbh[here], tier["baf_m2_ha"]) / (level[here] * share[here])
            else:
                laid_out = tier["area_ha"] if tier["area_ha"] is not None else np.pi * tier["radius_m"] ** 2 / 1e4
                designed[here] = 1 / (laid_out * level[here] * share[here])
        designed = np.where(np.isnan(dbh), 1 / area_ha, designed)
    if "trees_per_ha" in trees:
        given = trees["trees_per_ha"].to_numpy(float)
        designed = np.where(np.isnan(given), designed, given)
    if "count" in trees:
        designed = designed * trees["count"].fillna(1).to_numpy()
    return designed


def check_given(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """Expansion factors of the table against the design: another unit, or another size of plot.

    Trees of circles that the settings do not name may stand for more than the plot's size says, so the factors agree where
    either their median or their lowest tenth does.
    """
    if "trees_per_ha" not in trees:
        return
    designed = trees_per_ha(
        trees.drop(columns=["trees_per_ha", "count"], errors="ignore"), settings, area_ha=trees["area_ha"].to_numpy(float),
        level=trees["level"].to_numpy(float), share=trees["measured_share"].to_numpy(float),
        baf=trees["baf_m2_ha"].to_numpy(float),
    )  # fmt: skip
    ratio = trees["trees_per_ha"].to_numpy(float) / designed
    ratio = ratio[(trees["status"] == "live").to_numpy() & (ratio > 0) & np.isfinite(ratio)]
    if not len(ratio):
        return
    found = np.quantile(ratio, [0.1, 0.5])
    agrees = np.abs(found - 1) <= MAX_FACTOR_APART
    if agrees.any():
        return
    fitting = [name for name, factor in UNITS["per_ha"].items() if (np.abs(found * factor - 1) <= MAX_FACTOR_APART).any()]
    advice = f"; plots.tree_units of {{trees_per_ha: {fitting[0]}}} would do" if fitting else "; is the plots' size right?"
    what = f"the trees_per_ha given are {found[1]:.3g} times what the plots' size says of the median tree{advice}"
    findings.add("expansion_contradiction", file=settings["trees"], what=what)


def _per_ha_angle(dbh_cm: np.ndarray, baf_m2_ha: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return baf_m2_ha / (np.pi / 4 * (dbh_cm / 100) ** 2)


def footprint_radius_m(
    settings: dict[str, Any], trees: pd.DataFrame | None, *, baf: np.ndarray, baf_of_trees: np.ndarray | None
) -> np.ndarray | float | None:
    """The radius of the ground that plots of one design speak for; None where the design does not say.

    Of nested circles the widest. An angle-count plot has no edge: the root mean square of the limiting distances of the
    trees counted, one radius for all angle counts of the study.

    Parameters
    ----------
    trees : DataFrame, optional
        The tree list, where it can be read: dbh_cm, status.
    baf : array (plots,)
        Basal area factor that the table gives a plot, m2/ha; NaN for none.
    baf_of_trees : array (trees,), optional
        The same of each tree's plot.

    Returns
    -------
    array (plots,) where only some plots are angle counts (NaN for the others), else one number or None.
    """
    tiers = settings["nested"]
    if settings["radius_m"]:
        return settings["radius_m"]
    fixed = [_tier_radius_m(tier) for tier in tiers if tier["baf_m2_ha"] is None]
    by_table = ~np.isnan(baf)
    by_tier = any(tier["baf_m2_ha"] is not None for tier in tiers)
    if not by_tier and not by_table.any():
        return max(fixed) if fixed else None
    reach = np.array([])
    if trees is not None and "dbh_cm" in trees:
        counts = ((trees["status"] == "live") & (trees["dbh_cm"] > 0)).to_numpy()
        dbh = trees.loc[counts, "dbh_cm"].to_numpy()
        factor = np.full(len(dbh), np.nan) if baf_of_trees is None else baf_of_trees[counts]
        if tiers:
            which = tier_of(dbh, tiers)
            of_tier = np.array([tier["baf_m2_ha"] or np.nan for tier in tiers])
            factor = np.where(which >= 0, of_tier[which], np.nan)
        reach = limiting_distance_m(dbh, factor)
        reach = reach[~np.isnan(reach)]
    if not len(reach):
        return max(fixed) if fixed else None
    radius = float(max([np.sqrt((reach**2).mean()), *fixed]))
    return radius if by_tier else np.where(by_table, radius, np.nan)


def _tier_radius_m(tier: dict[str, Any]) -> float:
    return tier["radius_m"] or float(np.sqrt(tier["area_ha"] * 1e4 / np.pi))


def check_sizes(frame: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """Radii, areas and factors of the plot table against plots.nested, which alone says what a tree stands for.

    A table may repeat the widest circle and the factors of the design. Anything else would count for nothing, unsaid.
    """
    tiers = settings["nested"]
    if not tiers:
        return
    factors = [tier["baf_m2_ha"] for tier in tiers if tier["baf_m2_ha"] is not None]
    fixed = [_tier_radius_m(tier) for tier in tiers if tier["baf_m2_ha"] is None]
    # beside angles, radius and area are the footprint that the user wants
    widest = max(fixed) if fixed and not factors else None
    known = {
        "baf_m2_ha": factors, "radius_m": [widest] if widest else None, "area_ha": [np.pi * widest**2 / 1e4] if widest else None,
    }  # fmt: skip
    for column, values in known.items():
        if values is None or column not in frame:
            continue
        given = frame[column].to_numpy(float)
        apart = np.min([np.abs(given / value - 1) for value in values], axis=0) if values else np.full(len(frame), np.inf)
        wrong = ~np.isnan(given) & (apart > MAX_SIZE_APART)
        if wrong.any():
            named = f"it has {', '.join(f'{value:.4g}' for value in values)}" if values else "it has none"
            what = (
                f"{column} of the table is {given[wrong][0]:g} in <rows>, and plots.nested decides how trees are counted: "
                f"{named}; mend one of the two"
            )
            findings.add("size_contradiction", file=settings["file"], what=what, rows=frame["row"].to_numpy()[wrong])


def check_distances(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings, *, radius_m: np.ndarray) -> None:
    """Trees that stand farther from the centre than the circle (or angle) that counted them; `radius_m` of their plot."""
    if "distance_m" not in trees:
        return
    dbh, reach = trees["dbh_cm"].to_numpy(float), np.array(radius_m, float)
    tiers = settings["nested"]
    if tiers:
        which = tier_of(dbh, tiers)
        for number, tier in enumerate(tiers):
            here = which == number
            if tier["baf_m2_ha"] is not None:
                reach[here] = limiting_distance_m(dbh[here], tier["baf_m2_ha"])
            else:
                reach[here] = _tier_radius_m(tier)
    beyond = trees["distance_m"].to_numpy(float) - reach
    far = (beyond > EDGE_TOLERANCE_M) & trees["status"].isin(["live", "dead"]).to_numpy()
    if far.any():
        worst = int(np.nanargmax(np.where(far, beyond, np.nan)))
        what = (
            f"a tree stands farther from the centre than its circle reaches in <rows>, at most {beyond[worst]:.1f} m beyond "
            f"{reach[worst]:.1f} m"
        )
        findings.trees("outside_plot", trees, far, file=settings["trees"], what=what)


def check_tiers(settings: dict[str, Any]) -> None:
    """Thresholds rise and a wider dbh never has a narrower circle, which would count thick trees less than thin ones."""
    tiers = settings["nested"]
    thresholds = [tier["min_dbh_cm"] for tier in tiers]
    if thresholds != sorted(set(thresholds)):
        listed = ", ".join(f"{value:g}" for value in thresholds)
        raise ValueError(f"plots.nested: the thresholds min_dbh_cm must rise from circle to circle, got {listed}")
    if settings["radius_m"] and tiers and all(tier["baf_m2_ha"] is None for tier in tiers):
        raise ValueError("plots.nested gives the radii of the plots, so leave plots.radius_m out")
    if settings["area_ha"] and tiers and all(tier["baf_m2_ha"] is None for tier in tiers):
        raise ValueError("plots.nested gives the sizes of the plots, so leave plots.area_ha out")
    _check_named_sizes(settings)
    if tiers and not settings["trees"]:
        raise ValueError("plots.nested counts trees of a list: plots.trees is missing")


def _check_named_sizes(settings: dict[str, Any]) -> None:
    """One size said twice is the same size, and no plot is as large as a number of square metres read as hectares."""
    radius, area = settings["radius_m"], settings["area_ha"]
    if radius and area and abs(np.pi * radius**2 / 1e4 / area - 1) > MAX_SIZE_APART:
        raise ValueError(
            f"plots.radius_m {radius:g} is a circle of {np.pi * radius**2 / 1e4:.4g} ha, and plots.area_ha is {area:g}; "
            "keep the one that is right"
        )
    sizes = [("plots", radius, area)] + [("plots.nested", tier["radius_m"], tier["area_ha"]) for tier in settings["nested"]]
    for where, radius_m, area_ha in sizes:
        if area_ha and area_ha > MOST_AREA_HA:
            raise ValueError(f"{where}: area_ha {area_ha:g} is larger than any plot; 400 m2 are 0.04 ha")
        if radius_m and radius_m > MOST_RADIUS_M:
            raise ValueError(f"{where}: radius_m {radius_m:g} is wider than any plot")
