"""The linear regressor against hand arithmetic and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from models.regressors import REGRESSORS, Linear, regressor_named
from models.regressors.base import Regressor, Scale

NOTHING = np.array([False])


def fitted(transform, x, y, ridge=0.0):
    X = np.asarray(x, float).reshape(len(y), -1)
    machine = Linear(transform=transform, ridge=ridge)
    return machine, machine.fit(X, np.asarray(y, float), np.ones(X.shape[1], bool)), X


def test_a_line_through_four_points_is_the_one_found_by_hand():
    # mean x 2.5, mean y 6; Sxy = 9.0, Sxx = 5: slope 1.8, intercept 6 - 1.8 * 2.5 = 1.5
    _, params, _ = fitted("none", [1, 2, 3, 4], [3, 6, 6, 9])
    assert params == pytest.approx([1.0, 1.5, 1.8])


def test_the_square_root_scale_is_squared_back_and_meets_the_plots_total():
    # roots 1, 3, 2 at x 0, 1, 2: slope 0.5, intercept 1.5; squared back 2.25, 4, 6.25 (12.5) against 14 observed
    machine, params, X = fitted("sqrt", [0, 1, 2], [1, 9, 4])
    assert params == pytest.approx([14 / 12.5, 1.5, 0.5])
    assert machine.mean(params, X) == pytest.approx(14 / 12.5 * np.array([2.25, 4.0, 6.25]))


def test_the_log_scale_is_raised_back_and_meets_the_plots_total():
    # logs 0, 2, 1 at 0, 1, 2: slope 0.5, intercept 0.5
    machine, params, X = fitted("log", [0, 1, 2], np.exp([0.0, 2.0, 1.0]))
    back = np.exp([0.5, 1.0, 1.5])
    assert params == pytest.approx([np.exp([0, 2, 1]).sum() / back.sum(), 0.5, 0.5])
    assert machine.mean(params, X).sum() == pytest.approx(np.exp([0.0, 2.0, 1.0]).sum())


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_the_fitted_plots_keep_their_total_whatever_the_scale_and_the_ridge(transform):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 3))
    y = (20 + x @ [2.0, 1.0, -1.0] + rng.normal(0, 0.5, 40)) ** 2
    machine, params, X = fitted(transform, x - x.mean(axis=0), y, ridge=1e-2)
    assert machine.mean(params, X).sum() == pytest.approx(y.sum())


def test_the_ridge_shrinks_slopes_but_neither_the_intercept_nor_what_must_not_be_shrunk():
    rng = np.random.default_rng(3)
    x, date = rng.normal(size=50), np.repeat([0.0, 1.0], 25)
    x -= x.mean()
    x[25:] -= x[25:].mean() - x[:25].mean()
    x -= x.mean()
    y = 20 + 3 * x + 5 * date
    params = Linear(transform="none", ridge=1.0).fit(np.column_stack([x, date]), y, np.array([True, False]))
    # orthogonal columns: slope = Sxy / (Sxx + n), the other two as without a ridge
    assert params[2] == pytest.approx(3 * (x @ x) / (x @ x + 50), rel=1e-6)
    assert params[[1, 3]] == pytest.approx([20, 5], rel=1e-6)


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_the_gradient_is_the_slope_of_the_mean_in_every_parameter(transform):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(25, 2))
    machine = Linear(transform=transform)
    params = np.array([1.1, 2.0, 0.7, -0.4])
    if transform == "none":
        params[0] = 1.0
    gradient = machine.gradient(params, X)
    for column in range(1 if transform == "none" else 0, 4):
        step = np.zeros(4)
        step[column] = 1e-6
        slope = (machine.mean(params + step, X) - machine.mean(params - step, X)) / 2e-6
        assert gradient[:, column] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_a_prediction_is_never_negative_and_does_not_move_where_it_is_cut_off(transform):
    machine = Linear(transform=transform)
    params, X = np.array([1.0, 1.0, 1.0]), np.array([[-50.0], [-1.5], [3.0]])
    assert (machine.mean(params, X) >= 0).all()
    if transform != "log":
        assert machine.mean(params, X)[:2] == pytest.approx([0, 0])
        assert not machine.gradient(params, X)[:2].any()


def test_a_target_moves_by_the_same_root_whether_its_plot_is_bare_or_full():
    moved = Scale("sqrt").moved(np.array([0.0, 100.0]), np.array([100.0, 100.0]), np.array([2.0, 2.0]))
    # 2 at an expected 100 is 0.1 on the root scale
    assert moved == pytest.approx([0.1**2, 10.1**2])
    assert Scale("none").moved(np.array([5.0]), np.array([9.0]), np.array([2.0])) == pytest.approx([7.0])
    log_moved = Scale("log").moved(np.array([5.0]), np.array([10.0]), np.array([2.0]))
    assert log_moved == pytest.approx([5 * np.exp(0.2)])


def test_the_log_scale_refuses_plots_without_biomass():
    with pytest.raises(ValueError, match=r"transform log needs targets above zero.*use sqrt"):
        fitted("log", [1, 2, 3], [0, 5, 9])


def test_plots_without_any_biomass_give_a_sentence_instead_of_a_division_by_zero():
    with pytest.raises(ValueError, match="the regression predicts zero on every plot"):
        fitted("sqrt", [1, 2, 3], [0, 0, 0])


def test_an_unknown_regressor_or_transform_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"model.regressor 'lineal' is not a regressor; known: default, linear"):
        regressor_named("lineal", transform="sqrt")
    with pytest.raises(ValueError, match="'cube' is not one of none, sqrt, log"):
        regressor_named("linear", transform="cube")
    assert regressor_named("linear", transform="log") == REGRESSORS["linear"](transform="log")


@pytest.mark.parametrize("transform", ["sqrt", "log", "none"])
def test_many_least_squares_solved_from_what_they_share_are_those_fitted_one_by_one(transform):
    """Held against the loops of `Regressor`, which fit anew for every plot and every cluster left out."""
    rng, n = np.random.default_rng(4), 90
    X, cluster = rng.normal(size=(n, 4)), np.array([f"c{k // 3}" for k in range(n)])
    X[:, 3] = X[:, 2] + 0.01 * rng.normal(size=n)
    y = (6 + X @ [1.0, 0.5, 0.2, 0.0] + 0.5 * rng.normal(size=n)) ** 2
    penalised = np.array([True, True, True, False])
    for machine in (Linear(transform=transform), REGRESSORS["ridge"](transform=transform, ridge=0.1)):
        params = machine.fit(X, y, penalised)
        about = (X, y, penalised, params, machine.mean(params, X), np.full(n, 8.0))
        slow = Regressor.pulled(machine, *about)
        np.testing.assert_allclose(machine.pulled(*about), slow, rtol=1e-8, atol=1e-9 * np.abs(slow).max())
    machine = Linear(transform=transform)
    slow, apart = Regressor.without_each(machine, X, y, cluster, penalised, params)
    found, left_out = machine.without_each(X, y, cluster, penalised, params)
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(left_out, apart, rtol=1e-9)
