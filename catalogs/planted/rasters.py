"""Rasters of the planted study: Cloud Optimized GeoTIFFs, the same bytes for the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalogs.planted.site import Site


def write_cog(
    file: Path,
    values: np.ndarray,
    *,
    crs: str,
    west_m: float,
    north_m: float,
    resolution_m: float,
    nodata: float | None,
) -> None:
    """Write one band (rows, cols) as a COG: deflate, 256 px tiles, overviews once it is larger than a tile."""
    import rasterio
    from affine import Affine

    with rasterio.open(
        file, "w", driver="COG", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype, crs=crs,
        transform=Affine(resolution_m, 0, west_m, 0, -resolution_m, north_m), nodata=nodata,
        compress="deflate", predictor=3 if values.dtype.kind == "f" else 2, blocksize=256,
        overview_resampling="nearest",
    ) as raster:  # fmt: skip
        raster.write(values, 1)


def write_on_grid(file: Path, values: np.ndarray, site: Site, *, nodata: float | None) -> None:
    """Write one band on the study grid."""
    write_cog(
        file, values, crs=site.crs, west_m=site.west_m, north_m=site.north_m,
        resolution_m=site.resolution_m, nodata=nodata,
    )  # fmt: skip
