"""Stands come in from any encoding, zone and unit of area, and what is wrong is said with its stands."""

from __future__ import annotations

import logging
import warnings

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from catalogs.stands import index_stands, read_stands
from pipeline.config import Stands

UTM = "EPSG:32650"
BOUNDS = (500_000.0, 2_999_000.0, 501_000.0, 3_000_000.0)
BOW_TIE = shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)])


def stand_layer(*shapes, crs: str | None = UTM, **columns) -> gpd.GeoDataFrame:
    """Squares of 100 m side by side by default, 1 ha each, in the north-west corner of `BOUNDS`."""
    shapes = shapes or (square(0), square(100), square(200))
    data = {"stand": [f"s{i + 1}" for i in range(len(shapes))], **columns}
    return gpd.GeoDataFrame(data, geometry=list(shapes), crs=crs)


def square(east_m: float, side_m: float = 100.0) -> shapely.Polygon:
    return shapely.box(500_000 + east_m, 2_999_900, 500_000 + east_m + side_m, 2_999_900 + side_m)


@pytest.fixture
def read(tmp_path):
    def write(polygons: gpd.GeoDataFrame, *, crs: str = UTM, bounds=None, suffix: str = ".gpkg", **settings):
        file = tmp_path / f"stands{suffix}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            polygons.to_file(file)
        return read_stands(Stands(file=str(file), **settings).model_dump(mode="json"), crs=crs, bounds=bounds)

    return write


def test_stands_carry_the_district_that_is_asked_for_joined_of_its_columns(read, caplog):
    layer = stand_layer(county=["A", "A", None], owner=["state", "private", "state"])
    assert "district" not in read(layer)
    assert list(read(layer, district=["county", "owner"])["district"].fillna("?")) == ["A_state", "A_private", "?"]
    assert "1 of 3 features are in no district" in caplog.text


def test_stands_carry_id_stratum_and_area(read):
    stands = read(stand_layer(species=["fir", None, "pine"]), stratum="species")
    assert list(stands["stand"]) == ["s1", "s2", "s3"]
    assert list(stands["stratum"].fillna("?")) == ["fir", "?", "pine"]
    assert stands["area_ha"].to_numpy() == pytest.approx(1.0)
    assert set(stands["layer"]) == {"stands"}


def test_whole_numbers_are_ids_without_decimals(read):
    assert list(read(stand_layer(stand=[7.0, 8.0, 9.0]))["stand"]) == ["7", "8", "9"]


@pytest.mark.parametrize("declared", [None, "GBK", "UTF-8", "936"], ids=["no_cpg", "right", "wrong", "code_page"])
def test_a_chinese_shapefile_in_gbk_reads_right(tmp_path, caplog, declared):
    file = tmp_path / "stands.shp"
    layer = (
        stand_layer(square(0), square(100)).drop(columns="stand").assign(小班号=["一", "二号"], 树种=["杉木", "马尾松"])
    )
    layer.to_file(file, encoding="GBK")
    file.with_suffix(".cpg").unlink()
    if declared:
        file.with_suffix(".cpg").write_text(declared)
    settings = Stands(file=str(file), id="小班号", stratum="树种").model_dump(mode="json")
    with caplog.at_level(logging.INFO):
        stands = read_stands(settings, crs=UTM)
    assert list(stands["stand"]) == ["一", "二号"]
    assert list(stands["stratum"]) == ["杉木", "马尾松"]
    assert "text read as" in caplog.text


def test_a_utf8_shapefile_without_declaration_reads_right(tmp_path):
    file = tmp_path / "stands.shp"
    stand_layer(square(0)).assign(stand=["杉木林"]).to_file(file, encoding="UTF-8")
    file.with_suffix(".cpg").unlink()
    assert list(read_stands(Stands(file=str(file)).model_dump(mode="json"), crs=UTM)["stand"]) == ["杉木林"]


@pytest.mark.parametrize(
    ("declared", "written", "shift_m"),
    [
        ("EPSG:4527", "EPSG:4527", 0),
        ("EPSG:4548", "EPSG:4548", 0),
        ("EPSG:4548", "EPSG:4548", 39e6),
        ("EPSG:4527", "EPSG:4527", -39e6),
        ("EPSG:4509", "EPSG:4509", 20e6),
    ],
    ids=["zone_and_crs_with", "zone_and_crs_without", "zone_too_many", "zone_missing", "six_degrees_zone_too_many"],
)
def test_gauss_krueger_eastings_land_in_place_with_and_without_zone(read, declared, written, shift_m):
    there = stand_layer(square(0)).to_crs(written)
    there = there.set_geometry(there.translate(xoff=shift_m)).set_crs(declared, allow_override=True)
    stands = read(there)
    assert stands.total_bounds == pytest.approx([500_000, 2_999_900, 500_100, 3_000_000], abs=1.0)


def test_a_zone_of_another_meridian_is_refused_with_the_likely_crs(read):
    there = stand_layer(square(0)).to_crs("EPSG:4548")
    there = there.set_geometry(there.translate(xoff=38e6))
    with pytest.raises(ValueError, match=r"do not fit its CRS EPSG:4548 .*3-degree zone 38, EPSG:4526"):
        read(there)


def test_longitudes_are_reprojected_and_said_so(read, caplog):
    with caplog.at_level(logging.INFO):
        stands = read(stand_layer().to_crs(4490))
    assert "reprojected from geographic EPSG:4490 to EPSG:32650" in caplog.text
    assert stands["area_ha"].to_numpy() == pytest.approx(1.0, rel=1e-4)


def test_an_invalid_polygon_is_mended_and_its_area_told(read, caplog):
    tie = shapely.transform(BOW_TIE, lambda xy: xy + np.array([500_000, 2_999_900]))
    with caplog.at_level(logging.WARNING):
        stands = read(stand_layer(tie, square(200)))
    assert stands.is_valid.all()
    # two triangles of 100 m base and 50 m height
    assert stands["area_ha"].iloc[0] == pytest.approx(0.5)
    assert "mended 1 invalid polygons (stand s1)" in caplog.text


@pytest.mark.parametrize(("unit", "factor"), [("ha", 1.0), ("m2", 1e4), ("mu", 15.0), ("acre", 2.4710538)])
def test_declared_areas_are_read_in_their_unit(read, unit, factor):
    stands = read(stand_layer(mj=[factor] * 3), area_column="mj", area_unit=unit)
    assert stands["declared_area_ha"].to_numpy() == pytest.approx(1.0)


def test_areas_in_mu_given_as_hectares_are_recognised(read):
    with pytest.raises(ValueError, match=r"mj read as ha is 15 times .* it is in mu: set stands.area_unit: mu"):
        read(stand_layer(mj=[15.0, 15.0, 15.0]), area_column="mj")


@pytest.mark.parametrize(
    ("layer", "settings", "sentence"),
    [
        (stand_layer(square(0), square(50)), {}, "stands 's1' and 's2' overlap by 5,000 m2"),
        (stand_layer(stand=["a", "b", "a"]), {}, "the stand id 'a' stands in features 1 and 3"),
        (stand_layer(stand=["a", None, "c"]), {}, "stand is empty in feature 2"),
        (stand_layer(square(0), shapely.Polygon()), {}, "stand s2 without a polygon (feature 2)"),
        (stand_layer(square(0), shapely.Point(0, 0)), {}, "stands are polygons, but feature 2 is Point"),
        (stand_layer(crs=None), {}, "does not say its coordinate reference system; name it in stands.crs"),
        (stand_layer().to_crs(4527).set_crs(None, allow_override=True), {}, "3-degree zone 39, EPSG:4527"),
        (stand_layer().to_crs(4326).set_crs(UTM, allow_override=True), {}, "the coordinates look like degrees"),
        (stand_layer().set_crs(4326, allow_override=True), {}, "are no degrees, but its CRS EPSG:4326 is geographic"),
        (stand_layer(), {"id": "stand_id"}, "has no column 'stand_id' (stands.id) (did you mean 'stand'?)"),
        (stand_layer(square(50_000)), {"bounds": BOUNDS}, "no stand touches the study's area"),
        (stand_layer(), {"layer": "compartments"}, "has no layer 'compartments'; it has stands"),
    ],
    ids=[
        "overlap", "repeated_id", "missing_id", "empty", "point", "no_crs", "no_crs_zone", "degrees", "not_degrees",
        "id_column", "outside", "layer",
    ],
)  # fmt: skip
def test_stands_that_cannot_be_used_are_named(read, layer, settings, sentence):
    with pytest.raises(ValueError) as mistake:
        read(layer, **settings)
    assert sentence in str(mistake.value)


def test_touching_and_hairline_overlapping_stands_are_fine(read):
    assert len(read(stand_layer(square(0), square(99.995), square(200)))) == 3


def test_an_overlap_goes_to_the_first_stand_where_so_set(read):
    stands = read(stand_layer(square(0), square(50), square(75)), overlaps="first")
    assert stands["area_ha"].to_numpy() == pytest.approx([1.0, 0.5, 0.25])


def test_stands_outside_the_area_are_counted(read, caplog):
    with caplog.at_level(logging.WARNING):
        stands = read(stand_layer(square(0), square(50_000)), bounds=BOUNDS)
    assert len(stands) == 2
    assert "1 of 2 stands lie wholly outside" in caplog.text


def test_a_grid_of_squares_covers_the_area_and_no_more():
    settings = Stands(grid_m=300).model_dump(mode="json")
    stands = read_stands(settings, crs=UTM, bounds=BOUNDS)
    assert len(stands) == 16
    assert stands["stand"].iloc[0] == "g_r01_c01"
    assert stands["area_ha"].sum() == pytest.approx(100)
    assert stands.geometry.iloc[0].bounds == (500_000, 2_999_700, 500_300, 3_000_000)


def test_plots_lie_on_top_of_the_grid_one_stand_per_cluster():
    plots = gpd.GeoDataFrame(
        {"plot": ["A_0", "A_1", "B", "B"], "cluster": ["A", "A", "B", "B"]},
        geometry=[square(0), square(100), square(500), square(500)],
        crs=UTM,
    )
    settings = Stands(grid_m=500, include_plots=True).model_dump(mode="json")
    stands = read_stands(settings, crs=UTM, bounds=BOUNDS, plots=plots).set_index("stand")
    assert stands.loc["plot_A", "area_ha"] == pytest.approx(2.0)
    assert stands.loc["plot_B", "area_ha"] == pytest.approx(1.0)
    assert stands["layer"].tolist() == ["grid"] * 4 + ["plots"] * 2


def test_the_index_changes_only_for_the_stand_that_changed(tmp_path):
    def index(layer: gpd.GeoDataFrame) -> dict[str, str]:
        file = tmp_path / "stands.gpkg"
        file.unlink(missing_ok=True)
        layer.to_file(file)
        entries = index_stands(Stands(file=str(file), stratum="kind").model_dump(mode="json"), crs=UTM)
        assert entries[0]["bounds"] == [500_000, 2_999_900, 500_100, 3_000_000]
        return {entry["id"]: entry["digest"] for entry in entries}

    before = index(stand_layer(kind="fir"))
    assert index(stand_layer(kind="fir")) == before
    moved = index(stand_layer(square(0), square(100, 90), square(200), kind="fir"))
    assert [stand for stand in before if moved[stand] != before[stand]] == ["s2"]
    renamed = index(stand_layer(kind=["fir", "fir", "pine"]))
    assert [stand for stand in before if renamed[stand] != before[stand]] == ["s3"]


def test_an_absent_companion_of_a_shapefile_is_named(tmp_path):
    stand_layer().to_file(tmp_path / "stands.shp")
    (tmp_path / "stands.shx").unlink()
    settings = Stands(file=str(tmp_path / "stands.shp")).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"its companion stands\.shx is missing"):
        read_stands(settings, crs=UTM)


def test_zone_twins_are_those_of_the_register():
    # EPSG 4527 is zone 39 with the number in the easting, 4548 its twin of central meridian 117 E without
    x, _ = Transformer.from_crs(4548, 4527, always_xy=True).transform(500_000.0, 3_000_000.0)
    assert x == pytest.approx(39_500_000)
    assert np.isclose(x % 1e6, 500_000)


# ---------------------------------------------------------------- inventory records

PLAN = {"column": "AGB", "year": 2019}


def test_a_stand_inventory_comes_with_its_stated_error(read, caplog):
    layer = stand_layer(AGB=[100.0, None, 0.0], SE=[8.0, 5.0, 4.0])
    by_percent = read(layer, records={"plan": {**PLAN, "error_percent": 20}})
    assert by_percent["record_plan"].tolist() == pytest.approx([100, np.nan, np.nan], nan_ok=True)
    assert by_percent["record_plan_se"].iloc[0] == pytest.approx(20)
    assert "1 of 2 values of AGB (stands.records.plan) have no standard error above 0" in caplog.text
    by_column = read(layer, records={"plan": {**PLAN, "se_column": "SE"}})
    assert by_column["record_plan_se"].tolist() == pytest.approx([8, np.nan, 4], nan_ok=True)


def test_a_record_that_is_not_in_the_file_or_below_zero_is_refused(read):
    with pytest.raises(ValueError, match=r"has no column 'AGB' \(stands\.records\.plan\.column\)"):
        read(stand_layer(), records={"plan": {**PLAN, "error_percent": 20}})
    with pytest.raises(ValueError, match=r"AGB \(stands\.records\.plan\) is negative in 1 stands"):
        read(stand_layer(AGB=[100.0, -1.0, 5.0]), records={"plan": {**PLAN, "error_percent": 20}})
