"""Stands and projects: mean, total, standard error and interval from sums over pixels.

The variance of a mean has three parts here: what the sample of plots leaves open about the parameters, what all plots
share (allometry, height model, wood density), and the residual, which is correlated in space. Residuals belong to the
plot's area: the nugget part of a stand's mean is s^2 x nugget x plot area / stand area, never divided by pixels.

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

from models.inference.fitted import TargetModel
from models.inference.residuals import correlation

SELF_DISTANCE = 0.5214
"""Mean distance of two random points of a unit square: stands for the pairs inside one lattice cell."""


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

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Region:
    """A stand's shape as lattice points (m, 2) in metres, all standing for cells of side `spacing_m`."""

    points: np.ndarray
    spacing_m: float


@dataclass(frozen=True)
class Estimate:
    """A mean per hectare with the parts of its variance and a two-sided interval."""

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
            return Region(np.column_stack([grid_x[inside], grid_y[inside]]), spacing)
    centre = geometry.representative_point()
    return Region(np.array([[centre.x, centre.y]]), float(np.sqrt(max(geometry.area, 1e-6))))


def mean_correlation(region: Region, range_m: float) -> float:
    """Mean correlation of two random points of a region, without nugget."""
    distance = cdist(region.points, region.points)
    np.fill_diagonal(distance, SELF_DISTANCE * region.spacing_m)
    return float(correlation(distance, range_m).mean())


def stand_estimate(
    sums: Sums, region: Region, model: TargetModel, *, confidence_percent: float, lowest: float = -np.inf
) -> Estimate:
    """Mean per hectare of a stand over its covered part; `lowest` bounds the interval (0 for a stock)."""
    return _estimate(sums, model, _stand_residual(sums, region, model), confidence_percent, lowest)


def project_estimate(
    sums: Sequence[Sums],
    regions: Sequence[Region],
    model: TargetModel,
    *,
    confidence_percent: float,
    lowest: float = -np.inf,
) -> Estimate:
    """Mean per hectare of several stands together, with the correlation between them."""
    whole = sums[0]
    for part in sums[1:]:
        whole = whole + part
    return _estimate(whole, model, _project_residual(sums, regions, model), confidence_percent, lowest)


def _estimate(sums: Sums, model: TargetModel, residual: float, confidence_percent: float, lowest: float) -> Estimate:
    mean = sums.value / sums.covered_ha
    gradient = sums.gradient / sums.covered_ha
    sampling = float(((model.influence @ gradient) ** 2).sum())
    shared = float(((model.shared @ gradient) ** 2).sum())
    se = float(np.sqrt(sampling + shared + residual))
    reach = float(student.ppf(0.5 + confidence_percent / 200, model.degrees_of_freedom)) * se
    return Estimate(mean, se, max(mean - reach, lowest), max(mean + reach, lowest), sampling, shared, residual)


def _stand_residual(sums: Sums, region: Region, model: TargetModel) -> float:
    """Residual variance of a stand mean; the fields of two predictor sets count as one (the cautious case)."""
    correlated = nugget = 0.0
    for one, s, s2 in zip(model.sets, sums.s, sums.s2, strict=True):
        structure = one.residuals
        correlated += s * np.sqrt((1 - structure.nugget) * mean_correlation(region, structure.range_m))
        nugget += s2 * structure.nugget * one.plot_ha
    return float((correlated**2 + nugget) / sums.covered_ha**2)


def _project_residual(
    sums: Sequence[Sums], regions: Sequence[Region], model: TargetModel, *, points: int = 2500
) -> float:
    """Residual variance of the mean of many stands: a double sum over a few lattice points per stand."""
    share = max(points // max(len(regions), 1), 1)
    places, weights, own, nugget = [], [], [], 0.0
    range_m = max(one.residuals.range_m for one in model.sets)
    for part, region in zip(sums, regions, strict=True):
        picked = region.points[:: max(len(region.points) // share, 1)]
        size = sum(s * np.sqrt(1 - one.residuals.nugget) for one, s in zip(model.sets, part.s, strict=True))
        places.append(picked)
        weights.append(np.full(len(picked), size / len(picked)))
        own.append(np.full(len(picked), SELF_DISTANCE * region.spacing_m * np.sqrt(len(region.points) / len(picked))))
        nugget += sum(s2 * one.residuals.nugget * one.plot_ha for one, s2 in zip(model.sets, part.s2, strict=True))
    xy, weight, self_distance = np.vstack(places), np.concatenate(weights), np.concatenate(own)
    total = 0.0
    for start in range(0, len(xy), 1000):
        rows = slice(start, start + 1000)
        distance = cdist(xy[rows], xy)
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = self_distance[rows]
        total += float(weight[rows] @ correlation(distance, range_m) @ weight)
    covered = sum(part.covered_ha for part in sums)
    return (total + nugget) / covered**2
