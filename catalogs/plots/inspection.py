"""A forester's quality sheet of plots and trees before any run: what the tables hold, and what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import parameters, tables
from catalogs.findings import by_rule
from catalogs.plots import consistency
from catalogs.plots.findings import Findings
from catalogs.plots.reading import MEASURED_COLUMNS, WithoutDbh, read_height_pairs, read_plots, read_trees
from catalogs.plots.remeasured import changes_of_plots

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

Levels = Callable[["pd.DataFrame"], np.ndarray]
TOTAL_COLUMNS = (
    "plot", "date", "stratum", "area_ha", "stems_n_ha", "basal_area_m2_ha", "dominant_height_m", "volume_m3_ha",
    "volume_m3_ha_se", "agb_mg_ha", "agb_mg_ha_se", "extrapolated_percent", "trees_without_biomass_n", "standing_dead_mg_ha",
    "bgb_mg_ha", "bgb_mg_ha_se", "tree_carbon_t_ha", "tree_carbon_t_ha_se", "unverified", "reason",
)  # fmt: skip
"""What a sheet tells of each plot and date, as far as it is there."""


@dataclass(frozen=True)
class Weighed:
    """What a run makes of plots and trees: totals per plot and date, what was warned of, and the sentences that stop it."""

    totals: pd.DataFrame | None
    warnings: list[str]
    problems: list[str]


Weigh = Callable[["gpd.GeoDataFrame", "pd.DataFrame | None", Findings], Weighed]
PLANE = "+proj=aeqd +lat_0=0 +lon_0=0 +units=m +type=crs"
"""Stands in for a projected CRS that nobody named: places are compared with one another only."""
INSIDE_SHARE = 0.99
MOST_ROWS = 12


def inspect_plots(
    settings: Mapping[str, Any],
    *,
    crs: str | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    stands: gpd.GeoDataFrame | None = None,
    taxa: Levels | None = None,
    without_dbh: WithoutDbh | None = None,
    weigh: Weigh | None = None,
) -> dict[str, Any]:
    """Read plots and trees as a run would, go on where it would stop, and report.

    Parameters
    ----------
    settings : mapping
        The section `plots` of a study, as plain values.
    crs : str, optional
        The study's CRS; without, the UTM zone of longitudes and latitudes, or a plane.
    bounds : tuple, optional
        The study's area in `crs`: plots beyond are named.
    stands : GeoDataFrame, optional
        In `crs`: plots across a border are named.
    taxa : function, optional
        Looks species up in the wood densities and equations that the settings name: gives the level (species to default,
        '' for none) by which a run finds an equation for each tree.
    without_dbh : function, optional
        See `read_trees`.
    weigh : function, optional
        Does what a run does next: biomass, roots, carbon, and whether a map can use the plots. It is called where nothing
        has stopped a run so far.

    Returns
    -------
    dict
        files, facts (name: text), findings (list of kind, title, rule, file, sentence, rows), problems (sentences of
        those that stop a run), notes, and with `weigh` totals (one dict per plot and date, see `TOTAL_COLUMNS`).
    """
    settings, crs, notes = _with_crs(dict(settings), crs)
    findings = Findings(settings["rules"], stops=False, quiet=True)
    found = _Found(notes=notes)
    try:
        found.read(settings, findings, crs=crs, bounds=bounds, stands=stands, taxa=taxa, without_dbh=without_dbh, weigh=weigh)
    except (ValueError, OSError) as error:
        found.problems.append(str(error))
    listed = findings.listed(MOST_ROWS)
    problems = [*found.problems, *(one["sentence"] for one in listed if one["rule"] == "fail")]
    files = [name for name in dict.fromkeys([settings["corners"] or settings["file"], settings["trees"]]) if name]
    report = {"files": files, "facts": found.facts(), "findings": listed, "problems": problems, "notes": found.notes}
    return report if found.totals is None else report | {"totals": _rows_of(found.totals)}


@dataclass
class _Found:
    """What could be read of plots and trees before something stopped it, and what was said."""

    notes: list[str]
    problems: list[str] = field(default_factory=list)
    plots: gpd.GeoDataFrame | None = None
    trees: pd.DataFrame | None = None
    totals: pd.DataFrame | None = None

    def read(
        self, settings: Mapping[str, Any], findings: Findings, *, crs: str | None, bounds: tuple | None,
        stands: gpd.GeoDataFrame | None, taxa: Levels | None, without_dbh: WithoutDbh | None, weigh: Weigh | None,
    ) -> None:  # fmt: skip
        self.plots = read_plots(settings, crs=crs, findings=findings)
        _check_area(self.plots, bounds, stands, settings, findings)
        if settings["trees"]:
            self.trees = read_trees(settings, plots=self.plots, findings=findings, without_dbh=without_dbh)
            if weigh is None:
                check_limits_of_trees(self.trees, settings, findings)
            if taxa is not None:
                _check_taxa(self.trees, settings, findings, taxa)
        if settings["height_pairs"]:
            read_height_pairs(settings, findings=findings)
        if weigh is None:
            return
        if any(one.rule == "fail" for one in findings.found):
            self.notes.append("biomass was not computed, for what stops a run comes first")
            return
        done = weigh(self.plots, self.trees, findings)
        self.problems += done.problems
        self.notes += done.warnings
        self.totals = done.totals

    def facts(self) -> dict[str, str]:
        told = {} if self.plots is None else dict(_plot_facts(self.plots))
        if self.trees is not None:
            told |= _tree_facts(self.trees, self.plots)
        if self.totals is not None:
            told |= _total_facts(self.totals)
        return told


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The sheet as lines: what is there, then what was found by what is done about it, worst first."""
    lines = [f"{', '.join(report['files'])}"]
    width = max((len(name) for name in report["facts"]), default=0)
    lines += [f"  {name.ljust(width)}  {text}" for name, text in report["facts"].items()]
    lines += [f"note: {note}" for note in report["notes"]]
    unreadable = [one for one in report["problems"] if one not in {found["sentence"] for found in report["findings"]}]
    lines += [f"stops a run: {sentence}" for sentence in unreadable]
    lines += by_rule(report["findings"])
    if not report["findings"] and not unreadable:
        lines.append("nothing was found wrong")
    elif report["findings"]:
        lines += ["", "what is done about a kind is a setting: plots: {rules: {KIND: keep, leave_out, leave_out_plot or fail}}"]
    return lines


def _with_crs(settings: dict[str, Any], crs: str | None) -> tuple[dict[str, Any], str, list[str]]:
    """Settings and CRS that positions can be looked at in, where nobody named one."""
    if crs is not None:
        return settings, crs, []
    if settings["crs"]:
        from pyproj import CRS

        named = CRS.from_user_input(settings["crs"])
        if named.is_projected:
            return settings, settings["crs"], []
    if settings["corners"]:
        return {**settings, "crs": settings["crs"] or PLANE}, PLANE, ["no CRS is named, so places are compared among themselves"]
    frame = tables.read_table(
        settings["file"], layer=settings["layer"], encoding=settings["encoding"], header_row=settings["header_row"]
    )
    if hasattr(frame, "geom_type"):
        known = frame.crs is not None and not frame.geometry.isna().all()
        return settings, (frame.estimate_utm_crs().to_string() if known and frame.crs.is_geographic else PLANE), []
    x, y = (_column(frame, settings["columns"].get(name, name)) for name in ("x", "y"))
    if x is None or y is None or not (x.notna() & y.notna()).any():
        return settings, PLANE, []
    x, y = float(x.median()), float(y.median())
    if abs(x) <= 180 and abs(y) <= 180:
        longitude, latitude = (y, x) if abs(y) > 90 else (x, y)
        zone = 1 + int((longitude + 180) // 6)
        notes = [] if settings["crs"] else ["plots.crs is not named; x and y look like longitude and latitude (EPSG:4326)"]
        return {**settings, "crs": settings["crs"] or "EPSG:4326"}, f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}", notes
    notes = ["plots.crs is not named, so places are compared among themselves only"]
    return {**settings, "crs": PLANE}, PLANE, notes


def _column(frame: pd.DataFrame, name: Any) -> pd.Series | None:
    import pandas as pd

    return pd.to_numeric(frame[name], errors="coerce") if isinstance(name, str) and name in frame else None


def _check_area(plots: Any, bounds: Any, stands: Any, settings: dict[str, Any], findings: Findings) -> None:
    import shapely

    file = settings["corners"] or settings["file"]
    plots = plots.rename(columns={"left_out": "reason"})
    placed = plots.geometry.notna().to_numpy()
    if bounds is not None and placed.any():
        outside = placed & ~shapely.within(plots.geometry.to_numpy(), shapely.box(*bounds))
        findings.plots("plot_outside", plots, outside, file=file, what="a plot is not wholly inside the study's area")
    if stands is not None and placed.any():
        import geopandas as gpd

        shapes = plots.loc[placed, ["plot", "geometry"]].drop_duplicates("plot").reset_index(drop=True)
        pieces = gpd.overlay(shapes, stands[["stand", "geometry"]], how="intersection", keep_geom_type=True)
        largest = pieces.assign(area=pieces.area).groupby("plot")["area"].max()
        share = shapes["plot"].map(largest).fillna(0) / shapes.area
        edge = (share < INSIDE_SHARE) & (share > 0)
        if edge.any():
            what = f"a plot lies across the border of its stand, {share[edge].min():.0%} of it inside at the least"
            findings.add("plot_on_edge", file=file, what=what, rows=shapes.loc[edge, "plot"], noun="plot")


def check_limits_of_trees(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """What the trees of a plot add up to without any equation: basal area and stems beyond any forest."""
    live = trees[trees["status"] == "live"]
    per_ha = {
        "basal_area_m2_ha": np.pi / 4 * (live["dbh_cm"] / 100) ** 2 * live["trees_per_ha"], "stems_n_ha": live["trees_per_ha"],
    }  # fmt: skip
    totals = live[["plot", "date"]].assign(**per_ha, reason="").groupby(["plot", "date", "reason"], as_index=False).sum()
    consistency.check_limits(totals, settings["trees"], findings)


def _check_taxa(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings, taxa: Levels) -> None:
    file, name = settings["trees"], settings["allometry"]
    equations = parameters.allometry_table(name, region=settings["region"])
    if (equations["level"] != "default").any():  # made for all trees alike, it serves every name
        source = f"allometry {name if isinstance(name, str) else ', '.join(name)}"
        consistency.check_taxa(trees, equations, file, findings, source=source, levels=taxa(trees))
    if settings["wood_density"]:
        table = parameters.wood_density_table(settings["wood_density"])
        if settings["unknown_species"] == "default":
            findings.rules = {**findings.rules, "species_unserved": "keep"}
        unsaid = trees[trees["wood_density_g_cm3"].isna()] if "wood_density_g_cm3" in trees else trees
        consistency.check_taxa(unsaid, table, file, findings, source=f"wood densities {settings['wood_density']}")


# ---------------------------------------------------------------- facts


def _plot_facts(plots: gpd.GeoDataFrame) -> dict[str, str]:
    facts = {"plots": f"{plots['plot'].nunique()}, {len(plots)} rows of plot and date, in {plots['cluster'].nunique()} clusters"}
    dates = plots["date"].dropna()
    if len(dates):
        years = dates.dt.year.value_counts().sort_index()
        facts["dates"] = f"{dates.min():%Y-%m-%d} to {dates.max():%Y-%m-%d} ({', '.join(f'{y}: {n}' for y, n in years.items())})"
    visits = plots.loc[plots["date"].notna()].groupby("plot")["date"].nunique().value_counts().sort_index()
    if len(visits):
        often = {times: "once" if times == 1 else f"{times} times" for times in visits.index}
        facts["visits"] = ", ".join(f"{count} plots {often[times]}" for times, count in visits.items())
    area = plots["area_ha"].dropna()
    if len(area):
        facts["size"] = f"{area.min():.4g} ha" + (f" to {area.max():.4g} ha" if area.max() > area.min() * 1.001 else "")
    facts["chosen"] = " and ".join(plots["sampling"].unique()) + "".join(
        f", {column} in {int(plots[column].notna().sum())} rows" for column in ("stratum", "phase", "weight")
        if plots[column].notna().any()
    )
    if plots["position_error_m"].notna().any():
        facts["position error"] = f"median {plots['position_error_m'].median():.1f} m"
    for column in plots.columns.intersection(MEASURED_COLUMNS):
        if plots[column].notna().any() and not column.endswith("_se"):
            facts[column] = _span(plots[column])
    left_out = plots.loc[plots["left_out"] != "", "left_out"].value_counts()
    if len(left_out):
        facts["left out"] = ", ".join(f"{count} rows: {reason}" for reason, count in left_out.items())
    return facts


def _tree_facts(trees: pd.DataFrame, plots: gpd.GeoDataFrame) -> dict[str, str]:
    listed = trees[trees["status"] != "none"]
    live = trees[trees["status"] == "live"]
    statuses = listed["status"].value_counts()
    facts = {"trees": f"{len(listed)}: {', '.join(f'{count} {status}' for status, count in statuses.items())}"}
    if live.empty:
        return facts
    facts["dbh_cm"] = _span(live["dbh_cm"])
    measured = live["height_m"].notna()
    facts["height_m"] = f"{measured.mean():.0%} of live trees" + (f", {_span(live['height_m'])}" if measured.any() else "")
    names = live["species"].replace("", "(no name)").value_counts()
    facts["species"] = f"{len(names)}: " + ", ".join(f"{name} {count}" for name, count in names.head(5).items())
    live = live[live["trees_per_ha"].notna() & live["dbh_cm"].notna()]
    if live.empty:
        return facts
    basal_area = (np.pi / 4 * (live["dbh_cm"] / 100) ** 2 * live["trees_per_ha"]).groupby([live["plot"], live["date"]]).sum()
    stems = live["trees_per_ha"].groupby([live["plot"], live["date"]]).sum()
    if basal_area.notna().any():
        facts["basal area"] = f"{_span(basal_area)} m2/ha per plot"
    if stems.notna().any():
        facts["stems"] = f"{_span(stems)} per ha"
    changes = changes_of_plots(trees)
    if len(changes):
        counts = changes.drop(columns=["plot", "date"]).sum()
        facts["changes"] = ", ".join(f"{name.removesuffix('_n')} {count}" for name, count in counts.items())
        facts["growth"] = f"{_span(trees.loc[trees['change'] == 'survivor', 'dbh_growth_cm_yr'])} cm of dbh a year"
    return facts


def _total_facts(totals: pd.DataFrame) -> dict[str, str]:
    """Biomass, roots and carbon per plot and date, as a run computes them; means count the empty visits."""
    facts = {}
    named = {"aboveground biomass": "agb_mg_ha", "roots": "bgb_mg_ha", "tree carbon": "tree_carbon_t_ha"}
    for name, column in named.items():
        if column not in totals or not totals[column].notna().any():
            continue
        known = totals[column].dropna()
        unit = "t C/ha" if column == "tree_carbon_t_ha" else "Mg/ha"
        lacking = len(totals) - len(known)
        facts[name] = f"{_span(known)}, mean {known.mean():.4g} {unit} per plot" + (f"; unknown for {lacking}" if lacking else "")
    return facts


def _rows_of(totals: pd.DataFrame) -> list[dict[str, Any]]:
    """One plain dict per plot and date, None where a value is missing.

    The error of biomass holds what plots share too (`f_*`), as those of roots and carbon do: alone it is told to nobody else.
    """
    chosen = totals[[column for column in TOTAL_COLUMNS if column in totals]].copy()
    if "agb_mg_ha_se" in chosen:
        shared = totals[[column for column in totals if column.startswith("f_")]].fillna(0.0).to_numpy(float)
        chosen["agb_mg_ha_se"] = np.sqrt(chosen["agb_mg_ha_se"].astype(float) ** 2 + (shared**2).sum(axis=1))
    chosen["date"] = chosen["date"].dt.strftime("%Y-%m-%d")
    return [
        {name: None if value is None or value != value else _plain(value) for name, value in row.items()}
        for row in chosen.to_dict("records")
    ]


def _span(values: pd.Series) -> str:
    if not values.notna().any():
        return "unknown"
    return f"{values.min():.4g} to {values.max():.4g}, median {values.median():.4g}"


def _plain(row: Any) -> Any:
    return row.item() if isinstance(row, np.generic) else row
