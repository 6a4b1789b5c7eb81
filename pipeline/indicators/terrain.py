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

    from pipeline.relief import gradient

    east, north = gradient(elevation, resolution_m)
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

    from pipeline.relief import gradient

    rise = gradient(elevation, resolution_m)
    steep = np.hypot(*rise)
    return np.where(steep > 0, -rise[axis] / steep, np.where(np.isnan(steep), np.nan, 0))  # it faces downhill
