# What others made, brought onto the grid: scenes, composites, lidar metrics, plots.
# Snakemake looks at no param of a job whose `ancient` input is made again in the same run: `searched` is touched whenever
# the rule searches, so that its composites follow at once; `python -m pipeline search` leaves it alone, and then the
# digest of the scenes that touch a block decides. `update` leaves the frozen scenes where they are while a search runs: the
# years that they hold stay as they are when a study adds one.


rule search:
    input:
        ancient(lambda wildcards: plan.imagery.local_catalog(wildcards.sensor)),
        made=plan.made("scenes"),
    output:
        scenes=update(f"{resources}/scenes/{{sensor}}.json"),
        searched=touch(f"{resources}/scenes/{{sensor}}.searched"),
        said=f"{resources}/said/search_{{sensor}}.json",
    params:
        settings=lambda wildcards: plan.imagery.search_settings(wildcards.sensor),
        years=lambda wildcards: plan.imagery.years(wildcards.sensor),
        grid=plan.area_settings,
    log:
        f"{logs}/search/{{sensor}}.log",
    script:
        "run_step.py"


rule topography:
    input:
        plan.elevation_files,
        scenes=ancient(f"{resources}/scenes/{{sensor}}.json"),
        searched=f"{resources}/scenes/{{sensor}}.searched",
    output:
        table=f"{resources}/topography/{{sensor}}_{{year}}.json",
        said=f"{resources}/said/topography_{{sensor}}_{{year}}.json",
    params:
        settings=lambda wildcards: plan.imagery.topography_settings(wildcards.sensor),
        roles=lambda wildcards: plan.roles(wildcards.sensor),
        grid=plan.grid_settings,
        elevation=lambda wildcards: plan.imagery.elevation_param(wildcards.sensor),
        touching=lambda wildcards: plan.scenes_of_year(wildcards.sensor, wildcards.year),
        code=plan.code("topography"),
    log:
        f"{logs}/topography/{{sensor}}_{{year}}.log",
    script:
        "run_step.py"


rule elevation:
    input:
        scenes=ancient(f"{resources}/scenes/{{sensor}}.json"),
        searched=f"{resources}/scenes/{{sensor}}.searched",
    output:
        raster=f"{resources}/composite/{{sensor}}_static/{{block}}.tif",
        dropped=f"{resources}/composite/{{sensor}}_static/{{block}}.json",
    params:
        settings=lambda wildcards: plan.imagery.composite_settings(wildcards.sensor),
        roles=lambda wildcards: plan.roles(wildcards.sensor),
        grid=plan.grid_settings,
        touching=lambda wildcards: plan.scenes_touching(wildcards.sensor, "static", wildcards.block),
        code=plan.code("elevation"),
    log:
        f"{logs}/elevation/{{sensor}}/{{block}}.log",
    script:
        "run_step.py"


rule composite:
    input:
        unpack(plan.levelling_files),
        scenes=ancient(f"{resources}/scenes/{{sensor}}.json"),
        searched=f"{resources}/scenes/{{sensor}}.searched",
    output:
        raster=f"{resources}/composite/{{sensor}}_{{year}}/{{block}}.tif",
        dropped=f"{resources}/composite/{{sensor}}_{{year}}/{{block}}.json",
    params:
        settings=lambda wildcards: plan.imagery.composite_settings(wildcards.sensor),
        roles=lambda wildcards: plan.roles(wildcards.sensor),
        grid=plan.grid_settings,
        touching=lambda wildcards: plan.scenes_touching(wildcards.sensor, wildcards.year, wildcards.block),
        elevation=lambda wildcards: plan.imagery.elevation_param(wildcards.sensor),
        code=lambda wildcards: plan.composite_code(wildcards.sensor),
    log:
        f"{logs}/composite/{{sensor}}_{{year}}/{{block}}.log",
    script:
        "run_step.py"


rule lidar:
    input:
        ancient(lambda wildcards: plan.campaigns.files(wildcards.campaign)),
        made=lambda wildcards: plan.made(wildcards.campaign),
    output:
        raster=f"{resources}/lidar/{{campaign}}/{{block}}.tif",
    params:
        campaign=lambda wildcards: plan.settings("lidar", wildcards.campaign),
        metrics=plan.metrics,
        grid=plan.grid_settings,
        touching=lambda wildcards: plan.campaigns.tiles_touching(wildcards.campaign, wildcards.block),
        code=plan.code("lidar"),
    log:
        f"{logs}/lidar/{{campaign}}/{{block}}.log",
    script:
        "run_step.py"


rule plots:
    input:
        plan.plot_files,
    output:
        **plan.tree_list,
        table=f"{resources}/plots.parquet",
        said=f"{resources}/said/plots.json",
    params:
        settings=plan.settings("plots"),
        grid=plan.area_settings,
        targets=list(study.targets),
        code=plan.code("plots"),
    log:
        f"{logs}/plots.log",
    script:
        "run_step.py"
