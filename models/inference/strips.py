"""Lidar in strips that chance has drawn: strips are the units of the sample, whatever is done in each of them.

Points of one strip are neighbours, and say the same thing again and again: an error made of points would be too small by far.
So the variance is that between strips, of all that was done in each of them (ultimate clusters). Two estimators differ in what
ties the predictions to the ground: `strips` corrects them by plots that chance has drawn in the strips (model-assisted); `hybrid`
believes a model from plots that need not be a sample, and adds what the model may err by.

References
----------
Gregoire et al. 2011, Canadian Journal of Forest Research 41:83-95, doi:10.1139/X10-195 (lidar strips, two stages).
Saarela et al. 2015, Remote Sensing of Environment 158:431-440, doi:10.1016/j.rse.2014.11.020 (strips and Landsat everywhere).
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, section 4.3, doi:10.1007/978-1-4612-4378-6.
Ståhl et al. 2011, Canadian Journal of Forest Research 41:96-107, doi:10.1139/X10-161 (hybrid).
Ståhl et al. 2016, Forest Ecosystems 3:5, doi:10.1186/s40663-016-0064-9 (hybrid).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.expansion import satterthwaite
from models.inference.registry import estimator
from models.inference.survey import Survey, clusters_of
from models.inference.target_model import TargetModel


@estimator(auxiliaries="either", phases=2, reference="Gregoire et al. 2011, doi:10.1139/X10-195; Saarela et al. 2015")
def strips(
    survey: Survey,
    *,
    strip: np.ndarray,
    prediction: str,
    reduced: str | None = None,
    reduced_mean: float | None = None,
    area: str = "all",
) -> AreaEstimate:
    """Prediction in strips that chance has drawn, corrected by the plots in them

    Parameters
    ----------
    strip : (points,) the strip that each point lies in; empty or None outside all, where points do not count
    prediction : auxiliary known in strips. It must not have been fitted to these plots
    reduced, reduced_mean : auxiliary known everywhere, a prediction of the target too, and its mean over the area (three
        phases); without it the mean is that of the strips (two phases)

    Notes
    -----
    Points of phase 1 are pixels of the strips or points laid evenly in them; the plots are not counted among them.
    With p the prediction, q the reduced one (0 without), over points M_c of strips c and plots n_c in them
    mean = mean(q) + sum M_c (p - q)_c / sum M + sum n_c (y - p)_c / sum n; the variance is sum u_c^2 / (m (m - 1)) with
    u_c = M_c / mean M ((p - q)_c - their mean) + n_c / mean n ((y - p)_c - their mean): both ratios linearised, strip by strip.
    Strips are taken as drawn with replacement, plots as equally dense in all of them.
    """
    if (reduced is None) != (reduced_mean is None):
        raise ValueError("reduced and reduced_mean belong together: the poorer prediction, and its mean over the whole area")
    labels = np.array(["" if one is None else str(one) for one in strip])
    inside = (labels != "") & (labels != "nan")
    ids, index = np.unique(labels[inside], return_inverse=True)
    ground = np.asarray(survey.ground)[inside]
    n, size = (np.bincount(index, weights=one, minlength=len(ids)) for one in (ground, ~ground))
    if (size > 0).sum() < 2 or (n > 0).sum() < 2:
        raise ValueError(
            f"{len(ids)} strips of which {int((n > 0).sum())} hold plots tell nothing of how strips differ; at least 2 are needed"
        )
    told = _column(survey, prediction)[inside]
    known = _column(survey, reduced)[inside] if reduced is not None else np.zeros(inside.sum())
    away = np.where(ground, 0.0, told - known)
    left = np.where(ground, np.asarray(survey.y, float)[inside] - told, 0.0)
    mean_away, mean_left = float(away[~ground].mean()), float(left[ground].mean())
    pull = _pull(np.bincount(index, weights=away, minlength=len(ids)), size, mean_away)
    pull += _pull(np.bincount(index, weights=left, minlength=len(ids)), n, mean_left)
    m = len(ids)
    return AreaEstimate(
        area, "strips", (reduced_mean or 0.0) + mean_away + mean_left, {"sampling": _between(pull)},
        float(m - 1), {"plots": int(ground.sum()), "clusters": m, "phase_1": int((~ground).sum())},
        notes=(f"strips are the units: {m} of them, {int((n > 0).sum())} with plots",),
    )  # fmt: skip


@estimator(auxiliaries="sampled", reference="Ståhl et al. 2011, doi:10.1139/X10-161; 2016, doi:10.1186/s40663-016-0064-9")
def hybrid(
    survey: Survey,
    *,
    prediction: str,
    gradient: Sequence[str],
    covariance: np.ndarray,
    model_degrees_of_freedom: float,
    strips_in_area: int | None = None,
    area: str = "all",
) -> AreaEstimate:
    """Mean of a model's predictions over strips that chance has drawn

    Parameters
    ----------
    survey : points of phase 1 (cells of the strips), each strip a cluster; `selection` says how strips were drawn, plots of
        the model do not matter
    prediction : auxiliary that holds what the model predicts
    gradient : auxiliaries (p) that hold the derivatives of the prediction with respect to the model's parameters
    covariance : (p, p) of the parameters, plots independent of which strips were drawn
    model_degrees_of_freedom : of that covariance, clusters of plots less one
    strips_in_area : strips that the area holds, where it was cut into so many and some drawn without replacement

    Notes
    -----
    mean = sum M P_c / sum M over strips of M points with mean prediction P_c; variance = (1 - m / strips in area) x
    sum (M / mean M)^2 (P_c - mean)^2 / (m (m - 1)) + g' Cov(b) g, g the mean gradient over the points. What the area itself has
    of residual is left out: it averages out over areas much larger than the reach of residuals.
    """
    level = clusters_of(survey, (prediction, *gradient), np.asarray(survey.phase) >= 1)
    if level.n < 2:
        raise ValueError(f"{level.n} strip tells nothing of how strips differ; at least 2 are needed")
    covariance = np.asarray(covariance, float)
    if covariance.shape != (len(gradient), len(gradient)):
        raise ValueError(f"covariance is {covariance.shape}, and there are {len(gradient)} gradients")
    flown = 1.0 if strips_in_area is None else 1 - level.n / strips_in_area
    if flown < 0:
        raise ValueError(f"{level.n} strips were flown and strips_in_area says {strips_in_area}")
    mean_gradient = level.mean_z[2:]
    between = flown * _between(_pull(level.size * level.z[:, 1], level.size, float(level.mean_z[1])))
    model = float(mean_gradient @ covariance @ mean_gradient)
    return AreaEstimate(
        area, "hybrid", float(level.mean_z[1]), {"auxiliary_means": between, "coefficients": model},
        satterthwaite([between, model], [level.n - 1, model_degrees_of_freedom]),
        {"clusters": level.n, "phase_1": int(level.size.sum())},
        notes=("the area's own mean residual is in no part: for areas much larger than the reach of residuals",),
    )  # fmt: skip


def survey_of_strips(
    model: TargetModel, predictors: Mapping[str, np.ndarray], *, date: int, strip: np.ndarray,
    selection: Literal["probability", "purposive", "unknown"] = "unknown",
) -> tuple[Survey, dict]:  # fmt: skip
    """A survey of strips (n cells) from a fitted model and its predictors, and the settings `hybrid` needs besides.

    Cells without a complete predictor set are left out. The covariance holds the parameters' sampling and shared errors.
    """
    found = model.predict(predictors, date)
    seen = found["set_number"] >= 0
    names = [f"d_{number}" for number in range(found["gradient"].shape[1])]
    columns = dict(zip(names, found["gradient"][seen].astype(float).T, strict=True))
    n = int(seen.sum())
    survey = Survey(
        np.full(n, np.nan), np.ones(n, int), {"prediction": found["mean"][seen], **columns}, cluster=np.asarray(strip)[seen],
        selection=selection,
    )  # fmt: skip
    return survey, {
        "prediction": "prediction", "gradient": names, "covariance": model.factors.T @ model.factors,
        "model_degrees_of_freedom": model.degrees_of_freedom,
    }  # fmt: skip


def _pull(total: np.ndarray, count: np.ndarray, mean: float) -> np.ndarray:
    """What each strip (m,) pulls a ratio of sums by, linearised: its sum less what the mean would make of its count."""
    return (total - count * mean) / count.mean()


def _between(pull: np.ndarray) -> float:
    """Variance of an estimate from what each of m strips pulls it by: sum u^2 / (m (m - 1))."""
    return float((pull**2).sum() / (len(pull) * (len(pull) - 1)))


def _column(survey: Survey, name: str) -> np.ndarray:
    if name not in survey.auxiliaries:
        raise ValueError(f"the survey has no auxiliary {name!r}; it has {', '.join(survey.auxiliaries) or 'none'}")
    return np.asarray(survey.auxiliaries[name], float)
