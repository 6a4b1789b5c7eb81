"""Folds: which plots are left out together when a model is checked on plots it has not seen.

Plots of one cluster are never on both sides. Beyond that, a check is honest where plots left out are as far from those
that stay as the places of the map are from all plots: `nndm` and `knndm` see to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

SPLITS_TRIED = 30
"""Into how many numbers of groups `knndm` cuts the clusters before it takes the best."""


def by_cluster(cluster: np.ndarray) -> list[np.ndarray]:
    """Test rows of each fold: one cluster at a time."""
    return [np.flatnonzero(cluster == name) for name in np.unique(cluster)]


def by_place(xy: np.ndarray) -> list[np.ndarray]:
    """Test rows of each fold: one place at a time, with all dates at which it was measured.

    For comparison only: it flatters where plots lie close together.
    """
    return by_cluster(np.unique(xy, axis=0, return_inverse=True)[1].ravel())


def spatial_blocks(xy: np.ndarray, cluster: np.ndarray, block_m: float) -> list[np.ndarray]:
    """Test rows of each fold: the clusters whose centre lies in one square of side `block_m`, counted from (0, 0)."""
    names, number, centres = _centres(xy, cluster)
    del names
    square = np.floor(centres / block_m).astype(int)
    _, fold = np.unique(square, axis=0, return_inverse=True)
    return _rows(fold.ravel()[number])


def knndm(
    xy: np.ndarray, cluster: np.ndarray, places: np.ndarray, *, folds: int = 10, largest_percent: float = 50.0
) -> list[np.ndarray]:
    """k folds whose distances from plots left out to plots that stay are like those from the map's places to the plots.

    Clusters are joined to ever fewer groups by distance, groups dealt out to the folds along their main axis; of all
    such folds those are taken whose nearest-neighbour distances differ least from the map's (Wasserstein distance).

    Parameters
    ----------
    xy : (n, 2) plots, metres; cluster : (n,) their clusters, kept whole
    places : (m, 2) a sample of the places that are predicted
    folds : number of folds; fewer where there are fewer clusters
    largest_percent : no fold holds more of the clusters, but where two cannot do otherwise

    Returns
    -------
    list of arrays
        Test rows of each fold.

    References
    ----------
    Linnenbrink et al. 2024, Geoscientific Model Development 17:5897-5912, doi:10.5194/gmd-17-5897-2024.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    names, number, centres = _centres(xy, cluster)
    k = min(folds, len(names))
    if k < 2:
        raise ValueError("all plots are in one cluster: there is nothing to leave out")
    wanted = cdist(places, centres).min(axis=1)
    tree = linkage(centres, "average")
    main = _main_axis(centres)
    largest = max(largest_percent / 100 * len(names), np.ceil(len(names) / k))
    best, chosen = np.inf, None
    for groups in np.unique(np.geomspace(k, len(names), SPLITS_TRIED).round().astype(int))[::-1]:
        group = fcluster(tree, groups, "maxclust")
        order = np.argsort([main[group == one].mean() for one in np.unique(group)], kind="stable")
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order)) % k
        fold = place[np.unique(group, return_inverse=True)[1]]
        if len(np.unique(fold)) < 2 or np.bincount(fold).max() > largest:
            continue
        away = wasserstein_distance(_nearest_elsewhere(centres, fold), wanted)
        if away < best - 1e-9:
            best, chosen = away, fold
    if chosen is None:  # one dense group holds most clusters: dealt out one by one
        chosen = np.argsort(np.argsort(main, kind="stable"), kind="stable") % k
    return _rows(chosen[number])


def nndm(
    xy: np.ndarray, cluster: np.ndarray, places: np.ndarray, *, least_percent: float = 50.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Leave one cluster out, and with it so many neighbours that the nearest that stays is as far as for the map.

    Going up in distance, a cluster's nearest neighbour is taken out of its training while more clusters have a neighbour
    within that distance than the map's places have, and as long as `least_percent` of the clusters stay.

    Returns
    -------
    list of (test rows, training rows)

    References
    ----------
    Mila et al. 2022, Methods in Ecology and Evolution 13:1304-1316, doi:10.1111/2041-210X.13851.
    """
    names, number, centres = _centres(xy, cluster)
    n = len(names)
    wanted = np.sort(cdist(places, centres).min(axis=1))
    apart = cdist(centres, centres)
    np.fill_diagonal(apart, np.inf)
    least = least_percent / 100 * n
    nearest = apart.min(axis=1)
    reach = -1.0
    while True:
        ahead = np.where(nearest > reach, nearest, np.inf)
        one = int(ahead.argmin())
        if not np.isfinite(ahead[one]):
            break
        distance = nearest[one]
        too_near = ((nearest <= distance).sum() - 1) / n >= np.searchsorted(wanted, distance, side="right") / len(wanted)
        if too_near and np.isfinite(apart[one]).sum() > least:
            apart[one, apart[one] == distance] = np.inf
            nearest[one] = apart[one].min()
        else:
            reach = distance
    stays = np.isfinite(apart)
    return [(np.flatnonzero(number == one), np.flatnonzero(stays[one][number])) for one in range(n)]


def _centres(xy: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names of the clusters, each row's number among them, and their centres."""
    names, number = np.unique(cluster, return_inverse=True)
    count = np.bincount(number)
    return names, number, np.column_stack([np.bincount(number, weights=column) / count for column in xy.T])


def _main_axis(centres: np.ndarray) -> np.ndarray:
    """How far along the axis of largest spread each centre lies; the axis points north, or east where it lies east-west."""
    away = centres - centres.mean(axis=0)
    axis = np.linalg.svd(away, full_matrices=False)[2][0]
    return away @ (axis * (np.sign(axis[1]) or np.sign(axis[0])))


def _nearest_elsewhere(centres: np.ndarray, fold: np.ndarray) -> np.ndarray:
    return np.where(fold[:, None] != fold[None, :], cdist(centres, centres), np.inf).min(axis=1)


def _rows(fold: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(fold == one) for one in np.unique(fold)]


def rest_of(n: int, test: np.ndarray) -> np.ndarray:
    """The rows that are not in `test`."""
    stays = np.ones(n, bool)
    stays[test] = False
    return np.flatnonzero(stays)


def distances_to_training(xy: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Distance (n,) of each row to the nearest that stays when it is left out; NaN of a row that is never left out.

    `folds` holds the rows left out and the rows that stay of each.
    """
    found = np.full(len(xy), np.nan)
    for test, rest in folds:
        if len(rest):
            found[test] = cdist(xy[test], xy[rest]).min(axis=1)
    return found
