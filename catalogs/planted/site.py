"""Where the planted forest stands: its area, terrain, and the smooth random fields that vary over it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CELL_M = 5.0  # cell of the canvas on which ground cover and canopy are drawn
FIELD_CELL_M = 20.0  # cell of the smooth random fields, well below their ranges
MIN_SIDE_M = 600.0


@dataclass(frozen=True)
class Site:
    """The planted area, a rectangle of the study grid."""

    crs: str
    west_m: float
    north_m: float
    resolution_m: float
    rows: int
    cols: int

    @classmethod
    def of(cls, area: Mapping[str, Any]) -> Site:
        """The site of a mapping that holds at least the six values; other keys are ignored."""
        site = cls(**{name: area[name] for name in cls.__dataclass_fields__})
        if min(site.east_m - site.west_m, site.north_m - site.south_m) < MIN_SIDE_M:
            raise ValueError(
                f"the planted forest needs an area of at least {MIN_SIDE_M:g} x {MIN_SIDE_M:g} m, "
                f"got {site.east_m - site.west_m:g} x {site.north_m - site.south_m:g} m"
            )
        return site

    @property
    def east_m(self) -> float:
        return self.west_m + self.cols * self.resolution_m

    @property
    def south_m(self) -> float:
        return self.north_m - self.rows * self.resolution_m

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.west_m, self.south_m, self.east_m, self.north_m

    @property
    def area_ha(self) -> float:
        return (self.east_m - self.west_m) * (self.north_m - self.south_m) / 1e4

    def canvas_shape(self, cell_m: float = CELL_M) -> tuple[int, int]:
        """Rows and columns of cells of `cell_m` that cover the site from its upper-left corner."""
        return (
            int(np.ceil((self.north_m - self.south_m) / cell_m - 1e-9)),
            int(np.ceil((self.east_m - self.west_m) / cell_m - 1e-9)),
        )

    def canvas_cells(self, x: np.ndarray, y: np.ndarray, cell_m: float = CELL_M) -> np.ndarray:
        """Flat index of the cell in which each position (inside the site) lies."""
        rows, cols = self.canvas_shape(cell_m)
        row = np.clip(np.floor((self.north_m - y) / cell_m).astype(np.int64), 0, rows - 1)
        col = np.clip(np.floor((x - self.west_m) / cell_m).astype(np.int64), 0, cols - 1)
        return row * cols + col

    def canvas_centres(self, cell_m: float = CELL_M) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of the cells' centres: x as a row, y as a column, so that they broadcast."""
        rows, cols = self.canvas_shape(cell_m)
        x = self.west_m + (np.arange(cols) + 0.5) * cell_m
        y = self.north_m - (np.arange(rows) + 0.5) * cell_m
        return x[None, :], y[:, None]


def stream(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The random numbers of one purpose: independent of every other purpose, so that a new scene moves no tree."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])


@dataclass(frozen=True)
class Terrain:
    """Smooth hills as a sum of plane waves, so that elevation is known at any position without a grid."""

    kx: np.ndarray
    ky: np.ndarray
    phase: np.ndarray
    amplitude_m: np.ndarray
    base_m: float
    x0_m: float
    y0_m: float

    @classmethod
    def draw(cls, site: Site, seed: int) -> Terrain:
        """Hills of 0.9-2.6 km wavelength, slopes mostly below 25 degrees, elevations of about 200-500 m."""
        rng = stream(seed, "terrain")
        wavelength_m, angle = rng.uniform(900, 2600, 7), rng.uniform(0, 2 * np.pi, 7)
        k = 2 * np.pi / wavelength_m
        return cls(
            k * np.cos(angle), k * np.sin(angle), rng.uniform(0, 2 * np.pi, 7), 0.019 * wavelength_m,
            350.0, site.west_m, site.south_m,
        )  # fmt: skip

    def elevation_m(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Elevation at each position, metres."""
        total = np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), self.base_m)
        for kx, ky, phase, amplitude in zip(self.kx, self.ky, self.phase, self.amplitude_m, strict=True):
            total += amplitude * np.cos(kx * (x - self.x0_m) + ky * (y - self.y0_m) + phase)
        return total

    def gradient(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rise per metre eastward and northward at each position."""
        shape = np.broadcast_shapes(np.shape(x), np.shape(y))
        east, north = np.zeros(shape), np.zeros(shape)
        for kx, ky, phase, amplitude in zip(self.kx, self.ky, self.phase, self.amplitude_m, strict=True):
            wave = -amplitude * np.sin(kx * (x - self.x0_m) + ky * (y - self.y0_m) + phase)
            east += kx * wave
            north += ky * wave
        return east, north


@dataclass(frozen=True)
class SmoothField:
    """A Gaussian random field of mean 0 and standard deviation 1 over the site, interpolated between its cells."""

    values: np.ndarray
    west_m: float
    north_m: float

    @classmethod
    def draw(cls, site: Site, rng: np.random.Generator, *, range_m: float, margin_m: float = 0.0) -> SmoothField:
        """White noise smoothed so that the correlation falls to 1/e at `range_m`."""
        from scipy.ndimage import gaussian_filter

        sigma = range_m / 2 / FIELD_CELL_M
        pad = int(np.ceil(margin_m / FIELD_CELL_M)) + 2
        rows, cols = (n + 2 * pad for n in site.canvas_shape(FIELD_CELL_M))
        border = int(np.ceil(3 * sigma))
        noise = rng.standard_normal((rows + 2 * border, cols + 2 * border))
        smooth = gaussian_filter(noise, sigma, truncate=3.0, mode="wrap")[border:-border, border:-border]
        # the standard deviation of Gaussian-smoothed white noise is 1 / (2 sigma sqrt(pi))
        scaled = smooth * (2 * sigma * np.sqrt(np.pi))
        return cls(scaled, site.west_m - pad * FIELD_CELL_M, site.north_m + pad * FIELD_CELL_M)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The field at each position (broadcast), by bilinear interpolation."""
        from scipy.ndimage import map_coordinates

        x, y = np.broadcast_arrays(x, y)
        row = (self.north_m - y) / FIELD_CELL_M - 0.5
        col = (x - self.west_m) / FIELD_CELL_M - 0.5
        return map_coordinates(self.values, [row, col], order=1, mode="nearest")
