"""Whatever names a study writes, errors keep their sharing; parts belong to their whole; what has no dbh has biomass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalogs.parameters import allometry_table, group_table
from models import allometry
from models.allometry import check_equations, plot_totals, plot_totals_monte_carlo, tree_agb, tree_components
from models.heights import HeightModel

BOTH = (plot_totals, lambda *trees, **rest: plot_totals_monte_carlo(*trees, iterations=1000, **rest))


def make_trees(**columns) -> pd.DataFrame:
    defaults = {
        "plot": "P1", "date": pd.Timestamp("2019-07-15"), "status": "live", "trees_per_ha": 25.0, "species": "Schima superba",
        "height_m": np.nan,
    }  # fmt: skip
    return pd.DataFrame({**columns, **{name: value for name, value in defaults.items() if name not in columns}})


def make_rows(*rows: dict, **common) -> pd.DataFrame:
    defaults = {
        "name": "test", "taxon": "", "level": "default", "region": "", "component": "agb", "form": "power_d", "rse": np.nan,
        "rse_scale": "ln", "rse_of": "trees", "dbh_min_cm": 0.0, "dbh_max_cm": np.inf, "height_min_m": 0.0,
        "height_max_m": np.inf, "bias_corrected": True, "source": "test", "status": "user",
    }  # fmt: skip
    blank = dict.fromkeys([*"abcdef", *(f"var_{name}" for name in "abcdef")], np.nan)
    return pd.DataFrame([{**blank, **defaults, **common, **row} for row in rows])


def shared_se(totals: pd.DataFrame) -> float:
    """Standard error of the mean over plots that shared errors alone cause."""
    factors = totals[[name for name in totals if name.startswith("f_")]]
    return float(np.sqrt((factors.mean() ** 2).sum()))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("totals_of", BOTH, ids=["first_order", "monte_carlo"])
@pytest.mark.parametrize("names", [["杉木", "马尾松", "木荷"], ["a-b", "a b", "a_b"]], ids=["chinese", "alike"])
def test_species_of_any_script_keep_the_shared_error_of_their_wood_density(totals_of, names):
    trees = make_trees(
        plot=["A"] * 3, dbh_cm=[30.0] * 3, height_m=20.0, species=names, wood_density_g_cm3=0.5, wood_density_se=0.05,
        wood_density_sd=0.0,
    )  # fmt: skip
    equation = make_rows({"form": "rho_power_d", "a": 0.1, "b": 2.5})
    totals = totals_of(trees, equation, dbh_sd=np.zeros_like)
    each = 0.1 * 0.05 * 30**2.5 * 25 / 1000
    factors = [name for name in totals if name.startswith("f_")]
    assert len(factors) == 3
    assert totals[factors].to_numpy() == pytest.approx(each, rel=0.01)


@pytest.mark.parametrize("totals_of", BOTH, ids=["first_order", "monte_carlo"])
def test_strata_of_any_script_keep_the_shared_error_of_their_heights(totals_of):
    model = HeightModel("michailoff", np.array([25.0, 8.0]), np.diag([1.0, 0.25]), 0.0, 0.0, 100, (5.0, 60.0))
    equation = make_rows({"form": "power_dh", "a": 0.06, "b": 2.0, "c": 0.9})
    dbh = np.tile([20.0, 30.0], 2)

    def of(first: str, second: str) -> pd.DataFrame:
        trees = make_trees(plot=["A", "A", "B", "B"], dbh_cm=dbh, height_group=np.repeat([first, second], 2))
        found = totals_of(trees, equation, height_model={"": model, first: model, second: model}, dbh_sd=np.zeros_like)
        return found[[name for name in found if name.startswith("f_")]]

    chinese, latin = of("人工", "天然"), of("planted", "natural")
    assert chinese.shape == latin.shape == (2, 4)
    assert ((chinese**2).sum(axis=1) > 0).all()
    assert np.sort(np.abs(chinese), axis=1) == pytest.approx(np.sort(np.abs(latin), axis=1))


def test_the_message_on_a_form_names_file_row_and_taxon():
    rows = make_rows({"taxon": "Picea x", "level": "species", "a": 0.1, "file": "gb.csv", "row": 19})
    with pytest.raises(ValueError, match=r"gb\.csv, row 19: equation 'test' for Picea x of the form power_d"):
        check_equations(rows)


# ---------------------------------------------------------------- parts and wholes


FIR = [
    {"name": "fir", "taxon": "Abies x", "level": "species", "a": 0.1, "b": 2.4},
    {"name": "fir", "taxon": "Abies x", "level": "species", "component": "roots", "a": 0.02, "b": 2.4},
]
ALL = [
    {"name": "all", "a": 0.2, "b": 2.4},
    {"name": "all", "component": "stem", "a": 0.15, "b": 2.4},
    {"name": "all", "component": "foliage", "form": "share", "a": 0.05},
    {"name": "all", "component": "roots", "a": 0.05, "b": 2.4},
]  # fmt: skip


def test_parts_come_from_the_equations_that_gave_the_whole(caplog):
    trees, rows = make_trees(dbh_cm=[20.0, 20.0], species=["Abies x", "Picea y"]), make_rows(*FIR, *ALL)
    whole = tree_agb(trees, allometry.of_component(rows, "agb"))
    parts = tree_components(trees, rows, whole["agb_kg"])
    kg = 20**2.4
    assert parts["stem"].tolist() == pytest.approx([np.nan, 0.15 * kg], nan_ok=True)
    assert parts["foliage"].tolist() == pytest.approx([np.nan, 0.05 * 0.2 * kg], nan_ok=True)
    assert parts["roots"].tolist() == pytest.approx([0.02 * kg, 0.05 * kg])
    assert "1 of 2 trees have no stem: their equation of biomass (fir) has none" in caplog.text


def test_roots_by_another_equation_than_the_biomass_are_said(caplog):
    trees, rows = make_trees(dbh_cm=[20.0], species=["Abies x"]), make_rows(FIR[0], *ALL)
    parts = tree_components(trees, rows, tree_agb(trees, allometry.of_component(rows, "agb"))["agb_kg"])
    assert parts["roots"].tolist() == pytest.approx([0.05 * 20**2.4])
    assert "roots of 1 of 1 trees is by all, and their biomass by fir" in caplog.text


def test_parts_of_all_species_are_no_parts_of_a_species_own_whole_unless_they_are_shares_of_it():
    rows = make_rows({**FIR[0], "name": "all"}, *ALL)
    trees = make_trees(dbh_cm=[20.0], species=["Abies x"])
    parts = tree_components(trees, rows, tree_agb(trees, allometry.of_component(rows, "agb"))["agb_kg"])
    assert np.isnan(parts["stem"].iloc[0])
    assert parts["foliage"].iloc[0] == pytest.approx(0.05 * 0.1 * 20**2.4)


def test_no_part_of_the_shipped_list_of_the_docs_exceeds_its_whole():
    names = ["lyt2264_fir", "xiang2016_south_china"]
    rows = pd.concat([allometry_table(name) for name in names], ignore_index=True)
    species = ["Cunninghamia lanceolata", "Pinus massoniana", "Schima superba", "Acer davidii"]
    trees = make_trees(dbh_cm=[20.0] * 4, height_m=15.0, species=species, plot=species)
    totals = plot_totals(trees, rows).set_index("plot")
    parts = totals[["stem_mg_ha", "branches_mg_ha", "foliage_mg_ha"]].sum(axis=1, skipna=False)
    assert np.isnan(parts["Cunninghamia lanceolata"])
    assert (parts / totals["agb_mg_ha"]).drop("Cunninghamia lanceolata").to_numpy() == pytest.approx(1.0)


# ---------------------------------------------------------------- spreads between equations


def test_the_spread_between_published_equations_does_not_average_out_over_trees_and_plots():
    """100 plots of 40 trees: spread 0.3 of ln M is all of the mean's error; as the trees' own it would be 0.3 / sqrt(4000)."""
    trees = make_trees(dbh_cm=np.tile(np.linspace(10, 40, 40), 100), plot=np.repeat([f"P{k}" for k in range(100)], 40))
    between = plot_totals(trees, make_rows({"a": 0.1, "b": 2.4, "rse": 0.3, "rse_of": "equations"}), dbh_sd=np.zeros_like)
    mean = between["agb_mg_ha"].mean()
    assert between["agb_mg_ha_se"].to_numpy() == pytest.approx(0.0)
    assert shared_se(between) == pytest.approx(np.sqrt(np.expm1(0.09)) * mean)
    own = plot_totals(trees, make_rows({"a": 0.1, "b": 2.4, "rse": 0.3}), dbh_sd=np.zeros_like)
    assert shared_se(own) == 0.0


def test_jenkins_spread_is_between_equations_and_simulated_as_first_order_says():
    """10,000 draws know a standard deviation to 0.7 %."""
    table = allometry_table("jenkins2003")
    agb = table[table["component"] == "agb"]
    assert (agb["rse_of"] == "equations").all()
    species = ["Pinus strobus", "Quercus rubra", "Acer rubrum", "Pinus strobus"]
    trees = make_trees(dbh_cm=[20.0, 30.0, 25.0, 35.0], species=species, plot=["A", "A", "B", "B"])
    trees["genus"] = trees["species"].str.split().str[0]
    trees = allometry.with_groups(trees, group_table(None, equations=table))
    first = plot_totals(trees, table, dbh_sd=np.zeros_like)
    drawn = plot_totals_monte_carlo(trees, table, dbh_sd=np.zeros_like, iterations=10_000)
    factors = [name for name in first if name.startswith("f_")]
    assert len(factors) == 3
    assert all(name.endswith("_spread") for name in factors)
    stated = first[factors].to_numpy()
    assert drawn[factors].to_numpy() @ drawn[factors].to_numpy().T == pytest.approx(stated @ stated.T, rel=0.03)


# ---------------------------------------------------------------- what has no diameter at breast height


NO_DBH = make_rows(
    {"taxon": "shrub", "level": "species", "form": "power_cover", "a": 50.0, "b": 1.1},
    {"taxon": "palm", "level": "species", "form": "power_h", "a": 2.0, "b": 1.5},
    {"taxon": "bush", "level": "species", "form": "power_basal_diameter", "a": 0.05, "b": 2.2},
    {"taxon": "Phyllostachys edulis", "level": "species", "form": "culm", "a": 0.05, "b": 2.4, "c": 1.2, "d": 0.3, "e": 1.1,
     "f": 0.2},
    {"form": "power_dh", "a": 0.05, "b": 2.0, "c": 0.9},
    rse=0.3,
)  # fmt: skip
UNDERSTOREY = {
    "species": ["shrub", "palm", "bush", "Phyllostachys edulis", "oak"], "dbh_cm": [np.nan, np.nan, np.nan, 10.0, 20.0],
    "height_m": [np.nan, 6.0, np.nan, np.nan, 15.0], "cover_percent": [40.0, np.nan, np.nan, np.nan, np.nan],
    "basal_diameter_cm": [np.nan, np.nan, 3.0, np.nan, np.nan], "culm_age_du": [np.nan, np.nan, np.nan, 2.0, np.nan],
    "trees_per_ha": [1.0, 10.0, 30.0, 100.0, 10.0],
}  # fmt: skip
MODEL = HeightModel("michailoff", np.array([25.0, 8.0]), np.diag([1.0, 0.25]), 1.0, 0.5, 100, (5.0, 60.0))


@pytest.mark.parametrize("totals_of", BOTH, ids=["first_order", "monte_carlo"])
@pytest.mark.parametrize("model", [None, MODEL], ids=["no_curve", "curve"])
def test_palms_shrubs_saplings_and_bamboo_have_biomass_without_a_dbh(totals_of, model):
    totals = totals_of(make_trees(**UNDERSTOREY), NO_DBH, height_model=model).iloc[0]
    kg_ha = [
        50 * 40**1.1, 10 * 2 * 6**1.5, 30 * 0.05 * 3**2.2, 100 * (0.05 * 10**2.4 * (1.2 * 2 / 2.3) ** 1.1 + 0.2),
        10 * 0.05 * 20**2.0 * 15**0.9,
    ]  # fmt: skip
    assert totals["agb_mg_ha"] == pytest.approx(sum(kg_ha) / 1000)
    assert totals["basal_area_m2_ha"] == pytest.approx(np.pi / 4 * (100 * 0.1**2 + 10 * 0.2**2))
    assert totals["stems_n_ha"] == 110  # of bamboo and the oak: what has no dbh is no stem at breast height
    assert np.isfinite(totals["agb_mg_ha_se"])
    assert totals["agb_mg_ha_se"] > 0


def test_the_error_of_what_has_no_dbh_is_its_equations_alone():
    one = {name: values[:1] for name, values in UNDERSTOREY.items()}
    totals = plot_totals(make_trees(**one), NO_DBH, height_model=MODEL).iloc[0]
    assert totals["agb_mg_ha_se"] == pytest.approx(np.sqrt(np.expm1(0.09)) * 50 * 40**1.1 / 1000)
    assert totals["basal_area_m2_ha"] == 0


def test_a_tree_whose_equation_needs_the_dbh_that_is_missing_leaves_its_plot_unknown():
    totals = plot_totals(make_trees(dbh_cm=[np.nan, 20.0], species="oak", height_m=15.0), NO_DBH).iloc[0]
    assert np.isnan(totals[["agb_mg_ha", "basal_area_m2_ha"]].to_numpy(float)).all()
