"""One command runs the chain, a second does nothing, and a change reruns what it touches and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import geopandas as gpd
import laspy
import pandas as pd
import pytest

from pipeline.bridge.jobs import is_alive
from pipeline.bridge.session import hold
from pipeline.model_card import KEYS
from workflow.runs import (  # fmt: skip
    EXACT,
    ROOT,
    assert_one_sentence,
    environment,
    exact_bytes,
    pipeline,
    planned,
    read_study,
    run,
    said,
    small_content,
    snakemake,
    write_study,
)

FROM_ESTIMATE_ON = {
    "validate": 1, "publish": 8, "stands": 1, "totals": 1, "check": 1, "model_card": 1, "report": 1, "record": 1,
}  # fmt: skip
ALL_BLOCKS = {"estimate": 4, **FROM_ESTIMATE_ON}
FROM_TRAINING_ON = {"training": 1, "cells": 1, "fit": 1, **ALL_BLOCKS}
EVERYTHING = {
    "plant_field": 1, "plant_scenes": 1, "plant_lidar": 2, "plant_truth": 1, "search": 1, "composite": 8, "lidar": 8,
    "plots": 1, **FROM_TRAINING_ON,
}  # fmt: skip


# ---------------------------------------------------------------- one run, and another


def test_one_command_makes_maps_stands_report_checks_and_record(finished):
    results = finished / "results"
    for name in (*EXACT, "report.html", "checks.json", "run.json", "stac/collection.json"):
        assert (results / name).stat().st_size > 0, name
    maps = {path.stem for path in (results / "maps").glob("*.tif")}
    assert maps == {
        "agb_2019", "agb_2024", "tree_carbon_2019", "tree_carbon_2024", "sink_2019_2024", "forest_2019_2024",
        "applicability_agb_2019", "applicability_agb_2024",
    }  # fmt: skip
    run_record = json.loads((results / "run.json").read_text())
    assert list(json.loads((results / run_record["model_cards"]["agb"]).read_text())) == sorted(KEYS)
    assert all(law["holds"] for law in json.loads((results / "checks.json").read_text())["laws"])


def test_the_terminal_counts_steps_and_says_what_each_was(finished):
    lines = (finished / "first.txt").read_text().splitlines()
    counted = [line for line in lines if " steps (" in line]
    total = sum(EVERYTHING.values()) + 1
    assert len(counted) == total
    assert counted[-1] == f"{total} of {total} steps (100%) done: all"
    assert any(line.endswith("done: composite sentinel-2-l2a 2019 r000c000") for line in counted)
    assert not any(line.strip().startswith(("input:", "output:", "jobid:", "reason:", "Host:")) for line in lines)


def test_a_second_run_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if "results" in path.parts}
    done = run(finished)
    assert done.returncode == 0
    assert "Nothing to be done" in said(done)[-1]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_first_run_plans_every_step(tmp_path):
    write_study(tmp_path, small_content())
    assert planned(tmp_path) == EVERYTHING


# ---------------------------------------------------------------- reruns


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the house whose code a test may change."""
    place = tmp_path / "checkout"
    for name in ("pipeline", "models", "catalogs", "profiles", "config"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", place / "Snakefile")
    return place


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_changing_an_indicator_reruns_training_and_what_follows_but_no_composite(finished, checkout):
    assert planned(finished, checkout=checkout) == {}
    append(checkout / "pipeline/indicators/optical.py", "\n# another thought\n")
    assert planned(finished, checkout=checkout) == FROM_TRAINING_ON


def edit_stand(folder: Path) -> set[str]:
    """Shave a metre off the stand in the north-west corner; the blocks it touches."""
    file = folder / "resources/planted/stands.gpkg"
    stands = gpd.read_file(file)
    corner = stands.geometry.distance(gpd.points_from_xy([500_000], [3_000_000])[0]).idxmin()
    _, south, east, _ = stands.geometry[corner].bounds
    stands.loc[corner, "geometry"] = stands.geometry[corner].buffer(-1)
    stands.to_file(file, driver="GPKG")
    assert max(east - 500_000, 3_000_000 - south) < 1200
    return {
        f"r{row:03d}c{col:03d}"
        for row in range(int((3_000_000 - south - 1e-6) // 640) + 1)
        for col in range(int((east - 500_000 - 1e-6) // 640) + 1)
    }


def test_editing_a_stand_reruns_the_estimate_of_the_blocks_it_touches_alone(finished):
    touched = edit_stand(finished)
    assert len(touched) < 4
    assert planned(finished) == {"estimate": len(touched), **FROM_ESTIMATE_ON}


def test_plots_that_come_to_lie_in_another_stand_refit_the_models(finished):
    """Plots of one stand depart together, so which plots they are is part of what the models know."""
    file = finished / "resources/planted/stands.gpkg"
    stands, plots = gpd.read_file(file), pd.read_csv(finished / "resources/planted/plots.csv")
    places = gpd.GeoDataFrame(geometry=gpd.points_from_xy(plots["x"], plots["y"]), crs=stands.crs)
    most = places.sjoin(stands[["stand", "geometry"]])["stand"].mode()[0]
    stands.loc[stands["stand"] == most, "stand"] = "another"
    stands.to_file(file, driver="GPKG")
    found = planned(finished)
    assert found["fit"] == found["validate"] == 1 and found["training"] == 0 and found["estimate"] == 4


def test_touching_files_without_a_change_reruns_nothing(finished):
    planted = finished / "resources/planted"
    touched = [planted / name for name in ("plots.csv", "trees.csv", "stands.gpkg", "landcover_2019.tif", "catalog.json")]
    for path in [*touched, finished / "resources/scenes/sentinel-2-l2a.json", *(planted / "lidar").rglob("*.laz")]:
        path.touch()
    assert planned(finished) == {}


def add_scene(folder: Path) -> None:
    """A second look at the study's north-west corner, 300 m wide, the day after a scene of 2019."""
    found = sorted((folder / "resources/planted/sentinel-2-l2a").rglob("*2019*.json"))
    collection = next((folder / "resources/planted/sentinel-2-l2a").glob("collection.json"))
    item = json.loads(found[0].read_text())
    longitude, latitude = 117.0, 27.12226
    box = [longitude, latitude - 0.0027, longitude + 0.003, latitude]
    item |= {"id": "S2A_ADDED", "bbox": box}
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    place = found[0].with_name("S2A_ADDED.json")
    place.write_text(json.dumps(item))
    content = json.loads(collection.read_text())
    href = os.path.relpath(place, collection.parent)
    content["links"].append({"rel": "item", "href": f"./{href}", "type": "application/geo+json"})
    collection.write_text(json.dumps(content))


def test_a_new_scene_reruns_the_composites_of_the_blocks_it_touches_after_a_new_search(finished):
    add_scene(finished)
    assert planned(finished) == {}
    asked = pipeline(finished, "search", "study.yaml")
    assert asked.returncode == 0, asked.stderr
    assert planned(finished) == {"composite": 1, **FROM_TRAINING_ON}


def westernmost_northernmost(tile: Path) -> tuple[float, float]:
    with laspy.open(tile) as reader:
        return round(reader.header.mins[0], -2), -round(reader.header.maxs[1], -2)


def test_a_new_lidar_tile_reruns_the_blocks_within_reach_of_it(finished):
    """The tile in the north-west corner is delivered again, all its points a centimetre higher."""
    corner = sorted((finished / "resources/planted/lidar/als2019").glob("*.laz"), key=westernmost_northernmost)[0]
    cloud = laspy.read(corner)
    cloud.z = cloud.z + 0.01
    cloud.write(corner)
    again = planned(finished)
    assert again == {"lidar": again["lidar"], **FROM_TRAINING_ON}
    assert 1 <= again["lidar"] < 4


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("model", "transform", "none", {**FROM_TRAINING_ON, "training": 0, "cells": 0}),
        ("model", "path", "direct", {**FROM_TRAINING_ON, "training": 0, "cells": 0}),
        ("model", "confidence_percent", 95, {**FROM_ESTIMATE_ON, "publish": 0}),
        ("pools", "carbon_fraction", 0.5, ALL_BLOCKS),
        ("sensors", "sentinel-2-l2a", {"min_clear_count": 2}, {"composite": 8, **FROM_TRAINING_ON}),
        ("sensors", "sentinel-2-l2a", {"max_cloud_percent": 70}, {"search": 1, "composite": 8, **FROM_TRAINING_ON}),
        ("planted", "seed", 2, EVERYTHING),
    ],
    ids=[
        "a_models_form", "a_models_path", "width_of_intervals", "carbon_fraction", "how_composites_reduce", "what_is_searched",
        "another_forest",
    ],
)
def test_a_setting_reruns_what_depends_on_it(finished, section, key, value, expected):
    content = read_study(finished)
    content[section][key] = {**content[section][key], **value} if isinstance(value, dict) else value
    write_study(finished, content)
    assert planned(finished) == Counter(expected) + Counter()


# ---------------------------------------------------------------- killed, and twice at once


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        snakemake(*arguments), cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def jobs_of(process: int) -> list[int]:
    """Processes whose environment says that this run started them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "environ").read_bytes()
            zombie = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if f":{process}\0".encode() in words and b"FORESTSINK_MAIN=" in words and int(place.name) != process and not zombie:
            found.append(int(place.name))
    return found


def wait_until(holds, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_a_killed_run_takes_its_jobs_with_it_and_the_next_ends_as_an_undisturbed_one_whatever_the_truth_says(finished):
    """All but the planted data and the frozen scenes is made again, on one core; only the check may read the truth."""
    expected = exact_bytes(finished / "results")
    for path in (finished / "resources/planted/truth").glob("*"):
        path.write_bytes(b"not the truth")
    for folder in ("results", *(f"resources/{name}" for name in ("composite", "lidar", "training", "model", "maps", "partials"))):
        shutil.rmtree(finished / folder)
    tables = [f"results/{name}" for name in EXACT]
    maps = [f"results/maps/{name}" for name in expected if name.endswith(".tif")]
    first = start(finished, *tables, *maps, "--cores", "2")
    assert wait_until(lambda: any((finished / "resources/lidar").rglob("*.tif")), seconds=60)
    assert wait_until(lambda: jobs_of(first.pid), seconds=30)
    with pytest.raises(RuntimeError, match="another run is working"):
        hold(finished / "resources")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert wait_until(lambda: not jobs_of(first.pid), seconds=5)
    left_behind = finished / "resources/lidar/.4194305-partial-r000c000.tif"
    left_behind.touch()
    second = run(finished, *tables, *maps, "--cores", "1")
    assert second.returncode == 0, second.stderr
    assert exact_bytes(finished / "results") == expected
    assert not left_behind.exists()


def test_a_job_is_not_kept_alive_by_a_main_process_that_nobody_waited_for():
    child = subprocess.Popen(["true"])
    assert wait_until(lambda: not is_alive(child.pid), seconds=5)
    child.wait()
    assert is_alive(os.getpid())


def test_a_second_run_in_a_folder_where_one_is_working_says_so_and_changes_nothing(finished):
    before = exact_bytes(finished / "results")
    (finished / "results/report.html").unlink()
    with hold(finished / "resources"):
        assert_one_sentence(run(finished), "another run is working in resources; wait for it or stop it")
        assert_one_sentence(pipeline(finished, "search", "study.yaml"), "another run is working in resources")
        assert planned(finished) == {"report": 1, "record": 1}
    assert exact_bytes(finished / "results") == before
