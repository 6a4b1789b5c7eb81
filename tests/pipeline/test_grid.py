"""The grid and its cutting: every pixel is in one block and one chunk, whatever the block size."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_grid

from pipeline.grid import Grid, Window


@pytest.mark.parametrize("resolution_m", [0.1, 0.3, 1 / 3, 1.0, 10.0, 27.8, 30.922])
def test_a_grid_covers_its_own_bounds_and_no_pixel_more(resolution_m):
    rng = np.random.default_rng(1)
    for _ in range(50):
        west, north = (resolution_m * int(rng.integers(1, end / resolution_m)) for end in (8e5, 9e6))
        grid = Grid("EPSG:32650", west, north, resolution_m, 100, 120)
        found = Grid.covering(grid.bounds, crs=grid.crs, resolution_m=resolution_m)
        assert (found.rows, found.cols) == (100, 120)
        assert (found.west_m, found.north_m) == pytest.approx((west, north), abs=1e-4)


def test_a_grid_begins_on_a_multiple_of_its_resolution_and_reaches_around_the_area():
    grid = Grid.covering((500_003, 2_999_991, 500_041, 3_000_029), crs="EPSG:32650", resolution_m=20)
    assert grid.bounds == (500_000, 2_999_980, 500_060, 3_000_040)
    assert (grid.rows, grid.cols, grid.pixel_ha) == (3, 3, 0.04)


def test_a_grid_south_of_the_equator_covers_its_area_too():
    grid = Grid.covering((100, -95, 200, -35), crs="EPSG:32722", resolution_m=30)
    assert grid.bounds == (90, -120, 210, -30)


@pytest.mark.parametrize("block_chunks", [1, 2, 3, 8])
def test_blocks_and_their_chunks_hold_every_pixel_once(block_chunks):
    grid = make_grid(rows=70, cols=53, block_chunks=block_chunks)
    in_blocks, in_chunks, names = np.zeros((70, 53)), np.zeros((70, 53)), []
    for block in grid.blocks():
        place = grid.block_window(block)
        in_blocks[place.slices] += 1
        for name, chunk in grid.chunks(place):
            assert chunk == chunk.clip(place)
            in_chunks[chunk.slices] += 1
            names.append(name)
    assert (in_blocks == 1).all() and (in_chunks == 1).all()
    assert len(names) == len(set(names)) == 20


def test_a_chunk_is_the_same_pixels_whatever_the_block_size():
    chunks = [dict(make_grid(block_chunks=size).chunks()) for size in (1, 2, 5)]
    by_block = {
        name: window
        for block in make_grid(block_chunks=2).blocks()
        for name, window in make_grid(block_chunks=2).chunks(make_grid(block_chunks=2).block_window(block))
    }
    assert chunks[0] == chunks[1] == chunks[2] == by_block


def test_bounds_and_windows_are_each_other_s_inverse():
    grid = make_grid(rows=70, cols=53)
    window = Window(7, 33, 12, 50)
    assert grid.bounds_of(window) == (500_120, 2_999_670, 500_500, 2_999_930)
    assert grid.window_of(grid.bounds_of(window)) == window
    assert grid.window_of(grid.bounds_of(window), halo_px=3) == Window(4, 36, 9, 53)


def test_a_footprint_touches_every_pixel_it_reaches_into():
    grid = make_grid()
    assert grid.window_of((500_009.9, 2_999_979.9, 500_020.1, 2_999_990.1)) == Window(0, 3, 0, 3)
    assert grid.window_of((500_010, 2_999_980, 500_020, 2_999_990)) == Window(1, 2, 1, 2)


def test_blocks_that_a_window_touches_are_those_that_share_pixels_with_it():
    grid = make_grid(rows=70, cols=53, block_chunks=1)
    assert grid.blocks_touching(Window(15, 17, 0, 16)) == ["r000c000", "r001c000"]
    assert grid.blocks_touching(Window(-5, 1, 47, 60)) == ["r000c002", "r000c003"]
    for window in (grid.window, Window(3, 40, 17, 33)):
        shared = [
            block for block in grid.blocks() if 0 not in window.clip(grid.block_window(block)).shape
        ]
        assert grid.blocks_touching(window) == shared


@pytest.mark.parametrize(
    "window",
    [Window(200, 210, 0, 9), Window(-9, -4, 0, 9), Window(5, 5, 0, 9), Window(0, 9, 500, 510)],
    ids=["below", "above", "empty", "right"],
)
def test_a_window_off_the_grid_touches_no_block(window):
    grid = make_grid(rows=70, cols=53, block_chunks=1)
    assert grid.blocks_touching(window) == []
    assert 0 in window.clip(grid.window).shape


def test_a_window_inside_another_counts_from_its_corner():
    inner, outer = Window(10, 20, 30, 45), Window(5, 50, 28, 60)
    assert inner.within(outer) == Window(5, 15, 2, 17)
    whole = np.arange(60 * 80).reshape(60, 80)
    assert (whole[outer.slices][inner.within(outer).slices] == whole[inner.slices]).all()


def test_the_geobox_of_a_window_has_its_corner_and_size():
    geobox = make_grid().geobox_of(Window(2, 10, 4, 9))
    assert geobox.shape == (8, 5)
    assert (geobox.transform.c, geobox.transform.f, geobox.transform.a) == (500_040, 2_999_980, 10)
    assert make_grid().geobox.shape == (40, 56)


def test_settings_of_a_grid_make_it_again():
    grid = make_grid()
    assert Grid(**grid.settings()) == grid
    assert all(isinstance(value, str | int | float) for value in grid.settings().values())


def test_what_is_no_block_name_is_said_so():
    with pytest.raises(ValueError, match="'block7' is not a block name such as r000c001"):
        make_grid().block_window("block7")
