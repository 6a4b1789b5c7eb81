"""What is compared. One place to add a row: `ROWS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import composites, prediction, stands


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `other` take what `prepare` made and `warm_up` (True: a small piece, to compile).

    A `sized` row's `prepare` takes the side of its scenes in pixels; `clock` says which seconds the ratio is of. Where the other
    does a part of the work alone (`other_part`), because all of it takes too long, its seconds are divided by that.
    """

    suite: str
    name: str
    other_name: str
    target: float | None
    prepare: Callable[[], Any]
    ours: Callable[..., Any]
    other: Callable[..., Any]
    agree: Callable[[Any, Any], bool]
    sized: bool = False
    repeats: int = 5
    clock: str = "cpu"
    other_part: float = 1.0
    note: str = ""


def ground_points() -> np.ndarray:
    """150,000 ground points on a 1 cm lattice under a closed canopy: dense in gaps, sparse elsewhere."""
    rng = np.random.default_rng(20)
    gaps = rng.uniform(0, 1000, (600, 2))
    near = gaps[rng.integers(0, len(gaps), 110_000)] + rng.normal(0, 8, (110_000, 2))
    points = np.vstack([near, rng.uniform(0, 1000, (40_000, 2))])
    return np.unique(np.rint(points * 100).astype(np.int64), axis=0)


def our_triangles(points: np.ndarray, *, warm_up: bool) -> int:
    from pipeline.lidar.triangulation import delaunay

    return len(delaunay(points[:1000] if warm_up else points)[0])


def qhull_triangles(points: np.ndarray, *, warm_up: bool) -> int:
    from scipy.spatial import Delaunay

    return len(Delaunay((points[:1000] if warm_up else points).astype(float)).simplices)


def stands_and_map() -> tuple:
    """About 2,500 stands of 6 ha (a Voronoi mosaic) over a map of 2048 x 2048 cells of 10 m with two estimands' layers."""
    import geopandas as gpd
    import shapely

    rng = np.random.default_rng(21)
    side = 20_480.0
    frame = shapely.box(0, 0, side, side)
    centres = shapely.MultiPoint(rng.uniform(0, side, (6_900, 2)))
    cells = [cell.intersection(frame) for cell in shapely.voronoi_polygons(centres).geoms]
    cells = [cell for cell in cells if not cell.is_empty][:2_500]
    stands = gpd.GeoDataFrame({"stand": [f"s{i:05d}" for i in range(len(cells))]}, geometry=cells, crs="EPSG:32650")
    return stands, rng.gamma(4.0, 40.0, (2048, 2048))


def our_stand_means(prepared: tuple, *, warm_up: bool) -> np.ndarray:
    """Sums per chunk with gradient and residual SD, added in chunk order, as `estimate` and `stands` do."""
    import pandas as pd

    from pipeline.grid import Grid
    from pipeline.zonal import combine, coverage, partial_rows

    stands, value = prepared
    stands = stands.iloc[:20] if warm_up else stands
    grid = Grid("EPSG:32650", 0.0, 20_480.0, 10.0, 2048, 2048, chunk_px=512)
    rows = []
    for chunk, window in grid.chunks():
        n = window.shape[0] * window.shape[1]
        layers = {
            "value": value[window.slices].ravel(),
            "part_sd": np.full((n, 1), 30.0),
            "set_number": np.zeros(n, "int8"),
            "gradient": np.ones((n, 12)),
            **{name: np.ones(n, bool) for name in ("in_domain", "forest", "gained", "lost")},
        }
        rows += partial_rows(chunk, "agb_2020", coverage(stands, grid, window), layers, pixel_ha=0.01, n_sets=1)
    (totals,) = combine([pd.DataFrame(rows)]).values()
    totals = totals.query("part == 'all'").sort_values("stand")
    return (totals["sum_value"] / totals["covered_ha"]).to_numpy()


def exactextract_means(prepared: tuple, *, warm_up: bool) -> np.ndarray:
    """The plain mean alone, by exactextract over the whole map: a floor that carries no gradient and no residual."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    stands, value = prepared
    stands = stands.iloc[:20] if warm_up else stands
    source = NumPyRasterSource(value, xmin=0, ymin=0, xmax=20_480, ymax=20_480, srs_wkt=stands.crs.to_wkt())
    found = exact_extract(source, stands, ["mean"], include_cols="stand", output="pandas", strategy="raster-sequential")
    return found.sort_values("stand")["mean"].to_numpy()


ROWS = [
    *(Row(suite="composite", sized=True, repeats=3, **row) for row in composites.ROWS),
    *(Row(suite="models", **row) for row in prediction.ROWS),
    *(Row(suite="stands", **row) for row in stands.ROWS),
    Row(
        suite="lidar",
        name="Delaunay triangulation, 150,000 ground points",
        other_name="scipy (Qhull)",
        target=10.0,
        prepare=ground_points,
        ours=our_triangles,
        other=qhull_triangles,
        agree=lambda ours, other: abs(ours - other) <= 1e-4 * other,
    ),
    Row(
        suite="zonal",
        name="2,500 stands x 4 Mpx with 12 gradients",
        other_name="floor: exactextract, plain mean only",
        target=None,
        prepare=stands_and_map,
        ours=our_stand_means,
        other=exactextract_means,
        agree=lambda ours, other: len(ours) == len(other) and bool(np.allclose(ours, other, rtol=1e-6)),
    ),
]
