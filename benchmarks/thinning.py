"""How lidar metrics feel the density of points: the four `bcts` tiles with ever fewer of their pulses.

    FORESTSINK_DATA=... python -m benchmarks.thinning        prints the table of docs/methods/lidar.md, writes its figure

Whole pulses are drawn, so returns of one pulse stay together, and the ground is triangulated anew from what is left. Cells
of 20 m; for each metric: bias and root mean square difference from the full density, in percent of its standard deviation
between cells (what a model can use of it).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FORESTSINK_DATA", ROOT.parent / "shared" / "data")) / "bcts-als-tiles"
FIGURE = ROOT / "docs" / "methods" / "lidar_thinning.svg"
LADDER = (8.0, 4.0, 2.0, 1.0, 0.5)  # points per m2
CELL_M = 20.0
SHOWN = ("zmax", "zq95", "zq50", "zmean", "zsd", "cover_2m", "zentropy", "rumple")
COLOURS = ("#7a3b10", "#c2571a", "#d9932f", "#3d6b35", "#79a35b", "#2c5d7c", "#6aa0c2", "#6d4a8c")


def read() -> tuple:
    """All points as heights needs them, and a number of the pulse of each."""
    import laspy

    from catalogs.lidar import Points

    parts = [laspy.read(path) for path in sorted(DATA.glob("*.laz"))]
    x, y, z, kind, number, time = (
        np.concatenate([np.asarray(part[name]) for part in parts])
        for name in ("x", "y", "z", "classification", "return_number", "gps_time")
    )
    pulse = np.unique(time, return_inverse=True)[1]
    return Points(x, y, z, kind.astype(np.uint8), number <= 1), pulse


def metrics_of(points) -> dict[str, np.ndarray]:
    from pipeline.lidar.fine import COVER_STEPS, Fine, squares_of_cells
    from pipeline.lidar.heights import heights_above_ground
    from pipeline.lidar.kernels import cells_of
    from pipeline.lidar.metrics import metrics_by_cell

    west, north, rows, cols = 885_020.0, 630_220.0, 54, 11
    heights = heights_above_ground(points, max_height_m=80)
    cell = cells_of(heights.x, heights.y, west, north, CELL_M, rows, cols)
    cover = squares_of_cells(west, north, CELL_M, rows, cols, steps=COVER_STEPS)
    canopy = squares_of_cells(west, north, CELL_M, rows, cols, steps=20, margin=1)
    fine = Fine(heights, rows * cols, cover, canopy, heights.surface)
    return metrics_by_cell(heights, cell, rows * cols, cell_area_m2=CELL_M**2, fine=fine)


def ladder() -> tuple[dict[str, list[tuple[float, float]]], list[float], int]:
    """Bias and RMSD in percent of the SD between cells, by metric and step; the densities; the number of cells."""
    points, pulse = read()
    full = metrics_of(points)
    cells = full["covered_percent"] == 100
    density = float(np.mean(full["density_pts_m2"][cells]))
    chance = np.random.default_rng(17).random(pulse.max() + 1)[pulse]
    found: dict[str, list[tuple[float, float]]] = {}
    for wanted in LADDER:
        thin = metrics_of(points.select(chance < wanted / density))
        for name, values in full.items():
            difference, spread = (thin[name] - values)[cells], np.nanstd(values[cells])
            if not np.isfinite(difference).any() or not spread > 0:
                continue
            bias, rmsd = np.nanmean(difference), np.sqrt(np.nanmean(difference**2))
            found.setdefault(name, []).append((100 * bias / spread, 100 * rmsd / spread))
    return found, [density, *LADDER], int(cells.sum())


def figure(found: dict[str, list[tuple[float, float]]]) -> str:
    """RMSD against density as SVG."""
    wide, high, left, top = 720, 360, 60, 20
    right, bottom = wide - 130, high - 45
    place = {d: left + (right - left) * (np.log2(8) - np.log2(d)) / 4 for d in LADDER}

    def y_of(rmsd: float) -> float:
        return bottom - (bottom - top) * min(rmsd, 100) / 100

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{wide}" height="{high}" fill="#ffffff"/>')
    for tick in range(0, 101, 20):
        parts.append(f'<path d="M{left} {y_of(tick):.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    for density, x in place.items():
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{density:g}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{high - 8}" text-anchor="middle">points per m2</text>')
    parts.append(f'<text transform="translate(16 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">RMSD, % of SD</text>')
    ends = sorted(((found[name][-1][1], name) for name in SHOWN), reverse=True)
    label_y = dict(zip([name for _, name in ends], range(top + 8, 400, 18), strict=False))
    for name, colour in zip(SHOWN, COLOURS, strict=True):
        line = " ".join(f"{place[d]:.1f},{y_of(rmsd):.1f}" for d, (_, rmsd) in zip(LADDER, found[name], strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = right + 8, label_y[name]
        parts.append(f'<path d="M{x} {y - 4}h14" stroke="{colour}" stroke-width="2"/><text x="{x + 20}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    found, densities, cells = ladder()
    FIGURE.write_text(figure(found), encoding="utf-8")
    print(f"{cells} cells, {densities[0]:.1f} points per m2 at full density")
    print("| metric | " + " | ".join(f"{density:g}" for density in LADDER) + " |")
    print("|---|" + "---|" * len(LADDER))
    for name, steps in found.items():
        print(f"| `{name}` | " + " | ".join(f"{bias:+.0f}, {rmsd:.0f}" for bias, rmsd in steps) + " |")


if __name__ == "__main__":
    main()
