"""Step `plots`: from field tables to targets per plot and date, with their errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import parameters
from catalogs.plots import Findings, read_plots, read_trees
from catalogs.plots.consistency import MOST_PER_HA, check_limits
from catalogs.plots.reading import INNER_COLUMNS, WithoutDbh
from catalogs.plots.remeasured import changes_of_plots
from models import allometry
from pipeline import store
from pipeline.config import TARGETS
from pipeline.grid import Grid
from pipeline.steps.biomass import with_trees
from pipeline.steps.expansion import with_expanded_volume
from pipeline.steps.notes import kept_warnings
from pipeline.steps.roots import with_roots_of_totals

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)


def plots(
    *, table: Path, settings: dict[str, Any], grid: dict[str, Any], targets: list[str], said: Path | None = None,
    tree_list: Path | None = None, **files: Any,
) -> None:
    """Write the plots of a study: one row per plot and date.

    Parameters
    ----------
    table : path
        GeoParquet: plot, date, how it was chosen (cluster, stratum, phase, weight, sampling), disturbance_date, area_ha,
        position_error_m, the target columns with `<column>_se`, trees by change since the date before (survivor_n, ...),
        components, roots and carbon where asked for,
        factors `f_<name>` of biomass (Mg/ha per standard deviation of an error that plots share; 0 for plots without),
        geometry (footprint), kept, reason (why a plot is left out, '' where it is not).
    settings, grid : dict
        The section `plots` of the study, and `Grid.settings()`.
    targets : list of str
        What the study maps.
    said : path, optional
        Where what was warned of is kept for the report.
    tree_list : path, optional
        Where every tree is kept with its equation, height, wood density and biomass (Parquet).
    files
        The tables that the settings name: inputs of the rule, so that their change is seen.

    Raises
    ------
    ValueError, FileNotFoundError
        When the tables cannot be used, no plot lies on the grid, or no plot carries a target.
    """
    study_grid = Grid(**grid)
    with kept_warnings(said):
        findings = Findings(settings["rules"])
        frame, trees = read_plots(settings, crs=study_grid.crs, findings=findings), None
        if settings.get("trees"):
            trees = read_trees(settings, plots=frame, findings=findings, without_dbh=without_dbh(settings))
        frame, listed = weighed(frame, trees, settings, findings)
        if tree_list is not None and listed is not None:
            store.write_table(tree_list, listed)
        frame = kept(frame, study_grid, targets, settings)
    store.write_table(table, frame)
    log.info("plots: kept %d of %d rows of plot and date for %s", frame["kept"].sum(), len(frame), ", ".join(targets))


def without_dbh(settings: dict[str, Any]) -> WithoutDbh | None:
    """Which trees have an equation that asks for no dbh (palms by height, shrubs by cover); None where no equation is such.

    A misnamed allometry is said where the equations are used, not here.
    """
    try:
        equations = parameters.allometry_table(settings["allometry"], region=settings["region"])
        whole = allometry.of_component(allometry.in_region(equations, settings["region"]), "agb")
        groups = parameters.group_table(settings["groups"], equations=equations)
    except (ValueError, OSError):
        return None
    known = whole["form"].isin(list(allometry.FORMS))
    free = np.array([form in allometry.FORMS and "dbh_cm" not in allometry.FORMS[form].variables for form in whole["form"]])
    if not known.all() or not free.any():
        return None

    def chosen(trees: pd.DataFrame) -> np.ndarray:
        listed = allometry.with_groups(trees, groups) if groups is not None else trees
        return np.append(free, False)[allometry.match_equations(listed, whole)]

    return chosen


def weighed(
    frame: gpd.GeoDataFrame, trees: pd.DataFrame | None, settings: dict[str, Any], findings: Findings
) -> tuple[gpd.GeoDataFrame, pd.DataFrame | None]:
    """What the plots hold per hectare, from their trees or totals, before anyone asks where they lie: so a sheet can tell it
    of plots that no map can use.

    Returns
    -------
    frame
        As `plots` writes it, but for `kept`; `reason` says what the rules leave out.
    listed
        Every live tree with what was done to it (`with_trees`); None without a list.
    """
    read, listed = frame, None
    if trees is not None:
        frame, listed = with_trees(frame, trees, settings)
        frame = frame.merge(changes_of_plots(trees), on=["plot", "date"], how="left")
    frame = with_roots_of_totals(with_expanded_volume(frame, settings), settings)
    return _left_out(_judged(frame, read, settings, findings), findings), listed


def _judged(
    frame: gpd.GeoDataFrame, read: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings
) -> gpd.GeoDataFrame:
    """The plots, with the rule for impossible totals carried out on what was computed; the table's own were judged as read."""
    same = [name for name in MOST_PER_HA if name in frame and name in read and frame[name].equals(read[name])]
    judged = frame.drop(columns=same).rename(columns={"left_out": "reason"})
    check_limits(judged, settings.get("trees") or settings["file"], findings)
    findings.settle()
    return frame.assign(left_out=judged["reason"])


def _left_out(frame: gpd.GeoDataFrame, findings: Findings) -> gpd.GeoDataFrame:
    """`reason` of the plots that the rules of `plots.rules` leave out; what only reading needed is gone."""
    visits = [findings.visits.get(visit, "") for visit in zip(frame["plot"], frame["date"], strict=True)]
    frame["reason"] = frame["left_out"].where(frame["left_out"] != "", visits)
    return frame.drop(columns=[column for column in INNER_COLUMNS if column in frame])


MOST_NAMED = 10
EXCHANGED = "give plots.columns x the column of eastings or longitudes, and y that of northings or latitudes"


def _inside_once_exchanged(frame: gpd.GeoDataFrame, grid: Grid, crs: str | None) -> np.ndarray:
    """Which rows (n,) would lie in the study's area were x and y of their table, in its CRS, the other way round."""
    import geopandas as gpd
    import shapely

    middles = gpd.GeoSeries(frame.geometry.representative_point(), crs=frame.crs)
    told = middles.to_crs(crs) if crs else middles
    turned = gpd.GeoSeries(gpd.points_from_xy(told.y, told.x), crs=told.crs)
    with np.errstate(invalid="ignore"):
        there = turned.to_crs(frame.crs) if crs else turned
    return shapely.within(there.to_numpy(), shapely.box(*grid.bounds))


def kept(frame: gpd.GeoDataFrame, grid: Grid, targets: list[str], settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """Flags which rows can be used: whole footprint on the grid, and at least one target of the study."""
    import shapely

    columns = [TARGETS[target]["column"] for target in targets]
    for target, column in zip(targets, columns, strict=True):
        if column not in frame or frame[column].isna().all():
            source = "the trees do not give it" if settings.get("trees") else f"add a column {column} to the plots"
            raise ValueError(f"no plot carries the target {target}: {source}, or take it out of targets")
    inside = shapely.within(frame.geometry.to_numpy(), shapely.box(*grid.bounds))
    if frame.geometry.isna().all():
        raise ValueError(f"{settings.get('corners') or settings['file']}: no plot has a position, so none can be mapped")
    turned = ~inside & _inside_once_exchanged(frame, grid, settings.get("crs"))
    if not inside.any():
        theirs, ours = (" ".join(f"{value:.0f}" for value in box) for box in (frame.total_bounds, grid.bounds))
        raise ValueError(
            f"{settings.get('corners') or settings['file']}: no plot lies in the study's area; plots span {theirs}, "
            f"the area {ours} (west south east north, {grid.crs})"
            + (f"; {turned.sum()} of {len(frame)} rows do once x and y are exchanged: {EXCHANGED}" if turned.any() else "")
        )
    if turned.any():
        named = ", ".join(list(dict.fromkeys(frame.loc[turned, "plot"].astype(str)))[:MOST_NAMED])
        log.warning(
            "%d of %d rows of plot and date lie in the study's area only once x and y are exchanged (%s): %s",
            turned.sum(), len(frame), named, EXCHANGED,
        )  # fmt: skip
    bare = frame[columns].isna().all(axis=1).to_numpy()
    unmeasured = np.full(len(frame), "no value of any target", dtype=object)
    if settings.get("trees"):
        unmeasured[frame["stems_n_ha"].isna().to_numpy()] = "no trees listed for this date"
        unmeasured[frame["trees_without_biomass_n"].to_numpy() > 0] = "biomass of some of its trees could not be computed"
    placeless = frame.geometry.isna().to_numpy()
    reasons = [frame["reason"].to_numpy(), "no position", "not wholly inside the study's area", unmeasured]
    frame["reason"] = np.select([frame["reason"] != "", placeless, ~inside, bare], reasons, default="")
    frame["reason"] = frame["reason"].astype(object)
    frame["kept"] = frame["reason"] == ""
    for reason, count in frame.loc[~frame["kept"], "reason"].value_counts().items():
        names = list(dict.fromkeys(frame.loc[frame["reason"] == reason, "plot"].astype(str)))
        named = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
        log.warning("left out %d of %d rows of plot and date: %s (plots %s)", count, len(frame), reason, named)
    if not frame["kept"].any():
        raise ValueError(f"no plot is left: {'; '.join(sorted(set(frame['reason'])))}")
    factors = [column for column in frame if column.startswith("f_")]
    frame[factors] = frame[factors].fillna(0.0)
    first = [
        "plot", "date", "cluster", "stratum", "phase", "weight", "sampling", "disturbance_date", "area_ha", "position_error_m",
    ]  # fmt: skip
    last = ["geometry", "kept", "reason"]
    middle = [column for column in frame if column not in (*first, *last)]
    return frame[[*first, *middle, *last]]
