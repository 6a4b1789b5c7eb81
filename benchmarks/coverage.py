"""Do stand intervals cover? Planted fields whose truth is known, our method beside an oracle and two naive ways.

    python -m benchmarks.coverage --first 2001 --seeds 100 --keep kept      5 CPU s a seed; again where it was stopped
    python -m benchmarks.coverage --path hierarchical --first 2001 --seeds 100 --keep kept
    python -m benchmarks.coverage --show kept --into docs/methods/inference.md           the tables of that page

`benchmarks.coverage_land` says what is planted. The truth of a stand is the mean of its cells. Every seed is a file of its
own in the folder `--keep` (some 100 KB), so that processes may share one.

Ways to an interval, from the same plots and the same regression:
ours        fit_target (or fit_in_stages), sums, RegionEstimator: nothing is known but the plots
oracle      is told range, nugget and standard deviation; no floor, normal quantiles
parameters  parameter errors by the jackknife + residuals of pixels as if independent
pixels      errors of pixels, parameters included, as if independent

On the hierarchical path lidar is on a third of the land, plots stand under it, and a satellite that tells less learns from
what the lidar's model predicts of cells; stocks of one date, stands inside and outside the strip apart.

Coverage is counted per seed, because the stands of a seed share errors; its Monte Carlo error stands in brackets.
tests/models/test_coverage.py keeps a smaller version.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks import coverage_land as planted
from benchmarks.coverage_land import CELL_HA, LAYOUTS, PREDICTORS, SATELLITE, STRIP, YEARS, Land
from benchmarks.coverage_tables import CONFIDENCE, show
from models.inference.fitted import fit_target
from models.inference.hierarchical import fit_in_stages
from models.inference.residuals import Residuals, Structure
from models.inference.stands import RegionEstimator, Regions, Sums, lattice
from models.inference.target_model import SetModel, TargetModel

RANGES_M = (0.0, 60.0, 300.0, 1000.0)
NORMAL = 1.6449


def known_residuals(range_m: float) -> Residuals:
    """What the planted residuals are."""
    structure = Structure.known(range_m, planted.NUGGET) if range_m > 0 else Structure.known(1.0, 1.0)
    scale = planted.SD / planted.MEAN**planted.POWER
    return Residuals(scale, planted.POWER, 1.0, planted.BETWEEN_DATES, 1.0, structure, structure)


def known_unseen() -> Residuals:
    """What the satellite leaves unexplained of the response r^2: 2 r u + u^2 of the field u that it does not see, of SD
    nearly 2 sd(u) r."""
    structure = Structure.known(planted.UNSEEN_M, 0.0)
    return Residuals(2 * planted.UNSEEN_SD, 0.5, 1.0, 1.0, 1.0, structure, structure)


def oracle_of(model: TargetModel, known: Sequence[Residuals], seen: Sequence[np.ndarray]) -> TargetModel:
    """The model as somebody would have it who knows range, nugget and spread of each set's residuals; `seen` are the raw
    predictors (n, p) of each set's sample."""
    sets: list[SetModel] = []
    for one, residuals, X in zip(model.sets, known, seen, strict=True):
        sd = residuals.sd(one.machine.mean(one.params, one.design(X, one.sample.year)))
        influence = one.sample.influence * (sd / one.sample.sd)[:, None]
        sets.append(replace(one, residuals=residuals, sample=replace(one.sample, sd=sd, influence=influence)))
    nothing = [np.zeros_like(part) for part in (model.influence, model.block_influence)]
    return replace(
        model, sets=tuple(sets), influence=nothing[0], block_influence=nothing[1], clusters=10**6, blocks=10**6
    )


@dataclass(frozen=True)
class Cells:
    """What a model says of the cells of all stands, one after the other: per date mean, gradient, residual SD per set and
    the set that serves."""

    starts: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    gradient: np.ndarray
    part_sd: np.ndarray
    set_number: np.ndarray

    def added(self, values: np.ndarray) -> np.ndarray:
        """Sums (stands, ...) of values (cells, ...)."""
        return np.add.reduceat(values, self.starts, axis=0)


def see_cells(model: TargetModel, land: Land, *, dates: int = 2, strip: bool = False) -> Cells:
    count = np.array([(r.stop - r.start) * (c.stop - c.start) for _, _, r, c in land.stands])
    column = np.concatenate(
        [np.broadcast_to(np.arange(c.start, c.stop), (r.stop - r.start, c.stop - c.start)).ravel() for _, _, r, c in land.stands]
    )
    beyond = (column < STRIP[0]) | (column >= STRIP[1])
    found = []
    for number, year in enumerate(YEARS[:dates]):
        cut = {
            name: np.concatenate([field[number][r, c].ravel() for _, _, r, c in land.stands])
            for name, field in land.predictors.items()
        }
        if strip:
            cut |= {name: np.where(beyond, np.nan, cut[name]) for name in PREDICTORS}
        found.append(model.predict(cut, year))
    parts = [np.stack([one[name] for one in found]) for name in ("mean", "gradient", "part_sd", "set_number")]
    return Cells(np.concatenate([[0], np.cumsum(count)[:-1]]), count, *parts)


def sums_of(model: TargetModel, cells: Cells, years: Sequence[int]) -> list[Sums]:
    """What `estimate` adds up per stand."""
    if len(years) == 1:
        value, gradient, s = cells.mean[0], cells.gradient[0], cells.part_sd[0]
    else:
        residuals = model.sets[0].residuals
        value, gradient = cells.mean[1] - cells.mean[0], cells.gradient[1] - cells.gradient[0]
        s = residuals.change_sd(cells.part_sd[0], cells.part_sd[1])
    area, served = cells.count * CELL_HA, cells.set_number[0][:, None] == np.arange(len(model.sets))
    set_ha, value, s, s2, gradient = (CELL_HA * cells.added(part) for part in (served, value, s, s**2, gradient.astype(float)))
    return [Sums(area[k], value[k], set_ha[k], s[k], s2[k], gradient[k]) for k in range(len(area))]


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
    land = planted.plant_land(seed)
    for range_m in ranges_m:
        target = np.maximum(land.mean + planted.true_sd(land.mean) * planted.plant_residuals(seed, range_m), 0.0)
        for layout in layouts:
            rows, cols, cluster = planted.draw_plots(seed, layout)
            here = replace(land, stands=[*land.stands, *planted.around_plots(rows[:6], cols[:6])])
            table = planted.plot_table(land, target, rows, cols, cluster)
            model, _ = fit_target(table, {"all": PREDICTORS}, target="agb", column="agb_mg_ha", regressor=regressor)
            oracle = oracle_of(model, [known_residuals(range_m)], [table[list(PREDICTORS)].to_numpy(float)])
            for row in estimates(here, model, oracle, target, naive=naive):
                told = getattr(model.sets[0].residuals, "level" if row["kind"] == "stock" else "change").identified
                yield {"seed": seed, "layout": layout, "range_m": range_m, "place": "everywhere", "identified": told, **row}


def one_seed_in_stages(
    seed: int, layouts: Sequence[str], ranges_m: Sequence[float], regressor: str = "linear", naive: bool = False
) -> Iterator[dict]:
    """As `one_seed`, of one date, with lidar on a third of the land and a satellite that learned from it everywhere else."""
    del naive  # nobody's way
    land = planted.plant_land(seed)
    cells = planted.taught_cells(seed, land)
    for range_m in ranges_m:
        target = np.maximum(land.mean + planted.true_sd(land.mean) * planted.plant_residuals(seed, range_m), 0.0)
        for layout in layouts:
            rows, cols, cluster = planted.draw_plots(seed, layout, strip=True)
            table = planted.plot_table(land, target, rows, cols, cluster, dates=1)
            model, _ = fit_in_stages(
                table, {"lidar": PREDICTORS, "satellite": SATELLITE}, cells, path="hierarchical", target="agb",
                column="agb_mg_ha", regressor=regressor,
            )  # fmt: skip
            if model.sets[1].second_stage is None:
                raise ValueError(f"seed {seed}, {layout}: the satellite has not learned from the lidar ({model.warnings})")
            seen = [table[list(PREDICTORS)].to_numpy(float), model.sets[1].second_stage.cells]
            oracle = oracle_of(model, [known_residuals(range_m), known_unseen()], seen)
            told = model.sets[0].residuals.level.identified
            for row in estimates(land, model, oracle, target, naive=False, strip=True):
                yield {"seed": seed, "layout": layout, "range_m": range_m, "identified": told, **row}


PATHS = {"direct": one_seed, "hierarchical": one_seed_in_stages}


def estimates(
    land: Land, model: TargetModel, oracle: TargetModel, target: np.ndarray, *, naive: bool, strip: bool = False
) -> Iterator[dict]:
    dates = 1 if strip else 2
    regions = [lattice(planted.shape_of(r, c)) for _, _, r, c in land.stands]
    places = [planted.of_strip(c) if strip else "everywhere" for _, _, _, c in land.stands]
    truth = [np.array([field[r, c].mean() for _, _, r, c in land.stands]) for field in target]
    kinds = [("stock", YEARS[:1], truth[0])]
    if not strip:
        kinds.append(("change", YEARS, truth[1] - truth[0]))
    spread = [k for k, stand in enumerate(land.stands) if stand[0] <= 20 and stand[1] != "with plots"]
    for name, one in (("ours", model), ("oracle", oracle)):
        cells = see_cells(one, land, dates=dates, strip=strip)
        for kind, years, true in kinds:
            sums = sums_of(one, cells, years)
            estimator = RegionEstimator(one, years=years, confidence_percent=CONFIDENCE, points=800)
            each = estimator.estimates(Sums.stacked(sums), Regions.joined(regions))
            for number, (size, shape, _, _) in enumerate(land.stands):
                found = each[number]
                yield _row(kind, size, shape, places[number], name, found.mean, found.low, found.high, true[number])
            whole = estimator.estimate([sums[k] for k in spread], [regions[k] for k in spread])
            weight = cells.count[spread] / cells.count[spread].sum()
            yield _row(kind, 0, "project", "everywhere", name, whole.mean, whole.low, whole.high, float(true[spread] @ weight))
            if naive and name == "ours":
                gradient = cells.gradient[0] if len(years) == 1 else cells.gradient[1] - cells.gradient[0]
                squares = CELL_HA * cells.added(((gradient @ model.influence.T) ** 2).sum(axis=1))
                for number, (size, shape, _, _) in enumerate(land.stands):
                    mean = sums[number].value / sums[number].covered_ha
                    for way, shared in (("parameters", True), ("pixels", False)):
                        half = NORMAL * naive_se(model, sums[number], parameters_shared=shared, gradient2=squares[number])
                        yield _row(kind, size, shape, places[number], way, mean, mean - half, mean + half, true[number])


def _row(kind: str, size: int, shape: str, place: str, method: str, mean: float, low: float, high: float, truth: float) -> dict:
    return {
        "kind": kind, "size_ha": size, "shape": shape, "place": place, "method": method, "mean": mean, "error": mean - truth,
        "half": (high - low) / 2, "covered": low <= truth <= high,
    }  # fmt: skip


def simulate(
    seeds: Sequence[int], layouts: Sequence[str] = tuple(LAYOUTS), ranges_m: Sequence[float] = RANGES_M, *,
    path: str = "direct", **options,
) -> pd.DataFrame:  # fmt: skip
    return pd.DataFrame([row for seed in seeds for row in PATHS[path](seed, layouts, ranges_m, **options)])


def keep(
    folder: Path, seed: int, layouts: Sequence[str], ranges_m: Sequence[float], *, path: str, regressor: str, naive: bool
) -> bool:
    """Simulate one seed into its file, unless the file is there; whether it was made now."""
    all_of_them = len(layouts) == len(LAYOUTS) and len(ranges_m) == len(RANGES_M)
    cells = "_".join([*(one.replace(" ", "-") for one in layouts), *(f"{one:g}" for one in ranges_m)])
    file = folder / f"{path}_{regressor}_{'all' if all_of_them else cells}_{seed:05d}.parquet"
    if file.exists():
        return False
    rows = simulate([seed], layouts, ranges_m, path=path, regressor=regressor, naive=naive)
    rows = rows.assign(path=path, regressor=regressor).astype(dict.fromkeys(("mean", "error", "half"), "float32"))
    part = file.with_suffix(".part")  # whole files only, whatever stops us
    rows.to_parquet(part, compression="zstd")
    part.rename(file)
    return True


BEGIN, END = "<!-- coverage -->", "<!-- /coverage -->"


def write_into(page: Path, tables: str) -> None:
    """Put tables between the two marks of a page."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} must have the marks {BEGIN} and {END} once each, where its tables go")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{tables.strip()}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--path", default="direct", choices=list(PATHS))
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--ranges", nargs="+", type=float, default=list(RANGES_M))
    parser.add_argument("--regressor", default="linear")
    parser.add_argument("--no-naive", action="store_true", help="leave out the two naive ways")
    parser.add_argument("--keep", type=Path, help="a folder for the single rows, a file for each seed, made once")
    parser.add_argument("--show", type=Path, nargs="+", help="print the tables of kept folders together, and simulate nothing")
    parser.add_argument("--into", type=Path, help=f"a page whose text between {BEGIN} and {END} the tables of --show replace")
    settings = parser.parse_args()
    if settings.show:
        files = sorted(file for folder in settings.show for file in folder.glob("*.parquet"))
        if not files:
            parser.error(f"no kept seeds in {', '.join(map(str, settings.show))}")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            show(pd.concat([pd.read_parquet(file) for file in files], ignore_index=True))
        print(said.getvalue())
        if settings.into:
            write_into(settings.into, said.getvalue())
        return
    logging.disable(logging.WARNING)
    with threadpool_limits(1):  # of matrices so small, more threads make 5 s of 25
        run(settings)


def run(settings: argparse.Namespace) -> None:
    """Simulate what the command line asks for."""
    seeds = range(settings.first, settings.first + settings.seeds)
    cells = (settings.layouts, settings.ranges)
    if settings.keep is None:
        rows = simulate(seeds, *cells, path=settings.path, regressor=settings.regressor, naive=not settings.no_naive)
        show(rows.assign(path=settings.path, regressor=settings.regressor))
        print(f"{time.process_time() / len(seeds):.1f} CPU s a seed")
        return
    settings.keep.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        began = time.process_time()
        made = keep(
            settings.keep, seed, *cells, path=settings.path, regressor=settings.regressor, naive=not settings.no_naive
        )
        print(f"seed {seed}: {f'{time.process_time() - began:.1f} CPU s' if made else 'was there'}", flush=True)


if __name__ == "__main__":
    main()
