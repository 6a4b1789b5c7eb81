"""Estimators of a ground sample without a regression: expansion, strata, ratio, difference.

Clusters of unequal size M(x) enter everywhere through ratios of sums; where every cluster is one plot, the formulas are the
textbook's. Populations are taken as infinite (points in an area), so there is no finite-population correction.

References
----------
Cochran 1977, Sampling Techniques, 3rd ed., Wiley (chapters 5, 5A.9, 6).
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, Springer, doi:10.1007/978-1-4612-4378-6.
Mandallaz 2007, Sampling Techniques for Forest Inventories, Chapman & Hall, doi:10.1201/9781584889779.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.registry import estimator
from models.inference.survey import Level, Survey, clusters_of, mean_of, spread_of_mean

COCHRAN = "Cochran 1977, Sampling Techniques"
SARNDAL = "Särndal, Swensson and Wretman 1992, section 6.3, doi:10.1007/978-1-4612-4378-6"
MANDALLAZ = "Mandallaz 2007, doi:10.1201/9781584889779"


@estimator(reference=MANDALLAZ)
def expansion(survey: Survey, *, area: str | None = None) -> AreaEstimate:
    """Mean of the ground plots

    Parameters
    ----------
    area : only the plots of one area of the survey; None for all

    Notes
    -----
    mean = sum M Y_c / sum M; variance = sum (M / mean M)^2 (Y_c - mean)^2 / (n (n - 1)).
    """
    level = _ground(survey, area)
    part = spread_of_mean(level.y, level.size) / level.n
    return AreaEstimate(
        _name(area), "expansion", mean_of(level.y, level.size), {"sampling": part}, level.n - 1, _counts(level),
        notes=_single(level),
    )  # fmt: skip


@estimator(strata=True, reference=f"{COCHRAN}, ch. 5")
def stratified(survey: Survey, *, stratum_area_ha: Mapping[str, float], area: str = "all") -> AreaEstimate:
    """Mean of strata that were sampled one by one

    Parameters
    ----------
    stratum_area_ha : area of each stratum, all of them together the area that is estimated

    Notes
    -----
    mean = sum W_h mean_h; variance = sum W_h^2 s_h^2 / n_h; Satterthwaite's degrees of freedom over the strata.
    """
    shares, members = shares_of(survey, stratum_area_ha)
    ids, index = np.unique(survey.clusters[survey.ground], return_inverse=True)
    labels = np.asarray(survey.stratum)[survey.ground].astype(str)
    first = np.full(len(ids), "", dtype=labels.dtype)
    first[index] = labels
    if (first[index] != labels).any():
        raise ValueError(
            "a cluster has plots in two strata, so strata were not sampled one by one; use post_stratified, whose strata may "
            "cut clusters"
        )
    mean, variances, freedom, plots = 0.0, [], [], 0
    for stratum, share in shares.items():
        level = clusters_of(survey, (), members[stratum])
        if level.n < 2:
            raise ValueError(
                f"stratum {stratum!r} has {level.n} plot or cluster on the ground; at least 2 are needed to tell its error: "
                "join it with a neighbouring stratum"
            )
        mean += share * mean_of(level.y, level.size)
        variances.append(share**2 * spread_of_mean(level.y, level.size) / level.n)
        freedom.append(level.n - 1)
        plots += int(level.size.sum())
    return AreaEstimate(
        area, "stratified", mean, {"sampling": sum(variances)}, satterthwaite(variances, freedom),
        {"plots": plots, "clusters": len(ids), "strata": len(shares)},
    )  # fmt: skip


@estimator(strata=True, reference=f"{COCHRAN}, section 5A.9")
def post_stratified(survey: Survey, *, stratum_area_ha: Mapping[str, float], area: str = "all") -> AreaEstimate:
    """Mean of strata told apart after sampling

    Notes
    -----
    mean = sum W_h mean_h. Single plots: variance = sum W_h s_h^2 / n + sum (1 - W_h) s_h^2 / n^2. Clusters, which strata may
    cut: n / (n - 1) sum u_c^2 with u_c = sum_h W_h / n_h sum_(i in c, h) (y_i - mean_h), the linearised mean.
    """
    shares, members = shares_of(survey, stratum_area_ha)
    ids, index = np.unique(survey.clusters[survey.ground], return_inverse=True)
    y = survey.y[survey.ground]
    n = len(y)
    if len(ids) - len(shares) < 1:
        raise ValueError(
            f"{len(ids)} clusters in {len(shares)} strata tell no error: at least {len(shares) + 1} are needed; join strata"
        )
    mean, within, added, pull = 0.0, 0.0, 0.0, np.zeros(n)
    for stratum, share in shares.items():
        mine = members[stratum][survey.ground]
        count = int(mine.sum())
        if count < 2:
            raise ValueError(f"stratum {stratum!r} has {count} ground plots; at least 2 are needed: join it with another stratum")
        mean += share * float(y[mine].mean())
        spread = float(y[mine].var(ddof=1))
        within += share * spread / n
        added += (1 - share) * spread / n**2
        pull[mine] = share / count * (y[mine] - y[mine].mean())
    if len(ids) == n:
        parts = {"sampling": within, "post_stratification": added}
    else:
        totals = np.bincount(index, weights=pull)
        parts = {"sampling": float(len(ids) / (len(ids) - 1) * (totals**2).sum())}
    return AreaEstimate(
        area, "post_stratified", mean, parts, len(ids) - len(shares), {"plots": n, "clusters": len(ids), "strata": len(shares)}
    )


@estimator(auxiliaries="exhaustive", reference=f"{COCHRAN}, ch. 6")
def ratio(survey: Survey, *, auxiliary: str, auxiliary_mean: float, area: str = "all") -> AreaEstimate:
    """Ratio to an auxiliary whose mean is known

    Notes
    -----
    mean = R X with R = sum M Y_c / sum M X_c; variance = (X / mean x)^2 var(Y_c - R X_c) / n. Biased by the order of 1/n;
    good where the target is proportional to the auxiliary.
    """
    level = clusters_of(survey, (auxiliary,), survey.ground)
    x = level.z[:, 1]
    mean_x = mean_of(x, level.size)
    if mean_x <= 0:
        raise ValueError(f"a ratio needs an auxiliary above zero in the mean; {auxiliary} has a mean of {mean_x:g} at plots")
    slope = mean_of(level.y, level.size) / mean_x
    part = (auxiliary_mean / mean_x) ** 2 * spread_of_mean(level.y - slope * x, level.size) / level.n
    return AreaEstimate(
        area, "ratio", slope * auxiliary_mean, {"regression": part}, level.n - 1, _counts(level), notes=_single(level)
    )


@estimator(auxiliaries="either", phases=2, reference=SARNDAL)
def difference(
    survey: Survey, *, prediction: str, prediction_mean: float | None = None, area: str = "all"
) -> AreaEstimate:
    """A map made from other plots, corrected by the mean residual of these

    Parameters
    ----------
    prediction : auxiliary that holds the map's value at each point. The map must not have been fitted to these plots
    prediction_mean : mean of the map over the whole area; None takes the points of the earlier phase

    Notes
    -----
    mean = mean of the map + mean residual. Whole map: variance = var(residual) / n2. Sampled map: var(Y) / n1 +
    (1 - n2 / n1) var(residual) / n2.
    """
    ground = clusters_of(survey, (prediction,), survey.ground)
    residual = ground.y - ground.z[:, 1]
    part = spread_of_mean(residual, ground.size) / ground.n
    counts = _counts(ground)
    if prediction_mean is not None:
        mean, parts = prediction_mean, {"regression": part}
    else:
        first = clusters_of(survey, (prediction,), np.asarray(survey.phase) >= 1)
        mean = float(first.mean_z[1])
        parts = {
            "auxiliary_means": spread_of_mean(ground.y, ground.size) / first.n,
            "regression": (1 - ground.n / first.n) * part,
        }
        counts["phase_1"] = int(first.size.sum())
    return AreaEstimate(
        area, "difference", mean + mean_of(residual, ground.size), parts, ground.n - 1, counts, notes=_single(ground)
    )


def satterthwaite(variances, freedom) -> float:
    """Degrees of freedom of a sum of independent variances; those that are zero do not count."""
    variances, freedom = np.asarray(variances, float), np.asarray(freedom, float)
    if not (variances > 0).any():
        return float(freedom.sum())
    return float(variances.sum() ** 2 / (variances**2 / freedom).sum())


def _ground(survey: Survey, area: str | None) -> Level:
    rows = survey.ground
    if area is not None:
        if survey.area is None:
            raise ValueError(f"area {area!r} is asked for, and the survey does not say in which area a plot lies")
        rows = rows & (np.asarray(survey.area).astype(str) == str(area))
    level = clusters_of(survey, (), rows)
    if level.n == 0:
        raise ValueError(f"there is no ground plot in {'the survey' if area is None else f'area {area!r}'}")
    return level


def shares_of(survey: Survey, stratum_area_ha: Mapping[str, float]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Share of each stratum in the area, and the ground points of each."""
    areas = {str(name): float(ha) for name, ha in stratum_area_ha.items()}
    if not areas or min(areas.values()) <= 0:
        raise ValueError("every stratum needs an area above 0 ha")
    labels = np.asarray(survey.stratum).astype(str)
    strange = sorted(set(labels[survey.ground].tolist()) - set(areas))
    if strange:
        raise ValueError(f"plots lie in stratum {strange[0]!r}, whose area is not given; areas are given of {', '.join(areas)}")
    total = sum(areas.values())
    return {name: ha / total for name, ha in areas.items()}, {name: survey.ground & (labels == name) for name in areas}


def _name(area: str | None) -> str:
    return "all" if area is None else str(area)


def _counts(level: Level) -> dict[str, int]:
    return {"plots": int(level.size.sum()), "clusters": level.n}


def _single(level: Level) -> tuple[str, ...]:
    return ("one plot or cluster tells no error",) if level.n < 2 else ()
