"""From stems to a canopy: crown tops on a raster, and what a satellite's pixel holds of crowns, leaves and shade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalogs.planted.forest import SPECIES_ORDER, Forest, Trees, by_species
from catalogs.planted.site import CELL_M
from catalogs.planted.species import SPECIES

CROWN_CELL_M = 1.0  # cell on which crown cover is counted
MIN_COVER_HEIGHT_M = 2.0
LOOKS = ("fir", "pine", "broadleaf", "eucalypt")
PAIRS_AT_ONCE = 2_000_000  # stem-cell pairs held in memory at a time


@dataclass(frozen=True)
class CrownTops:
    """The outer crown surface over a rectangle, metres above ground (rows, cols); zero where the sky is open."""

    top_m: np.ndarray
    owner: np.ndarray
    """Position of the stem in the trees given, whose crown is outermost; -1 where the sky is open."""


def crown_tops(
    trees: Trees, *, west_m: float, north_m: float, shape: tuple[int, int], cell_m: float, owners: bool
) -> CrownTops:
    """Rasterise crowns (paraboloids and cones) and keep the highest surface in each cell.

    A crown covers the cells whose centres lie inside its radius; a crown thinner than a cell covers its stem's cell.
    """
    top = np.zeros(shape[0] * shape[1], np.float32)
    owner = np.full(len(top) if owners else 0, -1, np.int32)
    batches = _batches(trees, cell_m)
    for position, offsets in batches:
        cell, height = _surface(trees, position, offsets, west_m, north_m, shape, cell_m)
        inside = height > 0
        np.maximum.at(top, cell[inside], height[inside])
    if owners:
        for position, offsets in batches:
            cell, height = _surface(trees, position, offsets, west_m, north_m, shape, cell_m)
            outermost = (height > 0) & (height == top[cell])
            owner[cell[outermost]] = position[np.nonzero(outermost)[0]]
    return CrownTops(top.reshape(shape), owner.reshape(shape) if owners else owner)


def _batches(trees: Trees, cell_m: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stems of similar crown width together with the cell offsets such a crown can reach, few enough for memory."""
    reach = np.ceil(trees.crown_radius_m / cell_m).astype(int)
    batches = []
    for cells in np.unique(reach):
        step = np.arange(-cells, cells + 1)
        offsets = np.stack(np.meshgrid(step, step, indexing="ij"), -1).reshape(-1, 2)
        offsets = offsets[np.hypot(*offsets.T) <= cells + 0.71]
        members = np.flatnonzero(reach == cells)
        size = max(1, PAIRS_AT_ONCE // len(offsets))
        batches += [(members[i : i + size], offsets) for i in range(0, len(members), size)]
    return batches


def _surface(
    trees: Trees,
    position: np.ndarray,
    offsets: np.ndarray,
    west_m: float,
    north_m: float,
    shape: tuple[int, int],
    cell_m: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Cell and crown height of each stem (rows) at each offset (columns); height 0 beside the crown or the raster."""
    x = ((trees.x[position] - west_m) / cell_m).astype(np.float32)
    y = ((north_m - trees.y[position]) / cell_m).astype(np.float32)
    row0, col0 = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    to_centre_y, to_centre_x = np.floor(y) + np.float32(0.5) - y, np.floor(x) + np.float32(0.5) - x
    row, col = row0[:, None] + offsets[None, :, 0], col0[:, None] + offsets[None, :, 1]
    off_y = to_centre_y[:, None] + offsets[None, :, 0].astype(np.float32)
    off_x = to_centre_x[:, None] + offsets[None, :, 1].astype(np.float32)
    radius = (trees.crown_radius_m[position] / cell_m).astype(np.float32)[:, None]
    share = (off_y * off_y + off_x * off_x) / (radius * radius)
    at_stem = (offsets == 0).all(1)[None, :]
    inside = (share <= 1) | at_stem
    inside &= (row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1])
    species = trees.species[position]
    length = (trees.height_m[position] * by_species(lambda s: s.crown_length_share)[species]).astype(np.float32)
    power = (by_species(lambda s: s.crown_power)[species] / 2).astype(np.float32)
    fall = np.float32(0.8) * length[:, None] * np.minimum(share, 1) ** power[:, None]
    height = trees.height_m[position].astype(np.float32)[:, None] - fall
    return np.where(inside, row * shape[1] + col, 0), np.where(inside, height, np.float32(0))


def crown_base_m(trees: Trees) -> np.ndarray:
    """Height at which each stem's crown begins, metres."""
    return trees.height_m * (1 - by_species(lambda s: s.crown_length_share)[trees.species])


def canopy_height(forest: Forest, year: int) -> np.ndarray:
    """Crown surface over the whole site in cells of 1 m, metres above ground (rows, cols)."""
    if ("canopy", year) not in forest.cache:
        site = forest.site
        living = forest.trees(year)
        forest.cache["canopy", year] = crown_tops(
            living.where(~living.snag), west_m=site.west_m, north_m=site.north_m,
            shape=site.canvas_shape(CROWN_CELL_M), cell_m=CROWN_CELL_M, owners=False,
        ).top_m  # fmt: skip
    return forest.cache["canopy", year]


def block_mean(values: np.ndarray, n: int) -> np.ndarray:
    """Mean of blocks of n x n cells; the last row and column of blocks take what cells there are (rows, cols)."""
    rows, cols = (-(-size // n) for size in values.shape)
    padded = np.full((rows * n, cols * n), np.nan, np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    if padded.shape == values.shape:
        return padded.reshape(rows, n, cols, n).mean((1, 3))
    return np.nanmean(padded.reshape(rows, n, cols, n), axis=(1, 3))


def forest_cover(forest: Forest, year: int) -> np.ndarray:
    """True share of each pixel of the study grid under living crowns above 2 m (rows, cols)."""
    site = forest.site
    crowned = canopy_height(forest, year) >= MIN_COVER_HEIGHT_M
    per_pixel = site.resolution_m / CROWN_CELL_M
    if abs(per_pixel - round(per_pixel)) < 1e-9:
        return block_mean(crowned, round(per_pixel))[: site.rows, : site.cols]
    x, y = site.canvas_centres(CROWN_CELL_M)
    cells = site.canvas_cells(*(c.ravel() for c in np.broadcast_arrays(x, y)), site.resolution_m)
    total = np.bincount(cells, crowned.ravel(), minlength=site.rows * site.cols)
    return (total / np.bincount(cells, minlength=site.rows * site.cols)).reshape(site.rows, site.cols)


@dataclass(frozen=True)
class Canopy:
    """What there is to see from above in each canvas cell of 5 m, living trees only (rows, cols)."""

    cover: np.ndarray
    leaf_area_index: np.ndarray
    height_m: np.ndarray
    """Mean crown surface height over the cell, open sky counting as zero."""
    roughness_m: np.ndarray
    """Standard deviation of the crown surface inside the cell's neighbourhood."""
    looks: dict[str, np.ndarray]
    """Share of the leaves that each spectral group holds."""


def see_canopy(forest: Forest, year: int) -> Canopy:
    """Summarise crowns and leaves of a year on the canvas; none of it knows biomass."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    site, trees = forest.site, forest.trees(year)
    trees = trees.where(~trees.snag)
    surface = canopy_height(forest, year)
    n = round(CELL_M / CROWN_CELL_M)
    height = block_mean(surface, n)
    square = block_mean(surface * surface, n)
    wide, wide_square = uniform_filter(height, 3), uniform_filter(square, 3)
    shape = site.canvas_shape()
    leaf_m2 = np.pi * trees.crown_radius_m**2 * by_species(lambda s: s.leaf_layers)[trees.species]
    cells = site.canvas_cells(trees.x, trees.y)
    leaves = {}
    for look in LOOKS:
        members = np.isin(trees.species, [i for i, name in enumerate(SPECIES_ORDER) if SPECIES[name].look == look])
        total = np.bincount(cells[members], leaf_m2[members], minlength=shape[0] * shape[1]).reshape(shape)
        leaves[look] = gaussian_filter(total / CELL_M**2, 0.8).astype(np.float32)
    index = sum(leaves.values())
    return Canopy(
        cover=block_mean(surface >= MIN_COVER_HEIGHT_M, n),
        leaf_area_index=index,
        height_m=height,
        roughness_m=np.sqrt(np.maximum(wide_square - wide * wide, 0)),
        looks={look: leaf / np.maximum(index, 1e-6) for look, leaf in leaves.items()},
    )
