"""Rule `stands`: stock and sink of every stand, of strata and of the project by the model, with standard errors and intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.inference.patches import STAND
from models.inference.stands import Estimate, RegionEstimator, Sums, lattices
from models.inference.target_model import TargetModel
from models.saturation import Saturation, saturation
from pipeline import store
from pipeline.grid import Grid
from pipeline.products import estimands_of
from pipeline.report.styles import stand_style
from pipeline.steps.carbon import carbon_factors
from pipeline.steps.notes import caveats_in, kept_warnings, unverified_in
from pipeline.steps.stand_composites import LEDGER_COLUMNS, Field, Mapped, composites
from pipeline.steps.stand_tables import intervals, wide_table
from pipeline.zonal import combine

log = logging.getLogger(__name__)

ESTIMATOR = "model-based synthetic"
INTERIOR_PERCENT = 25.0
"""A stand is estimated from the pixels wholly inside it where they are at least this share of its area; the rest of it
takes their mean. Pixels that straddle a border see both sides: shared out by area, they carry biomass from a full stand
to its empty neighbour and out to the fields (the planted truth itself loses 1.9 % of the stands' biomass that way)."""
ROUNDING_PERCENT = 1e-4
"""A stand that is covered wholly may miss this much of its cover by rounding."""


def stands(
    *,
    layers: Path,
    table: Path,
    estimates: Path,
    ledger: Path,
    partials: Sequence[Path],
    models: Mapping[str, Path],
    left_out: Mapping[str, Path],
    training: Mapping[str, Path],
    settings: dict,
    grid: dict,
    years: Sequence[int],
    carbon: dict,
    stock_target: str | None,
    min_cover_percent: float,
    confidence_percent: float,
    targets: Mapping[str, dict],
    plots: Path | None = None,
    said: Path | None = None,
    warned: Path | None = None,
    max_outside_domain_percent: float = 80.0,
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Add the blocks' sums, turn them into estimates, and write one row per stand for people and one per estimate.

    `ledger` gets the sources of each composite: the map, the stand's own plots, its inventory records.
    """
    grid_ = Grid(**grid)
    with kept_warnings(said):
        polygons = read_stands(
            settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None
        )
        polygons = polygons.reset_index(drop=True)
        parts = [part for path in partials if len(part := store.read_table(path))]
        if not parts:
            raise ValueError(f"none of {len(polygons)} stands covers a cell of the study's grid")
        combined = combine(pd.concat(parts, ignore_index=True))
        check_extrapolation(combined, max_outside_domain_percent)
        totals = _estimated_from(combined)
        shapes = zip(polygons["stand"], lattices(polygons.geometry), strict=True)
        regions = {stand: replace(region, patch=STAND + stand) for stand, region in shapes}
        project = Project(
            dict(zip(polygons["stand"], polygons["area_ha"], strict=True)), _in_project(polygons), _strata_of(polygons)
        )
        long, whole, sources = [], [], []
        for target, path in models.items():
            model = TargetModel.from_plain(store.read_json(path))
            apart = store.read_table(left_out[target])
            told = _of_target(
                target, model, apart, Field.of(apart, store.read_table(training[target]), polygons), totals, polygons, regions,
                project, records=settings.get("records") or {}, years=years, units=targets[target]["units"],
                confidence_percent=confidence_percent, min_cover_percent=min_cover_percent,
            )  # fmt: skip
            for every, own in zip((long, whole, sources), told, strict=True):
                every += own
    estimated = pd.DataFrame(long)
    if "mean" not in estimated:
        raise ValueError(
            f"none of {len(polygons)} stands has an estimate: nowhere in them is a predictor set complete where there is "
            "forest; do the images and campaigns cover the stands?"
        )
    factors = carbon_factors(carbon, rooted)
    wide = wide_table(polygons, estimated, years, factors, stock_target, targets, confidence_percent, ESTIMATOR)
    both = pd.concat([estimated, pd.DataFrame(whole)], ignore_index=True)
    entries = pd.DataFrame(sources, columns=LEDGER_COLUMNS)
    caveats = caveats_in(warned)
    if caveats:
        told = {"caveats": "; ".join(caveats), "unverified": "; ".join(unverified_in(warned))}
        wide, both, entries = (frame.assign(**told) for frame in (wide, both, entries))
    store.write_table(estimates, both)
    store.write_table(table, wide)
    store.write_table(ledger, entries)
    store.write_layers(layers, {"stands": wide}, styles={"stands": stand_style(wide, years, stock_target)})
    modelled = estimated[estimated["level"] == "stand"]
    short = modelled.groupby("stand")["cover_percent"].min() < min_cover_percent - ROUNDING_PERCENT
    log.info("%d stands, %d below %g %% cover without a total", len(wide), int(short.sum()), min_cover_percent)
    log.info("%d stands have a composite of several sources", entries["stand"].nunique())


def _of_target(
    target: str, model: TargetModel, apart: pd.DataFrame, field: Field, totals: pd.DataFrame, polygons, regions: Mapping,
    project: Project, *, records: Mapping[str, Mapping], years: Sequence[int], units: str, confidence_percent: float,
    min_cover_percent: float,
) -> tuple[list[dict], list[dict], list[dict]]:  # fmt: skip
    """Rows of a target's stands with their composites, of project and strata, and of the composites' sources."""
    long, whole, sources = [], [], []
    levels, flagged = saturation_of(model, apart), set()
    for estimand, span in estimands_of(target, tuple(years)).items():
        rows = totals[totals["estimand"] == estimand]
        estimator = RegionEstimator(
            model, years=span, confidence_percent=confidence_percent, lowest=0.0 if len(span) == 1 else -np.inf
        )
        found, mapped = _stand_rows(rows, estimator, target, span, regions, project, min_cover_percent)
        seen = {entry["stand"] for entry in found}
        found += [_entry("stand", stand, target, span, project.areas[stand], 0.0) for stand in regions if stand not in seen]
        for entry in found:
            entry |= {"in_project": entry["stand"] in project.members, "map_only": True}
        _flag_saturated(found, flagged, levels, [one.name for one in model.sets])
        joined, told = composites(target, span, mapped, polygons, estimator, field, records, units=units)
        long += found + _composite_rows(found, joined, estimator, min_cover_percent)
        sources += told
        whole += _region_rows(rows, found, estimator, target, span, regions, project)
    return long, whole, sources


WARN_OUTSIDE_PERCENT = 50.0
"""Share of the forest outside the area of applicability from which on a stock is said to be mostly extrapolated."""


def check_extrapolation(totals: pd.DataFrame, most_percent: float) -> None:
    """Warn of a stock most of whose forest is unlike every plot; refuse one of which more than `most_percent` is.

    Parameters
    ----------
    totals : DataFrame
        Sums per estimand, stand and part, as `combine` makes them; pixels without forest count as in the domain.
    """
    whole = totals[totals["part"] == "all"].groupby("estimand")[["covered_ha", "in_domain_ha", "forest_ha"]].sum()
    for estimand, row in whole[whole["forest_ha"] > 0].iterrows():
        percent = 100 * (row["covered_ha"] - row["in_domain_ha"]) / row["forest_ha"]
        if percent > most_percent:
            raise ValueError(
                f"{percent:.0f} % of the forest of {estimand} lies outside the area of applicability, at most {most_percent:g} % "
                "may (model.max_outside_domain_percent): the plots show no forest like it, so its numbers would be guesses; add "
                "plots there, use fewer predictors, or leave that part out of the stands"
            )
        if percent > WARN_OUTSIDE_PERCENT:
            log.warning(
                "%.0f %% of the forest of %s lies outside the area of applicability: mostly extrapolated", percent, estimand
            )


@dataclass(frozen=True)
class Project:
    """Area (ha) of every stand, the stands that the project adds up, and the stratum of each that has one."""

    areas: Mapping[str, float]
    members: frozenset[str]
    strata: Mapping[str, str]


def _strata_of(polygons) -> dict[str, str]:
    return {row.stand: str(row.stratum) for row in polygons.itertuples() if isinstance(row.stratum, str) and row.stratum}


def saturation_of(model: TargetModel, left_out: pd.DataFrame) -> dict[str, Saturation]:
    """The prediction from which on each predictor set says nothing more, where its left-out plots show one."""
    found = {}
    for one in model.sets:
        rows = left_out[left_out["set_name"] == one.name].dropna(subset=["observed", "predicted"])
        level = saturation(
            rows["observed"].to_numpy(float), rows["predicted"].to_numpy(float), rows["cluster"].astype(str).to_numpy()
        )
        if level is not None:
            found[one.name] = level
            log.warning(
                "%s from %s saturates: beyond %.4g at plots left out, predictions rise by %.2f per unit (before by %.2f); stands "
                "predicted at %.4g or more are flagged, and no change is told by the map alone there",
                model.target, one.name, level.ceiling_of, level.slope, level.before, level.level,
            )  # fmt: skip
    return found


def _flag_saturated(
    found: list[dict], flagged: set[tuple[str, int]], levels: Mapping[str, Saturation], sets: Sequence[str]
) -> None:
    """Mark stands whose forest lies above the level of the set that serves most of them; of a change, where either end does.

    `flagged` holds stand and year of the stocks marked so far, and gets these.
    """
    for entry in found:
        if entry["first_year"] != entry["last_year"]:
            entry["saturated"] = any((entry["stand"], year) in flagged for year in (entry["first_year"], entry["last_year"]))
            continue
        level = levels.get(max(sets, key=lambda name: entry.get(f"{name}_percent", 0.0)))
        forest = entry.get("forest_percent", 0.0) / 100
        entry["saturated"] = level is not None and forest > 0 and entry["map_mean"] >= level.level * forest
        if entry["saturated"]:
            flagged.add((entry["stand"], entry["first_year"]))


def _composite_rows(found: list[dict], joined: Mapping[str, dict], estimator: RegionEstimator, min_cover: float) -> list[dict]:
    """Rows of level `composite`: the stand's own with the composite's numbers; a record speaks of the whole stand."""
    rows = []
    for entry in found:
        if entry["stand"] in joined:
            columns = joined[entry["stand"]]
            reach = estimator.reach_of(columns["degrees_of_freedom"]) * columns["se"]
            ends = {"low": max(columns["mean"] - reach, estimator.lowest), "high": max(columns["mean"] + reach, estimator.lowest)}
            spread = intervals(columns["mean"], columns["se"], columns["degrees_of_freedom"], estimator.lowest)
            has_total = entry["has_total"] or "map" not in columns["estimator"].split(" of ")[1].split(", ")
            rows.append(entry | columns | ends | spread | {"level": "composite", "has_total": has_total})
    return rows


def _in_project(polygons) -> frozenset[str]:
    """Stands that the project adds up: where plots are stands too they lie on top of others and would count twice."""
    beside = polygons[polygons["layer"] != "plots"]
    return frozenset(beside["stand"]) or frozenset(polygons["stand"])


def _estimated_from(totals: pd.DataFrame) -> pd.DataFrame:
    """Per estimand and stand, the sums it is estimated from, with what all its pixels say: cover, mean, gain and loss."""
    keys = ["estimand", "stand"]
    whole = totals[totals["part"] == "all"].set_index(keys)
    inside = totals[totals["part"] == "interior"].set_index(keys).reindex(whole.index)
    interior_percent = 100 * (inside["area_ha"] / whole["area_ha"]).fillna(0.0)
    enough = (interior_percent >= INTERIOR_PERCENT) & (inside["covered_ha"].fillna(0.0) > 0)
    chosen = inside.where(enough, whole)
    chosen["interior_percent"] = interior_percent
    chosen["from_interior"] = enough
    chosen["seen_ha"] = whole["covered_ha"]
    chosen["map_mean"] = (whole["sum_value"] / whole["covered_ha"].where(whole["covered_ha"] > 0)).astype(float)
    chosen[["gained_ha", "lost_ha"]] = whole[["gained_ha", "lost_ha"]]
    return chosen.reset_index()


def _sums(row) -> Sums:
    return Sums(
        row.covered_ha, row.sum_value, *(np.asarray(getattr(row, name), float) for name in ("set_ha", "sum_s", "sum_s2")),
        np.asarray(row.sum_gradient, float),
    )  # fmt: skip


def _stand_rows(
    rows, estimator: RegionEstimator, target, span, regions, project: Project, min_cover_percent
) -> tuple[list[dict], dict[str, Mapped]]:
    """Rows of level `stand`, and what the map says of each stand that it covers."""
    found, mapped, model = [], {}, estimator.model
    for row in rows.itertuples():
        area = project.areas[row.stand]
        cover = 100 * row.seen_ha / area
        entry = _entry("stand", row.stand, target, span, area, cover)
        if row.covered_ha > 0:
            one = Mapped(_sums(row), regions[row.stand], estimator.estimate([_sums(row)], [regions[row.stand]]))
            mapped[row.stand] = one
            entry |= _columns(one.estimate, estimator) | {
                "has_total": cover >= min_cover_percent - ROUNDING_PERCENT,
                "forest_percent": 100 * row.forest_ha / row.covered_ha,
                "gained_ha": row.gained_ha,
                "lost_ha": row.lost_ha,
                "in_domain_percent": 100 * row.in_domain_ha / row.covered_ha,
                **_applicability(row),
                "map_mean": row.map_mean,
                "interior_percent": row.interior_percent,
                "estimated_from": "pixels inside the stand" if row.from_interior else "all pixels",
            } | _set_shares(row, model)  # fmt: skip
        found.append(entry)
    return found, mapped


def _entry(level: str, stand: str, target: str, span: Sequence[int], area: float, cover: float) -> dict:
    return {
        "level": level,
        "stand": stand,
        "target": target,
        "first_year": span[0],
        "last_year": span[-1],
        "area_ha": area,
        "cover_percent": min(cover, 100.0),
        "estimator": ESTIMATOR,
        "has_total": False,
    }


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
        "plots": estimator.model.counts.get("plots", 0),
        "clusters": estimator.model.clusters,
    }


def _set_shares(row, model: TargetModel) -> dict:
    return {
        f"{one.name}_percent": 100 * hectares / row.covered_ha
        for one, hectares in zip(model.sets, row.set_ha, strict=True)
    }


def _applicability(*rows) -> dict:
    """Means over what a predictor set serves: missing of a change, where nothing is forest, or where it is not asked for."""
    served = sum(float(np.sum(row.set_ha)) for row in rows)
    index, density = (sum(getattr(row, name) for row in rows) for name in ("sum_dissimilarity", "sum_density"))
    if served <= 0:
        index = density = served = np.nan
    return {"dissimilarity_index": index / served, "local_point_density": density / served}


def _region_rows(rows, found: list[dict], estimator: RegionEstimator, target, span, regions, project: Project) -> list[dict]:
    """The project and each of its strata."""
    main = [entry for entry in found if entry["stand"] in project.members]
    regional = [_region_row("project", "project", rows, main, estimator, target, span, regions, project)]
    for stratum in sorted({project.strata[entry["stand"]] for entry in main if entry["stand"] in project.strata}):
        members = [entry for entry in main if project.strata.get(entry["stand"]) == stratum]
        regional.append(_region_row("stratum", stratum, rows, members, estimator, target, span, regions, project))
    return regional


def _region_row(level: str, name: str, rows, found, estimator: RegionEstimator, target, span, regions, project: Project) -> dict:
    """Stands that have a total, as one region whose total is the sum of theirs; the others are counted."""
    counted = {entry["stand"] for entry in found if entry["has_total"]}
    names = {entry["stand"] for entry in found}
    every = [row for row in rows.itertuples() if row.stand in names]
    used = [row for row in every if row.stand in counted]
    areas = project.areas
    area = sum(areas[row.stand] for row in used)
    entry = _entry(level, name, target, span, area, 0.0) | {
        "stands": len(used),
        "stands_without_total": len(found) - len(used),
        "all_stands_area_ha": sum(entry["area_ha"] for entry in found),
        "saturated_ha": sum(entry["area_ha"] for entry in found if entry.get("saturated")),
    }
    if used:
        estimate = estimator.estimate(
            [_sums(row).filling(areas[row.stand]) for row in used], [regions[row.stand] for row in used]
        )
        covered = sum(row.covered_ha for row in used)
        entry |= _columns(estimate, estimator) | {
            "has_total": True,
            "cover_percent": min(100 * sum(row.seen_ha for row in every) / entry["all_stands_area_ha"], 100.0),
            "forest_percent": 100 * sum(row.forest_ha for row in used) / covered,
            "gained_ha": sum(row.gained_ha for row in used),
            "lost_ha": sum(row.lost_ha for row in used),
            "in_domain_percent": 100 * sum(row.in_domain_ha for row in used) / covered,
            "map_mean": sum(row.map_mean * areas[row.stand] for row in used) / area,
            **_applicability(*used),
        }  # fmt: skip
    return entry
