"""Composites: the arithmetic of a pixel's dates, and the step from frozen scenes to a block's file."""

import json
import logging
import warnings

import numpy as np
import pytest
from affine import Affine

from catalogs.scenes import Look
from pipeline import store
from pipeline.config import Sensor
from pipeline.grid import Grid, Window
from pipeline.optical.composite import REDUCERS, Observations, band_names, compose, reduce, reducer
from pipeline.optical.kernels import sorting_network
from pipeline.steps.composite import Season, _target_day, composite
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


# ---------------------------------------------------------------- reducers against others


def make_cube(dates=9, side=8, bands=4, seed=7, missing=0.3):
    """Reflectance (dates, rows, cols) of some bands, missing in all of them at once."""
    rng = np.random.default_rng(seed)
    cube = rng.uniform(0.02, 0.5, (bands, dates, side, side)).astype("float32")
    cube[:, rng.uniform(size=cube.shape[1:]) < missing] = NAN
    return {f"b{number}": cube[number] for number in range(bands)}, cube


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11, 12])
def test_the_network_sorts_every_sequence_of_zeros_and_ones(n):
    # a network of comparisons that sorts all of these sorts everything: the 0-1 principle (Knuth, TAOCP 3, 5.3.4)
    lines = (np.arange(2**n) >> np.arange(n)[:, None]) & 1
    for low, high in sorting_network(n):
        lines[low], lines[high] = np.minimum(lines[low], lines[high]), np.maximum(lines[low], lines[high])
    assert (np.diff(lines, axis=0) >= 0).all()


def test_percentiles_equal_numpys_linear_ones_and_amplitude_is_their_difference():
    stack, cube = make_cube(dates=23)
    image = compose(stack, ["p50", "p10", "p90", "amplitude"])
    seen = np.isfinite(cube[0]).any(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, middle, high = np.nanquantile(cube.astype("float64"), [0.1, 0.5, 0.9], axis=1, method="linear")
    for number, role in enumerate(stack):
        np.testing.assert_allclose(image[role], middle[number], rtol=1e-6)
        np.testing.assert_allclose(image[f"{role}_p10"], low[number], rtol=1e-6)
        np.testing.assert_allclose(image[f"{role}_p90"], high[number], rtol=1e-6)
        np.testing.assert_allclose(image[f"{role}_amplitude"], (high - low)[number], atol=1e-6)
    assert seen.all()


def test_the_geometric_median_is_the_minimum_that_scipy_finds():
    from scipy.optimize import minimize

    stack, cube = make_cube(dates=7, side=4)
    image = compose(stack, "geometric_median")
    checked = 0
    for row, col in np.ndindex(4, 4):
        points = cube[:, np.isfinite(cube[0, :, row, col]), row, col].T.astype("float64")
        if len(points) < 3:
            continue
        found = minimize(
            lambda at, points=points: np.linalg.norm(points - at, axis=1).sum(), points.mean(axis=0), method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 10_000, "maxfev": 10_000},
        )  # fmt: skip
        ours = np.array([image[role][row, col] for role in stack], "float64")
        assert np.linalg.norm(points - ours, axis=1).sum() <= found.fun + 1e-7
        np.testing.assert_allclose(ours, found.x, atol=2e-5)
        checked += 1
    assert checked > 10


def test_the_geometric_median_of_known_figures():
    square = {"x": [0.1, 0.3, 0.1, 0.3], "y": [0.1, 0.1, 0.3, 0.3]}  # its centre
    inside = {"x": [0.0, 0.4, 0.2, 0.2], "y": [0.0, 0.0, 0.4, 0.1]}  # a date within the triangle of the others: itself
    two = {"x": [0.1, 0.3, NAN, NAN], "y": [0.2, 0.6, NAN, NAN]}  # anywhere between: the middle
    for points, expected in ((square, (0.2, 0.2)), (inside, (0.2, 0.1)), (two, (0.2, 0.4))):
        stack = {role: np.array(values, "float32")[:, None, None] for role, values in points.items()}
        image = compose(stack, "geometric_median")
        assert (image["x"][0, 0], image["y"][0, 0]) == pytest.approx(expected, abs=1e-6)
        if points is inside:  # found as that date, not approached
            assert (image["x"][0, 0], image["y"][0, 0]) == (np.float32(0.2), np.float32(0.1))


def test_the_medoid_is_the_date_with_the_least_sum_of_distances():
    stack, cube = make_cube()
    image = compose(stack, "medoid")
    for row, col in np.ndindex(8, 8):
        points = cube[:, np.isfinite(cube[0, :, row, col]), row, col].T.astype("float64")
        sums = np.linalg.norm(points[:, None] - points[None], axis=2).sum(axis=1)
        expected = points[np.flatnonzero(sums <= sums.min() + 1e-9)[0]]
        np.testing.assert_array_equal([image[role][row, col] for role in stack], expected.astype("float32"))


def test_of_two_dates_the_medoid_is_the_earlier():
    stack = make_stack([0.4], [0.1]) | make_stack([0.2], [0.3], role="nir08")
    image = compose(stack, "medoid")
    assert (image["red"][0, 0], image["nir08"][0, 0]) == (np.float32(0.4), np.float32(0.2))


def test_the_best_available_pixel_follows_its_scores():
    # score = exp(-(days / 30)^2 / 2) + 1 / (1 + exp(-0.2 (pixels of 30 m to a cloud, at most 50, - 25)))
    stack = make_stack([0.1, 0.1, 0.1, NAN], [0.2, 0.2, 0.2, 0.2], [0.3, 0.3, 0.3, NAN])
    days = [0, 30, 90]
    away_m = np.array([[750, 0, 1500, 0], [1500, 1500, 1500, 0], [1500, 750, 1500, 1500]], "float32")[:, None, :]
    # first pixel: 1 + 0.5 < 0.607 + 0.993; second: 1 + 0.007 < 1.600; third: on the day; fourth: the only one
    image = compose(stack, "best_available_pixel", days_from_target=days, cloud_distance_m=away_m)
    np.testing.assert_array_equal(image["red"], np.array([[0.2, 0.2, 0.1, 0.2]], "float32"))
    with pytest.raises(ValueError, match="must declare cloud_distance"):
        compose(stack, "best_available_pixel", days_from_target=days)


def make_look(numbers, *, offset=0.0, scale=1e-4, dtype="uint16", seen=None, name="s"):
    numbers = np.asarray(numbers)
    return Look(name, {"red": numbers.astype(dtype)}, {"red": (scale, offset)}, numbers > 0 if seen is None else seen, (1, 32767))


@pytest.mark.parametrize("name", [name for name in REDUCERS if name != "best_available_pixel"])
def test_whole_numbers_give_the_image_of_the_same_numbers_as_floats(name):
    rng = np.random.default_rng(8)
    numbers = rng.integers(0, 3000, (10, 12, 9)) * (rng.uniform(size=(10, 12, 9)) < 0.7)
    images = []
    for dtype in ("uint16", "float32"):
        looks = [
            [make_look(one + 1000 * (date % 2) * (one > 0), offset=-0.1 * (date % 2), dtype=dtype)]
            for date, one in enumerate(numbers)
        ]
        images.append(reduce(Observations.of_looks(looks, ["red"]), name))
    np.testing.assert_array_equal(images[0]["red"], images[1]["red"])
    if name == "median":
        expected = np.nanmedian(np.where(numbers > 0, numbers, NAN), axis=0)
        np.testing.assert_allclose(images[0]["red"], 1e-4 * expected, rtol=1e-6)


def test_looks_of_different_encodings_meet_as_reflectance():
    looks = [[make_look([[2000]])], [make_look([[14545]], scale=2.75e-05, offset=-0.2)], [make_look([[4000]], offset=-0.1)]]
    image = reduce(Observations.of_looks(looks, ["red"]), ["median", "mean"])
    assert image["red"][0, 0] == pytest.approx(0.2, abs=1e-6)  # 0.2, 0.19999, 0.3
    assert image["red_mean"][0, 0] == pytest.approx((0.2 + 14545 * 2.75e-05 - 0.2 + 0.3) / 3, abs=1e-6)


def test_two_granules_of_one_overpass_weigh_as_one_observation_the_first_one_first():
    west, east = make_look([[100, 100, 0]]), make_look([[0, 500, 500]])
    groups = [[west, east], [make_look([[300, 300, 300]])], [make_look([[310, 310, 310]])]]
    image = reduce(Observations.of_looks(groups, ["red"]), "median")
    assert image["clear_count"].tolist() == [[3, 3, 3]]
    np.testing.assert_allclose(image["red"], [[0.03, 0.03, 0.031]], rtol=1e-6)


def test_several_reducers_add_bands_that_carry_their_names():
    stack, _ = make_cube()
    image = compose(stack, ["medoid", "p10", "amplitude"], min_clear_count=4)
    assert list(image) == band_names(list(stack), ["medoid", "p10", "amplitude"])
    assert list(image)[:4] == list(stack) and "b0_p10" in image and list(image)[-1] == "clear_count"
    few = image["clear_count"] < 4
    assert few.any()
    for name, values in image.items():
        if name != "clear_count":
            np.testing.assert_array_equal(np.isnan(values), few)


def test_a_plug_in_adds_a_reducer_in_one_place(monkeypatch):
    monkeypatch.setitem(REDUCERS, "brightest", None)

    @reducer(reference="made for a test")
    def brightest(seen):
        """The largest observation of each band."""
        return seen.quantile(1.0)

    image = compose(make_stack([0.1], [0.4], [NAN]), "brightest")
    assert image["red"][0, 0] == np.float32(0.4)
    assert REDUCERS["brightest"].title == "The largest observation of each band."


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



# ---------------------------------------------------------------- the step: choices, failures, memory


def test_several_reducers_reach_the_file_of_a_block(tmp_path):
    scenes = make_scenes(tmp_path)
    run(scenes, tmp_path / "out", make_grid(4), reducer=["median", "p10", "geometric_median"])
    assert store.raster_bands(tmp_path / "out" / "r000c000.tif") == tuple(
        band_names(["nir08", "red"], ["median", "p10", "geometric_median"])
    )
    image = mosaic(tmp_path / "out", make_grid(4))
    seen = image["clear_count"] > 0
    assert (image["red_p10"][seen] <= image["red"][seen]).all() and np.isfinite(image["red_geometric_median"][seen]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"max_scenes": 2},
        {"reducer": "best_available_pixel", "target_day": "07-15"},
        {"reducer": ["medoid", "geometric_median", "amplitude"]},
        {"upsampling": "nearest"},
    ],
    ids=["capped", "best_pixel", "joint", "nearest"],
)
def test_no_choice_depends_on_the_block(tmp_path, changes):
    scenes = make_scenes(tmp_path, dates=5)
    images = []
    for block_chunks in (1, 3, 4):
        run(scenes, tmp_path / str(block_chunks), make_grid(block_chunks), **changes)
        images.append(mosaic(tmp_path / str(block_chunks), make_grid(block_chunks)))
    assert np.isfinite(images[0]["red"]).mean() > 0.5
    for name, values in images[0].items():
        np.testing.assert_array_equal(values, images[1][name])
        np.testing.assert_array_equal(values, images[2][name])


def test_reading_many_files_at_a_time_and_narrow_strips_change_no_byte(tmp_path, monkeypatch):
    scenes = make_scenes(tmp_path, dates=5)
    run(scenes, tmp_path / "one", make_grid(4))
    plain = Season.__init__

    def far(self, *given):
        plain(self, *given)
        self._remote = True

    monkeypatch.setattr(Season, "__init__", far)
    run(scenes, tmp_path / "many", make_grid(4))
    assert (tmp_path / "one" / "r000c000.tif").read_bytes() == (tmp_path / "many" / "r000c000.tif").read_bytes()
    monkeypatch.setattr("pipeline.steps.composite.HELD_MB", 1e-6)  # a strip for every column of chunks
    run(scenes, tmp_path / "narrow", make_grid(4))
    assert (tmp_path / "one" / "r000c000.tif").read_bytes() == (tmp_path / "narrow" / "r000c000.tif").read_bytes()


def make_granule(folder, name, day, number, *, cols, scl=4, side=60):
    """A granule that shows some columns of the grid: one reflectance, one class of the quality layer."""
    shown = (np.arange(side) >= cols[0]) & (np.arange(side) < cols[1])
    image = np.broadcast_to(np.where(shown, number, 0), (side, side)).astype("uint16")
    for role in ("red", "nir08"):
        write_tif(folder / f"{name}_{role}.tif", image, 20)
    write_tif(folder / f"{name}_scl.tif", np.where(image > 0, scl, 0).astype("uint8"), 20)
    bands = {role: {"href": f"{name}_{role}.tif", "scale": 1e-4, "offset": 0.0, "nodata": 0} for role in ("red", "nir08")}
    return {
        "id": name, "year": 2019, "datetime": f"2019-07-{day}T03:00:00Z", "platform": "sentinel-2a", "bands": bands,
        "bounds": [WEST + 20 * cols[0], NORTH - 20 * side, WEST + 20 * cols[1], NORTH], "quality": {"href": f"{name}_scl.tif"},
    }  # fmt: skip


@pytest.mark.parametrize("neighbour", ["cloud", "clear"])
def test_a_cloud_in_the_next_granule_of_an_overpass_is_as_near_as_one_in_its_own(tmp_path, neighbour):
    """On the target day the western granule is clear; ten days later all is. Beside cloud the later day scores 1.9 of 2."""
    items = [
        make_granule(tmp_path, "a_west", 15, 1000, cols=(0, 32)),
        make_granule(tmp_path, "a_east", 15, 1500, cols=(32, 60), scl=9 if neighbour == "cloud" else 4),
        make_granule(tmp_path, "b", 25, 2000, cols=(0, 60)),
    ]
    frozen = {"sensor": "sentinel-2-l2a", "query": {"years": [2019]}, "items": items, "left_out": []}
    (tmp_path / "scenes.json").write_text(json.dumps(frozen))
    for block_chunks in (1, 4):
        out = tmp_path / str(block_chunks)
        run(tmp_path / "scenes.json", out, make_grid(block_chunks), reducer="best_available_pixel", target_day="07-15")
        red = np.round(mosaic(out, make_grid(block_chunks))["red"] * 1e4)
        if neighbour == "cloud":
            assert (red == 2000).all()  # 640 m from the cloud at most, which is less than half of what counts as far
        else:
            assert (red[:, :32] == 1000).all() and (red[:, 32:] == 1500).all()


def rewrite(file, change):
    with rasterio.open(file) as raster:
        values, profile = raster.read(1), raster.profile
    values = change(values)
    with rasterio.open(file, "w", **profile) as raster:
        raster.write(values, 1)


def test_a_cap_keeps_the_clearest_over_each_chunk(tmp_path):
    scenes = make_scenes(tmp_path, dates=4)
    grid = make_grid(4)  # chunks of 16 px: columns 0-15, 16-31, 32-47, 48-59
    for number in range(4):
        file = tmp_path / f"s{number}_scl.tif"
        rewrite(file, lambda layer: np.full_like(layer, 4))
    rewrite(tmp_path / "s1_scl.tif", lambda layer: np.where(np.arange(60) < 20, 9, layer).astype("uint8"))
    rewrite(tmp_path / "s2_scl.tif", lambda layer: np.where(np.arange(60) > 40, 9, layer).astype("uint8"))
    run(scenes, tmp_path / "out", grid, max_scenes=2, reducer="mean")
    image = mosaic(tmp_path / "out", grid)

    def mean_of(numbers, cols):
        looks = []
        for number in numbers:
            with rasterio.open(tmp_path / f"s{number}_nir08.tif") as raster:
                looks.append(raster.read(1)[:, cols] * 1e-4)
        return np.mean(looks, axis=0)

    # the first chunks: 0, 2 and 3 are all clear, and the ids decide; the last: 1 and 3 (0 ends at column 30, 2 is cloudy)
    np.testing.assert_allclose(image["nir08"][:, :16], mean_of([0, 2], slice(0, 16)), atol=0.51e-4)
    np.testing.assert_allclose(image["nir08"][:, 48:], mean_of([1, 3], slice(48, 60)), atol=0.51e-4)


def test_equally_clear_scenes_are_chosen_by_cloud_then_nearness_to_the_target_day_then_id(tmp_path):
    listed = make_scenes(tmp_path, dates=4, side=16)
    frozen = json.loads(listed.read_text())
    for number, (item, cloud, day) in enumerate(zip(frozen["items"], (5, 1, 5, 5), (10, 28, 14, 16), strict=True)):
        item |= {"cloud_percent": cloud, "datetime": f"2019-07-{day}T03:00:00Z"}
        (tmp_path / f"s{number}_scl.tif").unlink()
        write_tif(tmp_path / f"s{number}_scl.tif", np.full((16, 16), 4, "uint8"), 20)
        (tmp_path / f"s{number}_nir08.tif").unlink()
        write_tif(tmp_path / f"s{number}_nir08.tif", np.full((16, 16), 1000 + 2 * number, "uint16"), 20)
        (tmp_path / f"s{number}_red.tif").unlink()
        write_tif(tmp_path / f"s{number}_red.tif", np.full((32, 32), 1000 + 2 * number, "uint16"), 10)
    listed.write_text(json.dumps(frozen))
    grid = make_grid(1, side=16)

    def chosen(most):
        run(listed, tmp_path / str(most), grid, max_scenes=most, target_day="07-15", reducer=["p10", "p90", "mean"])
        image = mosaic(tmp_path / str(most), grid)
        return image["clear_count"].max(), round(float(image["nir08_mean"][0, 0]) * 1e4, 2)

    assert chosen(1) == (1, 1002)  # the least cloud in the whole scene
    assert chosen(2) == (2, 1003)  # and 1004: the 14th and the 16th are as near, the id decides
    assert chosen(3) == (3, 1004)  # and 1006


def test_a_pixel_in_a_gap_of_the_scan_lines_has_fewer_looks_and_nothing_else(tmp_path):
    plain, gappy = tmp_path / "plain", tmp_path / "gappy"
    for folder in (plain, gappy):
        folder.mkdir()
        make_scenes(folder, dates=3)
        for number in range(3):
            rewrite(folder / f"s{number}_scl.tif", lambda layer: np.full_like(layer, 4))
    gap = np.zeros((60, 60), bool)
    gap[10:14] = True  # fill in the bands alone, as where the scan line corrector failed
    rewrite(gappy / "s1_nir08.tif", lambda numbers: np.where(gap, 0, numbers).astype("uint16"))
    grid = make_grid(4)
    for folder in (plain, gappy):
        run(folder / "scenes.json", folder / "out", grid, reducer="mean")
    whole, image = mosaic(plain / "out", grid), mosaic(gappy / "out", grid)
    np.testing.assert_array_equal(image["clear_count"], whole["clear_count"] - gap)
    np.testing.assert_array_equal(image["nir08"][~gap], whole["nir08"][~gap])
    np.testing.assert_array_equal(image["red"][~gap], whole["red"][~gap])
    assert np.isfinite(image["nir08"][gap]).all() and np.isfinite(image["red"][gap]).all()


def test_a_scene_with_one_broken_tile_is_dropped_where_it_is_broken_whatever_the_block(tmp_path, caplog):
    scenes = make_scenes(tmp_path)
    file = tmp_path / "s2_nir08.tif"
    with rasterio.open(file) as raster:
        values, profile = raster.read(1), raster.profile
    profile |= {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    with rasterio.open(file, "w", **profile) as raster:
        raster.write(values, 1)
    with rasterio.open(file) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(file.read_bytes())
    content[offset : offset + 40] = b"\xff" * 40
    file.write_bytes(content)
    images = []
    for block_chunks in (1, 4):
        out = tmp_path / str(block_chunks)
        run(scenes, out, make_grid(block_chunks), on_scene_error="drop")
        images.append(mosaic(out, make_grid(block_chunks)))
    for name in images[0]:
        np.testing.assert_array_equal(images[0][name], images[1][name])
    assert "s2_nir08.tif is damaged" in caplog.text
    assert images[0]["clear_count"][16:32, 16:30].max() == 3  # the chunk of the broken tile
    assert images[0]["clear_count"][40:, :14].max() == 4
    with pytest.raises(ValueError, match="set on_scene_error: drop"):
        run(scenes, tmp_path / "fail", make_grid(4))


@pytest.mark.parametrize(
    ("target", "season", "expected"),
    [
        (None, ("06-01", "08-30"), "2019-07-16"),
        ("07-20", ("06-01", "08-30"), "2019-07-20"),
        ("01-10", ("11-01", "02-28"), "2020-01-10"),
        ("12-10", ("11-01", "02-28"), "2019-12-10"),
    ],
)
def test_the_target_day_lies_in_the_season_of_the_year(target, season, expected):
    assert _target_day(target, 2019, season).isoformat() == expected


def test_a_sensor_may_name_one_reducer_or_several_and_a_day():
    assert Sensor(catalog="x").reducers == ("median",)
    assert Sensor(catalog="x", reducer=["median", "p10"]).reducers == ("median", "p10")
    wrongs = [({"target_day": "13-40"}, "not a month and day"), ({"reducer": []}, "at least 1"), ({"max_scenes": 0}, "than or")]
    for wrong, message in wrongs:
        with pytest.raises(ValueError, match=message):
            Sensor(catalog="x", **wrong)


def test_a_study_that_needs_no_band_counts_nothing(tmp_path):
    scenes = make_scenes(tmp_path)
    composite(
        scenes=scenes, raster=tmp_path / "out.tif", sensor="sentinel-2-l2a", year=2019, block="r000c000",
        grid=make_grid(4).settings(), settings={"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail"}, roles=[],
    )  # fmt: skip
    assert (store.read_raster(tmp_path / "out.tif")["clear_count"] == 0).all()


# ---------------------------------------------------------------- the file, piece by piece


@pytest.mark.parametrize("side", [64, 100, 512])
def test_a_raster_written_in_pieces_of_any_size_holds_what_is_written_at_once(tmp_path, side):
    rng = np.random.default_rng(9)
    grid = Grid("EPSG:32650", WEST, NORTH, 20.0, 700, 1100, chunk_px=side, block_chunks=99)
    count = rng.integers(0, 9, (700, 1100)).astype("int16")
    bands = {"red": rng.uniform(0, 1, (700, 1100)).astype("float32"), "clear_count": count}
    bands["red"][rng.uniform(size=(700, 1100)) < 0.1] = NAN
    about = {"geobox": grid.geobox, "units": {"red": "1", "clear_count": "1"}, "scales": {"red": 1e-4, "clear_count": 1.0}}
    store.write_raster(tmp_path / "whole.tif", bands, **about)
    files = [tmp_path / "one.tif", tmp_path / "two.tif"]
    for file in files:
        with store.raster_by_window(file, list(bands), **about) as raster:
            for _, chunk in grid.chunks():
                raster.write(chunk, {name: values[chunk.slices] for name, values in bands.items()})
    assert files[0].read_bytes() == files[1].read_bytes()
    whole, pieces = store.read_raster(tmp_path / "whole.tif"), store.read_raster(files[0])
    for name in bands:
        np.testing.assert_array_equal(whole[name], pieces[name])
    with rasterio.open(files[0]) as raster:
        assert raster.scales == (1e-4, 1.0) and raster.units == ("1", "1") and raster.block_shapes == [(512, 512)] * 2


def test_pixels_that_are_never_written_are_missing_and_a_broken_run_leaves_no_file(tmp_path):
    grid = Grid("EPSG:32650", WEST, NORTH, 20.0, 600, 600, chunk_px=100, block_chunks=99)
    about = {"geobox": grid.geobox, "units": {}, "scales": {"red": 1e-4}}
    with store.raster_by_window(tmp_path / "part.tif", ["red"], **about) as raster:
        raster.write(Window(100, 200, 100, 200), {"red": np.full((100, 100), 0.5, "float32")})
    red = store.read_raster(tmp_path / "part.tif")["red"]
    assert np.isfinite(red).sum() == 10_000 and (red[100:200, 100:200] == np.float32(0.5)).all()
    with pytest.raises(RuntimeError), store.raster_by_window(tmp_path / "broken.tif", ["red"], **about) as raster:
        raise RuntimeError
    assert not list(tmp_path.glob("*broken*"))
