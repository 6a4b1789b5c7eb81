"""The triangulation of the ground is Delaunay's, exactly, the same for the same places, and fast for any."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.lidar import triangulation
from pipeline.lidar.triangulation import OUTSIDE, SPAN, OnOneLineError, delaunay, nearest_vertices

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

KM = 20_000_000  # lattice steps
MANY = 100_000


def make_places(x, y) -> np.ndarray:
    return np.column_stack([np.rint(x), np.rint(y)]).astype(np.int64)


def random_places(n: int, *, seed: int = 2, span: int = KM) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, span, (n, 2))


def make_grid(n: int, *, step: int = 1) -> np.ndarray:
    return np.indices((n, n)).reshape(2, -1).T.astype(np.int64) * step


def make_shape(name: str) -> np.ndarray:
    """About `MANY` places in an arrangement that is hard on one or another way of triangulating."""
    rng = np.random.default_rng(4)
    turn, share, half = rng.random(MANY) * 2 * np.pi, np.linspace(0, 1, MANY), MANY // 2
    column = np.arange(half) * 300
    if name == "grid":
        return make_grid(316, step=20_000)
    if name == "turned grid":
        x, y = make_grid(316, step=20_000).T
        return make_places(x * 0.8 - y * 0.6, x * 0.6 + y * 0.8)
    if name == "circle":
        return make_places(KM * np.cos(turn), KM * np.sin(turn))
    if name == "spiral":
        return make_places(KM * share * np.cos(2 * np.pi * share), KM * share * np.sin(2 * np.pi * share))
    if name == "parabola":
        return make_places(KM * share, KM * share**2)
    if name == "two lines":
        return make_places(np.repeat([0, 100_000], half), np.r_[column, column + 150])
    if name == "far clusters":
        return np.concatenate([random_places(half, span=30_000), random_places(half, seed=3, span=30_000) + 20 * KM])
    if name == "centre and ring":
        ring = make_places(KM * np.cos(turn[:half]), KM * np.sin(turn[:half]))
        return np.concatenate([ring, random_places(half, span=1000)])
    raise ValueError(name)


SHAPES = ["grid", "turned grid", "circle", "spiral", "parabola", "two lines", "far clusters", "centre and ring"]


def as_set(triangles: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, np.sort(triangles, axis=1).tolist()))


def corners(triangles: np.ndarray, places: np.ndarray) -> set[tuple]:
    """Triangles by the places of their vertices, whatever the vertices' numbers."""
    return {tuple(sorted(map(tuple, triangle))) for triangle in places[triangles].tolist()}


def double_areas(triangles: np.ndarray, places: np.ndarray) -> np.ndarray:
    (ax, ay), (bx, by), (cx, cy) = (places[triangles[:, k]].T for k in range(3))
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def in_circle(triangle, d, places: list[tuple[int, int]]) -> int:
    """Positive where vertex d lies inside the circle of a triangle, 0 on it: Python's whole numbers, of any size."""
    rows = [(places[v][0] - places[d][0], places[v][1] - places[d][1]) for v in triangle]
    (ax, ay, a2), (bx, by, b2), (cx, cy, c2) = ((x, y, x * x + y * y) for x, y in rows)
    return a2 * (bx * cy - by * cx) + b2 * (cx * ay - cy * ax) + c2 * (ax * by - ay * bx)


def assert_triangulates(triangles: np.ndarray, neighbours: np.ndarray, places: np.ndarray) -> None:
    """All distinct places are vertices, triangles turn left, fill the hull once, and their neighbours agree."""
    from scipy.spatial import ConvexHull

    n = len(np.unique(places, axis=0))
    assert len(np.unique(triangles)) == n
    areas = double_areas(triangles, places)
    assert areas.min() > 0
    hull = places[ConvexHull(places).vertices].tolist()
    ring = zip(hull, hull[1:] + hull[:1], strict=True)
    assert areas.sum(dtype=object) == pytest.approx(sum(ax * by - ay * bx for (ax, ay), (bx, by) in ring), rel=1e-9)
    on_hull = int((neighbours == OUTSIDE).sum())
    assert len(triangles) == 2 * n - 2 - on_hull  # Euler: n vertices, of which as many on the hull as it has edges
    t, k = np.nonzero(neighbours != OUTSIDE)
    there = neighbours[t, k]
    back = np.argmax(neighbours[there] == t[:, None], axis=1)
    assert (neighbours[there, back] == t).all()
    assert (triangles[t, (k + 1) % 3] == triangles[there, (back + 2) % 3]).all()
    assert (triangles[t, (k + 2) % 3] == triangles[there, (back + 1) % 3]).all()


def assert_locally_empty(triangles: np.ndarray, neighbours: np.ndarray, places: np.ndarray) -> int:
    """No circle holds the neighbour's vertex, which makes all of them empty; the number of edges with a tie.

    A tie is an edge inside four vertices on one circle; the first of the four is on the edge.
    """
    points, ties = [tuple(place) for place in places.tolist()], 0
    corner = triangles.tolist()
    for t, k in np.argwhere(neighbours != OUTSIDE).tolist():
        edge = {corner[t][(k + 1) % 3], corner[t][(k + 2) % 3]}
        (d,) = set(corner[neighbours[t, k]]) - edge
        inside = in_circle(corner[t], d, points)
        assert inside <= 0
        if inside == 0:
            ties += 1
            assert min(points[v] for v in {*corner[t], d}) in [points[v] for v in edge]
    return ties


@pytest.mark.parametrize(("n", "seed"), [(3, 0), (4, 1), (10, 2), (200, 3), (20_000, 4)])
def test_random_places_have_scipys_triangles(n, seed):
    from scipy.spatial import Delaunay

    places = random_places(n, seed=seed)
    triangles, neighbours = delaunay(places)
    assert as_set(triangles) == as_set(Delaunay(places).simplices)
    assert_triangulates(triangles, neighbours, places)


def test_the_ground_of_a_real_tile_has_scipys_triangles():
    """bcts_1: without four ground points on one empty circle, there is one Delaunay triangulation only."""
    if not (DATA / "bcts-als-tiles").is_dir():
        pytest.skip("data set bcts-als-tiles is absent")
    from scipy.spatial import Delaunay

    from catalogs.lidar import index_tiles, read_points

    (tile,) = index_tiles(str(DATA / "bcts-als-tiles" / "bcts_1.laz"))
    points = read_points([tile], (-1e9, -1e9, 1e9, 1e9), crs=tile.crs)
    x, y = points.x[points.classification == 2], points.y[points.classification == 2]
    places = np.unique(make_places((x - x.min()) * 20_000, (y - y.min()) * 20_000), axis=0)
    assert len(places) > 20_000
    triangles, neighbours = delaunay(places)
    ties = assert_locally_empty(triangles, neighbours, places)
    different = as_set(triangles) ^ as_set(Delaunay(places).simplices)
    assert len(different) <= 2 * ties
    assert_triangulates(triangles, neighbours, places)


def test_a_square_is_cut_through_its_first_corner():
    triangles, _ = delaunay(np.array([[1, 1], [0, 1], [1, 0], [0, 0]]))
    assert as_set(triangles) == {(0, 1, 3), (0, 2, 3)}


@pytest.mark.parametrize("scale", [1, 4_000_037], ids=["small", "beyond_floating_point"])
def test_vertices_on_one_circle_are_all_joined_to_the_first(scale):
    """65 squared is 16 + 63, 25 + 60, 33 + 56 and 39 + 52, each squared: 32 places and 4 more on one circle."""
    pairs = [(16, 63), (25, 60), (33, 56), (39, 52)]
    ring = {(sx * x, sy * y) for a, b in pairs for x, y in ((a, b), (b, a)) for sx in (1, -1) for sy in (1, -1)}
    places = np.array([*ring, (65, 0), (-65, 0), (0, 65), (0, -65)]) * scale
    triangles, _ = delaunay(places)
    assert len(triangles) == 34
    assert (places[triangles] == [-65 * scale, 0]).all(axis=2).any(axis=1).all()


@pytest.mark.parametrize("shape", ["grid", "turned", "long", "quincunx"])
def test_every_circle_of_a_lattice_is_empty(shape):
    """Tested against all places, not the neighbours alone."""
    x, y = make_grid(9).T
    places = {
        "grid": make_places(x, y),
        "turned": make_places(3 * x - 4 * y, 4 * x + 3 * y),
        "long": make_places(x * 1000, y),
        "quincunx": make_places(2 * x + y % 2, y),
    }[shape]
    triangles, neighbours = delaunay(places)
    assert_triangulates(triangles, neighbours, places)
    assert assert_locally_empty(triangles, neighbours, places) > 0
    points = [tuple(place) for place in places.tolist()]
    for triangle in triangles.tolist():
        assert all(in_circle(triangle, d, points) <= 0 for d in range(len(points)))


def test_places_nearly_on_circles_and_lines_are_told_apart_exactly():
    """Coordinates rounded by half a step, at the largest span: far below what floating point can resolve."""
    turn = np.random.default_rng(8).random(400) * 2 * np.pi
    reach = SPAN // 2 - 1
    ring = make_places(reach * np.cos(turn), reach * np.sin(turn))
    slope = make_places(np.arange(-200, 200) * 997.0, np.arange(-200, 200) * 997.0 * 0.61803)
    places = np.unique(np.concatenate([ring, slope]), axis=0)
    triangles, neighbours = delaunay(places)
    assert_locally_empty(triangles, neighbours, places)
    assert (double_areas(triangles, places) > 0).all()
    assert len(triangles) == 2 * len(places) - 2 - (neighbours == OUTSIDE).sum()


def test_the_exact_sum_of_three_products_has_the_right_sign():
    """Of numbers as large as they come, no intermediate result leaves 64 bits, and a remainder of 1 is seen."""
    exact = triangulation._exact_in_circle.py_func
    rng = np.random.default_rng(9)
    top = 2**59
    for _ in range(300):
        p, q, a, b, c, d = rng.integers(-top, top, 6).tolist()
        for numbers in [(p, q, a, b, c, d), (p, q, p, -q, 1, 1), (p, q, p, -q, 1, -1), (p, q, p, -q, 0, 0)]:
            total = numbers[0] * numbers[1] + numbers[2] * numbers[3] + numbers[4] * numbers[5]
            with np.errstate(over="raise"):
                assert np.sign(exact(*map(np.int64, numbers))) == np.sign(total)
    with np.errstate(over="raise"):
        assert exact(*[np.int64(top)] * 6) > 0 > exact(*[np.int64(top), np.int64(-top)] * 3)


def test_order_and_place_of_the_cloud_change_no_triangle():
    rng = np.random.default_rng(6)
    places = np.concatenate([make_grid(25, step=40), rng.integers(0, 1000, (300, 2))])
    expected, shift = corners(delaunay(places)[0], places), np.array([7_000_000, -3_000_000])
    for _ in range(3):
        moved = rng.permutation(places) + shift
        assert corners(delaunay(moved)[0], moved - shift) == expected


def test_far_places_change_no_triangle_on_a_regular_ground():
    """A grid's circles reach one step: cut from a larger cloud it keeps the triangles inside."""
    places = make_grid(30)
    inner = places[(places > 5).all(axis=1) & (places < 24).all(axis=1)]
    whole, part = corners(delaunay(places)[0], places), corners(delaunay(inner)[0], inner)
    assert part < whole


@pytest.mark.parametrize("step", [(1, 0), (0, 1), (3, 7), (-5, 2)])
def test_places_on_one_line_are_refused(step):
    places = np.arange(50)[:, None] * np.array(step)
    with pytest.raises(OnOneLineError, match="50 points lie on one line"):
        delaunay(places)
    with pytest.raises(OnOneLineError, match="2 points make no triangle"):
        delaunay(places[:2])
    with pytest.raises(OnOneLineError, match="9 points lie on one line"):
        delaunay(np.repeat(places[:1], 9, axis=0))


@pytest.mark.parametrize("step", [(1, 0), (0, 1), (3, 7), (-5, 2)])
def test_a_line_and_one_place_beside_it_make_a_fan(step):
    line = np.arange(500)[:, None] * np.array(step)
    places = np.concatenate([line, line[200:201] + np.array([[step[1], -step[0]]])])
    triangles, neighbours = delaunay(places)
    assert as_set(triangles) == {(i, i + 1, 500) for i in range(499)}
    assert Counter((neighbours == OUTSIDE).sum(axis=1).tolist()) == {1: 497, 2: 2}


def test_of_several_vertices_at_one_place_the_first_number_serves():
    places = random_places(500)
    triangles, neighbours = delaunay(places)
    twice, between = delaunay(np.concatenate([places, places, places[::-1]]))
    assert as_set(twice) == as_set(triangles) and twice.max() < 500
    assert (between == OUTSIDE).sum() == (neighbours == OUTSIDE).sum()


def test_places_too_far_apart_are_refused():
    with pytest.raises(ValueError, match=f"less than {SPAN} apart"):
        delaunay(np.array([[0, 0], [SPAN, 0], [0, 1]]))


def cpu_s(places: np.ndarray) -> float:
    """The least of three runs."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        delaunay(places)
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_arrangement_of_places_is_slow(shape):
    """Each takes about as long as random places; ways that sweep across take a hundred times as long on some."""
    places = make_shape(shape)
    triangles, neighbours = delaunay(places)
    n = len(np.unique(places, axis=0))
    assert n > 0.5 * MANY and len(triangles) == 2 * n - 2 - (neighbours == OUTSIDE).sum()
    assert cpu_s(places) < 5 * cpu_s(random_places(MANY))


def test_it_takes_a_fraction_of_qhulls_time():
    """Measured: a fifteenth to a thirtieth; the test fails at a quarter."""
    from scipy.spatial import Delaunay

    places = random_places(30_000)
    start = time.process_time()
    Delaunay(places)
    assert cpu_s(places) < (time.process_time() - start) / 4


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_the_nearest_vertices_are_those_of_all(kind):
    places = random_places(400, span=1000) if kind == "random" else make_grid(20, step=50)
    triangles, neighbours = delaunay(places)
    x, y = np.random.default_rng(12).integers(-1500, 2500, (2, 300))
    distance, number = nearest_vertices(triangles, neighbours, places, x, y, 3)
    every = np.hypot(places[:, 0] - x[:, None], places[:, 1] - y[:, None])
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :3], rtol=1e-14)
    np.testing.assert_allclose(np.take_along_axis(every, number, axis=1), distance, rtol=1e-14)
    assert all(len(set(row)) == 3 for row in number.tolist())


def test_the_nearest_vertices_of_a_lone_triangle_are_its_corners():
    places = np.array([[0, 0], [10, 0], [0, 20]])
    distance, number = nearest_vertices(*delaunay(places), places, np.array([10]), np.array([0]), 3)
    assert number.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(distance, [[0, 10, np.sqrt(500)]])
