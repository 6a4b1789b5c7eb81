"""Stand and project statistics from sums over pixels: a floor on what they may cost, and what they may use of memory.

`ours` is the step `stands` itself: stands read, the blocks' sums added, every stand, eight strata and the project estimated,
tables and layers written. There is nobody to run beside, so `other` reads the stands and adds their values up: a mean without
an error. The study is a hard one for the step: two predictor sets, plots in clusters that leave eight ranges and patches open
(all that a model may say of its residuals), a fifth of the stands with lakes or ragged; of two years a tenth forest at one.
The project's estimate by itself is a row of its own, beside the mean with the error of its parameters alone.
"""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

CLUSTERS, PER_CLUSTER = 60, 4
TYPICAL_HA = 6.0
PIXEL_HA = 0.01
SETS = {"lidar": ["zmean", "zq95", "cover_2m"], "satellite": ["s2_ndmi", "s2_nbr"]}
STRATA = 8


def mosaic(stands: int):
    """A Voronoi mosaic of about 6 ha a stand: compact, elongated and ragged ones as chance has them; one in five holds a
    lake."""
    import geopandas as gpd
    import shapely

    rng = np.random.default_rng(40)
    side = float(np.sqrt(stands * TYPICAL_HA * 1e4))
    frame = shapely.box(500_000, 3_000_000, 500_000 + side, 3_000_000 + side)
    places = np.array([500_000, 3_000_000]) + rng.uniform(0, side, (int(stands * 1.02) + 50, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(places), extend_to=frame))
    cells = shapely.intersection(cells, frame)
    cells = cells[shapely.area(cells) > 0][:stands]
    odd = np.arange(len(cells)) % 5 == 0
    lakes = shapely.buffer(shapely.point_on_surface(cells[odd]), np.sqrt(shapely.area(cells[odd])) / 5)
    cells[odd] = shapely.difference(cells[odd], lakes)
    names = [f"s{k:06d}" for k in range(len(cells))]
    strata = [f"t{k % STRATA}" for k in range(len(cells))]
    return gpd.GeoDataFrame({"stand": names, "species": strata}, geometry=cells, crs="EPSG:32650")


def plots_in(bounds: tuple, years: tuple):
    """Clusters of plots 100 m apart whose residuals have something in common, measured in each of the years."""
    import pandas as pd

    rng = np.random.default_rng(41)
    west, south, east, north = bounds
    n = CLUSTERS * PER_CLUSTER
    centre = rng.uniform([west + 500, south + 500], [east - 500, north - 500], (CLUSTERS, 2))
    corner = np.array([(0, 0), (100, 0), (0, 100), (100, 100)])
    xy = (centre[:, None] + corner).reshape(-1, 2)
    cluster = np.repeat(np.arange(CLUSTERS), PER_CLUSTER)
    common = rng.normal(0, 15, CLUSTERS)[cluster] + rng.normal(0, 12, n)
    visits = []
    for number, year in enumerate(years):
        z = np.random.default_rng(42).uniform(4, 24, n) + number
        visits.append(pd.DataFrame({
            "plot": [f"p{k:03d}" for k in range(n)], "cluster": [f"c{k:03d}" for k in cluster], "year": year, "x": xy[:, 0],
            "y": xy[:, 1], "area_ha": 0.04, "zmean": z, "zq95": 1.4 * z + rng.normal(0, 2, n),
            "cover_2m": rng.uniform(20, 95, n), "s2_ndmi": 0.02 * z + rng.normal(0, 0.05, n),
            "s2_nbr": 0.015 * z + rng.normal(0, 0.1, n),
            "agb_mg_ha": np.maximum((3 + 0.5 * z) ** 2 + common + rng.normal(0, 8, n), 1.0),
        }))  # fmt: skip
    return pd.concat(visits, ignore_index=True)


def seen_by(stands: int, year: int) -> dict:
    """Predictors of stands; lidar ends in a third of them."""
    rng = np.random.default_rng(year)
    z = rng.uniform(4, 24, stands)
    lidar = np.where(np.arange(stands) % 3 > 0, z, np.nan)
    return {
        "zmean": lidar, "zq95": 1.4 * lidar, "cover_2m": rng.uniform(20, 95, stands), "s2_ndmi": 0.02 * z, "s2_nbr": 0.015 * z
    }  # fmt: skip


def sums_in(model, area_ha: np.ndarray, names: list[str], years: tuple):
    """The blocks' partial rows, made as `estimate` makes them: each stand by one pixel that counts as often as it takes."""
    from pipeline import mapping
    from pipeline.zonal import partial_rows

    n = len(names)
    seen = {year: seen_by(n, year) for year in years}
    # of several years, one stand in twenty is forest from the second on, one to the first
    wood = {year: np.where(np.arange(n) % 20 == min(number, 1), float(len(years) == 1), 1.0) for number, year in enumerate(years)}
    layers = {
        f"agb_{year}": mapping.with_no_change(mapping.stock_layers(model, seen[year], wood[year], year)) for year in years
    }
    for first, last in pairwise(years):
        usable = mapping.sets_for_change(model, (seen[first], seen[last]), (wood[first], wood[last]))
        ends = [mapping.stock_layers(model, seen[year], wood[year], year, usable) for year in (first, last)]
        place = {"place": np.column_stack([np.arange(n), np.zeros(n)])}
        layers[f"agb_{first}_{last}"] = mapping.change_layers(model, *ends) | place
    for start in range(0, n, 5000):
        often = {k: np.array([area_ha[k] / PIXEL_HA]) for k in range(start, min(start + 5000, n))}
        covered = [(names[k], np.array([k]), times, times) for k, times in often.items()]
        for estimand, one in layers.items():
            yield from partial_rows(
                f"r{start // 5000:03d}c000", estimand, covered, one, pixel_ha=PIXEL_HA, n_sets=len(model.sets)
            )


def a_study(stands: int, years: tuple = (2020,)) -> tuple:
    """Folder with stands, plots, a fitted model and sums, as `estimate` writes them; the bounds; and the years."""
    import geopandas as gpd
    import pandas as pd

    from models.inference.fitted import fit_target
    from pipeline import store

    folder = Path(tempfile.mkdtemp(prefix="bench_stands_"))
    polygons = mosaic(stands)
    polygons.to_file(folder / "stands.gpkg", layer="stands")
    plots = plots_in(polygons.total_bounds, years)
    model, left_out = fit_target(plots, SETS, target="agb", column="agb_mg_ha")
    store.write_json(folder / "model.json", model.to_plain())
    store.write_table(folder / "left_out.parquet", left_out)
    round_ones = gpd.points_from_xy(plots["x"], plots["y"]).buffer(11.28)
    footprints = gpd.GeoDataFrame(plots.assign(kept=True, sampling="purposive"), geometry=round_ones, crs="EPSG:32650")
    store.write_table(folder / "plots.parquet", footprints)
    rows = pd.DataFrame(sums_in(model, polygons.area.to_numpy() / 1e4, polygons["stand"].tolist(), years))
    rows.iloc[: len(rows) // 2].to_parquet(folder / "first.parquet")
    rows.iloc[len(rows) // 2 :].to_parquet(folder / "second.parquet")
    return folder, tuple(polygons.total_bounds), years


def our_step(prepared: tuple, *, warm_up: bool) -> dict:
    """The step as the workflow runs it, on all stands or, to warm up, on those of a small mosaic."""
    from pipeline import store
    from pipeline.config import Stands
    from pipeline.grid import Grid
    from pipeline.steps.stands import stands

    folder, bounds, years = a_study(300, prepared[2]) if warm_up else prepared
    grid = Grid.covering(bounds, crs="EPSG:32650", resolution_m=10.0, chunk_px=512, block_chunks=8)
    out = Path(tempfile.mkdtemp(prefix="bench_stands_out_"))
    stands(
        layers=out / "stands.gpkg", table=out / "stands.parquet", estimates=out / "estimates.parquet",
        ledger=out / "ledger.parquet", left_out={"agb": folder / "left_out.parquet"},
        training={"agb": folder / "plots.parquet"}, partials=[folder / "first.parquet", folder / "second.parquet"],
        models={"agb": folder / "model.json"}, grid=grid.settings(), years=list(years),
        settings=Stands(file=str(folder / "stands.gpkg"), id="stand", stratum="species").model_dump(mode="json"),
        carbon={"biomass_per_target": 1.0, "root_shoot": 0.26, "carbon_fraction": 0.47}, stock_target="agb",
        min_cover_percent=80.0, confidence_percent=90.0,
        targets={"agb": {"column": "agb_mg_ha", "units": "Mg/ha", "title": "Aboveground biomass"}},
    )  # fmt: skip
    table = store.read_table(out / "stands.parquet")
    return {"mean": table["model_agb_mg_ha_2020"].to_numpy(), "se": table["model_agb_mg_ha_se_2020"].to_numpy()}


def plain_means(prepared: tuple, *, warm_up: bool) -> dict:
    """The same means by a reader of GeoPackages and a table library, without any error."""
    import geopandas as gpd
    import pandas as pd

    folder, *_ = a_study(300) if warm_up else prepared
    polygons = gpd.read_file(folder / "stands.gpkg")
    sums = pd.concat([pd.read_parquet(folder / f"{half}.parquet") for half in ("first", "second")])
    inside = sums[(sums["part"] == "interior") & (sums["estimand"] == "agb_2020")]
    inside = inside.groupby("stand")[["sum_value", "covered_ha"]].sum()
    inside = inside.reindex(polygons["stand"])
    return {"mean": (inside["sum_value"] / inside["covered_ha"]).to_numpy()}


def agree(ours: dict, other: dict) -> bool:
    return bool(np.allclose(ours["mean"], other["mean"], rtol=1e-9) and ((ours["se"] > 0) | (ours["mean"] == 0)).all())


def a_project(stands: int) -> tuple:
    """A model, and the sums and outlines of the stands of one year, in memory."""
    from models.inference.target_model import TargetModel
    from pipeline import store
    from pipeline.steps.stand_rows import estimated_from, sums_of
    from pipeline.zonal import combine

    folder, *_ = a_study(stands)
    (totals,) = combine(store.read_table(folder / f"{half}.parquet") for half in ("first", "second")).values()
    model = TargetModel.from_plain(store.read_json(folder / "model.json"))
    return model, sums_of(estimated_from(totals)), mosaic(stands).geometry.to_numpy()


def our_project(prepared: tuple, *, warm_up: bool) -> dict:
    """Shapes and the estimate of all stands as one region."""
    from models.inference.stands import RegionEstimator, lattices

    model, sums, outlines = prepared
    if warm_up:
        sums, outlines = sums[:300], outlines[:300]
    found = RegionEstimator(model, years=(2020,), confidence_percent=90.0).estimate(sums, lattices(outlines))
    return {"mean": np.array([found.mean]), "se": np.array([found.se])}


def plain_project(prepared: tuple, *, warm_up: bool) -> dict:
    """Its mean with the error of the parameters alone."""
    model, sums, _ = prepared
    whole = sums.together()
    gradient = whole.gradient / whole.covered_ha[:, None]
    return {"mean": whole.value / whole.covered_ha, "se": np.sqrt(((gradient @ model.influence.T) ** 2).sum(axis=1))}


ROWS = [
    *(
        {
            "name": f"{stands:,} stands, strata and project, {what}",
            "other_name": "floor: geopandas and pandas, means without errors",
            "target": None,
            "prepare": partial(a_study, stands, years),
            "ours": our_step,
            "other": plain_means,
            "agree": agree,
            "repeats": 1,
            "note": note,
        }
        for stands, years, what, note in (
            (10_000, (2020,), "one year", ""),
            (100_000, (2020,), "one year", "wanted: under 60 CPU s and 1,000 MB, reading and writing included"),
            (100_000, (2020, 2025), "two years and their change", ""),
        )
    ),
    *(
        {
            "name": f"a project of {stands:,} stands, shapes and estimate",
            "other_name": "its mean with the error of the parameters alone",
            "target": None,
            "prepare": partial(a_project, stands),
            "ours": our_project,
            "other": plain_project,
            "agree": agree,
            "repeats": 1,
            "note": "without a matrix of stands or pixels",
        }
        for stands in (10_000, 100_000)
    ),
]
