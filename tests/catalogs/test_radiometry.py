"""Pixels that settle a radiometry: real COGs of a planted forest, shifted and not, and real scenes with known truth."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from services.range_server import RangeServer

from catalogs.radiometry import MIN_PIXELS, Missing, Sample, Unread, checked, judged, sample_scene, settled
from catalogs.remote import Patience, Source
from catalogs.sensors import LANDSAT, LANDSAT_OFFSET, LANDSAT_SCALE, S2_RADIOMETRIES, SENTINEL1, SENTINEL2

rasterio = pytest.importorskip("rasterio")

DATA = Path(os.environ.get("FORESTSINK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
COLOMBIA = DATA / "landsat-c2l2-colombia-2019"
RONDONIA = DATA / "landsat8-sr-rondonia-2019" / "LC08_232066_20190727_SR.tif"
BARBELLINO = DATA / "sentinel2-l2a-barbellino"
CRS = "EPSG:32650"
WEST, NORTH, SIDE_M = 500_000.0, 3_000_000.0, 6_000.0
BOUNDS = (WEST, NORTH - SIDE_M, WEST + SIDE_M, NORTH)
PLAIN, SHIFTED = S2_RADIOMETRIES  # offset 0 and -0.1

FOREST = {"blue": 0.025, "red": 0.035, "nir": 0.32}  # reflectance; Rondonia's forest
WATER = {"blue": 0.04, "red": 0.02, "nir": 0.01}


def make_cogs(folder, reflectance=FOREST, *, added=0, scl=4, forest_share=1.0, noise=0.006, crs=CRS, without=()):
    """A scene of 600 x 600 pixels as COGs: DN = 10 000 reflectance + `added`; `forest_share` of its rows, water below."""
    rng = np.random.default_rng(3)
    rows = round(600 * forest_share)
    bands = {}
    for role, value in reflectance.items():
        if role in without:
            continue
        image = np.full((600, 600), WATER[role])
        image[:rows] = value
        numbers = np.round((image + rng.normal(0, noise, image.shape)) * 1e4) + added
        numbers = np.clip(numbers, 1, None).astype("uint16")
        bands[role] = {"href": write_cog(folder / f"{role}.tif", numbers, 10, crs), "nodata": 0}
    layer = np.full((300, 300), 6, "uint8")
    layer[: rows // 2] = scl
    return {"id": "scene", "bands": bands, "quality": {"href": write_cog(folder / "scl.tif", layer, 20, crs)}}


def write_cog(file, values, resolution_m, crs):
    file.parent.mkdir(parents=True, exist_ok=True)
    place = Affine(resolution_m, 0, WEST, 0, -resolution_m, NORTH)
    rows, cols = values.shape
    with rasterio.open(
        file, "w", driver="COG", width=cols, height=rows, count=1, dtype=values.dtype, crs=crs, transform=place, nodata=0
    ) as raster:
        raster.write(values, 1)
    return str(file)


def look(scene, bounds=BOUNDS, crs=CRS, sensor=SENTINEL2):
    return sample_scene(scene, sensor, bounds=bounds, crs=crs)


def decide(scene, **place):
    return settled(SENTINEL2, S2_RADIOMETRIES, look(scene, **place))


@pytest.mark.parametrize(("added", "expected"), [(0, PLAIN), (1000, SHIFTED)], ids=["shifted_already", "as_delivered"])
def test_clear_forest_tells_whether_the_files_are_shifted_already(tmp_path, added, expected):
    chosen, words = decide(make_cogs(tmp_path, added=added))
    assert chosen == expected
    assert "pixels of clear vegetation" in words and "ruled out" in words
    right = f"offset {expected[1]:g} makes blue 0.025, red 0.035, nir 0.320, 0.0 % negative (possible)"
    assert right in words


def test_subtracting_twice_is_caught(tmp_path):
    sample = look(make_cogs(tmp_path, added=0))
    with pytest.raises(ValueError, match=r"pixels contradict its metadata.*red -0\.065.*offset 0 is possible"):
        checked(SENTINEL2, SHIFTED, sample)
    assert "checked on" in checked(SENTINEL2, PLAIN, sample)


def test_an_offset_that_was_never_subtracted_is_caught(tmp_path):
    sample = look(make_cogs(tmp_path, added=1000))
    with pytest.raises(ValueError, match=r"pixels contradict its metadata.*red 0\.135.*offset -0\.1 is possible"):
        checked(SENTINEL2, PLAIN, sample)


def test_without_a_blue_band_red_and_near_infrared_decide(tmp_path):
    chosen, words = decide(make_cogs(tmp_path, added=1000, without=("blue",)))
    assert chosen == SHIFTED and "blue" not in words


@pytest.mark.parametrize("added", [0, 1000])
def test_a_dark_scene_of_water_settles_nothing(tmp_path, added):
    with pytest.raises(ValueError, match=rf"0 pixels of clear vegetation in the scene, at least {MIN_PIXELS} are needed"):
        decide(make_cogs(tmp_path, added=added, forest_share=0))


def test_vegetation_by_class_alone_is_not_enough_when_it_is_not_green(tmp_path):
    with pytest.raises(ValueError, match="0 pixels of clear vegetation"):
        decide(make_cogs(tmp_path, {"blue": 0.08, "red": 0.14, "nir": 0.22}, added=1000))


def test_cloud_over_forest_settles_nothing(tmp_path):
    with pytest.raises(ValueError, match="0 pixels of clear vegetation"):
        decide(make_cogs(tmp_path, scl=9))


def test_vegetation_that_neither_offset_explains_settles_nothing(tmp_path):
    haze = {"blue": 0.10, "red": 0.105, "nir": 0.40}  # as delivered without offset, but under thin haze
    with pytest.raises(ValueError, match="its pixels do not tell either"):
        decide(make_cogs(tmp_path, haze))


def test_two_offsets_that_are_both_possible_settle_nothing():
    sample = Sample({"red": np.full(500, 1000), "nir": np.full(500, 4500)}, "the scene")
    assert judged((1e-4, 0.0), sample).possible and judged((1e-4, -0.05), sample).possible
    with pytest.raises(ValueError, match="do not tell either"):
        settled(SENTINEL2, ((1e-4, 0.0), (1e-4, -0.05)), sample)


def test_a_near_miss_rules_nothing_out():
    red = np.full(500, 1150)  # 0.115: out of the range by less than the margin
    sample = Sample({"red": red, "nir": red + 3000}, "the scene")
    verdict = judged((1e-4, 0.0), sample)
    assert not verdict.possible and not verdict.ruled_out
    assert "doubtful" in checked(SENTINEL2, (1e-4, 0.0), sample)


PALE = {"blue": 0.08, "red": 0.15, "nir": 0.37}  # dry grass: NDVI 0.42, and red well above blue, which no offset changes


@pytest.mark.parametrize(("added", "chosen"), [(0, PLAIN), (1000, SHIFTED)])
def test_dry_grass_is_never_taken_for_forest_that_is_too_bright(tmp_path, added, chosen):
    assert "not checked: " in checked(SENTINEL2, chosen, look(make_cogs(tmp_path, PALE, added=added)))


def test_vegetation_that_is_merely_bright_is_kept_and_called_doubtful(tmp_path):
    bright = {"blue": 0.13, "red": 0.15, "nir": 0.80}  # no offset of the sensor makes a forest of it: 0.70 less 0.1 of nir
    words = checked(SENTINEL2, PLAIN, look(make_cogs(tmp_path, bright)))
    assert "unlike forest but not impossible" in words
    pale_snow = {"blue": 0.75, "red": 0.75, "nir": 0.70}
    assert "not checked: 0 pixels" in checked(SENTINEL2, PLAIN, look(make_cogs(tmp_path / "snow", pale_snow)))


def test_land_below_zero_is_refused_even_where_nothing_is_green():
    desert = Sample({"red": np.full(500, 300), "nir": np.full(500, 350)}, "the scene")  # 0.03 and 0.035, or -0.07 and -0.065
    assert "not checked" in checked(SENTINEL2, PLAIN, desert)
    with pytest.raises(ValueError, match=r"median red of 500 pixels of clear land -0\.070, and land reflects no less"):
        checked(SENTINEL2, SHIFTED, desert)


def test_the_whole_scene_is_looked_at_where_the_study_area_shows_too_little(tmp_path):
    scene = make_cogs(tmp_path, added=1000, forest_share=0.5)
    inside = (WEST, NORTH - 1000, WEST + 1000, NORTH)
    water = (WEST, NORTH - SIDE_M, WEST + 1000, NORTH - SIDE_M + 1000)
    assert look(scene, inside).seen == "the study area"
    assert look(scene, inside).numbers["red"].size == 100 * 100  # never finer than the file
    assert look(scene, water).seen == "the scene"
    assert decide(scene, bounds=water)[0] == SHIFTED


def test_a_study_area_in_another_crs_finds_the_same_forest(tmp_path):
    scene = make_cogs(tmp_path, added=1000)
    assert decide(scene, bounds=(116.9, 27.0, 117.2, 27.3), crs="EPSG:4326")[0] == SHIFTED


def test_a_file_outside_the_catalogues_folder_is_not_opened(tmp_path):
    scene = make_cogs(tmp_path / "elsewhere")
    source = Source(str(tmp_path / "catalogue" / "catalog.json"))
    with pytest.raises(ValueError, match=r"its pixels cannot be looked at: .*lies outside the catalogue"):
        sample_scene(scene, SENTINEL2, bounds=BOUNDS, crs=CRS, source=source)
    allowed = replace(source, data_folders=(str(tmp_path / "elsewhere"),))
    assert sample_scene(scene, SENTINEL2, bounds=BOUNDS, crs=CRS, source=allowed).numbers["red"].size


def test_a_file_that_cannot_be_read_is_a_sentence_without_its_signature(tmp_path):
    scene = make_cogs(tmp_path)
    scene["bands"]["red"]["href"] = str(tmp_path / "gone.tif?sig=secret")
    with pytest.raises(ValueError, match="its pixels cannot be looked at: ") as raised:
        look(scene)
    assert "secret" not in str(raised.value)


def test_only_a_file_that_may_be_read_another_time_counts_as_unread(tmp_path):
    scene = make_cogs(tmp_path)
    scene["bands"]["red"]["href"] = "http://127.0.0.1:9/red.tif"
    patience = Patience(give_up_after_s=0.1, first_wait_s=0.02)
    for catalogue, kind in (("http://127.0.0.1:9/stac", Unread), ("https://example.org", Missing)):
        source = Source(catalogue, data_folders=(str(tmp_path),), patience=patience)
        with pytest.raises(ValueError, match="its pixels cannot be looked at") as raised:
            sample_scene(scene, SENTINEL2, bounds=BOUNDS, crs=CRS, source=source)
        assert type(raised.value) is kind


def test_a_file_that_its_server_does_not_have_counts_as_missing_not_as_unread(tmp_path):
    with RangeServer(tmp_path) as server:
        scene = make_cogs(tmp_path)
        scene["bands"]["red"]["href"] = f"{server.address}/gone.tif"
        source = Source(server.address, data_folders=(str(tmp_path),), patience=Patience(give_up_after_s=1))
        with pytest.raises(Missing, match=r"it is not there \(404\)"):
            sample_scene(scene, SENTINEL2, bounds=BOUNDS, crs=CRS, source=source)


def test_bands_of_different_places_cannot_be_compared(tmp_path):
    scene = make_cogs(tmp_path / "one")
    scene["bands"]["red"] = make_cogs(tmp_path / "two", crs="EPSG:32651")["bands"]["red"]
    with pytest.raises(ValueError, match="different coordinate reference systems"):
        look(scene)


def test_a_sensor_without_a_quality_layer_cannot_be_looked_at(tmp_path):
    with pytest.raises(ValueError, match="takes a quality layer"):
        look({"id": "radar", "bands": {"vv": {"href": "vv.tif"}}, "quality": None}, sensor=SENTINEL1)


# ---------------------------------------------------------------- real scenes


@pytest.mark.skipif(not COLOMBIA.is_dir(), reason="data set landsat-c2l2-colombia-2019 is absent")
def test_the_clear_forest_of_colombia_agrees_with_its_collection():
    stem = COLOMBIA / "LC08_L2SP_008059_20191201_20200825_02_T1"
    numbers = {"blue": 2, "red": 4, "nir08": 5}
    bands = {role: {"href": f"{stem}_SR_B{number}.TIF", "nodata": 0} for role, number in numbers.items()}
    scene = {"id": "colombia", "bands": bands, "quality": {"href": f"{stem}_QA_PIXEL.TIF"}}
    with rasterio.open(bands["red"]["href"]) as raster:
        sample = look(scene, tuple(raster.bounds), str(raster.crs), LANDSAT)
    assert sample.numbers["red"].size == 21_249  # clear land pixels, from its README
    verdict = judged((LANDSAT_SCALE, LANDSAT_OFFSET), sample)
    assert verdict.possible and verdict.medians["red"] == pytest.approx(0.0454, abs=0.001)
    for offset in (LANDSAT_OFFSET - 0.1, LANDSAT_OFFSET + 0.1):
        assert judged((LANDSAT_SCALE, offset), sample).ruled_out


@pytest.mark.skipif(not RONDONIA.is_file(), reason="data set landsat8-sr-rondonia-2019 is absent")
def test_the_forest_of_rondonia_allows_its_own_scale_and_none_of_collection_2():
    with rasterio.open(RONDONIA) as raster:
        numbers = raster.read([1, 3, 4])
    valid = (numbers < 30_000).all(axis=0)
    sample = Sample({role: band[valid] for role, band in zip(("blue", "red", "nir"), numbers, strict=True)}, "the scene")
    assert judged((1e-4, 0.0), sample).possible
    assert judged((1e-4, -0.1), sample).ruled_out and judged((1e-4, 0.1), sample).ruled_out
    assert judged((LANDSAT_SCALE, LANDSAT_OFFSET), sample).pixels < MIN_PIXELS
    with pytest.raises(ValueError, match=r"scale 2\.75e-05 and offset -0\.2 make the median red of .* clear land -0\.188"):
        checked(LANDSAT, (LANDSAT_SCALE, LANDSAT_OFFSET), sample)  # the scale is a trap: another product


@pytest.mark.skipif(not BARBELLINO.is_dir(), reason="data set sentinel2-l2a-barbellino is absent")
@pytest.mark.parametrize("date", ["20170703", "20190723"])
@pytest.mark.parametrize(("added", "expected"), [(0, PLAIN), (1000, SHIFTED)])
def test_the_meadows_of_barbellino_tell_the_offset_even_though_they_are_bright(date, added, expected):
    with rasterio.open(BARBELLINO / f"S2A2A_{date}_022_Barbellino_BOA_10.tif") as raster:
        numbers = raster.read([2, 4, 8]).astype("int64")
    with rasterio.open(BARBELLINO / f"S2A2A_{date}_022_Barbellino_SCL_10.tif") as raster:
        scl = raster.read(1).repeat(2, axis=0).repeat(2, axis=1)[: numbers.shape[1], : numbers.shape[2]]
    clear = (scl == 4) & (numbers[0] != 65535)
    sample = Sample({role: band[clear] + added for role, band in zip(("blue", "red", "nir"), numbers, strict=True)}, "the chip")
    assert settled(SENTINEL2, S2_RADIOMETRIES, sample)[0] == expected
