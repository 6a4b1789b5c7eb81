"""Cells of ragged stands and how far they are from each other, against shapely and the double sum over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon, box

from models.inference.kernels import lattice_inside
from models.inference.regions import distances_within


def ragged(seed: int) -> Polygon:
    rng = np.random.default_rng(seed)
    turn, radius = np.linspace(0, 2 * np.pi, 40, endpoint=False), rng.uniform(60, 300, 40)
    return Polygon(np.column_stack([5e5 + radius * np.cos(turn), 3e6 + radius * np.sin(turn)]))


SHAPES = {
    "ragged": ragged(1),
    "another": ragged(2),
    "ring": Point(5e5, 3e6).buffer(200).difference(Point(5e5, 3e6).buffer(120)),
    "two_parts": MultiPolygon([box(0, 0, 100, 40), box(300, 200, 340, 320)]),
    "hole_cut_off_a_corner": Polygon([(0, 0), (90, 10), (120, 130), (-20, 80)], [[(10, 20), (60, 30), (40, 70)]]),
    "horseshoe": box(0, 0, 160, 160).difference(box(40, 40, 120, 160)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_points_of_a_lattice_lie_inside_where_shapely_says_so(shape):
    west, south, east, north = shape.bounds
    x, y = np.linspace(west - 7, east + 7, 83), np.linspace(south - 7, north + 7, 79)
    corners, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(shape)), return_index=True)
    assert np.array_equal(lattice_inside(corners, ring, x, y), shapely.contains_xy(shape, x, y[:, None]))


def test_points_on_the_outline_are_outside_as_shapely_has_it():
    """A horseshoe of whole tens on a lattice of tens: every border lies on lattice points."""
    shape, steps = SHAPES["horseshoe"], np.arange(-10, 180, 10.0)
    corners, ring = shapely.get_coordinates(shapely.get_rings([shape]), return_index=True)
    found = lattice_inside(corners, ring, steps, steps)
    assert np.array_equal(found, shapely.contains_xy(shape, steps, steps[:, None]))
    assert found.sum() == 3 * 15 * 2 + 9 * 3  # both arms, and the bottom between them


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_distances_are_those_of_all_pairs_of_cells(shape):
    found = distances_within(shape)
    west, south, east, north = shape.bounds
    side = found.side_m
    x, y = np.arange(west + side / 2, east, side), np.arange(south + side / 2, north, side)
    row, col = np.nonzero(shapely.contains_xy(shape, x, y[:, None]))
    away = np.hypot(row[:, None] - row, col[:, None] - col)
    bins = np.rint(2 * away).astype(int).ravel()
    number = np.bincount(bins)
    expected = side * np.bincount(bins, weights=away.ravel())[number > 0] / number[number > 0]
    assert found.share == pytest.approx(number[number > 0] / len(row) ** 2, rel=1e-12)
    assert found.distance_m == pytest.approx(expected, rel=1e-12)
