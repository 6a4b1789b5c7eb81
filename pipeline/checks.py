"""Laws that every result keeps, and comparisons with what is known otherwise. Tables and arrays in, verdicts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def law(name: str, broken: int, looked_at: int, what: str) -> dict:
    """One verdict: how many of the things looked at break a law."""
    return {"name": name, "holds": broken == 0, "detail": f"{looked_at} {what} looked at, {broken} break it"}


def interval_laws(estimates: pd.DataFrame) -> list[dict]:
    """Intervals hold their estimate, errors are not negative, stocks are not negative, parts add up to the variance."""
    known = estimates[estimates["mean"].notna()]
    outside = (known["low"] > known["mean"] + 1e-9) | (known["high"] < known["mean"] - 1e-9)
    stock = known[known["first_year"] == known["last_year"]]
    parts = known["sampling_variance"] + known["shared_variance"] + known["residual_variance"]
    uneven = ~np.isclose(parts, known["se"] ** 2, rtol=1e-6, atol=1e-9)
    return [
        law("an interval holds its estimate", int(outside.sum()), len(known), "estimates"),
        law("standard errors are there and not negative", int((~(known["se"] >= 0)).sum()), len(known), "estimates"),
        law("a stock is never negative", int((stock["mean"] < 0).sum()), len(stock), "stocks"),
        law("variance parts add up", int(uneven.sum()), len(known), "estimates"),
    ]


def totals_laws(estimates: pd.DataFrame, zonal: pd.DataFrame, *, tolerance: float = 1e-4) -> list[dict]:
    """Stand means equal the means of the published map's pixels, taken anew from the published file.

    Parameters
    ----------
    zonal : DataFrame
        stand, target, first_year, last_year, all (mean over all pixels by share), interior (over those wholly inside, each with
        what it stands for of the rim); from the float32 map, hence the tolerance (relative).
    """
    keys = ["stand", "target", "first_year", "last_year"]
    both = estimates[estimates["level"] == "stand"].merge(zonal, on=keys)
    from_inside = both["estimated_from"] == "pixels inside the stand"

    def meets(ours: pd.Series, theirs: pd.Series) -> np.ndarray:
        return np.isclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)

    named = np.where(from_inside, meets(both["mean"], both["interior"]), meets(both["mean"], both["all"]))
    whole = meets(both["map_mean"], both["all"])
    return [
        law("a stand's mean of all pixels is the published map's", int((~whole).sum()), len(both), "stands"),
        law("a stand's estimate is the mean of the published pixels it names", int((~named).sum()), len(both), "stands"),
    ]


def map_laws(maps: Mapping[str, dict[str, np.ndarray]], products: list[dict], sink_factor: float | np.ndarray) -> list[dict]:
    """A value has an error wherever it is; a sink is the difference of two stocks, times `sink_factor` (one for all, or of each
    pixel) per year."""
    verdicts, unpaired, looked = [], 0, 0
    for product in products:
        bands = list(maps[product["name"]].values())
        if product["kind"] in ("stock", "tree_carbon", "sink"):
            unpaired += int((np.isfinite(bands[0]) != np.isfinite(bands[1])).sum())
            looked += bands[0].size
    verdicts.append(law("every value has its error", unpaired, looked, "pixels"))
    for product in products:
        if product["kind"] != "sink":
            continue
        first, last = product["years"]
        value = next(iter(maps[product["name"]].values()))
        stocks = [list(maps[f"{product['target']}_{year}"].values()) for year in (first, last)]
        expected = (stocks[1][0].astype(float) - stocks[0][0]) * sink_factor / (last - first)
        comparable = (stocks[0][3] == stocks[1][3]) | (stocks[0][3] == 0) | (stocks[1][3] == 0)
        apart = comparable & ~np.isclose(value, expected, rtol=1e-4, atol=1e-3, equal_nan=True)
        name = f"{product['name']} is the difference of its stocks where one predictor set served both"
        verdicts.append(law(name, int(apart.sum()), int(comparable.sum()), "pixels"))
    return verdicts


def applicability_laws(
    maps: Mapping[str, dict[str, np.ndarray]], products: list[dict], thresholds: Mapping[str, Sequence[float]]
) -> list[dict]:
    """The area of applicability says the same in every band: of its own maps and of the stock's.

    Parameters
    ----------
    thresholds : of each target, per predictor set, the dissimilarity index up to which it applies
    """
    found = [product for product in products if product["kind"] == "applicability"]
    negative = unserved = apart = none_like = looked = 0
    for product in found:
        index, density, inside = maps[product["name"]].values()
        stock = list(maps[f"{product['target']}_{product['years'][0]}"].values())
        served = np.isfinite(index)
        number = np.where(np.isfinite(stock[3]), stock[3], 0).astype(int)
        negative += int((index[served] < 0).sum() + (density[served] < 0).sum())
        unserved += int((served != (number > 0)).sum())
        limit = np.array([np.nan, *thresholds[product["target"]]])[number]
        near = np.isclose(index, limit, rtol=1e-5)  # maps are float32
        told = (inside == (index <= limit)) | near
        apart += int((served & ~(told & (inside == stock[2]))).sum())
        none_like += int((served & (inside != (density >= 1)) & ~near).sum())
        looked += int(served.sum())
    if not found:
        return []
    return [
        law("a dissimilarity index and a number of plots are never negative", negative, looked, "pixels"),
        law("a pixel has a dissimilarity index just where a predictor set serves it", unserved, looked, "pixels"),
        law("in_domain says that the dissimilarity index is within the threshold", apart, looked, "pixels"),
        law("in_domain says that at least one plot is like the pixel", none_like, looked, "pixels"),
    ]


def applicability_of_stands_laws(estimates: pd.DataFrame) -> list[dict]:
    """A stand that lies wholly in the area of applicability has at least one plot like each of its pixels; one wholly
    outside has none."""
    if "local_point_density" not in estimates or estimates["local_point_density"].isna().all():
        return []
    known = estimates[estimates["local_point_density"].notna() & (estimates["level"] == "stand")]
    index, density, share = (known[name] for name in ("dissimilarity_index", "local_point_density", "in_domain_percent"))
    negative = (index < 0) | (density < 0)
    few = (share >= 100 - 1e-9) & (density < 1 - 1e-9)
    many = (share <= 1e-9) & (density > 1e-9)
    return [
        law("a stand's mean dissimilarity index and density are not negative", int(negative.sum()), len(known), "stands"),
        law("a stand wholly in the area of applicability has plots like it, one outside none", int((few | many).sum()),
            len(known), "stands"),
    ]  # fmt: skip


def against_truth(estimates: pd.DataFrame, truth: pd.DataFrame, *, target: str) -> dict:
    """Planted truth beside estimates: per stand by the model, by its composite where it has one, and as it is reported (the
    composite, else the model); bias and coverage of all three, and the project by the model, per estimand.

    Parameters
    ----------
    truth : DataFrame
        stand, area_ha and `agb_mg_ha_<year>` per study year.
    """
    found: dict[str, list] = {"stands": [], "composites": [], "reported_stands": [], "summary": []}
    ours = estimates[(estimates["target"] == target) & estimates["mean"].notna()]
    known = truth.set_index("stand")
    for (first, last), rows in ours.groupby(["first_year", "last_year"], sort=True):
        estimand = f"{target}_{first}" if first == last else f"{target}_{first}_{last}"
        true = known[f"agb_mg_ha_{last}"] - (known[f"agb_mg_ha_{first}"] if first != last else 0.0)
        single, composite = (_beside(rows[rows["level"] == level], true, estimand) for level in ("stand", "composite"))
        if single.empty:
            continue
        area, reported = known["area_ha"], _reported(single, composite, rows)
        weight = area.loc[single["stand"]].to_numpy()
        project = rows[rows["level"] == "project"].iloc[0]
        found["stands"] += single.to_dict("records")
        found["composites"] += composite.to_dict("records")
        found["reported_stands"] += reported.to_dict("records")
        found["summary"].append(
            {
                "estimand": estimand,
                **_held(single, area),
                **{f"composites_{name}": value for name, value in _held(composite, area).items()},
                **{f"reported_{name}": value for name, value in _held(reported, area).items()},
                "project_truth": float(np.average(single["truth"], weights=weight)),
                "project_mean": float(project["mean"]),
                "project_low": float(project["low"]),
                "project_high": float(project["high"]),
            }
        )
    return found


def totals_against_truth(totals: pd.DataFrame, truth: pd.DataFrame) -> list[dict]:
    """The project by every estimator beside the truth: rows of level `project` with truth and whether the interval holds it.

    Parameters
    ----------
    totals : the table of totals (estimates.csv)
    truth : quantity, first_year, last_year and the project's truth in that quantity's unit
    """
    rows = totals[(totals["level"] == "project") & totals["mean"].notna()]
    beside = rows.merge(truth, on=["quantity", "first_year", "last_year"])
    beside["covered"] = (beside["low"] <= beside["truth"]) & (beside["truth"] <= beside["high"])
    beside["reported"] = beside["reported"].astype(bool)
    told = ["quantity", "units", "first_year", "last_year", "estimator", "reported", "truth", "mean", "se", "low", "high"]
    return beside[[*told, "covered"]].to_dict("records")


def _reported(single: pd.DataFrame, composite: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What stands report, beside the truth: composites, and the model where there is none and the map is not saturated."""
    kept = single[~single["stand"].isin(composite["stand"])]
    if rows["first_year"].iloc[0] != rows["last_year"].iloc[0] and "saturated" in rows:
        silent = rows.loc[rows["saturated"].fillna(False).astype(bool) & (rows["level"] == "stand"), "stand"]
        kept = kept[~kept["stand"].isin(silent)]
    return pd.concat([kept, composite], ignore_index=True) if len(composite) else kept


def _beside(rows: pd.DataFrame, true: pd.Series, estimand: str) -> pd.DataFrame:
    """Estimates of stands that have a total and a known truth, beside it: stand, estimand, truth, mean, low, high, covered."""
    kept = rows[rows["has_total"].astype(bool) & rows["stand"].isin(true.index)]
    beside = kept[["stand", "mean", "low", "high"]].reset_index(drop=True)
    beside.insert(1, "estimand", estimand)
    beside.insert(2, "truth", true.loc[kept["stand"]].to_numpy(float))
    return beside.assign(covered=(beside["low"] <= beside["truth"]) & (beside["truth"] <= beside["high"]))


def _held(beside: pd.DataFrame, area_ha: pd.Series) -> dict:
    """How many stands, their bias by area, and how many of their intervals hold the truth; None where there are none."""
    if beside.empty:
        return {"n": 0, "bias_percent": None, "coverage_percent": None}
    weight = area_ha.loc[beside["stand"]].to_numpy()
    mean, true = (float(np.average(beside[name], weights=weight)) for name in ("mean", "truth"))
    return {
        "n": len(beside),
        "bias_percent": 100 * (mean / true - 1),
        "coverage_percent": 100 * float(beside["covered"].mean()),
    }


def against_map(ours: np.ndarray, theirs: np.ndarray, lower: np.ndarray | None, upper: np.ndarray | None) -> dict:
    """Two maps on one grid: correlation, bias (ours minus theirs), RMSE, and the share of our cells in their interval."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    if both.sum() < 2:
        return {"n": int(both.sum())}
    a, b = ours[both].astype(float), theirs[both].astype(float)
    inside = None
    if lower is not None and upper is not None:
        inside = 100 * float(((a >= lower[both]) & (a <= upper[both])).mean())
    return {
        "n": int(both.sum()),
        "our_mean": float(a.mean()),
        "their_mean": float(b.mean()),
        "bias": float((a - b).mean()),
        "rmse": float(np.sqrt(((a - b) ** 2).mean())),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "inside_interval_percent": inside,
        "cells": [[float(x), float(y)] for x, y in zip(a, b, strict=True)][:5000],
    }
