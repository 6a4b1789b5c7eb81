"""Heights above ground: a triangulated ground surface subtracted from each point."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

log = logging.getLogger(__name__)

STEPS_PER_M = 20_000  # positions are compared on a lattice of 0.05 mm, on which the triangulation is exact
NEAREST_VERTICES = 3
Bounds = tuple[float, float, float, float]

FAR_GROUND_M = 240.0
"""A height is not certain where its ground triangle's circumcircle is wider: what lies beyond a window's buffer may
belong to a finer triangle there. It is also how far a buffer grows, so that all other heights are certain."""


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
    (was below ground); `far_ground` (its ground triangle's circumcircle is wider than `FAR_GROUND_M`). `too_high` counts
    points above the ceiling, which are left out; `unsettled` those whose ground might change with points that were not
    read. `surface` is the ground, None where heights were given.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    first_return: np.ndarray
    ground: np.ndarray
    outside_hull: np.ndarray
    clipped: np.ndarray
    far_ground: np.ndarray
    too_high: int = 0
    unsettled: int = 0
    surface: Ground | None = None

    def __len__(self) -> int:
        return len(self.x)

    def select(self, mask: np.ndarray) -> Heights:
        """The points where `mask` holds; counts stay with the whole."""
        columns = ("x", "y", "z", "first_return", "ground", "outside_hull", "clipped", "far_ground")
        return Heights(*(getattr(self, column)[mask] for column in columns), surface=self.surface)


def no_heights() -> Heights:
    """A window without points."""
    empty, none = np.empty(0), np.empty(0, bool)
    return Heights(empty, empty, empty, *[none] * 5)


class NoGroundError(ValueError):
    """A window has points but no ground to measure their heights from."""


@dataclass(frozen=True)
class Ground:
    """The ground as a triangulated surface: vertices `places` (n, 2) in lattice steps from `origin`, heights `z` in m.

    `triangles`, `neighbours`: of `triangulation.delaunay`; `doubts`: of `triangulation.doubts_of`. `open` says that
    ground may lie beyond, in a part of the campaign that was not read.
    """

    places: np.ndarray
    z: np.ndarray
    triangles: np.ndarray
    neighbours: np.ndarray
    doubts: np.ndarray
    origin: tuple[float, float]
    open: bool

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Height of the ground (m), whether beyond its hull, and `triangulation` bits of doubt, each per point.

        Beyond the hull the ground is the mean of the three nearest points, weighted by inverse distance.
        """
        from pipeline.lidar.triangulation import BEYOND, interpolate, nearest_vertices

        west, south = self.origin
        ground_z, doubt = interpolate(
            self.triangles, self.neighbours, self.places, self.z, self.doubts, x, y, west, south, float(STEPS_PER_M)
        )
        outside = np.isnan(ground_z)
        if outside.any():
            distance, index = nearest_vertices(
                self.triangles, self.neighbours, self.places, _steps(x[outside], west), _steps(y[outside], south),
                NEAREST_VERTICES,
            )  # fmt: skip
            weight = 1.0 / np.maximum(distance, 1.0)  # one lattice step: a point on a ground point takes its height
            ground_z[outside] = (weight * self.z[index]).sum(axis=1) / weight.sum(axis=1)
            if self.open:
                doubt[outside] = BEYOND
        return ground_z, outside, doubt

    def unsettled(self, x: np.ndarray, y: np.ndarray) -> int:
        """How many of some places have a ground that might change with points that were not read."""
        from pipeline.lidar.triangulation import BEYOND

        return int((self.at(x, y)[2] & BEYOND > 0).sum())


def ground_surface(points: Points, *, ground_classes: tuple[int, ...] = (2,), beyond: Sequence[Bounds] = ()) -> Ground:
    """Delaunay triangulation of the ground points; at one place the lowest counts, once.

    Parameters
    ----------
    points
        A cloud with `x, y, z` (m) and `classification`; others than ground are passed over.
    ground_classes
        ASPRS classes that are ground; (2, 9) takes water as ground.
    beyond
        Rectangles (west, south, east, north, m) where the campaign may hold points that are not among these.

    Raises
    ------
    NoGroundError
        If fewer than three ground points, or only points on one line, are there; the message says where.
    ValueError
        If the points reach over more than 26 km.
    """
    from pipeline.lidar.triangulation import SPAN, doubts_of

    is_ground = of_classes(points.classification, ground_classes)
    origin = _corner(points.x, SPAN), _corner(points.y, SPAN)
    px, py = _steps(points.x[is_ground], origin[0]), _steps(points.y[is_ground], origin[1])
    places, z = _distinct_ground(px, py, points.z[is_ground])
    triangles, neighbours = _triangulated(places, points, ground_classes)
    rectangles = (np.array(beyond, float).reshape(-1, 4) - np.tile(origin, 2)) * STEPS_PER_M
    doubts = doubts_of(triangles, places, FAR_GROUND_M * STEPS_PER_M, rectangles)
    return Ground(places, z, triangles, neighbours, doubts, origin, len(rectangles) > 0)


def heights_on(ground: Ground, points: Points, *, ground_classes: tuple[int, ...] = (2,), max_height_m: float) -> Heights:
    """Heights of points above a ground surface that reaches around them."""
    from pipeline.lidar.triangulation import BEYOND, WIDE

    if len(points.x) == 0:
        return replace(no_heights(), surface=ground)
    ground_z, outside, doubt = ground.at(points.x, points.y)
    is_ground = of_classes(points.classification, ground_classes)
    heights = _bounded(points, points.z - ground_z, is_ground, outside, doubt & WIDE > 0, max_height_m)
    return replace(heights, unsettled=int((doubt & BEYOND > 0).sum()), surface=ground)


def of_classes(classification: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Which points are of one of some classes (0 to 255)."""
    wanted = np.zeros(256, bool)
    wanted[list(classes)] = True
    return wanted[classification]


def heights_above_ground(points: Points, *, ground_classes: tuple[int, ...] = (2,), max_height_m: float) -> Heights:
    """Heights of points above the linear interpolation of a Delaunay triangulation of the ground points among them.

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
    NoGroundError, ValueError
        As `ground_surface`.

    References
    ----------
    Roussel et al. 2020, doi:10.1016/j.rse.2020.112061 (`normalize_height` with `tin()`).
    """
    if len(points.x) == 0:
        return no_heights()
    ground = ground_surface(points, ground_classes=ground_classes)
    return heights_on(ground, points, ground_classes=ground_classes, max_height_m=max_height_m)


def heights_as_given(points: Points, *, max_height_m: float) -> Heights:
    """Heights of points whose `z` is above ground already: a canopy height raster, a normalised cloud."""
    none = np.zeros(len(points.x), bool)
    return _bounded(points, points.z, none, none, none, max_height_m)


def _bounded(points: Points, z, ground, outside, far, max_height_m: float) -> Heights:
    keep = z <= max_height_m
    every = Heights(points.x, points.y, np.maximum(z, 0.0), points.first_return, ground, outside, z < 0, far)
    return every if keep.all() else replace(every.select(keep), too_high=int((~keep).sum()))


def _corner(values: np.ndarray, span: int) -> float:
    """The whole metre below the least value."""
    reach = np.ptp(values)
    if not (reach + 1) * STEPS_PER_M < span:
        raise ValueError(
            f"points reach over {reach / 1000:.1f} km ({values.min():.0f} to {values.max():.0f} m), heights are "
            f"measured over at most {span / STEPS_PER_M / 1000:.1f} km; check buffer_m and the tiles' coordinates"
        )
    return float(np.floor(values.min()))


def _steps(values: np.ndarray, origin: float) -> np.ndarray:
    """Whole lattice steps from an origin."""
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
