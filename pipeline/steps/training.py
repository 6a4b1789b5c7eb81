"""Rule `training`: plots meet predictors at plot support."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from shapely.affinity import translate

from catalogs.stands import read_stands
from models.inference.position import PLACES, PREFIX, displacements
from models.inference.stratum_names import PREFIX as PREFIX_OF_STRATA
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.steps.lidar import plot_metrics
from pipeline.steps.windows import footprint_shares, predictors_at, weighted_means
from pipeline.strata import shares_of, strata_predictors

log = logging.getLogger(__name__)

MOST_NAMED = 10
"""Plots that a line of the log names; the table has all of them, with the reason."""


def training(
    *,
    table: Path,
    plots: Path,
    grid: dict,
    target: str,
    column: str,
    predictor_sets: Mapping[str, Sequence[str]],
    sources: dict,
    campaigns: Mapping[str, dict],
    years: Sequence[int],
    max_years_apart: float,
    strata: dict | None = None,
    **_inputs: object,
) -> None:
    """Plots with their predictors, one row per plot and date; rows left out stay in the table with the reason.

    `strata` is the section `stands` of the study where models tell strata apart: each plot gets its share in every stratum.
    """
    grid_ = Grid(**grid)
    frame = store.read_table(plots)
    if column not in frame:
        raise ValueError(
            f"the plots carry no {column}, so {target} cannot be mapped; they carry {', '.join(_targets_in(frame))}"
        )
    frame = frame.reset_index(drop=True)
    frame["year"] = nearest_year(frame["date"], years, max_years_apart)
    frame.loc[frame["kept"] & frame["year"].isna(), ["kept", "reason"]] = [
        False,
        f"no study year within {max_years_apart:g} years of its measurement",
    ]
    frame.loc[frame["kept"] & frame[column].isna(), ["kept", "reason"]] = [False, f"no {column}"]
    _leave_out_disturbed(frame, sources)
    names = list(dict.fromkeys(name for chosen in predictor_sets.values() for name in chosen))
    values = _predictors_at(frame, grid_, sources, names, campaigns, max_years_apart)
    frame = pd.concat([frame, values, *([_strata_of(frame, grid_, strata)] if strata else [])], axis=1)
    unseen = frame["kept"] & values[names].isna().all(axis=1)
    frame.loc[unseen, ["kept", "reason"]] = [False, "no predictor is there at its place and date"]
    _report(frame, grid_)
    if not frame["kept"].any():
        reasons = Counter(frame["reason"]).most_common(3)
        raise ValueError(
            f"none of {len(frame)} plot measurements can be used for {target}: "
            + "; ".join(f"{count} x {reason}" for reason, count in reasons)
        )
    centre = frame.geometry.centroid
    frame["x"], frame["y"] = centre.x, centre.y
    store.write_table(table, frame)


def _targets_in(frame: pd.DataFrame) -> list[str]:
    from pipeline.config import TARGETS

    return [about["column"] for about in TARGETS.values() if about["column"] in frame] or ["no target at all"]


def nearest_year(date: pd.Series, years: Sequence[int], max_years_apart: float) -> pd.Series:
    """The study year whose 1 July is nearest to each date, missing when it is too far."""
    middles = pd.to_datetime([f"{year}-07-01" for year in years])
    apart = np.abs((date.to_numpy()[:, None] - middles.to_numpy()[None, :]) / np.timedelta64(1, "D")) / 365.25
    nearest = apart.argmin(axis=1)
    chosen = pd.Series(np.asarray(years)[nearest], index=date.index, dtype="Int64")
    return chosen.where(pd.Series(apart.min(axis=1) <= max_years_apart, index=date.index))


def _leave_out_disturbed(frame: pd.DataFrame, sources: Mapping) -> None:
    """A plot disturbed between its measurement and what the sky saw shows another forest than was measured."""
    if "disturbance_date" not in frame or frame["disturbance_date"].isna().all():
        return
    for row in frame[frame["kept"] & frame["disturbance_date"].notna()].itertuples():
        seen = [pd.Timestamp(date) for date in sources["seen"].get(str(row.year), [])]
        first, last = min([row.date, *seen]), max([row.date, *seen])
        if first < row.disturbance_date <= last:
            frame.loc[row.Index, ["kept", "reason"]] = [False, "disturbed between measurement and image or campaign"]


def _predictors_at(frame, grid: Grid, sources, names, campaigns, max_years_apart) -> pd.DataFrame:
    """Area-weighted pixels over each footprint; lidar metrics from the points inside it instead.

    A plot whose position has an error is seen at the places where it may be: its predictors are their means, and what they
    are at each place stands in lists under `displaced_<name>`, which the table has where any plot has such an error.
    """
    places = _places(frame)
    seen = {}
    with store.kept_open():
        for row, window in _windows(places, grid):
            weights = footprint_shares(places[row], grid, window)
            found = predictors_at(grid, window, int(frame.at[row, "year"]), sources, names, weights)
            seen[row] = np.column_stack([found[name] for name in names])
    metrics = [name for name in names if name in sources["metrics"]]
    if metrics:
        _points_instead(seen, places, frame, grid, sources, names, metrics, campaigns, max_years_apart)
    values = np.full((len(frame), len(names)), np.nan)
    for row, found in seen.items():
        values[frame.index.get_loc(row)] = found[0] if len(found) == 1 else _means(found)
    values = pd.DataFrame(values, index=frame.index, columns=names)
    uncertain = {row: found for row, found in seen.items() if len(found) > 1}
    if uncertain:
        log.info(
            "%d of %d plot measurements have a position error (median %.1f m): their predictors are means over %d places",
            len(uncertain), len(seen), frame.loc[list(uncertain), "position_error_m"].median(), PLACES,
        )  # fmt: skip
        for number, name in enumerate(names):
            lists = {row: found[:, number].tolist() for row, found in uncertain.items()}
            values[f"{PREFIX}{name}"] = pd.Series(lists, dtype=object).reindex(frame.index)
    return values


def _strata_of(frame, grid: Grid, settings: Mapping) -> pd.DataFrame:
    """Share of each plot that is kept in every stratum, read from the pixels under it, as the map reads them.

    A plot whose position has an error keeps the strata of its own footprint at every place where it may be.
    """
    polygons = read_stands({**settings, "include_plots": False}, crs=grid.crs, bounds=grid.bounds)
    names = strata_predictors(polygons)
    found = pd.DataFrame(np.nan, index=frame.index, columns=names)
    for row in frame.index[frame["kept"]]:
        footprint = frame.at[row, "geometry"]
        window = grid.window_of(footprint.bounds)
        weight = footprint_shares([footprint], grid, window)
        read = shares_of(polygons, grid, window, names)
        found.loc[row] = [weighted_means(read[name], weight)[0] for name in names]
    inside = found.fillna(0.0).to_numpy() > 0.5
    told = ", ".join(f"{name[len(PREFIX_OF_STRATA) :]} {n}" for name, n in zip(names, inside.sum(axis=0), strict=True))
    log.info("plot measurements by stratum of the stands that they lie in: %s", told)
    if "position_error_m" in frame and (frame["position_error_m"] > 0).any():
        for name in names:
            found[f"{PREFIX}{name}"] = [[value] * PLACES for value in found[name]]
    return found


def _places(frame) -> dict[int, list]:
    """By row of a kept plot the footprints that it may have: its own, or where its position has an error, many displaced."""
    errors_m = frame.get("position_error_m", pd.Series(np.nan, index=frame.index))
    return {
        row: [translate(footprint, east, north) for east, north in displacements(error_m)] if error_m > 0 else [footprint]
        for row, footprint, error_m, kept in zip(frame.index, frame.geometry, errors_m, frame["kept"], strict=True)
        if kept
    }


def _windows(places: Mapping[int, list], grid: Grid) -> list[tuple[int, Window]]:
    """The pixels that each plot's footprints touch, plots of one block after the other: its files are opened once."""
    windows = {row: grid.window_of(tuple(shapely.total_bounds(footprints))) for row, footprints in places.items()}
    size = grid.block_px
    return sorted(windows.items(), key=lambda item: (item[1].row0 // size, item[1].col0 // size, item[0]))


def _means(found: np.ndarray) -> np.ndarray:
    """Mean of each column over the places (k, names) where it is known; missing where that is less than half of them."""
    there = np.isfinite(found)
    total = np.where(there, found, 0.0).sum(axis=0)
    return np.where(there.mean(axis=0) >= 0.5, total / np.maximum(there.sum(axis=0), 1), np.nan)


def _points_instead(seen, places, frame, grid, sources, names, metrics, campaigns, max_years_apart) -> None:
    columns = [names.index(name) for name in metrics]
    for found in seen.values():
        found[:, columns] = np.nan
    for year, campaign in sources["campaign_of_year"].items():
        if campaign is None:
            continue
        flown = pd.Timestamp(campaigns[campaign]["date"])
        near = (frame["date"] - flown).abs() / pd.Timedelta(days=365.25) <= max_years_apart
        rows = frame.index[frame["kept"] & (frame["year"] == int(year)) & near]
        if len(rows):
            kept = store.KeptArrays(Path(sources["lidar_folder"]).parent / "index" / "pieces")  # as the blocks found them
            footprints = [footprint for row in rows for footprint in places[row]]
            sizes = [len(places[row]) for row in rows]
            found = plot_metrics(campaigns[campaign], footprints, crs=grid.crs, names=metrics, kept=kept, sizes=sizes)
            for row, part in zip(rows, np.split(found[metrics].to_numpy(), np.cumsum(sizes)[:-1]), strict=True):
                seen[row][:, columns] = part


def _report(frame: pd.DataFrame, grid: Grid) -> None:
    for reason, gone in frame[~frame["kept"]].groupby("reason", sort=False):
        plots = gone["plot"].astype(str).unique()  # a plot is measured at several dates
        more = f" and {len(plots) - MOST_NAMED} more" if len(plots) > MOST_NAMED else ""
        names = ", ".join(plots[:MOST_NAMED]) + more
        log.info("left out %d plot measurement%s: %s (%s)", len(gone), "" if len(gone) == 1 else "s", reason, names)
    ratio = grid.pixel_ha / frame["area_ha"]
    frame["support_ratio"] = ratio
    wide = (ratio > 2) | (ratio < 0.5)
    if wide.any():
        log.warning(
            "%d of %d plot measurements differ from the grid cell (%.4g ha) in area by more than a factor 2: "
            "choose a resolution nearer to the plots' size",
            wide.sum(), len(frame), grid.pixel_ha,
        )  # fmt: skip
    log.info("%d of %d plot measurements meet predictors", frame["kept"].sum(), len(frame))
