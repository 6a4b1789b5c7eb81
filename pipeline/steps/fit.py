"""Rule `fit`: the models of one target with the covariance they share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from catalogs.stands import read_stands
from models.inference.hierarchical import fit_in_stages
from models.inference.patches import with_stands
from models.inference.soundness import without_constant
from models.inference.target_model import TargetModel
from pipeline import store
from pipeline.grid import Grid

log = logging.getLogger(__name__)

BIOMASS_COLUMN = "agb_mg_ha"
"""The target whose unit the shared error factors `f_*` are in; no other target has them."""


def fit(
    *,
    model: Path,
    left_out: Path,
    table: Path,
    target: str,
    column: str,
    predictor_sets: Mapping[str, Sequence[str]],
    settings: dict,
    predictors_named: bool = True,
    years: Sequence[int] = (),
    cells: Path | None = None,
    stands: dict | None = None,
    grid: dict | None = None,
    **_inputs: object,
) -> None:
    """Fit every predictor set to plots, or to what an earlier one predicts at `cells`; `left_out` gets each plot as predicted
    without its cluster.

    Parameters
    ----------
    predictors_named : bool
        Somebody chose the predictors; of those that nobody named, one that is the same at all plots is left out.
    stands : dict, optional
        The section `stands` of a study that has them: plots and cells of one stand depart together.
    grid : dict, optional
        Where it is (`plan.area_settings`).
    """
    plots = store.read_table(table)
    if column != "agb_mg_ha":  # errors that plots share are errors of biomass; other targets do not carry them
        plots = plots.drop(columns=[name for name in plots.columns if name.startswith("f_")])
    plots = plots[plots["kept"]].reset_index(drop=True)
    sample = store.read_table(cells) if cells else None
    if stands:
        polygons = read_stands(stands, crs=Grid(**grid).crs, bounds=Grid(**grid).bounds)
        plots, sample = (None if rows is None else with_stands(rows, polygons) for rows in (plots, sample))
    notes: list[str] = []
    if not predictors_named:
        predictor_sets, notes = without_constant(plots, predictor_sets, column)
    for note in notes:
        log.warning(note)
    fitted, predictions = fit_in_stages(
        plots,
        predictor_sets,
        sample if sample is not None and len(sample) else None,
        path=settings["path"],
        target=target,
        column=column,
        regressor=settings["regressor"],
        transform=settings["transform"],
        date_effect=settings["date_effect"],
        min_clusters=settings["min_clusters"],
        strata=settings.get("strata", "none"),
    )
    if settings.get("residuals") == "upper_bound":
        fitted = replace(fitted, sets=tuple(replace(one, residuals=one.residuals.upper_bound()) for one in fitted.sets))
    for one in fitted.sets:
        log.info(
            "%s from %s: RMSE %.1f %% of the mean, R2 %.2f, %d plot measurements left out by cluster",
            target, one.name, one.scores["rmse_percent"], one.scores["r2"], one.scores["n"],
        )  # fmt: skip
    fitted = replace(fitted, warnings=(*notes, *fitted.warnings, *_years_without_plots(fitted, years)))
    store.write_json(model, fitted.to_plain())
    store.write_table(left_out, predictions)


def _years_without_plots(fitted: TargetModel, years: Sequence[int]) -> list[str]:
    """A sentence for every set and study year that no plot (or cell) shows: its map has no date effect of its own."""
    notes = []
    for one in fitted.sets:
        blind = sorted(set(years) - set(one.sample.year.tolist()))
        if blind and len(years) > 1:
            shown = ", ".join(map(str, blind))
            what = "plot" if one.second_stage is None else f"cell with {one.second_stage.first_set}"
            notes.append(f"predictor set {one.name}: no {what} shows {shown}; its level is that of {one.dates[0]}, untested")
            log.warning(notes[-1])
    return notes
