"""Where a catalogue is, by its name, address or file, and what may be kept of the links that it gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from catalogs.remote import checked_kind, shown
from catalogs.remote.signing import signs_late
from catalogs.sensors import Sensor

log = logging.getLogger(__name__)

SIGNATURES = ("sig", "signature", "token", "access_token", "awsaccesskeyid")
"""Parts of a query that open a file to whoever knows them; those of S3 and Google begin with x-amz- and x-goog-."""


@cache
def endpoints() -> dict[str, dict[str, Any]]:
    """Catalogues known by name."""
    import yaml

    return yaml.safe_load((Path(__file__).parents[1] / "endpoints.yaml").read_text(encoding="utf-8"))["catalogues"]


def address_of(catalog: str) -> tuple[str, str | None]:
    """Address of a catalogue, or its file on this machine, and its name in `endpoints.yaml` where it has one."""
    known = next(((one["url"], name) for name, one in endpoints().items() if _is_called(catalog, name, one)), None)
    return known or (catalog_file(catalog) if is_local(catalog) else catalog, None)


def is_local(catalog: str) -> bool:
    """Whether a catalogue is a file or folder of this machine: neither an address nor known by name."""
    return not is_remote(catalog) and catalog not in endpoints()


class Place(NamedTuple):
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
        return _unsigned(href, self.provider or address_of(masked(self.address))[1])


def check_catalogue(catalog: str, sensor: Sensor) -> tuple[str, Mapping[str, Any]] | None:
    """The endpoint that a catalogue is, by name; None for one that is not known by name. Asks nobody.

    Raises
    ------
    ValueError, Refused
        For a known one that does not offer the sensor, with the reason; for an address that is neither http, https nor s3.
    """
    known = {name: endpoint for name, endpoint in endpoints().items() if _is_called(catalog, name, endpoint)}
    if not known:
        if is_remote(catalog):
            checked_kind(catalog)
        return None
    ((name, endpoint),) = known.items()
    if sensor.name not in endpoint["collections"]:
        why = endpoint.get("refused", {}).get(sensor.name)
        offered = f"{name} offers no {sensor.name}; it offers {', '.join(endpoint['collections'])}"
        raise ValueError(f"{offered}: {why}" if why else offered)
    return name, endpoint


def place_of(catalog: str, collection: str | None, sensor: Sensor) -> Place:
    """Where to ask for a sensor; an endpoint's own choice of collections comes first."""
    known = check_catalogue(catalog, sensor)
    if known is None:
        return Place(catalog, None, [collection] if collection else list(sensor.collections))
    name, endpoint = known
    access = endpoint["access"][sensor.name]
    if access not in ("open", "signed"):
        log.warning("%s: files of %s are not open (%s): reading them needs credentials", name, sensor.name, access)
    collections = [collection] if collection else list(endpoint["collections"][sensor.name])
    return Place(endpoint["url"], name, collections, endpoint.get("alternate"))


def _is_called(catalog: str, name: str, endpoint: Mapping[str, Any]) -> bool:
    return catalog.rstrip("/") in (name, endpoint["url"])


def _unsigned(href: str, provider: str | None) -> str:
    """An href without a signature that expires; ValueError where nothing could sign it anew."""
    if not is_remote(href):
        return href
    parts = urlsplit(href)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    secret = any(name in SIGNATURES or name.startswith(("x-amz-", "x-goog-")) for name in names)
    if not secret and "@" not in parts.netloc:
        return href
    if signs_late(provider) and "@" not in parts.netloc:
        return href.partition("?")[0]
    raise ValueError("its links are signed and expire; name the provider or give unsigned links")


def is_remote(address: str) -> bool:
    """Whether an address is not a file of this machine."""
    return "://" in address and not address.startswith("file://")


def seen_from(href: str, folder: str | Path | None) -> str:
    """A local path as seen from `folder`, with forward slashes; anything else as it is."""
    if is_remote(href):
        return href
    path = href.removeprefix("file://")
    return Path(os.path.relpath(path, folder)).as_posix() if folder is not None else path


def masked(address: str) -> str:
    """A catalogue's address without query, user and password, which may be secret; a local path as it is."""
    return shown(address) if is_remote(address) else address


def catalog_file(address: str) -> str:
    """The file of a static catalogue, or of its folder; an address as it is."""
    if is_remote(address):
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
