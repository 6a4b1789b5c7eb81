"""A piece of work in a fresh process: its answer, its CPU and wall seconds and the growth of its peak memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import NamedTuple


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
    process.start()
    theirs.close()  # so that a process that dies ends the wait
    try:
        answer = ours.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} broke: its error is printed above") from None
    process.join()
    return answer


def _child(work: Callable, prepared: object, pipe) -> None:
    work(prepared, warm_up=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    answer = work(prepared, warm_up=False)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    pipe.send(Measured(answer, cpu, grown_mb, wall))
