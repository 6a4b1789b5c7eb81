"""One block's maps and sums: the same whatever the strips, and no map from predictors in another unit."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM, make_plots

from models.applicability import other_unit
from models.inference.fitted import fit_target
from pipeline import mapping, store
from pipeline.applicability import farthest_sentence, scale_sentences, size_of
from pipeline.grid import Grid
from pipeline.steps import estimate as step
from pipeline.zonal import combine, vectors, within

SIDE = 40
GRID = Grid(UTM, 500_000.0, 3_000_000.0, 10.0, SIDE, SIDE, chunk_px=20, block_chunks=2)


def make_predictors(seed=1, factor=1.0):
    rng = np.random.default_rng(seed)
    zmean = rng.uniform(5, 22, (SIDE, SIDE))
    zmean[3, 4] = np.nan
    return {"zmean": factor * zmean, "cover_2m": rng.uniform(20, 90, (SIDE, SIDE))}


@pytest.fixture(scope="module")
def model():
    plots = make_plots(n=60, years=(2019, 2024), noise=15)
    return fit_target(plots, {"lidar": ("zmean", "cover_2m")}, target="agb", column="agb_mg_ha", regressor="mix")[0]


INSIDE = np.s_[2:39, 2:19]
"""Pixels wholly inside stand `a`, x 13-198 m and y 12-390 m from the corner."""
STANDS_FOR = np.ones((37, 17))
"""Of those how many each stands for: shares of 0.7, 0.8 and 0.8 of a pixel lie to the west, east and north of them."""
STANDS_FOR[:, 0] += 0.7
STANDS_FOR[:, -1] += 0.8
STANDS_FOR[0, :] += 0.8
STANDS_FOR[0, [0, -1]] += 0.8 * np.array([0.7, 0.8])


@pytest.fixture
def run(tmp_path, monkeypatch, model):
    """Run the step on arrays in place of files; the maps' bands and the combined sums."""
    store.write_json(tmp_path / "model.json", model.to_plain())
    west, north = 500_000.0, 3_000_000.0
    boxes = [shapely.box(west + x, north - 390, west + x + 185, north - 12) for x in (13, 200)]
    polygons = gpd.GeoDataFrame({"stand": ["a", "b"]}, geometry=boxes, crs=UTM)
    monkeypatch.setattr(step, "read_stands", lambda *_, **__: polygons)
    stock = [{"name": name, "units": "1"} for name in ("value", "se", "in_domain", "set")]
    wanted = [
        {"name": "agb_2024", "kind": "stock", "title": "", "target": "agb", "years": [2024], "bands": stock},
        {"name": "sink", "kind": "sink", "title": "", "target": "agb", "years": [2019, 2024], "bands": stock[:2]},
        {"name": "reach", "kind": "applicability", "title": "", "target": "agb", "years": [2024],
         "bands": [{"name": name, "units": "1"} for name in ("index", "density", "inside")]},
        {"name": "forest", "kind": "forest", "title": "", "target": None, "years": [2019, 2024], "bands": stock[:1]},
    ]

    def go(seen, name="out"):
        monkeypatch.setattr(
            step, "read_predictors",
            lambda grid, window, year, sources, names: {one: array[window.slices] for one, array in seen[year].items()},
        )  # fmt: skip
        step.estimate(
            maps={product["name"]: tmp_path / f"{name}_{product['name']}.tif" for product in wanted},
            partials=tmp_path / f"{name}.parquet", models={"agb": tmp_path / "model.json"}, settings={}, grid=GRID.settings(),
            block=GRID.blocks()[0], years=[2019, 2024], sources={},
            forest={"source": "everywhere", "min_area_ha": 0}, products=wanted,
            carbon={"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47}, sizes=tmp_path / "sizes.json",
        )  # fmt: skip
        maps = {product["name"]: store.read_raster(tmp_path / f"{name}_{product['name']}.tif") for product in wanted}
        return maps, pd.concat(combine([store.read_table(tmp_path / f"{name}.parquet")]).values())

    return go


def test_maps_and_sums_are_the_same_in_one_strip_and_in_many(run, monkeypatch, model):
    seen = {2019: make_predictors(), 2024: make_predictors(2)}
    maps, sums = run(seen, "whole")
    monkeypatch.setattr(mapping, "STRIP_NUMBERS", 33 * model.influence.shape[1])
    assert len(mapping.strips(model, 400)) == 13
    parts, others = run(seen, "parts")
    for name, bands in maps.items():
        for band, array in bands.items():
            np.testing.assert_allclose(parts[name][band], array, rtol=1e-5, equal_nan=True)
    for column in ("n_px", "covered_ha", "sum_value", "sum_dissimilarity", "sum_density"):
        assert others[column].to_numpy() == pytest.approx(sums[column].to_numpy(), rel=1e-5, nan_ok=True)
    first, second = (vectors(table, "sum_gradient") for table in (sums, others))
    assert second == pytest.approx(first, rel=1e-4, abs=1e-4)


def test_the_sums_of_a_stand_are_those_of_its_pixels(run):
    maps, sums = run({2019: make_predictors(), 2024: make_predictors(2)})
    row = sums.query("estimand == 'agb_2024' and stand == 'a' and part == 'interior'").iloc[0]
    pixels = maps["agb_2024"]["value"][INSIDE]
    assert row["sum_value"] == pytest.approx(0.01 * np.nansum(STANDS_FOR * pixels), rel=1e-5)
    assert row["covered_ha"] == pytest.approx(0.01 * STANDS_FOR[np.isfinite(pixels)].sum())
    assert row["n_px"] == pixels.size and row["area_ha"] == pytest.approx(0.01 * pixels.size)


def test_the_area_of_applicability_is_told_per_pixel_and_summed_per_stand(run, model):
    """Index and density as brute force over the model's own plots finds them; the year that was not asked for has none."""
    seen = {2019: make_predictors(), 2024: make_predictors(2)}
    maps, sums = run(seen)
    domain, bands = model.sets[0].domain, maps["reach"]
    X = np.column_stack([seen[2024][name].ravel() for name in ("zmean", "cover_2m")])
    apart = np.linalg.norm(((X - domain.centre) * domain.scale)[:, None] - domain.plots[None], axis=2)
    index = (apart.min(axis=1) / domain.mean_distance).reshape(SIDE, SIDE)
    density = (apart <= domain.threshold * domain.mean_distance).sum(axis=1).reshape(SIDE, SIDE)
    np.testing.assert_allclose(bands["index"], index, rtol=1e-5)
    there = np.isfinite(index)
    assert (bands["density"][there] == density[there]).all() and np.isnan(bands["density"][~there]).all()
    assert (bands["inside"][there] == maps["agb_2024"]["in_domain"][there]).all() and 0 < np.nanmean(bands["inside"]) < 1
    row = sums.query("estimand == 'agb_2024' and stand == 'a' and part == 'interior'").iloc[0]
    assert row["sum_dissimilarity"] == pytest.approx(0.01 * np.nansum(STANDS_FOR * index[INSIDE]), rel=1e-5)
    assert row["sum_density"] == pytest.approx(0.01 * (STANDS_FOR * density[INSIDE])[there[INSIDE]].sum(), rel=1e-5)
    assert np.isnan(sums.query("estimand == 'agb_2019'")["sum_density"]).all()


def test_a_predictor_in_another_unit_is_no_map_but_a_sentence(run):
    seen = {2019: make_predictors(factor=100.0), 2024: make_predictors(2)}
    with pytest.raises(ValueError, match=r"predictor 'zmean' of 2019 is 5\d\d.* to 2\d\d\d.* on the map and 1\d\.\d+ on average"):
        run(seen)


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        (np.linspace(500, 2200, 400), True),  # centimetres
        (np.linspace(5, 22, 400), False),
        (np.linspace(0, 2, 400), False),  # low, but forests may be: `scale_differs` says it
        (np.linspace(40, 60, 400), False),  # taller than any plot: outside the domain, not another unit
        (np.linspace(500, 2200, 40), False),  # too few to tell
        (np.full(400, np.nan), False),
    ],
    ids=["centimetres", "alike", "low", "tall", "few", "missing"],
)
def test_another_unit_is_told_from_another_forest(values, differs):
    assert (other_unit(14.0, 6.0, values) is not None) == differs


FOREST = np.random.default_rng(5).gamma(6.0, 2.4, 4000)  # mean 14.4, standard deviation 5.9, as plots' 14 and 6


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (FOREST / 100, "percent and shares, or centimetres and metres"),
        (FOREST * 100, "percent and shares, or centimetres and metres"),
        (FOREST * 1e-4, "reflectance and its scaled integers"),
        (FOREST / 0.3048, "feet and metres"),
        (FOREST * 0.3048, "feet and metres"),
        (FOREST / 8, "a factor of about 0.1"),  # no unit that is known, and as well a young forest
        (FOREST, None),
        (FOREST / 2, None),
        (50 + FOREST, None),  # another level, the same spread: no unit does that
        (np.full(400, 0.1), None),  # bare land: no spread to go by
        (FOREST[:40] / 100, None),
    ],
    ids=["shares", "centimetres", "reflectance", "feet", "from feet", "no unit", "alike", "lower", "taller", "bare", "few"],
)
def test_a_map_that_differs_in_level_and_spread_by_one_factor_is_said_with_the_units_that_do(values, said):
    sizes = [{"predictor": "zmean", "year": 2024, **size_of(values)}]
    found = scale_sentences(sizes, [{"predictors": ["zmean"], "centre": [14.0], "spread": [6.0]}])
    assert found == [] if said is None else said in found[0]


def test_a_map_of_another_scale_is_told_once_for_each_predictor_and_year(run, model, tmp_path):
    run({2019: make_predictors(factor=0.01), 2024: make_predictors(2)})
    (said,) = scale_sentences(store.read_json(tmp_path / "sizes.json")["sizes"], model.to_plain()["sets"])
    assert "predictor 'zmean' of 2019" in said and "centimetres and metres" in said
    run({2019: make_predictors(), 2024: make_predictors(2)})
    assert scale_sentences(store.read_json(tmp_path / "sizes.json")["sizes"], model.to_plain()["sets"]) == []


def test_one_block_of_low_forest_is_no_other_unit_but_all_blocks_are():
    """At the plots 14 +- 6; a block at 0.3 of that looks like feet and metres by itself."""
    sets = [{"predictors": ["zmean"], "centre": [14.0], "spread": [6.0]}]
    usual = {"predictor": "zmean", "year": 2024, **size_of(np.linspace(4, 24, 400))}
    low = {"predictor": "zmean", "year": 2024, **size_of(np.linspace(4, 24, 400) * 0.3048)}
    assert scale_sentences([low, usual, usual], sets) == []
    (said,) = scale_sentences([low, low, low], sets)
    # quantiles of 4 to 24: 5 and 23, times 0.3048
    assert said.startswith("predictor 'zmean' of 2024 is 1.524 to 7.01 on the map and 14 on average")
    assert "feet and metres" in said
    assert scale_sentences([low | {"n": 10}], sets) == [], "too few values to tell"


def test_the_predictor_that_is_farthest_from_the_plots_is_told_with_its_range():
    """Canopies of feet: 46 on average where plots have 14 +- 8, four of their deviations; cover is one of its away."""
    sets = [{"predictors": ["cover_2m", "zmean"], "centre": [60.0, 14.0], "spread": [20.0, 8.0]}]
    rows = [
        {"predictor": name, "year": 2024, **size_of(np.linspace(low, high, 400))}
        for name, low, high in (("cover_2m", 60, 100), ("zmean", 26, 66))
    ]
    said = farthest_sentence(rows, sets)
    assert said.startswith("farthest from the plots is predictor 'zmean' of 2024, 28 to 64 on the map and 14 on average at")
    assert farthest_sentence([], sets) == ""


def test_sizes_of_blocks_add_up_to_those_of_the_map(monkeypatch):
    from pipeline import applicability

    values, told = np.random.default_rng(3).gamma(3, 4, 900), []
    monkeypatch.setattr(applicability, "scale_differs", lambda *numbers: told.append(numbers))
    rows = [{"predictor": "x", "year": 2019, **size_of(part)} for part in np.split(values, [100, 350])]
    scale_sentences(rows, [{"predictors": ["x"], "centre": [1.0], "spread": [2.0]}])
    assert told[0][:4] == pytest.approx((1.0, 2.0, values.mean(), values.std()))
    assert size_of(np.array([np.nan])) is None


def test_quantile_bands_are_of_the_plots_like_each_pixel_and_zero_outside_forest():
    plots = make_plots(n=60, noise=15)
    model, _ = fit_target(
        plots, {"lidar": ("zmean", "cover_2m")}, target="agb", column="agb_mg_ha", regressor="quantile_forest"
    )
    seen = {2019: {"zmean": np.array([6.0, 20.0, 20.0, np.nan]), "cover_2m": np.full(4, 50.0)}}
    found = mapping.stock_layers(model, seen[2019], np.array([1.0, 1.0, 0.0, 1.0]), 2019)
    names = ["agb", "agb_se", "in_domain", "predictor_set", "q05", "q95"]
    bands = [{"name": name, "quantile": q} for name, q in zip(names, [None] * 4 + [0.05, 0.95], strict=True)]
    stock = step.Product("agb_2019", "stock", "agb", (2019,), "", tuple(bands))
    told = dict(step._bands(stock, model, {"agb_2019": found}, {}, seen))
    assert list(told) == names
    (one,) = model.sets
    own = np.sqrt(np.array([3.0 + 0.5 * 6, 3.0 + 0.5 * 20]) ** 4)  # planted: 36 and 169, noise of 15
    assert (told["q05"][:2] < own).all() and (told["q95"][:2] > own).all() and told["q95"][0] < told["q95"][1]
    expected = one.machine.quantiles(one.design(np.array([[20.0, 50.0]]), 2019), [0.05, 0.95])[0]
    assert [told["q05"][1], told["q95"][1]] == pytest.approx(expected)
    assert told["q05"][2] == told["q95"][2] == 0 and np.isnan([told["q05"][3], told["q95"][3]]).all()


def test_what_a_stand_covers_of_a_strip_is_counted_from_the_strip_s_first_pixel():
    fraction, stands_for = np.array([1.0, 0.5, 0.25, 1.0]), np.array([1.5, 0.0, 0.0, 1.25])
    covered = [("a", np.array([3, 9, 10, 19]), fraction, stands_for), ("b", np.array([1]), np.ones(1), np.ones(1))]
    (found,) = within(covered, slice(9, 20))
    assert found[0] == "a" and found[1].tolist() == [0, 1, 10] and found[2].tolist() == [0.5, 0.25, 1.0]
    assert found[3].tolist() == [0.0, 0.0, 1.25]
