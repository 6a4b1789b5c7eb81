"""Whatever holds the points (chunks, octrees, addresses, overlapping tiles), a window gets them once and the same."""

from __future__ import annotations

import json
from pathlib import Path

import laspy
import numpy as np
import pytest
from conftest import data_set
from lidar_files import EVERYWHERE, UTM, scattered, served, write_copc, write_tile

from catalogs.lidar import PointReader, Points, index_tiles, read_points
from catalogs.lidar import points as reading
from catalogs.lidar.headers import Header
from catalogs.lidar.thinning import Thinning
from catalogs.remote import Patience, RemoteError, Source
from pipeline.store import KeptArrays

WINDOW = (500_050.0, 5_000_040.0, 500_100.0, 5_000_090.0)


def sorted_rows(points: Points) -> np.ndarray:
    rows = np.stack([points.x, points.y, points.z, points.return_number.astype(float)], axis=1)
    return rows[np.lexsort(rows.T)]


def counted_decodes(monkeypatch) -> list[int]:
    """The pieces that are decoded from here on."""
    seen: list[int] = []
    decoded = reading.decoded

    def counting(header: Header, raw, pieces, number, **options):
        seen.append(number)
        return decoded(header, raw, pieces, number, **options)

    monkeypatch.setattr(reading, "decoded", counting)
    return seen


@pytest.fixture
def cloud():
    x, y = scattered(6_000)
    return x, y, np.round(np.random.default_rng(9).random(6_000) * 40, 2)


# Octrees


def test_a_copc_window_holds_what_laspy_finds_in_it(tmp_path, cloud):
    path = write_copc(tmp_path / "a.copc.laz", *cloud)
    found = read_points(index_tiles(path), WINDOW, crs=UTM)
    with laspy.CopcReader.open(path) as reader:
        peer = reader.query(laspy.copc.Bounds(np.array(WINDOW[:2]), np.array(WINDOW[2:])))
    inside = (np.asarray(peer.x) < WINDOW[2]) & (np.asarray(peer.y) > WINDOW[1])
    assert len(found) == inside.sum() > 300
    assert sorted(found.z) == pytest.approx(sorted(np.asarray(peer.z)[inside]))


def test_of_an_octree_only_the_nodes_that_touch_a_window_are_decoded(tmp_path, cloud, monkeypatch):
    """Of 1 + 8 + 64 nodes on three levels, a corner of a quarter of the side touches at most 1 + 2 + 8 columns' nodes."""
    tiles = index_tiles(write_copc(tmp_path / "a.copc.laz", *cloud))
    seen = counted_decodes(monkeypatch)
    read_points(tiles, (500_000.0, 5_000_000.0, 500_040.0, 5_000_040.0), crs=UTM)
    corner = len(seen)
    read_points(tiles, EVERYWHERE, crs=UTM)
    assert 0 < corner < (len(seen) - corner) / 2


def test_a_copc_and_a_laz_of_the_same_points_give_the_same_points(tmp_path, cloud):
    copc = read_points(index_tiles(write_copc(tmp_path / "a.copc.laz", *cloud)), WINDOW, crs=UTM)
    laz = read_points(index_tiles(write_tile(tmp_path / "a.laz", *cloud)), WINDOW, crs=UTM)
    np.testing.assert_array_equal(sorted_rows(copc), sorted_rows(laz))


def test_an_octree_that_lies_about_its_points_is_named(tmp_path, cloud):
    """Its boxes stand 60 m beside its points: windows would miss points without a word."""
    tiles = index_tiles(write_copc(tmp_path / "liar.copc.laz", *cloud, shift_m=60.0))
    with pytest.raises(ValueError, match=r"liar\.copc\.laz is damaged: points lie outside the part of its octree"):
        read_points(tiles, EVERYWHERE, crs=UTM)


# Addresses


@pytest.mark.parametrize("ending", ["copc.laz", "laz", "las"])
def test_a_tile_at_an_address_is_read_in_ranges(tmp_path, cloud, ending):
    name = f"a.{ending}"
    path = (write_copc if ending == "copc.laz" else write_tile)(tmp_path / name, *cloud)
    here = read_points(index_tiles(path), WINDOW, crs=UTM)
    with served(tmp_path) as (address, asked):
        there = read_points(index_tiles(f"{address}/{name}"), WINDOW, crs=UTM)
    np.testing.assert_array_equal(here.x, there.x)
    np.testing.assert_array_equal(here.z, there.z)
    assert all(wanted for _, wanted in asked)


def test_a_server_that_stumbles_is_asked_again(tmp_path, cloud):
    write_tile(tmp_path / "a.laz", *cloud)
    with served(tmp_path, fail_first=3) as (address, asked):
        (tile,) = index_tiles(f"{address}/a.laz", access=Source(address, patience=Patience(first_wait_s=0.01)))
    assert tile.points == 6_000 and len(asked) > 3


def test_what_an_address_cannot_give_is_said_without_its_signature(tmp_path, cloud):
    write_tile(tmp_path / "a.laz", *cloud)
    said = r"gone\.laz cannot be read: it is not there .404"
    with served(tmp_path) as (address, _), pytest.raises(RemoteError, match=said) as why:
        index_tiles(f"{address}/gone.laz?sig=secret")
    assert "secret" not in str(why.value)
    said = r"a\.laz cannot be read: the server gives no part of a file .*; download the tile"
    with served(tmp_path, ranges=False) as (address, _), pytest.raises(RemoteError, match=said):
        index_tiles(f"{address}/a.laz")


# Sources


def test_a_pattern_names_tiles(tmp_path, cloud):
    for number in range(3):
        write_tile(tmp_path / f"t{number}.laz", np.array(cloud[0]) + 1000 * number, *cloud[1:])
    assert [Path(tile.path).name for tile in index_tiles(str(tmp_path / "t[02].laz"))] == ["t0.laz", "t2.laz"]
    with pytest.raises(FileNotFoundError, match=r"no \.las or \.laz file has a name like .*x\*\.laz"):
        index_tiles(str(tmp_path / "x*.laz"))


def as_3dep(item: dict, href: str) -> dict:
    """An item of 3DEP with the address of its tile replaced."""
    data = item["assets"]["data"] | {"href": href}
    return item | {"assets": item["assets"] | {"data": data}, "links": []}


def test_items_of_3dep_name_tiles_and_their_compound_crs(data, tmp_path):
    """The real item: `proj:epsg` and `datetime` null, CRS only as projjson of UTM 12N + NAVD88 metres."""
    folder = data_set(data, "stac-items") / "planetary-computer" / "3dep-lidar-copc"
    item = json.loads((folder / "USGS_LPC_UT_StatewideSouth_2020_A20_12SUH7015.json").read_text())
    x, y = scattered(100, west=370_000, south=4_215_000, size_m=40)
    write_tile(tmp_path / "bare.laz", x, y, 2_350.0, crs=None)
    (tmp_path / "item.json").write_text(json.dumps(as_3dep(item, "./bare.laz")))
    (tile,) = index_tiles(str(tmp_path / "item.json"))
    assert (Path(tile.path).name, tile.points, tile.vertical_unit) == ("bare.laz", 100, "m")
    points = read_points([tile], EVERYWHERE, crs="EPSG:26912")
    np.testing.assert_array_equal(points.x, x)


def test_a_static_catalogue_at_an_address_leads_to_its_tiles(data, tmp_path, cloud):
    folder = data_set(data, "stac-items") / "planetary-computer" / "3dep-lidar-copc"
    item = json.loads((folder / "USGS_LPC_UT_StatewideSouth_2020_A20_12SUH7015.json").read_text())
    item["properties"].pop("proj:projjson")
    (tmp_path / "items").mkdir()
    write_copc(tmp_path / "items" / "a.copc.laz", *cloud)
    (tmp_path / "items" / "a.json").write_text(json.dumps(as_3dep(item, "a.copc.laz")))
    links = [{"rel": "item", "href": "items/a.json"}, {"rel": "root", "href": "catalog.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "links": links}))
    with served(tmp_path) as (address, _):
        (tile,) = index_tiles(f"{address}/catalog.json")
        assert tile.path == f"{address}/items/a.copc.laz"
        assert len(read_points([tile], EVERYWHERE, crs=UTM)) == 6_000


def test_an_item_that_contradicts_its_file_is_refused(data, tmp_path, cloud):
    folder = data_set(data, "stac-items") / "planetary-computer" / "3dep-lidar-copc"
    item = json.loads((folder / "USGS_LPC_UT_StatewideSouth_2020_A20_12SUH7015.json").read_text())
    write_tile(tmp_path / "a.laz", *cloud)
    (tmp_path / "item.json").write_text(json.dumps(as_3dep(item, "a.laz")))
    with pytest.raises(ValueError, match=r"a\.laz says it is in WGS 84 / UTM zone 33N, its STAC item says NAD83 / UTM zone 12N"):
        index_tiles(str(tmp_path / "item.json"))


def test_a_document_without_lidar_is_named(tmp_path):
    (tmp_path / "empty.json").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    (tmp_path / "table.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"no STAC item of .*empty\.json has a LAS, LAZ or COPC asset"):
        index_tiles(str(tmp_path / "empty.json"))
    with pytest.raises(ValueError, match=r"table\.json is not a STAC item"):
        index_tiles(str(tmp_path / "table.json"))


# Pieces, kept from job to job


def test_a_second_job_decodes_only_what_touches_its_window(tmp_path, monkeypatch):
    x, y = scattered(260_000)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y))
    kept = KeptArrays(tmp_path / "pieces")
    window = (500_000.0, 5_000_000.0, 500_200.0, 5_000_020.0)
    seen = counted_decodes(monkeypatch)
    first = PointReader(tiles, UTM, kept=kept).points(window)
    assert len(seen) == 6  # of 50,000 points each, the last of 10,000
    second = PointReader(tiles, UTM, kept=kept).points(window)
    assert seen[6:] == [0]  # the tenth in the south, in flight order
    np.testing.assert_array_equal(first.x, second.x)
    assert len(first) == ((y > window[1]) & (y <= window[3])).sum()


def test_kept_boxes_serve_a_study_in_another_projection(tmp_path):
    """A window far larger than where the tile's projection holds, and one that covers a part."""
    from pyproj import Transformer

    x, y = scattered(120_000)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y))
    moved = np.array(Transformer.from_crs(UTM, "EPSG:32634", always_xy=True).transform(x, y))
    kept = KeptArrays(tmp_path / "pieces")
    middle = moved.mean(axis=1)
    for window in (EVERYWHERE, (middle[0], middle[1], middle[0] + 500, middle[1] + 500)) * 2:
        inside = (moved[0] >= window[0]) & (moved[0] < window[2]) & (moved[1] > window[1]) & (moved[1] <= window[3])
        assert len(PointReader(tiles, "EPSG:32634", kept=kept).points(window)) == inside.sum() > 0


def test_kept_boxes_that_are_damaged_or_of_other_content_are_made_again(tmp_path):
    x, y = scattered(60_000)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y))
    kept = KeptArrays(tmp_path / "pieces")
    expected = PointReader(tiles, UTM, kept=kept).points(EVERYWHERE)
    (file,) = (tmp_path / "pieces").iterdir()
    assert list(kept) == [tiles[0].fingerprint] and len(kept) == 1
    for damage in (b"", file.read_bytes()[:90]):
        file.write_bytes(damage)
        assert len(PointReader(tiles, UTM, kept=kept).points(EVERYWHERE)) == len(expected)
    kept[tiles[0].fingerprint] = np.zeros((1, 4))
    assert len(PointReader(tiles, UTM, kept=kept).points(EVERYWHERE)) == len(expected)


# Tiles that overlap


def test_points_that_two_tiles_share_count_once(tmp_path, cloud):
    """One cloud, cut at x = 500,100 with a buffer of 20 m on both sides."""
    x, y, z = cloud
    whole = read_points(index_tiles(write_tile(tmp_path / "whole.laz", x, y, z)), EVERYWHERE, crs=UTM)
    (tmp_path / "cut").mkdir()
    for name, own in (("west", x < 500_120), ("east", x >= 500_080)):
        write_tile(tmp_path / "cut" / f"{name}.laz", x[own], y[own], z[own], offsets=(499_000.0, 4_999_000.0, 0.0))
    cut = read_points(index_tiles(str(tmp_path / "cut")), EVERYWHERE, crs=UTM)
    np.testing.assert_array_equal(sorted_rows(cut), sorted_rows(whole))
    assert cut.twins == ((x >= 500_080) & (x < 500_120)).sum()


def test_points_that_one_tile_holds_twice_stay_twice(tmp_path):
    write_tile(tmp_path / "a.laz", [500_000.0, 500_010.0, 500_010.0], np.full(3, 5e6))
    write_tile(tmp_path / "b.laz", [500_010.0, 500_010.0, 500_020.0, 500_010.0], np.full(4, 5e6))
    points = read_points(index_tiles(str(tmp_path)), EVERYWHERE, crs=UTM)
    assert sorted(points.x) == [500_000, 500_010, 500_010, 500_010, 500_020]
    assert points.twins == 2


# Options of a campaign


def test_overlap_of_flight_lines_is_left_out_where_asked(tmp_path):
    columns = {"classification": [2, 12, 5, 7], "overlap": [0, 0, 1, 1]}
    new = index_tiles(write_tile(tmp_path / "new.laz", 500_000.0 + np.arange(4), np.full(4, 5e6), **columns))
    old = index_tiles(
        write_tile(tmp_path / "old.laz", 500_000.0 + np.arange(3), np.full(3, 5e6), classification=[2, 12, 5], point_format=1)
    )
    every = PointReader(new, UTM).points(EVERYWHERE)
    assert (len(every), every.overlap, every.noise) == (3, 0, 1)
    dropped = PointReader(new, UTM, drop_overlap=True).points(EVERYWHERE)
    assert (dropped.classification.tolist(), dropped.overlap, dropped.noise) == ([2], 2, 1)
    assert PointReader(old, UTM, drop_overlap=True).points(EVERYWHERE).classification.tolist() == [2, 5]


def pulses(tmp_path: Path, n: int = 8_000, *, timed: bool = True):
    """Two returns per pulse on 100 m x 100 m: 1.6 points per m2."""
    x, y = scattered(n, size_m=100.0)
    x, y, time = np.repeat(x, 2), np.repeat(y, 2), np.repeat(1e3 + np.arange(n) / 1e3, 2)
    z, number = np.tile([20.0, 0.0], n), np.tile([1, 2], n)
    columns = {"return_number": number, "number_of_returns": 2, "gps_time": time if timed else 0.0}
    return x, y, z, columns


def test_thinning_keeps_whole_pulses_and_the_density_asked_for(tmp_path):
    x, y, z, columns = pulses(tmp_path)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, z, **columns))
    thin = PointReader(tiles, UTM, thin_to_pts_m2=0.4).points(EVERYWHERE)
    assert len(thin) == pytest.approx(0.4 * 100 * 100, rel=0.01)
    assert thin.thinned == len(x) - len(thin)
    alone = len(thin) - 2 * (thin.return_number == 2).sum()
    assert 0 <= alone <= 100 and not (thin.return_number == 2).sum() > (thin.return_number == 1).sum()


def test_thinning_draws_the_same_points_whatever_the_tiles_their_order_and_the_window(tmp_path):
    x, y, z, columns = pulses(tmp_path)
    whole = index_tiles(write_tile(tmp_path / "whole.laz", x, y, z, **columns))
    (tmp_path / "cut").mkdir()
    order = np.random.default_rng(4).permutation(len(x))
    x, y, z = x[order], y[order], z[order]
    columns = {name: np.broadcast_to(values, len(order))[order] for name, values in columns.items()}
    for name, own in (("b", x < 500_033), ("a", (x >= 500_033) & (y < 5_000_047)), ("c", (x >= 500_033) & (y >= 5_000_047))):
        write_tile(
            tmp_path / "cut" / f"{name}.laz", x[own], y[own], z[own], **{key: value[own] for key, value in columns.items()}
        )
    cut = index_tiles(str(tmp_path / "cut"))
    for window in (EVERYWHERE, (500_013.0, 5_000_007.0, 500_058.5, 5_000_061.0)):
        one, other = (PointReader(tiles, UTM, thin_to_pts_m2=0.4).points(window) for tiles in (whole, cut))
        np.testing.assert_array_equal(sorted_rows(one), sorted_rows(other))
    within = PointReader(whole, UTM, thin_to_pts_m2=0.4).points(EVERYWHERE)
    np.testing.assert_array_equal(sorted_rows(within.select(within.inside(window))), sorted_rows(one))
    other_seed = PointReader(whole, UTM, thin_to_pts_m2=0.4, thin_seed=1).points(window)
    assert not np.array_equal(sorted_rows(other_seed), sorted_rows(one))


def test_a_tile_in_no_spatial_order_is_warned_of(tmp_path, caplog):
    """Half a million points are ten pieces of 50,000; in flight order none is as wide as the tile."""
    x, y = scattered(500_000)
    mixed = np.random.default_rng(2).permutation(len(x))
    for name, order, said in (("flown", slice(None), False), ("mixed", mixed, True)):
        tiles = index_tiles(write_tile(tmp_path / f"{name}.laz", x[order], y[order]))
        PointReader(tiles, UTM).points(WINDOW)
        assert ("are in no spatial order" in caplog.text) == said


def test_a_cell_is_drawn_once_and_ground_is_the_same_whatever_was_asked_before(tmp_path, monkeypatch):
    """A window, the ground far around it, the next window: as a campaign is read. 10,000 m2 are 100 cells."""
    x, y, z, columns = pulses(tmp_path)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, z, **columns | {"classification": np.where(z == 0, 2, 5)}))
    drawn = []
    draw = Thinning._draw

    def counted(self, column0, row0, table, cell, *about):
        row, column = np.divmod(np.unique(cell), table.shape[1])
        drawn.extend(zip((row0 + row).tolist(), (column0 + column).tolist(), strict=True))
        return draw(self, column0, row0, table, cell, *about)

    monkeypatch.setattr(Thinning, "_draw", counted)
    reader = PointReader(tiles, UTM, thin_to_pts_m2=0.4, thin_seed=3)
    west, far = (500_000.0, 5_000_000.0, 500_063.0, 5_000_072.0), (499_900.0, 4_999_900.0, 500_200.0, 5_000_200.0)
    parts = [reader.points(west), reader.ground(far, (2,)), reader.points((500_063.0, 5_000_000.0, 500_110.0, 5_000_110.0))]
    assert len(drawn) == len(set(drawn)) and len(set(drawn)) >= 100
    alone = PointReader(tiles, UTM, thin_to_pts_m2=0.4, thin_seed=3).points(EVERYWHERE)
    np.testing.assert_array_equal(sorted_rows(parts[1]), sorted_rows(alone.select(alone.classification == 2)))
    np.testing.assert_array_equal(sorted_rows(parts[0]), sorted_rows(alone.select(alone.inside(west))))


@pytest.mark.filterwarnings("error")
def test_any_seed_draws_without_a_warning_of_overflow(tmp_path):
    x, y, z, columns = pulses(tmp_path)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, z, **columns))
    assert len(PointReader(tiles, UTM, thin_to_pts_m2=0.4, thin_seed=2**31).points(EVERYWHERE)) == pytest.approx(4_000, rel=0.01)


def test_points_that_are_alike_stay_or_go_together(tmp_path):
    """One point of each of 60 pulses and one thirty-fold: in a cell of 50, whichever order the draw has."""
    x, y = 500_005.0 + np.append(np.arange(60) / 20, np.full(30, 4.0)), np.full(90, 5_000_005.0)
    time = np.append(np.arange(60) + 1.0, np.full(30, 99.0))
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, 1.0, gps_time=time))
    for seed in range(8):
        kept = PointReader(tiles, UTM, thin_to_pts_m2=0.5, thin_seed=seed).points(EVERYWHERE)
        assert (kept.x == 500_009.0).sum() in (0, 30) and 20 < len(kept) <= 50


def test_a_thinner_draw_is_part_of_a_denser_one(tmp_path):
    """So a ladder of densities changes nothing but the density."""
    x, y, z, columns = pulses(tmp_path)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, z, **columns))
    rows = [
        {tuple(row) for row in sorted_rows(PointReader(tiles, UTM, thin_to_pts_m2=target).points(EVERYWHERE))}
        for target in (0.1, 0.4, 0.8)
    ]
    assert rows[0] < rows[1] < rows[2]


def test_thinning_never_adds_and_works_without_gps_time(tmp_path):
    x, y, z, columns = pulses(tmp_path, timed=False)
    tiles = index_tiles(write_tile(tmp_path / "a.laz", x, y, z, **columns))
    assert len(PointReader(tiles, UTM, thin_to_pts_m2=50.0).points(EVERYWHERE)) == len(x)
    assert len(PointReader(tiles, UTM, thin_to_pts_m2=0.4).points(EVERYWHERE)) == pytest.approx(4_000, rel=0.01)


# Real tiles


def test_real_tiles_have_the_points_that_laspy_reads(data):
    folder = data_set(data, "bcts-als-tiles")
    with laspy.open(folder / "bcts_1.laz") as reader:
        peer = reader.read()
    points = PointReader(index_tiles(str(folder / "bcts_1.laz")), "EPSG:3005").points(EVERYWHERE, extra=["intensity", "time"])
    assert len(points) == 531_662
    np.testing.assert_allclose(points.x, np.asarray(peer.x), atol=1e-6)
    np.testing.assert_allclose(points.z, np.asarray(peer.z), atol=1e-6)
    for ours, theirs in (
        (points.classification, peer.classification), (points.return_number, peer.return_number),
        (points.number_of_returns, peer.number_of_returns), (points.intensity, peer.intensity),
        (points.time_s, peer.gps_time),
    ):  # fmt: skip
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_damage_inside_a_chunk_is_told_in_our_words(tmp_path):
    x, y = scattered(20_000)
    path = Path(write_tile(tmp_path / "a.laz", x, y))
    whole = bytearray(path.read_bytes())
    half = len(whole) // 2
    whole[half : half + 20_000] = b"\xff" * 20_000
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.laz is (cut off or )?damaged") as said:
        read_points(index_tiles(str(path)), EVERYWHERE, crs=UTM)
    assert "IoError" not in str(said.value)
