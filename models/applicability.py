"""Where a model may be trusted: how unlike its plots a place is, and how many plots are like it.

The dissimilarity index of a place is its distance to the nearest plot, in standardised predictors that are weighted by
how much the model makes of them, over the mean distance between plots. The area of applicability is where it stays
within what plots themselves show against the plots of other clusters: their upper whisker.

References
----------
Meyer & Pebesma 2021, Methods in Ecology and Evolution 12:1620-1633, doi:10.1111/2041-210X.13650 (index, threshold).
Local point density: as the R package CAST defines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

SQUARES, FEW_SQUARES, FEW = 128, 8, 500
"""Squares a side into which the two predictors that set plots apart most are cut, each with the plot that is asked first; fewer
for at most `FEW` places. They spare looking, and decide nothing."""


@dataclass(frozen=True)
class Applicability:
    """The plots of a model as places among its predictors.

    centre, scale : (p,) a predictor (n, p) becomes (predictor - centre) x scale, scale = weight / SD
    plots : (plots, p) in that measure
    mean_distance : mean distance between plots
    threshold : dissimilarity index up to which the model applies
    """

    centre: np.ndarray
    scale: np.ndarray
    plots: np.ndarray
    mean_distance: float
    threshold: float

    def inside(self, X: np.ndarray) -> np.ndarray:
        """Whether the model applies (n,); not where a predictor is missing."""
        from models.kernels import within_reach

        looked_in = self._sorted(SQUARES if len(X) > FEW else FEW_SQUARES)
        return within_reach(np.ascontiguousarray(X, float), self.centre * self.scale, self.scale, *looked_in, self._reach_squared)

    @cached_property
    def _by_squares(self) -> dict[int, tuple[np.ndarray, ...]]:
        return {}

    def _sorted(self, squares: int) -> tuple[np.ndarray, ...]:
        """`_looked_in` for so many squares along a side, made once."""
        if squares not in self._by_squares:
            self._by_squares[squares] = self._looked_in(squares)
        return self._by_squares[squares]

    def _looked_in(self, squares: int) -> tuple[np.ndarray, ...]:
        """What `within_reach` looks in: predictors by how far they set plots apart, the plots rising in the first of them,
        those in its order; and for squares of the first two the plot nearest to their centre, their corner and sides."""
        from scipy.spatial import cKDTree

        order = np.argsort(-self.plots.std(axis=0), kind="stable")
        plots = np.ascontiguousarray(self.plots[np.argsort(self.plots[:, order[0]], kind="stable")])
        ordered = np.ascontiguousarray(plots[:, order])
        leading = ordered[:, [0, min(1, len(order) - 1)]]
        reach = np.sqrt(self._reach_squared) * (1 + 1e-9) + 1e-12
        corner = leading.min(axis=0) - reach
        side = (leading.max(axis=0) + reach - corner) / squares
        centres = (corner[d] + side[d] * (np.arange(squares) + 0.5) for d in range(2))
        away, guess = cKDTree(leading).query(np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1))
        apart = reach * np.sqrt(2) if len(order) == 1 else reach  # one predictor stands for both
        guess[away > apart + np.hypot(*side) / 2] = -1
        return order, plots, ordered, guess.astype(np.int32), corner, side

    def told(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Dissimilarity index and local point density (n,) of places by their predictors (n, p).

        The index is NaN where a predictor is missing. The density says how many plots are as like a place as the threshold
        asks of one: it is above zero just where the model applies.
        """
        from models.kernels import nearest_and_count

        turn, plots = self._turned
        places = ((np.asarray(X, float) - self.centre) * self.scale) @ turn
        squared, density = nearest_and_count(np.ascontiguousarray(places), plots, self._reach_squared)
        return np.sqrt(squared) / self.mean_distance, density

    @cached_property
    def _turned(self) -> tuple[np.ndarray, np.ndarray]:
        """The plots along their main axes, rising along the first, and the turn (p, p) that brings a place there.

        A turn keeps distances. Along the first axis plots lie farthest apart, so that most are out of reach by it alone;
        for 60 to 1,000 plots and 3 to 20 predictors the walk takes 1.4 to 4 times less than a k-d tree (scipy's).
        """
        turn = np.linalg.svd(self.plots - self.plots.mean(axis=0))[2].T
        plots = self.plots @ turn
        return turn, np.ascontiguousarray(plots[np.argsort(plots[:, 0], kind="stable")])

    @property
    def _reach_squared(self) -> float:
        return (self.threshold * self.mean_distance) ** 2 * (1 + 1e-12)  # a plot at the threshold itself is inside

    @classmethod
    def from_plain(cls, plain: Mapping) -> Applicability:
        arrays = {name: np.array(plain[name], float) for name in ("centre", "scale", "plots")}
        return cls(**arrays, mean_distance=float(plain["mean_distance"]), threshold=float(plain["threshold"]))


def applicability(X: np.ndarray, cluster: np.ndarray, weight: np.ndarray | None = None) -> Applicability:
    """Where a model fitted to these plots applies.

    Parameters
    ----------
    X : (n, p) predictors of the plots
    cluster : (n,) plots of one cluster are not held against one another: the model that is checked has not seen it
    weight : (p,), optional
        How much the model makes of each standardised predictor; all alike by default, or where all are zero.

    Raises
    ------
    ValueError
        If there is one cluster only, a predictor is constant, or a weight negative.
    """
    spread = X.std(axis=0, ddof=1)
    if (spread <= 0).any():
        raise ValueError("a predictor is constant over the plots: nothing can be unlike it by measure")
    weight = np.ones(X.shape[1]) if weight is None or not np.any(weight) else np.asarray(weight, float)
    if (weight < 0).any():
        raise ValueError(f"weights of predictors are zero or more, got {weight.min():g}")
    centre, scale = X.mean(axis=0), weight / spread
    plots = np.ascontiguousarray((X - centre) * scale)
    distance = cdist(plots, plots)
    mean_distance = float(distance[~np.eye(len(X), dtype=bool)].mean())
    others = np.where(cluster[:, None] == cluster[None, :], np.inf, distance).min(axis=1)
    if not np.isfinite(others).all():
        raise ValueError("all plots are in one cluster: there is nothing to hold them against")
    index = others / mean_distance
    low, high = np.quantile(index, [0.25, 0.75])
    return Applicability(centre, scale, plots, mean_distance, float(min(high + 1.5 * (high - low), index.max())))


TIMES_APART, SDS_APART = 5.0, 10.0
"""How many times another level, and how many standard deviations away, nearly all of a map is that has another unit."""
ALIKE = 2.0
"""Ratio of level and ratio of spread that differ by less than this factor count as one factor: a unit scales both."""
FEET_PER_M, NEAR_FEET = 1 / 0.3048, 1.2
"""Feet and metres differ by less than forests may, so that both ratios have to come this near."""
FACTORS = {
    FEET_PER_M: "feet and metres", 100.0: "percent and shares, or centimetres and metres",
    1000.0: "millimetres and metres", 10_000.0: "reflectance and its scaled integers",
}  # fmt: skip
"""What numbers of other units differ by."""
FEWEST = 50
"""Values that level and spread are told from."""


def other_unit(centre: float, spread: float, places: np.ndarray) -> str | None:
    """What differs, in a few words, where a predictor has another unit on the map than at the plots beyond doubt: nearly all
    of the map is another size, and out of reach of the plots.

    Parameters
    ----------
    centre, spread : mean and standard deviation at the plots
    places : (n,) values on the map; missing ones are left aside, and fewer than `FEWEST` tell nothing
    """
    known = places[np.isfinite(places)]
    if len(known) < FEWEST:
        return None
    low, middle, high = (float(value) for value in np.quantile(known, [0.05, 0.5, 0.95]))
    far = low > centre + SDS_APART * spread or high < centre - SDS_APART * spread
    if far and abs(middle) >= TIMES_APART * max(abs(centre), spread):
        return beside(low, high, centre, spread)
    return None


def scale_differs(centre: float, spread: float, mean: float, sd: float, low: float, high: float) -> str | None:
    """What a predictor differs by, in a few words, where its level and its spread on the map are both the same factor away
    from the plots': another unit, or a forest that the plots do not show. A map of smaller numbers cannot be told from bare
    land by them, so that this is for a reader to judge.

    Parameters
    ----------
    centre, spread : mean and standard deviation at the plots
    mean, sd : the same of the map's values, which lie mostly between `low` and `high`
    """
    if centre == 0:
        return None
    level, width = mean / centre, sd / spread
    if min(level, width) <= 0 or not 1 / ALIKE <= level / width <= ALIKE:
        return None
    factor = float(np.sqrt(level * width))
    size = max(factor, 1 / factor)
    feet = all(1 / NEAR_FEET <= max(one, 1 / one) / FEET_PER_M <= NEAR_FEET for one in (level, width))
    if size < TIMES_APART and not feet:
        return None
    alike = FEET_PER_M if feet else next((one for one in FACTORS if 1 / 1.5 <= size / one <= 1.5), None)
    unit = f", as {FACTORS[alike]} do" if alike else ""
    return f"{beside(low, high, centre, spread)}: level and spread both differ by a factor of about {factor:.2g}{unit}"


def beside(low: float, high: float, centre: float, spread: float) -> str:
    """A predictor on the map, mostly between `low` and `high`, beside the plots' mean and standard deviation, in words."""
    return f"{low:.4g} to {high:.4g} on the map and {centre:.4g} on average at the plots (standard deviation {spread:.4g})"
