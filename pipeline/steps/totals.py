"""Rule `totals`: the project, its strata and districts by every estimator that the plots allow, and the one to report of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.inference.area_totals import area_estimates
from models.inference.design_totals import MODEL_BASED, Area, Verdict, design_estimates, recommended
from models.inference.target_model import TargetModel
from models.pools import with_factor_error
from pipeline import store
from pipeline.grid import Grid
from pipeline.products import estimands_of
from pipeline.steps.carbon import Quantity, carbon_factors, quantities_of, relative_factor
from pipeline.steps.notes import with_caveats
from pipeline.steps.stand_tables import ALWAYS, intervals, silenced
from pipeline.steps.total_samples import Land, left_out_shift, on_maps, plots_left_out, said_of_left_out, sample_of, seen_plots

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

COLUMNS = [
    "level", "area", "quantity", "units", "first_year", "last_year", "estimator", "reported", "mean", "se",
    *(f"{side}_{level}" for level in ALWAYS for side in ("low", "high")),
    "low", "high", "interval_percent", "area_ha", "total", "total_se", "degrees_of_freedom", "plots", "clusters",
    "variance_allometry", "variance_parameters", "variance_residual", "variance_area_effect",
    "variance_formula", "se_g_weight", "se_external", "why", "note",
]  # fmt: skip
PROJECT_COLUMNS = [
    "quantity", "units", "first_year", "last_year", "mean", "se", "low", "high", "interval_percent",
    *(f"{side}_{level}" for level in ALWAYS for side in ("low", "high")),
    "area_ha", "total", "total_se", "estimator", "degrees_of_freedom", "plots", "clusters",
    "variance_allometry", "variance_parameters", "variance_residual", "variance_area_effect", "why",
]  # fmt: skip
OF_STANDS = ["stands", "stands_without_total", "all_stands_area_ha", "cover_percent"]
MODEL_TITLE = "model-based synthetic"
ALL_STANDS = "all_stands"
"""Level of the one area that the map does not cover: every stand, with a total or without."""
PARTS = tuple(f"variance_{name}" for name in ("allometry", "parameters", "residual", "area_effect"))
OTHER_ERRORS = ("se_g_weight", "se_external")
"""The standard error by formulas that are published too, beside the one that `variance_formula` names and `se` has."""


def totals(
    *,
    totals: Path,
    project: Path,
    plots: Path,
    table: Path,
    estimates: Path,
    models: Mapping[str, Path],
    left_out: Mapping[str, Path],
    training: Mapping[str, Path],
    maps: Sequence[Path],
    products: Sequence[Mapping],
    grid: dict,
    years: Sequence[int],
    carbon: dict,
    stock_target: str | None,
    targets: Mapping[str, dict],
    confidence_percent: float,
    sets: Sequence[Path] = (),
    flown_by_chance: Mapping[str, bool] | None = None,
    warned: Path | None = None,
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Estimates of project, strata and districts by the model and, where plots were chosen by chance, by the design.

    Parameters
    ----------
    totals : what every estimator says, a row each, refusals with their reason; one row per area and quantity is `reported`
    project : the reported ones of the project, with the sum of the stands' own reported numbers beside
    maps : blocks of the maps of stocks and changes, in a folder per product
    sets : blocks of what each predictor set says by itself, in a folder per target and year; none where no estimator asks for it
    flown_by_chance : study year -> whether chance has drawn the land that its lidar covers
    """
    grid_ = Grid(**grid)
    stands = store.read_table(table)
    modelled = store.read_table(estimates)
    chosen = store.read_table(plots)
    factors = carbon_factors(carbon, rooted)
    rows: list[dict] = []
    for target, path in models.items():
        model = TargetModel.from_plain(store.read_json(path))
        column, alone = targets[target]["column"], Path(sets[0]).parent.parent if sets else None
        seen = seen_plots(store.read_table(training[target]), chosen, column, years)
        lost = plots_left_out(chosen, column, _main(stands))
        apart = left_out_shift(model, store.read_table(left_out[target]), store.read_table(training[target]))
        with store.kept_open():
            relative = partial(relative_factor, factors, stands, grid_)
            seen = on_maps(seen, apart, target, products, Path(maps[0]).parent.parent, grid_, alone, relative)
        land = Land.of(target, years, alone, grid_, _main(stands), flown_by_chance or {}) if alone else None
        for span in estimands_of(target, tuple(years)).values():
            mine = modelled[
                (modelled["target"] == target) & (modelled["first_year"] == span[0]) & (modelled["last_year"] == span[-1])
            ]
            given = partial(sample_of, seen, span, stands, column=column, factors=factors, land=land)
            quoted = list(quantities_of(target, span[0], span[-1], targets, factors, stock_target))
            members = _members(mine, stands)
            for one in _estimated(mine, stands, given):
                left_out_here = said_of_left_out(_within(lost, one.own, mine, stands))
                rows += _rows_of(one, quoted, members, span, confidence_percent, left_out_here)
    found = pd.DataFrame(rows, columns=[*COLUMNS, *OF_STANDS])
    summary = _summary(found, modelled, stands, targets, factors, stock_target)
    store.write_table(totals, with_caveats(found.drop(columns=OF_STANDS), warned))
    store.write_table(project, with_caveats(summary, warned))
    told = found[found["mean"].notna()]
    log.info(
        "%d estimates of %d areas and quantities by %d estimators; %d more refused",
        len(told), len(found[["area", "quantity", "first_year", "last_year"]].drop_duplicates()), told["estimator"].nunique(),
        len(found) - len(told),
    )  # fmt: skip


# ---------------------------------------------------------------- areas and their rows


@dataclass(frozen=True)
class Estimated:
    """An area with what the model says of it (a row of the stands' estimates) and what every estimator of plots does."""

    area: Area
    own: pd.Series
    verdicts: list[Verdict]

    @property
    def is_mapped(self) -> bool:
        """Whether the map covers it, so that the model speaks of it."""
        return self.own["level"] != ALL_STANDS


def _main(stands: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The stands that add up: where plots are stands too, they lie on top of others."""
    beside = stands[stands["layer"] != "plots"]
    return (beside if len(beside) else stands).reset_index(drop=True)


def _estimated(mine: pd.DataFrame, stands: gpd.GeoDataFrame, given: Callable) -> Iterator[Estimated]:
    """The project (stands with a total), its strata and districts; and all stands, where the map leaves out some of them."""
    whole = mine[mine["level"] == "project"].iloc[0]
    of_stands = mine[mine["level"] == "stand"]
    if whole["has_total"]:
        sample, places = given(set(of_stands.loc[of_stands["has_total"].astype(bool), "stand"]))
        strata = _areas(mine, "stratum")
        share = {area.name: area.area_ha for area, _ in strata}
        inside = share if np.isclose(sum(share.values()), whole["area_ha"]) else {}  # else some stands have no stratum
        area = Area("project", whole["area_ha"], whole["map_mean"], inside)
        yield Estimated(area, whole, design_estimates(sample, area, places=places))
        for level, areas in (("stratum", strata), ("district", _areas(mine, "district"))):
            found = area_estimates(sample, [area for area, _ in areas], column=level)
            yield from (Estimated(area, own, found[area.name]) for area, own in areas)
    if whole["stands_without_total"]:
        every = _main(stands)
        sample, places = given(set(every["stand"]))
        if (sample["selection"] == "probability").any():
            own = whole.copy()
            own[["level", "area_ha", "stands"]] = [ALL_STANDS, whole["all_stands_area_ha"], len(every)]
            area = Area("all stands", own["area_ha"], np.nan, _strata_in(every))
            yield Estimated(area, own, design_estimates(sample, area, places=places))


def _areas(mine: pd.DataFrame, level: str) -> list[tuple[Area, pd.Series]]:
    """The strata or the districts that have a total, each with the model's row."""
    rows = mine[(mine["level"] == level) & mine["has_total"].astype(bool)]
    return [(Area(row["stand"], row["area_ha"], row["map_mean"]), row) for _, row in rows.iterrows()]


def _strata_in(stands: gpd.GeoDataFrame) -> dict[str, float]:
    """Area of each stratum, where every stand has one."""
    if "stratum" not in stands or stands["stratum"].isna().any():
        return {}
    return stands.groupby("stratum")["area_ha"].sum().to_dict()


def _within(lost: pd.DataFrame, own: pd.Series, mine: pd.DataFrame, stands: pd.DataFrame) -> pd.DataFrame:
    """Plots that chance chose within an area: all stands, those with a total, or those of a stratum or district."""
    if own["level"] == ALL_STANDS:
        return lost
    told = mine[(mine["level"] == "stand") & mine["has_total"].astype(bool)]
    names = set(told["stand"])
    if own["level"] in ("stratum", "district"):
        names &= set(stands.loc[stands[own["level"]] == own["stand"], "stand"])
    return lost[lost["stand"].isin(names)]


def _members(mine: pd.DataFrame, stands: gpd.GeoDataFrame) -> pd.DataFrame:
    """The stands that a region's total is made of: mean, area_ha, stratum, district."""
    told = mine[(mine["level"] == "stand") & mine["has_total"].astype(bool) & mine["in_project"].astype(bool)]
    known = [name for name in ("stratum", "district") if name in stands]
    labels = pd.DataFrame(stands[["stand", *known]]).set_index("stand").reindex(columns=["stratum", "district"])
    return told[["stand", "mean", "area_ha"]].join(labels, on="stand")


def _rows_of(
    one: Estimated, quoted: list[Quantity], members: pd.DataFrame, span: Sequence[int], confidence: float,
    left_out: str = "",
) -> list[dict]:  # fmt: skip
    area, own = one.area, one.own
    if own["level"] in ("stratum", "district"):
        members = members[members[own["level"]] == area.name]
    best, why = recommended(one.verdicts, model_based=one.is_mapped, left_out=left_out)
    lowest = 0.0 if len(span) == 1 else -np.inf
    entries = [_model_row(own, best == MODEL_BASED, why, confidence)] if one.is_mapped else []
    entries += [_design_row(verdict, best, why, lowest, confidence, left_out) for verdict in one.verdicts]
    about = {
        "level": own["level"], "area": area.name, "first_year": span[0], "last_year": span[-1], "interval_percent": confidence,
        "area_ha": area.area_ha, **{name: own[name] for name in OF_STANDS},
    }  # fmt: skip
    return [
        about | {"quantity": quantity.name, "units": quantity.units} | _quoted(entry, quantity, members, area.area_ha, lowest)
        for quantity in quoted
        for entry in entries
    ]


def _model_row(own: pd.Series, reported: bool, why: str, confidence: float) -> dict:
    spread = [f"{side}_{level}" for level in ALWAYS for side in ("low", "high")]
    note = f"{own['saturated_ha']:.4g} ha are in stands where the map saturates" if own.get("saturated_ha", 0) > 0 else ""
    return {
        "estimator": MODEL_TITLE, "reported": reported, "why": why if reported else "",
        **{name: own[name] for name in ("mean", "se", "low", "high", *spread, "degrees_of_freedom", "plots", "clusters")},
        "variance_allometry": own["shared_variance"], "variance_parameters": own["sampling_variance"],
        "variance_residual": own["residual_variance"] - own["area_effect_variance"],
        "variance_area_effect": own["area_effect_variance"], "note": note,
    }  # fmt: skip


def _design_row(verdict: Verdict, best: str, why: str, lowest: float, confidence: float, left_out: str = "") -> dict:
    row = {"estimator": verdict.estimator, "reported": verdict.estimator == best, "why": why if verdict.estimator == best else ""}
    one = verdict.estimate
    if one is None:
        return row | {"note": f"refused: {verdict.refusal}"}
    from scipy.stats import t as student

    variance = sum(verdict.variance_parts.values())
    se, free = float(np.sqrt(variance)), one.degrees_of_freedom
    reach = float(student.ppf(0.5 + confidence / 200, free)) * se if free > 0 else np.nan
    notes = [*one.notes, *([left_out] if left_out else [])]
    if one.mean < lowest:
        lowest = -np.inf
        notes.append("below zero, which no forest is: read it as nothing, and the plots as few")
    return row | {
        "mean": one.mean, "se": se, "low": max(one.mean - reach, lowest), "high": max(one.mean + reach, lowest),
        **intervals(one.mean, se, free, lowest), "degrees_of_freedom": free, "plots": one.n["plots"],
        "clusters": one.n["clusters"], **{f"variance_{name}": value for name, value in verdict.variance_parts.items()},
        "variance_formula": one.formula, **{f"se_{name}": value for name, value in verdict.other_errors.items()},
        "note": "; ".join(notes),
    }  # fmt: skip


def _quoted(entry: dict, quantity: Quantity, members: pd.DataFrame, area_ha: float, lowest: float) -> dict:
    """An entry in a quantity that people quote, with its total; the error of the factor joins the errors that all share."""
    if "mean" not in entry:
        return dict(entry)
    factor, error = quantity.per_unit(members)
    wider = with_factor_error(entry, error, lowest=lowest if entry["mean"] >= lowest else -np.inf)
    told = entry | {name: float(value) for name, value in wider.items()}
    scaled = {name: value * factor if _is_scaled(name) else value for name, value in told.items()}
    parts = {name: value for name, value in entry.items() if name in PARTS}
    scaled |= {name: value * factor**2 for name, value in parts.items()}
    others = {name: value for name, value in entry.items() if name in OTHER_ERRORS}
    scaled |= {name: float(np.hypot(value, entry["mean"] * error)) * factor for name, value in others.items()}
    if quantity.is_carbon:
        scaled["variance_allometry"] += (entry["mean"] * error * factor) ** 2
    if quantity.is_carbon and quantity.factors.strata and entry["estimator"] == MODEL_TITLE:  # as the stands add up
        spread = {name: [value] for name, value in entry.items() if _is_scaled(name)}
        whole = quantity.of_region(pd.DataFrame(spread), members).iloc[0].to_dict()
        added = sum(scaled[name] for name in parts)
        scaled |= whole | {name: scaled[name] * whole["se"] ** 2 / added for name in parts if added > 0}
    return scaled | {"total": scaled["mean"] * area_ha, "total_se": scaled["se"] * area_ha}


def _is_scaled(name: str) -> bool:
    return name in ("mean", "se") or name.startswith(("low", "high"))


def _summary(found: pd.DataFrame, modelled: pd.DataFrame, stands, targets, factors, stock_target) -> pd.DataFrame:
    """The reported number of each quantity of the project, and what the stands' own reported numbers add up to."""
    chosen = found[(found["level"] == "project") & found["reported"].astype(bool)]
    rows = []
    for row in chosen.to_dict("records"):
        added, silent = _sum_of_stands(row, modelled, stands, targets, factors, stock_target)
        rows.append(
            {name: row[name] for name in (*PROJECT_COLUMNS, *OF_STANDS)}
            | {"sum_of_stands": added, "stands_saturated": silent}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _sum_of_stands(row: Mapping, modelled: pd.DataFrame, stands, targets, factors, stock_target) -> tuple[float, int]:
    """What the stands report together (composites where they have them), and how many saturated ones report no change."""
    span = (modelled["first_year"] == row["first_year"]) & (modelled["last_year"] == row["last_year"])
    for target in targets:
        every = quantities_of(target, row["first_year"], row["last_year"], targets, factors, stock_target)
        quoted = {one.name: one for one in every}
        if row["quantity"] not in quoted:
            continue
        mine = modelled[span & (modelled["target"] == target) & modelled["level"].isin(("stand", "composite"))]
        ranked = mine.sort_values("level", kind="stable").drop_duplicates("stand")  # `composite` comes before `stand`
        ranked = ranked[ranked["has_total"].astype(bool) & (ranked["in_project"].astype(bool))]
        silent = silenced(ranked) if row["first_year"] != row["last_year"] else pd.Series(False, index=ranked.index)
        told = ranked[~silent]
        stratum = stands.set_index("stand")["stratum"] if "stratum" in stands else pd.Series(dtype=object)
        strata = told["stand"].map(stratum).fillna("").astype(str).tolist()
        carbon = quoted[row["quantity"]].of_stands(told, strata)
        return float((carbon["mean"] * carbon["area_ha"]).sum()), int(silent.sum())
    return float("nan"), 0
