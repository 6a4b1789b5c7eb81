"""The smallest study of the tutorial, lidar and plots alone, on real tiles: it runs as the page prints it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import yaml
from conftest import data_set
from rasterio.features import geometry_mask
from scipy.ndimage import binary_erosion, maximum_filter

from workflow.runs import ROOT, pipeline, run

MG_PER_M = 8.0
"""Biomass of the made-up plots per metre of mean canopy height, Mg/ha/m."""


def canopy_of_lidr(data: Path):
    with rasterio.open(data_set(data, "bcts-als-tiles") / "expected/bcts_chm_p2r_1m.tif") as raster:
        return raster.read(1), raster.transform


def mean_canopy(canopy: np.ndarray, transform, shape) -> float:
    """Mean height of lidR's canopy height model in a polygon, m; missing where less than 95 % of it was flown."""
    inside = geometry_mask([shape], canopy.shape, transform, invert=True)
    there = inside & np.isfinite(canopy)
    return float(canopy[there].mean()) if there.sum() >= 0.95 * shape.area else np.nan


@pytest.fixture(scope="module")
def transect(data, tmp_path_factory) -> Path:
    """The study of the tutorial, run; plots of 11.28 m, biomass 8 Mg/ha per metre of the canopy of lidR, error 5 Mg/ha."""
    canopy, transform = canopy_of_lidr(data)
    folder = tmp_path_factory.mktemp("transect")
    text = (ROOT / "docs/tutorials/your-study.md").read_text(encoding="utf-8")
    (folder / "study.yaml").write_text(re.search(r"```yaml\n(name: transect\n.*?)```", text, flags=re.S)[1])
    rng = np.random.default_rng(5)
    rows = []
    for y in np.arange(629_200, 630_190, 25.0):
        x = rng.uniform(885_090, 885_160)
        height = mean_canopy(canopy, transform, shapely.Point(x, y).buffer(11.28))
        rows.append((f"P{len(rows)}", "2018-07-01", x, y, 11.28, max(MG_PER_M * height + rng.normal(0, 5), 0)))
    table = pd.DataFrame(rows, columns=["plot", "date", "x", "y", "radius_m", "agb_mg_ha"])
    assert table["agb_mg_ha"].notna().all() and len(table) == 40
    table.to_csv(folder / "plots.csv", index=False)
    checked = pipeline(folder, "check", "study.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "predictors, lidar: zmean, zmean_2m, zq95, cover_2m" in checked.stdout
    done = run(folder, "--cores", "2")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_known_function_of_the_canopy_is_mapped_back(data, transect):
    """Squares of 100 m wholly flown: the planted biomass is that of lidR's canopy in them, without noise."""
    canopy, transform = canopy_of_lidr(data)
    stands = gpd.read_file(transect / "results/transect/stands.gpkg")
    truth = MG_PER_M * np.array([mean_canopy(canopy, transform, shape) for shape in stands.geometry])
    flown = np.isfinite(truth) & (stands["cover_percent_2018"] > 95).to_numpy()
    assert flown.sum() >= 5
    mapped = stands["map_agb_mg_ha_2018"].to_numpy()[flown]
    assert np.corrcoef(mapped, truth[flown])[0, 1] > 0.95
    assert abs(mapped.mean() / truth[flown].mean() - 1) < 0.05
    low, high = (stands[f"reported_agb_mg_ha_{end}_2018"].to_numpy()[flown] for end in ("low", "high"))
    assert ((low <= truth[flown]) & (truth[flown] <= high)).mean() >= 0.7
    assert json.loads((transect / "resources/transect/model/agb/model.json").read_text())["sets"][0]["name"] == "lidar"


def test_the_published_canopy_keeps_below_the_highest_returns_and_its_trees_stand_on_it(data, transect):
    """A triangle between close returns is nowhere higher than the highest of lidR's canopy in the squares around."""
    canopy, _ = canopy_of_lidr(data)
    with rasterio.open(transect / "results/transect/canopy/als2018_chm.tif") as raster:
        assert raster.res == (1, 1) and raster.bounds.left == 885_020 and raster.bounds.top == 630_220
        ours = raster.read(1)
    theirs = canopy[:, :198][:1060]  # from 885,022 to 885,220 m, from 630,220 m down
    mine = ours[:, 2:]
    both = np.isfinite(mine) & np.isfinite(theirs)
    both[:20] = both[-20:] = False
    both = binary_erosion(both, iterations=5)  # the tiles lie askew, and lidR has other rules at their edge
    assert both.sum() > 100_000
    highest_around = maximum_filter(np.where(np.isfinite(theirs), theirs, -1), 3)
    assert (mine <= highest_around + 0.02)[both].all()
    assert np.median((mine - theirs)[both]) > -1.5
    tops = gpd.read_file(transect / "results/transect/canopy/als2018_trees.gpkg", layer="tree_tops")
    col, row = (tops.geometry.x - 885_020).astype(int), (630_220 - tops.geometry.y).astype(int)
    np.testing.assert_allclose(ours[row, col], tops["height_m"], atol=0.006)
    assert 100 < len(tops) / 20 < 1500, "trees per hectare of a conifer forest"


def test_the_report_says_how_many_trees_and_shows_the_canopy(transect):
    page = (transect / "results/transect/report.html").read_text(encoding="utf-8")
    assert "Canopy and trees" in page and "Trees per ha" in page and 'aria-label="Canopy height, als2018"' in page
    shown = re.findall(r'class="map" style="max-width: (\d+)px"><svg viewBox="0 0 (\d+) ([\d.]+)"', page)
    assert shown, "land five times as high as wide has maps that fit a screen and are not threads"
    assert all(int(wide) >= 300 and int(wide) * float(high) / int(across) <= 650 for wide, across, high in shown)
    assert yaml.safe_load((transect / "study.yaml").read_text())["lidar"]["als2018"]["canopy_products"] is True
