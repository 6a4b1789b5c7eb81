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
