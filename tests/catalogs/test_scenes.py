"""Reading scenes: reflectance by hand arithmetic, masks at the source, and values that no window can change."""

import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from catalogs.scenes import SceneError, SceneReader, read_scene
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
