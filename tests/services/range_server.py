"""Files of a folder over HTTP on loopback, by ranges, with faults on purpose and a log of what was asked.

`python -m services.range_server FOLDER --latency-ms 50` serves from a process of its own, as benchmarks want it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import fnmatch
import json
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

HTML = b"<!DOCTYPE html><html><body>Please sign in to continue</body></html>"
REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 403: "Forbidden", 404: "Not Found", 416: "Range Not Satisfiable",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip
KINDS = ("status", "reset", "short", "fewer", "lie", "wrong_range", "whole", "stall", "html", "truncated", "changed", "redirect")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with requests for `path` (a pattern); which of them, `first`, `after` or `probability` say.

    kind : `status` (answers `status` with `headers`), `reset` (connection reset after half of the body), `short`
        (closed after half of it), `fewer` (a shorter body than asked, announced as such), `lie` (a shorter body,
        announced as the range asked for), `wrong_range` (bytes of another place, announced as such), `whole` (200 and
        the whole file), `stall` (half of the body, then `seconds` of silence), `html` (200 and a web page), `truncated`
        (the file ends at half of its size), `changed` (another ETag), `redirect` (to `location`)
    first : only the first so many requests of a path; None: every one
    after : not before so many requests of a path
    probability : of each request that remains, drawn from `seed`, the path and its number, so that runs agree
    """

    kind: str
    path: str = "*"
    first: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 60.0
    location: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not a kind of fault; there are {', '.join(KINDS)}")

    def strikes(self, path: str, number: int) -> bool:
        """Whether the `number`-th request (from 0) of a path goes wrong."""
        if not fnmatch.fnmatch(path, self.path) or number < self.after:
            return False
        if self.first is not None and number >= self.after + self.first:
            return False
        return self.probability >= 1 or random.Random(f"{self.seed} {path} {number}").random() < self.probability


@dataclass(frozen=True)
class Request:
    """What was asked and answered: bytes `start` to `stop` (None: the whole), and the fault that struck, if any."""

    path: str
    method: str
    start: int | None
    stop: int | None
    status: int
    fault: str | None
    at_s: float


@dataclass
class Tokens:
    """Shared access signatures: what was given out at `/token/{account}/{container}` and is still good.

    lifetime_s : how long a token says it lives. `revoke` ends all of them earlier than they say.
    """

    lifetime_s: float = 3600.0
    given: int = 0
    good: set[str] = field(default_factory=set)

    def give(self) -> dict[str, str]:
        self.given += 1
        signature = f"secret{self.given:04d}"
        self.good.add(signature)
        end = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.lifetime_s)).isoformat().replace("+00:00", "Z")
        return {"msft:expiry": end, "token": f"st=2020-01-01T00%3A00%3A00Z&se={end.replace(':', '%3A')}&sp=rl&sig={signature}"}

    def revoke(self) -> None:
        self.good.clear()

    def accepts(self, query: Mapping[str, Sequence[str]]) -> bool:
        signature, end = (query.get(name, [""])[0] for name in ("sig", "se"))
        return signature in self.good and dt.datetime.fromisoformat(end) > dt.datetime.now(dt.UTC)


class RangeServer:
    """A folder over HTTP/1.1 on 127.0.0.1; a context manager, and killed and revived with `stop` and `start`.

    Parameters
    ----------
    folder : path
        What is served.
    faults : sequence of Fault
        The first that strikes wins; may be replaced while the server runs.
    latency_s : float
        What every request waits before its answer.
    tls : SSLContext, optional
        Where given, the server speaks HTTPS.
    tokens : Tokens, optional
        Where given, files need a good signature, and `/token/...` gives one.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        faults: Sequence[Fault] = (),
        latency_s: float = 0.0,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.folder, self.faults, self.latency_s, self.tokens, self.port = Path(folder), list(faults), latency_s, tokens, port
        self.tls = tls
        self.log: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()

    def __enter__(self) -> RangeServer:
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; after a `stop` on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Die as a killed process does: nobody listens, and every connection is reset."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _reset(connection)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Dead while the body runs."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def requests(self, pattern: str = "*") -> list[Request]:
        """What was asked of the paths that match, in order of arrival."""
        with self._lock:
            return [request for request in self.log if fnmatch.fnmatch(request.path, pattern)]

    def forget(self) -> None:
        """Begin counting anew."""
        with self._lock:
            self.log, self.most_at_once = [], self._at_once
            self._seen.clear()

    # ------------------------------------------------------------ one connection

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except OSError:  # the other side does not trust us
                return
        stream = connection.makefile("rb")
        try:
            while self._listener is not None and (asked := _read_request(stream)):
                with self._lock:
                    self._at_once += 1
                    self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    goes_on = self._answer(connection, *asked)
                finally:
                    with self._lock:
                        self._at_once -= 1
                if not goes_on:
                    return
        except (OSError, ValueError):
            return
        finally:
            stream.close()
            connection.close()
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, connection: socket.socket, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Answer one request; whether the connection goes on."""
        if self.latency_s:
            time.sleep(self.latency_s)
        parts = urlsplit(target)
        path = unquote(parts.path)
        with self._lock:
            number = self._seen[path]
            self._seen[path] += 1
            fault = next((one for one in self.faults if one.strikes(path, number)), None)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        start = int(asked[1]) if asked else None
        stop = int(asked[2]) + 1 if asked and asked[2] else None

        def note(status: int) -> None:
            with self._lock:
                self.log.append(Request(path, method, start, stop, status, fault.kind if fault else None, time.monotonic()))

        def say(status: int, body: bytes = b"", **more: str) -> bool:
            note(status)
            connection.sendall(_head(status, len(body), more) + (b"" if method == "HEAD" else body))
            return True

        if self.tokens is not None and path.startswith("/token/") and fault is None:
            return say(200, json.dumps(self.tokens.give()).encode(), Content_Type="application/json")
        if fault and fault.kind == "status":
            return say(fault.status, b"no", **dict(fault.headers))
        if fault and fault.kind == "html":
            return say(200, HTML, Content_Type="text/html; charset=utf-8")
        if fault and fault.kind == "redirect":
            return say(302, Location=fault.location)
        if self.tokens is not None and not self.tokens.accepts(parse_qs(parts.query)):
            return say(403, b"Signature not valid in the specified time frame")
        file = (self.folder / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.folder.resolve()) or not file.is_file():
            return say(404, b"no such file")
        size = file.stat().st_size
        if fault and fault.kind == "truncated":
            size //= 2
        tag = f'"{file.stat().st_mtime_ns:x}{"x" if fault and fault.kind == "changed" else ""}"'
        about = {"Content_Type": "image/tiff", "ETag": tag, "Accept_Ranges": "bytes"}
        if start is None or (fault and fault.kind == "whole"):
            return say(200, _part(file, 0, size), **about)
        end = min(size if stop is None else stop, size)
        if start >= size:
            return say(416, **about, Content_Range=f"bytes */{size}")
        if fault and fault.kind == "wrong_range":
            start_, end_ = (start + 7, end + 7) if end + 7 <= size else (max(start - 7, 0), max(end - 7, 1))
        elif fault and fault.kind == "fewer":
            start_, end_ = start, start + max((end - start) // 2, 1)
        else:
            start_, end_ = start, end
        body = _part(file, start_, end_)
        about["Content_Range"] = f"bytes {start_}-{end_ - 1}/{size}"
        if fault and fault.kind == "lie":
            return say(206, body[: len(body) // 2], **about)
        if fault and fault.kind in ("reset", "short", "stall"):
            note(206)
            connection.sendall(_head(206, len(body), about) + body[: len(body) // 2])
            if fault.kind == "stall":
                _wait(connection, fault.seconds)
            elif fault.kind == "reset":
                time.sleep(0.02)
                _reset(connection)
            return False
        return say(206, body, **about)


def _part(file: Path, start: int, stop: int) -> bytes:
    with open(file, "rb") as content:
        content.seek(start)
        return content.read(stop - start)


def _read_request(stream) -> tuple[str, str, dict[str, str]] | None:
    """Method, target and headers (lower case) of the next request; None when there is none."""
    line = stream.readline(65536)
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while (line := stream.readline(65536).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, target, headers


def _head(status: int, length: int, more: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"Content-Length: {length}"]
    lines += [f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reset(connection: socket.socket) -> None:
    """Close without a farewell: the other side sees a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes a thread that waits for the next request
    with contextlib.suppress(OSError):
        connection.close()


def _wait(connection: socket.socket, seconds: float) -> None:
    """Silence, until the other side has had enough."""
    connection.settimeout(seconds)
    with contextlib.suppress(OSError):
        connection.recv(1)


def main() -> None:
    """Serve a folder until standard input ends; the address is the first line of standard output."""
    import sys

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    with RangeServer(asked.folder, latency_s=asked.latency_ms / 1000, port=asked.port) as server:
        print(server.address, flush=True)
        sys.stdin.read()
        log = server.requests()
        print(json.dumps({"requests": len(log), "most_at_once": server.most_at_once}), flush=True)


if __name__ == "__main__":
    main()
