"""Radiometry of real STAC items: the expected outcome of every optical item, and what contradicts is refused."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.sensors import (
    COPERNICUS_DEM,
    LANDSAT,
    SENSORS,
    SENTINEL1,
    SENTINEL2,
    Undecided,
    asset_key,
    crs_of,
    declared,
    is_sensor,
    offered_roles,
    radiometry,
    sensor_named,
    sensor_table,
)

DATA = Path(os.environ.get("FORESTSINK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
ITEMS = DATA / "stac-items"
needs_items = pytest.mark.skipif(not ITEMS.is_dir(), reason="data set stac-items is absent")

SHIFTED, PLAIN, LS = (1e-4, -0.1), (1e-4, 0.0), (2.75e-05, -0.2)
EXPECTED = [  # files, sensor, how many items, scale and offset, what the evidence says
    ("cdse/sentinel-2-l2a/*", SENTINEL2, 2, SHIFTED, "the asset declares the same"),
    ("deafrica/s2_l2a_c1/*", SENTINEL2, 1, SHIFTED, "baseline 05.10"),
    ("earth-search-v0/*/S2A_17SPR_20221106*", SENTINEL2, 1, PLAIN, "boa_offset_applied"),
    ("earth-search-v0/*/S2A_28QCH_20200714*", SENTINEL2, 1, PLAIN, "02.14 (product name)"),
    ("earth-search-v0/*/S2B_42TUM_20220107*", SENTINEL2, 1, PLAIN, "03.01 (product name)"),
    ("earth-search-v1/sentinel-2-c1-l2a/*", SENTINEL2, 3, SHIFTED, "the asset declares the same"),
    ("earth-search-v1/sentinel-2-l2a/*20231008*", SENTINEL2, 1, PLAIN, "boa_offset_applied"),
    ("earth-search-v1/sentinel-2-l2a/*2020*", SENTINEL2, 2, PLAIN, "baseline 02.14"),
    ("planetary-computer/sentinel-2-l2a/*_2019*_R*", SENTINEL2, 3, PLAIN, "baseline 02.12"),
    ("planetary-computer/sentinel-2-l2a/*MSIL2A_2020*", SENTINEL2, 21, PLAIN, "baseline 02.12"),
    ("planetary-computer/sentinel-2-l2a/*MSIL2A_2022*", SENTINEL2, 1, SHIFTED, "baseline 04.00"),
    ("planetary-computer/sentinel-2-l2a/*MSIL2A_202[45]*", SENTINEL2, 4, SHIFTED, "the asset declares none"),
    ("planetary-computer-modified/sentinel-2-l2a/*", SENTINEL2, 1, PLAIN, "baseline 02.12"),
    ("stactools-generated/no-collection/S2?_MSIL2A_2023*", SENTINEL2, 3, SHIFTED, "baseline 05.09"),
    ("stactools-generated/no-collection/*_20200914T*", SENTINEL2, 1, SHIFTED, "baseline 05.00"),  # sensed in 2020
    ("stactools-generated/no-collection/*_20191228T*", SENTINEL2, 1, PLAIN, "baseline 02.12"),
    ("stactools-generated/no-collection/*_L2A_TL_SGS*", SENTINEL2, 1, PLAIN, "baseline 02.11"),
    ("stactools-generated/no-collection/S2A_T60CWS*", SENTINEL2, 1, SHIFTED, "baseline 05.10"),
    ("stactools-generated/no-collection/*_20220413T*", SENTINEL2, 1, SHIFTED, "baseline 04.00"),
    ("*/landsat-c2-l2/*", LANDSAT, 13, LS, "declared by the asset as well"),
    ("usgs-landsatlook/landsat-c2l2-sr/*_SR.json", LANDSAT, 5, LS, "Landsat Collection 2"),
]
REFUSED = [
    ("cdse/sentinel-2-global-mosaics/*", SENTINEL2, "no processing baseline"),
    ("digital-earth-pacific/dep_ls_geomad/*", LANDSAT, "nothing in its id"),
    ("dea/ga_ls5t_nbart_gm_cyear_3/*", LANDSAT, "nothing in its id"),
    ("dea/ga_s2am_ard_3/*", SENTINEL2, "no asset for red"),
    ("dea/no-collection/*", LANDSAT, "no asset for red"),
    ("stactools-generated/no-collection/*_L1C_*", SENTINEL2, "Level 1C"),
    ("stactools-generated/no-collection/*_L1C_*", LANDSAT, "scale 0.0001 is declared"),
]


def items(pattern):
    return [json.loads(file.read_text()) for file in sorted(ITEMS.glob(pattern)) if file.suffix == ".json"]


def make_item(baseline="05.10", offset=None, scale=1e-4, flag=None, href="https://data.example/B04.tif", **properties):
    asset = {"href": href}
    if offset is not None:
        asset["raster:bands"] = [{"scale": scale, "offset": offset, "nodata": 0}]
    if baseline:
        properties["s2:processing_baseline"] = baseline
    if flag is not None:
        properties["earthsearch:boa_offset_applied"] = flag
    return {"id": "scene", "properties": properties, "assets": {"red": asset}}


@needs_items
@pytest.mark.parametrize(
    ("pattern", "sensor", "count", "expected", "evidence"), EXPECTED, ids=[entry[0] for entry in EXPECTED]
)
def test_real_items_have_the_radiometry_of_their_product(pattern, sensor, count, expected, evidence):
    found = items(pattern)
    assert len(found) == count
    for item in found:
        for role in sensor.roles:
            settled = radiometry(item, sensor, role)
            assert (settled.scale, settled.offset) == expected, (item["id"], role)
            assert evidence in settled.evidence
        assert asset_key(item, sensor.quality.keys)


@needs_items
@pytest.mark.parametrize(("pattern", "sensor", "reason"), REFUSED, ids=[f"{e[0]}_{e[1].prefix}" for e in REFUSED])
def test_real_items_of_other_products_are_refused_with_the_reason(pattern, sensor, reason):
    assert items(pattern)
    for item in items(pattern):
        with pytest.raises(ValueError, match=reason):
            radiometry(item, sensor, "red")


def table():
    """Expected outcome of every real item, read from its JSON by hand and with scripts that know nothing of `catalogs`.

    assets: role=key; crs, nodata: where the item says them; refused: the sensor whose refusal is told, and its words.
    """
    with (Path(__file__).parent / "stac_items.csv").open(newline="") as rows:
        return list(csv.DictReader(rows))


@needs_items
def test_the_table_lists_every_real_item_once():
    held = [file.relative_to(ITEMS).as_posix() for file in ITEMS.glob("*/*/*.json") if "assets" in json.loads(file.read_text())]
    assert len(held) == 109 and sorted(row["file"] for row in table()) == sorted(held)


@needs_items
@pytest.mark.parametrize("row", table(), ids=[row["file"].removesuffix(".json")[-60:] for row in table()])
def test_each_real_item_is_what_its_json_says_or_is_refused_with_the_reason(row):
    item = json.loads((ITEMS / row["file"]).read_text())
    for name, sensor in SENSORS.items():
        if name != row["sensor"]:
            with pytest.raises(ValueError, match=r"."):
                radiometry(item, sensor, sensor.roles[0])
    if row["sensor"] == "other":
        name, words = row["refused"].split(": ")
        with pytest.raises(ValueError, match=words):
            radiometry(item, SENSORS[name], SENSORS[name].roles[0])
        return
    sensor = SENSORS[row["sensor"]]
    assets = dict(part.split("=") for part in row["assets"].split())
    assert {role: asset_key(item, band.keys) for role, band in sensor.bands.items()} == assets
    for role, key in assets.items():
        found = radiometry(item, sensor, role)
        assert (found.scale, found.offset) == (float(row["scale"]), float(row["offset"]))
        assert crs_of(item, item["assets"][key]) == row["crs"]
    first = item["assets"][assets.get("red", next(iter(assets.values())))]
    assert declared(first).get("nodata") == (float(row["nodata"]) if row["nodata"] else None)
    assert (asset_key(item, sensor.quality.keys) if sensor.quality else "") == row["quality"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "S1A_IW_GRDH_1SDV_20240419T045814_20240419T045839_053498_067DF2", "collection": "grd"}, "nothing in its id"),
        ({"unit": "dB"}, "decibels"),
        ({"scale": 0.01}, "scale 0.01 is declared"),
    ],
    ids=["not_terrain_corrected", "decibels", "scaled"],
)
def test_other_backscatter_does_not_pass_as_terrain_corrected_power(changes, reason):
    item = {"id": "S1A_IW_20240419_rtc", "properties": {"sar:product_type": "GRD"}} | {
        key: value for key, value in changes.items() if key in ("id", "collection")
    }
    bands = {key: value for key, value in changes.items() if key in ("unit", "scale")}
    item["assets"] = {"vv": {"href": "vv.tif", "raster:bands": [{"nodata": -32768} | bands]}}
    with pytest.raises(ValueError, match=reason):
        radiometry(item, SENTINEL1, "vv")


@pytest.mark.parametrize(
    ("name", "unit", "reason"),
    [
        ("Copernicus_DSM_COG_30_N53_00_W115_00_DEM", "m", "GLO-30"),
        ("Copernicus_DSM_COG_10_N53_00_W115_00_DEM", "ft", "metres are needed"),
        ("NASADEM_HGT_s56w072", "m", "not that of a Copernicus DEM tile"),
    ],
)
def test_other_elevation_does_not_pass_as_glo30(name, unit, reason):
    item = {"id": name, "properties": {}, "assets": {"data": {"href": "dem.tif", "raster:bands": [{"unit": unit}]}}}
    with pytest.raises(ValueError, match=reason):
        radiometry(item, COPERNICUS_DEM, "elevation")


def test_fmask_of_nbart_is_clear_on_land_and_water():
    # ODC product definition: 0 nodata, 1 valid, 2 cloud, 3 shadow, 4 snow, 5 water
    layer = np.arange(6, dtype="uint8")
    quality = SENSORS["sentinel-2-nbart"].quality
    assert np.flatnonzero(quality.clear(layer)).tolist() == [1, 5]
    assert np.flatnonzero(quality.clear_land(layer)).tolist() == [1]
    assert np.flatnonzero(quality.growing(layer)).tolist() == [2, 3]


def test_a_check_of_the_radiometry_looks_at_land_without_water_or_shadow():
    layer = np.array([21824, 22280, 23888, 21952, 1], "uint16")  # clear land, cloud, shadow, water, fill
    assert LANDSAT.quality.clear_land(layer).tolist() == [True, False, False, False, False]
    assert np.flatnonzero(SENTINEL2.quality.clear_land(np.arange(12, dtype="uint8"))).tolist() == [4]


def test_a_study_can_grow_clouds_further_where_there_is_a_cloud_mask():
    assert SENTINEL2.with_dilation(None) is SENTINEL2
    assert SENTINEL2.with_dilation(60).quality.dilation_m == 60 and SENTINEL2.quality.dilation_m == 20
    cloud, shadow, land = 22280, 23888, 21824
    assert LANDSAT.with_dilation(60).quality.growing(np.array([cloud, shadow, land])).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="no quality layer, so there are no clouds to grow by 60 m"):
        SENTINEL1.with_dilation(60)


def test_every_sensor_says_what_its_pixels_are():
    for sensor in SENSORS.values():
        quantities = {band.quantity.split(",")[0].split(" above")[0] for band in sensor.bands.values()}
        expected = {"optical": "surface reflectance", "radar": "gamma0", "elevation": "elevation"}[sensor.kind]
        assert quantities == {expected}
        assert (sensor.quality is None) == (sensor.kind != "optical")
        assert {band.units for band in sensor.bands.values()} == ({"m"} if sensor.kind == "elevation" else {"1"})


def test_the_table_of_sensors_names_their_catalogues():
    rows = {row[0]: row for row in sensor_table()}
    assert rows["sentinel-1-rtc"][1:4] == ("s1", "radar", "vv vh")
    assert rows["sentinel-1-rtc"][-1] == "planetary-computer"
    assert rows["landsat-c2-l2"][-1] == "earth-search planetary-computer usgs"


@pytest.mark.parametrize(
    ("item", "offset"),
    [
        (make_item("03.99"), 0.0),
        (make_item("04.00"), -0.1),
        (make_item("05.10", offset=-0.1, flag=True), 0.0),
        (make_item("05.10", offset=-0.1, flag=False), -0.1),
        (make_item("05.10", offset=-0.1, flag="false"), -0.1),
        (make_item("05.10", offset=-0.1, flag="True"), 0.0),
        (make_item("05.10", **{"processing:version": "05.09"}), -0.1),
        (make_item(None, offset=-0.1), -0.1),
        (make_item(None, **{"s2:product_uri": "S2B_MSIL2A_20190601T024549_N0500_R132_T50RKQ_2023.SAFE"}), -0.1),
    ],
    ids=["before_04", "from_04", "shifted_already", "not_shifted", "not_shifted_as_text", "shifted_as_text", "two_of_one_side",
         "declared_alone", "reprocessed_2019"],
)  # fmt: skip
def test_the_offset_follows_the_baseline_and_never_the_date(item, offset):
    assert radiometry(item, SENTINEL2, "red").offset == offset


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (make_item(None), "no processing baseline"),
        (make_item("05.10", offset=0), "contradict"),
        (make_item("02.12", offset=-0.1), "contradict"),
        (make_item("02.12", flag=True), "contradict"),
        (make_item("05.10", offset=-0.1, scale=2.75e-05), "scale 2.75e-05 is declared"),
        (make_item("05.10", offset=-0.1, flag=False, href="https://sentinel-cogs.s3.example/B04.tif"), "uncertain"),
        (make_item("five"), "not a processing baseline"),
    ],
    ids=["silent", "zero_after_04", "offset_before_04", "flag_before_04", "landsat_scale", "bad_flag", "garbled"],
)
def test_silent_or_contradicting_evidence_refuses_the_scene(item, reason):
    with pytest.raises(ValueError, match=reason):
        radiometry(item, SENTINEL2, "red")


@pytest.mark.parametrize(
    "item",
    [
        make_item(None),
        make_item("05.10", offset=0),
        make_item("02.12", offset=-0.1),
        make_item("02.12", flag=True),
        make_item("05.10", offset=-0.1, flag=False, href="https://sentinel-cogs.s3.example/B04.tif"),
        make_item("05.10", flag="yes"),
        make_item("05.10", flag=0),
        make_item("02.12", **{"processing:version": "05.10"}),
        make_item("05.10", **{"s2:product_uri": "S2B_MSIL2A_20190601T024549_N0212_R132_T50RKQ_2019.SAFE"}),
    ],
    ids=["silent", "zero_after_04", "offset_before_04", "flag_before_04", "bad_flag", "flag_of_other_words", "flag_as_number",
         "two_versions", "version_and_name"],
)
def test_where_two_offsets_are_possible_pixels_may_decide_between_them(item):
    with pytest.raises(Undecided) as raised:
        radiometry(item, SENTINEL2, "red")
    assert raised.value.candidates == ((1e-4, 0.0), (1e-4, -0.1))


@pytest.mark.parametrize(
    ("name", "bands", "reason"),
    [
        ("LC08_232066_20190727_SR", None, "nothing in its id"),
        ("LC08_232066_20190727_SR", {"scale": 1e-4, "offset": 0}, "scale 0.0001 is declared"),
        ("LC08_L2SP_008059_20191201_20200825_01_T1", None, "collection 01"),
        ("LC08_L1TP_008059_20191201_20200825_02_T1", None, "level L1TP"),
    ],
    ids=["silent", "other_scale", "collection_1", "level_1"],
)
def test_landsat_scenes_of_other_products_do_not_pass_as_collection_2(name, bands, reason):
    asset = {"href": "red.tif"} | ({"raster:bands": [bands]} if bands else {})
    with pytest.raises(ValueError, match=reason):
        radiometry({"id": name, "properties": {}, "assets": {"red": asset}}, LANDSAT, "red")


def test_stac_1_1_declarations_are_read_where_they_stand():
    item = make_item("05.10")
    item["assets"]["red"] |= {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0}
    assert "the asset declares the same" in radiometry(item, SENTINEL2, "red").evidence
    item["assets"]["red"]["raster:offset"] = -0.2
    with pytest.raises(ValueError, match="contradict"):
        radiometry(item, SENTINEL2, "red")


def test_qa_pixel_is_clear_by_its_bits_and_not_by_bit_6():
    # values of the Colombia scene (its README): clear land, cloud, shadow with bit 6, water with bit 6, fill
    layer = np.array([21824, 22280, 23888, 21952, 1], "uint16")
    assert LANDSAT.quality.clear(layer).tolist() == [True, False, False, True, False]


def test_scl_is_clear_on_land_and_water_only():
    clear = SENTINEL2.quality.clear(np.arange(12, dtype="uint8"))
    assert np.flatnonzero(clear).tolist() == [4, 5, 6, 7]


def test_water_is_masked_only_where_a_study_asks_for_it():
    scl = np.arange(12, dtype="uint8")
    assert np.flatnonzero(SENTINEL2.with_water_masked(True).quality.clear(scl)).tolist() == [4, 5, 7]
    qa = np.array([21824, 22280, 23888, 21952, 1], "uint16")  # Colombia: land, cloud, shadow, water, fill
    masked = LANDSAT.with_water_masked(True).quality
    assert masked.clear(qa).tolist() == [True, False, False, False, False]
    assert not masked.growing(qa[3:4]).any()  # a shore is sharp, so water does not spread as clouds do
    fmask = np.arange(6, dtype="uint8")
    for sensor in (sensor_named("sentinel-2-nbart"), sensor_named("landsat-nbart")):
        assert np.flatnonzero(sensor.with_water_masked(True).quality.clear(fmask)).tolist() == [1]
        assert sensor.with_water_masked(False) is sensor
    with pytest.raises(ValueError, match="no quality layer that tells water"):
        SENTINEL1.with_water_masked(True)


def test_one_composite_of_several_is_the_sensor_under_a_prefix_of_its_own():
    leafoff = sensor_named("s2_leafoff")
    assert leafoff == replace(SENTINEL2, prefix="s2_leafoff") and leafoff.name == "sentinel-2-l2a"
    assert offered_roles(["s2_leafoff", "sentinel-2-l2a"]) == {"s2_leafoff": SENTINEL2.roles, "s2": SENTINEL2.roles}
    assert is_sensor("ls_dry") and not is_sensor("xx_dry") and not is_sensor("s2_")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s2_red", "'s2_red' is what a band of sentinel-2-l2a is called"),
        ("s2_leaf_off", "'s2_leaf_off' is not a composite of sentinel-2-l2a: s2_ is followed by one word"),
        ("leafoff", "'leafoff' is not a known sensor.*such as s2_leafoff"),
    ],
)
def test_a_composite_is_not_called_as_something_else_is(name, words):
    with pytest.raises(ValueError, match=words):
        sensor_named(name)


def test_an_unknown_sensor_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean sentinel-2-l2a"):
        sensor_named("sentinel-2-l2")


def test_predictor_prefixes_differ_between_sensors():
    assert len(offered_roles(SENSORS)) == len(SENSORS)
