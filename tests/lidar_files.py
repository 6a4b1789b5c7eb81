"""Lidar files for tests: tiles of any version and format, small COPC octrees, a server that answers ranges."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import laspy
import lazrs
import numpy as np
from pyproj import CRS

UTM = "EPSG:32633"
EVERYWHERE = (-1e9, -1e9, 1e9, 1e9)


def write_tile(
    path: Path,
    x,
    y,
    z=0.0,
    *,
    crs: str | None = UTM,
    point_format: int = 6,
    version: str | None = None,
    scale: float = 0.01,
    offsets=(0.0, 0.0, 0.0),
    adjusted_time: bool = False,
    creation=None,
    **columns,
) -> str:
    """A LAS or LAZ tile, by the ending of its name; `columns` are laspy's dimensions by name."""
    header = laspy.LasHeader(version=version or ("1.4" if point_format >= 6 else "1.2"), point_format=point_format)
    header.scales, header.offsets = np.full(3, scale), np.array(offsets)
    header.creation_date = creation
    if adjusted_time:
        header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    if crs:
        header.add_crs(CRS.from_user_input(crs))
    points = laspy.ScaleAwarePointRecord.zeros(len(x), header=header)
    points.x, points.y, points.z = x, y, np.broadcast_to(z, len(x))
    for name, values in ({"classification": 1, "return_number": 1, "number_of_returns": 1} | columns).items():
        points[name] = np.broadcast_to(values, len(x))
    with laspy.open(path, mode="w", header=header, laz_backend=laspy.LazBackend.Lazrs) as file:
        file.write_points(points)
    return str(path)


def scattered(n: int, *, seed: int = 1, west: float = 500_000, south: float = 5_000_000, size_m: float = 200.0):
    """Random places in a square, in flight order (rising y), at whole centimetres."""
    rng = np.random.default_rng(seed)
    return west + np.round(rng.random(n) * size_m, 2), south + np.round(np.sort(rng.random(n)) * size_m, 2)


def patched(path: str | Path, place: int, form: str, *values) -> str:
    """The file with some bytes of its header overwritten."""
    content = bytearray(Path(path).read_bytes())
    struct.pack_into(form, content, place, *values)
    Path(path).write_bytes(content)
    return str(path)


def write_copc(path: Path, x, y, z, *, crs: str = UTM, levels: int = 3, scale: float = 0.01, shift_m: float = 0.0) -> str:
    """A COPC file: points dealt at random to the levels of an octree, each node a chunk, nodes in no spatial order.

    `shift_m` moves the octree that the file claims to have away from its points.
    """
    las = Path(path).with_suffix(".plain.las")
    write_tile(las, x, y, z, crs=crs, scale=scale, gps_time=np.arange(len(x)) / 100.0)
    with laspy.open(las) as reader:
        header, points = reader.header, reader.read_points(-1)
    las.unlink()
    west, south, low = np.min(x), np.min(y), np.min(z)
    half = max(np.ptp(x), np.ptp(y), np.ptp(z)) / 2 + scale
    rng = np.random.default_rng(5)
    level = rng.integers(0, levels, len(x))
    side = 2 * half / 2.0**level
    keys = np.stack([level, *(np.floor((v - low0) / side).astype(int) for v, low0 in ((x, west), (y, south), (z, low)))], 1)
    nodes = np.unique(keys, axis=0)
    settings = lazrs.LazVlr.new_for_compression(6, 0, True)
    wkt = CRS.from_user_input(crs).to_wkt().encode() + b"\0"
    points_at, body = 375 + (54 + 160) + (54 + len(settings.record_data())) + (54 + len(wkt)), io.BytesIO()
    compressor = lazrs.LasZipCompressor(body, settings)
    compressor.reserve_offset_to_chunk_table()
    keys_in_file = nodes[rng.permutation(len(nodes))].tolist()
    for key in keys_in_file:
        own = points.array[(keys == key).all(axis=1)]
        compressor.compress_many(np.frombuffer(own.tobytes(), np.uint8))
        compressor.finish_current_chunk()
    compressor.done()
    content = bytearray(body.getvalue())
    chunks = lazrs.read_chunk_table(io.BytesIO(bytes(content)), settings)
    place, pages = points_at + 8, b""
    for key, (count, size) in zip(keys_in_file, chunks, strict=False):  # the compressor ends with an empty chunk
        pages += struct.pack("<iiiiQii", *key, place, size, count)
        place += size
    struct.pack_into("<q", content, 0, points_at + struct.unpack_from("<q", content)[0])
    hierarchy_at = points_at + len(content) + 60
    info = struct.pack("<5d2Q2d", west + half + shift_m, south + half, low + half, half, 1.0, hierarchy_at, len(pages), 0, 0)
    info += bytes(160 - len(info))

    def record(user: bytes, number: int, data: bytes) -> bytes:
        return struct.pack("<H16sHH32s", 0, user, number, len(data), b"") + data

    head = io.BytesIO()
    header.write_to(head)
    raw = bytearray(head.getvalue()[:375])
    raw[104] = 6 | 0x80
    struct.pack_into("<I", raw, 96, points_at)
    struct.pack_into("<I", raw, 100, 3)
    struct.pack_into("<QI", raw, 235, points_at + len(content), 1)
    records = record(b"copc", 1, info) + record(b"laszip encoded", 22204, settings.record_data())
    records += record(b"LASF_Projection", 2112, wkt)
    tail = struct.pack("<H16sHQ32s", 0, b"copc", 1000, len(pages), b"") + pages
    Path(path).write_bytes(bytes(raw) + records + bytes(content) + tail)
    return str(path)


@contextmanager
def served(folder: Path, *, ranges: bool = True, fail_first: int = 0) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The files of a folder at an address of this machine, and the list of (path, range) that were asked for."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted = self.headers.get("Range", "")
            asked.append((self.path, wanted))
            file = folder / self.path.split("?", 1)[0].lstrip("/")
            if len(asked) <= fail_first:
                return self._answer(503, b"")
            if not file.is_file():
                return self._answer(404, b"")
            content = file.read_bytes()
            if not (ranges and wanted):
                return self._answer(200, content)
            first, last = wanted.removeprefix("bytes=").split("-")
            part = content[int(first) : int(last) + 1]
            return self._answer(206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")

        def _answer(self, status: int, content: bytes, place: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if place:
                self.send_header("Content-Range", place)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
