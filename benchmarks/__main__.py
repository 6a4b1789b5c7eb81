"""`make bench`: every row runs ours and the other in fresh processes, in turn, and quotes the medians of CPU seconds.

A row is {suite, name, ours_cpu_s, other, other_cpu_s, ratio, ours_peak_mb, target, correct}; ratio = other / ours, of wall
seconds where `clock` is wall. Both sides do the same work on the same input; `correct` says that their answers agree, and
a row without it has no timing. Where the other does a part of the work (`other_part`), its seconds are scaled to all of it.
`python -m benchmarks composite --side-px 4096` runs one suite, at another size.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

from benchmarks import biomass, lidar
from benchmarks.rows import ROWS, Row
from benchmarks.timing import Measured, measured

RESULTS = Path(__file__).resolve().parent / "results"


def whole(part: Measured, row: Row) -> Measured:
    """What the other side would have taken for all of the work."""
    return part._replace(cpu_s=part.cpu_s / row.other_part, wall_s=part.wall_s / row.other_part)


def run(row: Row, side_px: int) -> dict:
    """One row: correctness first, then the two sides in turn."""
    prepared = row.prepare(side_px) if row.sized else row.prepare()
    ours, other = measured(row.ours, prepared), measured(row.other, prepared)
    correct = row.agree(ours.answer, other.answer)
    result = {"suite": row.suite, "name": row.name, "other": row.other_name, "target": row.target, "correct": correct}
    result |= {"note": row.note} if row.note else {}
    result |= {"side_px": side_px} if row.sized else {}
    if not correct:
        return result
    pairs = [(measured(row.ours, prepared), whole(measured(row.other, prepared), row)) for _ in range(row.repeats)]
    result |= {"other_part": row.other_part} if row.other_part != 1 else {}
    result |= {
        "ours_cpu_s": median(a.cpu_s for a, _ in pairs),
        "other_cpu_s": median(b.cpu_s for _, b in pairs),
        "ratio": median(b.cpu_s / a.cpu_s for a, b in pairs),
        "ours_peak_mb": median(a.peak_mb for a, _ in pairs),
    }
    if row.clock == "wall":
        result |= {
            "clock": "wall",
            "ours_wall_s": median(a.wall_s for a, _ in pairs),
            "other_wall_s": median(b.wall_s for _, b in pairs),
            "ratio": median(b.wall_s / a.wall_s for a, b in pairs),
        }
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="ours beside peers and floors, in one run")
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(dict.fromkeys(row.suite for row in ROWS))}; default: all")
    parser.add_argument("--side-px", type=int, default=2048, help="side of the scenes of the suite composite")
    asked = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".numba_cache"))
    results = []
    for row in [*ROWS, *lidar.ROWS, *biomass.ROWS]:
        if asked.suites and row.suite not in asked.suites:
            continue
        results.append(run(row, asked.side_px))
        shown = results[-1]
        if shown["correct"]:
            clock = shown.get("clock", "cpu")
            print(
                f"{shown['suite']:<12}{shown['name']:<48} ours {shown[f'ours_{clock}_s']:.2f} {clock.upper()} s, "
                f"{shown['other']} {shown[f'other_{clock}_s']:.2f}, ratio {shown['ratio']:.2f} (target {shown['target']}), "
                f"peak +{shown['ours_peak_mb']:.0f} MB",
                flush=True,
            )
        else:
            print(f"{shown['suite']:<12}{shown['name']:<48} WRONG ANSWER: no timing", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["correct"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
