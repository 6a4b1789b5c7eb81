"""How a job runs: the step of the rule's name, its words on the terminal and in its log, and its end."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.bridge.digests import import_plugins

NOT_FOR_STEPS = ("code", "touching")
"""Params that only decide about reruns."""

CHATTY = ("rasterio", "fiona", "matplotlib", "numba", "urllib3", "pyogrio", "botocore", "PIL", "asyncio", "fsspec")
"""Libraries whose details nobody wants in a job's log."""


def run_step(job: Any) -> None:
    """Run the step a Snakemake `script:` job names, with its inputs, outputs, params and wildcards as keywords.

    Names such as `maps__agb_2019` are gathered into mappings: `maps={"agb_2019": ...}`. A user's mistake ends the job
    with one sentence (also kept for the process that started the run) and exit code 1; any other error keeps its
    traceback. The log file has the traceback of both.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _end_with_parent()
    _log_to(Path(job.log[0]) if job.log else None)
    import_plugins(job.params.get("code", {}).get("plugins", ()))
    step = getattr(importlib.import_module(step_module(job.rule)), job.rule)
    try:
        step(**_keywords(job, step))
    except (ValueError, OSError, RuntimeError) as error:
        logging.getLogger(step.__module__).debug("the step stopped", exc_info=True)
        sentence = f"{job.rule}: {' '.join(str(error).split())}"
        logging.getLogger("forestsink").debug(sentence)
        with open(mistake_file(os.environ.get("FORESTSINK_RUN", "run")), "a", encoding="utf-8") as file:
            file.write(sentence + "\n")
        sys.exit(1)
    except Exception:
        logging.getLogger(step.__module__).debug("the step broke", exc_info=True)
        raise


def step_module(rule: str) -> str:
    """The module of a rule's step; the rules that plant a study share one."""
    return "pipeline.steps.planted" if rule.startswith("plant_") else f"pipeline.steps.{rule}"


def mistake_file(run: str) -> Path:
    """Where a job leaves its last sentence for the process that started the run."""
    folder = Path(".snakemake") / "forestsink"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{run}.txt"


def _keywords(job: Any, step: Callable) -> dict:
    """The job's files, params and wildcards that the step takes; a step with `**` takes them all."""
    keywords = _gathered({**dict(job.input.items()), **dict(job.output.items())}, Path)
    keywords |= _gathered({name: value for name, value in job.params.items() if name not in NOT_FOR_STEPS}, _thawed)
    for name, value in job.wildcards.items():
        keywords.setdefault(name, int(value) if name == "year" and value.isdigit() else value)
    parameters = inspect.signature(step).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return keywords
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in keywords.items() if name in names}


def _gathered(values: Mapping[str, Any], convert: Callable) -> dict:
    gathered: dict[str, Any] = {}
    for name, value in values.items():
        many = isinstance(value, list | tuple) or (not isinstance(value, str) and hasattr(value, "_names"))
        converted = [convert(part) for part in value] if many and convert is Path else convert(value)
        group, _, key = name.partition("__")
        if key:
            gathered.setdefault(group, {})[key.replace("__dash__", "-")] = converted
        else:
            gathered[name] = converted
    return gathered


def _thawed(value: Any) -> Any:
    """Snakemake hands mappings and lists over as they are; a `Namedlist` becomes a list."""
    return list(value) if hasattr(value, "_names") else value


def _log_to(path: Path | None) -> None:
    """One line per event on the terminal, all detail in the job's log file."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if path else logging.INFO)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("  %(message)s"))
    root.addHandler(console)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        detail = logging.FileHandler(path, mode="w", encoding="utf-8")
        detail.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(detail)


def _end_with_parent() -> None:
    """A job ends when the workflow that started it is gone, killed or not: nobody is left to want its result."""
    host, _, number = os.environ.get("FORESTSINK_MAIN", "").rpartition(":")
    if not number or host != socket.gethostname():
        return

    def watch() -> None:
        while is_alive(int(number)):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def is_alive(process: int) -> bool:
    """Whether a process of this machine still works; one that ended but was never waited for (a zombie) does not."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in "ZX"
