"""Histogram boosting, told by its plots: given its trees, what it predicts is linear in the targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from models.regressors.base import groups
from models.regressors.trees import MOST_LEAVES, Trees, flattened

MOST_TREES = 150
SIZE_FOLDS = 5
"""Groups of clusters that are left out to find how many trees there should be."""


@dataclass(frozen=True)
class HistogramBoosting(Trees):
    """Boosting of trees of at most 8 leaves of 10 plots or more, on the target's own scale, each a tenth of its step.

    Trees are grown by scikit-learn (squared error, no penalty of leaves); how many is what predicts groups of clusters left
    out best. A leaf's value is a tenth of the mean of what the trees before it have left of its plots, so that for trees
    that stay the prediction is sum_i w_i(x) y_i with weights that add up to one, though some are below zero: a place
    whose sum is below zero is told zero.

    References
    ----------
    Friedman 2001, Annals of Statistics 29:1189-1232, doi:10.1214/aos/1013203451; Ke et al. 2017, Advances in Neural
    Information Processing Systems 30 (histograms).
    """

    trees: int = MOST_TREES
    rate: float = 0.1
    most_leaves: int = 8
    min_leaf: int = 10

    name: ClassVar[str] = "boosting"
    when: ClassVar[str] = "hundreds of plots and more; with a hundred the mix is better by 2 to 6 points"
    source: ClassVar[str] = "Friedman 2001, doi:10.1214/aos/1013203451"

    def grown(self, X: np.ndarray, y: np.ndarray) -> Any:
        """The fitted scikit-learn ensemble; the same whatever the order of the plots.

        One thread: a hundred plots give several nothing to do but to wait for each other (16 times the CPU, same trees).
        """
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        order = np.lexsort((*X.T, y))
        with threadpool_limits(1, "openmp"):
            return HistGradientBoostingRegressor(
                learning_rate=self.rate, max_iter=self.trees, max_leaf_nodes=self.most_leaves, min_samples_leaf=self.min_leaf,
                early_stopping=False, random_state=0,
            ).fit(_as_asked(X)[order], y[order])  # fmt: skip

    def learned(self, X, y, cluster, penalised):
        whole = replace(self, trees=MOST_TREES)
        errors = np.zeros(MOST_TREES)
        for test in groups(cluster, SIZE_FOLDS):
            rest = np.setdiff1d(np.arange(len(y)), test)
            staged = whole.grown(X[rest], y[rest]).staged_predict(_as_asked(X[test]))
            errors += [float(((np.maximum(predicted, 0.0) - y[test]) ** 2).sum()) for predicted in staged]
        chosen = replace(self, trees=int(errors.argmin()) + 1)
        flat = [_flattened(one.nodes) for (one,) in chosen.grown(X, y)._predictors]
        asking = chosen._asking(flat, np.zeros((len(flat), len(y))), y)
        return replace(asking, leaf_of=np.ascontiguousarray(asking.leaves(X).T))

    def _pushed(self, values):
        found = np.zeros((len(self.leaf_of), MOST_LEAVES, values.shape[1]))
        level = values.mean(axis=0)
        left = values - level
        for tree, leaf in enumerate(self.leaf_of):
            number = np.maximum(np.bincount(leaf, minlength=MOST_LEAVES), 1)
            members = leaf[None, :] == np.arange(MOST_LEAVES)[:, None]
            step = self.rate * (members.astype(float) @ left) / number[:, None]
            left = left - step[leaf]
            found[tree] = level + len(self.leaf_of) * step  # the mean over trees is level + all steps
        return found

    def weights(self, X):
        told, leaves = self._pushed(np.eye(len(self.targets))), self.leaves(X)
        return sum(one[leaves[:, tree]] for tree, one in enumerate(told)) / len(told)

    @property
    def own_weights(self):
        told = self._pushed(np.eye(len(self.targets)))
        return sum(one[leaf] for leaf, one in zip(self.leaf_of, told, strict=True)) / len(told)

    def _mean(self, X):
        return np.maximum(super()._mean(X), 0.0)

    def both(self, params, X, out=None):
        mean, gradient = super().both(params, X, out)
        gradient[mean <= 0] = 0.0  # cut off, and a little more or less of a plot does not bring it back
        return np.maximum(mean, 0.0), gradient


def _as_asked(X: np.ndarray) -> np.ndarray:
    """Predictors in the precision in which places are compared."""
    return X.astype(np.float32).astype(float)


def _flattened(nodes: np.ndarray) -> tuple[np.ndarray, ...]:
    left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
    return flattened(left, nodes["right"].astype(np.int64), nodes["feature_idx"], nodes["num_threshold"])
