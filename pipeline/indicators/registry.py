"""What an indicator is: a formula whose argument names are the bands it needs, with unit, range and source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Indicator:
    """A declared formula. `halo_px` is how far around a pixel it looks: 0 for a formula of the pixel alone."""

    name: str
    formula: Callable[..., Any]
    bands: tuple[str, ...]
    units: str
    valid_range: tuple[float, float]
    reference: str
    title: str
    halo_px: int = 0


INDICATORS: dict[str, Indicator] = {}
"""Every indicator, by name."""


def indicator(
    *, units: str, valid_range: tuple[float, float], reference: str, halo_px: int = 0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a formula as an indicator under the function's name; its arguments name the bands.

    `valid_range` holds for reflectance from 0 to 1.
    """

    def declare(formula: Callable[..., Any]) -> Callable[..., Any]:
        name = formula.__name__
        title = (inspect.getdoc(formula) or "").split("\n\n")[0].replace("\n", " ")
        if not title:
            raise ValueError(f"indicator {name!r} needs a docstring: its first sentence is its title")
        if name in INDICATORS and INDICATORS[name].formula.__module__ != formula.__module__:
            raise ValueError(f"indicator {name!r} is declared twice")
        bands = tuple(inspect.signature(formula).parameters)
        INDICATORS[name] = Indicator(name, formula, bands, units, valid_range, reference, title, halo_px)
        return formula

    return declare


def compute(name: str, bands: Mapping[str, np.ndarray]) -> np.ndarray:
    """An indicator of reflectance arrays of any one shape (rows and columns for one with a halo).

    Reflectance below zero is an artefact of the atmospheric correction of dark surfaces and counts as zero, which
    keeps the indicator in its range. Missing in any band is missing in the result, and so is a division by zero.

    Returns
    -------
    float32 array
        Complete `halo_px` away from the edges of the input; nearer, what lies beyond counts as missing.

    Raises
    ------
    ValueError
        When an indicator with a halo is asked for values that have no neighbours.
    """
    import numpy as np

    declared = INDICATORS[name]
    if declared.halo_px and any(np.ndim(bands[role]) != 2 for role in declared.bands):
        raise ValueError(f"indicator {name!r} looks at neighbouring pixels and needs bands of rows and columns")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = declared.formula(*(np.maximum(np.asarray(bands[role], "float32"), 0) for role in declared.bands))
        return np.where(np.isfinite(values), values, np.nan).astype("float32")
