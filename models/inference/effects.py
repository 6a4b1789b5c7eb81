"""What residuals do to means of regions: those of the plots through the parameters, and those in the region itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

from models.inference.correlations import NEAR, STEPS_SIDE, ellipse_correlation, square_table
from models.inference.fields import FAR, Field, field_of
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
class Pull:
    """What residuals of unit size of the plots, as far as they move with those of one date, do per unit of the gradient.

    rows : (m, p) at places xy (m, 2), each standing for the plots very near to it
    by_stand : of all plots in a patch that is a stand (p,), by its name
    """

    rows: np.ndarray
    xy: np.ndarray
    by_stand: Mapping[str, np.ndarray]

    def in_stands(self, patch: np.ndarray | None, gradient: np.ndarray) -> np.ndarray | float:
        """What plots in each of n stands, named as patches (n,), pull (n,) for gradients (n, p), or for one (1, p)."""
        if patch is None or not self.by_stand:
            return 0.0
        number = {name: row for row, name in enumerate(self.by_stand)}
        rows = np.array([number.get(name, len(number)) for name in patch], int)
        pulls = np.vstack([*self.by_stand.values(), np.zeros(gradient.shape[1])])
        return (pulls[rows] * gradient).sum(axis=1)


Pulling = Sequence[tuple[Pull, np.ndarray]]
"""Pulls at the same places and the gradients (n, p) that each acts through; what they do adds up."""


@dataclass(frozen=True)
class Alone:
    """Residuals in n regions, each one stand, of size `weight` (n,) in its mean; at most `points` lattice points in each.

    Of a field of unit size, per range, and of patches: `variance` is that of the regions' means, `common` its covariance with
    what plots pull; (n, ranges) and (n,).
    """

    weight: np.ndarray
    regions: Regions
    points: int

    @cached_property
    def there(self) -> np.ndarray:
        return np.flatnonzero(self.weight)

    @cached_property
    def some(self) -> Regions:
        return self.regions if len(self.there) == len(self.weight) else self.regions[self.there]

    def variance(self, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smooth, patched = np.zeros((len(self.weight), len(ranges))), np.zeros(len(self.weight))
        weight = self.weight[self.there]
        patched[self.there] = weight * (weight * in_one_patch(self.some))
        if len(ranges) and len(weight):
            smooth[self.there] = weight[:, None] ** 2 * np.column_stack([self.some.correlation(one) for one in ranges])
        return smooth, patched

    def common(self, pulling: Pulling, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from models.inference.kernels import pull_in_common

        smooth, patched = np.zeros((len(self.weight), len(ranges))), np.zeros(len(self.weight))
        there, some = self.there, self.some
        weight = self.weight[there]
        by_stand = sum(pull.in_stands(some.patch, gradient[there]) for pull, gradient in pulling)
        patched[there] = weight * in_one_patch(some) * by_stand
        if len(ranges) and len(there):
            taken = np.minimum(some.count, max(self.points, 1))
            smooth[there] = weight[:, None] * pull_in_common(
                some.points, some.start, some.spacing_m * np.sqrt(some.count / taken), taken, pulling[0][0].xy,
                sum(gradient[there] @ pull.rows.T for pull, gradient in pulling), ranges, FAR, SMALL, square_table(), NEAR,
                STEPS_SIDE[0], STEPS_SIDE[-1],
            )  # fmt: skip
        return smooth, patched


@dataclass(frozen=True)
class Together:
    """As `Alone`, of one region made of several stands: `weight` (k,) is what each adds to the size of the mean residual."""

    weight: np.ndarray
    regions: Regions
    points: int

    @cached_property
    def there(self) -> np.ndarray:
        return np.flatnonzero(self.weight)

    @cached_property
    def some(self) -> Regions:
        return self.regions if len(self.there) == len(self.weight) else self.regions[self.there]

    @cached_property
    def field(self) -> Field:
        return field_of(self.weight[self.there], self.some, max(self.points // len(self.weight), 1))

    @cached_property
    def _correlated(self) -> dict[tuple, np.ndarray]:
        """By ranges: levels and change mostly have the same."""
        return {}

    def variance(self, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self.there) == 0:
            return np.zeros((1, len(ranges))), np.zeros(1)
        weight, key = self.weight[self.there], tuple(ranges)
        patched = np.array([weight @ (weight * in_one_patch(self.some))])
        if key not in self._correlated:
            self._correlated[key] = self.field.correlated(ranges)[None] if len(ranges) else np.zeros((1, 0))
        return self._correlated[key], patched

    def common(self, pulling: Pulling, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self.there) == 0:
            return np.zeros((1, len(ranges))), np.zeros(1)
        by_stand = sum(pull.in_stands(self.some.patch, gradient) for pull, gradient in pulling)
        patched = np.array([np.sum(self.weight[self.there] * in_one_patch(self.some) * by_stand)])
        if not len(ranges):
            return np.zeros((1, 0)), patched
        pulled = sum(pull.rows @ gradient[0] for pull, gradient in pulling)
        return self.field.in_common(pulling[0][0].xy, pulled, ranges)[None], patched


@dataclass(frozen=True)
class Effects:
    """What the residuals of some plots, of unit size, do to means of regions.

    smooth : (ranges, p, p) variance of their sum as a form of the gradient, of a smooth field with each of the readings'
        ranges; patch, nugget : (p, p) of patches, and of residuals that each plot has alone. A reading's is linear in them.
    """

    smooth: np.ndarray
    patch: np.ndarray
    nugget: np.ndarray
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

    def pulled(self, gradient: np.ndarray, least: np.ndarray | float = 0.0) -> np.ndarray:
        """Variance (n, readings) of what the plots pull, for gradients (n, p).

        least : (n,) what that is known to be at least, where the field's patches are others than those that pull
        """
        _, smooth, rest = self._readings
        found = _forms(gradient, self.smooth) @ smooth.T + _forms(gradient, np.stack([self.patch, self.nugget])) @ rest.T
        alone = smooth.sum(axis=1) <= 0
        found[:, alone] = np.maximum(found[:, alone], np.broadcast_to(least, len(gradient))[:, None])
        return found

    def own(self, land: Alone | Together) -> np.ndarray:
        """Variance (n, readings) of what regions depart by that does not average out in them."""
        return self._of_land(*land.variance(self.ranges))

    def gathered(self, more: Callable[[float], np.ndarray], kind: type[Alone] | type[Together]) -> np.ndarray:
        """What stands' variance (stands,) through a smooth field has `more` at each range, in n regions (n, readings)."""
        if not len(self.ranges):
            return np.zeros((1, len(self.structure.readings)))
        found = np.column_stack([more(range_m) for range_m in self.ranges])
        return (found if kind is Alone else found.sum(axis=0)[None]) @ self._readings[1].T

    def common(self, pulling: Pulling, land: Alone | Together) -> np.ndarray:
        """Covariance (n, readings) of that with what plots pull."""
        return self._of_land(*land.common(pulling, self.ranges))

    def _of_land(self, smooth: np.ndarray, patched: np.ndarray) -> np.ndarray:
        _, of_range, rest = self._readings
        return smooth @ of_range.T + patched[:, None] * rest[:, 0]

    def single(self, nugget: np.ndarray) -> np.ndarray:
        """Variance (n, readings) of what each place of a region has alone, of unit residuals' (n,)."""
        return nugget[:, None] * self._readings[2][:, 1]

    def mean(self, variances: np.ndarray) -> np.ndarray:
        """Mean (n,) over the readings of variances (n, readings)."""
        return variances @ self._readings[0]


@dataclass(frozen=True)
class Asked:
    """What is asked of n regions for one set, or of one region made of several stands: gradient (n, p) of the mean, size of the
    mean residual `weight` (n,) or (stands,), `nugget` (n,) its variance if no two plots had anything in common, `least` (n,) as
    in `Effects.pulled`; as `weight`, of the land that any set serves `served_ha` and `places` (n, 4), see `Sums`."""

    gradient: np.ndarray
    weight: np.ndarray
    nugget: np.ndarray
    least: np.ndarray
    served_ha: np.ndarray
    places: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> Asked:
        every = (getattr(self, name) for name in self.__dataclass_fields__)
        return Asked(*(None if one is None else one[rows] for one in every))


@dataclass(frozen=True)
class StockEffects:
    """Of one date."""

    level: Effects
    pull: Pull

    @property
    def ranges(self) -> np.ndarray:
        return self.level.ranges

    def told(self, asked: Asked, once: None, regions: Regions, points: int) -> Told:
        """What the readings say of what the plots pull minus the regions' own departure."""
        land = _land(asked, regions)(asked.weight, regions, points)
        area = self.level.own(land)
        errors = self.level.pulled(asked.gradient, asked.least) + self.level.single(asked.nugget)
        errors -= 2 * self.level.common([(self.pull, asked.gradient)], land)
        mean, doubt = self.level.structure.averaged(np.maximum(errors + area, 0.0))
        return Told(mean, doubt, self.level.mean(area))


def _land(asked: Asked, regions: Regions) -> type[Alone] | type[Together]:
    return Alone if len(asked.gradient) == len(regions) else Together


@dataclass(frozen=True)
class Parts:
    """Land of n stands that is forest at both dates, at the earlier and at the later alone: sizes of residuals (3, n) and shares
    (3, n) of all three; half axes (n, 2) of ellipses as large as the stands. Only stands that have land of one date.

    A felling lies together in its stand, what a mask takes for one lies strewn over it: a part's places are as far from each
    other as those of the stand with its sides times `scale` (3, n), by the root mean square; those of two parts so far that all
    pairs together are as in the stand.

    half : half the SD of a change where residuals have SD 1 at both dates
    """

    size: np.ndarray
    share: np.ndarray
    scale: np.ndarray
    axes_m: np.ndarray
    half: float

    @classmethod
    def of(cls, asked: Asked, once: tuple[Asked, Asked], regions: Regions, half: float) -> Parts:
        some = np.flatnonzero(once[0].weight + once[1].weight)
        axes = np.where(np.isfinite(regions.axes_m), regions.axes_m, regions.radius_m[:, None])[some]
        early, late = (part.served_ha[some] for part in once)
        land = np.maximum(np.stack([asked.served_ha[some] - early - late, early, late]), 0.0)
        share = land / np.maximum(land.sum(axis=0), 1e-12)
        size = np.stack([part.weight[some] for part in (asked, *once)])
        if asked.places is None:  # each as one piece
            scale = np.sqrt(share)
        else:
            whole, early, late = (part.places[some] for part in (asked, *once))
            scale = np.sqrt(np.stack([_apart(part) for part in (whole - early - late, early, late)]) / _apart(whole))
        return cls(size, share, np.where(share > 0, np.maximum(scale, 1e-3), 1.0), axes, half)

    def nearer(self, range_m: float) -> tuple[np.ndarray, np.ndarray]:
        """How much more than those of the whole stand places of each part correlate (3, n), and those of two parts (n,)."""
        whole = ellipse_correlation(self.axes_m, range_m)
        own = np.stack([ellipse_correlation(self.axes_m * part[:, None], range_m) - whole for part in self.scale])
        squares = self.share**2
        return own, -(squares * own).sum(axis=0) / np.maximum(1 - squares.sum(axis=0), 1e-9)

    def change(self, range_m: float) -> np.ndarray:
        """What that adds (n,) to the variance of what stands depart by, as far as it has the structure of change."""
        own, across = self.nearer(range_m)
        both, early, late = self.size
        return both**2 * own[0] + (2 * self.half * both * (early + late) + 4 * self.half**2 * early * late) * across

    def level(self, range_m: float) -> np.ndarray:
        """And as far as it has that of levels."""
        own, across = self.nearer(range_m)
        _, early, late = self.size
        return early**2 * own[1] + late**2 * own[2] - 2 * early * late * across


def _apart(places: np.ndarray) -> np.ndarray:
    """Mean squared distance (n,) from their centre of places (n, 4) told as in `Sums`, in pixels; one pixel has 1 / 6."""
    weight = np.maximum(places[:, 0], 1e-12)
    centre = places[:, 1:3] / weight[:, None]
    return np.maximum(places[:, 3] / weight - (centre**2).sum(axis=1), 0.0) + 1 / 6


@dataclass(frozen=True)
class ChangeEffects:
    """Of the change between two dates.

    Residuals of plots measured at both are taken apart into their change d and their mean m = (earlier + later) / 2, which have
    nothing to do with each other; those of other plots are all m. Of the plots, `moving` is what d and `rest` what m does. Land
    that is forest at both dates departs by a d of its own. Where it is forest at one date alone it departs by that date's
    residual, m + d / 2 or -(m - d / 2): `moving` has to do with it by half a d, `rest` (with `at_rest`, by date) by m, and for
    itself it is the stock of that date, `stocks`, whose sum with nothing else is told exactly as that stock.

    unit : SD of d where residuals have SD 1 at both dates; by_date : makes `at_rest` and `stocks`, which few models are asked for
    """

    moving: Effects
    pull: Pull
    rest: Effects
    unit: float
    by_date: Callable[[], tuple[tuple[Pull, ...], tuple[StockEffects, ...]]]

    @cached_property
    def _by_date(self) -> tuple[tuple[Pull, ...], tuple[StockEffects, ...]]:
        return self.by_date()

    @property
    def ranges(self) -> np.ndarray:
        return np.union1d(self.moving.ranges, self.rest.ranges)

    def told(self, asked: Asked, once: tuple[Asked, Asked] | None, regions: Regions, points: int) -> Told:
        """What the readings say of what the plots pull minus the regions' own departure; `once` as `asked`, of the land that is
        forest at the earlier and at the later date alone, by its stock then; `asked.weight` is of the other land, the gradient of
        all."""
        if once is None or not any(part.weight.any() for part in once):
            return self._of_both(asked, regions, points)
        if _land(asked, regions) is Together:
            return self._of_all(asked, once, regions, points)
        some = np.flatnonzero(once[0].weight + once[1].weight)
        found, parts = self._of_both(asked, regions, points), tuple(part[some] for part in once)
        mended = self._of_all(asked[some], parts, regions[some], points)
        for name in ("variance", "doubt", "area"):
            getattr(found, name)[some] = getattr(mended, name)
        return found

    def _of_both(self, asked: Asked, regions: Regions, points: int) -> Told:
        """Where no land is forest at one date alone."""
        moved = StockEffects(self.moving, self.pull).told(asked, None, regions, points)
        mean, doubt = self.rest.structure.averaged(self.rest.pulled(asked.gradient))
        return moved + Told(mean, doubt, np.zeros(len(mean)))

    def _of_all(self, asked: Asked, once: tuple[Asked, Asked], regions: Regions, points: int) -> Told:
        kind, moving, rest, half = _land(asked, regions), self.moving, self.rest, self.unit / 2
        early, late = once
        places = [kind(part.weight, regions, points) for part in once]
        everywhere = kind(asked.weight + half * (early.weight + late.weight), regions, points)
        lasting = kind(late.weight - early.weight, regions, points)
        parts = Parts.of(asked, once, regions, half)
        # each date's residuals have the structure of levels, so m has what half a d leaves of it
        of_change = moving.own(everywhere) - half**2 * moving.own(lasting) + moving.gathered(parts.change, kind)
        of_level = rest.own(lasting) + rest.gathered(parts.level, kind)
        changes = moving.pulled(asked.gradient, asked.least) - 2 * moving.common([(self.pull, asked.gradient)], everywhere)
        levels = rest.pulled(asked.gradient)
        for sign, part, place, at_rest, stock in zip((-1, 1), once, places, *self._by_date, strict=True):
            own = sign * part.gradient
            halved = kind(half * part.weight, regions, points)
            changes -= moving.pulled(own, part.least) - 2 * moving.common([(self.pull, own)], halved)
            levels += stock.level.pulled(own, part.least) - rest.pulled(own)
            levels -= 2 * sign * rest.common([(at_rest, asked.gradient - own), (stock.pull, own)], place)
        changes += of_change + moving.single(asked.nugget)
        levels = np.maximum(levels + of_level + rest.single(early.nugget + late.nugget), 0.0)
        (first, doubt), (second, more) = rest.structure.averaged(levels), moving.structure.averaged(changes)
        area = rest.mean(of_level) + moving.mean(of_change)
        return Told(np.maximum(first + second, 0.0), doubt + more, np.maximum(area, 0.0))


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


def effects_of(model: TargetModel, number: int, years: Sequence[int]) -> StockEffects | ChangeEffects:
    """What residuals of one set's sample do to a stock of one year, or to the change between two."""
    sample, residuals = model.sets[number].sample, model.sets[number].residuals
    influence = pull_of(model, number)
    dates = np.where(sample.year[:, None] == sample.year[None, :], 1.0, residuals.between_dates)
    seen = [np.where(sample.year == year, 1.0, residuals.between_dates) for year in years]

    def pulls(rows: np.ndarray) -> tuple[Pull, ...]:
        return tuple(_pull_of_rows(rows * one[:, None], sample, residuals.level) for one in seen)

    def stocks() -> tuple[StockEffects, ...]:
        level = _of_rows(influence, sample, dates, residuals.level)
        return tuple(StockEffects(level, pull) for pull in pulls(influence))

    if len(years) == 1:
        return stocks()[0]
    early, late = sample.pairs(*years)
    sd = residuals.change_sd(sample.sd[early], sample.sd[late])[:, None]
    first, second = sample.sd[early, None], sample.sd[late, None]
    change = (influence[late] / second - influence[early] / first) / 2
    rest = influence.copy()
    rest[late] -= change * second
    rest[early] += change * first
    twice = sample.at(late)
    return ChangeEffects(
        _of_rows(change * sd, twice, np.ones((len(early), len(early))), residuals.change),
        _pull_of_rows(change * sd, twice, residuals.change),
        _of_rows(rest, sample, dates, residuals.level),
        float(residuals.change_sd(np.ones(1), np.ones(1))[0]),
        lambda: (pulls(rest), stocks()),
    )


def _of_rows(matrix: np.ndarray, sample: Sample, dates: np.ndarray, structure: Structure) -> Effects:
    """What residuals of unit size do by the rows of `matrix` (n, p); `dates` (n, n) is the correlation of their dates."""
    xy, patch = sample.xy, sample.patch
    apart, ranges = cdist(xy, xy), ranges_of(structure)
    smooth = [matrix.T @ (dates * correlation(apart, one)) @ matrix for one in ranges]
    in_patch, same_plot = (matrix.T @ (dates * same) @ matrix for same in (patch[:, None] == patch[None, :], apart <= 1.0))
    square = (-1, matrix.shape[1], matrix.shape[1])
    return Effects(np.array(smooth).reshape(square), in_patch, same_plot, structure)


def _pull_of_rows(matrix: np.ndarray, sample: Sample, structure: Structure) -> Pull:
    """What the rows of `matrix` (n, p) do, those very near to each other as one."""
    ranges = ranges_of(structure)
    rows, xy = _gathered(matrix, sample.xy, VERY_NEAR * (ranges.min() if len(ranges) else 1.0))
    stands = [name for name in np.unique(sample.patch) if name.startswith(STAND)]
    return Pull(rows, xy, {str(name): matrix[sample.patch == name].sum(axis=0) for name in stands})


def _gathered(pull: np.ndarray, xy: np.ndarray, side_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `pull` (n, p) over the rows in each square of `side_m`, and their mean places: a stand asks each place once."""
    _, number = np.unique(np.floor(xy / side_m).astype(np.int64), axis=0, return_inverse=True)
    number = number.ravel()
    count = np.bincount(number)
    summed = np.zeros((len(count), pull.shape[1]))
    np.add.at(summed, number, pull)
    return summed, np.column_stack([np.bincount(number, weights=column) / count for column in xy.T])
