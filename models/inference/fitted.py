"""All models of one target fitted together: one per predictor set, pooled over dates, sharing one covariance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.applicability import Applicability, applicability
from models.inference.residuals import Residuals, above_floor, between_dates, difference_sd, spatial_structure, spread_of
from models.regressors import Regressor, alive, plain_of, regressor_named
from models.validation import scores

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The plots a predictor set was fitted to, one row per plot and date (n), and what each does to the parameters.

    patch : (n,) plots of one cluster and stratum, which a stand's own departure is likely to move together
    influence : (n, p) change of the set's parameters per standard deviation `sd` (n,) of the row's residual
    """

    plot: np.ndarray
    patch: np.ndarray
    year: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sd: np.ndarray
    influence: np.ndarray

    @property
    def xy(self) -> np.ndarray:
        return np.column_stack([self.x, self.y])

    def pairs(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the plots measured at both years: at the first, at the second, in the same order."""
        early, late = np.flatnonzero(self.year == first), np.flatnonzero(self.year == second)
        both, a, b = np.intersect1d(self.plot[early], self.plot[late], return_indices=True)
        del both
        return early[a], late[b]

    def at(self, rows: np.ndarray) -> Sample:
        """The sample's rows at indices."""
        return Sample(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    @classmethod
    def from_plain(cls, plain: Mapping) -> Sample:
        return cls(**{name: np.array(value) for name, value in plain.items()})


@dataclass(frozen=True)
class SetModel:
    """The regression of one predictor set. Predictors are standardised with `centre` and `spread`, then followed by
    one column per date in `dates[1:]` that is 1 at that date (the date effect), where the set has one."""

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

    def design(self, X: np.ndarray, date: np.ndarray | int) -> np.ndarray:
        """Columns of the regression from raw predictors (n, p) and their date (n,)."""
        return design_of(X, date, self.centre, self.spread, self.dates)

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
    between_sets : (sets, sets): correlation of their residuals at the plots they have in common
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
                    **{name: np.array(one[name]) for name in ("centre", "spread", "params")},
                }
            )
            for one in plain["sets"]
        )
        columns = sum(len(one.params) for one in sets)
        matrices = {name: np.array(plain[name], float).reshape(-1, columns) for name in ("influence", "shared")}
        matrices["short"] = None if plain["short"] is None else np.array(plain["short"], float)
        matrices["between_sets"] = np.array(plain["between_sets"], float)
        return cls(**{**plain, **matrices, "sets": sets, "warnings": tuple(plain["warnings"])})

    @property
    def degrees_of_freedom(self) -> int:
        return max(self.clusters - 1, 1)

    @property
    def factors(self) -> np.ndarray:
        """Rows whose squared product with a gradient adds up to its variance: sampling first, then shared errors."""
        return np.vstack([self.influence, self.shared])

    @cached_property
    def root(self) -> np.ndarray:
        """(parameters, r) float32: the squares of a gradient times it add up to the gradient's variance."""
        if self.short is not None:
            return self.short.astype(np.float32)
        rows = np.linalg.qr(self.factors, mode="r") if len(self.factors) else np.zeros((1, self.factors.shape[1]))
        return np.ascontiguousarray(rows.T, np.float32)

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
            mean (n,), gradient (n, all parameters), residual_sd (n,), in_domain (n,) bool, set_number (n,) int8 with
            -1 where no set is complete (mean is NaN there).
        """
        n = len(next(iter(predictors.values())))
        found = {
            "mean": np.full(n, np.nan),
            "gradient": np.zeros((n, self.influence.shape[1]), "float32"),
            "residual_sd": np.full(n, np.nan),
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
            found["residual_sd"][rows] = one.residuals.sd(mean)
            found["in_domain"][rows] = one.inside(X)
            found["set_number"][rows] = number


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


def fit_target(
    plots: pd.DataFrame,
    predictor_sets: Mapping[str, Sequence[str]],
    *,
    target: str,
    column: str,
    regressor: str = "linear",
    transform: str = "sqrt",
    date_effect: str = "always",
    min_clusters: int = 4,
) -> tuple[TargetModel, pd.DataFrame]:
    """Fit all predictor sets of a target and the covariance of all their parameters.

    Parameters
    ----------
    plots : DataFrame
        One row per plot and date: `plot, cluster, year, x, y, area_ha`, the target `column`, shared error factors
        `f_*` (target unit per standard deviation) and the predictors.
    predictor_sets : mapping of set name to predictor names, in order of preference.

    Returns
    -------
    TargetModel, DataFrame
        The second holds each plot as predicted by the fit that has not seen its cluster: set_name, plot, cluster, year,
        observed, predicted.

    Raises
    ------
    ValueError
        When no set has enough plots or clusters for its predictors; the sentence has the numbers.
    """
    machine = regressor_named(regressor, transform=transform)
    factors = [name for name in plots.columns if name.startswith("f_")]
    clusters = plots["cluster"].astype(str).to_numpy()
    names = np.unique(clusters)
    fits, reasons, notes = [], [], []
    for name, predictors in predictor_sets.items():
        try:
            fits.append(
                _fit_set(
                    plots, name, tuple(predictors), column, machine, transform, date_effect, min_clusters, factors, notes
                )
            )
        except ValueError as error:
            reasons.append(f"{name}: {error}")
            notes.append(f"predictor set {name} is left out: {error}")
    if not fits:
        raise ValueError(f"no model of {target} can be fitted ({'; '.join(reasons)})")
    influence = np.hstack([_aligned(fit["influence"], fit["clusters"], names) for fit in fits])
    shared = np.hstack([fit["shared"] for fit in fits]) if factors else np.zeros((0, influence.shape[1]))
    for note in notes:
        log.warning(note)
    import pandas as pd

    left_out = pd.concat([fit["left_out"] for fit in fits], ignore_index=True)
    model = TargetModel(
        target,
        regressor,
        transform,
        tuple(fit["model"] for fit in fits),
        influence,
        shared,
        _between_sets(left_out, [fit["model"].name for fit in fits]),
        min(len(fit["clusters"]) for fit in fits),
        {"plots": int(plots["plot"].nunique()), "rows": len(plots), "clusters": len(names)},
        tuple(notes),
        _short(np.vstack([influence, shared]), [fit["gradient"] for fit in fits]),
    )
    return model, left_out


MOST_EXACT = 40
"""Parameters up to which a pixel's variance is worked out from all that the factors say."""
TOLD = 0.999
"""Share of the model variance at the plots that fewer columns keep; they are widened for the rest."""


def _short(factors: np.ndarray, seen: Sequence[Sequence[np.ndarray]]) -> np.ndarray | None:
    """Fewer columns (parameters, r) that say of places like the plots nearly all that factors (rows, parameters) say.

    `seen` holds gradients (n, own parameters) of each set: of levels, and of changes at the same plots, which count as
    much: what is small in a level may be all there is in a change.
    """
    if factors.shape[1] <= MOST_EXACT:
        return None
    parts, start = [], 0
    for kinds in seen:
        own = factors[:, start : start + kinds[0].shape[1]]
        start += kinds[0].shape[1]
        moves = [own @ gradient.T for gradient in kinds if len(gradient)]
        parts += [move / size for move in moves if (size := np.linalg.norm(move)) > 0]
    if not parts:
        return None
    vectors, sizes, _ = np.linalg.svd(np.hstack(parts), full_matrices=False)
    told = np.cumsum(sizes**2)
    count = int(np.searchsorted(told, TOLD * told[-1])) + 1
    return (vectors[:, :count].T @ factors).T * np.sqrt(told[-1] / told[count - 1])


def _changes(gradient: np.ndarray, sample: Sample) -> np.ndarray:
    """Gradients of the change between the first and the last year at plots that were measured at both."""
    early, late = sample.pairs(int(sample.year.min()), int(sample.year.max()))
    return (gradient[late] - gradient[early]).astype(float)


def _between_sets(left_out: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Correlation of the sets' residuals at plots they share; 1, the cautious case, where fewer than eight are shared."""
    residual = left_out.assign(residual=left_out["observed"] - left_out["predicted"])
    by_set = residual.pivot_table(index=["plot", "year"], columns="set_name", values="residual").reindex(columns=names)
    found = by_set.corr(min_periods=8).fillna(1.0).clip(0.0, 1.0).to_numpy().copy()
    np.fill_diagonal(found, 1.0)
    return found


def _fit_set(
    plots, name, predictors, column, machine, transform, date_effect, min_clusters, factors, notes
) -> dict:
    X_all = plots[list(predictors)].to_numpy(float)
    used = np.isfinite(X_all).all(axis=1) & np.isfinite(plots[column].to_numpy(float))
    rows, X = plots[used], X_all[used]
    _log_missing(plots, X_all, predictors, name)
    _check_enough(X_all, X, rows["cluster"].nunique(), predictors, max(min_clusters, 3), machine)
    y, cluster, year = rows[column].to_numpy(float), rows["cluster"].astype(str).to_numpy(), rows["year"].to_numpy(int)
    centre, spread = X.mean(axis=0), X.std(axis=0)
    dates = tuple(sorted(set(year.tolist())))
    if date_effect == "never":
        dates = dates[:1]
    design = design_of(X, year, centre, spread, dates)
    penalised = np.arange(design.shape[1]) < len(predictors)
    if len(dates) > 1 and date_effect == "auto" and not _dates_differ(design, y, cluster, penalised, transform):
        dates = dates[:1]
        design, penalised = design[:, : len(predictors)], penalised[: len(predictors)]
        notes.append(f"predictor set {name}: dates are pooled, no date effect was found (tested)")
    machine = machine.learned(design, y, cluster, penalised)
    params = machine.fit(design, y, penalised)
    refits, left_out = machine.without_each(design, y, cluster, penalised, params)
    if machine.stands_for.caution:
        notes.append(f"predictor set {name}: {machine.stands_for.caution}")
    if scores(y, left_out)["r2"] <= 0:
        notes.append(
            f"predictor set {name}: at plots left out it predicts no better than the plots' mean (R2 "
            f"{scores(y, left_out)['r2']:.2f}); use fewer or other predictors, or more plots"
        )
    fitted, gradient = machine.both(params, design)
    scale, power, floor = spread_of(y - left_out, left_out)
    sd = scale * np.maximum(fitted, floor) ** power
    sample = Sample(
        plot=rows["plot"].to_numpy(str), patch=_patches(rows), year=year, x=rows["x"].to_numpy(float),
        y=rows["y"].to_numpy(float), sd=sd,
        influence=machine.pulled(design, y, penalised, params, np.maximum(fitted, floor), sd),
    )  # fmt: skip
    told = np.flatnonzero(above_floor(fitted, floor))
    if machine.flexible:
        structure = _structure(y - left_out, fitted[:, None], sample, told)
    else:
        structure = _structure(y - fitted, gradient, sample, told)
    if not structure["level"].identified:
        notes.append(f"predictor set {name}: {structure['level'].doubt()}")
    model = SetModel(
        name=name, predictors=predictors, dates=dates, centre=centre, spread=spread, machine=machine,
        params=params, domain=applicability(X, cluster, _weights(machine, params, design, len(predictors))),
        residuals=Residuals(scale, power, floor, **structure), plot_ha=float(rows["area_ha"].median()), sample=sample,
        scores=scores(y, left_out),
    )  # fmt: skip
    clusters = np.unique(cluster)
    return {
        "model": model,
        "influence": np.sqrt((len(clusters) - 1) / len(clusters)) * (refits - params),
        "clusters": clusters,
        "gradient": (gradient.astype(float), _changes(gradient, sample)),
        "shared": np.array(
            [machine.shifted(design, y, penalised, factor) for factor in np.nan_to_num(rows[factors].to_numpy(float)).T]
        ).reshape(len(factors), len(params)),
        "left_out": rows[["plot", "cluster", "year"]].assign(set_name=name, observed=y, predicted=left_out),
    }


INNER_FOLDS = 5
"""Groups of clusters that a regressor which learns is refitted without inside a fold, for the spread of its residuals."""


def predict_left_out(
    plots: pd.DataFrame, model: TargetModel, one: SetModel, column: str, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """Plots as predicted by models that have not seen them, with the SD of the error that those models expect.

    Standardisation, fit, back-transformation and the spread of residuals are made anew from what stays of each fold;
    the predictors and whether dates have levels of their own are those of the model.

    Parameters
    ----------
    plots : DataFrame
        The rows that the set was fitted to, see `rows_of`.
    folds : rows left out and rows that stay

    Returns
    -------
    DataFrame
        plot, cluster, year, x, y, fold, observed, predicted, sd; rows of a fold whose rest cannot be fitted are missing.
    """
    machine = one.machine.stands_for
    place = model.slices()[[other.name for other in model.sets].index(one.name)]
    X, y = plots[list(one.predictors)].to_numpy(float), plots[column].to_numpy(float)
    cluster, year = plots["cluster"].astype(str).to_numpy(), plots["year"].to_numpy(int)
    found = plots[["plot", "cluster", "year", "x", "y"]].assign(fold=-1, observed=y, predicted=np.nan, sd=np.nan)
    penalised = np.arange(len(one.predictors) + len(one.dates) - 1) < len(one.predictors)
    predicted, sd, number = np.full(len(y), np.nan), np.full(len(y), np.nan), np.full(len(y), -1)
    for fold, (test, rest) in enumerate(folds):
        number[test] = fold
        clusters = len(np.unique(cluster[rest]))
        centre, spread = X[rest].mean(axis=0), X[rest].std(axis=0)
        if clusters < machine.least_clusters(len(one.predictors)) or (spread < 1e-12).any():
            continue
        design = design_of(X, year, centre, spread, one.dates)
        fold_machine = machine.learned(design[rest], y[rest], cluster[rest], penalised)
        params = fold_machine.fit(design[rest], y[rest], penalised)
        mean = fold_machine.mean(params, design[test])
        if machine.learns:  # what the parameters add is small beside the residual, and learning without each cluster is dear
            inner = machine.predicted_apart(design[rest], y[rest], cluster[rest], penalised, INNER_FOLDS)
            gradient = one.machine.gradient(one.params, one.design(X[test], year[test]))
            moved = ((gradient @ model.influence[:, place].T) ** 2).sum(axis=1)
        else:
            refits, inner = machine.without_each(design[rest], y[rest], cluster[rest], penalised, params)
            change = np.array([machine.mean(refit, design[test]) for refit in refits]) - mean
            moved = (clusters - 1) / clusters * (change**2).sum(axis=0)
        scale, power, floor = spread_of(y[rest] - inner, inner)
        predicted[test] = mean
        sd[test] = np.sqrt((scale * np.maximum(mean, floor) ** power) ** 2 + moved)
    return found.assign(fold=number, predicted=predicted, sd=sd)


def rows_of(plots: pd.DataFrame, one: SetModel, column: str) -> pd.DataFrame:
    """The plots (rows) that a predictor set was fitted to: those with the target and all its predictors."""
    return plots[np.isfinite(plots[[*one.predictors, column]].to_numpy(float)).all(axis=1)].reset_index(drop=True)


def _weights(machine: Regressor, params: np.ndarray, design: np.ndarray, n_predictors: int) -> np.ndarray:
    """What the model makes of each standardised predictor (p,): the mean size of its slope over the plots.

    A flexible model's slope is told over half a standard deviation to either side, for trees predict in steps.
    """
    step = 0.5 if machine.flexible else 0.05
    weights = np.empty(n_predictors)
    for number in range(n_predictors):
        ends = []
        for sign in (1, -1):
            moved = design.copy()
            moved[:, number] += sign * step
            ends.append(machine.mean(params, moved))
        weights[number] = np.abs(ends[0] - ends[1]).mean() / (2 * step)
    return weights


def _patches(rows: pd.DataFrame) -> np.ndarray:
    """Name of cluster and stratum of each row; the cluster alone where the plots carry no stratum."""
    cluster = rows["cluster"].astype(str)
    if "stratum" not in rows:
        return cluster.to_numpy(str)
    return (cluster + " " + rows["stratum"].astype(str)).to_numpy(str)


MOST_NAMED = 10
"""Plots that a sentence names."""


def _log_missing(plots: pd.DataFrame, X_all: np.ndarray, predictors: tuple[str, ...], name: str) -> None:
    """Count and name the plots at which a predictor is missing."""
    gone = ~np.isfinite(X_all)
    lacking = gone.any(axis=1)
    if lacking.any():
        which = [f"{one} at {count}" for one, count in zip(predictors, gone.sum(axis=0), strict=True) if count]
        names = [f"{plot} ({year})" for plot, year in zip(plots["plot"][lacking], plots["year"][lacking], strict=True)]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        log.info(
            "predictor set %s: %d of %d plot measurements lack a predictor (%s) and are not used: %s%s",
            name, lacking.sum(), len(plots), ", ".join(which), ", ".join(names[:MOST_NAMED]), more,
        )  # fmt: skip


def _check_enough(
    X_all: np.ndarray, X: np.ndarray, clusters: int, predictors: tuple[str, ...], least: int, machine: Regressor
) -> None:
    absent = [name for name, column in zip(predictors, X_all.T, strict=True) if not np.isfinite(column).any()]
    if absent:
        raise ValueError(f"the predictor {absent[0]} is missing at every plot: no plot lies where it was measured")
    if clusters == 1 and len(X) > 1:
        raise ValueError(
            f"all {len(X)} plot measurements that have {', '.join(predictors)} are in one cluster, at least {least} clusters "
            "are needed: errors are told from what one cluster says of another"
        )
    if clusters < least:
        raise ValueError(
            f"{clusters} clusters of plots have all of {', '.join(predictors)}, at least {least} are needed"
        )
    needed = machine.least_clusters(len(predictors))
    if clusters < needed:
        which = f" for regressor {machine.name}" if machine.learns else ""
        raise ValueError(
            f"{len(predictors)} predictors need more than {needed - 1} clusters of plots{which}, there are {clusters}"
        )
    flat = [name for name, spread in zip(predictors, X.std(axis=0), strict=True) if spread < 1e-12]
    if flat:
        raise ValueError(f"the predictor {flat[0]} is constant over the plots")


def _dates_differ(
    design: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, transform: str, level: float = 0.2
) -> bool:
    """Wald test of the date effects of a linear regression with the cluster covariance; a lenient level, because pooling
    wrongly costs more."""
    from scipy.stats import f

    machine, first = regressor_named("linear", transform=transform), 2 + int(penalised.sum())
    params = machine.fit(design, y, penalised)
    refits, _ = machine.without_each(design, y, cluster, penalised, params)
    change = (refits - params)[:, first:]
    covariance = (len(refits) - 1) / len(refits) * change.T @ change
    effect = params[first:]
    statistic = float(effect @ np.linalg.pinv(covariance) @ effect) / len(effect)
    return bool(f.sf(statistic, len(effect), max(len(refits) - 1, 1)) < level)


def _structure(residual: np.ndarray, gradient: np.ndarray, sample: Sample, told: np.ndarray) -> dict:
    """How the residuals of fitted plots hang together in space and time, and how their change does.

    Levels are told by the rows `told`, which leave out plots predicted bare; changes by all, for felled plots are bare.

    Size comes from plots left out; structure from plots fitted, because left-out residuals carry the parameters' error,
    which all plots share and which is counted elsewhere.
    """
    standard, seen = (residual / sample.sd)[told], sample.at(told)
    rho = between_dates(standard, seen.plot, seen.year)
    together = np.where(seen.year[:, None] == seen.year[None, :], 1.0, rho)
    level = spatial_structure(
        standard, seen.xy, gradient[told] / seen.sd[:, None], seen.patch, together=together, plots=len(np.unique(seen.plot))
    )
    found = {"between_dates": rho, "change_scale": 1.0, "level": level, "change": level}
    years = np.unique(sample.year)
    if len(years) < 2:
        return found
    early, late = sample.pairs(int(years[0]), int(years[-1]))
    if len(early) >= 8:
        sd = np.maximum(difference_sd(sample.sd[early], sample.sd[late], rho), 1e-6 * sample.sd[late])
        change = (residual[late] - residual[early]) / sd
        columns = (gradient[late] - gradient[early]) / sd[:, None]
        free = max(len(change) - np.linalg.matrix_rank(columns), 1)
        found["change_scale"] = float(np.sqrt((change**2).sum() / free))
        found["change"] = spatial_structure(
            change / found["change_scale"], sample.xy[late], columns / found["change_scale"], sample.patch[late]
        )
    return found


def _aligned(influence: np.ndarray, groups: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Influence rows in the order of all clusters; zero for a cluster that a set does not use."""
    whole = np.zeros((len(names), influence.shape[1]))
    whole[np.searchsorted(names, groups)] = influence
    return whole
