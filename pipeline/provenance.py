"""Our maps described as STAC 1.1: projection, raster, file and processing facts. Plain dictionaries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.grid import Grid

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
TABLE = "https://stac-extensions.github.io/table/v1.2.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"


def item_of(
    product: dict, *, path: Path, folder: Path, sha256: str, grid: Grid, study: dict, caveats: Sequence[str] = ()
) -> dict:
    """A STAC item of one published map; `caveats` are what its user must know of the numbers it rests on."""
    years = product["years"]
    ring = _ring(grid)
    when = {"datetime": f"{years[0]}-07-01T00:00:00Z"} if len(years) == 1 else {"datetime": None}
    if len(years) > 1:
        when |= {"start_datetime": f"{years[0]}-07-01T00:00:00Z", "end_datetime": f"{years[-1]}-07-01T00:00:00Z"}
    west, _, _, north = grid.bounds
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROJECTION, FILE, PROCESSING],
        "id": product["name"],
        "collection": study["name"],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": _box(ring),
        "properties": when
        | {
            "title": product["title"],
            "proj:code": grid.crs,
            "proj:shape": [grid.rows, grid.cols],
            "proj:transform": [grid.resolution_m, 0.0, west, 0.0, -grid.resolution_m, north],
            "processing:software": {"forestsink": "see run.json"},
        }
        | ({"forestsink:caveats": list(caveats)} if caveats else {}),
        "assets": {
            "map": {
                "href": os.path.relpath(path, folder),
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "title": product["title"],
                "roles": ["data"],
                "file:checksum": "1220" + sha256,
                "file:size": path.stat().st_size,
                "bands": [
                    {
                        "name": band["name"],
                        "description": band["title"],
                        "unit": band["units"],
                        "data_type": "float32",
                        "nodata": "nan",
                    }
                    for band in product["bands"]
                ],
            }
        },
        "links": [
            {"rel": "collection", "href": "./collection.json", "type": "application/json"},
            {"rel": "parent", "href": "./collection.json", "type": "application/json"},
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
        ],
    }


TREE_COLUMNS = {
    "tree": ("1", "Name of the tree: 1 + the number of its top's cell on the canopy's grid, row by row from the north-west"),
    "height_m": ("m", "Canopy height at the top"),
    "area_m2": ("m2", "Area of the crown as seen from above"),
}
"""Columns of the layers of trees: unit and meaning."""


def canopy_item_of(
    product: dict, *, path: Path, trees: Path, folder: Path, sha256: Mapping[Path, str], grid: Grid, study: dict, flown: str
) -> dict:
    """A STAC item of a campaign's canopy height model and trees, dated by its flight."""
    item = item_of(product, path=path, folder=folder, sha256=sha256[path], grid=grid, study=study)
    item["stac_extensions"].append(TABLE)
    item["properties"]["datetime"] = f"{flown}T00:00:00Z"
    item["assets"]["trees"] = {
        "href": os.path.relpath(trees, folder),
        "type": "application/geopackage+sqlite3",
        "title": "Tree tops (points) and crowns (polygons)",
        "roles": ["data"],
        "file:checksum": "1220" + sha256[trees],
        "file:size": trees.stat().st_size,
        "table:columns": [
            {"name": name, "description": f"{meaning} ({units})"} for name, (units, meaning) in TREE_COLUMNS.items()
        ],
    }
    return item


def collection_of(study: dict, items: list[dict]) -> dict:
    """The STAC collection of a study's maps."""
    boxes = [item["bbox"] for item in items]
    box = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    years = study["years"]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": study["name"],
        "title": study["title"] or study["name"],
        "description": "Forest carbon stock and net removal maps with standard errors; positive = net removal by the forest.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [box]},
            "temporal": {"interval": [[f"{years[0]}-01-01T00:00:00Z", f"{years[-1]}-12-31T23:59:59Z"]]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *({"rel": "item", "href": f"./{item['id']}.json", "type": "application/geo+json"} for item in items),
        ],
    }


def _ring(grid: Grid) -> list[list[float]]:
    """The grid's outline in longitude and latitude."""
    from pyproj import Transformer

    west, south, east, north = grid.bounds
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return [[round(value, 7) for value in to_degrees.transform(x, y)] for x, y in corners]


def _box(ring: list[list[float]]) -> list[float]:
    lon, lat = [point[0] for point in ring], [point[1] for point in ring]
    return [min(lon), min(lat), max(lon), max(lat)]
