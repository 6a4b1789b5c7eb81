"""Stands as patches: which plots lie in them, what these tell of them, and what they take off their errors."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM, make_target_model

from models.inference.patches import patches_of, with_stands
from models.inference.residuals import spatial_structure
from models.inference.stands import RegionEstimator, Sums, lattice


def make_polygons(*boxes, names="abcd"):
    shapes = [shapely.box(*box) for box in boxes]
    return gpd.GeoDataFrame({"stand": list(names[: len(shapes)])}, geometry=shapes, crs=UTM).assign(
        area_ha=[shape.area / 1e4 for shape in shapes]
    )


def test_a_plot_lies_in_the_stand_around_it_and_the_first_of_two_on_their_border():
    polygons = make_polygons((0, 0, 200, 200), (200, 0, 400, 200), (1000, 0, 2000, 250))  # the last has 25 ha
    rows = pd.DataFrame({"x": [50.0, 300, 200, 500, 1500, np.nan], "y": [50.0, 50, 50, 50, 50, 50]}, index=[3, 1, 4, 0, 5, 9])
    stands = with_stands(rows, polygons)["stand"]
    assert stands.fillna("none").tolist() == ["a", "b", "a", "none", "none", "none"]
    assert stands.index.tolist() == rows.index.tolist()


def test_no_stand_at_all_leaves_every_plot_to_its_cluster():
    rows = with_stands(pd.DataFrame({"x": [1.0, 2], "y": [1.0, 2]}), make_polygons((0, 0, 900, 900)))
    assert rows["stand"].isna().all()
    assert patches_of(rows, pd.Series(["c1", "c2"])).tolist() == ["c1", "c2"]


def test_a_patch_is_the_stand_and_where_none_is_told_what_stands_in_for_it():
    rows = pd.DataFrame({"stand": pd.array(["a", pd.NA, "b"], dtype="string")})
    assert patches_of(rows, pd.Series(["c1", "c1", "c2"])).tolist() == ["stand a", "c1", "stand b"]
    assert patches_of(rows.drop(columns="stand"), pd.Series(["c1", "c1", "c2"])).tolist() == ["c1", "c1", "c2"]


def test_a_name_that_is_missing_is_refused():
    """As text it would cut all names to its first letter: one patch would hold all plots."""
    rows = pd.DataFrame({"stand": pd.array(["a", pd.NA, pd.NA], dtype="string")})
    with pytest.raises(ValueError, match="1 of 3 rows have no name of a patch"):
        patches_of(rows, pd.Series(["c1", None, "c2"]))


def test_one_patch_that_holds_all_plots_says_nothing_of_patches():
    """It is the regression's level: any variance of it would do, and a mean over readings would be of that."""
    rng = np.random.default_rng(3)
    xy, z = rng.uniform(0, 2000, (60, 2)), rng.normal(size=60)
    spread = rng.uniform(0.5, 2.0, 60)  # residuals of unequal size: the level's column is not constant
    for columns in (np.ones((60, 1)), 1 / spread[:, None]):
        one = spatial_structure(z, xy, columns, np.repeat("all", 60))
        apart = spatial_structure(z, xy, columns, np.arange(60).astype(str))
        variance, expected = ([k.smooth + k.patch + k.nugget for k in found.readings] for found in (one, apart))
        assert one.patch == 0 and variance == pytest.approx(expected) and max(variance) < 10


def test_plots_that_know_their_stands_tell_that_these_depart_as_wholes():
    """Squares of 4 ha, all of one type, that depart as wholes (0.8 of the variance); clusters of four plots 90 m apart lie across
    their borders. Over 20 draws the mean share of patches told by stands is near 0.8; by clusters it cannot be."""
    found = {"stands": [], "clusters": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 45
        xy = (rng.uniform(100, 1500, (16, 1, 2)) + corners).reshape(-1, 2)
        number = np.floor(xy / 200).astype(int) @ [100, 1]
        departure = {one: rng.normal(0, np.sqrt(0.8)) for one in np.unique(number)}
        z = np.array([departure[one] for one in number]) + rng.normal(0, np.sqrt(0.2), len(number))
        for name, patch in (("stands", number), ("clusters", np.repeat(np.arange(16), 4))):
            told = spatial_structure(z, xy, np.ones((len(z), 1)), patch.astype(str))
            found[name].append(told.patch)
    share, error = {k: np.mean(v) for k, v in found.items()}, np.std(found["stands"], ddof=1) / np.sqrt(20)
    assert share["stands"] > 0.65 and error < 0.03, share
    assert share["clusters"] < share["stands"] - 0.2, share


def error_of(pulls, shown):
    """Residual variance of stands of 4 ha that depart as wholes (SD 20), one plot in each stand with these pulls on the mean."""
    plots = np.array([(300.0 * k + 100, 100.0) for k in range(4)])
    pull = np.array([(0.0, one, 0.0) for one in pulls])
    model = make_target_model(range_m=1.0, nugget=0.0, patch=1.0, plots=plots, pull=pull)
    one = model.sets[0]
    model = replace(model, sets=(replace(one, sample=replace(one.sample, patch=np.array([f"stand {k}" for k in range(4)]))),))
    squares = [lattice(shapely.box(300 * k, 0, 300 * k + 200, 200)) for k in range(4)]
    shapes = [replace(square, patch=np.array([f"stand {k}"], object)) for k, square in enumerate(squares)]
    area = np.array([4.0])
    sums = Sums(4.0, 600.0, area, area * 20, area * 400, 4 * np.array([0.0, 1.0, 0.0]))
    estimator = RegionEstimator(model, years=(2019,), confidence_percent=90)
    return estimator.estimate([sums] * len(shown), [shapes[k] for k in shown]).residual_variance


@pytest.mark.parametrize(
    ("pulls", "shown", "expected"),
    [
        ((5, 5, 5, 5), [0, 1, 2, 3], 0.0),  # each stand has a plot that weighs as much as the stand does: 20 / 4
        ((10, 10, 0, 0), [0, 1, 2, 3], 2 * 5**2 + 2 * 5**2),  # (pull - own weight) squared, stand by stand
        ((5, 5, 5, 5), [0], (5 - 20) ** 2 + 3 * 5**2),
        ((0, 5, 5, 5), [0], 20**2 + 3 * 5**2),
    ],
    ids=["all_stands_seen_alike", "half_of_them_seen", "one_stand_with_a_plot", "one_without"],
)
def test_what_a_stand_has_in_common_with_its_plots_is_counted_once(pulls, shown, expected):
    assert error_of(pulls, shown) == pytest.approx(expected, abs=1e-9)
