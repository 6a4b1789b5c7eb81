"""A piece of work in a fresh process: its answer, its CPU and wall seconds and the growth of its peak memory.

Processes have the threads that a run gives its jobs (`pipeline.bridge.session`): one for each library of linear algebra. With
more, small products of matrices wait for each other at full CPU, and a map of `linear` took 5 to 15 times the seconds of a job.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.bridge.session import THREADS_OF


class Measured(NamedTuple):
    """What a piece of work gave and cost; `cpu_s` is of all threads, `peak_mb` beyond the memory after warming up."""

    answer: object
    cpu_s: float
    peak_mb: float
    wall_s: float


def measured(work: Callable, prepared: object) -> Measured:
    """Run a piece of work in a fresh process; warm-up is not counted."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(work, prepared, theirs))
    with _as_a_job():
        process.start()
    theirs.close()  # so that a process that dies ends the wait
    try:
        answer = ours.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} broke: its error is printed above") from None
    process.join()
    return answer


@contextmanager
def _as_a_job() -> Iterator[None]:
    """What processes that are started in it find in their environment about threads."""
    before = {name: os.environ.get(name) for name in THREADS_OF}
    os.environ.update(dict.fromkeys(THREADS_OF, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _child(work: Callable, prepared: object, pipe) -> None:
    work(prepared, warm_up=True)
    before_mb = _peak_mb()
    cpu, wall = time.process_time(), time.perf_counter()
    answer = work(prepared, warm_up=False)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    pipe.send(Measured(answer, cpu, _peak_mb() - before_mb, wall))


def _peak_mb() -> float:
    """The largest memory of this process so far; Linux also tells `getrusage` what the parent had when it began."""
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
