"""Regressors made of regressors: their mean, and the choice of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from models.regressors.base import FOLDS, Regressor, Scale, alive, plain_of
from models.regressors.gaussian import GaussianProcess
from models.regressors.linear import Linear, Ridge
from models.regressors.mixed_effects import MixedEffects
from models.regressors.trees import ExtraTrees


@dataclass(frozen=True)
class Mix(Regressor):
    """The mean of Gaussian process, ridge and extra trees.

    Each part meets the plots' total by itself (the first two by Snowdon's ratio, trees by their leaves' means), so their
    mean does, and Snowdon's ratio of the mix is one. Parameters: those of the parts, one after the other.

    References
    ----------
    `docs/methods/regressors.md`: within one point of the best regressor on each of five sets of real plots.
    """

    transform: str = "sqrt"
    parts: tuple[Regressor, ...] = ()

    name: ClassVar[str] = "mix"
    when: ClassVar[str] = "many predictors, or 300 plots and more; never much worse than the best"
    source: ClassVar[str] = "docs/methods/regressors.md"
    flexible: ClassVar[bool] = True
    folds: ClassVar[int | None] = FOLDS

    def __post_init__(self) -> None:
        Scale(self.transform)

    def least_clusters(self, predictors: int) -> int:
        return 10

    @property
    def _blank(self) -> tuple[Regressor, ...]:
        return GaussianProcess(self.transform), Ridge(self.transform), ExtraTrees()

    def learned(self, X, y, cluster, penalised):
        return replace(self, parts=tuple(part.learned(X, y, cluster, penalised) for part in self._blank))

    def size(self, columns):
        return sum(part.size(columns) for part in self.parts)

    def fit(self, X, y, penalised):
        return np.concatenate([part.fit(X, y, penalised) for part in self.parts])

    def predicted(self, X, y, cluster, penalised, places):
        return sum(part.predicted(X, y, cluster, penalised, places) for part in self._blank) / len(self._blank)

    def _each(self, params: np.ndarray, columns: int) -> Iterator[tuple[Regressor, np.ndarray]]:
        ends = np.cumsum([part.size(columns) for part in self.parts])
        return zip(self.parts, np.split(params, ends[:-1]), strict=True)

    def mean(self, params, X):
        return sum(part.mean(own, X) for part, own in self._each(params, X.shape[1])) / len(self.parts)

    def gradient(self, params, X):
        return self.both(params, X)[1]

    def both(self, params, X, out=None):
        gradient = np.empty((len(X), len(params)), np.float32) if out is None else out
        mean, start = 0.0, 0
        for part, own in self._each(params, X.shape[1]):
            mean = mean + part.both(own, X, gradient[:, start : start + len(own)])[0]
            start += len(own)
        gradient *= gradient.dtype.type(1 / len(self.parts))
        return mean / len(self.parts), gradient

    def pulled(self, X, y, penalised, params, mean, sd, step=0.1):
        return np.hstack([part.pulled(X, y, penalised, own, mean, sd, step) for part, own in self._each(params, X.shape[1])])

    def shifted(self, X, y, penalised, factor, step=0.1):
        return np.hstack([part.shifted(X, y, penalised, factor, step) for part in self.parts])

    def without_each(self, X, y, cluster, penalised, params):
        found = [part.without_each(X, y, cluster, penalised, own) for part, own in self._each(params, X.shape[1])]
        return np.hstack([refits for refits, _ in found]), sum(left_out for _, left_out in found) / len(found)

    def to_plain(self):
        return {"transform": self.transform, "parts": [plain_of(part) for part in self.parts]}

    @classmethod
    def from_plain(cls, plain):
        return cls(plain["transform"], tuple(alive(part) for part in plain["parts"]))


@dataclass(frozen=True)
class Chooser(Regressor):
    """Stands for another regressor, which it chooses when it learns; `table` says how."""

    transform: str = "sqrt"
    inner: Regressor | None = None
    table: tuple[Mapping[str, Any], ...] = ()

    candidate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Scale(self.transform)

    @property
    def flexible(self) -> bool:
        return self.inner.flexible

    @property
    def stands_for(self) -> Regressor:
        return self.inner

    def size(self, columns):
        return self.inner.size(columns)

    def fit(self, X, y, penalised):
        return self.inner.fit(X, y, penalised)

    def mean(self, params, X):
        return self.inner.mean(params, X)

    def gradient(self, params, X):
        return self.inner.gradient(params, X)

    def both(self, params, X, out=None):
        return self.inner.both(params, X, out)

    def pulled(self, X, y, penalised, params, mean, sd, step=0.1):
        return self.inner.pulled(X, y, penalised, params, mean, sd, step)

    def shifted(self, X, y, penalised, factor, step=0.1):
        return self.inner.shifted(X, y, penalised, factor, step)

    def to_plain(self):
        return {"transform": self.transform, "inner": plain_of(self.inner), "table": [dict(row) for row in self.table]}

    @classmethod
    def from_plain(cls, plain):
        return cls(plain["transform"], alive(plain["inner"]), tuple(plain["table"]))


MANY_PLOTS = 300
"""Plot measurements from which on the mix is the default: docs/methods/regressors.md has what that rests on."""
CLUSTERS_EACH = 2
"""Clusters of plots for each predictor below which it is, too: a line follows its plots there."""


@dataclass(frozen=True)
class Default(Chooser):
    """The mix from 300 plot measurements on, and where predictors are more than one for two clusters; linear elsewhere."""

    name: ClassVar[str] = "default"
    when: ClassVar[str] = "where nothing is known against it"
    source: ClassVar[str] = "docs/methods/regressors.md"

    def least_clusters(self, predictors: int) -> int:
        return min(predictors + 2, Mix(self.transform).least_clusters(predictors))

    def pick(self, measurements: int, clusters: int, predictors: int) -> Regressor:
        """The regressor, not learned yet, that it stands for with so many plot measurements, clusters and predictors."""
        mix = Mix(self.transform)
        gains = measurements >= MANY_PLOTS or clusters < CLUSTERS_EACH * predictors
        return mix if gains and clusters >= mix.least_clusters(predictors) else Linear(self.transform)

    def _pick(self, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray) -> Regressor:
        return self.pick(len(y), len(np.unique(cluster)), int(penalised.sum()))

    @property
    def folds(self) -> int | None:
        return self.inner.folds

    def learned(self, X, y, cluster, penalised):
        return replace(self, inner=self._pick(y, cluster, penalised).learned(X, y, cluster, penalised))

    def predicted(self, X, y, cluster, penalised, places):
        return self._pick(y, cluster, penalised).predicted(X, y, cluster, penalised, places)

    def without_each(self, X, y, cluster, penalised, params):
        return self.inner.without_each(X, y, cluster, penalised, params)


CHOICE_FOLDS = 5
ENOUGH = 1.01
"""A regressor earlier in the registry is taken where its error is at most this times the least: differences of a hundredth
mean nothing, and the earlier is the plainer."""


@dataclass(frozen=True)
class Auto(Chooser):
    """The regressor with the least error at groups of clusters left out, learning and all inside each; says who came how.

    The error it reports for itself is nested: the choice is made anew without the plots that are left out.

    strata : numbers of the columns that hold a place's share in each stratum: `linear` is tried with levels that are shrunk, as
        it is where a study names it (`models.inference.strata`); others take them as predictors
    """

    strata: tuple[int, ...] = ()

    name: ClassVar[str] = "auto"
    when: ClassVar[str] = "to be told by the plots; some minutes instead of seconds"
    source: ClassVar[str] = "Varma & Simon 2006, doi:10.1186/1471-2105-7-91"
    folds: ClassVar[int | None] = CHOICE_FOLDS

    def least_clusters(self, predictors: int) -> int:
        return 10

    def learned(self, X, y, cluster, penalised):
        from models.validation import scores

        table, machines = [], {}
        for name, machine in candidates(self.transform).items():
            if self.strata and type(machine) is Linear:
                machine = MixedEffects(machine.transform, machine.ridge, self.strata)
            try:
                predicted = machine.predicted_apart(X, y, cluster, penalised, CHOICE_FOLDS)
            except ValueError as error:
                table.append({"regressor": name, "why": str(error)})
                continue
            machines[name] = machine
            table.append({"regressor": name, **scores(y, predicted)})
        if not machines:
            raise ValueError(f"no regressor can be fitted ({'; '.join(row['why'] for row in table)})")
        least = min(row["rmse"] for row in table if "rmse" in row)
        chosen = next(row["regressor"] for row in table if row.get("rmse", np.inf) <= ENOUGH * least)
        return replace(self, inner=machines[chosen].learned(X, y, cluster, penalised), table=tuple(table))

    def without_each(self, X, y, cluster, penalised, params):
        refits, _ = self.inner.without_each(X, y, cluster, penalised, params)
        return refits, self.predicted_apart(X, y, cluster, penalised, self.folds)

    def to_plain(self):
        return {**super().to_plain(), "strata": list(self.strata)}

    @classmethod
    def from_plain(cls, plain):
        return replace(super().from_plain(plain), strata=tuple(plain["strata"]))


def candidates(transform: str) -> dict[str, Regressor]:
    """The regressors that `auto` chooses from, in the order of the registry."""
    from models.regressors import REGRESSORS, regressor_named

    return {
        name: regressor_named(name, transform=transform)
        for name, one in REGRESSORS.items()
        if getattr(getattr(one, "func", one), "candidate", False)
    }
