"""Vegetation, moisture, burn, water and soil indicators on surface reflectance, and one of texture."""

from __future__ import annotations

import math

from pipeline.indicators.registry import indicator


@indicator(
    units="1", valid_range=(-1, 1), reference="Rouse et al. 1974; Tucker 1979, doi:10.1016/0034-4257(79)90013-0"
)
def ndvi(red, nir08):
    """Normalised difference vegetation index: green leaf area, saturating in closed forest."""
    return (nir08 - red) / (nir08 + red)


@indicator(units="1", valid_range=(-0.74, 1.25), reference="Jiang et al. 2008, doi:10.1016/j.rse.2008.06.006")
def evi2(red, nir08):
    """Two-band enhanced vegetation index: green leaf area with less saturation and soil effect."""
    return 2.5 * (nir08 - red) / (nir08 + 2.4 * red + 1)


@indicator(units="1", valid_range=(-1, 1), reference="Huete 1988, doi:10.1016/0034-4257(88)90106-X")
def savi(red, nir08):
    """Soil-adjusted vegetation index with L = 0.5."""
    return 1.5 * (nir08 - red) / (nir08 + red + 0.5)


@indicator(units="1", valid_range=(-1, 1), reference="Gitelson et al. 1996, doi:10.1016/S0034-4257(96)00072-7")
def gndvi(green, nir08):
    """Green normalised difference vegetation index: chlorophyll."""
    return (nir08 - green) / (nir08 + green)


@indicator(units="1", valid_range=(-0.172, 1), reference="Badgley et al. 2017, doi:10.1126/sciadv.1602244")
def nirv(red, nir08):
    """Near-infrared reflectance of vegetation: NDVI times near infrared."""
    return (nir08 - red) / (nir08 + red) * nir08


@indicator(units="1", valid_range=(-1, 1), reference="Wilson and Sader 2002, doi:10.1016/S0034-4257(01)00318-2")
def ndmi(nir08, swir16):
    """Normalised difference moisture index: canopy water content; also called NDII and LSWI."""
    return (nir08 - swir16) / (nir08 + swir16)


@indicator(units="1", valid_range=(0, math.inf), reference="Hunt and Rock 1989, doi:10.1016/0034-4257(89)90046-1")
def msi(nir08, swir16):
    """Moisture stress index: rises as leaves dry."""
    return swir16 / nir08


@indicator(units="1", valid_range=(-1, 1), reference="Key and Benson 2006, USDA Forest Service RMRS-GTR-164-CD")
def nbr(nir08, swir22):
    """Normalised burn ratio: falls after fire and felling."""
    return (nir08 - swir22) / (nir08 + swir22)


@indicator(units="1", valid_range=(-1, 1), reference="USGS Landsat surface reflectance-derived spectral indices: NBR2")
def nbr2(swir16, swir22):
    """Normalised burn ratio 2: water in vegetation after fire."""
    return (swir16 - swir22) / (swir16 + swir22)


@indicator(units="1", valid_range=(-1, 1), reference="McFeeters 1996, doi:10.1080/01431169608948714")
def ndwi(green, nir08):
    """Normalised difference water index of open water (McFeeters); Gao's index of that name is `ndmi`."""
    return (green - nir08) / (green + nir08)


@indicator(units="1", valid_range=(-1, 1), reference="Xu 2006, doi:10.1080/01431160600589179")
def mndwi(green, swir16):
    """Modified normalised difference water index: open water, also beside buildings."""
    return (green - swir16) / (green + swir16)


@indicator(units="1", valid_range=(-1, 1), reference="Rikimaru et al. 2002, Tropical Ecology 43, 39-47")
def bsi(blue, red, nir08, swir16):
    """Bare soil index."""
    return ((swir16 + red) - (nir08 + blue)) / ((swir16 + red) + (nir08 + blue))


@indicator(
    units="1", valid_range=(-1, 1), reference="Gitelson, Merzlyak 1994 (as NDVI705), doi:10.1016/S0176-1617(11)81633-0"
)
def ndre(rededge1, nir08):
    """Normalised difference red edge index: chlorophyll, less saturated than NDVI."""
    return (nir08 - rededge1) / (nir08 + rededge1)


@indicator(
    units="1",
    valid_range=(0, 0.5),
    reference="Lu and Batistella 2005, doi:10.1590/S0044-59672005000200015 (texture and biomass)",
    halo_px=1,
)
def nir_texture(nir08):
    """Texture of near infrared: standard deviation in 3 x 3 pixels, missing where fewer than 5 of them are present."""
    import numpy as np

    rows, cols = nir08.shape
    padded = np.pad(nir08.astype("float64"), 1, constant_values=np.nan)
    around = np.stack([padded[down : down + rows, right : right + cols] for down in range(3) for right in range(3)])
    present = ~np.isnan(around)
    count = present.sum(axis=0)
    centre = np.where(present, around, 0).sum(axis=0) / count
    variance = np.where(present, (around - centre) ** 2, 0).sum(axis=0) / count
    return np.where((count >= 5) & present[4], np.sqrt(variance), np.nan)
