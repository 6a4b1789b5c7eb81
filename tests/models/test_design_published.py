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


# ---------------------------------------------------------------- printed in "A comparison of maSAE to forestinventory"

AREA_MEANS = {
    "A": {"mean": 12.85, "stddev": 9.31, "max": 34.92, "q75": 19.77},
    "B": {"mean": 12.21, "stddev": 9.47, "max": 35.36, "q75": 19.16},
    "C": {"mean": 9.33, "stddev": 7.90, "max": 28.81, "q75": 15.40},
    "D": {"mean": 10.45, "stddev": 8.36, "max": 30.22, "q75": 16.91},
}


def three_phase_survey(table, *, weights) -> Survey:
    return Survey.from_table(
        table, target="tvol.3p", auxiliaries=NAMES, reduced=["mean"], phase="phase_id_3p", area="smallarea",
        boundary_weight="boundary_weights" if weights else None, selection="probability",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("area", "mean", "external", "g_weight"),
    [
        ("A", 372.6930, 744.3658, 696.5739),
        ("B", 387.5116, 693.8576, 708.1105),
        ("C", 334.8314, 838.3953, 801.4303),
        ("D", 405.9667, 940.3149, 890.9536),
    ],
)
def test_extended_estimates_with_known_means_of_areas_are_the_printed_ones(grisons, area, mean, external, g_weight):
    survey = survey_of(grisons, weights=False)
    found = estimate(
        "extended_synthetic", survey, area=area, auxiliaries=NAMES, means=AREA_MEANS[area], variance="g_weight"
    )
    assert to_digits(found.mean, mean, 4) and to_digits(found.variance, g_weight, 4)
    assert to_digits(found.other_variances["external"], external, 4)


@pytest.mark.parametrize(
    ("area", "mean", "external", "g_weight", "points"),
    [
        ("A", 395.1882, 1901.2107, 1858.2042, (94, 38, 12)),
        ("B", 389.8329, 1846.9952, 1816.6552, (81, 34, 11)),
        ("C", 321.9967, 722.7413, 763.0731, (66, 28, 8)),
        ("D", 365.4938, 2248.9395, 1930.6881, (65, 28, 9)),
    ],
)
def test_three_phase_estimates_of_areas_are_the_printed_ones(grisons, area, mean, external, g_weight, points):
    survey = three_phase_survey(grisons, weights=True)
    found = estimate("extended_synthetic", survey, area=area, auxiliaries=NAMES, reduced=["mean"], variance="g_weight")
    assert to_digits(found.mean, mean, 4) and to_digits(found.variance, g_weight, 4)
    assert to_digits(found.other_variances["external"], external, 4)
    assert (found.n["phase_0"], found.n["phase_1"], found.n["plots"]) == points


@pytest.mark.parametrize(
    ("area", "weights", "mean", "external", "g_weight"),
    [
        ("A", False, 380.7982, 1642.0551, 1524.8061),
        ("B", False, 368.8658, 1501.2108, 1530.6216),
        ("C", False, 325.7081, 640.2232, 541.0235),
        ("D", False, 389.3585, 1961.1322, 1753.9986),
        ("A", True, 382.6405, 1642.0551, 1518.7407),
        ("B", True, 368.9013, 1501.2108, 1530.5759),
        ("C", True, 325.3720, 640.2232, 543.2681),
        ("D", True, 388.0325, 1961.1322, 1756.0906),
    ],
)
def test_three_phase_estimates_with_a_known_reduced_mean_are_the_printed_ones(
    grisons, area, weights, mean, external, g_weight
):
    found = estimate(
        "extended_synthetic", three_phase_survey(grisons, weights=weights), area=area, auxiliaries=NAMES, reduced=["mean"],
        means=AREA_MEANS[area], variance="g_weight",
    )  # fmt: skip
    assert to_digits(found.mean, mean, 4) and to_digits(found.variance, g_weight, 4)
    assert to_digits(found.other_variances["external"], external, 4)


@pytest.mark.parametrize(
    ("area", "extended", "synthetic", "small"),
    [
        ("A", (371.0402, 712.3895), (401.8953, 287.3151), (373.9803, 1048.5674)),
        ("B", (398.9159, 944.4190), (398.5562, 303.4478), (399.4579, 996.5841)),
        ("C", (330.4869, 863.1605), (334.5188, 261.8389), (330.6825, 1104.9620)),
        ("D", (384.7398, 999.1490), (345.1298, 227.8379), (380.9174, 1203.8859)),
    ],
)
def test_estimates_with_some_auxiliaries_known_everywhere_are_those_of_masae(grisons, area, extended, synthetic, small):
    """Two phases of which max and q75 are known over the areas: all three small-area estimators of another package."""
    survey = survey_of(grisons, weights=False)
    for name, (mean, variance) in {"extended_synthetic": extended, "synthetic": synthetic, "small": small}.items():
        found = estimate(
            name, survey, area=area, auxiliaries=NAMES, reduced=["max", "q75"], means=AREA_MEANS[area], variance="g_weight"
        )
        assert to_digits(found.mean, mean, 4) and to_digits(found.variance, variance, 4), name
