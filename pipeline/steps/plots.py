"""Step `plots`: from field tables to targets per plot and date, with their errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import parameters, tables
from catalogs.plots import read_height_pairs, read_plots, read_trees
from models import allometry, heights
from pipeline import store
from pipeline.config import TARGETS
from pipeline.grid import Grid
from pipeline.steps.notes import kept_warnings

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)


def plots(
    *, table: Path, settings: dict[str, Any], grid: dict[str, Any], targets: list[str], said: Path | None = None, **files: Any
) -> None:
    """Write the plots of a study: one row per plot and date.

    Parameters
    ----------
    table : path
        GeoParquet: plot, date, cluster, stratum, disturbance_date, area_ha, the target columns with `<column>_se`,
        factors `f_<name>` of biomass (Mg/ha per standard deviation of an error that plots share; 0 for plots without),
        geometry (footprint), kept, reason (why a plot is left out, '' where it is not).
    settings, grid : dict
        The section `plots` of the study, and `Grid.settings()`.
    targets : list of str
        What the study maps.
    said : path, optional
        Where what was warned of is kept for the report.
    files
        The tables that the settings name: inputs of the rule, so that their change is seen.

    Raises
    ------
    ValueError, FileNotFoundError
        When the tables cannot be used, no plot lies on the grid, or no plot carries a target.
    """
    study_grid = Grid(**grid)
    with kept_warnings(said):
        frame = read_plots(settings, crs=study_grid.crs)
        if settings.get("trees"):
            frame = _with_trees(frame, read_trees(settings, plots=frame), settings)
        frame = _kept(frame.drop(columns="visited"), study_grid, targets, settings)
    store.write_table(table, frame)
    log.info("plots: kept %d of %d rows of plot and date for %s", frame["kept"].sum(), len(frame), ", ".join(targets))


def _with_trees(frame: gpd.GeoDataFrame, trees: pd.DataFrame, settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """Plots with the totals of their trees in place of what the plot table itself said."""
    equations = parameters.allometry_table(settings["allometry"])
    allometry.check_equations(equations)
    for name in equations.loc[equations["status"] == "unverified", "name"].unique():
        log.warning("allometry %s has rows of status unverified", name)
    _check_served(trees, equations, settings)
    if allometry.needs(equations, "wood_density_g_cm3"):
        trees = _with_wood_density(trees, settings)
    totals = allometry.plot_totals(trees, equations, height_model=_height_model(trees, equations, settings))
    if equations["rse"].isna().any():
        log.warning("allometry %s has no rse: the plots' own error leaves out trees", settings["allometry"])
    if equations[["var_a", "var_b", "cov_ab"]].isna().any(axis=None):
        log.warning("allometry %s has no parameter covariance: its shared error is left out", settings["allometry"])
    extrapolated = (totals["extrapolated_percent"] * totals["agb_mg_ha"]).sum() / totals["agb_mg_ha"].sum()
    if extrapolated > 0:
        log.warning("%.1f %% of the biomass is of trees outside the diameters of their equation", extrapolated)
    computed = totals.columns.drop(["plot", "date", "extrapolated_percent"])
    frame = frame.drop(columns=frame.columns.intersection(computed))
    return frame.merge(totals.drop(columns="extrapolated_percent"), on=["plot", "date"], how="left")


def _check_served(trees: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]) -> None:
    live = trees[trees["status"] == "live"]
    unserved = live[allometry.match_equations(live, equations) < 0]
    if len(unserved):
        raise ValueError(
            f"{settings['trees']}: allometry {settings['allometry']} has no equation for "
            f"{_named(unserved['species'], equations['taxon'])}; add rows for them, or one of level default"
        )


def _with_wood_density(trees: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    table = parameters.wood_density_table(settings["wood_density"]) if settings.get("wood_density") else None
    if table is None and "wood_density_g_cm3" not in trees:
        raise ValueError(
            f"allometry {settings['allometry']} needs wood density: name a table in plots.wood_density, or give "
            "the trees a column wood_density_g_cm3"
        )
    live = trees["status"] == "live"
    matched = allometry.match_wood_density(trees[live], table, groups=trees.loc[live, "cluster"])
    unknown = matched["wood_density_level"] == "group"
    if unknown.any() and settings["unknown_species"] == "fail":
        taxa = table.loc[table["level"] != "family", "taxon"] if table is not None else []
        raise ValueError(
            f"{settings['trees']}: no wood density for {_named(trees.loc[live, 'species'][unknown], taxa)}; "
            "correct the names, add them to plots.wood_density, or set plots.unknown_species: default to take the "
            "mean of the known trees around"
        )
    if matched["wood_density_g_cm3"].isna().any():
        raise ValueError(f"{settings['trees']}: not one species is in {settings['wood_density']}")
    counts = matched["wood_density_level"].value_counts()
    log.info("wood density of trees by %s", ", ".join(f"{level} {count}" for level, count in counts.items()))
    return trees.drop(columns=matched.columns, errors="ignore").join(matched)


def _named(species: pd.Series, known: Any) -> str:
    """'3 trees of 2 species (Abies x, Picea y)', the first few, each with the nearest known name."""
    counts = species.replace("", "(no name)").value_counts()
    names = [f"{name}{tables.nearest(name, known)}" for name in counts.index[:3]]
    return f"{len(species)} trees of {len(counts)} species ({', '.join(names)}{', ...' if len(counts) > 3 else ''})"


def _height_model(trees: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]) -> heights.HeightModel | None:
    """The height-diameter model that unmeasured heights ask for; none when all are measured, or it is not needed."""
    live = trees[trees["status"] == "live"]
    missing = int(live["height_m"].isna().sum())
    if missing == 0:
        return None
    if settings.get("height_pairs"):
        pairs = read_height_pairs(settings)
        labels = pairs["plot"].to_numpy() if "plot" in pairs else None
    else:
        pairs = live[live["height_m"].notna()]
        labels = allometry.visits(pairs)
    needed = allometry.needs(equations, "height_m")
    if not needed and len(pairs) < heights.MIN_PAIRS:
        return None
    try:
        model = heights.fit_heights(
            pairs["dbh_cm"].to_numpy(),
            pairs["height_m"].to_numpy(),
            model=settings["height_model"],
            plots=labels,
        )
    except ValueError as error:
        if not needed:
            log.warning("no dominant height: %s", error)
            return None
        raise ValueError(
            f"{settings.get('height_pairs') or settings['trees']}: {missing} trees have no height, and {error}; "
            "name more pairs in plots.height_pairs, or an allometry without height"
        ) from None
    beyond = int((live["dbh_cm"][live["height_m"].isna()] > model.dbh_range_cm[1]).sum())
    log.info(
        "%d heights by %s from %d pairs, residual SD %.3g%s, between plots %.3g; %d trees thicker than any pair",
        missing, model.name, model.pairs, model.residual_sd, " of ln H" if model.curve.logarithmic else " m",
        model.between_sd, beyond,
    )  # fmt: skip
    return model


def _kept(frame: gpd.GeoDataFrame, grid: Grid, targets: list[str], settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """Flags which rows can be used: whole footprint on the grid, and at least one target of the study."""
    import shapely

    columns = [TARGETS[target]["column"] for target in targets]
    for target, column in zip(targets, columns, strict=True):
        if column not in frame or frame[column].isna().all():
            source = "the trees do not give it" if settings.get("trees") else f"add a column {column} to the plots"
            raise ValueError(f"no plot carries the target {target}: {source}, or take it out of targets")
    inside = shapely.within(frame.geometry.to_numpy(), shapely.box(*grid.bounds))
    if not inside.any():
        theirs, ours = (" ".join(f"{value:.0f}" for value in box) for box in (frame.total_bounds, grid.bounds))
        raise ValueError(
            f"{settings.get('corners') or settings['file']}: no plot lies in the study's area; plots span {theirs}, "
            f"the area {ours} (west south east north, {grid.crs})"
        )
    bare = frame[columns].isna().all(axis=1).to_numpy()
    unmeasured = "no trees listed for this date" if settings.get("trees") else "no value of any target"
    frame["reason"] = np.select([~inside, bare], ["not wholly inside the study's area", unmeasured], default="")
    frame["reason"] = frame["reason"].astype(object)
    frame["kept"] = frame["reason"] == ""
    for reason, count in frame.loc[~frame["kept"], "reason"].value_counts().items():
        log.warning("left out %d of %d rows of plot and date: %s", count, len(frame), reason)
    if not frame["kept"].any():
        raise ValueError(f"no plot is left: {'; '.join(sorted(set(frame['reason'])))}")
    factors = [column for column in frame if column.startswith("f_")]
    frame[factors] = frame[factors].fillna(0.0)
    first = ["plot", "date", "cluster", "stratum", "disturbance_date", "area_ha"]
    last = ["geometry", "kept", "reason"]
    middle = [column for column in frame if column not in (*first, *last)]
    return frame[[*first, *middle, *last]]
