"""A satellite study that uses what there is: two composites of one sensor, slopes corrected, series, two reducers, water masked.

One composite is of early and one of late summer; each has its own scenes, and what is made of them its own names.
"""

import json

import chain
import numpy as np
import pandas as pd
import pytest

from catalogs.planted.settings import Planting
from pipeline import store
from pipeline.bridge import Plan
from pipeline.config import study_from
from pipeline.grid import Grid
from pipeline.steps.composite import composite
from pipeline.steps.topography import topography
from workflow.runs import planned, small_content, write_study

DEM = "copernicus-dem-glo30"
SEASONS = {"s2_early": ["06-01", "07-25"], "s2_late": ["07-26", "09-30"]}
# hills whose slopes a small study can tell, in both seasons of both years (docs/decisions/0006)
SETTINGS = Planting.small(7, sensors=("sentinel-2-l2a", DEM), scenes_per_year=6)
ASKED = {
    "topographic": "scs_c",
    "series": {"ndvi": ["p90", "amplitude"]},
    "reducer": ["median", "p10"],
    "mask_water": True,
}
PREDICTORS = ["s2_late_ndmi", "s2_early_ndmi", "s2_late_ndvi_p90", "s2_early_swir16_p10"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A plan whose study ran from scenes to checks."""
    chain.one_thread()
    folder = tmp_path_factory.mktemp("satellite")
    catalog = str(folder / "resources/planted/catalog.json")
    sensors = {name: {"catalog": catalog, "season": season, **ASKED} for name, season in SEASONS.items()}
    model = {"predictors": {"satellite": PREDICTORS}}
    small = chain.small_study(
        folder, sensors=sensors | {DEM: {"catalog": catalog}}, model=model, lidar={}, planted=SETTINGS.model_dump(mode="json")
    )
    plan = Plan(small)
    plan.prepare()
    chain.plant(plan)
    chain.map_and_estimate(plan)
    return plan


def image_of(plan, name, year=2019, *, folder=None, grid=None, bands=None):
    grid = grid or plan.grid
    read = store.Mosaic(folder or plan.resources / f"composite/{name}_{year}", grid)
    return read.read(grid.window, bands or ["swir16", "swir16_p10", "ndvi_p90", "ndvi_amplitude", "clear_count"])


def remake(plan, folder, name, *, grid=None, **changes):
    """A composite of 2019 with another grid or other settings, its slopes looked at anew."""
    grid = grid or plan.grid
    about = {
        "scenes": plan.resources / f"scenes/{name}.json", "sensor": name, "year": 2019, "grid": grid.settings(),
        "roles": plan.roles(name), "elevation": plan.imagery.elevation_folder,
    }  # fmt: skip
    table = folder / "topography.json"
    ground = folder / "dem"
    for block in grid.blocks():
        composite(raster=ground / f"{block}.tif", block=block, settings=plan.imagery.composite_settings(DEM),
                  scenes=plan.resources / f"scenes/{DEM}.json", sensor=DEM, year="static", grid=grid.settings(),
                  roles=["elevation"])  # fmt: skip
    about["elevation"] = ground.as_posix()
    topography(table=table, settings=plan.imagery.topography_settings(name), **about)
    for block in grid.blocks():
        settings = plan.imagery.composite_settings(name) | changes
        composite(raster=folder / f"{block}.tif", block=block, settings=settings, topography=table, **about)
    return image_of(plan, name, folder=folder, grid=grid)


def test_the_study_maps_biomass_from_two_composites_of_one_sensor(study):
    checks = json.loads((study.results / "checks.json").read_text())
    assert len(checks["laws"]) >= 5  # a broken one would have failed the run
    table = pd.read_parquet(study.resources / "training/agb.parquet")
    used = table[table["kept"]]
    there = used[PREDICTORS].notna()
    assert len(used) > 20 and (there.mean() > 0.8).all()  # the clouds of three dates hide some plots
    assert not np.allclose(*used.loc[there.all(axis=1), ["s2_late_ndmi", "s2_early_ndmi"]].T.to_numpy())


def test_each_composite_has_the_scenes_of_its_own_season(study):
    for name, (first, last) in SEASONS.items():
        frozen = json.loads((study.resources / f"scenes/{name}.json").read_text())
        days = {item["datetime"][5:10] for item in frozen["items"]}
        assert days and min(days) >= first and max(days) <= last
        assert frozen["sensor"] == "sentinel-2-l2a"


def test_block_size_changes_no_byte(study, tmp_path):
    name = "s2_late"
    first = image_of(study, name)
    other = remake(study, tmp_path, name, grid=Grid(**study.grid_settings | {"block_chunks": 1}))
    assert len(list(tmp_path.glob("*.tif"))) == 4
    for band, image in first.items():
        assert image.tobytes() == other[band].tobytes(), band


def test_slopes_are_corrected_before_dates_are_reduced_and_statistics_taken(study, tmp_path):
    table = json.loads((study.resources / "topography/s2_late_2019.json").read_text())
    assert table["scenes"] and all(scene["corrected"] for scene in table["scenes"].values())
    assert all(band["c"] is not None for scene in table["scenes"].values() for band in scene["bands"].values())
    first, level = image_of(study, "s2_late"), remake(study, tmp_path, "s2_late", topographic="none")
    changed = {band: np.nanmean(np.abs(first[band] - level[band])) for band in ("swir16", "swir16_p10", "ndvi_p90")}
    assert changed["swir16"] > 5e-4 and changed["swir16_p10"] > 5e-4  # several steps of the file
    assert 0 < changed["ndvi_p90"] < 0.05  # a ratio hardly sees the light


def test_masked_water_is_missing_and_nothing_else_is(study, tmp_path):
    first, wet = image_of(study, "s2_late"), remake(study, tmp_path, "s2_late", mask_water=False)
    lost = (wet["clear_count"] > 0) & (first["clear_count"] == 0)
    assert lost.any() and np.isnan(first["swir16"][lost]).all()
    assert np.nanmedian(wet["swir16"][lost]) < 0.05  # water is black in the short-wave infrared
    same = first["clear_count"] == wet["clear_count"]
    np.testing.assert_array_equal(first["swir16"][same], wet["swir16"][same])


def test_a_run_may_end_at_its_composites_though_some_wait_for_others(tmp_path):
    content = small_content(block_chunks=2)
    catalog = content["sensors"]["sentinel-2-l2a"]["catalog"]
    content["sensors"] = {"s2_late": {"catalog": catalog, "topographic": "scs_c"}, DEM: {"catalog": catalog}}
    content["model"] = {"predictors": {"satellite": ["s2_late_ndmi"]}}
    content["planted"]["sensors"] = ["sentinel-2-l2a", DEM]
    write_study(tmp_path, content)
    jobs = planned(tmp_path, "--until", "composite")
    assert jobs == {"plant_scenes": 1, "search": 2, "elevation": 1, "topography": 2, "composite": 2}


def test_predictors_are_made_with_the_coefficients_of_what_reflectance_was_brought_to(study, tmp_path):
    from pipeline.steps.windows import read_predictors

    rng, grid = np.random.default_rng(5), Grid("EPSG:32650", 500_000, 3_000_000, 30.0, 16, 16, chunk_px=16, block_chunks=1)
    six = ("blue", "green", "red", "nir08", "swir16", "swir22")
    bands = {role: rng.uniform(0.02, 0.4, (16, 16)).astype("float32") for role in six}
    store.write_raster(tmp_path / "composite/landsat-c2-l2_2019/r000c000.tif", bands, geobox=grid.geobox_of(grid.window),
                       units=dict.fromkeys(six, "1"))  # fmt: skip
    content = chain.small_study(tmp_path).model_dump(mode="json")
    found = {}
    for harmonise in ("none", "oli"):
        content["sensors"] = {"landsat-c2-l2": {"catalog": "usgs", "harmonise": harmonise}}
        content["model"] = {"predictors": {"satellite": ["ls_tc_wetness"]}}
        sources = Plan(study_from(content)).sources | {"campaign_of_year": {}}
        sources["sensors"]["landsat-c2-l2"]["folder"] = str(tmp_path / "composite")
        found[harmonise] = read_predictors(grid, grid.window, 2019, sources, ["ls_tc_wetness"])["ls_tc_wetness"]
    crist = (0.0315, 0.2021, 0.3102, 0.1594, -0.6806, -0.6109)
    zhai = (0.0382, 0.2137, 0.3536, 0.2270, -0.6108, -0.6351)
    for harmonise, weights in (("none", crist), ("oli", zhai)):
        by_hand = sum(weight * bands[role] for weight, role in zip(weights, six, strict=True))
        np.testing.assert_allclose(found[harmonise], by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("sensors", "predictors", "words"),
    [
        ({"s2_early": {}}, ["s2_ndmi"], r"'s2_ndmi' is not a predictor of this study; did you mean s2_early_ndmi"),
        ({"s2_ndvi": {}}, ["s2_ndvi_ndmi"], r"sensors\.s2_ndvi: ndvi is an indicator"),
        ({"s2_red": {}}, ["s2_red_ndmi"], r"sensors: 's2_red' is what a band of sentinel-2-l2a is called"),
        ({"s2_early": {}}, ["s2_earli_ndmi"], r"'s2_earli_ndmi' is not a predictor of this study; did you mean s2_early_ndmi"),
        ({"s2_early": {}}, ["ls_ndmi"], r"'ls_ndmi' needs the sensor landsat-c2-l2, which the study does not list"),
        ({"s2_early": {}}, ["s2_early_ndmo"], r"'s2_early_ndmo' is not a predictor of this study; did you mean s2_early_ndmi"),
    ],
)
def test_check_says_what_is_wrong_with_the_name_of_a_composite(tmp_path, sensors, predictors, words):
    content = chain.small_study(tmp_path).model_dump(mode="json")
    catalog = content["sensors"]["sentinel-2-l2a"]["catalog"]
    content["sensors"] = {name: {"catalog": catalog} for name in sensors}
    content["model"] = {"predictors": {"satellite": predictors}}
    with pytest.raises(ValueError, match=words):
        Plan(study_from(content)).prepare()
