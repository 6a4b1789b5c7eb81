"""Bytes of a file at a place: of this machine's disk, or of an address that answers range requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

RETRIES = 4
BACKOFF_S = 0.5  # doubled after each failure: 0.5, 1, 2, 4 s
TIMEOUT_S = (10, 60)  # to connect, to answer
RETRIED = (429, 500, 502, 503, 504)


class Ranges(Protocol):
    """Bytes at a place of one file; the whole interface that a transport must offer."""

    size: int
    stamp: str

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on; fewer only where the file ends."""

    def close(self) -> None:
        """Let go of the file or the connection."""


def is_remote(path: str) -> bool:
    """Whether a path is an address (http or https) instead of a file of this machine."""
    return str(path).startswith(("http://", "https://"))


@contextmanager
def open_ranges(path: str) -> Iterator[Ranges]:
    """Byte ranges of a local file or of an http(s) address.

    Raises
    ------
    FileNotFoundError
        If the file does not exist, or the address answers 404 or 410.
    OSError
        If the address refuses, does not answer after four retries, or does not serve ranges.
    """
    ranges = _Remote(path) if is_remote(path) else _Local(path)
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
    """One session per file: retries with growing pauses on what passes, a sentence on what does not."""

    def __init__(self, address: str) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        self._address = address
        self._shown = address.split("?", 1)[0]  # a query may hold a signature
        self._session = requests.Session()
        retry = Retry(RETRIES, backoff_factor=BACKOFF_S, status_forcelist=RETRIED, raise_on_status=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        answer = self._asked(0, 1)
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if not total.isdigit():
            raise OSError(f"{self._shown} does not say how long it is; download the tile and name the file instead")
        self.size = int(total)
        self.stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""

    def _asked(self, start: int, length: int):
        import requests

        try:
            answer = self._session.get(
                self._address, headers={"Range": f"bytes={start}-{start + length - 1}"}, timeout=TIMEOUT_S, stream=True
            )
        except requests.RequestException as error:
            raise OSError(f"{self._shown} cannot be reached ({type(error).__name__})") from None
        if answer.status_code in (404, 410):
            raise FileNotFoundError(f"lidar tile {self._shown} does not exist (answer {answer.status_code})")
        if answer.status_code == 200:
            answer.close()  # the whole file would follow
            raise OSError(f"{self._shown} does not serve byte ranges; download the tile and name the file instead")
        if answer.status_code != 206:
            raise OSError(f"{self._shown} answers {answer.status_code} {answer.reason}")
        return answer

    def read(self, start: int, length: int) -> bytes:
        length = min(length, max(0, self.size - start))
        if length <= 0:
            return b""
        import requests

        for _ in range(RETRIES):  # a connection may end in the midst of an answer
            try:
                content = self._asked(start, length).content
            except requests.RequestException:
                continue
            if len(content) == length:
                return content
        raise OSError(f"{self._shown} breaks off within bytes {start} to {start + length}")

    def close(self) -> None:
        self._session.close()


def name_of(path: str) -> str:
    """The last part of a path or address, without a query."""
    return Path(str(path).split("?", 1)[0]).name
