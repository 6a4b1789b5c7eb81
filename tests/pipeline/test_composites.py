"""Composites: the arithmetic of a pixel's dates, and the step from frozen scenes to a block's file."""

import json
import logging

import numpy as np
import pytest
from affine import Affine

from pipeline import store
from pipeline.config import Sensor
from pipeline.grid import Grid
from pipeline.optical.composite import REDUCERS, compose
from pipeline.steps.composite import composite
from pipeline.steps.search import search

rasterio = pytest.importorskip("rasterio")

NAN = np.nan
WEST, NORTH = 500_000.0, 3_000_000.0


def make_stack(*dates, role="red"):
    """One row of pixels per date."""
    return {role: np.array(dates, "float32")[:, None, :]}


# ---------------------------------------------------------------- arithmetic


def test_the_median_of_an_odd_even_and_empty_pixel():
    stack = make_stack([0.1, 0.1, NAN], [0.9, 0.4, NAN], [0.2, NAN, NAN])
    image = compose(stack, "median")
    np.testing.assert_allclose(image["red"], [[0.2, 0.25, NAN]], rtol=1e-6)
    assert image["clear_count"].tolist() == [[3, 2, 0]]
    assert image["clear_count"].dtype == np.int16 and image["red"].dtype == np.float32


def test_the_mean_leaves_missing_dates_out():
    image = compose(make_stack([0.1, NAN], [0.4, NAN], [NAN, 0.3]), "mean")
    np.testing.assert_allclose(image["red"], [[0.25, 0.3]], rtol=1e-6)


def test_fewer_clear_observations_than_asked_are_missing_but_counted():
    image = compose(make_stack([0.1, 0.1], [0.4, NAN]), min_clear_count=2)
    np.testing.assert_allclose(image["red"], [[0.25, NAN]], rtol=1e-6)
    assert image["clear_count"].tolist() == [[2, 1]]


def test_an_observation_counts_only_where_every_band_has_one():
    stack = make_stack([0.1], [0.3]) | make_stack([0.5], [NAN], role="nir08")
    image = compose(stack)
    assert image["red"][0, 0] == np.float32(0.1) and image["nir08"][0, 0] == np.float32(0.5)
    assert image["clear_count"][0, 0] == 1


@pytest.mark.parametrize("name", REDUCERS)
def test_every_reducer_ignores_the_order_of_dates_and_stays_within_them(name):
    rng = np.random.default_rng(3)
    observations, other = rng.uniform(0, 1, (2, 7, 6, 5)).astype("float32")  # on one band alone, medoids are not unique
    observations[rng.uniform(size=observations.shape) < 0.4] = NAN
    away_m = rng.uniform(0, 1500, observations.shape).astype("float32")
    days = rng.permutation(7)
    order = rng.permutation(7)
    stack = {"red": observations, "nir08": other}
    image = compose(stack, name, days_from_target=days, cloud_distance_m=away_m)["red"]
    stack = {role: values[order] for role, values in stack.items()}
    shuffled = compose(stack, name, days_from_target=days[order], cloud_distance_m=away_m[order])["red"]
    two = np.isfinite(observations).sum(axis=0) == 2  # equally far from each other: the medoid is the earlier by rule
    unique = ~two if name == "medoid" else np.ones_like(two)
    np.testing.assert_allclose(image[unique], shuffled[unique], rtol=1e-6)
    seen = np.isfinite(observations).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(image), seen)
    low, high = np.nanmin(observations[:, seen], axis=0), np.nanmax(observations[:, seen], axis=0)
    if name == "amplitude":  # a difference of two of them
        low, high = 0 * low, high - low
    assert ((image[seen] >= low - 1e-6) & (image[seen] <= high + 1e-6)).all()


def test_the_median_equals_numpys():
    rng = np.random.default_rng(4)
    observations = rng.uniform(0, 1, (12, 20, 20)).astype("float32")
    observations[rng.uniform(size=observations.shape) < 0.5] = NAN
    observations[:, 0, 0] = 0.5
    expected = np.nanmedian(np.where(np.isnan(observations).all(axis=0), 9, observations), axis=0)
    image = compose({"red": observations})["red"]
    np.testing.assert_allclose(image, np.where(expected == 9, NAN, expected), rtol=1e-6)


def test_unknown_reducers_and_empty_stacks_are_refused():
    with pytest.raises(ValueError, match="'medain' is not a reducer; did you mean median"):
        compose(make_stack([0.1]), "medain")
    with pytest.raises(ValueError, match="at least one date"):
        compose({"red": np.empty((0, 2, 2), "float32")})


# ---------------------------------------------------------------- the step


def write_tif(file, values, resolution_m):
    place = Affine(resolution_m, 0, WEST, 0, -resolution_m, NORTH)
    height, width = values.shape
    options = {"dtype": values.dtype, "crs": "EPSG:32650", "transform": place, "nodata": 0}
    with rasterio.open(file, "w", driver="GTiff", width=width, height=height, count=1, **options) as raster:
        raster.write(values, 1)


def make_scenes(folder, dates=4, side=60):
    """Frozen scenes of 2019 over a 60 x 60 px grid of 20 m: 10 m red, 20 m nir08, clouds, one partial footprint."""
    rng = np.random.default_rng(5)
    items = []
    for number in range(dates):
        name = f"s{number}"
        seen = side if number else side // 2  # the first scene sees the western half only
        quality = np.where(rng.uniform(size=(side, seen)) < 0.1, 9, 4).astype("uint8")
        write_tif(folder / f"{name}_red.tif", rng.integers(300, 600, (2 * side, 2 * seen)).astype("uint16"), 10)
        write_tif(folder / f"{name}_nir08.tif", rng.integers(2500, 4500, (side, seen)).astype("uint16"), 20)
        write_tif(folder / f"{name}_scl.tif", quality, 20)
        bands = {
            role: {"href": f"{name}_{role}.tif", "scale": 1e-4, "offset": 0.0, "nodata": 0} for role in ("red", "nir08")
        }
        bounds = [WEST - 100, NORTH - 20 * side - 100, WEST + 20 * seen + 100, NORTH + 100]
        items.append(
            {"id": name, "year": 2019, "bounds": bounds, "bands": bands, "quality": {"href": f"{name}_scl.tif"}}
        )
    frozen = {"sensor": "sentinel-2-l2a", "query": {"years": [2019]}, "items": items, "left_out": []}
    (folder / "scenes.json").write_text(json.dumps(frozen))
    return folder / "scenes.json"


def make_grid(block_chunks=1, side=60):
    return Grid("EPSG:32650", WEST, NORTH, 20.0, side, side, chunk_px=16, block_chunks=block_chunks)


def run(scenes, folder, grid, **changes):
    settings = {"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail"} | changes
    for block in grid.blocks():
        composite(
            scenes=scenes,
            raster=folder / f"{block}.tif",
            sensor="sentinel-2-l2a",
            year=2019,
            block=block,
            grid=grid.settings(),
            settings=settings,
            roles=["nir08", "red"],
        )


def mosaic(folder, grid):
    whole = {}
    for block in grid.blocks():
        for name, values in store.read_raster(folder / f"{block}.tif").items():
            target = whole.setdefault(name, np.full((grid.rows, grid.cols), NAN))
            target[grid.block_window(block).slices] = values
    return whole


def test_the_block_size_changes_no_pixel(tmp_path):
    scenes = make_scenes(tmp_path)
    images = []
    for block_chunks in (1, 2, 4):
        folder = tmp_path / str(block_chunks)
        run(scenes, folder, make_grid(block_chunks))
        images.append(mosaic(folder, make_grid(block_chunks)))
    for name in ("nir08", "red", "clear_count"):
        np.testing.assert_array_equal(images[0][name], images[1][name])
        np.testing.assert_array_equal(images[0][name], images[2][name])
    assert np.isfinite(images[0]["red"]).mean() > 0.9
    assert images[0]["clear_count"][:, 30:].max() == 3 and images[0]["clear_count"][:, :30].max() == 4


def test_the_same_scenes_give_the_same_bytes(tmp_path):
    scenes = make_scenes(tmp_path)
    for name in ("one", "two"):
        run(scenes, tmp_path / name, make_grid(4))
    assert (tmp_path / "one" / "r000c000.tif").read_bytes() == (tmp_path / "two" / "r000c000.tif").read_bytes()


def test_a_composite_is_the_median_of_its_scenes_masked_by_hand(tmp_path):
    scenes = make_scenes(tmp_path, dates=3)
    run(scenes, tmp_path / "out", make_grid(4))
    stack = np.full((3, 60, 60), NAN)
    for number in range(3):
        with rasterio.open(tmp_path / f"s{number}_nir08.tif") as raster:
            nir08 = raster.read(1) * 1e-4
        with rasterio.open(tmp_path / f"s{number}_scl.tif") as raster:
            cloud = np.pad(raster.read(1) == 9, 1)
        spread = cloud[1:-1, 1:-1] | cloud[:-2, 1:-1] | cloud[2:, 1:-1] | cloud[1:-1, :-2] | cloud[1:-1, 2:]
        stack[number, :, : nir08.shape[1]] = np.where(spread, NAN, nir08)
    stack[:, np.isnan(stack).all(axis=0)] = -9
    expected = np.nanmedian(stack, axis=0)
    image = mosaic(tmp_path / "out", make_grid(4))
    np.testing.assert_allclose(image["nir08"], np.where(expected == -9, NAN, expected), atol=0.51e-4)


def test_a_damaged_scene_fails_or_is_dropped_and_counted(tmp_path, caplog):
    scenes = make_scenes(tmp_path)
    (tmp_path / "s1_red.tif").write_bytes(b"II*\0 cut")
    with pytest.raises(ValueError, match=r"scene s1: .*s1_red\.tif cannot be read.*set on_scene_error: drop"):
        run(scenes, tmp_path / "fail", make_grid(4))
    assert not (tmp_path / "fail" / "r000c000.tif").exists()
    caplog.set_level(logging.INFO)
    run(scenes, tmp_path / "drop", make_grid(4), on_scene_error="drop")
    assert mosaic(tmp_path / "drop", make_grid(4))["clear_count"].max() == 3
    assert "1 scenes dropped" in caplog.text and "s1_red.tif" in caplog.text


def test_a_place_no_scene_has_seen_is_missing_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    scenes = make_scenes(tmp_path, dates=1)  # the western half only
    run(scenes, tmp_path / "out", make_grid(2))
    image = mosaic(tmp_path / "out", make_grid(2))
    assert np.isnan(image["red"][:, 30:]).all() and (image["clear_count"][:, 30:] == 0).all()
    line = next(line for line in caplog.messages if "block r000c001" in line)
    assert "median clear count 0, 100.0 % of pixels missing" in line


def test_a_year_that_was_not_searched_is_named(tmp_path):
    scenes = make_scenes(tmp_path)
    with pytest.raises(ValueError, match="holds scenes of 2019, not of 2020"):
        composite(
            scenes=scenes,
            raster=tmp_path / "out.tif",
            sensor="sentinel-2-l2a",
            year=2020,
            block="r000c000",
            grid=make_grid().settings(),
            settings={"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail"},
            roles=["red"],
        )


# ---------------------------------------------------------------- search, then composite


def make_catalog(folder):
    """Two scenes of one surface on both sides of baseline 04.00, as a static catalogue with relative hrefs."""
    reflectance = np.random.default_rng(6).integers(300, 600, (60, 60))  # x 1e-4
    links = []
    for name, baseline, shift in (("before", "02.14", 0), ("after", "05.10", 1000)):
        (folder / name).mkdir(parents=True)
        write_tif(folder / name / "red.tif", (reflectance + shift).astype("uint16"), 20)
        write_tif(folder / name / "scl.tif", np.full((60, 60), 4, "uint8"), 20)
        ring = [[116.9, 27.0], [117.2, 27.0], [117.2, 27.3], [116.9, 27.3], [116.9, 27.0]]
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "sentinel-2-l2a",
            "bbox": [116.9, 27.0, 117.2, 27.3],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"datetime": "2019-07-01T03:00:00Z", "eo:cloud_cover": 1, "s2:processing_baseline": baseline},
            "links": [],
            "assets": {"red": {"href": "./red.tif"}, "scl": {"href": "./scl.tif"}},
        }
        (folder / name / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{name}/item.json"})
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "made", "description": "made for a test", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return reflectance * 1e-4


def test_both_sides_of_baseline_04_make_one_surface_and_the_folder_can_move(tmp_path):
    truth = make_catalog(tmp_path / "old" / "planted")
    settings = Sensor(catalog=str(tmp_path / "old" / "planted" / "catalog.json"), min_clear_count=2)
    grid = make_grid(4)
    settings = settings.model_dump(mode="json")
    scenes = tmp_path / "old" / "scenes" / "s2.json"
    search(scenes=scenes, settings=settings, sensor="sentinel-2-l2a", grid=grid.settings(), years=[2019])
    (tmp_path / "old").rename(tmp_path / "new")
    composite(
        scenes=tmp_path / "new" / "scenes" / "s2.json",
        raster=tmp_path / "out.tif",
        sensor="sentinel-2-l2a",
        year=2019,
        block="r000c000",
        grid=grid.settings(),
        settings=settings,
        roles=["red"],
    )
    image = store.read_raster(tmp_path / "out.tif")
    np.testing.assert_allclose(image["red"], truth, atol=1e-7)
    assert (image["clear_count"] == 2).all()


def test_a_sensors_own_years_go_before_the_studys(tmp_path):
    make_catalog(tmp_path)
    settings = Sensor(catalog=str(tmp_path / "catalog.json"), years=(2019,)).model_dump(mode="json")
    options = {"sensor": "sentinel-2-l2a", "grid": make_grid().settings(), "years": [2018, 2024]}
    search(scenes=tmp_path / "s2.json", settings=settings, **options)
    assert store.read_json(tmp_path / "s2.json")["query"]["years"] == [2019]
