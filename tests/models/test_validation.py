"""Scores of plots that a model has not seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

from models.inference.fitted import fit_target, predict_left_out, rows_of
from models.inference.strata import PREFIX as STRATA
from models.validation import (
    LEVELS,
    SCHEMES,
    all_scores,
    by_group,
    by_prediction,
    calibration_slope,
    coverage_by_level,
    crps,
    joint_freedom,
    reach_of,
    se_of_mean,
    splits,
    spread_freedom,
)
from tests.conftest import make_plots


def test_crps_is_the_integral_of_the_squared_distance_of_distributions():
    for observed, mean, sd in ((10.0, 10.0, 2.0), (14.0, 10.0, 2.0), (-3.0, 1.0, 0.5)):
        by_hand = quad(
            lambda x, o=observed, m=mean, s=sd: (norm.cdf(x, m, s) - (x >= o)) ** 2, -40, 60, points=[observed], limit=200
        )[0]
        assert crps(np.array([observed]), np.array([mean]), np.array([sd]))[0] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("df", [2.5, 7, 40])
def test_crps_of_few_clusters_is_that_of_student_s_t(df):
    for observed, mean, sd in ((10.0, 10.0, 2.0), (14.0, 10.0, 2.0)):
        by_hand = sum(
            quad(lambda x, o=observed: (student.cdf((x - 10) / 2, df) - (x >= o)) ** 2, *ends, limit=500)[0]
            for ends in ((-np.inf, observed), (observed, np.inf))
        )
        assert crps(np.array([observed]), np.array([mean]), np.array([sd]), df)[0] == pytest.approx(by_hand, rel=1e-5)
    assert np.isnan(crps(np.array([1.0]), np.array([0.0]), np.array([1.0]), 1)).all(), "no mean, no score"


def test_the_slope_is_below_one_where_predictions_exaggerate():
    observed = np.array([90.0, 100, 110])
    assert calibration_slope(observed, np.array([80.0, 100, 120])) == pytest.approx(0.5)
    assert np.isnan(calibration_slope(observed, np.full(3, 100.0)))


def test_the_reach_of_an_interval_is_the_residual_that_so_many_of_the_plots_stay_below():
    scaled = np.array([-0.1, 0.2, -0.3, 0.4, -0.5, 0.6, -0.7, 0.8, -0.9])  # nine and the plot itself: 80 % are eight of ten
    free = np.array([4.0, 4.0])
    assert reach_of(scaled, free, 80.0).tolist() == [0.8, 0.8] and reach_of(scaled, free, 90.0).tolist() == [0.9, 0.9]
    # 95 % of ten are more than nine can tell: Student's t, whose 97.5 % point with four degrees of freedom is 2.776
    assert reach_of(scaled, free, 95.0) == pytest.approx([2.776, 2.776], abs=1e-3)


def test_degrees_of_freedom_of_a_spread_are_those_of_plots_fewer_where_a_cluster_s_plots_are_alike():
    """Normal residuals of 400 plots in clusters of four, told over and over: by themselves 400, always the same in a cluster 100.

    One estimate is off by a third (the spread of a variance over 100 clusters of skewed squares), and is cut at 397 and at 99;
    the mean of a hundred by 3 %.
    """
    rng, cluster = np.random.default_rng(3), np.arange(400) // 4
    apart = [spread_freedom(rng.normal(size=400), cluster, 3) for _ in range(100)]
    same = [spread_freedom(np.repeat(rng.normal(size=100), 4), cluster, 3) for _ in range(100)]
    assert np.mean(apart) > 320 and 99 <= np.mean(same) < 130
    far_off = np.concatenate([np.full(39, 0.5), [20.0]])
    assert spread_freedom(far_off, np.arange(40) // 4, 3) == 9, "one plot makes the spread: no fewer than the clusters less one"


def test_two_variances_known_with_4_and_100_degrees_of_freedom_are_known_with_satterthwaite_s():
    # (3 + 1)^2 / (3^2 / 100 + 1^2 / 4) = 16 / 0.34
    assert joint_freedom(np.array([3.0]), 100.0, np.array([1.0]), 4.0) == pytest.approx([16 / 0.34])
    assert joint_freedom(np.array([3.0]), 100.0, np.zeros(1), 4.0) == pytest.approx([100.0])


def test_saturation_shows_as_bias_of_the_highest():
    observed = np.linspace(0, 300, 200)
    own, predicted = np.arange(200), np.minimum(observed, 200) + 1e-6 * observed
    tenths = by_prediction(observed, predicted, np.abs(observed - predicted) < 49, own)
    assert len(tenths) == 10 and sum(one["n"] for one in tenths) == 200
    assert tenths[0]["bias"] == pytest.approx(0, abs=0.1) and tenths[-1]["bias"] < -60
    # all of the lowest are inside 49 either way, of the highest (71 to 100 above) none
    assert (tenths[0]["coverage_percent"], tenths[-1]["coverage_percent"]) == (100, 0)
    for n, parts in ((49, 3), (50, 5), (99, 5), (100, 10)):
        assert len(by_prediction(observed[:n], observed[:n], np.ones(n, bool), own[:n])) == parts


def test_a_mean_of_plots_in_clusters_is_as_sure_as_its_clusters():
    values, cluster = np.array([1.0, 3.0, 5.0, 7.0]), np.array(["a", "a", "b", "b"])
    # mean 4; sums of departures -4 and 4: sqrt(2/1 * 32) / 4 = 2; each by itself: sqrt(4/3 * 20) / 4
    assert se_of_mean(values, cluster) == pytest.approx(2.0)
    assert se_of_mean(values, np.arange(4)) == pytest.approx(values.std(ddof=1) / 2)
    assert np.isnan(se_of_mean(values, np.array(["a"] * 4)))


def test_coverage_is_told_at_every_level_and_never_as_certain():
    quantiles = np.abs(norm.ppf((np.arange(1000) + 0.5) / 1000))
    found = coverage_by_level({level: quantiles <= norm.ppf(0.5 + level / 200) for level in LEVELS}, np.arange(1000))
    assert [row["level_percent"] for row in found] == list(LEVELS)
    assert [row["coverage_percent"] for row in found] == pytest.approx(LEVELS, abs=0.2)
    assert found[0]["se_percent"] == pytest.approx(100 * np.sqrt(0.25 / 1000), rel=1e-2)
    (last,) = coverage_by_level({99: np.ones(4, bool)}, np.arange(4))
    assert last["coverage_percent"] == 100 and last["se_percent"] == pytest.approx(100 * np.sqrt(0.99 * 0.01 / 4))


def test_scores_by_stratum_are_those_of_its_own_plots_and_few_are_said_to_be_few():
    observed = np.concatenate([np.full(12, 100.0), [50.0, 70.0]])
    predicted = np.concatenate([np.full(12, 90.0), [60.0, 80.0]])
    group = np.array(["pine"] * 12 + ["oak"] * 2)
    oak, pine = by_group(observed, predicted, np.arange(14) < 12, np.arange(14), group)
    assert (pine["name"], pine["n"], pine["bias"], pine["few"]) == ("pine", 12, -10, False)
    assert (oak["name"], oak["n"], oak["clusters"], oak["few"]) == ("oak", 2, 2, True)
    assert oak["bias_percent"] == pytest.approx(100 * 10 / 60) and oak["rmse_percent"] == pytest.approx(100 * 10 / 60)
    assert (oak["coverage_percent"], pine["coverage_percent"]) == (0, 100)


def test_all_scores_hold_every_part_of_the_plots():
    rng = np.random.default_rng(1)
    predicted = rng.uniform(50, 200, 60)
    observed = predicted + np.tile([5.0, -15.0], 30)
    found = all_scores(
        observed, predicted, np.full(60, 10.0), {level: np.full(60, level / 10) for level in LEVELS},
        degrees_of_freedom=np.full(60, 19.0), confidence_percent=90,
        cluster=np.arange(60) // 3, groups={"year": np.repeat(["2019", "2024"], 30)},
    )  # fmt: skip
    assert found["bias"] == pytest.approx(np.mean([part["bias"] for part in found["by_group"]["year"]]))
    assert sum(part["n"] for part in found["by_prediction"]) == 60
    assert found["coverage_percent"] == 50 and found["width"] == 18  # 9 either way: errors of 5 are inside, of 15 are not
    assert found["error_over_sd"] == pytest.approx(np.sqrt((25 + 225) / 2) / 10)


@pytest.fixture(scope="module")
def clustered():
    plots = make_plots(n=60, years=(2019, 2024))
    model, left_out = fit_target(plots, {"lidar": ["zmean", "cover_2m"]}, target="agb", column="agb_mg_ha")
    return plots, model, left_out


def test_leaving_clusters_out_predicts_what_the_fit_itself_reports(clustered):
    """Standardised by the rest alone, the same plots come out: the regression does not feel the scale of predictors."""
    plots, model, left_out = clustered
    one = model.sets[0]
    rows = rows_of(plots, one, "agb_mg_ha")
    folds = splits("clusters", rows[["x", "y"]].to_numpy(), rows["cluster"].to_numpy(), np.zeros((1, 2)), block_m=1.0)
    found = predict_left_out(rows, model, one, "agb_mg_ha", folds)
    assert found["predicted"].to_numpy() == pytest.approx(left_out["predicted"].to_numpy(), rel=2e-3)


def test_what_a_fold_leaves_out_does_not_reach_its_own_prediction(clustered):
    plots, model, _ = clustered
    one = model.sets[0]
    rows = rows_of(plots, one, "agb_mg_ha")
    places = rows[["x", "y"]].to_numpy() + 3000
    for scheme in SCHEMES:
        folds = splits(scheme, rows[["x", "y"]].to_numpy(), rows["cluster"].to_numpy(), places, block_m=2000.0)
        test, _ = folds[0]
        changed = rows.copy()
        changed.loc[test, "agb_mg_ha"] *= 3
        before, after = (predict_left_out(part, model, one, "agb_mg_ha", folds[:1]) for part in (rows, changed))
        pd.testing.assert_frame_equal(before.loc[test, ["predicted", "sd"]], after.loc[test, ["predicted", "sd"]])


def test_intervals_of_plots_left_out_hold_about_what_they_promise():
    """60 forests of 60 plots: coverage of 90 % intervals is 90 to 2.2 (3 Monte Carlo errors of at most 0.75 each)."""
    shares = []
    for seed in range(60):
        plots = make_plots(n=60, seed=seed)
        model, _ = fit_target(plots, {"lidar": ["zmean"]}, target="agb", column="agb_mg_ha")
        rows = rows_of(plots, model.sets[0], "agb_mg_ha")
        folds = splits("clusters", rows[["x", "y"]].to_numpy(), rows["cluster"].to_numpy(), np.zeros((1, 2)), block_m=1.0)
        found = predict_left_out(rows, model, model.sets[0], "agb_mg_ha", folds)
        shares.append(100 * (np.abs(found["observed"] - found["predicted"]) <= found["half_width_90"]).mean())
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert error < 0.75 and abs(np.mean(shares) - 90) < 2.2, (np.mean(shares), error)


def test_a_rest_that_cannot_be_fitted_leaves_its_plots_missing(clustered):
    plots, model, _ = clustered
    rows = rows_of(plots, model.sets[0], "agb_mg_ha")
    few = np.flatnonzero(rows["cluster"].isin(rows["cluster"].unique()[:3]))
    found = predict_left_out(rows, model, model.sets[0], "agb_mg_ha", [(np.array([0]), few)])
    assert found["predicted"].isna().all() and found["fold"].tolist()[0] == 0


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("regressor", ["linear", "ridge"])
def test_a_predictor_that_does_not_vary_among_the_plots_that_stay_is_no_part_of_the_fold(place, regressor):
    """Cover differs at the plots of one cluster alone: without it a fold is that of a model that has no cover."""
    plots = make_plots(n=40)
    plots["cover_2m"] = np.where(plots["cluster"] == plots["cluster"].iloc[0], 60.0, 100.0)
    plots["zq95"] = plots["zmean"] * 1.4 + np.random.default_rng(3).normal(0, 1, len(plots))
    names = ["zmean", "zq95"]
    with_cover = [*names[:place], "cover_2m", *names[place:]]
    model, bare = (
        fit_target(plots, {"lidar": chosen}, target="agb", column="agb_mg_ha", regressor=regressor)[0]
        for chosen in (with_cover, names)
    )
    rows = rows_of(plots, model.sets[0], "agb_mg_ha")
    own = (rows["cluster"] == rows["cluster"].iloc[0]).to_numpy()
    folds = [(np.flatnonzero(own), np.flatnonzero(~own))]
    found, expected = (predict_left_out(rows, one, one.sets[0], "agb_mg_ha", folds) for one in (model, bare))
    assert found.loc[own, "predicted"].to_numpy() == pytest.approx(expected.loc[own, "predicted"].to_numpy(), rel=1e-9)


def test_strata_keep_their_columns_in_a_fold_without_a_predictor():
    """The columns of two strata follow a predictor that is constant in the fold: their levels are those without it."""
    plots = make_plots(n=48)
    plots["cover_2m"] = np.where(plots["cluster"] == plots["cluster"].iloc[0], 60.0, 100.0)
    pine = np.arange(len(plots)) % 2 == 0
    plots["stratum_share_pine"], plots["stratum_share_oak"] = pine * 1.0, ~pine * 1.0
    plots = plots.rename(columns=lambda name: name.replace("stratum_share_", STRATA))
    plots.loc[pine, "agb_mg_ha"] *= 1.4
    model, bare = (
        fit_target(plots, {"lidar": chosen}, target="agb", column="agb_mg_ha", regressor="linear", strata="levels")[0]
        for chosen in (["cover_2m", "zmean"], ["zmean"])
    )
    rows = rows_of(plots, model.sets[0], "agb_mg_ha")
    own = (rows["cluster"] == rows["cluster"].iloc[0]).to_numpy()
    folds = [(np.flatnonzero(own), np.flatnonzero(~own))]
    found, expected = (predict_left_out(rows, one, one.sets[0], "agb_mg_ha", folds) for one in (model, bare))
    assert len(model.sets[0].predictors) == 4, "two predictors, two strata"
    assert found.loc[own, "predicted"].to_numpy() == pytest.approx(expected.loc[own, "predicted"].to_numpy(), rel=1e-9)
