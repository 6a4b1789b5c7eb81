"""Speckle filters on planted speckle: how many looks remain, that the mean does, and what becomes of edges."""

import numpy as np
import pytest
from conftest import data_set

from pipeline.radar.speckle import HALF_PX, LOOKS, SPECKLE, despeckle, looks_of

WINDOW_PX = (2 * HALF_PX + 1) ** 2


def speckled(truth, dates, *, looks=LOOKS, seed=1):
    """Intensities of a scene that does not change: truth (rows, cols) times gamma noise of mean 1 (dates, rows, cols)."""
    noise = np.random.default_rng(seed).gamma(looks, 1 / looks, (dates, *np.shape(truth)))
    return (np.asarray(truth) * noise).astype("float32")


def looks_in(image):
    """Equivalent number of looks of a homogeneous image: squared mean by variance."""
    inner = image[HALF_PX:-HALF_PX, HALF_PX:-HALF_PX].astype(float)
    return inner.mean() ** 2 / inner.var()


@pytest.mark.parametrize("dates", [2, 5, 20])
@pytest.mark.parametrize("looks", [1.0, 4.4])
def test_the_multitemporal_filter_leaves_as_many_looks_as_theory_says(dates, looks):
    # var(J) / mean^2 = (1 / m + (1 - 1 / m) / N) / L for N uncorrelated dates and m pixels of a window
    expected = looks * dates * WINDOW_PX / (dates + WINDOW_PX - 1)
    filtered = despeckle(speckled(np.full((400, 400), 0.05), dates, looks=looks), "multitemporal")
    assert looks_in(filtered[0]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["multitemporal", "lee"])
def test_filters_keep_the_mean_power(name):
    images = speckled(np.full((300, 300), 0.05), 6)
    filtered = despeckle(images, name)[:, HALF_PX:-HALF_PX, HALF_PX:-HALF_PX]
    standard_error = 1 / np.sqrt(LOOKS * filtered[0].size)
    for image in filtered:
        assert image.mean(dtype=float) / 0.05 == pytest.approx(1, abs=5 * standard_error)


def test_the_lee_filter_averages_the_whole_window_where_nothing_but_speckle_varies():
    filtered = despeckle(speckled(np.full((300, 300), 0.05), 1), "lee")[0]
    assert looks_in(filtered) > 0.4 * LOOKS * WINDOW_PX  # the weight varies with the estimated variation, so less than all


@pytest.mark.parametrize(("name", "least_gain"), [("multitemporal", 10), ("lee", 1.5)])
def test_filters_keep_an_edge_that_a_boxcar_of_the_same_window_blurs(name, least_gain):
    truth = np.where(np.arange(60) < 30, 0.02, 0.08) * np.ones((3000, 1))
    images = speckled(truth, 12)
    kept = despeckle(images, name)[0, HALF_PX:-HALF_PX].mean(0)
    boxcar = images[0, HALF_PX:-HALF_PX].mean(0)
    boxcar = np.convolve(boxcar, np.ones(2 * HALF_PX + 1) / (2 * HALF_PX + 1), mode="same")
    beside = slice(27, 33)
    blur = [np.abs(profile[beside] / truth[0, beside] - 1).mean() for profile in (kept, boxcar)]
    assert blur[1] > 0.3 and blur[0] < blur[1] / least_gain


def test_a_change_between_dates_stays_at_its_date():
    truth = np.full((200, 200), 0.05)
    images = np.concatenate([speckled(truth, 6, seed=1), speckled(truth / 2, 6, seed=2)])
    level = despeckle(images, "multitemporal")[:, 3:-3, 3:-3].mean((1, 2))
    np.testing.assert_allclose(level, [0.05] * 6 + [0.025] * 6, rtol=0.01)


def test_two_dates_by_hand():
    spike, level = np.ones((7, 7), "float32"), np.full((7, 7), 3, "float32")
    spike[3, 3] = 50  # local means 98 / 49 = 2 and 3, ratios 25 and 1, whose mean is 13
    filtered = despeckle(np.stack([spike, level]), "multitemporal")
    assert filtered[:, 3, 3].tolist() == [26, 39]


def test_a_spike_under_the_lee_filter_by_hand():
    spike = np.ones((1, 7, 7), "float32")
    spike[0, 3, 3] = 50  # mean 2, variance (48 + 2500 - 49 * 4) / 48 = 49, variation 49 / 4, weight 1 - 1 / (4 * 12.25)
    assert despeckle(spike, "lee", looks=4.0)[0, 3, 3] == pytest.approx(2 + (1 - 1 / 49) * 48)


def test_one_date_alone_stays_as_it_is():
    image = speckled(np.full((20, 20), 0.05), 1)
    np.testing.assert_allclose(despeckle(image, "multitemporal"), image, rtol=1e-6)


@pytest.mark.parametrize("name", SPECKLE)
def test_missing_stays_missing_and_spreads_to_no_neighbour(name):
    images = speckled(np.full((30, 30), 0.05), 4)
    gone = np.random.default_rng(5).uniform(size=images.shape) < 0.3
    images[gone] = np.nan
    np.testing.assert_array_equal(np.isnan(despeckle(images, name)), gone)


@pytest.mark.parametrize("name", SPECKLE)
def test_no_window_changes_a_bit_of_what_lies_inside(name):
    images = speckled(np.linspace(0.01, 0.2, 50) * np.ones((40, 1)), 5)
    images[2, 10:14, 20:29] = np.nan
    whole = despeckle(images, name)
    halo = SPECKLE[name].reach_px
    part = despeckle(images[:, 8 - halo : 21 + halo, 15 - halo : 33 + halo], name)
    assert part[:, halo : halo + 13, halo : halo + 18].tobytes() == whole[:, 8:21, 15:33].tobytes()


def test_a_coarse_pixel_holds_more_looks_but_fewer_than_its_pixels():
    assert looks_of(10) == looks_of(5) == LOOKS
    # two by two: correlations (1 - 10 / 20)^2 and (1 - 10 / 22)^2 between neighbours
    assert looks_of(20) == pytest.approx(LOOKS / ((1 + 0.5**2) / 2 * (1 + (12 / 22) ** 2) / 2))
    # of many, each pixel counts as 1 / (1 + 2 * 0.25) down and 1 / (1 + 2 * (12 / 22)^2 + 2 * (2 / 22)^2) across
    along, across = 1 + 2 * 0.25, 1 + 2 * (12 / 22) ** 2 + 2 * (2 / 22) ** 2
    assert looks_of(1000) == pytest.approx(LOOKS * 100 * 100 / (along * across), rel=0.02)


def test_a_real_forest_stack_gains_looks_and_keeps_its_level(data):
    rasterio = pytest.importorskip("rasterio")
    file = data_set(data, "sentinel1-myanmar-disturbance") / "s1_vh_db100.tif"
    with rasterio.open(file) as raster:
        decibels = raster.read(masked=True).astype("float32").filled(np.nan) / 100
    whole = [image for image in decibels if np.isfinite(image).all()][:20]
    images = (10 ** (np.stack(whole) / 10)).astype("float32")
    assert -18 < 10 * np.log10(np.median(images)) < -10  # VH of a closed tropical forest
    filtered = despeckle(images, "multitemporal")
    np.testing.assert_allclose(filtered.mean((1, 2)), images.mean((1, 2)), rtol=0.02)

    def typical_looks(image):
        blocks = image[:119, :119].reshape(17, 7, 17, 7).astype(float)
        return np.median(blocks.mean((1, 3)) ** 2 / blocks.var((1, 3)))

    gains = [typical_looks(after) / typical_looks(before) for before, after in zip(images, filtered, strict=True)]
    assert min(gains) > 1.5
