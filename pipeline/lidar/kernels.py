"""Compiled loops over points. Importing this module loads numba, so it is imported where the work is.

They are compiled once and kept on disk, and run on one thread: parallelism is that of jobs, and numba's threads do not
survive a fork.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numba import njit

NOWHERE = -1


@njit(cache=True)
def cells_of(x, y, west, north, size_m, rows, cols):
    """Number (row * cols + col) of the cell of each point, half open (west <= x, y <= north), `NOWHERE` outside."""
    number = np.empty(x.size, np.int32)
    east, south = west + cols * size_m, north - rows * size_m
    for i in range(x.size):
        if west <= x[i] < east and south < y[i] <= north:
            # A quotient may round up onto the next whole number just inside the far edge.
            row = min(int((north - y[i]) / size_m), rows - 1)
            col = min(int((x[i] - west) / size_m), cols - 1)
            number[i] = row * cols + col
        else:
            number[i] = NOWHERE
    return number


@njit(cache=True)
def starts_of(cell, n_cells):
    """Where each cell's points start (n_cells + 1) when they are grouped by cell, those of no cell left out."""
    starts = np.zeros(n_cells + 1, np.int64)
    for i in range(cell.size):
        if cell[i] >= 0:
            starts[cell[i] + 1] += 1
    for k in range(n_cells):
        starts[k + 1] += starts[k]
    return starts


@njit(cache=True)
def grouped(cell, z, n_cells):
    """Values grouped by cell, those of no cell left out: (grouped values, starts), `starts` of length `n_cells` + 1."""
    starts = starts_of(cell, n_cells)
    place = starts[:-1].copy()
    values = np.empty(starts[n_cells], z.dtype)
    for i in range(cell.size):
        if cell[i] >= 0:
            values[place[cell[i]]] = z[i]
            place[cell[i]] += 1
    return values, starts


@njit(cache=True)
def in_order(cell, n_cells):
    """Numbers of the points grouped by cell, those of no cell left out, and where each cell starts (n_cells + 1)."""
    starts = starts_of(cell, n_cells)
    place = starts[:-1].copy()
    order = np.empty(starts[n_cells], np.int32)
    for i in range(cell.size):
        if cell[i] >= 0:
            order[place[cell[i]]] = i
            place[cell[i]] += 1
    return order, starts


@njit(cache=True)
def found_in(order, starts, cols, row0, row1, col0, col1, x, y, west, south, east, north):
    """Of points listed by squares, the numbers of those in some rows and columns and in a box, half open."""
    count = 0
    for row in range(row0, row1 + 1):
        count += starts[row * cols + col1 + 1] - starts[row * cols + col0]
    found = np.empty(count, order.dtype)
    count = 0
    for row in range(row0, row1 + 1):
        for k in range(starts[row * cols + col0], starts[row * cols + col1 + 1]):
            i = order[k]
            if west <= x[i] < east and south < y[i] <= north:
                found[count] = i
                count += 1
    return found[:count]


def group_sorted(cell: np.ndarray, z: np.ndarray, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """As `grouped`, rising inside each cell. numpy's sort of one cell is several times faster than a compiled one."""
    values, starts = grouped(cell, z, n_cells)
    edges = starts.tolist()
    for start, stop in pairwise(edges):
        if stop - start > 1:
            values[start:stop].sort()
    return values, starts


@njit(cache=True)
def counted(cell, flag, n_cells):
    """How many flagged points each cell holds."""
    count = np.zeros(n_cells, np.int64)
    for i in range(cell.size):
        if flag[i] and cell[i] >= 0:
            count[cell[i]] += 1
    return count


@njit(cache=True)
def counted_above(cell, flag, z, limit, n_cells):
    """How many flagged points of each cell are strictly above a height."""
    count = np.zeros(n_cells, np.int64)
    for i in range(cell.size):
        if flag[i] and z[i] > limit and cell[i] >= 0:
            count[cell[i]] += 1
    return count


@njit(cache=True)
def highest(cell, z, n_cells):
    """The highest value in each cell, missing where there is none."""
    top = np.full(n_cells, np.nan)
    for i in range(cell.size):
        k = cell[i]
        if k >= 0 and not z[i] <= top[k]:
            top[k] = z[i]
    return top


@njit(cache=True)
def moments(z, starts, n):
    """Mean and second to fourth central moments (population) of each cell: (n_cells, 4). Values rise in each cell."""
    found = np.empty((starts.size, 4))
    for k in range(starts.size):
        values = z[starts[k] : starts[k] + n[k]]
        total = 0.0
        for value in values:
            total += value
        mean = total / n[k]
        second, third, fourth = 0.0, 0.0, 0.0
        for value in values:
            departure = value - mean
            square = departure * departure
            second += square
            third += square * departure
            fourth += square * square
        found[k, 0], found[k, 1], found[k, 2], found[k, 3] = mean, second / n[k], third / n[k], fourth / n[k]
        if values[0] == values[-1]:  # rounding of the mean must not make a spread of it
            found[k, 0], found[k, 1] = values[0], 0.0
    return found


@njit(cache=True)
def linear_moments(z, starts, n):
    """First to fourth sample L-moments of each cell: (n_cells, 4), missing where there are fewer points than the order."""
    found = np.full((starts.size, 4), np.nan)
    for k in range(starts.size):
        b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
        count = n[k]
        for i in range(count):
            value = z[starts[k] + i]
            b0 += value
            value *= i / max(count - 1, 1)
            b1 += value
            value *= (i - 1) / max(count - 2, 1)
            b2 += value
            value *= (i - 2) / max(count - 3, 1)
            b3 += value
        b0, b1, b2, b3 = b0 / count, b1 / count, b2 / count, b3 / count
        found[k, 0] = b0
        if count > 1:
            found[k, 1] = 2 * b1 - b0
        if count > 2:
            found[k, 2] = 6 * b2 - 6 * b1 + b0
        if count > 3:
            found[k, 3] = 20 * b3 - 30 * b2 + 12 * b1 - b0
    return found


@njit(cache=True)
def below(z, starts, n, limits, inclusive):
    """How many of each cell's rising values are below its limit (or, `inclusive`, at it)."""
    count = np.empty(starts.size, np.int64)
    for k in range(starts.size):
        low, high = starts[k], starts[k] + n[k]
        while low < high:
            middle = (low + high) >> 1
            if z[middle] < limits[k] or (inclusive and z[middle] == limits[k]):
                low = middle + 1
            else:
                high = middle
        count[k] = low - starts[k]
    return count


@njit(cache=True)
def mean_above(z, starts, n, limit):
    """Mean of each cell's rising values that are above a limit; 0 where none is."""
    found = np.zeros(starts.size)
    for k in range(starts.size):
        i = starts[k] + n[k]
        total, count = 0.0, 0
        while i > starts[k] and z[i - 1] > limit:
            i -= 1
            total += z[i]
            count += 1
        if count:
            found[k] = total / count
    return found


@njit(cache=True, error_model="numpy")  # of one layer or none there is no entropy: 0 / 0
def entropy(z, starts, n, layer_m, layers):
    """Entropy of the shares of each cell's rising values in `layers` half-open layers from 0, over that of equal shares."""
    found = np.empty(starts.size)
    for k in range(starts.size):
        i, stop = starts[k], starts[k] + n[k]
        while i < stop and z[i] < 0:
            i += 1
        first = i
        last = stop
        while last > first and not z[last - 1] < layers[k] * layer_m:
            last -= 1
        total = 0.0
        for layer in range(int(layers[k])):
            start = i
            low, high = i, last
            top = (layer + 1) * layer_m
            while low < high:
                middle = (low + high) >> 1
                if z[middle] < top:
                    low = middle + 1
                else:
                    high = middle
            i = low
            if i > start:
                share = (i - start) / (last - first)
                total -= share * np.log(share)
        found[k] = total / np.log(layers[k]) if last > first else np.nan
    return found
