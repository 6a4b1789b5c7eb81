# Contents page: configuration -> study -> rules. The study is checked as a whole before the first job.
from pipeline.bridge import begin, finished, stopped

if not config:

    configfile: f"{workflow.basedir}/config/planted.yaml"


plan = begin(workflow, config)
study, resources, results, logs = plan.study, plan.resources, plan.results, f"logs/{plan.study.name}"


wildcard_constraints:
    block=r"r\d+c\d+",
    year=r"\d{4}",
    sensor="|".join(study.sensors) or "none",
    campaign="|".join(study.lidar) or "none",
    target="|".join(study.targets),
    product="|".join(plan.products),


localrules:
    all,


rule all:
    default_target: True
    input:
        f"{results}/report.html",
        f"{results}/run.json",
        f"{results}/stac/collection.json",


if study.planted:

    include: "pipeline/rules/planted.smk"


include: "pipeline/rules/inputs.smk"
include: "pipeline/rules/canopy.smk"
include: "pipeline/rules/models.smk"
include: "pipeline/rules/maps.smk"
include: "pipeline/rules/record.smk"


onsuccess:
    finished(workflow, results)


onerror:
    stopped()
