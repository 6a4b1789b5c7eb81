"""Regressors: what turns predictors into a target. One place to add one: `REGRESSORS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from models.regressors.base import Regressor, alive, plain_of
from models.regressors.boosting import HistogramBoosting
from models.regressors.gaussian import GaussianProcess
from models.regressors.linear import Baskerville, Forward, Linear, PartialLeastSquares, Ridge
from models.regressors.mix import Auto, Default, Mix
from models.regressors.mixed_effects import MixedEffects
from models.regressors.smoothers import GradientNeighbours, MostSimilarNeighbours, Neighbours
from models.regressors.trees import ExtraTrees, QuantileForest, RandomForest

__all__ = ["REGRESSORS", "Linear", "Regressor", "alive", "plain_of", "regressor_named"]

REGRESSORS: dict[str, Callable[..., Regressor]] = {
    one.name: one
    for one in (
        Default, Linear, Ridge, PartialLeastSquares, Forward, Mix, GaussianProcess, ExtraTrees, RandomForest,
        QuantileForest, HistogramBoosting, Neighbours, GradientNeighbours, MostSimilarNeighbours, Baskerville,
        MixedEffects, Auto,
    )
}  # fmt: skip
"""Name in the configuration -> factory that takes the model settings it knows (`transform`). Plainer ones come first."""


def regressor_named(name: str, *, transform: str) -> Regressor:
    """The regressor of a study; an unknown name is answered with the known ones."""
    if name not in REGRESSORS:
        raise ValueError(f"model.regressor {name!r} is not a regressor; known: {', '.join(REGRESSORS)}")
    made = REGRESSORS[name]
    return made(transform=transform) if "transform" in inspect.signature(made).parameters else made()
