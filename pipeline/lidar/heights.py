"""Heights above ground: a triangulated ground surface subtracted from each point."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

log = logging.getLogger(__name__)

STEPS_PER_M = 20_000  # positions are compared on a lattice of 0.05 mm, on which the triangulation is exact
NEAREST_VERTICES = 3


class Points(Protocol):
    """What is asked of a point cloud: metres in a projected CRS, one entry per point."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    classification: np.ndarray
    first_return: np.ndarray


@dataclass(frozen=True)
class Heights:
    """Points with their height above ground.

    `x`, `y`, `z` float64, metres, `z` above ground and never below 0. Boolean per point: `first_return`; `ground`
    (of a ground class); `outside_hull` (beyond the ground surface, height from the nearest ground points); `clipped`
    (was below ground). `too_high` counts points above the ceiling, which are left out.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    first_return: np.ndarray
    ground: np.ndarray
    outside_hull: np.ndarray
    clipped: np.ndarray
    too_high: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def select(self, mask: np.ndarray) -> Heights:
        """The points where `mask` holds; `too_high` stays with the whole."""
        columns = ("x", "y", "z", "first_return", "ground", "outside_hull", "clipped")
        return Heights(*(getattr(self, column)[mask] for column in columns))


def no_heights() -> Heights:
    """A window without points."""
    empty, none = np.empty(0), np.empty(0, bool)
    return Heights(empty, empty, empty, none, none, none, none)


class NoGroundError(ValueError):
    """A window has points but no ground to measure their heights from."""


def heights_above_ground(points: Points, *, ground_classes: tuple[int, ...] = (2,), max_height_m: float) -> Heights:
    """Heights of points above the linear interpolation of a Delaunay triangulation of the ground points.

    Ground points at the same place count once, the lowest. Beyond the hull of the ground points the ground is the mean
    of the three nearest, weighted by inverse distance, and the point is flagged. The order of points changes nothing,
    nor does moving the whole cloud by whole metres.

    Parameters
    ----------
    points
        A cloud with `x, y, z` (m), `classification`, `first_return`, noise already left out.
    ground_classes
        ASPRS classes that are ground; (2, 9) takes water as ground.
    max_height_m
        Points higher than this above ground are left out, and counted.

    Raises
    ------
    NoGroundError
        If fewer than three ground points, or only points on one line, are there; the message says where.
    ValueError
        If the points reach over more than 26 km.

    References
    ----------
    Roussel et al. 2020, doi:10.1016/j.rse.2020.112061 (`normalize_height` with `tin()`).
    """
    if len(points.x) == 0:
        return no_heights()
    from pipeline.lidar.triangulation import interpolate

    is_ground = np.isin(points.classification, ground_classes)
    px, py = _lattice(points.x), _lattice(points.y)
    places, z = _distinct_ground(px[is_ground], py[is_ground], points.z[is_ground])
    triangles, neighbours = _triangulated(places, points, ground_classes)
    ground_z = interpolate(triangles, neighbours, places, z, px, py)
    outside = np.isnan(ground_z)
    if outside.any():
        ground_z[outside] = _nearest_ground(triangles, neighbours, places, z, px[outside], py[outside])
    return _bounded(points, points.z - ground_z, is_ground, outside, max_height_m)


def heights_as_given(points: Points, *, max_height_m: float) -> Heights:
    """Heights of points whose `z` is above ground already: a canopy height raster, a normalised cloud."""
    none = np.zeros(len(points.x), bool)
    return _bounded(points, points.z, none, none, max_height_m)


def _bounded(points: Points, z: np.ndarray, ground: np.ndarray, outside: np.ndarray, max_height_m: float) -> Heights:
    keep = z <= max_height_m
    every = Heights(points.x, points.y, np.maximum(z, 0.0), points.first_return, ground, outside, z < 0)
    return every if keep.all() else replace(every.select(keep), too_high=int((~keep).sum()))


def _lattice(values: np.ndarray) -> np.ndarray:
    """Whole lattice steps from the whole metre below the least value."""
    from pipeline.lidar.triangulation import SPAN

    origin, reach = np.floor(values.min()), np.ptp(values)
    if not (reach + 1) * STEPS_PER_M < SPAN:
        raise ValueError(
            f"points reach over {reach / 1000:.1f} km ({values.min():.0f} to {values.max():.0f} m), heights are "
            f"measured over at most {SPAN / STEPS_PER_M / 1000:.1f} km; check buffer_m and the tiles' coordinates"
        )
    steps = values - origin
    steps *= STEPS_PER_M
    return np.rint(steps, out=steps).astype(np.int64)


def _distinct_ground(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) of ground points in canonical order (x, then y), and the lowest height at each."""
    place = x << 32 | y
    order = np.argsort(place)
    place, z = place[order], z[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    log.debug("%d of %d ground points share their place with a lower one", len(z) - len(starts), len(z))
    place = place[starts]
    return np.column_stack([place >> 32, place & 0xFFFFFFFF]), np.minimum.reduceat(z, starts) if len(z) else z


def _triangulated(
    places: np.ndarray, points: Points, ground_classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    from pipeline.lidar.triangulation import OnOneLineError, delaunay

    where = (
        f"between x {points.x.min():.0f} and {points.x.max():.0f}, y {points.y.min():.0f} and {points.y.max():.0f}: "
        f"{len(points.x)} points, {len(places)} of them ground at different places "
        f"(class {', '.join(map(str, ground_classes))})"
    )
    remedy = "set ground_classes of the campaign, classify the ground first, or set classify_ground: csf"
    if len(places) < 3:
        raise NoGroundError(f"there is no ground to measure heights from {where}; {remedy}")
    try:
        return delaunay(places)
    except OnOneLineError:
        raise NoGroundError(f"the ground points lie on one line {where}; {remedy}") from None


def _nearest_ground(triangles, neighbours, places, z, px, py) -> np.ndarray:
    from pipeline.lidar.triangulation import nearest_vertices

    distance, index = nearest_vertices(triangles, neighbours, places, px, py, NEAREST_VERTICES)
    weight = 1.0 / np.maximum(distance, 1.0)  # one lattice step: a point on a ground point takes its height
    return (weight * z[index]).sum(axis=1) / weight.sum(axis=1)
