"""What residuals do to means of regions: those of the plots through the parameters, and those in the region itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

from models.inference.correlations import NEAR, STEPS_SIDE, square_table
from models.inference.fields import FAR, field_of
from models.inference.patches import PATCH_HA, STAND
from models.inference.regions import Regions
from models.inference.residuals import Structure, correlation
from models.inference.target_model import Sample, TargetModel

SMALL = 2.0
"""Where the range is so many times the extent of a stand or more, what it shares with plots is told by its centre and area."""
VERY_NEAR = 0.05
"""Share of the shortest range within which plots count as one place (correlation above 0.86, errors to either side)."""


@dataclass(frozen=True)
class Told:
    """What the readings say of variances (n,): their mean, the variance of that (how far they differ, and how few plots tell
    the residuals' size), and how much of the mean is the region's own departure that does not average out in it."""

    variance: np.ndarray
    doubt: np.ndarray
    area: np.ndarray

    def __add__(self, other: Told) -> Told:
        return Told(self.variance + other.variance, self.doubt + other.doubt, self.area + other.area)


@dataclass(frozen=True)
class Departure:
    """What residuals of unit size in n regions do to their means, each weighted by its size there.

    correlated : (n, ranges) variance of a smooth field's mean, in_common : (n, ranges) its covariance with what plots pull;
    patched : (n,) variance of the mean of patches, patch_in_common : (n,) its covariance with what plots pull;
    nugget : (n,) of residuals that have nothing in common
    """

    correlated: np.ndarray
    in_common: np.ndarray
    patched: np.ndarray
    patch_in_common: np.ndarray
    nugget: np.ndarray


@dataclass(frozen=True)
class Effects:
    """What the residuals of some plots, of unit size, do to means of regions.

    smooth : (ranges, p, p) variance of their sum as a form of the gradient, of a smooth field with each of the readings'
        ranges; patch, nugget : (p, p) of patches, and of residuals that each plot has alone. A reading's is linear in them.
    pull : (m, p) what moves with the region's date does per unit of the gradient, at places xy (m, 2), each standing for
        the plots very near to it; patch_pull : of all plots in a patch that is a stand (p,), by its name
    """

    smooth: np.ndarray
    patch: np.ndarray
    nugget: np.ndarray
    pull: np.ndarray
    xy: np.ndarray
    patch_pull: Mapping[str, np.ndarray]
    structure: Structure

    @cached_property
    def ranges(self) -> np.ndarray:
        """Ranges (r,) of the readings that have a smooth field."""
        return ranges_of(self.structure)

    @cached_property
    def _readings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weight (k,) of each reading; what it has of each range (k, r); of patches and nugget (k, 2)."""
        readings = self.structure.readings
        smooth = np.array([[one.smooth * (one.range_m == range_m) for range_m in self.ranges] for one in readings])
        rest = np.array([(one.patch, one.nugget) for one in readings])
        return np.array([one.weight for one in readings]), smooth.reshape(len(readings), -1), rest

    def variance(self, gradient: np.ndarray, region: Departure | None, least: np.ndarray) -> Told:
        """Variance (n,) of what the plots pull minus the regions' own departure, over all readings of the residuals.

        Parameters
        ----------
        gradient : (n, p)
        region : None where only the plots count
        least : (n,) what the pull is known to do at least, where the field's patches are others than those that pull
        """
        weight, smooth, rest = self._readings
        pulled = _forms(gradient, self.smooth) @ smooth.T + _forms(gradient, np.stack([self.patch, self.nugget])) @ rest.T
        alone = smooth.sum(axis=1) <= 0
        pulled[:, alone] = np.maximum(pulled[:, alone], least[:, None])
        area = np.zeros_like(pulled)
        if region is not None:
            area = region.correlated @ smooth.T + region.patched[:, None] * rest[:, 0]
            pulled += region.nugget[:, None] * rest[:, 1]
            pulled -= 2 * (region.in_common @ smooth.T + region.patch_in_common[:, None] * rest[:, 0])
        errors = np.maximum(pulled + area, 0.0)
        mean, doubt = self.structure.averaged(errors)
        return Told(mean, doubt, area @ weight)

    def alone(self, gradient: np.ndarray, weight: np.ndarray, regions: Regions, nugget: np.ndarray, points: int) -> Departure:
        """Of n regions, each one stand with a mean residual SD (n,), by at most `points` lattice points; gradient (n, p)."""
        from models.inference.kernels import pull_in_common

        correlated, in_common = np.zeros((2, len(weight), len(self.ranges)))
        (patched, by_plots), there = np.zeros((2, len(weight))), np.flatnonzero(weight > 0)
        some = regions if len(there) == len(weight) else regions[there]
        left = weight[there] * in_one_patch(some)
        patched[there] = weight[there] * left
        by_plots[there] = left * self._pulled_in(some, gradient[there])
        if len(self.ranges) and len(there):
            own = np.column_stack([some.correlation(one) for one in self.ranges])
            correlated[there] = weight[there, None] ** 2 * own
            taken = np.minimum(some.count, max(points, 1))
            in_common[there] = weight[there, None] * pull_in_common(
                some.points, some.start, some.spacing_m * np.sqrt(some.count / taken), taken, self.xy,
                gradient[there] @ self.pull.T, self.ranges, FAR, SMALL, square_table(), NEAR, STEPS_SIDE[0], STEPS_SIDE[-1],
            )  # fmt: skip
        return Departure(correlated, in_common, patched, by_plots, nugget)

    def together(self, gradient: np.ndarray, weight: np.ndarray, regions: Regions, nugget: np.ndarray, points: int) -> Departure:
        """Of one region made of several stands: gradient (1, p), what each stand (k,) adds to the mean residual SD."""
        there = np.flatnonzero(weight > 0)
        if len(there) == 0:
            nothing = np.zeros((1, len(self.ranges)))
            return Departure(nothing, nothing, np.zeros(1), np.zeros(1), nugget)
        each = max(points // len(weight), 1)
        weight, regions = weight[there], regions if len(there) == len(weight) else regions[there]
        left = weight * in_one_patch(regions)
        patched, by_plots = np.array([weight @ left]), np.array([left @ self._pulled_in(regions, gradient)])
        correlated = in_common = np.zeros((1, len(self.ranges)))
        if len(self.ranges):
            field = field_of(weight, regions, each)
            correlated = field.correlated(self.ranges)[None]
            in_common = field.in_common(self.xy, self.pull @ gradient[0], self.ranges)[None]
        return Departure(correlated, in_common, patched, by_plots, nugget)

    def _pulled_in(self, regions: Regions, gradient: np.ndarray) -> np.ndarray:
        """What plots in each of n stands pull (n,) for gradients (n, p), or for one (1, p)."""
        if regions.patch is None or not self.patch_pull:
            return np.zeros(len(regions))
        number = {name: row for row, name in enumerate(self.patch_pull)}
        rows = np.array([number.get(name, len(number)) for name in regions.patch], int)
        pulls = np.vstack([*self.patch_pull.values(), np.zeros(gradient.shape[1])])
        return (pulls[rows] * gradient).sum(axis=1)


def ranges_of(structure: Structure) -> np.ndarray:
    return np.array(sorted({one.range_m for one in structure.readings if one.smooth > 0}), float)


def _forms(gradient: np.ndarray, forms: np.ndarray) -> np.ndarray:
    """Quadratic forms (n, k) of gradients (n, p) by matrices (k, p, p)."""
    return np.column_stack([((gradient @ form) * gradient).sum(axis=1) for form in forms]) if len(forms) else np.zeros(
        (len(gradient), 0)
    )


def in_one_patch(regions: Regions) -> np.ndarray:
    """Share (n,) of a patch's variance that is left in the mean of each stand."""
    return np.minimum(PATCH_HA * 1e4 / np.maximum(np.pi * regions.radius_m**2, 1.0), 1.0)


def parameters_moved(model: TargetModel, number: int) -> np.ndarray:
    """Numbers of the parameters that a set's residuals move: its own, and those of second stages that learned from it."""
    places, name = model.slices(), model.sets[number].name
    taught = [k for k, one in enumerate(model.sets) if one.second_stage is not None and one.second_stage.first_set == name]
    return np.concatenate([np.arange(places[k].start, places[k].stop) for k in (number, *taught)])


def pull_of(model: TargetModel, number: int, rows: np.ndarray | None = None) -> np.ndarray:
    """What a standard deviation of each row's residual does to the parameters of `parameters_moved` (n, columns).

    Of other `rows` (n, p) of changes of the set's own parameters, what follows from them.
    """
    one = model.sets[number]
    rows = one.sample.influence if rows is None else rows
    taught = [k.second_stage for k in model.sets if k.second_stage is not None and k.second_stage.first_set == one.name]
    return np.hstack([rows, *(rows @ stage.moves.T for stage in taught)])


def effects_of(model: TargetModel, number: int, years: Sequence[int]) -> tuple[Effects, Effects | None]:
    """What moves with the region's own residuals, and in a change what does not."""
    sample, residuals = model.sets[number].sample, model.sets[number].residuals
    influence = pull_of(model, number)
    dates = np.where(sample.year[:, None] == sample.year[None, :], 1.0, residuals.between_dates)
    if len(years) == 1:
        seen = np.where(sample.year == years[0], 1.0, residuals.between_dates)
        return _of_rows(influence, sample, np.arange(len(sample.plot)), dates, residuals.level, seen), None
    early, late = sample.pairs(*years)
    sd = residuals.change_sd(sample.sd[early], sample.sd[late])[:, None]
    first, second = sample.sd[early, None], sample.sd[late, None]
    change = (influence[late] / second - influence[early] / first) / 2
    rest = influence.copy()
    rest[late] -= change * second
    rest[early] += change * first
    same = np.ones((len(early), len(early)))
    everything = np.arange(len(rest))
    return (
        _of_rows(change * sd, sample, late, same, residuals.change, np.ones(len(late))),
        _of_rows(rest, sample, everything, dates, residuals.level, np.ones(len(rest))),
    )


def _of_rows(
    matrix: np.ndarray, sample: Sample, rows: np.ndarray, dates: np.ndarray, structure: Structure, seen: np.ndarray
) -> Effects:
    """`rows` of the sample are those that `matrix` (n, p) is of; `dates` (n, n) is the correlation of their dates."""
    xy, patch = sample.xy[rows], sample.patch[rows]
    apart, ranges = cdist(xy, xy), ranges_of(structure)
    smooth = [matrix.T @ (dates * correlation(apart, one)) @ matrix for one in ranges]
    in_patch, same_plot = (matrix.T @ (dates * same) @ matrix for same in (patch[:, None] == patch[None, :], apart <= 1.0))
    pull, places = _gathered(matrix * seen[:, None], xy, VERY_NEAR * (ranges.min() if len(ranges) else 1.0))
    square = (-1, matrix.shape[1], matrix.shape[1])
    stands = [name for name in np.unique(patch) if name.startswith(STAND)]
    by_stand = {str(name): seen[patch == name] @ matrix[patch == name] for name in stands}
    return Effects(np.array(smooth).reshape(square), in_patch, same_plot, pull, places, by_stand, structure)


def _gathered(pull: np.ndarray, xy: np.ndarray, side_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `pull` (n, p) over the rows in each square of `side_m`, and their mean places: a stand asks each place once."""
    _, number = np.unique(np.floor(xy / side_m).astype(np.int64), axis=0, return_inverse=True)
    number = number.ravel()
    count = np.bincount(number)
    summed = np.zeros((len(count), pull.shape[1]))
    np.add.at(summed, number, pull)
    return summed, np.column_stack([np.bincount(number, weights=column) / count for column in xy.T])
