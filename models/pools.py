"""From aboveground biomass to roots, carbon and carbon dioxide: the only place where these conversions happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

CARBON_FRACTION = 0.47  # t C per t dry matter: IPCC 2006, vol. 4, table 4.3
CO2_PER_CARBON = 44 / 12  # molar masses: IPCC 2006, vol. 4, ch. 2, section 2.2.3
ROOT_SHOOT = 0.26  # t roots per t shoots, global non-mangrove fallback: wri/carbon-budget v1.4.3
CONTINUOUS_ROOT_SHOOT = (-1.085, 0.9256)  # CDM AR-TOOL14 v04.2, appendix 1
LITTER_CARBON_FRACTION = 0.37  # IPCC 2006, vol. 4, ch. 2, table 2.2, footnote

# CDM AR-TOOL12, measured dead wood: what is left of a dead tree's biomass
STRUCTURE_LEFT = {"leaves_lost": 0.975, "branches_lost": 0.80}
DENSITY_LEFT = {"sound": 1.00, "intermediate": 0.80, "rotten": 0.45}


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


def by_class(values: np.ndarray, upper: Sequence[float], factors: Sequence[float]) -> np.ndarray:
    """The factor of the class that each value lies in; missing where the value is, or where it is below zero.

    Parameters
    ----------
    values : array (n,)
    upper : sequence
        Upper bound of each class, rising, the last infinite; a bound belongs to the class it ends.
    factors : sequence
        One per class.
    """
    values = np.asarray(values, dtype="float64")
    found = np.asarray(factors, dtype="float64")[np.minimum(np.searchsorted(upper, values), len(upper) - 1)]
    return np.where(values >= 0, found, np.nan)


def by_class_of_groups(
    values: np.ndarray, groups: np.ndarray, *, upper: Sequence[float], factors: Sequence[float]
) -> np.ndarray:
    """The factor (n,) of the class that the mean of each one's group lies in; missing where the value is.

    Factors by class jump at the bounds: of plots on both sides of one, the fuller may get less roots (or biomass) than the
    emptier, and a growing plot could lose some. One class for a group, by its mean over plots, does neither.
    """
    values = np.asarray(values, dtype="float64")
    return np.where(np.isfinite(values), by_class(mean_of_groups(values, groups), upper, factors), np.nan)


def mean_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean (n,) over the known members of each one's group; missing where none is known."""
    _, member = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (np.bincount(member, np.where(known, values, 0.0)) / np.bincount(member, known))[member]


def standing_dead_share(decay: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """What is left (n,) of the biomass that dead standing trees had, by decay class and lost structure.

    Parameters
    ----------
    decay, structure : arrays (n,) of str
        Keys of `DENSITY_LEFT` and `STRUCTURE_LEFT`; '' counts as sound wood that has lost its leaves and twigs.

    Raises
    ------
    ValueError
        For another word.

    References
    ----------
    CDM AR-TOOL12.
    """
    shares = []
    for words, table, default in ((decay, DENSITY_LEFT, "sound"), (structure, STRUCTURE_LEFT, "leaves_lost")):
        words = np.where(np.asarray(words).astype(str) == "", default, np.asarray(words).astype(str))
        unknown = sorted(set(words) - set(table))
        if unknown:
            raise ValueError(f"{str(unknown[0])!r} is not a state of dead trees; known: {', '.join(table)}")
        shares.append(np.array([table[word] for word in words.tolist()]))
    return shares[0] * shares[1]


def dead_wood_and_litter(
    carbon_stock: np.ndarray | float, *, domain: str, elevation_m: float, rain_mm: float
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Default dead wood and litter as shares of a stock: of tree carbon, roots included, as the source asks.

    Parameters
    ----------
    carbon_stock : array or float
        t C/ha of trees above and below ground for dead wood and litter in t C/ha. (wri/carbon-budget applies the same
        shares to aboveground dry matter and turns them into carbon by 0.47 and 0.37.)
    domain : str
        tropical, temperate or boreal; in the tropics elevation and yearly rain decide.

    Returns
    -------
    dead wood, litter : in the unit of `carbon_stock`

    References
    ----------
    CDM AR-TOOL12, default shares.
    """
    if domain not in ("tropical", "temperate", "boreal"):
        raise ValueError(f"{domain!r} is not one of tropical, temperate, boreal")
    if domain != "tropical":
        wood, litter = 0.08, 0.04
    elif elevation_m > 2000:
        wood, litter = 0.07, 0.01
    elif rain_mm <= 1000:
        wood, litter = 0.02, 0.04
    elif rain_mm <= 1600:
        wood, litter = 0.01, 0.01
    else:
        wood, litter = 0.06, 0.01
    return carbon_stock * wood, carbon_stock * litter


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


def carbon_by_fraction(biomass_mg: np.ndarray, carbon_fraction: np.ndarray) -> np.ndarray:
    """Carbon (n,), t C, in dry biomass (n,), Mg, each with a carbon fraction (n,) of its own."""
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


@dataclass(frozen=True)
class CarbonFactors:
    """What turns a mapped target into tree carbon, with errors that all places and dates share (0 where none is stated).

    biomass_per_target : 1 for biomass, Mg per m3 for volume
    strata : root:shoot ratio and its standard error of each stratum that has its own
    """

    root_shoot: float = ROOT_SHOOT
    root_shoot_se: float = 0.0
    carbon_fraction: float = CARBON_FRACTION
    carbon_fraction_se: float = 0.0
    biomass_per_target: float = 1.0
    biomass_per_target_se: float = 0.0
    strata: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def tree_carbon(self, strata: Sequence | None = None) -> np.ndarray | float:
        """t C per unit of the target: of the study, or of places (n,) by their strata; one without a ratio takes the study's."""
        if strata is None:
            return tree_carbon(self.biomass_per_target, root_shoot=self.root_shoot, carbon_fraction=self.carbon_fraction)
        return np.array([replace(self, root_shoot=ratio).tree_carbon() for ratio, _ in self._ratios(strata)])

    def net_removal(self, years: float, strata: Sequence | None = None) -> np.ndarray | float:
        """t CO2 a year per unit of the target's change over so many years."""
        return carbon_dioxide(self.tree_carbon(strata)) / years

    def relative_se(self, strata: Sequence | None = None) -> np.ndarray | float:
        """Standard error of these factors as a share of them, see `relative_error`."""
        if strata is None:
            return relative_error(
                root_shoot=self.root_shoot, root_shoot_se=self.root_shoot_se, carbon_fraction=self.carbon_fraction,
                carbon_fraction_se=self.carbon_fraction_se, expansion_factor=self.biomass_per_target,
                expansion_factor_se=self.biomass_per_target_se,
            )  # fmt: skip
        own = self._ratios(strata)
        return np.array([replace(self, root_shoot=ratio, root_shoot_se=se).relative_se() for ratio, se in own])

    def over(self, shares: Mapping[str, np.ndarray]) -> tuple[np.ndarray | float, np.ndarray | float]:
        """t C per unit of the target of places (n,) by their shares in strata, and its standard error as a share of it.

        What lies in no stratum with a ratio of its own has the study's. Errors of several ratios at one place count as one
        error, as over a region.

        Parameters
        ----------
        shares : mapping of stratum to array (n,) or (rows, cols), 0 to 1; where stands overlap they may add up to more, and count
            in parts
        """
        if not shares:
            return self.tree_carbon(), self.relative_se()
        names = list(shares)
        parts = np.array([np.asarray(shares[name], float) for name in names])
        parts /= np.maximum(parts.sum(axis=0), 1.0)
        rest = 1 - parts.sum(axis=0)
        factor, error = self.tree_carbon(names), self.relative_se(names)
        per_unit = np.tensordot(factor, parts, 1) + rest * self.tree_carbon()
        wrong = np.tensordot(factor * error, parts, 1) + rest * self.tree_carbon() * self.relative_se()
        return per_unit, wrong / per_unit

    def _ratios(self, strata: Sequence) -> list[tuple[float, float]]:
        return [self.strata.get(one, (self.root_shoot, self.root_shoot_se)) for one in strata]


def relative_error(
    *, root_shoot: float, root_shoot_se: float = 0.0, carbon_fraction: float = CARBON_FRACTION, carbon_fraction_se: float = 0.0,
    expansion_factor: float = 1.0, expansion_factor_se: float = 0.0,
) -> float:  # fmt: skip
    """Standard error of the factor from biomass (or volume) to tree carbon, as a share of the factor.

    (1 + R) F E, with independent errors of R, F and E to first order. Whatever place and date the factor serves, it is wrong
    by the same share: stands, years and the project share this error whole.

    References
    ----------
    IPCC 2006, vol. 1, ch. 3, eq. 3.1 (products).
    """
    parts = (root_shoot_se / (1 + root_shoot), carbon_fraction_se / carbon_fraction, expansion_factor_se / expansion_factor)
    return float(np.sqrt(sum(part**2 for part in parts)))


def with_factor_error(
    estimates: Mapping[str, np.ndarray], relative_se: np.ndarray | float, *, lowest: float = -np.inf
) -> dict[str, np.ndarray]:
    """Standard errors and interval ends of estimates once the factor that they are multiplied by has an error too.

    Parameters
    ----------
    estimates : mapping (a table's columns)
        mean, se and any ends whose names begin with low or high, in the unit before or after the factor. A change of two
        stocks with one factor is treated as any mean: its error is the share of the change, not of the stocks.
    relative_se : float or (n,)
        Of the factor, see `relative_error`.
    lowest : float
        Bound of the ends (0 for stocks).

    Returns
    -------
    dict
        se and the ends; these lie as many standard errors from the mean as before.
    """
    mean, se = (np.asarray(estimates[name], dtype="float64") for name in ("mean", "se"))
    whole = np.hypot(se, mean * relative_se)
    ends = [name for name in estimates if str(name).startswith(("low", "high"))]
    with np.errstate(invalid="ignore", divide="ignore"):
        wider = np.where(se > 0, whole / se, 1.0)
    found = {"se": whole}
    for name in ends:
        end = np.asarray(estimates[name], dtype="float64")
        found[name] = np.maximum(mean + (end - mean) * wider, lowest)
    return found


def ratio_of_plots(part: np.ndarray, whole: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """Ratio of sums over plots (n,), such as roots to shoots, and its standard error from how it differs between clusters.

    Returns
    -------
    ratio, standard error : the latter NaN for a single cluster

    References
    ----------
    Cochran 1977, Sampling Techniques, ch. 2.11 and 6.
    """
    ratio = float(part.sum() / whole.sum())
    names, member = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return ratio, float("nan")
    residual = np.bincount(member, part - ratio * whole)
    return ratio, float(np.sqrt(len(names) / (len(names) - 1) * (residual**2).sum()) / whole.sum())


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
