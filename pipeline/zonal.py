"""Stand statistics that add up: what each pixel of a chunk contributes to each stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.grid import Grid, Window

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd


Covered = list[tuple[str, np.ndarray, np.ndarray]]


def coverage(stands: gpd.GeoDataFrame, grid: Grid, window: Window) -> Covered:
    """Which pixels of a window each stand covers, and how much of them.

    Returns
    -------
    list of (stand, pixel, fraction)
        In the order of `stands`: flat pixel numbers of the window (row-major) and the covered fraction of each,
        by exact polygon intersection. Stands that miss the window are not listed.
    """
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    west, south, east, north = grid.bounds_of(window)
    touching = stands.iloc[np.sort(stands.sindex.query(_box(west, south, east, north)))]
    if touching.empty:
        return []
    source = NumPyRasterSource(
        np.zeros(window.shape, "uint8"), xmin=west, ymin=south, xmax=east, ymax=north, srs_wkt=stands.crs.to_wkt()
    )
    found = exact_extract(
        source, touching[["stand", "geometry"]], ["cell_id", "coverage"], include_cols="stand", output="pandas"
    )
    return [
        (row.stand, np.asarray(row.cell_id, dtype=np.int64), np.asarray(row.coverage, dtype=np.float64))
        for row in found.itertuples(index=False)
        if len(row.cell_id)
    ]


def within(
    covered: list[tuple[str, np.ndarray, np.ndarray]], strip: slice
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What stands cover of a strip of a window's pixels, the pixels counted from the strip's first."""
    found = []
    for stand, pixel, fraction in covered:
        there = (pixel >= strip.start) & (pixel < strip.stop)
        if there.any():
            found.append((stand, pixel[there] - strip.start, fraction[there]))
    return found


def _box(west: float, south: float, east: float, north: float):
    import shapely

    return shapely.box(west, south, east, north)


WHOLE = 0.999
"""A pixel whose covered fraction reaches this lies inside its stand; the rest straddle a border and show both sides."""


def partial_rows(
    chunk: str,
    estimand: str,
    covered: list[tuple[str, np.ndarray, np.ndarray]],
    layers: Mapping[str, np.ndarray],
    *,
    pixel_ha: float,
    n_sets: int,
) -> list[dict]:
    """Sums per stand for one estimand of one chunk: one row over all its pixels, one over those wholly inside it.

    Parameters
    ----------
    layers : mapping of name to flat array over the chunk's pixels
        value (n,), NaN where there is no estimate; part_sd (n, sets), what each set's residuals have in it; set_number (n,), -1
        where none (non-forest counts as covered with value, residual and gradient zero); gradient (n, p); in_domain,
        forest, gained, lost (n,) bool; where they are known dissimilarity_index and local_point_density (n,), NaN where no
        set serves.
    pixel_ha : float
        Area of a whole pixel.
    """
    rows = []
    for stand, pixel, fraction in covered:
        inside = fraction >= WHOLE
        for part, chosen in (("all", slice(None)), ("interior", inside)):
            if part == "all" or inside.any():
                sums = _sums(pixel[chosen], fraction[chosen] * pixel_ha, layers, n_sets)
                rows.append({"chunk": chunk, "stand": stand, "estimand": estimand, "part": part} | sums)
    return rows


def _sums(pixel: np.ndarray, hectares: np.ndarray, layers: Mapping[str, np.ndarray], n_sets: int) -> dict:
    """What pixels add up to, each weighted by its hectares."""
    value = layers["value"][pixel]
    there = np.isfinite(value)
    used, weight = pixel[there], hectares[there]
    number, s = layers["set_number"][used], layers["part_sd"][used]
    return {
        "n_px": len(pixel),
        "area_ha": float(hectares.sum()),
        "covered_ha": float(weight.sum()),
        "forest_ha": float(weight[layers["forest"][used]].sum()),
        "gained_ha": float(weight[layers["gained"][used]].sum()),
        "lost_ha": float(weight[layers["lost"][used]].sum()),
        "in_domain_ha": float(weight[layers["in_domain"][used]].sum()),
        "sum_value": float((weight * value[there]).sum()),
        "sum_dissimilarity": _sum_where_known(layers.get("dissimilarity_index"), used, weight),
        "sum_density": _sum_where_known(layers.get("local_point_density"), used, weight),
        "set_ha": [float(weight[number == k].sum()) for k in range(n_sets)],
        "sum_s": [float((weight * s[:, k]).sum()) for k in range(n_sets)],
        "sum_s2": [float((weight * s[:, k] ** 2).sum()) for k in range(n_sets)],
        "sum_gradient": (weight[:, None] * layers["gradient"][used]).sum(axis=0, dtype=np.float64).tolist(),
    }


NUMBERS = (
    "n_px", "area_ha", "covered_ha", "forest_ha", "gained_ha", "lost_ha", "in_domain_ha", "sum_value", "sum_dissimilarity",
    "sum_density",
)  # fmt: skip
VECTORS = ("set_ha", "sum_s", "sum_s2", "sum_gradient")


def _sum_where_known(layer: np.ndarray | None, used: np.ndarray, weight: np.ndarray) -> float:
    """Sum over the pixels that a predictor set serves; missing where the layer was not asked for."""
    if layer is None:
        return float("nan")
    values = layer[used]
    served = np.isfinite(values)
    return float((weight[served] * values[served]).sum())


def combine(partials: Iterable[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Partial rows of all blocks added up per stand and part, in chunk order whatever the blocks were: a table per estimand.

    Vectors get a column per number, `sum_gradient_0` and on: see `vectors`. Only one of the `partials` is held with its lists.
    """
    import pandas as pd

    found: dict[str, list[pd.DataFrame]] = {}
    for partial in partials:
        for estimand, rows in partial.groupby("estimand"):  # of one target: vectors of one length
            found.setdefault(str(estimand), []).append(_without_lists(rows))
    return {estimand: _added(pd.concat(found.pop(estimand), ignore_index=True)) for estimand in sorted(found)}


def vectors(totals: pd.DataFrame, name: str) -> np.ndarray:
    """The vectors (n, k) that `combine` has spread over columns."""
    columns = [column for column in totals if column.removeprefix(f"{name}_").isdigit()]
    return totals[columns].to_numpy(float)


KEYS = ["stand", "part"]


def _without_lists(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    spread = [rows[["estimand", *KEYS, "chunk", *NUMBERS]].reset_index(drop=True)]
    for name in VECTORS:
        values = np.array(rows[name].tolist(), dtype=float)
        spread.append(pd.DataFrame(values, columns=[f"{name}_{number}" for number in range(values.shape[1])]))
    return pd.concat(spread, axis=1)


def _added(rows: pd.DataFrame) -> pd.DataFrame:
    ordered = rows.sort_values([*KEYS, "chunk"], kind="stable", ignore_index=True)
    first = ~ordered.duplicated(KEYS).to_numpy()
    if first.all():
        return ordered.drop(columns="chunk")
    number = np.cumsum(first) - 1
    total = ordered.loc[first, ["estimand", *KEYS]].reset_index(drop=True)
    summed = {
        name: _in_order(ordered[name].to_numpy(), number) for name in ordered if name not in ("estimand", *KEYS, "chunk")
    }
    return total.assign(**summed)


def _in_order(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Sums of the values (n, ...) of each number, added one after the other: the same bytes whatever numpy's blocking."""
    found = np.zeros((number[-1] + 1, *values.shape[1:]), values.dtype)
    np.add.at(found, number, values)
    return found
