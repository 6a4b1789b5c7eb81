"""Regressors: what turns predictors into a target. One place to add one: `REGRESSORS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Regressor(Protocol):
    """What the rest of the house relies on.

    `params` is a plain vector, so that refits without a cluster of plots give the covariance of *all* parameters,
    whatever the regressor, and a stand's variance needs only its mean gradient.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        """Parameters from predictors (n, p), target (n,) and a flag per column (p,) that may be shrunk."""

    def mean(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Expected target (n,), never negative."""

    def gradient(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Derivative of `mean` with respect to each parameter (n, len(params))."""

    def moved(self, y: np.ndarray, mean: np.ndarray, amount: np.ndarray) -> np.ndarray:
        """Targets (n,) moved along the scale that the fit works in, by what `amount` is at the expected target `mean`.

        On a square-root scale the same amount moves a bare plot as far as a full one, where the slope of the root at the
        bare plot's own target would let it rule the fit.
        """


@dataclass(frozen=True)
class Linear:
    """Linear regression of the transformed target, back-transformed with Snowdon's ratio.

    mean = ratio x back(intercept + X b), ratio = sum(y) / sum(back(fitted)), so that the plots' total is met.
    Parameters: ratio, intercept, one slope per predictor. A small ridge keeps nearly collinear predictors apart.

    References
    ----------
    Snowdon 1991, Canadian Journal of Forest Research 21:720-724, doi:10.1139/x91-101.
    """

    transform: str = "sqrt"
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.transform not in ("none", "sqrt", "log"):
            raise ValueError(f"transform {self.transform!r} is not one of none, sqrt, log")

    def fit(self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        response = self._forward(y)
        design = np.column_stack([np.ones(len(X)), X])
        penalty = self.ridge * len(X) * np.concatenate([[0.0], penalised.astype(float)])
        slopes = np.linalg.solve(design.T @ design + np.diag(penalty + 1e-9), design.T @ response)
        if self.transform == "none":
            return np.concatenate([[1.0], slopes])
        fitted = self._back(design @ slopes).sum()
        if fitted <= 0:
            raise ValueError(
                "the regression predicts zero on every plot: the target has no variation that the predictors see"
            )
        return np.concatenate([[y.sum() / fitted], slopes])

    def mean(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        return np.maximum(params[0] * self._back(params[1] + X @ params[2:]), 0.0)

    def gradient(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        linear = params[1] + X @ params[2:]
        value = self._back(linear)
        slope = params[0] * self._slope(linear)
        gradient = np.column_stack([value, slope, slope[:, None] * X])
        gradient[params[0] * value <= 0] = 0.0
        if self.transform == "none":
            gradient[:, 0] = 0.0
        return gradient

    def moved(self, y: np.ndarray, mean: np.ndarray, amount: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return (np.sqrt(np.maximum(y, 0.0)) + amount / (2 * np.sqrt(mean))) ** 2
        return y * np.exp(amount / mean) if self.transform == "log" else y + amount

    def _forward(self, y: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return np.sqrt(np.maximum(y, 0.0))
        if self.transform == "log":
            if (y <= 0).any():
                raise ValueError("transform log needs targets above zero, and some plots have none: use sqrt")
            return np.log(y)
        return y

    def _back(self, linear: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return np.maximum(linear, 0.0) ** 2
        return np.exp(linear) if self.transform == "log" else linear

    def _slope(self, linear: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return 2 * np.maximum(linear, 0.0)
        return np.exp(linear) if self.transform == "log" else np.ones_like(linear)


REGRESSORS: dict[str, Callable[..., Regressor]] = {"linear": Linear}
"""Name in the configuration -> factory that takes the model settings it knows (`transform`)."""


def regressor_named(name: str, *, transform: str) -> Regressor:
    """The regressor of a study; an unknown name is answered with the known ones."""
    if name not in REGRESSORS:
        raise ValueError(f"model.regressor {name!r} is not a regressor; known: {', '.join(REGRESSORS)}")
    return REGRESSORS[name](transform=transform)
