"""The model card holds every key it promises, in words that follow from its numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from conftest import make_plots, make_study

from models.inference.fitted import fit_target
from models.validation import LEVELS, SCHEMES, all_scores
from pipeline import model_card
from pipeline.features import described
from pipeline.model_card import (
    KEYS,
    VARIANCE_PARTS,
    card_of,
    not_for,
    of_blocks,
    saturation,
    shares_of,
    told_once,
    variance_rows,
    warnings_of,
)

GRID = {"crs": "EPSG:32650", "west_m": 500_000.0, "north_m": 3_000_000.0, "resolution_m": 20.0, "rows": 50, "cols": 100}


def make_estimates():
    """A project and three stands of one year, and a change whose interval holds zero for one of two stands."""
    rows = []
    for stand, se, share in (("a", 30.0, 100.0), ("b", 10.0, 20.0), ("c", 20.0, 70.0), ("project", 5.0, 64.0)):
        level = "project" if stand == "project" else "stand"
        rows.append({"level": level, "stand": stand, "first_year": 2019, "last_year": 2019, "se": se, "in_domain_percent": share})
    for stand, low in (("a", -3.0), ("b", 2.0)):
        rows.append({"level": "stand", "stand": stand, "first_year": 2019, "last_year": 2024, "se": 4.0, "low": low})
    table = pd.DataFrame(rows)
    table["high"] = 12.0
    variance = table["se"] ** 2
    return table.assign(
        target="agb", area_ha=4.0, mean=5.0, sampling_variance=0.2 * variance, shared_variance=0.3 * variance,
        residual_variance=0.5 * variance, dissimilarity_index=0.1, local_point_density=3.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    plots = make_plots(n=40, years=(2019, 2024)).assign(kept=True, reason="", stratum="pine")
    plots["date"] = pd.to_datetime(plots["year"].astype(str) + "-07-01")
    plots.loc[[3, 4], ["kept", "reason"]] = [False, "disturbed"]
    model, left_out = fit_target(plots[plots["kept"]], {"lidar": ["zmean", "cover_2m"]}, target="agb", column="agb_mg_ha")
    score = all_scores(
        left_out["observed"].to_numpy(), left_out["predicted"].to_numpy(), np.full(78, 30.0),
        {level: np.full(78, NormalDist().inv_cdf(0.5 + level / 200) * 30.0) for level in LEVELS},
        degrees_of_freedom=np.full(78, 8.0), confidence_percent=90,
    )  # fmt: skip
    validation = {
        "schemes": SCHEMES, "confidence_percent": 90.0, "quantiles_percent": [0, 50, 100], "distances": [],
        "scores": [{"set_name": "lidar", "scheme": "map", "folds": 5, "missing": 0, "failed": [], **score}],
    }  # fmt: skip
    validated = plots[plots["kept"]].assign(set_name="lidar", scheme="map", fold=1)
    return {
        "study": make_study().model_dump(mode="json"), "grid": GRID, "target": "agb", "model": model.to_plain(),
        "training": plots, "validation": validation, "validated": validated, "estimates": make_estimates(),
        "predictors": {name: described(name, ["s2"]) for name in ("zmean", "cover_2m")}, "caveats": ["nobody has checked it"],
        "software": {"numpy": "2"}, "files": {"run": "../run.json"},
    }  # fmt: skip


def test_a_card_has_the_keys_that_the_list_promises_and_is_plain(parts, tmp_path):
    from pipeline import store

    card = card_of(**parts)
    assert list(card) == list(KEYS)
    store.write_json(tmp_path / "card.json", card)
    again = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert again["data"]["measurements_used"] == 78 and again["caveats"] == ["nobody has checked it"]


def test_every_key_is_documented():
    page = (Path(model_card.__file__).parents[1] / "docs/methods/validation.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in page] == []


def test_a_card_says_what_the_plots_and_predictors_are(parts):
    card = card_of(**parts)
    data, (one,) = card["data"], card["sets"]
    assert (data["measurements"], data["plots"], data["left_out"]) == (80, 40, {"disturbed": 2})
    assert data["sampling"] == {"purposive": 78} and data["position_error_m"] is None and data["unverified"] == {}
    odd = parts["training"].assign(unverified=np.where(np.arange(80) < 5, "tiger", ""), position_error_m=4.0)
    doubtful = card_of(**parts | {"training": odd})["data"]
    assert doubtful["unverified"] == {"tiger": 3} and doubtful["position_error_m"] == 4.0  # two of the five are left out
    assert data["strata"] == {"pine": 78} and data["years"] == {"2019": 38, "2024": 40}
    assert (data["first_date"], data["last_date"]) == ("2019-07-01", "2024-07-01")
    used = parts["training"][parts["training"]["kept"]]
    zmean = one["predictors"][0]
    assert (zmean["name"], zmean["units"], zmean["title"]) == ("zmean", "m", "Mean height")
    assert zmean["least"] == used["zmean"].min() and zmean["most"] == used["zmean"].max()
    assert one["regressor"]["name"] == "linear" and one["threshold"] == parts["model"]["sets"][0]["domain"]["threshold"]
    assert card["study"]["bounds"] == [500_000, 2_999_000, 502_000, 3_000_000]
    assert len(card["folds"]) == 40 and {row["fold"] for row in card["folds"]} == {2}


def test_plots_that_a_set_cannot_use_are_counted_and_named(parts):
    training = parts["training"].copy()
    training.loc[[0, 7, 40], "cover_2m"] = np.nan  # rows 0 and 40 are both dates of one plot
    (one,) = card_of(**{**parts, "training": training})["sets"]
    assert one["lacking"] == {"measurements": 3, "plots": ["p000", "p007"]} and one["measurements"] == 75
    assert card_of(**parts)["sets"][0]["lacking"] == {"measurements": 0, "plots": []}


def test_the_weight_of_a_predictor_is_what_a_standard_deviation_of_it_does(parts):
    """Of a linear model on the square root: slopes are per standard deviation, so their ratio is that of the weights."""
    card, model = card_of(**parts), parts["model"]["sets"][0]
    slopes = np.abs(np.array(model["params"])[2:4])
    weights = [part["weight"] for part in card["sets"][0]["predictors"]]
    assert weights[1] / weights[0] == pytest.approx(slopes[1] / slopes[0], rel=0.02)


def test_a_long_list_of_what_was_learned_is_left_out_of_a_regressor(parts):
    machine = {"name": "auto", "inner": {"name": "mix", "parts": [{"name": "ridge", "penalty": 0.1, "trees": [[1.0, 2.0]]}]},
               "table": [{"regressor": "mix", "r2": 0.5}]}  # fmt: skip
    found = model_card._regressor(machine)
    assert found["stands_for"]["parts"] == [{"name": "ridge", "penalty": 0.1}]
    assert found["compared"] == [{"regressor": "mix", "r2": 0.5}]


def test_a_set_says_whether_it_learned_from_plots_or_from_another_set(parts):
    assert card_of(**parts)["sets"][0]["fitted_to"] == {"kind": "plots"}
    stage = {"first_set": "lidar", "compared": {"rmse_direct": 62.0}}
    found = model_card._fitted_to({"second_stage": stage, "sample": {"plot": ["a", "b", "a"]}})
    assert found == {"kind": "predictions", "of": "lidar", "cells": 2, "compared": {"rmse_direct": 62.0}}


def test_the_domain_counts_stands_that_lie_mostly_outside(parts):
    (year,) = card_of(**parts)["domain"]
    assert (year["year"], year["in_domain_percent"], year["stands"]) == (2019, 64.0, 3)
    assert year["stands_less_than_half_inside"] == 1 and year["local_point_density"] == 3.0


def test_variance_parts_are_shares_of_the_project_and_means_of_those_of_stands():
    rows = variance_rows(make_estimates())
    assert [(row["level"], row["name"], row["se"]) for row in rows if row["last_year"] == 2019] == [
        ("project", "project", 5.0), ("stands", "stands", 20.0)
    ]  # fmt: skip
    assert [row["count"] for row in rows] == [1, 3, 2]
    for row in rows:
        assert row["shares_percent"] == pytest.approx({"shared_variance": 30, "sampling_variance": 20, "residual_variance": 50})


def test_one_stand_unlike_the_others_does_not_speak_for_them():
    """The stand with the median standard error has 90 % by parameters; with two of 0 %, the mean of shares is 30 %."""
    table = make_estimates().query("level == 'stand' and last_year == 2019").reset_index(drop=True)
    shares = np.where(table["stand"] == "c", 0.9, 0.0)
    variance = table["se"] ** 2
    table = table.assign(sampling_variance=shares * variance, shared_variance=0.0, residual_variance=(1 - shares) * variance)
    (row,) = variance_rows(table)
    assert row["shares_percent"] == pytest.approx({"sampling_variance": 30, "residual_variance": 70})


def test_a_bias_beyond_two_standard_errors_is_warned_of_by_date(parts):
    def of_year(name, bias, error, few=False):
        return {"name": name, "bias": bias, "bias_se": error, "few": few, "n": 40, "clusters": 20}

    row = parts["validation"]["scores"][0]
    dated = [of_year("2019", -7.0, 4.0), of_year("2024", -17.0, 8.4), of_year("2021", 30.0, 4.0, few=True)]
    said = warnings_of(parts["model"], {"scores": [row | {"by_group": {"year": dated}}]})
    assert said[len(parts["model"]["warnings"]) :] == [
        "predictor set lidar: plots left out of 2024 are predicted 17 Mg/ha too low on average (standard error over clusters "
        "8.4), more than chance explains: its numbers of that date may be off by as much, which intervals do not hold"
    ]
    (high,) = model_card.bias_sentences(row | {"by_group": {}, "bias": 9.0, "bias_se": 4.0}, "Mg/ha")
    assert "plots left out are predicted 9 Mg/ha too high" in high and "its numbers may be off" in high
    assert model_card.biases(row | {"by_group": {}, "bias": 7.0, "bias_se": 4.0}) == []
    assert model_card.biases(row | {"by_group": {}, "bias": 7.0, "bias_se": None}) == []


def test_a_part_that_a_table_brings_beside_the_known_ones_is_shown_and_one_of_zeros_is_not():
    table = make_estimates()
    table["area_effect_variance"], table["shared_variance"] = table["residual_variance"], 0.0
    assert model_card.parts_in(table) == ["sampling_variance", "residual_variance", "area_effect_variance"]
    # 0.2 and 0.5 of 0.7 of the variance, of which the area effect is the unexplained 0.5 as a whole: nothing is left of that
    assert shares_of(dict(table.iloc[0]) | {"se": np.sqrt(0.7) * 30}, model_card.parts_in(table)) == pytest.approx(
        {"sampling_variance": 100 * 2 / 7, "residual_variance": 0, "area_effect_variance": 100 * 5 / 7}
    )
    apart = dict(table.iloc[0]) | {"se": np.sqrt(1.2) * 30}
    assert shares_of(apart, model_card.parts_in(table))["residual_variance"] == pytest.approx(100 * 5 / 12)
    assert set(model_card.ADVICE) == set(VARIANCE_PARTS)


def test_few_clusters_and_a_range_that_plots_do_not_tell_are_warned_of_once(parts):
    model = parts["model"]
    one = model["sets"][0]
    reading = {"weight": 0.5, "range_m": 640.0, "smooth": 0.7, "patch": 0.0, "nugget": 0.3}
    readings = [reading, reading | {"range_m": 90.0}]
    level = {"range_m": 240.0, "nugget": 0.3, "patch": 0.0, "identified": False, "degrees_of_freedom": 9.0, "readings": readings}
    unsure = one | {"residuals": one["residuals"] | {"level": level}}
    few = {**model, "clusters": 4, "sets": [unsure], "warnings": ["first"]}
    said = warnings_of(few, parts["validation"])
    assert said[0] == "first" and "4 clusters of plots" in said[1] and "between 90 and 640 m are all likely" in said[2]
    assert len(said) == 3 and not any(" taken" in one for one in said)  # readings are averaged, none of them is picked
    told = {**few, "clusters": 40, "warnings": [said[2]]}
    assert warnings_of(told, parts["validation"]) == told["warnings"]
    taught = {**few, "clusters": 40, "warnings": [], "sets": [unsure | {"second_stage": {"first_set": "other"}}]}
    (of_cells,) = warnings_of(taught, parts["validation"])
    assert "poorly identified by the cells that it learned from" in of_cells and "pairs of plots" not in of_cells
    enough = {**model, "clusters": 10, "sets": [one | {"residuals": one["residuals"] | {"level": level | {"identified": True}}}]}
    assert warnings_of(enough, parts["validation"]) == list(model["warnings"])


def test_what_mapping_warned_of_is_in_the_card_once_for_all_blocks_that_are_alike(parts):
    apart = "block r000c00{}: predictor 'cover_2m' of {} is {} to 80 on the map and 0.5 on average at the plots"
    mapped = [apart.format(0, 2024, 20.5), apart.format(1, 2024, 18), apart.format(1, 2019, 18)]
    said = card_of(**parts, mapped=mapped)["warnings"]
    both = "blocks r000c000 and r000c001 of the map (numbers are of r000c000): predictor 'cover_2m' of 2024 is 20.5 to 80"
    assert said[-2].startswith(both)
    assert said[-1].startswith("block r000c001 of the map: predictor 'cover_2m' of 2019 is 18 to 80")
    assert of_blocks([f"block r000c00{n}: x is {n}" for n in range(6)], "agb") == [
        "blocks r000c000, r000c001, r000c002 and 3 more of the map (numbers are of r000c000): x is 0"
    ]
    assert of_blocks(["block r000c000: 3 % in no stratum that target volume has a level for"], "agb") == []


def test_a_fold_that_could_not_be_fitted_is_warned_of(parts):
    row = parts["validation"]["scores"][0] | {"failed": [{"fold": 2, "rows": 4, "why": "a predictor is constant"}]}
    (*_, last) = warnings_of(parts["model"], {"scores": [row]})
    assert last.startswith("predictor set lidar: 1 of 5 folds could not be fitted") and last.endswith("a predictor is constant")


def told(parts, **changes):
    wanted = ("study", "target", "model", "validation", "training", "estimates")
    reported = {name: changes[name] for name in ("stands", "project") if name in changes}
    return " | ".join(not_for(**{name: changes.get(name, parts[name]) for name in wanted}, **reported))


def test_what_a_map_is_not_for_follows_from_its_plots(parts):
    said = told(parts)
    assert "a plot (0.04 ha) or single trees" in said and "2019, 2024" in said and "not drawn at random" in said
    assert "1 of 2 cannot be told from none" in said and "dead wood" in said
    assert "could not be checked" not in said and "explains" not in said
    drawn = {**parts["study"], "plots": parts["study"]["plots"] | {"sampling": "probability"}}
    assert "not drawn at random" not in told(parts, study=drawn)
    two = parts["training"].assign(sampling=np.where(np.arange(80) < 10, "purposive", "probability"))
    assert "8 of 78 measurements that the model was fitted to are of plots that were not drawn" in told(parts, training=two)
    assert card_of(**parts | {"training": two})["data"]["sampling"] == {"probability": 70, "purposive": 8}
    assert "2024 on its own: no plot shows that year" in told(parts, training=parts["training"].query("year == 2019"))
    weak = parts["validation"]["scores"][0] | {"r2": 0.12}
    assert "it explains 12 % of the variation" in told(parts, validation={"scores": [weak]})
    none = {"set_name": "lidar", "scheme": "map", "folds": 2, "missing": 9, "why": "too few"}
    assert "it could not be checked on plots left out" in told(parts, validation={"scores": [none]})


def test_what_rests_on_the_model_is_said_of_the_model_alone_where_the_project_is_by_design(parts):
    of_model, by_design = (pd.DataFrame({"quantity": ["a", "b"], "estimator": names}) for names in (
        ["model-based synthetic"] * 2, ["model-based synthetic", "difference"],
    ))  # fmt: skip
    assert "of pixels, stands and areas rest on the model being right |" in told(parts, project=of_model)
    said = told(parts, project=by_design)
    assert "rest on the model being right; the project's own numbers by difference do not" in said


def test_changes_that_cannot_be_told_from_none_are_those_that_stands_report(parts):
    """By the model one of two; reported, of composites among others, are three of five, and one is silent."""
    names = [*["not distinguishable from zero"] * 3, "sink", "source", "saturated: no map-only change"]
    stands = pd.DataFrame({"direction_2019_2024": names})
    stock = parts["study"] | {"stock_target": "agb"}
    assert "3 of 5 cannot be told from none" in told(parts, study=stock, stands=stands)
    assert "1 of 2 cannot be told from none" in told(parts, study=parts["study"] | {"stock_target": "volume"}, stands=stands)


def test_a_warning_of_several_sets_is_said_once_with_what_each_has_of_its_own():
    said = told_once([
        "predictor set lidar: poorly identified (ranges between 40 and 1299 m), so that errors are rough",
        "predictor set satellite: poorly identified (ranges between 60 and 900 m), so that errors are rough",
        "dates are pooled",
        "predictor set lidar: few plots", "predictor set satellite: few plots", "predictor set lidar: few plots",
        "predictor set lidar: R2 (0.1) is low",
    ])  # fmt: skip
    assert said == [
        "predictor sets lidar (ranges between 40 and 1299 m) and satellite (ranges between 60 and 900 m): poorly identified, so "
        "that errors are rough",
        "dates are pooled",
        "predictor sets lidar and satellite: few plots",
        "predictor set lidar: R2 (0.1) is low",
    ]


def test_saturation_is_a_bias_of_the_highest_beyond_chance(parts):
    score = parts["validation"]["scores"][0]
    highest = {**score["by_prediction"][-1], "predicted": 300.0, "bias": -40.0, "bias_se": 15.0}
    flat = {**score, "by_prediction": [*score["by_prediction"][:-1], highest]}
    assert saturation(flat) == highest
    assert "plots predicted above about 300 Mg/ha hold 40 Mg/ha more" in told(parts, validation={"scores": [flat]})
    assert saturation({**score, "by_prediction": [{**highest, "bias_se": 25.0}]}) is None
    assert saturation({**score, "by_prediction": [{**highest, "bias": 40.0}]}) is None
    assert saturation({**score, "by_prediction": [{**highest, "bias_se": None}]}) is None


def test_predictors_are_told_by_unit_and_title():
    assert described("zq95", ["s2"])["units"] == "m"
    assert re.search("moisture", described("s2_ndmi", ["s2"])["title"])
    assert described("s2_red_p10", ["s2"])["title"] == "band red_p10 of the composite"
    assert described("unheard", []) == {"units": "", "title": "unheard"}
