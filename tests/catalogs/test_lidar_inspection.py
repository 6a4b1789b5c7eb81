"""`inspect lidar` says what a supplier's description says, and every planted defect in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import data_set
from lidar_files import patched, scattered, served, write_copc, write_tile

from catalogs.lidar.canopy import inspect_canopy
from catalogs.lidar.inspection import Declared, inspect_tiles, overlaps_and_gaps, sentences
from pipeline.__main__ import main


def healthy(path: Path, *, west: float = 500_000, n: int = 4_000, **columns) -> str:
    """One point per 10 m2 on 200 m x 200 m, a third of it ground, flown in one week of 2018."""
    x, y = scattered(n, west=west)
    z = np.where(np.arange(n) % 3 == 0, 300.0, 315.0)
    settings = {
        "classification": np.where(np.arange(n) % 3 == 0, 2, 5), "gps_time": 2.2e8 + np.arange(n) / 100.0,
        "adjusted_time": True, "intensity": np.arange(n) % 500, "number_of_returns": 2, "crs": "EPSG:32633+5703",
    }  # fmt: skip
    return write_tile(path, x, y, z, **settings | columns)


def test_what_the_description_of_real_tiles_says_is_found(data):
    """README of bcts-als-tiles: four tiles, 2,834,350 points, EPSG:3005, 12-15 points per m2, classes 1 and 2."""
    report = inspect_tiles(str(data_set(data, "bcts-als-tiles")))
    assert (len(report["files"]), report["points"]) == (4, 531_662 + 823_945 + 887_254 + 591_489)
    assert report["crs"]["epsg"] == 3005 and report["crs"]["horizontal_unit"] == "m"
    assert 12 <= report["density"]["points_m2"] <= 15
    assert set(report["classes"]) == {1, 2} and report["problems"] == []
    assert report["ground_percent"] == pytest.approx(100 * 150_341 / 2_834_350, abs=1e-6)  # lidar.md, section 2b
    assert 325 <= report["z"][0] < report["z"][1] <= 419
    assert report["tile_gap_ha"] == 0


@pytest.mark.parametrize(
    ("name", "epsg", "density_m2", "classes"),
    [("Megaplot", 26917, 1.5, None), ("MixedConifer", 26912, 4.7, None), ("Topography", 2949, 0.9, {1, 2, 9})],
)
def test_other_real_tiles_are_what_their_description_says(data, name, epsg, density_m2, classes):
    """README of lidr-extdata; the first two are normalised already, which a run has to be told."""
    report = inspect_tiles(str(data_set(data, "lidr-extdata") / f"{name}.laz"))
    assert report["crs"]["epsg"] == epsg
    assert report["density"]["points_m2"] == pytest.approx(density_m2, rel=0.1)
    assert classes is None or set(report["classes"]) == classes
    assert ("heights above ground already" in " ".join(report["problems"])) == (name != "Topography")


def test_degrees_of_an_extent_agree_with_the_site(data):
    """The Chablais in the French Alps: 6.56 E, 46.28 N (README gives EPSG:2154 coordinates; IGN's converter the degrees)."""
    report = inspect_tiles(str(data_set(data, "chablais3-als-trees")))
    assert report["bounds_degrees"] == pytest.approx([6.564, 46.279, 6.565, 46.279], abs=2e-3)
    assert report["density"]["points_m2"] == pytest.approx(13.5, rel=0.02)
    assert "15 (transmission tower)" in " ".join(report["remarks"])


def test_healthy_tiles_have_no_problem(tmp_path):
    healthy(tmp_path / "a.laz")
    healthy(tmp_path / "b.laz", west=500_200)
    report = inspect_tiles(str(tmp_path))
    assert report["problems"] == []
    assert report["flown"] == ["2018-09-03", "2018-09-03"]  # 14 September 2011, 01:46:40, and 2546.3 days
    assert report["density"]["points_m2"] == pytest.approx(0.1, abs=0.01)
    assert report["crs"]["vertical_unit"] == "m"
    assert report["tile_gap_ha"] == 0 and report["tile_overlap_ha"] < 0.01


@pytest.mark.parametrize(
    ("columns", "where", "sentence"),
    [
        ({"classification": 1}, "problems", "no sampled point is of class 2"),
        ({"crs": None}, "problems", "does not say which CRS"),
        ({"crs": "EPSG:32633+6360"}, "remarks", "heights are in us-ft: set vertical_unit: us-ft"),
        ({"crs": "EPSG:32633"}, "remarks", "do not say in which unit heights are"),
        ({"adjusted_time": False}, "remarks", "seconds of an unnamed week"),
        ({"withheld": np.arange(4_000) % 100 == 0}, "remarks", "1.00 % of the points are withheld"),
        ({"overlap": np.arange(4_000) % 4 == 0}, "remarks", "25.0 % are overlap of flight lines"),
        ({"classification": np.where(np.arange(4_000) % 2, 2, 18)}, "remarks", "50.00 % are noise"),
        ({"classification": np.where(np.arange(4_000) % 2, 2, 77)}, "remarks", "classes 77 are not those of ASPRS"),
        ({"return_number": 0, "number_of_returns": 0}, "remarks", "return numbers are not set"),
        ({"number_of_returns": 1}, "remarks", "every pulse has one return"),
        ({"intensity": 0}, "remarks", "intensity is not set"),
        ({}, "remarks", "0.10 pulses per m2"),
    ],
)
def test_each_planted_defect_is_said(tmp_path, columns, where, sentence):
    report = inspect_tiles(healthy(tmp_path / "a.laz", **columns))
    assert any(sentence in said for said in report[where]), report[where]
    assert len([said for said in report["problems"] if sentence not in said]) == 0


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (Declared(ground_classes=(2, 9)), None),
        (Declared(ground_classes=(9,)), "no sampled point is of the ground_classes 9"),
        (Declared(ground_classes=(9,), classify_ground=True), None),
        (Declared(heights="normalised"), "heights: normalised says that z is above ground, but z runs from"),
        (Declared(vertical_unit="us-ft"), "the files say that heights are in m, the campaign says us-ft; set vertical_unit: m"),
    ],
    ids=["right", "no_ground_of_that_class", "ground_to_be_found", "elevations", "feet"],
)
def test_tiles_are_held_against_what_a_campaign_says_of_them(tmp_path, declared, sentence):
    found = inspect_tiles(healthy(tmp_path / "a.laz"), declared=declared)["problems"]
    assert (found == []) if sentence is None else (len(found) == 1 and sentence in found[0]), found


def test_a_study_that_says_no_unit_hears_that_the_files_say_none_either(tmp_path):
    path = healthy(tmp_path / "a.laz", crs="EPSG:32633")
    silent = inspect_tiles(path, declared=Declared())
    assert silent["problems"] == [] and any("do not say in which unit heights are" in said for said in silent["remarks"])
    told = inspect_tiles(path, declared=Declared(vertical_unit="m"))
    assert not any("unit" in said for said in told["remarks"])


def test_a_whole_tile_that_is_missing_is_told_by_the_hull(tmp_path):
    """Four squares of 200 m with one left out: the hull cuts the notch in half, 2 ha."""
    for name, west, south in (("a", 0, 0), ("b", 200, 0), ("c", 0, 200)):
        x, y = np.array([0.0, 200, 0, 200]) + 500_000 + west, np.array([0.0, 0, 200, 200]) + 5_000_000 + south
        write_tile(tmp_path / f"{name}.laz", x, y, 300.0, classification=2)
    report = inspect_tiles(str(tmp_path))
    assert report["tile_gap_ha"] == 0 and report["hull_gap_ha"] == pytest.approx(2.0, abs=0.01)
    assert any("2.00 ha within the convex hull of the tiles are in no tile" in said for said in report["remarks"])
    assert any("within their convex hull 2.00 ha in no tile" in line for line in sentences(report))


def test_heights_that_look_normalised_want_a_word_of_the_campaign_either_way(tmp_path):
    """A mangrove stands at sea level: who says heights: elevation is believed."""
    x, y = scattered(3_000)
    path = write_tile(tmp_path / "a.laz", x, y, np.arange(3_000) % 25, classification=np.where(np.arange(3_000) % 25, 5, 2))
    assert "set heights: normalised of the campaign" in inspect_tiles(path, declared=Declared())["problems"][0]
    for said in ("normalised", "elevation"):
        assert inspect_tiles(path, declared=Declared(heights=said))["problems"] == []


def test_tiles_in_several_crs_are_told_of_one_crs_at_a_time(tmp_path):
    """Two in one zone, one in the next, one that says none: no number mixes them, and nothing is called None."""
    healthy(tmp_path / "a.laz")
    healthy(tmp_path / "b.laz", west=500_200)
    healthy(tmp_path / "c.laz", west=700_000, crs="EPSG:32634")
    healthy(tmp_path / "d.laz", crs=None)
    report = inspect_tiles(str(tmp_path))
    assert "bounds" not in report and report["points"] == 16_000
    assert [len(part["files"]) for part in report["by_crs"]] == [2, 1, 1]
    first, second, third = report["by_crs"]
    assert first["bounds"][0] == pytest.approx(500_000, abs=1) and first["bounds"][2] == pytest.approx(500_400, abs=1)
    assert second["bounds"][0] == pytest.approx(700_000, abs=1) and third["crs"] is None
    lines = sentences(report)
    text = "\n".join(lines)
    assert "2 of them in WGS 84 / UTM zone 33N" in text and "1 of them in WGS 84 / UTM zone 34N:" in text
    assert "1 of them without CRS:" in lines and "None" not in text
    assert "wrong: tiles of one campaign differ in CRS" in text


def test_points_that_are_there_twice_are_counted(tmp_path):
    x, y = scattered(1_000)
    path = write_tile(tmp_path / "a.laz", np.tile(x, 2), np.tile(y, 2), 300.0, gps_time=np.tile(np.arange(1_000), 2))
    assert inspect_tiles(path)["duplicate_percent"] == pytest.approx(50.0)


def test_one_bad_tile_does_not_hide_the_others(tmp_path):
    for number in range(3):
        healthy(tmp_path / f"{number}.laz", west=500_000 + 200 * number)
    (tmp_path / "3.laz").write_bytes((tmp_path / "0.laz").read_bytes()[:9_000])
    patched(tmp_path / "1.laz", 179, "<2d", 400_100.0, 400_000.0)
    report = inspect_tiles(str(tmp_path))
    assert [said for said in report["problems"] if "3.laz" in said and "cut off" in said]
    assert [said for said in report["problems"] if "1.laz holds points" in said and "outside the box" in said]
    assert len(report["files"]) == 3


def test_damage_inside_a_tile_is_found_where_it_is_sampled(tmp_path):
    path = Path(healthy(tmp_path / "a.laz"))
    content = bytearray(path.read_bytes())
    content[2_000:20_000] = bytes(18_000)
    path.write_bytes(content)
    assert any("a.laz" in said and "damaged" in said for said in inspect_tiles(str(path))["problems"])


def test_gaps_and_overlaps_of_known_boxes():
    """Nine tiles of 1 km with the middle one missing: 100 ha; a tenth tile that covers a quarter of the first: 25 ha."""
    boxes = [(1000 * i, 1000 * j, 1000 * (i + 1), 1000 * (j + 1)) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    overlap, gap, place = overlaps_and_gaps([*boxes, (0, 0, 500, 500)])
    assert (overlap, gap) == pytest.approx((250_000, 1_000_000))
    assert 1000 < place[0] < 2000 and 1000 < place[1] < 2000


def test_a_crack_between_tiles_is_a_gap_but_one_point_spacing_is_not():
    """40 m x 1 km between two tiles; 0.5 m is what lies between the last and the first point of neighbours."""
    assert overlaps_and_gaps([(0, 0, 1000, 1000), (1040, 0, 2040, 1000)])[1] == pytest.approx(40_000)
    assert overlaps_and_gaps([(0, 0, 1000, 1000), (1000.5, 0, 2000, 1000)])[1] == 0
    assert overlaps_and_gaps([(0, 0, 1000, 1000), (5000, 0, 6000, 1000)])[1] == 0, "two areas of one campaign"
    assert overlaps_and_gaps([(0, 0, 3280.84, 3280.84)], unit_m=0.3048)[:2] == (0, 0)


def test_large_tiles_are_sampled_and_say_so(tmp_path):
    healthy(tmp_path / "small.laz", n=60_000, west=500_400)
    healthy(tmp_path / "a.laz", n=400_000)
    healthy(tmp_path / "b.laz", n=400_000, west=500_200)
    report = inspect_tiles(str(tmp_path), sample_points=100_000, whole_points=100_000)
    assert report["density"]["read_whole"] == ["small.laz"]
    assert report["sampled_points"] == 60_000 + 2 * 50_000
    assert any("less than a quarter of the usual density: small.laz" in said for said in report["remarks"])


def test_a_copc_at_an_address_is_inspected_from_a_few_ranges(tmp_path):
    x, y = scattered(4_000)
    write_copc(tmp_path / "a.copc.laz", x, y, np.full(4_000, 300.0))
    with served(tmp_path) as (address, asked):
        report = inspect_tiles(f"{address}/a.copc.laz")
    assert report["files"][0]["copc"] and report["points"] == 4_000
    assert len(asked) < 60


# The verb


def test_the_verb_prints_sentences_and_exits_1_where_a_run_would_stop(tmp_path, capsys):
    path = healthy(tmp_path / "a.laz")
    assert main(["inspect", "lidar", path]) == 0
    printed = capsys.readouterr().out
    for part in ("files: 1, 4,000 points", "WGS 84 / UTM zone 33N", "NAVD88 height, m", "2 ground 33.3", "flown: 2018-09-03"):
        assert part in printed
    assert printed.splitlines()[-1] == "nothing in it would stop a run"
    healthy(tmp_path / "b.laz", west=500_300, classification=5, crs="EPSG:32634")
    assert main(["inspect", "lidar", str(tmp_path)]) == 1
    assert "wrong: tiles of one campaign differ in CRS" in capsys.readouterr().out


def test_the_verb_speaks_json(tmp_path, capsys):
    assert main(["inspect", "lidar", "--json", healthy(tmp_path / "a.laz")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["classes"]["2"]["name"] == "ground" and report["problems"] == []


def test_the_verb_names_a_path_that_is_not_there(tmp_path, capsys):
    assert main(["inspect", "lidar", str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_a_canopy_height_raster_is_what_its_description_says(data, capsys):
    """README of quesnel-chm-blocks: 2 m, 746 x 658 cells, UTM 10N, 0 to 42.9 m."""
    path = str(data_set(data, "quesnel-chm-blocks") / "quesnel_chm_2m.tif")
    report = inspect_canopy(path)
    assert (report["cells"], report["resolution"], report["crs"]) == ([658, 746], [2, 2], "WGS 84 / UTM zone 10N")
    assert report["height"] == pytest.approx([0, 42.9], abs=0.05) and report["problems"] == []
    assert main(["inspect", "lidar", path]) == 0
    assert "heights: 0.00 to 42.94" in capsys.readouterr().out


def test_elevations_in_place_of_canopy_heights_are_seen(tmp_path):
    import rasterio
    from rasterio.transform import from_origin

    with rasterio.open(
        tmp_path / "dsm.tif", "w", driver="GTiff", width=4, height=3, count=1, dtype="float32", crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_100, 1, 1),
    ) as raster:  # fmt: skip
        raster.write(np.full((3, 4), 812.0, "float32"), 1)
    assert "look like elevations" in inspect_canopy(str(tmp_path / "dsm.tif"))["problems"][0]
    assert "does not exist" in inspect_canopy(str(tmp_path / "gone.tif"))["problems"][0]


def test_a_report_without_any_readable_file_still_has_words(tmp_path):
    (tmp_path / "a.laz").write_bytes(b"no lidar")
    lines = sentences(inspect_tiles(str(tmp_path)))
    assert lines[0].startswith("files: 0") and lines[1].startswith("wrong: ")


def test_inspect_takes_the_settings_that_tiles_of_a_listing_need(tmp_path, capsys):
    """A listing that points outside its folder is refused until that folder is named; feet are told as such."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "tiles").mkdir()
    path = healthy(tmp_path / "tiles" / "a.laz", crs="EPSG:32633")
    item = {"type": "Feature", "id": "a", "properties": {}, "assets": {"data": {"href": path}}, "links": []}
    (tmp_path / "lists" / "a.json").write_text(json.dumps(item))
    asked = ["inspect", "lidar", str(tmp_path / "lists" / "a.json")]
    assert main(asked) == 1 and "data_folders of the campaign" in capsys.readouterr().err
    asked += ["--data-folder", str(tmp_path / "tiles")]
    assert main(asked) == 0 and "do not say in which unit heights are" in capsys.readouterr().out
    assert main([*asked, "--vertical-unit", "ft"]) == 0 and "do not say in which unit" not in capsys.readouterr().out
