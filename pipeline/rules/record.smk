# What a reader and a verifier open: checks, record, report.


rule check:
    input:
        **plan.published_maps,
        **plan.model_files,
        table=f"{results}/stands.parquet",
        estimates=f"{resources}/estimates.parquet",
        totals=f"{results}/estimates.csv",
        **plan.truth_files,
        **plan.rooted_plots,
        made=plan.made("truth"),
        others=plan.comparison_files,
    output:
        checks=f"{results}/checks.json",
    params:
        products=plan.plain_products,
        comparisons=plan.settings_of_all("comparisons"),
        carbon=plan.carbon,
        stock_target=study.stock_target,
        targets=plan.targets,
        grid=plan.grid_settings,
        code=plan.code("check"),
    log:
        f"{logs}/check.log",
    script:
        "run_step.py"


rule model_card:
    input:
        model=f"{resources}/model/{{target}}/model.json",
        training=f"{resources}/training/{{target}}.parquet",
        validation=f"{resources}/model/{{target}}/validation.json",
        validated=f"{resources}/model/{{target}}/validation.parquet",
        estimates=f"{resources}/estimates.parquet",
        table=f"{results}/stands.parquet",
        project=f"{results}/project.csv",
        warned=f"{resources}/said/plots.json",
        mapped=expand(f"{resources}/said/estimate/{{block}}.json", block=plan.blocks),
        sizes=expand(f"{resources}/sizes/{{block}}.json", block=plan.blocks),
    output:
        card=f"{results}/model_cards/{{target}}.json",
    params:
        study=plan.card_settings,
        grid=plan.area_settings,
        code=plan.code("model_card"),
    log:
        f"{logs}/model_card/{{target}}.log",
    script:
        "run_step.py"


rule report:
    input:
        **plan.card_files,
        **plan.published_maps,
        **plan.model_files,
        **plan.left_out_files,
        **plan.validation_files,
        **plan.training_files,
        **plan.scene_files,
        **plan.dropped_files,
        **plan.canopies.files,
        **plan.canopies.summaries,
        table=f"{results}/stands.parquet",
        estimates=f"{resources}/estimates.parquet",
        project=f"{results}/project.csv",
        totals=f"{results}/estimates.csv",
        ledger=f"{results}/ledger.csv",
        checks=f"{results}/checks.json",
        said=plan.said_files,
        slopes=plan.slope_files,
    output:
        page=f"{results}/report.html",
    params:
        study=study.model_dump(mode="json"),
        products=plan.plain_products,
        notes=plan.notes,
        standard=plan.standard,
        grid=plan.grid_settings,
        code=plan.code("report"),
    log:
        f"{logs}/report.log",
    script:
        "run_step.py"


rule record:
    input:
        **plan.published_maps,
        **plan.scene_files,
        **plan.canopies.files,
        **plan.card_files,
        table=f"{results}/stands.parquet",
        layers=f"{results}/stands.gpkg",
        project=f"{results}/project.csv",
        totals=f"{results}/estimates.csv",
        ledger=f"{results}/ledger.csv",
        checks=f"{results}/checks.json",
        page=f"{results}/report.html",
        said=f"{resources}/said/plots.json",
    output:
        run=f"{results}/run.json",
        collection=f"{results}/stac/collection.json",
    params:
        study=study.model_dump(mode="json"),
        products=plan.plain_products,
        canopy_products=plan.canopies.products,
        standard=plan.standard,
        grid=plan.grid_settings,
        code=plan.code("record"),
    log:
        f"{logs}/record.log",
    script:
        "run_step.py"
