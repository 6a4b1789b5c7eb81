"""Forms compute what their formulas say, in any units, and published equations meet their published values."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalogs.parameters import allometry_table, group_table
from models.allometry import (
    FORMS,
    form,
    in_region,
    match_equations,
    of_component,
    tree_agb,
    tree_components,
    unverified,
    with_groups,
)

DATA = Path(os.environ.get("FORESTSINK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
FIA = DATA / "fia-rhode-island"
SPECIES = DATA / "nsvb-coefficients" / "REF_SPECIES.csv"

KG_PER_LB = 0.45359237
M_PER_FT = 0.3048

needs_nsvb = pytest.mark.skipif(importlib.util.find_spec("nsvb") is None, reason="the package nsvb is absent")
needs_fia = pytest.mark.skipif(not (FIA.exists() and SPECIES.exists()), reason="data set fia-rhode-island is absent")

EXAMPLES = {
    "dbh_cm": [8.0, 35.0], "height_m": [7.0, 24.0], "wood_density_g_cm3": [0.45, 0.7], "upper_diameter_cm": [6.0, 29.0],
    "basal_diameter_cm": [10.0, 40.0], "crown_diameter_m": [2.0, 7.0], "cover_percent": [15.0, 60.0], "culm_age_du": [1.0, 3.0],
    "environment_e": [-0.1, 0.3], "volume_m3": [0.02, 1.1], "expansion_mg_m3": [1.2, 0.6], "agb_kg": [20.0, 700.0],
}  # fmt: skip
COEFFICIENTS = {"a": 0.3, "b": 0.9, "c": -0.2, "d": 0.4, "e": 0.5, "f": 0.6}


def make_trees(n: int = 2, **columns) -> pd.DataFrame:
    return pd.DataFrame({**{name: values[:n] for name, values in EXAMPLES.items()}, **columns})


def make_rows(*rows: dict, **common) -> pd.DataFrame:
    defaults = {
        "name": "test", "taxon": "", "level": "default", "region": "", "component": "agb", "form": "log_d", "rse": np.nan,
        "rse_scale": "ln", "dbh_min_cm": 0.0, "dbh_max_cm": np.inf, "height_min_m": 0.0, "height_max_m": np.inf, "dbh_unit": "cm",
        "height_unit": "m", "result_unit": "kg", "bias_corrected": True, "correction_factor": np.nan, "sums_to_agb": False,
        "source": "test", "status": "user",
    }  # fmt: skip
    blank = dict.fromkeys("abcdef", np.nan)
    return pd.DataFrame([{**blank, **defaults, **common, **row} for row in rows])


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize("name", FORMS)
def test_derivatives_of_every_form_agree_with_differences(name):
    if name.startswith("nsvb"):
        pytest.importorskip("nsvb")
    one = FORMS[name]
    chosen = {key: 0.2 if key in one.positive else COEFFICIENTS[key] for key in one.coefficients}
    if name == "nsvb_segmented":
        chosen["e"] = 20.0  # the diameter where its segments meet: between the two trees
    variables = {key: np.array(EXAMPLES[key]) for key in one.variables}
    found = one.derivatives(variables, chosen)
    step = 1e-6
    for key in one.variables:
        up, down = (one.value({**variables, key: variables[key] + s * step}, chosen) for s in (1, -1))
        assert found[key] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)
    for key in set(one.coefficients) - ({"e"} if name == "nsvb_segmented" else set()):
        up, down = (one.value(variables, {**chosen, key: chosen[key] + s * step}) for s in (1, -1))
        assert found[key] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "coefficients", "expected"),
    [
        ("quadratic_d", {"a": 1.0, "b": 2.0, "c": 3.0}, 1 + 2 * 8 + 3 * 64),
        ("log10_d", {"a": -1.0, "b": 2.0}, 6.4),
        ("power_upper_diameter", {"a": 0.1, "b": 1.0, "c": 2.0, "d": 0.5}, 0.1 * 8 * 36 * np.sqrt(7)),
        ("power_h", {"a": 0.5, "b": 2.0}, 24.5),
        ("linear_h", {"a": -10.0, "b": 6.0}, 32.0),
        ("linear_d2h", {"a": 1.0, "b": 0.01}, 5.48),
        ("power_basal_diameter", {"a": 0.02, "b": 2.0}, 2.0),
        ("power_crown", {"a": 1.0, "b": 2.0, "c": 1.0}, 28.0),
        ("power_cover", {"a": 100.0, "b": 1.0}, 1500.0),
        ("share_by_d", {"a": np.log(0.2), "b": 0.0}, 4.0),
        ("rest_of_shares_by_d", dict(zip("abcdef", [np.log(0.5), 0, np.log(0.1), 0, np.log(0.2), 0], strict=True)), 4.0),
        ("rho_power_d", {"a": 0.3, "b": 7 / 3}, 0.3 * 0.45 * 128),
    ],
)
def test_forms_meet_hand_arithmetic(name, coefficients, expected):
    variables = {key: np.array(values) for key, values in EXAMPLES.items()}
    assert FORMS[name].value(variables, coefficients)[0] == pytest.approx(expected)


def test_a_form_that_asks_for_what_no_tree_has_is_refused():
    with pytest.raises(ValueError, match="form 'wrong' takes leaf_area, g; tree variables: dbh_cm"):

        @form()
        def wrong(leaf_area, *, a, g):
            """M = a L"""

    assert "wrong" not in FORMS


def test_a_missing_variable_names_itself():
    row = make_rows({"form": "power_upper_diameter", "a": 0.1, "b": 1.0, "c": 1.0, "d": 1.0})
    with pytest.raises(ValueError, match="needs upper_diameter_cm of each tree, and the tree table has none"):
        tree_agb(make_trees().drop(columns="upper_diameter_cm"), row)


def test_moso_culms_weigh_what_the_formula_says_for_their_age():
    """747.787 D^2.771 (0.148 A / (0.028 + A))^5.555 + 3.772 at D 10, A 2, by logarithms."""
    trees = pd.DataFrame({"dbh_cm": [10.0], "culm_age_du": [2.0], "species": ["Phyllostachys edulis"]})
    expected = 10 ** (np.log10(747.787) + 2.771 + 5.555 * np.log10(0.296 / 2.028)) + 3.772
    table = allometry_table("moso_bamboo")
    assert tree_agb(trees, table)["agb_kg"].iloc[0] == pytest.approx(expected, rel=1e-9)
    assert unverified(table, match_equations(trees, table)) == ["moso_bamboo"]


def test_an_equation_in_inches_feet_and_pounds_gives_kilograms():
    """2 D^2 H lb at 10 in and 50 ft is 10,000 lb; its slope by diameter 2,000 lb per inch."""
    row = make_rows({"form": "power_dh", "a": 2.0, "b": 2.0, "c": 1.0}, dbh_unit="in", height_unit="ft", result_unit="lb")
    found = tree_agb(make_trees(1, dbh_cm=[25.4], height_m=[50 * M_PER_FT]), row).iloc[0]
    assert found["agb_kg"] == pytest.approx(10_000 * KG_PER_LB)
    assert found["by_dbh"] == pytest.approx(2_000 * KG_PER_LB / 2.54)
    assert found["by_height"] == pytest.approx(200 * KG_PER_LB / M_PER_FT)


def test_a_polynomial_below_zero_counts_as_zero_and_says_so(caplog):
    row = make_rows({"form": "quadratic_d", "a": 23.6182, "b": -8.0913, "c": 0.5})
    agb = tree_agb(make_trees(), row)["agb_kg"]
    assert agb.tolist() == [0.0, pytest.approx(23.6182 - 8.0913 * 35 + 0.5 * 35**2)]
    assert "1 trees are so thin that their equation gives biomass below zero" in caplog.text


@pytest.mark.parametrize(("scale", "rse", "expected"), [("share", 0.2, 20.0), ("kg", 7.0, 7.0), ("ln", 0.2, 20.20)])
def test_residuals_are_logarithmic_relative_or_absolute(scale, rse, expected):
    row = make_rows({"form": "share", "a": 5.0, "rse": rse, "rse_scale": scale})
    assert tree_agb(make_trees(1), row)["residual_sd_kg"].iloc[0] == pytest.approx(expected, rel=1e-3)


def test_a_printed_correction_factor_is_applied_once():
    given = {"a": -2.0, "b": 2.4, "bias_corrected": False, "correction_factor": 1.1, "rse": 0.3}
    assert tree_agb(make_trees(1), make_rows(given))["agb_kg"].iloc[0] == pytest.approx(1.1 * np.exp(-2) * 8**2.4)


def test_a_tree_outside_the_heights_of_its_equation_is_extrapolated():
    row = make_rows({"form": "power_dh", "a": 1.0, "b": 1.0, "c": 1.0}, height_max_m=20.0)
    assert tree_agb(make_trees(), row)["extrapolated"].tolist() == [False, True]


# ---------------------------------------------------------------- published


@pytest.mark.parametrize(
    ("name", "e", "expected"),
    [
        ("chave2014_without_height", 0.0, 679.984),
        ("chave2014_without_height", -0.1, 749.697),
        ("rejou_mechain2017_without_height", -0.1, 767.015),
    ],
)
def test_the_two_forms_without_height_meet_their_check_values(name, e, expected):
    trees = pd.DataFrame({"dbh_cm": [30.0], "wood_density_g_cm3": [0.65], "environment_e": [e]})
    assert tree_agb(trees, allometry_table(name))["agb_kg"].iloc[0] == pytest.approx(expected, abs=6e-4)


def test_the_fir_standard_gives_roots_and_volume_too():
    """Worked example: D 20, H 15 gives roots 23.28974 kg and 0.249549 m3; D 4, H 4 roots 0.514873 kg."""
    fir = allometry_table("lyt2264_fir")
    trees = pd.DataFrame({"dbh_cm": [20.0, 4.0], "height_m": [15.0, 4.0], "species": "Cunninghamia lanceolata"})
    whole = tree_agb(trees, of_component(fir, "agb"))["agb_kg"]
    parts = tree_components(trees, fir, whole)
    assert parts["roots"].to_numpy() == pytest.approx([23.28974, 0.514873], rel=1e-6)
    assert parts["stem_volume"].iloc[0] == pytest.approx(0.249549, rel=2e-6)
    assert parts["roots"].iloc[0] / whole.iloc[0] == pytest.approx(0.221692, rel=2e-6)
    # the standard's own ratio of roots to shoots, another table of it
    ratio = 0.25059 * 20**0.51205 * 15**-0.61168
    assert parts["roots"].iloc[0] / whole.iloc[0] == pytest.approx(ratio, rel=1e-4)


def test_south_chinas_whole_is_the_sum_of_its_parts_as_printed():
    """ALLODB says of its correction that it was included in the model: nothing is multiplied a second time."""
    table = allometry_table("xiang2016_south_china")
    assert table["correction_unknown"].all()
    trees = make_trees(2, species=["Pinus massoniana", "Acer davidii"], group=["", "deciduous broadleaf"])
    whole = tree_agb(trees, of_component(table, "agb"))
    assert whole["agb_kg"].iloc[0] == pytest.approx(
        np.exp(-1.754) * 8**2.154 + np.exp(-5.060) * 8**2.569 + np.exp(-5.595) * 8**2.348, rel=1e-6
    )
    parts = tree_components(trees, table, whole["agb_kg"])
    assert parts["stem"].iloc[0] == pytest.approx(np.exp(-1.754) * 8**2.154, rel=1e-6)
    assert parts[["stem", "branches", "foliage"]].sum(axis=1).to_numpy() == pytest.approx(whole["agb_kg"].to_numpy(), rel=1e-6)


def test_rows_of_several_regions_ask_for_one():
    rows = make_rows(
        {"taxon": "x y", "level": "species", "region": "Fujian", "a": 1.0, "b": 1.0},
        {"taxon": "x y", "level": "species", "region": "Hunan", "a": 2.0, "b": 1.0},
        {"a": 3.0, "b": 1.0},
    )
    assert in_region(rows, "Hunan")["a"].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match=r"rows of several regions for x y \(agb\): Fujian, Hunan; plots\.region is not set"):
        in_region(rows, None)


def test_an_equation_made_elsewhere_is_said(caplog):
    row = make_rows({"a": 1.0, "b": 1.0, "region": "Fujian"})
    assert len(in_region(row, None)) == 1 and not caplog.text
    assert len(in_region(row, "Yunnan")) == 1
    assert "was made in Fujian and serves a study in Yunnan" in caplog.text


def test_groups_come_before_the_default_and_after_the_family():
    rows = make_rows(
        {"name": "default", "a": 1.0, "b": 1.0},
        {"name": "group", "level": "group", "taxon": "pines", "a": 1.0, "b": 1.0},
        {"name": "family", "level": "family", "taxon": "Cupressaceae", "a": 1.0, "b": 1.0},
    )
    trees = make_trees(species=["Pinus nigra", "Thuja plicata"], genus=["Pinus", "Thuja"], family=["Pinaceae", "Cupressaceae"])
    groups = pd.DataFrame({"taxon": ["Pinus", "Thuja"], "level": "genus", "group": ["pines", "pines"]})
    served = match_equations(with_groups(trees, groups), rows)
    assert rows["name"].to_numpy()[served].tolist() == ["group", "family"]


def test_of_several_tables_the_first_listed_serves_first():
    both = allometry_table(["luo2018_fir_hunan_118", "luo2018_fir_guangdong"])
    trees = pd.DataFrame({"dbh_cm": [10.0, 35.0], "species": "Cunninghamia lanceolata"})
    found = tree_agb(trees, both)
    # at 35 cm the first would extrapolate (31.7 cm), the second would not (36.3 cm)
    assert found["equation"].tolist() == ["luo2018_fir_hunan_118", "luo2018_fir_guangdong"]
    assert found["agb_kg"].to_numpy() == pytest.approx([0.0837 * 10**2.31, 0.0517 * 35**2.5265])


# ---------------------------------------------------------------- United States


def test_jenkins_components_add_up_to_the_whole():
    table = allometry_table("jenkins2003")
    trees = with_groups(
        make_trees(species=["Pinus strobus", "Acer saccharum"], genus=["Pinus", "Acer"]), group_table(None, equations=table)
    )
    assert trees["group"].tolist() == ["jenkins 4 pine", "jenkins 9 hard maple/oak/hickory/beech"]
    whole = tree_agb(trees, of_component(table, "agb"))["agb_kg"]
    assert whole.to_numpy() == pytest.approx([np.exp(-2.5356) * 8**2.4349, np.exp(-2.0127) * 35**2.4342])
    parts = tree_components(trees, table, whole)
    assert parts[["stem_wood", "bark", "branches", "foliage"]].sum(axis=1).to_numpy() == pytest.approx(whole.to_numpy())
    assert parts["roots"].iloc[1] / whole.iloc[1] == pytest.approx(np.exp(-1.6911 + 0.8160 / 35))


@needs_nsvb
def test_the_national_system_meets_the_first_example_of_its_report():
    """Douglas-fir, 20 in, 110 ft, division 240; the report's own numbers differ from the 7th digit on."""
    table = allometry_table("nsvb", region="240")
    trees = pd.DataFrame({"dbh_cm": [50.8], "height_m": [110 * M_PER_FT], "species": "Pseudotsuga menziesii"})
    printed = {"agb": 3154.553993, "stem_wood": 2483.739897, "bark": 361.782496, "branches": 277.487757, "foliage": 83.634789}
    pounds = {name: tree_agb(trees, of_component(table, name))["agb_kg"].iloc[0] / KG_PER_LB for name in printed}
    assert pounds == pytest.approx(printed, rel=1e-6)
    whole = pd.Series([printed["agb"] * KG_PER_LB])
    parts = tree_components(trees, table, whole)
    assert parts["stem_volume"].iloc[0] / M_PER_FT**3 == pytest.approx(88.452275544288, rel=1e-6)
    assert parts[["stem_wood", "bark", "branches"]].sum(axis=1).iloc[0] == pytest.approx(whole.iloc[0])


@needs_nsvb
def test_every_model_of_the_national_system_is_the_packages_own():
    """One species per model form and one that only its Jenkins group serves, against the package's own function."""
    from nsvb.estimators import total_aboveground_biomass
    from nsvb.tables import REF_SPECIES, TABLES

    own = {}
    for (code, _, _), row in TABLES["s8a"].items():
        if not REF_SPECIES[code]["VARIETY"] and REF_SPECIES[code]["SPECIES"] != "spp.":
            own.setdefault(row["model"], code)
    codes = [*own.values(), next(c for c in REF_SPECIES if c > 300 and c not in {key[0] for key in TABLES["s8a"]} and
             REF_SPECIES[c]["JENKINS_SPGRPCD"] == "8" and not REF_SPECIES[c]["VARIETY"])]  # fmt: skip
    names = [f"{REF_SPECIES[code]['GENUS']} {REF_SPECIES[code]['SPECIES']}" for code in codes]
    trees = pd.DataFrame({"dbh_cm": 2.54 * np.linspace(6, 24, len(codes)), "height_m": 15.0, "species": names})
    ours = tree_agb(trees, of_component(allometry_table("nsvb"), "agb"))["agb_kg"]
    theirs = [
        float(total_aboveground_biomass(code, dbh / 2.54, 15 / M_PER_FT)) * KG_PER_LB
        for code, dbh in zip(codes, trees["dbh_cm"], strict=True)
    ]
    assert ours.to_numpy() == pytest.approx(theirs, rel=1e-12)
    assert set(own) >= {1, 2}


@needs_nsvb
def test_an_unknown_division_is_met_with_those_there_are():
    with pytest.raises(ValueError, match=r"plots\.region 'Maine' is not an ecological division"):
        allometry_table("nsvb", region="Maine")


def test_without_the_package_the_national_system_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nsvb", None)
    with pytest.raises(ValueError, match="needs the Python package nsvb, which is not installed here"):
        allometry_table("nsvb")


@needs_nsvb
@needs_fia
def test_rhode_islands_trees_stand_to_the_older_method_as_its_data_set_says():
    """DRYBIO_AG is Jenkins scaled to volume, without foliage: 0.65 to 1.00 of Jenkins, by species with 100 trees and more."""
    trees = pd.read_csv(FIA / "TREE.csv", low_memory=False)
    trees = trees[(trees["STATUSCD"] == 1) & (trees["DIA"] >= 5) & trees["HT"].notna() & trees["DRYBIO_AG"].notna()]
    names = pd.read_csv(SPECIES).set_index("SPCD")
    table = allometry_table("jenkins2003")
    ours = pd.DataFrame(
        {
            "dbh_cm": trees["DIA"] * 2.54, "height_m": trees["HT"] * M_PER_FT, "genus": trees["SPCD"].map(names["GENUS"]),
            "species": trees["SPCD"].map(names["GENUS"]) + " " + trees["SPCD"].map(names["SPECIES"]),
        }
    )  # fmt: skip
    ours = with_groups(ours, group_table(None, equations=table))
    # our table of groups is the one of the USFS, species by species
    assert (ours["group"].str.split().str[1].astype(int) == trees["SPCD"].map(names["JENKINS_SPGRPCD"]).astype(int)).all()
    jenkins = tree_agb(ours, of_component(table, "agb"))["agb_kg"]
    national = tree_agb(ours, of_component(allometry_table("nsvb", region="220"), "agb"))["agb_kg"]
    older = trees["DRYBIO_AG"] * KG_PER_LB
    sums = pd.DataFrame({"older": older, "jenkins": jenkins, "national": national, "n": 1}).groupby(ours["species"]).sum()
    sums = sums[sums["n"] >= 100]
    assert len(sums) == 11
    assert (sums["older"] / sums["jenkins"]).between(0.65, 1.005).all()
    # the national system leaves foliage out too and was fitted by species: it lies nearer to the older method
    whole = sums.sum()
    assert abs(np.log(whole["older"] / whole["national"])) < abs(np.log(whole["older"] / whole["jenkins"]))


def test_what_a_table_may_say_is_what_the_models_know():
    """Catalogs and models do not import one another; the words of a table are told in both."""
    from catalogs.parameters import CHOICES, equations
    from models.allometry import COEFFICIENTS as KNOWN
    from models.allometry import COMPONENTS, LEVELS
    from models.allometry.trees import LENGTH_CM, LENGTH_M, QUANTITY, RSE_SCALES

    assert (equations.LEVELS, equations.COMPONENTS, equations.COEFFICIENTS) == (LEVELS, COMPONENTS, KNOWN)
    units = {"dbh_unit": LENGTH_CM, "height_unit": LENGTH_M, "result_unit": QUANTITY}
    assert {name: CHOICES[name] for name in units} == {name: tuple(known) for name, known in units.items()}
    assert CHOICES["rse_scale"] == RSE_SCALES
    # feet and pounds by definition: 0.3048 m, 0.45359237 kg
    assert (LENGTH_M["ft"], LENGTH_CM["in"], QUANTITY["lb"]) == (0.3048, 2.54, 0.45359237)
