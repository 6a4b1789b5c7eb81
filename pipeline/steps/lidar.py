"""Lidar metrics of a block, pixel by pixel, and of plots, footprint by footprint, from the same heights."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.lidar import MAX_DAYS_APART, Bounds, CanopyReader, PointReader, Points, index_canopy, index_tiles
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.heights import Heights, NoGroundError, heights_above_ground, heights_as_given, no_heights
from pipeline.lidar.metrics import METRICS, known_metrics, metrics_by_cell
from pipeline.steps.ground import ClothReader

if TYPE_CHECKING:
    import pandas as pd
    from shapely import Polygon

log = logging.getLogger(__name__)

WINDOW_M = 1000.0  # what is held in memory at a time: some ten million points at usual densities
SPARSE_PTS_M2 = 0.1  # a window with fewer points than this is a campaign's fringe or open water, not a survey of it


def lidar(*, raster: Path, grid: dict, block: str, campaign: dict, metrics: list[str] | None = None) -> None:
    """Metrics and quality bands per pixel of a block; all missing where no tile touches the block.

    Points are read with the campaign's buffer and metrics computed from those inside a pixel alone, in windows counted
    from each chunk's corner, so that the block size changes nothing.

    Parameters
    ----------
    raster : Path
        The file to write: float32 bands by metric name, missing NaN. Its folder bears the campaign's name.
    grid : dict
        `Grid.settings()`.
    campaign : dict
        `config.Campaign` as plain values.
    metrics : list of str, optional
        Which metrics; all by default. Quality bands are always written.
    """
    whole = Grid(**grid)
    block_window = whole.block_window(block)
    names = _with_quality(metrics)
    reader = open_campaign(campaign, crs=whole.crs, kept=store.KeptArrays(raster.parents[2] / "index" / "pieces"))
    bands = {metric: np.full(block_window.shape, np.nan, np.float32) for metric in names}
    counts: Counter = Counter()
    if not reader.touching(whole.bounds_of(block_window)):
        log.warning("no lidar of campaign %s in block %s", raster.parent.name, block)
    for window in _windows(whole, block_window):
        bounds = whole.bounds_of(window)
        heights = _cropped(window_heights(campaign, bounds, crs=whole.crs, reader=reader, counts=counts), bounds)
        if len(heights) == 0:
            continue
        counts.update(heights=len(heights), clipped=int(heights.clipped.sum()))
        found = metrics_by_cell(
            heights, _cell_index(heights, whole, window), window.shape[0] * window.shape[1],
            cell_area_m2=whole.resolution_m**2, names=names,
        )  # fmt: skip
        for metric, values in found.items():
            bands[metric][window.within(block_window).slices] = values.reshape(window.shape)
    store.write_raster(
        raster, bands, geobox=whole.geobox_of(block_window), units={metric: METRICS[metric].units for metric in names}
    )
    filled = int(np.isfinite(bands["density_pts_m2"]).sum())
    ending = f"{filled} of {bands['density_pts_m2'].size} cells filled"
    _log_counts(f"campaign {raster.parent.name}, block {block}", counts, ending)


def _with_quality(metrics: Sequence[str] | None) -> list[str]:
    """The metrics asked for and all quality bands, in the registry's order."""
    wanted = set(known_metrics(metrics))
    return [name for name, metric in METRICS.items() if name in wanted or metric.quality]


def _log_counts(what: str, counts: Counter, ending: str) -> None:
    share = 100.0 * counts["clipped"] / max(counts["heights"], 1)
    log.info(
        "%s: read %d points with buffers, left out %d withheld, %d noise and %d above the ceiling; %.2f %% of %d "
        "heights were below ground and set to 0; %s",
        what, counts["read"], counts["withheld"], counts["noise"], counts["too_high"], share, counts["heights"], ending,
    )  # fmt: skip
    if counts["sparse"]:
        log.warning(
            "%s: %d windows hold fewer than %g points/m2 and no ground; they stay missing",
            what, counts["sparse"], SPARSE_PTS_M2,
        )  # fmt: skip


def open_campaign(
    campaign: Mapping, *, crs: str, kept: MutableMapping[str, np.ndarray] | None = None
) -> PointReader | ClothReader | CanopyReader:
    """What reads a campaign's windows as points in the study's CRS: of its tiles, or of its canopy height raster.

    `kept` remembers from job to job where the points of each tile lie; see `PointReader`.
    """
    unit = campaign.get("vertical_unit", "m")
    if campaign.get("canopy_height"):
        return CanopyReader(index_canopy(campaign["canopy_height"], crs=campaign.get("crs")), crs, unit)
    tiles = index_tiles(
        campaign["points"], crs=campaign.get("crs"), max_days_apart=campaign.get("max_days_apart", MAX_DAYS_APART)
    )
    reader = PointReader(
        tiles, crs, unit, kept=kept, drop_overlap=campaign.get("drop_overlap", False),
        thin_to_pts_m2=campaign.get("thin_to_pts_m2"), thin_seed=campaign.get("thin_seed", 0),
    )  # fmt: skip
    return ClothReader(reader, campaign["cloth"]) if campaign.get("classify_ground") else reader


def window_heights(
    campaign: Mapping,
    bounds: Bounds,
    *,
    crs: str,
    reader: PointReader | ClothReader | CanopyReader | None = None,
    counts: Counter | None = None,
) -> Heights:
    """Heights above ground of a window and the buffer around it, not cropped to the window.

    Parameters
    ----------
    campaign : mapping
        `config.Campaign` as plain values.
    bounds : tuple
        West, south, east, north of the window in `crs`.
    reader : PointReader or CanopyReader, optional
        From `open_campaign`: one that many windows share reads each tile's header, and decodes what lies apart, once.
    counts : Counter, optional
        Takes up what was read and left out.

    Raises
    ------
    ValueError
        If a tile is damaged, or a window has points but no ground.
    """
    reader = reader or open_campaign(campaign, crs=crs)
    wide = _buffered(bounds, campaign)
    try:
        return _normalised(reader.points(wide), wide, campaign, Counter() if counts is None else counts)
    except (NoGroundError, NotNormalisedError) as error:
        files = ", ".join(tile.path for tile in reader.touching(wide))
        raise type(error)(f"{error}; tiles there: {files}") from None


def _buffered(bounds: Bounds, campaign: Mapping) -> Bounds:
    buffer = 0.0 if _as_given(campaign) else campaign["buffer_m"]
    west, south, east, north = bounds
    return west - buffer, south - buffer, east + buffer, north + buffer


class NotNormalisedError(ValueError):
    """Points declared to be heights above ground are none."""


def _as_given(campaign: Mapping) -> bool:
    """Whether heights are above ground already: of a canopy height raster, of normalised points."""
    return bool(campaign.get("canopy_height")) or campaign.get("heights") == "normalised"


def _normalised(points: Points, bounds: Bounds, campaign: Mapping, counts: Counter) -> Heights:
    """Heights of points that fill `bounds`; none, and counted, where they are too sparse to have ground."""
    counts.update(read=len(points) + points.withheld + points.noise, withheld=points.withheld, noise=points.noise)
    if _as_given(campaign):
        heights = heights_as_given(points, max_height_m=campaign["max_height_m"])
        if heights.too_high > len(points) / 2:
            raise NotNormalisedError(
                f"{heights.too_high} of {len(points)} points are higher than max_height_m ({campaign['max_height_m']:g} m), but "
                "heights: normalised says that they are above ground; set heights: elevation if they are not"
            )
    else:
        west, south, east, north = bounds
        try:
            heights = heights_above_ground(
                points, ground_classes=tuple(campaign["ground_classes"]), max_height_m=campaign["max_height_m"]
            )
        except NoGroundError:
            if len(points) >= SPARSE_PTS_M2 * (east - west) * (north - south):
                raise
            counts.update(sparse=1)
            heights = no_heights()
    counts.update(too_high=heights.too_high)
    return heights


def _windows(grid: Grid, block_window: Window) -> Iterator[Window]:
    """Windows of at most about 1 km, counted from each chunk's corner."""
    size_px = math.ceil(grid.chunk_px / math.ceil(grid.chunk_px * grid.resolution_m / WINDOW_M))
    for _, chunk in grid.chunks(block_window):
        for row in range(chunk.row0, chunk.row1, size_px):
            for col in range(chunk.col0, chunk.col1, size_px):
                yield Window(row, row + size_px, col, col + size_px).clip(chunk)


def _cropped(heights: Heights, bounds: Bounds) -> Heights:
    """The heights inside `bounds`, half open as pixels are: west <= x < east, south < y <= north."""
    west, south, east, north = bounds
    return heights.select((heights.x >= west) & (heights.x < east) & (heights.y > south) & (heights.y <= north))


def _cell_index(heights: Heights, grid: Grid, window: Window) -> np.ndarray:
    west, _, _, north = grid.bounds_of(window)
    row = np.floor((north - heights.y) / grid.resolution_m).astype(np.int64)
    col = np.floor((heights.x - west) / grid.resolution_m).astype(np.int64)
    # A quotient may round up onto the next whole number where a coordinate lies just inside the far edge.
    row, col = np.minimum(row, window.shape[0] - 1), np.minimum(col, window.shape[1] - 1)
    return row * window.shape[1] + col


def plot_metrics(
    campaign: Mapping,
    footprints: Sequence[Polygon],
    *,
    crs: str,
    names: Sequence[str] | None = None,
    kept: MutableMapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Metrics of the points inside each plot's footprint: the predictors of the area-based approach at plot support.

    A plot's heights come from its own surroundings (its box and the campaign's buffer), so that adding a plot changes
    no other; plots of one neighbourhood of 1 km are read together.

    Parameters
    ----------
    campaign : mapping
        `config.Campaign` as plain values.
    footprints : sequence of Polygon
        In `crs`.
    names : sequence of str, optional
        Which of `METRICS`; all by default.
    kept : mutable mapping, optional
        See `open_campaign`.

    Returns
    -------
    DataFrame (n_plots x metrics)
        float32, in the order of `footprints`; missing where a footprint holds no point.

    References
    ----------
    White et al. 2013, A best practices guide for generating forest inventory attributes from airborne laser scanning
    data using an area-based approach. Canadian Wood Fibre Centre, FI-X-010.
    """
    import pandas as pd

    names = known_metrics(names)
    reader = open_campaign(campaign, crs=crs, kept=kept)
    table = pd.DataFrame(np.full((len(footprints), len(names)), np.nan, np.float32), columns=names)
    counts: Counter = Counter()
    for rows in _neighbourhoods(footprints):
        boxes = [_buffered(footprints[row].bounds, campaign) for row in rows]
        west, south, east, north = np.array(boxes).T
        points = reader.points((west.min(), south.min(), east.max(), north.max()))
        for row, box in zip(rows, boxes, strict=True):
            heights = _within(_normalised(points.select(points.inside(box)), box, campaign, counts), footprints[row])
            if len(heights) == 0:
                continue
            counts.update(plots=1, heights=len(heights), clipped=int(heights.clipped.sum()))
            cell = np.zeros(len(heights), np.int64)
            found = metrics_by_cell(heights, cell, 1, cell_area_m2=footprints[row].area, names=names)
            table.loc[row] = [found[name][0] for name in names]
        counts.update(withheld=points.withheld, noise=points.noise)
    _log_counts("plots", counts, f"{counts['plots']} of {len(footprints)} footprints hold points")
    return table


def _neighbourhoods(footprints: Sequence[Polygon]) -> list[list[int]]:
    """Numbers of the footprints whose centres share a square of 1 km."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, footprint in enumerate(footprints):
        square = math.floor(footprint.centroid.x / WINDOW_M), math.floor(footprint.centroid.y / WINDOW_M)
        groups.setdefault(square, []).append(number)
    return list(groups.values())


def _within(heights: Heights, footprint: Polygon) -> Heights:
    import shapely

    return heights.select(shapely.contains_xy(footprint, heights.x, heights.y))
