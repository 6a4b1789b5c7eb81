"""Where a model may be trusted: the range of predictors that its plots covered."""

from __future__ import annotations

import numpy as np

MARGIN = 0.05
"""Share of the plots' range that a pixel may lie beyond it and still count as inside: room for measurement noise."""


def domain_of(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value (p,), (p,) of each predictor over the plots (n, p), widened by `MARGIN` of the range."""
    low, high = X.min(axis=0), X.max(axis=0)
    room = MARGIN * (high - low)
    return low - room, high + room


def in_domain(X: np.ndarray, domain: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """True (n,) where every predictor (n, p) lies within the domain; missing predictors are outside."""
    low, high = domain
    return ((low <= X) & (high >= X)).all(axis=1)
