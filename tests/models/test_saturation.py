"""A sensor that saturates is found where it does, and one that follows is not."""

from __future__ import annotations

import numpy as np
import pytest

from models.saturation import saturation


def left_out(seed: int, *, n=160, ceiling=None, noise=20.0, transform="none") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Biomass up to 400 Mg/ha, and what a line through a sensor's signal predicts of it without each cluster of two plots.

    The signal follows biomass up to `ceiling` and no further (None: all the way), with noise (Mg/ha).
    """
    rng = np.random.default_rng(seed)
    observed = rng.uniform(5, 400, n)
    signal = (observed if ceiling is None else np.minimum(observed, ceiling)) + rng.normal(0, noise, n)
    cluster = np.arange(n) // 2
    response = np.sqrt(observed) if transform == "sqrt" else observed
    predicted = np.empty(n)
    for one in range(n // 2):
        test = cluster == one
        line = np.polynomial.Polynomial.fit(signal[~test], response[~test], 1)
        predicted[test] = line(signal[test])
    return observed, predicted**2 if transform == "sqrt" else predicted, cluster


def test_a_sensor_that_sees_no_more_than_200_is_found_to_stop_there():
    found = saturation(*left_out(1, ceiling=200.0))
    assert found.ceiling_of == pytest.approx(200, abs=25)
    # 80 plots beyond, spread 58, noise 20 in signal and 30 in predictions: the slope's standard error is 0.06
    assert abs(found.slope) < 0.18 and found.before > 1
    # a line through a bent cloud: places of 200 and more are predicted about 290, those far below it less than 200
    assert 180 < found.level < 290


def test_nine_in_ten_saturated_sensors_are_found_with_eighty_plots():
    hits = [saturation(*left_out(seed, n=80, ceiling=200.0)) is not None for seed in range(60)]
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize(
    "settings", [{}, {"noise": 200.0}, {"transform": "sqrt"}], ids=["good", "weak", "fitted_as_a_square_root"]
)
def test_a_sensor_that_follows_is_hardly_ever_called_saturated_however_weak(settings):
    """At most one in a hundred by design; of 100 forests no more than 4 (beyond it with probability 0.003)."""
    hits = [saturation(*left_out(seed, **settings)) is not None for seed in range(100)]
    assert sum(hits) <= 4


def test_too_few_clusters_tell_nothing():
    assert saturation(*left_out(1, n=24, ceiling=200.0)) is None
    assert saturation(np.zeros(0), np.zeros(0), np.zeros(0)) is None
