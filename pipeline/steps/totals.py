"""Rule `totals`: the project and its strata by every estimator that the plots allow, and the one to report of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.inference.design_totals import MODEL_BASED, Area, Verdict, design_estimates, recommended
from models.inference.target_model import TargetModel
from models.pools import CarbonFactors, with_factor_error
from pipeline import store
from pipeline.grid import Grid
from pipeline.products import estimands_of
from pipeline.steps.carbon import Quantity, carbon_factors, quantities_of
from pipeline.steps.notes import caveats_in, unverified_in
from pipeline.steps.stand_composites import stands_at
from pipeline.steps.stand_tables import ALWAYS, intervals, silenced
from pipeline.steps.windows import footprint_shares
from pipeline.store import Mosaic

log = logging.getLogger(__name__)

COLUMNS = [
    "level", "area", "quantity", "units", "first_year", "last_year", "estimator", "reported", "mean", "se",
    *(f"{side}_{level}" for level in ALWAYS for side in ("low", "high")),
    "low", "high", "interval_percent", "area_ha", "total", "total_se", "degrees_of_freedom", "plots", "clusters",
    "variance_allometry", "variance_parameters", "variance_residual", "variance_area_effect", "why", "note",
]  # fmt: skip
PROJECT_COLUMNS = [
    "quantity", "units", "first_year", "last_year", "mean", "se", "low", "high", "interval_percent",
    *(f"{side}_{level}" for level in ALWAYS for side in ("low", "high")),
    "area_ha", "total", "total_se", "estimator", "degrees_of_freedom", "plots", "clusters",
    "variance_allometry", "variance_parameters", "variance_residual", "variance_area_effect", "why",
]  # fmt: skip
OF_STANDS = ["stands", "stands_without_total", "all_stands_area_ha", "cover_percent"]
MODEL_TITLE = "model-based synthetic"


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
    warned: Path | None = None,
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Estimates of the project and of each stratum by the model and, where plots were chosen by chance, by the design.

    Parameters
    ----------
    totals : what every estimator says, a row each, refusals with their reason; one row per area and quantity is `reported`
    project : the reported ones of the project, with the sum of the stands' own reported numbers beside
    maps : blocks of the maps of stocks and changes, in a folder per product
    """
    grid_ = Grid(**grid)
    stands = store.read_table(table)
    modelled = store.read_table(estimates)
    chosen = store.read_table(plots)
    factors = carbon_factors(carbon, rooted)
    rows: list[dict] = []
    for target, path in models.items():
        model = TargetModel.from_plain(store.read_json(path))
        seen = _seen(store.read_table(training[target]), chosen, targets[target]["column"], years)
        apart = _left_out_shift(model, store.read_table(left_out[target]), store.read_table(training[target]))
        with store.kept_open():
            seen = _on_maps(seen, apart, target, products, Path(maps[0]).parent.parent, grid_)
        for span in estimands_of(target, tuple(years)).values():
            mine = modelled[
                (modelled["target"] == target) & (modelled["first_year"] == span[0]) & (modelled["last_year"] == span[-1])
            ]
            sample = _sample_of(seen, span, stands, mine, targets[target]["column"], factors)
            quoted = list(quantities_of(target, span[0], span[-1], targets, factors, stock_target))
            members = _members(mine, stands)
            for area, own in _areas(mine, stands):
                within = members if own["level"] == "project" else members[members["stratum"] == area.name]
                rows += _rows_of(area, own, sample, quoted, within, span, confidence_percent)
    found = pd.DataFrame(rows, columns=[*COLUMNS, *OF_STANDS])
    summary = _summary(found, modelled, stands, targets, factors, stock_target)
    caveats = caveats_in(warned)
    if caveats:
        told = {"caveats": "; ".join(caveats), "unverified": "; ".join(unverified_in(warned))}
        found, summary = (frame.assign(**told) for frame in (found, summary))
    store.write_table(totals, found.drop(columns=OF_STANDS))
    store.write_table(project, summary)
    told = found[found["mean"].notna()]
    log.info(
        "%d estimates of %d areas and quantities by %d estimators; %d more refused",
        len(told), len(found[["area", "quantity", "first_year", "last_year"]].drop_duplicates()), told["estimator"].nunique(),
        len(found) - len(told),
    )  # fmt: skip


# ---------------------------------------------------------------- plots and what the map says at them


def _seen(training: pd.DataFrame, plots: pd.DataFrame, column: str, years: Sequence[int]) -> pd.DataFrame:
    """Plot measurements that speak for a study year, one per plot and year, and points of phase 1, which have no measurement.

    A plot that the model leaves out because something befell it between measurement and image is still a plot of the sample:
    leaving it out here would take disturbance out of the estimate.
    """
    frame = training.copy()
    frame["sound"] = plots["kept"].to_numpy(bool)
    frame["y"] = frame[column].astype(float)
    phase = frame["phase"].astype(str) if "phase" in frame else pd.Series("", index=frame.index)
    first = frame[(phase == "1") & frame["y"].isna() & frame.geometry.notna()]
    measured = frame[frame["sound"] & frame["y"].notna() & frame["year"].notna()]
    apart = (measured["date"] - pd.to_datetime(measured["year"].astype(int).astype(str) + "-07-01")).abs()
    measured = measured.assign(apart=apart).sort_values(["plot", "year", "apart"], kind="stable")
    found = measured.drop_duplicates(["plot", "year"])
    if len(found) < len(measured):
        log.info(
            "left out %d measurements: another of the plot lies nearer to 1 July of its study year", len(measured) - len(found)
        )
    spread = [first.drop_duplicates("plot").assign(year=year) for year in years]
    return pd.concat([found, *(part for part in spread if len(part))], ignore_index=True)


def _left_out_shift(model: TargetModel, left_out: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Per predictor set, plot and year: how far its prediction moves when its own cluster is left out of the model."""
    parts = []
    for number, one in enumerate(model.sets, start=1):
        rows = left_out[left_out["set_name"] == one.name]
        seen = rows.merge(training.drop_duplicates(["plot", "year"]), on=["plot", "year"], suffixes=("", "_of_plot"))
        X = seen[list(one.predictors)].to_numpy(float)
        fitted = one.machine.mean(one.params, one.design(X, seen["year"].to_numpy(int))) if len(seen) else np.zeros(0)
        parts.append(
            pd.DataFrame({"plot": seen["plot"], "year": seen["year"].astype(int), "set": number,
                          "shift": seen["predicted"].to_numpy(float) - fitted})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _on_maps(
    seen: pd.DataFrame, apart: pd.DataFrame, target: str, products: Sequence[Mapping], folder: Path, grid: Grid
) -> pd.DataFrame:
    """Plots with `map`, the stock that the map shows on their footprint, moved to what it would be without their cluster.

    `map_<a>_<b>` is the same of the change that the map of changes shows. The map is read where the plot is, mask of forest
    and all, because the mean that it is set against is of the same pixels. Missing where the map does not cover the footprint.
    """
    moved = {(row.plot, int(row.year), int(row.set)): row.shift for row in apart.itertuples()}
    changes = [product for product in products if product["kind"] == "sink" and product["target"] == target]
    value, shifts, sinks = [], [], {tuple(product["years"]): [] for product in changes}
    for row in seen.itertuples():
        window = grid.window_of(row.geometry.bounds)
        weight = footprint_shares([row.geometry], grid, window)[0]
        stock = _read(folder / f"{target}_{int(row.year)}", grid, window, 4)
        value.append(_mean(stock[0], weight))
        shifts.append(_shift(stock[3], weight, row.plot, int(row.year), moved))
        for product in changes:
            read = tuple(product["years"])[-1] == int(row.year)
            band = _read(folder / product["name"], grid, window, 1)[0] if read else None
            sinks[tuple(product["years"])].append(_mean(band, weight) if read else np.nan)
    columns = {f"map_{a}_{b}": values for (a, b), values in sinks.items()}
    return seen.assign(map=np.array(value) + np.array(shifts), shift=shifts, **columns)


def _read(folder: Path, grid: Grid, window, bands: int) -> list[np.ndarray]:
    names = store.raster_bands(folder / f"{grid.blocks()[0]}.tif")[:bands]
    return list(Mosaic(folder, grid).read(window, names).values())


def _mean(array: np.ndarray, weight: np.ndarray) -> float:
    used = weight > 0
    if not np.isfinite(array[used]).all() or not used.any():
        return float("nan")
    return float((array[used] * weight[used]).sum() / weight[used].sum())


def _shift(sets: np.ndarray, weight: np.ndarray, plot: str, year: int, moved: Mapping) -> float:
    """The move of a plot's own prediction, on the part of its footprint that each predictor set serves."""
    total = weight.sum()
    return float(sum(
        weight[sets == number].sum() / total * moved.get((plot, year, int(number)), 0.0)
        for number in np.unique(sets[np.isfinite(sets) & (sets > 0)])
    ))  # fmt: skip


def _sample_of(
    seen: pd.DataFrame, span: Sequence[int], stands, mine: pd.DataFrame, column: str, factors: CarbonFactors
) -> pd.DataFrame:
    """Points in the project's stands that have a total, as `design_estimates` takes them."""
    frame = seen[seen["year"] == span[0]] if len(span) == 1 else _changes(seen, span, factors)
    whole = mine[(mine["level"] == "stand") & mine["has_total"].astype(bool)]
    there = stands[stands["stand"].isin(whole["stand"]) & (stands["layer"] != "plots")].reset_index(drop=True)
    if there.empty:
        there = stands[stands["stand"].isin(whole["stand"])].reset_index(drop=True)
    centre = frame.geometry.centroid
    place = stands_at(centre.x.to_numpy(), centre.y.to_numpy(), there)
    stratum = dict(zip(there["stand"], there["stratum"], strict=True)) if "stratum" in there else {}
    frame = frame.assign(stand=place, selection=frame["sampling"])
    frame["stratum"] = [stratum.get(stand) for stand in place]
    outside = int(frame["stand"].isna().sum())
    if outside:
        when = "-".join(map(str, span))
        log.info("%s %s: %d of %d plots lie outside the stands that have a total", column, when, outside, len(frame))
    return frame[frame["stand"].notna()].reset_index(drop=True)


def _changes(seen: pd.DataFrame, span: Sequence[int], per_tonne: CarbonFactors) -> pd.DataFrame:
    """Plots measured at both years: late minus early of what was measured, of what the map shows, of shared errors."""
    early = seen[(seen["year"] == span[0]) & seen["y"].notna()].set_index("plot")
    late = seen[(seen["year"] == span[-1]) & seen["y"].notna()].set_index("plot")
    both = early.index.intersection(late.index, sort=True)
    early, late = early.loc[both], late.loc[both]
    factors = [name for name in seen if name.startswith("f_")]
    frame = late.copy()
    frame["y"] = late["y"] - early["y"]
    frame[factors] = late[factors].fillna(0.0) - early[factors].fillna(0.0)
    name = f"map_{span[0]}_{span[-1]}"
    if name in late:  # the published change, told from a set that is complete at both dates; in the target's unit
        per_unit = per_tonne.net_removal(span[-1] - span[0])
        frame["map"] = late[name] / per_unit + late["shift"] - early["shift"]
    else:
        frame["map"] = np.nan
    return frame.reset_index()


# ---------------------------------------------------------------- areas and their rows


def _areas(mine: pd.DataFrame, stands) -> list[tuple[Area, pd.Series]]:
    """The project and its strata, each with the model's row."""
    strata = mine[(mine["level"] == "stratum") & mine["has_total"].astype(bool)]
    share = dict(zip(strata["stand"], strata["area_ha"], strict=True))
    whole = mine[mine["level"] == "project"].iloc[0]
    if not whole["has_total"]:
        return []
    inside = share if np.isclose(sum(share.values()), whole["area_ha"]) else {}  # stands without a stratum: strata do not add up
    areas = [(Area("project", whole["area_ha"], whole["map_mean"], inside), whole)]
    return areas + [(Area(row["stand"], row["area_ha"], row["map_mean"]), row) for _, row in strata.iterrows()]


def _members(mine: pd.DataFrame, stands) -> pd.DataFrame:
    """The stands that a region's total is made of: mean, area_ha, stratum."""
    told = mine[(mine["level"] == "stand") & mine["has_total"].astype(bool) & mine["in_project"].astype(bool)]
    stratum = stands.set_index("stand")["stratum"] if "stratum" in stands else pd.Series(dtype=object)
    return told[["stand", "mean", "area_ha"]].assign(stratum=told["stand"].map(stratum))


def _rows_of(
    area: Area, own: pd.Series, sample: pd.DataFrame, quoted: list[Quantity], members: pd.DataFrame, span: Sequence[int],
    confidence: float,
) -> list[dict]:  # fmt: skip
    stratum = None if own["level"] == "project" else area.name
    verdicts = design_estimates(sample, area, stratum=stratum)
    best, why = recommended(verdicts)
    lowest = 0.0 if len(span) == 1 else -np.inf
    entries = [_model_row(own, best == MODEL_BASED, why, confidence)]
    entries += [_design_row(verdict, best, why, lowest, confidence) for verdict in verdicts]
    about = {
        "level": own["level"], "area": area.name, "first_year": span[0], "last_year": span[-1], "interval_percent": confidence,
        "area_ha": area.area_ha, **{name: own[name] for name in OF_STANDS},
    }  # fmt: skip
    return [
        about | {"quantity": one.name, "units": one.units} | _quoted(entry, one, members, area.area_ha, lowest)
        for one in quoted
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


def _design_row(verdict: Verdict, best: str, why: str, lowest: float, confidence: float) -> dict:
    row = {"estimator": verdict.estimator, "reported": verdict.estimator == best, "why": why if verdict.estimator == best else ""}
    one = verdict.estimate
    if one is None:
        return row | {"note": f"refused: {verdict.refusal}"}
    from scipy.stats import t as student

    variance = sum(verdict.variance_parts.values())
    se, free = float(np.sqrt(variance)), one.degrees_of_freedom
    reach = float(student.ppf(0.5 + confidence / 200, free)) * se if free > 0 else np.nan
    notes = list(one.notes)
    if one.mean < lowest:
        lowest = -np.inf
        notes.append(
            "below zero: the plots lie further below the map than the map is high; read it as nothing, and the plots as few"
        )
    return row | {
        "mean": one.mean, "se": se, "low": max(one.mean - reach, lowest), "high": max(one.mean + reach, lowest),
        **intervals(one.mean, se, free, lowest), "degrees_of_freedom": free, "plots": one.n["plots"],
        "clusters": one.n["clusters"], **{f"variance_{name}": value for name, value in verdict.variance_parts.items()},
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
    scaled |= {name: value * factor**2 for name, value in entry.items() if name.startswith("variance_")}
    if quantity.is_carbon:
        scaled["variance_allometry"] += (entry["mean"] * error * factor) ** 2
    if quantity.is_carbon and quantity.factors.strata and entry["estimator"] == MODEL_TITLE:  # as the stands add up
        spread = {name: [value] for name, value in entry.items() if _is_scaled(name)}
        whole = quantity.of_region(pd.DataFrame(spread), members).iloc[0].to_dict()
        parts = sum(scaled[name] for name in scaled if name.startswith("variance_"))
        scaled |= whole | {
            name: value * whole["se"] ** 2 / parts for name, value in scaled.items() if name.startswith("variance_") and parts > 0
        }
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
