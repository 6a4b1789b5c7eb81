"""What pixels say about a scene's radiometry: where metadata leave two offsets possible, clear vegetation tells them apart.

Green leaves are dark in blue and red wherever they grow, and an offset of 0.1 is more than they reflect there: subtracted
twice it makes them negative, not subtracted at all it makes them brighter than any leaf. The pixels that are looked at are
chosen by what no offset changes: the class of the quality layer, and the difference of two bands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogs.sensors import Sensor

if TYPE_CHECKING:
    import numpy as np

    from catalogs.remote import Source

Bounds = tuple[float, float, float, float]

MIN_CONTRAST = 0.2
"""Near infrared minus red of the vegetation that is looked at: full green cover, whatever its offset."""

MAX_RED_OVER_BLUE = 0.04
"""Red minus blue of the vegetation that is looked at, where the scene has blue, whatever its offset: the spectrum of soil and of
dry grass rises from blue to red, that of green leaves hardly does. Medians in the four real scenes below: 0.019, 0.004, 0.020,
0.015. Without it, pale savanna with contrast would pass for forest that is too bright."""

MIN_PIXELS = 200
"""Fewer pixels of clear vegetation settle nothing."""

MEDIAN_RANGE = {"blue": (0.0, 0.09), "red": (0.01, 0.11), "nir": (0.15, 0.65)}
"""Medians that clear green vegetation can have.

Dark dense vegetation has red = half and blue = a quarter of its 2.1 um reflectance, which is 0.01 to 0.25 (Kaufman et al.
1997, doi:10.1109/36.628795). Measured with the contrast above, median blue / red / near infrared: evergreen tropical
forest, Landsat 8 Collection 2, Colombia 2019: 0.027 / 0.046 / 0.377; forest frontier, Landsat 8, Rondonia 2019: 0.024 /
0.028 / 0.301; alpine meadow with conifers, Sentinel-2 L2A, Barbellino 2017 and 2019: 0.062 / 0.082 / 0.411 and 0.055 /
0.070 / 0.400 (the bright end: sparse green on pale soil).
"""

MAX_NEGATIVE_SHARE = 0.01
"""Share of negative red over clear vegetation; measured in the four scenes above: none in 82 730 pixels."""

CLEAR_MEDIAN, CLEAR_NEGATIVE_SHARE = 0.02, 0.10
"""A radiometry is ruled out when it misses a range by this much or has this share of negatives, not by less."""

SAMPLE_PX = 512
"""Side of the decimated image that is looked at: one overview of a scene."""


class Sample(NamedTuple):
    """Numbers as stored, by role (blue where the scene has it, red, nir), of pixels that are valid and clear land."""

    numbers: dict[str, np.ndarray]
    seen: str


Sampler = Callable[[Mapping[str, Any], Sensor], Sample]
"""Looks at a scene (bands {role: href, nodata}, quality {href}); raises ValueError when its files cannot be read, which is
Unread where another try may read them."""


class Missing(ValueError):
    """A file of a scene is not there (404, 410), may not be opened or is no raster: another try would find it as little, and so
    would whoever maps it."""


class Unread(ValueError):
    """Pixels that could not be read this time, which says nothing of the scene."""


def settled(sensor: Sensor, candidates: Sequence[tuple[float, float]], sample: Sample) -> tuple[tuple[float, float], str]:
    """The one of several (scale, offset) that clear vegetation allows, and the numbers that say so.

    Raises
    ------
    ValueError
        When there is too little clear vegetation, or not exactly one candidate is possible and every other ruled out.
    """
    verdicts = [judged(candidate, sample) for candidate in candidates]
    if any(verdict.pixels < MIN_PIXELS for verdict in verdicts):
        raise ValueError(
            f"{min(verdict.pixels for verdict in verdicts)} pixels of clear vegetation in {sample.seen}, at least "
            f"{MIN_PIXELS} are needed to tell"
        )
    words = "; ".join(f"{verdict}" for verdict in verdicts)
    possible = [verdict for verdict in verdicts if verdict.possible]
    if len(possible) != 1 or not all(verdict.ruled_out for verdict in verdicts if not verdict.possible):
        raise ValueError(f"its pixels do not tell either: {words}")
    return candidates[verdicts.index(possible[0])], f"{possible[0].pixels} pixels of clear vegetation: {words}"


def checked(sensor: Sensor, chosen: tuple[float, float], sample: Sample) -> str:
    """What pixels say to the radiometry that metadata chose, in words.

    Metadata that agree with one another are overruled only by what cannot be: land or vegetation below zero, or another
    radiometry of the sensor that explains the pixels where this one does not. Vegetation that is merely brighter than forests are
    (haze, dry leaves) is kept, and the words say `doubtful`; too little of it tells nothing.

    Raises
    ------
    ValueError
        When clear vegetation rules it out.
    """
    verdict = judged(chosen, sample)
    if verdict.pixels < MIN_PIXELS:
        land = _median_red(chosen, sample)
        if land is not None and land <= -CLEAR_MEDIAN:
            raise ValueError(
                f"its pixels contradict its metadata: scale {chosen[0]:g} and offset {chosen[1]:g} make the median red of "
                f"{len(sample.numbers['red'])} pixels of clear land {land:.3f}, and land reflects no less than nothing"
            )
        return f"not checked: {verdict.pixels} pixels of clear vegetation in {sample.seen}"
    others = [other for other in sensor.radiometries if other != chosen and judged(other, sample).possible]
    if verdict.below_zero or (verdict.ruled_out and others):
        hint = f"; offset {others[0][1]:g} is possible" if others else ""
        raise ValueError(
            f"its pixels contradict its metadata, {verdict.pixels} pixels of clear vegetation: {verdict}{hint}"
        )
    odd = ", unlike forest but not impossible" if verdict.ruled_out else ""
    return f"checked on {verdict.pixels} pixels of clear vegetation: {verdict}{odd}"


def _median_red(candidate: tuple[float, float], sample: Sample) -> float | None:
    """What a (scale, offset) makes of all clear land, green or not; None of too few pixels. A scale of another product shows
    here, where it leaves no contrast to tell vegetation by."""
    import numpy as np

    red = sample.numbers["red"]
    return float(candidate[0] * np.median(red) + candidate[1]) if len(red) >= MIN_PIXELS else None


class Verdict(NamedTuple):
    """What one (scale, offset) makes of clear vegetation; `misses` is how far the worst median lies out of its range."""

    scale: float
    offset: float
    pixels: int
    medians: dict[str, float]
    negative: float
    misses: float

    @property
    def possible(self) -> bool:
        return self.misses <= 0 and self.negative < MAX_NEGATIVE_SHARE

    @property
    def ruled_out(self) -> bool:
        return self.misses >= CLEAR_MEDIAN or self.negative >= CLEAR_NEGATIVE_SHARE

    @property
    def below_zero(self) -> bool:
        """Whether it makes vegetation reflect less than nothing, by more than noise does."""
        return self.negative >= CLEAR_NEGATIVE_SHARE or any(median <= -CLEAR_MEDIAN for median in self.medians.values())

    def __str__(self) -> str:
        values = ", ".join(f"{role} {median:.3f}" for role, median in self.medians.items())
        return (
            f"offset {self.offset:g} makes {values}, {100 * self.negative:.1f} % negative "
            f"({'possible' if self.possible else 'ruled out' if self.ruled_out else 'doubtful'})"
        )


def judged(candidate: tuple[float, float], sample: Sample) -> Verdict:
    """What a (scale, offset) makes of the vegetation in a sample."""
    import numpy as np

    scale, offset = candidate
    numbers = {role: values.astype("float64") for role, values in sample.numbers.items()}
    green = (numbers["nir"] - numbers["red"]) * scale >= MIN_CONTRAST
    if "blue" in numbers:
        green &= (numbers["red"] - numbers["blue"]) * scale <= MAX_RED_OVER_BLUE
    pixels = int(green.sum())
    if not pixels:
        return Verdict(scale, offset, 0, {}, 0.0, 0.0)
    quantity = {role: scale * numbers[role][green] + offset for role in MEDIAN_RANGE if role in numbers}
    medians = {role: float(np.median(values)) for role, values in quantity.items()}
    misses = max(max(MEDIAN_RANGE[role][0] - m, m - MEDIAN_RANGE[role][1]) for role, m in medians.items())
    return Verdict(scale, offset, pixels, medians, float((quantity["red"] < 0).mean()), misses)


# ---------------------------------------------------------------- looking


def sample_scene(
    scene: Mapping[str, Any],
    sensor: Sensor,
    *,
    bounds: Bounds,
    crs: str,
    source: Source | None = None,
) -> Sample:
    """Clear land in a decimated image of a scene's part of the study area; of the whole scene where that holds too little.

    Parameters
    ----------
    scene : mapping
        `bands` {role: {href, nodata}} and `quality` {href}, to be opened from here.
    bounds, crs
        The study area.
    source : Source, optional
        Where the scene's hrefs come from, which decides what they may point to and how they are signed.

    Raises
    ------
    ValueError
        When the sensor has no quality layer, the scene lacks red or near infrared, or a file cannot be read; `Unread` where
        it may be read another time, `Missing` where its server says that it is not there.
    """
    import rasterio
    from rasterio.errors import RasterioError

    from catalogs import remote

    source = source or remote.Source()
    roles = {"blue": ("blue",), "red": ("red",), "nir": ("nir", "nir08")}
    found = {name: next((role for role in keys if role in scene["bands"]), None) for name, keys in roles.items()}
    if sensor.quality is None or found["red"] is None or found["nir"] is None:
        raise ValueError("its pixels cannot tell either: that takes a quality layer, red and near infrared")
    with rasterio.Env(**remote.options(source.provider)):
        for place in ((bounds, crs), None):
            try:
                sample = _clear_land(scene, sensor, {name: role for name, role in found.items() if role}, place, source)
            except (RasterioError, OSError, remote.RemoteError) as error:
                passing = isinstance(error, remote.RemoteError) and not isinstance(error, remote.Refused)
                kind = Missing if isinstance(error, remote.Gone | remote.Refused) else Unread if passing else ValueError
                raise kind(f"its pixels cannot be looked at: {_first_line(error)}") from None
            scale = sensor.radiometries[0][0]
            if judged((scale, 0.0), sample).pixels >= MIN_PIXELS:
                break
    return sample


def _clear_land(
    scene: Mapping[str, Any],
    sensor: Sensor,
    roles: Mapping[str, str],
    place: tuple[Bounds, str] | None,
    source: Source,
) -> Sample:
    """The numbers of all roles where every band is valid and the quality layer shows clear land."""
    import numpy as np

    from catalogs.remote import open_raster

    seen = "the scene" if place is None else "the study area"
    with ExitStack() as stack:
        quality = stack.enter_context(open_raster(scene["quality"]["href"], source))
        files = {name: stack.enter_context(open_raster(scene["bands"][role]["href"], source)) for name, role in roles.items()}
        box = _common_box([quality, *files.values()], place)
        if box is None:
            return Sample({name: np.zeros(0, "int64") for name in files}, seen)
        shape = _shape_of(files["red"], box)
        valid = sensor.quality.clear_land(_decimated(quality, box, shape))
        numbers = {name: _decimated(file, box, shape) for name, file in files.items()}
    low, high = sensor.valid_dn
    for name, role in roles.items():
        valid &= (numbers[name] >= low) & (numbers[name] <= high) & (numbers[name] != scene["bands"][role]["nodata"])
    return Sample({name: values[valid] for name, values in numbers.items()}, seen)


def _common_box(files: Sequence[Any], place: tuple[Bounds, str] | None) -> Bounds | None:
    """What all files show of a place, in their CRS; None when that is nothing."""
    from rasterio.warp import transform_bounds

    boxes = [file.bounds for file in files]
    if len({file.crs.to_wkt() for file in files if file.crs}) != 1 or not all(file.crs for file in files):
        raise ValueError("its pixels cannot be looked at: its files lie in different coordinate reference systems, or in none")
    if place is not None:
        boxes.append(transform_bounds(place[1], files[0].crs, *place[0]))
    west, south, east, north = zip(*boxes, strict=True)
    box = max(west), max(south), min(east), min(north)
    return box if box[0] < box[2] and box[1] < box[3] else None


def _shape_of(file: Any, box: Bounds) -> tuple[int, int]:
    """Rows and columns to read a box with: at most `SAMPLE_PX` a side, never finer than the file."""
    rows, cols = (box[3] - box[1]) / -file.transform.e, (box[2] - box[0]) / file.transform.a
    return min(SAMPLE_PX, max(1, int(rows))), min(SAMPLE_PX, max(1, int(cols)))


def _decimated(file: Any, box: Bounds, shape: tuple[int, int]) -> np.ndarray:
    from rasterio.enums import Resampling
    from rasterio.windows import from_bounds

    return file.read(1, window=from_bounds(*box, file.transform), out_shape=shape, resampling=Resampling.nearest)


def _first_line(error: Exception) -> str:
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0].split("?")[0][:300] if text else type(error).__name__
