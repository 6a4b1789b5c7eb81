"""Drawing plot locations: stratified at random, systematic, or spread over the area by the local pivotal method. Seeded.

References
----------
Grafström, Lundström and Schelin 2012, Biometrics 68:514-520, doi:10.1111/j.1541-0420.2011.01699.x (local pivotal method 2).
Stevens and Olsen 2004, Journal of the American Statistical Association 99:262-278, doi:10.1198/016214504000000250 (Voronoi
measure of spatial balance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

Draw = Literal["balanced", "random", "systematic"]
CLUSTER_SHAPES: dict[str, tuple[tuple[int, int], ...]] = {
    "square": ((0, 0), (1, 0), (1, 1), (0, 1)),
    "line": ((0, 0), (1, 0), (2, 0), (3, 0)),
    "l": ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2)),
}
"""Plots of a cluster, in steps of the cluster spacing from its location."""


@dataclass(frozen=True)
class Frame:
    """Places that can become a plot: centres (n, 2) in metres of cells of side `cell_m`, with their stratum (n,)."""

    xy: np.ndarray
    stratum: np.ndarray
    cell_m: float

    def stratum_at(self, points: np.ndarray) -> np.ndarray:
        """Stratum of the cell that each point (k, 2) lies in; "" outside every cell."""
        _, nearest = cKDTree(self.xy).query(points)
        inside = np.abs(self.xy[nearest] - points).max(axis=1) <= self.cell_m / 2 + 1e-9
        return np.where(inside, self.stratum[nearest], "")

    def area_ha(self, name: str) -> float:
        return float((self.stratum == name).sum()) * self.cell_m**2 / 10_000


@dataclass(frozen=True)
class Drawn:
    """Plots (k): their location's number and kind, coordinates, stratum, and the hectares that each location stands for.

    outside : plots of clusters that fell out of the frame or into another stratum and are not to be measured
    """

    location: np.ndarray
    kind: np.ndarray
    xy: np.ndarray
    stratum: np.ndarray
    location_ha: np.ndarray
    outside: int


def draw_sample(
    frame: Frame,
    locations: Mapping[str, int],
    *,
    method: Draw = "balanced",
    seed: int,
    cluster_share: float = 0.0,
    cluster_shape: str = "square",
    cluster_spacing_m: float = 60.0,
    stratum_at: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Drawn:
    """Locations per stratum, some of them clusters, every place of a stratum with the same chance.

    Parameters
    ----------
    locations : stratum -> number of locations
    method : balanced (local pivotal method), random, systematic (a square grid with a random start per stratum; how many it
        hits is only `locations` on average)
    seed : the same seed, frame and numbers give the same sample
    cluster_share : share of locations that become clusters, chosen spread over the area too
    cluster_spacing_m : distance of neighbouring plots of a cluster
    stratum_at : points (k, 2) -> stratum (k,), "" outside; None takes the frame's cells. Polygons are sharper than cells: a
        location that would leave its stratum goes to the centre of its cell

    Raises
    ------
    ValueError
        Where a stratum has fewer places than locations or is not in the frame.

    Notes
    -----
    Plots are placed at random within their cell. Plots of a cluster that fall outside the location's stratum are left out:
    clusters then differ in size, which ratio-of-sums estimators expect.
    """
    if cluster_shape not in CLUSTER_SHAPES:
        raise ValueError(f"a cluster is {', '.join(CLUSTER_SHAPES)}; got {cluster_shape!r}")
    rng = np.random.default_rng(seed)
    chosen, weights = [], []
    for name, count in locations.items():
        places = np.flatnonzero(frame.stratum == name)
        if len(places) < count or count < 1:
            raise ValueError(f"stratum {name!r} has {len(places)} places for {count} locations; use a finer frame or fewer plots")
        mine = places[_pick(frame.xy[places], count, method, rng, frame.cell_m)]
        if len(mine) < 2 <= count:
            raise ValueError(
                f"the grid hits {len(mine)} places of stratum {name!r}, expected were {count}; draw it balanced, whose number "
                "is sure"
            )
        chosen.append(mine)
        weights.append(np.full(len(mine), frame.area_ha(name) / len(mine)))
    index = np.concatenate(chosen)
    start = frame.xy[index] + (rng.random((len(index), 2)) - 0.5) * frame.cell_m
    clustered = np.zeros(len(index), dtype=bool)
    wanted = round(cluster_share * len(index))
    if wanted:
        clustered[_pick(start, wanted, "balanced", rng, frame.cell_m)] = True
    look = stratum_at or frame.stratum_at
    strayed = look(start) != frame.stratum[index]
    start[strayed] = frame.xy[index[strayed]]
    offsets = cluster_spacing_m * np.array(CLUSTER_SHAPES[cluster_shape], float)
    return _with_clusters(start, frame.stratum[index], clustered, np.concatenate(weights), offsets, look)


def _with_clusters(
    start: np.ndarray,
    stratum: np.ndarray,
    clustered: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    stratum_at: Callable[[np.ndarray], np.ndarray],
) -> Drawn:
    """All plots of all locations; those of clusters that left the stratum of their location are dropped and counted."""
    sizes = np.where(clustered, len(offsets), 1)
    location = np.repeat(np.arange(len(start)), sizes)
    step = np.concatenate([np.arange(size) for size in sizes])
    xy = start[location] + offsets[step]
    stays = (step == 0) | (stratum_at(xy) == stratum[location])
    kind = np.where(clustered, "cluster", "single")[location]
    return Drawn(
        location[stays] + 1, kind[stays], xy[stays], stratum[location][stays], weight[location][stays], int((~stays).sum())
    )


def _pick(xy: np.ndarray, count: int, method: Draw, rng: np.random.Generator, cell_m: float) -> np.ndarray:
    """Indices of `count` of the places, in their order."""
    if method == "random":
        return np.sort(rng.choice(len(xy), count, replace=False))
    if method == "balanced":
        return local_pivotal(np.full(len(xy), count / len(xy)), xy, rng)
    if method == "systematic":
        return _systematic(xy, count, rng, cell_m)
    raise ValueError(f"a draw is balanced, random or systematic, got {method!r}")


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


def _systematic(xy: np.ndarray, count: int, rng: np.random.Generator, cell_m: float) -> np.ndarray:
    """Places hit by a square grid with a random start, its spacing such that `count` are expected.

    How many it hits depends on the start: only so has every place the same chance.
    """
    spacing = np.sqrt(len(xy) * cell_m**2 / count)
    origin = xy.min(axis=0) - cell_m / 2 - rng.random(2) * spacing
    lines = [np.arange(origin[axis], xy[:, axis].max() + cell_m, spacing) for axis in (0, 1)]
    grid = np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, 2)
    _, nearest = cKDTree(xy).query(grid)
    return np.unique(nearest[np.abs(xy[nearest] - grid).max(axis=1) <= cell_m / 2])


def voronoi_imbalance(xy: np.ndarray, sample: Sequence[int], chance: np.ndarray) -> float:
    """Variance over the sampled places of the inclusion chance nearest to each; 0 is perfect (Stevens and Olsen 2004)."""
    _, owner = cKDTree(xy[np.asarray(sample)]).query(xy)
    return float(np.mean((np.bincount(owner, weights=chance, minlength=len(sample)) - 1) ** 2))
