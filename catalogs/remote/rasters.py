"""Rasters behind hrefs: bytes proven by `asking`, decoded by GDAL."""

from __future__ import annotations

import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.remote.asking import Client, client_of
from catalogs.remote.connections import IN_FLIGHT
from catalogs.remote.hrefs import Refused, RemoteError, Source, checked, shown

if TYPE_CHECKING:
    import numpy as np
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

HEAD_BYTES = 32 * 1024
"""First request of a file: the header and tile index of a Sentinel-2 band as COG (10980 px, tiles of 512) fit into it."""

PAGE_BYTES, PAGES = 16 * 1024, 16
"""Small reads (headers) come in pages, kept per file; tiles come as they are asked for and are not kept."""

AROUND_BYTES = 16
"""What GDAL reads around a tile of a COG: four bytes before it, which tell its length, and eight after it."""

NEIGHBOUR_BYTES = 4096
"""Tiles with no more than this between them are fetched in one request: it costs less than the delay of another."""


class Raster:
    """A rasterio dataset (whatever it offers, this offers) whose pixels are handed over only when all their bytes are proven.

    Any thread may use it, one at a time, others wait: open one for each thread that shall read at the same time. One that
    failed stays failed, since GDAL may have kept half of a tile index: close it and open the file anew.
    """

    def __init__(self, dataset: DatasetReader, name: str, content: _Content | None, context: Context) -> None:
        """`context`: what `rasterio.open` ran in; rasterio finds the file's opener in no other."""
        self._dataset, self._name, self._content, self._context = dataset, name, content, context
        self._lock = threading.Lock()

    def __getattr__(self, attribute: str) -> Any:
        value = self._run(getattr, self._dataset, attribute)
        return partial(self._run, value) if callable(value) else value

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _run(self, work: Callable, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            return self._context.run(work, *arguments, **named)

    def read(self, *arguments: Any, **named: Any) -> np.ndarray:
        """What `DatasetReader.read` gives; RemoteError where a part cannot be had or does not decode."""
        try:
            return self._run(self._read, *arguments, **named)
        finally:
            if self._content is not None:
                self._content.ahead = ()

    def runs(self, window: Window, *, band: int = 1) -> list[tuple[int, int]]:
        """Where the tiles under a window lie in the file: ranges (start, stop), neighbours joined; none where that is not
        known (JPEG 2000, a local file), or where GDAL would read other bytes than those of tiles."""
        return [] if self._content is None else self._run(self._runs, window, band)

    def _runs(self, window: Window, band: int) -> list[tuple[int, int]]:
        dataset = self._dataset
        if dataset.driver != "GTiff":
            return []
        height, width = dataset.block_shapes[band - 1]
        rows = range(int(window.row_off) // height, -(-int(window.row_off + window.height) // height))
        cols = range(int(window.col_off) // width, -(-int(window.col_off + window.width) // width))
        found: list[tuple[int, int]] = []
        for row in rows:
            for col in cols:
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
                size = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
                if offset is not None and size is not None:  # None: a tile that is left out of the file
                    found.append((int(offset), int(offset) + int(size)))
        size = self._content.size
        return _joined([(max(start - AROUND_BYTES, 0), min(stop + AROUND_BYTES, size)) for start, stop in found if stop <= size])

    def fetch(self, runs: Sequence[tuple[int, int]]) -> None:
        """Fetch what `runs` tells, for the next `read` to find it in memory; RemoteError as there, and for good."""
        if self._content is not None:
            self._content.fetch(runs)

    def _read(self, *arguments: Any, **named: Any) -> np.ndarray:
        from rasterio.errors import RasterioError

        problem = self._problem
        if problem is None:
            try:
                pixels = self._dataset.read(*arguments, **named)
            except (RasterioError, OSError) as error:
                problem = self._problem or RemoteError(
                    f"{self._name} is damaged or cut short, its pixels cannot be read ({_first_line(error)})"
                )
            else:
                problem = self._problem
        if problem is not None:
            raise problem from None
        return pixels

    @property
    def _problem(self) -> RemoteError | None:
        return self._content.problem if self._content is not None else None


def open_raster(href: str, source: Source | None = None) -> Raster:
    """The GeoTIFF or JPEG 2000 file behind an href.

    One request opens a COG; a read fetches all tiles of its window at once, neighbours in one request. At most `IN_FLIGHT`
    requests of a process are under way.

    Parameters
    ----------
    source : Source, optional
        Where the href comes from; None where it is the caller's own.

    Raises
    ------
    RemoteError
        When the file is not there, not allowed, or no such raster, after as much patience as the source has.
    """
    return Beginning.of(href, source or Source()).open()


@dataclass(frozen=True)
class Beginning:
    """The first bytes of a file that may be read: what waits for a network to open it is done, the rest is GDAL's."""

    place: str
    driver: str
    content: _Content | None

    @classmethod
    def of(cls, href: str, source: Source) -> Beginning:
        """What is behind an href; RemoteError as `open_raster`."""
        place = checked(href, source)
        name = shown(place)
        if "://" in place:
            content = _Content(client_of(source), place)
            return cls(place, _driver_of(content.head, name), content)
        if not Path(place).is_file():
            raise RemoteError(f"the file {name} does not exist")
        try:
            with open(place, "rb") as file:
                return cls(place, _driver_of(file.read(64), name), None)
        except OSError as error:
            raise RemoteError(f"{name} cannot be read as a raster ({_first_line(error)})") from None

    def open(self) -> Raster:
        """The raster; RemoteError as `open_raster`."""
        import rasterio
        from rasterio.errors import RasterioError

        name, content, context = shown(self.place), self.content, copy_context()
        try:
            if content is None:
                dataset = context.run(rasterio.open, self.place, driver=self.driver)
            else:
                _known_to_rasterio()
                dataset = context.run(rasterio.open, name, driver=self.driver, opener=_Container(name, content))
        except (RasterioError, OSError) as error:
            if content is not None and content.problem is not None:
                raise content.problem from None
            raise RemoteError(f"{name} cannot be read as a raster ({_first_line(error)})") from None
        if content is not None and content.problem is not None:
            context.run(dataset.close)
            raise content.problem
        return Raster(dataset, name, content, context)


def read_window(raster: Raster, window: Window | None = None, *, band: int = 1) -> np.ndarray:
    """Pixels (rows, cols) of a band as they are stored.

    Raises
    ------
    RemoteError
        When a part cannot be had or does not decode; no pixel of a failed read is handed over.
    """
    return raster.read(band, window=window)


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (start, stop) in order, those that lie close together made one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= NEIGHBOUR_BYTES:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _driver_of(head: bytes, name: str) -> str:
    """The one driver that may open a file, by its first bytes: what a file says it is counts, not its name."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "GTiff"
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or head[:4] == b"\xff\x4f\xff\x51":
        return "JP2OpenJPEG"
    if head.lstrip()[:1] == b"<":
        raise Refused(f"{name} cannot be read as a raster (it is a web page or XML, perhaps a login or an error)")
    raise Refused(f"{name} cannot be read as a raster (it is neither GeoTIFF nor JPEG 2000)")


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    text = str(cause).strip() or str(error).strip()
    return re.sub(r"/vsiriopener_\w+/", "", text.splitlines()[0])[:200] if text else type(error).__name__


class _Content:
    """The bytes of a remote file: size and version fixed by the first answer, small reads in pages, problems kept."""

    def __init__(self, client: Client, href: str) -> None:
        self.client, self.href = client, href
        self.first = client.get(href, 0, HEAD_BYTES)
        self.head, self.size = self.first.body, self.first.size
        self.problem: RemoteError | None = None
        self.ahead: Sequence[tuple[int, bytes]] = ()
        """What was fetched before it is read: ranges that begin somewhere, and their bytes."""
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._asked_again = False

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Have ranges in memory when they are read; RemoteError is kept as of any read."""
        bodies = self.read_all(ranges)
        self.ahead = [(start, body) for (start, _), body in zip(ranges, bodies, strict=True)]

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to `stop` or the end of the file; RemoteError is kept as well, for GDAL forgets it."""
        try:
            if start >= self.size > len(self.head):
                self._ask_again()
            stop = min(stop, self.size)
            if start >= stop:
                return b""
            for first, body in ((0, self.head), *self.ahead):
                if first <= start and stop <= first + len(body):
                    return body[start - first : stop - first]
            if stop - start >= PAGE_BYTES:
                return self._get(start, stop)
            pages = range(start // PAGE_BYTES, (stop - 1) // PAGE_BYTES + 1)
            joined = b"".join(self._page(number) for number in pages)
            begin = start - pages.start * PAGE_BYTES
            return joined[begin : begin + stop - start]
        except RemoteError as error:
            self.problem = self.problem or error
            raise

    def read_all(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges (start, stop) at once."""
        beyond = max((stop for _, stop in ranges), default=0)
        if beyond > self.size:
            self._ask_again()
        if beyond > self.size:
            self.problem = self.problem or RemoteError(
                f"{shown(self.href)} is damaged or cut short, its pixels cannot be read (it has {self.size} bytes and its "
                f"tiles reach to {beyond})"
            )
            raise self.problem
        if len(ranges) == 1 or self.ahead:
            return [self.read(*one) for one in ranges]
        return list(_pool().map(lambda one: self.read(*one), ranges))

    def _ask_again(self) -> None:
        """Ask once more how long a file is that seems cut short; a longer one of the same version is believed."""
        with self._lock:
            if self._asked_again:
                return
            self._asked_again = True
        try:
            again = self.client.get(self.href, 0, HEAD_BYTES)
        except RemoteError as error:
            self.problem = self.problem or error
            raise
        if again.version == self.first.version and again.size > self.size:
            with self._lock:
                self._pages.clear()  # the last one ended where the file seemed to
            self.first, self.head, self.size = again, again.body, again.size

    def _page(self, number: int) -> bytes:
        with self._lock:
            if number in self._pages:
                self._pages.move_to_end(number)
                return self._pages[number]
        start = number * PAGE_BYTES
        page = self._get(start, min(start + PAGE_BYTES, self.size))
        with self._lock:
            self._pages[number] = page
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        return page

    def _get(self, start: int, stop: int) -> bytes:
        return self.client.get(self.href, start, stop, same_as=self.first).body


class _Container:
    """What rasterio asks about files: there is one, and nothing beside it."""

    def __init__(self, name: str, content: _Content) -> None:
        self.name, self.content = name, content

    def open(self, path: str, mode: str = "rb", **_options: Any) -> _Cursor:
        if path != self.name:
            raise FileNotFoundError(path)
        return _Cursor(self.content)

    def isfile(self, path: str) -> bool:
        return path == self.name

    def isdir(self, _path: str) -> bool:
        return False

    def ls(self, _path: str) -> list[str]:
        return []

    def mtime(self, _path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self.content.size if path == self.name else 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)


class _Cursor(io.RawIOBase):
    """A place in a remote file, as GDAL reads it."""

    def __init__(self, content: _Content) -> None:
        self.content, self.place = content, 0

    def read(self, size: int = -1) -> bytes:
        stop = self.content.size if size < 0 else self.place + size
        try:
            found = self.content.read(self.place, stop)
        except RemoteError:  # kept by the content; GDAL sees a file that ends here, which it reports
            return b""
        self.place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.content.size}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Several ranges at once. After a problem, bytes that nobody will see: rasterio passes no failure on from here."""
        ranges = [(start, start + size) for start, size in zip(offsets, sizes, strict=True)]
        try:
            return self.content.read_all(ranges)
        except RemoteError:
            return [bytes(size) for size in sizes]

    def close(self) -> None:
        pass


@lru_cache(maxsize=1)
def _known_to_rasterio() -> None:
    """Tell rasterio what a container and a cursor can do, on first use: importing it takes a while."""
    from rasterio._vsiopener import MultiByteRangeResource
    from rasterio.abc import MultiByteRangeResourceContainer

    MultiByteRangeResourceContainer.register(_Container)
    MultiByteRangeResource.register(_Cursor)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="ranges")
