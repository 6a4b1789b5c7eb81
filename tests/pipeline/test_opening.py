"""What others made is opened before the first job, and everything wrong with it is said at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import make_settings
from lidar_files import write_tile

from pipeline.__main__ import main
from pipeline.bridge import Plan
from pipeline.bridge.opening import problems_of_plots
from pipeline.config import load_study

UTM = "EPSG:32650"
WEST, NORTH = 500_000, 3_000_000


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten plots with five trees each, all well."""
    number = np.arange(10)
    plots = pd.DataFrame({
        "plot": [f"P{n}" for n in number], "date": "2019-07-01", "x": WEST + 100 + 80 * number, "y": NORTH - 500,
        "radius_m": 11.28,
    })  # fmt: skip
    trees = pd.DataFrame({"plot": np.repeat(plots["plot"], 5), "dbh_cm": 20.0, "height_m": 15.0, "species": "Pinus massoniana"})
    plots.to_csv(folder / "plots.csv", index=False)
    trees.to_csv(folder / "trees.csv", index=False)
    pd.DataFrame({"family": ["Pinaceae"], "genus": ["Pinus"], "species": ["massoniana"], "wood_density_g_cm3": [0.42]}).to_csv(
        folder / "wood.csv", index=False
    )
    return plots, trees


def make_tiles(folder: Path, *, above_ground: bool = False, crs: str = UTM) -> None:
    """A tile of 200 m on ground at 300 m, a third of it ground."""
    (folder / "tiles").mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    x, y = WEST + 200 * rng.random(3000), NORTH - 300 + 200 * rng.random(3000)
    up = np.arange(3000) % 3 * 9.0
    write_tile(folder / "tiles/a.laz", x, y, up + (0 if above_ground else 300), crs=crs, classification=np.where(up == 0, 2, 5))


def write_study(folder: Path, changes: dict | None = None) -> str:
    settings = {
        "years": [2019], "stands": {"grid_m": 100},
        "plots": {"file": "plots.csv", "trees": "trees.csv", "crs": UTM, "wood_density": "wood.csv"},
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(make_settings(settings | (changes or {}))))
    return "study.yaml"


@pytest.fixture
def study(tmp_path) -> str:
    make_tables(tmp_path)
    make_tiles(tmp_path)
    return write_study(tmp_path)


def test_a_study_whose_files_are_all_well_is_complete_and_opened_once(study, tmp_path, capsys, monkeypatch):
    assert main(["check", study]) == 0, capsys.readouterr().err
    monkeypatch.setattr("pipeline.bridge.problems.problems_of_plots", lambda *_: ["opened again"])
    monkeypatch.setattr("pipeline.bridge.problems.problems_of_points", lambda *_: ["opened again"])
    assert main(["check", study]) == 0
    (tmp_path / "trees.csv").write_text((tmp_path / "trees.csv").read_text() + "P1,21,15,Pinus massoniana\n")
    capsys.readouterr()
    assert main(["check", study]) == 1 and capsys.readouterr().err == "plots: opened again\n"


def test_everything_that_is_wrong_is_said_in_one_round(tmp_path, capsys):
    """Settings, points, stands, the plot table, the tree list, the wood density: six files and settings, six sentences."""
    plots, trees = make_tables(tmp_path)
    make_tiles(tmp_path, above_ground=True)
    plots.assign(x=lambda t: t["x"].where(t.index != 3)).to_csv("plots.csv", index=False)
    trees.assign(dbh_cm=trees["dbh_cm"].where(np.arange(50) != 7, 912)).to_csv("trees.csv", index=False)
    pd.DataFrame({"genus": ["Pinus"], "density": [0.42]}).to_csv("wood.csv", index=False)
    (tmp_path / "stands.gpkg").write_text("no stands")
    stands = {"stands": {"file": "stands.gpkg"}, "model.regressor": "lineal"}
    assert main(["check", write_study(tmp_path, stands)]) == 1
    lines = capsys.readouterr().err.splitlines()
    for key, part in (
        ("model.regressor: ", "did you mean linear?"),
        ("lidar.als2019: ", "set heights: normalised of the campaign"),
        ("stands: ", "stands.gpkg"),
        ("plots: ", "plots.csv: plot P3 without position (row 5)"),
        ("plots: ", "trees.csv: dbh is above max_dbh_cm 400 in row 9"),
        ("plots: ", "wood.csv"),
    ):
        assert [line for line in lines if line.startswith(key) and part in line], (key, part, lines)
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("changes", "tiles", "part"),
    [
        ({"lidar.als2019.heights": "normalised"}, {}, "heights: normalised says that z is above ground, but z runs from 300"),
        ({"lidar.als2019.ground_classes": [9]}, {}, "no sampled point is of the ground_classes 9"),
        ({"lidar.als2019.crs": "EPSG:3005"}, {}, "are impossible in NAD83 / BC Albers, which crs of the campaign says"),
        ({"lidar.als2019.crs": "EPSG:32610"}, {}, "so check area and lidar.als2019.crs, which says EPSG:32610"),
        ({"lidar.als2019.crs": "EPSG:4326"}, {}, "crs of the campaign, WGS 84, is not projected"),
        ({"lidar.als2019.vertical_unit": "ft"}, {"crs": f"{UTM}+5703"}, "heights are in m, the campaign says ft"),
    ],
    ids=["elevations_declared_normalised", "no_such_ground", "no_place", "another_zone", "degrees", "feet"],
)
def test_what_a_campaign_says_wrongly_of_its_tiles_is_said_with_the_setting(tmp_path, capsys, changes, tiles, part):
    make_tables(tmp_path)
    make_tiles(tmp_path, **tiles)
    assert main(["check", write_study(tmp_path, changes)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("lidar.als2019: ") and part in line for line in lines), lines


def test_a_plot_listed_twice_is_named_with_its_rows(study, tmp_path):
    table = pd.read_csv("plots.csv")
    pd.concat([table, table.iloc[[2, 5]]]).to_csv("plots.csv", index=False)
    plan = Plan(load_study(study))
    said = problems_of_plots(plan.settings("plots"), plan.area_settings, ["agb"])
    # A header is row 1, P2 row 4 and again row 12, P5 row 7 and again row 13.
    assert said == [
        "plots.csv: plot P2 is listed more than once for 2019-07-01 (rows 4 and 12); what repeats an earlier row stands in "
        "rows 12 and 13"
    ]


@pytest.mark.parametrize(
    ("plots", "changes", "said"),
    [
        (3, {}, "no model of agb can be fitted (lidar: 3 clusters of plots have all of "),
        (10, {"plots.columns": {"cluster": "tract"}}, "(lidar: all 10 plot measurements that have "),
        (5, {"model.predictors": {"lidar": ["zmean", "zq95", "cover_2m", "zsd"]}, "model.regressor": "linear"},
         "(lidar: 4 predictors need more than 5 clusters of plots, there are 5)"),
    ],
    ids=["three_plots", "one_cluster", "more_predictors_than_clusters_tell"],
)  # fmt: skip
def test_plots_in_too_few_clusters_are_said_before_the_first_job(tmp_path, capsys, plots, changes, said):
    table, trees = make_tables(tmp_path)
    make_tiles(tmp_path)
    table.assign(tract="T1").head(plots).to_csv("plots.csv", index=False)
    trees[trees["plot"].isin(table["plot"].head(plots))].to_csv("trees.csv", index=False)
    assert main(["check", write_study(tmp_path, changes)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("plots: ") and said in line for line in lines), lines


def test_default_predictors_ask_for_no_more_clusters_than_one_of_them_needs(tmp_path, capsys):
    """Five clusters are too few for four predictors; what is left of them where cover is 100 % everywhere can be fitted."""
    table, trees = make_tables(tmp_path)
    make_tiles(tmp_path)
    table.head(5).to_csv("plots.csv", index=False)
    trees[trees["plot"].isin(table["plot"].head(5))].to_csv("trees.csv", index=False)
    assert main(["check", write_study(tmp_path)]) == 0, capsys.readouterr().err


def test_a_canopy_height_raster_in_feet_is_said_with_the_setting(tmp_path, capsys):
    """Trees of 30 m are 98 ft, above the 80 m that a height may have; declared as feet, all is well."""
    import rasterio
    from rasterio.transform import from_origin

    make_tables(tmp_path)
    with rasterio.open(
        tmp_path / "chm.tif", "w", driver="GTiff", width=100, height=100, count=1, dtype="float32", crs=UTM,
        transform=from_origin(WEST, NORTH, 10, 10),
    ) as raster:  # fmt: skip
        raster.write(np.where(np.arange(100) < 20, 98.4, 32.8).astype("float32") * np.ones((100, 1), "float32"), 1)
    chm = {"lidar.als2019.points": None, "lidar.als2019.canopy_height": "chm.tif"}
    assert main(["check", write_study(tmp_path, chm)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lidar.als2019: chm.tif: 20 % of its cells are higher than max_height_m (80 m), up to 98 m; if ")
    assert "if it counts heights in feet, set vertical_unit: ft" in line
    assert main(["check", write_study(tmp_path, chm | {"lidar.als2019.vertical_unit": "ft"})]) == 0, capsys.readouterr().err
