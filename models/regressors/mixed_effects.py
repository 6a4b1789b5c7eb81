"""Linear regression with a level, and if asked slopes, for each stratum: random effects whose variances come from the plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from models.regressors.base import Regressor
from models.regressors.linear import Linear

ALIKE = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.7])
"""Correlations of plots of one cluster that are tried."""
LEVELS_APART = np.geomspace(0.03, 30.0, 19)
"""Standard deviations of levels (and of slopes) that are tried, over that of the residuals."""
NOTHING = 1e-3
"""The one that stands for strata that do not differ, where that is tried too."""
POSITIVE = 0.75
"""Probability from which on slopes of strata are taken where they are in doubt: odds of 3, above which evidence is called
positive (Kass & Raftery 1995, JASA 90:773-795, doi:10.1080/01621459.1995.10476572)."""


@dataclass(frozen=True)
class MixedEffects(Linear):
    """Linear regression of the transformed target in which strata have levels of their own, shrunk by what plots tell.

    mean = ratio x back(intercept + X b + level of the stratum [+ X times the stratum's departure of the slopes])

    Levels are random effects with one variance; so are departures of slopes. The restricted likelihood of both variances and
    of the correlation of plots in one cluster is held on a grid, times a half-t prior (3 degrees of freedom, as wide as the
    residuals) of each standard deviation, and averaged: two or three strata hardly tell it, and zero would promise too much. A
    level is then shrunk by n / (n + penalty), with the penalty that its plots' number, clusters and variances ask for: a stratum
    with two plots moves little. Plots in strata that have no column share an effect, which no place is given: places there have
    the level of all, with the whole variance of levels as their error. Parameters: ratio, intercept, one slope per column, then
    that level (zero), and departures of slopes there (zero) and in each stratum.

    strata : numbers of the columns that hold a place's share in each stratum
    sloped : numbers of the columns whose slope may differ between strata
    doubt : probability, before any plot speaks, that strata do not differ at all; a standard deviation of zero is averaged over
        with the others then, so that a level which the plots hardly show is shrunk the more. 0 where they are known to differ
    apart : what the plots make of it: the probability that levels (and slopes, where they may) differ

    References
    ----------
    Battese, Harter & Fuller 1988, JASA 83:28-36, doi:10.1080/01621459.1988.10478561 (levels as random effects).
    Gelman 2006, Bayesian Analysis 1:515-534, doi:10.1214/06-BA117A (half-t priors where groups are few).
    """

    strata: tuple[int, ...] = ()
    sloped: tuple[int, ...] = ()
    penalty: tuple[float, ...] = ()
    level_sd: float = 0.0
    slope_sd: float = 0.0
    doubt: float = 0.0
    apart: tuple[float, ...] = ()

    name: ClassVar[str] = "mixed_effects"
    when: ClassVar[str] = "what `model.strata` makes of linear: levels of strata, shrunk; without strata it is linear"
    source: ClassVar[str] = "Battese, Harter & Fuller 1988, doi:10.1080/01621459.1988.10478561"
    candidate: ClassVar[bool] = False

    # what a plot or a cluster does is told by fitting anew: shortcuts of plain least squares know nothing of penalties
    without_each = Regressor.without_each
    pulled = Regressor.pulled
    shifted = Regressor.shifted

    def least_clusters(self, predictors: int) -> int:
        return predictors - len(self.strata) + 2

    def size(self, columns: int) -> int:
        return 2 + columns + (1 + (1 + len(self.strata)) * len(self.sloped) if self.strata else 0)

    def _columns(self, X: np.ndarray) -> np.ndarray:
        """Columns as they come; what is left of one beside the shares of strata; that and each share times sloped columns."""
        if not self.strata:
            return X
        left = np.clip(1 - X[:, list(self.strata)].sum(axis=1), 0, 1)[:, None]
        shares = [left, *(X[:, [number]] for number in self.strata)] if self.sloped else []
        return np.hstack([X, left, *(share * X[:, list(self.sloped)] for share in shares)])

    def _random(self, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Which of `_columns` are levels and which departures of slopes, where predictors and dates have so many columns."""
        return np.array([*self.strata, columns]), columns + 1 + np.arange((1 + len(self.strata)) * len(self.sloped))

    def _elsewhere(self, columns: int) -> np.ndarray:
        """Which of `_columns` places in no stratum have to themselves: a level, and departures of slopes."""
        return columns + np.arange(1 + len(self.sloped))

    def learned(self, X, y, cluster, penalised):
        if not self.strata:
            return self
        kinds, cluster = self._kinds(X), np.unique(cluster, return_inverse=True)[1].ravel()
        variances = self._variances(X, y, cluster)
        penalty = [
            penalty_of(column, cluster, variances, variance)
            for kind, variance in zip(kinds, variances.random, strict=True)
            for column in kind.T
        ]
        level_sd, slope_sd = (*np.sqrt(variances.random), 0.0)[:2]
        return replace(
            self, penalty=tuple(penalty), level_sd=float(level_sd), slope_sd=float(slope_sd), apart=variances.apart
        )

    def decided(self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, sloped: Sequence[int]) -> MixedEffects:
        """With slopes of these columns in each stratum, or without: as plots (n, p) say, where strata are in doubt."""
        if not self.strata or not self.doubt:
            return self
        tried = replace(self, sloped=tuple(sloped))
        return tried if tried._variances(X, y, cluster).apart[-1] > POSITIVE else replace(self, sloped=())

    def _kinds(self, X: np.ndarray) -> list[np.ndarray]:
        """Columns of the levels and, where they may differ, of the slopes."""
        whole = self._columns(X)
        return [whole[:, kind] for kind in self._random(X.shape[1]) if len(kind)]

    def _variances(self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> Variances:
        fixed = np.column_stack([np.ones(len(X)), np.delete(X, list(self.strata), axis=1)])
        return variances_of(self.scale.forward(y), fixed, self._kinds(X), cluster, self.doubt)

    def _slopes(self, X, response, penalised):
        if not self.strata:
            return super()._slopes(X, response, penalised)
        slopes = self._solved(X, response, penalised)[0]
        slopes[1 + self._elsewhere(X.shape[1])] = 0.0  # what plots of other strata say of them is not what a place there has
        return slopes

    def _solved(self, X, response, penalised) -> tuple[np.ndarray, np.ndarray]:
        """Intercept and slopes of all columns, and what shrinking moves them by per unit of each random effect (columns, q)."""
        random = 1 + np.concatenate(self._random(X.shape[1]))
        design = np.column_stack([np.ones(len(X)), self._columns(X)])
        penalty = np.zeros(design.shape[1])
        penalty[1 : 1 + X.shape[1]] = self.ridge * len(X) * penalised
        penalty[random] = self.penalty
        inverse = np.linalg.inv(design.T @ design + np.diag(penalty + 1e-9))
        return inverse @ (design.T @ response), inverse[:, random] * np.array(self.penalty)

    def shrinking(self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray, params: np.ndarray) -> np.ndarray:
        """What shrinking does to the parameters (rows, p): a row per random effect, and of those that no plot tells.

        Squares of a gradient times the rows add up to the variance of what levels are missed by because they are shrunk, or
        because no plot of the stratum is there; with the variance that the plots' residuals give them it is the level's whole.
        """
        if not self.strata:
            return np.zeros((0, len(params)))
        moved, alone = self._solved(X, self.scale.forward(y), penalised)[1], self._elsewhere(X.shape[1])
        levels, slopes = self._random(X.shape[1])
        rows = (moved * np.concatenate([np.full(len(levels), self.level_sd), np.full(len(slopes), self.slope_sd)])).T
        rows[:, 1 + alone] = 0.0
        ratio = [100 * (self._with_ratio(params[1:] + 0.01 * row, X, y)[0] - params[0]) for row in rows]
        unknown = np.zeros((len(alone), len(params)))
        unknown[np.arange(len(alone)), 2 + alone] = [self.level_sd, *np.full(len(self.sloped), self.slope_sd)]
        return np.vstack([np.column_stack([ratio, rows]), unknown])

    def effects(self, names: Sequence[str]) -> list[str]:
        """What each row of `shrinking` is of, by the names of the predictors."""
        strata, sloped = ([names[number] for number in numbers] for numbers in (self.strata, self.sloped))
        levels = [f"level of {one}" for one in (*strata, "other plots")]
        slopes = [f"slope of {x} in {one}" for one in ("other plots", *strata) for x in sloped]
        return [*levels, *slopes, "level elsewhere", *(f"slope of {x} elsewhere" for x in sloped)]

    @classmethod
    def _alive(cls, name: str, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    def to_plain(self):
        return {name: list(value) if isinstance(value, tuple) else value for name, value in super().to_plain().items()}


@dataclass(frozen=True)
class Variances:
    """Of a response's residuals: between clusters, within them, and of each kind of random effect.

    apart : of each kind, the probability that it is not zero, where that was in doubt
    """

    between: float
    within: float
    random: tuple[float, ...]
    apart: tuple[float, ...] = ()


def penalty_of(column: np.ndarray, cluster: np.ndarray, variances: Variances, random: float) -> float:
    """The penalty that shrinks the effect of a column (n,) by its variance over that of it and of its plots' residuals.

    Plots of one cluster tell less than as many of several: their variance is that of a weighted mean of plots that hang
    together. 1 where the column is empty: the effect is zero then whatever the penalty.
    """
    squares = float((column**2).sum())
    if squares <= 0:
        return 1.0
    _, number = np.unique(cluster, return_inverse=True)
    sums = np.bincount(number.ravel(), weights=column)
    return (variances.between * float((sums**2).sum()) / squares + variances.within) / max(random, 1e-12)


def variances_of(
    response: np.ndarray, fixed: np.ndarray, kinds: list[np.ndarray], cluster: np.ndarray, doubt: float = 0.0
) -> Variances:
    """Variances of a mixed model by restricted likelihood, averaged over a grid.

    Parameters
    ----------
    response : (n,)
    fixed : (n, p) columns of fixed effects
    kinds : for each kind of random effect its columns (n, q); effects of a kind have one variance
    cluster : (n,) rows that are alike by a correlation that is found too
    doubt : probability, before the response speaks, that effects of a kind are all zero
    """
    tried = np.concatenate([[NOTHING], LEVELS_APART]) if doubt else LEVELS_APART
    grids = np.meshgrid(*(tried for _ in kinds), indexing="ij")
    apart = np.stack([grid.ravel() for grid in grids], axis=1)  # (m, kinds)
    owner = np.repeat(np.arange(len(kinds)), [kind.shape[1] for kind in kinds])
    _, number, rows = np.unique(cluster, return_inverse=True, return_counts=True)
    alike = ALIKE if rows.max() > 1 else ALIKE[:1]
    products, log_scale = products_of(np.column_stack([fixed, *kinds, response]), number.ravel(), rows, alike)
    count, free = fixed.shape[1], len(response) - np.linalg.matrix_rank(fixed)
    # the mixed model equations (Henderson), a matrix per correlation in clusters and standard deviation of levels
    system = np.repeat(products[:, None, :-1, :-1], len(apart), axis=1)
    system += 1e-9 * np.trace(products[0, :count, :count]) / count * np.eye(system.shape[-1])
    random = np.arange(count, count + len(owner))
    system[:, :, random, random] += 1 / apart[:, owner] ** 2
    right = products[:, None, :-1, -1]
    answer = np.linalg.solve(system, np.broadcast_to(right, system.shape[:3])[..., None])[..., 0]
    own = products[:, None, -1, -1]
    squares = np.maximum(own - (answer * right).sum(axis=2), 1e-12 * own + 1e-300)
    size = np.linalg.slogdet(system)[1] + 2 * np.log(apart[:, owner]).sum(axis=1)
    prior = np.log(apart) - 2 * np.log1p(apart**2 / 3)  # steps of the grid grow with what is tried
    if doubt:
        whole = np.exp(np.log(LEVELS_APART) - 2 * np.log1p(LEVELS_APART**2 / 3)).sum()
        prior = np.where(apart == NOTHING, np.log(doubt / (1 - doubt) * whole), prior)
    prior = prior.sum(axis=1)
    log_likelihood = -0.5 * (log_scale[:, None] + size + free * np.log(squares)) + prior
    weight = np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    residual = weight * squares / free
    between = float((residual * alike[:, None]).sum())
    effects = tuple(float((residual * apart[:, k] ** 2).sum()) for k in range(len(kinds)))
    differ = tuple(float(weight[:, apart[:, k] != NOTHING].sum()) for k in range(len(kinds))) if doubt else ()
    return Variances(between, float(residual.sum()) - between, effects, differ)


def products_of(table: np.ndarray, number: np.ndarray, rows: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products (m, k, k) of columns (n, k) through the inverse of each of m correlations within clusters, and the logarithms of
    their determinants.

    The inverse of (1 - a) I + a J, with c rows, is (I - a / (1 - a + a c) J) / (1 - a).
    """
    grown = 1 - alike[:, None] + alike[:, None] * rows
    sums = np.zeros((len(rows), table.shape[1]))
    np.add.at(sums, number, table)
    taken = np.einsum("mc,ci,cj->mij", alike[:, None] / grown, sums, sums, optimize=True)
    log_scale = ((rows - 1) * np.log(1 - alike[:, None]) + np.log(grown)).sum(axis=1)
    return (table.T @ table - taken) / (1 - alike)[:, None, None], log_scale
