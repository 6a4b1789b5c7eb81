"""Hybrid inference: hand arithmetic, and sampling again and again from a forest whose mean is known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_target_model

from models.inference.estimators import estimate
from models.inference.strips import survey_of_strips
from models.inference.survey import Survey

SAMPLES = 600


def strips(prediction, slope, strip, selection="probability"):
    n = len(prediction)
    columns = {"map": np.asarray(prediction, float), "one": np.ones(n), "slope": np.asarray(slope, float)}
    return Survey(np.full(n, np.nan), np.ones(n, int), columns, cluster=np.asarray(strip), selection=selection)


def settings(covariance, free=9):
    return {"prediction": "map", "gradient": ["one", "slope"], "covariance": covariance, "model_degrees_of_freedom": free}


def test_two_strips_by_hand():
    survey = strips([100, 140, 180, 180], [1, 3, 5, 5], ["a", "a", "b", "b"])
    found = estimate("hybrid", survey, **settings(np.diag([9.0, 4.0])))
    assert found.mean == pytest.approx(150)
    # strips of 120 and 180: ((-30)^2 + 30^2) / (2 x 1); gradient (1, 3.5): 9 + 4 x 3.5^2
    assert found.variance_parts == pytest.approx({"auxiliary_means": 900.0, "coefficients": 58.0})
    assert found.degrees_of_freedom == pytest.approx(958**2 / (900**2 / 1 + 58**2 / 9))
    half = estimate("hybrid", survey, strips_in_area=4, **settings(np.diag([9.0, 4.0])))
    assert half.variance_parts["auxiliary_means"] == pytest.approx(450)


def test_a_long_strip_counts_by_its_cells():
    survey = strips([100, 100, 100, 200], [0, 0, 0, 0], ["a", "a", "a", "b"])
    found = estimate("hybrid", survey, **settings(np.zeros((2, 2))))
    assert found.mean == pytest.approx(125)
    # (3 / 2)^2 x 25^2 + (1 / 2)^2 x 75^2, over 2 x 1
    assert found.variance == pytest.approx((2.25 * 625 + 0.25 * 5625) / 2)


@pytest.mark.parametrize(
    ("survey", "options", "words"),
    [
        (strips([1, 2], [0, 0], ["a", "b"], "purposive"), {}, "these plots are purposive"),
        (strips([1, 2], [0, 0], ["a", "a"]), {}, "1 strip tells nothing of how strips differ"),
        (strips([1, 2], [0, 0], ["a", "b"]), {"covariance": np.eye(3)}, "covariance is (3, 3), and there are 2 gradients"),
        (strips([1, 2], [0, 0], ["a", "b"]), {"strips_in_area": 1}, "2 strips were flown and strips_in_area says 1"),
    ],
    ids=["purposive", "one_strip", "covariance", "too_many"],
)
def test_what_cannot_be_estimated_is_said(survey, options, words):
    with pytest.raises(ValueError) as error:
        estimate("hybrid", survey, **settings(np.eye(2)) | options)
    assert words in str(error.value)


def test_a_fitted_model_gives_the_strips_their_predictions_and_its_covariance():
    model = make_target_model(influence=[[0, 3.0, 0], [0, 0, 2.0]], clusters=11)
    zmean, strip = np.array([0.0, 2.0, 4.0, np.nan]), np.array(["a", "a", "b", "b"])
    survey, options = survey_of_strips(model, {"zmean": zmean}, date=2019, strip=strip, selection="probability")
    found = estimate("hybrid", survey, **options)
    # 50 + 10 z: strip a 60 (two cells), b 90 (one, the other lacks its predictor); gradients 1 and z = 2 in the mean
    assert found.mean == pytest.approx(70) and found.n["phase_1"] == 3
    assert found.variance_parts["coefficients"] == pytest.approx(9 + 4 * 4)


def test_over_many_samples_the_mean_is_unbiased_and_its_error_holds():
    """Strips of uneven length that differ from one another, 12 of 100 flown; a line fitted to 25 plots chosen elsewhere.

    600 samples: the ratio of variances has a Monte Carlo error of 6 %, coverage one of 1.2 points.
    """
    rng = np.random.default_rng(4)
    size = rng.integers(20, 60, 100)
    strip = np.repeat(np.arange(100), size)
    z = np.repeat(rng.normal(15, 3, 100), size) + rng.normal(0, 4, len(strip))
    truth = float((20 + 8 * z).mean())
    cells = [np.flatnonzero(strip == one) for one in range(100)]
    errors, promised, held = [], [], 0
    for _ in range(SAMPLES):
        at = rng.uniform(5, 25, 25)
        X = np.column_stack([np.ones(25), at])
        y = X @ [20, 8] + rng.normal(0, 40, 25)
        b, squares, *_ = np.linalg.lstsq(X, y, rcond=None)
        covariance = np.linalg.inv(X.T @ X) * squares[0] / 23
        flown = np.concatenate([cells[one] for one in rng.choice(100, 12, replace=False)])
        survey = strips(b[0] + b[1] * z[flown], z[flown], strip[flown])
        found = estimate("hybrid", survey, strips_in_area=100, **settings(covariance, 23))
        errors.append(found.mean - truth)
        promised.append(found.variance)
        low, high = found.interval(90)
        held += low <= truth <= high
        assert min(found.variance_parts.values()) > 0
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(SAMPLES)
    assert np.mean(promised) / np.var(errors) == pytest.approx(1, abs=0.18)
    assert held / SAMPLES == pytest.approx(0.90, abs=0.05)
