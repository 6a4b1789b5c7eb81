"""Tiles are known by their headers, points come clipped and clean, and a damaged file is named."""

from __future__ import annotations

import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
import rasterio
from pyproj import CRS
from rasterio.transform import from_origin

from catalogs.lidar import PointReader, canopy_points, concat, index_canopy, index_tiles, no_points, read_points

UTM = "EPSG:32633"
EVERYWHERE = (-1e9, -1e9, 1e9, 1e9)


def write_tile(
    path: Path,
    x,
    y,
    z=0.0,
    *,
    classification=1,
    return_number=1,
    withheld=0,
    crs: str | None = UTM,
    point_format: int = 6,
    scale: float = 0.01,
    offsets=(0.0, 0.0, 0.0),
) -> str:
    """A LAS or LAZ tile, by the ending of its name."""
    header = laspy.LasHeader(version="1.4" if point_format >= 6 else "1.2", point_format=point_format)
    header.scales, header.offsets = np.full(3, scale), np.array(offsets)
    if crs:
        header.add_crs(CRS.from_user_input(crs))
    points = laspy.ScaleAwarePointRecord.zeros(len(x), header=header)
    points.x, points.y, points.z = x, y, np.broadcast_to(z, len(x))
    points.classification = np.broadcast_to(classification, len(x))
    points.return_number = np.broadcast_to(return_number, len(x))
    points.number_of_returns = np.broadcast_to(5, len(x))
    points.withheld = np.broadcast_to(withheld, len(x))
    with laspy.open(path, mode="w", header=header, laz_backend=laspy.LazBackend.Lazrs) as file:
        file.write_points(points)
    return str(path)


def scattered(n: int, *, seed: int = 1, west: float = 500_000, south: float = 5_000_000, size_m: float = 200.0):
    """Random places in a square, in flight order (rising y, then back and forth), at whole centimetres."""
    rng = np.random.default_rng(seed)
    x, y = west + np.round(rng.random(n) * size_m, 2), south + np.round(np.sort(rng.random(n)) * size_m, 2)
    return x, y


def test_a_tile_is_what_its_header_says(tmp_path):
    path = write_tile(tmp_path / "a.laz", [500_000.0, 500_010.5], [5_000_001.0, 5_000_020.25], [3.0, 4.0])
    (tile,) = index_tiles(path)
    assert tile.bounds == (500_000.0, 5_000_001.0, 500_010.5, 5_000_020.25)
    assert (tile.points, tile.point_format, tile.vertical_unit) == (2, 6, None)
    assert CRS.from_user_input(tile.crs).to_epsg() == 32633


@pytest.mark.parametrize("point_format", [1, 6])
def test_old_and_new_point_formats_and_their_crs_records_are_read_alike(tmp_path, point_format):
    x, y = scattered(500)
    path = write_tile(tmp_path / "a.laz", x, y, 7.25, classification=5, point_format=point_format)
    (tile,) = index_tiles(path)
    points = read_points([tile], EVERYWHERE, crs=UTM)
    assert tile.point_format == point_format
    np.testing.assert_array_equal(points.x, x)
    np.testing.assert_array_equal(points.z, 7.25)
    assert set(points.classification) == {5} and points.first_return.all()


def test_a_folder_is_listed_by_name_and_only_its_tiles(tmp_path):
    for number, name in enumerate(["b.laz", "a.las", "C.copc.laz"]):
        write_tile(tmp_path / name, [500_000.0 + number], [5_000_000.0])
    (tmp_path / "notes.txt").write_text("flown in fog")
    assert [Path(tile.path).name for tile in index_tiles(str(tmp_path))] == ["C.copc.laz", "a.las", "b.laz"]
    assert len(index_tiles([str(tmp_path / "a.las"), str(tmp_path / "b.laz")])) == 2


def test_the_fingerprint_follows_the_content(tmp_path):
    x, y = scattered(30_000)
    path = write_tile(tmp_path / "a.laz", x, y)
    before = index_tiles(path)[0].fingerprint
    assert index_tiles(path)[0].fingerprint == before
    write_tile(tmp_path / "a.laz", x, y, np.where(np.arange(30_000) == 15_000, 1.0, 0.0))
    assert index_tiles(path)[0].fingerprint != before


def test_a_missing_folder_an_empty_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        index_tiles(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=rf"no .las or .laz file in the folder {tmp_path}"):
        index_tiles(str(tmp_path))
    with pytest.raises(ValueError, match="list of lidar tiles is empty"):
        index_tiles([])


@pytest.mark.parametrize("ending", ["laz", "las"])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.99])
def test_a_cut_off_tile_is_named_before_any_point_is_read(tmp_path, ending, share):
    x, y = scattered(20_000)
    path = Path(write_tile(tmp_path / f"broken.{ending}", x, y))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"broken\.{ending} .*cut off"):
        index_tiles(str(path))


def test_a_damaged_table_of_chunks_is_named_before_any_point_is_read(tmp_path):
    path = Path(write_tile(tmp_path / "bitrot.laz", *scattered(60_000)))
    content = bytearray(path.read_bytes())
    table = struct.unpack_from("<q", content, struct.unpack_from("<I", content, 96)[0])[0]
    content[table : table + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bitrot\.laz is damaged: its table lists 4294967295 compressed chunks"):
        index_tiles(str(path))


def test_points_damaged_inside_a_tile_are_named_when_they_are_read(tmp_path):
    path = Path(write_tile(tmp_path / "bitrot.laz", *scattered(60_000)))
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 96)[0]
    content[start + 2_000 : start + 90_000] = bytes(88_000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bitrot\.laz"):
        read_points(index_tiles(str(path)), EVERYWHERE, crs=UTM)


def test_a_file_that_is_no_lidar_is_named(tmp_path):
    (tmp_path / "table.las").write_text("x,y,z\n" * 100)
    with pytest.raises(ValueError, match=r"table\.las is not a LAS or LAZ file"):
        index_tiles(str(tmp_path / "table.las"))


def test_an_empty_tile_is_named(tmp_path):
    path = write_tile(tmp_path / "void.las", [], [])
    with pytest.raises(ValueError, match=r"void\.las holds 0 points"):
        index_tiles(path)


def test_a_missing_crs_is_refused_and_can_be_given(tmp_path):
    path = write_tile(tmp_path / "a.laz", [500_000.0], [5_000_000.0], crs=None)
    with pytest.raises(ValueError, match=r"a\.laz does not say which CRS .* set crs of the campaign"):
        index_tiles(path)
    assert index_tiles(path, crs=UTM)[0].crs == UTM


def test_degrees_are_refused(tmp_path):
    path = write_tile(tmp_path / "degrees.laz", [15.0], [45.0], crs="EPSG:4326", scale=1e-7)
    with pytest.raises(ValueError, match=r"degrees\.laz is in WGS 84, which is not projected"):
        index_tiles(path)


def test_tiles_of_different_crs_are_refused_with_both_names(tmp_path):
    write_tile(tmp_path / "a.laz", [500_000.0], [5_000_000.0], crs="EPSG:32633")
    write_tile(tmp_path / "b.laz", [500_000.0], [5_000_000.0], crs="EPSG:32634")
    with pytest.raises(ValueError, match=r"a\.laz is in WGS 84 / UTM zone 33N, .*b\.laz in WGS 84 / UTM zone 34N"):
        index_tiles(str(tmp_path))
    assert {tile.crs for tile in index_tiles(str(tmp_path / "a.laz"), crs="EPSG:25833")} == {"EPSG:25833"}


def test_the_same_points_in_two_files_are_refused(tmp_path):
    x, y = scattered(100)
    write_tile(tmp_path / "a.las", x, y)
    write_tile(tmp_path / "a.laz", x, y)
    with pytest.raises(ValueError, match=r"a\.las and .*a\.laz hold the same points"):
        index_tiles(str(tmp_path))


def test_withheld_and_noise_are_left_out_and_counted(tmp_path):
    path = write_tile(
        tmp_path / "a.laz",
        500_000.0 + np.arange(8),
        np.full(8, 5_000_000.0),
        classification=[1, 2, 7, 18, 5, 7, 9, 1],
        withheld=[0, 0, 0, 0, 1, 1, 0, 0],
        return_number=[1, 2, 1, 1, 1, 1, 1, 3],
    )
    points = read_points(index_tiles(path), EVERYWHERE, crs=UTM)
    assert points.classification.tolist() == [1, 2, 9, 1]
    assert points.first_return.tolist() == [True, False, True, False]
    assert (points.withheld, points.noise) == (2, 2)
    counted = read_points(index_tiles(path), (500_000, 4_999_999, 500_003, 5_000_001), crs=UTM)
    assert (len(counted), counted.withheld, counted.noise) == (2, 0, 1)


def test_a_window_is_half_open_as_a_pixel_is(tmp_path):
    """Western and northern edges belong to a window, eastern and southern ones to its neighbours."""
    x, y = [500_000.0, 500_010.0, 500_005.0, 500_005.0], [5_000_005.0, 5_000_005.0, 5_000_000.0, 5_000_010.0]
    path = write_tile(tmp_path / "a.laz", x, y)
    points = read_points(index_tiles(path), (500_000, 5_000_000, 500_010, 5_000_010), crs=UTM)
    assert list(zip(points.x, points.y, strict=True)) == [(500_000.0, 5_000_005.0), (500_005.0, 5_000_010.0)]


def test_a_shared_reader_skips_pieces_and_finds_the_same_points(tmp_path):
    x, y = scattered(170_000)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, 3.0))
    reader = PointReader(tiles, UTM)
    for south in (5_000_000, 5_000_150, 5_000_050):
        window = (500_020, south, 500_100, south + 30)
        expected = (x >= window[0]) & (x < window[2]) & (y > window[1]) & (y <= window[3])
        found, fresh = reader.points(window), read_points(tiles, window, crs=UTM)
        np.testing.assert_array_equal(found.x, x[expected])
        np.testing.assert_array_equal(found.y, fresh.y)
    assert len(reader.points((0, 0, 1, 1))) == 0


@pytest.mark.parametrize(("unit", "metres"), [("ft", 0.3048), ("us-ft", 1200 / 3937), ("m", 1.0)])
def test_heights_in_feet_become_metres(tmp_path, unit, metres):
    path = write_tile(tmp_path / "a.laz", [500_000.0], [5_000_000.0], [100.0])
    points = read_points(index_tiles(path), EVERYWHERE, crs=UTM, vertical_unit=unit)
    assert points.z[0] == pytest.approx(100 * metres, abs=1e-9)


def test_a_tile_in_feet_lands_in_the_metric_study(tmp_path):
    """NAD83 / Oregon North in international feet and in metres: 1 ft = 0.3048 m of the same projection."""
    path = write_tile(tmp_path / "a.laz", [8_202_099.74], [500_000.0], [10.0], crs="EPSG:2269")
    points = read_points(index_tiles(path), EVERYWHERE, crs="EPSG:32126", vertical_unit="ft")
    assert points.x[0] == pytest.approx(8_202_099.74 * 0.3048, abs=1e-3)
    assert points.y[0] == pytest.approx(500_000 * 0.3048, abs=1e-3)
    assert points.z[0] == pytest.approx(3.048)


def test_feet_across_with_silent_heights_are_read_as_metres_with_a_warning(tmp_path, caplog):
    path = write_tile(tmp_path / "a.laz", [8_202_099.74], [500_000.0], [10.0], crs="EPSG:2269")
    points = read_points(index_tiles(path), EVERYWHERE, crs="EPSG:32126")
    assert points.z[0] == pytest.approx(10.0)
    assert "counts foot across and says nothing of heights, which are read as metres" in caplog.text


def test_a_file_that_names_feet_is_not_read_as_metres(tmp_path):
    path = write_tile(tmp_path / "a.laz", [500_000.0], [5_000_000.0], crs="EPSG:32633+6360")  # NAVD88 height (ftUS)
    with pytest.raises(ValueError, match=r"a\.laz says its heights are in us-ft, the campaign says m"):
        read_points(index_tiles(path), EVERYWHERE, crs=UTM)
    assert len(read_points(index_tiles(path), EVERYWHERE, crs=UTM, vertical_unit="us-ft")) == 1
    assert len(read_points(index_tiles(path, crs=UTM), EVERYWHERE, crs=UTM)) == 1


def test_tiles_in_another_projection_are_moved_to_the_study(tmp_path):
    from pyproj import Transformer

    x, y = [500_000.0, 500_100.0], [5_000_000.0, 5_000_100.0]
    path = write_tile(tmp_path / "a.laz", x, y, [1.0, 2.0])
    expected = Transformer.from_crs(UTM, "EPSG:32634", always_xy=True).transform(x, y)
    points = read_points(index_tiles(path), EVERYWHERE, crs="EPSG:32634")
    np.testing.assert_allclose([points.x, points.y], expected, atol=1e-4)
    np.testing.assert_allclose(points.z, [1.0, 2.0])


def test_a_header_that_lies_about_its_box_is_refused(tmp_path):
    path = Path(write_tile(tmp_path / "liar.las", [500_000.0, 500_050.0], [5_000_000.0, 5_000_010.0]))
    content = bytearray(path.read_bytes())
    struct.pack_into("<d", content, 179, 500_020.0)  # max x
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"liar\.las holds points 30\.0 outside the box that its header gives"):
        read_points(index_tiles(str(path)), EVERYWHERE, crs=UTM)


def test_scale_and_offset_of_a_tile_leave_no_trace_in_the_bytes(tmp_path):
    x, y = scattered(1000)
    z = np.round(np.random.default_rng(2).random(1000) * 30, 2)
    one = read_points(index_tiles(write_tile(tmp_path / "a.las", x, y, z)), EVERYWHERE, crs=UTM)
    moved = write_tile(tmp_path / "b.las", x, y, z, offsets=(499_999.13, 4_999_987.77, 12.34))
    other = read_points(index_tiles(moved), EVERYWHERE, crs=UTM)
    for column in ("x", "y", "z"):
        assert getattr(one, column).tobytes() == getattr(other, column).tobytes()


def test_points_join_with_their_counts():
    assert len(concat([])) == len(no_points()) == 0
    both = concat([no_points(), no_points()])
    assert (both.withheld, both.noise, both.z.dtype) == (0, 0, np.float64)


def write_canopy(path: Path, heights, *, crs: str | None = UTM) -> str:
    heights = np.asarray(heights, "float32")
    with rasterio.open(
        path, "w", driver="GTiff", width=heights.shape[1], height=heights.shape[0], count=1, dtype="float32",
        crs=crs, transform=from_origin(500_000, 5_000_100, 1, 1), nodata=-9999,
    ) as raster:  # fmt: skip
        raster.write(heights, 1)
    return str(path)


def test_a_canopy_height_raster_gives_its_cell_centres(tmp_path):
    path = write_canopy(tmp_path / "chm.tif", [[1.5, 2.5, -9999], [4.5, float("nan"), 6.5]])
    points = canopy_points(path, EVERYWHERE, crs=UTM)
    assert list(zip(points.x, points.y, points.z, strict=True)) == [
        (500_000.5, 5_000_099.5, 1.5),
        (500_001.5, 5_000_099.5, 2.5),
        (500_000.5, 5_000_098.5, 4.5),
        (500_002.5, 5_000_098.5, 6.5),
    ]
    assert points.first_return.all() and set(points.classification) == {5}
    assert canopy_points(path, (500_001, 5_000_098, 500_003, 5_000_099), crs=UTM).z.tolist() == [6.5]
    assert len(canopy_points(path, (0, 0, 1, 1), crs=UTM)) == 0


def test_a_canopy_height_raster_is_indexed_as_a_tile(tmp_path):
    tile = index_canopy(write_canopy(tmp_path / "chm.tif", np.ones((3, 4))))
    assert (tile.bounds, tile.points, tile.point_format) == ((500_000, 5_000_097, 500_004, 5_000_100), 12, None)
    bare = write_canopy(tmp_path / "bare.tif", np.ones((3, 4)), crs=None)
    assert canopy_points(index_canopy(bare, crs=UTM), EVERYWHERE, crs=UTM).z.tolist() == [1.0] * 12


def test_a_canopy_height_raster_without_a_usable_crs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"bare\.tif does not say which CRS it is in"):
        index_canopy(write_canopy(tmp_path / "bare.tif", np.ones((2, 2)), crs=None))
    with pytest.raises(ValueError, match=r"degrees\.tif is in WGS 84, which is not projected"):
        index_canopy(write_canopy(tmp_path / "degrees.tif", np.ones((2, 2)), crs="EPSG:4326"))
    with pytest.raises(FileNotFoundError, match=r"gone\.tif does not exist"):
        index_canopy(str(tmp_path / "gone.tif"))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_a_cut_off_canopy_height_raster_is_named(tmp_path, share):
    path = Path(write_canopy(tmp_path / "half.tif", np.random.default_rng(1).random((300, 300))))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"half\.tif .*cut off or damaged"):
        canopy_points(str(path), EVERYWHERE, crs=UTM)
