"""What the dates of a series say of an index, pixel by pixel: percentiles, amplitude, and the harmonic of a year.

Dates are only at hand while a composite is made, so a study names what it wants of them (`sensors.X.series`) and finds it as
bands of the composite: `ndvi_p90`, `ndvi_harmonic_phase`. `STATISTICS` lists what there is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.indicators import INDICATORS, called_here, compute, known_as
from pipeline.indicators.registry import BAND_KINDS
from pipeline.optical.composite import Observations

if TYPE_CHECKING:
    from pipeline.indicators import Indicator

Series = Mapping[str, Sequence[str]]
"""Statistics by index: {"ndvi": ["p10", "p90", "harmonic"]}."""

SLAB_ROWS = 64
"""Rows of an index that are held for all dates at a time: memory does not grow with the chunk."""

FINEST_SCALE, UNBOUNDED_SCALE = 1e-4, 1e-3
UNIT_SCALES = {"nm": 0.025, "degree": 0.01}
PHASE_SCALE_DAYS = 0.02


@dataclass(frozen=True)
class Statistic:
    """A declared statistic of an index. `bands` are what its names end with; `year_round` needs scenes of all seasons."""

    name: str
    bands: tuple[str, ...]
    title: str
    reference: str
    year_round: bool = False


_TYPE_7 = "Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566 (type 7)"
_PERCENTS = (10, 25, 50, 75, 90)

STATISTICS: dict[str, Statistic] = {
    **{f"p{percent}": Statistic(f"p{percent}", (f"p{percent}",), f"{percent}th percentile", _TYPE_7) for percent in _PERCENTS},
    "amplitude": Statistic("amplitude", ("amplitude",), "90th less 10th percentile", _TYPE_7),
    "harmonic": Statistic(
        "harmonic",
        ("harmonic_mean", "harmonic_amplitude", "harmonic_phase", "harmonic_trend"),
        "yearly wave: level on the target day, half its height, day of the year of its top, change of the level in a year",
        "Jakubauskas et al. 2001, Photogrammetric Engineering and Remote Sensing 67, 461-470; Zhu and Woodcock 2014, "
        "doi:10.1016/j.rse.2014.01.011",
        year_round=True,
    ),
}
"""What can be asked of an index over the dates."""


def series_bands(series: Series, *, years: int = 1) -> dict[str, tuple[str, str, str]]:
    """Bands that a series adds to a composite -> index, statistic and what of it. A trend takes more than one year."""
    return {
        f"{index}_{part}": (index, name, part)
        for index, names in series.items()
        for name in dict.fromkeys(names)
        for part in STATISTICS[name].bands
        if years > 1 or part != "harmonic_trend"
    }


def series_roles(series: Series, sensor: str, seen_by: str | None = None) -> list[str]:
    """Bands of a sensor (its predictor prefix; brought to an instrument) that the indices of a series are made of."""
    return sorted({role for index in series for role in INDICATORS[index].roles(sensor, seen_by)})


def units_and_scales(series: Series, *, years: int = 1) -> tuple[dict[str, str], dict[str, float]]:
    """Unit of each band of a series, and the step in which a file of whole numbers (int16) keeps it.

    An index without bounds is kept in steps of 0.001 up to 32.767 on either side; what lies beyond is missing.
    """
    units, scales = {}, {}
    for band, (index, _, part) in series_bands(series, years=years).items():
        declared = INDICATORS[index]
        phase = part == "harmonic_phase"
        per_year = " per year" if part == "harmonic_trend" else ""
        units[band] = "day" if phase else f"{declared.units}{per_year}"
        scales[band] = PHASE_SCALE_DAYS if phase else _scale(declared)
    return units, scales


def _scale(declared: Indicator) -> float:
    if declared.units in UNIT_SCALES:
        return UNIT_SCALES[declared.units]
    largest = max(map(abs, declared.valid_range))
    if not math.isfinite(largest):
        return UNBOUNDED_SCALE
    return max(FINEST_SCALE, 10.0 ** math.ceil(math.log10(largest / 32767)))


def problems_of(series: Series, sensor: str, roles: Collection[str], season_days: int, *, years: int = 1) -> list[str]:
    """A sentence for everything in a series that cannot be made for a sensor (its prefix and roles), none if all is well."""
    from pipeline.config import nearest

    found = []
    for index, names in series.items():
        declared = INDICATORS.get(index)
        if declared is None:
            other = called_here(index)
            hint = f"; {other}" if other else nearest(known_as(index) or index, INDICATORS)
            found.append(f"{index!r} is not an indicator{hint}")
        elif any(BAND_KINDS.get(band) for band in declared.bands):
            found.append(f"{index} is not made of reflectance: a series takes an index of optical bands")
        elif declared.looks_around():
            found.append(f"{index} looks at neighbours; a series takes an index of the pixel alone")
        elif not declared.possible(sensor, roles):
            needed = ", ".join(role for role in declared.roles(sensor) if role not in roles) or "another sensor"
            found.append(f"{index} cannot be made of {sensor}: it needs {needed}")
        for name in names:
            if name not in STATISTICS:
                found.append(f"{index}: {name!r} is not a statistic{nearest(name, STATISTICS)}; known: {', '.join(STATISTICS)}")
            elif STATISTICS[name].year_round and season_days < YEAR_ROUND_DAYS:
                found.append(
                    f"{index}: {name} needs scenes from the whole year, and the season has {season_days} days "
                    f"({YEAR_ROUND_DAYS} are needed)"
                )
        if not names:
            found.append(f"{index}: no statistic is named; known: {', '.join(STATISTICS)}")
    return found


YEAR_ROUND_DAYS = 240
"""Two thirds of a year: a season that is shorter leaves the other half of the wave to guessing."""


def statistics(
    seen: Observations,
    dates: Sequence[np.datetime64],
    series: Series,
    *,
    sensor: str,
    target: np.datetime64,
    years: int = 1,
    min_clear_count: int = 1,
    seen_by: str | None = None,
) -> dict[str, np.ndarray]:
    """The bands of `series_bands`, float32 (rows, cols), from the observations of a window.

    Parameters
    ----------
    seen : Observations
        Of the bands that the indices are made of.
    dates : sequence of datetime64
        Of each observation.
    sensor : str
        Predictor prefix, for indices whose coefficients differ by sensor.
    target : datetime64
        The day that the level of a harmonic with a trend is told for.
    years : int
        How many years the dates span; a harmonic of more than one has a trend.
    min_clear_count : int
        Pixels with fewer observations are missing. A harmonic needs two per parameter besides.
    seen_by : str, optional
        The instrument that reflectance was brought to.
    """
    wanted = series_bands(series, years=years)
    out = {name: np.full(seen.shape, np.nan, "float32") for name in wanted}
    for row0 in range(0, seen.shape[0], SLAB_ROWS):
        rows = slice(row0, min(row0 + SLAB_ROWS, seen.shape[0]))
        for index, names in series.items():
            bands = {role: seen.reflectance_of(role, rows) for role in INDICATORS[index].roles(sensor, seen_by)}
            values = compute(index, bands, sensor=sensor, seen_by=seen_by)
            for part, array in _parts(values, dates, names, target, years, min_clear_count).items():
                if f"{index}_{part}" in out:
                    out[f"{index}_{part}"][rows] = array
    return out


def _parts(
    values: np.ndarray, dates: Sequence[np.datetime64], names: Sequence[str], target: np.datetime64, years: int, fewest: int
) -> dict[str, np.ndarray]:
    """What is asked of an index (dates, rows, cols), by the end of its band's name."""
    from pipeline.indicators import phenology

    parts: dict[str, np.ndarray] = {}
    percents = [percent for percent in _PERCENTS if f"p{percent}" in names]
    if "amplitude" in names:
        percents = sorted({*percents, 10, 90})
    if percents:
        of_index = Observations.of_arrays({"index": values})  # sorted as bands are, for all columns at once
        enough = of_index.count >= max(fewest, 1)
        for percent in percents:
            parts[f"p{percent}"] = np.where(enough, of_index.quantile(percent / 100)["index"], np.float32(np.nan))
    if "amplitude" in names:
        parts["amplitude"] = parts["p90"] - parts["p10"]
    if "harmonic" in names:
        wave = phenology.harmonic(values, dates, trend=years > 1, min_count=_fewest(fewest, years))
        since = float((target - wave.reference_date) / np.timedelta64(1, "D")) / phenology.YEAR_DAYS
        parts["harmonic_mean"] = (wave.mean + wave.trend_per_year * since).astype("float32")
        parts["harmonic_amplitude"], parts["harmonic_phase"] = wave.amplitude, wave.phase_days
        parts["harmonic_trend"] = wave.trend_per_year
    return parts


def _fewest(min_clear_count: int, years: int) -> int:
    from pipeline.indicators.phenology import OBSERVATIONS_PER_PARAMETER

    return max(min_clear_count, OBSERVATIONS_PER_PARAMETER * (4 if years > 1 else 3))


def formula_modules(series: Series) -> tuple[str, ...]:
    """The modules whose text decides what a series comes to: a composite that asks for it is made again when they change."""
    own = (__name__, "pipeline.indicators.registry", "pipeline.indicators.kernels", "pipeline.indicators.phenology")
    return tuple(sorted({*own, *(INDICATORS[index].formula.__module__ for index in series)}))
