"""From biomass to carbon and carbon dioxide, against hand arithmetic and published worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from models.pools import (
    LITTER_CARBON_FRACTION,
    CarbonFactors,
    belowground,
    by_class,
    by_class_of_groups,
    carbon,
    carbon_dioxide,
    dead_wood_and_litter,
    ratio_of_plots,
    relative_error,
    root_shoot_continuous,
    standing_dead_share,
    tree_carbon,
    with_factor_error,
)


def test_a_hundred_tonnes_of_biomass_hold_so_much_carbon():
    # 100 Mg/ha above ground, 26 below, 0.47 of it carbon
    assert belowground(100.0, root_shoot=0.26) == pytest.approx(26.0)
    assert tree_carbon(100.0, root_shoot=0.26) == pytest.approx(59.22)


def test_carbon_becomes_dioxide_by_the_ratio_of_molar_masses():
    assert carbon_dioxide(12.0) == pytest.approx(44.0)


def test_growth_is_a_positive_removal_and_loss_a_negative_one():
    # 10 Mg/ha/yr x 1.26 x 0.47 x 44/12
    a_year = CarbonFactors(root_shoot=0.26, carbon_fraction=0.47).net_removal(1)
    assert 10.0 * a_year == pytest.approx(21.714)
    assert -10.0 * a_year == pytest.approx(-21.714)


def test_stock_difference_of_a_growing_stand():
    # 10 ha, 120 -> 150 m3/ha in 5 years, 0.7 Mg/m3, roots 0.29, carbon 0.47 (IPCC 2006, eq. 2.8b)
    factors = CarbonFactors(root_shoot=0.29, carbon_fraction=0.47, biomass_per_target=0.7)
    earlier, later = (10 * volume * factors.tree_carbon() for volume in (120.0, 150.0))
    assert earlier == pytest.approx(509.292)
    assert later == pytest.approx(636.615)
    assert carbon_dioxide((later - earlier) / 5) == pytest.approx(93.3702)
    assert 10 * (150.0 - 120.0) * factors.net_removal(5) == pytest.approx(93.3702)


def test_the_continuous_ratio_gives_the_published_example():
    assert root_shoot_continuous(100.0) == pytest.approx(0.2398780, abs=5e-8)
    assert belowground(100.0, root_shoot=root_shoot_continuous(100.0)) == pytest.approx(23.98780, abs=5e-6)


def test_the_continuous_ratio_falls_and_roots_still_grow():
    agb = np.array([1.0, 10.0, 50.0, 200.0, 500.0])
    ratio = root_shoot_continuous(agb)
    assert (np.diff(ratio) < 0).all()
    assert (np.diff(ratio * agb) > 0).all()


def test_no_biomass_has_no_ratio_and_missing_stays_missing():
    assert np.isnan(root_shoot_continuous(np.array([0.0, np.nan]))).all()
    assert np.isnan(tree_carbon(np.array([np.nan]), root_shoot=0.26)).all()
    assert tree_carbon(0.0, root_shoot=0.26) == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: carbon(1.0, carbon_fraction=47), "a carbon fraction is a share between 0 and 1, got 47"),
        (lambda: belowground(1.0, root_shoot=-0.1), "a root:shoot ratio is not negative, got -0.1"),
    ],
    ids=["percent", "negative_ratio"],
)
def test_impossible_factors_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_factor_by_class_takes_the_class_that_its_bound_ends():
    assert by_class(np.array([0.0, 125.0, 125.1, np.nan, -1.0]), (125.0, np.inf), (0.23, 0.246)).tolist() == pytest.approx(
        [0.23, 0.23, 0.246, np.nan, np.nan], nan_ok=True
    )


def test_plots_of_one_stratum_share_one_class_so_that_roots_rise_with_biomass():
    """Temperate conifers: 0.40 below 50, 0.29 to 150. Plots of 40 and 60 t/ha alone would get 16 and 17.4 t of roots, plots of
    49 and 51 get 19.6 and 14.8: less roots under more biomass."""
    upper, ratios = (50.0, 150.0, np.inf), (0.40, 0.29, 0.20)
    agb, strata = np.array([49.0, 51.0, 49.0, 160.0, np.nan]), np.array(["a", "a", "b", "b", "b"])
    alone = by_class(agb[:2], upper, ratios) * agb[:2]
    assert alone[1] < alone[0]
    shared = by_class_of_groups(agb, strata, upper=upper, factors=ratios)
    # stratum a has 50 t/ha on average, b 104.5: 0.40 and 0.29
    assert shared.tolist() == pytest.approx([0.40, 0.40, 0.29, 0.29, np.nan], nan_ok=True)
    assert (shared * agb)[1] > (shared * agb)[0]


def test_standing_dead_keeps_what_decay_and_lost_branches_leave():
    left = standing_dead_share(np.array(["", "intermediate", "rotten"]), np.array(["", "branches_lost", "leaves_lost"]))
    assert left == pytest.approx([0.975, 0.80 * 0.80, 0.45 * 0.975])
    with pytest.raises(ValueError, match="'soft' is not a state of dead trees; known: sound, intermediate, rotten"):
        standing_dead_share(np.array(["soft"]), np.array([""]))


@pytest.mark.parametrize(
    ("domain", "elevation_m", "rain_mm", "wood", "litter"),
    [
        ("tropical", 100, 1600, 0.47, 0.37), ("tropical", 100, 1601, 2.82, 0.37), ("tropical", 2001, 1200, 3.29, 0.37),
        ("temperate", 100, 900, 3.76, 1.48),
    ],
)  # fmt: skip
def test_default_dead_wood_and_litter_of_a_hundred_tonnes(domain, elevation_m, rain_mm, wood, litter):
    """wri/carbon-budget applies the shares to 100 t/ha of dry matter, carbon fractions 0.47 and 0.37 after."""
    found = dead_wood_and_litter(100.0, domain=domain, elevation_m=elevation_m, rain_mm=rain_mm)
    assert carbon(found[0]) == pytest.approx(wood)
    assert carbon(found[1], carbon_fraction=LITTER_CARBON_FRACTION) == pytest.approx(litter)


def test_the_tools_own_base_is_tree_carbon_with_roots():
    """AGB 100 t/ha, R 0.24, temperate: 4.66 and 2.33 t C/ha."""
    wood, litter = dead_wood_and_litter(tree_carbon(100.0, root_shoot=0.24), domain="temperate", elevation_m=0, rain_mm=900)
    assert (round(wood, 2), round(litter, 2)) == (4.66, 2.33)


# ---------------------------------------------------------------- errors of factors


def test_errors_of_a_product_add_up_as_shares():
    # 0.063 / 1.26 = 5 %, 0.0188 / 0.47 = 4 %, 0.012 / 0.6 = 2 %: the root of 25 + 16 + 4
    found = relative_error(
        root_shoot=0.26, root_shoot_se=0.063, carbon_fraction=0.47, carbon_fraction_se=0.0188,
        expansion_factor=0.6, expansion_factor_se=0.012,
    )  # fmt: skip
    assert found == pytest.approx(np.sqrt(45) / 100)
    assert relative_error(root_shoot=0.26) == 0.0


def test_a_factor_s_error_widens_intervals_and_a_sink_gets_the_share_of_the_change():
    # stock of 100 +- 4, change of 10 +- 4, factor known to 3 %: 4 and 3; 4 and 0.3
    stock, change = ({"mean": np.array([m]), "se": np.array([4.0]), "low": np.array([m - 8]), "high_95": np.array([m + 10])}
                     for m in (100.0, 10.0))  # fmt: skip
    found = with_factor_error(stock, 0.03)
    assert (found["se"][0], found["low"][0], found["high_95"][0]) == pytest.approx((5.0, 90.0, 112.5))
    assert with_factor_error(change, 0.03)["se"][0] == pytest.approx(np.hypot(4, 0.3))


def test_a_stock_s_interval_never_goes_below_nothing():
    found = with_factor_error({"mean": np.array([5.0]), "se": np.array([4.0]), "low": np.array([0.0])}, 0.5, lowest=0.0)
    assert found["low"][0] == 0.0


def test_without_an_error_of_the_factor_nothing_changes():
    estimates = {"mean": np.array([100.3, np.nan]), "se": np.array([7.7, np.nan]), "low": np.array([87.1, np.nan])}
    found = with_factor_error(estimates, 0.0)
    assert found["se"][0] == 7.7 and found["low"][0] == pytest.approx(87.1) and np.isnan(found["low"][1])


def test_drawn_factors_spread_stocks_and_sinks_as_the_formula_says():
    """200,000 draws know a standard deviation to 0.16 %."""
    rng = np.random.default_rng(3)
    first, second = rng.multivariate_normal([100, 130], [[36, 20], [20, 49]], 200_000).T
    factor = (1 + rng.normal(0.26, 0.05, 200_000)) * rng.normal(0.47, 0.01, 200_000)
    share = relative_error(root_shoot=0.26, root_shoot_se=0.05, carbon_fraction=0.47, carbon_fraction_se=0.01)
    for biomass in (first, second - first):
        told = with_factor_error({"mean": biomass.mean(), "se": biomass.std()}, share)["se"] * 1.26 * 0.47
        assert (biomass * factor).std() == pytest.approx(told, rel=0.01)


def test_the_ratio_of_plots_and_its_error_by_hand():
    # clusters of sums (10, 40) and (6, 20), (8, 40): ratio 24 / 100; residuals 0.4, 1.2, -1.6
    part, whole = np.array([4.0, 6.0, 6.0, 8.0]), np.array([15.0, 25.0, 20.0, 40.0])
    ratio, se = ratio_of_plots(part, whole, np.array(["a", "a", "b", "c"]))
    assert ratio == pytest.approx(0.24)
    assert se == pytest.approx(np.sqrt(3 / 2 * (0.4**2 + 1.2**2 + 1.6**2)) / 100)
    assert np.isnan(ratio_of_plots(part, whole, np.array(["a"] * 4))[1])
