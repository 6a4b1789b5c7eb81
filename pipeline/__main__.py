"""`python -m pipeline VERB`: what one asks of a study without running it. Prints sentences; exits 0 or 1."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("check", help="check a configuration and that its files are there")
    verb.add_argument("config", type=Path)
    verb = verbs.add_parser("new", help="write a commented configuration into a folder, to fill in")
    verb.add_argument("folder", type=Path)
    verb = verbs.add_parser("search", help="ask the catalogues again and freeze what they answer")
    verb.add_argument("config", type=Path)
    verb = verbs.add_parser("inspect", help="say what data of others hold and what is wrong with them")
    verb.add_argument("what", choices=["lidar", "plots", "stands"])
    verb.add_argument("path", nargs="+", help="tiles or a canopy height raster; tables of plots and trees, polygons, or a study")
    verb.add_argument("--study", type=Path, help="of plots and stands: the configuration that says what columns mean")
    verb.add_argument("--crs", help="what the coordinates are in, where the files do not say or say it wrong")
    verb.add_argument("--vertical-unit", choices=["m", "ft", "us-ft"], help="of lidar: what heights are counted in")
    verb.add_argument("--private-host", action="append", default=[], help="of lidar: a server in a private network to read from")
    verb.add_argument("--data-folder", action="append", default=[], help="of lidar: a folder that a listing may point to")
    verb.add_argument("--totals", type=Path, help="of plots with a study: where to write what each holds per hectare (.csv)")
    verb.add_argument("--json", action="store_true", help="for machines")
    verb = verbs.add_parser("design", help="how many plots a precision takes, and where; writes points for the field")
    _design_options(verb)
    verb = verbs.add_parser("list", help="list what a configuration can name")
    verb.add_argument("what", choices=list(LISTS))
    verb.add_argument("--profile", type=Path, help="of indicators: a standard's list, with what of it is offered")
    verb.add_argument("--study", type=Path, help="with --profile: a configuration, for predictors of its own composites")
    verb.add_argument("--page", action="store_true", help="of indicators: the reference page, as Markdown")
    chosen = parser.parse_args(arguments)
    try:
        run = {
            "check": _check, "new": _new, "search": _search, "inspect": _inspect, "design": _design, "list": _list,
        }[chosen.verb]  # fmt: skip
        return run(chosen)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1


def _check(chosen: argparse.Namespace) -> int:
    from pipeline.bridge import Plan
    from pipeline.bridge.problems import unfinished_results
    from pipeline.config import load_study

    plan = Plan(load_study(chosen.config))
    plan.inspect()
    study, grid = plan.study, plan.grid
    print(
        f"{chosen.config} is a complete study: {study.name}, {grid.rows} x {grid.cols} cells of {grid.resolution_m:g} m"
    )
    print(f"blocks: {len(plan.blocks)}; years: {', '.join(map(str, study.years))}; targets: {', '.join(study.targets)}")
    for name, predictors in plan.predictor_sets.items():
        print(f"predictors, {name}: {', '.join(predictors)}")
    for name in plan.canopies.campaigns:
        print(f"canopy height model, tree tops and crowns of {name}: squares of {plan.canopies.grid_of(name).resolution_m:g} m")
    for note in [*plan.notes, *plan.remarks(), *unfinished_results(plan)]:
        print(f"note: {note}")
    return 0


def _new(chosen: argparse.Namespace) -> int:
    from pipeline.template import TEMPLATE

    target = chosen.folder / "study.yaml"
    if target.exists():
        raise FileExistsError(f"{target} is there already; it is not overwritten")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    letters = chosen.folder.resolve().name
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in letters)
    target.write_text(TEMPLATE.replace("{name}", name.strip("_-") or "my_study"), encoding="utf-8")
    print(f"wrote {target}: fill it in, then `python -m pipeline check {shlex.quote(str(target))}`")
    return 0


def _search(chosen: argparse.Namespace) -> int:
    from pipeline.bridge import Plan
    from pipeline.bridge.session import hold
    from pipeline.config import load_study
    from pipeline.steps.search import search

    plan = Plan(load_study(chosen.config))
    if not plan.study.sensors:
        raise ValueError("the study names no sensors, so there is nothing to search for")
    plan.held = hold(plan.resources)
    for sensor in plan.study.sensors:
        scenes = plan.resources / "scenes" / f"{sensor}.json"
        search(
            scenes=scenes, settings=plan.settings("sensors", sensor), sensor=sensor, grid=plan.area_settings,
            years=plan.imagery.years(sensor), refresh=True, said=plan.resources / "said" / f"search_{sensor}.json",
        )  # fmt: skip
        print(f"{sensor}: frozen in {scenes}; the next run of the workflow redoes the blocks that new scenes touch")
    return 0


def _inspect(chosen: argparse.Namespace) -> int:
    """Exits 1 where a run would refuse what was found."""
    import json

    if chosen.what != "lidar":
        from pipeline.bridge.looking import inspect_field

        report, lines = inspect_field(chosen.what, chosen.path, study=chosen.study, crs=chosen.crs, totals=chosen.totals)
        print(json.dumps(report, indent=1, sort_keys=True) if chosen.json else "\n".join(lines))
        return 1 if report["problems"] else 0
    from catalogs.lidar import access_of, canopy, inspection

    rasters = [path for path in chosen.path if path.lower().endswith((".tif", ".tiff", ".vrt"))]
    if rasters and len(chosen.path) > 1:
        raise ValueError("one canopy height raster at a time, please")
    if rasters:
        report = canopy.inspect_canopy(rasters[0], crs=chosen.crs)
        lines = canopy.sentences(report)
    else:
        allowed = {"private_hosts": chosen.private_host, "data_folders": chosen.data_folder}
        declared = inspection.Declared(vertical_unit=chosen.vertical_unit) if chosen.vertical_unit else None
        access = access_of({"points": chosen.path, **allowed}) if any(allowed.values()) else None
        report = inspection.inspect_tiles(chosen.path, crs=chosen.crs, access=access, declared=declared)
        lines = inspection.sentences(report)
    print(json.dumps(report, indent=1, sort_keys=True) if chosen.json else "\n".join(lines))
    return 1 if report["problems"] else 0


def _design_options(verb: argparse.ArgumentParser) -> None:
    from models.inference.sample_draw import CLUSTER_PLOTS

    verb.add_argument("config", type=Path)
    verb.add_argument("--target", help="target of the study; its first by default")
    verb.add_argument("--half-width-percent", type=float, default=10.0, help="half of the interval, percent of the mean (10)")
    verb.add_argument("--confidence-percent", type=float, default=90.0, help="of the interval (90)")
    verb.add_argument("--allocation", choices=["neyman", "proportional"], default="neyman")
    verb.add_argument("--method", choices=["balanced", "random", "systematic"], default="balanced")
    verb.add_argument("--without-map", dest="use_map", action="store_false", help="draw for an estimator that uses no map")
    verb.add_argument("--mean", type=float, help="of the target per hectare, where no run of the study tells it")
    verb.add_argument("--sd", type=float, help="standard deviation between plots, with --mean")
    verb.add_argument("--r2", type=float, help="share of the variance between plots that the map explains")
    verb.add_argument("--cluster-share", type=float, default=0.0, help="share of locations that are clusters (0)")
    verb.add_argument("--cluster-shape", choices=list(CLUSTER_PLOTS), default="square")
    verb.add_argument("--cluster-spacing-m", type=float, default=60.0, help="between plots of a cluster (60)")
    verb.add_argument("--plots-per-cluster", type=int, help="the shape's own by default: 4 of a square or line, 5 of an l")
    verb.add_argument("--cost-of-location", type=float, help="of reaching a place; with --cost-of-plot, a cluster's size")
    verb.add_argument("--cost-of-plot", type=float, help="of measuring one plot, in the currency of --cost-of-location")
    verb.add_argument("--correlation", type=float, default=0.5, help="of two plots of a cluster (0.5)")
    verb.add_argument("--seed", type=int, default=1)
    verb.add_argument("--folder", type=Path, help="where to write; design in the study's results by default")


def _design(chosen: argparse.Namespace) -> int:
    from pipeline.bridge import Plan
    from pipeline.config import TARGETS, load_study
    from pipeline.steps.design import design

    options = {name: value for name, value in vars(chosen).items() if name not in ("verb", "config", "target", "folder")}
    plan = Plan(load_study(chosen.config))
    target = chosen.target or plan.study.targets[0]
    if target not in plan.study.targets:
        raise ValueError(f"{target!r} is not a target of the study; it has {', '.join(plan.study.targets)}")
    lines = design(
        folder=chosen.folder or plan.results / "design", stands=plan.settings("stands"), grid=plan.grid_settings,
        column=TARGETS[target]["column"], year=plan.study.years[-1], plots=plan.resources / "plots.parquet",
        left_out=plan.resources / "model" / target / "left_out.parquet", table=plan.results / "stands.parquet",
        radius_m=plan.study.plots.radius_m, **options,
    )  # fmt: skip
    print("\n".join(lines))
    return 0


def _list(chosen: argparse.Namespace) -> int:
    if chosen.study and not chosen.profile:
        raise ValueError("--study belongs to --profile: it says whose composites the profile's predictors may be of")
    if chosen.what != "indicators" and (chosen.profile or chosen.page):
        raise ValueError(f"--profile and --page belong to `list indicators`, not to `list {chosen.what}`")
    if chosen.page:
        from pipeline.indicators.reference import page

        print(page(), end="")
        return 0
    if chosen.profile:
        return _list_profile(chosen.profile, chosen.study)
    _print_table(LISTS[chosen.what]())
    return 0


def _list_profile(file: Path, config: Path | None) -> int:
    from catalogs.sensors import SENSORS, offered_roles
    from pipeline.indicators.profile import STATUSES, load_profile, rows

    profile = load_profile(file)
    if config:
        from pipeline.bridge import Plan
        from pipeline.config import load_study

        plan = Plan(load_study(config))
        table = rows(
            profile, plan.imagery.offered_roles, metrics=plan.offered_metrics, resolution_m=plan.study.area.resolution_m,
            of_study=True,
        )  # fmt: skip
    else:
        table = rows(profile, offered_roles(SENSORS))
    absent = sum(row[2] == "-" for row in table)
    print(profile.title)
    print(f"source: {profile.source}; status: {profile.status}, {STATUSES[profile.status]}")
    _print_table(table)
    print(f"offered: {len(table) - absent} of {len(table)}")
    return 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _indicators() -> list[tuple[str, ...]]:
    from pipeline.indicators.reference import rows

    return rows()


def _sensors() -> list[tuple[str, ...]]:
    from catalogs.sensors import sensor_table

    return [("sensor", "prefix", "kind", "bands", "collections", "catalogues"), *sensor_table()]


def _regressors() -> list[tuple[str, ...]]:
    from models.regressors import REGRESSORS

    rows = [("regressor", "what it is", "when to use it", "source")]
    for name, one in REGRESSORS.items():
        rows.append((name, (one.__doc__ or "").splitlines()[0], getattr(one, "when", ""), getattr(one, "source", "")))
    return rows


def _metrics() -> list[tuple[str, ...]]:
    from pipeline.lidar.metrics import METRICS

    return [(name, one.units, one.title) for name, one in METRICS.items()]


def _products() -> list[tuple[str, ...]]:
    return [
        ("<target>_<year>", "stock of each target, its standard error, domain and predictor set"),
        ("tree_carbon_<year>", "t C/ha in living trees, above and below ground, with standard error"),
        ("sink_<year>_<year>", "net removal, t CO2/ha/yr, with standard error; positive = sink"),
        ("forest_<year>_<year>", "no forest, forest remaining, gained, lost"),
        ("canopy_<campaign>", "canopy height, tree tops and crowns of a campaign with canopy_products"),
    ]


def _targets() -> list[tuple[str, ...]]:
    from pipeline.config import TARGETS

    return [(name, about["column"], about["units"], about["title"]) for name, about in TARGETS.items()]


def _estimators() -> list[tuple[str, ...]]:
    from models.inference.estimators import ESTIMATORS

    return [
        (name, f"{one.phases}-phase", "probability sample" if one.probability_sample else "any plots", one.auxiliaries, one.title)
        for name, one in ESTIMATORS.items()
    ]


def _findings() -> list[tuple[str, ...]]:
    from catalogs.plots.findings import KINDS
    from catalogs.stand_findings import KINDS as STAND_KINDS

    return [
        (section, name, one.default, " ".join(one.rules), one.takes, one.title)
        for section, kinds in (("plots", KINDS), ("stands", STAND_KINDS))
        for name, one in kinds.items()
    ]


def _equations() -> list[tuple[str, ...]]:
    """Every shipped equation: what it serves, its formula and diameters, its status and source; `allometry` is the old name."""
    from catalogs.parameters import NATIONAL, shipped_allometry
    from models.allometry import FORMS

    rows = [
        (
            row["name"], row["component"], row["taxon"] or row["level"], row["region"] or "-",
            FORMS[row["form"]].title.split(":")[0], f"{row['dbh_min_cm']:g}-{row['dbh_max_cm']:g} cm", row["status"],
            row["source"],
        )
        for row in shipped_allometry().to_dict("records")
    ]  # fmt: skip
    national = "USFS GTR-WO-104: volume, components and biomass of 2,600 species; plots.region names the ecological division"
    beside = [(name, "all", "species", "USA", "by the package nsvb", "-", "published", national) for name in NATIONAL]
    return rows + beside


def _catalogues() -> list[tuple[str, ...]]:
    from catalogs.search import endpoints

    return [(name, one["title"], " ".join(one["collections"])) for name, one in endpoints().items()]


def _reducers() -> list[tuple[str, ...]]:
    from pipeline.optical.composite import REDUCERS

    return [(name, one.title) for name, one in REDUCERS.items()]


def _speckle() -> list[tuple[str, ...]]:
    from pipeline.radar.speckle import SPECKLE

    return [(name, one.title) for name, one in SPECKLE.items()]


def _series() -> list[tuple[str, ...]]:
    from pipeline.optical.series import STATISTICS

    return [(name, " ".join(one.bands), one.title) for name, one in STATISTICS.items()]


LISTS = {
    "indicators": _indicators, "sensors": _sensors, "catalogues": _catalogues, "reducers": _reducers, "series": _series,
    "speckle": _speckle, "regressors": _regressors, "metrics": _metrics, "products": _products, "targets": _targets,
    "equations": _equations, "allometry": _equations, "estimators": _estimators, "findings": _findings,
}  # fmt: skip
"""What a configuration can name: list -> rows to print."""


if __name__ == "__main__":
    sys.exit(main())
