"""How far a map may be trusted, pixel by pixel: how unlike the plots a place is, and how many plots are like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.inference.target_model import TargetModel

PIECE = 4096
"""Pixels that are looked at together: what is worked out for them on the way stays in the processor's cache."""

NAMES = ("dissimilarity_index", "local_point_density")


def applicability_layers(
    model: TargetModel, predictors: Mapping[str, np.ndarray], set_number: np.ndarray
) -> dict[str, np.ndarray]:
    """Dissimilarity index and local point density of a chunk's pixels, against the plots of the set that serves each.

    Parameters
    ----------
    predictors : mapping of name to array of n pixels, of any shape
    set_number : (n,) predictor set that serves each pixel, -1 where none does (no forest, or no complete set)

    Returns
    -------
    dict of flat arrays (n,)
        `dissimilarity_index` (1) and `local_point_density` (plots); NaN where no set serves.
    """
    found = {name: np.full(len(set_number), np.nan) for name in NAMES}
    for number, one in enumerate(model.sets):
        served = np.flatnonzero(set_number == number)
        columns = [predictors[name].ravel() for name in one.predictors] if len(served) else []
        for start in range(0, len(served), PIECE):
            rows = served[start : start + PIECE]
            index, density = one.domain.told(np.column_stack([column[rows] for column in columns]))
            found["dissimilarity_index"][rows] = index
            found["local_point_density"][rows] = density
    return found
