"""Plots and trees come in as foresters keep them, and what is wrong is said with its rows."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from catalogs import tables
from catalogs.plots import read_height_pairs, read_plots, read_trees
from pipeline.config import Plots

UTM = "EPSG:32650"
DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NOURAGUES = DATA / "nouragues-agb-chm"

needs_nouragues = pytest.mark.skipif(not NOURAGUES.exists(), reason="data set nouragues-agb-chm is absent")


def plot_table(n: int = 2, **columns) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "plot": [f"P{i + 1}" for i in range(n)],
            "date": "2019-07-15",
            "x": 500_000.0 + 100 * np.arange(n),
            "y": 3_000_000.0,
            "radius_m": 10.0,
        }
    )
    return frame.assign(**columns)


def tree_table(**columns) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "plot": ["P1", "P1", "P2"],
            "date": "2019-07-15",
            "tree": [1, 2, 1],
            "species": ["Schima superba", "Pinus massoniana", "Schima superba"],
            "dbh_cm": [12.0, 25.5, 30.0],
            "height_m": [9.0, np.nan, 21.0],
        }
    )
    return frame.assign(**columns)


@pytest.fixture
def study(tmp_path):
    """Writes tables and gives the settings that read them: study(plots, trees, crs=..., ...)."""

    def write(plots: pd.DataFrame, trees: pd.DataFrame | None = None, **settings) -> dict:
        plots.to_csv(tmp_path / "plots.csv", index=False)
        settings = {"file": str(tmp_path / "plots.csv"), "crs": UTM, **settings}
        if trees is not None:
            trees.to_csv(tmp_path / "trees.csv", index=False)
            settings["trees"] = str(tmp_path / "trees.csv")
        return Plots(**settings).model_dump(mode="json")

    return write


def corner_table(**columns) -> pd.DataFrame:
    """One plot of 100 m, turned by 30 degrees; its site frame begins at (0, 300)."""
    site = np.array([[0, 300], [100, 300], [100, 400], [0, 400]], dtype=float)
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    x = 500_000 + cos * site[:, 0] - sin * (site[:, 1] - 300)
    y = 3_000_000 + sin * site[:, 0] + cos * (site[:, 1] - 300)
    return pd.DataFrame({"plot": "A", "x_site_m": site[:, 0], "y_site_m": site[:, 1], "x": x, "y": y}).assign(**columns)


@pytest.fixture
def corner_study(tmp_path):
    def write(corners: pd.DataFrame, trees: pd.DataFrame, **settings) -> dict:
        corners.to_csv(tmp_path / "corners.csv", index=False)
        trees.to_csv(tmp_path / "trees.csv", index=False)
        given = {
            "corners": str(tmp_path / "corners.csv"),
            "trees": str(tmp_path / "trees.csv"),
            "crs": UTM,
            "date": 2019,
        }
        return Plots(**{**given, **settings}).model_dump(mode="json")

    return write


# ---------------------------------------------------------------- plots


def test_a_round_plot_has_the_area_of_its_circle(study):
    plots = read_plots(study(plot_table(n=1)), crs=UTM)
    assert plots.area.iloc[0] == pytest.approx(np.pi * 100, rel=1e-9)
    assert plots["area_ha"].iloc[0] == pytest.approx(np.pi / 100)
    assert plots.geometry.iloc[0].centroid.x == pytest.approx(500_000)


def test_columns_of_other_names_are_read_by_the_map(study):
    theirs = {"plot": "Parcelle", "date": "Jour", "x": "Est", "y": "Nord", "radius_m": "Rayon"}
    settings = study(plot_table().rename(columns=theirs), columns=theirs)
    assert list(read_plots(settings, crs=UTM)["plot"]) == ["P1", "P2"]


def test_longitudes_and_latitudes_are_reprojected(study):
    longitude, latitude = Transformer.from_crs(UTM, 4326, always_xy=True).transform(500_000.0, 3_000_000.0)
    plots = read_plots(study(plot_table(n=1, x=longitude, y=latitude), crs="EPSG:4326"), crs=UTM)
    assert plots.geometry.iloc[0].centroid.y == pytest.approx(3_000_000, abs=0.01)


def test_plots_laid_on_purpose_beside_a_sample_are_told_by_the_table(study):
    plots = read_plots(study(plot_table(sampling=["probability", "purposive"]), sampling="probability"), crs=UTM)
    assert list(plots["sampling"]) == ["probability", "purposive"]
    plots = read_plots(study(plot_table(sampling=["probability", None]), sampling="purposive"), crs=UTM)
    assert list(plots["sampling"]) == ["probability", "purposive"]  # a table's own word wins


def test_a_word_that_no_sampling_is_called_by_is_refused(study):
    settings = study(plot_table(sampling=["probability", "systematic"]), sampling="probability")
    with pytest.raises(ValueError, match=r"sampling 'systematic' in row 3 is none of probability, purposive"):
        read_plots(settings, crs=UTM)


def test_a_plot_without_cluster_is_its_own(study):
    plots = read_plots(study(plot_table(cluster=["K", None])), crs=UTM)
    assert list(plots["cluster"]) == ["K", "P2"]


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet", ".gpkg"])
def test_other_formats_give_the_same_plots(study, tmp_path, suffix):
    frame = plot_table()
    expected = read_plots(study(frame), crs=UTM)
    file = tmp_path / f"plots{suffix}"
    if suffix == ".gpkg":
        shapes = gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(frame["x"], frame["y"]))
        with pytest.warns(UserWarning, match="crs"):
            shapes.drop(columns=["x", "y"]).to_file(file)
    else:
        getattr(frame, {".xlsx": "to_excel", ".parquet": "to_parquet"}[suffix])(file, index=False)
    found = read_plots(Plots(file=str(file), crs=UTM).model_dump(mode="json"), crs=UTM)
    assert list(found["plot"]) == list(expected["plot"])
    assert found["area_ha"].to_numpy() == pytest.approx(expected["area_ha"].to_numpy())
    assert found.geometry.iloc[1].centroid.x == pytest.approx(500_100)


@pytest.mark.parametrize(
    ("plots", "settings", "sentence"),
    [
        (plot_table(n=0), {}, "holds no rows"),
        (plot_table(y=[np.nan, 3e6]), {}, "plot P1 without position"),
        (plot_table(plot="P1", x=500_000), {}, "plot P1 is listed more than once for 2019-07-15"),
        (plot_table(date=["2019-07-15", "15.7.19"]), {}, "date is not a date in row 3, such as '15.7.19'"),
        (plot_table(date=[None, "2019-07-15"]), {}, "no date of measurement for plot P1"),
        (plot_table(radius_m=[np.nan, 10]), {}, "no size for plot P1"),
        (plot_table().rename(columns={"plot": "plotID"}), {}, "lacks the column 'plot' (did you mean 'plotID'?)"),
        (plot_table(), {"columns": {"date": "Date"}}, "no column 'Date' (plots.columns.date) (did you mean 'date'?)"),
        (plot_table(), {"crs": None}, "name their CRS in plots.crs"),
        (plot_table(x=117.1, y=26.5), {}, "x and y look like degrees, but plots.crs EPSG:32650 is projected"),
        (plot_table(agb_mg_ha=[100, -1]), {}, "agb_mg_ha is negative in row 3"),
        (plot_table(x=["500,100", "500100"]), {}, "such as '500,100'; is that a decimal comma or one of thousands?"),
    ],
    ids=[
        "no_plots", "no_position", "repeated", "unreadable_date", "no_date", "no_size", "misspelt_column",
        "misspelt_map", "no_crs", "degrees", "negative", "decimal_comma",
    ],
)  # fmt: skip
def test_plots_that_cannot_be_used_are_named(study, plots, settings, sentence):
    with pytest.raises(ValueError) as mistake:
        read_plots(study(plots, **settings), crs=UTM)
    assert sentence in str(mistake.value)


def test_an_absent_file_is_named(tmp_path):
    settings = Plots(file=str(tmp_path / "none.csv"), crs=UTM).model_dump(mode="json")
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        read_plots(settings, crs=UTM)


# ---------------------------------------------------------------- trees


def test_trees_belong_to_their_plot_and_date(study):
    settings = study(plot_table(), tree_table())
    trees = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert list(trees["plot"]) == ["P1", "P1", "P2"]
    assert trees["trees_per_ha"].to_numpy() == pytest.approx(100 / np.pi)
    assert trees["height_m"].isna().tolist() == [False, True, False]
    assert set(trees["status"]) == {"live"}


def test_plots_without_dates_take_those_of_their_trees(study):
    trees = pd.concat([tree_table(), tree_table(date="2024-07-15")])
    settings = study(plot_table().drop(columns="date"), trees)
    plots = read_plots(settings, crs=UTM)
    assert len(plots) == 4
    assert len(read_trees(settings, plots=plots)) == 6


def test_a_dated_visit_that_found_no_tree_is_empty_not_missing(study, caplog):
    settings = study(plot_table(n=3), tree_table())
    with caplog.at_level(logging.WARNING):
        trees = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert trees.loc[trees["plot"] == "P3", "status"].tolist() == ["none"]
    assert "count as empty: plot P3" in caplog.text


def test_a_point_of_an_earlier_phase_without_trees_is_unmeasured_not_empty(study, caplog):
    settings = study(plot_table(n=4).assign(phase=["2", "2", "1", "0"]), tree_table())
    with caplog.at_level(logging.WARNING):
        trees = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert set(trees["plot"]) == {"P1", "P2"} and "count as empty" not in caplog.text


def test_small_and_dead_trees_stay_listed_and_do_not_count(study):
    settings = study(plot_table(), tree_table(status=["live", "dead", "live"]), min_dbh_cm=15)
    trees = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert trees["status"].tolist() == ["small", "dead", "live"]


def test_genus_and_epithet_in_two_columns_make_a_species(study):
    trees = tree_table(genus=["Schima", "Pinus", "Indet.Theaceae"], species=["superba", "Pinus massoniana", "Indet."])
    settings = study(plot_table(), trees)
    found = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert found["species"].tolist() == ["Schima superba", "Pinus massoniana", "Indet.Theaceae Indet."]
    assert found["genus"].tolist() == ["Schima", "Pinus", ""]


@pytest.mark.parametrize(
    ("trees", "sentence"),
    [
        (tree_table(dbh_cm=[0, 25.5, -3]), "dbh is zero or below in rows 2 and 4"),
        (
            tree_table(dbh_cm=[120, 255, 1300]),
            "dbh is above max_dbh_cm 400 in row 4, up to 1300; the values look like millim",
        ),
        (tree_table(dbh_cm=[120, 255, 300]), "half of the trees have a dbh above 100"),
        (tree_table(dbh_cm=[12, np.nan, 30]), "dbh is missing in row 3"),
        (tree_table(height_m=[9, 210, 21]), "height is not within 0 to 130 m in row 3, such as 210"),
        (tree_table(plot=["P1", "P1", "P9"]), "plot P9 of row 4 is not in the plot table"),
        (tree_table(date=["2019-07-15", "2019-07-15", "2020-07-15"]), "the trees of row 4 have a date that their plot"),
        (tree_table(status=["live", "felled?", "live"]), "status 'felled?' in row 3 is neither live nor dead"),
        (tree_table(dbh_cm=["12", "25.5 cm", "30"]), "dbh_cm is not a number in row 3, such as '25.5 cm'"),
        (tree_table().rename(columns={"dbh_cm": "DBH"}), "lacks the column 'dbh_cm' (did you mean 'DBH'?)"),
    ],
    ids=["zero", "millimetres", "thick", "missing", "height", "plot", "date", "status", "text", "column"],
)
def test_trees_that_cannot_be_used_are_named_with_their_rows(study, trees, sentence):
    settings = study(plot_table(), trees)
    with pytest.raises(ValueError) as mistake:
        read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert sentence in str(mistake.value)


# ---------------------------------------------------------------- plots by corners


def corner_trees(x, y) -> pd.DataFrame:
    return pd.DataFrame({"plot": "A", "x_site_m": x, "y_site_m": y, "dbh_cm": 20.0, "species": "Schima superba"})


def test_corners_lay_square_subplots_on_the_map(corner_study):
    plots = read_plots(corner_study(corner_table(), corner_trees([1], [301]), subplot_m=25), crs=UTM)
    assert len(plots) == 16
    assert set(plots["cluster"]) == {"A"}
    assert plots["area_ha"].to_numpy() == pytest.approx(0.0625)
    assert plots.area.to_numpy() == pytest.approx(625)
    # the middle of sub-plot (0, 0) lies 12.5 m along both axes, which are turned by 30 degrees
    middle = plots.set_index("plot").geometry["A_0_0"].centroid
    assert middle.x - 500_000 == pytest.approx(12.5 * (np.cos(np.pi / 6) - np.sin(np.pi / 6)))
    assert middle.y - 3_000_000 == pytest.approx(12.5 * (np.cos(np.pi / 6) + np.sin(np.pi / 6)))


def test_trees_outside_the_corners_count_in_the_nearest_subplot(corner_study, caplog):
    settings = corner_study(corner_table(), corner_trees([-4.5, 25, 100], [310, 301, 404]), subplot_m=25)
    with caplog.at_level(logging.INFO):
        trees = read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert sorted(trees.loc[trees["status"] == "live", "plot"]) == ["A_0_0", "A_1_0", "A_3_3"]
    assert (trees["status"] == "none").sum() == 13  # the other subplots were looked at, and are empty
    assert "2 trees stand up to 4.5 m outside their plot's corners" in caplog.text


@pytest.mark.parametrize(
    ("corners", "trees", "settings", "sentence"),
    [
        (
            corner_table(),
            corner_trees([5], [5]),
            {"subplot_m": 25},
            "are x_site_m and y_site_m in the frame of the corn",
        ),
        (
            corner_table(),
            corner_trees([5], [305]),
            {"subplot_m": 30},
            "subplot_m 30 does not divide the 100 m side of plo",
        ),
        (corner_table(x_site_m=[100, 0, 100, 0]), corner_trees([5], [305]), {}, "look for exchanged corners"),
        (corner_table().iloc[:2], corner_trees([5], [305]), {}, "at least three corners are needed"),
        (corner_table(plot="B"), corner_trees([5], [305]), {"subplot_m": 25}, "plot A of row 2 is not in"),
    ],
    ids=["frame", "division", "exchanged", "two_corners", "unknown"],
)
def test_corners_that_cannot_be_used_are_named(corner_study, corners, trees, settings, sentence):
    settings = corner_study(corners, trees, **settings)
    with pytest.raises(ValueError) as mistake:
        read_trees(settings, plots=read_plots(settings, crs=UTM))
    assert sentence in str(mistake.value)


@needs_nouragues
def test_the_plots_of_nouragues_share_one_site_frame(caplog):
    settings = Plots(
        corners=str(NOURAGUES / "NouraguesCoords.csv"),
        columns={"plot": "Plot", "x_site_m": "Xfield", "y_site_m": "Yfield", "x": "Xutm", "y": "Yutm"},
        trees=str(NOURAGUES / "NouraguesTrees.csv"),
        tree_columns={
            "plot": "Plot", "x_site_m": "Xfield", "y_site_m": "Yfield", "genus": "Genus", "species": "Species",
            "dbh_cm": "D",
        },
        height_pairs=str(NOURAGUES / "NouraguesHD.csv"),
        height_columns={"plot": "plotId", "dbh_cm": "D", "height_m": "H"},
        crs="EPSG:32622", subplot_m=25, date=2012,
    ).model_dump(mode="json")  # fmt: skip
    with caplog.at_level(logging.INFO):
        plots = read_plots(settings, crs="EPSG:32622")
        trees = read_trees(settings, plots=plots)
    assert len(plots) == 64
    assert plots.area.to_numpy() == pytest.approx(625, rel=0.001)
    assert len(trees) == 2050
    assert "13 trees stand up to 4.5 m outside" in caplog.text
    # one tree of plot 213 is listed at (16.2, 20.0), which no reading of the frame puts inside the plot
    assert "the trees of row 1062 stand up to 180 m outside" in caplog.text
    assert len(read_height_pairs(settings)) == 1051 - 163


# ---------------------------------------------------------------- decimals and thousands


@pytest.fixture
def column(tmp_path):
    """Reads a column of numbers from a text whose columns are separated by semicolons, beside one that has a decimal comma."""

    def read(*written):
        rows = "\n".join(f"P{k};0,5;{one}" for k, one in enumerate(written))
        (tmp_path / "t.csv").write_text(f"plot;share;value\n{rows}\n", encoding="utf-8")
        frame = tables.read_table(tmp_path / "t.csv", text=("plot",))
        return tables.numbers(frame["value"], file="t.csv").tolist()

    return read


@pytest.mark.parametrize("written", [("1.250", "980"), ("1.250", "12,5"), ("1.250,5", "12,5")], ids=["alone", "beside", "both"])
def test_points_that_may_stand_between_thousands_are_asked_about(column, written):
    with pytest.raises(ValueError, match=r"value is not a number in row 2, such as '1\.250.*is that a thousand\?"):
        column(*written)


@pytest.mark.parametrize(
    ("written", "read"),
    [(("0.612", "0.450"), [0.612, 0.45]), (("12.5", "1.250"), [12.5, 1.25]), (("12,5", "7"), [12.5, 7.0]),
     (("12,5", "0.45"), [12.5, 0.45]), (("500100.123", "500200.456"), [500100.123, 500200.456])],
    ids=["below_one", "another_length", "commas", "both_marks", "long"],
)  # fmt: skip
def test_points_that_are_surely_decimal_ones_are_read(column, written, read):
    assert column(*written) == pytest.approx(read)


# ---------------------------------------------------------------- a sheet with its book


def test_a_sheet_may_be_named_with_its_book_as_the_sheets_verb_takes_it():
    plots = Plots(file="data/survey.xlsx:Plots 2019", trees="data/survey.xlsx:trees")
    assert (plots.file, plots.layer) == ("data/survey.xlsx", "Plots 2019")
    assert (plots.trees, plots.tree_layer) == ("data/survey.xlsx", "trees")
    with pytest.raises(ValueError, match="file names the sheet a and layer the sheet b; leave one of them out"):
        Plots(file="survey.xlsx:a", layer="b")


# ---------------------------------------------------------------- dates and numbers as people write them


@pytest.mark.parametrize(
    ("written", "order", "expected"),
    [
        (["01.07.2019", "15.12.2019"], None, ["2019-07-01", "2019-12-15"]),
        (["1/7/2019", "15/12/2019"], None, ["2019-07-01", "2019-12-15"]),
        (["7/1/2019", "12/15/2019"], None, ["2019-07-01", "2019-12-15"]),
        (["1/7/2019", "2/8/2019"], "day_first", ["2019-07-01", "2019-08-02"]),
        (["1/7/2019", "2/8/2019"], "month_first", ["2019-01-07", "2019-02-08"]),
        (["43647", "43814.5"], None, ["2019-07-01", "2019-12-15"]),
        (["2019-07-01", "15.12.2019"], None, ["2019-07-01", "2019-12-15"]),
    ],
    ids=["points", "day_shown", "month_shown", "day_first", "month_first", "spreadsheet", "mixed"],
)
def test_dates_are_read_as_people_write_them(study, written, order, expected):
    settings = study(plot_table(date=written), date_order=order)
    assert read_plots(settings, crs=UTM)["date"].dt.strftime("%Y-%m-%d").tolist() == expected


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (["1/7/2019", "2/8/2019"], r"'1/7/2019'; say plots\.date_order: day_first or month_first"),
        (["2919-07-01", "2019-07-01"], "date is not a date in row 2, such as '2919-07-01'"),
        (["0201-07-01", "2019-07-01"], "date is not a date in row 2, such as '0201-07-01'"),
        (["31.02.2019", "2019-07-01"], "date is not a date in row 2"),
    ],
    ids=["either_order", "future", "ancient", "no_such_day"],
)
def test_dates_that_cannot_be_told_are_named_with_what_to_say(study, written, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_plots(study(plot_table(date=written)), crs=UTM)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_decimal_commas_among_points_are_read(tmp_path, suffix):
    plots = plot_table(2, radius_m=["12,5", "7.25"])
    file = tmp_path / f"plots{suffix}"
    plots.to_csv(file, index=False, sep=";") if suffix == ".csv" else plots.to_excel(file, index=False)
    settings = Plots(file=str(file), crs=UTM).model_dump(mode="json")
    assert read_plots(settings, crs=UTM)["radius_m"].tolist() == [12.5, 7.25]


def test_a_column_that_stands_twice_is_said(tmp_path, caplog):
    file = tmp_path / "plots.csv"
    file.write_text("plot,date,x,y,radius_m,radius_m\nP1,2019,500000,3000000,10,12\n")
    assert read_plots(Plots(file=str(file), crs=UTM).model_dump(mode="json"), crs=UTM)["radius_m"].tolist() == [10]
    assert "the column radius_m stands twice; the first one is used" in caplog.text


def test_an_old_workbook_is_refused_with_what_to_save_it_as(tmp_path):
    (tmp_path / "plots.xls").write_bytes(b"")
    with pytest.raises(ValueError, match=r"save it as \.xlsx"):
        read_plots(Plots(file=str(tmp_path / "plots.xls"), crs=UTM).model_dump(mode="json"), crs=UTM)
