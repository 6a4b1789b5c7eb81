"""Stand and project statistics from sums over pixels: a floor on what they may cost, and what they may use of memory.

`ours` is the step `stands` itself: stands read, the blocks' sums added, every stand and the project estimated, tables and
layers written. There is nobody to run beside, so `other` reads the stands and adds their values up: a mean without an error.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

PLOTS = 200
TYPICAL_HA = 6.0
PIXEL_HA = 0.01


def mosaic(stands: int):
    """A Voronoi mosaic of about 6 ha a stand: compact, elongated and ragged ones as chance has them; one in fifty holds a
    lake or lies in two parts."""
    import geopandas as gpd
    import shapely

    rng = np.random.default_rng(40)
    side = float(np.sqrt(stands * TYPICAL_HA * 1e4))
    frame = shapely.box(500_000, 3_000_000, 500_000 + side, 3_000_000 + side)
    places = np.array([500_000, 3_000_000]) + rng.uniform(0, side, (int(stands * 1.02) + 50, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(places), extend_to=frame))
    cells = shapely.intersection(cells, frame)
    cells = cells[shapely.area(cells) > 0][:stands]
    odd = np.arange(len(cells)) % 50 == 0
    lakes = shapely.buffer(shapely.point_on_surface(cells[odd]), np.sqrt(shapely.area(cells[odd])) / 5)
    cells[odd] = shapely.difference(cells[odd], lakes)
    names = [f"s{k:06d}" for k in range(len(cells))]
    return gpd.GeoDataFrame({"stand": names}, geometry=cells, crs="EPSG:32650")


def a_study(stands: int) -> tuple:
    """Folder with stands, plots, a fitted model and the sums of one year, as `estimate` writes them; and the bounds."""
    import geopandas as gpd
    import pandas as pd

    from models.inference.fitted import fit_target
    from pipeline import mapping, store
    from pipeline.zonal import partial_rows

    folder = Path(tempfile.mkdtemp(prefix="bench_stands_"))
    rng = np.random.default_rng(41)
    polygons = mosaic(stands)
    polygons.to_file(folder / "stands.gpkg", layer="stands")
    west, south, east, north = polygons.total_bounds
    z = rng.uniform(4, 24, PLOTS)
    plots = pd.DataFrame({
        "plot": [f"p{k:03d}" for k in range(PLOTS)], "cluster": [f"c{k // 4:03d}" for k in range(PLOTS)], "year": 2020,
        "x": rng.uniform(west, east, PLOTS), "y": rng.uniform(south, north, PLOTS), "area_ha": 0.04, "zmean": z,
        "zq95": 1.4 * z + rng.normal(0, 2, PLOTS), "cover_2m": rng.uniform(20, 95, PLOTS),
        "agb_mg_ha": np.maximum((3 + 0.5 * z) ** 2 + rng.normal(0, 20, PLOTS), 1.0),
    })  # fmt: skip
    names = ["zmean", "zq95", "cover_2m"]
    model, left_out = fit_target(plots, {"lidar": names}, target="agb", column="agb_mg_ha")
    store.write_json(folder / "model.json", model.to_plain())
    store.write_table(folder / "left_out.parquet", left_out)
    round_ones = gpd.points_from_xy(plots["x"], plots["y"]).buffer(11.28)
    footprints = gpd.GeoDataFrame(plots.assign(kept=True, sampling="purposive"), geometry=round_ones, crs="EPSG:32650")
    store.write_table(folder / "plots.parquet", footprints)
    area = polygons.area.to_numpy() / 1e4
    seen = rng.uniform([4, 8, 20], [24, 32, 95], (len(area), 3))
    layers = mapping.stock_layers(model, dict(zip(names, seen.T, strict=True)), np.ones(len(area)), 2020)
    covered = [  # each stand by one pixel of its own, that counts as often as it takes
        (stand, np.array([k]), np.array([area[k] / PIXEL_HA])) for k, stand in enumerate(polygons["stand"])
    ]
    rows = [
        row
        for first in range(0, len(covered), 5000)
        for row in partial_rows(
            f"r{first // 5000:03d}c000", "agb_2020", covered[first : first + 5000], mapping.with_no_change(layers),
            pixel_ha=PIXEL_HA, n_sets=1,
        )
    ]  # fmt: skip
    rows = pd.DataFrame(rows)
    rows.iloc[: len(rows) // 2].to_parquet(folder / "first.parquet")
    rows.iloc[len(rows) // 2 :].to_parquet(folder / "second.parquet")
    return folder, (west, south, east, north)


def our_step(prepared: tuple, *, warm_up: bool) -> dict:
    """The step as the workflow runs it, on all stands or, to warm up, on those of a small mosaic."""
    from pipeline import store
    from pipeline.config import Stands
    from pipeline.grid import Grid
    from pipeline.steps.stands import stands

    folder, bounds = a_study(60) if warm_up else prepared
    grid = Grid.covering(bounds, crs="EPSG:32650", resolution_m=10.0, chunk_px=512, block_chunks=8)
    out = Path(tempfile.mkdtemp(prefix="bench_stands_out_"))
    stands(
        layers=out / "stands.gpkg", table=out / "stands.parquet", estimates=out / "estimates.parquet",
        project=out / "project.csv", ledger=out / "ledger.parquet", left_out={"agb": folder / "left_out.parquet"},
        training={"agb": folder / "plots.parquet"}, partials=[folder / "first.parquet", folder / "second.parquet"],
        models={"agb": folder / "model.json"}, grid=grid.settings(), years=[2020],
        settings=Stands(file=str(folder / "stands.gpkg"), id="stand").model_dump(mode="json"),
        carbon={"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47}, stock_target="agb",
        min_cover_percent=80.0, confidence_percent=90.0,
        targets={"agb": {"column": "agb_mg_ha", "units": "Mg/ha", "title": "Aboveground biomass"}},
    )  # fmt: skip
    table = store.read_table(out / "stands.parquet")
    return {"mean": table["reported_agb_mg_ha_2020"].to_numpy(), "se": table["reported_agb_mg_ha_se_2020"].to_numpy()}


def plain_means(prepared: tuple, *, warm_up: bool) -> dict:
    """The same means by a reader of GeoPackages and a table library, without any error."""
    import geopandas as gpd
    import pandas as pd

    folder, _ = a_study(60) if warm_up else prepared
    polygons = gpd.read_file(folder / "stands.gpkg")
    sums = pd.concat([pd.read_parquet(folder / f"{half}.parquet") for half in ("first", "second")])
    inside = sums[sums["part"] == "interior"].groupby("stand")[["sum_value", "covered_ha"]].sum()
    inside = inside.reindex(polygons["stand"])
    return {"mean": (inside["sum_value"] / inside["covered_ha"]).to_numpy()}


def agree(ours: dict, other: dict) -> bool:
    return bool(np.allclose(ours["mean"], other["mean"], rtol=1e-9) and (ours["se"] > 0).all())


ROWS = [
    {
        "name": f"{stands:,} stands and their project, estimates with SE",
        "other_name": "floor: geopandas and pandas, means without errors",
        "target": None,
        "prepare": partial(a_study, stands),
        "ours": our_step,
        "other": plain_means,
        "agree": agree,
        "repeats": 1,
        "note": "wanted of 100,000: under 60 CPU s and 1,000 MB",
    }
    for stands in (10_000, 100_000)
]
