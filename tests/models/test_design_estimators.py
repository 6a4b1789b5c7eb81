"""Design-based and model-assisted estimators by hand arithmetic and by laws that always hold."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import ROOT
from scipy.stats import t as student

from models.inference.area_estimate import AreaEstimate
from models.inference.cluster_robust import contrast_variance
from models.inference.estimators import ESTIMATORS, estimate
from models.inference.survey import Survey


def make_survey(y, *, selection="probability", phase=None, **parts) -> Survey:
    y = np.array(y, float)
    auxiliaries = {name: np.array(values, float) for name, values in parts.pop("auxiliaries", {}).items()}
    phase = np.full(len(y), 2) if phase is None else np.array(phase)
    return Survey(y, phase, auxiliaries, **{name: np.array(value) for name, value in parts.items()}, selection=selection)


def random_survey(seed=3, n=40, *, per_cluster=1, phase=None) -> Survey:
    rng = np.random.default_rng(seed)
    x, z = rng.gamma(4, 3, n), rng.normal(0, 1, n)
    y = 20 + 6 * x + 4 * z + rng.normal(0, 10, n)
    phase = np.full(n, 2) if phase is None else phase
    return make_survey(
        np.where(phase == 2, y, np.nan), phase=phase, auxiliaries={"x": x, "z": z}, cluster=np.arange(n) // per_cluster,
        area=np.where(np.arange(n) % 4 == 0, "north", "south"), stratum=np.where(x > 12, "high", "low"),
    )  # fmt: skip


def test_expansion_is_the_mean_and_its_textbook_error():
    found = estimate("expansion", make_survey([10, 20, 30, 40]))
    assert found.mean == 25 and found.variance == pytest.approx((500 / 3) / 4) and found.degrees_of_freedom == 3
    low, high = found.interval(90)
    assert high - 25 == pytest.approx(student.ppf(0.95, 3) * np.sqrt(500 / 12)) and low == pytest.approx(50 - high)


def test_clusters_of_unequal_size_count_by_their_plots():
    """Clusters of 1, 3 and 2 plots with means 10, 20, 40: mean 150 / 6 = 25; variance by hand."""
    survey = make_survey([10, 10, 20, 30, 35, 45], cluster=[1, 2, 2, 2, 3, 3])
    found = estimate("expansion", survey)
    by_hand = ((1 / 2) ** 2 * 15**2 + (3 / 2) ** 2 * 5**2 + 1**2 * 15**2) / (3 * 2)
    assert found.mean == 25 and found.variance == pytest.approx(by_hand)
    assert found.n == {"plots": 6, "clusters": 3} and found.degrees_of_freedom == 2


def test_stratified_mean_weighs_strata_by_their_area():
    survey = make_survey([10, 20, 100, 120, 140], stratum=["a", "a", "b", "b", "b"])
    found = estimate("stratified", survey, stratum_area_ha={"a": 300, "b": 100})
    parts = np.array([0.75**2 * 50 / 2, 0.25**2 * 400 / 3])
    assert found.mean == pytest.approx(0.75 * 15 + 0.25 * 120)
    assert found.variance == pytest.approx(parts.sum())
    assert found.degrees_of_freedom == pytest.approx(parts.sum() ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 2))


def test_post_stratified_variance_has_cochrans_second_term():
    survey = make_survey([10, 20, 100, 120, 140], stratum=["a", "a", "b", "b", "b"])
    found = estimate("post_stratified", survey, stratum_area_ha={"a": 300, "b": 100})
    assert found.mean == pytest.approx(41.25)
    assert found.variance_parts["sampling"] == pytest.approx((0.75 * 50 + 0.25 * 400) / 5)
    assert found.variance_parts["post_stratification"] == pytest.approx((0.25 * 50 + 0.75 * 400) / 25)


def test_ratio_estimate_by_hand():
    survey = make_survey([10, 20, 60], auxiliaries={"x": [1, 2, 3]})
    found = estimate("ratio", survey, auxiliary="x", auxiliary_mean=2.5)
    residual = np.array([10 - 15, 20 - 30, 60 - 45])
    assert found.mean == pytest.approx(15 * 2.5)
    assert found.variance == pytest.approx((2.5 / 2) ** 2 * (residual**2).sum() / 2 / 3)


def test_a_map_of_other_plots_is_corrected_by_the_mean_residual():
    survey = make_survey([10, 20, 60], auxiliaries={"map": [12, 16, 50]})
    found = estimate("difference", survey, prediction="map", prediction_mean=30.0)
    assert found.mean == pytest.approx(30 + 4) and found.variance == pytest.approx(np.var([-2, 4, 10], ddof=1) / 3)


def test_regression_on_nothing_is_the_sample_mean():
    """An auxiliary of the area's mean at every plot but noise: with x centred on its known mean, GREG is b0."""
    survey = random_survey()
    x = survey.auxiliaries["x"]
    found = estimate("greg", survey, auxiliaries=["x"], means={"x": float(x.mean())})
    assert found.mean == pytest.approx(survey.y.mean())


def test_greg_weights_reproduce_the_known_means():
    """Calibration: with the auxiliary itself as the target, GREG returns its known mean without error."""
    survey = random_survey()
    exact = make_survey(3 + 2 * survey.auxiliaries["x"], auxiliaries=survey.auxiliaries)
    found = estimate("greg", exact, auxiliaries=["x", "z"], means={"x": 11.0, "z": 0.5})
    assert found.mean == pytest.approx(25.0) and found.se == pytest.approx(0.0, abs=1e-9)


def test_g_weight_variance_is_the_sum_of_squared_weighted_residuals():
    survey = random_survey(n=12)
    X = np.column_stack([np.ones(12), survey.auxiliaries["x"]])
    b, *_ = np.linalg.lstsq(X, survey.y)
    g = np.array([1, 10.0]) @ np.linalg.inv(X.T @ X / 12) @ X.T
    found = estimate("greg", survey, auxiliaries=["x"], means={"x": 10.0}, variance="g_weight")
    assert found.mean == pytest.approx(b @ [1, 10.0])
    assert found.variance == pytest.approx(((g * (survey.y - X @ b)) ** 2).sum() / 12**2)


def test_cr2_of_a_mean_is_the_sample_variance_with_n_minus_1_degrees_of_freedom():
    y = np.array([3.0, 5, 10, 11, 16])
    variance, freedom = contrast_variance(np.ones((5, 1)), y - y.mean(), np.ones(1))
    assert variance == pytest.approx(y.var(ddof=1) / 5) and freedom == pytest.approx(4)


def test_cr3_of_a_mean_of_clusters_is_the_delete_one_jackknife():
    y, cluster = np.array([3.0, 5, 10, 11, 16, 2]), np.array([0, 0, 1, 1, 2, 2])
    left_out = np.array([y[cluster != c].mean() for c in range(3)])
    variance, _ = contrast_variance(np.ones((6, 1)), y - y.mean(), np.ones(1), cluster, kind="cr3")
    assert variance == pytest.approx(((left_out - y.mean()) ** 2).sum())


def test_clusters_of_one_row_and_rows_by_themselves_have_the_same_errors():
    """The two ways through the same formula: rows alone, and rows of which one pair is a cluster of equal rows."""
    survey = random_survey(n=12)
    X = np.column_stack([np.ones(12), survey.auxiliaries["x"], survey.auxiliaries["z"]])
    y = survey.y
    doubled, again = np.vstack([X, X]) / np.sqrt(2), np.concatenate([y, y]) / np.sqrt(2)
    b, *_ = np.linalg.lstsq(X, y)
    for kind in ("cr0", "cr2", "cr3"):
        alone = contrast_variance(X, y - X @ b, np.array([1.0, 10, 0]), kind=kind)
        paired = contrast_variance(doubled, again - doubled @ b, np.array([1.0, 10, 0]), np.tile(np.arange(12), 2), kind=kind)
        assert paired == pytest.approx(alone)


def test_welchs_test_is_the_special_case_of_two_groups():
    """Bell-McCaffrey under equal variances: 1 / (w1^2 / (n1 - 1) + w2^2 / (n2 - 1)) with w = 1/n over the sum of 1/n."""
    y, group = np.array([3.0, 5, 10, 11, 16, 2, 8]), np.array([0, 0, 0, 1, 1, 1, 1])
    X = np.column_stack([group == 0, group == 1]).astype(float)
    residual = y - X @ [y[:3].mean(), y[3:].mean()]
    variance, freedom = contrast_variance(X, residual, np.array([1.0, -1.0]))
    share = np.array([1 / 3, 1 / 4]) / (1 / 3 + 1 / 4)
    assert variance == pytest.approx(y[:3].var(ddof=1) / 3 + y[3:].var(ddof=1) / 4)
    assert freedom == pytest.approx(1 / (share[0] ** 2 / 2 + share[1] ** 2 / 3))


def test_three_phases_with_all_auxiliaries_known_everywhere_are_two_phases():
    """Where the reduced model is the full one, phase 1 tells nothing that phase 0 does not."""
    phase = np.repeat([2, 1, 0], [20, 20, 40])
    survey = random_survey(n=80, phase=phase)
    three = estimate("three_phase", survey, auxiliaries=["x"], reduced=["x"], variance="g_weight")
    widest = make_survey(survey.y, phase=np.where(phase == 2, 2, 1), auxiliaries=survey.auxiliaries)
    two = estimate("two_phase", widest, auxiliaries=["x"], variance="g_weight")
    assert three.mean == pytest.approx(two.mean)
    assert three.variance_parts["auxiliary_means"] == pytest.approx(two.variance_parts["auxiliary_means"])


def test_clusters_of_one_plot_are_simple_sampling():
    single, plain = random_survey(per_cluster=1), random_survey(per_cluster=1)
    plain = make_survey(plain.y, auxiliaries=plain.auxiliaries)
    for name, settings in (("expansion", {}), ("greg", {"auxiliaries": ["x"], "means": {"x": 11.0}})):
        a, b = estimate(name, single, **settings), estimate(name, plain, **settings)
        assert a.mean == pytest.approx(b.mean) and a.variance == pytest.approx(b.variance)


def test_a_plot_measured_twice_as_a_cluster_adds_nothing_to_the_precision():
    survey = random_survey(n=20)
    twice = make_survey(
        np.repeat(survey.y, 2), cluster=np.repeat(np.arange(20), 2),
        auxiliaries={name: np.repeat(values, 2) for name, values in survey.auxiliaries.items()},
    )  # fmt: skip
    settings = {"auxiliaries": ["x"], "means": {"x": 11.0}}
    once, doubled = estimate("greg", survey, **settings), estimate("greg", twice, **settings)
    assert doubled.mean == pytest.approx(once.mean) and doubled.se == pytest.approx(once.se)
    assert doubled.degrees_of_freedom == pytest.approx(once.degrees_of_freedom)


def test_extended_residuals_of_an_area_vanish_so_that_it_needs_no_correction():
    survey = random_survey(n=40)
    x = survey.auxiliaries["x"]
    north = survey.area == "north"
    found = estimate(
        "extended_synthetic", survey, area="north", auxiliaries=["x"], means={"x": float(x[north].mean())}
    )
    assert found.mean == pytest.approx(survey.y[north].mean())


@pytest.mark.parametrize("name", [name for name, one in ESTIMATORS.items() if one.probability_sample])
@pytest.mark.parametrize("selection", ["purposive", "unknown"])
def test_no_design_based_estimator_takes_plots_that_somebody_chose(name, selection):
    survey = make_survey([10, 20, 30, 40], selection=selection)
    with pytest.raises(ValueError, match=f"{name} draws its error from the chance .* these plots are {selection}.*bhf_eblup"):
        estimate(name, survey)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_its_line_with_a_source_in_the_documentation(name):
    page = (ROOT / "docs/methods/estimators.md").read_text(encoding="utf-8")
    entry = ESTIMATORS[name]
    assert f"`{name}`" in page and entry.title and entry.reference
    for doi in re.findall(r"10\.\d{4,}/\S+?(?=[;,]|$)", entry.reference):
        assert doi in page


def test_parts_of_every_variance_add_up_to_it():
    survey = random_survey(n=120, phase=np.repeat([2, 1, 0], [30, 40, 50]))
    settings = {"auxiliaries": ["x", "z"], "reduced": ["x"], "area": "north"}
    for name in ("synthetic", "small", "extended_synthetic"):
        found = estimate(name, survey, **settings)
        assert sum(found.variance_parts.values()) == pytest.approx(found.se**2) and len(found.variance_parts) >= 3
        row = found.as_row("agb_mg_ha")
        assert row["agb_mg_ha_low_95"] < row["agb_mg_ha_low_90"] < row["agb_mg_ha"] < row["agb_mg_ha_high_90"]


def test_a_part_of_variance_has_a_known_name():
    with pytest.raises(ValueError, match="names variance parts"):
        AreaEstimate("all", "mine", 1.0, {"luck": 1.0}, 3, {})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gregg", {}, "'gregg' is not an estimator"),
        ("stratified", {"stratum_area_ha": {"high": 10}}, "plots lie in stratum 'low', whose area is not given"),
        ("stratified", {"stratum_area_ha": {"high": 10, "low": 5, "bare": 1}}, "'bare' has 0 plot"),
        ("greg", {"auxiliaries": ["x"], "means": {}}, "mean of auxiliary 'x'"),
        ("greg", {"auxiliaries": ["height"], "means": {"height": 1}}, "no auxiliary 'height'; it has x, z"),
        ("small", {"auxiliaries": ["x"], "means": {"x": 1}, "area": "west"}, "no ground plot in area 'west'"),
        ("synthetic", {"auxiliaries": ["x"], "area": "north", "variance": "external"}, "no external variance"),
        ("three_phase", {"auxiliaries": ["x"], "reduced": ["z"]}, "models must be nested"),
        ("greg", {"auxiliaries": ["x"], "means": {"x": 1}, "variance": "hc1"}, "variance is auto"),
    ],
)
def test_what_an_estimator_cannot_do_is_said_in_a_sentence(name, settings, message):
    with pytest.raises(ValueError, match=message):
        estimate(name, random_survey(), **settings)


def test_too_few_clusters_for_the_auxiliaries_are_refused():
    with pytest.raises(ValueError, match="4 clusters of ground plots for a regression with 3 coefficients: at least 5"):
        estimate("greg", random_survey(n=16, per_cluster=4), auxiliaries=["x", "z"], means={"x": 1, "z": 1})


def test_auxiliaries_that_say_the_same_are_refused():
    survey = random_survey()
    same = make_survey(survey.y, auxiliaries={"x": survey.auxiliaries["x"], "x2": 2 * survey.auxiliaries["x"]})
    with pytest.raises(ValueError, match="constant at the ground plots or a sum of others"):
        estimate("greg", same, auxiliaries=["x", "x2"], means={"x": 1, "x2": 2})


def test_a_cluster_that_was_measured_in_part_is_refused():
    with pytest.raises(ValueError, match="cluster 'b' has points of several phases"):
        make_survey([1, 2, 3, np.nan], phase=[2, 2, 2, 1], cluster=["a", "a", "b", "b"])


def test_points_without_auxiliaries_are_left_out_and_counted(caplog):
    import pandas as pd

    table = pd.DataFrame({"agb": [1.0, 2, 3, None], "x": [1.0, None, 3, 4]})
    survey = Survey.from_table(table, target="agb", auxiliaries=["x"], selection="probability")
    assert len(survey.y) == 3 and survey.phase.tolist() == [2, 2, 1]
    assert "1 of 4 sample points are left out" in caplog.text
