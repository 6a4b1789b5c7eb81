"""Radar composites: averages of power, rims cut off, slices of a pass joined, and what a file keeps."""

import numpy as np
import pytest
from scipy import stats

from pipeline.radar.backscatter import compose_backscatter, first_seen, kept_bits, reach_px, without_border
from pipeline.radar.speckle import LOOKS


def compose(images, *, speckle="none", reducer="median", resolution_m=10.0, **options):
    """The composite of dates (dates, rows, cols) of one polarisation, padded by what it looks at."""
    halo = reach_px(speckle, resolution_m)
    padded = np.pad(np.asarray(images, "float32"), ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    passes = [{"vh": image} for image in padded]
    return compose_backscatter(passes, reducer=reducer, speckle=speckle, resolution_m=resolution_m, **options)


def test_the_mean_of_two_dates_is_the_mean_of_their_powers_not_of_their_decibels():
    images = np.stack([np.full((20, 20), 0.01), np.full((20, 20), 0.1)])  # -20 and -10 dB
    image = compose(images, reducer="mean")
    assert 10 * np.log10(image["vh"][5, 5]) == pytest.approx(10 * np.log10(0.055), abs=0.003)  # -12.6, not -15
    assert (image["clear_count"] == 2).all()


def test_the_median_of_speckled_dates_lies_below_the_mean_unless_speckle_is_filtered_first():
    images = np.random.default_rng(1).gamma(LOOKS, 0.05 / LOOKS, (31, 200, 200))
    raw, filtered = (compose(images, speckle=name)["vh"].mean(dtype=float) for name in ("none", "multitemporal"))
    assert raw / 0.05 == pytest.approx(stats.gamma(LOOKS).median() / LOOKS, abs=0.005)  # 0.925: a third of a decibel
    assert filtered / 0.05 == pytest.approx(1, abs=0.005)


def test_a_rim_of_a_hundred_metres_is_cut_off_along_a_swath():
    seen = np.ones((60, 80), bool)
    seen[:, :20] = False
    used = without_border(seen, 10.0)
    inner = used[11:-11]  # nearer to the array's edge less is known
    assert not inner[:, :30].any() and inner[:, 30:].all()


def test_a_line_between_two_slices_and_single_missing_pixels_are_no_rim():
    seen = np.ones((80, 80), bool)
    seen[40] = seen[10, 10] = seen[20, 60] = False
    np.testing.assert_array_equal(without_border(seen, 10.0), seen)


def test_faint_noise_beside_zeros_does_not_reach_the_composite():
    images = np.full((3, 60, 60), 0.05)
    images[1, :, :30] = np.nan  # zeros are missing already
    images[1, :, 30:36] = 1e-4  # what interpolation made of them
    image = compose(images, reducer="mean")
    np.testing.assert_allclose(image["vh"], 0.05, rtol=1e-3)
    assert set(np.unique(image["clear_count"])) == {2, 3}


def test_of_two_slices_the_first_that_shows_a_pixel_counts():
    north = {"vv": np.array([[1.0], [2.0], [np.nan]], "float32"), "vh": np.array([[1.0], [np.nan], [np.nan]], "float32")}
    south = {"vv": np.array([[9.0], [3.0], [4.0]], "float32"), "vh": np.array([[9.0], [5.0], [6.0]], "float32")}
    joined = first_seen([north, south])
    assert joined["vv"].ravel().tolist() == [1, 3, 4] and joined["vh"].ravel().tolist() == [1, 5, 6]
    assert np.isnan(north["vh"][1, 0])  # what was given stays as it was


def test_files_keep_power_to_a_five_hundredth_of_a_decibel():
    power = 10 ** np.linspace(-4, 1, 20_001).astype("float32")
    kept = kept_bits(power)
    assert np.abs(10 * np.log10(kept / power)).max() <= 10 * np.log10(1 + 2**-11)
    assert (kept.view("uint32") & 0x1FFF == 0).all()  # 13 of 23 bits are zero
    assert np.isnan(kept_bits(np.array([np.nan], "float32")))[0]


def test_a_pixel_with_fewer_passes_than_asked_for_is_missing():
    images = np.full((2, 40, 40), 0.05)
    images[1, :, :20] = np.nan
    image = compose(images, min_clear_count=2)
    assert np.isnan(image["vh"][:, :30]).all() and np.isfinite(image["vh"][:, 30:]).all()
