"""Compiled loops over distances. Importing this module loads numba, so it is imported where the work is."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def mean_exponential(axes, radii, share, cosine, sine, decay):
    """Mean of exp(-decay x distance) over pairs of places of ellipses (k,) with half axes (k, 2): a disc's, stretched.

    radii : (r,) distances within a disc of radius 1; share : (r,) of all pairs in each direction
    cosine, sine : (t,) directions
    """
    found = np.zeros(len(axes))
    for k in range(len(axes)):
        for t in range(len(cosine)):
            stretched = decay * np.sqrt((axes[k, 0] * cosine[t]) ** 2 + (axes[k, 1] * sine[t]) ** 2)
            for r in range(len(radii)):
                found[k] += share[r] * np.exp(-radii[r] * stretched)
    return found


@njit(cache=True, nogil=True)
def between_squares(d, s, range_m, table, near, least, per_log):
    """exp(-3 d / range_m), meant over two squares of side `s` whose centres lie `d` apart.

    Within `near` sides by the logarithms in `table` (steps of distance in sides from 0 to `near`, steps of the logarithm of
    side / range from `least` on, `per_log` to the unit), linear between; beyond by the curvature of the correlation.
    """
    if d < near * s:
        rows, cols = table.shape
        row = d / s * (rows - 1) / near
        col = min(max(np.log(s / range_m / least) * per_log, 0.0), cols - 1.0)
        r, c = min(int(row), rows - 2), min(int(col), cols - 2)
        y, x = row - r, col - c
        low = table[r, c] * (1 - x) + table[r, c + 1] * x
        high = table[r + 1, c] * (1 - x) + table[r + 1, c + 1] * x
        return np.exp(low * (1 - y) + high * y)
    bend = 0.0
    if d > 0:
        bend = min(s * s / 12 * (9 / range_m**2 - 3 / (range_m * d)), 5.0)
    return np.exp(bend - 3 * d / range_m)


@njit(cache=True, nogil=True)
def square_correlation(distance, side, range_m, table, near, least, most):
    """`between_squares` of distances (n,) and sides (n,), with the table's last step of side / range, `most`."""
    found = np.empty(len(distance))
    per_log = (table.shape[1] - 1) / np.log(most / least)
    for i in range(len(distance)):
        found[i] = between_squares(distance[i], side[i], range_m, table, near, least, per_log)
    return found


@njit(cache=True, nogil=True)
def pull_in_common(points, start, side, taken, xy, pull, ranges, far, small, table, near, least, most):
    """What each stand's mean has in common with what residuals at places pull, of unit size, for each range: (n, ranges).

    points : (m, 2) cells' centres of all stands, those of stand k from start[k] on, `taken` (n,) of each looked at
    side : (n,) of the cells, such that those taken fill the stand; xy : (j, 2) places; pull : (n, j) what each does to the mean
    far : ranges beyond which nothing is in common; small : a range so many times a stand's extent sees it as one square
    """
    found = np.zeros((len(side), len(ranges)))
    per_log = (table.shape[1] - 1) / np.log(most / least)
    longest = ranges.max()
    total = np.empty(len(ranges))
    for k in range(len(side)):
        first, count = start[k], taken[k]
        west = south = np.inf
        east = north = -np.inf
        middle_x = middle_y = 0.0
        for i in range(first, first + count):
            x, y = points[i, 0], points[i, 1]
            west, east, south, north = min(west, x), max(east, x), min(south, y), max(north, y)
            middle_x += (x - points[first, 0]) / count
            middle_y += (y - points[first, 1]) / count
        middle_x += points[first, 0]
        middle_y += points[first, 1]
        extent = small * max(east - west, north - south)
        whole, cell = side[k] * np.sqrt(count / 2.0), side[k] / np.sqrt(2.0)
        for j in range(len(xy)):
            x, y = xy[j, 0], xy[j, 1]
            away = np.hypot(max(west - x, x - east, 0.0), max(south - y, y - north, 0.0))
            if away > far * longest:
                continue
            fine = False
            for u in range(len(ranges)):
                total[u] = 0.0
                if ranges[u] >= extent:
                    distance = np.hypot(x - middle_x, y - middle_y)
                    total[u] = count * between_squares(distance, whole, ranges[u], table, near, least, per_log)
                elif away <= far * ranges[u]:
                    fine = True
            if fine:
                for i in range(first, first + count):
                    distance = np.hypot(points[i, 0] - x, points[i, 1] - y)
                    for u in range(len(ranges)):
                        if ranges[u] < extent and away <= far * ranges[u]:
                            total[u] += between_squares(distance, cell, ranges[u], table, near, least, per_log)
            for u in range(len(ranges)):
                found[k, u] += pull[k, j] * total[u] / count
    return found


@njit(cache=True, nogil=True)
def strew(spread, points, start, cell, weight, low, side):
    """Add stands to squares of side `side` from the corner `low` on, spread (rows, cols): each lattice cell's weight by the share
    of the cell in each square. `points` and `start` as above; `cell` (n,) sides of a stand's cells, `weight` (n,) of each."""
    for k in range(len(cell)):
        pieces = max(int(np.ceil(cell[k] / side - 1e-9)), 1)  # no larger than a square, so that a piece meets two at most
        part = cell[k] / pieces
        each = weight[k] / pieces**2
        for i in range(start[k], start[k + 1]):
            for across in range(pieces):
                begin = (points[i, 0] - low[0] + part * (across - pieces / 2.0)) / side
                row = int(np.floor(begin))
                beyond = max(begin + part / side - row - 1, 0.0) / (part / side)
                for up in range(pieces):
                    other = (points[i, 1] - low[1] + part * (up - pieces / 2.0)) / side
                    col = int(np.floor(other))
                    above = max(other + part / side - col - 1, 0.0) / (part / side)
                    spread[row, col] += each * (1 - beyond) * (1 - above)
                    spread[row + 1, col] += each * beyond * (1 - above)
                    spread[row, col + 1] += each * (1 - beyond) * above
                    spread[row + 1, col + 1] += each * beyond * above


@njit(cache=True, nogil=True)
def lattice_inside(corners, ring, x, y):
    """Which points of a lattice with columns at rising x (c,) and rows at y (r,) lie inside rings: (r, c) bool.

    corners : (k, 2) of all rings, closed; ring : (k,) the ring that a corner belongs to. Inside is where a line from outside
    has crossed an odd number of rings, so that holes and parts count as they should; points on a ring are not inside.
    """
    found = np.zeros((len(y), len(x)), np.bool_)
    crossed = np.empty(len(corners))
    for row in range(len(y)):
        n = 0
        for k in range(len(corners) - 1):
            if ring[k] != ring[k + 1]:
                continue
            low, high = corners[k, 1], corners[k + 1, 1]
            if (low <= y[row]) != (high <= y[row]):
                crossed[n] = corners[k, 0] + (y[row] - low) / (high - low) * (corners[k + 1, 0] - corners[k, 0])
                n += 1
        edges = np.sort(crossed[:n])
        for pair in range(0, n - 1, 2):
            col = np.searchsorted(x, edges[pair], side="right")
            while col < len(x) and x[col] < edges[pair + 1]:
                found[row, col] = True
                col += 1
        for k in range(len(corners) - 1):
            if ring[k] == ring[k + 1] and corners[k, 1] == y[row] and corners[k + 1, 1] == y[row]:
                left, right = min(corners[k, 0], corners[k + 1, 0]), max(corners[k, 0], corners[k + 1, 0])
                for col in range(np.searchsorted(x, left), np.searchsorted(x, right, side="right")):
                    found[row, col] = False
    return found


@njit(cache=True, nogil=True)
def pairs_by_distance(pairs, rows, cols):
    """Pairs of cells, and their distances in cells added up, in bins of half a cell: two (b,).

    pairs : number of pairs by lag, as a cyclic autocorrelation of at least (2 rows - 1, 2 cols - 1) has it: lags below zero stand
    at the end
    """
    bins = int(np.rint(2 * np.sqrt((rows - 1.0) ** 2 + (cols - 1.0) ** 2))) + 1
    number, away = np.zeros(bins), np.zeros(bins)
    for row in range(rows):
        for col in range(cols):
            count = pairs[row, col]
            if row:
                count += pairs[-row, col]
            if col:
                count += pairs[row, -col]
            if row and col:
                count += pairs[-row, -col]
            count = np.rint(count)
            distance = np.sqrt(float(row * row + col * col))
            at = int(np.rint(2 * distance))
            number[at] += count
            away[at] += count * distance
    return number, away
