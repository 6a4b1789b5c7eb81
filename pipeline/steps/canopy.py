"""Rule `canopy`: the canopy height model of a campaign in a block, from the same heights as its metrics."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from catalogs.lidar import CanopyReader
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import SURROUNDINGS_M, canopy_grid, canopy_surface
from pipeline.products import CANOPY_BAND
from pipeline.steps.lidar import open_campaign, read_and_left_out, warn_of_ceiling, window_heights

log = logging.getLogger(__name__)

WINDOW_M = 250.0  # what is worked on at a time


def canopy(*, raster: Path, grid: dict, block: str, campaign: dict, settings: dict) -> None:
    """Canopy height model of a block; missing where no return is near.

    Windows are counted from each chunk's corner, as those of the metrics are, so that the block size changes nothing.

    Parameters
    ----------
    raster : Path
        The file to write: float32, m to 1 cm, missing NaN. Its folder bears the campaign's name.
    grid : dict
        `Grid.settings()` of the study.
    campaign, settings : dict
        `config.Campaign` and its `canopy_products` as plain values.
    """
    whole = Grid(**grid)
    fine = canopy_grid(whole, campaign["chm_resolution_m"])
    place = fine.block_window(block)
    reader = open_campaign(campaign, crs=whole.crs, kept=store.KeptArrays(raster.parents[2] / "index" / "pieces"))
    given = isinstance(reader, CanopyReader)
    if given:
        _refuse_finer_than_its_cells(campaign, reader, fine)
    surface = "highest" if given else settings["surface"]
    around_m = SURROUNDINGS_M + fine.resolution_m if surface == "pit_free" else 0.0
    counts: Counter = Counter()
    filled = 0
    with store.raster_by_window(
        raster, [CANOPY_BAND.name], geobox=fine.geobox_of(place), units={CANOPY_BAND.name: CANOPY_BAND.units}, scales=None
    ) as writer:
        for window in _windows(fine, place):
            bounds = fine.bounds_of(window)
            top = np.full(window.shape, np.nan)
            if reader.touching(bounds):
                heights = window_heights(
                    campaign, bounds, crs=whole.crs, reader=reader, counts=counts, margin_m=around_m
                )
                top = canopy_surface(heights, fine, window, surface=surface, longest_edge_m=settings["longest_edge_m"])
            writer.write(window.within(place), {CANOPY_BAND.name: top})
            filled += int(np.isfinite(top).sum())
    log.info(
        "canopy of campaign %s, block %s: read %s; %d of %d squares of %g m filled", raster.parent.name, block,
        read_and_left_out(counts), filled, place.shape[0] * place.shape[1], fine.resolution_m,
    )  # fmt: skip
    warn_of_ceiling(f"canopy of campaign {raster.parent.name}, block {block}", counts)


def _windows(fine: Grid, place: Window) -> Iterator[Window]:
    """Windows of about `WINDOW_M` that cut each chunk evenly."""
    size_px = math.ceil(fine.chunk_px / math.ceil(fine.chunk_px * fine.resolution_m / WINDOW_M))
    for _, chunk in fine.chunks(place):
        for row in range(chunk.row0, chunk.row1, size_px):
            for col in range(chunk.col0, chunk.col1, size_px):
                yield Window(row, row + size_px, col, col + size_px).clip(chunk)


def _refuse_finer_than_its_cells(campaign: Mapping, reader: CanopyReader, fine: Grid) -> None:
    """A canopy height raster has nothing to say between its cells: squares finer than they would be holes."""
    west, south, east, north = reader.tile.bounds
    spacing_m = math.sqrt((east - west) * (north - south) / reader.tile.points)
    if spacing_m > fine.resolution_m * (1 + 1e-3):
        raise ValueError(
            f"{campaign['canopy_height']} has cells of {spacing_m:g} m, and canopy products of {fine.resolution_m:g} m are "
            f"asked for; set chm_resolution_m of the campaign to {math.ceil(spacing_m * 100) / 100:g} or more"
        )
