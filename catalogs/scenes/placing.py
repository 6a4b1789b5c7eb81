"""From source pixels to the grid's: the same pixels, rows and columns apart, or another coordinate reference system."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.scenes.looks import SceneError
from catalogs.scenes.profiles import Profile, Window, wkt_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MIN_CLEAR_SHARE = 0.5
"""A pixel of the study's grid has a value when at least this share of it is clear."""

UPSAMPLING = ("bilinear", "nearest")
"""How bands coarser than the grid reach its pixels."""

LATTICE_PX = 16
LEAST = np.float32(MIN_CLEAR_SHARE - 1e-5)


def samples_of(raster: Profile, geobox: GeoBox, upsampling: str) -> Same | Separable | Scattered:
    """How a file's pixels make those of a window of the grid."""
    source, grid = raster.transform, geobox.transform
    if raster.crs != wkt_of(geobox):
        return Scattered.between(raster, geobox, upsampling)
    down, right = (grid.f - source.f) / source.e, (grid.c - source.c) / source.a
    rows, cols = geobox.shape
    if round(grid.e / source.e, 9) == round(grid.a / source.a, 9) == 1 and _whole(down) and _whole(right):
        row0, col0 = round(down), round(right)
        return Same(Window(row0, row0 + rows, col0, col0 + cols))
    return Separable(
        Taps.along(down, grid.e / source.e, rows, upsampling), Taps.along(right, grid.a / source.a, cols, upsampling)
    )


def reach_of(raster: Profile, geobox: GeoBox, upsampling: str) -> Any:
    """Something with the `window` of `samples_of`, or one a little larger, found without placing every pixel."""
    if raster.crs == wkt_of(geobox):
        return samples_of(raster, geobox, upsampling)
    source = raster.transform
    x, y = _knots_in(raster, geobox)[:2]
    row, col = (y - source.f) / source.e, (x - source.c) / source.a
    low, high = (math.floor(row.min()) - 2, math.floor(col.min()) - 2), (math.ceil(row.max()) + 2, math.ceil(col.max()) + 2)
    return Same(Window(low[0], high[0], low[1], high[1]))


def _whole(value: float) -> bool:
    return round(value, 6) == round(value)


class Same:
    """The file's pixels are the grid's: numbers go through as they are."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and validity on the grid."""
        return numbers, valid

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        return values


class Separable:
    """Source and grid share a CRS: rows and columns are averaged one after the other."""

    def __init__(self, rows: Taps, cols: Taps) -> None:
        """Weights along the rows and along the columns."""
        self.rows, self.cols = rows, cols
        self.window = Window(rows.first, rows.last, cols.first, cols.last)

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the valid part of each pixel; missing where that part is less than `MIN_CLEAR_SHARE`."""
        from catalogs import resampling

        rows, cols = self.rows, self.cols
        if rows.taps == 1 and cols.taps == 1:  # nearest neighbour: numbers stay as observed
            return self.nearest(numbers), self.nearest(valid)
        if rows.block and rows.block == cols.block:
            return resampling.mean_of_blocks(numbers, valid, rows.block, LEAST)
        if rows.doubled is not None and cols.doubled is not None:
            return resampling.doubled(
                numbers, valid, rows.index, rows.weight, cols.doubled, cols.index.shape[0], LEAST
            )
        return resampling.weighted(numbers, valid, rows.index, rows.weight, cols.index, cols.weight, LEAST)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        from catalogs.resampling import spread

        return spread(values, self.rows.nearest, self.cols.nearest)


class Taps:
    """Source indices (n, taps) and weights of each pixel along one axis; `nearest` (n) holds its centre."""

    def __init__(self, index: np.ndarray, weight: np.ndarray, nearest: np.ndarray) -> None:
        used = (weight > 0).any(axis=0)
        index, weight = index[:, used], weight[:, used]
        self.first = int(min(index[weight > 0].min(), nearest.min()))
        self.last = int(max(index[weight > 0].max(), nearest.max())) + 1
        self.index = np.clip(index, self.first, self.last - 1) - self.first
        self.nearest = nearest - self.first
        self.weight = weight.astype("float32")
        self.taps = self.weight.shape[1]
        even = bool((self.weight == self.weight[0, 0]).all())
        self.block = self.taps if even and np.array_equal(self.index.ravel(), np.arange(self.index.size)) else 0
        self.doubled = self._doubled()

    def _doubled(self) -> int | None:
        """0 or 1, as `resampling.doubled` wants it, where pixels are halves of the source's; None elsewhere."""
        if self.taps != 2:
            return None
        start = int(self.weight[0, 0] == np.float32(0.25))
        number = np.arange(len(self.index)) + start
        expected = np.where(number[:, None] % 2, (0.25, 0.75), (0.75, 0.25)).astype("float32")
        pairs = np.array_equal(self.index, number[:, None] // 2 + np.arange(2))
        return start if pairs and np.array_equal(self.weight, expected) else None

    @classmethod
    def along(cls, start: float, step: float, n: int, upsampling: str) -> Taps:
        """Pixels of `step` source pixels each from `start`: area weights when coarser, else linear or nearest."""
        edge = np.round(start + step * np.arange(n), 6)
        step = round(step, 9)
        nearest = np.floor(np.round(edge + step / 2, 6)).astype("int64")
        if step > 1:
            first = np.floor(edge).astype("int64")
            index = first[:, None] + np.arange(math.ceil(step) + 1)
            overlap = np.minimum(edge[:, None] + step, index + 1) - np.maximum(edge[:, None], index)
            weight = np.clip(np.round(overlap, 6), 0, None) / step
        elif upsampling == "nearest":
            index, weight = nearest[:, None], np.ones((n, 1))
        else:
            centre = np.round(edge + step / 2 - 0.5, 6)
            first = np.floor(centre).astype("int64")
            index = first[:, None] + np.arange(2)
            share = centre - first
            weight = np.stack([1 - share, share], axis=1)
        return cls(index, weight, nearest)


class Scattered:
    """Source and grid differ in CRS: each pixel is the quadrilateral between its four corners in the source."""

    def __init__(self, row: np.ndarray, col: np.ndarray, *, coarser: bool, nearest: bool) -> None:
        """`row`, `col`: source coordinates (rows + 1, cols + 1) of the grid's pixel corners; `coarser` than the source's."""
        self.row, self.col, self.coarser, self.by_centre = row, col, coarser, nearest
        self.window = Window(
            math.floor(row.min()) - 1, math.ceil(row.max()) + 1, math.floor(col.min()) - 1, math.ceil(col.max()) + 1
        )

    @classmethod
    def between(cls, raster: Profile, geobox: GeoBox, upsampling: str) -> Scattered:
        source = raster.transform
        x, y = _corners_in(raster, geobox)
        coarser = ratio_of(raster, geobox) > 1.01
        row, col = np.round((y - source.f) / source.e, 6), np.round((x - source.c) / source.a, 6)
        return cls(row, col, coarser=coarser, nearest=not coarser and upsampling == "nearest")

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the valid part of each pixel; missing where that part is less than `MIN_CLEAR_SHARE`."""
        from catalogs.resampling import averaged, sampled

        if self.by_centre:
            return self.nearest(numbers), self.nearest(valid)
        bring = averaged if self.coarser else sampled
        return bring(numbers, valid, self.row, self.col, self.window.row0, self.window.col0, LEAST)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        from catalogs.resampling import nearest_scattered

        return nearest_scattered(values, self.row, self.col, self.window.row0, self.window.col0)


def ratio_of(raster: Profile, geobox: GeoBox) -> float:
    """Side of the grid's pixels by that of a file's."""
    return geobox.transform.a / raster.pixel_m[0]


def mean_of_squares(values: np.ndarray, side: int) -> np.ndarray:
    """Means of `side` x `side` pixels, added in a fixed order."""
    total = np.zeros((values.shape[0] // side, values.shape[1] // side), "float64")
    for down in range(side):
        for right in range(side):
            total += values[down::side, right::side]
    return (total / side**2).astype("float32")


def _corners_in(raster: Profile, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (rows + 1, cols + 1) of the grid's pixel corners in a file's CRS.

    PROJ is asked every `LATTICE_PX` pixels, at multiples counted from the CRS's origin so that windows agree, and
    corners between are interpolated: between UTM zones the two differ by less than a thousandth of a pixel.
    """
    x, y, from_north, from_west = _knots_in(raster, geobox)
    return _interpolated(x, from_north, from_west), _interpolated(y, from_north, from_west)


def _knots_in(raster: Profile, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of the lattice's knots in a file's CRS, and the places of the grid's edges among them."""
    from pyproj import Transformer

    rows, cols = geobox.shape
    grid = geobox.transform
    east, from_west = _lattice(grid.c, grid.a, cols)
    south, from_north = _lattice(-grid.f, -grid.e, rows)
    to_source = Transformer.from_crs(str(geobox.crs), raster.crs, always_xy=True)
    x, y = to_source.transform(*np.meshgrid(east, -south))
    if not raster.projected:  # degrees east are counted to either side of the file, across the antimeridian too
        middle = raster.transform.c + raster.transform.a * raster.width / 2
        x = np.where(x - middle > 180, x - 360, np.where(x - middle < -180, x + 360, x))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SceneError(f"{raster.name} lies in {raster.crs_name}, where part of the study area has no coordinates")
    return x, y, from_north, from_west


def _lattice(start: float, step: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Knots along an axis that enclose `n` pixels, and the place of each of the n + 1 edges among them."""
    wide = LATTICE_PX * step
    place = (start + step * np.arange(n + 1)) / wide
    first, last = math.floor(place[0]), math.floor(place[-1]) + 1
    return np.arange(first, last + 1) * wide, place - first


def _interpolated(knots: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of a lattice at fractional rows and columns."""
    row, col = np.floor(down).astype("int64"), np.floor(right).astype("int64")
    down, right = down - row, right - col
    across = knots[:, col] + (knots[:, col + 1] - knots[:, col]) * right
    return across[row] + (across[row + 1] - across[row]) * down[:, None]
