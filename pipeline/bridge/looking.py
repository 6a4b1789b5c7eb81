"""`python -m pipeline inspect plots|stands`: from a configuration, or from headers alone, to a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.config import Plots, Stands, Study, load_study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def inspect_field(
    what: str, paths: Sequence[str], *, study: Path | None, crs: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Report and its lines on plots or stands; `paths` take the place of the study's files, or are the study itself."""
    configurations = [path for path in paths if path.lower().endswith((".yaml", ".yml"))]
    if len(configurations) + (study is not None) > 1:
        raise ValueError("one study at a time, please")
    if configurations:
        study, paths = Path(configurations[0]), [path for path in paths if path not in configurations]
    loaded = load_study(study) if study else None
    return (_plots if what == "plots" else _stands)(list(paths), loaded, crs)


def _plots(paths: list[str], study: Study | None, crs: str | None) -> tuple[dict[str, Any], list[str]]:
    from catalogs.plots.headers import guess_settings
    from catalogs.plots.inspection import inspect_plots, sentences

    if study is None:
        guessed = guess_settings(paths)
        if crs:
            guessed["crs"] = crs
        settings = Plots(**guessed).model_dump(mode="json")
        report = inspect_plots(settings)
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
    grid, stands, missing = _surroundings(study)
    settings["wood_density"] = settings["wood_density"] if _asks_wood_density(settings) else None
    report = inspect_plots(settings, crs=crs or study.area.crs, bounds=grid, stands=stands, taxa=partial(_levels, settings))
    report["notes"] += missing
    return report, sentences(report)


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


def _surroundings(study: Study) -> tuple[tuple[float, float, float, float] | None, Any, list[str]]:
    """The study's bounds and stands, as far as they can be read; what cannot is a note, for plots are what is asked about."""
    from catalogs.stands import read_stands

    bounds = study.area.bounds
    if not study.stands.file:
        return bounds, None, []
    settings = study.stands.model_dump(mode="json") | {"include_plots": False}
    try:
        return bounds, read_stands(settings, crs=study.area.crs), []
    except (ValueError, OSError) as error:
        return bounds, None, [f"plots across borders of stands were not looked for: {error}"]


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
