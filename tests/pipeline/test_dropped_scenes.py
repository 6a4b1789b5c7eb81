"""Scenes that cannot be read: dropped chunk by chunk, counted beside its composite, and told in the report."""

import json

import numpy as np
import pytest
from affine import Affine

from pipeline import store
from pipeline.grid import Grid
from pipeline.report.look import render
from pipeline.report.page import LEFT_OUT, _scenes_left_out
from pipeline.steps.composite import composite
from pipeline.steps.report import _dropped

rasterio = pytest.importorskip("rasterio")

WEST, NORTH, SIDE = 500_000.0, 3_000_000.0, 64


def write_tif(file, values):
    place = Affine(20, 0, WEST, 0, -20, NORTH)
    options = {"dtype": values.dtype, "crs": "EPSG:32650", "transform": place, "nodata": 0, "tiled": True}
    size = {"width": values.shape[1], "height": values.shape[0], "blockxsize": 16, "blockysize": 16}
    with rasterio.open(file, "w", driver="GTiff", count=1, **size, **options) as raster:
        raster.write(values, 1)


def make_scenes(folder, *, broken=()):
    """Four frozen scenes over the whole grid of 64 x 64 px, in tiles of 16; a broken one ends after three quarters."""
    rng = np.random.default_rng(7)
    items = []
    for number in range(4):
        name = f"s{number}"
        write_tif(folder / f"{name}.tif", rng.integers(300, 600, (SIDE, SIDE)).astype("uint16"))
        write_tif(folder / f"{name}_scl.tif", np.full((SIDE, SIDE), 4, "uint8"))
        if name in broken:
            content = (folder / f"{name}.tif").read_bytes()
            (folder / f"{name}.tif").write_bytes(content[: 3 * len(content) // 4])
        items.append(
            {
                "id": name,
                "datetime": f"2019-06-1{number}T00:00:00Z",
                "year": 2019,
                "platform": "sentinel-2a",
                "cloud_percent": 5.0,
                "bounds": [WEST, NORTH - 20 * SIDE, WEST + 20 * SIDE, NORTH],
                "bands": {"nir08": {"href": f"{name}.tif", "scale": 1e-4, "offset": 0.0, "nodata": 0}},
                "quality": {"href": f"{name}_scl.tif"},
            }
        )
    return items


def make_composite(folder, items, name, *, on_scene_error="drop"):
    query = {"years": [2019], "season": ["01-01", "12-31"]}
    frozen = {"sensor": "sentinel-2-l2a", "query": query, "items": items, "left_out": []}
    store.write_json(folder / f"{name}.frozen.json", frozen)
    grid = Grid("EPSG:32650", WEST, NORTH, 20.0, SIDE, SIDE, 16, 4)
    settings = {"reducer": "median", "min_clear_count": 1, "on_scene_error": on_scene_error}
    composite(
        scenes=folder / f"{name}.frozen.json", raster=folder / f"{name}.tiff", dropped=folder / f"{name}.dropped.json",
        sensor="sentinel-2-l2a", year=2019, block="r000c000", grid=grid.settings(), settings=settings, roles=["nir08"],
    )  # fmt: skip
    return store.read_raster(folder / f"{name}.tiff"), json.loads((folder / f"{name}.dropped.json").read_text())


def test_a_scene_that_breaks_in_the_last_chunks_is_dropped_from_those(tmp_path):
    items = make_scenes(tmp_path, broken=["s1"])
    image, told = make_composite(tmp_path, items, "with")
    without, nothing = make_composite(tmp_path, [item for item in items if item["id"] != "s1"], "without")
    gone = image["clear_count"] == 3
    assert (image["clear_count"][~gone] == 4).all() and gone[-16:].all() and not gone[:32].any()
    np.testing.assert_array_equal(image["nir08"][gone], without["nir08"][gone])
    assert told["used"] == 4 and [entry["id"] for entry in told["dropped"]] == ["s1"]
    assert "damaged or cut short" in told["dropped"][0]["reason"]
    assert nothing == {"used": 3, "dropped": []}


def test_two_broken_scenes_are_both_dropped_and_fail_the_run_where_asked(tmp_path):
    items = make_scenes(tmp_path, broken=["s0", "s3"])
    image, told = make_composite(tmp_path, items, "with")
    assert set(np.unique(image["clear_count"])) == {2, 4}
    assert [entry["id"] for entry in told["dropped"]] == ["s0", "s3"]
    with pytest.raises(ValueError, match=r"scene s0: .*damaged or cut short.*; set on_scene_error: drop"):
        make_composite(tmp_path, items, "strict", on_scene_error="fail")
    assert not (tmp_path / "strict.tiff").exists()


def test_where_every_scene_is_broken_there_is_no_composite(tmp_path):
    items = make_scenes(tmp_path)
    for item in items:
        (tmp_path / item["bands"]["nir08"]["href"]).write_bytes(b"not a raster")
    with pytest.raises(ValueError, match="none of the 4 scenes of sentinel-2-l2a in 2019 can be read in block r000c000"):
        make_composite(tmp_path, items, "empty")
    assert not (tmp_path / "empty.tiff").exists() and not (tmp_path / "empty.dropped.json").exists()


def test_the_report_gathers_dropped_scenes_over_blocks_and_years(tmp_path):
    entry = {"id": "s1", "reason": "it is not there (404)"}
    for number, dropped in enumerate(([], [entry], [entry, {"id": "s0", "reason": "the server answers 503"}])):
        store.write_json(tmp_path / f"{number}.json", {"used": 3, "dropped": dropped})
    assert _dropped([tmp_path / f"{number}.json" for number in range(3)]) == [
        {"id": "s0", "reason": "the server answers 503", "composites": 1},
        {"id": "s1", "reason": "it is not there (404)", "composites": 2},
    ]


def test_the_page_names_dropped_scenes_and_how_often_they_are_missing():
    dropped = [{"id": "s<1>", "reason": "it is not there (404)", "composites": 2}]
    about = _scenes_left_out("sentinel-2-l2a", {"items": [{}] * 4, "left_out": [], "dropped": dropped})
    page = render(LEFT_OUT, notes=[], said=[], scenes=[about], plots=[], warnings=[], stands=[], least=80)
    text = " ".join(page.split())
    assert "1 of those used could not be read in part of the area" in text
    assert "<li>s&lt;1&gt;, missing from 2 composites: it is not there (404)</li>" in text
