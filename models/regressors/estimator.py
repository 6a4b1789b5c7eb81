"""Any regressor of the registry as a scikit-learn estimator, for pipelines, searches and comparisons of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from models.regressors import regressor_named


class ForestRegressor(RegressorMixin, BaseEstimator):
    """A regressor of `REGRESSORS` by name, with standardisation: targets and predictions are zero or more.

    Parameters
    ----------
    regressor : str
        Name in the registry.
    scale : str
        Scale of the fit where the regressor has one: none, sqrt, log.
    """

    def __init__(self, regressor: str = "mix", scale: str = "sqrt") -> None:
        self.regressor = regressor
        self.scale = scale

    def fit(self, X: Any, y: Any, groups: Any = None) -> ForestRegressor:
        """Learn and fit; rows with one value of `groups` are left out together while tuning.

        Raises
        ------
        ValueError
            If a target is negative or there are fewer groups than the regressor needs.
        """
        X, y = validate_data(self, X, y, dtype="float64", y_numeric=True, ensure_min_samples=2)
        if (y < 0).any():
            raise ValueError(f"targets are zero or more, got {y.min():g}: Negative y values are not supported")
        cluster = np.arange(len(y)) if groups is None else np.asarray(groups)
        self.machine_ = regressor_named(self.regressor, transform=self.scale)
        least, found = min(self.machine_.least_clusters(X.shape[1]), X.shape[1] + 2), len(np.unique(cluster))
        if found < min(least, 4):
            raise ValueError(
                f"regressor {self.regressor} needs at least {least} groups of rows, got {found} (n_samples={len(y)})"
            )
        self.centre_, spread = X.mean(axis=0), X.std(axis=0)
        self.spread_ = np.where(spread > 0, spread, 1.0)
        self.penalised_ = np.ones(X.shape[1], bool)
        design = (X - self.centre_) / self.spread_
        self.machine_ = self.machine_.learned(design, y, cluster, self.penalised_)
        self.params_ = self.machine_.fit(design, y, self.penalised_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Expected target (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype="float64", reset=False)
        return self.machine_.mean(self.params_, (X - self.centre_) / self.spread_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        tags.regressor_tags.poor_score = True
        return tags
