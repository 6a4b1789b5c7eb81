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


def footprint_radius_m(settings: dict[str, Any], trees: pd.DataFrame | None) -> float | None:
    """The radius of the ground that plots of one design speak for; None where the design does not say.

    Of nested circles the widest. An angle-count plot has no edge: the root mean square of the limiting distances of the
    trees counted, one radius for all plots of the study.
    """
    tiers = settings["nested"]
    if settings["radius_m"]:
        return settings["radius_m"]
    fixed = [tier["radius_m"] or np.sqrt(tier["area_ha"] * 1e4 / np.pi) for tier in tiers if tier["baf_m2_ha"] is None]
    if not any(tier["baf_m2_ha"] is not None for tier in tiers):
        return max(fixed) if fixed else None
    if trees is None or "dbh_cm" not in trees:
        return max(fixed) if fixed else None
    dbh = trees.loc[(trees["status"] == "live") & (trees["dbh_cm"] > 0), "dbh_cm"].to_numpy()
    which = tier_of(dbh, tiers)
    by_angle = np.array([tier["baf_m2_ha"] is not None for tier in tiers])
    factor = np.array([tier["baf_m2_ha"] or np.nan for tier in tiers])
    counted = (which >= 0) & by_angle[which]
    if not counted.any():
        return max(fixed) if fixed else None
    reach = limiting_distance_m(dbh[counted], factor[which[counted]])
    return float(max([np.sqrt((reach**2).mean()), *fixed]))


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
                reach[here] = tier["radius_m"] or np.sqrt(tier["area_ha"] * 1e4 / np.pi)
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
    if tiers and not settings["trees"]:
        raise ValueError("plots.nested counts trees of a list: plots.trees is missing")
