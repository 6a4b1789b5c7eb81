"""Stands and projects: mean, total, standard error and interval from sums over pixels.

The error of a region's mean is what the plots' residuals do to the parameters, minus the region's own mean residual.
Both come from one correlated field, so they are taken together: plots near a stand pull the model towards it, and over a
whole region residuals that reach far are partly in the intercept already. The cluster jackknife, which assumes no
structure, is a floor under the result. Errors that all plots share (allometry, height model, wood density) come on top.
Residuals belong to the plot's area: the nugget part is s^2 x nugget x plot area / area, never divided by pixels.

References
----------
Breidenbach et al. 2016, Remote Sensing of Environment 173:274-281, doi:10.1016/j.rse.2015.07.026 (model-based stand
variances with heteroscedastic, spatially correlated residuals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import t as student

from models.inference.fitted import Sample, SetModel, TargetModel
from models.inference.residuals import Structure, correlation

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
NODES, WEIGHTS = ((1 + NODES) / 2) ** 2, WEIGHTS * (1 + NODES) / 2
"""Quadrature between 0 and 1 with most of its nodes near 0, where the correlation within a lattice cell falls."""


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
class Region:
    """A stand's shape as lattice points (m, 2) in metres, all standing for cells of side `spacing_m`.

    The points come in a fixed random order, so that the first few of them lie all over the stand.
    """

    points: np.ndarray
    spacing_m: float


@dataclass(frozen=True)
class Field:
    """Where a region's residuals are: points (m, 2), weights (m,) in target units that add up to the mean residual SD,
    the side (m,) of the square that each stands for, and the sum of weights of each stand (k,)."""

    points: np.ndarray
    weight: np.ndarray
    cell_m: np.ndarray
    stands: np.ndarray


NOWHERE = Field(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Estimate:
    """A mean per hectare with the parts of its variance and a two-sided interval.

    sampling_variance : parameters, by the cluster jackknife; residual_variance : what the residuals add to it;
    shared_variance : errors that all plots share.
    """

    mean: float
    se: float
    low: float
    high: float
    sampling_variance: float
    shared_variance: float
    residual_variance: float


def lattice(geometry, *, points: int = 80) -> Region:
    """About `points` lattice points inside a polygon (shapely); one point for a polygon too thin for the lattice."""
    import shapely

    west, south, east, north = geometry.bounds
    spacing = float(np.sqrt(max(geometry.area, 1e-6) / points))
    x = np.arange(west + spacing / 2, east, spacing)
    y = np.arange(south + spacing / 2, north, spacing)
    if x.size and y.size:
        grid_x, grid_y = (part.ravel() for part in np.meshgrid(x, y))
        inside = shapely.contains_xy(geometry, grid_x, grid_y)
        if inside.any():
            order = np.random.default_rng(0).permutation(int(inside.sum()))
            return Region(np.column_stack([grid_x[inside], grid_y[inside]])[order], spacing)
    centre = geometry.representative_point()
    return Region(np.array([[centre.x, centre.y]]), float(np.sqrt(max(geometry.area, 1e-6))))


def region_estimate(
    sums: Sequence[Sums],
    regions: Sequence[Region],
    model: TargetModel,
    *,
    years: Sequence[int],
    confidence_percent: float,
    lowest: float = -np.inf,
    points: int = 2500,
) -> Estimate:
    """Mean per hectare of one stand, or of several together, over what is covered of them.

    Parameters
    ----------
    years : one year for a stock, two for a change between them
    lowest : bound of the interval (0 for a stock)
    points : lattice points over all regions together, at most about
    """
    whole = sums[0]
    for part in sums[1:]:
        whole = whole + part
    gradient = whole.gradient / whole.covered_ha
    sampling = float(((model.influence @ gradient) ** 2).sum())
    shared = float(((model.shared @ gradient) ** 2).sum())
    errors = []
    for number, (one, place) in enumerate(zip(model.sets, model.slices(), strict=True)):
        field = _field(sums, regions, number, whole.covered_ha, points)
        nugget = whole.s2[number] * one.plot_ha / whole.covered_ha**2
        errors.append(max(_set_variance(one, gradient[place], field, nugget, years), 0.0))
    sizes = np.sqrt(errors)
    residual = max(float(sizes @ model.between_sets @ sizes) - sampling, 0.0)
    mean, se = whole.value / whole.covered_ha, float(np.sqrt(sampling + shared + residual))
    reach = float(student.ppf(0.5 + confidence_percent / 200, model.degrees_of_freedom)) * se
    return Estimate(mean, se, max(mean - reach, lowest), max(mean + reach, lowest), sampling, shared, residual)


def _field(sums: Sequence[Sums], regions: Sequence[Region], number: int, covered_ha: float, points: int) -> Field:
    share = max(points // max(len(regions), 1), 1)
    places, weights, cells, stands = [], [], [], []
    for part, region in zip(sums, regions, strict=True):
        if part.s[number] <= 0:
            continue
        picked = region.points[:share]
        places.append(picked)
        stands.append(part.s[number] / covered_ha)
        weights.append(np.full(len(picked), part.s[number] / covered_ha / len(picked)))
        cells.append(np.full(len(picked), region.spacing_m * np.sqrt(len(region.points) / len(picked))))
    if not places:
        return NOWHERE
    return Field(np.vstack(places), np.concatenate(weights), np.concatenate(cells), np.array(stands))


def _set_variance(one: SetModel, gradient: np.ndarray, field: Field, nugget: float, years: Sequence[int]) -> float:
    """Variance of (effect of the plots' residuals on the mean) minus (mean residual of the region), for one set."""
    sample, residuals = one.sample, one.residuals
    pull = sample.influence @ gradient
    dates = np.where(sample.year[:, None] == sample.year[None, :], 1.0, residuals.between_dates)
    if len(years) == 1:
        seen = np.where(sample.year == years[0], 1.0, residuals.between_dates)
        rows = np.arange(len(pull))
        return _larger_variance(pull, sample, rows, dates, field, nugget, residuals.level, seen)
    early, late = sample.pairs(*years)
    sd = residuals.change_sd(sample.sd[early], sample.sd[late])
    change = (pull[late] / sample.sd[late] - pull[early] / sample.sd[early]) / 2
    rest = pull.copy()
    rest[late] -= change * sample.sd[late]
    rest[early] += change * sample.sd[early]
    same, ones = np.ones((len(early), len(early))), np.ones(len(pull))
    moving = _larger_variance(change * sd, sample, late, same, field, nugget, residuals.change, ones[: len(late)])
    return moving + _larger_variance(rest, sample, np.arange(len(rest)), dates, NOWHERE, 0.0, residuals.level, ones)


def _larger_variance(
    pull: np.ndarray,
    sample: Sample,
    rows: np.ndarray,
    dates: np.ndarray,
    field: Field,
    nugget: float,
    structure: Structure,
    seen: np.ndarray,
) -> float:
    """Variance of pull . e(plots) - weight . e(field), e of unit variance: as a field or as patches, whichever is larger.

    Parameters
    ----------
    rows : rows of the sample that `pull` (n,) stands for
    dates : (n, n) correlation of the rows' dates; seen : (n,) of each row's date with the field's
    nugget : what the field's nugget would be if all correlation were nugget
    """
    xy, patch = sample.xy[rows], sample.patch[rows]
    smooth = 1 - structure.nugget
    apart = cdist(xy, xy)
    same_plot = apart <= 1.0
    as_field = dates * (smooth * correlation(apart, structure.range_m) + structure.nugget * same_plot)
    field_variance = float(pull @ as_field @ pull) + structure.nugget * nugget
    if len(field.weight):
        across = correlation(cdist(xy, field.points), structure.range_m) @ field.weight
        field_variance += smooth * (_double_sum(field, structure.range_m) - 2 * float((pull * seen) @ across))
    in_patch = patch[:, None] == patch[None, :]
    as_patches = dates * (structure.patch * in_patch + (1 - structure.patch) * same_plot)
    patch_variance = float(pull @ as_patches @ pull) + structure.patch * float((field.stands**2).sum())
    return max(field_variance, patch_variance + (1 - structure.patch) * nugget)


def _double_sum(field: Field, range_m: float) -> float:
    """Mean correlation of the field with itself; a point's pair with itself is the mean over pairs inside its square."""
    sides, which = np.unique(field.cell_m, return_inverse=True)
    within = np.array([_within_square(side, range_m) for side in sides])[which]
    total = 0.0
    for start in range(0, len(field.weight), 1000):
        rows = slice(start, start + 1000)
        correlated = correlation(cdist(field.points[rows], field.points), range_m)
        correlated[np.arange(len(correlated)), np.arange(start, start + len(correlated))] = within[rows]
        total += float(field.weight[rows] @ correlated @ field.weight)
    return total


def _within_square(side_m: float, range_m: float) -> float:
    """Mean correlation of two random points of a square: their offsets have triangular densities."""
    u, v = np.meshgrid(NODES, NODES)
    weight = np.outer(WEIGHTS * (1 - NODES), WEIGHTS * (1 - NODES))
    return float(4 * (weight * correlation(side_m * np.hypot(u, v), range_m)).sum())
