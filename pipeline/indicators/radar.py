"""Radar indicators on terrain-corrected backscatter, gamma0 in linear power.

Averages over dates, looks or neighbours are taken before, in linear power, and decibels after: the mean of decibels is
the logarithm of a geometric mean and lies below. A ratio here is a ratio of such means.
"""

from __future__ import annotations

import math

from pipeline.indicators.registry import indicator

SMALL_2011 = "Small 2011, doi:10.1109/TGRS.2011.2120616 (gamma0, terrain-flattened)"


@indicator(units="dB", valid_range=(-math.inf, math.inf), reference=SMALL_2011)
def vv_db(vv):
    """Backscatter VV in decibels of the mean power: roughness and moisture of the surface."""
    import numpy as np

    return 10 * np.log10(vv)


@indicator(units="dB", valid_range=(-math.inf, math.inf), reference=SMALL_2011)
def vh_db(vh):
    """Backscatter VH in decibels of the mean power: volume scattering in the canopy."""
    import numpy as np

    return 10 * np.log10(vh)


@indicator(
    units="dB",
    valid_range=(-math.inf, math.inf),
    reference="Vreugdenhil et al. 2018, doi:10.3390/rs10091396",
    aliases=("vh_vv", "vh_vv_ratio", "cross_ratio", "vhvvr"),
)
def vh_vv_ratio_db(vv, vh):
    """Cross ratio VH / VV of mean powers, in decibels: vegetation against soil."""
    import numpy as np

    return 10 * np.log10(vh / vv)


@indicator(
    units="1",
    valid_range=(0, 4),
    reference="Nasirzadehdizaji et al. 2019, doi:10.3390/app9040655",
    aliases=("dprvi", "dprvivv", "rvi4s1", "rvi_s1"),
)
def rvi_dual_pol(vv, vh):
    """Radar vegetation index of two polarisations, 4 VH / (VV + VH): randomness of scattering; not the optical RVI."""
    return 4 * vh / (vv + vh)
