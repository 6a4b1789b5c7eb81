"""What training and estimation both read: all predictors, and the forest, over a window of the grid at one year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from catalogs.rasters import read_classes
from pipeline.features import predictors, split_name
from pipeline.grid import Grid, Window
from pipeline.indicators import INDICATORS
from pipeline.indicators.registry import BAND_KINDS
from pipeline.mapping import large_patches
from pipeline.store import Mosaic


def read_predictors(
    grid: Grid, window: Window, year: int, sources: Mapping, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Predictors (rows, cols) by name; missing where their source has nothing at that year.

    `sources` is what `bridge.Plan.sources` describes: folders of composites and lidar, roles and metrics to read, the
    campaign that serves each year, and the halo that the predictors need.
    """
    halo = sources["halo_px"]
    wide = Window(window.row0 - halo, window.row1 + halo, window.col0 - halo, window.col1 + halo)
    bands = _read_bands(grid, wide, year, sources)
    lidar = _read_lidar(grid, wide, year, sources, sources["metrics"])
    inner = window.within(wide)
    seen_by = {sensor["prefix"]: sensor["seen_by"] for sensor in sources["sensors"].values() if "seen_by" in sensor}
    made = predictors(bands, lidar, names, seen_by=seen_by, resolution_m=grid.resolution_m)
    return {name: array[inner.slices] for name, array in made.items()}


def _read_bands(grid: Grid, window: Window, year: int, sources: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """Bands (rows, cols) of each sensor by its prefix; a sensor that shows every year alike has one raster for all."""
    return {
        sensor["prefix"]: Mosaic(Path(sensor["folder"]) / f"{name}_{sensor.get('period', year)}", grid).read(
            window, sensor["roles"]
        )
        for name, sensor in sources["sensors"].items()
    }


def predictors_at(
    grid: Grid, window: Window, year: int, sources: Mapping, names: Sequence[str], weights: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Predictors (k,) of some footprints, `weights` (rows, cols) of each the share of every pixel inside; missing where less
    than half of a footprint is there.

    Means over the footprint of what `read_predictors` gives. Of radar the mean is taken of linear power, as in composites,
    and the indicator made of that: a mean of decibels is the logarithm of a geometric mean, which lies below.
    """
    powers = [name for name in names if is_power(name, sources["sensors"])]
    others = [name for name in names if name not in powers]
    read = read_predictors(grid, window, year, sources, others) if others else {}
    found = {name: np.array([weighted_mean(array, weight) for weight in weights]) for name, array in read.items()}
    if powers:
        bands = _read_bands(grid, window, year, sources)
        means = {
            prefix: {role: np.array([weighted_mean(array, weight) for weight in weights]) for role, array in held.items()}
            for prefix, held in bands.items()
        }
        found |= predictors(means, {}, powers, resolution_m=grid.resolution_m)
    return {name: found[name] for name in names}


def is_power(name: str, sensors: Mapping[str, Mapping]) -> bool:
    """Whether a predictor is made of backscatter, pixel by pixel."""
    prefix, what = split_name(name, [sensor["prefix"] for sensor in sensors.values()])
    roles = [role for sensor in sensors.values() if sensor["prefix"] == prefix for role in sensor["roles"]]
    if what in roles:
        return BAND_KINDS.get(what) == "gamma0"
    return bool(roles) and what in INDICATORS and INDICATORS[what].kinds() == ("gamma0",) and not INDICATORS[what].looks_around()


def footprint_share(footprint, grid: Grid, window: Window) -> np.ndarray:
    """Share of each pixel of a window that lies in a footprint (rows, cols)."""
    import shapely

    west, _, _, north = grid.bounds_of(window)
    size = grid.resolution_m
    left = west + size * np.arange(window.shape[1])
    top = north - size * np.arange(window.shape[0])
    left, top = np.meshgrid(left, top)
    cells = shapely.box(left, top - size, left + size, top)
    return shapely.area(shapely.intersection(cells, footprint)) / size**2


def weighted_mean(array: np.ndarray, weight: np.ndarray) -> float:
    """Mean over a footprint; missing when less than half of it is there."""
    there = np.isfinite(array)
    if weight[there].sum() < 0.5 * weight.sum() or weight.sum() == 0:
        return float("nan")
    return float((array[there] * weight[there]).sum() / weight[there].sum())


def read_elevation(grid: Grid, window: Window, folder: str | Path) -> np.ndarray:
    """Elevation (rows, cols) of a window in metres, missing NaN, beyond the study too; halo is up to who asks.

    `folder` is `bridge.Plan.elevation_folder`; who reads it needs `Plan.composites(Plan.elevation_sensor, Plan.near(block))`
    (or the blocks that the window touches) as input files.
    """
    return Mosaic(Path(folder), grid).read(window, ["elevation"])["elevation"]


def _read_lidar(
    grid: Grid, window: Window, year: int, sources: Mapping, metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    campaign = sources["campaign_of_year"].get(str(year))
    if campaign is None:
        return {name: np.full(window.shape, np.nan, "float32") for name in metrics}
    return Mosaic(Path(sources["lidar_folder"]) / campaign, grid).read(window, list(metrics))


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
        lidar = _read_lidar(grid, wide, year, sources, ["zq95", "cover_2m"])
        tall = (lidar["zq95"] >= forest["min_height_m"]) & (lidar["cover_2m"] >= forest["min_cover_percent"])
        mask = np.where(np.isfinite(lidar["cover_2m"]), tall.astype(float), np.nan)
    return large_patches(mask, min_px)[window.within(wide).slices]


def _inside_stands(grid: Grid, window: Window, stands) -> np.ndarray:
    from rasterio.features import rasterize

    shapes = [(geometry, 1) for geometry in stands.geometry]
    if not shapes:
        return np.zeros(window.shape)
    return rasterize(shapes, out_shape=window.shape, transform=grid.geobox_of(window).transform, fill=0).astype(float)
