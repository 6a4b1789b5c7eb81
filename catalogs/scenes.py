"""Scenes as reflectance on the study's grid: digital numbers read, masked at the source and averaged onto its pixels.

A pixel's value depends on the scene and on the pixel's own place, never on the window that is read with it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from catalogs import remote
from catalogs.sensors import Sensor

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MIN_CLEAR_SHARE = 0.5
"""A pixel of the study's grid has a value when at least this share of it is clear."""

OPEN_FILES = 200


class SceneError(ValueError):
    """A scene that cannot be read or is not what its item says; a caller may drop it and count."""


def read_scene(
    item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox, *, sensor: Sensor
) -> dict[str, np.ndarray]:
    """Clear-sky surface reflectance of one frozen scene; see `SceneReader.read`."""
    with SceneReader(sensor) as reader:
        return reader.read(item, roles, geobox)


class SceneReader:
    """Reads frozen scenes window by window and keeps their files open in between; a context manager."""

    def __init__(self, sensor: Sensor, source: remote.Source | None = None) -> None:
        """`source`: where the scenes' hrefs come from, which decides what they may point to; None trusts local files."""
        self.sensor, self.source = sensor, source or remote.Source()
        self._files: OrderedDict[str, remote.Raster] = OrderedDict()
        self._samples: OrderedDict[tuple, _Separable | _Scattered] = OrderedDict()

    def __enter__(self) -> SceneReader:
        import rasterio

        self._options = rasterio.Env(**remote.options(self.source.provider))
        self._options.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        while self._files:
            self._files.popitem()[1].close()
        self._options.__exit__(*problem)

    def read(self, item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox) -> dict[str, np.ndarray]:
        """Clear-sky surface reflectance of one scene on a window of the grid.

        Parameters
        ----------
        item : mapping
            An item as `find_scenes` freezes it, with hrefs that can be opened from here.
        roles : sequence of str
            Bands to read.
        geobox : GeoBox
            North-up grid of square pixels.

        Returns
        -------
        dict of role to float32 array (rows, cols)
            Reflectance; NaN outside the scene and where less than half of the pixel is clear. Finer pixels are
            averaged by area over their clear part, coarser ones interpolated bilinearly.

        Raises
        ------
        SceneError
            When a file is missing, damaged, or not the kind of raster the sensor delivers; it names scene and file.
        """
        missing = [role for role in roles if role not in item["bands"]]
        if missing:
            raise SceneError(
                f"scene {item['id']} offers no band {', '.join(missing)}; it offers {', '.join(item['bands'])}"
            )
        masks: dict[tuple, np.ndarray] = {}
        return {role: self._reflectance(item, role, geobox, masks) for role in roles}

    def _reflectance(
        self, item: Mapping[str, Any], role: str, geobox: GeoBox, masks: dict[tuple, np.ndarray]
    ) -> np.ndarray:
        band = item["bands"][role]
        file = self._open(item, band["href"])
        if file.dtypes[0] != self.sensor.data_type:
            raise SceneError(
                f"scene {item['id']}: {remote.shown(band['href'])} holds {file.dtypes[0]} with nodata {file.nodata}, but "
                f"{self.sensor.title} comes as {self.sensor.data_type}: this is another product, with another scale"
            )
        samples = self._samples_of(file, geobox)
        place = (file.transform, samples.window)
        if place not in masks:
            masks[place] = self._clear(item, file, samples.window)
        clear = masks[place]
        if not clear.any():
            return np.full(geobox.shape, np.nan, "float32")
        numbers = self._numbers(item, band["href"], file, samples.window, fill=band["nodata"])
        low, high = self.sensor.valid_dn
        valid = clear & (numbers >= low) & (numbers <= high) & (numbers != band["nodata"])
        if file.nodata is not None:
            valid &= numbers != file.nodata
        return _average(samples, numbers, valid, scale=band["scale"], offset=band["offset"])

    def _clear(self, item: Mapping[str, Any], like: remote.Raster, window: _Window) -> np.ndarray:
        """True where the quality layer calls a pixel of another file's window clear, dilation included."""
        quality = self.sensor.quality
        href = item["quality"]["href"]
        file = self._open(item, href)
        if file.crs != like.crs:
            raise SceneError(f"scene {item['id']}: {remote.shown(href)} lies in {file.crs}, the bands in {like.crs}")
        if not np.issubdtype(file.dtypes[0], np.integer):
            raise SceneError(
                f"scene {item['id']}: {remote.shown(href)} holds {file.dtypes[0]}, a quality layer holds whole numbers"
            )
        band, own = like.transform, file.transform
        rows = _nearest(band.f, band.e, window.row0, window.row1, own.f, own.e)
        cols = _nearest(band.c, band.a, window.col0, window.col1, own.c, own.a)
        down, right = _reach(quality.dilation_m, own)
        around = _Window(int(rows[0]) - down, int(rows[-1]) + 1 + down, int(cols[0]) - right, int(cols[-1]) + 1 + right)
        layer = self._numbers(item, href, file, around, fill=quality.fill)
        clear = quality.clear(layer)
        if down or right:
            clear &= ~_dilated(quality.growing(layer), own, quality.dilation_m)
        return clear[np.ix_(rows - around.row0, cols - around.col0)]

    def _numbers(
        self, item: Mapping[str, Any], href: str, file: remote.Raster, window: _Window, *, fill: float
    ) -> np.ndarray:
        """Pixels of a window that may reach beyond the file; `fill` outside."""
        from rasterio.windows import Window

        inner = window.clip(file.height, file.width)
        part = None
        if inner.size:
            try:
                part = remote.read_window(file, Window(inner.col0, inner.row0, *reversed(inner.shape)))
            except remote.RemoteError as error:
                self._files.pop(href).close()  # a file that failed is opened anew, if at all
                raise SceneError(f"scene {item['id']}: {error}") from None
        if inner == window:
            return part
        whole = np.full(window.shape, fill, file.dtypes[0])
        if part is not None:
            whole[
                inner.row0 - window.row0 : inner.row1 - window.row0, inner.col0 - window.col0 : inner.col1 - window.col0
            ] = part
        return whole

    def _open(self, item: Mapping[str, Any], href: str) -> remote.Raster:
        if href in self._files:
            self._files.move_to_end(href)
            return self._files[href]
        try:
            file = remote.open_raster(href, self.source)
        except remote.RemoteError as error:
            raise SceneError(f"scene {item['id']}: {error}") from None
        if file.crs is None or file.transform.b or file.transform.d or file.transform.e >= 0 or file.transform.a <= 0:
            file.close()
            raise SceneError(f"scene {item['id']}: {remote.shown(href)} has no coordinate reference system or is not north-up")
        self._files[href] = file
        if len(self._files) > OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return file

    def _samples_of(self, file: remote.Raster, geobox: GeoBox) -> _Separable | _Scattered:
        """How a file's pixels make the grid's; kept, because the bands and dates of a chunk share it."""
        key = (file.transform, file.crs.to_wkt(), geobox)
        if key not in self._samples:
            while len(self._samples) >= 8:
                self._samples.popitem(last=False)
            same = file.crs == _rasterio_crs(geobox)
            self._samples[key] = _Separable.between(file, geobox) if same else _Scattered.between(file, geobox)
        return self._samples[key]


# ---------------------------------------------------------------- windows of a source


class _Window(NamedTuple):
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def clip(self, height: int, width: int) -> _Window:
        row0, col0 = min(max(self.row0, 0), height), min(max(self.col0, 0), width)
        return _Window(row0, max(row0, min(self.row1, height)), col0, max(col0, min(self.col1, width)))


def _nearest(start: float, step: float, first: int, last: int, source_start: float, source_step: float) -> np.ndarray:
    """Source index under each pixel centre `first:last` of a line, nearest neighbour."""
    centres = start + step * (np.arange(first, last) + 0.5)
    return np.floor(np.round((centres - source_start) / source_step, 6)).astype("int64")


def _reach(distance_m: float, transform: Any) -> tuple[int, int]:
    """How many pixels down and right a distance reaches."""
    return math.floor(distance_m / -transform.e + 1e-6), math.floor(distance_m / transform.a + 1e-6)


def _dilated(grow: np.ndarray, transform: Any, distance_m: float) -> np.ndarray:
    """What lies within a distance of true pixels, centre to centre; complete a reach away from the edges."""
    rows, cols = grow.shape
    reach_down, reach_right = _reach(distance_m, transform)
    spread = np.zeros_like(grow)
    for down in range(-reach_down, reach_down + 1):
        for right in range(-reach_right, reach_right + 1):
            if math.hypot(down * transform.e, right * transform.a) > distance_m + 1e-6:
                continue
            to = slice(max(0, down), rows + min(0, down)), slice(max(0, right), cols + min(0, right))
            of = slice(max(0, -down), rows + min(0, -down)), slice(max(0, -right), cols + min(0, -right))
            spread[to] |= grow[of]
    return spread


def _rasterio_crs(geobox: GeoBox) -> Any:
    from rasterio.crs import CRS

    return CRS.from_user_input(str(geobox.crs))


# ---------------------------------------------------------------- from source pixels to the grid's


def _average(
    samples: _Separable | _Scattered, numbers: np.ndarray, valid: np.ndarray, *, scale: float, offset: float
) -> np.ndarray:
    """Reflectance of the valid part of each pixel; NaN where that part is less than `MIN_CLEAR_SHARE`.

    `samples.total` is a linear, local average whose weights add up to 1, so the ratio of two is the mean of the valid.
    """
    share = samples.total(valid.astype("float32"))
    total = samples.total(np.where(valid, numbers, 0).astype("float32"))
    with np.errstate(invalid="ignore", divide="ignore"):
        reflectance = np.float32(offset) + np.float32(scale) * (total / share)
    reflectance[share < MIN_CLEAR_SHARE - 1e-5] = np.nan
    return reflectance


class _Separable:
    """Source and grid share a CRS: rows and columns are averaged one after the other."""

    def __init__(self, rows: _Taps, cols: _Taps) -> None:
        """Weights along the rows and along the columns."""
        self.rows, self.cols = rows, cols
        self.window = _Window(rows.first, rows.last, cols.first, cols.last)

    @classmethod
    def between(cls, file: remote.Raster, geobox: GeoBox) -> _Separable:
        source, grid = file.transform, geobox.transform
        rows, cols = geobox.shape
        return cls(
            _Taps.along((grid.f - source.f) / source.e, grid.e / source.e, rows),
            _Taps.along((grid.c - source.c) / source.a, grid.a / source.a, cols),
        )

    def total(self, values: np.ndarray) -> np.ndarray:
        """Weighted average (rows, cols) of the source window's values."""
        return self.cols.total(self.rows.total(values).T).T


class _Taps:
    """Source indices (n, taps) and weights of each pixel along one axis."""

    def __init__(self, index: np.ndarray, weight: np.ndarray) -> None:
        used = (weight > 0).any(axis=0)
        index, weight = index[:, used], weight[:, used]
        self.first, self.last = int(index[weight > 0].min()), int(index[weight > 0].max()) + 1
        self.index = np.clip(index, self.first, self.last - 1) - self.first
        self.weight = weight.astype("float32")
        taps = self.weight.shape[1]
        self.block = taps if np.array_equal(self.index.ravel(), np.arange(self.index.size)) and self._even() else 0

    def _even(self) -> bool:
        return bool((self.weight == self.weight[0, 0]).all())

    @classmethod
    def along(cls, start: float, step: float, n: int) -> _Taps:
        """Pixels of `step` source pixels each from `start`: area weights when coarser, linear when finer."""
        edge = np.round(start + step * np.arange(n), 6)
        step = round(step, 9)
        if step > 1:
            first = np.floor(edge).astype("int64")
            index = first[:, None] + np.arange(math.ceil(step) + 1)
            overlap = np.minimum(edge[:, None] + step, index + 1) - np.maximum(edge[:, None], index)
            weight = np.clip(np.round(overlap, 6), 0, None) / step
        else:
            centre = np.round(edge + step / 2 - 0.5, 6)
            first = np.floor(centre).astype("int64")
            index = first[:, None] + np.arange(2)
            share = centre - first
            weight = np.stack([1 - share, share], axis=1)
        return cls(index, weight)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums over the first axis."""
        if self.block == 1:
            return values
        if self.block:
            return values.reshape(-1, self.block, values.shape[1]).sum(axis=1) * self.weight[0, 0]
        total = np.zeros((len(self.index), values.shape[1]), "float32")
        for tap in range(self.index.shape[1]):
            total += values[self.index[:, tap]] * self.weight[:, tap, None]
        return total


class _Scattered:
    """Source and grid differ in CRS: each pixel is sampled at points spread over it, placed by its four corners."""

    def __init__(self, row: np.ndarray, col: np.ndarray, points: int) -> None:
        """`row`, `col`: source coordinates (rows + 1, cols + 1) of the grid's pixel corners; points per side."""
        self.row, self.col, self.points = row, col, points
        self.window = _Window(
            math.floor(row.min()) - 1, math.ceil(row.max()) + 1, math.floor(col.min()) - 1, math.ceil(col.max()) + 1
        )

    @classmethod
    def between(cls, file: remote.Raster, geobox: GeoBox) -> _Scattered:
        from pyproj import Transformer

        rows, cols = geobox.shape
        grid, source = geobox.transform, file.transform
        x, y = np.meshgrid(grid.c + grid.a * np.arange(cols + 1), grid.f + grid.e * np.arange(rows + 1))
        to_source = Transformer.from_crs(str(geobox.crs), file.crs.to_wkt(), always_xy=True)
        x, y = to_source.transform(x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise SceneError(f"{file.name} lies in {file.crs}, where part of the study area has no coordinates")
        metres = 1.0 if file.crs.is_projected else 111_320.0  # metres per degree of latitude
        ratio = grid.a / (abs(source.e) * metres)
        points = 1 if ratio <= 1.01 else min(2 * math.ceil(ratio), 12)
        return cls(np.round((y - source.f) / source.e, 6), np.round((x - source.c) / source.a, 6), points)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Average (rows, cols) of the source values under each pixel's points."""
        total = np.zeros((self.row.shape[0] - 1, self.row.shape[1] - 1), "float32")
        inside = (np.arange(self.points) + 0.5) / self.points
        for down in inside:
            for right in inside:
                row = _between_corners(self.row, down, right) - self.window.row0
                col = _between_corners(self.col, down, right) - self.window.col0
                if self.points == 1:
                    total += _linear(values, row, col)
                else:
                    total += values[row.astype("int64"), col.astype("int64")]
        return total / self.points**2


def _between_corners(corners: np.ndarray, down: float, right: float) -> np.ndarray:
    """A coordinate inside each pixel, interpolated between its four corners."""
    upper = (1 - right) * corners[:-1, :-1] + right * corners[:-1, 1:]
    lower = (1 - right) * corners[1:, :-1] + right * corners[1:, 1:]
    return (1 - down) * upper + down * lower


def _linear(values: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Bilinear interpolation at source coordinates (pixel centres at halves)."""
    row, col = row - 0.5, col - 0.5
    row0, col0 = np.floor(row).astype("int64"), np.floor(col).astype("int64")
    down, right = (row - row0).astype("float32"), (col - col0).astype("float32")
    upper = (1 - right) * values[row0, col0] + right * values[row0, col0 + 1]
    lower = (1 - right) * values[row0 + 1, col0] + right * values[row0 + 1, col0 + 1]
    return (1 - down) * upper + down * lower
