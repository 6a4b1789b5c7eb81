"""How a run begins and ends: the study checked, its folder held, the terminal kept short, mistakes said last."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pipeline.bridge.jobs import mistake_file
from pipeline.bridge.plan import Plan
from pipeline.config import study_from

THREADS_OF = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
NOISE = ("Select jobs to execute", "Execute ", "Using shell", "Rules claiming more threads", "Shutting down, this")


def begin(workflow: Any, config: Mapping[str, Any]) -> Plan:
    """The plan of the study that a Snakefile was given; a mistake in it ends the process with its sentences.

    In the process that the user started, what jobs inherit is set, and where something will run (no dry run) the
    study's folder is held and swept.
    """
    try:
        file = workflow.configfiles[-1] if workflow.configfiles else "the configuration"
        plan = Plan(study_from(config, file=os.path.relpath(file) if Path(file).exists() else file))
        if not workflow.is_main_process:
            plan.prepare()
        else:
            plan.inspect()
            _settle_environment(plan.study.name)
            if not workflow.output_settings.dryrun:
                plan.held = hold(plan.resources)
                sweep([plan.resources, plan.results])
                keep_short(mistake_file(os.environ["FORESTSINK_RUN"]))
                for remark in plan.remarks():
                    logging.getLogger("snakemake.logging").warning(remark)
    except (ValueError, OSError, RuntimeError) as error:
        _stop(error)
    return plan


def stopped() -> None:
    """What a run says last when it stopped: the sentence of the user's mistake, if it was one."""
    file = mistake_file(os.environ["FORESTSINK_RUN"])
    if file.exists():
        atexit.register(_say_last, file.read_text(encoding="utf-8").strip())
        file.unlink()


def finished(workflow: Any, results: str) -> None:
    """What a run says last when all that was asked for is done: where the results are, or that they were not asked for."""
    asked = workflow.dag_settings
    if asked.until or asked.omit_from or set(asked.targets) - {"all"}:
        said = f"What was asked for is done. Without --until, --omit-from or a target the run makes the results in {results}"
    else:
        said = f"The results are in {results}; begin with {results}/report.html"
    print(f"\n{said}", file=sys.stderr, flush=True)


def hold(folder: Path) -> Any:
    """Hold a study's folder for this process; the operating system lets go of it however the process ends.

    Raises
    ------
    RuntimeError
        When another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = open(folder / ".run.lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise RuntimeError(f"another run is working in {folder}; wait for it or stop it") from None
    return handle


def sweep(folders: Iterable[Path]) -> None:
    """Remove the partial files that killed jobs left; call while the folder is held, so that nobody is writing them."""
    for folder in folders:
        for partial in folder.rglob(".*-partial-*"):
            partial.unlink(missing_ok=True)


def keep_short(mistakes: Path) -> None:
    """One line per finished step on the terminal; Snakemake's own log file keeps every detail.

    Once a job has left a sentence in `mistakes`, Snakemake's account of the failure stays off the terminal.
    """
    mistakes.unlink(missing_ok=True)
    for handler in logging.getLogger("snakemake.logging").handlers:
        if handler.name == "DefaultStreamHandler":
            terminal = _Terminal(handler.formatter, mistakes)
            handler.addFilter(terminal)
            handler.setFormatter(terminal)


class _Terminal(logging.Filter):
    """Filter and formatter of Snakemake's messages: remembers what each job is and says it beside the counter."""

    def __init__(self, formatter: logging.Formatter, mistakes: Path) -> None:
        super().__init__()
        self.formatter, self.mistakes = formatter, mistakes
        self.names: dict[int, str] = {}
        self.finished: list[str] = []
        self.failed = False

    def filter(self, record: logging.LogRecord) -> bool:
        event = _event(record)
        if event == "JOB_INFO":
            self.names[record.jobid] = " ".join([record.rule_name, *map(str, record.wildcards.values())])
        elif event == "JOB_FINISHED":
            self.finished.append(self.names.get(record.job_id, ""))
        if event in ("JOB_INFO", "JOB_FINISHED") or str(record.msg).startswith(NOISE):
            return False
        self.failed = self.failed or (record.levelno >= logging.ERROR and self.mistakes.exists())
        return not (self.failed and _event(record) != "PROGRESS")

    def format(self, record: logging.LogRecord) -> str:
        if _event(record) != "PROGRESS":
            return self.formatter.format(record)
        steps, self.finished = ", ".join(self.finished), []
        return f"{self.formatter.format(record)}: {steps}"


def _event(record: logging.LogRecord) -> str | None:
    return getattr(getattr(record, "event", None), "name", None)


def _settle_environment(study: str) -> None:
    """What every job of the run inherits: who started it, one thread for arithmetic, and where compiled code is kept."""
    os.environ["FORESTSINK_MAIN"] = f"{socket.gethostname()}:{os.getpid()}"
    os.environ["FORESTSINK_RUN"] = f"{study}-{os.getpid()}"
    os.environ.update(dict.fromkeys(THREADS_OF, "1"))
    os.environ.setdefault("NUMBA_CACHE_DIR", os.path.abspath(".numba_cache"))
    # Many short processes import the same modules: where bytecode may not lie beside them, it is kept with the run.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", os.path.abspath(".snakemake/bytecode"))


def _say_last(sentences: str) -> None:
    print(f"\nStopped: {sentences}", file=sys.stderr, flush=True)


def _stop(sentences: object) -> NoReturn:
    """A user's mistake before the first job: plain sentences on the terminal and exit code 1."""
    print(f"\n{sentences}", file=sys.stderr, flush=True)
    os._exit(1)
