"""Rule `stands`: stock and sink of every stand, of strata and of the project by the model, with standard errors and intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.inference.own_plots import LEAST_FOREST
from models.inference.patches import STAND
from models.inference.stands import RegionEstimator, lattices
from models.inference.target_model import TargetModel
from models.saturation import Saturation, saturation
from pipeline import store
from pipeline.applicability import farthest_sentence, scale_sentences
from pipeline.grid import Grid, Window
from pipeline.products import estimands_of
from pipeline.report.styles import stand_style
from pipeline.steps.carbon import carbon_factors, warn_of_strata_without_stands
from pipeline.steps.forest import read_forest
from pipeline.steps.notes import kept_warnings, with_caveats
from pipeline.steps.stand_composites import LEDGER_COLUMNS, Field, composites
from pipeline.steps.stand_rows import (
    ESTIMATOR,
    ROUNDING_PERCENT,
    Asked,
    Project,
    composite_rows,
    estimated_from,
    flag_saturated,
    region_rows,
    stand_rows,
)
from pipeline.steps.stand_tables import wide_table
from pipeline.zonal import combine, coverage

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)


def stands(
    *,
    layers: Path,
    table: Path,
    estimates: Path,
    ledger: Path,
    partials: Sequence[Path],
    models: Mapping[str, Path],
    left_out: Mapping[str, Path],
    training: Mapping[str, Path],
    settings: dict,
    grid: dict,
    years: Sequence[int],
    carbon: dict,
    stock_target: str | None,
    min_cover_percent: float,
    confidence_percent: float,
    targets: Mapping[str, dict],
    plots: Path | None = None,
    said: Path | None = None,
    warned: Path | None = None,
    max_outside_domain_percent: float = 80.0,
    rooted: Path | None = None,
    forest: dict | None = None,
    sources: dict | None = None,
    sizes: Sequence[Path] = (),
    **_inputs: object,
) -> None:
    """Add the blocks' sums, turn them into estimates, and write one row per stand for people and one per estimate.

    `ledger` gets the sources of each composite: the map, the stand's own plots, its inventory records. With `forest` (and
    `sources`, as in rule `estimate`) plots where the map has no forest say nothing of the forest of their stands.
    """
    grid_ = Grid(**grid)
    with kept_warnings(said):
        polygons = read_stands(
            settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None
        )
        polygons = polygons.reset_index(drop=True)
        factors = carbon_factors(carbon, rooted)
        warn_of_strata_without_stands(factors, polygons)
        measured = {target: store.read_table(training[target]) for target in models}
        if forest:
            _tell_forest(measured, grid_, forest, sources or {}, polygons)
        seen = _seen(partials, len(polygons), max_outside_domain_percent, _scaled(sizes, models))
        project = Project.of(polygons, replace(lattices(polygons.geometry), patch=(STAND + polygons["stand"]).to_numpy(object)))
        long, whole, ledgers = [], [], []
        for target, path in models.items():
            model = TargetModel.from_plain(store.read_json(path))
            apart, fitted = store.read_table(left_out[target]), measured.pop(target)
            told = _of_target(
                target, model, apart, Field.of(apart, fitted, polygons), seen, polygons, project,
                records=settings.get("records") or {}, years=years, units=targets[target]["units"],
                confidence_percent=confidence_percent, min_cover_percent=min_cover_percent,
            )  # fmt: skip
            for every, own in zip((long, whole, ledgers), told, strict=True):
                every += own
    del seen, project
    estimated = _as_one(long, len(polygons))
    long.clear()
    wide = wide_table(polygons, estimated, years, factors, stock_target, targets, confidence_percent, ESTIMATOR)
    _tell(estimated, len(wide), ledgers, min_cover_percent)
    written = {
        estimates: pd.concat([estimated, pd.DataFrame(whole)], ignore_index=True),
        table: wide,
        ledger: pd.DataFrame(ledgers, columns=LEDGER_COLUMNS),
    }
    written = {path: with_caveats(frame, warned) for path, frame in written.items()}
    for path, frame in written.items():
        store.write_table(path, frame)
    store.write_layers(layers, {"stands": written[table]}, styles={"stands": stand_style(wide, years, stock_target)})


def _tell_forest(measured: Mapping[str, pd.DataFrame], grid: Grid, forest: Mapping, sources: Mapping, polygons) -> None:
    """Give the plot measurements of every target the column `forest_share`; targets of the same plots share what is looked up."""
    every = pd.concat([table[["year", "kept", "geometry"]] for table in measured.values()], ignore_index=True)
    found = forest_shares(every, grid, forest, sources, polygons)
    ends = np.cumsum([len(table) for table in measured.values()])
    for table, part in zip(measured.values(), np.split(found, ends[:-1]), strict=True):
        table["forest_share"] = part


MASK_PX = 512
"""Side of the squares of the grid of whose plots the forest is read at once: what lies between plots costs less than files
opened once more."""


def forest_shares(plots: pd.DataFrame, grid: Grid, forest: Mapping, sources: Mapping, polygons) -> np.ndarray:
    """Share (n,) of each plot measurement's footprint that is forest on the map of its year; NaN where no map tells, and of
    measurements that are left out.

    A footprint is looked up once a year, however many rows have it.
    """
    found, asked = np.full(len(plots), np.nan), np.flatnonzero((plots["kept"] & plots["year"].notna()).to_numpy(bool))
    keys = list(zip(plots["year"].iloc[asked].astype(int), plots.geometry.iloc[asked].to_wkb(), strict=True))
    rows = dict(zip(keys, asked.tolist(), strict=True))
    with store.kept_open():
        for (year, window), numbers in _squares(rows, plots.geometry, grid).items():
            _look_up(found, numbers, plots.geometry, grid, window, read_forest(grid, window, year, forest, sources, polygons))
    found[asked] = found[[rows[key] for key in keys]]
    told = found[list(rows.values())]
    bare = int((told < LEAST_FOREST).sum())
    if bare:
        log.info("%d of %d plot measurements stand where the map has no forest", bare, int(np.isfinite(told).sum()))
    return found


def _squares(rows: Mapping[tuple, int], geometry: gpd.GeoSeries, grid: Grid) -> dict[tuple[int, Window], list[int]]:
    """Rows by year and the window that holds their footprints: those that begin in one square of the grid."""
    squares: dict[tuple[int, int, int], list[tuple[int, Window]]] = {}
    for (year, _), row in rows.items():
        window = grid.window_of(geometry.iloc[row].bounds)
        if 0 not in window.shape:  # else beyond the grid, where no map tells
            squares.setdefault((year, window.row0 // MASK_PX, window.col0 // MASK_PX), []).append((row, window))
    found = {}
    for (year, *_), members in squares.items():
        edges = np.array([window for _, window in members])
        low, high = edges.min(axis=0).tolist(), edges.max(axis=0).tolist()
        found[year, Window(low[0], high[1], low[2], high[3])] = [row for row, _ in members]
    return found


def _look_up(
    found: np.ndarray, rows: Sequence[int], geometry: gpd.GeoSeries, grid: Grid, window: Window, mask: np.ndarray
) -> None:
    """Put into `found` the shares of some rows, whose footprints lie in a window with this forest (rows, cols)."""
    import geopandas as gpd

    footprints = gpd.GeoDataFrame({"stand": rows}, geometry=geometry.iloc[rows].to_numpy(), crs=grid.crs)
    for row, pixel, share, _ in coverage(footprints, grid, window):
        wooded = mask.ravel()[pixel]
        known = np.where(np.isnan(wooded), 0.0, share)
        if known.sum() >= LEAST_FOREST * share.sum():
            found[row] = known @ np.nan_to_num(wooded) / known.sum()


def _scaled(sizes: Sequence[Path], models: Mapping[str, Path]) -> list[str]:
    """Predictors that are of another scale on the map than at the plots, as sentences, of which is warned; else the one that is
    farthest from the plots, for the words of a refusal."""
    rows = [row for path in sizes for row in store.read_json(path)["sizes"]]
    sets = [one for path in models.values() for one in store.read_json(path)["sets"]] if rows else []
    said = scale_sentences(rows, sets)
    for sentence in said:
        log.warning(sentence)
    return said or list(filter(None, [farthest_sentence(rows, sets)]))


def _seen(
    partials: Sequence[Path], stands: int, max_outside_domain_percent: float, scaled: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Per estimand, what the blocks' sums say of each stand."""
    totals = combine(part for path in partials if len(part := store.read_table(path)))
    if not totals:
        raise ValueError(f"none of {stands} stands covers a cell of the study's grid")
    for every in totals.values():
        check_extrapolation(every, max_outside_domain_percent, scaled)
    return {estimand: estimated_from(totals.pop(estimand)) for estimand in list(totals)}


def _of_target(
    target: str, model: TargetModel, apart: pd.DataFrame, field: Field, seen: Mapping[str, pd.DataFrame], polygons,
    project: Project, *, records: Mapping[str, Mapping], years: Sequence[int], units: str, confidence_percent: float,
    min_cover_percent: float,
) -> tuple[list[pd.DataFrame], list[dict], list[dict]]:  # fmt: skip
    """Rows of a target's stands with their composites, of project and strata, and of the composites' sources."""
    long, whole, sources = [], [], []
    levels, flagged = saturation_of(model, apart), {}
    nothing = next(iter(seen.values())).iloc[:0]
    for estimand, span in estimands_of(target, tuple(years)).items():
        rows = seen.get(estimand, nothing)
        estimator = RegionEstimator(
            model, years=span, confidence_percent=confidence_percent, lowest=0.0 if len(span) == 1 else -np.inf
        )
        asked = Asked(target, tuple(span), estimator, project, min_cover_percent)
        found, mapped = stand_rows(rows, asked)
        flag_saturated(found, flagged, levels, [one.name for one in model.sets])
        joined, told = composites(target, span, mapped, polygons, estimator, field, records, units=units)
        long += [found, composite_rows(found, joined, asked)]
        sources += told
        whole += region_rows(rows, found, asked)
    return long, whole, sources


def _as_one(frames: Sequence[pd.DataFrame], stands: int) -> pd.DataFrame:
    """All rows; a table without rows says nothing of the columns' kinds."""
    found = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    if "mean" not in found:
        raise ValueError(
            f"none of {stands} stands has an estimate: nowhere in them is a predictor set complete where there is forest; do the "
            "images and campaigns cover the stands?"
        )
    return found


def _tell(estimated: pd.DataFrame, stands: int, sources: Sequence[Mapping], min_cover_percent: float) -> None:
    modelled = estimated[estimated["level"] == "stand"]
    short = modelled.groupby("stand")["cover_percent"].min() < min_cover_percent - ROUNDING_PERCENT
    log.info("%d stands, %d below %g %% cover without a total", stands, int(short.sum()), min_cover_percent)
    log.info("%d stands have a composite of several sources", len({row["stand"] for row in sources}))


WARN_OUTSIDE_PERCENT = 50.0
"""Share of the forest outside the area of applicability from which on a stock is said to be mostly extrapolated."""


def check_extrapolation(totals: pd.DataFrame, most_percent: float, scaled: Sequence[str] = ()) -> None:
    """Warn of a stock most of whose forest is unlike every plot; refuse one of which more than `most_percent` is.

    Parameters
    ----------
    totals : DataFrame
        Sums per estimand, stand and part, as `combine` makes them; pixels without forest count as in the domain.
    scaled : what predictors are of another scale than at the plots, or farthest from them: a likely reason
    """
    whole = totals[totals["part"] == "all"].groupby("estimand")[["covered_ha", "in_domain_ha", "forest_ha"]].sum()
    for estimand, row in whole[whole["forest_ha"] > 0].iterrows():
        percent = 100 * (row["covered_ha"] - row["in_domain_ha"]) / row["forest_ha"]
        if percent > most_percent:
            raise ValueError(
                f"{percent:.0f} % of the forest of {estimand} lies outside the area of applicability, at most {most_percent:g} % "
                "may (model.max_outside_domain_percent): the plots show no forest like it, so its numbers would be guesses; add "
                "plots there, use fewer predictors, or leave that part out of the stands"
                + "".join(f"; {sentence}" for sentence in scaled)
            )
        if percent > WARN_OUTSIDE_PERCENT:
            log.warning(
                "%.0f %% of the forest of %s lies outside the area of applicability: mostly extrapolated", percent, estimand
            )


def saturation_of(model: TargetModel, left_out: pd.DataFrame) -> dict[str, Saturation]:
    """The prediction from which on each predictor set says nothing more, where its left-out plots show one."""
    found = {}
    for one in model.sets:
        rows = left_out[left_out["set_name"] == one.name].dropna(subset=["observed", "predicted"])
        level = saturation(
            rows["observed"].to_numpy(float), rows["predicted"].to_numpy(float), rows["cluster"].astype(str).to_numpy()
        )
        if level is not None:
            found[one.name] = level
            log.warning(
                "%s from %s saturates: beyond %.4g at plots left out, predictions rise by %.2f per unit (before by %.2f); stands "
                "predicted at %.4g or more are flagged, and no change is told by the map alone there",
                model.target, one.name, level.ceiling_of, level.slope, level.before, level.level,
            )  # fmt: skip
    return found
