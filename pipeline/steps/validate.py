"""Rule `validate`: how well a target's models predict plots they have not seen, by several ways to leave plots out."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from catalogs.stands import read_stands
from models.folds import distances_to_training
from models.inference.fitted import predict_left_out, rows_of
from models.inference.stands import lattice
from models.inference.target_model import SetModel, TargetModel
from models.regressors import Regressor
from models.validation import LEVELS, SCHEMES, all_scores, fewer, half_width, splits
from pipeline import store
from pipeline.grid import Grid

log = logging.getLogger(__name__)

PLACES = 2000  # of the map, whose distances to plots the folds are matched to
MOST_FOLDS = 10  # of a model that learns more than its parameters: a fold costs it a second or more
CHOICE_FOLDS = 5  # of one that chooses its regressor, which costs several seconds
BLOCKS_ALONG = 5  # squares along the longer side of what the plots span
STEPS_PERCENT = np.arange(0, 101, 5)  # quantiles of distances that are kept

NO_FIT = "too few plots stay for a fit"


def validate(
    *,
    scores: Path,
    left_out: Path,
    table: Path,
    model: Path,
    column: str,
    settings: dict,
    grid: dict,
    confidence_percent: float,
    date_effect: str = "always",
    plots: Path | None = None,
    partials: Sequence[Path] = (),
    **_inputs: object,
) -> None:
    """Scores of every predictor set for every way to leave plots out, and the plots as they were predicted.

    Parameters
    ----------
    scores : Path
        JSON: per set and scheme (`models.validation.SCHEMES`) the scores, or why there are none; folds that could not be
        fitted with the reason; how far from its training plots each scheme predicts, beside how far the map does.
    left_out : Path
        Table: set_name, scheme, fold, plot, cluster, stratum, year, x, y, observed, predicted, sd, degrees_of_freedom, and
        half_width_90 (of the interval of 90 %) and of other levels; rows of a fold that could not be fitted are missing.
    partials : sequence of Path
        Sums of rule `estimate`, which tell how much of each stand each set serves: distances from plots left out are held against
        those of the land that the set serves, and of no other. Without them every set is held against all stands.
    date_effect : str
        With auto, whether dates have levels of their own is decided anew in every fold.
    """
    fitted = TargetModel.from_plain(store.read_json(model))
    frame = store.read_table(table)
    frame = frame[frame["kept"]].reset_index(drop=True)
    grid_ = Grid(**grid)
    stands = read_stands(settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None)
    served = served_ha(partials, fitted.target, stands["stand"].tolist(), len(fitted.sets))
    found, tables, distances = [], [], []
    levels = sorted({*LEVELS, confidence_percent})
    for number, one in enumerate(fitted.sets):
        rows = rows_of(frame, one, column)
        if served is not None and not served[:, number].any():
            log.info("%s from %s serves no stand: its plots left out are held against all of them", fitted.target, one.name)
        places = _places(stands, None if served is None else served[:, number])
        xy = rows[["x", "y"]].to_numpy(float)
        distances.append({"set_name": one.name, "scheme": None, **_quantiles(cdist(places, xy).min(axis=1))})
        for scheme in SCHEMES:
            folds, machine = _folds(_learner(fitted, one), scheme, rows, places)
            predicted, failed = _predicted(rows, fitted, one, column, folds, machine, date_effect, levels)
            distances.append({"set_name": one.name, "scheme": scheme, **_quantiles(distances_to_training(xy, folds))})
            found.append(_scored(predicted, one, scheme, folds, failed, confidence_percent, levels))
            tables.append(predicted.assign(set_name=one.name, scheme=scheme))
            _tell(fitted.target, found[-1])
    about = {"schemes": SCHEMES, "confidence_percent": confidence_percent, "quantiles_percent": STEPS_PERCENT.tolist()}
    store.write_json(scores, about | {"scores": found, "distances": distances})
    store.write_table(left_out, pd.concat(tables, ignore_index=True))


def _learner(fitted: TargetModel, one: SetModel) -> SetModel:
    """The set that learns from plots, anew in every fold: the set itself, or the first stage that teaches it."""
    return one if one.second_stage is None else fitted.named(one.second_stage.first_set)


def _folds(
    one: SetModel, scheme: str, rows: pd.DataFrame, places: np.ndarray
) -> tuple[list[tuple[np.ndarray, np.ndarray]], Regressor | None]:
    """Rows left out and rows that stay, fold by fold; and the regressor whose choice of another is made anew in each, if it is
    one that chooses."""
    xy, cluster = rows[["x", "y"]].to_numpy(float), rows["cluster"].astype(str).to_numpy()
    block_m = float(max(np.ptp(xy, axis=0).max() / BLOCKS_ALONG, 1.0))
    anew = bool(getattr(one.machine, "table", ()))  # it has compared others, as `auto` does
    most = CHOICE_FOLDS if anew else MOST_FOLDS
    folds = splits(scheme, xy, cluster, places, block_m=block_m, folds=most)
    if anew or one.machine.stands_for.learns:
        folds = fewer(scheme, folds, len(xy), most)
    return folds, one.machine if anew else None


def _predicted(
    rows: pd.DataFrame, fitted: TargetModel, one: SetModel, column: str, folds: Sequence[tuple[np.ndarray, np.ndarray]],
    machine: Regressor | None, date_effect: str, levels: Sequence[float],
) -> tuple[pd.DataFrame, list[dict]]:  # fmt: skip
    """Plots as predicted by models that have not seen them, and the folds whose rest cannot be fitted, with the reason."""
    told = ["predicted", "sd", "degrees_of_freedom", *map(half_width, levels)]
    columns = ["plot", "cluster", "year", "x", "y", *(["stratum"] if "stratum" in rows else [])]
    table = rows[columns].assign(fold=-1, observed=rows[column].to_numpy(float), **dict.fromkeys(told, np.nan))
    failed = []
    for number, fold in enumerate(folds):
        test = fold[0]
        table.loc[test, "fold"] = number
        try:
            part = predict_left_out(
                rows, fitted, one, column, [fold], machine, date_effect=date_effect, levels_percent=levels
            )
            why = NO_FIT if part["predicted"].iloc[test].isna().all() else None
        except (ValueError, np.linalg.LinAlgError) as error:
            why = str(error)
        if why is None:
            table.loc[test, told] = part.loc[test, told].to_numpy(float)
        else:
            failed.append({"fold": number, "rows": len(test), "why": why})
    return table, failed


def _scored(
    predicted: pd.DataFrame, one: SetModel, scheme: str, folds: Sequence[tuple[np.ndarray, np.ndarray]],
    failed: list[dict], confidence_percent: float, levels: Sequence[float],
) -> dict:  # fmt: skip
    seen = predicted.dropna(subset=["predicted"])
    about = {
        "set_name": one.name, "scheme": scheme, "folds": len(folds), "missing": len(predicted) - len(seen), "failed": failed,
    }  # fmt: skip
    if len(seen) < 3:
        return {**about, "why": failed[0]["why"] if failed else NO_FIT}
    groups = {}
    if "stratum" in seen and seen["stratum"].notna().any():
        groups["stratum"] = seen["stratum"].fillna("none given").astype(str).to_numpy()
    if seen["year"].nunique() > 1:
        groups["year"] = seen["year"].astype(str).to_numpy()
    return about | all_scores(
        *(seen[name].to_numpy(float) for name in ("observed", "predicted", "sd")),
        {level: seen[half_width(level)].to_numpy(float) for level in levels},
        degrees_of_freedom=seen["degrees_of_freedom"].to_numpy(float), confidence_percent=confidence_percent,
        cluster=seen["cluster"].astype(str).to_numpy(), groups=groups,
    )  # fmt: skip


def _tell(target: str, one: dict) -> None:
    for why in dict.fromkeys(fold["why"] for fold in one["failed"]):
        rows = [fold["rows"] for fold in one["failed"] if fold["why"] == why]
        log.warning(
            "%s from %s, left out by %s: %d of %d folds (%d plot measurements) have no prediction: %s",
            target, one["set_name"], one["scheme"], len(rows), one["folds"], sum(rows), why,
        )  # fmt: skip
    if "rmse_percent" in one:
        log.info(
            "%s from %s, left out by %s: RMSE %.1f %%, bias %+.1f %%, %.0f %% of the intervals hold",
            target, one["set_name"], one["scheme"], one["rmse_percent"], one["bias_percent"], one["coverage_percent"],
        )  # fmt: skip


def _quantiles(distance_m: np.ndarray) -> dict:
    known = distance_m[np.isfinite(distance_m)]
    return {"distance_m": np.percentile(known, STEPS_PERCENT).tolist() if len(known) else None}


def served_ha(partials: Sequence[Path], target: str, stands: Sequence[str], sets: int) -> np.ndarray | None:
    """Hectares (stands, sets) that each predictor set serves of each stand, added over dates; None where nobody has mapped."""
    if not partials:
        return None
    found, place = np.zeros((len(stands), sets)), {name: k for k, name in enumerate(stands)}
    for path in partials:
        rows = store.read_table(path)
        stock = rows["estimand"].astype(str).str.fullmatch(rf"{re.escape(target)}_\d+").to_numpy(bool)
        rows = rows[stock & (rows["part"] == "all").to_numpy(bool)]
        if len(rows):
            np.add.at(found, rows["stand"].map(place).to_numpy(int), np.vstack(rows["set_ha"].to_list()))
    return found


def _places(stands, hectares: np.ndarray | None = None) -> np.ndarray:
    """A sample (m, 2) of what is mapped: lattice points of the stands, each standing for about as much forest.

    hectares : (stands,) forest that a predictor set serves; by default, or where it serves none, the area of the stands. Small
        stands share a point: one of them has it for all, the first that brings their sum to half a point.
    """
    if hectares is None or not hectares.any():
        hectares = stands.geometry.area.to_numpy()
    counts = np.diff(np.rint(np.cumsum(hectares) * PLACES / hectares.sum()), prepend=0.0).astype(int)
    return np.vstack([lattice(stands.geometry.iloc[k], points=int(counts[k])).points for k in np.flatnonzero(counts)])
