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
    phase = np.asarray(survey.phase)
    inside, indicator = np.ones(len(phase), dtype=bool), None
    if area is not None:
        inside, label = np.asarray(survey.area).astype(str) == str(area), str(area)
        indicator = inside if correction == "extended" else None
    if reduced is not None and (strange := [name for name in reduced if name not in full]):
        raise ValueError(f"{strange[0]!r} is among the reduced auxiliaries and not among all of them; the models must be nested")
    if method == "synthetic" and variance == "external":
        raise ValueError("a synthetic estimate has no external variance: the area's own residuals are no part of it")
    one, ground = phase >= 1, survey.ground
    mine = clusters_of(survey, full, ground & inside, indicator)
    if correction != "none" and mine.n == 0:
        raise ValueError(f"there is no ground plot in area {label!r}; without one only synthetic and bhf_eblup speak of it")
    model = fit(clusters_of(survey, full, ground, indicator))
    kind = _kind(variance, mine.n if correction == "extended" else model.level.n)
    n2 = model.level.n

    widest = full if reduced is None else reduced
    first = _first_phase(survey, widest, (one if reduced is None else phase >= 0) & inside, indicator, means, label)
    counts = {"plots": int(mine.size.sum()), "clusters": mine.n, "model_plots": int(model.level.size.sum())}
    parts: dict[str, float] = {}
    if reduced is None:
        mean = float(first.mean @ model.b)
        parts["regression"], freedom = model.variance(first.mean, kind)
        plain = {"regression": model.variance(first.mean, "g_weight")[0]}
        widest_model = model
        own_first = mine.z @ model.b
    else:
        widest_model = fit(clusters_of(survey, reduced, ground, indicator))
        second = clusters_of(survey, full, one & inside, indicator)
        if second.n == 0:
            raise ValueError(f"there is no point of phase 1 in area {label!r}")
        second_reduced = clusters_of(survey, reduced, one & inside, indicator)
        mean = float((first.mean - second_reduced.mean_z) @ widest_model.b + second.mean_z @ model.b)
        share = n2 / len(np.unique(survey.clusters[one]))
        of_phase_1 = _bread(clusters_of(survey, reduced, one, indicator))
        through, wide_freedom = widest_model.variance(first.mean, kind, of_phase_1)
        rest, freedom = model.variance(second.mean_z, kind)
        parts["reduced_model"], parts["regression"] = share * through, (1 - share) * rest
        plain = {
            "reduced_model": share * widest_model.variance(first.mean, "g_weight", of_phase_1)[0],
            "regression": (1 - share) * model.variance(second.mean_z, "g_weight")[0],
        }
        freedom = min(freedom, wide_freedom)
        counts["phase_1"] = int(second.size.sum())
        own_first = clusters_of(survey, reduced, ground & inside, indicator).z @ widest_model.b
    if first.covariance is not None:
        parts["auxiliary_means"] = float(widest_model.b @ first.covariance @ widest_model.b)
        counts["phase_0" if reduced is not None else "phase_1"] = int(first.level.size.sum())

    residual = mine.y - mine.z @ model.b
    notes = []
    if correction == "residual":
        mean += mean_of(residual, mine.size)
        if variance == "auto" and mine.n < FEW_PLOTS:
            pooled = spread_of_mean(model.residual, model.level.size) * (n2 - 1) / (n2 - len(model.b))
            parts["area_residual"] = pooled / mine.n
            notes.append("the residual variance is that of all plots, because the area has too few to tell its own")
        else:
            parts["area_residual"] = spread_of_mean(residual, mine.size) / mine.n
            freedom = min(freedom, mine.n - 1)
    if correction == "extended" and kind != "cr2":
        freedom = min(freedom, mine.n - 1)
    if correction != "none" and mine.n < FEW_PLOTS and variance != "auto":
        notes.append(f"only {mine.n} plots or clusters in the area: the error is itself poorly known")
    if correction == "extended" and len(set(mine.ids) & set(survey.clusters[ground & ~inside])):
        notes.append("a cluster reaches over the area's border, so the mean residual in the area is not zero; compare with small")
    if method == "synthetic":
        notes.append("biased where the area departs from the model of all plots; the error does not hold that bias")

    g_weight = sum({**parts, **plain}.values())
    external = _external(survey, mine, residual, own_first, first, one & inside, reduced is not None, area is None, widest_model)
    others = {"external": external}
    if variance == "external":
        others = {kind: sum(parts.values())}
        parts, freedom = {"regression": external}, mine.n - 1
    elif kind == "cr2":
        others["g_weight"] = g_weight
    return AreaEstimate(label, method, mean, parts, float(freedom), counts, others, tuple(notes))


def _kind(variance: Variance, clusters: int) -> str:
    if variance not in ("auto", "g_weight", "external", "cr2"):
        raise ValueError(f"variance is auto, g_weight, external or cr2, got {variance!r}")
    if variance == "auto":
        return "g_weight" if clusters >= MANY_CLUSTERS else "cr2"
    return "cr2" if variance == "cr2" else "g_weight"


def _first_phase(
    survey: Survey,
    names: Sequence[str],
    rows: np.ndarray,
    indicator: np.ndarray | None,
    means: Mapping[str, float] | None,
    label: str,
) -> _Phase:
    """Means of the auxiliaries over the area: given, or of the points of the widest phase."""
    if means is not None:
        missing = [name for name in names if name not in means]
        if missing:
            raise ValueError(f"the mean of auxiliary {missing[0]!r} over {label!r} is not given; given: {', '.join(means)}")
        own = [] if indicator is None else [1.0]
        return _Phase(None, np.array([1.0, *(float(means[name]) for name in names), *own]), None)
    level = clusters_of(survey, names, rows, indicator)
    if level.n < 2:
        raise ValueError(f"{level.n} sample points with auxiliaries in area {label!r}; at least 2 are needed, or means of a map")
    return _Phase(level, level.mean_z, covariance_of_means(level))


def _external(
    survey: Survey,
    mine: Level,
    residual: np.ndarray,
    own_first: np.ndarray,
    first: _Phase,
    second_rows: np.ndarray,
    three: bool,
    whole: bool,
    widest_model: Fit,
) -> float:
    """The external variance: as if the models had come from elsewhere; in the published software's own forms.

    Whole area, two phases: var(prediction) / n1 + var(R) / n2. Small area: var(Y) / n1 + (1 - n2 / n1) var(R) / n2. Three
    phases: var(Y) / n0 + (1 - n1 / n0) var(R_reduced) / n1 + (1 - n2 / n1) var(R) / n2.
    """
    if mine.n < 2:
        return float("nan")
    own = spread_of_mean(residual, mine.size) / mine.n
    if three:
        n1 = len(np.unique(survey.clusters[second_rows]))
        n0 = np.inf if first.level is None else first.level.n
        outer = spread_of_mean(mine.y, mine.size) / n0 + (1 - n1 / n0) * spread_of_mean(mine.y - own_first, mine.size) / n1
        return outer + (1 - mine.n / n1) * own
    if first.level is None:
        return own
    if whole:
        return spread_of_mean(first.level.z @ widest_model.b, first.level.size) / first.level.n + own
    return spread_of_mean(mine.y, mine.size) / first.level.n + (1 - mine.n / first.level.n) * own
