"""Plots that do not stand quite where their table says: what that does to a model, and how it is kept out of it.

Given the recorded position the true one lies around it, so a plot's predictors are the means over the places where it may
be (regression calibration: a regression on them is not attenuated), and how much the prediction differs between those
places is an error of this plot alone. It is told apart from what the model leaves unexplained anywhere, so that stands
and pixels, whose position is known, are not charged with it.

References
----------
Carroll, Ruppert, Stefanski & Crainiceanu 2006, Measurement Error in Nonlinear Models, 2nd ed., ch. 1.4 (Berkson errors), 4
(regression calibration).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.inference.residuals import above_floor, spread_of

if TYPE_CHECKING:
    import pandas as pd

RINGS, TURNS = 3, 6
PLACES = RINGS * TURNS
PREFIX = "displaced_"
"""Before the name of a predictor: the column with its values at the displaced footprints of a plot."""
LEAST_SPREAD = 0.3
"""Share of the residuals' spread that stays with the model at least, however large position errors are said to be."""


def displacements(position_error_m: float) -> np.ndarray:
    """Places (18, 2) in metres east and north that stand alike for a normal error of position.

    Three rings, each at the root mean square distance of a third of all places, of six places turned against each other:
    mean and covariance are those of the normal distribution.

    Parameters
    ----------
    position_error_m : float
        Root mean square of the horizontal distance (DRMS): sqrt(2) times the standard deviation of one coordinate.
    """
    edges = np.append(-np.log1p(-np.arange(RINGS) / RINGS), np.inf)  # of half the squared distance, exponential
    with np.errstate(invalid="ignore"):
        below = np.where(np.isinf(edges), 0.0, (edges + 1) * np.exp(-edges))
    squared = RINGS * (below[:-1] - below[1:])  # in units of the mean squared distance
    radius = position_error_m * np.sqrt(squared)
    turn = 2 * np.pi * (np.arange(TURNS)[None, :] + np.arange(RINGS)[:, None] / RINGS) / TURNS
    return np.stack([radius[:, None] * np.sin(turn), radius[:, None] * np.cos(turn)], axis=-1).reshape(-1, 2)


Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Expected target (m,) from raw predictors (m, p) and the year of each (m,)."""


def wobble(plots: pd.DataFrame, predictors: Sequence[str], year: np.ndarray, predict: Predict) -> np.ndarray | None:
    """How the prediction at each plot's possible places departs from their mean (n, k), in target units over sqrt(k).

    Squares of a row add up to the variance of the plot's error; products of two rows of one plot to the covariance of its
    dates, for a plot is as far off at both. Rows of plots whose position is known are zero; None where all are.
    """
    known = _displaced(plots, predictors)
    if known is None:
        return None
    rows, values = known
    places = values.shape[1]
    found = predict(values.reshape(-1, len(predictors)), np.repeat(year[rows], places)).reshape(-1, places)
    whole = np.zeros((len(plots), places))
    whole[rows] = (found - found.mean(axis=1, keepdims=True)) / np.sqrt(places)
    return whole


def curvature(plots: pd.DataFrame, predictors: Sequence[str], year: np.ndarray, predict: Predict) -> np.ndarray:
    """What the mean of the predictions at each plot's possible places is above that of their mean predictors (n,)."""
    known = _displaced(plots, predictors)
    above = np.zeros(len(plots))
    if known is not None:
        rows, values = known
        places = values.shape[1]
        found = predict(values.reshape(-1, len(predictors)), np.repeat(year[rows], places)).reshape(-1, places)
        above[rows] = found.mean(axis=1) - predict(values.mean(axis=1), year[rows])
    return above


def _displaced(plots: pd.DataFrame, predictors: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers (m,) of the plots with displaced footprints, and predictors there (m, k, p); gaps take their plot's mean."""
    columns = [f"{PREFIX}{name}" for name in predictors]
    if not set(columns) <= set(plots.columns):
        return None
    rows = np.flatnonzero(plots[columns[0]].notna().to_numpy())
    if len(rows) == 0:
        return None
    values = np.stack([np.array(plots[column].iloc[rows].tolist(), float) for column in columns], axis=-1)
    means = np.broadcast_to(plots[list(predictors)].to_numpy(float)[rows][:, None, :], values.shape)
    return rows, np.where(np.isfinite(values), values, means)


def spread_beside(residual: np.ndarray, mean: np.ndarray, wobbles: np.ndarray | None) -> tuple[float, float, float]:
    """Scale, power and floor as of `residuals.spread_of`, of what is left of the residuals (n,) beside errors of position:
    by the Gaussian likelihood of both together."""
    from scipy.optimize import minimize_scalar

    if wobbles is None:
        return spread_of(residual, mean)
    _, _, floor = spread_of(residual, mean)
    wooded = above_floor(mean, floor)
    residual, mean, of_position = residual[wooded], mean[wooded], (wobbles**2).sum(axis=1)[wooded]
    size, best = np.maximum(mean, floor), (np.inf, 0.0, 1.0)
    for power in np.linspace(0.0, 1.0, 11):
        unit = size**power
        whole = float(np.sqrt(np.mean((residual / unit) ** 2)))

        def deviance(log_scale: float, unit: np.ndarray = unit) -> float:
            variance = (np.exp(log_scale) * unit) ** 2 + of_position
            return float((np.log(variance) + residual**2 / variance).sum())

        bounds = np.log(whole * LEAST_SPREAD), np.log(whole)
        found = minimize_scalar(deviance, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        if found.fun < best[0] - 1e-9:
            best = float(found.fun), float(power), float(np.exp(found.x))
    return best[2], best[1], floor


def scale_beside(standardised: np.ndarray, free: int, apart: np.ndarray | None) -> float:
    """Root mean square of residuals (n,) by their `free` degrees, without the variance (diagonal of `apart`) of positions."""
    squares = float((standardised**2).sum())
    if apart is not None:
        squares = max(squares - float(np.trace(apart)) * free / len(standardised), LEAST_SPREAD**2 * squares)
    return float(np.sqrt(squares / free))


def beside(wobbles: np.ndarray | None, sd: np.ndarray, plot: np.ndarray) -> np.ndarray | None:
    """Covariance (n, n) of what wrong positions do to residuals that were divided by their `sd` (n,); one plot's only."""
    if wobbles is None:
        return None
    standard = wobbles / sd[:, None]
    return np.where(plot[:, None] == plot[None, :], standard @ standard.T, 0.0)


def moves(wobbles: np.ndarray | None, influence: np.ndarray, sd: np.ndarray, plot: np.ndarray) -> np.ndarray | None:
    """Rows (p, p) whose squared product with a gradient adds up to the variance that wrong positions give a mean.

    `influence` (n, p) is the change of the parameters per `sd` (n,) of a row's residual; rows of one plot move together.
    """
    if wobbles is None:
        return None
    _, member = np.unique(plot, return_inverse=True)
    parts = (influence / sd[:, None])[:, None, :] * wobbles[:, :, None]
    together = np.zeros((member.max() + 1, *parts.shape[1:]))
    np.add.at(together, member, parts)
    rows = together.reshape(-1, influence.shape[1])
    return np.linalg.qr(rows, mode="r")
