"""What is seen inside cells at a finer step: how much of a cell the points cover, its canopy surface, its ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shapely import Polygon

    from pipeline.lidar.heights import Ground, Heights

COVER_STEP_M = 5.0  # at half a pulse per m2 a covered square of 5 m is empty once in 270,000 (Poisson, 12.5 expected)
COVER_STEPS = 4  # squares along a cell's side at least: a cell that is half covered must show it


@dataclass(frozen=True)
class Squares:
    """Squares of `size_m` in rows and columns from the corner `west`, `north`; `cell` (rows, cols) is the number of the
    cell that each square's centre lies in, -1 where in none."""

    west: float
    north: float
    size_m: float
    cell: np.ndarray

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of all centres, row by row."""
        rows, cols = self.cell.shape
        x = self.west + (np.arange(cols) + 0.5) * self.size_m
        y = self.north - (np.arange(rows) + 0.5) * self.size_m
        return np.tile(x, rows), np.repeat(y, cols)

    def number(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The square of each point, row by row, -1 outside."""
        from pipeline.lidar.kernels import cells_of

        return cells_of(x, y, self.west, self.north, self.size_m, *self.cell.shape)

    def means(self, values: np.ndarray, n_cells: int) -> np.ndarray:
        """Mean over the squares of each cell, of those that have a value; missing where none has."""
        there = (self.cell.ravel() >= 0) & np.isfinite(values)
        own = self.cell.ravel()[there]
        with np.errstate(invalid="ignore"):
            total = np.bincount(own, weights=values[there], minlength=n_cells)
            return total / np.bincount(own, minlength=n_cells)


def steps_along(cell_m: float, step_m: float, *, least: int = 1) -> int:
    """Into how many steps a cell's side is cut: of about `step_m`, and at least so many."""
    return max(least, round(cell_m / step_m))


def squares_of_cells(
    west: float, north: float, cell_m: float, rows: int, cols: int, *, steps: int, margin: int = 0
) -> Squares:
    """Each cell of a window cut into `steps` x `steps` squares, with a margin of squares of no cell around."""
    number = np.arange(rows * cols).reshape(rows, cols)
    cell = np.repeat(np.repeat(number, steps, axis=0), steps, axis=1)
    size = cell_m / steps
    return Squares(west - margin * size, north + margin * size, size, np.pad(cell, margin, constant_values=-1))


def squares_of_polygon(polygon: Polygon, size_m: float, *, margin: int = 0) -> Squares:
    """Squares over a polygon, from its box's upper left corner; those whose centre lies in it are of cell 0."""
    import shapely

    west, south, east, north = polygon.bounds
    rows, cols = (max(1, int(np.ceil(side / size_m))) + 2 * margin for side in (north - south, east - west))
    empty = Squares(west - margin * size_m, north + margin * size_m, size_m, np.full((rows, cols), -1))
    inside = shapely.contains_xy(polygon, *empty.centres).reshape(rows, cols)
    return Squares(empty.west, empty.north, size_m, np.where(inside, 0, -1))


@dataclass(frozen=True)
class Fine:
    """Summaries, one per cell, of squares inside it.

    `heights` are those of the cells and of the squares' margin; `cover` and `canopy` are the squares, `ground` the
    triangulated ground or None.
    """

    heights: Heights
    n_cells: int
    cover: Squares
    canopy: Squares
    ground: Ground | None

    @cached_property
    def covered_percent(self) -> np.ndarray:
        """Share of a cell's squares that hold a first return."""
        from pipeline.lidar.kernels import counted

        squares = self.cover.number(self.heights.x, self.heights.y)
        hit = counted(squares, self.heights.first_return, self.cover.cell.size) > 0
        return 100.0 * self.cover.means(hit.astype(float), self.n_cells)

    @cached_property
    def canopy_heights(self) -> np.ndarray:
        """Canopy height model: the highest return of each square (rows, cols), missing where there is none."""
        return highest_in(self.heights, self.canopy)

    @cached_property
    def mean_canopy(self) -> np.ndarray:
        return self.canopy.means(self.canopy_heights.ravel(), self.n_cells)

    @cached_property
    def rumple(self) -> np.ndarray:
        return self.canopy.means(area_ratio(self.canopy_heights, self.canopy.size_m).ravel(), self.n_cells)

    @cached_property
    def slope(self) -> np.ndarray:
        """Degrees: of the least-squares plane through the ground at the cover squares' centres."""
        if self.ground is None:
            return np.full(self.n_cells, np.nan)
        x, y = self.cover.centres
        own = self.cover.cell.ravel()
        there = own >= 0
        x, y, own = x[there], y[there], own[there]
        z, _, _ = self.ground.at(x, y)
        return slope_of_planes(x, y, z, own, self.n_cells)


def highest_in(heights: Heights, squares: Squares) -> np.ndarray:
    """Highest of the heights in each square (rows, cols): lidR's point-to-raster canopy height model."""
    from pipeline.lidar.kernels import highest

    number = squares.number(heights.x, heights.y)
    return highest(number, heights.z, squares.cell.size).reshape(squares.cell.shape)


def area_ratio(surface: np.ndarray, size_m: float) -> np.ndarray:
    """Surface of a raster's cells over their planar area, by eight triangles to the centres around each.

    A missing neighbour counts as level with the cell; missing where the cell is.

    References
    ----------
    Jenness 2004, Calculating landscape surface area from digital elevation models, Wildlife Society Bulletin 32:829-839.
    """
    padded = np.pad(surface, 1, constant_values=np.nan)
    rows, cols = surface.shape

    def rise(down: int, right: int) -> np.ndarray:
        step = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + cols] - surface
        return np.where(np.isnan(step), 0.0, step)

    total = np.zeros(surface.shape)
    for across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        side = rise(*across)
        for turn in (1, -1):
            corner = rise(across[0] + turn * across[1], across[1] + turn * across[0])
            total += np.sqrt(size_m**2 + side**2 + (corner - side) ** 2)
    return np.where(np.isnan(surface), np.nan, total / (8 * size_m))


def slope_of_planes(x: np.ndarray, y: np.ndarray, z: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Slope in degrees of the least-squares plane through the points of each cell; missing where they make none."""
    count = np.bincount(cell, minlength=n_cells)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=values, minlength=n_cells)

    def departures(values: np.ndarray) -> np.ndarray:
        values = values - values[:1]  # coordinates of millions of metres would lose digits in sums
        return values - (total(values) / count)[cell]

    with np.errstate(divide="ignore", invalid="ignore"):
        dx, dy, dz = departures(x), departures(y), departures(z)
        xx, xy, yy, xz, yz = total(dx * dx), total(dx * dy), total(dy * dy), total(dx * dz), total(dy * dz)
        determinant = xx * yy - xy * xy
        gradient_x = (xz * yy - yz * xy) / determinant
        gradient_y = (yz * xx - xz * xy) / determinant
        slope = np.degrees(np.arctan(np.hypot(gradient_x, gradient_y)))
    return np.where(determinant > 1e-6 * xx * yy, slope, np.nan)
