"""A configuration is right as a whole, or every mistake in it is a sentence of its own."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, make_settings, make_study
from pydantic import ValidationError

from pipeline.config import Study, StudyError, load_study, nearest, study_from


def problems_of(changes):
    with pytest.raises(StudyError) as error:
        study_from(make_settings(changes), file="study.yaml")
    return error.value.problems


def test_a_small_study_has_its_defaults():
    study = make_study()
    assert study.targets == ("agb",) and study.stock_target == "agb" and study.model.transform == "sqrt"
    assert study.lidar["als2019"].date == dt.date(2019, 7, 1)
    assert study.area.chunk_px == 512 and study.min_cover_percent == 80
    assert study.pools.carbon_fraction == 0.47


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"area.resolutoin_m": 10}, "area.resolutoin_m is not a setting; did you mean area.resolution_m?"),
        ({"plot": {}}, "plot is not a setting; did you mean plots?"),
        (
            {"sensors.s2": {"catalog": "c.json", "max_clouds_percent": 5}},
            "sensors.s2.max_clouds_percent is not a setting; did you mean sensors.s2.max_cloud_percent?",
        ),
        ({"planted.sed": 3}, "planted.sed is not a setting; did you mean planted.seed?"),
        ({"area.xyz": 1}, "area.xyz is not a setting; known here: crs, bounds, file, resolution_m, chunk_px, block_chunks"),
        ({"name": None}, "name is missing"),
        ({"area.resolution_m": None}, "area.resolution_m is missing"),
        ({"area.resolution_m": -10}, "area.resolution_m: input should be greater than 0, got -10"),
        ({"area.bounds": 5}, "area.bounds: a list is needed, such as [a, b], got 5"),
        (
            {"area.bounds": [2, 0, 1, 1]},
            "area: bounds must be west, south, east, north with west < east and south < north, got [2.0, 0.0, 1.0, 1.0]",
        ),
        (
            {"area.file": "area.gpkg"},
            "area: give either bounds (west, south, east, north in the CRS) or file, not both or none",
        ),
        (
            {"area.crs": "EPSG:4326"},
            "area.crs: EPSG:4326 is geographic (degrees); areas and distances need a projected CRS in metres, "
            "such as the UTM zone",
        ),
        ({"area.crs": "EPSG:2225"}, "area.crs: EPSG:2225 has the unit 'US survey foot'; a projected CRS in metres is needed"),
        ({"area.crs": "EPSG:99999"}, "area.crs: 'EPSG:99999' is not a coordinate reference system that PROJ knows"),
        ({"area.crs": 32650}, "area.crs: a text is needed; put it in quotes, got 32650"),
        ({"years": 2019}, "years: a list is needed, such as [a, b], got 2019"),
        ({"years": []}, "years: at least one entry is needed, got []"),
        ({"years": [2024, 2019]}, "years: years must rise and not repeat, got [2024, 2019]"),
        ({"years": [2019, 2019]}, "years: years must rise and not repeat, got [2019, 2019]"),
        ({"years": [19]}, "years: years are written in full, such as 2019, got [19]"),
        (
            {"years": ["soon"]},
            "years.0: input should be a valid integer, unable to parse string as an integer, got 'soon'",
        ),
        (
            {"targets": ["abg"]},
            "targets: 'abg' is not a target; did you mean agb?; known: agb, volume, basal_area, dominant_height, stems",
        ),
        ({"model.transform": "cube"}, "model.transform: input should be 'none', 'sqrt' or 'log', got 'cube'"),
        ({"model.predictors": {"lidar": "zmean"}}, "model.predictors.lidar: a list is needed, such as [a, b], got 'zmean'"),
        (
            {"sensors": {"my sensor": {"catalog": "c.json"}}},
            "sensors.my sensor: a name has letters, digits, - and _ only, and begins with a letter or digit, got 'my sensor'",
        ),
        (
            {"sensors.s2": {"catalog": "c.json", "season": ["02-30", "09-30"]}},
            "sensors.s2.season: '02-30' is not a month and day such as 06-01",
        ),
        ({"plots": "plots.csv"}, "plots: a section with settings of its own is needed, got 'plots.csv'"),
        (
            {"plots.corners": "corners.csv"},
            "plots: give either file (a table of plots) or corners (plot corners in the site frame and on the map), "
            "not both or none",
        ),
        ({"plots.subplot_m": 25}, "plots: subplot_m cuts plots given by corners: corners is missing"),
        ({"stands.grid_m": 100}, "stands: give either file (polygons) or grid_m (the side of square stands), not both or none"),
        (
            {"lidar.als2019.canopy_height": "chm.tif"},
            "lidar.als2019: give either points (a folder or files of LAS/LAZ), canopy_height (a raster) or catalog "
            "(a STAC API with its collection), not several or none",
        ),
        ({"lidar.als2019.points": 5}, "lidar.als2019.points: a path or a list of paths is needed, got 5"),
        (
            {"forest.source": "raster"},
            "forest: files (year: raster) belong to source: raster, and source: raster needs them",
        ),
        (
            {"forest": {"source": "raster", "files": {2019: "a.tif"}}},
            "forest.files has no raster for 2024",
        ),
        (
            {"pools.expansion_factor_mg_m3": 0.6},
            "pools: expansion_factor_source is missing: name the table or study that expansion_factor_mg_m3 comes from",
        ),
        (
            {"targets": ["volume"]},
            "a study of volume needs pools.expansion_factor_mg_m3 to reach biomass and carbon, or agb among its targets",
        ),
        ({"lidar": {}}, "a study needs sensors, lidar or both: there is nothing to derive predictors from"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_key(changes, sentence):
    assert problems_of(changes) == [sentence]


def test_every_mistake_is_reported_at_once_and_names_the_file():
    found = {"area.resolutoin_m": 1, "area.crs": "EPSG:4326", "years": [2024, 2019], "stands.overlaps": "merge", "x": 1}
    with pytest.raises(StudyError) as error:
        study_from(make_settings(found), file="study.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) == 5 and all(line.startswith("study.yaml: ") for line in lines)
    assert [line.split()[1].rstrip(":") for line in lines] == ["area.crs", "area.resolutoin_m", "stands.overlaps", "x", "years"]


def test_mistakes_that_need_several_sections_are_sentences_of_their_own_too():
    found = problems_of({"lidar": {}, "forest.source": "canopy", "targets": ["volume"]})
    assert len(found) == 3


def test_no_sentence_shows_python_s_or_pydantic_s_own_words():
    changes = {
        "area.bounds": "here", "lidar.als2019.points": [5], "plots.allometry": 3, "years": [None], "pools": 7,
        "plots.date": "yesterday", "planted": [1], "stands.grid_m": "wide", "model.predictors": [1],
    }  # fmt: skip
    text = "\n".join(problems_of(changes))
    for word in ("tuple", "dictionary", "instance", "function-", "pydantic", "[key]", "NoneType", "object at"):
        assert word not in text


# ---------------------------------------------------------------- paths and dates


def test_a_path_under_an_unset_variable_says_which_folder_it_must_name(monkeypatch):
    monkeypatch.delenv("FOREST_HERE", raising=False)
    for key in ("plots.file", "plots.allometry", "lidar.als2019.points"):
        assert problems_of({key: "${FOREST_HERE}/set/a.csv"}) == [
            f"{key}: '${{FOREST_HERE}}/set/a.csv' is under the folder named by the environment variable FOREST_HERE, "
            "which is not set; set it to the folder that holds 'set'"
        ]
    assert problems_of({"results": "${FOREST_HERE}"})[0].endswith("FOREST_HERE, which is not set")


def test_variables_in_paths_are_filled_also_in_lists_and_in_the_allometry(monkeypatch):
    monkeypatch.setenv("FOREST_HERE", "/data")
    study = make_study(
        {
            "lidar.als2019.points": ["${FOREST_HERE}/a.laz", "b.laz"],
            "plots.allometry": "${FOREST_HERE}/mine.csv",
            "forest": {"source": "raster", "files": {2019: "${FOREST_HERE}/f.tif", 2024: "g.tif"}},
        }
    )
    assert study.lidar["als2019"].points == ("/data/a.laz", "b.laz")
    assert study.plots.allometry == "/data/mine.csv" and study.forest.files == {2019: "/data/f.tif", 2024: "g.tif"}


@pytest.mark.parametrize(
    ("written", "day"),
    [(2019, (2019, 7, 1)), ("2019", (2019, 7, 1)), ("2019-08-15", (2019, 8, 15)), (dt.date(2019, 8, 15), (2019, 8, 15))],
)
def test_a_bare_year_is_its_first_of_july(written, day):
    assert make_study({"lidar.als2019.date": written}).lidar["als2019"].date == dt.date(*day)


# ---------------------------------------------------------------- the study as a value


def test_a_study_cannot_be_changed():
    study = make_study()
    for part, name in ((study, "name"), (study.area, "resolution_m"), (study.lidar["als2019"], "buffer_m")):
        with pytest.raises(ValidationError):
            setattr(part, name, "other")


def test_a_study_is_plain_values_that_make_it_again():
    study = make_study({"lidar.als2019.points": ["a.laz", "b.laz"], "forest.min_area_ha": 0.5})
    plain = json.loads(json.dumps(study.model_dump(mode="json")))
    assert study_from(plain) == study


def test_carbon_is_computed_from_biomass_else_volume_else_not_at_all():
    factor = {"pools.expansion_factor_mg_m3": 0.6, "pools.expansion_factor_source": "a table"}
    assert make_study({"targets": ["stems", "volume"], **factor}).stock_target == "volume"
    assert make_study({"targets": ["volume", "agb"]}).stock_target == "agb"
    assert make_study({"targets": ["basal_area"]}).stock_target is None


def test_the_nearest_word_is_only_offered_where_one_is_near():
    assert nearest("zmaen", ["zmean", "zq95"]) == "; did you mean zmean?"
    assert nearest("colour", ["zmean", "zq95"]) == ""


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["planted.yaml", "nouragues.yaml"])
def test_the_configurations_that_come_with_the_project_load(name):
    assert load_study(ROOT / "config" / name).name == name.removesuffix(".yaml")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the configuration must be a mapping of settings, such as name: my_study"),
        ("- a\n- b\n", "the configuration must be a mapping of settings, such as name: my_study"),
        ("name: [a\nyears: 3\n", "this is not readable YAML near line 2"),
        ("a:\n\tb: 1\n", "this is not readable YAML near line 2"),
        ("name: a\nyears: [2019]\nname: b\n", "near line 3: the key 'name' stands here twice"),
        ("area:\n  crs: a\n  crs: b\n", "near line 3: the key 'crs' stands here twice"),
    ],
    ids=["empty", "list", "bracket", "tab", "key_twice", "inner_key_twice"],
)
def test_a_file_that_is_no_configuration_says_so(tmp_path, content, sentence):
    file = tmp_path / "study.yaml"
    file.write_text(content)
    with pytest.raises(StudyError, match=sentence):
        load_study(file)


def test_a_file_in_another_encoding_and_one_that_is_not_there_say_so(tmp_path):
    (tmp_path / "gbk.yaml").write_bytes("name: 林业\n".encode("gbk"))
    with pytest.raises(StudyError, match="this is not readable YAML"):
        load_study(tmp_path / "gbk.yaml")
    with pytest.raises(StudyError, match=r"none.yaml: the configuration file does not exist"):
        load_study(tmp_path / "none.yaml")


# ---------------------------------------------------------------- light


def test_checking_a_configuration_costs_less_than_two_seconds_of_processor_time():
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'pipeline', 'check', 'config/planted.yaml'], check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print('cpu', u.ru_utime + u.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ})
    assert float(done.stdout.split("cpu ")[1]) < 4  # twice what is promised, for a busy machine


def test_the_configuration_is_loaded_without_a_heavy_library():
    code = "import sys, pipeline.config, pipeline.grid, pipeline.products; print([m for m in sys.modules if '.' not in m])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for heavy in ("numpy", "pandas", "geopandas", "rasterio", "scipy", "shapely", "numba", "laspy", "sklearn", "xarray"):
        assert f"'{heavy}'" not in done.stdout


def test_the_schema_that_editors_read_is_that_of_the_configuration():
    kept = json.loads((ROOT / "config" / "schema.json").read_text(encoding="utf-8"))
    assert kept == Study.model_json_schema(), "config/schema.json is not Study.model_json_schema() any more"


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({}, "give either se_column (standard error per hectare) or error_percent"),
        ({"error_percent": 20, "target": "volume"}, "stands.records.plan.target: volume is not mapped; targets has agb"),
        ({"error_percent": 20, "year": 2011}, "stands.records.plan.year: 2011 is no study year"),
        ({"error_percent": 20, "unbiased": True, "bias_percent": 5}, "unbiased: true and bias_percent contradict each other"),
    ],
    ids=["no_error", "another_target", "another_year", "both_words"],
)
def test_a_stand_inventory_says_its_error_its_target_and_a_study_year(record, sentence):
    years = make_study().years
    found = problems_of({"stands.records": {"plan": {"column": "AGB", "year": years[0], **record}}})
    assert any(sentence in one for one in found), found
