"""Which scenes a study uses: a catalogue is asked once, its answer frozen with each scene's radiometry settled."""

from __future__ import annotations

import calendar
import datetime as dt
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from catalogs.remote import plain_id
from catalogs.sensors import Sensor, asset_key, declared, radiometry

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]

FOOTPRINT_MARGIN_M = 100.0
"""Footprints are drawn coarsely in degrees: a scene touches a place when it comes this close to it."""


def find_scenes(
    sensor: Sensor,
    *,
    catalog: str,
    collection: str | None,
    bounds: Bounds,
    crs: str,
    years: Sequence[int],
    season: tuple[str, str],
    max_cloud_percent: float,
    relative_to: str | Path | None = None,
) -> dict[str, Any]:
    """The scenes of an area, of some years and a season, as plain values that can be written to a file.

    Parameters
    ----------
    catalog : str
        A static STAC catalogue (file or folder), the address of a STAC API, or a name from `endpoints.yaml`.
    collection : str or None
        None asks for the collections the sensor is usually found under.
    bounds, crs
        West, south, east, north of the study area in its CRS.
    season : (str, str)
        First and last day as MM-DD. A season that wraps the new year belongs to the year it begins in.
    relative_to : path, optional
        Local files are written relative to this folder, so that results can be moved with it.

    Returns
    -------
    dict
        `sensor`, `query`, `items` (by time and id: id, datetime, year, platform, cloud_percent, bbox in degrees,
        bounds in `crs`, bands {role: href, scale, offset, nodata}, quality {href}, evidence), `left_out` (id, reason).

    Raises
    ------
    FileNotFoundError, ValueError
        When the catalogue is missing, unreadable or out of reach, has no such collection, does not touch the area, or
        leaves a year without a scene; each says what there is instead.
    """
    address, wanted = _where(catalog, collection, sensor)
    asked = _Asked(_area(bounds, crs), tuple(years), season, max_cloud_percent)
    found = _Found()
    for item in _items(address, wanted, asked, sensor):
        found.sort_in(item, sensor, asked, relative_to)
    place = f"{sensor.name} in {catalog}" + (f", collection {collection}" if collection else "")
    found.check(place, asked)
    unknown = sum(item["cloud_percent"] is None for item in found.items)
    log.info("%s: kept %d of %d scenes of the area and season", place, len(found.items), len(found.in_season))
    if unknown:
        log.warning("%s: %d scenes state no cloud cover and are kept", place, unknown)
    query = {
        "catalog": _relative(address, relative_to),
        "collections": wanted,
        "bounds": [float(value) for value in bounds],
        "crs": crs,
        "years": list(years),
        "season": list(season),
        "max_cloud_percent": float(max_cloud_percent),
    }
    return {
        "sensor": sensor.name,
        "query": query,
        "items": sorted(found.items, key=lambda item: (item["datetime"], item["id"])),
        "left_out": sorted(found.left_out, key=lambda entry: (entry["id"], entry["reason"])),
    }


def items_touching(frozen: Mapping[str, Any], year: int, bounds: Bounds) -> list[dict[str, Any]]:
    """The frozen items of a year that touch `bounds` (study CRS), in their frozen order."""
    west, south, east, north = bounds
    return [
        item
        for item in frozen["items"]
        if item["year"] == year
        and item["bounds"][0] < east
        and item["bounds"][2] > west
        and item["bounds"][1] < north
        and item["bounds"][3] > south
    ]


def with_local_paths(frozen: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
    """Frozen scenes whose relative hrefs are resolved from the folder that holds their file."""

    def resolve(entry: Mapping[str, Any]) -> dict[str, Any]:
        href = entry["href"]
        return {**entry, "href": href if _is_remote(href) else os.path.normpath(os.path.join(folder, href))}

    items = [
        {
            **item,
            "bands": {role: resolve(band) for role, band in item["bands"].items()},
            "quality": resolve(item["quality"]),
        }
        for item in frozen["items"]
    ]
    return {**frozen, "items": items}


def season_year(moment: dt.datetime | None, years: Sequence[int], season: tuple[str, str]) -> int | None:
    """The year whose season holds a moment, or None."""
    if moment is None:
        return None
    return next((year for year in years if first_day(year, season) <= moment.date() <= last_day(year, season)), None)


@cache
def endpoints() -> dict[str, dict[str, Any]]:
    """Catalogues known by name."""
    import yaml

    return yaml.safe_load((Path(__file__).parent / "endpoints.yaml").read_text(encoding="utf-8"))


def first_day(year: int, season: tuple[str, str]) -> dt.date:
    """First day of a season (month and day of its ends) that belongs to a year."""
    return _day(year, season[0])


def last_day(year: int, season: tuple[str, str]) -> dt.date:
    """Last day of a season of a year; of a season across new year it lies in the year after."""
    return _day(year + (season[1] < season[0]), season[1])


def _day(year: int, month_day: str) -> dt.date:
    month, day = map(int, month_day.split("-"))
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))


def _where(catalog: str, collection: str | None, sensor: Sensor) -> tuple[str, list[str]]:
    """Address of a catalogue and the collections to look in; an endpoint's own choice comes first."""
    known = endpoints().get(catalog) or next((e for e in endpoints().values() if e["url"] == catalog.rstrip("/")), None)
    if known is None:
        return catalog, [collection] if collection else list(sensor.collections)
    if sensor.name not in known["collections"]:
        raise ValueError(f"{catalog} offers no {sensor.name}; it offers {', '.join(known['collections'])}")
    access = known["access"][sensor.name]
    if access != "open":
        log.warning("%s: files of %s are not open (%s): reading them needs credentials", catalog, sensor.name, access)
    return known["url"], [collection or known["collections"][sensor.name]]


def _is_remote(address: str) -> bool:
    return "://" in address and not address.startswith("file://")


def _relative(href: str, folder: str | Path | None) -> str:
    """A local path as seen from `folder`, with forward slashes; anything else as it is."""
    if _is_remote(href):
        return href
    path = href.removeprefix("file://")
    return Path(os.path.relpath(path, folder)).as_posix() if folder is not None else path


# ---------------------------------------------------------------- catalogues


def _items(address: str, wanted: list[str], asked: _Asked, sensor: Sensor) -> Iterator[dict[str, Any]]:
    if address.startswith(("http://", "https://")) and not address.endswith(".json"):
        yield from _api_items(address, wanted, asked)
    else:
        yield from _static_items(address, wanted, sensor)


def _static_items(address: str, wanted: list[str], sensor: Sensor) -> Iterator[dict[str, Any]]:
    """Items of a static catalogue whose collection is wanted, with absolute hrefs."""
    import pystac

    file = _catalog_file(address)
    others: set[str] = set()
    found = 0
    try:
        for item in pystac.Catalog.from_file(file).get_items(recursive=True):
            parent = item.get_parent()
            name = item.collection_id or (parent.id if parent is not None else "")
            if name not in wanted:
                others.add(name)
                continue
            found += 1
            item.make_asset_hrefs_absolute()
            yield item.to_dict(include_self_link=False, transform_hrefs=False)
    except Exception as error:  # pystac lets through whatever a foreign file provokes, bare Exception included
        raise ValueError(f"{address} is not a readable STAC catalogue: {_first_line(error)}") from None
    if not found:
        held = f"it holds {', '.join(sorted(others))}" if others else "it holds no items"
        raise ValueError(f"{address} has no scenes of {sensor.name} (looked for {' or '.join(wanted)}); {held}")


def _catalog_file(address: str) -> str:
    if _is_remote(address):
        return address
    path = Path(address.removeprefix("file://"))
    if path.is_dir():
        path = next((path / name for name in ("catalog.json", "collection.json") if (path / name).is_file()), path)
    if path.is_dir():
        raise FileNotFoundError(f"{address} holds neither catalog.json nor collection.json: it is not a STAC catalogue")
    if not path.is_file():
        near = f"; catalogues known by name: {', '.join(endpoints())}" if path.parent == Path() else ""
        raise FileNotFoundError(f"the catalogue {address} does not exist{near}")
    return str(path.resolve())


def _api_items(address: str, wanted: list[str], asked: _Asked) -> Iterator[dict[str, Any]]:
    """Items of a STAC API in the area and the seasons, asked for year by year."""
    import requests
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    found = 0
    try:
        client = Client.open(address)
        offered = {collection.id: collection for collection in client.get_collections()}
        chosen = [name for name in wanted if name in offered]
        for year in asked.years if chosen else ():
            days = f"{first_day(year, asked.season)}T00:00:00Z/{last_day(year, asked.season)}T23:59:59Z"
            search = client.search(collections=chosen, bbox=list(asked.area.lonlat.bounds), datetime=days, limit=100)
            for item in search.items_as_dicts():
                found += 1
                yield item
    except (APIError, requests.RequestException) as error:
        raise ValueError(f"the catalogue {address} cannot be reached or refuses: {_first_line(error)}") from None
    except Exception as error:  # what answers may be anything, a web page for one
        raise ValueError(f"{address} does not answer as a STAC API: {_first_line(error)}") from None
    if not chosen:
        raise ValueError(f"{address} has no collection {' or '.join(wanted)}; it has {', '.join(sorted(offered))}")
    if not found:
        box = offered[chosen[0]].extent.spatial.bboxes[0]
        raise ValueError(
            f"{address} has no scene of {chosen[0]} for {asked.area} from {asked.season[0]} to {asked.season[1]} of "
            f"{', '.join(map(str, asked.years))}; the collection spans {_degrees(*_flat(box))}"
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


# ---------------------------------------------------------------- footprints


class _Area:
    """The study area as a polygon in degrees, with the way back into the study's CRS."""

    def __init__(self, lonlat: Any, crs: str) -> None:
        self.lonlat, self.crs = lonlat, crs

    def __str__(self) -> str:
        return f"an area at {_degrees(*self.lonlat.bounds)}"


def _area(bounds: Bounds, crs: str) -> _Area:
    import shapely
    from pyproj import Transformer

    edge = shapely.segmentize(shapely.box(*bounds), max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 20)
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    return _Area(shapely.transform(edge, to_degrees.transform, interleaved=False), crs)


def _degrees(west: float, south: float, east: float, north: float) -> str:
    return f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"


def _footprint(item: Mapping[str, Any]) -> Any | None:
    """An item's footprint in degrees: its geometry, else its bbox."""
    import shapely
    from shapely.geometry import shape

    try:
        footprint = shape(item["geometry"])
    except (KeyError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError):
        footprint = None
    if footprint is not None and not footprint.is_empty:
        return footprint if footprint.is_valid else footprint.buffer(0)
    box = item.get("bbox") or ()
    return shapely.box(*_flat(box)) if len(box) in (4, 6) else None


def _flat(box: Sequence[float]) -> Bounds:
    """West, south, east, north of a bbox that may hold heights as well."""
    half = len(box) // 2
    return box[0], box[1], box[half], box[half + 1]


def _bounds_in(item: Mapping[str, Any], crs: str) -> list[float]:
    """Bounds of an item's footprint in the study's CRS, widened by the margin, whole metres."""
    import numpy as np
    import shapely
    from pyproj import Transformer

    edge = shapely.segmentize(_footprint(item), 0.05)
    to_study = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    corners = np.asarray(to_study.transform(*shapely.get_coordinates(edge).T))
    corners = corners[:, np.isfinite(corners).all(axis=0)]
    low, high = corners.min(axis=1) - FOOTPRINT_MARGIN_M, corners.max(axis=1) + FOOTPRINT_MARGIN_M
    return [float(value) for value in (*np.floor(low), *np.ceil(high))]


# ---------------------------------------------------------------- one item


def _moment(item: Mapping[str, Any]) -> dt.datetime | None:
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _cloud_percent(item: Mapping[str, Any]) -> float | None:
    value = item.get("properties", {}).get("eo:cloud_cover")
    return float(value) if isinstance(value, int | float) else None


def _clear_enough(item: Mapping[str, Any], max_cloud_percent: float) -> None:
    cloud = _cloud_percent(item)
    if cloud is not None and cloud > max_cloud_percent:
        raise ValueError(f"cloud cover {cloud:g} % is above max_cloud_percent {max_cloud_percent:g}")


def _frozen(
    item: Mapping[str, Any], sensor: Sensor, year: int, area: _Area, relative_to: str | Path | None
) -> dict[str, Any]:
    """What later steps need of an item; ValueError with the reason when it cannot be used."""
    quality = asset_key(item, sensor.quality.keys)
    bands: dict[str, dict[str, Any]] = {}
    evidence = ""
    for role, band in sensor.bands.items():
        key = asset_key(item, band.keys)
        if key is None:
            continue
        settled = radiometry(item, sensor, role)
        asset = item["assets"][key]
        bands[role] = {
            "href": _relative(asset["href"], relative_to),
            "scale": settled.scale,
            "offset": settled.offset,
            "nodata": declared(asset).get("nodata", sensor.nodata),
        }
        evidence = evidence or settled.evidence
    if not bands:
        raise ValueError(f"no asset of a band of {sensor.name}; it has {', '.join(sorted(item.get('assets', {})))}")
    if quality is None:
        raise ValueError(f"no quality layer (looked for {', '.join(sensor.quality.keys)}): clouds cannot be told")
    box = _footprint(item).bounds
    return {
        "id": item["id"],
        "datetime": _moment(item).isoformat().replace("+00:00", "Z"),
        "year": year,
        "platform": str(item["properties"].get("platform") or "").lower().replace("_", "-"),
        "cloud_percent": _cloud_percent(item),
        "bbox": [round(value, 6) for value in box],
        "bounds": _bounds_in(item, area.crs),
        "bands": bands,
        "quality": {"href": _relative(item["assets"][quality]["href"], relative_to)},
        "evidence": evidence,
    }


# ---------------------------------------------------------------- what was found


class _Asked(NamedTuple):
    area: _Area
    years: tuple[int, ...]
    season: tuple[str, str]
    max_cloud_percent: float


class _Found:
    """Items kept and left out, and what a sentence about a failed search needs."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.left_out: list[dict[str, str]] = []
        self.in_season: dict[str, tuple[int, dict[str, Any]]] = {}
        self.boxes: list[Bounds] = []
        self.days: list[dt.date] = []

    def sort_in(self, item: dict[str, Any], sensor: Sensor, asked: _Asked, relative_to: str | Path | None) -> None:
        """Keep an item, or note why not; what lies elsewhere or in another season is passed over."""
        item = {**item, "id": plain_id(item.get("id"))}
        footprint, moment = _footprint(item), _moment(item)
        if footprint is None or moment is None:
            lacks = "footprint" if footprint is None else "datetime"
            self.left_out.append({"id": item["id"], "reason": f"no {lacks}"})
            return
        self.boxes.append(footprint.bounds)
        if not footprint.intersects(asked.area.lonlat):
            return
        self.days.append(moment.date())
        year = season_year(moment, asked.years, asked.season)
        if year is None:
            return
        if item["id"] in self.in_season:
            self.left_out.append({"id": item["id"], "reason": "listed more than once: the first is used"})
            return
        self.in_season[item["id"]] = year, item
        try:
            _clear_enough(item, asked.max_cloud_percent)
            self.items.append(_frozen(item, sensor, year, asked.area, relative_to))
        except ValueError as error:
            self.left_out.append({"id": item["id"], "reason": str(error)})

    def check(self, place: str, asked: _Asked) -> None:
        """ValueError for a year without a usable scene: one sentence that says what there is instead."""
        empty = [year for year in asked.years if not any(item["year"] == year for item in self.items)]
        if empty and not self.days:
            raise ValueError(f"{place}: no scene touches the study area, {asked.area}; {self._extent()}")
        if empty:
            raise ValueError(f"{place}: " + "; ".join(self._why_empty(year, asked) for year in empty))

    def _extent(self) -> str:
        if not self.boxes:
            return "the catalogue's scenes have no footprints"
        west, south, east, north = zip(*self.boxes, strict=True)
        return f"the catalogue's scenes span {_degrees(min(west), min(south), max(east), max(north))}"

    def _why_empty(self, year: int, asked: _Asked) -> str:
        mine = [item for item_year, item in self.in_season.values() if item_year == year]
        days = f"{first_day(year, asked.season)} to {last_day(year, asked.season)}"
        if not mine:
            return f"{year} has no scene from {days} (those of the area date from {min(self.days)} to {max(self.days)})"
        cloudy = [item for item in mine if (_cloud_percent(item) or 0) > asked.max_cloud_percent]
        if len(cloudy) == len(mine):
            best = min(mine, key=lambda item: (_cloud_percent(item), item["id"]))
            return (
                f"{year} has {len(mine)} scenes from {days}, all above max_cloud_percent {asked.max_cloud_percent:g}; "
                f"the clearest, {best['id']}, has {_cloud_percent(best):g} %"
            )
        first = next(item["id"] for item in mine if item not in cloudy)
        reason = next(entry["reason"] for entry in self.left_out if entry["id"] == first)
        return f"{year} has {len(mine)} scenes from {days}, none usable; {first}: {reason}"
