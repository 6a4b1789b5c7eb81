"""Texture of the near infrared: crowns and gaps, where greenness has saturated.

Grey level co-occurrence (GLCM): 32 levels of 0.02 reflectance from 0 (0.62 and above is the top one), a limit that is the
same everywhere, so that no scene, block or date has a scale of its own; a window of 7 x 7 pixels; pairs one pixel apart
at 0, 45, 90 and 135 degrees, both ways (symmetric); each property is the mean over the four directions. Pairs with a missing
pixel are left out; missing where the pixel is, or fewer than 25 of the 49 are there. On Sentinel-2 the band is B08, whose
pixels of 10 m are real; a texture of one resampled from 20 m would be that of the resampling.
"""

from __future__ import annotations

import math

from pipeline.indicators.registry import indicator

LEVELS = 32
STEP = 0.02  # reflectance of one grey level
HALF_PX = 3
MIN_PRESENT_PX = 25
MOST_PAIRS = 2 * 6 * 7  # pairs of a 7 x 7 window in one direction, counted both ways

HARALICK = "Haralick et al. 1973, doi:10.1109/TSMC.1973.4309314"
FINEST_NIR = {"s2": {"nir08": "nir"}}


@indicator(
    units="1",
    valid_range=(0, 0.5),
    reference="Lu and Batistella 2005, doi:10.1590/S0044-59672005000200015 (texture and biomass)",
    halo_px=1,
    instead=FINEST_NIR,
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


@indicator(units="1", valid_range=(0, (LEVELS - 1) ** 2), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_contrast(nir08):
    """GLCM contrast of near infrared: mean squared difference of neighbours, in grey levels of 0.02."""
    return _glcm(nir08, "CONTRAST")


@indicator(units="1", valid_range=(0, 1), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_homogeneity(nir08):
    """GLCM homogeneity of near infrared (inverse difference moment): 1 where neighbours are alike."""
    return _glcm(nir08, "HOMOGENEITY")


@indicator(units="1", valid_range=(0, math.log(MOST_PAIRS)), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_entropy(nir08):
    """GLCM entropy of near infrared, natural logarithm: disorder of pairs of neighbours."""
    return _glcm(nir08, "ENTROPY")


@indicator(units="1", valid_range=(0, 1), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_asm(nir08):
    """GLCM angular second moment of near infrared: order of pairs of neighbours; energy is its root."""
    return _glcm(nir08, "SECOND_MOMENT")


@indicator(units="1", valid_range=(-1, 1), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_correlation(nir08):
    """GLCM correlation of near infrared between neighbours; 1 where all are alike, as in scikit-image."""
    return _glcm(nir08, "CORRELATION")


@indicator(units="1", valid_range=(0, (LEVELS - 1) ** 2 / 4), reference=HARALICK, halo_px=HALF_PX, instead=FINEST_NIR)
def glcm_variance(nir08):
    """GLCM variance of near infrared, in squared grey levels of 0.02."""
    return _glcm(nir08, "VARIANCE")


def grey_levels(reflectance):
    """Grey level (int16) of reflectance, -1 where missing."""
    import numpy as np

    # The small addition keeps a reflectance such as 0.06, which float32 holds as 0.0599999987, in the level it begins.
    level = np.clip(np.floor(reflectance.astype("float64") / STEP + 1e-5), 0, LEVELS - 1)
    return np.where(np.isnan(level), -1, level).astype("int16")


def _glcm(nir08, what: str):
    from pipeline.indicators import kernels

    return kernels.glcm(grey_levels(nir08), LEVELS, HALF_PX, MIN_PRESENT_PX, getattr(kernels, what))
