"""The workflow as a house: lint, plug-ins, and small questions that no run need answer."""

from __future__ import annotations

import re
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from pipeline.bridge import Plan
from pipeline.bridge.digests import plugins_of
from pipeline.bridge.session import hold, sweep
from pipeline.bridge.touching import with_sidecars, within_reach
from pipeline.config import study_from
from workflow.runs import ROOT, assert_one_sentence, planned, read_study, run, small_content, write_study


def test_lint_says_nothing_but_what_the_decision_on_it_lists(tmp_path):
    write_study(tmp_path, small_content())
    done = run(tmp_path, "--lint")
    found = set(re.findall(r"^ +\* (.*?):?$", done.stdout + done.stderr, flags=re.M))
    listed = set(re.findall(r"^- `(.*?)`", (ROOT / "docs/decisions/0002-lint.md").read_text(encoding="utf-8"), flags=re.M))
    assert {line.rstrip(":") for line in found} == listed


# ---------------------------------------------------------------- plug-ins


PLUGIN = '''
from pipeline.indicators import indicator


@indicator(units="1", valid_range=(0, 2), reference="made up for a test")
def twice_nir(nir08):
    """Twice the near infrared."""
    return 2 * nir08
'''


@pytest.fixture
def with_plugin(finished) -> Path:
    """The finished study with an indicator of the user's own in its satellite set."""
    (finished / "my_indicators.py").write_text(PLUGIN, encoding="utf-8")
    content = read_study(finished)
    content["plugins"] = ["my_indicators"]
    content["model"]["predictors"]["satellite"].append("s2_twice_nir")
    write_study(finished, content)
    return finished


def test_a_users_own_indicator_serves_training_and_estimates_and_reruns_them_alone_when_edited(with_plugin):
    assert run(with_plugin, "resources/model/agb/model.json").returncode == 0
    assert "s2_twice_nir" in (with_plugin / "resources/model/agb/model.json").read_text()
    with open(with_plugin / "my_indicators.py", "a") as file:
        file.write("\n# another thought\n")
    again = planned(with_plugin, "resources/partials/r000c000.parquet")
    assert again == {"training": 1, "cells": 1, "fit": 1, "estimate": 1}


def test_a_plugin_counts_for_the_steps_that_use_what_it_adds_to(tmp_path, monkeypatch):
    (tmp_path / "own_indicator_for_digests.py").write_text("from pipeline.indicators import indicator\n")
    (tmp_path / "own_reducer_for_digests.py").write_text("from pipeline.optical.composite import REDUCERS\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = ["own_indicator_for_digests", "own_reducer_for_digests"]
    assert plugins_of("pipeline.steps.training", plugins) == ["own_indicator_for_digests"]
    assert plugins_of("pipeline.steps.composite", plugins) == ["own_reducer_for_digests"]
    assert plugins_of("pipeline.steps.plots", plugins) == []


# ---------------------------------------------------------------- what touches a block


def entry(name: str, west: float, south: float, east: float, north: float) -> dict:
    return {"id": name, "bounds": [west, south, east, north], "digest": name}


def test_only_what_shares_ground_with_a_box_is_within_reach_of_it():
    box = (0.0, 0.0, 10.0, 10.0)
    inside, beside = entry("inside", 2, 2, 3, 3), entry("beside", 10, 0, 20, 10)
    assert within_reach([inside, beside], box) == within_reach([inside], box) != within_reach([], box)


def test_the_order_of_files_does_not_matter():
    one, two = entry("one", 0, 0, 1, 1), entry("two", 0, 0, 1, 1)
    assert within_reach([one, two], (0, 0, 1, 1)) == within_reach([two, one], (0, 0, 1, 1))


def stands_study(folder: Path, **forest) -> dict:
    content = small_content() | {"planted": None, "sensors": {}, "model": {}, "results": "r", "resources": str(folder / "res")}
    return content | {"stands": {"file": str(folder / "stands.shp"), "stratum": "species"}, "forest": forest}


def two_stands(folder: Path, *, species: str = "fir") -> None:
    """One stand in the north-west block, one in the south-east, as a shapefile."""
    squares = [shapely.box(500_000, 2_999_900, 500_100, 3_000_000), shapely.box(500_700, 2_999_000, 500_800, 2_999_100)]
    table = gpd.GeoDataFrame({"stand": ["a", "b"], "species": [species, "pine"]}, geometry=squares, crs="EPSG:32650")
    table.to_file(folder / "stands.shp")


def touching(folder: Path, **forest) -> dict[str, str]:
    plan = Plan(study_from(stands_study(folder, **forest)))
    return {block: plan.stands_touching(block) for block in plan.blocks}


def test_an_attribute_edited_in_a_shapefile_is_seen_though_only_its_dbf_changes(tmp_path):
    two_stands(tmp_path)
    before = touching(tmp_path)
    shp = (tmp_path / "stands.shp").read_bytes()
    two_stands(tmp_path, species="spruce")
    (tmp_path / "stands.shp").write_bytes(shp)
    after = touching(tmp_path)
    assert [block for block in before if before[block] != after[block]] == ["r000c000"]
    assert {Path(path).suffix for path in with_sidecars(str(tmp_path / "stands.shp"))} >= {".shp", ".dbf", ".shx", ".prj"}


def test_a_forest_defined_by_stands_looks_as_far_around_as_its_smallest_patch(tmp_path):
    """0.5 ha are 13 cells of 20 m, 260 m: the stand 60 m from the south-western block can join a patch there."""
    two_stands(tmp_path)
    near, far = touching(tmp_path, source="stands", min_area_ha=0.5), touching(tmp_path, source="stands")
    nothing = within_reach([], (0, 0, 1, 1))
    assert far["r001c000"] == nothing and near["r001c000"] != nothing


# ---------------------------------------------------------------- one run at a time


def test_a_folder_is_held_by_one_and_free_when_it_lets_go(tmp_path):
    held = hold(tmp_path / "resources")
    with pytest.raises(RuntimeError, match="another run is working in"):
        hold(tmp_path / "resources")
    held.close()
    hold(tmp_path / "resources").close()


def test_sweeping_takes_partial_files_and_nothing_else(tmp_path):
    kept, partial = tmp_path / "maps/agb-partial-2019.tif", tmp_path / "maps/.77-partial-agb_2019.tif"
    kept.parent.mkdir()
    kept.touch()
    partial.touch()
    sweep([tmp_path, tmp_path / "absent"])
    assert kept.exists() and not partial.exists()


def test_a_folder_that_may_not_be_written_is_said_in_one_sentence(tmp_path):
    write_study(tmp_path, small_content())
    study = tmp_path / "study.yaml"
    study.write_text(study.read_text(encoding="utf-8").replace(" resources", " study.yaml/resources"), encoding="utf-8")
    assert_one_sentence(run(tmp_path), "study.yaml/resources")
