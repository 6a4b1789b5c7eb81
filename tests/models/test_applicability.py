"""Area of applicability: the index and threshold of Meyer & Pebesma 2021, by hand and by brute force."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from models.applicability import Applicability, applicability


def line(values, clusters=None, **changes):
    X = np.array(values, float)[:, None]
    return applicability(X, np.arange(len(X)) if clusters is None else np.array(clusters), **changes)


def test_the_index_is_the_distance_to_the_nearest_plot_over_the_mean_distance_of_plots():
    # Plots at 0, 2 and 10: distances 2, 8, 10, mean 20/3; units cancel.
    found, _ = line([0, 2, 10]).told(np.array([[0.0], [1.0], [6.0], [30.0], [np.nan]]))
    assert found[:4] == pytest.approx([0, 1 / (20 / 3), 4 / (20 / 3), 20 / (20 / 3)])
    assert np.isnan(found[4])


def test_the_threshold_is_the_upper_whisker_of_the_plots_own_indices():
    # Each of 0, 1, 2, 3, 4 has a neighbour 1 away and 20 one of 16: Q1 = Q3 = 1, whisker 1; mean distance 110 / 15.
    model = line([0, 1, 2, 3, 4, 20])
    assert model.threshold == pytest.approx(1 / (110 / 15))
    # Spread indices: quartiles (type 7) of 1, 1, 2, 4, 8 over the mean distance: Q3 = 4, IQR = 3, whisker 8.5 > max 8.
    spread = line([0, 1, 3, 7, 15], [0, 1, 2, 3, 4])
    assert spread.threshold * spread.mean_distance / spread.scale[0] == pytest.approx(8)


def test_plots_of_one_cluster_are_not_held_against_one_another():
    alone = line([0, 0.1, 5, 5.1, 9, 9.1])
    grouped = line([0, 0.1, 5, 5.1, 9, 9.1], ["a", "a", "b", "b", "c", "c"])
    assert alone.mean_distance == pytest.approx(grouped.mean_distance)
    assert alone.threshold * alone.mean_distance / alone.scale[0] == pytest.approx(0.1)
    assert grouped.threshold > 30 * alone.threshold


def test_a_place_between_two_kinds_of_forest_is_outside_though_each_predictor_is_in_range():
    rng = np.random.default_rng(1)
    X = np.vstack([rng.normal([0, 0], 0.1, (30, 2)), rng.normal([5, 5], 0.1, (30, 2))])
    model = applicability(X, np.arange(60))
    assert model.inside(np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 5.0], [2.5, 2.5]])).tolist() == [True, True, False, False]


def test_a_predictor_that_the_model_makes_nothing_of_does_not_put_a_place_outside():
    rng = np.random.default_rng(2)
    X = rng.normal(0, 1, (40, 2))
    far = np.array([[0.0, 50.0]])
    assert not applicability(X, np.arange(40)).inside(far)[0]
    assert applicability(X, np.arange(40), np.array([1.0, 0.0])).inside(far)[0]


def test_searches_that_begin_where_the_last_ended_find_what_brute_force_finds():
    rng = np.random.default_rng(3)
    X, places = rng.normal(0, 1, (50, 4)), rng.normal(0, 2, (3000, 4))
    places[::97, 2] = np.nan
    weight = np.array([2.0, 1.0, 0.5, 0.1])
    model = applicability(X, rng.integers(0, 12, 50), weight)
    scale = weight / X.std(axis=0, ddof=1)
    apart = cdist(places * scale, X * scale)
    reach = model.threshold * model.mean_distance
    whole = np.isfinite(places).all(axis=1)
    index, density = model.told(places)
    assert index[whole] == pytest.approx(apart.min(axis=1)[whole] / model.mean_distance) and np.isnan(index[~whole]).all()
    assert model.inside(places).tolist() == (whole & (apart.min(axis=1) <= reach)).tolist()
    assert density.tolist() == np.where(whole, (apart <= reach).sum(axis=1), 0).tolist()
    assert (density > 0).tolist() == model.inside(places).tolist()
    assert 0.1 < model.inside(places).mean() < 0.9


def test_a_model_from_plain_numbers_is_the_same_model():
    model = line([0, 2, 10])
    again = Applicability.from_plain(
        {name: np.asarray(getattr(model, name)).tolist() for name in model.__dataclass_fields__}
    )
    assert again.told(np.array([[6.0]])) == model.told(np.array([[6.0]]))


def test_density_counts_the_plots_within_the_threshold_of_a_place():
    # Plots at 0, 1, 2, 3, 4 and 20 reach 1 far (test above): 1.5 has two within reach, 2 three, 12 none.
    _, density = line([0, 1, 2, 3, 4, 20]).told(np.array([[1.5], [2.0], [12.0], [np.nan]]))
    assert density.tolist() == [2, 3, 0, 0]


def test_duplicate_plots_and_fewer_plots_than_predictors_are_found_too():
    """Turned onto main axes of which some are empty, distances stay what they are."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6, 9))
    X[3] = X[0]
    model = applicability(X, np.arange(6))
    places = rng.normal(size=(200, 9))
    apart = cdist(places * model.scale, X * model.scale)
    index, density = model.told(places)
    assert index == pytest.approx(apart.min(axis=1) / model.mean_distance)
    assert density.tolist() == (apart <= model.threshold * model.mean_distance).sum(axis=1).tolist()


def test_one_cluster_alone_and_constant_predictors_are_refused():
    with pytest.raises(ValueError, match="all plots are in one cluster"):
        line([0, 1, 2], ["a", "a", "a"])
    with pytest.raises(ValueError, match="constant"):
        line([1, 1, 1])


@pytest.mark.parametrize("predictors", [1, 2, 6])
def test_inside_is_an_index_up_to_the_threshold_wherever_a_place_lies(predictors):
    """By distances to all plots: places among them, at the edge, far off, and plots themselves; weights far apart."""
    rng = np.random.default_rng(predictors)
    X = rng.normal(size=(150, predictors)) * 10.0 ** np.arange(predictors)
    known = applicability(X, np.arange(150).astype(str), 3.0 ** -np.arange(predictors))
    places = np.vstack([X, rng.normal(size=(4000, predictors)) * 2 * 10.0 ** np.arange(predictors), 1e6 + X[:20]])
    edge = X.copy()
    edge[:, 0] += known.threshold * known.mean_distance / known.scale[0] * rng.choice([-1, 1], 150)
    places = np.vstack([places, edge * (1 + 1e-7), edge * (1 - 1e-7)])
    away = cdist((places - known.centre) * known.scale, known.plots).min(axis=1) / known.mean_distance
    sure = np.abs(away - known.threshold) > 1e-9
    np.testing.assert_array_equal(known.inside(places)[sure], (away <= known.threshold)[sure])
    assert 0.05 < known.inside(places).mean() < 0.95 and known.inside(X).mean() > 0.9
    assert not known.inside(np.full((1, predictors), np.nan)).any()


def test_places_asked_for_one_by_one_are_judged_as_all_at_once():
    rng = np.random.default_rng(9)
    model = applicability(rng.normal(size=(80, 3)), np.arange(80))
    places = rng.normal(scale=2.0, size=(900, 3))
    whole = model.inside(places)
    assert 0.1 < whole.mean() < 0.9
    assert np.array_equal(whole, np.concatenate([model.inside(part) for part in np.split(places, 90)]))
