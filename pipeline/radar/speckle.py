"""Speckle: the grain that coherent waves lay over every image. `SPECKLE` lists the filters; `@speckle_filter` adds one.

Filters take and give backscatter as linear power. An average of decibels is the logarithm of a geometric mean, which for
speckle of 4.4 looks lies 0.5 dB below the mean power, and by another amount for every number of looks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HALF_PX = 3
"""Windows of 7 x 7 pixels of the study's grid."""

LOOKS = 4.4
"""Equivalent number of looks of a Sentinel-1 IW GRDH pixel: `sar:looks_equivalent_number` of its items."""

SPACING_M, RESOLUTION_M = 10.0, (20.0, 22.0)
"""Distance of pixels and size of a resolution cell: `sar:pixel_spacing_*` and `sar:resolution_*` of the same items."""


@dataclass(frozen=True)
class SpeckleFilter:
    """A declared filter: `function` takes (dates, rows, cols) and the looks of a pixel, and sees `reach_px` around one."""

    name: str
    function: Callable[[np.ndarray, float], np.ndarray]
    title: str
    reference: str
    reach_px: int


SPECKLE: dict[str, SpeckleFilter] = {}
"""Every speckle filter, by name."""

Function = Callable[[np.ndarray, float], np.ndarray]


def speckle_filter(*, reach_px: int, reference: str = "") -> Callable[[Function], Function]:
    """Declare a function as a speckle filter under its own name; its docstring's first sentence is its title."""

    def declare(function: Function) -> Function:
        title = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        SPECKLE[function.__name__] = SpeckleFilter(function.__name__, function, title, reference, reach_px)
        return function

    return declare


def looks_of(resolution_m: float) -> float:
    """Looks of a pixel of the study's grid, a mean of n x n pixels of the product.

    Neighbours share a resolution cell, so their speckle is correlated: amplitudes by 1 - distance / cell (two boxes that
    overlap), intensities by the square of that. The mean of n x n has n^2 / (sum of correlations) times the looks of one.
    """
    place = SPACING_M * np.arange(max(1, int(resolution_m / SPACING_M + 1e-9)))
    apart = np.abs(place[:, None] - place[None, :])
    shares = [np.mean(np.maximum(1 - apart / cell, 0) ** 2) for cell in RESOLUTION_M]
    return float(LOOKS / np.prod(shares))


def despeckle(stack: np.ndarray, name: str, *, looks: float = LOOKS) -> np.ndarray:
    """Backscatter with less speckle.

    Parameters
    ----------
    stack : float32 array (dates, rows, cols)
        One polarisation, linear power, missing NaN; of a window `SPECKLE[name].reach_px` wider on each side than what is
        wanted: nearer to its edge a pixel has fewer neighbours.
    name : str
        A filter in `SPECKLE`.
    looks : float
        Equivalent number of looks of a pixel.

    Returns
    -------
    float32 array (dates, rows, cols)
        Missing where the input is, and nowhere else.
    """
    return SPECKLE[name].function(np.ascontiguousarray(stack, "float32"), looks)


@speckle_filter(reach_px=0)
def none(stack, looks):
    """Images as they are."""
    return stack


@speckle_filter(reach_px=HALF_PX, reference="Quegan and Yu 2001, doi:10.1109/36.964973 (images that are not correlated)")
def multitemporal(stack, looks):
    """Each date's local mean times the mean over dates of intensity by local mean: what dates share keeps its detail.

    Unbiased where dates are independent. Of N dates of L looks and a window of m pixels, all alike, L N m / (N + m - 1)
    looks remain. One date alone stays as it is.
    """
    from pipeline.radar.kernels import multitemporal as filtered

    return filtered(stack, HALF_PX)


@speckle_filter(
    reach_px=HALF_PX,
    reference="Lee 1980, doi:10.1109/TPAMI.1980.4766994; weight as in Lopes et al. 1990, doi:10.1109/36.62623",
)
def lee(stack, looks):
    """Each date by itself: the local mean where a place varies no more than speckle does, the pixel's own value elsewhere."""
    from pipeline.radar.kernels import lee as filtered

    return np.stack([filtered(image, HALF_PX, float(looks)) for image in stack])
