"""Maps of one chunk: forest, stock, change and their errors, by hand and by law."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_target_model
from scipy import ndimage

from pipeline.mapping import (
    change_layers,
    forest_class,
    large_patches,
    pixel_se,
    sets_for_change,
    stock_layers,
    with_no_change,
)

NAN = np.nan


def make_forest(seed=1, shape=(60, 60), *, share=0.35, unknown=0.0):
    """Random forest of ragged patches: 1, 0, and NaN for a share of unknown pixels."""
    rng = np.random.default_rng(seed)
    forest = (ndimage.gaussian_filter(rng.normal(size=shape), 1.2) > ndimage.gaussian_filter(
        np.zeros(shape), 1) + 0.25 * (0.5 - share)).astype(float)  # fmt: skip
    forest[rng.random(shape) < unknown] = NAN
    return forest


def stock(zmean, forest, *, model=None, year=2019):
    zmean, forest = np.atleast_2d(np.array(zmean, float)), np.atleast_2d(np.array(forest, float))
    return stock_layers(model or make_target_model(), {"zmean": zmean}, forest, year)


# ---------------------------------------------------------------- forest


def test_patches_below_the_minimum_area_are_no_forest():
    forest = np.zeros((6, 6))
    forest[0, 0:3] = 1  # three pixels
    forest[3, 3] = forest[4, 4] = forest[5, 5] = forest[5, 4] = 1  # four, joined by corners
    forest[0, 5] = 1
    kept = large_patches(forest, 4)
    assert kept.sum() == 4 and kept[3, 3] == kept[4, 4] == kept[5, 5] == 1
    assert large_patches(forest, 3).sum() == 7
    assert (large_patches(forest, 1) == forest).all() and (large_patches(forest, 0) == forest).all()


@pytest.mark.parametrize("unknown", [0.0, 0.1], ids=["all_known", "some_unknown"])
@pytest.mark.parametrize("min_px", [2, 5, 12])
def test_patches_told_window_by_window_with_a_halo_are_those_of_the_whole(min_px, unknown):
    for seed in range(5):
        forest = make_forest(seed, unknown=unknown)
        assert 0.1 < np.nanmean(forest) < 0.9
        whole = large_patches(forest, min_px)
        assert (whole == 1).sum() < (forest == 1).sum()
        wide = np.pad(forest, min_px)
        for row in range(0, 60, 20):
            for col in range(0, 60, 20):
                part = large_patches(wide[row : row + 20 + 2 * min_px, col : col + 20 + 2 * min_px], min_px)
                inner = part[min_px:-min_px, min_px:-min_px]
                np.testing.assert_array_equal(inner, whole[row : row + 20, col : col + 20])


def test_a_small_patch_beside_unknown_pixels_may_be_large_and_stays_unknown():
    forest = np.array([[1.0, 1.0, NAN, NAN, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, NAN]])
    kept = large_patches(forest, 3)
    #       two and two unknown         alone is none   three are enough
    expected = [[NAN, NAN, NAN, NAN, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, NAN]]
    np.testing.assert_array_equal(kept, expected)


def test_forest_classes_tell_remaining_gained_and_lost_apart_and_keep_the_unknown():
    first = np.array([[0.0, 1.0, 0.0, 1.0, NAN, 1.0, NAN]])
    second = np.array([[0.0, 1.0, 1.0, 0.0, 1.0, NAN, NAN]])
    np.testing.assert_array_equal(forest_class(first, second), [[0, 1, 2, 3, NAN, NAN, NAN]])


# ---------------------------------------------------------------- stock


def test_land_without_forest_has_no_biomass_and_no_error_and_unknown_land_is_missing():
    layers = stock([10, 10, 10, NAN, NAN], [1, 0, NAN, 1, 0])
    assert layers["value"] == pytest.approx([150, 0, NAN, NAN, 0], nan_ok=True)
    assert pixel_se(make_target_model(), layers) == pytest.approx([20, 0, NAN, NAN, 0], nan_ok=True)
    assert layers["set_number"].tolist() == [0, -1, -1, -1, -1]
    assert layers["forest"].tolist() == [True, False, False, True, False]
    assert not layers["gradient"][1:].any()


def test_a_chunk_without_forest_asks_the_model_nothing():
    layers = stock(np.full((2, 3), 7.0), np.zeros((2, 3)))
    assert layers["value"].tolist() == [0] * 6 and layers["in_domain"].all()


def test_layers_are_flat_in_row_order():
    layers = stock([[1, 2], [3, 4]], np.ones((2, 2)))
    assert layers["value"] == pytest.approx([60, 70, 80, 90])


def test_the_error_of_a_pixel_joins_residual_parameters_and_shared_errors():
    model = make_target_model(influence=[[0, 3.0, 0], [0, 0, 0.5]], shared=[[0, 2.0, 0.2]], scale=7.0)
    layers = stock([10.0], [1.0], model=model)
    # gradient (0, 1, 10): 3^2 + 5^2 + (2 + 2)^2 + 7^2
    assert pixel_se(model, layers) == pytest.approx([np.sqrt(9 + 25 + 16 + 49)])


# ---------------------------------------------------------------- change


def test_change_is_missing_where_either_date_is_and_counts_gain_and_loss():
    model = make_target_model(dates=(2019, 2024), params=(1.0, 50.0, 10.0, 5.0))
    first = stock([10, 10, 10, 10, NAN], [1, 0, 1, NAN, 1], model=model)
    second = stock([12, 12, 12, 12, 12], [1, 1, 0, 1, 1], model=model, year=2024)
    change = change_layers(model, first, second)
    assert change["value"] == pytest.approx([25, 175, -150, NAN, NAN], nan_ok=True)
    assert change["gained"][:3].tolist() == [False, True, False]
    assert change["lost"][:3].tolist() == [False, False, True]
    assert change["forest"][:3].all() and change["set_number"][:3].tolist() == [0, 0, 0]


def test_the_error_of_a_change_leaves_out_what_both_dates_share():
    model = make_target_model(
        dates=(2019, 2024), params=(1.0, 50.0, 10.0, 5.0), between_dates=0.75, change_scale=1.5, influence=[[0, 4.0, 0, 3.0]]
    )
    first, second = stock([10], [1], model=model), stock([12], [1], model=model, year=2024)
    change = change_layers(model, first, second)
    # 1.5 x sqrt(400 + 400 - 2 x 0.75 x 400); the intercept's error of 4 drops out, the date effect's 3 stays
    assert change["residual_sd"] == pytest.approx([1.5 * np.sqrt(200)])
    assert change["gradient"][0] == pytest.approx([0, 0, 2, 1])
    assert pixel_se(model, change) == pytest.approx([np.sqrt(450 + 9)])


def test_forest_that_came_or_went_carries_the_whole_error_of_its_one_stock():
    model = make_target_model(dates=(2019, 2024), params=(1.0, 50.0, 10.0, 0.0), between_dates=0.9)
    first, second = stock([10, 10], [0, 1], model=model), stock([12, 12], [1, 0], model=model, year=2024)
    assert change_layers(model, first, second)["residual_sd"] == pytest.approx([20, 20])


def test_a_change_of_the_opposite_direction_is_the_opposite_change():
    model = make_target_model(dates=(2019, 2024), params=(1.0, 50.0, 10.0, 5.0), between_dates=0.5)
    first, second = stock([10, 4], [1, 1], model=model), stock([12, 9], [1, 0], model=model, year=2024)
    there, back = change_layers(model, first, second), change_layers(model, second, first)
    assert there["value"] == pytest.approx(-back["value"])
    assert there["residual_sd"] == pytest.approx(back["residual_sd"])
    assert (there["gained"] == back["lost"]).all()


def test_a_stock_changes_nothing():
    layers = with_no_change(stock([10, 3], [1, 0]))
    assert not layers["gained"].any() and not layers["lost"].any()


def test_change_is_told_from_a_set_that_shows_both_dates():
    model = make_target_model()
    forest = np.array([[1.0, 1.0, 1.0, 0.0]])
    first, second = {"zmean": np.array([[5.0, NAN, NAN, 5.0]])}, {"zmean": np.array([[6.0, 6.0, NAN, 6.0]])}
    usable = sets_for_change(model, (first, second), (forest, forest))
    # complete at both; where none is, every set may serve
    assert usable.tolist() == [[True], [True], [True], [True]] and usable.shape == (4, 1)


def test_a_set_that_is_not_usable_serves_no_pixel():
    model = make_target_model()
    layers = stock_layers(model, {"zmean": np.array([[5.0, 6.0]])}, np.ones((1, 2)), 2019, np.array([[True], [False]]))
    assert layers["set_number"].tolist() == [0, -1] and np.isnan(layers["value"][1])
