"""How the quality layer of a scene lies on its bands, and how far a cloud reaches in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalogs.scenes.placing import Same, Scattered, Separable
from catalogs.scenes.profiles import Profile, Window


@dataclass(frozen=True)
class Plan:
    """How the files of a scene make a window of the grid.

    By the place of a kind of band: `samples` from its pixels to the grid's, `nearest` the rows and columns of the
    quality layer under its pixels. `around` is the quality layer's window with what may grow into it, `offsets` (n, 2)
    how far that is. Without a quality layer (`own` is None) there is neither.
    """

    around: Window | None
    offsets: np.ndarray
    samples: dict[str, Same | Separable | Scattered]
    nearest: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, layer: Profile | None, reach_m: float, kinds: Mapping[str, Profile], samples: Mapping[str, Any]) -> Plan:
        if layer is None:
            return cls(None, np.empty((0, 2), "int64"), dict(samples), {})
        places, own = {}, layer.transform
        for place, raster in kinds.items():
            window, band = samples[place].window, raster.transform
            rows = _nearest(band.f, band.e, window.row0, window.row1, own.f, own.e)
            places[place] = rows, _nearest(band.c, band.a, window.col0, window.col1, own.c, own.a)
        offsets = offsets_within(reach_m, *layer.pixel_m)
        down, right = offsets.max(axis=0, initial=0)
        around = Window(
            min(int(rows[0]) for rows, _ in places.values()) - down,
            max(int(rows[-1]) for rows, _ in places.values()) + 1 + down,
            min(int(cols[0]) for _, cols in places.values()) - right,
            max(int(cols[-1]) for _, cols in places.values()) + 1 + right,
        )
        nearest = {place: (rows - around.row0, cols - around.col0) for place, (rows, cols) in places.items()}
        return cls(around, offsets, dict(samples), nearest)


def _nearest(start: float, step: float, first: int, last: int, source_start: float, source_step: float) -> np.ndarray:
    """Source index under each pixel centre `first:last` of a line, nearest neighbour."""
    centres = start + step * (np.arange(first, last) + 0.5)
    return np.floor(np.round((centres - source_start) / source_step, 6)).astype("int64")


def offsets_within(distance_m: float, height_m: float, width_m: float) -> np.ndarray:
    """Rows and columns (n, 2) from a pixel to all others within a distance, centre to centre; none for distance 0."""
    reach_down, reach_right = math.floor(distance_m / height_m + 1e-6), math.floor(distance_m / width_m + 1e-6)
    within = [
        (down, right)
        for down in range(-reach_down, reach_down + 1)
        for right in range(-reach_right, reach_right + 1)
        if math.hypot(down * height_m, right * width_m) <= distance_m + 1e-6
    ]
    return np.array(within if distance_m > 0 else [], "int64").reshape(-1, 2)
