"""Units that field tables come in, and what brings them to the unit in a column's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from catalogs import tables

if TYPE_CHECKING:
    import pandas as pd

ACRE_HA = 0.40468564224
FOOT_M = 0.3048
POUND_MG = 0.45359237e-3
UNITS: dict[str, dict[str, float]] = {
    "cm": {"cm": 1, "mm": 0.1, "dm": 10, "m": 100, "inch": 2.54, "ft": 100 * FOOT_M},
    "m": {"m": 1, "dm": 0.1, "cm": 0.01, "mm": 0.001, "ft": FOOT_M, "us-ft": 1200 / 3937, "inch": 0.0254},
    "ha": {"ha": 1, "m2": 1e-4, "are": 0.01, "mu": 1 / 15, "acre": ACRE_HA, "km2": 100, "ft2": FOOT_M**2 * 1e-4},
    "m3": {"m3": 1, "dm3": 1e-3, "litre": 1e-3, "cm3": 1e-6, "ft3": FOOT_M**3},
    "g_cm3": {"g/cm3": 1, "kg/m3": 1e-3, "t/m3": 1, "lb/ft3": POUND_MG / FOOT_M**3},
    "m2_ha": {"m2/ha": 1, "ft2/acre": FOOT_M**2 / ACRE_HA},
    "m3_ha": {"m3/ha": 1, "m3/mu": 15, "ft3/acre": FOOT_M**3 / ACRE_HA},
    "mg_ha": {
        "Mg/ha": 1, "t/ha": 1, "kg/ha": 1e-3, "kg/m2": 10, "g/m2": 0.01, "t/mu": 15, "lb/acre": POUND_MG / ACRE_HA,
        "short ton/acre": 2000 * POUND_MG / ACRE_HA,
    },
    "n_ha": {"1/ha": 1, "1/mu": 15, "1/acre": 1 / ACRE_HA, "1/m2": 1e4},
    "per_ha": {"1/ha": 1, "1/mu": 15, "1/acre": 1 / ACRE_HA, "1/m2": 1e4},
    "deg": {"degree": 1, "gon": 0.9, "percent": np.nan},
    "share": {"1": 1, "percent": 0.01},
}  # fmt: skip
"""What one of a unit is in the unit at the end of a column's name. A slope in percent is a tangent, so no factor.

The international foot, acre and pound (NIST Handbook 44, appendix C); 15 mu are a hectare; 400 gon are a full turn.
"""


ALIASES = {
    "in": "inch", "inches": "inch", "feet": "ft", "foot": "ft", "m²": "m2", "m³": "m3", "sqm": "m2", "hectare": "ha",
    "acres": "acre", "亩": "mu", "公顷": "ha", "厘米": "cm", "毫米": "mm", "米": "m", "%": "percent", "degrees": "degree",
    "deg": "degree", "°": "degree", "gr": "gon", "grad": "gon", "trees/acre": "1/acre", "trees/ha": "1/ha",
}  # fmt: skip
"""Other ways of writing a unit, as headers, tables of equations and foresters do."""


def units_of(column: str) -> dict[str, float]:
    """The units a column of ours may come in; empty for what has none (names, dates, codes)."""
    bare = column.removesuffix("_se")
    for ending in sorted(UNITS, key=len, reverse=True):
        if bare.endswith(f"_{ending}"):
            return UNITS[ending]
    return {}


def named_unit(written: str, known: Mapping[str, float]) -> str:
    """A unit as it is called here, whatever its capitals and its plural; one that is not `known` stays as it is."""
    lowered = {name.lower(): name for name in known}
    plain = written.strip().lower()
    return lowered.get(plain) or lowered.get(ALIASES.get(plain, ""), written)


def converted(values: pd.Series, unit: str | None, *, setting: str) -> pd.Series:
    """Numbers of a column of ours brought from the unit that the configuration names to the one in its name."""
    if unit is None:
        return values
    known = units_of(str(values.name))
    unit = named_unit(unit, known)
    if unit not in known:
        offered = f"known are {', '.join(known)}" if known else "it is not a column with a unit"
        raise ValueError(f"{setting}.{values.name}: {unit!r} is no unit of it{tables.nearest(unit, known)}; {offered}")
    if unit == "percent" and np.isnan(known[unit]):
        return np.degrees(np.arctan(values / 100)).rename(values.name)
    return values * known[unit]


def check_units(units: Mapping[str, str], *, known: tuple[str, ...], setting: str) -> None:
    """Every key is a column of ours, and its unit one that the column may have."""
    import pandas as pd

    for column, unit in units.items():
        if column not in known:
            raise ValueError(f"{setting}.{column} is not a column we use{tables.nearest(column, known)}")
        converted(pd.Series([], dtype="float64", name=column), unit, setting=setting)
