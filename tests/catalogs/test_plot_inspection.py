"""The quality sheet of plots: what it guesses, what it says, and that it says what the run says."""

from __future__ import annotations

import json
import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import ROOT, data_set, make_settings

from catalogs.plots import Findings, read_plots, read_trees
from catalogs.plots.findings import KINDS
from catalogs.plots.headers import PLOT_WORDS, TREE_WORDS, guess, guess_settings
from catalogs.plots.inspection import inspect_plots
from pipeline.__main__ import main
from pipeline.config import Plots

UTM = "EPSG:32650"


def forest(per_plot: int = 30) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(5)
    plots = pd.DataFrame({"Plot_ID": ["P1", "P2"], "Easting": [500_200.0, 500_400.0], "Northing": 2_999_500.0,
                          "Survey_date": "2019-07-15", "radius": 12.62})  # fmt: skip
    count = 2 * per_plot
    dbh = rng.uniform(100, 450, count).round(0)
    trees = pd.DataFrame(
        {"Plot_ID": np.repeat(["P1", "P2"], per_plot), "No": range(count), "Tree_no": np.tile(range(per_plot), 2),
         "Sp": "Pinus massoniana", "DBH (mm)": dbh, "H": (1.3 + 30 * np.exp(-120 / dbh)).round(1)}
    )  # fmt: skip
    return plots, trees


@pytest.fixture
def tables(tmp_path):
    def write(plots: pd.DataFrame, trees: pd.DataFrame) -> tuple[str, str]:
        plots.to_csv(tmp_path / "plots.csv", index=False)
        trees.to_excel(tmp_path / "trees.xlsx", index=False)
        return str(tmp_path / "plots.csv"), str(tmp_path / "trees.xlsx")

    return write


def test_headers_of_many_languages_are_understood():
    columns, units = guess(["样地号", "树号", "树种", "胸径", "树高"], TREE_WORDS)
    assert columns == {"plot": "样地号", "tree": "树号", "species": "树种", "dbh_cm": "胸径", "height_m": "树高"}
    columns, units = guess(["Placette", "Arbre", "Essence", "DBH (mm)", "ht_ft"], TREE_WORDS)
    assert columns == {"plot": "Placette", "tree": "Arbre", "species": "Essence", "dbh_cm": "DBH (mm)", "height_m": "ht_ft"}
    assert units == {"dbh_cm": "mm", "height_m": "ft"}


def test_tables_of_the_us_inventory_are_linked_by_their_keys(tmp_path):
    (tmp_path / "PLOT.csv").write_text(
        "CN,INVYR,MEASYEAR,MEASMON,STATECD,UNITCD,COUNTYCD,PLOT,PLOT_STATUS_CD,LAT,LON\n7,2009,2009,6,44,1,3,19,1,41.6,-71.4\n"
    )
    (tmp_path / "TREE.csv").write_text(
        "CN,PLT_CN,PREV_TRE_CN,INVYR,SUBP,TREE,STATUSCD,SPCD,DIA,HT,TPA_UNADJ\n9,7,,2009,1,3,1,129,14,62,6.0\n"
    )
    found = guess_settings([tmp_path / "PLOT.csv", tmp_path / "TREE.csv"])
    assert found["columns"]["plot"] == ["STATECD", "UNITCD", "COUNTYCD", "PLOT"]
    assert found["columns"]["date"] == ["MEASYEAR", "MEASMON"]
    assert (found["columns"]["visit"], found["tree_columns"]["visit"]) == ("CN", "PLT_CN")
    assert found["tree_columns"]["previous_record"] == "PREV_TRE_CN" and "date" not in found["tree_columns"]
    assert found["status_codes"] == {"0": "unseen", "1": "live", "2": "dead", "3": "gone"}
    settings = Plots(**found, crs="EPSG:4269", radius_m=18.0).model_dump(mode="json")
    plots = read_plots(settings, crs="EPSG:32619")
    trees = read_trees(settings, plots=plots)
    # 14 in, 62 ft, 6 per acre
    assert trees[["plot", "tree", "dbh_cm", "status"]].iloc[0].tolist() == ["44_1_3_19", "1_3", pytest.approx(35.56), "live"]
    assert trees["trees_per_ha"][0] == pytest.approx(6 / 0.40468564224)


@pytest.mark.parametrize(
    ("header", "words", "ours", "unit"),
    [
        ("DBH (inches)", TREE_WORDS, "dbh_cm", "inch"), ("Höhe [dm]", TREE_WORDS, "height_m", "dm"),
        ("Höhe (m)", TREE_WORDS, "height_m", None), ("Diamètre (mm)", TREE_WORDS, "dbh_cm", "mm"),
        ("Année", TREE_WORDS, "date", None), ("Diámetro", TREE_WORDS, "dbh_cm", None), ("Año", TREE_WORDS, "date", None),
        ("Árbol", TREE_WORDS, "tree", None), ("样地编号", PLOT_WORDS, "plot", None), ("표본점번호", PLOT_WORDS, "plot", None),
        ("SLOPE%", PLOT_WORDS, "slope_deg", "percent"), ("Neigung (%)", PLOT_WORDS, "slope_deg", "percent"),
        ("AREA_M2", PLOT_WORDS, "area_ha", "m2"), ("面积(亩)", PLOT_WORDS, "area_ha", "mu"),
        ("样地面积（m²）", PLOT_WORDS, "area_ha", "m2"), ("DBH (cm)", TREE_WORDS, "dbh_cm", None),
    ],
)  # fmt: skip
def test_headers_with_accents_and_units_are_understood(header, words, ours, unit):
    columns, named = guess([header], words)
    assert columns == {ours: header}
    assert named == ({ours: unit} if unit else {})


def test_a_sheet_without_a_study_guesses_the_columns_and_prints_them(tables, capsys):
    assert main(["inspect", "plots", *tables(*forest())]) == 0
    said = capsys.readouterr().out
    assert "dbh_cm: DBH (mm)" in said and "dbh_cm: mm" in said and "x: Easting" in said
    assert "nothing was found wrong" in said
    assert "60: 60 live" in said


def test_what_the_sheet_prints_is_a_configuration_that_reads(tables, capsys):
    assert main(["inspect", "plots", "--json", *tables(*forest())]) == 0
    report = json.loads(capsys.readouterr().out)
    settings = Plots(**report["settings"]["plots"], crs=UTM).model_dump(mode="json")
    plots = read_plots(settings, crs=UTM)
    assert len(read_trees(settings, plots=plots)) == 60


def test_the_sheet_goes_on_where_a_run_stops_and_lists_everything(tables, capsys):
    plots, trees = forest()
    trees["DBH (mm)"] = trees["DBH (mm)"].astype(object)
    trees.loc[3, "DBH (mm)"] = -5
    trees.loc[7, "H"] = 250.0
    trees.loc[9, "DBH (mm)"] = "3o5"
    trees.loc[11, "Plot_ID"] = "P7"
    assert main(["inspect", "plots", *tables(plots, trees)]) == 1
    said = capsys.readouterr().out
    for sentence in (
        "[dbh_impossible]", "dbh is zero or below in row 5", "height is not within 0 to 130 m in row 9",
        "dbh_cm is not a number in row 11, such as '3o5'", "plot P7 of row 13 is not in the plot table",
    ):  # fmt: skip
        assert sentence in said


def test_the_sheet_and_the_run_say_the_same(tables, caplog):
    plots, trees = forest()
    trees.loc[7, "H"] = 2.0
    trees.loc[40, "Sp"] = "Pinus masoniana"
    trees = pd.concat([trees, trees.iloc[[4]]])
    file, list_ = tables(plots, trees)
    settings = Plots(
        file=file, trees=list_, crs=UTM, columns={"plot": "Plot_ID", "x": "Easting", "y": "Northing", "date": "Survey_date",
                                                   "radius_m": "radius"},
        tree_columns={"plot": "Plot_ID", "tree": "Tree_no", "species": "Sp", "dbh_cm": "DBH (mm)", "height_m": "H"},
        tree_units={"dbh_cm": "mm"},
    ).model_dump(mode="json")  # fmt: skip
    findings = Findings(settings["rules"])
    with caplog.at_level(logging.WARNING):
        read_trees(settings, plots=read_plots(settings, crs=UTM, findings=findings), findings=findings)
    sheet = inspect_plots(settings, crs=UTM)
    assert [one["sentence"] for one in sheet["findings"]] == [one.sentence(12) for one in findings.found]
    assert {one["kind"] for one in sheet["findings"]} == {"species_misspelt", "row_repeated", "height_outlier"}
    for one in findings.found:
        assert one.sentence() in caplog.text


def test_with_a_study_plots_outside_and_across_borders_and_unknown_species_are_named(tables, tmp_path, capsys):
    plots, trees = forest()
    plots = pd.concat([plots, plots.iloc[[1]].assign(Plot_ID="P3", Easting=501_500.0)])
    trees.loc[5, "Sp"], trees.loc[7, "Sp"], trees.loc[8, "Sp"] = "Pinus masoniana", "Quercus fabri", "Pinus elliottii"
    file, list_ = tables(plots, trees)
    densities = tmp_path / "densities.csv"
    densities.write_text(
        "genus,species,wood_density_g_cm3,se,sd_tree\nPinus,Pinus massoniana,0.45,0.02,0.04\nPinus,,0.46,0.02,0.05\n"
    )
    halves = [shapely.box(500_000, 2_999_000, 500_204, 3_000_000), shapely.box(500_204, 2_999_000, 502_000, 3_000_000)]
    gpd.GeoDataFrame({"stand": ["a", "b"]}, geometry=halves, crs=UTM).to_file(tmp_path / "stands.gpkg")
    settings = make_settings({"stands.file": str(tmp_path / "stands.gpkg")})
    settings["plots"] = {
        "file": file, "trees": list_, "crs": UTM, "wood_density": str(densities), "tree_units": {"dbh_cm": "mm"},
        "columns": {"plot": "Plot_ID", "x": "Easting", "y": "Northing", "date": "Survey_date", "radius_m": "radius"},
        "tree_columns": {"plot": "Plot_ID", "tree": "Tree_no", "species": "Sp", "dbh_cm": "DBH (mm)", "height_m": "H"},
    }  # fmt: skip
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps(settings))
    assert main(["inspect", "plots", str(study)]) == 1
    said = capsys.readouterr().out
    stops = said.split("stops a run:")[1].split("is left out")[0]
    assert "1 species of 1 trees (Quercus fabri)" in stops and "neither by species nor by genus or family: row 9" in stops
    settings["plots"]["unknown_species"] = "default"
    study.write_text(json.dumps(settings))
    assert main(["inspect", "plots", str(study)]) == 0
    said = capsys.readouterr().out
    assert main(["inspect", "plots", "--study", str(study), file, list_]) == 0
    assert capsys.readouterr().out == said
    assert "[plot_outside]" in said and "area in plot P3" in said
    # a circle of 12.62 m whose centre lies 4 m inside: 70 % of it
    assert "across the border of its stand, 70% of it inside at the least in plot P1" in said
    assert "species 'Pinus masoniana' in row 7, 1 trees, is not in wood densities" in said
    assert "did you mean 'Pinus massoniana'" in said
    assert "1 species of 1 trees (Pinus elliottii) are in wood densities" in said


def test_two_tables_of_plots_are_refused(tables, capsys):
    file, _ = tables(*forest())
    assert main(["inspect", "plots", file, file]) == 1
    assert "has no column of dbh, so it is no tree list" in capsys.readouterr().err


def test_the_page_on_plots_names_every_kind_of_finding_with_its_rule():
    page = (ROOT / "docs/how-to/bring-your-plots.md").read_text(encoding="utf-8")
    for name, about in KINDS.items():
        assert f"| `{name}` | {about.title} | `{about.default}` |" in page


def test_the_example_of_the_page_reads_the_korean_set_as_it_says(data, tmp_path, monkeypatch, capsys):
    folder = data_set(data, "korea-nfi-donghae").parent
    monkeypatch.setenv("FORESTSINK_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/how-to/bring-your-plots.md").read_text(encoding="utf-8")
    example = page.split("the section `plots` becomes")[1].split("```yaml")[1].split("```")[0]
    assert main(["new", "donghae"]) == 0
    study = tmp_path / "donghae" / "study.yaml"
    template = study.read_text(encoding="utf-8")
    before, rest = template.split("\nplots:")
    study.write_text(f"{before}\n{example}\nstands:{rest.split(chr(10) + 'stands:')[1]}", encoding="utf-8")
    capsys.readouterr()
    assert main(["inspect", "plots", "--json", str(study), "--totals", "donghae/plots.csv"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [one.split(": ")[1] for one in report["problems"]] == ["no plot has a position, so none can be mapped"]
    assert report["facts"]["visits"] == "1 plots once, 2 plots 2 times, 33 plots 3 times"
    assert report["facts"]["basal area"].startswith("0.2121 to 56.07, median 32 ")
    assert report["facts"]["stems"] == "50 to 3225, median 1200 per ha"
    found = {one["kind"]: one["rows"] for one in report["findings"]}
    assert found["volume_contradiction"] == [816, 817]
    assert len(found["visit_without_trees"]) == 4  # five visits of four young plantations
    assert "status_contradiction" not in found, "what is no forest has no trees"
    totals = pd.read_csv("donghae/plots.csv")
    biomass = totals["agb_mg_ha"]
    assert (len(totals), (biomass == 0).sum()) == (104, 11)
    assert (round(biomass.mean(), -1), round(biomass[biomass > 0].mean(), -1), round(biomass.max(), -1)) == (150, 170, 390)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_title_above_the_header_is_seen_and_rows_keep_their_numbers(tmp_path, capsys, suffix):
    plots, trees = forest()
    trees.loc[3, "DBH (mm)"] = -5
    files = []
    for name, table in (("plots", plots), ("trees", trees)):
        file = tmp_path / f"{name}{suffix}"
        titled = pd.DataFrame([["Inventory 2019", *[None] * (table.shape[1] - 1)], [None] * table.shape[1], list(table.columns)])
        whole = pd.concat([titled, table.set_axis(range(table.shape[1]), axis=1)])
        if suffix == ".csv":
            file.write_text("Inventory 2019\n\n" + table.to_csv(index=False))
        else:
            whole.to_excel(file, index=False, header=False)
        files.append(str(file))
    assert main(["inspect", "plots", *files]) == 1
    said = capsys.readouterr().out
    assert "tree_header_row: 3" in said and "  header_row: 3" in said
    # row 3 is the header, so the fourth tree stands in row 7
    assert "dbh is zero or below in row 7" in said


def test_headers_of_the_us_inventory_come_with_their_units_and_codes(tmp_path, capsys):
    columns, units = guess(["SPCD", "DIA", "HT", "TPA_UNADJ"], TREE_WORDS)
    assert columns == {"species": "SPCD", "dbh_cm": "DIA", "height_m": "HT", "trees_per_ha": "TPA_UNADJ"}
    assert units == {"dbh_cm": "inch", "height_m": "ft", "trees_per_ha": "1/acre"}
    assert guess(["DIA", "HT", "EXPF"], TREE_WORDS)[1] == {}
    (tmp_path / "plots.csv").write_text("PLOT,LON,LAT,MEASYEAR,PLOT_STATUS_CD\n1,-71.5,41.6,2019,1\n2,-71.4,41.6,2019,3\n")
    main(["inspect", "plots", "--json", str(tmp_path / "plots.csv")])
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["plots"]["plot_status_codes"] == {"1": "measured", "2": "no_forest", "3": "not_measured"}
    assert [one["rows"] for one in report["findings"] if one["kind"] == "plot_not_measured"] == [[3]]


def test_all_sheets_of_a_workbook_are_looked_through(tmp_path, capsys):
    plots, trees = forest()
    book = tmp_path / "survey.xlsx"
    with pd.ExcelWriter(book) as writer:
        pd.DataFrame({"notes": ["made in 2019"]}).to_excel(writer, sheet_name="read me", index=False)
        plots.to_excel(writer, sheet_name="plots", index=False, startrow=2)
        trees.to_excel(writer, sheet_name="trees", index=False)
    assert main(["inspect", "plots", str(book)]) == 0
    said = capsys.readouterr().out
    assert "layer: plots" in said and "header_row: 3" in said and "tree_layer: trees" in said and "60: 60 live" in said
    assert main(["inspect", "plots", f"{book}:plots", f"{book}:trees"]) == 0
    assert capsys.readouterr().out == said
    assert main(["inspect", "plots", f"{book}:tree"]) == 1
    assert "no sheet 'tree' (did you mean 'trees'?); it has read me, plots, trees" in capsys.readouterr().err
    assert main(["inspect", "plots", f"{book}:read me"]) == 1


def test_species_served_by_a_group_stop_no_run_and_those_served_by_none_are_named(tables, tmp_path, capsys):
    plots, trees = forest()
    trees["Sp"] = "Acer rubrum"
    trees.loc[4, "Sp"] = "Maackia amurensis"
    file, list_ = tables(plots, trees.assign(density=0.5))
    settings = make_settings({})
    settings["plots"] = {
        "file": file, "trees": list_, "crs": UTM, "allometry": "jenkins2003", "tree_units": {"dbh_cm": "mm"},
        "columns": {"plot": "Plot_ID", "x": "Easting", "y": "Northing", "date": "Survey_date", "radius_m": "radius"},
        "tree_columns": {"plot": "Plot_ID", "tree": "Tree_no", "species": "Sp", "dbh_cm": "DBH (mm)", "height_m": "H",
                         "wood_density_g_cm3": "density"},
    }  # fmt: skip
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps(settings))
    main(["inspect", "plots", "--json", str(study)])
    found = {one["kind"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["species_unserved"]["rows"] == [6]


def test_german_coordinates_are_known_and_unknown_ones_do_not_leave_plots_out(tmp_path):
    file = tmp_path / "plots.csv"
    file.write_text("Probefläche;Aufnahmedatum;Rechtswert;Hochwert;Radius\nA;2019-07-20;501304;2998691;11.28\n")
    found = guess_settings([file])
    assert (found["columns"]["x"], found["columns"]["y"], found["columns"]["date"]) == ("Rechtswert", "Hochwert", "Aufnahmedatum")
    assert guess(["Baumnummer"], TREE_WORDS)[0] == {"tree": "Baumnummer"}
    file.write_text("Probefläche;Aufnahmedatum;Ost wert;Nord wert;Radius\nA;2019-07-20;501304;2998691;11.28\n")
    assert "rules" not in guess_settings([file])
