"""`python -m benchmarks.regressors [NAMES...]`: regressors by nested cross-validation on real plots, as a table.

Plots from `FORESTSINK_DATA`. Five folds of whole clusters (quatre-montagnes), 4 km squares (Moscow) or municipalities
(JoSAE), five times; standardisation, selection, tuning, back-transformation and the spread of residuals are made anew in
every fold. RMSE and bias in % of the mean, then the share of plots inside their 90 % interval: residuals of groups of
clusters left out inside the fold, scaled by a power of the prediction.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

REPEATS, FOLDS, INNER = 5, 5, 5
NAMES = ("linear", "ridge", "pls", "forward", "gaussian_process", "extra_trees", "neighbours", "mix")


def sets_of_plots() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Title, predictors (n, p), target (n,) and cluster (n,) of each set."""
    import pandas as pd

    data = Path(os.environ["FORESTSINK_DATA"])
    table = pd.read_csv(data / "quatre-montagnes-plots/quatre_montagnes.csv")
    every, few = list(table.columns[8:76]), ["zmean", "zq95", "pzabove2"]
    for column, title in (("G_m2_ha", "basal area"), ("N_ha", "stems"), ("D_mean_cm", "diameter")):
        for chosen, how in ((every, "all"), (few, "three")):
            yield f"quatre-montagnes {title}, {how}", _whole(table[chosen]), table[column], table["cluster_id"]
    table = pd.read_csv(data / "moscow-stjoe-plots/moscow_mt_st_joe.csv")
    square = (table[["EASTING", "NORTHING"]] // 4000).astype(int).astype(str).agg("_".join, axis=1)
    every = [name for name in table if name.startswith(("HT", "CC", "INT"))]
    for chosen, how in ((every, "all"), (["HTMEAN", "HTMAX", "CCMEAN"], "three")):
        yield f"Moscow lidar, {how}", _whole(table[chosen]), table["Total_BA"], square
    table = pd.read_csv(data / "josae-norway-sae/sample_plots.csv")
    yield "JoSAE biomass, one", _whole(table[["mean.canopy.ht"]]), table["biomass.ha"], table["domain.ID"].astype(str)


def _whole(table) -> np.ndarray:
    """Predictors that vary and are there at every plot."""
    X = table.to_numpy(float)
    return X[:, np.isfinite(X).all(axis=0) & (X.std(axis=0) > 1e-9)]


def nested(name: str, X: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    """RMSE %, bias % and coverage of 90 % intervals of one regressor."""
    from scipy.stats import t as student

    from models.inference.residuals import spread_of
    from models.regressors import regressor_named
    from models.validation import scores

    found = []
    for repeat in range(REPEATS):
        predicted, reach = np.empty(len(y)), np.empty(len(y))
        order = np.random.default_rng(repeat).permutation(np.unique(cluster))
        for names in np.array_split(order, FOLDS):
            out = np.isin(cluster, names)
            centre, spread = X[~out].mean(axis=0), X[~out].std(axis=0)
            Z, penalised = (X - centre) / np.where(spread > 0, spread, 1), np.ones(X.shape[1], bool)
            seen = Z[~out], y[~out], cluster[~out], penalised
            predicted[out] = regressor_named(name, transform="sqrt").predicted(*seen, Z[out])
            inner = regressor_named(name, transform="sqrt").predicted_apart(*seen, INNER)
            scale, power, floor = spread_of(y[~out] - inner, inner)
            reach[out] = scale * np.maximum(predicted[out], floor) ** power
            reach[out] *= student.ppf(0.95, len(np.unique(cluster[~out])) - 1)
        one = scores(y, predicted)
        found.append((one["rmse_percent"], one["bias_percent"], float((np.abs(y - predicted) <= reach).mean())))
    return tuple(np.mean(found, axis=0).tolist())


def main() -> None:
    names = sys.argv[1:] or NAMES
    print("| plots, predictors | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for title, X, target, groups in sets_of_plots():
        cells = [nested(name, X, target.to_numpy(float), groups.to_numpy(str)) for name in names]
        shown = [f"{rmse:.1f} ({bias:+.1f}, {cover:.2f})" for rmse, bias, cover in cells]
        print(f"| {title} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
