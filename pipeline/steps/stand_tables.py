"""What people open: one row per stand, one per quantity of the project. Columns say estimand, unit and years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from models.pools import CO2_PER_CARBON, CarbonFactors
from pipeline import store
from pipeline.steps.carbon import quantities_of

ALWAYS = (90, 95)
"""Levels of confidence, percent, that every estimate has its interval at, beside the study's own."""
SATURATED = "saturated: no map-only change"
STOCKS_APART, STOCKS_DISAGREE = "difference_of_stocks_t_co2_ha_yr", "stocks_disagree"
"""Columns of a change: what the two reported stocks differ by, in its unit, and whether that has the other sign."""
BEYOND = 1.645
"""Standard errors to either side of an interval at 90 % of many degrees of freedom."""
STOCKS_BEYOND = "stocks_beyond_error"
"""Column of a change: whether the two reported stocks differ from it by more than their errors explain, see `_beside_stocks`."""
IDENTIFIED = "range_identified"
"""Column of an estimate: whether plots identify how far residuals reach, on which its standard error rests."""


def read_project(path: Path) -> pd.DataFrame:
    """The project's numbers; an empty table where no stand has a total."""
    try:
        return store.read_table(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def intervals(
    mean: float | np.ndarray, se: float | np.ndarray, freedom: float | np.ndarray, lowest: float
) -> dict[str, float | np.ndarray]:
    """low_90, high_90, low_95, high_95 of an estimate, or of (n,), by Student's t; a stock's ends at `lowest`, 0."""
    from scipy.special import stdtrit

    found = {}
    for level in ALWAYS:
        reach = np.where(np.greater(freedom, 0), stdtrit(freedom, 0.5 + level / 200), np.nan) * se
        found |= {f"low_{level}": np.maximum(mean - reach, lowest), f"high_{level}": np.maximum(mean + reach, lowest)}
    return found


def wide_table(
    polygons, estimated: pd.DataFrame, years: Sequence[int], factors: CarbonFactors, stock_target: str | None, targets: Mapping,
    confidence_percent: float, estimator: str,
) -> pd.DataFrame:  # fmt: skip
    """One row per stand. `reported_*` is the composite where a stand has one, else the model's; `model_*` is always the model's.

    estimated : rows of level `stand` (the model's) and `composite`
    """
    known = [name for name in ("stand", "layer", "stratum", "district", "area_ha", "declared_area_ha") if name in polygons]
    records = [name for name in polygons if name.startswith("record_")]
    wide = polygons[[name for name in [*known, *records] if name == "stand" or polygons[name].notna().any()]].copy()
    wide["interval_percent"] = confidence_percent
    merged = set(estimated.loc[estimated["level"] == "composite", "stand"])
    wide["reported_estimator"] = np.where(wide["stand"].isin(merged), "composite where a column says so", estimator)
    modelled = estimated[estimated["level"] == "stand"]
    strata = polygons["stratum"].fillna("").astype(str).tolist()
    first_rows = modelled.drop_duplicates("stand").set_index("stand").reindex(wide["stand"])
    wide["interior_percent"] = first_rows["interior_percent"].to_numpy()
    for (target, first, last), rows in modelled.groupby(["target", "first_year", "last_year"], sort=False):
        model = rows.set_index("stand").reindex(wide["stand"])
        reported = _reported(model, estimated, target, first, last)
        suffix = f"{first}" if first == last else f"{first}_{last}"
        if target == stock_target or first == last:
            wide[f"cover_percent_{suffix}"] = model["cover_percent"].fillna(0.0).to_numpy()
        for quantity in quantities_of(target, first, last, targets, factors, stock_target):
            own, told = (quantity.of_stands(part, strata) for part in (model, reported))
            if first == last:
                _stock_columns(wide, own, told, quantity.name, suffix, carbon=quantity.is_carbon)
            else:
                _sink_columns(wide, own, told, quantity.name, suffix)
    for first, last in pairwise(years):
        _beside_stocks(wide, first, last)
    return wide.assign(geometry=polygons.geometry).set_geometry("geometry", crs=polygons.crs)


def _reported(model: pd.DataFrame, estimated: pd.DataFrame, target: str, first: int, last: int) -> pd.DataFrame:
    """The model's rows of an estimand, with those of composites in place where stands have them."""
    same = (estimated["target"] == target) & (estimated["first_year"] == first) & (estimated["last_year"] == last)
    other = estimated[same & (estimated["level"] == "composite")].set_index("stand")
    if other.empty:
        return model
    kept = model.drop(index=other.index, errors="ignore")
    return pd.concat([kept, other]).reindex(model.index)


SPREAD = (
    ("", "mean"), ("_se", "se"), ("_low", "low"), ("_high", "high"),
    *((f"_{side}_{level}", f"{side}_{level}") for level in ALWAYS for side in ("low", "high")),
)  # fmt: skip


def _spread(wide, name: str, rows: pd.DataFrame, suffix: str, spread=SPREAD) -> None:
    for ending, column in spread:
        wide[f"{name}{ending}_{suffix}"] = rows[column].to_numpy(float) if column in rows else np.nan


def _totals(wide, rows: pd.DataFrame) -> np.ndarray:
    told = rows["has_total"].fillna(False).astype(bool)
    return np.where(told, rows["mean"] * wide["area_ha"].to_numpy(), np.nan)


def _say_identified(wide, model: pd.DataFrame, name: str, suffix: str) -> None:
    """Also False where there is no estimate: nothing is identified there."""
    if IDENTIFIED in model:
        wide[f"{IDENTIFIED}_{name}_{suffix}"] = (model[IDENTIFIED] == True).to_numpy(bool)  # noqa: E712  missing is not True


def _stock_columns(wide, model, reported, name: str, suffix: str, *, carbon: bool) -> None:
    if not carbon:
        wide[f"map_{name}_{suffix}"] = model["map_mean"].to_numpy()
        _spread(wide, f"model_{name}", model, suffix, SPREAD[:2])
    _spread(wide, f"reported_{name}", reported, suffix)
    if not carbon:
        _say_identified(wide, model, name, suffix)
        wide[f"reported_{name}_estimator_{suffix}"] = reported["estimator"].to_numpy()
        for column in ("forest_percent", "in_domain_percent"):
            wide[f"{column}_{suffix}"] = model[column].to_numpy()
        for column in ("dissimilarity_index", "local_point_density"):
            if model[column].notna().any():
                wide[f"{column}_{suffix}"] = model[column].to_numpy()
        if "saturated" in model:
            wide[f"saturated_{name}_{suffix}"] = model["saturated"].fillna(False).astype(bool).to_numpy()
    else:
        wide[f"reported_tree_carbon_t_{suffix}"] = _totals(wide, reported)
        wide[f"extrapolated_percent_{suffix}"] = 100 - wide[f"cover_percent_{suffix}"]


def _sink_columns(wide, model, reported, name: str, suffix: str) -> None:
    _spread(wide, f"model_{name}", model, suffix, SPREAD[:2])
    silent = silenced(reported)
    said = reported.copy()
    numbers = [column for _, column in SPREAD if column in said]
    said.loc[silent, numbers] = np.nan
    _spread(wide, f"reported_{name}", said, suffix)
    _say_identified(wide, model, name, suffix)
    wide[f"reported_{name}_estimator_{suffix}"] = reported["estimator"].where(~silent, None).to_numpy()
    wide[f"reported_net_removal_t_co2_yr_{suffix}"] = _totals(wide, said)
    low, high = wide[f"reported_{name}_low_{suffix}"], wide[f"reported_{name}_high_{suffix}"]
    wide[f"direction_{suffix}"] = np.select(
        [silent.to_numpy(), low > 0, high < 0, low.notna()],
        [SATURATED, "sink", "source", "not distinguishable from zero"],
        "no estimate",
    )
    wide[f"forest_gained_ha_{suffix}"] = model["gained_ha"].to_numpy()
    wide[f"forest_lost_ha_{suffix}"] = model["lost_ha"].to_numpy()


def _beside_stocks(wide, first: int, last: int) -> None:
    """What the reported stocks say of a change whose own estimate comes from what sees both dates.

    How errors of stocks and change go together is not known where composites take part. Errors of two dates of one stand are
    alike, so that of the stocks' difference is at most the root of the sum of squares; and the standard deviation of a
    difference of two estimates is at most the sum of theirs, however they are correlated. What lies beyond `BEYOND` times
    that sum is a contradiction; what does not may be one.
    """
    change, stocks = f"reported_net_removal_t_co2_ha_yr_{first}_{last}", [f"reported_tree_carbon_t_ha_{y}" for y in (first, last)]
    if change not in wide or any(name not in wide for name in stocks):
        return
    scale = CO2_PER_CARBON / (last - first)
    apart = (wide[stocks[1]] - wide[stocks[0]]) * scale
    wide[f"{STOCKS_APART}_{first}_{last}"] = apart
    wide[f"{STOCKS_DISAGREE}_{first}_{last}"] = (apart * wide[change] < 0).to_numpy(bool)
    of_stocks = np.hypot(*(wide[f"reported_tree_carbon_t_ha_se_{year}"] for year in (first, last))) * scale
    most = BEYOND * (of_stocks + wide[f"reported_net_removal_t_co2_ha_yr_se_{first}_{last}"])
    wide[f"{STOCKS_BEYOND}_{first}_{last}"] = ((apart - wide[change]).abs() > most).to_numpy(bool)


def silenced(rows: pd.DataFrame) -> pd.Series:
    """Changes that are told by a saturated map alone: no number of them is reported."""
    if "saturated" not in rows:
        return pd.Series(False, index=rows.index)
    return rows["saturated"].fillna(False).astype(bool) & rows["map_only"].fillna(True).astype(bool)
