"""Frozen scenes: what later steps need of an item, as plain values that can be written to a file and read back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from catalogs.footprints import Area, bbox_of, bounds_in, footprint_of
from catalogs.remote import plain_id
from catalogs.search.items import cloud_percent, first_line, moment_of, overpass_of, relative_orbit_of, sun_position
from catalogs.search.places import Place, is_remote, seen_from
from catalogs.search.question import Bounds
from catalogs.sensors import Radiometry, Sensor, Undecided, asset_key, crs_of, declared, radiometry

RASTERS = (".tif", ".tiff")
"""Endings of a raster file that may stand in place of a catalogue of elevations."""

RASTER_TYPES = ("float32", "float64", "int16", "int32")


class Doubt(NamedTuple):
    """A frozen item whose bands `roles` wait for pixels to settle their radiometry, and why."""

    item: dict[str, Any]
    roles: list[str]
    why: Undecided | None


def frozen_item(item: Mapping[str, Any], sensor: Sensor, year: int | None, area: Area, source: Place) -> Doubt:
    """What later steps need of an item, hrefs as the catalogue has them; ValueError when it cannot be used."""
    quality = asset_key(item, sensor.quality.keys) if sensor.quality else None
    bands: dict[str, dict[str, Any]] = {}
    evidence, open_roles, why = "", [], None
    for role, band in sensor.bands.items():
        key = asset_key(item, band.keys)
        if key is None:
            continue
        asset = item["assets"][key]
        try:
            found = radiometry(item, sensor, role)
        except Undecided as error:
            found, why = Radiometry(0.0, 0.0, ""), error
            open_roles.append(role)
        bands[role] = {
            "href": source.href(asset),
            "scale": found.scale,
            "offset": found.offset,
            "nodata": declared(asset).get("nodata", sensor.nodata),
        }
        evidence = evidence or found.evidence
    if not bands:
        raise ValueError(f"no asset of a band of {sensor.name}; it has {', '.join(sorted(item.get('assets', {})))}")
    if sensor.kind == "radar" and len(bands) < len(sensor.bands):
        raise ValueError(f"shows {', '.join(bands)} only; {' and '.join(sensor.bands)} are needed")
    if sensor.quality and quality is None:
        raise ValueError(f"no quality layer (looked for {', '.join(sensor.quality.keys)}): clouds cannot be told")
    properties, identity, moment = item.get("properties", {}), sensor.identify(item), moment_of(item)
    footprint = footprint_of(item)
    frozen = {
        "id": item["id"],
        "datetime": moment.isoformat().replace("+00:00", "Z") if moment else None,
        "year": year,
        "platform": str(properties.get("platform") or "").lower().replace("_", "-"),
        "tile": identity.tile if identity else None,
        "overpass": overpass_of(item, identity, moment) if not sensor.static else None,
        "orbit_state": properties.get("sat:orbit_state"),
        "relative_orbit": relative_orbit_of(item),
        "crs": crs_of(item, item["assets"][asset_key(item, sensor.bands[next(iter(bands))].keys)]),
        "cloud_percent": cloud_percent(item),
        "sun": sun_position(properties),
        "bbox": [round(value, 6) for value in bbox_of(footprint)],
        "bounds": bounds_in(footprint, area.crs),
        "bands": bands,
        "quality": {"href": source.href(item["assets"][quality])} if quality else None,
        "evidence": evidence,
    }
    return Doubt(frozen, open_roles, why)


def frozen_raster(file: str, sensor: Sensor, area: Area) -> dict[str, Any]:
    """A raster of elevations as a frozen item; ValueError when it is none or lies elsewhere."""
    import hashlib

    import rasterio
    from pyproj import CRS, Transformer
    from rasterio.errors import RasterioError

    try:
        with open(file, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()  # a file that is replaced is another item
        with rasterio.open(file) as raster:
            crs, bounds, data_type, nodata = raster.crs, raster.bounds, raster.dtypes[0], raster.nodata
    except RasterioError as error:
        raise ValueError(f"{file} cannot be read as a raster: {first_line(error)}") from None
    if crs is None:
        raise ValueError(f"{file} has no coordinate reference system")
    if data_type not in RASTER_TYPES:
        raise ValueError(f"{file} holds {data_type}; elevations in metres as one of {', '.join(RASTER_TYPES)} are needed")
    here = Transformer.from_crs(crs.to_wkt(), area.crs, always_xy=True).transform_bounds(*bounds)
    west, south, east, north = area.bounds
    if not (here[0] < east and here[2] > west and here[1] < north and here[3] > south):
        raise ValueError(f"{file} does not touch the study area, {area}")
    degrees = Transformer.from_crs(crs.to_wkt(), "OGC:CRS84", always_xy=True).transform_bounds(*bounds)
    code = CRS.from_wkt(crs.to_wkt()).to_epsg()
    missing = nodata if nodata is not None else (-32768 if data_type.startswith("int") else None)
    (role,) = sensor.bands
    return {
        "id": plain_id(Path(file).stem),
        "datetime": None,
        "year": None,
        "platform": "",
        "tile": None,
        "overpass": None,
        "orbit_state": None,
        "relative_orbit": None,
        "crs": f"EPSG:{code}" if code else None,
        "cloud_percent": None,
        "bbox": [round(value, 6) for value in degrees],
        "bounds": [float(value) for value in here],
        "bands": {
            role: {"href": str(file), "scale": 1.0, "offset": 0.0, "nodata": missing, "data_type": data_type}
        },
        "quality": None,
        "digest": digest,
        "evidence": "a raster file named by the study: metres, as they are",
    }


def items_touching(frozen: Mapping[str, Any], year: int, bounds: Bounds) -> list[dict[str, Any]]:
    """The frozen items of a year (of a static sensor: all) that touch `bounds` (study CRS), in their frozen order."""
    west, south, east, north = bounds
    return [
        item
        for item in frozen["items"]
        if item["year"] in (year, None)
        and item["bounds"][0] < east
        and item["bounds"][2] > west
        and item["bounds"][1] < north
        and item["bounds"][3] > south
    ]


def with_local_paths(frozen: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
    """Frozen scenes whose relative hrefs are resolved from the folder that holds their file."""

    def resolved(href: str) -> str:
        return href if is_remote(href) else os.path.normpath(os.path.join(folder, href))

    return {**frozen, "items": [_with_hrefs(item, resolved) for item in frozen["items"]]}


def with_relative_hrefs(item: Mapping[str, Any], folder: str | Path | None) -> dict[str, Any]:
    """A frozen item whose local files are named as seen from a folder."""
    return _with_hrefs(item, lambda href: seen_from(href, folder))


def _with_hrefs(item: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A frozen item whose hrefs are changed."""
    bands = {role: {**band, "href": change(band["href"])} for role, band in item["bands"].items()}
    quality = item["quality"] and {**item["quality"], "href": change(item["quality"]["href"])}
    return {**item, "bands": bands, "quality": quality}
