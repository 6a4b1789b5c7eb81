"""Scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.validation import scores


def test_scores_of_four_plots_are_those_of_hand_arithmetic():
    found = scores(np.array([10.0, 20.0, 30.0, 40.0]), np.array([12.0, 18.0, 33.0, 45.0]))
    # errors 2, -2, 3, 5: sum of squares 42, about their own mean 25 the plots have 500
    assert found["n"] == 4
    assert found["rmse"] == pytest.approx(np.sqrt(42 / 4))
    assert found["bias"] == pytest.approx(2.0)
    assert found["rmse_percent"] == pytest.approx(100 * np.sqrt(10.5) / 25)
    assert found["bias_percent"] == pytest.approx(8.0)
    assert found["r2"] == pytest.approx(1 - 42 / 500)


def test_predictions_worse_than_the_mean_have_a_negative_r2():
    assert scores(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))["r2"] == pytest.approx(-3.0)


def test_what_cannot_be_told_is_missing_and_not_zero():
    alike = scores(np.array([5.0, 5.0]), np.array([5.0, 6.0]))
    assert np.isnan(alike["r2"]) and alike["rmse_percent"] == pytest.approx(100 * np.sqrt(0.5) / 5)
    bare = scores(np.zeros(3), np.ones(3))
    assert np.isnan(bare["rmse_percent"]) and np.isnan(bare["bias_percent"])
