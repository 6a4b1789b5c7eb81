"""Regressions that are linear on the scale they are fitted on: least squares, ridge, PLS, forward selection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from models.regressors.base import FOLDS, Regressor, Scale, groups, tuned

NOTHING_SEEN = "the regression predicts zero on every plot: the target has no variation that the predictors see"


@dataclass(frozen=True)
class Linear(Regressor):
    """Linear regression of the transformed target, back-transformed with Snowdon's ratio.

    mean = ratio x back(intercept + X b), ratio = sum(y) / sum(back(fitted)), so that the plots' total is met.
    Parameters: ratio, intercept, one slope per predictor. A small ridge keeps nearly collinear predictors apart.

    References
    ----------
    Snowdon 1991, Canadian Journal of Forest Research 21:720-724, doi:10.1139/x91-101.
    """

    transform: str = "sqrt"
    ridge: float = 1e-3

    name: ClassVar[str] = "linear"
    when: ClassVar[str] = "few predictors with a physical meaning; few plots; the quickest"
    source: ClassVar[str] = "Snowdon 1991, doi:10.1139/x91-101"

    def __post_init__(self) -> None:
        Scale(self.transform)

    @property
    def scale(self) -> Scale:
        return Scale(self.transform)

    def size(self, columns: int) -> int:
        return 2 + columns

    def fit(self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        return self._with_ratio(self._slopes(X, self.scale.forward(y), penalised), X, y)

    def _slopes(self, X: np.ndarray, response: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        """Intercept and slopes (1 + columns,) on the scale of the fit."""
        design = self._design(X)
        return np.linalg.solve(design.T @ design + self._penalty(len(X), penalised), design.T @ response)

    def _with_ratio(self, slopes: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Parameters from intercept and slopes: Snowdon's ratio goes in front, 1 where nothing was transformed."""
        if self.transform == "none":
            return np.concatenate([[1.0], slopes])
        fitted = self.scale.back(slopes[0] + self._columns(X) @ slopes[1:]).sum()
        if fitted <= 0:
            raise ValueError(NOTHING_SEEN)
        return np.concatenate([[y.sum() / fitted], slopes])

    @property
    def _ordinary(self) -> bool:
        """Whether fits are those of this class, so that many like one another are solved from what they have in common."""
        own = type(self)
        return own._slopes is Linear._slopes and own._with_ratio is Linear._with_ratio and own.fit is Linear.fit

    def pulled(self, X, y, penalised, params, mean, sd, step=0.1):
        if not self._ordinary:
            return super().pulled(X, y, penalised, params, mean, sd, step)
        moved, response = self.scale.moved(y, mean, step * sd), self.scale.forward(y)
        design = self._design(X)
        pull = np.linalg.solve(design.T @ design + self._penalty(len(X), penalised), design.T).T
        slopes = self._slopes(X, response, penalised) + (self.scale.forward(moved) - response)[:, None] * pull
        return (self._with_ratios(slopes, design, y.sum() + moved - y, None) - params) / step

    def without_each(self, X, y, cluster, penalised, params):
        if self.learns or not self._ordinary:
            return super().without_each(X, y, cluster, penalised, params)
        names, number = np.unique(cluster, return_inverse=True)
        number = number.ravel()
        design, response = self._design(X), self.scale.forward(y)
        squares, products, total = design.T @ design, design.T @ response, y.sum()
        left, right, totals = [], [], np.empty(len(names))
        for one in range(len(names)):
            rows = number == one
            own = design[rows]
            left.append(squares - own.T @ own + self._penalty(len(X) - int(rows.sum()), penalised))
            right.append(products - own.T @ response[rows])
            totals[one] = total - y[rows].sum()
        slopes = np.linalg.solve(np.array(left), np.array(right)[..., None])[..., 0]
        refits = self._with_ratios(slopes, design, totals, number)
        of_own = refits[number]
        linear = of_own[:, 1] + (self._columns(X) * of_own[:, 2:]).sum(axis=1)
        return refits, np.maximum(of_own[:, 0] * self.scale.back(linear), 0.0)

    def _design(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(X)), self._columns(X)])

    def _penalty(self, n: int, penalised: np.ndarray) -> np.ndarray:
        return np.diag(self.ridge * n * np.concatenate([[0.0], penalised.astype(float)]) + 1e-9)

    def _with_ratios(self, slopes: np.ndarray, design: np.ndarray, totals: np.ndarray, left_out: np.ndarray | None) -> np.ndarray:
        """Parameters of many fits (k, p) from their slopes and the totals (k,) that they meet over the plots (n, columns), of
        which fit j has not seen those whose number in `left_out` (n,) is j."""
        if self.transform == "none":
            return np.column_stack([np.ones(len(slopes)), slopes])
        fitted = np.empty(len(slopes))
        for start in range(0, len(slopes), 500):
            part = slice(start, start + 500)
            value = self.scale.back(slopes[part] @ design.T)
            if left_out is not None:
                value[left_out[None, :] == np.arange(len(slopes))[part, None]] = 0.0
            fitted[part] = value.sum(axis=1)
        if (fitted <= 0).any():
            raise ValueError(NOTHING_SEEN)
        return np.column_stack([totals / fitted, slopes])

    def _columns(self, X: np.ndarray) -> np.ndarray:
        """What the slopes multiply (n, columns): the predictors themselves here."""
        return X

    def mean(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        return np.maximum(params[0] * self.scale.back(params[1] + self._columns(X) @ params[2:]), 0.0)

    def gradient(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.both(params, X)[1]

    def both(self, params, X, out=None):
        return self._both(params, self._columns(X), out)

    def _both(
        self, params: np.ndarray, columns: np.ndarray, out: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        linear = params[1] + columns @ params[2:].astype(columns.dtype, copy=False)
        value = self.scale.back(linear)
        mean = np.maximum(params[0] * value, 0.0)
        slope = np.where(mean > 0, params[0] * self.scale.slope(linear), 0.0)
        gradient = np.empty((len(columns), len(params)), columns.dtype) if out is None else out
        gradient[:, 0] = 0.0 if self.transform == "none" else np.where(mean > 0, value, 0.0)
        gradient[:, 1] = slope
        np.multiply(columns, slope[:, None], out=gradient[:, 2:], casting="same_kind")
        return mean, gradient


@dataclass(frozen=True)
class Baskerville(Linear):
    """Linear regression of the logarithm, back-transformed with exp(s^2 / 2): only for comparison with older work.

    References
    ----------
    Baskerville 1972, Canadian Journal of Forest Research 2:49-53, doi:10.1139/x72-009.
    """

    name: ClassVar[str] = "baskerville"
    candidate: ClassVar[bool] = False
    caution: ClassVar[str] = (
        "regressor baskerville assumes lognormal residuals, and on real plots its bias was 16 to 63 %: prefer regressor linear"
    )
    when: ClassVar[str] = "to compare with older work; biased by 16-63 % on real plots, use linear instead"
    source: ClassVar[str] = "Baskerville 1972, doi:10.1139/x72-009"

    def __post_init__(self) -> None:
        if self.transform != "log":
            raise ValueError(f"regressor baskerville corrects logarithms: transform must be log, got {self.transform!r}")

    def _with_ratio(self, slopes, X, y):
        residual = np.log(y) - slopes[0] - X @ slopes[1:]
        free = max(len(y) - len(slopes), 1)
        return np.concatenate([[np.exp(float(residual @ residual) / free / 2)], slopes])


@dataclass(frozen=True)
class Ridge(Linear):
    """Ridge regression of the transformed target; the penalty is chosen by leaving out groups of clusters.

    References
    ----------
    Hoerl & Kennard 1970, Technometrics 12:55-67, doi:10.1080/00401706.1970.10488634.
    """

    name: ClassVar[str] = "ridge"
    when: ClassVar[str] = "many predictors that say nearly the same"
    source: ClassVar[str] = "Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634"

    def least_clusters(self, predictors: int) -> int:
        return 6

    def learned(self, X, y, cluster, penalised):
        choices = np.geomspace(1e-3, 10.0, 17)
        response = self.scale.forward(y)
        errors = np.zeros(len(choices))
        for test in groups(cluster, FOLDS):
            rest = np.setdiff1d(np.arange(len(y)), test)
            design = self._design(X[rest])
            squares, products = design.T @ design, design.T @ response[rest]
            for number, ridge in enumerate(choices):
                penalty = replace(self, ridge=float(ridge))._penalty(len(rest), penalised)
                slopes = np.linalg.solve(squares + penalty, products)
                errors[number] += float(((slopes[0] + X[test] @ slopes[1:] - response[test]) ** 2).sum())
        return replace(self, ridge=float(choices[int(errors.argmin())]))


@dataclass(frozen=True)
class PartialLeastSquares(Linear):
    """Partial least squares of the transformed target; the number of components is chosen by leaving out clusters.

    References
    ----------
    Wold, Sjostrom & Eriksson 2001, Chemometrics 58:109-130, doi:10.1016/S0169-7439(01)00155-1.
    """

    components: int = 0

    name: ClassVar[str] = "pls"
    when: ClassVar[str] = "many collinear predictors, such as all metrics of a point cloud"
    source: ClassVar[str] = "Wold et al. 2001, doi:10.1016/S0169-7439(01)00155-1"

    def least_clusters(self, predictors: int) -> int:
        return 6

    def learned(self, X, y, cluster, penalised):
        most = min(int(penalised.sum()), 8, len(np.unique(cluster)) // 2)
        return tuned(self, "components", list(range(1, most + 1)), X, y, cluster, penalised)

    def _slopes(self, X, response, penalised):
        # levels of dates are taken out of predictors and response first, and given back at the end
        levels = np.column_stack([np.ones(len(X)), X[:, ~penalised]])
        taken, *_ = np.linalg.lstsq(levels, np.column_stack([X[:, penalised], response]), rcond=None)
        rest = np.column_stack([X[:, penalised], response]) - levels @ taken
        slope = pls_slopes(rest[:, :-1], rest[:, -1], self.components)
        level = taken[:, -1] - taken[:, :-1] @ slope
        slopes = np.empty(X.shape[1])
        slopes[penalised], slopes[~penalised] = slope, level[1:]
        return np.concatenate([[level[0]], slopes])


def pls_slopes(X: np.ndarray, response: np.ndarray, components: int) -> np.ndarray:
    """Slopes (p,) of PLS1 with centred columns (n, p) and response (n,), by NIPALS."""
    weights, loadings, answers = [], [], []
    rest = X.copy()
    for _ in range(components):
        weight = rest.T @ response
        size = np.linalg.norm(weight)
        if size < 1e-10 * max(np.linalg.norm(response), 1e-300):
            break
        weight /= size
        score = rest @ weight
        squares = float(score @ score)
        loading = rest.T @ score / squares
        weights.append(weight)
        loadings.append(loading)
        answers.append(float(score @ response) / squares)
        rest = rest - np.outer(score, loading)
    if not weights:
        return np.zeros(X.shape[1])
    W, P = np.array(weights).T, np.array(loadings).T
    return W @ np.linalg.solve(P.T @ W, np.array(answers))


VIF_MOST = 10.0
"""Variance inflation above which a predictor says what those chosen say already (Kutner et al. 2005, section 10.5)."""


@dataclass(frozen=True)
class Forward(Linear):
    """Least squares of the transformed target on predictors chosen one after the other by PRESS, held against collinearity.

    A predictor enters while it lowers the prediction sum of squares by at least 1 % and no variance inflation factor exceeds 10;
    at most one per five clusters. What is not chosen keeps the slope zero; refits choose anew.

    References
    ----------
    Allen 1974, Technometrics 16:125-127, doi:10.1080/00401706.1974.10489157.
    """

    chosen: tuple[int, ...] = ()

    name: ClassVar[str] = "forward"
    when: ClassVar[str] = "many predictors and the wish to name the few that matter"
    source: ClassVar[str] = "Allen 1974, doi:10.1080/00401706.1974.10489157"

    def least_clusters(self, predictors: int) -> int:
        return 6

    @classmethod
    def _alive(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "chosen" else super()._alive(name, value)

    def to_plain(self):
        return {**super().to_plain(), "chosen": list(self.chosen)}

    def learned(self, X, y, cluster, penalised):
        response = self.scale.forward(y)
        basis, _ = np.linalg.qr(np.column_stack([np.ones(len(X)), X[:, ~penalised]]))
        open_, chosen = [int(k) for k in np.flatnonzero(penalised)], []
        best = float(_press_with(basis, np.zeros((len(X), 1)), response)[0][0])
        while open_ and len(chosen) < max(len(np.unique(cluster)) // 5, 1):
            press, own = _press_with(basis, X[:, open_], response)
            number = next(
                (int(k) for k in np.argsort(press, kind="stable") if inflation(X[:, [*chosen, open_[k]]]).max() <= VIF_MOST), None
            )
            if number is None or not press[number] < 0.99 * best:
                break
            best, basis = float(press[number]), np.column_stack([basis, own[:, number]])
            chosen.append(open_.pop(number))
        return replace(self, chosen=tuple(sorted(chosen)))

    def _slopes(self, X, response, penalised):
        used = np.flatnonzero(~penalised | np.isin(np.arange(X.shape[1]), self.chosen))
        found = replace(self, ridge=0.0)._least_squares(X[:, used], response)
        slopes = np.zeros(1 + X.shape[1])
        slopes[0], slopes[1 + used] = found[0], found[1:]
        return slopes

    def _least_squares(self, X: np.ndarray, response: np.ndarray) -> np.ndarray:
        return Linear._slopes(self, X, response, np.zeros(X.shape[1], bool))


def _press_with(basis: np.ndarray, columns: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each column (n, k), what joins an orthonormal basis (n, m): the sum of squared errors of each row predicted without it
    (k,), and the part of the column that is new, of unit length (n, k); zero where none is."""
    own = columns - basis @ (basis.T @ columns)
    own -= basis @ (basis.T @ own)  # once more, for what rounding left of columns that say nearly the same
    length = np.linalg.norm(own, axis=0)
    known = length <= 1e-10 * np.linalg.norm(columns, axis=0)
    own = np.where(known, 0.0, own / np.where(known, 1.0, length))
    left = response - basis @ (basis.T @ response)
    leverage = np.minimum((basis**2).sum(axis=1)[:, None] + own**2, 1 - 1e-9)
    return (((left[:, None] - own * (own.T @ left)) / (1 - leverage)) ** 2).sum(axis=0), own


def inflation(X: np.ndarray) -> np.ndarray:
    """Variance inflation factor of each column (p,): 1 / (1 - R2) of the column on all others; inf where they tell it."""
    if X.shape[1] == 1:
        return np.ones(1)
    correlation = np.corrcoef(X, rowvar=False)
    if np.linalg.cond(correlation) > 1e10:
        return np.full(X.shape[1], np.inf)
    return np.diag(np.linalg.inv(correlation))
