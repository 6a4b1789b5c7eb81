"""What a regression is told about itself once it is fitted, to plots (`fitted`) or to cells (`hierarchical`): whether dates
differ, how much each predictor counts, what hangs together in what it leaves unexplained."""

from __future__ import annotations

import numpy as np

from models.inference import position
from models.inference.residuals import between_dates, difference_sd, spatial_structure
from models.inference.target_model import Sample
from models.regressors import Regressor, regressor_named


def dates_differ(
    design: np.ndarray, y: np.ndarray, cluster: np.ndarray, penalised: np.ndarray, transform: str, level: float = 0.2
) -> bool:
    """Wald test of the date effects of a linear regression with the cluster covariance; a lenient level, because pooling
    wrongly costs more.

    Parameters
    ----------
    design : (n, predictors and dates after the first); y, cluster : (n,); penalised : (columns,) which are predictors
    """
    from scipy.stats import f

    machine, first = regressor_named("linear", transform=transform), 2 + int(penalised.sum())
    params = machine.fit(design, y, penalised)
    refits, _ = machine.without_each(design, y, cluster, penalised, params)
    change = (refits - params)[:, first:]
    covariance = (len(refits) - 1) / len(refits) * change.T @ change
    effect = params[first:]
    statistic = float(effect @ np.linalg.pinv(covariance) @ effect) / len(effect)
    return bool(f.sf(statistic, len(effect), max(len(refits) - 1, 1)) < level)


def residual_structure(
    residual: np.ndarray, gradient: np.ndarray, sample: Sample, wobbles: np.ndarray | None = None, told: np.ndarray | None = None
) -> dict:
    """How the residuals of fitted plots hang together in space and time, and how their change does.

    Levels are told by the rows `told` (all unless given), which leave out plots predicted bare; changes by all, for felled
    plots are bare.

    Size comes from plots left out; structure from plots fitted, because left-out residuals carry the parameters' error,
    which all plots share and which is counted elsewhere.

    Parameters
    ----------
    residual, gradient : (n,), (n, p) in target units, of the rows of `sample`
    wobbles : (n, k), optional: the plots' position errors, which no stand has, see `position.wobble`

    Returns
    -------
    dict
        `between_dates`, `change_scale`, `level` and `change`, as `residuals.Residuals` takes them.
    """
    told = np.arange(len(residual)) if told is None else told
    standard, seen = (residual / sample.sd)[told], sample.at(told)
    beside = None if wobbles is None else position.beside(wobbles[told], seen.sd, seen.plot)
    rho = between_dates(standard, seen.plot, seen.year, beside)
    together = np.where(seen.year[:, None] == seen.year[None, :], 1.0, rho)
    level = spatial_structure(
        standard, seen.xy, gradient[told] / seen.sd[:, None], seen.patch, together=together,
        plots=len(np.unique(seen.plot)), beside=beside,
    )  # fmt: skip
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
        apart = None if wobbles is None else position.beside(wobbles[late] - wobbles[early], sd, sample.plot[late])
        scale = found["change_scale"] = position.scale_beside(change, free, apart)
        found["change"] = spatial_structure(
            change / scale, sample.xy[late], columns / scale, sample.patch[late],
            beside=None if apart is None else apart / scale**2,
        )  # fmt: skip
    return found


def slopes(machine: Regressor, params: np.ndarray, design: np.ndarray, n_predictors: int) -> np.ndarray:
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


def gradients_of_change(gradient: np.ndarray, sample: Sample) -> np.ndarray:
    """Gradients of the change between the first and the last year at plots that were measured at both."""
    early, late = sample.pairs(int(sample.year.min()), int(sample.year.max()))
    return (gradient[late] - gradient[early]).astype(float)
