"""The sample of cells that a set of predictors learns from: where lidar was flown, in the forest, each cell once."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_grid

from pipeline import store
from pipeline.steps import cells as step
from pipeline.steps.cells import cells

SETS = {"lidar": ["zmean", "cover_2m"], "satellite": ["e_red"]}
NO_STANDS: dict = {}


def make_land(grid, seed=1, *, flown=slice(0, 24)):
    """Two years of one sensor, lidar in the western columns at the first of them, a forest with a hole."""
    rng = np.random.default_rng(seed)
    shape = (grid.rows, grid.cols)
    images = {year: rng.uniform(0.01, 0.6, shape).astype("float32") for year in (2019, 2024)}
    metrics = {name: np.full(shape, np.nan, "float32") for name in ("zmean", "cover_2m")}
    for array in metrics.values():
        array[:, flown] = rng.uniform(1, 30, array[:, flown].shape)
    metrics["cover_2m"][5:9, 5:9] = np.nan
    return images, metrics


def sampled(folder, grid, *, flown=slice(0, 24), forest=None, years=(2019, 2024)):
    images, metrics = make_land(grid, flown=flown)
    for block in grid.blocks():
        place = grid.block_window(block)
        for year, image in images.items():
            file = folder / f"composite/eye_{year}/{block}.tif"
            store.write_raster(file, {"red": image[place.slices]}, geobox=grid.geobox_of(place))
        part = {name: array[place.slices] for name, array in metrics.items()}
        store.write_raster(folder / f"lidar/als2019/{block}.tif", part, geobox=grid.geobox_of(place))
    sources = {
        "sensors": {"eye": {"folder": str(folder / "composite"), "prefix": "e", "roles": ["red"]}},
        "lidar_folder": str(folder / "lidar"), "campaign_of_year": {"2019": "als2019", "2024": None},
        "metrics": ["zmean", "cover_2m"], "halo_px": 0,
    }  # fmt: skip
    cells(
        table=folder / "cells.parquet", grid=grid.settings(), years=list(years), sources=sources, predictor_sets=SETS,
        forest=forest or {"source": "everywhere", "min_area_ha": 0}, settings=NO_STANDS,
    )  # fmt: skip
    return store.read_table(folder / "cells.parquet"), images, metrics


def test_a_cell_carries_the_predictors_and_the_centre_of_its_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "SITES", 40)
    grid = make_grid()
    table, images, metrics = sampled(tmp_path, grid)
    assert list(table.columns) == ["cell", "site", "year", "x", "y", "cell_ha", "zmean", "cover_2m", "e_red"]
    row, col = ((grid.north_m - table["y"]) / 10 - 0.5).astype(int), ((table["x"] - grid.west_m) / 10 - 0.5).astype(int)
    assert table["e_red"].to_numpy() == pytest.approx(images[2019][row, col])
    assert table["zmean"].to_numpy() == pytest.approx(metrics["zmean"][row, col])
    assert set(table["year"]) == {2019} and (col < 24).all() and not table["cell"].duplicated().any()
    assert (table["cell_ha"] == 0.01).all() and np.isfinite(table["cover_2m"]).all()
    # 960 cells seen by one metric on 40 sites: every fifth row and column, with a neighbour and one 60 m away along each axis
    first = table.drop_duplicates("site").set_index("site")
    assert 35 <= len(first) <= 40 and 70 <= len(table) <= 120
    assert {int(name[1:7]) % 5 for name in first.index} == {0}


@pytest.mark.parametrize("block_chunks", [1, 2, 8])
def test_blocks_change_no_cell(tmp_path, block_chunks):
    table, _, _ = sampled(tmp_path / "a", make_grid(block_chunks=block_chunks))
    other, _, _ = sampled(tmp_path / "b", make_grid(block_chunks=3))
    assert (tmp_path / "a/cells.parquet").read_bytes() == (tmp_path / "b/cells.parquet").read_bytes()
    assert table.equals(other)


def test_only_forest_is_sampled(tmp_path):
    grid = make_grid()
    wood = np.zeros((40, 56), "float32")
    wood[:20] = 10
    store.write_raster(tmp_path / "wood.tif", {"class": wood}, geobox=grid.geobox)
    forest = {"source": "raster", "files": {"2019": str(tmp_path / "wood.tif"), "2024": str(tmp_path / "wood.tif")},
              "values": [10], "min_area_ha": 0}  # fmt: skip
    table, _, _ = sampled(tmp_path, grid, forest=forest)
    assert len(table) and (grid.north_m - table["y"] < 200).all()


@pytest.mark.parametrize(
    ("flown", "years", "any_cells"),
    [(slice(0, 0), (2019, 2024), False), (slice(0, 56), (2019,), False), (slice(0, 56), (2019, 2024), True)],
    ids=["flown_nowhere", "flown_everywhere", "flown_everywhere_at_one_of_two_years"],
)
def test_there_is_nothing_to_learn_where_lidar_is_nowhere_or_always_there(tmp_path, monkeypatch, flown, years, any_cells):
    monkeypatch.setattr(step, "EVERYWHERE", 0.98)  # but for a hole of 16 of 2240 cells
    table, _, _ = sampled(tmp_path, make_grid(), flown=flown, years=years)
    assert bool(len(table)) == any_cells and "e_red" in table


def test_of_many_chunks_some_are_taken_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "MOST_CHUNKS", 3)
    table, _, _ = sampled(tmp_path, make_grid())
    chunks = {(int(cell[1:7]) // 16, int(cell[8:14]) // 16) for cell in table["cell"]}
    assert chunks == {(0, 0), (1, 0), (2, 1)}
