"""Every study that a user would bring ends with maps and stands, and says what it leaves out.

All are made of the finished planted study's files, read as if they were a user's own: no part of it is planted again.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import chain
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml

from pipeline import store
from pipeline.bridge import Plan
from pipeline.config import study_from
from workflow.runs import exact_bytes, run, small_content, write_study


@pytest.fixture(scope="module")
def brought(finished_once, tmp_path_factory) -> Path:
    """The planted study's field data, scenes and points as a user's own files, without the truth."""
    folder = tmp_path_factory.mktemp("brought") / "data"
    shutil.copytree(finished_once / "resources/planted", folder, ignore=shutil.ignore_patterns("truth", "made"))
    return folder


def own_study(folder: Path, data: Path, **changes) -> dict:
    """A user's study of one block: the small planted one with its files in `data`; a section that is None is taken out."""
    text = yaml.safe_dump(small_content(block_chunks=2)).replace("resources/planted/", f"{data.as_posix()}/")
    content = yaml.safe_load(text) | {
        "name": "own",
        "planted": None,
        "results": str(folder / "results"),
        "resources": str(folder / "resources"),
    }
    content |= changes
    content["model"] = {**content["model"], "predictors": None} if "model" not in changes else changes["model"]
    return {name: value for name, value in content.items() if value is not None}


def worked_out(content: dict) -> tuple[Plan, gpd.GeoDataFrame]:
    """The plan and the stands of a study whose steps are called one after the other in this process."""
    chain.one_thread()
    plan = Plan(study_from(content))
    plan.prepare()
    chain.map_and_estimate(plan)
    return plan, store.read_table(plan.results / "stands.parquet")


def targets_of_plots(finished: Path, data: Path) -> pd.DataFrame:
    """The plots with the biomass that the chain reached from their trees, as an inventory office would hand them over."""
    worked = store.read_table(finished / "resources/plots.parquet")
    placed = pd.read_csv(data / "plots.csv", dtype={"plot": str})
    placed["date"] = pd.to_datetime(placed["date"])
    return placed.merge(worked[["plot", "date", "agb_mg_ha"]], on=["plot", "date"])


def test_satellites_lidar_and_plots(finished_once, brought, tmp_path):
    """The same study in one block, in one process, has the bytes of the run in four blocks on two cores."""
    content = own_study(tmp_path, brought)
    content["model"] = small_content()["model"]
    plan, stands = worked_out(content)
    assert exact_bytes(plan.results) == exact_bytes(finished_once / "results")
    assert plan.notes == []
    told = ["sink", "source", "not distinguishable from zero", "saturated: no map-only change"]
    assert stands["direction_2019_2024"].isin(told).all()


def test_satellites_that_learn_from_lidar(brought, tmp_path):
    content = own_study(tmp_path, brought, model={**small_content()["model"], "path": "hierarchical"})
    write_study(tmp_path, content)
    done = run(tmp_path, "--cores", "2")
    assert done.returncode == 0, done.stderr
    model = json.loads((tmp_path / "resources/model/agb/model.json").read_text())
    assert model["sets"][1]["second_stage"]["first_set"] == "lidar" and model["sets"][0]["second_stage"] is None
    assert len(model["block_influence"]) == model["blocks"] >= 10
    page = (tmp_path / "results/report.html").read_text(encoding="utf-8")
    told = r"at plots beyond lidar its RMSE is [\d.]+ Mg/ha, and [\d.]+ Mg/ha fitted to plots"
    assert re.search(rf'<td class="text">what lidar predicts at \d+ cells; {told}</td>', page)
    stands = store.read_table(tmp_path / "resources/estimates.parquet").query("level == 'stand' and mean > 0")
    alone = stands["satellite_percent"] > 99
    assert alone.any() and (stands["se"][alone] > 0).all()
    # at most one less than the clusters of plots under the lidar; blocks of cells join where the second stage serves
    assert (stands["degrees_of_freedom"][stands["lidar_percent"] > 99.99] <= model["clusters"] - 1 + 1e-9).all()
    assert (stands["degrees_of_freedom"] >= 1).all()


def test_lidar_alone(brought, tmp_path):
    plan, stands = worked_out(own_study(tmp_path, brought, sensors=None))
    assert plan.notes == ["No satellite sensor: there is no estimate where no lidar was flown."]
    assert set(plan.products) == {
        "agb_2019", "agb_2024", "tree_carbon_2019", "tree_carbon_2024", "sink_2019_2024", "forest_2019_2024",
        "applicability_agb_2019", "applicability_agb_2024",
    }  # fmt: skip
    covered = stands["cover_percent_2019"] >= 80
    assert 0 < covered.sum() < len(stands)
    assert (stands.loc[~covered, "reported_tree_carbon_t_2019"].isna()).all()
    assert (stands.loc[covered, "reported_tree_carbon_t_2019"] >= 0).all()


def test_satellites_alone(brought, tmp_path):
    plan, stands = worked_out(own_study(tmp_path, brought, lidar=None))
    assert plan.notes == ["No airborne lidar: the map rests on satellite images, which saturate in dense forest."]
    assert list(plan.predictor_sets) == ["satellite"]
    assert (stands["cover_percent_2024"] > 99).all()
    assert stands["reported_agb_mg_ha_2024"].notna().all()


def test_plots_that_carry_biomass_already(finished_once, brought, tmp_path):
    """Given what the chain itself reached from the trees, the map has the same mean as with the trees."""
    table = tmp_path / "plots.csv"
    targets_of_plots(finished_once, brought).to_csv(table, index=False)
    plots = {"file": str(table), "crs": "EPSG:32650"}
    _, stands = worked_out(own_study(tmp_path, brought, plots=plots, lidar=None))
    _, from_trees = worked_out(own_study(tmp_path / "trees", brought, lidar=None))
    ours, theirs = stands["map_agb_mg_ha_2019"], from_trees["map_agb_mg_ha_2019"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert (stands["reported_agb_mg_ha_se_2019"] <= from_trees["reported_agb_mg_ha_se_2019"] + 1e-9).all()


def test_plots_with_stem_volume_and_an_expansion_factor(finished_once, brought, tmp_path):
    """Volume of biomass / 0.6 and an expansion factor of 0.6 Mg/m3 give the carbon of the biomass itself."""
    worked = targets_of_plots(finished_once, brought)
    table = tmp_path / "plots.csv"
    worked.assign(volume_m3_ha=worked["agb_mg_ha"] / 0.6).drop(columns="agb_mg_ha").to_csv(table, index=False)
    plots = {"file": str(table), "crs": "EPSG:32650"}
    pools = {"expansion_factor_mg_m3": 0.6, "expansion_factor_source": "made up for this test"}
    plan, stands = worked_out(own_study(tmp_path, brought, plots=plots, lidar=None, targets=["volume"], pools=pools))
    assert [name for name in plan.products if name.startswith("volume")] == ["volume_2019", "volume_2024"]
    carbon_per_volume = stands["reported_tree_carbon_t_ha_2019"] / stands["reported_volume_m3_ha_2019"]
    np.testing.assert_allclose(carbon_per_volume.dropna(), 0.6 * 1.26 * 0.47, rtol=1e-9)
    np.testing.assert_allclose(  # of the model: a composite of a change has weights of its own
        stands["model_net_removal_t_co2_ha_yr_2019_2024"],
        (stands["model_volume_m3_ha_2024"] - stands["model_volume_m3_ha_2019"]) * 0.6 * 1.26 * 0.47 * 44 / 12 / 5,
        atol=1e-6,
    )


def canopy_height_of(tiles: Path, raster: Path) -> None:
    """Highest point above the lowest ground around, per 2 m cell: a canopy height model as a survey would deliver it."""
    import laspy
    from scipy.ndimage import minimum_filter

    side, west, north = 600, 500_000, 3_000_000
    top, ground = np.full((side, side), -np.inf), np.full((side, side), np.inf)
    for path in sorted(tiles.glob("*.laz")):
        points = laspy.read(path)
        kind = np.asarray(points.classification)
        row = ((north - np.asarray(points.y)) / 2).astype(int)
        col = ((np.asarray(points.x) - west) / 2).astype(int)
        there = (row >= 0) & (row < side) & (col >= 0) & (col < side) & ~np.isin(kind, (7, 18))
        np.maximum.at(top, (row[there], col[there]), np.asarray(points.z)[there])
        low = there & (kind == 2)
        np.minimum.at(ground, (row[low], col[low]), np.asarray(points.z)[low])
    height = top - minimum_filter(ground, 9)
    height = np.where(np.isfinite(height), np.clip(height, 0, 60), -9999).astype("float32")
    with rasterio.open(
        raster, "w", driver="GTiff", width=side, height=side, count=1, dtype="float32", nodata=-9999, crs="EPSG:32650",
        transform=rasterio.transform.from_origin(west, north, 2, 2),
    ) as file:  # fmt: skip
        file.write(height, 1)


def test_a_canopy_height_raster_instead_of_points_and_one_date_through_snakemake(brought, tmp_path):
    """Lidar only, one date: no change, no sink, the forest is where the canopy is, and the canopy is published with its trees."""
    canopy_height_of(brought / "lidar/als2024", tmp_path / "chm.tif")
    lidar = {"chm": {"canopy_height": "chm.tif", "date": 2024, "chm_resolution_m": 2, "canopy_products": True}}
    content = own_study(tmp_path, brought, sensors=None, lidar=lidar, years=[2024], forest={"source": "canopy"})
    content |= {"results": "results", "resources": "resources"}
    content["plots"] |= {"roots": {"by": "continuous", "per": "plot"}}  # which states no error
    write_study(tmp_path, content)
    done = run(tmp_path, "--cores", "2")
    assert done.returncode == 0, done.stderr
    maps = {path.stem for path in (tmp_path / "results/maps").glob("*.tif")}
    assert maps == {"agb_2024", "tree_carbon_2024", "applicability_agb_2024"}
    project = pd.read_csv(tmp_path / "results/project.csv")
    assert set(project["quantity"]) == {"agb_mg_ha", "tree_carbon_t_ha"}
    caveats = [
        "the continuous root:shoot function states no error: roots have that of biomass alone",
        "carbon fractions state no error: default",
    ]
    told = set(project["caveats"]) | set(pd.read_parquet(tmp_path / "resources/estimates.parquet")["caveats"])
    assert told == {"; ".join(caveats)}
    of_map = json.loads((tmp_path / "results/stac/agb_2024.json").read_text())["properties"]
    assert of_map["forestsink:caveats"] == caveats
    page = (tmp_path / "results/report.html").read_text(encoding="utf-8")
    for sentence in (
        "One date only: no change and no sink can be computed.",
        "No satellite sensor: there is no estimate where no lidar was flown.",
    ):
        assert sentence in page
    assert json.loads((tmp_path / "results/checks.json").read_text())["truth"] is None
    tops = gpd.read_file(tmp_path / "results/canopy/chm_trees.gpkg", layer="tree_tops")
    assert len(tops) > 0 and (tops["height_m"] >= 2).all()
    assert "Canopy and trees" in page and 'aria-label="Canopy height, chm"' in page
    item = json.loads((tmp_path / "results/stac/canopy_chm.json").read_text())
    assert item["properties"]["datetime"] == "2024-07-01T00:00:00Z"
    assert item["properties"]["proj:transform"][0] == 2 and item["assets"]["map"]["bands"][0]["unit"] == "m"
    sums = json.loads((tmp_path / "results/run.json").read_text())["results_sha256"]
    for asset in item["assets"].values():
        file = (tmp_path / "results/stac" / asset["href"]).resolve().relative_to(tmp_path.resolve())
        assert asset["file:checksum"] == "1220" + sums[file.as_posix()]


def test_a_block_without_lidar_is_mapped_from_what_is_there_and_counted(brought, tmp_path, caplog):
    """Only the western tiles were flown: the lidar of the eastern blocks is empty, their map is the satellites'."""
    west = tmp_path / "west"
    west.mkdir()
    for path in sorted((brought / "lidar/als2019").glob("*.laz"))[:1]:
        shutil.copy(path, west)
    lidar = {"als2019": {"points": str(west), "date": 2019}}
    content = own_study(tmp_path, brought, lidar=lidar)
    content["area"]["block_chunks"] = 1
    with caplog.at_level("WARNING"):
        plan, stands = worked_out(content)
    assert any("no lidar of campaign als2019 in block" in message for message in caplog.messages)
    assert "No lidar within 1 years of 2024: that year rests on satellite images alone." in plan.notes
    assert (stands["cover_percent_2019"] > 99).all()
