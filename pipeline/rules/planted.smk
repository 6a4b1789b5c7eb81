# The planted study: a synthetic forest written out in the formats that real data come in.
# `made/*.json` holds digests of what was written: what depends on a planted part depends on that file, so that planting
# again reruns it in the same run, while an edit of one stand reruns only the blocks that the stand touches.
planted = f"{resources}/planted"


rule plant_field:
    output:
        made=f"{planted}/made/field.json",
        plots=f"{planted}/plots.csv",
        trees=f"{planted}/trees.csv",
        stands=f"{planted}/stands.gpkg",
        allometry=f"{planted}/allometry.csv",
        wood_density=f"{planted}/wood_density.csv",
        landcover=expand("{planted}/landcover_{year}.tif", planted=planted, year=study.years),
    params:
        folder=planted,
        area=plan.area_settings,
        years=list(study.years),
        settings=plan.settings("planted"),
        code=plan.code("plant_field"),
    log:
        f"{logs}/plant_field.log",
    script:
        "run_step.py"


rule plant_scenes:
    output:
        made=f"{planted}/made/scenes.json",
        catalog=f"{planted}/catalog.json",
    params:
        folder=planted,
        area=plan.area_settings,
        years=list(study.years),
        settings=plan.settings("planted"),
        code=plan.code("plant_scenes"),
    log:
        f"{logs}/plant_scenes.log",
    script:
        "run_step.py"


rule plant_lidar:
    output:
        made=f"{planted}/made/{{campaign}}.json",
        tiles=directory(f"{planted}/lidar/{{campaign}}"),
    params:
        folder=planted,
        area=plan.area_settings,
        years=list(study.years),
        settings=plan.settings("planted"),
        code=plan.code("plant_lidar"),
    log:
        f"{logs}/plant_lidar/{{campaign}}.log",
    script:
        "run_step.py"


rule plant_truth:
    output:
        made=f"{planted}/made/truth.json",
        truth=directory(f"{planted}/truth"),
    params:
        folder=planted,
        area=plan.area_settings,
        years=list(study.years),
        settings=plan.settings("planted"),
        code=plan.code("plant_truth"),
    log:
        f"{logs}/plant_truth.log",
    script:
        "run_step.py"
