"""Strata of stands (forest type, species, age class) as terms of a model: a level, and if asked slopes, of their own.

A place's share in each stratum comes with its predictors, as columns `stratum:<name>` (see `pipeline.strata`). They are kept
between 0 and 1, neither centred nor scaled, so that a place in no stratum has the level of all and a penalty on them shrinks a
stratum the more the fewer plots it has. Regressor `linear`, and `default` where it stands for it, becomes `mixed_effects`, which
finds how much; any other takes the columns as predictors like the rest. No column counts in the area of applicability: a plot
of a rare stratum is like its neighbours in all that was measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.applicability import Applicability, applicability
from models.inference.stratum_names import NO_STRATUM, PREFIX, is_stratum
from models.inference.target_model import SetModel, TargetModel
from models.regressors import Regressor
from models.regressors.linear import Linear
from models.regressors.mix import Auto, Default
from models.regressors.mixed_effects import MixedEffects

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

CHOICES = ("none", "levels", "slopes", "auto")
LEAST_CLUSTERS = 2
"""Clusters of plots that a stratum needs for a level of its own: what one says is gone when it is left out."""
LEAST_UNSHRUNK = 5
"""The same for regressors that take strata as predictors and shrink none by the number of its plots."""
DOUBT = 0.5
"""Probability that strata do not differ, before any plot speaks, where `auto` asks whether they do."""
CLEARER = 1.0
"""Standard errors by which the mean squared error at clusters left out must fall before `auto` takes levels with a regressor that
has no likelihood to ask."""


def columns_of(names: Sequence[str]) -> list[int]:
    """Numbers of the predictors that are shares in strata."""
    return [number for number, name in enumerate(names) if is_stratum(name)]


def standardisation(X: np.ndarray, predictors: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What is taken from predictors (n, p) and what they are divided by; shares in strata stay as they are."""
    centre, spread = X.mean(axis=0), X.std(axis=0)
    shares = columns_of(predictors)
    centre[shares], spread[shares] = 0.0, 1.0
    return centre, spread


def flat(X: np.ndarray, predictors: Sequence[str]) -> np.ndarray:
    """Which predictors (p,) are the same in all rows (n, p), but for rounding; shares in strata never count."""
    centre, spread = standardisation(X, predictors)
    return spread <= 1e-12 * np.maximum(np.abs(centre), 1.0)


def renumbered(machine: Regressor, used: np.ndarray) -> Regressor:
    """The regressor, with its numbers of columns, for the predictors `used` (p,) alone."""
    if not isinstance(machine, MixedEffects | Auto) or used.all():
        return machine
    place = np.cumsum(used) - 1
    kept = {name: tuple(int(place[k]) for k in getattr(machine, name, ()) if used[k]) for name in ("strata", "sloped")}
    return replace(machine, **{name: value for name, value in kept.items() if hasattr(machine, name)})


def domain_of(X: np.ndarray, cluster: np.ndarray, weights: np.ndarray, predictors: Sequence[str]) -> Applicability:
    """The area of applicability of all predictors but shares in strata, which it takes and makes nothing of."""
    shares = columns_of(predictors)
    if not shares:
        return applicability(X, cluster, weights)
    rest = np.setdiff1d(np.arange(X.shape[1]), shares)
    found = applicability(X[:, rest], cluster, weights[rest])
    centre, scale, plots = np.zeros(X.shape[1]), np.zeros(X.shape[1]), np.zeros(X.shape)
    centre[rest], scale[rest], plots[:, rest] = found.centre, found.scale, found.plots
    return replace(found, centre=centre, scale=scale, plots=plots)


@dataclass(frozen=True)
class Term:
    """The strata that a set's model tells apart, and whether in their slopes too; none where it tells none.

    doubt : probability, before any plot speaks, that they do not differ, see `MixedEffects`
    """

    names: tuple[str, ...] = ()
    sloped: bool = False
    doubt: float = 0.0

    def predictors(self, others: Sequence[str]) -> tuple[str, ...]:
        return (*others, *(PREFIX + name for name in self.names))

    def machine(self, machine: Regressor, predictors: Sequence[str]) -> Regressor:
        """The regressor that knows which of its columns are shares in strata, where it is one that can."""
        if isinstance(machine, Auto):  # which tries linear as it is here below
            return replace(machine, strata=tuple(columns_of(predictors)))
        if not self.names or type(machine) is not Linear:
            return machine
        shares = columns_of(predictors)
        sloped = tuple(np.setdiff1d(np.arange(len(predictors)), shares).tolist()) if self.sloped else ()
        return MixedEffects(machine.transform, machine.ridge, tuple(shares), sloped, doubt=self.doubt)


def term_of(one: SetModel) -> Term:
    """The term that a set's model has; where strata were in doubt, they are for another set too."""
    names = tuple(one.predictors[k][len(PREFIX) :] for k in columns_of(one.predictors))
    if not isinstance(one.machine, MixedEffects):
        return Term(names)
    return Term(names, bool(one.machine.sloped) and not one.machine.doubt, one.machine.doubt)


def decided(
    machine: Regressor, design: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, predictors: Sequence[str]
) -> Regressor:
    """The regressor with slopes of strata or without, as these plots say, where `auto` left that to them.

    Whatever is fitted to other plots, as in a fold of validation, asks its own: what was chosen with the plots that are left out
    would flatter.
    """
    if not isinstance(machine, MixedEffects):
        return machine
    return machine.decided(design, y, cluster, np.setdiff1d(np.flatnonzero(penalised), columns_of(predictors)).tolist())


def shrinking_of(machine: Regressor, design: np.ndarray, y: np.ndarray, penalised: np.ndarray, params: np.ndarray) -> np.ndarray:
    """What shrinking strata does to the parameters (rows, p); no rows of a regressor that does not tell."""
    stands_for = machine.stands_for
    if not isinstance(stands_for, MixedEffects):
        return np.zeros((0, len(params)))
    return stands_for.shrinking(design, y, penalised, params)


def told(machine: Regressor, plots: pd.DataFrame, predictors: Sequence[str], column: str, how: str) -> Regressor:
    """Linear where `default` stands for it with a set's plots and predictors, strata not counted; else the regressor itself."""
    if how == "none" or not isinstance(machine, Default):
        return machine
    used = _used(plots, predictors, column)
    stands_for = machine.pick(len(used), used["cluster"].astype(str).nunique(), len(predictors))
    return stands_for if type(stands_for) is Linear else machine


def check(plots: pd.DataFrame, how: str, regressors: Mapping[str, str]) -> None:
    """A sentence for an analyst who asks for strata that these plots, or the regressor of a set, cannot tell apart."""
    if how not in CHOICES:
        raise ValueError(f"model.strata {how!r} is not one of {', '.join(CHOICES)}")
    other = next((name for name, regressor in regressors.items() if regressor != "linear"), None)
    if how == "slopes" and other:
        got = f"default, which is mix for predictor set {other}" if regressors[other] == "default" else regressors[other]
        raise ValueError(
            f"model.strata slopes needs model.regressor linear, got {got}: it takes strata as predictors, with levels"
        )
    if how in ("none", "auto"):
        return
    held = {name: count for name, count in _clusters_in(plots).items() if name != NO_STRATUM}
    if not held:
        raise ValueError(
            f"model.strata is {how}, and no stand has a stratum: name the column of the stand layer in stands.stratum, or leave "
            "model.strata out"
        )
    there = [name for name, count in held.items() if count]
    if len(there) == 1:
        raise ValueError(
            f"model.strata is {how}, and all plots in stands lie in one stratum ({there[0]}): nothing can be told apart, leave "
            "model.strata out"
        )
    least = min(map(_least, regressors.values()), default=LEAST_CLUSTERS)
    if not any(count >= least for count in held.values()):
        told = ", ".join(f"{name} {count}" for name, count in held.items())
        raise ValueError(
            f"model.strata is {how}, and no stratum has plots in {least} clusters ({told}): join strata, such as by "
            "stands.stratum_codes or stratum_classes, or leave model.strata out"
        )


def _least(regressor: str) -> int:
    return LEAST_CLUSTERS if regressor == "linear" else LEAST_UNSHRUNK


def _used(plots: pd.DataFrame, predictors: Sequence[str], column: str) -> pd.DataFrame:
    """The rows with all predictors of a set and the target."""
    return plots[np.isfinite(plots[[*predictors, column]].to_numpy(float)).all(axis=1)]


def _shares(plots: pd.DataFrame) -> dict[str, np.ndarray]:
    """Share (n,) of each plot in each stratum, by name."""
    return {name[len(PREFIX) :]: plots[name].fillna(0).to_numpy(float) for name in plots.columns if is_stratum(name)}


def _clusters_in(plots: pd.DataFrame) -> dict[str, int]:
    """Clusters with a plot that lies mostly in each stratum."""
    cluster = plots["cluster"].astype(str).to_numpy()
    return {name: len(np.unique(cluster[share > 0.5])) for name, share in _shares(plots).items()}


def fitted(
    fit: Callable[[tuple[str, ...], Term, list[str]], dict], plots: pd.DataFrame, name: str, predictors: tuple[str, ...],
    column: str, how: str, regressor: str, notes: list[str],
) -> dict:  # fmt: skip
    """A set's fit with the term that `how` asks for.

    With `auto` a regressor that has a likelihood (linear) averages over whether strata differ; any other takes levels where they
    lessen its error at plots left out.

    Parameters
    ----------
    fit : what fits a set to its predictors (shares among them) with a term, and says in notes what is to be known of it
    plots : the rows with the shares of all strata in them
    """
    term, why = _term_of(plots, predictors, column, how, _least(regressor))
    why = [f"predictor set {name}: {why}"] if why else []
    if how != "auto" or regressor == "linear":
        term = replace(term, doubt=DOUBT if how == "auto" else 0.0)
        notes += why
        found = fit(term.predictors(predictors), term, notes)
    else:
        found = _better(fit, name, predictors, term, why, notes)
    if term.names and not columns_of(found["model"].predictors):
        log.info("%s", sentence(found["model"], _used(plots, predictors, column)))
    return found


def tell(sets: Sequence[SetModel], plots: pd.DataFrame, column: str) -> None:
    """Log the levels of every set that has them, once it is what maps are made with: after it has learned from cells, if so."""
    for one in sets:
        if columns_of(one.predictors):
            log.info("%s", sentence(one, _used(plots, one.predictors, column)))


def _better(
    fit: Callable[[tuple[str, ...], Term, list[str]], dict], name: str, predictors: tuple[str, ...], term: Term, why: list[str],
    notes: list[str],
) -> dict:  # fmt: skip
    """The fit without strata, or with them where they clearly lessen the mean squared error at plots left out."""
    own: list[str] = []
    best = fit(predictors, Term(), own)
    if term.names:
        others: list[str] = []
        try:
            tried = fit(term.predictors(predictors), term, others)
        except ValueError as error:
            log.info("predictor set %s: levels of strata cannot be fitted (%s)", name, error)
        else:
            less, se = _improvement(best["left_out"], tried["left_out"])
            log.info(
                "predictor set %s: levels of strata change the mean squared error at plots left out by %+.4g (standard error "
                "%.3g)", name, -less, se,
            )  # fmt: skip
            if less > CLEARER * se:
                best, own = tried, [*why, *others]  # a model without levels has none that a stratum could lack
    notes += own
    return best


def sentence(one: SetModel, used: pd.DataFrame) -> str:
    """Which strata a set's model has levels for, how far each is its own plots' word, and what serves the others.

    used : the plots that the set is fitted to
    """
    begin, mixed = f"predictor set {one.name}: ", isinstance(one.machine, MixedEffects)
    rows = _strata_in(one, used)
    own, others = ([row for row in rows if row["own"] is whether] for whether in (True, False))
    if not own:
        return f"{begin}strata are not told apart, one level serves all of them"
    if mixed and one.machine.apart:
        slopes = f", their slopes with {one.machine.apart[1]:.2f}" if one.machine.sloped else ""
        begin += f"levels of strata differ with probability {one.machine.apart[0]:.2f}{slopes}; "
    whose = "plots" if one.second_stage is None else "cells"
    of_levels = [_counted(row, f", {100 * row['weight']:.0f} % by its own {whose}" if mixed else "") for row in own]
    said = f"{begin}levels of their own have {', '.join(of_levels)}"
    said += "; the rest of a level is that of all strata" if mixed else ""
    if not others:
        return said
    error = "with what strata depart by in its error" if mixed else "with no error for what they depart by"
    return f"{said}; the level of all strata, {error}, serves {', '.join(map(_counted, others))}"


def _counted(row: Mapping[str, Any], more: str = "") -> str:
    plots, clusters = (f"{row[one]} {one if row[one] != 1 else one[:-1]}" for one in ("plots", "clusters"))
    name = "places in no stratum" if row["stratum"] == NO_STRATUM else row["stratum"]
    return f"{name} ({plots} in {clusters}{more})" if row["plots"] else f"{name} (no plots)"


def _strata_in(one: SetModel, used: pd.DataFrame) -> list[dict[str, Any]]:
    """Every stratum with its plots and clusters, whether the set has a level for it (own), and the level's weight: the share
    of it that its own plots (cells, of a second stage) tell; None of regressors that do not say.

    Places in no stand count where they have a level, or plots.
    """
    names = [one.predictors[k] for k in columns_of(one.predictors)]
    sample = used[names].to_numpy(float) if one.second_stage is None else one.second_stage.cells[:, columns_of(one.predictors)]
    count, cluster = (np.nan_to_num(sample) ** 2).sum(axis=0), used["cluster"].astype(str).to_numpy()
    rows = []
    for stratum, share in _shares(used).items():
        there, own = share > 0.5, PREFIX + stratum in names
        weight = None
        if own and isinstance(one.machine, MixedEffects):
            number = names.index(PREFIX + stratum)
            weight = float(count[number] / (count[number] + one.machine.penalty[number]))
        if own or there.any() or stratum != NO_STRATUM:
            rows.append({
                "stratum": stratum, "plots": int(used["plot"][there].nunique()), "clusters": len(np.unique(cluster[there])),
                "own": own, "weight": weight,
            })  # fmt: skip
    return rows


def _term_of(plots: pd.DataFrame, predictors: Sequence[str], column: str, how: str, least: int) -> tuple[Term, str]:
    """The strata with plots enough among those that a set can use, and a sentence on the others."""
    if how == "none":
        return Term(), ""
    held = _clusters_in(_used(plots, predictors, column))
    names = tuple(name for name, count in held.items() if count >= least)
    few = [f"{name} ({count or 'none'})" for name, count in held.items() if name not in (*names, NO_STRATUM)]
    seen = [name for name, count in held.items() if count and name != NO_STRATUM]
    if not set(names) - {NO_STRATUM} or len(seen) < 2:
        return Term(), "its plots lie in too few strata for levels of their own" if how != "auto" else ""
    why = f"strata with plots in fewer than {least} clusters have no level of their own, that of all strata serves them: "
    why += ", ".join(few)
    return Term(names, how == "slopes"), why if few else ""


def _improvement(before: pd.DataFrame, after: pd.DataFrame) -> tuple[float, float]:
    """How much the mean squared error at plots left out has fallen, with its standard error over clusters."""
    both = before.merge(after, on=["plot", "cluster", "year"], suffixes=("", "_after"))
    less = (both["observed"] - both["predicted"]) ** 2 - (both["observed"] - both["predicted_after"]) ** 2
    by_cluster = (less - less.mean()).groupby(both["cluster"].astype(str)).sum()
    count = len(by_cluster)
    return float(less.mean()), float(np.sqrt(count / max(count - 1, 1) * (by_cluster**2).sum()) / len(less))


# ---------------------------------------------------------------- of all sets together


def joined(rows: Sequence[Mapping[str, np.ndarray]], sizes: Sequence[int]) -> np.ndarray:
    """Rows (effects, parameters of all sets) from those of each set by the name of their effect.

    What a stratum departs by is taken for one error in all sets: it is one forest that they see.
    """
    names = list(dict.fromkeys(name for own in rows for name in own))
    parts = [
        np.array([own.get(name, np.zeros(size)) for name in names]).reshape(len(names), size)
        for own, size in zip(rows, sizes, strict=True)
    ]
    return np.hstack(parts)


def effects_of(machine: Regressor, predictors: Sequence[str], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of `shrinking_of` by the names of their effects."""
    return dict(zip(machine.stands_for.effects(predictors), rows, strict=True)) if len(rows) else {}


def levels_told(model: TargetModel, one: SetModel, plots: pd.DataFrame) -> list[dict[str, Any]]:
    """What a set's model makes of each stratum.

    Returns
    -------
    list of dict
        stratum, plots, clusters; own: whether it has a level, else that of all strata serves it; weight: the share of its level
        that its own plots tell (None where there is none, and of regressors that do not say); difference and its standard error
        (se): by how much a place of the stratum has more of the target than the mean of the strata that have a level, weighed by
        their plots, all with the plots' mean predictors.
    """
    names = [one.predictors[k] for k in columns_of(one.predictors)]
    if not names:
        return []
    rows = _strata_in(one, plots)
    place = model.slices()[[other.name for other in model.sets].index(one.name)]
    inside = np.array([(plots[PREFIX + row["stratum"]].fillna(0).to_numpy(float) > 0.5) & row["own"] for row in rows])
    X = np.repeat(one.centre[None, :], len(rows), axis=0)
    columns = dict(zip(names, columns_of(one.predictors), strict=True))
    for k, row in enumerate(rows):
        if row["own"]:
            X[k, columns[PREFIX + row["stratum"]]] = 1.0
    mean, gradient = one.machine.both(one.params, one.design(X, one.dates[0]))
    weight = inside.sum(axis=1) / max(inside.sum(), 1)
    moved = (gradient.astype(float) - weight @ gradient) @ model.factors[:, place].T
    return [
        row | {"difference": float(mean[k] - weight @ mean), "se": float(np.linalg.norm(moved[k]))}
        for k, row in enumerate(rows)
    ]  # fmt: skip
