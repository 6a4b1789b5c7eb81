"""Lidar tiles that a STAC catalogue lists: items, item collections and static catalogues, local or at an address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin

from catalogs.lidar.ranges import is_remote, open_ranges

LARGEST_JSON = 1 << 28
POINT_TYPES = ("copc", "laszip", "vnd.las", "vnd.laz", "las+zip")


def tiles_of_stac(source: str) -> list[tuple[str, str | None]]:
    """Tiles of a STAC item, item collection, collection or static catalogue: (path or address, CRS of the item).

    An item without `proj:code`, `proj:epsg`, `proj:wkt2` or `proj:projjson` gives no CRS: then the file must. An item's
    `datetime` may be null, as those of 3DEP are: a campaign's date is set in the study.

    Raises
    ------
    FileNotFoundError
        If the file, or a file that it links to, is missing.
    ValueError
        If it is no STAC, or no item of it has a LAS, LAZ or COPC asset.
    """
    found = [tile for item, base in _items(source, set()) if (tile := _tile_of(item, base))]
    if not found:
        raise ValueError(f"no STAC item of {source} has a LAS, LAZ or COPC asset")
    return sorted(dict.fromkeys(found))


def _items(source: str, seen: set[str]) -> Iterator[tuple[Mapping, str]]:
    """Items below a STAC document, each with the place its relative addresses start from."""
    if source in seen:
        return
    seen.add(source)
    content = _document(source)
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
                yield from _items(_joined(source, link["href"]), seen)
    else:
        raise ValueError(f"{source} is not a STAC item, item collection or catalogue (type {kind!r})")


def _document(source: str) -> object:
    with open_ranges(source) as ranges:
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
