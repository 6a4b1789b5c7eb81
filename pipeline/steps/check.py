"""Rule `check`: laws of the results, the planted truth, and maps made by others. A broken law fails the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.rasters import grid_of, read_values
from pipeline import checks as laws
from pipeline import store
from pipeline.grid import Grid
from pipeline.steps.carbon import carbon_factors
from pipeline.zonal import WHOLE

log = logging.getLogger(__name__)

INTERIOR = {"interior": WHOLE + 1e-5, "interior_with_near": WHOLE - 1e-5}
"""Fractions are float32 and depend on the window at the seventh digit: a pixel on the limit may count either way."""


def check(
    *,
    checks: Path,
    maps: Mapping[str, Path],
    table: Path,
    estimates: Path,
    truth: Path | None = None,
    products: Sequence[dict],
    comparisons: Mapping[str, dict],
    carbon: dict,
    stock_target: str | None,
    targets: Mapping[str, dict],
    grid: dict,
    rooted: Path | None = None,
    **_inputs: object,
) -> None:
    """Write what was checked; raise when a law is broken, with the verdicts already on file."""
    grid_ = Grid(**grid)
    estimated = store.read_table(estimates)
    stands = store.read_table(table)
    arrays = {name: store.read_raster(path) for name, path in maps.items()}
    verdicts = laws.interval_laws(estimated)
    sink_factor = carbon_factors(carbon, rooted).net_removal(1)
    verdicts += laws.map_laws(arrays, list(products), sink_factor)
    verdicts += laws.totals_laws(estimated, _zonal(stands, arrays, products, grid_, sink_factor))
    content = {
        "laws": verdicts,
        "truth": _truth(truth, estimated, stock_target) if truth else None,
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


def _zonal(stands, arrays: Mapping[str, dict], products: Sequence[dict], grid: Grid, sink_factor: float) -> pd.DataFrame:
    """Mean of each published stock and change over each stand, by exactextract on the whole map at once."""
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
        wanted = ["all=mean"] + [f"{name}=mean(min_coverage_frac={limit})" for name, limit in INTERIOR.items()]
        means = exact_extract(source, stands[["stand", "geometry"]], wanted, include_cols="stand", output="pandas")
        found.append(means.assign(target=target, first_year=first, last_year=last))
    return pd.concat(found, ignore_index=True)


def _truth(folder: Path, estimated: pd.DataFrame, stock_target: str | None) -> dict | None:
    if stock_target != "agb":
        return None
    known = pd.read_csv(folder / "stands.csv", dtype={"stand": str})
    return laws.against_truth(estimated, known, target="agb")


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
