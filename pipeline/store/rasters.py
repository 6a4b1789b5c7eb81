"""Working rasters: named bands of a block, written at once or window by window, read with scale applied and missing as NaN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.grid import Grid, Window
from pipeline.store.files import replacing

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

INT16_NODATA = -32768

TILE_PX = 512

PACKED_ROWS = 32
"""Rows that are turned into whole numbers at a time: few enough for the processor's cache."""


def write_raster(
    path: str | Path,
    bands: Mapping[str, np.ndarray],
    *,
    geobox: GeoBox,
    units: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
) -> None:
    """Working raster: tiled GeoTIFF, zstd level 1, one named band per array.

    Parameters
    ----------
    bands : mapping of name to array (rows, cols)
        Missing is NaN. Float32 as it is, unless `scales` is given.
    scales : mapping of name to float
        Where given, all bands are stored as int16 = round(value / scale) (scale 1 for bands not named) and read
        back as value; values beyond int16 become missing, never wrapped.
    """
    dtype = "int16" if scales else "float32"
    options = {"driver": "GTiff", "compress": "zstd", "zstd_level": 1}
    with replacing(path) as partial, opened_to_write(partial, bands, geobox, dtype, **options) as raster:
        for number, (name, array) in enumerate(bands.items(), start=1):
            if scales:
                scale = scales.get(name, 1.0)
                raster.write(_packed(array, scale), number)
                _set_scale(raster, number, scale)
            else:
                raster.write(np.asarray(array, "float32"), number)
            describe(raster, number, name, (units or {}).get(name, ""))


class RasterWriter:
    """A working raster written piece by piece, in any order, so that memory holds only tiles that are not complete.

    Bands are int16 = round(value / scale), as `write_raster` writes them, or float32 where there are no scales. A tile
    goes to the file once, when its last pixel is there: the same pieces in the same order give the same bytes.
    """

    def __init__(self, raster: Any, names: Sequence[str], scales: Mapping[str, float] | None) -> None:
        self._raster, self.names = raster, list(names)
        self._scales = [scales.get(name, 1.0) for name in self.names] if scales else None
        self._dtype, self._missing = ("int16", INT16_NODATA) if scales else ("float32", np.nan)
        self._tiles: dict[tuple[int, int], np.ndarray] = {}
        self._left: dict[tuple[int, int], int] = {}

    def write(self, window: Window, bands: Mapping[str, np.ndarray]) -> None:
        """One window (counted from the file's corner) of all bands; missing is NaN."""
        if self._scales:
            packed = [_packed(bands[name], scale) for name, scale in zip(self.names, self._scales, strict=True)]
        else:
            packed = [np.asarray(bands[name], "float32") for name in self.names]
        for row in range(window.row0 // TILE_PX, -(-window.row1 // TILE_PX)):
            for col in range(window.col0 // TILE_PX, -(-window.col1 // TILE_PX)):
                tile = self._tile_window(row, col)
                part = tile.clip(window)
                if part == tile:
                    self._flush(tile, [array[part.within(window).slices] for array in packed])
                    continue
                if (row, col) not in self._tiles:
                    self._tiles[row, col] = np.full((len(packed), *tile.shape), self._missing, self._dtype)
                    self._left[row, col] = tile.shape[0] * tile.shape[1]
                for number, array in enumerate(packed):
                    self._tiles[row, col][number][part.within(tile).slices] = array[part.within(window).slices]
                self._left[row, col] -= part.shape[0] * part.shape[1]
                if not self._left[row, col]:
                    self._flush(tile, self._tiles.pop((row, col)))

    def close(self) -> None:
        """Write what is not complete: pixels that were never given are missing."""
        for row, col in sorted(self._tiles):
            self._flush(self._tile_window(row, col), self._tiles[row, col])
        self._tiles.clear()

    def _tile_window(self, row: int, col: int) -> Window:
        whole = Window(0, self._raster.height, 0, self._raster.width)
        return Window(row * TILE_PX, (row + 1) * TILE_PX, col * TILE_PX, (col + 1) * TILE_PX).clip(whole)

    def _flush(self, tile: Window, arrays: Sequence[np.ndarray]) -> None:
        from rasterio.windows import Window as Pixels

        place = Pixels(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
        self._raster.write(np.stack(arrays), window=place)


@contextmanager
def raster_by_window(
    path: str | Path,
    names: Sequence[str],
    *,
    geobox: GeoBox,
    units: Mapping[str, str],
    scales: Mapping[str, float] | None,
) -> Iterator[RasterWriter]:
    """A `RasterWriter` for the file that takes its place at `path` when the body ends well."""
    options = {"driver": "GTiff", "compress": "zstd", "zstd_level": 1}
    dtype = "int16" if scales else "float32"
    with replacing(path) as partial, _create(partial, names, geobox, dtype, **options) as raster:
        if scales:
            raster.scales = [scales.get(name, 1.0) for name in names]
        for number, name in enumerate(names, start=1):
            describe(raster, number, name, units.get(name, ""))
        writer = RasterWriter(raster, names, scales)
        yield writer
        writer.close()


def opened_to_write(path: Path, bands: Mapping[str, np.ndarray], geobox: GeoBox, dtype: str, **options: Any):
    rows, cols = geobox.shape
    for name, array in bands.items():
        if array.shape != (rows, cols):
            raise ValueError(f"band {name!r} has shape {array.shape}, the grid has {(rows, cols)}")
    return _create(path, bands, geobox, dtype, **options)


def _create(path: Path, names: Collection[str], geobox: GeoBox, dtype: str, **options: Any):
    import rasterio

    rows, cols = geobox.shape
    return rasterio.open(
        path,
        "w",
        width=cols,
        height=rows,
        count=len(names),
        dtype=dtype,
        crs=str(geobox.crs),
        transform=geobox.transform,
        nodata=INT16_NODATA if dtype == "int16" else float("nan"),
        tiled=True,
        blockxsize=TILE_PX,
        blockysize=TILE_PX,
        interleave="band",
        **options,
    )


def _packed(array: np.ndarray, scale: float) -> np.ndarray:
    if array.dtype == np.int16 and scale == 1.0:
        return array
    packed = np.empty(array.shape, "int16")
    for start in range(0, len(array), PACKED_ROWS):
        rows = slice(start, start + PACKED_ROWS)
        scaled = np.divide(array[rows], scale, dtype="float64")
        np.rint(scaled, out=scaled)
        beyond = ~(np.abs(scaled) <= 32767)  # NaN and infinite fail the comparison as well
        np.copyto(scaled, INT16_NODATA, where=beyond)
        packed[rows] = scaled
    return packed


def _set_scale(raster: Any, number: int, scale: float) -> None:
    scales = list(raster.scales)
    scales[number - 1] = scale
    raster.scales = scales


def describe(raster: Any, number: int, name: str, unit: str) -> None:
    raster.set_band_description(number, name)
    if unit:
        raster.set_band_unit(number, unit)


def raster_bands(path: str | Path) -> tuple[str, ...]:
    """Names of the bands of one of our rasters."""
    with _to_read(path) as raster:
        return tuple(raster.descriptions)


def read_raster(
    path: str | Path, *, bands: Sequence[str] | None = None, window: Window | None = None
) -> dict[str, np.ndarray]:
    """Bands by name as float32 with scale applied and missing as NaN; `window` counts from the file's corner."""
    from rasterio.windows import Window as Pixels

    with _to_read(path) as raster:
        names = list(raster.descriptions)
        wanted = list(bands) if bands is not None else names
        if unknown := [name for name in wanted if name not in names]:
            raise ValueError(f"{path} has no band {unknown[0]!r}; it has {', '.join(map(str, names))}")
        if not wanted:
            return {}
        part = None
        if window is not None:
            part = Pixels(window.col0, window.row0, window.shape[1], window.shape[0])
        arrays = raster.read([names.index(name) + 1 for name in wanted], window=part)
        if arrays.dtype == np.float32:
            return dict(zip(wanted, arrays, strict=True))
        nodata, scales = raster.nodata, raster.scales
        return {
            name: _unpacked(array, nodata, scales[names.index(name)]) for name, array in zip(wanted, arrays, strict=True)
        }


def _unpacked(array: np.ndarray, nodata: float | None, scale: float) -> np.ndarray:
    missing = array == nodata
    found = (array * scale).astype("float32")
    found[missing] = np.nan
    return found


MOST_OPEN = 64
"""Rasters that `kept_open` keeps open at a time."""

_open: ContextVar[OrderedDict | None] = ContextVar("open rasters", default=None)


@contextmanager
def kept_open() -> Iterator[None]:
    """Inside the body a raster that is read stays open for the next window of it, and what GDAL has decoded of it at hand.

    For many small windows of few files, plot by plot; without it each window opens its file and decodes whole tiles anew.
    Rasters that the body reads must not be replaced meanwhile. Threads that the body starts open their own.
    """
    if _open.get() is not None:  # an outer body keeps them
        yield
        return
    held: OrderedDict = OrderedDict()
    token = _open.set(held)
    try:
        yield
    finally:
        _open.reset(token)
        for raster in held.values():
            raster.close()


@contextmanager
def _to_read(path: str | Path) -> Iterator[Any]:
    held = _open.get()
    if held is None:
        with _open_to_read(path) as raster:
            yield raster
        return
    name = str(path)
    if name not in held:
        if len(held) >= MOST_OPEN:
            held.popitem(last=False)[1].close()
        held[name] = _open_to_read(path)
    held.move_to_end(name)
    yield held[name]


def _open_to_read(path: str | Path):
    import rasterio
    from rasterio.errors import RasterioIOError

    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return rasterio.open(path)
    except RasterioIOError:
        raise ValueError(f"{path} cannot be read as a raster; delete it and run again") from None


class Mosaic:
    """The block files of one raster product as one raster on the study grid."""

    def __init__(self, folder: str | Path, grid: Grid) -> None:
        self.folder, self.grid = Path(folder), grid

    def read(self, window: Window, bands: Sequence[str]) -> dict[str, np.ndarray]:
        """Bands over a window of the study grid, missing outside it."""
        found = {name: np.full(window.shape, np.nan, "float32") for name in bands}
        for block in self.grid.blocks_touching(window):
            place = self.grid.block_window(block)
            part = window.clip(place)
            if 0 in part.shape:
                continue
            arrays = read_raster(self.folder / f"{block}.tif", bands=bands, window=part.within(place))
            for name, array in arrays.items():
                found[name][part.within(window).slices] = array
        return found
