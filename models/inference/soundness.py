"""What a table of plots has to be before a model is fitted to it: what breaks it is said in a sentence, not by a number."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from models.regressors import Regressor

log = logging.getLogger(__name__)

MOST_NAMED = 10
"""Plots that a sentence names."""
ONE_PLACE_M = 1.0
"""Plots whose clusters all lie within so much say nothing of how residuals hang together in space."""

MOST_KNOWN_MG_HA = 5800.0
"""Aboveground biomass that no forest is known to exceed: old Sequoia sempervirens, 3,300 to 5,800 Mg/ha (Busing and Fujimori
2005, Plant Ecology 177:177-188, doi:10.1007/s11258-005-2322-8)."""
MOST_USUAL_MG_HA = 1000.0
"""Mean that plots of a study exceed in old forests of giant trees alone: Eucalyptus regnans has the densest biomass of 136
primary forests all over the world, 1,000 to 1,800 Mg/ha above ground (Keith et al. 2009, PNAS 106:11635-11640,
doi:10.1073/pnas.0901970106)."""
FEWEST_CLUSTERS = 3
"""Clusters of plots that a fit needs whatever model.min_clusters says."""
LEFT_WITHOUT_ONE = 0.1
"""Share of a predictor's spread below which it rests on the one cluster of plots without which so little is left."""


def check_targets(plots: pd.DataFrame, column: str, name: str, transform: str) -> list[str]:
    """Refuse plots (n rows) to which no model of the target `column` can be fitted, and count those that lack the target.

    Returns what is to be known of the targets all the same: sentences.

    Parameters
    ----------
    plots : DataFrame
        plot, cluster, year, x, y (m), area_ha and the target `column`, a stock, which is zero or more
    name, transform : of the predictor set that is to be fitted; a target below zero has no square root or logarithm, and is a
        fault of the table in any case

    Raises
    ------
    ValueError
        If a target is infinite, or negative under a transform, the target does not vary, a cluster or year is missing, no plot
        has an area or one has none to speak of, or plots lie nowhere or all at one place.
    """
    target = plots[column].to_numpy(float)
    lacking = np.isnan(target)
    if lacking.any():
        log.info(
            "predictor set %s: %d of %d plot measurements lack %s and are not used: %s",
            name, lacking.sum(), len(plots), column, named(plots, lacking),
        )  # fmt: skip
    if (odd := np.isinf(target)).any():
        raise ValueError(
            f"{column} is infinite at {odd.sum()} of {len(plots)} plot measurements ({named(plots, odd)}): a division by an "
            "area of zero makes such values; mend them in the plot table or take them out of it"
        )
    notes = []
    if (below := target < 0).any():
        said = (
            f"{column} is negative at {below.sum()} of {len(plots)} plot measurements ({named(plots, below)}; the least is "
            f"{np.nanmin(target):.4g}): a stock is zero or more; mend them in the plot table or take them out of it"
        )
        if transform != "none":
            raise ValueError(said)
        notes.append(f"predictor set {name}: {said}")
    if column == "agb_mg_ha":
        notes += [f"predictor set {name}: {said}" for said in beyond_forests(plots)]
    used = plots[~lacking]
    if len(used) > 1 and np.ptp(target[~lacking]) == 0:
        raise ValueError(
            f"{column} is {target[~lacking][0]:.4g} at all {len(used)} plot measurements: where nothing differs nothing can be "
            "told from predictors; is this the column that was meant?"
        )
    _check_labels(used)
    _check_areas(used)
    _check_places(used)
    return notes


def beyond_forests(plots: pd.DataFrame) -> list[str]:
    """What is to be asked of aboveground biomass that few forests of the world hold, or none: a sentence at most."""
    biomass = plots["agb_mg_ha"].to_numpy(float)
    mean, over = float(np.nanmean(biomass)) if np.isfinite(biomass).any() else 0.0, biomass > MOST_KNOWN_MG_HA
    ask = (
        "is it in another unit (kg, t a plot, pounds, m3), or is the area of plots too small by a factor? look at plots.units "
        "and area_ha"
    )
    if over.any():
        return [
            f"agb_mg_ha is up to {np.nanmax(biomass):.4g} Mg/ha, above {MOST_KNOWN_MG_HA:g} at {over.sum()} of {len(plots)} plot "
            f"measurements ({named(plots, over)}): no forest is known to hold more (old coast redwood, Busing and Fujimori 2005; "
            f"only a small plot around a giant tree can); {ask}"
        ]
    if mean > MOST_USUAL_MG_HA:
        return [
            f"the mean of agb_mg_ha at {int(np.isfinite(biomass).sum())} plot measurements is {mean:.4g} Mg/ha: only old "
            f"forests of giant trees (mountain ash, redwood) hold more than {MOST_USUAL_MG_HA:g} (Keith et al. 2009); {ask}"
        ]
    return []


def resting_on_one(X: np.ndarray, cluster: np.ndarray, predictors: Sequence[str], name: str) -> list[str]:
    """A sentence for each predictor that is the same at nearly all plots but those of one cluster: its slope is that cluster's.

    Parameters
    ----------
    X : (n, p) predictors of the plots that are fitted to, each of which varies; cluster : (n,)
    name : of the predictor set
    """
    said = []
    for number, predictor in enumerate(predictors):
        values, clusters = X[:, number], np.unique(cluster)
        far = max(clusters, key=lambda one: abs(values[cluster == one].mean() - np.median(values)))
        rest = values[cluster != far]
        if len(rest) < 2 or rest.std() >= LEFT_WITHOUT_ONE * values.std():
            continue
        usual, own = float(np.median(rest)), float(values[cluster == far].mean())
        alike = int(np.isclose(rest, usual, rtol=0.0, atol=LEFT_WITHOUT_ONE * abs(own - usual)).sum())
        said.append(
            f"predictor set {name}: predictor {predictor!r} is {usual:.4g} or nearly so at {alike} of {len(values)} plot "
            f"measurements and {own:.4g} in cluster {far}: what the model makes of it is told by that cluster alone, and with it "
            "left out nothing tells it; take the predictor out of model.predictors, or measure plots where it differs"
        )
    return said


def too_few_clusters(measurements: int, clusters: int, predictors: Sequence[str], least: int, machine: Regressor) -> str:
    """A sentence where plots with all of some predictors lie in fewer clusters than their fit needs; '' where they do not."""
    if clusters == 1 and measurements > 1:
        return (
            f"all {measurements} plot measurements that have {', '.join(predictors)} are in one cluster, at least {least} "
            "clusters are needed: errors are told from what one cluster says of another"
        )
    if clusters < least:
        return (
            f"{clusters} clusters of plots have all of {', '.join(predictors)}, at least {least} are needed "
            "(model.min_clusters): measure plots in more places, or name predictors that are there at more of them"
        )
    needed = machine.least_clusters(len(predictors))
    if clusters < needed:
        which = f" for regressor {machine.name}" if machine.learns else ""
        return f"{len(predictors)} predictors need more than {needed - 1} clusters of plots{which}, there are {clusters}"
    return ""


def without_constant(
    plots: pd.DataFrame, predictor_sets: Mapping[str, Sequence[str]], column: str
) -> tuple[dict[str, list[str]], list[str]]:
    """Predictor sets that nobody named, without predictors that are the same at all plots; a sentence on each.

    A closed canopy has a cover of 100 % at every plot, and the other predictors serve all the same. A set of which none would be
    left stays as it is: the fit says what is wrong with it.
    """
    from models.inference.strata import flat

    found, notes = {}, []
    for name, predictors in predictor_sets.items():
        X = plots[list(predictors)].to_numpy(float)
        X = X[np.isfinite(X).all(axis=1) & np.isfinite(plots[column].to_numpy(float))]
        constant = flat(X, predictors) if len(X) > 1 else np.zeros(len(predictors), bool)
        constant &= not constant.all()
        found[name] = [one for one, gone in zip(predictors, constant, strict=True) if not gone]
        notes += [
            f"predictor set {name}: {predictors[k]}, one of the predictors that are taken where model.predictors names none, is "
            f"{X[0, k]:.4g} at all {len(X)} plot measurements and left out: nothing can be told by it"
            for k in np.flatnonzero(constant)
        ]
    return found, notes


def _check_labels(plots: pd.DataFrame) -> None:
    """Every row is of a cluster and a year."""
    for label, advice in (
        ("cluster", "give every plot one; a plot that stands alone is its own (its name will do)"),
        ("year", "every measurement has a date"),
    ):
        if (gone := plots[label].isna().to_numpy()).any():
            raise ValueError(f"{gone.sum()} of {len(plots)} plot measurements have no {label} ({named(plots, gone)}): {advice}")


def _check_areas(plots: pd.DataFrame) -> None:
    """The residual of a plot is of its area: without one no stand's error can be told."""
    area_ha = plots["area_ha"].to_numpy(float)
    if len(area_ha) and np.isnan(area_ha).all():
        raise ValueError(
            f"none of {len(plots)} plot measurements says how large its plot is (area_ha): how much of an error a stand averages "
            "out rests on it"
        )
    if (odd := ~(area_ha > 0) & ~np.isnan(area_ha)).any():
        raise ValueError(
            f"area_ha is not above zero at {odd.sum()} of {len(plots)} plot measurements ({named(plots, odd)}); it is in hectares"
        )


def _check_places(plots: pd.DataFrame) -> None:
    """How far residuals are alike is told from distances between plots."""
    xy = plots[["x", "y"]].to_numpy(float)
    if (nowhere := ~np.isfinite(xy).all(axis=1)).any():
        raise ValueError(f"{nowhere.sum()} of {len(plots)} plot measurements have no position ({named(plots, nowhere)})")
    if plots["cluster"].nunique() > 1 and (np.ptp(xy, axis=0) <= ONE_PLACE_M).all():
        x, y = xy.mean(axis=0)
        raise ValueError(
            f"all {plots['cluster'].nunique()} clusters of plots lie at one place ({x:.0f}, {y:.0f}): their coordinates were "
            "filled in or rounded, and neither predictors nor distances can be told by them"
        )


def named(plots: pd.DataFrame, which: np.ndarray) -> str:
    """Plots and years of some rows (n,), the first of them where there are many."""
    names = [f"{plot} ({year})" for plot, year in zip(plots["plot"][which], plots["year"][which], strict=True)]
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
