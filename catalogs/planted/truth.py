"""The truth of a planted study, which only a check may read: biomass per pixel and stand, and the parameters drawn."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from catalogs.planted.canopy import forest_cover
from catalogs.planted.forest import Forest
from catalogs.planted.rasters import write_on_grid

FOREST_COVER_PERCENT = 20.0  # tree crowns above 2 m over at least this share of a pixel make it forest


def agb_map(forest: Forest, year: int) -> np.ndarray:
    """True living aboveground biomass of each pixel of the study grid, by stem position, Mg/ha (rows, cols)."""
    site, trees = forest.site, forest.trees(year)
    cells = site.canvas_cells(trees.x, trees.y, site.resolution_m)
    total_kg = np.bincount(cells, forest.agb_kg(trees), minlength=site.rows * site.cols)
    return total_kg.reshape(site.rows, site.cols) / 1e3 / (site.resolution_m**2 / 1e4)


def stand_agb(forest: Forest, year: int) -> np.ndarray:
    """True living aboveground biomass of each stand, by stem position inside its polygon, Mg/ha (n stands)."""
    trees = forest.trees(year)
    total_kg = np.bincount(trees.stand, forest.agb_kg(trees), minlength=len(forest.layout.ids))
    return total_kg / 1e3 / forest.layout.areas_ha


def write_truth(folder: Path, forest: Forest, years: tuple[int, ...]) -> None:
    """Write agb_{year}.tif, forest_{year}.tif, stands.csv and parameters.json."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    layout = forest.layout
    stands = {"stand": layout.ids, "area_ha": layout.areas_ha, "forest_type": layout.forest_types}
    for year in years:
        write_on_grid(folder / f"agb_{year}.tif", agb_map(forest, year).astype("float32"), forest.site, nodata=np.nan)
        covered = forest_cover(forest, year) >= FOREST_COVER_PERCENT / 100
        write_on_grid(folder / f"forest_{year}.tif", covered.astype("uint8"), forest.site, nodata=255)
        stands[f"agb_mg_ha_{year}"] = stand_agb(forest, year)
    pd.DataFrame(stands).to_csv(folder / "stands.csv", index=False, lineterminator="\n")
    events = [
        {"kind": e.kind, "date": e.date, "area_ha": e.polygon.area / 1e4, "kill_share": e.kill_share}
        for e in layout.events
    ]
    content = {**asdict(forest.parameters), "events": events}
    (folder / "parameters.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
