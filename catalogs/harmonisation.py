"""Reflectance of one instrument as another would have seen it: published lines per band, applied to a scene's encoding.

A line of a line is a line: reflectance = scale x number + offset, seen by OLI = slope x reflectance + shift, so a scene is
harmonised by other scales and offsets and costs nothing per pixel. `harmonisation.csv` holds the lines with their sources;
a number that could not be substantiated is not there (red edge, near infrared at 10 m). A platform without lines is refused
when scenes are searched for, never in the middle of a run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).parent / "harmonisation.csv"

HARMONISATIONS = ("none", "oli", "oli_ols")
"""`oli`: as Landsat 8 and 9 see it, by the lines that are the same in both directions (reduced major axis), which keep the
spread of a series; `oli_ols`: by ordinary least squares, the best guess of a single value, which draws extremes to the mean."""

REFERENCE = {"landsat-8": "OLI", "landsat-9": "OLI-2"}
"""Platforms that are the reference themselves: both instruments were built to the same bands."""

GENERATIONS = {
    "landsat-4": "TM", "landsat-5": "TM", "landsat-7": "ETM+", "landsat-8": "OLI", "landsat-9": "OLI",
}  # fmt: skip
"""Instruments of one sensor of ours whose bands differ enough to show in a series."""


class Line(NamedTuple):
    """seen by the reference = slope x reflectance + offset."""

    slope: float
    offset: float
    source: str
    status: str


@cache
def published_lines() -> dict[tuple[str, str, str], dict[str, Line]]:
    """Lines by role of each (sensor, platform, harmonisation), as `harmonisation.csv` has them."""
    found: dict[tuple[str, str, str], dict[str, Line]] = {}
    with open(TABLE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            line = Line(float(row["slope"]), float(row["offset"]), row["source"], row["status"])
            for platform in row["platforms"].split():
                found.setdefault((row["sensor"], platform, row["to"]), {})[row["role"]] = line
    return found


def sensors_harmonised() -> tuple[str, ...]:
    """Sensors that there are lines for."""
    return tuple(dict.fromkeys(sensor for sensor, _, _ in published_lines()))


def harmonised(item: Mapping[str, Any], *, sensor: str, to: str) -> dict[str, Any]:
    """A frozen scene whose encodings give reflectance as the reference instrument would have seen it.

    Parameters
    ----------
    item : mapping
        As `find_scenes` freezes it; its `platform` decides.
    sensor : str
        Name in `SENSORS`.
    to : str
        One of `HARMONISATIONS`.

    Returns
    -------
    dict
        The item, with other `scale` and `offset` of its bands; `unchanged` lists bands that there is no line for (the
        reference has no such band). As it was for `none`, and for a scene of the reference itself.

    Raises
    ------
    ValueError
        When there is no published line for the sensor or the platform, or the scene does not say its platform.
    """
    if to not in HARMONISATIONS:
        raise ValueError(f"harmonise must be one of {', '.join(HARMONISATIONS)}, got {to!r}")
    if to == "none":
        return dict(item)
    platform = item.get("platform") or ""
    if why := no_line(platform, sensor=sensor, to=to):
        raise ValueError(f"scene {item['id']}: {why}; search again, which leaves such scenes out")
    if platform in REFERENCE and sensor.startswith("landsat"):
        return {**item, "unchanged": []}
    by_role = published_lines()[sensor, platform, to]
    bands = {role: _seen_by(band, by_role[role]) if role in by_role else band for role, band in item["bands"].items()}
    return {**item, "bands": bands, "unchanged": [role for role in bands if role not in by_role]}


def no_line(platform: str, *, sensor: str, to: str) -> str:
    """Why a platform's scenes cannot be harmonised, in words; nothing where they can, or where nothing is asked for."""
    lines = published_lines()
    if to == "none":
        return ""
    if sensor not in sensors_harmonised():
        return f"harmonise: there are no published lines for {sensor}; there are for {', '.join(sensors_harmonised())}"
    known = {name for one, name, target in lines if one == sensor and target == to}
    known |= set(REFERENCE) if sensor.startswith("landsat") else set()
    if platform in known:
        return ""
    return (
        f"it is of {platform or 'a platform that it does not name'}, for which there are no published lines to {to} "
        f"(there are for {', '.join(sorted(known))}); harmonise: none would use it as it is"
    )


def mixed_generations(items: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many frozen scenes are of each instrument, where they are of several whose bands differ; else nothing."""
    counts: dict[str, int] = {}
    for item in items:
        if (instrument := GENERATIONS.get(item.get("platform") or "")) is not None:
            counts[instrument] = counts.get(instrument, 0) + 1
    return dict(sorted(counts.items())) if len(counts) > 1 else {}


def _seen_by(band: Mapping[str, Any], line: Line) -> dict[str, Any]:
    """A band whose encoding has the line built in."""
    return {**band, "scale": line.slope * band["scale"], "offset": line.slope * band["offset"] + line.offset}
