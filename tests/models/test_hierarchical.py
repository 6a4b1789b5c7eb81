"""Plots -> lidar -> satellite: a planted field whose every part is known, closed forms, and sentences."""

from __future__ import annotations

import json
import logging
from functools import partial

import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import make_plots

from models.inference import diagnostics, hierarchical
from models.inference.effects import Asked, Effects, Pull, StockEffects
from models.inference.fitted import fit_target, predict_left_out, rows_of
from models.inference.hierarchical import FEW_BLOCKS, MANY_BLOCKS, blocks_of, fit_in_stages
from models.inference.residuals import Reading, Structure
from models.inference.stands import RegionEstimator, Sums, _freedom, lattice
from models.inference.target_model import TargetModel
from models.regressors import REGRESSORS, Linear

SETS = {"lidar": ("zmean",), "satellite": ("s2_ndmi",)}
SIDE, CELL = 36, 30.0
OF_PLOTS, OF_CELLS = Structure.known(240.0, 0.3), Structure.known(200.0, 0.2)
SD_OF_PLOTS, SD_OF_CELLS = 20.0, 25.0
STANDS = [shapely.box(600, 60, 780, 240), shapely.box(840, 600, 1020, 1020), shapely.box(420, 420, 600, 600)]


class Land:
    """A square of cells: y = 100 + 12 zmean + e1; 12 zmean = 18 x + e2; the satellite sees x, lidar the western third."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        centre = (np.arange(SIDE) + 0.5) * CELL
        self.x, self.y = (part.ravel() for part in np.meshgrid(centre, centre))
        apart = np.hypot(self.x[:, None] - self.x[None, :], self.y[:, None] - self.y[None, :])
        self.roots = [
            np.linalg.cholesky((1 - s.nugget) * np.exp(-3 * apart / s.range_m) + s.nugget * np.eye(len(apart)))
            for s in (OF_PLOTS, OF_CELLS, Structure.known(150.0, 0.3))
        ]
        self.flown = self.x < SIDE * CELL / 3

    def draw(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """All cells with their truth; 42 plots in 14 clusters, and every other cell, where lidar flew."""
        e1, e2, x = (root @ self.rng.normal(size=len(root)) for root in self.roots)
        zmean = 10 + (18 * x + SD_OF_CELLS * e2) / 12
        whole = pd.DataFrame({
            "cell": [f"k{k:04d}" for k in range(len(x))], "year": 2019, "x": self.x, "y": self.y, "cell_ha": CELL**2 / 1e4,
            "s2_ndmi": x, "zmean": zmean, "agb_mg_ha": 100 + 12 * zmean + SD_OF_PLOTS * e1,
        })  # fmt: skip
        inside = self.flown & (self.x < SIDE * CELL / 3 - 2 * CELL) & (self.y < (SIDE - 2) * CELL)
        taken: list[int] = []
        for one in self.rng.permutation(np.flatnonzero(inside)):
            group = [one, one + 1, one + SIDE]
            if not set(group) & set(taken):
                taken += group
            if len(taken) == 42:
                break
        plots = whole.iloc[taken].assign(
            plot=[f"p{k:02d}" for k in range(42)], cluster=[f"c{k // 3:02d}" for k in range(42)], area_ha=CELL**2 / 1e4
        )
        return whole, plots.reset_index(drop=True), whole[self.flown].iloc[::2].reset_index(drop=True)


@pytest.fixture(scope="module")
def land() -> Land:
    return Land(5)


@pytest.fixture(scope="module")
def drawn():
    return Land(6).draw()


def staged(plots, cells, *, path="hierarchical", sets=SETS, transform="none", **options) -> TargetModel:
    return fit_in_stages(
        plots, sets, cells, path=path, target="agb", column="agb_mg_ha", transform=transform, **options
    )[0]


def estimate_of(model: TargetModel, whole: pd.DataFrame, shape, *, number=1):
    """A stand as the satellite alone tells it, and its truth."""
    rows = whole[shapely.contains_xy(shape, whole["x"], whole["y"])]
    found, hectares = model.predict({"s2_ndmi": rows["s2_ndmi"].to_numpy()}, 2019), rows["cell_ha"].to_numpy()
    sums = Sums(
        hectares.sum(), hectares @ found["mean"], np.eye(len(model.sets))[number] * hectares.sum(), hectares @ found["part_sd"],
        hectares @ found["part_sd"] ** 2, hectares @ found["gradient"].astype(float),
    )  # fmt: skip
    estimate = RegionEstimator(model, years=[2019], confidence_percent=90).estimate([sums], [lattice(shape)])
    return estimate, float(rows["agb_mg_ha"].mean())


def held(estimate, truth) -> bool:
    return estimate.low <= truth <= estimate.high


# ---------------------------------------------------------------- what a second stage is fitted by


def test_default_of_a_second_stage_is_what_it_is_with_the_plots_that_taught_it_however_many_cells(land):
    """42 plots in 14 clusters ask for a line; 432 cells, all predicted by them, are no 300 measurements that ask for a mix."""
    whole, plots, _ = Land(6).draw()
    model, linear = (staged(plots, whole[land.flown], regressor=one).named("satellite") for one in ("default", "linear"))
    assert len(model.second_stage.cells) > 300
    assert type(model.machine) is Linear and (model.params == linear.params).all()


# ---------------------------------------------------------------- repeated sampling


def test_intervals_of_stands_beyond_the_lidar_hold_as_often_as_they_say(land, monkeypatch):
    """120 fields, three stands each, lidar on a third of the land: Monte Carlo error 2 points.

    Whoever takes the lidar's predictions for measured plots forgets what these leave unexplained, and what they err by.
    """
    truths = {True: OF_PLOTS, False: OF_CELLS}
    monkeypatch.setattr(diagnostics, "spatial_structure", lambda z, *_, **__: truths[len(z) < 100])
    ours, naive = [], []
    for _ in range(120):
        whole, plots, cells = land.draw()
        model = staged(plots, cells)
        ours.append([held(*estimate_of(model, whole, shape)) for shape in STANDS])
        taken = cells.assign(
            plot=cells["cell"], cluster=cells["cell"], area_ha=cells["cell_ha"],
            agb_mg_ha=model.predict({"zmean": cells["zmean"].to_numpy()}, 2019)["mean"],
        )  # fmt: skip
        single, _ = fit_target(taken, {"satellite": ("s2_ndmi",)}, target="agb", column="agb_mg_ha", transform="none")
        naive.append([held(*estimate_of(single, whole, shape, number=0)) for shape in STANDS])
    print(f"covered at nominal 90 %: {100 * np.mean(ours):.1f} %, taken for plots {100 * np.mean(naive):.1f} %")
    assert np.mean(ours) == pytest.approx(0.90, abs=0.06)
    assert np.mean(naive) < 0.84


# ---------------------------------------------------------------- closed forms


@pytest.fixture
def ordinary(monkeypatch):
    """Ordinary least squares: no ridge, so that textbook formulas hold to the last digits."""
    monkeypatch.setitem(REGRESSORS, "linear", partial(Linear, ridge=0.0))


def line(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(z)), (z - z.mean()) / z.std()])


def test_both_stages_are_two_least_squares_one_after_the_other(drawn, ordinary):
    _, plots, cells = drawn
    model = staged(plots, cells)
    lidar, satellite = model.sets
    seen = np.isin(cells["cell"], satellite.sample.plot)
    z, x = cells["zmean"].to_numpy()[seen], cells["s2_ndmi"].to_numpy()[seen]
    at_cells = np.column_stack([np.ones(len(z)), (z - lidar.centre) / lidar.spread])
    through = np.linalg.lstsq(line(x), at_cells, rcond=None)[0]  # (X'X)^-1 X' Z
    b = np.linalg.lstsq(line(plots["zmean"].to_numpy()), plots["agb_mg_ha"].to_numpy(), rcond=None)[0]
    assert satellite.params == pytest.approx([1.0, *(through @ b)], rel=1e-6)
    assert satellite.second_stage.moves[1:, 1:] == pytest.approx(through, rel=1e-4, abs=1e-6)
    # what leaving a cluster out does to the first stage reaches the second
    assert model.influence[:, 4:] == pytest.approx(model.influence[:, 1:3] @ through.T, rel=1e-6, abs=1e-8)
    assert model.degrees_of_freedom == 13 and model.block_influence.shape == (model.blocks, 6)
    assert not model.block_influence[:, :3].any() and model.block_influence[:, 4:].any()


def test_errors_that_all_plots_share_pass_through_both_stages(drawn, ordinary):
    _, plots, cells = drawn
    model = staged(plots.assign(f_allometry=0.1 * plots["agb_mg_ha"]), cells)
    # every plot a tenth higher: so are the predictions of either set
    for one, place in zip(model.sets, model.slices(), strict=True):
        assert model.shared[0, place][1:] == pytest.approx(0.1 * one.params[1:], rel=1e-3, abs=1e-3)


def test_a_place_that_only_the_satellite_sees_carries_what_both_stages_leave_unexplained(drawn):
    model = staged(*drawn[1:])
    lidar, satellite = model.sets
    found = model.predict({"zmean": np.array([10.0, np.nan]), "s2_ndmi": np.array([0.0, 0.0])}, 2019)
    assert found["set_number"].tolist() == [0, 1]
    first, second = (one.residuals.sd(found["mean"][1:])[0] for one in (lidar, satellite))
    assert found["part_sd"][1].tolist() == [first, second]
    assert found["residual_sd"][1] == pytest.approx(np.hypot(first, second))
    assert found["part_sd"][0].tolist() == [found["residual_sd"][0], 0.0]
    # planted: 20 and 25, told from 42 plots (SD 2.2, and clusters widen it) and 200 cells
    assert 13 < first < 29 and 18 < second < 40


def test_degrees_of_freedom_join_those_of_plots_and_of_blocks_and_what_readings_doubt(drawn):
    # Satterthwaite by hand: 30^2 / (10^2 / 5 + 20^2 / 10) = 15; a doubt of 100 in place of 2 x 10^2 / 5 = 40: 1800 / 180 = 10
    assert _freedom(30.0, (10.0, 5.0, 0.0), (20.0, 10.0, 0.0)) == pytest.approx(15.0)
    assert _freedom(30.0, (10.0, 5.0, 100.0), (20.0, 10.0, 0.0)) == pytest.approx(10.0)
    whole, plots, cells = drawn
    model = staged(plots, cells)
    found, _ = estimate_of(model, whole, STANDS[0])
    direct, _ = estimate_of(staged(plots, cells, path="direct"), whole, STANDS[0])
    assert 1 <= direct.degrees_of_freedom <= 13
    assert 1 <= found.degrees_of_freedom < 13 + model.blocks - 1
    assert found.se**2 == pytest.approx(found.sampling_variance + found.shared_variance + found.residual_variance)


def test_a_stand_that_is_another_patch_than_the_cells_adds_their_pull_to_its_own_departure():
    structure = Structure.of([Reading(1.0, 100.0, 0.0, 0.6, 0.4)], identified=True, degrees_of_freedom=1e6)
    nothing, nowhere = np.zeros((0, 1, 1)), np.full((1, 2), 1e6)
    # readings give patch and nugget 0.6 and 0.4: 9 of the plots in all
    level = Effects(nothing, np.full((1, 1), 9.0), np.full((1, 1), 9.0), structure)
    effects = StockEffects(level, Pull(np.zeros((1, 1)), nowhere, {}))

    def told(shape, least=0.0):
        pull, size, nugget = np.array([[3.0]]), np.array([20.0]), np.array([10.0])
        return effects.told(Asked(pull, size, nugget, np.array([least]), np.ones(1)), None, lattice(shape), 80)

    # 9 x 3^2 of the plots, or what the jackknife says if more, with 0.6 x 20^2 of the stand and 0.4 x 10 of nugget
    small = shapely.box(0, 0, 200, 200)
    assert told(shapely.box(0, 0, 400, 1000)).area == pytest.approx(120)  # 40 ha are two patches of 20 ha
    assert (told(small).variance, told(small).area) == pytest.approx((81 + 240 + 4, 240))
    assert told(small, 200.0).variance == pytest.approx(200 + 240 + 4)


def test_the_model_survives_its_json(drawn):
    model = staged(*drawn[1:])
    again = TargetModel.from_plain(json.loads(json.dumps(model.to_plain())))
    assert json.dumps(again.to_plain()) == json.dumps(model.to_plain())
    np.testing.assert_array_equal(again.factors, model.factors)
    assert again.carried == [(0,), (0, 1)] and again.sets[1].second_stage.first_set == "lidar"


@pytest.mark.parametrize("regressor", ["ridge", "gaussian_process", "extra_trees"])
def test_any_regressor_may_teach_and_learn(drawn, regressor):
    whole, plots, cells = drawn
    model = staged(plots, cells, regressor=regressor, transform="sqrt")
    satellite = model.sets[1]
    assert satellite.second_stage.first_set == "lidar" and np.isfinite(model.factors).all()
    found, truth = estimate_of(model, whole, STANDS[1])
    assert abs(found.mean - truth) < 3 * found.se and 3 < found.se < 60
    assert TargetModel.from_plain(json.loads(json.dumps(model.to_plain()))).sets[1].machine.name == regressor


# ---------------------------------------------------------------- which path


def test_the_direct_path_and_no_cells_are_as_ever(drawn):
    _, plots, cells = drawn
    plain = fit_target(plots, SETS, target="agb", column="agb_mg_ha", transform="none")[0].to_plain()
    assert staged(plots, cells, path="direct").to_plain() == plain
    assert staged(plots, None, path="auto").to_plain() == plain
    note = staged(plots, None).warnings[-1]
    assert note.endswith("all sets are fitted to plots")


def test_auto_goes_straight_to_the_plots_where_the_satellite_sees_what_lidar_does_not(drawn):
    _, plots, cells = drawn
    residual = plots["agb_mg_ha"] - 100 - 12 * plots["zmean"]
    # at plots the satellite sees the biomass itself, at cells what it always saw of the lidar's height
    sharp = plots.assign(s2_ndmi=(12 * plots["zmean"] - 120 + residual) / 18)
    assert staged(sharp, cells, path="auto").sets[1].second_stage is None
    learned = staged(plots, cells, path="auto").sets[1].second_stage
    assert learned.compared["difference"] <= 2 * learned.compared["difference_se"] and not learned.compared["outside"]
    assert staged(sharp, cells, path="hierarchical").sets[1].second_stage is not None


def test_plots_beyond_the_lidar_decide_and_widen_what_the_second_stage_leaves_unexplained(drawn, land):
    whole, plots, cells = drawn
    far = whole[~land.flown].iloc[::40].reset_index(drop=True)
    far = far.assign(plot=[f"f{k}" for k in far.index], cluster=[f"f{k}" for k in far.index], area_ha=0.09, zmean=np.nan)
    both = pd.concat([plots, far], ignore_index=True)
    compared = staged(both, cells).sets[1].second_stage.compared
    assert compared["outside"] and compared["clusters"] == len(far)
    shifted = both.assign(agb_mg_ha=both["agb_mg_ha"] + 120 * both["zmean"].isna())
    told = staged(shifted, cells)
    assert told.sets[1].second_stage.compared["widened"] > 2
    # what is left at these plots is what both stages say together, but for a standard error of 22 squares
    found = told.predict({"s2_ndmi": far["s2_ndmi"].to_numpy()}, 2019)
    error = far["agb_mg_ha"].to_numpy() + 120 - found["mean"]
    assert 0.85 < np.sqrt((found["residual_sd"] ** 2).mean() / (error**2).mean()) < 1
    assert staged(shifted, cells, path="auto").sets[1].second_stage is None


@pytest.mark.parametrize(("by", "taken"), [(19.0, False), (21.0, True), (-1.0, False)])
def test_where_plots_beyond_the_lidar_decide_a_second_stage_has_to_be_better_by_more_than_noise(drawn, land, by, taken):
    """22 plots in as many clusters: squared errors smaller by `by` +- 10 sqrt(21), so by `by` with a standard error of 10."""
    whole, plots, cells = drawn
    far = whole[~land.flown].iloc[::40].reset_index(drop=True)
    far = far.assign(plot=[f"f{k}" for k in far.index], cluster=[f"f{k}" for k in far.index], area_ha=0.09, zmean=np.nan)
    both = pd.concat([plots, far], ignore_index=True)
    assert len(far) == 22
    first, one = staged(both, cells).sets
    less = by + 10 * np.sqrt(21) * np.where(np.arange(22) % 2, 1.0, -1.0)
    told = far[["plot", "cluster", "year"]].assign(observed=100.0)
    second = {"model": one, "left_out": told.assign(predicted=110.0)}
    direct = {"left_out": told.assign(predicted=100 + np.sqrt(100 + less))}
    found, better = hierarchical._compared(both, second, direct, first)
    said = found["model"].second_stage.compared
    assert said["outside"] and said["difference"] == pytest.approx(-by) and said["difference_se"] == pytest.approx(10)
    assert better is taken


def test_cells_and_plots_tell_the_second_stage_s_error_by_how_well_they_know_it():
    # 20 blocks say 100 with variance 2 x 100^2 / 20 = 1000; 10 clusters 190, of 200 in all, with 2 x 200^2 / 10 = 8000
    assert hierarchical._pooled(100.0, 190.0, 200.0, 20, 10) == pytest.approx((0.1 + 0.02375) / 0.001125)


def test_a_set_that_the_plots_cannot_carry_can_still_learn_from_cells(drawn):
    _, plots, cells = drawn
    few = plots.assign(s2_ndmi=plots["s2_ndmi"].where(plots["cluster"] < "c02"))
    model = staged(few, cells, path="auto")
    assert [one.name for one in model.sets] == ["lidar", "satellite"]
    assert not any("is left out" in note for note in model.warnings)
    assert "rmse_direct" not in model.sets[1].second_stage.compared


# ---------------------------------------------------------------- left out


def test_a_plot_left_out_is_predicted_without_what_it_says(drawn):
    _, plots, cells = drawn
    other = plots.assign(agb_mg_ha=plots["agb_mg_ha"] + 300 * (plots["cluster"] == "c03"))
    mine = (plots["cluster"] == "c03").to_numpy()
    predictions = [
        fit_in_stages(one, SETS, cells, path="hierarchical", target="agb", column="agb_mg_ha", transform="none")
        for one in (plots, other)
    ]
    first, second = (left.query("set_name == 'satellite'")["predicted"].to_numpy() for _, left in predictions)
    # the blocks' own refits carry the whole first stage, so a trace of a cluster is left where its block is taken out
    moved = np.abs(second - first)
    assert moved[mine].max() < 0.1 * moved[~mine].max()
    tables = []
    for frame, (model, _) in zip((plots, other), predictions, strict=True):
        rows = rows_of(frame, model.sets[1], "agb_mg_ha")
        folds = [(np.flatnonzero(mine), np.flatnonzero(~mine))]
        tables.append(predict_left_out(rows, model, model.sets[1], "agb_mg_ha", folds))
    assert tables[0]["predicted"][mine].to_numpy() == pytest.approx(first[mine], abs=1.5)
    assert (tables[0]["sd"][mine] > 25).all() and tables[0]["predicted"][~mine].isna().all()


def test_the_cells_around_a_plot_left_out_do_not_tell_its_prediction(drawn):
    _, plots, cells = drawn
    home = np.hypot(cells["x"] - plots["x"][0], cells["y"] - plots["y"][0]) < 100
    model, left = fit_in_stages(plots, SETS, cells, path="hierarchical", target="agb", column="agb_mg_ha", transform="none")
    odd = cells.assign(zmean=cells["zmean"] + 2 * home)
    _, other = fit_in_stages(plots, SETS, odd, path="hierarchical", target="agb", column="agb_mg_ha", transform="none")
    moved = (other["predicted"] - left["predicted"])[(left["set_name"] == "satellite").to_numpy()].abs().to_numpy()
    away = np.hypot(plots["x"] - plots["x"][0], plots["y"] - plots["y"][0]).to_numpy() > 400
    assert moved[0] < 0.6 * np.median(moved[away])
    assert model.sets[1].second_stage.reach_m == pytest.approx(2 * CELL * np.sqrt(2), rel=0.5)


# ---------------------------------------------------------------- two dates


def two_years(drawn):
    _, plots, cells = drawn
    rng = np.random.default_rng(3)
    later = {
        "plots": plots.assign(agb_mg_ha=plots["agb_mg_ha"] + 30 + rng.normal(0, 3, len(plots)), zmean=plots["zmean"] + 1.0),
        "cells": cells.assign(zmean=cells["zmean"] + 1.0 + rng.normal(0, 0.2, len(cells))),
    }
    first = {"plots": plots, "cells": cells}
    return (pd.concat([first[name], later[name].assign(year=2024)], ignore_index=True) for name in first)


def test_what_lasts_between_dates_is_told_from_cells_seen_at_both(drawn):
    plots, cells = two_years(drawn)
    model = staged(plots, cells)
    satellite = model.sets[1]
    assert satellite.dates == (2019, 2024) and satellite.residuals.between_dates > 0.9
    place = {"s2_ndmi": np.array([0.5])}
    gap = model.predict(place, 2024)["mean"] - model.predict(place, 2019)["mean"]
    assert gap[0] == pytest.approx(30, abs=3)
    estimator = RegionEstimator(model, years=[2019, 2024], confidence_percent=90)
    # 12 Mg/ha per metre x 0.2 m of noise of the second date, e1's own 3, and hardly any of what lasts (25 and 20)
    assert float(satellite.residuals.change_sd(np.array([25.0]), np.array([25.0]))[0]) < 8
    found = [model.predict({"s2_ndmi": np.zeros(100)}, year) for year in (2019, 2024)]
    s = [one.residuals.change_sd(*(part["part_sd"][:, k] for part in found)) for k, one in enumerate(model.sets)]
    s = 0.09 * np.array(s).sum(axis=1)
    gradient = 9 * (found[1]["gradient"] - found[0]["gradient"]).astype(float).mean(axis=0)
    sums = Sums(9.0, 9 * 30.0, np.array([0.0, 9.0]), s, s**2 / 100 / 0.09, gradient)
    assert 0.5 < estimator.estimate([sums], [lattice(STANDS[0])]).se < 8


def test_a_year_that_no_cell_shows_takes_the_level_of_those_that_do(drawn):
    plots, _ = two_years(drawn)
    model = staged(plots, drawn[2])
    assert model.sets[1].dates == (2019,)
    place = {"s2_ndmi": np.array([0.5])}
    assert model.predict(place, 2024)["mean"] == model.predict(place, 2019)["mean"]


# ---------------------------------------------------------------- blocks and sentences


def test_blocks_are_as_wide_as_asked_but_neither_too_few_nor_too_many():
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 10_000, (3000, 2))
    wide = [len(np.unique(blocks_of(xy, reach_m))) for reach_m in (50.0, 2200.0, 1e6)]
    assert wide[0] >= MANY_BLOCKS and 16 <= wide[1] <= 36 and FEW_BLOCKS <= wide[2] <= 16
    named = blocks_of(xy, 2200.0)
    smallest = min((named == one).sum() for one in np.unique(named))
    assert smallest >= 0.25 * 3000 / 36


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda cells: cells.iloc[:30], "at least 60 are needed"),
        (lambda cells: cells.assign(zmean=500.0), "0 % of 216 cells lie where lidar may be trusted, at least 50 % are needed"),
        (lambda cells: cells.assign(s2_ndmi=0.3), "the predictor s2_ndmi is constant over the cells"),
        (lambda cells: cells.assign(x=0.0, y=np.arange(len(cells)) // 100 * 1.0), "blocks, at least 10 are needed"),
    ],
    ids=["few_cells", "out_of_domain", "constant", "few_places"],
)
def test_cells_that_cannot_teach_are_said_and_plots_are_taken(drawn, change, sentence, caplog):
    _, plots, cells = drawn
    with caplog.at_level(logging.INFO):
        model = staged(plots, change(cells))
    assert model.sets[1].second_stage is None
    assert any(sentence in note and note.endswith("it is fitted to plots") for note in model.warnings)
    with caplog.at_level(logging.INFO):
        quiet = staged(plots, change(cells), path="auto")
    assert not any("cannot learn" in note for note in quiet.warnings) and sentence in caplog.text


def test_a_path_that_is_none_is_said():
    with pytest.raises(ValueError, match="path 'two_step' is not one of direct, hierarchical, auto"):
        staged(make_plots(n=10), None, path="two_step")
