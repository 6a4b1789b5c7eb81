"""Terrain indicators on elevation, on a grid in metres whose rows run south.

Slope and aspect by Horn 1981, as gdaldem. Where a neighbour is missing, at the edge of the elevation model or of the
study, the height opposite is continued through the pixel (2 x centre - opposite), so that no ring of the area is lost, and
a plane keeps its slope to the edge; where a neighbour in the row or column and its opposite are missing, so is the result.
The topographic wetness index is left out: it needs the flow of a whole catchment, which no window around a pixel holds.
"""

from __future__ import annotations

from pipeline.indicators.registry import indicator

TPI_RADIUS_M = 300.0
TPI_MIN_SHARE = 0.24  # of the disc: a corner of the study keeps a quarter
TPI_STEP_M = 1 / 256  # heights are summed in whole steps, far finer than any model is right
HORN = "Horn 1981, doi:10.1109/PROC.1981.11918"


@indicator(units="degree", valid_range=(0, 90), reference=HORN, halo_px=1)
def slope(elevation, *, resolution_m):
    """Slope of the ground."""
    import numpy as np

    east, north = _gradient(elevation, resolution_m)
    return np.degrees(np.arctan(np.hypot(east, north)))


@indicator(units="1", valid_range=(-1, 1), reference=HORN, halo_px=1)
def northness(elevation, *, resolution_m):
    """Cosine of the aspect: 1 where the ground faces north, 0 where it is flat and faces nowhere."""
    return _facing(elevation, resolution_m, 1)


@indicator(units="1", valid_range=(-1, 1), reference=HORN, halo_px=1)
def eastness(elevation, *, resolution_m):
    """Sine of the aspect: 1 where the ground faces east, 0 where it is flat and faces nowhere."""
    return _facing(elevation, resolution_m, 0)


@indicator(
    units="m",
    valid_range=(-10_000, 10_000),
    reference="Guisan et al. 1999, doi:10.1023/A:1009841519580; De Reu et al. 2013, doi:10.1016/j.geomorph.2012.12.015",
    halo_m=TPI_RADIUS_M,
)
def tpi(elevation, *, resolution_m):
    """Topographic position index: height above the mean of the disc of 300 m around; ridges positive, valleys negative."""
    import numpy as np

    from pipeline.indicators.kernels import around

    reach = int(TPI_RADIUS_M / resolution_m + 1e-9)
    if reach < 1:
        raise ValueError(f"tpi looks {TPI_RADIUS_M:g} m around; cells of {resolution_m:g} m have no neighbour that near")
    away = np.arange(reach + 1) * resolution_m
    half_width = (np.sqrt(TPI_RADIUS_M**2 - away**2) / resolution_m + 1e-9).astype("int64")
    steps = np.round(elevation.astype("float64") / TPI_STEP_M)
    missing = np.isnan(steps)
    whole = np.where(missing, 0, steps).astype("int64")
    whole[missing] = np.iinfo("int64").min
    return (steps - around(whole, half_width, TPI_MIN_SHARE)) * TPI_STEP_M


def _facing(elevation, resolution_m: float, axis: int):
    import numpy as np

    gradient = _gradient(elevation, resolution_m)
    steep = np.hypot(*gradient)
    return np.where(steep > 0, -gradient[axis] / steep, np.where(np.isnan(steep), np.nan, 0))  # it faces downhill


def _gradient(elevation, resolution_m: float):
    """Rise per metre towards east and towards north (rows, cols)."""
    import numpy as np

    rows, cols = elevation.shape
    centre = elevation.astype("float64")
    padded = np.pad(centre, 1, constant_values=np.nan)

    def beside(down: int, right: int):
        there = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + cols]
        opposite = padded[1 - down : 1 - down + rows, 1 - right : 1 - right + cols]
        return np.where(np.isnan(there), 2 * centre - opposite, there)  # missing where the pixel itself is, or both

    def across(down: int, right: int, upright, level):
        there = beside(down, right)
        return np.where(np.isnan(there), upright + level - centre, there)  # a corner of the area has neither diagonal

    n, s, w, e = beside(-1, 0), beside(1, 0), beside(0, -1), beside(0, 1)
    nw, ne = across(-1, -1, n, w), across(-1, 1, n, e)
    sw, se = across(1, -1, s, w), across(1, 1, s, e)
    east = ((ne + 2 * e + se) - (nw + 2 * w + sw)) / (8 * resolution_m)
    north = ((nw + 2 * n + ne) - (sw + 2 * s + se)) / (8 * resolution_m)
    missing = np.isnan(centre)
    return np.where(missing, np.nan, east), np.where(missing, np.nan, north)
