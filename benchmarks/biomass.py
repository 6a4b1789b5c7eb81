"""Errors of plot biomass by simulation: 1,000 iterations over 100,000 trees, beside the same recipe in plain numpy."""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Row

TREES, PER_PLOT, ITERATIONS = 100_000, 25, 1000
HEIGHT, HEIGHT_COVARIANCE = np.array([26.0, 9.0]), np.array([[0.36, 0.12], [0.12, 0.16]])
AGB, AGB_COVARIANCE, RSE = np.array([np.log(0.0673), 0.976]), np.array([[9e-3, -8e-4], [-8e-4, 1e-4]]), 0.357
DENSITY_SE, DENSITY_SD, HEIGHT_SD = 0.03, 0.05, 1.5


def trees() -> dict[str, np.ndarray]:
    """Dbh and species of trees in 4,000 plots of 25."""
    rng = np.random.default_rng(30)
    return {"dbh": rng.uniform(10, 60, TREES), "species": rng.integers(0, 3, TREES)}


def ours(prepared: dict[str, np.ndarray], *, warm_up: bool) -> np.ndarray:
    import pandas as pd

    from models.allometry import plot_totals_monte_carlo
    from models.heights import HeightModel

    n = 5_000 if warm_up else TREES
    frame = pd.DataFrame(
        {
            "plot": np.repeat(np.arange(n // PER_PLOT), PER_PLOT).astype(str), "date": pd.Timestamp("2020-07-01"),
            "status": "live", "trees_per_ha": 25.0, "species": prepared["species"][:n].astype(str), "genus": "",
            "dbh_cm": prepared["dbh"][:n], "height_m": np.nan, "wood_density_g_cm3": 0.5, "wood_density_se": DENSITY_SE,
            "wood_density_sd": DENSITY_SD,
        }
    )  # fmt: skip
    equation = pd.DataFrame(
        [{"name": "test", "taxon": "", "level": "default", "form": "rho_d2h", "a": AGB[0], "b": AGB[1], "rse": RSE,
          "var_a": AGB_COVARIANCE[0, 0], "var_b": AGB_COVARIANCE[1, 1], "cov_ab": AGB_COVARIANCE[0, 1], "dbh_min_cm": 5.0,
          "dbh_max_cm": 212.0, "bias_corrected": True, "status": "user"}]
    )  # fmt: skip
    model = HeightModel(
        name="michailoff", params=HEIGHT, covariance=HEIGHT_COVARIANCE, residual_sd=HEIGHT_SD, between_sd=0.0, pairs=100,
        dbh_range_cm=(10.0, 60.0),
    )  # fmt: skip
    found = plot_totals_monte_carlo(
        frame, equation, height_model=model, iterations=100 if warm_up else ITERATIONS, threads=2
    ).set_index("plot")
    found = found.loc[np.arange(n // PER_PLOT).astype(str)]
    shared = found.filter(regex="^f_").to_numpy()
    return np.column_stack([found["agb_mg_ha"], np.sqrt((shared**2).sum(axis=1) + found["agb_mg_ha_se"] ** 2)])


def plain(prepared: dict[str, np.ndarray], *, warm_up: bool) -> np.ndarray:
    """The recipe of the R package BIOMASS, step by step, one iteration after the other, in double precision."""
    rng, iterations = np.random.default_rng(1), 3 if warm_up else ITERATIONS
    dbh, species = prepared["dbh"], prepared["species"]
    sums = np.empty((TREES // PER_PLOT, iterations))
    for k in range(iterations):
        careful = rng.random(TREES) < 0.95
        d = np.clip(dbh + np.where(careful, 0.0062 * dbh + 0.0904, 4.64) * rng.standard_normal(TREES), 0.1, 500)
        p = rng.multivariate_normal(HEIGHT, HEIGHT_COVARIANCE)
        h = np.clip(1.3 + p[0] * np.exp(-p[1] / d) + HEIGHT_SD * rng.standard_normal(TREES), 1.3, 45)
        rho = 0.5 + DENSITY_SE * rng.standard_normal(3)[species] + DENSITY_SD * rng.standard_normal(TREES)
        a, b = rng.multivariate_normal(AGB, AGB_COVARIANCE)
        kg = np.exp(a + b * np.log(np.clip(rho, 0.08, 1.39) * d**2 * h) + RSE * rng.standard_normal(TREES) - RSE**2 / 2)
        sums[:, k] = kg.reshape(-1, PER_PLOT).sum(axis=1) * 25 / 1000
    return np.column_stack([sums.mean(axis=1), sums.std(axis=1, ddof=1)])


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Means within 5 % plot by plot; standard deviations within 2 % on average (each is known to 2.2 %)."""
    return bool(np.allclose(one[:, 0], other[:, 0], rtol=0.05) and abs((one[:, 1] / other[:, 1]).mean() - 1) < 0.02)


ROWS = [
    Row(
        suite="biomass", name="1,000 draws of 100,000 trees", other_name="numpy, float64, iteration by iteration", target=None,
        prepare=trees, ours=ours, other=plain, agree=agree, repeats=1, clock="wall",
        note="asked: under 20 s on 2 cores and under 1 GB",
    ),
]  # fmt: skip
