"""Between Snakemake and the steps: what each rule is given, and how a run and its jobs begin and end.

The only code that knows Snakemake.
"""

from pipeline.bridge.jobs import run_step
from pipeline.bridge.plan import Plan
from pipeline.bridge.session import begin, finished, stopped

__all__ = ["Plan", "begin", "finished", "run_step", "stopped"]
