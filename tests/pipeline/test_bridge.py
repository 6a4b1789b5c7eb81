"""What rules are given: plain values from the study, notes, and digests of code that tell what must run again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT, make_study

from models.regressors import REGRESSORS
from pipeline.bridge import Plan, session
from pipeline.bridge.problems import wrong_catalogue

S2 = {"catalog": "catalog.json", "season": ["06-01", "09-30"]}


def make_plan(changes=None):
    return Plan(make_study({"stands": {"grid_m": 100}, **(changes or {})}))


def test_params_are_plain_values_that_json_gives_back():
    plan = make_plan({"sensors": {"sentinel-2-l2a": S2}})
    for value in (
        plan.grid_settings, plan.area_settings, plan.sources, plan.carbon, plan.targets, plan.plain_products,
        plan.predictor_sets, plan.model_settings, plan.settings("forest"), plan.settings_of_all("lidar"),
    ):  # fmt: skip
        assert json.loads(json.dumps(value))


def test_the_grid_is_that_of_the_area_and_its_cutting_is_kept_apart():
    plan = make_plan({"area.chunk_px": 16, "area.block_chunks": 2})
    assert (plan.grid.rows, plan.grid.cols) == (50, 50) and plan.blocks == ["r000c000", "r000c001", "r001c000", "r001c001"]
    assert plan.area_settings == make_plan({"area.chunk_px": 64}).area_settings


def test_a_study_that_names_no_predictors_gets_those_its_data_allow():
    assert list(make_plan().predictor_sets) == ["lidar"]
    both = make_plan({"sensors": {"sentinel-2-l2a": S2}}).predictor_sets
    assert list(both) == ["lidar", "satellite"] and all(name.startswith("s2_") for name in both["satellite"])
    assert list(make_plan({"lidar": {}, "sensors": {"sentinel-2-l2a": S2}}).predictor_sets) == ["satellite"]


@pytest.mark.parametrize(
    ("max_years_apart", "expected"),
    [(1.0, {"2019": "late", "2024": None}), (5.0, {"2019": "late", "2024": "late"}), (0.01, {"2019": None, "2024": None})],
)
def test_each_year_is_served_by_the_campaign_nearest_to_its_july_if_it_is_near_enough(max_years_apart, expected):
    campaigns = {"early": {"points": "a", "date": "2018-08-01"}, "late": {"points": "b", "date": "2019-11-15"}}
    plan = make_plan({"lidar": campaigns, "plots.max_years_apart": max_years_apart})
    assert plan.sources["campaign_of_year"] == expected


def test_only_what_predictors_need_is_read():
    plan = make_plan({"sensors": {"sentinel-2-l2a": S2}, "model.predictors": {"a": ["zmean"], "b": ["s2_ndvi"]}})
    assert plan.metrics == ["zmean"] and plan.roles("sentinel-2-l2a") == ["nir08", "red"]
    without = make_plan({"sensors": {"sentinel-2-l2a": S2}, "model.predictors": {"a": ["zmean"]}})
    assert without.sources["sensors"] == {} and without.scene_files == {}
    canopy = make_plan({"model.predictors": {"a": ["zmean"]}, "forest.source": "canopy"})
    assert canopy.metrics == ["cover_2m", "zmean", "zq95"]


@pytest.mark.parametrize(("harmonise", "nir"), [("none", "nir"), ("oli", "nir08")])
def test_the_tasselled_cap_of_harmonised_sentinel_2_reads_the_band_that_was_harmonised(harmonise, nir):
    plan = make_plan({
        "sensors": {"sentinel-2-l2a": S2 | {"harmonise": harmonise, "series": {"tc_wetness": ["p90"]}}},
        "model.predictors": {"a": ["s2_tc_wetness", "s2_tc_wetness_p90"]},
    })  # fmt: skip
    six = sorted(["blue", "green", nir, "red", "swir16", "swir22"])
    assert plan.roles("sentinel-2-l2a") == six
    assert plan.sources["sensors"]["sentinel-2-l2a"].get("seen_by") == ("oli" if harmonise == "oli" else None)


LANDSAT, DEM = "landsat-c2-l2", "copernicus-dem-glo30"


def test_a_sensor_that_no_predictor_uses_is_noted_and_its_scenes_are_not_asked_for():
    sensors = {"sentinel-2-l2a": S2, LANDSAT: S2, DEM: {"catalog": "catalog.json"}}
    plan = make_plan({"sensors": sensors, "model.predictors": {"a": ["zmean"], "b": ["s2_ndvi"]}})
    unused = [note for note in plan.notes if "no predictor uses it" in note]
    assert unused == [f"Sensor {name} is configured, but no predictor uses it: nothing is made of it." for name in (LANDSAT, DEM)]
    assert list(plan.scene_files.values()) == ["resources/hills/scenes/sentinel-2-l2a.json"]


def test_the_elevation_by_which_slopes_are_lit_is_used():
    sensors = {"sentinel-2-l2a": S2 | {"topographic": "scs_c"}, DEM: {"catalog": "catalog.json"}}
    plan = make_plan({"sensors": sensors, "model.predictors": {"a": ["s2_ndvi"]}})
    assert plan.used_sensors == ["sentinel-2-l2a", DEM] and len(plan.scene_files) == len(plan.dropped_files) == 2
    assert not [note for note in plan.notes if "no predictor uses it" in note]


@pytest.mark.parametrize(
    ("sensor", "catalog", "sentence"),
    [
        ("sentinel-1-rtc", "earth-search", "earth-search offers no sentinel-1-rtc; .*has Sentinel-1 as GRD amplitudes"),
        ("sentinel-2-l2a", "usgs", "usgs offers no sentinel-2-l2a; it offers landsat-c2-l2"),
        ("sentinel-2-l2a", "ftp://data.example/stac", "ftp://data.example/stac is an address of kind ftp; http, https and s3"),
    ],
    ids=["not_corrected", "another_mission", "ftp"],
)
def test_a_catalogue_that_cannot_offer_a_sensor_is_said_before_any_search(sensor, catalog, sentence):
    plan = make_plan({"sensors": {sensor: {"catalog": catalog}}})
    with pytest.raises(ValueError, match=rf"sensors\.{sensor}\.catalog: {sentence}"):
        plan.prepare()


@pytest.mark.parametrize("catalog", ["earth-search", "https://data.example/stac", "s3://bucket/catalog.json"])
def test_a_catalogue_that_may_offer_a_sensor_is_not_asked(catalog):
    assert wrong_catalogue(make_plan({"sensors": {"sentinel-2-l2a": {"catalog": catalog}}}), "sentinel-2-l2a") == []


def test_predictor_files_are_those_of_the_study_s_years_and_campaigns():
    plan = make_plan({"sensors": {"sentinel-2-l2a": S2}})
    assert plan.predictor_files(["r000c000"]) == [
        "resources/hills/composite/sentinel-2-l2a_2019/r000c000.tif",
        "resources/hills/composite/sentinel-2-l2a_2024/r000c000.tif",
        "resources/hills/lidar/als2019/r000c000.tif",
    ]


def test_a_forest_definition_by_canopy_reads_the_neighbouring_blocks():
    changes = {"area.chunk_px": 16, "area.block_chunks": 1, "forest": {"source": "canopy", "min_area_ha": 0.5}}
    assert make_plan(changes).near("r001c001") == [f"r00{row}c00{col}" for row in range(3) for col in range(3)]
    changes["forest"] = {"source": "canopy"}
    assert make_plan(changes).near("r001c001") == ["r001c001"]


def test_volume_becomes_biomass_by_its_factor_and_biomass_by_none():
    factor = {"pools.expansion_factor_mg_m3": 0.6, "pools.expansion_factor_source": "a table"}
    assert make_plan({"targets": ["volume"], **factor}).carbon["biomass_per_target"] == 0.6
    assert make_plan({"targets": ["agb", "volume"], **factor}).carbon["biomass_per_target"] == 1.0


def test_leaf_on_and_leaf_off_are_never_pooled_untested():
    mixed = {"a": {"points": "a", "date": 2019}, "b": {"points": "b", "date": 2024, "leaf": "off"}}
    assert make_plan({"lidar": mixed, "model.date_effect": "never"}).model_settings["date_effect"] == "auto"
    assert make_plan({"model.date_effect": "never"}).model_settings["date_effect"] == "never"


@pytest.mark.parametrize(
    ("changes", "begin"),
    [
        ({"years": [2019]}, "One date only"),
        ({"lidar": {}, "sensors": {"sentinel-2-l2a": S2}}, "No airborne lidar"),
        ({}, "No satellite sensor"),
        ({"sensors": {"sentinel-2-l2a": S2}}, "No lidar within 1 years of 2024"),
        ({"targets": ["stems"]}, "Neither biomass nor volume"),
        ({}, "No forest definition"),
    ],
)
def test_what_a_study_does_not_make_is_noted_with_the_reason(changes, begin):
    assert [note for note in make_plan(changes).notes if note.startswith(begin)]


def test_a_complete_study_has_nothing_to_note():
    changes = {
        "sensors": {"sentinel-2-l2a": S2}, "lidar.als2024": {"points": "tiles", "date": 2024},
        "forest": {"source": "raster", "files": {2019: "a.tif", 2024: "b.tif"}},
    }  # fmt: skip
    assert make_plan(changes).notes == []


def test_very_large_maps_are_published_in_blocks():
    assert make_plan().map_suffix == ".tif"
    wide = make_plan({"area.bounds": [100_000, 1_000_000, 700_000, 2_000_000], "area.resolution_m": 10})
    assert wide.map_suffix == ".vrt"


def test_what_is_not_there_is_said_before_the_first_job_one_line_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="does not exist") as error:
        make_plan({"plots.trees": "trees.csv", "model.regressor": "lineal", "years": [2019]}).prepare()
    assert sorted(str(error.value).splitlines()) == [
        "lidar.als2019.points: tiles does not exist",
        f"model.regressor: 'lineal' is not known; did you mean linear?; known: {', '.join(REGRESSORS)}",
        "plots.file: plots.csv does not exist", "plots.trees: trees.csv does not exist",
    ]  # fmt: skip


# ---------------------------------------------------------------- digests of code


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the packages that a test may edit."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("catalogs", "models", "pipeline", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc"))
    return folder


RULES = ("search", "composite", "lidar", "plots", "training", "fit", "estimate", "stands", "publish", "check", "report", "record")


def codes(folder):
    """Digest of the code of every rule, as a new process of that checkout sees it."""
    program = (
        "import json; from pipeline.bridge import Plan; from pipeline.config import load_study; "
        f"plan = Plan(load_study('config/planted.yaml')); print(json.dumps({{rule: plan.code(rule) for rule in {RULES}}}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unedited(checkout):
    return codes(checkout)


@pytest.mark.parametrize(
    ("file", "changed", "unchanged"),
    [
        ("pipeline/indicators/optical.py", {"training", "estimate"}, {"composite", "lidar", "plots", "fit", "stands", "publish"}),
        ("models/regressors/trees.py", {"fit", "estimate", "stands"}, {"composite", "lidar", "plots", "publish", "check"}),
        ("pipeline/steps/forest.py", {"estimate", "stands", "training"}, {"composite", "lidar", "plots", "fit", "publish"}),
        ("pipeline/steps/roots.py", {"plots"}, {"composite", "lidar", "training", "estimate", "stands", "publish"}),
        ("pipeline/optical/composite.py", {"composite"}, {"training", "lidar", "fit", "estimate", "stands", "plots"}),
        ("pipeline/lidar/metrics.py", {"lidar", "training"}, {"composite", "fit", "stands", "plots", "publish"}),
        ("models/pools.py", {"estimate", "stands", "check"}, {"composite", "lidar", "training", "fit"}),
        ("catalogs/parameters/allometry.csv", {"plots"}, {"composite", "lidar", "training", "fit", "estimate"}),
    ],
)  # fmt: skip
def test_an_edit_changes_the_code_of_the_steps_that_use_it_and_of_no_other(checkout, unedited, file, changed, unchanged):
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n# edited\n", encoding="utf-8")
    try:
        after = codes(checkout)
    finally:
        path.write_text(text, encoding="utf-8")
    differ = {rule for rule in RULES if unedited[rule] != after[rule]}
    assert changed <= differ and not unchanged & differ


@pytest.mark.parametrize(
    ("asked", "promised"),
    [({}, True), ({"targets": {"all"}}, True), ({"until": {"fit"}}, False), ({"targets": {"model_card"}}, False),
     ({"omit_from": {"report"}}, False)],
    ids=["everything", "all", "until", "target", "omit_from"],
)  # fmt: skip
def test_results_are_promised_where_all_of_them_were_asked_for(capsys, asked, promised):
    settings = SimpleNamespace(**{"until": frozenset(), "omit_from": frozenset(), "targets": frozenset(), **asked})
    session.finished(SimpleNamespace(dag_settings=settings), "results/hills")
    said = capsys.readouterr().err
    assert ("The results are in results/hills" in said) == promised
    assert ("What was asked for is done" in said) != promised
