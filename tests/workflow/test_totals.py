"""Totals by estimator, composites and what purposive plots change, on the finished planted study and by hand from its tables."""

from __future__ import annotations

import chain
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from exactextract import exact_extract

from models.inference.fitted import TargetModel
from pipeline import store
from pipeline.bridge import Plan
from pipeline.config import study_from
from workflow.runs import read_study

FAMILY = {"small", "extended_synthetic", "synthetic", "bhf_eblup", "fay_herriot"}
DESIGN = {"expansion", "stratified", "post_stratified", "ratio", "difference", "greg", "three_phase", "strips", *FAMILY} - {
    "bhf_eblup"
}
KEYS = ["level", "area", "quantity", "first_year", "last_year"]


@pytest.fixture
def study(finished, monkeypatch):
    """The finished study's folder, as the working folder: what it says is relative to it."""
    monkeypatch.chdir(finished)
    return finished


def totals_of(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "results/estimates.csv")


def one_of(totals: pd.DataFrame, estimator: str, *, quantity="agb_mg_ha", first=2019, last=2019, area="project") -> pd.Series:
    rows = totals[
        (totals["estimator"] == estimator) & (totals["quantity"] == quantity) & (totals["area"] == area)
        & (totals["first_year"] == first) & (totals["last_year"] == last)
    ]  # fmt: skip
    assert len(rows) == 1
    return rows.iloc[0]


def drawn_plots(folder, year: int) -> gpd.GeoDataFrame:
    """Probability plots of a year whose centre lies in a stand, with the stand."""
    plots = store.read_table(folder / "resources/plots.parquet")
    plots = plots[(plots["date"].dt.year == year) & plots["kept"] & (plots["sampling"] == "probability")]
    stands = store.read_table(folder / "results/stands.parquet")[["stand", "stratum", "geometry"]]
    centres = plots.set_geometry(plots.geometry.centroid)[["plot", "cluster", "agb_mg_ha", "geometry"]]
    inside = centres.sjoin(stands, predicate="within").drop_duplicates("plot")
    return inside.set_geometry(plots.set_index("plot").geometry.loc[inside["plot"]].to_numpy())


def by_clusters(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """Mean over plots, and its variance between clusters by the ratio of sums, written out."""
    n, mean, squares = len(set(cluster)), values.mean(), 0.0
    for one in set(cluster):
        mine = values[cluster == one]
        squares += (len(mine) / (len(values) / n)) ** 2 * (mine.mean() - mean) ** 2
    return mean, squares / (n * (n - 1))


def test_the_mean_of_the_plots_is_that_of_the_table(study):
    row, plots = one_of(totals_of(study), "expansion"), drawn_plots(study, 2019)
    mean, variance = by_clusters(plots["agb_mg_ha"].to_numpy(), plots["cluster"].to_numpy())
    assert row["mean"] == pytest.approx(mean) and row["plots"] == len(plots) and row["clusters"] == plots["cluster"].nunique()
    assert row["variance_residual"] == pytest.approx(variance)
    assert row["se"] == pytest.approx(np.sqrt(variance + row["variance_allometry"]))
    assert row["total"] == pytest.approx(mean * row["area_ha"])


def test_the_difference_estimate_is_the_map_s_mean_and_what_the_plots_depart_from_it(study):
    """By exactextract from the published map, and the models as they are in their file."""
    row, plots = one_of(totals_of(study), "difference"), drawn_plots(study, 2019)
    stands = store.read_table(study / "results/stands.parquet")
    map_mean = np.average(stands["map_agb_mg_ha_2019"], weights=stands["area_ha"])
    raster = study / "results/maps/agb_2019.tif"
    shown = exact_extract(str(raster), plots.reset_index(drop=True), ["mean"], output="pandas").iloc[:, 0].to_numpy()
    model = TargetModel.from_plain(store.read_json(study / "resources/model/agb/model.json"))
    training = store.read_table(study / "resources/training/agb.parquet").query("year == 2019").set_index("plot")
    left_out = pd.read_parquet(study / "resources/model/agb/left_out.parquet").query("year == 2019")
    moved, served = [], exact_extract(str(raster), plots.reset_index(drop=True), ["values", "coverage"], output="pandas")
    numbers = [name for name in served if name.endswith("values")][3]
    for (_, one), (_, pixels) in zip(plots.iterrows(), served.iterrows(), strict=True):
        weight = np.asarray(pixels[next(name for name in served if name.endswith("coverage"))], float)
        shift = 0.0
        for number, part in enumerate(model.sets, start=1):
            seen = left_out[(left_out["plot"] == one["plot"]) & (left_out["set_name"] == part.name)]
            if len(seen):
                X = training.loc[[one["plot"]], list(part.predictors)].to_numpy(float)
                fitted = part.machine.mean(part.params, part.design(X, 2019))[0]
                share = weight[np.asarray(pixels[numbers], float) == number].sum() / weight.sum()
                shift += share * (seen["predicted"].iloc[0] - seen["position_curvature"].iloc[0] - fitted)
        moved.append(shift)
    departure, variance = by_clusters(plots["agb_mg_ha"].to_numpy() - shown - moved, plots["cluster"].to_numpy())
    assert np.abs(moved).max() > 1
    assert row["mean"] == pytest.approx(map_mean + departure, rel=1e-4)
    assert row["variance_residual"] == pytest.approx(variance, rel=1e-3)


def test_every_area_and_quantity_has_one_reported_estimate_and_the_project_s_are_in_its_table(study):
    totals = totals_of(study)
    assert (totals.groupby(KEYS)["reported"].sum() == 1).all()
    assert totals.loc[totals["reported"], "why"].notna().all()
    project = pd.read_csv(study / "results/project.csv")
    chosen = totals[totals["reported"] & (totals["level"] == "project")].reset_index(drop=True)
    for name in ("quantity", "first_year", "last_year", "estimator", "mean", "se", "low_90", "high_95", "degrees_of_freedom"):
        assert list(project[name]) == list(chosen[name]), name
    assert set(project["estimator"]) == {"difference"}


def test_intervals_and_variance_parts_of_all_estimates_fit_together(study):
    known = totals_of(study).dropna(subset=["mean"])
    assert {"model-based synthetic", "expansion", "post_stratified", "ratio", "difference", "greg", *FAMILY} == set(
        known["estimator"]
    )
    parts = known[[f"variance_{name}" for name in ("allometry", "parameters", "residual", "area_effect")]]
    assert np.allclose(parts.sum(axis=1), known["se"] ** 2) and (parts > -1e-9).all(axis=None)
    assert (known["low_95"] <= known["low_90"]).all() and (known["high_90"] <= known["high_95"]).all()
    usual = known[(known["low_95"] > 0) & (known["se"] > 0)]
    wider = (usual["high_95"] - usual["mean"]) / (usual["high_90"] - usual["mean"])
    assert wider.between(1.19, 4.4).all()  # t(0.975) / t(0.95): 1.96 / 1.645 for many degrees of freedom, 12.7 / 6.3 for one


def test_regression_estimates_have_their_error_by_the_other_published_formulas_beside_it(study):
    totals = totals_of(study)
    greg = totals[(totals["estimator"] == "greg") & totals["mean"].notna()]
    assert (greg["variance_formula"] == "cr2").all() and greg[["se_g_weight", "se_external"]].notna().all(axis=None)
    # fitted residuals are the smaller the fewer clusters there are, which CR2 mends: 34 clusters, so a few percent
    assert (greg["se"] / greg["se_g_weight"]).between(1.0, 1.15).all()
    assert totals.loc[totals["estimator"].isin(["expansion", "difference"]), ["se_g_weight", "se_external"]].isna().all(axis=None)
    carbon, agb = (one_of(totals, "greg", quantity=name) for name in ("tree_carbon_t_ha", "agb_mg_ha"))
    assert carbon["se_external"] / agb["se_external"] == pytest.approx(carbon["mean"] / agb["mean"])


def by_set(folder, shapes: gpd.GeoDataFrame, year: int) -> np.ndarray:
    """(shapes, sets) mean over each shape of what each predictor set says, NaN where it does not see all of it."""
    found = np.full((len(shapes), 2), np.nan)
    for path in sorted((folder / f"resources/sets/agb_{year}").glob("*.tif")):
        told = exact_extract(str(path), shapes[["geometry"]], ["values", "coverage"], output="pandas")
        values = [name for name in told if name.endswith("values")]
        weights = [name for name in told if name.endswith("coverage")]
        for row in range(len(shapes)):
            weight = np.asarray(told.at[row, weights[0]], float)
            if weight.sum() * 400 > 0.999 * shapes.geometry.iloc[row].area:
                found[row] = [(np.ma.filled(told.at[row, name], np.nan) * weight).sum() / weight.sum() for name in values]
    return found


def test_points_of_phases_1_and_2_under_the_lidar_make_three_phases_with_the_satellite_everywhere(study):
    """Plots in the strip are the sample, every third of them without its measurement; by least squares written out."""
    plots = store.read_table(study / "resources/plots.parquet")
    model = TargetModel.from_plain(store.read_json(study / "resources/model/agb/model.json"))
    told = by_set(study, plots, 2019)
    under = np.isfinite(told).all(axis=1) & (plots["sampling"] == "probability").to_numpy()
    first = plots["plot"].isin(pd.unique(plots.loc[under, "plot"])[::3]).to_numpy() & under
    for path in ("plots.parquet", "training/agb.parquet"):
        table = store.read_table(study / "resources" / path)
        table["sampling"], table["cluster"] = np.where(under, "probability", "purposive"), table["plot"]
        table["phase"] = np.where(first, "1", None)
        table.loc[first, "agb_mg_ha"] = np.nan
        store.write_table(study / "resources" / path, table)
    again(study, read_study(study))

    ground = drawn_plots(study, 2019).dropna(subset="agb_mg_ha").reset_index(drop=True)
    stands = store.read_table(study / "results/stands.parquet")
    points = plots[first].drop_duplicates("plot").set_geometry(plots[first].drop_duplicates("plot").geometry)
    points = points[points.geometry.centroid.within(stands.union_all())].reset_index(drop=True)
    training = store.read_table(study / "resources/training/agb.parquet").query("year == 2019").set_index("plot")
    left_out = pd.read_parquet(study / "resources/model/agb/left_out.parquet").query("year == 2019")
    of_first = np.vstack([by_set(study, ground, 2019), by_set(study, points, 2019)])
    for number, part in enumerate(model.sets):
        for row, plot in enumerate([*ground["plot"], *points["plot"]]):  # the model was fitted to these points too
            seen = left_out[(left_out["plot"] == plot) & (left_out["set_name"] == part.name)]
            if len(seen):
                X = training.loc[[plot], list(part.predictors)].to_numpy(float)
                fitted = part.machine.mean(part.params, part.design(X, 2019))[0]
                of_first[row, number] += seen["predicted"].iloc[0] - seen["position_curvature"].iloc[0] - fitted
    fine_and_wide = of_first[: len(ground)]
    y, one = ground["agb_mg_ha"].to_numpy(), np.ones(len(ground))
    a = np.linalg.lstsq(np.column_stack([one, fine_and_wide[:, 1]]), y, rcond=None)[0]
    b = np.linalg.lstsq(np.column_stack([one, fine_and_wide[:, ::-1]]), y, rcond=None)[0]
    everywhere = []
    for path in sorted((study / "resources/sets/agb_2019").glob("*.tif")):
        cells = exact_extract(str(path), stands[["geometry"]], ["values", "coverage", "center_x", "center_y"], output="pandas")
        wide, x, north = ([name for name in cells if name.endswith(end)][-1] for end in ("values", "center_x", "center_y"))
        for row, cell in cells.iterrows():
            centres = gpd.points_from_xy(cell[x], cell[north])
            inside = np.asarray(centres.within(stands.geometry.iloc[row]))
            everywhere += np.asarray(np.ma.filled(cell[wide], np.nan), float)[inside].tolist()
    expected = (np.nanmean(everywhere) - of_first[:, 1].mean()) * a[1] + b @ [1.0, of_first[:, 1].mean(), of_first[:, 0].mean()]
    row = one_of(totals_of(study), "three_phase")
    assert row["plots"] == len(ground) and row["variance_formula"] == "cr2" and row["variance_parameters"] > 0
    assert row["mean"] == pytest.approx(expected, rel=1e-5)


def test_districts_are_areas_beside_the_strata_and_what_one_strip_of_lidar_allows_is_said(study):
    phases, strips = (one_of(totals_of(study), name) for name in ("three_phase", "strips"))
    assert "no points of phase 1" in phases["note"] and "lidar was flown where somebody chose" in strips["note"]
    content = read_study(study)
    for campaign in content["lidar"].values():
        campaign["sampling"] = "probability"
    file = study / "resources/planted/stands.gpkg"
    stands = gpd.read_file(file)
    east = stands.geometry.centroid.x > stands.geometry.centroid.x.median()
    stands["COUNTY"] = np.where(east, "east", "west")
    stands.to_file(file, driver="GPKG")
    content["stands"]["district"] = "COUNTY"
    again(study, content)
    totals = totals_of(study)
    assert set(totals.loc[totals["level"] == "district", "area"]) == {"east", "west"}
    table = store.read_table(study / "results/stands.parquet")
    for side in ("east", "west"):
        mine = one_of(totals, "model-based synthetic", area=side)
        assert mine["area_ha"] == pytest.approx(table.loc[table["district"] == side, "area_ha"].sum())
        inside = drawn_plots(study, 2019)
        held = table.loc[table["district"] == side, "geometry"].union_all()
        assert one_of(totals, "expansion", area=side)["plots"] == inside.geometry.centroid.within(held).sum()
    assert "1 strips of which 1 hold plots tell nothing" in one_of(totals, "strips")["note"]
    assert (totals.groupby(["level", *KEYS[1:]])["reported"].sum() == 1).all()


def test_strata_are_areas_of_their_own_that_add_up(study):
    totals = totals_of(study)
    mine = totals.query("estimator == 'model-based synthetic' and quantity == 'agb_mg_ha' and first_year == 2019")
    strata, whole = mine[mine["level"] == "stratum"], mine[mine["level"] == "project"].iloc[0]
    assert len(strata) >= 3
    assert strata["area_ha"].sum() == pytest.approx(whole["area_ha"])
    assert strata["total"].sum() == pytest.approx(whole["total"])


def test_a_stand_reports_what_its_ledger_weighs_and_keeps_what_the_model_says(study):
    stands = store.read_table(study / "results/stands.parquet").set_index("stand")
    ledger = pd.read_csv(study / "results/ledger.csv", dtype={"stand": str})
    mine = ledger[(ledger["first_year"] == 2019) & (ledger["last_year"] == 2019)]
    weighed = (mine["weight"] * (mine["value"] - mine["bias_removed"])).groupby(mine["stand"]).sum()
    reported = stands["reported_agb_mg_ha_2019"]
    assert len(weighed) > 5 and np.allclose(reported[weighed.index], weighed.clip(lower=0))
    rest = stands.index.difference(weighed.index)
    assert np.allclose(reported[rest], stands.loc[rest, "model_agb_mg_ha_2019"])
    assert stands.loc[weighed.index, "reported_agb_mg_ha_estimator_2019"].str.startswith("composite of").all()
    assert (stands.loc[rest, "reported_agb_mg_ha_estimator_2019"] == "model-based synthetic").all()
    surer = stands["reported_agb_mg_ha_se_2019"] < stands["model_agb_mg_ha_se_2019"]
    assert surer[weighed.index].mean() > 0.9
    project = pd.read_csv(study / "results/project.csv").set_index(["quantity", "first_year", "last_year"])
    assert project.loc[("agb_mg_ha", 2019, 2019), "sum_of_stands"] == pytest.approx((reported * stands["area_ha"]).sum())


def again(folder, content: dict) -> None:
    """Stands and totals of a study made anew in this process from its maps and models."""
    chain.one_thread()
    chain.tables(Plan(study_from(content)))


def test_purposive_plots_leave_the_model_alone_and_the_reason_in_the_table(study):
    for path in ("plots.parquet", "training/agb.parquet"):
        table = store.read_table(study / "resources" / path)
        store.write_table(study / "resources" / path, table.assign(sampling="purposive"))
    again(study, read_study(study))
    totals = totals_of(study)
    refused = totals[totals["mean"].isna()]
    assert set(refused["estimator"]) == DESIGN
    of_model = totals[totals["mean"].notna()]
    assert set(of_model["estimator"]) == {"model-based synthetic", "bhf_eblup"}
    assert of_model.loc[of_model["estimator"] == "bhf_eblup", "note"].str.contains("by the model").all()
    reason = "draws its error from the chance by which plots were selected, and these plots are purposive"
    assert refused["note"].str.startswith("refused: ").all() and refused["note"].str.contains(reason).all()
    assert set(totals.loc[totals["reported"], "estimator"]) == {"model-based synthetic"}
    ledger = pd.read_csv(study / "results/ledger.csv")
    assert ledger.loc[ledger["source"] == "plots", "note"].str.contains("not by the sampling design").all()


def test_a_stand_inventory_is_weighed_and_its_bias_taken_off(study):
    """A record that is 30 % too high, with a stated error of 10 %: plots in some twenty stands tell it."""
    file = study / "resources/planted/stands.gpkg"
    stands = gpd.read_file(file)
    known = store.read_table(study / "results/stands.parquet").set_index("stand")["reported_agb_mg_ha_2024"]
    stands["AGB_PLAN"] = 1.3 * known.loc[stands["stand"]].to_numpy() + 20
    stands.to_file(file, driver="GPKG")
    content = read_study(study)
    content["stands"]["records"] = {"plan": {"target": "agb", "column": "AGB_PLAN", "year": 2024, "error_percent": 10}}
    again(study, content)
    ledger = pd.read_csv(study / "results/ledger.csv").query("first_year == 2024")
    assert set(ledger["source"]) == {"plots", "plan", "map"}
    assert ledger["stand"].nunique() == len(stands)  # a record speaks where no plot is, too
    assert (ledger.loc[ledger["source"] == "plan", "bias_removed"] > 20).all()
    table = store.read_table(study / "results/stands.parquet")
    assert table["reported_agb_mg_ha_estimator_2024"].str.contains("plan").any()
    assert np.allclose(table["record_plan"], 1.3 * known.loc[table["stand"]].to_numpy() + 20)
