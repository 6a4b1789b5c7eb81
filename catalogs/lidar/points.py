"""Points of a window, from whichever tiles hold them: clipped, clean, in metres, the same bytes however they are tiled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from catalogs.lidar import references
from catalogs.lidar.headers import Header, Pieces, Records, decoded, header_of, pieces_of
from catalogs.lidar.ranges import Ranges, is_remote, open_ranges
from catalogs.lidar.references import METRES, Bounds
from catalogs.lidar.thinning import hashed, thinned, thinning_cells
from catalogs.lidar.tiles import HEADER_TOLERANCE, Tile, refuse_lying_box

if TYPE_CHECKING:
    from pyproj import Transformer

log = logging.getLogger(__name__)

NOISE_CLASSES = (7, 18)  # low and high noise: ASPRS LAS 1.4 R15, table 17
STEPS_PER_M = 20_000  # coordinates are kept on a lattice of 0.05 mm, finer than any scale that tiles are written with
RUN_BYTES = 4 << 20  # pieces that lie side by side are fetched at once, up to this much
REMOTE_RUN_BYTES = 16 << 20  # a request over the network costs as much as a megabyte
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


def without_twins(parts: Sequence[Points], boxes: Sequence[Bounds]) -> list[Points]:
    """Points of several tiles, each point once: tiles cut with a buffer hold the points of their edges twice.

    A point is the same where place, height, returns and class are. One that a tile holds twice by itself stays twice:
    what is dropped is only what an earlier tile holds as often. Only points inside another tile's box are looked at.
    """
    shared = [
        np.logical_or.reduce([_in_box(part, box) for other, box in enumerate(boxes) if other != number])
        for number, part in enumerate(parts)
    ]
    if sum(map(np.any, shared)) < 2:
        return list(parts)
    kept, seen = [], np.empty(0, np.uint64)
    for part, mask in zip(parts, shared, strict=True):
        where = np.flatnonzero(mask)
        own = part.select(where)
        name = hashed(own.x, own.y, own.z, own.return_number, own.number_of_returns, own.classification)
        name = hashed(name.view(np.float64), _occurrence(name))
        twin = np.isin(name, seen)
        seen = np.concatenate([seen, name[~twin]])
        keep = np.ones(len(part), bool)
        keep[where[twin]] = False
        counts = {count: getattr(part, count) for count in ("withheld", "noise", "overlap", "thinned")}
        kept.append(replace(part.select(keep), **counts, twins=int(twin.sum())) if twin.any() else part)
    return kept


def _in_box(points: Points, box: Bounds) -> np.ndarray:
    west, south, east, north = box
    return (points.x >= west) & (points.x <= east) & (points.y >= south) & (points.y <= north)


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


def on_lattice(values: np.ndarray) -> np.ndarray:
    """Values on the 0.05 mm lattice: a point has the same bytes whatever scale and offset its tile was written with."""
    return np.rint(values * STEPS_PER_M) / STEPS_PER_M


def overlapping(boxes, bounds: Bounds):
    """Which boxes (west, south, east, north, each an array) touch `bounds`."""
    west, south, east, north = boxes
    return (west <= bounds[2]) & (east >= bounds[0]) & (south <= bounds[3]) & (north >= bounds[1])


@dataclass
class PointReader:
    """Reads windows of a campaign's tiles; remembers where each tile's pieces lie, so none is decoded in vain.

    A piece is what can be decoded on its own: a chunk of a LAZ (compact, because points are stored in flight order), a
    node of a COPC octree, a run of a LAS. A COPC says where its nodes lie; of other tiles the first window that touches
    one decodes it once, and later windows decode only the pieces that touch them. Memory is that of one window and one
    piece, whatever the size of the tile.

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
    """

    tiles: Sequence[Tile]
    crs: str
    vertical_unit: str = "m"
    kept: MutableMapping[str, np.ndarray] | None = None
    drop_overlap: bool = False
    thin_to_pts_m2: float | None = None
    thin_seed: int = 0
    _layouts: dict[str, tuple[Header, Pieces]] = field(default_factory=dict, init=False, repr=False)
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
        whole = self._read(thinning_cells(bounds), tuple(dict.fromkeys([*extra, "time"])))
        keep = thinned(
            whole.x, whole.y, whole.z, whole.time_s if len(whole) else whole.x,
            whole.return_number if len(whole) else whole.x, target_pts_m2=self.thin_to_pts_m2, seed=self.thin_seed,
        )  # fmt: skip
        within = whole.inside(bounds)
        found = whole.select(keep & within)
        # What was left out for other reasons is counted over the whole cells, a little beyond the window.
        return Points(
            **{name: values for name, values in found.columns.items() if name != "time_s" or "time" in extra},
            withheld=whole.withheld, noise=whole.noise, overlap=whole.overlap, twins=whole.twins,
            thinned=int((within & ~keep).sum()),
        )  # fmt: skip

    def _read(self, bounds: Bounds, extra: tuple[str, ...]) -> Points:
        tiles = self.touching(bounds)
        parts = [concat(self._tile_points(tile, bounds, extra)) for tile in tiles]
        filled = [number for number, part in enumerate(parts) if len(part)]
        if len(filled) > 1:
            boxes = [self.bounds_of(tiles[number]) for number in filled]
            for number, part in zip(filled, without_twins([parts[number] for number in filled], boxes), strict=True):
                parts[number] = part
        return concat([part for part in parts if len(part) or part.withheld or part.noise or part.overlap])

    def _tile_points(self, tile: Tile, bounds: Bounds, extra: tuple[str, ...]) -> list[Points]:
        with open_ranges(tile.path, tile.access) as ranges:
            header, pieces = self._layout(tile, ranges)
            boxes = self._boxes_of(tile, pieces)
            mover = self._movers[tile.path]
            here = bounds if mover is None else _moved_back(mover, bounds, self.bounds_of(tile))
            known = boxes is not None
            wanted = overlapping(boxes.T, _widened(here, HEADER_TOLERANCE)) if known else np.ones(len(pieces.start), bool)
            parts, found = [], []
            for records in _decoded(header, ranges, pieces, wanted, extra):
                box = records.box
                refuse_lying_box(header, np.array(box[::2]), np.array(box[1::2]))
                found.append(box)
                # Most points of a piece at the edge lie outside: only those near the window are placed exactly.
                near = records.within(_widened(here, HEADER_TOLERANCE))
                if not len(near):
                    continue
                x, y = near.place(0), near.place(1)
                if mover is not None:
                    x, y = mover.transform(x, y)
                x, y = on_lattice(x), on_lattice(y)
                mask = inside(x, y, bounds)
                if mask.all():
                    parts.append(self._harmonised(x, y, near, extra))
                elif mask.any():
                    parts.append(self._harmonised(x[mask], y[mask], near[mask], extra))
        if known:
            _refuse_lying_pieces(header, boxes[wanted], np.array(found).reshape(-1, 4))
        else:
            self._remember(tile, np.array(found))
        return parts

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
        if self.kept is not None:
            self.kept[tile.fingerprint] = boxes

    def _harmonised(self, x: np.ndarray, y: np.ndarray, records: Records, extra: tuple[str, ...]) -> Points:
        withheld = records.withheld
        noise = np.logical_or.reduce([records.classification == kind for kind in NOISE_CLASSES]) & ~withheld
        overlap = records.overlap & ~(withheld | noise) if self.drop_overlap else np.zeros(len(x), bool)
        keep = ~(withheld | noise | overlap)
        if not keep.all():
            x, y, records = x[keep], y[keep], records[keep]
        number = records.return_number
        return Points(
            x, y, _z(records) * METRES[self.vertical_unit], records.classification,
            # A return number of 0 is not valid LAS: files without return numbers hold one return per pulse.
            number <= 1,
            int(withheld.sum()), int(noise.sum()), int(overlap.sum()),
            return_number=number, number_of_returns=records.number_of_returns,
            intensity=records.intensity if "intensity" in extra else None,
            time_s=records.time if "time" in extra else None,
        )  # fmt: skip


def _moved_back(mover: Transformer, bounds: Bounds, tile: Bounds) -> Bounds:
    """The part of a window over a tile, in the tile's own CRS: farther away it may be no place there."""
    west, south, east, north = bounds
    part = max(west, tile[0]), max(south, tile[1]), min(east, tile[2]), min(north, tile[3])
    return mover.transform_bounds(*part, densify_pts=21, direction="INVERSE")


def _decoded(
    header: Header, ranges: Ranges, pieces: Pieces, wanted: np.ndarray, extra: tuple[str, ...]
) -> Iterator[Records]:
    """The wanted pieces, one after the other; those that lie side by side in the file are fetched together."""
    run_bytes = REMOTE_RUN_BYTES if is_remote(header.path) else RUN_BYTES
    for run in _runs(pieces, np.flatnonzero(wanted), run_bytes):
        start = int(pieces.start[run[0]])
        raw = memoryview(ranges.read(start, int(pieces.start[run[-1]] + pieces.length[run[-1]]) - start))
        for piece in run:
            at = int(pieces.start[piece]) - start
            yield decoded(header, raw[at : at + int(pieces.length[piece])], pieces, piece, extra=extra)


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


def _z(records: Records) -> np.ndarray:
    """Heights of decoded points in the file's unit, as whole multiples of its scale where its offset is one too.

    So a tile's own offset leaves no trace in the last bits, and heights have the bytes that other readers give them.
    """
    scale, offset = records.header.scales[2], records.header.offsets[2]
    steps = np.rint(offset / scale)
    if abs(steps * scale - offset) > 1e-6 * scale:
        return on_lattice(records.place(2))
    return (records.raw["Z"] + steps) * scale


def _widened(bounds: Bounds, by: float) -> Bounds:
    west, south, east, north = bounds
    return west - by, south - by, east + by, north + by


def read_points(tiles: Sequence[Tile], bounds: Bounds, *, crs: str, vertical_unit: str = "m") -> Points:
    """The points of `tiles` in `bounds`, in `crs` and metres; see `PointReader`, which many windows should share."""
    return PointReader(tiles, crs, vertical_unit).points(bounds)
