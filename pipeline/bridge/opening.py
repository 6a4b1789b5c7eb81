"""What a study's own files say against it before the first job: each opened, every problem in one round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Campaign

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_POINTS = 300_000  # of a campaign, decoded to see whether it is what the study says
MOST_SENTENCES = 20  # of one setting


def problems_of_plots(
    settings: Mapping[str, Any], grid: Mapping[str, Any], targets: list[str], fits: Mapping[str, Any] | None = None
) -> list[str]:
    """Sentences on the tables of plots and trees: what the step `plots` would stop at, and what it would meet after that.

    The step itself is called, its table thrown away. Where it stops, the tables behind are opened one by one, so that what
    is wrong in one does not hide what is wrong in another. With `fits` (see `without_clusters`) plots that no model can be
    fitted to are said too.
    """
    from pipeline import store
    from pipeline.steps.plots import plots

    few: list[str] = []

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "plots.parquet"
            plots(table=table, settings=dict(settings), grid=dict(grid), targets=targets)
            if fits is not None:
                few.extend(without_clusters(store.read_table(table), targets, **fits))

    first = _said(whole)
    if not first:
        return few
    sheet = _sheet(settings, grid)
    return list(dict.fromkeys([*(sheet or first), *(sentence for look in _tables(settings) for sentence in _said(look))]))


def without_clusters(
    plots: pd.DataFrame, targets: Iterable[str], *, predictor_sets: Mapping[str, Sequence[str]], named: bool, regressor: str,
    transform: str, min_clusters: int, years: Sequence[int], max_years_apart: float,
) -> list[str]:  # fmt: skip
    """A sentence for every target whose plots lie in too few clusters for any predictor set, were its predictors at all of them.

    Of predictors that nobody `named` one would be enough: those that are the same at all plots are left out.
    """
    from models.inference.soundness import FEWEST_CLUSTERS, too_few_clusters
    from models.regressors import regressor_named
    from pipeline.config import TARGETS
    from pipeline.steps.training import nearest_year

    machine, found = regressor_named(regressor, transform=transform), []
    near = nearest_year(plots["date"], years, max_years_apart).notna()
    for target in targets:
        rows = plots[plots["kept"] & near & plots[TARGETS[target]["column"]].notna()]
        if rows.empty:
            continue
        least = max(min_clusters, FEWEST_CLUSTERS)
        said = {
            name: too_few_clusters(len(rows), rows["cluster"].nunique(), list(chosen)[: None if named else 1], least, machine)
            for name, chosen in predictor_sets.items()
        }
        if said and all(said.values()):
            found.append(f"no model of {target} can be fitted ({'; '.join(f'{name}: {why}' for name, why in said.items())})")
    return found


def _sheet(settings: Mapping[str, Any], grid: Mapping[str, Any]) -> list[str]:
    """What would stop the reading of plots and trees: all of it, also where plots that cannot be read hide their trees."""
    from catalogs.plots.findings import Findings
    from catalogs.plots.inspection import inspect_plots
    from catalogs.plots.trees import check_measurements, check_names, tree_table

    try:
        report = inspect_plots(settings, crs=grid["crs"])
    except (ValueError, OSError) as error:
        report = {"problems": [" ".join(str(error).split())], "facts": {}}
    problems = list(report["problems"])
    if problems and not report["facts"] and settings["trees"]:
        findings = Findings(settings["rules"], stops=False, quiet=True)

        def trees_alone() -> None:
            trees = tree_table(dict(settings), findings, required=("dbh_cm",))
            check_names(trees, dict(settings), findings)
            check_measurements(trees, dict(settings), findings)

        problems += _said(trees_alone)
        problems += [one.sentence() for one in findings.found if one.rule == "fail"]
    return problems


def _tables(settings: Mapping[str, Any]) -> list[Callable[[], object]]:
    """What reads each table behind the plots and trees alone."""
    from catalogs import parameters
    from catalogs.plots import read_height_pairs
    from models import allometry

    looks: list[Callable[[], object]] = []
    if settings["trees"]:
        chosen, region = settings["allometry"], settings["region"]
        looks.append(lambda: allometry.check_equations(parameters.allometry_table(chosen, region=region)))
        if settings["wood_density"]:
            looks.append(lambda: parameters.wood_density_table(settings["wood_density"]))
        if settings["height_pairs"]:
            looks.append(lambda: read_height_pairs(dict(settings)))
    return looks


def problems_of_points(name: str, campaign: Campaign, paths: list[str]) -> list[str]:
    """Sentences on a campaign's tiles, or its canopy height raster, by what a sample of them holds."""
    from catalogs.lidar import canopy, inspection
    from catalogs.lidar.verdicts import Declared

    key = f"lidar.{name}"
    if campaign.canopy_height:
        report = canopy.inspect_canopy(
            campaign.canopy_height, crs=campaign.crs, vertical_unit=campaign.vertical_unit, max_height_m=campaign.max_height_m
        )
        return [f"{key}: {said}" for said in report["problems"]]
    declared = Declared(
        heights=campaign.heights if "heights" in campaign.model_fields_set else None,
        vertical_unit=campaign.vertical_unit if "vertical_unit" in campaign.model_fields_set else None,
        ground_classes=campaign.ground_classes, classify_ground=bool(campaign.classify_ground),
        max_days_apart=campaign.max_days_apart, max_height_m=campaign.max_height_m,
    )  # fmt: skip
    report = inspection.inspect_tiles(
        paths, crs=campaign.crs, declared=declared, sample_points=SAMPLE_POINTS, whole_points=0
    )
    return [f"{key}: {said}" for said in report["problems"]]


def remarks_on_points(campaign: Campaign, entries: list[dict], area: tuple[float, float, float, float]) -> list[str]:
    """What stops no run, by the headers of a campaign's tiles: units that nobody has said, and area without a tile.

    `entries` are those of the plan's index, their bounds and the `area` in the study's CRS.
    """
    from catalogs.lidar import references
    from catalogs.lidar.coverage import outside_tiles
    from catalogs.lidar.verdicts import span, unsaid_unit

    if not entries:
        return []
    found = []
    unsaid = "vertical_unit" not in campaign.model_fields_set and not any(entry.get("vertical_unit") for entry in entries)
    if unsaid and not campaign.canopy_height:
        found.append(unsaid_unit(references.horizontal_unit(entries[0]["crs"]) or "m"))
    percent, without = outside_tiles([entry["bounds"] for entry in entries], area)
    if without and percent < 99.95:
        found.append(
            f"its tiles cover {percent:.1f} % of the area by their boxes; the largest part without reaches from {span(without)}; "
            "there is no lidar there"
        )
    return found


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
