"""Position errors of plots: what they do to a regression, and that stands are not charged with them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import make_plots
from scipy.ndimage import map_coordinates, uniform_filter

from models.inference import position
from models.inference.fitted import TargetModel, fit_target
from models.inference.residuals import between_dates, spatial_structure
from models.inference.stands import RegionEstimator, Sums, lattice


def test_the_places_of_a_plot_have_mean_and_covariance_of_a_normal_error():
    places = position.displacements(10.0)
    assert places.shape == (18, 2)
    assert places.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    # a root mean square distance of 10 m is a variance of 50 m2 of each coordinate
    assert np.cov(places.T, bias=True) == pytest.approx(np.diag([50.0, 50.0]), abs=1e-10)
    # a third of all places each: their root mean square distances, from the exponential law of the squared distance
    distance = np.sort(np.hypot(*places.T))
    law = np.random.default_rng(3).normal(scale=np.sqrt(50), size=(300_000, 2))
    thirds = np.sort((law**2).sum(axis=1)).reshape(3, -1)
    assert distance[::6] == pytest.approx(np.sqrt(thirds.mean(axis=1)), rel=0.01)


def displaced(values) -> pd.DataFrame:
    """Two rows of one plot whose predictor z takes some values where the plot may be, and one row of a plot that is known."""
    lists = [list(values), list(2 * np.asarray(values, float)), None]
    means = [np.nanmean(values), 2 * np.nanmean(values), 5.0]
    return pd.DataFrame({"z": means, "displaced_z": pd.Series(lists, dtype=object)})


def test_a_plot_s_error_is_the_spread_of_the_prediction_where_it_may_be():
    found = position.wobble(displaced([1, 3]), ["z"], np.full(3, 2019), lambda X, year: 10 * X[:, 0])
    # 10 and 30 around 20: variance 100; twice that slope at the other date, the same way; nothing at the known plot
    assert (found**2).sum(axis=1) == pytest.approx([100, 400, 0])
    assert found[0] @ found[1] == pytest.approx(200)


def test_a_curved_model_is_higher_on_average_than_at_the_average():
    above = position.curvature(displaced([1, 3]), ["z"], np.full(3, 2019), lambda X, year: X[:, 0] ** 2)
    assert above == pytest.approx([1, 4, 0])  # (1 + 9) / 2 - 2^2


def test_a_place_without_predictors_says_nothing_of_the_error():
    found = position.wobble(displaced([1, np.nan, 3, 2]), ["z"], np.full(3, 2019), lambda X, year: X[:, 0])
    # 1, 3, 2 and for the gap their mean: squares 1 + 1 over four places
    assert (found**2).sum(axis=1) == pytest.approx([0.5, 2.0, 0.0])


def test_plots_whose_position_is_known_are_fitted_bit_by_bit_as_before():
    plots = make_plots(n=30)
    stated = plots.assign(displaced_zmean=pd.Series([None] * 30, dtype=object))
    assert fit(plots).to_plain() == fit(stated).to_plain()
    assert fit(plots).sets[0].sample.moved is None


def fit(plots) -> TargetModel:
    return fit_target(plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", transform="none")[0]


def test_a_model_with_position_errors_comes_back_from_its_file():
    plots = make_plots(n=30)
    lists = [[value - 1, value + 1] for value in plots["zmean"]]
    model = fit(plots.assign(displaced_zmean=pd.Series(lists, dtype=object)))
    again = TargetModel.from_plain(model.to_plain())
    assert np.array_equal(again.sets[0].sample.moved, model.sets[0].sample.moved)


def test_plots_stand_in_the_table_as_they_were_measured_and_maps_show_them_without_the_curvature():
    """The model is fitted to targets freed of what curvature adds; what is observed stays what was measured."""
    plots = make_plots(n=30)
    lists = [[z - 3.0, z + 3.0] * 9 for z in plots["zmean"]]
    told = plots.assign(displaced_zmean=pd.Series(lists, dtype=object))
    model, left_out = fit_target(told, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha")
    assert left_out["observed"].tolist() == plots["agb_mg_ha"].tolist()
    # planted: sqrt(agb) = 3 + 0.5 z, so a spread of 3 m in z adds (0.5 x 3)^2 = 2.25 everywhere; the slope is fitted (10 %)
    assert left_out["position_curvature"].to_numpy() == pytest.approx(2.25, rel=0.25)
    one = model.sets[0]
    shown = one.machine.mean(one.params, one.design(plots[["zmean"]].to_numpy(), 2019))
    apart = left_out["predicted"] - left_out["position_curvature"] - shown
    # without its own cluster a prediction moves by leverage x residual, both signs; 2.25 would shift all of them
    assert abs(apart.mean()) < 0.5


def test_the_spread_is_that_of_the_residuals_beside_what_positions_do():
    rng = np.random.default_rng(8)
    mean = rng.uniform(50, 250, 4000)
    of_position = rng.choice([0.0, 15.0, 40.0], 4000)
    residual = 20 * rng.normal(size=4000) + of_position * rng.normal(size=4000)
    scale, power, floor = position.spread_beside(residual, mean, of_position[:, None])
    # 4,000 residuals tell an SD to about 1.5 %
    assert scale * np.maximum(150, floor) ** power == pytest.approx(20, rel=0.05)


def test_some_spread_is_left_however_large_position_errors_are_said_to_be():
    residual = 20 * np.random.default_rng(1).normal(size=200)
    scale, power, _ = position.spread_beside(residual, np.full(200, 100.0), np.full((200, 1), 1000.0))
    assert scale * 100**power == pytest.approx(0.3 * np.sqrt((residual**2).mean()), rel=0.01)


def test_two_dates_of_a_misplaced_plot_are_not_taken_for_residuals_that_last():
    rng = np.random.default_rng(2)
    n = 1500
    plot, year = np.repeat(np.arange(n), 2), np.tile([2019, 2024], n)
    wobbles = np.repeat(rng.choice([-1.0, 1.0], (n, 1)), 2, axis=0)  # an SD of 1 in both years, the same way
    z = rng.normal(size=2 * n) + np.repeat(rng.normal(size=n), 2) * np.abs(wobbles[:, 0])
    apart = position.beside(wobbles, np.ones(2 * n), plot)
    # 1,500 pairs tell a correlation to 0.03
    assert between_dates(z, plot, year) == pytest.approx(0.5, abs=0.06)
    assert between_dates(z, plot, year, apart) == pytest.approx(0.0, abs=0.09)


def test_position_errors_are_not_taken_for_a_nugget():
    """Residuals that hang together over 600 m, every plot with an error of its own of the same size."""
    rng = np.random.default_rng(5)
    n, found = 250, []
    for _ in range(12):
        xy = rng.uniform(0, 2500, (n, 2))
        apart = np.hypot(*(xy[:, None] - xy[None, :]).transpose(2, 0, 1))
        lower = np.linalg.cholesky(np.exp(-3 * apart / 600) + 1e-9 * np.eye(n))
        z = lower @ rng.normal(size=n) + rng.normal(size=n)
        patch, ones = np.arange(n), np.ones((n, 1))
        plain = spatial_structure(z, xy, ones, patch)
        told = spatial_structure(z, xy, ones, patch, beside=np.eye(n))
        found.append((plain.nugget, told.nugget))
    plain, told = np.mean(found, axis=0)
    # the truths are 0.5 and 0; readings are averaged under a prior of mean 1/3, which draws the second towards it
    assert plain > 0.3 and told < 0.2


def test_what_misplaced_plots_do_to_a_mean_is_that_of_moving_their_targets():
    """Two rows of one plot move together, one of another plot by itself: (1 x 3 + 2 x 1)^2 + (4 x 2)^2 of a gradient of 1."""
    wobbles = np.array([[3.0], [1.0], [2.0]])
    influence = np.array([[5.0], [20.0], [8.0]])  # per sd of 5, 10 and 2: 1, 2 and 4 per unit
    rows = position.moves(wobbles, influence, np.array([5.0, 10.0, 2.0]), np.array(["a", "a", "b"]))
    assert ((rows @ np.ones(1)) ** 2).sum() == pytest.approx(25 + 64)


# ---------------------------------------------------------------- planted truth

CELL_M, SIDE, SEEDS = 5.0, 160, 40


@cache
def amplitudes(range_m: float) -> np.ndarray:
    """Roots of the spectrum of an exponential correlation on squares of 5 m."""
    double = 2 * SIDE
    away = np.minimum(np.arange(double), double - np.arange(double)) * CELL_M
    spectrum = np.fft.fft2(np.exp(-3 * np.hypot(away[:, None], away[None, :]) / range_m)).real
    return np.sqrt(np.maximum(spectrum, 0))


def smooth(rng, range_m: float) -> np.ndarray:
    """A field of unit variance and exponential correlation on squares of 5 m."""
    double = 2 * SIDE
    noise = rng.normal(size=(double, double)) + 1j * rng.normal(size=(double, double))
    return (np.fft.fft2(amplitudes(range_m) * noise) / double).real[:SIDE, :SIDE]


@pytest.fixture(scope="module")
def planted():
    """Slopes, scales and stands of models fitted to 70 plots of 20 x 20 m that are 10 m off in each coordinate."""
    found = []
    shapes = [shapely.box(80, 80, 305, 305), shapely.box(400, 120, 720, 435), shapely.box(200, 560, 300, 660)]
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        z = 10 + 2.7 * smooth(rng, 100.0) + 1.2 * smooth(rng, 15.0)
        agb = 150 + 12 * (z - 10) + 12 * smooth(rng, 150.0) + 9 * smooth(rng, 12.0)
        z, agb = (uniform_filter(field, 4, mode="nearest") for field in (z, agb))

        def at(field, xy):
            return map_coordinates(field, [xy[:, 1] / CELL_M, xy[:, 0] / CELL_M], order=1, mode="nearest")

        true = rng.uniform(60, SIDE * CELL_M - 60, (70, 2))
        recorded = true + 10 * rng.normal(size=true.shape)
        names = [f"p{k:03d}" for k in range(70)]
        plots = pd.DataFrame(
            {"plot": names, "cluster": names, "year": 2019, "x": recorded[:, 0], "y": recorded[:, 1], "area_ha": 0.04,
             "agb_mg_ha": at(agb, true), "zmean": at(z, recorded)}
        )  # fmt: skip
        places = [at(z, here + position.displacements(10 * np.sqrt(2))) for here in recorded]
        told = plots.assign(
            zmean=[values.mean() for values in places],
            displaced_zmean=pd.Series([values.tolist() for values in places], dtype=object),
        )
        centre = np.arange(2, SIDE, 4) * CELL_M
        x, y = (part.ravel() for part in np.meshgrid(centre, centre))
        cells, truth = z[2::4, 2::4].ravel(), agb[2::4, 2::4].ravel()
        for name, table in (("as recorded", plots), ("told", told)):
            model = fit(table)
            mapped = model.predict({"zmean": cells}, 2019)
            for shape in shapes:
                rows = shapely.contains_xy(shape, x, y)
                ha, sd = np.full(rows.sum(), 0.04), mapped["residual_sd"][rows]
                sums = Sums(
                    ha.sum(), (ha * mapped["mean"][rows]).sum(), np.array([ha.sum()]), np.array([(ha * sd).sum()]),
                    np.array([(ha * sd**2).sum()]), (ha[:, None] * mapped["gradient"][rows]).sum(axis=0),
                )  # fmt: skip
                result = RegionEstimator(model, years=(2019,), confidence_percent=90).estimate([sums], [lattice(shape)])
                one, mean = model.sets[0], truth[rows].mean()
                found.append(
                    {"model": name, "seed": seed, "slope": one.params[2] / one.spread[0], "error": result.mean - mean,
                     "se": result.se, "held": result.low <= mean <= result.high,
                     "spread": one.residuals.sd(np.array([100.0]))[0]}
                )  # fmt: skip
    return pd.DataFrame(found)


def test_position_errors_flatten_a_slope_and_their_statement_mends_it(planted):
    slopes = planted.groupby(["model", "seed"])["slope"].mean().unstack(0)
    error = slopes.std() / np.sqrt(SEEDS)  # Monte Carlo error, about 0.2
    assert slopes["as recorded"].mean() < 12 - 4 * error["as recorded"]
    assert slopes["told"].mean() == pytest.approx(12, abs=3 * error["told"])


def test_stands_are_not_charged_with_the_plots_position_errors(planted):
    by_model = planted.groupby("model")
    # of the field and the noise below 20 m about 12 Mg/ha are left at the size of a plot
    assert by_model["spread"].mean()["told"] < 0.85 * by_model["spread"].mean()["as recorded"]
    assert by_model["se"].mean()["told"] < by_model["se"].mean()["as recorded"]
    held = planted[planted["model"] == "told"].groupby("seed")["held"].mean()
    assert held.mean() == pytest.approx(0.90, abs=0.06 + 2 * held.std() / np.sqrt(SEEDS))
