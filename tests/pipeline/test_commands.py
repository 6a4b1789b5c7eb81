"""`python -m pipeline VERB`: sentences and exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, make_settings
from pydantic import BaseModel

from pipeline.__main__ import main
from pipeline.config import Study, load_study


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


PLOTS = "plot,date,x,y,radius_m,agb_mg_ha\n" + "".join(
    f"P{k},2019-07-01,{500100 + 200 * (k % 4)},{2999900 - 300 * (k // 4)},11.28,{80 + 10 * k}\n" for k in range(12)
)


def write_study(folder, changes=None, *, files=("plots.csv", "stands.gpkg")):
    """A configuration, and stand-ins for the files that it names."""
    for name in files:
        (folder / name).write_text(PLOTS if name == "plots.csv" else "")
    (folder / "tiles").mkdir()
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(make_settings({"stands": {"grid_m": 100}, "plots.crs": "EPSG:32650", **(changes or {})})))
    return str(file)


def test_check_says_what_a_study_will_make(tmp_path, capsys):
    assert main(["check", write_study(tmp_path, {"years": [2019]})]) == 0
    said = capsys.readouterr().out
    assert "study.yaml is a complete study: hills, 50 x 50 cells of 20 m" in said
    assert "blocks: 1; years: 2019; targets: agb" in said
    assert "predictors, lidar: zmean, zmean_2m, zq95, cover_2m" in said
    assert "note: One date only" in said


def test_a_year_that_nothing_shows_is_refused_before_the_run(tmp_path, capsys):
    assert main(["check", write_study(tmp_path)]) == 1
    assert "years: 2024 cannot be mapped: no campaign within 1 years of it" in capsys.readouterr().err


def test_a_results_folder_of_another_study_is_not_taken(tmp_path, capsys):
    config = write_study(tmp_path, {"years": [2019]})
    assert main(["check", config]) == 0
    results = Path(load_study(config).results)
    results.mkdir(parents=True, exist_ok=True)
    (results / "run.json").write_text('{"study": {"name": "valley"}}')
    assert main(["check", config]) == 1
    assert "holds the results of the study valley" in capsys.readouterr().err


def test_results_of_a_run_that_was_stopped_are_told_apart_from_finished_ones(tmp_path, capsys):
    config = write_study(tmp_path, {"years": [2019]})
    results = Path(load_study(config).results)
    results.mkdir(parents=True, exist_ok=True)
    told = {"study": {"name": "hills", "results": str(results)}, "results_sha256": {f"{results}/stands.parquet": "0" * 64}}
    (results / "run.json").write_text(json.dumps(told))
    assert main(["check", config]) == 0
    assert "holds files of two runs: stands.parquet are not as run.json has them" in capsys.readouterr().out


def test_check_lists_every_file_that_is_not_there(tmp_path, capsys):
    changes = {"plots.trees": "trees.csv", "forest": {"source": "raster", "files": {2019: "f19.tif", 2024: "f24.tif"}}}
    assert main(["check", write_study(tmp_path, changes, files=())]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.endswith("does not exist")] == [
        "years: 2024 cannot be mapped: no campaign within 1 years of it (plots.max_years_apart) and no sensor"
    ]
    assert sorted(line.split(": ")[1] for line in said if line.endswith("does not exist")) == [
        f"{name} does not exist" for name in ("f19.tif", "f24.tif", "plots.csv", "trees.csv")
    ]
    assert "plots.trees: trees.csv does not exist" in said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model.predictors": {"lidar": ["zmaen"]}}, r"'zmaen' is not a predictor of this study; did you mean zmean\?"),
        ({"model.regressor": "lineal"}, r"model.regressor: 'lineal' is not .*linear"),
        (
            {"model.regressor": "ridge", "model.quantiles": [0.05, 0.95]},
            "model.quantiles: regressor ridge tells no quantiles; extra_trees, random_forest, quantile_forest do",
        ),
        ({"model.quantiles": [0.95, 0.05]}, r"model.quantiles: quantiles must rise and not repeat"),
        ({"sensors": {"sentinel-2": {"catalog": "plots.csv"}}}, r"'sentinel-2'.*sentinel-2-l2a"),
        (
            {"sensors": {"sentinel-1-rtc": {"catalog": "plots.csv", "speckle": "lea"}}},
            r"sensors.sentinel-1-rtc.speckle: 'lea' is not known; did you mean lee\?; known: none, multitemporal, lee",
        ),
        (
            {"model.predictors": {"lidar": ["zmean", "s1_vh_db"]}},
            "model.predictors: 's1_vh_db' needs the sensor sentinel-1-rtc, which the study does not list under sensors",
        ),
        (
            {"sensors": {"copernicus-dem-glo30": {"catalog": "plots.csv", "season": ["06-01", "09-30"]}}},
            "sensors.copernicus-dem-glo30.season: .* is elevation, and this setting is for optical and radar sensors",
        ),
        (
            {"sensors": {"sentinel-2-l2a": {"catalog": "plots.csv", "orbit": "both"}}},
            "sensors.sentinel-2-l2a.orbit: .* is optical, and this setting is for radar sensors; take it out",
        ),
        (
            {"sensors": {"sentinel-1-rtc": {"catalog": "plots.csv", "reducer": "best_available_pixel"}}},
            "sensors.sentinel-1-rtc.reducer: best_available_pixel scores the distance to clouds",
        ),
        ({"area.resolutoin_m": 5}, r"area.resolutoin_m is not a setting; did you mean area.resolution_m\?"),
    ],
    ids=[
        "predictor", "regressor", "quantiles", "falling_quantiles", "sensor", "speckle", "sensor_absent",
        "season_of_elevation", "orbit_of_optics", "clouds_of_radar", "key",
    ],
)
def test_check_answers_a_wrong_name_with_the_nearest_right_one(tmp_path, capsys, changes, sentence):
    assert main(["check", write_study(tmp_path, changes)]) == 1
    said = capsys.readouterr().err
    assert re.search(sentence, said) and "Traceback" not in said


def test_a_configuration_that_is_not_there_is_a_sentence(capsys):
    assert main(["check", "none.yaml"]) == 1
    assert capsys.readouterr().err == "none.yaml: the configuration file does not exist\n"


def test_new_writes_a_configuration_that_only_waits_for_its_files(tmp_path, capsys):
    assert main(["new", str(tmp_path / "my forest!")]) == 0
    file = tmp_path / "my forest!" / "study.yaml"
    assert f"wrote {file}" in capsys.readouterr().out
    assert load_study(file).name == "my_forest"
    assert main(["check", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said and all(line.endswith("does not exist") for line in said)


def test_new_never_overwrites(tmp_path, capsys):
    assert main(["new", str(tmp_path)]) == 0
    (tmp_path / "study.yaml").write_text("mine")
    assert main(["new", str(tmp_path)]) == 1
    assert "is there already; it is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "study.yaml").read_text() == "mine"


def settings_in(section: type[BaseModel]) -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        found.add(name)
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= settings_in(part)
    return found


def test_the_new_configuration_mentions_every_setting_there_is(tmp_path):
    main(["new", str(tmp_path)])
    text = (tmp_path / "study.yaml").read_text()
    sections = {name: field for name, field in Study.model_fields.items() if name != "planted"}
    for name, field in sections.items():
        assert re.search(rf"(?m)^(# ?)?{name}:", text), name
        for part in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(part, type) and issubclass(part, BaseModel):
                missing = [key for key in settings_in(part) if not re.search(rf"\b{key}:", text)]
                assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("indicators", "ndmi"), ("sensors", "sentinel-2-l2a"), ("regressors", "linear"), ("metrics", "zq95"),
        ("products", "sink_<year>_<year>"), ("targets", "agb_mg_ha"), ("allometry", "chave2014_with_height"),
        ("products", "canopy_<campaign>"), ("reducers", "median"), ("speckle", "multitemporal"), ("series", "harmonic"),
        ("catalogues", "planetary-computer"),
        ("equations", "nsvb"), ("equations", "jenkins2003"),
    ],
)  # fmt: skip
def test_list_names_what_a_configuration_can_use(capsys, what, named):
    assert main(["list", what]) == 0
    assert re.search(rf"(?m)(^|\s){re.escape(named)}(\s|$)", capsys.readouterr().out)


def test_search_says_what_is_wrong_with_a_study_without_satellites(tmp_path, capsys):
    assert main(["search", write_study(tmp_path)]) == 1
    assert capsys.readouterr().err == "the study names no sensors, so there is nothing to search for\n"


def test_a_wrong_verb_is_answered_with_the_right_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["chekc"])
    assert stop.value.code != 0 and "check" in capsys.readouterr().err


def test_the_demo_is_complete_before_anything_is_planted(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["check", "config/planted.yaml"]) == 0
    assert "blocks: 4; years: 2019, 2024" in capsys.readouterr().out
