"""Folds keep clusters whole and, matched to a map, leave plots out at the distances at which the map is predicted."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from models.folds import by_cluster, by_place, distances_to_training, knndm, nndm, rest_of, spatial_blocks

SQUARE = np.stack(np.meshgrid(np.arange(50, 10_000, 400.0), np.arange(50, 10_000, 400.0)), axis=-1).reshape(-1, 2)


def with_rest(xy, tests):
    return [(test, rest_of(len(xy), test)) for test in tests]


def patches(seed: int, n: int = 60, spread_m: float = 150.0) -> tuple[np.ndarray, np.ndarray]:
    """Plots in six dense places of a 10 km square; every two plots are a cluster."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(1000, 9000, (6, 2))
    places = centres[np.arange(n // 2) % 6] + rng.normal(0, spread_m, (n // 2, 2))
    return np.repeat(places, 2, axis=0) + rng.normal(0, 10, (n, 2)), np.repeat([f"c{k:02d}" for k in range(n // 2)], 2)


def away_from(places: np.ndarray, xy: np.ndarray) -> np.ndarray:
    return cdist(places, xy).min(axis=1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_plot_is_left_out_once_and_never_without_its_cluster(seed):
    xy, cluster = patches(seed)
    for folds in (by_cluster(cluster), spatial_blocks(xy, cluster, 3000), knndm(xy, cluster, SQUARE, folds=5)):
        assert sorted(np.concatenate(folds).tolist()) == list(range(60))
        for test in folds:
            assert not set(cluster[test]) & set(cluster[rest_of(60, test)])
    for test, training in nndm(xy, cluster, SQUARE):
        assert len(set(cluster[test])) == 1 and not set(cluster[test]) & set(cluster[training])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_folds_for_a_map_far_from_its_plots_leave_whole_places_out(seed):
    """Dense places in a large square: the map is kilometres from plots, the next cluster a hundred metres away."""
    xy, cluster = patches(seed)
    wanted = away_from(SQUARE, xy)
    matched = distances_to_training(xy, with_rest(xy, knndm(xy, cluster, SQUARE, folds=5)))
    alone = distances_to_training(xy, with_rest(xy, by_cluster(cluster)))
    assert wasserstein_distance(matched, wanted) < 0.5 * wasserstein_distance(alone, wanted)


def test_folds_for_plots_spread_over_the_map_are_no_farther_than_the_map_asks():
    rng = np.random.default_rng(4)
    xy = rng.uniform(0, 10_000, (80, 2))
    folds = knndm(xy, np.arange(80), SQUARE, folds=10)
    assert len(folds) == 10 and max(map(len, folds)) <= 40
    wanted, matched = away_from(SQUARE, xy), distances_to_training(xy, with_rest(xy, folds))
    assert wasserstein_distance(matched, wanted) < 0.25 * wanted.mean()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_neighbours_are_taken_out_until_distances_are_those_of_the_map(seed):
    xy, cluster = patches(seed)
    names, number = np.unique(cluster, return_inverse=True)
    centres = np.array([xy[number == k].mean(axis=0) for k in range(len(names))])
    found = nndm(xy, cluster, SQUARE, least_percent=50)
    wanted = np.sort(away_from(SQUARE, centres))
    left = np.array([cdist(centres[[k]], centres[np.unique(number[training])]).min() for k, (_, training) in enumerate(found)])
    before = np.sort(cdist(centres, centres) + 1e9 * np.eye(len(centres)), axis=1)[:, 0]
    assert wasserstein_distance(left, wanted) < 0.6 * wasserstein_distance(before, wanted)
    assert min(len(np.unique(number[training])) for _, training in found) >= 15


def test_plots_where_the_map_is_need_nobody_taken_out():
    xy = SQUARE[::7]
    for test, training in nndm(xy, np.arange(len(xy)), xy + 1.0, least_percent=10):
        assert len(test) + len(training) >= len(xy) - 1


def test_a_plot_is_left_out_with_all_its_dates():
    xy = np.array([[10.0, 5.0], [30.0, 5.0], [10.0, 5.0], [10.0, 7.0]])
    assert sorted(rows.tolist() for rows in by_place(xy)) == [[0, 2], [1], [3]]


def test_a_row_that_is_never_left_out_has_no_distance_to_its_training():
    xy = np.array([[0.0, 0.0], [3.0, 4.0], [9.0, 4.0]])
    found = distances_to_training(xy, [(np.array([0]), np.array([1, 2])), (np.array([1]), np.array([2]))])
    assert found[:2].tolist() == [5.0, 6.0] and np.isnan(found[2])


def test_one_cluster_cannot_be_left_out():
    with pytest.raises(ValueError, match="all plots are in one cluster"):
        knndm(SQUARE[:5], np.array(["a"] * 5), SQUARE)
