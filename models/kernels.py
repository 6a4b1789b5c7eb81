"""Compiled loops over places and plots. Importing this module loads numba, so it is imported where the work is."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _squared(place, plot, most):
    """Squared distance, or something above `most` as soon as it is."""
    total = 0.0
    for k in range(len(place)):
        apart = place[k] - plot[k]
        total += apart * apart
        if total > most:
            return total
    return total


@njit(cache=True, nogil=True)
def nearest_and_count(places, plots, reach_squared):
    """Squared distance (n,) of places (n, p) to the nearest of plots (m, p), and how many plots lie within reach (n,).

    Plots come rising in the first coordinate: those too far in it alone, up or down, are not looked at. The distance is NaN
    and the count 0 where a coordinate is missing.
    """
    n, m = len(places), len(plots)
    nearest, count = np.empty(n), np.zeros(n, np.int32)
    reach = np.sqrt(reach_squared)
    last = 0
    for i in range(n):
        place = places[i]
        best = _squared(place, plots[last], np.inf)
        nearest[i] = best
        if np.isnan(best):
            continue
        low, high = 0, m
        while low < high:
            middle = (low + high) // 2
            if plots[middle, 0] < place[0]:
                low = middle + 1
            else:
                high = middle
        far = max(np.sqrt(best), reach)
        for step in (1, -1):
            j = low if step == 1 else low - 1
            while 0 <= j < m and abs(plots[j, 0] - place[0]) <= far:
                distance = _squared(place, plots[j], max(best, reach_squared))
                if distance <= reach_squared:
                    count[i] += 1
                if distance < best:
                    best, last = distance, j
                    far = max(np.sqrt(best), reach)
                j += step
        nearest[i] = best
    return nearest, count


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _whole_squared(x, shift, scale, plot):
    """Squared distance of a place, as measured, to a plot: no question on the way, so that several terms go together."""
    total = 0.0
    for k in range(len(x)):
        apart = x[k] * scale[k] - shift[k] - plot[k]
        total += apart * apart
    return total


@njit(cache=True, nogil=True)
def within_reach(X, shift, scale, order, plots, ordered, guess, corner, side, reach_squared):
    """Whether any of plots (m, p) lies within reach of each place.

    X : (n, p) as measured; a place lies at X x scale - shift
    order : (p,) coordinates by how far they set plots apart; `plots` rise in the first of them, and `ordered` are the same
        plots with their coordinates in that order: those too far in the first alone are not looked at.
    guess : (cells, cells) by the first two coordinates, in squares from `corner` (2,) on of sides `side` (2,): the plot that
        is asked first, or -1 where none is within reach of the square; nor is any beyond the squares.
    """
    n, p, m = len(X), len(order), len(plots)
    found = np.zeros(n, np.bool_)
    place = np.empty(p)
    reach = np.sqrt(reach_squared)
    first, second = order[0], order[min(1, p - 1)]
    for i in range(n):
        row = (X[i, first] * scale[first] - shift[first] - corner[0]) / side[0]
        col = (X[i, second] * scale[second] - shift[second] - corner[1]) / side[1]
        if not (row >= 0 and col >= 0 and row < len(guess) and col < len(guess)):  # missing ones among them
            continue
        asked = guess[int(row), int(col)]
        if asked < 0:
            continue
        away = _whole_squared(X[i], shift, scale, plots[asked])
        if away <= reach_squared:
            found[i] = True
            continue
        if np.isnan(away):
            continue
        for k in range(p):
            place[k] = X[i, order[k]] * scale[order[k]] - shift[order[k]]
        low, high = 0, m
        while low < high:  # first plot that is not too far below
            middle = (low + high) // 2
            if ordered[middle, 0] < place[0] - reach:
                low = middle + 1
            else:
                high = middle
        for j in range(low, m):
            if ordered[j, 0] > place[0] + reach:
                break
            if _squared(place, ordered[j], reach_squared) <= reach_squared:
                found[i] = True
                break
    return found
