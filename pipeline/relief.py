"""Which way the ground leans: the gradient of an elevation model on a grid in metres whose rows run south."""

from __future__ import annotations

import numpy as np


def gradient(elevation: np.ndarray, resolution_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Rise per metre towards east and towards north (rows, cols), float64, missing where the pixel's own height is.

    Horn 1981, doi:10.1109/PROC.1981.11918. Where a neighbour is missing, the height opposite is continued through the
    pixel (2 x centre - opposite), so that a plane keeps its slope to the edge of what is known.
    """
    rows, cols = elevation.shape
    centre = elevation.astype("float64")
    padded = np.pad(centre, 1, constant_values=np.nan)

    def beside(down: int, right: int):
        there = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + cols]
        opposite = padded[1 - down : 1 - down + rows, 1 - right : 1 - right + cols]
        return np.where(np.isnan(there), 2 * centre - opposite, there)  # missing where the pixel itself is, or both

    def across(down: int, right: int, upright, level):
        there = beside(down, right)
        return np.where(np.isnan(there), upright + level - centre, there)  # a corner of the area has neither diagonal

    n, s, w, e = beside(-1, 0), beside(1, 0), beside(0, -1), beside(0, 1)
    nw, ne = across(-1, -1, n, w), across(-1, 1, n, e)
    sw, se = across(1, -1, s, w), across(1, 1, s, e)
    east = ((ne + 2 * e + se) - (nw + 2 * w + sw)) / (8 * resolution_m)
    north = ((nw + 2 * n + ne) - (sw + 2 * s + se)) / (8 * resolution_m)
    missing = np.isnan(centre)
    return np.where(missing, np.nan, east), np.where(missing, np.nan, north)
