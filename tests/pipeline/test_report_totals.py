"""The report's section of totals: strata, estimators, the ledger, and what is said where plots are purposive."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from pipeline.report import words
from pipeline.report.totals import TRUST, _by_reason, section

ESTIMATES = [
    ("project", "project", "model-based synthetic", 100.0, 10.0, False, ""),
    ("project", "project", "difference", 104.0, 6.0, True, "probability plots of 30 clusters"),
    ("project", "project", "stratified", np.nan, np.nan, False, ""),
    ("stratum", "fir & pine", "model-based synthetic", 90.0, 9.0, True, "4 clusters are too few"),
    ("stratum", "fir & pine", "difference", 80.0, 20.0, False, ""),
]


def totals(rows=ESTIMATES) -> pd.DataFrame:
    found = []
    for level, area, estimator, mean, se, reported, why in rows:
        found.append(
            {
                "level": level, "area": area, "quantity": "tree_carbon_t_ha", "units": "t C/ha",
                "first_year": 2024, "last_year": 2024, "estimator": estimator, "reported": reported, "why": why,
                "mean": mean, "se": se, "low": mean - 2 * se,
                "high": mean + 2 * se, "low_95": mean - 3 * se, "high_95": mean + 3 * se, "area_ha": 50.0, "total": 50 * mean,
                "total_se": 50 * se, "plots": 40, "clusters": 30, "degrees_of_freedom": 29.0,
                "note": "" if np.isfinite(mean) else "refused: a cluster has plots in two strata",
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def entries() -> pd.DataFrame:
    about = {"target": "agb", "units": "Mg/ha", "first_year": 2024, "last_year": 2024, "bias_removed": 0.0, "composite": 93.0,
             "composite_se": 4.5}  # fmt: skip
    plots = {"source": "plots", "value": 90.0, "se": 5.0, "weight": 0.8, "departure": -1.2, "plots": 3.0}
    of_map = {"source": "map", "value": 105.0, "se": 10.0, "weight": 0.2, "departure": 1.2, "plots": np.nan}
    return pd.DataFrame([{"stand": "S1", **about, **plots}, {"stand": "S1", **about, **of_map}])


def material(**parts) -> SimpleNamespace:
    project = pd.DataFrame(
        [{"quantity": "tree_carbon_t_ha", "first_year": 2024, "last_year": 2024, "sum_of_stands": 5450.0, "stands_saturated": 3}]
    )
    return SimpleNamespace(**{"project": project, "models": {}, "cards": {}, "confidence": "90 %", "ledger": None} | parts)


def shown(table, ledger=None, **parts) -> str:
    return str(section(material(totals=table, ledger=ledger, **parts)))


def test_sums_of_the_same_land_stand_side_by_side_with_why_they_differ():
    strata = [("stratum", "fir", "difference", 90.0, 9.0, True, ""), ("stratum", "pine", "greg", 112.0, 9.0, True, "")]
    table = totals([*ESTIMATES[:3], *strata])
    table.loc[table["level"] == "stratum", "area_ha"] = [20.0, 30.0]
    table.loc[table["level"] == "stratum", "total"] = [1800.0, 3360.0]
    sums = shown(table).replace("\u202f", " ").partition("Sums of the same land")[2].partition("</section>")[0]
    row = sums[: sums.index("</table>")]
    # SE of 300: whole tens are shown
    assert "<b>5 200</b>" in row and ">5 160<" in row and ">5 450<" in row and "Districts" not in row
    assert "For the project quote the first" in sums and "3 stands in which the map saturates" in sums


def test_strata_that_leave_out_land_are_not_added_up():
    sums = shown(totals()).partition("Sums of the same land")[2].partition("</table>")[0]
    assert words.MISSING not in sums  # the one stratum has all 50 ha
    table = totals().assign(area_ha=[50.0, 50.0, 50.0, 20.0, 20.0])
    assert words.MISSING in shown(table).partition("Sums of the same land")[2].partition("</table>")[0]


def test_whose_plots_the_model_s_row_counts_is_said_where_sets_differ():
    counts = {"plots": 122, "rows": 242, "clusters": 56, "fewest_plots": 41}
    sets = [{"name": "lidar", "clusters": 19, "fitted_to": {"kind": "plots"}},
            {"name": "satellite", "clusters": 56, "fitted_to": {"kind": "plots"}}]  # fmt: skip
    parts = {"models": {"agb": {"counts": counts, "clusters": 19}}, "cards": {"agb": {"sets": sets}}}
    assert "are the 41 plots in 19 clusters of the predictor set with the fewest (lidar)" in shown(totals(), **parts)
    parts["models"]["agb"]["clusters"] = 56
    assert "predictor set with the fewest" not in shown(totals(), **parts)


def test_each_stratum_is_shown_with_its_reported_estimate_and_all_stands_last():
    page = shown(totals())
    strata = page[: page.index("Estimators of all stands side by side")]
    assert "fir &amp; pine" in strata and "90.0" in strata and "80" not in strata.split("fir &amp; pine")[1].split("</tr>")[0]
    assert strata.index("fir &amp; pine") < strata.index("all stands")
    assert "In total, t C" in strata and "4 500" in strata.replace("\u202f", " ")


def test_estimators_stand_side_by_side_with_the_reported_one_its_reason_and_refusals():
    page = shown(totals())
    assert "difference (reported)" in page and "probability plots of 30 clusters" in page
    assert "stratified is refused: a cluster has plots in two strata" in page
    assert "Only the model speaks" not in page


def test_purposive_plots_are_told_in_one_sentence():
    rows = [(*one[:3], *((one[3], one[4]) if one[2].startswith("model") else (np.nan, np.nan)), one[2].startswith("model"), "")
            for one in ESTIMATES]  # fmt: skip
    table = totals(rows)
    table["note"] = np.where(table["mean"].isna(), "refused: these plots are purposive", "")
    page = shown(table)
    assert page.count("hese plots are purposive") == 1 and "Only the model speaks of totals here. These plots" in page


def test_the_ledger_is_folded_with_each_source_s_weight():
    page = shown(totals(), entries())
    ledger = page[page.index("Ledger of composites") :]
    assert "1 stand" in ledger and ">80<" in ledger and ">20<" in ledger
    assert "Ledger" not in shown(totals(), entries().iloc[:0])


def test_a_study_without_totals_has_no_such_section():
    assert shown(None) == "" and shown(pd.DataFrame()) == ""


def test_one_reason_of_several_estimators_is_told_once():
    why = "weights run from 0.6 to 0.7: {} holds for equal chances"
    refused = [("stratified", why.format("stratified")), ("post stratified", why.format("post_stratified")), ("ratio", "no map")]
    assert _by_reason(refused) == {why.format("the estimator"): ["stratified", "post stratified"], "no map": ["ratio"]}


def test_all_stands_have_no_empty_table_of_a_year_without_them():
    table = totals()
    other = table.head(1).assign(level="all_stands", first_year=2019, last_year=2019, reported=False)
    page = shown(pd.concat([other, table], ignore_index=True))
    assert "those that the map leaves out included" not in page


def test_the_sentence_of_each_estimator_ends_before_its_advice():
    assert TRUST["weighted_difference"].partition(". ")[0].endswith("as the verb design draws them")


def test_a_mean_of_all_beyond_those_of_its_strata_is_explained_below_their_table():
    strata = [("stratum", "fir", "difference", 90.0, 9.0, True, ""), ("stratum", "pine", "greg", 112.0, 9.0, True, "")]
    assert "do not lie between the rows above" not in shown(totals([*ESTIMATES[:3], *strata]))
    strata[0] = ("stratum", "fir", "difference", 110.0, 9.0, True, "")
    page = shown(totals([*ESTIMATES[:3], *strata]))
    assert page.index("do not lie between the rows above") < page.index("Sums of the same land")
