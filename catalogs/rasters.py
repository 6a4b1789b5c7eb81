"""Rasters that others made and a study only looks at: land cover, comparison maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


def read_classes(path: str, geobox: GeoBox) -> np.ndarray:
    """Class codes (rows, cols) of a categorical raster on a grid, nearest neighbour; missing NaN.

    Raises
    ------
    FileNotFoundError, ValueError
        When the raster is absent, unreadable or has no coordinate reference system.
    """
    return _warped(path, geobox, band=1, resampling="nearest", crs=None)


def read_values(path: str, geobox: GeoBox, *, band: int = 1, crs: str | None = None) -> np.ndarray:
    """Values (rows, cols) of a continuous raster averaged onto a grid; missing NaN. `crs` where the file has none."""
    return _warped(path, geobox, band=band, resampling="average", crs=crs)


def grid_of(path: str, *, crs: str | None = None) -> GeoBox:
    """The raster's own grid. `crs` serves a file that has none."""
    from odc.geo.geobox import GeoBox

    with _open(path) as raster:
        found = crs or (raster.crs.to_wkt() if raster.crs else None)
        if found is None:
            raise ValueError(f"{path} has no coordinate reference system: name it in the configuration (crs)")
        return GeoBox(raster.shape, raster.transform, found)


def _open(path: str):
    from pathlib import Path

    import rasterio
    from rasterio.errors import RasterioIOError

    if "://" not in path and not Path(path).exists():
        raise FileNotFoundError(f"the raster {path} does not exist")
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        raise ValueError(f"{path} cannot be read as a raster: {str(error).splitlines()[0]}") from None


def _warped(path: str, geobox: GeoBox, *, band: int, resampling: str, crs: str | None) -> np.ndarray:
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioIOError
    from rasterio.warp import reproject

    target = np.full(geobox.shape, np.nan, "float64")
    with _open(path) as raster:
        source_crs = crs or raster.crs
        if not source_crs:
            raise ValueError(f"{path} has no coordinate reference system: name it in the configuration (crs)")
        if band > raster.count:
            raise ValueError(f"{path} has {raster.count} band(s), band {band} was asked for")
        try:
            source = raster.read(band, masked=True).astype("float64").filled(np.nan)
        except RasterioIOError:
            raise ValueError(f"{path} is damaged or cut off: its pixels cannot be read") from None
        reproject(
            source,
            target,
            src_transform=raster.transform,
            src_crs=source_crs,
            src_nodata=np.nan,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            dst_nodata=np.nan,
            resampling=Resampling[resampling],
            tolerance=0,
        )
    return target
