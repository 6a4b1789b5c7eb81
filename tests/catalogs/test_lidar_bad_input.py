"""What is wrong with a tile is said in a sentence that names the file, before any height is made of it."""

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path

import numpy as np
import pytest
from lidar_files import EVERYWHERE, UTM, patched, scattered, write_tile

from catalogs.lidar import index_tiles, read_points
from catalogs.lidar.headers import ADJUSTED_TIME_ZERO

X, Y = [500_000.0, 500_050.0], [5_000_000.0, 5_000_010.0]


def gps_seconds(day: str) -> float:
    """Adjusted standard GPS time of a day's noon."""
    return (dt.datetime.fromisoformat(f"{day}T12:00") - ADJUSTED_TIME_ZERO).total_seconds()


@pytest.mark.parametrize("ending", ["las", "laz"])
def test_a_header_whose_box_is_nowhere_near_its_points_is_refused_on_listing(tmp_path, ending):
    """Such a tile touches no window: without the look at its first points its hole would be silent."""
    path = write_tile(tmp_path / f"liar.{ending}", X, Y)
    patched(path, 179, "<4d", 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"liar\.la[sz] holds points 5000000\.0 outside the box that its header gives"):
        index_tiles(path)


def test_feet_read_as_metres_are_impossible_in_the_declared_crs(tmp_path):
    """Oregon North: 2,500,000 m easting is 8,202,099.74 ft; as metres the latter lies 60 degrees away."""
    assert index_tiles(write_tile(tmp_path / "metres.laz", [2_500_000.0], [200_000.0], crs="EPSG:32126"))
    path = write_tile(tmp_path / "feet.laz", [8_202_099.74], [656_167.98], crs="EPSG:32126")
    with pytest.raises(ValueError, match=r"feet\.laz \(x 8202099\.74 .* are impossible in NAD83 / Oregon North"):
        index_tiles(path)


def test_swapped_axes_and_another_zone_are_impossible_in_the_declared_crs(tmp_path):
    with pytest.raises(ValueError, match=r"swapped\.laz .* impossible in WGS 84 / UTM zone 33N"):
        index_tiles(write_tile(tmp_path / "swapped.laz", Y, X))
    with pytest.raises(ValueError, match=r"set crs of the campaign"):
        index_tiles(write_tile(tmp_path / "krueger.laz", [4_500_000.0], [5_000_000.0], crs="EPSG:32633"))


def test_degrees_under_a_projected_crs_are_named(tmp_path):
    path = write_tile(tmp_path / "degrees.laz", [15.0], [45.0], scale=1e-7)
    with pytest.raises(ValueError, match=r"degrees\.laz .* look like degrees, but it says WGS 84 / UTM zone 33N"):
        index_tiles(path)


def test_a_tile_a_little_outside_its_zone_is_taken(tmp_path):
    """150 km beyond the edge of zone 33: a survey across a zone's border is written in one of both."""
    assert index_tiles(write_tile(tmp_path / "edge.laz", [885_000.0], [5_000_000.0]))


def test_campaigns_years_apart_are_not_mixed(tmp_path):
    for name, day in (("a", "2015-07-01"), ("b", "2019-07-15")):
        west = 500_000.0 + (name == "b") * 100
        write_tile(tmp_path / f"{name}.laz", [west], [5e6], adjusted_time=True, gps_time=gps_seconds(day))
    with pytest.raises(ValueError, match=r"a\.laz was flown on 2015-07-01, .*b\.laz on 2019-07-15, 1475 days apart"):
        index_tiles(str(tmp_path))
    assert len(index_tiles(str(tmp_path), max_days_apart=1475)) == 2


def test_times_of_an_unnamed_week_say_no_date(tmp_path):
    path = write_tile(tmp_path / "week.laz", X, Y, gps_time=432_000.0)
    assert index_tiles(path)[0].flown is None


def test_files_written_years_apart_without_flight_dates_are_warned_of(tmp_path, caplog):
    write_tile(tmp_path / "a.laz", [500_000.0], [5e6], creation=dt.date(2012, 3, 1))
    write_tile(tmp_path / "b.laz", [500_100.0], [5e6], creation=dt.date(2019, 3, 1))
    assert len(index_tiles(str(tmp_path))) == 2
    assert "a.laz was written on 2012-03-01" in caplog.text and "make sure that they are one campaign" in caplog.text


@pytest.mark.parametrize("ending", ["las", "laz"])
def test_integers_at_their_limits_are_an_overflow(tmp_path, ending):
    path = write_tile(tmp_path / f"full.{ending}", [500_000.0, 500_001.0], [5e6, 5e6], offsets=(500_000.0, 5e6, 0.0))
    if ending == "laz":  # a chunk starts with its first point as it is
        start = struct.unpack_from("<I", Path(path).read_bytes(), 96)[0] + 8
    else:
        start = struct.unpack_from("<I", Path(path).read_bytes(), 96)[0]
    patched(path, start, "<i", 2**31 - 1)
    patched(path, 179, "<d", 500_000 + (2**31 - 1) * 0.01)
    with pytest.raises(ValueError, match=r"full\.la[sz] holds points at the limits of its integers \(x, scale 0\.01\)"):
        read_points(index_tiles(path), EVERYWHERE, crs=UTM)


@pytest.mark.parametrize("version", [(1, 0), (1, 1)])
def test_las_older_than_1_2_is_read(tmp_path, version):
    path = write_tile(tmp_path / "old.las", X, Y, 3.0, point_format=1, classification=[2, 5], withheld=[0, 1])
    patched(path, 24, "<2B", *version)
    points = read_points(index_tiles(path), EVERYWHERE, crs=UTM)
    # LAS 1.0 knows no flags: its byte of the class is the class, here 5 + 128.
    assert points.classification.tolist() == ([2, 133] if version == (1, 0) else [2])
    assert points.withheld == (version == (1, 1))


@pytest.mark.parametrize(
    ("place", "form", "value", "sentence"),
    [
        (24, "<2B", (2, 0), r"says it is LAS 2\.0; LAS 1\.0 to 1\.4 can be read"),
        (24, "<2B", (1, 5), r"says it is LAS 1\.5"),
        (104, "<B", (23,), r"has point format 23; LAS knows 0 to 10"),
        (105, "<H", (12,), r"its points have 12 bytes, those of format 6 have at least 30"),
        (131, "<d", (0.0,), r"its header gives the scales \(0\.0, "),
        (179, "<d", (float("nan"),), r"gives an impossible box"),
    ],
    ids=["las2", "las15", "format", "record", "scale", "nan"],
)
def test_a_header_that_cannot_be_is_named(tmp_path, place, form, value, sentence):
    path = patched(write_tile(tmp_path / "odd.las", X, Y), place, form, *value)
    with pytest.raises(ValueError, match=rf"odd\.las.* {sentence}"):
        index_tiles(path)


@pytest.mark.parametrize("ending", ["las", "laz"])
@pytest.mark.parametrize("point_format", [0, 1, 2, 3, 6, 7, 8])
def test_every_format_gives_the_same_points(tmp_path, point_format, ending):
    x, y = scattered(300)
    path = write_tile(
        tmp_path / f"a.{ending}", x, y, 7.25, point_format=point_format, return_number=2, number_of_returns=3,
        classification=9, intensity=np.arange(300),
    )  # fmt: skip
    from catalogs.lidar import PointReader

    points = PointReader(index_tiles(path), UTM).points(EVERYWHERE, extra=["intensity"])
    np.testing.assert_array_equal(points.x, x)
    np.testing.assert_array_equal(points.intensity, np.arange(300))
    assert set(points.return_number) == {2} and set(points.number_of_returns) == {3} and set(points.classification) == {9}
    assert not points.first_return.any()


@pytest.mark.parametrize("point_format", [4, 5, 9, 10])
def test_waveform_formats_are_read_without_their_waveforms(tmp_path, point_format):
    x, y = scattered(300)
    version = "1.3" if point_format < 6 else "1.4"
    path = write_tile(tmp_path / "wave.las", x, y, 1.5, point_format=point_format, version=version)
    points = read_points(index_tiles(path), EVERYWHERE, crs=UTM)
    np.testing.assert_array_equal(points.x, x)
    np.testing.assert_array_equal(points.z, 1.5)


def test_a_table_of_chunks_that_accounts_for_other_points_is_named(tmp_path):
    """Three chunks of 50,000 hold at most 150,000 points."""
    path = write_tile(tmp_path / "lost.laz", *scattered(120_000))
    patched(path, 247, "<Q", 170_000)
    with pytest.raises(ValueError, match=r"lost\.laz is damaged: its table of compressed chunks accounts for 150000 of 170000"):
        index_tiles(path)


def test_a_laz_without_chunks_is_not_called_damaged(tmp_path):
    """Compressor 1 of LASzip's record: points one after the other, without a table of chunks."""
    path = write_tile(tmp_path / "old.laz", X, Y, point_format=1)
    place = Path(path).read_bytes().index(b"laszip encoded") - 2 + 54
    with pytest.raises(ValueError, match=r"old\.laz is a LAZ without chunks"):
        index_tiles(patched(path, place, "<H", 1))


def test_a_tile_that_changes_under_a_run_is_named(tmp_path):
    path = write_tile(tmp_path / "a.laz", X, Y)
    tiles = index_tiles(path)
    write_tile(tmp_path / "a.laz", X, Y, 5.0)
    with pytest.raises(ValueError, match=r"a\.laz has changed since the campaign was listed"):
        read_points(tiles, EVERYWHERE, crs=UTM)
