"""Regressors against scikit-learn, textbook formulas and hand arithmetic."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from conftest import make_plots
from scipy.spatial.distance import cdist
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as TheirRidge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import check_estimator

from benchmarks.regressors import our_defaults
from models.inference.fitted import fit_target, predict_left_out, rows_of
from models.inference.target_model import TargetModel
from models.regressors import REGRESSORS, Regressor, mix, regressor_named, trees
from models.regressors.base import Scale, groups
from models.regressors.boosting import HistogramBoosting
from models.regressors.estimator import ForestRegressor
from models.regressors.gaussian import GaussianProcess
from models.regressors.linear import Forward, Linear, PartialLeastSquares, Ridge, _press_with, inflation
from models.regressors.mix import Auto, Default, Mix
from models.regressors.smoothers import Neighbours
from models.regressors.trees import MOST_LEAVES, ExtraTrees, QuantileForest, RandomForest
from models.validation import fewer, scores
from pipeline.features import LIDAR_DEFAULTS

ALL = np.ones(5, bool)


def make_rows(n=80, p=5, seed=1, noise=0.5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (8 + 1.5 * X[:, 0] - X[:, 1] + rng.normal(0, noise, n)) ** 2
    return X, y, np.array([f"c{k:03d}" for k in range(n)])


# ---------------------------------------------------------------- linear on full-length coefficients


def test_ridge_with_its_penalty_is_scikit_learn_s():
    X, y, cluster = make_rows()
    machine = Ridge().learned(X, y, cluster, ALL)
    params = machine.fit(X, y, ALL)
    theirs = TheirRidge(alpha=machine.ridge * len(X)).fit(X, np.sqrt(y))
    assert params[1:] == pytest.approx([theirs.intercept_, *theirs.coef_], rel=1e-6)


def test_the_penalty_is_small_where_the_line_is_clear_and_large_where_there_is_none():
    X, y, cluster = make_rows(noise=0.05)
    clear = Ridge().learned(X, y, cluster, ALL).ridge
    nothing = np.random.default_rng(2).uniform(50, 90, len(y))
    assert Ridge().learned(X, nothing, cluster, ALL).ridge > 100 * clear


@pytest.mark.parametrize("components", [1, 2, 4])
def test_partial_least_squares_are_scikit_learn_s(components):
    X, y, _ = make_rows()
    X = X @ np.random.default_rng(3).normal(size=(5, 5))
    params = PartialLeastSquares(components=components).fit(X, y, ALL)
    theirs = PLSRegression(components, scale=False).fit(X, np.sqrt(y))
    assert params[1] + X @ params[2:] == pytest.approx(theirs.predict(X).ravel(), rel=1e-8)


def test_components_that_the_response_does_not_have_are_not_made():
    X, y, _ = make_rows()
    X = X @ np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    whole = PartialLeastSquares(components=5).fit(X, y, ALL)
    least = Linear(ridge=0.0).fit(X, y, ALL)
    assert whole[1:] == pytest.approx(least[1:], rel=1e-6)  # all components are least squares


def test_levels_of_dates_are_kept_out_of_components_and_given_back():
    X, y, _ = make_rows()
    late = np.arange(80) % 2
    root = np.sqrt(y) + 3 * late
    params = PartialLeastSquares(transform="none", components=5).fit(np.column_stack([X, late]), root, np.append(ALL, False))
    theirs = LinearRegression().fit(np.column_stack([X, late]), root)
    assert params[1:] == pytest.approx([theirs.intercept_, *theirs.coef_], rel=1e-6)


def test_press_is_the_sum_over_rows_left_out_one_by_one():
    X, y, _ = make_rows(n=25)
    taken, _ = np.linalg.qr(np.column_stack([np.ones(25), X[:, :3]]))
    press, own = _press_with(taken, np.column_stack([X[:, 3:], X[:, 0]]), y)
    for columns, found in (([0, 1, 2, 3], press[0]), ([0, 1, 2, 4], press[1]), ([0, 1, 2], press[2])):
        theirs = cross_val_predict(LinearRegression(), X[:, columns], y, cv=LeaveOneOut())
        assert found == pytest.approx(((y - theirs) ** 2).sum())
    assert not own[:, 2].any()  # a copy of what is taken brings nothing


def test_inflation_of_two_columns_is_one_over_what_their_correlation_leaves():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    b = np.array([1.0, 3.0, 2.0, 4.0])  # r = 0.8: 1 / (1 - 0.64) = 2.778
    assert inflation(np.column_stack([a, b])) == pytest.approx([25 / 9, 25 / 9])
    assert np.isinf(inflation(np.column_stack([a, b, a + b]))).all()


def test_forward_selection_takes_what_was_planted_and_no_second_copy():
    X, y, cluster = make_rows(noise=0.3)
    X[:, 4] = X[:, 0] + 0.01 * X[:, 4]  # a copy of the first: its inflation is far above 10
    machine = Forward().learned(X, y, cluster, ALL)
    assert set(machine.chosen) in ({0, 1}, {1, 4})
    params = machine.fit(X, y, ALL)
    assert [k for k in range(5) if params[2 + k] != 0] == list(machine.chosen)
    theirs = LinearRegression().fit(X[:, machine.chosen], np.sqrt(y))
    assert params[[2 + k for k in machine.chosen]] == pytest.approx(theirs.coef_, rel=1e-6)


def test_baskerville_is_half_the_residual_variance_and_says_what_it_does():
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    # logs 0, 2, 1, 3: slope 0.8, intercept 0.3; residuals -0.3, 0.9, -0.9, 0.3: 1.8 / 2 free = 0.9
    params = regressor_named("baskerville", transform="log").fit(x, np.exp([0.0, 2.0, 1.0, 3.0]), np.array([False]))
    assert params == pytest.approx([np.exp(0.45), 0.3, 0.8], rel=1e-6)
    model, _ = fit_target(
        make_plots(n=20), {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", regressor="baskerville", transform="log"
    )
    assert "assumes lognormal residuals" in model.warnings[0] and "prefer regressor linear" in model.warnings[0]
    with pytest.raises(ValueError, match="baskerville corrects logarithms: transform must be log, got 'sqrt'"):
        regressor_named("baskerville", transform="sqrt")


# ---------------------------------------------------------------- Gaussian process


def test_a_gaussian_process_with_all_plots_as_centres_is_the_textbook_s():
    """Kriging with an unknown level: Rasmussen & Williams 2006, eq. 2.41-2.42, in one dense system."""
    X, y, cluster = make_rows(n=30)
    learned = GaussianProcess(transform="none").learned(X, y, cluster, ALL)
    machine = GaussianProcess("none", length=3.0, centres=X / 3.0, noise=0.2, slope_noise=0.5)
    params = machine.fit(X, y, ALL)
    places = make_rows(n=20, seed=8)[0]
    kernel = lambda a, b: np.exp(-0.5 * cdist(a / 3.0, b / 3.0) ** 2) / 0.2 + a @ b.T / 0.5  # noqa: E731 (noise of variance 1)
    inverse = np.linalg.inv(kernel(X, X) + np.eye(30))
    ones = np.ones(30)
    level = (ones @ inverse @ y) / (ones @ inverse @ ones)
    expected = level + kernel(places, X) @ inverse @ (y - level)
    assert machine.mean(params, places) == pytest.approx(expected, rel=1e-4)
    assert len(learned.centres) <= 30 and learned.length >= np.sqrt(5)


def test_a_hundred_curved_plots_are_told_by_48_centres_as_well_as_by_all():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(150, 2))
    y = (9 + np.sin(2 * X[:, 0]) * 2 + X[:, 1] + rng.normal(0, 0.3, 150)) ** 2
    machine = GaussianProcess().learned(X, y, np.arange(150).astype(str), ALL[:2])
    assert len(machine.centres) <= 48
    whole = GaussianProcess(length=machine.length, centres=X / machine.length, noise=machine.noise,
                            slope_noise=machine.slope_noise)  # fmt: skip
    places = rng.normal(size=(50, 2))
    few, all_ = (one.mean(one.fit(X, y, ALL[:2]), places) for one in (machine, whole))
    assert np.abs(few - all_).max() < 0.1 * y.std()
    truth = (9 + np.sin(2 * places[:, 0]) * 2 + places[:, 1]) ** 2
    line = Linear().mean(Linear().fit(X, y, ALL[:2]), places)
    assert ((few - truth) ** 2).mean() < 0.7 * ((line - truth) ** 2).mean()


# ---------------------------------------------------------------- trees and neighbours


@pytest.mark.parametrize("n", [60, 1000])
def test_extra_trees_predict_what_scikit_learn_s_do(n):
    X, y, cluster = make_rows(n=n)
    machine = ExtraTrees().learned(X, y, cluster, ALL)
    order = np.lexsort((*X.T, y))
    theirs = ExtraTreesRegressor(100, min_samples_leaf=3, max_leaf_nodes=32, random_state=0).fit(X[order], y[order])
    places = np.vstack([make_rows(n=1001, seed=7)[0], X.astype("float32")])
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places), rel=1e-12)
    assert max(tree.get_n_leaves() for tree in theirs.estimators_) <= MOST_LEAVES


def test_a_random_forest_predicts_what_scikit_learn_s_does():
    X, y, cluster = make_rows(n=200)
    machine = RandomForest().learned(X, y, cluster, ALL)
    order = np.lexsort((*X.T, y))
    theirs = RandomForestRegressor(200, min_samples_leaf=3, max_leaf_nodes=32, max_features=1 / 3, random_state=0)
    places = make_rows(n=300, seed=7)[0]
    assert machine.mean(None, places) == pytest.approx(theirs.fit(X[order], y[order]).predict(places), rel=1e-12)


@pytest.mark.parametrize("n", [40, 200])
def test_boosting_predicts_what_scikit_learn_s_does(n):
    """Leaf values come from the structure of the trees alone; scikit-learn keeps residuals in single precision."""
    X, y, cluster = make_rows(n=n)
    machine = HistogramBoosting().learned(X, y, cluster, ALL)
    seen, order = X.astype("float32").astype(float), np.lexsort((*X.T, y))
    theirs = HistGradientBoostingRegressor(
        learning_rate=0.1, max_iter=machine.trees, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False
    ).fit(seen[order], y[order])
    places = np.vstack([make_rows(n=300, seed=7)[0].astype("float32").astype(float), seen])
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places), rel=1e-6)
    assert machine.trees > 5 and machine.leaf_of.max() == min(8, n // 10) - 1


def test_boosting_with_its_trees_kept_is_linear_in_the_plots():
    """Each tree moves every plot a tenth of the way to what its leaf has left: pushed through by hand, plot by plot."""
    X, y, cluster = make_rows(n=120)
    machine = HistogramBoosting().learned(X, y, cluster, ALL)
    other = make_rows(n=120, seed=9)[1]
    fitted = np.full(120, other.mean())
    for leaf in machine.leaf_of:
        left = other - fitted
        fitted = fitted + 0.1 * np.array([left[leaf == one].mean() for one in leaf])
    assert machine.weights(X) @ other == pytest.approx(fitted)
    assert machine.own_weights == pytest.approx(machine.weights(X), abs=1e-12)
    assert machine.weights(X).sum(axis=1) == pytest.approx(1.0)
    assert machine.weights(X) @ machine.basis == pytest.approx(machine.gradient(None, X), abs=1e-6)


def test_boosting_stops_early_where_there_is_nothing_to_learn():
    X, y, cluster = make_rows(n=120, noise=0.3)
    nothing = np.random.default_rng(2).uniform(50, 90, 120)
    few, many = (HistogramBoosting().learned(X, target, cluster, ALL).trees for target in (nothing, y))
    assert few <= 10 and many >= 40


def test_boosting_that_would_fall_below_zero_says_zero_and_does_not_move():
    X = np.repeat(np.arange(6.0), 20)[:, None]
    y = np.where(X[:, 0] == 2, 0.0, 5.0)
    machine = HistogramBoosting().learned(X, y, np.arange(120).astype(str), ALL[:1])
    params = machine.fit(X, y, ALL[:1])
    down = params + machine.basis.T @ np.where(X[:, 0] == 2, -1.0, 0.0)
    mean, gradient = machine.both(down, np.array([[2.0], [4.0]]))
    assert mean[0] == 0 and not gradient[0].any()
    assert mean[1] == pytest.approx(5.0, abs=0.1) and gradient[1].any()


def test_a_place_on_a_threshold_goes_where_scikit_learn_sends_it():
    X = np.repeat(np.arange(12.0), 3)[:, None]
    y = np.repeat(np.arange(12.0), 3) ** 2
    machine = RandomForest(trees=20, min_leaf=1).learned(X, y, np.arange(36).astype(str), ALL[:1])
    order = np.lexsort((*X.T, y))
    theirs = machine.grown(X[order], y[order])
    edges = np.unique(np.concatenate([tree.tree_.threshold[tree.tree_.feature >= 0] for tree in theirs.estimators_]))
    near = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), edges + 1e-7])[:, None]
    assert machine.mean(None, near) == pytest.approx(theirs.predict(near), rel=1e-12)


def test_quantiles_of_a_forest_are_those_of_its_weighted_plots():
    X, y, cluster = make_rows(n=100)
    machine = RandomForest(trees=50).learned(X, y, cluster, ALL)
    places = make_rows(n=30, seed=7)[0]
    found = machine.quantiles(places, np.array([0.5, 0.05, 0.95]))
    order = np.argsort(y)
    for weight, row in zip(machine.weights(places), found, strict=True):
        whole = np.cumsum(weight[order])
        assert row.tolist() == [y[order][np.searchsorted(whole, q - 1e-9)] for q in (0.5, 0.05, 0.95)]
    assert (found[:, 1] <= found[:, 0]).all() and (found[:, 0] <= found[:, 2]).all()


def test_quantiles_are_the_same_however_many_places_are_asked_at_once(monkeypatch):
    X, y, cluster = make_rows(n=100)
    machine = QuantileForest().learned(X, y, cluster, ALL)
    places = make_rows(n=50, seed=7)[0]
    whole = machine.quantiles(places, [0.05, 0.95])
    monkeypatch.setattr(trees, "QUANTILES_AT_ONCE", 7)
    np.testing.assert_array_equal(machine.quantiles(places, [0.05, 0.95]), whole)


def test_quantiles_hold_as_many_new_plots_as_they_say():
    """Noise that grows with the first predictor; 90 % of 3,000 new plots, whose own Monte Carlo error is 0.5 points."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (3600, 2))
    y = np.maximum(100 + 40 * X[:, 0] + (15 + 12 * X[:, 0]) * rng.normal(size=3600), 0.0)
    machine = QuantileForest().learned(X[:600], y[:600], np.arange(600).astype(str), ALL[:2])
    low, high = machine.quantiles(X[600:], [0.05, 0.95]).T
    assert ((y[600:] >= low) & (y[600:] <= high)).mean() == pytest.approx(0.90, abs=0.03)
    widths = [(high - low)[part].mean() for part in (X[600:, 0] < -0.7, X[600:, 0] > 0.7)]
    assert widths[1] > 2.5 * widths[0]  # planted: 25.2 against 4.8 on average, smeared by leaves


def test_a_regressor_without_quantiles_says_so():
    with pytest.raises(ValueError, match="regressor linear tells no quantiles"):
        Linear().quantiles(np.zeros((1, 1)), [0.5])


def test_neighbours_are_scikit_learn_s():
    X, y, cluster = make_rows()
    machine = Neighbours().learned(X, y, cluster, ALL)
    places = make_rows(n=50, seed=7)[0]
    theirs = KNeighborsRegressor(machine.k).fit(X, y)
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places))
    assert np.sort(machine.nearest(places)).tolist() == np.sort(theirs.kneighbors(places)[1]).tolist()


def test_gnn_without_its_package_says_which_one_is_missing_and_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "sknnr", None)
    X, y, cluster = make_rows()
    with pytest.raises(ValueError, match=r"gnn needs the package sknnr.*pip install sknnr, or .* extra gnn; or .* neighbours"):
        regressor_named("gnn", transform="sqrt").learned(X, y, cluster, ALL)


@pytest.mark.parametrize(("name", "peer"), [("gnn", "GNNRegressor"), ("msn", "MSNRegressor")])
def test_neighbours_along_axes_are_those_of_sknnr(name, peer):
    sknnr = pytest.importorskip("sknnr", reason="the optional package sknnr is not installed")
    X, y, cluster = make_rows()
    machine = regressor_named(name, transform="sqrt").learned(X, y, cluster, ALL)
    theirs = getattr(sknnr, peer)(n_neighbors=machine.k).fit(X, y[:, None], y_fit=machine._responses(y))
    places = make_rows(n=50, seed=7)[0]
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places).ravel())


@pytest.mark.parametrize("name", ["gnn", "msn"])
def test_predictors_that_say_nothing_more_change_no_neighbour(name):
    """sknnr alone ends in an error of its own on each of these but for gnn with a copy: LinAlgError, ValueError, IndexError."""
    pytest.importorskip("sknnr", reason="the optional package sknnr is not installed")
    X, y, cluster = make_rows()
    X, places = X[:, :3], make_rows(n=50, seed=7)[0][:, :3]
    expected = regressor_named(name, transform="sqrt").learned(X, y, cluster, ALL[:3]).mean(None, places)
    for more in (np.zeros_like, lambda one: one, lambda one: one * (1 + 1e-9)):
        seen, asked = (np.column_stack([one, more(one[:, 0])]) for one in (X, places))
        machine = regressor_named(name, transform="sqrt").learned(seen, y, cluster, ALL[:4])
        assert machine.mean(None, asked) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["gnn", "msn"])
def test_one_predictor_is_its_own_axis(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "sknnr", types.SimpleNamespace())  # nothing is asked of the package
    X, y, cluster = make_rows()
    machine = regressor_named(name, transform="sqrt").learned(X[:, :1], y, cluster, ALL[:1])
    theirs = KNeighborsRegressor(machine.k).fit(X[:, :1], y)
    places = make_rows(n=50, seed=7)[0][:, :1]
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places))


class NoAxes:
    """A stand-in for the package where it breaks."""

    def __init__(self, n_neighbors):
        pass

    def fit(self, X, y):
        raise IndexError("index 0 is out of bounds for axis 1 with size 0")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (make_rows(), "the package sknnr 0.1.0a3 finds no axes among 5 predictors .*name fewer of them"),
        (make_rows(n=40, p=50), "50 predictors tell 36 plots apart whatever their targets; name fewer predictors"),
        ((make_rows()[0], np.full(80, 50.0), make_rows()[2]), "all plots have the same target"),
        ((np.zeros((80, 5)), *make_rows()[1:]), "all plots have the same predictors"),
    ],
    ids=["the_package_breaks", "more_predictors_than_plots", "same_targets", "same_predictors"],
)
def test_msn_says_what_to_do_where_there_are_no_axes(rows, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "sknnr", types.SimpleNamespace(MSNRegressor=NoAxes, __version__="0.1.0a3"))
    X, y, cluster = rows
    part = slice(36) if X.shape[1] > 36 else slice(None)  # as a fold leaves them
    with pytest.raises(ValueError, match=f"regressor msn.* {sentence}" if "package" not in sentence else sentence):
        regressor_named("msn", transform="sqrt").learned(X[part], y[part], cluster[part], np.ones(X.shape[1], bool))


def test_gnn_finds_neighbours_along_the_axes_of_its_package(monkeypatch):
    """A stand-in for the package, whose axes are the uncorrelated predictors that it is given, and an offset: Mahalanobis."""

    class GNNRegressor:
        def __init__(self, n_neighbors):
            self.transformer_ = types.SimpleNamespace(transform=lambda X: 3 * X - 1)

        def fit(self, X, y):
            seen.append((X, y))
            return self

    seen = []
    monkeypatch.setitem(sys.modules, "sknnr", types.SimpleNamespace(GNNRegressor=GNNRegressor))
    X, y, cluster = make_rows()
    machine = regressor_named("gnn", transform="sqrt").learned(X, y, cluster, ALL)
    covariance = np.cov(X, rowvar=False)
    theirs = KNeighborsRegressor(
        machine.k, metric="mahalanobis", metric_params={"VI": np.linalg.inv(covariance)}, algorithm="brute"
    ).fit(X, y)
    places = make_rows(n=50, seed=7)[0]
    assert machine.mean(None, places) == pytest.approx(theirs.predict(places))
    ((given, table),) = seen
    assert given.T @ given / 80 == pytest.approx(np.eye(5))
    # a correspondence analysis of one column has no gradient: the lowest plot is wholly like the lowest quartile, ...
    assert table.shape == (80, 5) and table.sum(axis=1) == pytest.approx(1.0) and (table >= 0).all()
    assert table[y.argmin()].tolist() == [1, 0, 0, 0, 0] and table[y.argmax()].tolist() == [0, 0, 0, 0, 1]


# ---------------------------------------------------------------- on real plots


def test_metrics_above_a_threshold_become_those_of_all_returns():
    """Half of the returns lie above 2 m, evenly from 2 to 22 m: of all, the mean is 6 m and the 95 % quantile 20 m."""
    quantiles = {f"zq{k}": [2 + 20 * k / 100] for k in range(5, 100, 5)}
    table = pd.DataFrame({"p_hmin": [0.5], "p_1st_hmin": [0.7], "zmean": [12.0], "zmax": [22.0], **quantiles})
    found = our_defaults(table).iloc[0]
    assert found.to_dict() == pytest.approx({"zmean": 6.0, "zmean_2m": 12.0, "zq95": 20.0, "cover_2m": 70.0})
    assert tuple(our_defaults(table)) == LIDAR_DEFAULTS


# ---------------------------------------------------------------- mixing and choosing


def test_the_mix_is_the_mean_of_its_parts():
    X, y, cluster = make_rows()
    machine = Mix().learned(X, y, cluster, ALL)
    parts = [GaussianProcess(), Ridge(), ExtraTrees()]
    places = make_rows(n=20, seed=7)[0]
    expected = np.mean([part.predicted(X, y, cluster, ALL, places) for part in parts], axis=0)
    assert machine.mean(machine.fit(X, y, ALL), places) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("plots", "clusters", "expected"),
    [(300, 300, Mix), (299, 299, Linear), (60, 15, Mix), (60, 16, Linear), (60, 9, Linear)],
    ids=["many_plots", "not_so_many", "more_than_a_predictor_for_two_clusters", "few_predictors", "too_few_for_a_mix"],
)
def test_the_default_is_the_mix_of_many_plots_or_many_predictors_and_else_linear(plots, clusters, expected):
    X, y, _ = make_rows(n=plots, p=8)
    cluster = np.array([f"c{k % clusters}" for k in range(plots)])
    assert isinstance(Default().learned(X, y, cluster, np.ones(8, bool)).stands_for, expected)


def test_auto_takes_the_plain_line_where_it_is_one_and_tells_how_all_came_out():
    X, y, cluster = make_rows()
    chosen = Auto().learned(X, y, cluster, ALL)
    table = {row["regressor"]: row for row in chosen.table}
    assert set(table) >= {"linear", "ridge", "pls", "forward", "mix", "gaussian_process", "extra_trees", "neighbours"}
    assert isinstance(chosen.stands_for, Linear) and not isinstance(chosen.stands_for, GaussianProcess)
    assert table["neighbours"]["rmse"] > 1.3 * table["linear"]["rmse"]


def test_auto_takes_something_curved_where_the_forest_is_curved():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(120, 2))
    y = (6 + 3 * X[:, 0] ** 2 + rng.normal(0, 0.3, 120)) ** 2
    chosen = Auto().learned(X, y, np.arange(120).astype(str), ALL[:2])
    assert chosen.stands_for.name in ("gaussian_process", "mix", "extra_trees", "neighbours")
    assert chosen.stands_for.name == min((row for row in chosen.table), key=lambda row: row["rmse"])["regressor"]


def test_the_table_of_auto_is_of_plots_left_out_in_whole_clusters():
    X, y, _ = make_rows(n=60)
    cluster = np.array([f"c{k // 4:02d}" for k in range(60)])
    row = next(row for row in Auto().learned(X, y, cluster, ALL).table if row["regressor"] == "linear")
    predicted = np.empty(60)
    for test in groups(cluster, 5):
        rest = np.setdiff1d(np.arange(60), test)
        assert not set(cluster[test]) & set(cluster[rest])
        predicted[test] = Linear().mean(Linear().fit(X[rest], y[rest], ALL), X[test])
    assert row["rmse"] == pytest.approx(scores(y, predicted)["rmse"])


def test_the_choice_of_auto_is_made_anew_without_the_plots_that_it_is_judged_by(monkeypatch):
    """Nested: a cluster's targets, ten times as large, change which regressor is best and never its own prediction."""
    monkeypatch.setattr(mix, "candidates", lambda transform: {"linear": Linear(), "neighbours": Neighbours()})
    X, y, _ = make_rows(n=60)
    cluster = np.array([f"c{k // 4:02d}" for k in range(60)])
    own = cluster == "c03"
    found = []
    for target in (y, np.where(own, 10 * y, y)):
        machine = Auto().learned(X, target, cluster, ALL)
        found.append(machine.without_each(X, target, cluster, ALL, machine.fit(X, target, ALL))[1])
    assert found[0][own] == pytest.approx(found[1][own], rel=1e-9)
    assert np.abs(found[0] - found[1])[~own].max() > 0.1


def test_groups_hold_whole_clusters_and_about_as_many_rows_each():
    cluster = np.repeat([f"c{k}" for k in range(13)], 4)
    found = groups(cluster, 5)
    assert sorted(np.concatenate(found).tolist()) == list(range(52))
    assert sorted(len(one) for one in found) == [8, 8, 12, 12, 12]
    with pytest.raises(ValueError, match="all plots are in one cluster"):
        groups(np.array(["c", "c"]), 5)


def test_a_scale_that_explodes_on_the_way_back_is_not_on_offer():
    with pytest.raises(ValueError, match="'boxcox' is not one of none, sqrt, log"):
        Scale("boxcox")


# ---------------------------------------------------------------- house and world


@dataclass(frozen=True)
class StraightThrough(Regressor):
    """A line through the origin of the target's own scale."""

    name: ClassVar[str] = "straight"
    when: ClassVar[str] = "in this test"
    source: ClassVar[str] = "none"

    def size(self, columns):
        return 1

    def fit(self, X, y, penalised):
        return np.array([y.mean()])

    def mean(self, params, X):
        return np.full(len(X), params[0])

    def gradient(self, params, X):
        return np.ones((len(X), 1))


def test_a_regressor_of_one_s_own_needs_one_entry_and_no_more(monkeypatch):
    monkeypatch.setitem(REGRESSORS, "straight", StraightThrough)
    plots = make_plots(n=12)
    model, _ = fit_target(plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", regressor="straight")
    mean, y = model.sets[0].params[0], plots["agb_mg_ha"].to_numpy()
    assert mean == pytest.approx(y.mean())
    # the jackknife of a mean is the textbook's: variance / n
    assert float((model.influence**2).sum()) == pytest.approx(y.var(ddof=1) / 12)
    assert TargetModel.from_plain(json.loads(json.dumps(model.to_plain()))).sets[0].machine == StraightThrough()
    assert model.predict({"zmean": np.array([3.0])}, 2019)["mean"] == pytest.approx([y.mean()])


@pytest.mark.parametrize("name", REGRESSORS)
def test_every_regressor_says_what_it_is_when_to_use_it_and_whose_it_is(name):
    one = REGRESSORS[name]
    assert one.name == name and one.__doc__.splitlines()[0].endswith(".")
    assert one.when and one.source


@pytest.mark.parametrize("name", [name for name in REGRESSORS if name not in ("gnn", "msn")])
def test_the_estimator_keeps_the_rules_of_scikit_learn(name, monkeypatch):
    some = {"linear": Linear(), "neighbours": Neighbours()}
    monkeypatch.setattr(mix, "candidates", lambda transform: some)  # all of them take `auto` over a minute
    check_estimator(ForestRegressor(name, scale="log" if name == "baskerville" else "sqrt"))


def test_the_estimator_refuses_negative_targets_and_too_few_groups():
    X, y, _ = make_rows()
    with pytest.raises(ValueError, match="targets are zero or more, got -1"):
        ForestRegressor("linear").fit(X, np.where(y == y.max(), -1, y))
    with pytest.raises(ValueError, match="regressor ridge needs at least 6 groups of rows, got 2"):
        ForestRegressor("ridge").fit(X, y, groups=np.arange(80) % 2)


@pytest.mark.parametrize("name", ["mix", "ridge"])
def test_plots_left_out_by_fold_are_predicted_by_a_model_that_learned_without_them(name):
    plots = make_plots(n=60, per_cluster=2, noise=20)
    model, _ = fit_target(plots, {"lidar": ("zmean", "cover_2m")}, target="agb", column="agb_mg_ha", regressor=name)
    (one,) = model.sets
    rows = rows_of(plots, one, "agb_mg_ha")
    folds = [(np.arange(k, 60, 3), np.setdiff1d(np.arange(60), np.arange(k, 60, 3))) for k in range(3)]
    changed = rows.assign(agb_mg_ha=np.where(np.arange(60) % 3 == 0, 500.0, rows["agb_mg_ha"]))
    before, after = (predict_left_out(part, model, one, "agb_mg_ha", folds[:1]) for part in (rows, changed))
    test = folds[0][0]
    assert before["predicted"].to_numpy()[test] == pytest.approx(after["predicted"].to_numpy()[test])
    found = predict_left_out(rows, model, one, "agb_mg_ha", folds)
    inside = np.abs(found["observed"] - found["predicted"]) < 1.67 * found["sd"]
    assert 0.8 <= inside.mean() <= 1.0 and found["sd"].between(10, 60).all()


def test_folds_of_slow_models_are_joined_and_keep_their_plots():
    folds = [(np.array([k]), np.delete(np.arange(50), k)) for k in range(50)]
    joined = fewer("plots", folds, 50, 12)
    assert len(joined) == 12 and sorted(np.concatenate([test for test, _ in joined]).tolist()) == list(range(50))
    assert all(not set(test) & set(rest) and len(test) + len(rest) == 50 for test, rest in joined)
    assert fewer("map_each", folds, 50, 12)[-1] is folds[-1] and len(fewer("map_each", folds, 50, 12)) == 12
    assert fewer("plots", folds, 50, 60) is folds


@pytest.mark.parametrize(
    ("plots", "name", "sentence"),
    [
        (make_plots(n=8), "mix", "1 predictors need more than 9 clusters of plots for regressor mix, there are 8"),
        (make_plots(n=12, cover_2m=np.nan), "linear", "the predictor cover_2m is missing at every plot"),
        (make_plots(n=12, cluster="all"), "linear", "all 12 plot measurements that have zmean are in one cluster"),
        (make_plots(n=12, cluster="all"), "mix", "all 12 plot measurements that have zmean are in one cluster"),
        (make_plots(n=60, zmean=7.0), "mix", "the predictor zmean is constant over the plots"),
    ],
    ids=["few_for_the_mix", "missing_predictor", "one_cluster", "one_cluster_mix", "constant"],
)
def test_plots_that_cannot_carry_a_regressor_give_a_sentence(plots, name, sentence):
    predictors = ("zmean", "cover_2m") if "cover_2m" in sentence else ("zmean",)
    with pytest.raises(ValueError, match="no model of agb can be fitted") as error:
        fit_target(plots, {"lidar": predictors}, target="agb", column="agb_mg_ha", regressor=name)
    assert sentence in str(error.value)


def test_plots_on_missing_pixels_are_counted_and_named(caplog):
    plots = make_plots(n=30)
    plots.loc[[3, 7], "zmean"] = np.nan
    plots.loc[7, "cover_2m"] = np.nan
    with caplog.at_level("INFO"):
        fit_target(plots, {"lidar": ("zmean", "cover_2m")}, target="agb", column="agb_mg_ha")
    assert (
        "predictor set lidar: 2 of 30 plot measurements lack a predictor (zmean at 2, cover_2m at 1) and are not used: "
        "p003 (2019), p007 (2019)" in caplog.text
    )
