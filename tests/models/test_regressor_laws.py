"""What holds for every regressor of the registry."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import make_plots

from models.inference.fitted import _short, fit_target
from models.inference.target_model import TargetModel
from models.regressors import REGRESSORS, alive, plain_of, regressor_named
from models.regressors.smoothers import Smoother

THROUGH_SKNNR = ("gnn", "msn")
NAMES = [name for name in REGRESSORS if name != "auto" and (name not in THROUGH_SKNNR or find_spec("sknnr"))]
MEANS = ["extra_trees", "random_forest", "quantile_forest", "neighbours", *(THROUGH_SKNNR if find_spec("sknnr") else ())]
SMOOTHERS = [*MEANS, "boosting"]
SCALE = {"baskerville": "log"}
PENALISED = np.array([True, True, True, True, False])


def make_rows(n=60, seed=5):
    """Four standardised predictors and a date column (n, 5), targets (n,), clusters of two (n,)."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 4)), np.arange(n) % 2])
    y = (9 + 2 * X[:, 0] + X[:, 1] ** 2 + 0.5 * X[:, 4] + rng.normal(0, 0.7, n)) ** 2
    return X, y, np.array([f"c{k // 2:02d}" for k in range(n)])


def make_machine(name, X, y, cluster):
    """The learned regressor and its parameters."""
    machine = regressor_named(name, transform=SCALE.get(name, "sqrt")).learned(X, y, cluster, PENALISED)
    return machine, machine.fit(X, y, PENALISED)


@pytest.fixture(scope="module")
def fits():
    X, y, cluster = make_rows()
    return {name: make_machine(name, X, y, cluster) for name in NAMES}


PLACES = make_rows(n=40, seed=6)[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_slope_of_the_mean_in_every_parameter(fits, name):
    machine, params = fits[name]
    gradient = machine.gradient(params, PLACES)
    assert gradient.shape == (len(PLACES), len(params)) and machine.size(PLACES.shape[1]) == len(params)
    for column in range(len(params)):
        step = np.zeros(len(params))
        step[column] = 1e-4 * max(abs(params[column]), 1.0)
        slope = (machine.mean(params + step, PLACES) - machine.mean(params - step, PLACES)) / (2 * step[column])
        assert gradient[:, column] == pytest.approx(slope, rel=2e-3, abs=2e-3 * max(np.abs(slope).max(), 1e-3))


@pytest.mark.parametrize("name", NAMES)
def test_mean_and_gradient_made_together_for_a_map_are_those_made_apart(fits, name):
    machine, params = fits[name]
    mean, gradient = machine.both(params, PLACES, np.empty((len(PLACES), len(params)), "float32"))
    assert mean == pytest.approx(machine.mean(params, PLACES), rel=1e-5)
    expected = machine.gradient(params, PLACES)
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_place_is_predicted_alike_whatever_is_predicted_with_it(fits, name):
    machine, params = fits[name]
    X = np.tile(PLACES, (20, 1))
    whole, gradients = machine.both(params, X)
    for piece in (slice(0, 1), slice(1, 300), slice(300, 800)):
        mean, gradient = machine.both(params, X[piece])
        assert mean == pytest.approx(whole[piece], rel=1e-5)
        assert gradient == pytest.approx(gradients[piece], rel=1e-4, abs=1e-5 * float(np.abs(gradients).max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_regressor_survives_its_json_to_the_last_bit(fits, name):
    machine, params = fits[name]
    text = json.dumps(plain_of(machine))
    again = alive(json.loads(text))
    for first, second in zip(machine.both(params, PLACES), again.both(params, PLACES), strict=True):
        np.testing.assert_array_equal(first, second)
    assert json.dumps(plain_of(again)) == text


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_never_negative_however_far_a_place_is_from_the_plots(fits, name):
    machine, params = fits[name]
    far = np.vstack([PLACES * 30, -PLACES * 30])
    assert (machine.mean(params, far) >= 0).all() and np.isfinite(machine.mean(params, far)).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("baskerville", *MEANS[1:])])
def test_the_plots_keep_their_total(fits, name):
    X, y, _ = make_rows()
    machine, params = fits[name]
    assert machine.mean(params, X).sum() == pytest.approx(y.sum(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_plots_changes_nothing_but_rounding(fits, name):
    X, y, cluster = make_rows()
    mixed = np.random.default_rng(1).permutation(len(y))
    machine, params = fits[name]
    other, others = make_machine(name, X[mixed], y[mixed], cluster[mixed])
    assert other.mean(others, PLACES) == pytest.approx(machine.mean(params, PLACES), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_five_percent_that_all_plots_share_is_five_percent_of_every_prediction(fits, name):
    X, y, _ = make_rows()
    machine, params = fits[name]
    shared = machine.shifted(X, y, PENALISED, 0.05 * y)
    assert machine.gradient(params, PLACES) @ shared == pytest.approx(0.05 * machine.mean(params, PLACES), rel=5e-3)


@pytest.mark.parametrize("name", ["ridge", "pls", "forward", "linear"])
def test_refits_learn_anew_without_each_cluster(fits, name):
    X, y, cluster = make_rows()
    machine, params = fits[name]
    refits, left_out = machine.without_each(X, y, cluster, PENALISED, params)
    assert refits.shape == (30, len(params))
    for number in (0, 13, 29):
        rest = cluster != f"c{number:02d}"
        own, expected = make_machine(name, X[rest], y[rest], cluster[rest])
        assert refits[number] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert left_out[~rest] == pytest.approx(own.mean(expected, X[~rest]), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_plot_left_out_is_not_seen_by_what_predicts_it(name):
    """Changing the targets of one cluster changes predictions of others, never its own."""
    X, y, cluster = make_rows(n=30)
    changed = np.where(cluster == "c03", 3 * y, y)
    found = []
    for target in (y, changed):
        machine, params = make_machine(name, X, target, cluster)
        found.append(machine.without_each(X, target, cluster, PENALISED, params)[1])
    own = cluster == "c03"
    assert found[0][own] == pytest.approx(found[1][own], rel=1e-9)
    assert np.abs(found[0][~own] - found[1][~own]).max() > 0.1


@pytest.mark.parametrize("name", ["linear", "gaussian_process", "extra_trees"])
def test_the_jackknife_is_of_the_size_of_the_spread_over_repeated_samples(name):
    """The mean of thirty places over twenty samples of plots from one forest: its SD against the mean jackknife SE."""
    places = np.column_stack([0.8 * np.random.default_rng(9).normal(size=(30, 4)), np.zeros(30)])
    means, squares = [], []
    for seed in range(20):
        X, y, cluster = make_rows(n=60, seed=100 + seed)
        machine, params = make_machine(name, X, y, cluster)
        refits, _ = machine.without_each(X, y, cluster, PENALISED, params)
        gradient = machine.gradient(params, places).astype(float).mean(axis=0)
        means.append(machine.mean(params, places).mean())
        squares.append(29 / 30 * ((refits - params) @ gradient) @ ((refits - params) @ gradient))
    ratio = np.sqrt(np.mean(squares)) / np.std(means, ddof=1)
    assert 0.75 < ratio < 1.6  # twenty samples tell a standard deviation to 16 %; the jackknife errs to the wide side


@pytest.mark.parametrize("name", [name for name in NAMES if name != "baskerville"])
def test_a_model_of_any_regressor_serves_places_and_leaves_missing_ones_missing(name):
    plots = make_plots(n=60, per_cluster=2, years=(2019, 2024))
    model, left_out = fit_target(plots, {"lidar": ("zmean", "cover_2m")}, target="agb", column="agb_mg_ha", regressor=name)
    seen = {"zmean": np.array([10.0, np.nan, 18.0]), "cover_2m": np.array([50.0, 50.0, np.nan])}
    found = model.predict(seen, 2024)
    assert np.isnan(found["mean"]).tolist() == [False, True, True]
    assert found["set_number"].tolist() == [0, -1, -1] and not found["gradient"][1:].any()
    # planted: (3 + 0.5 z)^2 = 64 at z = 10, whatever the regressor makes of the noise of 10
    assert found["mean"][0] == pytest.approx(64, abs=22)
    assert len(left_out) == 120 and left_out["predicted"].notna().all()
    again = TargetModel.from_plain(json.loads(json.dumps(model.to_plain())))
    for key, values in again.predict(seen, 2024).items():
        np.testing.assert_array_equal(values, found[key])
    np.testing.assert_array_equal(again.root, model.root)


@pytest.mark.parametrize("name", SMOOTHERS)
def test_weights_of_a_smoother_add_up_to_one_and_give_its_mean(fits, name):
    machine, params = fits[name]
    assert isinstance(machine, Smoother)
    weights = machine.weights(PLACES)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert (weights >= 0).all() or name not in MEANS
    assert weights @ machine.targets == pytest.approx(machine.mean(params, PLACES))
    assert weights @ machine.basis == pytest.approx(machine.gradient(params, PLACES), abs=1e-6)


@pytest.mark.parametrize("name", SMOOTHERS)
def test_a_smoother_s_directions_are_all_of_few_plots_and_told_ones_of_many(name):
    X, y, cluster = make_rows(n=28)
    few, _ = make_machine(name, X, y, cluster)
    assert few.widened < 1.001
    many, params = make_machine(name, *make_rows(n=200))
    assert many.basis.shape == (200, 32) and 1.0 < many.widened < 2.5
    assert many.basis.T @ many.basis == pytest.approx(np.eye(32), abs=1e-8)
    assert params @ many.basis.T @ np.ones(200) == pytest.approx(many.targets.sum())


@pytest.mark.parametrize("name", ["mix", "linear"])
def test_a_pixel_s_variance_in_few_columns_is_that_of_all_the_factors(name):
    plots = make_plots(n=80, noise=20)
    plots["a"], plots["b"] = np.random.default_rng(3).normal(size=(2, 80))
    plots["f_allometry"] = 0.05 * plots["agb_mg_ha"]
    model, _ = fit_target(plots, {"s": ("zmean", "cover_2m", "a", "b")}, target="agb", column="agb_mg_ha", regressor=name)
    seen = {one: plots[one].to_numpy() for one in ("zmean", "cover_2m", "a", "b")}
    gradient = model.predict(seen, 2019)["gradient"].astype(float)
    exact, short = ((gradient @ model.factors.T) ** 2).sum(axis=1), ((gradient @ model.root) ** 2).sum(axis=1)
    assert short.mean() == pytest.approx(exact.mean(), rel=2e-3)
    assert np.sqrt(short) == pytest.approx(np.sqrt(exact), rel=0.1)
    assert (model.short is not None) == (name == "mix")


def test_what_is_small_in_levels_and_all_there_is_in_changes_is_told():
    """Levels move along the first parameter, changes along the second, a thousand times less."""
    levels, changes = np.zeros((50, 41)), np.zeros((50, 41))
    levels[:, 0], levels[:, 1], changes[:, 1] = 100.0, 0.1, 0.1
    alone, both = (_short(np.eye(41), [kinds]) for kinds in ((levels,), (levels, changes)))
    assert ((changes @ both) ** 2).sum(axis=1) == pytest.approx(0.01)
    assert ((changes @ alone) ** 2).sum(axis=1).max() < 1e-6  # what levels alone would have kept
    assert ((levels @ both) ** 2).sum(axis=1) == pytest.approx(1e4, rel=1e-3)
