"""The ground as a surface: Delaunay triangulation of points on a lattice, heights on it, nearest vertices.

Importing this module loads numba, so it is imported where the work is. Coordinates are whole numbers, int64, at most
`SPAN` apart: every decision is exact, no triangle is without area and no walk gets lost. Triangles turn left; edge k of
a triangle runs from its k-th vertex to the next.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SPAN = 2**29  # farther apart than this, a product in `_exact_in_circle` could leave 64 bits
OUTSIDE = -1
INFINITY = -1  # the number of the vertex at infinity
ROUNDS, ROUND_BITS = 7, 3  # each round of insertion has 2**3 times the points of the one before it
IN_CIRCLE_ERROR = 1e-15  # relative; three roundings of each term and two of their sum are 5 * 2**-53 = 5.6e-16

part = njit(cache=True, no_cpython_wrapper=True)  # of a compiled loop: without an entry from Python it compiles faster


class OnOneLineError(ValueError):
    """All vertices lie on one line: there is no triangle."""


def delaunay(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Delaunay triangulation of points in a plane.

    It is unique: vertices on one empty circle are all joined to the first of them (least x, then least y). So it
    depends on where points lie relative to each other, not on their order nor on what lies beyond the empty circles.

    Points are inserted in rounds of rising size, each along a space-filling curve, so that the walk to a point's
    triangle is short and no arrangement of points is slow; edges then flip until every circle is empty. A vertex at
    infinity closes the hull. Tests are decided in floating point where its error bound allows, else in whole numbers.

    Parameters
    ----------
    vertices : int64 array (n, 2)
        x and y. Of several at one place one is used, the others belong to no triangle.

    Returns
    -------
    triangles : int32 array (m, 3)
        Numbers of vertices, counter-clockwise, from the first on. Together they fill the convex hull.
    neighbours : int32 array (m, 3)
        The triangle across the edge opposite to each vertex, `OUTSIDE` beyond the hull.

    Raises
    ------
    OnOneLineError
        If there are fewer than three places, or all lie on one line.
    ValueError
        If vertices lie `SPAN` or more apart.

    References
    ----------
    Lawson 1977, Software for C1 surface interpolation, in Mathematical Software III, 161-194 (flips).
    Guibas and Stolfi 1985, doi:10.1145/282918.282923 (in-circle test, walk).
    Amenta, Choi and Rote 2003, doi:10.1145/777792.777824 (rounds of insertion).
    Shewchuk 1997, doi:10.1007/PL00009321 (floating point filter before exact arithmetic).
    Edelsbrunner and Mücke 1990, doi:10.1145/77635.77639 (ties decided as if points were moved by a trace).
    """
    mesh = Mesh(vertices)
    triangles, neighbours = mesh.finite()
    return mesh.order[triangles].astype(np.int32), neighbours


def _in_order_of_insertion(vertices: np.ndarray) -> np.ndarray:
    """Numbers of vertices, one for each place, the first three not on one line."""
    if len(vertices) < 3:
        raise OnOneLineError(f"{len(vertices)} points make no triangle")
    corner = vertices.min(axis=0)
    if (vertices.max(axis=0) - corner).max() >= SPAN:
        raise ValueError(f"points to triangulate must lie less than {SPAN} apart")
    key = _insertion_keys(vertices, corner[0], corner[1])
    order = np.argsort(key)
    key = key[order]
    fresh = np.append(True, key[1:] != key[:-1])
    if not fresh.all():
        order = np.minimum.reduceat(order, np.flatnonzero(fresh))
    third = _first_off_line(vertices, order)
    if third == len(order):
        raise OnOneLineError(f"{len(vertices)} points lie on one line")
    order[[2, third]] = order[[third, 2]]
    return order


class Mesh:
    """A Delaunay triangulation that takes more vertices; its triangles are always those of all it was given.

    Parameters
    ----------
    vertices : int64 array (n, 2)
        As for `delaunay`; each place once.

    Raises
    ------
    OnOneLineError, ValueError
        As `delaunay`.
    """

    def __init__(self, vertices: np.ndarray) -> None:
        self.order = _in_order_of_insertion(vertices)
        self.xy = vertices[self.order]
        self.triangles, self.twin = _begun(self.xy)
        _insert_all(self.xy, self.triangles, self.twin, 3)

    def add(self, vertices: np.ndarray) -> None:
        """Insert vertices (n, 2), each at a place where none is; they get the numbers after those that are there."""
        first, self.xy = len(self.xy), np.concatenate([self.xy, vertices])
        more = np.empty((2 * len(vertices), 3), np.int32)
        self.triangles, self.twin = np.concatenate([self.triangles, more]), np.concatenate([self.twin, more])
        _insert_all(self.xy, self.triangles, self.twin, first)

    def finite(self) -> tuple[np.ndarray, np.ndarray]:
        """Triangles and neighbours as `delaunay` gives them, vertices by their row of `xy`."""
        return _finite(self.xy, self.triangles, self.twin)


# Order of insertion


@njit(cache=True)
def _insertion_keys(vertices, west, south):
    """Keys that sort points into rounds and each round along Morton's curve; equal for points at one place only."""
    keys = np.empty(len(vertices), np.int64)
    for i in range(len(vertices)):
        curve = 2 * _spread(vertices[i, 0] - west) + _spread(vertices[i, 1] - south)
        chance = curve * 0x1E3779B97F4A7C15  # wraps: bits that look random, the same for the same place
        chance = (chance ^ (chance >> 31)) * 0x3F58476D1CE4E5B9
        chance = (chance >> 20) ^ (chance >> 41)
        back = 0
        while back < ROUNDS and chance & (2**ROUND_BITS - 1) == 0:
            chance >>= ROUND_BITS
            back += 1
        keys[i] = (ROUNDS - back) << 60 | curve
    return keys


@part
def _spread(value):
    """A zero bit before each of the lowest 30 bits."""
    value = (value | value << 16) & 0x0000FFFF0000FFFF
    value = (value | value << 8) & 0x00FF00FF00FF00FF
    value = (value | value << 4) & 0x0F0F0F0F0F0F0F0F
    value = (value | value << 2) & 0x3333333333333333
    return (value | value << 1) & 0x5555555555555555


@njit(cache=True)
def _first_off_line(xy, order):
    """The first place in `order` that is not on the line through the first two; their number where none is."""
    for i in range(2, len(order)):
        if _double_area(xy, order[0], order[1], xy[order[i], 0], xy[order[i], 1]) != 0:
            return i
    return len(order)


# Tests, all exact


@part
def _double_area(xy, a, b, px, py):
    """Twice the area of the triangle of vertices a, b and a point: positive where the point is left of a to b."""
    ax, ay = xy[a, 0], xy[a, 1]
    return (xy[b, 0] - ax) * (py - ay) - (xy[b, 1] - ay) * (px - ax)


@part
def _before(xy, a, b):
    """Whether vertex a is the one of less x, or of less y at the same x."""
    return xy[a, 0] < xy[b, 0] or (xy[a, 0] == xy[b, 0] and xy[a, 1] < xy[b, 1])


@part
def _joined(xy, p, a, b, d):
    """Whether p and d are to be joined in place of a and b, the triangle p, a, b turning left and d being beyond a, b.

    They are where d lies inside the circle through p, a and b; on it, where one of them comes first of the four.
    """
    dx, dy = xy[d, 0], xy[d, 1]
    px, py = xy[p, 0] - dx, xy[p, 1] - dy
    ax, ay = xy[a, 0] - dx, xy[a, 1] - dy
    bx, by = xy[b, 0] - dx, xy[b, 1] - dy
    square_p, square_a, square_b = px * px + py * py, ax * ax + ay * ay, bx * bx + by * by
    area_p, area_a, area_b = ax * by - ay * bx, bx * py - by * px, px * ay - py * ax
    term_p = float(square_p) * float(area_p)
    term_a = float(square_a) * float(area_a)
    term_b = float(square_b) * float(area_b)
    inside = term_p + term_a + term_b
    if abs(inside) > IN_CIRCLE_ERROR * (abs(term_p) + abs(term_a) + abs(term_b)):
        return inside > 0.0
    side = _exact_in_circle(square_p, area_p, square_a, area_a, square_b, area_b)
    if side != 0:
        return side > 0
    own = p if _before(xy, p, d) else d
    return _before(xy, own, a) and _before(xy, own, b)


@part
def _exact_in_circle(p, q, a, b, c, d):
    """A number with the sign of p q + a b + c d, each below 2**59: products of upper and lower halves of 30 bits."""
    half = 2**30 - 1
    upper = (p >> 30) * (q >> 30) + (a >> 30) * (b >> 30) + (c >> 30) * (d >> 30)
    middle = (p >> 30) * (q & half) + (a >> 30) * (b & half) + (c >> 30) * (d & half)
    middle += (p & half) * (q >> 30) + (a & half) * (b >> 30) + (c & half) * (d >> 30)
    lower = (p & half) * (q & half) + (a & half) * (b & half) + (c & half) * (d & half)
    middle += lower >> 30
    upper += middle >> 30
    return upper if upper != 0 else (middle & half) | (lower & half)


# Triangulation. `twin[t, k]` is the edge that runs along edge k of triangle t in its neighbour u: 4 u + its number.
# A triangle with the vertex at `INFINITY` stands for the half-plane beyond an edge of the hull.


@njit(cache=True)
def _begun(xy):
    """Room for the triangles and twins of some vertices, and in it the first triangle with three half-planes around."""
    triangles, twin = np.empty((2 * len(xy) - 2, 3), np.int32), np.empty((2 * len(xy) - 2, 3), np.int32)
    _begin(xy, triangles, twin)
    return triangles, twin


@njit(cache=True)
def _insert_all(xy, triangles, twin, first):
    """Insert the vertices from number `first` on, those before it being there; all are distinct."""
    n = len(xy)
    waiting = np.empty(n + 1, np.int32)  # triangles whose edge opposite to the newest vertex is to be tested
    t = 0
    for p in range(first, n):
        t = _triangle_around(xy, triangles, twin, t, xy[p, 0], xy[p, 1])
        u, v = 2 * p - 2, 2 * p - 1
        _split(triangles, twin, t, u, v, p)
        waiting[0], waiting[1], waiting[2] = t, u, v
        n_waiting = 3
        while n_waiting > 0:
            t = waiting[n_waiting - 1]
            u, k = twin[t, 1] >> 2, twin[t, 1] & 3
            if _to_flip(xy, p, triangles[t, 1], triangles[t, 2], triangles[u, _last(k)]):
                _flip(triangles, twin, t, u, k, p)
                waiting[n_waiting] = u
                n_waiting += 1
            else:
                n_waiting -= 1


@part
def _next(k):
    return k + 1 if k < 2 else 0


@part
def _last(k):
    return k - 1 if k > 0 else 2


@part
def _set(triangles, t, a, b, c):
    triangles[t, 0], triangles[t, 1], triangles[t, 2] = a, b, c


@part
def _bind(twin, t, k, edge):
    twin[t, k] = edge
    twin[edge >> 2, edge & 3] = 4 * t + k


@part
def _begin(xy, triangles, twin):
    """The first triangle and the three half-planes around it."""
    left = _double_area(xy, 0, 1, xy[2, 0], xy[2, 1]) > 0
    _set(triangles, 0, 0 if left else 1, 1 if left else 0, 2)
    for k in range(3):
        _set(triangles, k + 1, triangles[0, _next(k)], triangles[0, k], INFINITY)
        _bind(twin, 0, k, 4 * (k + 1))
    for k in range(3):
        _bind(twin, k + 1, 2, 4 * (_next(k) + 1) + 1)


@part
def _triangle_around(xy, triangles, twin, t, px, py):
    """The triangle that holds a point, or a half-plane that does, walking from triangle `t`."""
    for k in range(3):
        if triangles[t, k] == INFINITY:
            t = twin[t, _next(k)] >> 2
            break
    k = 0
    if _double_area(xy, triangles[t, 0], triangles[t, 1], px, py) < 0:
        t, k = twin[t, 0] >> 2, twin[t, 0] & 3
    while True:  # the point is left of edge k, or on it
        following, last = _next(k), _last(k)
        a, b, c = triangles[t, k], triangles[t, following], triangles[t, last]
        if c == INFINITY:
            return t
        if _double_area(xy, b, c, px, py) < 0:
            edge = twin[t, following]
        elif _double_area(xy, c, a, px, py) < 0:
            edge = twin[t, last]
        else:
            return t
        t, k = edge >> 2, edge & 3


@part
def _split(triangles, twin, t, u, v, p):
    """Join vertex p to the three vertices of triangle t, which becomes t, u and v, p being the first vertex of each."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    beyond_ab, beyond_bc, beyond_ca = twin[t, 0], twin[t, 1], twin[t, 2]
    _set(triangles, t, p, a, b)
    _set(triangles, u, p, b, c)
    _set(triangles, v, p, c, a)
    _bind(twin, t, 1, beyond_ab)
    _bind(twin, u, 1, beyond_bc)
    _bind(twin, v, 1, beyond_ca)
    _bind(twin, t, 2, 4 * u)
    _bind(twin, u, 2, 4 * v)
    _bind(twin, v, 2, 4 * t)


@part
def _to_flip(xy, p, a, b, d):
    """Whether p and d are to be joined in place of a and b; any of a, b, d may be the vertex at infinity."""
    if d == INFINITY:  # edge a, b is on the hull: p lies on it, or inside
        return _double_area(xy, a, b, xy[p, 0], xy[p, 1]) == 0
    if a == INFINITY:  # p sees the edge of the hull from d to b, or not
        return _double_area(xy, d, b, xy[p, 0], xy[p, 1]) > 0
    if b == INFINITY:
        return _double_area(xy, a, d, xy[p, 0], xy[p, 1]) > 0
    return _joined(xy, p, a, b, d)


@part
def _flip(triangles, twin, t, u, k, p):
    """Of triangle t = p, a, b and its neighbour u across a, b (its edge k) make t = p, a, d and u = p, d, b."""
    b, d = triangles[t, 2], triangles[u, _last(k)]
    beyond_ad, beyond_db, beyond_bp = twin[u, _next(k)], twin[u, _last(k)], twin[t, 2]
    triangles[t, 2] = d
    _set(triangles, u, p, d, b)
    _bind(twin, t, 1, beyond_ad)
    _bind(twin, u, 1, beyond_db)
    _bind(twin, u, 2, beyond_bp)
    _bind(twin, t, 2, 4 * u)


@njit(cache=True)
def _finite(xy, triangles, twin):
    """Triangles without the vertex at infinity, each from its first vertex on, and their neighbours."""
    number = np.empty(len(triangles), np.int32)
    count = 0
    for t in range(len(triangles)):
        real = triangles[t, 0] != INFINITY and triangles[t, 1] != INFINITY and triangles[t, 2] != INFINITY
        number[t] = count if real else OUTSIDE
        count += real
    finite, neighbours = np.empty((count, 3), np.int32), np.empty((count, 3), np.int32)
    for t in range(len(triangles)):
        if number[t] != OUTSIDE:
            first = 0
            for k in range(1, 3):
                if _before(xy, triangles[t, k], triangles[t, first]):
                    first = k
            for k in range(3):
                corner = (first + k) % 3
                finite[number[t], k] = triangles[t, corner]
                neighbours[number[t], k] = number[twin[t, _next(corner)] >> 2]
    return finite, neighbours


# Heights


@njit(cache=True)
def interpolate(triangles, neighbours, xy, z, wide, x, y, west, south, steps):
    """Linear interpolation on a triangulation by walking from each point's triangle to the next point's.

    A point on an edge or a vertex gets the same height from each triangle that shares it: the order of points changes
    nothing. It counts as on a wide triangle only where every triangle that gives its height is: never on a vertex.

    Parameters
    ----------
    triangles, neighbours : int32 array (m, 3)
        From `delaunay`.
    xy : int64 array (n, 2)
        The vertices.
    z : float64 array (n)
        Their heights.
    wide : bool array (m)
        From `wide_of`.
    x, y : float64 array (n_points)
        In units of which `steps` make one of the lattice's, as are its origin's coordinates `west` and `south`.

    Returns
    -------
    heights : float64 array (n_points)
        Missing outside the hull.
    on_wide : bool array (n_points)
        False outside the hull.
    """
    heights, on_wide = np.empty(x.size), np.zeros(x.size, np.bool_)
    table = _walking_table(triangles, neighbours, xy)
    t = 0
    for i in range(x.size):
        px, py = np.int64(np.rint((x[i] - west) * steps)), np.int64(np.rint((y[i] - south) * steps))
        found, wa, wb, wc = _walk(table, t, px, py)
        if found == OUTSIDE:
            heights[i] = np.nan
            continue
        a, b, c = triangles[found, 0], triangles[found, 1], triangles[found, 2]
        if wa > 0 and wb > 0 and wc > 0:
            fa, fb, fc = float(wa), float(wb), float(wc)
            heights[i] = (fa * z[a] + fb * z[b] + fc * z[c]) / (fa + fb + fc)
        else:
            heights[i] = _on_border(xy, z, a, b, c, wa, wb, wc, px, py)
        if wide[found]:
            on_wide[i] = _on_wide_alone(triangles, neighbours, xy, wide, found, px, py)
        t = found
    return heights, on_wide


@part
def _on_wide_alone(triangles, neighbours, xy, wide, t, px, py):
    """Whether a point of a wide triangle is on no other: not on a vertex, on an edge only if both sides are wide."""
    alone = True
    on_edges = 0
    for k in range(3):
        if _double_area(xy, triangles[t, _next(k)], triangles[t, _last(k)], px, py) == 0:
            on_edges += 1
            other = neighbours[t, k]
            if other != OUTSIDE:
                alone = alone and wide[other]
    return alone and on_edges < 2


@njit(cache=True)
def wide_of(triangles, xy, width):
    """Which triangles have a circle of a diameter beyond `width` lattice steps."""
    wide = np.empty(len(triangles), np.bool_)
    for t in range(len(triangles)):
        x, y = centre_from(xy, triangles[t, 0], triangles[t, 1], triangles[t, 2])
        wide[t] = 2.0 * np.sqrt(x * x + y * y) > width
    return wide


@part
def centre_from(xy, a, b, c):
    """The centre of the circle through three vertices, from the first of them, in lattice steps."""
    bx, by = float(xy[b, 0] - xy[a, 0]), float(xy[b, 1] - xy[a, 1])
    cx, cy = float(xy[c, 0] - xy[a, 0]), float(xy[c, 1] - xy[a, 1])
    area = 2.0 * float(_double_area(xy, a, b, xy[c, 0], xy[c, 1]))
    square_b, square_c = bx * bx + by * by, cx * cx + cy * cy
    return (cy * square_b - by * square_c) / area, (bx * square_c - cx * square_b) / area


@part
def _walking_table(triangles, neighbours, xy):
    """What a walk needs of each triangle, side by side: x and y of its three vertices, its three neighbours."""
    table = np.empty((len(triangles), 9), np.int32)
    for t in range(len(triangles)):
        for k in range(3):
            table[t, 2 * k], table[t, 2 * k + 1] = xy[triangles[t, k], 0], xy[triangles[t, k], 1]
            table[t, 6 + k] = neighbours[t, k]
    return table


@part
def _walk(table, t, px, py):
    """The triangle that holds the point, walking from triangle `t`, or OUTSIDE; and twice the areas opposite its vertices."""
    came_from = t
    wa, wb, wc = np.int64(0), np.int64(0), np.int64(0)
    while t != OUTSIDE:
        ax, ay = np.int64(table[t, 0]) - px, np.int64(table[t, 1]) - py
        bx, by = np.int64(table[t, 2]) - px, np.int64(table[t, 3]) - py
        cx, cy = np.int64(table[t, 4]) - px, np.int64(table[t, 5]) - py
        wa, wb, wc = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
        if wa < 0 and table[t, 6] != came_from:
            onward = table[t, 6]
        elif wb < 0 and table[t, 7] != came_from:
            onward = table[t, 7]
        elif wc < 0 and table[t, 8] != came_from:
            onward = table[t, 8]
        else:
            break
        came_from, t = t, onward
    return t, wa, wb, wc


@part
def _on_edge(xy, z, a, b, px, py):
    """Height on the edge between two vertices, counted from the first of them, so that both neighbours agree."""
    if _before(xy, b, a):
        a, b = b, a
    dx, dy = xy[b, 0] - xy[a, 0], xy[b, 1] - xy[a, 1]
    share = (px - xy[a, 0]) / dx if abs(dx) >= abs(dy) else (py - xy[a, 1]) / dy
    return z[a] + share * (z[b] - z[a])


@part
def _on_border(xy, z, a, b, c, wa, wb, wc, px, py):
    """Height at a point on an edge or a vertex of a triangle, the same from either side."""
    if wb == 0 and wc == 0:
        return z[a]
    if wa == 0 and wc == 0:
        return z[b]
    if wa == 0 and wb == 0:
        return z[c]
    if wa == 0:
        return _on_edge(xy, z, b, c, px, py)
    if wb == 0:
        return _on_edge(xy, z, a, c, px, py)
    return _on_edge(xy, z, a, b, px, py)


# Nearest vertices


@njit(cache=True)
def nearest_vertices(triangles, neighbours, xy, px, py, count):
    """The `count` vertices nearest to each point, nearest first: (distances, numbers), each (n_points, count).

    From any vertex a chain of ever nearer neighbours leads to the nearest; and the next nearest is a neighbour of one
    of those before it, because a circle through both, inside the one around the point, is empty.

    References
    ----------
    Bose and Morin 2004, doi:10.1137/S0097539700369387 (greedy routing in Delaunay triangulations).
    """
    distances, numbers = np.empty((px.size, count)), np.empty((px.size, count), np.int64)
    found, home = np.empty(count, np.int64), np.zeros(count, np.int64)  # vertices, and a triangle of each
    found[0] = triangles[0, 0]
    for i in range(px.size):
        x, y = px[i], py[i]
        while True:
            other, there = _nearest_in_fan(triangles, neighbours, xy, home[0], found[0], x, y, found, 0)
            if not _nearer(xy, other, found[0], x, y):
                break
            found[0], home[0] = other, there
        for n in range(1, count):
            best = OUTSIDE
            for k in range(n):
                other, there = _nearest_in_fan(triangles, neighbours, xy, home[k], found[k], x, y, found, n)
                if other >= 0 and (best < 0 or _nearer(xy, other, best, x, y)):
                    best, home[n] = other, there
            found[n] = best
        for n in range(count):
            distances[i, n] = np.sqrt(float(_square(xy, found[n], x, y)))
            numbers[i, n] = found[n]
    return distances, numbers


@part
def _square(xy, a, px, py):
    dx, dy = xy[a, 0] - px, xy[a, 1] - py
    return dx * dx + dy * dy


@part
def _nearer(xy, a, b, px, py):
    """Whether vertex a is nearer to the point than b, or as near and before it."""
    square_a, square_b = _square(xy, a, px, py), _square(xy, b, px, py)
    return square_a < square_b or (square_a == square_b and _before(xy, a, b))


@part
def _nearest_in_fan(triangles, neighbours, xy, start, vertex, px, py, taken, n_taken):
    """The nearest neighbour of a vertex of triangle `start` that is not taken, and a triangle of both; -1 if none."""
    best, home = OUTSIDE, OUTSIDE
    for turn in range(2):  # one way round, and back from the start where the hull is met
        t = start
        while t != OUTSIDE:
            k = 0
            while triangles[t, k] != vertex:
                k += 1
            for step in range(1, 3):
                other = triangles[t, (k + step) % 3]
                free = True
                for n in range(n_taken):
                    free = free and taken[n] != other
                if free and (best < 0 or _nearer(xy, other, best, px, py)):
                    best, home = other, t
            t = neighbours[t, (k + 1 + turn) % 3]
            if t == start:
                return best, home
    return best, home
