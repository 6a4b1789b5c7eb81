"""Compiled loops over points. Importing this module loads numba, so it is imported where the work is."""

from __future__ import annotations

import numpy as np
from numba import njit

NOT_FOUND, OUTSIDE = -2, -1


@njit(cache=True)
def group_sorted(cell, z, n_cells):
    """Values grouped by cell and rising inside each: (grouped values, starts), `starts` of length `n_cells` + 1."""
    starts = np.zeros(n_cells + 1, np.int64)
    for i in range(cell.size):
        starts[cell[i] + 1] += 1
    for k in range(n_cells):
        starts[k + 1] += starts[k]
    place = starts[:-1].copy()
    grouped = np.empty(z.size, z.dtype)
    for i in range(cell.size):
        grouped[place[cell[i]]] = z[i]
        place[cell[i]] += 1
    for k in range(n_cells):
        if starts[k + 1] - starts[k] > 1:
            grouped[starts[k] : starts[k + 1]].sort()
    return grouped, starts


@njit(cache=True)
def _double_area(ax, ay, bx, by, px, py):
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True)
def _side(triangles, x, y, t, px, py):
    """Which edge of triangle `t` the point lies strictly beyond (farthest first), 3 if none, 4 if `t` has no area."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    area = _double_area(x[a], y[a], x[b], y[b], x[c], y[c])
    if area == 0.0:
        return 4
    sign = 1.0 if area > 0.0 else -1.0
    lowest, side = 0.0, 3
    weight = sign * _double_area(x[b], y[b], x[c], y[c], px, py)
    if weight < lowest:
        lowest, side = weight, 0
    weight = sign * _double_area(x[c], y[c], x[a], y[a], px, py)
    if weight < lowest:
        lowest, side = weight, 1
    weight = sign * _double_area(x[a], y[a], x[b], y[b], px, py)
    if weight < lowest:
        lowest, side = weight, 2
    return side


@njit(cache=True)
def _walk(triangles, neighbours, x, y, start, px, py):
    """The triangle that holds the point, walking from `start`; OUTSIDE the hull; NOT_FOUND where the walk is lost."""
    t = start
    for _ in range(triangles.shape[0] + 3):
        side = _side(triangles, x, y, t, px, py)
        if side == 3:
            return t
        if side == 4:
            return NOT_FOUND
        t = neighbours[t, side]
        if t < 0:
            return OUTSIDE
    return NOT_FOUND


@njit(cache=True)
def _scan(triangles, x, y, px, py):
    for t in range(triangles.shape[0]):
        if _side(triangles, x, y, t, px, py) == 3:
            return t
    return OUTSIDE


@njit(cache=True)
def _on_edge(x, y, z, a, b, px, py):
    """Height on the edge between two vertices, counted from the lower index, so that both neighbours agree."""
    if a > b:
        a, b = b, a
    dx, dy = x[b] - x[a], y[b] - y[a]
    share = (px - x[a]) / dx if abs(dx) >= abs(dy) else (py - y[a]) / dy
    return z[a] + share * (z[b] - z[a])


@njit(cache=True)
def _in_triangle(triangle, x, y, z, px, py):
    """Height of the plane through a triangle at a point inside it or on its border, the same from either side."""
    a, b, c = triangle
    if a > b:
        a, b = b, a
    if b > c:
        b, c = c, b
    if a > b:
        a, b = b, a
    wa = _double_area(x[b], y[b], x[c], y[c], px, py)
    wb = _double_area(x[c], y[c], x[a], y[a], px, py)
    wc = _double_area(x[a], y[a], x[b], y[b], px, py)
    if wb == 0.0 and wc == 0.0:
        return z[a]
    if wa == 0.0 and wc == 0.0:
        return z[b]
    if wa == 0.0 and wb == 0.0:
        return z[c]
    if wa == 0.0:
        return _on_edge(x, y, z, b, c, px, py)
    if wb == 0.0:
        return _on_edge(x, y, z, a, c, px, py)
    if wc == 0.0:
        return _on_edge(x, y, z, a, b, px, py)
    return (wa * z[a] + wb * z[b] + wc * z[c]) / (wa + wb + wc)


@njit(cache=True)
def interpolate(triangles, neighbours, x, y, z, px, py):
    """Linear interpolation on a triangulation by walking from each point's triangle to the next point's.

    Coordinates are whole numbers held as float64 (below 2**26), so every side test is exact and a point on an edge or
    a vertex gets the same height from each triangle that shares it: the order of points changes nothing.

    Parameters
    ----------
    triangles, neighbours : int array (n, 3)
        Vertices; and across the edge opposite to each vertex the next triangle, -1 on the hull.
    x, y, z : float64 array (n_vertices)
    px, py : float64 array (n_points)

    Returns
    -------
    float64 array (n_points)
        Missing outside the hull.
    """
    heights = np.full(px.size, np.nan)
    t = 0
    for i in range(px.size):
        found = _walk(triangles, neighbours, x, y, t, px[i], py[i])
        if found == NOT_FOUND:
            found = _scan(triangles, x, y, px[i], py[i])
        if found != OUTSIDE:
            heights[i] = _in_triangle(triangles[found], x, y, z, px[i], py[i])
            t = found
    return heights
