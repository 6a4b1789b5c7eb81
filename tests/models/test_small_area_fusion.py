"""Several sources for one stand: weights by hand, bias and scatter as planted, coverage of the composite."""

from __future__ import annotations

import numpy as np
import pytest

from models.inference.fusion import Source, fuse


def source(name, mean, se, **settings) -> Source:
    mean = np.array(mean, float)
    return Source(name, mean, np.broadcast_to(np.array(se, float), mean.shape), **settings)


def test_independent_sources_weigh_by_their_precision():
    """Errors of 10 and 20: weights 0.8 and 0.2, variance 1 / (1/100 + 1/400) = 80."""
    found = fuse(["s"], [source("plots", [100], 10, unbiased=True), source("map", [150], 20, bias_sd=0.0)])
    one = found.estimates["s"]
    assert one.mean == pytest.approx(110) and one.variance == pytest.approx(80)
    assert [row.weight for row in found.ledger] == pytest.approx([0.8, 0.2])
    assert [(row.source, row.mean, row.se, row.bias) for row in found.ledger] == [("plots", 100, 10, 0), ("map", 150, 20, 0)]


def test_departure_of_a_source_is_in_standard_errors_of_its_difference_from_the_composite():
    """Map minus composite is 0.8 (map - plots): 40 with an error of 0.8 sqrt(500)."""
    found = fuse(["s"], [source("plots", [100], 10, unbiased=True), source("map", [150], 20, bias_sd=0.0)])
    assert found.ledger[1].departure == pytest.approx(40 / (0.8 * np.sqrt(500)))


def test_correlated_errors_change_the_weights_by_the_textbook():
    """rho = 0.5: w1 = (400 - 100) / (100 + 400 - 200) = 1: the map adds nothing."""
    sources = [source("plots", [100], 10, unbiased=True), source("map", [150], 20, bias_sd=0.0)]
    found = fuse(["s"], sources, correlation={("map", "plots"): 0.5})
    assert [row.weight for row in found.ledger] == pytest.approx([1.0, 0.0], abs=1e-12)
    found = fuse(["s"], sources, correlation={("map", "plots"): 0.25})
    w = (400 - 50) / (500 - 100)
    assert found.ledger[0].weight == pytest.approx(w)
    assert found.estimates["s"].variance == pytest.approx(w**2 * 100 + (1 - w) ** 2 * 400 + 2 * w * (1 - w) * 50)


def test_a_source_that_would_be_subtracted_is_left_out_and_the_ledger_says_so():
    sources = [source("plots", [100], 10, unbiased=True), source("map", [150], 20, bias_sd=0.0)]
    found = fuse(["s"], sources, correlation={("map", "plots"): 0.8})
    assert found.ledger[1].weight == 0 and "left out" in found.ledger[1].note
    assert found.estimates["s"].mean == 100 and found.estimates["s"].se == 10


def test_a_possible_bias_lowers_a_sources_weight_and_widens_the_composite():
    """A record of error 10 with a bias of SD 10 counts with 200, plots of error 20 with 400."""
    found = fuse(["s"], [source("plots", [100], 20, unbiased=True), source("record", [130], 10, bias_sd=10.0)])
    one = found.estimates["s"]
    assert found.ledger[1].weight == pytest.approx(2 / 3) and one.mean == pytest.approx(120)
    assert one.variance_parts["bias"] == pytest.approx((2 / 3) ** 2 * 100) and one.variance == pytest.approx(400 / 3)


def test_a_possible_bias_in_percent_is_that_share_of_each_stands_own_value():
    """A record of error 10 that may be off by 10 %: of 100 by 10, variance 200; of 300 by 30, variance 1000; silent elsewhere."""
    nan = np.nan
    plots = source("plots", [100, 300, 50], [20, 20, 20], unbiased=True)
    record = source("record", [100, 300, nan], [10, 10, nan], bias_sd=np.array([10.0, 30.0, nan]))
    found = fuse(["a", "b", "c"], [plots, record])
    assert [row.used_se**2 for row in found.ledger if row.source == "record"] == pytest.approx([200, 1000])
    weights = [row.weight for row in found.ledger if row.source == "record"]
    assert weights == pytest.approx([400 / 600, 400 / 1400])
    variances = [found.estimates[stand].variance for stand in "abc"]
    assert variances == pytest.approx([1 / (1 / 400 + 1 / 200), 1 / (1 / 400 + 1 / 1000), 400])


def test_stands_have_what_their_sources_say_and_no_more(caplog):
    nan = np.nan
    plots = source("plots", [100, nan, nan], [10, nan, nan], unbiased=True)
    found = fuse(["both", "map only", "none"], [plots, source("map", [150, 80, nan], [20, 20, nan], bias_sd=5.0)])
    assert list(found.estimates) == ["both", "map only"]
    assert found.estimates["map only"].mean == 80 and found.estimates["map only"].variance == pytest.approx(425)
    assert "no source speaks of 1 of 3 stands" in caplog.text


def planted(rng, stands=60, *, bias=15.0, scatter=12.0):
    truth = rng.normal(150, 40, stands)
    plot_se, map_se = rng.uniform(8, 30, stands), rng.uniform(5, 15, stands)
    plots = np.where(np.arange(stands) % 2 == 0, truth + rng.normal(0, plot_se), np.nan)
    mapped = truth + bias + rng.normal(0, scatter, stands) + rng.normal(0, map_se)
    record = truth - 20 + rng.normal(0, 25, stands)
    return truth, [
        Source("plots", plots, plot_se, unbiased=True), Source("map", mapped, map_se),
        Source("record", record, np.full(stands, 25.0)),
    ]  # fmt: skip


def test_bias_and_scatter_of_a_map_are_found_where_plots_stand_beside_it():
    truth, sources = planted(np.random.default_rng(1), stands=2000)
    map_, record = fuse([str(i) for i in range(len(truth))], sources).calibrations[1:]
    assert map_.stands == 1000
    assert abs(map_.bias - 15) < 4 * map_.bias_se and map_.scatter_sd == pytest.approx(12, abs=2)
    assert abs(record.bias + 20) < 4 * record.bias_se and record.scatter_sd < 7


def test_a_source_weighs_by_what_it_is_worth_and_not_by_what_it_says_of_itself():
    """Precision of the planted map: 1 / (its stated variance + 12^2); of the record 1 / 25^2; the bias's error is negligible."""
    truth, sources = planted(np.random.default_rng(1), stands=2000)
    found = fuse([str(i) for i in range(len(truth))], sources)
    for number in range(0, 40, 2):
        rows = {row.source: row for row in found.ledger if row.stand == str(number)}
        precision = np.array([1 / sources[0].se[number] ** 2, 1 / (sources[1].se[number] ** 2 + 144), 1 / 625])
        weights = [rows[name].weight for name in ("plots", "map", "record")]
        assert weights == pytest.approx(precision / precision.sum(), abs=0.04)


def test_composites_of_planted_stands_are_unbiased_better_than_plots_and_covered():
    """100 sets of 60 stands; Monte Carlo error of the coverage about 0.8 points (the bias's error is shared within a set)."""
    rng = np.random.default_rng(2)
    errors, covered, plot_errors = [], [], []
    for _ in range(100):
        truth, sources = planted(rng)
        found = fuse([str(i) for i in range(60)], sources)
        for number, one in enumerate(found.estimates.values()):
            low, high = one.interval(90)
            covered.append(low <= truth[number] <= high)
            errors.append(one.mean - truth[number])
            if np.isfinite(sources[0].mean[number]):
                plot_errors.append(sources[0].mean[number] - truth[number])
    errors = np.array(errors).reshape(100, 60)
    assert abs(errors.mean()) < 4 * errors.mean(axis=1).std() / 10
    assert errors.std() < 0.85 * np.std(plot_errors)
    assert 84 <= 100 * np.mean(covered) <= 96


def test_naive_weighting_of_the_same_stands_is_biased_and_too_sure():
    rng = np.random.default_rng(2)
    truth, sources = planted(rng, stands=400)
    naive = [sources[0], *(Source(one.name, one.mean, one.se, unbiased=True) for one in sources[1:])]
    found = fuse([str(i) for i in range(400)], naive).estimates
    inside = [one.interval(90)[0] <= t <= one.interval(90)[1] for one, t in zip(found.values(), truth, strict=True)]
    assert np.mean(inside) < 0.7


@pytest.mark.parametrize(
    ("sources", "correlation", "message"),
    [
        ([source("map", [1, 2], 1)], None, "nothing tells the bias of source 'map': no source is unbiased by design"),
        ([source("plots", [1, np.nan], 1, unbiased=True), source("map", [1, 2], 1)], None, "1 stands have both it and plots"),
        ([source("map", [1, 2], [1, 0], bias_sd=1)], None, "a number with no error cannot be weighted"),
        ([source("map", [1, 2], 1, bias_sd=1)], {("map", "plots"): 0.5}, "is not between two of map"),
        ([source("map", [1, 2, 3], 1, bias_sd=1)], None, "3 values for 2 stands"),
        (
            [source(name, [1, 2], 1, bias_sd=1) for name in "abc"],
            {("a", "b"): 0.9, ("b", "c"): 0.9, ("a", "c"): -0.9},
            "contradict one another",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_reason(sources, correlation, message):
    with pytest.raises(ValueError, match=message):
        fuse(["a", "b"], sources, correlation=correlation)


def test_correlations_may_differ_from_stand_to_stand():
    """As in the textbook above: 0 in the first stand, 0.25 in the second, and none where a source is silent."""
    nan = np.nan
    sources = [source("plots", [100, 100, 100], 10, unbiased=True), source("map", [150, 150, nan], 20, bias_sd=0.0)]
    found = fuse(["a", "b", "c"], sources, correlation={("map", "plots"): np.array([0.0, 0.25, nan])})
    weights = {row.stand: row.weight for row in found.ledger if row.source == "plots"}
    assert weights == pytest.approx({"a": 0.8, "b": 350 / 400, "c": 1.0})


def test_degrees_of_freedom_are_those_of_satterthwaite():
    """Parts 0.8^2 100 = 64 with 4 and 0.2^2 400 = 16 with 10 degrees of freedom: 80^2 / (64^2 / 4 + 16^2 / 10)."""
    sources = [source("plots", [100], 10, unbiased=True, freedom=4), source("map", [150], 20, bias_sd=0.0, freedom=10)]
    assert fuse(["s"], sources).estimates["s"].degrees_of_freedom == pytest.approx(6400 / (1024 + 25.6))
    known = fuse(["s"], [source("plots", [100], 10, unbiased=True)]).estimates["s"]
    assert known.degrees_of_freedom == np.inf


def test_a_map_fitted_to_the_plots_is_not_held_against_them():
    """Ten above the plots in all of six stands: of a source from elsewhere that is a bias, of a fitted one it stays."""
    plots = source("plots", [100.0 + k for k in range(6)], 10, unbiased=True)
    other = source("map", [110.0 + k for k in range(6)], 10)
    told = fuse(list("abcdef"), [plots, other])
    assert told.calibrations[1].bias == pytest.approx(10) and told.estimates["a"].mean == pytest.approx(100)
    fitted = source("map", [110.0 + k for k in range(6)], 10, fitted=True)
    kept = fuse(list("abcdef"), [plots, fitted])
    assert kept.calibrations[1].bias == 0 and kept.estimates["a"].mean == pytest.approx(105)
