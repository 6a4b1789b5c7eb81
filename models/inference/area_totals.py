"""Strata and districts of a study by every estimator of small areas, beside the reason where one does not hold.

Areas of their own plots (direct), of all plots at the area's map (synthetic), of both (small, extended), and mixed models that
weigh them by how much areas differ. An area without plots has only what all plots say, and how much areas depart from that in
its error. The auxiliary is the map, as in `design_totals`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from models.inference import design_totals
from models.inference.area_estimate import AreaEstimate
from models.inference.area_models import DirectEstimates
from models.inference.design_totals import Area, Verdict, corrected, drawn, noted, phases_of, survey_of, verdict, with_all
from models.inference.estimators import ESTIMATORS, estimate
from models.inference.expansion import satterthwaite
from models.inference.registry import check_selection
from models.inference.survey import GROUND, Survey, clusters_of, mean_of, spread_of_mean

if TYPE_CHECKING:
    import pandas as pd

NOWHERE = "like {} and without plots"
"""The name of an area with another one's map and no plots: what a mixed model says of it, it says of every such area."""


def area_estimates(sample: pd.DataFrame, areas: Sequence[Area], *, column: str = "stratum") -> dict[str, list[Verdict]]:
    """Every estimate of each of a study's areas.

    Parameters
    ----------
    sample : as `design_estimates` takes it; `column` says which area a point lies in, missing in none

    Returns
    -------
    dict of area -> verdicts, in the order of `areas`
    """
    given = _Given.of(sample, column)

    @cache
    def mixed() -> dict[str, AreaEstimate]:
        return _unit_model(given, areas)

    @cache
    def by_areas() -> dict[str, AreaEstimate]:
        return _area_model(given, areas)

    aside = design_totals.set_aside(sample)
    return {area.name: _of_area(given, area, mixed, by_areas, aside) for area in areas}


@dataclass(frozen=True)
class _Given:
    """The sample; its ground plots in any area, those on the map; points of phases 1 and 2 on the map, and all of these; the
    column of the areas."""

    chosen: pd.DataFrame
    ground: pd.DataFrame
    seen: pd.DataFrame
    points: pd.DataFrame
    every_point: pd.DataFrame
    selection: str
    column: str

    @classmethod
    def of(cls, sample: pd.DataFrame, column: str) -> _Given:
        chosen, selection = drawn(sample)
        there = chosen[chosen[column].notna()]
        ground = there[there["y"].notna()]
        every = there[phases_of(there) >= 1]
        points = every[np.isfinite(every["map"])]
        return cls(chosen, ground, points[points["y"].notna()], points, every, selection, column)

    @cached_property
    def plots(self) -> Survey:
        """Ground plots on the map, and the area that each lies in."""
        return survey_of(self.seen, self.selection, "map", area=self.column)

    @cached_property
    def first_phase(self) -> Survey:
        """The same with the points of phase 1."""
        return survey_of(self.points, self.selection, "map", area=self.column)

    def within(self, rows: pd.DataFrame, area: Area) -> pd.DataFrame:
        return rows[rows[self.column].astype(str) == area.name]


def _of_area(given: _Given, area: Area, mixed: Callable, by_areas: Callable, aside: str) -> list[Verdict]:
    here, seen_here = given.within(given.ground, area), given.within(given.seen, area)
    known = np.isfinite(area.map_mean)
    through = {"area": area.name, "auxiliaries": ["map"], "means": {"map": area.map_mean} if known else None}
    told = given.plots if known else given.first_phase

    def with_map(name: str) -> AreaEstimate:
        """From points of phase 1 where the map's mean over the area is not known (pseudo)."""
        if known:
            return corrected(area, here, seen_here, lambda: estimate(name, told, **through))
        _, notes = with_all(given.within(given.every_point, area), "map")
        said = "the map does not cover the area: its mean is that of points of phase 1"
        return noted(estimate(name, told, **through), said, *notes)

    of_own_map = survey_of(seen_here, given.selection, "map")
    own = {
        "expansion": lambda: estimate("expansion", survey_of(here, given.selection)),
        "difference": lambda: corrected(
            area, here, seen_here, lambda: estimate("difference", of_own_map, prediction="map", prediction_mean=area.map_mean)
        ),
        "small": lambda: with_map("small"),
        "extended_synthetic": lambda: with_map("extended_synthetic"),
    }
    of_all = {
        "synthetic": lambda: _with_area_effect(estimate("synthetic", told, **through), mixed),
        "bhf_eblup": lambda: _counted(_of(mixed(), area), here),
        "fay_herriot": lambda: _counted(_of(by_areas(), area), here),
    }
    alike = given.within(given.chosen, area)  # coefficients of all plots may be any; what holds is the area's own residuals
    if design_totals.uneven(alike):
        whole_area = replace(area, stratum_area_ha={})
        weighted = design_totals.by_weights(here, seen_here, given.selection, whole_area)
        own |= {name: weighted[name] for name in ("weighted_expansion", "weighted_difference")}
    return [verdict(name, make, here, given.chosen, alike=alike, aside=aside) for name, make in own.items()] + [
        verdict(name, make, given.ground, given.chosen, aside=aside) for name, make in of_all.items()
    ]


def _of(found: dict[str, AreaEstimate], area: Area) -> AreaEstimate:
    if area.name not in found:
        raise ValueError(f"the map does not cover {area.name}, so its mean there is not known")
    return found[area.name]


def _counted(found: AreaEstimate, here: pd.DataFrame) -> AreaEstimate:
    return replace(found, n={**found.n, "plots": len(here), "clusters": int(here["cluster"].nunique())})


def _with_area_effect(found: AreaEstimate, mixed: Callable[[], dict[str, AreaEstimate]]) -> AreaEstimate:
    """A synthetic estimate whose error holds how much areas depart from the model of all plots, where that can be told.

    Plots of one area depart together, so that their coefficients err more than the sampling design says: what the mixed model
    says of them counts where it is more.
    """
    try:
        model = mixed()[NOWHERE.format(found.area)]
    except ValueError as error:
        return noted(found, f"how much areas depart is not known either: {error}")
    except KeyError:
        return noted(found, "how much areas depart is not known: the map does not cover the area")
    effect = {name: model.variance_parts[name] for name in ("area_effect", "variance_components")}
    through, depart = max(found.variance, model.variance_parts["coefficients"]), sum(effect.values())
    told = model.degrees_of_freedom * (depart / model.variance) ** 2  # of the variance between areas, without the coefficients
    return replace(
        found, variance_parts={"regression": through, **effect}, formula="", other_variances={},
        degrees_of_freedom=satterthwaite([through, depart], [found.degrees_of_freedom, max(told, 1.0)]),
        notes=("the model of all plots; its error holds how much areas depart from it on average, not what this one does",),
    )  # fmt: skip


def _unit_model(given: _Given, areas: Sequence[Area]) -> dict[str, AreaEstimate]:
    """Battese, Harter and Fuller's model of cluster means: plots of a cluster depart together, so that each counts once."""
    known = {area.name: {"map": area.map_mean} for area in areas if np.isfinite(area.map_mean)}
    if given.seen.empty:
        raise ValueError("there is no map at the plots of any area")
    means = given.seen.groupby([given.seen[given.column].astype(str), "cluster"])[["y", "map"]].mean().reset_index()
    survey = Survey(
        means["y"].to_numpy(float), np.full(len(means), GROUND), {"map": means["map"].to_numpy(float)},
        area=means[given.column].to_numpy(), selection=given.selection,
    )  # fmt: skip
    nowhere = {NOWHERE.format(name): at for name, at in known.items()}
    found = estimate("bhf_eblup", survey, auxiliaries=["map"], means={**known, **nowhere})
    if given.selection != "probability":
        said = "by the model: nobody knows with what chance the plots were chosen"
        found = {name: noted(one, said) for name, one in found.items()}
    return found


def _area_model(given: _Given, areas: Sequence[Area]) -> dict[str, AreaEstimate]:
    """Fay and Herriot's model of the areas' own means; their sampling variances are the pooled spread over their clusters.

    An area's own spread, of two or three clusters, would be a weight made of noise.
    """
    check_selection(ESTIMATORS["expansion"], given.selection)
    levels = {}
    for area in areas:
        here = given.within(given.ground, area)
        survey = survey_of(here, given.selection)
        levels[area.name] = clusters_of(survey, (), survey.ground)
    free = sum(max(level.n - 1, 0) for level in levels.values())
    if free < 1:
        raise ValueError("no area holds two clusters of plots, so nothing tells how they differ within areas")
    pooled = sum((level.n - 1) * spread_of_mean(level.y, level.size) for level in levels.values() if level.n > 1) / free
    told = [area for area in areas if np.isfinite(area.map_mean)]
    direct = DirectEstimates(
        np.array([area.name for area in told]),
        np.array([mean_of(levels[one.name].y, levels[one.name].size) if levels[one.name].n else np.nan for one in told]),
        np.array([pooled / levels[one.name].n if levels[one.name].n else np.nan for one in told]),
        np.array([[one.map_mean] for one in told]).reshape(-1, 1),
    )  # fmt: skip
    return ESTIMATORS["fay_herriot"].function(direct)
