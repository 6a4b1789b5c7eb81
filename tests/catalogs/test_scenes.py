"""Reading scenes: reflectance by hand arithmetic, masks at the source, and values that no window can change."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from catalogs.scenes import SceneError, SceneReader, observations_of, read_scene
from catalogs.sensors import LANDSAT, SENTINEL2

rasterio = pytest.importorskip("rasterio")

DATA = Path(os.environ.get("FORESTSINK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
COLOMBIA = DATA / "landsat-c2l2-colombia-2019"
RONDONIA = DATA / "landsat8-sr-rondonia-2019" / "LC08_232066_20190727_SR.tif"
BARBELLINO = DATA / "sentinel2-l2a-barbellino"
CRS = "EPSG:32650"
WEST, NORTH = 500_000.0, 3_000_000.0


def write_tif(file, values, *, resolution_m=10.0, west=WEST, north=NORTH, crs=CRS, nodata=0, **options):
    values = np.asarray(values)
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        width=values.shape[1],
        height=values.shape[0],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(resolution_m, 0, west, 0, -resolution_m, north),
        nodata=nodata,
        **options,
    ) as raster:
        raster.write(values, 1)
    return str(file)


def make_scene(folder, bands, quality=None, *, scale=1e-4, offset=0.0, quality_m=20.0, **grid):
    """A frozen item over files written here; `bands` maps role to (digital numbers, resolution in metres)."""
    entries = {}
    for role, (numbers, resolution_m) in bands.items():
        href = write_tif(folder / f"{role}.tif", np.asarray(numbers, "uint16"), resolution_m=resolution_m, **grid)
        entries[role] = {"href": href, "scale": scale, "offset": offset, "nodata": 0}
    if quality is None:
        numbers, resolution_m = next(iter(bands.values()))
        side = resolution_m / quality_m
        shape = [int(np.ceil(n * side)) for n in np.shape(numbers)]
        quality = np.full(shape, 4, "uint8")
    href = write_tif(folder / "quality.tif", quality, resolution_m=quality_m, **grid)
    return {"id": "scene", "bands": entries, "quality": {"href": href}}


def geobox(rows, cols, resolution_m, *, west=WEST, north=NORTH, crs=CRS):
    return GeoBox((rows, cols), Affine(resolution_m, 0, west, 0, -resolution_m, north), crs)


def noise(shape, seed=1, low=500, high=4000):
    return np.random.default_rng(seed).integers(low, high, shape).astype("uint16")


def same(first, second):
    np.testing.assert_array_equal(first, second)


# ---------------------------------------------------------------- reflectance


def test_reflectance_is_scale_times_number_plus_offset(tmp_path):
    item = make_scene(tmp_path, {"red": ([[1450, 1], [32767, 0]], 10)}, offset=-0.1)
    red = read_scene(item, ["red"], geobox(2, 2, 10), sensor=SENTINEL2)["red"]
    assert red.dtype == np.float32
    np.testing.assert_allclose(red, [[0.045, -0.0999], [3.1767, np.nan]], rtol=1e-6)


def test_four_fine_pixels_average_to_one_coarse(tmp_path):
    item = make_scene(tmp_path, {"red": ([[100, 300, 0, 0], [500, 700, 0, 900]], 10)})
    red = read_scene(item, ["red"], geobox(1, 2, 20), sensor=SENTINEL2)["red"]
    assert red[0, 0] == pytest.approx(0.04)  # (100 + 300 + 500 + 700) / 4
    assert np.isnan(red[0, 1])  # one of four: less than half


def test_a_pixel_with_half_of_its_area_is_the_mean_of_that_half(tmp_path):
    item = make_scene(tmp_path, {"red": ([[100, 0], [0, 700]], 10)})
    red = read_scene(item, ["red"], geobox(1, 1, 20), sensor=SENTINEL2)["red"]
    assert red[0, 0] == pytest.approx(0.04)


def test_unaligned_finer_pixels_are_averaged_by_area(tmp_path):
    # a 25 m pixel from easting 5 m: half of the first 10 m pixel, two whole ones
    item = make_scene(tmp_path, {"red": (np.tile([1000, 2000, 4000, 8000], (4, 1)), 10)})
    red = read_scene(item, ["red"], geobox(1, 1, 25, west=WEST + 5), sensor=SENTINEL2)["red"]
    assert red[0, 0] == pytest.approx((0.5 * 1000 + 2000 + 4000) / 2.5 * 1e-4)


def test_coarser_pixels_are_interpolated_between_their_centres(tmp_path):
    # 30 m pixels of value 1000, 4000 ... with centres at 15, 45 m: at 20 m the value is 1000 + 3000 * 5 / 30
    quality = np.zeros((4, 4), "uint16")
    item = make_scene(tmp_path, {"red": (np.tile([1000, 4000, 7000, 10000], (4, 1)), 30)}, quality, quality_m=30)
    red = read_scene(item, ["red"], geobox(1, 1, 20, west=WEST + 10, north=NORTH - 40), sensor=LANDSAT)["red"]
    assert red[0, 0] == pytest.approx(1500 * 1e-4, rel=1e-5)


def test_another_utm_zone_places_pixels_where_proj_does(tmp_path):
    from pyproj import Transformer

    # the numbers grow linearly with easting and northing of zone 50: any place has one true value
    rows, cols = np.mgrid[0:300, 0:300]
    item = make_scene(tmp_path, {"nir": (1000 + 20 * cols + 10 * rows, 10)}, west=790_000, north=3_000_000)
    x, y = Transformer.from_crs("EPSG:32650", "EPSG:32651", always_xy=True).transform(791_500, 2_998_500)
    for resolution_m in (10, 20, 33):
        grid = geobox(20, 20, resolution_m, west=round(x) - 200, north=round(y) + 200, crs="EPSG:32651")
        nir = read_scene(item, ["nir"], grid, sensor=SENTINEL2)["nir"]
        centre_x = grid.transform.c + resolution_m * (np.arange(20) + 0.5)
        centre_y = grid.transform.f - resolution_m * (np.arange(20) + 0.5)
        back = Transformer.from_crs("EPSG:32651", "EPSG:32650", always_xy=True)
        east, north = back.transform(*np.meshgrid(centre_x, centre_y))
        truth = 1e-4 * (1000 + 20 * ((east - 790_000) / 10 - 0.5) + 10 * ((3_000_000 - north) / 10 - 0.5))
        tolerance = 1e-5 if resolution_m == 10 else 8e-4  # points spread over a pixel: within 4 % of a pixel's step
        np.testing.assert_allclose(nir, truth, atol=tolerance)


def test_outside_the_scene_is_missing(tmp_path):
    item = make_scene(tmp_path, {"red": (np.full((4, 4), 500), 10)})
    red = read_scene(item, ["red"], geobox(4, 4, 10, west=WEST - 20), sensor=SENTINEL2)["red"]
    same(np.isnan(red), np.repeat([[True, True, False, False]], 4, axis=0))
    far = read_scene(item, ["red"], geobox(4, 4, 10, west=WEST + 9000), sensor=SENTINEL2)["red"]
    assert np.isnan(far).all()


# ---------------------------------------------------------------- masks


def test_clouds_and_their_surroundings_are_missing(tmp_path):
    quality = np.full((6, 6), 4, "uint8")
    quality[2, 2] = 9  # a cloud pixel of 20 m: it and its four neighbours are masked (dilation 20 m)
    quality[5, 5] = 2  # dark area: masked, but does not spread
    item = make_scene(tmp_path, {"swir16": (np.full((6, 6), 900), 20)}, quality)
    swir16 = read_scene(item, ["swir16"], geobox(6, 6, 20), sensor=SENTINEL2)["swir16"]
    expected = np.zeros((6, 6), bool)
    expected[[1, 2, 2, 2, 3, 5], [2, 1, 2, 3, 2, 5]] = True
    same(np.isnan(swir16), expected)


def test_a_cloud_just_outside_the_window_still_spreads_into_it(tmp_path):
    quality = np.full((6, 6), 4, "uint8")
    quality[2, 2] = 9
    item = make_scene(tmp_path, {"swir16": (np.full((6, 6), 900), 20)}, quality)
    right = read_scene(item, ["swir16"], geobox(6, 3, 20, west=WEST + 60), sensor=SENTINEL2)["swir16"]
    assert np.isnan(right[2, 0]) and np.isnan(right).sum() == 1


def test_qa_bits_mask_landsat_without_dilation(tmp_path):
    quality = np.array([[21824, 22280, 23888], [21952, 21824, 1]], "uint16")  # clear, cloud, shadow; water, clear, fill
    bands = {"red": (np.full((2, 3), 10000), 30)}
    item = make_scene(tmp_path, bands, quality, quality_m=30, scale=2.75e-05, offset=-0.2)
    red = read_scene(item, ["red"], geobox(2, 3, 30), sensor=LANDSAT)["red"]
    same(np.isnan(red), [[False, True, True], [False, False, True]])
    assert red[0, 0] == pytest.approx(0.075)


def test_a_coarse_mask_lies_on_the_fine_pixels_it_covers(tmp_path):
    quality = np.full((3, 3), 4, "uint8")
    quality[0, 0] = 1  # saturated: does not spread
    item = make_scene(tmp_path, {"red": (np.full((6, 6), 500), 10)}, quality)
    red = read_scene(item, ["red"], geobox(6, 6, 10), sensor=SENTINEL2)["red"]
    assert np.isnan(red[:2, :2]).all() and np.isnan(red).sum() == 4


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("resolution_m", "west", "crs"),
    [
        (10, WEST + 100, CRS),
        (20, WEST + 100, CRS),
        (25, WEST + 103, CRS),
        (7, WEST + 101.5, CRS),
        (20, -97_000, "EPSG:32651"),
    ],
    ids=["same_pixels", "blocks", "unaligned_coarser", "unaligned_finer", "other_zone"],
)
def test_the_window_read_does_not_change_a_pixel(tmp_path, resolution_m, west, crs):
    quality = np.where(noise((100, 100), seed=2) < 800, 9, 4).astype("uint8")
    item = make_scene(tmp_path, {"red": (noise((200, 200)), 10), "swir16": (noise((100, 100), 3), 20)}, quality)
    north = NORTH - 200
    if crs != CRS:
        from pyproj import Transformer

        place = Transformer.from_crs(CRS, crs, always_xy=True).transform(WEST + 400, NORTH - 400)
        west, north = (round(value, -1) for value in place)
    side = int(1200 / resolution_m)

    def window(row0, row1, col0, col1):
        left, top = west + col0 * resolution_m, north - row0 * resolution_m
        return geobox(row1 - row0, col1 - col0, resolution_m, west=left, north=top, crs=crs)

    whole = read_scene(item, ["red", "swir16"], window(0, side, 0, side), sensor=SENTINEL2)
    assert 0.05 < np.isfinite(whole["red"]).mean() < 1
    cut = side // 3
    for row0, row1, col0, col1 in [(0, cut, 0, side), (cut, side, 0, cut), (cut, side, cut, side)]:
        part = read_scene(item, ["red", "swir16"], window(row0, row1, col0, col1), sensor=SENTINEL2)
        for role in part:
            same(part[role], whole[role][row0:row1, col0:col1])


def test_one_reader_gives_what_separate_reads_give(tmp_path):
    item = make_scene(tmp_path, {"red": (noise((40, 40)), 10)})
    grids = [geobox(20, 20, 10, west=WEST + 10 * start) for start in (0, 5, 20)]
    with SceneReader(SENTINEL2) as reader:
        for grid in grids:
            same(reader.read(item, ["red"], grid)["red"], read_scene(item, ["red"], grid, sensor=SENTINEL2)["red"])


# ---------------------------------------------------------------- bad files


def test_a_truncated_geotiff_is_named(tmp_path):
    item = make_scene(tmp_path, {"red": (noise((512, 512)), 10)}, tiled=True, blockxsize=128, blockysize=128)
    file = Path(item["bands"]["red"]["href"])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"scene scene: .*red\.tif is damaged or cut short"):
        read_scene(item, ["red"], geobox(512, 512, 10), sensor=SENTINEL2)


def test_a_missing_file_and_one_that_is_no_raster_are_named(tmp_path):
    item = make_scene(tmp_path, {"red": (noise((8, 8)), 10)})
    Path(item["bands"]["red"]["href"]).write_text("<html>403</html>")
    with pytest.raises(SceneError, match=r"red\.tif cannot be read as a raster"):
        read_scene(item, ["red"], geobox(8, 8, 10), sensor=SENTINEL2)
    Path(item["quality"]["href"]).unlink()
    item["bands"]["red"]["href"] = write_tif(tmp_path / "other.tif", noise((8, 8)))
    with pytest.raises(SceneError, match=r"the file .*quality\.tif does not exist"):
        read_scene(item, ["red"], geobox(8, 8, 10), sensor=SENTINEL2)


def test_a_band_the_scene_does_not_offer_is_answered_with_those_it_does(tmp_path):
    item = make_scene(tmp_path, {"red": (noise((8, 8)), 10)})
    with pytest.raises(SceneError, match="offers no band swir22; it offers red"):
        read_scene(item, ["red", "swir22"], geobox(8, 8, 10), sensor=SENTINEL2)


# ---------------------------------------------------------------- real scenes


def colombia(roles):
    stem = "LC08_L2SP_008059_20191201_20200825_02_T1"
    number = {"blue": 2, "green": 3, "red": 4, "nir08": 5, "swir16": 6, "swir22": 7}
    bands = {
        role: {"href": str(COLOMBIA / f"{stem}_SR_B{number[role]}.TIF"), "scale": 2.75e-05, "offset": -0.2, "nodata": 0}
        for role in roles
    }
    return {"id": stem, "bands": bands, "quality": {"href": str(COLOMBIA / f"{stem}_QA_PIXEL.TIF")}}


@pytest.mark.skipif(not COLOMBIA.is_dir(), reason="data set landsat-c2l2-colombia-2019 is absent")
def test_clear_land_of_the_colombia_scene_has_its_published_reflectance():
    roles = ["red", "nir08", "swir16", "swir22"]
    item = colombia(roles)
    with rasterio.open(item["bands"]["red"]["href"]) as raster:
        grid = GeoBox(raster.shape, raster.transform, str(raster.crs))
    bands = read_scene(item, roles, grid, sensor=LANDSAT)
    clear = np.isfinite(bands["red"])
    assert abs(int(clear.sum()) - 21_249) <= 85  # 85 clear water pixels are kept: water is a surface
    medians = {role: float(np.nanmedian(values)) for role, values in bands.items()}
    assert medians == pytest.approx({"red": 0.0454, "nir08": 0.376, "swir16": 0.2076, "swir22": 0.0892}, abs=5e-4)
    ndvi = (bands["nir08"] - bands["red"]) / (bands["nir08"] + bands["red"])
    nbr = (bands["nir08"] - bands["swir22"]) / (bands["nir08"] + bands["swir22"])
    assert np.nanmedian(ndvi) == pytest.approx(0.781, abs=1e-3)
    assert np.nanmedian(nbr) == pytest.approx(0.614, abs=1e-3)


@pytest.mark.skipif(not RONDONIA.is_file(), reason="data set landsat8-sr-rondonia-2019 is absent")
def test_the_rondonia_chip_does_not_pass_as_collection_2():
    band = {"href": str(RONDONIA), "scale": 2.75e-05, "offset": -0.2, "nodata": 0}
    item = {"id": "LC08_232066_20190727_SR", "bands": {"blue": band}, "quality": {"href": str(RONDONIA)}}
    grid = GeoBox((10, 10), Affine(30, 0, 392_000, 0, -30, 9_037_000), "EPSG:32720")
    with pytest.raises(SceneError, match=r"holds int16 with nodata 32767.*another product, with another scale"):
        read_scene(item, ["blue"], grid, sensor=LANDSAT)


@pytest.mark.skipif(not BARBELLINO.is_dir(), reason="data set sentinel2-l2a-barbellino is absent")
@pytest.mark.parametrize("date", ["20170703", "20190723"])
def test_the_barbellino_chip_reproduces_its_ndvi(tmp_path, date):
    with rasterio.open(BARBELLINO / f"S2A2A_{date}_022_Barbellino_BOA_10.tif") as raster:
        numbers, place, crs = raster.read([4, 8]), raster.transform, str(raster.crs)
    with rasterio.open(BARBELLINO / f"S2A2A_{date}_022_Barbellino_NDVI_10.tif") as raster:
        expected = raster.read(1)
    entries = {
        role: {
            "href": write_tif(tmp_path / f"{role}.tif", band, west=place.c, north=place.f, crs=crs, nodata=65535),
            "scale": 1e-4,
            "offset": 0.0,
            "nodata": 65535,
        }
        for role, band in zip(("red", "nir"), numbers, strict=True)
    }
    quality = {"href": str(BARBELLINO / f"S2A2A_{date}_022_Barbellino_SCL_10.tif")}
    item = {"id": date, "bands": entries, "quality": quality}
    bands = read_scene(item, ["red", "nir"], GeoBox(numbers.shape[1:], place, crs), sensor=SENTINEL2)
    ndvi = (bands["nir"] - bands["red"]) / (bands["nir"] + bands["red"])
    seen = np.isfinite(ndvi) & (expected != -32768)
    assert seen.sum() > 100
    assert np.abs(ndvi[seen] * 1e4 - expected[seen]).max() <= 1.0


# ---------------------------------------------------------------- how pixels reach the grid


def bilinear_by_hand(numbers, valid, rows, cols):
    """20 m onto 10 m on the same edges: 9/16, 3/16, 3/16, 1/16 of the valid around, missing below half."""
    out = np.full((rows, cols), np.nan)
    for i in range(rows):
        for j in range(cols):
            total = share = 0.0
            for di, wi in ((0, 0.75), (1 if i % 2 else -1, 0.25)):
                for dj, wj in ((0, 0.75), (1 if j % 2 else -1, 0.25)):
                    y, x = i // 2 + di, j // 2 + dj
                    if 0 <= y < numbers.shape[0] and 0 <= x < numbers.shape[1] and valid[y, x]:
                        total += wi * wj * numbers[y, x]
                        share += wi * wj
            if share >= 0.5:
                out[i, j] = total / share
    return out


def test_20_m_pixels_reach_10_m_by_the_weights_of_bilinear_interpolation(tmp_path):
    numbers = noise((8, 10))
    numbers[noise((8, 10), seed=4) < 1000] = 0  # missing
    item = make_scene(tmp_path, {"swir16": (numbers, 20)})
    swir16 = read_scene(item, ["swir16"], geobox(16, 20, 10), sensor=SENTINEL2)["swir16"]
    np.testing.assert_allclose(swir16, 1e-4 * bilinear_by_hand(numbers, numbers > 0, 16, 20), rtol=1e-6)
    odd = read_scene(item, ["swir16"], geobox(9, 11, 10, west=WEST + 30, north=NORTH - 50), sensor=SENTINEL2)["swir16"]
    same(odd, swir16[5:14, 3:14])


def test_nearest_upsampling_shows_observed_numbers_only(tmp_path):
    numbers = noise((6, 6))
    item = make_scene(tmp_path, {"swir16": (numbers, 20), "red": (noise((12, 12), 2), 10)})
    read = read_scene(item, ["swir16", "red"], geobox(12, 12, 10), sensor=SENTINEL2, upsampling="nearest")
    np.testing.assert_allclose(read["swir16"], 1e-4 * np.repeat(np.repeat(numbers, 2, 0), 2, 1), rtol=1e-6)
    with SceneReader(SENTINEL2, upsampling="nearest") as reader:
        look = reader.look(item, ["swir16"], geobox(12, 12, 10))
    assert look.numbers["swir16"].dtype == np.uint16
    with pytest.raises(ValueError, match="upsampling must be bilinear or nearest, got 'cubic'"):
        SceneReader(SENTINEL2, upsampling="cubic")


def test_means_of_blocks_leave_out_what_is_missing(tmp_path):
    numbers = noise((30, 30))
    numbers[noise((30, 30), seed=4) < 2200] = 0
    item = make_scene(tmp_path, {"red": (numbers, 10)})
    for side in (2, 3, 5):
        red = read_scene(item, ["red"], geobox(30 // side, 30 // side, 10 * side), sensor=SENTINEL2)["red"]
        blocks = np.where(numbers > 0, numbers, np.nan).reshape(30 // side, side, 30 // side, side)
        share = np.isfinite(blocks).mean(axis=(1, 3))
        with np.errstate(invalid="ignore"):
            expected = np.where(share >= 0.5, np.nansum(blocks, axis=(1, 3)) / (share * side**2), np.nan)
        np.testing.assert_allclose(red, 1e-4 * expected, rtol=1e-6)
        assert 0 < np.isnan(red).sum() < red.size


def test_pixels_of_the_grid_itself_go_through_as_whole_numbers(tmp_path):
    numbers = noise((20, 20))
    item = make_scene(tmp_path, {"red": (numbers, 10)})
    with SceneReader(SENTINEL2) as reader:
        look = reader.look(item, ["red"], geobox(10, 10, 10, west=WEST + 50, north=NORTH - 70))
    assert look.numbers["red"].dtype == np.uint16 and look.seen.all()
    same(look.numbers["red"], numbers[7:17, 5:15])


@pytest.mark.parametrize("kind", ["same", "double", "blocks"])
def test_the_fast_ways_give_the_numbers_of_the_general_way(kind):
    from catalogs import resampling
    from catalogs.scenes.placing import LEAST, Separable, Taps

    start, step = {"same": (3.0, 1.0), "double": (1.5, 0.5), "blocks": (4.0, 2.0)}[kind]
    samples = Separable(Taps.along(start, step, 20, "bilinear"), Taps.along(start, step, 24, "bilinear"))
    numbers = noise((samples.window.row1 - samples.window.row0, samples.window.col1 - samples.window.col0))
    valid = noise(numbers.shape, seed=3) > 2000
    rows, cols = samples.rows, samples.cols
    general, ok = resampling.weighted(numbers, valid, rows.index, rows.weight, cols.index, cols.weight, LEAST)
    fast, seen = samples.bring(numbers, valid)
    same(ok, seen)
    same(general[ok], fast.astype("float32")[seen])
    assert 0.1 < ok.mean() < 0.95


# ---------------------------------------------------------------- what a look counts as


def test_granules_of_one_overpass_are_one_observation():
    def item(name, moment, platform="sentinel-2a"):
        return {"id": name, "datetime": moment, "platform": platform}

    items = [
        item("b", "2019-07-01T02:55:30Z"),
        item("a", "2019-07-01T02:55:44Z"),
        item("c", "2019-07-01T02:57:00Z"),  # more than a minute after the first
        item("d", "2019-07-01T02:55:31Z", "sentinel-2b"),
        {"id": "e"},
        {"id": "f"},
    ]
    groups = [[item["id"] for item in group] for group in observations_of(items)]
    assert groups == [["e"], ["f"], ["a", "b"], ["d"], ["c"]]


def test_distance_to_cloud_is_measured_from_centre_to_centre_and_capped(tmp_path):
    quality = np.full((200, 200), 4, "uint8")
    quality[100, 100], quality[101, 40] = 9, 3
    quality[0, :5] = 0  # outside the scene: no cloud
    item = make_scene(tmp_path, {"swir16": (np.full((200, 200), 900), 20)}, quality)
    rows, cols = np.mgrid[0:200, 0:200]
    metres = 20 * np.minimum(np.hypot(rows - 100, cols - 100), np.hypot(rows - 101, cols - 40))
    with SceneReader(SENTINEL2) as reader:
        whole = reader.look(item, ["swir16"], geobox(200, 200, 20), cloud_distance=True).cloud_distance_m
        np.testing.assert_allclose(whole, np.minimum(metres, 1500), rtol=1e-6)
        part = geobox(10, 30, 20, west=WEST + 1000, north=NORTH - 2600)  # no cloud inside
        same(reader.look(item, ["swir16"], part, cloud_distance=True).cloud_distance_m, whole[130:140, 50:80])


# ---------------------------------------------------------------- reading ahead


def rows_of_chunks(side, chunk, west, north, resolution_m):
    for row in range(0, side, chunk):
        yield [
            geobox(chunk, chunk, resolution_m, west=west + col * resolution_m, north=north - row * resolution_m)
            for col in range(0, side, chunk)
        ]


def wide(chunks):
    first = chunks[0]
    return GeoBox((first.shape[0], sum(one.shape[1] for one in chunks)), first.transform, first.crs)


@pytest.mark.parametrize("reads", [1, 8])
@pytest.mark.parametrize("tile", [16, 48, 112])
def test_rows_held_give_what_chunks_alone_read_and_no_tile_is_decoded_twice(tmp_path, monkeypatch, tile, reads):
    options = {"tiled": True, "blockxsize": tile, "blockysize": tile}
    quality = np.where(noise((100, 100), seed=2) < 600, 9, 4).astype("uint8")
    item = make_scene(tmp_path, {"red": (noise((200, 200)), 10), "swir16": (noise((100, 100), 3), 20)}, quality, **options)
    roles, west, north = ["red", "swir16"], WEST + 130, NORTH - 90  # off the tiles, beyond the scene in the east
    rows = list(rows_of_chunks(192, 32, west, north, 10))
    strip = GeoBox((192, 192), rows[0][0].transform, CRS)
    decoded = []
    plain = SceneReader._numbers

    def counted(self, item, href, file, window, *, fill):
        decoded.append((href, window.row0, window.row1))
        return plain(self, item, href, file, window, fill=fill)

    with SceneReader(SENTINEL2, reads=reads) as reader:
        alone = [[reader.look(item, roles, chunk) for chunk in row] for row in rows]
        monkeypatch.setattr(SceneReader, "_numbers", counted)
        reader.open([item], roles)
        feed = reader.feed(strip)
        for row, expected in zip(rows, alone, strict=True):
            answers = feed.quality([item], roles, wide(row))
            answers |= feed.bands([item], roles, wide(row))
            held = {href: answer.result() for href, answer in answers.items()}
            for chunk, one in zip(row, expected, strict=True):
                look = reader.look(item, roles, chunk, held=held)
                assert (look is None) == (one is None)
                for role in roles if one is not None else ():
                    same(look.reflectance(role), one.reflectance(role))
    assert any(one is not None for row in alone for one in row)
    for href in {href for href, _, _ in decoded}:
        windows = sorted((row0, row1) for name, row0, row1 in decoded if name == href)
        assert all(end <= start for (_, end), (start, _) in pairwise(windows))
        assert all(row1 % tile == 0 or row1 in (100, 200) for _, row1 in windows)


def test_bands_of_a_row_that_shows_nothing_clear_are_not_read(tmp_path, monkeypatch):
    item = make_scene(tmp_path, {"red": (noise((40, 40)), 10)}, np.full((20, 20), 9, "uint8"))
    row = geobox(40, 40, 10)
    read = []
    plain = SceneReader._numbers

    def noted(self, item, href, *rest, **named):
        read.append(href)
        return plain(self, item, href, *rest, **named)

    monkeypatch.setattr(SceneReader, "_numbers", noted)
    with SceneReader(SENTINEL2) as reader:
        reader.open([item], ["red"])
        feed = reader.feed(row)
        answers = feed.quality([item], ["red"], row) | feed.bands([item], ["red"], row)
        assert reader.look(item, ["red"], row, held={href: a.result() for href, a in answers.items() if a.result()}) is None
    assert read == [item["quality"]["href"]]


def test_files_beyond_those_kept_open_are_closed_and_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr("catalogs.scenes.reader.OPEN_FILES", 2)
    items = []
    for name in "abc":
        (tmp_path / name).mkdir()
        items.append(make_scene(tmp_path / name, {"red": (noise((8, 8), seed=ord(name)), 10)}))
    with SceneReader(SENTINEL2) as reader:
        first = [reader.read(item, ["red"], geobox(8, 8, 10))["red"] for item in items]
        assert len(reader._files) <= 2
        for item, expected in zip(items, first, strict=True):
            same(reader.read(item, ["red"], geobox(8, 8, 10))["red"], expected)


# ---------------------------------------------------------------- from a review


def test_a_mask_in_degrees_grows_by_metres():
    from catalogs.scenes.masking import offsets_within
    from catalogs.scenes.profiles import Profile

    side = 20 / 111_320
    layer = Profile("scl", "here", Affine(side, 0, 10.0, 0, -side, 60.0), "", "", False, "uint8", 0, 100, 100, 100)
    down, right = layer.pixel_m
    assert down == pytest.approx(20) and right == pytest.approx(10, rel=0.01)  # cos 60 degrees is a half
    assert set(map(tuple, offsets_within(21.0, down, right).tolist())) >= {(1, 0), (0, 2), (0, -2)}
    assert len(offsets_within(21.0, down, right)) < 12


def test_a_pass_is_not_cut_by_where_the_study_begins():
    times = [f"2019-07-01T10:0{24 * n // 60}:{24 * n % 60:02d}Z" for n in range(6)]
    rows = [{"id": f"row{n}", "platform": "landsat-8", "datetime": moment} for n, moment in enumerate(times)]
    assert [len(group) for group in observations_of(rows)] == [6]
    assert [len(group) for group in observations_of(rows[2:])] == [4]
    later = {"id": "later", "platform": "landsat-8", "datetime": "2019-07-01T10:05:00Z"}
    assert [len(group) for group in observations_of([*rows, later])] == [6, 1]


def test_oblong_pixels_are_brought_by_their_own_weights():
    """20 x 10 m pixels on a 10 m grid: rows are the file's own, columns are halved."""
    from catalogs.resampling import weighted
    from catalogs.scenes.placing import LEAST, Separable, Taps

    rows, cols = Taps.along(0.0, 1.0, 8, "bilinear"), Taps.along(1.0, 0.5, 8, "bilinear")
    samples = Separable(rows, cols)
    window = samples.window
    numbers = np.arange(window.size, dtype="float32").reshape(window.shape)
    valid = np.ones(window.shape, bool)
    ours, _ = samples.bring(numbers, valid)
    expected, _ = weighted(numbers, valid, rows.index, rows.weight, cols.index, cols.weight, LEAST)
    np.testing.assert_allclose(ours, expected)
    assert np.diff(ours, axis=0) == pytest.approx(window.shape[1])  # a row below is a row further in the file


@pytest.mark.parametrize("side", [1.1, 2.0, 3.3], ids=["little_coarser", "twice", "more_than_thrice"])
@pytest.mark.parametrize("field", ["smooth", "checkerboard"])
def test_pixels_of_another_crs_are_means_by_area(side, field):
    """Shapely cuts each pixel, turned by 3 degrees as between UTM zones, with each pixel of the source."""
    import shapely

    from catalogs.resampling import averaged

    rows, cols = np.mgrid[0:40, 0:40]
    values = (np.sin(rows / 7) * np.cos(cols / 5) if field == "smooth" else (rows + cols) % 2).astype("float32")
    valid = (rows * 7 + cols * 3) % 11 != 0
    down, right = np.mgrid[0:7, 0:7] * side
    turn = np.deg2rad(3)
    row, col = 9.3 + down * np.cos(turn) + right * np.sin(turn), 8.6 + right * np.cos(turn) - down * np.sin(turn)
    found, ok = averaged(values[5:35, 4:36].copy(), valid[5:35, 4:36].copy(), row, col, 5, 4, np.float32(0.5))
    cells = shapely.box(cols, rows, cols + 1, rows + 1)
    for i in range(6):
        for j in range(6):
            corners = [(col[a, b], row[a, b]) for a, b in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j))]
            area = shapely.area(shapely.intersection(shapely.Polygon(corners), cells))
            seen = area * valid
            assert ok[i, j] == (seen.sum() >= 0.5 * area.sum())
            if ok[i, j]:
                assert found[i, j] == pytest.approx((seen * values).sum() / seen.sum(), abs=1e-6)
