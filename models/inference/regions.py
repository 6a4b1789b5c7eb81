"""Shapes of stands: lattice cells that fill them, and what tells how far their places are from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from models.inference.correlations import ellipse_correlation, mean_correlation

SOLID, HOLLOW, SHARP, STRIP = 0.8, 0.02, 1.16, 9.0
"""A stand that fills less of its convex hull, has more of its area in holes, or several parts, is told by the distances
of lattice points instead of an ellipse; and one whose hull is so many times as long around as its ellipse (of a triangle
1.2, of a square 1.1) or whose ellipse is so many times as long as it is wide, for there the ellipse errs by more than 1 %."""

FINE = 1600  # lattice points of such a stand
AT_ONCE = 500_000
"""Cells that are held against polygons in one go."""


@dataclass(frozen=True)
class Apart:
    """Distances (b,) of pairs of a shape's cells of side `side_m`, and the share (b,) of all pairs at each."""

    distance_m: np.ndarray
    share: np.ndarray
    side_m: float

    @cached_property
    def radius_m(self) -> float:
        """Radius of the disc whose places are as far from each other, by root mean square."""
        return float(np.sqrt(self.share @ self.distance_m**2))

    def correlation(self, range_m: float) -> float:
        """Mean correlation of two random places of the shape."""
        return float(self.share @ mean_correlation(self.distance_m, np.array(self.side_m), range_m))


@dataclass(frozen=True)
class Regions:
    """Shapes of n stands: of each the cells of a lattice that lie in it, and as what tells how far its places are from each
    other an ellipse with half axes `axes_m` (n, 2), or where those are NaN `apart`, by the stand's number.

    A stand's cells are squares of side `spacing_m` (n,), in metres, that stand for equal parts of it. They are kept as numbers
    `cell` (m,) in rows of `cols` (n,) from the one with its centre at `first` (n, 2); those of stand k from start[k] to
    start[k + 1]. They come in a fixed random order, so that the first few of them lie all over the stand. `patch` (n,) is the
    name that plots in a stand have it by (`models.inference.patches`), where that is known.
    """

    first: np.ndarray
    spacing_m: np.ndarray
    cols: np.ndarray
    cell: np.ndarray
    start: np.ndarray
    axes_m: np.ndarray
    apart: Mapping[int, Apart]
    patch: np.ndarray | None = None
    told: dict[float, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.spacing_m)

    def __getitem__(self, rows: int | slice | np.ndarray) -> Regions:
        """Some of the stands."""
        every = np.arange(len(self))[rows]
        rows = np.atleast_1d(every)
        count = self.count[rows]
        start = np.concatenate([[0], np.cumsum(count)])
        place = np.repeat(self.start[:-1][rows] - start[:-1], count) + np.arange(start[-1])
        apart = {new: self.apart[old] for new, old in enumerate(rows.tolist()) if old in self.apart}
        return Regions(
            self.first[rows], self.spacing_m[rows], self.cols[rows], self.cell[place], start, self.axes_m[rows], apart,
            None if self.patch is None else self.patch[rows], {range_m: values[rows] for range_m, values in self.told.items()},
        )  # fmt: skip

    @property
    def count(self) -> np.ndarray:
        """Cells (n,) of each stand."""
        return np.diff(self.start)

    @property
    def points(self) -> np.ndarray:
        """Centres (m, 2) of the cells of all stands."""
        owner = np.repeat(np.arange(len(self)), self.count)
        row, col = np.divmod(self.cell, self.cols[owner])
        return self.first[owner] + self.spacing_m[owner, None] * np.column_stack([col, row])

    @property
    def radius_m(self) -> np.ndarray:
        """Radius (n,) of the discs that stands are as large as: of ellipses by area, of others by how far places are apart."""
        found = np.sqrt(self.axes_m.prod(axis=1))
        for number, apart in self.apart.items():
            found[number] = apart.radius_m
        return found

    def correlation(self, range_m: float) -> np.ndarray:
        """Mean correlation (n,) of two random places of each stand; kept, for years and sets ask for the same ranges."""
        range_m = float(range_m)
        if range_m not in self.told:
            found = np.empty(len(self))
            plain = np.isfinite(self.axes_m[:, 0])
            found[plain] = ellipse_correlation(self.axes_m[plain], range_m)
            for number, apart in self.apart.items():
                found[number] = apart.correlation(range_m)
            self.told[range_m] = found
        return self.told[range_m]

    @classmethod
    def joined(cls, parts: Sequence[Regions]) -> Regions:
        """All stands of some shapes, in their order."""
        if len(parts) == 1:
            return parts[0]
        ends = np.cumsum([0, *(len(part) for part in parts)])
        apart = {int(end) + number: one for end, part in zip(ends, parts, strict=False) for number, one in part.apart.items()}
        count = np.concatenate([part.count for part in parts])
        names = ("first", "spacing_m", "cols", "cell", "axes_m")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        named = None if any(part.patch is None for part in parts) else np.concatenate([part.patch for part in parts])
        return cls(**columns, start=np.concatenate([[0], np.cumsum(count)]), apart=apart, patch=named)


def lattice(geometry, *, points: int = 80) -> Regions:
    """About `points` lattice points inside a polygon (shapely); one point for a polygon too thin for the lattice."""
    return lattices([geometry], points=points)


def lattices(geometries, *, points: int = 80) -> Regions:
    """The shapes of many polygons, with about `points` lattice points in each."""
    import shapely

    geometries = np.asarray(geometries, object)
    axes, areas = equal_ellipses(geometries), np.maximum(shapely.area(geometries), 1e-6)
    side = np.sqrt(areas / points)
    west, south, east, north = shapely.bounds(geometries).T
    cols, rows = (_steps(low, high, side) for low, high in ((west, east), (south, north)))
    first = np.column_stack([west, south]) + side[:, None] / 2
    apart = {number: distances_within(geometries[number]) for number in np.flatnonzero(~np.isfinite(axes[:, 0])).tolist()}
    kept, count = [], []
    for part in _pieces(rows * cols):
        cell, own = _cells_inside(geometries[part], first[part], side[part], rows[part], cols[part])
        kept.append(cell)
        count.append(own)
    cell, count = np.concatenate(kept), np.concatenate(count)
    thin = np.flatnonzero(count == 0)
    if len(thin):
        first[thin] = shapely.get_coordinates(shapely.point_on_surface(geometries[thin]))
        side[thin], cols[thin] = np.sqrt(areas[thin]), 1
        cell = np.insert(cell, np.cumsum(count)[thin], 0)
        count[thin] = 1
    return Regions(first, side, cols.astype(np.int32), cell, np.concatenate([[0], np.cumsum(count)]), axes, apart)


def _steps(low: np.ndarray, high: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Cells from `low` to `high` whose centres lie between."""
    return np.maximum(np.ceil((high - (low + side / 2)) / side), 0).astype(np.int64)


def _pieces(sizes: np.ndarray) -> Iterator[slice]:
    """Stretches of stands with about `AT_ONCE` cells, of at least one stand."""
    number = np.cumsum(sizes) // AT_ONCE
    edges = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1, [len(sizes)]])
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield slice(low, high)


def _cells_inside(geometries, first, side, rows, cols) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (m,) of the cells whose centres lie in each polygon, in its fixed random order, and how many of each (n,)."""
    import shapely

    size = rows * cols
    owner = np.repeat(np.arange(len(size)), size)
    cell = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    row, col = np.divmod(cell, cols[owner])
    shapely.prepare(geometries)
    inside = shapely.contains_xy(
        geometries[owner], first[owner, 0] + side[owner] * col, first[owner, 1] + side[owner] * row
    )
    shapely.destroy_prepared(geometries)
    count = np.bincount(owner[inside], minlength=len(size))
    cell, start = cell[inside].astype(np.int32), np.cumsum(count) - count
    shuffled = np.empty_like(cell)
    for same in np.unique(count[count > 0]):
        place = start[count == same][:, None] + np.arange(same)
        shuffled[place] = cell[place[:, _shuffled(int(same))]]
    return shuffled, count


@cache
def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)


def distances_within(geometry) -> Apart:
    """How far the cells of a polygon are from each other, all pairs, in bins of half a cell."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    from models.inference.kernels import pairs_by_distance

    area = max(geometry.area, 1e-6)
    side = float(np.sqrt(area / FINE))
    west, south, east, north = geometry.bounds
    x, y = np.arange(west + side / 2, east, side), np.arange(south + side / 2, north, side)
    compact = Apart(np.zeros(1), np.ones(1), float(np.sqrt(area)))
    if len(x) * len(y) > 2**22:  # parts far from each other: as one compact place
        return compact
    inside = _inside(geometry, x, y)
    count = int(inside.sum())
    if count == 0:  # too thin for its cells
        return compact
    shape = [next_fast_len(2 * n - 1, real=True) for n in inside.shape]
    seen = rfft2(inside.astype(np.float32), shape)  # counts of pairs are whole numbers: single precision tells them apart
    pairs = irfft2(seen.real**2 + seen.imag**2, shape)
    number, away = pairs_by_distance(pairs, *inside.shape)
    filled = number > 0
    return Apart(side * away[filled] / number[filled], number[filled] / count**2, side)


def _inside(geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points (rows, cols) of a lattice lie in a polygon or several: what `shapely.contains_xy` says, faster."""
    import shapely

    from models.inference.kernels import lattice_inside

    corners, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(geometry)), return_index=True)
    return lattice_inside(corners, ring, x, y)


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


