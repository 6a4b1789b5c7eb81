"""Small areas by mixed models: Battese-Harter-Fuller on plots, Fay-Herriot on areas. REML, with mean squared errors.

References
----------
Battese, Harter and Fuller 1988, Journal of the American Statistical Association 83:28-36, doi:10.1080/01621459.1988.10478561.
Fay and Herriot 1979, Journal of the American Statistical Association 74:269-277, doi:10.1080/01621459.1979.10482505.
Prasad and Rao 1990, Journal of the American Statistical Association 85:163-171, doi:10.1080/01621459.1990.10475320.
Rao 2003, Small Area Estimation, Wiley, doi:10.1002/0471722189 (chapter 7: area-specific mean squared errors).
Breidenbach and Astrup 2012, European Journal of Forest Research 131:1255-1267, doi:10.1007/s10342-012-0596-7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from models.inference.area_estimate import AreaEstimate
from models.inference.registry import estimator
from models.inference.survey import Survey

Mse = Literal["prasad_rao", "area_specific_1", "area_specific_2"]
FEW_AREAS = 5


@dataclass(frozen=True)
class UnitModel:
    """y = x' b + v_area + e, e of standard deviation k x residual_sd, fitted by REML.

    Attributes
    ----------
    areas : (m,) labels of the areas with plots; n : (m,) plots; a : (m,) sum of 1 / k^2
    mean_y, mean_x : (m,), (m, p) means weighted by 1 / k^2
    b : (p,) coefficients, intercept first; covariance : (p, p)
    area_variance, residual_variance : REML; information : (2, 2) of those two
    """

    areas: np.ndarray
    n: np.ndarray
    a: np.ndarray
    mean_y: np.ndarray
    mean_x: np.ndarray
    b: np.ndarray
    covariance: np.ndarray
    area_variance: float
    residual_variance: float
    information: np.ndarray

    @property
    def gamma(self) -> np.ndarray:
        """(m,) weight of the area's own mean residual."""
        return self.area_variance / (self.area_variance + self.residual_variance / self.a)


def fit_unit_model(y: np.ndarray, X: np.ndarray, area: np.ndarray, k: np.ndarray | None = None) -> UnitModel:
    """Fit the model of Battese, Harter and Fuller by REML.

    Parameters
    ----------
    y : (n,); X : (n, p) with its intercept; area : (n,) labels
    k : (n,) relative residual standard deviations, positive; None for 1 everywhere

    Raises
    ------
    ValueError
        With one area, with no more areas holding two plots, or with fewer plots than the model has parameters.
    """
    labels, index = np.unique(area, return_inverse=True)
    n, p = X.shape
    if len(labels) < 3 or n < p + 3 or n == len(labels):
        raise ValueError(
            f"{n} plots in {len(labels)} areas do not tell variance within areas from variance between them; at least 3 areas, "
            f"{p + 3} plots and one area with two plots are needed"
        )
    weight = np.ones(n) if k is None else 1 / np.asarray(k, float) ** 2
    counts = np.bincount(index)
    a = np.bincount(index, weights=weight)
    mean_y = np.bincount(index, weights=weight * y) / a
    mean_x = np.column_stack([np.bincount(index, weights=weight * column) / a for column in X.T])
    stack = np.column_stack([X, y])
    means = np.column_stack([mean_x, mean_y])
    total = stack.T @ (stack * weight[:, None])

    def moments(ratio: float) -> np.ndarray:
        """Cross products of [X, y] with the inverse covariance, in units of the residual variance."""
        shrink = a * (a * ratio / (1 + a * ratio))
        return total - means.T @ (means * shrink[:, None])

    def deviance(ratio: float) -> float:
        cross = moments(ratio)
        sign, logdet = np.linalg.slogdet(cross[:p, :p])
        squares = cross[p, p] - cross[:p, p] @ np.linalg.solve(cross[:p, :p], cross[:p, p])
        return (n - p) * np.log(max(squares, 1e-300)) + np.log1p(a * ratio).sum() + (logdet if sign > 0 else np.inf)

    ratio = _lowest(deviance, scale=1 / a.mean())
    cross = moments(ratio)
    b = np.linalg.solve(cross[:p, :p], cross[:p, p])
    residual_variance = float((cross[p, p] - cross[:p, p] @ b) / (n - p))
    area_variance = ratio * residual_variance
    alpha = residual_variance + a * area_variance
    between = 0.5 * (a / alpha**2).sum()
    within = 0.5 * ((counts - 1) / residual_variance**2 + 1 / alpha**2).sum()
    information = np.array([[0.5 * (a**2 / alpha**2).sum(), between], [between, within]])
    covariance = np.linalg.inv(cross[:p, :p]) * residual_variance
    return UnitModel(
        labels, counts, a, mean_y, mean_x, b, covariance, float(area_variance), residual_variance, information
    )


def _lowest(deviance, scale: float) -> float:
    """The ratio of variances, 0 included, with the lowest deviance: a grid of its logarithm, then Brent's method."""
    grid = scale * np.logspace(-5, 5, 101)
    values = np.array([deviance(ratio) for ratio in grid])
    best = int(values.argmin())
    bounds = np.log([grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]])
    found = minimize_scalar(lambda u: deviance(float(np.exp(u))), bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return 0.0 if deviance(0.0) <= found.fun + 1e-9 else float(np.exp(found.x))


@estimator(
    probability_sample=False,
    auxiliaries="exhaustive",
    areas=True,
    reference="Battese, Harter and Fuller 1988, doi:10.1080/01621459.1988.10478561",
)
def bhf_eblup(
    survey: Survey,
    *,
    auxiliaries: Sequence[str],
    means: Mapping[str, Mapping[str, float]],
    residual_scale: np.ndarray | None = None,
    mse: Mse = "prasad_rao",
) -> dict[str, AreaEstimate]:
    """Unit-level EBLUP (Battese-Harter-Fuller): the model, and as much of an area's own residual as its plots deserve

    Parameters
    ----------
    means : area -> auxiliary -> mean over the area; areas without plots are estimated synthetically with their area effect
    residual_scale : (points,) relative residual standard deviation k of each point (heteroscedastic); None for 1
    mse : prasad_rao g1 + g2 + 2 g3; area_specific_1 g1 + g2 + 2 g3*; area_specific_2 g1 + g2 + g3 + g3*, where g3* looks at
        the area's own residual. All three are in the result

    Returns
    -------
    dict of area -> AreaEstimate, in the order of `means`
    """
    ground = survey.ground
    columns = []
    for name in auxiliaries:
        if name not in survey.auxiliaries:
            raise ValueError(f"the survey has no auxiliary {name!r}; it has {', '.join(survey.auxiliaries) or 'none'}")
        columns.append(np.asarray(survey.auxiliaries[name], float)[ground])
    X = np.column_stack([np.ones(int(ground.sum())), *columns])
    labels = np.asarray(survey.area)[ground].astype(str)
    scale = None if residual_scale is None else np.asarray(residual_scale, float)[ground]
    model = fit_unit_model(survey.y[ground], X, labels, scale)
    place = {label: number for number, label in enumerate(model.areas)}
    results = {}
    for area, known in means.items():
        missing = [name for name in auxiliaries if name not in known]
        if missing:
            raise ValueError(f"the mean of auxiliary {missing[0]!r} over area {area!r} is not given")
        x = np.array([1.0, *(float(known[name]) for name in auxiliaries)])
        results[str(area)] = _unit_estimate(str(area), x, place.get(str(area)), model, mse)
    return results


def _unit_estimate(area: str, x: np.ndarray, row: int | None, model: UnitModel, mse: Mse) -> AreaEstimate:
    v, e = model.area_variance, model.residual_variance
    spread = _inverse_or_nan(model.information)
    notes = _area_notes(len(model.areas), v)
    if row is None:
        parts = _without_plots(v, float(x @ model.covariance @ x), float(np.sqrt(spread[0, 0])))
        counts = {"plots": 0, "areas": len(model.areas), "model_plots": int(model.n.sum())}
        note = "no plots in the area: the model's mean, with the whole area effect in its error"
        freedom = _component_freedom(sum(parts.values()), np.array([1.0, 0.0]), spread)
        return AreaEstimate(area, "bhf_eblup", float(x @ model.b), parts, freedom, counts, {}, (note, *notes))
    a, gamma = model.a[row], model.gamma[row]
    own = float(model.mean_y[row] - model.mean_x[row] @ model.b)
    away = x - gamma * model.mean_x[row]
    g1 = float(gamma * e / a)
    g2 = float(away @ model.covariance @ away)
    h = e**2 * spread[0, 0] + v**2 * spread[1, 1] - 2 * e * v * spread[0, 1]
    g3 = float(h / (a**2 * (v + e / a) ** 3))
    g3_star = float(h * own**2 / (a**2 * (v + e / a) ** 4))
    every = {"prasad_rao": 2 * g3, "area_specific_1": 2 * g3_star, "area_specific_2": g3 + g3_star}
    if mse not in every:
        raise ValueError(f"mse is {', '.join(every)}; got {mse!r}")
    parts = {"area_effect": g1, "coefficients": g2, "variance_components": every[mse]}
    slope = np.array([e**2, a * v**2]) / (e + a * v) ** 2  # of g1 with respect to the two variances
    counts = {"plots": int(model.n[row]), "areas": len(model.areas), "model_plots": int(model.n.sum())}
    others = {name: g1 + g2 + third for name, third in every.items() if name != mse}
    freedom = _component_freedom(sum(parts.values()), slope, spread)
    return AreaEstimate(area, "bhf_eblup", float(x @ model.b) + float(gamma) * own, parts, freedom, counts, others, notes)


@dataclass(frozen=True)
class DirectEstimates:
    """Areas with estimates of their own: labels (m,), means (m,), sampling variances (m,), auxiliaries (m, p) without intercept.

    An area without plots has a NaN mean.
    """

    area: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    auxiliaries: np.ndarray


@dataclass(frozen=True)
class AreaModel:
    """Direct = x' b + v + sampling error: b (p,), its covariance, the area variance and the information about it."""

    b: np.ndarray
    covariance: np.ndarray
    area_variance: float
    information: float


def fit_area_model(mean: np.ndarray, variance: np.ndarray, X: np.ndarray) -> AreaModel:
    """Fit the model of Fay and Herriot by REML; X (m, p) has its intercept."""
    m, p = X.shape
    if m < p + 2:
        raise ValueError(f"{m} areas with estimates of their own for {p} coefficients: at least {p + 2} are needed")
    if not (np.isfinite(variance) & (variance > 0)).all():
        raise ValueError("every direct estimate needs a sampling variance above 0; an area with one plot has none: pool it")

    def solved(v: float) -> tuple[np.ndarray, np.ndarray, float]:
        w = 1 / (v + variance)
        cross = X.T @ (X * w[:, None])
        b = np.linalg.solve(cross, X.T @ (w * mean))
        return b, cross, float((w * (mean - X @ b) ** 2).sum())

    def deviance(v: float) -> float:
        _, cross, squares = solved(v)
        return float(np.log(v + variance).sum() + np.linalg.slogdet(cross)[1] + squares)

    v = _lowest(deviance, scale=float(np.median(variance)))
    b, cross, _ = solved(v)
    return AreaModel(b, np.linalg.inv(cross), v, float(0.5 * (1 / (v + variance) ** 2).sum()))


@estimator(
    probability_sample=False,
    auxiliaries="exhaustive",
    areas=True,
    reference="Fay and Herriot 1979, doi:10.1080/01621459.1979.10482505",
)
def fay_herriot(direct: DirectEstimates) -> dict[str, AreaEstimate]:
    """Area-level EBLUP (Fay-Herriot): direct estimates drawn towards a regression on the areas' auxiliaries

    Notes
    -----
    mean = gamma direct + (1 - gamma) x' b, gamma = v / (v + psi); MSE = g1 + g2 + 2 g3 (REML).
    """
    seen = np.isfinite(direct.mean)
    X = np.column_stack([np.ones(len(direct.mean)), direct.auxiliaries])
    model = fit_area_model(direct.mean[seen], direct.variance[seen], X[seen])
    v, notes = model.area_variance, _area_notes(int(seen.sum()), model.area_variance)
    spread = np.array([[1 / model.information]])
    results = {}
    for label, mean, psi, x in zip(direct.area, direct.mean, direct.variance, X, strict=True):
        counts = {"areas": int(seen.sum())}
        if not np.isfinite(mean):
            parts = _without_plots(v, float(x @ model.covariance @ x), float(np.sqrt(spread[0, 0])))
            freedom = _component_freedom(sum(parts.values()), np.array([1.0]), spread)
            note = "no estimate of the area's own: the regression's mean, with the whole area effect in its error"
            estimate = float(x @ model.b)
            results[str(label)] = AreaEstimate(str(label), "fay_herriot", estimate, parts, freedom, counts, {}, (note, *notes))
            continue
        gamma = v / (v + psi)
        g1, g2 = gamma * psi, (1 - gamma) ** 2 * float(x @ model.covariance @ x)
        g3 = psi**2 / (v + psi) ** 3 / model.information
        parts = {"area_effect": float(g1), "coefficients": g2, "variance_components": float(2 * g3)}
        freedom = _component_freedom(sum(parts.values()), np.array([(psi / (v + psi)) ** 2]), spread)
        estimate = gamma * mean + (1 - gamma) * float(x @ model.b)
        results[str(label)] = AreaEstimate(str(label), "fay_herriot", float(estimate), parts, freedom, counts, {}, notes)
    return results


def _without_plots(v: float, coefficients: float, v_se: float) -> dict[str, float]:
    """Parts for an area without plots. REML often says that areas do not differ at all where they are few; nothing averages that
    mistake out, so the area effect counts with no less than one standard error of its variance."""
    return {"area_effect": v, "coefficients": coefficients, "variance_components": max(v_se - v, 0.0)}


def _component_freedom(mse: float, slope: np.ndarray, spread: np.ndarray) -> float:
    """Satterthwaite: twice the squared MSE over its variance, from the covariance of the variance components."""
    variance = float(slope @ spread @ slope)
    return max(2 * mse**2 / variance, 1.0) if variance > 0 else float("inf")


def _inverse_or_nan(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


def _area_notes(areas: int, area_variance: float) -> tuple[str, ...]:
    notes = []
    if area_variance == 0:
        notes.append("areas differ no more than their plots would by chance: the area variance is estimated as zero")
    if areas < FEW_AREAS:
        notes.append(f"only {areas} areas tell the variance between areas")
    return tuple(notes)
