"""Ground from a cloth is opt-in, said, close to the planted ground, and the same whatever tiles, windows and order."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, data_set
from lidar_files import write_tile

from catalogs.lidar import PointReader, index_tiles
from pipeline.config import Campaign, Cloth
from pipeline.lidar.ground import cloth_ground
from pipeline.lidar.heights import NoGroundError
from pipeline.steps.ground import ClothReader, _squares
from pipeline.steps.lidar import NotNormalisedError, window_heights

UTM = "EPSG:32633"
WEST, SOUTH, SIZE_M = 499_955.0, 4_999_955.0, 90.0  # four squares meet in it
CLOTH = Cloth().model_dump()
BOUNDS = (WEST + 10, SOUTH + 10, WEST + 80, SOUTH + 80)


def make_cloud(n: int = 48_000, *, seed: int = 7) -> dict[str, np.ndarray]:
    """Six points per m2 on a gentle slope: 40 % ground, else crowns 4 to 20 m above it; single returns."""
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.random((2, n)) * SIZE_M, 2)
    high = rng.random(n) < 0.6
    z = 300 + 0.08 * x + np.sin(y / 25) + np.where(high, 4 + 16 * rng.random(n), 0.0)
    return {"x": WEST + x, "y": SOUTH + y, "z": np.round(z, 2), "high": high}


def write_cloud(folder: Path, cloud, cuts: int = 1) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    owner = np.floor((cloud["x"] - WEST) / (SIZE_M / cuts + 0.01)).astype(int)
    rng = np.random.default_rng(cuts)
    for number in range(cuts):
        own = rng.permutation(np.flatnonzero(owner == number))
        write_tile(folder / f"{cuts - number}.laz", cloud["x"][own], cloud["y"][own], cloud["z"][own])
    return str(folder)


def rows(points) -> np.ndarray:
    found = np.stack([points.x, points.y, points.z, points.classification.astype(float)], 1)
    return found[np.lexsort(found.T)]


def test_the_cloth_finds_planted_ground():
    cloud = make_cloud()
    ground = cloth_ground(cloud["x"], cloud["y"], cloud["z"], **CLOTH)
    assert ground[~cloud["high"]].mean() > 0.97
    assert ground[cloud["high"]].mean() < 0.005  # crowns begin 4 m above the ground


def test_the_cloth_does_not_mind_the_order_of_points():
    cloud = make_cloud()
    order = np.random.default_rng(3).permutation(48_000)
    ground = cloth_ground(cloud["x"], cloud["y"], cloud["z"], **CLOTH)
    assert np.array_equal(cloth_ground(*(cloud[a][order] for a in "xyz"), **CLOTH), ground[order])


def test_too_few_points_have_no_ground():
    assert not cloth_ground(np.zeros(2), np.zeros(2), np.zeros(2), **CLOTH).any()


def test_the_cloth_prints_nothing(capfd):
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    assert cloth_ground(x.ravel(), y.ravel(), np.zeros(400), **CLOTH).all()
    assert capfd.readouterr().out == ""


def test_classes_are_the_same_however_the_cloud_is_cut_and_whatever_the_window(tmp_path):
    cloud = make_cloud()
    readers = [
        ClothReader(PointReader(index_tiles(write_cloud(tmp_path / f"{cuts}", cloud, cuts)), UTM), CLOTH) for cuts in (1, 4)
    ]
    one, other = (rows(reader.points(BOUNDS)) for reader in readers)
    np.testing.assert_array_equal(one, other)
    window = (WEST + 30, SOUTH + 30, WEST + 50.5, SOUTH + 71)
    fresh = ClothReader(readers[0].reader, CLOTH).points(window)
    again = readers[0].points(window)  # from the squares it remembers
    inside = (one[:, 0] >= window[0]) & (one[:, 0] < window[2]) & (one[:, 1] > window[1]) & (one[:, 1] <= window[3])
    np.testing.assert_array_equal(rows(fresh), one[inside])
    np.testing.assert_array_equal(rows(again), one[inside])


def test_squares_cover_a_window_and_no_more():
    assert list(_squares((0, 0, 250, 250))) == [(0, 1)]
    assert list(_squares((-1, -1, 1, 1))) == [(-1, 1), (0, 1), (-1, 0), (0, 0)]


def test_tiles_without_ground_are_refused_by_name_unless_the_cloth_is_asked_for(tmp_path, caplog):
    folder = write_cloud(tmp_path / "tiles", make_cloud())
    plain = Campaign(points=folder, date="2020-07-01").model_dump(mode="json")
    with pytest.raises(NoGroundError, match=r"no ground .* classify_ground: csf; tiles there: .*1\.laz"):
        window_heights(plain, BOUNDS, crs=UTM)
    asked = Campaign(points=folder, date="2020-07-01", classify_ground="csf").model_dump(mode="json")
    with caplog.at_level(logging.WARNING):
        heights = window_heights(asked, BOUNDS, crs=UTM)
    assert "ground was classified here by cloth simulation (cloth 0.5 m, rigidness 1, threshold 0.5 m)" in caplog.text
    cloud = make_cloud()
    above = cloud["z"] - (300 + 0.08 * (cloud["x"] - WEST) + np.sin((cloud["y"] - SOUTH) / 25))
    inner = (heights.x > BOUNDS[0]) & (heights.x < BOUNDS[2]) & (heights.y > BOUNDS[1]) & (heights.y < BOUNDS[3])
    truth = dict(zip(zip(cloud["x"], cloud["y"], cloud["z"], strict=True), above, strict=True))
    assert np.percentile(heights.z[inner], 95) == pytest.approx(np.percentile(list(truth.values()), 95), abs=0.1)


def test_the_study_says_that_ground_was_found_by_a_cloth(tmp_path):
    from pipeline.bridge.notes import ground_note

    note = ground_note("als", Campaign(points="x", date=2020, classify_ground="csf"))
    assert note.startswith("Campaign als: ground was classified here by cloth simulation")


def test_the_cloth_takes_nearly_all_that_a_supplier_took_for_ground(data):
    """The cloth lies 0.36 m high on this tile (facts of lidar, section 4), within its threshold of 0.5 m."""
    path = str(data_set(data, "bcts-als-tiles") / "bcts_4.laz")
    reader = PointReader(index_tiles(path), "EPSG:3005")
    west, south = reader.tiles[0].bounds[:2]
    bounds = (west + 60, south + 60, west + 130, south + 130)
    found = ClothReader(reader, CLOTH).points(bounds)
    given = reader.points(bounds)
    assert len(found) == len(given) > 50_000
    supplier = given.classification == 2
    assert (found.classification[supplier] == 2).mean() > 0.9


# Heights that are above ground already


def test_normalised_points_keep_their_heights(tmp_path):
    x, y = WEST + np.arange(50.0), SOUTH + np.full(50, 5.0)
    write_tile(tmp_path / "a.laz", x, y, np.linspace(0, 30, 50))
    campaign = Campaign(points=str(tmp_path), date=2020, heights="normalised").model_dump(mode="json")
    heights = window_heights(campaign, (WEST - 1, SOUTH, WEST + 60, SOUTH + 10), crs=UTM)
    np.testing.assert_allclose(heights.z, np.round(np.linspace(0, 30, 50), 2), atol=1e-9)


def test_elevations_declared_as_heights_above_ground_are_refused_by_name(tmp_path):
    write_tile(tmp_path / "a.laz", WEST + np.arange(50.0), SOUTH + np.full(50, 5.0), 812.0)
    campaign = Campaign(points=str(tmp_path), date=2020, heights="normalised").model_dump(mode="json")
    with pytest.raises(NotNormalisedError, match=r"50 of 50 points are higher than max_height_m .80 m.* tiles there: .*a\.laz"):
        window_heights(campaign, (WEST - 1, SOUTH, WEST + 60, SOUTH + 10), crs=UTM)


def test_a_canopy_height_raster_in_feet_is_refused_in_words_of_rasters(tmp_path):
    import rasterio
    from rasterio.transform import from_origin

    with rasterio.open(
        tmp_path / "chm.tif", "w", driver="GTiff", width=5, height=5, count=1, dtype="float32", crs=UTM,
        transform=from_origin(WEST, SOUTH + 5, 1, 1),
    ) as raster:  # fmt: skip
        raster.write(np.full((5, 5), 98.4, "float32"), 1)
    campaign = Campaign(canopy_height=str(tmp_path / "chm.tif"), date=2020).model_dump(mode="json")
    box = (WEST, SOUTH, WEST + 5, SOUTH + 5)
    said = r"25 of 25 cells of the canopy height raster are higher .*vertical_unit: ft.*; the raster: .*chm\.tif"
    with pytest.raises(NotNormalisedError, match=said) as refused:
        window_heights(campaign, box, crs=UTM)
    assert "points" not in str(refused.value) and "tiles" not in str(refused.value)
    heights = window_heights(campaign | {"vertical_unit": "ft"}, box, crs=UTM)
    np.testing.assert_allclose(heights.z, 98.4 * 0.3048, atol=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"points": "x", "heights": "normalised", "classify_ground": "csf"},
        {"canopy_height": "x.tif", "classify_ground": "csf"},
        {"points": "x", "classify_ground": "csf", "ground_classes": [11]},
        {"canopy_height": "x.tif", "thin_to_pts_m2": 2},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match=r"classify_ground (finds the ground|gives ground)|of a canopy height raster"):
        Campaign(date=2020, **settings)


def test_the_cloth_is_the_same_on_one_and_on_two_cores(data, tmp_path):
    """The library's own answer changes with the number of threads: 0.03 % of the points of bcts_4."""
    points = PointReader(index_tiles(str(data_set(data, "bcts-als-tiles") / "bcts_4.laz")), "EPSG:3005").points(
        (-1e9, -1e9, 1e9, 1e9)
    )
    last = points.select(points.return_number == points.number_of_returns)
    np.save(tmp_path / "cloud.npy", np.stack([last.x, last.y, last.z]))
    code = (
        "import sys, hashlib, numpy as np; from pipeline.lidar.ground import cloth_ground\n"
        f"ground = cloth_ground(*np.load(sys.argv[1]), **{CLOTH!r})\n"
        "print(hashlib.sha256(ground.tobytes()).hexdigest())"
    )
    one, two = (
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "cloud.npy")], cwd=ROOT, capture_output=True, text=True, check=True,
            env=os.environ | {"OMP_NUM_THREADS": cores},
        ).stdout
        for cores in ("1", "2")
    )  # fmt: skip
    assert one == two != ""
