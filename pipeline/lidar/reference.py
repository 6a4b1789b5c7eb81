"""The table of lidar metrics in docs/methods/lidar.md, made from the registry, so that it cannot fall behind it."""

from __future__ import annotations

from pathlib import Path

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
    path = Path("docs/methods/lidar.md")
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
