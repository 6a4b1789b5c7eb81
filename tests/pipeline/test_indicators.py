"""Indicators: hand arithmetic for each formula, and the laws that hold for all of them."""

import numpy as np
import pytest

from pipeline.indicators import INDICATORS, compute, indicator
from pipeline.indicators.optical import ndvi

FOREST = {  # a closed forest, so that every formula can be worked out on paper
    "blue": 0.02,
    "green": 0.04,
    "red": 0.03,
    "rededge1": 0.08,
    "nir08": 0.40,
    "swir16": 0.16,
    "swir22": 0.07,
}
BY_HAND = {
    "ndvi": 0.37 / 0.43,
    "evi2": 2.5 * 0.37 / 1.472,  # 0.40 + 2.4 x 0.03 + 1
    "savi": 1.5 * 0.37 / 0.93,
    "gndvi": 0.36 / 0.44,
    "nirv": 0.40 * 0.37 / 0.43,
    "ndmi": 0.24 / 0.56,
    "msi": 0.4,
    "nbr": 0.33 / 0.47,
    "nbr2": 0.09 / 0.23,
    "ndwi": -0.36 / 0.44,
    "mndwi": -0.12 / 0.20,
    "bsi": (0.19 - 0.42) / (0.19 + 0.42),
    "ndre": 0.32 / 0.48,
}


def random_bands(name, shape=(12, 10), seed=1, low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return {role: rng.uniform(low, high, shape).astype("float32") for role in INDICATORS[name].bands}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_formula_gives_what_paper_gives(name):
    bands = {role: np.array([FOREST[role]]) for role in INDICATORS[name].bands}
    assert compute(name, bands)[0] == pytest.approx(BY_HAND[name], rel=1e-5)


def test_every_pixel_formula_is_worked_out_by_hand():
    assert set(BY_HAND) == {name for name, declared in INDICATORS.items() if not declared.halo_px}


@pytest.mark.parametrize(
    ("red", "nir08", "expected"),
    [(0.05, 0.45, 0.8), (0.30, 0.30, 0.0), (0.02, 0.01, -1 / 3)],
    ids=["closed_canopy", "bare_soil", "water"],
)
def test_ndvi_of_known_surfaces(red, nir08, expected):
    assert ndvi(red, nir08) == pytest.approx(expected)


def test_texture_is_the_standard_deviation_of_nine_pixels():
    nir08 = np.full((5, 5), 0.3)
    nir08[2, 2] = 0.39  # around it: mean 0.31, squares 8 x 0.01^2 + 0.08^2 = 0.0072, variance 0.0008
    texture = compute("nir_texture", {"nir08": nir08})
    np.testing.assert_allclose(texture[1:4, 1:4], np.sqrt(0.0008), rtol=1e-4)
    assert texture[0, 2] == pytest.approx(0.0, abs=1e-6)
    nir08[2, 2] = np.nan
    texture = compute("nir_texture", {"nir08": nir08})
    assert np.isnan(texture[2, 2]) and texture[1, 1] == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(texture[0, 0])  # a corner has 4 of 9 pixels


@pytest.mark.parametrize("name", INDICATORS)
def test_missing_in_is_missing_out(name):
    for role in INDICATORS[name].bands:
        bands = random_bands(name)
        bands[role][5, 5] = np.nan
        values = compute(name, bands)
        assert np.isnan(values[5, 5])
        reach = INDICATORS[name].halo_px
        near = np.zeros(values.shape, bool)
        near[5 - reach : 6 + reach, 5 - reach : 6 + reach] = True
        complete = compute(name, random_bands(name))
        np.testing.assert_array_equal(values[~near], complete[~near])


@pytest.mark.parametrize("name", INDICATORS)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.05, 1)], ids=["reflectance", "dark_surfaces_below_zero"])
def test_values_stay_in_the_declared_range(name, low, high):
    values = compute(name, random_bands(name, shape=(200, 200), low=low, high=high))
    lowest, highest = INDICATORS[name].valid_range
    known = values[np.isfinite(values)]
    assert values.dtype == np.float32 and known.size > 0.9 * values.size
    assert known.min() >= lowest - 1e-6 and known.max() <= highest + 1e-6


@pytest.mark.parametrize("name", [name for name, declared in INDICATORS.items() if not declared.halo_px])
def test_division_by_zero_is_missing_and_silent(name, recwarn):
    values = compute(name, {role: np.zeros(3) for role in INDICATORS[name].bands})
    divides = name not in ("evi2", "savi")
    np.testing.assert_array_equal(values, np.full(3, np.nan) if divides else np.zeros(3))
    assert not recwarn.list


@pytest.mark.parametrize("name", INDICATORS)
def test_chunks_with_their_halo_equal_the_whole(name):
    reach = INDICATORS[name].halo_px
    bands = random_bands(name, shape=(40, 30))
    bands[INDICATORS[name].bands[0]][np.random.default_rng(2).uniform(size=(40, 30)) < 0.2] = np.nan
    whole = compute(name, bands)
    padded = {role: np.pad(values, reach, constant_values=np.nan) for role, values in bands.items()}
    for row in range(0, 40, 16):
        for col in range(0, 30, 16):
            rows, cols = min(16, 40 - row), min(16, 30 - col)
            window = {role: v[row : row + rows + 2 * reach, col : col + cols + 2 * reach] for role, v in padded.items()}
            part = compute(name, window)[reach : reach + rows, reach : reach + cols]
            np.testing.assert_array_equal(part, whole[row : row + rows, col : col + cols])


@pytest.mark.parametrize("name", INDICATORS)
def test_every_indicator_declares_unit_range_and_source(name):
    declared = INDICATORS[name]
    assert declared.units and declared.reference and declared.title.endswith(".")
    assert declared.valid_range[0] < declared.valid_range[1]


def test_a_plug_in_declares_an_indicator_in_one_place(monkeypatch):
    import pipeline.indicators.registry as registry

    monkeypatch.setattr(registry, "INDICATORS", dict(INDICATORS))

    @indicator(units="1", valid_range=(0, 2), reference="made for a test")
    def brightness(red, nir08):
        """Sum of red and near infrared."""
        return red + nir08

    declared = registry.INDICATORS["brightness"]
    assert declared.bands == ("red", "nir08") and declared.title == "Sum of red and near infrared."
    assert compute("brightness", {"red": np.array([0.1]), "nir08": np.array([0.3])})[0] == pytest.approx(0.4)


def test_an_indicator_with_a_halo_refuses_values_without_neighbours():
    with pytest.raises(ValueError, match="neighbouring pixels"):
        compute("nir_texture", {"nir08": np.array([0.3, 0.4])})
