"""Metrics of the heights in a cell: a registry of declared functions, and one pass that computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.lidar.heights import Heights

COVER_HEIGHT_M = 2.0  # the limit between ground vegetation and canopy, as lidR's pzabove2 and most inventories set it
LAYER_M = 1.0  # layer of the height entropy: lidR's dz
LIDR = "Roussel et al. 2020, doi:10.1016/j.rse.2020.112061 (lidR stdmetrics_z)"


class Cells:
    """Heights grouped by cell and rising inside each; what metric functions compute from.

    Every array that its methods return has one entry per cell that holds at least one point (`filled` are their
    numbers). `z` is (n_points), `starts` the position of each filled cell's first point in it, `n` its point count.
    """

    def __init__(self, heights: Heights, cell: np.ndarray, n_cells: int, cell_area_m2: float | np.ndarray) -> None:
        from pipeline.lidar.kernels import group_sorted

        self._heights, self._cell, self._n_cells = heights, cell, n_cells
        self.z, starts = group_sorted(cell, heights.z, n_cells)
        self.filled = np.flatnonzero(np.diff(starts))
        self.starts = starts[self.filled]
        self.n = np.diff(starts)[self.filled]
        self.area_m2 = np.broadcast_to(cell_area_m2, n_cells)[self.filled]

    @cached_property
    def owner(self) -> np.ndarray:
        """For each point of `z`, the position of its cell among the filled ones."""
        return np.repeat(np.arange(len(self.n)), self.n)

    @cached_property
    def first(self) -> Cells:
        """The same cells with first returns only; cells without one are not among its `filled`."""
        mask = self._heights.first_return
        return Cells(self._heights.select(mask), self._cell[mask], self._n_cells, 1.0)

    def of_first(self, values: np.ndarray) -> np.ndarray:
        """Values of the first returns' cells, missing where a cell has points but no first return."""
        spread = np.full(self._n_cells, np.nan)
        spread[self.first.filled] = values
        return spread[self.filled]

    def count(self, flag: str) -> np.ndarray:
        """How many points carry a flag of `Heights`: first_return, ground, outside_hull or clipped."""
        return np.bincount(self._cell[getattr(self._heights, flag)], minlength=self._n_cells)[self.filled]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sums over each cell of values given per point of `z`."""
        return np.add.reduceat(values, self.starts) if len(values) else np.empty(0)

    @cached_property
    def minimum(self) -> np.ndarray:
        return self.z[self.starts]

    @cached_property
    def maximum(self) -> np.ndarray:
        return self.z[self.starts + self.n - 1]

    @cached_property
    def mean(self) -> np.ndarray:
        return self.sum(self.z) / self.n

    @cached_property
    def _departures(self) -> np.ndarray:
        return self.z - self.mean[self.owner]

    def central_moment(self, power: int) -> np.ndarray:
        """Population moment about the mean."""
        raised = self._departures
        for _ in range(power - 1):  # a product: it is the same on every processor, as library powers are not, and fast
            raised = raised * self._departures
        return self.sum(raised) / self.n

    @cached_property
    def variance(self) -> np.ndarray:
        """Population variance, the second central moment; exactly 0 where all heights are the same."""
        return np.where(self.maximum > self.minimum, self.central_moment(2), 0.0)

    def quantile(self, share: float) -> np.ndarray:
        """Quantile of type 7 (linear between order statistics): Hyndman and Fan 1996, doi:10.2307/2684934."""
        position = (self.n - 1) * share
        below = np.floor(position).astype(np.int64)
        low = self.z[self.starts + below]
        high = self.z[self.starts + np.minimum(below + 1, self.n - 1)]
        return low + (position - below) * (high - low)

    def share_above(self, height_m: float | np.ndarray) -> np.ndarray:
        """Percentage of points strictly above a height, or above one height per cell."""
        limit = height_m[self.owner] if isinstance(height_m, np.ndarray) else height_m
        return 100.0 * self.sum((self.z > limit).astype(np.float64)) / self.n


Function = Callable[[Cells], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A declared metric: its function, unit, title and source. `quality` bands describe the points, not the forest."""

    name: str
    function: Function
    units: str
    title: str
    reference: str
    quality: bool = False


METRICS: dict[str, Metric] = {}


def metric(
    *, units: str, title: str, reference: str, quality: bool = False, name: str | None = None
) -> Callable[[Function], Function]:
    """Declare a function of `Cells` as a metric, by its own name or by `name`."""

    def declare(function: Function) -> Function:
        key = name or function.__name__
        if key in METRICS:
            raise ValueError(f"lidar metric {key!r} is declared twice")
        METRICS[key] = Metric(key, function, units, title, reference, quality)
        return function

    return declare


@metric(units="m", title="Highest return", reference=LIDR)
def zmax(cells: Cells) -> np.ndarray:
    return cells.maximum


@metric(units="m", title="Mean height", reference=LIDR)
def zmean(cells: Cells) -> np.ndarray:
    return cells.mean


@metric(units="m", title="Standard deviation of heights (sample)", reference=LIDR)
def zsd(cells: Cells) -> np.ndarray:
    return np.sqrt(cells.variance * cells.n / (cells.n - 1))


@metric(units="1", title="Skewness of heights (population moments)", reference=LIDR)
def zskew(cells: Cells) -> np.ndarray:
    return np.where(cells.variance > 0, cells.central_moment(3), np.nan) / cells.variance**1.5


@metric(units="1", title="Kurtosis of heights (population moments, 3 for a normal distribution)", reference=LIDR)
def zkurt(cells: Cells) -> np.ndarray:
    return np.where(cells.variance > 0, cells.central_moment(4), np.nan) / cells.variance**2


def _declare_quantile(percent: int) -> None:
    @metric(units="m", title=f"{percent} % quantile of heights (type 7)", reference=LIDR, name=f"zq{percent}")
    def zq(cells: Cells) -> np.ndarray:
        return cells.quantile(percent / 100)


for _percent in range(5, 100, 5):
    _declare_quantile(_percent)


@metric(units="%", title="Share of all returns above their mean height", reference=LIDR)
def pzabovezmean(cells: Cells) -> np.ndarray:
    return cells.share_above(cells.mean)


@metric(units="%", title="Share of all returns above 2 m", reference=LIDR)
def pzabove2(cells: Cells) -> np.ndarray:
    return cells.share_above(COVER_HEIGHT_M)


def _declare_layer(layer: int) -> None:
    @metric(
        units="%",
        title=f"Share of returns above 0 m that lie below {layer}/10 of the highest",
        reference=f"{LIDR}; Woods et al. 2008, doi:10.5558/tfc84827-6",
        name=f"zpcum{layer}",
    )
    def zpcum(cells: Cells) -> np.ndarray:
        # lidR lays ten half-open layers from 0 to the highest return, which is therefore in none of them.
        counted = (cells.z > 0) & (cells.z < cells.maximum[cells.owner])
        below = counted & (cells.z < (layer * (cells.maximum / 10))[cells.owner])
        share = 100.0 * cells.sum(below.astype(np.float64)) / cells.sum(counted.astype(np.float64))
        return np.where(cells.maximum > 0, share, 0.0)


for _layer in range(1, 10):
    _declare_layer(_layer)


@metric(
    units="1",
    title="Entropy of the height distribution in layers of 1 m, relative to an even one",
    reference=f"{LIDR}; Pretzsch 2008, doi:10.1007/978-3-540-88307-4",
)
def zentropy(cells: Cells) -> np.ndarray:
    """Missing where the canopy is lower than two layers or a height is negative."""
    layers = np.ceil(cells.maximum / LAYER_M)
    # A return at the very top of the highest layer belongs to none, as in lidR.
    layer = np.floor(cells.z / LAYER_M)
    counted = layer < layers[cells.owner]
    key = cells.owner[counted] * 100_000 + layer[counted].astype(np.int64)  # rising: z rises inside each cell
    if len(key) == 0:
        return np.full(len(cells.n), np.nan)
    runs = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    owner = cells.owner[counted][runs]
    in_layer = np.diff(runs, append=len(key))
    total = np.bincount(owner, weights=in_layer, minlength=len(cells.n))
    share = in_layer / total[owner]
    entropy = np.bincount(owner, weights=share * -np.log(share), minlength=len(cells.n)) / np.log(layers)
    return np.where((cells.minimum >= 0) & (cells.maximum >= 2 * LAYER_M), entropy, np.nan)


@metric(
    units="%",
    title="Canopy cover: share of first returns above 2 m",
    reference="Morsdorf et al. 2006, Remote Sensing of Environment 104:50-61",
)
def cover_2m(cells: Cells) -> np.ndarray:
    return cells.of_first(cells.first.share_above(COVER_HEIGHT_M))


@metric(
    units="1",
    title="Canopy relief ratio",
    reference="Pike and Wilson 1971, doi:10.1130/0016-7606(1971)82[1079:ERHIAG]2.0.CO;2",
)
def canopy_ratio(cells: Cells) -> np.ndarray:
    return (cells.mean - cells.minimum) / (cells.maximum - cells.minimum)


@metric(units="1/m2", title="Returns per square metre", reference="count / cell area", quality=True)
def density_pts_m2(cells: Cells) -> np.ndarray:
    return cells.n / cells.area_m2


@metric(units="1/m2", title="Pulses (first returns) per square metre", reference="count / cell area", quality=True)
def pulse_density_pts_m2(cells: Cells) -> np.ndarray:
    return cells.count("first_return") / cells.area_m2


@metric(units="1/m2", title="Ground returns per square metre", reference="count / cell area", quality=True)
def ground_pts_m2(cells: Cells) -> np.ndarray:
    return cells.count("ground") / cells.area_m2


@metric(units="%", title="Returns beyond the hull of the ground points", reference="count / count", quality=True)
def outside_hull_percent(cells: Cells) -> np.ndarray:
    return 100.0 * cells.count("outside_hull") / cells.n


@metric(units="%", title="Returns that were below ground and set to 0 m", reference="count / count", quality=True)
def clipped_percent(cells: Cells) -> np.ndarray:
    return 100.0 * cells.count("clipped") / cells.n


def known_metrics(names: Iterable[str] | None = None) -> list[str]:
    """`names` as a list, all metrics by default.

    Raises
    ------
    ValueError
        If a name is not a declared metric.
    """
    if names is None:
        return list(METRICS)
    names = list(names)
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not a lidar metric; known: {', '.join(METRICS)}")
    return names


def metrics_by_cell(
    heights: Heights,
    cell_index: np.ndarray,
    n_cells: int,
    *,
    cell_area_m2: float | np.ndarray,
    names: Iterable[str] | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of the heights in each cell.

    Parameters
    ----------
    heights : Heights
        Points with heights above ground, m.
    cell_index : int array (n_points)
        The cell of each point, 0 to `n_cells` - 1.
    n_cells : int
    cell_area_m2 : float, or float array (n_cells)
        For the densities.
    names : iterable of str, optional
        Which of `METRICS`; all by default.

    Returns
    -------
    dict of str to float32 array (n_cells)
        In the order of `names`. Missing where a cell has no point, or too few or too equal ones for the metric.
    """
    names = known_metrics(names)
    cells = Cells(heights, np.asarray(cell_index, np.int64), n_cells, cell_area_m2)
    bands = {}
    for name in names:
        values = np.full(n_cells, np.nan, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            values[cells.filled] = METRICS[name].function(cells)
        values[np.isinf(values)] = np.nan
        bands[name] = values
    return bands
