"""Radar composites: one image of linear power from the overpasses of a season."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.optical.composite import Image, compose
from pipeline.radar.speckle import SPECKLE, despeckle, looks_of

BORDER_M = 100.0
"""Width of the rim of an overpass that is not used.

Until 2018 the swath's border was no missing value but zeros or faint noise (ESA MPC-0243; Stasolla and
Neyt 2018, doi:10.3390/s18103454; microsoft/PlanetaryComputer issue 307). Zeros are missing here; what interpolation
mixed with them lies within a few pixels of them.
"""

KEPT_BITS = 10
"""Bits of the mantissa that files keep: steps of 0.1 % and an error of at most 0.0021 dB; the rest is noise to store."""


def border_px(resolution_m: float) -> int:
    """How far around a pixel `without_border` looks."""
    return math.ceil(BORDER_M / resolution_m) + 1


def reach_px(speckle: str, resolution_m: float) -> int:
    """How many pixels around a window a composite of it looks at."""
    return border_px(resolution_m) + SPECKLE[speckle].reach_px


def without_border(seen: np.ndarray, resolution_m: float) -> np.ndarray:
    """What an overpass shows (rows, cols, bool) less its rim of `BORDER_M`.

    A line of missing pixels, as between two slices of an overpass, and single ones are no border.
    """
    from pipeline.radar.kernels import missing_around

    half = border_px(resolution_m)
    return seen & (2 * missing_around(np.ascontiguousarray(seen), half) <= 3 * (2 * half + 1))


def compose_backscatter(
    overpasses: Sequence[Mapping[str, np.ndarray]],
    *,
    reducer: str | Sequence[str],
    speckle: str,
    resolution_m: float,
    min_clear_count: int = 1,
    days_from_target: Sequence[float] | None = None,
) -> Image:
    """One image per polarisation from the overpasses of a season, and how many there were.

    Borders are cut, speckle is filtered, and what remains is reduced date by date, all in linear power.

    Parameters
    ----------
    overpasses : sequence of {role: float32 array (rows, cols)}
        Backscatter as linear power, missing NaN, of a window `reach_px` wider on each side than what is wanted.
    reducer, min_clear_count, days_from_target
        As of `pipeline.optical.composite.compose`.
    speckle : str
        A filter in `pipeline.radar.speckle.SPECKLE`.
    resolution_m : float
        Side of a pixel.

    Returns
    -------
    dict of band to float32 array (rows - 2 reach, cols - 2 reach), and `clear_count` as int16
    """
    stack = {role: np.stack([one[role] for one in overpasses]).astype("float32", copy=False) for role in overpasses[0]}
    for date in range(len(overpasses)):
        seen = np.logical_and.reduce([np.isfinite(images[date]) for images in stack.values()])
        used = without_border(seen, resolution_m)
        for images in stack.values():
            images[date][~used] = np.nan
    halo = reach_px(speckle, resolution_m)
    looks = looks_of(resolution_m)
    inner = {}
    for role, images in stack.items():
        inner[role] = despeckle(images, speckle, looks=looks)[:, halo:-halo, halo:-halo]
    image = compose(inner, reducer, min_clear_count=min_clear_count, days_from_target=days_from_target)
    return {name: values if name == "clear_count" else kept_bits(values) for name, values in image.items()}


def first_seen(looks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One overpass from its slices (float32, missing NaN): at each pixel the first that shows all polarisations."""
    image = {role: values.copy() for role, values in looks[0].items()}
    for other in looks[1:]:
        unseen = np.logical_or.reduce([np.isnan(values) for values in image.values()])
        for role, values in image.items():
            values[unseen] = other[role][unseen]
    return image


def kept_bits(values: np.ndarray) -> np.ndarray:
    """Float32 rounded to `KEPT_BITS` of its 23 bits of mantissa, half to even; missing stays missing."""
    dropped = 23 - KEPT_BITS
    bits = np.ascontiguousarray(values, "float32").view("uint32")
    half = np.uint32((1 << (dropped - 1)) - 1) + ((bits >> np.uint32(dropped)) & np.uint32(1))
    rounded = ((bits + half) >> np.uint32(dropped) << np.uint32(dropped)).view("float32")
    return np.where(np.isfinite(values), rounded, values).astype("float32", copy=False)
