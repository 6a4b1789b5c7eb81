"""Shares of pixels, plots and cells in the strata of stands, and maps that tell strata apart whatever the blocks."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM, make_grid, make_plots, make_settings, make_study
from test_training import NORTH, WEST, make_footprints, make_image, make_sources

from models.inference.fitted import fit_target
from models.inference.stratum_names import NO_STRATUM, PREFIX
from models.inference.target_model import TargetModel
from pipeline import store
from pipeline.bridge import Plan
from pipeline.config import StudyError, study_from
from pipeline.report.model import _predictors_of, _strata_rows
from pipeline.steps.carbon import carbon_factors, in_carbon, relative_factor
from pipeline.steps.cells import cells
from pipeline.steps.estimate import estimate
from pipeline.steps.fit import fit
from pipeline.steps.record import _strata_in
from pipeline.steps.training import training
from pipeline.strata import shares_of, strata_predictors
from pipeline.zonal import combine

SPRUCE, OAK, NONE = PREFIX + "spruce", PREFIX + "oak", PREFIX + NO_STRATUM


def make_stands(*parts):
    """Stands from (x0, y0, x1, y1, stratum), counted east and south from the grid's corner, metres."""
    shapes = [shapely.box(WEST + x0, NORTH - y1, WEST + x1, NORTH - y0) for x0, y0, x1, y1, _ in parts]
    about = {"stand": [f"s{k}" for k in range(len(parts))], "stratum": [part[-1] for part in parts]}
    return gpd.GeoDataFrame(about, geometry=shapes, crs=UTM)


LAND = ((0, 0, 205, 400, "spruce"), (205, 0, 400, 300, "oak"), (205, 300, 400, 400, None))


def write_stands(folder, parts=LAND):
    """A layer of stands and what the study says of it."""
    make_stands(*parts).to_file(folder / "stands.gpkg")
    return make_study({"stands": {"file": str(folder / "stands.gpkg"), "stratum": "stratum"}}).stands.model_dump(mode="json")


# ---------------------------------------------------------------- shares


def test_a_pixel_has_the_share_of_each_stratum_that_covers_it():
    grid = make_grid(rows=4, cols=6)
    # the border of spruce and oak cuts the third column in halves; oak's stand ends 2.5 m into the fifth, and another has no type
    stands = make_stands((0, 0, 25, 20, "spruce"), (25, 0, 42.5, 20, "oak"), (42.5, 0, 50, 20, None), (0, 20, 60, 30, "oak"))
    found = shares_of(stands, grid, grid.window, strata_predictors(stands))
    assert list(found) == [OAK, SPRUCE, NONE]
    assert found[SPRUCE][0].tolist() == [1, 1, 0.5, 0, 0, 0] and found[SPRUCE][2].tolist() == [0] * 6
    assert found[OAK][1].tolist() == [0, 0, 0.5, 1, 0.25, 0] and found[OAK][2].tolist() == [1] * 6
    assert found[NONE].tolist() == [[0, 0, 0, 0, 0.75, 1], [0, 0, 0, 0, 0.75, 1], [0] * 6, [1] * 6]
    assert shares_of(stands, grid, grid.window, [OAK, "zmean"]).keys() == {OAK}
    assert shares_of(stands, grid, grid.window, ["zmean"]) == {}


def test_shares_of_a_chunk_are_those_of_the_whole():
    grid, stands = make_grid(), make_stands(*LAND)
    names = strata_predictors(stands)
    whole = shares_of(stands, grid, grid.window, names)
    for _, window in grid.chunks():
        for name, share in shares_of(stands, grid, window, names).items():
            np.testing.assert_allclose(share, whole[name][window.slices], atol=1e-6)


def test_stands_of_one_stratum_or_of_none_are_a_sentence():
    with pytest.raises(ValueError, match=r"model.strata asks for strata, and no stand has one: name a column of the stand layer"):
        strata_predictors(make_stands((0, 0, 10, 10, None)))
    with pytest.raises(ValueError, match="all stands that have one are of stratum 'oak': nothing can be told apart"):
        strata_predictors(make_stands((0, 0, 10, 10, "oak"), (10, 0, 20, 10, "oak"), (20, 0, 30, 10, None)))


# ---------------------------------------------------------------- plots and cells


def trained(folder, plots, grid, parts=LAND):
    store.write_table(folder / "plots.parquet", plots)
    training(
        table=folder / "training.parquet", plots=folder / "plots.parquet", grid=grid.settings(), target="agb",
        column="agb_mg_ha", predictor_sets={"satellite": ["e_red"]}, sources=make_sources(folder, grid, {2019: make_image()}),
        campaigns={}, years=[2019], max_years_apart=1.0, strata=write_stands(folder, parts),
    )  # fmt: skip
    return store.read_table(folder / "training.parquet")


def test_plots_have_shares_in_strata_by_area_and_keep_them_where_their_position_may_be(tmp_path):
    # whole in spruce; 20 m wide with 15 of them in oak; in a stand without a stratum; beyond all stands
    plots = make_footprints((100, 100, 120, 120), (200, 40, 220, 60), (300, 340, 320, 360), (420, 100, 440, 120))
    table = trained(tmp_path, plots.assign(position_error_m=[5.0, np.nan, np.nan, np.nan]), make_grid())
    assert table[SPRUCE].tolist() == pytest.approx([1, 0.25, 0, 0])
    assert table[OAK].tolist() == pytest.approx([0, 0.75, 0, 0])
    assert table[NONE].tolist() == pytest.approx([0, 0, 1, 1])
    assert set(table[f"displaced_{SPRUCE}"][0]) == {1.0} and len(table[f"displaced_{SPRUCE}"][0]) == 18


def test_a_layer_without_the_column_of_strata_is_a_sentence(tmp_path):
    settings = write_stands(tmp_path) | {"stratum": "forest_type"}
    store.write_table(tmp_path / "plots.parquet", make_footprints((0, 0, 20, 20)))
    with pytest.raises(ValueError, match="forest_type"):
        training(
            table=tmp_path / "training.parquet", plots=tmp_path / "plots.parquet", grid=make_grid().settings(), target="agb",
            column="agb_mg_ha", predictor_sets={"satellite": ["e_red"]}, campaigns={}, years=[2019], max_years_apart=1.0,
            sources=make_sources(tmp_path, make_grid(), {2019: make_image()}), strata=settings,
        )  # fmt: skip


def test_cells_have_the_shares_of_their_pixel(tmp_path):
    grid, sources = make_grid(), make_sources(tmp_path, make_grid(), {2019: make_image()})
    metrics = np.full((grid.rows, grid.cols), np.nan, "float32")
    metrics[:, :24] = 12.0
    for block in grid.blocks():
        place = grid.block_window(block)
        part = {"zmean": metrics[place.slices]}
        store.write_raster(tmp_path / f"lidar/als/{block}.tif", part, geobox=grid.geobox_of(place))
    cells(
        table=tmp_path / "cells.parquet", grid=grid.settings(), years=[2019], predictor_sets={"lidar": ["zmean"], "s": ["e_red"]},
        sources=sources | {"campaign_of_year": {"2019": "als"}, "metrics": ["zmean"]}, settings=write_stands(tmp_path),
        forest={"source": "everywhere", "min_area_ha": 0}, strata=True,
    )  # fmt: skip
    table = store.read_table(tmp_path / "cells.parquet")
    east = table["x"].to_numpy() - WEST  # centres: the column at 205 m is cut in halves
    assert table[SPRUCE].to_numpy() == pytest.approx(np.where(east < 200, 1.0, np.where(east > 210, 0.0, 0.5)))
    assert len(table) > 100 and table[[SPRUCE, OAK, NONE]].sum(axis=1).to_numpy() == pytest.approx(1.0)


# ---------------------------------------------------------------- maps


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Training, fit and map of planted plots, sqrt(agb) = 6 + 8 red + 2 in spruce - 2 in oak, with two sizes of blocks."""
    found, rng = {}, np.random.default_rng(3)
    image = make_image()
    corners = [(10 * c, 10 * r) for r, c in zip(rng.integers(0, 38, 70), rng.integers(0, 54, 70), strict=True)]
    plots = make_footprints(*[(x, y, x + 20, y + 20) for x, y in corners])
    red = np.array([image[y // 10 : y // 10 + 2, x // 10 : x // 10 + 2].mean() for x, y in corners])
    east = np.array([x + 10 for x, _ in corners])
    level = np.where(east < 205, 2.0, np.where((east < 400) & (np.array([y for _, y in corners]) < 290), -2.0, 0.0))
    plots["agb_mg_ha"] = (6 + 8 * red + level + 0.05 * rng.normal(size=70)) ** 2
    stock = [{"name": name, "units": "1"} for name in ("value", "se", "in_domain", "set")]
    product = {"name": "agb_2019", "kind": "stock", "title": "", "target": "agb", "years": [2019], "bands": stock}
    for size in (2, 4):
        folder, grid = tmp_path_factory.mktemp(f"blocks{size}"), make_grid(block_chunks=size)
        trained(folder, plots, grid)
        fit(
            model=folder / "model.json", left_out=folder / "left_out.parquet", table=folder / "training.parquet", target="agb",
            column="agb_mg_ha", predictor_sets={"satellite": ["e_red"]},
            settings={"path": "direct", "regressor": "linear", "transform": "sqrt", "date_effect": "always", "min_clusters": 4,
                      "strata": "levels"},
        )  # fmt: skip
        whole = np.full((grid.rows, grid.cols), np.nan, "float32")
        se, tables = whole.copy(), []
        for block in grid.blocks():
            estimate(
                maps={"agb_2019": folder / f"{block}.tif"}, partials=folder / f"{block}.parquet",
                models={"agb": folder / "model.json"}, settings=write_stands(folder), grid=grid.settings(), block=block,
                years=[2019], sources=make_sources(folder, grid, {2019: image}), products=[product],
                forest={"source": "everywhere", "min_area_ha": 0},
                carbon={"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47},
            )  # fmt: skip
            bands, place = store.read_raster(folder / f"{block}.tif"), grid.block_window(block)
            whole[place.slices], se[place.slices] = bands["value"], bands["se"]
            tables.append(store.read_table(folder / f"{block}.parquet"))
        found[size] = {"agb": whole, "se": se, "partials": tables, "folder": folder}
        found[size]["model"] = store.read_json(folder / "model.json")
    return found | {"image": image}


def test_maps_that_tell_strata_apart_are_the_same_bytes_whatever_the_blocks(mapped):
    one, other = mapped[2], mapped[4]
    assert one["model"] == other["model"]
    assert one["agb"].tobytes() == other["agb"].tobytes() and one["se"].tobytes() == other["se"].tobytes()
    sums = [combine(part["partials"])["agb_2019"] for part in (one, other)]
    assert sums[0].to_json(double_precision=15) == sums[1].to_json(double_precision=15)
    assert set(sums[0]["stand"]) == {"s0", "s1", "s2"}


def test_a_map_has_the_planted_level_of_each_stratum_and_of_places_in_none(mapped):
    root, red = np.sqrt(mapped[4]["agb"]), mapped["image"]
    for rows, cols, level in (
        (slice(0, 40), slice(0, 20), 2.0), (slice(0, 30), slice(21, 40), -2.0), (slice(31, 40), slice(21, 40), 0.0),
        (slice(0, 40), slice(41, 56), 0.0),
    ):  # fmt: skip
        assert np.mean(root[rows, cols] - 6 - 8 * red[rows, cols]) == pytest.approx(level, abs=0.15)
    assert np.mean(root[0:30, 20] - 6 - 8 * red[0:30, 20]) == pytest.approx(0.0, abs=0.2)  # half spruce, half oak


def test_a_stratum_without_plots_is_mapped_with_what_strata_depart_by_in_its_error(mapped, tmp_path, caplog):
    """The same model over land whose eastern stands are of a species that no plot has."""
    grid = make_grid(block_chunks=4)
    parts = (*LAND[:1], (205, 0, 400, 400, "larch"))
    estimate(
        maps={"agb_2019": tmp_path / "agb.tif"}, partials=tmp_path / "partials.parquet",
        models={"agb": mapped[4]["folder"] / "model.json"}, settings=write_stands(tmp_path, parts), grid=grid.settings(),
        block=grid.blocks()[0], years=[2019], sources=make_sources(tmp_path, grid, {2019: mapped["image"]}),
        products=[{"name": "agb_2019", "kind": "stock", "title": "", "target": "agb", "years": [2019],
                   "bands": [{"name": name, "units": "1"} for name in ("value", "se", "in_domain", "set")]}],
        forest={"source": "everywhere", "min_area_ha": 0},
        carbon={"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47},
    )  # fmt: skip
    found = store.read_raster(tmp_path / "agb.tif")
    larch, spruce = (slice(0, 40), slice(21, 40)), (slice(0, 40), slice(0, 20))
    assert np.mean(np.sqrt(found["value"][larch]) - 6 - 8 * mapped["image"][larch]) == pytest.approx(0.0, abs=0.7)
    assert found["se"][larch].mean() > 5 * found["se"][spruce].mean()
    assert "lies in no stratum that target agb has a level for: they take that of all strata, and what strata" in caplog.text


def test_maps_of_carbon_take_the_root_shoot_ratio_of_the_stratum_as_stands_do(mapped, tmp_path):
    """Roots of a fifth in spruce, of two fifths in oak: a pixel cut in halves by the border has a part of both."""
    grid, carbon = make_grid(block_chunks=4), {"biomass_per_target": 1.0, "root_shoot": "from_plots", "carbon_fraction": 0.5}
    plots = pd.DataFrame({"cluster": list("abcdef"), "stratum": ["spruce"] * 3 + ["oak"] * 3, "kept": True, "agb_mg_ha": 100.0})
    plots["bgb_mg_ha"] = [20.0, 15.0, 25.0, 40.0, 40.0, 40.0]
    store.write_table(tmp_path / "plots.parquet", plots)
    bands = {kind: [{"name": name, "units": "1"} for name in names] for kind, names in (
        ("stock", ("value", "se", "in_domain", "set")), ("tree_carbon", ("carbon", "carbon_se")))}  # fmt: skip
    about = {"title": "", "target": "agb", "years": [2019]}
    estimate(
        maps={kind: tmp_path / f"{kind}.tif" for kind in bands}, partials=tmp_path / "partials.parquet",
        models={"agb": mapped[4]["folder"] / "model.json"}, settings=write_stands(tmp_path), grid=grid.settings(),
        block=grid.blocks()[0], years=[2019], sources=make_sources(tmp_path, grid, {2019: mapped["image"]}),
        products=[{"name": kind, "kind": kind, "bands": own, **about} for kind, own in bands.items()],
        forest={"source": "everywhere", "min_area_ha": 0}, carbon=carbon, rooted=tmp_path / "plots.parquet",
    )  # fmt: skip
    agb, found = (store.read_raster(tmp_path / f"{kind}.tif") for kind in bands)
    ratio = found["carbon"] / agb["value"] / 0.5 - 1
    assert ratio[:, :20] == pytest.approx(0.2, abs=1e-6) and ratio[:30, 21:40] == pytest.approx(0.4, abs=1e-6)
    assert ratio[:30, 20] == pytest.approx(0.3, abs=1e-6)
    assert ratio[:, 41:] == pytest.approx(0.3, abs=1e-6) and ratio[31:40, 21:] == pytest.approx(0.3, abs=1e-6)  # of all plots
    factors = carbon_factors(carbon, tmp_path / "plots.parquet")
    # the table of stands, from the mean of the same pixels
    row = pd.DataFrame({"mean": [agb["value"][:, :20].mean()], "se": 0.0, "low": 0.0, "high": 0.0})
    assert in_carbon(row, factors, strata=["spruce"])["mean"][0] == pytest.approx(found["carbon"][:, :20].mean(), rel=1e-6)
    # what checks and totals turn maps of carbon back by
    of_study = 1 + (20 + 15 + 25 + 3 * 40) / 600
    assert relative_factor(factors, make_stands(*LAND), grid, grid.window) * of_study == pytest.approx(1 + ratio, abs=1e-6)
    # the ratio's error in spruce: means of 0.2 that differ by clusters, sqrt(3 / 2 * 2 * 25) / 300
    error = np.hypot(agb["se"], agb["value"] * np.sqrt(75) / 300 / 1.2) * 0.6
    assert found["carbon_se"][:, :20] == pytest.approx(error[:, :20], rel=1e-5)


# ---------------------------------------------------------------- configuration, plan, pages


def test_a_configuration_that_asks_for_strata_without_a_column_of_them_is_a_sentence():
    with pytest.raises(StudyError, match=r"model.strata is levels, and stands.stratum names no column of the stand layer"):
        study_from(make_settings({"model": {"strata": "levels"}}))
    with pytest.raises(StudyError, match=r"model: strata: slopes needs regressor linear, got mix: others take strata"):
        study_from(make_settings({"model": {"strata": "slopes", "regressor": "mix"}}))
    with pytest.raises(StudyError, match=r"model.strata is slopes, and stands.stratum names no column"):
        study_from(make_settings({"model": {"strata": "slopes"}}))  # what default stands for, the plots say


def test_plots_and_cells_wait_for_stands_only_where_models_tell_strata_apart():
    plain = Plan(make_study())
    assert not plain.has_strata and plain.stands_of_model == {} and plain.digests_of_stands(plain.has_strata) == []
    settings = make_settings({"model": {"strata": "auto"}})
    settings["stands"] = settings["stands"] | {"stratum": "species"}
    plan = Plan(study_from(settings))
    assert plan.stands_of_model["stratum"] == "species" and plan.stands_of_model["records"] == {}
    assert plan.cells_need_stands and len(plan.digests_of_stands(True)) == len(plan.blocks)
    assert plan.model_settings["strata"] == "auto"


def test_a_card_the_page_and_the_record_tell_levels_with_their_standard_errors(mapped, tmp_path):
    from pipeline.model_card import _set

    frame = store.read_table(mapped[4]["folder"] / "training.parquet")
    model = mapped[4]["model"]
    card = _set(model["sets"][0], model, frame, "agb_mg_ha", {})
    assert [row["name"] for row in card["predictors"]] == ["e_red"]
    told = {row["stratum"]: row for row in card["strata"]}
    assert set(told) == {"spruce", "oak", NO_STRATUM} and sum(row["plots"] for row in told.values()) >= 66  # few on a border
    root = 6 + 8 * model["sets"][0]["centre"][0]
    apart = told["spruce"]["difference"] - told["oak"]["difference"]
    assert apart == pytest.approx((root + 2) ** 2 - (root - 2) ** 2, rel=0.05) and told["oak"]["se"] > 0
    rows = _strata_rows(card["strata"], "plots")
    assert [row["stratum"] for row in rows] == ["spruce", "in no stratum", "oak"] and rows[0]["difference"].startswith("+")
    assert _predictors_of(model["sets"][0]) == "e_red; 3 strata of stands"
    store.write_json(tmp_path / "card.json", {"sets": [card | {"residuals": None}]})
    assert _strata_in({"agb": tmp_path / "card.json"}) == {"agb": {"satellite": card["strata"]}}


def test_a_model_that_was_fitted_without_strata_asks_for_none():
    model, _ = fit_target(make_plots(), {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha")
    assert TargetModel.from_plain(model.to_plain()).strata == 0 and len(model.shrunk) == 0
