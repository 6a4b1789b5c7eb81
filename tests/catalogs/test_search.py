"""Searching static catalogues and STAC APIs: what is kept, what is left out and why, and what a user is told."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

import pytest

from catalogs.search import endpoints, find_scenes, items_touching, season_year, with_local_paths
from catalogs.sensors import LANDSAT, SENSORS, SENTINEL2

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
def stac_api(items, page=2):
    """A small STAC API on loopback: landing page, collections, search by bbox, time and collection, paged."""

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
            if urlparse(self.path).path == "/collections":
                return self.answer({"collections": [make_collection(name) for name in names], "links": []})
            geojson = "application/geo+json"
            core = "https://api.stacspec.org/v1.0.0/"
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
                        {"rel": "search", "href": address + "/search", "method": "POST", "type": geojson},
                    ],
                }
            )

        def do_POST(self):
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            first, last = query["datetime"].split("/")
            west, south, east, north = query["bbox"]
            found = [
                item
                for item in items
                if item["collection"] in query["collections"]
                and first <= item["properties"]["datetime"] <= last
                and item["bbox"][0] <= east
                and item["bbox"][2] >= west
                and item["bbox"][1] <= north
                and item["bbox"][3] >= south
            ]
            start = int(query.get("token", 0))
            answer = {"type": "FeatureCollection", "features": found[start : start + page], "links": []}
            if start + page < len(found):
                address = f"http://127.0.0.1:{self.server.server_port}/search"
                body = query | {"token": str(start + page)}
                answer["links"] = [{"rel": "next", "href": address, "method": "POST", "body": body}]
            self.answer(answer)

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
        assert set(endpoint["access"]) == set(endpoint["collections"]), name
        assert endpoint["url"].startswith("https://") and endpoint["licence"] and endpoint["citation"]
    with pytest.raises(ValueError, match="usgs offers no sentinel-2-l2a; it offers landsat-c2-l2"):
        find("usgs")
