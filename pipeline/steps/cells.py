"""Rule `cells`: a sample of the map's cells at which a set of predictors can learn from what another set predicts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.steps.forest import read_forest
from pipeline.steps.windows import read_predictors
from pipeline.store import Mosaic
from pipeline.strata import shares_of, strata_predictors

log = logging.getLogger(__name__)

SITES = 300
"""Sites of a year, at most about; they lie on a lattice over what the first set covers."""
FAR_M = 60.0
"""Along each axis from a site's first cell to its last; the second is the first one's neighbour: pairs near and far tell how
errors hang together."""
MOST_CHUNKS = 64
"""Chunks that cells are taken from; of more, so many are spread evenly over all."""
EVERYWHERE = 0.995
"""Share of the grid from which on the first set is everywhere, and there is nothing for another to learn."""


def cells(
    *,
    table: Path,
    grid: dict,
    years: Sequence[int],
    sources: dict,
    forest: dict,
    predictor_sets: Mapping[str, Sequence[str]],
    settings: dict,
    strata: bool = False,
    **_inputs: object,
) -> None:
    """Forest cells where the first predictor set is complete, with all predictors: one row per cell and year.

    Parameters
    ----------
    table : Path
        cell, site, year, x, y, cell_ha and the predictors; no rows where the first set is nowhere or everywhere.
    predictor_sets : mapping of set name to predictor names, in order of preference
    settings : dict
        The section `stands` of the study, for a forest that is defined by stands and for models that tell strata apart.
    strata : bool
        Whether they do: shares in strata come with the predictors.
    """
    grid_ = Grid(**grid)
    names = list(dict.fromkeys(name for chosen in predictor_sets.values() for name in chosen))
    first = next(iter(predictor_sets.values()))
    found = _chunks_seen(grid_, years, sources, first)
    covered = {year: sum(counts) / (grid_.rows * grid_.cols) for year, counts in found.items()}
    shares = ", ".join(f"{100 * share:.1f} % in {year}" for year, share in covered.items())
    log.info("the first predictor set covers %s of the grid", shares)
    rows: list[pd.DataFrame] = []
    if any(covered.values()) and min(covered.values()) < EVERYWHERE:
        needed = strata or forest["source"] == "stands"
        polygons = read_stands({**settings, "include_plots": False}, crs=grid_.crs, bounds=grid_.bounds) if needed else None
        of_strata = strata_predictors(polygons) if strata else []
        for year, counts in found.items():
            rows += _cells_of(grid_, year, counts, sources, forest, polygons, names, first, of_strata)
        names += of_strata
    columns = ["cell", "site", "year", "x", "y", "cell_ha", *names]
    sample = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({name: [] for name in columns})
    store.write_table(table, sample[columns])
    log.info("%d cells and dates, %d sites", len(sample), sample["site"].nunique())


def _chunks_seen(grid: Grid, years: Sequence[int], sources: Mapping, first: Sequence[str]) -> dict[int, list[int]]:
    """Of each year, how many cells of each chunk of the grid the first set may be complete at: those with lidar, if it has."""
    metrics = [name for name in first if name in sources["metrics"]][:1]
    found: dict[int, list[int]] = {}
    for year in years:
        campaign = sources["campaign_of_year"].get(str(year))
        if metrics and campaign is None:
            found[year] = [0 for _ in grid.chunks()]
            continue
        lidar = Mosaic(Path(sources["lidar_folder"]) / str(campaign), grid)
        found[year] = [
            int(np.isfinite(lidar.read(window, metrics)[metrics[0]]).sum()) if metrics else window.shape[0] * window.shape[1]
            for _, window in grid.chunks()
        ]
    return found


def _cells_of(
    grid: Grid, year: int, counts: Sequence[int], sources: Mapping, forest: Mapping, polygons, names: Sequence[str],
    first: Sequence[str], of_strata: Sequence[str],
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """The sample of one year, chunk by chunk."""
    seen = [(window, count) for (_, window), count in zip(grid.chunks(), counts, strict=True) if count]
    if len(seen) > MOST_CHUNKS:
        seen = [seen[k] for k in np.linspace(0, len(seen) - 1, MOST_CHUNKS).round().astype(int)]
    step = max(int(np.ceil(np.sqrt(sum(count for _, count in seen) / SITES))), 1)
    for window, _ in seen:
        row, col, site = _lattice(grid, window, step)
        if not len(row):
            continue
        predictors = read_predictors(grid, window, year, sources, names)
        at = (row - window.row0, col - window.col0)
        wooded = read_forest(grid, window, year, forest, sources, polygons)[at] == 1
        values = {name: predictors[name][at] for name in names}
        if of_strata:
            values |= {name: share[at] for name, share in shares_of(polygons, grid, window, of_strata).items()}
        kept = wooded & np.isfinite(np.column_stack([values[name] for name in first])).all(axis=1)
        yield pd.DataFrame(
            {
                "cell": [f"r{r:06d}c{c:06d}" for r, c in zip(row, col, strict=True)],
                "site": site,
                "year": year,
                "x": grid.west_m + (col + 0.5) * grid.resolution_m,
                "y": grid.north_m - (row + 0.5) * grid.resolution_m,
                "cell_ha": grid.pixel_ha,
                **{name: value.astype(float) for name, value in values.items()},
            }
        )[kept]


def _lattice(grid: Grid, window: Window, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and site of the sampled cells in a window, each once: sites are counted from the grid's corner, and a cell of
    several belongs to the first of them."""
    far = max(round(FAR_M / grid.resolution_m), 2)
    rows = np.arange(-(-window.row0 // step) * step, window.row1, step)
    cols = np.arange(-(-window.col0 // step) * step, window.col1, step)
    row, col = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    every: dict[tuple[int, int], str] = {}
    for down, across in ((0, 0), (0, 1), (far, far)):
        for r, c in zip(row, col, strict=True):
            if r + down < window.row1 and c + across < window.col1:
                every.setdefault((int(r + down), int(c + across)), f"r{r:06d}c{c:06d}")
    order = sorted(every)
    places = np.array(order, int).reshape(-1, 2)
    return places[:, 0], places[:, 1], np.array([every[place] for place in order], str)
