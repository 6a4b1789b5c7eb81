"""What was decoded is kept for the windows that were announced, within its bytes, and never changes an answer."""

from __future__ import annotations

import numpy as np
import pytest
from lidar_files import UTM, scattered, write_copc, write_tile

from catalogs.lidar import PointReader, index_tiles
from catalogs.lidar import points as reading
from catalogs.lidar.held import STEPS_PER_M, first_step, last_step

STRIPS = [(500_000.0, 5_000_000.0 + 20 * k, 500_200.0, 5_000_020.0 + 20 * k) for k in range(10)]
FAR = [(west - 30, south - 30, east + 30, north + 30) for west, south, east, north in STRIPS]


@pytest.fixture
def decodes(monkeypatch) -> list[int]:
    """The pieces that are decoded from here on."""
    seen: list[int] = []
    decoded = reading.decoded

    def counting(header, raw, pieces, number, **options):
        seen.append(number)
        return decoded(header, raw, pieces, number, **options)

    monkeypatch.setattr(reading, "decoded", counting)
    return seen


@pytest.fixture
def tile(tmp_path) -> str:
    """Six pieces, of 50,000 points and less, each 33 m from south to north; a tenth is ground, some is noise."""
    x, y = scattered(260_000)
    rng = np.random.default_rng(3)
    kind = rng.choice([2, 5, 7], 260_000, p=[0.1, 0.89, 0.01])
    return write_tile(tmp_path / "a.laz", x, y, np.round(rng.random(260_000) * 40, 2), classification=kind)


def in_turn(reader: PointReader) -> list:
    """Points of each strip and ground around it, and what was left out."""
    found = []
    for number, (strip, far) in enumerate(zip(STRIPS, FAR, strict=True)):
        reader.begin(number)
        points, ground = reader.points(strip), reader.ground(far, (2,))
        found.append([points.x, points.y, points.z, points.classification, ground.x, ground.z, np.array(points.noise)])
    return found


def assert_same(found: list, expected: list) -> None:
    for one, other in zip(found, expected, strict=True):
        for values, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, wanted)


def test_of_windows_that_were_announced_no_piece_is_decoded_twice(tile, decodes):
    expected = in_turn(PointReader(index_tiles(tile), UTM))
    assert len(decodes) > 20
    decodes.clear()
    reader = PointReader(index_tiles(tile), UTM)
    reader.hold(STRIPS, FAR, (2,))
    assert_same(in_turn(reader), expected)
    assert decodes == [0, 1, 2, 3, 4, 5]
    x, y = scattered(260_000)
    on_edge = (x == 500_200) | (y == 5_000_000)
    assert sum(len(one[0]) + one[-1] for one in expected) == 260_000 - on_edge.sum()


@pytest.mark.parametrize("held_bytes", [0, 600_000, 1_500_000])
def test_with_little_room_pieces_are_decoded_again_and_nothing_else_changes(tile, decodes, held_bytes):
    expected = in_turn(PointReader(index_tiles(tile), UTM))
    decodes.clear()
    reader = PointReader(index_tiles(tile), UTM, held_bytes=held_bytes)
    reader.hold(STRIPS, FAR, (2,))
    held = []
    put = reader._decoded.put
    reader._decoded.put = lambda *piece: (put(*piece), held.append(reader._decoded._bytes))
    assert_same(in_turn(reader), expected)
    assert len(decodes) > 6 and max(held) <= held_bytes


def test_what_is_kept_serves_an_octree_and_a_study_in_another_projection(tmp_path, decodes):
    x, y = scattered(6_000)
    tiles = index_tiles(write_copc(tmp_path / "a.copc.laz", x, y, np.zeros(6_000)))
    for crs in (UTM, "EPSG:32634"):
        far = PointReader(tiles, crs)
        west, south, east, north = far.bounds_of(tiles[0])
        boxes = [(west, south + k * (north - south) / 4, east, south + (k + 1) * (north - south) / 4) for k in range(4)]
        expected = [far.points(box) for box in boxes]
        decodes.clear()
        reader = PointReader(tiles, crs)
        reader.hold(boxes, [], ())
        for number, box in enumerate(boxes):
            reader.begin(number)
            np.testing.assert_array_equal(reader.points(box).x, expected[number].x)
        assert len(decodes) == len(set(decodes))
        assert len(decodes) == 21 and sum(map(len, expected)) == 6_000  # nodes of a flat cloud: 1 + 4 + 16


@pytest.mark.parametrize("bound", [0.0, 500_000.1, -3.30005, 1 / 3, 5_000_000.00005, 123.456])
def test_steps_are_told_inside_as_their_coordinates_are(bound):
    """Of the steps around a bound, those whose coordinates are not before it."""
    steps = np.rint(bound * STEPS_PER_M) + np.arange(-3, 4)
    np.testing.assert_array_equal(steps >= first_step(bound), steps / STEPS_PER_M >= bound)
    np.testing.assert_array_equal(steps <= last_step(bound), steps / STEPS_PER_M <= bound)
