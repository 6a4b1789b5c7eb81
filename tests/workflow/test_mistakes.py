"""A user's mistake ends in one clear sentence, exit code 1, no traceback; earlier results stay as they were."""

from __future__ import annotations

import json
import os
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from workflow.runs import ROOT, assert_one_sentence, pipeline, read_study, run, small_content, write_study

PLANTED = Path("resources/planted")


def changed(folder: Path, changes: dict) -> None:
    """Write the study with some dotted keys changed; a value of None takes the key out."""
    content = read_study(folder)
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        section = content
        for name in sections:
            section = section[name]
        if value is None:
            section.pop(key)
        else:
            section[key] = value
    write_study(folder, content)


@pytest.fixture
def kept(finished):
    """The finished study; after the test its results have to be what they were."""
    before = {path: path.read_bytes() for path in (finished / "results").rglob("*") if path.is_file()}
    yield finished
    assert before == {path: path.read_bytes() for path in before if path.exists()}


# ---------------------------------------------------------------- before the first job


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"area.resolution": 20}, ["area.resolution is not a setting; did you mean area.resolution_m?"]),
        ({"plots.file": "nowhere.csv"}, ["plots.file: nowhere.csv does not exist"]),
        ({"plots.species_codes": "codes.csv"}, ["plots.species_codes: codes.csv does not exist"]),
        ({"plots.status_codes": {"1": "alive"}}, ["plots.status_codes.1", "'live', 'dead'"]),
        ({"area.crs": "EPSG:4326"}, ["area.crs", "geographic", "need a projected CRS"]),
        ({"model.predictors": {"lidar": ["cover_2"]}}, ["model.predictors", "'cover_2'", "did you mean cover_2m?"]),
        ({"model.regressor": "liner"}, ["model.regressor: 'liner' is not known; did you mean linear?"]),
        ({"sensors.sentinel-2-l2a.reducer": "medain"}, ["sensors.sentinel-2-l2a.reducer: 'medain'", "did you mean median?"]),
        ({"plugins": ["my_indicatrs"]}, ["plugins: there is no module my_indicatrs in"]),
        ({"comparisons": {"other": {"file": "study.yaml", "year": 2021}}}, ["comparisons.other: there is no map agb_2021"]),
        ({"lidar.als2019.points": "${NO_SUCH_VARIABLE}/tiles"}, ["NO_SUCH_VARIABLE", "is not set"]),
    ],
    ids=[
        "misspelt_key", "missing_file", "missing_codes", "status_word", "geographic_area", "unknown_predictor",
        "unknown_regressor", "unknown_reducer",
        "missing_plugin", "comparison_with_no_map", "variable_not_set",
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_is_said_by_check(kept, changes, parts):
    changed(kept, changes)
    assert_one_sentence(pipeline(kept, "check", "study.yaml"), *parts)


def test_a_mistake_in_the_configuration_stops_a_run_before_the_first_job(kept):
    changed(kept, {"area.resolution": 20})
    done = run(kept)
    assert_one_sentence(done, "study.yaml: area.resolution is not a setting; did you mean area.resolution_m?")
    assert "Job stats" not in done.stderr


def test_a_study_whose_data_folder_is_not_set_says_which_and_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv("FORESTSINK_DATA")
    done = pipeline(tmp_path, "check", str(ROOT / "config/nouragues.yaml"))
    assert_one_sentence(done, "environment variable FORESTSINK_DATA, which is not set")


def without_crs(stands: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return stands.set_crs(None, allow_override=True)


def overlapping(stands: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return stands.set_geometry([shapely.buffer(stands.geometry[0], 30), *stands.geometry[1:]], crs=stands.crs)


def repeated(stands: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return stands.assign(stand=["S1", "S1", *stands["stand"][2:]])


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [(without_crs, ["does not say its coordinate reference system"]), (overlapping, ["overlap"]), (repeated, ["S1"])],
    ids=["no_crs", "overlapping", "repeated_ids"],
)
def test_stands_that_cannot_be_used_stop_a_run_before_the_first_job(kept, spoil, parts):
    file = kept / PLANTED / "stands.gpkg"
    stands = gpd.read_file(file)
    file.unlink()
    spoil(stands).to_file(file, driver="GPKG")
    assert_one_sentence(pipeline(kept, "check", "study.yaml"), "stands.gpkg", *parts)
    if spoil is overlapping:
        done = run(kept)
        assert_one_sentence(done, "stands.gpkg", *parts)
        assert "Job stats" not in done.stderr


def cut(file: Path, share: float) -> None:
    """What is left of a file when a copy stops half-way."""
    os.truncate(file, int(file.stat().st_size * share))


def test_a_truncated_point_tile_is_named_before_the_first_job(kept):
    tile = sorted((kept / PLANTED / "lidar/als2019").glob("*.laz"))[0]
    cut(tile, 0.6)
    done = run(kept)
    assert_one_sentence(done, tile.name)


# ---------------------------------------------------------------- inside a job


def test_a_truncated_scene_is_named(kept):
    band = sorted((kept / PLANTED / "sentinel-2-l2a").rglob("B11*.tif"))[0]
    cut(band, 0.3)
    changed(kept, {"sensors.sentinel-2-l2a.min_clear_count": 2})
    assert_one_sentence(run(kept), "composite: ", band.parent.name, "set on_scene_error: drop")


@pytest.mark.parametrize(
    ("column", "value", "parts"),
    [("dbh_cm", 912.0, ["dbh", "912"]), ("species", "Pinus massonianna", ["did you mean 'Pinus massoniana'?"])],
    ids=["impossible_dbh", "unknown_species"],
)
def test_trees_that_cannot_be_right_are_named(kept, column, value, parts):
    file = kept / PLANTED / "trees.csv"
    trees = pd.read_csv(file)
    trees.loc[trees["status"].eq("live").idxmax() if "status" in trees else 0, column] = value
    trees.to_csv(file, index=False)
    assert_one_sentence(run(kept), "plots: ", "trees.csv", *parts)


def keep_plots(folder: Path, number: int) -> None:
    for name in ("plots.csv", "trees.csv"):
        table = pd.read_csv(folder / PLANTED / name, dtype={"plot": str})
        single = sorted(plot for plot in table["plot"].unique() if not plot.startswith("C"))[:number]
        table[table["plot"].isin(single)].to_csv(folder / PLANTED / name, index=False)


def test_no_plots(kept):
    keep_plots(kept, 0)
    assert_one_sentence(run(kept), "plots: ", "plots.csv")


def test_fewer_plots_than_the_model_needs(kept):
    keep_plots(kept, 3)
    assert_one_sentence(run(kept), "fit: ", "3", "4")


def test_a_year_without_a_scene_in_season(kept):
    changed(kept, {"sensors.sentinel-2-l2a.season": ["01-01", "01-31"]})
    assert_one_sentence(run(kept), "search: ", "2019", "01-01")


def test_years_without_a_clear_scene_in_a_study_on_satellites_alone(kept):
    changes = {"lidar": {}, "model.predictors": None, "sensors.sentinel-2-l2a.min_clear_count": 9}
    changed(kept, changes)
    assert_one_sentence(run(kept), "training: ", "can be used for agb", "no predictor is there at its place and date")


def test_an_area_outside_the_catalogue(kept):
    content = small_content()
    west, south, east, north = content["area"]["bounds"]
    moved = [west + 90_000, south, east + 90_000, north]
    content |= {"area": {**content["area"], "bounds": moved}, "planted": None, "stands": {"grid_m": 100}, "lidar": {}}
    content["model"]["predictors"].pop("lidar")
    write_study(kept, content)
    asked = pipeline(kept, "search", "study.yaml")
    assert asked.returncode == 1 and "sentinel-2-l2a" in asked.stderr and "catalog.json" in asked.stderr, asked.stderr
    assert_one_sentence(run(kept, "resources/scenes/sentinel-2-l2a.json"), "plots: ", "no plot lies in the study's area")


def test_two_mistakes_in_one_run_are_both_said(kept):
    """Whichever job fails first, what the others still running say is not lost."""
    changed(kept, {"sensors.sentinel-2-l2a.season": ["01-01", "01-31"], "plots.crs": "EPSG:4326"})
    lines = run(kept, "--keep-going").stderr.splitlines()
    assert any("search: " in line for line in lines[-3:])
    assert any("plots: " in line for line in lines[-3:])
    assert json.loads((kept / "results/checks.json").read_text())["laws"]
