"""What share of each pixel lies in each stratum of the stands: predictors of models that tell strata apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.inference.stratum_names import NO_STRATUM, PREFIX, is_stratum
from pipeline.zonal import Covered, coverage

if TYPE_CHECKING:
    import geopandas as gpd

    from pipeline.grid import Grid, Window

WHOLE = 0.999
"""Of a pixel's area; from this share on it lies wholly in its strata: what polygons leave between them by rounding is nothing."""


def strata_predictors(stands: gpd.GeoDataFrame) -> list[str]:
    """The predictors that the strata of some stands make: one for each, and one for places in none.

    Raises
    ------
    ValueError
        If the stands have no stratum, or all the same.
    """
    found = sorted({str(one) for one in stands["stratum"] if isinstance(one, str) and one})
    if not found:
        raise ValueError(
            "model.strata asks for strata, and no stand has one: name a column of the stand layer in stands.stratum that has "
            "values, or leave model.strata out"
        )
    if len(found) == 1:
        raise ValueError(
            f"model.strata asks for strata, and all stands that have one are of stratum {found[0]!r}: nothing can be told apart, "
            "so leave model.strata out, or name another column in stands.stratum"
        )
    return [PREFIX + name for name in (*found, NO_STRATUM)]


def shares(covered: Covered, stands: gpd.GeoDataFrame, shape: tuple[int, int], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Share (rows, cols) of each pixel of a window in each stratum, by predictor name.

    A pixel on a border has a share of both sides, as its reflectance and its points have. Stands without a stratum, as plots
    that are stands, count as no stand.

    Parameters
    ----------
    covered : what `zonal.coverage` tells of the window
    names : of `strata_predictors`; other names are left aside
    """
    n = shape[0] * shape[1]
    if not any(map(is_stratum, names)):
        return {}
    stratum = dict(zip(stands["stand"], stands["stratum"], strict=True))
    found = {name: np.zeros(n) for name in names if is_stratum(name)}
    every = np.zeros(n)
    for stand, pixel, fraction, _ in covered:
        name = stratum[stand]
        if not isinstance(name, str) or not name:
            continue
        every[pixel] += fraction
        if PREFIX + name in found:
            found[PREFIX + name][pixel] += fraction
    if PREFIX + NO_STRATUM in found:
        found[PREFIX + NO_STRATUM] = np.where(every >= WHOLE, 0.0, 1 - every)
    return {name: np.minimum(share, 1.0).astype("float32").reshape(shape) for name, share in found.items()}


def shares_of(stands: gpd.GeoDataFrame, grid: Grid, window: Window, names: Sequence[str]) -> dict[str, np.ndarray]:
    """As `shares`, of a window of the grid."""
    return shares(coverage(stands, grid, window), stands, window.shape, names)
