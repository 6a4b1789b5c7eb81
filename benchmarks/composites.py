"""The composite rows: from twelve Sentinel-2 scenes to six indicators, ours beside the decode floor and odc-stac.

The task: mask clouds and their surroundings by the scene classification, take the median of each of six bands over
the clear dates, and write six indicators of the medians as int16 into one tiled GeoTIFF (zstd 1).
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.range_server import serving
from benchmarks.scenes import BANDS, CRS, INDICATORS, NORTH, WEST, write_scenes
from benchmarks.timing import measured

DATES = 12
SCALE = 1e-4
WARM_PX = 512
SETTINGS = {"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail", "upsampling": "bilinear"}
NEAREST = {**SETTINGS, "upsampling": "nearest"}
OPTIONS = {
    "driver": "GTiff", "dtype": "int16", "nodata": -32768, "tiled": True, "blockxsize": 512, "blockysize": 512,
    "interleave": "band", "compress": "zstd", "zstd_level": 1,
}  # fmt: skip


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="forestsink-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def scenes(side_px: int) -> dict[str, Any]:
    """Scenes of one size, written once per run."""
    folder = _folder() / str(side_px)
    return {"scenes": write_scenes(folder, side_px=side_px, dates=DATES), "side_px": side_px, "settings": SETTINGS}


def _grid(side_px: int, **changes: Any):
    from pipeline.grid import Grid

    place = {"crs": CRS, "west_m": WEST, "north_m": NORTH, "resolution_m": 10.0, "rows": side_px, "cols": side_px}
    return Grid(**place | changes)


def same_pixels(ours: str, other: str) -> bool:
    """Whether two files hold the same numbers in all bands, however they are laid out."""
    import rasterio

    with rasterio.open(ours) as first, rasterio.open(other) as second:
        return first.count == second.count and all(
            np.array_equal(first.read(band), second.read(band)) for band in first.indexes
        )


# ---------------------------------------------------------------- ours


def ours(prepared: dict[str, Any], *, warm_up: bool) -> str:
    """The step's own way from scenes to chunks, indicators as the feature stack makes them, the store's writer."""
    side_px = WARM_PX if warm_up else prepared["side_px"]
    file = prepared["scenes"].parent / f"ours{'-warm' * warm_up}.tif"
    _write_ours(prepared, _grid(side_px, **prepared.get("grid", {})), file)
    return str(file)


def _write_ours(prepared: dict[str, Any], grid, file: Path) -> None:
    from pipeline import store
    from pipeline.indicators import compute
    from pipeline.steps.composite import Season

    listed = prepared["scenes"]
    season = Season(store.read_json(listed), listed, "sentinel-2-l2a", 2023, prepared["settings"])
    names = list(INDICATORS)
    about = {"units": dict.fromkeys(names, "1"), "scales": dict.fromkeys(names, SCALE)}
    with season.reader() as reader, store.raster_by_window(file, names, geobox=grid.geobox, **about) as raster:
        for chunk, image in season.images(reader, grid, grid.window, list(BANDS)):
            raster.write(chunk, {name: compute(name, image) for name in names})


# ---------------------------------------------------------------- the floor: decode and write


def with_answer(side_px: int) -> dict[str, Any]:
    """Scenes, and the pixels that the floor writes, already computed."""
    prepared = scenes(side_px)
    file = prepared["scenes"].parent / "answer.npy"
    if not file.exists():
        import rasterio

        made = file.with_suffix(".tif")
        _write_ours(prepared, _grid(side_px), made)
        with rasterio.open(made) as raster:
            np.save(file, raster.read())
    return {**prepared, "answer": file}


def floor(prepared: dict[str, Any], *, warm_up: bool) -> str:
    """Decode the pixels of all files, each tile once, and write the answer: nothing between."""
    import rasterio

    from pipeline.grid import Window

    side_px = WARM_PX if warm_up else prepared["side_px"]
    answer = np.load(prepared["answer"], mmap_mode="r")
    listed = prepared["scenes"]
    items = json.loads(listed.read_text(encoding="utf-8"))["items"]
    target = listed.parent / f"floor{'-warm' * warm_up}.tif"
    grid = _grid(side_px)
    place = {"width": side_px, "height": side_px, "count": len(answer), "crs": CRS, "transform": grid.geobox.transform}
    with rasterio.Env(GDAL_CACHEMAX=64 * 2**20, GDAL_NUM_THREADS="1"), rasterio.open(target, "w", **place, **OPTIONS) as out:
        files = [(rasterio.open(listed.parent / href), side) for item in items for href, side in _hrefs(item)]
        for row0 in range(0, side_px, grid.chunk_px):  # rows of chunks: few large reads are the cheapest way
            row = Window(row0, min(row0 + grid.chunk_px, side_px), 0, side_px)
            for opened, side in files:
                opened.read(1, window=_pixels(row, side))
            out.write(np.ascontiguousarray(answer[:, *row.slices]), window=_pixels(row, 1))
        for file, _ in files:
            file.close()
    return str(target)


def _hrefs(item: dict[str, Any]) -> list[tuple[str, int]]:
    """Files of a scene and how many pixels of 10 m a side of theirs has."""
    bands = [(item["bands"][role]["href"], resolution_m // 10) for role, (resolution_m, _) in BANDS.items()]
    return [(item["quality"]["href"], 2), *bands]


def _pixels(chunk, side: int):
    from rasterio.windows import Window

    rows, cols = chunk.shape
    return Window(chunk.col0 // side, chunk.row0 // side, cols // side, rows // side)


# ---------------------------------------------------------------- the peer: odc-stac, dask, xarray


def with_items(side_px: int) -> dict[str, Any]:
    """Scenes for both sides to bring 20 m onto 10 m by the nearest neighbour, as odc-stac does by itself."""
    return {**scenes(side_px), "settings": NEAREST}


def odc(prepared: dict[str, Any], *, warm_up: bool) -> str:
    """The task in the usual few lines of odc-stac and xarray; answers with its file."""
    import rasterio

    side_px = WARM_PX if warm_up else prepared["side_px"]
    grid = _grid(side_px, **prepared.get("grid", {}))
    medians = _odc_medians(prepared, grid, resampling="nearest")
    blue, green, red, nir, swir1, swir2 = (medians[role] for role in BANDS)
    indicators = [
        (nir - red) / (nir + red),
        2.5 * (nir - red) / (nir + 2.4 * red + 1),
        (nir - green) / (nir + green),
        (nir - swir1) / (nir + swir1),
        (nir - swir2) / (nir + swir2),
        ((swir1 + red) - (nir + blue)) / ((swir1 + red) + (nir + blue)),
    ]
    import dask
    import xarray as xr

    rounded = np.rint(xr.concat(indicators, "band").astype("float64") / SCALE)
    packed = rounded.where(abs(rounded) <= 32767, -32768).astype("int16")
    with dask.config.set(scheduler="threads", num_workers=2):
        pixels = packed.transpose("band", "y", "x").compute().values
    target = prepared["scenes"].parent / f"odc{'-warm' * warm_up}.tif"
    place = {"width": side_px, "height": side_px, "count": len(pixels), "crs": str(grid.crs), "transform": grid.geobox.transform}
    with rasterio.open(target, "w", **place, **OPTIONS) as out:
        out.write(pixels)
    return str(target)


def _odc_medians(prepared: dict[str, Any], grid, *, resampling: str):
    """Median reflectance by role over the clear dates, as lazy arrays."""
    import odc.stac
    import pystac
    import xarray as xr

    listed = prepared["scenes"]
    frozen = json.loads(listed.read_text(encoding="utf-8"))["items"]
    loaded = odc.stac.load(
        [_stac_item(entry, listed.parent, prepared["side_px"], pystac) for entry in frozen],
        bands=[*BANDS, "scl"],
        geobox=grid.geobox,
        chunks={"x": 1024, "y": 1024},
        groupby="id",
        resampling={"*": resampling, "scl": "nearest"},
    ).chunk({"time": -1})
    grow = loaded.scl.isin([3, 8, 9, 10])
    near = grow.copy()
    for down, right in ((2, 0), (-2, 0), (0, 2), (0, -2)):  # 20 m around clouds and shadows
        near = near | grow.shift(y=down, x=right, fill_value=False)
    clear = loaded.scl.isin([4, 5, 6, 7]) & ~near
    shift = xr.DataArray([round(entry["bands"]["red"]["offset"] * 1e4) for entry in frozen], dims="time").astype("float32")
    numbers = loaded[list(BANDS)].astype("float32").where(clear & (loaded.red > 0)) + shift
    return (numbers.median("time", skipna=True).astype("float64") * SCALE).astype("float32").clip(min=0)


def _stac_item(entry: dict[str, Any], folder: Path, side_px: int, pystac) -> Any:
    """A frozen scene as the STAC item it stands for."""
    import datetime as dt

    from pyproj import Transformer

    x, y = [WEST, WEST + 10 * side_px], [NORTH - 10 * side_px, NORTH]
    west, south, east, north = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform_bounds(x[0], y[0], x[1], y[1])
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=entry["id"],
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=dt.datetime.fromisoformat(entry["datetime"].replace("Z", "+00:00")),
        properties={"proj:epsg": int(CRS.split(":")[1])},
        stac_extensions=["https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                         "https://stac-extensions.github.io/raster/v1.1.0/schema.json"],
    )  # fmt: skip
    sides = {**{role: resolution_m for role, (resolution_m, _) in BANDS.items()}, "scl": 20}
    for role, metres in sides.items():
        href = entry["quality"]["href"] if role == "scl" else entry["bands"][role]["href"]
        n = side_px * 10 // metres
        item.add_asset(role, pystac.Asset(
            href=str(folder / href), media_type=pystac.MediaType.COG, roles=["data"],
            extra_fields={
                "proj:shape": [n, n],
                "proj:transform": [metres, 0, WEST, 0, -metres, NORTH],
                "raster:bands": [{"nodata": 0, "data_type": "uint8" if role == "scl" else "uint16"}],
            },
        ))  # fmt: skip
    return item


# ---------------------------------------------------------------- another zone


def other_zone(side_px: int) -> dict[str, Any]:
    """The same scenes for a grid of 10 m in the neighbouring UTM zone, in the middle of the scenes."""
    from pyproj import Transformer

    side = side_px // 2
    x, y = Transformer.from_crs(CRS, "EPSG:32651", always_xy=True).transform(WEST + 5 * side_px, NORTH - 5 * side_px)
    place = {"crs": "EPSG:32651", "west_m": round(x, -2) - 5 * side, "north_m": round(y, -2) + 5 * side}
    made = scenes(side_px)
    frozen = json.loads(made["scenes"].read_text(encoding="utf-8"))
    for item in frozen["items"]:  # frozen bounds are in the study's CRS
        item["bounds"] = [place["west_m"] - 1e6, place["north_m"] - 1e6, place["west_m"] + 1e6, place["north_m"] + 1e6]
    elsewhere = made["scenes"].with_name("other_zone.json")
    elsewhere.write_text(json.dumps(frozen), encoding="utf-8")
    return {**made, "scenes": elsewhere, "grid": {**place, "rows": side, "cols": side}}


def ours_in_other_zone(prepared: dict[str, Any], *, warm_up: bool) -> np.ndarray:
    """Median red and near infrared of the other zone's grid, thinned."""
    from pipeline import store
    from pipeline.steps.composite import Season

    grid = _grid(0, **_smaller(prepared["grid"], warm_up))
    listed = prepared["scenes"]
    season = Season(store.read_json(listed), listed, "sentinel-2-l2a", 2023, prepared["settings"])
    out = {role: np.empty((grid.rows, grid.cols), "float32") for role in BANDS}
    with season.reader() as reader:
        for chunk, image in season.images(reader, grid, grid.window, list(BANDS)):
            for role in BANDS:
                out[role][chunk.slices] = image[role]
    return np.maximum(np.stack([out["red"], out["nir08"]]), 0)[:, ::7, ::7]


def odc_in_other_zone(prepared: dict[str, Any], *, warm_up: bool) -> np.ndarray:
    """The same by GDAL's warper behind odc-stac."""
    import dask

    grid = _grid(0, **_smaller(prepared["grid"], warm_up))
    medians = _odc_medians(prepared, grid, resampling="bilinear")
    with dask.config.set(scheduler="threads", num_workers=2):
        done = medians.compute()
    return np.stack([done["red"].values, done["nir08"].values])[:, ::7, ::7]


def _smaller(grid: dict[str, Any], warm_up: bool) -> dict[str, Any]:
    return {**grid, "rows": 256, "cols": 256} if warm_up else grid


def alike(ours: np.ndarray, other: np.ndarray) -> bool:
    """Two resamplings of one image: nine pixels in ten agree within the noise of one look, and none is shifted.

    They mask differently at clouds' edges (at the source, or after the warp), so single pixels may differ by more.
    """
    both = np.isfinite(ours) & np.isfinite(other)
    gap = np.abs(ours - other)[both]
    return bool(both.mean() > 0.95 and np.quantile(gap, 0.9) < 0.004 and abs(np.mean((ours - other)[both])) < 5e-4)


# ---------------------------------------------------------------- over a network


def far_away(side_px: int) -> dict[str, Any]:
    """The scenes behind a server that takes 50 ms to answer, and the ranges of bytes that ours asks it for."""
    from urllib.request import urlopen

    made = with_answer(side_px)
    folder = made["scenes"].parent
    server = serving(folder, delay_s=0.05)
    address = server.__enter__()
    atexit.register(server.__exit__, None, None, None)
    frozen = json.loads(made["scenes"].read_text(encoding="utf-8"))
    for item in frozen["items"]:
        for entry in (item["quality"], *item["bands"].values()):
            entry["href"] = f"{address}/{entry['href']}"
    listed = folder / "far.json"
    listed.write_text(json.dumps(frozen), encoding="utf-8")
    allowed = {**made["settings"], "private_hosts": ("127.0.0.1", "localhost")}
    far = {**made, "settings": allowed, "scenes": listed, "near": made["scenes"], "address": address}
    measured(ours_from_afar, far)
    with urlopen(f"{address}/asked") as answer:
        return {**far, "asked": json.loads(answer.read())}


def ours_from_afar(prepared: dict[str, Any], *, warm_up: bool) -> str:
    """As `ours`, over the network; warming up, on connections of its own as the other side, reads a little of it."""
    from urllib.request import urlopen

    if not warm_up:
        return ours(prepared, warm_up=False)
    warm = ours({**prepared, "settings": {**prepared["settings"], "private_hosts": ("127.0.0.1",)}}, warm_up=True)
    with urlopen(f"{prepared['address']}/asked") as answer:  # forgets what was asked for so far
        answer.read()
    return warm


def floor_from_afar(prepared: dict[str, Any], *, warm_up: bool) -> str:
    """Fetch the same ranges, 16 at a time on open connections, while the files are decoded from the disk."""
    from concurrent.futures import ThreadPoolExecutor
    from http.client import HTTPConnection
    from threading import local
    from urllib.parse import urlsplit

    here = local()
    place = urlsplit(prepared["address"])

    def fetch(wanted: tuple[str, int, int]) -> int:
        path, first, last = wanted
        if not hasattr(here, "connection"):
            here.connection = HTTPConnection(place.hostname, place.port)
        here.connection.request("GET", path, headers={"Range": f"bytes={first}-{last}"})
        return len(here.connection.getresponse().read())

    with ThreadPoolExecutor(16) as pool:
        fetching = [pool.submit(fetch, wanted) for wanted in prepared["asked"][: 16 if warm_up else None]]
        written = floor({**prepared, "scenes": prepared["near"]}, warm_up=warm_up)
        for one in fetching:
            one.result()
    return written


# ---------------------------------------------------------------- publishing


def publish(prepared: dict[str, Any], *, warm_up: bool) -> int:
    """Six indicators as a float32 cloud-optimised GeoTIFF with overviews and statistics."""
    from pipeline import store

    bands, grid = _answer_as_float(prepared, warm_up)
    target = prepared["answer"].with_name("published.tif")
    units = dict.fromkeys(bands, "1")
    store.write_cog(target, bands, geobox=grid.geobox, units=units, titles=units)
    return len(bands)


def plain(prepared: dict[str, Any], *, warm_up: bool) -> int:
    """The same pixels as the working raster that the workflow keeps."""
    from pipeline import store

    bands, grid = _answer_as_float(prepared, warm_up)
    target = prepared["answer"].with_name("plain.tif")
    store.write_raster(target, bands, geobox=grid.geobox, scales=dict.fromkeys(bands, SCALE))
    return len(bands)


def _answer_as_float(prepared: dict[str, Any], warm_up: bool) -> tuple[dict[str, np.ndarray], Any]:
    side_px = WARM_PX if warm_up else prepared["side_px"]
    answer = np.load(prepared["answer"], mmap_mode="r")[:, :side_px, :side_px]
    bands = [np.where(band == -32768, np.nan, band * SCALE).astype("float32") for band in answer]
    return dict(zip(INDICATORS, bands, strict=True)), _grid(side_px)


STACKSTAC = "stackstac 0.5.1 asks for pandas < 3 and cannot be installed beside this environment"

ROWS: list[dict[str, Any]] = [
    {
        "name": "12 scenes to 6 indicators", "other_name": "floor: decode and write", "target": round(1 / 1.5, 2),
        "prepare": with_answer, "ours": ours, "other": floor, "agree": same_pixels,
    },
    {
        "name": "12 scenes to 6 indicators, 20 m by nearest", "other_name": "odc-stac + dask + xarray median", "target": 2.5,
        "prepare": with_items, "ours": ours, "other": odc, "agree": same_pixels, "note": STACKSTAC,
    },
    {
        "name": "medians on a grid of the next UTM zone", "other_name": "odc-stac + dask + xarray median", "target": None,
        "prepare": other_zone, "ours": ours_in_other_zone, "other": odc_in_other_zone, "agree": alike,
    },
    {
        "name": "the same, 50 ms away", "other_name": "floor: fetch 16 at a time, decode, write", "target": round(1 / 1.5, 2),
        "prepare": far_away, "ours": ours_from_afar, "other": floor_from_afar, "agree": same_pixels, "clock": "wall",
    },
    {
        "name": "6 indicators as a float32 COG", "other_name": "working raster, int16 and zstd 1", "target": None,
        "prepare": with_answer, "ours": publish, "other": plain, "agree": lambda ours, other: ours == other == 6,
    },
]  # fmt: skip
