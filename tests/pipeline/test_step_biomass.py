"""The plots' step with trees: equations by table, roots and carbon, dead trees, simulated errors, and caveats."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd
import pytest
from chain import plots_of_tables
from conftest import make_study
from pydantic import ValidationError

from pipeline import store
from pipeline.config import Plots
from pipeline.grid import Grid
from pipeline.products import products_of
from pipeline.steps.notes import caveats_in, unverified_in
from pipeline.steps.publish import publish

UTM = "EPSG:32650"
GRID = Grid.covering((500_000, 2_999_000, 501_000, 3_000_000), crs=UTM, resolution_m=20)
KG_PER_LB = 0.45359237


def make_plots(n: int = 3, **columns) -> pd.DataFrame:
    frame = {"plot": [f"P{i + 1}" for i in range(n)], "date": "2019-07-15", "x": 500_100.0 + 100 * np.arange(n), "y": 2_999_500.0}
    return pd.DataFrame({**frame, "area_ha": 0.04, **columns})


def make_trees(species: str = "Cunninghamia lanceolata", plots_n: int = 3, per_plot: int = 10, **columns) -> pd.DataFrame:
    """Trees of 10, 12, ... 28 cm, heights 1.3 + 20 exp(-8 / D), all measured."""
    dbh = np.tile(10.0 + 2 * np.arange(per_plot), plots_n)
    frame = {
        "plot": np.repeat([f"P{i + 1}" for i in range(plots_n)], per_plot), "date": "2019-07-15", "species": species,
        "dbh_cm": dbh, "height_m": (1.3 + 20 * np.exp(-8 / dbh)).round(2),
    }  # fmt: skip
    return pd.DataFrame({**frame, **columns})


@pytest.fixture
def run(tmp_path):
    return partial(plots_of_tables, tmp_path, GRID, crs=UTM)


def fir_kg(dbh, height):
    return 0.065388 * dbh**2.01735 * height**0.49425


def test_every_tree_says_which_equation_served_it_and_by_what(run, tmp_path):
    trees = make_trees()
    trees.loc[trees["plot"] == "P2", "species"] = "Acer davidii"
    trees.loc[4, "height_m"] = np.nan
    run(make_plots(), trees, allometry=["lyt2264_fir", "xiang2016_south_china"])
    listed = pd.read_parquet(tmp_path / "trees.parquet")
    assert len(listed) == 30
    by_plot = listed.groupby("plot")[["equation", "equation_level"]].agg(lambda names: ", ".join(sorted(set(names))))
    assert by_plot.loc["P1"].tolist() == ["lyt2264_fir", "species"]
    assert by_plot.loc["P2"].tolist() == ["xiang2016_south_china", "default"]
    assert listed["height_from"].value_counts().to_dict() == {"measured": 29, "model": 1}
    first = listed.iloc[0]
    assert first["agb_kg"] == pytest.approx(fir_kg(10.0, first["height_m"]))


def test_roots_by_equations_and_carbon_by_species(run):
    table = run(make_plots(), make_trees(), allometry="lyt2264_fir", roots={"by": "equations"}, carbon_fractions="shipped")
    trees = make_trees().query("plot == 'P1'")
    above = fir_kg(trees["dbh_cm"], trees["height_m"]).sum() * 25 / 1000
    below = (0.016385 * trees["dbh_cm"] ** 2.52941 * trees["height_m"] ** -0.11744).sum() * 25 / 1000
    assert table["bgb_mg_ha"].to_numpy() == pytest.approx(below)
    assert table["root_shoot"].to_numpy() == pytest.approx(below / above)
    assert table["tree_carbon_t_ha"].to_numpy() == pytest.approx((above + below) * 0.47967)


def test_roots_by_a_table_take_one_class_per_stratum(run):
    """155 and 62 t/ha lie on both sides of 125, their mean of 109 below: the mean decides, not the plot."""
    trees = make_trees(per_plot=10)
    heavy = {"P1": 150.0, "P2": 60.0, "P3": 45.0}
    given = {"allometry": "lyt2264_fir", "roots": {"by": "table", "zone": "subtropical humid", "continent": "asia"}}
    trees["trees_per_ha"] = trees["plot"].map(heavy)
    table = run(make_plots(stratum=["a", "a", "b"]), trees, **given).set_index("plot")
    assert table.loc["P1", "agb_mg_ha"] > 125 > table.loc[["P1", "P2"], "agb_mg_ha"].mean()
    assert table["root_shoot"].tolist()[:2] == pytest.approx([0.230, 0.230])
    per_plot = run(make_plots(stratum=["a", "a", "b"]), trees, **{**given, "roots": {**given["roots"], "per": "plot"}})
    assert per_plot["root_shoot"].tolist()[:2] == pytest.approx([0.246, 0.230])


@pytest.mark.parametrize("errors", ["first_order", "monte_carlo"])
def test_palms_bamboo_and_shrubs_are_weighed_by_forms_of_their_own_beside_trees(run, tmp_path, errors):
    """A tree, a palm of 6 m, a culm of 10 cm and 2 du, shrubs over 40 % (of a hectare): each by hand; stems and basal area of
    what has a diameter at breast height."""
    known = {"level": "species", "a": None, "b": None, "c": None, "d": None, "e": None, "f": None, "rse": 0.2, "dbh_min_cm": None,
             "dbh_max_cm": None, "bias_corrected": "yes", "source": "by hand", "status": "user"}  # fmt: skip
    rows = [
        {**known, "name": "tree", "taxon": "Pinus massoniana", "form": "power_d", "a": 0.1, "b": 2.4},
        {**known, "name": "palm", "taxon": "Livistona chinensis", "form": "linear_h", "a": 2.0, "b": 7.0},
        {**known, "name": "moso", "taxon": "Phyllostachys edulis", "form": "culm", "a": 747.787, "b": 2.771, "c": 0.148,
         "d": 0.028, "e": 5.555, "f": 3.772},
        {**known, "name": "shrub", "taxon": "Rhododendron simsii", "form": "power_cover", "a": 60.0, "b": 1.1},
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    trees = pd.DataFrame(
        {"plot": "P1", "date": "2019-07-15", "species": [row["taxon"] for row in rows], "dbh_cm": [20.0, 15.0, 10.0, None],
         "height_m": [12.0, 6.0, 11.0, None], "culm_age_du": [None, None, 2.0, None], "cover_percent": [None, None, None, 40.0],
         "trees_per_ha": [25.0, 25.0, 25.0, 1.0]}
    )  # fmt: skip
    table = run(make_plots(n=1), trees, allometry=str(tmp_path / "own.csv"), errors=errors).iloc[0]
    listed = pd.read_parquet(tmp_path / "trees.parquet").set_index("equation")["agb_kg"]
    culm = 747.787 * 10**2.771 * (0.148 * 2 / (0.028 + 2)) ** 5.555 + 3.772
    expected = {"tree": 0.1 * 20**2.4, "palm": 2.0 + 7.0 * 6, "moso": culm, "shrub": 60.0 * 40**1.1}
    assert listed.to_dict() == pytest.approx(expected)
    whole = (25 * (expected["tree"] + expected["palm"] + culm) + expected["shrub"]) / 1000
    assert table["agb_mg_ha"] == pytest.approx(whole)
    assert np.isfinite(table["agb_mg_ha_se"]) and table["agb_mg_ha_se"] > 0
    assert table["stems_n_ha"] == 75
    assert table["basal_area_m2_ha"] == pytest.approx(25 * np.pi / 4 * (0.2**2 + 0.15**2 + 0.1**2))
    assert np.isfinite(table["dominant_height_m"])


def test_an_empty_plot_has_no_roots_and_no_carbon(run):
    given = {"allometry": "lyt2264_fir", "roots": {"by": "continuous", "per": "plot"}}
    table = run(make_plots(n=4), make_trees(), **given).set_index("plot")
    assert table.loc["P4", ["agb_mg_ha", "bgb_mg_ha", "tree_carbon_t_ha"]].tolist() == [0, 0, 0]
    agb = table.loc["P1", "agb_mg_ha"]
    assert table.loc["P1", "bgb_mg_ha"] == pytest.approx(np.exp(-1.085 + 0.9256 * np.log(agb)))


def test_dead_trees_are_a_pool_of_their_own(run):
    trees = make_trees(status=["live"] * 9 + ["dead"] + ["live"] * 20)
    table = run(make_plots(), trees, allometry="lyt2264_fir").set_index("plot")
    dead = fir_kg(28.0, trees["height_m"].iloc[9]) * 25 / 1000
    assert table.loc["P1", "standing_dead_mg_ha"] == pytest.approx(0.975 * dead)
    assert table.loc["P2", "standing_dead_mg_ha"] == 0
    assert table.loc["P2", "agb_mg_ha"] - table.loc["P1", "agb_mg_ha"] == pytest.approx(dead)


def test_heights_of_dead_trees_come_from_the_living(run):
    """All living trees are measured along 1.3 + 20 exp(-8 / D); the dead one has no height."""
    trees = make_trees(status=["live"] * 9 + ["dead"] + ["live"] * 20)
    trees.loc[9, "height_m"] = np.nan
    table = run(make_plots(), trees, allometry="lyt2264_fir").set_index("plot")
    dead = 0.975 * fir_kg(28.0, 1.3 + 20 * np.exp(-8 / 28)) * 25 / 1000
    assert table.loc["P1", "standing_dead_mg_ha"] == pytest.approx(dead, rel=1e-3)
    assert not [column for column in table if column.startswith("f_height")]


def test_simulated_errors_are_those_of_first_order_and_the_same_bytes_twice(run, tmp_path):
    wood = pd.DataFrame({"species": ["Cunninghamia lanceolata"], "genus": "Cunninghamia", "wood_density_g_cm3": 0.32, "se": 0.01})
    wood.to_csv(tmp_path / "wood.csv", index=False)
    given = {"wood_density": str(tmp_path / "wood.csv")}
    first = run(make_plots(), make_trees(), **given)
    drawn = run(make_plots(), make_trees(), **given, errors="monte_carlo", iterations=5000, seed=3)
    bytes_of = (tmp_path / "plots.parquet").read_bytes()
    assert list(first) == list(drawn)
    shared = [column for column in first if column.startswith("f_")]
    whole = [np.sqrt((t[shared] ** 2).sum(axis=1) + t["agb_mg_ha_se"] ** 2).to_numpy() for t in (first, drawn)]
    assert whole[1] == pytest.approx(whole[0], rel=0.05)
    run(make_plots(), make_trees(), **given, errors="monte_carlo", iterations=5000, seed=3)
    assert (tmp_path / "plots.parquet").read_bytes() == bytes_of


def test_numbers_that_nobody_checked_are_said_in_the_table_and_kept_for_every_product(run, tmp_path):
    trees = make_trees()
    table = run(make_plots(), trees, allometry="lyt2264_fir")
    assert set(table["unverified"]) == {""}  # stems from 5 cm on are published
    assert not [sentence for sentence in caveats_in(tmp_path / "said.json") if "unverified" in sentence]
    trees.loc[0, ["dbh_cm", "height_m"]] = [4.0, 4.0]
    table = run(make_plots(), trees, allometry="lyt2264_fir")
    assert set(table["unverified"]) == {"lyt2264_fir"}
    sentence = "allometry lyt2264_fir has rows of status unverified, and trees rest on them"
    assert sentence in caveats_in(tmp_path / "said.json")
    assert sentence in json.loads((tmp_path / "said.json").read_text())["warnings"]


def test_a_caveat_stands_in_the_metadata_of_a_map(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    band = {"agb": np.ones((GRID.rows, GRID.cols), "float32")}
    for name, caveats in {"with": ["one thing", "another"], "without": []}.items():
        store.write_cog(tmp_path / f"{name}.tif", band, geobox=GRID.geobox, units={}, titles={}, caveats=caveats)
    with rasterio.open(tmp_path / "with.tif") as one, rasterio.open(tmp_path / "without.tif") as other:
        assert one.tags()["CAVEATS"] == "one thing; another"
        assert "CAVEATS" not in other.tags()


def test_a_published_map_carries_what_the_plots_step_must_say(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    block = tmp_path / f"{GRID.blocks()[0]}.tif"
    store.write_raster(block, {"agb_mg_ha": np.ones((GRID.rows, GRID.cols), "float32")}, geobox=GRID.geobox)
    product = products_of(make_study())["agb_2019"]
    plain = asdict(product) | {"bands": [asdict(product.bands[0])]}
    said = tmp_path / "said.json"
    said.write_text('{"warnings": ["a", "b"], "caveats": ["b"]}')
    for name, heard in {"with": said, "without": None}.items():
        publish(
            raster=tmp_path / f"{name}.tif", style=tmp_path / "style.qml", blocks=[block], grid=GRID.settings(), product=plain,
            said=heard,
        )  # fmt: skip
    with rasterio.open(tmp_path / "with.tif") as one, rasterio.open(tmp_path / "without.tif") as other:
        assert one.tags()["CAVEATS"] == "b"
        assert "CAVEATS" not in other.tags()


def test_strata_with_enough_heights_have_curves_of_their_own(run, tmp_path):
    """Stratum a is 5 m taller than b; c has no measured height and takes the common curve."""
    trees = make_trees(plots_n=3, per_plot=24, dbh_cm=np.tile(np.linspace(10, 40, 24), 3))
    taller = np.select([trees["plot"] == "P1", trees["plot"] == "P2"], [25.0, 20.0], np.nan)
    trees["height_m"] = 1.3 + taller * np.exp(-8 / trees["dbh_cm"])
    trees.loc[trees.index % 2 == 1, "height_m"] = np.nan
    strata = make_plots(stratum=["a", "b", "c"])
    run(strata, trees, allometry="lyt2264_fir", height_by="stratum")
    listed = pd.read_parquet(tmp_path / "trees.parquet")
    modelled = listed[listed["height_from"] == "model"]
    expected = 1.3 + modelled["plot"].map({"P1": 25.0, "P2": 20.0, "P3": 22.5}) * np.exp(-8 / modelled["dbh_cm"])
    apart = (modelled["height_m"] - expected).abs().groupby(modelled["plot"]).max()
    assert apart["P1"] < 0.05 and apart["P2"] < 0.05 and apart["P3"] < 0.5


def test_the_best_height_model_can_be_left_to_cross_validation(run, tmp_path, caplog):
    trees = make_trees(per_plot=24, dbh_cm=np.tile(np.linspace(8, 60, 24), 3))
    trees["height_m"] = 1.3 + trees["dbh_cm"] ** 2 / (1.5 + 0.2 * trees["dbh_cm"]) ** 2  # a Naslund curve
    trees.loc[5, "height_m"] = np.nan
    with caplog.at_level(logging.INFO):
        run(make_plots(), trees, allometry="lyt2264_fir", height_model="auto")
    assert "height models by error at left-out trees: naslund 0.00 m" in caplog.text


def test_plots_with_volume_alone_become_biomass_by_expansion_factors(run):
    """Temperate pines: 0.7 above 100 m3/ha, 1.0 from 21 to 40; a plot that carries biomass keeps it."""
    table = make_plots(volume_m3_ha=[150.0, 30.0, 90.0], volume_m3_ha_se=[15.0, 3.0, 9.0], agb_mg_ha=[np.nan, np.nan, 77.0])
    found = run(table, expansion="temperate_pines", expansion_per="plot")
    assert found["agb_mg_ha"].tolist() == pytest.approx([105.0, 30.0, 77.0])
    assert found["agb_mg_ha_se"].tolist()[:2] == pytest.approx([10.5, 3.0])


def test_one_class_of_expansion_serves_a_stratum_over_all_its_dates(run, caplog):
    """P1 grows from 39 to 42 m3/ha: 39 x 1.0 would become 42 x 0.75. The mean of its stratum, 87, is of the class of 0.75."""
    table = pd.concat([make_plots(date=date, stratum=["a", "a", "b"]) for date in ("2014-07-15", "2019-07-15")])
    table["volume_m3_ha"] = [39.0, 130.0, 30.0, 42.0, 137.0, 35.0]
    found = run(table, expansion="temperate_pines").set_index(["plot", "date"])["agb_mg_ha"]
    assert found["P1"].tolist() == pytest.approx([39 * 0.75, 42 * 0.75])
    assert found["P2"].tolist() == pytest.approx([130 * 0.75, 137 * 0.75])
    assert found["P3"].tolist() == pytest.approx([30.0, 35.0])
    assert "3 of 6 plots and dates have a volume of another class of temperate_pines" in caplog.text
    alone = run(table, expansion="temperate_pines", expansion_per="plot").set_index(["plot", "date"])["agb_mg_ha"]
    assert alone["P1"].tolist() == pytest.approx([39.0, 42 * 0.75])


def test_a_plot_of_low_trees_keeps_its_thinnest(run, tmp_path):
    """P1 is 8 m lower than the rest, so that its curve passes below the ground at 2 cm; the tree is 1.3 m high."""
    trees = make_trees(per_plot=20, dbh_cm=np.tile(np.linspace(6, 40, 20), 3))
    trees["height_m"] = 1.3 + 22 * np.exp(-8 / trees["dbh_cm"])
    trees.loc[trees["plot"] == "P1", "height_m"] = (trees["height_m"] - 8).clip(lower=1.5)
    trees.loc[0, ["dbh_cm", "height_m"]] = [2.0, np.nan]
    table = run(make_plots(), trees, allometry="lyt2264_fir").set_index("plot")
    assert table.loc["P1", "kept"] and table.loc["P1", "agb_mg_ha"] > 0
    thin = pd.read_parquet(tmp_path / "trees.parquet").query("dbh_cm == 2.0").iloc[0]
    assert (thin["height_from"], thin["height_m"]) == ("model", 1.3)


def test_trees_whose_biomass_cannot_be_computed_are_named_and_not_called_unlisted(run, tmp_path, caplog):
    write_own_equations(tmp_path, form="power_basal_diameter", a=0.05, b=2.4)
    trees = make_trees(basal_diameter_cm=12.0)
    trees.loc[[3, 4], "basal_diameter_cm"] = np.nan
    table = run(make_plots(), trees, allometry=str(tmp_path / "own.csv")).set_index("plot")
    assert table["trees_without_biomass_n"].tolist() == [2, 0, 0]
    assert table.loc["P1", "reason"] == "biomass of some of its trees could not be computed"
    assert "biomass of 2 of 30 trees could not be computed (rows 5 and 6)" in caplog.text
    assert "no trees listed" not in caplog.text


def write_own_equations(folder, roots_status="", **columns) -> None:
    """An equation of one's own for all trees, and one for roots where they have a status."""
    known = {
        "name": "own", "taxon": "", "level": "default", "component": "agb", "form": "log_d", "a": -2.0, "b": 2.4, "rse": 0.3,
        "var_a": 1e-3, "dbh_min_cm": 1, "dbh_max_cm": 100, "bias_corrected": "yes", "source": "x", "status": "user",
    }  # fmt: skip
    rows = [{**known, **columns}]
    if roots_status:
        rows.append({**known, "component": "roots", "form": "share", "a": 0.3, "b": None, "var_a": None, "status": roots_status})
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)


def test_unverified_roots_fractions_and_factors_are_said_as_loudly_as_equations(run, tmp_path):
    write_own_equations(tmp_path, roots_status="unverified")
    fractions = {"level": "genus", "taxon": "Cunninghamia", "carbon_fraction": 0.5, "source": "memory", "status": "unverified"}
    pd.DataFrame([fractions]).to_csv(tmp_path / "fractions.csv", index=False)
    given = {"allometry": str(tmp_path / "own.csv"), "roots": {"by": "equations"}}
    table = run(make_plots(), make_trees(), **given, carbon_fractions=str(tmp_path / "fractions.csv"))
    assert set(table["unverified"]) == {"own, carbon fraction of Cunninghamia"}
    said = caveats_in(tmp_path / "said.json")
    assert "allometry own has rows of status unverified, and trees rest on them" in said
    assert "carbon fractions of status unverified serve 30 trees: Cunninghamia" in said
    assert unverified_in(tmp_path / "said.json") == ["own", "carbon fraction of Cunninghamia"]
    table = run(make_plots(volume_m3_ha=100.0), expansion="china_cunninghamia_lanceolata")
    assert set(table["unverified"]) == {"expansion factors china_cunninghamia_lanceolata"}
    assert unverified_in(tmp_path / "said.json") == ["expansion factors china_cunninghamia_lanceolata"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"rse": None}, "allometry own has no rse: the spread of trees around it is left out of the errors"),
        ({"var_a": None}, "allometry own has no parameter covariance: its error, which all plots share, is left out"),
        ({"bias_corrected": "unknown"}, "nothing says whether allometry own is corrected for logarithms"),
        ({"dbh_max_cm": 20}, "of the biomass is of trees outside the diameters or heights of their equation"),
    ],
    ids=["rse", "covariance", "correction", "range"],
)
def test_what_an_equation_leaves_unknown_is_said_of_every_product(run, tmp_path, columns, sentence):
    write_own_equations(tmp_path)
    run(make_plots(), make_trees(), allometry=str(tmp_path / "own.csv"))
    assert caveats_in(tmp_path / "said.json") == []
    write_own_equations(tmp_path, **columns)
    run(make_plots(), make_trees(), allometry=str(tmp_path / "own.csv"))
    assert [one for one in caveats_in(tmp_path / "said.json") if sentence in one]


def test_more_extrapolation_than_the_study_allows_is_refused(run, tmp_path):
    """Trees of 10, 12, ... 28 cm by a D^2.4; those above 20 cm are extrapolated."""
    write_own_equations(tmp_path, dbh_max_cm=20)
    given = {"allometry": str(tmp_path / "own.csv")}
    dbh = np.arange(10, 30, 2.0)
    percent = 100 * (dbh[dbh > 20] ** 2.4).sum() / (dbh**2.4).sum()
    assert len(run(make_plots(), make_trees(), **given, max_extrapolated_percent=np.ceil(percent))) == 3
    with pytest.raises(ValueError, match=rf"{percent:.3g} % of the biomass .* plots.max_extrapolated_percent is 60"):
        run(make_plots(), make_trees(), **given, max_extrapolated_percent=60)


def test_heights_beyond_the_measured_trees_are_warned_of_with_their_share(run, tmp_path, caplog):
    trees = make_trees(per_plot=12)
    trees.loc[trees["dbh_cm"] > 26, "height_m"] = np.nan
    run(make_plots(), trees, allometry="lyt2264_fir", height_model="loglog2")
    assert "heights of 9 trees are by loglog2 beyond the thickest measured tree of 26 cm; they hold" in caplog.text


def test_roots_of_a_table_carry_the_error_of_their_ratio(run, tmp_path):
    """Tropical moist Asia, natural, up to 125 t/ha: 0.323, SD 0.073, beside the errors of biomass itself."""
    write_own_equations(tmp_path)
    roots = {"by": "table", "zone": "tropical moist", "continent": "asia", "per": "plot"}
    table = run(make_plots(), make_trees(), allometry=str(tmp_path / "own.csv"), roots=roots).iloc[0]
    assert (table["root_shoot"], table["root_shoot_se"]) == pytest.approx((0.323, 0.073))
    above = np.hypot(table["agb_mg_ha_se"], table["f_allometry_own_1"])
    assert table["bgb_mg_ha_se"] == pytest.approx(np.hypot(0.323 * above, 0.073 * table["agb_mg_ha"]))
    expected = 0.47 * np.hypot(1.323 * above, 0.073 * table["agb_mg_ha"])
    assert table["tree_carbon_t_ha_se"] == pytest.approx(expected)


def test_roots_by_equations_have_the_errors_that_their_equations_state(run, tmp_path):
    """Roots 0.3 of the shoots: their error is 0.3 of that of the shoots, that of the tree 1.3 of it."""
    write_own_equations(tmp_path, roots_status="user")
    given = {"allometry": str(tmp_path / "own.csv"), "roots": {"by": "equations"}}
    table = run(make_plots(), make_trees(), **given).iloc[0]
    above = np.hypot(table["agb_mg_ha_se"], table["f_allometry_own_1"])
    # each tree of the share form spreads by its own rse too, where the row states one
    assert table["bgb_mg_ha_se"] >= 0.3 * above and table["tree_carbon_t_ha_se"] >= 0.47 * 1.3 * above
    assert "root_shoot_se" not in table and "tree_mg_ha_se" not in table


def test_the_error_of_a_carbon_fraction_is_shared_by_all_trees_of_its_taxon(run, tmp_path):
    write_own_equations(tmp_path)
    fractions = {"level": "genus", "taxon": "Cunninghamia", "carbon_fraction": 0.5, "sd": 0.02, "source": "x", "status": "user"}
    pd.DataFrame([fractions]).to_csv(tmp_path / "fractions.csv", index=False)
    roots = {"by": "table", "zone": "tropical moist", "continent": "asia", "per": "plot"}
    given = {"allometry": str(tmp_path / "own.csv"), "roots": roots, "carbon_fractions": str(tmp_path / "fractions.csv")}
    table = run(make_plots(), make_trees(), **given).iloc[0]
    assert (table["carbon_fraction"], table["carbon_fraction_se"]) == pytest.approx((0.5, 0.02))
    above = np.hypot(table["agb_mg_ha_se"], table["f_allometry_own_1"])
    of_biomass = 0.5 * np.hypot(1.323 * above, 0.073 * table["agb_mg_ha"])
    expected = np.hypot(of_biomass, 0.02 * 1.323 * table["agb_mg_ha"])
    assert table["tree_carbon_t_ha_se"] == pytest.approx(expected)
    assert not [one for one in caveats_in(tmp_path / "said.json") if "carbon fractions" in one]


@pytest.mark.skipif(importlib.util.find_spec("nsvb") is None, reason="the package nsvb is absent")
def test_a_plot_of_the_united_states_has_its_components(run):
    """One Douglas-fir of 20 in and 110 ft on 0.04 ha: the first example of the national system's report."""
    trees = make_trees("Pseudotsuga menziesii", plots_n=1, per_plot=1, dbh_cm=[50.8], height_m=[110 * 0.3048])
    table = run(make_plots(n=1), trees, allometry="nsvb", region="240", carbon_fractions="nsvb").iloc[0]
    assert table["agb_mg_ha"] == pytest.approx(3154.553993 * KG_PER_LB * 25 / 1000, rel=1e-6)
    parts = table[["stem_wood_mg_ha", "bark_mg_ha", "branches_mg_ha"]].sum()
    assert parts == pytest.approx(table["agb_mg_ha"])
    assert table["foliage_mg_ha"] == pytest.approx(83.634789 * KG_PER_LB * 25 / 1000, rel=1e-6)
    assert table["volume_m3_ha"] == pytest.approx(88.452275544288 * 0.3048**3 * 25, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"allometry": "chave2014_without_height"}, "needs the environmental stress E of the site; set plots.environment_e"),
        ({"allometry": "luo2018_camphor_fujian"}, "has no equation for 30 trees of 1 species (Cunninghamia lanceolata"),
        ({"allometry": "luo2018_fir_hunan_42", "roots": {"by": "equations"}}, "has no rows of the component roots"),
        (
            {"allometry": "lyt2264_fir", "roots": {"by": "table", "zone": "subtropical humid", "continent": "asia"}},
            "plots.roots.per is stratum, and no plot has one",
        ),
    ],
    ids=["environment", "species", "roots", "strata"],
)
def test_what_a_setting_lacks_is_said(run, settings, sentence):
    with pytest.raises(ValueError) as mistake:
        run(make_plots(), make_trees(), **settings)
    assert sentence in str(mistake.value)


def test_roots_by_a_table_ask_for_their_zone():
    with pytest.raises(ValidationError, match="by: table needs zone and continent"):
        Plots(file="plots.csv", roots={"by": "table"})
