"""Tiles of a campaign, by their headers: where they lie, in which CRS and units, and what is wrong with them."""

from __future__ import annotations

import datetime as dt
import glob
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.lidar import references
from catalogs.lidar.headers import Header, days, first_points, header_of, pieces_of, refuse_overflow
from catalogs.lidar.ranges import is_remote, open_ranges
from catalogs.lidar.references import Bounds
from catalogs.remote.hrefs import Source

log = logging.getLogger(__name__)

HEADER_TOLERANCE = 1.0  # a tile's points may leave its header's box by this much, in its own unit
FIRST_POINTS = 16  # looked at per tile before anything is decoded
MAX_DAYS_APART = 400  # flights of one campaign: one leaf season, or two of the same kind in a row
ENDINGS = (".las", ".laz")


@dataclass(frozen=True)
class Tile:
    """A point file, or a canopy height raster, as its header describes it.

    `bounds` are west, south, east, north in the unit of `crs`; `points` counts points, or cells of a raster.
    `vertical_unit` is what the file says of heights (None where it says nothing). `fingerprint` changes with the
    file's size, first or last 64 kB: a LAZ keeps its chunk table at its end. `flown` are the first and last day of
    flight among the points looked at, `created` the day the file was written; None where the file does not say. `access` is
    how an address is asked, None for one that the user named.
    """

    path: str
    bounds: Bounds
    points: int
    crs: str | None
    point_format: int | None
    fingerprint: str
    vertical_unit: str | None = None
    flown: tuple[dt.date, dt.date] | None = None
    created: dt.date | None = None
    access: Source | None = None


def index_tiles(
    source: str | Sequence[str],
    *,
    crs: str | None = None,
    max_days_apart: int | None = MAX_DAYS_APART,
    access: Source | None = None,
    item_crs: str | None = None,
) -> list[Tile]:
    """The LAS, LAZ and COPC tiles of a campaign, from their headers and a few points each.

    Parameters
    ----------
    source : str or sequence of str
        A folder (its *.las, *.laz and *.copc.laz, by name), a file, a pattern such as `tiles/*.laz`, an http(s) address
        of a file, a STAC item, item collection or static catalogue (`.json`, local or at an address), or a list of these.
    crs : str, optional
        What the tiles' coordinates are in; it replaces whatever the files say, vertical unit included.
    max_days_apart : int, optional
        How many days the flights of one campaign may lie apart; None for any.
    access : Source, optional
        Where addresses come from, which decides how they are signed and what they may lead to; of addresses that the user
        named, and of listings, each its own.
    item_crs : str, optional
        What the items of a listing said of the CRS, where `source` names the tiles that were in it.

    Raises
    ------
    FileNotFoundError
        If the folder, a file, or any tile in the folder is missing.
    ValueError
        If a tile is damaged, cut off or empty; if its CRS is missing, geographic, or impossible for its coordinates; if
        its header lies about where its points are; if tiles differ in CRS, vertical unit or time; if two files hold the
        same points.

    References
    ----------
    ASPRS LAS specification 1.4 R15, public header block and variable length records.
    """
    found = tile_paths(source, access=access)
    tiles = [read_tile(path, crs=crs, item_crs=of_item or item_crs, access=there) for path, of_item, there in found]
    for sentence in disagreements(tiles, max_days_apart=max_days_apart):
        raise ValueError(sentence)
    created = [tile for tile in tiles if tile.created]
    if created and not any(tile.flown for tile in tiles):
        first, last = min(created, key=lambda tile: tile.created), max(created, key=lambda tile: tile.created)
        if max_days_apart is not None and (last.created - first.created).days > max_days_apart:
            log.warning(
                "%s was written on %s, %s on %s, and the tiles do not say when they were flown; make sure that they are one "
                "campaign", first.path, first.created, last.path, last.created,
            )  # fmt: skip
    return tiles


Listed = tuple[str, str | None, Source | None]


def tile_paths(source: str | Sequence[str], *, access: Source | None = None) -> list[Listed]:
    """Paths or addresses of the tiles behind a setting, each with the CRS its STAC item gives and how it is asked (or None)."""
    if not isinstance(source, str | Path):
        listed = [found for part in source for found in tile_paths(part, access=access)]
        if not listed:
            raise ValueError("the list of lidar tiles is empty")
        return list(dict.fromkeys(listed))
    source = str(source)
    if is_listing(source):
        from catalogs.lidar.items import tiles_of_stac

        there = access or Source(source)
        return [(path, crs, there if is_remote(path) else None) for path, crs in tiles_of_stac(source, there)]
    if is_remote(source):
        return [(source, None, access)]
    path = Path(source)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        if not found:
            raise FileNotFoundError(f"there is no .las or .laz file in the folder {source}")
    elif path.is_file():
        found = [path]
    elif glob.has_magic(source):
        found = sorted(Path(file) for file in glob.glob(source, recursive=True))
        found = [file for file in found if file.is_file() and file.suffix.lower() in ENDINGS]
        if not found:
            raise FileNotFoundError(f"no .las or .laz file has a name like {source}")
    else:
        raise FileNotFoundError(f"lidar tile or folder {source} does not exist")
    return [(str(file), None, None) for file in found]


def read_tile(
    path: str, *, crs: str | None = None, item_crs: str | None = None, access: Source | None = None
) -> Tile:
    """One tile from its header and the first points of a few of its pieces; see `index_tiles` for what is refused."""
    with open_ranges(path, access) as ranges:
        header = header_of(path, ranges)
        points = first_points(header, ranges, pieces_of(header, ranges), at_most=FIRST_POINTS)
    found, unit = tile_crs(header, crs=crs, item_crs=item_crs)
    refuse_overflow(points)
    refuse_lying_box(header, points.place(0), points.place(1))
    references.refuse_impossible_place(found, header.bounds, path, declared=crs is not None)
    return Tile(
        path, header.bounds, header.points, found, header.point_format, header.fingerprint, unit,
        days(header, points.time), header.creation, access,
    )  # fmt: skip


def access_of(campaign: Mapping[str, Any]) -> Source | None:
    """How the addresses of a campaign (`config.Campaign` as plain values) are asked; None where the user named each.

    A catalogue's provider decides how addresses are signed. `listed_by` is the listing that frozen tiles came from.
    """
    from catalogs.search import address_of

    allowed = {name: tuple(campaign.get(name) or ()) for name in ("private_hosts", "data_folders")}
    if campaign.get("catalog"):
        address, provider = address_of(campaign["catalog"])
        return Source(address, provider, **allowed)
    points = campaign.get("points") or ()
    listed = [path for path in ([points] if isinstance(points, str) else points) if is_listing(path)]
    listing = campaign.get("listed_by") or next(iter(listed), None)
    return Source(listing, None, **allowed) if listing else None


def is_listing(path: str) -> bool:
    """Whether a setting names a STAC document instead of a tile."""
    return str(path).split("?", 1)[0].lower().endswith(".json")


def tile_crs(header: Header, *, crs: str | None = None, item_crs: str | None = None) -> tuple[str, str | None]:
    """CRS and vertical unit of a tile: as set, else as the file says, else as its STAC item says."""
    path = header.path
    if crs:
        return references.checked_crs(crs, path, declared=True), None
    said, unit = references.crs_of_records(header.records)
    if said and item_crs and not references.same_crs(said, item_crs):
        raise ValueError(
            f"{path} says it is in {references.crs_name(said)}, its STAC item says {references.crs_name(item_crs)}; set crs "
            "of the campaign to the right one"
        )
    found = said or item_crs
    if found is None:
        raise ValueError(f"{path} does not say which CRS its coordinates are in; set crs of the campaign")
    found = references.checked_crs(found, path)
    heights = references.vertical_unit(found) or (references.vertical_unit(item_crs) if item_crs else None)
    return found, unit or heights


def refuse_lying_box(header: Header, x: np.ndarray, y: np.ndarray) -> None:
    """Raise where points lie outside the box that the header gives: a window there would miss them."""
    west, south, east, north = header.bounds
    outside = max(west - x.min(), x.max() - east, south - y.min(), y.max() - north)
    if not outside <= HEADER_TOLERANCE:
        raise ValueError(
            f"{header.path} holds points {outside:.1f} outside the box that its header gives; write it again with a "
            "right header, so that no window misses its points"
        )


def disagreements(tiles: Sequence[Tile], *, max_days_apart: int | None = MAX_DAYS_APART) -> list[str]:
    """Sentences on tiles that cannot be of one campaign: other CRS, other units, other years, the same points twice."""
    first = tiles[0]
    found: list[str] = []
    seen: dict[tuple, str] = {}
    for tile in tiles:
        if tile.crs != first.crs and not references.same_crs(tile.crs, first.crs):
            found.append(
                f"tiles of one campaign differ in CRS: {first.path} is in {references.crs_name(first.crs)}, {tile.path} in "
                f"{references.crs_name(tile.crs)}; make two campaigns of them, or set crs if the files are wrong"
            )
        if tile.vertical_unit != first.vertical_unit:
            found.append(
                f"tiles of one campaign differ in vertical unit: {first.path} says {first.vertical_unit or 'nothing'}, "
                f"{tile.path} says {tile.vertical_unit or 'nothing'}; make two campaigns of them, or set crs and vertical_unit"
            )
        twin = seen.setdefault((tile.bounds, tile.points), tile.path)
        if twin != tile.path:
            found.append(f"{twin} and {tile.path} hold the same points (same box, same count); keep one of them")
    flown = [tile for tile in tiles if tile.flown]
    if flown and max_days_apart is not None:
        early, late = min(flown, key=lambda tile: tile.flown[0]), max(flown, key=lambda tile: tile.flown[1])
        apart = (late.flown[1] - early.flown[0]).days
        if apart > max_days_apart:
            found.append(
                f"tiles of two campaigns are mixed: {early.path} was flown on {early.flown[0]}, {late.path} on "
                f"{late.flown[1]}, {apart} days apart; make two campaigns of them, or raise max_days_apart ({max_days_apart}) "
                "if one date may stand for both"
            )
    return found
