"""What a user of a model must know of it, in plain values: the model card. Tables and mappings in, a mapping out.

References
----------
Mitchell et al. 2019, Model Cards for Model Reporting, FAT* '19:220-229, doi:10.1145/3287560.3287596.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.inference.residuals import Structure
from models.inference.strata import levels_told
from models.inference.stratum_names import is_stratum
from models.inference.target_model import TargetModel
from models.validation import FEW_PLOTS, SCHEMES
from pipeline.config import TARGETS

if TYPE_CHECKING:
    import pandas as pd

VERSION = "1.0"

HONEST = "map"
"""The scheme whose scores speak of the map."""

VARIANCE_PARTS = {
    "shared_variance": ("errors that all plots share: allometry, tree heights, wood density", "#e3a53a"),
    "sampling_variance": ("model parameters: which plots happened to be sampled", "#33658a"),
    "residual_variance": ("what the predictors leave unexplained of the place itself", "#9aa5a0"),
    "area_effect_variance": ("what an area without plots has of its own", "#7d5ba6"),
}
"""Parts of the variance of an estimate that a table of estimates may hold: meaning, and colour in the report."""

ADVICE = {
    "shared_variance": "a better allometry, measured heights and local wood density help; more plots do not",
    "sampling_variance": "more plots, in more clusters and of the kinds of forest that are rare among them, help",
    "residual_variance": "better predictors (lidar where there is none) or plots in the stand itself help; it shrinks with the "
    "area of what is estimated",
    "area_effect_variance": "plots inside the area help",
}
"""What makes a part of the variance smaller."""

MODEL_ESTIMATORS = ("model-based synthetic", "bhf_eblup")
"""Estimators whose intervals hold as far as a model does; the others rest on chance having drawn the plots."""

FEW_CLUSTERS = 10
"""Below, a variance that is told from what clusters say of one another is itself poorly known."""

WEAK_R2 = 0.3
"""Below, a predictor set tells little more of a single stand than the mean of all."""

MOST_REASONS = 20
MOST_SETTING = 12  # entries of a learned setting that are shown; longer ones are weights, trees and centres
QUANTILES = {"least": 0, "p05": 5, "median": 50, "p95": 95, "most": 100}

KEYS: dict[str, str] = {
    "card_version": "version of this list",
    "study": "name, title, years, crs, bounds (m: west, south, east, north) and resolution_m of the study",
    "target": "name, title, column and units of what is mapped",
    "data": "plots: measurements found and used, plots, clusters, first and last date, area_ha, position_error_m, how many "
    "measurements are of plots chosen by probability or on purpose (sampling), strata with their measurements, values of the "
    "target, reasons why measurements were left out, how the target was made from trees, which equations of status unverified "
    "measurements rest on, how much biomass lies beyond the diameters of its equations (extrapolated_percent), and errors that "
    "all plots share",
    "sets": "per predictor set: predictors (name, units, title, least, p05, median, p95 and most at the plots, weight in the "
    "dissimilarity index), regressor with what it has learned and compared, transform, dates that have levels of their own, "
    "whether it was fitted to plots or to predictions of another set, strata where it tells them apart (stratum, plots, "
    "clusters; own: whether it has a level, else that of all serves it; weight: the share of its level that its own plots tell; "
    "difference and its se of a place there from the mean of the strata at the same predictors, in units of the target), "
    "measurements used, those that lack a predictor or the target and their plots (lacking), clusters, scores by left-out "
    "clusters, residuals (sd = scale x max(mean, floor)^power; of one date and of change: every reading of range, patch and "
    "nugget with its weight, their means, and whether the plots identify them), threshold of the area of applicability",
    "validation": "every score of every set and scheme (docs/methods/validation.md), and which scheme speaks of the map",
    "folds": "plots with coordinates and their fold in that scheme, of the first set: the fold map",
    "domain": "per year: share of the project's covered area in the area of applicability, mean dissimilarity index and local "
    "point density, and stands less than half inside",
    "uncertainty": "confidence_percent, degrees_of_freedom, few_clusters, and per estimand the parts of the variance of the "
    "project and, as means of the shares of all stands (count), of the stands, in percent",
    "warnings": "sentences: all that fitting, validating and mapping warned of (predictors of another scale on the map than at "
    "the plots among it), few clusters, structures of residuals that plots do not tell",
    "caveats": "sentences on the numbers that plots rest on, such as equations nobody has checked",
    "not_for": "sentences: what the map should not be used for",
    "software": "versions of the packages that the numbers come from",
    "files": "where the model, its plots and the run's record lie, relative to the card",
}
"""Every key of a card and what it holds."""


def card_of(
    *, study: Mapping, grid: Mapping, target: str, model: Mapping, training: pd.DataFrame, validation: Mapping,
    validated: pd.DataFrame, estimates: pd.DataFrame, predictors: Mapping[str, Mapping], caveats: Sequence[str],
    software: Mapping[str, str], files: Mapping[str, str], stands: pd.DataFrame | None = None,
    project: pd.DataFrame | None = None, mapped: Sequence[str] = (),
) -> dict:  # fmt: skip
    """The card of one target's models; its keys are those of `KEYS`.

    Parameters
    ----------
    study, grid : what the card says of the configuration (`bridge.Plan.card_settings`; stock_target is the target that carbon is
        computed from), `Grid.settings()`
    model, validation : as the steps `fit` and `validate` write them
    training, validated : plots with predictors; plots as predicted by each fold
    estimates : long table of stands and project
    predictors : units and title of each
    stands, project : what is reported: one row per stand, one per quantity of the project
    mapped : what mapping the blocks warned of, each sentence beginning with its block
    """
    about = TARGETS[target]
    side = grid["resolution_m"]
    west, north = grid["west_m"], grid["north_m"]
    ours = estimates[estimates["target"] == target]
    return {
        "card_version": VERSION,
        "study": {
            "name": study["name"], "title": study["title"] or study["name"], "years": list(study["years"]),
            "crs": grid["crs"], "resolution_m": side,
            "bounds": [west, north - grid["rows"] * side, west + grid["cols"] * side, north],
        },
        "target": {"name": target, "title": about["title"], "column": about["column"], "units": about["units"]},
        "data": _data(training, about["column"], study),
        "sets": [_set(one, model, training, about["column"], predictors) for one in model["sets"]],
        "validation": {"speaks_of_the_map": HONEST, **{name: validation[name] for name in VALIDATION}},
        "folds": _folds(validated),
        "domain": _domain(ours),
        "uncertainty": {
            "confidence_percent": study["model"]["confidence_percent"],
            "degrees_of_freedom": max(model["clusters"] - 1, 1),
            "few_clusters": model["clusters"] < FEW_CLUSTERS,
            "parts": variance_rows(ours),
        },
        "warnings": [*warnings_of(model, validation), *of_blocks(mapped, target)],
        "caveats": list(caveats),
        "not_for": not_for(study, target, model, validation, training, ours, stands=stands, project=project),
        "software": dict(software),
        "files": dict(files),
    }  # fmt: skip


VALIDATION = ("schemes", "confidence_percent", "quantiles_percent", "scores", "distances")


def _data(training: pd.DataFrame, column: str, study: Mapping) -> dict:
    used = training[training["kept"].astype(bool)]
    reasons = training.loc[~training["kept"].astype(bool), "reason"].fillna("no reason given").astype(str).value_counts()
    plots, dates = study["plots"], used.get("date")
    return {
        "measurements": len(training), "measurements_used": len(used), "plots": int(used["plot"].nunique()),
        "clusters": int(used["cluster"].nunique()) if "cluster" in used else int(used["plot"].nunique()),
        "first_date": _day(dates, min), "last_date": _day(dates, max),
        "years": _counts(used["year"]),
        "area_ha": _quantiles(used["area_ha"]),
        "sampling": _sampling(used, plots["sampling"]),
        "position_error_m": _median(used, "position_error_m"),
        "strata": _counts(used["stratum"].fillna("none given")) if "stratum" in used else {},
        "values": _quantiles(used[column]) | {"mean": float(used[column].mean()), "units": _units(column)},
        "left_out": {reason: int(n) for reason, n in reasons.head(MOST_REASONS).items()},
        "made_from": "trees" if plots["trees"] else "values of the plot table",
        "allometry": _names(plots["allometry"]) if plots["trees"] else [],
        "unverified": _counts(used["unverified"][used["unverified"].fillna("") != ""]) if "unverified" in used else {},
        "extrapolated_percent": _median(used, "extrapolated_percent"),
        "shared_errors": sorted(name for name in training.columns if name.startswith("f_")),
    }  # fmt: skip


def _sampling(used: pd.DataFrame, otherwise: str) -> dict[str, int]:
    """Measurements by how their plots were chosen: as the plot table says, else as the study does."""
    chosen = used.get("sampling")
    return {otherwise: len(used)} if chosen is None else _counts(chosen.fillna(otherwise))


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in sorted(values.value_counts().items())}


def _median(used: pd.DataFrame, column: str) -> float | None:
    known = used[column].dropna() if column in used else []
    return float(known.median()) if len(known) else None


def _names(tables: str | Sequence[str]) -> list[str]:
    """Allometries by name, or by the names of their files: a card that moves should not name folders."""
    listed = [tables] if isinstance(tables, str) else list(tables)
    return [one.replace("\\", "/").rsplit("/", 1)[-1] for one in listed]


def _units(column: str) -> str:
    return next(about["units"] for about in TARGETS.values() if about["column"] == column)


def _day(dates: pd.Series | None, which) -> str | None:
    return None if dates is None or dates.empty else str(which(dates))[:10]


def _quantiles(values: pd.Series) -> dict[str, float | None]:
    known = values.to_numpy(float)
    known = known[np.isfinite(known)]
    return {name: float(np.percentile(known, percent)) if len(known) else None for name, percent in QUANTILES.items()}


def _set(one: Mapping, model: Mapping, training: pd.DataFrame, column: str, titles: Mapping[str, Mapping]) -> dict:
    kept = training[training["kept"].astype(bool)]
    complete = np.isfinite(kept[[*one["predictors"], column]].to_numpy(float)).all(axis=1)
    used, lacking = kept[complete], kept["plot"][~complete].astype(str)
    domain, residuals = one["domain"], one["residuals"]
    spread = np.array([used[name].std(ddof=1) for name in one["predictors"]])
    weight = np.array(domain["scale"], float) * spread  # what the index makes of a standard deviation of each
    return {
        "name": one["name"],
        "predictors": [
            {"name": name, **titles.get(name, {"units": "", "title": ""}), **_quantiles(used[name]), "weight": float(one_weight)}
            for name, one_weight in zip(one["predictors"], weight, strict=True)
            if not is_stratum(name)
        ],
        "strata": _strata(one["name"], model, used) if any(map(is_stratum, one["predictors"])) else [],
        "regressor": _regressor(one["machine"]),
        "transform": model["transform"],
        "dates": list(one["dates"]),
        "fitted_to": _fitted_to(one),
        "measurements": len(used),
        "lacking": {"measurements": len(lacking), "plots": sorted(set(lacking))},
        "clusters": int(used["cluster"].nunique()) if "cluster" in used else int(used["plot"].nunique()),
        "plot_ha": one["plot_ha"],
        "scores_left_out_by_cluster": one["scores"],
        "residuals": residuals,
        "threshold": domain["threshold"],
    }  # fmt: skip


def _strata(name: str, model: Mapping, used: pd.DataFrame) -> list[dict]:
    """Levels of the strata that a set tells apart."""
    whole = TargetModel.from_plain(model)
    return levels_told(whole, whole.named(name), used)


def _fitted_to(one: Mapping) -> dict:
    """Whether a set was fitted to plots, or to what another set predicts at cells of the map (and how both paths compare)."""
    stage = one.get("second_stage")
    if not stage:
        return {"kind": "plots"}
    compared = stage.get("compared") or {}
    return {"kind": "predictions", "of": stage["first_set"], "cells": len(set(one["sample"]["plot"])), "compared": compared}


def _regressor(machine: Mapping) -> dict:
    """Name and settings of a regressor, with those of the one that it stands for and what it has compared."""
    found = {key: value for key, value in machine.items() if not _is_learned(value) and key not in ("inner", "table", "parts")}
    if "inner" in machine:
        found["stands_for"] = _regressor(machine["inner"])
        found["compared"] = list(machine.get("table", ()))
    if "parts" in machine:
        found["parts"] = [_regressor(part) for part in machine["parts"]]
    return found


def _is_learned(value: object) -> bool:
    """Whether a setting is a table of numbers rather than something to read."""
    return isinstance(value, list | dict) and (len(value) > MOST_SETTING or any(isinstance(part, list) for part in value))


def _folds(validated: pd.DataFrame) -> list[dict]:
    table = validated[validated["scheme"] == HONEST]
    if table.empty:
        return []
    places = table[table["set_name"] == table["set_name"].iloc[0]].drop_duplicates("plot").sort_values("plot")
    return [
        {"plot": str(row.plot), "x": round(float(row.x), 1), "y": round(float(row.y), 1), "fold": int(row.fold) + 1}
        for row in places.itertuples()
    ]


def _domain(estimates: pd.DataFrame) -> list[dict]:
    found = []
    stocks = estimates[estimates["first_year"] == estimates["last_year"]]
    for year, rows in stocks.groupby("first_year", sort=True):
        stands = rows[rows["level"] == "stand"]
        if "in_domain_percent" not in rows:
            continue
        project = rows[rows["level"] == "project"]
        known = stands[stands["in_domain_percent"].notna()]
        found.append(
            {
                "year": int(year),
                **{
                    name: _first(project, name) for name in ("in_domain_percent", "dissimilarity_index", "local_point_density")
                },
                "stands": len(known),
                "stands_less_than_half_inside": int((known["in_domain_percent"] < 50).sum()),
            }
        )
    return found


def _first(rows: pd.DataFrame, name: str) -> float | None:
    return float(rows[name].iloc[0]) if name in rows and len(rows) else None


# ---------------------------------------------------------------- where the uncertainty comes from


def parts_in(estimates: pd.DataFrame) -> list[str]:
    """Columns of the parts of the variance that a table of estimates holds."""
    return [name for name in VARIANCE_PARTS if name in estimates and (estimates[name].fillna(0) != 0).any()]


def variance_rows(estimates: pd.DataFrame) -> list[dict]:
    """Per estimand: the project, and the stands together, with the share of each part in percent.

    Of the stands: how many there are (`count`), medians of area, mean and standard error, and means of the shares, since any one
    of them may be unlike the others.
    """
    import pandas as pd

    if "se" not in estimates:
        return []
    estimates, names = estimates[estimates["se"] > 0], parts_in(estimates)
    found = []
    for (first, last), rows in estimates.groupby(["first_year", "last_year"], sort=True):
        years = {"first_year": int(first), "last_year": int(last)}
        found += [
            years | {
                "level": "project", "name": str(row["stand"]), "count": 1, "shares_percent": shares_of(row, names),
                **{name: float(row[name]) for name in ("area_ha", "mean", "se")},
            }
            for _, row in rows[rows["level"] == "project"].iterrows()
        ]  # fmt: skip
        stands = rows[rows["level"] == "stand"]
        if len(stands):
            shares = pd.DataFrame([shares_of(row, names) for row in stands.to_dict("records")])
            found.append(years | {
                "level": "stands", "name": "stands", "count": len(stands), "shares_percent": shares.mean().to_dict(),
                **{name: float(stands[name].median()) for name in ("area_ha", "mean", "se")},
            })  # fmt: skip
    return found


def shares_of(row: Mapping, names: Sequence[str]) -> dict[str, float]:
    """Share of each part in the variance of an estimate, percent; they add up to 100.

    Where a table counts the area effect within what is unexplained, it is taken out of that.
    """
    parts = {name: max(float(row[name]), 0.0) if math.isfinite(row[name]) else 0.0 for name in names}
    whole = sum(parts.values()) or 1.0
    if "area_effect_variance" in parts and whole > float(row["se"]) ** 2 * (1 + 1e-6):
        within = min(parts["area_effect_variance"], parts.get("residual_variance", 0.0))
        parts["residual_variance"] = parts.get("residual_variance", 0.0) - within
        whole = sum(parts.values()) or 1.0
    return {name: 100 * part / whole for name, part in parts.items()}


# ---------------------------------------------------------------- sentences


def warnings_of(model: Mapping, validation: Mapping) -> list[str]:
    """All that a reader must be warned of: what fitting said, few clusters, ranges that plots do not tell, failed folds."""
    said = list(model["warnings"])
    if model["clusters"] < FEW_CLUSTERS:
        said.append(
            f"the smallest predictor set has {model['clusters']} clusters of plots: intervals are wide, and how wide they must "
            "be is itself poorly known; more clusters help more than more plots in them"
        )
    for one in model["sets"]:
        level = Structure.from_plain(one["residuals"]["level"])
        if not level.identified and (doubt := _doubt(one, level)) not in said:
            said.append(doubt)
    for row in validation["scores"]:
        if failed := row.get("failed"):
            said.append(
                f"predictor set {row['set_name']}: {len(failed)} of {row['folds']} folds could not be fitted when plots were "
                f"left out as {SCHEMES.get(row['scheme'], row['scheme'])}: {failed[0]['why']}"
            )
    for one in model["sets"]:
        if score := honest_score(validation, one["name"]):
            said += bias_sentences(score, TARGETS[model["target"]]["units"])
    return told_once(said)


def _doubt(one: Mapping, level: Structure) -> str:
    """What fitting says of a structure that is not identified; of a set that learned from cells, by those."""
    said = level.doubt()
    if one.get("second_stage"):
        said = said.partition("; pairs of plots")[0].replace("by these plots", "by the cells that it learned from")
    return f"predictor set {one['name']}: {said}"


OF_A_SET = re.compile(r"predictor set ([^:]+): (.*)", re.DOTALL)


def told_once(said: Sequence[str]) -> list[str]:
    """Sentences without repetition: one that is said of several predictor sets names them all.

    What stands in brackets may differ from set to set, and goes with its name.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for sentence in dict.fromkeys(said):
        told = OF_A_SET.fullmatch(sentence)
        name, tail = told.groups() if told else ("", sentence)
        inner = re.search(r" \(([^()]*)\)", tail)
        bare = tail.replace(inner.group(0), "", 1) if told and inner else tail
        found.setdefault(bare if told else sentence, []).append((name, tail))
    return [_of_sets(bare, sets) for bare, sets in found.items()]


def _of_sets(bare: str, sets: Sequence[tuple[str, str]]) -> str:
    """A sentence of the predictor sets (name, their own words of it) that it holds for; `bare` is it without brackets."""
    (name, tail), *others = sets
    if not name:
        return bare
    if not others:
        return f"predictor set {name}: {tail}"
    if len({own for _, own in sets}) == 1:
        return f"predictor sets {listed([one for one, _ in sets])}: {tail}"
    inner = [re.search(r" \([^()]*\)", own) for _, own in sets]
    named = [f"{one}{own.group(0) if own else ''}" for (one, _), own in zip(sets, inner, strict=True)]
    return f"predictor sets {listed(named)}: {bare}"


OF_A_BLOCK = re.compile(r"block (\w+): (.*)", re.DOTALL)
MOST_BLOCKS_NAMED = 3


def of_blocks(said: Sequence[str], target: str) -> list[str]:
    """Sentences on blocks of the map, `block r000c000: ...`, without repetition: those that differ in numbers alone are one, in
    the words of the first. Sentences that name another target are of its card.
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for sentence in said:
        if any(f"target {other} " in sentence for other in TARGETS if other != target):
            continue
        block, tail = found.groups() if (found := OF_A_BLOCK.fullmatch(sentence)) else ("", sentence)
        # a name with digits (cover_2m) and a year are no measured numbers
        kind = re.sub(r"(?<![\w.])(?!\d{4} is )[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", tail)
        alike.setdefault(kind, []).append((block, tail))
    return [_in_blocks(found) for found in alike.values()]


def _in_blocks(found: Sequence[tuple[str, str]]) -> str:
    (first, tail), blocks = found[0], [block for block, _ in found]
    if not first:
        return tail
    if len(blocks) == 1:
        return f"block {first} of the map: {tail}"
    more = len(blocks) - MOST_BLOCKS_NAMED
    named = listed(blocks) if more <= 0 else ", ".join(blocks[:MOST_BLOCKS_NAMED]) + f" and {more} more"
    return f"blocks {named} of the map (numbers are of {first}): {tail}"


def listed(parts: Sequence[str]) -> str:
    """Several parts as one, with an `and` before the last."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def honest_score(validation: Mapping, set_name: str) -> Mapping | None:
    """Scores of a set in the scheme that speaks of the map; of clusters left out where that one has none."""
    rows = [row for row in validation["scores"] if row["set_name"] == set_name and "rmse" in row]
    return next((row for scheme in (HONEST, "clusters") for row in rows if row["scheme"] == scheme), None)


def biases(score: Mapping) -> list[tuple[str, float, float]]:
    """The dates (`` where there is one alone) whose left-out plots are predicted too high or too low by more than two standard
    errors over clusters: date, bias and its standard error. Dates with few plots or clusters say nothing.
    """
    parts = score.get("by_group", {}).get("year") or [{"name": "", "few": score.get("n", 0) < FEW_PLOTS, **_whole(score)}]
    return [
        (str(part["name"]), float(part["bias"]), float(part["bias_se"])) for part in parts
        if not part["few"] and _finite(part["bias_se"]) and abs(part["bias"]) > 2 * part["bias_se"]
    ]  # fmt: skip


def _whole(score: Mapping) -> dict:
    return {name: score.get(name) for name in ("bias", "bias_se")}


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def bias_sentences(score: Mapping, units: str) -> list[str]:
    """What `biases` finds of a predictor set, a sentence each."""
    return [
        f"predictor set {score['set_name']}: plots left out{f' of {year}' if year else ''} are predicted {abs(bias):.2g} {units} "
        f"too {'high' if bias > 0 else 'low'} on average (standard error over clusters {error:.2g}), more than chance explains: "
        f"its numbers{' of that date' if year else ''} may be off by as much, which intervals do not hold"
        for year, bias, error in biases(score)
    ]


def saturation(score: Mapping) -> Mapping | None:
    """The part of the plots with the highest predictions, where these are too low by more than chance; else None."""
    highest = score["by_prediction"][-1]
    error = highest.get("bias_se")
    return highest if error and math.isfinite(error) and highest["bias"] < -2 * error else None


def not_for(
    study: Mapping, target: str, model: Mapping, validation: Mapping, training: pd.DataFrame, estimates: pd.DataFrame, *,
    stands: pd.DataFrame | None = None, project: pd.DataFrame | None = None,
) -> list[str]:  # fmt: skip
    """What the map should not be used for: a sentence each; `stands` and `project` as they are reported, as of `card_of`."""
    units, years = TARGETS[target]["units"], ", ".join(map(str, study["years"]))
    plot_ha = min(one["plot_ha"] for one in model["sets"])
    said = [
        f"places smaller than a plot ({plot_ha:.3g} ha) or single trees: residuals were seen at that size only",
        "adding up errors of pixels as if they were independent: the error of an area stands in the tables of stands and project",
        "forests unlike those of the plots: look at in_domain, the dissimilarity index and the local point density first",
        f"other years than {years}, or changes between maps of other models",
    ]
    sampling = _sampling(training[training["kept"].astype(bool)], study["plots"]["sampling"])
    if purposive := sum(n for how, n in sampling.items() if how != "probability"):
        said.append(
            f"claims that rest on a random sample: {purposive} of {sum(sampling.values())} measurements that the model was "
            "fitted to are of plots that were not drawn at random (or the study does not say so), so intervals of what the model "
            f"says of pixels, stands and areas rest on the model being right{_by_design(project)}"
        )
    for year in study["years"]:
        used = training[training["kept"].astype(bool) & (training["year"] == year)]
        if used.empty:
            said.append(f"{year} on its own: no plot shows that year, its level is that of the other years")
    for one in model["sets"]:
        score = honest_score(validation, one["name"])
        if score is None:
            said.append(f"anything where predictor set {one['name']} alone serves: it could not be checked on plots left out")
            continue
        if score["r2"] is not None and score["r2"] < WEAK_R2:
            said.append(
                f"telling stands apart where predictor set {one['name']} serves: at plots left out it explains "
                f"{100 * max(score['r2'], 0):.0f} % of the variation"
            )
        if highest := saturation(score):
            said.append(
                f"ranking or change of dense stands where predictor set {one['name']} serves: plots predicted above about "
                f"{highest['predicted']:.3g} {units} hold {-highest['bias']:.3g} {units} more than predicted (saturation)"
            )
    said += _unsure_changes(study["years"], estimates, stands if target == study.get("stock_target") else None)
    if target in ("agb", "volume"):
        said.append("dead wood, litter, soil and wood products: they are not in it")
    return said



def _by_design(project: pd.DataFrame | None) -> str:
    """That numbers of the project do not rest on the model, where they are of an estimator that rests on chance."""
    if project is None or project.empty:
        return ""
    names = [name for name in dict.fromkeys(project["estimator"]) if name not in MODEL_ESTIMATORS]
    return f"; the project's own numbers by {listed(names)} do not: they rest on the plots that chance has drawn" if names else ""


def directions_in(stands: pd.DataFrame, first: int, last: int) -> dict[str, int]:
    """How many stands report each direction of their net removal between two years."""
    return {str(name): int(n) for name, n in stands[f"direction_{first}_{last}"].value_counts().items()}


UNSURE = "not distinguishable from zero"
SURE = ("sink", "source")


def _unsure_changes(years: Sequence[int], estimates: pd.DataFrame, stands: pd.DataFrame | None) -> list[str]:
    """How many stands report a change that cannot be told from none.

    stands : what is reported, where it is of this target's change; else the model speaks
    """
    found = []
    for first, last in pairwise(years):
        reported = f"direction_{first}_{last}"
        if stands is not None and reported in stands:
            counts = directions_in(stands, first, last)
            unsure, known = counts.get(UNSURE, 0), sum(counts.get(name, 0) for name in (UNSURE, *SURE))
        else:
            rows = estimates[(estimates["first_year"] == first) & (estimates["last_year"] == last)]
            rows = rows[(rows["level"] == "stand") & rows["mean"].notna()]
            if "low" not in rows:
                continue
            unsure, known = int(((rows["low"] <= 0) & (rows["high"] >= 0)).sum()), len(rows)
        if unsure:
            found.append(
                f"the change {first} to {last} of single stands whose interval holds zero: {unsure} of {known} cannot be told "
                "from none"
            )
    return found
