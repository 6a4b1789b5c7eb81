"""Heights above ground come from the triangulated ground, whatever the order of points and wherever the cloud lies."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.lidar.heights import NoGroundError, heights_above_ground, heights_as_given

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

GROUND, TREE = 2, 5


def make_points(x, y, z, classification=TREE, first_return=True) -> SimpleNamespace:
    x, y, z = (np.asarray(values, float) for values in (x, y, z))
    return SimpleNamespace(
        x=x, y=y, z=z,
        classification=np.broadcast_to(np.asarray(classification, np.uint8), x.shape),
        first_return=np.broadcast_to(first_return, x.shape),
    )  # fmt: skip


def make_forest(n: int = 4000, *, seed: int = 3, size_m: float = 100.0) -> SimpleNamespace:
    """A third ground on a slope with waves, the rest up to 30 m above it; whole centimetres."""
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.random((2, n)) * size_m, 2)
    ground = rng.random(n) < 1 / 3
    z = 100 + 0.2 * x + 3 * np.sin(y / 10) + np.where(ground, 0.0, rng.random(n) * 30)
    return make_points(x, y, np.round(z, 2), np.where(ground, GROUND, TREE))


def shuffled(points: SimpleNamespace, order: np.ndarray, *, east_m: float = 0.0, north_m: float = 0.0):
    return make_points(
        points.x[order] + east_m, points.y[order] + north_m, points.z[order], points.classification[order]
    )


def test_heights_over_a_tilted_plane_are_exact():
    """Ground z = 50 + x / 10 + y / 5; a tree 12 m above it at (4, 6) stands at 51.6 + 12."""
    points = make_points(
        [0, 10, 10, 0, 4], [0, 0, 10, 10, 6], [50, 51, 53, 52, 63.6], [GROUND] * 4 + [TREE]
    )
    heights = heights_above_ground(points, max_height_m=80)
    np.testing.assert_allclose(heights.z, [0, 0, 0, 0, 12], atol=1e-9)
    assert heights.ground.tolist() == [True] * 4 + [False]
    assert not heights.outside_hull.any() and heights.too_high == 0


def test_a_point_inside_a_triangle_is_measured_from_its_plane():
    """At the centroid of a triangle the ground is the mean of its corners: (3 + 6 + 9) / 3 = 6."""
    points = make_points([0, 3, 0, 1], [0, 0, 3, 1], [3, 6, 9, 16], [GROUND] * 3 + [TREE])
    assert heights_above_ground(points, max_height_m=80).z[3] == pytest.approx(10.0)


def test_ground_points_at_one_place_count_once_and_the_lowest_holds():
    points = make_points(
        [0, 10, 0, 10, 0, 2], [0, 0, 10, 10, 0, 0], [5, 5, 5, 5, 8, 5], [GROUND] * 5 + [TREE]
    )
    np.testing.assert_allclose(heights_above_ground(points, max_height_m=80).z, [0, 0, 0, 0, 3, 0])


def test_beyond_the_ground_the_nearest_three_points_serve_and_the_point_is_flagged():
    """From (20, 0) it is 10 m to ground 2 m, 20 m to ground 1 m and sqrt(800) m to ground 40 m."""
    points = make_points([10, 0, 0, 20], [0, 0, 20, 0], [2, 1, 40, 30], [GROUND] * 3 + [TREE])
    distance = np.array([10, 20, np.sqrt(800)])
    ground = (np.array([2, 1, 40]) / distance).sum() / (1 / distance).sum()
    heights = heights_above_ground(points, max_height_m=80)
    assert heights.outside_hull.tolist() == [False, False, False, True]
    assert heights.z[3] == pytest.approx(30 - ground)


def test_points_below_ground_are_set_to_zero_and_flagged_and_the_too_high_are_left_out_and_counted():
    points = make_points(
        [0, 10, 0, 1, 2, 3, 4], [0, 0, 10, 1, 1, 1, 1], [0, 0, 0, -2, 80, 81, 500], [GROUND] * 3 + [TREE] * 4
    )
    heights = heights_above_ground(points, max_height_m=80)
    assert heights.z.tolist() == [0, 0, 0, 0, 80]
    assert heights.clipped.tolist() == [False, False, False, True, False]
    assert heights.too_high == 2


def test_heights_that_are_given_are_bounded_alike():
    heights = heights_as_given(make_points([0, 1, 2], [0, 0, 0], [-0.5, 12.0, 90.0]), max_height_m=80)
    assert heights.z.tolist() == [0, 12] and heights.clipped.tolist() == [True, False] and heights.too_high == 1
    assert not heights.ground.any()


def test_water_is_ground_when_the_campaign_says_so():
    points = make_points([0, 10, 0, 2], [0, 0, 10, 2], [1, 1, 1, 6], [9, 9, 2, TREE])
    assert heights_above_ground(points, ground_classes=(2, 9), max_height_m=80).z[3] == pytest.approx(5)
    with pytest.raises(NoGroundError, match="1 of them ground"):
        heights_above_ground(points, max_height_m=80)


def test_no_ground_is_refused_with_the_place():
    points = make_points([500_000, 500_100, 500_050], [5_000_000, 5_000_080, 5_000_010], [1, 2, 3])
    place = r"between x 500000 and 500100, y 5000000 and 5000080: 3 points, 0 of them ground"
    with pytest.raises(ValueError, match=rf"no ground to measure heights from {place} .*class 2"):
        heights_above_ground(points, max_height_m=80)


def test_ground_on_one_line_is_refused():
    points = make_points([0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 0, 0], GROUND)
    with pytest.raises(ValueError, match="on one line between x 0 and 3"):
        heights_above_ground(points, max_height_m=80)


def test_no_points_have_no_heights():
    assert len(heights_above_ground(make_points([], [], []), max_height_m=80)) == 0


def test_the_order_of_points_and_whole_metres_of_shift_change_no_byte():
    forest = make_forest()
    order = np.random.default_rng(5).permutation(len(forest.x))
    expected = heights_above_ground(forest, max_height_m=80)
    moved = heights_above_ground(shuffled(forest, order, east_m=500_000, north_m=5_000_000), max_height_m=80)
    assert moved.z.tobytes() == expected.z[order].tobytes()
    assert (moved.outside_hull == expected.outside_hull[order]).all()


def test_points_on_edges_and_corners_of_a_regular_ground_change_no_byte_in_any_order():
    """Ground on a lattice of 1 m has four points on each circle; half of all points lie on edges of triangles."""
    side = np.arange(0, 20, 1.0)
    gx, gy = (axis.ravel() for axis in np.meshgrid(side, side))
    px, py = (axis.ravel() for axis in np.meshgrid(np.arange(0, 19, 0.25), np.arange(0, 19, 0.25)))
    ground_z = np.round(np.random.default_rng(1).random(len(gx)), 3)
    points = make_points(
        np.r_[gx, px], np.r_[gy, py], np.r_[ground_z, np.full(len(px), 9.0)],
        np.r_[np.full(len(gx), GROUND), np.full(len(px), TREE)],
    )  # fmt: skip
    expected = heights_above_ground(points, max_height_m=80)
    assert not expected.outside_hull.any()
    np.testing.assert_array_equal(expected.z[: len(gx)], 0.0)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(points.x))
        assert heights_above_ground(shuffled(points, order), max_height_m=80).z.tobytes() == expected.z[order].tobytes()


def test_the_walk_agrees_with_scipys_interpolation():
    from scipy.interpolate import LinearNDInterpolator

    forest = make_forest(3000)
    ground = forest.classification == GROUND
    surface = LinearNDInterpolator(np.column_stack([forest.x[ground], forest.y[ground]]), forest.z[ground])
    expected = forest.z - surface(forest.x, forest.y)
    heights = heights_above_ground(forest, max_height_m=80)
    np.testing.assert_array_equal(heights.outside_hull, np.isnan(expected))
    inside = ~heights.outside_hull
    np.testing.assert_allclose(heights.z[inside], np.maximum(expected[inside], 0), atol=1e-8)


def test_the_ground_of_a_real_tile_is_lidrs_to_one_centimetre():
    """lidr-extdata Topography: TIN of classes 2 and 9 at 1 m by lidR 4.3.2, at least 10 m from the tile's edge."""
    folder = DATA / "lidr-extdata"
    if not folder.is_dir():
        pytest.skip("data set lidr-extdata is absent")
    import rasterio

    from catalogs.lidar import index_tiles, read_points

    (tile,) = index_tiles(str(folder / "Topography.laz"))
    points = read_points([tile], (0, 0, 1e9, 1e9), crs=tile.crs)
    with rasterio.open(folder / "expected" / "topography_dtm_tin_1m.tif") as raster:
        dtm, (west, north) = raster.read(1, masked=True), (raster.bounds.left, raster.bounds.top)
    row, col = np.nonzero(~np.ma.getmaskarray(dtm))
    x, y = west + col + 0.5, north - row - 0.5
    inner = (np.abs(x - np.mean(tile.bounds[::2])) < 133) & (np.abs(y - np.mean(tile.bounds[1::2])) < 133)
    x, y, expected = x[inner], y[inner], dtm.data[row, col][inner]
    ground = np.isin(points.classification, (2, 9))
    probes = make_points(
        np.r_[points.x[ground], x], np.r_[points.y[ground], y], np.r_[points.z[ground], np.full(len(x), 2000.0)],
        np.r_[np.full(ground.sum(), GROUND), np.full(len(x), TREE)],
    )  # fmt: skip
    found = 2000 - heights_above_ground(probes, max_height_m=3000).z[ground.sum() :]
    assert len(found) > 50_000
    assert np.quantile(np.abs(found - expected), 0.99) < 0.01


def test_points_that_reach_over_more_than_can_be_measured_at_a_time_are_refused():
    points = make_points([0, 10, 0, 27_000], [0, 0, 10, 0], [0, 0, 0, 5], [GROUND] * 3 + [TREE])
    with pytest.raises(ValueError, match=r"points reach over 27.0 km \(0 to 27000 m\).* at most 26.8 km"):
        heights_above_ground(points, max_height_m=80)
