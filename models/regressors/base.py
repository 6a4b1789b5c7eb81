"""What every regressor offers the rest of the house."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

cached = functools.cached_property

FOLDS = 10
"""Groups of clusters that a regressor which learns is refitted without, at most."""


class Regressor(ABC):
    """Turns predictors into a target; a frozen dataclass of settings and of what it has learned.

    `learned` finds what is not a parameter (penalty, components, kernel, trees). `fit` then gives `params`, a plain vector
    in which the prediction is linear or nearly so: what a refit without a cluster does to it is what gives the covariance
    of all parameters, whatever the regressor, and a stand's variance needs only its mean gradient.

    Predictors come standardised (n, p), followed by a 0/1 column per date that has a level of its own; `penalised` (p,)
    is False for the latter. `cluster` (n,) names plots that are left out together. Targets are zero or more.
    """

    name: ClassVar[str] = ""
    when: ClassVar[str] = ""
    source: ClassVar[str] = ""
    flexible: ClassVar[bool] = False
    """Follows its plots so closely that residuals of fitted plots say little: residuals are those of plots left out."""
    folds: ClassVar[int | None] = None
    """Into how many groups of clusters plots are left out; None: each cluster by itself."""
    caution: ClassVar[str] = ""
    """A sentence that every model made with it carries as a warning."""
    candidate: ClassVar[bool] = True
    """`auto` may choose it."""
    tells_quantiles: ClassVar[bool] = False
    """Has `quantiles`."""

    @property
    def scale(self) -> Scale:
        """The scale on which residuals move targets."""
        return Scale("none")

    @property
    def learns(self) -> bool:
        """Whether anything but its parameters comes from the plots."""
        return type(self).learned is not Regressor.learned

    @property
    def stands_for(self) -> Regressor:
        """The regressor itself, or the one that it has chosen."""
        return self

    @abstractmethod
    def size(self, columns: int) -> int:
        """Number of parameters, once learned, for so many columns of predictors and dates."""

    def least_clusters(self, predictors: int) -> int:
        """Clusters of plots that are needed for so many predictors."""
        return predictors + 2

    def learned(self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray) -> Regressor:
        """The regressor with all it learns from plots but its parameters; what it had learned before is forgotten."""
        del X, y, cluster, penalised
        return self

    @abstractmethod
    def fit(self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        """Parameters from predictors (n, p), target (n,) and a flag per column (p,) that may be shrunk."""

    @abstractmethod
    def mean(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Expected target (n,), never negative."""

    @abstractmethod
    def gradient(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Derivative of `mean` with respect to each parameter (n, len(params))."""

    def both(
        self, params: np.ndarray, X: np.ndarray, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and gradient together, for a map; the gradient is written to `out` (n, len(params)) where it is given."""
        gradient = self.gradient(params, X)
        if out is None:
            return self.mean(params, X), gradient
        out[:] = gradient
        return self.mean(params, X), out

    def quantiles(self, X: np.ndarray, probabilities: Sequence[float]) -> np.ndarray:
        """Quantiles (n, q) of the target of a plot at each place (n, p), all in one pass, for the plots it has learned."""
        del X, probabilities
        raise ValueError(f"regressor {self.name} tells no quantiles")

    def pulled(
        self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray, params: np.ndarray, mean: np.ndarray, sd: np.ndarray,
        step: float = 0.1,
    ) -> np.ndarray:  # fmt: skip
        """Change of the parameters (n, p) per residual standard deviation `sd` (n,) of each plot, at its `mean` (n,)."""
        moved = self.scale.moved(y, mean, step * sd)
        changes = []
        for row in range(len(y)):
            other = y.copy()
            other[row] = moved[row]
            changes.append((self.fit(X, other, penalised) - params) / step)
        return np.array(changes)

    def shifted(
        self, X: np.ndarray, y: np.ndarray, penalised: np.ndarray, factor: np.ndarray, step: float = 0.1
    ) -> np.ndarray:
        """Change of the parameters when all targets move together by a factor (n,)."""
        up, down = (np.maximum(y + sign * step * factor, 0.0) for sign in (1, -1))
        return (self.fit(X, up, penalised) - self.fit(X, down, penalised)) / (2 * step)

    def without_each(
        self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, params: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Parameters without each cluster in turn (clusters, p), and each plot (n,) as predicted by a fit, learning and
        all, that has not seen its cluster."""
        refits, left_out = [], np.empty(len(y))
        for name in np.unique(cluster):
            rest = cluster != name
            machine = self.learned(X[rest], y[rest], cluster[rest], penalised)
            refits.append(machine.fit(X[rest], y[rest], penalised))
            left_out[~rest] = machine.mean(refits[-1], X[~rest])
        return np.array(refits), left_out

    def predicted(
        self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """Places (m, p) as predicted by this regressor learned and fitted anew to plots (n, p)."""
        machine = self.learned(X, y, cluster, penalised)
        return machine.mean(machine.fit(X, y, penalised), places)

    def predicted_apart(
        self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, folds: int | None
    ) -> np.ndarray:
        """Each plot (n,) as predicted by a fit, learning and all, that has not seen its group of clusters."""
        left_out = np.empty(len(y))
        for test in groups(cluster, folds or len(y)):
            rest = np.setdiff1d(np.arange(len(y)), test)
            left_out[test] = self.predicted(X[rest], y[rest], cluster[rest], penalised, X[test])
        return left_out

    def to_plain(self) -> dict[str, Any]:
        """Numbers, lists and strings only, from which `from_plain` makes the same regressor again."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Regressor:
        return cls(**{name: cls._alive(name, value) for name, value in plain.items()})

    @classmethod
    def _alive(cls, name: str, value: Any) -> Any:
        """The value of a field from its plain form; lists are arrays unless a class says otherwise."""
        return np.array(value) if isinstance(value, list) else value


def plain_of(machine: Regressor) -> dict[str, Any]:
    """A regressor with its name in the registry, in plain values."""
    return {"name": machine.name, **machine.to_plain()}


def alive(plain: Mapping[str, Any]) -> Regressor:
    """The regressor that `plain_of` wrote down."""
    from models.regressors import REGRESSORS

    made = REGRESSORS[plain["name"]]
    return getattr(made, "func", made).from_plain({key: value for key, value in plain.items() if key != "name"})


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def groups(cluster: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows of at most `count` groups of whole clusters of nearly equal numbers of rows, dealt out at random but always alike.

    Large clusters are dealt first, each to the group that has the fewest rows.
    """
    names, number, rows = np.unique(cluster, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError("all plots are in one cluster: there is nothing to hold them against")
    shuffled = np.random.default_rng(0).permutation(len(names))
    held, group = np.zeros(min(count, len(names)), int), np.empty(len(names), int)
    for name in shuffled[np.argsort(-rows[shuffled], kind="stable")]:
        group[name] = int(held.argmin())
        held[group[name]] += rows[name]
    return [np.flatnonzero(group[number] == one) for one in range(len(held))]


@dataclass(frozen=True)
class Scale:
    """The scale a target is fitted on, and the way back."""

    transform: str

    def __post_init__(self) -> None:
        if self.transform not in ("none", "sqrt", "log"):
            raise ValueError(f"transform {self.transform!r} is not one of none, sqrt, log")

    def forward(self, y: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return np.sqrt(np.maximum(y, 0.0))
        if self.transform == "log":
            if (y <= 0).any():
                raise ValueError("transform log needs targets above zero, and some plots have none: use sqrt")
            return np.log(y)
        return y

    def back(self, linear: np.ndarray) -> np.ndarray:
        if self.transform == "sqrt":
            return np.maximum(linear, 0.0) ** 2
        return np.exp(linear) if self.transform == "log" else linear

    def slope(self, linear: np.ndarray) -> np.ndarray:
        """Derivative of `back`."""
        if self.transform == "sqrt":
            return 2 * np.maximum(linear, 0.0)
        return np.exp(linear) if self.transform == "log" else np.ones_like(linear)

    def moved(self, y: np.ndarray, mean: np.ndarray, amount: np.ndarray) -> np.ndarray:
        """Targets (n,) moved along the scale by what `amount` is at the expected target `mean`.

        On a square-root scale the same amount moves a bare plot as far as a full one, where the slope of the root at the
        bare plot's own target would let it rule the fit.
        """
        if self.transform == "sqrt":
            return (np.sqrt(np.maximum(y, 0.0)) + amount / (2 * np.sqrt(mean))) ** 2
        return y * np.exp(amount / mean) if self.transform == "log" else y + amount


def tuned(
    machine: Any, setting: str, choices: list, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray
) -> Any:
    """The regressor with the choice of a setting that predicts groups of clusters left out best; the first of equals."""
    tests = groups(cluster, FOLDS)
    errors = []
    for choice in choices:
        one = replace(machine, **{setting: choice})
        squares = 0.0
        for test in tests:
            rest = np.setdiff1d(np.arange(len(y)), test)
            predicted = one.mean(one.fit(X[rest], y[rest], penalised), X[test])
            squares += float(((predicted - y[test]) ** 2).sum())
        errors.append(squares)
    return replace(machine, **{setting: choices[int(np.argmin(errors))]})
