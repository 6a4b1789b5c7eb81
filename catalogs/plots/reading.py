"""Plots and trees as a run uses them: read, brought to our names and units, checked, and every rule carried out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import tables, units
from catalogs.plots import consistency, corners, places, remeasured, tallies
from catalogs.plots.findings import KINDS, Findings, rules_from
from catalogs.plots.trees import TREE_COLUMNS, check_measurements, check_names, tree_table

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)
Glance = Callable[[], "pd.DataFrame | None"]
WithoutDbh = Callable[["pd.DataFrame"], np.ndarray]

TARGET_COLUMNS = ("agb_mg_ha", "volume_m3_ha", "basal_area_m2_ha", "dominant_height_m", "stems_n_ha")
MEASURED_COLUMNS = (*TARGET_COLUMNS, *(f"{column}_se" for column in TARGET_COLUMNS))
TEXT_COLUMNS = ("visit", "plot", "cluster", "stratum", "phase")
POSITIVE_COLUMNS = (
    "radius_m", "area_ha", "measured_share", "weight", "baf_m2_ha", "position_error_m", "commercial_volume_m3_ha",
    *MEASURED_COLUMNS,
)  # fmt: skip
NUMBER_COLUMNS = (*POSITIVE_COLUMNS, "slope_deg", "aspect_deg")
PLOT_COLUMNS = (*TEXT_COLUMNS, "plot_status", "sampling", "date", "x", "y", "disturbance_date", *NUMBER_COLUMNS)
HEIGHT_COLUMNS = ("plot", "dbh_cm", "height_m", "species", "genus")
PLOT_STATUS = ("measured", "no_forest", "not_measured")
SAMPLING = ("probability", "purposive")
INNER_COLUMNS = ("row", "visited", "visit", "no_forest", "level", "measured_share", "radius_m", "baf_m2_ha", "left_out")
"""Columns that `read_plots` gives for `read_trees` and the step, not for the plot table."""


def read_plots(settings: dict[str, Any], *, crs: str, findings: Findings | None = None) -> gpd.GeoDataFrame:
    """Plots with their footprints, one row per plot and date, in the study's CRS.

    Parameters
    ----------
    settings : dict
        The section `plots` of a study, as plain values.
    crs : str
        The study's projected CRS, metres.
    findings : Findings, optional
        Where what is found is collected; without, one by the rules of the settings.

    Returns
    -------
    GeoDataFrame
        plot, date, visited (the table itself gives the date: someone was there), how it was chosen (sampling, cluster,
        stratum, phase: missing where unknown; weight: NaN where unknown), disturbance_date, area_ha (horizontal and
        measured), position_error_m (root mean square, NaN where unknown), the target columns of the table, left_out (the
        reason, '' for none), geometry (footprint: polygons as given, circles as polygons of 64 corners and the circle's
        area, sub-plots as quadrilaterals; missing without position). Ordered by plot and date.

    Raises
    ------
    ValueError, FileNotFoundError
        For tables that cannot be used, and where the rule of something found is `fail`.
    """
    import pandas as pd

    findings = Findings(settings["rules"]) if findings is None else findings
    check_settings(settings)
    glance = cache(lambda: _glance(settings))
    frame = _plots_of_corners(settings, crs) if settings["corners"] else _plots_of_table(settings, crs, findings, glance)
    frame = _dated(frame, settings, findings, glance)
    _check_repeated(frame, settings, findings)
    if not settings["corners"]:
        consistency.check_places(frame, settings["file"], findings)
        consistency.check_totals(frame, settings["file"], findings)
        consistency.check_limits(frame, settings["file"], findings)
    if "disturbance_date" not in frame:
        frame["disturbance_date"] = pd.NaT
    frame["disturbance_date"] = frame["disturbance_date"].astype("datetime64[us]")
    findings.settle()
    frame = frame.rename(columns={"reason": "left_out"})
    if "sampling" not in frame:
        frame["sampling"] = settings["sampling"]
    frame["no_forest"] = frame["plot_status"] == "no_forest" if "plot_status" in frame else False
    for column, missing in {"phase": None, "weight": np.nan, "position_error_m": np.nan, "visit": ""}.items():
        if column not in frame:
            frame[column] = missing
    targets = [column for column in MEASURED_COLUMNS if column in frame]
    kept = [
        "plot", "date", "visited", "cluster", "stratum", "phase", "weight", "sampling", "disturbance_date", "area_ha",
        "position_error_m", *targets, "geometry", "left_out", "visit", "no_forest", "level", "measured_share", "radius_m",
        "baf_m2_ha",
    ]  # fmt: skip
    log.info("read %d plots, %d rows of plot and date", frame["plot"].nunique(), len(frame))
    return frame.sort_values(["plot", "date"], kind="stable", ignore_index=True)[kept]


def read_trees(
    settings: dict[str, Any], *, plots: gpd.GeoDataFrame, findings: Findings | None = None, without_dbh: WithoutDbh | None = None
) -> pd.DataFrame:
    """Trees of the plots, checked row by row.

    Parameters
    ----------
    settings : dict
        The section `plots` of a study, as plain values.
    plots : GeoDataFrame
        What `read_plots` gave: every tree must belong to one of its plots and dates.
    findings : Findings, optional
        Where what is found is collected; without, one by the rules of the settings. Plots that a rule leaves out at a date
        are in its `visits`; their trees are not in the list.
    without_dbh : function, optional
        Says of trees (a table as returned, (trees,) of bool) whether their equation asks for no dbh: palms by height, shrubs
        by cover. A live tree without dbh is a mistake for all others, and for all where nothing is said.

    Returns
    -------
    DataFrame
        plot, date, cluster, tree, species (genus and epithet, '' where unknown), genus, family, dbh_cm (NaN where
        the equation needs none), height_m (NaN where not measured), status (live; dead, stump, gone, unseen, small, left_out
        and none do not count), trees_per_ha (the table's, else by the design), row (of the file, -1 where the list lacks a
        visit), stem, change, dbh_before_cm, dbh_growth_cm_yr, height_growth_m_yr (see `remeasured.linked`), and
        wood_density_g_cm3, volume_m3 where given.
        Status `none` marks visits that found no tree: rows with neither dbh nor species, and one row for each visited plot
        and date that the list lacks.

    Raises
    ------
    ValueError, FileNotFoundError
        Naming the rows, where the rule of something found is `fail`.
    """
    findings = Findings(settings["rules"]) if findings is None else findings
    file = settings["trees"]
    trees = tree_table(settings, findings, required=("dbh_cm", *_keys(settings)))
    trees = _with_plots(trees, plots, settings, findings)
    check_names(trees, settings, findings)
    findings.settle()
    free = without_dbh(trees) if without_dbh is not None and trees["dbh_cm"].isna().any() else None
    check_measurements(trees, settings, findings, without_dbh=free)
    _mark_small(trees, settings, findings)
    tallies.check_given(trees, settings, findings)
    tallies.check_distances(trees, settings, findings, radius_m=trees["radius_m"].to_numpy())
    consistency.check_trees(trees, file, findings)
    findings.settle()
    trees["trees_per_ha"] = tallies.trees_per_ha(
        trees, settings, area_ha=trees["area_ha"].to_numpy(float), level=trees["level"].to_numpy(float),
        share=trees["measured_share"].to_numpy(float), baf=trees["baf_m2_ha"].to_numpy(float),
    )  # fmt: skip
    _check_expansion(trees, settings, findings)
    consistency.check_basal_area(trees, file, findings)
    trees = _with_empty_visits(trees, plots, settings, findings)
    trees = remeasured.linked(trees, settings, findings)
    # a dead tree that was not measured again is no longer standing to be counted
    trees.loc[(trees["status"] == "dead") & trees["dbh_cm"].isna(), "status"] = "gone"
    findings.settle()
    trees = _without_left_out_visits(trees, findings)
    _report(trees)
    inner = ["visit", "area_ha", "level", "measured_share", "radius_m", "baf_m2_ha", "x_site_m", "y_site_m", "numbered",
             "record", "previous_record", "count", "year_only", "distance_m", "azimuth_deg"]  # fmt: skip
    trees = trees.drop(columns=inner, errors="ignore")
    return trees.sort_values(["plot", "date"], kind="stable", ignore_index=True)


def read_height_pairs(settings: dict[str, Any], *, findings: Findings | None = None) -> pd.DataFrame:
    """Diameters with measured heights from the file `height_pairs`: dbh_cm, height_m, and plot where known.

    Their units are looked at as those of the tree list are, and by the same rules.
    """
    file = settings["height_pairs"]
    findings = Findings(settings["rules"]) if findings is None else findings
    frame = tables.named_columns(
        tables.read_table(file, text=tables.named_in(settings["height_columns"], ("plot",))),
        settings["height_columns"],
        known=HEIGHT_COLUMNS,
        required=("dbh_cm", "height_m"),
        file=file,
        setting="plots.height_columns",
    ).rename_axis("row")  # fmt: skip
    for column in ("dbh_cm", "height_m"):
        values = tables.numbers(frame[column], file=file).rename(column)
        frame[column] = units.converted(values, settings["height_units"].get(column), setting="plots.height_units")
    complete = frame["dbh_cm"].notna() & frame["height_m"].notna()
    if not complete.all():
        log.info("%s: left out %d of %d rows without dbh or height", file, (~complete).sum(), len(frame))
    frame = frame[complete].reset_index().assign(status="live")
    frame["genus"] = tables.texts(frame["genus"]) if "genus" in frame else ""
    check_measurements(frame, {**settings, "trees": file}, findings)
    consistency.check_heights(frame, file, findings, setting="plots.height_units")
    findings.settle()
    if "plot" in frame:
        frame["plot"] = tables.texts(frame["plot"])
    used = (frame["status"] == "live") & frame["height_m"].notna()
    return frame[used].set_index("row").drop(columns="status")


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse rules, units and circles that cannot be, before any table is read."""
    rules_from(settings["rules"])
    tallies.check_tiers(settings)
    for key, known in (("units", PLOT_COLUMNS), ("tree_units", TREE_COLUMNS), ("height_units", HEIGHT_COLUMNS)):
        units.check_units(settings[key], known=known, setting=f"plots.{key}")


# ---------------------------------------------------------------- the plot table


def _keys(settings: dict[str, Any]) -> tuple[str, ...]:
    return ("visit",) if "visit" in settings["tree_columns"] else ("plot",)


def _glance(settings: dict[str, Any]) -> pd.DataFrame | None:
    """The tree list for what the plots need of it: dates where they have none, diameters of angle counts."""
    if not settings["trees"]:
        return None
    return tree_table(settings, Findings(settings["rules"], stops=False, quiet=True), required=_keys(settings))


def _plots_of_corners(settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    frame = corners.plots_of_corners(settings, crs)
    nothing = {"reason": "", "row": -1, "level": 1.0, "measured_share": 1.0, "radius_m": np.nan, "baf_m2_ha": np.nan}
    return frame.assign(**nothing)


def _plots_of_table(
    settings: dict[str, Any], crs: str, findings: Findings, glance: Glance
) -> gpd.GeoDataFrame:
    file, columns = settings["file"], settings["columns"]
    raw = tables.read_table(
        file, layer=settings["layer"], encoding=settings["encoding"],
        text=tables.named_in(columns, (*TEXT_COLUMNS, "plot_status", "sampling")), header_row=settings["header_row"],
    )  # fmt: skip
    shaped = hasattr(raw, "geom_type")
    if settings["visits"]:
        raw = tables.by_visit(raw, settings["visits"], file=file, setting="plots.visits")
    placeless = shaped or settings["fixes"] or settings["rules"].get("position_missing") == "leave_out"
    frame = tables.named_columns(
        raw, columns, known=PLOT_COLUMNS, required=["plot"] if placeless else ["plot", "x", "y"], file=file,
        setting="plots.columns",
    ).rename_axis("row").reset_index()  # fmt: skip
    if (file, settings["layer"]) == (settings["trees"], settings["tree_layer"]):
        # one list of trees says of each tree what there is to say of its plot
        frame = frame.drop_duplicates([name for name in frame if name not in ("row", "geometry")], ignore_index=True)
    frame["reason"] = ""
    refuse = findings.refuse(frame, file)
    for column in frame.columns.intersection(["visit", "plot", "cluster", "stratum", "phase"]):
        frame[column] = tables.texts(frame[column])
    findings.plots("plot_missing", frame, frame["plot"] == "", file=file, what="the plot is missing", noun="row")
    _name_plot_status(frame, settings, findings)
    _name_sampling(frame, settings, findings)
    for column in frame.columns.intersection(NUMBER_COLUMNS):
        values = tables.numbers(frame[column].set_axis(frame["row"]), file=file, refuse=refuse).rename(column)
        frame[column] = units.converted(values, settings["units"].get(column), setting="plots.units").to_numpy()
        places.clear_beyond(frame, column, file, findings)
        negative = frame[column] < 0
        if column in POSITIVE_COLUMNS and negative.any():
            rule = findings.add(
                "value_negative", file=file, what=f"{column} is negative", rows=frame["row"].to_numpy()[negative]
            )
            if rule == "leave_out":
                frame.loc[negative, column] = np.nan
    if "disturbance_date" in frame:
        dates = tables.dates(
            frame["disturbance_date"].set_axis(frame["row"]), file=file, refuse=refuse, order=settings["date_order"],
            setting="plots.date_order",
        )  # fmt: skip
        frame["disturbance_date"] = dates.to_numpy()
    frame["cluster"] = frame["cluster"].where(frame["cluster"] != "", frame["plot"]) if "cluster" in frame else frame["plot"]
    for column in ("stratum", "phase"):
        frame[column] = frame[column].where(frame[column] != "", None) if column in frame else None
    if "baf_m2_ha" not in frame:
        frame["baf_m2_ha"] = np.nan
    if settings["fixes"]:
        fixes = places.fixes_of(settings, crs, findings)
        frame = frame.drop(columns=["x", "y", "position_error_m"], errors="ignore").join(fixes, on="plot")
        points = places.with_points(frame, {**settings, "crs": crs}, crs, findings)
    elif shaped:
        points = places.with_shapes(frame, settings, crs, findings)
    else:
        points = places.with_points(frame, settings, crs, findings)
    tallies.check_sizes(points, settings, findings)
    radius = _design_radius_m(points, settings, glance)
    return places.with_footprints(points, settings, findings, design_radius_m=radius)


def _design_radius_m(frame: pd.DataFrame, settings: dict[str, Any], glance: Glance) -> np.ndarray | float | None:
    """See `tallies.footprint_radius_m`; the tree list is looked at only where there are angle counts."""
    baf = frame["baf_m2_ha"].to_numpy(float)
    listed = None
    if not np.isnan(baf).all() or any(tier["baf_m2_ha"] is not None for tier in settings["nested"]):
        listed = glance()
    if listed is None:
        return tallies.footprint_radius_m(settings, None, baf=baf, baf_of_trees=None)
    key = _keys(settings)[0]
    of_plot = frame[frame["baf_m2_ha"].notna()].drop_duplicates(key).set_index(key)["baf_m2_ha"]
    return tallies.footprint_radius_m(settings, listed, baf=baf, baf_of_trees=listed[key].map(of_plot).to_numpy(float))


def _name_plot_status(frame: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """`plot_status` in our words, measured where nothing is said; what nobody measured is left out before all else."""
    if "plot_status" not in frame:
        return
    file, given = settings["file"], tables.texts(frame["plot_status"])
    codes = {str(code).strip().lower(): meaning for code, meaning in settings["plot_status_codes"].items()}
    status = given.str.lower().map({"": "measured", **dict(zip(PLOT_STATUS, PLOT_STATUS, strict=True)), **codes})
    unmeasured = status == "not_measured"
    findings.plots("plot_not_measured", frame, unmeasured, file=file, what="nobody measured the plot", noun="row")
    unknown = status.isna()
    if unknown.any():
        what = (
            f"plot status {given[unknown].iloc[0]!r} in <rows> is not known; say what your codes mean in plots.plot_status_codes "
            f"({', '.join(PLOT_STATUS)})"
        )
        findings.plots("plot_status_unknown", frame, unknown, file=file, what=what, noun="row")
    frame["plot_status"] = status.fillna("not_measured")


def _name_sampling(frame: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """How each plot was chosen: the table's word for it, else that of the setting, so that a few added by hand can say so."""
    if "sampling" not in frame:
        return
    given = tables.texts(frame["sampling"])
    chosen = given.str.lower().where(given != "", settings["sampling"])
    unknown = ~chosen.isin(SAMPLING)
    if unknown.any():
        what = f"sampling {given[unknown].iloc[0]!r} in <rows> is none of {', '.join(SAMPLING)}"
        findings.add("sampling_unknown", file=settings["file"], what=what, rows=frame.loc[unknown, "row"])
    frame["sampling"] = chosen.where(~unknown, settings["sampling"])


def _dated(
    frame: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings, glance: Glance
) -> gpd.GeoDataFrame:
    """The table's dates, else the trees' dates (each plot once per date), else the one date of the settings."""
    import pandas as pd

    file = settings["corners"] or settings["file"]
    default = pd.Timestamp(settings["date"]) if settings["date"] else pd.NaT
    frame["visited"] = False
    if "date" in frame:
        dates = tables.dates(
            frame["date"].set_axis(frame["row"]), file=file, refuse=findings.refuse(frame, file), order=settings["date_order"],
            setting="plots.date_order",
        )  # fmt: skip
        frame["date"] = dates.to_numpy()
        frame["visited"] = frame["date"].notna()
        if settings["file"] and settings["file"] == settings["trees"]:  # one list: plots are dated by their trees
            _check_unlisted(frame.loc[frame["visited"], ["plot", "date"]], settings, findings)
    elif (listed := glance()) is not None and {"plot", "date"} <= set(listed):
        key = "cluster" if settings["corners"] else "plot"
        visits = listed.loc[listed["date"].notna(), ["plot", "date"]].drop_duplicates()
        if settings["tree_visits"]:
            # columns per date are of every plot: one without a number at a date was looked at and had no tree
            days = visits["date"].drop_duplicates().sort_values()
            frame = frame.merge(days.to_frame(), how="cross")
            frame["visited"] = True
        else:
            _check_unlisted(visits, settings, findings)
            frame = frame.merge(visits.rename(columns={"plot": key}), on=key, how="left")
    if "date" not in frame:
        frame["date"] = default
        frame["visited"] = settings["date"] is not None  # one date for all plots: somebody was at each of them
    frame["date"] = frame["date"].fillna(default).astype("datetime64[us]")
    undated = frame["date"].isna()
    what = "no date of measurement for <plots> (<rows>); add a column date or set plots.date"
    findings.plots("date_missing", frame, undated, file=file, what=what, noun="row")
    if "plot_status" in frame:
        # somebody looked and found no forest: biomass zero, which needs no trees to be said
        frame["visited"] |= (frame["plot_status"] == "no_forest") & ~undated
    return frame


def _check_unlisted(visits: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """Plots dated by their trees alone that lack a year in which others of their first year were measured.

    A felled plot has no trees, so no date: it would vanish from the later map instead of counting as empty.
    """
    import pandas as pd

    years = visits.assign(year=visits["date"].dt.year)[["plot", "year"]].drop_duplicates()
    years["first"] = years.groupby("plot")["year"].transform("min")
    # plots that began together are one panel, expected at all its later years
    expected = years[["first", "year"]].drop_duplicates().merge(years[["plot", "first"]].drop_duplicates(), on="first")
    wanted, there = (pd.MultiIndex.from_frame(one[["plot", "year"]]) for one in (expected, years))
    lacking = expected[~wanted.isin(there)]
    if len(lacking):
        one = lacking.sort_values(["plot", "year"]).iloc[0]
        what = (
            "<rows> have no tree at a date at which others of their first date have some, such as "
            f"{one['plot']} with trees in {one['first']} and none in {one['year']}: a felled plot is missing from the later date "
            "instead of counting as empty; where somebody was there, give the table of plots a row with that date"
        )
        names = list(dict.fromkeys(lacking["plot"]))
        findings.add("visit_not_listed", file=settings["trees"], what=what, rows=names, noun="plot")


def _check_repeated(frame: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings) -> None:
    file = settings["corners"] or settings["file"]
    repeated = frame.duplicated(["plot", "date"], keep=False) & frame["date"].notna()
    if repeated.any():
        first = frame[repeated].iloc[0]
        same = (frame["plot"] == first["plot"]) & (frame["date"] == first["date"])
        where = f" ({tables.rows(frame.loc[same, 'row'])})" if "row" in frame and not settings["corners"] else ""
        what = (
            f"plot {first['plot']} is listed more than once for {first['date']:%Y-%m-%d}{where}; what repeats an earlier row "
            "stands in <rows>"
        )
        later = (frame["reason"] == "") & frame.duplicated(["plot", "date"]) & frame["date"].notna()
        findings.plots("plot_repeated", frame, later, file=file, what=what, noun="row")
    if "visit" in frame:
        used = frame.loc[frame["reason"] == "", "visit"]
        if used.duplicated().any():
            again = used[used.duplicated()].iloc[0]
            raise ValueError(f"{file}: the visit {again!r} (plots.columns.visit) names several plots or dates")


# ---------------------------------------------------------------- trees meet plots


def _with_plots(
    trees: pd.DataFrame, plots: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings
) -> pd.DataFrame:
    """Trees with the plot, date, cluster and design of their visit; status `left_out` where there is none."""
    import pandas as pd

    file = settings["trees"]
    columns = ["plot", "date", "cluster", "area_ha", "level", "measured_share", "radius_m", "baf_m2_ha"]
    first = pd.DataFrame(plots)[["visit", "left_out", *columns]].drop_duplicates(["plot", "date"])
    if "visit" in settings["tree_columns"]:
        trees = trees.drop(columns=["plot", "date"], errors="ignore")
        merged = trees.merge(first.drop(columns="left_out"), on="visit", how="left")
        lost = merged["plot"].isna()
        merged["plot"] = merged["plot"].fillna("")
        what = "the visit is not in the plot table (plots.columns.visit)"
        findings.trees("visit_unknown", merged, lost, file=file, what=what)
        merged.loc[lost, "status"] = "left_out"
        return merged[~lost].reset_index(drop=True)
    findings.trees("plot_missing", trees, trees["plot"] == "", file=file, what="the plot is missing")
    if settings["corners"]:
        trees["plot"] = corners.placed(trees, settings, findings)
    else:
        corners.refuse_unknown_plots(trees, set(plots["plot"]), file, "the plot table", findings)
    keys = ["plot", "date"]
    if "date" not in trees:
        several = first.loc[first.duplicated("plot"), "plot"]
        if len(several):
            raise ValueError(
                f"{file} has no column date, but plot {several.iloc[0]} was measured on several dates; "
                "add the date of each tree"
            )
        keys = ["plot"]
    elif trees["date"].isna().any():
        if settings["date"]:
            trees["date"] = trees["date"].fillna(pd.Timestamp(settings["date"]))
        else:
            unread = {row for one in findings.found if one.kind == "date_unreadable" for row in one.rows}
            undated = trees["date"].isna()
            what = "the date is missing in <rows>; fill it in or set plots.date"
            findings.trees("date_missing", trees, undated & ~trees["row"].isin(unread), file=file, what=what)
            trees.loc[undated, "status"] = "left_out"
    if "date" in trees:
        _take_days_of_visits(trees, first)
    merged = trees.merge(first[columns], on=keys, how="left")
    lost = merged["area_ha"].isna() & merged["plot"].isin(set(first["plot"])) & merged["cluster"].isna() & merged["date"].notna()
    if lost.any():
        one = merged[lost].iloc[0]
        dates = ", ".join(f"{day:%Y-%m-%d}" for day in plots.loc[plots["plot"] == one["plot"], "date"])
        what = (
            f"the trees of <rows> have a date that their plot does not have: plot {one['plot']} on {one['date']:%Y-%m-%d}, "
            f"the plot table has {dates}"
        )
        findings.trees("visit_unknown", merged, lost, file=file, what=what)
    _check_status_of_plots(merged, plots, settings, findings)
    known = merged["cluster"].notna()
    if not known.all():
        findings.settle()
        log.info("%s: %d rows belong to no plot and date, and are left out", file, int((~known).sum()))
        merged = merged[known].reset_index(drop=True)
    return merged


def _check_status_of_plots(
    trees: pd.DataFrame, plots: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings
) -> None:
    """Live trees of plots that hold no forest, or that nobody measured, by their plot_status."""
    import pandas as pd

    said = {"holds no forest": plots["no_forest"], "was not measured": plots["left_out"] == KINDS["plot_not_measured"].title}
    live = trees.loc[trees["status"] == "live", ["plot", "date"]].drop_duplicates()
    for words, chosen in said.items():
        visits = pd.DataFrame(plots.loc[chosen, ["plot", "date"]]).merge(live, on=["plot", "date"])
        if visits.empty:
            continue
        what = f"<rows> {words} by plot_status, and the list has live trees there"
        names = list(dict.fromkeys(visits["plot"]))
        if findings.add("status_contradiction", file=settings["trees"], what=what, rows=names, noun="plot") != "keep":
            for visit in visits.itertuples():
                findings.visits.setdefault((visit.plot, visit.date), KINDS["status_contradiction"].title)


def _take_days_of_visits(trees: pd.DataFrame, visits: pd.DataFrame) -> None:
    """Trees dated by a bare year belong to their plot's one visit of that year, whatever its day."""
    if not trees["year_only"].any():
        return
    dated = visits[visits["date"].notna()]
    dated = dated.assign(year=dated["date"].dt.year).drop_duplicates(["plot", "year"], keep=False)
    days = dated.set_index(["plot", "year"])["date"]
    import pandas as pd

    wanted = pd.MultiIndex.from_arrays([trees["plot"], trees["date"].dt.year])
    found = days.reindex(wanted).to_numpy()
    trees["date"] = trees["date"].where(~trees["year_only"] | pd.isna(found), found)


def _mark_small(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """Status `small` for live trees thinner than the threshold of the study or of the thinnest circle."""
    least, file = settings["min_dbh_cm"], settings["trees"]
    if settings["nested"]:
        least = max(least, settings["nested"][0]["min_dbh_cm"])
    small = (trees["dbh_cm"] < least) & (trees["status"] == "live")
    if small.any():
        name = "min_dbh_cm" if least == settings["min_dbh_cm"] else "the thinnest circle's"
        what = f"{small.sum()} of {len(trees)} trees are below {name} {least:g} cm and do not count: <rows>"
        findings.add("tree_small", file=file, what=what, rows=trees.loc[small, "row"])
        trees.loc[small, "status"] = "small"


def _check_expansion(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    file = settings["trees"]
    sized = (trees["area_ha"] > 0).to_numpy()  # a plot without size has been named already
    live = (trees["status"] == "live").to_numpy()
    lacking = live & sized & ~(trees["trees_per_ha"].to_numpy(float) > 0)
    what = "how many trees per hectare a tree stands for is neither given (trees_per_ha) nor follows from the plot's size"
    findings.trees("expansion_missing", trees, lacking, file=file, what=what)


def _with_empty_visits(
    trees: pd.DataFrame, plots: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings
) -> pd.DataFrame:
    """The trees, and a row of status `none` for each visit that the plot table dates and that lists no tree."""
    import pandas as pd

    # a plot that is left out for its position or size was visited all the same: its total, zero, is known
    unknown = [KINDS[kind].title for kind in ("plot_not_measured", "plot_status_unknown", "date_missing")]
    used = plots["visited"] & ~plots["left_out"].isin(unknown)
    used &= plots["no_forest"] | ~plots["phase"].isin(["0", "1"])  # points of an earlier phase were seen from above, not visited
    visits = pd.DataFrame(plots.loc[used, ["plot", "date", "cluster", "area_ha", "no_forest"]]).drop_duplicates(["plot", "date"])
    listed = pd.MultiIndex.from_frame(trees[["plot", "date"]])
    empty = visits[~pd.MultiIndex.from_frame(visits[["plot", "date"]]).isin(listed)]
    if empty.empty:
        return trees
    unsaid = empty[~empty["no_forest"]]
    if len(unsaid):
        names = list(dict.fromkeys(unsaid["plot"]))
        file = settings["corners"] or settings["file"]
        what = (
            f"{len(unsaid)} dated rows of the plot table have no tree in the list and count as empty: <rows>; that is, somebody "
            "looked and found none; where nobody did, say so in a column plot_status (plots.plot_status_codes)"
        )
        if findings.add("visit_without_trees", file=file, what=what, rows=names, noun="plot") != "keep":
            for visit in unsaid.itertuples():
                findings.visits.setdefault((visit.plot, visit.date), KINDS["visit_without_trees"].title)
            empty = empty[empty["no_forest"]]
    blank = dict.fromkeys(["tree", "species", "genus", "family"], "")
    rows = empty.drop(columns="no_forest").assign(
        **blank, row=-1, status="none", dbh_cm=np.nan, height_m=np.nan, trees_per_ha=1 / empty["area_ha"], numbered=False
    )
    if "record" in trees:
        rows["record"], rows["previous_record"] = [f"empty visit {number}" for number in range(len(rows))], ""
    return pd.concat([trees, rows], ignore_index=True)


def _without_left_out_visits(trees: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    if not findings.visits:
        return trees
    import pandas as pd

    gone = pd.MultiIndex.from_tuples(list(findings.visits), names=["plot", "date"])
    dropped = pd.MultiIndex.from_frame(trees[["plot", "date"]]).isin(gone)
    if dropped.any():
        log.warning("%d trees of %d plots and dates that are left out are not used", dropped.sum(), len(findings.visits))
    return trees[~dropped]


def _report(trees: pd.DataFrame) -> None:
    counts = trees["status"].value_counts()
    listed = int(counts.drop("none", errors="ignore").sum())
    measured = int(trees["height_m"].notna().sum())
    log.info("read %d trees, %d of them dead, %d with a measured height", listed, counts.get("dead", 0), measured)
    for status in ("stump", "gone", "unseen", "left_out"):
        if counts.get(status, 0):
            log.info("%d trees of status %s do not count", counts[status], status)
