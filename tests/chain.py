"""The workflow's steps called one after the other in this process, with the same plan that the rules use."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import store
from pipeline.bridge import Plan
from pipeline.config import Plots, Study, study_from
from pipeline.steps import planted
from pipeline.steps.cells import cells
from pipeline.steps.check import check
from pipeline.steps.composite import composite
from pipeline.steps.estimate import estimate
from pipeline.steps.fit import fit
from pipeline.steps.lidar import lidar
from pipeline.steps.plots import plots
from pipeline.steps.publish import publish
from pipeline.steps.search import search
from pipeline.steps.stands import stands
from pipeline.steps.topography import topography
from pipeline.steps.totals import totals
from pipeline.steps.training import training


def small_study(folder: Path, *, seed: int = 1, **changes) -> Study:
    """The planted study's small variant under `folder`; keyword arguments replace whole sections."""
    from catalogs.planted.settings import SMALL_AREA, Planting

    resources, area = folder / "resources", SMALL_AREA
    made = resources / "planted"
    side = area["rows"] * area["resolution_m"]
    content = {
        "name": "small",
        "results": str(folder / "results"),
        "resources": str(resources),
        "area": {
            "crs": area["crs"],
            "bounds": [area["west_m"], area["north_m"] - side, area["west_m"] + side, area["north_m"]],
            "resolution_m": area["resolution_m"],
            "chunk_px": 32,
            "block_chunks": 2,
        },
        "years": [2019, 2024],
        "sensors": {"sentinel-2-l2a": {"catalog": str(made / "catalog.json"), "season": ["06-01", "09-30"]}},
        "lidar": {
            "als2019": {"points": str(made / "lidar/als2019"), "date": 2019},
            "als2024": {"points": str(made / "lidar/als2024"), "date": 2024},
        },
        "plots": {
            "file": str(made / "plots.csv"),
            "trees": str(made / "trees.csv"),
            "crs": area["crs"],
            "allometry": str(made / "allometry.csv"),
            "wood_density": str(made / "wood_density.csv"),
            "sampling": "probability",
        },
        "stands": {"file": str(made / "stands.gpkg"), "stratum": "species"},
        "forest": {
            "source": "raster",
            "files": {2019: str(made / "landcover_2019.tif"), 2024: str(made / "landcover_2024.tif")},
        },
        "model": {
            "regressor": "linear",
            "predictors": {
                "lidar": ["zmean", "zq95", "cover_2m"],
                "satellite": ["s2_ndmi", "s2_ndre", "s2_swir16", "s2_nbr"],
            }
        },
        "planted": Planting.small(seed).model_dump(mode="json"),
    }
    return study_from(content | changes)


def plots_of_tables(folder: Path, grid, plot_table, trees=None, *, targets=("agb",), crs: str, **settings):
    """What the step `plots` makes of two tables (plots.parquet), with its notes and trees beside."""
    plot_table.to_csv(folder / "plots.csv", index=False)
    given = {"file": str(folder / "plots.csv"), "crs": crs}
    if trees is not None:
        trees.to_csv(folder / "trees.csv", index=False)
        given["trees"] = str(folder / "trees.csv")
    plain = Plots(**{**given, **settings}).model_dump(mode="json")
    plots(
        table=folder / "plots.parquet", settings=plain, grid=grid.settings(), targets=list(targets),
        said=folder / "said.json", tree_list=folder / "trees.parquet",
    )  # fmt: skip
    return store.read_table(folder / "plots.parquet")


def plant(plan: Plan, *, truth: bool = True) -> None:
    """Write the planted study's parts."""
    about = {
        "folder": str(plan.resources / "planted"),
        "area": plan.grid_settings,
        "years": list(plan.study.years),
        "settings": plan.settings("planted"),
    }
    made = plan.resources / "planted" / "made"
    planted.plant_field(made=made / "field.json", **about)
    if plan.study.sensors:
        planted.plant_scenes(made=made / "scenes.json", **about)
    for campaign in plan.study.lidar:
        tiles = plan.resources / "planted/lidar" / campaign
        planted.plant_lidar(made=made / f"{campaign}.json", tiles=tiles, campaign=campaign, **about)
    if truth:
        planted.plant_truth(made=made / "truth.json", truth=plan.resources / "planted/truth", **about)


def map_and_estimate(plan: Plan) -> None:
    """Everything from frozen scenes to stand estimates and checks."""
    see(plan)
    learn(plan)
    report_numbers(plan)


def see(plan: Plan) -> None:
    """Scenes, composites, lidar metrics."""
    study, res, grid = plan.study, plan.resources, plan.grid_settings
    levelled = any(map(plan.imagery.levels, plan.sources["sensors"]))
    ground = [plan.imagery.elevation_sensor] if levelled else []
    for sensor in dict.fromkeys([*ground, *plan.sources["sensors"]]):
        scenes = res / "scenes" / f"{sensor}.json"
        search(scenes=scenes, settings=plan.settings("sensors", sensor), sensor=sensor, grid=plan.area_settings,
               years=plan.imagery.years(sensor))  # fmt: skip
        for period in plan.imagery.periods(sensor):
            year = int(period) if period.isdigit() else period
            about = {"scenes": scenes, "sensor": sensor, "year": year, "grid": grid, "roles": plan.roles(sensor)}
            if plan.imagery.levels(sensor):
                table = res / f"topography/{sensor}_{period}.json"
                lit = {"elevation": plan.imagery.elevation_folder}
                topography(table=table, settings=plan.imagery.topography_settings(sensor), **lit, **about)
                about |= {"topography": table, **lit}
            for block in plan.blocks:
                composite(raster=res / f"composite/{sensor}_{period}/{block}.tif", block=block,
                          settings=plan.imagery.composite_settings(sensor), **about)  # fmt: skip
    for campaign in study.lidar:
        for block in plan.blocks:
            lidar(raster=res / f"lidar/{campaign}/{block}.tif", grid=grid, block=block,
                  campaign=plan.settings("lidar", campaign), metrics=plan.metrics)  # fmt: skip


def learn(plan: Plan) -> None:
    """Plots, training tables, models."""
    study, res = plan.study, plan.resources
    plots(table=res / "plots.parquet", settings=plan.settings("plots"), grid=plan.area_settings, targets=list(study.targets))
    for sample in plan.cell_files.values():
        cells(table=sample, grid=plan.grid_settings, years=list(study.years), sources=plan.sources,
              forest=plan.settings("forest"), predictor_sets=plan.predictor_sets, settings=plan.settings("stands"),
              strata=plan.has_strata)  # fmt: skip
    for target, about in plan.targets.items():
        table = res / f"training/{target}.parquet"
        training(table=table, plots=res / "plots.parquet", grid=plan.grid_settings, target=target, column=about["column"],
                 predictor_sets=plan.predictor_sets, sources=plan.sources, campaigns=plan.settings_of_all("lidar"),
                 years=list(study.years), max_years_apart=study.plots.max_years_apart,
                 strata=plan.stands_of_model)  # fmt: skip
        fit(model=res / f"model/{target}/model.json", left_out=res / f"model/{target}/left_out.parquet", table=table,
            target=target, column=about["column"], predictor_sets=plan.predictor_sets, settings=plan.model_settings,
            stands=plan.patch_settings, grid=plan.area_settings, **plan.cell_files)  # fmt: skip


def report_numbers(plan: Plan) -> None:
    """Maps, partials, stands, totals, published maps, checks."""
    study, res, out, grid = plan.study, plan.resources, plan.results, plan.grid_settings
    map_blocks(plan)
    tables(plan)
    maps = {}
    for name in plan.products:
        maps[name] = out / f"maps/{name}{plan.map_suffix}"
        publish(raster=maps[name], style=out / f"maps/{name}.qml", grid=grid, product=plan.plain_product(name),
                blocks=[res / f"maps/{name}/{block}.tif" for block in plan.blocks])  # fmt: skip
    truth = res / "planted/truth"
    check(checks=out / "checks.json", maps=maps, models=_learnt(plan)["models"], table=out / "stands.parquet",
          estimates=res / "estimates.parquet", truth=truth if truth.exists() else None,
          totals=out / "estimates.csv", products=plan.plain_products,
          comparisons=plan.settings_of_all("comparisons"), carbon=plan.carbon, stock_target=study.stock_target,
          targets=plan.targets, grid=grid, **plan.rooted_plots)  # fmt: skip


def map_blocks(plan: Plan, *, maps: bool = True) -> None:
    """Maps and partials of every block, or partials alone."""
    study, res = plan.study, plan.resources
    names, products = (plan.products, plan.plain_products) if maps else ((), [])
    placed = res / "plots.parquet" if study.stands.include_plots else None
    for block in plan.blocks:
        estimate(maps={name: res / f"maps/{name}/{block}.tif" for name in names},
                 partials=res / f"partials/{block}.parquet", models=_learnt(plan)["models"], settings=plan.settings("stands"),
                 grid=plan.grid_settings, block=block, years=list(study.years), sources=plan.sources,
                 forest=plan.settings("forest"), products=products, carbon=plan.carbon, plots=placed,
                 sets={name: res / f"sets/{name}/{block}.tif" for name in plan.set_maps} if maps else {},
                 **plan.rooted_plots)  # fmt: skip


def tables(plan: Plan) -> None:
    """Stands, ledger and totals from partials, maps and models."""
    study, res, out = plan.study, plan.resources, plan.results
    stand_tables(plan)
    totals(totals=out / "estimates.csv", project=out / "project.csv", plots=res / "plots.parquet",
           table=out / "stands.parquet", estimates=res / "estimates.parquet", **_learnt(plan),
           maps=[Path(path) for path in plan.sampled_maps], sets=[Path(path) for path in plan.set_map_files],
           flown_by_chance=plan.campaigns.flown_by_chance,
           products=plan.plain_products, grid=plan.grid_settings, years=list(study.years), carbon=plan.carbon,
           stock_target=study.stock_target, targets=plan.targets,
           confidence_percent=study.model.confidence_percent, **plan.rooted_plots)  # fmt: skip


def stand_tables(plan: Plan) -> None:
    """Stands and ledger from partials and models."""
    study, res, out = plan.study, plan.resources, plan.results
    placed = res / "plots.parquet" if study.stands.include_plots else None
    stands(layers=out / "stands.gpkg", table=out / "stands.parquet", ledger=out / "ledger.csv",
           estimates=res / "estimates.parquet", partials=[res / f"partials/{block}.parquet" for block in plan.blocks],
           **_learnt(plan), settings=plan.settings("stands"), grid=plan.grid_settings, years=list(study.years),
           carbon=plan.carbon, stock_target=study.stock_target, min_cover_percent=study.min_cover_percent,
           confidence_percent=study.model.confidence_percent, targets=plan.targets, plots=placed,
           max_outside_domain_percent=study.model.max_outside_domain_percent, forest=plan.settings("forest"),
           sources=plan.sources, **plan.rooted_plots)  # fmt: skip


def _learnt(plan: Plan) -> dict[str, dict[str, Path]]:
    """What rule fit and its input left of every target."""
    res, targets = plan.resources, plan.study.targets
    return {
        "models": {target: res / f"model/{target}/model.json" for target in targets},
        "left_out": {target: res / f"model/{target}/left_out.parquet" for target in targets},
        "training": {target: res / f"training/{target}.parquet" for target in targets},
    }


def one_thread() -> None:
    """What a job's environment says about threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
