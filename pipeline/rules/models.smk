# From plots and predictors to models.


rule training:
    input:
        plots=f"{resources}/plots.parquet",
        rasters=plan.all_predictor_files,
        tiles=ancient(plan.all_campaign_files),
        made=plan.made(*study.lidar),
    output:
        table=f"{resources}/training/{{target}}.parquet",
    params:
        column=lambda wildcards: plan.targets[wildcards.target]["column"],
        predictor_sets=plan.predictor_sets,
        sources=plan.sources,
        campaigns=plan.settings_of_all("lidar"),
        years=list(study.years),
        max_years_apart=study.plots.max_years_apart,
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
        stand_files=ancient(plan.stand_files if study.forest.source == "stands" else []),
        made=plan.made("field"),
    output:
        table=f"{resources}/cells.parquet",
    params:
        predictor_sets=plan.predictor_sets,
        sources=plan.sources,
        forest=plan.settings("forest"),
        settings=plan.settings("stands") if study.forest.source == "stands" else {},
        touching=plan.stands_of_forest,
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
        **plan.cell_files,
    output:
        model=f"{resources}/model/{{target}}/model.json",
        left_out=f"{resources}/model/{{target}}/left_out.parquet",
    params:
        column=lambda wildcards: plan.targets[wildcards.target]["column"],
        predictor_sets=plan.predictor_sets,
        settings=plan.model_settings,
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
