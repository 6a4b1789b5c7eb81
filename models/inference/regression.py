"""Regression estimators of two and three phases, for a whole area and for small areas in it (Mandallaz).

One engine serves them all. Points of phase 0 carry reduced auxiliaries, those of phase 1 all of them, those of phase 2 the
target too. With coefficients fitted on the ground sample, full b and reduced a,

    mean = (Z0_reduced - Z1_reduced)' a + Z1' b + correction,

where Z0 and Z1 are means over the points of a phase (or given: exhaustive) in the area that is estimated. Two phases have no
reduced model: mean = Z1' b + correction. The correction is nothing (synthetic), the mean residual of the area's plots (small),
or comes from an indicator of the area among the regressors (extended). The variance by g-weights is

    a' Cov(Z0) a + n2/n1 Z0' Cov(a) Z0 + (1 - n2/n1) Z1' Cov(b) Z1        (two phases: b' Cov(Z1) b + Z1' Cov(b) Z1)

with Cov(b) = A^-1 (sum M^2 R_c^2 Z_c Z_c') A^-1 / n2^2, A = sum M Z_c Z_c' / n2; terms of exhaustive means vanish. In Cov(a), A
is the mean over phase 1.

References
----------
Mandallaz 2013, Canadian Journal of Forest Research 43:441-449, doi:10.1139/cjfr-2012-0381.
Mandallaz, Breschan and Hill 2013, Canadian Journal of Forest Research 43:1023-1031, doi:10.1139/cjfr-2013-0181.
Mandallaz 2014, Canadian Journal of Forest Research 44:383-388, doi:10.1139/cjfr-2013-0449.
Hill, Massey and Mandallaz 2021, Journal of Statistical Software 97(4), doi:10.18637/jss.v097.i04.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.cluster_robust import MANY_CLUSTERS, contrast_variance
from models.inference.registry import estimator
from models.inference.survey import Level, Survey, clusters_of, covariance_of_means, mean_of, spread_of_mean

Variance = Literal["auto", "g_weight", "external", "cr2"]
Correction = Literal["none", "residual", "extended"]
FEW_PLOTS = 6
"""Below this number of plots in an area its own residual variance says next to nothing."""

TWO_PHASE = "Mandallaz, Breschan and Hill 2013, doi:10.1139/cjfr-2013-0181"
SMALL_AREA = "Mandallaz 2013, doi:10.1139/cjfr-2012-0381"
THREE_PHASE = "Mandallaz 2014, doi:10.1139/cjfr-2013-0449"


@dataclass(frozen=True)
class Fit:
    """A least-squares fit of cluster means, weighted by cluster sizes: coefficients (p,), residuals (c,), bread A^-1 (p, p)."""

    level: Level
    b: np.ndarray
    residual: np.ndarray
    bread: np.ndarray

    @property
    def freedom(self) -> int:
        return self.level.n - len(self.b)

    def variance(self, contrast: np.ndarray, kind: str, bread: np.ndarray | None = None) -> tuple[float, float]:
        """Variance of contrast' b by g-weights or CR2, and its degrees of freedom; `bread` of a larger phase for g-weights."""
        if kind == "cr2":
            root = np.sqrt(self.level.size)
            return contrast_variance(self.level.z * root[:, None], self.residual * root, contrast, kind="cr2")
        g = self.level.z @ ((self.bread if bread is None else bread) @ contrast)
        return float(((g * self.level.size * self.residual) ** 2).sum() / self.level.n**2), float(self.freedom)


def fit(level: Level) -> Fit:
    """Fit cluster means of the target by cluster means of the auxiliaries.

    Raises
    ------
    ValueError
        Where coefficients are not fewer than clusters by two, or auxiliaries say the same thing twice.
    """
    n, p = level.z.shape
    if n < p + 2:
        raise ValueError(
            f"{n} clusters of ground plots for a regression with {p} coefficients: at least {p + 2} are needed; "
            "use fewer auxiliaries, or expansion"
        )
    scale = np.abs(level.z).max(axis=0)
    if np.linalg.matrix_rank(level.z / np.where(scale > 0, scale, 1)) < p:
        raise ValueError("an auxiliary is constant at the ground plots or a sum of others; leave it out")
    bread = _bread(level)
    b = bread @ ((level.z * level.size[:, None]).T @ level.y / n)
    return Fit(level, b, level.y - level.z @ b, bread)


def _bread(level: Level) -> np.ndarray:
    """A^-1, the inverse of the mean of M Z Z' over clusters."""
    return np.linalg.inv((level.z * level.size[:, None]).T @ level.z / level.n)


@estimator(auxiliaries="exhaustive", reference=f"{TWO_PHASE}; Särndal, Swensson and Wretman 1992, ch. 6")
def greg(
    survey: Survey, *, auxiliaries: Sequence[str], means: Mapping[str, float], variance: Variance = "auto", area: str = "all"
) -> AreaEstimate:
    """Generalised regression: the auxiliaries are known everywhere

    Parameters
    ----------
    means : mean of each auxiliary over the whole area
    variance : g_weight (Mandallaz's internal variance), external (as if the model came from elsewhere), cr2 (few clusters),
        auto: cr2 below 400 clusters, g_weight from there; areas with fewer than 6 plots take the residual variance of all plots
    """
    return _estimate(survey, "greg", auxiliaries, means=means, variance=variance, label=area)


@estimator(auxiliaries="sampled", phases=2, reference=TWO_PHASE)
def two_phase(
    survey: Survey, *, auxiliaries: Sequence[str], variance: Variance = "auto", area: str = "all"
) -> AreaEstimate:
    """Two-phase regression: the auxiliaries are known at many sample points"""
    return _estimate(survey, "two_phase", auxiliaries, variance=variance, label=area)


@estimator(auxiliaries="either", phases=3, reference=THREE_PHASE)
def three_phase(
    survey: Survey,
    *,
    auxiliaries: Sequence[str],
    reduced: Sequence[str],
    means: Mapping[str, float] | None = None,
    variance: Variance = "auto",
    area: str = "all",
) -> AreaEstimate:
    """Three-phase regression: some auxiliaries widely known, all of them at fewer points

    Parameters
    ----------
    reduced : auxiliaries known at phase 0; a part of `auxiliaries`, which are known at phase 1
    means : means of the reduced auxiliaries where they are known everywhere (partially exhaustive information)
    """
    return _estimate(survey, "three_phase", auxiliaries, reduced=reduced, means=means, variance=variance, label=area)


@estimator(auxiliaries="either", areas=True, phases=2, may_be_biased=True, reference=SMALL_AREA)
def synthetic(
    survey: Survey,
    *,
    area: str,
    auxiliaries: Sequence[str],
    reduced: Sequence[str] | None = None,
    means: Mapping[str, float] | None = None,
    variance: Variance = "auto",
) -> AreaEstimate:
    """(Pseudo-)synthetic: the model of all plots at the area's own auxiliaries

    Parameters
    ----------
    area : label in the survey's `area`
    reduced : auxiliaries of phase 0; with them the estimator has three phases
    means : means of the (reduced) auxiliaries over the area where they are known everywhere; without them the estimator is
        called pseudo-synthetic
    """
    return _estimate(survey, "synthetic", auxiliaries, reduced=reduced, means=means, variance=variance, area=area)


@estimator(auxiliaries="either", areas=True, phases=2, reference=SMALL_AREA)
def small(
    survey: Survey,
    *,
    area: str,
    auxiliaries: Sequence[str],
    reduced: Sequence[str] | None = None,
    means: Mapping[str, float] | None = None,
    variance: Variance = "auto",
) -> AreaEstimate:
    """(Pseudo-)small: synthetic plus the mean residual of the area's own plots (PSMALL)"""
    return _estimate(
        survey, "small", auxiliaries, reduced=reduced, means=means, variance=variance, area=area, correction="residual"
    )


@estimator(auxiliaries="either", areas=True, phases=2, reference=SMALL_AREA)
def extended_synthetic(
    survey: Survey,
    *,
    area: str,
    auxiliaries: Sequence[str],
    reduced: Sequence[str] | None = None,
    means: Mapping[str, float] | None = None,
    variance: Variance = "auto",
) -> AreaEstimate:
    """Extended (pseudo-)synthetic: the area has a coefficient of its own (EXTPSYNTH)"""
    return _estimate(
        survey, "extended_synthetic", auxiliaries, reduced=reduced, means=means, variance=variance, area=area,
        correction="extended",
    )  # fmt: skip


@dataclass(frozen=True)
class _Phase:
    """Points of a phase in the area that is estimated: their means (p,), and the covariance of those (None: exhaustive)."""

    level: Level | None
    mean: np.ndarray
    covariance: np.ndarray | None


@dataclass(frozen=True)
class _Area:
    """What is estimated: its points (n,), an indicator (n,) of it where the model has one, its name in messages."""

    inside: np.ndarray
    indicator: np.ndarray | None
    label: str
    whole: bool


@dataclass
class _Draft:
    """An estimate on its way: mean, parts of its variance by the formula that was asked for and by g-weights, counts."""

    mean: float
    parts: dict[str, float]
    g_weight: dict[str, float]
    freedom: float
    counts: dict[str, int]
    external: float
    notes: list[str]


def _estimate(
    survey: Survey,
    method: str,
    full: Sequence[str],
    *,
    reduced: Sequence[str] | None = None,
    means: Mapping[str, float] | None = None,
    variance: Variance = "auto",
    area: str | None = None,
    correction: Correction = "none",
    label: str = "all",
) -> AreaEstimate:
    if reduced is not None and (strange := [name for name in reduced if name not in full]):
        raise ValueError(f"{strange[0]!r} is among the reduced auxiliaries and not among all of them; the models must be nested")
    if method == "synthetic" and variance == "external":
        raise ValueError("a synthetic estimate has no external variance: the area's own residuals are no part of it")
    place = _area_of(survey, area, label, correction)
    mine = clusters_of(survey, full, survey.ground & place.inside, place.indicator)
    if correction != "none" and mine.n == 0:
        raise ValueError(
            f"there is no ground plot in area {place.label!r}; without one only synthetic and bhf_eblup speak of it"
        )
    model = fit(clusters_of(survey, full, survey.ground, place.indicator))
    kind = _kind(variance, mine.n if correction == "extended" else model.level.n)
    if reduced is None:
        draft = _two_phases(survey, full, model, mine, place, means, kind)
    else:
        draft = _three_phases(survey, full, reduced, model, mine, place, means, kind)
    draft.counts |= {"plots": int(mine.size.sum()), "clusters": mine.n, "model_plots": int(model.level.size.sum())}
    if correction == "residual":
        _add_residual(draft, model, mine, variance)
    if correction == "extended":
        _look_at_border(draft, survey, mine, place, kind)
    if correction != "none" and mine.n < FEW_PLOTS and variance != "auto":
        draft.notes.append(f"only {mine.n} plots or clusters in the area: the error is itself poorly known")
    if method == "synthetic":
        draft.notes.append("biased where the area departs from the model of all plots; the error does not hold that bias")
    return _told(draft, method, place.label, mine, variance, kind)


def _area_of(survey: Survey, area: str | None, label: str, correction: Correction) -> _Area:
    if area is None:
        return _Area(np.ones(len(survey.y), dtype=bool), None, label, True)
    inside = np.asarray(survey.area).astype(str) == str(area)
    return _Area(inside, inside if correction == "extended" else None, str(area), False)


def _two_phases(
    survey: Survey, full: Sequence[str], model: Fit, mine: Level, place: _Area, means: Mapping[str, float] | None, kind: str
) -> _Draft:
    """Z1' b, with the means of all auxiliaries from phase 1 or given."""
    first = _first_phase(survey, full, (np.asarray(survey.phase) >= 1) & place.inside, place, means)
    through, freedom = model.variance(first.mean, kind)
    draft = _Draft(
        float(first.mean @ model.b), {"regression": through}, {"regression": model.variance(first.mean, "g_weight")[0]},
        freedom, {}, _external(first, mine, model, place.whole), [],
    )  # fmt: skip
    _add_sampled_means(draft, first, model, "phase_1")
    return draft


def _three_phases(
    survey: Survey, full: Sequence[str], reduced: Sequence[str], model: Fit, mine: Level, place: _Area,
    means: Mapping[str, float] | None, kind: str,
) -> _Draft:  # fmt: skip
    """(Z0_reduced - Z1_reduced)' a + Z1' b, with the means of the reduced auxiliaries from phase 0 or given."""
    in_phase_1 = np.asarray(survey.phase) >= 1
    first = _first_phase(survey, reduced, place.inside, place, means)
    wide = fit(clusters_of(survey, reduced, survey.ground, place.indicator))
    second = clusters_of(survey, full, in_phase_1 & place.inside, place.indicator)
    if second.n == 0:
        raise ValueError(f"there is no point of phase 1 in area {place.label!r}")
    second_reduced = clusters_of(survey, reduced, in_phase_1 & place.inside, place.indicator)
    share = model.level.n / len(np.unique(survey.clusters[in_phase_1]))
    of_phase_1 = _bread(clusters_of(survey, reduced, in_phase_1, place.indicator))
    through, wide_freedom = wide.variance(first.mean, kind, of_phase_1)
    rest, freedom = model.variance(second.mean_z, kind)
    predicted = clusters_of(survey, reduced, survey.ground & place.inside, place.indicator).z @ wide.b
    draft = _Draft(
        float((first.mean - second_reduced.mean_z) @ wide.b + second.mean_z @ model.b),
        {"reduced_model": share * through, "regression": (1 - share) * rest},
        {
            "reduced_model": share * wide.variance(first.mean, "g_weight", of_phase_1)[0],
            "regression": (1 - share) * model.variance(second.mean_z, "g_weight")[0],
        },
        min(freedom, wide_freedom), {"phase_1": int(second.size.sum())},
        _external_of_three(first, second.n, mine, model, predicted), [],
    )  # fmt: skip
    _add_sampled_means(draft, first, wide, "phase_0")
    return draft


def _add_sampled_means(draft: _Draft, first: _Phase, widest: Fit, phase: str) -> None:
    """The part that means of auxiliaries have where they come from points and not from a map of the whole area."""
    if first.covariance is not None:
        part = float(widest.b @ first.covariance @ widest.b)
        draft.parts["auxiliary_means"] = draft.g_weight["auxiliary_means"] = part
        draft.counts[phase] = int(first.level.size.sum())


def _add_residual(draft: _Draft, model: Fit, mine: Level, variance: Variance) -> None:
    """The mean residual of the area's own plots, and its variance: that of all plots where the area has few."""
    residual = mine.y - mine.z @ model.b
    draft.mean += mean_of(residual, mine.size)
    if variance == "auto" and mine.n < FEW_PLOTS:
        pooled = spread_of_mean(model.residual, model.level.size) * (model.level.n - 1) / model.freedom
        part = pooled / mine.n
        draft.notes.append("the residual variance is that of all plots, because the area has too few to tell its own")
    else:
        part = spread_of_mean(residual, mine.size) / mine.n
        draft.freedom = min(draft.freedom, mine.n - 1)
    draft.parts["area_residual"] = draft.g_weight["area_residual"] = part


def _look_at_border(draft: _Draft, survey: Survey, mine: Level, place: _Area, kind: str) -> None:
    if kind != "cr2":
        draft.freedom = min(draft.freedom, mine.n - 1)
    if len(set(mine.ids) & set(survey.clusters[survey.ground & ~place.inside])):
        draft.notes.append(
            "a cluster reaches over the area's border, so the mean residual in the area is not zero; compare with small"
        )


def _told(draft: _Draft, method: str, label: str, mine: Level, variance: Variance, kind: str) -> AreaEstimate:
    """The estimate with the variance that was asked for, and the same by the other formulas beside it."""
    parts, freedom, formula, others = draft.parts, draft.freedom, kind, {"external": draft.external}
    if variance == "external":
        others = {kind: sum(parts.values())}
        parts, freedom, formula = {"regression": draft.external}, mine.n - 1, "external"
    elif kind == "cr2":
        others["g_weight"] = sum(draft.g_weight.values())
    return AreaEstimate(
        label, method, draft.mean, parts, float(freedom), draft.counts, others, tuple(draft.notes), formula
    )


def _kind(variance: Variance, clusters: int) -> str:
    if variance not in ("auto", "g_weight", "external", "cr2"):
        raise ValueError(f"variance is auto, g_weight, external or cr2, got {variance!r}")
    if variance == "auto":
        return "g_weight" if clusters >= MANY_CLUSTERS else "cr2"
    return "cr2" if variance == "cr2" else "g_weight"


def _first_phase(
    survey: Survey, names: Sequence[str], rows: np.ndarray, place: _Area, means: Mapping[str, float] | None
) -> _Phase:
    """Means of the auxiliaries over the area: given, or of the points of the widest phase."""
    if means is not None:
        missing = [name for name in names if name not in means]
        if missing:
            given = ", ".join(means)
            raise ValueError(f"the mean of auxiliary {missing[0]!r} over {place.label!r} is not given; given: {given}")
        own = [] if place.indicator is None else [1.0]
        return _Phase(None, np.array([1.0, *(float(means[name]) for name in names), *own]), None)
    level = clusters_of(survey, names, rows, place.indicator)
    if level.n < 2:
        raise ValueError(
            f"{level.n} sample points with auxiliaries in area {place.label!r}; at least 2 are needed, or means of a map"
        )
    return _Phase(level, level.mean_z, covariance_of_means(level))


def _external(first: _Phase, mine: Level, model: Fit, whole: bool) -> float:
    """The external variance of two phases: as if the model had come from elsewhere, in the published software's own forms.

    Whole area: var(prediction) / n1 + var(R) / n2. Small area: var(Y) / n1 + (1 - n2 / n1) var(R) / n2.
    """
    if mine.n < 2:
        return float("nan")
    own = spread_of_mean(mine.y - mine.z @ model.b, mine.size) / mine.n
    if first.level is None:
        return own
    if whole:
        return spread_of_mean(first.level.z @ model.b, first.level.size) / first.level.n + own
    return spread_of_mean(mine.y, mine.size) / first.level.n + (1 - mine.n / first.level.n) * own


def _external_of_three(first: _Phase, n1: int, mine: Level, model: Fit, predicted: np.ndarray) -> float:
    """The same of three phases: var(Y) / n0 + (1 - n1 / n0) var(R_reduced) / n1 + (1 - n2 / n1) var(R) / n2.

    predicted : (clusters of the area,) by the reduced model
    """
    if mine.n < 2:
        return float("nan")
    own = spread_of_mean(mine.y - mine.z @ model.b, mine.size) / mine.n
    n0 = np.inf if first.level is None else first.level.n
    outer = spread_of_mean(mine.y, mine.size) / n0 + (1 - n1 / n0) * spread_of_mean(mine.y - predicted, mine.size) / n1
    return outer + (1 - mine.n / n1) * own
