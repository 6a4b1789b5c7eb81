"""Speed of lidar: end to end against the decode floor, the metrics kernel against table engines.

Input: the four `bcts` tiles (shared data, read from FORESTSINK_DATA) laid side by side in rows and columns to 22.7 million
points, written as LAZ of point format 6 to a temporary folder: once in 32 tiles, once in one. Nothing is random.

Quoted, not run, as their tools are not Python packages: lasR 0.62 and lidR 0.30 million points per CPU second, end to
end on one such tile of 2.83 million points (four bcts tiles together), measured on the machine of `facts/lidar.md` 2d,
where this design's prototype had 2.0 to 2.15.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.rows import Row

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2] / "shared" / "data")) / "bcts-als-tiles"
COLUMNS = 8  # copies of the transect, side by side
STEP_M = 220  # of 20 m cells; a copy is 190 to 207 m wide
CELL_M = 20.0
STANDARD = (
    "zmax zmean zsd zskew zkurt zentropy pzabovezmean pzabove2 "
    + " ".join(f"zq{percent}" for percent in range(5, 100, 5))
    + " " + " ".join(f"zpcum{layer}" for layer in range(1, 10))
).split()  # fmt: skip
QUOTED = {"lasR": 0.62, "lidR": 0.30}


def make_tiles(folder: Path, *, columns: int = COLUMNS, together: bool = False) -> list[Path]:
    """The transect `columns` times, as tiles or as one, in LAZ of point format 6."""
    import laspy

    paths: list[Path] = []
    whole = None
    for column in range(columns):
        for number in (1, 2, 3, 4):
            source = laspy.read(DATA / f"bcts_{number}.laz")
            header = laspy.LasHeader(version="1.4", point_format=6)
            header.scales, header.offsets = source.header.scales, source.header.offsets
            header.add_crs(source.header.parse_crs())
            points = laspy.ScaleAwarePointRecord.zeros(len(source.points), header=header)
            for name in ("Y", "Z", "classification", "return_number", "number_of_returns", "gps_time", "withheld"):
                points[name] = np.asarray(source[name])
            points["X"] = np.asarray(source["X"]) + round(column * STEP_M / header.scales[0])
            if together:
                whole = whole or laspy.open(folder / "whole.laz", mode="w", header=header)
                whole.write_points(points)
                continue
            paths.append(folder / f"{column}_{number}.laz")
            with laspy.open(paths[-1], mode="w", header=header) as file:
                file.write_points(points)
    if whole is not None:
        whole.close()
        paths = [folder / "whole.laz"]
    return paths


@cache
def _kept() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="forestsink-bench-")


def tiles() -> list[str]:
    folder = Path(_kept().name) / "tiles"
    folder.mkdir()
    return [str(path) for path in make_tiles(folder)]


def one_tile() -> list[str]:
    folder = Path(_kept().name) / "one"
    folder.mkdir()
    return [str(path) for path in make_tiles(folder, together=True)]


def _job(paths: list[str], warm_up: bool) -> dict:
    from catalogs.lidar import index_tiles
    from pipeline.config import Campaign
    from pipeline.grid import Grid

    found = index_tiles(paths[:1] if warm_up else paths)
    west, south, east, north = np.array([tile.bounds for tile in found]).T
    bounds = (west.min(), south.min(), east.max(), north.max())
    if warm_up:
        bounds = (*bounds[:2], bounds[0] + 40, bounds[1] + 40)
    grid = Grid.covering(bounds, crs="EPSG:3005", resolution_m=CELL_M)
    campaign = Campaign(points=[tile.path for tile in found], date="2020-07-01").model_dump(mode="json")
    return {"grid": grid.settings(), "block": "r000c000", "campaign": campaign, "metrics": STANDARD}


def ours_end_to_end(paths: list[str], *, warm_up: bool) -> dict:
    """The step itself: read with buffer, filter, heights, the standard metrics and quality bands, the raster written."""
    from pipeline.steps.lidar import lidar
    from pipeline.store import read_raster

    job = _job(paths, warm_up)
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder) / "als" / "block.tif"
        lidar(raster=raster, **job)
        found = read_raster(raster, bands=["zq95", "density_pts_m2"])
    return {"points": float(np.nansum(found["density_pts_m2"], dtype=float) * CELL_M**2)}


def decode_only(paths: list[str], *, warm_up: bool) -> dict:
    """Every tile decoded once by lazrs, of the layers that heights need: nobody can be faster who reads all points."""
    import laspy
    from laspy import DecompressionSelection as Layer

    layers = Layer.XY_RETURNS_CHANNEL | Layer.Z | Layer.CLASSIFICATION | Layer.FLAGS
    count = 0
    for path in paths[:1] if warm_up else paths:
        with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs, decompression_selection=layers) as reader:
            for record in reader.chunk_iterator(50_000 if warm_up else 1_000_000):
                count += len(record)
                if warm_up:
                    break
    return {"points": float(count)}


def heights_in_cells() -> dict[str, np.ndarray]:
    """22.7 million heights in about 4,300 cells of 20 m: of the four tiles, eight times over."""
    from catalogs.lidar import PointReader, index_tiles
    from pipeline.lidar.heights import heights_above_ground
    from pipeline.lidar.kernels import cells_of

    found = index_tiles(str(DATA))
    points = PointReader(found, found[0].crs).points((-1e9, -1e9, 1e9, 1e9))
    heights = heights_above_ground(points, max_height_m=80)
    west, north = np.floor(heights.x.min() / CELL_M) * CELL_M, np.ceil(heights.y.max() / CELL_M) * CELL_M
    rows, cols = int((north - heights.y.min()) // CELL_M) + 1, int((heights.x.max() - west) // CELL_M) + 1
    cell = cells_of(heights.x, heights.y, west, north, CELL_M, rows, cols)
    n_cells = rows * cols
    return {
        "cell": np.concatenate([cell + copy * n_cells for copy in range(COLUMNS)]).astype(np.int32),
        "z": np.tile(heights.z, COLUMNS),
        "n_cells": np.array(n_cells * COLUMNS),
    }


QUANTILES = [percent / 100 for percent in range(5, 100, 5)]


def our_kernel(prepared: dict, *, warm_up: bool) -> np.ndarray:
    """All 36 standard metrics; the table engines make 25 of them, as they have no entropy and no layers."""
    from pipeline.lidar.heights import Heights
    from pipeline.lidar.metrics import metrics_by_cell

    z, cell = (prepared[name][: 5000 if warm_up else None] for name in ("z", "cell"))
    none = np.zeros(len(z), bool)
    heights = Heights(z, z, z, none, none, none, none, none)
    found = metrics_by_cell(heights, cell, int(prepared["n_cells"]), cell_area_m2=400.0, names=STANDARD)
    return np.array([np.nansum(found[name], dtype=float) for name in ("zmax", "zmean", "zsd", "zq5", "zq50", "zq95")])


def polars_kernel(prepared: dict, *, warm_up: bool) -> np.ndarray:
    """25 metrics by group_by: extremes, moments, 19 quantiles and the share above 2 m."""
    import polars as pl

    z, cell = (prepared[name][: 5000 if warm_up else None] for name in ("z", "cell"))
    column = pl.col("z")
    found = (
        pl.LazyFrame({"cell": cell, "z": z})
        .group_by("cell")
        .agg(
            column.max().alias("zmax"), column.mean().alias("zmean"), column.std().alias("zsd"),
            column.skew().alias("zskew"), column.kurtosis(fisher=False).alias("zkurt"),
            (column > 2).mean().alias("pzabove2"),
            *(column.quantile(q, "linear").alias(f"zq{round(100 * q)}") for q in QUANTILES),
        )
        .collect()
    )  # fmt: skip
    return np.array([found[name].cast(pl.Float32).sum() for name in ("zmax", "zmean", "zsd", "zq5", "zq50", "zq95")])


def pandas_kernel(prepared: dict, *, warm_up: bool) -> np.ndarray:
    """25 metrics by groupby, as polars'."""
    import pandas as pd

    z, cell = (prepared[name][: 5000 if warm_up else None] for name in ("z", "cell"))
    groups = pd.Series(z).groupby(cell)
    quantiles = groups.quantile(QUANTILES).unstack()
    moments = [groups.max(), groups.mean(), groups.std(), groups.skew(), groups.kurt(), (pd.Series(z) > 2).groupby(cell).mean()]
    return np.array([*(float(one.sum()) for one in moments[:3]), *(float(quantiles[q].sum()) for q in (0.05, 0.5, 0.95))])


def _agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.allclose(ours, theirs, rtol=1e-6))


ROWS = [] if not DATA.is_dir() else [
    Row(
        suite="lidar", name="22.7 M points in 32 tiles, end to end", other_name="floor: lazrs decode of the layers needed",
        target=0.5, prepare=tiles, ours=ours_end_to_end, other=decode_only,
        agree=lambda ours, other: abs(ours["points"] - other["points"]) < 1e-4 * other["points"],
    ),
    Row(
        suite="lidar", name="22.7 M points in one tile, end to end", other_name="floor: lazrs decode of the layers needed",
        target=0.5, prepare=one_tile, ours=ours_end_to_end, other=decode_only,
        agree=lambda ours, other: abs(ours["points"] - other["points"]) < 1e-4 * other["points"],
    ),
    Row(
        suite="lidar", name="36 metrics of 22.7 M heights in cells", other_name="polars group_by, 25 metrics",
        target=2.0, prepare=heights_in_cells, ours=our_kernel, other=polars_kernel, agree=_agree,
    ),
    Row(
        suite="lidar", name="36 metrics of 22.7 M heights, pandas", other_name="pandas groupby, 25 metrics",
        target=2.0, prepare=heights_in_cells, ours=our_kernel, other=pandas_kernel, agree=_agree,
    ),
]  # fmt: skip
