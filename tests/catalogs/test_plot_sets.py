"""Tables of other countries, languages and units go through by configuration alone; published numbers come out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalogs.plots import Findings, read_plots, read_trees
from pipeline.config import Plots

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def settings_of(name: str, **settings) -> dict:
    """The settings with files of one data set, or a skip that names it."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is absent")
    for key in ("file", "trees"):
        if key in settings:
            settings[key] = str(folder / settings[key])
    return Plots(**settings).model_dump(mode="json")


def read(settings: dict, crs: str) -> tuple[pd.DataFrame, pd.DataFrame | None, Findings]:
    findings = Findings(settings["rules"])
    plots = read_plots(settings, crs=crs, findings=findings)
    return plots, read_trees(settings, plots=plots, findings=findings) if settings["trees"] else None, findings


KOREA = {
    "file": "plot.csv",
    "trees": "tree.csv",
    "columns": {"visit": ["SUB_PLOT", "CYCLE"], "plot": "SUB_PLOT", "cluster": "CLST_PLOT", "date": "CREATED_DATE",
                "stratum": "FORTYP", "slope_deg": "SLOPE"},
    "tree_columns": {"visit": ["SUB_PLOT", "CYCLE"], "tree": "CN", "species": "SCIENTIFIC_NAME", "family": "FAMILY",
                     "dbh_cm": "DBH", "height_m": "HT", "volume_m3": "VOL_EST", "distance_m": "DIST"},
    "tree_units": {"height_m": "cm"},
    "nested": [{"min_dbh_cm": 6, "area_ha": 0.04}, {"min_dbh_cm": 30, "area_ha": 0.08}],
    "sampling": "probability",
    "rules": {"position_missing": "leave_out"},
}  # fmt: skip


def test_the_korean_inventory_goes_through_by_configuration_alone():
    settings = settings_of("korea-nfi-donghae", **KOREA)
    plots, trees, findings = read(settings, "EPSG:5179")
    assert len(plots) == 104
    assert plots.groupby("plot").size().eq(3).sum() == 33  # its README: 33 sub-plots measured in all three cycles
    # its README: 4,963 trees; eleven dated visits of young plantations have none of 6 cm, and count as empty
    assert (trees["status"] != "none").sum() == 4963
    assert len(trees) == 4974
    trees = trees[trees["status"] != "none"]
    assert trees.loc[trees["dbh_cm"] < 30, "trees_per_ha"].unique().tolist() == pytest.approx([25.0])
    assert trees.loc[trees["dbh_cm"] >= 30, "trees_per_ha"].unique().tolist() == pytest.approx([12.5])
    # the table's own basal areas, m2 per tree, which we do not read
    file = Path(settings["trees"])
    theirs = pd.read_csv(file, usecols=["BASAL_AREA", "DBH"])
    expected = (theirs["BASAL_AREA"] * np.where(theirs["DBH"] >= 30, 12.5, 25.0)).sum()
    ours = (np.pi / 4 * (trees["dbh_cm"] / 100) ** 2 * trees["trees_per_ha"]).sum()
    assert ours == pytest.approx(expected, rel=1e-9)
    assert {"Pinus densiflora", "Acer pictum", "Alnus incana"} <= set(trees["species"])
    assert trees["height_m"].max() == pytest.approx(33.0)
    kinds = {one.kind for one in findings.found}
    # its trees have other numbers in each cycle: of those that come again about half are of another species
    assert "numbers_do_not_last" in kinds
    assert kinds <= {"numbers_do_not_last", "position_missing", "volume_contradiction", "visit_without_trees"}


def test_a_finnish_list_of_trees_is_its_own_table_of_plots():
    settings = settings_of(
        "finland-lmfor-trees", file="alsTree.csv", trees="alsTree.csv", date=2009, area_ha=0.09,
        tree_columns={"dbh_cm": "DBH", "height_m": "H", "volume_m3": "V"}, rules={"position_missing": "leave_out"},
    )  # fmt: skip
    plots, trees, findings = read(settings, "EPSG:3067")
    assert (len(plots), len(trees)) == (56, 1510)
    assert trees["volume_m3"].sum() == pytest.approx(0.256303 * 1510, rel=1e-4)
    assert {one.kind for one in findings.found} == {"position_missing", "species_missing", "height_outlier"}


def test_a_finnish_table_in_dm3_with_plots_of_two_columns():
    settings = settings_of(
        "finland-lmfor-trees", file="treevol.csv", trees="treevol.csv", date=1970, area_ha=0.03,
        columns={"plot": ["stand", "plot"]}, rules={"position_missing": "leave_out"},
        tree_columns={"plot": ["stand", "plot"], "tree": "tree_id", "dbh_cm": "dbh", "height_m": "h", "volume_m3": "v"},
        tree_units={"volume_m3": "dm3"},
        species_codes={"pine": "Pinus sylvestris", "spruce": "Picea abies", "birch": "Betula pendula"},
    )  # fmt: skip
    plots, trees, findings = read(settings, "EPSG:3067")
    assert (len(plots), len(trees)) == (1938, 8508)
    assert trees["genus"].value_counts().to_dict() == {"Pinus": 4066, "Picea": 2966, "Betula": 1476}
    assert trees["volume_m3"].max() == pytest.approx(3.795856)
    assert "volume_unit" not in {one.kind for one in findings.found}


FIA = {
    "file": "PLOT.csv",
    "trees": "TREE.csv",
    "crs": "EPSG:4269",
    "columns": {"visit": "CN", "plot": ["STATECD", "UNITCD", "COUNTYCD", "PLOT"], "date": ["MEASYEAR", "MEASMON"],
                "x": "LON", "y": "LAT"},
    "radius_m": 17.95,
    "tree_columns": {"visit": "PLT_CN", "tree": ["SUBP", "TREE"], "record": "CN", "previous_record": "PREV_TRE_CN",
                     "species": "SPCD", "status": "STATUSCD", "dbh_cm": "DIA", "height_m": "ACTUALHT",
                     "trees_per_ha": "TPA_UNADJ"},
    "tree_units": {"dbh_cm": "inch", "height_m": "ft", "trees_per_ha": "1/acre"},
    "status_codes": {0: "unseen", 1: "live", 2: "dead", 3: "gone"},
    "sampling": "probability",
    "rules": {"dbh_missing": "leave_out", "plot_repeated": "leave_out"},
}  # fmt: skip


def test_remeasured_plots_of_rhode_island_are_linked_as_fia_itself_links_them():
    settings = settings_of("fia-rhode-island", **FIA)
    _, trees, _ = read(settings, "EPSG:32619")
    file = Path(settings["trees"])
    theirs = pd.read_csv(file, usecols=["CN", "PREVDIA"], dtype={"CN": str})
    components = pd.read_csv(file.with_name("TREE_GRM_COMPONENT.csv"), dtype={"TRE_CN": str})
    ours = trees[trees["row"] > 0].set_index("row").join(theirs.set_axis(theirs.index + 2), how="left")
    again = ours[ours["dbh_before_cm"].notna()]
    assert len(again) == 5212
    assert again["dbh_before_cm"].to_numpy() == pytest.approx(again["PREVDIA"].to_numpy() * 2.54)
    named = ours.merge(components, left_on="CN", right_on="TRE_CN")
    micro, sub = named["MICR_COMPONENT_AL_FOREST"], named["SUBP_COMPONENT_AL_FOREST"]
    counts = pd.crosstab(micro.where(micro != "NOT USED", sub), named["change"])
    # FIA's growth-removal-mortality components of the same trees; their ten cut trees of status dead are dead to us
    assert counts.loc["SURVIVOR", "survivor"] == 3876
    assert counts.loc["SURVIVOR"].sum() == 3881
    assert counts.loc["MORTALITY1", "mortality"] == 318
    assert counts.loc["MORTALITY1"].sum() == 319
    assert counts.loc["INGROWTH", "ingrowth"] == counts.loc["INGROWTH"].sum() == 283
    assert counts.loc["CUT1", ["removed", "mortality"]].tolist() == [39, 10]


def test_two_dates_in_columns_give_the_published_change_of_bartlett():
    settings = settings_of(
        "bartlett-bef-1991-2002", file="bef.csv", crs="EPSG:5070", area_ha=0.1,
        columns={"plot": "PLOT_ID2", "x": "XUTM", "y": "YUTM"}, units={"agb_mg_ha": "kg/ha"},
        visits=[{"date": 1991, "columns": {"agb_mg_ha": "ALLBIO91_KGH", "basal_area_m2_ha": "BAREA91_TOT"}},
                {"date": 2002, "columns": {"agb_mg_ha": "ALLBIO02_KGH", "basal_area_m2_ha": "BAREA02_TOT"}}],
        sampling="probability",
    )  # fmt: skip
    plots, _, _ = read(settings, "EPSG:5070")
    wide = plots.pivot(index="plot", columns="date", values="agb_mg_ha")
    assert len(wide) == 437
    assert wide.mean().tolist() == pytest.approx([206.3, 230.0], abs=0.05)
    change = (wide.iloc[:, 1] - wide.iloc[:, 0]) / 11
    # its README: +2.158 Mg/ha/yr, SE 0.177 of a simple random sample
    assert change.mean() == pytest.approx(2.158, abs=0.0005)
    assert change.std(ddof=1) / np.sqrt(437) == pytest.approx(0.177, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "settings", "crs", "count"),
    [
        ("moscow-stjoe-plots",
         {"file": "moscow_mt_st_joe.csv", "crs": "EPSG:26911", "date": 2003, "area_ha": 0.04047,
          "columns": {"plot": ["EASTING", "NORTHING"], "x": "EASTING", "y": "NORTHING", "basal_area_m2_ha": "Total_BA",
                      "stems_n_ha": "Total_TD"}}, "EPSG:26911", 165),
        ("quatre-montagnes-plots",
         {"file": "quatre_montagnes.csv", "crs": "EPSG:2154", "date": 2018, "radius_m": 15,
          "columns": {"plot": "plot_id", "cluster": "cluster_id", "x": "X", "y": "Y", "basal_area_m2_ha": "G_m2_ha",
                      "stems_n_ha": "N_ha", "slope_deg": "slope_gr"}, "units": {"slope_deg": "gon"}}, "EPSG:2154", 96),
    ],
)  # fmt: skip
def test_plots_that_carry_totals_of_other_countries_are_read(name, settings, crs, count):
    plots, _, findings = read(settings_of(name, **settings), crs)
    assert len(plots) == count
    assert plots["basal_area_m2_ha"].notna().all()
    assert {one.kind for one in findings.found} <= {"totals_contradict", "position_repeated"}
