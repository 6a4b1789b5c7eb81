"""Rule `validate`: how well a target's models predict plots they have not seen, by several ways to leave plots out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.inference.fitted import TargetModel, predict_left_out, rows_of
from models.inference.stands import lattice
from models.validation import SCHEMES, all_scores, fewer, splits
from pipeline import store
from pipeline.grid import Grid

log = logging.getLogger(__name__)

PLACES = 2000  # of the map, whose distances to plots the folds are matched to
MOST_FOLDS = 10  # of a model that learns more than its parameters: a fold costs it a second or more
BLOCKS_ALONG = 5  # squares along the longer side of what the plots span


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
    plots: Path | None = None,
    **_inputs: object,
) -> None:
    """Scores of every predictor set for every way to leave plots out, and the plots as they were predicted.

    Parameters
    ----------
    scores : Path
        JSON: per set and scheme (`models.validation.SCHEMES`) the scores, or why there are none.
    left_out : Path
        Table: set_name, scheme, fold, plot, cluster, year, x, y, observed, predicted, sd.
    """
    fitted = TargetModel.from_plain(store.read_json(model))
    frame = store.read_table(table)
    frame = frame[frame["kept"]].reset_index(drop=True)
    grid_ = Grid(**grid)
    places = _places(
        read_stands(settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None)
    )
    found, tables = [], []
    for one in fitted.sets:
        rows = rows_of(frame, one, column)
        xy, cluster = rows[["x", "y"]].to_numpy(float), rows["cluster"].astype(str).to_numpy()
        block_m = float(max(np.ptp(xy, axis=0).max() / BLOCKS_ALONG, 1.0))
        for scheme in SCHEMES:
            folds = splits(scheme, xy, cluster, places, block_m=block_m)
            if one.machine.stands_for.learns:
                folds = fewer(scheme, folds, len(xy), MOST_FOLDS)
            predicted = predict_left_out(rows, fitted, one, column, folds)
            seen = predicted.dropna(subset=["predicted"])
            about = {"set_name": one.name, "scheme": scheme, "folds": len(folds), "missing": len(predicted) - len(seen)}
            if len(seen) < 3:
                found.append({**about, "why": "too few plots stay for a fit"})
                continue
            stays = min(len(np.unique(cluster[rest])) for _, rest in folds)
            found.append(
                about
                | all_scores(
                    *(seen[name].to_numpy(float) for name in ("observed", "predicted", "sd")),
                    degrees_of_freedom=max(stays - 1, 1), confidence_percent=confidence_percent,
                )
            )  # fmt: skip
            tables.append(predicted.assign(set_name=one.name, scheme=scheme))
            log.info(
                "%s from %s, left out by %s: RMSE %.1f %%, bias %+.1f %%, %.0f %% of the %g %% intervals hold",
                fitted.target, one.name, scheme, found[-1]["rmse_percent"], found[-1]["bias_percent"],
                found[-1]["coverage_percent"], confidence_percent,
            )  # fmt: skip
    store.write_json(scores, {"schemes": SCHEMES, "confidence_percent": confidence_percent, "scores": found})
    store.write_table(left_out, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"scheme": []}))


def _places(stands) -> np.ndarray:
    """A sample (m, 2) of what is mapped: lattice points of the stands, each standing for about as much forest."""
    share = PLACES / stands.geometry.area.sum()
    points = [lattice(shape, points=max(round(shape.area * share), 1)).points for shape in stands.geometry]
    return np.vstack(points)
