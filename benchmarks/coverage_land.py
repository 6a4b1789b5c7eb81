"""Planted land for `benchmarks.coverage`: predictors, residuals and stands whose truth is known.

A forest is a square of 12.8 km in cells of 20 m, as large as a plot (0.04 ha). Its target is a square-root response to two
correlated predictors plus a residual that is an exponential field with nugget, of a standard deviation that grows with a
power of the mean; a second date shares a part of it. Fields are drawn on a torus by Fourier transform, exactly; plots and
stands keep clear of its seam.

A satellite sees two of the four fields that the response is made of, so that the square root of what the response makes of
them has a remainder: a field of range 150 m. Lidar, where it is on a third of the land, is a strip from one end to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import shapely

SIDE, CELL_M = 640, 20.0
CELL_HA = CELL_M**2 / 1e4
MARGIN = 30  # cells that plots and stands keep from the seam
YEARS = (2019, 2024)
NUGGET = 0.3
MEAN, SD, POWER = 150.0, 50.0, 0.6  # Mg/ha; residual SD at the mean
BETWEEN_DATES = 0.8
LAYOUTS = {"single": (0, 0, 80), "mixed": (10, 4, 40), "clustered": (20, 4, 0), "few clusters": (8, 8, 0)}
"""Clusters, plots in each, single plots."""
STANDS = {1: (6, (5, 5), (2, 12)), 5: (6, (11, 11), (4, 31)), 20: (5, (22, 23), (9, 56)), 100: (3, (50, 50), (20, 125)),
          500: (2, (112, 112), (46, 272))}  # fmt: skip
"""Hectares: how many of each shape, rows and columns of cells of the compact and of the elongated one."""
PREDICTORS = ("height", "cover", "texture")
SATELLITE = ("broad", "broad_cover")
STRIP = (214, 427)  # first column of the lidar's strip, and the first beyond it
UNSEEN_SD, UNSEEN_M = np.sqrt(1.5**2 + 0.62**2), 150.0
"""Of the square root of the response, what the satellite does not see: standard deviation and range."""
SITES = 200
"""Places from which the satellite learns, three cells at each, as the step `cells` takes them."""


@cache
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


def plant_land(seed: int) -> Land:
    rng = np.random.default_rng([seed, 1])
    far, near = two_fields(rng, spectrum(3000.0)), two_fields(rng, spectrum(150.0))
    tall = 0.8 * far[0] + 0.6 * near[0]
    dense = 0.5 * tall + 0.6 * far[1] + 0.62 * near[1]
    growth = 0.15 + 0.1 * near[1]
    texture = rng.normal(size=(SIDE, SIDE))
    predictors = {
        "height": np.stack([tall, tall + growth]), "cover": np.stack([dense, dense + 0.3 * growth]),
        "texture": np.stack([texture, texture]), "broad": np.stack([far[0]] * 2), "broad_cover": np.stack([far[1]] * 2),
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
        smooth = np.stack(two_fields(rng, spectrum(range_m)))
        white = np.sqrt(1 - nugget) * smooth + np.sqrt(nugget) * white
    return np.stack([white[0], BETWEEN_DATES * white[0] + np.sqrt(1 - BETWEEN_DATES**2) * white[1]])


def true_sd(mean: np.ndarray) -> np.ndarray:
    return SD * (np.maximum(mean, 1.0) / MEAN) ** POWER


def draw_plots(seed: int, layout: str, *, strip: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and cluster (n,) of plots; plots of a cluster of four stand on the corners of a square of 100 m."""
    rng = np.random.default_rng([seed, 3])
    clusters, each, single = LAYOUTS[layout]
    side = int(np.ceil(np.sqrt(max(each, 1))))
    offsets = np.array([(5 * a, 5 * b) for a in range(side) for b in range(side)])[:each]
    low = np.array([MARGIN, STRIP[0] if strip else MARGIN])
    high = np.array([SIDE - MARGIN, STRIP[1] if strip else SIDE - MARGIN])
    anchors = rng.integers(low, high - 5 * side, (clusters, 2))
    alone = rng.integers(low, high, (single, 2))
    places = np.vstack([(anchors[:, None] + offsets[None]).reshape(-1, 2), alone]) if each else alone
    names = np.concatenate([np.repeat(np.arange(clusters), each), clusters + np.arange(single)])
    return places[:, 0], places[:, 1], names


def around_plots(rows: np.ndarray, cols: np.ndarray) -> list[tuple[int, str, slice, slice]]:
    """Stands of 5 ha with a plot in their middle."""
    return [(5, "with plots", slice(r - 5, r + 6), slice(c - 5, c + 6)) for r, c in zip(rows, cols, strict=True)]


def of_strip(cols: slice) -> str:
    """Where a stand lies: inside the lidar's strip, outside of it, or across its border."""
    if STRIP[0] <= cols.start and cols.stop <= STRIP[1]:
        return "inside"
    return "outside" if cols.stop <= STRIP[0] or cols.start >= STRIP[1] else "across"


def plot_table(
    land: Land, target: np.ndarray, rows: np.ndarray, cols: np.ndarray, cluster: np.ndarray, dates: int = 2
) -> pd.DataFrame:
    """Every plot at the dates, as the step `training` writes them."""
    tables = []
    for number, year in enumerate(YEARS[:dates]):
        made = {
            "plot": [f"p{k:03d}" for k in range(len(rows))], "cluster": [f"c{k:03d}" for k in cluster], "year": year,
            **_at(land, number, rows, cols), "area_ha": CELL_HA, "agb_mg_ha": target[number, rows, cols],
        }  # fmt: skip
        tables.append(pd.DataFrame(made))
    return pd.concat(tables, ignore_index=True)


def taught_cells(seed: int, land: Land) -> pd.DataFrame:
    """Cells of the strip at the first date that the satellite learns from: at each site one, its neighbour, and one 85 m away."""
    rng = np.random.default_rng([seed, 4])
    step = int(np.sqrt((STRIP[1] - STRIP[0]) * (SIDE - 2 * MARGIN) / SITES))
    first = rng.integers(0, step, 2)
    row, col = np.meshgrid(
        np.arange(MARGIN + first[0], SIDE - MARGIN - 3, step), np.arange(STRIP[0] + first[1], STRIP[1] - 3, step), indexing="ij"
    )
    site = np.arange(row.size)
    rows = np.concatenate([row.ravel() + down for down in (0, 0, 3)])
    cols = np.concatenate([col.ravel() + across for across in (0, 1, 3)])
    table = pd.DataFrame({"site": [f"s{k:04d}" for k in np.tile(site, 3)], "year": YEARS[0], "cell_ha": CELL_HA})
    table["cell"] = [f"r{r:03d}c{c:03d}" for r, c in zip(rows, cols, strict=True)]
    return table.assign(**_at(land, 0, rows, cols))


def _at(land: Land, number: int, rows: np.ndarray, cols: np.ndarray) -> dict[str, np.ndarray]:
    values = {name: field[number, rows, cols] for name, field in land.predictors.items()}
    return {"x": (cols + 0.5) * CELL_M, "y": (rows + 0.5) * CELL_M, **values}


def shape_of(rows: slice, cols: slice) -> shapely.Polygon:
    return shapely.box(cols.start * CELL_M, rows.start * CELL_M, cols.stop * CELL_M, rows.stop * CELL_M)
