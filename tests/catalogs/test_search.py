"""Searching static catalogues and STAC APIs: what is kept, what is left out and why, and what a user is told."""

import datetime as dt
import json
import os
import re
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest

from catalogs.footprints import Area, bbox_of, bounds_in, footprint_of
from catalogs.radiometry import Missing, Sample, Unread
from catalogs.search import (
    address_of,
    endpoints,
    find_scenes,
    items_touching,
    season_year,
    sun_position,
    with_local_paths,
)
from catalogs.sensors import COPERNICUS_DEM, LANDSAT, SENSORS, SENTINEL1, SENTINEL2

DATA = Path(os.environ.get("FORESTSINK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
ITEMS = DATA / "stac-items"

CRS = "EPSG:32650"  # UTM 50 north: easting 500 000 m is 117 degrees east
STUDY = (500_000.0, 3_000_000.0, 510_000.0, 3_010_000.0)  # about 117.0 to 117.1 E, 27.12 to 27.21 N
HERE = (116.9, 27.0, 117.2, 27.3)
ELSEWHERE = (100.0, 10.0, 101.0, 11.0)


def make_item(name="scene_a", date="2019-07-01", cloud_percent=10.0, box=HERE, collection="sentinel-2-l2a", **changes):
    west, south, east, north = box
    keys = ["red", "nir08", "scl"] if collection.startswith("sentinel") else ["red", "nir08", "qa_pixel"]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "bbox": list(box),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        "properties": {
            "datetime": f"{date}T03:00:00Z" if date else None,
            "platform": "SENTINEL-2A",
            "eo:cloud_cover": cloud_percent,
            "s2:processing_baseline": "05.10",
        },
        "links": [],
        "assets": {key: {"href": f"./{name}_{key}.tif"} for key in keys},
    }
    item["properties"] |= changes
    return item


def make_catalog(folder, items):
    """A static catalogue: catalog.json, one folder per collection, one file per item."""
    names = sorted({item["collection"] for item in items})
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "made", "description": "made for a test", "links": []}
    for name in names:
        mine = [item for item in items if item["collection"] == name]
        collection = make_collection(name)
        for item in mine:
            file = folder / name / f"{item['id']}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            links = [{"rel": "root", "href": "../catalog.json"}, {"rel": "collection", "href": "./collection.json"}]
            file.write_text(json.dumps(item | {"links": links}))
            collection["links"].append({"rel": "item", "href": f"./{item['id']}.json"})
        (folder / name / "collection.json").write_text(json.dumps(collection))
        root["links"].append({"rel": "child", "href": f"./{name}/collection.json"})
    (folder / "catalog.json").write_text(json.dumps(root))
    return str(folder / "catalog.json")


def make_collection(name):
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "made for a test",
        "license": "other",
        "extent": {"spatial": {"bbox": [[90, 0, 120, 30]]}, "temporal": {"interval": [["2019-01-01T00:00:00Z", None]]}},
        "links": [],
    }


def find(catalog, sensor=SENTINEL2, *, years=(2019,), season=("06-01", "09-30"), max_cloud_percent=80, **options):
    options = {"collection": None, "bounds": STUDY, "crs": CRS} | options
    return find_scenes(
        sensor, catalog=catalog, years=years, season=season, max_cloud_percent=max_cloud_percent, **options
    )


def ids(frozen):
    return [item["id"] for item in frozen["items"]]


def test_scenes_are_frozen_in_order_of_time_and_id(tmp_path):
    dates = {"d": "2019-07-11", "b": "2019-06-01", "a": "2019-07-11", "c": "2019-09-30"}
    catalog = make_catalog(tmp_path, [make_item(name, date) for name, date in dates.items()])
    assert ids(find(catalog)) == ["b", "a", "d", "c"]


def test_a_frozen_scene_holds_all_that_reading_it_needs(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a", "2019-07-11", 12.5)])
    (item,) = find(catalog, relative_to=tmp_path)["items"]
    assert item["datetime"] == "2019-07-11T03:00:00Z"
    assert (item["year"], item["platform"], item["cloud_percent"]) == (2019, "sentinel-2a", 12.5)
    assert item["bands"]["red"] == {"href": "sentinel-2-l2a/a_red.tif", "scale": 1e-4, "offset": -0.1, "nodata": 0}
    assert item["quality"] == {"href": "sentinel-2-l2a/a_scl.tif"}
    assert "baseline 05.10" in item["evidence"]
    west, south, east, north = item["bounds"]  # 0.1 degree of longitude is 9.9 km at 27 N, 0.1 of latitude 11.1 km
    assert west == pytest.approx(490_080, abs=300) and east == pytest.approx(519_840, abs=300)
    assert south == pytest.approx(2_986_450, abs=300) and north == pytest.approx(3_019_850, abs=300)


def test_a_results_folder_can_be_moved_with_its_scenes(tmp_path):
    catalog = make_catalog(tmp_path / "old" / "planted", [make_item("a")])
    frozen = find(catalog, relative_to=tmp_path / "old" / "scenes")
    assert frozen["items"][0]["bands"]["red"]["href"] == "../planted/sentinel-2-l2a/a_red.tif"
    assert str(tmp_path) not in json.dumps(frozen)
    moved = with_local_paths(frozen, tmp_path / "new" / "scenes")
    assert moved["items"][0]["bands"]["red"]["href"] == str(tmp_path / "new/planted/sentinel-2-l2a/a_red.tif")


def test_the_same_catalogue_gives_the_same_frozen_scenes(tmp_path):
    items = [make_item(name, f"2019-07-{day}") for name, day in (("a", 11), ("b", 21))]
    first = find(make_catalog(tmp_path / "one", items), relative_to=tmp_path / "one")
    second = find(make_catalog(tmp_path / "two", items[::-1]), relative_to=tmp_path / "two")
    assert json.dumps(first) == json.dumps(second)


def test_each_sensor_finds_its_own_collection(tmp_path):
    landsat = make_item("LC08_L2SP_121041_20190701_02_T1", collection="landsat-c2-l2")
    catalog = make_catalog(tmp_path, [make_item("a"), landsat])
    assert ids(find(catalog)) == ["a"]
    (item,) = find(catalog, LANDSAT)["items"]
    assert (item["bands"]["red"]["scale"], item["bands"]["red"]["offset"]) == (2.75e-05, -0.2)


def test_what_is_left_out_says_why(tmp_path):
    bare = make_item("no_mask", "2019-07-03")
    del bare["assets"]["scl"]
    silent = make_item("silent", "2019-07-04", **{"s2:processing_baseline": None})
    cloudy = make_item("cloudy", "2019-07-02", 95)
    catalog = make_catalog(tmp_path, [make_item("a"), cloudy, bare, silent])
    frozen = find(catalog)
    reasons = {entry["id"]: entry["reason"] for entry in frozen["left_out"]}
    assert ids(frozen) == ["a"]
    assert "cloud cover 95 % is above max_cloud_percent 80" in reasons["cloudy"]
    assert "no quality layer" in reasons["no_mask"]
    assert "no processing baseline" in reasons["silent"]


def test_a_scene_of_a_period_is_dated_by_its_start(tmp_path):
    period = {"start_datetime": "2019-07-05T00:00:00Z", "end_datetime": "2019-07-06T00:00:00Z"}
    catalog = make_catalog(tmp_path, [make_item("a"), make_item("period", date=None, **period)])
    assert ids(find(catalog)) == ["a", "period"]


def test_a_scene_without_cloud_cover_is_kept_and_said(tmp_path, caplog):
    catalog = make_catalog(tmp_path, [make_item("a", cloud_percent=None)])
    assert find(catalog)["items"][0]["cloud_percent"] is None
    assert "1 scenes state no cloud cover" in caplog.text


@pytest.mark.parametrize(
    ("date", "year"),
    [("2019-11-01", 2019), ("2020-03-31", 2019), ("2020-04-01", None), ("2019-10-31", None), ("2020-12-24", 2020)],
)
def test_a_season_over_new_year_belongs_to_the_year_it_begins_in(tmp_path, date, year):
    always = [make_item("a", "2019-12-01"), make_item("b", "2020-12-01")]
    catalog = make_catalog(tmp_path, [*always, make_item("probe", date)])
    frozen = find(catalog, years=(2019, 2020), season=("11-01", "03-31"))
    assert [item["year"] for item in frozen["items"] if item["id"] == "probe"] == ([year] if year else [])


def test_the_last_day_of_february_counts_in_every_year():
    import datetime as dt

    moment = dt.datetime(2019, 2, 28, 12, tzinfo=dt.UTC)
    assert season_year(moment, [2019], ("01-01", "02-29")) == 2019


def test_items_touching_a_place_are_those_whose_footprint_overlaps_it(tmp_path):
    west_half = make_item("west", box=(116.9, 27.0, 117.05, 27.3))  # its east edge is near easting 504 950
    frozen = find(make_catalog(tmp_path, [make_item("all", "2019-06-15"), west_half]))

    def names(bounds, year=2019):
        return [item["id"] for item in items_touching(frozen, year, bounds)]

    assert names((500_000, 3_000_000, 501_000, 3_001_000)) == ["all", "west"]
    assert names((507_000, 3_000_000, 508_000, 3_001_000)) == ["all"]
    assert names((507_000, 3_000_000, 508_000, 3_001_000), year=2020) == []


# ---------------------------------------------------------------- radar and elevation


def make_rtc(name, start, state="descending", orbit=51, **options):
    stop = f"{start[:-2]}{int(start[-2:]) + 25:02d}"
    name = f"{name}_IW_GRDH_1SDV_{start}_{stop}_053498_067DF2_rtc"
    date = f"{start[:4]}-{start[4:6]}-{start[6:8]}"
    item = make_item(name, date, None, collection="sentinel-1-rtc", **options)
    item["properties"] |= {"platform": "SENTINEL-1A", "sat:orbit_state": state, "sat:relative_orbit": orbit}
    bands = [{"nodata": -32768, "data_type": "float32"}]
    item["assets"] = {key: {"href": f"./{name}_{key}.tif", "raster:bands": bands} for key in ("vv", "vh")}
    return item


def make_dem(name="Copernicus_DSM_COG_10_N27_00_E117_00_DEM", date="2021-04-22", **options):
    item = make_item(name, date, None, collection="cop-dem-glo-30", **options)
    item["assets"] = {"data": {"href": f"./{name}.tif"}}
    return item


def test_radar_scenes_are_frozen_with_their_orbit_and_without_a_quality_layer(tmp_path):
    items = [make_rtc("S1A", "20190701T045800"), make_rtc("S1A", "20190703T165800", "ascending", 73)]
    frozen = find(make_catalog(tmp_path, items), SENTINEL1, relative_to=tmp_path)
    assert [(item["orbit_state"], item["relative_orbit"]) for item in frozen["items"]] == [
        ("descending", 51),
        ("ascending", 73),
    ]
    first = frozen["items"][0]
    assert first["quality"] is None and first["overpass"] == "sentinel-1a 2019-07-01 R051"
    assert first["bands"]["vh"]["scale"] == 1 and first["bands"]["vh"]["nodata"] == -32768
    assert "gamma0 as linear power" in first["evidence"]
    moved = with_local_paths(frozen, tmp_path / "new")
    assert moved["items"][0]["quality"] is None and moved["items"][0]["bands"]["vv"]["href"].startswith(str(tmp_path))


def test_elevation_is_the_same_in_every_year_and_needs_no_date(tmp_path):
    catalog = make_catalog(tmp_path, [make_dem(), make_dem("Copernicus_DSM_COG_10_N26_00_E117_00_DEM", date=None)])
    frozen = find(catalog, COPERNICUS_DEM, years=(2019, 2024))
    assert frozen["query"]["static"] and frozen["query"]["years"] == [2019, 2024]
    assert [(item["year"], item["datetime"]) for item in frozen["items"]] == [(None, None), (None, "2021-04-22T03:00:00Z")]
    for year in (2019, 2024):
        assert len(items_touching(frozen, year, STUDY)) == 2
    assert frozen["items"][1]["bands"]["elevation"]["nodata"] is None


def test_elevation_of_an_api_is_asked_for_without_a_date():
    with stac_api([make_dem(), make_dem("Copernicus_DSM_COG_10_N28_00_E117_00_DEM", box=ELSEWHERE)]) as address:
        assert ids(find(address, COPERNICUS_DEM)) == ["Copernicus_DSM_COG_10_N27_00_E117_00_DEM"]


def test_no_elevation_in_the_area_is_told(tmp_path):
    with pytest.raises(ValueError, match="no scene touches the study area"):
        find(make_catalog(tmp_path, [make_dem(box=ELSEWHERE)]), COPERNICUS_DEM)


# ---------------------------------------------------------------- one acquisition counts once


def processed(baseline, made, sensed="20190701T024549", tile="T50RKQ", **options):
    name = f"S2B_MSIL2A_{sensed}_N{baseline.replace('.', '')}_R132_{tile}_{made}"
    return make_item(name, f"{sensed[:4]}-{sensed[4:6]}-{sensed[6:8]}", **{"s2:processing_baseline": baseline}, **options)


def test_of_two_processings_of_one_acquisition_the_newest_baseline_is_used(tmp_path):
    old, new = processed("02.12", "20201007T214652"), processed("05.00", "20230612T214223")
    frozen = find(make_catalog(tmp_path, [new, old]))
    assert ids(frozen) == [new["id"]]
    (left,) = frozen["left_out"]
    assert left["id"] == old["id"] and left["year"] == 2019
    assert left["reason"] == (
        f"another processing (baseline 02.12, processed 20201007) of what {new['id']} (baseline 05.00, processed 20230612) "
        "shows: the newer one is used"
    )


def test_of_two_processings_with_one_baseline_the_later_is_used(tmp_path):
    first, second = processed("02.12", "20200826T094900"), processed("02.12", "20201027T073925")
    assert ids(find(make_catalog(tmp_path, [first, second]))) == [second["id"]]


def test_an_older_processing_is_used_where_the_newer_cannot_be(tmp_path):
    old, new = processed("02.12", "20201007T214652"), processed("05.00", "20230612T214223")
    del new["assets"]["scl"]
    assert ids(find(make_catalog(tmp_path, [old, new]))) == [old["id"]]


def test_the_two_halves_of_a_granule_are_both_used(tmp_path):
    west = processed("05.10", "20230612T214223", box=(116.9, 27.0, 117.06, 27.3))
    east = processed("05.10", "20230612T220001", box=(117.04, 27.0, 117.2, 27.3))
    assert len(ids(find(make_catalog(tmp_path, [west, east])))) == 2


def test_neighbouring_tiles_of_one_pass_are_both_kept_and_share_their_overpass(tmp_path):
    items = [processed("05.10", "20230612T214223", tile=tile) for tile in ("T50RKQ", "T51RTK")]
    frozen = find(make_catalog(tmp_path, items))
    assert [item["tile"] for item in frozen["items"]] == ["MGRS-50RKQ", "MGRS-51RTK"]
    assert {item["overpass"] for item in frozen["items"]} == {"sentinel-2a 2019-07-01 R132"}


def test_another_orbit_of_the_same_day_is_another_acquisition(tmp_path):
    first, later = processed("05.10", "20230612T214223"), processed("05.10", "20230612T220000", "20190701T042549")
    later["properties"]["datetime"] = "2019-07-01T04:40:00Z"  # an orbit later
    assert len(ids(find(make_catalog(tmp_path, [first, later])))) == 2


def test_real_time_landsat_gives_way_to_its_final_processing(tmp_path):
    names = ["LC08_L2SP_121041_20190701_20190702_02_RT", "LC08_L2SP_121041_20190701_20200827_02_T1"]
    items = [make_item(name, collection="landsat-c2-l2") for name in names]
    assert ids(find(make_catalog(tmp_path, items), LANDSAT)) == [names[1]]


@pytest.mark.skipif(not ITEMS.is_dir(), reason="data set stac-items is absent")
def test_thirteen_dates_of_one_real_tile_are_thirteen_acquisitions(tmp_path):
    files = sorted((ITEMS / "planetary-computer/sentinel-2-l2a").glob("*_T35MNM_*.json"))
    items = [json.loads(file.read_text()) | {"links": []} for file in files]
    frozen = find(
        make_catalog(tmp_path, items), years=(2020,), bounds=(540_000, 9_130_000, 560_000, 9_150_000), crs="EPSG:32735"
    )
    assert len(files) == 13 and len(frozen["items"]) == 13 and not frozen["left_out"]
    assert {item["crs"] for item in frozen["items"]} == {"EPSG:32735"}


# ---------------------------------------------------------------- radiometry settled by pixels


def make_doubtful(name="S2A_50RKQ_20190701_0_L2A", **changes):
    """An item of Earth Search's sentinel-2-l2a whose metadata say an offset that its files may not have."""
    item = make_item(name, **{"earthsearch:boa_offset_applied": False} | changes)
    for key in ("red", "nir08", "scl"):
        item["assets"][key]["href"] = f"https://sentinel-cogs.s3.example/{name}/{key}.tif"
    return item


def sample(red, nir, n=500):
    return lambda scene, sensor: Sample({"red": np.full(n, red), "nir": np.full(n, nir)}, "the study area")


@pytest.mark.parametrize(("red", "nir", "offset"), [(350, 3200, 0.0), (1350, 4200, -0.1)])
def test_doubtful_metadata_are_settled_by_pixels_once_and_for_all_bands(tmp_path, red, nir, offset):
    catalog = make_catalog(tmp_path, [make_doubtful()])
    (item,) = find(catalog, look=sample(red, nir))["items"]
    assert {band["offset"] for band in item["bands"].values()} == {offset}
    assert "500 pixels of clear vegetation" in item["evidence"] and "without boa_offset_applied" in item["evidence"]


def test_doubtful_metadata_without_pixels_to_settle_them_are_left_out(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a"), make_doubtful()])
    assert "the offset is uncertain" in find(catalog)["left_out"][0]["reason"]
    reason = find(catalog, look=sample(350, 3200, n=12))["left_out"][0]["reason"]
    assert "the offset is uncertain" in reason and "12 pixels of clear vegetation" in reason


def test_scenes_whose_metadata_agree_are_not_looked_at_unless_asked(tmp_path):
    def never(scene, sensor):
        raise AssertionError("looked at pixels")

    catalog = make_catalog(tmp_path, [make_item("a")])
    assert ids(find(catalog, look=never)) == ["a"]
    with pytest.raises(AssertionError, match="looked at pixels"):
        find(catalog, look=never, check_radiometry=True)


def test_a_check_of_every_scene_leaves_out_what_contradicts_its_metadata(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a"), make_item("b", "2019-07-11")])

    def look(scene, sensor):
        if scene["id"] == "b":  # shifted already, though its baseline says otherwise
            return sample(350, 3200)(scene, sensor)
        return sample(1350, 4200)(scene, sensor)

    frozen = find(catalog, look=look, check_radiometry=True)
    assert ids(frozen) == ["a"] and "checked on 500 pixels" in frozen["items"][0]["evidence"]
    assert "pixels contradict its metadata" in frozen["left_out"][0]["reason"]


def test_a_check_that_cannot_read_the_pixels_keeps_the_scene_and_says_so(tmp_path, caplog):
    def look(scene, sensor):
        raise ValueError("its pixels cannot be looked at: 403")

    (item,) = find(make_catalog(tmp_path, [make_item("a")]), look=look, check_radiometry=True)["items"]
    assert item["evidence"].endswith("its pixels cannot be looked at: 403") and "403" in caplog.text


@pytest.mark.parametrize("check", [True, False], ids=["checked", "doubtful"])
def test_pixels_that_cannot_be_read_this_time_stop_the_search_unless_scenes_may_be_dropped(tmp_path, caplog, check):
    def look(scene, sensor):
        if scene["id"] != "a":
            raise Unread("its pixels cannot be looked at: the server answers 503")
        return sample(1350, 4200)(scene, sensor)

    catalog = make_catalog(tmp_path, [make_item("a"), make_item("b", "2019-07-11") if check else make_doubtful("b")])
    with pytest.raises(ValueError, match=r"^b: its pixels .* 503; nothing is written: run again, or set on_scene_error: drop"):
        find(catalog, look=look, check_radiometry=check)
    frozen = find(catalog, look=look, check_radiometry=check, on_scene_error="drop")
    assert ids(frozen) == ["a"] and "503" in frozen["left_out"][0]["reason"] and "b is left out" in caplog.text


def test_a_platform_that_nothing_is_known_of_is_left_out_when_reflectance_is_harmonised(tmp_path):
    known, new = make_item("a"), make_item("b", "2019-07-11", platform="sentinel-2d")
    catalog = make_catalog(tmp_path, [known, new])
    assert ids(find(catalog)) == ["a", "b"]
    frozen = find(catalog, harmonise="oli")
    assert ids(frozen) == ["a"] and frozen["query"]["harmonise"] == "oli"
    (left_out,) = frozen["left_out"]
    assert left_out["id"] == "b" and "it is of sentinel-2d, for which there are no published lines to oli" in left_out["reason"]


def test_an_id_that_two_collections_share_counts_once(tmp_path):
    """Later steps know a scene by its id; these two are no processings of one acquisition, their tiles being unknown."""
    both = [make_item("a"), make_item("a", "2019-07-11", collection="sentinel-2-c1-l2a"), make_item("b", "2019-07-21")]
    frozen = find(make_catalog(tmp_path, both))
    assert ids(frozen) == ["a", "b"] and frozen["items"][0]["datetime"].startswith("2019-07-01")
    assert frozen["left_out"][0]["reason"] == "another collection lists the same id: the first is used"


def test_a_year_of_such_platforms_alone_ends_the_search_with_the_reason(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("b", platform="sentinel-2d")])
    with pytest.raises(ValueError, match=r"2019 has 1 scenes .* none usable; b: it is of sentinel-2d"):
        find(catalog, harmonise="oli")


@pytest.mark.parametrize("check", [True, False], ids=["checked", "doubtful"])
def test_a_scene_whose_file_is_gone_is_left_out_and_does_not_stop_the_search(tmp_path, caplog, check):
    def look(scene, sensor):
        if scene["id"] != "a":
            raise Missing("its pixels cannot be looked at: red.tif cannot be read: it is not there (404)")
        return sample(1350, 4200)(scene, sensor)

    catalog = make_catalog(tmp_path, [make_item("a"), make_item("b", "2019-07-11") if check else make_doubtful("b")])
    frozen = find(catalog, look=look, check_radiometry=check, on_scene_error="fail")
    assert ids(frozen) == ["a"] and "b is left out" in caplog.text
    (entry,) = frozen["left_out"]
    assert entry["id"] == "b" and "it is not there (404)" in entry["reason"]


# ---------------------------------------------------------------- around the globe


def across(name, west, east, south, north, *, split):
    """An item over the antimeridian, drawn in two parts as GeoJSON asks, or in one ring that jumps from 179 to -179."""
    item = make_item(name, box=(west, south, 180, north))
    if split:
        rings = [[(west, south), (180, south), (180, north), (west, north), (west, south)]]
        rings += [[(-180, south), (east, south), (east, north), (-180, north), (-180, south)]]
        item["geometry"] = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    else:
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    item["bbox"] = [west, south, east, north]
    return item


@pytest.mark.parametrize("split", [True, False], ids=["two_parts", "one_ring"])
def test_a_study_across_the_antimeridian_finds_scenes_on_both_sides_and_over_it(tmp_path, split):
    # UTM 1 north: 180 degrees is at easting 364 600 at 66 N; the study reaches 40 km to either side
    study = {"bounds": (325_000, 7_320_000, 405_000, 7_340_000), "crs": "EPSG:32601"}
    items = [
        across("over", 179.2, -179.4, 65.5, 66.5, split=split),
        make_item("west", box=(178.0, 65.5, 179.5, 66.5)),
        make_item("east", box=(-179.5, 65.5, -178.0, 66.5)),
        make_item("greenwich", box=(-1.0, 65.5, 1.0, 66.5)),
        make_item("short", box=(176.0, 65.5, 178.5, 66.5)),
    ]
    static = find(make_catalog(tmp_path, items), **study)
    assert ids(static) == ["east", "over", "west"] and static["left_out"] == []
    over = static["items"][1]
    assert over["bbox"] == [179.2, 65.5, -179.4, 66.5]
    assert over["bounds"][0] < 364_600 < over["bounds"][2] and over["bounds"][2] - over["bounds"][0] < 80_000
    with stac_api(items) as address:
        assert ids(find(address, **study)) == ["east", "over", "west"]


def test_a_polar_study_finds_the_scenes_around_the_pole(tmp_path):
    study = {"bounds": (-200_000, -200_000, 200_000, 200_000), "crs": "EPSG:3031"}
    items = [make_item(f"lon{lon}", box=(lon, -90.0, lon + 30, -88.9)) for lon in range(-180, 180, 60)]
    items.append(make_item("north", box=(0.0, -80.0, 10.0, -75.0)))
    frozen = find(make_catalog(tmp_path, items), **study)
    assert len(ids(frozen)) == 6 and "north" not in ids(frozen)
    for item in frozen["items"]:  # 1.1 degrees from the pole is 118 to 124 km in this projection
        assert max(map(abs, item["bounds"])) < 130_000


@pytest.mark.skipif(not ITEMS.is_dir(), reason="data set stac-items is absent")
@pytest.mark.parametrize(
    ("file", "centre", "crs"),
    [
        ("stactools-generated/no-collection/S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825", (150, 8150), 32701),
        ("stactools-generated/no-collection/S2A_T60CWS_20240109T203651_L2A", (550, 1150), 32760),
        ("usgs-landsatlook/landsat-c2l2-sr/LT05_L2SR_087017_20090621_20200827_02_T2_SR", (480, 6820), 32601),
    ],
    ids=["T01KAB", "T60CWS", "landsat_087017"],
)
def test_real_scenes_over_the_antimeridian_lie_where_their_zone_puts_them(file, centre, crs):
    item = json.loads((ITEMS / f"{file}.json").read_text())
    x, y = (1000.0 * value for value in centre)
    area = Area((x - 1000, y - 1000, x + 1000, y + 1000), f"EPSG:{crs}")
    footprint = footprint_of(item)
    assert footprint.intersects(area.lonlat)
    west, south, east, north = bounds_in(footprint, f"EPSG:{crs}")
    assert west < x < east and south < y < north
    assert max(east - west, north - south) < 260_000  # a Landsat scene is 185 km across, turned by its orbit


def test_a_footprint_of_the_whole_world_is_the_whole_world():
    world = make_item(box=(-180.0, -60.0, 180.0, 80.0))
    assert footprint_of(world).bounds == (-180, -60, 180, 80)
    assert footprint_of(world | {"geometry": None}).area == pytest.approx(360 * 140)


def test_a_bbox_across_the_antimeridian_stands_in_for_a_missing_geometry():
    item = make_item() | {"geometry": None, "bbox": [178.0, -17.0, -179.0, -16.0]}
    assert footprint_of(item).area == pytest.approx(3.0)
    assert bbox_of(footprint_of(item)) == (178.0, -17.0, -179.0, -16.0)


# ---------------------------------------------------------------- frozen once


def test_the_query_says_whom_it_asked_what_and_when(tmp_path):
    query = find(make_catalog(tmp_path, [make_item("a")]), today=dt.date(2025, 3, 4))["query"]
    assert query["searched"] == {"2019": "2025-03-04"} and query["provider"] is None
    assert query["season"] == ["06-01", "09-30"] and query["years"] == [2019] and query["static"] is False


def test_a_year_that_a_study_adds_leaves_the_others_as_they_were(tmp_path):
    before = [make_item("a", "2019-07-01"), make_item("cloudy", "2019-07-02", 95)]
    with stac_api(before) as address:
        first = find(address, today=dt.date(2025, 1, 1))
    after = [make_item("a2", "2019-07-01"), make_item("b", "2020-07-01")]
    with stac_api(after) as other:
        first["query"]["catalog"] = other  # the same catalogue, which answers differently by now
        second = find(other, years=(2019, 2020), earlier=first, today=dt.date(2026, 1, 1))
    assert ids(second) == ["a", "b"]
    assert second["query"]["searched"] == {"2019": "2025-01-01", "2020": "2026-01-01"}
    assert [entry["id"] for entry in second["left_out"]] == ["cloudy"]
    assert items_touching(second, 2019, STUDY) == items_touching(first, 2019, STUDY)


@pytest.mark.parametrize("change", [{"max_cloud_percent": 50}, {"season": ("05-01", "09-30")}, {"check_radiometry": True}])
def test_another_question_is_asked_anew_for_every_year(tmp_path, change):
    catalog = make_catalog(tmp_path, [make_item("a")])
    first = find(catalog)
    first["items"][0]["id"] = "kept"
    assert ids(find(catalog, earlier=first)) == ["kept"]
    assert ids(find(catalog, earlier=first, **change)) == ["a"]


def test_a_year_that_a_study_drops_is_dropped(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a"), make_item("b", "2020-07-01")])
    both = find(catalog, years=(2019, 2020))
    assert ids(find(catalog, years=(2020,), earlier=both)) == ["b"]


def test_a_run_from_frozen_scenes_asks_nobody(tmp_path, monkeypatch):
    """A composite of frozen local scenes, with every socket forbidden and the catalogue gone."""
    from test_radiometry import make_cogs

    from pipeline import store
    from pipeline.grid import Grid
    from pipeline.steps.composite import composite

    make_cogs(tmp_path / "cogs")
    item = make_item("a", **{"s2:processing_baseline": "02.12"})
    for key, name in {"red": "red", "nir08": "nir", "scl": "scl"}.items():
        item["assets"][key]["href"] = f"../cogs/{name}.tif"
    catalog = make_catalog(tmp_path, [item])
    grid = Grid.covering(STUDY, crs=CRS, resolution_m=1000, chunk_px=10, block_chunks=1)
    scenes = tmp_path / "scenes.json"
    store.write_json(scenes, find(catalog, relative_to=tmp_path))
    (tmp_path / "catalog.json").unlink()

    def forbidden(*_, **__):
        raise AssertionError("a run from frozen scenes opened a socket")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    composite(
        scenes=scenes, raster=tmp_path / "out.tif", sensor="sentinel-2-l2a", year=2019, block=grid.blocks()[0],
        grid=grid.settings(), settings={"reducer": "median", "min_clear_count": 1, "on_scene_error": "fail"}, roles=["red"],
    )  # fmt: skip
    assert (tmp_path / "out.tif").exists()


# ---------------------------------------------------------------- links that are followed


@contextmanager
def served(folder, answer=lambda handler, number: False):
    """A folder over HTTP on loopback; `answer` may take a request, by its number, for itself. Yields address and requests."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self)
            if answer(self, len(asked)):
                return
            file = folder / urlparse(self.path).path.lstrip("/")
            if not file.is_file():
                return self.send_error(404)
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def link_to(folder, href):
    """A catalogue whose only item is elsewhere."""
    file = Path(make_catalog(folder, [make_item("a")]))
    collection = file.parent / "sentinel-2-l2a" / "collection.json"
    content = json.loads(collection.read_text())
    collection.write_text(json.dumps(content | {"links": [{"rel": "item", "href": href}]}))
    return str(file)


@pytest.mark.parametrize(
    ("href", "words"),
    [("file:///etc/passwd", "is a file of this machine"), ("http://127.0.0.2:9/a.json", "is in a private network")],
)
def test_a_remote_catalogue_leads_neither_to_this_machine_nor_to_its_network(tmp_path, href, words):
    link_to(tmp_path, href)
    with served(tmp_path) as (address, _), pytest.raises(ValueError, match=words):
        find(f"{address}/catalog.json")


def test_a_redirect_leads_no_further_than_a_link(tmp_path):
    def elsewhere(handler, number):
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.2:9/catalog.json")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with served(tmp_path, elsewhere) as (address, _), pytest.raises(ValueError, match=r"127\.0\.0\.2 is in a private network"):
        find(f"{address}/catalog.json")


def test_a_local_catalogue_keeps_to_its_folder_and_those_that_are_named(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.json").write_text(json.dumps(make_item("a")))
    catalog = link_to(tmp_path / "own", "../../other/a.json")
    with pytest.raises(ValueError, match="lies outside the catalogue's folder"):
        find(catalog)
    assert ids(find(catalog, data_folders=[str(tmp_path / "other")])) == ["a"]


def test_a_catalogue_that_is_busy_for_once_is_asked_again(tmp_path):
    def busy(handler, number):
        if number != 2:
            return False
        handler.send_response(503)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    make_catalog(tmp_path, [make_item("a")])
    with served(tmp_path, busy) as (address, asked):
        assert ids(find(f"{address}/catalog.json")) == ["a"] and len(asked) == 4


@pytest.mark.parametrize("name", ["", "/catalog.json"], ids=["api", "static"])
def test_a_silent_catalogue_ends_in_a_sentence(monkeypatch, name):
    monkeypatch.setattr("catalogs.search.catalogues.TIMEOUT_S", (0.3, 0.3))
    monkeypatch.setattr("catalogs.search.catalogues.BACKOFF_S", 0.01)
    pytest.importorskip("pystac_client")  # its import takes a while
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ValueError, match=r"127\.0\.0\.1:\d+\S*: the server fell silent for 0\.3 s$"):
            find(f"http://127.0.0.1:{silent.getsockname()[1]}{name}")
    assert time.monotonic() - began < 3


# ---------------------------------------------------------------- what strangers write


def spoilt(**changes):
    """An item of which something is not as STAC says."""
    return make_item("bad", "2019-07-05") | changes


def spoilt_red(**changes):
    item = make_item("bad", "2019-07-05")
    item["assets"]["red"] = item["assets"]["red"] | changes
    return item


MALFORMED = {
    "no_properties": spoilt(properties=None),
    "no_assets": spoilt(assets=None),
    "list_of_assets": spoilt(assets=["red"]),
    "asset_of_nothing": spoilt(assets={"red": None, "scl": {"href": "a.tif"}}),
    "no_href": spoilt(assets={"red": {}, "scl": {"href": "a.tif"}}),
    "href_of_another_kind": spoilt_red(href=["a.tif"]),
    "bands_of_nothing": spoilt_red(**{"raster:bands": [None]}),
    "bbox_of_nothing": spoilt(geometry=None, bbox=[None] * 4),
}


@pytest.mark.parametrize("api", [True, False], ids=["api", "static"])
@pytest.mark.parametrize("item", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_is_left_out_and_the_others_are_used(tmp_path, item, api):
    good = make_item("good")
    if api:
        with stac_api([good, item], all_touch=True) as address:
            frozen = find(address)
    else:
        frozen = find(make_catalog(tmp_path, [good, item]))
    assert ids(frozen) == ["good"]
    ((name, reason),) = [(entry["id"], entry["reason"]) for entry in frozen["left_out"]]
    assert name == "bad" and reason.startswith("malformed: ")


def test_what_is_not_used_of_an_item_may_be_malformed(tmp_path):
    item = make_item("a")
    item["assets"] |= {"thumbnail": {"href": None}, "overview": {}, "info": None}
    assert ids(find(make_catalog(tmp_path, [item]))) == ["a"]


def test_cloud_cover_that_is_no_number_is_unknown(tmp_path):
    (item,) = find(make_catalog(tmp_path, [make_item("a", cloud_percent=float("nan"))]))["items"]
    assert item["cloud_percent"] is None


@pytest.mark.parametrize("name", ["/catalog.json", ""], ids=["static", "api"])
def test_a_secret_of_the_catalogues_address_is_used_but_not_told(tmp_path, caplog, name):
    from catalogs.remote import Source

    def locked(handler, number):
        if "key=hidden" in handler.path and handler.headers["Authorization"] == "Basic bWU6d29yZA==":  # me:word
            return False
        handler.send_error(401)
        return True

    caplog.set_level("DEBUG", logger="catalogs")
    make_catalog(tmp_path, [make_item("a")])
    with served(tmp_path, locked) as (address, _):
        secret = address.replace("//", "//me:word@") + f"{name}?key=hidden"
        if not name:
            with pytest.raises(ValueError, match=r"cannot be reached or refuses: .* it answers 404") as raised:
                find(secret)
            told = str(raised.value)
        else:
            frozen = find(secret)
            told = json.dumps(frozen)
            assert frozen["query"]["catalog"] == address + name
            assert Source.of(frozen, tmp_path).trusted_hosts == {"127.0.0.1"}
        with pytest.raises(ValueError, match="401") as refused:
            find(secret.replace("hidden", "wrong") + "&other=hidden-too")
    for words in (told, str(refused.value), caplog.text):
        assert not {"word", "hidden", "wrong"} & set(re.findall(r"\w+", words))


@pytest.mark.parametrize("query", ["se=2020&sig=abc", "X-Amz-Signature=abc", "token=abc"])
def test_signed_links_are_not_frozen(tmp_path, query):
    signed = make_item("signed", "2019-07-05")
    for asset in signed["assets"].values():
        asset["href"] = f"https://account.blob.core.windows.net/container/a.tif?{query}"
    frozen = find(make_catalog(tmp_path, [make_item("a"), signed]))
    assert ids(frozen) == ["a"] and "abc" not in json.dumps(frozen)
    reason = "its links are signed and expire; name the provider or give unsigned links"
    assert [entry["reason"] for entry in frozen["left_out"]] == [reason]


def test_signatures_are_stripped_where_the_provider_signs_anew(tmp_path, monkeypatch):
    signed = make_item("signed")
    for asset in signed["assets"].values():
        asset["href"] = "https://account.blob.core.windows.net/container/a.tif?se=2020&sig=abc"
    with stac_api([signed]) as address:
        known = {**endpoints(), "planetary-computer": endpoints()["planetary-computer"] | {"url": address}}
        monkeypatch.setattr("catalogs.search.places.endpoints", lambda: known)
        (item,) = find("planetary-computer")["items"]
    assert item["bands"]["red"]["href"] == item["quality"]["href"] == "https://account.blob.core.windows.net/container/a.tif"


# ---------------------------------------------------------------- what a user is told


def test_a_missing_catalogue_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not exist"):
        find(str(tmp_path / "catalog.json"))
    with pytest.raises(FileNotFoundError, match=r"neither catalog.json nor collection.json"):
        find(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"catalogues known by name: earth-search"):
        find("earth-serch")


def test_an_unreadable_catalogue_is_named(tmp_path):
    (tmp_path / "catalog.json").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="is not a readable STAC catalogue"):
        find(str(tmp_path / "catalog.json"))
    make_catalog(tmp_path, [make_item("a")])
    (tmp_path / "sentinel-2-l2a" / "a.json").unlink()
    with pytest.raises(ValueError, match=r"is not a readable STAC catalogue.*a\.json"):
        find(str(tmp_path / "catalog.json"))


def test_a_collection_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a")])
    with pytest.raises(ValueError, match=r"looked for sentinel-2-l3.*it holds sentinel-2-l2a"):
        find(catalog, collection="sentinel-2-l3")
    with pytest.raises(ValueError, match=r"no scenes of landsat-c2-l2 \(looked for landsat-c2-l2 or landsat-c2l2-sr\)"):
        find(catalog, LANDSAT)


def test_an_area_outside_the_catalogue_is_told_both_extents(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a", box=ELSEWHERE)])
    with pytest.raises(ValueError, match=r"longitude 117.00 to 117.10.*scenes span longitude 100.00 to 101.00"):
        find(catalog)


def test_years_without_a_scene_in_the_season_are_named(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a", "2019-07-01"), make_item("b", "2020-01-01")])
    with pytest.raises(ValueError, match=r"2020 has no scene from 2020-06-01 to 2020-09-30 \(.*; 2021 has no scene"):
        find(catalog, years=(2019, 2020, 2021))


def test_a_year_of_clouds_only_is_told_its_clearest_scene(tmp_path):
    items = [make_item("a", "2019-07-01"), make_item("b", "2020-07-01", 91.5), make_item("c", "2020-07-11", 97)]
    sentence = r"2020 has 2 scenes .* all above max_cloud_percent 80; the clearest, b, has 91.5 %"
    with pytest.raises(ValueError, match=sentence):
        find(make_catalog(tmp_path, items), years=(2019, 2020))


def test_a_year_of_refused_scenes_only_is_told_the_reason(tmp_path):
    catalog = make_catalog(tmp_path, [make_item("a", **{"s2:processing_baseline": None})])
    with pytest.raises(ValueError, match=r"1 scenes .* none usable; a: no processing baseline"):
        find(catalog)


# ---------------------------------------------------------------- a STAC API


@contextmanager
def stac_api(items, page=2, verbs=("GET", "POST"), all_touch=False):
    """A small STAC API on loopback: landing page, collections, search by bbox, time and collection, paged; no more."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            address = f"http://127.0.0.1:{self.server.server_port}"
            names = sorted({item["collection"] for item in items})
            asked = urlparse(self.path)
            if asked.path == "/collections":
                return self.answer({"collections": [make_collection(name) for name in names], "links": []})
            if asked.path == "/search":
                given = {key: values[0] for key, values in parse_qs(asked.query).items()}
                query = given | {"collections": given["collections"].split(",")}
                query["bbox"] = [float(value) for value in given["bbox"].split(",")]
                answer, start = found(query)
                if start is not None:
                    more = "&".join(f"{key}={value}" for key, value in (given | {"token": start}).items())
                    answer["links"] = [{"rel": "next", "href": f"{address}/search?{more}", "method": "GET"}]
                return self.answer(answer)
            geojson = "application/geo+json"
            core = "https://api.stacspec.org/v1.0.0/"
            search = [{"rel": "search", "href": address + "/search", "type": geojson, "method": verb} for verb in verbs]
            self.answer(
                {
                    "type": "Catalog",
                    "stac_version": "1.0.0",
                    "id": "api",
                    "description": "loopback",
                    "conformsTo": [core + part for part in ("core", "item-search", "collections")],
                    "links": [
                        {"rel": "self", "href": address},
                        {"rel": "root", "href": address},
                        {"rel": "data", "href": address + "/collections"},
                        *search,
                    ],
                }
            )

        def do_POST(self):
            if "POST" not in verbs:
                return self.send_error(405)
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer, start = found(query)
            if start is not None:
                address = f"http://127.0.0.1:{self.server.server_port}/search"
                body = query | {"token": str(start)}
                answer["links"] = [{"rel": "next", "href": address, "method": "POST", "body": body}]
            self.answer(answer)

    def found(query):
        """A page of what is asked for, and where the next one starts."""
        first, last = query["datetime"].split("/") if query.get("datetime") else ("", "9")
        west, south, east, north = query["bbox"]
        assert west <= east, "this API knows no boxes across the antimeridian"
        touching = [
            item
            for item in items
            if all_touch
            or (item["collection"] in query["collections"]
            and first <= (item["properties"]["datetime"] or "") <= last
            and any(w <= east and e >= west for w, e in sides(item["bbox"]))
            and item["bbox"][1] <= north
            and item["bbox"][3] >= south)
        ]
        start = int(query.get("token", 0))
        more = start + page if start + page < len(touching) else None
        return {"type": "FeatureCollection", "features": touching[start : start + page], "links": []}, more

    def sides(box):
        west, _, east, _ = box
        return [(west, east)] if west <= east else [(west, 180), (-180, east)]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_an_api_finds_what_the_static_catalogue_finds(tmp_path):
    items = [make_item(f"s{day}", f"2019-07-{day}", cloud_percent=day) for day in (11, 13, 15, 17, 19)]
    items += [make_item("far", box=ELSEWHERE), make_item("winter", "2019-01-01"), make_item("cloudy", cloud_percent=99)]
    static = find(make_catalog(tmp_path, items))
    with stac_api(items) as address:
        live = find(address)
    assert ids(live) == ids(static) == ["s11", "s13", "s15", "s17", "s19"]
    keep = ("id", "datetime", "year", "cloud_percent", "bounds", "bbox", "evidence")
    assert [[item[key] for key in keep] for item in live["items"]] == [
        [item[key] for key in keep] for item in static["items"]
    ]


def test_an_api_that_answers_get_alone_is_read_page_by_page(tmp_path):
    items = [make_item(f"s{day}", f"2019-07-{day}") for day in (11, 13, 15, 17, 19)]
    with stac_api(items, verbs=("GET",)) as address:
        assert ids(find(address)) == ["s11", "s13", "s15", "s17", "s19"]


@pytest.mark.parametrize(
    ("links", "base"),
    [
        ([{"rel": "self", "href": "https://data.example.org/tiles/a/item.json"}], "https://data.example.org/tiles/a/"),
        ([{"rel": "self", "href": "/etc/item.json"}], "{api}/collections/sentinel-2-l2a/items/"),
        ([], "{api}/collections/sentinel-2-l2a/items/"),
    ],
    ids=["its_own_address", "no_address", "no_link"],
)
def test_relative_links_of_an_apis_item_lie_beside_the_item(links, base):
    item = make_item("a") | {"links": links}
    for name, asset in item["assets"].items():
        asset["href"] = f"./{name}.tif"
    with stac_api([item]) as address:
        (found,) = find(address)["items"]
        hrefs = {entry["href"].rpartition("/")[0] for entry in (*found["bands"].values(), found["quality"])}
    assert hrefs == {base.format(api=address).rstrip("/")}


def test_an_api_without_the_collection_or_the_area_says_what_it_has():
    with stac_api([make_item("a")]) as address:
        with pytest.raises(ValueError, match=r"has no collection sentinel-2-l3; it has sentinel-2-l2a"):
            find(address, collection="sentinel-2-l3")
        with pytest.raises(ValueError, match=r"no scene of sentinel-2-l2a .* the collection spans longitude 90.00"):
            find(address, bounds=(700_000, 3_000_000, 701_000, 3_001_000))


def test_an_api_out_of_reach_is_one_sentence():
    with stac_api([make_item("a")]) as address:
        pass
    with pytest.raises(ValueError, match="cannot be reached"):
        find(address)


def test_a_web_page_in_place_of_an_api_is_one_sentence():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match=r"does not answer as a STAC API|cannot be reached"):
            find(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_known_endpoints_name_known_sensors():
    for name, endpoint in endpoints().items():
        assert set(endpoint["collections"]) <= set(SENSORS), name
        for part in ("access", "licence", "citation"):
            assert set(endpoint[part]) == set(endpoint["collections"]), (name, part)
        assert set(endpoint["access"].values()) <= {"open", "signed", "requester-pays", "keys", "login"}
        assert endpoint["url"].startswith("https://") and endpoint["title"]
        assert all(isinstance(value, str) for value in endpoint["environment"].values()), "GDAL options are text"
        assert not set(endpoint.get("refused", {})) & set(endpoint["collections"])
    with pytest.raises(ValueError, match="usgs offers no sentinel-2-l2a; it offers landsat-c2-l2"):
        find("usgs")
    with pytest.raises(ValueError, match="cdse offers no sentinel-1-rtc; it offers sentinel-2-l2a: cdse has Sentinel-1 as GRD"):
        find("cdse", SENTINEL1)


def test_no_endpoint_holds_a_secret():
    for endpoint in endpoints().values():
        assert not {name for name in endpoint["environment"] if "KEY" in name or "SECRET" in name or "TOKEN" in name}


def test_every_known_endpoint_and_credential_is_documented():
    guide = (Path(__file__).parents[2] / "docs/how-to/catalogues.md").read_text(encoding="utf-8")
    for name, endpoint in endpoints().items():
        assert f"`{name}`" in guide
        assert all(option in guide for option in endpoint["environment"]), name


def test_a_catalogue_is_known_by_its_name_or_its_address(tmp_path):
    assert address_of("usgs") == (endpoints()["usgs"]["url"], "usgs")
    assert address_of("https://stac.dataspace.copernicus.eu/v1/") == ("https://stac.dataspace.copernicus.eu/v1", "cdse")
    assert address_of("https://stac.example/v1") == ("https://stac.example/v1", None)
    (tmp_path / "catalog.json").write_text("{}")
    assert address_of(str(tmp_path)) == (str(tmp_path / "catalog.json"), None)


def test_usgs_files_are_read_from_the_bucket_that_needs_no_web_login(tmp_path, monkeypatch):
    item = make_item("LC08_L2SP_121041_20190701_02_T1", collection="landsat-c2l2-sr")
    for key, asset in item["assets"].items():
        asset["alternate"] = {"s3": {"href": f"s3://usgs-landsat/{key}.TIF"}}
        asset["href"] = f"https://landsatlook.example/{key}.TIF"
    with stac_api([item]) as address:
        known = endpoints() | {"usgs": endpoints()["usgs"] | {"url": address}}
        monkeypatch.setattr("catalogs.search.places.endpoints", lambda: known)
        frozen = find("usgs", LANDSAT)
    assert frozen["query"]["provider"] == "usgs"
    assert frozen["items"][0]["bands"]["red"]["href"] == "s3://usgs-landsat/red.TIF"
    assert frozen["items"][0]["quality"]["href"] == "s3://usgs-landsat/qa_pixel.TIF"


# ---------------------------------------------------------------- where the sun stood


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"view:sun_azimuth": 140.5, "view:sun_elevation": 60}, (140.5, 60.0)),
        ({"s2:mean_solar_azimuth": 150.25, "s2:mean_solar_zenith": 30.5}, (150.25, 59.5)),
        ({"oa_solar_azimuth": 60.0, "oa_solar_zenith": 40.0}, (60.0, 50.0)),
        ({"eo:sun_azimuth": 120.0, "eo:sun_elevation": 45.0}, (120.0, 45.0)),
        ({"view:sun_azimuth": 140.5}, None),
        ({"view:sun_azimuth": None, "view:sun_elevation": None, "eo:sun_azimuth": 1.0, "eo:sun_elevation": 2.0}, (1.0, 2.0)),
        ({}, None),
    ],
)
def test_where_the_sun_stood_is_read_from_whatever_name_the_catalogue_has_for_it(properties, expected):
    told = sun_position(properties)
    assert told == (expected and {"azimuth_deg": expected[0], "elevation_deg": expected[1]})


@pytest.mark.skipif(not ITEMS.is_dir(), reason="data set stac-items is absent")
def test_every_real_optical_item_of_level_2_tells_where_the_sun_stood():
    told = []
    for file in sorted(ITEMS.rglob("*.json")):
        item = json.loads(file.read_text())
        if item.get("collection") not in ("sentinel-2-l2a", "sentinel-2-c1-l2a", "landsat-c2-l2", "landsat-c2l2-sr"):
            continue
        told.append(sun_position(item["properties"]))
        assert told[-1] and 0 <= told[-1]["azimuth_deg"] <= 360 and 0 < told[-1]["elevation_deg"] < 90, file
    assert len(told) > 40


# ---------------------------------------------------------------- radar


def two_directions(tmp_path, *, years=(2019, 2020)):
    """Three descending and two ascending scenes a year; the third descending one of 2020 shows a tenth of the area."""
    items = []
    for year in years:
        for day in (1, 13, 25):
            box = HERE if (year, day) != (2020, 25) else (116.9, 27.0, 117.01, 27.3)
            items.append(make_rtc("S1A", f"{year}07{day:02d}T045800", box=box))
        items += [make_rtc("S1A", f"{year}07{day:02d}T105800", "ascending", 73) for day in (3, 15)]
    return make_catalog(tmp_path, items)


def states(frozen):
    return [item["orbit_state"] for item in frozen["items"]]


def test_the_orbit_direction_that_shows_the_area_more_often_is_taken_for_all_years(tmp_path):
    frozen = find(two_directions(tmp_path), SENTINEL1, years=(2019, 2020), orbit="auto")
    assert frozen["orbit"] == "descending" and frozen["query"]["orbit"] == "auto"
    assert states(frozen) == ["descending"] * 6
    assert [(entry["id"][17:25], entry["reason"]) for entry in frozen["left_out"]][:1] == [
        ("20190703", "an ascending pass: descending passes are used (orbit: both would use all)")
    ]


@pytest.mark.parametrize(("orbit", "count"), [("both", 10), ("ascending", 4), ("descending", 6)])
def test_the_orbit_direction_can_be_named(tmp_path, orbit, count):
    frozen = find(two_directions(tmp_path), SENTINEL1, years=(2019, 2020), orbit=orbit)
    assert frozen["orbit"] == orbit and len(frozen["items"]) == count


def test_the_worse_year_decides_the_direction(tmp_path):
    # descending: 3 times in 2019, not once in 2020; ascending: once in each
    items = [make_rtc("S1A", f"201907{day:02d}T045800") for day in (1, 13, 25)]
    items += [make_rtc("S1A", f"{year}0703T105800", "ascending", 73) for year in (2019, 2020)]
    frozen = find(make_catalog(tmp_path, items), SENTINEL1, years=(2019, 2020), orbit="auto")
    assert frozen["orbit"] == "ascending" and states(frozen) == ["ascending"] * 2


def test_a_year_that_is_added_keeps_the_direction_of_the_others(tmp_path):
    catalog = two_directions(tmp_path, years=(2019,))
    earlier = find(catalog, SENTINEL1, years=(2019,), orbit="auto")
    items = [make_rtc("S1A", "20200701T045800")]
    items += [make_rtc("S1A", f"202007{day:02d}T105800", "ascending", 73) for day in (3, 15, 27)]
    make_catalog(tmp_path, items)
    both = find(catalog, SENTINEL1, years=(2019, 2020), orbit="auto", earlier=earlier)
    assert both["orbit"] == "descending" and states(both) == ["descending"] * 4


def test_a_direction_without_scenes_says_what_there_is(tmp_path):
    catalog = make_catalog(tmp_path, [make_rtc("S1A", "20190701T045800")])
    with pytest.raises(ValueError, match=r"none usable; .*a descending pass: ascending passes are used"):
        find(catalog, SENTINEL1, orbit="ascending")


def test_a_radar_scene_of_one_polarisation_is_left_out(tmp_path):
    single = make_rtc("S1A", "20190703T045800")
    del single["assets"]["vh"]
    frozen = find(make_catalog(tmp_path, [make_rtc("S1A", "20190701T045800"), single]), SENTINEL1)
    assert [entry["reason"] for entry in frozen["left_out"]] == ["shows vv only; vv and vh are needed"]


def test_optical_answers_say_nothing_of_orbits(tmp_path):
    frozen = find(make_catalog(tmp_path, [make_item()]), orbit="auto")
    assert "orbit" not in frozen and "orbit" not in frozen["query"]
