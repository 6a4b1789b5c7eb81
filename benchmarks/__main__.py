"""`make bench`: every row runs ours and the other in fresh processes, in turn, and quotes the medians of CPU seconds.

A row is {suite, name, ours_cpu_s, other, other_cpu_s, ratio, ours_peak_mb, target, correct}; ratio = other / ours. Both
sides do the same work on the same input; `correct` says that their answers agree, and a row without it has no timing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

from benchmarks import lidar
from benchmarks.rows import ROWS, Row
from benchmarks.timing import measured

RESULTS = Path(__file__).resolve().parent / "results"
REPEATS = 5


def run(row: Row) -> dict:
    """One row: correctness first, then the two sides in turn."""
    prepared = row.prepare()
    ours, other = measured(row.ours, prepared), measured(row.other, prepared)
    correct = row.agree(ours[0], other[0])
    result = {"suite": row.suite, "name": row.name, "other": row.other_name, "target": row.target, "correct": correct}
    if not correct:
        return result
    pairs = [(measured(row.ours, prepared), measured(row.other, prepared)) for _ in range(REPEATS)]
    result |= {
        "ours_cpu_s": median(a[1] for a, _ in pairs),
        "other_cpu_s": median(b[1] for _, b in pairs),
        "ratio": median(b[1] / a[1] for a, b in pairs),
        "ours_peak_mb": median(a[2] for a, _ in pairs),
    }
    return result


def main() -> int:
    results = []
    for row in [*ROWS, *lidar.ROWS]:
        results.append(run(row))
        shown = results[-1]
        if shown["correct"]:
            print(
                f"{shown['suite']:<12}{shown['name']:<48} ours {shown['ours_cpu_s']:.2f} CPU s, {shown['other']} "
                f"{shown['other_cpu_s']:.2f}, ratio {shown['ratio']:.1f} (target {shown['target']})",
                flush=True,
            )
        else:
            print(f"{shown['suite']:<12}{shown['name']:<48} WRONG ANSWER: no timing", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["correct"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
