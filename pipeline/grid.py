"""The study's grid, and how it is cut into blocks (files, jobs), chunks (arithmetic) and windows (memory)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from odc.geo.geobox import GeoBox

EDGE_PX = 1e-6
"""Bounds this near to a pixel's edge lie on it: coordinates of millions of metres carry rounding errors."""


class Window(NamedTuple):
    """A rectangle of pixels, half open: rows `row0:row1`, columns `col0:col1` of the study grid."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row0, self.row1), slice(self.col0, self.col1)

    def pixels(self) -> np.ndarray:
        """Row and column (n, 2) of its pixels in the study grid, row by row."""
        import numpy as np

        rows, cols = np.indices(self.shape, dtype=np.int32)
        return np.column_stack([rows.ravel() + self.row0, cols.ravel() + self.col0])

    def within(self, outer: Window) -> Window:
        """This window in the pixel coordinates of `outer`."""
        return Window(self.row0 - outer.row0, self.row1 - outer.row0, self.col0 - outer.col0, self.col1 - outer.col0)

    def clip(self, outer: Window) -> Window:
        """The part of this window inside `outer`; of shape zero when they are apart."""
        row0, col0 = max(self.row0, outer.row0), max(self.col0, outer.col0)
        return Window(row0, max(row0, min(self.row1, outer.row1)), col0, max(col0, min(self.col1, outer.col1)))


@dataclass(frozen=True)
class Grid:
    """A north-up grid of square pixels; all that has a place in a study has its place on it.

    `west_m`, `north_m` are the map coordinates of the upper-left corner. Chunks and blocks are counted from there,
    so a chunk is the same pixels whatever the block size.
    """

    crs: str
    west_m: float
    north_m: float
    resolution_m: float
    rows: int
    cols: int
    chunk_px: int = 512
    block_chunks: int = 8

    @classmethod
    def covering(
        cls,
        bounds: tuple[float, float, float, float],
        *,
        crs: str,
        resolution_m: float,
        chunk_px: int = 512,
        block_chunks: int = 8,
    ) -> Grid:
        """The grid that covers `bounds` (west, south, east, north), its corner on a multiple of the resolution."""
        west, south, east, north = bounds
        col0, col1 = math.floor(west / resolution_m + EDGE_PX), math.ceil(east / resolution_m - EDGE_PX)
        row0, row1 = math.floor(-north / resolution_m + EDGE_PX), math.ceil(-south / resolution_m - EDGE_PX)
        return cls(
            crs,
            col0 * resolution_m,
            -row0 * resolution_m,
            resolution_m,
            row1 - row0,
            col1 - col0,
            chunk_px,
            block_chunks,
        )

    @property
    def window(self) -> Window:
        return Window(0, self.rows, 0, self.cols)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.bounds_of(self.window)

    @property
    def pixel_ha(self) -> float:
        return self.resolution_m**2 / 1e4

    @property
    def block_px(self) -> int:
        return self.chunk_px * self.block_chunks

    @cached_property
    def geobox(self) -> GeoBox:
        return self.geobox_of(self.window)

    def geobox_of(self, window: Window) -> GeoBox:
        """The window as an odc-geo GeoBox (it may reach beyond the grid)."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        west, _, _, north = self.bounds_of(window)
        return GeoBox(window.shape, Affine(self.resolution_m, 0, west, 0, -self.resolution_m, north), self.crs)

    def bounds_of(self, window: Window) -> tuple[float, float, float, float]:
        """West, south, east, north of a window, in map units."""
        return (
            self.west_m + window.col0 * self.resolution_m,
            self.north_m - window.row1 * self.resolution_m,
            self.west_m + window.col1 * self.resolution_m,
            self.north_m - window.row0 * self.resolution_m,
        )

    def window_of(self, bounds: tuple[float, float, float, float], *, halo_px: int = 0) -> Window:
        """The pixels that `bounds` touches, plus a halo, clipped to the grid."""
        west, south, east, north = bounds
        window = Window(
            math.floor((self.north_m - north) / self.resolution_m + EDGE_PX) - halo_px,
            math.ceil((self.north_m - south) / self.resolution_m - EDGE_PX) + halo_px,
            math.floor((west - self.west_m) / self.resolution_m + EDGE_PX) - halo_px,
            math.ceil((east - self.west_m) / self.resolution_m - EDGE_PX) + halo_px,
        )
        return window.clip(self.window)

    def blocks(self) -> list[str]:
        """Names of all blocks, row by row."""
        return [
            f"r{row:03d}c{col:03d}"
            for row in range(math.ceil(self.rows / self.block_px))
            for col in range(math.ceil(self.cols / self.block_px))
        ]

    def block_window(self, block: str) -> Window:
        match = re.fullmatch(r"r(\d+)c(\d+)", block)
        if not match:
            raise ValueError(f"{block!r} is not a block name such as r000c001")
        row, col = int(match[1]) * self.block_px, int(match[2]) * self.block_px
        return Window(row, row + self.block_px, col, col + self.block_px).clip(self.window)

    def blocks_touching(self, window: Window) -> list[str]:
        """Names of the blocks that share pixels with a window."""
        window = window.clip(self.window)
        if 0 in window.shape:
            return []
        return [
            f"r{row:03d}c{col:03d}"
            for row in range(window.row0 // self.block_px, math.ceil(window.row1 / self.block_px))
            for col in range(window.col0 // self.block_px, math.ceil(window.col1 / self.block_px))
        ]

    def chunks(self, window: Window | None = None) -> Iterator[tuple[str, Window]]:
        """Name and pixels of each chunk that lies in a block's window (default: the whole grid), row by row."""
        window = window or self.window
        for row in range(window.row0 // self.chunk_px, math.ceil(window.row1 / self.chunk_px)):
            for col in range(window.col0 // self.chunk_px, math.ceil(window.col1 / self.chunk_px)):
                chunk = Window(
                    row * self.chunk_px, (row + 1) * self.chunk_px, col * self.chunk_px, (col + 1) * self.chunk_px
                ).clip(self.window)
                yield f"k{row:04d}_{col:04d}", chunk

    def settings(self) -> dict:
        """Plain values from which `Grid(**settings)` is made again: what a Snakemake param can hold."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def uncut(self) -> dict:
        """Those without chunks and blocks: what does not depend on the cutting is not made again when it changes."""
        return {name: value for name, value in self.settings().items() if name not in ("chunk_px", "block_chunks")}
