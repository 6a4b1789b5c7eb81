"""Rows of estimates: of stands by the model and by composites, of project and strata; a table per quantity and years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.inference.residuals import Structure
from models.inference.stands import Estimate, RegionEstimator, Regions, Sums
from models.inference.target_model import SetModel, TargetModel
from models.saturation import Saturation
from pipeline.steps.stand_composites import Maps
from pipeline.steps.stand_tables import intervals
from pipeline.zonal import DATES, VECTORS, vectors

ESTIMATOR = "model-based synthetic"
INTERIOR_PERCENT = 25.0
"""A stand is estimated from the pixels wholly inside it where they are at least this share of its area; the rest of it
takes their mean. Pixels that straddle a border see both sides: shared out by area, they carry biomass from a full stand
to its empty neighbour and out to the fields (the planted truth itself loses 1.9 % of the stands' biomass that way)."""
ROUNDING_PERCENT = 1e-4
"""A stand that is covered wholly may miss this much of its cover by rounding."""


@dataclass(frozen=True)
class Project:
    """All stands (n,) of a study in order, their shapes and areas; those that the project adds up; their labels."""

    stands: pd.Index
    regions: Regions
    area_ha: np.ndarray
    member: np.ndarray
    stratum: np.ndarray
    district: np.ndarray

    @classmethod
    def of(cls, polygons, regions: Regions) -> Project:
        """From stands as `catalogs.stands` reads them. Plots that are stands too lie on top of others and would count twice."""
        beside = (polygons["layer"] != "plots").to_numpy()
        area = polygons["area_ha"].to_numpy(float)
        labels = (_labels(polygons, column) for column in ("stratum", "district"))
        return cls(pd.Index(polygons["stand"]), regions, area, beside if beside.any() else ~beside, *labels)

    def numbers(self, stands: Sequence[str]) -> np.ndarray:
        """Where stands of these names come in the order of all."""
        return self.stands.get_indexer(stands)


def _labels(polygons, column: str) -> np.ndarray:
    """Stratum or district of each stand, empty where it has none."""
    if column not in polygons:
        return np.full(len(polygons), "", object)
    return np.array([name if isinstance(name, str) else "" for name in polygons[column]], object)


@dataclass(frozen=True)
class Asked:
    """One quantity of one year, or of the change between two, and how it is estimated."""

    target: str
    span: tuple[int, ...]
    estimator: RegionEstimator
    project: Project
    min_cover_percent: float

    def enough(self, cover_percent: np.ndarray) -> np.ndarray:
        return cover_percent >= self.min_cover_percent - ROUNDING_PERCENT


def estimated_from(totals: pd.DataFrame) -> pd.DataFrame:
    """Per stand, the sums it is estimated from, with what all its pixels say: cover, mean, gain and loss."""
    whole = totals[totals["part"] == "all"].set_index("stand").drop(columns=["estimand", "part"])
    inside = totals[totals["part"] == "interior"].set_index("stand").reindex(index=whole.index, columns=whole.columns)
    interior_percent = 100 * (inside["area_ha"] / whole["area_ha"]).fillna(0.0)
    enough = (interior_percent >= INTERIOR_PERCENT) & (inside["covered_ha"].fillna(0.0) > 0)
    chosen = inside.where(enough, whole)
    chosen["interior_percent"] = interior_percent
    chosen["from_interior"] = enough
    chosen["seen_ha"] = whole["covered_ha"]
    single = [column for column in chosen if column.startswith("sum_s2_")]
    # what single places have for themselves averages out over the stand, whose residual it is, not over its inner pixels alone
    chosen[single] = chosen[single].mul(chosen["covered_ha"] / chosen["seen_ha"], axis=0).where(enough, chosen[single])
    chosen["map_mean"] = (whole["sum_value"] / whole["covered_ha"].where(whole["covered_ha"] > 0)).astype(float)
    chosen[["gained_ha", "lost_ha"]] = whole[["gained_ha", "lost_ha"]]
    return chosen.reset_index()


def sums_of(rows: pd.DataFrame) -> Sums:
    covered = rows["covered_ha"].to_numpy(float)
    once = tuple(
        Sums(covered, vectors(rows, f"sum_value_{date}")[:, 0], *(vectors(rows, f"{name}_{date}") for name in VECTORS),
             places=vectors(rows, f"places_{date}"))
        for date in DATES if f"sum_value_{date}_0" in rows
    )  # fmt: skip
    return Sums(
        covered, rows["sum_value"].to_numpy(float), *(vectors(rows, name) for name in VECTORS), once or None,
        vectors(rows, "places") if once else None,
    )  # fmt: skip


def stand_rows(rows: pd.DataFrame, asked: Asked) -> tuple[pd.DataFrame, Mapping]:
    """Rows of level `stand`, and what the map says of each stand that it covers; stands that no pixel lies in come last."""
    project, estimator = asked.project, asked.estimator
    unseen = project.stands[~project.stands.isin(rows["stand"])]
    number = project.numbers([*rows["stand"], *unseen])
    found = _entries("stand", project.stands[number], project.area_ha[number], asked)
    cover = np.zeros(len(number))
    cover[: len(rows)] = 100 * rows["seen_ha"].to_numpy() / project.area_ha[number[: len(rows)]]
    found["cover_percent"] = np.minimum(cover, 100.0)
    there = np.flatnonzero(rows["covered_ha"].to_numpy() > 0)
    mapped: Mapping = {}
    if len(there):
        told = rows.iloc[there].reset_index(drop=True)
        sums = sums_of(told)
        estimates = estimator.estimates(sums, project.regions, number[there])
        mapped = Maps(told["stand"].tolist(), sums, project.regions, number[there], estimates)
        covered = told["covered_ha"].to_numpy()
        columns = _columns(estimates, estimator) | {
            "forest_percent": 100 * told["forest_ha"].to_numpy() / covered,
            "gained_ha": told["gained_ha"].to_numpy(),
            "lost_ha": told["lost_ha"].to_numpy(),
            "in_domain_percent": 100 * told["in_domain_ha"].to_numpy() / covered,
            **_applicability(told, sums.set_ha.sum(axis=1)),
            "map_mean": told["map_mean"].to_numpy(),
            "interior_percent": told["interior_percent"].to_numpy(),
            "estimated_from": np.where(told["from_interior"], "pixels inside the stand", "all pixels").astype(object),
            "range_identified": range_identified(estimator.model, sums.set_ha, change=len(asked.span) > 1),
        }
        columns |= {
            f"{one.name}_percent": 100 * hectares / covered
            for one, hectares in zip(estimator.model.sets, sums.set_ha.T, strict=True)
        }
        found["has_total"] = asked.enough(cover) & np.isin(np.arange(len(found)), there)
        found = pd.concat([found, pd.DataFrame(columns, index=there)], axis=1)
    return found.assign(in_project=project.member[number], map_only=True), mapped


def range_identified(model: TargetModel, set_ha: np.ndarray, *, change: bool) -> np.ndarray:
    """Whether plots identify how residuals hang together (n,) in every predictor set that serves a stand.

    set_ha : (n, sets) hectares that each set serves; change : of the change between dates, which has a structure of its own
    """
    told = np.array([all(structure.identified for structure in _structures(model, one, change)) for one in model.sets])
    return ~((np.atleast_2d(set_ha) > 0) & ~told).any(axis=1)


def _structures(model: TargetModel, one: SetModel, change: bool) -> list[Structure]:
    """Of a set's residuals, and of those of the set whose predictions it learned from."""
    told = [one] if one.second_stage is None else [one, model.named(one.second_stage.first_set)]
    return [part.residuals.change if change else part.residuals.level for part in told]


def _entries(level: str, names: Sequence[str], area_ha: np.ndarray, asked: Asked) -> pd.DataFrame:
    return pd.DataFrame({
        "level": level, "stand": names, "target": asked.target, "first_year": asked.span[0], "last_year": asked.span[-1],
        "area_ha": area_ha, "cover_percent": 0.0, "estimator": ESTIMATOR, "has_total": False,
    })  # fmt: skip


def _columns(estimate: Estimate, estimator: RegionEstimator) -> dict:
    freedom = estimate.degrees_of_freedom
    return {
        "mean": estimate.mean,
        "se": estimate.se,
        "low": estimate.low,
        "high": estimate.high,
        **intervals(estimate.mean, estimate.se, freedom, estimator.lowest),
        "sampling_variance": estimate.sampling_variance,
        "shared_variance": estimate.shared_variance,
        "residual_variance": estimate.residual_variance,
        "area_effect_variance": estimate.area_effect_variance,
        "degrees_of_freedom": freedom,
        "plots": estimator.model.counts.get("fewest_plots", 0),  # with their clusters: the set that limits the degrees of freedom
        "clusters": estimator.model.clusters,
    }


def _applicability(sums: pd.DataFrame | pd.Series, served: np.ndarray | float) -> dict:
    """Means over what a predictor set serves: missing of a change, where nothing is forest, or where it is not asked for."""
    served = np.where(np.greater(served, 0), served, np.nan)
    return {
        "dissimilarity_index": np.asarray(sums["sum_dissimilarity"], float) / served,
        "local_point_density": np.asarray(sums["sum_density"], float) / served,
    }


def flag_saturated(
    found: pd.DataFrame, flagged: dict[int, frozenset[str]], levels: Mapping[str, Saturation], sets: Sequence[str]
) -> None:
    """Mark stands whose forest lies above the level of the set that serves most of them; of a change, where either end does.

    `flagged` holds the stands marked so far by the year of the stock, and gets these.
    """
    first, last = (int(found[name].iloc[0]) for name in ("first_year", "last_year"))
    if first != last:
        found["saturated"] = found["stand"].isin(flagged.get(first, ())) | found["stand"].isin(flagged.get(last, ()))
        return
    shares = found.reindex(columns=[f"{name}_percent" for name in sets]).fillna(0.0).to_numpy(float)
    level = np.array([levels[name].level if name in levels else np.inf for name in sets])[shares.argmax(axis=1)]
    forest = found.get("forest_percent", pd.Series(0.0, found.index)).fillna(0.0).to_numpy(float) / 100
    with np.errstate(invalid="ignore"):
        above = found.get("map_mean", pd.Series(np.nan, found.index)).to_numpy(float) >= level * forest
    found["saturated"] = np.isfinite(level) & (forest > 0) & above
    flagged[first] = frozenset(found.loc[found["saturated"], "stand"])


def composite_rows(found: pd.DataFrame, joined: Mapping[str, dict], asked: Asked) -> pd.DataFrame:
    """Rows of level `composite`: the stand's own with the composite's numbers; a record speaks of the whole stand."""
    rows, estimator = [], asked.estimator
    for entry in found[found["stand"].isin(joined)].to_dict("records"):
        columns = joined[entry["stand"]]
        reach = estimator.reach_of(columns["degrees_of_freedom"]) * columns["se"]
        ends = {"low": max(columns["mean"] - reach, estimator.lowest), "high": max(columns["mean"] + reach, estimator.lowest)}
        spread = intervals(columns["mean"], columns["se"], columns["degrees_of_freedom"], estimator.lowest)
        has_total = entry["has_total"] or "map" not in columns["estimator"].split(" of ")[1].split(", ")
        rows.append(entry | columns | ends | spread | {"level": "composite", "has_total": has_total})
    return pd.DataFrame(rows, columns=None if rows else found.columns)


def region_rows(rows: pd.DataFrame, found: pd.DataFrame, asked: Asked) -> list[dict]:
    """The project, and each of its strata and districts; `rows` and `found` as in `stand_rows`, whose first stands are those of
    `rows`."""
    project = asked.project
    number = project.numbers(found["stand"])
    main = project.member[number]
    regional = [_region_row("project", "project", rows, found, main, asked)]
    for level, labels in (("stratum", project.stratum[number]), ("district", project.district[number])):
        for name in sorted(set(labels[main]) - {""}):
            regional.append(_region_row(level, name, rows, found, main & (labels == name), asked))
    return regional


def _region_row(level: str, name: str, rows: pd.DataFrame, found: pd.DataFrame, among: np.ndarray, asked: Asked) -> dict:
    """Stands that have a total, as one region whose total is the sum of theirs; the others `among` `found` (n,) are counted."""
    seen = among[: len(rows)]
    every, used = rows[seen], rows[seen & found["has_total"].to_numpy()[: len(rows)]]
    found = found[among]
    number, whole = asked.project.numbers(used["stand"]), float(found["area_ha"].sum())
    area_ha = asked.project.area_ha[number]
    (entry,) = _entries(level, [name], np.array([area_ha.sum()]), asked).to_dict("records")
    entry |= {
        "stands": len(used),
        "stands_without_total": len(found) - len(used),
        "all_stands_area_ha": whole,
        "saturated_ha": float(found.loc[found["saturated"], "area_ha"].sum()),
    }
    if len(used):
        sums, added = sums_of(used), used[ADDED].sum(skipna=False)
        estimate = asked.estimator.estimate(sums.filling(area_ha), asked.project.regions[number])
        entry |= _columns(estimate, asked.estimator) | {
            "has_total": True,
            "cover_percent": min(100 * every["seen_ha"].sum() / whole, 100.0),
            "forest_percent": 100 * added["forest_ha"] / added["covered_ha"],
            "gained_ha": added["gained_ha"],
            "lost_ha": added["lost_ha"],
            "in_domain_percent": 100 * added["in_domain_ha"] / added["covered_ha"],
            "map_mean": float(used["map_mean"].to_numpy() @ area_ha) / area_ha.sum(),
            "range_identified": bool(range_identified(asked.estimator.model, sums.set_ha, change=len(asked.span) > 1).all()),
            **{name: float(value) for name, value in _applicability(added, sums.set_ha.sum()).items()},
        }
    return entry


ADDED = ["covered_ha", "forest_ha", "gained_ha", "lost_ha", "in_domain_ha", "sum_dissimilarity", "sum_density"]
