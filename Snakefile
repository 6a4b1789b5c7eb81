# Contents page: configuration -> study -> rules. The study is checked as a whole before the first job.
import os
import socket
import sys

from pipeline.bridge import Plan, code, hold, mistake_file
from pipeline.config import StudyError, study_from

if not config:

    configfile: "config/planted.yaml"


def stop(sentences):
    """A user's mistake: plain sentences on the terminal and exit code 1."""
    print(f"\n{sentences}", file=sys.stderr, flush=True)
    os._exit(1)


try:
    study = study_from(config, file=workflow.configfiles[-1] if workflow.configfiles else "the configuration")
    plan = Plan(study)
    plan.prepare()
except (StudyError, ValueError, FileNotFoundError) as error:
    stop(error)

resources, results, logs = study.resources, study.results, f"logs/{study.name}"

if workflow.is_main_process:
    os.environ["FORESTSINK_MAIN"] = f"{socket.gethostname()}:{os.getpid()}"
    os.environ["FORESTSINK_RUN"] = f"{study.name}-{os.getpid()}"
    os.environ.setdefault("NUMBA_CACHE_DIR", os.path.abspath(".numba_cache"))
    for threads_of in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[threads_of] = "1"
    if not workflow.dryrun:
        try:
            held = hold(plan.resources)
        except RuntimeError as error:
            stop(error)


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
include: "pipeline/rules/models.smk"
include: "pipeline/rules/maps.smk"
include: "pipeline/rules/record.smk"


onerror:
    sentence = mistake_file(os.environ["FORESTSINK_RUN"])
    if sentence.exists():
        print(f"\nStopped: {sentence.read_text(encoding='utf-8').strip()}", file=sys.stderr, flush=True)
        sentence.unlink()
