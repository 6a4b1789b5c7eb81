"""The table of lidar metrics in docs/methods/lidar.md, made from the registry, so that it cannot fall behind it."""

from __future__ import annotations

import sys

from pipeline.lidar.metrics import METRICS

BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def table() -> str:
    """All declared metrics as a Markdown table; quality bands are marked."""
    rows = [
        f"| `{name}` | {one.title} | {one.units} | {'quality' if one.quality else ''} | {one.reference} |"
        for name, one in METRICS.items()
    ]
    return "\n".join(["| name | what | unit | | source |", "|---|---|---|---|---|", *rows])


def with_table(page: str) -> str:
    """A page with the table as it is now between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    sys.stdout.write(with_table(sys.stdin.read()))
