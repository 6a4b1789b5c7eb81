"""What is asked of a catalogue: an area, years and a season, which may wrap the new year."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from catalogs.footprints import Area
from catalogs.sensors import Sensor

Bounds = tuple[float, float, float, float]


class Asked(NamedTuple):
    """The part of the question that selects items."""

    area: Area
    years: tuple[int, ...]
    season: tuple[str, str]
    max_cloud_percent: float


def season_year(moment: dt.datetime | None, years: Sequence[int], season: tuple[str, str]) -> int | None:
    """The year whose season holds a moment, or None."""
    if moment is None:
        return None
    return next((year for year in years if first_day(year, season) <= moment.date() <= last_day(year, season)), None)


def first_day(year: int, season: tuple[str, str]) -> dt.date:
    """First day of a season (month and day of its ends) that belongs to a year."""
    return _day(year, season[0])


def last_day(year: int, season: tuple[str, str]) -> dt.date:
    """Last day of a season of a year; of a season across new year it lies in the year after."""
    return _day(year + (season[1] < season[0]), season[1])


def _day(year: int, month_day: str) -> dt.date:
    month, day = map(int, month_day.split("-"))
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))


def spans(asked: Asked, sensor: Sensor) -> list[str | None]:
    """What to ask for as `datetime`: each year's season, or any time for what never changes."""
    if sensor.static:
        return [None]
    return [
        f"{first_day(year, asked.season)}T00:00:00Z/{last_day(year, asked.season)}T23:59:59Z" for year in asked.years
    ]
