"""From maps and plots to rows of totals: what the step reads of its rasters, and its estimates over many samples of a land
whose mean is known.

Samples are drawn from all pixels of the land, so the truth is the mean over them. Bias is judged by four standard errors of the
mean over the samples; the mean promised variance against the variance of the estimates (Monte Carlo error with 150 samples about
12 %, with 100 about 14 %); coverage of 90 % intervals within 90 +- 6 points (Monte Carlo error 2.4 points, with 100 samples 3),
where strips are few 90 +- 8.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM
from scipy.ndimage import gaussian_filter

from models.pools import CarbonFactors
from pipeline import store
from pipeline.grid import Grid
from pipeline.steps import total_samples, totals
from pipeline.steps.carbon import Quantity, relative_factor
from pipeline.steps.total_samples import Land, _pieces, on_maps, plots_left_out, said_of_left_out, sample_of, seen_plots

SIDE, SAMPLES, FEWER = 40, 150, 100
GRID = Grid(UTM, 500_000.0, 3_000_000.0, 100.0, SIDE, SIDE, 8, 2)
FACTORS = CarbonFactors(0.26, 0.0, 0.47, 0.0, 1.0, 0.0)


def square(row0, row1, col0, col1):
    west, south, east, north = GRID.bounds_of(GRID.window._replace(row0=row0, row1=row1, col0=col0, col1=col1))
    return shapely.box(west, south, east, north)


class Study:
    """A land of 40 x 40 pixels of one hectare with patches of biomass; a plot is a pixel. `fine` tells most of it, `wide` little.

    Rasters stand in blocks as the step `estimate` writes them; `pool` has every pixel as a plot with what the step reads there.
    """

    def __init__(self, folder) -> None:
        rng = np.random.default_rng(3)
        patches = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3, mode="wrap")
        level = 120 + 40 * patches / patches.std()
        self.y = np.maximum(level + rng.normal(0, 20, level.shape), 0)
        self.fine = 5 + 0.95 * level + rng.normal(0, 10, level.shape)
        self.wide = 60 + 0.5 * level + rng.normal(0, 15, level.shape)
        self.sets, self.maps = folder / "sets", folder / "maps"
        for block in GRID.blocks():
            part = GRID.block_window(block)
            cut = {name: getattr(self, name)[part.slices].astype("float32") for name in ("fine", "wide")}
            box = GRID.geobox_of(part)
            store.write_raster(self.sets / f"agb_2019/{block}.tif", cut, geobox=box, units={})
            bands = {"agb_mg_ha": cut["fine"], "se": cut["fine"], "in_domain": cut["fine"], "set": np.ones_like(cut["fine"])}
            store.write_raster(self.maps / f"agb_2019/{block}.tif", bands, geobox=box, units={})
        quarters = [square(20 * i, 20 * i + 20, 20 * j, 20 * j + 20) for i in (0, 1) for j in (0, 1)]
        self.stands = gpd.GeoDataFrame(
            {"stand": ["a", "b", "c", "d"], "stratum": ["north", "north", "south", "south"], "district": list("wxyz"),
             "layer": "stands", "area_ha": 400.0}, geometry=quarters, crs=UTM,
        )  # fmt: skip
        row, col = (one.ravel() for one in np.indices((SIDE, SIDE)))
        self.row, self.col = row, col
        training = gpd.GeoDataFrame(
            {
                "plot": [f"p{k:04d}" for k in range(SIDE**2)], "cluster": [f"p{k:04d}" for k in range(SIDE**2)],
                "date": pd.Timestamp("2019-07-01"), "year": 2019, "agb_mg_ha": self.y.ravel(), "sampling": "probability",
                "phase": None, "weight": np.nan, "area_ha": 1.0, "kept": True,
            },
            geometry=[square(i, i + 1, j, j + 1) for i, j in zip(row, col, strict=True)], crs=UTM,
        )  # fmt: skip
        seen = seen_plots(training, training, "agb_mg_ha", [2019])
        self.pool = seen.sort_values("plot", ignore_index=True).assign(
            map=self.fine.ravel(), set_1=self.fine.ravel(), set_2=self.wide.ravel(), shift=0.0, plot_ha=1.0
        )
        self.land = Land.of("agb", [2019], self.sets, GRID, self.stands, {"2019": True})

    def modelled(self, map_mean: float, *, level="project") -> pd.DataFrame:
        """What the step `stands` says of the land: the project alone."""
        about = {"target": "agb", "first_year": 2019, "last_year": 2019, "has_total": True, "in_project": True}
        numbers = dict.fromkeys(("se", "low", "high", "low_90", "high_90", "low_95", "high_95", "shared_variance",
                                 "sampling_variance", "residual_variance", "area_effect_variance"), 0.0)  # fmt: skip
        whole = {"level": level, "stand": "project", "area_ha": 1600.0, "map_mean": map_mean, "mean": map_mean, "plots": 0,
                 "clusters": 0, "degrees_of_freedom": 9, "stands": 4, "stands_without_total": 0, "all_stands_area_ha": 1600.0,
                 "cover_percent": 100.0, "saturated_ha": 0.0}  # fmt: skip
        rows = [{"level": "stand", "stand": name, "area_ha": 400.0, "mean": map_mean} for name in "abcd"]
        rows += [
            whole | {"level": "stratum", "stand": name, "area_ha": 800.0, "map_mean": float(self.fine[rows_].mean())}
            for name, rows_ in (("north", slice(0, 20)), ("south", slice(20, 40)))
        ]
        return pd.DataFrame([about | numbers | row for row in [whole, *rows]])

    def rows(self, seen: pd.DataFrame, *, land: Land, map_mean: float | None = None) -> dict[str, dict]:
        """The step's rows of the project, by estimator."""
        mine = self.modelled(self.fine.mean() if map_mean is None else map_mean)

        def given(names):
            return sample_of(seen, (2019,), self.stands, names, "agb_mg_ha", FACTORS, land)

        whole = next(totals._estimated(mine, self.stands, given))
        told = totals._rows_of(whole, [Quantity("agb_mg_ha", "Mg/ha")], totals._members(mine, self.stands), (2019,), 90.0)
        return {row["estimator"]: row for row in told}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return Study(tmp_path_factory.mktemp("land"))


def judge(rows: list[dict], truth: float, *, bias_allowed=0.0, ratio=(0.65, 1.5), covered=(84, 96)) -> None:
    mean, se = (np.array([row[name] for row in rows]) for name in ("mean", "se"))
    bias, error = mean.mean() - truth, mean.std(ddof=1) / np.sqrt(len(rows))
    held = 100 * np.mean([row["low"] <= truth <= row["high"] for row in rows])
    told = {"bias": bias, "its error": error, "ratio": (se**2).mean() / mean.var(ddof=1), "covered": held, "n": len(rows)}
    assert abs(bias) < 4 * error + bias_allowed, told
    assert ratio[0] < told["ratio"] < ratio[1], told
    assert covered[0] <= held <= covered[1], told


def test_the_step_reads_each_set_s_prediction_at_plots_and_pixels(study):
    some = study.pool.iloc[5::160].drop(columns=["map", "set_1", "set_2", "shift", "plot_ha"])
    moved = pd.DataFrame({"plot": [some["plot"].iloc[0]], "year": 2019, "set": 2, "shift": 4.0})  # as without its cluster
    found = on_maps(some, moved, "agb", [], study.maps, GRID, study.sets)
    told = study.pool.loc[some.index]
    assert np.allclose(found["map"], told["map"], atol=1e-3) and np.allclose(found["set_1"], told["set_1"], atol=1e-3)
    assert np.allclose(found["set_2"] - told["set_2"], [4.0, *np.zeros(len(some) - 1)], atol=1e-3)
    # a map of changes in carbon, north of which the ratio of roots is 0.2 and south of which it is 0.4; 0.26 is the study's
    product = {"name": "agb_2019", "kind": "sink", "target": "agb", "years": [2014, 2019]}
    own = partial(relative_factor, replace(FACTORS, strata={"north": (0.2, 0.0), "south": (0.4, 0.0)}), study.stands, GRID)
    turned = on_maps(some, moved, "agb", [product], study.maps, GRID, None, own)["map_2014_2019"]
    north = np.isin(some["plot"], [f"p{k:04d}" for k in range(800)])
    assert turned.to_numpy() == pytest.approx(told["map"].to_numpy() * 1.26 / np.where(north, 1.2, 1.4), rel=1e-5)
    places, _, numbers = study.land.places((2019,), {"a", "d"})
    both = np.concatenate([study.wide[:20, :20].ravel(), study.wide[20:, 20:].ravel()])
    assert len(places.points) == 800 and places.every_pixel
    assert numbers == (1, 2) and places.points["wide"].mean() == pytest.approx(both.mean(), rel=1e-5)


def test_a_large_study_is_told_from_an_even_part_of_its_pixels(study, monkeypatch):
    monkeypatch.setattr(total_samples, "MOST_PLACES", 200)
    land = Land.of("agb", [2019], study.sets, GRID, study.stands, {"2019": False})
    places, _, _ = land.places((2019,), set("abcd"))
    # 1600 pixels, every third along both axes from the second on: blocks of 16 pixels do not break the step
    assert land.step == 3 and not places.every_pixel and not places.drawn
    assert np.allclose(land.told[2019][0], study.fine[1::3, 1::3], atol=1e-3)


def test_pieces_of_land_are_parted_by_wide_gaps_alone():
    seen = np.zeros((30, 60), bool)
    seen[:, 2:12], seen[:, 15:25], seen[:, 40:50] = True, True, True  # gaps of 3 and of 15 pixels
    seen[10:13, 5:8] = False  # a lake
    assert _pieces(seen, 20.0).max() == 2 and _pieces(seen, 20.0)[11, 6] == 1  # gaps of 60 m and of 300 m
    assert _pieces(seen, 100.0).max() == 3


def strips_drawn(rng, study: Study, drawn=8) -> np.ndarray:
    """(rows, cols) where lidar was flown: bands of two columns, each with the same chance."""
    bands = rng.choice(SIDE // 2, drawn, replace=False)
    flown = np.zeros((SIDE, SIDE), bool)
    for band in bands:
        flown[:, 2 * band : 2 * band + 2] = True
    return flown


def flown_by(study: Study, flown: np.ndarray) -> tuple[pd.DataFrame, Land]:
    """The pool and the land as they are when lidar sees a part of it."""
    there = flown.ravel()
    seen = study.pool.assign(set_1=np.where(there, study.pool["set_1"], np.nan))
    seen["map"] = np.where(there, seen["set_1"], seen["set_2"])
    told = study.land.told[2019].copy()
    told[0, ~flown] = np.nan
    return seen, replace(study.land, told={2019: told})


def test_every_estimator_of_the_whole_is_unbiased_with_an_error_that_holds(study):
    """50 plots with replacement; the map is lidar in strips and satellite elsewhere, its mean known."""
    rng, found = np.random.default_rng(8), {}
    for _ in range(SAMPLES):
        flown = strips_drawn(rng, study)
        seen, land = flown_by(study, flown)
        rows = seen.iloc[rng.integers(0, len(seen), 50)].copy()
        rows["plot"] = rows["cluster"] = [f"{k}" for k in range(50)]
        told = study.rows(rows, land=land, map_mean=float(np.where(flown, study.fine, study.wide).mean()))
        for name, row in told.items():
            found.setdefault(name, []).append(row)
    truth = float(study.y.mean())
    assert set(found) == {
        "model-based synthetic", "expansion", "stratified", "post_stratified", "ratio", "difference", "greg", "three_phase",
        "strips",
    }  # fmt: skip
    for name in ("expansion", "post_stratified", "difference", "greg"):
        judge(found[name], truth)
    judge(found["ratio"], truth, bias_allowed=0.005 * truth)
    told = [row for row in found["strips"] if "mean" in row]
    assert len(told) > 0.95 * SAMPLES
    judge(told, truth, covered=(82, 98))
    assert all("no points of phase 1" in row["note"] for row in found["three_phase"])


def test_points_of_three_phases_are_estimated_without_bias(study):
    """40 plots, 120 points with lidar, and satellites everywhere (exhaustive), or at 300 points of phase 0."""
    rng, found = np.random.default_rng(9), {"everywhere": [], "at points": [], "two": []}
    for _ in range(FEWER):
        rows = study.pool.iloc[rng.integers(0, len(study.pool), 300)].copy()
        rows["plot"] = rows["cluster"] = [f"{k}" for k in range(300)]
        rows["phase"] = np.repeat([2, 1, 0], [40, 80, 180])
        rows.loc[rows["phase"] < 2, "y"] = np.nan
        rows.loc[rows["phase"] < 1, "set_1"] = np.nan
        rows["map"] = rows["set_1"].fillna(rows["set_2"])
        flown = np.zeros((SIDE, SIDE), bool)
        flown[:, :20] = True  # what lidar covers in one piece tells nobody how phase 1 was drawn
        land = flown_by(study, flown)[1]
        told = study.rows(rows, land=land)
        found["everywhere"].append(told["three_phase"])
        found["two"].append(told["two_phase"])
        seen_by_satellite = land.told[2019].copy()
        seen_by_satellite[1, 30:] = np.nan
        told = study.rows(rows, land=replace(land, told={2019: seen_by_satellite}))
        found["at points"].append(told["three_phase"])
    for rows in found.values():
        judge(rows, float(study.y.mean()))
    spread = {name: np.std([row["mean"] for row in rows]) for name, rows in found.items()}
    assert spread["everywhere"] < spread["at points"] * 1.15


def test_strips_that_somebody_chose_and_points_without_lidar_are_refused_with_the_reason(study):
    rng = np.random.default_rng(1)
    seen, land = flown_by(study, strips_drawn(rng, study))
    chosen = replace(land, flown={"2019": False})
    rows = seen.iloc[:: len(seen) // 60].copy()
    told = study.rows(rows, land=chosen)
    assert "lidar was flown where somebody chose" in told["strips"]["note"] and "mean" not in told["strips"]
    rows["phase"] = np.where(np.arange(len(rows)) % 2, 1, 2)
    rows.loc[rows["phase"] == 1, "y"] = np.nan
    assert "nobody drew by chance where that is" in study.rows(rows, land=land)["three_phase"]["note"]
    purposive = study.rows(rows.assign(sampling="purposive"), land=land)
    design = {name: row for name, row in purposive.items() if name != "model-based synthetic"}
    assert len(design) == 9
    assert all("these plots are purposive" in row["note"] and "mean" not in row for row in design.values())


def test_land_that_the_map_leaves_out_is_estimated_as_all_stands(study):
    """Lidar alone, in strips: the map's mean is not known, and the plots of stands without a total count again."""
    rng = np.random.default_rng(2)
    seen, land = flown_by(study, strips_drawn(rng, study))
    alone = replace(land, told={2019: land.told[2019][:1]})
    rows = seen.iloc[rng.integers(0, len(seen), 60)].drop(columns="set_2").copy()
    rows["plot"] = rows["cluster"] = [f"{k}" for k in range(60)]
    rows["map"] = rows["set_1"]
    mine = study.modelled(np.nan)
    mine.loc[mine["level"] == "stand", "has_total"] = False
    mine.loc[mine["level"] == "project", ["has_total", "stands_without_total"]] = [False, 4]

    def given(names):
        return sample_of(rows, (2019,), study.stands, names, "agb_mg_ha", FACTORS, alone)

    (every,) = totals._estimated(mine, study.stands, given)
    quoted, members = [Quantity("agb_mg_ha", "Mg/ha")], totals._members(mine, study.stands)
    told = {row["estimator"]: row for row in totals._rows_of(every, quoted, members, (2019,), 90.0)}
    assert "model-based synthetic" not in told and told["strips"]["reported"] and told["strips"]["level"] == "all_stands"
    assert told["expansion"]["plots"] == 60 and told["expansion"]["mean"] == pytest.approx(rows["y"].mean())
    assert "the map does not cover all stands" in told["difference"]["note"]
    inside = rows[rows["set_1"].notna()]
    flown = np.isfinite(alone.told[2019][0])
    by_hand = study.fine[flown].mean() + (inside["y"] - inside["set_1"]).mean()
    assert told["strips"]["mean"] == pytest.approx(by_hand, rel=1e-5)


def test_a_change_has_what_was_measured_twice_and_what_the_maps_show_of_it(study):
    early = study.pool.iloc[:10].assign(phase=np.repeat([2, 1], 5))
    early.loc[early["phase"] == 1, "y"] = np.nan
    late = early.assign(year=2024, y=early["y"] + 20, set_1=early["set_1"] + 7, shift=early["shift"] + 1)
    late["map_2019_2024"] = FACTORS.net_removal(5) * 15.0
    late = late.drop(index=late.index[0])  # not found again
    both = pd.concat([early.assign(map_2019_2024=np.nan), late], ignore_index=True)
    found, _ = sample_of(both, (2019, 2024), study.stands, set("abcd"), "agb_mg_ha", FACTORS, None)
    assert len(found) == 9 and (found["phase"] == 1).sum() == 5
    assert np.allclose(found["y"].dropna(), 20) and np.allclose(found["set_1"], 7) and np.allclose(found["map"], 16)




def test_plots_of_chance_that_are_left_out_are_counted_with_the_reason():
    """Of four drawn in the stand two are left out; one lies elsewhere, one was chosen, one is a point of phase 1."""
    edge = ("probability", False, "over the edge")
    rows = [("A", 5, "probability", True, ""), ("B", 5, *edge), ("C", 50, *edge), ("D", 5, "purposive", False, "x"),
            ("E", 5, "probability", True, ""), ("F", 5, *edge), ("G", 5, "probability", False, "no value")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["plot", "x", "sampling", "kept", "reason"])
    plots = gpd.GeoDataFrame(
        table.assign(agb_mg_ha=1.0), geometry=[shapely.Point(x, 5) for x in table["x"]], crs="EPSG:32632"
    ).assign(phase="")
    plots.loc[plots["plot"] == "G", ["phase", "agb_mg_ha"]] = ["1", np.nan]
    stands = gpd.GeoDataFrame({"stand": ["S"]}, geometry=[shapely.box(0, 0, 10, 10)], crs="EPSG:32632")
    found = plots_left_out(plots, "agb_mg_ha", stands)
    assert said_of_left_out(found) == "2 of 4 plots that chance chose here are left out (2 over the edge)"
    assert said_of_left_out(found[found["reason"] == ""]) == ""
