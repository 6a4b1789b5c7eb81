"""Seasons of a series: planted waves are found again, and percentiles are numpy's."""

import numpy as np
import pytest

from pipeline.indicators.phenology import YEAR_DAYS, amplitude, harmonic, percentiles

DATES = np.datetime64("2018-01-08") + np.arange(0, 4 * 365, 16)  # four years of a sensor that comes every 16 days


def planted(dates=DATES, *, mean=0.6, trend=0.0, height=0.2, peak_day=180.0, shape=(2, 3)):
    """NDVI of a wave that is highest on a day of the year, as (dates, rows, cols)."""
    days = (dates - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    middle = dates.min() + (dates.max() - dates.min()) / 2
    years = (dates - middle) / np.timedelta64(1, "D") / YEAR_DAYS
    series = mean + trend * years + height * np.cos(2 * np.pi * (days - peak_day) / YEAR_DAYS)
    return np.broadcast_to(series[:, None, None], (len(dates), *shape)).astype("float32").copy()


@pytest.mark.parametrize("peak_day", [0.5, 90, 200, 364])
@pytest.mark.parametrize("trend", [0.0, -0.05])
def test_a_planted_wave_is_found_again(peak_day, trend):
    found = harmonic(planted(peak_day=peak_day, trend=trend), DATES)
    np.testing.assert_allclose(found.mean, 0.6, atol=1e-4)
    np.testing.assert_allclose(found.amplitude, 0.2, atol=1e-4)
    np.testing.assert_allclose(found.phase_days, peak_day, atol=0.1)
    np.testing.assert_allclose(found.trend_per_year, trend, atol=1e-4)
    np.testing.assert_allclose(found.rmse, 0, atol=1e-4)
    assert (found.count == len(DATES)).all() and found.mean.dtype == np.float32


def test_the_day_of_the_peak_is_that_of_the_calendar():
    for year in (1987, 2004, 2024):
        dates = np.datetime64(f"{year}-01-03") + np.arange(0, 3 * 365, 10)
        days = (dates - np.datetime64(f"{year}-01-01")) / np.timedelta64(1, "D")
        wave = np.cos(2 * np.pi * (days - 150) / YEAR_DAYS)[:, None, None]
        assert harmonic(wave, dates).phase_days[0, 0] == pytest.approx(150, abs=1)


def test_gaps_and_the_order_of_dates_change_nothing_about_a_wave_without_noise():
    rng = np.random.default_rng(4)
    values = planted(trend=0.03)
    values[rng.uniform(size=values.shape) < 0.6] = np.nan
    order = rng.permutation(len(DATES))
    found = harmonic(values[order], DATES[order])
    np.testing.assert_allclose(found.amplitude, 0.2, atol=1e-4)
    np.testing.assert_allclose(found.trend_per_year, 0.03, atol=1e-4)
    np.testing.assert_array_equal(found.count, np.isfinite(values).sum(axis=0))


def test_coefficients_are_those_of_least_squares_by_lapack():
    rng = np.random.default_rng(6)
    values = planted(shape=(4, 5)) + rng.normal(0, 0.05, (len(DATES), 4, 5)).astype("float32")
    values[rng.uniform(size=values.shape) < 0.3] = np.nan
    found = harmonic(values, DATES)
    middle = DATES.min() + (DATES.max() - DATES.min()) / 2
    years = (DATES - middle) / np.timedelta64(1, "D") / YEAR_DAYS
    days = (DATES - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    turn = 2 * np.pi * days / YEAR_DAYS
    design = np.stack([np.ones_like(turn), years, np.cos(turn), np.sin(turn)], axis=1)
    for row, col in np.ndindex(4, 5):
        there = np.isfinite(values[:, row, col])
        theirs, *_ = np.linalg.lstsq(design[there], values[there, row, col].astype("float64"), rcond=None)
        assert found.mean[row, col] == pytest.approx(theirs[0], abs=1e-6)
        assert found.trend_per_year[row, col] == pytest.approx(theirs[1], abs=1e-6)
        assert found.amplitude[row, col] == pytest.approx(np.hypot(*theirs[2:]), abs=1e-6)
        left = values[there, row, col] - design[there] @ theirs
        assert found.rmse[row, col] == pytest.approx(np.sqrt((left**2).mean()), abs=1e-6)


def test_without_a_trend_fewer_dates_are_enough_and_the_trend_is_zero():
    values = planted(shape=(1, 1))[:23]
    values[6:, 0, 0] = np.nan
    values[[10, 15, 20]] = planted(shape=(1, 1))[[10, 15, 20]]
    found = harmonic(values, DATES[:23], trend=False)
    assert found.trend_per_year[0, 0] == 0 and found.amplitude[0, 0] == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize("kept", [0, 7])
def test_too_few_dates_are_missing_not_guessed(kept):
    values = planted(shape=(1, 2))
    values[np.arange(0, len(DATES), 12)[:kept].size :, 0, 0] = np.nan
    found = harmonic(values, DATES)
    for layer in (found.mean, found.trend_per_year, found.amplitude, found.phase_days, found.rmse):
        assert np.isnan(layer[0, 0]) and np.isfinite(layer[0, 1])


def test_dates_of_one_season_tell_no_wave():
    summers = np.concatenate([np.datetime64(f"{year}-07-01") + np.arange(0, 20, 5) for year in (2019, 2020, 2021)])
    found = harmonic(planted(summers), summers)
    assert np.isnan(found.amplitude).all() and (found.count == 12).all()


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="3 dates do not belong to 92 images"):
        harmonic(planted(), DATES[:3])
    with pytest.raises(ValueError, match="min_count 3 is less than the 4 parameters"):
        harmonic(planted(), DATES, min_count=3)
    with pytest.raises(ValueError, match=r"between 0 and 100, got \[10, 110\]"):
        percentiles(planted(), [10, 110])


def test_percentiles_are_those_of_numpy():
    rng = np.random.default_rng(8)
    values = rng.uniform(-1, 1, (17, 6, 5)).astype("float32")
    values[rng.uniform(size=values.shape) < 0.5] = np.nan
    values[:, 0, 0] = np.nan
    percents = [0, 10, 37.5, 50, 90, 100]
    found = percentiles(values, percents)
    assert np.isnan(found[:, 0, 0]).all()
    expected = np.nanpercentile(values.reshape(17, -1)[:, 1:].astype("float64"), percents, axis=0)
    np.testing.assert_allclose(found.reshape(len(percents), -1)[:, 1:], expected, rtol=1e-6, atol=1e-7)


def test_percentiles_of_too_few_dates_are_missing():
    values = np.full((5, 1, 2), np.nan, "float32")
    values[:2, 0, 0], values[:3, 0, 1] = 1, 1
    np.testing.assert_array_equal(np.isnan(percentiles(values, [50], min_count=3))[0, 0], [True, False])


def test_amplitude_is_the_difference_of_two_percentiles():
    values = np.arange(11, dtype="float32")[:, None, None]  # 10 % is 1 and 90 % is 9
    assert amplitude(values)[0, 0] == 8
    assert amplitude(values, low=0, high=100)[0, 0] == 10


def test_a_part_of_the_image_gives_the_same_numbers():
    rng = np.random.default_rng(2)
    values = planted(shape=(9, 8)) + rng.normal(0, 0.1, (len(DATES), 9, 8)).astype("float32")
    whole, part = harmonic(values, DATES), harmonic(values[:, 3:7, 2:5], DATES)
    np.testing.assert_array_equal(part.phase_days, whole.phase_days[3:7, 2:5])
    np.testing.assert_array_equal(percentiles(values[:, 3:7, 2:5]), percentiles(values)[:, 3:7, 2:5])
