"""How well a model predicts plots it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import beta
from scipy.stats import norm
from scipy.stats import t as student

from models.folds import by_cluster, by_place, knndm, nndm, rest_of, spatial_blocks

SCHEMES = {
    "plots": "one plot at a time (flatters where plots lie close together)",
    "clusters": "one cluster of plots at a time",
    "blocks": "squares with all their plots",
    "map": "folds as far from their training plots as the map is from the plots (kNNDM)",
    "map_each": "each cluster without the neighbours that the map does not have (NNDM)",
}
"""Ways to leave plots out, from the most flattering: one place to add one is `splits`."""

LEVELS = (50, 60, 70, 80, 90, 95, 99)
"""Nominal levels (percent) at which intervals are asked whether they hold what they promise."""

FEW_PLOTS, FEW_CLUSTERS = 10, 5
"""Below either, scores of a part of the plots say little, and are said to."""


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
        "plots": lambda: by_place(xy),
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


def crps(
    observed: np.ndarray, predicted: np.ndarray, sd: np.ndarray, degrees_of_freedom: np.ndarray | float = np.inf
) -> np.ndarray:
    """Continuous ranked probability score (n,) of Student's t about the prediction, in the target's unit: smaller is better.

    The mean distance of the prediction from what is there, were the prediction a single number. NaN with one degree of
    freedom, whose distribution has no mean.

    References
    ----------
    Gneiting & Raftery 2007, Journal of the American Statistical Association 102:359-378, doi:10.1198/016214506000001437
    (normal); Jordan, Krueger & Lerch 2019, Journal of Statistical Software 90(12), doi:10.18637/jss.v090.i12 (Student's t).
    """
    z, df = np.broadcast_arrays((observed - predicted) / sd, np.asarray(degrees_of_freedom, float))
    normal = df > 1e6
    df = np.where(normal | (df <= 1), 2.0, df)  # whose score is not taken
    own = 2 * np.sqrt(df) / (df - 1) * beta(0.5, df - 0.5) / beta(0.5, df / 2) ** 2
    of_t = z * (2 * student.cdf(z, df) - 1) + 2 * student.pdf(z, df) * (df + z**2) / (df - 1) - own
    of_normal = z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)
    return sd * np.where(normal, of_normal, np.where(np.asarray(degrees_of_freedom) <= 1, np.nan, of_t))


def half_width(level_percent: float) -> str:
    """Column of a table that holds half the width of each plot's interval at a level."""
    return f"half_width_{level_percent:g}"


def spread_freedom(scaled: np.ndarray, cluster: np.ndarray, columns: int) -> float:
    """Degrees of freedom with which residuals (n,) over their standard deviation tell its square.

    That of a chi-square with the relative variance that the mean of their squares has over clusters, 2 / V, so that clusters
    whose plots are alike and single plots far off both count; not fewer than the clusters less one, nor more than the plots less
    the regression's columns.
    """
    least, most = len(np.unique(cluster)) - 1, max(len(scaled) - columns, 1)
    error = se_of_mean(scaled**2 / np.mean(scaled**2), cluster)
    return float(np.clip(2 / error**2, min(least, most), most)) if error > 0 else float(most)


def joint_freedom(
    own: np.ndarray, own_free: float, other: np.ndarray, other_free: float
) -> np.ndarray:
    """Degrees of freedom (n,) of the sum of two variances (n,) that are known with their own (Satterthwaite 1946)."""
    return (own + other) ** 2 / (own**2 / max(own_free, 1.0) + other**2 / max(other_free, 1.0))


def reach_of(scaled: np.ndarray, degrees_of_freedom: np.ndarray, level_percent: float) -> np.ndarray:
    """Half width, in standard deviations, of the interval of plots (n,) not seen, from residuals (k,) of plots left out.

    The residual, over its standard deviation, that so many of the k + 1 stay below (conformal: no distribution is assumed);
    Student's t where k are too few to tell that level.

    References
    ----------
    Lei et al. 2018, Journal of the American Statistical Association 113:1094-1111, doi:10.1080/01621459.2017.1307116.
    """
    rank = int(np.ceil(level_percent / 100 * (len(scaled) + 1) - 1e-9))
    if rank > len(scaled):
        return student.ppf(0.5 + level_percent / 200, degrees_of_freedom)
    return np.full(len(degrees_of_freedom), np.sort(np.abs(scaled))[rank - 1])


def se_of_mean(values: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of a mean of plots (n,) that are alike within their cluster; NaN of one cluster.

    sqrt(G / (G - 1) sum_c (sum_{i in c} (v_i - mean))^2) / n with G clusters.
    """
    number = np.unique(cluster, return_inverse=True)[1]
    count = int(number.max()) + 1
    if count < 2:
        return float("nan")
    sums = np.bincount(number, weights=values - values.mean())
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))


def coverage_by_level(inside: Mapping[float, np.ndarray], cluster: np.ndarray) -> list[dict[str, float]]:
    """Share of plots that lie inside (n,) their interval at each level, with its standard error over clusters, in percent.

    The error is at least that of so many independent plots with the nominal share inside, so that no plot missed among a
    few does not pass for certainty.
    """
    found = []
    for level, held in inside.items():
        binomial = np.sqrt(level * (100 - level) / len(held))
        clustered = 100 * se_of_mean(held.astype(float), cluster)
        found.append(
            {"level_percent": level, "coverage_percent": 100 * float(held.mean()),
             "se_percent": float(np.nanmax([binomial, clustered]))}
        )  # fmt: skip
    return found


def parts_by_prediction(n: int) -> int:
    """Into how many parts plots are cut by their prediction: tenths of 100 or more, fifths of 50, thirds of fewer."""
    return 10 if n >= 100 else 5 if n >= 50 else 3


def by_prediction(
    observed: np.ndarray, predicted: np.ndarray, inside: np.ndarray, cluster: np.ndarray
) -> list[dict[str, float]]:
    """Bias (predicted minus observed) and coverage in equal parts of the plots by prediction, the lowest first.

    Saturation shows as a bias that falls towards the last part. `inside` (n,): whether a plot lies inside its interval.
    """
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "n": len(rows), "predicted": float(predicted[rows].mean()), "observed": float(observed[rows].mean()),
            "bias": float((predicted[rows] - observed[rows]).mean()),
            "bias_se": se_of_mean((predicted - observed)[rows], cluster[rows]),
            "coverage_percent": 100 * float(inside[rows].mean()),
        }
        for rows in np.array_split(order, parts_by_prediction(len(predicted))) if len(rows)
    ]  # fmt: skip


def by_group(
    observed: np.ndarray, predicted: np.ndarray, inside: np.ndarray, cluster: np.ndarray, group: np.ndarray
) -> list[dict[str, object]]:
    """Scores of each group of plots (a stratum, a year), by name; `few` where there are too few plots or clusters to say.

    RMSE and bias are in percent of the group's own observed mean.
    """
    found = []
    for name in np.unique(group):
        rows = group == name
        clusters = len(np.unique(cluster[rows]))
        found.append(
            {"name": str(name), "clusters": clusters, **scores(observed[rows], predicted[rows]),
             "bias_se": se_of_mean((predicted - observed)[rows], cluster[rows]),
             "coverage_percent": 100 * float(inside[rows].mean()), "few": int(rows.sum()) < FEW_PLOTS or clusters < FEW_CLUSTERS}
        )  # fmt: skip
    return found


def all_scores(
    observed: np.ndarray, predicted: np.ndarray, sd: np.ndarray, half_widths: Mapping[float, np.ndarray], *,
    degrees_of_freedom: np.ndarray, confidence_percent: float, cluster: np.ndarray | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, object]:  # fmt: skip
    """Every score of one way to leave plots out.

    Parameters
    ----------
    half_widths : of each level (percent), half the width (n,) of each plot's interval; `confidence_percent` is one of them
    degrees_of_freedom : (n,) with which each plot's `sd` (n,) is known
    cluster : (n,) plots that are alike; each by itself where it is not given
    groups : of each way to part the plots (`stratum`, `year`), the part (n,) that each is in

    Returns
    -------
    dict
        Among the scores `error_over_sd`: root mean square of errors over the standard deviations expected of them, 1 where
        these are right, whatever the errors' distribution.
    """
    cluster = np.arange(len(observed)) if cluster is None else cluster
    error = predicted - observed
    inside = {level: np.abs(error) <= reach for level, reach in half_widths.items()}
    held = inside[confidence_percent]
    return {
        **scores(observed, predicted),
        "bias_se": se_of_mean(error, cluster),
        "calibration_slope": calibration_slope(observed, predicted),
        "coverage_percent": 100 * float(held.mean()),
        "width": float(2 * half_widths[confidence_percent].mean()),
        "crps": float(crps(observed, predicted, sd, degrees_of_freedom).mean()),
        "error_over_sd": float(np.sqrt(np.mean((error / sd) ** 2))),
        "degrees_of_freedom": float(np.median(degrees_of_freedom)),
        "by_level": coverage_by_level({level: inside[level] for level in LEVELS}, cluster),
        "by_prediction": by_prediction(observed, predicted, held, cluster),
        "by_group": {name: by_group(observed, predicted, held, cluster, group) for name, group in (groups or {}).items()},
    }
