"""All models of one target fitted together: one per predictor set, pooled over dates, sharing one covariance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.applicability import domain_of, in_domain
from models.inference.residuals import Residuals, between_dates, spatial_structure, spread_of
from models.regressors import Regressor, regressor_named
from models.validation import scores

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetModel:
    """The regression of one predictor set. Predictors are standardised with `centre` and `spread`, then followed by
    one column per date in `dates[1:]` that is 1 at that date (the date effect), where the set has one."""

    name: str
    predictors: tuple[str, ...]
    dates: tuple[int, ...]
    centre: np.ndarray
    spread: np.ndarray
    params: np.ndarray
    domain: tuple[np.ndarray, np.ndarray]
    residuals: Residuals
    plot_ha: float
    scores: dict[str, float] = field(default_factory=dict)

    def design(self, X: np.ndarray, date: np.ndarray | int) -> np.ndarray:
        """Columns of the regression from raw predictors (n, p) and their date (n,)."""
        standard = (X - self.centre) / self.spread
        effects = [np.broadcast_to(np.asarray(date) == later, len(X)).astype(float) for later in self.dates[1:]]
        return np.column_stack([standard, *effects]) if effects else standard

    def covered(self, X: np.ndarray) -> np.ndarray:
        """True (n,) where every predictor of the set is there."""
        return np.isfinite(X).all(axis=1)

    def inside(self, X: np.ndarray) -> np.ndarray:
        return in_domain(X, self.domain)


@dataclass(frozen=True)
class TargetModel:
    """Every predictor set's model of a target, with what their parameters share.

    influence : (clusters, parameters of all sets), scaled so that covariance = influence.T @ influence
    shared : (factors, parameters of all sets): shift of the parameters per standard deviation of each error that plots
        share (allometry, height model, wood density)
    """

    target: str
    regressor: str
    transform: str
    sets: tuple[SetModel, ...]
    influence: np.ndarray
    shared: np.ndarray
    clusters: int
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_plain(self) -> dict:
        """Numbers, lists and strings only, from which `from_plain` makes the same model again."""
        return _plain(asdict(self))

    @classmethod
    def from_plain(cls, plain: Mapping) -> TargetModel:
        sets = tuple(
            SetModel(
                **{
                    **one,
                    "predictors": tuple(one["predictors"]),
                    "dates": tuple(one["dates"]),
                    "domain": tuple(np.array(side) for side in one["domain"]),
                    "residuals": Residuals(**one["residuals"]),
                    **{name: np.array(one[name]) for name in ("centre", "spread", "params")},
                }
            )
            for one in plain["sets"]
        )
        columns = sum(len(one.params) for one in sets)
        matrices = {name: np.array(plain[name], float).reshape(-1, columns) for name in ("influence", "shared")}
        return cls(**{**plain, **matrices, "sets": sets, "warnings": tuple(plain["warnings"])})

    @property
    def machine(self) -> Regressor:
        return regressor_named(self.regressor, transform=self.transform)

    @property
    def degrees_of_freedom(self) -> int:
        return max(self.clusters - 1, 1)

    @property
    def factors(self) -> np.ndarray:
        """Rows whose squared product with a gradient adds up to its variance: sampling first, then shared errors."""
        return np.vstack([self.influence, self.shared])

    def slices(self) -> list[slice]:
        """Where each set's parameters stand in the vector of all."""
        ends = np.cumsum([0, *(len(one.params) for one in self.sets)])
        return [slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def predict(self, predictors: Mapping[str, np.ndarray], date: int) -> dict[str, np.ndarray]:
        """Mean, gradient, residual SD, domain and the set used, for pixels or plots of one date.

        Each place is served by the first predictor set that is complete there.

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
        machine = self.machine
        found = {
            "mean": np.full(n, np.nan),
            "gradient": np.zeros((n, self.influence.shape[1])),
            "residual_sd": np.full(n, np.nan),
            "in_domain": np.zeros(n, bool),
            "set_number": np.full(n, -1, "int8"),
        }
        for number, (one, place) in enumerate(zip(self.sets, self.slices(), strict=True)):
            if any(name not in predictors for name in one.predictors):
                continue
            X = np.column_stack([np.asarray(predictors[name], float) for name in one.predictors])
            rows = np.flatnonzero((found["set_number"] < 0) & one.covered(X))
            if rows.size == 0:
                continue
            design = one.design(X[rows], date)
            mean = machine.mean(one.params, design)
            found["mean"][rows] = mean
            found["gradient"][rows, place] = machine.gradient(one.params, design)
            found["residual_sd"][rows] = one.residuals.sd(mean)
            found["in_domain"][rows] = one.inside(X[rows])
            found["set_number"][rows] = number
        return found


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
                _fit_set(plots, name, tuple(predictors), column, machine, date_effect, min_clusters, factors, notes)
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
    model = TargetModel(
        target,
        regressor,
        transform,
        tuple(fit["model"] for fit in fits),
        influence,
        shared,
        min(len(fit["clusters"]) for fit in fits),
        {"plots": int(plots["plot"].nunique()), "rows": len(plots), "clusters": len(names)},
        tuple(notes),
    )
    import pandas as pd

    return model, pd.concat([fit["left_out"] for fit in fits], ignore_index=True)


def _fit_set(plots, name, predictors, column, machine, date_effect, min_clusters, factors, notes) -> dict:
    X_all = plots[list(predictors)].to_numpy(float)
    used = np.isfinite(X_all).all(axis=1) & np.isfinite(plots[column].to_numpy(float))
    rows = plots[used]
    X, y = X_all[used], rows[column].to_numpy(float)
    cluster, year = rows["cluster"].astype(str).to_numpy(), rows["year"].to_numpy(int)
    groups = np.unique(cluster)
    if len(groups) < max(min_clusters, 3):
        raise ValueError(
            f"{len(groups)} clusters of plots have all of {', '.join(predictors)}, at least {max(min_clusters, 3)} are needed"
        )
    if len(predictors) >= len(groups) - 1:
        raise ValueError(
            f"{len(predictors)} predictors need more than {len(predictors) + 1} clusters of plots, there are {len(groups)}"
        )
    spread = X.std(axis=0)
    if (spread < 1e-12).any():
        flat = [predictors[i] for i in np.flatnonzero(spread < 1e-12)]
        raise ValueError(f"the predictor {flat[0]} is constant over the plots")
    dates = tuple(sorted(set(year.tolist())))
    keeps_effect = date_effect != "never" and len(dates) > 1
    blank = SetModel(
        name,
        predictors,
        dates if keeps_effect else dates[:1],
        X.mean(axis=0),
        spread,
        np.zeros(0),
        domain_of(X),
        None,
        0.0,
    )
    design = blank.design(X, year)
    penalised = np.arange(design.shape[1]) < len(predictors)
    if (
        keeps_effect
        and date_effect == "auto"
        and not _dates_differ(machine, design, y, cluster, penalised, len(predictors))
    ):
        blank = SetModel(name, predictors, dates[:1], blank.centre, spread, np.zeros(0), blank.domain, None, 0.0)
        design, penalised = blank.design(X, year), penalised[: len(predictors)]
        notes.append(f"predictor set {name}: dates are pooled, no date effect was found (tested)")
    params = machine.fit(design, y, penalised)
    refits, left_out = _without_each_cluster(machine, design, y, cluster, groups, penalised)
    influence = np.sqrt((len(groups) - 1) / len(groups)) * (refits - params)
    shared = _shift_by_shared_errors(machine, design, y, penalised, params, rows[factors].to_numpy(float))
    residuals = _residuals(y - left_out, left_out, rows, year)
    model = SetModel(
        name,
        predictors,
        blank.dates,
        blank.centre,
        spread,
        params,
        blank.domain,
        residuals,
        float(rows["area_ha"].median()),
        scores(y, left_out),
    )
    seen = rows[["plot", "cluster", "year"]].assign(set_name=name, observed=y, predicted=left_out)
    return {"model": model, "influence": influence, "clusters": groups, "shared": shared, "left_out": seen}


def _without_each_cluster(machine, design, y, cluster, groups, penalised) -> tuple[np.ndarray, np.ndarray]:
    """Parameters refitted without each cluster in turn, and each plot predicted by the fit that has not seen it."""
    refits, left_out = [], np.empty(len(y))
    for group in groups:
        rest = cluster != group
        refits.append(machine.fit(design[rest], y[rest], penalised))
        left_out[~rest] = machine.mean(refits[-1], design[~rest])
    return np.array(refits), left_out


def _dates_differ(machine, design, y, cluster, penalised, n_predictors: int, level: float = 0.2) -> bool:
    """Wald test of the date effects with the cluster covariance; a lenient level, because pooling wrongly costs more."""
    from scipy.stats import f

    groups = np.unique(cluster)
    params = machine.fit(design, y, penalised)
    refits, _ = _without_each_cluster(machine, design, y, cluster, groups, penalised)
    change = (refits - params)[:, 2 + n_predictors :]
    covariance = (len(groups) - 1) / len(groups) * change.T @ change
    effect = params[2 + n_predictors :]
    q = len(effect)
    statistic = float(effect @ np.linalg.pinv(covariance) @ effect) / q
    return bool(f.sf(statistic, q, max(len(groups) - 1, 1)) < level)


def _shift_by_shared_errors(machine, design, y, penalised, params, factors: np.ndarray) -> np.ndarray:
    """Change of the parameters when all plots' targets move together by one standard deviation of a shared error."""
    step = 0.1
    shifts = [
        (
            machine.fit(design, np.maximum(y + step * column, 0.0), penalised)
            - machine.fit(design, np.maximum(y - step * column, 0.0), penalised)
        )
        / (2 * step)
        for column in np.nan_to_num(factors).T
    ]
    return np.array(shifts).reshape(len(shifts), len(params))


def _residuals(residual: np.ndarray, mean: np.ndarray, rows: pd.DataFrame, year: np.ndarray) -> Residuals:
    scale, power, floor = spread_of(residual, mean)
    standard = residual / (scale * np.maximum(mean, floor) ** power)
    xy = rows[["x", "y"]].to_numpy(float)
    dates = np.unique(year)
    range_m, nugget, identified = spatial_structure(
        [standard[year == d] for d in dates], [xy[year == d] for d in dates]
    )
    return Residuals(
        scale, power, floor, range_m, nugget, between_dates(standard, rows["plot"].to_numpy(str), year), identified
    )


def _aligned(influence: np.ndarray, groups: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Influence rows in the order of all clusters; zero for a cluster that a set does not use."""
    whole = np.zeros((len(names), influence.shape[1]))
    whole[np.searchsorted(names, groups)] = influence
    return whole
