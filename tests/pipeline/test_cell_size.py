"""Land in cells of 10, 20 and 30 m, through the steps estimate and stands: a stand's error is the stand's, not the cells'."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from conftest import UTM, make_plots

from models.inference.fitted import fit_target
from pipeline import store
from pipeline.config import TARGETS
from pipeline.grid import Grid
from pipeline.steps import estimate as mapped
from pipeline.steps import stands as summed

WEST, NORTH, SIDE_M = 500_000.0, 3_000_000.0, 1200.0
CARBON = {"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47}


def landscape(cell_m: int, years=(2019, 2024)) -> dict[int, dict[str, np.ndarray]]:
    """Hilly heights and cover, as means over cells."""
    x, y = np.meshgrid(np.arange(5.0, SIDE_M, 10), np.arange(5.0, SIDE_M, 10))
    found = {}
    for grown, year in enumerate(years):
        fields = {"zmean": 13 + 4 * np.sin(x / 150) + 3 * np.cos(y / 120) + 1.2 * grown + 0.4 * np.sin((x + y) / 40),
                  "cover_2m": 60 + 15 * np.sin(x / 200 - y / 170)}  # fmt: skip
        cells, n = int(SIDE_M // cell_m), cell_m // 10
        found[year] = {name: seen.reshape(cells, n, cells, n).mean(axis=(1, 3)) for name, seen in fields.items()}
    return found


def outlines() -> gpd.GeoDataFrame:
    """Stands of 3 to 20 ha whose borders follow no cell."""
    turned = [
        (shapely.Point(220, -250).buffer(130, quad_segs=3), "round"),
        (shapely.affinity.rotate(shapely.box(450, -350, 800, -120), 17), "oblong"),
        (shapely.affinity.rotate(shapely.box(150, -1050, 600, -600), 31), "large"),
        (shapely.affinity.rotate(shapely.box(760, -1080, 1060, -560), -11), "tall"),
    ]
    shapes = [shapely.affinity.translate(shape, WEST, NORTH) for shape, _ in turned]
    frame = {"stand": [name for _, name in turned], "layer": "stands", "stratum": None, "declared_area_ha": np.nan}
    return gpd.GeoDataFrame(frame, geometry=shapes, crs=UTM).assign(area_ha=[shape.area / 1e4 for shape in shapes])


@pytest.fixture(scope="module")
def fitted():
    plots = make_plots(n=48, per_cluster=4, years=(2019, 2024), noise=18, spread_m=1100)
    predictors = {"lidar": ("zmean", "cover_2m")}
    return plots.assign(sampling="purposive"), *fit_target(plots, predictors, target="agb", column="agb_mg_ha")


@pytest.fixture
def errors(tmp_path, monkeypatch, fitted):
    """Mean and standard error of every stand and of the project by estimand, from cells of a size."""
    plots, model, left_out = fitted
    polygons = outlines()
    for step in (mapped, summed):
        monkeypatch.setattr(step, "read_stands", lambda *_, **__: polygons)
    files = {name: tmp_path / name for name in ("model.json", "left_out.parquet", "training.parquet")}
    store.write_json(files["model.json"], model.to_plain())
    store.write_table(files["left_out.parquet"], left_out)
    store.write_table(files["training.parquet"], plots)

    def go(cell_m: int):
        seen, cells = landscape(cell_m), int(SIDE_M // cell_m)
        grid = Grid(UTM, WEST, NORTH, float(cell_m), cells, cells, chunk_px=40, block_chunks=3)
        monkeypatch.setattr(
            mapped, "read_predictors",
            lambda grid, window, year, sources, names: {one: array[window.slices] for one, array in seen[year].items()},
        )  # fmt: skip
        about = {"settings": {}, "grid": grid.settings(), "years": [2019, 2024], "carbon": CARBON}
        mapped.estimate(
            maps={}, partials=tmp_path / "partials.parquet", models={"agb": files["model.json"]}, block=grid.blocks()[0],
            sources={}, forest={"source": "everywhere", "min_area_ha": 0}, products=[], **about,
        )  # fmt: skip
        names = {"layers": "stands.gpkg", "table": "table.parquet", "estimates": "estimates.parquet", "ledger": "ledger.csv"}
        out = {what: tmp_path / f"{cell_m}_{name}" for what, name in names.items()}
        summed.stands(
            **out, partials=[tmp_path / "partials.parquet"], models={"agb": files["model.json"]},
            left_out={"agb": files["left_out.parquet"]}, training={"agb": files["training.parquet"]}, stock_target="agb",
            min_cover_percent=80, confidence_percent=90, targets={"agb": TARGETS["agb"]}, **about,
        )  # fmt: skip
        found = store.read_table(out["estimates"]).query("level in ('stand', 'project')")
        return found.set_index(["level", "stand", "first_year", "last_year"])[["mean", "se"]].sort_index()

    return go


def test_a_stand_has_the_same_standard_error_at_cells_of_10_20_and_30_m(errors):
    fine, middle, coarse = map(errors, (10, 20, 30))
    assert len(fine) == 3 * (4 + 1) and (fine["se"] > 0).all()
    for other in (middle, coarse):
        np.testing.assert_allclose(other["se"], fine["se"], rtol=0.02)
