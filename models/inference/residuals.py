"""What a model leaves unexplained: its size, and how it hangs together in space and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist

LEAST_LEFT = 0.1
"""Share of the residuals' squares that stays with them at least, whatever is said to be beside them."""


@dataclass(frozen=True)
class Structure:
    """How residuals of unit variance hang together, told in two ways that an estimate is held against.

    As a field: two places d metres apart correlate with (1 - nugget) exp(-3 d / range_m), and 1 at the same plot;
    `identified` is False where a structure without spatial correlation fits the plots as well.
    As patches: a whole stand has the share `patch` of its residual in common (its species mix, soil, history), stands are
    independent. Plots of one cluster and stratum tell the share.
    """

    range_m: float
    nugget: float
    identified: bool
    patch: float


@dataclass(frozen=True)
class Residuals:
    """A model of the residuals at plot support.

    sd = scale x max(mean, floor) ** power; two dates at one place correlate with `between_dates`. The change of the
    residual between two dates has an SD of change_scale x sqrt(s1^2 + s2^2 - 2 between_dates s1 s2) and a spatial
    structure of its own: noise of the sensors does not persist as the forest's own departures do.
    """

    scale: float
    power: float
    floor: float
    between_dates: float
    change_scale: float
    level: Structure
    change: Structure

    def sd(self, mean: np.ndarray) -> np.ndarray:
        """Residual standard deviation (same shape as `mean`, same unit)."""
        return self.scale * np.maximum(mean, self.floor) ** self.power

    def change_sd(self, first_sd: np.ndarray, second_sd: np.ndarray) -> np.ndarray:
        """Standard deviation of the change of the residual, from the standard deviations at two dates."""
        return self.change_scale * difference_sd(first_sd, second_sd, self.between_dates)

    @classmethod
    def from_plain(cls, plain: Mapping) -> Residuals:
        return cls(**{**plain, "level": Structure(**plain["level"]), "change": Structure(**plain["change"])})


def difference_sd(first_sd: np.ndarray, second_sd: np.ndarray, rho: float | np.ndarray) -> np.ndarray:
    """Standard deviation of a difference of two correlated quantities."""
    return np.sqrt(np.maximum(first_sd**2 + second_sd**2 - 2 * rho * first_sd * second_sd, 0.0))


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
    standardised: np.ndarray,
    xy: np.ndarray,
    columns: np.ndarray,
    patch: np.ndarray,
    *,
    together: np.ndarray | None = None,
    beside: np.ndarray | None = None,
    allowance: float = 0.5,
) -> Structure:
    """Range and nugget of standardised residuals, towards the upper end of what the plots allow.

    Restricted likelihood with the regression's own columns, on a grid; among the pairs whose log-likelihood lies within
    `allowance` of the best, the one with the largest correlation at 200 m is taken, because too short a range makes
    intervals too narrow and plots identify it poorly.

    Parameters
    ----------
    standardised : (n,) residuals divided by their standard deviation
    xy : (n, 2) coordinates, metres
    columns : (n, p) gradient of the mean with respect to the parameters, divided by the same standard deviation
    patch : (n,) patch that each row is in
    together : (n, n), optional
        Correlation of the rows' dates (1 for the same date).
    beside : (n, n), optional
        Covariance of what the rows have beside their residuals: what wrong positions of plots do, see `position.beside`.
    """
    n = len(standardised)
    distance = cdist(xy, xy)
    apart = distance[distance > 1.0]
    if n < columns.shape[1] + 4 or apart.size == 0:
        return Structure(1000.0, 0.0, False, 1.0)  # too few plots to tell: the cautious case, a stand departs as one
    together = np.ones((n, n)) if together is None else together
    nearest = np.where(distance > 1.0, distance, np.inf).min(axis=1)
    shortest = max(float(np.median(nearest)), 10.0)
    ranges = np.geomspace(shortest, max(float(apart.max()), 2 * shortest), 10)
    nuggets = np.linspace(0.0, 1.0, 11)
    columns = columns[:, np.abs(columns).max(axis=0) > 1e-12]
    same_place = (distance <= 1.0).astype(float)
    likelihood = np.full((len(ranges), len(nuggets)), -np.inf)
    for row, range_m in enumerate(ranges):
        smooth = correlation(distance, range_m)
        for col, nugget in enumerate(nuggets):
            if nugget == 1.0 and row:
                likelihood[row, col] = likelihood[0, col]
                continue
            matrix = together * ((1 - nugget) * smooth + nugget * same_place)
            matrix = matrix if beside is None else matrix + beside
            likelihood[row, col] = _restricted(standardised, columns, matrix)
    best = likelihood.max()
    reach = correlation(np.array(200.0), ranges)[:, None] * (1 - nuggets)[None, :]
    candidates = np.where(likelihood >= best - allowance, reach, -1.0)
    row, col = np.unravel_index(int(candidates.argmax()), candidates.shape)
    field = float(ranges[row]), float(nuggets[col])
    near = (patch[:, None] == patch[None, :]) & (distance > 1.0) & (together == 1.0)
    return Structure(*field, bool(best - likelihood[0, -1] > 1.0), _shared_in(near, standardised, field, beside))


def _shared_in(near: np.ndarray, z: np.ndarray, field: tuple[float, float], beside: np.ndarray | None = None) -> float:
    """Correlation of plots of one patch; what the field says of 100 m where fewer than eight pairs tell."""
    first, second = np.nonzero(np.triu(near))
    if len(first) < 8:
        return float((1 - field[1]) * correlation(np.array(100.0), field[0]))
    squares = (z[first] ** 2 + z[second] ** 2).sum()
    if beside is not None:
        squares = max(squares - (np.diag(beside)[first] + np.diag(beside)[second]).sum(), LEAST_LEFT * squares)
    return float(np.clip(2 * (z[first] * z[second]).sum() / squares, 0.0, 1.0))


def _restricted(z: np.ndarray, columns: np.ndarray, matrix: np.ndarray) -> float:
    """Restricted log-likelihood with the variance profiled out; -inf where the correlations cannot be."""
    n, p = len(z), columns.shape[1]
    try:
        lower = np.linalg.cholesky(matrix + 1e-6 * np.eye(n))
        white = solve_triangular(lower, np.column_stack([columns, z]), lower=True)
        inner = np.linalg.cholesky(white[:, :p].T @ white[:, :p] + 1e-9 * np.eye(p))
    except np.linalg.LinAlgError:
        return -np.inf
    half = solve_triangular(inner, white[:, :p].T @ white[:, p], lower=True)
    squares = float(white[:, p] @ white[:, p] - half @ half)
    logs = 2 * np.log(np.diag(lower)).sum() + 2 * np.log(np.diag(inner)).sum()
    return -0.5 * ((n - p) * np.log(max(squares, 1e-12) / (n - p)) + logs)


def between_dates(
    standardised: np.ndarray, plot: np.ndarray, date: np.ndarray, beside: np.ndarray | None = None
) -> float:
    """Correlation of standardised residuals of the same plot at successive dates; 0 where no plot was measured twice.

    What the rows have `beside` their residuals (covariance, see `spatial_structure`) is taken out.
    """
    order = np.lexsort((date, plot))
    z, p = standardised[order], plot[order]
    same = p[1:] == p[:-1]
    if same.sum() < 3:
        return 0.0
    first, second = z[:-1][same], z[1:][same]
    product, squares = (first * second).sum(), np.array([(first**2).sum(), (second**2).sum()])
    if beside is not None:
        a, b = order[:-1][same], order[1:][same]
        product -= beside[a, b].sum()
        squares = np.maximum(squares - [beside[a, a].sum(), beside[b, b].sum()], LEAST_LEFT * squares)
    return float(np.clip(product / np.sqrt(squares[0] * squares[1]), 0.0, 0.99))
