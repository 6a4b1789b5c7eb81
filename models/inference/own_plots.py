"""What a stand's own plots say beyond a map that was fitted to them.

The map has seen the plots, so its error and theirs hang together. Both are taken apart by leaving out: the map's mean of the
stand is moved to where the models would have it without the clusters of plots that lie in the stand, and the plots speak by
their departures from predictions that have not seen their cluster.

With the influence rows of a `Sample` the move is exact for least squares: b - b_-c = sum over the rows of cluster c of
influence x left-out residual / sd, because a left-out residual is the fitted one with the pull of its own cluster undone; for
other regressors it is of first order.

Plots and stand are seen through the model's own account of what it leaves unexplained: residuals of a place are sd x u, where
the sd follows the prediction and u hangs together as `Residuals` says, set by set. What the stand departs by is the sum over its
parts, each served by one predictor set, of the part's mean sd x the mean u there. So the departures of the plots from each set
are scaled by the sd of the part that the set serves over their own: plots in the uncut half of a stand say nothing of the felled
half, where nothing is left to depart from, and plots under lidar say of the part that only a satellite sees what they depart
there from the satellite's prediction. A plot on land that the map has no forest on says nothing of the forest of its stand.
A change departs, on land that is forest at both dates, by the change of the residuals: plots tell it that were measured and
are forest at both. On land that is forest at one date alone it departs by what that date's stock does: all plots tell it
that were measured then and are forest then (`Aspect`).
The error is that of this sum about the stand's: told by the fields of residuals, and by the spread between plots of one stand,
the larger of the two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from models.inference.correlations import mean_correlation
from models.inference.effects import in_one_patch, parameters_moved, pull_of
from models.inference.patches import PATCH_HA
from models.inference.regions import Regions
from models.inference.residuals import Residuals, Structure, correlation
from models.inference.stands import Sums
from models.inference.target_model import Sample, SetModel, TargetModel

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

ENOUGH_PAIRS = 8
"""Degrees of freedom from which on the plots tell the spread within stands; below, all of the residual counts as such."""


@dataclass(frozen=True)
class OwnPlots:
    """The plots of one stand at a date, or measured at both of two.

    plots, clusters : how many; mean : mean of what was measured (target unit per hectare; a change: late minus early)
    departure, departure_se : what the stand departs by from the map, as its plots have it, with its error; freedom of that
    in_common : covariance of that error with the map's, through what the stand departs by
    pull : (parameters,) gradient of the predictions in the departure; factors : (shared errors,) what each, by one standard
        deviation, does to what was measured in it
    without : clusters of the stand's plots, which the map is to be told without
    """

    plots: int
    clusters: int
    mean: float
    departure: float
    departure_se: float
    freedom: float
    in_common: float
    pull: np.ndarray
    factors: np.ndarray
    without: frozenset[str]


@dataclass(frozen=True)
class _Seen:
    """One plot as one predictor set sees it: the departure `moved` from it, of the SD `sd` (sets,) that each set's residuals
    have in it; what was measured and its shared errors, the gradient of the prediction, and the patch. `bare` where a stock is
    predicted no higher than the floor of the residuals' SD: hardly anything is left there to depart from."""

    moved: float
    sd: np.ndarray
    xy: np.ndarray
    cluster: str
    patch: str
    observed: float
    gradient: np.ndarray
    factors: np.ndarray
    bare: bool


@dataclass(frozen=True)
class Aspect:
    """One way in which land departs: by the residual of one year, or by its change between two; `sign` of it in what is asked."""

    years: tuple[int, ...]
    sign: float
    sums: Callable[[Sums], Sums]


def aspects_of(years: Sequence[int]) -> tuple[Aspect, ...]:
    """Of a stock its own; of a change that of land that is forest at both dates, at the earlier, and at the later alone."""
    if len(years) == 1:
        return (Aspect(tuple(years), 1.0, lambda sums: sums),)
    return (
        Aspect(tuple(years), 1.0, lambda sums: sums.lasting),
        Aspect((years[0],), -1.0, lambda sums: sums.once[0] if sums.once else sums.nothing),
        Aspect((years[1],), 1.0, lambda sums: sums.once[1] if sums.once else sums.nothing),
    )


def _hang(residuals: Residuals, one: Aspect, other: Aspect) -> list[tuple[Structure, float]]:
    """Covariance of what land departs by in two aspects, of unit size, as sums of structures: each date's residuals are of the
    structure of levels, their change d of its own, and with its later date d has half its variance in common."""
    level, change = residuals.level, residuals.change
    half = float(residuals.change_sd(np.ones(1), np.ones(1))[0]) / 2
    if one.years == other.years:
        return [(level if len(one.years) == 1 else change, 1.0)]
    if len(one.years) == len(other.years) == 1:
        return [(level, 1.0), (change, -2 * half**2)]
    stock = one if len(one.years) == 1 else other
    return [(change, stock.sign * half)]


def own_plots(
    model: TargetModel,
    left_out: pd.DataFrame,
    training: pd.DataFrame,
    stand_of: Mapping[str, str],
    sums: Mapping[str, Sums],
    regions: Mapping[str, Regions],
    years: Sequence[int],
) -> dict[str, OwnPlots]:
    """Stands that hold plots of one year, or of both of two years, by name.

    Parameters
    ----------
    left_out : DataFrame
        What `fit_target` gives: set_name, plot, cluster, year, observed, predicted; per set in the order of its sample.
    training : DataFrame
        What the models were fitted to: plot, year, x, y, predictors, shared error factors `f_*`; `forest_share`, what the map has
        of forest in each, where that is known: a plot with less than half is none.
    stand_of : plot -> stand, of plots that lie in one and may speak for it
    sums, regions : stand -> sums of its pixels, its shape
    """
    aspects, told, silent = aspects_of(years), {}, 0
    found: dict[str, dict[Aspect, dict[int, dict[str, _Seen]]]] = {}
    for aspect in aspects:
        for number in range(len(model.sets)):
            for plot, seen in _departures(model, number, left_out, training, aspect.years, stand_of):
                found.setdefault(stand_of[plot], {}).setdefault(aspect, {}).setdefault(number, {})[plot] = seen
    within = {
        aspect: _within([one[aspect] for one in found.values() if aspect in one], len(model.sets)) for aspect in aspects
    }
    for stand, by_aspect in found.items():
        if stand not in regions:
            continue
        speaking = {aspect: _speaking(model, by_set, aspect.sums(sums[stand])) for aspect, by_set in by_aspect.items()}
        speaking = {aspect: by_set for aspect, by_set in speaking.items() if by_set}
        if speaking:
            told[stand] = _of_stand(model, speaking, sums[stand], regions[stand], aspects, within)
        silent += not speaking
    if silent:
        log.info("%s %s: plots of %d stands say nothing of them, for all stand on land without forest",
                 model.target, "-".join(map(str, years)), silent)  # fmt: skip
    return told


def _speaking(model: TargetModel, by_set: Mapping[int, Mapping[str, _Seen]], sums: Sums) -> dict[int, dict[str, _Seen]]:
    """The plots that speak of a stand, by set: of one with forest, those that are not bare."""
    served = float(np.sum(sums.set_ha))
    if served <= 0 or not np.any(sums.s):
        return {}
    found = {}
    for number, plots in by_set.items():
        standing = sums.value / served > model.sets[_root(model, number)].residuals.floor
        kept = {plot: one for plot, one in plots.items() if not (one.bare and standing)}
        if kept:
            found[number] = kept
    return found


LEAST_FOREST = 0.5
"""Share of a plot that the map has forest on, from which on it is a plot of the forest."""


def _departures(
    model: TargetModel, number: int, left_out: pd.DataFrame, training: pd.DataFrame, years: Sequence[int],
    stand_of: Mapping[str, str],
) -> Iterator[tuple[str, _Seen]]:  # fmt: skip
    """Plots that lie in stands, and are forest at the years that are asked for, as a set sees them, by name."""
    one = model.sets[number]
    rows, sample, parts = _seen_by(model, left_out, number, training)
    observed, predicted = rows["observed"].to_numpy(float), rows["predicted"].to_numpy(float)
    bare = predicted <= model.sets[_root(model, number)].residuals.floor
    training = training[training["kept"]] if "kept" in training else training
    table = training.assign(plot=training["plot"].astype(str)).drop_duplicates(["plot", "year"]).set_index(["plot", "year"])
    forest = _forest_at(sample, table)
    if len(years) == 1:
        late = np.flatnonzero(sample.year == years[0])
        steps, sd = ((late, 1.0),), parts[late]
        wooded, bare = forest[late] != 0, bare[late]
    else:
        early, late = sample.pairs(*years)
        steps = ((late, 1.0), (early, -1.0))
        sd = np.zeros((len(late), len(model.sets)))
        for part in model.carried[number]:
            sd[:, part] = model.sets[part].residuals.change_sd(parts[early, part], parts[late, part])
        # where no map says it, a plot that is bare at one date alone is no forest then
        unlike = np.isnan(forest[early] + forest[late]) & (bare[early] != bare[late])
        wooded, bare = (forest[early] != 0) & (forest[late] != 0) & ~unlike, np.zeros(len(late), bool)
    there = wooded & np.array([str(plot) in stand_of for plot in sample.plot[late]], bool)
    if not there.any():
        return
    names = [name for name in training.columns if name.startswith("f_")] if len(model.shared) else []
    values, moved = np.zeros(int(there.sum())), np.zeros(int(there.sum()))
    gradient, factors = np.zeros((len(values), model.influence.shape[1])), np.zeros((len(values), len(names)))
    for at, sign in steps:
        at = at[there]
        told = table.loc[list(zip(sample.plot[at].astype(str), sample.year[at].tolist(), strict=True))]
        design = one.design(told[list(one.predictors)].to_numpy(float), sample.year[at])
        gradient[:, model.slices()[number]] += sign * one.machine.both(one.params, design)[1]
        factors += sign * np.nan_to_num(told[names].to_numpy(float))
        values += sign * observed[at]
        moved += sign * (observed[at] - predicted[at])
    last, sd, bare = late[there], np.maximum(sd[there], 1e-9 * (parts[late][there] > 0)), bare[there]
    cluster = rows["cluster"].astype(str).to_numpy()[last]
    for k, plot in enumerate(sample.plot[last]):
        yield str(plot), _Seen(moved[k], sd[k], sample.xy[last[k]], cluster[k], str(sample.patch[last[k]]), values[k],
                               gradient[k], factors[k], bool(bare[k]))  # fmt: skip


def _forest_at(sample: Sample, table: pd.DataFrame) -> np.ndarray:
    """1 where the map has forest in a row of the sample (n,), 0 where it has none, NaN where it is not known."""
    if "forest_share" not in table:
        return np.full(len(sample.plot), np.nan)
    keys = list(zip(sample.plot.astype(str), sample.year.tolist(), strict=True))
    share = table["forest_share"].reindex(keys).to_numpy(float)
    return np.where(np.isnan(share), np.nan, share >= LEAST_FOREST)


def _seen_by(
    model: TargetModel, left_out: pd.DataFrame, number: int, training: pd.DataFrame
) -> tuple[pd.DataFrame, Sample, np.ndarray]:
    """Plots as a set predicts them without their cluster, where they are, and the SD (n, sets) that each set's residuals have.

    A second stage was fitted to cells: at plots what it leaves unexplained comes on top of the first set's.
    """
    one = model.sets[number]
    if one.second_stage is None:
        rows, sample = _rows_of(left_out, one), one.sample
        parts = np.zeros((len(rows), len(model.sets)))
        parts[:, number] = sample.sd
        return rows, sample, parts
    rows = left_out[left_out["set_name"] == one.name].dropna(subset=["predicted"]).reset_index(drop=True)
    plot, predicted = rows["plot"].astype(str).to_numpy(str), rows["predicted"].to_numpy(float)
    places = training.assign(plot=training["plot"].astype(str)).drop_duplicates("plot").set_index("plot")[["x", "y"]]
    x, y = places.reindex(plot).to_numpy(float).T
    parts = np.zeros((len(rows), len(model.sets)))
    for part in model.carried[number]:
        parts[:, part] = model.sets[part].residuals.sd(predicted)
    first = model.named(one.second_stage.first_set).sample
    patch_of = dict(zip(first.plot.astype(str), first.patch.astype(str), strict=True))
    patch = np.array([patch_of.get(name, cluster) for name, cluster in zip(plot, rows["cluster"].astype(str), strict=True)], str)
    sample = Sample(
        plot=plot, patch=patch, year=rows["year"].to_numpy(int), x=x, y=y, sd=np.sqrt((parts**2).sum(axis=1)),
        influence=np.zeros((len(plot), 0)),
    )  # fmt: skip
    return rows, sample, parts


def _rows_of(left_out: pd.DataFrame, one: SetModel) -> pd.DataFrame:
    rows = left_out[left_out["set_name"] == one.name].reset_index(drop=True)
    if not np.array_equal(rows["plot"].to_numpy(str), one.sample.plot.astype(str)):
        raise ValueError(f"left-out predictions of predictor set {one.name} are not of the plots it was fitted to; fit again")
    return rows


def _within(stands: Iterable[Mapping[int, Mapping[str, _Seen]]], sets: int) -> tuple[np.ndarray, np.ndarray]:
    """Variance (sets,) between plots of one stand of departures of unit variance, pooled over stands, and its freedom (sets,).

    Where a set has too few plots that share a stand, all of the residual counts as spread within stands.
    """
    squares, freedom = np.zeros(sets), np.zeros(sets)
    for by_set in stands:
        for number, plots in by_set.items():
            z = np.array([one.moved / max(np.linalg.norm(one.sd), 1e-9) for one in plots.values() if not one.bare])
            squares[number] += ((z - z.mean()) ** 2).sum() if len(z) else 0.0
            freedom[number] += max(len(z) - 1, 0)
    enough = freedom >= ENOUGH_PAIRS
    return np.where(enough, squares / np.maximum(freedom, 1), 1.0), np.where(enough, freedom, np.inf)


def _of_stand(
    model: TargetModel, speaking: Mapping[Aspect, Mapping[int, Mapping[str, _Seen]]], sums: Sums, region: Regions,
    aspects: Sequence[Aspect], within: Mapping[Aspect, tuple[np.ndarray, np.ndarray]],
) -> OwnPlots:  # fmt: skip
    """What a stand's plots say of it."""
    terms: list[_Term] = []
    for aspect, by_set in speaking.items():
        most = max(by_set, key=lambda number: (len(by_set[number]), -number))
        for part, size in _parts(model, aspect.sums(sums)).items():
            teller = part if part in by_set else most
            plots = by_set[teller].values()
            share = size.sum() if teller == part else float(size @ model.between_sets[:, _root(model, teller)])
            named = teller if teller == part else _root(model, teller)
            whole = sum(one.sd.sum() if teller == part else one.sd[named] for one in plots)
            terms += [_Term(aspect, teller, one, aspect.sign * share / max(whole, 1e-9)) for one in plots]
    every = {plot: one for by_set in speaking.values() for plots in by_set.values() for plot, one in plots.items()}
    weight = np.array([term.count for term in terms])
    fields = _fields(model, terms, sums, aspects)
    by_field, doubt, in_common = _as_fields(model, terms, fields, region)
    by_plots, freedom = _as_spread(model, terms, fields, within)
    if by_field >= by_plots:
        freedom = 2 * by_field**2 / doubt if doubt > 0 else np.inf
    first = next(iter(speaking))
    measured = {plot: one.observed for plots in speaking[first].values() for plot, one in plots.items()}
    return OwnPlots(
        len(every), len({one.cluster for one in every.values()}), first.sign * float(np.mean(list(measured.values()))),
        float(weight @ [term.seen.moved for term in terms]), float(np.sqrt(max(by_field, by_plots))), float(freedom), in_common,
        weight @ np.array([term.seen.gradient for term in terms]), weight @ np.array([term.seen.factors for term in terms]),
        frozenset(one.cluster for one in every.values()),
    )  # fmt: skip


@dataclass(frozen=True)
class _Term:
    """What a plot says of a stand in one aspect, as one set sees it, and what a unit of its departure counts."""

    aspect: Aspect
    number: int
    seen: _Seen
    count: float


@dataclass(frozen=True)
class _Field:
    """Residuals of one set in one aspect: what those of unit size count in the terms (n,) and in the stand."""

    aspect: Aspect
    number: int
    loads: np.ndarray
    scale: float


def _fields(model: TargetModel, terms: Sequence[_Term], sums: Sums, aspects: Sequence[Aspect]) -> list[_Field]:
    """Of every aspect and set that terms or stand have residuals of."""
    loads = np.array([term.count * term.seen.sd for term in terms])
    found = []
    for aspect in aspects:
        mine = np.array([term.aspect is aspect for term in terms])
        scale = aspect.sign * np.asarray(aspect.sums(sums).s, float) / sums.covered_ha
        every = [_Field(aspect, k, np.where(mine, loads[:, k], 0.0), float(scale[k])) for k in range(len(model.sets))]
        found += [one for one in every if one.loads.any() or one.scale != 0]
    return found


def _root(model: TargetModel, number: int) -> int:
    """The set fitted to plots whose residuals a set's predictions carry."""
    return model.carried[number][0]


def _parts(model: TargetModel, sums: Sums) -> dict[int, np.ndarray]:
    """Of each set that serves a part of the stand, what the sd (sets,) of that part's residuals adds to the stand's mean sd.

    What a first set's residuals do is shared out among its own part and those of second stages by their areas.
    """
    scale, served = np.asarray(sums.s, float) / sums.covered_ha, np.asarray(sums.set_ha, float)
    carrying = np.array([[part in carried for part in range(len(scale))] for carried in model.carried], float) * served[:, None]
    share = carrying / np.maximum(carrying.sum(axis=0), 1e-9)
    return {number: share[number] * scale for number in np.flatnonzero(served > 0)}


def _as_spread(
    model: TargetModel, terms: Sequence[_Term], fields: Sequence[_Field], within: Mapping[Aspect, tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Variance that plots give the sum where each has the spread of plots within stands for itself, and its freedom."""
    size = np.sqrt([within[term.aspect][0][term.number] for term in terms])
    _, plot = np.unique(np.array([term.seen.xy for term in terms]), axis=0, return_inverse=True)
    summed = np.zeros((plot.max() + 1, len(fields)))
    np.add.at(summed, plot.ravel(), np.column_stack([one.loads * size for one in fields]))
    hang = np.array([
        [model.between_sets[a.number, b.number]
         * sum(factor for _, factor in _hang(model.sets[a.number].residuals, a.aspect, b.aspect)) for b in fields]
        for a in fields
    ])  # fmt: skip
    freedom = min(within[term.aspect][1][term.number] for term in terms)
    return max(float(((summed @ hang) * summed).sum()), 0.0), float(freedom)


def _as_fields(
    model: TargetModel, terms: Sequence[_Term], fields: Sequence[_Field], region: Regions
) -> tuple[float, float, float]:
    """Variance of what plots sum up about what the stand departs by, over the readings of all sets' fields, the variance of
    that as an estimate, and the covariance of this error with the map's, which lacks what the stand departs by."""
    xy = np.array([term.seen.xy for term in terms])
    patch = np.array([term.seen.patch for term in terms])
    apart, among = cdist(xy, region.points), cdist(xy, xy)
    side, left = region.spacing_m / np.sqrt(2), float(in_one_patch(region)[0])
    one_patch = np.pi * region.radius_m[0] ** 2 <= PATCH_HA * 1e4
    same_patch = np.ones_like(among) if one_patch else (patch[:, None] == patch[None, :]).astype(float)
    told = {}

    def kernels(range_m: float) -> tuple[np.ndarray, np.ndarray, float]:
        if range_m not in told:
            across = mean_correlation(apart, side, range_m).mean(axis=1)
            told[range_m] = correlation(among, range_m), across, float(region.correlation(range_m)[0])
        return told[range_m]

    def form(structure: Structure, a: _Field, b: _Field) -> np.ndarray:
        """(readings, 2) of fields a and b: covariance of the sums' errors, and of a's map error with b's sum's."""
        found, first, second = [], a.loads, b.loads
        for one in structure.readings:
            between, across, own = kernels(one.range_m) if one.smooth > 0 else (same_patch, np.zeros(len(first)), 0.0)
            stand = a.scale * b.scale
            mixed = (one.smooth * across + one.patch * left) @ np.column_stack([second, first])
            itself = stand * (one.smooth * own + one.patch * left)
            plots = one.smooth * between + one.patch * same_patch + one.nugget * (among <= 1.0)
            error = first @ plots @ second - a.scale * mixed[0] - b.scale * mixed[1] + itself
            found.append((error, itself - a.scale * mixed[0]))
        return np.array(found)

    variance = in_common = 0.0
    relative, sizes = 0.0, 0.0
    for a in fields:
        for b in fields:
            hangs = model.between_sets[a.number, b.number]
            if hangs == 0:
                continue
            for structure, factor in _hang(model.sets[a.number].residuals, a.aspect, b.aspect):
                both = factor * form(structure, a, b)
                mean, doubt = structure.averaged(np.maximum(both[:, 0], 0.0) if a is b else both[:, 0])
                variance += hangs * float(mean)
                in_common += hangs * float(structure.averaged(both[:, 1])[0])
                if a is b and mean > 0:
                    relative, sizes = relative + float(doubt / mean), sizes + float(mean)
    variance = max(variance, 0.0)
    return variance, variance**2 * relative / sizes if sizes > 0 else 0.0, in_common


@dataclass(frozen=True)
class LeftOut:
    """Of each set fitted to plots, by its number, the cluster (n,) of its rows and what they depart by, in their SD, from
    predictions without it (n,)."""

    cluster: Mapping[int, np.ndarray]
    z: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, model: TargetModel, left_out: pd.DataFrame) -> LeftOut:
        cluster, z = {}, {}
        for number, one in enumerate(model.sets):
            if one.second_stage is None:  # those of cells are moved by plots through the set that they learned from
                rows = _rows_of(left_out, one)
                cluster[number] = rows["cluster"].to_numpy(str)
                z[number] = (rows["observed"] - rows["predicted"]).to_numpy(float) / one.sample.sd
        return cls(cluster, z)

    def mine(self, number: int, clusters: frozenset[str]) -> np.ndarray:
        """Which rows (n,) of a set are of some clusters."""
        return np.isin(self.cluster[number], list(clusters))


def shift_without(model: TargetModel, apart: LeftOut, gradient: np.ndarray, clusters: frozenset[str]) -> float:
    """How far a mean with the gradient (p,) moves when the models are fitted without some clusters of plots."""
    moved = 0.0
    for number, z in apart.z.items():
        mine = apart.mine(number, clusters)
        pull = pull_of(model, number, model.sets[number].sample.influence[mine])
        moved -= float(z[mine] @ (pull @ gradient[parameters_moved(model, number)]))
    return moved


def without_pull(model: TargetModel, apart: LeftOut, clusters: frozenset[str]) -> TargetModel:
    """The models with nothing told by the residuals of some clusters: what the error of a map without them is made from."""
    sets = list(model.sets)
    for number in apart.z:
        sample = sets[number].sample
        influence = np.where(apart.mine(number, clusters)[:, None], 0.0, sample.influence)
        sets[number] = replace(sets[number], sample=replace(sample, influence=influence))
    return replace(model, sets=tuple(sets))
