"""Scores of plots that a model has not seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from models.inference.fitted import fit_target, predict_left_out, rows_of
from models.validation import SCHEMES, bias_by_prediction, calibration_slope, crps, interval_scores, splits
from tests.conftest import make_plots


def test_crps_is_the_integral_of_the_squared_distance_of_distributions():
    for observed, mean, sd in ((10.0, 10.0, 2.0), (14.0, 10.0, 2.0), (-3.0, 1.0, 0.5)):
        by_hand = quad(
            lambda x, o=observed, m=mean, s=sd: (norm.cdf(x, m, s) - (x >= o)) ** 2, -40, 60, points=[observed], limit=200
        )[0]
        assert crps(np.array([observed]), np.array([mean]), np.array([sd]))[0] == pytest.approx(by_hand, rel=1e-5)


def test_the_slope_is_below_one_where_predictions_exaggerate():
    observed = np.array([90.0, 100, 110])
    assert calibration_slope(observed, np.array([80.0, 100, 120])) == pytest.approx(0.5)
    assert np.isnan(calibration_slope(observed, np.full(3, 100.0)))


def test_coverage_counts_plots_inside_their_own_interval():
    found = interval_scores(
        np.array([0.0, 1.6, -1.7, 3.0]), np.zeros(4), np.array([1.0, 1, 1, 2]), degrees_of_freedom=1e9, confidence_percent=90
    )
    assert found["coverage_percent"] == 75  # 1.645 SD: 1.6 is inside, 1.7 is not, 3 of 3.29 is
    assert found["width"] == pytest.approx(2 * 1.6449 * 1.25, rel=1e-4)


def test_saturation_shows_as_bias_of_the_highest():
    observed = np.linspace(0, 300, 200)
    tenths = bias_by_prediction(observed, np.minimum(observed, 200) + 1e-6 * observed)
    assert len(tenths) == 10 and sum(one["n"] for one in tenths) == 200
    assert tenths[0]["bias"] == pytest.approx(0, abs=0.1) and tenths[-1]["bias"] < -60
    assert len(bias_by_prediction(observed[:50], observed[:50])) == 3


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
        clusters = rows["cluster"].nunique()
        shares.append(
            interval_scores(
                *(found[name].to_numpy() for name in ("observed", "predicted", "sd")),
                degrees_of_freedom=clusters - 2, confidence_percent=90,
            )["coverage_percent"]
        )  # fmt: skip
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert error < 0.75 and abs(np.mean(shares) - 90) < 2.2, (np.mean(shares), error)


def test_a_rest_that_cannot_be_fitted_leaves_its_plots_missing(clustered):
    plots, model, _ = clustered
    rows = rows_of(plots, model.sets[0], "agb_mg_ha")
    few = np.flatnonzero(rows["cluster"].isin(rows["cluster"].unique()[:3]))
    found = predict_left_out(rows, model, model.sets[0], "agb_mg_ha", [(np.array([0]), few)])
    assert found["predicted"].isna().all() and found["fold"].tolist()[0] == 0
