"""Tiles of elevation of the planted land, as Copernicus DEM GLO-30 delivers them: degrees, one arc second, a surface.

X-band radar sees a forest's crowns rather than its ground, so a part of the canopy is in the model. Tiles are cut to the
surroundings of the study; their posting widens towards the poles, and neighbours share no pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from catalogs.planted.forest import Forest
from catalogs.planted.reflectance import Land
from catalogs.planted.scenes import COG, MARGIN_M, write_json
from catalogs.planted.site import CELL_M, stream

SECOND = 1 / 3600
SEEN_SHARE = 0.7  # of the mean canopy height
NOISE_SD_M = 0.4
POSTINGS = ((50, 1.0), (60, 1.5), (70, 2.0), (75, 3.0), (80, 5.0), (85, 10.0))
"""Latitude below which a tile's columns are so many seconds apart (Copernicus DEM product handbook), 10 beyond."""


def posting_s(latitude: float) -> float:
    """Distance of columns, arc seconds, of the tile whose edge nearer to the equator is at a latitude."""
    return next((seconds for limit, seconds in POSTINGS if abs(latitude) < limit), 10.0)


def write_tiles(folder: Path, forest: Forest, land: Land) -> list[dict[str, Any]]:
    """Write the tiles that hold the study's surroundings below `folder`; their items are returned."""
    from pyproj import Transformer

    west, south, east, north = forest.site.bounds
    to_degrees = Transformer.from_crs(forest.site.crs, "EPSG:4326", always_xy=True)
    box = to_degrees.transform_bounds(west - MARGIN_M, south - MARGIN_M, east + MARGIN_M, north + MARGIN_M)
    names = [
        (lat, lon)
        for lat in range(int(np.floor(box[1])) - 1, int(np.floor(box[3])) + 1)
        for lon in range(int(np.floor(box[0])), int(np.floor(box[2])) + 1)
    ]
    tiles = [_write_tile(folder, forest, land, lat, lon, box) for lat, lon in names]
    return [item for item in tiles if item is not None]


def _write_tile(
    folder: Path, forest: Forest, land: Land, lat: int, lon: int, box: tuple[float, float, float, float]
) -> dict[str, Any] | None:
    """One tile, or None where the box has no pixel of it; pixel centres lie on whole seconds from its north-west corner."""
    import rasterio
    from affine import Affine
    from pyproj import Transformer

    wide = posting_s(lat if lat >= 0 else lat + 1) * SECOND
    top, left = lat + 1.0, float(lon)
    rows, cols = 3600, round(1 / wide)
    row0, row1 = (int(np.clip(np.round((top - value) / SECOND), -1, rows)) for value in (box[3], box[1]))
    col0, col1 = (int(np.clip(np.round((value - left) / wide), 0, cols)) for value in (box[0], box[2]))
    row0, row1, col1 = max(row0, 0), min(row1 + 1, rows), min(col1 + 1, cols)
    if row0 == row1 or col0 == col1:
        return None
    latitude = top - SECOND * np.arange(row0, row1)
    longitude = left + wide * np.arange(col0, col1)
    to_site = Transformer.from_crs("EPSG:4326", forest.site.crs, always_xy=True)
    x, y = to_site.transform(*np.meshgrid(longitude, latitude))
    noise = stream(forest.settings.seed, "elevation", lat + 90, lon + 180).standard_normal(x.shape)
    height = forest.terrain.elevation_m(x, y) + SEEN_SHARE * _canopy_at(land, x, y) + NOISE_SD_M * noise
    ns, ew = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    name = f"Copernicus_DSM_COG_10_{ns}{abs(lat):02d}_00_{ew}{abs(lon):03d}_00_DEM"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    transform = Affine(wide, 0, longitude[0] - wide / 2, 0, -SECOND, latitude[0] + SECOND / 2)
    with rasterio.open(
        place / f"{name}.tif", "w", driver="COG", width=x.shape[1], height=x.shape[0], count=1, dtype="float32",
        crs="EPSG:4326", transform=transform, compress="deflate", predictor=3, blocksize=256,
        overview_resampling="nearest",
    ) as raster:  # fmt: skip
        raster.write(height.astype("float32"), 1)
    edges = [transform.c, transform.f - SECOND * x.shape[0], transform.c + wide * x.shape[1], transform.f]
    item = _item(name, [round(value, 9) for value in edges], list(x.shape), list(transform)[:6])
    write_json(place / f"{name}.json", item)
    return item


def _canopy_at(land: Land, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean canopy height over about 30 m at each position, metres."""
    from scipy.ndimage import uniform_filter

    wide = uniform_filter(land.canopy.height_m, 5)
    row = np.clip(np.floor((land.north_m - y) / CELL_M).astype(int), 0, wide.shape[0] - 1)
    col = np.clip(np.floor((x - land.west_m) / CELL_M).astype(int), 0, wide.shape[1] - 1)
    return wide[row, col]


def _item(name: str, bbox: list[float], shape: list[int], transform: list[float]) -> dict[str, Any]:
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
        "id": name,
        "collection": "cop-dem-glo-30",
        "bbox": bbox,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": "2021-04-22T00:00:00Z",
            "platform": "TanDEM-X",
            "gsd": 30,
            "proj:epsg": 4326,
            "proj:shape": shape,
            "proj:transform": transform,
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": {
            "data": {"href": f"./{name}.tif", "title": name, "type": COG, "roles": ["data"]},
        },
    }
