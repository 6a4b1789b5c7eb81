"""Blocks and plots get the same metrics however the cloud is cut into tiles and the grid into blocks."""

from __future__ import annotations

import logging
from pathlib import Path

import laspy
import numpy as np
import pytest
import shapely
from pyproj import CRS

from pipeline import store
from pipeline.config import Campaign
from pipeline.grid import Grid
from pipeline.steps.lidar import lidar, plot_metrics, window_heights

UTM = "EPSG:32633"
WEST, SOUTH, SIZE_M = 500_000.0, 5_000_000.0, 240.0
METRICS = ["zmax", "zmean", "zq50", "zq95", "cover_2m", "pzabove2", "zentropy"]


def make_cloud(n: int = 60_000, *, seed: int = 11) -> dict[str, np.ndarray]:
    """One point per m2 on a slope, a third of it ground, crowns of 20 m in the western half; whole centimetres."""
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.random((2, n)) * SIZE_M, 2)
    ground = rng.random(n) < 1 / 3
    canopy = np.where(x < SIZE_M / 2, 20.0, 1.0) * rng.beta(5, 2, n)
    z = np.round(300 + 0.1 * x + 2 * np.sin(y / 15) + np.where(ground, 0.0, canopy), 2)
    kind = {"classification": np.where(ground, 2, 5), "return_number": np.where(ground, 2, 1), "gps_time": np.arange(n) * 1e-5}
    return {"x": WEST + x, "y": SOUTH + y, "z": z, **kind}


def write_tiles(
    folder: Path, cloud: dict[str, np.ndarray], per_side: int, *, seed: int = 0, overlap_m: float = 0.0
) -> str:
    """The cloud cut into squares, points and file names in a random order, each tile with its own offset.

    With an overlap each tile holds its neighbours' points as well, so far around it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = rng.permutation(per_side**2)
    step = SIZE_M / per_side + 1e-6
    for number in range(per_side**2):
        west, south = WEST + number // per_side * step - overlap_m, SOUTH + number % per_side * step - overlap_m
        reach = step + 2 * overlap_m
        inside = (cloud["x"] >= west) & (cloud["x"] < west + reach) & (cloud["y"] >= south) & (cloud["y"] < south + reach)
        own = rng.permutation(np.flatnonzero(inside))
        header = laspy.LasHeader(version="1.4", point_format=6)
        header.scales, header.offsets = np.full(3, 0.01), np.array([cloud[axis][own].min() for axis in "xyz"])
        header.add_crs(CRS.from_user_input(UTM))
        points = laspy.ScaleAwarePointRecord.zeros(len(own), header=header)
        for column, values in cloud.items():
            points[column] = values[own]
        with laspy.open(folder / f"{names[number]:03d}.laz", mode="w", header=header) as file:
            file.write_points(points)
    return str(folder)


def make_campaign(points: str, **settings) -> dict:
    return Campaign(points=points, date="2020-07-01", **settings).model_dump(mode="json")


def make_grid(**settings) -> Grid:
    bounds = (WEST, SOUTH, WEST + SIZE_M, SOUTH + SIZE_M)
    return Grid.covering(bounds, crs=UTM, resolution_m=20, **{"chunk_px": 8, "block_chunks": 8, **settings})


def metrics_of(grid: Grid, campaign: dict, folder: Path, metrics=METRICS) -> dict[str, np.ndarray]:
    """All blocks of a grid, computed and put side by side."""
    for block in grid.blocks():
        lidar(raster=folder / f"{block}.tif", grid=grid.settings(), block=block, campaign=campaign, metrics=metrics)
    return store.Mosaic(folder, grid).read(grid.window, store.raster_bands(folder / f"{grid.blocks()[0]}.tif"))


@pytest.fixture(scope="module")
def cloud() -> dict[str, np.ndarray]:
    return make_cloud()


@pytest.fixture(scope="module")
def whole(cloud, tmp_path_factory) -> tuple[dict, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("whole")
    campaign = make_campaign(write_tiles(folder / "tiles", cloud, 1))
    return campaign, metrics_of(make_grid(), campaign, folder / "raster")


@pytest.mark.parametrize(("per_side", "overlap_m"), [(2, 0), (2, 17), (3, 0), (3, 30), (5, 0), (5, 10)])
def test_cutting_the_cloud_into_tiles_changes_no_byte(cloud, whole, tmp_path, per_side, overlap_m, caplog):
    """4, 9 and 25 tiles in any order of files and points, apart or with what overlaps in both: as of one tile."""
    tiles = write_tiles(tmp_path / "tiles", cloud, per_side, seed=per_side, overlap_m=overlap_m)
    with caplog.at_level(logging.INFO):
        cut = metrics_of(make_grid(), make_campaign(tiles), tmp_path / "raster")
    for name, values in whole[1].items():
        assert cut[name].tobytes() == values.tobytes(), name
    assert (" 0 points were in several tiles" in caplog.text) == (overlap_m == 0)


def make_cloud_with_gaps(n: int = 30_000) -> dict[str, np.ndarray]:
    """As `make_cloud`, but ground was hit in holes 10 m wide and 40 m apart only: triangles far wider than the buffer."""
    cloud = make_cloud(n, seed=5)
    hole = ((cloud["x"] - WEST) % 50 < 10) & ((cloud["y"] - SOUTH) % 50 < 10)
    covered = (cloud["classification"] == 2) & ~hole
    cloud["classification"] = np.where(covered, 5, cloud["classification"])
    cloud["z"] = np.where(covered, cloud["z"] + 7.0, cloud["z"])
    return cloud


def test_a_buffer_grows_until_every_height_is_that_of_the_whole_campaign(tmp_path, caplog):
    """Windows of 40 m with a buffer of 5 m see no ground that holds for them; with all ground known, nothing changes."""
    tiles = write_tiles(tmp_path / "tiles", make_cloud_with_gaps(), 3)
    together = metrics_of(make_grid(chunk_px=12), make_campaign(tiles, buffer_m=200), tmp_path / "together")
    with caplog.at_level(logging.INFO):
        apart = metrics_of(make_grid(chunk_px=2), make_campaign(tiles, buffer_m=5), tmp_path / "apart")
    assert "36 windows were read beyond their buffer" in caplog.text
    certain = together["far_ground_percent"] == 0
    assert certain.mean() > 0.5
    for name, values in together.items():
        np.testing.assert_array_equal(apart[name][certain], values[certain], err_msg=name)
    assert (apart["far_ground_percent"][certain] == 0).all()


@pytest.fixture(scope="module")
def gaps(tmp_path_factory) -> tuple[dict, Path, dict[str, np.ndarray]]:
    """A cloud of which many heights rest on wide triangles, or lie beyond the ground; in one tile."""
    cloud = make_cloud_with_gaps()
    bare = (cloud["x"] - WEST < 90) & (cloud["y"] - SOUTH < 150)
    cloud["classification"] = np.where(bare, 5, cloud["classification"])
    folder = tmp_path_factory.mktemp("gaps")
    campaign = make_campaign(write_tiles(folder / "tiles", cloud, 1), buffer_m=10)
    return cloud, campaign, metrics_of(make_grid(chunk_px=4, block_chunks=1), campaign, folder / "raster")


@pytest.mark.parametrize(("per_side", "overlap_m"), [(2, 0), (3, 25), (5, 0)])
def test_no_cut_changes_a_byte_even_of_heights_that_are_not_certain(gaps, tmp_path, per_side, overlap_m):
    """Ground 40 m apart and none in a corner: what is flagged, too, does not depend on tiles, blocks and their order."""
    cloud, _, whole = gaps
    assert (whole["outside_hull_percent"] > 0).any()
    tiles = write_tiles(tmp_path / "tiles", cloud, per_side, seed=per_side, overlap_m=overlap_m)
    campaign = make_campaign(tiles, buffer_m=10)
    cut = metrics_of(make_grid(chunk_px=4, block_chunks=3), campaign, tmp_path / "raster")
    for name, values in whole.items():
        assert cut[name].tobytes() == values.tobytes(), name


def test_what_is_read_together_and_kept_changes_no_byte(gaps, tmp_path, monkeypatch):
    """Window by window, with no memory of what was decoded."""
    from catalogs.lidar.held import Kept
    from pipeline.steps import lidar as step

    _, campaign, whole = gaps
    monkeypatch.setattr(step, "HELD_POINTS", 1.0)
    monkeypatch.setattr(step, "WINDOW_M", 80.0)
    expected = metrics_of(make_grid(chunk_px=4), campaign, tmp_path / "expected")
    monkeypatch.setattr(Kept, "put", lambda *piece: None)
    found = metrics_of(make_grid(chunk_px=4, block_chunks=1), campaign, tmp_path / "found")
    for name, values in whole.items():
        assert expected[name].tobytes() == found[name].tobytes() == values.tobytes(), name


def test_heights_over_ground_farther_apart_than_a_buffer_may_grow_are_flagged(tmp_path):
    """Ground in the four corners alone: the circle of each triangle is wider than 300 m."""
    cloud = make_cloud(6000)
    x, y = cloud["x"] - WEST, cloud["y"] - SOUTH
    corner = ((x < 10) | (x > SIZE_M - 10)) & ((y < 10) | (y > SIZE_M - 10))
    cloud["classification"] = np.where(corner, cloud["classification"], 5)
    found = metrics_of(make_grid(chunk_px=12), make_campaign(write_tiles(tmp_path / "tiles", cloud, 1)), tmp_path / "raster")
    assert (found["far_ground_percent"][2:-2, 2:-2] == 100).all()


def test_a_cell_that_points_barely_touch_is_missing_but_for_its_quality(cloud, tmp_path, caplog):
    """Points west of x = 70: of the fourth column of 20 m cells the first half, of the fifth none; 5 m squares tell."""
    west = {name: values[cloud["x"] < WEST + 70] for name, values in cloud.items()}
    campaign = make_campaign(write_tiles(tmp_path / "tiles", west, 1), min_covered_percent=60)
    found = metrics_of(make_grid(), campaign, tmp_path / "raster")
    np.testing.assert_allclose(found["covered_percent"][:, 3], 50)
    np.testing.assert_allclose(found["covered_percent"][:, :3], 100)
    assert np.isnan(found["zq95"][:, 3:]).all() and np.isfinite(found["zq95"][:, :3]).all()
    assert np.isfinite(found["density_pts_m2"][:, 3]).all() and np.isnan(found["density_pts_m2"][:, 4:]).all()
    whole = metrics_of(make_grid(), {**campaign, "min_covered_percent": 50.0}, tmp_path / "half")
    assert np.isfinite(whole["zq95"][:, 3]).all()
    plots = [shapely.Point(WEST + x, SOUTH + 100).buffer(10) for x in (50, 75)]
    table = plot_metrics(campaign, plots, crs=UTM, names=["zq95", "covered_percent"])
    assert table["zq95"].isna().tolist() == [False, True]
    # A quarter of the circle's width lies west of x = 70, a fifth of its area; the squares across the line count whole.
    assert table["covered_percent"][0] == 100 and 20 < table["covered_percent"][1] < 45


def test_the_block_size_changes_no_byte(whole, tmp_path):
    campaign, expected = whole
    halved = metrics_of(make_grid(block_chunks=1), campaign, tmp_path)
    for name, values in expected.items():
        assert halved[name].tobytes() == values.tobytes(), name


def test_metrics_do_not_feel_where_windows_end(whole, tmp_path):
    """One window or four: with ground far denser than the buffer is wide, only the cloud's own edge may differ."""
    campaign, expected = whole
    other = metrics_of(make_grid(chunk_px=12), campaign, tmp_path)
    for name in METRICS:
        np.testing.assert_array_equal(other[name][1:-1, 1:-1], expected[name][1:-1, 1:-1])


def test_the_planted_canopy_is_found(whole):
    _, found = whole
    west, east = found["zmax"][1:-1, 1:5], found["zmax"][1:-1, 7:-1]
    assert (west > 15).all() and (west < 21).all() and (east < 1.5).all()
    assert np.nanmean(found["density_pts_m2"]) == pytest.approx(60_000 / SIZE_M**2, rel=1e-3)
    assert set(METRICS) < set(found) and "ground_pts_m2" in found and "zq5" not in found


def test_a_block_without_lidar_is_missing_and_said_so(whole, tmp_path, caplog):
    far = Grid.covering((600_000, SOUTH, 600_200, SOUTH + 200), crs=UTM, resolution_m=20, chunk_px=8)
    with caplog.at_level(logging.INFO):
        lidar(raster=tmp_path / "als20" / "a.tif", grid=far.settings(), block="r000c000", campaign=whole[0])
    assert all(np.isnan(band).all() for band in store.read_raster(tmp_path / "als20" / "a.tif").values())
    assert "no lidar of campaign als20 in block r000c000" in caplog.text


def test_what_was_read_and_left_out_is_logged(cloud, tmp_path, caplog):
    noisy = {name: values.copy() for name, values in cloud.items()}
    noisy["classification"][:50] = 7
    noisy["classification"][50:80], noisy["z"][50:80] = 5, 900.0
    campaign = make_campaign(write_tiles(tmp_path / "tiles", noisy, 1))
    with caplog.at_level(logging.INFO):
        found = metrics_of(make_grid(chunk_px=12), campaign, tmp_path / "raster")
    assert "read 60000 points with buffers, left out 0 withheld, 50 noise, 0 of flight lines' overlap" in caplog.text
    assert "0 by thinning and 30 above the ceiling" in caplog.text
    assert "144 of 144 cells filled" in caplog.text
    assert "set vertical_unit" not in caplog.text  # 0.05 % are birds
    on_grid = (noisy["x"] < WEST + SIZE_M) & (noisy["y"] > SOUTH)
    assert np.nansum(found["density_pts_m2"]) * 400 == pytest.approx(on_grid[80:].sum())


def test_what_overlap_and_thinning_leave_out_is_logged(cloud, tmp_path, caplog):
    """1,000 points of class 12; every square of 10 m holds some 104 points and keeps 50: 576 times 50 of 60,000 stay."""
    marked = cloud | {"classification": np.where(np.arange(60_000) < 1_000, 12, cloud["classification"])}
    folder = write_tiles(tmp_path / "t", marked, 1)
    with caplog.at_level(logging.INFO):
        metrics_of(make_grid(chunk_px=12), make_campaign(folder, drop_overlap=True, thin_to_pts_m2=0.5), tmp_path / "o")
    beyond = ((cloud["x"] >= WEST + SIZE_M) | (cloud["y"] <= SOUTH))[1_000:].sum()  # a few on the border, in squares of their own
    assert f"1000 of flight lines' overlap, {59_000 - beyond - 576 * 50} by thinning and 0 above the ceiling" in caplog.text


def test_heights_in_feet_taken_for_metres_are_warned_of(cloud, tmp_path, caplog):
    """Crowns of 20 m on ground at 300 m, in feet: none is above 80; those of 30 m are 98 ft high."""
    tall = cloud | {"z": np.where(cloud["classification"] == 2, cloud["z"], cloud["z"] + 10) / 0.3048}
    folder = write_tiles(tmp_path / "t", tall, 1)
    metrics_of(make_grid(), make_campaign(folder), tmp_path / "o")
    assert "% of heights are above max_height_m and left out; if the files count heights in feet" in caplog.text
    caplog.clear()
    metrics_of(make_grid(), make_campaign(folder, vertical_unit="ft"), tmp_path / "f")
    assert "feet" not in caplog.text


def test_a_window_without_ground_is_refused_unless_it_is_a_fringe(cloud, tmp_path, caplog):
    bare = {**cloud, "classification": np.full(60_000, 1)}
    campaign = make_campaign(write_tiles(tmp_path / "bare", bare, 1))
    with pytest.raises(ValueError, match="there is no ground to measure heights from between x 500000"):
        metrics_of(make_grid(), campaign, tmp_path / "raster")
    fringe = {name: values[:40] for name, values in bare.items()}
    campaign = make_campaign(write_tiles(tmp_path / "fringe", fringe, 1))
    found = metrics_of(make_grid(chunk_px=12), campaign, tmp_path / "raster")
    assert np.isnan(found["zmax"]).all()
    assert "1 windows hold fewer than 0.1 points/m2 and no ground; they stay missing" in caplog.text


def test_heights_of_a_window_are_those_of_its_points_and_of_a_margin_that_is_asked_for(whole):
    bounds = (WEST + 100, SOUTH + 100, WEST + 140, SOUTH + 140)
    heights = window_heights(whole[0], bounds, crs=UTM)
    assert WEST + 100 <= heights.x.min() < WEST + 101 and SOUTH + 139 < heights.y.max() <= SOUTH + 140
    wider = window_heights(whole[0], bounds, crs=UTM, margin_m=5)
    assert WEST + 95 <= wider.x.min() < WEST + 96 and SOUTH + 144 < wider.y.max() <= SOUTH + 145


def test_a_plot_that_is_a_pixel_has_the_pixels_metrics(whole):
    campaign, expected = whole
    grid = make_grid()
    squares = [(2, 3), (9, 9), (5, 6)]
    plots = [
        shapely.box(*grid.bounds_of(grid.window._replace(row0=row, row1=row + 1, col0=col, col1=col + 1)))
        for row, col in squares
    ]
    table = plot_metrics(campaign, plots, crs=UTM, names=METRICS)
    assert list(table.columns) == METRICS and len(table) == 3
    for name in METRICS:
        # A point exactly on an edge belongs to a pixel, but to no open footprint: at most a few in 400.
        np.testing.assert_allclose(table[name], [expected[name][cell] for cell in squares], rtol=0.01, atol=0.02)


def test_a_plot_keeps_its_metrics_in_any_company(whole):
    campaign, _ = whole
    plots = [shapely.Point(WEST + x, SOUTH + y).buffer(12) for x, y in [(60, 60), (70, 75), (180, 170)]]
    together = plot_metrics(campaign, plots, crs=UTM)
    for number, plot in enumerate(plots):
        alone = plot_metrics(campaign, [plot], crs=UTM)
        assert alone.loc[0].to_numpy().tobytes() == together.loc[number].to_numpy().tobytes()


def test_places_of_one_plot_are_seen_as_if_each_were_a_plot(whole):
    campaign, _ = whole
    places = [shapely.Point(WEST + x, SOUTH + y).buffer(12) for x, y in [(60, 60), (70, 75), (66, 52), (180, 170)]]
    apart = plot_metrics(campaign, places, crs=UTM, names=["zmean", "zq95", "cover_2m"])
    together = plot_metrics(campaign, places, crs=UTM, names=["zmean", "zq95", "cover_2m"], sizes=[3, 1])
    # heights stand on one ground, triangulated around them all
    np.testing.assert_allclose(together, apart, atol=0.02)
    assert together.loc[3].to_numpy().tobytes() == apart.loc[3].to_numpy().tobytes()


def test_a_plot_without_points_is_missing_and_counted(whole, caplog):
    plots = [shapely.Point(WEST + 60, SOUTH + 60).buffer(10), shapely.Point(0, 0).buffer(10)]
    with caplog.at_level(logging.INFO):
        table = plot_metrics(whole[0], plots, crs=UTM, names=["zq95"])
    assert table["zq95"].isna().tolist() == [False, True]
    assert "1 of 2 footprints hold points" in caplog.text


def test_a_canopy_height_raster_serves_in_place_of_points(tmp_path):
    """Four pixels of 20 m over cells of 10 m: the metrics are those of four heights each."""
    import rasterio
    from rasterio.transform import from_origin

    heights = np.array([[1, 3, 10, 10], [5, 7, 10, 10], [-1, 0, -9999, -9999], [0, 0, -9999, 90]], "float32")
    path = tmp_path / "chm.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=1, dtype="float32", crs=UTM, nodata=-9999,
        transform=from_origin(WEST, SOUTH + 40, 10, 10),
    ) as raster:  # fmt: skip
        raster.write(heights, 1)
    campaign = Campaign(canopy_height=str(path), date=2012).model_dump(mode="json")
    grid = Grid.covering((WEST, SOUTH, WEST + 40, SOUTH + 40), crs=UTM, resolution_m=20, chunk_px=8)
    found = metrics_of(grid, campaign, tmp_path / "raster", ["zmean", "cover_2m"])
    np.testing.assert_allclose(found["zmean"], [[4, 10], [0, np.nan]])
    np.testing.assert_allclose(found["cover_2m"], [[75, 100], [0, np.nan]])
    np.testing.assert_allclose(found["clipped_percent"], [[0, 0], [25, np.nan]])
    plots = plot_metrics(campaign, [shapely.box(WEST, SOUTH + 20, WEST + 20, SOUTH + 40)], crs=UTM, names=["zmax"])
    assert plots["zmax"].tolist() == [7]
