"""Bytes of a file at a place: of this machine's disk, or of an address that answers range requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from catalogs.remote.hrefs import RemoteError, Source

if TYPE_CHECKING:
    from catalogs.remote.asking import Reply


class Ranges(Protocol):
    """Bytes at a place of one file; the whole interface that a transport must offer."""

    size: int
    stamp: str

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on; fewer only where the file ends."""

    def close(self) -> None:
        """Let go of the file or the connection."""


def is_remote(path: str) -> bool:
    """Whether a path is an address (http, https or s3) instead of a file of this machine."""
    return str(path).startswith(("http://", "https://", "s3://"))


@contextmanager
def open_ranges(path: str, access: Source | None = None) -> Iterator[Ranges]:
    """Byte ranges of a local file, or of an address (http, https, s3) of the source `access`; without one, as named by the user.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    RemoteError
        If the address refuses, may not be asked, does not serve ranges, or patience (`Source.patience`) is at its end.
    """
    ranges = _Remote(path, access) if is_remote(path) else _Local(path)
    try:
        yield ranges
    finally:
        ranges.close()


class _Local:
    def __init__(self, path: str) -> None:
        try:
            self._number = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise FileNotFoundError(f"lidar tile {path} does not exist") from None
        self.size = os.fstat(self._number).st_size
        self.stamp = ""

    def read(self, start: int, length: int) -> bytes:
        parts, left = [], min(length, max(0, self.size - start))
        while left > 0:  # one call gives at most 2 GB
            part = os.pread(self._number, left, start)
            if not part:
                break
            parts.append(part)
            start, left = start + len(part), left - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        os.close(self._number)


class _Remote:
    """Ranges as `catalogs.remote` asks for them: signed, proven, asked for again, and only where they may lead."""

    def __init__(self, address: str, access: Source | None) -> None:
        from catalogs.remote import checked
        from catalogs.remote.asking import client_of

        access = access or Source(address)  # whoever names an address trusts its host
        self._address = checked(address, access)
        self._client = client_of(access)
        self._first = self._get(0, 1, None)
        self.size = self._first.size
        self.stamp = self._first.version

    def _get(self, start: int, stop: int, same_as: Reply | None) -> Reply:
        try:
            return self._client.get(self._address, start, stop, same_as=same_as)
        except RemoteError as error:
            if "no part of a file" in str(error):
                raise RemoteError(f"{error}; download the tile and name the file instead") from None
            raise

    def read(self, start: int, length: int) -> bytes:
        length = min(length, max(0, self.size - start))
        return self._get(start, start + length, self._first).body if length > 0 else b""

    def close(self) -> None:
        """Connections belong to all readers of a source."""


def name_of(path: str) -> str:
    """The last part of a path or address, without a query."""
    return Path(str(path).split("?", 1)[0]).name
