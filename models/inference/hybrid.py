"""Hybrid inference: lidar strips drawn as a probability sample, and a model from plots that need not be one.

What chance decides is which strips were flown; what a model says is how much stands under them. The mean of the predictions
over the strips errs because other strips might have been drawn, and because the model was fitted to few plots: both add up.

References
----------
Ståhl et al. 2011, Canadian Journal of Forest Research 41:96-107, doi:10.1139/X10-161.
Ståhl et al. 2016, Forest Ecosystems 3:5, doi:10.1186/s40663-016-0064-9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.expansion import satterthwaite
from models.inference.registry import estimator
from models.inference.survey import Survey, clusters_of, spread_of_mean
from models.inference.target_model import TargetModel


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
    between = flown * spread_of_mean(level.z[:, 1], level.size) / level.n
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
