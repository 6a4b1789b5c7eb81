"""A piece of work in a fresh process: its answer, its CPU seconds and the growth of its peak memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable


def measured(work: Callable, prepared: object) -> tuple[object, float, float]:
    """Answer, CPU seconds and growth of the peak in MB of a piece of work in a fresh process; warm-up is not counted."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(work, prepared, theirs))
    process.start()
    answer = ours.recv()
    process.join()
    return answer


def _child(work: Callable, prepared: object, pipe) -> None:
    work(prepared, warm_up=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    answer = work(prepared, warm_up=False)
    spent = time.process_time() - start
    pipe.send((answer, spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
