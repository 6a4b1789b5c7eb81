"""Fewer points per area, the same ones whatever the tiles, their order, or the window asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from catalogs.lidar.references import Bounds

CELL_M = 10.0  # squares counted from the CRS's origin, each thinned by itself
PAGE_CELLS = 64  # cells along a side of what is remembered together
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_CUT = np.dtype([("pulse", np.uint64), ("place", np.uint64), ("order", np.uint8), ("drawn", bool)])
_OPEN = np.array((2**64 - 1, 2**64 - 1, 255, False), _CUT)  # a cell that is not known; one that keeps all, but for `drawn`


def thinning_cells(bounds: Bounds) -> Bounds:
    """`bounds` widened to whole cells of the thinning: what must be read to thin the part inside."""
    west, south, east, north = np.asarray(bounds) / CELL_M
    return tuple(float(v) * CELL_M for v in (np.floor(west), np.floor(south), np.ceil(east), np.ceil(north)))


def thinned(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, time_s: np.ndarray, order: np.ndarray, *, target_pts_m2: float, seed: int
) -> np.ndarray:
    """Which points stay so that no 10 m cell holds more than `target_pts_m2` on average; see `Thinning`.

    Parameters
    ----------
    x, y, z : array (n)
        Metres, whole cells of the thinning (see `thinning_cells`).
    time_s : array (n)
        GPS time, 0 where there is none.
    order : array (n)
        Of the returns of a pulse, the return number.

    Returns
    -------
    array (n) of bool
    """
    if not len(x):
        return np.empty(0, bool)
    draw = Thinning(target_pts_m2, seed)
    bounds = thinning_cells((x.min(), np.nextafter(y.min(), -np.inf), np.nextafter(x.max(), np.inf), y.max()))
    return draw.drawn(bounds, x, y, z, time_s, order)


@dataclass
class Thinning:
    """Draws the points that stay, each 10 m cell once; what was drawn is remembered as where the cell was cut off.

    Whole pulses are drawn: in each cell the pulses are put in an order that a hash of seed and GPS time decides, and
    points are kept in that order until the cell is full; so returns of a pulse stay together, as in a survey flown with
    fewer pulses, and only the last pulse of a cell may lose some. Points without GPS time (0) are drawn singly by a hash of
    their place. A cell with fewer points keeps all: the thinning equalises down, never up. The number that a cell
    keeps is rounded up or down by a hash of the cell, so that the mean is right for small targets too. Of points that are
    alike in time, return and place all stay or none.
    """

    target_pts_m2: float
    seed: int
    _pages: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @property
    def _start(self) -> np.uint64:
        return np.uint64(self.seed * int(_GOLDEN) % 2**64)

    def unknown(self, bounds: Bounds) -> list[Bounds]:
        """Boxes of whole cells that make up what has not been drawn yet of the cells that touch `bounds`."""
        column0, row0, table = self._table(bounds)
        boxes: list[list[int]] = []  # first row, row after the last, first column, column after the last
        open_: dict[tuple[int, int], list[int]] = {}
        for row, drawn in enumerate(table["drawn"]):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], drawn, [True]]).astype(np.int8))).tolist()
            runs = list(zip(edges[::2], edges[1::2], strict=True))
            open_ = {run: open_.get(run) or [row, row, *run] for run in runs}
            for box in open_.values():
                if box[1] == row:
                    boxes += [box] if box[0] == row else []
                    box[1] = row + 1
        return [
            ((column0 + west) * CELL_M, -(row0 + end) * CELL_M, (column0 + east) * CELL_M, -(row0 + start) * CELL_M)
            for start, end, west, east in boxes
        ]

    def drawn(
        self, cells: Bounds, x: np.ndarray, y: np.ndarray, z: np.ndarray, time_s: np.ndarray, order: np.ndarray
    ) -> np.ndarray:
        """Which points stay, of all that lie in some whole cells; cells that were not known are known then."""
        column0, row0, table = self._table(cells)
        cell = self._cell(column0, row0, table, x, y)
        new = np.flatnonzero(~table["drawn"].reshape(-1)[cell])
        if len(new):
            self._draw(column0, row0, table, cell[new], x[new], y[new], z[new], time_s[new], order[new])
        table["drawn"] = True
        self._remember(column0, row0, table)
        return self._before(table, cell, x, y, z, time_s, order)

    def kept(
        self, bounds: Bounds, x: np.ndarray, y: np.ndarray, z: np.ndarray, time_s: np.ndarray, order: np.ndarray
    ) -> np.ndarray:
        """Which points stay, of some in `bounds`, all of whose cells are known."""
        column0, row0, table = self._table(bounds)
        return self._before(table, self._cell(column0, row0, table, x, y), x, y, z, time_s, order)

    def _cell(self, column0: int, row0: int, table: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        column, row = (np.floor(values / CELL_M).astype(np.int64) for values in (x, -y))  # the north edge belongs in
        return (row - row0) * table.shape[1] + (column - column0)

    def _pulse(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, time_s: np.ndarray) -> np.ndarray:
        pulse = _mixed(self._start, _bits(time_s))
        single = np.flatnonzero(time_s == 0)
        pulse[single] = self._place(x[single], y[single], z[single])
        return pulse

    def _place(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return _mixed(_mixed(_mixed(self._start, _bits(x)), _bits(y)), _bits(z))

    def _draw(self, column0: int, row0: int, table: np.ndarray, cell, x, y, z, time_s, order) -> None:
        """Cut off each cell before the first point in the order of the draw that it has no room for."""
        pulse = self._pulse(x, y, z, time_s)
        ranked = np.lexsort((pulse, cell))
        opens = np.flatnonzero(np.diff(cell[ranked], prepend=-1))
        held, number = cell[ranked[opens]], np.diff(np.append(opens, len(cell)))
        row, column = np.divmod(held, table.shape[1])
        share = (_mixed(_mixed(self._start, _whole(column + column0)), _whole(row + row0)) >> np.uint64(11)) / 2.0**53
        room = np.floor(self.target_pts_m2 * CELL_M**2 + share).astype(np.int64)
        full = number > room
        held, last = held[full], ranked[opens[full] + room[full]]
        flat = table.reshape(-1)
        flat["pulse"][held] = pulse[last]
        # The cut may be within a pulse: its returns there are put in order, and as many stay as there is room for.
        tied = np.flatnonzero(pulse == flat["pulse"][cell])
        place = self._place(x[tied], y[tied], z[tied])
        by = np.lexsort((place, order[tied], cell[tied]))
        first = np.searchsorted(cell[tied][by], held)
        before = np.zeros(flat.size, np.int64)
        np.add.at(before, cell[pulse < flat["pulse"][cell]], 1)
        cut = by[first + room[full] - before[held]]
        flat["order"][held], flat["place"][held] = order[tied][cut], place[cut]

    def _before(self, table: np.ndarray, cell, x, y, z, time_s, order) -> np.ndarray:
        """Which points come before the cut of their cell."""
        flat, pulse = table.reshape(-1), self._pulse(x, y, z, time_s)
        cut = flat["pulse"][cell]
        keep = pulse < cut
        tied = np.flatnonzero(pulse == cut)
        cuts, mine = flat[cell[tied]], order[tied]
        keep[tied] = (mine < cuts["order"]) | ((mine == cuts["order"]) & (self._place(x[tied], y[tied], z[tied]) < cuts["place"]))
        return keep

    def _table(self, bounds: Bounds) -> tuple[int, int, np.ndarray]:
        """First column, first row and what is known of the cells (rows, columns) that touch `bounds`."""
        west, south, east, north = (round(value / CELL_M) for value in thinning_cells(bounds))
        table = np.full((north - south, east - west), _OPEN)
        for here, there, page in self._overlaps(west, -north, table.shape):
            if page in self._pages:
                table[here] = self._pages[page][there]
        return west, -north, table

    def _remember(self, column0: int, row0: int, table: np.ndarray) -> None:
        for here, there, page in self._overlaps(column0, row0, table.shape):
            self._pages.setdefault(page, np.full((PAGE_CELLS, PAGE_CELLS), _OPEN))[there] = table[here]

    @staticmethod
    def _overlaps(column0: int, row0: int, shape: tuple[int, int]) -> Iterator[tuple[tuple, tuple, tuple[int, int]]]:
        rows, columns = (
            [
                (slice(max(page * PAGE_CELLS, start) - start, min((page + 1) * PAGE_CELLS, start + size) - start),
                 slice(max(start - page * PAGE_CELLS, 0), min(start + size - page * PAGE_CELLS, PAGE_CELLS)), page)
                for page in range(start // PAGE_CELLS, -(-(start + size) // PAGE_CELLS))
            ]
            for start, size in zip((row0, column0), shape, strict=True)
        )  # fmt: skip
        for here_row, there_row, page_row in rows:
            for here_column, there_column, page_column in columns:
                yield (here_row, here_column), (there_row, there_column), (page_row, page_column)


def _whole(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, np.int64).view(np.uint64)


def hashed(*columns: np.ndarray) -> np.ndarray:
    """One 64-bit number per row of some numeric columns: equal rows give equal numbers, others hardly ever."""
    state = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        state = _mixed(state, _bits(column))
    return state


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float64).view(np.uint64)


def _mixed(state: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A step of SplitMix64: Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195."""
    with np.errstate(over="ignore"):
        mixed = (state ^ value) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
