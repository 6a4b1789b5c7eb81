"""Items as catalogues give them: a STAC API asked year by year, a static catalogue walked through."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from catalogs import remote
from catalogs.footprints import flat, in_words
from catalogs.remote import shown
from catalogs.search.items import first_line
from catalogs.search.places import Place, catalog_file, is_remote, masked
from catalogs.search.question import Asked, spans
from catalogs.sensors import Sensor

TIMEOUT_S = (20.0, 60.0)
"""How long a catalogue may take to connect, and to send the next byte."""

TRIES, SILENCES, BACKOFF_S, LONGEST_WAIT_S = 5, 1, 0.5, 120.0
"""How often a catalogue is asked again: where it answers `PASSING`, where it is silent; waits double, or are its own wish."""

PASSING = (429, 500, 502, 503, 504)


def items_of(
    source: Place, asked: Asked, sensor: Sensor, allowed: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Every item of a catalogue that may be of the area and seasons, as the catalogue gives it."""
    address, wanted = source.address, source.collections
    own = address if is_remote(address) else catalog_file(address)
    may_lead = {name: tuple(given) for name, given in allowed.items()}
    reader = guarded_reader(own, remote.Source(masked(own), source.provider, **may_lead))
    if address.startswith(("http://", "https://")) and not masked(address).endswith(".json"):
        yield from _api_items(masked(address), reader, wanted, asked, sensor)
    else:
        yield from _static_items(masked(own), reader, wanted, sensor)


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
        raise ValueError(f"{file} is not a readable STAC catalogue: {first_line(error)}") from None
    if not found:
        held = f"it holds {', '.join(sorted(others))}" if others else "it holds no items"
        raise ValueError(f"{file} has no scenes of {sensor.name} (looked for {' or '.join(wanted)}); {held}")


def _api_items(
    address: str, reader: Any, wanted: list[str], asked: Asked, sensor: Sensor
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
        for days in spans(asked, sensor) if chosen else ():
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
        raise ValueError(f"the catalogue {address} cannot be reached or refuses: {first_line(error)}") from None
    except Exception as error:  # what answers may be anything, a web page for one
        raise ValueError(f"{address} does not answer as a STAC API: {first_line(error)}") from None
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
            raise ValueError(f"{shown(place)} holds no JSON ({first_line(error)})") from None
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


def guarded_reader(address: str, source: remote.Source) -> Any:
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
            return self.request(place, *args, **kwargs) if is_remote(place) else Path(place).read_text(encoding="utf-8")

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
        said = re.sub(r"\?\S+", "", first_line(error))[:200]
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
