"""Ground triangulated near a window alone is that of all ground, for whatever lies in a circle that matters is added."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.lidar.heights import FAR_GROUND_M, STEPS_PER_M, GroundPoints, NoGroundError, ground_around
from pipeline.lidar.triangulation import Mesh

CORE = (1000.0, 2000.0, 1050.0, 2050.0)


def ground_of(x, y, *, seed: int = 1) -> GroundPoints:
    x, y = (np.round(np.asarray(values, float), 2) for values in (x, y))
    return GroundPoints(x, y, np.round(100 + 0.1 * x + 5 * np.sin(y / 7) + np.random.default_rng(seed).random(len(x)), 2))


def scattered(n: int, reach_m: float, *, seed: int = 3) -> GroundPoints:
    """Ground at random places up to so far around the core."""
    rng = np.random.default_rng(seed)
    side = 50 + 2 * reach_m
    return ground_of(1000 - reach_m + rng.random(n) * side, 2000 - reach_m + rng.random(n) * side)


def in_holes(reach_m: float = 200) -> GroundPoints:
    """Ground was hit in holes 8 m wide and 45 m apart only."""
    every = scattered(40_000, reach_m, seed=4)
    hole = (every.x % 45 < 8) & (every.y % 45 < 8)
    return GroundPoints(every.x[hole], every.y[hole], every.z[hole])


def half_plane() -> GroundPoints:
    """The survey ends within the core; ground is sparse."""
    every = scattered(800, 200, seed=5)
    inside = every.x + 0.3 * (every.y - 2000) < 1030
    return GroundPoints(every.x[inside], every.y[inside], every.z[inside])


def near_of(ground: GroundPoints, buffer_m: float) -> GroundPoints:
    west, south, east, north = CORE
    own = (ground.x >= west - buffer_m) & (ground.x < east + buffer_m)
    own &= (ground.y > south - buffer_m) & (ground.y <= north + buffer_m)
    return GroundPoints(ground.x[own], ground.y[own], ground.z[own])


def places_in_core(n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.round(np.random.default_rng(7).random((2, n)) * 50, 2)
    return 1000 + x, 2000 + y


@pytest.mark.parametrize("kind", ["dense", "sparse", "holes", "ends"])
@pytest.mark.parametrize("buffer_m", [0.0, 5.0, 30.0])
def test_the_ground_of_a_window_is_that_of_all_ground(kind, buffer_m):
    """Beside scipy's interpolation on the triangulation of all points, none of which lies beyond the reach."""
    from scipy.interpolate import LinearNDInterpolator

    make = {"dense": lambda: scattered(30_000, 150), "sparse": lambda: scattered(300, 230), "holes": in_holes, "ends": half_plane}
    ground = make[kind]()
    x, y = places_in_core()
    expected = LinearNDInterpolator(np.column_stack([ground.x, ground.y]), ground.z)(x, y)
    found = ground_around(CORE, buffer_m, near_of(ground, buffer_m), lambda: ground)
    z, outside, _ = found.at(x, y)
    np.testing.assert_array_equal(outside, np.isnan(expected))
    assert outside.any() == (kind == "ends")
    np.testing.assert_allclose(z[~outside], expected[~outside], atol=1e-8)
    if kind == "dense":
        assert len(found.places) < len(ground) / 3  # and most of what lies farther off stayed out


def test_ground_farther_off_is_not_asked_for_where_it_cannot_matter():
    ground = scattered(30_000, 60)

    def nobody():
        raise AssertionError("asked for ground farther off")

    assert not ground_around(CORE, 30.0, near_of(ground, 30.0), nobody).grown
    assert ground_around(CORE, 30.0, near_of(in_holes(), 30.0), in_holes).grown


@pytest.mark.parametrize("kind", ["holes", "ends", "lattice"])
def test_neither_the_buffer_nor_what_was_read_beyond_the_reach_nor_its_order_changes_a_byte(kind):
    """A lattice has four points on each circle; ground 240 m off and more is told apart by no height."""
    lattice = [axis.ravel() for axis in np.meshgrid(np.arange(800.0, 1251, 10), np.arange(1800.0, 2251, 10))]
    ground = {"holes": in_holes, "ends": half_plane, "lattice": lambda: ground_of(*lattice)}[kind]()
    x, y = places_in_core()
    expected = ground_around(CORE, FAR_GROUND_M, near_of(ground, FAR_GROUND_M), lambda: ground).at(x, y)
    order = np.random.default_rng(8).permutation(len(ground))
    beyond = np.random.default_rng(9).random(50)
    more = GroundPoints(
        np.r_[ground.x[order], 1300 + 100 * beyond], np.r_[ground.y[order], 1700 - 100 * beyond], np.r_[ground.z[order], beyond]
    )
    inside = ~expected[1]
    for buffer_m in (3.0, 20.0):
        found = ground_around(CORE, buffer_m, near_of(more, buffer_m), lambda: more).at(x, y)
        assert found[0][inside].tobytes() == expected[0][inside].tobytes()
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2][inside], expected[2][inside])


def test_what_a_window_adds_depends_on_its_own_surroundings_alone():
    """So heights beyond the hull, from the nearest ground, are the same whatever was read together."""
    ground = half_plane()
    x, y = places_in_core()
    expected = ground_around(CORE, 10.0, near_of(ground, 10.0), lambda: ground).at(x, y)
    west = scattered(500, 900, seed=11)
    far = west.x < 1000 - FAR_GROUND_M - 1
    more = GroundPoints(*(np.r_[getattr(west, axis)[far], getattr(ground, axis)] for axis in "xyz"))
    found = ground_around(CORE, 10.0, near_of(more, 10.0), lambda: more).at(x, y)
    assert expected[1].any() and found[0].tobytes() == expected[0].tobytes()


def test_of_ground_at_one_place_far_off_the_lowest_holds():
    """Three corners of a triangle around the window, one of them hit twice: at the centroid (0 + 30 + 60) / 3 = 30."""
    x, y = np.array([930.0, 1140.0, 990.0, 990.0]), np.array([1950.0, 1950.0, 2190.0, 2190.0])
    ground = GroundPoints(x, y, np.array([0.0, 30.0, 99.0, 60.0]))
    for buffer_m in (5.0, FAR_GROUND_M):
        z, _, _ = ground_around(CORE, buffer_m, near_of(ground, buffer_m), lambda: ground).at(*np.array([[1020.0], [2030.0]]))
        assert z[0] == pytest.approx(30.0)


def test_a_window_without_ground_far_and_wide_has_none():
    one = ground_of([1010.0, 1020.0], [2010.0, 2020.0])
    with pytest.raises(NoGroundError):
        ground_around(CORE, 30.0, one, lambda: one)
    with pytest.raises(NoGroundError):
        ground_around(CORE, 30.0, near_of(one, -30.0), lambda: near_of(one, -30.0))


def test_vertices_added_later_make_scipys_triangles():
    from scipy.spatial import Delaunay

    places = np.unique(np.random.default_rng(12).integers(0, 1000 * STEPS_PER_M, (3000, 2)), axis=0)
    places = np.random.default_rng(13).permutation(places)
    mesh = Mesh(places[:1000])
    mesh.add(places[1000:1900])
    mesh.add(places[1900:])
    triangles, _ = mesh.finite()
    found = {tuple(sorted(map(tuple, triangle))) for triangle in mesh.xy[triangles].tolist()}
    assert found == {tuple(sorted(map(tuple, triangle))) for triangle in places[Delaunay(places).simplices].tolist()}
