"""Where a window is forest by the study's definition; apart from predictors, so that who asks for no more runs on no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from catalogs.rasters import read_classes
from pipeline.grid import Grid, Window
from pipeline.mapping import large_patches
from pipeline.store import Mosaic


def read_forest(grid: Grid, window: Window, year: int, forest: Mapping, sources: Mapping, stands=None) -> np.ndarray:
    """Forest (rows, cols) at one year by the study's definition: 1, 0, or NaN where it cannot be told.

    `forest` is the configuration's section as plain values. Patches below `min_area_ha` are not forest.
    """
    min_px = int(np.ceil(forest["min_area_ha"] / grid.pixel_ha - 1e-9))
    wide = Window(window.row0 - min_px, window.row1 + min_px, window.col0 - min_px, window.col1 + min_px)
    source = forest["source"]
    if source == "everywhere":
        return np.ones(window.shape)
    if source == "raster":
        classes = read_classes(forest["files"][str(year)], grid.geobox_of(wide))
        mask = np.where(np.isnan(classes), np.nan, np.isin(classes, forest["values"]).astype(float))
    elif source == "stands":
        mask = _inside_stands(grid, wide, stands)
    else:
        lidar = read_lidar(grid, wide, year, sources, ["zq95", "cover_2m"])
        tall = (lidar["zq95"] >= forest["min_height_m"]) & (lidar["cover_2m"] >= forest["min_cover_percent"])
        mask = np.where(np.isfinite(lidar["cover_2m"]), tall.astype(float), np.nan)
    return large_patches(mask, min_px)[window.within(wide).slices]


def _inside_stands(grid: Grid, window: Window, stands) -> np.ndarray:
    from rasterio.features import rasterize
    from shapely import box

    near = stands.sindex.query(box(*grid.bounds_of(window)))
    if not len(near):
        return np.zeros(window.shape)
    shapes = [(geometry, 1) for geometry in stands.geometry.iloc[near]]
    return rasterize(shapes, out_shape=window.shape, transform=grid.geobox_of(window).transform, fill=0).astype(float)


def read_lidar(
    grid: Grid, window: Window, year: int, sources: Mapping, metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    """Lidar metrics (rows, cols) of a year, NaN where no campaign belongs to it."""
    campaign = sources["campaign_of_year"].get(str(year))
    if campaign is None:
        return {name: np.full(window.shape, np.nan, "float32") for name in metrics}
    return Mosaic(Path(sources["lidar_folder"]) / campaign, grid).read(window, list(metrics))
