"""A file server on loopback that answers every request after a delay, as a distant store does, and lists what was asked."""

from __future__ import annotations

import http.server
import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder: Path, *, delay_s: float) -> Iterator[str]:
    """The address under which a process of its own serves a folder while the body runs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(str(folder), delay_s, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(folder: str, delay_s: float, pipe) -> None:
    asked: list[tuple[str, int, int]] = []

    class Files(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            if self.path == "/asked":
                self._send(200, json.dumps(asked).encode())
                asked.clear()
            else:
                self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            time.sleep(delay_s)
            file = Path(folder + self.path)
            if not file.is_file():
                self._send(404, b"")
                return
            size = file.stat().st_size
            match = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(match[1]), min(int(match[2] or size - 1), size - 1)) if match else (0, size - 1)
            if body:
                asked.append((self.path, first, last))
            with open(file, "rb") as opened:
                opened.seek(first)
                content = opened.read(last - first + 1) if body else b""
            headers = {"Content-Range": f"bytes {first}-{last}/{size}"} if match else {}
            self._send(206 if match else 200, content, length=last - first + 1, **headers)

        def _send(self, status: int, content: bytes, length: int | None = None, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.send_header("Accept-Ranges", "bytes")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Nothing on the terminal."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # the default of 5 lets connections wait for a second and more
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Files)
    pipe.send(server.server_address[1])
    server.serve_forever()
