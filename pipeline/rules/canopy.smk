# Canopy height model and trees of the campaigns that ask for them.
# Windows and tiles are counted from the grid's corner, so that blocks are jobs and files and nothing else.


rule canopy:
    input:
        ancient(lambda wildcards: plan.campaigns.files(wildcards.campaign)),
        made=lambda wildcards: plan.made(wildcards.campaign),
    output:
        raster=f"{resources}/canopy/{{campaign}}/{{block}}.tif",
    params:
        campaign=lambda wildcards: plan.settings("lidar", wildcards.campaign),
        settings=lambda wildcards: plan.canopies.settings(wildcards.campaign),
        grid=plan.grid_settings,
        touching=lambda wildcards: plan.campaigns.tiles_touching(wildcards.campaign, wildcards.block),
        code=plan.code("canopy"),
    log:
        f"{logs}/canopy/{{campaign}}/{{block}}.log",
    script:
        "run_step.py"


rule trees:
    input:
        rasters=lambda wildcards: plan.canopies.near(wildcards.campaign, wildcards.block),
    output:
        table=f"{resources}/trees/{{campaign}}/{{block}}.parquet",
    params:
        campaign=lambda wildcards: plan.settings("lidar", wildcards.campaign),
        settings=lambda wildcards: plan.canopies.settings(wildcards.campaign),
        grid=plan.grid_settings,
        code=plan.code("trees"),
    log:
        f"{logs}/trees/{{campaign}}/{{block}}.log",
    script:
        "run_step.py"


rule publish_canopy:
    input:
        rasters=lambda wildcards: plan.canopies.blocks(wildcards.campaign),
        tables=expand(f"{resources}/trees/{{{{campaign}}}}/{{block}}.parquet", block=plan.blocks),
    output:
        raster=f"{results}/canopy/{{campaign}}_chm{plan.canopies.suffix}",
        style=f"{results}/canopy/{{campaign}}_chm.qml",
        layers=f"{results}/canopy/{{campaign}}_trees.gpkg",
        summary=f"{resources}/canopy/{{campaign}}.json",
    params:
        campaign=lambda wildcards: plan.settings("lidar", wildcards.campaign),
        product=lambda wildcards: plan.canopies.product(wildcards.campaign),
        grid=plan.grid_settings,
        code=plan.code("publish_canopy"),
    log:
        f"{logs}/publish_canopy/{{campaign}}.log",
    script:
        "run_step.py"
