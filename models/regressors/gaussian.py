"""A Gaussian process whose prediction is a regression on how alike a place is to chosen plots."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from models.regressors.base import FOLDS, cached
from models.regressors.linear import Linear

MOST_CENTRES = 48
"""Plots that others are compared with; more cost time at every pixel and change little, for neighbours tell the same."""
MOST_FOR_KERNEL = 300
"""Plots that the kernel's settings are found from; they cost the cube of their number."""
NEGLIGIBLE = 1e-3
"""Share of the prior variance that may be left of any plot when no more centres are taken."""


@dataclass(frozen=True)
class GaussianProcess(Linear):
    """Gaussian process on the transformed scale (linear and curved part, noise), back-transformed with Snowdon's ratio.

    z(x) = level + date effects + x b + sum_j a_j k(x, c_j): slopes b with a normal prior, k squared-exponential of one
    length over the standardised predictors, c_j plots chosen by pivoted Cholesky decomposition until what is left of any
    plot's variance is negligible, 48 at most ("subset of regressors"). Length, variances and noise by marginal
    likelihood; a length per predictor overfits where plots are few (docs/methods/regressors.md), and one shorter than
    plots lie apart is noise by another name, so it is kept above the square root of the predictors' number. Parameters: ratio,
    level, b and date effects, a_j; refits without a cluster keep kernel and centres, plots left out for the residuals'
    size do not.

    References
    ----------
    Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 2.7, 5 and 8.3.1.
    """

    length: float = 0.0
    centres: np.ndarray | None = None
    noise: float = 0.0
    slope_noise: float = 0.0

    name: ClassVar[str] = "gaussian_process"
    when: ClassVar[str] = "curved relations, from some fifty plots on"
    source: ClassVar[str] = "Rasmussen & Williams 2006, ch. 2.7 and 8.3.1"
    flexible: ClassVar[bool] = True
    folds: ClassVar[int | None] = FOLDS

    def least_clusters(self, predictors: int) -> int:
        return 10

    def size(self, columns):
        return 2 + columns + len(self.centres)

    def learned(self, X, y, cluster, penalised):
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        from threadpoolctl import threadpool_limits

        p = int(penalised.sum())
        levels = np.column_stack([np.ones(len(X)), X[:, ~penalised]])
        response = self.scale.forward(y)
        response = response - levels @ np.linalg.lstsq(levels, response, rcond=None)[0]
        order = np.lexsort((*X.T, response))  # the same plots whatever their order
        seen, response = X[order][:, penalised], response[order]
        some = np.linspace(0, len(seen) - 1, min(len(seen), MOST_FOR_KERNEL)).round().astype(int)
        kernel = (
            ConstantKernel(1.0, (1e-2, 1e2)) * RBF(2.0 * np.sqrt(p), (np.sqrt(p), 100.0 * np.sqrt(p)))
            + ConstantKernel(1.0 / p, (1e-4, 1e1)) * DotProduct(0.0, "fixed")
            + WhiteKernel(0.5, (1e-3, 1e1))
        )
        with warnings.catch_warnings(), threadpool_limits(1):  # matrices too small for several: 6 to 12 times the CPU
            warnings.simplefilter("ignore")  # a setting at its bound says that this part of the kernel does not matter
            found = GaussianProcessRegressor(kernel, normalize_y=True).fit(seen[some], response[some]).kernel_
        curved, straight, noise = found.k1.k1, found.k1.k2, found.k2.noise_level
        length = float(curved.k2.length_scale)
        return replace(
            self, length=length, centres=np.ascontiguousarray(seen[_centres(seen / length)] / length),
            noise=float(noise / curved.k1.constant_value), slope_noise=float(noise / straight.k1.constant_value),
        )  # fmt: skip

    def _columns(self, X: np.ndarray, kind: str = "float64") -> np.ndarray:
        """The predictors and dates, then how alike each place is to each centre (0 to 1)."""
        own = X.shape[1]
        found = np.empty((len(X), own + len(self.centres)), kind)
        found[:, :own] = X
        alike(found[:, : self.centres.shape[1]] / np.dtype(kind).type(self.length), self.centres.astype(kind), out=found[:, own:])
        return found

    def both(self, params, X, out=None):
        return self._both(params, self._columns(X, "float32"), out)

    @cached
    def _root(self) -> np.ndarray:
        """Lower Cholesky root of the kernel between centres."""
        return np.linalg.cholesky(alike(self.centres, self.centres) + 1e-9 * np.eye(len(self.centres)))

    def _slopes(self, X, response, penalised):
        from scipy.linalg import solve_triangular

        own = X.shape[1]
        columns = self._columns(X)
        whitened = solve_triangular(self._root, columns[:, own:].T, lower=True).T
        design = np.column_stack([np.ones(len(X)), X, whitened])
        penalty = np.concatenate(
            [[1e-9], np.where(penalised, self.slope_noise, 1e-9), np.full(whitened.shape[1], self.noise)]
        )
        found = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ response)
        return np.concatenate([found[: 1 + own], solve_triangular(self._root.T, found[1 + own :], lower=False)])

    def without_each(self, X, y, cluster, penalised, params):
        refits = [self.fit(X[cluster != one], y[cluster != one], penalised) for one in np.unique(cluster)]
        return np.array(refits), self.predicted_apart(X, y, cluster, penalised, self.folds)


def alike(places: np.ndarray, centres: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Squared-exponential kernel (n, m) of unit length and variance, in the places' precision."""
    exponent = places @ centres.T
    exponent -= (0.5 * (places**2).sum(axis=1))[:, None]
    exponent -= 0.5 * (centres**2).sum(axis=1)
    return np.exp(np.minimum(exponent, 0.0, out=exponent), out=out)


def _centres(placed: np.ndarray) -> list[int]:
    """Rows (of n, p) that tell the kernel's values of all others, the most telling first: pivoted Cholesky."""
    left = np.ones(len(placed))
    rows: list[int] = []
    roots = np.zeros((len(placed), MOST_CENTRES))
    while len(rows) < min(MOST_CENTRES, len(placed)) and left.max() > NEGLIGIBLE:
        row = int(left.argmax())
        k = len(rows)
        alike = np.exp(-0.5 * ((placed - placed[row]) ** 2).sum(axis=1))
        roots[:, k] = (alike - roots[:, :k] @ roots[row, :k]) / np.sqrt(left[row])
        left = np.maximum(left - roots[:, k] ** 2, 0.0)
        left[row] = 0.0
        rows.append(row)
    return rows
