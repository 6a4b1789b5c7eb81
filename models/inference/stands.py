"""Stands and projects: mean, total, standard error and interval from sums over pixels.

The error of a region's mean is what the plots' residuals do to the parameters, minus the region's own mean residual.
Both come from one correlated field, so they are taken together: plots near a stand pull the model towards it, and over a
whole region residuals that reach far are partly in the intercept already. The cluster jackknife, which assumes no
structure, is a floor under the result. Errors that all plots share (allometry, height model, wood density) come on top.
Residuals belong to the plot's area: the nugget part is s^2 x nugget x plot area / area, never divided by pixels.
Where a set learned from another's predictions, two fields that have nothing to do with each other add up: what the first
stage leaves unexplained of the plots, and what the second leaves unexplained of the first (`models.inference.hierarchical`).

What the plots do to a mean is linear in its gradient, so their part is a quadratic form that is made once for all stands
(`RegionEstimator`); what a stand does by itself is an integral over an ellipse of its area and second moment. Plots seldom
tell how far residuals reach: the variance is the mean over all readings of them, and where the readings differ degrees of
freedom are few.

References
----------
Breidenbach et al. 2016, Remote Sensing of Environment 173:274-281, doi:10.1016/j.rse.2015.07.026 (model-based stand
variances with heteroscedastic, spatially correlated residuals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import stdtrit

from models.inference.patches import PATCH_HA, STAND
from models.inference.residuals import Structure, correlation
from models.inference.target_model import Sample, TargetModel

SOLID, HOLLOW, SHARP, STRIP = 0.8, 0.02, 1.16, 9.0
"""A stand that fills less of its convex hull, has more of its area in holes, or several parts, is told by the distances
of lattice points instead of an ellipse; and one whose hull is so many times as long around as its ellipse (of a triangle
1.2, of a square 1.1) or whose ellipse is so many times as long as it is wide, for there the ellipse errs by more than 1 %."""

FINE = 1600  # lattice points of such a stand

FAR = 2.5
"""Plots farther from a stand than so many ranges (correlation below 0.06 %) have nothing in common with it."""


SMALL = 2.0
"""Where the range is so many times the extent of a stand or more, what it shares with plots is told by its centre and area."""


@dataclass(frozen=True)
class Sums:
    """What a region's pixels add up to, hectare-weighted, for one estimand.

    covered_ha : area with an estimate; value, s and gradient sums run over it
    set_ha, s, s2 : per predictor set (k,); gradient : per parameter (p,)
    """

    covered_ha: float
    value: float
    set_ha: np.ndarray
    s: np.ndarray
    s2: np.ndarray
    gradient: np.ndarray

    def filling(self, area_ha: float) -> Sums:
        """The sums as if the covered part stood for the whole area, so that stands add up to their totals."""
        factor = area_ha / self.covered_ha
        return Sums(
            area_ha,
            self.value * factor,
            self.set_ha * factor,
            self.s * factor,
            self.s2 * factor**2,  # the nugget averages out over what was seen, not over what it stands for
            self.gradient * factor,
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Apart:
    """Distances (b,) of pairs of a shape's cells of side `side_m`, and the share (b,) of all pairs at each."""

    distance_m: np.ndarray
    share: np.ndarray
    side_m: float

    @property
    def radius_m(self) -> float:
        """Radius of the disc whose places are as far from each other, by root mean square."""
        return float(np.sqrt(self.share @ self.distance_m**2))

    def correlation(self, range_m: float) -> float:
        """Mean correlation of two random places of the shape."""
        return float(self.share @ mean_correlation(self.distance_m, np.array(self.side_m), range_m))


@dataclass(frozen=True)
class Region:
    """A stand's shape as lattice points (m, 2) in metres, all standing for cells of side `spacing_m`, and as what tells
    how far its places are from each other: an ellipse with half axes `axes_m`, or where those are NaN `apart`.

    The points come in a fixed random order, so that the first few of them lie all over the stand. `patch` is the name that plots
    in it have it by, see `models.inference.patches`.
    """

    points: np.ndarray
    spacing_m: float
    axes_m: tuple[float, float]
    apart: Apart | None = None
    patch: str = ""


@dataclass(frozen=True)
class Spread:
    """What very many stands have in each of the squares of side `side_m` that lie over them all: weight (rows, cols)."""

    weight: np.ndarray
    side_m: float

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Weight (rows, cols) of the pairs of squares that are so many rows and columns apart, by Fourier transform."""
        from scipy.fft import irfft2, next_fast_len, rfft2

        shape = [next_fast_len(2 * n - 1, real=True) for n in self.weight.shape]
        found = rfft2(self.weight, shape)
        pairs = irfft2(found.real**2 + found.imag**2, shape)
        rows, cols = self.weight.shape
        for _ in range(2):  # as many rows up as down, then as many columns; lags below zero stand at the end
            pairs[1:rows] += pairs[: -rows : -1] if rows > 1 else 0.0
            pairs, rows, cols = pairs[:rows].T, cols, rows
        return np.ascontiguousarray(pairs)

    def correlated(self, range_m: float) -> float:
        """Weighted sum of the mean correlation of all pairs of squares."""
        steps = [np.arange(n) for n in self._pairs.shape]
        away = self.side_m * np.hypot(steps[0][:, None], steps[1][None, :])
        return float((self._pairs * mean_correlation(away, np.array(self.side_m), range_m)).sum())


@dataclass(frozen=True)
class Field:
    """Where a region's residuals are: points (m, 2), weights (m,) in target units that add up to the mean residual SD,
    the side (m,) of the square that each stands for, the stand (m,) that each is in; and of each stand (k,) the sum of
    weights and what tells its own distances: half axes (k, 2), or where those are NaN `apart`. Of more than `MANY` stands
    the points are those of squares with what all stands have in them, `stand` is empty and `spread` has finer squares."""

    points: np.ndarray
    weight: np.ndarray
    cell_m: np.ndarray
    stand: np.ndarray
    stands: np.ndarray
    axes_m: np.ndarray
    apart: Sequence[Apart | None]
    patches: Sequence[str]
    spread: Spread | None = None


NOWHERE = Field(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0), np.zeros((0, 2)), (), ())


@dataclass(frozen=True)
class Estimate:
    """A mean per hectare with the parts of its variance and a two-sided interval.

    sampling_variance : parameters, by the jackknife over clusters of plots and, of second stages, blocks of cells;
    residual_variance : what the residuals add to it;
    shared_variance : errors that all plots share; area_effect_variance : of residual_variance, what the stands' own
    departures make, 0 where the smooth field tells more.
    """

    mean: float
    se: float
    low: float
    high: float
    sampling_variance: float
    shared_variance: float
    residual_variance: float
    degrees_of_freedom: float
    area_effect_variance: float = 0.0


def lattice(geometry, *, points: int = 80) -> Region:
    """About `points` lattice points inside a polygon (shapely); one point for a polygon too thin for the lattice."""
    return lattices([geometry], points=points)[0]


def lattices(geometries, *, points: int = 80) -> list[Region]:
    """The regions of many polygons, as `lattice` makes each."""
    import shapely

    geometries = np.asarray(geometries, object)
    axes = equal_ellipses(geometries)
    areas = shapely.area(geometries)
    found = []
    for geometry, area, own, bounds in zip(geometries, areas, axes, shapely.bounds(geometries), strict=True):
        apart = None if np.isfinite(own[0]) else distances_within(geometry)
        centres, inside, spacing = _cells(geometry, points, area, bounds)
        own = (float(own[0]), float(own[1]))
        count = int(inside.sum())
        if count:
            found.append(Region(centres[inside][_shuffled(count)], spacing, own, apart))
        else:
            centre = geometry.representative_point()
            found.append(Region(np.array([[centre.x, centre.y]]), float(np.sqrt(max(area, 1e-6))), own, apart))
    return found


@cache
def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)


def _cells(geometry, points: int, area: float, bounds: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Centres (rows, cols, 2) of square cells over a polygon's box, which are inside (rows, cols), and the cells' side."""
    import shapely

    west, south, east, north = bounds
    side = float(np.sqrt(max(area, 1e-6) / points))
    x = np.arange(west + side / 2, east, side)
    y = np.arange(south + side / 2, north, side)
    centres = np.empty((len(y), len(x), 2))
    centres[..., 0], centres[..., 1] = x, y[:, None]
    return centres, shapely.contains_xy(geometry, centres[..., 0], centres[..., 1]), side


def distances_within(geometry) -> Apart:
    """How far the cells of a polygon are from each other, all pairs, in bins of half a cell."""
    from scipy.signal import fftconvolve

    _, inside, side = _cells(geometry, FINE, geometry.area, geometry.bounds)
    count = int(inside.sum())
    if count == 0 or inside.size > 2**22:  # too thin for its cells, or parts far from each other: as one compact place
        return Apart(np.zeros(1), np.ones(1), float(np.sqrt(max(geometry.area, 1e-6))))
    pairs = np.rint(fftconvolve(inside.astype(float), inside[::-1, ::-1].astype(float)))
    rows, cols = (np.arange(2 * n - 1) - (n - 1) for n in inside.shape)
    away = np.hypot(rows[:, None], cols[None, :])
    bins = np.rint(2 * away).astype(int).ravel()
    number = np.bincount(bins, weights=pairs.ravel())
    filled = number > 0
    mean = np.bincount(bins, weights=(pairs * away).ravel())[filled] / number[filled]
    return Apart(side * mean, number[filled] / count**2, side)


def equal_ellipses(geometries: np.ndarray) -> np.ndarray:
    """Half axes (k, 2) of the ellipses with the area and the polar second moment of polygons; NaN where an ellipse does not
    tell how far a polygon's places are from each other."""
    import shapely

    area, hull = shapely.area(geometries), shapely.convex_hull(geometries)
    plain = (shapely.get_num_geometries(geometries) == 1) & (area > 0) & (area >= SOLID * shapely.area(hull))
    polygons = shapely.get_geometry(geometries, 0)
    plain &= shapely.get_type_id(polygons) == 3
    found = np.full((len(geometries), 2), np.nan)
    polygons, hull, area = polygons[plain], hull[plain], area[plain]
    if len(polygons) == 0:
        return found
    ratio = np.maximum(4 * np.pi * _second_moments(polygons) / area**2, 2.0)  # of the axes and its inverse, added
    ratio = (ratio + np.sqrt(ratio**2 - 4)) / 2
    minor = np.sqrt(area / np.pi / ratio)
    major = minor * ratio
    around = np.pi * (3 * (major + minor) - np.sqrt((3 * major + minor) * (major + 3 * minor)))  # Ramanujan's
    filled = shapely.area(shapely.polygons(shapely.get_exterior_ring(polygons)))
    other = (filled > (1 + HOLLOW) * area) | (shapely.length(hull) > SHARP * around) | (ratio > STRIP)
    found[plain] = np.where(other[:, None], np.nan, np.column_stack([major, minor]))
    return found


def _second_moments(polygons: np.ndarray) -> np.ndarray:
    """Polar second moment (k,) of polygons about their centroids, from the corners of their rings."""
    import shapely

    rings, owner = shapely.get_rings(polygons, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    corners = corners - shapely.get_coordinates(shapely.centroid(polygons))[owner[ring]]
    side = ring[1:] == ring[:-1]
    (x, y), (u, v) = corners[:-1][side].T, corners[1:][side].T
    told = (x * v - u * y) * (x * x + x * u + u * u + y * y + y * v + v * v)
    moment = np.abs(np.bincount(ring[1:][side], weights=told, minlength=len(rings))) / 12
    outer = np.concatenate([[True], owner[1:] != owner[:-1]])
    return np.bincount(owner, weights=np.where(outer, moment, -moment), minlength=len(polygons))


class RegionEstimator:
    """Means per hectare of stands, or of several together, for one model and one year (a stock) or two (a change).

    Parameters
    ----------
    years : one year for a stock, two for a change between them
    lowest : bound of the interval (0 for a stock)
    points : lattice points over all stands of a region together, at most about
    """

    def __init__(
        self, model: TargetModel, *, years: Sequence[int], confidence_percent: float, lowest: float = -np.inf,
        points: int = 1500,
    ):  # fmt: skip
        self.model, self.lowest, self.points = model, lowest, points
        self.about = {"years": years, "confidence_percent": confidence_percent, "lowest": lowest, "points": points}
        self.columns = [parameters_moved(model, number) for number in range(len(model.sets))]
        self.effects = [_effects(model, number, years) for number in range(len(model.sets))]
        self.positions = [None if one.sample.moved is None else pull_of(model, k, one.sample.moved)
                          for k, one in enumerate(model.sets)]  # fmt: skip
        second = np.array([one.second_stage is not None for one in model.sets])
        self.stages = ((np.flatnonzero(~second), model.influence), (np.flatnonzero(second), model.block_influence))

    def reach_of(self, freedom: float) -> float:
        """Standard errors to either side of an interval with other degrees of freedom than the model's."""
        return float(stdtrit(freedom, 0.5 + self.about["confidence_percent"] / 200))

    def with_model(self, model: TargetModel) -> RegionEstimator:
        """The same for another model of the same target."""
        return RegionEstimator(model, **self.about)

    def estimate(self, sums: Sequence[Sums], regions: Sequence[Region]) -> Estimate:
        """The mean of all stands together over what is covered of them, with its error."""
        model, whole = self.model, sums[0]
        for part in sums[1:]:
            whole = whole + part
        gradient = whole.gradient / whole.covered_ha
        shared = float(((model.shared @ gradient) ** 2).sum())
        told, stages = [], []
        for sets, influence in self.stages:
            jackknife = float(((influence @ gradient) ** 2).sum())
            least = {
                number: 0.0 if self.model.sets[number].second_stage is None else self._jackknife(number, influence, gradient)
                for number in sets
            }
            told = [self._variance(number, gradient, sums, regions, whole, least[number]) for number in sets]
            sizes = np.sqrt([one.variance for one in told])
            both = float(sizes @ model.between_sets[np.ix_(sets, sets)] @ sizes)
            residual = max(both - jackknife, 0.0)
            stages.append(Stage(jackknife, residual, min(sum(one.area for one in told), residual), _doubt(both, jackknife, told)))
        plots, cells = stages
        variance = plots.variance + cells.variance + shared
        free = _freedom(variance, (plots.variance + shared, model.degrees_of_freedom, plots.doubt),
                        (cells.variance, max(model.blocks - 1, 1), cells.doubt))  # fmt: skip
        mean, se = whole.value / whole.covered_ha, float(np.sqrt(variance))
        reach = self.reach_of(free)
        low, high = (max(mean + sign * reach * se, self.lowest) for sign in (-1, 1))
        return Estimate(
            mean, se, low, high, plots.sampling + cells.sampling, shared, plots.residual + cells.residual, free,
            plots.area + cells.area,
        )  # fmt: skip

    def _jackknife(self, number: int, influence: np.ndarray, gradient: np.ndarray) -> float:
        place = self.model.slices()[number]
        return float(((influence[:, place] @ gradient[place]) ** 2).sum())

    def _variance(self, number: int, gradient: np.ndarray, sums, regions, whole: Sums, least: float) -> Told:
        """What one set's residuals, at its sample and in the region, do to the region's mean."""
        field = _field(sums, regions, number, whole.covered_ha, self.points)
        nugget = whole.s2[number] * self.model.sets[number].plot_ha / whole.covered_ha**2
        own = gradient[self.columns[number]]
        moving, rest = self.effects[number]
        told = moving.variance(own, field, nugget, least)
        if self.positions[number] is not None:
            told += Told(float(((self.positions[number] @ own) ** 2).sum()), 0.0, 0.0)
        return told if rest is None else told + rest.variance(own, NOWHERE, 0.0)


@dataclass(frozen=True)
class Stage:
    """What plots, or cells of a second stage, leave uncertain: by the jackknife, by residuals beyond that (of which `area` is
    the region's own departure), and the variance of their sum as far as readings tell it."""

    sampling: float
    residual: float
    area: float
    doubt: float

    @property
    def variance(self) -> float:
        return self.sampling + self.residual


def _doubt(both: float, jackknife: float, told: Sequence[Told]) -> float:
    """Variance of a stage's variance: sets share plots, so their doubts count as one and relative doubts are averaged.

    Nothing where the jackknife says more than the readings: its own degrees of freedom speak for it.
    """
    if both <= 0 or jackknife >= both:
        return 0.0
    parts = sum(one.variance for one in told)
    return both**2 * sum(one.doubt / one.variance / parts for one in told if one.variance > 0)


def _freedom(variance: float, *parts: tuple[float, float, float]) -> float:
    """Satterthwaite's degrees of freedom from parts: variance, the most that their clusters or blocks give, doubt of them."""
    doubt = sum(max(doubt, 2 * part**2 / most) for part, most, doubt in parts)
    return max(2 * variance**2 / doubt, 1.0) if doubt > 0 else float(parts[0][1])


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


def _field(sums: Sequence[Sums], regions: Sequence[Region], number: int, covered_ha: float, points: int) -> Field:
    if len(regions) > MANY:
        return _field_of_many(sums, regions, number, covered_ha)
    share = max(points // max(len(regions), 1), 1)
    places, weights, cells, stands, axes, apart, which, patches = [], [], [], [], [], [], [], []
    for part, region in zip(sums, regions, strict=True):
        if part.s[number] <= 0:
            continue
        picked = region.points[:share]
        places.append(picked)
        which.append(np.full(len(picked), len(stands)))
        stands.append(part.s[number] / covered_ha)
        axes.append(region.axes_m)
        apart.append(region.apart)
        patches.append(region.patch)
        weights.append(np.full(len(picked), part.s[number] / covered_ha / len(picked)))
        cells.append(np.full(len(picked), region.spacing_m * np.sqrt(len(region.points) / len(picked))))
    if not places:
        return NOWHERE
    return Field(
        np.vstack(places), np.concatenate(weights), np.concatenate(cells), np.concatenate(which), np.array(stands),
        np.array(axes), apart, patches,
    )  # fmt: skip


MANY = 250
"""Stands from which on not all pairs of their points are looked at, but squares that lie over them."""
SQUARES, COARSE = 1024, 64
"""Squares along the longer side of all stands: to tell how their residuals hang together, and what plots have to do with
them."""


def _field_of_many(sums: Sequence[Sums], regions: Sequence[Region], number: int, covered_ha: float) -> Field:
    used = [(part.s[number] / covered_ha, region) for part, region in zip(sums, regions, strict=True) if part.s[number] > 0]
    if not used:
        return NOWHERE
    stands, regions = np.array([weight for weight, _ in used]), [region for _, region in used]
    spacing = np.array([region.spacing_m for region in regions])
    low = np.min([region.points.min(axis=0) for region in regions], axis=0) - spacing.max()
    high = np.max([region.points.max(axis=0) for region in regions], axis=0) + spacing.max()
    side = max(float((high - low).max()) / SQUARES, float(np.median(spacing)))
    shape = np.ceil((high - low) / side).astype(int) + 1
    shape = -(-shape // COARSE) * COARSE if shape.max() > COARSE else shape
    spread = np.zeros(shape)
    for start in range(0, len(regions), 2000):  # eighty points each
        part = slice(start, start + 2000)
        _strewn(spread, (regions[part], stands[part]), low, side)
    by = max(int(shape.max()) // COARSE, 1)
    rows, cols = (-(-n // by) for n in shape)
    padded = np.zeros((rows * by, cols * by))
    padded[: shape[0], : shape[1]] = spread
    coarse = padded.reshape(rows, by, cols, by).sum(axis=(1, 3))
    filled = np.argwhere(coarse > 0)
    weight = coarse[tuple(filled.T)]
    return Field(
        low + (filled + 0.5) * by * side, weight, np.full(len(weight), by * side), np.zeros(0, int), stands,
        np.array([region.axes_m for region in regions]), [region.apart for region in regions],
        [region.patch for region in regions], Spread(spread, side),
    )  # fmt: skip


def _strewn(spread: np.ndarray, stands: tuple[Sequence[Region], np.ndarray], low: np.ndarray, side: float) -> None:
    """Add stands to squares: each lattice cell's weight by the share of the cell in each square."""
    regions, weight = stands
    count = np.array([len(region.points) for region in regions])
    cell = np.repeat([region.spacing_m for region in regions], count)
    points = np.vstack([region.points for region in regions])
    weight = np.repeat(weight / count, count)
    finer = np.maximum(np.ceil(cell / side - 1e-9), 1).astype(int)
    for pieces in np.unique(finer):
        here = finer == pieces
        part, offset = cell[here] / pieces, (np.arange(pieces) - (pieces - 1) / 2)
        for across, up in np.ndindex(pieces, pieces):
            begin = (points[here] - low + np.outer(part, [offset[across], offset[up]]) - part[:, None] / 2) / side
            first = np.floor(begin).astype(int)
            beyond = np.clip(begin + (part / side)[:, None] - first - 1, 0.0, None) / (part / side)[:, None]
            for over in np.ndindex(2, 2):
                share = np.prod(np.where(over, beyond, 1 - beyond), axis=1)
                np.add.at(spread, tuple((first + over).T), weight[here] * share / pieces**2)


@dataclass(frozen=True)
class Told:
    """What the readings say of a variance: their mean, the variance of that (how far they differ, and how few plots tell
    the residuals' size), and how much of the mean is the region's own departure that does not average out in it."""

    variance: float
    doubt: float
    area: float

    def __add__(self, other: Told) -> Told:
        return Told(self.variance + other.variance, self.doubt + other.doubt, self.area + other.area)


@dataclass(frozen=True)
class Effects:
    """What the residuals of some plots, of unit size, do to a region's mean.

    forms : (readings, p, p) variance of their sum as a form of the gradient, for every reading of the residuals
    pull : (m, p) what moves with the region's date does per unit of the gradient, at places xy (m, 2), each standing for
        the plots very near to it; patch_pull : (p,) of all plots in a patch that is a stand
    """

    forms: np.ndarray
    pull: np.ndarray
    xy: np.ndarray
    patch_pull: Mapping[str, np.ndarray]
    structure: Structure

    def variance(self, gradient: np.ndarray, field: Field, nugget: float, least: float = 0.0) -> Told:
        """Variance of pull . e(plots) - weight . e(field), over all readings of the residuals.

        `nugget` is what the field's nugget would be if all correlation were nugget. `least` is what the pull is known to do at
        least, where the field's patches are others than those that pull.
        """
        readings = self.structure.readings
        weight, ranges, smooth, patch, alone = np.array(
            [(one.weight, one.range_m, one.smooth, one.patch, one.nugget) for one in readings]
        ).T
        pulled = np.einsum("i,kij,j->k", gradient, self.forms, gradient)
        pulled = np.where(smooth > 0, pulled, np.maximum(pulled, least))
        own, across = np.zeros((2, len(readings)))
        if len(field.weight) and (smooth > 0).any():
            field_like = smooth > 0
            own[field_like] = _double_sums(field, ranges[field_like])
            across[field_like] = self._in_common(gradient, field, ranges[field_like])
        left = _in_one_patch(field)
        area = smooth * own + patch * float((field.stands**2 * left).sum())
        known = [self.patch_pull[name] @ gradient if name in self.patch_pull else 0.0 for name in field.patches]
        across = smooth * across + patch * float((field.stands * left) @ np.array(known))
        errors = np.maximum(pulled + area + alone * nugget - 2 * across, 0.0)
        mean = float(weight @ errors)
        doubt = float(weight @ (errors - mean) ** 2) + 2 * mean**2 / self.structure.degrees_of_freedom
        return Told(mean, doubt, float(weight @ area))

    def _in_common(self, gradient: np.ndarray, field: Field, ranges: np.ndarray) -> np.ndarray:
        """Covariance of the plots' pull with the field's mean, of smooth residuals of unit size, for each range (k,)."""
        low, high = field.points.min(axis=0), field.points.max(axis=0)
        away = np.sqrt((np.maximum(np.maximum(low - self.xy, self.xy - high), 0.0) ** 2).sum(axis=1))
        near = np.flatnonzero(away <= FAR * ranges.max())
        away, pull = away[near], self.pull[near] @ gradient
        found = np.zeros(len(ranges))
        if near.size == 0:
            return found
        fine = ranges < SMALL * (high - low).max() if len(field.stands) == 1 else np.ones(len(ranges), bool)
        if not fine.all():  # to a range so long the stand is a square around its centre
            centre = cdist(self.xy[near], field.points.mean(axis=0, keepdims=True))[:, 0]
            side = np.array(np.sqrt((field.cell_m**2).sum() / 2))
            found[~fine] = [pull @ mean_correlation(centre, side, one) for one in ranges[~fine]]
            found[~fine] *= field.weight.sum()
        if fine.any():
            rows = away <= FAR * ranges[fine].max()
            distance = cdist(self.xy[near[rows]], field.points)
            for number in np.flatnonzero(fine):
                some = away[rows] <= FAR * ranges[number]
                if some.any():
                    across = mean_correlation(distance[some], field.cell_m / np.sqrt(2), ranges[number])
                    found[number] = pull[rows][some] @ (across @ field.weight)
        return found


def _effects(model: TargetModel, number: int, years: Sequence[int]) -> tuple[Effects, Effects | None]:
    """What moves with the region's own residuals, and in a change what does not."""
    sample, residuals = model.sets[number].sample, model.sets[number].residuals
    influence = pull_of(model, number)
    dates = np.where(sample.year[:, None] == sample.year[None, :], 1.0, residuals.between_dates)
    if len(years) == 1:
        seen = np.where(sample.year == years[0], 1.0, residuals.between_dates)
        return _effects_of(influence, sample, np.arange(len(sample.plot)), dates, residuals.level, seen), None
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
        _effects_of(change * sd, sample, late, same, residuals.change, np.ones(len(late))),
        _effects_of(rest, sample, everything, dates, residuals.level, np.ones(len(rest))),
    )


def _effects_of(
    matrix: np.ndarray, sample: Sample, rows: np.ndarray, dates: np.ndarray, structure: Structure, seen: np.ndarray
) -> Effects:
    """`rows` of the sample are those that `matrix` (n, p) is of; `dates` (n, n) is the correlation of their dates."""
    xy, patch = sample.xy[rows], sample.patch[rows]
    apart = cdist(xy, xy)
    same_plot = apart <= 1.0
    in_patch = patch[:, None] == patch[None, :]
    forms = [
        matrix.T
        @ (dates * (one.smooth * correlation(apart, one.range_m) + one.patch * in_patch + one.nugget * same_plot))
        @ matrix
        for one in structure.readings
    ]
    nearest = min((one.range_m for one in structure.readings if one.smooth > 0), default=1.0)
    pull, places = _gathered(matrix * seen[:, None], xy, VERY_NEAR * nearest)
    stands = [name for name in np.unique(patch) if name.startswith(STAND)]
    by_stand = {name: seen[patch == name] @ matrix[patch == name] for name in stands}
    return Effects(np.array(forms), pull, places, by_stand, structure)


def _in_one_patch(field: Field) -> np.ndarray:
    """Share (k,) of a patch's variance that is left in the mean of each stand."""
    round_ones = np.isfinite(field.axes_m[:, 0])
    square_m = np.empty(len(field.stands))
    square_m[round_ones] = field.axes_m[round_ones].prod(axis=1)
    square_m[~round_ones] = [field.apart[number].radius_m ** 2 for number in np.flatnonzero(~round_ones)]
    return np.minimum(PATCH_HA * 1e4 / np.maximum(np.pi * square_m, 1.0), 1.0)


VERY_NEAR = 0.05
"""Share of the shortest range within which plots count as one place (correlation above 0.86, errors to either side)."""


def _gathered(pull: np.ndarray, xy: np.ndarray, side_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `pull` (n, p) over the rows in each square of `side_m`, and their mean places: a stand asks each place once."""
    _, number = np.unique(np.floor(xy / side_m).astype(np.int64), axis=0, return_inverse=True)
    number = number.ravel()
    count = np.bincount(number)
    summed = np.zeros((len(count), pull.shape[1]))
    np.add.at(summed, number, pull)
    return summed, np.column_stack([np.bincount(number, weights=column) / count for column in xy.T])


# ---------------------------------------------------------------- mean correlations


def _double_sums(field: Field, ranges: np.ndarray) -> np.ndarray:
    """Weighted mean correlation (k,) of the field with itself at each range: within stands by their shapes, between them
    by lattice cells."""
    round_ones = np.isfinite(field.axes_m[:, 0])
    total = np.zeros(len(ranges))
    for number, range_m in enumerate(ranges):
        own = np.empty(len(field.stands))
        own[round_ones] = ellipse_correlation(field.axes_m[round_ones], range_m)
        own[~round_ones] = [field.apart[one].correlation(range_m) for one in np.flatnonzero(~round_ones)]
        total[number] = field.stands**2 @ own
    if field.spread is not None:  # squares see each stand blurred by their size: what that takes from it is given back
        axes = field.axes_m.copy()
        axes[~round_ones] = np.array([field.apart[number].radius_m for number in np.flatnonzero(~round_ones)])[:, None]
        blurred = np.sqrt(axes**2 + field.spread.side_m**2 / np.pi)
        for number, range_m in enumerate(ranges):
            lost = ellipse_correlation(axes, range_m) - ellipse_correlation(blurred, range_m)
            total[number] = field.spread.correlated(range_m) + float(field.stands**2 @ lost)
        return total
    if len(field.stands) == 1:
        return total
    for start in range(0, len(field.weight), 500):
        rows = slice(start, start + 500)
        later = slice(start, None)  # every pair once; pairs of two blocks count twice
        weight = np.where(field.stand[rows, None] == field.stand[None, later], 0.0, field.weight[rows, None])
        weight *= field.weight[None, later]
        weight[:, 500:] *= 2
        distance = cdist(field.points[rows], field.points[later])
        sides = np.sqrt((field.cell_m[rows, None] ** 2 + field.cell_m[None, later] ** 2) / 2)
        for number, range_m in enumerate(ranges):
            total[number] += float(np.vdot(weight, mean_correlation(distance, sides, range_m)))
    return total


RADII, RADIAL = np.polynomial.legendre.leggauss(20)
RADII, RADIAL = 2 * ((1 + RADII) / 2) ** 2, 2 * RADIAL * (1 + RADII) / 2  # more nodes near 0, where the correlation falls
ANGLES = (np.arange(16) + 0.5) * np.pi / 32
APART = (2 * np.arccos(RADII / 2) - RADII / 2 * np.sqrt(4 - RADII**2)) / np.pi**2 * RADII * RADIAL * (np.pi / 8)
APART /= APART.sum() * len(ANGLES)
"""Quadrature of the distance of two random points of a disc of radius 1: its covariogram, over radius and a quarter turn."""


def ellipse_correlation(axes_m: np.ndarray, range_m: float) -> np.ndarray:
    """Mean correlation (k,) of two random points of ellipses with half axes (k, 2): that of a disc, stretched.

    For compact and for elongated stands of the same area and second moment the standard error is within 1 % of the
    exact double sum (tests hold it against Fourier transforms of their shapes).
    """
    from models.inference.kernels import mean_exponential

    turn = np.cos(ANGLES), np.sin(ANGLES)
    return mean_exponential(np.ascontiguousarray(axes_m, float), RADII, APART, *turn, 3.0 / float(range_m))


NEAR = 4.0  # sides: beyond, the curvature of the correlation tells the mean over two squares
STEPS_NEAR, STEPS_SIDE = np.linspace(0.0, NEAR, 41), np.geomspace(1e-2, 1e2, 61)


@cache
def _square_table() -> np.ndarray:
    """Mean correlation of two random points of two squares of side 1, over directions: log of it by distance
    (`STEPS_NEAR`, in sides) and side (`STEPS_SIDE`, in ranges)."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half, share = (1 + nodes) / 2, weights / 2  # of a triangular offset; nodes lie dense where squares meet
    offset = np.concatenate([-half[::-1], half])
    share = np.concatenate([share[::-1], share]) * (1 - np.abs(offset))
    turn = (np.arange(8) + 0.5) * np.pi / 16
    table = np.empty((len(STEPS_NEAR), len(STEPS_SIDE)))
    for row, apart in enumerate(STEPS_NEAR):
        away = np.hypot(
            apart * np.cos(turn)[:, None, None] + offset[None, :, None],
            apart * np.sin(turn)[:, None, None] + offset[None, None, :],
        )
        for col, side in enumerate(STEPS_SIDE):
            table[row, col] = np.einsum("tij,i,j->", np.exp(-3 * side * away), share, share) / len(turn)
    return np.log(np.maximum(table, 1e-300))


def mean_correlation(distance_m: np.ndarray, side_m: np.ndarray, range_m: float) -> np.ndarray:
    """Correlation of two places, each anywhere in a square of side `side_m`, whose centres lie `distance_m` apart.

    Squares of two sizes are told by the root mean square of their sides, a point and a square by side / sqrt(2).
    `side_m` is of the shape of `distance_m` or can be spread to it.
    """
    from models.inference.kernels import square_correlation

    distance = np.asarray(distance_m, float)
    side = np.broadcast_to(np.asarray(side_m, float), distance.shape)
    found = square_correlation(
        distance.ravel(), side.ravel(), float(range_m), _square_table(), NEAR, STEPS_SIDE[0], STEPS_SIDE[-1]
    )
    return found.reshape(distance.shape)
