"""The feature stack: the one function that makes predictors, for training and for estimation alike."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.indicators import INDICATORS, called_here, compute, known_as
from pipeline.indicators.registry import family

if TYPE_CHECKING:
    import numpy as np

    from pipeline.lidar.metrics import Metric

Sensors = Mapping[str, Collection[str]]
"""Band roles that each sensor of the study offers, by its predictor prefix: {"s2": ("red", "nir08", ...)}."""

LIDAR_DEFAULTS = ("zmean", "zmean_2m", "zq95", "cover_2m")
"""How high the canopy stands (mean and top) and how much of the ground it covers, which diameters and stems follow; and the
product of the two, which the mean of all returns is and biomass follows."""

SATELLITE_DEFAULTS = ("ndmi", "nbr", "ndre", "swir16", "ndvi", "vh_db", "vh_vv_ratio_db")
"""Water, wood against leaf and chlorophyll first: they saturate later than greenness. Of radar, volume scattering."""

SATELLITE_COUNT = 4


@dataclass(frozen=True)
class Needs:
    """What must be read for some predictors: bands by sensor prefix, lidar metrics, and pixels around the window."""

    roles: dict[str, tuple[str, ...]]
    metrics: tuple[str, ...]
    halo_px: int


def predictors(
    bands: Mapping[str, Mapping[str, np.ndarray]],
    lidar: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    seen_by: Mapping[str, str] | None = None,
    resolution_m: float | None = None,
) -> dict[str, np.ndarray]:
    """Predictors by name, from the bands of each sensor and the lidar metrics of a place.

    Parameters
    ----------
    bands : mapping of sensor prefix to {role: array}
        Composite reflectance, backscatter in linear power or elevation, missing NaN; any one shape, rows and columns for
        an indicator with a halo.
    lidar : mapping of metric name to array
    names : sequence of str
        `<prefix>_<indicator or band role>` or a lidar metric.
    seen_by : mapping of sensor prefix to instrument, optional
        What reflectance was brought to (`oli`), where it was.
    resolution_m : float, optional
        Side of a pixel, for indicators that measure on the ground.

    Returns
    -------
    dict of name to float32 array, in the order of `names`

    Raises
    ------
    ValueError
        For a name that is no predictor, or whose bands or metric are not given.
    """
    import numpy as np

    values = {}
    for name in names:
        prefix, what = split_name(name, bands)
        instrument = (seen_by or {}).get(prefix) if prefix else None
        if prefix is None:
            if name not in lidar:
                raise ValueError(_unknown(name, names, bands, lidar))
            values[name] = np.asarray(lidar[name], "float32")
        elif what in bands[prefix]:
            values[name] = np.asarray(bands[prefix][what], "float32")
        elif what in INDICATORS and INDICATORS[what].possible(prefix, bands[prefix], instrument):
            values[name] = compute(what, bands[prefix], sensor=prefix, seen_by=instrument, resolution_m=resolution_m)
        else:
            raise ValueError(_unknown(name, names, bands, lidar))
    return values


def required(
    names: Sequence[str],
    sensors: Sensors,
    *,
    metrics: Collection[str] | None = None,
    seen_by: Mapping[str, str] | None = None,
    resolution_m: float | None = None,
) -> Needs:
    """What must be read to make `names`.

    Parameters
    ----------
    metrics : collection of str, optional
        Lidar metrics on offer; None means all we can compute, an empty one that the study has no lidar.
    seen_by : mapping of sensor prefix to instrument, optional
        As `predictors` takes it: an indicator may take another band of what was brought to an instrument.
    resolution_m : float, optional
        Side of a pixel, for indicators whose reach is a distance on the ground.

    Raises
    ------
    ValueError
        For a name that the study's sensors and lidar cannot make, with the nearest that they can.
    """
    metrics = _all_metrics() if metrics is None else metrics
    roles: dict[str, list[str]] = {}
    wanted_metrics, halo_px = [], 0
    for name in names:
        prefix, what = split_name(name, sensors)
        if prefix is None:
            if name not in metrics:
                raise ValueError(_unknown(name, names, sensors, metrics))
            wanted_metrics.append(name)
            continue
        if what in sensors[prefix]:
            needed: tuple[str, ...] = (what,)
        elif what in INDICATORS:
            declared = INDICATORS[what]
            if declared.sensors and family(prefix) not in declared.sensors:
                raise ValueError(
                    f"predictor {name!r} is not for sensor {prefix!r}: {what} holds for {', '.join(declared.sensors)} alone"
                )
            needed = declared.roles(prefix, (seen_by or {}).get(prefix))
            halo_px = max(halo_px, declared.reach_px(resolution_m))
        else:
            raise ValueError(_unknown(name, names, sensors, metrics))
        for role in needed:
            if role not in sensors[prefix]:
                raise ValueError(
                    f"predictor {name!r} needs band {role!r}; sensor {prefix!r} offers {', '.join(sensors[prefix])}"
                )
            if role not in roles.setdefault(prefix, []):
                roles[prefix].append(role)
    return Needs({prefix: tuple(sorted(roles[prefix])) for prefix in sorted(roles)}, tuple(wanted_metrics), halo_px)


def default_predictors(sensors: Sensors, *, lidar: bool) -> dict[str, tuple[str, ...]]:
    """Predictor sets for a study that names none, the best first: few, and chosen by what they measure.

    `lidar` where there is any; `satellite` (the first sensor's) elsewhere.
    """
    sets = {"lidar": LIDAR_DEFAULTS} if lidar else {}
    for prefix, roles in sensors.items():
        possible = [name for name in SATELLITE_DEFAULTS if name in roles or _possible(name, prefix, roles)]
        if possible:
            return {**sets, "satellite": tuple(f"{prefix}_{name}" for name in possible[:SATELLITE_COUNT])}
    return sets


MOST_SHOWN = 40
"""Predictors that a sentence lists."""


def offered(sensors: Sensors, metrics: Collection[str]) -> list[str]:
    """Every predictor that some sensors and lidar metrics can make."""
    names = list(metrics)
    for prefix, roles in sensors.items():
        names += [f"{prefix}_{name}" for name in INDICATORS if _possible(name, prefix, roles)]
        names += [f"{prefix}_{role}" for role in roles]
    return names


def _possible(name: str, prefix: str, roles: Collection[str]) -> bool:
    return name in INDICATORS and INDICATORS[name].possible(prefix, roles)


def described(name: str, prefixes: Collection[str]) -> dict[str, str]:
    """Unit and title of a predictor; of a band of a composite its name and no unit but that of its composite."""
    prefix, what = split_name(name, prefixes)
    if prefix is None:
        metrics = _all_metrics()
        return {"units": metrics[name].units, "title": metrics[name].title} if name in metrics else {"units": "", "title": name}
    if what in INDICATORS:
        return {"units": INDICATORS[what].units, "title": INDICATORS[what].title}
    return {"units": "", "title": f"band {what} of the composite"}


def split_name(name: str, prefixes: Collection[str]) -> tuple[str | None, str]:
    """Sensor prefix and the rest of a predictor's name; None for what no sensor of the study makes.

    Of two prefixes that fit the longer is meant: `s2_leafoff_ndvi` is of `s2_leafoff` where the study has it.
    """
    fitting = [prefix for prefix in prefixes if name.startswith(f"{prefix}_") and len(name) > len(prefix) + 1]
    prefix = max(fitting, key=len, default=None)
    return (None, name) if prefix is None else (prefix, name[len(prefix) + 1 :])


def _unknown(name: str, names: Sequence[str], sensors: Sensors, metrics: Collection[str]) -> str:
    """Why there is no such predictor; of metrics of intensity all that are among `names`."""
    from pipeline.lidar.metrics import NO_INTENSITY, is_intensity

    if is_intensity(name):
        refused = [other for other in names if is_intensity(other) and split_name(other, sensors)[0] is None]
        return f"{', '.join(map(repr, refused))} {NO_INTENSITY}"
    known = offered(sensors, metrics)
    prefix, what = split_name(name, sensors)
    if answer := called_here(what):
        place = prefix or next(iter(sensors), "")
        instead = f": ask for {place}_{known_as(what)}" if place and known_as(what) else ""
        return f"{name!r} is not a predictor of this study, {answer}{instead}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    shown = ", ".join(known[:MOST_SHOWN]) + (f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else "")
    return f"{name!r} is not a predictor of this study{hint}; on offer: {shown or 'nothing'}"


def _all_metrics() -> Mapping[str, Metric]:
    from pipeline.lidar.metrics import METRICS

    return METRICS
