"""The planted radar scenes and elevation tiles: the formats of real ones, speckle of known looks, nothing else moved."""

import hashlib
import json

import numpy as np
import pystac
import pytest
import rasterio

from catalogs.planted import plant_scenes
from catalogs.planted.backscatter import LOOKS, NODATA, plan_radar, see_backscatter
from catalogs.planted.elevation import posting_s
from catalogs.planted.forest import grow
from catalogs.planted.reflectance import land_of
from catalogs.planted.settings import SMALL_AREA, Planting
from catalogs.planted.site import Site
from catalogs.planted.stands import FOREST_LAND, WATER
from catalogs.sensors import COPERNICUS_DEM, SENTINEL1, radiometry

YEARS = (2019, 2024)
SENSORS = ("sentinel-2-l2a", "sentinel-1-rtc", "copernicus-dem-glo30")


def plant(folder, **changes):
    settings = Planting.small(5, **{"scenes_per_year": 4, "sensors": SENSORS, **changes})
    plant_scenes(folder, area=SMALL_AREA, years=YEARS, settings=settings.model_dump(mode="json"))
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def forest():
    return grow(Site.of(SMALL_AREA), *YEARS, Planting.small(5, scenes_per_year=4, sensors=SENSORS))


def items_of(folder, collection):
    return [json.loads(file.read_text()) for file in sorted((folder / collection).glob("*/*.json"))]


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pixels(folder, item, key):
    with rasterio.open(folder / item["collection"] / item["id"] / item["assets"][key]["href"]) as raster:
        return raster.read(1), raster.transform


def test_the_same_seed_gives_the_same_bytes_and_other_sensors_move_no_optical_scene(planted, tmp_path):
    again, optical = digests(plant(tmp_path / "a")), digests(plant(tmp_path / "b", sensors=("sentinel-2-l2a",)))
    assert again == digests(planted)
    scenes = {name: value for name, value in optical.items() if name.startswith("sentinel-2-l2a/")}
    assert scenes and all(again[name] == value for name, value in scenes.items())


def test_items_are_stac_and_read_as_their_sensors(planted):
    found = list(pystac.Catalog.from_file(str(planted / "catalog.json")).get_items(recursive=True))
    by_collection = {item.collection_id: [] for item in found}
    for item in found:
        by_collection[item.collection_id].append(pystac.Item.from_dict(item.to_dict()).id)
    assert len(by_collection["sentinel-1-rtc"]) == 14  # a year: 4 descending, one of them in two slices, 2 ascending
    assert len(by_collection["cop-dem-glo-30"]) == 2  # the study begins at 117 degrees east, where two tiles meet
    for item in items_of(planted, "sentinel-1-rtc"):
        assert radiometry(item, SENTINEL1, "vh").scale == 1
        assert SENTINEL1.identify(item).tile.startswith("slice 20")
    for item in items_of(planted, "cop-dem-glo-30"):
        assert "EGM2008" in radiometry(item, COPERNICUS_DEM, "elevation").evidence


def test_speckle_has_the_looks_that_the_items_state(planted, forest):
    land = land_of(forest, 2019, pad=48)
    scene = next(item for item in items_of(planted, "sentinel-1-rtc")
                 if item["properties"]["sat:orbit_state"] == "ascending" and "_2019" in item["id"])  # fmt: skip
    values, place = pixels(planted, scene, "vh")
    power = see_backscatter(forest, land, "ascending")["vh"]
    row0, col0 = round((land.north_m - place.f) / 5), round((place.c - land.west_m) / 5)
    power = power[row0 : row0 + 2 * values.shape[0], col0 : col0 + 2 * values.shape[1]]
    ratio = values / power.reshape(values.shape[0], 2, values.shape[1], 2).mean((1, 3))
    assert scene["properties"]["sar:looks_equivalent_number"] == LOOKS
    assert ratio.mean() ** 2 / ratio.var() == pytest.approx(LOOKS, rel=0.05)
    coarse = ratio[: 2 * (len(ratio) // 2), : 2 * (ratio.shape[1] // 2)]
    coarse = coarse.reshape(len(coarse) // 2, 2, -1, 2).mean((1, 3))  # neighbours are correlated by 1 / 4, diagonally 1 / 16
    assert coarse.mean() ** 2 / coarse.var() == pytest.approx(LOOKS * 16 / (4 + 8 / 4 + 4 / 16), rel=0.08)


def test_slices_of_a_pass_show_the_same_where_they_overlap(planted):
    one = next(one for one in plan_radar(grow(Site.of(SMALL_AREA), *YEARS, Planting.small(5, scenes_per_year=4)), 2019)
               if one.slices == 2)  # fmt: skip
    day = f"{one.moment:%Y%m%dT}"
    north, south = (item for item in items_of(planted, "sentinel-1-rtc") if day in item["id"])
    (a, place_a), (b, place_b) = pixels(planted, north, "vv"), pixels(planted, south, "vv")
    first = round((place_a.f - place_b.f) / 10)
    assert 0 < a.shape[0] - first == 10
    np.testing.assert_array_equal(a[first:], b[:10])


def test_a_partial_pass_ends_in_zeros_that_nothing_marks_as_missing(planted):
    partial = [item for item in items_of(planted, "sentinel-1-rtc") if (pixels(planted, item, "vv")[0] == NODATA).any()]
    assert len(partial) == 2  # one a year
    values = pixels(planted, partial[0], "vv")[0]
    zeros = (values == 0).sum(axis=1)
    assert set(zeros) == {6}  # 60 m in every row


def test_canopy_hides_the_ground_until_it_is_closed(forest):
    land = land_of(forest, 2019, pad=48)
    seen = see_backscatter(forest, land, "descending")
    height, wooded = land.canopy.cover * land.canopy.height_m, land.ground == FOREST_LAND
    low, middle, tall, taller = (
        np.median(10 * np.log10(seen["vh"][wooded & (height >= a) & (height < b)]))
        for a, b in ((0, 2), (6, 8), (12, 14), (16, 30))
    )
    assert middle - low > 2 and taller - tall < 0.6
    assert np.median(10 * np.log10(seen["vh"][land.ground == WATER])) < low - 3


def test_tiles_have_their_pixel_centres_on_whole_seconds_and_share_none(planted):
    (_, west), (_, east) = (pixels(planted, item, "data") for item in items_of(planted, "cop-dem-glo-30"))
    for place in (west, east):
        for degrees in (place.c + place.a / 2, place.f + place.e / 2):
            assert degrees * 3600 == pytest.approx(round(degrees * 3600), abs=1e-5)
    assert (east.c + east.a / 2) == pytest.approx(117.0, abs=1e-9)
    width = pixels(planted, items_of(planted, "cop-dem-glo-30")[0], "data")[0].shape[1]
    assert west.c + width * west.a == pytest.approx(east.c, abs=1e-9)


@pytest.mark.parametrize(("latitude", "seconds"), [(0, 1), (49, 1), (50, 1.5), (-60, 2), (70, 3), (79, 5), (85, 10), (-89, 10)])
def test_postings_widen_towards_the_poles(latitude, seconds):
    # Copernicus DEM product handbook; the tiles at 89-90 degrees south are 360 columns wide
    assert posting_s(latitude) == seconds
