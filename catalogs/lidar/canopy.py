"""Canopy height rasters in place of points: cell centres as first returns of vegetation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.lidar.held import on_lattice, overlapping
from catalogs.lidar.points import Points, inside
from catalogs.lidar.references import METRES, Bounds, checked_crs, horizontal, horizontal_unit, mover
from catalogs.lidar.tiles import Tile

if TYPE_CHECKING:
    from affine import Affine


def index_canopy(path: str, *, crs: str | None = None) -> Tile:
    """A canopy height raster as a tile: its box, number of cells, CRS and fingerprint.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or not a readable raster; if its CRS is missing or geographic.
    """
    import rasterio
    from rasterio.errors import RasterioError

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"canopy height raster {path} does not exist")
    try:
        with rasterio.open(path) as raster:
            found = crs or (raster.crs.to_wkt() if raster.crs else None)
            bounds, cells = tuple(raster.bounds), raster.width * raster.height
    except RasterioError as error:
        raise ValueError(f"{path} cannot be read as a raster; it may be cut off or damaged ({error})") from error
    if found is None:
        raise ValueError(f"{path} does not say which CRS it is in; set crs of the campaign")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(max(0, size - (1 << 16)))
        fingerprint = hashlib.sha256(str(size).encode() + head + stream.read()).hexdigest()
    return Tile(str(path), bounds, cells, checked_crs(found, path), None, fingerprint)


@dataclass(frozen=True)
class CanopyReader:
    """Reads windows of a canopy height raster as points; the counterpart of `PointReader`."""

    tile: Tile
    crs: str
    vertical_unit: str = "m"

    def points(self, bounds: Bounds) -> Points:
        """Cell centres in `bounds` with their canopy height; see `canopy_points`."""
        return canopy_points(self.tile, bounds, crs=self.crs, vertical_unit=self.vertical_unit)

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The raster, where its box touches `bounds`."""
        moved = mover(self.tile.crs, self.crs, self.tile.bounds)
        box = self.tile.bounds if moved is None else moved.transform_bounds(*self.tile.bounds, densify_pts=21)
        return [self.tile] if overlapping(box, bounds) else []


def canopy_points(raster: str | Tile, bounds: Bounds, *, crs: str, vertical_unit: str = "m") -> Points:
    """A canopy height raster as points at its cell centres, each a first return of class 5 (high vegetation).

    Parameters
    ----------
    raster : str or Tile
        The file, or its entry by `index_canopy` (where its CRS may have been overridden).
    bounds : tuple
        West, south, east, north in `crs`; half open as in `Points.inside`.

    Returns
    -------
    Points
        `z` is height above ground in metres. Missing cells give no point and are not counted.

    Raises
    ------
    ValueError
        If the raster is damaged, or its CRS is missing or geographic.
    """
    tile = raster if isinstance(raster, Tile) else index_canopy(raster)
    moved = mover(tile.crs, crs, tile.bounds)
    needed = bounds if moved is None else moved.transform_bounds(*bounds, densify_pts=21, direction="INVERSE")
    x, y, z = _canopy_cells(tile, needed)
    if moved is not None:
        x, y = moved.transform(x, y)
    x, y = on_lattice(x), on_lattice(y)
    keep = inside(x, y, bounds)
    z = on_lattice(z[keep] * METRES[vertical_unit])
    return Points(x[keep], y[keep], z, np.full(len(z), 5, np.uint8), np.ones(len(z), bool))


def _canopy_cells(tile: Tile, bounds: Bounds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and values of the cells that hold one, of the part of a raster around `bounds`, in its own units."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    try:
        with rasterio.open(tile.path) as raster:
            west, south, east, north = bounds
            corners_x, corners_y = np.array([west, west, east, east]), np.array([south, north, south, north])
            cols, rows = _apply(~raster.transform, corners_x, corners_y)
            col0, col1 = max(0, int(np.floor(cols.min()))), min(raster.width, int(np.ceil(cols.max())) + 1)
            row0, row1 = max(0, int(np.floor(rows.min()))), min(raster.height, int(np.ceil(rows.max())) + 1)
            if col0 >= col1 or row0 >= row1:
                return np.empty(0), np.empty(0), np.empty(0)
            heights = raster.read(1, window=Window(col0, row0, col1 - col0, row1 - row0), masked=True)
            transform, scale, offset = raster.transform, raster.scales[0], raster.offsets[0]
    except RasterioError as error:
        raise ValueError(f"{tile.path} is cut off or damaged: its cells cannot be read ({error})") from error
    values = heights.filled(0).astype(np.float64) * scale + offset
    row, col = np.nonzero(~np.ma.getmaskarray(heights) & np.isfinite(values))
    x, y = _apply(transform, col + col0 + 0.5, row + row0 + 0.5)
    return x, y, values[row, col]


def _apply(transform: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


MOST_ABOVE_CEILING = 0.05
"""Share of a raster's cells above the ceiling from which on it is not birds and clouds that are left out, but forest."""


def above_ceiling(vertical_unit: str) -> str:
    """What to do about heights above `max_height_m`: a sentence's end."""
    feet = "" if vertical_unit != "m" else "if it counts heights in feet, set vertical_unit: ft (or us-ft) of the campaign; "
    return f"{feet}if it holds elevations, subtract the ground; if trees are that tall, raise max_height_m"


def inspect_canopy(
    path: str, *, crs: str | None = None, vertical_unit: str = "m", max_height_m: float | None = None
) -> dict[str, Any]:
    """What a canopy height raster holds, and what is wrong with it: sentences on what a run would refuse, and remarks.

    Heights come from a view of at most some 4 million cells, which overviews serve. With the `max_height_m` of a campaign, a
    raster of which more than `MOST_ABOVE_CEILING` lies above it is wrong: those cells would be left out, and they are forest.
    """
    import rasterio
    from rasterio.errors import RasterioError

    report: dict[str, Any] = {"path": path, "problems": [], "remarks": []}
    try:
        tile = index_canopy(path, crs=crs)
    except (ValueError, FileNotFoundError) as error:
        return report | {"problems": [str(error)]}
    try:
        with rasterio.open(path) as raster:
            step = max(1, int(np.ceil(np.sqrt(raster.width * raster.height / 4e6))))
            shape = -(-raster.height // step), -(-raster.width // step)
            heights = raster.read(1, out_shape=shape, masked=True)
            report |= {
                "cells": [raster.height, raster.width], "resolution": list(raster.res), "bounds": list(raster.bounds),
                "nodata": None if raster.nodata is None else f"{raster.nodata:g}", "bands": raster.count,
            }  # fmt: skip
            values = heights.compressed() * raster.scales[0] + raster.offsets[0]
    except RasterioError as error:
        return report | {"problems": [f"{path} is cut off or damaged: its cells cannot be read ({error})"]}
    values = values[np.isfinite(values)]
    report |= {
        "crs": horizontal(tile.crs).name, "horizontal_unit": horizontal_unit(tile.crs),
        "missing_percent": 100.0 * (1 - len(values) / heights.size),
        "height": [float(values.min()), float(values.max())] if len(values) else None,
    }  # fmt: skip
    heights_m = values * METRES[vertical_unit]
    above = float((heights_m > max_height_m).mean()) if max_height_m is not None and len(values) else 0.0
    if not len(values):
        report["problems"].append(f"{path} holds no height at all")
    elif above > MOST_ABOVE_CEILING:
        report["problems"].append(
            f"{path}: {100 * above:.0f} % of its cells are higher than max_height_m ({max_height_m:g} m), up to "
            f"{heights_m.max():.0f} m; {above_ceiling(vertical_unit)}"
        )
    elif float(np.median(values)) > 130:
        report["problems"].append(
            f"{path} has a median of {np.median(values):.0f}: these look like elevations or feet, not heights above ground in m"
        )
    elif values.min() < -1:
        report["remarks"].append(
            f"{100.0 * (values < -1).mean():.2f} % of the cells are lower than -1 m; they are set to 0, and counted"
        )
    if report["nodata"] is None and report["missing_percent"] == 0:
        report["remarks"].append("no value stands for missing: cells outside the survey would count as height 0")
    return report


def sentences(report: dict[str, Any]) -> list[str]:
    """A report of `inspect_canopy` as lines to print."""
    lines = [f"canopy height raster: {report['path']}"]
    if "crs" in report:
        rows, cols = report["cells"]
        west, south, east, north = report["bounds"]
        lines += [
            f"cells: {rows} x {cols} of {report['resolution'][0]:g} x {report['resolution'][1]:g}; "
            f"{report['missing_percent']:.1f} % missing (value {report['nodata']})",
            f"extent: x {west:.2f} to {east:.2f}, y {south:.2f} to {north:.2f}",
            f"CRS: {report['crs']}, {report['horizontal_unit']} across",
        ]
        if report["height"]:
            lines.append("heights: {:.2f} to {:.2f}".format(*report["height"]))
    lines += [f"wrong: {sentence}" for sentence in report["problems"]]
    lines += [f"note: {sentence}" for sentence in report["remarks"]]
    return lines if report["problems"] else [*lines, "nothing in it would stop a run"]
