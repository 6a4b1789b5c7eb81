"""`python -m benchmarks.regressors [NAMES...] [--sets WORD]`: regressors by nested cross-validation on real plots, as a table.

Plots from `FORESTSINK_DATA`. Five folds of whole clusters (quatre-montagnes), 4 km squares (Moscow) or municipalities
(JoSAE), five times; standardisation, selection, tuning, back-transformation and the spread of residuals are made anew in
every fold. RMSE and bias in % of the mean, the share of plots inside their 90 % interval (residuals of groups of clusters
left out inside the fold, as `validate` has it), and the root mean square of errors over the standard deviation expected;
behind ± the SD of the RMSE from repeat to repeat.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.inference.residuals import spread_of
from models.regressors import regressor_named

REPEATS, FOLDS, INNER = 5, 5, 5
NAMES = ("linear", "ridge", "pls", "forward", "gaussian_process", "extra_trees", "boosting", "neighbours", "mix", "default")


def sets_of_plots() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Title, predictors (n, p), target (n,) and cluster (n,) of each set."""
    import pandas as pd

    data = Path(os.environ["FORESTSINK_DATA"])
    table = pd.read_csv(data / "quatre-montagnes-plots/quatre_montagnes.csv")
    every, few = table[table.columns[8:76]], our_defaults(table)
    for column, title in (("G_m2_ha", "basal area"), ("N_ha", "stems"), ("D_mean_cm", "diameter")):
        for chosen, how in ((every, "all"), (few.drop(columns="zmean_2m"), "three"), (few, "defaults")):
            yield f"quatre-montagnes {title}, {how}", _whole(chosen), table[column], table["cluster_id"]
    table = pd.read_csv(data / "moscow-stjoe-plots/moscow_mt_st_joe.csv")
    square = (table[["EASTING", "NORTHING"]] // 4000).astype(int).astype(str).agg("_".join, axis=1)
    every = [name for name in table if name.startswith(("HT", "CC", "INT"))]
    terrain = ["ELEVMEAN", "SLPMEAN", "ASPMEAN"]
    for chosen, how in ((every, "all"), ([*every, *terrain], "all and terrain"), (["HTMEAN", "HTMAX", "CCMEAN"], "three")):
        yield f"Moscow lidar, {how}", _whole(table[chosen]), table["Total_BA"], square
    table = pd.read_csv(data / "josae-norway-sae/sample_plots.csv")
    yield "JoSAE biomass, one", _whole(table[["mean.canopy.ht"]]), table["biomass.ha"], table["domain.ID"].astype(str)
    table = pd.read_csv(data / "tally-lake-stands/tally_lake.csv")
    square = (table[["utmx", "utmy"]] // 1000).astype(int).astype(str).agg("_".join, axis=1)
    seen = ["tmb5m", "tmb4m", "tmb3m", "ndvim"]
    yield "Tally Lake stands top height, four", _whole(table[seen]), table["TopHt"], square


TABLED = np.append(np.arange(0, 100, 5), 100) / 100
"""Probabilities of the quantiles that quatre-montagnes has, with the lowest and the highest."""


def our_defaults(table):
    """`pipeline.features.LIDAR_DEFAULTS` of quatre-montagnes as our lidar step would make them.

    The table is lidaRtRee's: its metrics of heights are of returns above 2 m alone (its `pzabove2` is 99.9 to 100 at every
    plot, and no cover), `p_hmin` and `p_1st_hmin` are the shares of all and of first returns there. Ours are of all returns:
    those below 2 m are taken to lie on the ground, and a quantile of all is that of the rest at 1 - (1 - p) / p_hmin.
    """
    import pandas as pd

    inside = table["p_hmin"].to_numpy()
    heights = np.column_stack([np.full(len(table), 2.0), table[[f"zq{k}" for k in range(5, 100, 5)]], table["zmax"]])
    zq95 = [np.interp(1 - 0.05 / share, TABLED, own) for share, own in zip(inside, heights, strict=True)]
    return pd.DataFrame(
        {"zmean": inside * table["zmean"], "zmean_2m": table["zmean"], "zq95": zq95, "cover_2m": 100 * table["p_1st_hmin"]}
    )


def _whole(table) -> np.ndarray:
    """Predictors that vary and are there at every plot."""
    X = table.to_numpy(float)
    return X[:, np.isfinite(X).all(axis=0) & (X.std(axis=0) > 1e-9)]


def nested(name: str, X: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> tuple[float, ...]:
    """RMSE %, bias %, share of plots inside their 90 % interval, and error over expected standard deviation of one regressor.

    Means over the repeats; last how far RMSE % goes from repeat to repeat (SD).
    """
    from models.validation import reach_of, scores

    found = []
    for repeat in range(REPEATS):
        predicted, sd, reach = (np.empty(len(y)) for _ in range(3))
        order = np.random.default_rng(repeat).permutation(np.unique(cluster))
        for names in np.array_split(order, FOLDS):
            out = np.isin(cluster, names)
            centre, spread = X[~out].mean(axis=0), X[~out].std(axis=0)
            Z, penalised = (X - centre) / np.where(spread > 0, spread, 1), np.ones(X.shape[1], bool)
            seen = Z[~out], y[~out], cluster[~out], penalised
            machine = regressor_named(name, transform="sqrt")
            predicted[out] = machine.predicted(*seen, Z[out])
            inner = machine.predicted_apart(*seen, INNER)
            scale, power, floor = spread_of(y[~out] - inner, inner)
            sd[out] = scale * np.maximum(predicted[out], floor) ** power
            scaled = (y[~out] - inner) / (scale * np.maximum(inner, floor) ** power)
            reach[out] = sd[out] * reach_of(scaled, np.full(out.sum(), len(np.unique(cluster[~out])) - 1.0), 90.0)
        one, error = scores(y, predicted), np.abs(y - predicted)
        found.append(
            (one["rmse_percent"], one["bias_percent"], float((error <= reach).mean()), float(np.sqrt(((error / sd) ** 2).mean())))
        )
    return (*np.mean(found, axis=0).tolist(), float(np.std([one[0] for one in found], ddof=1)))


SIZES = (25, 40, 60, 80, 100, 130, 165, 300)
DRAWS = 8
LEAST_TESTED, LEAST_CLUSTERS = 15, 6
MIXED = ("gaussian_process", "ridge", "extra_trees")
"""Parts of the mix, whose mean it is."""


def by_size(names: Sequence[str], X: np.ndarray, y: np.ndarray, cluster: np.ndarray, plots: int) -> dict[str, np.ndarray] | None:
    """Of each regressor and of the mix, RMSE % (draws,) on all clusters that were not drawn.

    Clusters, six or more, are drawn at random until they hold so many plots; None where too few plots stay to judge by.
    """
    found: dict[str, list[float]] = {name: [] for name in (*names, "mix")}
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(np.unique(cluster))
        held = np.cumsum([(cluster == one).sum() for one in order])
        taken = order[: max(int(np.searchsorted(held, plots)) + 1, LEAST_CLUSTERS)]
        out = ~np.isin(cluster, taken)
        if out.sum() < LEAST_TESTED:
            return None
        centre, spread = X[~out].mean(axis=0), X[~out].std(axis=0)
        Z = (X[:, spread > 1e-9] - centre[spread > 1e-9]) / spread[spread > 1e-9]
        seen = Z[~out], y[~out], cluster[~out], np.ones(Z.shape[1], bool)
        told = {
            name: regressor_named(name, transform="sqrt").predicted(*seen, Z[out]) for name in dict.fromkeys((*names, *MIXED))
        }
        told["mix"] = sum(told[name] for name in MIXED) / len(MIXED)
        for name, errors in found.items():
            errors.append(100 * float(np.sqrt(((told[name] - y[out]) ** 2).mean())) / float(y.mean()))
    return {name: np.array(errors) for name, errors in found.items()}


def show_sizes(names: Sequence[str], word: str) -> None:
    """RMSE % by number of plots, and how much more than linear's the mix's is, draw by draw, with its standard error."""
    print("| plots, predictors | n | " + " | ".join((*names, "mix")) + " | mix - linear |", flush=True)
    print("|---|---" + "|---" * (len(names) + 2) + "|")
    for title, X, target, groups in sets_of_plots():
        if word not in title:
            continue
        for plots in SIZES:
            errors = by_size(names, X, target.to_numpy(float), groups.to_numpy(str), plots)
            if errors is None:
                break
            apart = errors["mix"] - errors["linear"]
            shown = " | ".join(f"{np.sqrt((one**2).mean()):.1f}" for one in errors.values())
            print(f"| {title} | {plots} | {shown} | {apart.mean():+.1f} ± {apart.std(ddof=1) / DRAWS**0.5:.1f} |", flush=True)


SAMPLES = 30


def error_ratios(name: str, plots: int) -> tuple[float, float]:
    """Jackknife SE over the SD of repeated samples of plots: of one place (root mean square over 30), of their mean.

    Four predictors, one of them curved; clusters of two plots; thirty planted samples tell an SD to 13 %.
    """
    penalised = np.ones(4, bool)
    places = 0.8 * np.random.default_rng(9).normal(size=(30, 4))
    cluster = np.array([f"c{k // 2:03d}" for k in range(plots)])
    means, single, together = [], [], []
    for seed in range(SAMPLES):
        rng = np.random.default_rng(1000 + seed)
        X = rng.normal(size=(plots, 4))
        y = (9 + 2 * X[:, 0] + X[:, 1] ** 2 + rng.normal(0, 0.7, plots)) ** 2
        machine = regressor_named(name, transform="sqrt").learned(X, y, cluster, penalised)
        params = machine.fit(X, y, penalised)
        refits, _ = machine.without_each(X, y, cluster, penalised, params)
        moved = (refits - params) @ machine.gradient(params, places).astype(float).T
        share = (len(refits) - 1) / len(refits)
        means.append(machine.mean(params, places))
        single.append(share * (moved**2).sum(axis=0))
        together.append(share * (moved.mean(axis=1) ** 2).sum())
    spread = np.array(means)
    one = np.sqrt(np.mean(single) / spread.var(axis=0, ddof=1).mean())
    return float(one), float(np.sqrt(np.mean(together)) / spread.mean(axis=1).std(ddof=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regressors", description="regressors on real plots")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sets", default="", help="only sets whose title has this word")
    parser.add_argument("--sizes", action="store_true", help="by number of plots that they learn from instead")
    parser.add_argument("--errors", action="store_true", help="jackknife SE against repeated samples instead")
    asked = parser.parse_args()
    names = asked.names or NAMES
    if asked.errors:
        for name in names:
            print(name, *(f"{ratio:.2f}" for plots in (60, 200) for ratio in error_ratios(name, plots)), flush=True)
        return
    if asked.sizes:
        show_sizes(asked.names or ("linear", "forward", *MIXED), asked.sets)
        return
    print("| plots, predictors | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for title, X, target, groups in sets_of_plots():
        if asked.sets not in title:
            continue
        cells = [nested(name, X, target.to_numpy(float), groups.to_numpy(str)) for name in names]
        shown = [f"{rmse:.1f} ± {apart:.1f} ({bias:+.1f}, {cover:.2f}, {ratio:.2f})" for rmse, bias, cover, ratio, apart in cells]
        print(f"| {title} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
