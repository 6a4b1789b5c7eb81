"""How many plots a wanted precision takes, where they go, and what a map as auxiliary saves.

References
----------
Cochran 1977, Sampling Techniques, 3rd ed., Wiley (sections 4.7, 5.5-5.9, 10.6).
Neyman 1934, Journal of the Royal Statistical Society 97:558-625, doi:10.2307/2342192.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

Allocation = Literal["neyman", "proportional"]


@dataclass(frozen=True)
class Stratum:
    """A part of the area as it is known before sampling.

    mean, sd : of the target at plot support, unit per hectare: from a pilot, an old inventory, or the map
    r2 : share of the variance at plot support that the map explains there, from grouped cross-validation; 0 without a map
    """

    name: str
    area_ha: float
    mean: float
    sd: float
    r2: float = 0.0

    @property
    def unexplained_sd(self) -> float:
        """Standard deviation of what the map leaves."""
        return self.sd * float(np.sqrt(1 - self.r2))


@dataclass(frozen=True)
class Layout:
    """Locations by kind: clusters of `plots_per_cluster` plots take `cluster_share` of them, the rest are single plots.

    plots_per_cluster : their mean number, where borders cut clusters
    correlation : of two plots of a cluster (0.4-0.6 for basal area at 80 m in montane forest; 1 makes a cluster one plot)
    mean_square : of the number of plots of a cluster; None where all clusters have the same
    """

    cluster_share: float = 0.0
    plots_per_cluster: float = 4
    correlation: float = 0.5
    mean_square: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.cluster_share <= 1:
            raise ValueError(f"the share of locations that are clusters is between 0 and 1, got {self.cluster_share:g}")
        if not 0 <= self.correlation <= 1:
            raise ValueError(f"the correlation of two plots of a cluster is between 0 and 1, got {self.correlation:g}")
        if not self.plots_per_cluster >= 1:
            raise ValueError(f"a cluster has at least 1 plot on average, got {self.plots_per_cluster:g}")

    @property
    def plots_per_location(self) -> float:
        return 1 + self.cluster_share * (self.plots_per_cluster - 1)

    @property
    def location_variance(self) -> float:
        """Variance of the ratio-of-sums mean of one location, relative to that of a single plot.

        sum M^2 Var(Y_c) / (n mean(M)^2): a cluster of m has Var(Y_c) = (1 + (m - 1) rho) / m, so M^2 Var(Y_c) is
        m + (m^2 - m) rho, in the mean over clusters.
        """
        m, rho = self.plots_per_cluster, self.correlation
        square = m**2 if self.mean_square is None else self.mean_square
        of_cluster = m + (square - m) * rho
        return ((1 - self.cluster_share) + self.cluster_share * of_cluster) / self.plots_per_location**2


@dataclass(frozen=True)
class SampleSize:
    """Locations per stratum (in the order of the strata) and the precision that they promise.

    half_width_percent : half of the confidence interval in percent of the mean
    """

    strata: tuple[str, ...]
    locations: tuple[int, ...]
    expected_mean: float
    expected_se: float
    half_width_percent: float
    degrees_of_freedom: float

    @property
    def total(self) -> int:
        return sum(self.locations)


def plots_needed(
    strata: Sequence[Stratum],
    *,
    half_width_percent: float = 10.0,
    confidence_percent: float = 90.0,
    allocation: Allocation = "neyman",
    with_map: bool = False,
    layout: Layout | Mapping[str, Layout] | None = None,
    min_per_stratum: int = 3,
    min_locations: int = 0,
) -> SampleSize:
    """The smallest sample whose interval is expected to be no wider than wanted.

    Parameters
    ----------
    strata : the whole area, part by part
    half_width_percent : half of the interval, in percent of the mean
    with_map : the estimator uses the map (GREG): only what it leaves counts
    layout : clusters and singles, the same everywhere or by stratum; None for single plots
    min_locations : of all strata together, below which a design-based total is not reported
    min_per_stratum : locations below which a stratum's own error is not told (two would do, one may be out of reach)

    Raises
    ------
    ValueError
        Where strata are empty, the mean is not above zero, the wanted precision is not positive, or the confidence is no
        percentage between 50 and 100.
    """
    if not half_width_percent > 0:
        raise ValueError(f"the half width of the interval is above 0 % of the mean, such as 10; got {half_width_percent:g}")
    if not strata:
        raise ValueError("there is no stratum to draw plots in")
    if min_per_stratum < 2:
        raise ValueError(f"each stratum needs at least 2 plots to tell its error, got {min_per_stratum}")
    if not 50 < confidence_percent < 100:
        raise ValueError(f"the confidence of an interval is above 50 % and below 100 %, such as 90; got {confidence_percent:g}")
    for one in strata:
        if not one.area_ha > 0 or not one.sd >= 0 or not 0 <= one.r2 < 1:
            raise ValueError(
                f"stratum {one.name!r} needs an area above 0 ha, a standard deviation of 0 or more and an r2 from 0 to below 1; "
                f"got {one.area_ha:g} ha, {one.sd:g}, {one.r2:g}"
            )
    area = np.array([one.area_ha for one in strata])
    share = area / area.sum()
    mean = float(share @ np.array([one.mean for one in strata]))
    if not mean > 0:
        raise ValueError(f"the mean of the target over all strata is {mean:g}; a precision in percent needs one above 0")
    spread = np.array([one.unexplained_sd if with_map else one.sd for one in strata])
    layouts = layout if isinstance(layout, Mapping) else {one.name: layout or Layout() for one in strata}
    spread = spread * np.sqrt([layouts[one.name].location_variance for one in strata])
    wanted = half_width_percent / 100 * mean
    low = high = max(min_per_stratum * len(strata), min_locations)
    while _reach(share, spread, _allocate(share, spread, high, allocation, min_per_stratum), confidence_percent)[0] > wanted:
        low, high = high, high * 2
        if high > 10_000_000:
            raise ValueError(f"a half width of {half_width_percent:g} % would take more than ten million plots")
    while high - low > 1:
        middle = (low + high) // 2
        counts = _allocate(share, spread, middle, allocation, min_per_stratum)
        low, high = (low, middle) if _reach(share, spread, counts, confidence_percent)[0] <= wanted else (middle, high)
    counts = _allocate(share, spread, high, allocation, min_per_stratum)
    reach, se, freedom = _reach(share, spread, counts, confidence_percent)
    return SampleSize(
        tuple(one.name for one in strata), tuple(int(n) for n in counts), mean, se, 100 * reach / mean, freedom
    )


ENOUGH_FOR_SD, ENOUGH_FOR_R2 = 8, 15
"""Pilot plots of a stratum, below which its spread and the map's share of it are taken from all plots."""


def strata_from_pilot(
    area_ha: Mapping[str, float],
    stratum: np.ndarray,
    observed: np.ndarray,
    predicted: np.ndarray | None = None,
    *,
    mean: Mapping[str, float] | None = None,
) -> tuple[list[Stratum], list[str]]:
    """What a pilot sample tells of each stratum, and a sentence for each thing that it had to borrow.

    Parameters
    ----------
    area_ha : stratum -> area; every one of them is in the result
    stratum : (n,) of the pilot plots; plots of strata that are not in `area_ha` count for the whole alone
    observed, predicted : (n,) target at the plots, and the map there made without them (left-out); None without a map
    mean : stratum -> mean of the target, where something better than the plots tells it (a map)

    Notes
    -----
    A stratum with fewer than 8 plots takes the coefficient of variation of all plots, with fewer than 15 the r2 pooled within
    strata. r2 = 1 - sum (observed - predicted)^2 / sum (observed - stratum mean)^2, between 0 and 0.95.
    """
    if len(observed) < 2:
        raise ValueError(f"{len(observed)} pilot plots do not tell how much the target varies; at least 2 are needed")
    overall = float(np.mean(observed))
    if overall <= 0:
        raise ValueError(f"the target averages {overall:g} at the pilot plots; a precision in percent needs a mean above 0")
    residual = np.zeros(len(observed)) if predicted is None else observed - predicted
    groups = {name: np.flatnonzero(stratum == name) for name in area_ha}
    centred = np.concatenate([observed[rows] - observed[rows].mean() for rows in groups.values() if len(rows) > 1] or [[]])
    pooled_cv = float(np.std(observed, ddof=1)) / overall
    if len(centred) >= ENOUGH_FOR_SD:
        means = np.concatenate([np.full(len(rows), observed[rows].mean()) for rows in groups.values() if len(rows) > 1])
        free = len(centred) - sum(len(rows) > 1 for rows in groups.values())
        pooled_cv = float(np.sqrt((centred**2).sum() / max(free, 1))) / float(means.mean())
    inside = np.concatenate([rows for rows in groups.values() if len(rows) > 1] or [np.array([], dtype=int)])
    pooled_r2 = _explained(residual[inside], centred) if predicted is not None and len(inside) >= ENOUGH_FOR_SD else 0.0
    strata, notes = [], []
    for name, rows in groups.items():
        own = float(observed[rows].mean()) if len(rows) >= 2 else overall
        if mean is not None and np.isfinite(mean.get(name, np.nan)):
            own = float(mean[name])
        elif len(rows) < 2:
            notes.append(f"stratum {name}: no pilot plots enough for a mean; that of all plots is taken")
        sd = pooled_cv * own
        if len(rows) >= ENOUGH_FOR_SD:
            sd = float(np.std(observed[rows], ddof=1))
        else:
            notes.append(f"stratum {name}: {len(rows)} pilot plots; the relative spread within all strata is taken")
        r2 = pooled_r2
        if predicted is not None and len(rows) >= ENOUGH_FOR_R2:
            r2 = _explained(residual[rows], observed[rows] - observed[rows].mean())
        strata.append(Stratum(name, float(area_ha[name]), own, sd, r2))
    return strata, notes


def _explained(residual: np.ndarray, centred: np.ndarray) -> float:
    total = float((centred**2).sum())
    return float(np.clip(1 - float((residual**2).sum()) / total, 0.0, 0.95)) if total > 0 else 0.0


def _allocate(share: np.ndarray, spread: np.ndarray, total: int, allocation: Allocation, least: int) -> np.ndarray:
    """Whole numbers that add up to `total` (or to the least of all strata), by largest remainders."""
    size = share * spread if allocation == "neyman" else share
    if allocation not in ("neyman", "proportional"):
        raise ValueError(f"allocation is neyman or proportional, got {allocation!r}")
    if size.sum() == 0:
        size = share
    counts = np.full(len(share), least)
    free = np.ones(len(share), dtype=bool)
    while True:  # strata that would get fewer than the least keep the least, the others share the rest
        rest = total - least * int((~free).sum())
        ideal = rest * size / size[free].sum()
        below = free & (ideal < least)
        if not below.any() or below.sum() == free.sum():
            break
        free &= ~below
    if rest < least * int(free.sum()):
        return counts
    whole = np.floor(ideal + 1e-9).astype(int)
    counts = np.where(free, whole, least)
    order = np.argsort(-(ideal - whole)[free], kind="stable")[: total - int(counts.sum())]
    counts[np.flatnonzero(free)[order]] += 1
    return counts


def _reach(share: np.ndarray, spread: np.ndarray, counts: np.ndarray, confidence_percent: float) -> tuple[float, float, float]:
    """Half width, standard error and Satterthwaite's degrees of freedom of the stratified mean."""
    parts = share**2 * spread**2 / counts
    variance = float(parts.sum())
    if variance == 0:
        return 0.0, 0.0, float(counts.sum() - len(counts))
    freedom = variance**2 / float((parts**2 / (counts - 1)).sum())
    se = float(np.sqrt(variance))
    return float(student.ppf(0.5 + confidence_percent / 200, freedom)) * se, se, freedom


def best_plots_per_cluster(*, cost_of_location: float, cost_of_plot: float, correlation: float) -> int:
    """Plots per cluster that buy the smallest variance for a budget (Cochran 1977, section 10.6).

    sqrt(cost of reaching a location / cost of a plot x (1 - rho) / rho), to the whole number that costs less.
    """
    if cost_of_location < 0 or cost_of_plot <= 0 or not 0 < correlation < 1:
        raise ValueError("costs of 0 or more, a cost of a plot above 0 and a correlation between 0 and 1 are needed")
    ideal = np.sqrt(cost_of_location / cost_of_plot * (1 - correlation) / correlation)

    def price(m: int) -> float:
        return (cost_of_location + m * cost_of_plot) * (1 + (m - 1) * correlation) / m

    below = max(int(np.floor(ideal)), 1)
    return min((below, below + 1), key=price)
