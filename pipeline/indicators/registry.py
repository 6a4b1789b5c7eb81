"""What an indicator is: a formula whose argument names are the bands it needs, with unit, range and source."""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BAND_KINDS: dict[str, str] = {
    "vv": "gamma0", "vh": "gamma0", "hh": "gamma0", "hv": "gamma0",
    "elevation": "elevation",
}  # fmt: skip
"""Kind of a band by its role; every role that is not here (the STAC common names of optics) is reflectance.

reflectance: 0 to 1; below zero, an artefact of the atmospheric correction of dark surfaces, counts as zero.
gamma0: radar backscatter in linear power, never decibels; zero or less, noise that was subtracted, is missing.
elevation: metres.
"""

STRIP_PX = 1 << 15
"""Pixels that a formula sees at a time, so that its intermediate arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Indicator:
    """A declared formula.

    `halo_px` (or `halo_m`, where it is a distance on the ground) is how far around a pixel it looks: 0 for a formula of
    the pixel alone. `sensors` are the predictor prefixes it holds for, empty for every sensor that offers its bands.
    `coefficients` are those of each sensor; `instead` names another role that serves an argument on a sensor. Keys of both are
    predictor prefixes; `s2:oli` is for what was brought to an instrument, where that differs.
    """

    name: str
    formula: Callable[..., Any]
    bands: tuple[str, ...]
    units: str
    valid_range: tuple[float, float]
    reference: str
    title: str
    halo_px: int = 0
    halo_m: float = 0.0
    sensors: tuple[str, ...] = ()
    coefficients: Mapping[str, Any] = field(default_factory=dict)
    instead: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    in_metres: bool = False

    def roles(self, sensor: str | None = None, seen_by: str | None = None) -> tuple[str, ...]:
        """Band roles that serve its arguments on a sensor (brought to an instrument), in their order."""
        other = self.instead.get(f"{family(sensor)}:{seen_by}", self.instead.get(family(sensor), {}))
        return tuple(other.get(band, band) for band in self.bands)

    def kinds(self) -> tuple[str, ...]:
        """Kinds of its bands, each once."""
        return tuple(dict.fromkeys(BAND_KINDS.get(band, "reflectance") for band in self.bands))

    def possible(self, sensor: str, roles: Collection[str], seen_by: str | None = None) -> bool:
        """Whether a sensor that offers these roles can make it."""
        return (not self.sensors or family(sensor) in self.sensors) and set(self.roles(sensor, seen_by)) <= set(roles)

    def looks_around(self) -> bool:
        return bool(self.halo_px or self.halo_m)

    def reach_px(self, resolution_m: float | None) -> int:
        """How many pixels around a pixel it looks at, on a grid of that resolution.

        Raises
        ------
        ValueError
            When it looks a distance on the ground and the resolution is not given.
        """
        if not self.halo_m:
            return self.halo_px
        if resolution_m is None:
            raise ValueError(f"indicator {self.name!r} looks {self.halo_m:g} m around and needs resolution_m")
        return max(self.halo_px, math.ceil(self.halo_m / resolution_m - 1e-9))

    @property
    def expression(self) -> str:
        """Its formula as text where it is one expression, read from the code itself; else nothing."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(self.formula)))
        except (OSError, TypeError, SyntaxError):
            return ""
        body = [part for part in tree.body[0].body if not _is_text(part)]
        if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            return ""
        text = ast.unparse(body[0].value).replace("np.", "")
        return "" if re.search(r"(?<!\w)_\w+\(", text) else text  # a private helper says nothing to a reader


def family(sensor: str | None) -> str:
    """The sensor's own prefix: a composite of several is called by it and a word of its own, `s2_leafoff` of `s2`."""
    return (sensor or "").partition("_")[0]


INDICATORS: dict[str, Indicator] = {}
"""Every indicator, by name."""

AMBIGUOUS: dict[str, str] = {
    "rvi": "rvi is two things: the ratio of near infrared and red (not offered; see ndvi) and the radar vegetation index, "
    "here rvi_dual_pol",
    "tci": "tci is three things: the triangular chlorophyll index (see mtci, ci_red_edge), the temperature condition index "
    "and the tasselled cap, here tc_brightness, tc_greenness, tc_wetness and tc_angle",
    "cci": "cci is the chlorophyll/carotenoid index, which needs ocean bands of MODIS, or the canopy chlorophyll index; "
    "neither is offered: see ci_red_edge, ndre, mtci",
    "bi": "bi is a brightness index or a bare soil index; the latter is bsi here, the former tc_brightness",
}
"""Names that mean several things in the literature, with what to ask for in their place."""


def indicator(
    *,
    units: str,
    valid_range: tuple[float, float],
    reference: str,
    halo_px: int = 0,
    halo_m: float = 0.0,
    sensors: tuple[str, ...] = (),
    coefficients: Mapping[str, Any] | None = None,
    instead: Mapping[str, Mapping[str, str]] | None = None,
    aliases: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a formula as an indicator under the function's name; its arguments name the bands.

    A formula that takes `resolution_m` by keyword is given the side of a pixel in metres; one that takes `coefficients`
    is given those of the sensor: `{"ls": ..., "ls:oli": ...}` has its own for reflectance that was brought to an instrument.
    `valid_range` holds for reflectance from 0 to 1, and for backscatter and
    elevations that exist. `aliases` are other names of the same thing, which only serve to answer who asks for them.
    """

    def declare(formula: Callable[..., Any]) -> Callable[..., Any]:
        name = formula.__name__
        title = (inspect.getdoc(formula) or "").split("\n\n")[0].replace("\n", " ")
        if not title:
            raise ValueError(f"indicator {name!r} needs a docstring: its first sentence is its title")
        if name in INDICATORS and INDICATORS[name].formula.__module__ != formula.__module__:
            raise ValueError(f"indicator {name!r} is declared twice")
        arguments = inspect.signature(formula).parameters.values()
        options = {one.name for one in arguments if one.kind is one.KEYWORD_ONLY}
        if ("coefficients" in options) != bool(coefficients):
            raise ValueError(f"indicator {name!r} needs coefficients both declared and taken by its formula, by keyword")
        INDICATORS[name] = Indicator(
            name=name,
            formula=formula,
            bands=tuple(one.name for one in arguments if one.name not in options),
            units=units,
            valid_range=valid_range,
            reference=reference,
            title=title,
            halo_px=halo_px,
            halo_m=halo_m,
            sensors=sensors or tuple(name for name in coefficients or () if ":" not in name),
            coefficients=coefficients or {},
            instead=instead or {},
            aliases=aliases,
            in_metres="resolution_m" in options,
        )
        return formula

    return declare


def known_as(name: str) -> str:
    """The indicator that goes by another name: of its aliases, or in other letters; nothing where there is none."""
    asked = name.lower()
    return next((one.name for one in INDICATORS.values() if asked == one.name or asked in one.aliases), "")


def called_here(name: str) -> str:
    """What to say to somebody who asks for an indicator by a name that is not ours; nothing where the name is unknown.

    Whoever asks for `ndii` gets "ndii is called ndmi here".
    """
    ours = known_as(name)
    if name.lower() in AMBIGUOUS:
        return AMBIGUOUS[name.lower()]
    return f"{name} is called {ours} here" if ours and ours != name else ""


def compute(
    name: str,
    bands: Mapping[str, np.ndarray],
    *,
    sensor: str | None = None,
    seen_by: str | None = None,
    resolution_m: float | None = None,
) -> np.ndarray:
    """An indicator of band arrays of any one shape (rows and columns for one that looks at neighbours).

    What counts as zero or as missing in a band follows from its kind: see `BAND_KINDS`. Missing in any band is missing
    in the result, and so is a division by zero.

    Parameters
    ----------
    bands : mapping of band role to array
    sensor : str, optional
        Predictor prefix of the sensor that the bands are of, for an indicator whose coefficients differ by sensor.
    seen_by : str, optional
        The instrument that reflectance was brought to (`oli`), for an indicator that has coefficients of it.
    resolution_m : float, optional
        Side of a pixel, for an indicator of distances on the ground.

    Returns
    -------
    float32 array
        Complete as far as the indicator's reach from the edges of the input; nearer, what lies beyond counts as missing.

    Raises
    ------
    ValueError
        When an indicator is asked for values that have no neighbours, or without the sensor or resolution it needs.
    """
    import numpy as np

    declared = INDICATORS[name]
    options = _options(declared, sensor, seen_by, resolution_m)
    roles = declared.roles(sensor, seen_by)
    arrays = [np.asarray(bands[role]) for role in roles]
    kinds = [BAND_KINDS.get(band, "reflectance") for band in declared.bands]
    if declared.looks_around() and any(array.ndim != 2 for array in arrays):
        raise ValueError(f"indicator {name!r} looks at neighbouring pixels and needs bands of rows and columns")
    found = np.empty(np.broadcast_shapes(*(array.shape for array in arrays)), "float32")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for part in [...] if declared.looks_around() else _strips(found.shape):
            values = declared.formula(*(_usable(array[part], kind) for array, kind in zip(arrays, kinds, strict=True)), **options)
            # Zero times infinity is missing and zero times a number is zero: the quickest way to turn infinity to missing.
            np.add(values, values * np.float32(0), out=found[part], casting="same_kind")
    return found


def _options(
    declared: Indicator, sensor: str | None, seen_by: str | None, resolution_m: float | None
) -> dict[str, Any]:
    """What the formula takes beside its bands."""
    options: dict[str, Any] = {}
    if declared.coefficients:
        if family(sensor) not in declared.coefficients:
            known = ", ".join(declared.sensors)
            raise ValueError(f"indicator {declared.name!r} has coefficients for {known}, not for {sensor or 'no sensor'}")
        own = declared.coefficients[family(sensor)]
        options["coefficients"] = declared.coefficients.get(f"{family(sensor)}:{seen_by}", own)
    if declared.in_metres:
        if resolution_m is None:
            raise ValueError(f"indicator {declared.name!r} measures on the ground and needs resolution_m")
        options["resolution_m"] = resolution_m
    return options


def _strips(shape: tuple[int, ...]) -> list[Any]:
    """Parts along the first axis, none of them much larger than a strip."""
    if not shape:
        return [...]
    step = max(1, STRIP_PX // max(1, math.prod(shape[1:])))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _usable(array: np.ndarray, kind: str) -> np.ndarray:
    """A band as formulas take it: float32, read-only, with what its kind does not allow as zero or missing."""
    import numpy as np

    values = np.asarray(array, "float32")
    if kind == "reflectance" and (values < 0).any():  # asking is cheaper than a copy that most places do not need
        values = np.maximum(values, np.float32(0))
    elif kind == "gamma0":
        values = np.where(values > 0, values, np.float32(np.nan))
    values = values.view()
    values.flags.writeable = False  # a formula that worked in place would change the bands of every other
    return values


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Import | ast.ImportFrom) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
