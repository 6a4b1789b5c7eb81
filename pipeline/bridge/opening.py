"""What a study's own files say against it before the first job: each opened, every problem in one round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Campaign

SAMPLE_POINTS = 300_000  # of a campaign, decoded to see whether it is what the study says
MOST_SENTENCES = 20  # of one setting


def problems_of_plots(settings: Mapping[str, Any], grid: Mapping[str, Any], targets: list[str]) -> list[str]:
    """Sentences on the tables of plots and trees: what the step `plots` would stop at, and what it would meet after that.

    The step itself is called, its table thrown away. Where it stops, the tables behind are opened one by one, so that what
    is wrong in one does not hide what is wrong in another.
    """
    from pipeline.steps.plots import plots

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            plots(table=Path(folder) / "plots.parquet", settings=dict(settings), grid=dict(grid), targets=targets)

    first = _said(whole)
    if not first:
        return []
    return list(dict.fromkeys([*first, *(sentence for look in _tables(settings) for sentence in _said(look))]))


def _tables(settings: Mapping[str, Any]) -> list[Callable[[], object]]:
    """What reads each table of the plots alone."""
    from catalogs import parameters
    from catalogs.plots import read_height_pairs
    from models import allometry

    looks: list[Callable[[], object]] = []
    if settings["trees"]:
        looks.append(lambda: _trees_alone(settings))
        looks.append(lambda: allometry.check_equations(parameters.allometry_table(settings["allometry"])))
        if settings["wood_density"]:
            looks.append(lambda: parameters.wood_density_table(settings["wood_density"]))
        if settings["height_pairs"]:
            looks.append(lambda: read_height_pairs(dict(settings)))
    return looks


def _trees_alone(settings: Mapping[str, Any]) -> None:
    """Read the tree list as if every plot it names were in the plot table."""
    import pandas as pd

    from catalogs import tables
    from catalogs.plots import TREE_COLUMNS, read_trees

    file = settings["trees"]
    named = tables.named_columns(
        tables.read_table(file), settings["tree_columns"], known=TREE_COLUMNS, required=["plot"], file=file,
        setting="plots.tree_columns",
    )  # fmt: skip
    visits = pd.DataFrame({"plot": tables.texts(named["plot"])})
    own = pd.Timestamp(settings["date"]) if settings["date"] else pd.Timestamp("2000-07-01")
    visits["date"] = tables.dates(named["date"], file=file).fillna(own) if "date" in named else own
    visits = visits.drop_duplicates().assign(cluster="", area_ha=1.0, visited=False)
    alone = {"corners": None, "date": own.date().isoformat()}
    read_trees({**settings, **alone}, plots=visits)


def problems_of_points(name: str, campaign: Campaign, paths: list[str]) -> list[str]:
    """Sentences on a campaign's tiles, or its canopy height raster, by what a sample of them holds."""
    from catalogs.lidar import canopy, inspection
    from catalogs.lidar.verdicts import Declared

    key = f"lidar.{name}"
    if campaign.canopy_height:
        return [f"{key}: {said}" for said in canopy.inspect_canopy(campaign.canopy_height, crs=campaign.crs)["problems"]]
    declared = Declared(
        heights=campaign.heights if "heights" in campaign.model_fields_set else None,
        vertical_unit=campaign.vertical_unit, ground_classes=campaign.ground_classes,
        classify_ground=bool(campaign.classify_ground), max_days_apart=campaign.max_days_apart,
        max_height_m=campaign.max_height_m,
    )  # fmt: skip
    report = inspection.inspect_tiles(
        paths, crs=campaign.crs, declared=declared, sample_points=SAMPLE_POINTS, whole_points=0
    )
    return [f"{key}: {said}" for said in report["problems"]]


def _said(look: Callable[[], object]) -> list[str]:
    """The sentence that a reader stops with, or none."""
    try:
        look()
    except (ValueError, OSError, RuntimeError) as error:
        return [" ".join(str(error).split())]
    return []


def shortened(problems: list[str]) -> list[str]:
    """Problems of one setting, the first of them where they are many."""
    if len(problems) <= MOST_SENTENCES:
        return problems
    return [*problems[:MOST_SENTENCES], f"... and {len(problems) - MOST_SENTENCES} more of this kind"]
