"""Heights above ground: a triangulated ground surface subtracted from each point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from pipeline.lidar.settling import Farther

log = logging.getLogger(__name__)

STEPS_PER_M = 20_000  # positions are compared on a lattice of 0.05 mm, on which the triangulation is exact
NEAREST_VERTICES = 3
Bounds = tuple[float, float, float, float]

FAR_GROUND_M = 240.0
"""A height is not certain where its ground triangle's circumcircle is wider: ground that lies farther from a window may
belong to a finer triangle there. It is also how far around a window ground is looked for, so that all other heights are
certain."""

SQUARE_M = 25.0  # by which ground is listed


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
    points above the ceiling, which are left out. `surface` is the ground, None where heights were given. `return_number`
    is None where there is none, as of a canopy height raster.
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
    surface: Ground | None = None
    return_number: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def select(self, mask: np.ndarray) -> Heights:
        """The points where `mask` holds; counts stay with the whole."""
        columns = ("x", "y", "z", "first_return", "ground", "outside_hull", "clipped", "far_ground")
        number = None if self.return_number is None else self.return_number[mask]
        return Heights(*(getattr(self, column)[mask] for column in columns), surface=self.surface, return_number=number)


def no_heights() -> Heights:
    """A window without points."""
    empty, none = np.empty(0), np.empty(0, bool)
    return Heights(empty, empty, empty, *[none] * 5)


class NoGroundError(ValueError):
    """A window has points but no ground to measure their heights from."""


@dataclass(frozen=True)
class Ground:
    """The ground as a triangulated surface: vertices `places` (n, 2) in lattice steps from `origin`, heights `z` in m.

    `triangles`, `neighbours`: as of `triangulation.delaunay`; `wide`: which of them have a circle wider than
    `FAR_GROUND_M`. `grown` says that ground beyond the buffer was needed.
    """

    places: np.ndarray
    z: np.ndarray
    triangles: np.ndarray
    neighbours: np.ndarray
    wide: np.ndarray
    origin: tuple[float, float]
    grown: bool = False

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Height of the ground (m), whether beyond its hull, whether on a wide triangle alone, each per point.

        Beyond the hull the ground is the mean of the three nearest points, weighted by inverse distance.
        """
        from pipeline.lidar.triangulation import interpolate, nearest_vertices

        west, south = self.origin
        ground_z, on_wide = interpolate(
            self.triangles, self.neighbours, self.places, self.z, self.wide, x, y, west, south, float(STEPS_PER_M)
        )
        outside = np.isnan(ground_z)
        if outside.any():
            distance, index = nearest_vertices(
                self.triangles, self.neighbours, self.places, _steps(x[outside], west), _steps(y[outside], south),
                NEAREST_VERTICES,
            )  # fmt: skip
            weight = 1.0 / np.maximum(distance, 1.0)  # one lattice step: a point on a ground point takes its height
            ground_z[outside] = (weight * self.z[index]).sum(axis=1) / weight.sum(axis=1)
        return ground_z, outside, on_wide


@dataclass(frozen=True)
class GroundPoints:
    """Ground points `x`, `y`, `z` (m), listed by squares of 25 m counted from the CRS's origin."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def listed(self) -> Farther:
        from pipeline.lidar.kernels import cells_of, in_order
        from pipeline.lidar.settling import Farther

        if not len(self):
            return Farther(self.x, self.y, np.empty(0, np.int32), np.zeros(1, np.int64), 0.0, 0.0, SQUARE_M, 0, 0)
        west, north = np.floor(self.x.min() / SQUARE_M) * SQUARE_M, np.ceil(self.y.max() / SQUARE_M) * SQUARE_M
        rows, cols = int((north - self.y.min()) // SQUARE_M) + 1, int((self.x.max() - west) // SQUARE_M) + 1
        order, starts = in_order(cells_of(self.x, self.y, west, north, SQUARE_M, rows, cols), rows * cols)
        return Farther(self.x, self.y, order, starts, west, north, SQUARE_M, rows, cols)

    def within(self, bounds: Bounds) -> np.ndarray:
        """Numbers of the points in `bounds`, half open: west <= x < east, south < y <= north."""
        from pipeline.lidar.kernels import found_in

        if not len(self):
            return np.empty(0, np.int32)
        _, _, order, starts, west, north, size_m, rows, cols = self.listed
        row0, row1 = max(int((north - bounds[3]) // size_m), 0), min(int((north - bounds[1]) // size_m), rows - 1)
        col0, col1 = max(int((bounds[0] - west) // size_m), 0), min(int((bounds[2] - west) // size_m), cols - 1)
        if row0 > row1 or col0 > col1:
            return np.empty(0, np.int32)
        return found_in(order, starts, cols, row0, row1, col0, col1, self.x, self.y, *bounds)


def ground_points(points: Points, ground_classes: Sequence[int]) -> GroundPoints:
    """The points of some classes."""
    is_ground = of_classes(points.classification, ground_classes)
    return GroundPoints(points.x[is_ground], points.y[is_ground], points.z[is_ground])


def ground_around(core: Bounds, buffer_m: float, near: GroundPoints, farther: Callable[[], GroundPoints]) -> Ground:
    """The ground of a window, as triangulated from all ground up to `FAR_GROUND_M` around it.

    What lies in the window and its buffer is triangulated; of what lies farther off, only points inside the circle of
    a triangle that reaches into the window are added, for no other can change the ground there.

    Parameters
    ----------
    core : tuple
        West, south, east, north of the window, m.
    buffer_m : float
        How far around it all ground is triangulated.
    near : GroundPoints
        All ground in the window and its buffer, or more.
    farther : callable
        Gives all ground up to `FAR_GROUND_M` around, or more; asked only if needed.

    Raises
    ------
    NoGroundError
        If all ground is fewer than three points, or on one line.
    """
    from pipeline.lidar.settling import settle
    from pipeline.lidar.triangulation import Mesh, OnOneLineError

    known, limit = (_around(core, reach) for reach in (buffer_m, max(buffer_m, FAR_GROUND_M)))
    origin = float(np.floor(limit[0])), float(np.floor(limit[1]))
    _refuse_reach(limit[2] - limit[0], limit[0], limit[2])
    _refuse_reach(limit[3] - limit[1], limit[1], limit[3])

    def distinct(points: GroundPoints, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = _steps(points.x[which], origin[0]), _steps(points.y[which], origin[1])
        return _distinct_ground(x, y, points.z[which])

    places, z = distinct(near, near.within(known))
    try:
        mesh = Mesh(places)
    except OnOneLineError:
        known, every = limit, farther()
        places, z = distinct(every, every.within(limit))
        try:
            mesh = Mesh(places)
        except OnOneLineError:
            raise NoGroundError("there is no ground") from None
    heights = [z[mesh.order]]

    def added(which: np.ndarray) -> np.ndarray:
        places, z = distinct(farther(), which)
        heights.append(z)
        return places

    grown = settle(
        mesh, np.array(core), np.array(known), np.array(limit), origin, float(STEPS_PER_M),
        lambda: farther().listed, added,
    )  # fmt: skip
    return _surface(mesh, np.concatenate(heights), origin, grown)


def _surface(mesh, z: np.ndarray, origin: tuple[float, float], grown: bool) -> Ground:
    from pipeline.lidar.triangulation import wide_of

    triangles, neighbours = mesh.finite()
    return Ground(mesh.xy, z, triangles, neighbours, wide_of(triangles, mesh.xy, FAR_GROUND_M * STEPS_PER_M), origin, grown)


def _around(bounds: Bounds, by_m: float) -> Bounds:
    west, south, east, north = bounds
    return west - by_m, south - by_m, east + by_m, north + by_m


def ground_surface(points: Points, *, ground_classes: tuple[int, ...] = (2,)) -> Ground:
    """Delaunay triangulation of the ground points; at one place the lowest counts, once.

    Parameters
    ----------
    points
        A cloud with `x, y, z` (m) and `classification`; others than ground are passed over.
    ground_classes
        ASPRS classes that are ground; (2, 9) takes water as ground.

    Raises
    ------
    NoGroundError
        If fewer than three ground points, or only points on one line, are there; the message says where.
    ValueError
        If the points reach over more than 26 km.
    """
    from pipeline.lidar.triangulation import Mesh, OnOneLineError

    ground = ground_points(points, ground_classes)
    origin = _corner(points.x), _corner(points.y)
    places, z = _distinct_ground(_steps(ground.x, origin[0]), _steps(ground.y, origin[1]), ground.z)
    where = (
        f"between x {points.x.min():.0f} and {points.x.max():.0f}, y {points.y.min():.0f} and {points.y.max():.0f}: "
        f"{len(points.x)} points, {len(places)} of them ground at different places "
        f"(class {', '.join(map(str, ground_classes))})"
    )
    remedy = "set ground_classes of the campaign, classify the ground first, or set classify_ground: csf"
    if len(places) < 3:
        raise NoGroundError(f"there is no ground to measure heights from {where}; {remedy}")
    try:
        mesh = Mesh(places)
    except OnOneLineError:
        raise NoGroundError(f"the ground points lie on one line {where}; {remedy}") from None
    return _surface(mesh, z[mesh.order], origin, False)


def heights_on(ground: Ground, points: Points, *, ground_classes: tuple[int, ...] = (2,), max_height_m: float) -> Heights:
    """Heights of points above a ground surface that reaches around them."""
    if len(points.x) == 0:
        return replace(no_heights(), surface=ground)
    ground_z, outside, on_wide = ground.at(points.x, points.y)
    is_ground = of_classes(points.classification, ground_classes)
    heights = _bounded(points, points.z - ground_z, is_ground, outside, on_wide, max_height_m)
    return replace(heights, surface=ground)


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


def heights_as_given(points: Points, *, max_height_m: float, ground_classes: tuple[int, ...] = (2,)) -> Heights:
    """Heights of points whose `z` is above ground already: a canopy height raster, a normalised cloud."""
    none = np.zeros(len(points.x), bool)
    return _bounded(points, points.z, of_classes(points.classification, ground_classes), none, none, max_height_m)


def _bounded(points: Points, z, ground, outside, far, max_height_m: float) -> Heights:
    keep = z <= max_height_m
    every = Heights(
        points.x, points.y, np.maximum(z, 0.0), points.first_return, ground, outside, z < 0, far,
        return_number=getattr(points, "return_number", None),
    )  # fmt: skip
    return every if keep.all() else replace(every.select(keep), too_high=int((~keep).sum()))


def _corner(values: np.ndarray) -> float:
    """The whole metre below the least value."""
    _refuse_reach(np.ptp(values), values.min(), values.max())
    return float(np.floor(values.min()))


def _refuse_reach(reach: float, least: float, most: float) -> None:
    from pipeline.lidar.triangulation import SPAN

    if not (reach + 1) * STEPS_PER_M < SPAN:
        raise ValueError(
            f"points reach over {reach / 1000:.1f} km ({least:.0f} to {most:.0f} m), heights are "
            f"measured over at most {SPAN / STEPS_PER_M / 1000:.1f} km; check buffer_m and the tiles' coordinates"
        )


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
