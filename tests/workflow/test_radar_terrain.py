"""A study of radar and terrain from the planted catalogue to the stands, and what its rasters keep of the truth."""

import json

import chain
import numpy as np
import pandas as pd
import pytest

from catalogs.planted.forest import grow
from catalogs.planted.settings import SMALL_AREA, Planting
from catalogs.planted.site import Site
from pipeline import store
from pipeline.bridge import Plan
from pipeline.grid import Grid
from pipeline.steps.composite import composite
from pipeline.steps.search import search
from pipeline.steps.windows import read_elevation

SETTINGS = Planting.small(1, sensors=("sentinel-1-rtc", "copernicus-dem-glo30"), scenes_per_year=4)
S1 = "sentinel-1-rtc"
ROLES = ["vh", "vv"]
DEM = "copernicus-dem-glo30"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A plan whose study ran from scenes to checks on radar and terrain alone."""
    chain.one_thread()
    folder = tmp_path_factory.mktemp("radar")
    catalog = str(folder / "resources/planted/catalog.json")
    sensors = {S1: {"catalog": catalog, "season": ["06-01", "09-30"]}, DEM: {"catalog": catalog}}
    sets = {"satellite": ["s1_vh_db", "s1_vh_vv_ratio_db", "dem_elevation", "dem_slope"]}
    small = chain.small_study(
        folder, sensors=sensors, model={"predictors": sets}, lidar={}, planted=SETTINGS.model_dump(mode="json")
    )
    plan = Plan(small)
    plan.prepare()
    chain.plant(plan)
    chain.map_and_estimate(plan)
    return plan


@pytest.fixture(scope="module")
def forest():
    return grow(Site.of(SMALL_AREA), 2019, 2024, SETTINGS)


def scenes_of(plan):
    return plan.resources / f"scenes/{S1}.json"


def image_of(plan, year=2019, *, folder=None, grid=None):
    grid = grid or plan.grid
    return store.Mosaic(folder or plan.resources / f"composite/{S1}_{year}", grid).read(grid.window, [*ROLES, "clear_count"])


def remake(plan, folder, *, scenes=None, grid=None, **changes):
    """The radar composite of 2019 with another grid or other settings."""
    grid = grid or plan.grid
    for block in grid.blocks():
        composite(scenes=scenes or scenes_of(plan), raster=folder / f"{block}.tif", sensor=S1, year=2019, block=block,
                  grid=grid.settings(), settings=plan.imagery.composite_settings(S1) | changes, roles=ROLES)  # fmt: skip
    return image_of(plan, folder=folder, grid=grid)


def test_the_study_maps_biomass_with_its_laws_kept(study):
    checks = json.loads((study.results / "checks.json").read_text())
    assert len(checks["laws"]) >= 5  # a broken one would have failed the run
    stands = pd.read_parquet(study.results / "stands.parquet")
    assert (stands["cover_percent_2019"] > 99).all()
    table = pd.read_parquet(study.resources / "training/agb.parquet")
    used = table[table["kept"]]
    assert np.corrcoef(used["s1_vh_db"], np.sqrt(used["agb_mg_ha"]))[0, 1] > 0.5  # volume scattering follows the canopy
    assert used["s1_vh_db"].between(-25, -8).all() and used["dem_slope"].between(0, 45).all()


def test_terrain_is_one_raster_for_both_years(study):
    folders = sorted(path.name for path in (study.resources / "composite").iterdir())
    assert folders == [f"{DEM}_static", f"{S1}_2019", f"{S1}_2024"]
    files = study.predictor_files(study.blocks)
    assert sum(f"{DEM}_static/" in file for file in files) == len(study.blocks)
    assert len(files) == len(set(files)) == 3 * len(study.blocks)


def test_elevation_follows_the_planted_ground_and_its_canopy(study, forest):
    grid = study.grid
    elevation = read_elevation(grid, grid.window, study.imagery.elevation_folder)
    x = grid.west_m + grid.resolution_m * (np.arange(grid.cols) + 0.5)[None, :]
    y = grid.north_m - grid.resolution_m * (np.arange(grid.rows) + 0.5)[:, None]
    above = elevation - forest.terrain.elevation_m(x, y)
    assert above.min() > -2 and above.max() < 30  # a surface model: ground and part of the crowns, noise of 0.4 m
    assert np.abs(above[above < np.quantile(above, 0.05)]).max() < 2


def test_block_size_changes_no_byte_of_a_filtered_composite(study, tmp_path):
    first = image_of(study)
    other = remake(study, tmp_path, grid=Grid(**study.grid_settings | {"block_chunks": 1}))
    for name, image in first.items():
        assert image.tobytes() == other[name].tobytes(), name
    assert len(list(tmp_path.glob("*.tif"))) == 4


def test_two_slices_of_a_pass_count_once_where_they_overlap(study):
    frozen = json.loads(scenes_of(study).read_text())
    passes = [item for item in frozen["items"] if item["year"] == 2019]
    assert len(passes) == 5 and len({item["overpass"] for item in passes}) == 4
    counts = image_of(study)["clear_count"]
    assert set(np.unique(counts)) == {3, 4}  # one of the four passes ends inside the area


def test_the_rim_of_a_swath_is_cut_off(study, tmp_path):
    # the last pass ends in 60 m of zeros, and 100 m more are cut
    counts = image_of(study)["clear_count"]
    edge = np.nonzero(np.diff(counts[30]))[0]
    assert len(edge) == 1  # one slanting line, no ragged rim
    seen = image_of(study)["vh"][30]
    assert abs(10 * np.log10(np.median(seen[: edge[0]]) / np.median(seen[edge[0] :]))) < 3


def test_the_filter_brings_a_composite_nearer_to_what_was_planted(study, forest, tmp_path):
    from catalogs.planted.backscatter import see_backscatter
    from catalogs.planted.canopy import block_mean
    from catalogs.planted.reflectance import land_of

    land = land_of(forest, 2019, pad=48)
    truth = block_mean(see_backscatter(forest, land, "descending")["vh"][48:-48, 48:-48], 4)  # 5 m cells to 20 m
    errors = {}
    for name in ("none", "multitemporal", "lee"):
        made = remake(study, tmp_path / name, speckle=name)["vh"]
        difference_db = 10 * np.log10(made / truth)
        errors[name] = float(np.std(difference_db))
    # of 4 dates the median has 0.298 and the filter (4 + 49 - 1) / (4 * 49) = 0.265 of one date's variance: 6 % less spread
    assert errors["multitemporal"] < 0.95 * errors["none"]
    assert errors["lee"] < errors["none"]


def test_directions_have_levels_of_their_own(study, tmp_path):
    catalog = str(study.resources / "planted/catalog.json")
    level = {}
    for orbit in ("ascending", "descending"):
        scenes = tmp_path / orbit / "scenes.json"
        search(scenes=scenes, settings=study.settings("sensors", S1) | {"orbit": orbit, "catalog": catalog}, sensor=S1,
               grid=study.area_settings, years=[2019, 2024])  # fmt: skip
        made = [remake(study, tmp_path / orbit, scenes=scenes)["vv"]]
        level[orbit] = 10 * np.log10(np.median(made))
        assert json.loads(scenes.read_text())["orbit"] == orbit
    assert level["ascending"] - level["descending"] == pytest.approx(0.5, abs=0.6)  # planted 0.5 dB, dates vary by 0.4


def test_a_plots_backscatter_is_the_decibel_of_its_mean_power(study):
    from shapely.affinity import translate

    from models.inference.position import displacements
    from pipeline.steps.windows import footprint_shares

    plots = store.read_table(study.resources / "plots.parquet").reset_index(drop=True)
    table = pd.read_parquet(study.resources / "training/agb.parquet")
    image, grid = image_of(study), study.grid
    row = next(row for row in table[table["kept"] & (table["year"] == 2019)].itertuples())
    footprint = plots.geometry.iloc[row.Index]
    decibel = []
    for east, north in displacements(plots["position_error_m"].iloc[row.Index]):  # the plot says that it may lie elsewhere
        place = translate(footprint, east, north)
        window = grid.window_of(place.bounds)
        weight = footprint_shares([place], grid, window)[0]
        power = (image["vh"][window.slices] * weight).sum() / weight.sum()
        decibel.append(10 * np.log10(power))
    assert np.ptp(decibel) > 0.01 and row.s1_vh_db == pytest.approx(np.mean(decibel), abs=1e-4)


def test_a_catalogue_over_a_network_gives_the_same_bytes(study, tmp_path):
    from services.range_server import RangeServer
    from services.stac_api import application, serving, static_catalogue

    planted = study.resources / "planted"
    with RangeServer(planted) as server:
        items, collections = static_catalogue(planted / "catalog.json", folder=planted, address=server.address)
        with serving(application(items, collections)) as api:
            for sensor, year, roles in ((S1, 2019, ROLES), (DEM, "static", ["elevation"])):
                settings = study.settings("sensors", sensor) | {"catalog": api, "private_hosts": ["127.0.0.1"]}
                scenes, file = tmp_path / f"{sensor}.json", tmp_path / f"{sensor}.tif"
                search(scenes=scenes, settings=settings, sensor=sensor, grid=study.area_settings, years=[2019, 2024])
                composite(scenes=scenes, raster=file, sensor=sensor, year=year, block=study.blocks[0],
                          grid=study.grid_settings, settings=settings, roles=roles)  # fmt: skip
                here = study.resources / f"composite/{sensor}_{year}/{study.blocks[0]}.tif"
                assert file.read_bytes() == here.read_bytes(), sensor
        assert server.requests("*iw-vh*")  # the pixels came over the network


def test_elevation_dates_no_plot(study):
    assert study.sources["seen"] == {"2019": ["2019-06-01", "2019-09-30"], "2024": ["2024-06-01", "2024-09-30"]}
