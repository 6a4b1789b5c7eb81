"""From aboveground biomass to roots, carbon and carbon dioxide: the only place where these conversions happen."""

from __future__ import annotations

import numpy as np

CARBON_FRACTION = 0.47  # t C per t dry matter: IPCC 2006, vol. 4, table 4.3
CO2_PER_CARBON = 44 / 12  # molar masses: IPCC 2006, vol. 4, ch. 2, section 2.2.3
ROOT_SHOOT = 0.26  # t roots per t shoots, global non-mangrove fallback: wri/carbon-budget v1.4.3
CONTINUOUS_ROOT_SHOOT = (-1.085, 0.9256)  # CDM AR-TOOL14 v04.2, appendix 1


def belowground(agb_mg_ha: np.ndarray | float, *, root_shoot: float) -> np.ndarray | float:
    """Root biomass, Mg/ha, from aboveground biomass, Mg/ha; missing stays missing.

    Raises
    ------
    ValueError
        If `root_shoot` is negative.
    """
    if root_shoot < 0:
        raise ValueError(f"a root:shoot ratio is not negative, got {root_shoot}")
    return agb_mg_ha * root_shoot


def root_shoot_continuous(agb_mg_ha: np.ndarray | float) -> np.ndarray | float:
    """Root:shoot ratio that falls smoothly with aboveground biomass, R = exp(-1.085 + 0.9256 ln b) / b.

    Parameters
    ----------
    agb_mg_ha : array or float
        Aboveground biomass of a stand or stratum, Mg/ha.

    Returns
    -------
    array or float
        t roots per t shoots; missing where biomass is missing or not above zero, where no ratio is defined.

    References
    ----------
    CDM AR-TOOL14 v04.2, appendix 1.
    """
    intercept, slope = CONTINUOUS_ROOT_SHOOT
    agb = np.asarray(agb_mg_ha, dtype="float64")
    positive = np.where(agb > 0, agb, np.nan)
    ratio = np.exp(intercept + slope * np.log(positive)) / positive
    return ratio if ratio.ndim else float(ratio)


def carbon(biomass_mg: np.ndarray | float, *, carbon_fraction: float = CARBON_FRACTION) -> np.ndarray | float:
    """Carbon, t C, in dry biomass, Mg; per hectare in, per hectare out.

    Raises
    ------
    ValueError
        If `carbon_fraction` is not between 0 and 1 (a percentage, for instance).
    """
    if not 0 < carbon_fraction < 1:
        raise ValueError(f"a carbon fraction is a share between 0 and 1, got {carbon_fraction}")
    return biomass_mg * carbon_fraction


def carbon_dioxide(carbon_t: np.ndarray | float) -> np.ndarray | float:
    """Carbon dioxide, t CO2, that holds so much carbon, t C."""
    return carbon_t * CO2_PER_CARBON


def tree_carbon(
    agb_mg_ha: np.ndarray | float, *, root_shoot: float, carbon_fraction: float = CARBON_FRACTION
) -> np.ndarray | float:
    """Carbon above and below ground, t C/ha, from aboveground biomass, Mg/ha."""
    return carbon(agb_mg_ha + belowground(agb_mg_ha, root_shoot=root_shoot), carbon_fraction=carbon_fraction)


def net_removal_co2(
    agb_change_mg_ha_yr: np.ndarray | float, root_shoot: float, carbon_fraction: float = CARBON_FRACTION
) -> np.ndarray | float:
    """Net removal by trees, t CO2/ha/yr, positive where biomass grew, from its yearly change, Mg/ha/yr.

    References
    ----------
    IPCC 2006, vol. 4, ch. 2, eq. 2.8 (stock difference).
    """
    return carbon_dioxide(tree_carbon(agb_change_mg_ha_yr, root_shoot=root_shoot, carbon_fraction=carbon_fraction))


def biomass_from_volume(volume_m3_ha: np.ndarray | float, *, expansion_factor_mg_m3: float) -> np.ndarray | float:
    """Aboveground biomass, Mg/ha, from stem volume, m3/ha, by a biomass conversion and expansion factor, Mg/m3.

    Raises
    ------
    ValueError
        If the factor is not above zero.

    References
    ----------
    IPCC 2006, vol. 4, ch. 2, eq. 2.8b.
    """
    if expansion_factor_mg_m3 <= 0:
        raise ValueError(f"an expansion factor is above zero, got {expansion_factor_mg_m3} Mg/m3")
    return volume_m3_ha * expansion_factor_mg_m3
