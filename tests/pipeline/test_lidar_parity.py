"""The values of lidR 4.3.2 on real tiles: ground, heights, metrics, canopy height model; and the one difference on purpose."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.lidar.fine import Squares, highest_in
from pipeline.lidar.heights import Heights, ground_surface, heights_above_ground
from pipeline.lidar.metrics import METRICS, metrics_by_cell

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
CELL_M = 20.0


def read_points(data_set: str, *names: str):
    from catalogs.lidar import PointReader, index_tiles

    if not (DATA / data_set).is_dir():
        pytest.skip(f"data set {data_set} is absent")
    tiles = index_tiles([str(DATA / data_set / name) for name in names])
    return PointReader(tiles, tiles[0].crs).points((-1e9, -1e9, 1e9, 1e9))


@pytest.fixture(scope="module")
def topography():
    """Points of the tile, and the ground of its classes 2 and 9."""
    points = read_points("lidr-extdata", "Topography.laz")
    return points, ground_surface(points, ground_classes=(2, 9))


@pytest.fixture(scope="module")
def bcts():
    points = read_points("bcts-als-tiles", *(f"bcts_{number}.laz" for number in (1, 2, 3, 4)))
    return points, ground_surface(points)


def read_raster(data_set: str, name: str) -> tuple[np.ndarray, Squares]:
    import rasterio

    with rasterio.open(DATA / data_set / "expected" / name) as raster:
        values, bounds = raster.read(1), raster.bounds
    return values, Squares(bounds.left, bounds.top, 1.0, np.zeros(values.shape, int))


def make_heights(x, y, z, *, ground=None, return_number=None) -> Heights:
    none = np.zeros(len(z), bool)
    return Heights(x, y, z, none, none if ground is None else ground, none, none, none, return_number=return_number)


def compared(heights: Heights, data_set: str, table: str, *, edge_m: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ours and lidR's values of the cells at least so far from the edge of the points, by metric."""
    import pandas as pd

    from pipeline.lidar.kernels import cells_of

    expected = pd.read_csv(DATA / data_set / "expected" / table)
    west, north = np.floor(heights.x.min() / CELL_M) * CELL_M, np.ceil(heights.y.max() / CELL_M) * CELL_M
    rows, cols = int((north - heights.y.min()) // CELL_M) + 1, int((heights.x.max() - west) // CELL_M) + 1

    def number(x, y):
        return cells_of(x, y, west, north, CELL_M, rows, cols)

    found = metrics_by_cell(heights, number(heights.x, heights.y), rows * cols, cell_area_m2=CELL_M**2)
    x, y = expected["x"].to_numpy(float), expected["y"].to_numpy(float)
    inner = (x - edge_m > heights.x.min()) & (x + edge_m < heights.x.max())
    inner &= (y - edge_m > heights.y.min()) & (y + edge_m < heights.y.max())
    place = number(x, y)[inner]
    return {name: (found[name][place], expected[name].to_numpy(float)[inner]) for name in METRICS if name in expected}


def at_least_so_deep(values: np.ndarray, cells: int) -> np.ndarray:
    """Cells of a raster that lie farther than so many cells from its edge and from missing ones."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(np.pad(np.isfinite(values), 1))[1:-1, 1:-1] > cells


@pytest.mark.parametrize(
    ("tiles", "data_set", "name"),
    [("topography", "lidr-extdata", "topography_dtm_tin_1m.tif"), ("bcts", "bcts-als-tiles", "bcts_dtm_tin_1m.tif")],
)
def test_the_ground_is_lidrs_to_one_centimetre(tiles, data_set, name, request):
    """10 m away from the edge, where lidR has other rules; its rasters are rounded to the tiles' scale (1 cm in bcts)."""
    _, ground = request.getfixturevalue(tiles)
    expected, squares = read_raster(data_set, name)
    found, outside, _ = ground.at(*squares.centres)
    deep = at_least_so_deep(expected, 10).ravel() & ~outside
    assert deep.sum() > 50_000
    difference = np.abs(found - expected.ravel())[deep]
    assert np.quantile(difference, 0.99) < 0.01 and difference.max() < 0.01


def test_metrics_of_a_whole_cloud_are_lidrs():
    import pandas as pd

    points = read_points("lidr-extdata", "Megaplot.laz")
    table = pd.read_csv(DATA / "lidr-extdata" / "expected" / "megaplot_cloud_stdmetrics.csv").set_index("metric")["value"]
    heights = make_heights(
        points.x, points.y, points.z, ground=points.classification == 2, return_number=points.return_number
    )
    found = metrics_by_cell(heights, np.zeros(len(points), int), 1, cell_area_m2=1.0)
    names = [name for name in METRICS if name in table]
    assert len(names) == 42
    for name in names:
        np.testing.assert_allclose(found[name][0], table[name], rtol=0, atol=1e-4, err_msg=name)


def test_metrics_of_a_normalised_raw_tile_are_lidrs(topography):
    """30 m inside; lidR kept heights below ground there, so ours are not clipped, and rounded them to the scale."""
    points, ground = topography
    z = np.rint((points.z - ground.at(points.x, points.y)[0]) / 0.00025) * 0.00025
    pairs = compared(make_heights(points.x, points.y, z), "lidr-extdata", "topography_norm_stdz_20m.csv", edge_m=30)
    assert len(pairs) == 36 and len(pairs["zmax"][0]) == 136
    for name, (ours, theirs) in pairs.items():
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4, err_msg=name)


def test_metrics_of_four_tiles_together_are_lidrs(bcts):
    """30 m inside; lidR rounded heights to 1 cm and dropped those below 0. A height on the border of two centimetres
    may fall on the other side: at most two of 350 cells differ in a metric, by less than a centimetre's worth."""
    points, ground = bcts
    z = np.rint((points.z - ground.at(points.x, points.y)[0]) * 100) * 0.01
    kept = z >= 0
    heights = make_heights(points.x[kept], points.y[kept], z[kept])
    pairs = compared(heights, "bcts-als-tiles", "bcts_norm_zge0_stdz_20m.csv", edge_m=30)
    assert len(pairs) == 36 and len(pairs["zmax"][0]) == 350
    for name, (ours, theirs) in pairs.items():
        close = np.isclose(ours, theirs, rtol=0, atol=1e-4, equal_nan=True)
        assert (~close).sum() <= 2, name
        if METRICS[name].units == "m":
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.0101, err_msg=name)


def test_clipping_heights_at_zero_is_the_one_difference_on_purpose(bcts):
    """Returns below the ground (1 in 1000 here) count as ground, where lidR drops them or leaves their entropy missing:
    the same top, a mean that is not higher, and an entropy wherever lidR has one."""
    points, ground = bcts
    drop = points.z - ground.at(points.x, points.y)[0]
    ours = heights_above_ground(points, max_height_m=80)
    assert ours.clipped.sum() == (drop < 0).sum() and 0.0005 < ours.clipped.mean() < 0.005
    dropped = make_heights(points.x[drop >= 0], points.y[drop >= 0], drop[drop >= 0])
    clipped = compared(ours, "bcts-als-tiles", "bcts_norm_zge0_stdz_20m.csv", edge_m=30)
    plain = compared(dropped, "bcts-als-tiles", "bcts_norm_zge0_stdz_20m.csv", edge_m=30)
    np.testing.assert_array_equal(clipped["zmax"][0], plain["zmax"][0])
    assert (clipped["zmean"][0] <= plain["zmean"][0] + 1e-6).all()
    assert np.isfinite(clipped["zentropy"][0]).sum() == np.isfinite(clipped["zentropy"][1]).sum()


def test_a_canopy_height_model_by_the_highest_point_is_lidrs(bcts):
    """Exact on heights that are given; on four raw tiles 10 m inside but for a centimetre's rounding in a few cells."""
    points = read_points("lidr-extdata", "Megaplot.laz")
    expected, squares = read_raster("lidr-extdata", "megaplot_chm_p2r_1m.tif")
    found = highest_in(make_heights(points.x, points.y, points.z), squares)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    points, ground = bcts
    z = np.rint((points.z - ground.at(points.x, points.y)[0]) * 100) * 0.01
    expected, squares = read_raster("bcts-als-tiles", "bcts_chm_p2r_1m.tif")
    found = highest_in(make_heights(points.x[z >= 0], points.y[z >= 0], z[z >= 0]), squares)
    border = np.ones(expected.shape, bool)
    border[10:-10, 10:-12] = False
    border[:, :40] = border[:, -40:] = True  # the tiles lie askew
    difference = np.abs(found - expected)[~border]
    assert (np.isnan(found) == np.isnan(expected))[~border].all()
    assert np.nanmax(difference) < 0.0101 and (difference > 1e-4).mean() < 1e-3
