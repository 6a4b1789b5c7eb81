"""The only writer and reader of the files a study makes: rasters, tables, layers, JSON. Every write is atomic."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.grid import Grid, Window

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

INT16_NODATA = -32768
FIXED_DATE = "2000-01-01T00:00:00.000Z"
"""Written into formats that insist on a date, so that the same study gives the same bytes."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A partial file beside `path` that takes its place when the body ends well and vanishes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(partial.name + ".aux.xml").unlink(missing_ok=True)


# ---------------------------------------------------------------- rasters


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
    with replacing(path) as partial, _open_to_write(partial, bands, geobox, dtype, **options) as raster:
        for number, (name, array) in enumerate(bands.items(), start=1):
            if scales:
                scale = scales.get(name, 1.0)
                raster.write(_packed(array, scale), number)
                _set_scale(raster, number, scale)
            else:
                raster.write(np.asarray(array, "float32"), number)
            _describe(raster, number, name, (units or {}).get(name, ""))


TILE_PX = 512
STRIP_PX = 16 * TILE_PX  # pixels across that are read at a time where a raster is too large for memory

PACKED_ROWS = 32
"""Rows that are turned into whole numbers at a time: few enough for the processor's cache."""


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
            _describe(raster, number, name, units.get(name, ""))
        writer = RasterWriter(raster, names, scales)
        yield writer
        writer.close()


def _open_to_write(path: Path, bands: Mapping[str, np.ndarray], geobox: GeoBox, dtype: str, **options: Any):
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


def _describe(raster: Any, number: int, name: str, unit: str) -> None:
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


def write_cog(
    path: str | Path,
    bands: Mapping[str, np.ndarray],
    *,
    geobox: GeoBox,
    units: Mapping[str, str],
    titles: Mapping[str, str],
    overviews: str = "average",
    caveats: Sequence[str] = (),
) -> None:
    """Published raster: cloud-optimised GeoTIFF, float32, deflate, overviews, nodata NaN, statistics.

    Band descriptions hold the name, units the unit, and a `TITLE` tag the sentence a GIS user sees. `overviews` says how
    pixels become larger ones: classes have no average and ask for `mode`. `caveats` stand in a tag CAVEATS of the file.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    with replacing(path) as partial, rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile() as memory:
        with _open_to_write(memory.name, bands, geobox, "float32", driver="GTiff") as raster:
            for number, (name, array) in enumerate(bands.items(), start=1):
                raster.write(np.asarray(array, "float32"), number)
                _describe(raster, number, name, units.get(name, ""))
                raster.update_tags(number, TITLE=titles.get(name, name), **_statistics(array))
            if caveats:
                raster.update_tags(CAVEATS="; ".join(caveats))
        copy(
            memory.name,
            partial,
            driver="COG",
            compress="deflate",
            blocksize=512,
            predictor="yes",
            overview_resampling=overviews,
            num_threads=1,
        )


def _statistics(array: np.ndarray) -> dict[str, str]:
    valid = array[np.isfinite(array)].astype("float64")
    if valid.size == 0:
        return {"STATISTICS_VALID_PERCENT": "0"}
    return {
        "STATISTICS_MINIMUM": f"{valid.min():.6g}",
        "STATISTICS_MAXIMUM": f"{valid.max():.6g}",
        "STATISTICS_MEAN": f"{valid.mean():.6g}",
        "STATISTICS_STDDEV": f"{valid.std():.6g}",
        "STATISTICS_VALID_PERCENT": f"{100 * valid.size / array.size:.4g}",
    }


def write_cog_by_window(
    path: str | Path,
    read: Callable[[Window], Mapping[str, np.ndarray]],
    *,
    grid: Grid,
    window: Window,
    units: Mapping[str, str],
    titles: Mapping[str, str],
    seen: Callable[[Window, Mapping[str, np.ndarray]], None] = lambda window, bands: None,
) -> None:
    """As `write_cog`, of a part of a grid that is too large for memory: `read` gives windows of it, band by band.

    The windows are counted from the grid's corner, whatever made the pixels: the same pixels give the same bytes. `seen` is
    shown each window once.
    """
    import rasterio
    from rasterio.shutil import copy

    tallies = {name: _Tally() for name in units}
    plain = Path(path).with_suffix(".plain.tif")
    try:
        with raster_by_window(plain, list(units), geobox=grid.geobox_of(window), units=units, scales=None) as raster:
            for row in range(window.row0 // TILE_PX * TILE_PX, window.row1, TILE_PX):
                for col in range(window.col0 // STRIP_PX * STRIP_PX, window.col1, STRIP_PX):
                    part = Window(row, row + TILE_PX, col, col + STRIP_PX).clip(window)
                    bands = read(part)
                    for name in units:
                        tallies[name].add(bands[name])
                    seen(part, bands)
                    raster.write(part.within(window), bands)
        with rasterio.Env(GDAL_PAM_ENABLED=False):
            with rasterio.open(plain, "r+") as written:
                for number, name in enumerate(units, start=1):
                    written.update_tags(number, TITLE=titles.get(name, name), **tallies[name].statistics())
            with replacing(path) as partial:
                copy(
                    plain, partial, driver="COG", compress="deflate", blocksize=512, predictor="yes",
                    overview_resampling="average", num_threads=1, bigtiff="if_safer",
                )  # fmt: skip
    finally:
        plain.unlink(missing_ok=True)


class _Tally:
    """Statistics of a band, window by window."""

    def __init__(self) -> None:
        self.cells = self.count = 0
        self.low, self.high, self.total, self.squares = math.inf, -math.inf, 0.0, 0.0

    def add(self, array: np.ndarray) -> None:
        valid = array[np.isfinite(array)].astype("float64")
        self.cells += array.size
        if valid.size:
            self.count += valid.size
            self.low, self.high = min(self.low, float(valid.min())), max(self.high, float(valid.max()))
            self.total, self.squares = self.total + float(valid.sum()), self.squares + float((valid**2).sum())

    def statistics(self) -> dict[str, str]:
        if not self.count:
            return {"STATISTICS_VALID_PERCENT": "0"}
        mean = self.total / self.count
        return {
            "STATISTICS_MINIMUM": f"{self.low:.6g}",
            "STATISTICS_MAXIMUM": f"{self.high:.6g}",
            "STATISTICS_MEAN": f"{mean:.6g}",
            "STATISTICS_STDDEV": f"{math.sqrt(max(self.squares / self.count - mean**2, 0.0)):.6g}",
            "STATISTICS_VALID_PERCENT": f"{100 * self.count / self.cells:.4g}",
        }


def write_vrt(path: str | Path, files: Sequence[Path], grid: Grid) -> None:
    """Block COGs as one raster, for areas whose map does not fit one file comfortably."""
    import rasterio

    with rasterio.open(files[0]) as first:
        names, units = first.descriptions, first.units
    rows = [f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">', f"<SRS>{grid.crs}</SRS>"]
    west, _, _, north = grid.bounds
    rows.append(f"<GeoTransform>{west}, {grid.resolution_m}, 0, {north}, 0, {-grid.resolution_m}</GeoTransform>")
    for number, (name, unit) in enumerate(zip(names, units, strict=True), start=1):
        rows.append(f'<VRTRasterBand dataType="Float32" band="{number}">')
        rows.append(f"<Description>{name}</Description><UnitType>{unit or ''}</UnitType><NoDataValue>nan</NoDataValue>")
        for file in files:
            place = grid.block_window(file.stem)
            size = f'xSize="{place.shape[1]}" ySize="{place.shape[0]}"'
            rows.append(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{file.relative_to(Path(path).parent)}</SourceFilename>'
                f'<SourceBand>{number}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
                f'<DstRect xOff="{place.col0}" yOff="{place.row0}" {size}/></SimpleSource>'
            )
        rows.append("</VRTRasterBand>")
    rows.append("</VRTDataset>")
    write_text(path, "\n".join(rows) + "\n")


# ---------------------------------------------------------------- tables, layers, documents


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """A table as (Geo)Parquet, or as CSV where the path ends so."""
    with replacing(path) as partial:
        if Path(path).suffix == ".csv":
            frame.to_csv(partial, index=False, lineterminator="\n")
        elif "geometry" in frame.columns:
            frame.to_parquet(partial, index=False, compression="zstd", write_covering_bbox=False)
        else:
            frame.to_parquet(partial, index=False, compression="zstd")


def read_table(path: str | Path) -> pd.DataFrame:
    """A table that `write_table` wrote; a GeoDataFrame when it holds geometry."""
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix == ".csv":
        return pd.read_csv(path)
    import pyarrow.parquet as parquet

    if b"geo" in (parquet.read_schema(path).metadata or {}):
        import geopandas as gpd

        return gpd.read_parquet(path)
    return pd.read_parquet(path)


def write_layers(
    path: str | Path, layers: Mapping[str, pd.DataFrame], *, styles: Mapping[str, str] | None = None
) -> None:
    """A GeoPackage of named layers; `styles` (layer: QML text) are embedded as each layer's default style."""
    write_layers_by_batch(path, [layers], styles=styles)


def write_layers_by_batch(
    path: str | Path,
    batches: Iterable[Mapping[str, pd.DataFrame]],
    *,
    styles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> None:
    """As `write_layers`, of layers that come in parts, at least one; `kinds` (layer: geometry type) where a part may be empty."""
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    names: dict[str, None] = {}
    with replacing(path) as partial:
        for layers in batches:
            for name, frame in layers.items():
                kind = (kinds or {}).get(name)
                pyogrio.write_dataframe(
                    frame, partial, layer=name, driver="GPKG", append=partial.exists(), geometry_type=kind
                )
                names[name] = None
        if styles:
            _embed_styles(partial, names, styles)


def _embed_styles(file: Path, layers: Iterable[str], styles: Mapping[str, str]) -> None:
    """QGIS reads its default styles from the table `layer_styles` of a GeoPackage."""
    import sqlite3

    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), "
            "f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, "
            "styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME)"
        )
        for name in layers:
            if name in styles:
                database.execute(
                    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
                    "styleQML, styleSLD, useAsDefault, description, owner, ui, update_time) "
                    "VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '', NULL, ?)",
                    (name, name, styles[name], FIXED_DATE),
                )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)",
            (FIXED_DATE,),
        )
    database.close()


def write_parts(path: str | Path, parts: Iterable[tuple[int, pd.DataFrame]], *, columns: Mapping[str, str]) -> int:
    """A Parquet file of numbered parts that are read one by one, in rising order; returns the number of rows.

    `columns` are all columns with their types as Arrow names them; a part of no rows is left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = pa.schema([("part", pa.int64()), *((name, pa.type_for_alias(kind)) for name, kind in columns.items())])
    rows = 0
    with replacing(path) as partial, parquet.ParquetWriter(partial, schema, compression="zstd") as file:
        for number, frame in parts:
            if len(frame):
                table = pa.Table.from_pandas(frame.assign(part=number)[schema.names], schema=schema, preserve_index=False)
                file.write_table(table, row_group_size=len(frame))
                rows += len(frame)
    return rows


def read_parts(paths: Iterable[str | Path]) -> Iterator[pd.DataFrame]:
    """The parts that `write_parts` wrote into some files, by their numbers, those of one number together; one at a time."""
    import pandas as pd
    import pyarrow.parquet as parquet

    places: dict[int, list[tuple[Path, int]]] = {}
    for path in map(Path, paths):
        about = parquet.read_metadata(path)
        for group in range(about.num_row_groups):
            places.setdefault(about.row_group(group).column(0).statistics.min, []).append((path, group))
    for number in sorted(places):
        found = [parquet.ParquetFile(path).read_row_group(group).to_pandas() for path, group in places[number]]
        yield pd.concat(found, ignore_index=True).drop(columns="part")


def write_json(path: str | Path, content: Any) -> None:
    """JSON with sorted keys; NaN is not JSON and becomes null."""
    write_text(path, json.dumps(_plain(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray | list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.bool_):
        return bool(content)
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    if isinstance(content, np.integer):
        return int(content)
    if isinstance(content, Path):
        return content.as_posix()
    return content


def read_json(path: str | Path) -> Any:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_text(path: str | Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


class KeptArrays(MutableMapping):
    """Arrays by name in a folder, kept from one job to the next: what is dear to find out and follows from its name.

    Whatever cannot be read counts as not there, and is made again.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return np.load(self._file(name), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise KeyError(name) from None

    def __setitem__(self, name: str, array: np.ndarray) -> None:
        with replacing(self._file(name)) as partial, partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    def __delitem__(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(file.stem for file in self._folder.glob("[!.]*.npy")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def clear_folder(path: str | Path) -> Path:
    """An empty folder in place of whatever stood there."""
    shutil.rmtree(path, ignore_errors=True)
    Path(path).mkdir(parents=True)
    return Path(path)
