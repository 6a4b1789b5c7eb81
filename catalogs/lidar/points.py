"""Points of a window, from whichever tiles hold them: clipped, clean, in metres, the same bytes however they are tiled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from catalogs.lidar import references
from catalogs.lidar.headers import Header, Pieces, Records, decoded, header_of, pieces_of
from catalogs.lidar.held import (
    NOISE,
    OVERLAP,
    WITHHELD,
    Kept,
    Piece,
    columns_of,
    compact,
    of_classes,
    overlapping,
)
from catalogs.lidar.ranges import Ranges, is_remote, open_ranges
from catalogs.lidar.references import METRES, Bounds
from catalogs.lidar.thinning import CELL_M, Thinning, hashed, thinning_cells
from catalogs.lidar.tiles import HEADER_TOLERANCE, Tile, refuse_lying_box

if TYPE_CHECKING:
    from pyproj import Transformer

log = logging.getLogger(__name__)

NOISE_CLASSES = (7, 18)  # low and high noise: ASPRS LAS 1.4 R15, table 17
RUN_BYTES = 4 << 20  # pieces that lie side by side are fetched at once, up to this much
REMOTE_RUN_BYTES = 16 << 20  # a request over the network costs as much as a megabyte
HELD_BYTES = 360 << 20  # of decoded points for windows to come, about 15 bytes each
UNSORTED_PIECES = 8  # of fewer pieces each may well be as wide as the tile
COLUMNS = ("x", "y", "z", "classification", "first_return", "return_number", "number_of_returns")


@dataclass(frozen=True)
class Points:
    """Points of a window in the study's CRS: metres, x and y on a lattice of 0.05 mm, in file order.

    `x`, `y`, `z` float64, `classification` uint8 (ASPRS), `first_return` bool. `return_number` and `number_of_returns`
    uint8 and `intensity` uint16 where they were read, else None. `withheld`, `noise` and `overlap` count what was left
    out inside the window for that reason, `twins` what another tile holds too, `thinned` what was left out to thin it.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    classification: np.ndarray
    first_return: np.ndarray
    withheld: int = 0
    noise: int = 0
    overlap: int = 0
    thinned: int = 0
    twins: int = 0
    return_number: np.ndarray | None = None
    number_of_returns: np.ndarray | None = None
    intensity: np.ndarray | None = None
    time_s: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def select(self, mask: np.ndarray) -> Points:
        """The points where `mask` holds; nothing is counted as left out."""
        return Points(**{name: values[mask] for name, values in self.columns.items()})

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The attributes that were read, by name."""
        every = (*COLUMNS, "intensity", "time_s")
        return {name: values for name in every if (values := getattr(self, name)) is not None}

    def inside(self, bounds: Bounds) -> np.ndarray:
        """Which points lie in `bounds`, half open as pixels are: west <= x < east, south < y <= north."""
        return inside(self.x, self.y, bounds)


def no_points() -> Points:
    """A window without points."""
    empty = np.empty(0)
    return Points(empty, empty, empty, np.empty(0, np.uint8), np.empty(0, bool))


def concat(parts: Sequence[Points]) -> Points:
    """All points of `parts`, in their order, with their counts added; attributes that all parts have."""
    if not parts:
        return no_points()
    if len(parts) == 1:
        return parts[0]
    names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    counts = ("withheld", "noise", "overlap", "thinned", "twins")
    return Points(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
    )


def twins_of(points: Points, tiles: Sequence[slice], boxes: Sequence[Bounds]) -> np.ndarray:
    """Numbers of the points that are there already: tiles cut with a buffer hold the points of their edges twice.

    A point is the same where place, height, returns and class are. One that a tile holds twice by itself stays twice:
    what counts is only what an earlier tile holds as often. Only points inside another tile's box are looked at.

    Parameters
    ----------
    tiles : sequence of slice
        Which points are of which tile.
    boxes : sequence of tuple
        The tiles' boxes.
    """
    shared = []
    for number, own in enumerate(tiles):
        touched = [box for other, box in enumerate(boxes) if other != number and _touch(box, boxes[number])]
        shared.append(np.flatnonzero(_in_any(points.x[own], points.y[own], touched)) + own.start)
    twins, seen = [], np.empty(0, np.uint64)
    if sum(map(len, shared)) and sum(len(which) > 0 for which in shared) > 1:
        for which in shared:
            own = points.select(which)
            name = hashed(own.x, own.y, own.z, own.return_number, own.number_of_returns, own.classification)
            name = hashed(name.view(np.float64), _occurrence(name))
            twin = np.isin(name, seen)
            seen = np.concatenate([seen, name[~twin]])
            twins.append(which[twin])
    return np.concatenate(twins) if twins else np.empty(0, np.int64)


def _touch(box: Bounds, other: Bounds) -> bool:
    return box[0] <= other[2] and other[0] <= box[2] and box[1] <= other[3] and other[1] <= box[3]


def _in_any(x: np.ndarray, y: np.ndarray, boxes: Sequence[Bounds]) -> np.ndarray:
    found = np.zeros(len(x), bool)
    for west, south, east, north in boxes:
        found |= (x >= west) & (x <= east) & (y >= south) & (y <= north)
    return found


def _occurrence(names: np.ndarray) -> np.ndarray:
    """How many equal names stand before each."""
    order = np.argsort(names, kind="stable")
    opens = np.ones(len(names), bool)
    opens[1:] = names[order][1:] != names[order][:-1]
    first = np.flatnonzero(opens)
    number = np.empty(len(names))
    number[order] = np.arange(len(names)) - first[np.cumsum(opens) - 1]
    return number


def inside(x: np.ndarray, y: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Which places lie in `bounds`, half open as pixels are: west <= x < east, south < y <= north."""
    west, south, east, north = bounds
    return (x >= west) & (x < east) & (y > south) & (y <= north)


@dataclass
class PointReader:
    """Reads windows of a campaign's tiles; remembers where each tile's pieces lie, so none is decoded in vain.

    A piece is what can be decoded on its own: a chunk of a LAZ (compact, because points are stored in flight order), a
    node of a COPC octree, a run of a LAS. A COPC says where its nodes lie; of other tiles the first window that touches
    one decodes it once, and later windows decode only the pieces that touch them. Of windows that `hold` announced, what
    was decoded is kept for those to come. Memory is that of one window and of what is kept, whatever the size of the tile.

    Parameters
    ----------
    tiles : sequence of Tile
    crs : str
        The study's CRS.
    vertical_unit : str
        The campaign's unit of heights: m, ft (international), us-ft (survey).
    kept : mutable mapping of str to array, optional
        Boxes of pieces by a tile's fingerprint, kept from one job to the next. A reader takes from it and adds to it.
    drop_overlap : bool
        Leave out points flagged as overlap of flight lines, and class 12; they are counted.
    thin_to_pts_m2 : float, optional
        Thin every 10 m cell to this many points per m2; see `thinning.thinned`.
    thin_seed : int
        Another number draws other pulses.
    held_bytes : int
        How much of what was decoded is kept for windows that `hold` announces.
    """

    tiles: Sequence[Tile]
    crs: str
    vertical_unit: str = "m"
    kept: MutableMapping[str, np.ndarray] | None = None
    drop_overlap: bool = False
    thin_to_pts_m2: float | None = None
    thin_seed: int = 0
    held_bytes: int = HELD_BYTES
    _decoded: Kept = field(init=False, repr=False)
    _thinning: Thinning = field(init=False, repr=False)
    _layouts: dict[str, tuple[Header, Pieces]] = field(default_factory=dict, init=False, repr=False)
    _placed: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _boxes: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._decoded = Kept(self.held_bytes)
        self._thinning = Thinning(self.thin_to_pts_m2 or np.inf, self.thin_seed)
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
                "points are reprojected across, heights kept: %s to %s",
                references.crs_name(example.crs), references.crs_name(self.crs),
            )  # fmt: skip
        across = references.horizontal(example.crs).axis_info[0]
        if not stated and self.vertical_unit == "m" and abs(across.unit_conversion_factor - 1) > 1e-9:
            log.warning(
                "%s counts %s across and says nothing of heights, which are read as metres; set vertical_unit if they "
                "are feet too", example.path, across.unit_name,
            )  # fmt: skip

    @cached_property
    def _movers(self) -> dict[str, Transformer | None]:
        return {tile.path: references.mover(tile.crs, self.crs, tile.bounds) for tile in self.tiles}

    def bounds_of(self, tile: Tile) -> Bounds:
        """The box of a tile in the study's CRS, by its header, with the tolerance that headers are given."""
        box = _widened(tile.bounds, HEADER_TOLERANCE)
        mover = self._movers[tile.path]
        return box if mover is None else mover.transform_bounds(*box, densify_pts=21)

    @cached_property
    def _tile_boxes(self) -> np.ndarray:
        return np.array([self.bounds_of(tile) for tile in self.tiles]).T

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The tiles whose header boxes touch `bounds`."""
        return [self.tiles[number] for number in np.flatnonzero(overlapping(self._tile_boxes, bounds))]

    def points(self, bounds: Bounds, *, extra: Sequence[str] = ()) -> Points:
        """All points in `bounds` (half open, see `Points.inside`) but withheld and noise, which are counted.

        Parameters
        ----------
        extra : sequence of str
            Attributes that cost more to decode: `intensity`, `time` (as `time_s`, GPS seconds).

        Raises
        ------
        ValueError
            If a tile is damaged, or holds points more than 1 unit outside the box that its header gives.
        """
        if self.thin_to_pts_m2 is None:
            return self._read(bounds, tuple(extra))
        cells = self._cells(bounds)
        whole = self._read(cells, tuple(dict.fromkeys([*extra, "time"])))
        keep = self._thinning.drawn(cells, *_what_draws(whole))
        within = whole.inside(bounds)
        found = whole.select(keep & within)
        # What was left out for other reasons is counted over the whole cells, a little beyond the window.
        return Points(
            **{name: values for name, values in found.columns.items() if name != "time_s" or "time" in extra},
            withheld=whole.withheld, noise=whole.noise, overlap=whole.overlap, twins=whole.twins,
            thinned=int((within & ~keep).sum()),
        )  # fmt: skip

    def ground(self, bounds: Bounds, classes: Sequence[int]) -> Points:
        """The points of some classes in `bounds`; as `points`, of which no more is kept than they are."""
        if self.thin_to_pts_m2 is None:
            return self._read(bounds, (), tuple(classes))
        cells = self._cells(bounds)
        unknown = self._thinning.unknown(cells)  # what is drawn depends on all points
        if sum(map(_area, unknown)) > _area(cells) / 2:
            every = self.points(bounds)
            return every.select(of_classes(every.classification, classes))
        for box in unknown:
            self._thinning.drawn(box, *_what_draws(self._read(box, ("time",))))
        found = self._read(bounds, ("time",), tuple(classes))
        return found.select(self._thinning.kept(cells, *_what_draws(found)))

    def _cells(self, bounds: Bounds) -> Bounds:
        """The whole cells of the thinning that touch `bounds`, no farther than there are tiles."""
        west, south, east, north = self._tile_boxes
        tiles = _widened((west.min(), south.min(), east.max(), north.max()), CELL_M)
        west, south, east, north = (*map(max, bounds[:2], tiles[:2]), *map(min, bounds[2:], tiles[2:]))
        return thinning_cells((west, south, max(west, east), max(south, north)))

    def hold(self, boxes: Sequence[Bounds], far: Sequence[Bounds], classes: Sequence[int]) -> None:
        """Tell what will be asked for, in order: all points of each of `boxes`, then those of some classes of `far`.

        What was decoded is kept as long as it is needed, up to `held_bytes`; beyond that, what is needed last goes.
        """
        thinned = self.thin_to_pts_m2 is not None
        self._decoded.announce(far if thinned else boxes, () if thinned else far, classes)

    def begin(self, number: int) -> None:
        """The box of this number is asked for next; none before it will be again."""
        self._decoded.begin(number)

    def _read(self, bounds: Bounds, extra: tuple[str, ...], classes: tuple[int, ...] | None = None) -> Points:
        tiles = self.touching(bounds)
        found = [self._tile_points(tile, bounds, extra, classes) for tile in tiles]
        ends = np.cumsum([0, *(sum(map(len, parts)) for parts in found)])
        columns, counts = columns_of([part for parts in found for part in parts], METRES[self.vertical_unit], extra)
        del found
        # A return number of 0 is not valid LAS: files without return numbers hold one return per pulse.
        columns |= {"first_return": columns["return_number"] <= 1, "time_s": columns.pop("time", None)}
        points = Points(**columns, **counts)
        own = [slice(start, stop) for start, stop in pairwise(ends.tolist())]
        filled = [number for number, part in enumerate(own) if part.stop > part.start]
        if len(filled) < 2:
            return points
        boxes = [self.bounds_of(tiles[number]) for number in filled]
        twins = twins_of(points, [own[number] for number in filled], boxes)
        if not len(twins):
            return points
        keep = np.ones(len(points), bool)
        keep[twins] = False
        counts = {count: getattr(points, count) for count in ("withheld", "noise", "overlap", "thinned")}
        return replace(points.select(keep), **counts, twins=len(twins))

    def _tile_points(
        self, tile: Tile, bounds: Bounds, extra: tuple[str, ...], classes: tuple[int, ...] | None
    ) -> list[Piece]:
        """The parts of a tile's pieces that lie in `bounds`, in the order of the file."""
        there: dict[int, Piece] = {}
        if tile.path in self._layouts and (boxes := self._boxes_of(tile, self._layouts[tile.path][1])) is not None:
            wanted = np.flatnonzero(self._touched(tile, boxes, bounds)).tolist()
            kept = {number: self._decoded.get(tile.path, number, extra, classes) for number in wanted}
            there = {number: piece.within(bounds) for number, piece in kept.items() if piece is not None}
            if len(there) == len(wanted):  # the file stays closed
                return list(there.values())
        with open_ranges(tile.path, tile.access) as ranges:
            header, pieces = self._layout(tile, ranges)
            boxes = self._boxes_of(tile, pieces)
            missing = np.ones(len(pieces.start), bool) if boxes is None else self._touched(tile, boxes, bounds)
            missing[list(there)] = False
            if tile.path not in self._placed:
                self._placed[tile.path] = np.full((len(pieces.start), 4), np.nan)
            found, placed = [], self._placed[tile.path]
            for number, records in _decoded(header, ranges, pieces, missing, extra):
                box = records.box
                refuse_lying_box(header, np.array(box[::2]), np.array(box[1::2]))
                found.append(box)
                piece = self._harmonised(tile, header, records, extra)
                placed[number] = piece.box
                self._decoded.put(tile.path, number, piece)
                there[number] = (piece if classes is None else piece.of(classes)).within(bounds)
        if boxes is None:
            self._remember(tile, np.array(found))
        else:
            _refuse_lying_pieces(header, boxes[missing], np.array(found).reshape(-1, 4))
        return [there[number] for number in sorted(there)]

    def _touched(self, tile: Tile, boxes: np.ndarray, bounds: Bounds) -> np.ndarray:
        """Which pieces touch `bounds`: by where their points were found, or else by their boxes in the tile's own CRS."""
        mover = self._movers[tile.path]
        here = bounds if mover is None else _moved_back(mover, bounds, self.bounds_of(tile))
        touched = overlapping(boxes.T, _widened(here, HEADER_TOLERANCE))
        if tile.path in self._placed:
            placed = self._placed[tile.path].T
            touched &= overlapping(placed, bounds) | np.isnan(placed[0])
        return touched

    def _layout(self, tile: Tile, ranges: Ranges) -> tuple[Header, Pieces]:
        if tile.path not in self._layouts:
            header = header_of(tile.path, ranges)
            if header.fingerprint != tile.fingerprint:
                raise ValueError(f"lidar tile {tile.path} has changed since the campaign was listed; start the run again")
            self._layouts[tile.path] = header, pieces_of(header, ranges)
        return self._layouts[tile.path]

    def _boxes_of(self, tile: Tile, pieces: Pieces) -> np.ndarray | None:
        """Boxes of a tile's pieces in the tile's own unit; None where no one has looked yet."""
        if pieces.boxes is not None:
            return pieces.boxes
        if tile.path not in self._boxes and self.kept is not None:
            boxes = self.kept.get(tile.fingerprint)
            if boxes is not None and boxes.shape == (len(pieces.start), 4):
                self._boxes[tile.path] = boxes
        return self._boxes.get(tile.path)

    def _remember(self, tile: Tile, boxes: np.ndarray) -> None:
        self._boxes[tile.path] = boxes
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        if len(boxes) >= UNSORTED_PIECES and np.median(areas) > _area(tile.bounds) / 2:
            log.warning(
                "the points of %s are in no spatial order: every window has to decode the whole file; sort it, or make a COPC "
                "of it (PDAL and untwine do), and the run takes a fraction of the time", tile.path,
            )  # fmt: skip
        if self.kept is not None:
            self.kept[tile.fingerprint] = boxes

    def _harmonised(self, tile: Tile, header: Header, records: Records, extra: tuple[str, ...]) -> Piece:
        x, y = records.place(0), records.place(1)
        mover = self._movers[tile.path]
        if mover is not None:
            x, y = mover.transform(x, y)
        (west, x), (south, y) = compact(x), compact(y)
        kind = np.zeros(len(records), np.uint8)
        classification = np.ascontiguousarray(records.classification)
        if self.drop_overlap:
            kind[records.overlap] = OVERLAP
        kind[of_classes(classification, NOISE_CLASSES)] = NOISE
        kind[records.withheld] = WITHHELD
        return Piece(
            west, south, x, y, records.whole[2], classification, records.return_number,
            records.number_of_returns, kind if kind.any() else None, header,
            {name: np.ascontiguousarray(getattr(records, name)) for name in extra},
        )  # fmt: skip


def _moved_back(mover: Transformer, bounds: Bounds, tile: Bounds) -> Bounds:
    """The part of a window over a tile, in the tile's own CRS: farther away it may be no place there."""
    west, south, east, north = bounds
    part = max(west, tile[0]), max(south, tile[1]), min(east, tile[2]), min(north, tile[3])
    return mover.transform_bounds(*part, densify_pts=21, direction="INVERSE")


def _decoded(
    header: Header, ranges: Ranges, pieces: Pieces, wanted: np.ndarray, extra: tuple[str, ...]
) -> Iterator[tuple[int, Records]]:
    """The wanted pieces with their numbers, one after the other; those that lie side by side in the file are fetched together."""
    run_bytes = REMOTE_RUN_BYTES if is_remote(header.path) else RUN_BYTES
    for run in _runs(pieces, np.flatnonzero(wanted), run_bytes):
        start = int(pieces.start[run[0]])
        raw = memoryview(ranges.read(start, int(pieces.start[run[-1]] + pieces.length[run[-1]]) - start))
        for piece in run:
            at = int(pieces.start[piece]) - start
            yield piece, decoded(header, raw[at : at + int(pieces.length[piece])], pieces, piece, extra=extra)


def _runs(pieces: Pieces, wanted: np.ndarray, run_bytes: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for piece in wanted.tolist():
        ends = int(pieces.start[piece] + pieces.length[piece])
        if runs and runs[-1][-1] == piece - 1 and ends - int(pieces.start[runs[-1][0]]) <= run_bytes:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _refuse_lying_pieces(header: Header, said: np.ndarray, found: np.ndarray) -> None:
    """Raise where points lie outside the octree node that holds them: a window there would miss them."""
    if len(said) and not (
        (found[:, :2] >= said[:, :2] - HEADER_TOLERANCE).all() and (found[:, 2:] <= said[:, 2:] + HEADER_TOLERANCE).all()
    ):
        raise ValueError(f"{header.path} is damaged: points lie outside the part of its octree that should hold them")


def _what_draws(points: Points) -> tuple[np.ndarray, ...]:
    """What the thinning looks at."""
    if not len(points):
        return (points.x,) * 5
    return points.x, points.y, points.z, points.time_s, points.return_number


def _area(bounds: Bounds) -> float:
    return (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])


def _widened(bounds: Bounds, by: float) -> Bounds:
    west, south, east, north = bounds
    return west - by, south - by, east + by, north + by


def read_points(tiles: Sequence[Tile], bounds: Bounds, *, crs: str, vertical_unit: str = "m") -> Points:
    """The points of `tiles` in `bounds`, in `crs` and metres; see `PointReader`, which many windows should share."""
    return PointReader(tiles, crs, vertical_unit).points(bounds)
