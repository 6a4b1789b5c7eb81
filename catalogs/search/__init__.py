"""Which scenes a study uses: a catalogue is asked once, its answer frozen with each scene's radiometry settled."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from catalogs.footprints import Area
from catalogs.radiometry import Sampler
from catalogs.search.catalogues import items_of
from catalogs.search.evidence import unless_unread
from catalogs.search.freezing import RASTERS, frozen_raster, items_touching, with_local_paths, with_relative_hrefs
from catalogs.search.items import sun_position
from catalogs.search.places import Place, address_of, check_catalogue, endpoints, is_local, masked, place_of, seen_from
from catalogs.search.question import Asked, Bounds, first_day, last_day, season_year
from catalogs.search.selection import Found
from catalogs.sensors import Sensor

__all__ = [
    "address_of", "check_catalogue", "endpoints", "find_scenes", "first_day", "is_local", "items_touching", "last_day",
    "season_year", "sun_position", "with_local_paths",
]  # fmt: skip

log = logging.getLogger(__name__)


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
    look: Sampler | None = None,
    check_radiometry: bool = False,
    orbit: str = "both",
    earlier: Mapping[str, Any] | None = None,
    today: dt.date | None = None,
    private_hosts: Sequence[str] = (),
    data_folders: Sequence[str] = (),
    on_scene_error: str = "fail",
    harmonise: str = "none",
) -> dict[str, Any]:
    """The scenes of an area, of some years and a season, as plain values that can be written to a file.

    Parameters
    ----------
    catalog : str
        A static STAC catalogue (file or folder), the address of a STAC API, or a name from `endpoints.yaml`. Of elevation
        a raster file (`RASTERS`) of metres as well.
    collection : str or None
        None asks for the collections the sensor is usually found under.
    bounds, crs
        West, south, east, north of the study area in its CRS.
    season : (str, str)
        First and last day as MM-DD. A season that wraps the new year belongs to the year it begins in.
    relative_to : path, optional
        Local files are written relative to this folder, so that results can be moved with it.
    look : callable, optional
        Looks at the pixels of a scene whose metadata leave its radiometry open (`radiometry.sample_scene`); without it
        such scenes are left out.
    check_radiometry : bool
        Looks at every scene, and leaves out those whose pixels contradict their metadata.
    orbit : str
        Passes of a radar that are used: ascending, descending or both; auto takes the direction that shows the area more
        often in the year that it shows it least, and stays with it when years are added.
    earlier : mapping, optional
        An earlier answer: years that it covers with the same question are kept as they are and not asked for again.
    today : date, optional
        The day of the search.
    private_hosts, data_folders : sequences of str
        Hosts in private networks and folders of this machine that the links of the catalogue may lead to, besides its own.
    on_scene_error : str
        What to do when pixels that are looked at cannot be read this time: `fail` stops, `drop` leaves the scene out.
    harmonise : str
        What reflectance is to be brought to (`catalogs.harmonisation`): scenes of a platform without published lines are
        left out here, where it is told, and not found in the middle of a run.

    Returns
    -------
    dict
        `sensor`, `query` (catalog, provider or None, collections, bounds, crs, years, season, max_cloud_percent,
        check_radiometry, static, searched {year: day}), `items` (by time and id: id, datetime, year, platform, overpass,
        tile, orbit_state, relative_orbit, crs, cloud_percent, sun
        {azimuth_deg, elevation_deg} or None, bbox in degrees, bounds in `crs`, bands {role: href, scale,
        offset, nodata}, quality {href} or None, evidence), `left_out` (id, year, reason). The items of a static sensor
        are of every year: their year is None. Of radar, `query` holds the `orbit` that was asked for and `orbit` the one
        that was taken.

    Raises
    ------
    FileNotFoundError, ValueError
        When the catalogue is missing, unreadable or out of reach, has no such collection, does not touch the area, or
        leaves a year without a scene; each says what there is instead.
    """
    raster = sensor.kind == "elevation" and Path(catalog).suffix.lower() in RASTERS
    source = Place(catalog, None, []) if raster else place_of(catalog, collection, sensor)
    area = Area(bounds, crs)
    query = {
        "catalog": seen_from(masked(source.address), relative_to),
        "provider": source.provider,
        "collections": source.collections,
        "bounds": [float(value) for value in bounds],
        "crs": crs,
        "years": [int(year) for year in years],
        "season": list(season),
        "max_cloud_percent": float(max_cloud_percent),
        "check_radiometry": check_radiometry,
        "static": sensor.static,
    } | ({"orbit": orbit} if sensor.kind == "radar" else {}) | ({"harmonise": harmonise} if harmonise != "none" else {})
    kept = _kept(earlier, query, sensor)
    asked = Asked(area, tuple(year for year in years if str(year) not in kept.searched), season, max_cloud_percent)
    own = f"{sensor.prefix} ({sensor.name})" if "_" in sensor.prefix else sensor.name  # one composite of several
    place = f"{own} in {masked(catalog)}" + (f", collection {collection}" if collection else "")
    found, direction = Found(), kept.orbit
    if asked.years and raster:
        found.items.append(frozen_raster(catalog, sensor, area))
    elif asked.years:
        for item in items_of(source, asked, sensor, {"private_hosts": private_hosts, "data_folders": data_folders}):
            found.sort_in(item, sensor, asked)
        found.freeze(sensor, asked, source, unless_unread(look, on_scene_error), check_radiometry, harmonise)
        if sensor.kind == "radar":
            direction = found.keep_passes(orbit if orbit != "auto" else direction, asked)
            log.info("%s: %s passes are used", place, direction)
        found.check(place, asked, sensor)
        found.tell(place, sensor)
    if kept.searched:
        log.info("%s: years %s are kept as they were frozen", place, ", ".join(sorted(kept.searched)))
    searched = kept.searched | {str(year): (today or dt.datetime.now(dt.UTC).date()).isoformat() for year in asked.years}
    items = kept.items + [with_relative_hrefs(item, relative_to) for item in found.items]
    left_out = kept.left_out + found.left_out
    return {
        "sensor": sensor.name,
        "query": query | {"searched": dict(sorted(searched.items()))},
        "items": sorted(items, key=lambda item: (item["datetime"] or "", item["id"])),
        "left_out": sorted(left_out, key=lambda entry: (entry["id"], entry["year"] or 0, entry["reason"])),
    } | ({"orbit": direction} if sensor.kind == "radar" else {})


class _Kept(NamedTuple):
    """What is taken over from an earlier answer."""

    searched: dict[str, str]
    items: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    orbit: str | None = None


def _kept(earlier: Mapping[str, Any] | None, query: Mapping[str, Any], sensor: Sensor) -> _Kept:
    """The years of an earlier answer to the same question; nothing when anything but the years differs."""
    before = dict((earlier or {}).get("query", {}))
    searched, years = before.pop("searched", {}), before.pop("years", [])
    if not searched or before != {name: value for name, value in query.items() if name != "years"}:
        return _Kept({}, [], [])
    if sensor.static:  # shows every year alike
        day = max(searched.values())
        return _Kept({str(year): day for year in query["years"]}, list(earlier["items"]), list(earlier["left_out"]))
    years = set(years) & set(query["years"])
    return _Kept(
        {year: day for year, day in searched.items() if int(year) in years},
        [item for item in earlier["items"] if item["year"] in years],
        [entry for entry in earlier["left_out"] if entry["year"] in years],
        earlier.get("orbit"),
    )
