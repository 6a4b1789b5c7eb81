"""Canopies and trees as files: planted trees are found, and neither blocks nor tiles change a byte."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from lidar_files import write_tile
from rasterio.transform import from_origin

from pipeline import store
from pipeline.bridge.canopies import Canopies
from pipeline.config import Campaign, CanopyProducts
from pipeline.grid import Grid
from pipeline.products import canopy_product
from pipeline.steps.canopy import canopy
from pipeline.steps.publish_canopy import publish_canopy
from pipeline.steps.trees import trees

WEST, SOUTH, SIDE_M = 500_000.0, 5_000_000.0, 240.0
SPACING_M = 12.0


def trees_planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and height of cones every 12 m, their tops in the middle of 1 m squares, 10 to 20.8 m high."""
    side = np.arange(6.5, SIDE_M, SPACING_M)
    x, y = (axis.ravel() for axis in np.meshgrid(side, side))
    return WEST + x, SOUTH + y, 10 + 0.9 * (np.arange(len(x)) % 13)


@pytest.fixture(scope="module")
def cloud() -> dict[str, np.ndarray]:
    """First returns every 0.5 m on cones of 4 m radius on a slope, and the ground below every 3 m."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(0.25, SIDE_M, 0.5), np.arange(0.25, SIDE_M, 0.5)))
    tops_x, tops_y, tops_z = trees_planted()
    per_side = int(SIDE_M / SPACING_M)
    nearest = (y // SPACING_M).astype(int) * per_side + (x // SPACING_M).astype(int)
    away = np.hypot(x - (tops_x[nearest] - WEST), y - (tops_y[nearest] - SOUTH))
    canopy_m = np.where(away <= 4, tops_z[nearest] - 1.5 * away, 0.0)
    gx, gy = (axis.ravel() for axis in np.meshgrid(np.arange(0.1, SIDE_M, 3.0), np.arange(0.1, SIDE_M, 3.0)))
    made = {
        "x": np.append(x, gx), "y": np.append(y, gy), "z": np.append(100 + 0.1 * x + canopy_m, 100 + 0.1 * gx),
        "classification": np.append(np.full(len(x), 1), np.full(len(gx), 2)),
        "return_number": np.append(np.full(len(x), 1), np.full(len(gx), 2)),
    }  # fmt: skip
    return made | {"number_of_returns": np.full(len(made["x"]), 2), "x": WEST + made["x"], "y": SOUTH + made["y"]}


def write_tiles(folder: Path, cloud: dict[str, np.ndarray], per_side: int) -> str:
    folder.mkdir()
    step = SIDE_M / per_side
    tile = ((cloud["x"] - WEST) // step * per_side + (cloud["y"] - SOUTH) // step).astype(int)
    for number in range(per_side**2):
        own = {name: values[tile == number] for name, values in cloud.items()}
        write_tile(folder / f"{number}.laz", own.pop("x"), own.pop("y"), own.pop("z"), offsets=(WEST, SOUTH, 0), **own)
    return str(folder)


def published(
    folder: Path, points: str, *, block_chunks: int, chunk_px: int = 4, suffix: str = ".tif", **settings
) -> Path:
    """The whole way of one campaign, called as the rules call it."""
    grid = Grid("EPSG:32633", WEST, SOUTH + SIDE_M, 20.0, 12, 12, chunk_px, block_chunks)
    rules = CanopyProducts(**settings)
    source = {"canopy_height": points} if points.endswith(".tif") else {"points": points}
    one = Campaign(date="2020-07-01", canopy_products=rules.model_dump(), **source)
    campaign, asked = one.model_dump(mode="json", exclude={"canopy_products"}), rules.model_dump(mode="json")
    plan = type("Study", (), {"lidar": {"als": one}, "resources": str(folder / "res"), "results": str(folder / "out")})
    canopies = Canopies(plan, grid)
    for block in grid.blocks():
        canopy(raster=folder / f"res/canopy/als/{block}.tif", grid=grid.settings(), block=block, campaign=campaign,
               settings=asked)  # fmt: skip
    for block in grid.blocks():
        near = [Path(path) for path in canopies.near("als", block)]
        trees(table=folder / f"res/trees/als/{block}.parquet", rasters=near, grid=grid.settings(), block=block,
              campaign=campaign, settings=asked)  # fmt: skip
    out = folder / "out"
    publish_canopy(
        raster=out / f"als_chm{suffix}", style=out / "als_chm.qml", layers=out / "als_trees.gpkg", summary=out / "als.json",
        rasters=[folder / f"res/canopy/als/{block}.tif" for block in grid.blocks()],
        tables=[folder / f"res/trees/als/{block}.parquet" for block in grid.blocks()],
        grid=grid.settings(), campaign=campaign, product=canopies.product("als"),
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def whole(cloud, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return published(folder, write_tiles(folder / "tiles", cloud, 1), block_chunks=3)


def test_every_planted_tree_is_found_at_its_place_and_height(whole):
    tops, crowns = (gpd.read_file(whole / "als_trees.gpkg", layer=layer) for layer in ("tree_tops", "crowns"))
    x, y, height = trees_planted()
    found = {(point.x, point.y): z for point, z in zip(tops.geometry, tops["height_m"], strict=True)}
    assert set(found) == set(zip(x.tolist(), y.tolist(), strict=True))
    # Returns lie every 0.5 m around the top, the nearest 0.25 m off on both axes: 1.5 x 0.35 m below it.
    expected = height - 1.5 * np.hypot(0.25, 0.25)
    assert [found[place] for place in zip(x.tolist(), y.tolist(), strict=True)] == pytest.approx(expected, abs=0.011)
    assert (tops["tree"] == crowns["tree"]).all() and crowns.contains(tops.geometry).all()
    assert crowns["area_m2"].sum() == pytest.approx(crowns.area.sum())
    # A disc of 4 m radius has 50 m2; squares on its rim count where a return of the crown fell in.
    assert crowns["area_m2"].between(45, 65).all()


def test_the_canopy_is_a_cog_with_names_units_and_statistics_and_its_numbers_are_said(whole):
    with rasterio.open(whole / "als_chm.tif") as raster:
        canopy_m = raster.read(1)
        assert raster.res == (1.0, 1.0) and raster.shape == (240, 240) and raster.crs.to_epsg() == 32633
        assert raster.descriptions == ("canopy_height_m",) and raster.units == ("m",)
        tags = raster.tags(1)
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(np.nanmean(canopy_m, dtype="float64"), rel=1e-5)
    assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(np.nanstd(canopy_m, dtype="float64"), rel=1e-5)
    said = store.read_json(whole / "als.json")
    assert said["trees"] == 400 and said["area_ha"] == 5.76
    assert said["trees_n_ha"] == pytest.approx(400 / 5.76)
    assert said["drawn_percent"] == pytest.approx(100 * np.isfinite(canopy_m).mean())
    assert said["mean_height_m"] == pytest.approx(np.nanmean(canopy_m, dtype="float64"), rel=1e-6)


@pytest.mark.parametrize(("per_side", "block_chunks"), [(1, 1), (3, 2)], ids=["blocks", "tiles_and_blocks"])
def test_neither_blocks_nor_tiles_change_a_byte(cloud, whole, tmp_path, per_side, block_chunks):
    cut = published(tmp_path, write_tiles(tmp_path / "tiles", cloud, per_side), block_chunks=block_chunks)
    for name in ("als_chm.tif", "als_chm.qml", "als_trees.gpkg", "als.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_on_a_skew_edge_of_a_campaign_neither_chunks_nor_blocks_change_a_byte(cloud, tmp_path):
    """There the hull of what a window reads has slivers that another window does not have; 0.5 points per m2, as they
    are then long."""
    rng = np.random.default_rng(4)
    x, y = cloud["x"] - WEST, cloud["y"] - SOUTH
    flown = (y > 30 + 0.35 * x) & (rng.random(len(x)) < 0.125) | (y > 60 + 0.35 * x) & (cloud["classification"] == 2)
    tiles = write_tiles(tmp_path / "tiles", {name: values[flown] for name, values in cloud.items()}, 1)
    one = published(tmp_path / "one", tiles, block_chunks=3, chunk_px=4)
    other = published(tmp_path / "other", tiles, block_chunks=1, chunk_px=5)
    with rasterio.open(one / "als_chm.tif") as ours, rasterio.open(other / "als_chm.tif") as theirs:
        np.testing.assert_array_equal(ours.read(1), theirs.read(1))
    assert (one / "als_trees.gpkg").read_bytes() == (other / "als_trees.gpkg").read_bytes()


def test_a_large_canopy_is_block_cogs_under_a_vrt_with_the_same_pixels(cloud, whole, tmp_path):
    out = published(tmp_path, write_tiles(tmp_path / "tiles", cloud, 1), block_chunks=2, suffix=".vrt")
    with rasterio.open(out / "als_chm.vrt") as many, rasterio.open(whole / "als_chm.tif") as one:
        np.testing.assert_array_equal(many.read(1), one.read(1))
        assert many.bounds == one.bounds
    assert len(list((out / "als_chm").glob("*.tif"))) == 4


def write_canopy(path: Path, size_m: float) -> str:
    cells = int(SIDE_M / size_m)
    height = np.zeros((cells, cells), "float32")
    height[cells // 2, cells // 3] = 17.0
    with rasterio.open(
        path, "w", driver="GTiff", width=cells, height=cells, count=1, dtype="float32", nodata=-1, crs="EPSG:32633",
        transform=from_origin(WEST, SOUTH + SIDE_M, size_m, size_m),
    ) as file:  # fmt: skip
        file.write(height, 1)
    return str(path)


def test_a_canopy_height_raster_gives_trees_too_and_is_not_made_finer_than_it_is(tmp_path):
    out = published(tmp_path / "one", write_canopy(tmp_path / "chm1.tif", 1.0), block_chunks=1)
    tops = gpd.read_file(out / "als_trees.gpkg", layer="tree_tops")
    assert len(tops) == 1 and tops["height_m"].iloc[0] == 17
    assert (tops.geometry.x.iloc[0], tops.geometry.y.iloc[0]) == (WEST + 80.5, SOUTH + SIDE_M - 120.5)
    with pytest.raises(ValueError, match=r"has cells of 2 m.* set chm_resolution_m of the campaign to 2 or more"):
        published(tmp_path / "two", write_canopy(tmp_path / "chm2.tif", 2.0), block_chunks=1)


def test_no_tree_is_a_layer_without_rows(cloud, tmp_path):
    out = published(tmp_path, write_tiles(tmp_path / "tiles", cloud, 1), block_chunks=3, min_height_m=30.0)
    for layer, kind in (("tree_tops", "Point"), ("crowns", "Polygon")):
        frame = gpd.read_file(out / "als_trees.gpkg", layer=layer)
        assert len(frame) == 0 and {"tree", "height_m", "area_m2"} <= set(frame.columns), kind
    assert store.read_json(out / "als.json")["mean_tree_height_m"] is None


def test_a_surface_of_single_returns_is_warned_of(cloud, tmp_path, caplog):
    thin = {name: values[::9] for name, values in cloud.items()}
    with caplog.at_level(logging.WARNING):
        published(tmp_path, write_tiles(tmp_path / "tiles", thin, 1), block_chunks=3, surface="highest")
    assert any("of the squares of 1 m hold a return; tops are those of single returns" in line for line in caplog.messages)


def test_canopy_products_are_asked_for_in_one_word_or_with_settings():
    asked = {"points": "tiles", "date": 2020}
    assert Campaign(**asked).canopy_products is None
    assert Campaign(**asked, canopy_products=False).canopy_products is None
    assert Campaign(**asked, canopy_products=True).canopy_products == CanopyProducts()
    assert Campaign(**asked, canopy_products={"surface": "highest"}).canopy_products.surface == "highest"
    assert canopy_product("als", 2020).name == "canopy_als"
