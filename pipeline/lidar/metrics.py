"""Metrics of the heights in a cell: a registry of declared functions, and one pass that computes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.lidar.fine import Fine
    from pipeline.lidar.heights import Heights

COVER_HEIGHT_M = 2.0  # the limit between ground vegetation and canopy, as lidR's pzabove2 and most inventories set it
LAYER_M = 1.0  # layer of the height entropy: lidR's dz
VCI_TOP_M = 40.0  # top of the vertical complexity index: returns above it are not counted, as in lidR's VCI(zmax)
EXTINCTION = 0.5  # k of Beer and Lambert's law: lidR's default; leaf area scales with 1 / k
STRATA_M = (0.5, 2, 5, 10, 15, 20, 30)  # limits of the strata that are listed; any others can be asked for by name
RETURNS = 5  # that pulses are told apart by: lidR's p1th to p5th
LIDR_RETURNS = "Roussel et al. 2020, doi:10.1016/j.rse.2020.112061 (lidR stdmetrics)"
LIDR = "Roussel et al. 2020, doi:10.1016/j.rse.2020.112061 (lidR stdmetrics_z)"
HOSKING = "Hosking 1990, doi:10.1111/j.2517-6161.1990.tb01775.x"
BOUVIER = "Bouvier et al. 2015, doi:10.1016/j.rse.2014.10.004"


class Cells:
    """Heights grouped by cell and rising inside each; what metric functions compute from.

    Every array that its methods return has one entry per cell that holds at least one point (`filled` are their
    numbers). `z` is (n_points), `starts` the position of each filled cell's first point in it, `n` its point count.
    `fine` holds what is seen inside cells at a finer step (cover, canopy, ground), None where that is not known.
    """

    def __init__(
        self,
        heights: Heights,
        cell: np.ndarray,
        n_cells: int,
        cell_area_m2: float | np.ndarray,
        fine: Fine | None = None,
    ) -> None:
        from pipeline.lidar.kernels import group_sorted

        self._heights, self._cell, self._n_cells, self.fine = heights, cell, n_cells, fine
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

    def count(self, flag: str) -> np.ndarray:
        """How many points carry a flag of `Heights`: first_return, ground, outside_hull, clipped or far_ground."""
        from pipeline.lidar.kernels import counted

        flags = getattr(self._heights, flag)
        return counted(self._cell, flags, self._n_cells)[self.filled] if flags.any() else np.zeros(len(self.n), np.int64)

    @property
    def has_returns(self) -> bool:
        """Whether points are returns of pulses, not cells of a raster."""
        return self._heights.return_number is not None

    def count_return(self, number: int) -> np.ndarray:
        """How many points are their pulse's first, second, ... return; missing where points have no return number.

        A number of 0 is that of files without return numbers, whose points are first returns.
        """
        from pipeline.lidar.kernels import counted

        numbers = self._heights.return_number
        if not self.has_returns:
            return np.full(len(self.n), np.nan)
        flags = numbers <= 1 if number == 1 else numbers == number
        return counted(self._cell, flags, self._n_cells)[self.filled]

    def count_above(self, flag: str, height_m: float) -> np.ndarray:
        """How many points that carry a flag are strictly above a height."""
        from pipeline.lidar.kernels import counted_above

        flags = getattr(self._heights, flag)
        return counted_above(self._cell, flags, self._heights.z, height_m, self._n_cells)[self.filled]

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
    def _moments(self) -> np.ndarray:
        from pipeline.lidar.kernels import moments

        return moments(self.z, self.starts, self.n)

    @property
    def mean(self) -> np.ndarray:
        return self._moments[:, 0]

    def central_moment(self, power: int) -> np.ndarray:
        """Population moment about the mean, of power 2, 3 or 4."""
        return self._moments[:, power - 1]

    @property
    def variance(self) -> np.ndarray:
        """Population variance, the second central moment; exactly 0 where all heights are the same."""
        return self.central_moment(2)

    @cached_property
    def _linear_moments(self) -> np.ndarray:
        from pipeline.lidar.kernels import linear_moments

        return linear_moments(self.z, self.starts, self.n)

    def linear_moment(self, order: int) -> np.ndarray:
        """Sample L-moment of order 1 to 4 by unbiased probability-weighted moments, missing below as many points."""
        return self._linear_moments[:, order - 1]

    def quantile(self, share: float) -> np.ndarray:
        """Quantile of type 7 (linear between order statistics): Hyndman and Fan 1996, doi:10.2307/2684934."""
        position = (self.n - 1) * share
        below = np.floor(position).astype(np.int64)
        low = self.z[self.starts + below]
        high = self.z[self.starts + np.minimum(below + 1, self.n - 1)]
        return low + (position - below) * (high - low)

    def count_below(self, height_m: float | np.ndarray) -> np.ndarray:
        """How many points lie strictly below a height, or below one height per cell."""
        return self._searched(height_m, False)

    def count_up_to(self, height_m: float | np.ndarray) -> np.ndarray:
        """How many points lie at a height or below it."""
        return self._searched(height_m, True)

    def _searched(self, height_m: float | np.ndarray, inclusive: bool) -> np.ndarray:
        from pipeline.lidar.kernels import below

        limits = np.ascontiguousarray(np.broadcast_to(height_m, self.n.shape), np.float64)
        return below(self.z, self.starts, self.n, limits, inclusive)

    def share_above(self, height_m: float | np.ndarray) -> np.ndarray:
        """Percentage of points strictly above a height, or above one height per cell."""
        return 100.0 * (self.n - self.count_up_to(height_m)) / self.n

    def mean_above(self, height_m: float) -> np.ndarray:
        """Mean of the points strictly above a height, 0 where there is none."""
        from pipeline.lidar.kernels import mean_above

        return mean_above(self.z, self.starts, self.n, height_m)

    def entropy(self, layers: np.ndarray) -> np.ndarray:
        """Entropy of the shares in `layers` layers of 1 m from the ground, 1 where all are alike."""
        from pipeline.lidar.kernels import entropy

        return entropy(self.z, self.starts, self.n, LAYER_M, np.ascontiguousarray(layers, np.float64))

    def finer(self, what: str) -> np.ndarray:
        """A summary that `fine` makes of each cell, missing where nothing finer is known."""
        if self.fine is None:
            return np.full(len(self.n), np.nan)
        return getattr(self.fine, what)[self.filled]


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


STRATUM = re.compile(r"(returns|lad)_(\d+(?:p\d+)?)_(\d+(?:p\d+)?)(_percent)?")


def stratum_name(kind: str, low_m: float, high_m: float) -> str:
    """Name of a stratum's metric: `returns_0p5_2_percent`, `lad_2_5`."""
    low, high = (f"{height:g}".replace(".", "p") for height in (low_m, high_m))
    return f"{kind}_{low}_{high}" + ("_percent" if kind == "returns" else "")


def _stratum(name: str) -> Metric | None:
    """The metric of a stratum between two heights, by its name; None where that is no such name."""
    match = STRATUM.fullmatch(name)
    if not match:
        return None
    kind, low_m, high_m = match[1], *(float(match[n].replace("p", ".")) for n in (2, 3))
    if not low_m < high_m or name != stratum_name(kind, low_m, high_m):
        return None
    if kind == "returns":

        def share(cells: Cells) -> np.ndarray:
            return 100.0 * (cells.count_below(high_m) - cells.count_below(low_m)) / cells.n

        title = f"Share of all returns from {low_m:g} m to below {high_m:g} m"
        return Metric(name, share, "%", title, "count / count")

    def density(cells: Cells) -> np.ndarray:
        passed, came = cells.count_up_to(low_m), cells.count_up_to(high_m)
        return np.log(came / passed) / (EXTINCTION * (high_m - low_m))

    title = f"Leaf area density from {low_m:g} m to {high_m:g} m by Beer and Lambert's law with k = {EXTINCTION}"
    return Metric(name, density, "m2/m3", title, f"{BOUVIER}; lidR LAD")


class Registry(dict[str, Metric]):
    """Metrics by name. A stratum between any two heights is declared by asking for it: `returns_2_5_percent`."""

    def __missing__(self, name: str) -> Metric:
        found = _stratum(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _stratum(name) is not None)


METRICS: dict[str, Metric] = Registry()


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
        on_ground = cells.count_up_to(0.0)
        counted = cells.count_below(layer * (cells.maximum / 10)) - on_ground
        share = 100.0 * counted / (cells.count_below(cells.maximum) - on_ground)
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
    # A return at the very top of the highest layer belongs to none, as in lidR.
    entropy = cells.entropy(np.ceil(cells.maximum / LAYER_M))
    return np.where((cells.minimum >= 0) & (cells.maximum >= 2 * LAYER_M), entropy, np.nan)


@metric(
    units="1",
    title=f"Vertical complexity index: entropy in layers of 1 m from 0 to {VCI_TOP_M:g} m, relative to an even one",
    reference="van Ewijk, Treitz and Scott 2011, doi:10.14358/PERS.77.2.185; lidR VCI",
)
def vci(cells: Cells) -> np.ndarray:
    """Comparable between cells, as its layers are the same everywhere; missing where a height is negative."""
    entropy = cells.entropy(np.full(len(cells.n), VCI_TOP_M / LAYER_M))
    return np.where(cells.minimum >= 0, entropy, np.nan)


@metric(
    units="%",
    title="Canopy cover: share of first returns above 2 m",
    reference="Morsdorf et al. 2006, Remote Sensing of Environment 104:50-61",
)
def cover_2m(cells: Cells) -> np.ndarray:
    return 100.0 * cells.count_above("first_return", COVER_HEIGHT_M) / cells.count("first_return")


@metric(units="m", title="Mean height of all returns above 2 m, 0 where there is none", reference=f"{BOUVIER} (of first returns)")
def zmean_2m(cells: Cells) -> np.ndarray:
    """How high the canopy stands where it is: `zmean` of all returns is about this times the share of returns in it."""
    return cells.mean_above(COVER_HEIGHT_M)


@metric(
    units="1",
    title="Canopy relief ratio",
    reference="Pike and Wilson 1971, doi:10.1130/0016-7606(1971)82[1079:ERHIAG]2.0.CO;2",
)
def canopy_ratio(cells: Cells) -> np.ndarray:
    return (cells.mean - cells.minimum) / (cells.maximum - cells.minimum)


def _declare_linear_moment(order: int, title: str) -> None:
    @metric(units="m", title=title, reference=HOSKING, name=f"zl{order}")
    def zl(cells: Cells) -> np.ndarray:
        return cells.linear_moment(order)


for _order, _title in enumerate(
    ("First L-moment of heights: the mean", "Second L-moment of heights (L-scale)",
     "Third L-moment of heights", "Fourth L-moment of heights"), start=1,
):  # fmt: skip
    _declare_linear_moment(_order, _title)


@metric(units="1", title="L-coefficient of variation of heights", reference=HOSKING)
def zlcv(cells: Cells) -> np.ndarray:
    return cells.linear_moment(2) / cells.linear_moment(1)


@metric(units="1", title="L-skewness of heights", reference=HOSKING)
def zlskew(cells: Cells) -> np.ndarray:
    return cells.linear_moment(3) / cells.linear_moment(2)


@metric(units="1", title="L-kurtosis of heights", reference=HOSKING)
def zlkurt(cells: Cells) -> np.ndarray:
    return cells.linear_moment(4) / cells.linear_moment(2)


@metric(units="1", title="Gap fraction: share of all returns that reach 2 m or lower", reference=BOUVIER)
def gap_fraction(cells: Cells) -> np.ndarray:
    return cells.count_up_to(COVER_HEIGHT_M) / cells.n


@metric(
    units="m2/m2",
    title=f"Leaf area index above 2 m by Beer and Lambert's law with k = {EXTINCTION}",
    reference=f"{BOUVIER}; lidR LAD",
)
def lai(cells: Cells) -> np.ndarray:
    """The sum of the leaf area density of all layers; missing where no return reaches 2 m."""
    return np.log(cells.n / cells.count_up_to(COVER_HEIGHT_M)) / EXTINCTION


@metric(units="%", title="Share of first returns among all", reference="count / count")
def first_percent(cells: Cells) -> np.ndarray:
    return 100.0 * cells.count("first_return") / cells.n


def _declare_return(number: int) -> None:
    word = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}[number]

    @metric(units="%", title=f"Share of {word} returns among all", reference=LIDR_RETURNS, name=f"p{number}th")
    def pth(cells: Cells) -> np.ndarray:
        return 100.0 * cells.count_return(number) / cells.n


for _number in range(1, RETURNS + 1):
    _declare_return(_number)


@metric(units="%", title="Share of returns of the ground classes among all", reference=LIDR_RETURNS)
def pground(cells: Cells) -> np.ndarray:
    """Missing on a canopy height raster, which has no returns."""
    return 100.0 * np.where(cells.has_returns, cells.count("ground"), np.nan) / cells.n


# Strata

for _low, _high in pairwise((0, *STRATA_M)):
    METRICS[stratum_name("returns", _low, _high)] = _stratum(stratum_name("returns", _low, _high))
for _low, _high in pairwise(STRATA_M[1:]):
    METRICS[stratum_name("lad", _low, _high)] = _stratum(stratum_name("lad", _low, _high))


# What is seen at a finer step than the cell


@metric(
    units="m",
    title="Mean top-of-canopy height: mean of the canopy height model",
    reference="Asner and Mascaro 2014, doi:10.1016/j.rse.2013.09.023",
)
def tch(cells: Cells) -> np.ndarray:
    return cells.finer("mean_canopy")


@metric(
    units="1",
    title="Rumple: surface of the canopy height model over its plane",
    reference="Jenness 2004, doi:10.2193/0091-7648(2004)032[0829:CLSAFD]2.0.CO;2; Kane et al. 2010, doi:10.1139/X10-001",
)
def rumple(cells: Cells) -> np.ndarray:
    return cells.finer("rumple")


@metric(
    units="degree",
    title="Slope of the plane through the ground of a cell",
    reference="least squares on the triangulated ground at the centres of sub-cells",
)
def ground_slope_deg(cells: Cells) -> np.ndarray:
    """Missing on a campaign of given heights, which has no ground."""
    return cells.finer("slope")


# Quality


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


@metric(
    units="%",
    title="Returns whose ground triangle is wider than 240 m, or that lie beyond the ground",
    reference="circumcircle of the triangle; heights there rest on guesses of the ground",
    quality=True,
)
def far_ground_percent(cells: Cells) -> np.ndarray:
    return 100.0 * (cells.count("far_ground") + cells.count("outside_hull")) / cells.n


@metric(
    units="%",
    title="Part of the cell that holds first returns, by sub-cells of at most 5 m",
    reference="count / count",
    quality=True,
)
def covered_percent(cells: Cells) -> np.ndarray:
    return cells.finer("covered_percent")


NO_INTENSITY = (
    "is not offered: intensity falls with range and differs between flights, and range cannot be normalised without the "
    "sensor's trajectory, which tiles do not carry; use metrics of height"
)


def is_intensity(name: str) -> bool:
    """Whether a name is one that others give to a metric of intensity."""
    return bool(re.fullmatch(r"i(tot|max|mean|sd|skew|kurt|ground|pground|pcum.*)|intensity.*", name))


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
    intensity = [name for name in unknown if is_intensity(name)]
    others = [name for name in unknown if name not in intensity]
    said = [f"{', '.join(intensity)} {NO_INTENSITY}"] if intensity else []
    if others:
        verb = "is not a lidar metric" if len(others) == 1 else "are not lidar metrics"
        said.append(f"{', '.join(others)} {verb}; known: {', '.join(METRICS)}")
    if said:
        raise ValueError("; ".join(said))
    return names


def metrics_by_cell(
    heights: Heights,
    cell_index: np.ndarray,
    n_cells: int,
    *,
    cell_area_m2: float | np.ndarray,
    names: Iterable[str] | None = None,
    fine: Fine | None = None,
    min_covered_percent: float = 0.0,
) -> dict[str, np.ndarray]:
    """Metrics of the heights in each cell.

    Parameters
    ----------
    heights : Heights
        Points with heights above ground, m.
    cell_index : int array (n_points)
        The cell of each point, 0 to `n_cells` - 1; a negative number belongs to none.
    n_cells : int
    cell_area_m2 : float, or float array (n_cells)
        For the densities.
    names : iterable of str, optional
        Which of `METRICS`; all by default.
    fine : Fine, optional
        What is seen inside the cells at a finer step. Without it the metrics of cover, canopy and ground are missing.
    min_covered_percent : float
        Cells that are covered less have quality bands only: they are not computed from a part of a cell.

    Returns
    -------
    dict of str to float32 array (n_cells)
        In the order of `names`. Missing where a cell has no point, or too few or too equal ones for the metric.
    """
    names = known_metrics(names)
    cells = Cells(heights, np.asarray(cell_index, np.int32), n_cells, cell_area_m2, fine)
    enough = np.ones(len(cells.n), bool)
    if min_covered_percent > 0:
        enough = ~(cells.finer("covered_percent") < min_covered_percent)
    bands = {}
    for name in names:
        about = METRICS[name]
        values = np.full(n_cells, np.nan, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = about.function(cells)
        values[cells.filled] = found if about.quality else np.where(enough, found, np.nan)
        values[np.isinf(values)] = np.nan
        bands[name] = values
    return bands
