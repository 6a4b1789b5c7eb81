"""Trees of few leaves, grown by scikit-learn and asked by our own kernel; forests that average them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from models.regressors.base import cached
from models.regressors.smoothers import Smoother

MOST_LEAVES = 32
"""Leaves of a tree: as many as a word has bits."""


@dataclass(frozen=True)
class Trees(Smoother):
    """Trees as arrays: nodes one after the other, `starts` where each tree begins.

    feature, threshold, keeps : (nodes,) column asked, what it must not exceed (float32: places are compared in that
        precision), leaves that stay where it does (bits)
    leaf_of : (trees, plots) leaf of each plot

    The prediction is the mean over trees of what `_pushed` makes of the targets, leaf by leaf.
    """

    starts: np.ndarray | None = None
    feature: np.ndarray | None = None
    threshold: np.ndarray | None = None
    keeps: np.ndarray | None = None
    leaf_of: np.ndarray | None = None

    @abstractmethod
    def _pushed(self, values: np.ndarray) -> np.ndarray:
        """What plots' values (plots, r) become at each leaf of each tree (trees, 32, r)."""

    @classmethod
    def _alive(cls, name: str, value: Any) -> Any:
        kinds = {"threshold": np.float32, "keeps": np.uint32, "leaf_of": np.uint8, "times": np.int16}
        return np.array(value, kinds[name]) if name in kinds else super()._alive(name, value)

    def _asking(self, flat: list[tuple[np.ndarray, ...]], leaf_of: np.ndarray, y: np.ndarray, **learned: Any) -> Any:
        """This regressor with the trees that `flattened` made, and nothing of what it had learned before."""
        nodes = [np.concatenate(parts) for parts in zip(*(part[:3] for part in flat), strict=True)]
        return replace(
            self, directions=None, inflate=1.0, targets=y, leaf_of=leaf_of.astype(np.uint8),
            starts=np.cumsum([0, *(len(part[0]) for part in flat)]), feature=nodes[0], threshold=nodes[1], keeps=nodes[2],
            **learned,
        )  # fmt: skip

    @cached
    def _values(self) -> np.ndarray:
        """What each leaf (trees, leaves) says of the target."""
        return np.ascontiguousarray(self._pushed(self.targets[:, None])[:, :, 0])

    @cached
    def _leaf_directions(self) -> np.ndarray:
        return self._pushed(self.basis).astype(np.float32)

    @property
    def _nodes(self) -> tuple[np.ndarray, ...]:
        return self.starts, self.feature, self.threshold, self.keeps

    def leaves(self, X: np.ndarray) -> np.ndarray:
        """Leaf of every tree for each place (n, trees)."""
        from models.regressors.kernels import _LOWEST, forest_leaves

        return forest_leaves(_columns(X), *self._nodes, _LOWEST)

    def _mean(self, X):
        from models.regressors.kernels import _LOWEST, forest_means

        return forest_means(_columns(X), *self._nodes, self._values, _LOWEST)

    def _told(self, X):
        from models.regressors.kernels import _LOWEST, forest_told

        return forest_told(_columns(X), *self._nodes, self._values, self._leaf_directions, _LOWEST)


@dataclass(frozen=True)
class Forest(Trees):
    """The mean of many trees, each told by the plots of its leaves; times : (trees, plots) how often each has drawn them."""

    trees: int = 100
    min_leaf: int = 3
    times: np.ndarray | None = None

    tells_quantiles: ClassVar[bool] = True

    @abstractmethod
    def grown(self, X: np.ndarray, y: np.ndarray) -> Any:
        """The fitted scikit-learn ensemble."""

    def drawn(self, ensemble: Any, n: int) -> np.ndarray:
        """How often each tree has drawn each plot (trees, n)."""
        return np.ones((len(ensemble.estimators_), n), np.int16)

    def learned(self, X, y, cluster, penalised):
        order = np.lexsort((*X.T, y))  # the same trees whatever the order of the plots
        ensemble = self.grown(X[order], y[order])
        place = np.argsort(order)
        flat = [
            flattened(one.children_left, one.children_right, one.feature, one.threshold)
            for one in (tree.tree_ for tree in ensemble.estimators_)
        ]
        leaf_of = np.array([
            number[one.apply(X.astype("float32"))] for one, (*_, number) in zip(ensemble.estimators_, flat, strict=True)
        ])  # fmt: skip
        return self._asking(flat, leaf_of, y, times=self.drawn(ensemble, len(y))[:, place])

    @cached
    def _shares(self) -> np.ndarray:
        """Weight of each plot in its leaf (trees, plots)."""
        found = np.empty(self.leaf_of.shape)
        for tree, (leaf, times) in enumerate(zip(self.leaf_of, self.times, strict=True)):
            found[tree] = times / np.bincount(leaf, times, MOST_LEAVES)[leaf]
        return found

    def _pushed(self, values):
        found = np.zeros((len(self.leaf_of), MOST_LEAVES, values.shape[1]))
        for tree, (leaf, share) in enumerate(zip(self.leaf_of, self._shares, strict=True)):
            for column in range(values.shape[1]):
                found[tree, :, column] = np.bincount(leaf, share * values[:, column], MOST_LEAVES)
        return found

    def weights(self, X):
        leaves = self.leaves(X)
        found = np.zeros((len(X), len(self.targets)))
        for tree, (leaf, share) in enumerate(zip(self.leaf_of, self._shares, strict=True)):
            found += (leaves[:, tree][:, None] == leaf[None, :]) * share
        return found / len(self.leaf_of)

    @property
    def own_weights(self):
        found = np.zeros((len(self.targets), len(self.targets)))
        for leaf, share in zip(self.leaf_of, self._shares, strict=True):
            found += (leaf[:, None] == leaf[None, :]) * share
        return found / len(self.leaf_of)

    @cached
    def _leaf_members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the plots of each leaf begin (trees, 33), and leaf by leaf the rank of their target and their weight."""
        rank = np.argsort(np.argsort(self.targets, kind="stable"), kind="stable")
        starts = np.zeros((len(self.leaf_of), MOST_LEAVES + 1), np.int32)
        members, shares = np.zeros(self.leaf_of.shape, np.int32), np.zeros(self.leaf_of.shape)
        for tree, (leaf, share) in enumerate(zip(self.leaf_of, self._shares, strict=True)):
            drawn = np.flatnonzero(share)
            drawn = drawn[np.lexsort((rank[drawn], leaf[drawn]))]
            starts[tree, 1:] = np.cumsum(np.bincount(leaf[drawn], minlength=MOST_LEAVES))
            members[tree, : len(drawn)], shares[tree, : len(drawn)] = rank[drawn], share[drawn]
        return starts, members, shares

    def quantiles(self, X, probabilities):
        """As `Regressor.quantiles`: the smallest target at which the plots' weights add up to the probability.

        References
        ----------
        Meinshausen 2006, Journal of Machine Learning Research 7:983-999.
        """
        from models.regressors.kernels import weighted_quantiles

        probabilities = np.asarray(probabilities, float)
        rising = np.argsort(probabilities, kind="stable")
        found = np.empty((len(X), len(probabilities)))
        for start in range(0, len(X), QUANTILES_AT_ONCE):
            part = slice(start, start + QUANTILES_AT_ONCE)
            found[part, rising] = weighted_quantiles(
                self.leaves(X[part]), *self._leaf_members, np.sort(self.targets), probabilities[rising]
            )
        return found


QUANTILES_AT_ONCE = 65_536
"""Places whose leaves in all trees are kept at once (13 MB for 200 trees)."""


def _columns(X: np.ndarray) -> np.ndarray:
    """Places as columns per predictor, in the precision in which scikit-learn compares."""
    return np.ascontiguousarray(X.T, np.float32)


def flattened(
    left: np.ndarray, right: np.ndarray, feature: np.ndarray, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A tree as (feature, threshold, keeps) of its questions, and the leaf number of each of its node numbers.

    left, right, feature, threshold : (nodes,) as scikit-learn keeps them, the root first; below zero in `left` is a leaf
    """
    asked, edges, keeps = [], [], []
    number = np.zeros(len(left), np.int64)
    count = 0

    def walk(node: int) -> int:
        """Number leaves from the left; the bits of the leaves below the node."""
        nonlocal count
        if left[node] < 0:
            number[node] = count
            count += 1
            return 1 << (count - 1)
        at = len(asked)
        asked.append(int(feature[node]))
        edge = np.float32(threshold[node])
        # a float32 exceeds the threshold, a float64, just where it exceeds the largest float32 that is not above it
        edges.append(edge if float(edge) <= threshold[node] else np.nextafter(edge, np.float32(-np.inf)))
        keeps.append(0)
        below = walk(left[node])
        keeps[at] = ~below & 0xFFFFFFFF
        return below | walk(right[node])

    walk(0)
    if count > MOST_LEAVES:
        raise ValueError(f"a tree of {count} leaves does not fit a word of {MOST_LEAVES} bits")
    return np.array(asked, np.int64), np.array(edges, np.float32), np.array(keeps, np.uint32), number


@dataclass(frozen=True)
class ExtraTrees(Forest):
    """Extremely randomised trees: 100 trees of at most 32 leaves of at least 3 plots, on the target's own scale.

    References
    ----------
    Geurts, Ernst & Wehenkel 2006, Machine Learning 63:3-42, doi:10.1007/s10994-006-6226-1.
    """

    name: ClassVar[str] = "extra_trees"
    when: ClassVar[str] = "relations of unknown shape, hundreds of plots; never beyond what plots show"
    source: ClassVar[str] = "Geurts et al. 2006, doi:10.1007/s10994-006-6226-1"

    def grown(self, X, y):
        from sklearn.ensemble import ExtraTreesRegressor

        return ExtraTreesRegressor(
            self.trees, min_samples_leaf=self.min_leaf, max_leaf_nodes=MOST_LEAVES, random_state=0, n_jobs=1
        ).fit(X, y)


@dataclass(frozen=True)
class RandomForest(Forest):
    """Random forest: 200 trees of at most 32 leaves of at least 3 plots, a third of the predictors per split.

    References
    ----------
    Breiman 2001, Machine Learning 45:5-32, doi:10.1023/A:1010933404324.
    """

    trees: int = 200

    name: ClassVar[str] = "random_forest"
    candidate: ClassVar[bool] = False
    when: ClassVar[str] = "as extra_trees; to compare with other work"
    source: ClassVar[str] = "Breiman 2001, doi:10.1023/A:1010933404324"

    def grown(self, X, y):
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(
            self.trees, min_samples_leaf=self.min_leaf, max_leaf_nodes=MOST_LEAVES, max_features=1 / 3, random_state=0, n_jobs=1
        ).fit(X, y)

    def drawn(self, ensemble, n):
        return np.array([np.bincount(rows, minlength=n) for rows in ensemble.estimators_samples_], np.int16)


@dataclass(frozen=True)
class QuantileForest(RandomForest):
    """Random forest of leaves of at least 5 plots, whose plots' weights give any quantiles in the pass that gives the mean.

    References
    ----------
    Meinshausen 2006, Journal of Machine Learning Research 7:983-999.
    """

    min_leaf: int = 5

    name: ClassVar[str] = "quantile_forest"
    when: ClassVar[str] = "maps of quantiles (model.quantiles) from hundreds of plots; the mean as random_forest"
    source: ClassVar[str] = "Meinshausen 2006, https://www.jmlr.org/papers/v7/meinshausen06a.html"
