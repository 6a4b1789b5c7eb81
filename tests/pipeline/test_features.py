"""Predictors by name: the same function for windows and plots, and what must be read for them."""

import numpy as np
import pytest

from catalogs.sensors import SENSORS, offered_roles
from pipeline.features import default_predictors, offered, predictors, required
from pipeline.indicators import INDICATORS

SENSOR_ROLES = offered_roles(SENSORS)
METRICS = ("zmean", "zq95", "cover_2m")


def make_bands(shape=(4, 5), seed=1):
    rng = np.random.default_rng(seed)
    return {role: rng.uniform(0.01, 0.5, shape).astype("float32") for role in ("red", "nir08", "swir16", "swir22")}


def test_predictors_are_bands_indicators_and_metrics_in_the_order_asked():
    bands, lidar = {"s2": make_bands()}, {"zq95": np.full((4, 5), 21.0)}
    values = predictors(bands, lidar, ["zq95", "s2_ndmi", "s2_red"])
    assert list(values) == ["zq95", "s2_ndmi", "s2_red"]
    nir08, swir16 = bands["s2"]["nir08"], bands["s2"]["swir16"]
    np.testing.assert_allclose(values["s2_ndmi"], (nir08 - swir16) / (nir08 + swir16), rtol=1e-6)
    np.testing.assert_array_equal(values["s2_red"], bands["s2"]["red"])
    assert {array.dtype for array in values.values()} == {np.dtype("float32")}


def test_plots_and_pixels_have_the_same_predictors():
    bands = make_bands()
    pixels = predictors({"ls": bands}, {}, ["ls_nbr"])["ls_nbr"]
    plots = predictors({"ls": {role: values.ravel() for role, values in bands.items()}}, {}, ["ls_nbr"])["ls_nbr"]
    np.testing.assert_array_equal(plots, pixels.ravel())


def test_two_sensors_do_not_mix():
    first, second = make_bands(seed=1), make_bands(seed=2)
    values = predictors({"s2": first, "ls": second}, {}, ["ls_red", "s2_red"])
    np.testing.assert_array_equal(values["ls_red"], second["red"])


def test_composites_of_one_sensor_do_not_mix_and_keep_its_coefficients_and_bands():
    more = {role: np.full_like(make_bands()["red"], 0.05) for role in ("blue", "green", "nir")}
    on, off = make_bands(seed=1) | more, make_bands(seed=2) | more
    both = {"s2": on, "s2_leafoff": off}
    values = predictors(both, {}, ["s2_red", "s2_leafoff_red", "s2_leafoff_tc_wetness"])
    np.testing.assert_array_equal(values["s2_red"], on["red"])
    np.testing.assert_array_equal(values["s2_leafoff_red"], off["red"])
    same = predictors({"s2": off}, {}, ["s2_tc_wetness"])["s2_tc_wetness"]
    np.testing.assert_array_equal(values["s2_leafoff_tc_wetness"], same)
    roles = {prefix: tuple(bands) for prefix, bands in both.items()}
    needs = required(["s2_leafoff_nir_texture", "s2_ndmi"], roles, metrics=())
    assert needs.roles == {"s2": ("nir08", "swir16"), "s2_leafoff": ("nir",)}


def test_what_must_be_read_follows_from_the_names():
    needs = required(["s2_ndmi", "s2_nir_texture", "ls_red", "zq95"], SENSOR_ROLES, metrics=METRICS)
    assert needs.roles == {"ls": ("red",), "s2": ("nir", "nir08", "swir16")}  # texture on the band of 10 m
    assert needs.metrics == ("zq95",)
    assert needs.halo_px == 1
    assert required(["zmean"], {}, metrics=METRICS).halo_px == 0


def test_what_is_read_is_enough_for_every_predictor_on_offer():
    for name in offered(SENSOR_ROLES, METRICS):
        needs = required([name], SENSOR_ROLES, metrics=METRICS, resolution_m=30)
        bands = {prefix: {role: np.full((3, 3), 0.2) for role in roles} for prefix, roles in needs.roles.items()}
        values = predictors(bands, {metric: np.ones((3, 3)) for metric in needs.metrics}, [name], resolution_m=30)
        assert list(values) == [name]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("s2_ndmii", "'s2_ndmii' is not a predictor of this study; did you mean s2_ndmi"),
        ("zq59", "did you mean zq95"),
        ("ndmi", "did you mean s2_ndmi"),
        ("ls_ndre", "predictor 'ls_ndre' needs band 'rededge1'; sensor 'ls' offers blue, green, red"),
        ("ls_mtci", "predictor 'ls_mtci' is not for sensor 'ls': mtci holds for s2 alone"),
        ("s2_ndii", "'s2_ndii' is not a predictor of this study, ndii is called ndmi here: ask for s2_ndmi"),
        ("ls_TCW", "TCW is called tc_wetness here: ask for ls_tc_wetness"),
        ("lswi", "lswi is called ndmi here: ask for s2_ndmi"),
        ("s2_rvi", "rvi is two things: .*rvi_dual_pol"),
    ],
)
def test_an_unknown_predictor_names_the_nearest_and_what_is_on_offer(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        required([name], SENSOR_ROLES, metrics=METRICS)


def test_predictors_of_what_the_study_lacks_are_refused():
    with pytest.raises(ValueError, match=r"'zq95' is not a predictor of this study.*on offer: s2_ndvi"):
        required(["zq95"], {"s2": ("red", "nir08")}, metrics=())
    with pytest.raises(ValueError, match="'s2_nbr' is not a predictor"):
        predictors({"s2": {"red": np.ones(2)}}, {}, ["s2_nbr"])


def test_defaults_are_few_and_can_be_made():
    sets = default_predictors(SENSOR_ROLES, lidar=True)
    assert list(sets) == ["lidar", "satellite"]
    assert sets["satellite"] == ("s2_ndmi", "s2_nbr", "s2_ndre", "s2_swir16")
    assert default_predictors({"ls": SENSOR_ROLES["ls"]}, lidar=False) == {
        "satellite": ("ls_ndmi", "ls_nbr", "ls_swir16", "ls_ndvi")
    }
    for names in sets.values():
        required(names, SENSOR_ROLES)
    assert list(default_predictors({}, lidar=True)) == ["lidar"]


def test_naming_predictors_loads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, pipeline.features, catalogs.search;"
        "print([m for m in ('numpy', 'pandas', 'rasterio', 'pystac', 'shapely', 'pyproj') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_no_indicator_has_the_name_of_a_band():
    roles = {role for sensor in SENSORS.values() for role in sensor.roles}
    assert not roles & set(INDICATORS)


RADAR_AND_TERRAIN = {"s1": ("vv", "vh"), "dem": ("elevation",)}


def test_radar_and_terrain_are_named_like_optics():
    names = ["s1_vh", "s1_vh_db", "s1_rvi_dual_pol", "dem_elevation", "dem_slope"]
    needs = required(names, RADAR_AND_TERRAIN, metrics=(), resolution_m=30)
    assert needs.roles == {"dem": ("elevation",), "s1": ("vh", "vv")} and needs.halo_px == 1
    bands = {
        "s1": {"vv": np.full((3, 3), 0.1), "vh": np.full((3, 3), 0.01)},
        "dem": {"elevation": np.repeat([[0.0], [30.0], [60.0]], 3, axis=1)},
    }
    values = predictors(bands, {}, names, resolution_m=30)
    assert values["s1_vh"][0, 0] == np.float32(0.01)  # a band is what was measured: linear power
    assert values["s1_vh_db"][0, 0] == pytest.approx(-20)
    assert values["s1_rvi_dual_pol"][0, 0] == pytest.approx(4 * 0.01 / 0.11)
    assert values["dem_slope"][1, 1] == pytest.approx(45)


@pytest.mark.parametrize(("resolution_m", "halo_px"), [(10, 30), (30, 10), (70, 5), (300, 1)])
def test_a_reach_on_the_ground_is_more_pixels_on_a_finer_grid(resolution_m, halo_px):
    assert required(["dem_tpi"], RADAR_AND_TERRAIN, resolution_m=resolution_m).halo_px == halo_px


def test_a_reach_on_the_ground_needs_the_resolution():
    with pytest.raises(ValueError, match="looks 300 m around and needs resolution_m"):
        required(["dem_tpi"], RADAR_AND_TERRAIN)


def test_a_study_of_radar_alone_has_defaults():
    assert default_predictors({"s1": ("vv", "vh")}, lidar=False) == {"satellite": ("s1_vh_db", "s1_vh_vv_ratio_db")}


def test_an_indicator_with_coefficients_takes_those_of_its_sensor():
    rng = np.random.default_rng(3)
    bands = {role: rng.uniform(0, 0.5, 5) for role in ("blue", "green", "red", "nir", "nir08", "swir16", "swir22")}
    values = predictors({"s2": bands, "ls": bands}, {}, ["s2_tc_wetness", "ls_tc_wetness"])
    crist = [0.0315, 0.2021, 0.3102, 0.1594, -0.6806, -0.6109]
    shi = [0.2578, 0.2305, 0.0883, 0.1071, -0.7611, -0.5308]
    six = ("blue", "green", "red", "nir08", "swir16", "swir22")
    np.testing.assert_allclose(values["ls_tc_wetness"], sum(c * bands[r] for c, r in zip(crist, six, strict=True)), atol=1e-6)
    broad = ("blue", "green", "red", "nir", "swir16", "swir22")
    np.testing.assert_allclose(values["s2_tc_wetness"], sum(c * bands[r] for c, r in zip(shi, broad, strict=True)), atol=1e-6)
