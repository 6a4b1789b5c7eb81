"""Airborne lidar as others deliver it: tiles found by their headers, points of a window, canopy height rasters."""

from catalogs.lidar.canopy import CanopyReader, canopy_points, index_canopy
from catalogs.lidar.points import PointReader, Points, concat, no_points, read_points
from catalogs.lidar.references import METRES, Bounds
from catalogs.lidar.tiles import MAX_DAYS_APART, Tile, access_of, index_tiles

__all__ = [
    "MAX_DAYS_APART", "METRES", "Bounds", "CanopyReader", "PointReader", "Points", "Tile", "access_of", "canopy_points", "concat",
    "index_canopy", "index_tiles", "no_points", "read_points",
]  # fmt: skip
