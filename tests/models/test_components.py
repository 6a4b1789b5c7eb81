"""Errors of components and of trees with their roots: hand arithmetic, and draws of everything at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.allometry import component_errors, inventory


def make_trees(dbh=(20.0, 20.0), **columns) -> pd.DataFrame:
    frame = pd.DataFrame({"plot": "P1", "date": pd.Timestamp("2019-07-15"), "dbh_cm": dbh, "species": "Acer davidii"})
    return frame.assign(**{"status": "live", "trees_per_ha": 10.0, "genus": "Acer", "family": "", "height_m": np.nan, **columns})


def make_table(*rows) -> pd.DataFrame:
    """AGB = 0.1 D^2 (40 kg at 20 cm), and the rows of components given."""
    whole = {"component": "agb", "form": "power_d", "a": 0.1, "b": 2.0}
    every = [
        {"name": "own", "taxon": "", "level": "default", "region": "", "c": np.nan, "rse": np.nan, "rse_scale": "ln",
         "dbh_min_cm": 1.0, "dbh_max_cm": 90.0, "bias_corrected": True, "correction_factor": np.nan, "var_a": np.nan,
         "var_b": np.nan, "cov_ab": np.nan, "sums_to_agb": False, "source": "here", "status": "user", **row}
        for row in (whole, *rows)
    ]  # fmt: skip
    return pd.DataFrame(every)


def errors(trees, table, dbh_sd=0.0):
    return component_errors(inventory(trees, table), table, dbh_sd=lambda dbh: np.full(len(dbh), dbh_sd)).iloc[0]


def test_a_share_has_the_errors_of_the_whole_and_its_own():
    # 80 kg x 10 per ha: 0.8 Mg/ha; roots 0.3 of it +- 0.03; the coefficient of AGB is known to 5 %
    table = make_table({"component": "roots", "form": "share", "a": 0.3, "b": np.nan, "var_a": 0.03**2})
    table.loc[0, "var_a"] = 0.005**2
    found = errors(make_trees(), table)
    assert found["bgb_mg_ha_se"] == pytest.approx(0.8 * np.hypot(0.3 * 0.05, 0.03))
    assert found["tree_mg_ha_se"] == pytest.approx(0.8 * np.hypot(1.3 * 0.05, 0.03))


def test_a_wrong_diameter_moves_shoots_and_roots_together():
    # dAGB/dD = 4 kg/cm, droots/dD = 0.5 kg/cm; two trees of 10 per ha, each 0.1 mm off by itself
    table = make_table({"component": "roots", "form": "power_d", "a": 0.5, "b": 1.0})
    found = errors(make_trees(), table, dbh_sd=0.01)
    assert found["bgb_mg_ha_se"] == pytest.approx(0.005 * 10 / 1000 * np.sqrt(2))
    assert found["tree_mg_ha_se"] == pytest.approx(0.045 * 10 / 1000 * np.sqrt(2))


def test_components_scaled_to_the_whole_have_its_relative_error():
    parts = [{"component": name, "form": "power_d", "a": a, "b": 2.0, "sums_to_agb": True, "rse": 0.5}
             for name, a in (("stem_wood", 0.06), ("branches", 0.03))]  # fmt: skip
    table = make_table(*parts)
    table.loc[0, "var_a"] = 0.005**2
    found = errors(make_trees(), table)
    # 0.8 Mg/ha known to 5 %, two thirds and a third of it
    assert found[["stem_wood_mg_ha_se", "branches_mg_ha_se"]].tolist() == pytest.approx([0.8 * 0.05 * 2 / 3, 0.8 * 0.05 / 3])
    assert "tree_mg_ha_se" not in found


def test_a_component_that_a_tree_lacks_has_no_error_either():
    table = make_table({"component": "bark", "form": "share", "a": 0.1, "b": np.nan, "level": "genus", "taxon": "Pinus"})
    assert np.isnan(errors(make_trees(), table, dbh_sd=1.0)["bark_mg_ha_se"])


def test_draws_of_everything_at_once_agree():
    """20,000 draws of three trees, both equations, residuals and diameters: an SD to 0.5 %; what is curved adds about 1 %."""
    roots = {"component": "roots", "form": "share_by_d", "a": -1.2, "b": 0.8, "var_a": 0.1**2, "rse": 0.15}
    table = make_table(roots)
    table.loc[0, ["var_a", "rse"]] = [0.006**2, 0.2]
    dbh = np.array([12.0, 25.0, 40.0])
    found = errors(make_trees(dbh), table, dbh_sd=0.5)
    rng = np.random.default_rng(11)
    n = 20_000
    drawn = dbh + 0.5 * rng.normal(size=(n, 3))
    above = (0.1 + 0.006 * rng.normal(size=(n, 1))) * drawn**2 * np.exp(0.2 * rng.normal(size=(n, 3)) - 0.02)
    share = np.exp(-1.2 + 0.1 * rng.normal(size=(n, 1)) + 0.8 / drawn)
    below = above * share * np.exp(0.15 * rng.normal(size=(n, 3)) - 0.15**2 / 2)
    assert found["bgb_mg_ha_se"] == pytest.approx(below.sum(axis=1).std() / 100, rel=0.03)
    assert found["tree_mg_ha_se"] == pytest.approx((above + below).sum(axis=1).std() / 100, rel=0.03)
