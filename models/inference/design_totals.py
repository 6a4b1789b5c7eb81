"""Every estimate that probability plots allow of all stands, beside the reason where one does not hold.

The map is the auxiliary: known everywhere, so its mean over the area has no sampling error. It was fitted to the very plots,
so at a plot it counts as it is without the plot's cluster: then the difference of plot and map is that of a map made from
elsewhere (external), and its spread is not too small. Areas within the project are in `area_totals`.

References
----------
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, Springer, doi:10.1007/978-1-4612-4378-6.
Breidt and Opsomer 2017, Statistical Science 32:190-205, doi:10.1214/16-STS589 (model-assisted estimation with modern prediction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.estimators import ESTIMATORS, estimate
from models.inference.registry import check_selection
from models.inference.survey import GROUND, Survey

if TYPE_CHECKING:
    import pandas as pd

ENOUGH_CLUSTERS = 10
"""Clusters of probability plots in an area from which on the difference estimate is the one to report. A fixed number, so that
nobody takes the estimator whose error happens to be smallest."""

MODEL_BASED = "model_based"
RECOMMENDED = ("difference", "weighted_difference")
"""What is reported of an area with a map: the first of these that holds. The second is there where chances differed, and only
there: the first does not hold then."""
WITHOUT_MAP = ("three_phase", "strips", "two_phase", "post_stratified", "expansion", "weighted_expansion")
"""What is reported of an area that the map does not cover: the first of these that holds."""

ALIKE = "without bias only as far as they are like the others"
"""What holds of an estimate that lacks plots which chance chose."""

PARAMETERS = ("auxiliary_means", "reduced_model", "coefficients", "variance_components")
"""Parts of `AreaEstimate` that come from what the auxiliaries are multiplied with; the others are of the plots' residuals."""

RUN_BY = {"ratio_of_areas": "ratio", "fay_herriot": "expansion"}
"""Rows whose proof is another estimator's: it makes them of other columns, or they begin with what it says of each area."""

EVEN_AREAS = 0.01
"""Plots whose areas differ by less than this share are of one size."""
UNLIKE = 0.001
"""Chance below which a spread of clusters over strata is held to be no accident."""
MOST_LACKING = 0.05
"""Share of the points of a phase that may lack an auxiliary of that phase, by accident."""


@dataclass(frozen=True)
class Area:
    """What is estimated: the whole project, or a stratum or district of it.

    area_ha : of all its stands; map_mean : mean of the map over them, target unit per hectare, NaN without a map
    stratum_area_ha : area of each stratum in it, where stands carry strata
    """

    name: str
    area_ha: float
    map_mean: float
    stratum_area_ha: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Pixels all over the stands, what each predictor set says of them: what phases 0 and 1 of a sample may be made of.

    points : `fine`, the prediction of the set that sees most where it sees anything (lidar), NaN elsewhere; `wide`, that of
        the set that sees nearly everything (satellites), NaN where there is none; `strip`, the piece of land that `fine` covers
        in one, None outside
    every_pixel : all of them, so that their mean has no sampling error; else an even sample
    drawn : chance has drawn the pieces that `fine` covers
    """

    points: pd.DataFrame
    every_pixel: bool
    drawn: bool

    @property
    def partly(self) -> bool:
        """Whether `fine` is known in a part of the land only."""
        return bool(np.isfinite(self.points["fine"]).mean() < 1 - MOST_LACKING)

    @property
    def bridged(self) -> bool:
        """Whether `wide` is known nearly everywhere."""
        return bool(np.isfinite(self.points["wide"]).mean() >= 1 - MOST_LACKING)


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
        effect = parts.get("area_effect", 0.0)
        return {
            "allometry": self.allometry_variance, "parameters": float(through),
            "residual": float(sum(parts.values()) - through - effect), "area_effect": float(effect),
        }  # fmt: skip

    @property
    def other_errors(self) -> dict[str, float]:
        """The standard error by g-weights and by the external variance, where a formula of both is known; shared errors in."""
        one = self.estimate
        if one is None or not one.formula:
            return {}
        known = {**one.other_variances, one.formula: one.variance}
        return {
            name: float(np.sqrt(known[name] + self.allometry_variance))
            for name in ("g_weight", "external")
            if np.isfinite(known.get(name, np.nan))
        }


def design_estimates(sample: pd.DataFrame, area: Area, *, places: Places | None = None) -> list[Verdict]:
    """Every design-based and model-assisted estimate of an area of stands.

    Parameters
    ----------
    sample : DataFrame
        Points in the area's stands: plot, cluster, stratum (of the stand), y (NaN at points of the earlier phases), map
        (without the plot's cluster; NaN where the map says nothing), selection, weight, and shared error factors `f_*`.
        Where they are known: phase (2 on the ground, 1, 0), plot_ha, and as `map` the predictions `wide` and `fine` of
        `Places`, with the `strip` that the point lies in.
    places : pixels of the area; without them there are no strips, and the widest auxiliary comes from points of phase 0
    """
    chosen, selection = drawn(sample)
    ground = chosen[chosen["y"].notna()]
    seen = ground[np.isfinite(ground["map"])]
    found: dict[str, Callable[[], AreaEstimate]] = {"expansion": lambda: estimate("expansion", survey_of(ground, selection))}
    if _uneven_areas(ground):
        found["ratio_of_areas"] = lambda: _over_plot_areas(ground, selection)
    found |= _by_strata(ground, selection, area)
    if uneven(chosen):
        found |= by_weights(ground, seen, selection, area)
    of_map = survey_of(seen, selection, "map")
    with_map = {
        "ratio": {"auxiliary": "map", "auxiliary_mean": area.map_mean},
        "difference": {"prediction": "map", "prediction_mean": area.map_mean},
        "greg": {"auxiliaries": ["map"], "means": {"map": area.map_mean}},
    }
    for name, settings in with_map.items():
        found[name] = lambda name=name, settings=settings: corrected(
            area, ground, seen, lambda: estimate(name, of_map, **settings)
        )
    if (phases_of(chosen) == 1).any():
        found["two_phase"] = lambda: _two_phase(chosen, selection)
    if (places is not None and places.partly and places.bridged) or (phases_of(chosen) == 0).any():
        found["three_phase"] = lambda: _three_phase(chosen, selection, places)
    if places is not None and places.partly:
        found["strips"] = lambda: _in_strips(ground, selection, places)
    aside = "; ".join(said for said in (set_aside(sample), unlike_areas(ground, area)) if said)
    return [verdict(name, make, ground, chosen, aside=aside) for name, make in found.items()]


def recommended(verdicts: list[Verdict], *, model_based: bool = True, left_out: str = "") -> tuple[str, str]:
    """Name of the estimate to report of an area, and why: a rule that is fixed before any error is seen.

    model_based : False where the map does not cover the area, so that no model speaks of it
    left_out : how many plots that chance chose are not in the estimate, and why; "" where all are
    """
    if not model_based:
        name, why = _first_that_holds(verdicts)
        return name, f"{why}; {left_out}: {ALIKE}" if name and left_out else why
    known = {verdict.estimator: verdict for verdict in verdicts if verdict.estimator in RECOMMENDED}
    holds = [known[name] for name in RECOMMENDED if name in known and known[name].estimate is not None]
    if not holds:
        refusals = [known[name].refusal for name in reversed(RECOMMENDED) if name in known and known[name].refusal]
        return MODEL_BASED, "no design-based estimate holds here" + (f": {refusals[0]}" if refusals else "")
    one = holds[0]
    clusters = one.estimate.n["clusters"]
    if clusters >= ENOUGH_CLUSTERS:
        by = ", each plot by the area that it stands for," if ESTIMATORS[one.estimator].weighted else ""
        unbiased = f"{left_out}: {ALIKE}" if left_out else "no bias by design"
        why = f"probability plots of {clusters} clusters{by} correct the map by what it is off there"
        return one.estimator, f"{why}{'; ' if left_out else ': '}{unbiased}"
    return (
        MODEL_BASED,
        f"{clusters} clusters of probability plots, fewer than {ENOUGH_CLUSTERS}, are too few to tell what the map is off by",
    )


def _first_that_holds(verdicts: list[Verdict]) -> tuple[str, str]:
    known = {one.estimator for one in verdicts if one.estimate is not None}
    name = next((name for name in WITHOUT_MAP if name in known), "")
    return name, f"the map does not cover the area: the first that holds of {', '.join(WITHOUT_MAP)}" if name else ""


# ---------------------------------------------------------------- what estimators are given


def drawn(sample: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The points that chance chose, or all where it chose none; and how they were chosen."""
    told = sample["selection"] == "probability"
    return (sample[told], "probability") if told.any() else (sample, "purposive")


def set_aside(sample: pd.DataFrame) -> str:
    """How many measured plots do not count because somebody chose them, where others were drawn by chance."""
    told = sample["selection"] == "probability"
    count = int((~told & sample["y"].notna()).sum()) if told.any() else 0
    if not count:
        return ""
    told = "plot that somebody chose (purposive) lies" if count == 1 else "plots that somebody chose (purposive) lie"
    return f"{count} {told} beside those that chance chose and {'does' if count == 1 else 'do'} not count"


def unlike_areas(ground: pd.DataFrame, area: Area) -> str:
    """That clusters are spread over strata as equal chances hardly would spread them, where no plot says what it stands for.

    Pearson's chi-squared of the clusters per stratum against the strata's areas (Cochran 1977, section 5A.9, takes such numbers
    as multinomial), told at 1 in 1000.
    """
    from scipy.stats import chi2

    if len(area.stratum_area_ha) < 2 or ground["weight"].notna().any():
        return ""
    strata = ground.drop_duplicates("cluster")["stratum"].astype(object)
    found = np.array([int((strata == name).sum()) for name in area.stratum_area_ha])
    share = np.array(list(area.stratum_area_ha.values())) / sum(area.stratum_area_ha.values())
    expected = share * found.sum()
    if not found.sum() or chi2.sf(float(((found - expected) ** 2 / expected).sum()), len(found) - 1) > UNLIKE:
        return ""
    times = sorted(zip(found / expected, area.stratum_area_ha, strict=True))
    (low, least), (high, most) = times[0], times[-1]
    return (
        f"stratum {most} has {high:.1f} times the clusters that its area would get by equal chances, stratum {least} {low:.1f} "
        "times: if plots were drawn stratum by stratum, take stratified, or tell what each stands for (plots.columns: weight)"
    )


def phases_of(rows: pd.DataFrame) -> np.ndarray:
    """(n,) 2 on the ground, else 1 or 0 as the table says; points of which it says nothing are of phase 1."""
    measured = rows["y"].notna().to_numpy()
    said = rows["phase"].to_numpy(int) if "phase" in rows else np.ones(len(rows), int)
    return np.where(measured, GROUND, np.minimum(said, 1))


def survey_of(rows: pd.DataFrame, selection: str, *auxiliaries: str, area: str | None = None) -> Survey:
    """The survey of a sample's rows; `area` names the column that says which small area a point lies in."""
    return Survey(
        rows["y"].to_numpy(float), phases_of(rows), {name: rows[name].to_numpy(float) for name in auxiliaries},
        cluster=rows["cluster"].astype(str).to_numpy(), stratum=rows["stratum"].astype(str).to_numpy(),
        area=rows[area].astype(str).to_numpy() if area else None, selection=selection,
        weight=rows["weight"].to_numpy(float) if rows["weight"].notna().any() else None,
    )  # fmt: skip


def _by_strata(ground: pd.DataFrame, selection: str, area: Area) -> dict[str, Callable[[], AreaEstimate]]:
    labels, areas = _joined(ground["stratum"].astype(object), area.stratum_area_ha)
    if len(areas) < 2:
        return {}
    survey, said = survey_of(ground.assign(stratum=labels), selection), _pooling(area.stratum_area_ha, areas)
    return {
        "stratified": lambda: noted(
            estimate("stratified", survey, stratum_area_ha=areas), "holds where the plots were drawn stratum by stratum", *said
        ),
        "post_stratified": lambda: noted(estimate("post_stratified", survey, stratum_area_ha=areas), *said),
    }


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


def by_weights(
    ground: pd.DataFrame, seen: pd.DataFrame, selection: str, area: Area
) -> dict[str, Callable[[], AreaEstimate]]:
    """Estimates of plots that stand for unequal areas, stratum by stratum where the area has strata.

    Strata in which fewer than two clusters lie, or fewer than two on the map, are joined.
    """
    units = seen if len(seen) else ground
    _, areas = _joined(units.drop_duplicates(["cluster", "stratum"])["stratum"].astype(object), area.stratum_area_ha)
    joined = [name for name in areas if name not in area.stratum_area_ha]

    def survey(rows: pd.DataFrame, *auxiliaries: str) -> Survey:
        labels = rows["stratum"].astype(object)
        labels = labels.where(labels.isin(list(areas)), joined[0]) if joined else labels
        return survey_of(rows.assign(stratum=labels), selection, *auxiliaries)

    said = [f"strata with fewer than two clusters are joined: {name}" for name in joined]
    strata = {"stratum_area_ha": areas if len(areas) > 1 else None}
    with_map = {
        "weighted_difference": {"prediction": "map", "prediction_mean": area.map_mean},
        "weighted_greg": {"auxiliaries": ["map"], "means": {"map": area.map_mean}},
    }
    found = {"weighted_expansion": lambda: noted(estimate("weighted_expansion", survey(ground), **strata), *said)}
    for name, settings in with_map.items():
        found[name] = lambda name=name, settings=settings: noted(
            corrected(area, ground, seen, lambda: estimate(name, survey(seen, "map"), **strata, **settings)), *said
        )
    return found


def _pooling(areas: Mapping[str, float], rest: Mapping[str, float]) -> list[str]:
    joined = [name for name in rest if name not in areas]
    return [f"strata with fewer than two plots are joined: {name}" for name in joined]


def _uneven_areas(ground: pd.DataFrame) -> bool:
    size = ground["plot_ha"].dropna() if "plot_ha" in ground else ()
    return bool(len(size) and size.max() > size.min() * (1 + EVEN_AREAS))


def _over_plot_areas(ground: pd.DataFrame, selection: str) -> AreaEstimate:
    """What plots hold over what land they cover: a plot of which a part was measured counts by that part."""
    sized = ground[ground["plot_ha"] > 0]
    held = survey_of(sized.assign(y=sized["y"] * sized["plot_ha"]), selection, "plot_ha")
    lacking = len(ground) - len(sized)
    notes = [f"{lacking} of {len(ground)} plots have no area and do not count"] if lacking else []
    return noted(estimate("ratio", held, auxiliary="plot_ha", auxiliary_mean=1.0), "plots count by the area measured", *notes)


def _two_phase(chosen: pd.DataFrame, selection: str) -> AreaEstimate:
    rows, notes = with_all(chosen[phases_of(chosen) >= 1], "map")
    return noted(estimate("two_phase", survey_of(rows, selection, "map"), auxiliaries=["map"]), *notes)


def with_all(rows: pd.DataFrame, *names: str) -> tuple[pd.DataFrame, list[str]]:
    """Points of phases 1 and 2 that have what points of these phases must have, and a note on those that lack it by accident.

    Raises
    ------
    ValueError
        Where so many lack it that those which have it are no sample of the area any more.
    """
    there = np.isfinite(rows[list(names)].to_numpy(float)).all(axis=1)
    lacking = int((~there).sum())
    if lacking > MOST_LACKING * len(rows):
        what = "the map says nothing" if names == ("map",) else "one of the two predictions is missing"
        raise ValueError(
            f"{lacking} of {len(rows)} points of phases 1 and 2 lie where {what}, and nobody drew by chance where that is: the "
            "others are no sample of the area"
        )
    return rows[there], [f"{lacking} of {len(rows)} points lie where a prediction is missing and do not count"] if lacking else []


def _three_phase(chosen: pd.DataFrame, selection: str, places: Places | None) -> AreaEstimate:
    """Points of phase 1 have both predictions; the wide one is known of all land, or of points of phase 0."""
    import pandas as pd

    phase = phases_of(chosen)
    inner = chosen[phase >= 1]
    if not (phase == 1).any():
        other = ""
        if places is not None and places.partly:
            other = "; for lidar in pieces of land that chance has drawn there is the estimator strips"
        raise ValueError(
            "the table of plots has no points of phase 1 beside the measured ones, at which both predictions are known "
            f"(plots.columns: phase){other}"
        )
    if not np.isfinite(inner["wide"]).any():
        raise ValueError("three phases need two predictor sets, one that sees nearly everything and one that sees more in a part")
    rows, notes = with_all(inner, "wide", "fine")
    means = None
    if places is not None and places.bridged:
        wide = places.points["wide"].dropna()
        if places.every_pixel:
            means = {"wide": float(wide.mean())}
        else:
            rows = pd.concat([rows.assign(phase=phases_of(rows)), _as_points(places.points[["wide"]].dropna(), 0)])
    else:
        outer = chosen[(phase == 0) & np.isfinite(chosen["wide"])]
        rows = pd.concat([rows, outer])
    survey = survey_of(rows, selection, "wide", "fine")
    found = estimate("three_phase", survey, auxiliaries=["wide", "fine"], reduced=["wide"], means=means)
    return noted(found, *notes)


def _in_strips(ground: pd.DataFrame, selection: str, places: Places) -> AreaEstimate:
    """Plots and pixels in the pieces of land that the fine prediction covers, and the wide one where it covers the rest."""
    import pandas as pd

    if not places.drawn:
        raise ValueError(
            "lidar was flown where somebody chose (lidar.<campaign>.sampling is purposive), so its pieces are no sample of the "
            "area; the estimator difference corrects the map, lidar and satellite together, by all plots and needs no such sample"
        )
    names = ["fine", "wide"] if places.bridged else ["fine"]
    pixels = _as_points(places.points[places.points["strip"].notna()].dropna(subset=names), 1)
    inside = ground[ground["strip"].notna()]
    known = inside.dropna(subset=names)
    rows = pd.concat([known.assign(phase=GROUND), pixels], ignore_index=True)
    bridge = {"reduced": "wide", "reduced_mean": float(places.points["wide"].mean())} if places.bridged else {}
    single = survey_of(rows.assign(cluster=np.arange(len(rows))), selection, *names)
    found = estimate("strips", single, strip=rows["strip"].to_numpy(object), prediction="fine", **bridge)
    found = replace(found, n={**found.n, "plots": len(known)})
    lacking = len(inside) - len(known)
    return noted(found, *([f"{lacking} plots in strips lie where a prediction is missing"] if lacking else []))


def _as_points(pixels: pd.DataFrame, phase: int) -> pd.DataFrame:
    """Pixels as points of an earlier phase, each by itself."""
    number = np.arange(len(pixels))
    return pixels.assign(y=np.nan, phase=phase, cluster=[f"pixel {k}" for k in number], stratum="")


def corrected(area: Area, ground: pd.DataFrame, seen: pd.DataFrame, make: Callable[[], AreaEstimate]) -> AreaEstimate:
    """An estimate that needs the map's mean over the area and plots on it, `seen` of the area's plots `ground`."""
    if not len(ground):
        raise ValueError(f"there is no ground plot in {area.name}")
    if not len(seen):
        raise ValueError(f"there is no map at the plots of {area.name}, so nothing to correct")
    if not np.isfinite(area.map_mean):
        raise ValueError(f"the map does not cover {area.name}, so its mean there is not known")
    lacking = len(ground) - len(seen)
    notes = [f"{lacking} of {len(ground)} plots lie where the map says nothing and do not count"] if lacking else []
    return noted(make(), *notes)


def noted(found: AreaEstimate, *notes: str) -> AreaEstimate:
    return replace(found, notes=(*found.notes, *notes))


def verdict(
    name: str,
    make: Callable[[], AreaEstimate],
    here: pd.DataFrame,
    chosen: pd.DataFrame,
    *,
    alike: pd.DataFrame | None = None,
    aside: str = "",
) -> Verdict:
    """What an estimator says, or why it says nothing.

    Parameters
    ----------
    here : plots whose shared errors the estimate has
    chosen : all points of the sample
    alike : those whose chances have to be alike where the estimator's proof is the design; None for all
    aside : what is said of plots beside the sample
    """
    found = _verdict(name, make, here, chosen, chosen if alike is None else alike)
    if not aside:
        return found
    if found.estimate is None:
        return replace(found, refusal=f"{found.refusal}; {aside}")
    return replace(found, estimate=noted(found.estimate, aside))


def _verdict(
    name: str, make: Callable[[], AreaEstimate], here: pd.DataFrame, chosen: pd.DataFrame, alike: pd.DataFrame
) -> Verdict:
    entry = ESTIMATORS[RUN_BY.get(name, name)]
    try:
        if not chosen["y"].notna().any():
            raise ValueError("no plot measured at this date (of a change: at both) lies in the stands")
        check_selection(entry, "probability" if chosen["selection"].iloc[0] == "probability" else "purposive")
        if entry.probability_sample and not entry.weighted and (unequal := _unequal(name, alike)):
            return Verdict(name, None, unequal)
        found = make()
    except ValueError as error:
        return Verdict(name, None, str(error))
    if not np.isfinite(found.se):
        return Verdict(name, None, f"{found.n.get('clusters', 0)} cluster of plots tells no error")
    factors = [column for column in here if column.startswith("f_")]
    share = here["weight"].to_numpy(float) if entry.weighted else np.ones(len(here))
    means = share @ here[factors].fillna(0.0).to_numpy(float) / share.sum() if factors and len(here) else np.zeros(0)
    shared = float((means**2).sum())
    return Verdict(name, found, "", shared)


def uneven(chosen: pd.DataFrame) -> bool:
    """Whether plots stand for unequal areas, so that places had unequal chances to become plots."""
    weight = chosen["weight"].dropna()
    return bool(len(weight) and not np.isclose(weight.min(), weight.max()))


def _unequal(name: str, chosen: pd.DataFrame) -> str:
    """Why an estimator of equal chances does not hold for plots whose weights differ; empty where they do not."""
    if not uneven(chosen):
        return ""
    weight = chosen["weight"].dropna()
    if name == "stratified":
        spread = chosen.dropna(subset=["weight"]).groupby("stratum")["weight"].agg(["min", "max"])
        if np.allclose(spread["min"], spread["max"]):
            return ""
    return (
        f"the plots' weights run from {weight.min():g} to {weight.max():g}: places had unequal chances to become plots, and "
        f"{name} holds for equal ones; weighted_expansion, weighted_difference and weighted_greg count plots by their weights"
    )
