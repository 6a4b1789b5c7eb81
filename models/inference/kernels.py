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
def square_correlation(distance, side, range_m, table, near, least, most):
    """exp(-3 d / range_m), meant over two squares of sides `side` (n,) whose centres lie `distance` (n,) apart.

    Within `near` sides by the logarithms in `table` (steps of distance in sides from 0 to `near`, steps of the logarithm of
    side / range from `least` to `most`), linear between; beyond by the curvature of the correlation.
    """
    found = np.empty(len(distance))
    rows, cols = table.shape
    per_log = (cols - 1) / np.log(most / least)
    for i in range(len(distance)):
        d, s = distance[i], side[i]
        if d < near * s:
            row = d / s * (rows - 1) / near
            col = np.log(min(max(s / range_m, least), most) / least) * per_log
            r, c = min(int(row), rows - 2), min(int(col), cols - 2)
            y, x = row - r, col - c
            low = table[r, c] * (1 - x) + table[r, c + 1] * x
            high = table[r + 1, c] * (1 - x) + table[r + 1, c + 1] * x
            found[i] = np.exp(low * (1 - y) + high * y)
        else:
            bend = 0.0
            if d > 0:
                bend = min(s * s / 12 * (9 / range_m**2 - 3 / (range_m * d)), 5.0)
            found[i] = np.exp(bend - 3 * d / range_m)
    return found
