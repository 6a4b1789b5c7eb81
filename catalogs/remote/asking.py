"""Ranges of bytes over HTTP: asked for, proven, and asked for again."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from catalogs.remote.connections import AGENT, IN_FLIGHT, PASSING_STATUS, Connections, Passing, retry_after, words
from catalogs.remote.hrefs import Gone, Refused, RemoteError, Source, checked, environment_of, shown
from catalogs.remote.signing import s3_hosts, signer_of

log = logging.getLogger(__name__)

REDIRECTS = 5

LEAST_TRIES = 3
"""What a request gets of a host on which others lost patience: it may be back."""


class Reply(NamedTuple):
    body: bytes
    size: int
    version: str


class _Host:
    """What readers of one host tell one another: when it may be asked again, and since when it has not answered."""

    def __init__(self) -> None:
        self.quiet_until = 0.0
        self.down_since: float | None = None


_SLOTS = threading.BoundedSemaphore(IN_FLIGHT)


@lru_cache(maxsize=16)
def client_of(source: Source) -> Client:
    return Client(source)


def _target(url: str, pool: Any) -> str:
    """What stands in the request line: path and query, as servers expect; the whole address for a proxy of plain HTTP."""
    if getattr(pool, "proxy", None) is not None and url.startswith("http://"):
        return url
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class Client:
    """Asks for ranges on behalf of one source; any number of threads."""

    def __init__(self, source: Source) -> None:
        self.source, self.patience = source, source.patience
        self._http = Connections(source.trusted_hosts)
        self._stores = Connections(s3_hosts(environment_of(source.provider)))
        self._hosts: dict[str, _Host] = {}
        self._signer = signer_of(source)

    def get(self, href: str, start: int, stop: int, *, same_as: Reply | None = None) -> Reply:
        """Bytes `start` to `stop` (or the end) of a file, of the size and version of an earlier reply.

        Raises
        ------
        RemoteError
            When what is wrong will not pass, or has not passed while patience lasted.
        """
        host = self._hosts.setdefault(urlsplit(href).netloc, _Host())
        began, wait_s, tries = time.monotonic(), self.patience.first_wait_s, 0
        troubles: Counter[str] = Counter()  # each by itself: a busy server says nothing of a web page
        while True:
            time.sleep(max(0.0, host.quiet_until - time.monotonic()))
            try:
                with _SLOTS:
                    reply = self._ask(href, start, stop, host)
                if same_as is not None and (reply.size, reply.version) != (same_as.size, same_as.version):
                    raise Passing("it changed while it was read", tries=4)
            except Passing as trouble:
                tries += 1
                troubles[trouble.what] += 1
                now = time.monotonic()
                if trouble.down:
                    host.down_since = host.down_since or now
                    host.quiet_until = max(host.quiet_until, now + trouble.quiet_s)
                else:
                    host.down_since = None
                pause_s = max(trouble.quiet_s, wait_s * random.uniform(0.5, 1.0))
                since = min(began, host.down_since or began) if tries >= LEAST_TRIES else began
                patient_until = since + self.patience.give_up_after_s
                if (trouble.tries is not None and troubles[trouble.what] >= trouble.tries) or now + pause_s > patient_until:
                    lasted = f"after {tries} tries in {now - began:.0f} s" if tries > 1 else "at the first try"
                    raise RemoteError(trouble.sentence or f"{shown(href)} cannot be read: {trouble.what} ({lasted})") from None
                log.debug("%s, bytes %d to %d: %s; once more in %.1f s", shown(href), start, stop, trouble.what, pause_s)
                time.sleep(pause_s)
                wait_s = min(2 * wait_s, self.patience.longest_wait_s)
            else:
                host.down_since = None
                if tries:
                    log.info("%s answered after %d tries", shown(href), tries + 1)
                return reply

    def _ask(self, href: str, start: int, stop: int, host: _Host) -> Reply:
        """One try: a request, its redirects, and the proof of the answer."""
        import urllib3
        from urllib3.exceptions import HTTPError, SSLError

        name = shown(href)
        signed = self._signer.signed(href)
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", "User-Agent": AGENT}
        patience = self.patience
        timeout = urllib3.Timeout(connect=patience.connect_s, read=patience.silence_s)
        url, connections = signed, self._stores if href.startswith("s3://") else self._http
        for _ in range(REDIRECTS + 1):
            response = None
            try:
                pool = connections.pool_for(url)
                response = pool.urlopen(
                    "GET", _target(url, pool), headers=headers, redirect=False, retries=False, preload_content=False,
                    timeout=timeout, assert_same_host=False,
                )  # fmt: skip
                onward = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
                if onward is None or self._signer.explains(href, response):
                    if response.status != 206 and not _fails(response.status):  # a body may yet fall silent
                        host.down_since = None
                    return self._proven(name, href, signed, response, start, stop)
                target = urljoin(url, onward)
            except (HTTPError, OSError) as error:
                most = 4 if isinstance(error, SSLError) else None
                raise Passing(words(error, patience), tries=most, down=True) from None
            finally:
                if response is not None:
                    response.close() if response.status != 206 else response.release_conn()
            url, connections = self._onward(name, url, target), self._http
        raise RemoteError(f"{name} cannot be read: redirected more than {REDIRECTS} times")

    def _onward(self, name: str, url: str, target: str) -> str:
        """Where a redirect leads, if it may lead there; it carries nothing of ours along."""
        if not target.startswith("https://" if url.startswith("https://") else ("http://", "https://")):
            raise Refused(f"{name} leads to {shown(target)}, which is not followed")
        return checked(target, self.source)

    def _proven(self, name: str, href: str, signed: str, response: Any, start: int, stop: int) -> Reply:
        """The body of an answer that is what was asked for."""
        status, headers = response.status, response.headers
        if status == 206:
            match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
            first, last, size = (int(part) for part in match.groups()) if match else (-1, -1, -1)
            body = self._body(response, stop - start)
            if (first, last + 1) != (start, min(stop, size)):
                raise Passing("the server answers with another part than was asked for", tries=6)
            if len(body) != last + 1 - first or headers.get("Content-Encoding", "identity") != "identity":
                raise Passing("the server's answer is not as long as it says", tries=6)
            return Reply(body, size, headers.get("ETag", "").removeprefix("W/"))
        if status in PASSING_STATUS:
            wait_s = retry_after(headers.get("Retry-After"))
            raise Passing(f"the server answers {status}", quiet_s=wait_s, down=_fails(status))
        if status == 416 and start == 0:
            raise RemoteError(f"{name} cannot be read as a raster (it is empty)")
        if status == 416:  # one copy of a store may be behind the others
            ends = f"it ends before byte {start}"
            raise Passing(ends, tries=2, sentence=f"{name} is damaged or cut short, its pixels cannot be read ({ends})")
        if status == 200:
            kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
            page = kind == "text/html"
            what = "it is a web page, perhaps a login or an error" if page else "the server gives no part of a file"
            raise Passing(what, tries=4)
        self._signer.refused(href, signed, response)
        why = {401: "it wants a login", 403: "access is denied", 404: "it is not there", 410: "it is not there any more"}
        kind = Gone if status in (404, 410) else RemoteError
        raise kind(f"{name} cannot be read: {why.get(status, 'the server refuses')} ({status}){self._signer.hint(status)}")

    def _body(self, response: Any, most: int) -> bytes:
        """What comes until the end; one byte too many is enough. A trickle ends as a silence does.

        Read at once, because each piece that Python handles costs as much as decoding some kilobytes.
        """
        pieces, left = [], most + 1
        with _WATCH.over(response, self.patience.one_answer_s) as watched:
            try:
                while left and (piece := response.read(left, decode_content=False)):  # the last, empty one proves the length
                    pieces.append(piece)
                    left -= len(piece)
            finally:
                if watched.ended:
                    raise TimeoutError
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Watched:
    def __init__(self, response: Any, ends: float) -> None:
        self.response, self.ends, self.ended = response, ends, False


class _Watch:
    """Ends answers that take too long, from a thread of its own: no time limit of a socket does, while some bytes come."""

    EVERY_S = 0.25

    def __init__(self) -> None:
        self._watched: set[_Watched] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, response: Any, most_s: float) -> Iterator[_Watched]:
        """While the body runs a response may be read for so long; then it is shut, and `ended` is true."""
        one = _Watched(response, time.monotonic() + most_s)
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
                self._thread.start()
            self._watched.add(one)
            if len(self._watched) == 1:
                self._changed.notify()
        try:
            yield one
        finally:
            with self._changed:
                self._watched.discard(one)

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watched)
                now = time.monotonic()
                for one in [one for one in self._watched if now > one.ends]:
                    self._watched.discard(one)
                    one.ended = True
                    with suppress(Exception):  # whatever a connection that breaks meanwhile may say
                        one.response.shutdown()
            time.sleep(self.EVERY_S)


_WATCH = _Watch()


def _fails(status: int) -> bool:
    """Whether an answer says that the server has trouble, not the file."""
    return status >= 500 or status == 429
