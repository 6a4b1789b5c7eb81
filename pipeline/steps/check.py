"""Rule `check`: laws of the results, the planted truth, and maps made by others. A broken law fails the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.rasters import grid_of, read_values
from models.pools import CarbonFactors
from pipeline import checks as laws
from pipeline import store
from pipeline.grid import Grid
from pipeline.steps.carbon import carbon_factors, quantities_of, relative_factor
from pipeline.zonal import coverage

log = logging.getLogger(__name__)

def check(
    *,
    checks: Path,
    maps: Mapping[str, Path],
    models: Mapping[str, Path],
    table: Path,
    estimates: Path,
    truth: Path | None = None,
    totals: Path | None = None,
    products: Sequence[dict],
    comparisons: Mapping[str, dict],
    carbon: dict,
    stock_target: str | None,
    targets: Mapping[str, dict],
    grid: dict,
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Write what was checked; raise when a law is broken, with the verdicts already on file.

    Beside the planted truth (`truth`, a folder) stand the stands' estimates and what every estimator says of the project
    (`totals`).
    """
    grid_ = Grid(**grid)
    estimated = store.read_table(estimates)
    stands = store.read_table(table)
    arrays = {name: store.read_raster(path) for name, path in maps.items()}
    verdicts = laws.interval_laws(estimated)
    factors = carbon_factors(carbon, rooted)
    sink_factor = factors.net_removal(1) * relative_factor(factors, stands, grid_, grid_.window)
    verdicts += laws.map_laws(arrays, list(products), sink_factor)
    fitted = {target: store.read_json(path) for target, path in models.items()}
    thresholds = {target: [one["domain"]["threshold"] for one in model["sets"]] for target, model in fitted.items()}
    verdicts += laws.applicability_laws(arrays, list(products), thresholds) + laws.applicability_of_stands_laws(estimated)
    verdicts += laws.totals_laws(estimated, _zonal(stands, arrays, products, grid_, sink_factor))
    content = {
        "laws": verdicts,
        "truth": _truth(truth, estimated, stands, totals, targets, factors, stock_target) if truth else None,
        "comparisons": [
            {"name": name, **_compared(settings, maps, arrays, targets, grid_)}
            for name, settings in comparisons.items()
        ],
    }
    store.write_json(checks, content)
    broken = [verdict for verdict in verdicts if not verdict["holds"]]
    if broken:
        kept = checks.with_name("checks_failed.json")
        store.write_json(kept, content)
        raise RuntimeError(
            "a law of the results is broken: "
            + "; ".join(f"{v['name']} ({v['detail']})" for v in broken)
            + f"; see {kept}"
        )
    log.info("%d laws hold", len(verdicts))


def _zonal(
    stands, arrays: Mapping[str, dict], products: Sequence[dict], grid: Grid, sink_factor: float | np.ndarray
) -> pd.DataFrame:
    """Mean of each published stock and change over each stand: of all pixels by exactextract on the whole map at once, and of
    those wholly inside, each with what it stands for of the rim, chunk by chunk."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    west, south, east, north = grid.bounds
    shown = {
        (p["target"], p["years"][0], p["years"][0]): next(iter(arrays[p["name"]].values()))
        for p in products
        if p["kind"] == "stock"
    }
    for product in products:
        if product["kind"] == "sink":
            per_unit = sink_factor / (product["years"][1] - product["years"][0])
            value = next(iter(arrays[product["name"]].values()))
            shown[(product["target"], *product["years"])] = value.astype(float) / per_unit
    found = []
    for (target, first, last), array in shown.items():
        source = NumPyRasterSource(
            array.astype("float64"),
            xmin=west,
            ymin=south,
            xmax=east,
            ymax=north,
            nodata=np.nan,
            srs_wkt=stands.crs.to_wkt(),
        )
        means = exact_extract(source, stands[["stand", "geometry"]], ["all=mean"], include_cols="stand", output="pandas")
        found.append(means.assign(target=target, first_year=first, last_year=last))
    inside = _inside(stands, shown, grid)
    return pd.concat(found, ignore_index=True).merge(inside, on=["stand", "target", "first_year", "last_year"], how="left")


def _inside(stands, shown: Mapping[tuple, np.ndarray], grid: Grid) -> pd.DataFrame:
    """The column `interior` of `_zonal`."""
    rows = []
    for _, window in grid.chunks():
        here = {key: array[window.slices].ravel() for key, array in shown.items()}
        for piece in coverage(stands, grid, window):
            for key, array in here.items():
                value = array[piece.pixel].astype(float)
                weight = np.where(np.isfinite(value), piece.stands_for, 0.0)
                rows.append((piece.stand, *key, float(weight.sum()), float(weight @ np.nan_to_num(value))))
    keys = ["stand", "target", "first_year", "last_year"]
    added = pd.DataFrame(rows, columns=[*keys, "weight", "sum"]).groupby(keys, as_index=False).sum()
    return added.assign(interior=added["sum"] / added["weight"].where(added["weight"] > 0)).drop(columns=["weight", "sum"])


def _truth(
    folder: Path, estimated: pd.DataFrame, stands: pd.DataFrame, totals: Path | None, targets: Mapping, factors: CarbonFactors,
    stock_target: str | None,
) -> dict | None:  # fmt: skip
    if stock_target != "agb":
        return None
    known = pd.read_csv(folder / "stands.csv", dtype={"stand": str})
    found = laws.against_truth(estimated, known, target="agb")
    if totals is not None:
        true = _truth_of_project(found["stands"], known, stands, targets, factors)
        found["project"] = laws.totals_against_truth(store.read_table(totals), true)
    return found


def _truth_of_project(
    beside: Sequence[Mapping], known: pd.DataFrame, stands: pd.DataFrame, targets: Mapping, factors: CarbonFactors
) -> pd.DataFrame:
    """The project's planted biomass in every quantity that is quoted: quantity, first_year, last_year, truth.

    Carbon is the planted biomass times the study's own factors, of each stand's stratum where strata have their own.
    """
    rows, area = [], known.set_index("stand")["area_ha"]
    strata = stands.set_index("stand")["stratum"] if "stratum" in stands else pd.Series(dtype=object)
    for estimand, mine in pd.DataFrame(beside, columns=["stand", "estimand", "truth"]).groupby("estimand"):
        years = [int(part) for part in str(estimand).split("_")[1:]]
        members = pd.DataFrame(
            {"mean": mine["truth"], "area_ha": area.loc[mine["stand"]].to_numpy(), "stratum": mine["stand"].map(strata)}
        )
        mean = float(np.average(members["mean"], weights=members["area_ha"]))
        for quantity in quantities_of("agb", years[0], years[-1], targets, factors, "agb"):
            about = {"quantity": quantity.name, "first_year": years[0], "last_year": years[-1]}
            rows.append(about | {"truth": mean * quantity.per_unit(members)[0]})
    return pd.DataFrame(rows, columns=["quantity", "first_year", "last_year", "truth"])


def _compared(settings: dict, maps: Mapping[str, Path], arrays: Mapping, targets: Mapping, grid: Grid) -> dict:
    """Our map averaged onto the other map's grid, beside it."""
    name = f"{settings['target']}_{settings['year']}"
    if name not in maps:
        raise ValueError(f"comparisons: there is no map {name} to compare; the study makes {', '.join(maps)}")
    theirs_grid = grid_of(settings["file"], crs=settings["crs"])
    ours = read_values(str(maps[name]), theirs_grid)
    bands = [settings["band"], settings["lower_band"], settings["upper_band"]]
    theirs, lower, upper = (
        read_values(settings["file"], theirs_grid, band=band, crs=settings["crs"]) if band else None for band in bands
    )
    found = laws.against_map(ours, theirs, lower, upper)
    if found["n"] < 2:
        raise ValueError(
            f"comparisons: {settings['file']} and the map share no cell; is its coordinate reference system right?"
        )
    units = targets[settings["target"]]["units"]
    return {"target": settings["target"], "year": settings["year"], "about": settings["about"], "units": units, **found}
