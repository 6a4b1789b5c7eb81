"""What a scene's files say of themselves, and windows of them."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogs import remote

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

DEGREE_M = 111_320.0
"""Metres per degree of latitude."""


class Profile(NamedTuple):
    """What a file says of itself; its CRS as WKT. Files of one `place` have their pixels in the same places."""

    name: str
    place: str
    transform: Any
    crs: str
    crs_name: str
    projected: bool
    data_type: str
    nodata: float | None
    height: int
    width: int
    tile_rows: int

    @property
    def pixel_m(self) -> tuple[float, float]:
        """Height and width of a pixel on the ground in metres; of degrees, in the middle of the file."""
        height, width = -self.transform.e, self.transform.a
        if self.projected:
            unit_m = _unit_m(self.crs)
            return height * unit_m, width * unit_m
        latitude = self.transform.f + self.transform.e * self.height / 2
        return height * DEGREE_M, width * DEGREE_M * max(math.cos(math.radians(latitude)), 0.01)

    @classmethod
    def of(cls, file: remote.Raster) -> Profile:
        crs, wkt = file.crs, file.crs.to_wkt()
        place = f"{tuple(file.transform)} {wkt}"
        return cls(
            file.name,
            place,
            file.transform,
            wkt,
            str(crs),
            crs.is_projected,
            file.dtypes[0],
            file.nodata,
            file.height,
            file.width,
            file.block_shapes[0][0],
        )


class Window(NamedTuple):
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def of_rasterio(self) -> Any:
        from rasterio.windows import Window

        return Window(self.col0, self.row0, *reversed(self.shape))

    def holds(self, other: Window) -> bool:
        return (
            self.row0 <= other.row0 and other.row1 <= self.row1 and self.col0 <= other.col0 and other.col1 <= self.col1
        )

    def clip(self, height: int, width: int) -> Window:
        row0, col0 = min(max(self.row0, 0), height), min(max(self.col0, 0), width)
        return Window(row0, max(row0, min(self.row1, height)), col0, max(col0, min(self.col1, width)))


@cache
def _unit_m(crs: str) -> float:
    """Length of a projected CRS's unit in metres."""
    from rasterio.crs import CRS

    return CRS.from_user_input(crs).linear_units_factor[1]


@cache
def _wkt(crs: str) -> str:
    from rasterio.crs import CRS

    return CRS.from_user_input(crs).to_wkt()


def wkt_of(geobox: GeoBox) -> str:
    return _wkt(str(geobox.crs))
