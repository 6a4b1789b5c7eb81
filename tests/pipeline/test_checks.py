"""The laws notice what breaks them, and comparisons have the numbers of hand arithmetic."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from conftest import make_study

from pipeline.checks import (
    against_map,
    against_truth,
    applicability_laws,
    applicability_of_stands_laws,
    interval_laws,
    law,
    map_laws,
    totals_against_truth,
    totals_laws,
)
from pipeline.products import products_of

FACTOR = 1.26 * 0.47 * 44 / 12


def make_estimates(**columns):
    """Two stands and the project at one year, all laws kept."""
    rows = pd.DataFrame(
        {
            "level": ["stand", "stand", "project"],
            "stand": ["a", "b", "project"],
            "target": "agb",
            "first_year": 2019,
            "last_year": 2019,
            "mean": [100.0, 200.0, 150.0],
            "se": [5.0, 13.0, 5.0],
            "low": [90.0, 175.0, 140.0],
            "high": [110.0, 225.0, 160.0],
            "sampling_variance": [9.0, 25.0, 9.0],
            "shared_variance": [16.0, 144.0, 16.0],
            "residual_variance": 0.0,
            "has_total": True,
        }
    )
    return rows.assign(**columns)


def holds(verdicts):
    return [verdict["holds"] for verdict in verdicts]


def test_a_verdict_counts_what_was_looked_at_and_what_breaks_it():
    assert law("water flows down", 2, 7, "rivers") == {
        "name": "water flows down", "holds": False, "detail": "7 rivers looked at, 2 break it",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "broken"),
    [
        ({}, []),
        ({"low": [101.0, 175.0, 140.0]}, [0]),
        ({"high": [110.0, 199.0, 160.0]}, [0]),
        ({"se": [5.0, np.nan, 5.0]}, [1, 3]),
        ({"se": [-5.0, 13.0, 5.0]}, [1]),
        ({"mean": [-1.0, 200.0, 150.0], "low": -2.0}, [2]),
        ({"residual_variance": [0.0, 0.0, 4.0]}, [3]),
        ({"mean": [np.nan, 200.0, 150.0], "low": [np.nan, 175.0, 140.0], "se": [np.nan, 13.0, 5.0]}, []),
    ],
    ids=["kept", "low_above", "high_below", "no_error", "negative_error", "negative_stock", "parts", "no_estimate"],
)
def test_laws_of_estimates_notice_what_breaks_them(columns, broken):
    verdicts = interval_laws(make_estimates(**columns))
    assert [number for number, held in enumerate(holds(verdicts)) if not held] == broken


def test_a_change_may_be_negative():
    change = make_estimates(last_year=2024, mean=[-3.0, 2.0, 1.0], low=-50.0)
    assert all(holds(interval_laws(change)))


@pytest.mark.parametrize(
    ("estimated_from", "columns", "expected"),
    [
        ("all pixels", {}, [True, True]),
        ("all pixels", {"all": [100.05, 200.0]}, [False, False]),
        ("all pixels", {"interior": [90.0, 210.0]}, [True, True]),
        ("pixels inside the stand", {"interior": [90.0, 200.0]}, [True, False]),
        ("pixels inside the stand", {"all": [100.05, 200.0]}, [False, True]),
        ("all pixels", {"all": [np.nan, 200.0]}, [False, False]),
    ],
    ids=["kept", "other_map", "interior_unused", "other_interior", "map_column_wrong", "missing"],
)
def test_stand_means_must_be_those_of_the_map(estimated_from, columns, expected):
    ours = make_estimates().assign(estimated_from=estimated_from, map_mean=[100.0, 200.0, 150.0])
    keys = {"stand": ["a", "b"], "target": "agb", "first_year": 2019, "last_year": 2019}
    theirs = {name: [100.005, 200.0] for name in ("all", "interior")}
    assert holds(totals_laws(ours, pd.DataFrame(keys | theirs | columns))) == expected


def make_maps(change=None):
    """Maps of a study of two dates that keep all laws, and their products."""
    study = make_study({"model.applicability_maps": False})
    products = [asdict(product) for product in products_of(study).values()]
    first, second = np.array([[100.0, 0.0, np.nan]]), np.array([[130.0, 80.0, np.nan]])
    values = {
        "agb_2019": first, "agb_2024": second, "tree_carbon_2019": first / 2, "tree_carbon_2024": second / 2,
        "sink_2019_2024": (second - first) * FACTOR / 5, "forest_2019_2024": np.array([[1.0, 2.0, np.nan]]),
    }  # fmt: skip
    maps = {}
    for product in products:
        value = values[product["name"]]
        names = [band["name"] for band in product["bands"]]
        layers = [value, value * 0 + 5, value * 0 + 1, value * 0 + 1]
        maps[product["name"]] = {name: layer.copy() for name, layer in zip(names, layers, strict=False)}
    if change:
        product, band, place, value = change
        list(maps[product].values())[band][0, place] = value
    return maps, products


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (None, [True, True]),
        (("agb_2019", 1, 0, np.nan), [False, True]),
        (("sink_2019_2024", 1, 2, 3.0), [False, True]),
        (("sink_2019_2024", 0, 0, 0.0), [True, False]),
        (("agb_2024", 0, 1, 81.0), [True, False]),
    ],
    ids=["kept", "no_error", "error_alone", "other_sink", "other_stock"],
)
def test_laws_of_maps_notice_a_value_without_error_and_a_sink_that_is_no_difference(change, expected):
    assert holds(map_laws(*make_maps(change), FACTOR)) == expected


def make_applicability(change=None):
    """Two pixels of set 1 (threshold 0.5), one of set 2 (threshold 0.2), one without forest, one without estimate."""
    products = [asdict(p) for p in products_of(make_study({"years": [2019]})).values() if p.kind in ("stock", "applicability")]
    nan = np.nan
    bands = {
        "agb_2019": [[90, 80, 70, 0, nan], [5, 5, 5, 0, nan], [1, 0, 1, 1, nan], [1, 1, 2, 0, nan]],
        "applicability_agb_2019": [[0.3, 0.9, 0.1, nan, nan], [4, 0, 1, nan, nan], [1, 0, 1, nan, nan]],
    }
    maps = {
        product["name"]: {
            band["name"]: np.array([values], "float32")
            for band, values in zip(product["bands"], bands[product["name"]], strict=True)
        }
        for product in products
    }
    if change:
        product, band, place, value = change
        list(maps[product].values())[band][0, place] = value
    return maps, products, {"agb": [0.5, 0.2]}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (None, []),
        (("applicability_agb_2019", 0, 0, -0.1), [0]),
        (("applicability_agb_2019", 0, 3, 0.4), [1, 2, 3]),
        (("applicability_agb_2019", 0, 1, np.nan), [1]),
        (("applicability_agb_2019", 0, 2, 0.3), [2]),
        (("agb_2019", 2, 0, 0), [2]),
        (("applicability_agb_2019", 1, 1, 1), [3]),
        (("applicability_agb_2019", 0, 2, 0.2), []),
    ],
    ids=["kept", "negative", "unserved", "missing", "threshold_of_another_set", "other_stock", "density", "at_the_threshold"],
)
def test_laws_of_applicability_notice_what_breaks_them(change, broken):
    verdicts = applicability_laws(*make_applicability(change))
    assert [number for number, held in enumerate(holds(verdicts)) if not held] == broken


def test_laws_of_applicability_are_silent_where_it_was_not_asked_for():
    maps, products, thresholds = make_applicability()
    assert applicability_laws(maps, [one for one in products if one["kind"] == "stock"], thresholds) == []
    assert applicability_of_stands_laws(make_estimates()) == []


@pytest.mark.parametrize(
    ("index", "density", "share", "expected"),
    [
        ([0.2, 0.9], [3.5, 0.0], [100, 0], [True, True]),
        ([0.2, 0.9], [0.5, 0.0], [100, 0], [True, False]),
        ([0.2, 0.9], [3.5, 1.0], [100, 0], [True, False]),
        ([-0.2, 0.9], [3.5, 0.4], [100, 40], [False, True]),
        ([np.nan, 0.9], [np.nan, 0.4], [100, 40], [True, True]),
    ],
    ids=["kept", "inside_without_plots", "outside_with_plots", "negative", "no_forest"],
)
def test_laws_of_stands_notice_an_index_and_a_share_that_disagree(index, density, share, expected):
    rows = make_estimates().iloc[:2].assign(dissimilarity_index=index, local_point_density=density, in_domain_percent=share)
    assert holds(applicability_of_stands_laws(rows)) == expected


def test_truth_beside_estimates_counts_the_stands_that_intervals_hold():
    estimates = make_estimates(has_total=[True, True, True])
    truth = pd.DataFrame({"stand": ["a", "b", "c"], "area_ha": [1.0, 3.0, 9.0], "agb_mg_ha_2019": [95.0, 240.0, 10.0]})
    found = against_truth(estimates, truth, target="agb")
    assert [(row["stand"], row["covered"]) for row in found["stands"]] == [("a", True), ("b", False)]
    (summary,) = found["summary"]
    # weighted by area: truth (95 + 720) / 4 = 203.75, ours (100 + 600) / 4 = 175
    assert summary["project_truth"] == pytest.approx(203.75)
    assert summary["bias_percent"] == pytest.approx(100 * (175 / 203.75 - 1))
    assert summary["coverage_percent"] == 50 and summary["n"] == 2
    assert summary["estimand"] == "agb_2019" and summary["project_mean"] == 150


def test_composites_stand_beside_the_truth_on_their_own():
    estimates = make_estimates(has_total=[True, True, True])
    composites = estimates.iloc[:2].assign(level="composite", mean=[98.0, 230.0], low=[96.0, 220.0], high=[100.0, 245.0])
    truth = pd.DataFrame({"stand": ["a", "b", "c"], "area_ha": [1.0, 3.0, 9.0], "agb_mg_ha_2019": [95.0, 240.0, 10.0]})
    found = against_truth(pd.concat([estimates, composites]), truth, target="agb")
    told = [(row["stand"], row["truth"], row["covered"]) for row in found["composites"]]
    assert told == [("a", 95.0, False), ("b", 240.0, True)]
    (summary,), alone = found["summary"], against_truth(estimates, truth, target="agb")
    assert summary["composites_n"] == 2 and summary["composites_coverage_percent"] == 50
    # weighted by area: (98 + 690) / 4 = 197 beside 203.75
    assert summary["composites_bias_percent"] == pytest.approx(100 * (197 / 203.75 - 1))
    assert found["stands"] == alone["stands"]
    assert alone["composites"] == [] and alone["summary"][0]["composites_coverage_percent"] is None


def test_what_stands_report_is_their_composite_or_else_the_model_but_no_saturated_change():
    estimates = make_estimates()
    composites = estimates.iloc[:1].assign(level="composite", mean=98.0, low=96.0, high=100.0)
    truth = pd.DataFrame({"stand": ["a", "b"], "area_ha": [1.0, 3.0], "agb_mg_ha_2019": [97.0, 240.0], "agb_mg_ha_2024": 250.0})
    found = against_truth(pd.concat([estimates, composites]), truth, target="agb")
    assert [(row["stand"], row["mean"]) for row in found["reported_stands"]] == [("b", 200.0), ("a", 98.0)]
    # weighted by area: ours (98 + 600) / 4 = 174.5, truth (97 + 720) / 4 = 204.25
    (summary,) = found["summary"]
    assert summary["reported_n"] == 2 and summary["reported_coverage_percent"] == 50
    assert summary["reported_bias_percent"] == pytest.approx(100 * (174.5 / 204.25 - 1))
    change = estimates.assign(last_year=2024, saturated=[False, True, False])
    silent = against_truth(change, truth, target="agb")["reported_stands"]
    assert [row["stand"] for row in silent] == ["a"]


def test_every_estimator_of_the_project_stands_beside_the_truth_in_its_own_unit():
    about = {"level": "project", "quantity": "net_removal_t_co2_ha_yr", "units": "t CO2/ha/yr", "first_year": 2019,
             "last_year": 2024, "se": 1.2}  # fmt: skip
    totals = pd.DataFrame([
        about | {"estimator": "difference", "reported": True, "mean": 9.4, "low": 7.3, "high": 11.5},
        about | {"estimator": "greg", "reported": False, "mean": 9.9, "low": 7.8, "high": 12.0},
        about | {"estimator": "stratified", "reported": False, "mean": np.nan, "low": np.nan, "high": np.nan},
        about | {"level": "stratum", "estimator": "difference", "reported": True, "mean": 5.0, "low": 1.0, "high": 20.0},
    ])  # fmt: skip
    truth = pd.DataFrame({"quantity": ["net_removal_t_co2_ha_yr"], "first_year": 2019, "last_year": 2024, "truth": 11.63})
    found = totals_against_truth(totals, truth)
    assert [(row["estimator"], row["reported"], row["covered"]) for row in found] == [
        ("difference", True, False), ("greg", False, True)
    ]  # fmt: skip
    assert {row["truth"] for row in found} == {11.63}


def test_the_project_s_planted_biomass_becomes_carbon_by_the_study_s_factors_of_each_stratum():
    """Roots 0.2 in fir, 0.4 in pine: of 100 and 300 Mg/ha on 1 and 3 ha, change 10 and 30 over five years."""
    from models.pools import CarbonFactors
    from pipeline.config import TARGETS
    from pipeline.steps.check import _truth_of_project

    known = pd.DataFrame({"stand": ["a", "b"], "area_ha": [1.0, 3.0]})
    stands = known.assign(stratum=["fir", "pine"])
    factors = CarbonFactors(root_shoot=0.26, carbon_fraction=0.47, strata={"fir": (0.2, 0.0), "pine": (0.4, 0.0)})
    beside = [
        {"stand": stand, "estimand": name, "truth": value}
        for name, values in (("agb_2024", (100.0, 300.0)), ("agb_2019_2024", (10.0, 30.0)))
        for stand, value in zip("ab", values, strict=True)
    ]
    found = _truth_of_project(beside, known, stands, {"agb": TARGETS["agb"]}, factors).set_index("quantity")["truth"]
    carbon = 0.47 * (1 * 100 * 1.2 + 3 * 300 * 1.4) / 4
    assert found["agb_mg_ha"] == pytest.approx(250) and found["tree_carbon_t_ha"] == pytest.approx(carbon)
    assert found["net_removal_t_co2_ha_yr"] == pytest.approx(carbon / 10 * 44 / 12 / 5)


def test_the_truth_of_a_change_is_the_later_stock_less_the_earlier():
    estimates = make_estimates(last_year=2024, mean=[10.0, -20.0, 0.0], low=-30.0, high=30.0)
    truth = pd.DataFrame({"stand": ["a", "b"], "area_ha": 1.0, "agb_mg_ha_2019": [95.0, 240.0], "agb_mg_ha_2024": [110.0, 200.0]})
    found = against_truth(estimates, truth, target="agb")
    assert [row["truth"] for row in found["stands"]] == [15.0, -40.0]
    assert [row["covered"] for row in found["stands"]] == [True, False]


def test_two_maps_are_compared_where_both_have_a_value():
    ours, theirs = np.array([100.0, 200.0, 300.0, np.nan, 50.0]), np.array([110.0, 190.0, 330.0, 5.0, np.nan])
    found = against_map(ours, theirs, theirs - 15, theirs + 15)
    # differences -10, 10, -30
    assert found["n"] == 3 and found["bias"] == pytest.approx(-10) and found["rmse"] == pytest.approx(np.sqrt(1100 / 3))
    assert found["our_mean"] == 200 and found["their_mean"] == 210
    assert found["inside_interval_percent"] == pytest.approx(200 / 3)
    assert found["correlation"] == pytest.approx(np.corrcoef([100, 200, 300], [110, 190, 330])[0, 1])
    assert against_map(ours, theirs, None, None)["inside_interval_percent"] is None


def test_maps_that_do_not_meet_say_how_few_cells_they_share():
    assert against_map(np.array([1.0, np.nan]), np.array([np.nan, 1.0]), None, None) == {"n": 0}
