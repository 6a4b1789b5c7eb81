"""A triangulation of the ground near a window, settled against the ground farther off.

A triangle is one of the whole ground's exactly if its circle is empty of all ground. So of what lies farther off than
was triangulated, only points inside the circles of triangles that reach into the window matter: those are inserted, and
no others. Importing this module loads numba, so it is imported where the work is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline.lidar.triangulation import INFINITY, Mesh, centre_from, part

ENOUGH = 16  # points that a circle gets in a round: a few break it, and far more would be inserted in vain
TOUCH = 1e-12  # relative: rounding must not hide a point on a circle
STRAIGHT = 2.0**40  # a circle of larger radius may lie anywhere


class Farther(NamedTuple):
    """Points farther off, listed by squares: `x`, `y` (m), their `order` by square and where each square `starts`.

    Squares of `size_m` lie in `rows` and `cols` from the corner `west`, `north`, which are whole numbers of them: so what
    is inserted depends on where points lie, not on how many were listed.
    """

    x: np.ndarray
    y: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    west: float
    north: float
    size_m: float
    rows: int
    cols: int


def settle(
    mesh: Mesh,
    core: np.ndarray,
    known: np.ndarray,
    limit: np.ndarray,
    origin: tuple[float, float],
    steps_per_m: float,
    farther: Callable[[], Farther],
    distinct: Callable[[np.ndarray], np.ndarray],
) -> bool:
    """Insert points until all triangles that reach into `core` are those of all points in `limit`.

    Parameters
    ----------
    mesh : Mesh
        Of all points in `known`, in lattice steps from `origin`.
    core, known, limit : float64 array (4)
        Boxes, west, south, east, north in m, each inside the next, half open as `Points.inside`.
    farther : callable
        Gives the points in `limit`, or more; asked only if any are needed.
    distinct : callable
        Takes numbers of `farther`'s points to be inserted, all at their places; gives their places (n, 2).

    Returns
    -------
    bool
        Whether points beyond `known` were needed.
    """
    if (known == limit).all():
        return False
    found, taken = None, None
    west, south = origin
    in_steps = [(box - np.array([west, south, west, south])) * steps_per_m for box in (core, known)]
    while len(doubtful := doubtful_of(mesh.triangles, mesh.xy, *in_steps)):
        if found is None:
            found = farther()
            taken = np.zeros(len(found.x), np.bool_)
        fresh = conflicts_of(
            doubtful, mesh.triangles, mesh.xy, known, limit, *found, taken, west, south, steps_per_m
        )  # fmt: skip
        if not len(fresh):
            break
        mesh.add(distinct(fresh))
    return taken is not None and bool(taken.any())


@njit(cache=True)
def doubtful_of(triangles, xy, core, known):
    """Numbers of triangles that reach into `core` (lattice steps) with a circle, or a half-plane, not inside `known`."""
    found = np.empty(len(triangles), np.int32)
    count = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if a == INFINITY or b == INFINITY or c == INFINITY:
            if a == INFINITY:
                a, b = b, c
            elif b == INFINITY:
                a, b = c, a
            # The half-plane is left of a to b; it reaches into the core where it holds one of its corners.
            ax, ay = float(xy[a, 0]), float(xy[a, 1])
            dx, dy = float(xy[b, 0]) - ax, float(xy[b, 1]) - ay
            reaches = False
            for k in range(4):
                x, y = core[0] if k < 2 else core[2], core[1] if k % 2 == 0 else core[3]
                reaches = reaches or dx * (y - ay) - dy * (x - ax) > 0.0
        else:
            if (
                max(xy[a, 0], xy[b, 0], xy[c, 0]) < core[0] or min(xy[a, 0], xy[b, 0], xy[c, 0]) > core[2]
                or max(xy[a, 1], xy[b, 1], xy[c, 1]) < core[1] or min(xy[a, 1], xy[b, 1], xy[c, 1]) > core[3]
            ):  # fmt: skip
                continue
            x, y = centre_from(xy, a, b, c)
            reach = np.sqrt(x * x + y * y) * (1.0 + 1e-6) + 1.0
            x, y = x + xy[a, 0], y + xy[a, 1]
            reaches = not (
                x - reach > known[0] and y - reach > known[1] and x + reach < known[2] and y + reach < known[3]
            )
        if reaches:
            found[count] = t
            count += 1
    return found[:count]


@njit(cache=True)
def conflicts_of(
    doubtful, triangles, xy, known, limit, x, y, order, starts, west_m, north_m, size_m, rows, cols, taken, west, south, steps
):
    """Numbers of points in `limit` but not in `known` that lie in some triangles' circles, and are not taken: now they are.

    Of each circle those in the first squares that hold at least `ENOUGH`; of each half-plane the farthest inside.
    """
    found = np.empty(len(x), np.int32)
    count = 0
    for t in doubtful:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        straight = a == INFINITY or b == INFINITY or c == INFINITY
        row0, row1, col0, col1 = 0, rows - 1, 0, cols - 1
        middle_x, middle_y, reach = 0.0, 0.0, np.inf  # of the circle, m
        if straight:
            if a == INFINITY:
                a, b = b, c
            elif b == INFINITY:
                a, b = c, a
            c = a
        else:
            from_x, from_y = centre_from(xy, a, b, c)
            radius = np.sqrt(from_x * from_x + from_y * from_y)
            if radius < STRAIGHT:
                middle_x, middle_y = (from_x + xy[a, 0]) / steps + west, (from_y + xy[a, 1]) / steps + south
                reach = (radius * (1.0 + 1e-6) + 1.0) / steps
                col0 = max(col0, int(min((middle_x - reach - west_m) / size_m, float(cols))))
                col1 = min(col1, int(max((middle_x + reach - west_m) / size_m, -1.0)))
                row0 = max(row0, int(min((north_m - middle_y - reach) / size_m, float(rows))))
                row1 = min(row1, int(max((north_m - middle_y + reach) / size_m, -1.0)))
        farthest, farthest_x, farthest_y, own_square = 0.0, np.int64(0), np.int64(0), -1
        n_inside = 0
        for row in range(row0, row1 + 1):
            top, bottom = north_m - row * size_m, north_m - (row + 1) * size_m
            if n_inside >= ENOUGH or top < limit[1] or bottom > limit[3]:
                continue
            for col in range(col0, col1 + 1):
                left, right = west_m + col * size_m, west_m + (col + 1) * size_m
                if n_inside >= ENOUGH or right < limit[0] or left > limit[2]:
                    continue
                if left >= known[0] and right < known[2] and bottom > known[1] and top <= known[3]:
                    continue
                across = max(left - middle_x, 0.0, middle_x - right)
                along = max(bottom - middle_y, 0.0, middle_y - top)
                if across * across + along * along > reach * reach:
                    continue
                square = row * cols + col
                if straight and starts[square + 1] > starts[square]:
                    most = -1.0  # of the square's corners
                    for k in range(4):
                        corner_x = ((left if k < 2 else right) - west) * steps - xy[a, 0]
                        corner_y = ((bottom if k % 2 == 0 else top) - south) * steps - xy[a, 1]
                        most = max(most, (xy[b, 0] - xy[a, 0]) * corner_y - (xy[b, 1] - xy[a, 1]) * corner_x)
                    if most < farthest:
                        continue
                for j in range(starts[square], starts[square + 1]):
                    i = order[j]
                    if taken[i] or not _in_box(x[i], y[i], limit) or _in_box(x[i], y[i], known):
                        continue
                    px = np.int64(np.rint((x[i] - west) * steps))
                    py = np.int64(np.rint((y[i] - south) * steps))
                    if straight:
                        depth = float((xy[b, 0] - xy[a, 0]) * (py - xy[a, 1]) - (xy[b, 1] - xy[a, 1]) * (px - xy[a, 0]))
                        before = px < farthest_x or (px == farthest_x and py < farthest_y)
                        if depth > farthest or (depth == farthest and depth > 0.0 and before):
                            farthest, farthest_x, farthest_y, own_square = depth, px, py, square
                    elif _in_circle(xy, a, b, c, px, py):
                        taken[i] = True
                        found[count] = i
                        count += 1
                        n_inside += 1
        if own_square >= 0:
            for j in range(starts[own_square], starts[own_square + 1]):  # all at that place
                i = order[j]
                if not taken[i]:
                    px = np.int64(np.rint((x[i] - west) * steps))
                    py = np.int64(np.rint((y[i] - south) * steps))
                    if px == farthest_x and py == farthest_y:
                        taken[i] = True
                        found[count] = i
                        count += 1
    return found[:count]


@part
def _in_box(x, y, box):
    return box[0] <= x < box[2] and box[1] < y <= box[3]


@part
def _in_circle(xy, a, b, c, px, py):
    """Whether a point lies in the circle of a triangle that turns left, or on it; one just outside may pass for inside."""
    ax, ay = float(xy[a, 0] - px), float(xy[a, 1] - py)
    bx, by = float(xy[b, 0] - px), float(xy[b, 1] - py)
    cx, cy = float(xy[c, 0] - px), float(xy[c, 1] - py)
    one = (ax * ax + ay * ay) * (bx * cy - by * cx)
    two = (bx * bx + by * by) * (cx * ay - cy * ax)
    three = (cx * cx + cy * cy) * (ax * by - ay * bx)
    return one + two + three >= -TOUCH * (abs(one) + abs(two) + abs(three))
