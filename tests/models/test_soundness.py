"""Tables of plots that no model can be fitted to are refused in a sentence that names the plots; what is missing is counted."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from conftest import make_plots

from models.inference.fitted import fit_target
from models.inference.soundness import check_targets, resting_on_one, without_constant


def changed(**columns):
    """Twelve plots of which column values are replaced: {column: {row: value}}."""
    plots = make_plots(n=12)
    for name, values in columns.items():
        for row, value in values.items():
            plots[name] = plots[name].astype(object) if value is None else plots[name]
            plots.loc[row, name] = value
    return plots


def everywhere(**columns):
    return make_plots(n=12).assign(**columns)


@pytest.mark.parametrize(
    ("plots", "said"),
    [
        (changed(agb_mg_ha={3: -4.5}), r"agb_mg_ha is negative at 1 of 12 plot .*p003 \(2019\); the least is -4\.5\)"),
        (changed(agb_mg_ha={0: np.inf, 5: -np.inf}), r"infinite at 2 of 12 plot measurements \(p000 \(2019\), p005 \(2019\)\)"),
        (everywhere(agb_mg_ha=120.0), "agb_mg_ha is 120 at all 12 plot measurements"),
        (everywhere(area_ha=np.nan), "none of 12 plot measurements says how large its plot is"),
        (changed(area_ha={2: 0.0}), r"area_ha is not above zero at 1 of 12 .*p002"),
        (changed(cluster={4: None}), r"1 of 12 plot measurements have no cluster \(p004 \(2019\)\): give every plot one"),
        (changed(x={7: np.nan}), r"1 of 12 plot measurements have no position \(p007"),
        (everywhere(x=500_000.0, y=2_999_000.0), r"all 12 clusters of plots lie at one place \(500000, 2999000\)"),
    ],
    ids=["negative", "infinite", "constant", "no area", "zero area", "no cluster", "nowhere", "one place"],
)
def test_plots_that_no_model_can_be_fitted_to_are_refused_with_their_names(plots, said):
    with pytest.raises(ValueError, match=said):
        check_targets(plots, "agb_mg_ha", "lidar", "sqrt")
    with pytest.raises(ValueError, match="no model of agb can be fitted"):
        fit_target(plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha")


def test_sound_plots_pass_and_those_without_the_target_are_counted_and_named(caplog):
    with caplog.at_level(logging.INFO):
        check_targets(changed(agb_mg_ha={1: np.nan, 2: np.nan}), "agb_mg_ha", "lidar", "sqrt")
    assert "2 of 12 plot measurements lack agb_mg_ha and are not used: p001 (2019), p002 (2019)" in caplog.text


def test_a_target_below_zero_that_no_root_is_taken_of_is_fitted_and_said():
    plots = changed(agb_mg_ha={3: -4.5})
    model, left_out = fit_target(plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", transform="none")
    assert left_out["observed"].min() == -4.5
    assert any("agb_mg_ha is negative at 1 of 12" in sentence for sentence in model.warnings)


def test_bare_plots_and_an_area_that_some_do_not_state_are_no_fault():
    check_targets(changed(agb_mg_ha={1: 0.0}, area_ha={3: np.nan}), "agb_mg_ha", "lidar", "sqrt")


def test_plots_of_one_cluster_may_share_a_place():
    """Whether one cluster is enough is said with the number of clusters."""
    check_targets(everywhere(x=1.0, y=1.0, cluster="a"), "agb_mg_ha", "lidar", "sqrt")


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, None),
        (5.0, None),  # 500 Mg/ha: dense tropical forest
        (12.0, "the mean of agb_mg_ha at 12 plot measurements is 1200 Mg/ha: only old forests of giant trees"),
        (80.0, r"agb_mg_ha is up to 1\.24e\+04 Mg/ha, above 5800 at 9 of 12 plot measurements \(p003 .*no forest is known"),
    ],
    ids=["as_usual", "dense", "times_12", "times_80"],
)
def test_biomass_that_hardly_any_forest_of_the_world_holds_is_asked_about(factor, said):
    # 45, 55, ... 155 Mg/ha, mean 100; times 80 those from 75 on are above 5,800
    plots = make_plots(n=12).assign(agb_mg_ha=factor * np.linspace(45, 155, 12))
    notes = check_targets(plots, "agb_mg_ha", "lidar", "sqrt")
    assert not notes if said is None else re.search(said, notes[0]) and len(notes) == 1
    as_volume = plots.rename(columns={"agb_mg_ha": "volume_m3_ha"})
    assert not check_targets(as_volume, "volume_m3_ha", "lidar", "sqrt")


def test_a_predictor_that_differs_at_one_cluster_alone_is_named_with_it():
    plots = make_plots(n=25, noise=10)
    plots["snags"] = np.where(plots["plot"] == "p007", 4.0, 0.0)
    model, _ = fit_target(plots, {"lidar": ("zmean", "snags")}, target="agb", column="agb_mg_ha")
    (said,) = [one for one in model.warnings if "snags" in one]
    assert "predictor 'snags' is 0 or nearly so at 24 of 25 plot measurements and 4 in cluster c007" in said
    plots.loc[3, "snags"] = 4.0  # two plots tell it
    model, _ = fit_target(plots, {"lidar": ("zmean", "snags")}, target="agb", column="agb_mg_ha")
    assert not [one for one in model.warnings if "snags" in one]


def test_a_predictor_that_a_whole_cluster_shares_is_told_by_that_cluster():
    X = np.array([[0.01, 3], [0.0, 4], [-0.01, 9], [0.0, 1], [5.0, 2], [5.2, 8]])
    cluster = np.array(["a", "a", "b", "b", "c", "c"])
    (said,) = resting_on_one(X, cluster, ["open", "zmean"], "lidar")
    assert "'open' is 0 or nearly so at 4 of 6 plot measurements and 5.1 in cluster c" in said


def test_a_default_predictor_that_is_constant_at_the_plots_is_left_out_and_said():
    """A closed canopy: cover is 100 % wherever the target and all predictors of the set are known."""
    plots = make_plots(n=12).assign(cover_2m=100.0, zq95=np.arange(12.0))
    plots.loc[3, ["cover_2m", "agb_mg_ha"]] = [40.0, np.nan]
    sets, notes = without_constant(plots, {"lidar": ["zmean", "cover_2m", "zq95"], "flat": ["cover_2m"]}, "agb_mg_ha")
    assert sets == {"lidar": ["zmean", "zq95"], "flat": ["cover_2m"]}, "a set of which nothing would be left stays"
    (note,) = notes
    assert re.search("set lidar: cover_2m, .* is 100 at all 11 plot measurements and left out", note)
    varied = plots.assign(cover_2m=np.linspace(90, 100, 12))
    assert without_constant(varied, {"lidar": ["zmean", "cover_2m"]}, "agb_mg_ha") == ({"lidar": ["zmean", "cover_2m"]}, [])
