"""The sample that totals are estimated from: plots with what the maps say at them, and pixels all over the stands.

Plots are read on their footprints and moved to what the map would say without their cluster; pixels are those of phases 0 and 1
where lidar sees a part of the land and satellites the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.inference.design_totals import Places
from models.inference.survey import GROUND
from models.inference.target_model import TargetModel
from models.pools import CarbonFactors
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.steps.stand_composites import stands_at
from pipeline.steps.windows import footprint_shares
from pipeline.store import Mosaic

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

MOST_PLACES = 250_000
"""Pixels that stand for all land: every one of a small study, every k-th along both axes of a large one."""
BRIDGED_M = 100.0
"""Gaps of the lidar's cover up to this width do not part a strip in two: lakes, cells with too few returns."""


def seen_plots(training: pd.DataFrame, plots: pd.DataFrame, column: str, years: Sequence[int]) -> pd.DataFrame:
    """Plot measurements that speak for a study year, one per plot and year, and points of phases 0 and 1, which have no
    measurement.

    A plot that the model leaves out because something befell it between measurement and image is still a plot of the sample:
    leaving it out here would take disturbance out of the estimate.
    """
    frame = training.copy()
    frame["sound"] = plots["kept"].to_numpy(bool)
    frame["y"] = frame[column].astype(float)
    phase = frame["phase"].astype(str) if "phase" in frame else pd.Series("", index=frame.index)
    frame["phase"] = np.where(frame["y"].notna(), GROUND, np.where(phase == "0", 0, 1))
    first = frame[phase.isin(["0", "1"]) & frame["y"].isna() & frame.geometry.notna()]
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


def plots_left_out(plots: gpd.GeoDataFrame, column: str, stands: gpd.GeoDataFrame) -> pd.DataFrame:
    """Plots that chance chose in the stands: plot, stand, and the reason why no measurement of theirs counts ("" where one does).

    Points of phases 0 and 1, which nobody was to measure, are none of them.
    """
    value = plots[column] if column in plots else pd.Series(np.nan, index=plots.index)
    phase = plots["phase"].astype(str) if "phase" in plots else pd.Series("", index=plots.index)
    drawn = (plots["sampling"] == "probability") & ~(phase.isin(["0", "1"]) & value.isna()) & plots.geometry.notna()
    rows = plots[drawn].sort_values("kept", ascending=False, kind="stable").drop_duplicates("plot")
    centre = rows.geometry.centroid
    place = stands_at(centre.x.to_numpy(), centre.y.to_numpy(), stands)
    found = pd.DataFrame({"plot": rows["plot"].to_numpy(), "stand": place, "reason": np.where(rows["kept"], "", rows["reason"])})
    return found[found["stand"].notna()].reset_index(drop=True)


def said_of_left_out(found: pd.DataFrame) -> str:
    """How many of the plots that chance chose are left out, and why; "" where none is."""
    lost = found.loc[found["reason"] != "", "reason"]
    if lost.empty:
        return ""
    why = "; ".join(f"{count} {reason}" for reason, count in lost.value_counts(sort=False).items())
    return f"{len(lost)} of {len(found)} plots that chance chose here are left out ({why})"


def left_out_shift(model: TargetModel, left_out: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Per predictor set, plot and year: how far its prediction moves when its own cluster is left out of the model."""
    parts = []
    for number, one in enumerate(model.sets, start=1):
        rows = left_out[left_out["set_name"] == one.name]
        seen = rows.merge(training.drop_duplicates(["plot", "year"]), on=["plot", "year"], suffixes=("", "_of_plot"))
        X = seen[list(one.predictors)].to_numpy(float)
        fitted = one.machine.mean(one.params, one.design(X, seen["year"].to_numpy(int))) if len(seen) else np.zeros(0)
        shown = seen["predicted"].to_numpy(float) - seen["position_curvature"].to_numpy(float)  # as maps show it
        parts.append(
            pd.DataFrame({"plot": seen["plot"], "year": seen["year"].astype(int), "set": number, "shift": shown - fitted})
        )
    return pd.concat(parts, ignore_index=True)


def on_maps(
    seen: pd.DataFrame, apart: pd.DataFrame, target: str, products: Sequence[Mapping], folder: Path, grid: Grid,
    sets: Path | None = None, relative: Callable[[Window], float | np.ndarray] = lambda _: 1.0,
) -> pd.DataFrame:  # fmt: skip
    """Plots with `map`, the stock that the map shows on their footprint, moved to what it would be without their cluster.

    `map_<a>_<b>` is the same of the change that the map of changes shows, by the study's factor to carbon: a pixel's own is
    `relative` times that (`carbon.relative_factor`). The map is read where the plot is, mask of forest
    and all, because the mean that it is set against is of the same pixels. Missing where the map does not cover the footprint.
    `set_<n>` is what the n-th predictor set says there, moved alike, where `sets` has a map of each.
    """
    moved = {(row.plot, int(row.year), int(row.set)): row.shift for row in apart.itertuples()}
    changes = [product for product in products if product["kind"] == "sink" and product["target"] == target]
    value, shifts, sinks = [], [], {tuple(product["years"]): [] for product in changes}
    alone: list[dict[str, float]] = []
    for row in seen.itertuples():
        window = grid.window_of(row.geometry.bounds)
        weight = footprint_shares([row.geometry], grid, window)[0]
        stock = _read(folder / f"{target}_{int(row.year)}", grid, window, 4)
        value.append(_mean(stock[0], weight))
        shifts.append(_shift(stock[3], weight, row.plot, int(row.year), moved))
        alone.append(_by_set(sets / f"{target}_{int(row.year)}", grid, window, weight, row, moved) if sets else {})
        for product in changes:
            read = tuple(product["years"])[-1] == int(row.year)
            band = _read(folder / product["name"], grid, window, 1)[0] / relative(window) if read else None
            sinks[tuple(product["years"])].append(_mean(band, weight) if read else np.nan)
    columns = {f"map_{a}_{b}": values for (a, b), values in sinks.items()}
    found = seen.assign(map=np.array(value) + np.array(shifts), shift=shifts, plot_ha=seen["area_ha"], **columns)
    return pd.concat([found, pd.DataFrame(alone, index=seen.index)], axis=1)


def _by_set(folder: Path, grid: Grid, window, weight: np.ndarray, row, moved: Mapping) -> dict[str, float]:
    return {
        f"set_{number}": _mean(array, weight) + moved.get((row.plot, int(row.year), number), 0.0)
        for number, array in enumerate(_read(folder, grid, window, None), start=1)
    }


def _read(folder: Path, grid: Grid, window, bands: int | None) -> list[np.ndarray]:
    """The first bands of a map on a window, all of them where none are counted."""
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


@dataclass(frozen=True)
class Land:
    """Pixels all over the study's stands (n), and what each predictor set says of them at each year.

    row, col : (n,) their place on the lattice; stand : (n,) the stand that their centre lies in
    told : year -> (sets, rows, cols) on the lattice; step : pixels between its rows and columns; flown : by year
    """

    grid: Grid
    step: int
    row: np.ndarray
    col: np.ndarray
    stand: np.ndarray
    told: Mapping[int, np.ndarray]
    flown: Mapping[str, bool]

    @classmethod
    def of(
        cls, target: str, years: Sequence[int], sets: Path, grid: Grid, stands: gpd.GeoDataFrame, flown: Mapping[str, bool]
    ) -> Land:
        step = int(np.ceil(np.sqrt(max(grid.rows * grid.cols / MOST_PLACES, 1.0))))
        told = {int(year): _on_lattice(sets / f"{target}_{int(year)}", grid, step) for year in years}
        rows, cols = next(iter(told.values())).shape[1:]
        row, col = (one.ravel() for one in np.indices((rows, cols)))
        side = grid.resolution_m
        x = grid.west_m + (step // 2 + step * col + 0.5) * side
        y = grid.north_m - (step // 2 + step * row + 0.5) * side
        stand = np.array(stands_at(x, y, stands), dtype=object)
        there = np.array([one is not None for one in stand])
        return cls(grid, step, row[there], col[there], stand[there], told, flown)

    def places(self, span: Sequence[int], members: Collection[str]) -> tuple[Places, np.ndarray, tuple[int, int | None]]:
        """Pixels in the stands that are members, the strips on the lattice (0 outside), and the numbers of the sets, from 1,
        that see most (fine) and nearly everything (wide; None where one set is all there is)."""
        at = [self.told[int(year)] for year in span]
        values = at[0] if len(at) == 1 else at[-1] - at[0]
        inside = np.isin(self.stand.astype(str), list(members))
        row, col = self.row[inside], self.col[inside]
        share = np.isfinite(values[:, row, col]).mean(axis=1)
        widest = int(len(share) - 1 - np.argmax(share[::-1]))
        strip = _pieces(np.isfinite(values[0]), self.grid.resolution_m * self.step)
        number = strip[row, col]
        points = pd.DataFrame(
            {
                "stand": self.stand[inside], "fine": values[0, row, col],
                "wide": values[widest, row, col] if widest else np.nan,
                "strip": np.where(number > 0, number.astype(str), None),
            }
        )  # fmt: skip
        drawn = all(self.flown.get(str(year), False) for year in span)
        return Places(points, self.step == 1, drawn), strip, (1, widest + 1 if widest else None)

    def strip_at(self, strip: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[str | None]:
        """The strip that lies at some places, by the nearest point of the lattice."""
        side = self.grid.resolution_m * self.step
        col = np.clip(np.floor((x - self.grid.west_m) / side).astype(int), 0, strip.shape[1] - 1)
        row = np.clip(np.floor((self.grid.north_m - y) / side).astype(int), 0, strip.shape[0] - 1)
        return [str(number) if number > 0 else None for number in strip[row, col]]


def _on_lattice(folder: Path, grid: Grid, step: int) -> np.ndarray:
    """Bands (bands, rows, cols) of a map at every `step`-th pixel along both axes, from the middle of the first step."""
    names, first = store.raster_bands(folder / f"{grid.blocks()[0]}.tif"), step // 2
    rows, cols = (len(range(first, size, step)) for size in (grid.rows, grid.cols))
    found = np.full((len(names), rows, cols), np.nan, "float32")
    for block in grid.blocks():
        place = grid.block_window(block)
        row, col = ((first - start) % step for start in (place.row0, place.col0))
        for number, array in enumerate(Mosaic(folder, grid).read(place, names).values()):
            part = array[row::step, col::step]
            top, left = (place.row0 + row) // step, (place.col0 + col) // step
            found[number, top : top + part.shape[0], left : left + part.shape[1]] = part
    return found


def _pieces(seen: np.ndarray, side_m: float) -> np.ndarray:
    """Number of the piece of land (rows, cols) that is seen in one, 0 outside; narrow gaps do not part it."""
    from scipy import ndimage

    around, reach = np.ones((3, 3)), int(BRIDGED_M / 2 / side_m)
    if reach:
        seen = ndimage.binary_closing(np.pad(seen, reach), structure=around, iterations=reach)[reach:-reach, reach:-reach]
    return ndimage.label(seen, structure=around)[0]


def sample_of(
    seen: pd.DataFrame, span: Sequence[int], stands: gpd.GeoDataFrame, members: Collection[str], column: str,
    factors: CarbonFactors, land: Land | None,
) -> tuple[pd.DataFrame, Places | None]:  # fmt: skip
    """Points in the stands that are members, as `design_estimates` takes them, and the pixels of the same land."""
    frame = seen[seen["year"] == span[0]] if len(span) == 1 else _changes(seen, span, factors)
    there = stands[stands["stand"].isin(members) & (stands["layer"] != "plots")].reset_index(drop=True)
    if there.empty:
        there = stands[stands["stand"].isin(members)].reset_index(drop=True)
    centre = frame.geometry.centroid
    place = stands_at(centre.x.to_numpy(), centre.y.to_numpy(), there)
    frame = frame.assign(stand=place, selection=frame["sampling"])
    for name in ("stratum", "district"):
        of_stand = dict(zip(there["stand"], there[name], strict=True)) if name in there else {}
        frame[name] = [of_stand.get(stand) for stand in place]
    frame["fine"], frame["wide"], frame["strip"] = np.nan, np.nan, None
    places = None
    if land is not None:
        places, strip, (fine, wide) = land.places(span, there["stand"])
        frame["fine"] = frame[f"set_{fine}"]
        frame["wide"] = frame[f"set_{wide}"] if wide else np.nan
        frame["strip"] = land.strip_at(strip, centre.x.to_numpy(), centre.y.to_numpy())
    outside = int(frame["stand"].isna().sum())
    if outside:
        when = "-".join(map(str, span))
        log.info("%s %s: %d of %d plots lie outside the stands that have a total", column, when, outside, len(frame))
    inside = frame[frame["stand"].notna()].reset_index(drop=True)
    return pd.DataFrame(inside.drop(columns="geometry")), places


def _changes(seen: pd.DataFrame, span: Sequence[int], per_tonne: CarbonFactors) -> pd.DataFrame:
    """Plots measured at both years: late minus early of what was measured, of what the maps show, of shared errors.

    Points of the earlier phases, which nobody measured, have the maps alone.
    """
    told = seen[seen["y"].notna() | (seen["phase"] < GROUND)]
    early, late = (told[told["year"] == year].set_index("plot") for year in (span[0], span[-1]))
    both = early.index.intersection(late.index, sort=True)
    early, late = early.loc[both], late.loc[both]
    factors = [name for name in seen if name.startswith("f_")]
    frame = late.copy()
    for name in ("y", *(name for name in seen if str(name).startswith("set_"))):
        frame[name] = late[name] - early[name]
    frame[factors] = late[factors].fillna(0.0) - early[factors].fillna(0.0)
    name = f"map_{span[0]}_{span[-1]}"
    if name in late:  # the published change, told from a set that is complete at both dates; in the target's unit
        per_unit = per_tonne.net_removal(span[-1] - span[0])
        frame["map"] = late[name] / per_unit + late["shift"] - early["shift"]
    else:
        frame["map"] = np.nan
    return frame.reset_index()
