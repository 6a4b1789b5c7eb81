"""Estimators of samples whose places had unequal chances to become plots: each plot counts by the hectares that it stands for.

Weights are 1 / chance up to a factor. Within a stratum they are scaled to its area (Hájek), so that only their proportions
there count; a stratum whose plots have equal weights gives the textbook's stratified mean. Clusters are the units: u_c, the sum
over a cluster of weight x residual from the stratum's weighted mean, has the variance n_h / (n_h - 1) sum (u_c - mean u)^2 in
each stratum, with Satterthwaite's degrees of freedom over strata. Clusters that strata cut are units of one stratum.

References
----------
Hájek 1971, in Godambe and Sprott, Foundations of Statistical Inference, Holt, Rinehart and Winston (comment, p. 236).
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, Springer, doi:10.1007/978-1-4612-4378-6 (5.7, 6.4-6.7, 7.2).
Cochran 1977, Sampling Techniques, 3rd ed., Wiley (sections 5.4, 7.10: combined regression estimate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.expansion import satterthwaite, shares_of
from models.inference.registry import estimator
from models.inference.survey import Survey

HAJEK = "Särndal, Swensson and Wretman 1992, sections 5.7 and 7.2, doi:10.1007/978-1-4612-4378-6"
COMBINED = "Särndal, Swensson and Wretman 1992, section 6.4, doi:10.1007/978-1-4612-4378-6; Cochran 1977, section 7.10"


@estimator(weighted=True, reference=HAJEK)
def weighted_expansion(survey: Survey, *, stratum_area_ha: Mapping[str, float] | None = None, area: str = "all") -> AreaEstimate:
    """Mean of plots by their weights, stratum by stratum

    Parameters
    ----------
    stratum_area_ha : area of each stratum, all of them together the area that is estimated; None for one stratum

    Notes
    -----
    mean = sum W_h sum w y / sum w over the stratum's plots.
    """
    sample = _Weighted.of(survey, stratum_area_ha)
    y = survey.y[survey.ground]
    return _told("weighted_expansion", area, sample, float(sample.share @ y), "sampling", sample.centred(y))


@estimator(auxiliaries="exhaustive", weighted=True, reference=HAJEK)
def weighted_difference(
    survey: Survey,
    *,
    prediction: str,
    prediction_mean: float,
    stratum_area_ha: Mapping[str, float] | None = None,
    area: str = "all",
) -> AreaEstimate:
    """A map made from other plots, corrected by the mean residual of these by their weights

    Parameters
    ----------
    prediction : auxiliary that holds the map's value at each point; the map must not have been fitted to these plots
    prediction_mean : mean of the map over the whole area
    stratum_area_ha : area of each stratum; None for one stratum

    Notes
    -----
    mean = mean of the map + sum W_h (weighted mean residual of the stratum); the map has no sampling error.
    """
    sample = _Weighted.of(survey, stratum_area_ha)
    residual = survey.y[survey.ground] - sample.auxiliary(survey, prediction)
    mean = prediction_mean + float(sample.share @ residual)
    return _told("weighted_difference", area, sample, mean, "regression", sample.centred(residual))


@estimator(auxiliaries="exhaustive", weighted=True, reference=COMBINED)
def weighted_greg(
    survey: Survey,
    *,
    auxiliaries: Sequence[str],
    means: Mapping[str, float],
    stratum_area_ha: Mapping[str, float] | None = None,
    area: str = "all",
) -> AreaEstimate:
    """Generalised regression by the plots' weights, with one slope for all strata (combined)

    Parameters
    ----------
    means : mean of each auxiliary over the whole area
    stratum_area_ha : area of each stratum; None for one stratum

    Notes
    -----
    mean = sum W_h y_h + (X - sum W_h x_h)' b, y_h and x_h weighted means of strata, b fitted by weights within strata.
    Residuals are multiplied with g = 1 + (X - sum W_h x_h)' T^-1 (x - x_h), T = sum w (x - x_h)(x - x_h)', and their variance
    with (n - H) / (n - H - p) for n clusters, H strata and p slopes, which are fitted to the same plots.
    """
    sample = _Weighted.of(survey, stratum_area_ha)
    y = survey.y[survey.ground]
    x = np.column_stack([sample.auxiliary(survey, name) for name in auxiliaries])
    clusters, strata, slopes = sample.clusters, len(sample.names), x.shape[1]
    if clusters < strata + slopes + 2:
        raise ValueError(
            f"{clusters} clusters of ground plots for a regression with {strata + slopes} coefficients ({strata} strata): at "
            f"least {strata + slopes + 2} are needed; use fewer auxiliaries, or weighted_difference"
        )
    within = np.column_stack([sample.centred(column) for column in x.T])
    scatter = (within * sample.share[:, None]).T @ within
    scale = np.sqrt(np.diag(scatter))
    if not (scale > 0).all() or np.linalg.matrix_rank(scatter / np.outer(scale, scale)) < slopes:
        raise ValueError("an auxiliary is constant at the ground plots of every stratum or a sum of others; leave it out")
    slope = np.linalg.solve(scatter, (within * sample.share[:, None]).T @ sample.centred(y))
    short = np.array([float(means[name]) for name in auxiliaries]) - sample.share @ x
    g = 1 + within @ np.linalg.solve(scatter, short)
    wider = (clusters - strata) / (clusters - strata - slopes)
    residual = g * (sample.centred(y) - within @ slope) * np.sqrt(wider)
    mean = float(sample.share @ y + short @ slope)
    return _told("weighted_greg", area, sample, mean, "regression", residual)


@dataclass(frozen=True)
class _Weighted:
    """Ground points (n): the share of the area that each stands for, their stratum and cluster as numbers.

    unit_stratum : (clusters,) number of the stratum in which a cluster is a unit
    """

    share: np.ndarray
    stratum: np.ndarray
    cluster: np.ndarray
    names: tuple[str, ...]
    unit_stratum: np.ndarray

    @classmethod
    def of(cls, survey: Survey, stratum_area_ha: Mapping[str, float] | None) -> _Weighted:
        ground = survey.ground
        if not ground.any():
            raise ValueError("there is no ground plot in the survey")
        if survey.weight is None:
            raise ValueError("plots have no weights: places count as having had equal chances, as in expansion and difference")
        weight = np.asarray(survey.weight, float)[ground]
        missing = int((~np.isfinite(weight)).sum())
        if missing or weight.min() <= 0:
            what = f"{missing} of {len(weight)} plots have no weight" if missing else f"a plot has a weight of {weight.min():g}"
            raise ValueError(f"{what}; every plot of the sample needs the area that it stands for, above zero")
        if stratum_area_ha:
            shares, members = shares_of(survey, stratum_area_ha)
            names = tuple(shares)
            stratum = np.select([members[name][ground] for name in names], range(len(names)))
        else:
            shares, names, stratum = {"all": 1.0}, ("all",), np.zeros(len(weight), int)
        _, cluster = np.unique(survey.clusters[ground], return_inverse=True)
        in_strata = np.bincount(stratum, weights=weight, minlength=len(names))
        part = np.array([shares[name] for name in names])
        unit = np.zeros(cluster.max() + 1, dtype=int)
        unit[cluster] = stratum
        if (unit[cluster] != stratum).any():
            unit[:] = 0
        found = cls(weight * (part / np.where(in_strata > 0, in_strata, np.inf))[stratum], stratum, cluster, names, unit)
        found.check()
        return found

    def check(self) -> None:
        plots = np.bincount(self.stratum, minlength=len(self.names))
        units = np.bincount(self.unit_stratum, minlength=len(self.names))
        cut = not self.unit_stratum.any() and len(self.names) > 1
        for number, name in enumerate(self.names):
            if plots[number] < 2 or (not cut and units[number] < 2):
                raise ValueError(
                    f"stratum {name!r} has {plots[number]} ground plots in {units[number]} clusters; at least 2 clusters are "
                    "needed to tell its error: join it with another stratum"
                )
        if self.clusters - len(self.names) < 1:
            raise ValueError(f"{self.clusters} clusters in {len(self.names)} strata tell no error; join strata")

    @property
    def clusters(self) -> int:
        return len(self.unit_stratum)

    def auxiliary(self, survey: Survey, name: str) -> np.ndarray:
        if name not in survey.auxiliaries:
            raise ValueError(f"the survey has no auxiliary {name!r}; it has {', '.join(survey.auxiliaries) or 'none'}")
        values = np.asarray(survey.auxiliaries[name], float)[survey.ground]
        if not np.isfinite(values).all():
            raise ValueError(f"the auxiliary {name!r} is missing at points of a phase that must have it")
        return values

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Departures (n,) from the weighted mean of the stratum."""
        sums = np.bincount(self.stratum, weights=self.share * values, minlength=len(self.names))
        return values - (sums / np.bincount(self.stratum, weights=self.share, minlength=len(self.names)))[self.stratum]

    def variances(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the weighted sum of residuals (n,) per stratum of the units, and its degrees of freedom."""
        pull = np.bincount(self.cluster, weights=self.share * residual, minlength=self.clusters)
        found, freedom = [], []
        for number in np.unique(self.unit_stratum):
            mine = pull[self.unit_stratum == number]
            found.append(len(mine) * float(mine.var(ddof=1)))
            freedom.append(len(mine) - 1)
        if len(found) == 1:  # also where strata cut clusters: each has a mean of its own
            freedom = [self.clusters - len(self.names)]
        return np.array(found), np.array(freedom)


def _told(name: str, area: str, sample: _Weighted, mean: float, part: str, residual: np.ndarray) -> AreaEstimate:
    variances, freedom = sample.variances(residual)
    notes = ("strata cut clusters, so their error is that of clusters of one stratum",)
    cut = len(variances) < len(sample.names)
    return AreaEstimate(
        area, name, mean, {part: float(variances.sum())}, satterthwaite(variances, freedom),
        {"plots": len(sample.share), "clusters": sample.clusters, "strata": len(sample.names)}, notes=notes if cut else (),
    )  # fmt: skip
