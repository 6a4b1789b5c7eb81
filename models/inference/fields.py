"""Residuals of several stands as one field: how what lies in them hangs together, and what plots have in common with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from models.inference.correlations import ellipse_correlation, mean_correlation
from models.inference.regions import Regions

FAR = 2.5
"""Plots farther from a stand than so many ranges (correlation below 0.06 %) have nothing in common with it."""
NOTHING = 8.0
"""Squares farther apart than so many ranges (correlation below 4e-11) have nothing in common."""
MANY = 250
"""Stands from which on not all pairs of their points are looked at, but squares that lie over them."""
SQUARES, COARSE = 1024, 64
"""Squares along the longer side of all stands: to tell how their residuals hang together, and what plots have to do with
them."""
STREWN_AT_ONCE = 2000
"""Stands whose cells are laid over the squares in one go, eighty each."""


@dataclass(frozen=True)
class Spread:
    """What very many stands have in each of the squares of side `side_m` that lie over them all: weight (rows, cols)."""

    weight: np.ndarray
    side_m: float

    def correlated(self, ranges: np.ndarray) -> list[float]:
        """Weighted sum of the mean correlation of all pairs of squares, at each range."""
        reach = [self._lags(range_m) for range_m in ranges]
        pairs = self._pairs(np.max(reach, axis=0)) if len(reach) else None
        found = []
        for range_m, (rows, cols) in zip(ranges, reach, strict=True):
            away = self.side_m * np.hypot(np.arange(rows)[:, None], np.arange(cols)[None, :])
            told = mean_correlation(away, np.array(self.side_m), range_m)
            found.append(float(np.vdot(pairs[:rows, :cols], told)))
        return found

    def _lags(self, range_m: float) -> tuple[int, int]:
        """Rows and columns by which squares may be apart and still have something in common."""
        most = int(np.ceil(NOTHING * range_m / self.side_m)) + 1
        return min(self.weight.shape[0], most), min(self.weight.shape[1], most)

    def _pairs(self, lags: np.ndarray) -> np.ndarray:
        """Weight (lags) of the pairs of squares that are so many rows and columns apart, by Fourier transform."""
        from scipy.fft import irfft2, next_fast_len, rfft2

        shape = [next_fast_len(n + most - 1, real=True) for n, most in zip(self.weight.shape, lags, strict=True)]
        found = rfft2(self.weight, shape)
        found.real, found.imag = found.real**2 + found.imag**2, 0.0
        pairs = irfft2(found, shape, overwrite_x=True)
        rows, cols = (int(most) for most in lags)
        for _ in range(2):  # as many rows up as down, then as many columns; lags below zero stand at the end
            pairs[1:rows] += pairs[: -rows : -1] if rows > 1 else 0.0
            pairs, rows, cols = pairs[:rows].T, cols, rows
        return pairs


@dataclass(frozen=True)
class Field:
    """Where the residuals of several stands are: points (m, 2), weights (m,) in target units that add up to the mean residual
    SD, the side (m,) of the square that each stands for, the stand (m,) that each is in; of each stand (k,) the sum of weights,
    and its shape. Of more than `MANY` stands the points are those of squares with what all stands have in them, `stand` is
    empty and `spread` has finer squares."""

    points: np.ndarray
    weight: np.ndarray
    cell_m: np.ndarray
    stand: np.ndarray
    stands: np.ndarray
    regions: Regions
    spread: Spread | None = None

    def correlated(self, ranges: np.ndarray) -> np.ndarray:
        """Weighted mean correlation (k,) of the field with itself at each range: within stands by their shapes, between them
        by lattice cells or squares."""
        if self.spread is not None:
            return np.array(self.spread.correlated(ranges)) + [self._sharpened(one) for one in ranges]
        within = np.array([self.stands**2 @ self.regions.correlation(one) for one in ranges])
        for start in range(0, len(self.weight), 500):
            rows = slice(start, start + 500)
            later = slice(start, None)  # every pair once; pairs of two blocks count twice
            weight = np.where(self.stand[rows, None] == self.stand[None, later], 0.0, self.weight[rows, None])
            weight *= self.weight[None, later]
            weight[:, 500:] *= 2
            distance = cdist(self.points[rows], self.points[later])
            sides = np.sqrt((self.cell_m[rows, None] ** 2 + self.cell_m[None, later] ** 2) / 2)
            for number, range_m in enumerate(ranges):
                within[number] += float(np.vdot(weight, mean_correlation(distance, sides, range_m)))
        return within

    def _sharpened(self, range_m: float) -> float:
        """Squares see each stand blurred by their size: what that takes from it."""
        plain = np.isfinite(self.regions.axes_m[:, 0])
        axes = np.where(plain[:, None], self.regions.axes_m, self.regions.radius_m[:, None])
        blurred = np.sqrt(axes**2 + self.spread.side_m**2 / np.pi)
        lost = ellipse_correlation(axes, range_m) - ellipse_correlation(blurred, range_m)
        return float(self.stands**2 @ lost)

    def in_common(self, xy: np.ndarray, pull: np.ndarray, ranges: np.ndarray) -> np.ndarray:
        """Covariance (k,) of what residuals at places xy (m, 2) pull (m,) with the field's mean, of unit size, for each range."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        away = np.sqrt((np.maximum(np.maximum(low - xy, xy - high), 0.0) ** 2).sum(axis=1))
        found = np.zeros(len(ranges))
        near = np.flatnonzero(away <= FAR * ranges.max())
        if near.size == 0:
            return found
        distance = cdist(xy[near], self.points)
        for number, range_m in enumerate(ranges):
            some = away[near] <= FAR * range_m
            if some.any():
                across = mean_correlation(distance[some], self.cell_m / np.sqrt(2), range_m)
                found[number] = pull[near][some] @ (across @ self.weight)
        return found


def field_of(weight: np.ndarray, regions: Regions, points: int) -> Field:
    """The field of several stands whose weights (k,) are not 0, by at most `points` points of each."""
    if len(regions) > MANY:
        return _field_of_many(weight, regions)
    taken = np.minimum(regions.count, points)
    stand = np.repeat(np.arange(len(regions)), taken)
    place = np.repeat(regions.start[:-1] - np.cumsum(taken) + taken, taken) + np.arange(taken.sum())
    side = regions.spacing_m * np.sqrt(regions.count / taken)
    return Field(regions.points[place], (weight / taken)[stand], side[stand], stand, weight, regions)


def _field_of_many(weight: np.ndarray, regions: Regions) -> Field:
    from models.inference.kernels import strew

    pieces = [slice(start, start + STREWN_AT_ONCE) for start in range(0, len(regions), STREWN_AT_ONCE)]
    boxes = []
    for piece in pieces:
        points = regions[piece].points
        boxes += [points.min(axis=0), points.max(axis=0)]
    low, high = (edge(boxes, axis=0) + sign * regions.spacing_m.max() for edge, sign in ((np.min, -1), (np.max, 1)))
    side = max(float((high - low).max()) / SQUARES, float(np.median(regions.spacing_m)))
    shape = np.ceil((high - low) / side).astype(int) + 1
    shape = -(-shape // COARSE) * COARSE if shape.max() > COARSE else shape
    spread = np.zeros(shape)
    for piece in pieces:
        some = regions[piece]
        strew(spread, some.points, some.start, some.spacing_m, weight[piece] / some.count, low, side)
    by = max(int(shape.max()) // COARSE, 1)
    rows, cols = (-(-n // by) for n in shape)
    padded = np.zeros((rows * by, cols * by))
    padded[: shape[0], : shape[1]] = spread
    coarse = padded.reshape(rows, by, cols, by).sum(axis=(1, 3))
    filled = np.argwhere(coarse)
    summed = coarse[tuple(filled.T)]
    return Field(
        low + (filled + 0.5) * by * side, summed, np.full(len(summed), by * side), np.zeros(0, int), weight, regions,
        Spread(spread, side),
    )  # fmt: skip
