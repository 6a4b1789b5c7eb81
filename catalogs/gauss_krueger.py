"""Gauss-Krueger eastings with and without the zone number in front, as Chinese layers and tables mix them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyproj import CRS

log = logging.getLogger(__name__)


def guessed_crs(bounds: Sequence[float]) -> str:
    """' (the coordinates look like ...)' for coordinates whose CRS nobody named, or ''; west, south, east, north."""
    west, south, east, north = bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return " (the coordinates look like longitude and latitude, EPSG:4326 or EPSG:4490)"
    zone = int((west + east) / 2 // 1e6)
    if zone == int(west // 1e6) == int(east // 1e6):
        if 25 <= zone <= 45:
            return f" (the coordinates look like CGCS2000 3-degree zone {zone}, EPSG:{4513 + zone - 25})"
        if 13 <= zone <= 23:
            return f" (the coordinates look like CGCS2000 6-degree zone {zone}, EPSG:{4491 + zone - 13})"
    return ""


def zone_shift_m(crs: CRS, bounds: Sequence[float], *, file: str, setting: str) -> float:
    """Metres to add to eastings so that they fit their CRS: the zone number put in front or taken off, 0 where they fit.

    The zone number stands in front of the easting (39,500,000 is zone 39, central meridian 117 E in 3-degree zones).
    EPSG 4513-4533 and 4491-4501 expect it, their twins 4534-4554 and 4502-4512 do not.

    Raises
    ------
    ValueError
        Where the eastings fit neither with nor without it; `setting` is the key that names the CRS.
    """
    origin = _origin(crs)
    if origin is None:
        return 0.0
    false_easting, meridian = origin
    west, _, east, _ = bounds
    if abs((west + east) / 2 - false_easting) < 1e6:
        return 0.0
    expected, found = int(false_easting // 1e6), int(west // 1e6)
    one_zone = found == int(east // 1e6)
    if expected == 0 and one_zone and meridian in (3 * found, 6 * found - 3):
        log.warning(
            "%s: the eastings carry the zone number %d, the CRS %s does not; %d taken off", file, found, crs.to_string(), found
        )
        return -found * 1e6
    if expected > 0 and found == 0 and one_zone:
        log.warning(
            "%s: the CRS %s expects the zone number %d in front of the eastings, which lack it; put in front",
            file, crs.to_string(), expected,
        )  # fmt: skip
        return expected * 1e6
    raise ValueError(
        f"{file}: eastings of {west:,.0f} to {east:,.0f} do not fit its CRS {crs.to_string()} (central meridian "
        f"{meridian:g} E, false easting {false_easting:,.0f}){guessed_crs(bounds)}; name the right one in {setting}"
    )


def _origin(crs: CRS) -> tuple[float, float] | None:
    """False easting (m) and central meridian (degrees) of a Gauss-Krueger CRS (transverse Mercator of scale 1)."""
    operation = crs.coordinate_operation
    if operation is None or operation.method_name != "Transverse Mercator":
        return None
    values = {parameter.name: parameter.value for parameter in operation.params}
    if values.get("Scale factor at natural origin") != 1.0:
        return None
    return values["False easting"], values["Longitude of natural origin"]
