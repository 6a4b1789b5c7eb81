"""Composites: one clear image from the looks at a place in a season. `REDUCERS` lists the ways; `@reducer` adds one."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

log = logging.getLogger(__name__)

Image = dict[str, np.ndarray]


class Look(Protocol):
    """What `Observations` needs of one scene; `catalogs.scenes.Look` is one."""

    scene: str
    numbers: dict[str, np.ndarray]
    encoding: dict[str, tuple[float, float]]
    seen: np.ndarray
    limits: tuple[float, float]
    cloud_distance_m: np.ndarray | None


@dataclass(frozen=True)
class Reducer:
    """A declared way from observations to one value per band. `cloud_distance`: whether it asks how far clouds are."""

    name: str
    function: Callable[[Observations], Image]
    title: str
    reference: str
    cloud_distance: bool = False


REDUCERS: dict[str, Reducer] = {}
"""What turns the observations of a pixel into one value, by name."""


def reducer(
    *, reference: str = "", cloud_distance: bool = False
) -> Callable[[Callable[[Observations], Image]], Callable[[Observations], Image]]:
    """Declare a function of `Observations` as a reducer under its own name; its docstring's first sentence is its title."""

    def declare(function: Callable[[Observations], Image]) -> Callable[[Observations], Image]:
        title = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        REDUCERS[function.__name__] = Reducer(function.__name__, function, title, reference, cloud_distance)
        return function

    return declare


class Observations:
    """Clear observations of a window, band by band: what reducers reduce.

    An observation is one overpass. It counts only where every band has a value, so that all bands of a pixel come from
    the same dates. `count` (rows, cols, int16) says how many there are; `days_from_target` (dates) is the distance of
    each to the target day.

    Digital numbers stay whole numbers (int16) where the files' pixels are the grid's own and their encodings differ by
    whole numbers, else they are float32. Both go through the same loops and give the same result.
    """

    def __init__(self, roles: Sequence[str], shape: tuple[int, int], days_from_target: Sequence[float]) -> None:
        self.roles, self.shape = tuple(roles), shape
        self.days_from_target = np.asarray(days_from_target, "float64")
        self.count = np.zeros(shape, "int16")
        self._bands: dict[str, _Gathered] = {}
        self._stacks: dict[str, np.ndarray] = {}
        self._cloud_distance_m: np.ndarray | None = None
        self._quantiles: dict[float, Image] = {}
        self._cube: np.ndarray | None = None

    @classmethod
    def of_looks(
        cls,
        groups: Sequence[Sequence[Look]],
        roles: Sequence[str],
        *,
        days_from_target: Sequence[float] | None = None,
    ) -> Observations:
        """Observations from looks, each group one overpass; of several granules the first that sees a pixel counts."""
        looks = [look for group in groups for look in group]
        days = [0.0] * len(groups) if days_from_target is None else days_from_target
        seen = cls(roles, looks[0].seen.shape, days)
        shared = [_shared_out(group) for group in groups]
        takes = [take for group in shared for take in group]
        dates = [date for date, group in enumerate(groups) for _ in group]
        for take in takes:
            seen.count += take
        for role in roles:
            seen._bands[role] = seen._gather(role, looks, takes, dates)
        if all(look.cloud_distance_m is not None for look in looks):
            seen._cloud_distance_m = np.zeros((len(groups), *seen.shape), "float32")
            for look, take, date in zip(looks, takes, dates, strict=True):
                seen._cloud_distance_m[date][take] = look.cloud_distance_m[take]
        return seen

    @classmethod
    def of_arrays(
        cls, stack: Mapping[str, np.ndarray], *, cloud_distance_m: np.ndarray | None = None, **options: Any
    ) -> Observations:
        """Observations from reflectance (dates, rows, cols) by role, missing NaN."""
        roles = list(stack)
        valid = np.logical_and.reduce([~np.isnan(array) for array in stack.values()])
        looks = [
            _Plain(
                scene=str(date),
                numbers={role: stack[role][date] for role in roles},
                encoding=dict.fromkeys(roles, (1.0, 0.0)),
                seen=valid[date],
                cloud_distance_m=None if cloud_distance_m is None else cloud_distance_m[date],
            )
            for date in range(len(valid))
        ]
        return cls.of_looks([[look] for look in looks], roles, **options)

    def _gather(self, role: str, looks: Sequence[Look], takes: Sequence[np.ndarray], dates: Sequence[int]) -> _Gathered:
        """The band's looks in one encoding for all dates."""
        common = _common_encoding([look.encoding[role] for look in looks])
        scale, base, shifts = common or (1.0, 0.0, [0.0] * len(looks))
        numbers = [look.numbers[role] for look in looks]
        whole = common is not None and all(
            values.dtype == numbers[0].dtype
            and values.dtype.kind in "iu"
            and look.limits[0] + shift >= -32767
            and look.limits[1] + shift <= 32767
            for values, look, shift in zip(numbers, looks, shifts, strict=True)
        )
        if common is None:
            numbers = [_as_reflectance(look, role) for look in looks]
        elif not whole:
            numbers = [values.astype("float32", copy=False) for values in numbers]
        return _Gathered(
            [np.ascontiguousarray(values) for values in numbers],
            [np.ascontiguousarray(take) for take in takes],
            np.array(shifts, "int32" if whole else "float32"),
            np.array(dates),
            np.int16(-32768) if whole else np.float32(-np.inf),
            scale,
            base,
        )

    def _stack(self, role: str) -> np.ndarray:
        """The band's observations (rows, dates, cols), for what looks at them date by date."""
        from pipeline.optical.kernels import stacked

        if role not in self._stacks:
            gathered, (rows, cols) = self._bands[role], self.shape
            stack = np.empty((rows, len(self.days_from_target), cols), gathered.missing.dtype)
            stacked(*gathered.in_place(), stack)
            self._stacks[role] = stack
        return self._stacks[role]

    def quantile(self, share: float) -> Image:
        """Quantile of type 7 (linear between order statistics; Hyndman and Fan 1996) by role, float32 (rows, cols)."""
        from pipeline.optical import kernels

        if share not in self._quantiles:
            dates = len(self.days_from_target)
            network, ranks = _network(dates), kernels.ranks(dates, share)
            image = {}
            for role, band in self._bands.items():
                image[role] = np.empty(self.shape, "float32")
                kernels.quantile(*band.in_place(), self.count, network, *ranks, band.scale, band.base, image[role])
            self._quantiles[share] = image
        return self._quantiles[share]

    def mean(self) -> Image:
        """Mean by role, float32 (rows, cols)."""
        from pipeline.optical import kernels

        image = {}
        for role, band in self._bands.items():
            image[role] = np.empty(self.shape, "float32")
            kernels.mean(self._stack(role), self.count, band.missing, band.scale, band.base, image[role])
        return image

    def of_date(self, chosen: np.ndarray) -> Image:
        """The observation with index `chosen` (rows, cols; -1 none) of each pixel, by role, float32 (rows, cols)."""
        from pipeline.optical import kernels

        image = {}
        for role, band in self._bands.items():
            image[role] = np.empty(self.shape, "float32")
            kernels.pick(self._stack(role), chosen, band.scale, band.base, image[role])
        return image

    @property
    def reflectance(self) -> np.ndarray:
        """All bands and dates (bands, rows, dates, cols), float32, missing NaN: for what looks at them together."""
        if self._cube is None:
            rows, cols = self.shape
            self._cube = np.empty((len(self.roles), rows, len(self.days_from_target), cols), "float32")
            for number, role in enumerate(self.roles):
                stack, band = self._stack(role), self._bands[role]
                self._cube[number] = np.where(stack == band.missing, np.nan, band.base + band.scale * stack.astype("float64"))
        return self._cube

    def reflectance_of(self, role: str, rows: slice) -> np.ndarray:
        """A band of some rows at all dates (dates, rows, cols), float32, missing NaN."""
        stack, band = self._stack(role)[rows], self._bands[role]
        values = np.float32(band.base) + np.float32(band.scale) * stack.swapaxes(0, 1).astype("float32")
        values[stack.swapaxes(0, 1) == band.missing] = np.nan
        return np.ascontiguousarray(values)

    @property
    def cloud_distance_m(self) -> np.ndarray:
        """Metres to the nearest cloud or shadow (dates, rows, cols), float32."""
        if self._cloud_distance_m is None:
            raise ValueError("a reducer asks for distances to clouds, which are not given: it must declare cloud_distance")
        return self._cloud_distance_m


@dataclass(frozen=True)
class _Plain:
    """A look made of arrays."""

    scene: str
    numbers: dict[str, np.ndarray]
    encoding: dict[str, tuple[float, float]]
    seen: np.ndarray
    limits: tuple[float, float] = (-np.inf, np.inf)
    cloud_distance_m: np.ndarray | None = None


@dataclass(frozen=True)
class _Gathered:
    """One band of all looks: reflectance = base + scale x (number + shift), missing where a look is not taken."""

    numbers: list[np.ndarray]
    takes: list[np.ndarray]
    shift: np.ndarray
    date_of: np.ndarray
    missing: np.int16 | np.float32
    scale: float
    base: float

    def in_place(self) -> tuple:
        """What the loops of `kernels` read looks by."""
        from pipeline.optical.kernels import addresses

        return addresses(self.numbers), self.numbers[0], addresses(self.takes), self.shift, self.date_of, self.missing


def _as_reflectance(look: Look, role: str) -> np.ndarray:
    scale, offset = look.encoding[role]
    return np.float32(offset) + np.float32(scale) * look.numbers[role].astype("float32")


def _shared_out(group: Sequence[Look]) -> list[np.ndarray]:
    """Which pixels each granule of an overpass gives: those it sees and none before it did."""
    if len(group) == 1:
        return [group[0].seen]
    takes, taken = [], np.zeros_like(group[0].seen)
    for look in group:
        takes.append(look.seen & ~taken)
        taken |= look.seen
    return takes


def _common_encoding(encodings: Sequence[tuple[float, float]]) -> tuple[float, float, list[float]] | None:
    """Scale, base and the shift of each look, so that reflectance = base + scale x (number + shift) for all of them.

    Offsets that are whole numbers of the scale (Sentinel-2: -0.1 = -1000 x 0.0001) become shifts, which keeps numbers
    whole. None where looks have nothing in common: they are brought together as reflectance.
    """
    scale, offset = encodings[0]
    if any(other != scale for other, _ in encodings):
        return None
    steps = [other / scale for _, other in encodings]
    if all(abs(step - round(step)) < 1e-6 for step in steps):
        return scale, 0.0, [float(round(step)) for step in steps]
    return (scale, offset, [0.0] * len(encodings)) if len(set(encodings)) == 1 else None


_NETWORKS: dict[int, np.ndarray] = {}


def _network(dates: int) -> np.ndarray:
    from pipeline.optical.kernels import sorting_network

    if dates not in _NETWORKS:
        _NETWORKS[dates] = sorting_network(dates)
    return _NETWORKS[dates]


# ---------------------------------------------------------------- the reducers


@reducer()
def median(seen: Observations) -> Image:
    """Middle observation of each band, or the mean of the two in the middle."""
    return seen.quantile(0.5)


@reducer()
def mean(seen: Observations) -> Image:
    """Mean of the observations of each band."""
    return seen.mean()


@reducer(reference="Hyndman and Fan 1996, doi:10.2307/2684934 (type 7)")
def p10(seen: Observations) -> Image:
    """10th percentile of each band."""
    return seen.quantile(0.1)


@reducer(reference="Hyndman and Fan 1996, doi:10.2307/2684934 (type 7)")
def p50(seen: Observations) -> Image:
    """50th percentile of each band: the median."""
    return seen.quantile(0.5)


@reducer(reference="Hyndman and Fan 1996, doi:10.2307/2684934 (type 7)")
def p90(seen: Observations) -> Image:
    """90th percentile of each band."""
    return seen.quantile(0.9)


@reducer(reference="Hyndman and Fan 1996, doi:10.2307/2684934 (type 7)")
def amplitude(seen: Observations) -> Image:
    """90th less 10th percentile of each band: how much the season changes it."""
    low, high = seen.quantile(0.1), seen.quantile(0.9)
    return {role: high[role] - low[role] for role in seen.roles}


@reducer(reference="Flood 2013, doi:10.3390/rs5126481")
def medoid(seen: Observations) -> Image:
    """The observation nearest to all others over all bands; the earliest of equals."""
    from pipeline.optical import kernels

    chosen = np.empty(seen.shape, "int16")
    kernels.medoid(seen.reflectance, chosen)
    return seen.of_date(chosen)


GEOMETRIC_MEDIAN_TOLERANCE = 1e-7
"""Reflectance: a thousandth of what a file keeps (1e-4), because steps shorten before the answer is reached."""

GEOMETRIC_MEDIAN_STEPS = 500


@reducer(
    reference="Roberts et al. 2017, doi:10.1109/TGRS.2017.2723896; Vardi and Zhang 2000, doi:10.1073/pnas.97.4.1423"
)
def geometric_median(seen: Observations) -> Image:
    """The point of least summed distance to the observations over all bands."""
    from pipeline.optical import kernels

    out = np.empty((len(seen.roles), *seen.shape), "float32")
    unsettled = kernels.geometric_median(
        seen.reflectance, GEOMETRIC_MEDIAN_TOLERANCE, GEOMETRIC_MEDIAN_STEPS, out
    )
    if unsettled:
        log.warning("the geometric median of %d pixels did not settle in %d steps", unsettled, GEOMETRIC_MEDIAN_STEPS)
    return dict(zip(seen.roles, out, strict=True))


DAY_SD = 30.0
"""Days from the target at which a date's score has fallen to 0.61; the width is our choice."""

CLOUD_PIXEL_M, CLOUD_SLOPE, CLOUD_REACH_PX = 30.0, 0.2, 50.0
"""Griffiths et al. 2013, in Landsat pixels: the score rises around half of the distance beyond which clouds are far."""

SCORE_WEIGHTS = {"day": 1.0, "cloud": 1.0}
"""White et al. 2014 add their scores up."""


@reducer(
    reference="White et al. 2014, doi:10.1080/07038992.2014.945827; Griffiths et al. 2013, doi:10.1109/JSTARS.2012.2228167",
    cloud_distance=True,
)
def best_available_pixel(seen: Observations) -> Image:
    """The observation with the highest score: near the target day and far from clouds; the earliest of equals."""
    from pipeline.optical import kernels

    day = np.exp(-0.5 * (seen.days_from_target / DAY_SD) ** 2)
    away_px = np.minimum(seen.cloud_distance_m / CLOUD_PIXEL_M, CLOUD_REACH_PX)
    cloud = 1 / (1 + np.exp(-CLOUD_SLOPE * (away_px.astype("float64") - CLOUD_REACH_PX / 2)))
    score = SCORE_WEIGHTS["day"] * day[:, None, None] + SCORE_WEIGHTS["cloud"] * cloud
    chosen = np.empty(seen.shape, "int16")
    kernels.best(score, seen.reflectance, chosen)
    return seen.of_date(chosen)


# ---------------------------------------------------------------- from observations to an image


def reducers_named(names: str | Sequence[str]) -> list[Reducer]:
    """The reducers that a setting names, one or several.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in REDUCERS:
            near = difflib.get_close_matches(name, REDUCERS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name!r} is not a reducer{hint}; known: {', '.join(REDUCERS)}")
    return [REDUCERS[name] for name in names]


def band_names(roles: Sequence[str], reducers: str | Sequence[str]) -> list[str]:
    """Bands of a composite: `red` for the first reducer, `red_p10` for others, and `clear_count`."""
    others = reducers_named(reducers)[1:]
    return [*roles, *(f"{role}_{other.name}" for other in others for role in roles), "clear_count"]


def reduce(seen: Observations, reducers: str | Sequence[str], *, min_clear_count: int = 1) -> Image:
    """One image from observations: the bands of `band_names`, float32, missing NaN, and `clear_count` as int16.

    Pixels with fewer than `min_clear_count` observations are missing.
    """
    enough = seen.count >= max(min_clear_count, 1)
    whole = bool(enough.all())
    image = {}
    for nth, one in enumerate(reducers_named(reducers)):
        for role, values in one.function(seen).items():
            name = f"{role}_{one.name}" if nth else role
            image[name] = values if whole else np.where(enough, values, np.float32(np.nan)).astype("float32", copy=False)
    image["clear_count"] = seen.count
    return image


def compose(
    stack: Mapping[str, np.ndarray],
    reducer: str | Sequence[str] = "median",
    *,
    min_clear_count: int = 1,
    days_from_target: Sequence[float] | None = None,
    cloud_distance_m: np.ndarray | None = None,
) -> Image:
    """One image per band from clear observations, and how many there were.

    Parameters
    ----------
    stack : mapping of role to float32 array (dates, rows, cols)
        Reflectance, missing NaN. An observation counts only where every band has one, so that all bands of a pixel
        come from the same dates.
    reducer : str or sequence of str
        Names in `REDUCERS`; the bands of those after the first carry their names (`red_p10`).
    min_clear_count : int
        Pixels with fewer observations are missing.
    days_from_target : sequence of float, optional
        Days of each date from the target day.
    cloud_distance_m : array (dates, rows, cols), optional
        Metres to the nearest cloud or shadow; both are for `best_available_pixel`.

    Returns
    -------
    dict of band to float32 array (rows, cols), and `clear_count` as int16

    Raises
    ------
    ValueError
        For an unknown reducer, an empty stack or bands of different shapes.
    """
    reducers_named(reducer)
    shapes = {array.shape for array in stack.values()}
    if len(shapes) != 1 or not next(iter(shapes))[0]:
        raise ValueError(f"a composite needs bands of one shape and at least one date, got shapes {sorted(shapes)}")
    plain = {role: np.ascontiguousarray(array, "float32") for role, array in stack.items()}
    seen = Observations.of_arrays(plain, days_from_target=days_from_target, cloud_distance_m=cloud_distance_m)
    return reduce(seen, reducer, min_clear_count=min_clear_count)
