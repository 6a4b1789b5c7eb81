"""What an href of a catalogue may point to, and how it may be told: hrefs and ids are a stranger's words."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

GIVE_UP_AFTER_S = 300.0
"""How long one range is asked for before the scene counts as unreadable; `FORESTSINK_GIVE_UP_AFTER_S` goes before it."""

GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no side-cars: a file says by itself what it is
    "GTIFF_HAS_OPTIMIZED_READ_MULTI_RANGE": "YES",  # GDAL hands over all tiles of a window at once, neighbours merged
}


class RemoteError(ValueError):
    """A file that cannot be read; one sentence without a secret."""


class Gone(RemoteError):
    """A file that its server says is not there: asking again will not bring it back."""


class Refused(RemoteError):
    """A file that a catalogue has no business pointing to, or that is no raster."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: in all for one range, for a connection, for the next byte, for one answer.

    Between tries the wait doubles from `first_wait_s` to `longest_wait_s`, less up to half of it at random, so that many
    readers do not come back at once.
    """

    give_up_after_s: float = field(default_factory=lambda: _seconds("FORESTSINK_GIVE_UP_AFTER_S", GIVE_UP_AFTER_S))
    connect_s: float = 20.0
    silence_s: float = 30.0
    one_answer_s: float = 180.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0


def _seconds(variable: str, usual: float) -> float:
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else usual
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"the environment variable {variable} is {text!r}; a number of seconds is needed")
    return seconds


@dataclass(frozen=True)
class Source:
    """Where hrefs come from, which decides what they may point to.

    Parameters
    ----------
    catalogue : str or None
        Address of the catalogue, or its file on disk. None: the caller's own list, whose local files are trusted.
    provider : str or None
        Its name in `endpoints.yaml`: how hrefs are signed and which options they need.
    private_hosts : tuple of str
        Hosts that may lie in a private network or on this machine; the catalogue's own host always may.
    data_folders : tuple of str
        Folders outside the catalogue's own that its local hrefs may point to.
    patience : Patience
    """

    catalogue: str | None = None
    provider: str | None = None
    private_hosts: tuple[str, ...] = ()
    data_folders: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(
        cls, frozen: Mapping[str, Any], folder: str | Path, *, private_hosts: Iterable[str] = (), data_folders: Iterable[str] = ()
    ) -> Source:  # fmt: skip
        """The source of frozen scenes whose file lies in `folder`; scenes of no catalogue are the caller's own."""
        query = frozen["query"]
        catalogue = query.get("catalog")
        if catalogue is None:
            return cls(None, None, tuple(private_hosts))
        if "://" not in catalogue:
            catalogue = os.path.normpath(os.path.join(folder, catalogue))
        provider = query.get("provider") or _provider_at(catalogue)
        return cls(catalogue, provider, tuple(private_hosts), tuple(data_folders))

    @property
    def is_local(self) -> bool:
        return self.catalogue is not None and "://" not in self.catalogue

    @property
    def folders(self) -> list[Path]:
        """What a local href may lie in, symbolic links resolved; empty for a catalogue elsewhere."""
        own = []
        if self.is_local:
            place = Path(self.catalogue).resolve()
            own = [place if place.is_dir() else place.parent]
        return own + [Path(folder).resolve() for folder in self.data_folders]

    @property
    def trusted_hosts(self) -> frozenset[str]:
        """Hosts that are not asked whether they are public."""
        named = {host.strip("[]").lower() for host in self.private_hosts}
        if self.catalogue is not None and not self.is_local:
            named.add((urlsplit(self.catalogue).hostname or "").lower())
        return frozenset(named)


def options(provider: str | None = None) -> dict[str, str]:
    """GDAL options for reading, with those that the files of a provider need."""
    return {**GDAL_OPTIONS, **environment_of(provider)}


def endpoint_of(provider: str | None) -> Mapping[str, Any]:
    from catalogs.search.places import endpoints

    return endpoints().get(provider, {}) if provider else {}


def _provider_at(address: str) -> str | None:
    from catalogs.search.places import endpoints

    return next((name for name, known in endpoints().items() if known.get("url") == address.rstrip("/")), None)


def environment_of(provider: str | None) -> dict[str, str]:
    return {name: str(value) for name, value in (endpoint_of(provider).get("environment") or {}).items()}


def plain_id(name: Any) -> str:
    """An item's id as it may stand in a log, a page or a file name: letters, digits, `.`, `-`, `+` and `_`, at most 200.

    An id of such letters stays as it is; of another, whatever else it holds becomes `_`, and a digest of all of it is added,
    so that different ids stay different. No name begins with a point.
    """
    text = str(name)
    plain = re.sub(r"^\.+", "_", re.sub(r"[^A-Za-z0-9._+-]", "_", text)) or "_"
    if plain == text and len(text) <= 200:
        return text
    return f"{plain[:190]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def shown(href: str) -> str:
    """An href as it may be told: without query, fragment, user and password, which may be secret."""
    if "://" not in href:
        return printable(href)
    parts = urlsplit(href)
    return printable(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:500]


# ---------------------------------------------------------------- what may be opened


def checked(href: str, source: Source) -> str:
    """The address (http, https, s3) or the local path that an href of a catalogue stands for.

    Raises
    ------
    Refused
        For a local file outside the catalogue's folder, or of a catalogue elsewhere; for another scheme; for whatever only
        GDAL would understand; for an address in a private network that no setting allows. A host's name is looked up when a
        connection is made, and again for each.
    """
    if not isinstance(href, str) or not href.strip() or not href.isprintable() or "\\" in href:
        raise Refused(f"{printable(str(href))!r} is not an address")
    if href.startswith("<") or re.match(r"/vsi\w*/|/vsi", href):
        raise Refused(f"{shown(href)} is a path of GDAL's own, not an address: catalogues may point to files only")
    scheme, divider, _ = href.partition("://")
    if not divider:
        if re.match(r"[A-Za-z][A-Za-z0-9+._-]+:", href):
            raise Refused(f"{shown(href)} is not an address: only http, https, s3 and files beside the catalogue are read")
        return str(_local(href, source))
    if scheme.lower() == "file":
        return str(_local(href[len("file://") :], source))
    checked_kind(href)
    try:
        parts = urlsplit(href)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise Refused(f"{shown(href)} is not an address") from None
    if not host or parts.username is not None or parts.password is not None:
        raise Refused(f"{shown(href)} names no host, or a user with it")
    if scheme.lower() == "s3":
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", host):
            raise Refused(f"{shown(href)} names no bucket")
        return href
    _check_literal(host, source.trusted_hosts, shown(href))
    return href


def checked_kind(address: str) -> str:
    """The scheme of an address, small; Refused where it is not one that is read."""
    scheme = address.partition("://")[0]
    if scheme.lower() not in ("http", "https", "s3"):
        raise Refused(f"{shown(address)} is an address of kind {printable(scheme)}; http, https and s3 are read")
    return scheme.lower()


def _local(path: str, source: Source) -> Path:
    if source.catalogue is None:
        return Path(path)
    place = Path(path).resolve()
    if any(place.is_relative_to(folder) for folder in source.folders):
        return place
    if source.is_local:
        where = f"lies outside the catalogue's folder {source.folders[0]}"
        raise Refused(f"{printable(str(path))} {where}: name its folder in data_folders of the sensor if it is meant")
    raise Refused(f"{printable(str(path))} is a file of this machine, and the catalogue {shown(source.catalogue)} is not on it")


def _check_literal(host: str, trusted: frozenset[str], href: str) -> None:
    """Refuse an address that is written out and private; names are judged by what they resolve to.

    Of one written as 127.1, 0x7f000001 or 2130706433 too: where a proxy looks names up, nobody here would see what it is.
    """
    if host.lower() in trusted:
        return
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        address = _address_in_short(host)
    if address is None:
        if host.lower().rstrip(".").endswith("localhost"):
            raise Refused(in_private_network(host, href)) from None
        return
    if not is_public(address):
        raise Refused(in_private_network(host, href))


def _address_in_short(host: str) -> ipaddress.IPv4Address | None:
    """What the C library makes of numbers in place of a name: `inet_aton` takes one to four, decimal, octal or hexadecimal."""
    if not re.fullmatch(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def in_private_network(host: str, what: str) -> str:
    return f"{what}: {printable(host)} is in a private network; name it in private_hosts of the sensor if it is meant"


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the public internet, those of IPv4 inside IPv6 (mapped, 6to4, Teredo, NAT64) included."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if any(one is not None and not is_public(one) for one in inner):
            return False
        if any(one is not None for one in inner):
            return True
    return address.is_global and not address.is_multicast
