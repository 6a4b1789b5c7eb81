"""Tiles that a STAC API lists and a server hands out: found by place, day and id, read whatever the server does, only from
where they may lie."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from lidar_files import UTM, scattered, write_copc, write_tile
from pyproj import CRS
from services.lidar_catalogue import BOX, api, make_item
from services.range_server import Fault, RangeServer

from catalogs.lidar import access_of, index_tiles, read_points
from catalogs.lidar.items import tiles_of_api
from catalogs.remote import Patience, Refused, RemoteError, Source
from catalogs.remote.signing import signs_late

WINDOW = (500_050.0, 5_000_040.0, 500_150.0, 5_000_140.0)
QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.05, give_up_after_s=10.0, silence_s=1.0)


@pytest.fixture
def tiles(tmp_path) -> Path:
    """Three tiles side by side; the third does not say its CRS."""
    for number in range(3):
        x, y = scattered(6_000, seed=number, west=BOX[0] + 200 * number)
        z = 300 + np.arange(6_000) % 20
        if number < 2:
            write_copc(tmp_path / f"{number}.copc.laz", x, y, z)
        else:
            write_tile(tmp_path / f"{number}.laz", x, y, z, crs=None)
    return tmp_path


def asked(address: str, **changes):
    days = dt.date(2019, 7, 1), dt.date(2020, 7, 1)
    about = {"bounds": BOX, "crs": UTM, "days": days, "access": Source(address)} | changes
    return tiles_of_api(address, "3dep-lidar-copc", **about)


def test_an_api_lists_what_lies_in_the_area_was_flown_then_and_is_called_so():
    """127.0.0.1 is the catalogue's own host, so files there are its own."""
    here = "http://127.0.0.1:1"
    items = [
        make_item("USGS_A_1", f"{here}/1.laz"), make_item("USGS_A_2", f"{here}/2.laz"), make_item("USGS_B_1", f"{here}/3.laz"),
        make_item("USGS_A_far", f"{here}/4.laz", west=BOX[0] + 5000), make_item("USGS_A_old", f"{here}/5.laz", year=2012),
    ]  # fmt: skip
    with api(items) as address:
        found = asked(address, ids="USGS_A*")
        assert [path for path, _ in found] == [f"{here}/1.laz", f"{here}/2.laz"]
        assert all(CRS.from_user_input(crs) == CRS.from_user_input(UTM) for _, crs in found)
        said = r"from 2019-07-01 to 2020-07-01; 3 items there do not match USGS_C\*, such as USGS_A_1"
        with pytest.raises(ValueError, match=said):
            asked(address, ids="USGS_C*")
        with pytest.raises(ValueError, match="has no collection 3dep; it has 3dep-lidar-copc"):
            tiles_of_api(address, "3dep", bounds=BOX, crs=UTM, days=(dt.date(2020, 1, 1),) * 2, access=Source(address))


def test_an_api_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"the catalogue http://127\.0\.0\.1:9 cannot be reached or refuses"):
        asked("http://127.0.0.1:9")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=429, first=2, headers=(("Retry-After", "0"),)),
        Fault("status", status=503, first=2),
        Fault("reset", probability=0.4, seed=1),
        Fault("short", probability=0.4, seed=2),
        Fault("lie", probability=0.4, seed=3),
        Fault("wrong_range", first=2),
        Fault("stall", first=1, seconds=3.0),
    ],
    ids=["too_many_requests", "unavailable", "reset", "short", "lie", "wrong_range", "stall"],
)
def test_a_server_that_fails_or_lies_changes_no_point(tiles, fault):
    names = ["0.copc.laz", "2.laz"]
    local = [read_points(index_tiles(str(tiles / name), crs=UTM), WINDOW, crs=UTM) for name in names]
    with RangeServer(tiles, faults=[fault]) as server:
        access = Source(server.address, patience=QUICK)
        for name, here in zip(names, local, strict=True):
            there = read_points(index_tiles(f"{server.address}/{name}", crs=UTM, access=access), WINDOW, crs=UTM)
            assert (there.x.tobytes(), there.z.tobytes()) == (here.x.tobytes(), here.z.tobytes())
        assert any(fault.strikes(request.path, number) for number, request in enumerate(server.log))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([Fault("truncated", after=3)], "changed while it was read|cut short|cut off"),
        ([Fault("changed", after=3)], "changed while it was read"),
        ([Fault("status", status=429)], "the server answers 429"),
        ([Fault("html")], "it is a web page"),
    ],
    ids=["truncated", "changed", "too_many_requests_for_ever", "login_page"],
)
def test_a_tile_that_cannot_be_had_is_named_without_its_signature(tiles, faults, said):
    with RangeServer(tiles, faults=faults) as server:
        access = Source(server.address, patience=Patience(first_wait_s=0.01, longest_wait_s=0.05, give_up_after_s=1.0))
        with pytest.raises(ValueError, match=said) as error:
            read_points(index_tiles(f"{server.address}/0.copc.laz?sig=secret", access=access), WINDOW, crs=UTM)
    assert "0.copc.laz" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("http://10.1.2.3/tile.laz", "in a private network; name it in private_hosts of the campaign"),
        ("http://169.254.169.254/latest/meta-data.laz", "in a private network"),
        ("file:///etc/passwd.laz", "is a file of this machine, and the catalogue .* is not on it"),
        ("/vsicurl/http://10.1.2.3/tile.laz", "is a path of GDAL's own"),
        ("ftp://example.org/tile.laz", "is an address of kind ftp"),
    ],
    ids=["private_network", "metadata_service", "local_file", "path_of_gdal", "ftp"],
)
def test_a_catalogue_cannot_lead_where_it_has_no_business(href, said):
    with api([make_item("USGS_A_1", href)]) as address, pytest.raises(Refused, match=said):
        asked(address)


def test_a_host_in_a_private_network_may_be_named(tiles):
    with api([make_item("USGS_A_1", "http://10.1.2.3/tile.laz")]) as address:
        found = asked(address, access=Source(address, private_hosts=("10.1.2.3",)))
    assert [path for path, _ in found] == ["http://10.1.2.3/tile.laz"]


def test_a_redirect_cannot_lead_there_either(tiles):
    away = Fault("redirect", location="http://10.1.2.3/tile.laz")
    with RangeServer(tiles, faults=[away]) as server, pytest.raises(RemoteError, match="private network"):
        index_tiles(f"{server.address}/0.copc.laz", access=Source(server.address, patience=QUICK))


def test_a_catalogue_known_by_name_brings_how_its_files_are_signed():
    access = access_of({"catalog": "planetary-computer", "collection": "3dep-lidar-copc", "points": None})
    assert access.provider == "planetary-computer" and signs_late(access.provider)
    assert access.catalogue.startswith("https://planetarycomputer.microsoft.com/")
    assert access_of({"points": "tiles"}) is None
    listing = access_of({"points": ["https://example.org/list.json"], "private_hosts": ("10.1.2.3",)})
    assert listing == Source("https://example.org/list.json", None, ("10.1.2.3",))
    frozen = {"points": ["https://other.org/a.laz"], "listed_by": "https://example.org/list.json"}
    assert access_of(frozen).trusted_hosts == {"example.org"}
