"""Canopy height models have no pits, tree tops are those of a published filter, crowns hold their own top."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import canopy_grid, canopy_surface, pit_free, point_to_raster, tree_tops
from pipeline.lidar.fine import Fine, Squares, area_ratio, slope_of_planes, squares_of_cells, squares_of_polygon
from pipeline.lidar.heights import Heights
from pipeline.lidar.trees import TILE_PX, TreeRules, Trees

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def make_heights(x, y, z, *, first=True) -> Heights:
    x, y, z = (np.asarray(values, float) for values in (x, y, z))
    none = np.zeros(len(z), bool)
    return Heights(x, y, z, np.broadcast_to(np.asarray(first, bool), z.shape), *[none] * 4)


def make_squares(rows: int, cols: int, size_m: float = 1.0) -> Squares:
    return Squares(0.0, rows * size_m, size_m, np.zeros((rows, cols), int))


def make_crowns(side: int = 60, *, spacing: int = 12) -> np.ndarray:
    """Paraboloids of 4 m radius, 10 to 20 m high, on a regular pattern: a canopy of 1 m cells with known tops."""
    row, col = np.mgrid[:side, :side]
    canopy = np.zeros((side, side))
    for number, (r, c) in enumerate((r, c) for r in range(6, side, spacing) for c in range(6, side, spacing)):
        top = 10 + number % 11
        square = (row - r) ** 2 + (col - c) ** 2
        canopy = np.maximum(canopy, np.where(square <= 16, top - square / 4, 0))
    return canopy


def test_the_highest_return_makes_the_canopy_of_its_square_and_an_empty_one_is_missing():
    """Half open: a point on the western or northern edge belongs to the square, on the eastern to the next."""
    found = point_to_raster(make_heights([0.5, 0.2, 1.0, 0.0], [0.5, 0.9, 0.5, 1.0], [3, 5, 7, 4]), make_squares(2, 2))
    np.testing.assert_array_equal(found, [[np.nan, np.nan], [5, 7]])


def test_a_pit_in_a_crown_is_closed_and_a_gap_between_crowns_stays():
    """First returns every 0.5 m: a crown at 20 m with one return on the ground inside, beside open ground 6 m wide."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(0.25, 16, 0.5), np.arange(0.25, 10, 0.5)))
    z = np.where((x < 5) | (x > 11), 20.0, 0.0)
    pit = (x == 2.25) & (y == 4.75)
    z[pit] = 0.0
    squares = make_squares(20, 32, 0.5)
    heights = make_heights(x, y, z)
    plain, found = point_to_raster(heights, squares), pit_free(heights, squares, longest_edge_m=1.5)
    row, col = 19 - int(4.75 / 0.5), int(2.25 / 0.5)
    assert plain[row, col] == 0 and found[row, col] == pytest.approx(20)
    assert found[5, 16] == 0 and found[5, 20] == 0
    assert (found >= plain - 1e-9)[np.isfinite(found)].all()


def test_a_pit_free_canopy_looks_at_first_returns_alone_and_feels_no_order():
    rng = np.random.default_rng(3)
    x, y = rng.random((2, 3000)) * 30
    heights = make_heights(x, y, 15 + 3 * np.sin(x), first=np.arange(3000) < 2500)
    order = rng.permutation(3000)
    mixed = make_heights(x[order], y[order], heights.z[order], first=heights.first_return[order])
    squares = make_squares(30, 30)
    assert pit_free(heights, squares).tobytes() == pit_free(mixed, squares).tobytes()
    few = make_heights(x[:2500], y[:2500], heights.z[:2500])
    assert pit_free(few, squares).tobytes() == pit_free(heights, squares).tobytes()
    assert np.isnan(pit_free(make_heights([], [], []), squares)).all()


def test_planted_trees_are_found_and_their_crowns_are_theirs():
    canopy = make_crowns()
    tops = tree_tops(canopy, 1.0)
    expected = {(r, c) for r in range(6, 60, 12) for c in range(6, 60, 12)}
    assert {tuple(top) for top in tops.tolist()} == expected
    trees = trees_of(canopy)
    assert len(trees) == 25
    # A paraboloid of 4 m radius covers 49 cells (whole cells with x^2 + y^2 <= 16), all of them 6 m and higher.
    assert (trees["area_m2"] == 49).all()
    assert all(crown.contains(shapely.Point(x, y)) for crown, x, y in zip(trees["crown"], trees["x"], trees["y"], strict=True))
    first = trees.iloc[0]
    assert (first["x"], first["y"], first["tree"]) == (500_006.5, 5_000_000 - 6.5, 6 * 60 + 6 + 1)
    assert trees["height_m"].iloc[:3].tolist() == [10, 11, 12]


def trees_of(canopy: np.ndarray, *, blocks: list[Window] | None = None, size_m: float = 1.0, **rules) -> pd.DataFrame:
    """The trees of a whole canopy, block by block, in the order of their tiles."""
    grid = Grid("EPSG:32633", 500_000, 5_000_000, size_m, *canopy.shape, 512, 1)
    padded = np.pad(canopy, 600, constant_values=np.nan)

    def read(window: Window) -> np.ndarray:
        return padded[window.row0 + 600 : window.row1 + 600, window.col0 + 600 : window.col1 + 600]

    parts = []
    for block in blocks or [grid.window]:
        trees = Trees(grid, read, TreeRules(**rules))
        parts += [trees.found(*tile, block) for tile in trees.tiles(block)]
    return pd.concat(parts).sort_values("tree", ignore_index=True)


@pytest.fixture(scope="module")
def rough_canopy() -> np.ndarray:
    """A canopy to 1 dm, wider than a tile, with a gap, of smoothed noise: crowns touch, heights are equal."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(4).random((TILE_PX + 120, TILE_PX + 90)), 2.5)
    canopy = np.round(35 * (noise - noise.min()) / (noise.max() - noise.min()), 1)
    canopy[200:230, 480:560] = np.nan
    return canopy


def test_no_cell_is_in_two_crowns_whatever_tile_it_lies_in(rough_canopy):
    trees = trees_of(rough_canopy)
    union = shapely.union_all(trees["crown"].to_numpy())
    assert trees["area_m2"].sum() == pytest.approx(union.area)
    assert union.area <= (rough_canopy >= 2).sum()
    assert trees["tree"].is_unique


def test_trees_are_the_same_however_the_canopy_is_cut_into_blocks(rough_canopy):
    rows, cols = rough_canopy.shape
    whole = trees_of(rough_canopy)
    cuts = [Window(r0, r1, c0, c1) for r0, r1 in ((0, 77), (77, 300), (300, rows)) for c0, c1 in ((0, 511), (511, cols))]
    pd.testing.assert_frame_equal(trees_of(rough_canopy, blocks=cuts), whole)


@pytest.mark.parametrize(("crown_m", "per_m"), [(12.0, 0.06), (1.0, 0.2)])
def test_tops_of_a_canopy_in_tiles_are_those_of_the_whole(rough_canopy, crown_m, per_m):
    """However little is read around for crowns and however wide tops are searched. And the tree that a top names is its cell."""
    trees = trees_of(rough_canopy, max_crown_radius_m=crown_m, search_radius_per_m=per_m)
    named = {divmod(tree - 1, rough_canopy.shape[1]) for tree in trees["tree"].tolist()}
    tops = tree_tops(rough_canopy, 1.0, radius_m=lambda height: 0.4 + per_m * height)
    assert named == {tuple(top) for top in tops.tolist()}


def test_no_crown_reaches_farther_from_its_top_than_it_may():
    """A cone of 30 m radius with one top: its crown is the disc of 12 m, 441 cells of which the centre is within."""
    row, col = np.mgrid[:81, :81]
    cone = np.maximum(40 - np.hypot(row - 40, col - 40), 0)
    expected = (np.hypot(row - 40, col - 40) <= 12).sum()
    trees = trees_of(cone, max_crown_radius_m=12.0)
    assert len(trees) == 1 and trees["area_m2"].iloc[0] == expected == 441


def test_a_flat_roof_is_no_row_of_trees():
    """Twenty cells in a row, all 9 m: one top, then one more where its window ends, and no third."""
    canopy = np.zeros((5, 20))
    canopy[2] = 9.0
    assert tree_tops(canopy, 1.0).tolist() == [[2, 0], [2, 2]]


def test_squares_of_a_canopy_cut_each_cell_into_a_whole_number():
    grid = Grid("EPSG:32633", 500_000, 5_000_000, 25.0, 40, 60, 20, 2)
    fine = canopy_grid(grid, 2.0)
    assert (fine.rows, fine.cols, fine.resolution_m) == (40 * 12, 60 * 12, 25 / 12)
    assert fine.bounds == pytest.approx(grid.bounds) and fine.blocks() == grid.blocks()


def test_over_a_lake_there_is_no_canopy_even_without_pits():
    """No return from 20 to 60 m: the surface ends at the shores; a ditch of 6 m is spanned, as its triangles are certain."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(0.25, 80, 0.5), np.arange(-20, 40, 0.5)))
    land = (x < 7) | (x > 13) & (x < 20) | (x > 60)
    heights = make_heights(x[land], y[land], np.full(land.sum(), 8.0))
    grid = Grid("EPSG:32633", 0.0, 20.0, 1.0, 20, 80, 512, 1)
    found = canopy_surface(heights, grid, grid.window, surface="pit_free", longest_edge_m=1.0)
    assert (found[:, :20] == 8).all() and (found[:, 60:] == 8).all()
    assert np.isnan(found[:, 20:60]).all()
    highest = canopy_surface(heights, grid, grid.window, surface="highest", longest_edge_m=1.0)
    assert np.isnan(highest[:, 7:13]).all() and np.isnan(highest[:, 20:60]).all()
    assert (highest[:, :7] == 8).all() and (highest[:, 13:20] == 8).all()


def test_of_two_cells_as_high_in_one_window_the_first_is_the_top():
    canopy = np.array([[1.0, 1, 1, 1], [1, 9, 9, 1], [1, 1, 1, 1]])
    assert tree_tops(canopy, 1.0).tolist() == [[1, 1]]


def test_the_tree_tops_of_quesnel_are_those_of_the_published_filter():
    """24,465 tops by a variable window of 0.4 m + 0.06 of the height and at least the eight neighbours, 2 m and higher.

    All are found, and no other, but for 26 beside a top of the very same height, which they count twice and we once.
    """
    folder = DATA / "quesnel-chm-blocks"
    if not folder.is_dir():
        pytest.skip("data set quesnel-chm-blocks is absent")
    import geopandas as gpd
    import rasterio

    with rasterio.open(folder / "quesnel_chm_2m.tif") as raster:
        canopy, transform = raster.read(1), raster.transform
    expected = gpd.read_file(folder / "quesnelTrees.gpkg")
    col = np.floor((expected.geometry.x - transform.c) / 2).astype(int)
    row = np.floor((transform.f - expected.geometry.y) / 2).astype(int)
    found = {tuple(top) for top in tree_tops(canopy, 2.0).tolist()}
    theirs = set(zip(row.tolist(), col.tolist(), strict=True))
    assert len(theirs) == 24_465
    assert not found - theirs
    for row, col in theirs - found:
        twins = {(row + down, col + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & found
        assert any(canopy[twin] == canopy[row, col] for twin in twins)
    assert len(theirs - found) < 0.002 * len(theirs)


def test_the_surface_of_a_slope_is_its_secant():
    """A plane that rises 1 in 1 along x has sqrt(2) of its plan; along both axes sqrt(3)."""
    x, y = np.meshgrid(np.arange(7.0), np.arange(7.0))
    np.testing.assert_allclose(area_ratio(x, 1.0)[1:-1, 1:-1], np.sqrt(2))
    np.testing.assert_allclose(area_ratio(x + y, 1.0)[1:-1, 1:-1], np.sqrt(3))
    np.testing.assert_allclose(area_ratio(np.full((3, 3), 5.0), 2.0), 1)
    hole = np.full((3, 3), 5.0)
    hole[0, 0] = np.nan
    assert np.isnan(area_ratio(hole, 1.0)[0, 0]) and area_ratio(hole, 1.0)[1, 1] == 1


def test_the_slope_of_a_plane_is_found_and_of_a_line_is_missing():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(4.0), np.arange(4.0)))
    slope = slope_of_planes(x + 500_000, y + 5e6, 300 + np.tan(np.radians(30)) * y, np.zeros(16, int), 2)
    assert slope[0] == pytest.approx(30) and np.isnan(slope[1])
    assert np.isnan(slope_of_planes(np.arange(4.0), np.arange(4.0), np.arange(4.0), np.zeros(4, int), 1)[0])


def test_a_cell_is_covered_as_far_as_its_squares_hold_first_returns():
    """Two cells of 20 m; first returns in 4 of the first's 16 squares, a second return in the other."""
    cover = squares_of_cells(0, 20, 20, 1, 2, steps=4)
    heights = make_heights([1, 6, 11, 16, 30], [19, 19, 19, 19, 10], [5, 5, 5, 5, 5], first=[True] * 4 + [False])
    fine = Fine(heights, 2, cover, squares_of_cells(0, 20, 20, 1, 2, steps=20, margin=1), None)
    assert fine.covered_percent.tolist() == [25, 0]
    assert fine.mean_canopy.tolist() == [5, 5] and np.isnan(fine.slope).all()


def test_the_squares_of_a_footprint_are_those_with_their_centre_in_it():
    squares = squares_of_polygon(shapely.box(0, 0, 10, 5), 2.5)
    assert squares.cell.shape == (2, 4) and (squares.cell == 0).all()
    half = squares_of_polygon(shapely.Polygon([(0, 0), (10, 0), (0, 10)]), 2.5)
    assert (half.cell == 0).sum() == 6
