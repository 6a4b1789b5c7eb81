"""Compiled loops over places and plots. Importing this module loads numba, so it is imported where the work is.

Neighbouring pixels are alike: each search begins with the plot that served the pixel before, so most end at once.
"""

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
def _missing(place):
    for value in place:  # noqa: SIM110 (numba compiles no generators)
        if np.isnan(value):
            return True
    return False


@njit(cache=True, nogil=True)
def nearest_squared(places, plots):
    """Squared distance (n,) of places (n, p) to the nearest of plots (m, p); NaN where a coordinate is missing."""
    found = np.empty(len(places))
    last = 0
    for i in range(len(places)):
        if _missing(places[i]):
            found[i] = np.nan
            continue
        best = _squared(places[i], plots[last], np.inf)
        for j in range(len(plots)):
            distance = _squared(places[i], plots[j], best)
            if distance < best:
                best, last = distance, j
        found[i] = best
    return found


@njit(cache=True, nogil=True)
def within_reach(X, centre, scale, order, plots, reach_squared):
    """Whether any of plots (m, p) lies within reach of each place.

    X : (n, p) as measured; a place lies at (X - centre) x scale. Coordinates are compared in the `order` (p,) given, and
    plots come in that order of coordinates, rising in the first: those too far in it alone are not looked at.
    """
    n, p, m = len(X), len(order), len(plots)
    found = np.zeros(n, np.bool_)
    place = np.empty(p)
    reach = np.sqrt(reach_squared)
    last = 0
    for i in range(n):
        for k in range(p):
            place[k] = (X[i, order[k]] - centre[k]) * scale[k]
        # the plot that served the place before mostly serves this one too: two short chains of sums, no question between
        even, odd = 0.0, 0.0
        for k in range(0, p - 1, 2):
            one, two = place[k] - plots[last, k], place[k + 1] - plots[last, k + 1]
            even += one * one
            odd += two * two
        if p % 2:
            even += (place[p - 1] - plots[last, p - 1]) ** 2
        if even + odd <= reach_squared:
            found[i] = True
            continue
        if np.isnan(even + odd):
            continue
        low, high = 0, m
        while low < high:  # first plot that is not too far below
            middle = (low + high) // 2
            if plots[middle, 0] < place[0] - reach:
                low = middle + 1
            else:
                high = middle
        for j in range(low, m):
            if plots[j, 0] > place[0] + reach:
                break
            if _squared(place, plots[j], reach_squared) <= reach_squared:
                found[i] = True
                last = j
                break
    return found


@njit(cache=True, nogil=True)
def count_in_reach(places, plots, reach_squared):
    """How many of plots (m, p) lie within reach of each place (n, p)."""
    found = np.zeros(len(places), np.int32)
    for i in range(len(places)):
        if _missing(places[i]):
            continue
        for j in range(len(plots)):
            if _squared(places[i], plots[j], reach_squared) <= reach_squared:
                found[i] += 1
    return found
