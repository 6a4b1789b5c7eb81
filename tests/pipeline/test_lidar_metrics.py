"""Metrics have lidR's values, known ones by hand and published ones by file."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.features import required
from pipeline.lidar.heights import Heights, heights_above_ground
from pipeline.lidar.metrics import METRICS, metric, metrics_by_cell

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
QUALITY = {
    "density_pts_m2", "pulse_density_pts_m2", "ground_pts_m2", "outside_hull_percent", "clipped_percent",
    "far_ground_percent", "covered_percent",
}  # fmt: skip


def make_heights(z, *, first=True, ground=False, outside=False, clipped=False, far=False, x=0.0, y=0.0) -> Heights:
    z = np.asarray(z, float)
    x, y = (np.broadcast_to(np.asarray(place, float), z.shape) for place in (x, y))
    flags = (np.broadcast_to(np.asarray(flag, bool), z.shape) for flag in (first, ground, outside, clipped, far))
    return Heights(x, y, z, *flags)


def of_one_cell(z, *, names=None, **flags) -> dict[str, float]:
    found = metrics_by_cell(make_heights(z, **flags), np.zeros(len(z), int), 1, cell_area_m2=4.0, names=names)
    return {name: float(values[0]) for name, values in found.items()}


def test_the_metrics_of_five_heights_are_those_of_hand_arithmetic():
    """0, 1, 2, 3, 9: mean 3; squares of departures 9 + 4 + 1 + 0 + 36 = 50; cubes -27 - 8 - 1 + 216 = 180."""
    found = of_one_cell([9, 2, 0, 3, 1])
    assert found["zmax"] == 9 and found["zmean"] == 3
    assert found["zsd"] == pytest.approx(math.sqrt(50 / 4))
    assert found["zskew"] == pytest.approx((180 / 5) / (50 / 5) ** 1.5)
    assert found["zkurt"] == pytest.approx(((81 + 16 + 1 + 1296) / 5) / (50 / 5) ** 2)
    assert found["pzabovezmean"] == 20 and found["pzabove2"] == 40
    assert found["canopy_ratio"] == pytest.approx(1 / 3)


def test_quantiles_lie_between_order_statistics():
    """Type 7 of 0, 10, 20, 30, 40: position 4p, so 5 % is 0.2 of the first step up and 95 % 0.8 of the last."""
    found = of_one_cell([30, 0, 40, 10, 20])
    assert found["zq5"] == pytest.approx(2) and found["zq50"] == 20 and found["zq95"] == pytest.approx(38)
    assert of_one_cell([7])["zq35"] == 7


def test_layers_count_the_returns_between_the_ground_and_the_top():
    """Of 0, 1, 2, 5, 9, 10 the ground and the top are in no layer; 1, 2, 5, 9 fill layers 2, 3, 6, 10 of ten."""
    found = of_one_cell([0, 1, 2, 5, 9, 10])
    assert [found[f"zpcum{layer}"] for layer in range(1, 10)] == [0, 25, 50, 50, 50, 75, 75, 75, 75]
    assert [of_one_cell([0, 0])[f"zpcum{layer}"] for layer in range(1, 10)] == [0] * 9


def test_entropy_is_one_for_an_even_canopy_and_missing_for_a_low_one():
    assert of_one_cell([0.5, 1.5, 2.5, 3.5])["zentropy"] == pytest.approx(1)
    even_in_two_of_four = math.log(2) / math.log(4)
    assert of_one_cell([0.5, 0.6, 3.5, 3.6])["zentropy"] == pytest.approx(even_in_two_of_four)
    assert math.isnan(of_one_cell([0.5, 1.9])["zentropy"])
    assert of_one_cell([3.5, 3.6])["zentropy"] == 0


def test_cover_counts_first_returns_alone():
    """First returns 1, 3, 4, 0 m: two of four above 2 m; the second returns at 9 m say nothing of cover."""
    first = [True, True, True, True, False, False]
    found = of_one_cell([1, 3, 4, 0, 9, 9], first=first)
    assert found["cover_2m"] == 50 and found["pzabove2"] == pytest.approx(100 * 4 / 6)
    assert math.isnan(of_one_cell([5, 6], first=False)["cover_2m"])


def test_the_limit_of_two_metres_itself_is_not_above():
    found = of_one_cell([2.0, 2.0, 2.1, 1.9])
    assert found["pzabove2"] == 25 and found["cover_2m"] == 25 and found["zmean_2m"] == pytest.approx(2.1)


def test_the_mean_of_the_canopy_leaves_the_ground_out():
    """Of 0, 0, 1, 4, 6, 11 m three are canopy: (4 + 6 + 11) / 3 = 7; their mean is no part of a cell without a canopy."""
    assert of_one_cell([6, 0, 11, 1, 0, 4])["zmean_2m"] == 7
    assert of_one_cell([0, 1.5])["zmean_2m"] == 0 and of_one_cell([3, 5])["zmean_2m"] == 4


def test_quality_bands_count_points_by_area_and_flag():
    """Eight points on 4 m2: six first returns, three of ground, two outside the hull, one clipped."""
    numbers = np.arange(8)
    found = of_one_cell(
        np.ones(8), first=numbers < 6, ground=numbers < 3, outside=numbers < 2, clipped=numbers < 1
    )
    assert found["density_pts_m2"] == 2 and found["pulse_density_pts_m2"] == 1.5 and found["ground_pts_m2"] == 0.75
    assert found["outside_hull_percent"] == 25 and found["clipped_percent"] == 12.5
    assert {name for name, about in METRICS.items() if about.quality} == QUALITY


def test_the_same_height_everywhere_has_no_spread_and_no_shape():
    found = of_one_cell([0.1] * 7)
    assert found["zsd"] == 0
    assert all(math.isnan(found[name]) for name in ("zskew", "zkurt", "canopy_ratio"))
    assert math.isnan(of_one_cell([4.0])["zsd"])


def test_cells_without_points_are_missing_in_every_band():
    found = metrics_by_cell(make_heights([1, 2, 3]), np.array([3, 1, 3]), 5, cell_area_m2=1.0)
    for name, values in found.items():
        assert values.dtype == np.float32
        assert np.isnan(values[[0, 2, 4]]).all(), name
    assert found["zmax"][[1, 3]].tolist() == [2, 3]
    nothing = metrics_by_cell(make_heights([]), np.array([], int), 3, cell_area_m2=1.0)
    assert all(np.isnan(values).all() for values in nothing.values())


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_the_same_in_any_company_and_order(name):
    """Cells computed together, alone, and from points in another order: the same bytes."""
    rng = np.random.default_rng(7)
    cell = rng.integers(0, 20, 3000)
    z = rng.gamma(2, 4, 3000)
    first = rng.random(3000) < 0.7
    together = metrics_by_cell(make_heights(z, first=first), cell, 20, cell_area_m2=25.0, names=[name])[name]
    order = rng.permutation(3000)
    other = make_heights(z[order], first=first[order])
    mixed = metrics_by_cell(other, cell[order], 20, cell_area_m2=25.0, names=[name])
    assert mixed[name].tobytes() == together.tobytes()
    for number in (0, 13):
        own = cell == number
        alone = metrics_by_cell(
            make_heights(z[own], first=first[own]), np.zeros(own.sum(), int), 1, cell_area_m2=25.0, names=[name]
        )
        assert alone[name].tobytes() == together[number].tobytes()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_its_unit_and_source(name):
    about = METRICS[name]
    assert about.name == name and about.units and about.title and about.reference


def test_listing_metrics_compiles_nothing():
    code = "import sys, pipeline.lidar.metrics; print('numba' in sys.modules, 'scipy' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert listed.stdout.split() == ["False", "False"]


def test_an_unknown_metric_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"zq96 is not a lidar metric; known: zmax, zmean"):
        metrics_by_cell(make_heights([1.0]), np.array([0]), 1, cell_area_m2=1.0, names=["zmax", "zq96"])


def test_a_metric_is_declared_in_one_place_and_once():
    @metric(units="m", title="Lowest return", reference="a test")
    def zmin_of_test(cells):
        return cells.minimum

    try:
        assert of_one_cell([3, 5], names=["zmin_of_test"]) == {"zmin_of_test": 3}
        with pytest.raises(ValueError, match="'zmin_of_test' is declared twice"):
            metric(units="m", title="again", reference="a test")(zmin_of_test)
    finally:
        del METRICS["zmin_of_test"]


def test_linear_moments_are_those_of_hand_arithmetic():
    """Of 1, 2, 4, 8: b0 = 15/4, b1 = (2/3 + 8/3 + 8)/4, b2 = (4/3 + 8)/4, b3 = 8/4; i - 1 of 3, of 2 pairs, of 1 triple."""
    found = of_one_cell([8, 1, 4, 2])
    b0, b1, b2, b3 = 15 / 4, (2 / 3 + 4 * 2 / 3 + 8) / 4, (4 / 3 + 8) / 4, 8 / 4
    assert found["zl1"] == pytest.approx(b0) and found["zl2"] == pytest.approx(2 * b1 - b0)
    assert found["zl3"] == pytest.approx(6 * b2 - 6 * b1 + b0)
    assert found["zl4"] == pytest.approx(20 * b3 - 30 * b2 + 12 * b1 - b0)
    assert found["zlcv"] == pytest.approx((2 * b1 - b0) / b0)
    assert math.isnan(of_one_cell([3.0])["zl2"]) and math.isnan(of_one_cell([3.0, 5, 6])["zl4"])


def test_linear_moments_of_a_uniform_and_a_normal_sample_are_the_published_ones():
    """Hosking 1990, table 1: uniform on (0, 1): 1/2, 1/6, 0, 0; normal: L-kurtosis 0.1226, L-scale sd / sqrt(pi)."""
    even = of_one_cell((np.arange(4000) + 0.5) / 4000)
    assert [even[f"zl{n}"] for n in (1, 2, 3, 4)] == pytest.approx([1 / 2, 1 / 6, 0, 0], abs=1e-3)
    from scipy.stats import norm

    bell = of_one_cell(30 + 4 * norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    assert bell["zl2"] == pytest.approx(4 / math.sqrt(math.pi), rel=1e-3)
    assert bell["zlkurt"] == pytest.approx(0.1226, abs=1e-3)


def test_leaf_area_is_beer_and_lamberts_law_of_the_gap_fraction_with_half_an_extinction():
    """Two of eight returns reach 2 m: gap 1/4, leaf area ln(4) / 0.5; strata above 2 m add up to it."""
    z = [0, 2, 3, 4, 6, 12, 18, 25]
    found = of_one_cell(z, names=["gap_fraction", "lai", "lad_2_5", "lad_5_30", "pzabove2"])
    assert found["gap_fraction"] == 0.25 and found["pzabove2"] == 75
    assert found["lai"] == pytest.approx(2 * math.log(4))
    assert found["lad_2_5"] * 3 + found["lad_5_30"] * 25 == pytest.approx(found["lai"])
    assert found["lad_2_5"] == pytest.approx(math.log(4 / 2) / (0.5 * 3))
    assert math.isnan(of_one_cell([5, 6])["lai"])


def test_strata_share_out_all_returns_and_any_limits_can_be_asked_for():
    z = [0, 0.5, 1, 2, 4.9, 5, 9, 40]
    names = ["returns_0_0p5_percent", "returns_0p5_2_percent", "returns_2_5_percent", "returns_5_100_percent"]
    assert list(of_one_cell(z, names=names).values()) == [12.5, 25, 25, 37.5]
    assert "returns_1_3_percent" in METRICS and "returns_3_1_percent" not in METRICS and "lad_1p0_2" not in METRICS


def test_vertical_complexity_has_the_same_layers_everywhere():
    """Even over 20 of 40 layers: ln 20 / ln 40, whatever the highest return."""
    assert of_one_cell(np.arange(20) + 0.5)["vci"] == pytest.approx(math.log(20) / math.log(40))


def test_intensity_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="imean is not offered: intensity falls with range"):
        of_one_cell([1.0], names=["imean"])


def test_cells_that_are_covered_too_little_keep_their_quality_bands_alone():
    from pipeline.lidar.fine import Fine, squares_of_cells

    heights = make_heights([5, 6, 7], x=[1, 2, 21], y=[1, 1, 1])
    squares = squares_of_cells(0, 20, 20, 1, 2, steps=2)
    fine = Fine(heights, 2, squares, squares, None)
    found = metrics_by_cell(
        heights, np.array([0, 0, 1]), 2, cell_area_m2=400.0, names=["zmax", "density_pts_m2", "covered_percent"],
        fine=fine, min_covered_percent=50,
    )  # fmt: skip
    assert np.isnan(found["zmax"]).all() and found["covered_percent"].tolist() == [25, 25]
    assert found["density_pts_m2"].tolist() == pytest.approx([2 / 400, 1 / 400])


def test_shares_of_returns_by_their_number_and_of_ground_are_counted():
    """Ten returns: five first (one without a number), three second, one third, one sixth; two are ground."""
    n = np.zeros(10)
    numbers = np.array([1, 1, 1, 1, 0, 2, 2, 2, 3, 6], np.uint8)
    none = np.zeros(10, bool)
    heights = Heights(n, n, n, numbers <= 1, np.arange(10) < 2, none, none, none, return_number=numbers)
    names = ["p1th", "p2th", "p3th", "p4th", "p5th", "pground"]
    found = metrics_by_cell(heights, np.zeros(10, int), 1, cell_area_m2=1.0, names=names)
    assert [float(found[name][0]) for name in names] == [50, 30, 10, 0, 0, 20]
    raster = Heights(n, n, n, numbers <= 1, none, none, none, none)
    found = metrics_by_cell(raster, np.zeros(10, int), 1, cell_area_m2=1.0, names=names)
    assert all(np.isnan(found[name][0]) for name in names)


def test_no_leaves_are_a_density_of_plain_zero():
    n, none = np.full(4, 1.0), np.zeros(4, bool)
    found = metrics_by_cell(
        Heights(n, n, n, ~none, none, none, none, none), np.zeros(4, int), 1, cell_area_m2=1.0, names=["lad_2_5", "lai"]
    )
    assert [str(found[name][0]) for name in ("lad_2_5", "lai")] == ["0.0", "0.0"]


def test_all_metrics_that_are_refused_are_named():
    with pytest.raises(ValueError, match=r"^imax, isd is not offered: .*; zq96, zz are not lidar metrics; known: zmax"):
        metrics_by_cell(Heights(*[np.zeros(0)] * 3, *[np.zeros(0, bool)] * 5), np.zeros(0, int), 1, cell_area_m2=1.0,
                        names=["imax", "zq96", "isd", "zz", "zmax"])  # fmt: skip
    with pytest.raises(ValueError, match=r"'imax', 'isd' is not offered"):
        required(["zmax", "imax", "isd"], {})


def test_the_page_of_lidar_holds_all_metrics():
    from pipeline.lidar.reference import with_table

    page = (Path(__file__).parents[2] / "docs/methods/lidar.md").read_text(encoding="utf-8")
    assert page == with_table(page), "write it anew: python -m pipeline.lidar.reference < docs/methods/lidar.md > new.md"


def test_kernels_are_kept_on_disk_and_a_fork_after_them_works():
    """100 small tiles compile once; and a pool of forked workers, which numba's threads would hang, ends."""
    code = (
        "import multiprocessing, numpy as np\n"
        "from pipeline.lidar import kernels\n"
        "def work(n): return int(kernels.grouped(np.zeros(n, np.int32), np.ones(n), 1)[1][1])\n"
        "work(3)\n"
        "stats = kernels.grouped.stats\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: done = pool.map(work, [4, 5])\n"
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), done)\n"
    )
    said = ""
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120
        )
        assert found.returncode == 0, found.stderr
        said = found.stdout.split(maxsplit=2)
    assert said[:2] == ["1", "0"] and said[2].strip() == "[4, 5]"


def test_no_kernel_of_a_window_is_compiled_twice():
    """A second process finds every kernel that heights and all metrics need on disk."""
    code = (
        "import numpy as np\n"
        "from pipeline.lidar import fine, heights, kernels, metrics, settling, triangulation\n"
        "x, y = np.random.default_rng(1).random((2, 500)) * 30 + 1000\n"
        "ground = heights.GroundPoints(x, y, np.zeros(500))\n"
        "hole = (abs(x - 1015) > 10) | (abs(y - 1015) > 10)\n"
        "near = heights.GroundPoints(x[hole], y[hole], np.zeros(hole.sum()))\n"
        "found = heights.ground_around((1005.0, 1005.0, 1025.0, 1025.0), 1.0, near, lambda: ground)\n"
        "z, outside, wide = found.at(np.append(x, 990.0), np.append(y, 990.0))\n"
        "none = np.zeros(500, bool)\n"
        "cloud = heights.Heights(x, y, x - 1000, ~none, ~none, none, ~none, none, surface=found)\n"
        "squares = [fine.squares_of_cells(1000.0, 1030.0, 10.0, 3, 3, steps=steps, margin=1) for steps in (2, 5)]\n"
        "seen = fine.Fine(cloud, 9, *squares, found)\n"
        "cell = kernels.cells_of(x, y, 1000.0, 1030.0, 10.0, 3, 3)\n"
        "metrics.metrics_by_cell(cloud, cell, 9, cell_area_m2=100.0, fine=seen)\n"
        "every = [one for room in (kernels, settling, triangulation) for one in vars(room).values() if hasattr(one, 'stats')]\n"
        "print(sum(len(one.stats.cache_hits) for one in every), sum(len(one.stats.cache_misses) for one in every))\n"
    )
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300
        )
        assert found.returncode == 0, found.stderr
    hits, misses = map(int, found.stdout.split())
    assert hits > 15 and misses == 0


def test_no_kernel_runs_on_numbas_threads():
    for path in (Path(__file__).parents[2] / "pipeline").rglob("*.py"):
        assert "parallel=True" not in path.read_text(encoding="utf-8"), path


def read_expected(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns of one of lidR's tables by name, and the cells' centres."""
    import pandas as pd

    table = pd.read_csv(path)
    columns = {name: table[name].to_numpy() for name in METRICS if name in table}
    return columns, table["x"].to_numpy(), table["y"].to_numpy()


def metrics_at(heights: Heights, x: np.ndarray, y: np.ndarray, *, size_m: float = 20.0) -> dict[str, np.ndarray]:
    """Metrics of the cells with these centres, of all cells of a grid around the points."""
    west, north = np.floor(heights.x.min() / size_m) * size_m, np.ceil(heights.y.max() / size_m) * size_m + size_m
    cols, rows = (int(np.ptp(values) // size_m) + 3 for values in (heights.x, heights.y))

    def number(at_x, at_y):
        return np.floor((north - at_y) / size_m).astype(int) * cols + np.floor((at_x - west) / size_m).astype(int)

    found = metrics_by_cell(heights, number(heights.x, heights.y), rows * cols, cell_area_m2=size_m**2)
    return {name: values[number(x, y)] for name, values in found.items()}


def read_tile(data_set: str, name: str):
    from catalogs.lidar import index_tiles, read_points

    if not (DATA / data_set).is_dir():
        pytest.skip(f"data set {data_set} is absent")
    (tile,) = index_tiles(str(DATA / data_set / name))
    return tile, read_points([tile], (-1e9, -1e9, 1e9, 1e9), crs=tile.crs)


@pytest.mark.parametrize(("name", "table"), [("Megaplot.laz", "megaplot"), ("MixedConifer.laz", "mixedconifer")])
def test_metrics_of_normalised_clouds_are_lidrs(name, table):
    _, points = read_tile("lidr-extdata", name)
    expected, x, y = read_expected(DATA / "lidr-extdata" / "expected" / f"{table}_stdmetrics_20m.csv")
    heights = make_heights(points.z, x=points.x, y=points.y, ground=points.classification == 2)
    found = metrics_at(replace(heights, return_number=points.return_number), x, y)
    assert len(expected) == 42 and {"p1th", "p5th", "pground"} < set(expected)
    for metric_name, values in expected.items():
        np.testing.assert_allclose(found[metric_name], values, rtol=0, atol=1e-4, err_msg=metric_name)


def test_lidrs_table_tells_the_sample_from_the_population_deviation():
    """The parity above is not blind: the other standard deviation, or another quantile type, would fail it."""
    _, points = read_tile("lidr-extdata", "Megaplot.laz")
    expected, x, y = read_expected(DATA / "lidr-extdata" / "expected" / "megaplot_stdmetrics_20m.csv")
    heights = make_heights(points.z, x=points.x, y=points.y)
    found = metrics_at(heights, x, y)
    n = found["density_pts_m2"] * 400.0
    assert np.nanmax(np.abs(found["zsd"] * np.sqrt((n - 1) / n) - expected["zsd"])) > 1e-2
    inside = (np.abs(heights.x - x[0]) < 10) & (np.abs(heights.y - y[0]) < 10)
    assert abs(np.quantile(heights.z[inside], 0.95, method="weibull") - expected["zq95"][0]) > 1e-2


def test_metrics_of_a_raw_tile_are_lidrs_once_heights_are_rounded_to_its_scale():
    """bcts_1: lidR rounds normalised heights to the tile's 1 cm and here drops those below 0; cells 20 m inside."""
    tile, points = read_tile("bcts-als-tiles", "bcts_1.laz")
    expected, x, y = read_expected(DATA / "bcts-als-tiles" / "expected" / "bcts_norm_zge0_stdz_20m.csv")
    lifted = SimpleNamespace(**vars(points))
    lifted.z = points.z + np.where(points.classification == 2, 0.0, 100.0)  # so that none is clipped
    heights = heights_above_ground(lifted, max_height_m=200)
    z = np.rint((heights.z - np.where(heights.ground, 0.0, 100.0)) * 100) * 0.01
    heights = make_heights(z, x=heights.x, y=heights.y).select(z >= 0)
    west, south, east, north = tile.bounds
    inner = (x - 30 > west) & (x + 30 < east) & (y - 30 > south) & (y + 30 < north)
    assert inner.sum() > 50
    found = metrics_at(heights, x[inner], y[inner])
    for name, values in expected.items():
        close = np.isclose(found[name], values[inner], rtol=0, atol=1e-4, equal_nan=True)
        assert (~close).sum() <= 1, name  # one cell: a height on the border between two centimetres
        np.testing.assert_allclose(found[name], values[inner], rtol=0, atol=0.01, err_msg=name)
