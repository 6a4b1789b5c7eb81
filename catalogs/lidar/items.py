"""Lidar tiles that a STAC catalogue lists: items, item collections and static catalogues, local or at an address."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin

from catalogs.lidar.ranges import is_remote, open_ranges
from catalogs.lidar.references import Bounds
from catalogs.remote.hrefs import RemoteError, Source, checked, shown

log = logging.getLogger(__name__)

LARGEST_JSON = 1 << 28
POINT_TYPES = ("copc", "laszip", "vnd.las", "vnd.laz", "las+zip")


def tiles_of_stac(source: str, access: Source) -> list[tuple[str, str | None]]:
    """Tiles of a STAC item, item collection, collection or static catalogue: (path or address, CRS of the item).

    An item without `proj:code`, `proj:epsg`, `proj:wkt2` or `proj:projjson` gives no CRS: then the file must. An item's
    `datetime` may be null, as those of 3DEP are: a campaign's date is set in the study.

    Raises
    ------
    FileNotFoundError
        If the file, or a file that it links to, is missing.
    ValueError
        If it is no STAC, no item of it has a LAS, LAZ or COPC asset, or it points where it may not (`catalogs.remote.checked`).
    """
    found = [tile for item, base in _items(source, access, set()) if (tile := _tile_of(item, base))]
    if not found:
        raise ValueError(f"no STAC item of {source} has a LAS, LAZ or COPC asset")
    return sorted(dict.fromkeys((_allowed(path, access), crs) for path, crs in found))


def tiles_of_api(
    address: str,
    collection: str,
    *,
    bounds: Bounds,
    crs: str,
    days: tuple[dt.date, dt.date],
    ids: str | None = None,
    access: Source,
) -> list[tuple[str, str | None]]:
    """Tiles that a STAC API lists in an area: (address, CRS of the item).

    Parameters
    ----------
    address, collection : str
        Of the API, and what is asked there, such as `3dep-lidar-copc`.
    bounds, crs
        West, south, east, north in a projected CRS.
    days : pair of dates
        First and last; an item whose `datetime` is null is there from its `start_datetime` to its `end_datetime`.
    ids : str, optional
        A pattern for the ids of items (`USGS_LPC_UT_StatewideSouth_2020*`), where several campaigns lie over one another.

    Raises
    ------
    ValueError
        If the API cannot be reached, has no such collection, or lists no tile there, with what there is instead.
    """
    import fnmatch

    import requests
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    from catalogs.footprints import Area
    from catalogs.search.catalogues import guarded_reader
    from catalogs.search.items import first_line

    found: dict[str, Mapping] = {}
    try:
        client = Client.open(address, stac_io=guarded_reader(address, access))
        offered = sorted(one.id for one in client.get_collections())
        if collection in offered:
            for box in Area(bounds, crs).boxes():
                search = client.search(
                    method="GET", collections=[collection], bbox=list(box), limit=100,
                    datetime=f"{days[0]}T00:00:00Z/{days[1]}T23:59:59Z",
                )  # fmt: skip
                found |= {str(item["id"]): item for item in search.items_as_dicts()}
    except (APIError, requests.RequestException, RemoteError) as error:
        raise ValueError(f"the catalogue {shown(address)} cannot be reached or refuses: {first_line(error)}") from None
    except Exception as error:  # what answers may be anything, a web page for one
        raise ValueError(f"{shown(address)} does not answer as a STAC API: {first_line(error)}") from None
    if collection not in offered:
        raise ValueError(f"{shown(address)} has no collection {collection}; it has {', '.join(offered)}")
    kept = {name: item for name, item in found.items() if ids is None or fnmatch.fnmatchcase(name, ids)}
    tiles = [tile for name in sorted(kept) if (tile := _tile_of(kept[name], address))]
    if not tiles:
        others = f"; {len(found)} items there do not match {ids}, such as {min(found)}" if found and not kept else ""
        raise ValueError(
            f"{shown(address)} lists no LAS, LAZ or COPC tile of {collection} in the area from {days[0]} to {days[1]}{others}"
        )
    log.info("%s lists %d tiles of %s in the area", shown(address), len(tiles), collection)
    return list(dict.fromkeys((_allowed(path, access), crs) for path, crs in tiles))


def _allowed(path: str, access: Source) -> str:
    """A path or address that a listing may point to; its setting is the campaign's."""
    try:
        checked(path, access)
    except RemoteError as error:
        raise type(error)(str(error).replace("of the sensor", "of the campaign")) from None
    return path


def _items(source: str, access: Source, seen: set[str]) -> Iterator[tuple[Mapping, str]]:
    """Items below a STAC document, each with the place its relative addresses start from."""
    if source in seen:
        return
    seen.add(source)
    content = _document(_allowed(source, access), access)
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "Feature":
        yield content, source
    elif kind == "FeatureCollection":
        for item in content.get("features", []):
            own = next((link["href"] for link in item.get("links", []) if link.get("rel") == "self"), None)
            yield item, _joined(source, own) if own else source
    elif kind in ("Catalog", "Collection"):
        for link in content.get("links", []):
            if link.get("rel") in ("child", "item", "items"):
                yield from _items(_joined(source, link["href"]), access, seen)
    else:
        raise ValueError(f"{source} is not a STAC item, item collection or catalogue (type {kind!r})")


def _document(source: str, access: Source) -> object:
    with open_ranges(source, access) as ranges:
        raw = ranges.read(0, min(ranges.size, LARGEST_JSON))
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON ({error})") from None


def _joined(base: str, href: str) -> str:
    if is_remote(href) or Path(href).is_absolute():
        return href
    return urljoin(base, href) if is_remote(base) else str(Path(base).parent / href)


def _tile_of(item: Mapping, base: str) -> tuple[str, str | None] | None:
    for asset in item.get("assets", {}).values():
        href, kind = asset.get("href", ""), asset.get("type") or ""
        if href.split("?", 1)[0].lower().endswith((".las", ".laz")) or any(name in kind for name in POINT_TYPES):
            return _joined(base, href), _crs(item.get("properties", {}), asset)
    return None


def _crs(properties: Mapping, asset: Mapping) -> str | None:
    for about in (asset, properties):
        if about.get("proj:projjson"):  # before the code: only it can hold a vertical part
            return json.dumps(about["proj:projjson"], sort_keys=True)
        if about.get("proj:wkt2"):
            return about["proj:wkt2"]
        if about.get("proj:code"):
            return about["proj:code"]
        if about.get("proj:epsg"):
            return f"EPSG:{about['proj:epsg']}"
    return None
