"""Strata in models: closed forms of mixed models, planted levels that come back, intervals that hold, and sentences."""

from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest
from conftest import make_plots

from models.inference import diagnostics
from models.inference.fitted import _refitted, fit_target, predict_left_out, rows_of
from models.inference.hierarchical import fit_in_stages
from models.inference.residuals import Structure
from models.inference.strata import DOUBT, levels_told
from models.inference.stratum_names import NO_STRATUM, PREFIX
from models.inference.target_model import TargetModel
from models.regressors import alive, mix, plain_of
from models.regressors.linear import Linear
from models.regressors.mixed_effects import MixedEffects, Variances, penalty_of, products_of, variances_of
from models.regressors.smoothers import Neighbours

LIDAR = {"lidar": ("zmean",)}
LEVELS = {"spruce": 1.0, "pine": -0.3, "oak": -0.9}


@pytest.fixture(autouse=True)
def known_structure(monkeypatch):
    """How residuals hang together is not what is tested here, and finding it takes longest."""
    monkeypatch.setattr(diagnostics, "spatial_structure", lambda *_, **__: Structure.known(300.0, 0.5))


def in_strata(plots: pd.DataFrame, stratum, levels=LEVELS) -> pd.DataFrame:
    """The plots with a level of their stratum added on the square-root scale, and shares in every stratum."""
    stratum = np.asarray(stratum, dtype=object)
    level = np.array([levels.get(one, 0.0) for one in stratum])
    shares = {PREFIX + name: (stratum == name).astype(float) for name in (*levels, NO_STRATUM)}
    return plots.assign(agb_mg_ha=(np.sqrt(plots["agb_mg_ha"]) + level) ** 2, **shares)


def make_strata(n=90, *, counts=(40, 30, 20), seed=1, levels=LEVELS, noise=1.0, per_cluster=1, slope=()):
    """Plots of sqrt(agb) = 3 + 0.5 zmean + level (+ slope x zmean) + noise; spruce is 4 m higher than the others."""
    plots = make_plots(n=n, per_cluster=per_cluster, seed=seed, noise=0.0, spread_m=30_000.0)
    rng, stratum = np.random.default_rng([seed, 7]), np.repeat(list(levels), counts)
    zmean = plots["zmean"] + 4.0 * (stratum == "spruce")
    steeper = np.array([dict(slope).get(one, 0.0) for one in stratum])
    plots = plots.assign(zmean=zmean, agb_mg_ha=(3 + (0.5 + steeper) * zmean + noise * rng.normal(size=n)) ** 2)
    return in_strata(plots, stratum, levels)


def fit(plots, sets=LIDAR, *, how="levels", **options):
    return fit_target(plots, sets, target="agb", column="agb_mg_ha", strata=how, **options)


def places(z, stratum, names=(*LEVELS, NO_STRATUM)):
    """Predictors of places of one stratum."""
    return {"zmean": np.asarray(z, float), **{PREFIX + name: np.full(len(z), float(name == stratum)) for name in names}}


# ---------------------------------------------------------------- closed forms


def test_products_are_those_through_the_inverse_of_the_correlation_in_clusters():
    cluster, alike = np.array([0, 1, 0, 2, 1, 0]), np.array([0.0, 0.2, 0.7])
    table = np.random.default_rng(1).normal(size=(6, 3))
    products, log_scale = products_of(table, cluster, np.bincount(cluster), alike)
    for number, one in enumerate(alike):
        correlation = np.where(cluster[:, None] == cluster, one, 0.0) + (1 - one) * np.eye(6)
        assert products[number] == pytest.approx(table.T @ np.linalg.solve(correlation, table), rel=1e-10)
        assert log_scale[number] == pytest.approx(np.linalg.slogdet(correlation)[1], abs=1e-10)


def blup(F, Z, y, *, of_levels, of_plots):
    """Fixed effects and levels by generalised least squares and V inverse (Battese, Harter & Fuller 1988), no penalty."""
    V = of_levels * Z @ Z.T + of_plots * np.eye(len(y))
    inverse = np.linalg.inv(V)
    fixed = np.linalg.solve(F.T @ inverse @ F, F.T @ inverse @ y)
    return fixed, of_levels * Z.T @ inverse @ (y - F @ fixed)


def machine_of(plots, *, alone=True, **options):
    """A machine that has learned from plots on the target's own scale, with what it learned from."""
    shares = plots[[PREFIX + name for name in LEVELS]].to_numpy()
    z = plots["zmean"].to_numpy()
    X = np.column_stack([(z - z.mean()) / z.std(), shares])
    y = np.sqrt(plots["agb_mg_ha"].to_numpy())
    cluster = np.arange(len(y)) if alone else plots["cluster"].to_numpy()
    machine = MixedEffects("none", 0.0, (1, 2, 3), **options).learned(X, y, cluster, np.ones(4, bool))
    return machine, X, y


def test_levels_are_the_best_linear_unbiased_predictors_of_random_effects():
    machine, X, y = machine_of(make_strata(n=36, counts=(20, 12, 4)))
    fixed, levels = blup(
        np.column_stack([np.ones(36), X[:, 0]]), X[:, 1:], y, of_levels=machine.level_sd**2,
        of_plots=machine.penalty[0] * machine.level_sd**2,
    )  # fmt: skip
    params = machine.fit(X, y, np.ones(4, bool))
    assert params[1:3] == pytest.approx(fixed, rel=1e-6) and params[3:6] == pytest.approx(levels, rel=1e-6)
    assert params[6] == 0.0 and len(params) == machine.size(4)
    assert machine.penalty[1:3] == machine.penalty[:2]  # each plot by itself: the same whatever their number


def test_what_shrinking_and_residuals_do_is_henderson_s_error_of_prediction():
    """The inverse of the mixed model equations times the plots' variance, which no jackknife of a shrunk level reaches."""
    machine, X, y = machine_of(make_strata(n=36, counts=(20, 12, 4)))
    of_plots = machine.penalty[0] * machine.level_sd**2
    design = np.column_stack([np.ones(36), X])
    inverse = np.linalg.inv(design.T @ design + np.diag([0, 0, *machine.penalty[:3]]))
    params = machine.fit(X, y, np.ones(4, bool))
    rows = machine.shrinking(X, y, np.ones(4, bool), params)[:, 1:6]
    sampling = of_plots * inverse @ design.T @ design @ inverse
    assert rows.T @ rows + sampling == pytest.approx(of_plots * inverse, rel=1e-5, abs=1e-9)


def test_a_stratum_without_plots_errs_by_the_whole_spread_of_levels_and_is_predicted_as_all():
    machine, X, y = machine_of(make_strata(n=36, counts=(20, 12, 4)))
    params = machine.fit(X, y, np.ones(4, bool))
    there = np.zeros((1, 4))
    gradient = machine.gradient(params, there)[0]
    assert machine.mean(params, there)[0] == pytest.approx(params[1])
    assert gradient.tolist() == [0, 1, 0, 0, 0, 0, 1]  # ratio, level of all, predictor, three strata, elsewhere
    rows = machine.shrinking(X, y, np.ones(4, bool), params)
    assert np.linalg.norm(rows[:, 6]) == pytest.approx(machine.level_sd)


def test_a_penalty_is_the_variance_of_a_mean_over_that_of_levels():
    """Six plots in two clusters of four and two: variance of their mean (16 + 4) / 36 x 2 + 3 / 6, times 6, over 0.5."""
    column, cluster = np.array([1.0] * 6 + [0, 0]), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    assert penalty_of(column, cluster, Variances(2.0, 3.0, (0.5,)), 0.5) == pytest.approx(6 * (20 / 36 * 2 + 3 / 6) / 0.5)
    assert penalty_of(np.zeros(8), cluster, Variances(2.0, 3.0, (0.5,)), 0.5) == 1.0


def test_variances_of_levels_clusters_and_plots_come_back():
    """40 strata of 4 clusters of 5 plots with variances 0.64, 0.25 and 1; 60 repeats, Monte Carlo error below 0.02."""
    rng, found = np.random.default_rng(3), []
    stratum, cluster = np.arange(800) // 20, np.arange(800) // 5
    kind = (stratum[:, None] == np.arange(40)).astype(float)
    for _ in range(60):
        y = 0.8 * rng.normal(size=40)[stratum] + 0.5 * rng.normal(size=160)[cluster] + rng.normal(size=800)
        one = variances_of(y, np.ones((800, 1)), [kind], cluster)
        found.append((one.random[0], one.between, one.within))
    assert np.mean(found, axis=0) == pytest.approx([0.64, 0.25, 1.0], abs=0.06)


# ---------------------------------------------------------------- planted levels


def test_intervals_hold_in_every_stratum_with_few_plots_and_with_none():
    """80 planted forests: three strata of 20 to 40 plots, one with two plots and one with none, all departures drawn anew.

    Monte Carlo error of a coverage 3.4 points: held against three of them. Variances are added up as `stands` does: what plots'
    residuals do or the jackknife, whichever is more, and what shrinking leaves.
    """
    z, names = np.linspace(8, 22, 8), (*LEVELS, "few", "unseen")
    held, squares = {name: [] for name in names}, {how: {name: [] for name in names} for how in ("none", "levels")}
    for seed in range(80):
        levels = dict(zip(names, 0.8 * np.random.default_rng([seed, 1]).normal(size=5), strict=True))
        plots = make_strata(n=92, counts=(40, 30, 20, 2), seed=seed, levels={name: levels[name] for name in names[:4]})
        for how in ("levels", "none") if seed < 30 else ("levels",):
            model, _ = fit(plots, how=how)
            for name in names:
                found = model.predict(places(z, name, (*levels, NO_STRATUM)), 2019)
                off = found["mean"].mean() - np.mean((3 + 0.5 * z + levels[name]) ** 2 + 1.0)  # the noise's square is in the mean
                squares[how][name].append(off**2)
                if how == "levels":
                    gradient = found["gradient"].astype(float).mean(axis=0)
                    sampling = max(((rows @ gradient) ** 2).sum() for rows in (model.influence, model.sets[0].sample.influence))
                    held[name].append(off**2 <= 1.662**2 * (sampling + ((model.shrunk @ gradient) ** 2).sum()))  # t of 0.95, 91
    error = {how: {name: float(np.sqrt(np.mean(one))) for name, one in by.items()} for how, by in squares.items()}
    covered = {name: float(np.mean(one)) for name, one in held.items()}
    print("root mean squared error", error, "covered", covered)
    assert min(covered.values()) >= 0.80
    for name in LEVELS:
        assert error["levels"][name] < 0.5 * error["none"][name]
    assert error["levels"]["few"] < error["none"]["few"]  # two plots do no harm, and already tell


def test_the_bias_of_each_stratum_vanishes_with_levels_and_stays_without():
    """15 forests with the same departures; Monte Carlo error of a bias about 1 Mg/ha."""
    z, bias = np.linspace(8, 22, 8), {how: dict.fromkeys(LEVELS, 0.0) for how in ("none", "levels")}
    for seed in range(15):
        plots = make_strata(seed=seed)
        for how, told in bias.items():
            model, _ = fit(plots, how=how)
            for name, level in LEVELS.items():
                found = model.predict(places(z, name), 2019)["mean"].mean()
                told[name] += (found - np.mean((3 + 0.5 * z + level) ** 2 + 1.0)) / 15
    assert bias["none"]["spruce"] < -10 and bias["none"]["pine"] > 5 and bias["none"]["oak"] > 10
    assert max(abs(one) for one in bias["levels"].values()) < 3


def test_strata_that_do_not_differ_do_little_harm():
    """20 forests of equal strata, one of them with three plots: the mean square error of their levels grows by less than half
    of what least squares on the same columns adds."""
    z, alike = np.linspace(8, 22, 8), dict.fromkeys([*LEVELS, "few"], 0.0)
    squares = {"none": [], "levels": [], "free": []}
    for seed in range(20):
        plots = make_strata(n=90, counts=(45, 30, 12, 3), seed=seed, levels=alike)
        truth = np.mean((3 + 0.5 * z) ** 2 + 1.0)
        names = [PREFIX + name for name in ("pine", "oak", "few")]
        columns = np.column_stack([np.ones(90), plots["zmean"], plots[names]])
        free, *_ = np.linalg.lstsq(columns, np.sqrt(plots["agb_mg_ha"]), rcond=None)
        squares["free"].append((np.mean((free[0] + free[1] * z + free[4]) ** 2 + 1.0) - truth) ** 2)
        for how in ("none", "levels"):
            found = fit(plots, how=how)[0].predict(places(z, "few", (*alike, NO_STRATUM)), 2019)
            squares[how].append((found["mean"].mean() - truth) ** 2)
    none, levels, free = (np.mean(squares[how]) for how in ("none", "levels", "free"))
    assert levels - none < 0.5 * (free - none)


def test_slopes_of_strata_follow_planted_slopes():
    plots = make_strata(n=150, counts=(50, 50, 50), noise=0.5, slope={"spruce": 0.15, "oak": -0.15}.items())
    model, _ = fit(plots, how="slopes")
    levels, _ = fit(plots)
    for name, slope in (("spruce", 0.65), ("pine", 0.5), ("oak", 0.35)):
        low, high = (np.sqrt(model.predict(places([z], name), 2019)["mean"][0]) for z in (10, 20))
        alike = [np.sqrt(levels.predict(places([z], name), 2019)["mean"][0]) for z in (10, 20)]
        assert (high - low) / 10 == pytest.approx(slope, abs=0.04)
        assert name == "pine" or abs((alike[1] - alike[0]) / 10 - slope) > 0.08
    assert model.sets[0].machine.slope_sd > 0 and len(model.shrunk) == 4 + 4 + 2  # three strata and other plots; elsewhere


def test_levels_are_told_with_their_standard_errors():
    plots = make_strata(n=92, counts=(40, 30, 20, 2), levels={**LEVELS, "few": 0.5})
    model, _ = fit(plots)
    plots[PREFIX + "larch"] = 0.0
    told = {row["stratum"]: row for row in levels_told(model, model.sets[0], plots)}
    assert [told[name]["own"] for name in (*LEVELS, "few", "larch")] == [True] * 4 + [False] and NO_STRATUM not in told
    # n / (n + penalty), each plot in a cluster of its own: the same penalty for all
    penalty = model.sets[0].machine.penalty[0]
    assert [told[name]["weight"] for name in (*LEVELS, "few")] == pytest.approx([n / (n + penalty) for n in (40, 30, 20, 2)])
    assert told["larch"]["weight"] is None and told["larch"]["plots"] == 0
    sd = 2 * (3 + 0.5 * model.sets[0].centre[0]) * model.sets[0].machine.level_sd  # of what strata depart by, Mg/ha
    assert told["larch"]["se"] == pytest.approx(sd, rel=0.2)
    assert [told[name]["plots"] for name in (*LEVELS, "few")] == [40, 30, 20, 2] and told["few"]["clusters"] == 2
    root = 3 + 0.5 * model.sets[0].centre[0]
    for name in ("spruce", "oak"):
        apart = told[name]["difference"] - told["pine"]["difference"]
        expected = (root + LEVELS[name]) ** 2 - (root + LEVELS["pine"]) ** 2
        assert apart == pytest.approx(expected, abs=3 * np.hypot(told[name]["se"], told["pine"]["se"]))
    assert told["few"]["se"] > told["oak"]["se"] > 0


# ---------------------------------------------------------------- the rest of the house


def test_a_study_that_asks_for_no_strata_keeps_its_numbers_to_the_last_digit():
    plots = make_strata()
    bare = plots[[name for name in plots.columns if not name.startswith(PREFIX)]]
    assert fit(plots, how="none")[0].to_plain() == fit_target(bare, LIDAR, target="agb", column="agb_mg_ha")[0].to_plain()


def test_the_probability_that_strata_differ_is_that_of_restricted_likelihoods_of_dense_matrices():
    """REML of Patterson & Thompson 1971 with n x n matrices, a standard deviation of exactly zero among those that are tried."""
    rng = np.random.default_rng(2)
    kind = (np.arange(24)[:, None] // 6 == np.arange(4)).astype(float)
    fixed, y = np.column_stack([np.ones(24), rng.normal(size=24)]), kind @ [0.9, 0.2, -0.4, -0.5] + rng.normal(size=24)
    tried, likelihood = np.concatenate([[0.0], np.geomspace(0.03, 30.0, 19)]), []
    for sd in tried:
        inverse = np.linalg.inv(np.eye(24) + sd**2 * kind @ kind.T)
        within = fixed.T @ inverse @ fixed
        rest = inverse - inverse @ fixed @ np.linalg.solve(within, fixed.T @ inverse)
        sizes = np.linalg.slogdet(within)[1] - np.linalg.slogdet(inverse)[1]
        likelihood.append(np.exp(-0.5 * (sizes + 22 * np.log(y @ rest @ y))))
    prior = tried / (1 + tried**2 / 3) ** 2  # half-t of 3 degrees of freedom, on a grid of equal steps of the logarithm
    weight = np.array(likelihood) * np.where(tried == 0, 0.4 / 0.6 * prior.sum(), prior)
    found = variances_of(y, fixed, [kind], np.arange(24), 0.4)
    assert found.apart == pytest.approx([1 - weight[0] / weight.sum()], abs=1e-4) and 0.1 < found.apart[0] < 0.9
    assert variances_of(y, fixed, [kind], np.arange(24)).apart == ()


def test_auto_shrinks_levels_by_how_likely_it_is_that_strata_differ_and_says_so(caplog):
    """A standard deviation of zero is one of those that are averaged over: the variance of levels is that of `levels` times the
    probability that they differ, whether they do or not."""
    for levels, sure in ((LEVELS, True), (dict.fromkeys(LEVELS, 0.0), False)):
        plots = make_strata(levels=levels)
        ours, known = (fit(plots, how=how)[0].sets[0].machine for how in ("auto", "levels"))
        assert ours.apart[0] > 0.99 if sure else 0.01 < ours.apart[0] < 0.5
        assert ours.level_sd**2 == pytest.approx(ours.apart[0] * known.level_sd**2, rel=1e-3) and not ours.sloped
        assert known.apart == ()
    with caplog.at_level(logging.INFO):
        fit(make_strata(n=96, counts=(40, 30, 20, 5, 1), levels={**LEVELS, "few": 0.5, "larch": 3.0}), how="auto")
    said = next(record.getMessage() for record in caplog.records if "levels of strata differ" in record.getMessage())
    assert said.startswith(
        "predictor set lidar: levels of strata differ with probability 1.00; levels of their own have spruce (40 plots in 40 "
    )
    assert "oak (20 plots in 20 clusters, 9" in said and "few (5 plots in 5 clusters, 8" in said and "% by its own plots)" in said
    assert said.endswith(
        "; the rest of a level is that of all strata; the level of all strata, with what strata depart by in its error, serves "
        "larch (1 plot in 1 cluster)"
    )


def test_slopes_of_strata_are_asked_for_anew_in_every_fold():
    """Whoever knows that oaks are steeper by plots that are left out flatters: without most of them no slopes are taken."""
    plots = make_strata(n=120, counts=(50, 50, 20), noise=0.7, levels=dict.fromkeys(LEVELS, 0.0), slope={"oak": -0.3}.items())
    model, _ = fit(plots, how="auto")
    one = model.sets[0]
    assert one.machine.sloped == (0,) and one.machine.apart[1] > 0.75
    columns = (plots[list(one.predictors)].to_numpy(float), plots["agb_mg_ha"].to_numpy(float), plots["cluster"].to_numpy(str))
    year = plots["year"].to_numpy(int)
    assert _refitted(one, *columns, year, np.arange(102)).machine.sloped == ()
    assert _refitted(one, *columns, year, np.arange(5, 120)).machine.sloped == (0,)


def test_auto_with_a_regressor_that_has_no_likelihood_asks_the_plots_that_are_left_out(caplog):
    alike = make_strata(levels=dict.fromkeys(LEVELS, 0.0))
    with caplog.at_level(logging.INFO):
        plain, _ = fit(alike, how="auto", regressor="ridge")
    assert plain.to_plain() == fit(alike, how="none", regressor="ridge")[0].to_plain()
    assert "levels of strata change the mean squared error at plots left out by " in caplog.text
    assert "strata are not told apart, one level serves all of them" in caplog.text
    assert PREFIX + "oak" in fit(make_strata(), how="auto", regressor="ridge")[0].sets[0].predictors


def test_the_domain_is_that_of_the_measured_predictors():
    model, _ = fit(make_strata(n=92, counts=(40, 30, 20, 2), levels={**LEVELS, "few": 0.5}))
    inside = [
        model.predict(places([4.0, 12.0, 20.0, 90.0], name, (*LEVELS, "few", NO_STRATUM)), 2019)["in_domain"].tolist()
        for name in (*LEVELS, "few", "unseen")
    ]
    assert inside == [[True, True, True, False]] * 5


def test_a_model_with_strata_is_the_same_after_it_was_written_down():
    model, _ = fit(make_strata(), how="slopes")
    again = TargetModel.from_plain(json.loads(json.dumps(model.to_plain())))
    one, other = (part.predict(places([6.0, 14.0], "oak"), 2019) for part in (model, again))
    assert (one["mean"] == other["mean"]).all() and (one["gradient"] == other["gradient"]).all()
    assert (again.factors == model.factors).all() and again.strata == 3
    machine = model.sets[0].machine
    assert alive(plain_of(machine)) == machine


def test_a_place_on_a_border_lies_between_both_sides():
    model, _ = fit(make_strata(), transform="none")
    assert model.sets[0].centre[1:].tolist() == [0.0] * 3 and model.sets[0].spread[1:].tolist() == [1.0] * 3  # shares as they are
    half = places([12.0], "none") | {PREFIX + "spruce": np.array([0.5]), PREFIX + "oak": np.array([0.5])}
    sides = [model.predict(places([12.0], name), 2019)["mean"][0] for name in ("spruce", "oak")]
    assert model.predict(half, 2019)["mean"][0] == pytest.approx(np.mean(sides))


def test_other_plots_are_predicted_without_what_their_cluster_says_of_its_stratum():
    plots = make_strata()
    model, left_out = fit(plots)
    one = model.sets[0]
    rows = rows_of(plots, one, "agb_mg_ha")
    folds = [(np.flatnonzero(rows["cluster"] == name), np.flatnonzero(rows["cluster"] != name)) for name in rows["cluster"]]
    told = predict_left_out(rows, model, one, "agb_mg_ha", folds)
    # the same but for the predictors, which are standardised anew in every fold
    assert told["predicted"].to_numpy() == pytest.approx(left_out["predicted"].to_numpy(), rel=1e-3)


@pytest.mark.parametrize("regressor", ["ridge", "neighbours"])
def test_other_regressors_take_strata_as_predictors(regressor):
    plots = make_strata(noise=0.3, levels={"spruce": 2.0, "pine": 0.0, "oak": -2.0})
    model, _ = fit(plots, regressor=regressor)
    plain, _ = fit(plots, how="none", regressor=regressor)
    assert model.sets[0].predictors == ("zmean", *(PREFIX + name for name in LEVELS))
    assert model.sets[0].scores["rmse"] < plain.sets[0].scores["rmse"] and len(model.shrunk) == 0


@pytest.mark.parametrize("how", ["levels", "auto"])
def test_a_second_stage_has_levels_of_its_own_and_carries_those_of_the_first(how, caplog):
    rng, plots = np.random.default_rng(4), make_strata(n=90, noise=0.5)
    root = np.sqrt(plots["agb_mg_ha"])
    level = np.array([LEVELS[name] for name in np.repeat(list(LEVELS), (40, 30, 20))])
    plots["s2_ndmi"] = root - level + rng.normal(0, 0.8, 90)
    stratum = rng.choice(list(LEVELS), 300)
    zmean = rng.uniform(4, 26, 300)
    xy = rng.uniform(0, 6000, (300, 2))
    cells = pd.DataFrame({
        "cell": [f"k{k:03d}" for k in range(300)], "year": 2019, "x": xy[:, 0], "y": xy[:, 1], "cell_ha": 0.04, "zmean": zmean,
        "s2_ndmi": 3 + 0.5 * zmean + rng.normal(0, 0.8, 300),
        **{PREFIX + name: (stratum == name).astype(float) for name in (*LEVELS, NO_STRATUM)},
    })  # fmt: skip
    with caplog.at_level(logging.INFO):
        model, _ = fit_in_stages(
            plots, {**LIDAR, "satellite": ("s2_ndmi",)}, cells, path="hierarchical", target="agb", column="agb_mg_ha",
            strata=how,
        )  # fmt: skip
    said = [one.getMessage() for one in caplog.records if "levels of their own have" in one.getMessage()]
    assert len(said) == 2 and "% by its own cells" not in said[0] and "% by its own plots" not in said[1]
    told = {row["stratum"]: row["weight"] for row in levels_told(model, model.named("satellite"), plots)}
    assert f"spruce (40 plots in 40 clusters, {100 * told['spruce']:.0f} % by its own cells)" in said[1], "as the card has it"
    second, first = model.named("satellite"), model.named("lidar")
    if how == "auto":  # asked of its own cells, and in doubt as the first was
        assert second.machine.doubt == first.machine.doubt == DOUBT and 0.9 < second.machine.apart[0] != first.machine.apart[0]
    assert second.second_stage is not None and isinstance(second.machine, MixedEffects)
    seen = {name: model.predict({"s2_ndmi": np.array([10.0])} | {
        key: value for key, value in places([10.0], name).items() if key != "zmean"}, 2019) for name in LEVELS}  # fmt: skip
    roots = {name: np.sqrt(one["mean"][0]) for name, one in seen.items()}
    assert roots["spruce"] - roots["oak"] == pytest.approx(1.9, abs=0.5)
    shares = model.slices()[1]
    assert np.abs(model.shrunk[:, shares]).sum() > 0 and np.abs(model.shrunk[: len(LEVELS), shares]).max() > 1e-3


# ---------------------------------------------------------------- sentences


def test_strata_with_plots_in_one_cluster_have_the_level_of_all_and_a_sentence(caplog):
    plots = make_strata(n=91, counts=(40, 30, 20, 1), levels={**LEVELS, "larch": 3.0})
    model, _ = fit(plots)
    assert PREFIX + "larch" not in model.sets[0].predictors
    assert model.warnings[0] == (
        "predictor set lidar: strata with plots in fewer than 2 clusters have no level of their own, that of all strata serves "
        "them: larch (1)"
    )


def test_a_regressor_that_shrinks_no_stratum_by_its_plots_needs_five_clusters_of_each():
    plots = make_strata(n=94, counts=(40, 30, 20, 4), levels={**LEVELS, "larch": 3.0})
    assert PREFIX + "larch" in fit(plots)[0].sets[0].predictors
    assert PREFIX + "larch" not in fit(plots, regressor="ridge")[0].sets[0].predictors


def test_places_outside_every_stand_have_a_level_where_plots_are():
    plots = in_strata(make_plots(n=60, noise=5.0), np.repeat(["spruce", "oak", NO_STRATUM], 20), {"spruce": 1.0, "oak": -1.0})
    model, _ = fit(plots)
    assert PREFIX + NO_STRATUM in model.sets[0].predictors


@pytest.mark.parametrize(
    ("stratum", "sentence"),
    [
        (["spruce"] * 30, r"model.strata is levels, and all plots in stands lie in one stratum \(spruce\): nothing can be told"),
        ([NO_STRATUM] * 29 + ["oak"], r"all plots in stands lie in one stratum \(oak\)"),
        (["spruce", "oak"] + [NO_STRATUM] * 28,
         r"model.strata is levels, and no stratum has plots in 2 clusters \(spruce 1, pine 0, oak 1\): join strata, such as"),
    ],
    ids=["one_stratum", "one_stratum_and_none", "too_few"],
)  # fmt: skip
def test_strata_that_plots_cannot_tell_apart_are_a_sentence(stratum, sentence):
    plots = in_strata(make_plots(n=30), stratum)
    with pytest.raises(ValueError, match=sentence):
        fit(plots)
    assert not isinstance(fit(plots, how="auto")[0].sets[0].machine, MixedEffects)


def test_no_strata_unknown_choices_and_slopes_of_other_regressors_are_a_sentence():
    with pytest.raises(ValueError, match=r"model.strata is levels, and no stand has a stratum: name the column"):
        fit(make_plots(n=30))
    with pytest.raises(ValueError, match=r"model.strata 'level' is not one of none, levels, slopes, auto"):
        fit(make_strata(), how="level")
    with pytest.raises(ValueError, match=r"model.strata slopes needs model.regressor linear, got ridge"):
        fit(make_strata(), how="slopes", regressor="ridge")


def test_default_that_becomes_linear_tells_strata_apart_as_linear_does():
    plots = make_strata()
    for how in ("levels", "slopes"):
        ours, linear = (fit(plots, how=how, regressor=name)[0].to_plain()["sets"] for name in ("default", "linear"))
        assert ours == linear
    few = make_strata(n=73, counts=(40, 30, 3))
    assert PREFIX + "oak" in fit(few, regressor="default")[0].sets[0].predictors  # 3 clusters: enough for linear


def test_auto_of_regressors_tries_linear_with_shrunk_levels_and_chooses_anew_without_the_plots_it_is_judged_by(monkeypatch):
    """A place left out is predicted the same whatever was measured there: neither choice nor levels have seen it."""
    monkeypatch.setattr(mix, "candidates", lambda transform: {"linear": Linear(), "neighbours": Neighbours()})
    plots = make_strata()
    model, _ = fit(plots, regressor="auto")
    one = model.sets[0]
    assert isinstance(one.machine.stands_for, MixedEffects) and model.shrunk.any()
    assert alive(plain_of(one.machine)).strata == one.machine.strata == (1, 2, 3)
    test = np.flatnonzero(plots["plot"].isin(plots["plot"][::9]))
    rest = np.setdiff1d(np.arange(len(plots)), test)
    other = plots.assign(agb_mg_ha=plots["agb_mg_ha"].where(~plots.index.isin(test), 10 * plots["agb_mg_ha"]))
    told = [
        predict_left_out(rows, model, one, "agb_mg_ha", [(test, rest)], one.machine)["predicted"].to_numpy()[test]
        for rows in (plots, other)
    ]
    assert np.isfinite(told[0]).all() and told[0].tolist() == told[1].tolist()


def test_default_that_becomes_a_mix_has_no_slopes():
    plots = make_strata(n=310, counts=(110, 100, 100))
    with pytest.raises(ValueError, match=r"got default, which is mix for predictor set lidar"):
        fit(plots, how="slopes", regressor="default")


def test_a_model_without_levels_says_nothing_of_strata_that_lack_one():
    plots = make_strata(n=61, counts=(30, 30, 1), levels=dict.fromkeys(LEVELS, 0.0))
    model, _ = fit(plots, how="auto", regressor="ridge")
    assert not any(name.startswith(PREFIX) for name in model.sets[0].predictors)
    assert not any("level of their own" in note for note in model.warnings)
