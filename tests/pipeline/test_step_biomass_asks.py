"""What the plots' step asks of tables and what it says: volume by factors, roots of plots without trees, needs of trees."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from chain import plots_of_tables
from conftest import make_settings

from models import pools
from pipeline.__main__ import main
from pipeline.grid import Grid
from pipeline.steps.notes import caveats_in

UTM = "EPSG:32650"
GRID = Grid.covering((500_000, 2_999_000, 501_000, 3_000_000), crs=UTM, resolution_m=20)
OWN = {
    "name": "own", "taxon": "", "level": "default", "form": "power_d", "a": 0.1, "b": 2.4, "rse": 0.3, "var_a": 1e-4,
    "dbh_min_cm": 1, "dbh_max_cm": 100, "bias_corrected": "yes", "source": "x", "status": "user",
}  # fmt: skip


def make_plots(n: int = 3, **columns) -> pd.DataFrame:
    frame = {"plot": [f"P{i + 1}" for i in range(n)], "date": "2019-07-15", "x": 500_100.0 + 100 * np.arange(n), "y": 2_999_500.0}
    return pd.DataFrame({**frame, "area_ha": 0.04, **columns})


def make_trees(**columns) -> pd.DataFrame:
    """Two trees in each of three plots: 20 and 30 cm."""
    frame = {"plot": np.repeat(["P1", "P2", "P3"], 2), "date": "2019-07-15", "species": "Pinus massoniana",
             "dbh_cm": [20.0, 30.0] * 3}  # fmt: skip
    return pd.DataFrame({**frame, **columns})


@pytest.fixture
def run(tmp_path):
    return lambda *tables, **settings: plots_of_tables(tmp_path, GRID, *tables, crs=UTM, **settings).set_index("plot")


@pytest.fixture
def own(tmp_path):
    def own(*rows: dict) -> str:
        pd.DataFrame([{**OWN, **row} for row in rows]).to_csv(tmp_path / "own.csv", index=False)
        return str(tmp_path / "own.csv")

    return own


# ---------------------------------------------------------------- stem volume


def test_trees_with_volume_become_biomass_by_the_factor_of_the_plots_class(run, tmp_path):
    """Temperate pines: 1.0 Mg/m3 from 20 to 40 m3/ha, 0.75 to 100, 0.7 beyond; 25 trees per hectare each."""
    volume = [0.5, 0.7, 1.0, 2.0, 2.0, 4.0]
    table = run(
        make_plots(), make_trees(volume_m3=volume), allometry="expansion", expansion="temperate_pines", expansion_per="plot",
        roots={"by": "continuous", "per": "plot"}, carbon_fractions="shipped",
    )  # fmt: skip
    per_ha = np.array([30.0, 75.0, 150.0])
    assert table["volume_m3_ha"].tolist() == pytest.approx(per_ha)
    agb = per_ha * [1.0, 0.75, 0.7]
    assert table["agb_mg_ha"].tolist() == pytest.approx(agb)
    ratio = np.exp(-1.085 + 0.9256 * np.log(agb)) / agb
    assert table["tree_carbon_t_ha"].tolist() == pytest.approx(agb * (1 + ratio) * 0.47865)  # of Pinus massoniana
    listed = pd.read_parquet(tmp_path / "trees.parquet")
    assert listed["agb_kg"].tolist() == pytest.approx(np.array(volume) * np.repeat([1000, 750, 700], 2))
    assert set(listed["equation"]) == {"expansion"}


def test_one_class_serves_the_trees_of_a_stratum(run):
    """30, 75 and 150 m3/ha: a mean of 85 gives all three the factor of 40 to 100 m3/ha."""
    trees = make_trees(volume_m3=[0.5, 0.7, 1.0, 2.0, 2.0, 4.0])
    table = run(make_plots(stratum="a"), trees, allometry="expansion", expansion="temperate_pines")
    assert table["agb_mg_ha"].tolist() == pytest.approx(np.array([30.0, 75.0, 150.0]) * 0.75)


def test_factors_quoted_from_memory_are_said_of_trees_too(run, tmp_path):
    trees = make_trees(volume_m3=0.5)
    table = run(make_plots(), trees, allometry="expansion", expansion="china_pinus_massoniana")
    assert table["agb_mg_ha"].tolist() == pytest.approx([25 * 0.38 * 1.472] * 3)
    assert set(table["unverified"]) == {"expansion"}
    assert any("status unverified" in one for one in caveats_in(tmp_path / "said.json"))


@pytest.mark.parametrize(
    ("columns", "settings", "sentence"),
    [
        ({"volume_m3": 0.5}, {}, "plots.allometry: expansion takes the factors that plots.expansion names, which is not set"),
        ({}, {"expansion": "temperate_pines"}, "plots.allometry: expansion needs the stem volume of each tree"),
    ],
)
def test_what_volume_by_factors_lacks_is_said(run, columns, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(make_plots(), make_trees(**columns), allometry="expansion", **settings)


def test_stem_volume_by_density_shares_the_error_of_the_species_density(run, own, tmp_path):
    """Volume x density x BEF 1.4; 0.4 g/cm3 with a standard error of 0.04 is 10 % of every plot."""
    density = {"species": "Pinus massoniana", "genus": "Pinus", "wood_density_g_cm3": 0.4, "se": 0.04, "sd_tree": 0.0}
    pd.DataFrame([density]).to_csv(tmp_path / "wood.csv", index=False)
    equation = own({"form": "rho_volume", "a": 1.4, "b": None, "rse": None, "var_a": None})
    table = run(make_plots(), make_trees(volume_m3=0.5), allometry=equation, wood_density=str(tmp_path / "wood.csv"))
    agb = 2 * 25 * 0.5 * 0.4 * 1.4
    assert table["agb_mg_ha"].tolist() == pytest.approx([agb] * 3)
    assert table["f_wood_density_pinus_massoniana"].tolist() == pytest.approx([0.1 * agb] * 3)


def test_expansion_does_not_stand_in_for_trees_whose_biomass_is_not_known(run, own, caplog):
    equation = own({"form": "power_upper_diameter", "c": 0.2, "d": 0.3, "b": 2.0})
    trees = make_trees(height_m=15.0, volume_m3=0.5, upper_diameter_cm=[12.0, np.nan, 12.0, 12.0, 12.0, 12.0])
    table = run(make_plots(), trees, allometry=equation, expansion="temperate_pines")
    assert np.isnan(table.loc["P1", "agb_mg_ha"])
    assert table.loc["P1", "reason"] == "biomass of some of its trees could not be computed"
    assert table["kept"].tolist() == [False, True, True]
    assert "1 plots and dates have trees whose biomass could not be computed; plots.expansion does not stand in" in caplog.text


# ---------------------------------------------------------------- roots and carbon without trees


def test_plots_that_carry_biomass_or_volume_get_roots_and_carbon(run):
    """R = exp(-1.085 + 0.9256 ln b) / b and 0.47; the error of roots follows 0.9256 R, for R falls as biomass grows."""
    table = make_plots(volume_m3_ha=[150.0, 30.0, np.nan], volume_m3_ha_se=[15.0, 3.0, np.nan], agb_mg_ha=[np.nan, np.nan, 77.0])
    found = run(table, expansion="temperate_pines", expansion_per="plot", roots={"by": "continuous", "per": "plot"})
    agb = np.array([105.0, 30.0, 77.0])
    ratio = np.exp(-1.085 + 0.9256 * np.log(agb)) / agb
    assert found["bgb_mg_ha"].tolist() == pytest.approx(agb * ratio)
    assert found["tree_carbon_t_ha"].tolist() == pytest.approx(0.47 * agb * (1 + ratio))
    se = np.array([10.5, 3.0])
    assert found["bgb_mg_ha_se"].tolist()[:2] == pytest.approx(0.9256 * ratio[:2] * se)
    assert found["tree_carbon_t_ha_se"].tolist()[:2] == pytest.approx(0.47 * (1 + 0.9256 * ratio[:2]) * se)


def test_plots_that_carry_biomass_take_the_ratio_of_a_table_with_its_error(run):
    roots = {"by": "table", "zone": "tropical moist", "continent": "asia", "per": "plot"}
    found = run(make_plots(agb_mg_ha=100.0, agb_mg_ha_se=8.0), roots=roots).iloc[0]
    assert (found["bgb_mg_ha"], found["root_shoot"], found["root_shoot_se"]) == pytest.approx((32.3, 0.323, 0.073))
    assert found["bgb_mg_ha_se"] == pytest.approx(np.hypot(0.323 * 8, 7.3))


def test_plots_that_no_equation_gives_roots_are_counted(run, caplog):
    found = run(make_plots(agb_mg_ha=100.0), roots={"by": "equations"})
    assert "bgb_mg_ha" not in found
    assert "roots by equations give neither roots nor carbon to 3 plots and dates that carry no trees" in caplog.text


@pytest.mark.parametrize("per", ["plot", "stratum"])
def test_errors_of_continuous_roots_are_those_of_moving_each_plots_biomass(run, own, per):
    """By differences: what roots of each plot do as its own and the others' biomass moves by its error, own and shared."""
    trees = make_trees(dbh_cm=[20.0, 30.0, 25.0, 35.0, 15.0, 18.0])
    table = run(make_plots(stratum=["a", "a", "b"]), trees, allometry=own({}), roots={"by": "continuous", "per": per})
    groups = np.array(["a", "a", "b"]) if per == "stratum" else np.arange(3)
    agb, own_se, shared = (table[name].to_numpy() for name in ("agb_mg_ha", "agb_mg_ha_se", "f_allometry_own_1"))

    def roots(biomass):
        return biomass * pools.root_shoot_continuous(pools.mean_of_groups(biomass, groups))

    def moved(step):
        return (roots(agb + 1e-6 * step) - roots(agb - 1e-6 * step)) / 2e-6

    each = np.column_stack([moved(own_se * (np.arange(3) == k)) for k in range(3)])
    expected = np.sqrt((each**2).sum(axis=1) + moved(shared) ** 2)
    assert table["bgb_mg_ha_se"].to_numpy() == pytest.approx(expected, rel=1e-6)


# ---------------------------------------------------------------- what the trees there are need


def test_heights_and_wood_densities_are_asked_for_where_an_equation_that_serves_needs_them(run, own):
    """Fir has an equation by height and Abies one by density; the pines of this study have neither, and need neither."""
    table = own(
        {"taxon": "Cunninghamia lanceolata", "level": "species", "form": "power_dh", "a": 0.06, "b": 2.0, "c": 0.5},
        {"taxon": "Abies", "level": "genus", "form": "rho_power_d", "a": 0.2, "b": 2.4}, {},
    )  # fmt: skip
    found = run(make_plots(), make_trees(), allometry=table)
    assert found["agb_mg_ha"].tolist() == pytest.approx([0.1 * (20**2.4 + 30**2.4) * 25 / 1000] * 3)
    with pytest.raises(ValueError, match="2 trees have no height, and a height model needs at least 10"):
        run(make_plots(), make_trees(species=["Cunninghamia lanceolata"] * 2 + ["Pinus massoniana"] * 4), allometry=table)
    with pytest.raises(ValueError, match="needs wood density"):
        run(make_plots(), make_trees(species=["Abies alba"] * 2 + ["Pinus massoniana"] * 4), allometry=table)


def test_densities_of_the_trees_that_need_them_leave_the_others_errors_alone(run, own, tmp_path):
    table = own({"taxon": "Abies", "level": "genus", "form": "rho_power_d", "a": 0.2, "b": 2.4}, {})
    wood = {"species": "Abies alba", "genus": "Abies", "wood_density_g_cm3": 0.4, "se": 0.02, "sd_tree": 0.03}
    pd.DataFrame([wood]).to_csv(tmp_path / "wood.csv", index=False)
    trees = make_trees(species=["Abies alba"] * 2 + ["Pinus massoniana"] * 4)
    for errors in ("first_order", "monte_carlo"):
        found = run(make_plots(), trees, allometry=table, wood_density=str(tmp_path / "wood.csv"), errors=errors)
        assert np.isfinite(found["agb_mg_ha_se"]).all()
        if errors == "first_order":
            expected = 0.02 * 0.2 * (20**2.4 + 30**2.4) * 25 / 1000
            assert found["f_wood_density_abies_alba"].tolist() == pytest.approx([expected, 0, 0])


def test_plots_visited_again_carry_their_change_with_the_error_of_the_same_trees(run, own):
    """Residual 0.3 of ln M with a correlation of 0.9, readings of dbh anew each time; by hand for plots of one tree each."""
    visits = pd.concat([make_plots(date=date) for date in ("2014-07-15", "2019-07-15")])
    dbh = np.array([20.0, 30.0, 40.0])
    parts = [
        pd.DataFrame({"plot": ["P1", "P2", "P3"], "tree": 7, "date": date, "species": "x", "dbh_cm": dbh + grown})
        for date, grown in (("2014-07-15", 0.0), ("2019-07-15", 2.0))
    ]
    found = run(visits, pd.concat(parts), allometry=own({"var_a": None})).reset_index().sort_values(["date", "plot"])
    assert found["agb_change_mg_ha"].isna().tolist() == [True] * 3 + [False] * 3
    first, second = (0.1 * size**2.4 * 25 / 1000 for size in (dbh, dbh + 2))
    residual = np.expm1(0.09) * (first**2 + second**2 - 2 * 0.9 * first * second)
    variance = found["agb_mg_ha_se"].to_numpy() ** 2
    read = variance - np.expm1(0.09) * np.concatenate([first, second]) ** 2
    assert found["agb_change_mg_ha"].tolist()[3:] == pytest.approx(second - first)
    expected = np.sqrt(residual + read[:3] + read[3:])
    assert found["agb_change_mg_ha_se"].tolist()[3:] == pytest.approx(expected)


# ---------------------------------------------------------------- what is said


def test_wood_densities_without_an_error_are_said(run, own, tmp_path):
    table = own({"form": "rho_power_d", "a": 0.2})
    wood = pd.DataFrame([{"species": "Pinus massoniana", "genus": "Pinus", "wood_density_g_cm3": 0.4, "se": 0.02}])
    wood.to_csv(tmp_path / "wood.csv", index=False)
    run(make_plots(), make_trees(), allometry=table, wood_density=str(tmp_path / "wood.csv"))
    assert caveats_in(tmp_path / "said.json") == []
    wood.assign(se=np.nan).to_csv(tmp_path / "wood.csv", index=False)
    found = run(make_plots(), make_trees(), allometry=table, wood_density=str(tmp_path / "wood.csv"))
    said = caveats_in(tmp_path / "said.json")
    assert said == ["wood densities wood.csv state no error for 6 of 6 trees: it is left out of theirs"]
    assert np.isfinite(found["agb_mg_ha_se"]).all()
    wood.assign(se=np.nan, species="").to_csv(tmp_path / "wood.csv", index=False)
    found = run(make_plots(), make_trees(species="Pinus sp."), allometry=table, wood_density=str(tmp_path / "wood.csv"))
    assert np.isfinite(found["agb_mg_ha_se"]).all()


def test_equations_that_state_no_diameters_are_said(run, tmp_path):
    trees = make_trees(species="Cunninghamia lanceolata", dbh_cm=[20.0, 150.0] * 3, height_m=15.0)
    run(make_plots(), trees, allometry="lyt2264_fir", rules={"height_outlier": "keep"})
    said = [one for one in caveats_in(tmp_path / "said.json") if "does not say how thick its sample's trees were" in one]
    assert said == ["allometry lyt2264_fir does not say how thick its sample's trees were: which trees lie outside is not known"]


def test_jenkins_spread_of_equations_is_said(run, tmp_path):
    run(make_plots(), make_trees(species="Pinus strobus"), allometry="jenkins2003")
    said = caveats_in(tmp_path / "said.json")
    assert [one for one in said if one.startswith("allometry jenkins2003 states the spread of published equations around it")]
    assert not [one for one in said if "no parameter covariance" in one]


def test_all_of_the_biomass_is_a_hundred_percent(run, own, tmp_path):
    run(make_plots(), make_trees(), allometry=own({"dbh_max_cm": 10}))
    said = caveats_in(tmp_path / "said.json")
    assert "100 % of the biomass is of trees outside the diameters or heights of their equation" in said


def test_a_wrong_form_is_named_with_its_file_row_and_taxon(run, own):
    rows = [{}, {"taxon": "Picea x", "level": "species", "b": None}]
    with pytest.raises(ValueError, match=r"own\.csv, row 3: equation 'own' for Picea x of the form power_d .* the coefficient b"):
        run(make_plots(), make_trees(), allometry=own(*rows))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("in_trees", "in_table"),
    [
        ("Pinus densiflora Siebold & Zucc.", "Pinus densiflora Siebold & Zucc."),
        ("Pinus densiflora", "Pinus densiflora Siebold & Zucc."),
        ("PINUS DENSIFLORA", "pinus densiflora"),
        ("Pinus densiflora for. multicaulis Uyeki", "Pinus densiflora(Siebold) Zucc."),
        ("ma wei song", "ma wei song"),
    ],
)
def test_names_of_all_tables_meet_those_of_trees(run, own, tmp_path, in_trees, in_table):
    table = own({"taxon": in_table, "level": "species", "form": "rho_power_d", "a": 0.2, "b": 2.4}, {})
    pd.DataFrame([{"species": in_table, "genus": "", "wood_density_g_cm3": 0.4, "se": 0.02}]).to_csv(
        tmp_path / "wood.csv", index=False
    )
    fraction = {"level": "species", "taxon": in_table, "carbon_fraction": 0.51, "source": "x", "status": "user"}
    pd.DataFrame([fraction]).to_csv(tmp_path / "fractions.csv", index=False)
    found = run(
        make_plots(), make_trees(species=in_trees), allometry=table, wood_density=str(tmp_path / "wood.csv"),
        carbon_fractions=str(tmp_path / "fractions.csv"), roots={"by": "continuous", "per": "plot"},
    )  # fmt: skip
    listed = pd.read_parquet(tmp_path / "trees.parquet")
    assert set(listed["equation_level"]) == set(listed["wood_density_level"]) == {"species"}
    assert found["agb_mg_ha"].tolist() == pytest.approx([0.2 * 0.4 * (20**2.4 + 30**2.4) * 25 / 1000] * 3)
    assert (found["tree_carbon_t_ha"] / (found["agb_mg_ha"] + found["bgb_mg_ha"])).tolist() == pytest.approx([0.51] * 3)


def test_groups_written_with_authors_or_in_capitals_serve_their_trees(run, own, tmp_path):
    table = own({"taxon": "pines", "level": "group", "a": 0.3}, {})
    groups = [{"taxon": "PINUS MASSONIANA", "level": "species", "group": "pines"}]
    pd.DataFrame(groups).to_csv(tmp_path / "groups.csv", index=False)
    run(make_plots(), make_trees(species="Pinus massoniana Lamb."), allometry=table, groups=str(tmp_path / "groups.csv"))
    assert set(pd.read_parquet(tmp_path / "trees.parquet")["equation_level"]) == {"group"}


def test_misspelt_species_that_the_default_equation_serves_are_told_with_the_nearest_name(tmp_path, capsys):
    names = ["Pinus massonianna", "Schima superbba", "Pinus massoniana", "Acer davidii", "PINUS MASSONIANA", "Schima superba"]
    make_plots().to_csv(tmp_path / "plots.csv", index=False)
    make_trees(species=names).to_csv(tmp_path / "trees.csv", index=False)
    settings = make_settings({})
    settings["plots"] = {"file": str(tmp_path / "plots.csv"), "trees": str(tmp_path / "trees.csv"), "crs": UTM}

    def sheet(allometry: str) -> list[str]:
        settings["plots"]["allometry"] = allometry
        (tmp_path / "study.yaml").write_text(json.dumps(settings))
        main(["inspect", "plots", "--json", str(tmp_path / "study.yaml")])
        found = json.loads(capsys.readouterr().out)["findings"]
        return [one["sentence"] for one in found if one["kind"] == "species_unmatched"]

    said = "\n".join(sheet("xiang2016_south_china"))
    assert "species 'Pinus massonianna' in row 2" in said and "did you mean 'Pinus massoniana'?" in said
    assert "species 'Schima superbba' in row 3" in said and "did you mean 'Schima superba'?" in said
    assert "1 species of 1 trees (Acer davidii) are in allometry xiang2016_south_china by default only: row 5" in said
    assert "PINUS" not in said
    pd.DataFrame([OWN]).to_csv(tmp_path / "own.csv", index=False)
    assert sheet(str(tmp_path / "own.csv")) == []  # an equation of all trees misses no name
