"""From biomass to carbon and carbon dioxide, against hand arithmetic and published worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from models.pools import (
    belowground,
    biomass_from_volume,
    carbon,
    carbon_dioxide,
    net_removal_co2,
    root_shoot_continuous,
    tree_carbon,
)


def test_a_hundred_tonnes_of_biomass_hold_so_much_carbon():
    # 100 Mg/ha above ground, 26 below, 0.47 of it carbon
    assert belowground(100.0, root_shoot=0.26) == pytest.approx(26.0)
    assert tree_carbon(100.0, root_shoot=0.26) == pytest.approx(59.22)


def test_carbon_becomes_dioxide_by_the_ratio_of_molar_masses():
    assert carbon_dioxide(12.0) == pytest.approx(44.0)


def test_growth_is_a_positive_removal_and_loss_a_negative_one():
    # 10 Mg/ha/yr x 1.26 x 0.47 x 44/12
    assert net_removal_co2(10.0, 0.26, 0.47) == pytest.approx(21.714)
    assert net_removal_co2(-10.0, 0.26, 0.47) == pytest.approx(-21.714)


def test_stock_difference_of_a_growing_stand():
    # 10 ha, 120 -> 150 m3/ha in 5 years, 0.7 Mg/m3, roots 0.29, carbon 0.47 (IPCC 2006, eq. 2.8b)
    earlier, later = (
        10 * tree_carbon(biomass_from_volume(volume, expansion_factor_mg_m3=0.7), root_shoot=0.29, carbon_fraction=0.47)
        for volume in (120.0, 150.0)
    )
    assert earlier == pytest.approx(509.292)
    assert later == pytest.approx(636.615)
    assert carbon_dioxide((later - earlier) / 5) == pytest.approx(93.3702)
    change = biomass_from_volume(150.0 - 120.0, expansion_factor_mg_m3=0.7) / 5
    assert 10 * net_removal_co2(change, 0.29, 0.47) == pytest.approx(93.3702)


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
        (lambda: biomass_from_volume(1.0, expansion_factor_mg_m3=0), "an expansion factor is above zero, got 0"),
    ],
    ids=["percent", "negative_ratio", "no_factor"],
)
def test_impossible_factors_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
