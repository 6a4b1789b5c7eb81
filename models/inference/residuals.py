"""What a model leaves unexplained: its size, and how it hangs together in space and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class Residuals:
    """A model of the residuals at plot support.

    sd = scale x max(mean, floor) ** power; correlation of two places d metres apart = (1 - nugget) exp(-3 d / range_m),
    1 at distance zero; correlation of two dates at one place = between_dates.
    """

    scale: float
    power: float
    floor: float
    range_m: float
    nugget: float
    between_dates: float
    identified: bool

    def sd(self, mean: np.ndarray) -> np.ndarray:
        """Residual standard deviation (same shape as `mean`, same unit)."""
        return self.scale * np.maximum(mean, self.floor) ** self.power


def correlation(distance_m: np.ndarray, range_m: float) -> np.ndarray:
    """Exponential correlation without nugget; `range_m` is where it has fallen to 5 %."""
    return np.exp(-3.0 * np.asarray(distance_m) / range_m)


def spread_of(residual: np.ndarray, mean: np.ndarray) -> tuple[float, float, float]:
    """Scale, power and floor of the power-of-the-mean standard deviation, from residuals (n,) and predictions (n,).

    The power comes from the Gaussian likelihood on a grid between 0 and 1; the floor is a tenth of the mean prediction.
    """
    floor = max(0.1 * float(mean.mean()), 1e-6)
    size = np.maximum(mean, floor)
    best = (np.inf, 0.0, 1.0)
    for power in np.linspace(0.0, 1.0, 11):
        unit = size**power
        scale = float(np.sqrt(np.mean((residual / unit) ** 2)))
        deviance = 2 * len(residual) * np.log(max(scale, 1e-12)) + 2 * np.log(unit).sum()
        if deviance < best[0] - 1e-9:
            best = (deviance, float(power), scale)
    return best[2], best[1], floor


def spatial_structure(
    standardised: list[np.ndarray], places: list[np.ndarray], *, allowance: float = 0.5
) -> tuple[float, float, bool]:
    """Range (m) and nugget share of standardised residuals, towards the upper end of what the plots allow.

    Restricted likelihood of a constant mean with exponential correlation and nugget, on a grid; among the pairs whose
    log-likelihood lies within `allowance` of the best, the one with the largest correlation at typical plot spacing
    is taken, because too short a range makes intervals too narrow (the range is poorly identified from plots).

    Parameters
    ----------
    standardised, places : per date, residuals (n,) of unit variance and coordinates (n, 2) in metres.

    Returns
    -------
    range_m, nugget, identified
        `identified` is False when a model without spatial correlation fits as well.
    """
    usable = [(z, xy) for z, xy in zip(standardised, places, strict=True) if len(z) >= 5]
    if not usable:
        return 1.0, 1.0, False
    spacing = [_nearest_distance(xy) for _, xy in usable]
    shortest = max(min(float(np.median(d)) for d in spacing), 10.0)
    extent = max(float(np.ptp(xy, axis=0).max()) for _, xy in usable)
    ranges = np.geomspace(shortest, max(extent, 2 * shortest), 12)
    nuggets = np.linspace(0.0, 1.0, 11)
    likelihood = np.array([[_restricted(usable, r, v) for v in nuggets] for r in ranges])
    best = likelihood.max()
    pure_nugget = likelihood[:, -1].max()
    reach = correlation(np.array(200.0), ranges)[:, None] * (1 - nuggets)[None, :]
    candidates = np.where(likelihood >= best - allowance, reach, -1.0)
    row, col = np.unravel_index(int(candidates.argmax()), candidates.shape)
    return float(ranges[row]), float(nuggets[col]), bool(best - pure_nugget > 1.0)


def _nearest_distance(xy: np.ndarray) -> np.ndarray:
    distance = cdist(xy, xy)
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


def _restricted(usable: list[tuple[np.ndarray, np.ndarray]], range_m: float, nugget: float) -> float:
    """Mean over dates of the restricted log-likelihood with the variance profiled out."""
    total = 0.0
    for z, xy in usable:
        n = len(z)
        matrix = (1 - nugget) * correlation(cdist(xy, xy), range_m)
        np.fill_diagonal(matrix, 1.0 + 1e-6)
        lower = np.linalg.cholesky(matrix)
        ones = np.linalg.solve(lower, np.ones(n))
        white = np.linalg.solve(lower, z)
        information = ones @ ones
        white = white - ones * (ones @ white) / information
        total += -0.5 * (
            (n - 1) * np.log(white @ white / (n - 1)) + 2 * np.log(np.diag(lower)).sum() + np.log(information)
        )
    return total / len(usable)


def between_dates(standardised: np.ndarray, plot: np.ndarray, date: np.ndarray) -> float:
    """Correlation of standardised residuals of the same plot at successive dates; 0 where no plot was measured twice."""
    order = np.lexsort((date, plot))
    z, p = standardised[order], plot[order]
    same = p[1:] == p[:-1]
    if same.sum() < 3:
        return 0.0
    first, second = z[:-1][same], z[1:][same]
    return float(np.clip((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()), 0.0, 0.99))
