"""What every rule's `script:` runs: the step that has the rule's name."""

from pipeline.bridge import run_step

run_step(snakemake)  # noqa: F821
