"""What a study is told where its plots cannot carry its map: a sentence each, and no map that looks like one.

Fewer plots than a regressor needs, constant or missing predictors, plots on missing pixels and one cluster of plots are in
`tests/models/test_regressors_against_others.py`; plots outside the area in `test_step_plots.py`; other units in
`test_step_estimate.py`.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from conftest import make_plots

from models.inference.fitted import fit_target
from pipeline.steps.stands import check_extrapolation


def make_totals(*, outside_ha, estimand="agb_2019"):
    """Two stands, 60 ha of forest and 40 ha of fields; fields are in the domain."""
    stands = [("a", 40.0, 40.0, 0.0), ("b", 60.0, 20.0, outside_ha)]
    rows = [
        {"estimand": estimand, "stand": stand, "part": part, "covered_ha": covered, "forest_ha": forest,
         "in_domain_ha": covered - out}
        for stand, covered, forest, out in stands
        for part in ("all", "interior")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_stock_that_is_mostly_extrapolated_is_refused_with_its_share_and_what_to_change():
    # 54 of 60 ha of forest
    with pytest.raises(ValueError, match=r"90 % of the forest of agb_2019 lies outside .*at most 80 % may .*fewer predictors"):
        check_extrapolation(make_totals(outside_ha=54.0), 80.0)
    check_extrapolation(make_totals(outside_ha=54.0), 100.0)
    with pytest.raises(ValueError, match=r"out of the stands; predictor 'zmean' of 2024 is of another scale$"):
        check_extrapolation(make_totals(outside_ha=54.0), 80.0, ["predictor 'zmean' of 2024 is of another scale"])


def test_a_stock_that_is_half_extrapolated_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        check_extrapolation(make_totals(outside_ha=29.0), 80.0)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        check_extrapolation(make_totals(outside_ha=36.0), 80.0)
    assert "60 % of the forest of agb_2019 lies outside the area of applicability: mostly extrapolated" in caplog.text


def test_a_study_without_forest_is_not_extrapolated():
    check_extrapolation(make_totals(outside_ha=0.0).assign(forest_ha=0.0), 80.0)


@pytest.mark.parametrize(("regressor", "warned"), [("linear", True), ("default", True), ("ridge", False), ("mix", False)])
def test_more_predictors_than_the_clusters_carry_are_warned_of_where_nothing_shrinks_them(regressor, warned):
    plots = make_plots(n=14, noise=10)
    plots["slope_deg"] = np.random.default_rng(2).uniform(0, 30, 14)
    sets = {"lidar": ("zmean", "cover_2m", "slope_deg")}
    model, _ = fit_target(plots, sets, target="agb", column="agb_mg_ha", regressor=regressor)
    said = [one for one in model.warnings if "3 predictors for 14 clusters of plots: with fewer than 5 for each" in one]
    assert bool(said) == warned
    more, _ = fit_target(make_plots(n=15), {"lidar": sets["lidar"][:2]}, target="agb", column="agb_mg_ha", regressor=regressor)
    assert not [one for one in more.warnings if "for each" in one]
