"""Sizes, allocations and draws of samples: textbook numbers, equal chances, balance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import t as student

from models.inference.estimators import estimate
from models.inference.sample_draw import (
    Frame,
    cluster_offsets,
    clusters_in,
    draw_sample,
    local_pivotal,
    spread_of,
    voronoi_imbalance,
)
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
        ([], {}, "no stratum to draw plots in"),
        ([Stratum("a", 10, 0, 5)], {}, "mean of the target over all strata is 0"),
        ([Stratum("a", 10, 5, 5, r2=1.0)], {}, "an r2 from 0 to below 1"),
        ([Stratum("a", 10, 5, 5)], {"allocation": "optimal"}, "allocation is neyman or proportional"),
        ([Stratum("a", 10, 5, 5)], {"confidence_percent": 190}, "above 50 % and below 100 %, such as 90; got 190"),
        ([Stratum("a", 10, 5, 5)], {"confidence_percent": 0.9}, "above 50 % and below 100 %, such as 90; got 0.9"),
        ([Stratum("a", 10, 5, 5)], {"half_width_percent": float("nan")}, "half width of the interval is above 0 %"),
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
    assert drawn.weight.sum() == pytest.approx(1600 * 0.0625)
    assert (drawn.xy[drawn.stratum == "a", 0] < 40 / 2 * 25 - 12.5).all()
    again = draw_sample(make_frame(), {"a": 12, "b": 7}, method=method, seed=3)
    other = draw_sample(make_frame(), {"a": 12, "b": 7}, method=method, seed=4)
    assert (again.xy == drawn.xy).all() and not np.array_equal(other.xy, drawn.xy)


def make_stand(cells=6) -> Frame:
    """One stand of 60 m x 60 m."""
    xy = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2) * 10.0
    return Frame(xy, np.full(cells**2, "a"), 10.0)


@pytest.mark.parametrize("method", ["balanced", "random", "systematic"])
def test_every_place_has_the_same_chance(method):
    """1200 draws of 9 out of 36 places: counts of 300 with a standard deviation of up to 17, the farthest of 36 within 4.5."""
    counts = np.zeros(36)
    for seed in range(1200):
        np.add.at(counts, _cell(draw_sample(make_stand(), {"a": 9}, method=method, seed=seed).xy), 1)
    if method != "systematic":
        assert counts.sum() == 1200 * 9
    assert np.abs(counts - 300).max() < 4.5 * np.sqrt(1200 * 9 / 36 * 35 / 36)


@pytest.mark.parametrize(
    ("shape", "spacing_m", "plots", "middles_ha"),
    [
        ("square", 50, 4, 1.21),  # four squares of 60 m, 50 m apart: 110 m x 110 m
        ("line", 20, 4, 0.72),  # 60 m and three steps of 20 m: 120 m x 60 m
        ("l", 20, 5, 0.84),  # 100 m x 60 m, and 40 m x 60 m beside it
    ],
)
@pytest.mark.parametrize("method", ["balanced", "random", "systematic"])
@pytest.mark.parametrize("cluster_share", [1.0, 0.5])
def test_every_place_has_the_same_chance_to_become_a_plot_of_a_cluster_too(
    shape, spacing_m, plots, middles_ha, method, cluster_share
):
    """9 locations: singles are spread over 0.36 ha, middles of clusters over the area from which one of their plots hits it.

    A location hits a place at most once, so a count has at most Poisson's standard deviation; the farthest of 36 lies within
    4.5 of those. Middles drawn in the stand itself, as was done once, gave its corner 0.34 and its inside 1.4 of the chance.
    """
    frame = make_stand()
    clusters, counts, draws = clusters_in(frame, cluster_offsets(shape, spacing_m)), np.zeros(36), 250
    per_ha = 9 * ((1 - cluster_share) / 0.36 + cluster_share * plots / middles_ha)
    shares = []
    for seed in range(draws):
        drawn = draw_sample(frame, {"a": 9}, method=method, seed=seed, cluster_share=cluster_share, clusters=clusters)
        np.add.at(counts, _cell(drawn.xy), 1)
        shares.append(len(np.unique(drawn.location[drawn.kind == "cluster"])))
        assert drawn.weight == pytest.approx(1 / per_ha)
    expected = draws * per_ha * 0.01
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)
    assert abs(np.mean(shares) - 9 * cluster_share) < 4 * np.std(shares) / np.sqrt(draws) + 1e-9


def test_middles_of_clusters_lie_as_far_out_as_one_plot_reaches():
    """A square of 30 m around a stand of 60 m: 36 x 4 / 81 plots on average; the middle 30 m x 30 m have all four of them.

    Squares: 9 cells with 4 plots, 36 with 2 along the sides, 36 with 1 at the corners.
    """
    frame = make_stand()
    middles = clusters_in(frame, cluster_offsets("square", 30)).middles["a"]
    assert middles.share.sum() == pytest.approx(81) and middles.size == pytest.approx(144 / 81)
    assert middles.square_size == pytest.approx((9 * 16 + 36 * 4 + 36 * 1) / 81)


def test_a_cell_that_a_border_cuts_has_the_chance_of_its_part_and_plots_lie_in_it():
    """The stand ends at x = 12 m: of the second cell, from 10 to 20 m, a fifth."""
    frame = Frame(np.array([[5.0, 5.0], [15.0, 5.0]]), np.array(["a", "a"]), 10.0, np.array([1.0, 0.2]))
    drawn = [
        draw_sample(frame, {"a": 1}, seed=seed, stratum_at=lambda xy: np.where(xy[:, 0] < 12, "a", "")).xy[0, 0]
        for seed in range(1200)
    ]
    assert max(drawn) < 12
    assert np.mean(np.array(drawn) > 10) == pytest.approx(2 / 12, abs=4 * np.sqrt(1 / 6 * 5 / 6 / 1200))


def test_a_cell_without_a_point_in_its_stratum_names_the_stand_layer():
    frame = Frame(np.array([[5.0, 5.0]]), np.array(["a"]), 10.0)
    with pytest.raises(ValueError, match="stands of two strata that lie on top of each other"):
        draw_sample(frame, {"a": 1}, seed=1, stratum_at=lambda xy: np.full(len(xy), "b"))


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ("star", {}, "a cluster is square, line, l; got 'star'"),
        ("square", {"spacing_m": -5}, "spacing is above 0 m; got -5"),
        ("square", {"spacing_m": float("nan")}, "spacing is above 0 m; got nan"),
        ("line", {"plots": 1}, "a cluster has 2 to 26 plots, got 1"),
    ],
)
def test_a_cluster_that_cannot_be_laid_out_is_refused(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        cluster_offsets(shape, **{"spacing_m": 60, **settings})


def test_clusters_of_any_number_of_plots_keep_their_spacing_and_middle():
    for shape in ("square", "line", "l"):
        for plots in (2, 3, 6, 7):
            offsets = cluster_offsets(shape, 50, plots)
            nearest, _ = cKDTree(offsets).query(offsets, k=2)
            assert len(offsets) == plots and offsets.mean(axis=0) == pytest.approx([0, 0])
            assert nearest[:, 1] == pytest.approx(50)
    assert np.ptp(cluster_offsets("l", 50, 7), axis=0) == pytest.approx([150, 150])


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
    spread = [voronoi_imbalance(frame.xy, frame.xy[local_pivotal(chance, frame.xy, rng)], chance) for _ in range(20)]
    loose = [voronoi_imbalance(frame.xy, frame.xy[rng.choice(1600, 40, replace=False)], chance) for _ in range(20)]
    assert np.mean(spread) < 0.5 * np.mean(loose)


def test_imbalance_by_hand():
    """Four places in a row with half a chance each: at both ends each stands for two, one; else for one and for three, 1/4."""
    row = np.column_stack([np.arange(4) * 10.0, np.zeros(4)])
    chance = np.full(4, 0.5)
    assert voronoi_imbalance(row, row[[0, 3]], chance) == 0
    assert voronoi_imbalance(row, np.array([[0.0, 0], [11.0, 0]]), chance) == pytest.approx(((0.5 - 1) ** 2 + (1.5 - 1) ** 2) / 2)


@pytest.mark.parametrize(("method", "low", "high"), [("balanced", 0.0, 0.5), ("random", 0.6, 1.6)])
def test_the_spread_of_a_sample_is_told_beside_that_of_places_that_fall_anywhere(method, low, high):
    """A balanced draw is less than half as uneven, a random one about as uneven: one draw of 40 within 0.6-1.6 of the mean."""
    frame, locations = make_frame(), {"a": 20, "b": 20}
    drawn = draw_sample(frame, locations, method=method, seed=3)
    told, loose = spread_of(frame, drawn, locations, seed=3)
    assert low < told / loose < high


def test_balanced_draws_of_a_patchy_forest_are_more_precise_than_their_stated_error():
    """A trend across the area: the mean over draws is unbiased and varies less than simple random sampling says."""
    frame = make_frame(side=20, cell_m=50.0)
    y = 100 + 0.1 * frame.xy[:, 0] + np.random.default_rng(0).normal(0, 10, 400)
    chance, rng = np.full(400, 40 / 400), np.random.default_rng(1)
    means = np.array([y[local_pivotal(chance, frame.xy, rng)].mean() for _ in range(200)])
    assert abs(means.mean() - y.mean()) < 4 * means.std() / np.sqrt(200)
    assert means.var() < 0.5 * y.var() / 40


def test_clusters_and_singles_are_mixed_and_plots_outside_are_left_out_and_counted():
    clusters = clusters_in(make_frame(), cluster_offsets("square", 100.0))
    drawn = draw_sample(make_frame(), {"a": 20, "b": 20}, seed=2, cluster_share=0.5, clusters=clusters)
    sizes = np.unique(drawn.location, return_counts=True)[1]
    groups = np.unique(drawn.location[drawn.kind == "cluster"])
    assert abs(len(groups) - 20) <= 4 and len(np.unique(drawn.location)) == 40
    assert sizes.max() == 4 and drawn.outside > 0
    assert len(drawn.xy) == len(groups) * 4 + (40 - len(groups)) - drawn.outside
    for number in groups:
        assert len(set(drawn.stratum[drawn.location == number])) == 1


def test_more_locations_than_places_are_refused():
    with pytest.raises(ValueError, match="stratum 'b' has 800 places for 900 locations"):
        draw_sample(make_frame(), {"b": 900}, seed=1)
