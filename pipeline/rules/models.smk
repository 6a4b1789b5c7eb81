# From plots and predictors to models.


rule training:
    input:
        plots=f"{resources}/plots.parquet",
        rasters=plan.all_predictor_files,
        tiles=ancient(plan.campaigns.all_files),
        stand_files=ancient(plan.stand_files if plan.has_strata else []),
        made=plan.made(*study.lidar, *(["field"] if plan.has_strata else [])),
    output:
        table=f"{resources}/training/{{target}}.parquet",
    params:
        column=lambda wildcards: plan.targets[wildcards.target]["column"],
        predictor_sets=plan.predictor_sets,
        sources=plan.sources,
        campaigns=plan.settings_of_all("lidar"),
        years=list(study.years),
        max_years_apart=study.plots.max_years_apart,
        strata=plan.stands_of_model,
        touching=plan.digests_of_stands(plan.has_strata),
        grid=plan.grid_settings,
        code=plan.code("training"),
    log:
        f"{logs}/training/{{target}}.log",
    script:
        "run_step.py"


rule cells:
    input:
        rasters=plan.all_predictor_files,
        forest_files=plan.forest_files,
        stand_files=ancient(plan.stand_files if plan.cells_need_stands else []),
        made=plan.made("field"),
    output:
        table=f"{resources}/cells.parquet",
    params:
        predictor_sets=plan.predictor_sets,
        sources=plan.sources,
        forest=plan.settings("forest"),
        settings=plan.stand_shapes if plan.cells_need_stands else {},
        strata=plan.has_strata,
        touching=plan.digests_of_stands(plan.cells_need_stands),
        years=list(study.years),
        grid=plan.grid_settings,
        code=plan.code("cells"),
    log:
        f"{logs}/cells.log",
    script:
        "run_step.py"


rule fit:
    input:
        table=f"{resources}/training/{{target}}.parquet",
        stand_files=ancient(plan.stand_files),
        made=plan.made("field"),
        **plan.cell_files,
    output:
        model=f"{resources}/model/{{target}}/model.json",
        left_out=f"{resources}/model/{{target}}/left_out.parquet",
    params:
        column=lambda wildcards: plan.targets[wildcards.target]["column"],
        predictor_sets=plan.predictor_sets,
        predictors_named=plan.predictors_named,
        settings=plan.model_settings,
        stands=plan.patch_settings,
        grid=plan.area_settings,
        touching=lambda wildcards: plan.patches_of(wildcards.target),
        years=list(study.years),
        code=plan.code("fit"),
    log:
        f"{logs}/fit/{{target}}.log",
    script:
        "run_step.py"


rule validate:
    input:
        table=f"{resources}/training/{{target}}.parquet",
        model=f"{resources}/model/{{target}}/model.json",
        stand_files=ancient(plan.stand_files),
        made=plan.made("field"),
        partials=expand(f"{resources}/partials/{{block}}.parquet", block=plan.blocks),
        **plan.plots_if_stands,
    output:
        scores=f"{resources}/model/{{target}}/validation.json",
        left_out=f"{resources}/model/{{target}}/validation.parquet",
    params:
        column=lambda wildcards: plan.targets[wildcards.target]["column"],
        settings=plan.stand_shapes,
        grid=plan.area_settings,
        confidence_percent=study.model.confidence_percent,
        date_effect=plan.date_effect,
        code=plan.code("validate"),
    log:
        f"{logs}/validate/{{target}}.log",
    script:
        "run_step.py"
