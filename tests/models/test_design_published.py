"""Estimators against what others printed: the Grisons example of Mandallaz's estimators, to every printed digit."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import data_set

from models.inference.estimators import estimate
from models.inference.survey import Survey

NAMES = ["mean", "stddev", "max", "q75"]
TRUE_MEANS = {"mean": 11.39, "stddev": 8.84, "max": 32.68, "q75": 18.03}


@pytest.fixture(scope="module")
def grisons(data):
    return pd.read_csv(data_set(data, "grisons-two-phase") / "grisons.csv")


def survey_of(table, *, weights=True) -> Survey:
    return Survey.from_table(
        table, target="tvol", auxiliaries=NAMES, phase="phase_id_2p", area="smallarea", selection="probability",
        boundary_weight="boundary_weights" if weights else None,
    )  # fmt: skip


def to_digits(value: float, printed: float, digits: int) -> bool:
    return round(value, digits) == printed


def test_two_phase_estimate_of_the_canton_is_the_printed_one(grisons):
    found = estimate("two_phase", survey_of(grisons), auxiliaries=NAMES, variance="g_weight")
    assert to_digits(found.mean, 383.5354, 4)
    assert to_digits(found.variance, 271.5057, 4)
    assert to_digits(found.other_variances["external"], 279.954, 3)
    assert found.n["plots"] == 67 and found.n["phase_1"] == 306 and found.degrees_of_freedom == 67 - 5


def test_estimate_with_known_means_of_the_canton_is_the_printed_one(grisons):
    found = estimate("greg", survey_of(grisons), auxiliaries=NAMES, means=TRUE_MEANS, variance="g_weight")
    assert to_digits(found.mean, 376.7426, 4)
    assert to_digits(found.variance, 187.2787, 4)
    assert to_digits(found.other_variances["external"], 202.5602, 4)


@pytest.mark.parametrize(
    ("method", "area", "mean", "external", "g_weight", "digits"),
    [
        ("small", "A", 393.9713, 1009.034, 1308.117, (4, 3, 3)),
        ("small", "B", 419.6416, 1214.035, 1259.472, (4, 3, 3)),
        ("extended_synthetic", "A", 391.9356, 995.5602, 1017.633, (4, 4, 3)),
        ("extended_synthetic", "B", 419.7231, 1214.6053, 1019.191, (4, 4, 3)),
        ("synthetic", "A", 421.8863, None, 546.8651, (4, 4, 4)),
        ("synthetic", "B", 418.7399, None, 566.3361, (4, 4, 4)),
    ],
)
def test_estimates_of_small_areas_are_the_printed_ones(grisons, method, area, mean, external, g_weight, digits):
    found = estimate(method, survey_of(grisons), area=area, auxiliaries=NAMES, variance="g_weight")
    assert to_digits(found.mean, mean, digits[0])
    assert to_digits(found.variance, g_weight, digits[2])
    if external is not None:
        assert to_digits(found.other_variances["external"], external, digits[1])


@pytest.mark.parametrize(
    ("area", "mean", "external", "g_weight"),
    [
        ("A", 391.1605, 995.5602, 1016.956),
        ("B", 419.6746, 1214.6053, 1019.270),
        ("C", 328.0117, 916.2266, 1035.091),
        ("D", 371.0596, 1272.7056, 1112.735),
    ],
)
def test_extended_estimates_without_boundary_weights_are_those_of_the_packages_front_page(
    grisons, area, mean, external, g_weight
):
    found = estimate(
        "extended_synthetic", survey_of(grisons, weights=False), area=area, auxiliaries=NAMES, variance="g_weight"
    )
    assert to_digits(found.mean, mean, 4)
    assert to_digits(found.variance, g_weight, 3)
    assert to_digits(found.other_variances["external"], external, 4)


@pytest.mark.parametrize(
    ("area", "mean", "variance", "plots"),
    [("A", 410.4047, 1987.117, 19), ("B", 461.4429, 3175.068, 17), ("C", 318.0091, 1180.853, 15), ("D", 396.8496, 2290.652, 16)],
)
def test_ground_plots_alone_give_the_printed_means(grisons, area, mean, variance, plots):
    found = estimate("expansion", survey_of(grisons), area=area)
    assert to_digits(found.mean, mean, 4)
    assert to_digits(found.variance, variance, 3)
    assert found.n["plots"] == plots and found.degrees_of_freedom == plots - 1
