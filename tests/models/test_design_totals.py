"""Estimates of an area of stands from probability plots: by hand, refused with a reason, and recommended by a fixed rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.inference.area_totals import area_estimates
from models.inference.design_totals import ENOUGH_CLUSTERS, Area, Places, design_estimates, recommended

AREA = Area("project", 100.0, 120.0, {"fir": 60.0, "pine": 40.0})


def sample(n=12, *, selection="probability", **columns) -> pd.DataFrame:
    """Single plots, fir and pine in turn: 100, 110, 120 ...; the map is 10 below each, but the first, where it is 4 below."""
    y = 100.0 + 10 * np.arange(n)
    frame = pd.DataFrame(
        {
            "plot": [f"p{k}" for k in range(n)], "cluster": [f"p{k}" for k in range(n)],
            "stratum": np.where(np.arange(n) % 2 == 0, "fir", "pine"), "y": y, "map": y - 10, "weight": np.nan,
            "selection": selection,
        }
    )  # fmt: skip
    frame.loc[0, "map"] = 96.0
    return frame.assign(**columns)


def by_name(verdicts) -> dict:
    return {one.estimator: one for one in verdicts}


def test_the_plots_alone_and_the_corrected_map_by_hand():
    found = by_name(design_estimates(sample(4), AREA))
    assert found["expansion"].estimate.mean == pytest.approx(115.0)
    assert found["expansion"].estimate.se == pytest.approx(np.std([100, 110, 120, 130], ddof=1) / 2)
    # departures 4, 10, 10, 10 of a map whose mean is 120
    assert found["difference"].estimate.mean == pytest.approx(120 + 8.5)
    assert found["difference"].estimate.se == pytest.approx(3.0 / 2)
    # fir: 100, 120 on 60 ha; pine: 110, 130 on 40 ha
    assert found["post_stratified"].estimate.mean == pytest.approx(0.6 * 110 + 0.4 * 120)


def test_shared_errors_come_on_top_of_the_design_s():
    """Every plot 3 and 4 Mg/ha off per standard deviation of two shared errors: a variance of 25 whatever the plots are."""
    found = by_name(design_estimates(sample(12, f_height=3.0, f_allometry=4.0), AREA))
    assert found["expansion"].variance_parts["allometry"] == pytest.approx(25.0)
    assert found["expansion"].variance_parts["residual"] == pytest.approx(found["expansion"].estimate.variance)
    assert set(found["greg"].variance_parts) == {"allometry", "parameters", "residual", "area_effect"}


def test_purposive_plots_are_refused_by_every_estimator_with_the_reason():
    verdicts = design_estimates(sample(selection="purposive"), AREA)
    names = {"expansion", "stratified", "post_stratified", "ratio", "difference", "greg"}
    assert {one.estimator for one in verdicts} == names
    assert all(one.estimate is None and "nobody knows with what chance" in one.refusal for one in verdicts)
    assert recommended(verdicts)[0] == "model_based"


def test_plots_that_nobody_drew_are_left_aside_where_others_were_drawn():
    mixed = sample(12)
    mixed.loc[10:, "selection"] = "purposive"
    found = by_name(design_estimates(mixed, AREA))
    assert found["expansion"].estimate.n["plots"] == 10
    assert found["expansion"].estimate.mean == pytest.approx(145.0)
    said = "2 plots that somebody chose (purposive) lie beside those that chance chose and do not count"
    assert all(said in " ".join(one.estimate.notes) if one.estimate else said in one.refusal for one in found.values())
    mixed.loc[:10, "selection"] = "probability"
    one = "1 plot that somebody chose (purposive) lies beside those that chance chose and does not count"
    assert one in " ".join(by_name(design_estimates(mixed, AREA))["expansion"].estimate.notes)
    mixed.loc[10, "selection"] = "purposive"
    of_fir = by_name(area_estimates(mixed, [Area("fir", 60.0, 90.0)])["fir"])
    assert said in " ".join(of_fir["difference"].estimate.notes)


def test_a_stratum_is_told_from_its_own_plots_and_its_own_map():
    areas = [Area("fir", 60.0, 90.0), Area("pine", 40.0, 95.0)]
    found = by_name(area_estimates(sample(12), areas)["fir"])
    # 100, 120, ... 200, of which the map is 4, 10, 10, 10, 10, 10 below
    assert found["expansion"].estimate.mean == pytest.approx(150.0)
    assert found["difference"].estimate.mean == pytest.approx(90 + 9.0)
    assert found["small"].estimate.n["plots"] == 6


def test_strata_with_one_plot_are_joined_and_it_is_said():
    frame = sample(12)
    frame.loc[3, "stratum"] = "oak"
    area = Area("project", 100.0, 120.0, {"fir": 60.0, "pine": 30.0, "oak": 10.0})
    found = by_name(design_estimates(frame, area))["post_stratified"].estimate
    assert found.n["strata"] == 2 and "joined: oak + pine" in " ".join(found.notes)


def test_plots_with_unequal_chances_are_refused_but_by_strata_that_are_alike_inside():
    frame = sample(12)
    frame["weight"] = np.where(frame["stratum"] == "fir", 1.0, 2.0)
    found = by_name(design_estimates(frame, AREA))
    assert found["stratified"].estimate is not None
    assert "weights run from 1 to 2" in found["expansion"].refusal and found["difference"].estimate is None
    assert "weighted_difference" in found["difference"].refusal


def test_plots_with_unequal_chances_are_told_by_their_weights_and_that_is_reported():
    """Departures of the map are 4 and five times 10 in fir (60 ha), 10 in pine (40 ha): 0.6 x 9 + 0.4 x 10 on a map of 120."""
    frame = sample(12)
    frame["weight"] = np.where(frame["stratum"] == "fir", 1.0, 2.0)
    verdicts = design_estimates(frame, AREA)
    one = by_name(verdicts)["weighted_difference"].estimate
    assert one.mean == pytest.approx(120 + 0.6 * 9 + 0.4 * 10) and one.variance == pytest.approx(0.36 * 6 / 6)
    assert by_name(verdicts)["weighted_expansion"].estimate.mean == pytest.approx(0.6 * 150 + 0.4 * 160)
    name, why = recommended(verdicts)
    assert name == "weighted_difference" and "12 clusters, each plot by the area that it stands for" in why
    assert "weighted_difference" not in by_name(design_estimates(sample(12), AREA))
    off_the_map = Area("project", 100.0, np.nan, AREA.stratum_area_ha)
    assert recommended(design_estimates(frame, off_the_map), model_based=False)[0] == "weighted_expansion"


def test_a_sample_drawn_by_strata_without_weights_is_told_that_they_are_missing():
    """48 and 12 plots on equal areas: chi-squared 2 x 18^2 / 30 = 21.6, by chance 3 in a million times. 36 and 24: 2.4."""
    area, n = Area("project", 1000.0, 100.0, {"rich": 500.0, "poor": 500.0}), 60
    frame = sample(n).assign(stratum=np.where(np.arange(n) < 48, "rich", "poor"))
    said = "stratum rich has 1.6 times the clusters that its area would get by equal chances, stratum poor 0.4 times"
    assert all(said in " ".join(one.estimate.notes) for one in design_estimates(frame, area))
    frame["stratum"] = np.where(np.arange(n) < 36, "rich", "poor")
    assert not any("equal chances" in " ".join(one.estimate.notes) for one in design_estimates(frame, area))


def test_shared_errors_of_plots_count_by_their_weights():
    """3 Mg/ha in fir, which has half the plots and a third of the weight, so 1 on average."""
    frame = sample(12)
    fir = frame["stratum"] == "fir"
    frame = frame.assign(weight=np.where(fir, 1.0, 2.0), f_height=np.where(fir, 3.0, 0.0))
    found = by_name(design_estimates(frame, AREA))
    assert found["weighted_difference"].variance_parts["allometry"] == pytest.approx(1.0)


def test_few_clusters_by_their_weights_are_too_few_as_well():
    frame = sample(8)
    frame["weight"] = np.where(frame["stratum"] == "fir", 1.0, 2.0)
    name, why = recommended(design_estimates(frame, AREA))
    assert name == "model_based" and "8 clusters of probability plots, fewer than" in why


def test_a_stratum_whose_own_plots_had_equal_chances_keeps_its_difference():
    frame = sample(12)
    frame["weight"] = np.where(frame["stratum"] == "fir", 1.0, 2.0)
    found = by_name(area_estimates(frame, [Area("fir", 60.0, 90.0)])["fir"])
    assert found["difference"].estimate.mean == pytest.approx(90 + 9.0)
    frame.loc[frame["plot"] == "p0", "weight"] = 5.0
    found = by_name(area_estimates(frame, [Area("fir", 60.0, 90.0)])["fir"])
    assert "weights run from 1 to 5" in found["difference"].refusal
    assert found["weighted_difference"].estimate.mean == pytest.approx(90 + (5 * 4 + 5 * 10) / 10)


def test_strata_with_one_cluster_are_joined_for_weights_and_it_is_said():
    frame = sample(12).assign(weight=np.where(np.arange(12) % 2 == 0, 1.0, 2.0))
    frame.loc[3, "stratum"] = "oak"
    area = Area("project", 100.0, 120.0, {"fir": 60.0, "pine": 30.0, "oak": 10.0})
    found = by_name(design_estimates(frame, area))["weighted_difference"].estimate
    assert found.n["strata"] == 2 and "fewer than two clusters are joined: oak + pine" in " ".join(found.notes)


def test_errors_of_strata_by_hand():
    """Fir 100, 120 on 60 ha, pine 110, 130 on 40 ha: s2 = 200 in both. Sampled one by one: 0.36 x 100 + 0.16 x 100; told after
    sampling: 200 / 4 + (0.4 + 0.6) x 200 / 16."""
    found = by_name(design_estimates(sample(4), AREA))
    assert found["stratified"].estimate.variance == pytest.approx(52)
    assert found["stratified"].estimate.degrees_of_freedom == pytest.approx(52**2 / (36**2 + 16**2))
    assert found["post_stratified"].estimate.variance == pytest.approx(62.5)
    assert found["post_stratified"].estimate.degrees_of_freedom == 2


def test_the_error_of_a_small_area_by_hand():
    """Six pairs of one fir and one pine plot, 6 above and below the map in turn: the line through all is the map itself.

    Fir departs by 6 four times, by -6 twice: 2 on average, s2 = 192 / 5, so 6.4; at the plots' own mean map g-weights are 1, so
    the line adds 12 x 36 / 144 = 3.
    """
    sign = np.array([1, 1, 1, 1, -1, -1])
    frame = sample(12).assign(map=np.repeat(100.0 + 10 * np.arange(6), 2))
    frame["y"] = frame["map"] + 6 * np.stack([sign, -sign], axis=1).ravel()
    found = by_name(area_estimates(frame, [Area("fir", 60.0, 125.0)])["fir"])["small"].estimate
    assert found.mean == pytest.approx(127) and found.variance_parts["area_residual"] == pytest.approx(6.4)
    assert found.other_variances["g_weight"] == pytest.approx(9.4)


def test_as_many_strata_as_clusters_tell_no_error():
    frame = sample(4).assign(cluster=["a", "a", "b", "b"])
    found = by_name(design_estimates(frame, AREA))["post_stratified"]
    assert found.estimate is None and "2 clusters in 2 strata tell no error" in found.refusal


def test_plots_off_the_map_do_not_count_for_the_difference_and_are_counted():
    frame = sample(12)
    frame.loc[:2, "map"] = np.nan
    one = by_name(design_estimates(frame, AREA))["difference"].estimate
    assert one.n["plots"] == 9 and "3 of 12 plots lie where the map says nothing" in " ".join(one.notes)
    frame["map"] = np.nan
    assert "no map at the plots" in by_name(design_estimates(frame, AREA))["difference"].refusal


def test_points_of_a_first_phase_give_a_two_phase_estimate():
    """Departures and map are in a line, so the regression hits the mean map of all points: 95 + 10 or so."""
    frame = sample(12)
    frame["map"] = frame["y"] - 10
    extra = sample(40).assign(y=np.nan, map=95.0, plot=[f"q{k}" for k in range(40)], cluster=[f"q{k}" for k in range(40)])
    found = by_name(design_estimates(pd.concat([frame, extra], ignore_index=True), AREA))
    mean_map = (frame["map"].sum() + 40 * 95.0) / 52
    assert found["two_phase"].estimate.mean == pytest.approx(mean_map + 10)
    assert found["expansion"].estimate.n["plots"] == 12


@pytest.mark.parametrize(("clusters", "expected"), [(ENOUGH_CLUSTERS - 1, "model_based"), (ENOUGH_CLUSTERS, "difference")])
def test_the_estimate_to_report_depends_on_the_number_of_clusters_and_on_no_error(clusters, expected):
    chosen, why = recommended(design_estimates(sample(clusters), AREA))
    assert chosen == expected and str(clusters) in why


def test_an_area_without_plots_says_so():
    verdicts = area_estimates(sample(12), [Area("oak", 5.0, 100.0)])["oak"]
    found = by_name(verdicts)
    assert {name for name, one in found.items() if one.estimate is not None} == {"synthetic"}
    for name in ("expansion", "difference", "small", "extended_synthetic"):
        assert "there is no ground plot in" in found[name].refusal


def test_the_ratio_to_the_map_and_of_uneven_plots_by_hand():
    frame = sample(4).assign(plot_ha=[0.04, 0.04, 0.04, 0.02])
    found = by_name(design_estimates(frame, AREA))
    # sum of plots 460, of the map 96 + 100 + 110 + 120 = 426, mean of the map 120
    assert found["ratio"].estimate.mean == pytest.approx(120 * 460 / 426)
    # held: 4, 4.4, 4.8, 2.6 Mg on 0.14 ha
    assert found["ratio_of_areas"].estimate.mean == pytest.approx(15.8 / 0.14)
    away = np.array([4.0, 4.4, 4.8, 2.6]) - 15.8 / 0.14 * np.array([0.04, 0.04, 0.04, 0.02])
    assert found["ratio_of_areas"].estimate.variance == pytest.approx((away**2).sum() / 3 / 4 / 0.035**2)
    assert "ratio_of_areas" not in by_name(design_estimates(frame.assign(plot_ha=0.04), AREA))


def test_the_ratio_of_a_change_to_a_map_that_lost_is_refused():
    frame = sample(12)
    frame[["y", "map"]] -= 200.0
    assert "a ratio needs an auxiliary above zero" in by_name(design_estimates(frame, AREA))["ratio"].refusal


def test_points_of_a_first_phase_where_the_map_says_nothing_are_no_sample():
    frame = sample(12)
    extra = sample(40).assign(y=np.nan, plot=[f"q{k}" for k in range(40)], cluster=[f"q{k}" for k in range(40)])
    extra.loc[:3, "map"] = np.nan
    found = by_name(design_estimates(pd.concat([frame, extra], ignore_index=True), AREA))
    assert "4 of 52 points of phases 1 and 2 lie where the map says nothing" in found["two_phase"].refusal
    extra.loc[:2, "map"] = 100.0
    found = by_name(design_estimates(pd.concat([frame, extra], ignore_index=True), AREA))
    assert "1 of 52 points lie where" in " ".join(found["two_phase"].estimate.notes)


def test_greg_tells_its_error_by_every_formula_with_what_all_plots_share_in_it():
    found = by_name(design_estimates(sample(12, f_height=3.0), AREA))
    others = found["greg"].other_errors
    assert found["greg"].estimate.formula == "cr2" and set(others) == {"g_weight", "external"}
    # external: residuals of a line through 12 plots, as if the line had been known
    one = sample(12)
    residual = one["y"] - np.polyval(np.polyfit(one["map"], one["y"], 1), one["map"])
    assert others["external"] == pytest.approx(np.sqrt(residual.var(ddof=1) / 12 + 9.0))
    assert others["g_weight"] < np.sqrt(found["greg"].estimate.variance + 9.0)
    assert found["difference"].other_errors == {} and by_name(design_estimates(sample(3), AREA))["greg"].other_errors == {}


def two_strips() -> tuple[pd.DataFrame, Places]:
    """Strip a of three pixels (lidar 100, 110, 120), b of one (150); satellites say 90 less 10 in a, 140 in b, 100 elsewhere."""
    plots = sample(4).assign(strip=["a", "a", "b", None], fine=[100.0, 110, 150, np.nan], wide=[90.0, 95, 140, 100])
    pixels = pd.DataFrame(
        {"fine": [100.0, 110, 120, 150, *[np.nan] * 6], "wide": [80.0, 90, 100, 140, *[100.0] * 6],
         "strip": ["a", "a", "a", "b", *[None] * 6]}
    )  # fmt: skip
    return plots, Places(pixels, True, True)


def test_two_strips_with_satellites_between_by_hand():
    plots, places = two_strips()
    found = by_name(design_estimates(plots, AREA, places=places))["strips"].estimate
    # satellites in the mean of ten pixels 101; lidar less satellite in strips (20 x 3 + 10) / 4; plots less lidar 0, 0, -30
    assert found.mean == pytest.approx(101 + 17.5 - 10)
    # a: 3 / 2 x (20 - 17.5) + 2 / 1.5 x (0 + 10); b: 1 / 2 x (10 - 17.5) + 1 / 1.5 x (-30 + 10)
    pull = np.array([1.5 * 2.5 + 2 / 1.5 * 10, 0.5 * -7.5 + 1 / 1.5 * -20])
    assert found.variance == pytest.approx((pull**2).sum() / 2) and found.degrees_of_freedom == 1
    assert found.n == {"plots": 3, "clusters": 2, "phase_1": 4}


def test_two_strips_of_lidar_alone_by_hand():
    plots, places = two_strips()
    alone = Places(places.points.assign(wide=np.nan), True, True)
    found = by_name(design_estimates(plots.assign(wide=np.nan), AREA, places=alone))
    assert found["strips"].estimate.mean == pytest.approx((100 + 110 + 120 + 150) / 4 - 10)
    assert "three_phase" not in found  # two phases are all there is
    one = Places(places.points[places.points["strip"] != "b"], True, True)
    assert "at least 2 are needed" in by_name(design_estimates(plots[:2], AREA, places=one))["strips"].refusal


def test_no_estimate_is_told_to_be_unbiased_where_plots_of_chance_are_left_out():
    frame = sample(12)
    frame["weight"] = np.where(frame["stratum"] == "fir", 1.0, 2.0)
    verdicts, lost = design_estimates(frame, AREA), "7 of 19 plots that chance chose here are left out (7 over the edge)"
    assert recommended(verdicts)[1].endswith("no bias by design")
    name, why = recommended(verdicts, left_out=lost)
    assert name == "weighted_difference" and "no bias by design" not in why
    assert why.endswith(f"; {lost}: without bias only as far as they are like the others")
    assert lost in recommended(verdicts, model_based=False, left_out=lost)[1]
