"""What each predictor set says of a place, wherever it is complete: the map shows one of them, estimators of several phases need
all. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.inference.target_model import TargetModel


def set_layers(model: TargetModel, predictors: Mapping[str, np.ndarray], forest: np.ndarray, year: int) -> dict[str, np.ndarray]:
    """Stock of one year on a chunk by each predictor set.

    Parameters
    ----------
    predictors : mapping of name to array (rows, cols)
    forest : array (rows, cols)
        1 forest, 0 not (stock 0 where the set sees the place), NaN unknown.

    Returns
    -------
    dict of set name to array (rows, cols)
        NaN where the set is not complete or the forest not known: what is missing shows where the set sees anything.
    """
    flat = {name: array.ravel() for name, array in predictors.items()}
    complete, wooded, bare = model.complete(flat), forest.ravel() == 1, forest.ravel() == 0
    found = {}
    for number, one in enumerate(model.sets):
        told = np.full(forest.size, np.nan)
        told[complete[:, number] & bare] = 0.0
        rows = np.flatnonzero(complete[:, number] & wooded)
        if len(rows):
            X = np.column_stack([flat[name][rows] for name in one.predictors])
            told[rows] = one.machine.mean(one.params, one.design(X, year))
        found[one.name] = told.reshape(forest.shape)
    return found
