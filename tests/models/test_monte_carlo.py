"""Simulated plot errors: each drawn for those who share it, the same with any number of threads, and as first order says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalogs.parameters import allometry_table, group_table, wood_density_table
from models import allometry
from models.allometry import monte_carlo, plot_totals, plot_totals_monte_carlo
from models.heights import HeightModel, fit_heights

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NOURAGUES, GWDD = DATA / "nouragues-agb-chm", DATA / "wood-density-gwdd2"

needs_nouragues = pytest.mark.skipif(not (NOURAGUES.exists() and GWDD.exists()), reason="data set nouragues-agb-chm is absent")

MODEL = HeightModel(
    name="michailoff", params=np.array([26.0, 9.0]), covariance=np.array([[0.36, 0.12], [0.12, 0.16]]),
    residual_sd=1.5, between_sd=1.0, pairs=100, dbh_range_cm=(10.0, 50.0),
)  # fmt: skip


def make_trees(plots: int = 3, per_plot: int = 40, seed: int = 7, **columns) -> pd.DataFrame:
    rng, n = np.random.default_rng(seed), plots * per_plot
    species = np.array(["Schima superba", "Pinus massoniana"])[rng.integers(0, 2, n)]
    return pd.DataFrame(
        {
            "plot": np.repeat([f"P{k:04d}" for k in range(plots)], per_plot), "date": pd.Timestamp("2019-07-15"),
            "status": "live", "trees_per_ha": 25.0, "species": species, "genus": "", "dbh_cm": rng.uniform(12, 50, n),
            "height_m": np.nan, "wood_density_g_cm3": np.where(species == "Schima superba", 0.6, 0.4),
            "wood_density_se": 0.03, "wood_density_sd": 0.05, **columns,
        }
    )  # fmt: skip


def make_equation(**columns) -> pd.DataFrame:
    known = {
        "name": "test", "taxon": "", "level": "default", "form": "rho_d2h", "a": np.log(0.0673), "b": 0.976, "var_a": 9e-3,
        "var_b": 1e-4, "cov_ab": -8e-4, "rse": 0.3, "dbh_min_cm": 5.0, "dbh_max_cm": 212.0, "bias_corrected": True,
        "status": "user",
    }  # fmt: skip
    return pd.DataFrame([{**known, **columns}])


def small_dbh_sd(dbh: np.ndarray) -> np.ndarray:
    return 0.1 + 0.02 * dbh


def factors(totals: pd.DataFrame) -> np.ndarray:
    return totals.filter(regex="^f_").to_numpy()


def covariance(totals: pd.DataFrame) -> np.ndarray:
    return factors(totals) @ factors(totals).T + np.diag(totals["agb_mg_ha_se"] ** 2)


@pytest.mark.parametrize("dbh_sd", [small_dbh_sd, None], ids=["known", "chave2004"])
def test_first_order_and_simulation_agree_within_five_percent(dbh_sd):
    trees = make_trees()
    given = {} if dbh_sd is None else {"dbh_sd": dbh_sd}
    first = plot_totals(trees, make_equation(), height_model=MODEL, **given)
    drawn = plot_totals_monte_carlo(trees, make_equation(), height_model=MODEL, iterations=10_000, **given)
    assert list(first) == list(drawn)
    assert np.sqrt(np.diag(covariance(drawn))) == pytest.approx(np.sqrt(np.diag(covariance(first))), rel=0.05)
    assert covariance(drawn) == pytest.approx(covariance(first), rel=0.08)  # two plots' covariance is known to 2 % SE here
    assert drawn["agb_mg_ha"].to_numpy() == pytest.approx(first["agb_mg_ha"].to_numpy(), rel=0.01)


@pytest.mark.parametrize("thinnest_cm", [1.0, 3.0, 6.0])
def test_saplings_have_the_same_error_by_both_ways_and_biomass_without_a_shift(thinnest_cm):
    """A gross error of 4.64 cm on a sapling of 2 cm would be cut off in half of the draws."""
    dbh = np.random.default_rng(3).uniform(thinnest_cm, thinnest_cm + 4, 120)
    trees = make_trees(dbh_cm=dbh, height_m=1.3 + 1.2 * dbh)
    first = plot_totals(trees, make_equation())
    drawn = plot_totals_monte_carlo(trees, make_equation(), iterations=8000)
    assert np.sqrt(np.diag(covariance(drawn))) == pytest.approx(np.sqrt(np.diag(covariance(first))), rel=0.05)
    assert drawn["agb_mg_ha"].tolist() == first["agb_mg_ha"].tolist()


THIN = np.exp(np.random.default_rng(1).uniform(0, np.log(40), 300))
"""Diameters of 1 to 40 cm, whose heights spread by a metre."""


@pytest.mark.parametrize(
    ("name", "thinnest_cm"),
    [("michailoff", 1.0), ("naslund", 1.0), ("weibull", 1.0), ("loglog1", 1.0), ("michailoff", 3.0)],
)
def test_thin_stems_with_modelled_heights_have_the_same_error_by_both_ways(name, thinnest_cm):
    """A normal error of 1 m around a height of 1.4 m would be cut off at breast height in every third draw."""
    rng = np.random.default_rng(4)
    heights = np.maximum(1.3 + 25 * np.exp(-8 / THIN) + 1.5 * np.minimum(1, THIN / 10) * rng.normal(size=300), 1.3)
    model = fit_heights(THIN, heights, model=name)
    trees = make_trees(dbh_cm=rng.uniform(thinnest_cm, 2 * thinnest_cm, 120))
    equation = make_equation(var_a=1e-3, var_b=np.nan, cov_ab=np.nan, rse=0.35)
    first = plot_totals(trees, equation, height_model=model)
    drawn = plot_totals_monte_carlo(trees, equation, height_model=model, iterations=8000)
    # 8,000 draws know a standard deviation to 0.8 %
    assert np.sqrt(np.diag(covariance(drawn))) == pytest.approx(np.sqrt(np.diag(covariance(first))), rel=0.05)
    assert drawn["agb_mg_ha_se"].to_numpy() == pytest.approx(first["agb_mg_ha_se"].to_numpy(), rel=0.05)


def test_errors_of_a_tree_multiply_and_bend_as_worked_out_by_hand():
    """A D^2 at 20 cm off by 1 cm: of 400, 4 x 400 + 2; times a residual of SD 0.2, (1 + v)(1 + 0.04) - 1 of it."""
    plain = {"form": "power_d", "a": 1.0, "b": 2.0, "var_a": np.nan, "var_b": np.nan, "cov_ab": np.nan}
    trees = make_trees(plots=1, per_plot=1, dbh_cm=[20.0], trees_per_ha=1000.0, wood_density_se=0.0, wood_density_sd=0.0)
    known = {"dbh_sd": np.ones_like}
    alone = plot_totals(trees, make_equation(**plain, rse=np.nan), **known)["agb_mg_ha_se"]
    assert alone[0] ** 2 == pytest.approx(4 * 400 + 2)
    both = plot_totals(trees, make_equation(**plain, rse=0.2, rse_scale="share"), **known)["agb_mg_ha_se"]
    assert both[0] ** 2 == pytest.approx(400**2 * ((1 + 1602 / 400**2) * 1.04 - 1))
    added = plot_totals(trees, make_equation(**plain, rse=30.0, rse_scale="kg"), **known)["agb_mg_ha_se"]
    assert added[0] ** 2 == pytest.approx(1602 + 900)


@pytest.mark.parametrize("rse_kg", [20.0, 400.0])
def test_residuals_in_kilograms_keep_their_spread_where_they_exceed_a_tree(rse_kg):
    """40 trees of 25 per hectare with independent residuals: sqrt(40) x 25 x rse / 1000 Mg/ha."""
    equation = make_equation(rse=rse_kg, rse_scale="kg", var_a=np.nan, var_b=np.nan, cov_ab=np.nan)
    trees = make_trees(height_m=15.0, wood_density_se=0.0, wood_density_sd=0.0)
    given = {"dbh_sd": np.zeros_like}
    drawn = plot_totals_monte_carlo(trees, equation, iterations=8000, **given)
    assert drawn["agb_mg_ha_se"].to_numpy() == pytest.approx(np.sqrt(40) * 25 * rse_kg / 1000, rel=0.03)
    assert drawn["agb_mg_ha"].tolist() == plot_totals(trees, equation, **given)["agb_mg_ha"].tolist()


@needs_nouragues
@pytest.mark.parametrize("name", ["chave2014_with_height_by_site", "chave2014_with_height"])
def test_first_order_and_simulation_agree_at_nouragues(name):
    """2,050 real trees, wood density of the world's database, a Weibull curve whose parameters are badly known."""
    pairs, trees = pd.read_csv(NOURAGUES / "NouraguesHD.csv"), pd.read_csv(NOURAGUES / "NouraguesTrees.csv")
    model = fit_heights(pairs["D"].to_numpy(), pairs["H"].to_numpy(), model="weibull", plots=pairs["plotId"].to_numpy())
    frame = pd.DataFrame(
        {
            "plot": trees["Plot"].astype(str), "date": pd.Timestamp("2012-07-01"), "status": "live", "trees_per_ha": 1.0,
            "dbh_cm": trees["D"], "height_m": np.nan, "genus": trees["Genus"], "family": trees["Family"],
            "species": trees["Genus"] + " " + trees["Species"],
        }
    )  # fmt: skip
    table = wood_density_table(GWDD / "wsg_estimates.csv")
    frame = frame.join(allometry.match_wood_density(frame, table, groups=frame["plot"]))
    first = plot_totals(frame, allometry_table(name), height_model=model)
    drawn = plot_totals_monte_carlo(frame, allometry_table(name), height_model=model, iterations=5000)
    assert np.sqrt(np.diag(covariance(drawn))) == pytest.approx(np.sqrt(np.diag(covariance(first))), rel=0.05)
    assert np.sqrt(covariance(drawn).sum()) == pytest.approx(np.sqrt(covariance(first).sum()), rel=0.05)


def test_the_same_seed_gives_the_same_numbers_with_any_number_of_threads(monkeypatch):
    trees = make_trees(plots=40)
    monkeypatch.setattr(monte_carlo, "BLOCK_TREES", 300)
    one, two = (
        plot_totals_monte_carlo(trees, make_equation(), height_model=MODEL, iterations=100, threads=threads) for threads in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    other = plot_totals_monte_carlo(trees, make_equation(), height_model=MODEL, iterations=100, seed=1)
    assert not np.allclose(one["agb_mg_ha_se"], other["agb_mg_ha_se"], rtol=1e-6)


def test_blocks_hold_whole_plots_and_all_trees():
    bounds = monte_carlo._blocks(np.repeat([0, 1, 2, 3], [100, 40_000, 10, 10]))
    assert bounds.tolist() == [0, 100, 40_100, 40_120]
    assert monte_carlo._blocks(np.zeros(0, dtype=int)).tolist() == [0]


def test_coefficients_move_all_plots_together_and_residuals_each_alone():
    """Coefficients only: their error is shared, but for the curvature of exp, s / sqrt(2) of a relative error s.

    Residuals only: the variance is the sum of the trees'.
    """
    trees = make_trees(height_m=20.0, wood_density_se=0.0, wood_density_sd=0.0)
    shared = plot_totals_monte_carlo(trees, make_equation(rse=0.0), iterations=8000, dbh_sd=np.zeros_like)
    together = np.linalg.norm(factors(shared), axis=1)
    curved = together / shared["agb_mg_ha"] / np.sqrt(2)
    assert (shared["agb_mg_ha_se"] / together).to_numpy() == pytest.approx(curved.to_numpy(), rel=0.15)
    alone = plot_totals_monte_carlo(
        trees, make_equation(var_a=np.nan, var_b=np.nan, cov_ab=np.nan), iterations=4000, dbh_sd=np.zeros_like
    )
    assert factors(alone).shape[1] == 0
    one = 0.0673 * (trees["wood_density_g_cm3"] * trees["dbh_cm"] ** 2 * 20) ** 0.976 * 25 / 1000
    expected = np.sqrt(np.expm1(0.09) * (one**2).groupby(trees["plot"]).sum())
    assert alone["agb_mg_ha_se"].to_numpy() == pytest.approx(expected.to_numpy(), rel=0.05)


def test_plots_without_live_trees_hold_nothing_in_every_draw():
    trees = make_trees(plots=2, height_m=20.0)
    trees.loc[trees["plot"] == "P0001", "status"] = "dead"
    found = plot_totals_monte_carlo(trees, make_equation(), iterations=100).set_index("plot")
    assert found.loc["P0001", ["agb_mg_ha", "agb_mg_ha_se", "stems_n_ha"]].tolist() == [0, 0, 0]
    assert found.loc["P0000", "agb_mg_ha"] > 0


def test_a_missing_height_stays_missing_in_the_simulation():
    trees = make_trees(plots=2, height_m=20.0)
    trees.loc[3, "height_m"] = np.nan
    found = plot_totals_monte_carlo(trees, make_equation(), iterations=100)
    assert np.isnan(found["agb_mg_ha"].iloc[0]) and found["agb_mg_ha"].iloc[1] > 0


@pytest.mark.parametrize(("scale", "rse"), [("share", 0.3), ("kg", 60.0)])
def test_residuals_of_every_scale_are_drawn_as_first_order_says(scale, rse):
    trees = make_trees(height_m=20.0)
    given = make_equation(rse=rse, rse_scale=scale)
    first, drawn = plot_totals(trees, given), plot_totals_monte_carlo(trees, given, iterations=4000)
    assert drawn["agb_mg_ha_se"].to_numpy() == pytest.approx(first["agb_mg_ha_se"].to_numpy(), rel=0.05)


@pytest.mark.parametrize("name", ["nsvb", "jenkins2003", "lyt2264_fir", "xiang2016_south_china"])
def test_every_kind_of_shipped_table_is_simulated_as_first_order_says(name):
    """Units, groups, relative residuals, corrections for logarithms and models of several segments go the same two ways."""
    if name == "nsvb":
        pytest.importorskip("nsvb")
    table = allometry_table(name)
    chosen = {"lyt2264_fir": ["Cunninghamia lanceolata"] * 2}.get(name, ["Pinus strobus", "Quercus rubra"])
    trees = make_trees(height_m=18.0).replace({"species": {"Schima superba": chosen[0], "Pinus massoniana": chosen[1]}})
    trees["genus"] = trees["species"].str.split().str[0]
    groups = group_table(None, equations=table)
    trees = trees if groups is None else allometry.with_groups(trees, groups)
    first = plot_totals(trees, table, dbh_sd=small_dbh_sd)
    drawn = plot_totals_monte_carlo(trees, table, dbh_sd=small_dbh_sd, iterations=4000)
    assert list(first) == list(drawn)
    assert drawn["agb_mg_ha"].to_numpy() == pytest.approx(first["agb_mg_ha"].to_numpy(), rel=0.01)
    assert drawn["agb_mg_ha_se"].to_numpy() == pytest.approx(first["agb_mg_ha_se"].to_numpy(), rel=0.05)
    assert (first["agb_mg_ha_se"] > 0).all()


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="fewer than 50 iterations tells nothing, got 20"):
        plot_totals_monte_carlo(make_trees(), make_equation(), iterations=20)
    many = make_trees(species=[f"Genus species{k % 12}" for k in range(120)])
    with pytest.raises(ValueError, match="14 errors are shared between plots; 60 iterations cannot tell them apart"):
        plot_totals_monte_carlo(many.assign(height_m=20.0), make_equation(), iterations=60)
