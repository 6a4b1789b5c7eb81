# From models to maps and stands.


rule estimate:
    input:
        **plan.model_files,
        rasters=lambda wildcards: plan.predictor_files(plan.near(wildcards.block)),
        stand_files=ancient(plan.stand_files),
        made=plan.made("field"),
        forest_files=plan.forest_files,
        **plan.plots_if_stands,
        **plan.rooted_plots,
    output:
        **{f"maps__{name}": f"{resources}/maps/{name}/{{block}}.tif" for name in plan.products},
        **{f"sets__{name}": f"{resources}/sets/{name}/{{block}}.tif" for name in plan.set_maps},
        partials=f"{resources}/partials/{{block}}.parquet",
        said=f"{resources}/said/estimate/{{block}}.json",
        sizes=f"{resources}/sizes/{{block}}.json",
    params:
        settings=plan.stand_shapes,
        forest=plan.settings("forest"),
        sources=plan.sources,
        products=plan.plain_products,
        carbon=plan.carbon,
        years=list(study.years),
        grid=plan.grid_settings,
        touching=lambda wildcards: plan.stands_touching(wildcards.block),
        code=plan.code("estimate"),
    log:
        f"{logs}/estimate/{{block}}.log",
    script:
        "run_step.py"


rule stands:
    input:
        **plan.model_files,
        **plan.left_out_files,
        **plan.training_files,
        partials=expand(f"{resources}/partials/{{block}}.parquet", block=plan.blocks),
        sizes=expand(f"{resources}/sizes/{{block}}.json", block=plan.blocks),
        stand_files=plan.stand_files,
        forest_files=plan.forest_files,
        rasters=plan.forest_rasters,
        warned=f"{resources}/said/plots.json",
        **plan.plots_if_stands,
        **plan.rooted_plots,
    output:
        layers=f"{results}/stands.gpkg",
        table=f"{results}/stands.parquet",
        ledger=f"{results}/ledger.csv",
        estimates=f"{resources}/estimates.parquet",
        said=f"{resources}/said/stands.json",
    params:
        settings=plan.settings("stands"),
        forest=plan.settings("forest"),
        sources=plan.sources,
        carbon=plan.carbon,
        stock_target=study.stock_target,
        targets=plan.targets,
        years=list(study.years),
        min_cover_percent=study.min_cover_percent,
        confidence_percent=study.model.confidence_percent,
        max_outside_domain_percent=study.model.max_outside_domain_percent,
        grid=plan.grid_settings,
        code=plan.code("stands"),
    log:
        f"{logs}/stands.log",
    script:
        "run_step.py"


rule totals:
    input:
        **plan.model_files,
        **plan.left_out_files,
        **plan.training_files,
        maps=plan.sampled_maps,
        sets=plan.set_map_files,
        plots=f"{resources}/plots.parquet",
        table=f"{results}/stands.parquet",
        estimates=f"{resources}/estimates.parquet",
        warned=f"{resources}/said/plots.json",
        **plan.rooted_plots,
    output:
        totals=f"{results}/estimates.csv",
        project=f"{results}/project.csv",
    params:
        carbon=plan.carbon,
        stock_target=study.stock_target,
        targets=plan.targets,
        years=list(study.years),
        confidence_percent=study.model.confidence_percent,
        products=plan.plain_products,
        flown_by_chance=plan.campaigns.flown_by_chance,
        grid=plan.grid_settings,
        code=plan.code("totals"),
    log:
        f"{logs}/totals.log",
    script:
        "run_step.py"


rule publish:
    input:
        blocks=expand(f"{resources}/maps/{{{{product}}}}/{{block}}.tif", block=plan.blocks),
        said=f"{resources}/said/plots.json",
    output:
        raster=f"{results}/maps/{{product}}{plan.map_suffix}",
        style=f"{results}/maps/{{product}}.qml",
    params:
        product=lambda wildcards: plan.plain_product(wildcards.product),
        grid=plan.grid_settings,
        code=plan.code("publish"),
    log:
        f"{logs}/publish/{{product}}.log",
    script:
        "run_step.py"
