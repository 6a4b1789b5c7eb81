"""What a LAS or LAZ file says of itself: its public header, its records, and where its points lie."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from catalogs.lidar.ranges import Ranges, open_ranges
from catalogs.lidar.references import Bounds

HEAD = 1 << 16
NEWEST_FORMAT = 10
SMALLEST_RECORD = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)  # bytes by point format: LAS 1.4 R15, tables 7-17
LAYERED_FROM = 6  # formats whose LAZ keeps each attribute in a layer of its own
LARGEST_RECORDS = 1 << 24  # a CRS is small; waveforms and point indices are skipped
PIECE_POINTS = 50_000  # of a LAS without compression, which could be cut anywhere; nearly every LAZ has it
ADJUSTED_TIME_ZERO = dt.datetime(1980, 1, 6) + dt.timedelta(seconds=1e9)  # LAS 1.4 R15, table 4; leap seconds aside
COPC_NODE = struct.Struct("<iiiiQii")  # level, x, y, z, offset, bytes, points: COPC 1.0, entry of a hierarchy page


@dataclass(frozen=True)
class Header:
    """The public header block of a LAS file, as it stands: nothing in it is trusted yet.

    `bounds` are west, south, east, north in the file's unit; `z_range` its least and largest height. `point_format`
    without the bits that mark compression. `creation` is the day the file was written (None where it says none).
    `adjusted_time`: GPS times are seconds since 6 January 1980 minus 1e9, not seconds of a week.
    """

    path: str
    size: int
    version: tuple[int, int]
    point_format: int
    record_length: int
    points: int
    scales: tuple[float, float, float]
    offsets: tuple[float, float, float]
    bounds: Bounds
    z_range: tuple[float, float]
    data_start: int
    compressed: bool
    creation: dt.date | None
    adjusted_time: bool
    software: str
    fingerprint: str
    records: Mapping[tuple[str, int], bytes]

    @cached_property
    def is_copc(self) -> bool:
        """Whether the points lie in an octree: Cloud Optimized Point Cloud."""
        return ("copc", 1) in self.records and self.compressed

    @property
    def laszip(self) -> bytes:
        """The record that says how the points were compressed."""
        return self.records[("laszip encoded", 22204)]


def read_header(path: str) -> Header:
    """The header of a LAS or LAZ file, local or at an address, refused where its points could not be read.

    Raises
    ------
    FileNotFoundError, OSError
        If the file cannot be had.
    ValueError
        If it is not LAS, is cut off or damaged, holds 0 points, or is of a version or format that does not exist.

    References
    ----------
    ASPRS LAS specification 1.4 R15, public header block and variable length records.
    """
    with open_ranges(path) as ranges:
        return header_of(path, ranges)


def header_of(path: str, ranges: Ranges) -> Header:
    """As `read_header`, of a file that is open already."""
    size = ranges.size
    head = ranges.read(0, HEAD)
    if len(head) < 227 or head[:4] != b"LASF":
        raise ValueError(f"{path} is not a LAS or LAZ file, or is cut off ({size} bytes)")
    header_size, data_start = struct.unpack_from("<HI", head, 94)
    if len(head) < max(header_size, 227):
        raise ValueError(f"{path} is cut off inside its header ({size} bytes)")
    version, point_format, length = (head[24], head[25]), head[104] & 0x3F, struct.unpack_from("<H", head, 105)[0]
    if version[0] != 1 or version[1] > 4:
        raise ValueError(f"{path} says it is LAS {version[0]}.{version[1]}; LAS 1.0 to 1.4 can be read, so convert it")
    if point_format > NEWEST_FORMAT:
        raise ValueError(f"{path} has point format {point_format}; LAS knows 0 to {NEWEST_FORMAT}: it is damaged, or no LAS")
    if length < SMALLEST_RECORD[point_format]:
        raise ValueError(
            f"{path} is damaged: its points have {length} bytes, those of format {point_format} have at least "
            f"{SMALLEST_RECORD[point_format]}"
        )
    compressed = bool(head[104] & 0xC0)
    points = _point_count(head, version)
    if len(head) < min(data_start, size):
        head = ranges.read(0, data_start)
    records = _records(ranges, head, version)
    laszip = records.get(("laszip encoded", 22204), b"")
    if compressed and laszip[:2] == b"\x01\0":
        raise ValueError(f"{path} is a LAZ without chunks, as none is written since 2011; compress it again")
    _refuse_cut_off(path, ranges, data_start, length, points, compressed)
    if points == 0:
        raise ValueError(f"{path} holds 0 points; take it out of the campaign")
    if compressed and not laszip:
        raise ValueError(f"{path} is damaged: its points are compressed, but the record that says how is missing")
    doubles = struct.unpack_from("<12d", head, 131)
    scales, offsets, (east, west, north, south, top, bottom) = doubles[:3], doubles[3:6], doubles[6:]
    if not (np.isfinite(doubles[:6]).all() and min(scales) > 0):
        raise ValueError(f"{path} is damaged: its header gives the scales {scales} and offsets {offsets}")
    if not (np.isfinite([west, south, east, north]).all() and west <= east and south <= north):
        raise ValueError(f"the header of {path} gives an impossible box: {west}, {south}, {east}, {north}")
    # A LAZ keeps its chunk table at its end: size, first and last 64 kB change with the points.
    tail = ranges.read(max(0, size - HEAD), HEAD)
    fingerprint = hashlib.sha256(str(size).encode() + ranges.stamp.encode() + head[:HEAD] + tail).hexdigest()
    return Header(
        path, size, version, point_format, length, points, scales, offsets, (west, south, east, north), (bottom, top),
        data_start, compressed, _creation(head), bool(head[6] & 1), _text(head[58:90]), fingerprint, records,
    )  # fmt: skip


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def _creation(head: bytes) -> dt.date | None:
    day, year = struct.unpack_from("<HH", head, 90)
    if not (1 <= day <= 366 and 1990 <= year <= 2100):
        return None
    return dt.date(year, 1, 1) + dt.timedelta(days=day - 1)


def _point_count(head: bytes, version: tuple[int, int]) -> int:
    """The point count of LAS 1.4 where there is one, else that of LAS 1.0-1.3."""
    count = struct.unpack_from("<I", head, 107)[0]
    if version >= (1, 4) and len(head) >= 255:
        return struct.unpack_from("<Q", head, 247)[0] or count
    return count


def _refuse_cut_off(path: str, ranges: Ranges, data_start: int, length: int, points: int, compressed: bool) -> None:
    """Raise where the file is shorter than its header promises; a LAZ shows it by a chunk table beyond its end."""
    size = ranges.size
    if not compressed:
        needed = data_start + points * length
        if size < needed:
            raise ValueError(f"{path} is cut off: {points} points need {needed} bytes, the file has {size}")
        return
    table = _table_start(ranges, data_start)
    if points and not data_start < table <= size - 8:
        raise ValueError(f"{path} is cut off or damaged: its table of compressed chunks is not in its {size} bytes")
    start = ranges.read(table, 8) if table > 0 else b""
    version, chunks = struct.unpack("<II", start) if len(start) == 8 else (0, 0)
    if points and (version != 0 or not 0 < chunks <= points):  # the decoder would not survive such a table
        raise ValueError(f"{path} is damaged: its table lists {chunks} compressed chunks for {points} points")


def _table_start(ranges: Ranges, data_start: int) -> int:
    pointer = ranges.read(data_start, 8)
    table = struct.unpack("<q", pointer)[0] if len(pointer) == 8 else 0
    if table == -1:  # a writer that could not seek back puts the position at the very end
        pointer = ranges.read(max(0, ranges.size - 8), 8)
        table = struct.unpack("<q", pointer)[0] if len(pointer) == 8 else 0
    return table


def _records(ranges: Ranges, head: bytes, version: tuple[int, int]) -> dict[tuple[str, int], bytes]:
    """Variable length records of the header, then extended ones at the file's end, by user and number."""
    records: dict[tuple[str, int], bytes] = {}
    position, count = struct.unpack_from("<H", head, 94)[0], struct.unpack_from("<I", head, 100)[0]
    for _ in range(count):
        if position + 54 > len(head):
            break
        user, number, length = head[position + 2 : position + 18], *struct.unpack_from("<HH", head, position + 18)
        records[_text(user), number] = head[position + 54 : position + 54 + length]
        position += 54 + length
    if version >= (1, 4) and len(head) >= 247:
        position, count = struct.unpack_from("<QI", head, 235)
        for _ in range(count):
            if not 0 < position <= ranges.size - 60:
                break
            start = ranges.read(position, 60)
            number, length = struct.unpack_from("<HQ", start, 18)
            if length < LARGEST_RECORDS:
                records.setdefault((_text(start[2:18]), number), ranges.read(position + 60, length))
            position += 60 + length
    return records


@dataclass(frozen=True)
class Pieces:
    """Where the runs of points lie that can be decoded on their own, in file order.

    `start`, `length` int64: bytes; `points` int64; `first` int64: number of a piece's first point. `boxes` float64
    (n x 4): west, south, east, north of each piece in the file's unit, None where they are not known.
    """

    start: np.ndarray
    length: np.ndarray
    points: np.ndarray
    boxes: np.ndarray | None = None

    @cached_property
    def first(self) -> np.ndarray:
        return np.cumsum(self.points) - self.points


def pieces_of(header: Header, ranges: Ranges) -> Pieces:
    """The pieces of a file: nodes of a COPC octree with their boxes, chunks of a LAZ, runs of a LAS.

    Raises
    ------
    ValueError
        If the table of chunks, or the octree, does not fit the file or its number of points.

    References
    ----------
    Isenburg 2013, LASzip: lossless compression of LiDAR data, PE&RS 79(2). Hobu Inc. 2021, COPC 1.0.
    """
    if not header.compressed:
        first = np.arange(0, header.points, PIECE_POINTS, dtype=np.int64)
        points = np.minimum(PIECE_POINTS, header.points - first)
        return Pieces(header.data_start + first * header.record_length, points * header.record_length, points)
    return _octree(header, ranges) if header.is_copc else _chunks(header, ranges)


def _chunks(header: Header, ranges: Ranges) -> Pieces:
    import io

    import lazrs

    table = _table_start(ranges, header.data_start)
    raw = ranges.read(table, min(ranges.size - table, LARGEST_RECORDS))
    try:
        settings = lazrs.LazVlr(header.laszip)
        listed = lazrs.read_chunk_table_only(io.BytesIO(raw), settings)
    except Exception:
        raise ValueError(
            f"{header.path} is damaged: its table of compressed chunks cannot be read; copy or fetch it again"
        ) from None
    points, length = np.array(listed, np.int64).reshape(-1, 2).T
    if not settings.uses_variable_size_chunks():  # then the table lists bytes alone: all are full but the last
        full = settings.chunk_size()
        points = np.clip(header.points - full * np.arange(len(length), dtype=np.int64), 0, full)
    start = header.data_start + 8 + np.cumsum(length) - length
    if points.sum() != header.points or (points < 0).any() or start[-1] + length[-1] > table:
        raise ValueError(
            f"{header.path} is damaged: its table of compressed chunks accounts for {int(points.sum())} of "
            f"{header.points} points, or for more bytes than there are"
        )
    return Pieces(start, length, points)


def _octree(header: Header, ranges: Ranges) -> Pieces:
    info = struct.unpack_from("<5d2Q", header.records[("copc", 1)])
    centre, half, page = np.array(info[:3]), info[3], (info[5], info[6])
    nodes, pages = [], [page]
    while pages:
        start, length = pages.pop()
        raw = ranges.read(start, length)
        if len(raw) < length or length % COPC_NODE.size or len(nodes) * COPC_NODE.size > ranges.size:
            raise ValueError(f"{header.path} is cut off or damaged: a page of its octree is not in its {ranges.size} bytes")
        for level, x, y, _, at, size, count in COPC_NODE.iter_unpack(raw):
            if count == -1:
                pages.append((at, size))
            elif count > 0:
                nodes.append((at, size, count, level, x, y))
    nodes.sort()
    if sum(node[2] for node in nodes) != header.points:
        raise ValueError(
            f"{header.path} is damaged: its octree holds {sum(node[2] for node in nodes)} of {header.points} points"
        )
    start, length, points, level, x, y = np.array(nodes, np.int64).T
    side = 2 * half / 2.0**level
    west, south = centre[0] - half + x * side, centre[1] - half + y * side
    return Pieces(start, length, points, np.stack([west, south, west + side, south + side], axis=1))


# Points as they lie in a piece


def record_type(header: Header) -> np.dtype:
    """The attributes we read of a point record, at their places; extra bytes and waveforms are passed over."""
    fields = {"X": ("<i4", 0), "Y": ("<i4", 4), "Z": ("<i4", 8), "intensity": ("<u2", 12), "returns": ("u1", 14)}
    if header.point_format >= LAYERED_FROM:
        fields |= {"flags": ("u1", 15), "class": ("u1", 16), "source": ("<u2", 20), "time": ("<f8", 22)}
    else:
        fields |= {"class": ("u1", 15), "source": ("<u2", 18)}
        if header.point_format != 0 and header.point_format != 2:
            fields["time"] = ("<f8", 20)
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [place for _, place in fields.values()],
            "itemsize": header.record_length,
        }
    )


@dataclass(frozen=True)
class Records:
    """Decoded point records, with the attributes of old and new point formats named alike."""

    header: Header
    raw: np.ndarray

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, which) -> Records:
        return Records(self.header, self.raw[which])

    @property
    def _new(self) -> bool:
        return self.header.point_format >= LAYERED_FROM

    @cached_property
    def whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates along each axis as the file holds them, int32, side by side."""
        return tuple(np.ascontiguousarray(self.raw[axis]) for axis in "XYZ")

    @cached_property
    def extremes(self) -> list[tuple[np.int32, np.int32]]:
        """Least and greatest of each of `whole`."""
        return [(values.min(), values.max()) for values in self.whole]

    def place(self, axis: int) -> np.ndarray:
        """Coordinates along an axis (0, 1, 2) in the file's unit, float64."""
        return self.whole[axis] * self.header.scales[axis] + self.header.offsets[axis]

    @cached_property
    def box(self) -> Bounds:
        """West, south, east, north of the points, in the file's unit."""
        (west, east), (south, north) = (
            [float(end * self.header.scales[axis] + self.header.offsets[axis]) for end in self.extremes[axis]] for axis in (0, 1)
        )
        return west, south, east, north

    @property
    def classification(self) -> np.ndarray:
        # LAS 1.0 has no flags in the byte of the class; LAS 1.1 put them into its upper three bits.
        return self.raw["class"] if self._new or self.header.version == (1, 0) else self.raw["class"] & 0x1F

    @property
    def return_number(self) -> np.ndarray:
        return self.raw["returns"] & (0x0F if self._new else 0x07)

    @property
    def number_of_returns(self) -> np.ndarray:
        return self.raw["returns"] >> 4 if self._new else (self.raw["returns"] >> 3) & 0x07

    def _flag(self, new: int, old: int | None) -> np.ndarray:
        if self._new:
            return self.raw["flags"] & new != 0
        if old is None or self.header.version == (1, 0):
            return np.zeros(len(self.raw), bool)
        return self.raw["class"] & old != 0

    @property
    def synthetic(self) -> np.ndarray:
        return self._flag(0x01, 0x20)

    @property
    def withheld(self) -> np.ndarray:
        return self._flag(0x04, 0x80)

    @property
    def overlap(self) -> np.ndarray:
        """Of more than one flight line: the flag of new formats, class 12 of any."""
        return self._flag(0x08, None) | (self.classification == 12)

    @property
    def intensity(self) -> np.ndarray:
        return self.raw["intensity"]

    @property
    def source(self) -> np.ndarray:
        return self.raw["source"]

    @property
    def time(self) -> np.ndarray:
        """GPS time in seconds; 0 where the format has none."""
        return self.raw["time"] if "time" in self.raw.dtype.names else np.zeros(len(self.raw))


LAYERS = {"intensity": "INTENSITY", "time": "GPS_TIME", "source": "POINT_SOURCE_ID"}
"""Attributes that cost a layer of their own to decode, by laspy's name of it."""


def decode(header: Header, ranges: Ranges, pieces: Pieces, number: int, *, extra: tuple[str, ...] = ()) -> Records:
    """The points of one piece: coordinates, returns, class and flags, and what of `LAYERS` is asked for.

    Raises
    ------
    ValueError
        If the piece is damaged or cut off, or coordinates have run against the limits of their integers.
    """
    raw = ranges.read(int(pieces.start[number]), int(pieces.length[number]))
    return decoded(header, raw, pieces, number, extra=extra)


def decoded(header: Header, raw: bytes, pieces: Pieces, number: int, *, extra: tuple[str, ...] = ()) -> Records:
    """As `decode`, of bytes that are there already."""
    count, first = int(pieces.points[number]), int(pieces.first[number])
    if len(raw) < pieces.length[number]:
        raise ValueError(f"{header.path} is cut off: points from number {first} on")
    if header.compressed:
        raw = _decompressed(header, raw, count, first, extra)
    records = Records(header, np.frombuffer(raw, record_type(header), count))
    refuse_overflow(records)
    return records


def refuse_overflow(records: Records) -> None:
    """Raise where coordinates have run against the limits of their integers."""
    limits, header = np.iinfo(np.int32), records.header
    for axis, scale, (least, most) in zip("XYZ", header.scales, records.extremes, strict=True):
        if least == limits.min or most == limits.max:
            raise ValueError(
                f"{header.path} holds points at the limits of its integers ({axis.lower()}, scale {scale:g}): its writer "
                "overflowed, so write it again with a coarser scale or a nearer offset"
            )


def _decompressed(header: Header, raw: bytes, count: int, first: int, extra: tuple[str, ...]) -> np.ndarray:
    import lazrs
    from laspy import DecompressionSelection as Layer

    needed = Layer.XY_RETURNS_CHANNEL | Layer.Z | Layer.CLASSIFICATION | Layer.FLAGS
    for name in extra:
        needed |= Layer[LAYERS[name]]
    out = np.zeros(count * header.record_length, np.uint8)
    try:
        # One chunk keeps one thread busy, so that jobs side by side do not compete; many at once would use all cores.
        lazrs.decompress_points_with_chunk_table(raw, header.laszip, out, [(count, len(raw))], needed.to_lazrs())
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # a damaged chunk may panic in the decoder, which is no Exception; its words help no one
        raise ValueError(
            f"{header.path} is cut off or damaged: its points from number {first} on cannot be decoded; copy or fetch it again"
        ) from None
    return out


def first_points(header: Header, ranges: Ranges, pieces: Pieces, *, at_most: int) -> Records:
    """The first point of up to `at_most` pieces spread over the file, without decoding: a chunk starts with it as it is.

    So a lying header, overflown integers and the days of flight show at the price of a few small reads.
    """
    spread = np.unique(np.linspace(0, len(pieces.start) - 1, min(at_most, len(pieces.start))).astype(int))
    length = header.record_length
    raw = b"".join(ranges.read(int(pieces.start[piece]), length) for piece in spread)
    return Records(header, np.frombuffer(raw, record_type(header), len(raw) // length))


def days(header: Header, time: np.ndarray) -> tuple[dt.date, dt.date] | None:
    """First and last day of GPS times; None where they are seconds of a week, or not set."""
    time = time[np.isfinite(time) & (time != 0)]
    if not header.adjusted_time or not len(time):
        return None
    first, last = float(time.min()), float(time.max())
    if not -1e9 <= first <= last <= 3e9:  # 1980 to 2106
        return None
    return tuple((ADJUSTED_TIME_ZERO + dt.timedelta(seconds=seconds)).date() for seconds in (first, last))
