"""Do stand intervals cover? Planted fields whose truth is known, our method beside an oracle and two naive ways.

    python -m benchmarks.coverage --seeds 200       prints the tables of docs/methods/inference.md (about 25 minutes)

A forest is a square of 12.8 km in cells of 20 m, as large as a plot (0.04 ha). Its target is a square-root response to two
correlated predictors plus a residual that is an exponential field with nugget, of a standard deviation that grows with a
power of the mean; a second date shares a part of it. The truth of a stand is the mean of its cells. Fields are drawn on a
torus by Fourier transform, exactly; plots and stands keep clear of its seam.

Ways to an interval, from the same plots and the same regression:
ours        fit_target, sums, RegionEstimator: nothing is known but the plots
oracle      is told range, nugget and standard deviation; no floor, normal quantiles
parameters  parameter errors by the jackknife + residuals of pixels as if independent
pixels      errors of pixels, parameters included, as if independent

Coverage is counted per seed, because the stands of a seed share errors; its Monte Carlo error stands in brackets.
tests/models/test_coverage.py keeps a smaller version.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import shapely

from models.inference.fitted import TargetModel, fit_target
from models.inference.residuals import Residuals, Structure
from models.inference.stands import RegionEstimator, Sums, lattice

SIDE, CELL_M = 640, 20.0
CELL_HA = CELL_M**2 / 1e4
MARGIN = 30  # cells that plots and stands keep from the seam
YEARS = (2019, 2024)
RANGES_M = (0.0, 60.0, 300.0, 1000.0)
NUGGET = 0.3
MEAN, SD, POWER = 150.0, 50.0, 0.6  # Mg/ha; residual SD at the mean
BETWEEN_DATES = 0.8
LAYOUTS = {"single": (0, 0, 80), "mixed": (10, 4, 40), "clustered": (20, 4, 0), "few clusters": (8, 8, 0)}
"""Clusters, plots in each, single plots."""
STANDS = {1: (6, (5, 5), (2, 12)), 5: (6, (11, 11), (4, 31)), 20: (5, (22, 23), (9, 56)), 100: (3, (50, 50), (20, 125)),
          500: (2, (112, 112), (46, 272))}  # fmt: skip
"""Hectares: how many of each shape, rows and columns of cells of the compact and of the elongated one."""
PREDICTORS = ("height", "cover", "texture")
CONFIDENCE = 90.0
NORMAL = 1.6449


def spectrum(range_m: float) -> np.ndarray:
    """Root of the eigenvalues (SIDE, SIDE) of the exponential correlation on the torus."""
    steps = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE)) * CELL_M
    field = np.exp(-3 * np.hypot(steps[:, None], steps[None, :]) / range_m)
    return np.sqrt(np.maximum(np.fft.fft2(field).real, 0.0))


def two_fields(rng: np.random.Generator, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two independent unit fields with the spectrum's correlation."""
    noise = rng.normal(size=(2, SIDE, SIDE))
    made = np.fft.fft2(root * (noise[0] + 1j * noise[1])) / SIDE
    return made.real, made.imag


@dataclass(frozen=True)
class Land:
    """Predictors (date, SIDE, SIDE each), expected target (date, SIDE, SIDE), stands as (size, shape, rows, columns)."""

    predictors: dict[str, np.ndarray]
    mean: np.ndarray
    stands: list[tuple[int, str, slice, slice]]


ROOTS: dict[float, np.ndarray] = {}


def root_of(range_m: float) -> np.ndarray:
    if range_m not in ROOTS:
        ROOTS[range_m] = spectrum(range_m)
    return ROOTS[range_m]


def plant_land(seed: int) -> Land:
    rng = np.random.default_rng([seed, 1])
    far, near = two_fields(rng, root_of(3000.0)), two_fields(rng, root_of(150.0))
    tall = 0.8 * far[0] + 0.6 * near[0]
    dense = 0.5 * tall + 0.6 * far[1] + 0.62 * near[1]
    growth = 0.15 + 0.1 * near[1]
    texture = rng.normal(size=(SIDE, SIDE))
    predictors = {
        "height": np.stack([tall, tall + growth]), "cover": np.stack([dense, dense + 0.3 * growth]),
        "texture": np.stack([texture, texture]),
    }  # fmt: skip
    response = np.sqrt(MEAN) + 2.0 * predictors["height"] + 1.0 * predictors["cover"]
    stands = []
    for hectares, (count, *shapes) in STANDS.items():
        for name, (rows, cols) in zip(("compact", "elongated"), shapes, strict=True):
            for _ in range(count):
                high, wide = (rows, cols) if rng.random() < 0.5 else (cols, rows)
                top, left = (int(rng.integers(MARGIN, SIDE - MARGIN - n)) for n in (high, wide))
                stands.append((hectares, name, slice(top, top + high), slice(left, left + wide)))
    return Land(predictors, np.maximum(response, 0.0) ** 2, stands)


def plant_residuals(seed: int, range_m: float, nugget: float = NUGGET) -> np.ndarray:
    """Unit residuals (date, SIDE, SIDE) whose dates correlate with `BETWEEN_DATES`."""
    rng = np.random.default_rng([seed, 2])
    white = rng.normal(size=(2, SIDE, SIDE))
    if range_m > 0:
        smooth = np.stack(two_fields(rng, root_of(range_m)))
        white = np.sqrt(1 - nugget) * smooth + np.sqrt(nugget) * white
    return np.stack([white[0], BETWEEN_DATES * white[0] + np.sqrt(1 - BETWEEN_DATES**2) * white[1]])


def draw_plots(seed: int, layout: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and cluster (n,) of plots; plots of a cluster of four stand on the corners of a square of 100 m."""
    rng = np.random.default_rng([seed, 3])
    clusters, each, single = LAYOUTS[layout]
    side = int(np.ceil(np.sqrt(max(each, 1))))
    offsets = np.array([(5 * a, 5 * b) for a in range(side) for b in range(side)])[:each]
    anchors = rng.integers(MARGIN, SIDE - MARGIN - 5 * side, (clusters, 2))
    alone = rng.integers(MARGIN, SIDE - MARGIN, (single, 2))
    places = np.vstack([(anchors[:, None] + offsets[None]).reshape(-1, 2), alone]) if each else alone
    names = np.concatenate([np.repeat(np.arange(clusters), each), clusters + np.arange(single)])
    return places[:, 0], places[:, 1], names


def around_plots(rows: np.ndarray, cols: np.ndarray) -> list[tuple[int, str, slice, slice]]:
    """Stands of 5 ha with a plot in their middle."""
    return [(5, "with plots", slice(r - 5, r + 6), slice(c - 5, c + 6)) for r, c in zip(rows, cols, strict=True)]


def plot_table(land: Land, target: np.ndarray, rows: np.ndarray, cols: np.ndarray, cluster: np.ndarray) -> pd.DataFrame:
    """Every plot at both dates, as the step `training` writes them."""
    dates = []
    for number, year in enumerate(YEARS):
        values = {name: field[number, rows, cols] for name, field in land.predictors.items()}
        made = {
            "plot": [f"p{k:03d}" for k in range(len(rows))], "cluster": [f"c{k:03d}" for k in cluster], "year": year,
            "x": (cols + 0.5) * CELL_M, "y": (rows + 0.5) * CELL_M, "area_ha": CELL_HA, **values,
            "agb_mg_ha": target[number, rows, cols],
        }  # fmt: skip
        dates.append(pd.DataFrame(made))
    return pd.concat(dates, ignore_index=True)


def true_sd(mean: np.ndarray) -> np.ndarray:
    return SD * (np.maximum(mean, 1.0) / MEAN) ** POWER


def oracle_of(model: TargetModel, range_m: float) -> TargetModel:
    """The model as somebody would have it who knows range, nugget and spread of the residuals."""
    structure = Structure.known(range_m, NUGGET) if range_m > 0 else Structure.known(1.0, 1.0)
    residuals = Residuals(SD / MEAN**POWER, POWER, 1.0, BETWEEN_DATES, 1.0, structure, structure)
    sets = []
    for one in model.sets:
        sd = residuals.sd(one.machine.mean(one.params, one.design(sample_predictors(one), one.sample.year)))
        influence = one.sample.influence * (sd / one.sample.sd)[:, None]
        sets.append(replace(one, residuals=residuals, sample=replace(one.sample, sd=sd, influence=influence)))
    return replace(model, sets=tuple(sets), influence=np.zeros_like(model.influence), clusters=10**6)


SEEN: dict[int, np.ndarray] = {}


def sample_predictors(one) -> np.ndarray:
    return SEEN[id(one.sample)]


@dataclass(frozen=True)
class Cells:
    """What a model says of the cells of all stands, one after the other: per date mean, gradient and the cells' stands."""

    starts: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    gradient: np.ndarray

    def added(self, values: np.ndarray) -> np.ndarray:
        """Sums (stands, ...) of values (cells, ...)."""
        return np.add.reduceat(values, self.starts, axis=0)


def see_cells(model: TargetModel, land: Land) -> Cells:
    count = np.array([(r.stop - r.start) * (c.stop - c.start) for _, _, r, c in land.stands])
    means, gradients = [], []
    for number, year in enumerate(YEARS):
        cut = {
            name: np.concatenate([field[number][r, c].ravel() for _, _, r, c in land.stands])
            for name, field in land.predictors.items()
        }
        found = model.predict(cut, year)
        means.append(found["mean"])
        gradients.append(found["gradient"])
    return Cells(np.concatenate([[0], np.cumsum(count)[:-1]]), count, np.stack(means), np.stack(gradients))


def sums_of(model: TargetModel, cells: Cells, years: Sequence[int]) -> list[Sums]:
    """What `estimate` adds up per stand."""
    residuals = model.sets[0].residuals
    if len(years) == 1:
        number = YEARS.index(years[0])
        value, gradient, s = cells.mean[number], cells.gradient[number], residuals.sd(cells.mean[number])
    else:
        value, gradient = cells.mean[1] - cells.mean[0], cells.gradient[1] - cells.gradient[0]
        s = residuals.change_sd(residuals.sd(cells.mean[0]), residuals.sd(cells.mean[1]))
    area = cells.count * CELL_HA
    parts = [CELL_HA * cells.added(part) for part in (value, s, s**2, gradient.astype(float))]
    return [
        Sums(area[k], parts[0][k], area[k : k + 1], parts[1][k : k + 1], parts[2][k : k + 1], parts[3][k])
        for k in range(len(area))
    ]


def shape_of(rows: slice, cols: slice) -> shapely.Polygon:
    return shapely.box(cols.start * CELL_M, rows.start * CELL_M, cols.stop * CELL_M, rows.stop * CELL_M)


def naive_se(model: TargetModel, sums: Sums, *, parameters_shared: bool, gradient2: float) -> float:
    """Standard error with residuals of pixels independent; parameters shared by all pixels, or independent too."""
    residual = sums.s2.sum() * CELL_HA / sums.covered_ha**2
    if parameters_shared:
        return float(np.sqrt(((model.influence @ (sums.gradient / sums.covered_ha)) ** 2).sum() + residual))
    return float(np.sqrt(residual + gradient2 * CELL_HA / sums.covered_ha**2))


def one_seed(
    seed: int, layouts: Sequence[str], ranges_m: Sequence[float], regressor: str = "linear", naive: bool = True
) -> Iterator[dict]:
    """Every stand, and all together, of one land: error, interval and truth by every method, layout and range."""
    land = plant_land(seed)
    for range_m in ranges_m:
        target = np.maximum(land.mean + true_sd(land.mean) * plant_residuals(seed, range_m), 0.0)
        for layout in layouts:
            rows, cols, cluster = draw_plots(seed, layout)
            here = replace(land, stands=[*land.stands, *around_plots(rows[:6], cols[:6])])
            table = plot_table(land, target, rows, cols, cluster)
            model, _ = fit_target(table, {"all": PREDICTORS}, target="agb", column="agb_mg_ha", regressor=regressor)
            for row in estimates(here, model, target, table, range_m, naive=naive):
                told = getattr(model.sets[0].residuals, "level" if row["kind"] == "stock" else "change").identified
                yield {"seed": seed, "layout": layout, "range_m": range_m, "identified": told, **row}


def estimates(land: Land, model: TargetModel, target, table, range_m: float, *, naive: bool) -> Iterator[dict]:
    cells = see_cells(model, land)
    regions = [lattice(shape_of(r, c)) for _, _, r, c in land.stands]
    SEEN.clear()
    SEEN[id(model.sets[0].sample)] = table[list(PREDICTORS)].to_numpy(float)
    oracle = oracle_of(model, range_m)
    truth = [np.array([field[r, c].mean() for _, _, r, c in land.stands]) for field in target]
    for kind, years, true in (("stock", YEARS[:1], truth[0]), ("change", YEARS, truth[1] - truth[0])):
        for name, one in (("ours", model), ("oracle", oracle)):
            sums = sums_of(one, cells, years)
            estimator = RegionEstimator(one, years=years, confidence_percent=CONFIDENCE, points=800)
            for number, (size, shape, _, _) in enumerate(land.stands):
                found = estimator.estimate([sums[number]], [regions[number]])
                yield _row(kind, size, shape, name, found.mean, found.low, found.high, true[number])
            spread = [k for k, one_stand in enumerate(land.stands) if one_stand[0] <= 20 and one_stand[1] != "with plots"]
            whole = estimator.estimate([sums[k] for k in spread], [regions[k] for k in spread])
            weight = cells.count[spread] / cells.count[spread].sum()
            yield _row(kind, 0, "project", name, whole.mean, whole.low, whole.high, float(true[spread] @ weight))
        if naive:
            sums = sums_of(model, cells, years)
            gradient = cells.gradient[0] if len(years) == 1 else cells.gradient[1] - cells.gradient[0]
            squares = CELL_HA * cells.added(((gradient @ model.influence.T) ** 2).sum(axis=1))
            for number, (size, shape, _, _) in enumerate(land.stands):
                mean = sums[number].value / sums[number].covered_ha
                for name, shared in (("parameters", True), ("pixels", False)):
                    half = NORMAL * naive_se(model, sums[number], parameters_shared=shared, gradient2=squares[number])
                    yield _row(kind, size, shape, name, mean, mean - half, mean + half, true[number])


def _row(kind: str, size: int, shape: str, method: str, mean: float, low: float, high: float, truth: float) -> dict:
    return {
        "kind": kind, "size_ha": size, "shape": shape, "method": method, "mean": mean, "truth": truth, "error": mean - truth,
        "half": (high - low) / 2, "covered": low <= truth <= high,
    }  # fmt: skip


def per_seed(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Coverage in %, its Monte Carlo error over seeds, mean half-width and root mean square error, by groups."""
    seeds = rows.groupby([*by, "seed"], observed=True).agg(
        covered=("covered", "mean"), half=("half", "mean"), square=("error", lambda e: (e**2).mean())
    )
    groups = seeds.groupby(list(by), observed=True)
    found = groups.mean()
    return pd.DataFrame(
        {"covered": 100 * found["covered"], "mc": 100 * groups["covered"].std() / np.sqrt(groups["covered"].count()),
         "half": found["half"], "rmse": np.sqrt(found["square"])}
    )  # fmt: skip


def simulate(seeds: Sequence[int], layouts=tuple(LAYOUTS), ranges_m=RANGES_M, **options) -> pd.DataFrame:
    rows: list[dict] = []
    for seed in seeds:
        rows.extend(one_seed(seed, layouts, ranges_m, **options))
    return pd.DataFrame(rows)


def show(rows: pd.DataFrame, kind: str) -> None:
    rows = rows[rows["kind"] == kind]
    print(f"\n{kind}: covered in % at nominal {CONFIDENCE:.0f} % (Monte Carlo error): ours / oracle / parameters / pixels; "
          "half-width over that of the oracle")  # fmt: skip
    groups = [(f"{size} ha", rows[(rows["size_ha"] == size) & (rows["shape"] != "with plots")]) for size in STANDS]
    groups += [("5 ha with plots", rows[rows["shape"] == "with plots"]), ("project", rows[rows["shape"] == "project"])]
    print("| layout | range m | range identified, % | " + " | ".join(name for name, _ in groups) + " |")
    print("|---" * (3 + len(groups)) + "|")
    tables = [per_seed(part, ["layout", "range_m", "method"]) for _, part in groups]
    for layout in dict.fromkeys(rows["layout"]):
        for range_m in sorted(rows["range_m"].unique()):
            cells = []
            for table in tables:
                at = table.loc[layout, range_m]
                shown = [f"{at.covered['ours']:.0f} ({at.mc['ours']:.1f})"]
                shown += [f"{at.covered[name]:.0f}" for name in ("oracle", "parameters", "pixels") if name in at.index]
                cells.append(" / ".join(shown) + f"; {at.half['ours'] / at.half['oracle']:.2f}")
            told = 100 * rows[(rows["layout"] == layout) & (rows["range_m"] == range_m)]["identified"].mean()
            print(f"| {layout} | {range_m:.0f} | {told:.0f} | " + " | ".join(cells) + " |")
    ours = rows[(rows["method"] == "ours") & rows["shape"].isin(["compact", "elongated"])]
    decile = ours.assign(decile=pd.qcut(ours["mean"], 10, labels=range(1, 11)))
    found = per_seed(decile, ["decile"])
    print("by decile of the prediction: " + ", ".join(f"{row.covered:.0f}" for row in found.itertuples()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--ranges", nargs="+", type=float, default=list(RANGES_M))
    parser.add_argument("--regressor", default="linear")
    parser.add_argument("--keep", help="a Parquet file for the single rows")
    parser.add_argument("--show", nargs="+", help="print the tables of kept files together, and simulate nothing")
    settings = parser.parse_args()
    if settings.show:
        rows = pd.concat([pd.read_parquet(file) for file in settings.show], ignore_index=True)
        for kind in ("stock", "change"):
            show(rows, kind)
        return
    logging.disable(logging.WARNING)
    began = time.process_time()
    rows = simulate(
        range(settings.first, settings.first + settings.seeds), settings.layouts, settings.ranges, regressor=settings.regressor
    )
    if settings.keep:
        rows.to_parquet(settings.keep)
    for kind in ("stock", "change"):
        show(rows, kind)
    print(f"{settings.seeds} seeds, regressor {settings.regressor}, {time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
