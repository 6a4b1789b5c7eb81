"""Quantiles of a target at pixels, by the predictor set that serves each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.inference.target_model import TargetModel


def conditional_quantiles(
    model: TargetModel, predictors: Mapping[str, np.ndarray], date: int, set_number: np.ndarray, probabilities: Sequence[float]
) -> np.ndarray:
    """What a plot at each place stays below with some probabilities, all in one pass.

    They are of a plot's own value (its residual is in them), by the plots that the model has learned; what other plots
    would have told is not.

    Parameters
    ----------
    predictors : mapping of name to array (n,)
    date : int
        Study year that the predictors show.
    set_number : (n,) predictor set that serves each place, -1 where none does
    probabilities : (q,) between 0 and 1

    Returns
    -------
    array (n, q), NaN where no set serves, its regressor tells no quantiles, or it learned from another set's predictions, which
    scatter less than plots do
    """
    found = np.full((len(set_number), len(probabilities)), np.nan)
    for number, one in enumerate(model.sets):
        rows = np.flatnonzero(set_number == number)
        machine = one.machine.stands_for
        if len(rows) == 0 or len(probabilities) == 0 or not machine.tells_quantiles or one.second_stage is not None:
            continue
        X = np.column_stack([predictors[name][rows] for name in one.predictors])
        found[rows] = machine.quantiles(one.design(X, date), probabilities)
    return found
