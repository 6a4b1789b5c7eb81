"""A study over a network that fails: the same bytes as from the disk, or one sentence, or a counted loss."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import chain
import pytest
from services.range_server import Fault, RangeServer
from services.stac_api import application, serving, static_catalogue

from catalogs.planted.settings import Planting
from pipeline.bridge import Plan
from pipeline.config import study_from
from pipeline.steps.composite import composite
from pipeline.steps.search import search
from workflow.runs import assert_one_sentence, read_study, run, said, small_content, write_study

SENSOR = "sentinel-2-l2a"
YEARS = (2019, 2024)
COMPOSITES = [f"resources/composite/{SENSOR}_{year}/r000c000.tif" for year in YEARS]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """A planted land with four scenes a year, made once."""
    folder = tmp_path_factory.mktemp("land")
    settings = Planting.small(1, scenes_per_year=4).model_dump(mode="json")
    chain.plant(Plan(chain.small_study(folder, planted=settings)), truth=False)
    return folder / "resources/planted"


def study_in(folder: Path, planted: Path, catalog: str, **sensor) -> Path:
    """A study of that land in one block, which plants nothing itself."""
    folder.mkdir(parents=True)
    content = small_content(block_chunks=2)
    content = json.loads(json.dumps(content).replace("resources/planted", str(planted)))
    content.pop("planted")
    content["sensors"][SENSOR] |= {"catalog": catalog, **sensor}
    write_study(folder, content)
    return folder


def bytes_of(folder: Path, composites=COMPOSITES) -> list[bytes]:
    return [(folder / name).read_bytes() for name in composites]


def dropped_in(folder: Path, year: int) -> dict:
    return json.loads((folder / f"resources/composite/{SENSOR}_{year}/r000c000.json").read_text())


@pytest.fixture(scope="module")
def from_disk(planted, tmp_path_factory) -> Path:
    """The composites as they are made from the static catalogue."""
    folder = study_in(tmp_path_factory.mktemp("disk") / "study", planted, str(planted / "catalog.json"))
    done = run(folder, *COMPOSITES, "--cores", "2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def server(planted):
    with RangeServer(planted) as one:
        yield one


@pytest.fixture
def api(planted, server):
    items, collections = static_catalogue(planted / "catalog.json", folder=planted, address=server.address)
    with serving(application(items, collections)) as address:
        yield address


def test_the_api_answers_as_brute_force_does(planted, server, api):
    from pystac_client import Client

    items, _ = static_catalogue(planted / "catalog.json", folder=planted, address=server.address)
    client = Client.open(api)

    def found(**asked) -> list[str]:
        return [item["id"] for item in client.search(limit=3, **asked).items_as_dicts()]

    def cloud(item) -> float:
        return item["properties"]["eo:cloud_cover"]

    limit = sorted(map(cloud, items))[3]
    west, south, _, _ = items[0]["bbox"]
    assert len(items) == 8
    assert sorted(found()) == sorted(item["id"] for item in items)
    assert sorted(found(datetime="2019-01-01/2019-12-31", bbox=[west - 1, south - 1, west + 1, south + 1])) == sorted(
        item["id"] for item in items if item["properties"]["datetime"].startswith("2019")
    )
    assert found(bbox=[0, 0, 1, 1]) == [] == found(collections=["landsat-c2-l2"])
    clear = sorted(item["id"] for item in items if cloud(item) <= limit)
    assert sorted(found(query={"eo:cloud_cover": {"lte": limit}})) == clear
    condition = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, limit]}
    assert sorted(found(filter=condition)) == clear == sorted(found(filter=condition, method="GET"))
    by_cloud = [item["id"] for item in sorted(items, key=cloud, reverse=True)]
    assert found(sortby="-properties.eo:cloud_cover") == by_cloud


def test_a_study_over_the_network_gives_the_bytes_of_the_disk_and_asks_each_file_once(from_disk, planted, server, api, tmp_path):
    folder = study_in(tmp_path / "study", planted, api)
    done = run(folder, f"resources/scenes/{SENSOR}.json")
    assert done.returncode == 0, done.stderr
    server.forget()  # the search looks at pixels of every scene
    done = run(folder, *COMPOSITES, "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert bytes_of(folder) == bytes_of(from_disk)
    frozen = json.loads((folder / f"resources/scenes/{SENSOR}.json").read_text())
    assert all(item["quality"]["href"].startswith(server.address) for item in frozen["items"])
    assert dropped_in(folder, 2019)["dropped"] == []
    assert max(sum(r.start == 0 for r in server.requests(path)) for path in {r.path for r in server.requests()}) == 1


def test_a_storm_of_faults_gives_the_same_bytes(from_disk, planted, server, api, tmp_path):
    kinds = ("status", "reset", "wrong_range", "short")
    server.faults = [Fault(kind, probability=0.08, seed=seed) for seed, kind in enumerate(kinds)]
    folder = study_in(tmp_path / "study", planted, api)
    done = run(folder, *COMPOSITES, "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert bytes_of(folder) == bytes_of(from_disk)
    assert sum(request.fault is not None for request in server.requests()) > 10


def test_killing_the_server_for_twenty_seconds_in_mid_run_changes_no_byte(from_disk, planted, server, api, tmp_path):
    folder = study_in(tmp_path / "study", planted, api)
    server.latency_s = 0.05
    killed: list[float] = []

    def kill() -> None:
        while len(server.requests()) < 8:
            time.sleep(0.02)
        with server.outage():
            killed.append(time.monotonic())
            time.sleep(20)

    killer = threading.Thread(target=kill)
    killer.start()
    done = run(folder, *COMPOSITES, "--cores", "2")
    killer.join()
    assert done.returncode == 0, done.stderr
    assert bytes_of(folder) == bytes_of(from_disk)
    times = [request.at_s for request in server.requests()]
    assert min(times) < killed[0] and max(times) > killed[0] + 20
    assert "answered after" in "".join(path.read_text() for path in (folder / "logs").rglob("*.log"))


UNSEEN = {"check_radiometry": False}
"""Searches look at pixels of every scene; without that, what is broken is met by the composite."""


def broken_scene(planted: Path) -> str:
    return sorted(path.name for path in (planted / SENSOR).iterdir() if path.is_dir() and "2019" in path.name)[1]


def test_a_scene_that_stays_broken_fails_the_run_with_one_sentence(planted, server, api, tmp_path):
    scene = broken_scene(planted)
    server.faults = [Fault("html", path=f"*/{scene}/*")]
    folder = study_in(tmp_path / "study", planted, api, on_scene_error="fail", **UNSEEN)
    done = run(folder, COMPOSITES[0])
    assert_one_sentence(done, f"composite: scene {scene}: {server.address}", "it is a web page, perhaps a login or an error",
                        "set on_scene_error: drop to go on without such scenes")  # fmt: skip
    assert not (folder / COMPOSITES[0]).exists()


def test_a_scene_that_stays_broken_is_dropped_counted_and_told(planted, server, api, tmp_path):
    scene = broken_scene(planted)
    server.faults = [Fault("status", status=404, path=f"*/{scene}/*")]
    folder = study_in(tmp_path / "study", planted, api, on_scene_error="drop", **UNSEEN)
    done = run(folder, COMPOSITES[0])
    assert done.returncode == 0, done.stderr
    told = dropped_in(folder, 2019)
    assert (told["used"], [entry["id"] for entry in told["dropped"]]) == (3, [scene])
    assert "it is not there (404)" in told["dropped"][0]["reason"]
    assert any(f"{scene} dropped in r000c000" in line for line in said(done))
    assert any("3 scenes" in line and "1 scenes dropped" in line for line in said(done))


def in_process(folder: Path) -> None:
    """The search of a study and its composite of 2019, without the workflow around them."""
    plan = Plan(study_from(read_study(folder)))
    scenes = folder / f"resources/scenes/{SENSOR}.json"
    search(scenes=scenes, settings=plan.settings("sensors", SENSOR), sensor=SENSOR, grid=plan.area_settings, years=[2019])
    composite(
        scenes=scenes, raster=folder / COMPOSITES[0], dropped=(folder / COMPOSITES[0]).with_suffix(".json"), sensor=SENSOR,
        year=2019, block="r000c000", grid=plan.grid_settings, settings=plan.imagery.composite_settings(SENSOR),
        roles=plan.roles(SENSOR),
    )  # fmt: skip


def test_where_no_scene_can_be_read_there_is_no_composite_even_where_scenes_may_be_dropped(planted, server, api, tmp_path):
    server.faults = [Fault("status", status=404)]
    folder = study_in(tmp_path / "study", planted, api, on_scene_error="drop", **UNSEEN)
    with pytest.raises(ValueError, match=f"none of the 4 scenes of {SENSOR} in 2019 can be read in block r000c000; the first"):
        in_process(folder)
    assert not (folder / COMPOSITES[0]).exists()


def test_a_search_leaves_out_what_stays_broken_before_any_composite(planted, server, api, tmp_path):
    scene = broken_scene(planted)
    server.faults = [Fault("status", status=404, path=f"*/{scene}/*")]
    folder = study_in(tmp_path / "study", planted, api, on_scene_error="fail")
    in_process(folder)
    frozen = json.loads((folder / f"resources/scenes/{SENSOR}.json").read_text())
    assert [entry["id"] for entry in frozen["left_out"]] == [scene] and "(404)" in frozen["left_out"][0]["reason"]
    assert dropped_in(folder, 2019)["used"] == 3


@pytest.mark.parametrize("look", [True, False], ids=["search", "composite"])
def test_ids_and_hrefs_of_a_hostile_catalogue_reach_no_file(planted, server, tmp_path, look):
    items, collections = static_catalogue(planted / "catalog.json", folder=planted, address=server.address)
    items = [item for item in items if item["properties"]["datetime"].startswith("2019")]
    for number, item in enumerate(items):
        item["id"] = f"../../../{'x' * 300}\n<script>{number}"
    items[0]["assets"]["scl"]["href"] = "file:///etc/hostname"
    items[1]["assets"]["scl"]["href"] = "/vsicurl/http://127.0.0.1:1/a.tif"
    with serving(application(items, collections)) as address:
        folder = study_in(tmp_path / "deep/er/study", planted, address, on_scene_error="drop", check_radiometry=look)
        in_process(folder)
    told = dropped_in(folder, 2019)
    frozen = (folder / f"resources/scenes/{SENSOR}.json").read_text()
    left_out = json.loads(frozen)["left_out"] if look else told["dropped"]
    reasons = " ".join(entry["reason"] for entry in left_out)
    assert told["used"] == 2 and len(left_out) == 2
    assert "/etc/hostname is a file of this machine" in reasons and "GDAL's own" in reasons
    assert "<script>" not in json.dumps(told) + frozen and all(item["id"].isprintable() for item in json.loads(frozen)["items"])
    made = {path.relative_to(folder).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {"study.yaml", f"resources/scenes/{SENSOR}.json", COMPOSITES[0], COMPOSITES[0].replace(".tif", ".json")}
