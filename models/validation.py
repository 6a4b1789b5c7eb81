"""How well a model predicts plots it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from models.folds import by_cluster, knndm, nndm, one_by_one, rest_of, spatial_blocks

SCHEMES = {
    "plots": "one plot at a time (flatters where plots lie close together)",
    "clusters": "one cluster of plots at a time",
    "blocks": "squares with all their plots",
    "map": "folds as far from their training plots as the map is from the plots (kNNDM)",
    "map_each": "each cluster without the neighbours that the map does not have (NNDM)",
}
"""Ways to leave plots out, from the most flattering: one place to add one is `splits`."""

TENTHS_FROM = 100  # fewer plots are cut into thirds


def splits(
    scheme: str, xy: np.ndarray, cluster: np.ndarray, places: np.ndarray, *, block_m: float, folds: int = 10
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows left out and rows that stay, fold by fold.

    Parameters
    ----------
    scheme : str
        One of `SCHEMES`.
    xy : (n, 2) plots, metres; cluster : (n,) of each plot
    places : (m, 2) a sample of the places of the map
    """
    if scheme == "map_each":
        return nndm(xy, cluster, places)
    tests: Sequence[np.ndarray] = {
        "plots": lambda: one_by_one(len(xy)),
        "clusters": lambda: by_cluster(cluster),
        "blocks": lambda: spatial_blocks(xy, cluster, block_m),
        "map": lambda: knndm(xy, cluster, places, folds=folds),
    }[scheme]()
    return [(test, rest_of(len(xy), test)) for test in tests]


def fewer(
    scheme: str, folds: list[tuple[np.ndarray, np.ndarray]], n: int, most: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most so many folds, for models that are slow to learn: several are left out together, dealt out at random.

    Folds of `map_each` have neighbours of their own left aside, so every so many of them is taken instead.
    """
    if len(folds) <= most:
        return folds
    if scheme == "map_each":
        return [folds[k] for k in np.linspace(0, len(folds) - 1, most).round().astype(int)]
    dealt = np.random.default_rng(0).permutation(len(folds))
    tests = [np.sort(np.concatenate([folds[k][0] for k in part])) for part in np.array_split(dealt, most)]
    return [(test, rest_of(n, test)) for test in tests]


def scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """RMSE, bias and R2 of predictions of left-out plots; percentages refer to the observed mean.

    Bias is predicted minus observed. R2 = 1 - SSE / SST can be negative.
    """
    error = predicted - observed
    mean = float(observed.mean())
    rmse, bias = float(np.sqrt((error**2).mean())), float(error.mean())
    spread = float(((observed - mean) ** 2).sum())
    return {
        "n": len(observed),
        "mean": mean,
        "rmse": rmse,
        "rmse_percent": 100 * rmse / mean if mean else float("nan"),
        "bias": bias,
        "bias_percent": 100 * bias / mean if mean else float("nan"),
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else float("nan"),
    }


def calibration_slope(observed: np.ndarray, predicted: np.ndarray) -> float:
    """Slope of observed on predicted: 1 where high predictions are as high as what is there; NaN if all are equal."""
    away = predicted - predicted.mean()
    return float(away @ observed / (away @ away)) if away @ away > 0 else float("nan")


def crps(observed: np.ndarray, predicted: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score (n,) of normal predictions, in the target's unit: smaller is better.

    References
    ----------
    Gneiting & Raftery 2007, Journal of the American Statistical Association 102:359-378, doi:10.1198/016214506000001437.
    """
    z = (observed - predicted) / sd
    return sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def interval_scores(
    observed: np.ndarray, predicted: np.ndarray, sd: np.ndarray, *, degrees_of_freedom: float, confidence_percent: float
) -> dict[str, float]:
    """Whether intervals hold what they promise: coverage_percent, mean width, CRPS."""
    reach = student.ppf(0.5 + confidence_percent / 200, degrees_of_freedom) * sd
    inside = np.abs(observed - predicted) <= reach
    return {
        "coverage_percent": 100 * float(inside.mean()),
        "width": float(2 * reach.mean()),
        "crps": float(crps(observed, predicted, sd).mean()),
    }


def bias_by_prediction(observed: np.ndarray, predicted: np.ndarray) -> list[dict[str, float]]:
    """Bias (predicted minus observed) in tenths of the plots by prediction, thirds of fewer than 100: saturation shows
    as a bias that falls towards the last."""
    parts = np.array_split(np.argsort(predicted, kind="stable"), 10 if len(predicted) >= TENTHS_FROM else 3)
    return [
        {
            "n": len(rows), "predicted": float(predicted[rows].mean()), "observed": float(observed[rows].mean()),
            "bias": float((predicted[rows] - observed[rows]).mean()),
        }
        for rows in parts if len(rows)
    ]  # fmt: skip


def all_scores(
    observed: np.ndarray, predicted: np.ndarray, sd: np.ndarray, *, degrees_of_freedom: float, confidence_percent: float
) -> Mapping[str, object]:
    """Every score of one way to leave plots out."""
    return {
        **scores(observed, predicted),
        "calibration_slope": calibration_slope(observed, predicted),
        **interval_scores(
            observed, predicted, sd, degrees_of_freedom=degrees_of_freedom, confidence_percent=confidence_percent
        ),
        "by_prediction": bias_by_prediction(observed, predicted),
    }
