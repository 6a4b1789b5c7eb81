"""Which scenes a study uses: a catalogue is asked once, its answer frozen with each scene's radiometry settled."""

from __future__ import annotations

import calendar
import datetime as dt
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from catalogs import remote
from catalogs.footprints import Area, bbox_of, bounds_in, flat, footprint_of, in_words
from catalogs.radiometry import Missing, Sampler, Unread, checked, settled
from catalogs.remote import plain_id, shown
from catalogs.remote.signing import signs_late
from catalogs.sensors import Identity, Radiometry, Sensor, Undecided, asset_key, crs_of, declared, radiometry

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]

SAME_PASS_S = 600
"""Two looks of one platform at one tile within this time are one acquisition: its next orbit is 98 minutes later."""

SAME_PLACE_SHARE = 0.5
"""Another processing repeats an acquisition where it shows at least this share of it: the halves of a granule that was
received in two parts overlap in a seam only, and both are needed."""

LOOKING_AT_ONCE = 8

TIMEOUT_S = (20.0, 60.0)
"""How long a catalogue may take to connect, and to send the next byte."""

TRIES, SILENCES, BACKOFF_S, LONGEST_WAIT_S = 5, 1, 0.5, 120.0
"""How often a catalogue is asked again: where it answers `PASSING`, where it is silent; waits double, or are its own wish."""

PASSING = (429, 500, 502, 503, 504)

SUN = (
    ("view:sun_azimuth", "view:sun_elevation", False),
    ("s2:mean_solar_azimuth", "s2:mean_solar_zenith", True),
    ("oa_solar_azimuth", "oa_solar_zenith", True),
    ("eo:sun_azimuth", "eo:sun_elevation", False),
)
"""Where items say where the sun stood: azimuth, height, whether the height is counted from the zenith."""

SIGNATURES = ("sig", "signature", "token", "access_token", "awsaccesskeyid")
"""Parts of a query that open a file to whoever knows them; those of S3 and Google begin with x-amz- and x-goog-."""

RASTERS = (".tif", ".tiff")
"""Endings of a raster file that may stand in place of a catalogue of elevations."""

RASTER_TYPES = ("float32", "float64", "int16", "int32")


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
    source = _Source(catalog, None, []) if raster else _where(catalog, collection, sensor)
    area = Area(bounds, crs)
    query = {
        "catalog": _relative(_masked(source.address), relative_to),
        "provider": source.provider,
        "collections": source.collections,
        "bounds": [float(value) for value in bounds],
        "crs": crs,
        "years": [int(year) for year in years],
        "season": list(season),
        "max_cloud_percent": float(max_cloud_percent),
        "check_radiometry": check_radiometry,
        "static": sensor.static,
    } | ({"orbit": orbit} if sensor.kind == "radar" else {})
    kept = _kept(earlier, query, sensor)
    asked = _Asked(area, tuple(year for year in years if str(year) not in kept.searched), season, max_cloud_percent)
    place = f"{sensor.name} in {_masked(catalog)}" + (f", collection {collection}" if collection else "")
    found = _Found()
    direction = kept.orbit
    if asked.years and raster:
        found.items.append(_frozen_raster(catalog, sensor, area))
    elif asked.years:
        for item in _items(source, asked, sensor, {"private_hosts": private_hosts, "data_folders": data_folders}):
            found.sort_in(item, sensor, asked)
        found.freeze(sensor, asked, source, _unless_unread(look, on_scene_error), check_radiometry)
        if sensor.kind == "radar":
            direction = found.keep_passes(orbit if orbit != "auto" else direction, asked)
            log.info("%s: %s passes are used", place, direction)
        found.check(place, asked, sensor)
        unknown = sum(item["cloud_percent"] is None for item in found.items) if sensor.kind == "optical" else 0
        log.info("%s: kept %d of %d scenes of the area and season", place, len(found.items), len(found.wanted))
        if unknown:
            log.warning("%s: %d scenes state no cloud cover and are kept", place, unknown)
    if kept.searched:
        log.info("%s: years %s are kept as they were frozen", place, ", ".join(sorted(kept.searched)))
    searched = kept.searched | {str(year): (today or dt.datetime.now(dt.UTC).date()).isoformat() for year in asked.years}
    items = kept.items + [_with_relative_hrefs(item, relative_to) for item in found.items]
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
        return href if _is_remote(href) else os.path.normpath(os.path.join(folder, href))

    return {**frozen, "items": [_with_hrefs(item, resolved) for item in frozen["items"]]}


def _with_relative_hrefs(item: Mapping[str, Any], folder: str | Path | None) -> dict[str, Any]:
    return _with_hrefs(item, lambda href: _relative(href, folder))


def _with_hrefs(item: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A frozen item whose hrefs are changed."""
    bands = {role: {**band, "href": change(band["href"])} for role, band in item["bands"].items()}
    quality = item["quality"] and {**item["quality"], "href": change(item["quality"]["href"])}
    return {**item, "bands": bands, "quality": quality}


def season_year(moment: dt.datetime | None, years: Sequence[int], season: tuple[str, str]) -> int | None:
    """The year whose season holds a moment, or None."""
    if moment is None:
        return None
    return next((year for year in years if first_day(year, season) <= moment.date() <= last_day(year, season)), None)


@cache
def endpoints() -> dict[str, dict[str, Any]]:
    """Catalogues known by name."""
    import yaml

    return yaml.safe_load((Path(__file__).parent / "endpoints.yaml").read_text(encoding="utf-8"))["catalogues"]


def address_of(catalog: str) -> tuple[str, str | None]:
    """Address of a catalogue, or its file on this machine, and its name in `endpoints.yaml` where it has one."""
    known = next(((one["url"], name) for name, one in endpoints().items() if _is_called(catalog, name, one)), None)
    return known or (_catalog_file(catalog) if is_local(catalog) else catalog, None)


def is_local(catalog: str) -> bool:
    """Whether a catalogue is a file or folder of this machine: neither an address nor known by name."""
    return not _is_remote(catalog) and catalog not in endpoints()


def _is_called(catalog: str, name: str, endpoint: Mapping[str, Any]) -> bool:
    return catalog.rstrip("/") in (name, endpoint["url"])


def first_day(year: int, season: tuple[str, str]) -> dt.date:
    """First day of a season (month and day of its ends) that belongs to a year."""
    return _day(year, season[0])


def last_day(year: int, season: tuple[str, str]) -> dt.date:
    """Last day of a season of a year; of a season across new year it lies in the year after."""
    return _day(year + (season[1] < season[0]), season[1])


def _day(year: int, month_day: str) -> dt.date:
    month, day = map(int, month_day.split("-"))
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))


class _Source(NamedTuple):
    """Where to ask: an address, the name it has in `endpoints.yaml` or None, collections, and which href to read."""

    address: str
    provider: str | None
    collections: list[str]
    alternate: str | None = None

    def href(self, asset: Mapping[str, Any]) -> str:
        """The href of an asset as it may be kept: without a signature; ValueError where there is none."""
        other = (asset.get("alternate") or {}).get(self.alternate) if self.alternate else None
        href = (other or asset).get("href")
        if not isinstance(href, str) or not href.strip():
            raise ValueError("malformed: an asset has no href")
        return _unsigned(href, self.provider or address_of(_masked(self.address))[1])


def _unsigned(href: str, provider: str | None) -> str:
    """An href without a signature that expires; ValueError where nothing could sign it anew."""
    if not _is_remote(href):
        return href
    parts = urlsplit(href)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    secret = any(name in SIGNATURES or name.startswith(("x-amz-", "x-goog-")) for name in names)
    if not secret and "@" not in parts.netloc:
        return href
    if signs_late(provider) and "@" not in parts.netloc:
        return href.partition("?")[0]
    raise ValueError("its links are signed and expire; name the provider or give unsigned links")


def _where(catalog: str, collection: str | None, sensor: Sensor) -> _Source:
    """Where to ask for a sensor; an endpoint's own choice of collections comes first."""
    known = {name: endpoint for name, endpoint in endpoints().items() if _is_called(catalog, name, endpoint)}
    if not known:
        return _Source(catalog, None, [collection] if collection else list(sensor.collections))
    ((name, endpoint),) = known.items()
    if sensor.name not in endpoint["collections"]:
        why = endpoint.get("refused", {}).get(sensor.name)
        offered = f"{name} offers no {sensor.name}; it offers {', '.join(endpoint['collections'])}"
        raise ValueError(f"{offered}: {why}" if why else offered)
    access = endpoint["access"][sensor.name]
    if access not in ("open", "signed"):
        log.warning("%s: files of %s are not open (%s): reading them needs credentials", name, sensor.name, access)
    collections = [collection] if collection else list(endpoint["collections"][sensor.name])
    return _Source(endpoint["url"], name, collections, endpoint.get("alternate"))


def _is_remote(address: str) -> bool:
    return "://" in address and not address.startswith("file://")


def _relative(href: str, folder: str | Path | None) -> str:
    """A local path as seen from `folder`, with forward slashes; anything else as it is."""
    if _is_remote(href):
        return href
    path = href.removeprefix("file://")
    return Path(os.path.relpath(path, folder)).as_posix() if folder is not None else path


# ---------------------------------------------------------------- catalogues


def _items(
    source: _Source, asked: _Asked, sensor: Sensor, allowed: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    address, wanted = source.address, source.collections
    own = address if _is_remote(address) else _catalog_file(address)
    reader = _reader(own, remote.Source(_masked(own), source.provider, **{name: tuple(given) for name, given in allowed.items()}))
    if address.startswith(("http://", "https://")) and not _masked(address).endswith(".json"):
        yield from _api_items(_masked(address), reader, wanted, asked, sensor)
    else:
        yield from _static_items(_masked(own), reader, wanted, sensor)


def _masked(address: str) -> str:
    """A catalogue's address without query, user and password, which may be secret; a local path as it is."""
    return shown(address) if _is_remote(address) else address


def _reader(address: str, source: remote.Source) -> Any:
    """What reads the links of a catalogue: only where they may lead, with time limits, again where a failure may pass.

    User, password and query of the catalogue's address go to its own host with every request, and to no other.
    """
    reader = _guarded_reader()(max_retries=_retries())
    reader.guard(address, source)
    return reader


@cache
def _guarded_reader() -> type:
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from requests import ConnectionError, Timeout

    class Reader(StacApiIO):
        def guard(self, address: str, source: remote.Source) -> None:
            from catalogs.remote.connections import _guarded_pools

            self.source, self.own = source, urlsplit(address)
            for adapter in self.session.adapters.values():
                adapter.poolmanager.pool_classes_by_scheme = _guarded_pools(source.trusted_hosts)
                adapter.send = self._checking(adapter.send)

        def _checking(self, send: Callable[..., Any]) -> Callable[..., Any]:
            """Every request, those that follow a redirect too."""

            def checking(request: Any, **options: Any) -> Any:
                remote.checked(request.url, self.source)
                return send(request, **options)

            return checking

        def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
            if not isinstance(source, str):
                return super().read_text(source, *args, **kwargs)
            place = remote.checked(source, self.source)
            return self.request(place, *args, **kwargs) if _is_remote(place) else Path(place).read_text(encoding="utf-8")

        def request(self, href: str, method: Any = None, headers: Any = None, parameters: Any = None) -> str:
            remote.checked(href, self.source)
            self.timeout = TIMEOUT_S
            if urlsplit(href)[:2] == (self.own.scheme, self.own.netloc.rpartition("@")[2]):
                href, headers = self._with_secrets(href, headers)
            for left in reversed(range(SILENCES + 1)):  # urllib3 would log the address with its query
                try:
                    return super().request(href, method, headers, parameters)
                except APIError as error:
                    if not left or not isinstance(error.__context__, ConnectionError | Timeout):
                        raise APIError(f"{shown(href)}: {_what_failed(error)}") from None
                time.sleep(BACKOFF_S)
            raise AssertionError("unreachable")

        def _with_secrets(self, href: str, headers: Any) -> tuple[str, dict[str, str]]:
            from requests.auth import _basic_auth_str

            there = {name for name, _ in parse_qsl(urlsplit(href).query)}
            more = urlencode([(name, value) for name, value in parse_qsl(self.own.query) if name not in there])
            href += ("&" if "?" in href else "?") + more if more else ""
            user, word = unquote(self.own.username or ""), unquote(self.own.password or "")
            return href, dict(headers or {}) | ({"Authorization": _basic_auth_str(user, word)} if user or word else {})

    return Reader


def _retries() -> Any:
    from urllib3 import Retry

    class Patient(Retry):
        def parse_retry_after(self, retry_after: str) -> float:
            return min(super().parse_retry_after(retry_after), LONGEST_WAIT_S)

    return Patient(
        total=TRIES, connect=0, read=0, status=TRIES, other=0, status_forcelist=PASSING, allowed_methods=None,
        backoff_factor=BACKOFF_S, raise_on_status=False, respect_retry_after_header=True,
    )  # fmt: skip


def _what_failed(error: Exception) -> str:
    """Why a request failed, in words that hold no address: those of requests and urllib3 carry query strings."""
    from catalogs.remote.connections import words

    status, cause = getattr(error, "status_code", None), error.__context__
    if status is not None:
        said = re.sub(r"\?\S+", "", _first_line(error))[:200]
        return f"it answers {status} ({said})"
    while cause is not None and not isinstance(cause, remote.RemoteError):
        inner = getattr(cause, "reason", None) or next((one for one in cause.args if isinstance(one, Exception)), None)
        if not isinstance(inner, Exception):
            break
        cause = inner
    if isinstance(cause, remote.RemoteError):
        return str(cause)
    patience = remote.Patience(connect_s=TIMEOUT_S[0], silence_s=TIMEOUT_S[1])
    return words(cause, patience) if cause is not None else "the connection failed"


def _static_items(file: str, reader: Any, wanted: list[str], sensor: Sensor) -> Iterator[dict[str, Any]]:
    """Items of a static catalogue whose collection is wanted, with absolute hrefs, otherwise as they are written."""
    from pystac_client.exceptions import APIError

    others: set[str] = set()
    found = 0
    try:
        for item, collection in _walk(file, reader):
            name = item.get("collection") or collection
            if name not in wanted:
                others.add(name)
                continue
            found += 1
            yield item
    except (OSError, ValueError, KeyError, TypeError, AttributeError, APIError) as error:
        raise ValueError(f"{file} is not a readable STAC catalogue: {_first_line(error)}") from None
    if not found:
        held = f"it holds {', '.join(sorted(others))}" if others else "it holds no items"
        raise ValueError(f"{file} has no scenes of {sensor.name} (looked for {' or '.join(wanted)}); {held}")


def _walk(address: str, reader: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every item below a catalogue with the id of what holds it, depth first, each file once.

    pystac would refuse a whole catalogue for one item without a date, and rewrites items of older versions.
    """
    from pystac.utils import make_absolute_href

    waiting, seen = [(address, "")], set()
    while waiting:
        place, holder = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        try:
            content = json.loads(reader.read_text(place))
        except remote.RemoteError:
            raise
        except ValueError as error:
            raise ValueError(f"{shown(place)} holds no JSON ({_first_line(error)})") from None
        if content.get("type") in ("Feature", "FeatureCollection"):
            for item in content["features"] if content["type"] == "FeatureCollection" else [content]:
                item = item if isinstance(item, dict) else {}
                _make_absolute(item, place)
                yield item, holder
        elif "links" in content and "id" in content:
            below = [link["href"] for link in content["links"] if link.get("rel") in ("child", "item", "items")]
            waiting += [(make_absolute_href(href, place), content["id"]) for href in reversed(below)]
        else:
            raise ValueError(f"{shown(place)} is neither a STAC catalogue nor an item")


def _make_absolute(item: Mapping[str, Any], place: str) -> None:
    """Change hrefs of an item's assets, and their alternates, that are relative to where the item lies."""
    from pystac.utils import make_absolute_href

    for asset in _assets(item).values():
        alternates = asset.get("alternate") if isinstance(asset, dict) else None
        for one in (asset, *(alternates.values() if isinstance(alternates, dict) else ())):
            if isinstance(one, dict) and isinstance(one.get("href"), str):
                one["href"] = make_absolute_href(one["href"], place)


def _own_place(item: Mapping[str, Any], address: str) -> str:
    """Where an item of an API lies: its link to itself where that is an address, else where APIs keep items."""
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and str(link.get("href")).startswith(("http://", "https://")):
            return str(link["href"])
    return f"{address.rstrip('/')}/collections/{item.get('collection')}/items/{item.get('id')}"


def _assets(item: Mapping[str, Any]) -> Mapping[str, Any]:
    assets = item.get("assets")
    return assets if isinstance(assets, Mapping) else {}


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


def _api_items(
    address: str, reader: Any, wanted: list[str], asked: _Asked, sensor: Sensor
) -> Iterator[dict[str, Any]]:
    """Items of a STAC API in the area and the seasons, asked for year by year and on either side of the antimeridian.

    Only what every STAC API answers is used: collections, bbox and datetime, POST where the API says so, GET elsewhere.
    """
    import requests
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    seen: set[tuple[str, str]] = set()
    try:
        client = Client.open(address, stac_io=reader)
        offered = {collection.id: collection for collection in client.get_collections()}
        chosen = [name for name in wanted if name in offered]
        posts = any(link.rel == "search" and link.extra_fields.get("method") == "POST" for link in client.links)
        for days in _spans(asked, sensor) if chosen else ():
            before = set(seen)  # an area across the antimeridian finds a scene from both sides
            for box in asked.area.boxes():
                search = client.search(
                    method="POST" if posts else "GET", collections=chosen, bbox=list(box), datetime=days, limit=100
                )
                mine = set()
                for item in search.items_as_dicts():
                    key = (str(item.get("collection")), str(item.get("id")))
                    if key in seen and key not in before:
                        continue
                    mine.add(key)
                    _make_absolute(item, _own_place(item, address))
                    yield item
                seen |= mine
    except (APIError, requests.RequestException, remote.RemoteError) as error:
        raise ValueError(f"the catalogue {address} cannot be reached or refuses: {_first_line(error)}") from None
    except Exception as error:  # what answers may be anything, a web page for one
        raise ValueError(f"{address} does not answer as a STAC API: {_first_line(error)}") from None
    if not chosen:
        raise ValueError(f"{address} has no collection {' or '.join(wanted)}; it has {', '.join(sorted(offered))}")
    if not seen:
        box = offered[chosen[0]].extent.spatial.bboxes[0]
        when = "" if sensor.static else (
            f" from {asked.season[0]} to {asked.season[1]} of {', '.join(map(str, asked.years))}"
        )  # fmt: skip
        raise ValueError(
            f"{address} has no scene of {chosen[0]} for {asked.area}{when}; the collection spans {in_words(flat(box))}"
        )


def _spans(asked: _Asked, sensor: Sensor) -> list[str | None]:
    """What to ask for as `datetime`: each year's season, or any time for what never changes."""
    if sensor.static:
        return [None]
    return [
        f"{first_day(year, asked.season)}T00:00:00Z/{last_day(year, asked.season)}T23:59:59Z" for year in asked.years
    ]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


# ---------------------------------------------------------------- one item


OF_ANOTHER_FORM = (TypeError, AttributeError, LookupError, OverflowError)
"""What reading an item raises that is not built as STAC says."""


def _check_form(item: Mapping[str, Any]) -> None:
    """ValueError for an item without properties or assets."""
    for name in ("properties", "assets"):
        if not isinstance(item.get(name), Mapping):
            raise ValueError(f"its {name} are not named values")


def _malformed(error: Exception) -> str:
    return f"malformed: {_first_line(error)}"


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
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _clear_enough(item: Mapping[str, Any], max_cloud_percent: float) -> None:
    cloud = _cloud_percent(item)
    if cloud is not None and cloud > max_cloud_percent:
        raise ValueError(f"cloud cover {cloud:g} % is above max_cloud_percent {max_cloud_percent:g}")


class _Doubt(NamedTuple):
    """A frozen item whose bands `roles` wait for pixels to settle their radiometry, and why."""

    item: dict[str, Any]
    roles: list[str]
    why: Undecided | None


def _frozen(item: Mapping[str, Any], sensor: Sensor, year: int | None, area: Area, source: _Source) -> _Doubt:
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
    properties, identity, moment = item.get("properties", {}), sensor.identify(item), _moment(item)
    footprint = footprint_of(item)
    frozen = {
        "id": item["id"],
        "datetime": moment.isoformat().replace("+00:00", "Z") if moment else None,
        "year": year,
        "platform": str(properties.get("platform") or "").lower().replace("_", "-"),
        "tile": identity.tile if identity else None,
        "overpass": _overpass(item, identity, moment) if not sensor.static else None,
        "orbit_state": properties.get("sat:orbit_state"),
        "relative_orbit": _relative_orbit(item),
        "crs": crs_of(item, item["assets"][asset_key(item, sensor.bands[next(iter(bands))].keys)]),
        "cloud_percent": _cloud_percent(item),
        "sun": sun_position(properties),
        "bbox": [round(value, 6) for value in bbox_of(footprint)],
        "bounds": bounds_in(footprint, area.crs),
        "bands": bands,
        "quality": {"href": source.href(item["assets"][quality])} if quality else None,
        "evidence": evidence,
    }
    return _Doubt(frozen, open_roles, why)


def sun_position(properties: Mapping[str, Any]) -> dict[str, float] | None:
    """Where the sun stood, as an item's properties tell: degrees clockwise from north, and above the horizon; None if not."""
    for azimuth, height, zenith in SUN:
        told = properties.get(azimuth), properties.get(height)
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in told):
            return {"azimuth_deg": float(told[0]), "elevation_deg": 90.0 - told[1] if zenith else float(told[1])}
    return None


def _frozen_raster(file: str, sensor: Sensor, area: Area) -> dict[str, Any]:
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
        raise ValueError(f"{file} cannot be read as a raster: {_first_line(error)}") from None
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


def _overpass(item: Mapping[str, Any], identity: Identity | None, moment: dt.datetime) -> str:
    """One pass of a platform: the tiles that it saw on their way show the same moment where they overlap."""
    platform = str(item.get("properties", {}).get("platform") or "").lower().replace("_", "-")
    orbit = _relative_orbit(item)
    path = identity.tile[4:7] if identity and identity.tile.startswith("WRS-") else None
    track = f" R{orbit:03d}" if orbit is not None else f" P{path}" if path else ""
    return f"{platform} {moment.date().isoformat()}{track}".strip()


def _relative_orbit(item: Mapping[str, Any]) -> int | None:
    """The relative orbit that an item, or the name of its product, tells."""
    properties = item.get("properties", {})
    told = properties.get("sat:relative_orbit")
    names = (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item["id"])
    match = next((match for name in names if (match := re.search(r"_R(\d{3})_", str(name or "")))), None)
    return int(told) if told is not None else int(match[1]) if match else None


# ---------------------------------------------------------------- what was found


class _Asked(NamedTuple):
    area: Area
    years: tuple[int, ...]
    season: tuple[str, str]
    max_cloud_percent: float


class _Wanted(NamedTuple):
    """An item of the area and a year's season; the year is None for what shows every year."""

    item: dict[str, Any]
    year: int | None


class _Found:
    """Items kept and left out, and what a sentence about a failed search needs."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self.wanted: dict[tuple[str, str], _Wanted] = {}
        self.boxes: list[Bounds] = []
        self.days: list[dt.date] = []
        self.touching = 0

    def leave_out(self, item: Mapping[str, Any], year: int | None, reason: str) -> None:
        self.left_out.append({"id": item["id"], "year": year, "reason": reason})

    def sort_in(self, item: dict[str, Any], sensor: Sensor, asked: _Asked) -> None:
        """Keep an item, or note why not; what lies elsewhere or in another season is passed over."""
        item = {**item, "id": plain_id(item.get("id"))}
        try:
            _check_form(item)
            footprint, moment = footprint_of(item), _moment(item)
        except (ValueError, *OF_ANOTHER_FORM) as error:
            return self.leave_out(item, None, _malformed(error))
        if footprint is None:
            return self.leave_out(item, None, "no footprint")
        self.boxes.append(footprint.bounds)
        if not footprint.intersects(asked.area.lonlat):
            return None
        self.touching += 1
        if moment is None and not sensor.static:
            return self.leave_out(item, None, "no datetime")
        if moment is not None:
            self.days.append(moment.date())
        year = None if sensor.static else season_year(moment, asked.years, asked.season)
        if year is None and not sensor.static:
            return None
        key = (str(item.get("collection") or ""), item["id"])
        if key in self.wanted:
            return self.leave_out(item, year, "listed more than once: the first is used")
        self.wanted[key] = _Wanted(item, year)
        return None

    def freeze(
        self, sensor: Sensor, asked: _Asked, source: _Source, look: Sampler | None, check_radiometry: bool
    ) -> None:
        """Settle the radiometry of what is wanted, clear enough and the newest of its kind."""
        clear = []
        for item, year in self.wanted.values():
            try:
                _clear_enough(item, asked.max_cloud_percent)
                clear.append((item, _frozen(item, sensor, year, asked.area, source)))
            except OF_ANOTHER_FORM as error:
                self.leave_out(item, year, _malformed(error))
            except ValueError as error:
                self.leave_out(item, year, str(error))
        usable = []
        looked_at = _looked_at([doubt for _, doubt in clear], sensor, look, check_radiometry)
        for (item, doubt), outcome in zip(clear, looked_at, strict=True):
            if isinstance(outcome, ValueError):
                self.leave_out(item, doubt.item["year"], str(outcome))
            else:
                usable.append((item, outcome))
        for item, frozen, reason in _repeated(usable, sensor):
            if reason:
                self.leave_out(item, frozen["year"], reason)
            else:
                self.items.append(frozen)

    def keep_passes(self, orbit: str | None, asked: _Asked) -> str:
        """Keep the passes of one direction, which is returned; None decides for the one that shows the area more often.

        The two look at slopes and canopies from either side, in the morning and in the evening: mixed, a pixel's level
        would follow how many of each there are.
        """
        orbit = orbit or self._fuller_direction(asked)
        if orbit == "both":
            return orbit
        items, self.items = self.items, []
        for item in items:
            state = item["orbit_state"]
            if state == orbit:
                self.items.append(item)
                continue
            why = f"an {state} pass" if state == "ascending" else f"a {state} pass" if state else "tells no orbit direction"
            self.leave_out(item, item["year"], f"{why}: {orbit} passes are used (orbit: both would use all)")
        return orbit

    def _fuller_direction(self, asked: _Asked) -> str:
        """The direction that shows the study area more often in its worse year; `both` where no scene tells one."""
        shapes = {wanted.item["id"]: footprint_of(wanted.item) for wanted in self.wanted.values()}
        times: dict[str, dict[int, float]] = {}
        for item in self.items:
            if item["orbit_state"]:
                share = shapes[item["id"]].intersection(asked.area.lonlat).area / asked.area.lonlat.area
                by_year = times.setdefault(item["orbit_state"], dict.fromkeys(asked.years, 0.0))
                by_year[item["year"]] += share

        def worth(state: str) -> tuple[float, float, str]:
            return round(min(times[state].values()), 6), round(sum(times[state].values()), 6), state

        return max(times, key=worth) if times else "both"

    def check(self, place: str, asked: _Asked, sensor: Sensor) -> None:
        """ValueError for a year without a usable scene: one sentence that says what there is instead."""
        if not self.touching:
            raise ValueError(f"{place}: no scene touches the study area, {asked.area}; {self._extent()}")
        if sensor.static:
            if not self.items:
                raise ValueError(f"{place}: {self._first_reason([wanted.item for wanted in self.wanted.values()])}")
            return
        empty = [year for year in asked.years if not any(item["year"] == year for item in self.items)]
        if empty:
            raise ValueError(f"{place}: " + "; ".join(self._why_empty(year, asked) for year in empty))

    def _extent(self) -> str:
        if not self.boxes:
            return "the catalogue's scenes have no footprints"
        west, south, east, north = zip(*self.boxes, strict=True)
        return f"the catalogue's scenes span {in_words((min(west), min(south), max(east), max(north)))}"

    def _why_empty(self, year: int, asked: _Asked) -> str:
        mine = [item for item, item_year in self.wanted.values() if item_year == year]
        days = f"{first_day(year, asked.season)} to {last_day(year, asked.season)}"
        if not mine and not self.days:
            return f"{year} has no scene from {days}; {self._first_reason([])}"
        if not mine:
            return f"{year} has no scene from {days} (those of the area date from {min(self.days)} to {max(self.days)})"
        cloudy = [item for item in mine if (_cloud_percent(item) or 0) > asked.max_cloud_percent]
        if len(cloudy) == len(mine):
            best = min(mine, key=lambda item: (_cloud_percent(item), item["id"]))
            return (
                f"{year} has {len(mine)} scenes from {days}, all above max_cloud_percent {asked.max_cloud_percent:g}; "
                f"the clearest, {best['id']}, has {_cloud_percent(best):g} %"
            )
        rest = [item for item in mine if item not in cloudy]
        return f"{year} has {len(mine)} scenes from {days}, none usable; {self._first_reason(rest)}"

    def _first_reason(self, items: Sequence[Mapping[str, Any]]) -> str:
        """Why the first of some items (or of all that are left out) is left out."""
        ids = {item["id"] for item in items}
        entry = next(entry for entry in self.left_out if entry["id"] in ids or not ids)
        return f"{entry['id']}: {entry['reason']}"


class _Stopped(Exception):
    """Why the search ends without an answer; no ValueError, which would leave out one scene."""


def _unless_unread(look: Sampler | None, on_scene_error: str) -> Sampler | None:
    """A sampler that stops the search where pixels cannot be read this time, unless such scenes are to be dropped.

    A server in trouble would else shape the list for good; a file that is gone (`Missing`) would be left out next time as well.
    """
    if look is None or on_scene_error == "drop":
        return look

    def looking(scene: Mapping[str, Any], sensor: Sensor) -> Any:
        try:
            return look(scene, sensor)
        except Unread as error:
            advice = "nothing is written: run again, or set on_scene_error: drop to leave such scenes out"
            raise _Stopped(f"{scene['id']}: {error}; {advice}") from None

    return looking


def _looked_at(
    doubts: Sequence[_Doubt], sensor: Sensor, look: Sampler | None, check_radiometry: bool
) -> Iterable[dict[str, Any] | ValueError]:
    """Frozen items with their radiometry settled, or why that cannot be; pixels of several scenes are read at once."""
    from concurrent.futures import ThreadPoolExecutor

    everything = check_radiometry and look is not None and sensor.quality is not None

    def outcome(doubt: _Doubt) -> dict[str, Any] | ValueError:
        try:
            if doubt.why is not None:
                return _settled_by_pixels(doubt, sensor, look)
            return _checked_by_pixels(doubt.item, sensor, look) if everything else doubt.item
        except (Missing, Unread) as error:
            log.warning("%s is left out: %s", doubt.item["id"], error)
            return error
        except ValueError as error:
            return error

    if not everything and all(doubt.why is None for doubt in doubts):
        return [doubt.item for doubt in doubts]
    with ThreadPoolExecutor(LOOKING_AT_ONCE) as pool:
        try:
            return list(pool.map(outcome, doubts))
        except _Stopped as error:
            raise ValueError(str(error)) from None


def _settled_by_pixels(doubt: _Doubt, sensor: Sensor, look: Sampler | None) -> dict[str, Any]:
    if look is None:
        raise ValueError(str(doubt.why))
    try:
        (scale, offset), words = settled(sensor, doubt.why.candidates, look(doubt.item, sensor))
    except (Missing, Unread):
        raise
    except ValueError as error:
        raise ValueError(f"{doubt.why}; {error}") from None
    chosen = {role: {**doubt.item["bands"][role], "scale": scale, "offset": offset} for role in doubt.roles}
    return {**doubt.item, "bands": doubt.item["bands"] | chosen, "evidence": f"{doubt.why}; {words}"}


def _checked_by_pixels(item: dict[str, Any], sensor: Sensor, look: Sampler) -> dict[str, Any]:
    """An item whose pixels agree with its metadata, or whose pixels cannot be looked at, which its evidence then says."""
    red = item["bands"].get("red")
    if red is None:
        return item
    try:
        sample = look(item, sensor)
    except (Missing, Unread):
        raise
    except ValueError as error:
        log.warning("%s: %s", item["id"], error)
        return {**item, "evidence": f"{item['evidence']}; {error}"}
    return {**item, "evidence": f"{item['evidence']}; {checked(sensor, (red['scale'], red['offset']), sample)}"}


def _repeated(
    found: Sequence[tuple[dict[str, Any], dict[str, Any]]], sensor: Sensor
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str | None]]:
    """Each item with None, or with the sentence that another processing of the same acquisition is used in its place."""
    from shapely.ops import unary_union

    passes: dict[tuple, list[tuple]] = {}
    for item, frozen in sorted(found, key=lambda pair: (pair[1]["datetime"] or "", pair[1]["id"])):
        identity, moment = sensor.identify(item), _moment(item)
        if identity is None:
            yield item, frozen, None
            continue
        when = moment.timestamp() if moment and not sensor.static else 0.0
        mine = passes.setdefault((frozen["platform"], identity.tile), [])
        if not mine or when - mine[-1][0] > SAME_PASS_S:
            mine.append((when, []))
        mine[-1][1].append((identity, item, frozen))
    for looks in passes.values():
        for _, same in looks:
            used: list[tuple] = []
            for identity, item, frozen in sorted(same, key=lambda one: (one[0].generation, one[2]["id"]), reverse=True):
                footprint = footprint_of(item)
                shown = unary_union([other for _, _, other in used])
                if used and footprint.intersection(shown).area >= SAME_PLACE_SHARE * footprint.area:
                    better = used[0]
                    told = f" ({better[0].told})" if better[0].told else ""
                    mine = f" ({identity.told})" if identity.told else ""
                    yield item, frozen, f"another processing{mine} of what {better[1]}{told} shows: the newer one is used"
                    continue
                used.append((identity, item["id"], footprint))
                yield item, frozen, None
