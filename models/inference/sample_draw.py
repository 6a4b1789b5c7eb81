"""Drawing plot locations: stratified at random, systematic, or spread over the area by the local pivotal method. Seeded.

References
----------
Grafström, Lundström and Schelin 2012, Biometrics 68:514-520, doi:10.1111/j.1541-0420.2011.01699.x (local pivotal method 2).
Stevens and Olsen 2004, Journal of the American Statistical Association 99:262-278, doi:10.1198/016214504000000250 (Voronoi
measure of spatial balance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

Draw = Literal["balanced", "random", "systematic"]
CLUSTER_PLOTS = {"square": 4, "line": 4, "l": 5}
"""Shapes of a cluster and the plots that each has where nothing else is said."""
MOST_PLOTS = 26
"""Plots of a cluster are named A to Z."""
LEAST_SHARE = 1e-3
"""Cells of which less lies in a stratum are no places."""
SUBCELLS = 8
"""Points along the side of a cell where it is told how many plots of a cluster hit the stratum."""
TRIES, TRIED_AT_ONCE = 100, 200
LOOSE_DRAWS = 20
"""Draws that tell how unevenly places lie that fall anywhere: their mean is known to about a twentieth of itself."""


def cluster_offsets(shape: str, spacing_m: float, plots: int | None = None) -> np.ndarray:
    """Plots of a cluster (m, 2), in metres from their middle: a square (rows of a block), a line, or the arms of an L.

    Raises
    ------
    ValueError
        Where the shape is not known, plots are fewer than two, or they do not lie apart.
    """
    if shape not in CLUSTER_PLOTS:
        raise ValueError(f"a cluster is {', '.join(CLUSTER_PLOTS)}; got {shape!r}")
    count = CLUSTER_PLOTS[shape] if plots is None else plots
    if not 2 <= count <= MOST_PLOTS:
        raise ValueError(f"a cluster has 2 to {MOST_PLOTS} plots, got {count}; without clusters the share of clusters is 0")
    if not 0 < spacing_m < np.inf:
        raise ValueError(f"plots of a cluster lie apart, so their spacing is above 0 m; got {spacing_m:g}")
    number = np.arange(count)
    if shape == "square":
        columns = int(np.ceil(np.sqrt(count)))
        steps = np.column_stack([number % columns, number // columns])
    elif shape == "line":
        steps = np.column_stack([number, np.zeros(count)])
    else:
        along = (count + 1) // 2  # the corner and one arm; the other arm has the rest
        steps = np.column_stack([np.where(number < along, number, 0), np.where(number < along, 0, number - along + 1)])
    return spacing_m * (steps - steps.mean(axis=0))


@dataclass(frozen=True)
class Frame:
    """Places that can become a plot: centres (n, 2) in metres of cells of side `cell_m` on one lattice, and their stratum (n,).

    share : (n,) of the cell that lies in the stratum; None for all of it. A cell that a border cuts is there once per stratum
    """

    xy: np.ndarray
    stratum: np.ndarray
    cell_m: float
    share: np.ndarray | None = None

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.xy)

    def stratum_at(self, points: np.ndarray) -> np.ndarray:
        """Stratum of the cell that each point (k, 2) lies in; "" outside every cell."""
        _, nearest = self._tree.query(points)
        inside = np.abs(self.xy[nearest] - points).max(axis=1) <= self.cell_m / 2 + 1e-9
        return np.where(inside, self.stratum[nearest], "")

    def cells(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers on the lattice (k, 2) of a stratum's cells, and the share of each that lies in it."""
        mine = self.stratum == name
        share = np.ones(int(mine.sum())) if self.share is None else np.asarray(self.share, float)[mine]
        return np.rint((self.xy[mine] - self.xy[0]) / self.cell_m).astype(int), share

    def centres(self, cells: np.ndarray) -> np.ndarray:
        return self.xy[0] + cells * self.cell_m

    def area_ha(self, name: str) -> float:
        return float(self.cells(name)[1].sum()) * self.cell_m**2 / 10_000


@dataclass(frozen=True)
class Middles:
    """Where the middle of a cluster may lie so that at least one of its plots is in the stratum: the stratum and a rim around it.

    cells : (k, 2) on the frame's lattice; share : (k,) of each cell
    size, square_size : mean number of plots in the stratum of a cluster whose middle is anywhere there, and of its square
    """

    cells: np.ndarray
    share: np.ndarray
    size: float
    square_size: float


@dataclass(frozen=True)
class Clusters:
    """Plots of a cluster (m, 2) in metres from its middle, and per stratum where middles may lie."""

    offsets: np.ndarray
    middles: Mapping[str, Middles]


def clusters_in(frame: Frame, offsets: np.ndarray, stratum_at: Callable[[np.ndarray], np.ndarray] | None = None) -> Clusters:
    """Where clusters of a shape may lie, stratum by stratum.

    A middle drawn in the stratum itself would give places near its border less chance to become a plot than places within, by
    up to a half and more in small stands: fewer middles reach them. Middles that are anywhere from where a plot of the cluster
    hits the stratum give every place of it the same chance, m / area of the middles.
    """
    look = stratum_at or frame.stratum_at
    return Clusters(offsets, {str(name): _middles(frame, str(name), offsets, look) for name in np.unique(frame.stratum)})


def _middles(frame: Frame, name: str, offsets: np.ndarray, look: Callable[[np.ndarray], np.ndarray]) -> Middles:
    own, share = frame.cells(name)
    shifts = np.unique(np.concatenate([[np.floor(-one / frame.cell_m), np.ceil(-one / frame.cell_m)] for one in offsets]), axis=0)
    spread = [[x, y] for x in np.unique(shifts[:, 0]) for y in np.unique(shifts[:, 1])]
    cells = np.unique(np.concatenate([own + np.array(one, int) for one in spread]), axis=0)

    def hits(chosen: np.ndarray, within: np.ndarray) -> np.ndarray:
        """Plots in the stratum (cells, points) of clusters whose middles are at some points of cells."""
        at = (frame.centres(cells[chosen])[:, None, :] + within * frame.cell_m).reshape(-1, 2)
        return sum((look(at + one) == name).astype(int) for one in offsets).reshape(len(chosen), len(within))

    edge = 0.5 - 0.5 / SUBCELLS
    star = np.array([[0, 0], [-edge, -edge], [edge, -edge], [edge, edge], [-edge, edge]])
    found = hits(np.arange(len(cells)), star)
    part, square = (found > 0).mean(axis=1), (found**2).mean(axis=1)
    cut = np.flatnonzero(np.ptp(found, axis=1) > 0)
    line = (np.arange(SUBCELLS) + 0.5) / SUBCELLS - 0.5
    finer = hits(cut, np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2))
    part[cut], square[cut] = (finer > 0).mean(axis=1), (finer**2).mean(axis=1)
    kept = part > 0
    area = float(part.sum())
    return Middles(cells[kept], part[kept], len(offsets) * float(share.sum()) / area, float(square.sum()) / area)


@dataclass(frozen=True)
class Drawn:
    """Plots (k): their location's number and kind, coordinates, stratum, and weight, the hectares that each plot stands for.

    A weight is 1 / (expected plots per hectare): alike for all plots of a stratum, clusters or single; over all plots they add
    up to the area on average.
    outside : plots of clusters that fell out of the frame or into another stratum and are not to be measured
    """

    location: np.ndarray
    kind: np.ndarray
    xy: np.ndarray
    stratum: np.ndarray
    weight: np.ndarray
    outside: int


def draw_sample(
    frame: Frame,
    locations: Mapping[str, int],
    *,
    method: Draw = "balanced",
    seed: int,
    cluster_share: float = 0.0,
    clusters: Clusters | None = None,
    stratum_at: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Drawn:
    """Locations per stratum, some of them clusters, every place of a stratum with the same chance.

    Parameters
    ----------
    locations : stratum -> number of locations
    method : balanced (local pivotal method), random (places independent of one another), systematic (a square grid with a random
        start per stratum; how many it hits is only `locations` on average)
    seed : the same seed, frame and numbers give the same sample
    cluster_share : share of locations that become clusters, spread over the area too; their number is that share of the
        locations give or take a few, because a cluster's middle may lie where no single plot does
    clusters : their shape and where they may lie (`clusters_in`); needed where there is a share of them
    stratum_at : points (k, 2) -> stratum (k,), "" outside; None takes the frame's cells. Polygons are sharper than cells

    Raises
    ------
    ValueError
        Where a stratum has fewer places than locations or is not in the frame.

    Notes
    -----
    A single plot lies anywhere in its stratum, a cluster's middle anywhere from where one of its plots does; a place's chance to
    become a plot is n_single / area + m n_clusters / area of the middles, the same for all. Plots of a cluster that fall outside
    the stratum are left out: clusters then differ in size, which ratio-of-sums estimators expect.
    """
    if not 0 <= cluster_share <= 1 or (cluster_share > 0 and clusters is None):
        raise ValueError(f"a share of clusters is 0 to 1, and above 0 it needs clusters to draw; got {cluster_share:g}")
    look = stratum_at or frame.stratum_at
    rng = np.random.default_rng(seed)
    offsets = clusters.offsets if clusters is not None else np.zeros((1, 2))
    found, names, chance, weights = [], [], [], []
    for name, count in locations.items():
        of = _Stratum.of(frame, name, count, cluster_share, clusters)
        xy, of_cluster = _grid(of, frame, rng) if method == "systematic" else _pick(of, frame, count, method, rng)
        found.append(xy)
        chance.append(of_cluster)
        names.append(np.full(len(xy), name))
        weights.append(np.full(len(xy), 1 / (of.density * 10_000)))
    middle, stratum, of_cluster, weight = (np.concatenate(one) for one in (found, names, chance, weights))
    clustered = np.zeros(len(middle), dtype=bool)
    clustered[local_pivotal(of_cluster, middle, rng)] = True

    def serves(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether some locations have a plot in their stratum if they lie at some points."""
        hit = look(points) == stratum[rows]
        many = np.flatnonzero(clustered[rows])
        hit[many] = np.any([look(points[many] + one) == stratum[rows[many]] for one in offsets], axis=0)
        return hit

    if method == "systematic":
        kept = np.flatnonzero(serves(middle, np.arange(len(middle))))
        middle, stratum, clustered, weight = middle[kept], stratum[kept], clustered[kept], weight[kept]
        for name, count in locations.items():
            if (hit := int((stratum == name).sum())) < 2 <= count:
                raise ValueError(
                    f"the grid hits {hit} places of stratum {name!r}, expected were {count}; draw it balanced, whose number "
                    "is sure"
                )
    else:
        middle = _within_cells(middle, frame.cell_m, serves, rng)
    return _with_clusters(middle, stratum, clustered, weight, offsets, look)


@dataclass(frozen=True)
class _Stratum:
    """Cells (k, 2) of a stratum and of the rim where middles of its clusters lie, with the expected numbers of single plots and
    of clusters in each; `density` of plots and `per_m2` of locations, in a square metre; `of_cluster` of a location on a grid."""

    cells: np.ndarray
    single: np.ndarray
    cluster: np.ndarray
    density: float
    per_m2: float
    of_cluster: float

    @classmethod
    def of(cls, frame: Frame, name: str, count: int, cluster_share: float, clusters: Clusters | None) -> _Stratum:
        own, share = frame.cells(name)
        if len(own) < count or count < 1:
            raise ValueError(
                f"stratum {name!r} has {len(own)} places for {count} locations; ask for a wider --half-width-percent"
            )
        plots, single = 1, count * (1 - cluster_share) * share / share.sum()
        around, cluster = own[:0], share[:0]
        if cluster_share:
            plots, around = len(clusters.offsets), clusters.middles[name].cells
            cluster = count * cluster_share * clusters.middles[name].share / clusters.middles[name].share.sum()
        cells, which = np.unique(np.concatenate([own, around]), axis=0, return_inverse=True)
        expected = [
            np.bincount(which.ravel()[rows], weights=values, minlength=len(cells))
            for rows, values in ((slice(None, len(own)), single), (slice(len(own), None), cluster))
        ]
        each = count * (1 - cluster_share) / share.sum() / frame.cell_m**2
        groups = cluster.sum() / clusters.middles[name].share.sum() / frame.cell_m**2 if cluster_share else 0.0
        return cls(cells, *expected, float(each + plots * groups), float(each + groups), float(groups / (each + groups)))


def _pick(of: _Stratum, frame: Frame, count: int, method: Draw, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres (count, 2) of cells that get a location, and the chance of each that it is a cluster."""
    chance = of.single + of.cluster
    if method == "random":
        picked = np.sort(rng.choice(len(chance), count, p=chance / chance.sum()))
    elif method == "balanced":
        if chance.max() > 1:
            raise ValueError(
                f"{count} locations are more than one per cell of {frame.cell_m:g} m; ask for a wider --half-width-percent"
            )
        picked = local_pivotal(chance, frame.centres(of.cells), rng)
    else:
        raise ValueError(f"a draw is balanced, random or systematic, got {method!r}")
    return frame.centres(of.cells[picked]), of.cluster[picked] / chance[picked]


def _grid(of: _Stratum, frame: Frame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A square grid with a random start over a stratum and its rim, as dense as locations are to be, and the chance of a cluster.

    How many of it serve depends on the start: only so has every place the same chance.
    """
    spacing = of.per_m2**-0.5
    low, high = (frame.centres(edge) for edge in (of.cells.min(axis=0) - 0.5, of.cells.max(axis=0) + 0.5))
    origin = low - rng.random(2) * spacing
    lines = [np.arange(origin[axis], high[axis] + spacing, spacing) for axis in (0, 1)]
    grid = np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, 2)
    return grid, np.full(len(grid), of.of_cluster)


def _within_cells(
    centre: np.ndarray, cell_m: float, serves: Callable[[np.ndarray, np.ndarray], np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """A place at random in each cell, where it serves: in the part of the cell that lies in the stratum."""
    found = centre + (rng.random(centre.shape) - 0.5) * cell_m
    left = np.flatnonzero(~serves(found, np.arange(len(centre))))
    for _ in range(TRIES):
        if not len(left):
            return found
        points = centre[left][:, None, :] + (rng.random((len(left), TRIED_AT_ONCE, 2)) - 0.5) * cell_m
        good = serves(points.reshape(-1, 2), np.repeat(left, TRIED_AT_ONCE)).reshape(len(left), TRIED_AT_ONCE)
        lucky = good.any(axis=1)
        found[left[lucky]] = points[lucky, good[lucky].argmax(axis=1)]
        left = left[~lucky]
    x, y = centre[left[0]]
    raise ValueError(
        f"no point of the cell at {x:.0f}, {y:.0f} lies in its stratum; stands of two strata that lie on top of each other are "
        "likely: correct the stand layer"
    )


def _with_clusters(
    middle: np.ndarray,
    stratum: np.ndarray,
    clustered: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    stratum_at: Callable[[np.ndarray], np.ndarray],
) -> Drawn:
    """All plots of all locations; those of clusters that left the stratum of their location are dropped and counted."""
    sizes = np.where(clustered, len(offsets), 1)
    location = np.repeat(np.arange(len(middle)), sizes)
    step = np.concatenate([np.arange(size) for size in sizes])
    many = clustered[location]
    xy = middle[location] + np.where(many[:, None], offsets[step], 0.0)
    stays = stratum_at(xy) == stratum[location]
    kind = np.where(many, "cluster", "single")
    return Drawn(
        location[stays] + 1, kind[stays], xy[stays], stratum[location][stays], weight[location][stays], int((~stays).sum())
    )


def local_pivotal(chance: np.ndarray, xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample with the given inclusion chances (n,) whose neighbours avoid one another: the local pivotal method 2.

    A place picked at random and the nearest undecided place play for their chances until every chance is 0 or 1, so that one
    of two neighbours is left out where the other comes in. Sizes are fixed where the chances add up to a whole number.
    """
    given = np.asarray(chance, float)
    if ((given < 0) | (given > 1)).any():
        raise ValueError("inclusion chances lie between 0 and 1")
    small = 1e-9
    order = np.flatnonzero((given > small) & (given < 1 - small)).tolist()
    # plain lists: single elements of arrays are slow to reach
    left, undecided = given.tolist(), [small < one < 1 - small for one in given.tolist()]
    position = dict(zip(order, range(len(order)), strict=True))
    luck = rng.random((len(order) + 1, 2)).tolist()
    neighbours = _Neighbours(xy, order)
    while len(order) > 1:
        if len(order) < neighbours.known / 2:  # most of the places that it knows are decided
            neighbours = _Neighbours(xy, sorted(order))
        which, toss = luck.pop()
        one = order[int(which * len(order))]
        other = neighbours.nearest(one, undecided)
        a, b = left[one], left[other]
        if a + b < 1:
            left[one], left[other] = (0.0, a + b) if toss < b / (a + b) else (a + b, 0.0)
        else:
            stay = toss < (1 - b) / (2 - a - b)
            left[one], left[other] = (1.0, a + b - 1) if stay else (a + b - 1, 1.0)
        for place in (one, other):
            if not small < left[place] < 1 - small:
                left[place] = float(round(left[place]))
                undecided[place] = False
                last = order.pop()
                if last != place:
                    order[position[place]] = last
                    position[last] = position[place]
    if order:
        left[order[0]] = float(luck.pop()[1] < left[order[0]])
    return np.flatnonzero(np.array(left) > 0.5)


class _Neighbours:
    """Nearest places among those known, kept in lists so that one query serves many steps."""

    def __init__(self, xy: np.ndarray, places: list[int], listed: int = 16) -> None:
        self.xy, self.places, self.known = xy, np.array(places, dtype=int), len(places)
        if not places:
            return
        self.tree = cKDTree(xy[self.places])
        _, found = self.tree.query(xy[self.places], k=min(listed, self.known))
        self.lists = dict(zip(places, self.places[np.reshape(found, (self.known, -1))].tolist(), strict=True))

    def nearest(self, one: int, undecided: list[bool]) -> int:
        for place in self.lists[one]:
            if place != one and undecided[place]:
                return place
        size = 4 * len(self.lists[one])
        while True:
            _, found = self.tree.query(self.xy[one], k=min(size, self.known))
            for place in self.places[found]:
                if place != one and undecided[place]:
                    return int(place)
            size *= 4


def voronoi_imbalance(xy: np.ndarray, sample: np.ndarray, chance: np.ndarray) -> float:
    """How unevenly sampled places lie: mean square of what each stands for, less one; 0 is perfect (Stevens and Olsen 2004).

    xy : (n, 2) all places, with the chance (n,) of each to be sampled; sample : (k, 2) the places that were
    """
    _, owner = cKDTree(sample).query(xy)
    return float(np.mean((np.bincount(owner, weights=chance, minlength=len(sample)) - 1) ** 2))


def spread_of(frame: Frame, drawn: Drawn, locations: Mapping[str, int], *, seed: int) -> tuple[float, float]:
    """`voronoi_imbalance` of the locations as drawn, and on average of as many that fall anywhere in each stratum.

    Errors are computed as if locations fell anywhere: the smaller the first beside the second, the more too wide they are.
    """
    share = np.ones(len(frame.xy)) if frame.share is None else np.asarray(frame.share, float)
    chance, rng, mine = np.zeros(len(share)), np.random.default_rng(seed), {}
    for name, count in locations.items():
        mine[name] = np.flatnonzero(frame.stratum == name)
        chance[mine[name]] = count * share[mine[name]] / share[mine[name]].sum()

    def anywhere() -> np.ndarray:
        of = [rng.choice(mine[name], count, replace=False, p=chance[mine[name]] / count) for name, count in locations.items()]
        return frame.xy[np.concatenate(of)] + rng.uniform(-0.5, 0.5, (sum(map(len, of)), 2)) * frame.cell_m

    _, location = np.unique(drawn.location, return_inverse=True)
    places = np.column_stack([np.bincount(location, weights=axis) for axis in drawn.xy.T]) / np.bincount(location)[:, None]
    loose = [voronoi_imbalance(frame.xy, anywhere(), chance) for _ in range(LOOSE_DRAWS)]
    return voronoi_imbalance(frame.xy, places, chance), float(np.mean(loose))
