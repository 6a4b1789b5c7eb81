"""Models of one target and the covariance they share: closed forms, hand arithmetic, and sentences."""

from __future__ import annotations

import json
import logging
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import make_plots, make_target_model

from models.inference.fitted import fit_target
from models.inference.target_model import TargetModel
from models.regressors import REGRESSORS, Linear

LIDAR = {"lidar": ("zmean",)}
BOTH = {"lidar": ("zmean", "cover_2m"), "satellite": ("s2_ndmi",)}


@pytest.fixture
def ordinary(monkeypatch):
    """Ordinary least squares: no ridge, so that textbook formulas hold to the last digit."""
    monkeypatch.setitem(REGRESSORS, "linear", partial(Linear, ridge=0.0))


def fit(plots, sets=LIDAR, *, transform="sqrt", **options):
    return fit_target(plots, sets, target="agb", column="agb_mg_ha", transform=transform, **options)


def centred_columns(plots):
    z = plots["zmean"].to_numpy()
    return np.column_stack([np.ones(len(z)), (z - z.mean()) / z.std()])


def test_parameters_of_one_set_are_those_of_least_squares_on_standardised_predictors(ordinary):
    plots = make_plots(n=20)
    model, _ = fit(plots, transform="none")
    expected, *_ = np.linalg.lstsq(centred_columns(plots), plots["agb_mg_ha"].to_numpy(), rcond=None)
    assert model.sets[0].params == pytest.approx([1.0, *expected], rel=1e-6)


def test_the_covariance_is_the_closed_form_of_the_cluster_jackknife(ordinary):
    plots = make_plots(n=24, per_cluster=3)
    model, _ = fit(plots, transform="none")
    X, y = centred_columns(plots), plots["agb_mg_ha"].to_numpy()
    inverse = np.linalg.inv(X.T @ X)
    residual = y - X @ inverse @ X.T @ y
    expected = np.zeros((2, 2))
    for cluster in plots["cluster"].unique():
        rows = (plots["cluster"] == cluster).to_numpy()
        # Bell and McCaffrey: leaving a cluster out changes b by -(X'X)^-1 Xg' (I - Hgg)^-1 eg
        own = np.linalg.solve(np.eye(rows.sum()) - X[rows] @ inverse @ X[rows].T, residual[rows])
        change = inverse @ X[rows].T @ own
        expected += np.outer(change, change) * 7 / 8
    assert (model.influence.T @ model.influence)[1:, 1:] == pytest.approx(expected, rel=1e-5)
    assert model.degrees_of_freedom == 7


def test_plots_predicted_without_their_cluster_are_those_of_the_closed_form(ordinary):
    plots = make_plots(n=12)
    _, left_out = fit(plots, transform="none")
    X, y = centred_columns(plots), plots["agb_mg_ha"].to_numpy()
    hat = X @ np.linalg.inv(X.T @ X) @ X.T
    expected = y - (y - hat @ y) / (1 - np.diag(hat))
    assert left_out["predicted"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert left_out["observed"].tolist() == y.tolist()
    assert list(left_out.columns) == ["plot", "cluster", "year", "set_name", "observed", "predicted", "position_curvature"]
    assert (left_out["position_curvature"] == 0).all()  # these plots stand where they are said to


def test_copies_of_plots_within_their_clusters_do_not_narrow_the_error():
    plots = make_plots(n=20)
    tenfold = pd.concat([plots.assign(plot=plots["plot"] + f"_{k}", x=plots["x"] + k) for k in range(10)])
    once, _ = fit(plots)
    often, _ = fit(tenfold.reset_index(drop=True))
    gradient = np.array([1.0, 0.3, 2.0])
    assert ((often.influence @ gradient) ** 2).sum() == pytest.approx(((once.influence @ gradient) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_an_error_of_five_percent_that_all_plots_share_is_five_percent_of_every_prediction(transform):
    plots = make_plots(n=30)
    plots["f_allometry"] = 0.05 * plots["agb_mg_ha"]
    model, _ = fit(plots, transform=transform)
    found = model.predict({"zmean": np.array([8.0, 15.0, 22.0])}, 2019)
    assert found["gradient"] @ model.shared[0] == pytest.approx(0.05 * found["mean"], rel=2e-3)


def test_a_row_s_influence_is_the_change_of_the_parameters_when_its_target_moves(ordinary):
    plots = make_plots(n=15)
    model, _ = fit(plots, transform="none")
    sample = model.sets[0].sample
    moved = plots.copy()
    moved.loc[4, "agb_mg_ha"] += sample.sd[4]
    other, _ = fit(moved, transform="none")
    assert sample.influence[4] == pytest.approx(other.sets[0].params - model.sets[0].params, rel=1e-6, abs=1e-9)


def test_the_order_of_the_plots_changes_nothing_but_rounding():
    plots = make_plots(n=24, per_cluster=2, years=(2019, 2024))
    plots["f_allometry"] = 0.05 * plots["agb_mg_ha"]
    model, _ = fit(plots)
    mixed, _ = fit(plots.sample(frac=1, random_state=3).reset_index(drop=True))
    assert mixed.sets[0].params == pytest.approx(model.sets[0].params, rel=1e-9)
    assert mixed.influence.T @ mixed.influence == pytest.approx(model.influence.T @ model.influence, rel=1e-6, abs=1e-12)
    assert mixed.shared == pytest.approx(model.shared, rel=1e-6)
    assert mixed.sets[0].residuals.level.range_m == pytest.approx(model.sets[0].residuals.level.range_m, rel=1e-4)


def test_the_model_survives_its_json():
    model, _ = fit(make_plots(n=24, years=(2019, 2024), f_allometry=3.0))
    again = TargetModel.from_plain(json.loads(json.dumps(model.to_plain())))
    pixels = {"zmean": np.array([5.0, 12.0, np.nan])}
    for name, values in model.predict(pixels, 2024).items():
        np.testing.assert_array_equal(again.predict(pixels, 2024)[name], values)
    np.testing.assert_array_equal(again.factors, model.factors)
    assert again.sets[0].residuals == model.sets[0].residuals
    assert json.dumps(again.to_plain()) == json.dumps(model.to_plain())


def test_a_model_without_shared_errors_survives_its_json_too():
    model, _ = fit(make_plots(n=12))
    again = TargetModel.from_plain(json.loads(json.dumps(model.to_plain())))
    assert again.shared.shape == (0, 3) and again.factors.shape == (12, 3)


def test_each_place_is_served_by_the_first_set_that_is_complete_there():
    plots = make_plots(n=30)
    plots["s2_ndmi"] = 0.02 * plots["zmean"]
    model, _ = fit(plots, BOTH)
    found = model.predict(
        {
            "zmean": np.array([10.0, np.nan, 10.0, np.nan]),
            "cover_2m": np.array([50.0, 50.0, np.nan, np.nan]),
            "s2_ndmi": np.array([0.2, 0.2, 0.2, np.nan]),
        },
        2019,
    )
    assert found["set_number"].tolist() == [0, 1, 1, -1]
    assert np.isnan(found["mean"]).tolist() == [False, False, False, True]
    lidar, satellite = model.slices()
    assert not found["gradient"][0, satellite].any() and not found["gradient"][1, lidar].any()
    assert not found["gradient"][3].any() and not found["in_domain"][3]


def test_a_pixel_beyond_what_the_plots_covered_is_predicted_but_outside_the_domain():
    model = make_target_model(domain=(0.0, 20.0))
    found = model.predict({"zmean": np.array([10.0, 25.0, -0.1])}, 2019)
    assert found["mean"] == pytest.approx([150.0, 300.0, 49.0])
    assert found["in_domain"].tolist() == [True, False, False]


def test_plots_that_grew_alike_give_each_date_its_own_level(ordinary):
    plots = make_plots(n=40, years=(2019, 2024), noise=0.5)
    plots.loc[plots["year"] == 2024, "agb_mg_ha"] += 30
    model, _ = fit(plots, transform="none")
    (one,) = model.sets
    assert one.dates == (2019, 2024)
    at = {"zmean": np.array([12.0])}
    gap = float((model.predict(at, 2024)["mean"] - model.predict(at, 2019)["mean"])[0])
    assert gap == pytest.approx(30, abs=8)


def test_dates_are_pooled_only_where_asked_or_where_a_test_finds_no_difference():
    plots = make_plots(n=40, years=(2019, 2024), noise=20)
    shifted = plots.assign(agb_mg_ha=plots["agb_mg_ha"] + 60 * (plots["year"] == 2024))
    never, _ = fit(shifted, date_effect="never")
    auto, _ = fit(shifted, date_effect="auto")
    pooled = fit(plots, date_effect="auto")[0]
    assert never.sets[0].dates == (2019,) and auto.sets[0].dates == (2019, 2024)
    assert pooled.sets[0].dates == (2019,)
    assert "predictor set lidar: dates are pooled, no date effect was found (tested)" in pooled.warnings
    assert len(pooled.sets[0].params) == 3 and pooled.sets[0].sample.influence.shape == (80, 3)


def test_residuals_that_persist_make_the_error_of_change_smaller_than_that_of_two_dates():
    rng = np.random.default_rng(11)
    plots = make_plots(n=60, years=(2019, 2024), noise=0.0)
    lasting = np.tile(rng.normal(0, 30, 60), 2)
    plots["agb_mg_ha"] += 60 + lasting + rng.normal(0, 6, 120)  # no stock below zero
    residuals = fit(plots)[0].sets[0].residuals
    assert residuals.between_dates > 0.8
    s = np.array([30.0])
    # two independent dates would have 30 x sqrt(2) = 42; what does not last has 6 x sqrt(2) = 8.5
    assert 5 < residuals.change_sd(s, s)[0] < 20


def test_plots_of_one_cluster_and_stratum_are_one_patch():
    plots = make_plots(n=12, per_cluster=2, stratum=["pine", "oak"] * 6)
    assert fit(plots)[0].sets[0].sample.patch[:3].tolist() == ["c000 pine", "c000 oak", "c001 pine"]


def test_pairs_are_the_plots_of_both_years_in_the_same_order():
    plots = make_plots(n=10, years=(2019, 2024)).drop(index=[2, 15]).sample(frac=1, random_state=1)
    sample = fit(plots.reset_index(drop=True))[0].sets[0].sample
    early, late = sample.pairs(2019, 2024)
    assert sample.plot[early].tolist() == sample.plot[late].tolist()
    assert set(sample.plot[early]) == {f"p{k:03d}" for k in range(10)} - {"p002", "p005"}
    assert set(sample.year[early]) == {2019} and set(sample.year[late]) == {2024}


def test_residuals_of_two_sets_count_as_one_where_too_few_plots_tell():
    plots = make_plots(n=40)
    plots["s2_ndmi"] = 0.02 * plots["zmean"] + np.random.default_rng(1).normal(0, 0.1, 40)
    shared = fit(plots, BOTH)[0].between_sets
    assert shared.tolist() == shared.T.tolist() and 0 < shared[0, 1] < 1 and shared[0, 0] == 1
    plots.loc[:19, "s2_ndmi"], plots.loc[20:, "cover_2m"] = np.nan, np.nan
    assert fit(plots, BOTH)[0].between_sets.tolist() == [[1, 1], [1, 1]]


def test_a_set_with_too_few_clusters_is_left_out_and_said_so(caplog):
    plots = make_plots(n=20)
    plots["s2_ndmi"] = np.where(np.arange(20) < 3, 0.1 * np.arange(20), np.nan)
    with caplog.at_level(logging.WARNING):
        model, _ = fit(plots, BOTH)
    assert [one.name for one in model.sets] == ["lidar"]
    sentence = "predictor set satellite is left out: 3 clusters of plots have all of s2_ndmi, at least 4 are needed"
    assert any(one.startswith(sentence) for one in model.warnings) and sentence in caplog.text


@pytest.mark.parametrize(
    ("plots", "sets", "sentence"),
    [
        (make_plots(n=3), LIDAR, "lidar: 3 clusters of plots have all of zmean, at least 4 are needed"),
        (
            make_plots(n=12, per_cluster=3).assign(a=range(12), b=[k * k % 7 for k in range(12)]),
            {"lidar": ("zmean", "a", "b")},
            "3 predictors need more than 4 clusters of plots, there are 4",
        ),
        (make_plots(n=12, zmean=7.0), LIDAR, "the predictor zmean is constant over the plots"),
    ],
    ids=["few_clusters", "few_for_the_predictors", "constant"],
)
def test_plots_that_cannot_carry_a_model_give_a_sentence_with_the_numbers(plots, sets, sentence):
    with pytest.raises(ValueError, match="no model of agb can be fitted") as error:
        fit(plots, sets)
    assert sentence in str(error.value)


def test_a_cluster_that_one_set_does_not_use_moves_only_the_other():
    plots = make_plots(n=20)
    plots["s2_ndmi"] = 0.02 * plots["zmean"]
    plots.loc[0, "cover_2m"] = np.nan
    model, _ = fit(plots, BOTH)
    lidar, satellite = model.slices()
    assert not model.influence[0, lidar].any() and model.influence[0, satellite].any()
    assert model.clusters == 19 and model.counts == {"plots": 20, "rows": 20, "clusters": 20, "fewest_plots": 19}


def test_a_model_says_where_its_plots_do_not_tell_how_far_residuals_reach():
    """Thirty plots each by itself: a stand's error is known to a factor only, and the model card says it."""
    model, _ = fit(make_plots(n=30))
    assert not model.sets[0].residuals.level.identified
    assert any("poorly identified" in sentence for sentence in model.warnings)


@pytest.mark.parametrize("none", [None, np.nan, pd.NA])
def test_plots_without_a_stratum_have_the_errors_of_plots_that_all_have_the_same(none):
    """A missing stratum once made one patch of all plots, whose variance was anything: 116 +- 123 Mg/ha for 116 +- 2."""
    plots = make_plots(n=40)
    told = [fit(plots.assign(stratum=stratum))[0].sets[0] for stratum in (none, "f")]
    assert told[0].residuals.level.readings == told[1].residuals.level.readings
    assert len(set(told[0].sample.patch)) == plots["cluster"].nunique()
