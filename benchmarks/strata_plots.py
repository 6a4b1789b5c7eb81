"""Strata as a term on real plots, clusters left out: `FORESTSINK_DATA=... python -m benchmarks.strata_plots`, as a table.

Everything is learned anew without each cluster: how far strata differ, and with `auto` whether in their slopes. quatre-montagnes:
public and private forest, the default lidar metrics; JoSAE: 14 municipalities, mean canopy height, each plot a cluster of its
own, for a municipality that is left out has no level.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.regressors import our_defaults
from models.inference.strata import DOUBT
from models.regressors.linear import Linear
from models.regressors.mixed_effects import MixedEffects
from models.validation import scores

WAYS = ("none", "levels", "slopes", "auto")


def sets_of_plots() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Title, predictors (n, p), target (n,), stratum (n,) and cluster (n,) of each set."""
    data = Path(os.environ["FORESTSINK_DATA"])
    table = pd.read_csv(data / "quatre-montagnes-plots/quatre_montagnes.csv")
    X = our_defaults(table).to_numpy(float)
    for column, title in (("G_m2_ha", "basal area"), ("N_ha", "stems"), ("D_mean_cm", "diameter")):
        about = (table[name].to_numpy() for name in (column, "stratum", "cluster_id"))
        yield f"quatre-montagnes {title}, public and private", X, *about
    table = pd.read_csv(data / "josae-norway-sae/sample_plots.csv")
    about = (table[name].to_numpy() for name in ("biomass.ha", "domain.ID", "sample.ID"))
    yield "JoSAE biomass, 14 municipalities", table[["mean.canopy.ht"]].to_numpy(float), *about


def machine_of(way: str, predictors: int, strata: int) -> Linear:
    shares = tuple(range(predictors, predictors + strata))
    if way == "none":
        return Linear("sqrt")
    sloped = tuple(range(predictors)) if way == "slopes" else ()
    return MixedEffects("sqrt", strata=shares, sloped=sloped, doubt=DOUBT if way == "auto" else 0.0)


def predicted(
    way: str, X: np.ndarray, shares: np.ndarray, y: np.ndarray, cluster: np.ndarray, places: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, MixedEffects | Linear]:
    """Places (m, p) in strata `there` (m, strata) by a model of plots (n, p), and what it has learned."""
    centre, spread = X.mean(axis=0), X.std(axis=0)
    design, at = (x - centre for x in (X, places))
    design, at = design / spread, at / spread
    if way != "none":
        design, at = np.hstack([design, shares]), np.hstack([at, there])
    penalised = np.ones(design.shape[1], bool)
    machine = machine_of(way, X.shape[1], shares.shape[1])
    if way == "auto":
        machine = machine.decided(design, y, cluster, range(X.shape[1]))
    machine = machine.learned(design, y, cluster, penalised)
    return machine.mean(machine.fit(design, y, penalised), at), machine


def main() -> None:
    print("| plots, strata | " + " | ".join(WAYS) + " | strata differ with probability |\n" + "|---" * (len(WAYS) + 2) + "|")
    for title, X, y, stratum, cluster in sets_of_plots():
        shares = (stratum[:, None] == np.unique(stratum)).astype(float)
        cells = []
        for way in WAYS:
            left_out = np.empty(len(y))
            for name in np.unique(cluster):
                out = cluster == name
                left_out[out], _ = predicted(way, X[~out], shares[~out], y[~out], cluster[~out], X[out], shares[out])
            cells.append(f"{scores(y, left_out)['rmse_percent']:.1f}")
        machine = predicted("auto", X, shares, y, cluster, X, shares)[1]
        cells.append(f"{machine.apart[0]:.2f}" + (f", slopes {machine.apart[1]:.2f}" if machine.sloped else ""))
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
