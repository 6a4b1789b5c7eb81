"""Trees of a canopy height model of any size: tops and crowns decided in tiles, the same however the canopy is cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import TIE_ROUNDS, crowns, tree_tops

if TYPE_CHECKING:
    import pandas as pd

TILE_PX = 512
KEPT_TILES = 24  # of owners, 2 MB each: as many as the neighbours of some tiles in a row


@dataclass(frozen=True)
class TreeRules:
    """What a tree is: the highest within `search_radius_m` + `search_radius_per_m` x its height, and `min_height_m` at least;
    no crown reaches farther than `max_crown_radius_m` from its top; `max_height_m` is what no cell exceeds."""

    min_height_m: float = 2.0
    search_radius_m: float = 0.4
    search_radius_per_m: float = 0.06
    max_crown_radius_m: float = 12.0
    max_height_m: float = 80.0

    def radius_m(self, height_m: np.ndarray) -> np.ndarray:
        return self.search_radius_m + self.search_radius_per_m * height_m


class Trees:
    """Trees of a canopy on a grid, tile by tile of `TILE_PX`, counted from the grid's corner.

    A top is decided from the cells around it alone: its window, and those of tops as high in it. Crowns are flooded in a
    tile and `halo_m` around; each cell then belongs to the tree that the tile which holds the *cell* gives it to, so no
    cell is of two trees. A crown is gathered from all tiles it reaches, its part that holds the top.

    Parameters
    ----------
    grid : Grid
        Of the canopy, see `canopy.canopy_grid`.
    read : function
        From a window of the grid (it may reach beyond) to the canopy there (rows, cols), m, missing NaN.
    rules : TreeRules
    """

    def __init__(self, grid: Grid, read: Callable[[Window], np.ndarray], rules: TreeRules) -> None:
        self.grid, self.read, self.rules = grid, read, rules
        size_m = grid.resolution_m
        self.reach_px = math.ceil(rules.max_crown_radius_m / size_m)
        widest_px = max(1, math.floor(float(rules.radius_m(np.float64(rules.max_height_m))) / size_m))
        self.search_px = (1 + 2 * TIE_ROUNDS) * widest_px
        self._owners = lru_cache(maxsize=KEPT_TILES)(self._flooded)

    @property
    def halo_px(self) -> int:
        """How far around a tile the canopy is looked at when crowns are flooded: two crowns, and the search for tops."""
        return 2 * self.reach_px + self.search_px

    @property
    def reach_around_px(self) -> int:
        """How far around a block the canopy may be read: a tile that begins in it, a crown beyond, and that tile's halo."""
        return 2 * TILE_PX + self.reach_px + self.halo_px

    def tiles(self, window: Window) -> Iterator[tuple[int, int]]:
        """Rows and columns of the tiles that share cells with a window, row by row."""
        window = window.clip(self.grid.window)
        for row in range(window.row0 // TILE_PX, -(-window.row1 // TILE_PX)):
            for col in range(window.col0 // TILE_PX, -(-window.col1 // TILE_PX)):
                yield row, col

    def tile_window(self, row: int, col: int) -> Window:
        return Window(row * TILE_PX, (row + 1) * TILE_PX, col * TILE_PX, (col + 1) * TILE_PX).clip(self.grid.window)

    def number(self, row: int, col: int) -> int:
        """A tile's place in the order of all tiles."""
        return row * -(-self.grid.cols // TILE_PX) + col

    def found(self, row: int, col: int, within: Window) -> pd.DataFrame:
        """The trees whose top lies in a tile and in `within`, row by row.

        Returns
        -------
        DataFrame
            `tree`: 1 + the number of the top's cell on the canopy's grid, row by row; `x`, `y`: its centre, m;
            `height_m`; `area_m2` and `crown` (polygon) of its crown.
        """
        import pandas as pd
        import shapely

        core = self.tile_window(row, col)
        reach = self.reach_px
        wide = Window(core.row0 - reach, core.row1 + reach, core.col0 - reach, core.col1 + reach)
        owner = self._owners_of(wide)
        inner = owner[core.within(wide).slices]
        own = 1 + np.add.outer(np.arange(core.row0, core.row1) * self.grid.cols, np.arange(core.col0, core.col1))
        rows, cols = np.nonzero(inner == own)
        rows, cols = rows + core.row0, cols + core.col0
        kept = (rows >= within.row0) & (rows < within.row1) & (cols >= within.col0) & (cols < within.col1)
        rows, cols = rows[kept], cols[kept]
        names = 1 + rows.astype(np.int64) * self.grid.cols + cols
        size_m = self.grid.resolution_m
        x = self.grid.west_m + (cols + 0.5) * size_m
        y = self.grid.north_m - (rows + 0.5) * size_m
        outlines = self._outlines(owner, wide, names, x, y)
        heights = self.read(core)[rows - core.row0, cols - core.col0]
        return pd.DataFrame({
            "tree": names, "x": x, "y": y, "height_m": np.round(heights.astype(np.float64), 2),
            "area_m2": np.round(shapely.area(outlines), 4), "crown": outlines,
        })  # fmt: skip

    def _owners_of(self, window: Window) -> np.ndarray:
        """The tree that each cell of a window belongs to, 0 for none."""
        found = np.zeros(window.shape, np.int64)
        for row, col in self.tiles(window):
            tile = self.tile_window(row, col)
            part = tile.clip(window)
            found[part.within(window).slices] = self._owners(row, col)[part.within(tile).slices]
        return found

    def _flooded(self, row: int, col: int) -> np.ndarray:
        """The tree of each cell of a tile, by the canopy in it and in the halo around."""
        core, halo, rules = self.tile_window(row, col), self.halo_px, self.rules
        wide = Window(core.row0 - halo, core.row1 + halo, core.col0 - halo, core.col1 + halo)
        canopy = self.read(wide)
        if not (canopy >= rules.min_height_m).any():
            return np.zeros(core.shape, np.int64)
        tops = tree_tops(canopy, self.grid.resolution_m, radius_m=rules.radius_m, min_height_m=rules.min_height_m)
        sure = np.all((tops >= self.search_px) & (tops < np.array(wide.shape) - self.search_px), axis=1)
        tops = tops[sure]  # nearer to the edge a top may not be one
        if not len(tops):
            return np.zeros(core.shape, np.int64)
        owner = crowns(canopy, tops, min_height_m=rules.min_height_m)[core.within(wide).slices]
        inside = core.within(wide)
        top_row, top_col = (np.append(0, tops[:, axis])[owner] for axis in (0, 1))
        down = np.arange(inside.row0, inside.row1)[:, None] - top_row
        right = np.arange(inside.col0, inside.col1)[None, :] - top_col
        near = (down**2 + right**2) * self.grid.resolution_m**2 <= rules.max_crown_radius_m**2
        name = 1 + (top_row + wide.row0).astype(np.int64) * self.grid.cols + (top_col + wide.col0)
        return np.where((owner > 0) & near, name, 0)

    def _outlines(self, owner: np.ndarray, window: Window, names: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Polygons of the trees' cells: of a tree in several pieces, the one that holds its top."""
        import shapely
        from affine import Affine
        from rasterio.features import shapes

        outlines = np.empty(len(names), object)
        if not len(names):
            return outlines
        place = np.searchsorted(names, owner)  # names rise: row by row
        place = np.where(place < len(names), place, 0)
        number = np.where(names[place] == owner, place + 1, 0).astype(np.int32)
        size_m = self.grid.resolution_m
        west, _, _, north = self.grid.bounds_of(window)
        found: dict[int, list] = {}
        for shape, value in shapes(number, mask=number > 0, transform=Affine(size_m, 0, west, 0, -size_m, north)):
            found.setdefault(int(value), []).append(shapely.geometry.shape(shape))
        for this, pieces in found.items():
            top = shapely.Point(x[this - 1], y[this - 1])
            outlines[this - 1] = next(piece for piece in pieces if len(pieces) == 1 or piece.contains(top))
        return outlines
