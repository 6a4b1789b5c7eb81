"""Samples of unequal chances: by hand, beside the estimators of equal chances, and refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from models.inference.estimators import estimate
from models.inference.survey import Survey

HALVES = {"rich": 500.0, "poor": 500.0}


def survey(y, weight, *, stratum=None, cluster=None, selection="probability", **auxiliaries) -> Survey:
    y = np.array(y, float)
    return Survey(
        y, np.full(len(y), 2), {name: np.array(values, float) for name, values in auxiliaries.items()}, cluster=cluster,
        stratum=None if stratum is None else np.array(stratum), selection=selection,
        weight=None if weight is None else np.array(weight, float),
    )  # fmt: skip


def two_strata(**auxiliaries) -> Survey:
    """Two strata of 500 ha, four plots in the rich and two in the poor one: 200 and 20 on average, so 110 in all."""
    return survey([190, 210, 190, 210, 10, 30], [125] * 4 + [250] * 2, stratum=["rich"] * 4 + ["poor"] * 2, **auxiliaries)


def test_plots_count_by_the_area_that_they_stand_for():
    """0.5 x 200 + 0.5 x 20, where the plain mean is 140. Variances 0.25 x (400 / 3) / 4 = 25 / 3 and 0.25 x 200 / 2 = 25, with
    3 and 1 degrees of freedom."""
    found = estimate("weighted_expansion", two_strata(), stratum_area_ha=HALVES)
    assert found.mean == pytest.approx(110) and found.variance == pytest.approx(25 / 3 + 25)
    assert found.degrees_of_freedom == pytest.approx((25 / 3 + 25) ** 2 / ((25 / 3) ** 2 / 3 + 25**2 / 1))
    assert estimate("expansion", two_strata()).mean == pytest.approx(140)


def test_a_map_is_corrected_stratum_by_stratum():
    """Departures 18, 22, 18, 22 and -4, -6: 0.5 x 20 - 0.5 x 5 on a map of 100; errors 0.25 x (16 / 3) / 4, 0.25 x 2 / 2."""
    of_map = two_strata(map=[172, 188, 172, 188, 14, 36])
    found = estimate("weighted_difference", of_map, prediction="map", prediction_mean=100.0, stratum_area_ha=HALVES)
    assert found.mean == pytest.approx(107.5) and found.variance == pytest.approx(1 / 3 + 1 / 4)
    assert estimate("difference", of_map, prediction="map", prediction_mean=100.0).mean == pytest.approx(100 + 70 / 6)


def test_weights_may_differ_within_a_stratum():
    """w = 1, 1, 2 of 10, 20, 40: mean 27.5; shares x departures -4.375, -1.875, 6.25, whose squares x 3 / 2 are 92.58."""
    found = estimate("weighted_expansion", survey([10, 20, 40], [1, 1, 2]))
    assert found.mean == pytest.approx(27.5) and found.variance == pytest.approx(1.5 * (4.375**2 + 1.875**2 + 6.25**2))
    assert found.degrees_of_freedom == 2


def test_clusters_are_the_units():
    """Two plots of one cluster are one unit: shares x departures are -10 / 4 - 10 / 4, 10 / 4, 10 / 4, so 3 / 2 x 37.5."""
    found = estimate("weighted_expansion", survey([10, 10, 30, 30], [1, 1, 1, 1], cluster=np.array([1, 1, 2, 3])))
    assert found.mean == pytest.approx(20) and found.variance == pytest.approx(1.5 * (25 + 6.25 + 6.25))
    assert found.n["clusters"] == 3


def test_equal_weights_in_strata_give_the_textbook_s_stratified_mean():
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(20), rng.integers(1, 5, 20))
    stratum = np.where(cluster < 12, "rich", "poor")
    one = survey(rng.normal(100, 30, len(cluster)), np.where(cluster < 12, 3.0, 7.0), stratum=stratum, cluster=cluster)
    weighted = estimate("weighted_expansion", one, stratum_area_ha={"rich": 300.0, "poor": 100.0})
    textbook = estimate("stratified", one, stratum_area_ha={"rich": 300.0, "poor": 100.0})
    assert weighted.mean == pytest.approx(textbook.mean) and weighted.variance == pytest.approx(textbook.variance)
    assert weighted.degrees_of_freedom == pytest.approx(textbook.degrees_of_freedom)


def test_one_slope_for_all_strata_hits_a_target_in_a_line_with_the_map():
    """y = 30 + 2 x in the rich stratum and 5 + 2 x in the poor one: 17.5 + 2 x the mean map of 40, without error."""
    x = np.array([60.0, 75, 90, 80, 5, 10, 12])
    stratum = ["rich"] * 4 + ["poor"] * 3
    one = survey(np.where(x > 50, 30, 5) + 2 * x, [125] * 4 + [170] * 3, stratum=stratum, map=x)
    found = estimate("weighted_greg", one, auxiliaries=["map"], means={"map": 40.0}, stratum_area_ha=HALVES)
    assert found.mean == pytest.approx(97.5) and found.variance == pytest.approx(0, abs=1e-18)


def test_with_equal_weights_and_one_stratum_it_is_the_regression_estimate():
    """Its variance where the map's mean at the plots is that of the area: residual sum of squares / (n (n - 2))."""
    rng = np.random.default_rng(5)
    x = rng.normal(50, 10, 12)
    y = 3 * x + rng.normal(0, 8, 12)
    of = {"auxiliaries": ["map"], "means": {"map": float(x.mean())}}
    found = estimate("weighted_greg", survey(y, np.full(12, 2.0), map=x), **of)
    slope, start = np.polyfit(x, y, 1)
    assert found.mean == pytest.approx(start + slope * x.mean())
    assert found.variance == pytest.approx(((y - start - slope * x) ** 2).sum() / (12 * 10))
    shifted = of | {"means": {"map": 47.0}}
    assert estimate("weighted_greg", survey(y, np.full(12, 2.0), map=x), **shifted).mean == pytest.approx(start + slope * 47)


def test_strata_that_cut_clusters_take_clusters_as_units_of_the_whole():
    """Shares 1 / 4, departures -5, 5 of rich, -2, 2 of poor: clusters sum to -7 / 4, 5 / 4, 2 / 4; one degree of freedom left."""
    one = survey([90, 100, 10, 14], [1] * 4, stratum=["rich", "rich", "poor", "poor"], cluster=np.array([1, 2, 1, 3]))
    found = estimate("weighted_expansion", one, stratum_area_ha=HALVES)
    sums = np.array([-5 / 4 - 2 / 4, 5 / 4, 2 / 4])
    assert found.variance == pytest.approx(3 / 2 * (sums**2).sum()) and found.degrees_of_freedom == 1
    assert "strata cut clusters" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("weight", "stratum", "message"),
    [
        (None, None, "plots have no weights"),
        ([1, 1, np.nan, 2], None, "1 of 4 plots have no weight"),
        ([1, 1, 0, 2], None, "a plot has a weight of 0"),
        ([1, 1, 1, 2], ["rich", "rich", "rich", "poor"], "stratum 'poor' has 1 ground plots in 1 clusters"),
    ],
)
def test_weights_that_tell_nothing_are_refused(weight, stratum, message):
    with pytest.raises(ValueError, match=message):
        estimate("weighted_expansion", survey([1, 2, 3, 4], weight, stratum=stratum), stratum_area_ha=HALVES if stratum else None)


def test_weights_do_not_make_a_sample_of_plots_that_somebody_chose():
    with pytest.raises(ValueError, match="nobody knows with what chance"):
        estimate("weighted_expansion", survey([1, 2, 3], [1, 1, 1], selection="purposive"))


def test_a_map_that_is_the_same_at_all_plots_of_each_stratum_has_no_slope():
    one = two_strata(map=[5, 5, 5, 5, 1, 1])
    with pytest.raises(ValueError, match="constant at the ground plots of every stratum"):
        estimate("weighted_greg", one, auxiliaries=["map"], means={"map": 3.0}, stratum_area_ha=HALVES)
