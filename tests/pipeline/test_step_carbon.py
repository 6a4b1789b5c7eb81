"""From biomass to carbon in stands, strata and maps: the factors' own errors, and ratios that plots bring along."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from models.pools import CarbonFactors
from pipeline.steps.carbon import carbon_factors, in_carbon, region_in_carbon, root_shoot_of_plots, warn_of_strata_without_stands

PLAIN = {"root_shoot": 0.25, "carbon_fraction": 0.5, "biomass_per_target": 1.0}
"""1 Mg of biomass is 0.625 t C."""


def estimates(**columns) -> pd.DataFrame:
    frame = pd.DataFrame({"mean": [100.0, 160.0], "se": [8.0, 8.0], "low": [84.0, 144.0], "high": [116.0, 176.0]})
    return frame.assign(**columns)


def rooted(**columns) -> pd.DataFrame:
    """Three clusters in each of two strata: pines with a ratio of 0.2, oaks of 0.3."""
    frame = pd.DataFrame(
        {"plot": list("abcdef"), "cluster": list("abcdef"), "stratum": ["pine"] * 3 + ["oak"] * 3, "kept": True,
         "agb_mg_ha": [50.0, 100.0, 150.0, 40.0, 80.0, 80.0]}
    )  # fmt: skip
    return frame.assign(bgb_mg_ha=frame["agb_mg_ha"] * np.where(frame["stratum"] == "pine", 0.2, 0.3)).assign(**columns)


def test_factors_without_errors_turn_biomass_as_before():
    found = in_carbon(estimates(), carbon_factors(PLAIN))
    assert found["mean"].tolist() == [62.5, 100.0] and found["se"].tolist() == [5.0, 5.0]
    assert found["low"].tolist() == pytest.approx([52.5, 90.0])


def test_the_factors_errors_reach_stocks_and_sinks():
    # 0.075 / 1.25 = 6 %: 8 and 6 of 100 are 10, and 8 and 9.6 of 160
    factors = carbon_factors({**PLAIN, "root_shoot_se": 0.075})
    stock = in_carbon(estimates(), factors)
    assert stock["se"].tolist() == pytest.approx([6.25, 0.625 * np.hypot(8, 9.6)])
    assert stock["high"][0] == pytest.approx(62.5 + 2 * 6.25)  # two standard errors, as before
    sink = in_carbon(estimates(), factors, years=5)
    assert sink["se"][0] == pytest.approx(10 * 0.625 * 44 / 12 / 5)


def test_plots_give_each_stratum_its_ratio_and_the_study_that_of_all(caplog):
    with caplog.at_level(logging.WARNING):
        whole, strata = root_shoot_of_plots(rooted())
    assert whole[0] == pytest.approx((0.2 * 300 + 0.3 * 200) / 500)
    assert {name: ratio for name, (ratio, _) in strata.items()} == pytest.approx({"pine": 0.2, "oak": 0.3})
    assert strata["pine"][1] == pytest.approx(0.0) and whole[1] > 0.01
    assert not caplog.records


def test_what_the_plots_source_states_is_an_error_that_no_number_of_plots_lowers():
    _, strata = root_shoot_of_plots(rooted(root_shoot_se=0.04))
    assert strata["oak"][1] == pytest.approx(0.04)


def test_a_stratum_with_few_plots_takes_the_ratio_of_all_and_that_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        _, strata = root_shoot_of_plots(rooted(kept=[True] * 5 + [False]))
    assert list(strata) == ["pine"]
    assert "stratum oak has plots with roots in 2 clusters only: it takes the root:shoot ratio of all plots" in caplog.text


def test_plots_without_roots_are_one_sentence():
    for frame in (rooted(kept=False), rooted().drop(columns="bgb_mg_ha")):
        with pytest.raises(ValueError, match=r"pools\.root_shoot is from_plots, and no plot that is kept has roots"):
            root_shoot_of_plots(frame)


def test_stands_take_the_ratio_of_their_stratum_and_the_project_adds_them_up():
    factors = CarbonFactors(0.24, 0.02, 0.5, strata={"pine": (0.2, 0.012), "oak": (0.3, 0.013)})
    stands = estimates(area_ha=[10.0, 30.0], stratum=["pine", "oak"])
    found = in_carbon(stands, factors, strata=["pine", "oak"])
    assert found["mean"].tolist() == pytest.approx([60.0, 104.0])
    assert found["se"].tolist() == pytest.approx([0.6 * np.hypot(8, 1.0), 0.65 * np.hypot(8, 1.6)])
    assert in_carbon(stands, factors, strata=["pine", "elm"])["mean"][1] == pytest.approx(160 * 0.62)
    project = pd.DataFrame({"mean": [145.0], "se": [6.0], "low": [133.0], "high": [157.0]})
    told = region_in_carbon(project, factors, stands).iloc[0]
    assert told["mean"] == pytest.approx((600 + 3120) / 40)
    # 6 of 145 by the mean factor, and 1 % of every stand's carbon, wrong the same way
    assert told["se"] == pytest.approx(np.hypot(6 * 93 / 145, 0.93))
    assert told["high"] - told["mean"] == pytest.approx(2 * told["se"])


def test_a_place_takes_the_ratios_of_the_strata_that_it_lies_in_by_their_shares():
    factors = CarbonFactors(0.24, 0.031, 0.5, strata={"pine": (0.2, 0.012), "oak": (0.3, 0.013)})
    # wholly in pine, half in each, half in oak and half beyond, where stands overlap, in no stratum with a ratio of its own
    shares = {"pine": np.array([1, 0.5, 0, 1, 0]), "oak": np.array([0, 0.5, 0.5, 1, 0])}
    per_unit, error = factors.over(shares)
    assert per_unit == pytest.approx([0.6, 0.625, 0.635, 0.625, 0.62])
    # 1 % of either's carbon and 2.5 % of the study's, wrong the same way
    assert error == pytest.approx([0.01, 0.01, (0.01 * 0.325 + 0.025 * 0.31) / 0.635, 0.01, 0.025])
    alone = CarbonFactors(0.24, 0.031, 0.5)
    assert alone.over({}) == (alone.tree_carbon(), alone.relative_se())


def test_a_project_of_one_ratio_is_turned_as_its_stands_are():
    factors = carbon_factors({**PLAIN, "carbon_fraction_se": 0.01})
    stands = estimates(area_ha=1.0, stratum="pine")
    assert region_in_carbon(estimates(), factors, stands).equals(in_carbon(estimates(), factors))


def test_a_ratio_of_a_stratum_without_stands_is_told(caplog):
    factors = CarbonFactors(root_shoot=0.25, strata={"pine": (0.3, 0.01), "Fir": (0.2, 0.01)})
    warn_of_strata_without_stands(factors, pd.DataFrame({"stratum": ["pine", "fir", None]}))
    assert "no stand is in stratum Fir, of which plots have" in caplog.text and "stands are in fir, pine" in caplog.text
    caplog.clear()
    warn_of_strata_without_stands(factors, pd.DataFrame({"stratum": ["pine", "Fir"]}))
    assert not caplog.text
