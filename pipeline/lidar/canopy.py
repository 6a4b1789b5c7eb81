"""Canopy height models, and the trees that stand out of them: pit-free surface, tree tops, crowns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lidar.fine import Squares, highest_in
from pipeline.lidar.heights import STEPS_PER_M, Heights

if TYPE_CHECKING:
    import geopandas as gpd

PIT_FREE_LEVELS_M = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)
LONGEST_EDGE_M = 1.0  # above the ground level only triangles of close returns are crowns; others bridge gaps


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
        Of the squares and of some metres around, or triangles at the edge are missing. First returns are used.
    squares : Squares
    levels_m : sequence of float
        The first is 0: all first returns, with triangles of any size.
    longest_edge_m : float
        Triangles with a longer edge are left out of the higher levels; about twice the spacing of pulses.

    Returns
    -------
    array (rows, cols)
        m above ground at the squares' centres; missing outside the hull of the first returns.

    References
    ----------
    Khosravipour et al. 2014, doi:10.14358/PERS.80.9.863.
    """
    from pipeline.lidar.triangulation import OnOneLineError, delaunay, interpolate

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
        limit = np.inf if level_m == levels_m[0] else longest_edge_m * STEPS_PER_M
        long = (_longest_edges(triangles, places) > limit).astype(np.uint8)
        surface, left_out = interpolate(
            triangles, neighbours, places, z, long, x, y, origin[0], origin[1], float(STEPS_PER_M)
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
    """Tops without those that a top before them, as high, has in its window."""
    kept: list[tuple[int, int]] = []
    taken: set[tuple[int, int]] = set()
    for row, col in tops.tolist():
        if (row, col) in taken:
            continue
        kept.append((row, col))
        step = int(steps[row, col])
        near = level[max(row - step, 0) : row + step + 1, max(col - step, 0) : col + step + 1]
        for r, c in np.argwhere(near == level[row, col]).tolist():
            r, c = r + max(row - step, 0), c + max(col - step, 0)
            if (r - row) ** 2 + (c - col) ** 2 <= max(step**2, 2):
                taken.add((r, c))
    return np.array(kept, int).reshape(-1, 2)


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


def trees_as_layers(
    canopy: np.ndarray, tops: np.ndarray, owner: np.ndarray, *, west: float, north: float, size_m: float, crs: str
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Tree tops as points and crowns as polygons: `tree`, `height_m`, and for crowns `area_m2`."""
    import geopandas as gpd
    import shapely
    from affine import Affine
    from rasterio.features import shapes

    number = np.arange(1, len(tops) + 1)
    height = canopy[tops[:, 0], tops[:, 1]]
    x, y = west + (tops[:, 1] + 0.5) * size_m, north - (tops[:, 0] + 0.5) * size_m
    points = gpd.GeoDataFrame({"tree": number, "height_m": height}, geometry=gpd.points_from_xy(x, y), crs=crs)
    transform = Affine(size_m, 0, west, 0, -size_m, north)
    found: dict[int, list] = {}
    for shape, value in shapes(owner.astype(np.int32), mask=owner > 0, transform=transform):
        found.setdefault(int(value), []).append(shapely.geometry.shape(shape))
    outlines = [shapely.union_all(found[n]) for n in number]
    polygons = gpd.GeoDataFrame({"tree": number, "height_m": height}, geometry=outlines, crs=crs)
    return points, polygons.assign(area_m2=polygons.area)

