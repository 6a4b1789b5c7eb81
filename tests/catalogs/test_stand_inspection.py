"""The sheet of stands: encodings, zones, units, overlaps, slivers, duplicates and attributes, each with its features."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from catalogs.stand_inspection import inspect_stands
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
    assert "features 2 (2) and 3 (3) overlap by 1,000 m2" in problems
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
