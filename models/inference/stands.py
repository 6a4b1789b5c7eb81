"""Stands and projects: mean, total, standard error and interval from sums over pixels.

The error of a region's mean is what the plots' residuals do to the parameters, minus the region's own mean residual.
Both come from one correlated field, so they are taken together: plots near a stand pull the model towards it, and over a
whole region residuals that reach far are partly in the intercept already. The cluster jackknife, which assumes no
structure, is a floor under the result. Errors that all plots share (allometry, height model, wood density) come on top.
Residuals belong to the plot's area: the nugget part is s^2 x nugget x plot area / area, never divided by pixels.
Where a set learned from another's predictions, two fields that have nothing to do with each other add up: what the first
stage leaves unexplained of the plots, and what the second leaves unexplained of the first (`models.inference.hierarchical`).

What the plots do to a mean is linear in its gradient, so their part is a quadratic form that is made once for all stands
(`models.inference.effects`); what a stand does by itself is an integral over an ellipse of its area and second moment
(`models.inference.regions`). Plots seldom tell how far residuals reach: the variance is the mean over all readings of them,
and where the readings differ degrees of freedom are few. Stands are estimated by many at once, as arrays.

References
----------
Breidenbach et al. 2016, Remote Sensing of Environment 173:274-281, doi:10.1016/j.rse.2015.07.026 (model-based stand
variances with heteroscedastic, spatially correlated residuals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from models.inference.effects import Asked, Told, effects_of, parameters_moved, pull_of
from models.inference.regions import Regions, lattice, lattices
from models.inference.residuals import FEWEST_BY_READINGS
from models.inference.target_model import TargetModel

__all__ = ["Estimate", "RegionEstimator", "Regions", "Sums", "lattice", "lattices"]

AT_ONCE = 1000
"""Stands that are estimated in one go."""


@dataclass(frozen=True)
class Sums:
    """What a region's pixels add up to, hectare-weighted, for one estimand; or those of n regions, with a first axis (n, ...).

    covered_ha : area with an estimate; value, s and gradient sums run over it
    set_ha, s, s2 : per predictor set (k,); gradient : per parameter (p,)
    once : of a change, the sums of the stock of the earlier and of the later date over land where it is all that a set says of
        the change, for it is no forest at the other date; `covered_ha` as of the whole. There the set leaves unexplained what it
        does of that stock: `s` and `s2` are of other land, `value`, `set_ha` and `gradient` of all
    places : of a change, where pixels are that a set serves (4,): hectares, hectares times row, times column, and times the sum
        of their squares
    """

    covered_ha: float | np.ndarray
    value: float | np.ndarray
    set_ha: np.ndarray
    s: np.ndarray
    s2: np.ndarray
    gradient: np.ndarray
    once: tuple[Sums, Sums] | None = None
    places: np.ndarray | None = None

    def filling(self, area_ha: float | np.ndarray) -> Sums:
        """The sums as if the covered part stood for the whole area, so that stands add up to their totals."""
        factor = area_ha / self.covered_ha
        each = np.asarray(factor)[..., None]
        return Sums(
            area_ha,
            self.value * factor,
            self.set_ha * each,
            self.s * each,
            self.s2 * each**2,  # the nugget averages out over what was seen, not over what it stands for
            self.gradient * each,
            self.once and tuple(part.filling(area_ha) for part in self.once),
            self.places,
        )

    def __getitem__(self, rows: int | slice | np.ndarray) -> Sums:
        """Those of some of n regions, or of one."""
        once = self.once and tuple(part[rows] for part in self.once)
        return Sums(*(getattr(self, name)[rows] for name in ADDED), once, None if self.places is None else self.places[rows])

    def together(self) -> Sums:
        """Those of n regions, as of one region."""
        once = self.once and tuple(part.together() for part in self.once)
        return Sums(*(np.sum(getattr(self, name), axis=0)[None] for name in ADDED), once)

    @classmethod
    def stacked(cls, parts: Sequence[Sums]) -> Sums:
        """Those of n regions that were told one by one."""
        once = None
        if any(part.once for part in parts):
            none = [part.once or (part.nothing,) * 2 for part in parts]
            once = tuple(cls.stacked(date) for date in zip(*none, strict=True))
        places = None if any(part.places is None for part in parts) else np.array([part.places for part in parts])
        return cls(*(np.array([getattr(part, name) for part in parts], float) for name in ADDED), once, places)

    @property
    def lasting(self) -> Sums:
        """Of a change, the sums over land that is forest at both dates."""
        if self.once is None:
            return self
        early, late = self.once
        served = np.maximum(self.set_ha - late.set_ha - early.set_ha, 0.0)
        value, gradient = (getattr(self, name) - getattr(late, name) + getattr(early, name) for name in ("value", "gradient"))
        return Sums(self.covered_ha, value, served, self.s, self.s2, gradient)

    @property
    def nothing(self) -> Sums:
        """The sums of no land, in the covered area of these."""
        rest = (np.zeros_like(np.asarray(getattr(self, name), float)) for name in ADDED[1:])
        return Sums(self.covered_ha, *rest, places=None if self.places is None else np.zeros_like(self.places))

ADDED = ("covered_ha", "value", "set_ha", "s", "s2", "gradient")


@dataclass(frozen=True)
class Estimate:
    """A mean per hectare with the parts of its variance and a two-sided interval; or n of them, each part (n,).

    sampling_variance : parameters, by the jackknife over clusters of plots and, of second stages, blocks of cells;
    residual_variance : what the residuals add to it;
    shared_variance : errors that all plots share; area_effect_variance : of residual_variance, what the stands' own
    departures make, 0 where the smooth field tells more.
    """

    mean: float | np.ndarray
    se: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    sampling_variance: float | np.ndarray
    shared_variance: float | np.ndarray
    residual_variance: float | np.ndarray
    degrees_of_freedom: float | np.ndarray
    area_effect_variance: float | np.ndarray = 0.0

    def __getitem__(self, number: int) -> Estimate:
        """One of n."""
        return Estimate(*(float(getattr(self, name)[number]) for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Estimate]) -> Estimate:
        """All of some, in their order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


class RegionEstimator:
    """Means per hectare of stands, or of several together, for one model and one year (a stock) or two (a change).

    Parameters
    ----------
    years : one year for a stock, two for a change between them
    lowest : bound of the interval (0 for a stock)
    points : lattice points over all stands of a region together, at most about
    beside : an estimator of the same years whose model may have some of the sets: what it knows of those is taken over
    """

    def __init__(
        self, model: TargetModel, *, years: Sequence[int], confidence_percent: float, lowest: float = -np.inf,
        points: int = 1500, beside: RegionEstimator | None = None,
    ):  # fmt: skip
        self.model, self.lowest, self.points = model, lowest, points
        self.about = {"years": years, "confidence_percent": confidence_percent, "lowest": lowest, "points": points}
        self.columns = [parameters_moved(model, number) for number in range(len(model.sets))]
        known = [beside is not None and one is other for one, other in zip(model.sets, (beside or self).model.sets, strict=True)]
        self.effects = [beside.effects[k] if same else effects_of(model, k, years) for k, same in enumerate(known)]
        self.positions = [None if one.sample.moved is None else pull_of(model, k, one.sample.moved)
                          for k, one in enumerate(model.sets)]  # fmt: skip
        second = np.array([one.second_stage is not None for one in model.sets])
        self.stages = ((np.flatnonzero(~second), model.influence), (np.flatnonzero(second), model.block_influence))

    def reach_of(self, freedom: float | np.ndarray) -> float | np.ndarray:
        """Standard errors to either side of an interval with other degrees of freedom than the model's."""
        return stdtrit(freedom, 0.5 + self.about["confidence_percent"] / 200)

    def with_model(self, model: TargetModel) -> RegionEstimator:
        """The same for another model of the same target."""
        return RegionEstimator(model, **self.about, beside=self)

    def estimate(self, sums: Sums | Sequence[Sums], regions: Regions | Sequence[Regions]) -> Estimate:
        """The mean of all stands together over what is covered of them, with its error."""
        sums = sums if isinstance(sums, Sums) else Sums.stacked(sums)
        regions = regions if isinstance(regions, Regions) else Regions.joined(regions)
        if len(regions) == 1:
            return self._estimates(sums, sums, regions)[0]
        return self._estimates(sums.together(), sums, regions)[0]

    def estimates(self, sums: Sums, regions: Regions, rows: np.ndarray | None = None) -> Estimate:
        """The mean of each of n stands with its error, all at once; stand k has the shape `regions[rows[k]]`."""
        rows = np.arange(len(regions)) if rows is None else rows
        for effects in self.effects:
            for range_m in effects.ranges:
                regions.correlation(range_m)  # kept with the regions for all that is asked of them
        parts = [slice(start, start + AT_ONCE) for start in range(0, len(rows), AT_ONCE)]
        return Estimate.joined([self._estimates(sums[part], sums[part], regions[rows[part]]) for part in parts])

    def _estimates(self, whole: Sums, sums: Sums, regions: Regions) -> Estimate:
        """Of n regions with the sums `whole`: each one of the stands, or a single one of all of them."""
        model = self.model
        gradient = whole.gradient / whole.covered_ha[:, None]
        shared = _squares(gradient, model.shared)
        stages = []
        for sets, influence in self.stages:
            jackknife = _squares(gradient, influence)
            told = [self._variance(number, gradient, whole, sums, regions) for number in sets]
            stages.append(Stage.of(jackknife, told, model.between_sets[np.ix_(sets, sets)]))
        plots, cells = stages
        strata = _squares(gradient, model.shrunk)
        variance = plots.variance + cells.variance + shared + strata
        free = _freedom(variance, (plots.variance + shared, model.degrees_of_freedom, plots.doubt),
                        (cells.variance, max(model.blocks - 1, 1), cells.doubt),
                        (strata, max(model.strata - 1, FEWEST_BY_READINGS), np.zeros_like(strata)))  # fmt: skip
        mean, se = whole.value / whole.covered_ha, np.sqrt(variance)
        reach = self.reach_of(free)
        low, high = (np.maximum(mean + sign * reach * se, self.lowest) for sign in (-1, 1))
        return Estimate(
            mean, se, low, high, plots.sampling + cells.sampling + strata, shared, plots.residual + cells.residual, free,
            plots.area + cells.area,
        )  # fmt: skip

    def _variance(self, number: int, gradient: np.ndarray, whole: Sums, sums: Sums, regions: Regions) -> Told:
        """What one set's residuals, at its sample and in the regions, do to the regions' means."""
        own = gradient[:, self.columns[number]]
        asked = self._asked(number, gradient, whole, sums, self._least(number, whole))
        once = whole.once and tuple(
            self._asked(number, one.gradient / one.covered_ha[:, None], one, part, self._least(number, one))
            for one, part in zip(whole.once, sums.once, strict=True)
        )
        told = self.effects[number].told(asked, once, regions, self.points)
        if self.positions[number] is not None:
            told += Told(_squares(own, self.positions[number]), np.zeros(len(own)), np.zeros(len(own)))
        return told

    def _asked(self, number: int, gradient: np.ndarray, whole: Sums, sums: Sums, least: np.ndarray) -> Asked:
        nugget = whole.s2[:, number] * self.model.sets[number].plot_ha / whole.covered_ha**2
        weight = sums.s[:, number] / whole.covered_ha
        return Asked(gradient[:, self.columns[number]], weight, nugget, least, sums.set_ha.sum(axis=1), sums.places)

    def _least(self, number: int, whole: Sums) -> np.ndarray:
        """Variance (n,) that blocks of cells say that a second stage's own parameters have at least in n means."""
        place = self.model.slices()[number]
        if self.model.sets[number].second_stage is None:
            return np.zeros(len(whole.gradient))
        return _squares(whole.gradient[:, place] / whole.covered_ha[:, None], self.model.block_influence[:, place])


def _squares(gradient: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Variances (n,) that gradients (n, p) have through rows (k, p)."""
    return ((gradient @ rows.T) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Stage:
    """What plots, or cells of a second stage, leave uncertain of n means: by the jackknife, by residuals beyond that (of which
    `area` is the regions' own departure), and the variance of their sum as far as readings tell it; each (n,)."""

    sampling: np.ndarray
    residual: np.ndarray
    area: np.ndarray
    doubt: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        return self.sampling + self.residual

    @classmethod
    def of(cls, jackknife: np.ndarray, told: Sequence[Told], between_sets: np.ndarray) -> Stage:
        """From what the residuals of each set say, which correlate as in `between_sets` (sets, sets)."""
        if not told:
            nothing = np.zeros_like(jackknife)
            return cls(jackknife, nothing, nothing, nothing)
        sizes = np.sqrt(np.column_stack([one.variance for one in told]))
        both = ((sizes @ between_sets) * sizes).sum(axis=1)
        residual = np.maximum(both - jackknife, 0.0)
        return cls(jackknife, residual, np.minimum(sum(one.area for one in told), residual), _doubt(both, jackknife, told))


def _doubt(both: np.ndarray, jackknife: np.ndarray, told: Sequence[Told]) -> np.ndarray:
    """Variance (n,) of a stage's variance: sets share plots, so their doubts count as one and relative doubts are averaged.

    Nothing where the jackknife says more than the readings: its own degrees of freedom speak for it.
    """
    parts = sum(one.variance for one in told)
    relative = sum(np.divide(one.doubt, one.variance, out=np.zeros_like(both), where=one.variance > 0) for one in told)
    relative = np.divide(relative, parts, out=np.zeros_like(both), where=parts > 0)
    return np.where((both > 0) & (jackknife < both), both**2 * relative, 0.0)


def _freedom(variance: np.ndarray, *parts: tuple[np.ndarray, float, np.ndarray]) -> np.ndarray:
    """Satterthwaite's degrees of freedom (n,) from parts: variance, the most that clusters or blocks give, doubt of them."""
    doubt = sum(np.maximum(doubt, 2 * np.square(part) / most) for part, most, doubt in parts)
    most = np.full_like(np.asarray(variance, float), parts[0][1])
    return np.maximum(np.divide(2 * np.square(variance), doubt, out=most, where=doubt > 0), 1.0)
