"""How a plot was laid out and measured decides how many trees a tree stands for: by hand arithmetic for each design."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from catalogs import tables, units
from catalogs.names import scientific_name
from catalogs.plots import read_plots, read_trees
from catalogs.plots.tallies import limiting_distance_m
from pipeline.config import Plots

UTM = "EPSG:32650"


def plot_table(n: int = 1, **columns) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"plot": [f"P{i + 1}" for i in range(n)], "date": "2019-07-15", "x": 500_000.0 + 100 * np.arange(n), "y": 3e6}
    )
    return frame.assign(**columns)


def tree_table(dbh_cm=(6.0, 15.0, 40.0), **columns) -> pd.DataFrame:
    frame = pd.DataFrame({"plot": "P1", "date": "2019-07-15", "tree": range(1, len(dbh_cm) + 1), "dbh_cm": dbh_cm})
    return frame.assign(species="Pinus massoniana").assign(**columns)


@pytest.fixture
def field(tmp_path):
    """Writes tables and reads them: field(plots, trees, setting=...) -> plots, trees."""

    def read(plots: pd.DataFrame, trees: pd.DataFrame | None = None, **settings):
        plots.to_csv(tmp_path / "plots.csv", index=False)
        given = {"file": str(tmp_path / "plots.csv"), "crs": UTM, **settings}
        if trees is not None:
            trees.to_csv(tmp_path / "trees.csv", index=False)
            given["trees"] = str(tmp_path / "trees.csv")
        plain = Plots(**given).model_dump(mode="json")
        found = read_plots(plain, crs=UTM)
        return found, read_trees(plain, plots=found) if trees is not None else None

    return read


# ---------------------------------------------------------------- nested circles and angle counts

CIRCLES = [{"min_dbh_cm": 5, "radius_m": 4.0}, {"min_dbh_cm": 12, "radius_m": 8.0}, {"min_dbh_cm": 30, "radius_m": 16.0}]


def test_a_tree_of_nested_circles_stands_for_one_over_its_circles_area(field):
    plots, trees = field(plot_table(), tree_table((4.9, 5.0, 12.0, 30.0)), nested=CIRCLES)
    assert trees["status"].tolist() == ["small", "live", "live", "live"]
    expected = [1e4 / (np.pi * radius**2) for radius in (4, 8, 16)]
    assert trees["trees_per_ha"].to_numpy()[1:] == pytest.approx(expected)
    assert plots["area_ha"].iloc[0] == pytest.approx(np.pi * 16**2 / 1e4)


def test_every_tree_of_an_angle_count_adds_the_factor_to_the_basal_area(field):
    plots, trees = field(plot_table(), tree_table((10.0, 20.0, 40.0)), nested=[{"baf_m2_ha": 4}])
    basal_area = np.pi / 4 * (trees["dbh_cm"] / 100) ** 2 * trees["trees_per_ha"]
    assert basal_area.to_numpy() == pytest.approx(4.0)
    # 4 m2/ha and 20 cm: 4 / 0.0314159 m2 = 127.32 per hectare
    assert trees["trees_per_ha"].iloc[1] == pytest.approx(127.324, abs=1e-3)
    # limiting distances 0.5 d / sqrt(4) = 2.5, 5 and 10 m; their root mean square is the footprint's radius
    assert plots["area_ha"].iloc[0] == pytest.approx(np.pi * (6.25 + 25 + 100) / 3 / 1e4)


def test_the_limiting_distance_is_that_of_the_relascopes_tables():
    # Bitterlich: with BAF 1 a tree is counted up to 50 times its dbh, with BAF 4 up to 25 times
    assert limiting_distance_m(30.0, 1.0) == pytest.approx(15.0)
    assert limiting_distance_m(30.0, 4.0) == pytest.approx(7.5)


def test_plots_may_each_have_their_own_factor(field):
    _, trees = field(plot_table(radius_m=15.0, baf=2.0), tree_table((20.0,)), columns={"baf_m2_ha": "baf"})
    assert trees["trees_per_ha"].iloc[0] == pytest.approx(2 / (np.pi * 0.01))


def test_expansion_factors_of_the_table_win_and_come_in_their_unit(field):
    trees = tree_table((20.0, 30.0), TPA=[6.0, np.nan])
    _, found = field(
        plot_table(area_ha=0.05), trees, tree_columns={"trees_per_ha": "TPA"}, tree_units={"trees_per_ha": "1/acre"}
    )
    assert found["trees_per_ha"].tolist() == pytest.approx([6 / 0.40468564224, 20.0])


def test_a_row_that_counts_several_trees_stands_for_all_of_them(field):
    _, trees = field(plot_table(area_ha=0.1), tree_table((10.0, 20.0), count=[7, 1]))
    assert trees["trees_per_ha"].tolist() == pytest.approx([70.0, 10.0])


def test_a_plot_of_which_a_part_was_measured_speaks_for_that_part(field, caplog):
    with caplog.at_level(logging.WARNING):
        plots, trees = field(
            plot_table(area_ha=0.04, share=60), tree_table((20.0,)), columns={"measured_share": "share"},
            units={"measured_share": "percent"},
        )  # fmt: skip
    assert plots["area_ha"].iloc[0] == pytest.approx(0.024)
    assert trees["trees_per_ha"].iloc[0] == pytest.approx(1 / 0.024)
    assert "only a part was measured" in caplog.text


def test_a_tree_beyond_its_circle_is_named_with_the_reach(field, caplog):
    trees = tree_table((6.0, 15.0, 40.0), distance_m=[3.9, 8.5, 15.0])
    with caplog.at_level(logging.WARNING):
        field(plot_table(), trees, nested=CIRCLES)
    assert "farther from the centre than its circle reaches in row 3, at most 0.5 m beyond 8.0 m" in caplog.text


@pytest.mark.parametrize(
    ("nested", "settings", "sentence"),
    [
        ([{"min_dbh_cm": 10, "radius_m": 4}, {"min_dbh_cm": 5, "radius_m": 8}], {}, "the thresholds min_dbh_cm must rise"),
        (CIRCLES, {"radius_m": 10}, "leave plots.radius_m out"),
    ],
    ids=["falling", "two_radii"],
)
def test_designs_that_contradict_themselves_are_refused(field, nested, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        field(plot_table(), tree_table(), nested=nested, **settings)


def test_a_circle_is_counted_in_one_way():
    with pytest.raises(ValueError, match="give one of radius_m, area_ha and baf_m2_ha"):
        Plots(file="plots.csv", nested=[{"radius_m": 4, "baf_m2_ha": 2}])


# ---------------------------------------------------------------- slopes


def test_a_radius_along_the_slope_covers_less_of_the_map(field):
    plots, trees = field(
        plot_table(radius_m=10.0, slope=[60.0]), tree_table((20.0,)), distances="along_slope", columns={"slope_deg": "slope"}
    )
    # cos 60 degrees is a half
    assert plots["area_ha"].iloc[0] == pytest.approx(np.pi * 100 / 2 / 1e4)
    assert plots.area.iloc[0] == pytest.approx(np.pi * 100 / 2)
    assert trees["trees_per_ha"].iloc[0] == pytest.approx(2e4 / (np.pi * 100))


def test_a_circle_on_a_slope_is_an_ellipse_across_it(field):
    plots, _ = field(
        plot_table(radius_m=10.0, slope=[60.0], aspect=[90.0]), distances="along_slope",
        columns={"slope_deg": "slope", "aspect_deg": "aspect"},
    )  # fmt: skip
    west, south, east, north = plots.total_bounds
    # it falls to the east, so east-west is half as wide; 64 corners reach 0.08 % beyond the circle of their area
    assert east - west == pytest.approx(10, rel=0.002)
    assert north - south == pytest.approx(20, rel=0.002)


@pytest.mark.parametrize(("slope", "unit"), [(100.0, "percent"), (50.0, "gon"), (45.0, "degree")])
def test_slopes_come_in_percent_gon_and_degrees(field, slope, unit):
    plots, _ = field(
        plot_table(radius_m=10.0, slope=slope), distances="along_slope", columns={"slope_deg": "slope"},
        units={"slope_deg": unit},
    )  # fmt: skip
    assert plots["area_ha"].iloc[0] == pytest.approx(np.pi * 100 * np.sqrt(0.5) / 1e4)


def test_nested_circles_and_angle_counts_on_a_slope_are_brought_to_the_horizontal(field):
    nested = [{"min_dbh_cm": 5, "radius_m": 5.0}, {"min_dbh_cm": 20, "baf_m2_ha": 2}]
    table, columns = plot_table(slope=60.0, radius_m=10.0), {"slope_deg": "slope"}
    _, level = field(table, tree_table((10.0, 30.0)), nested=nested)
    _, steep = field(table, tree_table((10.0, 30.0)), nested=nested, distances="along_slope", columns=columns)
    assert (steep["trees_per_ha"] / level["trees_per_ha"]).tolist() == pytest.approx([2.0, 2.0])


def test_a_missing_slope_is_not_level_ground(field):
    with pytest.raises(ValueError, match="slope is missing or not within 0 to 80 degrees in row 3"):
        field(plot_table(2, radius_m=10.0, slope=[0.0, None]), distances="along_slope", columns={"slope_deg": "slope"})


# ---------------------------------------------------------------- units, codes, names


@pytest.mark.parametrize(
    ("column", "unit", "factor"),
    [
        ("dbh_cm", "mm", 0.1), ("dbh_cm", "inch", 2.54), ("height_m", "ft", 0.3048), ("height_m", "dm", 0.1),
        ("volume_m3", "dm3", 0.001), ("volume_m3", "ft3", 0.028316846592), ("area_ha", "mu", 1 / 15),
        ("agb_mg_ha", "kg/ha", 0.001), ("agb_mg_ha_se", "lb/acre", 0.00112085), ("basal_area_m2_ha", "ft2/acre", 0.229568),
        ("volume_m3_ha", "ft3/acre", 0.0699725), ("trees_per_ha", "1/acre", 2.471054), ("agb_mg_ha", "short ton/acre", 2.2417),
    ],
)  # fmt: skip
def test_units_are_those_of_the_handbooks(column, unit, factor):
    values = pd.Series([2.0, np.nan], name=column)
    found = units.converted(values, unit, setting="plots.units")
    assert found.tolist() == pytest.approx([2 * factor, np.nan], rel=1e-5, nan_ok=True)


def test_a_unit_that_a_column_cannot_have_is_refused_with_those_it_can():
    with pytest.raises(ValueError, match=r"plots\.tree_units\.dbh_cm: 'inhc' is no unit of it \(did you mean 'inch'\?\)"):
        units.converted(pd.Series([1.0], name="dbh_cm"), "inhc", setting="plots.tree_units")


@pytest.mark.parametrize("written", ["inch", "in", "inches", "Inches"])
def test_a_unit_may_be_written_as_tables_of_equations_and_foresters_do(written):
    assert units.converted(pd.Series([2.0], name="dbh_cm"), written, setting="plots.tree_units").tolist() == [5.08]


# ---------------------------------------------------------------- sizes that cannot be, or contradict one another


@pytest.mark.parametrize(
    ("share", "hint"),
    [(80, r"the values look like percent \(plots.units: \{measured_share: percent\}\)"), (1.5, "1.5$"), (0, "not_measured")],
    ids=["percent", "above_one", "zero"],
)
def test_a_measured_share_is_above_zero_and_at_most_one(field, share, hint):
    plots = plot_table(2, area_ha=0.05, measured_share=[share, 1.0])
    with pytest.raises(ValueError, match=rf"measured_share is not above 0 and at most 1 in row 2, such as .*{hint}"):
        field(plots)
    found, _ = field(plots, rules={"share_impossible": "leave_out"})
    assert found["left_out"].tolist() == ["a measured share of zero, or above 1", ""]


def test_square_metres_read_as_hectares_are_refused_with_the_unit_that_would_do(field):
    plots = plot_table(2, area_ha=666.7)
    with pytest.raises(ValueError, match=r"area_ha is above 100 in rows 2 and 3, such as 666\.7; the values look like square"):
        field(plots)
    assert field(plots, units={"area_ha": "m2"})[0]["area_ha"].tolist() == pytest.approx([0.06667, 0.06667])
    with pytest.raises(ValueError, match=r"plots: area_ha 400 is larger than any plot; 400 m2 are 0\.04 ha"):
        field(plot_table(), area_ha=400)


def test_plots_that_hold_next_to_nothing_have_a_size_in_another_unit(field):
    # 50 m2 read as 50 ha: a tree of 20 cm is 0.0314 m2, 0.0006 m2/ha; as 50 m2 it is 6.3 m2/ha
    plots = plot_table(3, area_ha=50)
    trees = pd.concat([tree_table((20.0,), plot=f"P{number}") for number in (1, 2, 3)])
    with pytest.raises(ValueError, match=r"less than 0\.1 m2 of basal area per hectare, the median 0\.00063"):
        field(plots, trees)
    assert len(field(plots, trees, units={"area_ha": "m2"})[1]) == 3
    assert len(field(plots, trees, rules={"basal_area_low": "keep"})[1]) == 3


@pytest.mark.parametrize(
    ("column", "value", "nested"),
    [
        ("baf_m2_ha", 1, [{"baf_m2_ha": 4}]), ("baf_m2_ha", 2, [{"radius_m": 4}]),
        ("radius_m", 5, [{"radius_m": 4}, {"min_dbh_cm": 12, "radius_m": 8}]), ("area_ha", 0.5, [{"radius_m": 4}]),
    ],
    ids=["factor", "factor_without_angles", "radius", "area"],
)  # fmt: skip
def test_a_size_of_the_table_beside_another_design_is_not_passed_over(field, column, value, nested):
    plots = plot_table(**{column: value})
    with pytest.raises(ValueError, match=rf"{column} of the table is {value} in row 2, and plots\.nested decides"):
        field(plots, tree_table(), nested=nested, radius_m=None)
    field(plots, tree_table(), nested=nested, rules={"size_contradiction": "keep"})


def test_a_table_may_repeat_the_widest_circle(field):
    plots, _ = field(plot_table(radius_m=16, area_ha=0.0804), tree_table(), nested=CIRCLES)
    assert plots["area_ha"].iloc[0] == pytest.approx(0.0804)


def test_two_sizes_in_the_settings_that_differ_are_refused(field):
    with pytest.raises(ValueError, match=r"radius_m 10 is a circle of 0\.03142 ha, and plots\.area_ha is 0\.1"):
        field(plot_table(), radius_m=10, area_ha=0.1)
    assert field(plot_table(), radius_m=17.84, area_ha=0.1)[0]["radius_m"].tolist() == [17.84]
    with pytest.raises(ValueError, match=r"plots\.nested gives the sizes of the plots, so leave plots\.area_ha out"):
        field(plot_table(), tree_table(), nested=CIRCLES, area_ha=0.1)


def test_an_angle_count_by_a_column_alone_has_a_footprint(field):
    plots = plot_table(3, baf_m2_ha=[4, 1, np.nan], radius_m=[np.nan, np.nan, 10])
    trees = pd.concat([tree_table((20.0, 40.0)), tree_table((30.0,), plot="P2"), tree_table((90.0,), plot="P3")])
    found, counted = field(plots, trees)
    # limiting distances 0.5 d / sqrt(BAF): 5, 10 and 15 m; root mean square sqrt(350 / 3); the third plot keeps its own
    assert found["radius_m"].tolist() == pytest.approx([np.sqrt(350 / 3), np.sqrt(350 / 3), 10])
    assert (counted["trees_per_ha"] * np.pi / 4 * (counted["dbh_cm"] / 100) ** 2).tolist()[:3] == pytest.approx([4, 4, 1])


def test_a_plot_without_factor_takes_no_footprint_from_the_angle_counts(field):
    with pytest.raises(ValueError, match=r"no size for plot P2 \(row 3\)"):
        field(plot_table(2, baf_m2_ha=[4, np.nan]), tree_table((20.0,)))


def test_codes_of_status_and_species_mean_what_the_configuration_says(field):
    trees = tree_table((20.0, 25.0, 30.0, 35.0), status=[1, 2, 3, 9], species=[541, 541, 316, 316])
    _, found = field(
        plot_table(area_ha=0.1), trees, status_codes={1: "live", 2: "dead", 3: "gone", 9: "stump"},
        species_codes={541: "Fraxinus americana", 316: "Acer rubrum"},
    )  # fmt: skip
    assert found["status"].tolist() == ["live", "dead", "gone", "stump"]
    assert found["species"].tolist() == ["Fraxinus americana"] * 2 + ["Acer rubrum"] * 2
    assert found["genus"].tolist() == ["Fraxinus"] * 2 + ["Acer"] * 2


def test_a_table_of_species_codes_gives_family_and_genus_as_well(field, tmp_path):
    codes = tmp_path / "codes.csv"
    codes.write_text("code,species,family\n01,Pinus koraiensis,Pinaceae\n")
    _, found = field(plot_table(area_ha=0.1), tree_table((20.0,), species=["01"]), species_codes=str(codes))
    assert found[["species", "genus", "family"]].iloc[0].tolist() == ["Pinus koraiensis", "Pinus", "Pinaceae"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Pinus densiflora Siebold & Zucc.", "Pinus densiflora"),
        ("Acer pictum Thunb. var. mono (Maxim.) Maxim. ex Franch.", "Acer pictum"),
        ("Acer pseudosieboldianum (Pax) Kom.", "Acer pseudosieboldianum"),
        ("Quercus × hispanica Lam.", "Quercus x hispanica"),
        ("소나무", "소나무"),
        ("Pinus sp.", "Pinus sp."),
        ("yellow birch", "yellow birch"),
        ("Pinus densiflora for. multicaulis Uyeki", "Pinus densiflora"),
        ("Cunninghamia lanceolata(Lamb.) Hook.", "Cunninghamia lanceolata"),
        ("PINUS MASSONIANA", "Pinus massoniana"),
        ("PINUS MASSONIANA LAMB.", "Pinus massoniana"),
        ("Pinus Massoniana", "Pinus massoniana"),
        ("ACER RUBRUM", "Acer rubrum"),
        ("abies alba", "Abies alba"),
        ("RED OAK", "RED OAK"),
        ("ma wei song", "ma wei song"),
        ("杉木(实生)", "杉木(实生)"),
    ],
)
def test_names_lose_their_authors_and_nothing_else(given, name):
    assert scientific_name(given) == name


# ---------------------------------------------------------------- tables


def test_row_numbers_are_the_spreadsheets_even_below_blank_rows(tmp_path):
    file = tmp_path / "plots.csv"
    file.write_text("plot,x\nA,1\n\n,\nB,2\n")
    assert tables.read_table(file).index.tolist() == [2, 5]
    pd.DataFrame({"plot": ["A", None, "B"], "x": [1, None, 2]}).to_excel(tmp_path / "plots.xlsx", index=False)
    assert tables.read_table(tmp_path / "plots.xlsx").index.tolist() == [2, 4]


def test_names_keep_leading_zeros_and_twenty_digits(field):
    names = ["007", "12345678901234567890"]
    plots, trees = field(plot_table(2, area_ha=0.1, plot=names), tree_table((20.0, 30.0), plot=names))
    assert plots["plot"].tolist() == trees["plot"].tolist() == names


def test_a_name_of_several_columns_and_a_date_of_year_and_month(field):
    table = plot_table(2, area_ha=0.1, tract=[1, 2], corner=[3, 3], year=2019, month=[6, 11]).drop(columns=["plot", "date"])
    plots, _ = field(table, columns={"plot": ["tract", "corner"], "date": ["year", "month"]})
    assert plots["plot"].tolist() == ["1_3", "2_3"]
    assert plots["date"].dt.strftime("%Y-%m-%d").tolist() == ["2019-06-15", "2019-11-15"]


def test_columns_per_date_become_a_row_per_date(field):
    table = plot_table(2, area_ha=0.1, b91=[100, 200], b02=[122, None]).drop(columns="date")
    visits = [{"date": 1991, "columns": {"agb_mg_ha": "b91"}}, {"date": 2002, "columns": {"agb_mg_ha": "b02"}}]
    plots, _ = field(table, visits=visits)
    assert list(zip(plots["plot"], plots["date"].dt.year, plots["agb_mg_ha"], strict=True)) == [
        ("P1", 1991, 100.0), ("P1", 2002, 122.0), ("P2", 1991, 200.0),
    ]  # fmt: skip


def test_trees_dated_by_a_year_belong_to_the_visit_of_that_year(field):
    table = pd.concat([plot_table(area_ha=0.1), plot_table(area_ha=0.1, date="2014-09-02")])
    _, trees = field(table, tree_table((20.0, 22.0), date=[2014, 2019]))
    assert trees["date"].dt.strftime("%Y-%m-%d").tolist() == ["2014-09-02", "2019-07-15"]


def test_trees_find_their_plot_and_date_by_the_key_of_a_visit(field):
    table = pd.concat([plot_table(area_ha=0.1, key="a"), plot_table(area_ha=0.1, key="b", date="2014-09-02")])
    trees = tree_table((20.0, 22.0), key=["b", "a"]).drop(columns=["plot", "date"])
    _, found = field(table, trees, columns={"visit": "key"}, tree_columns={"visit": "key"})
    assert found["dbh_cm"].tolist() == [20.0, 22.0]
    assert found["date"].dt.year.tolist() == [2014, 2019]


def test_how_plots_were_chosen_is_carried_on(field):
    table = plot_table(2, area_ha=0.1, tract="T1", str="north", ph=[1, 2], w=[120.5, None])
    columns = {"cluster": "tract", "stratum": "str", "phase": "ph", "weight": "w"}
    plots, _ = field(table, columns=columns, sampling="probability")
    assert plots["sampling"].tolist() == ["probability"] * 2
    assert plots["phase"].tolist() == ["1", "2"]
    assert plots["weight"].tolist() == pytest.approx([120.5, np.nan], nan_ok=True)
    assert plots["cluster"].tolist() == ["T1", "T1"]


def test_a_table_says_of_each_plot_how_it_was_chosen_where_it_has_a_word_for_it(field):
    table = plot_table(3, area_ha=0.1, how=["Probability", None, "purposive"])
    plots, _ = field(table, columns={"sampling": "how"})
    assert plots["sampling"].tolist() == ["probability", "purposive", "purposive"]
    with pytest.raises(ValueError, match="sampling 'systematic' in row 2 is none of probability, purposive"):
        field(plot_table(area_ha=0.1, sampling="systematic"))
    plots, _ = field(
        plot_table(area_ha=0.1, sampling="systematic"), sampling="probability", rules={"sampling_unknown": "leave_out"}
    )
    assert plots["sampling"].tolist() == ["probability"]


# ---------------------------------------------------------------- repeated fixes


def test_repeated_fixes_give_a_position_and_its_error(field, tmp_path):
    fixes = tmp_path / "gps.csv"
    # four fixes 3 m north, south, east and west: mean in the middle, 4 x 9 / 3 = 12 = 3.464 m squared
    east, north = 5e5 + np.array([3, -3, 0, 0]), 3e6 + np.array([0, 0, 3, -3])
    pd.DataFrame({"plot": "P1", "e": east, "n": north}).to_csv(fixes, index=False)
    plots, _ = field(
        plot_table(radius_m=10.0).drop(columns=["x", "y"]), fixes=str(fixes), fix_columns={"x": "e", "y": "n"}
    )
    centre = plots.geometry.iloc[0].centroid
    assert (centre.x, centre.y) == pytest.approx((500_000, 3_000_000))
    assert plots["position_error_m"].iloc[0] == pytest.approx(np.sqrt(12))


@pytest.mark.parametrize(("rule", "east"), [("keep", 500_020.0), ("leave_out", 500_000.0)])
def test_a_fix_far_from_the_others_is_kept_or_left_out_by_rule(field, tmp_path, caplog, rule, east):
    fixes = tmp_path / "gps.csv"
    pd.DataFrame({"plot": "P1", "x": [499_999, 500_001, 500_000, 500_080], "y": 3e6}).to_csv(fixes, index=False)
    with caplog.at_level(logging.WARNING):
        plots, _ = field(plot_table(radius_m=10.0).drop(columns=["x", "y"]), fixes=str(fixes), rules={"fixes_apart": rule})
    assert plots.geometry.iloc[0].centroid.x == pytest.approx(east)
    assert "a GPS fix lies far from the others of its plot, up to 80 m in row 5" in caplog.text


def test_one_workbook_may_hold_both_sheets(tmp_path):
    file = tmp_path / "field.xlsx"
    with pd.ExcelWriter(file) as book:
        plot_table(2, area_ha=0.1).to_excel(book, sheet_name="Plots", index=False)
        tree_table((20.0, 30.0)).to_excel(book, sheet_name="Trees", index=False)
    settings = Plots(
        file=str(file), layer="Plots", trees=str(file), tree_layer="Trees", crs=UTM,
    ).model_dump(mode="json")  # fmt: skip
    plots = read_plots(settings, crs=UTM)
    assert len(plots) == 2
    assert read_trees(settings, plots=plots)["dbh_cm"].dropna().tolist() == [20.0, 30.0]


@pytest.mark.parametrize(("declared", "shift_m"), [("EPSG:4548", 39e6), ("EPSG:4527", -39e6), ("EPSG:4548", 0)])
def test_eastings_of_plots_with_or_without_the_zone_number_land_in_place(field, declared, shift_m):
    from pyproj import Transformer

    x, y = Transformer.from_crs(UTM, declared, always_xy=True).transform(500_000.0, 3_000_000.0)
    plots, _ = field(plot_table(radius_m=10.0, x=x + shift_m, y=y), crs=declared)
    centre = plots.geometry.iloc[0].centroid
    assert (centre.x, centre.y) == pytest.approx((500_000, 3_000_000), abs=0.05)


def test_polygons_of_plots_are_their_own_size(tmp_path):
    import geopandas as gpd
    import shapely

    file = tmp_path / "plots.gpkg"
    square = shapely.box(500_000, 3_000_000, 500_020, 3_000_030)
    gpd.GeoDataFrame({"plot": ["A"]}, geometry=[square], crs=UTM).to_crs(4326).to_file(file)
    plots = read_plots(Plots(file=str(file), date=2019).model_dump(mode="json"), crs=UTM)
    assert plots["area_ha"].iloc[0] == pytest.approx(0.06, rel=1e-4)
    assert plots.geometry.iloc[0].centroid.x == pytest.approx(500_010, abs=0.01)
