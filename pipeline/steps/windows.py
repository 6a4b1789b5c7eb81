"""What training and estimation both read: all predictors, and the forest, over a window of the grid at one year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.features import predictors, split_name
from pipeline.grid import Grid, Window
from pipeline.indicators import INDICATORS
from pipeline.indicators.registry import BAND_KINDS
from pipeline.steps.forest import read_lidar
from pipeline.store import Mosaic


def read_predictors(
    grid: Grid, window: Window, year: int, sources: Mapping, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Predictors (rows, cols) by name; missing where their source has nothing at that year.

    `sources` is what `bridge.Plan.sources` describes: folders of composites and lidar, roles and metrics to read, the
    campaign that serves each year, and the halo that the predictors need.
    """
    halo = sources["halo_px"]
    wide = Window(window.row0 - halo, window.row1 + halo, window.col0 - halo, window.col1 + halo)
    bands = _read_bands(grid, wide, year, sources)
    lidar = read_lidar(grid, wide, year, sources, sources["metrics"])
    inner = window.within(wide)
    seen_by = {sensor["prefix"]: sensor["seen_by"] for sensor in sources["sensors"].values() if "seen_by" in sensor}
    made = predictors(bands, lidar, names, seen_by=seen_by, resolution_m=grid.resolution_m)
    return {name: array[inner.slices] for name, array in made.items()}


def _read_bands(grid: Grid, window: Window, year: int, sources: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """Bands (rows, cols) of each sensor by its prefix; a sensor that shows every year alike has one raster for all."""
    return {
        sensor["prefix"]: Mosaic(Path(sensor["folder"]) / f"{name}_{sensor.get('period', year)}", grid).read(
            window, sensor["roles"]
        )
        for name, sensor in sources["sensors"].items()
    }


def predictors_at(
    grid: Grid, window: Window, year: int, sources: Mapping, names: Sequence[str], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Predictors (k,) of some footprints, `weights` (k, rows, cols) the share of every pixel inside each; missing where
    less than half of a footprint is there.

    Means over the footprint of what `read_predictors` gives. Of radar the mean is taken of linear power, as in composites,
    and the indicator made of that: a mean of decibels is the logarithm of a geometric mean, which lies below.
    """
    powers = [name for name in names if is_power(name, sources["sensors"])]
    others = [name for name in names if name not in powers]
    read = read_predictors(grid, window, year, sources, others) if others else {}
    found = {name: weighted_means(array, weights) for name, array in read.items()}
    if powers:
        bands = _read_bands(grid, window, year, sources)
        means = {
            prefix: {role: weighted_means(array, weights) for role, array in held.items()} for prefix, held in bands.items()
        }
        found |= predictors(means, {}, powers, resolution_m=grid.resolution_m)
    return {name: found[name] for name in names}


def is_power(name: str, sensors: Mapping[str, Mapping]) -> bool:
    """Whether a predictor is made of backscatter, pixel by pixel."""
    prefix, what = split_name(name, [sensor["prefix"] for sensor in sensors.values()])
    roles = [role for sensor in sensors.values() if sensor["prefix"] == prefix for role in sensor["roles"]]
    if what in roles:
        return BAND_KINDS.get(what) == "gamma0"
    return bool(roles) and what in INDICATORS and INDICATORS[what].kinds() == ("gamma0",) and not INDICATORS[what].looks_around()


def footprint_shares(footprints: Sequence, grid: Grid, window: Window) -> np.ndarray:
    """Share of each pixel of a window that lies in each footprint (k, rows, cols).

    Every edge is cut where it crosses a pixel's edge; a piece adds to its pixel what lies right of it there, and to all
    pixels right of that its whole height. So the work grows with the edges, not with edges times pixels.

    Parameters
    ----------
    footprints : polygons or multipolygons (shapely), with or without holes
    """
    import shapely

    west, _, _, north = grid.bounds_of(window)
    rows, cols = window.shape
    parts, part_of = shapely.get_parts(np.asarray(footprints, object), return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = (corners[:, 0] - west) / grid.resolution_m, (north - corners[:, 1]) / grid.resolution_m
    joined = ring[1:] == ring[:-1]
    begin, step = np.column_stack([x, y])[:-1][joined], np.column_stack([np.diff(x), np.diff(y)])[joined]
    ring = ring[1:][joined]
    around = np.bincount(ring, weights=(begin[:, 0] + step[:, 0] / 2) * step[:, 1], minlength=len(rings))
    hole = np.concatenate([[False], ring_of[1:] == ring_of[:-1]])
    side = -np.sign(around) * np.where(hole, -1.0, 1.0)  # whichever way round a ring is given
    edge, low, high = _cut_at_lines(begin, step)
    place = begin[edge] + ((low + high) / 2)[:, None] * step[edge]
    col, row = np.floor(place).astype(np.int64).T
    height = (high - low) * step[edge, 1] * side[ring[edge]]
    before = col < 0
    right_of = np.where(before, 0.0, place[:, 0] - col)
    col = np.where(before, 0, col)
    seen = (row >= 0) & (row < rows) & (col < cols)
    found = np.zeros((len(footprints), rows, cols + 1))
    at = (part_of[ring_of[ring[edge]]][seen], row[seen], col[seen])
    np.add.at(found, at, (height * (1 - right_of))[seen])
    np.add.at(found, (at[0], at[1], at[2] + 1), (height * right_of)[seen])
    share = np.cumsum(found[..., :cols], axis=2)
    return np.where(share > NO_SHARE, share, 0.0)


NO_SHARE = 1e-9
"""Share of a pixel that rounding may give a footprint which does not touch it."""


def _cut_at_lines(begin: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of edges, from `begin` (n, 2) by `step` (n, 2), between whole numbers of either coordinate: the edge that each is
    of, and where on it (from 0 to 1) it begins and ends."""
    edges, cuts = [np.arange(len(begin)), np.arange(len(begin))], [np.zeros(len(begin)), np.ones(len(begin))]
    for start, along in zip(begin.T, step.T, strict=True):
        first, last = np.floor(np.minimum(start, start + along)) + 1, np.ceil(np.maximum(start, start + along)) - 1
        count = np.maximum(last - first + 1, 0).astype(np.int64)
        edge = np.repeat(np.arange(len(begin)), count)
        line = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        edges.append(edge)
        cuts.append((line - start[edge]) / along[edge])
    edge, cut = np.concatenate(edges), np.concatenate(cuts)
    order = np.lexsort((cut, edge))
    edge, cut = edge[order], cut[order]
    within = edge[1:] == edge[:-1]
    return edge[1:][within], cut[:-1][within], cut[1:][within]


def weighted_means(array: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means (k,) of an array (rows, cols) over footprints with `weights` (k, rows, cols); missing when less than half of a
    footprint is there."""
    flat = weights.reshape(len(weights), -1)
    there = np.isfinite(array).ravel()
    seen, whole = flat @ there, flat.sum(axis=1)
    total = flat @ np.where(there, array.ravel(), 0.0).astype(float)
    enough = (seen > 0) & (seen >= (0.5 - NO_SHARE) * whole)
    return np.divide(total, seen, out=np.full(len(flat), np.nan), where=enough)


def read_elevation(grid: Grid, window: Window, folder: str | Path) -> np.ndarray:
    """Elevation (rows, cols) of a window in metres, missing NaN, beyond the study too; halo is up to who asks.

    `folder` is `bridge.Imagery.elevation_folder`; who reads it needs `Plan.composites` of that sensor and `Plan.near(block)`
    (or the blocks that the window touches) as input files.
    """
    return Mosaic(Path(folder), grid).read(window, ["elevation"])["elevation"]
