"""Every kind of finding: it is found where it was planted, named with its row, and its rule is carried out and counted."""

from __future__ import annotations

import logging
import time

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from catalogs import tables
from catalogs.plots import Findings, read_height_pairs, read_plots, read_trees
from catalogs.plots.findings import KINDS, rules_from
from pipeline.config import Plots

UTM = "EPSG:32650"


def forest(n_plots: int = 4, per_plot: int = 30, *, years=(2014, 2019), seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plots and trees without a fault: heights 1.3 + 30 exp(-12 / D) within 5 %, growth 0.2 to 0.6 cm a year, form 0.45."""
    rng = np.random.default_rng(seed)
    plots = pd.DataFrame({"plot": [f"P{i + 1}" for i in range(n_plots)], "x": 500_000.0 + 100 * np.arange(n_plots), "y": 3e6})
    plots = pd.concat([plots.assign(date=f"{year}-07-15", area_ha=0.05) for year in years], ignore_index=True)
    count = n_plots * per_plot
    first = pd.DataFrame(
        {
            "plot": np.repeat([f"P{i + 1}" for i in range(n_plots)], per_plot),
            "tree": np.tile(np.arange(1, per_plot + 1), n_plots),
            "species": np.where(np.arange(count) % 3 == 0, "Schima superba", "Pinus massoniana"),
            "dbh_cm": rng.uniform(10, 45, count).round(1),
        }
    )
    growth = rng.uniform(0.2, 0.6, count)
    trees = pd.concat(
        [
            first.assign(date=f"{year}-07-15", dbh_cm=(first["dbh_cm"] + growth * (year - years[0])).round(1))
            for year in years
        ],
        ignore_index=True,
    )
    trees["height_m"] = ((1.3 + 30 * np.exp(-12 / trees["dbh_cm"])) * rng.uniform(0.95, 1.05, len(trees))).round(1)
    trees["volume_m3"] = 0.45 * np.pi / 4 * (trees["dbh_cm"] / 100) ** 2 * trees["height_m"]
    return plots, trees


@pytest.fixture
def look(tmp_path):
    """Writes tables and reads them as a run does: look(plots, trees, rules=...) -> plots, trees, findings."""

    def look(plots: pd.DataFrame, trees: pd.DataFrame | None = None, *, stops: bool = True, **settings):
        plots.to_csv(tmp_path / "plots.csv", index=False)
        given = {"file": str(tmp_path / "plots.csv"), "crs": UTM, **settings}
        if trees is not None:
            trees.to_csv(tmp_path / "trees.csv", index=False)
            given["trees"] = str(tmp_path / "trees.csv")
        plain = Plots(**given).model_dump(mode="json")
        findings = Findings(plain["rules"], stops=stops)
        found = read_plots(plain, crs=UTM, findings=findings)
        return found, read_trees(plain, plots=found, findings=findings) if trees is not None else None, findings

    return look


def rows_of(findings: Findings, kind: str) -> list[int]:
    return [int(row) for one in findings.found if one.kind == kind for row in one.rows]


def planted(trees: pd.DataFrame, at: int, **values) -> pd.DataFrame:
    """The trees with other values in one row; row number of a spreadsheet: at + 2."""
    trees = trees.copy()
    for column, value in values.items():
        if not isinstance(value, int | float):
            trees[column] = trees[column].astype(object) if column in trees else ""
        trees.loc[at, column] = value
    return trees


def test_a_forest_without_a_fault_gives_no_finding(look):
    _, trees, findings = look(*forest())
    assert findings.found == []
    assert (trees["status"] == "live").all()


@pytest.mark.parametrize(
    ("kind", "at", "values"),
    [
        ("dbh_impossible", 5, {"dbh_cm": 0.0}),
        ("dbh_missing", 5, {"dbh_cm": np.nan}),
        ("dbh_too_large", 5, {"dbh_cm": 450.0}),
        ("height_impossible", 5, {"height_m": 180.0}),
        ("height_outlier", 5, {"height_m": 2.0, "volume_m3": np.nan}),
        ("number_unreadable", 5, {"dbh_cm": "2o.5"}),
        ("status_unknown", 5, {"status": "felled?"}),
        ("species_missing", 5, {"species": None}),
        ("species_misspelt", 5, {"species": "Pinus masoniana"}),
        ("plot_unknown", 5, {"plot": "P99"}),
        ("plot_missing", 5, {"plot": None}),
        ("visit_unknown", 5, {"date": "2016-07-15"}),
        ("date_unreadable", 5, {"date": "15.7.19"}),
        ("date_missing", 5, {"date": None}),
        ("volume_contradiction", 5, {"volume_m3": 9.0}),
        ("dbh_shrinks", 125, {"dbh_cm": 5.0, "height_m": np.nan, "volume_m3": np.nan}),
        ("dbh_jumps", 125, {"dbh_cm": 90.0, "height_m": np.nan, "volume_m3": np.nan}),
        ("species_changes", 125, {"species": "Quercus fabri"}),
        ("tree_appears_large", 125, {"tree": 777, "dbh_cm": 60.0, "height_m": np.nan, "volume_m3": np.nan}),
    ],
)
def test_a_planted_fault_is_found_in_its_row_and_nowhere_else(look, kind, at, values):
    plots, trees = forest()
    _, _, findings = look(plots, planted(trees, at, **values), stops=False)
    assert rows_of(findings, kind) == [at + 2]


def test_a_row_below_blank_rows_keeps_its_number(look, tmp_path):
    plots, trees = forest()
    blank = pd.DataFrame([{}] * 3).reindex(columns=trees.columns)
    _, _, findings = look(plots, pd.concat([blank, planted(trees, 5, dbh_cm=-1.0)]), stops=False)
    assert rows_of(findings, "dbh_impossible") == [10]


def test_a_commercial_volume_above_the_volume_is_a_contradiction(look):
    plots, trees = forest()
    trees["merch"] = trees["volume_m3"] * 0.8
    _, _, findings = look(
        plots, planted(trees, 7, merch=5.0), tree_columns={"commercial_volume_m3": "merch"}
    )
    assert rows_of(findings, "volume_contradiction") == [9]


@pytest.mark.parametrize(
    ("kind", "change", "settings"),
    [
        ("dbh_unit", {"dbh_cm": 10}, {"max_dbh_cm": 5000}),
        ("height_unit", {"height_m": 3.28084}, {}),
        ("height_unit", {"dbh_cm": 1 / 2.54}, {}),
        ("volume_unit", {"volume_m3": 1000}, {}),
    ],
    ids=["dbh_mm", "height_ft", "dbh_inch", "volume_dm3"],
)
def test_a_wrong_unit_is_suspected_and_the_right_one_silences_it(look, kind, change, settings):
    plots, trees = forest()
    for column, factor in change.items():
        trees[column] *= factor
    _, _, findings = look(plots, trees, stops=False, **settings)
    assert kind in {one.kind for one in findings.found}
    right = {("dbh_cm", 10): "mm", ("height_m", 3.28084): "ft", ("dbh_cm", 1 / 2.54): "inch", ("volume_m3", 1000): "dm3"}
    unit = {column: right[column, factor] for column, factor in change.items()}
    _, _, findings = look(plots, trees, tree_units=unit)
    assert findings.found == []


def test_a_repeated_row_is_left_out_and_a_repeated_number_is_only_said(look):
    plots, trees = forest(years=(2019,))
    doubled = pd.concat([trees, trees.iloc[[3]], trees.iloc[[4]].assign(dbh_cm=20.0, height_m=np.nan)])
    _, found, findings = look(plots, doubled)
    assert rows_of(findings, "row_repeated") == [122]
    assert rows_of(findings, "tree_repeated") == [6, 123]
    assert (found["status"] == "left_out").sum() == 1
    assert (found["status"] == "live").sum() == 121


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("rule", "live", "visits"), [("keep", 240, 0), ("leave_out", 239, 0), ("leave_out_plot", 210, 1)]
)
def test_a_rule_decides_what_is_left_out_and_says_so(look, caplog, rule, live, visits):
    plots, trees = forest()
    with caplog.at_level(logging.WARNING):
        _, found, findings = look(plots, planted(trees, 5, dbh_cm=450.0, height_m=np.nan), rules={"dbh_too_large": rule})
    assert (found["status"] == "live").sum() == live
    assert len(findings.visits) == visits
    assert "dbh is above max_dbh_cm 400 in row 7" in caplog.text
    assert ("left out" in caplog.text) == (rule != "keep")


def test_leaving_out_an_odd_height_keeps_its_tree(look):
    plots, trees = forest()
    _, found, _ = look(plots, planted(trees, 5, height_m=2.0, volume_m3=np.nan), rules={"height_outlier": "leave_out"})
    assert found.loc[found["row"] == 7, "height_m"].isna().all()
    assert (found["status"] == "live").all()


def test_the_run_stops_at_a_fault_and_counts_the_other_kinds(look):
    plots, trees = forest()
    bad = planted(planted(trees, 5, dbh_cm=-1.0), 8, height_m=999.0)
    with pytest.raises(ValueError, match=r"dbh is zero or below in row 7; 1 more kind of mistake, see `python -m pipeline"):
        look(plots, bad)


def test_an_unreadable_dbh_that_may_be_left_out_leaves_its_tree_out(look):
    plots, trees = forest()
    _, found, _ = look(plots, planted(trees, 5, dbh_cm="2o.5"), rules={"number_unreadable": "leave_out"})
    assert found.loc[found["row"] == 7, "status"].tolist() == ["left_out"]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"dbh_outliar": "keep"}, r"plots\.rules\.dbh_outliar is not a kind of finding \(did you mean"),
        ({"dbh_missing": "keep"}, "'keep' cannot be done with a live tree without dbh; choose fail or leave_out"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rules, sentence):
    with pytest.raises(ValueError, match=sentence):
        rules_from(rules)


def test_every_kinds_default_is_one_of_its_rules():
    assert all(about.default in about.rules for about in KINDS.values())


# ---------------------------------------------------------------- plots


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("position_missing", {"x": np.nan}),
        ("coordinates_swapped", {"x": 3e6, "y": 500_100.0}),
        ("size_missing", {"area_ha": np.nan}),
        ("value_negative", {"agb_mg_ha": -5.0}),
        ("totals_contradict", {"volume_m3_ha": 0.0}),
        ("totals_contradict", {"agb_mg_ha": 900.0}),
        ("totals_contradict", {"stems_n_ha": 1.0, "basal_area_m2_ha": 90.0, "volume_m3_ha": 900.0, "agb_mg_ha": 500.0}),
    ],
)
def test_a_plot_with_a_fault_is_found_in_its_row(look, kind, change):
    plots, _ = forest(years=(2019,))
    plots = plots.assign(agb_mg_ha=120.0, volume_m3_ha=200.0, basal_area_m2_ha=25.0, stems_n_ha=800.0)
    for column, value in change.items():
        plots.loc[1, column] = value
    _, _, findings = look(plots, stops=False)
    assert set(rows_of(findings, kind)) == {3}


def test_longitude_and_latitude_exchanged_are_said_to_be(look):
    plots, _ = forest(years=(2019,))
    plots["x"], plots["y"] = 27.1, 117.0 + 0.001 * np.arange(4)
    with pytest.raises(ValueError, match=r"look exchanged .*: give plots.columns x the column of eastings or longitudes"):
        look(plots, crs="EPSG:4326")


def test_two_plots_at_one_place_and_one_plot_at_two_are_named(look):
    plots, _ = forest()
    plots.loc[1, "x"] = plots.loc[0, "x"]
    _, _, findings = look(plots)
    assert rows_of(findings, "position_repeated") == [2, 3, 6]
    assert [one.rows for one in findings.found if one.kind == "plot_moved"] == [("P2",)]


def test_plots_without_position_stay_in_the_table_where_the_rule_allows(look):
    plots, _ = forest(years=(2019,))
    found, _, _ = look(plots.drop(columns=["x", "y"]), rules={"position_missing": "leave_out"}, crs=None)
    assert found["left_out"].tolist() == ["a plot without position"] * 4
    assert found.geometry.isna().all()
    assert found["area_ha"].tolist() == [0.05] * 4


def test_a_dated_visit_without_trees_can_be_left_out_instead_of_empty(look):
    plots, trees = forest()
    _, found, findings = look(
        plots, trees[~((trees["plot"] == "P2") & (trees["date"] == "2019-07-15"))], rules={"visit_without_trees": "leave_out"}
    )
    assert list(findings.visits) == [("P2", pd.Timestamp("2019-07-15"))]
    assert not (found["status"] == "none").any()


def test_a_hundred_thousand_trees_are_read_and_checked_in_seconds(look):
    plots, trees = forest(n_plots=500, per_plot=100)
    start = time.process_time()
    _, found, findings = look(plots, trees)
    assert len(found) == 100_000
    assert [one for one in findings.found if one.kind != "plot_moved"] == []
    assert time.process_time() - start < 20  # 4 s on an idle core


# ---------------------------------------------------------------- text tables as others write them


@pytest.fixture
def table(tmp_path):
    def table(content: str, name: str = "table.csv") -> pd.DataFrame:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tables.read_table(tmp_path / name)

    return table


def test_separators_at_the_end_of_rows_shift_no_column(table):
    found = table("plot,tree,dbh_cm\nA,1,22.5,\nA,2,30.1,,\n")
    assert found.to_dict("list") == {"plot": ["A", "A"], "tree": [1, 2], "dbh_cm": [22.5, 30.1]}
    assert list(found.index) == [2, 3]


def test_a_text_beyond_the_last_named_column_is_refused_with_its_row(table):
    with pytest.raises(ValueError, match="the header names 3 columns, and there is more in row 4"):
        table("plot,tree,dbh_cm\nA,1,22.5\n\nA,2,30,1\n")


@pytest.mark.parametrize(("mark", "name"), [(";", "table.csv"), ("\t", "table.txt")])
def test_european_tables_are_known_by_their_header(table, mark, name):
    found = table("plot,tree,dbh_cm\nA,1,22:5\nA,2,30\n".replace(",", mark).replace(":", ","), name)
    assert found["dbh_cm"].tolist() == [22.5, 30.0]


def test_true_and_infinity_are_no_numbers():
    column = pd.Series([True, 12.5, float("inf"), None], index=[2, 3, 4, 5], name="dbh_cm", dtype=object)
    with pytest.raises(ValueError, match="dbh_cm is not a number in rows 2 and 4, such as 'True'"):
        tables.numbers(column, file="trees.xlsx")
    told = []
    values = tables.numbers(column, file="trees.xlsx", refuse=lambda kind, wrong, what: told.append((kind, list(wrong))))
    assert told == [("number_unreadable", [True, False, True, False])]
    assert values.isna().tolist() == [True, False, True, True]


# ---------------------------------------------------------------- what no forest holds


def test_a_wood_density_in_kilograms_is_named_with_the_unit_that_would_do(look):
    plots, trees = forest()
    with pytest.raises(ValueError, match=r"not within 0.05 to 1.5 g/cm3 in row 6, such as 450.*kg/m3"):
        look(plots, planted(trees.assign(wood_density_g_cm3=0.45), 4, wood_density_g_cm3=450.0))
    _, read, _ = look(plots, trees.assign(wood_density_g_cm3=450.0), tree_units={"wood_density_g_cm3": "kg/m3"})
    assert read["wood_density_g_cm3"].unique() == pytest.approx([0.45])
    _, read, _ = look(
        plots, planted(trees.assign(wood_density_g_cm3=0.45), 4, wood_density_g_cm3=0.0),
        rules={"wood_density_impossible": "leave_out"},
    )  # fmt: skip
    assert read["wood_density_g_cm3"].isna().sum() == 1 and (read["status"] == "live").all()


@pytest.mark.parametrize(
    ("column", "value"), [("agb_mg_ha", 230_000), ("volume_m3_ha", 6000), ("basal_area_m2_ha", 400), ("stems_n_ha", 2e6)]
)
def test_a_total_beyond_any_forest_stops_the_run_unless_it_may_be_kept(look, column, value):
    plots = forest()[0].iloc[:4].assign(**{column: [value, 20.0, 20.0, 20.0]})
    with pytest.raises(ValueError, match=f"{column} of plot P1 is above .*row 2"):
        look(plots)
    kept, *_ = look(plots, rules={"total_impossible": "keep"})
    assert (kept["left_out"] == "").all()
    left, *_ = look(plots, rules={"total_impossible": "leave_out"})
    assert left.loc[left["left_out"] != "", "plot"].tolist() == ["P1"]


@pytest.mark.parametrize("column", ["x", "radius_m"])
def test_an_infinite_place_or_radius_is_named_with_its_row(look, column):
    plots = forest()[0].drop(columns="area_ha").assign(radius_m=12.62).astype({column: object})
    plots.loc[2, column] = "inf"
    with pytest.raises(ValueError, match=f"{column} is not a number in row 4, such as 'inf'"):
        look(plots)


@pytest.mark.parametrize("column", ["x", "radius_m"])
def test_a_place_beyond_the_earth_and_an_endless_radius_are_named_with_their_row(look, column):
    plots = forest()[0].drop(columns="area_ha").assign(radius_m=12.62)
    plots.loc[2, column] = 1e308
    with pytest.raises(ValueError, match=rf"{column} is above .* in row 4, such as 1e\+308"):
        look(plots)


# ---------------------------------------------------------------- plots that nobody measured


def test_plots_that_nobody_measured_are_left_out_and_those_without_forest_are_empty(look, caplog):
    plots, trees = forest(years=(2019,))
    plots = plots.assign(PLOT_STATUS_CD=[1, 1, 2, 3])
    plots.loc[3, ["x", "area_ha"]] = np.nan  # nobody was there: nothing else is asked of it
    trees = trees[trees["plot"].isin(["P1", "P2"])]
    status = {"1": "measured", "2": "no_forest", "3": "not_measured"}
    with caplog.at_level(logging.WARNING):
        read, listed, findings = look(plots, trees, columns={"plot_status": "PLOT_STATUS_CD"}, plot_status_codes=status)
    assert read["left_out"].tolist() == ["", "", "", KINDS["plot_not_measured"].title]
    assert listed.loc[listed["status"] == "none", "plot"].tolist() == ["P3"]
    assert [one.kind for one in findings.found] == ["plot_not_measured"]
    assert "nobody measured the plot in row 5: left out: the plot" in caplog.text
    with pytest.raises(ValueError, match="plot status '3' in row 5 is not known"):
        look(plots, trees, columns={"plot_status": "PLOT_STATUS_CD"}, plot_status_codes={1: "measured", 2: "no_forest"})


# ---------------------------------------------------------------- trees


def test_stems_of_one_stool_under_one_number_are_no_repeated_row(look):
    plots, trees = forest()
    trees = trees.assign(azimuth_deg=np.arange(len(trees)) % 360.0)
    stems = pd.concat([trees, trees.iloc[[4]].assign(azimuth_deg=200.0), trees.iloc[[7]]], ignore_index=True)
    _, _, findings = look(plots, stems)
    assert rows_of(findings, "row_repeated") == [len(trees) + 3]
    assert rows_of(findings, "tree_repeated") == [6, len(trees) + 2]


def test_trees_below_the_least_dbh_are_counted_and_said(look, caplog):
    plots, trees = forest()
    with caplog.at_level(logging.WARNING):
        *_, findings = look(plots, planted(trees, 3, dbh_cm=4.0, height_m=None), min_dbh_cm=5)
    assert rows_of(findings, "tree_small") == [5]
    assert f"1 of {len(trees)} trees are below min_dbh_cm 5 cm and do not count: row 5" in caplog.text


def test_expansion_factors_per_acre_that_are_taken_per_hectare_are_suspected(look):
    plots, trees = forest()
    per_acre = trees.assign(trees_per_ha=20 * 0.40468564224)  # 0.05 ha: 20 trees per hectare
    *_, findings = look(plots, per_acre)
    assert [one.kind for one in findings.found] == ["expansion_contradiction"]
    assert "{trees_per_ha: 1/acre} would do" in findings.found[0].what
    *_, findings = look(plots, per_acre, tree_units={"trees_per_ha": "1/acre"})
    assert findings.found == []


@pytest.mark.parametrize(
    ("written", "read"),
    [("pinus massoniana", "Pinus massoniana"), ("acacia mangium Willd.", "Acacia mangium"), ("red oak", "red oak"),
     ("sugar maple", "sugar maple"), ("quercus robur", "Quercus robur"), ("Pinus taeda", "Pinus taeda")],
)  # fmt: skip
def test_a_genus_in_small_letters_gets_its_capital_and_local_names_stay(look, written, read):
    plots, trees = forest()
    _, found, _ = look(plots, trees.assign(species=written))
    assert found["species"].unique().tolist() == [read]


def test_a_layer_of_points_and_polygons_is_read(tmp_path):
    square = shapely.box(500_100, 2_999_000, 500_120, 2_999_020)
    gpd.GeoDataFrame(
        {"plot": ["A", "B"], "date": "2019-07-15", "area_ha": [0.05, 0.04]}, geometry=[shapely.Point(500_000, 2_999_000), square],
        crs=UTM,
    ).to_file(tmp_path / "plots.gpkg")  # fmt: skip
    read = read_plots(Plots(file=str(tmp_path / "plots.gpkg")).model_dump(mode="json"), crs=UTM)
    assert read.geometry.area.tolist() == pytest.approx([500.0, 400.0])


# ---------------------------------------------------------------- what passed by before


def test_a_dbh_with_its_decimal_point_slipped_is_named_in_its_species(look):
    plots, trees = forest(years=(2019,))
    trees["dbh_cm"] = trees["dbh_cm"].clip(upper=29)
    trees["height_m"] = np.nan
    _, _, findings = look(plots, planted(trees, 30, dbh_cm=158.0))  # row 32 is a Schima, of which there are 40
    assert rows_of(findings, "dbh_outlier") == [32]
    _, found, findings = look(plots, planted(trees, 30, dbh_cm=158.0), rules={"dbh_outlier": "leave_out"})
    assert found.loc[found["row"] == 32, "status"].tolist() == ["left_out"]
    _, _, findings = look(plots, planted(trees, 30, dbh_cm=48.0))
    assert rows_of(findings, "dbh_outlier") == []


def test_heights_in_feet_stop_a_run_unless_one_says_keep(look):
    plots, trees = forest()
    trees["height_m"] = (trees["height_m"] / 0.3048).round(1)
    trees = trees.drop(columns="volume_m3")
    with pytest.raises(ValueError, match=r"too tall for their dbh: .*\{height_m: ft\}"):
        look(plots, trees)
    look(plots, trees, rules={"height_unit": "keep"})


def test_height_pairs_in_another_unit_are_seen(tmp_path):
    dbh = np.tile(np.arange(8.0, 28.0), 2)
    file = tmp_path / "pairs.csv"
    pd.DataFrame({"dbh_cm": dbh, "height_m": (5 + 0.35 * (dbh - 8)) * 10}).to_csv(file, index=False)
    settings = Plots(file="plots.csv", height_pairs=str(file)).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"too tall for their dbh: .*plots\.height_units of \{height_m: dm\}"):
        read_height_pairs(settings)
    pairs = read_height_pairs({**settings, "height_units": {"height_m": "dm"}})
    assert pairs["height_m"].max() == pytest.approx(5 + 0.35 * 19)


def test_a_plot_left_out_for_its_position_still_counts_as_empty(look):
    plots, trees = forest(years=(2019,))
    plots = pd.concat([plots, pd.DataFrame({"plot": ["P5", "P6"], "date": "2019-07-15", "area_ha": 0.05})])
    plots["plot_status"] = ["measured"] * 5 + ["not_measured"]
    _, listed, findings = look(plots, trees, rules={"position_missing": "leave_out"})
    assert listed.loc[listed["status"] == "none", "plot"].tolist() == ["P5"]
    assert [one.rows for one in findings.found if one.kind == "visit_without_trees"] == [("P5",)]


def test_a_plot_that_vanishes_from_a_list_dated_by_its_trees_is_named(look):
    plots, trees = forest()
    plots = plots.drop(columns="date").drop_duplicates("plot")
    trees = trees[~((trees["plot"] == "P2") & (trees["date"] == "2019-07-15"))]
    _, _, findings = look(plots, trees)
    assert [one.rows for one in findings.found if one.kind == "visit_not_listed"] == [("P2",)]
    # plots that began in another year are another panel, not expected in the years of the first
    trees["date"] = trees["date"].where(trees["plot"] != "P2", "2015-07-15")
    _, _, findings = look(plots, trees)
    assert "visit_not_listed" not in {one.kind for one in findings.found}


def test_a_plot_that_vanishes_from_the_one_list_of_trees_is_named(tmp_path):
    plots, trees = forest()
    trees = trees.merge(plots.drop_duplicates("plot")[["plot", "x", "y", "area_ha"]], on="plot")
    trees = trees[~((trees["plot"] == "P2") & (trees["date"] == "2019-07-15"))]
    trees.to_csv(tmp_path / "list.csv", index=False)
    one = str(tmp_path / "list.csv")
    settings = Plots(file=one, trees=one, crs=UTM).model_dump(mode="json")
    findings = Findings(settings["rules"])
    read_plots(settings, crs=UTM, findings=findings)
    assert [one.rows for one in findings.found if one.kind == "visit_not_listed"] == [("P2",)]


def test_a_plot_without_trees_counts_as_empty_where_the_settings_date_all_plots(look):
    plots, trees = forest(years=(2019,))
    plots, trees = plots.drop(columns="date"), trees[trees["plot"] != "P2"].drop(columns="date")
    _, listed, _ = look(plots, trees, date="2019-07-15")
    assert listed.loc[listed["status"] == "none", "plot"].tolist() == ["P2"]


def test_a_plot_felled_between_dates_in_columns_counts_as_empty_at_the_second(look):
    plots, trees = forest(n_plots=2, years=(2014,))
    trees = trees.drop(columns=["date", "volume_m3", "height_m"]).rename(columns={"dbh_cm": "D14"})
    trees["D19"] = (trees["D14"] + 2).where(trees["plot"] == "P1")
    visits = [{"date": 2014, "columns": {"dbh_cm": "D14"}}, {"date": 2019, "columns": {"dbh_cm": "D19"}}]
    found, listed, findings = look(plots.drop(columns="date"), trees, tree_visits=visits)
    assert found.groupby("plot").size().tolist() == [2, 2]
    assert listed.loc[listed["status"] == "none", ["plot", "date"]].to_numpy().tolist() == [["P2", pd.Timestamp("2019-07-01")]]
    assert len(rows_of(findings, "tree_vanishes")) == 30


@pytest.mark.parametrize("status", ["no_forest", "not_measured"])
def test_trees_of_a_plot_said_to_have_none_are_a_contradiction(look, status):
    plots, trees = forest(years=(2019,))
    plots["plot_status"] = ["measured", status, "measured", "measured"]
    _, _, findings = look(plots, trees)
    assert [one.rows for one in findings.found if one.kind == "status_contradiction"] == [("P2",)]
    _, listed, _ = look(plots, trees, rules={"status_contradiction": "leave_out"})
    assert "P2" not in set(listed["plot"])


def test_a_tree_without_dbh_is_no_mistake_where_its_equation_asks_for_none(look, tmp_path):
    plots, trees = forest(years=(2019,))
    palm = {"plot": "P1", "tree": 99, "species": "Trachycarpus fortunei", "date": "2019-07-15", "height_m": 6.0}
    forgotten = {**palm, "tree": 98, "species": "Pinus massoniana"}
    trees = pd.concat([trees.drop(columns="volume_m3"), pd.DataFrame([palm, forgotten])], ignore_index=True)
    look(plots, trees.iloc[:-1], rules={"dbh_missing": "leave_out"})
    settings = Plots(file=str(tmp_path / "plots.csv"), trees=str(tmp_path / "trees.csv"), crs=UTM).model_dump(mode="json")
    found = read_plots(settings, crs=UTM)

    def palms(listed: pd.DataFrame) -> np.ndarray:
        return (listed["genus"] == "Trachycarpus").to_numpy()

    listed = read_trees(settings, plots=found, without_dbh=palms)
    one = listed[listed["genus"] == "Trachycarpus"].iloc[0]
    assert one["status"] == "live" and np.isnan(one["dbh_cm"]) and one["trees_per_ha"] == pytest.approx(20)
    trees.to_csv(tmp_path / "trees.csv", index=False)
    with pytest.raises(ValueError, match="dbh is missing in row 123"):
        read_trees(settings, plots=found, without_dbh=palms)


def test_a_list_of_shrubs_needs_no_column_of_diameters(look, tmp_path):
    plots, _ = forest(years=(2019,))
    shrubs = pd.DataFrame({"plot": "P1", "date": "2019-07-15", "species": "", "cover_percent": [40.0, np.nan]})
    look(plots, shrubs, rules={"dbh_missing": "leave_out", "species_missing": "keep"})
    settings = Plots(file=str(tmp_path / "plots.csv"), trees=str(tmp_path / "trees.csv"), crs=UTM).model_dump(mode="json")
    listed = read_trees(settings, plots=read_plots(settings, crs=UTM), without_dbh=lambda one: np.ones(len(one), bool))
    assert listed.loc[listed["plot"] == "P1", "status"].tolist() == ["live", "none"]


def test_one_latitude_that_is_none_is_named_with_its_row(look):
    plots, _ = forest(years=(2019,))
    plots = plots.assign(x=117.1 + np.arange(4) / 1000, y=[27.1, 27.1, 271.0, 27.1])
    with pytest.raises(ValueError, match=r"x and y are no longitude and latitude in row 4, such as 117\.102 and 271"):
        look(plots, crs="EPSG:4326")
    with pytest.raises(ValueError, match=r"plot P3 look exchanged \(row 4\)"):
        look(plots.assign(x=[117.1, 117.1, 27.1, 117.1], y=[27.1, 27.1, 117.1, 27.1]), crs="EPSG:4326")
