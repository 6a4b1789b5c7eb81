"""The land and the plots of `benchmarks.coverage_strata` are what they say; its tables stand in docs/methods/strata.md."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import coverage_land, coverage_strata
from benchmarks.coverage_strata import CASES, LEVEL_SD, RARE, UNSEEN
from models.inference.stratum_names import PREFIX


@pytest.fixture(scope="module")
def lands():
    return {truth: coverage_strata.plant(5, "unequal", truth) for truth in coverage_strata.TRUTHS}


def test_every_stand_lies_wholly_in_its_stratum_and_none_on_another(lands):
    land, number = lands["differ"]
    taken, names = np.zeros(number.shape, int), list(CASES["unequal"])
    for hectares, stratum, rows, cols in land.stands:
        assert (number[rows, cols] == names.index(stratum)).all()
        assert (land.predictors[PREFIX + stratum][0][rows, cols] == 1).all()
        assert number[rows, cols].size * 0.04 == pytest.approx(hectares, rel=0.05)
        taken[rows, cols] += 1
    assert taken.max() == 1 and len(land.stands) == 4 * 4 * 2 * 2
    shares = sum(land.predictors[PREFIX + name] for name in names)
    assert (shares == 1).all()


def test_strata_differ_by_one_level_each_on_the_root_scale_or_not_at_all(lands):
    (differ, number), (alike, same) = lands["differ"], lands["alike"]
    assert (number == same).all() and (differ.predictors["height"] == alike.predictors["height"]).all()
    there = (alike.mean[0] > 25) & (differ.mean[0] > 25)
    level = np.sqrt(differ.mean[0]) - np.sqrt(alike.mean[0])
    found = [level[there & (number == k)] for k in range(4)]
    assert max(np.ptp(one) for one in found) < 1e-9
    assert 0 < np.std([one[0] for one in found]) < 3 * LEVEL_SD
    # heights of the land as it was planted, without what strata are taller by, have one intercept and slope everywhere
    root = np.sqrt(np.where(there, alike.mean[0], np.nan)) - 2 * alike.predictors["height"][0] - alike.predictors["cover"][0]
    assert np.nanmax(np.abs(root - np.sqrt(coverage_land.MEAN))) < 1e-9


@pytest.mark.parametrize(("layout", "plots", "clusters"), [("mixed", 80, 50), ("clustered", 81, 21), ("single", 80, 80)])
def test_of_unequal_strata_one_has_five_plots_in_few_clusters_and_one_has_none(lands, layout, plots, clusters):
    _, number = lands["differ"]
    rows, cols, cluster = coverage_strata.draw_plots(5, layout, "unequal", number)
    stratum = np.array(list(CASES["unequal"]))[number[rows, cols]]
    assert len(rows) == plots and len(np.unique(cluster)) == clusters
    assert (stratum == RARE).sum() == 5 and not (stratum == UNSEEN).any()
    assert len(np.unique(cluster[stratum == RARE])) == (5 if layout == "single" else 2)
