"""The search step: what it asks again and what it leaves as it was frozen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "catalogs"))
from test_search import CRS, STUDY, ids, make_catalog, make_item, stac_api

from pipeline import store
from pipeline.grid import Grid
from pipeline.steps.search import search


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def frozen_by(folder, catalog, years, **options):
    """What the step freezes for Sentinel-2."""
    grid = Grid.covering(STUDY, crs=CRS, resolution_m=1000, chunk_px=10, block_chunks=1)
    settings = {"catalog": catalog, "season": ["06-01", "09-30"], "max_cloud_percent": 80, "check_radiometry": False}
    search(
        scenes=folder / "scenes.json", settings=settings, sensor="sentinel-2-l2a", grid=grid.settings(), years=years, **options
    )
    return store.read_json(folder / "scenes.json")


def test_a_remote_catalogue_is_asked_for_the_years_that_are_new(tmp_path):
    items = [make_item("a", "2019-07-01"), make_item("b", "2020-07-01")]
    with stac_api(items) as address:
        first = frozen_by(tmp_path, address, [2019])
        items[0]["id"] = "renamed"
        items.append(make_item("late", "2019-08-01"))
        second = frozen_by(tmp_path, address, [2019, 2020])
        assert ids(first) == ["a"] and ids(second) == ["a", "b"]
        assert second["items"][0] == first["items"][0]
        assert ids(frozen_by(tmp_path, address, [2019, 2020], refresh=True)) == ["renamed", "late", "b"]


def test_a_local_catalogue_is_read_anew(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a")])
    assert ids(frozen_by(tmp_path, catalog, [2019])) == ["a"]
    make_catalog(tmp_path, [make_item("a"), make_item("b", "2019-08-01")])
    assert ids(frozen_by(tmp_path, catalog, [2019])) == ["a", "b"]


def test_frozen_local_files_are_seen_from_their_own_folder(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a")])
    (item,) = frozen_by(tmp_path, catalog, [2019])["items"]
    assert item["bands"]["red"]["href"] == "sentinel-2-l2a/a_red.tif"


def landsat(name, platform, date):
    return make_item(
        name, date, collection="landsat-c2-l2", platform=platform,
        **{"landsat:collection_number": "02", "landsat:correction": "L2SP"},
    )  # fmt: skip


@pytest.mark.parametrize(("harmonise", "told"), [("none", True), ("oli", False)])
def test_instruments_that_are_mixed_as_they_are_are_told(tmp_path, caplog, harmonise, told):
    seen = (("a", "landsat-7", "2019-07-01"), ("b", "LANDSAT_8", "2019-08-01"), ("c", "landsat-9", "2019-09-01"))
    items = [landsat(*one) for one in seen]
    grid = Grid.covering(STUDY, crs=CRS, resolution_m=1000, chunk_px=10, block_chunks=1)
    settings = {
        "catalog": make_catalog(tmp_path, items), "season": ["06-01", "09-30"], "max_cloud_percent": 80, "harmonise": harmonise,
        "check_radiometry": False,
    }  # fmt: skip
    search(scenes=tmp_path / "scenes.json", settings=settings, sensor="landsat-c2-l2", grid=grid.settings(), years=[2019])
    assert ("bands differ (1 of ETM+, 2 of OLI)" in caplog.text) == told
