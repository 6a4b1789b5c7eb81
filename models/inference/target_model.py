"""The fitted models of one target: what is kept of them, and how they serve a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from models.applicability import Applicability
from models.inference.residuals import Residuals
from models.regressors import Regressor, alive, plain_of


@dataclass(frozen=True)
class Sample:
    """The plots (or cells) a predictor set was fitted to, one row per plot and date (n), and what each does to its parameters.

    patch : (n,) plots of one cluster and stratum, which a stand's own departure is likely to move together; stands of cells
    influence : (n, p) change of the set's parameters per standard deviation `sd` (n,) of the row's residual
    moved : (p, p), optional: rows whose squared product with a gradient adds up to the variance that the plots' position
        errors give a mean; none where all positions are known
    """

    plot: np.ndarray
    patch: np.ndarray
    year: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sd: np.ndarray
    influence: np.ndarray
    moved: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> Sample:
        """The sample of some rows."""
        per_row = [name for name in self.__dataclass_fields__ if name != "moved"]
        return replace(self, **{name: getattr(self, name)[rows] for name in per_row})

    @property
    def xy(self) -> np.ndarray:
        return np.column_stack([self.x, self.y])

    def pairs(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the plots measured at both years: at the first, at the second, in the same order."""
        early, late = np.flatnonzero(self.year == first), np.flatnonzero(self.year == second)
        both, a, b = np.intersect1d(self.plot[early], self.plot[late], return_indices=True)
        del both
        return early[a], late[b]

    @classmethod
    def from_plain(cls, plain: Mapping) -> Sample:
        return cls(**{name: None if value is None else np.array(value) for name, value in plain.items()})


@dataclass(frozen=True)
class SecondStage:
    """How a set learned from what another set, fitted to plots, predicts for cells: plots -> first set -> this set.

    first_set : name of the set that predicted the cells
    moves : (p, q) change of this set's parameters per change of the first set's
    cells, first_cells : (n, k) and (n, l) raw predictors of this and of the first set at the cells, in the order of the sample
    block : (n,) square of land that each cell lies in; refits (blocks, p) : parameters without each, in the names' order
    reach_m : a plot so near to a cell shares its neighbourhood
    compared : error at plots left out on both paths, where both could be fitted
    """

    first_set: str
    moves: np.ndarray
    cells: np.ndarray
    first_cells: np.ndarray
    block: np.ndarray
    refits: np.ndarray
    reach_m: float
    compared: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, plain: Mapping) -> SecondStage:
        arrays = {name: np.array(plain[name], float) for name in ("moves", "cells", "first_cells", "refits")}
        return cls(**{**plain, **arrays, "block": np.array(plain["block"])})


@dataclass(frozen=True)
class SetModel:
    """The regression of one predictor set. Predictors are standardised with `centre` and `spread`, then followed by
    one column per date in `dates[1:]` that is 1 at that date (the date effect), where the set has one.

    `residuals` say what the set leaves unexplained of what it was fitted to, at the support `plot_ha` of its sample: of plots,
    or, with a `second_stage`, of another set's predictions; what that set leaves unexplained comes on top.
    """

    name: str
    predictors: tuple[str, ...]
    dates: tuple[int, ...]
    centre: np.ndarray
    spread: np.ndarray
    machine: Regressor
    params: np.ndarray
    domain: Applicability
    residuals: Residuals
    plot_ha: float
    sample: Sample
    scores: dict[str, float] = field(default_factory=dict)
    second_stage: SecondStage | None = None

    def design(self, X: np.ndarray, date: np.ndarray | int) -> np.ndarray:
        """Columns of the regression from raw predictors (n, p) and their date (n,)."""
        return design_of(X, date, self.centre, self.spread, self.dates)

    @property
    def columns(self) -> int:
        """Columns of the regression: predictors, and dates after the first."""
        return len(self.predictors) + len(self.dates) - 1

    def inside(self, X: np.ndarray) -> np.ndarray:
        """Which places (n,), by their raw predictors (n, p), lie in the model's area of applicability."""
        return self.domain.inside(X)


def design_of(
    X: np.ndarray, date: np.ndarray | int, centre: np.ndarray, spread: np.ndarray, dates: tuple[int, ...]
) -> np.ndarray:
    """Standardised predictors (n, p), then a column per date after the first that is 1 at that date."""
    found = np.empty((len(X), X.shape[1] + len(dates) - 1))
    own = found[:, : X.shape[1]]
    np.subtract(X, centre, out=own)
    own /= spread
    for number, later in enumerate(dates[1:], X.shape[1]):
        found[:, number] = np.asarray(date) == later
    return found


@dataclass(frozen=True)
class TargetModel:
    """Every predictor set's model of a target, with what their parameters share.

    influence : (clusters, parameters of all sets), scaled so that covariance = influence.T @ influence
    shared : (factors, parameters of all sets): shift of the parameters per standard deviation of each error that plots
        share (allometry, height model, wood density)
    short : (parameters, r), optional: nearly all that `factors` say of places like the plots, in fewer columns, for pixels
    between_sets : (sets, sets): correlation of what the sets leave unexplained, at the plots they have in common
    block_influence : (blocks, parameters of all sets): as `influence`, of the blocks of cells that second stages learned from;
        none where every set was fitted to plots
    clusters : clusters of plots, of the set that has the fewest
    counts : plots, rows (measurements) and clusters of all sets together, and fewest_plots of the set with the fewest clusters
    blocks : number of blocks of cells, of the second stage that has the fewest
    shrunk : (effects, parameters of all sets): shift of the parameters per standard deviation of what strata depart by, as far
        as plots do not tell it (`inference.strata`); none where models have no strata
    strata : number of strata that told how far strata depart, of the set that has the fewest
    """

    target: str
    regressor: str
    transform: str
    sets: tuple[SetModel, ...]
    influence: np.ndarray
    shared: np.ndarray
    between_sets: np.ndarray
    clusters: int
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    short: np.ndarray | None = None
    block_influence: np.ndarray | None = None
    blocks: int = 0
    shrunk: np.ndarray | None = None
    strata: int = 0

    def __post_init__(self) -> None:
        for name in ("block_influence", "shrunk"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.zeros((0, self.influence.shape[1])))

    def to_plain(self) -> dict:
        """Numbers, lists and strings only, from which `from_plain` makes the same model again."""
        plain = _plain(asdict(replace(self, sets=tuple(replace(one, machine=None) for one in self.sets))))
        for one, written in zip(self.sets, plain["sets"], strict=True):
            written["machine"] = plain_of(one.machine)
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping) -> TargetModel:
        sets = tuple(
            SetModel(
                **{
                    **one,
                    "predictors": tuple(one["predictors"]),
                    "dates": tuple(one["dates"]),
                    "machine": alive(one["machine"]),
                    "domain": Applicability.from_plain(one["domain"]),
                    "residuals": Residuals.from_plain(one["residuals"]),
                    "sample": Sample.from_plain(one["sample"]),
                    "second_stage": one["second_stage"] and SecondStage.from_plain(one["second_stage"]),
                    **{name: np.array(one[name]) for name in ("centre", "spread", "params")},
                }
            )
            for one in plain["sets"]
        )
        columns = sum(len(one.params) for one in sets)
        matrices = {name: np.array(plain[name], float).reshape(-1, columns) for name in MATRICES}
        matrices["short"] = None if plain["short"] is None else np.array(plain["short"], float)
        matrices["between_sets"] = np.array(plain["between_sets"], float)
        return cls(**{**plain, **matrices, "sets": sets, "warnings": tuple(plain["warnings"])})

    @property
    def degrees_of_freedom(self) -> int:
        return max(self.clusters - 1, 1)

    @property
    def factors(self) -> np.ndarray:
        """Rows whose squared product with a gradient adds up to its variance: sampling first, then shared errors, then strata."""
        return np.vstack([self.influence, self.block_influence, self.shared, self.shrunk])

    @cached_property
    def carried(self) -> list[tuple[int, ...]]:
        """Of each set, the sets whose residuals a place that it serves carries: its own, and those of its first stage."""
        names = [one.name for one in self.sets]
        return [
            (number,) if one.second_stage is None else (names.index(one.second_stage.first_set), number)
            for number, one in enumerate(self.sets)
        ]

    @cached_property
    def root(self) -> np.ndarray:
        """(parameters, r) float32: the squares of a gradient times it add up to the gradient's variance."""
        if self.short is not None:
            return self.short.astype(np.float32)
        rows = np.linalg.qr(self.factors, mode="r") if len(self.factors) else np.zeros((1, self.factors.shape[1]))
        return np.ascontiguousarray(rows.T, np.float32)

    def named(self, name: str) -> SetModel:
        """The set of a name."""
        return next(one for one in self.sets if one.name == name)

    def slices(self) -> list[slice]:
        """Where each set's parameters stand in the vector of all."""
        ends = np.cumsum([0, *(len(one.params) for one in self.sets)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def complete(self, predictors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which predictor sets are complete at each place (n, sets)."""
        n = len(next(iter(predictors.values())))
        found = np.zeros((n, len(self.sets)), bool)
        for number, one in enumerate(self.sets):
            if all(name in predictors for name in one.predictors):
                found[:, number] = _complete(np.column_stack([predictors[name] for name in one.predictors]))
        return found

    def predict(
        self, predictors: Mapping[str, np.ndarray], date: int, usable: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Mean, gradient, residual SD, domain and the set used, for pixels or plots of one date.

        Each place is served by the first predictor set that is complete there (and, where `usable` (n, sets) is given,
        is usable there).

        Parameters
        ----------
        predictors : mapping of name to array (n,)
        date : int
            Study year that the predictors show.

        Returns
        -------
        dict
            mean (n,), gradient (n, all parameters), residual_sd (n,), part_sd (n, sets): what each set's residuals have in
            it (squares add up), in_domain (n,) bool, set_number (n,) int8 with -1 where no set is complete (mean is NaN there).
        """
        n = len(next(iter(predictors.values())))
        found = {
            "mean": np.full(n, np.nan),
            "gradient": np.zeros((n, self.influence.shape[1]), "float32"),
            "residual_sd": np.full(n, np.nan),
            "part_sd": np.zeros((n, len(self.sets))),
            "in_domain": np.zeros(n, bool),
            "set_number": np.full(n, -1, "int8"),
        }
        for start in range(0, n, PIECE):
            piece = slice(start, min(start + PIECE, n))
            self._serve(
                {name: array[piece] for name, array in predictors.items()}, date, None if usable is None else usable[piece],
                {name: array[piece] for name, array in found.items()},
            )  # fmt: skip
        return found

    def _serve(
        self, predictors: Mapping[str, np.ndarray], date: int, usable: np.ndarray | None, found: dict[str, np.ndarray]
    ) -> None:
        """Write what `predict` finds for a piece of the places."""
        n = len(found["mean"])
        for number, (one, place) in enumerate(zip(self.sets, self.slices(), strict=True)):
            if not all(name in predictors for name in one.predictors):
                continue
            X = np.empty((n, len(one.predictors)))
            for column, name in enumerate(one.predictors):
                X[:, column] = predictors[name]
            served = (found["set_number"] < 0) & _complete(X)
            if usable is not None:
                served &= usable[:, number]
            if not served.any():
                continue
            if served.all():
                rows, out = slice(None), found["gradient"][:, place]
            else:
                rows, out = np.flatnonzero(served), None
                X = X[rows]
            mean, gradient = one.machine.both(one.params, one.design(X, date), out)
            if out is None:
                found["gradient"][rows, place] = gradient
            found["mean"][rows] = mean
            if one.second_stage is None:
                found["residual_sd"][rows] = found["part_sd"][rows, number] = one.residuals.sd(mean)
            else:
                parts = [self.sets[part].residuals.sd(mean) for part in self.carried[number]]
                for part, sd in zip(self.carried[number], parts, strict=True):
                    found["part_sd"][rows, part] = sd
                found["residual_sd"][rows] = np.hypot(*parts)
            found["in_domain"][rows] = one.inside(X)
            found["set_number"][rows] = number


MATRICES = ("influence", "shared", "block_influence", "shrunk")
"""Of a model, those that have a column per parameter."""


def _complete(X: np.ndarray) -> np.ndarray:
    """Which rows (n,) of predictors (n, p) lack none: a sum is finite just where all are."""
    return np.isfinite(X @ np.ones(X.shape[1]))


PIECE = 2048
"""Places that are predicted together: what is worked out for them on the way stays in the processor's cache."""


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
