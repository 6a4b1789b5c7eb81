"""`inspect plots` with a study: what stops a run stops the sheet, with the same sentence, and what plots hold is told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_settings

from pipeline.__main__ import main
from pipeline.config import load_study
from pipeline.grid import Grid
from pipeline.steps.plots import plots as run_plots

UTM = "EPSG:32650"
EQUATIONS = "name,taxon,level,form,a,b,rse,dbh_min_cm,dbh_max_cm,bias_corrected,source,status\n"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Writes two plots with a tree each and a study of them: study(changes of the section plots) -> its file."""
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"plot": ["A", "B"], "date": "2019-07-01", "x": [500_100.0, 500_300.0], "y": 2_999_500.0})
    trees = pd.DataFrame({"plot": ["A", "B"], "species": ["Pinus massoniana", "Quercus fabri"], "dbh_cm": [20.0, 30.0]})
    frame = frame.assign(area_ha=0.1)
    frame.to_csv("plots.csv", index=False)
    trees.to_csv("trees.csv", index=False)
    densities = "genus,species,wood_density_g_cm3,se,sd_tree\nPinus,,0.4,.02,.02\nQuercus,,0.7,.02,.02\n"
    (tmp_path / "densities.csv").write_text(densities)
    (tmp_path / "mine.csv").write_text(EQUATIONS + "mine,,default,power_d,0.1,2.4,0.3,1,200,yes,me,user\n")
    (tmp_path / "thin.csv").write_text(EQUATIONS + "thin,,default,power_d,0.1,2.4,0.3,1,15,yes,me,user\n")

    def write(**changes) -> str:
        settings = make_settings({})
        settings["plots"] = {"file": "plots.csv", "trees": "trees.csv", "crs": UTM, "allometry": "mine.csv", **changes}
        (tmp_path / "study.yaml").write_text(json.dumps(settings))
        return str(tmp_path / "study.yaml")

    return write


def run(file: str) -> None:
    loaded = load_study(file)
    grid = Grid.covering(loaded.area.bounds, crs=loaded.area.crs, resolution_m=20)
    settings = loaded.plots.model_dump(mode="json")
    run_plots(table=f"{file}.parquet", settings=settings, grid=grid.settings(), targets=list(loaded.targets))


def test_a_study_that_runs_is_told_its_biomass_and_exits_0(study, tmp_path, capsys):
    file = study()
    run(file)
    assert main(["inspect", "plots", file, "--totals", str(tmp_path / "totals.csv")]) == 0
    said = capsys.readouterr().out
    # 0.1 x 20^2.4 kg and 0.1 x 30^2.4 kg on 0.1 ha: 1.326 and 3.508 Mg/ha
    assert "aboveground biomass  1.326 to 3.508, median 2.417, mean 2.417 Mg/ha per plot" in said
    assert "note: allometry mine has no parameter covariance" in said
    totals = pd.read_csv(tmp_path / "totals.csv")
    ran = pd.read_parquet(f"{file}.parquet")
    for column in ("agb_mg_ha", "stems_n_ha"):
        assert totals[column].to_numpy() == pytest.approx(ran[column].to_numpy())
    shared = ran[[column for column in ran if column.startswith("f_")]].to_numpy()
    whole = np.sqrt(ran["agb_mg_ha_se"] ** 2 + (shared**2).sum(axis=1))  # the table of plots keeps what plots share apart
    assert totals["agb_mg_ha_se"].to_numpy() == pytest.approx(whole.to_numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {"allometry": ["lyt2264_fir", "xiang2016_south_china"], "height_by": "species", "height_pairs": "nothing.csv"},
        {"allometry": "chave2014_with_height", "wood_density": "densities.csv"},
        {"allometry": "chave2014_without_height", "wood_density": "densities.csv"},
        {"allometry": "chave2014_with_height_by_site"},
        {"allometry": "chave2014"},
        {"roots": {"by": "equations"}},
        {"roots": {"by": "continuous"}},
        {"roots": {"by": "table", "zone": "subtropical wet", "continent": "asia"}},
        {"roots": {"by": "continuous", "per": "plot"}, "carbon_fractions": "nothing.csv"},
        {"allometry": "thin.csv", "max_extrapolated_percent": 10},
    ],
    ids=["no_pairs_file", "no_heights", "no_environment", "no_density", "no_such_allometry", "no_root_equations", "no_strata",
         "no_such_zone", "no_fractions", "extrapolated"],
)  # fmt: skip
def test_the_sheet_stops_where_the_run_stops(study, capsys, changes):
    file = study(**changes)
    with pytest.raises((ValueError, OSError)) as stopped:
        run(file)
    assert main(["inspect", "plots", file]) == 1
    said = capsys.readouterr()
    assert str(stopped.value).splitlines()[0] in said.out + said.err


def test_plots_without_position_are_totalled_and_said_to_be_unmappable(study, tmp_path, capsys):
    pd.read_csv("plots.csv").drop(columns=["x", "y"]).to_csv("plots.csv", index=False)
    file = study(rules={"position_missing": "leave_out"})
    assert main(["inspect", "plots", file, "--totals", str(tmp_path / "totals.csv")]) == 1
    said = capsys.readouterr().out
    assert "stops a run: plots.csv: no plot has a position, so none can be mapped" in said
    assert "aboveground biomass  1.326 to 3.508" in said
    assert pd.read_csv(tmp_path / "totals.csv")["agb_mg_ha"].tolist() == pytest.approx([1.32578, 3.50825], rel=1e-4)


def test_totals_need_a_study(study, tmp_path, capsys):
    study()
    assert main(["inspect", "plots", "plots.csv", "trees.csv", "--totals", str(tmp_path / "totals.csv")]) == 1
    assert "--totals is of plots with a study" in capsys.readouterr().err


def test_a_palm_by_its_height_alone_has_biomass_in_the_sheet_and_the_run(study, tmp_path, capsys):
    palm = "palm,Trachycarpus fortunei,species,power_h,2,1.5,0.3,,,yes,me,user\n"
    (tmp_path / "mine.csv").write_text(EQUATIONS + "mine,,default,power_d,0.1,2.4,0.3,1,200,yes,me,user\n" + palm)
    pd.DataFrame(
        {"plot": ["A", "B", "B"], "tree": [1, 1, 2], "species": ["Pinus massoniana", "Quercus fabri", "Trachycarpus fortunei"],
         "dbh_cm": [20.0, 30.0, None], "height_m": [14.0, 18.0, 4.0]}
    ).to_csv("trees.csv", index=False)  # fmt: skip
    file = study()
    run(file)
    ran = pd.read_parquet(f"{file}.parquet").set_index("plot")
    # 2 x 4^1.5 = 16 kg on 0.1 ha are 0.16 Mg/ha more
    assert ran["agb_mg_ha"].tolist() == pytest.approx([1.32578, 3.50825 + 0.16], rel=1e-4)
    assert main(["inspect", "plots", file]) == 0
    assert "dbh is missing" not in capsys.readouterr().out
