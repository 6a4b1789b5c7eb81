"""Regressors that predict a weighted mean of their plots: trees and nearest neighbours.

mean(x) = sum_i w_i(x) y_i with weights that add up to one. The parameters are what the targets are along a few directions
`basis` (plots, r) that hold nearly all that the weights can tell apart: all of them where plots are few. Leaving a plot
out puts in its place what the others predict for it, so what a cluster does to the map is w . (left out - observed).

References
----------
Efron 2014, Journal of the American Statistical Association 109:991-1007, doi:10.1080/01621459.2013.823775 (infinitesimal
jackknife of smooth averages; the residuals here are those of plots left out, so that the structure's own changes count).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from models.regressors.base import FOLDS, Regressor, cached, groups

MOST_DIRECTIONS = 32
"""Directions among the targets that gradients are told in."""
TOLD = 0.999
"""Share of the weights' squares at which no more directions are taken."""


@dataclass(frozen=True)
class Smoother(Regressor):
    """A weighted mean of plots. A kind says which plots: `members` of its own plots, and `_summed` for places."""

    targets: np.ndarray | None = None
    directions: np.ndarray | None = None
    inflate: float = 1.0

    flexible: ClassVar[bool] = True
    folds: ClassVar[int | None] = FOLDS

    def least_clusters(self, predictors: int) -> int:
        return 10

    @abstractmethod
    def weights(self, X: np.ndarray) -> np.ndarray:
        """Weight of each plot at each place (places, plots); rows add up to one. For few places."""

    @abstractmethod
    def _told(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean of the targets (n,) and of the directions (n, r)."""

    @cached
    def basis(self) -> np.ndarray:
        """Orthonormal directions (plots, r): level, targets, and the main axes of the plots' own weights."""
        if self.directions is not None:
            return self.directions
        return self._axes[0]

    @cached
    def _axes(self) -> tuple[np.ndarray, float]:
        own = self.own_weights
        first, _ = np.linalg.qr(np.column_stack([np.ones(len(own)), self.targets]))
        if np.ptp(self.targets) == 0:
            first = first[:, :1]
        rest = own - (own @ first) @ first.T
        values, vectors = np.linalg.eigh(rest.T @ rest)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        told = (own**2).sum() - values.sum() + np.cumsum(values)
        whole = float((own**2).sum())
        room = max(min(MOST_DIRECTIONS, len(own)) - first.shape[1], 0)
        count = min(int(np.searchsorted(told, TOLD * whole)) + 1, room)
        count = min(count, int((values > 1e-12 * whole).sum()))
        axes = vectors[:, :count]
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)
        reached = float(told[count - 1]) if count else whole - float(values.sum())
        return np.column_stack([first, axes]), float(np.sqrt(whole / reached))

    @property
    @abstractmethod
    def own_weights(self) -> np.ndarray:
        """Weight of each plot (columns) at each plot (rows)."""

    @property
    def widened(self) -> float:
        """What errors of single plots are multiplied with for the directions that are not told, one or little more."""
        return self.inflate if self.directions is not None else self._axes[1]

    def size(self, columns):
        return self.basis.shape[1]

    def fit(self, X, y, penalised):
        if len(y) != len(self.targets):
            raise ValueError(f"{type(self).__name__} has learned {len(self.targets)} plots and is given {len(y)}: learn anew")
        return y @ self.basis

    def mean(self, params, X):
        return self.both(params, X)[0] if not self._as_learned(params) else self._mean(X)

    def gradient(self, params, X):
        return self.both(params, X)[1]

    def both(self, params, X, out=None):
        mean, gradient = self._told(X)
        if out is not None:
            out[:] = gradient
            gradient = out
        if not self._as_learned(params):
            mean = np.maximum(mean + gradient @ (params - self.targets @ self.basis), 0.0)
        return mean, gradient

    def _as_learned(self, params: np.ndarray) -> bool:
        return params is None or bool(np.array_equal(params, self.targets @ self.basis))

    def _mean(self, X: np.ndarray) -> np.ndarray:
        return self._told(X)[0]

    def pulled(self, X, y, penalised, params, mean, sd, step=0.1):
        return self.widened * sd[:, None] * self.basis

    def shifted(self, X, y, penalised, factor, step=0.1):
        return factor @ self.basis

    def predicted(self, X, y, cluster, penalised, places):
        return self.learned(X, y, cluster, penalised)._mean(places)

    def without_each(self, X, y, cluster, penalised, params):
        left_out = self.predicted_apart(X, y, cluster, penalised, self.folds)
        changes = self.widened * (left_out - y)[:, None] * self.basis
        names, number = np.unique(cluster, return_inverse=True)
        refits = np.zeros((len(names), len(params)))
        np.add.at(refits, number, changes)
        return params + refits, left_out

    def to_plain(self):
        return Regressor.to_plain(replace(self, directions=self.basis, inflate=self.widened))


@dataclass(frozen=True)
class Neighbours(Smoother):
    """The mean of the k most similar plots, by Euclidean distance; k is chosen by leaving out clusters.

    References
    ----------
    Eskelson et al. 2009, Scandinavian Journal of Forest Research 24:235-246, doi:10.1080/02827580902870490.
    """

    name: ClassVar[str] = "neighbours"
    k: int = 5
    plots: np.ndarray | None = None
    turned: np.ndarray | None = None
    """(p, d): predictors @ turned are the coordinates in which distances are Euclidean; None: as they are."""

    when: ClassVar[str] = "several targets that must stay consistent; many plots; never k = 1 for a map"
    source: ClassVar[str] = "Eskelson et al. 2009, doi:10.1080/02827580902870490"

    choices: ClassVar[tuple[int, ...]] = (3, 5, 7, 10, 15)

    def learned(self, X, y, cluster, penalised):
        whole = replace(self, directions=None, inflate=1.0, targets=y, turned=self._turning(X, y))
        whole = replace(whole, plots=np.ascontiguousarray(whole._placed(X)))
        errors = []
        tests = groups(cluster, FOLDS)
        most = min(len(y) - len(test) for test in tests)
        choices = [k for k in self.choices if k <= most] or [1]
        for k in choices:
            squares = 0.0
            for test in tests:
                rest = np.setdiff1d(np.arange(len(y)), test)
                part = replace(whole, k=k, plots=whole.plots[rest], targets=y[rest])
                squares += float(((part._mean(X[test]) - y[test]) ** 2).sum())
            errors.append(squares)
        return replace(whole, k=choices[int(np.argmin(errors))])

    def _turning(self, X: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        return None

    def _placed(self, X: np.ndarray) -> np.ndarray:
        return X if self.turned is None else X @ self.turned

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """Numbers of the k nearest plots (n, k), the nearest first."""
        from models.regressors.kernels import nearest_plots

        return nearest_plots(np.ascontiguousarray(self._placed(X), float), self.plots, self.k)

    def weights(self, X):
        found = np.zeros((len(X), len(self.targets)))
        np.put_along_axis(found, self.nearest(X), 1 / self.k, axis=1)
        return found

    @property
    def own_weights(self):
        from models.regressors.kernels import nearest_plots

        found = np.zeros((len(self.targets), len(self.targets)))
        np.put_along_axis(found, nearest_plots(self.plots, self.plots, self.k), 1 / self.k, axis=1)
        return found

    def _mean(self, X):
        return self.targets[self.nearest(X)].mean(axis=1)

    def _told(self, X):
        near = self.nearest(X)
        gradient = np.zeros((len(X), self.basis.shape[1]))
        for one in near.T:
            gradient += self.basis[one]
        return self.targets[near].mean(axis=1), gradient / self.k


@dataclass(frozen=True)
class GradientNeighbours(Neighbours):
    """The mean of the k plots nearest along gradients of canonical correspondence (GNN), through the package sknnr.

    Correspondence analysis needs a table of several responses, of which one target has no gradient: the target comes as
    how much it is like each of its five quartiles (0 to 1, adding up to one), which leaves up to four axes.

    References
    ----------
    Ohmann & Gregory 2002, Canadian Journal of Forest Research 32:725-741, doi:10.1139/x02-011.
    """

    name: ClassVar[str] = "gnn"
    candidate: ClassVar[bool] = False
    when: ClassVar[str] = "as neighbours, where the package sknnr is installed; to compare with GNN maps"
    source: ClassVar[str] = "Ohmann & Gregory 2002, doi:10.1139/x02-011"

    peer: ClassVar[str] = "GNNRegressor"

    def _responses(self, y: np.ndarray) -> np.ndarray:
        """What the axes are to tell (n, responses), none below zero and no row all zero."""
        knots = np.unique(np.quantile(y, [0.0, 0.25, 0.5, 0.75, 1.0]))
        return np.column_stack([np.interp(y, knots, one) for one in np.eye(len(knots))])

    def _turning(self, X, y):
        try:
            import sknnr
        except ImportError:
            raise ValueError(
                f"regressor {self.name} needs the package sknnr, which is not installed here: pip install sknnr, or forestsink "
                "with its extra gnn; or use regressor neighbours"
            ) from None
        shape = _independent(X)
        if not shape.shape[1] or np.ptp(y) == 0:
            raise ValueError(
                f"regressor {self.name} finds no axes: all plots have the same {'target' if shape.shape[1] else 'predictors'}"
            )
        if shape.shape[1] >= len(y) - 1:
            raise ValueError(
                f"regressor {self.name} finds no axes: {X.shape[1]} predictors tell {len(y)} plots apart whatever their targets; "
                "name fewer predictors"
            )
        if shape.shape[1] == 1:  # one predictor is its own axis, whatever it is held against; the package refuses it
            return shape
        try:
            turn = getattr(sknnr, self.peer)(n_neighbors=1).fit(X @ shape, self._responses(y)).transformer_.transform
        except (IndexError, np.linalg.LinAlgError) as error:
            raise ValueError(
                f"regressor {self.name}: the package sknnr {sknnr.__version__} finds no axes among {X.shape[1]} predictors "
                f"({error}): name fewer of them"
            ) from None
        # the transformation is linear: what it does to the unit vectors is all of it
        return shape @ (turn(np.eye(shape.shape[1])) - turn(np.zeros((1, shape.shape[1]))))


COLLINEAR = 1 / 30
"""Spread of a direction among the predictors, of that of the widest, below which they are collinear (Belsley, Kuh & Welsch
1980, doi:10.1002/0471725153, section 3.2). All 68 of quatre-montagnes-plots had 67 directions, and without this 43 % RMSE
instead of 28 %."""


def _independent(X: np.ndarray) -> np.ndarray:
    """(p, r): what predictors are turned by into uncorrelated ones of unit spread, without directions that hardly vary.

    Canonical axes do not change when predictors are recombined, so all is as the package has it where no direction is left out;
    it breaks in several ways on a predictor that is constant in a fold (the level of a date) or that others tell, and follows
    noise along directions that hardly vary.
    """
    _, sizes, axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    kept = sizes > COLLINEAR * max(sizes.max(initial=0.0), 1e-300)
    return axes[kept].T / sizes[kept] * np.sqrt(len(X))


@dataclass(frozen=True)
class MostSimilarNeighbours(GradientNeighbours):
    """The mean of the k plots nearest along canonical correlations with the target (MSN), through the package sknnr.

    References
    ----------
    Moeur & Stage 1995, Forest Science 41:337-359.
    """

    name: ClassVar[str] = "msn"
    when: ClassVar[str] = "as neighbours, where the package sknnr is installed; to compare with MSN maps"
    source: ClassVar[str] = "Moeur & Stage 1995, doi:10.1093/forestscience/41.2.337"
    peer: ClassVar[str] = "MSNRegressor"

    def _responses(self, y):
        return y[:, None]
