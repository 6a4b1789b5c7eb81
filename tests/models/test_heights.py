"""Height-diameter models find planted curves, and their errors are those of the data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.heights import CURVES, Departure, HeightModel, fit_heights, select_heights

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NOURAGUES = DATA / "nouragues-agb-chm"

TRUTH = {
    "michailoff": [28.0, 9.0], "weibull": [35.0, 30.0, 0.9], "naslund": [1.5, 0.2], "loglog1": [0.9, 0.6],
    "loglog2": [0.3, 1.1, -0.08],
}  # fmt: skip


def make_pairs(model: str, *, n: int = 4000, noise: float = 0.0, between: float = 0.0, plots: int = 40, seed: int = 1):
    """Pairs along the true curve of `TRUTH`; noise and plot effects on the scale of the model."""
    rng = np.random.default_rng(seed)
    dbh, plot = rng.uniform(5, 70, n), rng.integers(0, plots, n)
    curve = CURVES[model]
    height = curve.mean(np.array(TRUTH[model]), dbh) + noise * rng.standard_normal(n)
    height = height + between * rng.standard_normal(plots)[plot]
    return dbh, np.exp(height) if curve.logarithmic else height, plot


@pytest.mark.parametrize("model", TRUTH)
def test_a_fit_without_noise_finds_the_planted_curve(model):
    dbh, height, _ = make_pairs(model, n=200)
    fitted = fit_heights(dbh, height, model=model)
    assert fitted.params == pytest.approx(TRUTH[model], rel=1e-4)
    assert fitted.height(dbh) == pytest.approx(height, rel=1e-5)


@pytest.mark.parametrize("model", TRUTH)
def test_derivatives_agree_with_differences(model):
    dbh, height, _ = make_pairs(model, noise=0.1)
    fitted = fit_heights(dbh, height, model=model)
    at, step = np.array([8.0, 20.0, 45.0]), 1e-5
    assert fitted.by_dbh(at) == pytest.approx(
        (fitted.height(at + step) - fitted.height(at - step)) / (2 * step), rel=1e-6
    )
    for k in range(len(fitted.params)):
        moved = []
        for sign in (1, -1):
            params = fitted.params.copy()
            params[k] += sign * step
            moved.append(type(fitted)(**{**fitted.__dict__, "params": params}).height(at))
        assert fitted.by_parameter(at)[:, k] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(("model", "noise", "between"), [("michailoff", 3.0, 2.0), ("loglog2", 0.15, 0.10)])
def test_the_spread_splits_into_trees_and_plots(model, noise, between):
    dbh, height, plot = make_pairs(model, noise=noise, between=between)
    fitted = fit_heights(dbh, height, model=model, plots=plot)
    assert fitted.residual_sd == pytest.approx(noise, rel=0.03)
    # 40 plots: the standard error of their spread is 1 / sqrt(2 x 39) = 11 %
    assert fitted.between_sd == pytest.approx(between, rel=0.3)


def test_a_plots_own_trees_move_its_curve_as_far_as_they_can_be_trusted():
    """Between SD 2 m, within 3 m, 3 trees: trust 3 x 4 / (3 x 4 + 9) = 0.57, remaining SD 2 x sqrt(0.43) = 1.31 m."""
    missed, stated, common = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        plot, dbh = np.repeat(np.arange(60), 3), rng.uniform(8, 50, 180)
        effect = 2.0 * rng.standard_normal(60)
        truth = CURVES["michailoff"].mean(np.array(TRUTH["michailoff"]), dbh) + effect[plot]
        fitted = fit_heights(dbh, truth + 3.0 * rng.standard_normal(180), model="michailoff", plots=plot)
        missed.extend(fitted.height(dbh, plot) - truth)
        common.extend(fitted.height(dbh) - truth)
        stated.append(fitted.between_sd_m(dbh, plot).mean())
    assert np.mean(stated) == pytest.approx(1.31, rel=0.1)
    assert np.std(missed) == pytest.approx(np.mean(stated), rel=0.1)
    assert np.std(common) == pytest.approx(2.0, rel=0.1)


def test_a_plot_without_measured_heights_takes_the_common_curve():
    dbh, height, plot = make_pairs("michailoff", n=400, noise=1.0, between=2.0)
    fitted = fit_heights(dbh, height, model="michailoff", plots=plot)
    at = np.array([10.0, 40.0])
    assert fitted.height(at, np.array(["elsewhere", "elsewhere"])) == pytest.approx(fitted.height(at))
    assert fitted.between_sd_m(at, np.array(["elsewhere"] * 2)) == pytest.approx(fitted.between_sd)


def test_parameter_errors_are_those_of_curves_whose_plots_share_errors():
    """Over seeds, the fitted heights of thin, middling and thick trees scatter as the covariance says (400 seeds know a standard
    deviation to 3.5 %). A design effect for all parameters alike said up to 1.7 times too much of thin and thick trees."""
    at, fitted_heights, said = np.array([12.0, 20.0, 35.0]), [], []
    for seed in range(400):
        dbh, height, plot = make_pairs("michailoff", n=600, noise=3.0, between=2.0, plots=20, seed=seed)
        fitted = fit_heights(dbh, height, model="michailoff", plots=plot)
        slopes = fitted.curve.by_parameter(fitted.params, at)
        fitted_heights.append(fitted.curve.mean(fitted.params, at))
        said.append(np.diag(slopes @ fitted.covariance @ slopes.T))
    assert np.sqrt(np.mean(said, axis=0)) == pytest.approx(np.std(fitted_heights, axis=0), rel=0.11)


def test_a_logarithmic_fit_gives_mean_heights_not_medians():
    dbh, height, _ = make_pairs("loglog2", n=50_000, noise=0.25)
    fitted = fit_heights(dbh, height, model="loglog2")
    assert fitted.height(dbh).mean() == pytest.approx(height.mean(), rel=0.005)


def test_weights_by_height_raise_the_curve_and_weights_by_diameter_do_not():
    """With weights D^2 H the log of height is too high by its variance, 0.0625, at every diameter."""
    dbh, height, _ = make_pairs("loglog2", n=50_000, noise=0.25)
    at = np.array([10.0, 30.0, 60.0])
    plain = fit_heights(dbh, height, model="loglog2").height(at)
    by_diameter = fit_heights(dbh, height, model="loglog2", weights=dbh**2).height(at)
    by_height = fit_heights(dbh, height, model="loglog2", weights=dbh**2 * height).height(at)
    assert by_diameter == pytest.approx(plain, rel=0.01)
    assert by_height / plain == pytest.approx(np.exp(0.0625), rel=0.015)


def test_pairs_with_a_missing_part_do_not_count():
    dbh, height, _ = make_pairs("michailoff", n=200, noise=1.0)
    height[::2] = np.nan
    assert fit_heights(dbh, height, model="michailoff").pairs == 100


@pytest.mark.parametrize(
    ("dbh", "height", "model", "sentence"),
    [
        (np.arange(5.0, 11), np.arange(5.0, 11), "michailoff", "at least 10 trees with dbh and height, got 6"),
        (np.full(20, 10.0), np.full(20, 9.0), "michailoff", "does not follow the 20 measured heights"),
        (np.arange(5.0, 30), np.arange(5.0, 30), "gompertz", "height model 'gompertz' is not one of michailoff"),
    ],
    ids=["few", "one_diameter", "unknown"],
)
def test_pairs_that_no_model_can_follow_are_refused(dbh, height, model, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_heights(dbh, height, model=model)


@pytest.mark.skipif(not NOURAGUES.exists(), reason="data set nouragues-agb-chm is absent")
def test_weibull_predicts_the_heights_of_nouragues_best():
    """Ten random folds, all models; the two plots in turn, the three models that config/nouragues.yaml chose from.

    With one plot to learn from and one to predict, the straight log-log line does better still.
    """
    pairs = pd.read_csv(NOURAGUES / "NouraguesHD.csv").dropna(subset=["H"])
    dbh, height = pairs["D"].to_numpy(), pairs["H"].to_numpy()
    folds = {
        "tenths": np.random.default_rng(0).integers(0, 10, len(pairs)),
        "plots": pairs["plotId"].to_numpy(),
    }
    offered = {"tenths": tuple(CURVES), "plots": ("michailoff", "loglog2", "weibull")}
    for name, fold in folds.items():
        error = {}
        for model in offered[name]:
            missed = [
                fit_heights(dbh[fold != k], height[fold != k], model=model).height(dbh[fold == k]) - height[fold == k]
                for k in np.unique(fold)
            ]
            error[model] = np.sqrt(np.mean(np.concatenate(missed) ** 2))
        assert min(error, key=error.get) == "weibull"


def test_every_height_model_has_a_planted_truth():
    assert set(TRUTH) == set(CURVES)


@pytest.mark.parametrize("model", ["michailoff", "naslund", "loglog1"])
def test_the_model_that_made_the_heights_has_the_lowest_left_out_error(model):
    """Forms with a third parameter can follow a two-parameter truth, so the truth must be within 1 % of the best."""
    dbh, height, plot = make_pairs(model, n=3000, noise=0.02 if CURVES[model].logarithmic else 0.5)
    found = select_heights(dbh, height, plots=plot)
    assert found.by == "plots"
    assert found.rmse_m[model] < 1.01 * found.rmse_m[found.best]
    assert found.rmse_m[found.best] < 0.9 * max(found.rmse_m.values())


def test_few_plots_are_cross_validated_by_trees_and_few_pairs_are_refused():
    dbh, height, plot = make_pairs("michailoff", n=60, noise=1.0, plots=3)
    assert select_heights(dbh, height, plots=plot).by == "trees"
    with pytest.raises(ValueError, match="a height model needs at least 10 trees with dbh and height, got 8"):
        select_heights(dbh[:8], height[:8])


@pytest.mark.skipif(not NOURAGUES.exists(), reason="data set nouragues-agb-chm is absent")
def test_cross_validation_chooses_for_nouragues_what_its_study_names():
    """config/nouragues.yaml names the Weibull curve for its lowest cross-validated error."""
    pairs = pd.read_csv(NOURAGUES / "NouraguesHD.csv")
    found = select_heights(pairs["D"].to_numpy(), pairs["H"].to_numpy())
    assert found.rmse_m["weibull"] < 1.005 * found.rmse_m[found.best]


@pytest.mark.parametrize("name", ["michailoff", "loglog1"])
def test_no_modelled_height_lies_below_breast_height(name):
    """A plot 6 m below the common curve would put its thinnest trees under the ground."""
    params = np.array([22.0, 8.0]) if name == "michailoff" else np.array([0.4, 0.7])
    low = Departure(-6.0 if name == "michailoff" else -1.5, 0.5, np.zeros(2))
    model = HeightModel(name, params, np.eye(2) * 0.01, 0.3, 0.4, 50, (5.0, 40.0), {"short": low})
    dbh, where = np.array([1.0, 2.0, 30.0, np.nan]), np.full(4, "short")
    height = model.height(dbh, where)
    assert height[:2].tolist() == [1.3, 1.3] and height[2] > 1.3 and np.isnan(height[3])
    assert (model.by_dbh(dbh, where)[:2] == 0).all() and (model.by_parameter(dbh, where)[:2] == 0).all()
    assert model.by_dbh(dbh, where)[2] > 0


@pytest.mark.parametrize("name", ["michailoff", "loglog1"])
@pytest.mark.parametrize("dbh_cm", [1.0, 3.0, 20.0])
def test_errors_around_the_height_of_a_thin_stem_stay_above_the_breast_and_keep_its_mean(name, dbh_cm):
    params = np.array([20.0, 9.0]) if name == "michailoff" else np.array([0.35, 0.7])
    model = HeightModel(
        name=name, params=params, covariance=np.zeros((2, 2)), residual_sd=1.2 if name == "michailoff" else 0.25,
        between_sd=0.0, pairs=100, dbh_range_cm=(1.0, 40.0),
    )  # fmt: skip
    dbh = np.array([dbh_cm])
    share, spread = (found[0] for found in model.above_breast_height(np.array([model.residual_sd]), dbh))
    draws = np.random.default_rng(6).normal(0, model.residual_sd, 1_000_000)
    scale = model.curve.mean(params, dbh) + draws
    drawn = 1.3 + share * np.maximum((np.exp(scale) if model.curve.logarithmic else scale) - 1.3, 0)
    # a million draws know a mean to a thousandth of the spread, and the spread to 0.1 %
    assert drawn.mean() == pytest.approx(model.height(dbh)[0], abs=4e-3 * spread + 1e-9)
    assert drawn.std() == pytest.approx(spread, rel=0.005)
    assert (share == 1) == (dbh_cm == 20)
    assert model.residual_sd_m(dbh)[0] == spread
