"""Vegetation, moisture, burn, water, soil and red edge indicators on surface reflectance, of each pixel alone."""

from __future__ import annotations

import math

from pipeline.indicators.registry import indicator

# ---------------------------------------------------------------- green leaf area


@indicator(units="1", valid_range=(-1, 1), reference="Rouse et al. 1974; Tucker 1979, doi:10.1016/0034-4257(79)90013-0")
def ndvi(red, nir08):
    """Normalised difference vegetation index: green leaf area, saturating in closed forest."""
    return (nir08 - red) / (nir08 + red)


@indicator(units="1", valid_range=(-math.inf, math.inf), reference="Huete et al. 2002, doi:10.1016/S0034-4257(02)00096-2")
def evi(blue, red, nir08):
    """Enhanced vegetation index: green leaf area with less saturation; without bounds over bright snow and cloud, see evi2."""
    return 2.5 * (nir08 - red) / (nir08 + 6 * red - 7.5 * blue + 1)


@indicator(units="1", valid_range=(-0.74, 1.25), reference="Jiang et al. 2008, doi:10.1016/j.rse.2008.06.006")
def evi2(red, nir08):
    """Two-band enhanced vegetation index: green leaf area with less saturation and soil effect."""
    return 2.5 * (nir08 - red) / (nir08 + 2.4 * red + 1)


@indicator(units="1", valid_range=(-1, 1), reference="Huete 1988, doi:10.1016/0034-4257(88)90106-X")
def savi(red, nir08):
    """Soil-adjusted vegetation index with L = 0.5."""
    return 1.5 * (nir08 - red) / (nir08 + red + 0.5)


@indicator(units="1", valid_range=(-1, 1), reference="Qi et al. 1994, doi:10.1016/0034-4257(94)90134-1", aliases=("msavi2",))
def msavi(red, nir08):
    """Modified soil-adjusted vegetation index, the closed form (MSAVI2): its soil line follows the cover."""
    # Qi's (2 nir + 1)^2 - 8 (nir - red) under the root, multiplied out: no difference of large numbers, so nothing is lost.
    return (2 * nir08 + 1 - ((2 * nir08 - 1) ** 2 + 8 * red) ** 0.5) / 2


@indicator(units="1", valid_range=(-1, 1), reference="Gitelson et al. 1996, doi:10.1016/S0034-4257(96)00072-7")
def gndvi(green, nir08):
    """Green normalised difference vegetation index: chlorophyll."""
    return (nir08 - green) / (nir08 + green)


@indicator(units="1", valid_range=(-0.172, 1), reference="Badgley et al. 2017, doi:10.1126/sciadv.1602244")
def nirv(red, nir08):
    """Near-infrared reflectance of vegetation: NDVI times near infrared."""
    return (nir08 - red) / (nir08 + red) * nir08


@indicator(units="1", valid_range=(0, 0.762), reference="Camps-Valls et al. 2021, doi:10.1126/sciadv.abc7447")
def kndvi(red, nir08):
    """Kernel NDVI with sigma = (near infrared + red) / 2 of each pixel, which makes it tanh(NDVI squared)."""
    import numpy as np

    return np.tanh(((nir08 - red) / (nir08 + red)) ** 2)


# ---------------------------------------------------------------- water in leaves, fire


@indicator(
    units="1",
    valid_range=(-1, 1),
    reference="Hardisky et al. 1983, Photogrammetric Engineering and Remote Sensing 49, 77-83 (as NDII); "
    "Wilson and Sader 2002, doi:10.1016/S0034-4257(01)00318-2",
    aliases=("ndii", "lswi", "ndwi_gao", "gndwi"),
)
def ndmi(nir08, swir16):
    """Normalised difference moisture index: canopy water content; the same formula as NDII, LSWI and Gao's NDWI."""
    return (nir08 - swir16) / (nir08 + swir16)


@indicator(units="1", valid_range=(0, math.inf), reference="Hunt and Rock 1989, doi:10.1016/0034-4257(89)90046-1")
def msi(nir08, swir16):
    """Moisture stress index: rises as leaves dry."""
    return swir16 / nir08


@indicator(
    units="1",
    valid_range=(-1, 1),
    reference="Lopez Garcia and Caselles 1991, doi:10.1080/10106049109354290; Key and Benson 2006, USDA Forest Service "
    "RMRS-GTR-164-CD",
)
def nbr(nir08, swir22):
    """Normalised burn ratio: falls after fire and felling."""
    return (nir08 - swir22) / (nir08 + swir22)


@indicator(
    units="1",
    valid_range=(-1, 1),
    reference="USGS, Landsat surface reflectance-derived spectral indices, product guide: Landsat Normalized Burn Ratio 2",
)
def nbr2(swir16, swir22):
    """Normalised burn ratio 2: water in vegetation after fire."""
    return (swir16 - swir22) / (swir16 + swir22)


# ---------------------------------------------------------------- open water, soil


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


# ---------------------------------------------------------------- red edge


@indicator(
    units="1",
    valid_range=(-1, 1),
    reference="Gitelson and Merzlyak 1994, doi:10.1016/1011-1344(93)06963-4",
    aliases=("ndrei",),
)
def ndre(rededge1, nir08):
    """Normalised difference red edge index: chlorophyll, less saturated than NDVI."""
    return (nir08 - rededge1) / (nir08 + rededge1)


@indicator(
    units="1",
    valid_range=(-1, math.inf),
    reference="Gitelson et al. 2003, doi:10.1078/0176-1617-00887",
    aliases=("cire", "ci_re", "cirededge"),
)
def ci_red_edge(rededge1, nir08):
    """Chlorophyll index of the red edge (CIre): near linear in canopy chlorophyll."""
    return nir08 / rededge1 - 1


@indicator(
    units="1",
    valid_range=(-math.inf, math.inf),
    reference="Frampton et al. 2013, doi:10.1016/j.isprsjprs.2013.04.007",
    sensors=("s2",),
)
def ireci(red, rededge1, rededge2, rededge3):
    """Inverted red edge chlorophyll index: the depth of the red against the height of the red edge."""
    return (rededge3 - red) / (rededge1 / rededge2)


@indicator(
    units="1",
    valid_range=(-math.inf, math.inf),
    reference="Dash and Curran 2004, doi:10.1080/0143116042000274015",
    sensors=("s2",),
)
def mtci(red, rededge1, rededge2):
    """MERIS terrestrial chlorophyll index on the bands of Sentinel-2; without bounds where no red edge is."""
    return (rededge2 - rededge1) / (rededge1 - red)


@indicator(
    units="nm",
    valid_range=(-math.inf, math.inf),
    reference="Frampton et al. 2013, doi:10.1016/j.isprsjprs.2013.04.007, after Guyot and Baret 1988",
    sensors=("s2",),
)
def s2rep(red, rededge1, rededge2, rededge3):
    """Sentinel-2 red edge position by linear interpolation: 700 to 740 nm over leaves, without bounds elsewhere."""
    return 705 + 35 * ((rededge3 + red) / 2 - rededge1) / (rededge2 - rededge1)
