"""The sheet of stands: encodings, zones, units, overlaps, slivers, duplicates and attributes, each with its features."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from conftest import ROOT

from catalogs.stand_findings import KINDS
from catalogs.stand_inspection import inspect_stands, sentences
from catalogs.stands import read_stands
from pipeline.__main__ import main
from pipeline.config import Stands

UTM = "EPSG:32650"


def square(east_m: float, side_m: float = 100.0) -> shapely.Polygon:
    return shapely.box(500_000 + east_m, 2_999_900, 500_000 + east_m + side_m, 2_999_900 + side_m)


def sub_compartments(*shapes, crs: str = UTM, **columns) -> gpd.GeoDataFrame:
    """Squares of 1 ha with the attributes of a Chinese sub-compartment layer."""
    shapes = shapes or (square(0), square(100), square(200))
    count = len(shapes)
    data = {
        "LIN_BAN": ["01"] * count, "XIAO_BAN": [f"{i + 1:03d}" for i in range(count)], "MIAN_JI": [15.0] * count,
        "YOU_SHI_SZ": ["杉木", "马尾松", "杉木"][:count] + ["杉木"] * (count - 3),
        "PINGJUN_NL": [12, 25, 41][:count] + [8] * (count - 3),
        "QI_YUAN": ["21", "11", "21"][:count] + ["21"] * (count - 3),
    }  # fmt: skip
    return gpd.GeoDataFrame({**data, **columns}, geometry=list(shapes), crs=crs)


@pytest.fixture
def look(tmp_path):
    def look(layer: gpd.GeoDataFrame, *, suffix: str = ".gpkg", named: bool = False, **settings):
        file = tmp_path / f"stands{suffix}"
        layer.to_file(file)
        return inspect_stands(Stands(file=str(file), **settings).model_dump(mode="json"), named=named)

    return look


def test_a_clean_layer_is_described_and_nothing_is_wrong(look):
    report = look(sub_compartments())
    assert report["problems"] == []
    assert report["facts"]["declared area"] == "MIAN_JI: in mu"
    assert report["facts"]["species"] == "YOU_SHI_SZ: 杉木 2, 马尾松 1"
    assert report["facts"]["age"].startswith("PINGJUN_NL: 12 1, 25 1, 41 1")
    assert report["settings"]["id"] == "XIAO_BAN"
    assert report["settings"]["area_unit"] == "mu"


def test_numbers_that_repeat_between_compartments_are_joined_with_theirs(look):
    layer = sub_compartments(LIN_BAN=["01", "02", "02"], XIAO_BAN=["001", "001", "002"])
    report = look(layer)
    assert report["settings"]["id"] == ["LIN_BAN", "XIAO_BAN"]
    assert report["problems"] == []


def test_what_is_wrong_with_polygons_is_named_by_feature(look):
    layer = sub_compartments(
        square(0), square(100), square(190), square(0), shapely.box(500_400, 2_999_900, 500_403, 3_000_000),
        XIAO_BAN=["1", "2", "3", "4", "2"], MIAN_JI=[15, 15, 15, 15, 30],
    )  # fmt: skip
    said = look(layer, id="XIAO_BAN", area_column="MIAN_JI", area_unit="mu", named=True)
    problems, warnings = "\n".join(said["problems"]), "\n".join(said["warnings"])
    assert "the stand id '2' stands in features 2 and 5" in problems
    assert "features 1 and 4 are the same polygon" in problems
    assert "stands '2' and '3' overlap by 1,000 m2" in problems and "listed first: features 2 and 3" in problems
    assert said["facts"]["overlaps"] == "2 pairs, 1.1000 ha"
    assert "feature 5 is a sliver" in warnings
    assert "MIAN_JI differs from the polygon by more than 10% in feature 5" in warnings


def test_missing_attributes_and_areas_are_named(look):
    said = look(sub_compartments(QI_YUAN=["21", None, "21"], MIAN_JI=[15, 15, 0]))
    warnings = "\n".join(said["warnings"])
    assert "QI_YUAN is empty in feature 2" in warnings
    assert "MIAN_JI is missing or zero in feature 3" in warnings


@pytest.mark.parametrize("declared", [None, "ISO-8859-1"], ids=["no_cpg", "wrong_cpg"])
def test_a_gbk_shapefile_reads_or_its_garbled_text_is_said(tmp_path, declared):
    file = tmp_path / "stands.shp"
    sub_compartments().to_file(file, encoding="GBK")
    file.with_suffix(".cpg").unlink()
    if declared:
        file.with_suffix(".cpg").write_text(declared)
    report = inspect_stands(Stands(file=str(file)).model_dump(mode="json"), named=False)
    if declared:
        assert any("looks garbled" in sentence and "stands.encoding" in sentence for sentence in report["warnings"])
    else:
        assert report["facts"]["species"] == "YOU_SHI_SZ: 杉木 2, 马尾松 1"


@pytest.mark.parametrize(
    ("declared", "shift_m", "sentence"),
    [("EPSG:4548", 39e6, "39 taken off"), ("EPSG:4527", -39e6, "which lack it; put in front")],
    ids=["zone_too_many", "zone_missing"],
)
def test_zone_numbers_in_eastings_are_said_as_a_run_puts_them_right(look, declared, shift_m, sentence):
    there = sub_compartments().to_crs(declared)
    there = there.set_geometry(there.translate(xoff=shift_m)).set_crs(declared, allow_override=True)
    report = look(there)
    assert any(sentence in said for said in report["warnings"])
    assert report["facts"]["polygons"].startswith("3.0 ha")


def test_a_layer_without_crs_is_asked_for_it(look):
    with pytest.warns(UserWarning, match="crs"):
        report = look(sub_compartments().set_crs(None, allow_override=True))
    assert any("does not say its coordinate reference system" in sentence for sentence in report["problems"])


# ---------------------------------------------------------------- strata of attributes


def test_strata_are_made_of_species_origin_and_age_classes(tmp_path):
    file = tmp_path / "stands.gpkg"
    sub_compartments(PINGJUN_NL=[19.9, 20, 41]).to_file(file)
    settings = Stands(
        file=str(file), id=["LIN_BAN", "XIAO_BAN"], stratum=["YOU_SHI_SZ", "QI_YUAN", "PINGJUN_NL"],
        stratum_classes={"PINGJUN_NL": [20, 40]}, stratum_codes={"QI_YUAN": {11: "natural", 21: "planted"}},
    ).model_dump(mode="json")  # fmt: skip
    stands = read_stands(settings, crs=UTM)
    assert list(stands["stand"]) == ["01_001", "01_002", "01_003"]
    assert list(stands["stratum"]) == ["杉木_planted_0-20", "马尾松_natural_20-40", "杉木_planted_40+"]


def test_an_unexplained_code_is_named_with_its_feature(tmp_path):
    file = tmp_path / "stands.gpkg"
    sub_compartments(QI_YUAN=["21", "99", "21"]).to_file(file)
    settings = Stands(file=str(file), id="XIAO_BAN", stratum="QI_YUAN", stratum_codes={"QI_YUAN": {"21": "planted"}})
    with pytest.raises(ValueError, match=r"QI_YUAN '99' of feature 2 is not in stands\.stratum_codes\.QI_YUAN; it has 21"):
        read_stands(settings.model_dump(mode="json"), crs=UTM)


def test_a_stand_without_one_of_its_attributes_has_no_stratum(tmp_path):
    file = tmp_path / "stands.gpkg"
    sub_compartments(QI_YUAN=["21", None, "21"], PINGJUN_NL=[10, 10, np.nan]).to_file(file)
    settings = Stands(file=str(file), id="XIAO_BAN", stratum=["QI_YUAN", "PINGJUN_NL"], stratum_classes={"PINGJUN_NL": [20]})
    assert list(read_stands(settings.model_dump(mode="json"), crs=UTM)["stratum"].fillna("?")) == ["21_0-20", "?", "?"]


def test_the_command_prints_the_sheet_and_exits_by_what_a_run_would_do(tmp_path, capsys):
    file = tmp_path / "stands.gpkg"
    sub_compartments().to_file(file)
    assert main(["inspect", "stands", str(file)]) == 0
    assert "declared area" in capsys.readouterr().out
    sub_compartments(square(0), square(50)).to_file(file)
    assert main(["inspect", "stands", "--json", str(file)]) == 1
    assert "overlap by 5,000 m2" in json.loads(capsys.readouterr().out)["problems"][0]


# ---------------------------------------------------------------- rules


SLOPPY = {
    "shapes": (square(0), square(100), square(300), square(0), None, square(400), square(500, 5)),
    "XIAO_BAN": ["1", "2", "2", "4", "5", "", "7"], "MIAN_JI": [15, 10, 20, 15, 15, 15, 0.0375],
    "YOU_SHI_SZ": ["杉木", "杉木", "马尾松", "杉木", "杉木", "杉木", None],
}  # fmt: skip
"""Stand 2 in two features that lie apart, 4 drawn as 1 is, 5 without polygon, one without id, and a sliver without species."""
RULES = {"id_missing": "leave_out", "id_repeated": "merge", "polygon_missing": "leave_out", "polygon_repeated": "first",
         "sliver": "leave_out"}  # fmt: skip


@pytest.fixture
def sloppy(tmp_path):
    layer = sub_compartments(*SLOPPY["shapes"], **{name: value for name, value in SLOPPY.items() if name != "shapes"})
    layer.to_file(tmp_path / "sloppy.gpkg")

    def settings(**chosen) -> dict:
        named = {"id": "XIAO_BAN", "stratum": "YOU_SHI_SZ", "area_column": "MIAN_JI", "area_unit": "mu"}
        return Stands(file=str(tmp_path / "sloppy.gpkg"), **named, **chosen).model_dump(mode="json")

    return settings


def test_what_is_wrong_with_stands_is_left_out_or_merged_by_rule_and_counted(sloppy, caplog):
    stands = read_stands(sloppy(rules=RULES), crs=UTM).set_index("stand")
    assert stands["area_ha"].to_dict() == pytest.approx({"1": 1.0, "2": 2.0})
    assert stands.geometry["2"].geom_type == "MultiPolygon"
    # 10 and 20 mu on 1 ha each: together the 2 ha that are drawn; the first of two equal parts gives the stratum
    assert stands["declared_area_ha"].to_dict() == pytest.approx({"1": 1.0, "2": 2.0})
    assert stands["stratum"].to_dict() == {"1": "杉木", "2": "杉木"}
    for said in (
        "XIAO_BAN is empty in feature 6: left out: the stand", "stand 5 without a polygon (feature 5)",
        "features 1 and 4 are the same polygon", "their strata differ (杉木, 马尾松)", "feature 7 is a sliver",
    ):  # fmt: skip
        assert said in caplog.text


def test_of_stands_of_one_id_the_first_may_be_taken(sloppy):
    stands = read_stands(sloppy(rules={**RULES, "id_repeated": "first"}), crs=UTM)
    assert stands["stand"].tolist() == ["1", "2"]
    assert stands["area_ha"].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("kind", sorted(set(RULES) - {"sliver"}))
def test_each_of_them_stops_a_run_where_no_rule_says_otherwise(sloppy, kind):
    settings = sloppy(rules={name: rule for name, rule in RULES.items() if name != kind})
    with pytest.raises(ValueError, match=r"empty in feature 6|stands in features 2 and 3|without a polygon|same polygon"):
        read_stands(settings, crs=UTM)


def test_the_sheet_carries_the_rules_out_and_says_so(sloppy):
    report = inspect_stands(sloppy(rules=RULES), crs=UTM)
    assert report["problems"] == []
    assert {one["kind"]: (one["rule"], one["rows"]) for one in report["findings"]} == {
        "id_missing": ("leave_out", [6]), "polygon_missing": ("leave_out", [5]), "polygon_repeated": ("first", [4]),
        "id_repeated": ("merge", [2, 3]), "sliver": ("leave_out", [7]),
    }  # fmt: skip
    assert report["facts"]["polygons"].startswith("3.0 ha; 1 to 2 ha")
    lines = sentences(report)
    assert "what carries one name becomes one, counted:" in lines
    report = inspect_stands(sloppy(), crs=UTM)
    assert len(report["problems"]) == 5  # the twin polygon overlaps as well


def test_an_age_below_zero_makes_no_class(tmp_path):
    file = tmp_path / "stands.gpkg"
    sub_compartments(PINGJUN_NL=[12, -3, 41]).to_file(file)
    chosen = {"file": str(file), "id": "XIAO_BAN", "stratum": "PINGJUN_NL", "stratum_classes": {"PINGJUN_NL": [20]}}
    with pytest.raises(ValueError, match="PINGJUN_NL is below zero in feature 2, such as -3"):
        read_stands(Stands(**chosen).model_dump(mode="json"), crs=UTM)
    stands = read_stands(Stands(**chosen, rules={"class_negative": "leave_out"}).model_dump(mode="json"), crs=UTM)
    assert stands["stratum"].fillna("?").tolist() == ["0-20", "?", "20+"]


def test_a_rule_that_stands_cannot_have_is_refused(tmp_path):
    file = tmp_path / "stands.gpkg"
    sub_compartments().to_file(file)
    for rules, sentence in (
        ({"overlap": "keep"}, r"stands\.rules\.overlap: 'keep' cannot be done .*choose fail or first"),
        ({"slivers": "keep"}, r"stands\.rules\.slivers is not a kind of finding \(did you mean 'sliver'\?\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_stands(Stands(file=str(file), id="XIAO_BAN", rules=rules).model_dump(mode="json"), crs=UTM)


def test_the_page_names_every_kind_of_finding_about_stands_with_its_rule():
    page = (ROOT / "docs/how-to/bring-your-plots.md").read_text(encoding="utf-8")
    for name, about in KINDS.items():
        assert f"| `{name}` | {about.title} | `{about.default}` |" in page
