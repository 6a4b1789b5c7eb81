"""Canopy height models, and the trees that stand out of them: pit-free surface, tree tops, crowns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.grid import Grid, Window
from pipeline.lidar.fine import Squares, highest_in, steps_along
from pipeline.lidar.heights import STEPS_PER_M, Heights

PIT_FREE_LEVELS_M = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)
SURROUNDINGS_M = 10.0  # what a pit-free surface must know around
WIDEST_CIRCLE_M = SURROUNDINGS_M
"""Of a triangle of first returns, across. What lies in the surroundings alone decides it, and nothing is drawn farther than
half of this from a return: over a lake the surface would be the shores' trees."""
TIE_ROUNDS = 2
LONGEST_EDGE_M = 1.0  # above the ground level only triangles of close returns are crowns; others bridge gaps


def canopy_grid(grid: Grid, size_m: float) -> Grid:
    """A study's grid cut into squares of about `size_m`, a whole number along each cell; its blocks stay the same ground."""
    steps = steps_along(grid.resolution_m, size_m)
    return Grid(
        grid.crs, grid.west_m, grid.north_m, grid.resolution_m / steps, grid.rows * steps, grid.cols * steps,
        grid.chunk_px * steps, grid.block_chunks,
    )  # fmt: skip


def canopy_surface(heights: Heights, grid: Grid, window: Window, *, surface: str, longest_edge_m: float) -> np.ndarray:
    """Canopy height model of a window of a `canopy_grid` (rows, cols), m to 1 cm; missing where nothing was seen near.

    Parameters
    ----------
    heights : Heights
        Of the window and `SURROUNDINGS_M` around.
    surface : str
        `highest`: the highest return of each square. `pit_free`: triangulated first returns, see `pit_free`.
    """
    size_m, margin = grid.resolution_m, 0
    if surface == "pit_free":
        margin = math.ceil(SURROUNDINGS_M / size_m)
    wide = Window(window.row0 - margin, window.row1 + margin, window.col0 - margin, window.col1 + margin)
    west, _, _, north = grid.bounds_of(wide)
    squares = Squares(west, north, size_m, np.zeros(wide.shape, np.int64))
    if surface == "pit_free":
        top = pit_free(heights, squares, longest_edge_m=longest_edge_m)
    else:
        top = point_to_raster(heights, squares)
    return np.round(top[window.within(wide).slices], 2)


def point_to_raster(heights: Heights, squares: Squares) -> np.ndarray:
    """Canopy height model by the highest return of each square (rows, cols), m; missing where there is none."""
    return highest_in(heights, squares)


def pit_free(
    heights: Heights,
    squares: Squares,
    *,
    levels_m: Sequence[float] = PIT_FREE_LEVELS_M,
    longest_edge_m: float = LONGEST_EDGE_M,
) -> np.ndarray:
    """Canopy height model without pits: the highest of triangulated surfaces of the first returns above rising heights.

    A first return that passed through a crown makes a pit in it. The surface of the returns above a level spans the pit,
    where its triangles are small; the surface of all of them closes the rest.

    Parameters
    ----------
    heights : Heights
        Of the squares and of `SURROUNDINGS_M` around, or triangles at the edge are missing. First returns are used.
    squares : Squares
    levels_m : sequence of float
        The first is 0: all first returns, with triangles of any edge.
    longest_edge_m : float
        Triangles with a longer edge are left out of the higher levels; about twice the spacing of pulses.

    Returns
    -------
    array (rows, cols)
        m above ground at the squares' centres; missing outside the hull of the first returns, and in triangles whose
        circumcircle is wider than `WIDEST_CIRCLE_M`: what was not read may lie in it, so they would change with the window.

    References
    ----------
    Khosravipour et al. 2014, doi:10.14358/PERS.80.9.863.
    """
    from pipeline.lidar.triangulation import OnOneLineError, delaunay, interpolate, wide_of

    x, y = squares.centres
    top = np.full(len(x), np.nan)
    if len(heights) == 0:
        return top.reshape(squares.cell.shape)
    origin = np.floor(heights.x.min()), np.floor(heights.y.min())
    for level_m in levels_m:
        above = heights.first_return & (heights.z >= level_m)
        places, z = _highest_at_places(heights.x[above] - origin[0], heights.y[above] - origin[1], heights.z[above])
        try:
            triangles, neighbours = delaunay(places)
        except OnOneLineError:
            continue
        unfit = wide_of(triangles, places, WIDEST_CIRCLE_M * STEPS_PER_M)
        if level_m != levels_m[0]:
            unfit |= _longest_edges(triangles, places) > longest_edge_m * STEPS_PER_M
        surface, left_out = interpolate(
            triangles, neighbours, places, z, unfit, x, y, origin[0], origin[1], float(STEPS_PER_M)
        )
        surface[left_out > 0] = np.nan
        top = np.fmax(top, surface)
    return top.reshape(squares.cell.shape)


def _highest_at_places(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) on the lattice in canonical order, and the highest value at each."""
    if len(x) == 0:
        return np.empty((0, 2), np.int64), z
    px, py = (np.rint(values * STEPS_PER_M).astype(np.int64) for values in (x, y))
    order = np.lexsort((-z, py, px))
    px, py, z = px[order], py[order], z[order]
    new = np.append(True, (np.diff(px) != 0) | (np.diff(py) != 0))
    return np.column_stack([px[new], py[new]]), z[new]


def _longest_edges(triangles: np.ndarray, places: np.ndarray) -> np.ndarray:
    corners = places[triangles].astype(float)
    edges = corners - np.roll(corners, 1, axis=1)
    return np.sqrt((edges**2).sum(axis=2)).max(axis=1)


def crown_radius_m(height_m: np.ndarray) -> np.ndarray:
    """Radius of the window in which a tree of some height is alone: 0.4 m + 0.06 of its height.

    References
    ----------
    Popescu and Wynne 2004, doi:10.14358/PERS.70.5.589 (variable windows); the numbers are those by which the tree tops of
    `quesnel-chm-blocks` were found. Fit your own on measured crowns.
    """
    return 0.4 + 0.06 * height_m


def tree_tops(
    canopy: np.ndarray,
    size_m: float,
    *,
    radius_m: Callable[[np.ndarray], np.ndarray] = crown_radius_m,
    min_height_m: float = 2.0,
) -> np.ndarray:
    """Cells of a canopy height model that are the highest within a window that widens with their height.

    A window holds the cells whose centre is within the radius, and always the eight around. Of cells as high as one
    another in one window, the first, row by row, is the top.

    Parameters
    ----------
    canopy : array (rows, cols)
        m; missing is NaN.
    size_m : float
        A cell's side.
    radius_m : function
        From heights to window radii, both m.
    min_height_m : float
        Lower cells are no trees.

    Returns
    -------
    int array (n, 2)
        Row and column of each top, row by row.
    """
    from scipy.ndimage import maximum_filter

    level = np.where(np.isfinite(canopy), canopy, -np.inf)
    tops = np.zeros(canopy.shape, bool)
    steps = np.maximum(np.floor(radius_m(np.where(np.isfinite(canopy), canopy, 0.0)) / size_m), 1).astype(int)
    for step in np.unique(steps[level >= min_height_m]):
        across = np.arange(-step, step + 1)
        disc = across[:, None] ** 2 + across[None, :] ** 2 <= max(step**2, 2)
        highest = maximum_filter(level, footprint=disc, mode="constant", cval=-np.inf)
        tops |= (steps == step) & (level >= min_height_m) & (level == highest)
    return _first_of_equals(np.argwhere(tops), level, steps)


def _first_of_equals(tops: np.ndarray, level: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Of tops as high as one another in one window the first, row by row; then the first of those left without one.

    After `TIE_ROUNDS` rounds what still stands in a row of equals is a roof, not crowns, and is left out: so whether a cell
    is a top is known from `TIE_ROUNDS` times two windows around it, wherever the canopy is cut.
    """
    number = np.full(level.shape, -1)
    number[tops[:, 0], tops[:, 1]] = np.arange(len(tops))
    twins: dict[int, list[int]] = {}
    for this, (row, col) in enumerate(tops.tolist()):
        step = int(steps[row, col])
        row0, col0 = max(row - step, 0), max(col - step, 0)
        here = slice(row0, row + step + 1), slice(col0, col + step + 1)
        rows, cols = np.nonzero((number[here] >= 0) & (level[here] == level[row, col]))
        if len(rows) > 1:
            near = (rows + row0 - row) ** 2 + (cols + col0 - col) ** 2 <= max(step**2, 2)
            twins[this] = [other for other in number[here][rows[near], cols[near]].tolist() if other != this]
    kept = np.ones(len(tops), bool)
    kept[list(twins)] = False
    open_ = set(twins)
    for _ in range(TIE_ROUNDS):
        first = {this for this in open_ if not any(other < this and other in open_ for other in twins[this])}
        kept[list(first)] = True
        open_ -= first | {other for this in first for other in twins[this]}
    return tops[kept]


def crowns(canopy: np.ndarray, tops: np.ndarray, *, min_height_m: float = 2.0) -> np.ndarray:
    """Which tree each cell belongs to: 1 to n in the order of `tops`, 0 for none.

    Watershed of the upturned canopy from its tops, over cells of `min_height_m` and more.

    References
    ----------
    Beucher and Lantuejoul 1979, Use of watersheds in contour detection; scikit-image `segmentation.watershed`.
    """
    from skimage.segmentation import watershed

    markers = np.zeros(canopy.shape, np.int32)
    markers[tops[:, 0], tops[:, 1]] = np.arange(1, len(tops) + 1)
    filled = np.where(np.isfinite(canopy), canopy, 0.0)
    return watershed(-filled, markers, mask=filled >= min_height_m)
