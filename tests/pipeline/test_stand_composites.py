"""A stand's map, plots and record as one number: moves by refitting, weights by hand, coverage by planted truth."""

from __future__ import annotations

import chain
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import make_grid, make_plots

from models.inference.fitted import fit_target
from models.inference.own_plots import LeftOut, own_plots, shift_without, without_pull
from models.inference.stands import RegionEstimator, Sums, lattice, lattices
from pipeline import store
from pipeline.bridge import Plan
from pipeline.steps import stands as step
from pipeline.steps.stand_composites import BY_MODEL, Field, Maps, composites

SIDE = 200.0
"""Side of a square stand, metres: 4 ha."""
ROWS = 6


def fitted(plots: pd.DataFrame, **settings):
    return fit_target(
        plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", **{"transform": "none", "date_effect": "never"} | settings
    )


def mean_over(model, zmean: np.ndarray, year: int = 2019, forest_ha: float = 4.0) -> Sums:
    """Sums of a 4 ha stand whose forest's pixels have these predictors; the rest is no forest."""
    found = model.predict({"zmean": zmean}, year)
    hectares = np.full(len(zmean), forest_ha / len(zmean))
    s = found["residual_sd"]
    return Sums(
        4.0, float(hectares @ found["mean"]), np.array([forest_ha]), np.array([hectares @ s]), np.array([hectares @ s**2]),
        hectares @ found["gradient"].astype(float),
    )  # fmt: skip


# ---------------------------------------------------------------- a map without some of its plots


@pytest.mark.parametrize(("transform", "tolerance"), [("none", 0.001), ("sqrt", 0.2)], ids=["line", "square_root"])
def test_a_mean_moves_as_if_the_model_were_fitted_without_the_clusters(transform, tolerance):
    """Of a line (with its trace of ridge) to a thousandth of the move; of the square root, whose influence is of first order,
    to a fifth of it."""
    plots = make_plots(40, per_cluster=4, noise=40.0)
    model, left_out = fitted(plots, transform=transform)
    zmean = np.linspace(5, 22, 50)
    sums = mean_over(model, zmean)
    moved = shift_without(model, LeftOut.of(model, left_out), sums.gradient / sums.covered_ha, frozenset(["c003"]))
    rest, _ = fitted(plots[plots["cluster"] != "c003"].reset_index(drop=True), transform=transform)
    expected = mean_over(rest, zmean).value / 4 - sums.value / 4
    assert abs(expected) > 0.2
    assert moved == pytest.approx(expected, rel=tolerance)


def test_a_model_without_the_pull_of_some_plots_has_none_of_theirs_and_all_of_the_others():
    plots = make_plots(40, per_cluster=4)
    model, left_out = fitted(plots)
    (one,) = without_pull(model, LeftOut.of(model, left_out), frozenset(["c003", "c007"])).sets
    mine = plots["cluster"].isin(["c003", "c007"]).to_numpy()
    assert (one.sample.influence[mine] == 0).all()
    assert (one.sample.influence[~mine] == model.sets[0].sample.influence[~mine]).all()


# ---------------------------------------------------------------- what plots say of their stand


def squares(n=ROWS) -> gpd.GeoDataFrame:
    """n x n squares of 4 ha in rows, `s00` in the south-west corner."""
    shapes = [shapely.box(c * SIDE, r * SIDE, (c + 1) * SIDE, (r + 1) * SIDE) for r in range(n) for c in range(n)]
    names = [f"s{k:02d}" for k in range(n * n)]
    frame = {"stand": names, "stratum": None, "layer": "stands", "area_ha": 4.0}
    return gpd.GeoDataFrame(frame, geometry=shapes, crs="EPSG:32650")


def test_the_departure_of_a_stand_is_the_mean_of_measured_minus_predicted_without_the_cluster():
    plots = make_plots(40, per_cluster=4, noise=40.0)
    model, left_out = fitted(plots)
    stand_of = {"p000": "a", "p001": "a", "p009": "b"}
    regions = {name: lattice(shapely.box(0, 0, SIDE, SIDE)) for name in "ab"}
    sums = {name: mean_over(model, np.linspace(5, 22, 50)) for name in "ab"}
    found = own_plots(model, left_out, plots, stand_of, sums, regions, (2019,))
    apart = left_out.set_index("plot")
    expected = (apart["observed"] - apart["predicted"])[["p000", "p001"]].mean()
    # scaled from the plots' residual sd to the stand's
    expected *= sums["a"].s[0] / 4.0 / model.sets[0].sample.sd[:2].mean()
    assert found["a"].departure == pytest.approx(expected) and found["a"].mean == pytest.approx(apart["observed"].iloc[:2].mean())
    assert (found["a"].plots, found["a"].clusters, found["a"].without) == (2, 1, {"c000"})
    assert (found["b"].plots, found["b"].without) == (1, {"c002"})


def test_few_plots_in_stands_count_with_the_whole_of_the_residual():
    """Nothing tells the spread within stands: one plot's departure has the residual SD of the stand for its error."""
    plots = make_plots(40, noise=40.0)
    model, left_out = fitted(plots)
    sums, region = mean_over(model, np.linspace(5, 22, 50)), lattice(shapely.box(0, 0, SIDE, SIDE))
    one = own_plots(model, left_out, plots, {"p005": "a"}, {"a": sums}, {"a": region}, (2019,))["a"]
    assert one.departure_se >= sums.s[0] / 4.0 * (1 - 1e-9)


@pytest.mark.parametrize("bare", [2019, 2024])
def test_a_change_departs_by_the_other_dates_stock_where_the_map_has_no_forest_at_one(bare):
    """Young trees that the mask calls no forest are predicted as forest at the plots, and the map has nothing of that. One of the
    plots was measured at the other date alone, and counts as much."""
    plots = make_plots(40, years=(2019, 2024), noise=40.0)
    plots = plots[(plots["plot"] != "p001") | (plots["year"] != bare)].reset_index(drop=True)
    model, left_out = fitted(plots)
    other, sign = (2024, 1) if bare == 2019 else (2019, -1)
    stock, region = mean_over(model, np.linspace(5, 22, 50), other), lattice(shapely.box(0, 0, SIDE, SIDE))
    once = (stock.nothing, stock) if bare == 2019 else (stock, stock.nothing)
    change = Sums(stock.covered_ha, sign * stock.value, stock.set_ha, 0 * stock.s, 0 * stock.s2, sign * stock.gradient, once)
    stand_of = {"p000": "a", "p001": "a"}
    of_stock = own_plots(model, left_out, plots, stand_of, {"a": stock}, {"a": region}, (other,))["a"]
    found = own_plots(model, left_out, plots, stand_of, {"a": change}, {"a": region}, (2019, 2024))["a"]
    assert found.departure == pytest.approx(sign * of_stock.departure) and abs(found.departure) > 1
    assert found.pull == pytest.approx(sign * of_stock.pull) and found.mean == pytest.approx(sign * of_stock.mean)
    assert found.plots == of_stock.plots == 2
    for name in ("departure_se", "freedom", "in_common"):
        assert getattr(found, name) == pytest.approx(getattr(of_stock, name))


def test_plots_speak_of_a_change_by_the_land_that_they_are_forest_on_and_by_no_other():
    """One plot was forest at both dates, one at the earlier alone; half of the stand is lost."""
    plots = make_plots(40, years=(2019, 2024), noise=40.0)
    plots["forest_share"] = np.where((plots["plot"] == "p001") & (plots["year"] == 2024), 0.4, 1.0)
    model, left_out = fitted(plots)
    (one,) = model.sets
    early = mean_over(model, np.linspace(5, 22, 50), 2019, forest_ha=2.0)
    both = one.residuals.change_sd(early.s, early.s)
    change = Sums(4.0, -early.value, 2 * early.set_ha, both, both**2 / 2, -early.gradient, (early, early.nothing))
    region = lattice(shapely.box(0, 0, SIDE, SIDE))
    stand_of = {"p000": "a", "p001": "a"}
    found = own_plots(model, left_out, plots, stand_of, {"a": change}, {"a": region}, (2019, 2024))["a"]
    apart = left_out.assign(residual=left_out["observed"] - left_out["predicted"]).set_index(["plot", "year"])["residual"]
    sd = dict(zip(zip(one.sample.plot, one.sample.year.tolist(), strict=True), one.sample.sd, strict=True))
    lasting = (apart["p000", 2024] - apart["p000", 2019]) / one.residuals.change_sd(
        np.array([sd["p000", 2019]]), np.array([sd["p000", 2024]])
    )[0]
    felled = (apart["p000", 2019] + apart["p001", 2019]) / (sd["p000", 2019] + sd["p001", 2019])
    assert found.departure == pytest.approx(lasting * both[0] / 4 - felled * early.s[0] / 4)
    stock = own_plots(model, left_out, plots, stand_of, {"a": mean_over(model, np.array([9.0]), 2024)}, {"a": region}, (2024,))
    assert stock["a"].plots == 1


# ---------------------------------------------------------------- composites


def plots_of(rng: np.random.Generator, grown) -> pd.DataFrame:
    """24 clusters of one to four plots in the squares; `grown` (number of the stand, x) -> zmean, biomass."""
    rows = []
    for number in range(24):
        middle = rng.uniform(50, ROWS * SIDE - 50, 2)
        for one in range(int(rng.integers(1, 5))):
            x, y = middle + rng.uniform(-40, 40, 2)
            rows.append((f"p{number:02d}{one}", f"c{number:02d}", x, y, *grown(int(y // SIDE) * ROWS + int(x // SIDE), x)))
    plots = pd.DataFrame(rows, columns=["plot", "cluster", "x", "y", "zmean", "agb_mg_ha"])
    return plots.assign(year=2019, area_ha=0.04)


def a_study(seed: int, *, chance=True, years=(2019,), record=False):
    """A planted forest of 36 stands with a departure of their own (SD 20), 60 plots in 24 clusters, and the truth.

    biomass = 100 + 12 (zmean - 10) + stand + within (SD 20); zmean differs between stands (SD 4) and within (SD 2).
    """
    rng = np.random.default_rng(seed)
    stands = squares()
    n = len(stands)
    level, own = rng.normal(10, 4, n), rng.normal(0, 20, n)
    cells = level[:, None] + rng.normal(0, 2, (n, 100))
    truth = 100 + 12 * (cells.mean(axis=1) - 10) + own

    def grown(k: int, _x: float) -> tuple[float, float]:
        zmean = level[k] + rng.normal(0, 2)
        return zmean, 100 + 12 * (zmean - 10) + own[k] + rng.normal(0, 20)

    plots = plots_of(rng, grown).assign(sampling="probability" if chance else "purposive")
    plots["stratum"] = [str(int(y // SIDE) * ROWS + int(x // SIDE)) for x, y in zip(plots["x"], plots["y"], strict=True)]
    if record:
        stands["record_plan"], stands["record_plan_se"] = truth + 15 + rng.normal(0, 10, n), 10.0
    model, left_out = fitted(plots)
    mapped, estimator = maps_of(model, stands, [mean_over(model, zmean) for zmean in cells], years)
    return stands, truth, mapped, estimator, Field.of(left_out, plots, stands)


def maps_of(model, stands: gpd.GeoDataFrame, sums: list[Sums], years=(2019,)) -> tuple[Maps, RegionEstimator]:
    """What the map says of each stand."""
    estimator, regions = RegionEstimator(model, years=years, confidence_percent=90, lowest=0.0), lattices(stands.geometry)
    every = Sums.stacked(sums)
    return Maps(stands["stand"], every, regions, np.arange(len(stands)), estimator.estimates(every, regions)), estimator


def a_felled_study(seed: int):
    """A planted forest of 36 stands of which 12 are felled but for their eastern half, 60 plots in 24 clusters, and the truth.

    biomass = 12 zmean (1 + stand + within, SD 0.15 each), 0 where felled; felled land is no forest on the map, and plots lie
    there as elsewhere. zmean differs between stands (SD 2) and within (SD 1).
    """
    rng = np.random.default_rng(1000 + seed)
    stands = squares()
    n = len(stands)
    level, own, felled = rng.normal(12, 2, n), rng.normal(0, 0.15, n), np.isin(np.arange(n), rng.permutation(n)[:12])
    cells = np.maximum(level[:, None] + rng.normal(0, 1, (n, 100)), 2.0)
    standing = np.where(felled, 50, 100)
    truth = np.array([12 * cells[k, : standing[k]].sum() / 100 * (1 + own[k]) for k in range(n)])

    def grown(k: int, x: float) -> tuple[float, float]:
        if felled[k] and x % SIDE < SIDE / 2:
            return rng.uniform(0, 0.3), 0.0
        zmean = max(level[k] + rng.normal(0, 1), 2.0)
        return zmean, 12 * zmean * (1 + own[k] + rng.normal(0, 0.15))

    plots = plots_of(rng, grown).assign(sampling="probability")
    plots["stand"] = [f"s{int(y // SIDE) * ROWS + int(x // SIDE):02d}" for x, y in zip(plots["x"], plots["y"], strict=True)]
    model, left_out = fitted(plots)
    sums = [mean_over(model, cells[k, : standing[k]], forest_ha=4.0 * standing[k] / 100) for k in range(n)]
    mapped, estimator = maps_of(model, stands, sums)
    return stands, truth, mapped, estimator, Field.of(left_out, plots, stands), stands.loc[felled, "stand"]


PLAN = {"plan": {"target": "agb", "year": 2019, "unbiased": False, "bias_percent": None}}


def fused(seed: int, records=None, **settings):
    stands, truth, mapped, estimator, field = a_study(seed, record=bool(records), **settings)
    columns, ledger = composites("agb", (2019,), mapped, stands, estimator, field, records or {}, units="Mg/ha")
    known = dict(zip(stands["stand"], truth, strict=True))
    return columns, pd.DataFrame(ledger), known, mapped, estimator


def test_a_composite_is_what_its_ledger_says():
    columns, ledger, *_ = fused(1)
    for stand, one in columns.items():
        rows = ledger[ledger["stand"] == stand]
        assert rows["weight"].sum() == pytest.approx(1)
        assert one["mean"] == pytest.approx((rows["weight"] * (rows["value"] - rows["bias_removed"])).sum())
        assert one["sampling_variance"] + one["shared_variance"] + one["residual_variance"] == pytest.approx(one["se"] ** 2)
        # the least variance of two errors a and b that correlate by r: (1 - r2) a2 b2 / (a2 + b2 - 2 r a b)
        (a, b), r = rows["used_se"], rows["correlation_with_map"].iloc[0]
        assert one["se"] ** 2 == pytest.approx((1 - r**2) * a**2 * b**2 / (a**2 + b**2 - 2 * r * a * b))
        assert one["estimator"] == "composite of map, plots"
        assert list(rows["source"]) == ["plots", "map"]


def test_only_stands_with_plots_have_a_composite():
    columns, ledger, *_ = fused(1)
    stands, *_, field = a_study(1)
    assert set(columns) == set(field.stand_of.values()) == set(ledger["stand"]) < set(stands["stand"])


def test_purposive_plots_speak_by_the_model_and_the_ledger_says_so():
    by_chance, ledger, *_ = fused(1)
    chosen, told, *_ = fused(1, chance=False)
    assert set(chosen) == set(by_chance)
    assert told.loc[told["source"] == "plots", "note"].eq(BY_MODEL).all()
    assert not ledger["note"].str.contains(BY_MODEL).any()


def test_a_record_without_a_bound_on_its_bias_is_left_out_where_plots_are_purposive(caplog):
    _, ledger, *_ = fused(1, PLAN, chance=False)
    assert set(ledger["source"]) == {"plots", "map"}
    assert "record plan is not used" in caplog.text and "bias_percent" in caplog.text
    _, ledger, *_ = fused(1, {"plan": PLAN["plan"] | {"bias_percent": 10}}, chance=False)
    assert set(ledger["source"]) == {"plots", "map", "plan"}


def test_probability_plots_tell_the_bias_of_a_record():
    """Planted: the record is 15 Mg/ha too high. Told from some 20 stands with an error of about 4."""
    _, ledger, *_ = fused(1, PLAN)
    removed = ledger.loc[ledger["source"] == "plan", "bias_removed"].unique()
    assert len(removed) == 1 and removed[0] == pytest.approx(15, abs=12)


def test_a_bound_on_a_records_bias_that_plots_make_needless_is_said(caplog):
    """Twenty stands tell the bias: a bound of 10 % changes nothing but the note in the ledger, and the log has it."""
    bounded = {"plan": PLAN["plan"] | {"bias_percent": 10}}
    _, without, *_ = fused(1, PLAN)
    assert "is not used" not in caplog.text
    _, ledger, *_ = fused(1, bounded)
    assert "record plan: bias_percent 10 is not used: probability plots in" in caplog.text
    of_record = ledger["source"] == "plan"
    assert ledger.loc[of_record, "note"].str.contains("bias_percent 10 is not used").all()
    assert not ledger.loc[~of_record, "note"].str.contains("bias_percent").any()
    pd.testing.assert_frame_equal(ledger.drop(columns="note"), without.drop(columns="note"))


def test_a_bound_in_percent_is_of_each_stands_own_value():
    """Purposive plots tell no bias: the record's variance is its stated one and a tenth of each value squared."""
    _, ledger, *_ = fused(1, {"plan": PLAN["plan"] | {"bias_percent": 10}}, chance=False)
    record = ledger[ledger["source"] == "plan"]
    assert record["value"].std() > 0
    expected = np.hypot(record["se"], 0.1 * record["value"]).to_numpy()
    assert record["used_se"].to_numpy() == pytest.approx(expected, rel=1e-9)
    assert (record["note"] == "").all()


def test_composites_hold_the_planted_truth_as_often_as_they_say_and_are_surer_than_the_map():
    """80 planted forests, about 19 stands with plots in each. Monte Carlo error over forests: about 1.3 points."""
    held, errors, alone, promised, of_map = [], [], [], [], []
    for seed in range(80):
        columns, _, truth, mapped, estimator = fused(seed)
        inside = []
        for stand, one in columns.items():
            reach = estimator.reach_of(one["degrees_of_freedom"]) * one["se"]
            inside.append(abs(one["mean"] - truth[stand]) <= reach)
            errors.append(one["mean"] - truth[stand])
            alone.append(mapped[stand].estimate.mean - truth[stand])
            promised.append(one["se"])
            of_map.append(mapped[stand].estimate.se)
        held.append(np.mean(inside))
    covered, error = 100 * np.mean(held), 100 * np.std(held, ddof=1) / np.sqrt(len(held))
    rmse, rmse_map = np.sqrt(np.mean(np.square(errors))), np.sqrt(np.mean(np.square(alone)))
    print(f"covered {covered:.1f} % (Monte Carlo error {error:.1f}); RMSE {rmse:.1f}, of the map {rmse_map:.1f} Mg/ha; "
          f"mean SE {np.mean(promised):.1f}, of the map {np.mean(of_map):.1f}")  # fmt: skip
    assert covered == pytest.approx(90, abs=6)
    assert np.mean(promised) < np.mean(of_map) and rmse < rmse_map


def test_composites_of_partly_felled_stands_hold_the_truth():
    """60 planted forests, about six felled stands with plots in each. Monte Carlo error over forests: about 2 points.

    Plots on felled land are predicted bare and are bare: they depart by nothing, and counted as departures of the standing
    half they drew the composite towards the map and made it sure of that (planted study: half of such stands were missed).
    """
    held, errors, alone = [], [], []
    for seed in range(60):
        stands, truth, mapped, estimator, field, felled = a_felled_study(seed)
        columns, _ = composites("agb", (2019,), mapped, stands, estimator, field, {}, units="Mg/ha")
        known, inside = dict(zip(stands["stand"], truth, strict=True)), []
        for stand in set(felled) & set(columns):
            one = columns[stand]
            inside.append(abs(one["mean"] - known[stand]) <= estimator.reach_of(one["degrees_of_freedom"]) * one["se"])
            errors.append(one["mean"] - known[stand])
            alone.append(mapped[stand].estimate.mean - known[stand])
        held.append(np.mean(inside))
    covered, error = 100 * np.mean(held), 100 * np.std(held, ddof=1) / np.sqrt(len(held))
    rmse, rmse_map = np.sqrt(np.mean(np.square(errors))), np.sqrt(np.mean(np.square(alone)))
    print(f"covered {covered:.1f} % (Monte Carlo error {error:.1f}); RMSE {rmse:.1f}, of the map {rmse_map:.1f} Mg/ha")
    assert covered == pytest.approx(90, abs=6)
    assert rmse < rmse_map


def test_a_plot_has_the_share_of_forest_that_the_map_of_its_year_shows_under_it(monkeypatch):
    """Forest ends on a line in 2024 and knows nothing of its last rows: plots beside it, on it, beyond it, and left out."""
    grid = make_grid(20, 20)
    west, _, _, north = grid.bounds
    mask = {2019: np.ones((20, 20)), 2024: np.where(np.arange(20) < 10, 1.0, 0.0)[None, :].repeat(20, axis=0)}
    mask[2024][15:] = np.nan
    monkeypatch.setattr(step, "read_forest", lambda grid, window, year, *_: mask[year][window.slices])
    at = [(50, 50, 2019), (150, 50, 2019), (50, 50, 2024), (95, 50, 2024), (150, 50, 2024), (50, 180, 2024), (150, 50, 2024)]
    shapes = [shapely.box(west + x - 10, north - y - 10, west + x + 10, north - y + 10) for x, y, _ in at]
    plots = gpd.GeoDataFrame({"year": [year for *_, year in at], "kept": [True] * 6 + [False]}, geometry=shapes, crs="EPSG:32650")
    found = step.forest_shares(plots, grid, {"source": "raster"}, {}, None)
    assert found == pytest.approx([1, 1, 1, 0.75, 0, np.nan, np.nan], nan_ok=True)


def forest_by(source, grid, folder):
    """Forest of the western half of the grid at both years, by the files or polygons of a source; settings, sources, stands."""
    wooded = np.where(np.arange(20) < 10, 1.0, 0.0)[None, :].repeat(20, axis=0)
    forest = {"source": source, "min_area_ha": 0.05, "min_height_m": 5.0, "min_cover_percent": 10.0, "values": [1]}
    forest["files"] = {str(year): str(folder / f"cover_{year}.tif") for year in (2019, 2024)}
    for year in (2019, 2024):
        store.write_raster(folder / f"cover_{year}.tif", {"class": wooded}, geobox=grid.geobox)
        for block in grid.blocks():
            window = grid.block_window(block)
            metrics = {"zq95": 20 * wooded[window.slices], "cover_2m": 80 * wooded[window.slices]}
            path = folder / f"lidar/als{year}/{block}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            store.write_raster(path, metrics, geobox=grid.geobox_of(window))
    west, south, _, north = grid.bounds
    boxes = [shapely.box(west + a, south, west + b, north) for a, b in ((0, 60), (60, 100), (900, 990))]
    sources = {"lidar_folder": str(folder / "lidar"), "campaign_of_year": {"2019": "als2019", "2024": "als2024"}}
    return forest, sources, gpd.GeoDataFrame({"stand": ["a", "b", "far"]}, geometry=boxes, crs=grid.crs)


def plots_across(grid):
    """Two visits of plots inside, on and beyond the forest's border, one beyond the grid, and one left out."""
    west, _, _, north = grid.bounds
    at = [(50, 50), (95, 50), (102, 165), (150, 190), (95, 158), (-500, 50), (50, 50)]
    shapes = [shapely.box(west + x - 10, north - y - 10, west + x + 10, north - y + 10) for x, y in at]
    return gpd.GeoDataFrame(
        {"year": pd.array([2019] * 7 + [2024] * 7, dtype="Int64"), "kept": ([True] * 6 + [False]) * 2},
        geometry=shapes * 2, crs=grid.crs,
    )  # fmt: skip


SHARES = [1, 0.75, 0.4, 0, 0.75, np.nan, np.nan] * 2


@pytest.mark.parametrize("source", ["raster", "canopy", "stands"])
@pytest.mark.parametrize("side_px", [4, 512], ids=["many_squares", "one_square"])
def test_every_source_of_forest_gives_a_plot_the_share_that_lies_west_of_the_border(source, side_px, tmp_path, monkeypatch):
    grid = make_grid(20, 20)
    monkeypatch.setattr(step, "MASK_PX", side_px)
    forest, sources, stands = forest_by(source, grid, tmp_path)
    found = step.forest_shares(plots_across(grid), grid, forest, sources, stands)
    assert found == pytest.approx(SHARES, nan_ok=True)


def test_plots_of_two_targets_are_looked_up_once_a_year(tmp_path, monkeypatch):
    grid, asked = make_grid(20, 20), []
    forest, sources, stands = forest_by("canopy", grid, tmp_path)
    read = step.read_forest
    monkeypatch.setattr(step, "read_forest", lambda *given: asked.append(given[2]) or read(*given))
    measured = {"agb": plots_across(grid), "volume": plots_across(grid).iloc[3:].reset_index(drop=True)}
    step._tell_forest(measured, grid, forest, sources, stands)
    assert sorted(asked) == [2019, 2024]
    assert measured["agb"]["forest_share"].tolist() == pytest.approx(SHARES, nan_ok=True)
    assert measured["volume"]["forest_share"].tolist() == pytest.approx(SHARES[3:], nan_ok=True)


def test_stands_of_a_forest_by_canopy_and_two_targets_are_told(tmp_path):
    """The step itself, on the small planted study seen by lidar alone: sources of the canopy reach every target."""
    chain.one_thread()
    plan = Plan(
        chain.small_study(
            tmp_path, sensors={}, forest={"source": "canopy"}, targets=["agb", "basal_area"],
            model={"regressor": "linear", "predictors": {"lidar": ["zmean", "zq95", "cover_2m"]}},
        )
    )  # fmt: skip
    chain.plant(plan, truth=False)
    chain.see(plan)
    chain.learn(plan)
    chain.map_blocks(plan, maps=False)
    chain.stand_tables(plan)
    told = store.read_table(plan.resources / "estimates.parquet")
    assert set(told["target"]) == set(store.read_table(plan.results / "ledger.csv")["target"]) == {"agb", "basal_area"}
