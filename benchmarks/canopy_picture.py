"""The picture of docs/methods/lidar.md: canopy of the planted forest by the highest return, and without pits.

    python -m benchmarks.canopy_picture
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "methods" / "lidar_canopy.png"
WEST, SOUTH, SIDE_M = 500_240.0, 2_999_720.0, 160
AREA = (500_000, 2_999_200, 500_800, 3_000_000)


def main() -> None:
    from catalogs.planted import plant_lidar
    from pipeline.config import Campaign
    from pipeline.grid import Grid
    from pipeline.lidar.canopy import crowns, pit_free, point_to_raster, tree_tops
    from pipeline.lidar.fine import Squares
    from pipeline.report.figures import png
    from pipeline.report.styles import ramp_colour
    from pipeline.steps.lidar import window_heights

    bounds = (WEST, SOUTH, WEST + SIDE_M, SOUTH + SIDE_M)
    with tempfile.TemporaryDirectory() as folder:
        area = Grid.covering(AREA, crs="EPSG:32650", resolution_m=20).settings()
        plant_lidar(folder, campaign="als2019", area=area, years=(2019, 2024), settings={"lidar_pulses_m2": (4.0,)})
        campaign = Campaign(points=f"{folder}/lidar/als2019", date="2019-07-01").model_dump(mode="json")
        heights = window_heights(campaign, bounds, crs="EPSG:32650", margin_m=5)
    squares = Squares(WEST, SOUTH + SIDE_M, 1.0, np.zeros((SIDE_M, SIDE_M), int))
    plain, smooth = point_to_raster(heights, squares), pit_free(heights, squares, longest_edge_m=2.0)
    tops = tree_tops(smooth, 1.0, min_height_m=3)
    print(f"{len(heights) / (SIDE_M + 10) ** 2:.1f} points per m2, {len(tops)} trees, {crowns(smooth, tops).max()} crowns, "
          f"{100 * np.isnan(plain).mean():.0f} % of squares without a return")  # fmt: skip
    ramp = ("#f4efdc", "#b9cf8f", "#5f9a57", "#1f5e40", "#0b2f2a")
    palette = ["#ffffff", *(ramp_colour(ramp, share / 62) for share in range(63)), "#c0392b"]
    highest = max(np.nanmax(plain), np.nanmax(smooth))
    panels = []
    for canopy in (plain, smooth):
        index = np.where(np.isnan(canopy), 0, 1 + np.rint(np.nan_to_num(canopy) / highest * 62)).astype(np.uint8)
        panels.append(np.kron(index, np.ones((2, 2), np.uint8)))
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        panels[1][2 * tops[:, 0] + down, 2 * tops[:, 1] + right] = 64
    gap = np.zeros((2 * SIDE_M, 8), np.uint8)
    PICTURE.write_bytes(png(np.hstack([panels[0], gap, panels[1]]), palette))


if __name__ == "__main__":
    main()
