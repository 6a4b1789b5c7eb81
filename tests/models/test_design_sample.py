"""Sizes, allocations and draws of samples: textbook numbers, equal chances, balance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import t as student

from models.inference.estimators import estimate
from models.inference.sample_draw import CLUSTER_SHAPES, Frame, draw_sample, local_pivotal, voronoi_imbalance
from models.inference.sample_size import Layout, Stratum, best_plots_per_cluster, plots_needed
from models.inference.survey import Survey


def test_ten_percent_at_ninety_of_a_forest_that_varies_by_half_takes_seventy_plots():
    """t x 50 / sqrt(n) <= 10: 1.6672 x 50 / sqrt(70) = 9.96, 1.6676 x 50 / sqrt(69) = 10.04."""
    found = plots_needed([Stratum("all", 1000, 100, 50)])
    assert found.locations == (70,)
    assert found.half_width_percent == pytest.approx(student.ppf(0.95, 69) * 50 / np.sqrt(70))


def test_a_map_that_explains_64_percent_leaves_36_percent_of_the_plots():
    without = plots_needed([Stratum("all", 1000, 100, 50, r2=0.64)], half_width_percent=5)
    with_map = plots_needed([Stratum("all", 1000, 100, 50, r2=0.64)], half_width_percent=5, with_map=True)
    assert with_map.total == pytest.approx(0.36 * without.total, abs=2.5)


def test_neyman_gives_plots_by_area_times_spread_and_proportional_by_area():
    strata = [Stratum("old", 600, 200, 80), Stratum("young", 400, 100, 20)]
    neyman = plots_needed(strata, half_width_percent=3)
    proportional = plots_needed(strata, half_width_percent=3, allocation="proportional")
    assert neyman.locations[0] / neyman.total == pytest.approx(48000 / 56000, abs=0.01)
    assert proportional.locations[0] / proportional.total == pytest.approx(0.6, abs=0.01)
    assert neyman.total < proportional.total
    # sum (W S)^2 with Neyman, sum W S^2 with proportional allocation, over the squared error
    assert neyman.total / proportional.total == pytest.approx((0.6 * 80 + 0.4 * 20) ** 2 / (0.6 * 6400 + 0.4 * 400), abs=0.01)


def test_every_stratum_gets_enough_to_tell_its_error_and_precision_holds():
    strata = [Stratum("big", 10_000, 200, 60), Stratum("tiny", 5, 20, 1), Stratum("even", 300, 50, 0)]
    found = plots_needed(strata)
    assert found.locations[1:] == (3, 3) and found.half_width_percent <= 10
    fewer = (found.locations[0] - 1, 3, 3)
    share = np.array([10_000, 5, 300]) / 10_305
    parts = share**2 * np.array([60, 1, 0]) ** 2 / fewer
    freedom = parts.sum() ** 2 / (parts**2 / (np.array(fewer) - 1)).sum()
    assert student.ppf(0.95, freedom) * np.sqrt(parts.sum()) > 0.1 * found.expected_mean


def test_a_cluster_of_plots_that_are_alike_is_one_plot_and_of_independent_ones_four():
    assert Layout(1.0, 4, 1.0).location_variance == pytest.approx(1.0)
    assert Layout(1.0, 4, 0.0).location_variance == pytest.approx(0.25)
    assert Layout(0.0, 4, 0.5).location_variance == 1.0


def test_promised_precision_of_a_mix_of_clusters_and_singles_is_what_the_estimator_delivers():
    """Half the locations are clusters of 4 with correlation 0.5: variance of the ratio-of-sums mean over 4000 samples."""
    rng = np.random.default_rng(6)
    size = np.where(np.arange(60) < 30, 4, 1)
    cluster = np.repeat(np.arange(60), size)
    draws = rng.normal(0, np.sqrt(0.5), (4000, 60))[:, cluster] + rng.normal(0, np.sqrt(0.5), (4000, len(cluster)))
    promised = Layout(0.5, 4, 0.5).location_variance / 60
    assert draws.mean(axis=1).var() == pytest.approx(promised, rel=0.1)
    found = [estimate("expansion", Survey(y, np.full(len(y), 2), cluster=cluster, selection="probability")) for y in draws[:300]]
    assert np.mean([one.variance for one in found]) == pytest.approx(promised, rel=0.1)


def test_costs_decide_how_many_plots_make_a_cluster():
    """sqrt(9 / 1 x 0.8 / 0.2) = 6; near plots that are alike make clusters small."""
    assert best_plots_per_cluster(cost_of_location=9, cost_of_plot=1, correlation=0.2) == 6
    assert best_plots_per_cluster(cost_of_location=1, cost_of_plot=1, correlation=0.9) == 1


@pytest.mark.parametrize(
    ("strata", "settings", "message"),
    [
        ([], {}, "strata, a half width above 0 %"),
        ([Stratum("a", 10, 0, 5)], {}, "mean of the target over all strata is 0"),
        ([Stratum("a", 10, 5, 5, r2=1.0)], {}, "an r2 from 0 to below 1"),
        ([Stratum("a", 10, 5, 5)], {"allocation": "optimal"}, "allocation is neyman or proportional"),
    ],
)
def test_a_size_that_cannot_be_computed_is_refused(strata, settings, message):
    with pytest.raises(ValueError, match=message):
        plots_needed(strata, **settings)


# ---------------------------------------------------------------- draws


def make_frame(side=40, cell_m=25.0) -> Frame:
    """West of the middle is stratum a, east of it b."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    xy = np.column_stack([x.ravel(), y.ravel()]) * cell_m
    return Frame(xy, np.where(xy[:, 0] < side / 2 * cell_m, "a", "b"), cell_m)


@pytest.mark.parametrize("method", ["balanced", "random"])
def test_each_stratum_gets_its_locations_and_they_stand_for_its_area(method):
    drawn = draw_sample(make_frame(), {"a": 12, "b": 7}, method=method, seed=3)
    assert (drawn.stratum == "a").sum() == 12 and (drawn.stratum == "b").sum() == 7
    assert drawn.location_ha.sum() == pytest.approx(1600 * 0.0625)
    assert (drawn.xy[drawn.stratum == "a", 0] < 40 / 2 * 25 - 12.5).all()
    again = draw_sample(make_frame(), {"a": 12, "b": 7}, method=method, seed=3)
    other = draw_sample(make_frame(), {"a": 12, "b": 7}, method=method, seed=4)
    assert (again.xy == drawn.xy).all() and not np.array_equal(other.xy, drawn.xy)


@pytest.mark.parametrize("method", ["balanced", "random", "systematic"])
def test_every_place_has_the_same_chance(method):
    """1200 draws of 9 out of 36 places: counts of 300 with a standard deviation of 15, the farthest of 36 within 4.5 of those."""
    xy = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2) * 10
    frame, counts = Frame(xy, np.full(36, "a"), 10.0), np.zeros(36)
    for seed in range(1200):
        drawn = draw_sample(frame, {"a": 9}, method=method, seed=seed)
        counts[_cell(drawn.xy)] += 1
    if method != "systematic":
        assert counts.sum() == 1200 * 9
    assert np.abs(counts - 300).max() < 4.5 * 15


def test_a_systematic_draw_is_a_grid_and_its_number_is_right_on_average():
    """A spacing of 7.07 cells: 16 of 40 x 20 places on average, a spacing apart but for the cells' own size."""
    numbers, apart = [], []
    for seed in range(200):
        drawn = draw_sample(make_frame(), {"a": 16}, method="systematic", seed=seed)
        numbers.append(len(drawn.xy))
        distance, _ = cKDTree(drawn.xy).query(drawn.xy, k=2)
        apart.append(distance[:, 1].min())
    assert abs(np.mean(numbers) - 16) < 4 * np.std(numbers) / np.sqrt(200)
    assert min(apart) > 7.07 * 25 - 2 * 25


def _cell(xy: np.ndarray) -> np.ndarray:
    column, row = np.round(xy / 10).astype(int).T
    return row * 6 + column


def test_unequal_chances_are_kept_by_the_pivotal_method():
    rng = np.random.default_rng(5)
    xy, chance = rng.random((30, 2)), np.linspace(0.1, 0.7, 30)
    hits = np.zeros(30)
    for _ in range(2000):
        picked = local_pivotal(chance, xy, rng)
        assert len(picked) == 12
        hits[picked] += 1
    assert np.abs(hits / 2000 - chance).max() < 4.5 * np.sqrt(0.25 / 2000)


def test_balanced_draws_are_spread_better_than_random_ones():
    frame = make_frame()
    chance = np.full(1600, 40 / 1600)
    rng = np.random.default_rng(1)
    spread = [voronoi_imbalance(frame.xy, local_pivotal(chance, frame.xy, rng), chance) for _ in range(20)]
    loose = [voronoi_imbalance(frame.xy, rng.choice(1600, 40, replace=False), chance) for _ in range(20)]
    assert np.mean(spread) < 0.5 * np.mean(loose)


def test_balanced_draws_of_a_patchy_forest_are_more_precise_than_their_stated_error():
    """A trend across the area: the mean over draws is unbiased and varies less than simple random sampling says."""
    frame = make_frame()
    y = 100 + 0.1 * frame.xy[:, 0] + np.random.default_rng(0).normal(0, 10, 1600)
    chance, rng = np.full(1600, 40 / 1600), np.random.default_rng(1)
    means = np.array([y[local_pivotal(chance, frame.xy, rng)].mean() for _ in range(200)])
    assert abs(means.mean() - y.mean()) < 4 * means.std() / np.sqrt(200)
    assert means.var() < 0.5 * y.var() / 40


def test_clusters_and_singles_are_mixed_and_plots_outside_are_left_out_and_counted():
    drawn = draw_sample(make_frame(), {"a": 20, "b": 20}, seed=2, cluster_share=0.5, cluster_spacing_m=100.0)
    sizes = np.unique(drawn.location, return_counts=True)[1]
    clusters = np.unique(drawn.location[drawn.kind == "cluster"])
    assert len(clusters) == 20 and len(np.unique(drawn.location)) == 40
    assert sizes.max() == len(CLUSTER_SHAPES["square"]) and drawn.outside > 0
    assert len(drawn.xy) == 20 * 4 + 20 - drawn.outside
    for number in clusters:
        assert len(set(drawn.stratum[drawn.location == number])) == 1


def test_more_locations_than_places_are_refused():
    with pytest.raises(ValueError, match="stratum 'b' has 800 places for 900 locations"):
        draw_sample(make_frame(), {"b": 900}, seed=1)
