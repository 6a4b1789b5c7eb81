"""Rule `trees`: tree tops and crowns of a campaign whose top lies in a block, from its canopy height model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import canopy_grid
from pipeline.lidar.trees import TreeRules, Trees
from pipeline.products import CANOPY_BAND

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

log = logging.getLogger(__name__)

COLUMNS = {"tree": "int64", "x": "float64", "y": "float64", "height_m": "float64", "area_m2": "float64", "crown": "binary"}
"""Of the table, by their Arrow types; crowns as well-known binary."""


def trees(*, table: Path, rasters: Sequence[Path], grid: dict, block: str, campaign: dict, settings: dict) -> None:
    """Write the trees of a block, in parts by tile; see `pipeline.lidar.trees`.

    Parameters
    ----------
    table : Path
        Parquet: `tree`, `x`, `y`, `height_m`, `area_m2`, `crown` (WKB).
    rasters : paths
        The canopy height model of the block and of those around that its crowns are decided with.
    """
    fine = canopy_grid(Grid(**grid), campaign["chm_resolution_m"])
    mosaic = store.Mosaic(rasters[0].parent, fine)

    def read(window: Window) -> np.ndarray:
        return mosaic.read(window, [CANOPY_BAND.name])[CANOPY_BAND.name]

    found = Trees(fine, read, rules_of(campaign, settings))
    place = fine.block_window(block)

    def parts() -> Iterator[tuple[int, pd.DataFrame]]:
        for tile in found.tiles(place):
            frame = found.found(*tile, place)
            yield found.number(*tile), frame.assign(crown=_as_binary(frame["crown"]))

    count = store.write_parts(table, parts(), columns=COLUMNS)
    log.info("campaign %s, block %s: %d trees", table.parent.name, block, count)


def rules_of(campaign: dict, settings: dict) -> TreeRules:
    """What a tree is, by the settings of a campaign."""
    known = {field.name for field in fields(TreeRules)}
    return TreeRules(
        **{name: value for name, value in settings.items() if name in known}, max_height_m=campaign["max_height_m"]
    )


def _as_binary(crowns: pd.Series) -> list[bytes]:
    import shapely

    return shapely.to_wkb(crowns.to_numpy()).tolist()
