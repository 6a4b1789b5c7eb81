"""Stands and projects: variance parts in closed form, by brute force, and by repeated sampling of planted fields."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import shapely
import shapely.affinity
from conftest import make_target_model
from scipy.signal import fftconvolve

from models.inference import diagnostics, fields
from models.inference.correlations import ellipse_correlation, ellipse_quadrature, mean_correlation
from models.inference.fitted import fit_target
from models.inference.residuals import FEWEST_BY_READINGS, Reading, Structure
from models.inference.stands import RegionEstimator, Sums, lattice, lattices


def make_sums(area_ha=4.0, *, mean=150.0, s=20.0, gradient=(0.0, 1.0, 0.0)) -> Sums:
    """Sums of a stand that is covered wholly by one predictor set, every pixel alike."""
    one = np.array([area_ha])
    return Sums(area_ha, area_ha * mean, one, one * s, one * s**2, area_ha * np.asarray(gradient, float))


def square(side_m=200.0, *, west=0.0):
    return shapely.box(west, 0.0, west + side_m, side_m)


def estimate(sums, shapes, model, *, years=(2019,), confidence_percent=90, **options):
    estimator = RegionEstimator(model, years=years, confidence_percent=confidence_percent, **options)
    return estimator.estimate(sums, [lattice(shape) for shape in shapes])


# ---------------------------------------------------------------- parameters and shared errors


def test_the_sampling_part_is_the_mean_gradient_through_the_covariance():
    influence = np.array([[0.0, 3.0, 1.0], [0.0, -1.0, 2.0]])
    found = estimate([make_sums(s=0.0, gradient=(0, 1, 0.5))], [square()], make_target_model(influence=influence))
    # 3 + 0.5 and -1 + 1
    assert found.sampling_variance == pytest.approx(3.5**2)
    assert found.mean == pytest.approx(150) and found.se == pytest.approx(3.5)


def test_a_shared_error_of_four_percent_is_four_percent_of_the_stand():
    # mean = 50 + 10 z: shifting both parameters by 4 % shifts every mean by 4 %
    model = make_target_model(shared=[[0.0, 2.0, 0.4]], scale=0)
    found = estimate([make_sums(mean=150, s=0, gradient=(0, 1, 10))], [square()], model)
    assert found.shared_variance == pytest.approx(6.0**2)


def test_parts_add_up_and_the_interval_is_that_of_students_t():
    model = make_target_model(influence=[[0.0, 3.0, 0.0]], shared=[[0.0, 4.0, 0.0]], range_m=1e9, clusters=11)
    found = estimate([make_sums(s=12.0)], [square()], model)
    # residuals of 12 that are alike all over the stand; the jackknife's 9 is a floor of what plots and residuals give
    assert found.sampling_variance + found.residual_variance == pytest.approx(144, rel=1e-3)
    assert found.se**2 == pytest.approx(144 + 16, rel=1e-3)
    assert found.high - found.mean == pytest.approx(1.812 * found.se, rel=1e-3)  # t of 0.95 with 10 degrees of freedom


def test_the_jackknife_is_a_floor_that_small_residuals_do_not_lower():
    model = make_target_model(influence=[[0.0, 30.0, 0.0]], scale=1, nugget=1.0)
    found = estimate([make_sums(s=1.0)], [square()], model)
    assert found.residual_variance == 0.0 and found.se == pytest.approx(30)


def test_a_stock_s_interval_ends_at_zero_and_that_of_a_change_does_not():
    model = make_target_model(range_m=1e9, dates=(2019, 2024))
    low = make_sums(mean=5.0)
    assert estimate([low], [square()], model, lowest=0.0).low == 0.0
    assert estimate([low], [square()], model).low < 0


# ---------------------------------------------------------------- residuals of one stand


@pytest.mark.parametrize("cell_m", [10.0, 20.0, 30.0])
@pytest.mark.parametrize("area_ha", [1.8, 9.0])
def test_white_residuals_average_out_over_plot_areas_whatever_the_cell_size(cell_m, area_ha):
    cells = round(area_ha / (cell_m**2 / 1e4))
    weight = np.full(cells, cell_m**2 / 1e4)
    sums = Sums(
        weight.sum(),
        (weight * 150).sum(),
        np.array([weight.sum()]),
        np.array([(weight * 20).sum()]),
        np.array([(weight * 400).sum()]),
        np.zeros(3),
    )
    found = estimate([sums], [square(100 * np.sqrt(area_ha))], make_target_model(nugget=1.0, plot_ha=0.04))
    assert found.residual_variance == pytest.approx(400 * 0.04 / area_ha)


def test_a_stand_has_the_same_standard_error_at_cells_of_10_20_and_30_m():
    """36 ha of hilly heights, a square-root response, residuals that grow with the mean: the same land, seen in three ways."""
    x, y = np.meshgrid(np.arange(5.0, 600, 10), np.arange(5.0, 600, 10))
    height = 0.6 * np.sin(x / 90) + 0.5 * np.cos(y / 70) + 0.2 * np.sin((x + y) / 25)
    pulls = np.random.default_rng(2).normal(0, 0.02, (12, 3))
    model = make_target_model(
        params=(1.0, 12.0, 2.0), transform="sqrt", scale=1.5, power=0.6, range_m=300.0, nugget=0.4, influence=0.3 * pulls,
        plots=np.random.default_rng(3).uniform(-2000, 2500, (12, 2)), pull=pulls,
    )  # fmt: skip
    errors = []
    for n in (1, 2, 3):
        seen = height.reshape(60 // n, n, 60 // n, n).mean(axis=(1, 3)).ravel()
        found, ha = model.predict({"zmean": seen}, 2019), (10 * n) ** 2 / 1e4
        s = found["residual_sd"]
        sums = Sums(
            36.0, ha * found["mean"].sum(), np.array([36.0]), np.array([ha * s.sum()]), np.array([ha * (s**2).sum()]),
            ha * found["gradient"].sum(axis=0),
        )  # fmt: skip
        errors.append(estimate([sums], [square(600)], model).se)
    assert errors[1:] == pytest.approx([errors[0]] * 2, rel=0.01)


def test_readings_are_averaged_in_variance_and_their_differences_cost_degrees_of_freedom():
    """Two readings as likely: white residuals of 20, and residuals that are alike all over a stand of 4 ha."""
    model = make_target_model(clusters=101)
    white, alike = Reading(0.5, 1.0, 0.0, 0.0, 1.0), Reading(0.5, 1e9, 1.0, 0.0, 0.0)
    level = Structure.of([white, alike], identified=False, degrees_of_freedom=1e6)
    (one,) = model.sets
    model = dataclasses.replace(
        model, sets=(dataclasses.replace(one, residuals=dataclasses.replace(one.residuals, level=level)),)
    )
    found = estimate([make_sums(4.0)], [square()], model)
    assert found.se**2 == pytest.approx((400 + 4) / 2, rel=1e-3)
    # variance of the variance: 198 squared; 2 x 202^2 / 198^2 = 2.1, fewer than an average over readings can have
    assert found.degrees_of_freedom == pytest.approx(FEWEST_BY_READINGS, rel=1e-2)
    assert found.area_effect_variance == pytest.approx(200, rel=1e-3)


def test_degrees_of_freedom_are_never_more_than_clusters_give():
    """Four plots of Nouragues: three, however many sub-plots tell the residuals' size."""
    model = make_target_model(influence=[[0.0, 3.0, 0.0]], clusters=4)
    found = estimate([make_sums()], [square()], model)
    assert found.degrees_of_freedom == 3
    assert found.high - found.mean == pytest.approx(2.353 * found.se, rel=1e-3)  # t of 0.95 with 3 degrees of freedom


def test_residuals_that_are_alike_all_over_do_not_average_out():
    assert estimate([make_sums()], [square()], make_target_model(range_m=1e9)).residual_variance == pytest.approx(400)
    as_patch = make_target_model(range_m=1.0, nugget=1.0, patch=1.0)
    assert estimate([make_sums()], [square()], as_patch).residual_variance == pytest.approx(400)


def test_half_in_common_is_half_the_variance_and_the_rest_averages_out():
    found = estimate([make_sums(4.0)], [square()], make_target_model(nugget=1.0, patch=0.5))
    assert found.residual_variance == pytest.approx(0.5 * 400 + 0.5 * 400 * 0.04 / 4)


@pytest.mark.parametrize("range_m", [100.0, 300.0, 2000.0])
@pytest.mark.parametrize(
    "shape",
    [
        square(250),
        shapely.box(0, 0, 800, 60),
        shapely.Polygon([(0, 0), (400, 0), (400, 100), (100, 100), (100, 400), (0, 400)]),
    ],
    ids=["square", "strip", "angle"],
)
def test_the_smooth_part_is_the_double_integral_over_the_stand(shape, range_m):
    rng = np.random.default_rng(1)
    west, south, east, north = shape.bounds
    points = rng.uniform([west, south], [east, north], (60_000, 2))
    points = points[shapely.contains_xy(shape, *points.T)][: 2 * 5000]
    half = len(points) // 2
    apart = np.hypot(*(points[:half] - points[half : 2 * half]).T)
    expected = 400 * np.exp(-3 * apart / range_m).mean()
    found = estimate([make_sums(shape.area / 1e4)], [shape], make_target_model(range_m=range_m))
    assert np.sqrt(found.residual_variance) == pytest.approx(np.sqrt(expected), rel=0.03)


def exact_correlation(shape, range_m, cell_m):
    """Mean correlation of two random places of a polygon: all pairs of its cells, counted by Fourier transform."""
    west, south, east, north = shape.bounds
    x, y = np.arange(west + cell_m / 2, east, cell_m), np.arange(south + cell_m / 2, north, cell_m)
    mask = shapely.contains_xy(shape, *np.meshgrid(x, y)).astype(float)
    pairs = np.rint(fftconvolve(mask, mask[::-1, ::-1]))
    rows, cols = (np.arange(2 * n - 1) - (n - 1) for n in mask.shape)
    away = cell_m * np.hypot(rows[:, None], cols[None, :])
    within = np.random.default_rng(5).uniform(0, cell_m, (2, 200_000, 2))
    correlated = np.exp(-3 * away / range_m)
    correlated[mask.shape[0] - 1, mask.shape[1] - 1] = np.exp(-3 * np.hypot(*(within[0] - within[1]).T) / range_m).mean()
    return float((pairs * correlated).sum() / mask.sum() ** 2)


def turned(shape, area_ha):
    shape = shapely.affinity.rotate(shape, 27)
    return shapely.affinity.scale(shape, *[np.sqrt(1e4 * area_ha / shape.area)] * 2)


def leaf(ratio, seed):
    """A ragged blob, `ratio` times as long as it is wide."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.2 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(1, 7))
    return shapely.Polygon(np.column_stack([ratio * radius * np.cos(angle), radius * np.sin(angle)])).buffer(0)


SHAPES = {
    "square": shapely.box(0, 0, 1, 1), "strip": shapely.box(0, 0, 10, 1), "leaf": leaf(1, 1), "long leaf": leaf(5, 2),
    "hollow": shapely.box(0, 0, 5, 5).difference(shapely.box(1.5, 1.5, 3.5, 3.5)),
    "angle": shapely.Polygon([(0, 0), (4, 0), (4, 1), (1, 1), (1, 4), (0, 4)]),
    "triangle": shapely.Polygon([(0, 0), (2, 0), (0.6, 1.7)]),
    "two parts": shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(9, 0, 11, 1.5)]),
}  # fmt: skip


@pytest.mark.parametrize("range_m", [60.0, 300.0, 1000.0])
@pytest.mark.parametrize("area_ha", [1, 20, 500])
@pytest.mark.parametrize("name", SHAPES)
def test_a_stand_s_error_is_that_of_all_pairs_of_its_cells_within_a_few_thousandths(name, area_ha, range_m):
    shape = turned(SHAPES[name], area_ha)
    found = estimate([make_sums(area_ha)], [shape], make_target_model(range_m=range_m)).residual_variance / 400
    exact = exact_correlation(shape, range_m, max(np.sqrt(shape.area) / 250, 2.0))
    assert np.sqrt(found) == pytest.approx(np.sqrt(exact), rel=0.01)


def test_a_project_s_error_is_that_of_all_pairs_of_its_cells():
    """Thirty stands of 2 to 8 ha beside each other, with a range far below and one above their size."""
    places = [(200 * col, 260 * row, 120 + 8 * col) for col in range(10) for row in range(3)]
    shapes = [shapely.box(west, south, west + wide, south + 200) for west, south, wide in places]
    whole = shapely.MultiPolygon(shapes)
    parts = [make_sums(shape.area / 1e4) for shape in shapes]
    for range_m in (40.0, 150.0, 600.0):
        found = estimate(parts, shapes, make_target_model(range_m=range_m)).residual_variance / 400
        assert np.sqrt(found) == pytest.approx(np.sqrt(exact_correlation(whole, range_m, 4.0)), rel=0.02)


@pytest.mark.parametrize("range_m", [60.0, 300.0, 2000.0])
def test_a_project_of_hundreds_of_stands_has_the_error_of_all_pairs_of_its_cells(range_m):
    """Three hundred stands of 1 to 4 ha on lines of 10 m, an angle and a hollow one among them, gaps, two sizes of residuals."""
    wide, high = [80 + 10 * (k % 12) for k in range(300)], [150 + 10 * (k % 8) for k in range(300)]
    shapes = [
        shapely.box(west, south, west + wide[k], south + high[k])
        for k, (west, south) in enumerate((220 * (k // 15), 240 * (k % 15)) for k in range(300))
    ]
    shapes[37] = shapes[37].difference(shapely.buffer(shapes[37], -40, join_style="mitre"))
    shapes[80] = shapes[80].difference(shapely.affinity.translate(shapes[80], 50, 60))
    size = [20.0 + 20 * (k % 2) for k in range(300)]
    parts = [make_sums(shape.area / 1e4, s=s) for shape, s in zip(shapes, size, strict=True)]
    found = estimate(parts, shapes, make_target_model(range_m=range_m)).residual_variance
    weight, cell = np.zeros((880, 720)), 5.0
    for shape, s in zip(shapes, size, strict=True):
        west, south, east, north = (int(edge / cell) for edge in shape.bounds)
        centres = (np.arange(first, last) * cell + cell / 2 for first, last in ((west, east), (south, north)))
        weight[west:east, south:north] += s * shapely.contains_xy(shape, *np.meshgrid(*centres, indexing="ij"))
    weight /= (weight > 0).sum()
    pairs = fftconvolve(weight, weight[::-1, ::-1])
    rows, cols = (np.arange(2 * n - 1) - (n - 1) for n in weight.shape)
    exact = float((pairs * mean_correlation(cell * np.hypot(rows[:, None], cols), np.array(cell), range_m)).sum())
    assert np.sqrt(found) == pytest.approx(np.sqrt(exact), rel=0.01)


def test_a_project_of_many_stands_has_plots_in_it_as_one_of_few(monkeypatch):
    """What plots in a project have in common with it, by squares over all stands and by the points of each."""
    corners = [(320 * (k % 17), 320 * (k // 17)) for k in range(255)]
    shapes = [shapely.box(x, y, x + 300, y + 300) for x, y in corners]
    plots = np.random.default_rng(4).uniform(0, 4500, (40, 2))
    found = {}
    for many in (250, 1000):
        monkeypatch.setattr(fields, "MANY", many)
        model = make_target_model(range_m=1500.0, plots=plots, pull=[[0.0, 0.5, 0.0]] * 40)
        found[many] = estimate([make_sums(9.0)] * 255, shapes, model, points=5_100).residual_variance
    assert np.sqrt(found[250]) == pytest.approx(np.sqrt(found[1000]), rel=0.01)


def test_a_plot_in_a_stand_covaries_with_its_mean_as_with_all_its_cells():
    """What one plot shares with a stand of 9 ha, at a range of a fifth of its side: the mean over fine cells."""
    shape, place, range_m = square(300), np.array([[110.0, 95.0]]), 60.0
    known = make_target_model(range_m=range_m, plots=place, pull=[[0.0, 1.0, 0.0]])
    alone = estimate([make_sums(9.0)], [shape], make_target_model(range_m=range_m)).residual_variance
    both = estimate([make_sums(9.0)], [shape], known).residual_variance  # pull 1: 1 - 2 c + C, in units of s = 20
    fine = np.arange(1.5, 300, 3.0)
    x, y = np.meshgrid(fine, fine)
    shared = np.exp(-3 * np.hypot(x - 110, y - 95) / range_m).mean()
    assert (1 + alone - both) / (2 * 20) == pytest.approx(shared, rel=0.02)


@pytest.mark.parametrize("points", [1, 5, 9, 20, 40])
def test_fewer_lattice_points_tell_the_same_of_a_stand(points):
    model = make_target_model(range_m=300.0)
    fine = estimate([make_sums(9.0)], [square(300)], model, points=2500)
    coarse = estimate([make_sums(9.0)], [square(300)], model, points=points)
    assert coarse.se == pytest.approx(fine.se, rel=0.15)


def test_a_range_far_below_the_lattice_spacing_still_counts_what_lies_within_a_cell():
    # 100 ha, 80 points 112 m apart, range 50 m: 2 pi (50 / 3)^2 / area of all pairs are near each other
    found = estimate([make_sums(100.0)], [square(1000)], make_target_model(range_m=50.0))
    assert found.residual_variance == pytest.approx(400 * 2 * np.pi * (50 / 3) ** 2 / 1e6, rel=0.4)


def test_a_lattice_has_about_as_many_points_as_asked_all_inside_and_the_same_each_time():
    shape = shapely.Polygon([(0, 0), (300, 50), (250, 400), (40, 330)])
    region = lattice(shape, points=80)
    assert 60 <= len(region.points) <= 100
    assert shapely.contains_xy(shape, *region.points.T).all()
    assert region.spacing_m**2 * 80 == pytest.approx(shape.area)
    np.testing.assert_array_equal(region.points, lattice(shape, points=80).points)


def test_a_sliver_that_no_lattice_point_hits_has_one_point_inside():
    sliver = shapely.Polygon([(0, 0), (1000, 0.001), (1000, 0.002), (0, 0.001)])
    region = lattice(sliver)
    assert len(region.points) >= 1 and shapely.distance(sliver, shapely.points(region.points)).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_the_table_of_ellipses_is_the_quadrature_of_each(seed):
    rng = np.random.default_rng(seed)
    minor, ratio = np.exp(rng.uniform(np.log(0.05), np.log(3000), 4000)), np.exp(rng.uniform(0, np.log(9.0), 4000))
    axes = np.column_stack([minor * ratio, minor])[:, :: rng.choice([1, -1])]
    for range_m in (40.0, 730.0, 20_000.0):
        assert ellipse_correlation(axes, range_m) == pytest.approx(ellipse_quadrature(axes, range_m), rel=1e-6)
    beyond = np.array([[1e-6, 1e-6], [400.0, 4.0], [1e9, 1e8]])
    assert ellipse_correlation(beyond, 300.0) == pytest.approx(ellipse_quadrature(beyond, 300.0), rel=1e-12)


def test_the_variance_over_readings_is_the_plain_sum_over_each_of_them():
    """Twelve readings of fields, patches and nuggets; forty plots about two stands; every matrix of a reading made by hand."""
    rng = np.random.default_rng(8)
    readings = [
        Reading(float(rng.uniform(0.1, 1)), range_m, *map(float, rng.uniform(0.1, 1.0, 3) * (1, patch > 0, 1)))
        for range_m in (60.0, 300.0, 2000.0) for patch in (0, 1) for _ in range(2)
    ]  # fmt: skip
    level = Structure.of(readings, identified=False, degrees_of_freedom=20.0)
    place, pull = rng.uniform(-300, 700, (40, 2)), rng.normal(0, 0.02, (40, 3))
    model = make_target_model(plots=place, pull=pull, clusters=1001)
    (one,) = model.sets
    one = dataclasses.replace(one, residuals=dataclasses.replace(one.residuals, level=level))
    model = dataclasses.replace(model, sets=(one,))
    shape, sums = square(300), make_sums(9.0, s=20.0, gradient=(1.0, 0.5, -0.2))
    found = estimate([sums], [shape], model)

    gradient, influence = np.array([1.0, 0.5, -0.2]), one.sample.influence
    apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
    fine = np.arange(2.5, 300, 5.0)
    inside = np.stack(np.meshgrid(fine, fine), axis=-1).reshape(-1, 2)
    to_stand = np.hypot(*(place[:, None] - inside[None]).transpose(2, 0, 1))
    patch, pulled = one.sample.patch, influence @ gradient
    variances, weights = [], []
    for reading in level.readings:
        field = np.exp(-3 * apart / reading.range_m)
        matrix = reading.smooth * field + reading.patch * (patch[:, None] == patch) + reading.nugget * np.eye(40)
        shared = reading.smooth * 20 * np.exp(-3 * to_stand / reading.range_m).mean(axis=1)
        own = 400 * (reading.smooth * exact_correlation(shape, reading.range_m, 2.0) + reading.patch)
        variances.append(pulled @ matrix @ pulled + own + reading.nugget * 400 * 0.04 / 9 - 2 * pulled @ shared)
        weights.append(reading.weight)
    mean = np.average(variances, weights=weights)
    between = np.average((variances - mean) ** 2, weights=weights)
    doubt = min(between, 2 * mean**2 / FEWEST_BY_READINGS) + 2 * mean**2 / 20
    assert found.se**2 == pytest.approx(mean, rel=0.02)  # the stand as an ellipse and by lattice cells: 1 % of its error
    assert found.degrees_of_freedom == pytest.approx(2 * mean**2 / doubt, rel=0.02)


def test_stands_that_are_estimated_at_once_have_the_numbers_of_each_alone():
    """More stands than are taken in one go, round, ragged, in parts and too thin for a cell; one that the set sees nothing of."""
    rng = np.random.default_rng(11)
    thin = shapely.Polygon([(0, 0), (1000, 0.001), (1000, 0.002), (0, 0.001)])
    kinds = [turned(SHAPES[name], 4.0) for name in SHAPES] + [thin]
    shapes = [shapely.affinity.translate(kinds[k % len(kinds)], *rng.uniform(0, 9e3, 2)) for k in range(1100)]
    sums = [make_sums(4.0, s=float(s), gradient=rng.normal(1, 0.3, 3)) for s in np.append(rng.uniform(10, 30, 1099), 0.0)]
    readings = [Reading(0.5, 200.0, 0.6, 0.2, 0.3), Reading(0.5, 3000.0, 0.5, 0.0, 0.7)]
    level = Structure.of(readings, identified=False, degrees_of_freedom=20.0)
    model = make_target_model(plots=rng.uniform(0, 9e3, (60, 2)), pull=rng.normal(0, 0.1, (60, 3)))
    (one,) = model.sets
    one = dataclasses.replace(one, residuals=dataclasses.replace(one.residuals, level=level))
    estimator = RegionEstimator(dataclasses.replace(model, sets=(one,)), years=[2019], confidence_percent=90)
    order = rng.permutation(1100)
    regions, backwards = lattices(shapes), lattices([shapes[k] for k in order])
    at_once, mixed = estimator.estimates(Sums.stacked(sums), regions), np.argsort(order)
    other = estimator.estimates(Sums.stacked(sums), backwards, mixed)
    for name in ("mean", "se", "low", "high", "residual_variance", "area_effect_variance", "degrees_of_freedom"):
        assert getattr(at_once, name) == pytest.approx(getattr(other, name), rel=1e-12)
        for k in (*range(9), 999, 1000, 1099):
            alone = estimator.estimate([sums[k]], [lattice(shapes[k])])
            assert getattr(alone, name) == pytest.approx(getattr(at_once, name)[k], rel=1e-9), (k, name)


# ---------------------------------------------------------------- several stands


def test_two_stands_far_apart_err_independently():
    model = make_target_model(range_m=400.0, nugget=0.3)
    parts = [make_sums(4.0, s=20.0), make_sums(12.0, s=30.0)]
    shapes = [square(200), square(346.4, west=1e6)]
    one, other = (estimate([part], [shape], model).residual_variance for part, shape in zip(parts, shapes, strict=True))
    both = estimate(parts, shapes, model)
    assert both.residual_variance == pytest.approx((4 / 16) ** 2 * one + (12 / 16) ** 2 * other, rel=0.02)


def test_a_project_of_partly_covered_stands_is_the_sum_of_their_totals():
    model = make_target_model()
    seen = [make_sums(4.0, mean=100.0), make_sums(9.0, mean=200.0)]  # of 5 and 10 ha
    whole = [part.filling(area) for part, area in zip(seen, (5.0, 10.0), strict=True)]
    shapes = [square(), square(west=1000.0)]
    found = estimate(whole, shapes, model)
    assert found.mean * 15.0 == pytest.approx(100.0 * 5 + 200.0 * 10)
    alone = estimate([seen[0]], [shapes[0]], model)
    filled = estimate([whole[0]], [shapes[0]], model)
    assert filled.se == pytest.approx(alone.se)  # what nobody saw makes a stand neither better nor worse known


def test_two_halves_of_a_stand_have_the_error_of_the_whole():
    model = make_target_model(range_m=400.0, nugget=0.2, influence=[[0.0, 2.0, 0.1]])
    whole = estimate([make_sums(8.0)], [shapely.box(0, 0, 400, 200)], model)
    halves = estimate([make_sums(4.0)] * 2, [square(200), square(200, west=200)], model)
    assert halves.mean == whole.mean and halves.se == pytest.approx(whole.se, rel=0.02)


def test_stands_as_patches_err_independently_of_each_other():
    model = make_target_model(range_m=1.0, nugget=1.0, patch=1.0)
    found = estimate([make_sums(4.0)] * 4, [square(west=300 * k) for k in range(4)], model)
    assert found.residual_variance == pytest.approx(400 / 4)


def test_a_project_of_many_stands_has_the_error_that_all_their_points_would_give():
    model = make_target_model(range_m=600.0)
    shapes = [square(300, west=320 * k) for k in range(60)]
    few = estimate([make_sums(9.0)] * 60, shapes, model, points=600)
    many = estimate([make_sums(9.0)] * 60, shapes, model, points=100_000)
    assert few.se == pytest.approx(many.se, rel=0.02)


# ---------------------------------------------------------------- plots and stand together


def test_a_stand_around_its_own_plot_is_better_known_than_one_far_from_all():
    plots = np.array([[100.0, 100.0], [1e5, 0.0], [0.0, 1e5], [1e5, 1e5]])
    # the mean of four plots: each residual moves the intercept by s / 4
    model = make_target_model(range_m=500.0, plots=plots, pull=[[0.0, 5.0, 0.0]] * 4)
    near = estimate([make_sums()], [square(200)], model)
    far = estimate([make_sums()], [square(200, west=5e5)], model)
    # far away: 400 / 4 of the plots' mean, plus the stand's own
    alone = estimate([make_sums()], [square(200)], make_target_model(range_m=500.0)).residual_variance
    assert far.residual_variance == pytest.approx(100 + alone, rel=1e-3)
    assert near.residual_variance < far.residual_variance


def test_a_change_of_residuals_that_persist_wholly_has_no_residual_error():
    model = make_target_model(dates=(2019, 2024), range_m=1e9, between_dates=0.99, change_scale=1.0, years=[2019])
    s_change = float(model.sets[0].residuals.change_sd(np.array([20.0]), np.array([20.0]))[0])
    assert s_change == pytest.approx(20 * np.sqrt(0.02))
    found = estimate([make_sums(mean=3.0, s=s_change, gradient=(0, 0, 0))], [square()], model, years=(2019, 2024))
    assert found.se == pytest.approx(s_change, rel=1e-3)


def test_plots_measured_twice_carry_only_the_change_of_their_residuals_into_a_change():
    plots = np.array([[1e5, 0.0], [2e5, 0.0]] * 2)
    years = [2019, 2019, 2024, 2024]
    # a date effect told by two plots: their later residuals pull it up, their earlier ones down
    pull = [[0, 0, -10.0], [0, 0, -10.0], [0, 0, 10.0], [0, 0, 10.0]]
    model = make_target_model(
        dates=(2019, 2024), plots=plots, pull=pull, years=years, between_dates=0.5, nugget=1.0, range_m=100.0
    )
    names = np.array(["a", "b", "a", "b"])
    (one,) = model.sets
    one = dataclasses.replace(one, sample=dataclasses.replace(one.sample, plot=names, patch=names))
    model = dataclasses.replace(model, sets=(one,))
    found = estimate([make_sums(mean=3.0, s=0.0, gradient=(0, 0, 1))], [square()], model, years=(2019, 2024))
    # each plot: 10^2 x (1 + 1 - 2 x 0.5); two plots
    assert found.residual_variance == pytest.approx(200)


# ---------------------------------------------------------------- repeated sampling


def test_intervals_of_planted_fields_hold_the_stand_as_often_as_they_say(monkeypatch):
    """300 fields with known correlation on a 1 km square, 60 plots each, three stands: 90 % within Monte Carlo error."""
    side, cell, range_m, nugget, sd = 28, 36.0, 250.0, 0.3, 20.0
    truth = Structure.known(range_m, nugget)
    monkeypatch.setattr(diagnostics, "spatial_structure", lambda *args, **options: truth)
    rng = np.random.default_rng(12)
    centre = (np.arange(side) + 0.5) * cell
    x, y = (part.ravel() for part in np.meshgrid(centre, centre))
    distance = np.hypot(x[:, None] - x[None, :], y[:, None] - y[None, :])
    lower = np.linalg.cholesky((1 - nugget) * np.exp(-3 * distance / range_m) + nugget * np.eye(len(x)))
    shapes = [shapely.box(0, 0, 6 * cell, 6 * cell), shapely.box(396, 396, 828, 540), shapely.box(720, 36, 972, 216)]
    inside = [shapely.contains_xy(shape, x, y) for shape in shapes]
    held = np.zeros(3)
    fields = sd * lower @ rng.normal(size=(len(x), 300))
    zmean = rng.uniform(5, 25, len(x))
    for field in fields.T:
        agb = 100 + 12 * zmean + field
        chosen = rng.choice(len(x), 60, replace=False)
        plots = make_plots_at(chosen, x, y, zmean, agb, cell**2 / 1e4)
        model, _ = fit_target(
            plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", transform="none"
        )
        found = model.predict({"zmean": zmean}, 2019)
        for number, (shape, rows) in enumerate(zip(shapes, inside, strict=True)):
            hectares = np.full(rows.sum(), cell**2 / 1e4)
            s = found["residual_sd"][rows]
            sums = Sums(
                hectares.sum(), (hectares * found["mean"][rows]).sum(), np.array([hectares.sum()]),
                np.array([(hectares * s).sum()]), np.array([(hectares * s**2).sum()]),
                (hectares[:, None] * found["gradient"][rows]).sum(axis=0),
            )  # fmt: skip
            result = estimate([sums], [shape], model)
            held[number] += result.low <= agb[rows].mean() <= result.high
    assert held.mean() / 300 == pytest.approx(0.90, abs=0.06)
    assert (held / 300 > 0.82).all()


def make_plots_at(chosen, x, y, zmean, agb, area_ha):
    names = [f"p{k:04d}" for k in chosen]
    return pd.DataFrame(
        {"plot": names, "cluster": names, "year": 2019, "x": x[chosen], "y": y[chosen], "area_ha": area_ha,
         "zmean": zmean[chosen], "agb_mg_ha": agb[chosen]}
    )  # fmt: skip
