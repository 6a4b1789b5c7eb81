"""`python -m pipeline design`: plots for the field from a study's stands and what a run of it has learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import UTM, make_settings
from shapely.geometry import Point, box

from catalogs.plots.headers import guess_settings
from models.inference.sample_draw import Drawn
from pipeline import store
from pipeline.__main__ import main
from pipeline.config import load_study
from pipeline.steps.design import GPX, _check_clusters, _of_drawn

FILES = ("plots.gpkg", "plots.gpx", "plots.csv", "design.json")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A study of 1 km2: its western 600 m are old, the rest young, in four stands."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, border_m=600)


def write_config(tmp_path, *, border_m) -> str:
    west, south, b = 500_000, 2_999_000, border_m
    shapes = [(0, 0, b, 500), (0, 500, b, 1000), (b, 0, 1000, 500), (b, 500, 1000, 1000)]
    stands = gpd.GeoDataFrame(
        {"stand": ["S1", "S2", "S3", "S4"], "age": ["old", "old", "young", "young"]},
        geometry=[box(west + a, south + b, west + c, south + d) for a, b, c, d in shapes], crs=UTM,
    )  # fmt: skip
    stands.to_file(tmp_path / "stands.gpkg")
    (tmp_path / "plots.csv").write_text("")
    (tmp_path / "tiles").mkdir()
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(make_settings({"stands.stratum": "age"})))
    return str(file)


def with_a_finished_run(config, *, plots=20):
    """Pilot plots, half in each stratum: old 200 +- 60, young 100 +- 20, of which the map explains three quarters."""
    study = load_study(config)
    rng = np.random.default_rng(0)
    old = np.arange(plots) < plots / 2
    x, y = np.where(old, 500_300, 500_800) + rng.uniform(-90, 90, plots), 2_999_500 + rng.uniform(-400, 400, plots)
    names = [f"P{i}" for i in range(plots)]
    score = np.tile([-1.0, 1.0], plots // 2)
    observed = np.where(old, 200 + 60 * score, 100 + 20 * score)
    residual = np.where(old, 30, 10) * np.tile([1.0, 1, -1, -1], plots // 4)
    frame = gpd.GeoDataFrame({"plot": names}, geometry=[Point(*one).buffer(10) for one in zip(x, y, strict=True)], crs=UTM)
    resources = Path(study.resources)
    store.write_table(resources / "plots.parquet", frame)
    store.write_table(
        resources / "model/agb/left_out.parquet",
        pd.DataFrame({"plot": names, "cluster": names, "year": 2024, "set_name": "lidar", "observed": observed,
                      "predicted": observed - residual}),
    )  # fmt: skip
    return study


def test_a_study_without_a_run_asks_for_the_spread_of_the_target(config, capsys):
    assert main(["design", config]) == 1
    assert "run the study first, or give --mean and --sd" in capsys.readouterr().err
    assert main(["design", config, "--mean", "100"]) == 1
    assert "--mean and --sd belong together" in capsys.readouterr().err


def test_given_numbers_are_enough(config, capsys, tmp_path):
    """70 plots for a spread of 50 % (1.6676 x 50 / sqrt(70) = 9.97 %, 68 degrees of freedom), shared 3 : 2 by area."""
    assert main(["design", config, "--mean", "100", "--sd", "50", "--r2", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "old: 60.0 ha, agb_mg_ha 100.0, between plots 50.0, r2 of the map 0.50: 42 locations" in said
    decided = json.loads((tmp_path / "results/hills/design/design.json").read_text())
    assert [one["without_map"] for one in decided["strata"]] == [42, 28]
    assert "takes 70 locations" in said


def test_plots_lie_in_the_stands_of_their_stratum_and_all_files_hold_them(config, tmp_path):
    assert main(["design", config, "--mean", "100", "--sd", "40", "--cluster-share", "0.4", "--cluster-shape", "l"]) == 0
    folder = tmp_path / "results/hills/design"
    points, stands = gpd.read_file(folder / "plots.gpkg"), gpd.read_file(tmp_path / "stands.gpkg").set_index("stand")
    table = pd.read_csv(folder / "plots.csv")
    for row in points.itertuples():
        assert stands.loc[row.stand, "age"] == row.stratum and stands.loc[row.stand].geometry.contains(row.geometry)
    assert table["plot"].is_unique and table["plot"].tolist() == points["plot"].tolist()
    sizes = table[table["kind"] == "cluster"].groupby("cluster").size()
    assert sizes.max() == 5 and abs(len(sizes) - 0.4 * table["cluster"].nunique()) <= 4
    assert set(table["sampling"]) == {"probability"} and (table.groupby("stratum")["weight"].nunique() == 1).all()
    assert table["weight"].sum() == pytest.approx(100, rel=0.15)  # hectares of the stands, on average over draws
    tracks = ElementTree.parse(folder / "plots.gpx").getroot().findall(f"{{{GPX}}}wpt")
    assert [one.find(f"{{{GPX}}}name").text for one in tracks] == table["plot"].tolist()
    degrees = points.to_crs("EPSG:4326").geometry
    assert [float(one.get("lon")) for one in tracks] == pytest.approx(degrees.x.tolist(), abs=1e-6)


def test_no_plot_leaves_its_stand_through_a_cell_that_the_border_cuts(tmp_path, monkeypatch):
    """Cells of 20 m from 600 to 620 have their centre in the old stand, whose border runs at 615."""
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, border_m=615)
    assert main(["design", config, "--mean", "100", "--sd", "50", "--half-width-percent", "2.5"]) == 0
    points = gpd.read_file(tmp_path / "results/hills/design/plots.gpkg")
    assert len(points) > 1000 and (points["x"].between(500_600, 500_620)).sum() > 10
    assert ((points["x"] < 500_615) == (points["stratum"] == "old")).all()


def test_a_finished_run_tells_mean_spread_and_what_the_map_saves(config, capsys):
    """Ten plots at 200 +- 60: SD 60 sqrt(10 / 9) = 63.2. Both strata have fewer than 15 plots: r2 pooled, 1 - 10000 / 40000."""
    with_a_finished_run(config)
    assert main(["design", config]) == 0
    said = capsys.readouterr().out
    assert "old: 60.0 ha, agb_mg_ha 200.0, between plots 63.2, r2 of the map 0.75" in said
    assert "young: 40.0 ha, agb_mg_ha 100.0, between plots 21.1, r2 of the map 0.75" in said
    assert "is taken" not in said


def test_the_map_of_the_run_tells_the_means_of_strata(config, capsys):
    study = with_a_finished_run(config)
    store.write_table(
        Path(study.results) / "stands.parquet",
        pd.DataFrame({"stand": ["S1", "S2", "S3"], "layer": "stands", "stratum": ["old", "old", "young"],
                      "area_ha": [10.0, 30, 20], "reported_agb_mg_ha_2024": [100.0, 300, 80]}),
    )  # fmt: skip
    assert main(["design", config]) == 0
    said = capsys.readouterr().out
    assert "old: 60.0 ha, agb_mg_ha 250.0" in said and "young: 40.0 ha, agb_mg_ha 80.0" in said


def test_few_pilot_plots_borrow_their_spread_and_it_is_said(config, capsys):
    with_a_finished_run(config, plots=12)
    assert main(["design", config]) == 0
    assert "stratum old: 6 pilot plots; the relative spread within all strata is taken" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_places(config, tmp_path):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["design", config, "--mean", "100", "--sd", "30", "--folder", folder, "--seed", seed]) == 0
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a/plots.csv").read_bytes() != (tmp_path / "c/plots.csv").read_bytes()


def test_a_target_that_the_study_does_not_map_is_refused(config, capsys):
    assert main(["design", config, "--target", "volume"]) == 1
    assert "'volume' is not a target of the study; it has agb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--confidence-percent", "190"], "above 50 % and below 100 %, such as 90; got 190"),
        (["--cluster-spacing-m", "-5"], "spacing is above 0 m; got -5"),
        (["--plots-per-cluster", "1"], "--plots-per-cluster is 2 or more, got 1"),
        (["--plots-per-cluster", "0"], "--plots-per-cluster is 2 or more, got 0"),
        (["--correlation", "1.2"], "--correlation, of two plots of a cluster, is between 0 and 1; got 1.2"),
        (["--half-width-percent", "0"], "--half-width-percent is above 0, such as 10; got 0"),
        (["--cost-of-plot", "3"], "--cost-of-location and --cost-of-plot belong together"),
        (["--cluster-share", "1.5"], "--cluster-share is the share of locations that are clusters, between 0 and 1; got 1.5"),
    ],
)
def test_what_no_sample_can_be_drawn_with_is_refused(config, capsys, options, message):
    assert main(["design", config, "--mean", "100", "--sd", "50", *options]) == 1
    assert message in capsys.readouterr().err


def test_costs_decide_how_many_plots_a_cluster_has(config, capsys, tmp_path):
    """sqrt(9 / 1 x 0.8 / 0.2) = 6 plots; near plots that are alike are not worth a second one."""
    given = ["design", config, "--mean", "100", "--sd", "30", "--cost-of-location", "9", "--cost-of-plot", "1"]
    assert main([*given, "--correlation", "0.2", "--cluster-share", "1", "--cluster-spacing-m", "30"]) == 0
    said = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "results/hills/design/plots.csv")
    assert "correlation of 0.2 clusters of 6 are cheapest, and those are drawn" in said
    assert table.groupby("cluster").size().max() == 6 and set(table["kind"]) == {"cluster"}
    assert f"cost {9 * table['cluster'].nunique() + len(table)} together" in said
    assert main([*given, "--correlation", "0.95", "--cluster-share", "1"]) == 0
    assert "single plots are cheaper than clusters" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "results/hills/design/plots.csv")["kind"]) == {"single"}


def test_a_sample_is_never_smaller_than_what_a_total_is_reported_from(config, capsys, tmp_path):
    """+-50 % of a forest that varies by a tenth takes two plots; two strata of 3 are 6; totals want 10."""
    assert main(["design", config, "--mean", "100", "--sd", "10", "--half-width-percent", "50"]) == 0
    assert "takes 10 locations" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "results/hills/design/plots.csv")) == 10


def test_borders_make_clusters_smaller_and_the_promise_counts_that(config, tmp_path):
    """Squares of 400 m in 600 m x 1000 m: middles on 1000 m x 1400 m, so 4 x 60 / 140 plots; in 400 m x 1000 m 4 x 40 / 112."""
    given = ["--mean", "100", "--sd", "50", "--cluster-share", "1", "--cluster-spacing-m", "400"]
    assert main(["design", config, *given]) == 0
    layout = json.loads((tmp_path / "results/hills/design/design.json").read_text())["layout"]
    assert layout["old"]["plots_per_cluster"] == pytest.approx(4 * 60 / 140, rel=0.01)
    assert layout["young"]["plots_per_cluster"] == pytest.approx(4 * 40 / 112, rel=0.01)


def test_a_table_of_plots_reads_back_as_a_probability_sample_with_its_weights(config, tmp_path):
    assert main(["design", config, "--mean", "100", "--sd", "50", "--allocation", "proportional"]) == 0
    file = tmp_path / "results/hills/design/plots.csv"
    guessed = guess_settings([file])["columns"]
    assert guessed.get("weight", "weight") == "weight" and guessed.get("cluster", "cluster") == "cluster"
    old = pd.read_csv(file).rename(columns={"weight": "location_ha"})
    old.to_csv(tmp_path / "old.csv", index=False)
    assert guess_settings([tmp_path / "old.csv"])["columns"]["weight"] == "location_ha"


def test_a_number_of_plots_without_clusters_is_told_to_be_unused(config, capsys):
    assert main(["design", config, "--mean", "100", "--sd", "50", "--plots-per-cluster", "4"]) == 0
    assert "--plots-per-cluster is not used" in capsys.readouterr().out


def test_clusters_wider_than_the_stands_are_told(config, capsys):
    assert main(["design", config, "--mean", "100", "--sd", "50", "--cluster-share", "1", "--cluster-spacing-m", "5000"]) == 0
    assert "clusters have a single plot" in capsys.readouterr().out


def drawn_at(*xy) -> Drawn:
    count = len(xy)
    return Drawn(np.arange(count), np.full(count, "single"), np.array(xy, float), np.full(count, "old"), np.ones(count), 0)


def test_plots_that_reach_over_the_edge_of_the_study_are_counted():
    """Radius 8 m: at 7.9 m from the western and the northern edge, not at 8."""
    told = _of_drawn(drawn_at((7.9, 50), (8, 50), (50, 92.1), (50, 50)), (0, 0, 100, 100), 60, 8.0)
    assert len(told) == 1 and "2 of 4 plots reach over the edge of the study's area" in told[0]
    assert "2 of 4 locations whole" in told[0] and "by 8 m or more" in told[0]
    assert _of_drawn(drawn_at((1, 50)), (0, 0, 100, 100), 60, None) == []


def test_plots_beyond_the_edge_are_counted_whether_or_not_their_size_is_known():
    """Stands may reach beyond the area: 20 m beyond its eastern edge, of a location whose other plot is inside."""
    drawn = replace(drawn_at((120, 50), (50, 50), (50, 50)), location=np.array([0, 0, 1]))
    (unsized,) = _of_drawn(drawn, (0, 0, 100, 100), 60, None)
    assert "1 of 3 plots reach over" in unsized and "0 of 2 locations whole" in unsized and "by 20 m or more" in unsized
    (sized,) = _of_drawn(drawn, (0, 0, 100, 100), 60, 8.0)
    assert "1 of them with their centre" in sized and "by 28 m or more" in sized


def test_plots_of_a_cluster_that_overlap_are_refused():
    with pytest.raises(ValueError, match="--cluster-spacing-m 1 lets plots with a radius of 8 m overlap; take 16 or more"):
        _check_clusters(0.5, 1, None, 0.5, 10, 8.0)
