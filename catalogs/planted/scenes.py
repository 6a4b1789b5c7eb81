"""Satellite scenes of the planted land: Cloud Optimized GeoTIFFs and a static STAC catalogue that describes them.

Optical scenes are made here, those of radar in `backscatter`, tiles of elevation in `elevation`.

Keys, encodings and quality classes are those of Earth Search's `sentinel-2-l2a` and `landsat-c2-l2` collections.
Sentinel-2 scenes of processing baseline 04.00 and later carry the offset of -1000 in their numbers; one scene of an old
year was processed anew, so that its date tells nothing about its offset.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.planted.forest import Forest
from catalogs.planted.rasters import write_cog
from catalogs.planted.reflectance import Land, Sky, land_of, see_bands, sky_of
from catalogs.planted.site import CELL_M, stream
from catalogs.planted.stands import WATER

log = logging.getLogger(__name__)

MARGIN_M = 150.0  # how far scenes reach beyond the study
SEASON_DAYS = (157, 268)  # 6 June to 25 September
BASELINE_WITH_OFFSET = 2022  # 04.00 began on 25 January 2022
S2_FILES = {
    "blue": ("B02", 10), "green": ("B03", 10), "red": ("B04", 10), "nir": ("B08", 10),
    "rededge1": ("B05", 20), "rededge2": ("B06", 20), "rededge3": ("B07", 20), "nir08": ("B8A", 20),
    "swir16": ("B11", 20), "swir22": ("B12", 20),
}  # fmt: skip
LANDSAT_FILES = {"blue": "B2", "green": "B3", "red": "B4", "nir08": "B5", "swir16": "B6", "swir22": "B7"}
LANDSAT_RESOLUTION_M = 30
NOISE_SD = {"sentinel-2-l2a": 0.0025, "landsat-c2-l2": 0.003}

# Bits of QA_PIXEL: USGS Landsat Collection 2 level-2 product guide (LSDS-1619)
QA_FILL, QA_DILATED, QA_CLOUD, QA_SHADOW, QA_CLEAR, QA_WATER = 1, 1 << 1, 1 << 3, 1 << 4, 1 << 6, 1 << 7
QA_LOW = (1 << 8) | (1 << 10) | (1 << 12) | (1 << 14)  # cloud, shadow, snow and cirrus confidence low
QA_CLOUD_HIGH, QA_SHADOW_HIGH = 3 << 8, 3 << 10

COLLECTIONS = {
    "sentinel-2-l2a": "Sentinel-2 level 2A surface reflectance of a planted forest (synthetic)",
    "landsat-c2-l2": "Landsat collection 2 level 2 surface reflectance of a planted forest (synthetic)",
    "sentinel-1-rtc": "Sentinel-1 terrain-corrected gamma0 of a planted forest (synthetic)",
    "cop-dem-glo-30": "Copernicus DEM GLO-30 surface elevation of a planted forest (synthetic)",
}
EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True)
class Pass:
    """One overpass: what decides how a scene looks and how it is encoded."""

    collection: str
    number: int
    date: dt.date
    platform: str
    baseline: str
    cloud_share: float
    partial: bool

    @property
    def id(self) -> str:
        day = self.date.strftime("%Y%m%d")
        if self.collection == "landsat-c2-l2":
            return f"L{'C09' if self.platform == 'landsat-9' else 'C08'}_L2SP_120041_{day}_02_T1"
        return f"S2{self.platform[-1].upper()}_50RNR_{day}_0_L2A"

    @property
    def offset_dn(self) -> int:
        """What was added to the numbers of a Sentinel-2 scene when it was written."""
        return 1000 if float(self.baseline) >= 4 else 0


@dataclass(frozen=True)
class Frame:
    """The pixels of a scene at one resolution, and where they lie on the padded canvas of 5 m."""

    west_m: float
    north_m: float
    resolution_m: int
    rows: int
    cols: int
    row0: int
    col0: int

    def shrink(self, canvas: np.ndarray) -> np.ndarray:
        """Mean of the canvas over each pixel (rows, cols)."""
        n = round(self.resolution_m / CELL_M)
        part = canvas[self.row0 : self.row0 + self.rows * n, self.col0 : self.col0 + self.cols * n]
        return part.reshape(self.rows, n, self.cols, n).mean((1, 3), dtype=np.float32)


def write_scenes(folder: Path, forest: Forest, years: tuple[int, ...]) -> None:
    """Write all scenes of all years and the catalogue that lists them."""
    from catalogs.planted.backscatter import write_passes
    from catalogs.planted.elevation import write_tiles

    folder.mkdir(parents=True, exist_ok=True)
    items: dict[str, list[dict[str, Any]]] = {}
    for year in years:
        land = land_of(forest, year, pad=round((MARGIN_M + 90) / CELL_M))
        for sensor in forest.settings.sensors:
            if sensor == "sentinel-1-rtc":
                items.setdefault(sensor, []).extend(write_passes(folder / sensor, forest, land, year))
            elif sensor == "copernicus-dem-glo30":
                if year == years[0]:
                    items["cop-dem-glo-30"] = write_tiles(folder / "cop-dem-glo-30", forest, land)
            else:
                made = [_write_scene(folder, forest, land, one) for one in plan_passes(forest, sensor, year)]
                items.setdefault(sensor, []).extend(made)
    _write_catalogue(folder, items)
    log.info("wrote %d scenes of %d sensors", sum(map(len, items.values())), len(items))


def plan_passes(forest: Forest, collection: str, year: int) -> list[Pass]:
    """Dates, platforms, processing and cloud of a sensor's growing season; of four or more scenes, two are partial."""
    settings = forest.settings
    rng = stream(settings.seed, "passes", list(COLLECTIONS).index(collection), year)
    n = settings.scenes_per_year
    step = (SEASON_DAYS[1] - SEASON_DAYS[0]) / n
    days = SEASON_DAYS[0] + np.floor((np.arange(n) + rng.uniform(0.05, 0.95, n)) * step).astype(int)
    weight = rng.gamma(1.5, size=n)
    weight[int(rng.integers(n))] = 0.0  # one good day in every season
    clouds = np.clip(settings.cloud_share * n * weight / max(weight.sum(), 1e-9), 0, 0.95)
    if n == 1:
        clouds = np.array([settings.cloud_share])
    renewed = n // 2  # the scene of an old year that was processed anew
    passes = []
    for number, day in enumerate(days):
        if collection == "landsat-c2-l2":
            platform, baseline = ("landsat-9" if year >= 2022 and number % 2 else "landsat-8"), "02"
        else:
            platform = f"sentinel-2{'ab'[number % 2]}"
            new = ("05.00" if number == renewed else "02.12") if year < BASELINE_WITH_OFFSET else "05.10"
            baseline = "04.00" if year == BASELINE_WITH_OFFSET else new
        date = dt.date(year, 1, 1) + dt.timedelta(days=int(day) - 1)
        partial = n >= 4 and number in (1, n - 1)
        passes.append(Pass(collection, number, date, platform, baseline, float(clouds[number]), partial))
    return passes


def frame_of(forest: Forest, land: Land, resolution_m: int, grid_origin_m: float) -> Frame:
    """Pixels on the sensor's own grid (origin modulo resolution) that cover the site and its margin."""
    west, south, east, north = forest.site.bounds
    snap = 60 if grid_origin_m == 0 else resolution_m
    west_m = np.floor((west - MARGIN_M - grid_origin_m) / snap) * snap + grid_origin_m
    north_m = np.ceil((north + MARGIN_M - grid_origin_m) / snap) * snap + grid_origin_m
    cols = int(np.ceil((east + MARGIN_M - west_m) / snap)) * snap // resolution_m
    rows = int(np.ceil((north_m - south + MARGIN_M) / snap)) * snap // resolution_m
    row0, col0 = round((land.north_m - north_m) / CELL_M), round((west_m - land.west_m) / CELL_M)
    return Frame(float(west_m), float(north_m), resolution_m, rows, cols, row0, col0)


def _write_scene(folder: Path, forest: Forest, land: Land, one: Pass) -> dict[str, Any]:
    """Write one scene's files and item; the item is returned."""
    from scipy.ndimage import gaussian_filter

    landsat = one.collection == "landsat-c2-l2"
    rng = stream(forest.settings.seed, "scene", list(COLLECTIONS).index(one.collection), one.date.year, one.number)
    day, hour = one.date.timetuple().tm_yday, 10.2 if landsat else 10.8
    sky = sky_of(forest, land, rng=rng, day_of_year=day, cloud_share=one.cloud_share, hour=hour)
    place = folder / one.collection / one.id
    place.mkdir(parents=True, exist_ok=True)
    bands = tuple(LANDSAT_FILES) if landsat else tuple(S2_FILES)
    seen = see_bands(land, sky, bands)
    blur = (15.0 if landsat else 5.0) / CELL_M * 0.55  # the sensor's point spread, about half a pixel
    seen = {band: gaussian_filter(values, blur) for band, values in seen.items()}
    edge = swath(land, rng) if one.partial else np.ones(land.ground.shape, np.float32)
    if landsat:
        assets, cloud_percent = _write_landsat(place, forest, land, sky, seen, edge, one, rng)
        frame = frame_of(forest, land, LANDSAT_RESOLUTION_M, 15.0)
    else:
        assets, cloud_percent = _write_sentinel(place, forest, land, sky, seen, edge, one, rng)
        frame = frame_of(forest, land, 10, 0.0)
    item = _item(forest, one, sky, frame, footprint_ring(forest, land, frame, edge), assets, cloud_percent)
    write_json(place / f"{one.id}.json", item)
    return item


def swath(land: Land, rng: np.random.Generator) -> np.ndarray:
    """1 inside the swath, 0 beyond its slanting edge, which cuts off the west of the scene (rows, cols)."""
    rows, cols = land.ground.shape
    edge = cols * rng.uniform(0.25, 0.5) - (np.arange(rows)[:, None] - rows / 2) * 0.2
    return (np.arange(cols)[None, :] > edge).astype(np.float32)


def _write_sentinel(
    place: Path, forest: Forest, land: Land, sky: Sky, seen: dict, edge: np.ndarray, one: Pass, rng: np.random.Generator
) -> tuple[dict[str, Any], float]:
    frames = {resolution: frame_of(forest, land, resolution, 0.0) for resolution in (10, 20)}
    offset = -0.1 if one.offset_dn else 0
    assets = {}
    for band, (name, resolution) in S2_FILES.items():
        frame = frames[resolution]
        rho = _noisy(frame.shrink(seen[band]), one.collection, rng)
        numbers = np.clip(np.rint(rho * 1e4) + one.offset_dn, 1, 32767)
        numbers = np.where(frame.shrink(edge) >= 0.999, numbers, 0).astype("uint16")
        _write_pixels(place / f"{name}.tif", numbers, forest, frame)
        encoding = {"scale": 0.0001, "offset": offset, "spatial_resolution": resolution, "bits_per_sample": 15}
        assets[band] = _asset(f"{name}.tif", frame, band, f"{band} ({name}) - {resolution} m", encoding)
    frame = frames[20]
    classes = scene_classes(frame, land, sky, seen, edge, rng)
    _write_pixels(place / "SCL.tif", classes, forest, frame)
    assets["scl"] = {
        "href": "./SCL.tif", "type": COG, "title": "Scene classification map (SCL)", "gsd": 20, **projection_of(frame),
        "roles": ["data", "reflectance"],
        "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}],
    }  # fmt: skip
    valid = classes > 0
    return assets, 100 * float(np.isin(classes[valid], (8, 9, 10)).mean())


def _write_landsat(
    place: Path, forest: Forest, land: Land, sky: Sky, seen: dict, edge: np.ndarray, one: Pass, rng: np.random.Generator
) -> tuple[dict[str, Any], float]:
    frame = frame_of(forest, land, LANDSAT_RESOLUTION_M, 15.0)
    inside = frame.shrink(edge) >= 0.999
    assets = {}
    for band, name in LANDSAT_FILES.items():
        rho = _noisy(frame.shrink(seen[band]), one.collection, rng)
        numbers = np.where(inside, np.clip(np.rint((rho + 0.2) / 2.75e-5), 1, 65535), 0).astype("uint16")
        file = f"{one.id}_SR_{name}.TIF"
        _write_pixels(place / file, numbers, forest, frame)
        encoding = {"scale": 2.75e-05, "offset": -0.2, "spatial_resolution": 30}
        assets[band] = _asset(file, frame, band, f"{band} ({name})", encoding)
    quality = pixel_quality(frame, land, sky, edge, rng)
    file = f"{one.id}_QA_PIXEL.TIF"
    _write_pixels(place / file, quality, forest, frame, nodata=QA_FILL)
    assets["qa_pixel"] = {
        "href": f"./{file}", "type": COG, "title": "Pixel Quality Assessment Band", "gsd": 30, **projection_of(frame),
        "roles": ["cloud", "cloud-shadow", "snow-ice", "water-mask"],
        "raster:bands": [{"nodata": QA_FILL, "data_type": "uint16", "unit": "bit index", "spatial_resolution": 30}],
    }  # fmt: skip
    valid = quality != QA_FILL
    return assets, 100 * float(((quality[valid] & QA_CLOUD) > 0).mean())


def _noisy(rho: np.ndarray, collection: str, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise: an additive part and one in proportion to the signal."""
    noise = rng.standard_normal(rho.shape, dtype=np.float32)
    return rho + noise * (NOISE_SD[collection] * 0.6 + 0.008 * rho)


def _missed(frame: Frame, rng: np.random.Generator, share: float) -> np.ndarray:
    """Patches of a few pixels where the provider's classification overlooks what is there (rows, cols)."""
    from scipy.ndimage import uniform_filter

    noise = uniform_filter(rng.standard_normal((frame.rows, frame.cols)), 3)
    return noise > np.quantile(noise, 1 - share)


def scene_classes(
    frame: Frame, land: Land, sky: Sky, seen: dict[str, np.ndarray], edge: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sentinel-2 scene classification (uint8): right in the main, blind to some thin cloud edges and faint shadows."""
    red, nir = frame.shrink(seen["red"]), frame.shrink(seen["nir08"])
    cloud, shadow = frame.shrink(sky.cloud), frame.shrink(sky.shadow)
    classes = np.where((nir - red) / (nir + red) > 0.4, 4, 5)
    classes[frame.shrink((land.ground == WATER).astype(np.float32)) > 0.6] = 6
    missed = _missed(frame, rng, 0.06)
    classes[(shadow > 0.25) & ~(missed & (shadow < 0.8))] = 3
    classes[(cloud > 0.05) & ~missed] = 10
    classes[(cloud > 0.25) & ~(missed & (cloud < 0.5))] = 8
    classes[cloud > 0.65] = 9
    classes[(rng.uniform(size=classes.shape) < 0.003) & (cloud < 0.05)] = 7
    classes[frame.shrink(edge) < 0.999] = 0
    return classes.astype("uint8")


def pixel_quality(frame: Frame, land: Land, sky: Sky, edge: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Landsat QA_PIXEL (uint16). Bit 6, "clear", stays set in cloud shadow and over water, as in real scenes."""
    from scipy.ndimage import binary_dilation

    cloud, shadow = frame.shrink(sky.cloud), frame.shrink(sky.shadow)
    missed = _missed(frame, rng, 0.06)
    cloudy = (cloud > 0.3) & ~(missed & (cloud < 0.6))
    dilated = binary_dilation(cloudy, iterations=2) & ~cloudy
    shaded = (shadow > 0.3) & ~cloudy & ~(missed & (shadow < 0.8))
    quality = np.full(cloud.shape, QA_LOW, np.int32)
    quality[cloudy] |= QA_CLOUD | QA_CLOUD_HIGH
    quality[dilated] |= QA_DILATED
    quality[shaded] |= QA_SHADOW | QA_SHADOW_HIGH
    quality[~cloudy & ~dilated] |= QA_CLEAR
    quality[(frame.shrink((land.ground == WATER).astype(np.float32)) > 0.6) & ~cloudy] |= QA_WATER
    quality[frame.shrink(edge) < 0.999] = QA_FILL
    return quality.astype("uint16")


def _write_pixels(file: Path, values: np.ndarray, forest: Forest, frame: Frame, nodata: int = 0) -> None:
    write_cog(
        file, values, crs=forest.site.crs, west_m=frame.west_m, north_m=frame.north_m,
        resolution_m=frame.resolution_m, nodata=nodata,
    )  # fmt: skip


def projection_of(frame: Frame) -> dict[str, Any]:
    return {
        "proj:shape": [frame.rows, frame.cols],
        "proj:transform": [frame.resolution_m, 0, frame.west_m, 0, -frame.resolution_m, frame.north_m],
    }


def _asset(file: str, frame: Frame, band: str, title: str, encoding: dict[str, Any]) -> dict[str, Any]:
    common = "rededge" if band.startswith("rededge") else band
    return {
        "href": f"./{file}",
        "type": COG,
        "title": title,
        "eo:bands": [{"name": band, "common_name": common}],
        "gsd": frame.resolution_m,
        **projection_of(frame),
        "raster:bands": [{"nodata": 0, "data_type": "uint16", **encoding}],
        "roles": ["data", "reflectance"],
    }


def footprint_ring(forest: Forest, land: Land, frame: Frame, edge: np.ndarray) -> list[list[float]]:
    """Ring of the valid pixels in longitude and latitude, counter-clockwise, first point repeated."""
    from pyproj import Transformer

    inside = frame.shrink(edge) >= 0.999
    first, last = inside[0].argmax(), inside[-1].argmax()
    west = frame.west_m + np.array([first, last]) * frame.resolution_m
    east = frame.west_m + frame.cols * frame.resolution_m
    north, south = frame.north_m, frame.north_m - frame.rows * frame.resolution_m
    corners = [(west[1], south), (east, south), (east, north), (west[0], north), (west[1], south)]
    to_degrees = Transformer.from_crs(forest.site.crs, "EPSG:4326", always_xy=True)
    return [[round(float(value), 7) for value in to_degrees.transform(*corner)] for corner in corners]


def _item(
    forest: Forest,
    one: Pass,
    sky: Sky,
    frame: Frame,
    ring: list[list[float]],
    assets: dict[str, Any],
    cloud_percent: float,
) -> dict[str, Any]:
    """The STAC item of a scene (STAC 1.0.0)."""
    from pyproj import CRS

    crs = CRS.from_user_input(forest.site.crs)
    moment = dt.datetime.combine(one.date, dt.time(2, 40 if one.collection == "landsat-c2-l2" else 55))
    properties: dict[str, Any] = {
        "datetime": moment.isoformat() + "Z",
        "platform": one.platform,
        "instruments": ["oli", "tirs"] if one.collection == "landsat-c2-l2" else ["msi"],
        "gsd": frame.resolution_m,
        "eo:cloud_cover": round(cloud_percent, 2),
        "view:sun_azimuth": round(sky.sun_azimuth_deg, 4),
        "view:sun_elevation": round(sky.sun_elevation_deg, 4),
        "proj:epsg": crs.to_epsg(),
        **projection_of(frame),
    }
    if crs.to_epsg() is None:
        properties["proj:wkt2"] = crs.to_wkt()
    if one.collection == "landsat-c2-l2":
        properties |= {
            "landsat:collection_number": one.baseline, "landsat:collection_category": "T1",
            "landsat:correction": "L2SP", "landsat:wrs_type": "2", "landsat:wrs_path": "120", "landsat:wrs_row": "041",
        }  # fmt: skip
    else:
        properties |= {
            "constellation": "sentinel-2", "s2:product_type": "S2MSI2A", "s2:processing_baseline": one.baseline,
            "processing:version": one.baseline, "earthsearch:boa_offset_applied": False,
        }  # fmt: skip
    return as_item(one.id, one.collection, EXTENSIONS, ring, properties, assets)


def as_item(name: str, collection: str, extensions: list[str], ring: list, properties: dict, assets: dict) -> dict:
    """A STAC item of the static catalogue, its footprint a ring of longitudes and latitudes."""
    longitudes, latitudes = zip(*ring, strict=True)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": extensions,
        "id": name,
        "collection": collection,
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
    }


def _write_catalogue(folder: Path, items: dict[str, list[dict[str, Any]]]) -> None:
    """The static catalogue: a root that links the collections, which link their items."""
    links = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    for collection, members in items.items():
        links.append({"rel": "child", "href": f"./{collection}/collection.json", "type": "application/json"})
        boxes = np.array([item["bbox"] for item in members])
        moments = sorted(item["properties"]["datetime"] for item in members)
        own_links = [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
        ]
        own_links += [
            {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": "application/geo+json"}
            for item in members
        ]
        content = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": collection,
            "description": COLLECTIONS[collection],
            "license": "Apache-2.0",
            "extent": {
                "spatial": {"bbox": [[*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]]},
                "temporal": {"interval": [[moments[0], moments[-1]]]},
            },
            "links": own_links,
        }
        write_json(folder / collection / "collection.json", content)
    root = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "planted",
        "description": "Scenes of a planted forest: synthetic, with known truth",
        "links": links,
    }
    write_json(folder / "catalog.json", root)


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
