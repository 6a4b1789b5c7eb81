"""Files behind hrefs: the right pixels or one sentence, whatever a server does; and no href reaches what it should not."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.windows import Window
from services.range_server import Fault, RangeServer, Tokens

from catalogs import remote
from catalogs.remote.connections import IN_FLIGHT
from catalogs.remote.hrefs import GIVE_UP_AFTER_S, is_public
from catalogs.remote.rasters import HEAD_BYTES
from catalogs.remote.signing import AwsKeys, presigned

rasterio = pytest.importorskip("rasterio")

SIDE, TILE = 1024, 256
HASTE = remote.Patience(give_up_after_s=0.8, connect_s=1, silence_s=0.25, one_answer_s=5, first_wait_s=0.02, longest_wait_s=0.2)
"""The same as a day's patience, scaled to a test's."""


def write_cog(file: Path, values: np.ndarray, **options) -> Path:
    """A tiled GeoTIFF with its header first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "width": values.shape[1], "height": values.shape[0], "count": 1, "dtype": values.dtype,
        "crs": "EPSG:32650", "transform": Affine(10, 0, 500_000, 0, -10, 3_000_000), "nodata": 0, "tiled": True,
        "blockxsize": TILE, "blockysize": TILE,
    }  # fmt: skip
    with rasterio.open(file, "w", **(profile | options)) as raster:
        raster.write(values, 1)
    return file


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 4000, (SIDE, SIDE)).astype("uint16")


@pytest.fixture(scope="module")
def packed(tmp_path_factory, truth) -> Path:
    """One compressed scene, and the same one raw: no checksum tells a raw tile from another."""
    folder = tmp_path_factory.mktemp("scenes")
    write_cog(folder / "band.tif", truth, compress="deflate")
    write_cog(folder / "raw.tif", truth)
    return folder


@pytest.fixture
def server(packed):
    with RangeServer(packed) as one:
        yield one


def source_of(server: RangeServer, **changes) -> remote.Source:
    return remote.Source(**({"catalogue": server.address, "patience": HASTE} | changes))


def read(server: RangeServer, name: str, window: Window | None = None, **changes) -> np.ndarray:
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/{name}", source_of(server, **changes)) as raster:
        return remote.read_window(raster, window)


# ---------------------------------------------------------------- what passes


def test_pixels_come_as_they_are_stored(server, truth):
    np.testing.assert_array_equal(read(server, "band.tif"), truth)
    np.testing.assert_array_equal(read(server, "band.tif", Window(100, 300, 500, 200)), truth[300:500, 100:600])


PASSING = {
    "429_with_a_wait": Fault("status", first=2, status=429, headers=(("Retry-After", "0"),)),
    "500": Fault("status", first=3, status=500),
    "503": Fault("status", first=3, status=503),
    "reset_in_mid_body": Fault("reset", first=2),
    "closed_in_mid_body": Fault("short", first=2),
    "fewer_bytes_than_asked": Fault("fewer", first=2),
    "fewer_bytes_than_announced": Fault("lie", first=2),
    "another_range_than_asked": Fault("wrong_range", first=2),
    "the_whole_file": Fault("whole", first=2),
    "silence": Fault("stall", first=1, seconds=60),
    "a_web_page": Fault("html", first=2),
    "another_version_for_once": Fault("changed", first=1, after=1),
}


@pytest.mark.parametrize("name", ["band.tif", "raw.tif"])
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("after", [0, 1], ids=["at_opening", "in_mid_read"])
def test_what_passes_changes_no_pixel(server, truth, name, fault, after):
    server.faults = [Fault(**{**vars(fault), "after": max(after, fault.after)})]
    np.testing.assert_array_equal(read(server, name), truth)
    assert any(request.fault for request in server.requests())


def test_a_storm_of_mixed_faults_changes_no_pixel(server, truth):
    kinds = ("status", "reset", "wrong_range", "short")
    server.faults = [Fault(kind, probability=0.15, seed=seed) for seed, kind in enumerate(kinds)]
    with rasterio.Env(**remote.options()):
        for row in range(0, SIDE, TILE):
            for name in ("band.tif", "raw.tif"):
                part = read(server, name, Window(0, row, SIDE, TILE))
                np.testing.assert_array_equal(part, truth[row : row + TILE])
    assert len([request for request in server.requests() if request.fault]) > 5


def test_patience_with_one_trouble_is_not_used_up_by_another(server, truth):
    """Four web pages in a row are fatal, and six wrong ranges; one of them after as many failures of the server is not."""
    server.faults = [
        Fault("status", first=4), Fault("html", after=4, first=1), Fault("reset", after=5, first=2),
        Fault("wrong_range", after=7, first=2), Fault("html", after=9, first=2),
    ]  # fmt: skip
    patience = remote.Patience(give_up_after_s=20, first_wait_s=0.005, longest_wait_s=0.02)
    np.testing.assert_array_equal(read(server, "raw.tif", patience=patience), truth)
    assert sum(request.fault is not None for request in server.requests()) == 11
    server.forget()
    server.faults = [Fault("status", first=4), Fault("html", after=4)]
    with pytest.raises(remote.RemoteError, match=r"a web page.*\(after 8 tries"):
        read(server, "raw.tif", patience=patience)


@pytest.mark.parametrize("after", [0, 1], ids=["at_opening", "in_mid_read"])
@pytest.mark.parametrize("name", ["band.tif", "raw.tif"])
def test_one_answer_of_a_shorter_file_is_not_believed(server, truth, name, after):
    server.faults = [Fault("truncated", after=after, first=1)]
    np.testing.assert_array_equal(read(server, name), truth)
    assert sum(request.fault is not None for request in server.requests()) == 1
    server.forget()
    server.faults = [Fault("truncated", after=after, first=1)]
    np.testing.assert_array_equal(read(server, name, Window(700, 900, 100, 100)), truth[900:1000, 700:800])


def test_a_server_that_dies_and_comes_back_changes_no_pixel(server, truth):
    patient = source_of(server, patience=remote.Patience(give_up_after_s=20, first_wait_s=0.05, longest_wait_s=0.3))
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/band.tif", patient) as raster:
        server.stop()
        threading.Timer(1.5, server.start).start()
        began = time.monotonic()
        np.testing.assert_array_equal(remote.read_window(raster), truth)
    assert time.monotonic() - began > 1.4


def test_a_wait_that_the_server_asks_for_is_kept_by_all_who_ask_it(server):
    server.faults = [Fault("status", path="/band.tif", first=1, status=429, headers=(("Retry-After", "1"),))]
    source = source_of(server, patience=remote.Patience(give_up_after_s=20, first_wait_s=0.01))
    threads = [threading.Thread(target=remote.open_raster, args=(f"{server.address}/band.tif", source))]
    threads[0].start()
    while not server.requests("/band.tif"):
        time.sleep(0.01)
    time.sleep(0.1)
    threads.append(threading.Thread(target=remote.open_raster, args=(f"{server.address}/raw.tif", source)))
    threads[1].start()
    for thread in threads:
        thread.join()
    refused, *others = sorted(server.requests(), key=lambda request: request.at_s)
    assert refused.status == 429 and {request.path for request in others} == {"/band.tif", "/raw.tif"}
    assert all(request.at_s - refused.at_s > 0.95 for request in others)


def test_a_wait_may_be_given_as_a_date():
    from email.utils import formatdate

    from catalogs.remote.connections import retry_after

    assert retry_after("120") == 120
    assert 28 <= retry_after(formatdate(time.time() + 30, usegmt=True)) <= 31
    assert [retry_after(text) for text in (None, "", "soon", formatdate(0, usegmt=True))] == [0, 0, 0, 0]


def test_waits_between_tries_grow(server):
    server.faults = [Fault("status", first=6)]
    patience = remote.Patience(give_up_after_s=30, first_wait_s=0.04, longest_wait_s=0.32)
    remote.open_raster(f"{server.address}/band.tif", source_of(server, patience=patience))
    times = [request.at_s for request in server.requests()]
    gaps = np.diff(times)
    assert len(gaps) == 6
    longest = 0.04 * np.array([1, 2, 4, 8, 8, 8])
    assert (gaps > longest / 2).all() and (gaps < longest + 0.1).all()


# ---------------------------------------------------------------- what lasts

LASTING = {
    "503": (Fault("status"), r"the server answers 503 \(after \d+ tries in \d s\)"),
    "resets": (Fault("reset"), r"the connection broke \(after"),
    "short_bodies": (Fault("short"), r"the connection broke \(after"),
    "fewer_bytes": (Fault("fewer"), r"the server answers with another part than was asked for \(after 6 tries"),
    "lies": (Fault("lie"), r"the server's answer is not as long as it says \(after 6 tries"),
    "wrong_range": (Fault("wrong_range"), r"the server answers with another part than was asked for \(after 6 tries"),
    "whole_files": (Fault("whole"), r"the server gives no part of a file \(after 4 tries"),
    "silence": (Fault("stall", seconds=60), r"the server fell silent for 0.25 s \(after"),
    "web_pages": (Fault("html"), r"it is a web page, perhaps a login or an error \(after 4 tries"),
    "another_version": (Fault("changed"), r"it changed while it was read \(after 4 tries"),
    "404": (Fault("status", status=404), r"it is not there \(404\)$"),
    "403": (Fault("status", status=403), r"access is denied \(403\)$"),
    "401": (Fault("status", status=401), r"it wants a login \(401\)$"),
}


@pytest.mark.parametrize(("fault", "words"), LASTING.values(), ids=LASTING)
def test_what_lasts_ends_in_one_sentence_and_no_pixel(server, fault, words):
    name = "raw.tif"  # no checksum would tell
    server.faults = [Fault(**{**vars(fault), "after": 1})]
    began = time.monotonic()
    with pytest.raises(remote.RemoteError, match=rf"^{server.address}/{name} cannot be read: {words}"):
        read(server, name)
    assert time.monotonic() - began < 5


def test_a_trickle_ends_as_a_silence_does():
    """A byte every 50 ms never lets a socket time out; an answer may take half a second in all, and is tried twice."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 32768\r\n"
                                       b"Content-Range: bytes 0-32767/99999\r\n\r\n")  # fmt: skip
                    for _ in range(100):
                        connection.sendall(b"x")
                        time.sleep(0.05)
                except OSError:
                    if listening.fileno() < 0:
                        return

        threading.Thread(target=trickle, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        patience = remote.Patience(give_up_after_s=0.8, silence_s=0.25, one_answer_s=0.5, first_wait_s=0.02)
        began = time.monotonic()
        with pytest.raises(remote.RemoteError, match="the server fell silent"):
            remote.open_raster(f"{address}/band.tif", remote.Source(address, patience=patience))
        assert 0.5 < time.monotonic() - began < 3


def test_a_truncated_file_is_named_as_such(packed, tmp_path):
    for name in ("band.tif", "raw.tif"):
        content = (packed / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with RangeServer(tmp_path) as server:
        for name in ("band.tif", "raw.tif"):
            with pytest.raises(remote.RemoteError, match=rf"{name} is damaged or cut short, its pixels cannot be read"):
                read(server, name)
        np.testing.assert_array_equal(read(server, "raw.tif", Window(0, 0, 300, 200)).shape, (200, 300))


def test_a_file_that_failed_is_not_remembered_as_failed(server, truth):
    server.faults = [Fault("status", after=1, status=404)]
    with rasterio.Env(**remote.options()):
        raster = remote.open_raster(f"{server.address}/band.tif", source_of(server))
        with pytest.raises(remote.RemoteError, match="404"):
            remote.read_window(raster, Window(0, 0, 300, 300))
        server.faults = []
        with pytest.raises(remote.RemoteError, match="404"):  # this one has half an index
            remote.read_window(raster, Window(0, 0, 300, 300))
        raster.close()
    np.testing.assert_array_equal(read(server, "band.tif"), truth)


def test_a_host_that_does_not_answer_wastes_patience_once(server):
    source = source_of(server)
    address = server.address
    server.stop()
    spent = []
    for name in ("band.tif", "raw.tif", "band.tif"):
        began = time.monotonic()
        with pytest.raises(remote.RemoteError, match="no connection"):
            remote.open_raster(f"{address}/{name}", source)
        spent.append(time.monotonic() - began)
    assert 0.4 < spent[0] < 2 and max(spent[1:]) < 0.3


def test_a_host_that_is_back_is_read_after_others_lost_patience_with_it(server, truth):
    server.faults = [Fault("status", path="/band.tif")]
    source = source_of(server)
    with pytest.raises(remote.RemoteError, match="503"):
        remote.open_raster(f"{server.address}/band.tif", source)
    server.faults = [Fault("status", path="/raw.tif", first=2)]
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/raw.tif", source) as raster:
        np.testing.assert_array_equal(remote.read_window(raster), truth)


@pytest.mark.parametrize(("status", "cleared"), [(404, True), (403, True), (408, True), (429, False), (503, False)])
def test_any_answer_but_that_of_a_failing_server_says_that_the_host_is_up(server, status, cleared):
    from catalogs.remote.asking import Client

    client = Client(source_of(server, patience=remote.Patience(give_up_after_s=0.2, first_wait_s=0.02)))
    href = f"{server.address}/band.tif"
    server.faults = [Fault("status", first=50)]
    with pytest.raises(remote.RemoteError, match="503"):
        client.get(href, 0, 10)
    server.faults = [Fault("status", status=status)]
    with pytest.raises(remote.RemoteError, match=str(status)):
        client.get(href, 0, 10)
    assert all((host.down_since is None) == cleared for host in client._hosts.values())


def test_content_that_is_no_raster_is_refused_whatever_its_name(tmp_path):
    pages = {
        "page.tif": b"<!DOCTYPE html><html></html>",
        "virtual.tif": b'<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>',
        "list.tif": b"  <?xml version='1.0'?><ListBucketResult/>",
        "other.tif": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "empty.tif": b"",
    }
    for name, content in pages.items():
        (tmp_path / name).write_bytes(content)
    own = remote.Source(catalogue=str(tmp_path / "catalog.json"))
    with RangeServer(tmp_path) as server:
        for name in pages:
            for href, source in ((f"{server.address}/{name}", source_of(server)), (str(tmp_path / name), own)):
                with pytest.raises(remote.RemoteError, match=rf"{name} cannot be read as a raster \(it is"):
                    remote.open_raster(href, source)
        assert len(server.requests()) == len(pages)  # nothing that such a file names was looked for


def test_jpeg_2000_is_read_and_proven_alike(tmp_path, truth):
    part = truth[:512, :512]
    with rasterio.open(
        tmp_path / "band.jp2", "w", driver="JP2OpenJPEG", width=512, height=512, count=1, dtype="uint16", crs="EPSG:32650",
        transform=Affine(10, 0, 500_000, 0, -10, 3_000_000), quality=100, reversible=True,
    ) as raster:  # fmt: skip
        raster.write(part, 1)
    with RangeServer(tmp_path) as server:
        server.faults = [Fault("wrong_range", after=1, first=1)]
        np.testing.assert_array_equal(read(server, "band.jp2"), part)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_patience_is_set_by_the_environment_in_seconds(monkeypatch, text):
    assert remote.Patience().give_up_after_s == GIVE_UP_AFTER_S == 300
    monkeypatch.setenv("FORESTSINK_GIVE_UP_AFTER_S", "12.5")
    assert remote.Patience().give_up_after_s == 12.5
    monkeypatch.setenv("FORESTSINK_GIVE_UP_AFTER_S", text)
    with pytest.raises(ValueError, match=f"FORESTSINK_GIVE_UP_AFTER_S is '{text}'; a number of seconds is needed"):
        remote.Patience()


# ---------------------------------------------------------------- how much is asked


def test_opening_takes_one_request_and_a_row_of_tiles_another(server, packed):
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/raw.tif", source_of(server)) as raster:
        assert [(r.method, r.start, r.stop) for r in server.requests()] == [("GET", 0, HEAD_BYTES)]
        remote.read_window(raster, Window(0, TILE, SIDE, TILE))
        _, row = server.requests()
        assert row.stop - row.start == SIDE * TILE * 2  # four neighbours in one request, no byte more
        remote.read_window(raster, Window(TILE, 2 * TILE, TILE, 2 * TILE))
        column = server.requests()[2:]
    assert [request.stop - request.start for request in column] == [TILE * TILE * 2] * 2
    assert {request.path for request in server.requests()} == {"/raw.tif"}  # no side-car is looked for


@pytest.mark.parametrize("name", ["band.tif", "raw.tif"])
def test_what_is_fetched_before_it_is_read_is_not_asked_for_again(server, truth, name):
    """`band.tif` is a COG, around whose tiles GDAL reads a few bytes more."""
    window = Window(TILE, TILE, 2 * TILE, 2 * TILE)
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/{name}", source_of(server)) as raster:
        raster.fetch(raster.runs(window))
        asked = len(server.requests())
        np.testing.assert_array_equal(remote.read_window(raster, window), truth[window.toslices()])
        assert len(server.requests()) == asked <= 4  # a head, perhaps the rest of the index, and two rows of tiles
        assert not raster._content.ahead  # what was fetched is not held any longer


def test_a_fetch_that_fails_fails_the_raster(server):
    with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/raw.tif", source_of(server)) as raster:
        server.faults = [Fault("status", status=403)]
        for work in (lambda: raster.fetch(raster.runs(Window(0, 0, TILE, TILE))), lambda: remote.read_window(raster)):
            with pytest.raises(remote.RemoteError, match="access is denied"):
                work()


def test_ranges_are_fetched_at_the_same_time_but_never_more_than_agreed(packed, tmp_path, truth):
    names = [f"{number:02d}.tif" for number in range(24)]
    for name in names:
        os.link(packed / "raw.tif", tmp_path / name)
    with RangeServer(tmp_path, latency_s=0.05) as server:
        source = source_of(server, patience=remote.Patience())
        found: dict[str, np.ndarray] = {}

        def fetch(name: str) -> None:
            with rasterio.Env(**remote.options()), remote.open_raster(f"{server.address}/{name}", source) as raster:
                found[name] = remote.read_window(raster, Window(TILE, 0, TILE, SIDE))  # four tiles apart: four requests

        threads = [threading.Thread(target=fetch, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 12 <= server.most_at_once <= IN_FLIGHT
        assert len(server.requests()) == 24 * 5
    for name in names:
        np.testing.assert_array_equal(found[name], truth[:, TILE : 2 * TILE])


def test_a_raster_may_be_opened_read_and_closed_by_different_threads(server, truth):
    with ThreadPoolExecutor(1) as other:
        raster = other.submit(remote.open_raster, f"{server.address}/band.tif", source_of(server)).result()
    windows = [Window(TILE * (k % 4), TILE * (k // 4), TILE, TILE) for k in range(16)]
    with ThreadPoolExecutor(4) as readers:
        parts = list(readers.map(lambda window: remote.read_window(raster, window), windows))
    for window, part in zip(windows, parts, strict=True):
        np.testing.assert_array_equal(part, truth[window.toslices()])
    assert raster.overviews(1) == [] and raster.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
    raster.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not installed")
def test_https_is_read_from_who_has_a_certificate_and_from_nobody_else(packed, truth, tmp_path, monkeypatch):
    import ssl
    import subprocess

    from catalogs.remote.asking import client_of
    from catalogs.remote.connections import certificates

    made = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-subj", "/CN=loopback"]
    named = ["-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *made, *named]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with RangeServer(packed, tls=tls) as server:
        for cache in (certificates, client_of):
            cache.cache_clear()
        with pytest.raises(remote.RemoteError, match="its certificate or encryption is not accepted"):
            read(server, "band.tif")
        assert server.requests() == []
        monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "cert.pem"))
        for cache in (certificates, client_of):
            cache.cache_clear()
        server.faults = [Fault("short", after=1, first=2)]
        np.testing.assert_array_equal(read(server, "band.tif"), truth)
        server.faults = [Fault("redirect", path="/moved.tif", location=server.address.replace("https", "http") + "/band.tif")]
        with pytest.raises(remote.Refused, match="which is not followed"):  # from https to http
            read(server, "moved.tif")
    certificates.cache_clear()
    client_of.cache_clear()


# ---------------------------------------------------------------- what may be opened

REFUSED = {
    "gdal_http": "/vsicurl/http://example.org/a.tif",
    "gdal_zip": "/vsizip//data/a.zip/a.tif",
    "gdal_memory": "/vsimem/a.tif",
    "gdal_netcdf": "NETCDF:/data/a.nc:agb",
    "gdal_hdf": 'HDF5:"/data/a.h5"://agb',
    "gdal_virtual": "vrt://http://example.org/a.tif?bands=1",
    "inline_vrt": "<VRTDataset rasterXSize='1'/>",
    "zip_scheme": "zip+https://example.org/a.zip!/a.tif",
    "ftp": "ftp://example.org/a.tif",
    "azure": "az://container/a.tif",
    "google": "gs://bucket/a.tif",
    "with_user": "https://user:word@example.org/a.tif",
    "no_host": "https:///a.tif",
    "no_port": "https://example.org:port/a.tif",
    "line_break": "https://example.org/a.tif\nX: y",
    "backslash": "https://example.org\\@127.0.0.1/a.tif",
    "bucket_with_path": "s3://../a.tif",
    "nothing": "",
    "not_text": None,
    "loopback": "http://127.0.0.1/a.tif",
    "loopback_name": "http://localhost:9200/a.tif",
    "loopback_name_with_a_point": "http://localhost./a.tif",
    "loopback_six": "http://[::1]/a.tif",
    "metadata_service": "http://169.254.169.254/latest/meta-data/",
    "metadata_service_six": "http://[fd00:ec2::254]/latest/",
    "mapped": "http://[::ffff:10.0.0.1]/a.tif",
    "ten": "http://10.1.2.3/a.tif",
    "office": "http://192.168.1.5/a.tif",
    "file_of_this_machine": "file:///etc/passwd",
    "path_of_this_machine": "/etc/passwd",
}


@pytest.mark.parametrize("href", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("catalogue", ["https://example.org/stac", None], ids=["a_catalogue", "a_local_catalogue"])
def test_a_catalogue_points_to_files_of_its_own_or_of_the_public_internet(href, catalogue, tmp_path):
    with pytest.raises(remote.Refused):
        remote.checked(href, remote.Source(catalogue or str(tmp_path / "catalog.json")))


@pytest.mark.parametrize(
    "href", ["https://example.org/a.tif?sv=1&sig=x", "http://8.8.8.8/a.tif", "s3://usgs-landsat/collection02/a.TIF"]
)
def test_public_addresses_may_be_opened(href):
    assert remote.checked(href, remote.Source("https://example.org/stac")) == href


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "10.1", "169.254.43518", "127.0.0.1."]
)
def test_private_addresses_in_other_notations_are_refused_before_a_proxy_could_look_them_up(host):
    """127.0.0.1 = 127 x 2^24 + 1 = 2130706433; 169.254.169.254 ends in 169 x 256 + 254 = 43518."""
    with pytest.raises(remote.Refused, match="is in a private network"):
        remote.checked(f"http://{host}/scene.tif", remote.Source("https://example.org/stac"))


def test_private_hosts_are_those_of_the_settings_and_the_catalogue(server):
    here = f"{server.address}/band.tif"
    assert remote.checked(here, remote.Source("http://127.0.0.1:99/stac")) == here
    assert remote.checked(here, remote.Source("https://example.org", private_hosts=("127.0.0.1",))) == here
    assert remote.checked("http://[::1]/a.tif", remote.Source("https://example.org", private_hosts=("::1",)))
    with pytest.raises(remote.Refused, match=r"127\.0\.0\.1 is in a private network; name it in private_hosts"):
        remote.open_raster(here, remote.Source("https://example.org", private_hosts=("10.0.0.1",)))
    assert server.requests() == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:192.168.0.1"])
def test_a_name_is_judged_by_what_it_resolves_to_when_it_is_connected(monkeypatch, server, address):
    def look_up(host, port, *_arguments, **_named):
        assert host == "innocent.example.org"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port)), (0, 0, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(remote.Refused, match=r"innocent\.example\.org resolves to 93\.184\.216\.34, .* private network"):
        remote.open_raster(f"http://innocent.example.org:{server.port}/band.tif", remote.Source("https://example.org"))
    assert server.requests() == []


def test_the_address_that_was_judged_is_the_one_connected_to(monkeypatch, server):
    """A name that resolves to another address the second time it is asked for (nobody listens there)."""
    real, asked = socket.getaddrinfo, []

    def look_up(host, port, *arguments, **named):
        if host == "inside.example.org":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.9"
        return real(host, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    source = source_of(server, catalogue="https://example.org", private_hosts=("inside.example.org",))
    remote.open_raster(f"http://inside.example.org:{server.port}/band.tif", source).close()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True), ("2600::1", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True), ("0.0.0.0", False),
        ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("fc00::1", False), ("fe80::1", False),
        ("::", False), ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
def test_public_addresses_are_told_from_others(text, expected):
    assert is_public(ipaddress.ip_address(text)) is expected


def test_redirects_are_followed_to_where_the_catalogue_might_point(server, truth, tmp_path):
    server.faults = [Fault("redirect", path="/moved.tif", location=f"{server.address}/band.tif")]
    np.testing.assert_array_equal(read(server, "moved.tif"), truth)
    named = f"http://user:word@127.0.0.1:{server.port}/band.tif"
    for location in (named, "http://127.0.0.2:80/a.tif", "http://169.254.169.254/", "file:///etc/passwd", "ftp://example.org/a.tif"):
        server.faults = [Fault("redirect", path="/moved.tif", location=location)]
        with pytest.raises(remote.Refused):
            read(server, "moved.tif")
    server.faults = [Fault("redirect", path="/moved.tif", location="/moved.tif")]
    with pytest.raises(remote.RemoteError, match="redirected more than 5 times"):
        read(server, "moved.tif")


def test_local_files_lie_in_the_catalogues_folder_after_all_links(packed, tmp_path, truth):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    outside.mkdir()
    shutil.copy(packed / "band.tif", outside / "band.tif")
    (inside / "tiles").mkdir(parents=True)
    shutil.copy(packed / "band.tif", inside / "tiles" / "band.tif")
    (inside / "link.tif").symlink_to(outside / "band.tif")
    (inside / "folder").symlink_to(outside)
    source = remote.Source(str(inside / "catalog.json"))
    for href in (str(inside / "tiles/band.tif"), f"file://{inside}/tiles/band.tif", str(inside / "tiles/../tiles/band.tif")):
        with remote.open_raster(href, source) as raster:
            np.testing.assert_array_equal(remote.read_window(raster), truth)
    for href in (outside / "band.tif", inside / "link.tif", inside / "folder/band.tif", inside / "../outside/band.tif"):
        with pytest.raises(remote.Refused, match=r"lies outside the catalogue's folder .*data_folders"):
            remote.open_raster(str(href), source)
        remote.open_raster(str(href), remote.Source(str(inside / "catalog.json"), data_folders=(str(outside),))).close()
        remote.open_raster(str(href)).close()  # the caller's own list


def test_usual_ids_stay_and_others_become_harmless_and_stay_different():
    usual = "S2A_MSIL2A_20190613T023601_N0212_R089_T50RNR_20190613T063214.SAFE"
    assert remote.plain_id(usual) == usual
    for name in ("../../etc/cron.d/job", ".hidden", "a\nWARNING all is well", "<script>", "x" * 500, "", 7.5, "näive", "\0"):
        assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}", remote.plain_id(name)), name
    odd = ["a/b", "a_b", "a\nb", "x" * 300, "x" * 301, "../x", "./x"]
    assert len({remote.plain_id(name) for name in odd}) == len(odd)


# ---------------------------------------------------------------- signatures


@pytest.fixture
def planetary(tmp_path, packed, monkeypatch):
    """A container on Azure as the Planetary Computer keeps it, all of it on loopback."""
    from planetary_computer.sas import TOKEN_CACHE
    from planetary_computer.settings import Settings

    (tmp_path / "sentinel2").mkdir()
    shutil.copy(packed / "raw.tif", tmp_path / "sentinel2/raw.tif")
    real = socket.getaddrinfo

    def look_up(host, port, *arguments, **named):
        return real("127.0.0.1" if host == "planted.blob.core.windows.net" else host, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with RangeServer(tmp_path, tokens=Tokens()) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.address}/token")
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "")
        Settings.get.cache_clear()
        TOKEN_CACHE.clear()
        yield server
    Settings.get.cache_clear()
    TOKEN_CACHE.clear()


def planetary_raster(server: RangeServer) -> remote.Raster:
    source = remote.Source(
        "https://planetarycomputer.microsoft.com/api/stac/v1", "planetary-computer", ("planted.blob.core.windows.net",), (), HASTE
    )
    return remote.open_raster(f"http://planted.blob.core.windows.net:{server.port}/sentinel2/raw.tif", source)


def test_one_token_serves_a_container_and_is_fetched_when_the_first_file_is_read(planetary, truth):
    for _ in range(3):
        with planetary_raster(planetary) as raster:
            np.testing.assert_array_equal(remote.read_window(raster), truth)
    assert planetary.tokens.given == 1


def test_a_token_about_to_expire_is_renewed_before(planetary):
    planetary.tokens.lifetime_s = 50  # less than the minute that the package wants left
    planetary_raster(planetary).close()
    planetary.tokens.lifetime_s = 3600
    planetary_raster(planetary).close()
    planetary_raster(planetary).close()
    assert planetary.tokens.given == 2
    assert all(request.status != 403 for request in planetary.requests())


def test_a_token_that_ended_early_is_renewed_in_mid_read(planetary, truth):
    with planetary_raster(planetary) as raster:
        planetary.tokens.revoke()
        np.testing.assert_array_equal(remote.read_window(raster, Window(TILE, 0, TILE, SIDE)), truth[:, TILE : 2 * TILE])
    assert planetary.tokens.given == 2  # four ranges were refused, one new token served them all


def test_a_late_refusal_of_an_old_token_does_not_end_the_new_one(planetary):
    from catalogs.remote.connections import Passing
    from catalogs.remote.signing import signer_of

    class Denied:
        status = 403

    signer = signer_of(remote.Source("https://example.org", "planetary-computer"))
    href = f"http://planted.blob.core.windows.net:{planetary.port}/sentinel2/raw.tif"
    old = signer.signed(href)
    for _ in range(3):  # three readers had asked with it
        with pytest.raises(Passing):
            signer.refused(href, old, Denied)
        new = signer.signed(href)
    assert new != old and planetary.tokens.given == 2


def test_a_giver_of_tokens_that_fails_for_a_while_is_asked_again(planetary, truth):
    planetary.faults = [Fault("status", path="/token/*", first=2, status=429, headers=(("Retry-After", "0"),))]
    with planetary_raster(planetary) as raster:
        np.testing.assert_array_equal(remote.read_window(raster), truth)
    planetary.faults = [Fault("status", path="/token/*", status=401)]
    from planetary_computer.sas import TOKEN_CACHE

    TOKEN_CACHE.clear()
    with pytest.raises(remote.RemoteError, match=r"the giver of tokens refuses \(401\)"):
        planetary_raster(planetary)


@pytest.mark.parametrize(
    "fault", [Fault("status", status=404), Fault("status", status=403), Fault("status"), Fault("reset"), Fault("html"), None]
)
def test_no_signature_is_told_in_messages_or_logs(planetary, caplog, fault):
    caplog.set_level(logging.DEBUG, logger="catalogs")
    caplog.set_level(logging.DEBUG, logger="rasterio")
    raster = planetary_raster(planetary)
    planetary.faults = [Fault(**{**vars(fault), "path": "/sentinel2/*"})] if fault else []
    if fault:
        with pytest.raises(remote.RemoteError) as problem:
            remote.read_window(raster)
        assert "planted.blob.core.windows.net" in str(problem.value)
        assert "secret" not in str(problem.value) and "sig=" not in repr(problem.value)
    assert "secret" not in caplog.text and "sig=" not in caplog.text and "secret" not in raster.name


def test_an_s3_address_is_signed_as_amazon_publishes():
    """The example of "Authenticating requests: using query parameters", Amazon S3 API reference."""
    url = presigned(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        region="us-east-1",
        keys=AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        now=1369353600,  # 24 May 2013, 00:00 UTC
        lifetime_s=86400,
    )
    assert url.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.fixture
def bucket(tmp_path, packed, monkeypatch):
    """An S3 service on loopback that holds `usgs-landsat/raw.tif`; the keys are in a profile."""
    (tmp_path / "usgs-landsat").mkdir()
    shutil.copy(packed / "raw.tif", tmp_path / "usgs-landsat/raw.tif")
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[forest]\naws_access_key_id = AKIATREE\naws_secret_access_key = secretwood\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "forest")
    monkeypatch.setenv("FORESTSINK_S3_BUCKETS", "another, usgs-landsat")
    with RangeServer(tmp_path) as server:
        monkeypatch.setenv("AWS_S3_ENDPOINT", f"127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        yield server


def s3_source() -> remote.Source:
    from catalogs.remote.asking import client_of

    client_of.cache_clear()
    return remote.Source("https://example.org/stac", patience=HASTE)


def test_s3_addresses_are_read_with_the_keys_of_a_profile(bucket, truth):
    with remote.open_raster("s3://usgs-landsat/raw.tif", s3_source()) as raster:
        np.testing.assert_array_equal(remote.read_window(raster), truth)
    assert {request.path for request in bucket.requests()} == {"/usgs-landsat/raw.tif"}


def test_keys_sign_only_for_buckets_of_the_provider_or_of_the_users_naming(bucket, monkeypatch, truth):
    monkeypatch.delenv("FORESTSINK_S3_BUCKETS")
    with pytest.raises(remote.Refused, match=r"s3://usgs-landsat/raw\.tif lies in a bucket for which your keys are not used"):
        remote.open_raster("s3://usgs-landsat/raw.tif", s3_source())
    assert bucket.requests() == []  # not even asked
    for source in (remote.Source("https://example.org/stac", "usgs", patience=HASTE), remote.Source(patience=HASTE)):
        with remote.open_raster("s3://usgs-landsat/raw.tif", source) as raster:
            np.testing.assert_array_equal(remote.read_window(raster), truth)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")  # an open bucket is asked without keys
    with remote.open_raster("s3://usgs-landsat/raw.tif", s3_source()) as raster:
        np.testing.assert_array_equal(remote.read_window(raster), truth)


def test_a_bucket_of_another_region_is_asked_in_its_region(bucket):
    moved = (("x-amz-bucket-region", "us-west-2"),)
    bucket.faults = [Fault("status", first=1, status=301, headers=(*moved, ("Location", "http://127.0.0.3/")))]
    remote.open_raster("s3://usgs-landsat/raw.tif", s3_source()).close()
    assert [request.status for request in bucket.requests()] == [301, 206]


def test_a_bucket_that_wants_pay_says_so_and_missing_keys_are_named(bucket, monkeypatch):
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    bucket.faults = [Fault("status", status=403)]
    with pytest.raises(remote.RemoteError, match=r"access is denied \(403\); the requester pays for this bucket"):
        remote.open_raster("s3://usgs-landsat/raw.tif", s3_source())
    monkeypatch.setenv("AWS_PROFILE", "another")
    with pytest.raises(remote.RemoteError, match="reading s3 addresses needs keys: set AWS_ACCESS_KEY_ID"):
        remote.open_raster("s3://usgs-landsat/raw.tif", s3_source())
    bucket.faults = []
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    remote.open_raster("s3://usgs-landsat/raw.tif", s3_source()).close()


def test_a_server_is_asked_for_a_path_and_its_query_not_for_a_whole_address():
    """Servers that look up what stands in the request line find no file of the name http://..."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked = []

    class Listens(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Listens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(remote.RemoteError, match="404"):
            source = remote.Source(private_hosts=("127.0.0.1",))
            remote.open_raster(f"http://127.0.0.1:{server.server_port}/a%20b/c.tif?v=1", source)
        server.shutdown()
    assert set(asked) == {"/a%20b/c.tif?v=1"}
