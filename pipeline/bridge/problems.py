"""What can be known to be wrong with a study before its first job: its names, its files, and what others' files hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.bridge.campaigns import is_pattern_or_address
from pipeline.bridge.opening import problems_of_plots, problems_of_points, remarks_on_points, shortened
from pipeline.bridge.touching import files_of, kept_if_right, listed
from pipeline.config import nearest
from pipeline.features import split_name
from pipeline.indicators.registry import family

if TYPE_CHECKING:
    from pipeline.bridge.plan import Plan

MEANT_FOR = {
    "orbit": ("radar",), "speckle": ("radar",),
    **dict.fromkeys(("max_cloud_percent", "check_radiometry", "cloud_dilation_m", "mask_water"), ("optical",)),
    **dict.fromkeys(
        ("years", "season", "reducer", "min_clear_count", "max_scenes", "target_day", "upsampling"), ("optical", "radar")
    ),
}  # fmt: skip
"""Kinds of sensor that a setting says something about, where that is not all of them."""

PATH_KEYS = {
    "file", "groups", "corners", "trees", "fixes", "height_pairs", "wood_density", "points", "canopy_height", "catalog", "files",
    "profile",
}  # fmt: skip

MOST_NAMED = 5
"""Files of a folder that a sentence names."""

NAME_OR_PATH_KEYS = {"allometry", "carbon_fractions", "expansion"}
"""Settings that name something of ours, or a file where they end like one."""


def problems_of_settings(plan: Plan) -> list[str]:
    """A sentence for everything that the configuration alone shows to be wrong."""
    missing = _missing_files(plan)
    try:
        if not plan.grid.blocks():
            return [*missing, "area: the area has no pixel at this resolution"]
    except (ValueError, OSError) as error:
        return [*missing, *(() if any(one.startswith("area.file: ") for one in missing) else (str(error),))]
    return [*missing, *_unknown_names(plan), *_years_unseen(plan), *_foreign_results(plan)]


def problems_of_files(plan: Plan) -> list[str]:
    """A sentence for everything that is wrong with the files of others that the study names."""
    problems = [sentence for name in plan.study.lidar for sentence in shortened(_campaign_problems(plan, name))]
    try:
        plan.stand_entries()
    except (ValueError, OSError) as error:
        problems.append(f"stands: {error}")
    return problems + [f"plots: {sentence}" for sentence in shortened(_plot_problems(plan))]


def unfinished_results(plan: Plan) -> list[str]:
    """A sentence where the results are files of two runs, because the later one was stopped on its way."""
    from pipeline.steps.record import of_other_runs

    run = plan.results / "run.json"
    if not run.exists() or not (others := of_other_runs(run)):
        return []
    named = ", ".join(others[:MOST_NAMED]) + (f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else "")
    return [
        f"{plan.results} holds files of two runs: {named} are not as run.json has them (a later run was stopped, or somebody "
        "changed them); do not read maps and tables together before the workflow has run to its end"
    ]


def remarks_of(plan: Plan) -> list[str]:
    """Sentences on lidar tiles that stop no run but may surprise."""
    return [
        f"lidar.{name}: {said}"
        for name, campaign in plan.study.lidar.items()
        if not _is_planted(plan, plan.campaigns.files(name))
        for said in remarks_on_points(campaign, plan.campaigns.tiles(name) or [], plan.grid.bounds)
    ]


def _campaign_problems(plan: Plan, name: str) -> list[str]:
    """What is wrong with a campaign: with the headers of its tiles, else where they lie, and what a sample of them holds."""
    settings = plan.study.lidar[name]
    try:
        entries = plan.campaigns.tiles(name)
    except (ValueError, OSError) as error:
        said = [f"lidar.{name}: {error}"]
    else:
        said = _elsewhere(plan, name, entries or [])
    local = plan.campaigns.files(name)
    files = files_of(tuple(local), (".las", ".laz") if settings.points else (".tif", ".tiff", ".vrt"))
    if _is_planted(plan, local) or not files:
        return said
    about = settings.model_dump(mode="json") | {"said": sorted(settings.model_fields_set)}
    held = kept_if_right(
        plan.resources / "index" / f"opened_lidar_{name}.json", about, files,
        lambda: problems_of_points(name, settings, local),
    )  # fmt: skip
    return list(dict.fromkeys([*said, *held]))


def _plot_problems(plan: Plan) -> list[str]:
    """What is wrong with the settings and tables of plots; those of a planted study are made by the run itself."""
    from catalogs.plots.reading import check_settings

    try:
        check_settings(plan.settings("plots"))
    except ValueError as error:
        return [str(error)]
    files = files_of(tuple(plan.plot_files), ())
    if _is_planted(plan, plan.plot_files) or not all(Path(path).exists() for path in plan.plot_files):
        return []
    fits = _fits(plan)
    about = [plan.settings("plots"), plan.area_settings, list(plan.study.targets), plan.code("plots"), fits]
    return kept_if_right(
        plan.resources / "index" / "opened_plots.json", about, files,
        lambda: problems_of_plots(plan.settings("plots"), plan.area_settings, list(plan.study.targets), fits),
    )  # fmt: skip


def _fits(plan: Plan) -> dict[str, Any] | None:
    """What is to be fitted to plots, as `opening.without_clusters` takes it; None where its names are wrong already."""
    if _predictors_not_offered(plan) or _names_in_no_registry(plan):
        return None
    model = plan.study.model
    return {
        "predictor_sets": plan.predictor_sets, "named": plan.predictors_named, "regressor": model.regressor,
        "transform": model.transform, "min_clusters": model.min_clusters, "years": list(plan.study.years),
        "max_years_apart": plan.study.plots.max_years_apart,
    }  # fmt: skip


def _is_planted(plan: Plan, paths: Iterable[str]) -> bool:
    made = plan.resources / "planted"
    return bool(plan.study.planted) and all(Path(path).is_relative_to(made) for path in paths)


def _elsewhere(plan: Plan, name: str, entries: list[dict]) -> list[str]:
    """A sentence on a campaign none of whose tiles touches the area: its lidar would be silently missing."""
    west, south, east, north = plan.grid.bounds
    boxes = [entry["bounds"] for entry in entries]
    if not boxes or any(w < east and e > west and s < north and n > south for w, s, e, n in boxes):
        return []
    said = plan.study.lidar[name].crs
    check = f"lidar.{name}.crs, which says {said}" if said else "crs of the campaign"
    return [
        f"lidar.{name}: none of its {len(boxes)} tiles touches the area; its first lies at x {boxes[0][0]:.0f}, "
        f"y {boxes[0][1]:.0f} of {plan.study.area.crs}, so check area and {check}"
    ]


def _missing_files(plan: Plan) -> list[str]:
    """A sentence for every file or folder of the configuration that is not there."""
    problems = []
    for key, path in _paths_in(plan.study.model_dump(), ""):
        planted = plan.study.planted and Path(path).is_relative_to(plan.resources / "planted")
        if not planted and not Path(path).exists() and not (key.endswith(".points") and is_pattern_or_address(path)):
            problems.append(f"{key}: {path} does not exist")
    return problems


def _paths_in(part: Any, place: str) -> Iterable[tuple[str, str]]:
    """Dotted key and path of every local file that a configuration names."""
    from catalogs.search import is_local

    for key, value in part.items():
        dotted = f"{place}.{key}" if place else str(key)
        if key == "catalog" and (place.startswith("lidar.") or not is_local(value)):
            continue
        if key in PATH_KEYS and value:
            for path in value.values() if isinstance(value, dict) else listed(value):
                yield dotted, path
        elif key in NAME_OR_PATH_KEYS and value:
            yield from ((dotted, path) for path in listed(value) if Path(path).suffix)
        elif key == "species_codes" and isinstance(value, str):
            yield dotted, value
        elif isinstance(value, dict):
            yield from _paths_in(value, dotted)


def _foreign_results(plan: Plan) -> list[str]:
    """A sentence where the results folder holds another study's results, which this one would replace."""
    run = plan.results / "run.json"
    if not run.exists():
        return []
    other = json.loads(run.read_text(encoding="utf-8"))["study"]["name"]
    if other == plan.study.name:
        return []
    return [f"results: {plan.results} holds the results of the study {other}; give this one a folder of its own"]


def _years_unseen(plan: Plan) -> list[str]:
    """A sentence for every study year that neither a sensor nor a campaign shows."""
    if plan.imagery.yearly:
        return []
    near = plan.study.plots.max_years_apart
    return [
        f"years: {year} cannot be mapped: no campaign within {near:g} years of it (plots.max_years_apart) and no sensor"
        for year in plan.study.years
        if plan.campaigns.nearest_to(year) is None
    ]


def _unknown_names(plan: Plan) -> list[str]:
    """A sentence for every name of the configuration that is in no registry, asks what cannot be, or has no product."""
    from catalogs.sensors import is_sensor

    known = [name for name in plan.study.sensors if is_sensor(name)]
    return [
        *_names_in_no_registry(plan),
        *_quantiles_not_told(plan),
        *_settings_of_other_kinds(plan, known),
        *_clouds_of_radar(plan, known),
        *(sentence for name in known for sentence in wrong_corrections(plan, name)),
        *(sentence for name in known for sentence in wrong_catalogue(plan, name)),
        *_predictors_not_offered(plan),
        *_comparisons_without_map(plan),
    ]


def _names_in_no_registry(plan: Plan) -> list[str]:
    from models.regressors import REGRESSORS
    from pipeline.optical.composite import REDUCERS
    from pipeline.radar.speckle import SPECKLE

    sensors = plan.study.sensors.items()
    asked = [
        ("model.regressor", plan.study.model.regressor, REGRESSORS),
        *((f"sensors.{name}.reducer", reducer, REDUCERS) for name, one in sensors for reducer in one.reducers),
        *((f"sensors.{name}.speckle", one.speckle, SPECKLE) for name, one in sensors),
    ]
    return [
        f"{key}: {name!r} is not known{nearest(name, known)}; known: {', '.join(known)}"
        for key, name, known in asked
        if name not in known
    ]


def _clouds_of_radar(plan: Plan, sensors: list[str]) -> list[str]:
    from catalogs.sensors import sensor_named
    from pipeline.optical.composite import REDUCERS

    return [
        f"sensors.{name}.reducer: {reducer} scores the distance to clouds, and {sensor_named(name).title} has no clouds"
        for name in sensors
        if sensor_named(name).kind == "radar"
        for reducer in plan.study.sensors[name].reducers
        if reducer in REDUCERS and REDUCERS[reducer].cloud_distance
    ]


def _predictors_not_offered(plan: Plan) -> list[str]:
    """A sentence for every predictor that cannot be made, after the setting that is the cause."""
    try:
        place = "sensors"
        sensors = plan.imagery.offered_roles
        place = "model.profile"
        _ = plan.predictor_titles
        place = "model.predictors"
        if absent := _sensors_absent(plan, sensors):
            raise ValueError("\n".join(absent))
        plan.needs_of(sensors)
    except ValueError as error:
        return [f"{place}: {sentence}" for sentence in str(error).splitlines()]
    return []


def _comparisons_without_map(plan: Plan) -> list[str]:
    stocks = [product.name for product in plan.products.values() if product.kind == "stock"]
    return [
        f"comparisons.{name}: there is no map {other.target}_{other.year} to compare; the study makes {', '.join(stocks)}"
        for name, other in plan.study.comparisons.items()
        if f"{other.target}_{other.year}" not in stocks
    ]


def _quantiles_not_told(plan: Plan) -> list[str]:
    """A sentence where quantiles are asked of a regressor that has none."""
    from models.regressors import REGRESSORS

    model = plan.study.model
    if not model.quantiles or getattr(REGRESSORS.get(model.regressor), "tells_quantiles", True):
        return []
    telling = ", ".join(name for name, one in REGRESSORS.items() if getattr(one, "tells_quantiles", False))
    return [f"model.quantiles: regressor {model.regressor} tells no quantiles; {telling} do"]


def wrong_catalogue(plan: Plan, sensor: str) -> list[str]:
    """A sentence where a sensor's catalogue is known not to offer it, or is at an address that nothing here asks."""
    from catalogs.remote import Refused
    from catalogs.search import check_catalogue
    from catalogs.sensors import sensor_named

    try:
        check_catalogue(plan.study.sensors[sensor].catalog, sensor_named(sensor))
    except (ValueError, Refused) as error:
        return [f"sensors.{sensor}.catalog: {error}"]
    return []


def wrong_corrections(plan: Plan, sensor: str) -> list[str]:
    """A sentence for every correction or series that a sensor's scenes do not allow."""
    from catalogs.harmonisation import sensors_harmonised
    from catalogs.search import first_day, last_day
    from catalogs.sensors import sensor_named
    from pipeline.indicators import INDICATORS
    from pipeline.optical.series import problems_of

    chosen, known, key = plan.study.sensors[sensor], sensor_named(sensor), f"sensors.{sensor}"
    problems = []
    if chosen.harmonise != "none" and known.name not in sensors_harmonised():
        offered = ", ".join(sensors_harmonised())
        problems.append(f"{key}.harmonise: there are no published lines for {known.name}; there are for {offered}")
    if (own := sensor.partition("_")[2]) in INDICATORS:
        problems.append(f"{key}: {own} is an indicator, so {sensor} would mean two things; give the composite another word")
    if chosen.topographic != "none" and known.kind != "optical":
        problems.append(f"{key}.topographic: slopes are corrected in optical images; {known.title} is {known.kind}")
    elif chosen.topographic != "none" and plan.imagery.elevation_sensor is None:
        problems.append(
            f"{key}.topographic: {chosen.topographic} needs the elevation of the ground: "
            "add copernicus-dem-glo30 to sensors"
        )
    days = (last_day(2021, chosen.season) - first_day(2021, chosen.season)).days + 1
    if chosen.series and known.kind != "optical":
        problems.append(f"{key}.series: series are made of optical images; {known.title} is {known.kind}")
    elif chosen.series:
        found = problems_of(chosen.series, known.prefix, known.roles, days, years=chosen.series_years)
        problems += [f"{key}.series: {sentence}" for sentence in found]
    return problems


def _settings_of_other_kinds(plan: Plan, sensors: list[str]) -> list[str]:
    """A sentence for every setting that says nothing about a sensor of its kind and yet is not what it is by itself."""
    from catalogs.sensors import sensor_named

    return [
        f"sensors.{name}.{setting}: {sensor_named(name).title} is {sensor_named(name).kind}, and this setting is for "
        f"{' and '.join(kinds)} sensors; take it out"
        for name, one in plan.study.sensors.items()
        if name in sensors
        for setting, kinds in MEANT_FOR.items()
        if sensor_named(name).kind not in kinds and getattr(one, setting) != type(one).model_fields[setting].default
    ]


def _sensors_absent(plan: Plan, offered: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A sentence for every predictor of a sensor that we know and the study does not list."""
    from catalogs.sensors import SENSORS

    known, families = {sensor.prefix: name for name, sensor in SENSORS.items()}, set(map(family, offered))
    names = dict.fromkeys(name for names in plan.predictor_sets.values() for name in names)
    return [
        f"{name!r} needs the sensor {known[prefix]}, which the study does not list under sensors"
        for name in names
        if split_name(name, offered)[0] is None and (prefix := split_name(name, known)[0]) and prefix not in families
    ]
