"""Mixed models of small areas: closed forms, dense-matrix likelihoods, and areas drawn again and again from a known model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from models.inference.area_models import DirectEstimates, fit_area_model, fit_unit_model
from models.inference.estimators import estimate
from models.inference.survey import Survey


def make_areas(seed=1, counts=(1, 3, 4, 6, 2, 5, 8), *, area_sd=20.0, residual_sd=20.0):
    rng = np.random.default_rng(seed)
    area = np.repeat(np.arange(len(counts)), counts)
    x = rng.gamma(4, 3, len(area))
    effect = rng.normal(0, area_sd, len(counts))
    return 20 + 6 * x + effect[area] + rng.normal(0, residual_sd, len(area)), x, area.astype(str), effect


def test_balanced_areas_have_the_variances_of_the_analysis_of_variance():
    """With n plots in each of m areas and no auxiliary, REML is (MSB - MSW) / n and MSW."""
    rng = np.random.default_rng(3)
    area = np.repeat(np.arange(6), 5)
    y = rng.normal(0, 3, 6)[area] * 4 + rng.normal(0, 5, 30)
    means = y.reshape(6, 5).mean(axis=1)
    within = ((y.reshape(6, 5) - means[:, None]) ** 2).sum() / 24
    between = 5 * means.var(ddof=1)
    model = fit_unit_model(y, np.ones((30, 1)), area)
    assert model.residual_variance == pytest.approx(within) and model.area_variance == pytest.approx((between - within) / 5)
    assert model.b[0] == pytest.approx(y.mean()) and model.covariance[0, 0] == pytest.approx(between / 30)


@pytest.mark.parametrize("weighted", [False, True])
def test_unit_model_has_the_highest_restricted_likelihood_of_the_full_covariance_matrix(weighted):
    y, x, area, _ = make_areas()
    X = np.column_stack([np.ones(len(y)), x])
    k = np.sqrt(x) if weighted else np.ones(len(y))
    same = area[:, None] == area[None, :]

    def deviance(logs):
        V = np.exp(logs[0]) * same + np.exp(logs[1]) * np.diag(k**2)
        inverse = np.linalg.inv(V)
        cross = X.T @ inverse @ X
        r = y - X @ np.linalg.solve(cross, X.T @ inverse @ y)
        return np.linalg.slogdet(V)[1] + np.linalg.slogdet(cross)[1] + r @ inverse @ r

    fine = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}
    best = minimize(deviance, np.log([100.0, 400.0]), method="Nelder-Mead", options=fine)
    model = fit_unit_model(y, X, area, k if weighted else None)
    assert [model.area_variance, model.residual_variance] == pytest.approx(np.exp(best.x), rel=1e-4)


def test_unit_eblup_is_the_blup_of_the_dense_mixed_model_equations():
    y, x, area, _ = make_areas()
    X = np.column_stack([np.ones(len(y)), x])
    model = fit_unit_model(y, X, area)
    Z = (area[:, None] == model.areas[None, :]).astype(float)
    ratio = model.residual_variance / model.area_variance
    left = np.block([[X.T @ X, X.T @ Z], [Z.T @ X, Z.T @ Z + ratio * np.eye(len(model.areas))]])
    inverse = np.linalg.inv(left)
    solution = inverse @ np.concatenate([X.T @ y, Z.T @ y])
    survey = Survey(y, np.full(len(y), 2), {"x": x}, area=area)
    means = {name: {"x": 11.0 + number} for number, name in enumerate(model.areas)}
    found = estimate("bhf_eblup", survey, auxiliaries=["x"], means=means)
    for number, name in enumerate(model.areas):
        ask = np.concatenate([[1, 11.0 + number], np.arange(len(model.areas)) == number])
        assert found[name].mean == pytest.approx(ask @ solution)
        parts = found[name].variance_parts
        assert parts["area_effect"] + parts["coefficients"] == pytest.approx(model.residual_variance * ask @ inverse @ ask)


def test_areas_alike_but_for_chance_have_no_area_variance_and_say_so():
    y = np.tile([10.0, 20, 30], 5)
    survey = Survey(y, np.full(15, 2), {}, area=np.repeat(list("abcde"), 3))
    found = estimate("bhf_eblup", survey, auxiliaries=[], means={"a": {}})["a"]
    assert found.mean == pytest.approx(20) and found.variance_parts["area_effect"] == 0
    assert "area variance is estimated as zero" in found.notes[0]


def test_an_area_without_plots_carries_the_whole_area_effect():
    y, x, area, _ = make_areas()
    survey = Survey(y, np.full(len(y), 2), {"x": x}, area=area)
    found = estimate("bhf_eblup", survey, auxiliaries=["x"], means={"0": {"x": 12.0}, "elsewhere": {"x": 12.0}})
    model = fit_unit_model(y, np.column_stack([np.ones(len(y)), x]), area)
    assert found["elsewhere"].variance_parts["area_effect"] == pytest.approx(model.area_variance)
    assert found["elsewhere"].se > found["0"].se and found["elsewhere"].n["plots"] == 0


def test_an_area_without_plots_is_not_sure_of_itself_only_because_few_areas_look_alike():
    """Four plots in each of five areas whose means are the same: REML says zero."""
    y = np.tile([10.0, 20, 30, 40], 5)
    survey = Survey(y, np.full(20, 2), {}, area=np.repeat(list("abcde"), 4))
    found = estimate("bhf_eblup", survey, auxiliaries=[], means={"elsewhere": {}})["elsewhere"]
    within = 2500 / 19  # REML with no area variance: all squares over n - p
    information = np.array([[5 * 16, 5 * 4], [5 * 4, 5 * (3 + 1)]]) / 2 / within**2
    assert found.variance_parts["area_effect"] == 0
    assert found.variance_parts["variance_components"] == pytest.approx(np.sqrt(np.linalg.inv(information)[0, 0]))


def test_purposive_plots_may_be_given_to_a_model():
    y, x, area, _ = make_areas()
    survey = Survey(y, np.full(len(y), 2), {"x": x}, area=area, selection="purposive")
    assert "3" in estimate("bhf_eblup", survey, auxiliaries=["x"], means={"3": {"x": 12.0}})


def test_direct_estimates_of_one_error_are_shrunk_by_the_closed_form():
    """Equal sampling variance psi and a common mean: REML is s^2 - psi, gamma the same for all, MSE by hand."""
    y, psi = np.array([10.0, 14, 19, 25, 32]), 20.0
    v = y.var(ddof=1) - psi
    found = estimate("fay_herriot", DirectEstimates(np.array(list("abcde")), y, np.full(5, psi), np.zeros((5, 0))))
    gamma = v / (v + psi)
    g3 = psi**2 / (v + psi) ** 3 * 2 * (v + psi) ** 2 / 5
    assert found["e"].mean == pytest.approx(gamma * 32 + (1 - gamma) * 20)
    assert found["e"].variance == pytest.approx(gamma * psi + (1 - gamma) ** 2 * (v + psi) / 5 + 2 * g3, rel=1e-6)


def test_area_model_has_the_highest_restricted_likelihood():
    rng = np.random.default_rng(8)
    X, psi = np.column_stack([np.ones(15), rng.normal(size=15)]), rng.uniform(5, 60, 15)
    y = X @ [50, 8] + rng.normal(0, np.sqrt(psi + 40))

    def deviance(v):
        V = np.diag(v + psi)
        inverse = np.linalg.inv(V)
        cross = X.T @ inverse @ X
        r = y - X @ np.linalg.solve(cross, X.T @ inverse @ y)
        return np.linalg.slogdet(V)[1] + np.linalg.slogdet(cross)[1] + r @ inverse @ r

    grid = np.linspace(0.01, 200, 20000)
    best = grid[np.argmin([deviance(v) for v in grid])]
    assert fit_area_model(y, psi, X).area_variance == pytest.approx(best, abs=0.02)


def test_a_direct_estimate_without_error_cannot_be_weighed():
    with pytest.raises(ValueError, match="an area with one plot has none"):
        fit_area_model(np.arange(5.0), np.array([1, 2, np.nan, 1, 1]), np.ones((5, 1)))


def test_unbiased_and_covering_in_areas_drawn_from_the_model():
    """200 sets of 14 areas with 1 to 14 plots: errors average to zero, nominal 90 % is met within 6 points.

    Monte Carlo error of the coverage is about 0.6 points. An area without plots is covered at least as often: its degrees of
    freedom are those of the variance between areas, and few areas make them few.
    """
    rng = np.random.default_rng(12)
    errors, covered, beyond, ratio = [], [], [], []
    for _ in range(200):
        counts = rng.integers(1, 15, 14)
        area, mu = np.repeat(np.arange(14), counts), rng.normal(12, 2, 15)
        effect, x = rng.normal(0, 10, 15), rng.gamma(4, 3, counts.sum())
        y = 20 + 6 * x + effect[area] + rng.normal(0, 25, len(area))
        survey = Survey(y, np.full(len(y), 2), {"x": x}, area=area.astype(str))
        found = estimate("bhf_eblup", survey, auxiliaries=["x"], means={str(i): {"x": mu[i]} for i in range(15)})
        truth = 20 + 6 * mu + effect
        for number in range(15):
            one = found[str(number)]
            low, high = one.interval(90)
            (beyond if number == 14 else covered).append(low <= truth[number] <= high)
            if number < 14:
                errors.append(one.mean - truth[number])
                ratio.append(one.variance)
    errors = np.array(errors)
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(errors))
    assert np.mean(ratio) / errors.var() == pytest.approx(1, abs=0.12)
    assert 84 <= 100 * np.mean(covered) <= 96
    assert 100 * np.mean(beyond) >= 84
