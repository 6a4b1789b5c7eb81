"""What a stand's own plots say beyond a map that was fitted to them.

The map has seen the plots, so its error and theirs hang together. Both are taken apart by leaving out: the map's mean of the
stand is moved to where the models would have it without the clusters of plots that lie in the stand, and the plots speak by
their departures from predictions that have not seen their cluster. What is left in common is what all plots share (allometry).

With the influence rows of a `Sample` the move is exact for least squares: b - b_-c = sum over the rows of cluster c of
influence x left-out residual / sd, because a left-out residual is the fitted one with the pull of its own cluster undone; for
other regressors it is of first order.
The error of the mean departure is that of the plots' mean residual about the stand's: told by the field of residuals, and by
the spread between plots of one stand, the larger of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from models.inference.correlations import mean_correlation
from models.inference.effects import parameters_moved, pull_of
from models.inference.regions import Regions
from models.inference.residuals import Residuals, Structure, correlation
from models.inference.target_model import Sample, SetModel, TargetModel

if TYPE_CHECKING:
    import pandas as pd

ENOUGH_PAIRS = 8
"""Degrees of freedom from which on the plots tell the spread within stands; below, all of the residual counts as such."""


@dataclass(frozen=True)
class OwnPlots:
    """The plots of one stand at a date, or measured at both of two.

    plots, clusters : how many; mean : mean of what was measured (target unit per hectare; a change: late minus early)
    departure, departure_se : mean of measured minus predicted without the plot's cluster, with its error; freedom of that
    without : clusters of the stand's plots, which the map is to be told without
    """

    plots: int
    clusters: int
    mean: float
    departure: float
    departure_se: float
    freedom: float
    without: frozenset[str]


def own_plots(
    model: TargetModel,
    left_out: pd.DataFrame,
    stand_of: Mapping[str, str],
    regions: Mapping[str, Regions],
    years: Sequence[int],
    places: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, OwnPlots]:
    """Stands that hold plots of one year, or of both of two years, by name.

    Parameters
    ----------
    left_out : DataFrame
        What `fit_target` gives: set_name, plot, cluster, year, observed, predicted; per set in the order of its sample.
    stand_of : plot -> stand, of plots that lie in one and may speak for it
    regions : stand -> its shape
    places : plot -> its x and y, of plots that only a set with a second stage sees
    """
    found: dict[str, dict] = {}
    for one in model.sets:
        rows, sample, residuals = _seen_by(model, left_out, one, places)
        residual = rows["observed"].to_numpy(float) - rows["predicted"].to_numpy(float)
        if len(years) == 1:
            late = np.flatnonzero(rows["year"].to_numpy(int) == years[0])
            moved, sd = residual[late], sample.sd[late]
            seen, structure = rows["observed"].to_numpy(float)[late], residuals.level
        else:
            early, late = sample.pairs(*years)
            moved = residual[late] - residual[early]
            sd = np.maximum(residuals.change_sd(sample.sd[early], sample.sd[late]), 1e-9)
            observed = rows["observed"].to_numpy(float)
            seen, structure = observed[late] - observed[early], residuals.change
        xy, cluster = sample.xy[late], rows["cluster"].astype(str).to_numpy()[late]
        for number, plot in enumerate(sample.plot[late]):
            stand = stand_of.get(str(plot))
            if stand is None:
                continue
            mine = found.setdefault(stand, {})
            if str(plot) not in mine:  # the first set that is complete at a plot speaks, as it does on the map
                mine[str(plot)] = (moved[number], sd[number], xy[number], cluster[number], seen[number], structure)
    within, freedom = _within(found)
    return {
        stand: _of_stand(list(plots.values()), regions[stand], within, freedom)
        for stand, plots in found.items()
        if stand in regions
    }


def _seen_by(
    model: TargetModel, left_out: pd.DataFrame, one: SetModel, places: Mapping[str, tuple[float, float]] | None
) -> tuple[pd.DataFrame, Sample, Residuals]:
    """Plots as a set predicts them without their cluster, where they are and how they scatter.

    A second stage was fitted to cells: at plots what it leaves unexplained comes on top of the first set's, whose structure
    serves for both.
    """
    if one.second_stage is None:
        return _rows_of(left_out, one), one.sample, one.residuals
    rows = left_out[left_out["set_name"] == one.name].dropna(subset=["predicted"]).reset_index(drop=True)
    first, predicted = model.named(one.second_stage.first_set).residuals, rows["predicted"].to_numpy(float)
    plot = rows["plot"].astype(str).to_numpy(str)
    x, y = np.array([(places or {}).get(name, (np.nan, np.nan)) for name in plot], float).reshape(-1, 2).T
    sd = np.hypot(first.sd(predicted), one.residuals.sd(predicted))
    sample = Sample(
        plot=plot, patch=rows["cluster"].astype(str).to_numpy(str), year=rows["year"].to_numpy(int), x=x, y=y, sd=sd,
        influence=np.zeros((len(plot), 0)),
    )  # fmt: skip
    return rows, sample, first


def _rows_of(left_out: pd.DataFrame, one: SetModel) -> pd.DataFrame:
    rows = left_out[left_out["set_name"] == one.name].reset_index(drop=True)
    if list(rows["plot"].astype(str)) != list(one.sample.plot.astype(str)):
        raise ValueError(f"left-out predictions of predictor set {one.name} are not of the plots it was fitted to; fit again")
    return rows


def _within(found: Mapping[str, Mapping[str, tuple]]) -> tuple[float, float]:
    """Variance between plots of one stand of departures of unit variance, pooled over stands, and its degrees of freedom."""
    squares, freedom = 0.0, 0
    for plots in found.values():
        z = np.array([moved / sd for moved, sd, *_ in plots.values()])
        squares += float(((z - z.mean()) ** 2).sum())
        freedom += len(z) - 1
    return (squares / freedom, freedom) if freedom >= ENOUGH_PAIRS else (1.0, np.inf)


def _of_stand(plots: list[tuple], region: Regions, within: float, freedom: float) -> OwnPlots:
    moved, sd, xy, cluster, seen, structures = (list(column) for column in zip(*plots, strict=True))
    by_plots = within / len(plots)
    by_field, doubt = _as_field(np.array(xy), region, structures[0])
    apart = max(by_plots, by_field)
    if by_field >= by_plots and doubt > 0:
        freedom = 2 * by_field**2 / doubt
    return OwnPlots(
        len(plots), len(set(cluster)), float(np.mean(seen)), float(np.mean(moved)),
        float(np.sqrt(np.mean(np.square(sd)) * apart)), float(freedom), frozenset(map(str, cluster)),
    )  # fmt: skip


def _as_field(xy: np.ndarray, region: Regions, structure: Structure) -> tuple[float, float]:
    """Variance of the mean residual of plots about the stand's, of residuals of unit size: mean over their readings, and the
    variance of that, from how far readings differ and how few plots tell the residuals' size.

    What a whole stand has in common the plots have too, so that it is in no difference.
    """
    apart, among = cdist(xy, region.points), cdist(xy, xy)
    same, side, found = float((among <= 1.0).mean()), region.spacing_m / np.sqrt(2), []
    for one in structure.readings:
        field = 0.0
        if one.smooth > 0:
            own = float(region.correlation(one.range_m)[0])
            across = float(mean_correlation(apart, side, one.range_m).mean())
            field = one.smooth * max(float(correlation(among, one.range_m).mean()) - 2 * across + own, 0.0)
        found.append(field + one.nugget * same)
    mean, doubt = structure.averaged(np.array(found))
    return float(mean), float(doubt)


def shift_without(model: TargetModel, left_out: pd.DataFrame, gradient: np.ndarray, clusters: frozenset[str]) -> float:
    """How far a mean with the gradient (p,) moves when the models are fitted without some clusters of plots."""
    moved = 0.0
    for number, one in enumerate(model.sets):
        if one.second_stage is not None:  # of cells: plots move it through the set that it learned from
            continue
        rows = _rows_of(left_out, one)
        mine = rows["cluster"].astype(str).isin(clusters).to_numpy()
        z = (rows["observed"] - rows["predicted"]).to_numpy(float)[mine] / one.sample.sd[mine]
        moved -= float(z @ (pull_of(model, number)[mine] @ gradient[parameters_moved(model, number)]))
    return moved


def without_pull(model: TargetModel, left_out: pd.DataFrame, clusters: frozenset[str]) -> TargetModel:
    """The models with nothing told by the residuals of some clusters: what the error of a map without them is made from."""
    sets = []
    for one in model.sets:
        if one.second_stage is not None:
            sets.append(one)
            continue
        mine = _rows_of(left_out, one)["cluster"].astype(str).isin(clusters).to_numpy()
        influence = np.where(mine[:, None], 0.0, one.sample.influence)
        sets.append(replace(one, sample=replace(one.sample, influence=influence)))
    return replace(model, sets=tuple(sets))
