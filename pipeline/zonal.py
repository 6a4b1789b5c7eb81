"""Stand statistics that add up: what each pixel of a chunk contributes to each stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.grid import Grid, Window

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd


class Piece(NamedTuple):
    """What a stand covers of a window: flat pixel numbers (row-major), the covered fraction of each by exact polygon
    intersection, and, of those wholly inside, how many pixels each stands for, itself and what it takes of the rim."""

    stand: str
    pixel: np.ndarray
    fraction: np.ndarray
    stands_for: np.ndarray


Covered = list[Piece]

WHOLE = 0.999
"""A pixel whose covered fraction reaches this lies inside its stand; the rest straddle a border and show both sides."""
HALO_PX = 2
"""Pixels around a window that are looked at too: a rim pixel's neighbours, whose share of it theirs decide."""


def coverage(stands: gpd.GeoDataFrame, grid: Grid, window: Window) -> Covered:
    """Which pixels of a window each stand covers, and how much of them.

    Each pixel of a stand's rim is shared out to the pixels next to it that are wholly inside the stand (those across a side, else
    those across a corner), whatever windows they lie in; what has none is nobody's.

    Returns
    -------
    list of Piece
        In the order of `stands`. Stands that miss the window are not listed.
    """
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    wide = Window(
        window.row0 - HALO_PX, window.row1 + HALO_PX, window.col0 - HALO_PX, window.col1 + HALO_PX
    ).clip(grid.window)  # fmt: skip
    west, south, east, north = grid.bounds_of(wide)
    inner = _box(*grid.bounds_of(window))
    touching = stands.iloc[np.sort(stands.sindex.query(inner))]
    if touching.empty:
        return []
    source = NumPyRasterSource(
        np.zeros(wide.shape, "uint8"), xmin=west, ymin=south, xmax=east, ymax=north, srs_wkt=stands.crs.to_wkt()
    )
    found = exact_extract(
        source, touching[["stand", "geometry"]], ["cell_id", "coverage"], include_cols="stand", output="pandas"
    )
    named = [(row.stand, np.asarray(row.cell_id, np.int64), np.asarray(row.coverage, float)) for row in found.itertuples()]
    named = [one for one in named if len(one[1])]
    if not named:
        return []
    owner = np.repeat(np.arange(len(named)), [len(cell) for _, cell, _ in named])
    row, col = np.divmod(np.concatenate([cell for _, cell, _ in named]), wide.shape[1])
    fraction = np.concatenate([part for *_, part in named])
    standing = stood_for(owner, row, col, fraction)
    row, col = row - (window.row0 - wide.row0), col - (window.col0 - wide.col0)
    rows, cols = window.shape
    here = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    pixel, ends = row[here] * cols + col[here], np.searchsorted(owner[here], np.arange(len(named) + 1))
    fraction, standing = fraction[here], standing[here]
    parts = zip(named, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    return [
        Piece(stand, pixel[low:high], fraction[low:high], standing[low:high])
        for (stand, *_), low, high in parts if high > low
    ]  # fmt: skip


def stood_for(owner: np.ndarray, row: np.ndarray, col: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """How many pixels (n,) each pixel wholly inside its stand stands for; 0 for those of the rim.

    owner, row, col, fraction : (n,) of every pixel of every stand, its stand's number, its place, and the share covered of it
    """
    inside = fraction >= WHOLE
    found = np.where(inside, fraction, 0.0)
    kept, rim = np.flatnonzero(inside), np.flatnonzero(~inside)
    if not len(kept):
        return found
    wide, tall = int(col.max()) + 3, int(row.max()) + 3
    place = (row + 1) * wide + col + 1
    first = np.full(tall * wide, -1)
    first[place[kept]] = kept
    over = np.flatnonzero(first[place[kept]] != kept)  # stands that lie on others, as plots that are stands do
    key = place * (int(owner.max()) + 1) + owner
    hidden = kept[over][np.argsort(key[kept[over]])]
    for offsets in (((-1, 0), (0, -1), (0, 1), (1, 0)), ((-1, -1), (-1, 1), (1, -1), (1, 1))):
        beside = []
        for down, right in offsets:
            step = down * wide + right
            one = first[place[rim] + step]
            other = (one >= 0) & (owner[one] != owner[rim])
            one[other] = -1
            if len(hidden):
                wanted = key[rim[other]] + step * (int(owner.max()) + 1)
                there = hidden[np.minimum(np.searchsorted(key[hidden], wanted), len(hidden) - 1)]
                one[other] = np.where(key[there] == wanted, there, -1)
            beside.append(one)
        number = sum((one >= 0).astype(np.int8) for one in beside)
        each = fraction[rim] / np.maximum(number, 1)
        for one in beside:
            there = one >= 0
            found += np.bincount(one[there], weights=each[there], minlength=len(found))
        rim = rim[number == 0]
    return found


def within(covered: Covered, strip: slice) -> Covered:
    """What stands cover of a strip of a window's pixels, the pixels counted from the strip's first."""
    found = []
    for stand, pixel, fraction, standing in covered:
        there = (pixel >= strip.start) & (pixel < strip.stop)
        if there.any():
            found.append(Piece(stand, pixel[there] - strip.start, fraction[there], standing[there]))
    return found


def _box(west: float, south: float, east: float, north: float):
    import shapely

    return shapely.box(west, south, east, north)


def partial_rows(
    chunk: str,
    estimand: str,
    covered: Covered,
    layers: Mapping[str, np.ndarray],
    *,
    pixel_ha: float,
    n_sets: int,
) -> list[dict]:
    """Sums per stand for one estimand of one chunk: one row over all its pixels, one over those wholly inside it, each of which
    counts with what it stands for of the rim (but in `n_px` and `area_ha`).

    Parameters
    ----------
    layers : mapping of name to flat array over the chunk's pixels
        value (n,), NaN where there is no estimate; part_sd (n, sets), what each set's residuals have in it; set_number (n,), -1
        where none (non-forest counts as covered with value, residual and gradient zero); gradient (n, p); in_domain,
        forest, gained, lost (n,) bool; where they are known dissimilarity_index and local_point_density (n,), NaN where no
        set serves; of a change once (n, sets) and column_set (p,), as `mapping.change_layers` gives them, and place (n, 2), row
        and column of the grid.
    pixel_ha : float
        Area of a whole pixel.
    """
    rows = []
    for stand, pixel, fraction, standing in covered:
        inside = fraction >= WHOLE
        for part, chosen, weight in (("all", slice(None), fraction), ("interior", inside, standing)):
            if part == "all" or inside.any():
                sums = _sums(pixel[chosen], weight[chosen] * pixel_ha, layers, n_sets)
                area = {"n_px": len(pixel[chosen]), "area_ha": float((fraction[chosen] * pixel_ha).sum())}
                rows.append({"chunk": chunk, "stand": stand, "estimand": estimand, "part": part} | area | sums)
    return rows


def _sums(pixel: np.ndarray, hectares: np.ndarray, layers: Mapping[str, np.ndarray], n_sets: int) -> dict:
    """What pixels add up to, each weighted by its hectares."""
    value = layers["value"][pixel]
    there = np.isfinite(value)
    used, weight = pixel[there], hectares[there]
    number, s = layers["set_number"][used], layers["part_sd"][used]
    once = layers["once"][used] if "once" in layers else None
    return {
        "covered_ha": float(weight.sum()),
        "forest_ha": float(weight[layers["forest"][used]].sum()),
        "gained_ha": float(weight[layers["gained"][used]].sum()),
        "lost_ha": float(weight[layers["lost"][used]].sum()),
        "in_domain_ha": float(weight[layers["in_domain"][used]].sum()),
        "sum_value": float((weight * value[there]).sum()),
        "sum_dissimilarity": _sum_where_known(layers.get("dissimilarity_index"), used, weight),
        "sum_density": _sum_where_known(layers.get("local_point_density"), used, weight),
        "set_ha": [float(weight[number == k].sum()) for k in range(n_sets)],
        **_residual_sums(s, weight, 0 if once is None else once, 0),
        "sum_gradient": (weight[:, None] * layers["gradient"][used]).sum(axis=0, dtype=np.float64).tolist(),
        **_once_sums(used, weight, layers, once),
    }


def _residual_sums(s: np.ndarray, weight: np.ndarray, once: np.ndarray | int, which: int, date: str = "") -> dict:
    """Sums per set of residuals' SD and its square, over the pixels where `once` says `which`."""
    chosen = s if np.isscalar(once) else np.where(once == which, s, 0.0)
    columns = [chosen[:, k] for k in range(s.shape[1])]
    return {
        f"sum_s{date}": [float((weight * one).sum()) for one in columns],
        f"sum_s2{date}": [float((weight * one**2).sum()) for one in columns],
    }


def _once_sums(used: np.ndarray, weight: np.ndarray, layers: Mapping[str, np.ndarray], once: np.ndarray | None) -> dict:
    """Of a change, per date the sums of that date's stock where it is all that a set says; none where there is no such land.

    They are those of `models.inference.stands.Sums.once`.
    """
    if once is None:
        return {}
    number = layers["set_number"][used]
    whole = {"places": _places(weight * (number >= 0), layers["place"][used])}
    if not once.any():  # here: in another block or strip of the same stand there may be such land
        return whole
    value, gradient = layers["value"][used], layers["gradient"][used]
    s = layers["part_sd"][used]
    by, found = np.take_along_axis(once, np.maximum(number, 0)[:, None].astype(int), axis=1)[:, 0], {}
    for date, sign in DATES.items():
        there = weight * ((by == sign) & (number >= 0))
        moved = weight[:, None] * (once == sign)
        found |= {
            f"sum_value_{date}": [float(sign * (there * value).sum())],
            f"set_ha_{date}": [float(there[number == k].sum()) for k in range(s.shape[1])],
            **_residual_sums(s, weight, once, sign, f"_{date}"),
            f"sum_gradient_{date}": (sign * moved[:, layers["column_set"]] * gradient).sum(axis=0, dtype=np.float64).tolist(),
            f"places_{date}": _places(there, layers["place"][used]),
        }
    return found | whole


def _places(weight: np.ndarray, place: np.ndarray) -> list[float]:
    """Hectares, and hectares times row, column and the sum of their squares, of pixels with rows and columns `place` (n, 2)."""
    place = place.astype(float)
    return [float(weight.sum()), *(weight @ place).tolist(), float(weight @ (place**2).sum(axis=1))]


DATES = {"earlier": -1, "later": 1}
"""What `once` says of a pixel where a set has residuals at one of two dates alone."""
NUMBERS = (
    "n_px", "area_ha", "covered_ha", "forest_ha", "gained_ha", "lost_ha", "in_domain_ha", "sum_value", "sum_dissimilarity",
    "sum_density",
)  # fmt: skip
VECTORS = ("set_ha", "sum_s", "sum_s2", "sum_gradient")
ONCE = ("places", *(f"{name}_{date}" for date in DATES for name in ("sum_value", *VECTORS, "places")))
"""Vectors of a change that rows have where there is land of which a set shows one date alone."""


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
    found: dict[str, list[pd.DataFrame]] = {}
    for partial in partials:
        for estimand, rows in partial.groupby("estimand"):  # of one target: vectors of one length
            found.setdefault(str(estimand), []).append(_without_lists(rows))
    return {estimand: _added(_together(found.pop(estimand))) for estimand in sorted(found)}


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all blocks; those that say nothing of land seen at one date alone have none of it."""
    import pandas as pd

    rows = pd.concat(parts, ignore_index=True)
    columns = [column for column in rows if column.startswith(ONCE)]
    return rows.fillna(dict.fromkeys(columns, 0.0)) if columns else rows


def vectors(totals: pd.DataFrame, name: str) -> np.ndarray:
    """The vectors (n, k) that `combine` has spread over columns."""
    columns = [column for column in totals if column.removeprefix(f"{name}_").isdigit()]
    return totals[columns].to_numpy(float)


KEYS = ["stand", "part"]


def _without_lists(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    spread = [rows[["estimand", *KEYS, "chunk", *NUMBERS]].reset_index(drop=True)]
    for name in (*VECTORS, *(name for name in ONCE if name in rows)):
        told = rows[name].notna().to_numpy()
        if not told.any():
            continue
        width = len(rows[name].to_numpy()[told.argmax()])
        values = np.zeros((len(rows), width))
        values[told] = np.array(rows[name][told].tolist(), dtype=float)
        spread.append(pd.DataFrame(values, columns=[f"{name}_{number}" for number in range(values.shape[1])]))
    return pd.concat(spread, axis=1)


def _added(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    ordered = rows.sort_values([*KEYS, "chunk"], kind="stable", ignore_index=True)
    first = ~ordered.duplicated(KEYS).to_numpy()
    if first.all():
        return ordered.drop(columns="chunk")
    number = np.cumsum(first) - 1
    total = ordered.loc[first, ["estimand", *KEYS]].reset_index(drop=True)
    summed = {
        name: _in_order(ordered[name].to_numpy(), number) for name in ordered if name not in ("estimand", *KEYS, "chunk")
    }
    return pd.concat([total, pd.DataFrame(summed, index=total.index)], axis=1)


def _in_order(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Sums of the values (n, ...) of each number, added one after the other: the same bytes whatever numpy's blocking."""
    found = np.zeros((number[-1] + 1, *values.shape[1:]), values.dtype)
    np.add.at(found, number, values)
    return found
