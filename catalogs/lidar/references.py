"""The coordinate reference system of a tile: what its records say, in which units, and whether that can be."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

Bounds = tuple[float, float, float, float]

METRES = {"m": 1.0, "ft": 0.3048, "us-ft": 1200 / 3937}  # metres per unit: international and US survey foot
UNIT_OF_EPSG = {9001: "m", 9002: "ft", 9003: "us-ft"}
USER_DEFINED = 32767
BEYOND_USE_DEG = 3.0  # people use a UTM zone or a State Plane zone beyond its edges, but not far beyond


def text(raw: bytes) -> str:
    """Characters up to the first zero."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def crs_of_records(records: dict[tuple[str, int], bytes]) -> tuple[str | None, str | None]:
    """The CRS of a LAS file as WKT or EPSG code, and the vertical unit where GeoTIFF keys name one."""
    wkt = text(records.get(("LASF_Projection", 2112), b""))
    keys = _geo_keys(records.get(("LASF_Projection", 34735), b""))
    unit = UNIT_OF_EPSG.get(keys.get(4099, 0))
    if wkt:
        return wkt, unit
    for key in (3072, 2048):  # ProjectedCSTypeGeoKey before GeographicTypeGeoKey
        if keys.get(key, USER_DEFINED) not in (0, USER_DEFINED):
            vertical = keys.get(4096, USER_DEFINED)
            compound = f"EPSG:{keys[key]}+{vertical}"
            return (compound if vertical not in (0, USER_DEFINED) and _is_known(compound) else f"EPSG:{keys[key]}"), unit
        if key == 3072 and keys.get(1024) == 1:  # projected, but not by a code
            break
    return None, unit


def _geo_keys(raw: bytes) -> dict[int, int]:
    values = struct.unpack_from(f"<{len(raw) // 2}H", raw)
    entries = [values[start : start + 4] for start in range(4, len(values) - 3, 4)]
    return {key: value for key, place, _, value in entries if place == 0}


@lru_cache(maxsize=64)
def _is_known(crs: str) -> bool:
    from pyproj.exceptions import CRSError

    try:
        return parsed(crs).is_compound
    except CRSError:
        return False


@lru_cache(maxsize=64)
def parsed(crs: str) -> CRS:
    from pyproj import CRS

    return CRS.from_user_input(crs)


@lru_cache(maxsize=64)
def horizontal(crs: str) -> CRS:
    """The part of a CRS that says where across the map."""
    whole = parsed(crs)
    return whole.sub_crs_list[0] if whole.is_compound else whole.to_2d()


def crs_name(crs: str) -> str:
    return parsed(crs).name


@lru_cache(maxsize=64)
def vertical_unit(crs: str) -> str | None:
    """The unit of heights that a compound CRS names."""
    whole = parsed(crs)
    if not whole.is_compound:
        return None
    return _unit_of(whole.sub_crs_list[1].axis_info[0].unit_conversion_factor)


@lru_cache(maxsize=64)
def horizontal_unit(crs: str) -> str | None:
    """The unit of coordinates across: m, ft, us-ft; None for degrees and for units we do not know."""
    across = horizontal(crs)
    return _unit_of(across.axis_info[0].unit_conversion_factor) if across.is_projected else None


def _unit_of(factor: float) -> str | None:
    return next((unit for unit, metres in METRES.items() if abs(factor / metres - 1) < 1e-7), None)


def checked_crs(crs: str, path: str, *, declared: bool = False) -> str:
    """`crs`, refused where PROJ cannot read it or where it counts degrees; `declared` by the campaign, not by the file."""
    from pyproj.exceptions import CRSError

    try:
        projected = horizontal(crs).is_projected
    except CRSError:
        shown = crs if len(crs) < 60 else f"{crs[:57]}..."
        if declared:
            raise ValueError(f"crs of the campaign, {shown}, is not a coordinate reference system that PROJ knows") from None
        raise ValueError(f"the CRS of {path} cannot be read ({shown}); set crs of the campaign") from None
    if not projected and declared:
        raise ValueError(
            f"crs of the campaign, {crs_name(crs)}, is not projected; heights and areas need coordinates in metres: if {path} "
            "really counts degrees reproject it, else name the CRS that it is in"
        )
    if not projected:
        raise ValueError(
            f"{path} is in {crs_name(crs)}, which is not projected; heights and areas need coordinates in metres, so "
            "reproject it, or set crs of the campaign if the file is wrong"
        )
    return crs


def refuse_impossible_place(crs: str, bounds: Bounds, path: str, *, declared: bool = False) -> None:
    """Raise where a tile's box cannot be in the CRS it is declared in: degrees, feet, swapped axes, another zone.

    `declared` by the campaign, which goes before the file: then the setting is named, not the file.
    """
    west, south, east, north = bounds
    shown = f"x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}"
    away = _distance_deg(crs, (west + east) / 2, (south + north) / 2)
    if away > 0 and max(abs(west), abs(east)) <= 360 and max(abs(south), abs(north)) <= 90:
        says = "crs of the campaign" if declared else "it"
        change = "to what they are in, or take it out if the file says so itself" if declared else ""
        raise ValueError(
            f"the coordinates of {path} ({shown}) look like degrees, but {says} says {crs_name(crs)}; reproject the file, or "
            f"set crs of the campaign {change}".rstrip()
        )
    if away > BEYOND_USE_DEG:
        where = "no place on earth" if not np.isfinite(away) else f"{away:.0f} degrees outside where that CRS is used"
        if declared:
            raise ValueError(
                f"the coordinates of {path} ({shown}) are impossible in {crs_name(crs)}, which crs of the campaign says: "
                f"{where}; set crs of the campaign to what they are in, or take it out if the file says so itself"
            )
        raise ValueError(
            f"the coordinates of {path} ({shown}) are impossible in {crs_name(crs)}: {where}; feet read as metres, swapped "
            "axes or another zone do this, so set crs of the campaign to what they are in"
        )


@lru_cache(maxsize=4096)
def _distance_deg(crs: str, x: float, y: float) -> float:
    """How far a place lies outside a CRS's area of use, in degrees; infinite where it is no place."""
    lon, lat = to_degrees(crs, np.array([x]), np.array([y]))
    if not (np.isfinite(lon[0]) and np.isfinite(lat[0]) and abs(lat[0]) <= 90):
        return float("inf")
    area = _area_of_use(crs)
    if area is None:
        return 0.0
    west, south, east, north = area
    if east < west:  # across the antimeridian
        east, lon = east + 360, lon % 360
    return float(max(west - lon[0], lon[0] - east, south - lat[0], lat[0] - north, 0.0))


@lru_cache(maxsize=64)
def _area_of_use(crs: str) -> Bounds | None:
    from pyproj import CRS

    found = horizontal(crs)
    if found.area_of_use is None:
        code = found.to_epsg(min_confidence=70)
        found = CRS.from_epsg(code) if code else found
    return found.area_of_use.bounds if found.area_of_use else None


@lru_cache(maxsize=64)
def _degrees_of(crs: str) -> Transformer:
    from pyproj import Transformer

    across = horizontal(crs)
    return Transformer.from_crs(across, across.geodetic_crs, always_xy=True)


def to_degrees(crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of places in a projected CRS, on its own datum."""
    return _degrees_of(crs).transform(x, y)


@lru_cache(maxsize=64)
def same_crs(one: str, other: str) -> bool:
    """Whether two CRS put coordinates at the same place across."""
    return horizontal(one).equals(horizontal(other), ignore_axis_order=True)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(horizontal(source), horizontal(target), always_xy=True)


def mover(source: str, target: str, bounds: Bounds) -> Transformer | None:
    """The horizontal transformation from one CRS to another, None where it moves `bounds` by less than 1 mm."""
    if same_crs(source, target):
        return None
    transformer = _transformer(source, target)
    west, south, east, north = bounds
    corners_x, corners_y = np.array([west, west, east, east]), np.array([south, north, south, north])
    moved_x, moved_y = transformer.transform(corners_x, corners_y)
    if max(np.abs(moved_x - corners_x).max(), np.abs(moved_y - corners_y).max()) < 1e-3:
        return None
    return transformer
