"""Size and structure of residuals: hand arithmetic, and what simulated plots must give back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.inference import residuals
from models.inference.residuals import (
    FEWEST_BY_READINGS,
    UNCORRELATED,
    Reading,
    Residuals,
    Structure,
    between_dates,
    compact_groups,
    correlation,
    difference_sd,
    expected_before,
    restricted_likelihood,
    spanned,
    spatial_structure,
    spread_of,
)

WHITE = Structure.known(100.0, 1.0)


def make_field(rng, *, clusters=25, per_cluster=4, range_m=400.0, nugget=0.2, side_m=6000.0, within_m=150.0):
    """Plots in clusters (n, 2), their cluster (n,), and unit residuals with the given correlation."""
    centre = rng.uniform(0, side_m, (clusters, 2))
    patch = np.repeat(np.arange(clusters), per_cluster)
    xy = centre[patch] + rng.uniform(-within_m, within_m, (len(patch), 2))
    distance = np.hypot(*(xy[:, None, :] - xy[None, :, :]).transpose(2, 0, 1))
    covariance = (1 - nugget) * np.exp(-3 * distance / range_m) + nugget * np.eye(len(xy))
    return xy, patch.astype(str), np.linalg.cholesky(covariance + 1e-9 * np.eye(len(xy))) @ rng.normal(size=len(xy))


def test_correlation_falls_to_five_percent_at_its_range():
    assert correlation(np.array([0.0, 150.0, 300.0]), 300.0) == pytest.approx([1.0, np.exp(-1.5), 0.0498], abs=1e-4)


def test_columns_that_are_sums_of_others_change_nothing_of_what_residuals_say():
    """Shares in strata add up to the intercept's column, and a ratio's is the sum of the others: a matrix of them is singular."""
    rng = np.random.default_rng(4)
    xy, patch, z = make_field(rng)
    share, x = (rng.random(100) < 0.4).astype(float), rng.normal(size=100)
    some = np.column_stack([np.ones(100), x, share])
    more = np.column_stack([some, 1 - share, some @ [3.0, 2.0, -1.0], np.zeros(100)])
    assert spanned(more).shape == (100, 3) and spanned(more).T @ spanned(more) == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.matrix_rank(np.column_stack([spanned(more), some])) == 3
    assert spanned(np.zeros((100, 2))).shape == (100, 0)
    one, other = (spatial_structure(z, xy, columns, patch) for columns in (some, more))
    for first, second in zip(one.readings, other.readings, strict=True):
        assert vars(first) == pytest.approx(vars(second), rel=1e-6, abs=1e-12)
    assert one.degrees_of_freedom == other.degrees_of_freedom == 97


def test_the_error_of_a_difference_follows_from_both_errors_and_their_correlation():
    assert difference_sd(np.array([3.0]), np.array([4.0]), 0.0) == pytest.approx([5.0])
    assert difference_sd(np.array([5.0]), np.array([5.0]), 0.9) == pytest.approx([np.sqrt(5.0)])
    assert difference_sd(np.array([5.0]), np.array([5.0]), 1.0) == pytest.approx([0.0])


def test_residual_size_follows_a_power_of_the_mean_above_its_floor():
    residuals = Residuals(2.0, 0.5, 9.0, 0.8, 1.5, WHITE, WHITE)
    assert residuals.sd(np.array([100.0, 9.0, 0.0])) == pytest.approx([20.0, 6.0, 6.0])
    # at 20 and 20 with correlation 0.8: 1.5 x sqrt(400 + 400 - 640)
    assert residuals.change_sd(np.array([20.0]), np.array([20.0])) == pytest.approx([1.5 * np.sqrt(160.0)])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_power_of_simulated_residuals_is_found_again(power):
    rng = np.random.default_rng(5)
    mean = rng.uniform(20, 400, 4000)
    scale, found, floor = spread_of(rng.normal(0, 3 * mean**power), mean)
    assert found == pytest.approx(power, abs=0.1)
    assert scale * 100**found == pytest.approx(3 * 100**power, rel=0.15)
    assert floor == pytest.approx(0.1 * mean.mean())


def test_equal_spread_has_the_plain_standard_deviation():
    scale, power, _ = spread_of(np.array([4.0, -4.0, 4.0, -4.0]), np.full(4, 50.0))
    assert scale * 50**power == pytest.approx(4.0)


def at_200_m(found):
    """Correlation of residuals 200 m apart that the readings expect, mean over them."""
    whole = sum(one.weight * (one.smooth + one.patch + one.nugget) for one in found.readings)
    return sum(one.weight * one.smooth * float(correlation(np.array(200.0), one.range_m)) for one in found.readings) / whole


def test_the_range_and_nugget_of_simulated_fields_are_found_in_order_of_magnitude():
    found = []
    for seed in range(6):
        xy, patch, residual = make_field(np.random.default_rng(seed), range_m=400.0, nugget=0.2)
        found.append(spatial_structure(residual, xy, np.ones((len(xy), 1)), patch))
    assert 150 < np.median([one.range_m for one in found]) < 1200
    assert np.median([one.nugget for one in found]) < 0.5
    assert 0.1 < np.median([at_200_m(one) for one in found]) < 0.4  # the truth is 0.8 exp(-1.5) = 0.18


def test_readings_are_likelihoods_times_what_is_expected_before():
    """One range far likelier than any other holds nearly all the weight; the weights add up to one."""
    xy, patch, residual = make_field(np.random.default_rng(3), clusters=150, per_cluster=4, range_m=400.0, side_m=15_000)
    found = spatial_structure(residual, xy, np.ones((len(xy), 1)), patch)
    assert sum(one.weight for one in found.readings) == pytest.approx(1)
    fields = [one for one in found.readings if one.patch == 0]  # beside them stand readings of whole clusters as patches
    near = sum(one.weight for one in fields if 200 < one.range_m < 900)
    assert near > 0.9 * sum(one.weight for one in fields) and found.identified


def test_before_plots_speak_neighbours_are_expected_to_correlate_as_measured_on_real_plots():
    """Residuals 83 m apart correlate 0.37, 0.54 and 0.67 on quatre-montagnes-plots (facts of the project): mean 0.53."""
    ranges, nuggets = np.geomspace(40, 12_000, 30), np.linspace(0, 1, 41)
    weight = expected_before(ranges, np.zeros(30), nuggets)
    at_83_m = np.vstack([(1 - nuggets) * np.exp(-3 * 83 / ranges)[:, None], np.zeros(41)])
    mean = float((weight * at_83_m).sum())
    sd = float(np.sqrt((weight * (at_83_m - mean) ** 2).sum()))
    assert weight.sum() == pytest.approx(1)
    assert 0.37 < mean < 0.67 and mean - sd < 0.37 and mean + sd > 0.67


def test_patches_and_fields_are_expected_alike_and_no_correlation_at_all_is_always_possible():
    shared, nuggets = np.repeat([0.0, 0.5, 1.0], [8, 8, 1]), np.linspace(0, 1, 11)
    weight = expected_before(np.geomspace(40, 9000, 8), shared, nuggets)
    by_kind = [weight[:-1][shared == kind].sum() for kind in (0.0, 0.5, 1.0)]
    assert by_kind == pytest.approx([(1 - UNCORRELATED) / 3] * 3) and weight[-1].sum() == pytest.approx(UNCORRELATED)
    # Beta(1, 3) has (1 - v)^3 above v: 0.95^3 above the middle of the first two nuggets
    assert weight[:8, 0].sum() / by_kind[0] == pytest.approx(1 - 0.95**3)


def test_residuals_with_nothing_in_common_come_to_be_read_so_where_plots_can_tell():
    """60 clusters of four plots within 100 m, ranges from 1 km on as good as excluded: most weight on no correlation or on
    ranges that end before the next plot."""
    rng = np.random.default_rng(11)
    xy, _patch, _ = make_field(rng, clusters=60, within_m=50.0)
    found = spatial_structure(rng.normal(size=len(xy)), xy, np.ones((len(xy), 1)), np.arange(len(xy)).astype(str))
    nothing = [one.weight for one in found.readings if one.smooth == 0 and one.patch == 0]
    assert len(nothing) == 1 and nothing[0] > 2 * UNCORRELATED
    assert at_200_m(found) < 0.05


def readings_of(weights, variances, freedom=1e9):
    return Structure.of(
        [Reading(w, 100.0, 0.0, 0.0, 1.0) for w in weights], identified=False, degrees_of_freedom=freedom
    ).averaged(np.array(variances))


def test_a_variance_is_the_mean_over_readings_and_as_doubtful_as_they_differ():
    """0.9 x 400 + 0.1 x 4 = 360.4, variance 0.9 x 0.1 x 396^2 = 14 113.4; of two stands at once."""
    mean, doubt = readings_of([0.9, 0.1], [[400.0, 4.0], [7.0, 7.0]])
    assert mean == pytest.approx([360.4, 7.0])
    assert doubt == pytest.approx([14_113.4, 0.0], rel=1e-4, abs=1e-6)
    # what few plots leave open of the residuals' size comes on top: 2 x 7^2 / 10
    assert readings_of([1.0], [7.0], freedom=10.0)[1] == pytest.approx(9.8)


@pytest.mark.parametrize(("level", "reach"), [(0.90, 1.8205), (0.95, 2.5746)])
def test_no_average_over_normal_errors_reaches_beyond_t_with_the_fewest_degrees_of_freedom(level, reach):
    """The worst law is nothing at all with probability 1 - p and normal with variance 1 / p else: p (2 Phi(-q sqrt(p))) = 1 -
    level is solved for q, and the largest q over p is 0.5756 / sqrt(1 - level)."""
    from scipy.stats import norm, t

    p = np.linspace((1 - level) * 1.01, 1, 4000)
    worst = (norm.isf((1 - level) / (2 * p)) / np.sqrt(p)).max()
    assert worst == pytest.approx(reach, abs=1e-3) and worst == pytest.approx(0.5757 / np.sqrt(1 - level), rel=1e-3)
    assert worst < t.isf((1 - level) / 2, FEWEST_BY_READINGS) + 0.005


def test_readings_as_different_as_can_be_leave_five_degrees_of_freedom():
    mean, doubt = readings_of([0.999, 0.001], [0.0, 1000.0])
    assert mean == pytest.approx(1.0) and 2 * mean**2 / doubt == pytest.approx(FEWEST_BY_READINGS)


def test_white_noise_at_clusters_is_read_as_little_correlation():
    for seed in range(5):
        rng = np.random.default_rng(100 + seed)
        xy, patch, _ = make_field(rng)
        found = spatial_structure(rng.normal(size=len(xy)), xy, np.ones((len(xy), 1)), patch)
        assert at_200_m(found) < 0.2


def test_plots_far_from_each_other_leave_open_how_far_residuals_reach():
    """Single plots 1 km apart: a range of 60 and one of 300 m are all the same to them, not so to a stand."""
    rng = np.random.default_rng(2)
    xy = np.stack(np.meshgrid(np.arange(9) * 1000.0, np.arange(9) * 1000.0), axis=-1).reshape(-1, 2)
    found = spatial_structure(rng.normal(size=81), xy, np.ones((81, 1)), np.arange(81).astype(str))
    assert not found.identified
    likely = [one.range_m for one in found.readings if one.weight > 0.05 and one.smooth > 0]
    assert min(likely) < 300 and max(likely) > 1500
    reach = f"no correlation at all and ranges between {min(likely):.0f} and {max(likely):.0f} m are all likely"
    assert "poorly identified" in found.doubt() and reach in found.doubt()


def test_three_plots_tell_nothing_and_a_stand_departs_as_one():
    found = spatial_structure(np.ones(3), np.array([[0.0, 0], [100, 0], [0, 100]]), np.ones((3, 1)), np.array(list("abc")))
    assert not found.identified and found.patch == 1.0 and found.degrees_of_freedom == 2


def test_the_share_that_plots_of_a_patch_have_in_common_is_read_where_neighbours_of_two_patches_stand_as_near():
    """60 clusters of four plots in two patches of two, stands that depart as wholes: 0.4 of the variance, no field."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        patch = np.repeat(np.arange(120), 2)
        xy = np.repeat(rng.uniform(0, 50_000, (60, 2)), 4, axis=0) + np.tile([[0, 0], [90, 0], [0, 90], [90, 90]], (60, 1))
        residual = np.sqrt(0.4) * rng.normal(size=120)[patch] + np.sqrt(0.6) * rng.normal(size=240)
        one = spatial_structure(residual, xy, np.ones((240, 1)), patch.astype(str))
        found.append((one.patch, at_200_m(one)))
    patch, field = np.mean(found, axis=0)
    assert 0.25 < patch < 0.5 and field < 0.05


def test_patches_that_are_whole_clusters_cannot_be_told_from_a_field_so_both_are_read():
    xy, patch, residual = make_field(np.random.default_rng(1))
    readings = spatial_structure(residual, xy, np.ones((len(xy), 1)), patch).readings
    assert sum(one.weight for one in readings if one.patch == 0) > 0.2
    assert sum(one.weight for one in readings if one.patch > 0) > 0.2


def test_single_plots_say_nothing_of_patches():
    rng = np.random.default_rng(4)
    found = spatial_structure(rng.normal(size=40), rng.uniform(0, 6000, (40, 2)), np.ones((40, 1)), np.arange(40).astype(str))
    assert found.patch == 0.0


def test_the_same_plots_in_another_order_have_the_same_structure():
    xy, patch, residual = make_field(np.random.default_rng(8), clusters=12)
    order = np.random.default_rng(9).permutation(len(xy))
    first = spatial_structure(residual, xy, np.ones((len(xy), 1)), patch)
    second = spatial_structure(residual[order], xy[order], np.ones((len(xy), 1)), patch[order])
    assert (second.range_m, second.nugget) == pytest.approx((first.range_m, first.nugget))
    assert second.identified == first.identified and len(second.readings) == len(first.readings)


def test_plots_visited_twice_tell_how_residuals_persist():
    # products 2 x 1 + 1 x 2 + (-2) x (-2) = 8; squares 9 and 9
    z = np.array([2.0, 1.0, -2.0, 1.0, 2.0, -2.0])
    plot, year = np.array(["a", "b", "c"] * 2), np.repeat([2019, 2024], 3)
    assert between_dates(z, plot, year) == pytest.approx(8 / 9)
    order = [3, 0, 5, 1, 4, 2]
    assert between_dates(z[order], plot[order], year[order]) == pytest.approx(8 / 9)


def test_plots_visited_once_persist_nowhere_and_opposite_residuals_never_shrink_an_error_of_change():
    assert between_dates(np.ones(4), np.array(list("abcd")), np.full(4, 2019)) == 0.0
    opposite = between_dates(
        np.array([1.0, 2.0, 3.0, -1.0, -2.0, -3.0]), np.array(["a", "b", "c"] * 2), np.repeat([2019, 2024], 3)
    )
    assert opposite == 0.0


# ---------------------------------------------------------------- restricted likelihood


def dense_restricted(z, columns, matrix):
    """Restricted log-likelihood of one correlation matrix by the book: error contrasts, variance profiled out."""
    n, p = columns.shape
    inverse = np.linalg.inv(matrix)
    inner = columns.T @ inverse @ columns
    rest = inverse - inverse @ columns @ np.linalg.solve(inner, columns.T @ inverse)
    variance = float(z @ rest @ z) / (n - p)
    logs = np.linalg.slogdet(matrix)[1] + np.linalg.slogdet(inner)[1]
    return -0.5 * ((n - p) * np.log(variance) + logs), variance


def fields_of(ranges):
    return [lambda distance, rows, range_m=range_m: correlation(distance, range_m) for range_m in ranges]


def test_one_decomposition_per_range_gives_the_likelihood_of_every_nugget():
    """Plots measured at two dates, some once: against the textbook's dense matrices."""
    rng = np.random.default_rng(4)
    xy, _, first = make_field(rng, clusters=9)
    again = np.arange(0, len(xy), 2)
    places = np.vstack([xy, xy[again]])
    z = np.concatenate([first, 0.7 * first[again] + 0.5 * rng.normal(size=len(again))])
    date = np.repeat([0, 1], [len(xy), len(again)])
    columns = np.column_stack([np.ones(len(z)), rng.normal(size=len(z)), date])
    together = np.where(date[:, None] == date, 1.0, 0.6)
    ranges, nuggets = [80.0, 400.0, 3000.0], np.array([0.1, 0.5, 1.0])
    found, variance = restricted_likelihood(z, places, columns, together, fields_of(ranges), nuggets)
    distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    for row, range_m in enumerate(ranges):
        for col, nugget in enumerate(nuggets):
            matrix = together * ((1 - nugget) * np.exp(-3 * distance / range_m) + nugget * (distance <= 1.0))
            expected = dense_restricted(z, columns, matrix)
            assert (found[row, col], variance[row, col]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_many_plots_in_compact_groups_say_of_range_and_nugget_what_all_pairs_say(monkeypatch):
    rng = np.random.default_rng(5)
    xy, _, z = make_field(rng, clusters=150, side_m=15_000)
    columns = np.column_stack([np.ones(len(z)), rng.normal(size=(len(z), 2))])
    ranges, nuggets = np.geomspace(60, 6000, 8), np.linspace(0, 1, 6)
    grouped, size = restricted_likelihood(z, xy, columns, np.ones((600, 600)), fields_of(ranges), nuggets)
    monkeypatch.setattr(residuals, "MOST_TOGETHER", 10**6)
    whole, whole_size = restricted_likelihood(z, xy, columns, np.ones((600, 600)), fields_of(ranges), nuggets)
    weight, whole_weight = (np.exp(part - part.max()) for part in (grouped, whole))
    weight, whole_weight = weight / weight.sum(), whole_weight / whole_weight.sum()
    assert np.abs(weight - whole_weight).sum() < 0.2
    assert size[whole_weight > 0.05] == pytest.approx(whole_size[whole_weight > 0.05], rel=0.03)


def test_compact_groups_hold_every_plot_once_and_plots_of_one_place_together():
    xy = np.repeat(np.random.default_rng(0).uniform(0, 1e4, (300, 2)), 3, axis=0)
    groups = compact_groups(xy, 100)
    assert sorted(np.concatenate(groups)) == list(range(900)) and max(map(len, groups)) <= 100
    assert all(len(set(rows // 3)) * 3 == len(rows) for rows in groups)
    assert [len(rows) for rows in compact_groups(np.zeros((500, 2)), 100)] == [500]


def test_the_upper_bound_is_the_reading_that_is_exceeded_with_a_tenth_of_the_weight():
    """Of a 5 ha stand a field of 10 m leaves next to nothing, one of 10 km nearly all, a patch all of its share."""
    near, far, rare = Reading(0.55, 10.0, 1.0, 0.0, 0.0), Reading(0.4, 1e4, 1.0, 0.0, 0.2), Reading(0.05, 10.0, 0.0, 3.0, 0.0)
    found = Structure.of([rare, near, far], identified=False, degrees_of_freedom=20.0)
    bound = found.upper_bound()
    assert bound.readings == (replace(far, weight=1.0),) and not bound.identified and bound.degrees_of_freedom == 20.0
    assert found.upper_bound(0.5).readings[0].range_m == 10.0 and found.upper_bound(0.99).readings[0].patch == 3.0
    variances = np.array([3.0, 0.1, 0.9])
    assert bound.averaged(variances[[2]])[0] > found.averaged(variances)[0]
