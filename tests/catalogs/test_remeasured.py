"""Trees followed from date to date: who lived, died, was cut, grew in, and whose number is not to be trusted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalogs.plots.findings import Findings
from catalogs.plots.remeasured import changes_of_plots, linked

SETTINGS = {"trees": "trees.csv", "nested": [], "min_dbh_cm": 10.0, "tree_numbers": "lasting"}


def tree_list(*visits: dict[str, tuple], plot: str = "P1", years=(2010, 2015, 2020)) -> pd.DataFrame:
    """Per visit {tree number: (dbh_cm, species, status)}; species and status may be left out."""
    rows = []
    for year, visit in zip(years, visits, strict=False):
        for tree, said in visit.items():
            dbh, species, status = (*said, "Pinus massoniana", "live")[:3] if len(said) < 2 else (*said, "live")[:3]
            rows.append({"plot": plot, "date": pd.Timestamp(f"{year}-07-01"), "tree": tree, "dbh_cm": dbh, "species": species,
                         "status": status})  # fmt: skip
    frame = pd.DataFrame(rows).assign(height_m=np.nan, numbered=True)
    frame.insert(0, "row", np.arange(len(frame)) + 2)
    return frame


def follow(trees: pd.DataFrame, **settings) -> tuple[pd.DataFrame, Findings]:
    findings = Findings({}, stops=False)
    return linked(trees, {**SETTINGS, **settings}, findings), findings


def rows_of(findings: Findings, kind: str) -> list[int]:
    return [int(row) for one in findings.found if one.kind == kind for row in one.rows]


def test_each_change_has_its_name():
    first = {"1": (20.0,), "2": (30.0,), "3": (25.0,), "4": (18.0,), "5": (22.0, "Pinus massoniana", "dead")}
    second = {"1": (22.5,), "2": (30.2, "Pinus massoniana", "dead"), "3": (np.nan, "Pinus massoniana", "gone"),
              "4": (np.nan, "Pinus massoniana", "stump"), "5": (22.0,), "6": (11.0,)}  # fmt: skip
    trees, findings = follow(tree_list(first, second))
    later = trees[trees["date"].dt.year == 2015].set_index("tree")
    assert later["change"].to_dict() == {
        "1": "survivor", "2": "mortality", "3": "removed", "4": "removed", "5": "revived", "6": "ingrowth",
    }  # fmt: skip
    assert (trees.loc[trees["date"].dt.year == 2010, "change"] == "").all()
    # 2.5 cm between 1 July 2010 and 1 July 2015: 1,826 days
    assert later.loc["1", "dbh_growth_cm_yr"] == pytest.approx(2.5 / (1826 / 365.25))
    assert later["dbh_before_cm"].tolist() == pytest.approx([20, 30, 25, 18, 22, np.nan], nan_ok=True)
    assert rows_of(findings, "tree_revives") == [11]
    counts = changes_of_plots(trees)
    assert counts[["survivor_n", "ingrowth_n", "mortality_n", "removed_n", "revived_n"]].iloc[0].tolist() == [1, 1, 1, 2, 1]


def test_a_tree_that_was_below_the_threshold_grows_in():
    trees, _ = follow(tree_list({"1": (9.0, "Pinus massoniana", "small")}, {"1": (11.0,)}))
    assert trees["change"].tolist() == ["", "ingrowth"]


def test_a_tree_is_followed_over_three_dates():
    trees, _ = follow(tree_list({"1": (20.0,)}, {"1": (21.0,)}, {"1": (23.0,)}))
    assert trees["stem"].unique().tolist() == ["P1/1"]
    assert trees["dbh_before_cm"].tolist() == pytest.approx([np.nan, 20, 21], nan_ok=True)


def test_a_live_tree_that_the_next_visit_lacks_is_named_at_its_last_row():
    _, findings = follow(tree_list({"1": (20.0,), "2": (30.0,)}, {"1": (21.0,)}, {"1": (22.0,)}))
    assert rows_of(findings, "tree_vanishes") == [3]


def test_records_that_point_at_earlier_records_need_no_numbers():
    trees = tree_list({"1": (20.0,)}, {"8": (21.0,)}, {"5": (22.0,)})
    trees = trees.assign(record=["a", "b", "c"], previous_record=["", "a", "b"])
    found, _ = follow(trees)
    assert found["stem"].tolist() == ["a", "a", "a"]
    assert found["change"].tolist() == ["", "survivor", "survivor"]


@pytest.mark.parametrize("length", [2, 3, 5])
def test_records_in_a_circle_are_refused(length):
    names = [str(k) for k in range(length)]
    trees = tree_list(dict.fromkeys(names, (20.0,))).assign(record=names, previous_record=[*names[1:], names[0]])
    with pytest.raises(ValueError, match="goes round in a circle"):
        follow(trees)


@pytest.mark.parametrize(("dbh", "found"), [(19.0, []), (18.9, []), (18.7, [3])])
def test_shrinking_is_odd_beyond_four_standard_deviations_of_measurement(dbh, found):
    # 20.03 cm: SD = 0.006214 x 20.03 + 0.09036 = 0.2148 cm, so 19.17 is the limit of lists in millimetres...
    limit = 20.03 - 4 * (0.006214 * 20.03 + 0.09036)
    assert limit == pytest.approx(19.17, abs=0.005)
    # ... and 18.67 of one in half centimetres, whose rounding is allowed for
    trees = tree_list({"1": (20.0,)}, {"1": (dbh,)})
    if dbh == 19.0:
        _, findings = follow(trees)
    else:
        trees.loc[0, "dbh_cm"] = 20.03
        _, findings = follow(trees)
        found = [3] if dbh < limit else []
    assert rows_of(findings, "dbh_shrinks") == found


def test_numbers_given_anew_at_each_visit_are_seen_and_not_followed():
    rng = np.random.default_rng(1)
    species = ["Quercus serrata", "Pinus densiflora"]
    visits = [
        {str(k): (float(rng.uniform(10, 50)), species[int(rng.integers(2))]) for k in range(60)} for _ in range(2)
    ]
    trees, findings = follow(tree_list(*visits))
    assert [one.kind for one in findings.found] == ["numbers_do_not_last"]
    assert (trees["change"] == "").all()
    trees, findings = follow(tree_list(*visits), tree_numbers="per_visit")
    assert findings.found == []


def test_a_renumbered_tree_is_recognised_by_species_dbh_and_place():
    first = {"1": (40.0,), "2": (55.0, "Quercus serrata")}
    second = {"1": (41.0,), "9": (56.0, "Quercus serrata")}
    trees = tree_list(first, second).assign(x_site_m=[1, 5, 1, 5.2], y_site_m=[1, 5, 1, 5.3])
    _, findings = follow(trees)
    assert rows_of(findings, "tree_renumbered") == [5]
    _, findings = follow(trees.assign(x_site_m=[1, 5, 1, 9.0]))
    assert rows_of(findings, "tree_renumbered") == []


def test_a_number_that_turns_up_in_another_plot_is_named():
    here = tree_list({str(k): (20.0 + k,) for k in range(1, 9)}, {str(k): (21.0 + k,) for k in range(1, 8)})
    there = tree_list(
        {str(k): (20.0 + k,) for k in range(11, 19)}, {str(k): (21.0 + k,) for k in [*range(11, 19), 8]}, plot="P2"
    )
    trees = pd.concat([here, there], ignore_index=True)
    trees["row"] = np.arange(len(trees)) + 2
    _, findings = follow(trees)
    assert rows_of(findings, "tree_moved") == [trees.loc[(trees["plot"] == "P2") & (trees["tree"] == "8"), "row"].iloc[0]]


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(2)
    trees = tree_list(*({str(k): (20.0 + k + visit,) for k in range(30)} for visit in range(3)))
    shuffled = trees.iloc[rng.permutation(len(trees))].reset_index(drop=True)
    columns = ["row", "stem", "change", "dbh_before_cm", "dbh_growth_cm_yr"]
    first, _ = follow(trees)
    second, _ = follow(shuffled)
    pd.testing.assert_frame_equal(
        first[columns].sort_values("row", ignore_index=True), second[columns].sort_values("row", ignore_index=True)
    )


def test_a_tree_that_one_visit_missed_is_a_survivor_and_not_new():
    trees, findings = follow(tree_list({"1": (30.0,), "2": (20.0,)}, {"1": (31.0,)}, {"1": (32.0,), "2": (23.0,)}))
    last = trees[trees["date"].dt.year == 2020].set_index("tree")
    assert last["change"].to_dict() == {"1": "survivor", "2": "survivor"}
    # 3 cm in the 3,653 days since the visit that saw it
    assert last.loc["2", "dbh_growth_cm_yr"] == pytest.approx(3 / (3653 / 365.25))
    assert rows_of(findings, "tree_missed") == [6]
    assert rows_of(findings, "tree_vanishes") == []


def test_a_tree_that_nobody_looked_for_is_neither_missed_nor_revived_nor_new():
    gone = (np.nan, "Pinus massoniana", "unseen")
    trees, findings = follow(tree_list({"1": (30.0,), "2": gone}, {"1": gone, "2": gone}, {"1": (33.0,), "2": (20.0,)}))
    last = trees[trees["date"].dt.year == 2020].set_index("tree")
    assert last["change"].to_dict() == {"1": "survivor", "2": ""}
    assert {one.kind for one in findings.found} == set()


def test_a_tree_of_17_cm_is_too_thick_to_be_new_after_five_years():
    # the threshold of 10 cm and 1.5 cm a year are 17.5 cm
    _, findings = follow(tree_list({"1": (30.0,)}, {"1": (31.0,), "2": (17.4,), "3": (17.6,)}))
    assert rows_of(findings, "tree_appears_large") == [5]


def test_where_trees_grow_fast_new_ones_may_be_thick():
    first = {str(number): (20.0 + number / 10,) for number in range(30)}
    second = {name: (dbh[0] + 15,) for name, dbh in first.items()} | {"99": (30.0,)}
    _, findings = follow(tree_list(first, second))
    # 3 cm a year, so that new ones may have 10 + 1.5 x 15 cm
    assert rows_of(findings, "tree_appears_large") == []
