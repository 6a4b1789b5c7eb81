"""Compiled loops over points. Importing this module loads numba, so it is imported where the work is."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def group_sorted(cell, z, n_cells):
    """Values grouped by cell and rising inside each: (grouped values, starts), `starts` of length `n_cells` + 1."""
    starts = np.zeros(n_cells + 1, np.int64)
    for i in range(cell.size):
        starts[cell[i] + 1] += 1
    for k in range(n_cells):
        starts[k + 1] += starts[k]
    place = starts[:-1].copy()
    grouped = np.empty(z.size, z.dtype)
    for i in range(cell.size):
        grouped[place[cell[i]]] = z[i]
        place[cell[i]] += 1
    for k in range(n_cells):
        if starts[k + 1] - starts[k] > 1:
            grouped[starts[k] : starts[k + 1]].sort()
    return grouped, starts
