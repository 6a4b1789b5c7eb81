"""Fewer points per area, the same ones whatever the tiles, their order, or the window asked for."""

from __future__ import annotations

import numpy as np

CELL_M = 10.0  # squares counted from the CRS's origin, each thinned by itself
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def thinning_cells(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """`bounds` widened to whole cells of the thinning: what must be read to thin the part inside."""
    west, south, east, north = np.asarray(bounds) / CELL_M
    return tuple(float(v) * CELL_M for v in (np.floor(west), np.floor(south), np.ceil(east), np.ceil(north)))


def thinned(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, time_s: np.ndarray, order: np.ndarray, *, target_pts_m2: float, seed: int
) -> np.ndarray:
    """Which points stay so that no 10 m cell holds more than `target_pts_m2` on average.

    Whole pulses are drawn: in each cell the pulses are put in an order that a hash of seed and GPS time decides, and
    points are kept in that order until the cell is full; so returns of a pulse stay together, as in a survey flown with
    fewer pulses, and only the last pulse of a cell may lose some. Points without GPS time (0) are drawn singly by a hash of
    their place. A cell with fewer points keeps all: the thinning equalises down, never up. The number that a cell
    keeps is rounded up or down by a hash of the cell, so that the mean is right for small targets too.

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
    start = np.uint64(seed) * _GOLDEN
    column, row = np.floor(x / CELL_M).astype(np.int64), np.floor(-y / CELL_M).astype(np.int64)  # north edge belongs in
    place = _mixed(_mixed(_mixed(start, _bits(x)), _bits(y)), _bits(z))
    pulse = np.where(time_s != 0, _mixed(start, _bits(time_s)), place)
    ranked = np.lexsort((place, order, pulse, column, row))
    column, row = column[ranked], row[ranked]
    opens = np.ones(len(x), bool)
    opens[1:] = (column[1:] != column[:-1]) | (row[1:] != row[:-1])
    first = np.flatnonzero(opens)
    cell = np.cumsum(opens) - 1
    share = (_mixed(_mixed(start, column[first].view(np.uint64)), row[first].view(np.uint64)) >> np.uint64(11)) / 2.0**53
    room = np.floor(target_pts_m2 * CELL_M**2 + share)
    keep = np.zeros(len(x), bool)
    keep[ranked] = np.arange(len(x)) - first[cell] < room[cell]
    return keep


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
