"""A smaller version of `benchmarks/coverage.py`: intervals of stands hold planted truths, and naive ones do not."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from benchmarks import coverage, coverage_floor, coverage_land
from benchmarks.coverage_tables import BELOW_ORACLE, GATE, per_seed

SEEDS, FEWER = range(5001, 5021), range(5001, 5013)
"""Not among those that the method was made with (1001-1012) or that the tables of docs show (2001-2200)."""


def simulated(**cells) -> pd.DataFrame:
    logging.disable(logging.WARNING)
    try:
        return coverage.simulate(**cells)
    finally:
        logging.disable(logging.NOTSET)


def stands(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["kind"] == "stock") & rows["shape"].isin(["compact", "elongated"])]


@pytest.fixture(scope="module")
def direct() -> pd.DataFrame:
    return simulated(seeds=SEEDS, layouts=("clustered",), ranges_m=(300.0,))


@pytest.fixture(scope="module")
def in_stages() -> pd.DataFrame:
    return simulated(seeds=FEWER, layouts=("mixed",), ranges_m=(1000.0,), path="hierarchical")


KNOWN_TO = {"everywhere": (1.8, 1.9), "inside": (2.8, 2.9), "outside": (2.1, 2.0)}
"""Monte Carlo error in points, of ours and of ours less the oracle's, that the seeds of a test have: the standard deviation from
seed to seed in the tables of docs (seeds from 2001: 7.9 and 8.5 of 20 seeds here; 9.6 and 10.1, 7.3 and 7.0 of 12), over the root
of the number of seeds. Stated beforehand, because an error measured in the same run is the larger, the noisier a method is, and
would let it pass the easier."""
WIDEST = 1.3
"""Half-widths over the oracle's, mean over seeds: 1.17, 1.10 and 1.13 in the tables of docs, which so many seeds know to 0.05."""


def covered(rows: pd.DataFrame, method: str) -> tuple[float, float]:
    """Percent of stands covered, mean over seeds, and its Monte Carlo standard error."""
    seeds = 100 * rows[rows["method"] == method].groupby("seed")["covered"].mean()
    return float(seeds.mean()), float(seeds.std() / np.sqrt(len(seeds)))


def holds(rows: pd.DataFrame) -> None:
    """The gate from below: 84 % and not more than 3 points below the oracle, each known to two errors stated beforehand. From
    above the width is held against the oracle's in the same seeds, which percentages near 100 tell badly. The oracle's own
    interval, which knows what the land leaves unexplained, holds the estimates: noisier ones would not lie in it."""
    by_error, apart = KNOWN_TO[rows["place"].iloc[0]]
    (ours, _), (oracle, _) = covered(rows, "ours"), covered(rows, "oracle")
    half = rows.pivot_table(index="seed", columns="method", values="half")
    wider = float((half["ours"] / half["oracle"]).mean())
    print(f"ours {ours:.1f} %, oracle {oracle:.1f} %, {wider:.2f} times as wide")
    assert ours >= GATE[0] - 2 * by_error
    assert oracle >= GATE[0] - 2 * by_error
    assert ours >= oracle - BELOW_ORACLE - 2 * apart
    assert wider <= WIDEST


def test_stand_intervals_cover_as_often_as_they_say_and_as_those_of_an_oracle(direct):
    holds(stands(direct))


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_stands_that_only_a_satellite_sees_which_learned_from_lidar_are_covered_as_those_under_the_lidar(in_stages, place):
    holds(stands(in_stages[in_stages["place"] == place]))


def test_beyond_the_lidar_intervals_are_wider_for_what_the_satellite_does_not_see(in_stages):
    """The unseen field adds an SD of nearly 40 Mg/ha to one of 50, of shorter range."""
    some = in_stages[(in_stages["method"] == "oracle") & (in_stages["size_ha"] == 1)]
    half = some.groupby("place")["half"].mean()
    assert 1.05 < half["outside"] / half["inside"] < 1.6


@pytest.mark.parametrize(("method", "most"), [("parameters", 75), ("pixels", 45)])
def test_pixels_as_if_independent_promise_far_too_much(direct, method, most):
    """Facts of the project: 26-85 % with the parameters' errors shared, 5-50 % without."""
    share, error = covered(stands(direct), method)
    assert share + 2 * error < most


def test_where_no_plots_stand_near_each_other_the_model_says_that_it_does_not_know_the_range():
    """Single plots on average 0.7 km from the next cannot tell 60 m from no correlation: never said to be identified, and
    intervals on the wide side."""
    rows = simulated(seeds=FEWER[:6], layouts=("single",), ranges_m=(60.0,), naive=False)
    assert not rows["identified"].any()
    assert covered(stands(rows), "ours")[0] >= GATE[0]


def test_seeds_are_kept_one_by_one_and_made_once(tmp_path):
    cell = {"path": "hierarchical", "regressor": "linear", "naive": False}
    assert coverage.keep(tmp_path, 5001, ["single"], [300.0], **cell)
    (file,) = tmp_path.iterdir()
    assert file.name == "hierarchical_linear_single_300_05001.parquet"
    assert not coverage.keep(tmp_path, 5001, ["single"], [300.0], **cell)
    again = simulated(seeds=[5001], layouts=["single"], ranges_m=[300.0], path="hierarchical")
    assert pd.read_parquet(file)["error"].to_numpy() == pytest.approx(again["error"].to_numpy(), rel=1e-5)


def test_coverage_is_counted_by_seed():
    """Seed 1: 1 of 2, seed 2: 2 of 2, so 75 %; deviations of a quarter to either side, standard error 25."""
    rows = pd.DataFrame(
        {"seed": [1, 1, 2, 2], "covered": [True, False, True, True], "half": [1.0, 3.0, 4.0, 4.0], "error": [3.0, 4.0, 5.0, 0.0],
         "size": 1}
    )  # fmt: skip
    found = per_seed(rows, ["size"]).iloc[0]
    assert found.tolist() == pytest.approx([75.0, 25.0, 3.0, np.sqrt(12.5)])


# ---------------------------------------------------------------- what is planted


def test_the_planted_fields_have_the_correlation_they_are_told_to_have():
    """Mean product of cells 100 m apart, over 20 fields of range 300 m: exp(-1); of both dates: 0.8."""
    apart, dates, size = [], [], []
    for seed in range(20):
        field = coverage_land.plant_residuals(seed, 300.0, nugget=0.0)
        apart.append((field[0, :, 5:] * field[0, :, :-5]).mean())
        dates.append((field[0] * field[1]).mean())
        size.append((field[1] ** 2).mean())
    assert np.mean(size) == pytest.approx(1, abs=0.02)
    assert np.mean(apart) == pytest.approx(np.exp(-1), abs=0.02)
    assert np.mean(dates) == pytest.approx(0.8, abs=0.02)


def test_what_the_satellite_does_not_see_is_as_large_and_reaches_as_far_as_the_oracle_is_told():
    """The root of the response less what the two broad fields make of it, 2 and 0.6: of SD 1.62; 100 m apart exp(-2)."""
    size, apart = [], []
    for seed in range(6):
        land = coverage_land.plant_land(seed)
        seen = 2.0 * land.predictors["broad"][0] + 0.6 * land.predictors["broad_cover"][0]
        unseen = np.sqrt(land.mean[0]) - np.sqrt(150.0) - seen
        size.append((unseen**2).mean())
        apart.append((unseen[:, 5:] * unseen[:, :-5]).mean())
    assert np.sqrt(np.mean(size)) == pytest.approx(coverage_land.UNSEEN_SD, rel=0.01)
    assert np.mean(apart) / np.mean(size) == pytest.approx(np.exp(-2), abs=0.02)


def test_a_stand_of_cells_is_as_large_as_its_name_says_and_plots_keep_clear_of_the_seam():
    land = coverage_land.plant_land(3)
    for size, shape, rows, cols in land.stands:
        ha = coverage_land.shape_of(rows, cols).area / 1e4
        assert ha == pytest.approx(size, rel=0.05), shape
        assert rows.start >= coverage_land.MARGIN and cols.stop <= coverage_land.SIDE - coverage_land.MARGIN
    for layout, (clusters, each, single) in coverage_land.LAYOUTS.items():
        for strip in (False, True):
            rows, cols, names = coverage_land.draw_plots(3, layout, strip=strip)
            assert len(rows) == clusters * each + single and len(set(names)) == clusters + single
            assert min(rows.min(), cols.min()) >= coverage_land.MARGIN
            assert not strip or {coverage_land.of_strip(slice(c, c + 1)) for c in cols} == {"inside"}


# ---------------------------------------------------------------- the floor


def test_with_plots_that_tell_nothing_the_narrowest_interval_is_that_of_the_longest_range():
    """All likelihoods alike: one half-width for all, the least that covers 87 % of a normal error of SD 3: 1.514 x 3."""
    told = coverage_floor.Told(np.zeros((4, 50, 4)), np.tile(np.array([0.5, 1.0, 2.0, 3.0]), (50, 1, 1)))
    least, covered = coverage_floor.narrowest(told, 1, 0)
    assert least == pytest.approx(1.5141 * 3 / 1.6449, rel=2e-3)
    assert covered[1] > 99.9 and covered[3] == pytest.approx(87, abs=0.1)


def test_with_plots_that_tell_all_the_narrowest_interval_is_nearly_the_oracles():
    """Each truth is known for certain: 87 % of its own, 1.514 / 1.645 of what covers 90 %."""
    likelihood = np.where(np.eye(4, dtype=bool)[:, None, :], 0.0, -200.0) * np.ones((4, 50, 4))
    told = coverage_floor.Told(likelihood, np.tile(np.array([0.5, 1.0, 2.0, 3.0]), (50, 1, 1)))
    for truth in (0, 3):
        least, covered = coverage_floor.narrowest(told, truth, 0)
        assert least == pytest.approx(1.5141 / 1.6449, rel=2e-3) and covered[truth] == pytest.approx(87, abs=0.1)
