"""Where a model's predictions no longer follow what is there: dense forest that the sensor cannot tell from denser forest.

Told from plots that the model has not seen, by predictions against what was observed (not the other way round: every honest
prediction is drawn to the mean, which leaves this line straight, while a sensor that saturates bends it to a ceiling). A line
with one bend is fitted at each of several places; the predictions saturate where the best of them is all but level beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LEVEL, SURELY = 0.25, 0.5
"""Beyond the bend the line rises at most so much as before it: by estimate, and with the confidence of `SURE`."""
SURE = 0.99
FEWEST = 15
"""Clusters of plots that a slope is told from."""
BENDS = tuple(np.arange(0.3, 0.86, 0.05))
"""Quantiles of what was observed at which a bend is tried."""


@dataclass(frozen=True)
class Saturation:
    """From `level` on (target unit per hectare) a prediction says no more than that there is `ceiling_of` or more.

    level : the prediction that best parts plots below and above `ceiling_of`, the observed value where the line bends
    slope : of predictions on observed beyond the bend; before : the same before it; n : plots beyond it
    """

    level: float
    ceiling_of: float
    slope: float
    before: float
    n: int


def saturation(observed: np.ndarray, predicted: np.ndarray, cluster: np.ndarray) -> Saturation | None:
    """Where predictions (n,) of left-out plots stop rising with what was observed (n,); None where they do not.

    Predictions have to be of models that have not seen the plot's cluster (n,).
    """
    best: tuple[float, np.ndarray, float] | None = None
    for bend in np.unique(np.quantile(observed, BENDS)) if len(observed) else ():
        beyond = observed >= bend
        if min(len(np.unique(cluster[beyond])), len(np.unique(cluster[~beyond]))) < FEWEST:
            continue
        X = _bent(observed, bend)
        b, *_ = np.linalg.lstsq(X, predicted, rcond=None)
        left = float(((predicted - X @ b) ** 2).sum())
        if best is None or left < best[0]:
            best = (left, b, float(bend))
    if best is None or not _levels_off(observed, predicted, cluster, *best[1:]):
        return None
    _, b, bend = best
    return Saturation(_parting(observed >= bend, predicted), bend, float(b[2]), float(b[1]), int((observed >= bend).sum()))


def _bent(observed: np.ndarray, bend: float) -> np.ndarray:
    return np.column_stack([np.ones(len(observed)), np.minimum(observed, bend), np.maximum(observed - bend, 0.0)])


def _levels_off(observed: np.ndarray, predicted: np.ndarray, cluster: np.ndarray, b: np.ndarray, bend: float) -> bool:
    from models.inference.cluster_robust import contrast_variance

    X = _bent(observed, bend)
    residual = predicted - X @ b
    sure = []
    for contrast, sign in ((np.array([0.0, -SURELY, 1.0]), -1), (np.array([0.0, 1.0, 0.0]), 1)):
        variance, freedom = contrast_variance(X, residual, contrast, cluster)
        sure.append(sign * float(contrast @ b) > student.ppf(SURE, max(freedom, 1.0)) * np.sqrt(variance))
    return all(sure) and b[2] <= LEVEL * b[1]


def _parting(beyond: np.ndarray, predicted: np.ndarray) -> float:
    """The prediction that puts the fewest plots on the wrong side."""
    order = np.argsort(predicted, kind="stable")
    above = beyond[order]
    wrong = np.concatenate([[0], np.cumsum(above)]) + np.concatenate([np.cumsum(~above[::-1])[::-1], [0]])
    cut = int(wrong.argmin())
    return float(predicted[order[min(cut, len(order) - 1)]])
