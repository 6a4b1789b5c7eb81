"""Plots meet predictors at their own footprint; what is left out is counted and stays in the table with its reason."""

from __future__ import annotations

import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM, make_grid, make_plots

from pipeline import store
from pipeline.grid import Window
from pipeline.steps.fit import fit
from pipeline.steps.training import training
from pipeline.steps.windows import footprint_shares

WEST, NORTH = 500_000, 3_000_000


def make_sources(folder, grid, images, *, seen=("09-30",), halo_px=0):
    """Composites of one sensor with the band `red`, image by year, in block files under `folder`."""
    for year, image in images.items():
        for block in grid.blocks():
            place = grid.block_window(block)
            file = folder / f"composite/eye_{year}/{block}.tif"
            store.write_raster(file, {"red": image[place.slices]}, geobox=grid.geobox_of(place))
    return {
        "sensors": {"eye": {"folder": str(folder / "composite"), "prefix": "e", "roles": ["red"]}},
        "lidar_folder": str(folder / "lidar"),
        "campaign_of_year": dict.fromkeys(map(str, images)),
        "seen": {str(year): [f"{year}-{day}" for day in seen] for year in images},
        "metrics": [],
        "halo_px": halo_px,
    }


def make_footprints(*boxes, **columns):
    """Plots with square footprints, counted east and south from the grid's corner, metres."""
    shapes = [shapely.box(WEST + x0, NORTH - y1, WEST + x1, NORTH - y0) for x0, y0, x1, y1 in boxes]
    names = [f"p{k}" for k in range(len(shapes))]
    plots = gpd.GeoDataFrame({"plot": names, "cluster": names}, geometry=shapes, crs=UTM)
    plots = plots.assign(
        date=pd.Timestamp("2019-07-10"), area_ha=plots.area / 1e4, agb_mg_ha=100.0, kept=True, reason=pd.Series("", dtype=object)
    )
    return plots.assign(**columns)


def run(folder, plots, sources, grid, *, years=(2019,), names=("e_red",), **options):
    store.write_table(folder / "plots.parquet", plots)
    training(
        table=folder / "training.parquet", plots=folder / "plots.parquet", grid=grid.settings(), target="agb",
        column="agb_mg_ha", predictor_sets={"satellite": list(names)}, sources=sources, campaigns={}, years=list(years),
        max_years_apart=options.pop("max_years_apart", 1.0), **options,
    )  # fmt: skip
    return store.read_table(folder / "training.parquet")


def make_image(seed=1, shape=(40, 56)):
    return np.random.default_rng(seed).uniform(0.01, 0.6, shape).astype("float32")


def test_a_plot_s_predictor_is_the_area_weighted_mean_of_its_pixels(tmp_path):
    grid, image = make_grid(), make_image()
    # 2 x 3 pixels whole; then 5 m into one column and 2 m into the next, 10 m of one row and 4 m of the next
    plots = make_footprints((20, 10, 50, 30), (155, 150, 162, 164), (315, 315, 325, 325))
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: image}), grid)
    across = (5 * 10 * image[15, 15] + 2 * 10 * image[15, 16] + 5 * 4 * image[16, 15] + 2 * 4 * image[16, 16]) / (7 * 14)
    expected = [image[1:3, 2:5].mean(), across, image[31:33, 31:33].mean()]
    assert table["e_red"].tolist() == pytest.approx(expected, rel=1e-5)
    assert table["kept"].all() and table["year"].tolist() == [2019] * 3
    assert table["x"][0] == WEST + 35 and table["y"][0] == NORTH - 20


@pytest.mark.parametrize("seed", range(6))
def test_a_footprint_s_share_of_each_pixel_is_the_area_of_their_intersection(seed):
    """Held against GEOS, pixel by pixel: rings either way round, holes, parts, and places beyond the window's edge."""
    rng, grid = np.random.default_rng(seed), make_grid()
    centre = shapely.Point(WEST + rng.uniform(60, 500), NORTH - rng.uniform(60, 340))
    round_one = centre.buffer(rng.uniform(4, 70))
    ring = round_one.difference(centre.buffer(rng.uniform(1, 3)))
    corners = shapely.MultiPoint(np.column_stack([WEST + rng.uniform(0, 560, 7), NORTH - rng.uniform(0, 400, 7)])).convex_hull
    aligned = shapely.box(WEST + 100, NORTH - 150, WEST + 130, NORTH - 120)
    several = shapely.MultiPolygon([aligned, shapely.box(WEST + 200, NORTH - 50, WEST + 203, NORTH - 41)])
    footprints = [round_one, ring, ring.reverse(), corners, aligned, several]
    for window in (grid.window, Window(8, 23, 11, 30)):
        west, south, east, north = grid.bounds_of(window)
        x, y = np.meshgrid(np.arange(west, east, 10), np.arange(north, south, -10))
        pixels = shapely.box(x, y - 10, x + 10, y)
        expected = [shapely.area(shapely.intersection(pixels, footprint)) / 100 for footprint in footprints]
        found = footprint_shares(footprints, grid, window)
        np.testing.assert_allclose(found, expected, atol=1e-8)
        assert ((found > 0) == (np.array(expected) > 1e-8)).all(), "a pixel that is not touched has no share at all"


def test_a_plot_is_seen_whole_across_blocks_whatever_their_size(tmp_path):
    plots = make_footprints((155, 150, 172, 170), (300, 310, 330, 333))
    found = []
    for size in (1, 2, 8):
        grid, folder = make_grid(block_chunks=size), tmp_path / str(size)
        found.append(run(folder, plots, make_sources(folder, grid, {2019: make_image()}), grid)["e_red"].tolist())
    assert found[0] == found[1] == found[2]


def test_each_plot_meets_the_study_year_nearest_to_its_measurement(tmp_path):
    grid = make_grid()
    images = {2019: make_image(1), 2024: make_image(2)}
    dates = pd.to_datetime(["2019-07-01", "2018-08-01", "2024-12-01", "2021-07-01", "2025-08-15"])
    plots = make_footprints(*[(20 * k, 0, 20 * k + 20, 20) for k in range(5)], date=dates)
    table = run(tmp_path, plots, make_sources(tmp_path, grid, images), grid, years=(2019, 2024))
    assert table["year"].tolist()[:3] == [2019, 2019, 2024] and table["year"].isna().tolist()[3:] == [True, True]
    assert table["kept"].tolist() == [True, True, True, False, False]
    assert set(table["reason"][3:]) == {"no study year within 1 years of its measurement"}
    assert table["e_red"][2] == pytest.approx(images[2024][0:2, 4:6].mean()) and np.isnan(table["e_red"][3])


def test_plots_disturbed_between_measurement_and_image_drop_out_counted(tmp_path, caplog):
    grid = make_grid()
    felled = pd.to_datetime([None, "2019-08-01", "2019-10-15", "2019-06-01", "2019-09-30"])
    plots = make_footprints(*[(20 * k, 0, 20 * k + 20, 20) for k in range(5)], disturbance_date=felled)
    with caplog.at_level(logging.INFO):
        table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)
    # measured 10 July, seen until 30 September
    assert table["kept"].tolist() == [True, False, True, True, False]
    assert "left out 2 plot measurements: disturbed between measurement and image or campaign (p1, p4)" in caplog.text
    assert "3 of 5 plot measurements meet predictors" in caplog.text


def test_a_plot_left_out_at_both_dates_is_named_once(caplog):
    from pipeline.steps.training import _report

    frame = pd.DataFrame({"plot": ["p1", "p2"] * 2, "kept": [False, False, False, True], "reason": "no image", "area_ha": 0.04})
    with caplog.at_level(logging.INFO):
        _report(frame, make_grid())
    assert "left out 3 plot measurements: no image (p1, p2)" in caplog.text


def test_a_plot_felled_before_it_was_measured_but_after_it_was_seen_drops_out_too(tmp_path):
    grid = make_grid()
    felled = pd.to_datetime(["2019-10-10", "2019-05-01"])
    plots = make_footprints((0, 0, 20, 20), (20, 0, 40, 20), date=pd.Timestamp("2019-11-01"), disturbance_date=felled)
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)
    assert table["kept"].tolist() == [False, True]


def test_plots_under_clouds_stay_in_the_table_with_a_reason(tmp_path):
    grid, image = make_grid(), make_image()
    image[0, :] = np.nan
    image[1, 4] = np.nan
    plots = make_footprints((0, 0, 20, 10), (0, 0, 20, 30), (30, 10, 60, 20))
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: image}), grid)
    # no pixel; two thirds; two of three
    assert table["kept"].tolist() == [False, True, True]
    assert table["reason"][0] == "no predictor is there at its place and date"
    assert table["e_red"][1] == pytest.approx(image[1:3, 0:2].mean()) and table["e_red"][2] == pytest.approx(
        (image[1, 3] + image[1, 5]) / 2
    )


def test_a_plot_of_which_less_than_half_is_seen_has_no_predictor(tmp_path):
    grid, image = make_grid(), make_image()
    image[0:2, 0] = np.nan
    table = run(
        tmp_path, make_footprints((0, 0, 10, 30), (20, 0, 40, 20)), make_sources(tmp_path, grid, {2019: image}), grid
    )
    assert np.isnan(table["e_red"][0]) and not table["kept"][0]


def test_what_others_left_out_stays_left_out_with_its_reason(tmp_path):
    grid = make_grid()
    plots = make_footprints((0, 0, 20, 20), (20, 0, 40, 20), (40, 0, 60, 20))
    plots.loc[1, ["kept", "reason"]] = [False, "not wholly inside the study's area"]
    plots.loc[2, "agb_mg_ha"] = np.nan
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)
    assert table["reason"].tolist() == ["", "not wholly inside the study's area", "no agb_mg_ha"]
    assert len(table) == 3


def test_plots_of_another_size_than_a_cell_are_flagged(tmp_path, caplog):
    grid = make_grid()
    plots = make_footprints((0, 0, 10, 10), (20, 0, 32, 12), (100, 0, 120, 20), (200, 0, 206, 6))
    with caplog.at_level(logging.WARNING):
        table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)
    assert table["support_ratio"].tolist() == pytest.approx([1, 100 / 144, 0.25, 100 / 36])
    assert "2 of 4 plot measurements differ from the grid cell (0.01 ha) in area by more than a factor 2" in caplog.text


def test_no_plot_that_can_be_used_is_a_sentence_with_the_reasons(tmp_path):
    grid = make_grid()
    plots = make_footprints((0, 0, 20, 20), (20, 0, 40, 20), date=pd.to_datetime(["2011-07-01", "2012-07-01"]))
    with pytest.raises(ValueError, match="none of 2 plot measurements can be used for agb: 2 x no study year within 1 years"):
        run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)


def test_plots_without_the_target_say_what_they_carry(tmp_path):
    grid = make_grid()
    plots = make_footprints((0, 0, 20, 20), stems_n_ha=900.0).drop(columns="agb_mg_ha")
    with pytest.raises(ValueError, match="the plots carry no agb_mg_ha, so agb cannot be mapped; they carry stems_n_ha"):
        run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_image()}), grid)


# ---------------------------------------------------------------- plots that may lie elsewhere


def make_slope(shape=(40, 56)):
    """A band that rises by 0.01 for every metre to the east."""
    return np.broadcast_to(0.1 * (np.arange(shape[1]) + 0.5), shape).astype("float32")


def test_a_plot_that_may_lie_elsewhere_has_the_mean_of_what_is_seen_there(tmp_path):
    grid = make_grid()
    plots = make_footprints((200, 200, 220, 220), (200, 100, 220, 120), position_error_m=[8.0, np.nan])
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: make_slope()}), grid)
    # 210 m to the east; 8 m off (root mean square) are a variance of 32 m2 to the east, 0.01 per metre
    assert table["e_red"].tolist() == pytest.approx([2.1, 2.1], rel=1e-5)
    assert np.var(table["displaced_e_red"][0]) == pytest.approx(0.01**2 * 32, rel=1e-3)
    assert table["displaced_e_red"][1] is None and len(table["displaced_e_red"][0]) == 18


def test_plots_without_a_position_error_are_seen_as_if_there_were_no_such_thing(tmp_path):
    grid, image = make_grid(), make_image()
    boxes = (20, 10, 50, 30), (155, 150, 162, 164)
    found = []
    for name, errors in (("without", {}), ("zero", {"position_error_m": [0.0, np.nan]})):
        sources = make_sources(tmp_path / name, grid, {2019: image})
        found.append(run(tmp_path / name, make_footprints(*boxes, **errors), sources, grid))
    assert found[0]["e_red"].tolist() == found[1]["e_red"].tolist()
    assert not [name for name in found[1] if name.startswith("displaced_")]


def test_a_plot_that_mostly_may_lie_where_nothing_was_seen_has_no_predictor(tmp_path):
    grid, image = make_grid(), make_image()
    image[:, 30:] = np.nan
    # of 18 places about 20 m around, those east of 300 m see nothing: all but a few of the first plot, a few of the second
    plots = make_footprints((302, 100, 322, 120), (262, 100, 282, 120), position_error_m=20.0)
    table = run(tmp_path, plots, make_sources(tmp_path, grid, {2019: image}), grid)
    assert table["kept"].tolist() == [False, True]
    seen = np.array(table["displaced_e_red"][1], float)
    assert 9 <= np.isfinite(seen).sum() < 18 and table["e_red"][1] == pytest.approx(np.nanmean(seen))


# ---------------------------------------------------------------- what the fit makes of the table


def fit_table(folder, plots, *, target="agb", column="agb_mg_ha", **settings):
    store.write_table(folder / "training.parquet", plots.assign(kept=plots["plot"] != "p000"))
    fit(
        model=folder / "model.json", left_out=folder / "left_out.parquet", table=folder / "training.parquet", target=target,
        column=column, predictor_sets={"lidar": ["zmean"]},
        settings={"regressor": "linear", "transform": "sqrt", "path": "auto", "date_effect": "always", "min_clusters": 4}
        | settings,
    )  # fmt: skip
    return store.read_json(folder / "model.json")


def test_only_kept_rows_are_fitted_and_each_is_predicted_without_its_cluster(tmp_path):
    model = fit_table(tmp_path, make_plots(n=20))
    assert model["counts"]["plots"] == 19
    left_out = store.read_table(tmp_path / "left_out.parquet")
    assert len(left_out) == 19 and "p000" not in set(left_out["plot"])


def test_an_upper_bound_is_one_reading_of_those_that_are_averaged_else(tmp_path):
    """Single plots tell next to nothing of ranges, so the bound is a long one."""
    plots = make_plots(n=40)
    mean, bound = (fit_table(tmp_path, plots, residuals=how)["sets"][0] for how in ("averaged", "upper_bound"))
    assert mean["params"] == bound["params"] and len(mean["residuals"]["level"]["readings"]) > 1
    (one,) = bound["residuals"]["level"]["readings"]
    assert one["weight"] == 1 and one | {"weight": 0} in [k | {"weight": 0} for k in mean["residuals"]["level"]["readings"]]
    assert one["range_m"] >= np.median([k["range_m"] for k in mean["residuals"]["level"]["readings"]])


def test_errors_of_biomass_are_not_taken_for_errors_of_another_target(tmp_path):
    plots = make_plots(n=20)
    plots = plots.assign(basal_area_m2_ha=plots["agb_mg_ha"] / 8, f_allometry_all_1=0.1 * plots["agb_mg_ha"])
    assert len(fit_table(tmp_path, plots)["shared"]) == 1
    other = fit_table(tmp_path, plots, target="basal_area", column="basal_area_m2_ha")
    assert other["shared"] == []


def test_a_constant_default_predictor_is_left_out_of_a_study_and_one_that_somebody_named_stops_it(tmp_path, caplog):
    """A closed canopy: cover is 100 % at every plot."""
    table = tmp_path / "training.parquet"
    store.write_table(table, make_plots(n=24).assign(kept=True, cover_2m=100.0))
    ask = {
        "model": tmp_path / "model.json", "left_out": tmp_path / "left_out.parquet", "table": table, "target": "agb",
        "column": "agb_mg_ha", "predictor_sets": {"lidar": ["zmean", "cover_2m"]},
        "settings": {"regressor": "linear", "transform": "sqrt", "date_effect": "always", "min_clusters": 4, "path": "direct"},
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"cover_2m is constant over the plots.*take it out of model.predictors"):
        fit(**ask)
    fit(**ask, predictors_named=False)
    model = store.read_json(tmp_path / "model.json")
    assert model["sets"][0]["predictors"] == ["zmean"]
    assert "cover_2m, one of the predictors that are taken where model.predictors names none, is 100 at all 24" in caplog.text
    assert any("cover_2m" in note for note in model["warnings"])
