"""Ask a catalogue for a sensor's scenes and freeze the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from catalogs.harmonisation import mixed_generations
from catalogs.radiometry import sample_scene
from catalogs.remote import Source, shown
from catalogs.search import address_of, find_scenes, is_local
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid
from pipeline.steps.notes import kept_warnings

log = logging.getLogger(__name__)


def search(
    *,
    scenes: Path,
    settings: Mapping[str, Any],
    sensor: str,
    grid: Mapping[str, Any],
    years: Sequence[int],
    refresh: bool = False,
    said: Path | None = None,
) -> None:
    """Write the scenes of a sensor for all years to `scenes`, local files relative to it.

    Years that the file holds already, as the answer of a remote catalogue to the same question, stay as they are: a year
    that a study adds changes no scene of the others. A catalogue on this machine is always asked again.

    Parameters
    ----------
    settings : mapping
        `pipeline.config.Sensor` as plain values; its own `years` go before the study's.
    sensor : str
        Name in `SENSORS`.
    grid : mapping
        `Grid.settings()`.
    refresh : bool
        Asks for every year again.
    said : path, optional
        Written: what was warned of, for the report.
    """
    with kept_warnings(said):
        _search(scenes, settings, sensor, grid, years, refresh)


def _search(
    scenes: Path, settings: Mapping[str, Any], sensor: str, grid: Mapping[str, Any], years: Sequence[int], refresh: bool
) -> None:
    study = Grid(**grid)
    years = [int(year) for year in settings.get("years") or years]
    catalog = settings["catalog"]
    keep = not refresh and not is_local(catalog) and Path(scenes).exists()
    frozen = find_scenes(
        sensor_named(sensor),
        catalog=catalog,
        collection=settings.get("collection"),
        bounds=study.bounds,
        crs=study.crs,
        years=years,
        season=tuple(settings["season"]),
        max_cloud_percent=settings["max_cloud_percent"],
        relative_to=Path(scenes).resolve().parent,
        look=partial(sample_scene, bounds=study.bounds, crs=study.crs, source=_source(settings)),
        check_radiometry=settings.get("check_radiometry", True),
        orbit=settings.get("orbit", "auto"),
        earlier=store.read_json(scenes) if keep else None,
        on_scene_error=settings.get("on_scene_error", "fail"),
        harmonise=settings.get("harmonise", "none"),
        **_allowed(settings),
    )
    for entry in frozen["left_out"]:
        log.info("%s left out: %s", entry["id"], entry["reason"])
    if frozen["query"]["static"]:
        log.info("%s: %d scenes, the same in every year", sensor, len(frozen["items"]))
    else:
        per_year = {year: sum(item["year"] == year for item in frozen["items"]) for year in years}
        log.info("%s: %s", sensor, ", ".join(f"{count} scenes of {year}" for year, count in per_year.items()))
    if settings.get("harmonise", "none") == "none" and (mixed := mixed_generations(frozen["items"])):
        told = ", ".join(f"{count} of {instrument}" for instrument, count in mixed.items())
        log.warning(
            "%s: scenes of instruments whose bands differ (%s) are mixed as they are: differences between years may be "
            "theirs; harmonise: oli brings them to one", sensor, told,
        )  # fmt: skip
    store.write_json(scenes, frozen)


def _source(settings: Mapping[str, Any]) -> Source:
    """Where the scenes' files may lie, for those whose pixels are looked at."""
    catalog = settings["catalog"]
    address, provider = address_of(catalog if is_local(catalog) or "://" not in catalog else shown(catalog))
    return Source(address, provider, **_allowed(settings))


def _allowed(settings: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Hosts and folders that a catalogue may point to besides its own."""
    return {name: tuple(settings.get(name, ())) for name in ("private_hosts", "data_folders")}
