"""Indicators: hand arithmetic, published examples and independent libraries for each, and the laws that hold for all."""

import itertools
import math
import re

import numpy as np
import pytest
from conftest import ROOT

from pipeline.indicators import INDICATORS, called_here, compute, indicator, known_as
from pipeline.indicators.optical import ndvi
from pipeline.indicators.reference import page
from pipeline.indicators.registry import AMBIGUOUS, BAND_KINDS
from pipeline.indicators.tasselled_cap import SETS

FOREST = {  # a closed forest, so that every formula can be worked out on paper
    "blue": 0.02,
    "green": 0.04,
    "red": 0.03,
    "rededge1": 0.08,
    "rededge2": 0.25,
    "rededge3": 0.33,
    "nir": 0.38,
    "nir08": 0.40,
    "swir16": 0.16,
    "swir22": 0.07,
    "vv": 0.1,
    "vh": 0.02,
}
BY_HAND = {
    "ndvi": 0.37 / 0.43,
    "evi": 2.5 * 0.37 / 1.43,  # 0.40 + 6 x 0.03 - 7.5 x 0.02 + 1
    "evi2": 2.5 * 0.37 / 1.472,  # 0.40 + 2.4 x 0.03 + 1
    "savi": 1.5 * 0.37 / 0.93,
    "msavi": (1.8 - math.sqrt(3.24 - 2.96)) / 2,
    "gndvi": 0.36 / 0.44,
    "nirv": 0.40 * 0.37 / 0.43,
    "kndvi": math.tanh((0.37 / 0.43) ** 2),
    "ndmi": 0.24 / 0.56,
    "msi": 0.4,
    "nbr": 0.33 / 0.47,
    "nbr2": 0.09 / 0.23,
    "ndwi": -0.36 / 0.44,
    "mndwi": -0.12 / 0.20,
    "bsi": (0.19 - 0.42) / (0.19 + 0.42),
    "ndre": 0.32 / 0.48,
    "ci_red_edge": 4.0,
    "ireci": 0.30 * 0.25 / 0.08,
    "mtci": 0.17 / 0.05,
    "s2rep": 705 + 35 * 0.10 / 0.17,  # (0.33 + 0.03) / 2 - 0.08
    "vv_db": -10.0,
    "vh_db": -16.98970,
    "vh_vv_ratio_db": -6.98970,
    "rvi_dual_pol": 0.08 / 0.12,
}
SPYNDEX = {
    "ndvi": "NDVI", "evi": "EVI", "evi2": "EVI2", "savi": "SAVI", "msavi": "MSAVI", "gndvi": "GNDVI", "nirv": "NIRv",
    "kndvi": "kNDVI", "ndmi": "NDMI", "msi": "MSI", "nbr": "NBR", "nbr2": "NBR2", "ndwi": "NDWI", "mndwi": "MNDWI",
    "bsi": "BI", "ndre": "NDREI", "ci_red_edge": "CIRE", "ireci": "IRECI", "mtci": "MTCI", "s2rep": "S2REP",
    "rvi_dual_pol": "DpRVIVV", "vh_vv_ratio_db": "VHVVR",
}  # fmt: skip
SPYNDEX_BANDS = {
    "B": "blue", "G": "green", "R": "red", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3", "N": "nir08",
    "S1": "swir16", "S2": "swir22", "VV": "vv", "VH": "vh",
}  # fmt: skip
NO_DOI = {"nbr2", "bsi"}  # reports and journals that have none
RESOLUTION_M = 75.0  # of the laws' grids: the disc of 300 m is 4 pixels wide

CASES = [
    (name, sensor)
    for name, one in INDICATORS.items()
    for sensor in dict.fromkeys([*(one.sensors or (None,)), *one.instead])
]
"""Every indicator, with every sensor for which it differs."""
PIXELWISE = [case for case in CASES if not INDICATORS[case[0]].looks_around()]
AROUND = [case for case in CASES if INDICATORS[case[0]].looks_around()]


def of(name, bands, sensor=None):
    return compute(name, bands, sensor=sensor, resolution_m=RESOLUTION_M)


def reach_of(name):
    return INDICATORS[name].reach_px(RESOLUTION_M)


def random_bands(name, sensor=None, shape=(12, 10), seed=1, low=0.0, high=1.0):
    """Values that exist of every band: reflectance between two limits with both limits among them, and so on by kind."""
    rng = np.random.default_rng(seed)
    bands = {}
    for role, argument in zip(INDICATORS[name].roles(sensor), INDICATORS[name].bands, strict=True):
        kind = BAND_KINDS.get(argument, "reflectance")
        if kind == "reflectance":
            values = rng.uniform(low, high, shape)
            values = np.where(rng.uniform(size=shape) < 0.02, rng.choice([low, high], shape), values)
        elif kind == "gamma0":
            values = 10 ** rng.uniform(-3, 0.5, shape)
        elif kind == "elevation":
            values = rng.uniform(-400, 8800, shape)
        else:
            values = rng.uniform(0, 10, shape) + (30 if argument == "sun_zenith_deg" else 0)
        bands[role] = values.astype("float32")
    return bands


# ---------------------------------------------------------------- each formula


@pytest.mark.parametrize("name", BY_HAND)
def test_a_formula_gives_what_paper_gives(name):
    bands = {role: np.array([FOREST[role]]) for role in INDICATORS[name].bands}
    assert of(name, bands)[0] == pytest.approx(BY_HAND[name], rel=2e-5)


def test_every_formula_of_a_pixel_is_worked_out_by_hand_or_against_a_publication():
    published = {name for name in INDICATORS if name.startswith("tc_")}
    assert set(BY_HAND) | published == {name for name, _ in PIXELWISE}


@pytest.mark.parametrize("name", SPYNDEX)
def test_a_formula_gives_what_awesome_spectral_indices_give(name):
    import spyndex

    rng = np.random.default_rng(11)
    # Whole multiples of 1/16384, never equal in two bands: our single precision holds them, and their differences, exactly.
    bands = {
        role: (16 * rng.integers(0, 1024, 2000) + 1 + number) / 16384 for number, role in enumerate(INDICATORS[name].bands)
    }
    theirs = spyndex.indices[SPYNDEX[name]]
    values = {short: bands[role] for short, role in SPYNDEX_BANDS.items() if role in bands}
    values |= {key: spyndex.constants[key].default for key in ("L", "g", "C1", "C2") if key in theirs.bands}
    if name == "savi":
        values["L"] = 0.5  # Huete's; their default is that of EVI
    if name == "kndvi":  # sigma is half the sum of the two bands of each pixel
        sigma = (values["N"] + values["R"]) / 2
        rbf = {"kernel": "RBF", "params": {"a": values["N"], "b": values["R"], "sigma": sigma}}
        values = {"kNN": 1.0, "kNR": spyndex.computeKernel(**rbf)}
    expected = spyndex.computeIndex(SPYNDEX[name], values)
    if name.endswith("_db"):
        expected = 10 * np.log10(expected)
    np.testing.assert_allclose(of(name, bands, "s2"), expected, rtol=1e-5, atol=1e-6)


def test_every_optical_and_radar_formula_that_spyndex_knows_is_compared_with_it():
    import spyndex

    known = {key.lower() for key in spyndex.indices}
    left = {name for name, _ in PIXELWISE} - set(SPYNDEX)
    assert not {name for name in left if name.replace("_", "") in known}


@pytest.mark.parametrize(
    ("red", "nir08", "expected"),
    [(0.05, 0.45, 0.8), (0.30, 0.30, 0.0), (0.02, 0.01, -1 / 3)],
    ids=["closed_canopy", "bare_soil", "water"],
)
def test_ndvi_of_known_surfaces(red, nir08, expected):
    assert ndvi(red, nir08) == pytest.approx(expected)


# ---------------------------------------------------------------- tasselled cap


@pytest.mark.parametrize("sensor", SETS)
def test_tasselled_cap_axes_are_at_right_angles_and_of_length_one(sensor):
    axes = np.array([SETS[sensor][part] for part in ("brightness", "greenness", "wetness")])
    # As published: four decimals. One digit set wrong would show.
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=8e-4)


def test_tasselled_cap_of_a_forest_by_hand():
    six = {role: np.array([FOREST[role]]) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}
    # Crist 1985: 0.2043 x 0.02 + 0.4158 x 0.04 + 0.5524 x 0.03 + 0.5741 x 0.40 + 0.3124 x 0.16 + 0.2303 x 0.07
    assert of("tc_brightness", six, "ls")[0] == pytest.approx(0.333035, abs=1e-6)
    assert of("tc_greenness", six, "ls")[0] == pytest.approx(0.278162, abs=1e-6)
    assert of("tc_wetness", six, "ls")[0] == pytest.approx(-0.069879, abs=1e-6)
    assert of("tc_angle", six, "ls")[0] == pytest.approx(math.degrees(math.atan(0.278162 / 0.333035)), abs=1e-3)


def test_landsat_that_was_brought_to_oli_has_the_axes_of_oli():
    six = {role: np.array([FOREST[role]]) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}
    # Zhai et al. 2022: 0.3690 x 0.02 + 0.4271 x 0.04 + 0.4689 x 0.03 + 0.5073 x 0.40 + 0.3824 x 0.16 + 0.2406 x 0.07
    assert compute("tc_brightness", six, sensor="ls", seen_by="oli")[0] == pytest.approx(0.319477, abs=1e-6)
    assert compute("tc_wetness", six, sensor="ls_dry", seen_by="oli")[0] == pytest.approx(-0.031465, abs=1e-6)


def test_sentinel_2_that_was_brought_to_oli_has_the_axes_of_oli_and_its_near_infrared():
    """The reflectance is then OLI's, so both sensors have one wetness; B08 (0.9 here) has no line to OLI and does not enter."""
    six = {role: np.array([FOREST[role]]) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}
    with_nir = six | {"nir": np.array([0.9])}
    assert compute("tc_brightness", with_nir, sensor="s2", seen_by="oli")[0] == pytest.approx(0.319477, abs=1e-6)
    assert compute("tc_wetness", with_nir, sensor="s2_dry", seen_by="oli")[0] == pytest.approx(-0.031465, abs=1e-6)
    assert INDICATORS["tc_wetness"].roles("s2") == ("blue", "green", "red", "nir", "swir16", "swir22")


def test_a_tasselled_cap_without_its_sensor_is_refused():
    six = {role: np.array([FOREST[role]]) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}
    with pytest.raises(ValueError, match="'tc_wetness' has coefficients for ls, s2, not for no sensor"):
        compute("tc_wetness", six)


# ---------------------------------------------------------------- texture


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


GLCM = {
    "glcm_contrast": "contrast", "glcm_homogeneity": "homogeneity", "glcm_entropy": "entropy", "glcm_asm": "ASM",
    "glcm_correlation": "correlation", "glcm_variance": "variance",
}  # fmt: skip


@pytest.mark.parametrize("name", GLCM)
@pytest.mark.parametrize("missing_share", [0.0, 0.3])
def test_co_occurrence_is_that_of_scikit_image(name, missing_share):
    from skimage.feature import graycomatrix, graycoprops

    rng = np.random.default_rng(5)
    level = np.clip(rng.normal(15, 3, (16, 14)).round(), 0, 31).astype("uint8")
    level[6:13, 4:11] = 20  # a window of one grey level
    missing = rng.uniform(size=level.shape) < missing_share
    missing[9, 7] = False
    reflectance = np.where(missing, np.nan, (level + 0.5) * 0.02)
    values = compute(name, {"nir08": reflectance})
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    compared = 0
    for row, col in itertools.product(range(3, 13), range(3, 11)):
        window = np.where(missing, 32, level)[row - 3 : row + 4, col - 3 : col + 4]
        if missing[row, col] or (window < 32).sum() < 25:
            assert np.isnan(values[row, col])
            continue
        # Missing is a grey level of its own, whose pairs are thrown away.
        matrix = graycomatrix(window.astype("uint8"), [1], angles, levels=33, symmetric=True)[:32, :32]
        expected = graycoprops(matrix, GLCM[name]).mean()
        assert values[row, col] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        compared += 1
    assert compared > 20


@pytest.mark.parametrize(("reflectance", "level"), [(0.0, 0), (0.019, 0), (0.02, 1), (0.06, 3), (0.5, 25), (0.62, 31), (1.4, 31)])
def test_grey_levels_have_the_same_limits_everywhere(reflectance, level):
    from pipeline.indicators.texture import grey_levels

    assert grey_levels(np.array([[reflectance]], "float32")) == level


# ---------------------------------------------------------------- terrain


def test_slope_is_that_of_the_published_worked_example():
    # Esri, "How Slope works": cells of 5 m; the centre has 75.25762 degrees.
    elevation = np.array([[50.0, 45, 50], [30, 30, 30], [8, 10, 10]])
    assert compute("slope", {"elevation": elevation}, resolution_m=5)[1, 1] == pytest.approx(75.25762, abs=1e-4)


def test_aspect_is_that_of_the_published_worked_example():
    # Esri, "How Aspect works": the centre faces 92.64 degrees.
    elevation = np.array([[101.0, 92, 85], [101, 92, 85], [101, 91, 84]])
    facing = [compute(name, {"elevation": elevation}, resolution_m=1)[1, 1] for name in ("eastness", "northness")]
    assert math.degrees(math.atan2(*facing)) == pytest.approx(92.64, abs=0.005)
    assert math.hypot(*facing) == pytest.approx(1)


@pytest.mark.parametrize("name", ["slope", "northness", "eastness"])
def test_a_plane_has_one_slope_and_aspect_to_its_very_edge(name):
    rows, cols = np.mgrid[:6, :7]
    elevation = 500 + 30 * (0.3 * rows - 0.4 * cols)  # falls east 0.4, rises south 0.3: it faces east and north
    expected = {"slope": math.degrees(math.atan(0.5)), "eastness": 0.8, "northness": 0.6}[name]
    np.testing.assert_allclose(compute(name, {"elevation": elevation}, resolution_m=30), expected, rtol=1e-5)


def test_flat_ground_faces_nowhere():
    flat = {"elevation": np.full((4, 4), 12.5)}
    for name in ("slope", "northness", "eastness"):
        np.testing.assert_array_equal(compute(name, flat, resolution_m=30), np.zeros((4, 4)))


def test_position_is_height_above_the_mean_of_the_disc_around():
    from scipy.ndimage import convolve

    rng = np.random.default_rng(9)
    elevation = (rng.integers(0, 4000, (40, 36)) / 8).astype("float64")
    away = np.hypot(*np.mgrid[-10:11, -10:11])
    disc = ((away <= 10) & (away > 0)).astype(float)
    expected = elevation - convolve(elevation, disc, mode="constant") / disc.sum()
    tpi = compute("tpi", {"elevation": elevation}, resolution_m=30)
    np.testing.assert_allclose(tpi[10:-10, 10:-10], expected[10:-10, 10:-10], atol=2e-4)
    assert np.isfinite(tpi).all()  # a corner keeps a quarter of its disc


def test_position_needs_cells_smaller_than_its_disc():
    with pytest.raises(ValueError, match=r"tpi looks 300 m around; cells of 500 m have no neighbour"):
        compute("tpi", {"elevation": np.zeros((3, 3))}, resolution_m=500)


def test_what_measures_on_the_ground_needs_the_resolution():
    with pytest.raises(ValueError, match="'slope' measures on the ground and needs resolution_m"):
        compute("slope", {"elevation": np.zeros((3, 3))})


# ---------------------------------------------------------------- radar


def test_decibels_are_of_the_mean_power_not_the_mean_of_decibels():
    power = np.array([0.01, 0.19])
    assert of("vh_db", {"vh": np.array([power.mean()])})[0] == pytest.approx(-10)
    assert of("vh_db", {"vh": power}).mean() < -13


def test_power_of_zero_or_less_is_missing():
    for name in ("vv_db", "vh_db", "vh_vv_ratio_db", "rvi_dual_pol"):
        bands = {role: np.array([0.0, -0.01, 0.1]) for role in INDICATORS[name].bands}
        np.testing.assert_array_equal(np.isnan(of(name, bands)), [True, True, False])


# ---------------------------------------------------------------- laws of all


@pytest.mark.parametrize(("name", "sensor"), CASES)
def test_missing_in_is_missing_out(name, sensor):
    complete = of(name, random_bands(name, sensor), sensor)
    for role in INDICATORS[name].roles(sensor):
        bands = random_bands(name, sensor)
        bands[role][5, 5] = np.nan
        values = of(name, bands, sensor)
        assert np.isnan(values[5, 5])
        reach = reach_of(name)
        near = np.zeros(values.shape, bool)
        near[max(0, 5 - reach) : 6 + reach, max(0, 5 - reach) : 6 + reach] = True
        np.testing.assert_array_equal(values[~near], complete[~near])


@pytest.mark.parametrize(("name", "sensor"), CASES)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.05, 1), (0, 0.25)], ids=["reflectance", "below_zero", "dark"])
def test_values_stay_in_the_declared_range(name, sensor, low, high):
    values = of(name, random_bands(name, sensor, shape=(200, 200), low=low, high=high), sensor)
    lowest, highest = INDICATORS[name].valid_range
    known = values[np.isfinite(values)]
    some = 0.9 if not {"view_zenith_deg"} & set(INDICATORS[name].bands) else (0.0 if high == 1 else 0.05)
    assert values.dtype == np.float32 and known.size >= some * values.size
    assert not known.size or (known.min() >= lowest - 1e-5 and known.max() <= highest + 1e-5)


@pytest.mark.parametrize("name", ["ndvi", "savi", "msavi", "evi2", "nirv", "kndvi", "ndmi", "bsi"])
def test_a_declared_range_is_no_wider_than_it_must_be(name):
    roles = INDICATORS[name].bands
    bands = dict(zip(roles, np.array(list(itertools.product((0.0, 0.5, 1.0), repeat=len(roles)))).T, strict=True))
    assert np.nanmax(of(name, bands)) == pytest.approx(INDICATORS[name].valid_range[1], abs=1e-3)


DIVIDES_NOT = {"evi", "evi2", "savi", "msavi", "tc_brightness", "tc_greenness", "tc_wetness"}


@pytest.mark.parametrize(("name", "sensor"), PIXELWISE)
def test_division_by_zero_is_missing_and_silent(name, sensor, recwarn):
    values = of(name, {role: np.zeros(3) for role in INDICATORS[name].roles(sensor)}, sensor)
    np.testing.assert_array_equal(values, np.zeros(3) if name in DIVIDES_NOT else np.full(3, np.nan))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "vanishing"),
    [
        ("msi", {"nir08": 0.0}),
        ("ci_red_edge", {"rededge1": 0.0}),
        ("ireci", {"rededge1": 0.0}),
        ("mtci", {"red": 0.08}),  # as bright as the first red edge band
        ("s2rep", {"rededge2": 0.08}),
        ("evi", {"blue": 0.40, "red": 0.25, "nir08": 0.5}),  # 0.5 + 6 x 0.25 - 7.5 x 0.4 + 1
    ],
)
def test_what_would_be_infinite_is_missing(name, vanishing, recwarn):
    bands = {role: np.array([FOREST[role], vanishing.get(role, FOREST[role])]) for role in INDICATORS[name].bands}
    np.testing.assert_array_equal(np.isnan(of(name, bands)), [False, True])
    assert not recwarn.list


@pytest.mark.parametrize(("name", "sensor"), CASES)
@pytest.mark.parametrize("seed", [2, 3])
def test_cut_in_any_way_with_its_reach_it_equals_the_whole(name, sensor, seed):
    shape, reach = (40, 30), reach_of(name)
    rng = np.random.default_rng(seed)
    bands = random_bands(name, sensor, shape=shape, high=0.24 if "view_zenith_deg" in INDICATORS[name].bands else 1)
    next(iter(bands.values()))[rng.uniform(size=shape) < 0.2] = np.nan
    whole = of(name, bands, sensor)
    assert np.isfinite(whole).any()
    padded = {role: np.pad(values, reach, constant_values=np.nan) for role, values in bands.items()}
    row_cuts = [0, *sorted(rng.choice(np.arange(1, 40), 2, replace=False)), 40]
    col_cuts = [0, *sorted(rng.choice(np.arange(1, 30), 2, replace=False)), 30]
    for (top, bottom), (left, right) in itertools.product(itertools.pairwise(row_cuts), itertools.pairwise(col_cuts)):
        window = {role: v[top : bottom + 2 * reach, left : right + 2 * reach] for role, v in padded.items()}
        part = of(name, window, sensor)[reach : reach + bottom - top, reach : reach + right - left]
        np.testing.assert_array_equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize(("name", "sensor"), PIXELWISE)
def test_strips_change_nothing(name, sensor, monkeypatch):
    bands = random_bands(name, sensor, shape=(37, 29))
    whole = of(name, bands, sensor)
    flat = of(name, {role: values.ravel() for role, values in bands.items()}, sensor)
    np.testing.assert_array_equal(flat, whole.ravel())
    monkeypatch.setattr("pipeline.indicators.registry.STRIP_PX", 31)
    np.testing.assert_array_equal(of(name, bands, sensor), whole)


@pytest.mark.parametrize("name", INDICATORS)
def test_every_indicator_declares_unit_range_and_source(name):
    declared = INDICATORS[name]
    assert declared.units and declared.title.endswith(".")
    assert declared.valid_range[0] < declared.valid_range[1]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert name in NO_DOI or re.search(r"doi:10\.\d{4,}/\S+", declared.reference)
    assert len(declared.reference) > 30


def test_no_other_name_is_an_indicator_a_band_or_another_ones():
    others = [alias for declared in INDICATORS.values() for alias in declared.aliases] + list(AMBIGUOUS)
    assert len(others) == len(set(others))
    assert not set(others) & (set(INDICATORS) | set(FOREST) | set(BAND_KINDS))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("ndii", "ndii is called ndmi here"),
        ("LSWI", "LSWI is called ndmi here"),
        ("msavi2", "msavi2 is called msavi here"),
        ("NDVI", "NDVI is called ndvi here"),
        ("rvi", "rvi is two things"),
        ("tci", "tci is three things"),
        ("cci", "neither is offered"),
        ("ndmi", ""),
        ("nothing_of_the_kind", ""),
    ],
)
def test_another_name_is_answered_with_ours(asked, answer):
    assert answer in called_here(asked) and bool(answer) == bool(called_here(asked))


def test_a_name_of_two_things_is_not_taken_for_either():
    assert known_as("rvi") == "" and known_as("ndii") == "ndmi"


def test_the_reference_page_is_that_of_the_registry():
    kept = (ROOT / "docs/reference/indicators.md").read_text(encoding="utf-8")
    assert kept == page(), "write it anew: python -m pipeline list indicators --page > docs/reference/indicators.md"


def test_the_reference_page_shows_every_indicator_and_its_formula():
    text = page()
    for name in INDICATORS:
        assert f"| `{name}` |" in text
    assert "`(nir08 - red) / (nir08 + red)`" in text and "`10 * log10(vh / vv)`" in text


# ---------------------------------------------------------------- plug-ins


@pytest.fixture
def own_registry(monkeypatch):
    import pipeline.indicators.registry as registry

    monkeypatch.setattr(registry, "INDICATORS", dict(INDICATORS))
    return registry


def test_a_plug_in_declares_an_indicator_in_one_place(own_registry):
    @indicator(units="1", valid_range=(0, 2), reference="made for a test")
    def brightness(red, nir08):
        """Sum of red and near infrared."""
        return red + nir08

    declared = own_registry.INDICATORS["brightness"]
    assert declared.bands == ("red", "nir08") and declared.title == "Sum of red and near infrared."
    assert compute("brightness", {"red": np.array([0.1]), "nir08": np.array([0.3])})[0] == pytest.approx(0.4)


def test_a_formula_that_works_in_place_is_stopped_before_it_changes_the_bands(own_registry):
    @indicator(units="1", valid_range=(0, 2), reference="made for a test")
    def doubled(red):
        """Twice red."""
        red *= 2
        return red

    red = np.array([0.1, 0.2], "float32")
    with pytest.raises(ValueError, match="read-only"):
        compute("doubled", {"red": red})
    assert red[0] == np.float32(0.1)


def test_coefficients_are_declared_and_taken_or_neither(own_registry):
    with pytest.raises(ValueError, match="coefficients both declared and taken"):

        @indicator(units="1", valid_range=(0, 2), reference="made for a test", coefficients={"s2": (1,)})
        def half_declared(red):
            """Red."""
            return red


def test_a_name_is_declared_once(own_registry):
    def ndvi(red):
        """Not the one."""
        return red

    with pytest.raises(ValueError, match="'ndvi' is declared twice"):
        indicator(units="1", valid_range=(0, 1), reference="made for a test")(ndvi)


def test_an_indicator_with_a_halo_refuses_values_without_neighbours():
    with pytest.raises(ValueError, match="neighbouring pixels"):
        compute("nir_texture", {"nir08": np.array([0.3, 0.4])})


@pytest.mark.parametrize("name", [name for name, one in INDICATORS.items() if not one.looks_around()])
def test_one_number_per_band_is_enough_for_a_formula_of_a_pixel(name):
    sensor = (INDICATORS[name].sensors or (None,))[0]
    bands = {role: np.float32(values[0, 0]) for role, values in random_bands(name, sensor, low=0.05, high=0.2).items()}
    assert of(name, bands, sensor).shape == ()
