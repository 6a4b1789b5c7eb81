"""Height-diameter models: what an unmeasured height is likely to be, and how wrong that may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

BREAST_HEIGHT_M = 1.3
MIN_PAIRS = 10
FREE = 6.0  # standard deviations above breast height from which on it bears on nothing
FOLDS = 10  # of the cross-validation that chooses a model


@dataclass(frozen=True)
class Curve:
    """A height-diameter form: mean (n,), derivatives by parameters (n, p) and by dbh (n,), and where a fit starts.

    `logarithmic` forms give ln H and keep their residual on that scale.
    """

    parameters: tuple[str, ...]
    mean: Callable[[np.ndarray, np.ndarray], np.ndarray]
    by_parameter: Callable[[np.ndarray, np.ndarray], np.ndarray]
    by_dbh: Callable[[np.ndarray, np.ndarray], np.ndarray]
    start: Callable[[np.ndarray, np.ndarray], np.ndarray]
    logarithmic: bool = False


def _michailoff_by_parameter(p: np.ndarray, dbh: np.ndarray) -> np.ndarray:
    share = np.exp(-p[1] / dbh)
    return np.column_stack([share, -p[0] * share / dbh])


def _weibull_by_parameter(p: np.ndarray, dbh: np.ndarray) -> np.ndarray:
    scaled = (dbh / p[1]) ** p[2]
    fall = np.exp(-scaled)
    return np.column_stack([1 - fall, -p[0] * fall * scaled * p[2] / p[1], p[0] * fall * scaled * np.log(dbh / p[1])])


def _naslund_by_parameter(p: np.ndarray, dbh: np.ndarray) -> np.ndarray:
    below = p[0] + p[1] * dbh
    return np.column_stack([-2 * dbh**2 / below**3, -2 * dbh**3 / below**3])


def _naslund_start(dbh: np.ndarray, height: np.ndarray) -> np.ndarray:
    """The line that the curve is: D / sqrt(H - 1.3) = a + b D."""
    low = np.sqrt(np.maximum(height - BREAST_HEIGHT_M, 0.1))
    slope, intercept = np.polyfit(dbh, dbh / low, 1)
    return np.array([max(intercept, 0.1), max(slope, 0.01)])


def _loglog1_design(dbh: np.ndarray) -> np.ndarray:
    logarithm = np.log(dbh)
    return np.column_stack([np.ones_like(logarithm), logarithm])


def _loglog2_design(dbh: np.ndarray) -> np.ndarray:
    logarithm = np.log(dbh)
    return np.column_stack([np.ones_like(logarithm), logarithm, logarithm**2])


CURVES: dict[str, Curve] = {
    # H = 1.3 + a exp(-b / D): Michailoff 1943
    "michailoff": Curve(
        parameters=("a", "b"),
        mean=lambda p, dbh: BREAST_HEIGHT_M + p[0] * np.exp(-p[1] / dbh),
        by_parameter=_michailoff_by_parameter,
        by_dbh=lambda p, dbh: p[0] * np.exp(-p[1] / dbh) * p[1] / dbh**2,
        start=lambda dbh, height: np.array([max(np.quantile(height, 0.95), 2.0), np.median(dbh) / 2]),
    ),
    # H = 1.3 + a (1 - exp(-(D / b)^c)): Weibull 1951
    "weibull": Curve(
        parameters=("a", "b", "c"),
        mean=lambda p, dbh: BREAST_HEIGHT_M + p[0] * -np.expm1(-((dbh / p[1]) ** p[2])),
        by_parameter=_weibull_by_parameter,
        by_dbh=lambda p, dbh: p[0] * np.exp(-((dbh / p[1]) ** p[2])) * (dbh / p[1]) ** p[2] * p[2] / dbh,
        start=lambda dbh, height: np.array([max(1.2 * np.quantile(height, 0.95), 2.0), np.median(dbh), 0.9]),
    ),
    # H = 1.3 + D^2 / (a + b D)^2: Naslund 1936
    "naslund": Curve(
        parameters=("a", "b"),
        mean=lambda p, dbh: BREAST_HEIGHT_M + dbh**2 / (p[0] + p[1] * dbh) ** 2,
        by_parameter=_naslund_by_parameter,
        by_dbh=lambda p, dbh: 2 * p[0] * dbh / (p[0] + p[1] * dbh) ** 3,
        start=_naslund_start,
    ),
    # ln H = a + b ln D
    "loglog1": Curve(
        parameters=("a", "b"),
        mean=lambda p, dbh: _loglog1_design(dbh) @ p,
        by_parameter=lambda p, dbh: _loglog1_design(dbh),
        by_dbh=lambda p, dbh: p[1] / dbh,
        start=lambda dbh, height: np.array([np.log(np.median(height)), 0.0]),
        logarithmic=True,
    ),
    # ln H = a + b ln D + c (ln D)^2
    "loglog2": Curve(
        parameters=("a", "b", "c"),
        mean=lambda p, dbh: _loglog2_design(dbh) @ p,
        by_parameter=lambda p, dbh: _loglog2_design(dbh),
        by_dbh=lambda p, dbh: (p[1] + 2 * p[2] * np.log(dbh)) / dbh,
        start=lambda dbh, height: np.array([np.log(np.median(height)), 0.0, 0.0]),
        logarithmic=True,
    ),
}
"""The models by name: one place to add one."""


@dataclass(frozen=True)
class Departure:
    """How far a plot's curve lies above the common one, on the model's scale, from the trees measured in it.

    shift : best linear unbiased prediction, the mean residual shrunken towards zero
    sd : standard deviation of what remains unknown of it
    by_parameter : derivative of the shift by each parameter of the common curve (p,)
    """

    shift: float
    sd: float
    by_parameter: np.ndarray


@dataclass(frozen=True)
class HeightModel:
    """A fitted height-diameter model: a common curve, and where plots were told apart, each plot's departure from it.

    residual_sd : spread of trees around their plot's curve, m (of ln H for a logarithmic form)
    between_sd : spread of plots' curves around the common one, same scale; 0 when plots were not told apart
    departures : by plot; a plot without measured heights has none and takes the common curve

    Methods take dbh, cm (n,), and the plot of each tree (n,) where known; missing dbh gives missing.
    """

    name: str
    params: np.ndarray
    covariance: np.ndarray
    residual_sd: float
    between_sd: float
    pairs: int
    dbh_range_cm: tuple[float, float]
    departures: Mapping[str, Departure] = field(default_factory=dict)

    @property
    def curve(self) -> Curve:
        return CURVES[self.name]

    def height(self, dbh_cm: np.ndarray, plots: np.ndarray | None = None) -> np.ndarray:
        """Expected height, m (of a logarithmic form the mean, not the median: Baskerville 1972).

        A tree that has a diameter at breast height is at least that high, wherever the curve and its shift would put it.
        """
        return np.maximum(self._unbounded(dbh_cm, plots), BREAST_HEIGHT_M)

    def _unbounded(self, dbh_cm: np.ndarray, plots: np.ndarray | None) -> np.ndarray:
        shift, between, _ = self._departures(dbh_cm, plots)
        mean = self.curve.mean(self.params, np.asarray(dbh_cm, dtype="float64")) + shift
        return np.exp(mean + (self.residual_sd**2 + between**2) / 2) if self.curve.logarithmic else mean

    def _moves(self, dbh_cm: np.ndarray, plots: np.ndarray | None) -> np.ndarray:
        """Whether the expected height follows the curve (n,), or rests on breast height."""
        return ~(self._unbounded(dbh_cm, plots) < BREAST_HEIGHT_M)

    def by_parameter(self, dbh_cm: np.ndarray, plots: np.ndarray | None = None) -> np.ndarray:
        """Derivative of the expected height by each parameter (n, p)."""
        _, _, shifts = self._departures(dbh_cm, plots)
        slopes = self.curve.by_parameter(self.params, np.asarray(dbh_cm, dtype="float64")) + shifts
        slopes = slopes * self._moves(dbh_cm, plots)[:, None]
        return slopes * self.height(dbh_cm, plots)[:, None] if self.curve.logarithmic else slopes

    def by_dbh(self, dbh_cm: np.ndarray, plots: np.ndarray | None = None) -> np.ndarray:
        """Derivative of the expected height by dbh, m/cm."""
        slope = self.curve.by_dbh(self.params, np.asarray(dbh_cm, dtype="float64")) * self._moves(dbh_cm, plots)
        return slope * self.height(dbh_cm, plots) if self.curve.logarithmic else slope

    def residual_sd_m(self, dbh_cm: np.ndarray, plots: np.ndarray | None = None) -> np.ndarray:
        """Standard deviation of a tree's height around its plot's curve, m; see `above_breast_height`."""
        return self.above_breast_height(np.full(len(dbh_cm), self.residual_sd), dbh_cm, plots)[1]

    def between_sd_m(self, dbh_cm: np.ndarray, plots: np.ndarray | None = None) -> np.ndarray:
        """Standard deviation of what is unknown of a plot's departure from the common curve, m; see `above_breast_height`."""
        return self.above_breast_height(self._departures(dbh_cm, plots)[1], dbh_cm, plots)[1]

    def above_breast_height(
        self, sd: np.ndarray, dbh_cm: np.ndarray, plots: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """How errors of `sd` (n,), on the model's scale, stay above breast height around a height that is still the mean.

        A spread of 1 m, which trees of all sizes gave, would put half of the stems of 1 cm below 1.3 m, where they have no
        diameter to be measured; and cut off there alone it would raise the others' mean. What is drawn above breast height is
        therefore cut off at it and brought down by one share, to the mean that the curve gives.

        Returns
        -------
        share (n,)
            1 for all but thin stems.
        spread (n,)
            Standard deviation that is left, m.
        """
        from scipy.stats import norm

        height = self.height(dbh_cm, plots)
        lift = height - BREAST_HEIGHT_M
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.curve.logarithmic:
                whole = height * np.sqrt(np.expm1(sd**2))
                above = (np.log(height / BREAST_HEIGHT_M) + sd**2 / 2) / sd
                one, two, far = norm.cdf(above), norm.cdf(above - sd), norm.cdf(above + sd)
                mean = height * one - BREAST_HEIGHT_M * two
                square = height**2 * np.exp(sd**2) * far - 2 * BREAST_HEIGHT_M * height * one + BREAST_HEIGHT_M**2 * two
            else:
                whole, above = sd, lift / sd
                one, density = norm.cdf(above), norm.pdf(above)
                mean = lift * one + sd * density
                square = (lift**2 + sd**2) * one + lift * sd * density
            share = lift / mean
            spread = share * np.sqrt(np.maximum(square - mean**2, 0.0))
        free = ~(above < FREE) | ~np.isfinite(spread)
        return np.where(free, 1.0, share), np.where(free, whole, spread)

    def departures_of(self, plots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shift (n,) on the model's scale, its standard deviation (n,) and its derivatives by the parameters (n, p)."""
        return self._departures(plots, plots)

    def _departures(self, dbh_cm: np.ndarray, plots: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shift (n,), its standard deviation (n,) and its derivatives by the parameters (n, p) of each tree's plot."""
        none = Departure(0.0, self.between_sd, np.zeros(len(self.params)))
        names = np.full(len(dbh_cm), "") if plots is None else np.asarray(plots).astype(str)
        unique, member = np.unique(names, return_inverse=True)
        found = [self.departures.get(name, none) for name in unique.tolist()] or [none]
        shift, sd = np.array([one.shift for one in found]), np.array([one.sd for one in found])
        return shift[member], sd[member], np.array([one.by_parameter for one in found])[member]


def fit_heights(
    dbh_cm: np.ndarray,
    height_m: np.ndarray,
    *,
    model: str,
    plots: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> HeightModel:
    """A height-diameter model fitted by (weighted) least squares.

    Parameters
    ----------
    dbh_cm, height_m : array (n,)
        Measured pairs; pairs with a missing part are left out.
    model : str
        One of `CURVES`.
    plots : array (n,), optional
        The plot (or visit) of each pair. The variance between plots is then estimated from their mean residuals
        (analysis of variance), the parameters' covariance is that of least squares with errors that pairs of a plot have in
        common, and each plot's own departure is predicted from its trees.
    weights : array (n,), optional
        Weights that depend on the height itself (such as D^2 H) favour tall trees of a diameter and raise the curve
        by about the squared coefficient of variation of height; weights by diameter alone do not.

    Raises
    ------
    ValueError
        For an unknown model, fewer than 10 pairs, or pairs that the model cannot follow.
    """
    if model not in CURVES:
        raise ValueError(f"height model {model!r} is not one of {', '.join(CURVES)}")
    dbh, height = np.asarray(dbh_cm, dtype="float64"), np.asarray(height_m, dtype="float64")
    complete = np.isfinite(dbh) & np.isfinite(height)
    dbh, height = dbh[complete], height[complete]
    if len(dbh) < MIN_PAIRS:
        raise ValueError(f"a height model needs at least {MIN_PAIRS} trees with dbh and height, got {len(dbh)}")
    root = np.ones(len(dbh)) if weights is None else np.sqrt(np.asarray(weights, dtype="float64")[complete])
    root = root / np.sqrt((root**2).mean())
    params, slopes, residual = _fitted_curve(model, dbh, height, root)
    total = (residual**2).sum() / (len(dbh) - len(params))
    labels = None if plots is None else np.asarray(plots)[complete].astype(str)
    within, between = _variances(residual, labels, total)
    weighted = slopes * root[:, None] ** 2
    bread = np.linalg.inv(slopes.T @ weighted)
    meat = within * weighted.T @ weighted
    if between > 0:  # what a plot has in common moves the sum of its pairs' slopes: the height of the curve more than its shape
        _, member = np.unique(labels, return_inverse=True)
        of_plots = np.column_stack([np.bincount(member, column) for column in weighted.T])
        meat = meat + between * of_plots.T @ of_plots
    covariance = bread @ meat @ bread
    return HeightModel(
        name=model,
        params=params,
        covariance=(covariance + covariance.T) / 2,
        residual_sd=float(np.sqrt(within)),
        between_sd=float(np.sqrt(between)),
        pairs=len(dbh),
        dbh_range_cm=(float(dbh.min()), float(dbh.max())),
        departures={} if between == 0 else _predicted_departures(residual, slopes, labels, within, between),
    )


@dataclass(frozen=True)
class Selection:
    """What cross-validation said of the height models, the best first: error per model, m, and why others could not be fitted.

    by : what was left out together, `plots` or `trees`
    """

    rmse_m: Mapping[str, float]
    failed: Mapping[str, str]
    by: str

    @property
    def best(self) -> str:
        return next(iter(self.rmse_m))


def select_heights(dbh_cm: np.ndarray, height_m: np.ndarray, *, plots: np.ndarray | None = None) -> Selection:
    """The height-diameter models ordered by the error of heights that each model had not seen.

    Parameters
    ----------
    dbh_cm, height_m, plots
        As of `fit_heights`. Where at least ten plots have pairs, whole plots are left out, in ten parts, since heights
        of unmeasured plots are what is asked for; else every tenth tree in order of diameter.

    Raises
    ------
    ValueError
        When no model follows the pairs.
    """
    dbh, height = np.asarray(dbh_cm, dtype="float64"), np.asarray(height_m, dtype="float64")
    complete = np.isfinite(dbh) & np.isfinite(height)
    dbh, height = dbh[complete], height[complete]
    if len(dbh) < MIN_PAIRS:
        raise ValueError(f"a height model needs at least {MIN_PAIRS} trees with dbh and height, got {len(dbh)}")
    names = None if plots is None else np.unique(np.asarray(plots)[complete].astype(str), return_inverse=True)
    by = "plots" if names is not None and len(names[0]) >= FOLDS else "trees"
    rank = np.empty(len(dbh), dtype=int)
    rank[np.argsort(dbh, kind="stable")] = np.arange(len(dbh))
    fold = (names[1] if by == "plots" else rank) % FOLDS
    rmse, failed = {}, {}
    for model in CURVES:
        try:
            rmse[model] = _left_out_rmse(dbh, height, fold, model)
        except ValueError as error:
            failed[model] = str(error)
    if not rmse:
        raise ValueError("; ".join(dict.fromkeys(failed.values())))
    ordered = sorted(rmse, key=lambda name: (rmse[name], len(CURVES[name].parameters)))
    return Selection({name: rmse[name] for name in ordered}, failed, by)


def _left_out_rmse(dbh: np.ndarray, height: np.ndarray, fold: np.ndarray, model: str) -> float:
    squares = 0.0
    for part in np.unique(fold):
        out = fold == part
        fitted = fit_heights(dbh[~out], height[~out], model=model)
        squares += float(((fitted.height(dbh[out]) - height[out]) ** 2).sum())
    return float(np.sqrt(squares / len(dbh)))


def _fitted_curve(
    model: str, dbh: np.ndarray, height: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters (p,), their gradient at each pair (n, p) and residuals (n,) on the curve's scale; `root` of the weights."""
    from scipy.optimize import least_squares

    curve = CURVES[model]
    response = np.log(height) if curve.logarithmic else height
    fit = least_squares(
        lambda p: (curve.mean(p, dbh) - response) * root,
        curve.start(dbh, height),
        jac=lambda p: curve.by_parameter(p, dbh) * root[:, None],
        bounds=(-np.inf if curve.logarithmic else 1e-3, np.inf),
        x_scale="jac",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    slopes = curve.by_parameter(fit.x, dbh)
    at_bound = not curve.logarithmic and (fit.x < 2e-3).any()
    if not fit.success or np.linalg.matrix_rank(slopes) < len(fit.x) or at_bound:
        raise ValueError(
            f"the {model} model does not follow the {len(dbh)} measured heights; look at them, or try another"
        )
    return fit.x, slopes, response - curve.mean(fit.x, dbh)


def _predicted_departures(
    residual: np.ndarray, slopes: np.ndarray, labels: np.ndarray, within: float, between: float
) -> dict[str, Departure]:
    names, member, count = np.unique(labels, return_inverse=True, return_counts=True)
    trust = count * between / (count * between + within)
    shift = trust * np.bincount(member, residual) / count
    turn = -np.column_stack([trust * np.bincount(member, column) / count for column in slopes.T])
    sd = np.sqrt(between * (1 - trust))
    return {name: Departure(float(shift[k]), float(sd[k]), turn[k]) for k, name in enumerate(names.tolist())}


def _variances(residual: np.ndarray, plots: np.ndarray | None, total: float) -> tuple[float, float]:
    """Variance within and between plots by one-way analysis of variance."""
    if plots is None:
        return total, 0.0
    _, member, count = np.unique(plots, return_inverse=True, return_counts=True)
    groups, n = len(count), len(residual)
    if groups < 2 or n - groups < MIN_PAIRS:
        return total, 0.0
    mean = np.bincount(member, residual) / count
    within = ((residual - mean[member]) ** 2).sum() / (n - groups)
    typical = (n - (count**2).sum() / n) / (groups - 1)
    between = ((count * (mean - residual.mean()) ** 2).sum() / (groups - 1) - within) / typical
    if between <= 0:
        return total, 0.0
    return float(within), float(between)
