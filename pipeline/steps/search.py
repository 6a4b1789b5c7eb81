"""Ask a catalogue for a sensor's scenes and freeze the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catalogs.search import find_scenes
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid

log = logging.getLogger(__name__)


def search(
    *, scenes: Path, settings: Mapping[str, Any], sensor: str, grid: Mapping[str, Any], years: Sequence[int]
) -> None:
    """Write the scenes of a sensor for all years to `scenes`, local files relative to it.

    Parameters
    ----------
    settings : mapping
        `pipeline.config.Sensor` as plain values; its own `years` go before the study's.
    sensor : str
        Name in `SENSORS`.
    grid : mapping
        `Grid.settings()`.
    """
    study = Grid(**grid)
    years = [int(year) for year in settings.get("years") or years]
    frozen = find_scenes(
        sensor_named(sensor),
        catalog=settings["catalog"],
        collection=settings.get("collection"),
        bounds=study.bounds,
        crs=study.crs,
        years=years,
        season=tuple(settings["season"]),
        max_cloud_percent=settings["max_cloud_percent"],
        relative_to=Path(scenes).resolve().parent,
    )
    for entry in frozen["left_out"]:
        log.info("%s left out: %s", entry["id"], entry["reason"])
    per_year = {year: sum(item["year"] == year for item in frozen["items"]) for year in years}
    log.info("%s: %s", sensor, ", ".join(f"{count} scenes of {year}" for year, count in per_year.items()))
    store.write_json(scenes, frozen)
