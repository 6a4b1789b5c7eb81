"""Rule `stands`: stock and sink of every stand and of the project, with standard errors and intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.inference.fitted import TargetModel
from models.inference.stands import Estimate, RegionEstimator, Sums, lattice
from pipeline import store
from pipeline.grid import Grid
from pipeline.products import estimands_of
from pipeline.report.styles import stand_style
from pipeline.steps.carbon import carbon_factors, in_carbon, region_in_carbon
from pipeline.steps.notes import caveats_in, kept_warnings, unverified_in
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
    project: Path,
    partials: Sequence[Path],
    models: Mapping[str, Path],
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
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Add the blocks' sums, turn them into estimates, and write one row per stand for people and one per estimate."""
    grid_ = Grid(**grid)
    with kept_warnings(said):
        polygons = read_stands(
            settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None
        )
    polygons = polygons.reset_index(drop=True)
    parts = [part for path in partials if len(part := store.read_table(path))]
    if not parts:
        raise ValueError(f"none of {len(polygons)} stands covers a cell of the study's grid")
    totals = _estimated_from(combine(pd.concat(parts, ignore_index=True)))
    regions = {row.stand: lattice(row.geometry) for row in polygons.itertuples()}
    areas = dict(zip(polygons["stand"], polygons["area_ha"], strict=True))
    in_project = _in_project(polygons)
    long, whole = [], []
    for target, path in models.items():
        model = TargetModel.from_plain(store.read_json(path))
        for estimand, span in estimands_of(target, tuple(years)).items():
            rows = totals[totals["estimand"] == estimand]
            estimator = RegionEstimator(
                model, years=span, confidence_percent=confidence_percent, lowest=0.0 if len(span) == 1 else -np.inf
            )
            found = _stand_rows(rows, estimator, target, span, regions, areas, min_cover_percent)
            seen = {entry["stand"] for entry in found}
            found += [_entry("stand", stand, target, span, areas[stand], 0.0) for stand in regions if stand not in seen]
            long += found
            main = [entry for entry in found if entry["stand"] in in_project]
            whole.append(_project_row(rows, main, estimator, target, span, regions, areas))
    estimated = pd.DataFrame(long)
    if "mean" not in estimated:
        raise ValueError(
            f"none of {len(polygons)} stands has an estimate: nowhere in them is a predictor set complete where there is "
            "forest; do the images and campaigns cover the stands?"
        )
    factors = carbon_factors(carbon, rooted)
    wide = _wide(polygons, estimated, years, factors, stock_target, targets, confidence_percent)
    used = estimated[estimated["has_total"] & estimated["stand"].isin(in_project)].merge(polygons[["stand", "stratum"]])
    summary = _project_table(pd.DataFrame(whole), factors, used, stock_target, targets, confidence_percent)
    both = pd.concat([estimated, pd.DataFrame(whole)], ignore_index=True)
    caveats = caveats_in(warned)
    if caveats:
        told = {"caveats": "; ".join(caveats), "unverified": "; ".join(unverified_in(warned))}
        wide, summary, both = (frame.assign(**told) for frame in (wide, summary, both))
    store.write_table(estimates, both)
    store.write_table(table, wide)
    store.write_table(project, summary)
    store.write_layers(layers, {"stands": wide}, styles={"stands": stand_style(wide, years, stock_target)})
    short = estimated.groupby("stand")["cover_percent"].min() < min_cover_percent - ROUNDING_PERCENT
    log.info("%d stands, %d below %g %% cover without a total", len(wide), int(short.sum()), min_cover_percent)


def _in_project(polygons) -> set[str]:
    """Stands that the project adds up: where plots are stands too they lie on top of others and would count twice."""
    beside = polygons[polygons["layer"] != "plots"]
    return set(beside["stand"]) or set(polygons["stand"])


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


def _stand_rows(rows, estimator, target, span, regions, areas, min_cover_percent) -> list[dict]:
    found, model = [], estimator.model
    for row in rows.itertuples():
        area = areas[row.stand]
        cover = 100 * row.seen_ha / area
        entry = _entry("stand", row.stand, target, span, area, cover)
        if row.covered_ha > 0:
            estimate = estimator.estimate([_sums(row)], [regions[row.stand]])
            entry |= _columns(estimate, model) | {
                "has_total": cover >= min_cover_percent - ROUNDING_PERCENT,
                "forest_percent": 100 * row.forest_ha / row.covered_ha,
                "gained_ha": row.gained_ha,
                "lost_ha": row.lost_ha,
                "in_domain_percent": 100 * row.in_domain_ha / row.covered_ha,
                "map_mean": row.map_mean,
                "interior_percent": row.interior_percent,
                "estimated_from": "pixels inside the stand" if row.from_interior else "all pixels",
            } | _set_shares(row, model)  # fmt: skip
        found.append(entry)
    return found


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


def _columns(estimate: Estimate, model: TargetModel) -> dict:
    return {
        "mean": estimate.mean,
        "se": estimate.se,
        "low": estimate.low,
        "high": estimate.high,
        "sampling_variance": estimate.sampling_variance,
        "shared_variance": estimate.shared_variance,
        "residual_variance": estimate.residual_variance,
        "degrees_of_freedom": model.degrees_of_freedom,
    }


def _set_shares(row, model: TargetModel) -> dict:
    return {
        f"{one.name}_percent": 100 * hectares / row.covered_ha
        for one, hectares in zip(model.sets, row.set_ha, strict=True)
    }


def _project_row(rows, found, estimator, target, span, regions, areas) -> dict:
    """All stands that have a total, as one region whose total is the sum of theirs; the others are counted."""
    counted = {entry["stand"] for entry in found if entry["has_total"]}
    names = {entry["stand"] for entry in found}
    every = [row for row in rows.itertuples() if row.stand in names]
    used = [row for row in every if row.stand in counted]
    area = sum(areas[row.stand] for row in used)
    entry = _entry("project", "project", target, span, area, 0.0) | {
        "stands": len(used),
        "stands_without_total": len(found) - len(used),
        "all_stands_area_ha": sum(entry["area_ha"] for entry in found),
    }
    if used:
        estimate = estimator.estimate(
            [_sums(row).filling(areas[row.stand]) for row in used], [regions[row.stand] for row in used]
        )
        covered = sum(row.covered_ha for row in used)
        entry |= _columns(estimate, estimator.model) | {
            "has_total": True,
            "cover_percent": min(100 * sum(row.seen_ha for row in every) / entry["all_stands_area_ha"], 100.0),
            "forest_percent": 100 * sum(row.forest_ha for row in used) / covered,
            "gained_ha": sum(row.gained_ha for row in used),
            "lost_ha": sum(row.lost_ha for row in used),
            "in_domain_percent": 100 * sum(row.in_domain_ha for row in used) / covered,
        }  # fmt: skip
    return entry


def _wide(polygons, estimated: pd.DataFrame, years, factors, stock_target, targets, confidence_percent: float):
    """One row per stand: what a forester opens. Columns say estimand, unit and years."""
    known = [name for name in ("stand", "layer", "stratum", "area_ha", "declared_area_ha") if name in polygons]
    wide = polygons[[name for name in known if name == "stand" or polygons[name].notna().any()]].copy()
    wide["interval_percent"] = confidence_percent
    wide["reported_estimator"] = ESTIMATOR
    strata = polygons["stratum"].fillna("").astype(str).tolist()
    first_rows = estimated.drop_duplicates("stand").set_index("stand").reindex(wide["stand"])
    wide["interior_percent"] = first_rows["interior_percent"].to_numpy()
    for (target, first, last), rows in estimated.groupby(["target", "first_year", "last_year"], sort=False):
        rows = rows.set_index("stand").reindex(wide["stand"])
        suffix = f"{first}" if first == last else f"{first}_{last}"
        if target == stock_target or first == last:
            wide[f"cover_percent_{suffix}"] = rows["cover_percent"].fillna(0.0).to_numpy()
        if first == last:
            _stock_columns(wide, rows, targets[target]["column"], suffix)
            if target == stock_target:
                _carbon_columns(wide, in_carbon(rows, factors, strata=strata), suffix)
        elif target == stock_target:
            _sink_columns(wide, in_carbon(rows, factors, years=last - first, strata=strata), first, last)
    return wide.assign(geometry=polygons.geometry).set_geometry("geometry", crs=polygons.crs)


def _spread(wide, name: str, rows: pd.DataFrame, factor: float, suffix: str) -> None:
    for ending, column in (("", "mean"), ("_se", "se"), ("_low", "low"), ("_high", "high")):
        wide[f"{name}{ending}_{suffix}"] = (rows[column] * factor).to_numpy() if column in rows else np.nan


def _stock_columns(wide, rows, column: str, suffix: str) -> None:
    wide[f"map_{column}_{suffix}"] = rows["map_mean"].to_numpy()
    _spread(wide, f"reported_{column}", rows, 1.0, suffix)
    for name in ("forest_percent", "in_domain_percent"):
        wide[f"{name}_{suffix}"] = rows[name].to_numpy()


def _carbon_columns(wide, rows, suffix: str) -> None:
    _spread(wide, "reported_tree_carbon_t_ha", rows, 1.0, suffix)
    wide[f"reported_tree_carbon_t_{suffix}"] = _totals(wide, rows)
    wide[f"extrapolated_percent_{suffix}"] = 100 - wide[f"cover_percent_{suffix}"]


def _totals(wide, rows) -> np.ndarray:
    return np.where(rows["has_total"].fillna(False).astype(bool), rows["mean"] * wide["area_ha"].to_numpy(), np.nan)


def _sink_columns(wide, rows, first: int, last: int) -> None:
    suffix = f"{first}_{last}"
    name = "reported_net_removal_t_co2_ha_yr"
    _spread(wide, name, rows, 1.0, suffix)
    wide[f"reported_net_removal_t_co2_yr_{suffix}"] = _totals(wide, rows)
    low, high = wide[f"{name}_low_{suffix}"], wide[f"{name}_high_{suffix}"]
    wide[f"direction_{suffix}"] = np.select(
        [low > 0, high < 0, low.notna()], ["sink", "source", "not distinguishable from zero"], "no estimate"
    )
    wide[f"forest_gained_ha_{suffix}"] = rows["gained_ha"].to_numpy()
    wide[f"forest_lost_ha_{suffix}"] = rows["lost_ha"].to_numpy()


def _project_table(
    whole: pd.DataFrame, factors, used: pd.DataFrame, stock_target, targets, confidence_percent: float
) -> pd.DataFrame:
    """The project's estimates in the units people quote: per hectare and in total; `used` are the stands that it adds up."""
    rows = []
    for number, row in enumerate(whole.itertuples()):
        if not row.has_total:
            continue
        stock, one = row.first_year == row.last_year, whole.iloc[[number]]
        quoted = [(targets[row.target]["column"], targets[row.target]["units"], one)] if stock else []
        if row.target == stock_target:
            same = (used["target"] == row.target) & (used["first_year"] == row.first_year) & (used["last_year"] == row.last_year)
            if stock:
                quoted.append(("tree_carbon_t_ha", "t C/ha", region_in_carbon(one, factors, used[same])))
            else:
                removal = region_in_carbon(one, factors, used[same], years=row.last_year - row.first_year)
                quoted.append(("net_removal_t_co2_ha_yr", "t CO2/ha/yr", removal))
        for name, units, table in quoted:
            told = table.iloc[0]
            rows.append(
                {
                    "quantity": name, "units": units, "first_year": row.first_year, "last_year": row.last_year,
                    "mean": told["mean"], "se": told["se"], "low": told["low"], "high": told["high"],
                    "interval_percent": confidence_percent,
                    "area_ha": row.area_ha, "total": told["mean"] * row.area_ha,
                    "total_se": told["se"] * row.area_ha,
                    "estimator": row.estimator, "degrees_of_freedom": row.degrees_of_freedom, "stands": row.stands,
                    "stands_without_total": row.stands_without_total, "all_stands_area_ha": row.all_stands_area_ha,
                    "cover_percent": row.cover_percent,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
