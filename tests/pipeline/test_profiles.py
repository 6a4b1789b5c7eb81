"""Indicator profiles: a standard's list as a file, checked with sentences, used by a study in its order."""

import re

import pytest
import yaml
from conftest import ROOT, make_settings

from catalogs.sensors import SENSORS, offered_roles
from pipeline.__main__ import main
from pipeline.bridge import Plan
from pipeline.config import StudyError, load_study
from pipeline.indicators.profile import load_profile, predictors_of, rows, titles

ROLES = offered_roles(["sentinel-2-l2a", "landsat-c2-l2"])


def entry(code="F01", name="Moisture", **about):
    return {"code": code, "name": name, **(about or {"indicator": "ndmi"})}


@pytest.fixture
def make_profile(tmp_path):
    def make(*entries, **changes):
        content = {"title": "A list", "source": "a test", "status": "user", "entries": list(entries) or [entry()], **changes}
        file = tmp_path / "profile.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return file

    return make


def test_a_profile_gives_predictors_in_its_own_order(make_profile):
    file = make_profile(
        entry("F09", "Burn", indicator="ls_nbr"),
        entry("F01", "Moisture", indicator="ndmi", unit=1),
        entry("F02", "Height", indicator="zq95", unit="m"),
        entry("F03", "Wetness index", absent="needs the flow of a catchment"),
        entry("F04", "Red", indicator="s2_red"),
    )
    found = predictors_of(load_profile(file), ROLES)
    assert titles(found) == {
        "ls_nbr": "F09 Burn", "s2_ndmi": "F01 Moisture", "zq95": "F02 Height", "s2_red": "F04 Red",
    }  # fmt: skip
    assert list(found) == ["ls_nbr", "s2_ndmi", "zq95", "s2_red"]


def test_an_indicator_without_a_sensor_is_of_the_first_that_makes_it(make_profile):
    profile = load_profile(make_profile(entry(indicator="ndre"), entry("F02", "Moisture", indicator="ndmi")))
    first_landsat = dict(reversed(ROLES.items()))
    assert list(predictors_of(profile, first_landsat)) == ["s2_ndre", "ls_ndmi"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"title": None}, "title is missing: what the list is called"),
        ({"source": None}, "source is missing: where the list comes from"),
        ({"status": "official"}, "status is 'official', but must be one of published"),
        ({"entries": []}, "entries is missing"),
        ({"author": "me"}, "the profile: author is not a setting; known: title, source, status, entries"),
        ({"entries": ["ndmi"]}, "entry 1 must be a mapping with code, name, indicator, absent, unit, got 'ndmi'"),
        ({"entries": [entry(indicator=None)]}, r"entry 1 \(F01\): give either indicator .* or absent .*, not both or none"),
        ({"entries": [entry(indicator="ndmi", absent="no")]}, "give either indicator"),
        ({"entries": [{"code": "F01", "indicator": "ndmi"}]}, r"entry 1 \(F01\): name is missing"),
        ({"entries": [{"name": "Moisture", "indicator": "ndmi"}]}, "entry 1: code is missing"),
        ({"entries": [entry(), entry()]}, r"entry 2 \(F01\): the code F01 stands twice"),
        ({"entries": [entry(indicater="ndmi")]}, r"entry 1 \(F01\): indicater is not a setting"),
        ({"entries": [entry(indicator=["ndmi"])]}, r"indicator must be a text, got \['ndmi'\]"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(make_profile, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_profile(make_profile(**changes))


def test_every_mistake_is_said_at_once(make_profile):
    with pytest.raises(ValueError) as caught:
        load_profile(make_profile(title=None, status="official", author="me"))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"indicator": "ndii"}, "F01 Moisture: ndii is called ndmi here: write indicator: ndmi"),
        ({"indicator": "rvi"}, "F01 Moisture: rvi is two things"),
        ({"indicator": "s2_ndmii"}, "'s2_ndmii' is not a predictor of this study; did you mean s2_ndmi"),
        ({"indicator": "slope"}, "no sensor of the study makes slope, which needs elevation: add one, or write absent: and why"),
        ({"indicator": "ls_ndre"}, "predictor 'ls_ndre' needs band 'rededge1'"),
        ({"indicator": "ndmi", "unit": "%"}, "its unit is '%', but s2_ndmi is in '1': values are not converted, so write ours"),
    ],
)
def test_an_entry_that_the_study_cannot_make_is_refused(make_profile, about, sentence):
    with pytest.raises(ValueError, match=sentence):
        predictors_of(load_profile(make_profile(entry(**about))), ROLES)


def test_two_entries_cannot_be_one_predictor(make_profile):
    profile = load_profile(make_profile(entry(), entry("F02", "Land water", indicator="s2_ndmi")))
    with pytest.raises(ValueError, match="F02 Land water: it is s2_ndmi, as is F01: write absent: the same as F01"):
        predictors_of(profile, ROLES)


def test_a_profile_of_nothing_but_gaps_is_no_list_of_predictors(make_profile):
    profile = load_profile(make_profile(entry(absent="not from space")))
    with pytest.raises(ValueError, match="'A list' offers no predictor at all"):
        predictors_of(profile, ROLES)


def test_a_file_that_is_no_yaml_or_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="the indicator profile does not exist"):
        load_profile(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("title: [")
    with pytest.raises(ValueError, match="not readable YAML near line"):
        load_profile(tmp_path / "broken.yaml")


# ---------------------------------------------------------------- the example, and the command


def test_the_example_is_valid_and_claims_no_standard():
    profile = load_profile(ROOT / "config/example_profile.yaml")
    assert profile.status == "user" and "no standard" in profile.title
    table = rows(profile, offered_roles(SENSORS))
    assert [row[0] for row in table] == ["X01", "X02", "X03", "X04", "X05", "X06", "X07"]


def test_list_shows_a_standard_with_what_is_offered_and_what_is_missing(make_profile, capsys):
    file = make_profile(entry(), entry("F02", "Wetness index", absent="needs the flow of a catchment"), status="unverified")
    assert main(["list", "indicators", "--profile", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "A list"
    assert said[1] == "source: a test; status: unverified, not checked against the published text"
    assert said[2].startswith("F01  Moisture") and " ndmi " in said[2]
    assert said[3].startswith("F02  Wetness index") and said[3].endswith("absent: needs the flow of a catchment")
    assert said[4] == "offered: 1 of 2"


def test_list_refuses_a_wrong_profile_with_its_sentences(make_profile, capsys):
    assert main(["list", "indicators", "--profile", str(make_profile(entry(indicator="ndii")))]) == 1
    assert "ndii is called ndmi here" in capsys.readouterr().err
    assert main(["list", "sensors", "--profile", "any.yaml"]) == 1
    assert "--profile and --page belong to `list indicators`" in capsys.readouterr().err


def test_the_page_is_what_the_docs_show(capsys):
    assert main(["list", "indicators", "--page"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs/reference/indicators.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- a study that uses one


@pytest.fixture
def study_with(tmp_path, make_profile, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*entries, **model):
        file = make_profile(*entries)
        changes = {
            "stands": {"grid_m": 100},
            "sensors": {"sentinel-2-l2a": {"catalog": "earth-search"}},
            "model.profile": str(file),
            **{f"model.{key}": value for key, value in model.items()},
        }
        study = tmp_path / "study.yaml"
        study.write_text(yaml.safe_dump(make_settings(changes)))
        (tmp_path / "tiles").mkdir()
        (tmp_path / "plots.csv").write_text("")
        return study

    return make


TWO = (entry("F02", "Burn", indicator="nbr"), entry("F01", "Moisture", indicator="ndmi"))


def test_a_study_takes_the_profile_as_its_predictors_in_its_order(study_with):
    plan = Plan(load_study(study_with(*TWO)))
    assert plan.predictor_sets == {"profile": ["s2_nbr", "s2_ndmi"]}
    assert plan.predictor_titles == {"s2_nbr": "F02 Burn", "s2_ndmi": "F01 Moisture"}
    assert plan.needs.roles == {"s2": ("nir08", "swir16", "swir22")}


def test_reports_are_given_the_whole_list_with_what_serves_each_entry(study_with):
    """Rules pass it on as plain values: absent entries stay in their place."""
    study = study_with(TWO[0], entry("F03", "Wetness index", absent="needs the flow of a catchment"), TWO[1])
    standard = Plan(load_study(study)).standard
    shown = [(one["code"], one["name"], one["ours"], one["unit"]) for one in standard["entries"]]
    assert shown == [("F02", "Burn", "s2_nbr", "1"), ("F03", "Wetness index", "-", ""), ("F01", "Moisture", "s2_ndmi", "1")]
    assert standard["entries"][1]["about"] == "absent: needs the flow of a catchment"
    assert (standard["title"], standard["source"], standard["status"]) == ("A list", "a test", "user, drawn up by the user")


def test_a_profile_may_name_predictors_of_a_studys_own_composites(study_with, make_profile, capsys):
    sensors = {"s2_leafoff": {"catalog": "earth-search", "series": {"ndvi": ["p90"]}}}
    study = study_with(*TWO)
    settings = yaml.safe_load(study.read_text()) | {"sensors": sensors}
    study.write_text(yaml.safe_dump(settings))
    file = make_profile(entry(indicator="s2_leafoff_ndmi"), entry("F02", "Summer", indicator="s2_leafoff_ndvi_p90"))
    assert main(["list", "indicators", "--profile", str(file)]) == 1
    capsys.readouterr()
    assert main(["list", "indicators", "--profile", str(file), "--study", str(study)]) == 0
    said = capsys.readouterr().out
    assert " s2_leafoff_ndmi " in said and " s2_leafoff_ndvi_p90 " in said and "offered: 2 of 2" in said
    assert main(["list", "sensors", "--study", str(study)]) == 1
    assert "--study belongs to --profile" in capsys.readouterr().err


def test_the_profile_can_stand_in_one_of_several_sets(study_with):
    study = study_with(*TWO, predictors={"lidar": ["zmean"], "satellite": ["s2_swir16", "profile"]})
    assert Plan(load_study(study)).predictor_sets == {"lidar": ["zmean"], "satellite": ["s2_swir16", "s2_nbr", "s2_ndmi"]}


def test_the_path_of_a_profile_is_not_a_reason_to_fit_again(study_with):
    assert "profile" not in Plan(load_study(study_with(*TWO))).model_settings


def test_a_profile_that_the_study_cannot_make_stops_it_before_the_first_job(study_with, capsys):
    assert main(["check", str(study_with(entry(indicator="slope"), entry("F02", "Water", indicator="lswi")))]) == 1
    said = capsys.readouterr().err
    assert "model.profile: F01 Moisture: no sensor of the study makes slope" in said
    assert "model.profile: F02 Water: lswi is called ndmi here" in said


def test_a_profile_that_is_not_there_is_said_like_any_missing_file(study_with, capsys):
    study = study_with(*TWO)
    (study.parent / "profile.yaml").unlink()
    assert main(["check", str(study)]) == 1
    assert re.search(r"model\.profile: \S+profile\.yaml does not exist", capsys.readouterr().err)


def test_the_word_profile_needs_a_profile(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(make_settings({"stands": {"grid_m": 100}, "model.predictors": {"lidar": ["profile"]}})))
    with pytest.raises(StudyError, match=r"predictors.lidar says profile, but profile .* is not given"):
        load_study(study)
