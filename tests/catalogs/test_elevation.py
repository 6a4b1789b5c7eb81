"""Elevation read onto a grid in metres: tiles joined without a seam, real tiles as GDAL reads them, rasters of one's own."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from catalogs.scenes import SceneError, SceneReader
from catalogs.search import find_scenes
from catalogs.sensors import COPERNICUS_DEM
from pipeline import store
from pipeline.grid import Grid
from pipeline.indicators import compute
from pipeline.steps.composite import composite
from pipeline.steps.search import search

rasterio = pytest.importorskip("rasterio")

DATA = Path(os.environ.get("FORESTSINK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
SAO_TOME = DATA / "copernicus-dem-glo30-n00e006" / "Copernicus_DSM_COG_10_N00_00_E006_00_DEM.tif"
SECOND = 1 / 3600


def write_tile(file, surface, *, lon, lat, rows, cols, wide=SECOND, nodata=None, dtype="float32"):
    """A tile in degrees whose first pixel centre is at `lon`, `lat`; `surface(longitude, latitude)` in metres."""
    transform = Affine(wide, 0, lon - wide / 2, 0, -SECOND, lat + SECOND / 2)
    values = surface(lon + wide * np.arange(cols)[None, :], lat - SECOND * np.arange(rows)[:, None])
    with rasterio.open(
        file, "w", driver="GTiff", width=cols, height=rows, count=1, dtype=dtype, crs="EPSG:4326",
        transform=transform, nodata=nodata,
    ) as raster:  # fmt: skip
        raster.write(np.broadcast_to(values, (rows, cols)).astype(dtype), 1)
    return {"id": file.stem, "bands": {"elevation": {"href": str(file), "scale": 1.0, "offset": 0.0, "nodata": nodata}},
            "quality": None}  # fmt: skip


def read(items, geobox):
    """Tiles joined on a grid, as the composite step joins them."""
    total, weight = np.zeros(geobox.shape), np.zeros(geobox.shape)
    with SceneReader(COPERNICUS_DEM) as reader:
        for item in items:
            part, share = reader.weighed(item, "elevation", geobox)
            total, weight = total + part, weight + share
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight >= 0.5, total / weight, np.nan)


def grid_at(lon, lat, *, rows, cols, resolution_m, epsg):
    """A grid in metres whose middle lies at `lon`, `lat`."""
    x, y = Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(lon, lat)
    west, north = round(x) - cols * resolution_m / 2, round(y) + rows * resolution_m / 2
    return GeoBox((rows, cols), Affine(resolution_m, 0, west, 0, -resolution_m, north), epsg)


def plane(lon, lat, epsg, east, north):
    """A plane on the ground that rises by `east` and `north` per metre from 4000 m at a place; of degrees, and of the map."""
    to_map = Transformer.from_crs("EPSG:4326", epsg, always_xy=True)
    x0, y0 = to_map.transform(lon, lat)

    def on_map(x, y):
        return 4000 + east * (x - x0) + north * (y - y0)

    return lambda longitude, latitude: on_map(*to_map.transform(*np.broadcast_arrays(longitude, latitude))), on_map


def centres(geobox):
    """Map coordinates of a grid's pixel centres, x as a row and y as a column."""
    rows, cols = geobox.shape
    grid = geobox.transform
    return grid.c + grid.a * (np.arange(cols) + 0.5)[None, :], grid.f + grid.e * (np.arange(rows) + 0.5)[:, None]


def waves(longitude, latitude):
    return 300 + 80 * np.sin(longitude * 900) + 60 * np.cos(latitude * 1100)


@pytest.mark.parametrize("resolution_m", [10, 20, 30, 100])
def test_two_tiles_give_what_one_tile_of_both_gives(tmp_path, resolution_m):
    whole = write_tile(tmp_path / "whole.tif", waves, lon=116.98, lat=27.12, rows=150, cols=150)
    west = write_tile(tmp_path / "west.tif", waves, lon=116.98, lat=27.12, rows=150, cols=72)
    east = write_tile(tmp_path / "east.tif", waves, lon=116.98 + 72 * SECOND, lat=27.12, rows=150, cols=78)
    n = 2000 // resolution_m
    geobox = grid_at(117.0, 27.1, rows=n, cols=n, resolution_m=resolution_m, epsg="EPSG:32650")
    joined = read([west, east], geobox)
    assert np.isfinite(joined).all()
    np.testing.assert_allclose(joined, read([whole], geobox), atol=1e-3)


def test_tiles_of_different_posting_join_on_a_plane(tmp_path):
    # at 50 degrees the columns of GLO-30 widen from 1 to 1.5 seconds
    surface, on_map = plane(9.02, 50.0, "EPSG:32632", 0.2, -0.1)
    north = write_tile(tmp_path / "n.tif", surface, lon=9.0, lat=50 + 60 * SECOND, rows=60, cols=100, wide=1.5 * SECOND)
    south = write_tile(tmp_path / "s.tif", surface, lon=9.0, lat=50.0, rows=60, cols=150)
    geobox = grid_at(9.02, 50.0, rows=100, cols=100, resolution_m=20, epsg="EPSG:32632")
    np.testing.assert_allclose(read([north, south], geobox), on_map(*centres(geobox)), atol=0.01)


@pytest.mark.parametrize(
    ("lon", "lat", "epsg", "wide", "resolution_m"),
    [(117.2, 27.1, "EPSG:32650", 1, 10), (117.2, 27.1, "EPSG:32650", 1, 20), (9.1, 65.0, "EPSG:32632", 2, 20),
     (9.1, 82.0, "EPSG:32632", 5, 30), (-70.3, -43.0, "EPSG:32719", 1, 30)],
    ids=["10m", "20m", "65N", "82N", "43S"],
)  # fmt: skip
def test_the_slope_of_a_plane_is_its_slope_at_any_latitude(tmp_path, lon, lat, epsg, wide, resolution_m):
    surface, _ = plane(lon, lat, epsg, 0.3, 0.4)  # rises by half a metre per metre towards the north-east
    cols = round(6 / wide / np.cos(np.radians(lat)) * 60)
    item = write_tile(tmp_path / "t.tif", surface, lon=lon - cols / 2 * wide * SECOND, lat=lat + 120 * SECOND, rows=240,
                      cols=cols, wide=wide * SECOND)  # fmt: skip
    geobox = grid_at(lon, lat, rows=60, cols=60, resolution_m=resolution_m, epsg=epsg)
    elevation = read([item], geobox)
    slope = compute("slope", {"elevation": elevation}, resolution_m=resolution_m)[1:-1, 1:-1]
    facing = compute("northness", {"elevation": elevation}, resolution_m=resolution_m)[1:-1, 1:-1]
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.5)), atol=0.1)
    np.testing.assert_allclose(facing, -0.8, atol=0.005)  # it falls towards the south-west: cos = -0.4 / 0.5


def test_voids_stay_missing_and_spread_no_further_than_half_a_posting(tmp_path):
    def holed(longitude, latitude):
        values = np.broadcast_to(waves(longitude, latitude), (150, 150)).copy()
        values[60:70, 60:70] = -9999
        return values

    item = write_tile(tmp_path / "v.tif", holed, lon=116.98, lat=27.12, rows=150, cols=150, nodata=-9999)
    geobox = grid_at(116.998, 27.102, rows=60, cols=60, resolution_m=20, epsg="EPSG:32650")
    elevation = read([item], geobox)
    hole_m2 = 10 * SECOND * 111_320 * 10 * SECOND * 111_320 * np.cos(np.radians(27.1))
    assert np.isnan(elevation).sum() * 400 == pytest.approx(hole_m2, rel=0.1)
    assert np.nanmin(elevation) > 150


def test_tiles_meet_across_the_antimeridian(tmp_path):
    def surface(longitude, latitude):
        return 100 + 1000 * ((longitude % 360) - 180) + 0 * latitude

    west = write_tile(tmp_path / "w.tif", surface, lon=180 - 80 * SECOND, lat=-16.98, rows=150, cols=80)
    east = write_tile(tmp_path / "e.tif", surface, lon=-180.0, lat=-16.98, rows=150, cols=80)
    geobox = grid_at(180.0, -17.0, rows=100, cols=100, resolution_m=20, epsg="EPSG:32760")
    elevation = read([west, east], geobox)
    x, y = np.broadcast_arrays(*centres(geobox))
    longitude = Transformer.from_crs("EPSG:32760", "EPSG:4326", always_xy=True).transform(x, y)[0] % 360
    np.testing.assert_allclose(elevation, 100 + 1000 * (longitude - 180), atol=0.05)


# ---------------------------------------------------------------- the real tile


@pytest.fixture(scope="module")
def sao_tome(tmp_path_factory):
    """A static catalogue of the real tile, its frozen items and a grid of UTM 32 over the island's summits."""
    if not SAO_TOME.exists():
        pytest.skip(f"the data set copernicus-dem-glo30-n00e006 is not under FORESTSINK_DATA ({DATA})")
    folder = tmp_path_factory.mktemp("dem")
    west, south, east, north = 6.0, 0.0, 7.0, 1.0
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": SAO_TOME.stem, "collection": "cop-dem-glo-30",
        "bbox": [west, south, east, north], "links": [],
        "geometry": {"type": "Polygon",
                     "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]},
        "properties": {"datetime": "2021-04-22T00:00:00Z", "platform": "TanDEM-X", "proj:epsg": 4326},
        "assets": {"data": {"href": str(SAO_TOME)}},
    }  # fmt: skip
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "dem", "description": "one tile",
               "links": [{"rel": "item", "href": "./item.json"}]}  # fmt: skip
    (folder / "item.json").write_text(json.dumps(item))
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder


def settings(folder, **changes):
    return {"catalog": str(folder / "catalog.json"), "season": ["01-01", "12-31"], "max_cloud_percent": 80,
            "reducer": "median", "on_scene_error": "fail", "data_folders": [str(DATA)], **changes}  # fmt: skip


def make_rasters(folder, grid, out, **changes):
    scenes = folder / "scenes.json"
    search(scenes=scenes, settings=settings(folder, **changes), sensor="copernicus-dem-glo30", grid=grid.settings(), years=[2019])
    for block in grid.blocks():
        composite(scenes=scenes, raster=out / f"{block}.tif", sensor="copernicus-dem-glo30", year="static", block=block,
                  grid=grid.settings(), settings=settings(folder, **changes), roles=["elevation"])  # fmt: skip
    return store.Mosaic(out, grid).read(grid.window, ["elevation"])["elevation"]


def summits(resolution_m, chunk_px=64, block_chunks=2):
    rows = round(6000 / resolution_m)  # 6 x 6 km around 6.6 E, 0.25 N
    return Grid("EPSG:32632", 229_980.0, 30_000.0, float(resolution_m), rows, rows, chunk_px, block_chunks)


@pytest.mark.parametrize(
    ("resolution_m", "method", "within_m"),
    [(20, "bilinear", 0.1), (90, "average", 4.0)],  # ours is within 0.001 m of the surface below; GDAL rounds its weights
)
def test_the_real_tile_reads_as_gdal_reads_it(sao_tome, tmp_path, resolution_m, method, within_m):
    from rasterio.warp import Resampling, reproject

    grid = summits(resolution_m)
    ours = make_rasters(sao_tome, grid, tmp_path)
    theirs = np.empty(ours.shape, "float32")
    with rasterio.open(SAO_TOME) as raster:
        reproject(
            rasterio.band(raster, 1), theirs, dst_transform=grid.geobox.transform, dst_crs=grid.crs,
            resampling=Resampling[method], tolerance=0,
        )  # fmt: skip
    assert theirs.max() > 700  # mountains, not sea
    np.testing.assert_allclose(ours, theirs, atol=within_m)


@pytest.mark.parametrize(("resolution_m", "samples", "within_m"), [(20, 1, 0.001), (90, 20, 0.5)])
def test_the_real_tile_reads_as_the_bilinear_surface_between_its_points(sao_tome, tmp_path, resolution_m, samples, within_m):
    from scipy.ndimage import map_coordinates

    grid = summits(resolution_m)
    ours = make_rasters(sao_tome, grid, tmp_path)
    with rasterio.open(SAO_TOME) as raster:
        heights, place = raster.read(1), raster.transform
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    expected = np.zeros(ours.shape)
    x, y = centres(grid.geobox)
    away = ((np.arange(samples) + 0.5) / samples - 0.5) * resolution_m
    for down in away:
        for right in away:
            lon, lat = to_degrees.transform(*np.broadcast_arrays(x + right, y + down))
            rows, cols = (lat - place.f) / place.e - 0.5, (lon - place.c) / place.a - 0.5
            expected += map_coordinates(heights, [rows, cols], order=1) / samples**2
    np.testing.assert_allclose(ours, expected, atol=within_m)


@pytest.mark.parametrize("resolution_m", [20, 90])
def test_blocks_and_chunks_change_no_byte_of_the_real_tile(sao_tome, tmp_path, resolution_m):
    first = make_rasters(sao_tome, summits(resolution_m, chunk_px=16), tmp_path / "a")
    other = make_rasters(sao_tome, summits(resolution_m, chunk_px=50, block_chunks=3), tmp_path / "b")
    assert first.tobytes() == other.tobytes()
    with rasterio.open(next((tmp_path / "a").glob("*.tif"))) as raster:
        assert (raster.count, raster.dtypes, raster.descriptions, raster.units) == (1, ("float32",), ("elevation",), ("m",))


# ---------------------------------------------------------------- a raster of one's own


def test_a_raster_file_stands_in_place_of_a_catalogue(tmp_path):
    surface, on_map = plane(117.2, 27.1, "EPSG:32650", 0.25, 0.0)
    write_tile(tmp_path / "national_dem.tif", surface, lon=117.19, lat=27.12, rows=150, cols=150, dtype="int16", nodata=-32768)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32650", always_xy=True).transform(117.2, 27.1)
    grid = Grid("EPSG:32650", float(round(x)), float(round(y)), 20.0, 40, 40, 32, 2)
    made = make_rasters(tmp_path, grid, tmp_path / "out", catalog=str(tmp_path / "national_dem.tif"), data_folders=[])
    np.testing.assert_allclose(made, np.broadcast_to(on_map(*centres(grid.geobox)), made.shape), atol=1.01)  # whole metres, cut
    (item,) = json.loads((tmp_path / "scenes.json").read_text())["items"]
    assert item["year"] is None and item["bands"]["elevation"]["href"] == "national_dem.tif"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda file: file.write_bytes(b"no raster"), "cannot be read as a raster"),
        (lambda file: write_tile(file, waves, lon=10, lat=50, rows=9, cols=9), "does not touch the study area"),
        (lambda file: write_tile(file, waves, lon=117, lat=27.1, rows=9, cols=9, dtype="uint16"), "holds uint16; elevations"),
    ],
    ids=["no_raster", "elsewhere", "bytes"],
)
def test_a_raster_file_that_cannot_serve_is_refused(tmp_path, content, sentence):
    file = tmp_path / "dem.tif"
    content(file)
    with pytest.raises(ValueError, match=sentence):
        find_scenes(
            COPERNICUS_DEM, catalog=str(file), collection=None, bounds=(500_000, 2_990_000, 510_000, 3_000_000),
            crs="EPSG:32650", years=[2019], season=("01-01", "12-31"), max_cloud_percent=80,
        )  # fmt: skip


def test_a_tile_that_cannot_be_read_is_named(tmp_path):
    item = write_tile(tmp_path / "t.tif", waves, lon=117, lat=27.1, rows=20, cols=20)
    (tmp_path / "t.tif").write_bytes(b"cut short")
    with pytest.raises(SceneError, match=r"scene t: .*t\.tif"):
        read([item], grid_at(117.002, 27.098, rows=5, cols=5, resolution_m=20, epsg="EPSG:32650"))
