"""`python -m pipeline inspect plots|stands`: from a configuration, or from headers alone, to a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline import store
from pipeline.config import Plots, Stands, Study, load_study
from pipeline.grid import Grid

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np
    import pandas as pd

    from catalogs.plots import Findings
    from catalogs.plots.inspection import Weighed


def inspect_field(
    what: str, paths: Sequence[str], *, study: Path | None, crs: str | None, totals: Path | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Report and its lines on plots or stands; `paths` take the place of the study's files, or are the study itself.

    What a study's plots hold per hectare is written to `totals` (.csv or .parquet), where it is asked for.
    """
    configurations = [path for path in paths if path.lower().endswith((".yaml", ".yml"))]
    if len(configurations) + (study is not None) > 1:
        raise ValueError("one study at a time, please")
    if configurations:
        study, paths = Path(configurations[0]), [path for path in paths if path not in configurations]
    loaded = load_study(study) if study else None
    if totals is not None and (loaded is None or what != "plots"):
        raise ValueError("--totals is of plots with a study, whose allometry says what they hold")
    report, lines = (_plots if what == "plots" else _stands)(list(paths), loaded, crs)
    if totals is not None:
        lines.append(_write_totals(totals, report))
    return report, lines


def _write_totals(path: Path, report: dict[str, Any]) -> str:
    import pandas as pd

    if "totals" not in report:
        return f"{path} is not written: what stops a run comes before biomass"
    store.write_table(path, pd.DataFrame(report["totals"]))
    return f"{len(report['totals'])} plots and dates are written to {path}"


def _plots(paths: list[str], study: Study | None, crs: str | None) -> tuple[dict[str, Any], list[str]]:
    from catalogs.plots.headers import guess_settings
    from catalogs.plots.inspection import inspect_plots, sentences
    from pipeline.bridge.plan import Plan
    from pipeline.steps.plots import without_dbh

    if study is None:
        guessed = guess_settings(paths)
        if crs:
            guessed["crs"] = crs
        unplaced = "rules" not in guessed and "corners" not in guessed and not _placed(guessed)
        rules = {"rules": {"position_missing": "leave_out"}} if unplaced else {}  # for this look alone, and not suggested
        report = inspect_plots(Plots(**guessed, **rules).model_dump(mode="json"))
        if unplaced:
            report["findings"] = [one for one in report["findings"] if one["kind"] != "position_missing"]
            report["facts"].pop("left out", None)
            report["notes"].append(f"no column of {guessed['file']} was recognised as x and y: name them in plots.columns")
        report["settings"] = {"plots": {name: value for name, value in guessed.items() if value}}
        text = yaml.safe_dump(report["settings"], sort_keys=False, allow_unicode=True, width=120)
        heading = "columns were guessed from their names; put this into the configuration, corrected:"
        return report, [*sentences(report), "", heading, *(f"  {line}" for line in text.splitlines())]
    settings = study.plots.model_dump(mode="json")
    if paths:
        named = guess_settings(paths)
        plots, trees = (named["file"], named.get("layer")), (named.get("trees"), named.get("tree_layer"))
        keys = ["trees", "tree_layer"] + (["file", "layer"] if plots != trees else [])
        settings |= {key: named[key] for key in keys if key in named}
    grid = Plan(study).grid
    stands, missing = _stands_of(study)
    settings["wood_density"] = settings["wood_density"] if _asks_wood_density(settings) else None
    report = inspect_plots(
        settings, crs=crs or study.area.crs, bounds=grid.bounds, stands=stands, taxa=partial(_levels, settings),
        without_dbh=without_dbh(settings), weigh=partial(_weighed, grid, list(study.targets), settings),
    )  # fmt: skip
    report["notes"] += missing
    return report, sentences(report)


def _placed(guessed: Mapping[str, Any]) -> bool:
    """Whether guessed settings name where plots are: by columns of x and y, under our names too, or by shapes."""
    from catalogs import tables

    table = tables.read_table(guessed["file"], layer=guessed.get("layer"), header_row=guessed.get("header_row", 1))
    return hasattr(table, "geom_type") or all(name in guessed["columns"] or name in table.columns for name in ("x", "y"))


def _weighed(
    grid: Grid, targets: list[str], settings: dict[str, Any], plots: gpd.GeoDataFrame, trees: pd.DataFrame | None,
    findings: Findings,
) -> Weighed:  # fmt: skip
    """What the step `plots` makes of them, by its own functions; errors to first order, which take no time."""
    from catalogs.plots.inspection import Weighed
    from pipeline.steps.notes import heard_warnings
    from pipeline.steps.plots import kept, weighed

    totals, problems = None, []
    with heard_warnings() as heard:
        try:
            totals, _ = weighed(plots, trees, {**settings, "errors": "first_order"}, findings)
            kept(totals.copy(), grid, targets, settings)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return Weighed(totals, heard, problems)


def _asks_wood_density(settings: dict[str, Any]) -> bool:
    from catalogs import parameters
    from models import allometry

    equations = parameters.allometry_table(settings["allometry"], region=settings["region"])
    return allometry.needs(equations, "wood_density_g_cm3")


def _levels(settings: dict[str, Any], trees: pd.DataFrame) -> np.ndarray:
    """The level by which the step `plots` finds the equation of each tree, groups included; '' where none serves it."""
    from catalogs import parameters
    from models import allometry

    equations = parameters.allometry_table(settings["allometry"], region=settings["region"])
    groups = parameters.group_table(settings["groups"], equations=equations)
    if groups is not None:
        trees = allometry.with_groups(trees, groups)
    whole = allometry.of_component(allometry.in_region(equations, settings["region"]), "agb")
    return allometry.levels_served(whole, allometry.match_equations(trees, whole))


def _stands_of(study: Study) -> tuple[Any, list[str]]:
    """The study's stands, as far as they can be read; what cannot is a note, for plots are what is asked about."""
    from catalogs.stands import read_stands

    if not study.stands.file:
        return None, []
    settings = study.stands.model_dump(mode="json") | {"include_plots": False}
    try:
        return read_stands(settings, crs=study.area.crs), []
    except (ValueError, OSError) as error:
        return None, [f"plots across borders of stands were not looked for: {error}"]


def _stands(paths: list[str], study: Study | None, crs: str | None) -> tuple[dict[str, Any], list[str]]:
    from catalogs.stand_inspection import inspect_stands, sentences

    if len(paths) > 1:
        raise ValueError("one file of stands at a time, please")
    settings: dict[str, Any] = {"grid_m": None} if study is None else study.stands.model_dump(mode="json")
    if paths:
        settings["file"] = paths[0]
    if not settings.get("file"):
        raise ValueError("the study lays out its stands itself (stands.grid_m): there is no file to inspect")
    if crs:
        settings["crs"] = crs
    given = {name: value for name, value in settings.items() if value is not None}
    plain = Stands(**given).model_dump(mode="json")
    report = inspect_stands(plain, crs=study.area.crs if study else None, named=study is not None)
    return report, sentences(report)
