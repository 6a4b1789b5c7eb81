"""Published factors come with their doubts, and what print does not hold is never borrowed in silence."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from catalogs.parameters import allometry_table, factors, group_table, wood_density_table

needs_nsvb = pytest.mark.skipif(importlib.util.find_spec("nsvb") is None, reason="the package nsvb is absent")


# ---------------------------------------------------------------- root:shoot


def test_south_chinas_natural_forest_has_the_printed_ratios():
    """Subtropical humid Asia: 0.230 up to 125 t/ha, 0.246 above, both with the default error of 90 %, half of a 95 % interval."""
    found = factors.root_shoot_classes(zone="subtropical humid", continent="asia")
    assert (found.upper_mg_ha, found.ratio, found.doubts) == ((125.0, np.inf), (0.230, 0.246), ())
    assert found.sd == pytest.approx((0.230 * 0.9 / 1.96, 0.246 * 0.9 / 1.96))


def test_a_plantation_in_south_china_is_told_that_print_has_no_row():
    with pytest.raises(ValueError, match="no root:shoot ratio for subtropical humid, asia, planted, all; there it has: natural"):
        factors.root_shoot_classes(zone="subtropical humid", continent="asia", origin="planted")


@pytest.mark.parametrize("continent", ["north america", "south america", "asia"])
def test_rows_whose_zone_is_missing_in_print_never_serve(continent):
    """Five rows below tropical dry are probably tropical mountain; nobody has confirmed it."""
    with pytest.raises(ValueError, match="it has none for that zone and continent"):
        factors.root_shoot_classes(zone="tropical mountain", continent=continent)
    table = factors.ipcc_table("root_shoot")
    lost = table[table["ecological_zone"].str.contains("missing in print")]
    assert len(lost) == 5 and (lost["status"] == "unverified").all()
    assert factors.root_shoot_classes(zone="tropical dry", continent="asia").ratio == (0.440, 0.379)


@pytest.mark.parametrize("order", [1, -1], ids=["as_printed", "reversed"])
def test_the_row_that_contradicts_another_never_serves(monkeypatch, order):
    """Oceania's eucalypts above 125 t/ha are printed twice as natural: 0.257 and, out of place, 0.188."""
    printed = factors.ipcc_table("root_shoot").iloc[::order]
    monkeypatch.setattr(factors, "ipcc_table", lambda kind: printed)
    found = factors.root_shoot_classes(zone="temperate oceanic", continent="oceania", forest_type="Eucalyptus")
    assert found.ratio == (0.464, 0.257)


def test_ratios_above_one_and_classes_that_print_leaves_out_come_as_doubts():
    found = factors.root_shoot_classes(zone="subtropical steppe", continent="asia")
    assert found.ratio == (1.338, 1.338)
    assert [doubt.split(":")[0] for doubt in found.doubts] == [
        "R 1.338 (>125)", "print has the class above 125 t/ha only; it serves the other too",
    ]  # fmt: skip


def test_a_row_of_its_own_zone_goes_before_one_of_several_zones():
    """Temperate mountain, Asia, conifers: 0.240 above 125 of its own; up to 125 only the row of three zones has 0.243."""
    found = factors.root_shoot_classes(zone="temperate mountain", continent="asia", forest_type="Conifer")
    assert found.ratio == (0.243, 0.240)
    several = "Oceanic; Continental; Mountain"
    assert found.doubts == (f"print has several: R 0.24 (>125, Mountain) serves, R 0.262 (>125, {several}) stands there too",)


@pytest.mark.parametrize(
    ("asked", "ratio", "beside"),
    [
        ({"zone": "temperate oceanic", "continent": "oceania", "origin": "planted", "forest_type": "Conifer"}, (0.634, 0.294),
         ["R 0.19 (all, Oceanic)"] * 2),
        ({"zone": "temperate mountain", "continent": "asia", "forest_type": "Other Broadleaf"}, (0.5, 0.303),
         ["R 0.225 (<=125,", "R 0.229 (>125,"]),
        ({"zone": "temperate continental", "continent": "asia", "forest_type": "Other Broadleaf"}, (0.225, 0.305),
         ["R 0.229 (>125,"]),
    ],
    ids=["oceania", "mountain", "continental"],
)  # fmt: skip
def test_ratios_that_print_gives_twice_come_as_doubts(asked, ratio, beside):
    found = factors.root_shoot_classes(**asked)
    assert found.ratio == ratio
    several = [doubt for doubt in found.doubts if doubt.startswith("print has several")]
    assert len(several) == len(beside) and all(part in doubt for part, doubt in zip(beside, several, strict=True))


def test_boreal_classes_part_at_seventy_five():
    found = factors.root_shoot_classes(zone="boreal coniferous", continent="europe", forest_type="Conifer")
    assert (found.upper_mg_ha[0], found.ratio) == (75.0, (0.390, 0.240))


@pytest.mark.parametrize(
    ("zone", "continent", "sentence"),
    [
        ("subtropical wet", "asia", "'subtropical wet' is not an ecological zone"),
        ("subtropical humid", "eurasia", r"'eurasia' is not a continent \(did you mean 'asia'\?\)"),
    ],
)
def test_words_that_are_not_in_the_tables_are_met_with_the_nearest(zone, continent, sentence):
    with pytest.raises(ValueError, match=sentence):
        factors.root_shoot_classes(zone=zone, continent=continent)


# ---------------------------------------------------------------- biomass and growth defaults


def test_defaults_of_biomass_and_growth_are_the_printed_ones():
    primary = factors.ipcc_default("agb_natural", zone="subtropical humid", continent="asia", succession="Primary")
    assert primary["value"].tolist() == [323.0]
    growth = factors.ipcc_default("growth_natural", zone="subtropical humid", continent="asia").set_index("succession")["value"]
    assert growth["Secondary >20 years"] == 1.0 and growth["Secondary <=20 years"] == 2.5
    assert np.isnan(growth["Primary"])  # not given in print: missing, not zero
    planted = factors.ipcc_default("growth_planted", zone="subtropical humid", continent="asia")
    assert planted["value"].dropna().tolist() == [8.0]


def test_doubtful_defaults_serve_only_when_asked_for_and_are_warned_of(caplog):
    """Chinese fir is printed under subtropical dry, which print itself puts in doubt."""
    asked = {"zone": "subtropical dry", "continent": "asia", "species": "Cunninghamia sp."}
    table = factors.ipcc_table("agb_planted")
    fir = table[table["species"].str.contains("unninghamia")]
    assert (fir["status"] == "unverified").all() and len(fir) >= 2
    asked["species"] = fir["species"].iloc[0]
    with pytest.raises(ValueError, match=r"doubtful rows are there \(doubtful=True takes them\)"):
        factors.ipcc_default("agb_planted", **asked)
    assert sorted(factors.ipcc_default("agb_planted", doubtful=True, **asked)["value"]) == [62.96, 148.6]
    assert "a doubtful row serves subtropical dry, asia" in caplog.text


@pytest.mark.parametrize("kind", factors.IPCC_TABLES)
def test_every_row_of_the_defaults_serves_a_zone_or_says_why_not(kind):
    """Labels differ between the printed tables; none may fall through the lookup."""
    table = factors.ipcc_table(kind)
    served = pd.Series(False, index=table.index)
    for zone in factors.ZONES:
        for continent in factors.CONTINENTS:
            served |= factors._at(table, zone, continent)
    left = table[~served]
    lost = left["ecological_zone"].str.contains("missing") | left["continent"].str.contains(r"\(|New Zealand")
    assert lost.all(), left[["domain", "ecological_zone", "continent"]].drop_duplicates()


# ---------------------------------------------------------------- expansion factors, carbon fractions, groups


def test_expansion_factors_are_those_of_the_class():
    found = factors.expansion_classes("temperate_pines")
    assert found.upper_m3_ha == (20, 40, 100, 200, np.inf)
    assert found.stock_mg_m3 == (1.8, 1.0, 0.75, 0.7, 0.7)
    assert found.removal_mg_m3[-1] == 0.77
    with pytest.raises(ValueError, match=r"factors are called 'temperate_pine' \(did you mean 'temperate_pines'\?\)"):
        factors.expansion_classes("temperate_pine")


def test_what_was_quoted_from_memory_is_unverified():
    """Chinese fir: BEF 1.634 x 0.307 Mg/m3."""
    assert (factors.china_expansion()["status"] == "unverified").all()
    fir = factors.expansion_classes("china_cunninghamia_lanceolata")
    assert fir.stock_mg_m3 == pytest.approx((1.634 * 0.307,)) and fir.status == "unverified"


def test_a_users_expansion_factors_have_no_gaps(tmp_path):
    rows = {"volume_min_m3_ha": [0, 60], "volume_max_m3_ha": [50, None], "stock_mg_m3": [1.1, 0.7]}
    rows |= {"source": "x", "status": "user"}
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(ValueError, match="the classes of volume do not begin at 0 and follow one another without gaps"):
        factors.expansion_classes(str(tmp_path / "mine.csv"))
    pd.DataFrame({**rows, "volume_max_m3_ha": [60, None]}).to_csv(tmp_path / "mine.csv", index=False)
    assert factors.expansion_classes(str(tmp_path / "mine.csv")).upper_m3_ha == (60, np.inf)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"source": ["x", ""]}, "row 3: source is empty: say where the numbers come from"),
        ({"status": "unverifed"}, "rows 2 and 3: status is not one of published, user, unverified"),
        ({"volume_max_m3_ha": [60, 100]}, "row 3: the last class ends, and nothing is said of more volume; leave its"),
        ({"stock_mg_m3": [1.1, None]}, "row 3: stock_mg_m3 is not within 0.1 to 10"),
    ],
)
def test_a_users_expansion_factors_are_checked_row_by_row(tmp_path, columns, sentence):
    rows = {"volume_min_m3_ha": [0, 60], "volume_max_m3_ha": [60, None], "stock_mg_m3": [1.1, 0.7]}
    pd.DataFrame({**rows, "source": "x", "status": "user", **columns}).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(ValueError, match=sentence):
        factors.expansion_classes(str(tmp_path / "mine.csv"))


@pytest.mark.parametrize(("column", "value"), [("se", 0.9), ("se", -0.1), ("sd_tree", 5), ("sd", 2)])
def test_errors_of_wood_density_that_cannot_be_are_refused(tmp_path, column, value):
    row = {"genus": "Pinus", "species": ["Pinus a", "Pinus b"], "wood_density_g_cm3": 0.4, column: [0.02, value]}
    pd.DataFrame(row).to_csv(tmp_path / "wood.csv", index=False)
    with pytest.raises(ValueError, match=rf"{column} of wood density is not within 0 to 0\.5 g/cm3 in row 3, such as {value}"):
        wood_density_table(tmp_path / "wood.csv")


def test_a_variety_beside_its_species_keeps_its_own_name(tmp_path):
    row = {"genus": "Pinus", "species": ["Pinus nigra", "Pinus nigra var. pallasiana", "Pinus mugo Turra"]}
    pd.DataFrame({**row, "wood_density_g_cm3": [0.5, 0.6, 0.4]}).to_csv(tmp_path / "wood.csv", index=False)
    assert wood_density_table(tmp_path / "wood.csv")["taxon"].tolist() == [
        "Pinus nigra", "Pinus nigra var. pallasiana", "Pinus mugo"
    ]  # fmt: skip


@needs_nsvb
def test_carbon_fractions_go_by_species_and_the_default_stands_behind():
    found = factors.carbon_fractions("nsvb").set_index(["level", "taxon"])["carbon_fraction"]
    assert found[("species", "Cunninghamia lanceolata")] == pytest.approx(0.47967, abs=5e-6)  # printed 47.967 %
    assert found[("default", "")] == 0.47
    shipped = factors.carbon_fractions("shipped").set_index(["level", "taxon"])["carbon_fraction"]
    assert shipped[("species", "Cunninghamia lanceolata")] == 0.47967
    assert factors.carbon_fractions()["carbon_fraction"].tolist() == [0.47]


def test_a_users_carbon_fractions_are_checked_row_by_row(tmp_path):
    rows = {"level": "species", "taxon": ["a b", "c d"], "carbon_fraction": [0.5, 48.0], "source": "x", "status": "user"}
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "cf.csv", index=False)
    with pytest.raises(ValueError, match=r"row 3: carbon_fraction is not a share within 0\.3 to 0\.7"):
        factors.carbon_fractions(tmp_path / "cf.csv")


def test_a_users_groups_go_before_the_shipped_ones(tmp_path):
    pd.DataFrame({"taxon": ["Acer"], "level": ["genus"], "group": ["mine"]}).to_csv(tmp_path / "groups.csv", index=False)
    table = group_table(tmp_path / "groups.csv", equations=allometry_table("jenkins2003"))
    assert table[(table["taxon"] == "Acer") & (table["level"] == "genus")]["group"].tolist() == ["mine"]
    assert group_table(None, equations=allometry_table("chave2014_with_height")) is None
    pd.DataFrame({"taxon": ["Acer"], "level": ["tribe"], "group": [""]}).to_csv(tmp_path / "wrong.csv", index=False)
    with pytest.raises(ValueError, match="row 2: level is not one of species, genus, family, default; row 2: group is empty"):
        group_table(tmp_path / "wrong.csv", equations=allometry_table("jenkins2003"))
