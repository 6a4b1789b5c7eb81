"""Decoded points, compact, and which of them are worth keeping for the windows to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from catalogs.lidar.headers import Header
from catalogs.lidar.references import Bounds

STEPS_PER_M = 20_000  # coordinates are kept on a lattice of 0.05 mm, finer than any scale that tiles are written with
WITHHELD, NOISE, OVERLAP = 1, 2, 3  # why a point is left out


def on_lattice(values: np.ndarray) -> np.ndarray:
    """Values on the 0.05 mm lattice: a point has the same bytes whatever scale and offset its tile was written with."""
    return np.rint(values * STEPS_PER_M) / STEPS_PER_M


def of_classes(classification: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Which points are of one of some classes (0 to 255)."""
    wanted = np.zeros(256, bool)
    wanted[list(classes)] = True
    return wanted[classification]


def compact(values: np.ndarray) -> tuple[float, np.ndarray]:
    """Coordinates as whole steps of the lattice from a whole metre: (that metre in steps, int32, or int64 if need be)."""
    steps = np.rint(values * STEPS_PER_M)
    origin = float(np.floor(steps.min() / STEPS_PER_M)) * STEPS_PER_M if len(steps) else 0.0
    steps -= origin
    return origin, steps.astype(np.int32 if not len(steps) or steps.max() < 2**31 else np.int64)


@dataclass(frozen=True)
class Piece:
    """The points of one piece of a tile, or some of them, in the study's CRS, at about 15 bytes each.

    `x`, `y`: steps of the lattice from `west`, `south` (steps too). `z`: whole numbers as the file holds them. `kind`:
    0 or why a point is to be left out; None if all are to stay. `extra`: attributes that are not always decoded.
    """

    west: float
    south: float
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    classification: np.ndarray
    return_number: np.ndarray
    number_of_returns: np.ndarray
    kind: np.ndarray | None
    header: Header
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many points stay."""
        return len(self.x) if self.kind is None else int((self.kind == 0).sum())

    @cached_property
    def nbytes(self) -> int:
        columns = (self.x, self.y, self.z, self.classification, self.return_number, self.number_of_returns, self.kind)
        return sum(column.nbytes for column in (*columns, *self.extra.values()) if column is not None)

    @cached_property
    def box(self) -> Bounds:
        """West, south, east, north of the points, m."""
        (west, east), (south, north) = (
            ((int(steps.min()) + start) / STEPS_PER_M, (int(steps.max()) + start) / STEPS_PER_M)
            for steps, start in ((self.x, self.west), (self.y, self.south))
        )
        return west, south, east, north

    def select(self, which: np.ndarray) -> Piece:
        names = ("x", "y", "z", "classification", "return_number", "number_of_returns")
        return replace(
            self, **{name: getattr(self, name)[which] for name in names}, kind=None if self.kind is None else self.kind[which],
            extra={name: values[which] for name, values in self.extra.items()},
        )  # fmt: skip

    def of(self, classes: Sequence[int]) -> Piece:
        """The points of some classes."""
        return self.select(np.flatnonzero(of_classes(self.classification, classes)))

    def within(self, bounds: Bounds) -> Piece:
        """The points in `bounds`, half open as `Points.inside`."""
        west, south, east, north = bounds
        if not len(self.x):
            return self
        box = self.box
        if west <= box[0] and box[2] < east and south < box[1] and box[3] <= north:
            return self
        if box[0] >= east or box[2] < west or box[1] > north or box[3] <= south:
            return self.select(np.empty(0, np.int64))
        return self.select(np.flatnonzero(self._inside(bounds)))

    def _inside(self, bounds: Bounds) -> np.ndarray:
        west, south, east, north = bounds
        mask = self.x >= first_step(west) - self.west
        mask &= self.x < first_step(east) - self.west
        mask &= self.y > last_step(south) - self.south
        mask &= self.y <= last_step(north) - self.south
        return mask


def first_step(bound: float) -> float:
    """The first step of the lattice that is not before a bound, told by the very coordinates that steps become."""
    step = np.floor(bound * STEPS_PER_M) - 1
    while step / STEPS_PER_M < bound:
        step += 1
    return step


def last_step(bound: float) -> float:
    """The last step of the lattice that is not beyond a bound."""
    return -first_step(-bound)


def columns_of(parts: Sequence[Piece], unit_m: float, extra: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Columns of `Points` from the points that stay of some pieces, in their order; and counts of what is left out."""
    n = sum(map(len, parts))
    columns = {name: np.empty(n) for name in "xyz"}
    columns |= {name: np.empty(n, np.uint8) for name in ("classification", "return_number", "number_of_returns")}
    columns |= {name: np.empty(n, parts[0].extra[name].dtype) for name in extra if parts}
    counts = {"withheld": 0, "noise": 0, "overlap": 0}
    at = 0
    for part in parts:
        if part.kind is not None:
            for name, kind in (("withheld", WITHHELD), ("noise", NOISE), ("overlap", OVERLAP)):
                counts[name] += int((part.kind == kind).sum())
            part = replace(part.select(np.flatnonzero(part.kind == 0)), kind=None)
        own = slice(at, at + len(part))
        for name, start in (("x", part.west), ("y", part.south)):
            values = columns[name][own]
            values[:] = getattr(part, name)
            values += start
            values /= STEPS_PER_M
        columns["z"][own] = _z(part)
        for name in ("classification", "return_number", "number_of_returns"):
            columns[name][own] = getattr(part, name)
        for name in extra:
            columns[name][own] = part.extra[name]
        at = own.stop
    if unit_m != 1.0:
        columns["z"] *= unit_m
    return columns, counts


def _z(part: Piece) -> np.ndarray:
    """Heights of decoded points in the file's unit, as whole multiples of its scale where its offset is one too.

    So a tile's own offset leaves no trace in the last bits, and heights have the bytes that other readers give them.
    """
    scale, offset = part.header.scales[2], part.header.offsets[2]
    steps = np.rint(offset / scale)
    if abs(steps * scale - offset) > 1e-6 * scale:
        return on_lattice(part.z * scale + offset)
    return (part.z + steps) * scale


@dataclass
class Held:
    """A piece that is kept `whole` for the windows `near` (their numbers rise), and its `ground` for those in `far`."""

    whole: Piece | None
    near: np.ndarray
    ground: Piece | None
    far: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.whole, self.ground) if part is not None)


class Kept:
    """Pieces that were decoded and will be asked for again, up to some bytes; beyond that, those needed last go.

    A piece is kept whole until the last window that its points lie in, and what is ground of it until the last window
    that looks for ground there. Windows are announced in the order in which they will come.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes, self._now = most_bytes, 0, -1
        self._near = self._far = np.empty((4, 0))
        self._classes: tuple[int, ...] = ()
        self._held: dict[tuple[str, int], Held] = {}

    def announce(self, near: Sequence[Bounds], far: Sequence[Bounds], classes: Sequence[int]) -> None:
        """Windows to come: all points are wanted of `near`, those of some classes of `far`."""
        self._near, self._far = (np.array(boxes, float).reshape(-1, 4).T for boxes in (near, far))
        self._classes, self._now, self._bytes = tuple(classes), -1, 0
        self._held.clear()

    def begin(self, window: int) -> None:
        """The window of this number comes now; none before it comes again."""
        self._now = window
        for key in list(self._held):
            held = self._held[key]
            self._keep(key, whole=(held.near[-1:] >= window).any(), ground=(held.far[-1:] >= window).any())

    def get(self, path: str, number: int, extra: Sequence[str], classes: Sequence[int] | None) -> Piece | None:
        """Of a piece of a tile what is asked for, all points or those of some classes, if it is kept."""
        held = self._held.get((path, number))
        if held is None:
            return None
        if classes is not None and set(classes) == set(self._classes) and not extra and held.ground is not None:
            return held.ground
        if held.whole is None or not set(extra) <= set(held.whole.extra):
            return None
        return held.whole if classes is None else held.whole.of(classes)

    def put(self, path: str, number: int, piece: Piece) -> None:
        """Keep a piece that was decoded for the present window, if a later one wants it."""
        if not len(piece.x) or not (self._near.size or self._far.size):
            return
        key = path, number
        if key in self._held:
            self._keep(key, whole=False, ground=False)
        near, far = (np.flatnonzero(overlapping(boxes, piece.box)) for boxes in (self._near, self._far))
        near, far = near[near > self._now], far[far >= self._now]
        if not len(near) and not len(far):
            return
        self._held[key] = Held(piece if len(near) else None, near, piece.of(self._classes) if len(far) else None, far)
        self._bytes += self._held[key].nbytes
        if self._bytes > self._most:
            self._make_room()

    def _make_room(self) -> None:
        """Let go of what is needed last, whole pieces before ground, until a tenth is free."""
        enough = 0.9 * self._most
        whole = [key for key, held in self._held.items() if held.whole is not None]
        for key in sorted(whole, key=lambda key: self._next(self._held[key].near), reverse=True):
            if self._bytes <= enough:
                return
            self._keep(key, whole=False, ground=True)
        for key in sorted(self._held, key=lambda key: self._next(self._held[key].far), reverse=True):
            if self._bytes <= enough:
                return
            self._keep(key, whole=False, ground=False)

    def _next(self, windows: np.ndarray) -> int:
        """The first of some rising windows that is not over yet; -1 where all are."""
        later = windows[np.searchsorted(windows, self._now) :]
        return int(later[0]) if len(later) else -1

    def _keep(self, key: tuple[str, int], *, whole: bool, ground: bool) -> None:
        """Of what is kept of a piece, go on keeping the whole, the ground, or nothing."""
        held = self._held[key]
        self._bytes -= held.nbytes
        held.whole = held.whole if whole else None
        held.ground = held.ground if ground else None
        self._bytes += held.nbytes
        if held.whole is None and held.ground is None:
            del self._held[key]


def overlapping(boxes, bounds: Bounds):
    """Which boxes (west, south, east, north, each an array) touch `bounds`."""
    west, south, east, north = boxes
    return (west <= bounds[2]) & (east >= bounds[0]) & (south <= bounds[3]) & (north >= bounds[1])
