"""All models of one target fitted together: one per predictor set, pooled over dates, sharing one covariance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag
from scipy.spatial import cKDTree

from models.inference import position
from models.inference import strata as terms
from models.inference.diagnostics import dates_differ, gradients_of_change, residual_structure, slopes
from models.inference.patches import patches_of
from models.inference.residuals import Residuals, above_floor, spread_of
from models.inference.soundness import FEWEST_CLUSTERS, check_targets, named, resting_on_one, too_few_clusters
from models.inference.target_model import Sample, SetModel, TargetModel, design_of
from models.regressors import Regressor, regressor_named
from models.validation import LEVELS, half_width, joint_freedom, reach_of, scores, spread_freedom

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


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
    strata: str = "none",
) -> tuple[TargetModel, pd.DataFrame]:
    """Fit all predictor sets of a target and the covariance of all their parameters.

    Parameters
    ----------
    plots : DataFrame
        One row per plot and date: `plot, cluster, year, x, y, area_ha`, the target `column`, shared error factors
        `f_*` (target unit per standard deviation) and the predictors; with `strata`, shares in strata, see `inference.strata`.
    predictor_sets : mapping of set name to predictor names, in order of preference.
    strata : none, levels, slopes or auto, see `inference.strata`

    Returns
    -------
    TargetModel, DataFrame
        The second holds each plot as predicted by the fit that has not seen its cluster: set_name, plot, cluster, year,
        observed (as measured), predicted, and position_curvature, the part of `predicted` that comes of not knowing where
        the plot stands: what a map shows at its recorded place is `predicted` less that (`position.curvature`).

    Raises
    ------
    ValueError
        When no set has enough plots or clusters for its predictors; the sentence has the numbers.
    """
    fits, reasons, notes = fits_of(
        plots, predictor_sets, column=column, regressor=regressor, transform=transform, date_effect=date_effect,
        min_clusters=min_clusters, strata=strata,
    )  # fmt: skip
    return joined(plots, fits, reasons, notes, target=target, column=column, regressor=regressor, transform=transform)


def fits_of(
    plots: pd.DataFrame, predictor_sets: Mapping[str, Sequence[str]], *, column: str, regressor: str, transform: str,
    date_effect: str, min_clusters: int, strata: str = "none",
) -> tuple[dict[str, dict], dict[str, str], list[str]]:  # fmt: skip
    """What `_fit_set` makes of each set that the plots can carry, why they cannot carry others, and what to know of the fits."""
    machine = regressor_named(regressor, transform=transform)
    machines = {name: terms.told(machine, plots, predictors, column, strata) for name, predictors in predictor_sets.items()}
    terms.check(plots, strata, {name: one.name for name, one in machines.items()})
    factors = [name for name in plots.columns if name.startswith("f_")]
    fits, reasons, notes = {}, {}, []
    for name, predictors in predictor_sets.items():
        try:
            fits[name] = terms.fitted(
                lambda predictors, term, notes, name=name: _fit_set(
                    plots, name, predictors, column, term.machine(machines[name], predictors), transform, date_effect,
                    min_clusters, factors, notes,
                ),
                plots, name, tuple(predictors), column, strata, machines[name].name, notes,
            )  # fmt: skip
        except ValueError as error:
            reasons[name] = str(error)
    return fits, reasons, notes


def joined(
    plots: pd.DataFrame, fits: Mapping[str, dict], reasons: Mapping[str, str], notes: Sequence[str], *, target: str,
    column: str, regressor: str, transform: str,
) -> tuple[TargetModel, pd.DataFrame]:  # fmt: skip
    """The model of a target from what was fitted of its sets, and the plots as predicted without their clusters."""
    import pandas as pd

    if not fits:
        raise ValueError(
            f"no model of {target} can be fitted ({'; '.join(f'{name}: {why}' for name, why in reasons.items())})"
        )
    notes = [*notes, *(f"predictor set {name} is left out: {why}" for name, why in reasons.items())]
    for note in notes:
        log.warning(note)
    every = list(fits.values())
    terms.tell([fit["model"] for fit in every], plots, column)
    clusters = np.unique(plots["cluster"].astype(str).to_numpy())
    influence = np.hstack([_aligned(fit["influence"], fit["clusters"], clusters) for fit in every])
    blocks = [fit["block_influence"] for fit in every]
    left_out = pd.concat([fit["left_out"] for fit in every], ignore_index=True).fillna({"position_curvature": 0.0})
    fewest = min((fit for fit in every if fit["model"].second_stage is None), key=lambda fit: len(fit["clusters"]))
    shared, by_block = np.hstack([fit["shared"] for fit in every]), block_diag(*blocks)[:, : influence.shape[1]]
    shrunk = terms.joined([fit["shrunk"] for fit in every], [len(fit["model"].params) for fit in every])
    model = TargetModel(
        target,
        regressor,
        transform,
        tuple(fit["model"] for fit in every),
        influence,
        shared,
        _between_sets(left_out, [fit["model"] for fit in every]),
        len(fewest["clusters"]),
        {"plots": int(plots["plot"].nunique()), "rows": len(plots), "clusters": len(clusters),
         "fewest_plots": len(np.unique(fewest["model"].sample.plot))},
        tuple(notes),
        _short(np.vstack([influence, by_block, shared, shrunk]), [fit["gradient"] for fit in every]),
        by_block,
        min((len(rows) for rows in blocks if len(rows)), default=0),
        shrunk,
        min((sum(map(terms.is_stratum, fit["model"].predictors)) for fit in every if fit["shrunk"]), default=0),
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


def _between_sets(left_out: pd.DataFrame, sets: list[SetModel]) -> np.ndarray:
    """Correlation of the sets' residuals at plots they share; 1, the cautious case, where fewer than eight are shared.

    What a second stage leaves unexplained of the first's predictions has nothing to do with what these leave unexplained of
    the plots; of two second stages it counts as the same.
    """
    names, second = [one.name for one in sets], np.array([one.second_stage is not None for one in sets])
    found = np.ones((len(sets), len(sets)))
    if len(sets) > 1:
        residual = left_out.assign(residual=left_out["observed"] - left_out["predicted"])
        by_set = residual.pivot_table(index=["plot", "year"], columns="set_name", values="residual").reindex(columns=names)
        found = by_set.corr(min_periods=8).fillna(1.0).clip(0.0, 1.0).to_numpy().copy()
    found[second[:, None] & second[None, :]] = 1.0
    found[second[:, None] != second[None, :]] = 0.0
    np.fill_diagonal(found, 1.0)
    return found


def _fit_set(
    plots, name, predictors, column, machine, transform, date_effect, min_clusters, factors, notes
) -> dict:
    notes += check_targets(plots, column, name, transform)
    X_all = plots[list(predictors)].to_numpy(float)
    used = np.isfinite(X_all).all(axis=1) & np.isfinite(plots[column].to_numpy(float))
    rows, X = plots[used], X_all[used]
    _log_missing(plots, X_all, predictors, name)
    _check_enough(X_all, X, rows["cluster"].nunique(), predictors, max(min_clusters, FEWEST_CLUSTERS), machine)
    y, cluster, year = rows[column].to_numpy(float), rows["cluster"].astype(str).to_numpy(), rows["year"].to_numpy(int)
    own = [number for number, one in enumerate(predictors) if not terms.is_stratum(one)]
    notes += resting_on_one(X[:, own], cluster, [predictors[number] for number in own], name)
    centre, spread = terms.standardisation(X, predictors)
    dates = tuple(sorted(set(year.tolist())))
    if date_effect == "never":
        dates = dates[:1]
    design = design_of(X, year, centre, spread, dates)
    penalised = np.arange(design.shape[1]) < len(predictors)
    if len(dates) > 1 and date_effect == "auto" and not dates_differ(design, y, cluster, penalised, transform):
        dates = dates[:1]
        design, penalised = design[:, : len(predictors)], penalised[: len(predictors)]
        notes.append(f"predictor set {name}: dates are pooled, no date effect was found (tested)")
    machine = terms.decided(machine, design, y, cluster, penalised, predictors).learned(design, y, cluster, penalised)
    params = machine.fit(design, y, penalised)

    def predict(X: np.ndarray, year: np.ndarray) -> np.ndarray:
        return machine.mean(params, design_of(X, year, centre, spread, dates))

    measured, above = y, np.zeros(len(y))
    if not machine.flexible and (above := position.curvature(rows, predictors, year, predict)).any():
        # the mean over where a plot may be is not the model of its mean predictors, where the model is curved
        y = np.maximum(y - above, 0.0)
        params = machine.fit(design, y, penalised)
    wobbles = position.wobble(rows, predictors, year, predict)
    refits, left_out = machine.without_each(design, y, cluster, penalised, params)
    reached = scores(measured, left_out + above)
    if machine.stands_for.caution:
        notes.append(f"predictor set {name}: {machine.stands_for.caution}")
    count = len(predictors) - len(terms.columns_of(predictors))
    shrinks = machine.stands_for.learns and not isinstance(machine, terms.MixedEffects)
    if len(np.unique(cluster)) < CLUSTERS_EACH * count and not shrinks:
        notes.append(
            f"predictor set {name}: {count} predictors for {len(np.unique(cluster))} clusters of plots: with fewer "
            f"than {CLUSTERS_EACH} for each, a regression that neither shrinks nor selects follows its plots; name fewer "
            "predictors, or take regressor ridge or mix"
        )
    if reached["r2"] <= 0:
        notes.append(
            f"predictor set {name}: at plots left out it predicts no better than the plots' mean (R2 "
            f"{reached['r2']:.2f}); use fewer or other predictors, or more plots"
        )
    sample, residuals, gradient = _unexplained(rows, y, left_out, design, penalised, machine, params, wobbles)
    if not residuals.level.identified:
        notes.append(f"predictor set {name}: {residuals.level.doubt()}")
    if residuals.change is not residuals.level and not residuals.change.identified:
        notes.append(f"predictor set {name}: of change between dates, {residuals.change.doubt()}")
    model = SetModel(
        name=name, predictors=predictors, dates=dates, centre=centre, spread=spread, machine=machine,
        params=params, domain=terms.domain_of(X, cluster, slopes(machine, params, design, len(predictors)), predictors),
        residuals=residuals, plot_ha=float(rows["area_ha"].median()), sample=sample,
        scores=reached,
    )  # fmt: skip
    clusters = np.unique(cluster)
    return {
        "model": model,
        "influence": np.sqrt((len(clusters) - 1) / len(clusters)) * (refits - params),
        "clusters": clusters,
        "gradient": (gradient.astype(float), gradients_of_change(gradient, sample)),
        "shared": np.array(
            [machine.shifted(design, y, penalised, factor) for factor in np.nan_to_num(rows[factors].to_numpy(float)).T]
        ).reshape(len(factors), len(params)),
        "shrunk": terms.effects_of(machine, predictors, terms.shrinking_of(machine, design, y, penalised, params)),
        "block_influence": np.zeros((0, len(params))),
        "left_out": rows[["plot", "cluster", "year"]].assign(
            set_name=name, observed=measured, predicted=left_out + above, position_curvature=above
        ),
    }


def _unexplained(
    rows: pd.DataFrame, y: np.ndarray, left_out: np.ndarray, design: np.ndarray, penalised: np.ndarray, machine: Regressor,
    params: np.ndarray, wobbles: np.ndarray | None,
) -> tuple[Sample, Residuals, np.ndarray]:  # fmt: skip
    """What a fit leaves unexplained: its sample, the size and structure of its residuals, and the gradient (n, p) at the plots.

    left_out : (n,) plots as predicted without their cluster; wobbles : (n, k) errors of position, see `position.wobble`
    """
    fitted, gradient = machine.both(params, design)
    scale, power, floor = position.spread_beside(y - left_out, left_out, wobbles)
    sd = scale * np.maximum(fitted, floor) ** power
    plot, influence = rows["plot"].to_numpy(str), machine.pulled(design, y, penalised, params, np.maximum(fitted, floor), sd)
    sample = Sample(
        plot=plot, patch=_patches(rows), year=rows["year"].to_numpy(int), x=rows["x"].to_numpy(float),
        y=rows["y"].to_numpy(float), sd=sd, influence=influence, moved=position.moves(wobbles, influence, sd, plot),
    )  # fmt: skip
    told = np.flatnonzero(above_floor(fitted, floor))
    if machine.flexible:
        structure = residual_structure(y - left_out, fitted[:, None], sample, wobbles, told)
    else:
        structure = residual_structure(y - fitted, gradient, sample, wobbles, told)
    return sample, Residuals(scale, power, floor, **structure), gradient


CLUSTERS_EACH = 5
"""Clusters of plots for each predictor below which a plain regression is warned of: on quatre-montagnes-plots 68 predictors
instead of 4 for 24 clusters made its RMSE 35 % instead of 23 % (docs/methods/regressors.md)."""

INNER_FOLDS = 5
"""Groups of clusters that a regressor which learns is refitted without inside a fold, for the spread of its residuals."""


def predict_left_out(
    plots: pd.DataFrame, model: TargetModel, one: SetModel, column: str, folds: Sequence[tuple[np.ndarray, np.ndarray]],
    machine: Regressor | None = None, *, date_effect: str = "always", levels_percent: Sequence[float] = LEVELS,
) -> pd.DataFrame:  # fmt: skip
    """Plots as predicted by models that have not seen them, with the SD of the error that those models expect.

    Standardisation, fit, back-transformation and the spread of residuals are made anew from what stays of each fold, and
    with `date_effect` auto whether dates have levels of their own; the predictors are those of the model that vary there.

    Parameters
    ----------
    plots : DataFrame
        The rows that the set was fitted to, see `rows_of`.
    folds : rows left out and rows that stay
    machine : the regressor that is learned in every fold; by default the set's, or the one that it has chosen

    Returns
    -------
    DataFrame
        plot, cluster, year, x, y, fold, observed, predicted, sd, degrees_of_freedom, and `half_width(level)` of each of the
        `levels_percent` (see `models.validation.reach_of`); rows of a fold whose rest cannot be fitted are missing.
    """
    X, y = plots[list(one.predictors)].to_numpy(float), plots[column].to_numpy(float)
    cluster, year = plots["cluster"].astype(str).to_numpy(), plots["year"].to_numpy(int)
    xy = plots[["x", "y"]].to_numpy(float)
    predicted, sd, free, number = np.full(len(y), np.nan), np.full(len(y), np.nan), np.full(len(y), np.nan), np.full(len(y), -1)
    reach = {half_width(level): np.full(len(y), np.nan) for level in levels_percent}
    first, second = (one, None) if one.second_stage is None else (model.named(one.second_stage.first_set), one)
    predictors = plots[list(first.predictors)].to_numpy(float)
    known = np.isfinite(predictors).all(axis=1)
    for fold, (test, rest) in enumerate(folds):
        number[test] = fold
        seen = rest[known[rest]]
        fitted = _refitted(first, predictors, y, cluster, year, seen, machine, date_effect)
        if fitted is None:
            continue
        if second is None:
            (mean, moved), usual = fitted.predicted(X[test], year[test]), fitted.predicted(X[seen], year[seen])[1].mean()
            if fitted.machine.learns:  # what the parameters add is small, and learning without each cluster is dear
                moved, usual = _moved(model, one, X[test], year[test]), _moved(model, one, X[seen], year[seen]).mean()
            own = fitted.sd(mean) ** 2
        else:
            stage = second.second_stage
            answers = fitted.predicted(stage.first_cells, second.sample.year)[0]
            params = second.machine.fit(
                second.design(stage.cells, second.sample.year), answers, np.arange(second.columns) < len(second.predictors)
            )
            mean = away_from_home(second, np.tile(params, (len(test), 1)), X[test], year[test], xy[test])
            moved, usual = _moved(model, one, X[test], year[test]), _moved(model, one, X[seen], year[seen]).mean()
            own = fitted.sd(mean) ** 2 + second.residuals.sd(mean) ** 2
        # residuals of plots left out hold what the parameters' errors add to a usual plot; more is added where they add more
        more = np.maximum(moved - usual, 0.0)
        predicted[test], sd[test] = mean, np.sqrt(own + more)
        free[test] = joint_freedom(
            own, spread_freedom(fitted.scaled, cluster[seen], one.columns + 1), more, len(np.unique(cluster[seen])) - 1
        )
        for level in levels_percent:
            reach[half_width(level)][test] = sd[test] * reach_of(fitted.scaled, free[test], level)
    return plots[["plot", "cluster", "year", "x", "y"]].assign(
        fold=number, observed=y, predicted=predicted, sd=sd, degrees_of_freedom=free, **reach
    )


@dataclass(frozen=True)
class _Refitted:
    """A set fitted anew to some of its plots: what it learned, its parameters, those without each cluster, its residuals.

    used : (p,) predictors that vary among these plots; the others are no part of the fit
    spread : scale, power and floor of their standard deviation; scaled : (n,) residuals of left-out plots over it
    """

    machine: Regressor
    params: np.ndarray
    refits: np.ndarray
    used: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    dates: tuple[int, ...]
    spread: tuple[float, float, float]
    scaled: np.ndarray

    def predicted(self, X: np.ndarray, year: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) at places, and variance (n,) from the parameters; zero where they were not refitted without clusters."""
        design = design_of(X[:, self.used], year, self.centre, self.width, self.dates)
        mean, count = self.machine.mean(self.params, design), max(len(self.refits), 1)
        moved = np.zeros(len(mean))
        for refit in self.refits:
            moved += (count - 1) / count * (self.machine.mean(refit, design) - mean) ** 2
        return mean, moved

    def sd(self, mean: np.ndarray) -> np.ndarray:
        return _sd(self.spread, mean)


def _sd(spread: tuple[float, float, float], mean: np.ndarray) -> np.ndarray:
    scale, power, floor = spread
    return scale * np.maximum(mean, floor) ** power


def _refitted(
    one: SetModel, X, y, cluster, year, rest, machine: Regressor | None = None, date_effect: str = "always"
) -> _Refitted | None:
    """A set fitted to the rows `rest` alone by `machine` (else its own), without predictors that do not vary among them; None
    where they cannot carry it."""
    used = ~terms.flat(X[rest], one.predictors) if len(rest) else np.ones(len(one.predictors), bool)
    predictors = [name for name, varies in zip(one.predictors, used, strict=True) if varies]
    machine = terms.renumbered(machine or one.machine.stands_for, used)
    if not predictors or len(np.unique(cluster[rest])) < machine.least_clusters(len(predictors)):
        return None
    X = X[:, used]
    centre, width = terms.standardisation(X[rest], predictors)
    dates = tuple(sorted(set(year.tolist()))) if date_effect == "auto" else one.dates
    design = design_of(X[rest], year[rest], centre, width, dates)
    penalised = np.arange(design.shape[1]) < len(predictors)
    if len(dates) > 1 and date_effect == "auto" and not dates_differ(
        design, y[rest], cluster[rest], penalised, getattr(machine, "transform", "sqrt")
    ):  # fmt: skip
        dates, design, penalised = dates[:1], design[:, : len(predictors)], penalised[: len(predictors)]
    machine = terms.decided(machine, design, y[rest], cluster[rest], penalised, predictors)
    machine = machine.learned(design, y[rest], cluster[rest], penalised)
    params = machine.fit(design, y[rest], penalised)
    if machine.learns:
        refits = np.zeros((0, len(params)))
        inner = machine.stands_for.predicted_apart(design, y[rest], cluster[rest], penalised, INNER_FOLDS)
    else:
        refits, inner = machine.without_each(design, y[rest], cluster[rest], penalised, params)
    spread = spread_of(y[rest] - inner, inner)
    return _Refitted(machine, params, refits, used, centre, width, dates, spread, (y[rest] - inner) / _sd(spread, inner))


def _moved(model: TargetModel, one: SetModel, X: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Variance (n,) that the errors of a set's parameters give its prediction of places."""
    place = model.slices()[[other.name for other in model.sets].index(one.name)]
    gradient = one.machine.gradient(one.params, one.design(X, year))
    rows = np.vstack([model.influence, model.block_influence])[:, place]
    return ((gradient @ rows.T) ** 2).sum(axis=1)


def away_from_home(one: SetModel, params: np.ndarray, X: np.ndarray, year: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Places (n,) at xy (n, 2) as a second stage with `params` (n, p) predicts them that has not seen the cells around each.

    Where a place lies among the cells, what leaving its block of cells out does to the parameters is added to them.
    """
    stage = one.second_stage
    apart, nearest = cKDTree(one.sample.xy).query(xy)
    names, number = np.unique(stage.block, return_inverse=True)
    del names
    home = np.where(apart <= stage.reach_m, number.ravel()[nearest], len(stage.refits))
    params = params + np.vstack([stage.refits - one.params, np.zeros(len(one.params))])[home]
    design, found = one.design(X, year), np.empty(len(X))
    kinds, kind = np.unique(params, axis=0, return_inverse=True)
    for k, these in enumerate(kinds):
        rows = kind.ravel() == k
        found[rows] = one.machine.mean(these, design[rows])
    return found


def rows_of(plots: pd.DataFrame, one: SetModel, column: str) -> pd.DataFrame:
    """The plots (rows) that a predictor set was fitted to: those with the target and all its predictors."""
    return plots[np.isfinite(plots[[*one.predictors, column]].to_numpy(float)).all(axis=1)].reset_index(drop=True)


def _patches(rows: pd.DataFrame) -> np.ndarray:
    """The stand of each row; where none is told, its cluster and stratum, or the cluster alone."""
    patch = rows["cluster"].astype(str)
    if "stratum" in rows:
        patch = patch + " " + rows["stratum"].astype(object).where(rows["stratum"].notna(), "").astype(str)
    return patches_of(rows, patch)


def _log_missing(plots: pd.DataFrame, X_all: np.ndarray, predictors: tuple[str, ...], name: str) -> None:
    """Count and name the plots at which a predictor is missing."""
    gone = ~np.isfinite(X_all)
    lacking = gone.any(axis=1)
    if lacking.any():
        which = [f"{one} at {count}" for one, count in zip(predictors, gone.sum(axis=0), strict=True) if count]
        log.info(
            "predictor set %s: %d of %d plot measurements lack a predictor (%s) and are not used: %s",
            name, lacking.sum(), len(plots), ", ".join(which), named(plots, lacking),
        )  # fmt: skip


def _check_enough(
    X_all: np.ndarray, X: np.ndarray, clusters: int, predictors: tuple[str, ...], least: int, machine: Regressor
) -> None:
    absent = [name for name, column in zip(predictors, X_all.T, strict=True) if not np.isfinite(column).any()]
    if absent:
        raise ValueError(f"the predictor {absent[0]} is missing at every plot: no plot lies where it was measured")
    if few := too_few_clusters(len(X), clusters, predictors, least, machine):
        raise ValueError(few)
    constant = [name for name, flat in zip(predictors, terms.flat(X, predictors), strict=True) if flat]
    if constant:
        raise ValueError(
            f"the predictor {constant[0]} is constant over the plots, so nothing can be told by it; take it out of "
            "model.predictors (or name others there, where none are named), or look whether its file holds what was meant"
        )


def _aligned(influence: np.ndarray, groups: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Influence rows in the order of all clusters; zero for a cluster that a set does not use."""
    whole = np.zeros((len(names), influence.shape[1]))
    whole[np.searchsorted(names, groups)] = influence
    return whole
