"""The error of a plot's change is that of the same trees measured twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.allometry import inventory, plot_changes, plot_totals
from models.heights import HeightModel

EQUATION = {
    "name": "test", "taxon": "", "level": "default", "form": "power_d", "a": 0.1, "b": 2.4, "c": np.nan, "rse": 0.3,
    "rse_of": "trees", "dbh_min_cm": 0.0, "dbh_max_cm": np.inf, "bias_corrected": True, "source": "test", "status": "user",
}  # fmt: skip


def make_trees(first: list[float], second: list[float], stems: list[str] | None = None, **columns) -> pd.DataFrame:
    """One plot at two dates; 25 trees per hectare each."""
    n = len(first)
    numbers = [f"P1/{k}" for k in range(n)]
    frame = {
        "plot": "P1", "date": pd.to_datetime(["2014-07-15"] * n + ["2019-07-15"] * len(second)), "status": "live",
        "trees_per_ha": 25.0, "species": "x", "height_m": np.nan, "dbh_cm": [*first, *second],
        "stem": numbers + (stems or numbers),
    }  # fmt: skip
    return pd.DataFrame({**frame, **columns})


def change(trees: pd.DataFrame, *, dbh_sd=np.zeros_like, height_model=None, same_tree: float = 0.9, **equation) -> pd.Series:
    rows = pd.DataFrame([{**EQUATION, **equation}])
    totals = plot_totals(trees, rows, dbh_sd=dbh_sd, height_model=height_model)
    stock = inventory(trees, rows, height_model=height_model)
    found = plot_changes(stock, totals["agb_mg_ha"].to_numpy(), totals["agb_mg_ha_se"].to_numpy(), same_tree=same_tree)
    assert np.isnan(found.iloc[0]).all()
    return found.iloc[1]


KG = 0.1 * np.array([20.0, 30.0, 22.0, 33.0]) ** 2.4 * 25 / 1000
SPREAD = np.sqrt(np.expm1(0.09))


def test_a_trees_residual_is_mostly_the_same_at_both_dates():
    found = change(make_trees([20.0, 30.0], [22.0, 33.0]))
    a, b = KG[:2], KG[2:]
    assert found["agb_change_mg_ha"] == pytest.approx((b - a).sum())
    assert found["agb_change_mg_ha_se"] == pytest.approx(SPREAD * np.sqrt((a**2 + b**2 - 2 * 0.9 * a * b).sum()))
    whole = change(make_trees([20.0, 30.0], [22.0, 33.0]), same_tree=1.0)
    assert whole["agb_change_mg_ha_se"] == pytest.approx(SPREAD * np.sqrt(((b - a) ** 2).sum()))


def test_other_trees_share_nothing():
    """The second of the first visit died, another has grown in: only the first tree is there twice."""
    found = change(make_trees([20.0, 30.0], [22.0, 33.0], stems=["P1/0", "P1/9"]), same_tree=1.0)
    assert found["agb_change_mg_ha_se"] == pytest.approx(SPREAD * np.sqrt((KG[2] - KG[0]) ** 2 + KG[1] ** 2 + KG[3] ** 2))


def test_readings_of_a_diameter_do_not_cancel():
    """To first order (0.2 cm of 20 is 1 %, so that the second order adds 1e-4 of it)."""
    found = change(make_trees([20.0], [22.0]), rse=np.nan, dbh_sd=lambda dbh: np.full_like(dbh, 0.2))
    slopes = 0.1 * 2.4 * np.array([20.0, 22.0]) ** 1.4 * 0.2 * 25 / 1000
    assert found["agb_change_mg_ha_se"] == pytest.approx(np.hypot(*slopes), rel=5e-4)


def test_the_density_of_a_trees_wood_is_the_same_at_both_dates():
    density = {"wood_density_g_cm3": 0.5, "wood_density_sd": 0.05, "wood_density_se": 0.0}
    found = change(make_trees([20.0], [22.0], **density), form="rho_power_d", rse=np.nan)
    kg = 0.1 * 0.5 * np.array([20.0, 22.0]) ** 2.4 * 25 / 1000
    assert found["agb_change_mg_ha_se"] == pytest.approx(0.1 * (kg[1] - kg[0]))


def test_simulated_remeasurement_scatters_as_the_error_of_the_change_says():
    """Forty trees with lasting residuals (correlation 0.9), heights around a curve and new readings of dbh: 20,000 draws know a
    standard deviation to 0.5 %; errors are to first order."""
    rng, draws, n = np.random.default_rng(3), 20_000, 40
    first = rng.uniform(15, 45, n)
    second = first + rng.uniform(1, 3, n)
    model = HeightModel("michailoff", np.array([26.0, 9.0]), np.zeros((2, 2)), 1.5, 0.0, 100, (10.0, 50.0))
    found = change(
        make_trees(list(first), list(second)), form="power_dh", a=0.05, b=2.0, c=0.8, rse=0.25, height_model=model,
        dbh_sd=lambda dbh: 0.1 + 0.005 * dbh,
    )  # fmt: skip

    def lasting() -> tuple[np.ndarray, np.ndarray]:
        z = rng.standard_normal((3, draws, n))
        return tuple(np.sqrt(0.9) * z[0] + np.sqrt(0.1) * z[k] for k in (1, 2))

    residual, around, biomass = lasting(), lasting(), []
    for k, dbh in enumerate((first, second)):
        read = dbh + rng.standard_normal((draws, n)) * (0.1 + 0.005 * dbh)
        height = 1.3 + 26 * np.exp(-9 / read) + 1.5 * around[k]
        kg = 0.05 * read**2 * height**0.8 * np.exp(0.25 * residual[k] - 0.25**2 / 2)
        biomass.append(kg.sum(axis=1) * 25 / 1000)
    scatter = (biomass[1] - biomass[0]).std()
    assert found["agb_change_mg_ha_se"] == pytest.approx(scatter, rel=0.02)
    apart = np.hypot(biomass[0].std(), biomass[1].std())
    assert apart > 2 * scatter  # what two independent visits would say
