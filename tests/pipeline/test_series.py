"""What the dates of a series say of an index: against numpy, planted waves and scenes on file."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import make_study

from pipeline import store
from pipeline.bridge import Plan
from pipeline.bridge.problems import wrong_corrections
from pipeline.grid import Grid
from pipeline.optical.composite import Observations
from pipeline.optical.series import (
    PHASE_SCALE_DAYS,
    formula_modules,
    problems_of,
    series_bands,
    series_roles,
    statistics,
    units_and_scales,
)
from pipeline.steps.composite import composite

S2 = "sentinel-2-l2a"
ROLES = ("red", "nir08", "swir16", "swir22", "blue", "green")
TARGET = np.datetime64("2019-07-01")


def make_stack(dates=9, shape=(4, 5), seed=1, missing=0.2):
    """Red and near infrared of some dates, and NDVI worked out here."""
    rng = np.random.default_rng(seed)
    red, nir = rng.uniform(0.02, 0.1, (dates, *shape)), rng.uniform(0.2, 0.5, (dates, *shape))
    gone = rng.uniform(size=red.shape) < missing
    red[gone] = nir[gone] = np.nan
    return {"red": red.astype("float32"), "nir08": nir.astype("float32")}, ((nir - red) / (nir + red))


def days(*numbers, year=2019):
    return [np.datetime64(f"{year}-01-01", "s") + np.timedelta64(number * 86_400, "s") for number in numbers]


def ask(stack, series, dates, **options):
    seen = Observations.of_arrays(stack)
    return statistics(seen, dates, series, **{"sensor": "s2", "target": TARGET} | options)


@pytest.mark.parametrize("percent", [10, 25, 50, 75, 90])
def test_a_percentile_is_numpys(percent):
    stack, ndvi = make_stack()
    found = ask(stack, {"ndvi": [f"p{percent}"]}, days(*range(0, 90, 10)))
    assert list(found) == [f"ndvi_p{percent}"]
    np.testing.assert_allclose(found[f"ndvi_p{percent}"], np.nanpercentile(ndvi, percent, axis=0), atol=2e-6)


def test_the_amplitude_is_the_90th_less_the_10th_percentile():
    stack, ndvi = make_stack()
    found = ask(stack, {"ndvi": ["amplitude"]}, days(*range(0, 90, 10)))
    np.testing.assert_allclose(found["ndvi_amplitude"], np.subtract(*np.nanpercentile(ndvi, (90, 10), axis=0)), atol=2e-6)


def test_pixels_seen_too_seldom_are_missing():
    stack, _ = make_stack(missing=0.6, seed=2)
    count = np.isfinite(stack["red"]).sum(axis=0)
    found = ask(stack, {"ndvi": ["p50", "amplitude"]}, days(*range(0, 90, 10)), min_clear_count=4)
    assert 0 < (count < 4).sum() < count.size
    for values in found.values():
        np.testing.assert_array_equal(np.isnan(values), count < 4)


def test_slabs_of_rows_do_not_show():
    stack, ndvi = make_stack(shape=(150, 3), missing=0)
    found = ask(stack, {"ndvi": ["p50"]}, days(*range(0, 90, 10)))
    np.testing.assert_allclose(found["ndvi_p50"], np.median(ndvi, axis=0), atol=2e-6)


def wave(dates, *, level=0.6, half=0.2, top_day=200.0, trend=0.0, reference=TARGET):
    """Red and near infrared whose NDVI is a yearly wave."""
    since = np.array([(date - np.datetime64("2019-01-01", "s")) / np.timedelta64(86_400, "s") for date in dates])
    years = np.array([float((date - reference) / np.timedelta64(1, "s")) for date in dates]) / (365.25 * 86_400)
    ndvi = level + trend * years + half * np.cos(2 * np.pi * (since - top_day) / 365.25)
    red = (0.4 * (1 - ndvi) / (1 + ndvi))[:, None, None] * np.ones((1, 2, 2))
    return {"red": red.astype("float32"), "nir08": np.full(red.shape, 0.4, "float32")}


def test_a_planted_wave_of_one_year_comes_back():
    dates = days(5, 50, 95, 140, 185, 230, 275, 320, 350)
    found = ask(wave(dates), {"ndvi": ["harmonic"]}, dates)
    assert set(found) == {"ndvi_harmonic_mean", "ndvi_harmonic_amplitude", "ndvi_harmonic_phase"}
    np.testing.assert_allclose(found["ndvi_harmonic_mean"], 0.6, atol=1e-4)
    np.testing.assert_allclose(found["ndvi_harmonic_amplitude"], 0.2, atol=1e-4)
    np.testing.assert_allclose(found["ndvi_harmonic_phase"], 200, atol=1.0)  # phases count from 1970, years are 365.25 days


def test_over_several_years_a_trend_is_told_and_the_level_on_the_target_day():
    dates = [day for year in (2017, 2018, 2019) for day in days(20, 90, 160, 230, 300, 340, year=year)]
    found = ask(wave(dates, trend=0.03), {"ndvi": ["harmonic"]}, dates, years=3)
    np.testing.assert_allclose(found["ndvi_harmonic_trend"], 0.03, atol=1e-4)
    np.testing.assert_allclose(found["ndvi_harmonic_mean"], 0.6, atol=1e-4)  # not that of the series' middle, 0.57
    np.testing.assert_allclose(found["ndvi_harmonic_amplitude"], 0.2, atol=1e-4)


def test_a_wave_that_too_few_dates_carry_is_missing():
    dates = days(20, 100, 180, 260, 340)
    found = ask(wave(dates), {"ndvi": ["harmonic", "p50"]}, dates)
    assert np.isnan(found["ndvi_harmonic_amplitude"]).all() and np.isfinite(found["ndvi_p50"]).all()


# ---------------------------------------------------------------- names, units, sentences


def test_bands_are_named_after_index_and_statistic():
    series = {"ndvi": ["p90", "harmonic"], "nbr": ["amplitude", "amplitude"]}
    assert list(series_bands(series)) == [
        "ndvi_p90", "ndvi_harmonic_mean", "ndvi_harmonic_amplitude", "ndvi_harmonic_phase", "nbr_amplitude",
    ]  # fmt: skip
    assert "ndvi_harmonic_trend" in series_bands(series, years=2)
    assert series_roles(series, "s2") == ["nir08", "red", "swir22"]


def test_each_band_is_kept_in_steps_that_hold_its_range():
    units, scales = units_and_scales({"ndvi": ["p50", "harmonic"], "evi": ["p50"], "s2rep": ["p50"]}, years=2)
    assert units["ndvi_p50"] == "1" and units["ndvi_harmonic_trend"] == "1 per year" and units["s2rep_p50"] == "nm"
    assert units["ndvi_harmonic_phase"] == "day" and 366 / scales["ndvi_harmonic_phase"] < 32767
    assert scales["ndvi_p50"] == 1e-4 and scales["evi_p50"] == 1e-3 and scales["ndvi_harmonic_phase"] == PHASE_SCALE_DAYS
    assert 800 / scales["s2rep_p50"] < 32767  # the red edge lies at 700 to 740 nm


@pytest.mark.parametrize(
    ("series", "season_days", "words"),
    [
        ({"ndvii": ["p50"]}, 365, "'ndvii' is not an indicator; did you mean ndvi?"),
        ({"lswi": ["p50"]}, 365, "lswi is called ndmi here"),
        ({"ndvi": ["p5"]}, 365, "ndvi: 'p5' is not a statistic; did you mean p"),
        ({"ndvi": []}, 365, "ndvi: no statistic is named; known: p10,"),
        ({"nir_texture": ["p50"]}, 365, "nir_texture looks at neighbours; a series takes an index of the pixel alone"),
        ({"slope": ["p50"]}, 365, "slope is not made of reflectance"),
        ({"ndre": ["p50"]}, 365, "ndre cannot be made of s2: it needs rededge"),
        ({"ndvi": ["harmonic"]}, 122, "harmonic needs scenes from the whole year, and the season has 122 days (240 are needed)"),
    ],
)
def test_what_cannot_be_made_is_said(series, season_days, words):
    (sentence,) = problems_of(series, "s2", ROLES, season_days)
    assert words in sentence


def test_check_says_it_before_the_first_job():
    content = {"stands": {"grid_m": 100}, "model.predictors": {"a": ["zmean"]}}
    season = {"catalog": "catalog.json", "season": ["06-01", "09-30"]}
    plan = Plan(make_study({**content, "sensors": {S2: {**season, "series": {"ndvi": ["p50", "harmonic"], "ndvj": ["p9"]}}}}))
    said = wrong_corrections(plan, S2)
    assert [line.split(": ")[0] for line in said] == [f"sensors.{S2}.series"] * 3
    dea = Plan(make_study({**content, "sensors": {"landsat-nbart": {**season, "harmonise": "oli"}}}))
    assert wrong_corrections(dea, "landsat-nbart")[0].startswith("sensors.landsat-nbart.harmonise: there are no published lines")


# ---------------------------------------------------------------- a study that asks for it


def plan_with(predictors, **settings):
    sensors = {S2: {"catalog": "catalog.json"} | settings, "landsat-c2-l2": {"catalog": "catalog.json"}}
    return Plan(make_study({"stands": {"grid_m": 100}, "sensors": sensors, "model.predictors": {"a": predictors}}))


@pytest.mark.parametrize(
    ("asked", "searched"),
    [
        ({}, [2019, 2024]),
        ({"series_years": 3}, [2019, 2024]),  # nothing asks for dates, so there is nothing to look back for
        ({"series_years": 3, "series": {"ndvi": ["p90"]}}, [2017, 2018, 2019, 2022, 2023, 2024]),
        ({"series_years": 2, "series": {"ndvi": ["p90"]}, "years": [2010, 2019, 2024]}, [2010, 2018, 2019, 2023, 2024]),
    ],
)
def test_the_years_that_a_series_looks_back_to_are_searched_for(asked, searched):
    assert plan_with(["s2_ndvi"], **asked).imagery.years(S2) == searched


def test_statistics_and_further_reducers_are_predictors_by_name():
    plan = plan_with(
        ["s2_ndvi_p90", "s2_red_p10", "s2_nbr"], series={"ndvi": ["p90", "harmonic"]}, reducer=["median", "p10"]
    )
    assert plan.sources["sensors"][S2]["roles"] == ["ndvi_p90", "nir08", "red_p10", "swir22"]
    assert plan.roles(S2) == ["nir08", "red", "swir22"]
    with pytest.raises(ValueError, match="did you mean s2_ndvi_p90"):
        _ = plan_with(["s2_ndvi_p80"], series={"ndvi": ["p90"]}).needs
    with pytest.raises(ValueError, match="'s2_ndvi_harmonic_trend' is not a predictor"):
        _ = plan_with(["s2_ndvi_harmonic_trend"], series={"ndvi": ["harmonic"]}).needs
    assert plan_with(["s2_ndvi_harmonic_trend"], series={"ndvi": ["harmonic"]}, series_years=3).needs.roles


def test_only_composites_that_ask_for_an_index_hang_on_its_formula(monkeypatch):
    from pipeline.bridge import digests

    plan = plan_with(["s2_ndvi_p90", "ls_nbr"], series={"ndvi": ["p90"]})
    before = {sensor: plan.composite_code(sensor)["digest"] for sensor in (S2, "landsat-c2-l2")}
    assert "pipeline.indicators.optical" in formula_modules({"ndvi": ["p90"]})
    assert "pipeline.indicators.tasselled_cap" not in formula_modules({"ndvi": ["p90"]})
    read = digests._read
    changed = lambda name: ("new text", ()) if name == "pipeline.indicators.optical" else read(name)  # noqa: E731
    monkeypatch.setattr(digests, "_read", changed)
    after = {sensor: plan.composite_code(sensor)["digest"] for sensor in before}
    assert after[S2] != before[S2] and after["landsat-c2-l2"] == before["landsat-c2-l2"]


WEST, NORTH, SIDE = 500_000.0, 3_000_000.0, 48
DATES = {"a": "2018-07-10", "b": "2018-08-20", "c": "2019-06-05", "d": "2019-07-15", "e": "2019-09-01"}


def write_tif(file, values):
    options = {"dtype": values.dtype, "crs": "EPSG:32650", "transform": Affine(20, 0, WEST, 0, -20, NORTH), "nodata": 0}
    with rasterio.open(file, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, **options) as raster:
        raster.write(values, 1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two scenes of 2018 and three of 2019 with clouds, frozen; NDVI of each, worked out from the files' numbers."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(8)
    items, ndvi = [], {}
    for name, day in DATES.items():
        red, nir = rng.integers(200, 900, (SIDE, SIDE)), rng.integers(2000, 4500, (SIDE, SIDE))
        cloud = rng.uniform(size=(SIDE, SIDE)) < 0.2
        write_tif(folder / f"{name}_red.tif", red.astype("uint16"))
        write_tif(folder / f"{name}_nir08.tif", nir.astype("uint16"))
        write_tif(folder / f"{name}_scl.tif", np.where(cloud, 0, 4).astype("uint8"))  # 0 does not spread
        ndvi[name] = np.where(cloud, np.nan, (nir - red) / (nir + red))
        encoding = {"scale": 1e-4, "offset": 0.0, "nodata": 0}
        item = {
            "id": name, "year": int(day[:4]), "datetime": f"{day}T03:00:00Z", "platform": "sentinel-2a",
            "bounds": [WEST, NORTH - 20 * SIDE, WEST + 20 * SIDE, NORTH],
            "bands": {role: {"href": f"{name}_{role}.tif", **encoding} for role in ("red", "nir08")},
            "quality": {"href": f"{name}_scl.tif"},
        }  # fmt: skip
        items.append(item)
    frozen = {"sensor": S2, "query": {"years": [2018, 2019]}, "items": items, "left_out": []}
    (folder / "scenes.json").write_text(json.dumps(frozen))
    return folder / "scenes.json", ndvi


def days_from_2_july(day):
    return abs((np.datetime64(day) - np.datetime64(f"{day[:4]}-07-02")) / np.timedelta64(1, "D"))


def run(scenes, folder, block_chunks=1, roles=("nir08", "red"), **changes):
    grid = Grid("EPSG:32650", WEST, NORTH, 20.0, SIDE, SIDE, chunk_px=16, block_chunks=block_chunks)
    settings = {"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail", "series": {"ndvi": ["p10", "p50"]}}
    for block in grid.blocks():
        composite(
            scenes=scenes[0], raster=folder / f"{block}.tif", sensor=S2, year=2019, block=block, grid=grid.settings(),
            settings=settings | changes, roles=list(roles),
        )  # fmt: skip
    return store.Mosaic(folder, grid).read(grid.window, store.raster_bands(folder / f"{grid.blocks()[0]}.tif"))


def expected(scenes, names, percent):
    return percentile_of([scenes[1][name] for name in names], percent)


def percentile_of(stack, percent):
    """numpy's, missing where every date is."""
    stack = np.array(stack)
    seen = np.isfinite(stack).any(axis=0)
    return np.where(seen, np.nanpercentile(np.where(seen, stack, 0), percent, axis=0), np.nan)


def test_a_composite_carries_the_statistics_of_its_own_dates(scenes, tmp_path):
    image = run(scenes, tmp_path)
    assert list(image) == ["nir08", "red", "clear_count", "ndvi_p10", "ndvi_p50"]
    for percent in (10, 50):
        np.testing.assert_allclose(image[f"ndvi_p{percent}"], expected(scenes, "cde", percent), atol=0.51e-4)


def test_a_series_of_several_years_takes_in_the_years_before_and_leaves_the_image_alone(scenes, tmp_path):
    one, two = run(scenes, tmp_path / "one"), run(scenes, tmp_path / "two", series_years=2)
    np.testing.assert_allclose(two["ndvi_p10"], expected(scenes, "abcde", 10), atol=0.51e-4)
    for name in ("red", "nir08", "clear_count"):
        np.testing.assert_array_equal(one[name], two[name])


def test_the_cap_on_scenes_holds_in_each_year_of_a_series(scenes, tmp_path):
    """With one scene a year the median lies between the clearest of each year, of equals that nearest to 2 July."""
    image = run(scenes, tmp_path, series_years=2, max_scenes=1, block_chunks=3)
    best = []
    for names in ("ab", "cde"):
        chunks = np.full((SIDE, SIDE), np.nan)
        for row in range(0, SIDE, 16):
            for col in range(0, SIDE, 16):
                place = np.s_[row : row + 16, col : col + 16]
                clear = {name: (np.isfinite(scenes[1][name][place]).sum(), -days_from_2_july(DATES[name])) for name in names}
                clearest = max(clear, key=clear.get)
                chunks[place] = scenes[1][clearest][place]
        best.append(chunks)
    np.testing.assert_allclose(image["ndvi_p50"], percentile_of(best, 50), atol=0.51e-4)


@pytest.mark.parametrize("series_years", [1, 2])
def test_the_block_size_changes_no_pixel_of_a_series(scenes, tmp_path, series_years):
    images = [run(scenes, tmp_path / str(n), block_chunks=n, series_years=series_years) for n in (1, 2, 3)]
    for name, values in images[0].items():
        for other in images[1:]:
            np.testing.assert_array_equal(other[name], values)
    assert np.isfinite(images[0]["ndvi_p50"]).mean() > 0.95


def test_a_composite_that_asks_for_no_series_is_what_it_was(scenes, tmp_path):
    plain, asked = run(scenes, tmp_path / "plain", series={}), run(scenes, tmp_path / "asked")
    assert list(plain) == ["nir08", "red", "clear_count"]
    for name, values in plain.items():
        np.testing.assert_array_equal(asked[name], values)
