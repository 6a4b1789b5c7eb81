"""Airborne lidar as others deliver it: tiles found by their headers, points of a window, canopy height rasters."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from affine import Affine
    from pyproj import CRS, Transformer

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]

NOISE_CLASSES = (7, 18)  # low and high noise: ASPRS LAS 1.4 R15, table 17
STEPS_PER_M = 20_000  # coordinates are kept on a lattice of 0.05 mm, finer than any scale that tiles are written with
METRES = {"m": 1.0, "ft": 0.3048, "us-ft": 1200 / 3937}  # metres per unit: international and US survey foot
UNIT_OF_EPSG = {9001: "m", 9002: "ft", 9003: "us-ft"}
PIECE_POINTS = 50_000  # points per LAZ chunk, as nearly every writer sets it: what can be decoded on its own
RUN_PIECES = 20
HEADER_TOLERANCE = 1.0  # a tile's points may leave its header's box by this much, in its own unit


@dataclass(frozen=True)
class Tile:
    """A point file, or a canopy height raster, as its header describes it.

    `bounds` are west, south, east, north in the unit of `crs`; `points` counts points, or cells of a raster.
    `vertical_unit` is what the file says of heights (None where it says nothing). `fingerprint` changes with the
    file's size, first or last 64 kB: a LAZ keeps its chunk table at its end.
    """

    path: str
    bounds: Bounds
    points: int
    crs: str | None
    point_format: int | None
    fingerprint: str
    vertical_unit: str | None = None


@dataclass(frozen=True)
class Points:
    """Points of a window in the study's CRS: metres, x and y on a lattice of 0.05 mm, in file order.

    `x`, `y`, `z` float64, `classification` uint8 (ASPRS), `first_return` bool. `withheld` and `noise` count what was
    left out inside the window.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    classification: np.ndarray
    first_return: np.ndarray
    withheld: int = 0
    noise: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def select(self, mask: np.ndarray) -> Points:
        """The points where `mask` holds; nothing is counted as left out."""
        return Points(self.x[mask], self.y[mask], self.z[mask], self.classification[mask], self.first_return[mask])

    def inside(self, bounds: Bounds) -> np.ndarray:
        """Which points lie in `bounds`, half open as pixels are: west <= x < east, south < y <= north."""
        return _inside(self.x, self.y, bounds)


def no_points() -> Points:
    """A window without points."""
    empty = np.empty(0)
    return Points(empty, empty, empty, np.empty(0, np.uint8), np.empty(0, bool))


def concat(parts: Sequence[Points]) -> Points:
    """All points of `parts`, in their order, with their counts added."""
    if not parts:
        return no_points()
    columns = ("x", "y", "z", "classification", "first_return")
    return Points(
        *(np.concatenate([getattr(part, column) for part in parts]) for column in columns),
        withheld=sum(part.withheld for part in parts),
        noise=sum(part.noise for part in parts),
    )


def _inside(x: np.ndarray, y: np.ndarray, bounds: Bounds) -> np.ndarray:
    west, south, east, north = bounds
    return (x >= west) & (x < east) & (y > south) & (y <= north)


def on_lattice(values: np.ndarray) -> np.ndarray:
    """Values on the 0.05 mm lattice: a point has the same bytes whatever scale and offset its tile was written with."""
    return np.rint(values * STEPS_PER_M) / STEPS_PER_M


# Tiles, by their headers


def index_tiles(source: str | Sequence[str], *, crs: str | None = None) -> list[Tile]:
    """The LAS and LAZ tiles of a campaign, from their headers alone.

    Parameters
    ----------
    source : str or sequence of str
        A folder (its *.las, *.laz and *.copc.laz, by name), one file, or a list of files.
    crs : str, optional
        What the tiles' coordinates are in; it replaces whatever the files say, vertical unit included.

    Raises
    ------
    FileNotFoundError
        If the folder, a file, or any tile in the folder is missing.
    ValueError
        If a tile is damaged, cut off or empty; if its CRS is missing or geographic; if tiles differ in CRS; if two
        files hold the same points.

    References
    ----------
    ASPRS LAS specification 1.4 R15, public header block and variable length records.
    """
    tiles = [_read_header(path, crs) for path in _tile_paths(source)]
    first = tiles[0]
    seen: dict[tuple, str] = {}
    for tile in tiles:
        if tile.crs != first.crs and not _same_crs(tile.crs, first.crs):
            raise ValueError(
                f"tiles of one campaign differ in CRS: {first.path} is in {_crs_name(first.crs)}, {tile.path} in "
                f"{_crs_name(tile.crs)}; make two campaigns of them, or set crs if the files are wrong"
            )
        if tile.vertical_unit != first.vertical_unit:
            raise ValueError(
                f"tiles of one campaign differ in vertical unit: {first.path} says {first.vertical_unit}, {tile.path} "
                f"says {tile.vertical_unit}; make two campaigns of them, or set crs and vertical_unit"
            )
        twin = seen.setdefault((tile.bounds, tile.points), tile.path)
        if twin != tile.path:
            raise ValueError(f"{twin} and {tile.path} hold the same points (same box, same count); keep one of them")
    return tiles


def _tile_paths(source: str | Sequence[str]) -> list[Path]:
    if not isinstance(source, str | os.PathLike):
        paths = [Path(path) for path in source]
        if not paths:
            raise ValueError("the list of lidar tiles is empty")
    elif Path(source).is_dir():
        paths = sorted(path for path in Path(source).iterdir() if path.suffix.lower() in (".las", ".laz"))
        if not paths:
            raise FileNotFoundError(f"there is no .las or .laz file in the folder {source}")
    else:
        paths = [Path(source)]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"lidar tile or folder {path} does not exist")
    return paths


def _read_header(path: Path, crs: str | None) -> Tile:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1 << 16)
        if len(head) < 227 or head[:4] != b"LASF":
            raise ValueError(f"{path} is not a LAS or LAZ file, or is cut off ({size} bytes)")
        header_size, data_start = struct.unpack_from("<HI", head, 94)
        if len(head) < max(header_size, 227):
            raise ValueError(f"{path} is cut off inside its header ({size} bytes)")
        points = _point_count(head)
        _refuse_cut_off(path, file, head, size, points)
        if points == 0:
            raise ValueError(f"{path} holds 0 points; take it out of the campaign")
        if len(head) < min(data_start, size):
            file.seek(0)
            head = file.read(data_start)
        records = _records(file, head, size)
        file.seek(max(0, size - (1 << 16)))
        fingerprint = hashlib.sha256(str(size).encode() + head[: 1 << 16] + file.read()).hexdigest()
    found, unit = (crs, None) if crs else _crs_of(records)
    if found is None:
        raise ValueError(f"{path} does not say which CRS its coordinates are in; set crs of the campaign")
    name = _checked_crs(found, path)
    east, west, north, south = struct.unpack_from("<4d", head, 179)
    if not (np.isfinite([west, south, east, north]).all() and west <= east and south <= north):
        raise ValueError(f"the header of {path} gives an impossible box: {west}, {south}, {east}, {north}")
    unit = None if crs else unit or _vertical_unit(name)
    return Tile(str(path), (west, south, east, north), points, name, head[104] & 0x3F, fingerprint, unit)


def _point_count(head: bytes) -> int:
    """The point count of LAS 1.4 where there is one, else that of LAS 1.0-1.3."""
    count = struct.unpack_from("<I", head, 107)[0]
    if (head[24], head[25]) >= (1, 4) and len(head) >= 255:
        return struct.unpack_from("<Q", head, 247)[0] or count
    return count


def _refuse_cut_off(path: Path, file, head: bytes, size: int, points: int) -> None:
    """Raise where the file is shorter than its header promises; a LAZ shows it by a chunk table beyond its end."""
    data_start, length = struct.unpack_from("<I", head, 96)[0], struct.unpack_from("<H", head, 105)[0]
    if not head[104] & 0x80:
        needed = data_start + points * length
        if size < needed:
            raise ValueError(f"{path} is cut off: {points} points need {needed} bytes, the file has {size}")
        return
    file.seek(data_start)
    pointer = file.read(8)
    table = struct.unpack("<q", pointer)[0] if len(pointer) == 8 else 0
    if table == -1:  # a writer that could not seek back puts the position at the very end
        file.seek(size - 8)
        table = struct.unpack("<q", file.read(8))[0]
    if points and not data_start < table <= size - 8:
        raise ValueError(f"{path} is cut off or damaged: its table of compressed chunks is not in its {size} bytes")
    file.seek(table)
    version, chunks = struct.unpack("<II", file.read(8))
    if points and (version != 0 or not 0 < chunks <= points):  # the decoder would not survive such a table
        raise ValueError(f"{path} is damaged: its table lists {chunks} compressed chunks for {points} points")


def _records(file, head: bytes, size: int) -> dict[tuple[str, int], bytes]:
    """Variable length records of the header, then extended ones at the file's end, by user and number."""
    records: dict[tuple[str, int], bytes] = {}
    position, count = struct.unpack_from("<H", head, 94)[0], struct.unpack_from("<I", head, 100)[0]
    for _ in range(count):
        if position + 54 > len(head):
            break
        user, number, length = head[position + 2 : position + 18], *struct.unpack_from("<HH", head, position + 18)
        records[_text(user), number] = head[position + 54 : position + 54 + length]
        position += 54 + length
    if (head[24], head[25]) >= (1, 4):
        position, count = struct.unpack_from("<QI", head, 235)
        for _ in range(count):
            if not 0 < position <= size - 60:
                break
            file.seek(position)
            start = file.read(60)
            number, length = struct.unpack_from("<HQ", start, 18)
            if length < 1 << 24:  # a CRS is small; waveforms and point indices are skipped
                records.setdefault((_text(start[2:18]), number), file.read(length))
            position += 60 + length
    return records


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def _crs_of(records: dict[tuple[str, int], bytes]) -> tuple[str | None, str | None]:
    """The CRS as WKT or EPSG code, and the vertical unit where GeoTIFF keys name one."""
    wkt = _text(records.get(("LASF_Projection", 2112), b""))
    keys = _geo_keys(records.get(("LASF_Projection", 34735), b""))
    unit = UNIT_OF_EPSG.get(keys.get(4099, 0))
    if wkt:
        return wkt, unit
    for key in (3072, 2048):  # ProjectedCSTypeGeoKey before GeographicTypeGeoKey; 32767 means user-defined
        if keys.get(key, 32767) not in (0, 32767):
            return f"EPSG:{keys[key]}", unit
        if key == 3072 and keys.get(1024) == 1:  # projected, but not by a code
            break
    return None, unit


def _geo_keys(raw: bytes) -> dict[int, int]:
    values = struct.unpack_from(f"<{len(raw) // 2}H", raw)
    entries = [values[start : start + 4] for start in range(4, len(values) - 3, 4)]
    return {key: value for key, place, _, value in entries if place == 0}


@lru_cache(maxsize=64)
def _parsed(crs: str) -> CRS:
    from pyproj import CRS

    return CRS.from_user_input(crs)


@lru_cache(maxsize=64)
def _horizontal(crs: str) -> CRS:
    parsed = _parsed(crs)
    return parsed.sub_crs_list[0] if parsed.is_compound else parsed.to_2d()


def _crs_name(crs: str) -> str:
    return _parsed(crs).name


def _checked_crs(crs: str, path: Path) -> str:
    """`crs`, refused where PROJ cannot read it or where it counts degrees."""
    from pyproj.exceptions import CRSError

    try:
        geographic = not _horizontal(crs).is_projected
    except CRSError:
        shown = crs if len(crs) < 60 else f"{crs[:57]}..."
        raise ValueError(f"the CRS of {path} cannot be read ({shown}); set crs of the campaign") from None
    if geographic:
        raise ValueError(
            f"{path} is in {_crs_name(crs)}, which is not projected; heights and areas need coordinates in metres, so "
            "reproject it, or set crs of the campaign if the file is wrong"
        )
    return crs


@lru_cache(maxsize=64)
def _vertical_unit(crs: str) -> str | None:
    """The unit of heights that a compound CRS names."""
    parsed = _parsed(crs)
    if not parsed.is_compound:
        return None
    factor = parsed.sub_crs_list[1].axis_info[0].unit_conversion_factor
    return next((unit for unit, metres in METRES.items() if abs(factor / metres - 1) < 1e-7), None)


@lru_cache(maxsize=64)
def _same_crs(one: str, other: str) -> bool:
    return _horizontal(one).equals(_horizontal(other), ignore_axis_order=True)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(_horizontal(source), _horizontal(target), always_xy=True)


def _mover(source: str, target: str, bounds: Bounds) -> Transformer | None:
    """The horizontal transformation from one CRS to another, None where it moves `bounds` by less than 1 mm."""
    if _same_crs(source, target):
        return None
    transformer = _transformer(source, target)
    west, south, east, north = bounds
    corners_x, corners_y = np.array([west, west, east, east]), np.array([south, north, south, north])
    moved_x, moved_y = transformer.transform(corners_x, corners_y)
    if max(np.abs(moved_x - corners_x).max(), np.abs(moved_y - corners_y).max()) < 1e-3:
        return None
    return transformer


# Points


@dataclass
class PointReader:
    """Reads windows of a campaign's tiles; remembers where each tile's pieces lie, so none is decoded in vain.

    The first window that touches a tile decodes it once; later windows decode only the pieces (runs of 50,000 points,
    which are compact because points are stored in flight order) that touch them. Memory is that of one window.
    """

    tiles: Sequence[Tile]
    crs: str
    vertical_unit: str = "m"
    _boxes: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.vertical_unit not in METRES:
            raise ValueError(f"vertical unit {self.vertical_unit!r} is not one of {', '.join(METRES)}")
        stated = {tile.vertical_unit for tile in self.tiles} - {None}
        if stated - {self.vertical_unit}:
            raise ValueError(
                f"{self.tiles[0].path} says its heights are in {stated.pop()}, the campaign says {self.vertical_unit}; "
                "set vertical_unit of the campaign, or crs if the file is wrong"
            )
        example = self.tiles[0]
        if self._movers[example.path] is not None:
            log.info(
                "points are reprojected across, heights kept: %s to %s", _crs_name(example.crs), _crs_name(self.crs)
            )
        across = _horizontal(example.crs).axis_info[0]
        if not stated and self.vertical_unit == "m" and abs(across.unit_conversion_factor - 1) > 1e-9:
            log.warning(
                "%s counts %s across and says nothing of heights, which are read as metres; set vertical_unit if they "
                "are feet too", example.path, across.unit_name,
            )  # fmt: skip

    @cached_property
    def _movers(self) -> dict[str, Transformer | None]:
        return {tile.path: _mover(tile.crs, self.crs, tile.bounds) for tile in self.tiles}

    def bounds_of(self, tile: Tile) -> Bounds:
        """The box of a tile in the study's CRS, by its header, with the tolerance that headers are given."""
        west, south, east, north = tile.bounds
        box = west - HEADER_TOLERANCE, south - HEADER_TOLERANCE, east + HEADER_TOLERANCE, north + HEADER_TOLERANCE
        mover = self._movers[tile.path]
        return box if mover is None else mover.transform_bounds(*box, densify_pts=21)

    @cached_property
    def _tile_boxes(self) -> np.ndarray:
        return np.array([self.bounds_of(tile) for tile in self.tiles]).T

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The tiles whose header boxes touch `bounds`."""
        return [self.tiles[number] for number in np.flatnonzero(_overlap(self._tile_boxes, bounds))]

    def points(self, bounds: Bounds) -> Points:
        """All points in `bounds` (half open, see `Points.inside`) but withheld and noise, which are counted.

        Raises
        ------
        ValueError
            If a tile is damaged, or holds points more than 1 unit outside the box that its header gives.
        """
        parts = [part for tile in self.touching(bounds) for part in self._tile_points(tile, bounds)]
        return concat(parts)

    def _tile_points(self, tile: Tile, bounds: Bounds) -> list[Points]:
        boxes = self._boxes.get(tile.path)
        pieces = -(-tile.points // PIECE_POINTS)
        wanted = np.ones(pieces, bool) if boxes is None else _overlap(boxes.T, bounds)
        parts, found = [], []
        for first, last in _runs(wanted):
            start, stop = first * PIECE_POINTS, min(last * PIECE_POINTS, tile.points)
            record = _decode(tile, start, stop - start)
            x, y = self._place(tile, record)
            if boxes is None:
                pieces_here = [slice(at, at + PIECE_POINTS) for at in range(0, len(x), PIECE_POINTS)]
                found += [_box(x[piece], y[piece]) for piece in pieces_here]
            mask = _inside(x, y, bounds)
            if mask.any():
                parts.append(self._harmonised(x[mask], y[mask], record[mask]))
        if boxes is None:
            self._boxes[tile.path] = np.array(found)
        return parts

    def _place(self, tile: Tile, record) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of decoded points in the study's CRS, on the lattice."""
        x, y = np.asarray(record.x), np.asarray(record.y)
        west, south, east, north = tile.bounds
        outside = max(west - x.min(), x.max() - east, south - y.min(), y.max() - north)
        if not outside <= HEADER_TOLERANCE:
            raise ValueError(
                f"{tile.path} holds points {outside:.1f} outside the box that its header gives; write it again with a "
                "right header, so that no window misses its points"
            )
        mover = self._movers[tile.path]
        if mover is not None:
            x, y = mover.transform(x, y)
        return on_lattice(x), on_lattice(y)

    def _harmonised(self, x: np.ndarray, y: np.ndarray, record) -> Points:
        classification = np.asarray(record.classification).astype(np.uint8)
        withheld = np.asarray(record.withheld).astype(bool)
        noise = np.isin(classification, NOISE_CLASSES) & ~withheld
        keep = ~(withheld | noise)
        z = _z(record[keep]) * METRES[self.vertical_unit]
        # A return number of 0 is not valid LAS: files without return numbers hold one return per pulse.
        first = np.asarray(record.return_number)[keep] <= 1
        return Points(x[keep], y[keep], z, classification[keep], first, int(withheld.sum()), int(noise.sum()))


def _z(record) -> np.ndarray:
    """Heights of decoded points in the file's unit, as whole multiples of its scale where its offset is one too.

    So a tile's own offset leaves no trace in the last bits, and heights have the bytes that other readers give them.
    """
    scale, offset = float(record.scales[2]), float(record.offsets[2])
    steps = np.rint(offset / scale)
    if abs(steps * scale - offset) > 1e-6 * scale:
        return on_lattice(np.asarray(record.z))
    return (np.asarray(record["Z"]) + steps) * scale


def read_points(tiles: Sequence[Tile], bounds: Bounds, *, crs: str, vertical_unit: str = "m") -> Points:
    """The points of `tiles` in `bounds`, in `crs` and metres; see `PointReader`, which many windows should share."""
    return PointReader(tiles, crs, vertical_unit).points(bounds)


def _overlap(boxes, bounds: Bounds):
    west, south, east, north = boxes
    return (west <= bounds[2]) & (east >= bounds[0]) & (south <= bounds[3]) & (north >= bounds[1])


def _box(x: np.ndarray, y: np.ndarray) -> Bounds:
    return x.min(), y.min(), x.max(), y.max()


def _runs(wanted: np.ndarray) -> list[tuple[int, int]]:
    """Runs of wanted pieces as (first, last), at most `RUN_PIECES` long, so that memory stays flat."""
    runs: list[tuple[int, int]] = []
    for piece in np.flatnonzero(wanted).tolist():
        if runs and runs[-1][1] == piece and piece - runs[-1][0] < RUN_PIECES:
            runs[-1] = runs[-1][0], piece + 1
        else:
            runs.append((piece, piece + 1))
    return runs


def _decode(tile: Tile, start: int, count: int):
    """`count` point records from the `start`-th on, as laspy gives them; only the layers that are needed."""
    import laspy
    from laspy import DecompressionSelection as Layer

    needed = Layer.XY_RETURNS_CHANNEL | Layer.Z | Layer.CLASSIFICATION | Layer.FLAGS
    try:
        with laspy.open(tile.path, laz_backend=laspy.LazBackend.Lazrs, decompression_selection=needed) as reader:
            reader.seek(start)
            record = reader.read_points(count)
    except FileNotFoundError:
        raise FileNotFoundError(f"lidar tile {tile.path} is gone since the campaign was listed") from None
    except Exception as error:  # a damaged file can fail anywhere in the decoder
        raise ValueError(f"{tile.path} is cut off or damaged: points from number {start} on ({error})") from error
    if len(record) != count:
        raise ValueError(f"{tile.path} is cut off: {start + len(record)} of {tile.points} points could be read")
    return record


# Canopy height rasters


def index_canopy(path: str, *, crs: str | None = None) -> Tile:
    """A canopy height raster as a tile: its box, number of cells, CRS and fingerprint.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or not a readable raster; if its CRS is missing or geographic.
    """
    import rasterio
    from rasterio.errors import RasterioError

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"canopy height raster {path} does not exist")
    try:
        with rasterio.open(path) as raster:
            found = crs or (raster.crs.to_wkt() if raster.crs else None)
            bounds, cells = tuple(raster.bounds), raster.width * raster.height
    except RasterioError as error:
        raise ValueError(f"{path} cannot be read as a raster; it may be cut off or damaged ({error})") from error
    if found is None:
        raise ValueError(f"{path} does not say which CRS it is in; set crs of the campaign")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(max(0, size - (1 << 16)))
        fingerprint = hashlib.sha256(str(size).encode() + head + stream.read()).hexdigest()
    return Tile(str(path), bounds, cells, _checked_crs(found, file), None, fingerprint)


@dataclass(frozen=True)
class CanopyReader:
    """Reads windows of a canopy height raster as points; the counterpart of `PointReader`."""

    tile: Tile
    crs: str
    vertical_unit: str = "m"

    def points(self, bounds: Bounds) -> Points:
        """Cell centres in `bounds` with their canopy height; see `canopy_points`."""
        return canopy_points(self.tile, bounds, crs=self.crs, vertical_unit=self.vertical_unit)

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The raster, where its box touches `bounds`."""
        mover = _mover(self.tile.crs, self.crs, self.tile.bounds)
        box = self.tile.bounds if mover is None else mover.transform_bounds(*self.tile.bounds, densify_pts=21)
        return [self.tile] if _overlap(box, bounds) else []


def canopy_points(raster: str | Tile, bounds: Bounds, *, crs: str, vertical_unit: str = "m") -> Points:
    """A canopy height raster as points at its cell centres, each a first return of class 5 (high vegetation).

    Parameters
    ----------
    raster : str or Tile
        The file, or its entry by `index_canopy` (where its CRS may have been overridden).
    bounds : tuple
        West, south, east, north in `crs`; half open as in `Points.inside`.

    Returns
    -------
    Points
        `z` is height above ground in metres. Missing cells give no point and are not counted.

    Raises
    ------
    ValueError
        If the raster is damaged, or its CRS is missing or geographic.
    """
    tile = raster if isinstance(raster, Tile) else index_canopy(raster)
    mover = _mover(tile.crs, crs, tile.bounds)
    needed = bounds if mover is None else mover.transform_bounds(*bounds, densify_pts=21, direction="INVERSE")
    x, y, z = _canopy_cells(tile, needed)
    if mover is not None:
        x, y = mover.transform(x, y)
    x, y = on_lattice(x), on_lattice(y)
    keep = _inside(x, y, bounds)
    z = on_lattice(z[keep] * METRES[vertical_unit])
    return Points(x[keep], y[keep], z, np.full(len(z), 5, np.uint8), np.ones(len(z), bool))


def _canopy_cells(tile: Tile, bounds: Bounds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and values of the cells that hold one, of the part of a raster around `bounds`, in its own units."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    try:
        with rasterio.open(tile.path) as raster:
            west, south, east, north = bounds
            corners_x, corners_y = np.array([west, west, east, east]), np.array([south, north, south, north])
            cols, rows = _apply(~raster.transform, corners_x, corners_y)
            col0, col1 = max(0, int(np.floor(cols.min()))), min(raster.width, int(np.ceil(cols.max())) + 1)
            row0, row1 = max(0, int(np.floor(rows.min()))), min(raster.height, int(np.ceil(rows.max())) + 1)
            if col0 >= col1 or row0 >= row1:
                return np.empty(0), np.empty(0), np.empty(0)
            heights = raster.read(1, window=Window(col0, row0, col1 - col0, row1 - row0), masked=True)
            transform, scale, offset = raster.transform, raster.scales[0], raster.offsets[0]
    except RasterioError as error:
        raise ValueError(f"{tile.path} is cut off or damaged: its cells cannot be read ({error})") from error
    values = heights.filled(0).astype(np.float64) * scale + offset
    row, col = np.nonzero(~np.ma.getmaskarray(heights) & np.isfinite(values))
    x, y = _apply(transform, col + col0 + 0.5, row + row0 + 0.5)
    return x, y, values[row, col]


def _apply(transform: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f
