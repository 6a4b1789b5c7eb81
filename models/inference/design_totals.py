"""Every estimate that probability plots allow of an area of stands, beside the reason where one does not hold.

The map is the auxiliary: known everywhere, so its mean over the area has no sampling error. It was fitted to the very plots,
so at a plot it counts as it is without the plot's cluster: then the difference of plot and map is that of a map made from
elsewhere (external), and its spread is not too small.

References
----------
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, Springer, doi:10.1007/978-1-4612-4378-6.
Breidt and Opsomer 2017, Statistical Science 32:190-205, doi:10.1214/16-STS589 (model-assisted estimation with modern prediction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.estimators import estimate
from models.inference.survey import GROUND, Survey

if TYPE_CHECKING:
    import pandas as pd

ENOUGH_CLUSTERS = 10
"""Clusters of probability plots in an area from which on the difference estimate is the one to report. A fixed number, so that
nobody takes the estimator whose error happens to be smallest."""

MODEL_BASED = "model_based"
RECOMMENDED = "difference"

PARAMETERS = ("auxiliary_means", "reduced_model", "coefficients", "variance_components")
"""Parts of `AreaEstimate` that come from what the auxiliaries are multiplied with; the others are of the plots' residuals."""


@dataclass(frozen=True)
class Area:
    """What is estimated: the whole project or a stratum of it.

    area_ha : of all its stands; map_mean : mean of the map over them, target unit per hectare, NaN without a map
    stratum_area_ha : area of each stratum in it, where stands carry strata
    """

    name: str
    area_ha: float
    map_mean: float
    stratum_area_ha: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One estimator on one area: its estimate, or the sentence why there is none.

    allometry_variance : of errors that all plots share; no sampling design sees them, so they come on top
    """

    estimator: str
    estimate: AreaEstimate | None
    refusal: str = ""
    allometry_variance: float = 0.0

    @property
    def variance_parts(self) -> dict[str, float]:
        """The four parts by the names that every table has."""
        if self.estimate is None:
            return {}
        parts = self.estimate.variance_parts
        through = sum(value for name, value in parts.items() if name in PARAMETERS)
        return {
            "allometry": self.allometry_variance, "parameters": float(through),
            "residual": float(sum(parts.values()) - through), "area_effect": 0.0,
        }  # fmt: skip


def design_estimates(sample: pd.DataFrame, area: Area, *, stratum: str | None = None) -> list[Verdict]:
    """Every design-based and model-assisted estimate of an area of stands.

    Parameters
    ----------
    sample : DataFrame
        Points in the project's stands: plot, cluster, stratum (of the stand), y (NaN at points of phase 1), map (without
        the plot's cluster; NaN where the map says nothing), selection, weight, and shared error factors `f_*`.
    stratum : the stratum that the area is, None for the whole project
    """
    told = sample["selection"] == "probability"
    chosen = sample[told] if told.any() else sample
    selection = "probability" if told.any() else "purposive"
    ground = chosen[chosen["y"].notna()]
    here = ground if stratum is None else ground[ground["stratum"] == stratum]
    seen = ground[np.isfinite(ground["map"])]
    means = {"map": area.map_mean}
    found = {"expansion": lambda: estimate("expansion", _survey(here, selection))}
    if stratum is None:
        strata, rest = _joined(ground["stratum"].astype(object), area.stratum_area_ha)
        pooled = ground.assign(stratum=strata)
        if len(rest) > 1:
            found["stratified"] = lambda: _noted(
                estimate("stratified", _survey(pooled, selection), stratum_area_ha=rest),
                "holds where the plots were drawn stratum by stratum", *_pooling(area.stratum_area_ha, rest),
            )  # fmt: skip
            found["post_stratified"] = lambda: _noted(
                estimate("post_stratified", _survey(pooled, selection), stratum_area_ha=rest),
                *_pooling(area.stratum_area_ha, rest),
            )  # fmt: skip
        found["difference"] = lambda: _with_map(
            area, ground, seen, lambda: estimate(
                "difference", _survey(seen, selection, "map"), prediction="map", prediction_mean=area.map_mean
            )
        )  # fmt: skip
        found["greg"] = lambda: _with_map(
            area, ground, seen, lambda: estimate("greg", _survey(seen, selection, "map"), auxiliaries=["map"], means=means)
        )
        if chosen["y"].isna().any():
            both = chosen[np.isfinite(chosen["map"])]
            found["two_phase"] = lambda: estimate("two_phase", _survey(both, selection, "map"), auxiliaries=["map"])
    else:
        inside = seen[seen["stratum"] == stratum]
        found["difference"] = lambda: _with_map(
            area, here, inside, lambda: estimate(
                "difference", _survey(inside, selection, "map"), prediction="map", prediction_mean=area.map_mean
            )
        )  # fmt: skip
        found["small"] = lambda: _with_map(
            area, here, inside, lambda: estimate(
                "small", _survey(seen, selection, "map", areas=True), area=stratum, auxiliaries=["map"], means=means
            )
        )  # fmt: skip
    return [_verdict(name, make, here, chosen) for name, make in found.items()]


def recommended(verdicts: list[Verdict], *, model_based: bool = True) -> tuple[str, str]:
    """Name of the estimate to report of an area, and why: a rule that is fixed before any error is seen."""
    one = next((verdict for verdict in verdicts if verdict.estimator == RECOMMENDED), None)
    if one is None or one.estimate is None:
        why = "no design-based estimate holds here" + (f": {one.refusal}" if one and one.refusal else "")
        return (MODEL_BASED if model_based else "", why)
    clusters = one.estimate.n["clusters"]
    if clusters >= ENOUGH_CLUSTERS or not model_based:
        return RECOMMENDED, f"probability plots of {clusters} clusters correct the map by what it is off there: no bias by design"
    return (
        MODEL_BASED,
        f"{clusters} clusters of probability plots, fewer than {ENOUGH_CLUSTERS}, are too few to tell what the map is off by",
    )


def _survey(rows: pd.DataFrame, selection: str, *auxiliaries: str, areas: bool = False) -> Survey:
    y = rows["y"].to_numpy(float)
    stratum = rows["stratum"].astype(str).to_numpy()
    return Survey(
        y, np.where(np.isfinite(y), GROUND, 1), {name: rows[name].to_numpy(float) for name in auxiliaries},
        cluster=rows["cluster"].astype(str).to_numpy(), stratum=stratum, area=stratum if areas else None, selection=selection,
    )  # fmt: skip


def _joined(labels: pd.Series, areas: Mapping[str, float]) -> tuple[pd.Series, dict[str, float]]:
    """Strata with at least two plots each: those with fewer are joined, with the smallest other one where that needs it."""
    counts = {name: int((labels == name).sum()) for name in areas}
    poor = [name for name in areas if counts[name] < 2]
    rich = sorted((name for name in areas if counts[name] >= 2), key=lambda name: (counts[name], name))
    if poor and sum(counts[name] for name in poor) < 2 and rich:
        poor.append(rich[0])
    if not poor:
        return labels, dict(areas)
    name = " + ".join(sorted(poor))
    kept = {one: ha for one, ha in areas.items() if one not in poor}
    return labels.where(~labels.isin(poor), name), kept | {name: sum(areas[one] for one in poor)}


def _pooling(areas: Mapping[str, float], rest: Mapping[str, float]) -> list[str]:
    joined = [name for name in rest if name not in areas]
    return [f"strata with fewer than two plots are joined: {name}" for name in joined]


def _with_map(area: Area, ground: pd.DataFrame, seen: pd.DataFrame, make: Callable[[], AreaEstimate]) -> AreaEstimate:
    if not len(ground):
        raise ValueError(f"there is no ground plot in {area.name}")
    if not np.isfinite(area.map_mean) or not len(seen):
        raise ValueError(f"there is no map at the plots of {area.name}, so nothing to correct")
    lacking = len(ground) - len(seen)
    notes = [f"{lacking} of {len(ground)} plots lie where the map says nothing and do not count"] if lacking else []
    return _noted(make(), *notes)


def _noted(found: AreaEstimate, *notes: str) -> AreaEstimate:
    return AreaEstimate(
        found.area, found.method, found.mean, found.variance_parts, found.degrees_of_freedom, found.n, found.other_variances,
        (*found.notes, *notes),
    )  # fmt: skip


def _verdict(name: str, make: Callable[[], AreaEstimate], here: pd.DataFrame, chosen: pd.DataFrame) -> Verdict:
    if len(chosen) and (chosen["selection"] == "probability").all() and (uneven := _uneven(name, chosen)):
        return Verdict(name, None, uneven)
    try:
        if not len(chosen):
            raise ValueError("no plot measured at this date (of a change: at both) lies in the stands")
        found = make()
    except ValueError as error:
        return Verdict(name, None, str(error))
    if not np.isfinite(found.se):
        return Verdict(name, None, f"{found.n.get('clusters', 0)} clusters of plots tell no error")
    factors = [column for column in here if column.startswith("f_")]
    shared = float((here[factors].fillna(0.0).mean() ** 2).sum()) if factors and len(here) else 0.0
    return Verdict(name, found, "", shared)


def _uneven(name: str, chosen: pd.DataFrame) -> str:
    """Why an estimator of equal chances does not hold for plots whose weights differ; empty where they do not."""
    weight = chosen["weight"].dropna()
    if weight.empty or np.isclose(weight.min(), weight.max()):
        return ""
    spread = chosen.dropna(subset=["weight"]).groupby("stratum")["weight"].agg(["min", "max"])
    if name == "stratified" and np.allclose(spread["min"], spread["max"]):
        return ""
    return (
        f"the plots' weights run from {weight.min():g} to {weight.max():g}: places had unequal chances to become plots, and "
        f"{name} holds for equal ones"
        + ("" if name == "stratified" else "; stratified does where weights are alike in each stratum")
    )
