"""Lidar metrics of a block, pixel by pixel, and of plots, footprint by footprint, from the same heights."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.lidar import MAX_DAYS_APART, Bounds, CanopyReader, PointReader, Points, Tile, access_of, index_canopy, index_tiles
from catalogs.lidar.canopy import above_ceiling
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.fine import COVER_STEP_M, COVER_STEPS, Fine, Squares, squares_of_cells, squares_of_polygon, steps_along
from pipeline.lidar.heights import (
    FAR_GROUND_M,
    GroundPoints,
    Heights,
    NoGroundError,
    ground_around,
    ground_points,
    ground_surface,
    heights_as_given,
    heights_on,
    no_heights,
)
from pipeline.lidar.metrics import METRICS, known_metrics, metrics_by_cell
from pipeline.steps.ground import ClothReader

if TYPE_CHECKING:
    import pandas as pd
    from shapely import Polygon

log = logging.getLogger(__name__)

WINDOW_M = 250.0  # what is worked on at a time
HELD_POINTS = 3e6  # what is read at a time, some 100 MB of memory
SQUARE_M = 50.0  # by which they are listed
USED = ("x", "y", "z", "classification", "first_return", "return_number")  # of what is read
NEIGHBOURHOOD_M = 1000.0  # plots whose centres share a square of this side are read together
MOST_ABOVE_CEILING = 0.001  # of heights
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
    regions = list(_regions(whole, block_window, reader))
    boxes = [[whole.bounds_of(window) for window in windows] for windows in regions]
    margin_m = whole.resolution_m / _steps(campaign, reader, whole.resolution_m)[1]
    for windows, near in zip(regions, in_turn(reader, boxes, margin_m, campaign, counts), strict=True):
        for window in windows:
            found = _window_metrics(campaign, whole, window, names, near, counts)
            for metric, values in found.items():
                bands[metric][window.within(block_window).slices] = values.reshape(window.shape)
    store.write_raster(
        raster, bands, geobox=whole.geobox_of(block_window), units={metric: METRICS[metric].units for metric in names}
    )
    filled = int(np.isfinite(bands["density_pts_m2"]).sum())
    ending = f"{filled} of {bands['density_pts_m2'].size} cells filled"
    _log_counts(f"campaign {raster.parent.name}, block {block}", counts, ending)


def _window_metrics(
    campaign: Mapping, grid: Grid, window: Window, names: Sequence[str], reader: Around, counts: Counter
) -> dict[str, np.ndarray]:
    """Metrics of a window's pixels, row by row; none where it holds no point."""
    from pipeline.lidar.kernels import cells_of

    bounds = grid.bounds_of(window)
    west, _, _, north = bounds
    rows, cols = window.shape
    size_m = grid.resolution_m
    cover, canopy = _steps(campaign, reader.reader, size_m)
    cover_squares = squares_of_cells(west, north, size_m, rows, cols, steps=cover)
    canopy_squares = squares_of_cells(west, north, size_m, rows, cols, steps=canopy, margin=1)
    heights = window_heights(campaign, bounds, crs=grid.crs, reader=reader, counts=counts, margin_m=canopy_squares.size_m)
    if len(heights) == 0:
        return {}
    cell = cells_of(heights.x, heights.y, west, north, size_m, rows, cols)
    _count(counts, heights, cell >= 0)
    return metrics_by_cell(
        heights, cell, rows * cols, cell_area_m2=size_m**2, names=names,
        fine=Fine(heights, rows * cols, cover_squares, canopy_squares, heights.surface),
        min_covered_percent=campaign["min_covered_percent"],
    )  # fmt: skip


def _steps(campaign: Mapping, reader: Reader, cell_m: float) -> tuple[int, int]:
    """Into how many squares a cell's side is cut for its cover and for its canopy; none finer than a canopy raster."""
    spacing = _spacing(reader.tile) if isinstance(reader, CanopyReader) else 0.0
    most = max(1, round(cell_m / spacing)) if spacing else math.inf
    cover = min(most, steps_along(cell_m, COVER_STEP_M, least=COVER_STEPS))
    return cover, min(most, steps_along(cell_m, campaign["chm_resolution_m"]))


def _spacing(raster: Tile) -> float:
    """The side of a canopy height raster's cells in metres, of a square as large."""
    from pyproj import CRS

    west, south, east, north = raster.bounds
    unit_m = CRS.from_user_input(raster.crs).axis_info[0].unit_conversion_factor
    return math.sqrt((east - west) * (north - south) / raster.points) * unit_m


def _count(counts: Counter, heights: Heights, inside: np.ndarray) -> None:
    counts.update(
        heights=int(inside.sum()), clipped=int((heights.clipped & inside).sum()),
        far=int(((heights.far_ground | heights.outside_hull) & inside).sum()),
    )  # fmt: skip


def _with_quality(metrics: Sequence[str] | None) -> list[str]:
    """The metrics asked for and all quality bands, in the registry's order."""
    wanted = set(known_metrics(metrics))
    return [name for name, metric in METRICS.items() if name in wanted or metric.quality]


def _log_counts(what: str, counts: Counter, ending: str) -> None:
    share = 100.0 * counts["clipped"] / max(counts["heights"], 1)
    log.info(
        "%s: read %s; %.2f %% of %d heights were below ground and set to 0; %s",
        what, read_and_left_out(counts), share, counts["heights"], ending,
    )  # fmt: skip
    log.info(
        "%s: %d points were in several tiles and counted once; %d windows were read beyond their buffer; %.2f %% of "
        "heights rest on ground more than %g m apart or lie beyond it",
        what, counts["doubles"], counts["grown"], 100.0 * counts["far"] / max(counts["heights"], 1), FAR_GROUND_M,
    )  # fmt: skip
    warn_of_ceiling(what, counts)
    if counts["sparse"]:
        log.warning(
            "%s: %d windows hold fewer than %g points/m2 and no ground; they stay missing",
            what, counts["sparse"], SPARSE_PTS_M2,
        )  # fmt: skip


def read_and_left_out(counts: Mapping[str, int]) -> str:
    """How many points were read, and how many left out for what reason."""
    return (
        f"{counts['read']} points with buffers, left out {counts['withheld']} withheld, {counts['noise']} noise, "
        f"{counts['overlap']} of flight lines' overlap, {counts['thinned']} by thinning and {counts['too_high']} above the "
        "ceiling"
    )


def warn_of_ceiling(what: str, counts: Mapping[str, int]) -> None:
    """A few returns above the ceiling are birds and clouds, more are heights in another unit or a tall forest."""
    kept = counts["read"] - sum(counts[name] for name in ("withheld", "noise", "overlap", "thinned"))
    if counts["too_high"] > MOST_ABOVE_CEILING * kept:
        log.warning(
            "%s: %.1f %% of heights are above max_height_m and left out; if the files count heights in feet, set vertical_unit: "
            "ft (or us-ft) of the campaign; if trees are that tall, raise max_height_m",
            what, 100.0 * counts["too_high"] / kept,
        )  # fmt: skip


Reader = PointReader | ClothReader | CanopyReader


def open_campaign(
    campaign: Mapping, *, crs: str, kept: MutableMapping[str, np.ndarray] | None = None
) -> Reader:
    """What reads a campaign's windows as points in the study's CRS: of its tiles, or of its canopy height raster.

    `kept` remembers from job to job where the points of each tile lie; see `PointReader`.
    """
    unit = campaign.get("vertical_unit", "m")
    if campaign.get("canopy_height"):
        return CanopyReader(index_canopy(campaign["canopy_height"], crs=campaign.get("crs")), crs, unit)
    tiles = index_tiles(
        campaign["points"] or (), crs=campaign.get("crs"), max_days_apart=campaign.get("max_days_apart", MAX_DAYS_APART),
        access=access_of(campaign), item_crs=campaign.get("item_crs"),
    )  # fmt: skip
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
    reader: Reader | Around | None = None,
    counts: Counter | None = None,
    margin_m: float = 0.0,
) -> Heights:
    """Heights above ground of the points in a window, measured from the ground in it and around it.

    A ground triangle is one of the whole campaign's where its circumcircle is empty of ground. All ground in the window
    and its buffer is triangulated; where a circle reaches beyond, the ground in it, up to `FAR_GROUND_M`, is too. So all
    heights are those of the whole campaign, however it is cut, but those flagged as `far_ground` or `outside_hull`.

    Parameters
    ----------
    campaign : mapping
        `config.Campaign` as plain values.
    bounds : tuple
        West, south, east, north of the window in `crs`.
    reader : PointReader, ClothReader, CanopyReader or Around, optional
        From `open_campaign`: one that many windows share reads each tile's header once. From `in_turn`: one that has read
        the surroundings of many windows decodes each piece once.
    counts : Counter, optional
        Takes up what was read and left out.
    margin_m : float
        How far around the window heights are wanted too.

    Raises
    ------
    ValueError
        If a tile is damaged, or a window has points but no ground.
    """
    reader = reader or open_campaign(campaign, crs=crs)
    counts = Counter() if counts is None else counts
    core = _widened(bounds, margin_m)
    near = reader if isinstance(reader, Around) else Around(reader, [bounds], margin_m, campaign, counts)
    try:
        if _as_given(campaign):
            heights = _given(near.points(core), campaign)
        else:
            heights = _normalised(near, core, bounds, campaign, counts)
    except (NoGroundError, NotNormalisedError) as error:
        files = ", ".join(tile.path for tile in near.touching(_widened(core, _buffer(campaign))))
        where = "the raster" if campaign.get("canopy_height") else "tiles there"
        raise type(error)(f"{error}; {where}: {files}") from None
    counts.update(too_high=heights.too_high)
    return heights


class NotNormalisedError(ValueError):
    """Points declared to be heights above ground are none."""


def _as_given(campaign: Mapping) -> bool:
    """Whether heights are above ground already: of a canopy height raster, of normalised points."""
    return bool(campaign.get("canopy_height")) or campaign.get("heights") == "normalised"


def _given(points: Points, campaign: Mapping) -> Heights:
    """Heights of points that carry them."""
    classes = tuple(campaign["ground_classes"])
    heights = heights_as_given(points, max_height_m=campaign["max_height_m"], ground_classes=classes)
    if heights.too_high > len(points) / 2 and campaign.get("canopy_height"):
        raise NotNormalisedError(
            f"{heights.too_high} of {len(points)} cells of the canopy height raster are higher than max_height_m "
            f"({campaign['max_height_m']:g} m); {above_ceiling(campaign.get('vertical_unit', 'm'))}"
        )
    if heights.too_high > len(points) / 2:
        raise NotNormalisedError(
            f"{heights.too_high} of {len(points)} points are higher than max_height_m ({campaign['max_height_m']:g} m), but "
            "heights: normalised says that they are above ground; set heights: elevation if they are not"
        )
    return heights


def _buffer(campaign: Mapping) -> float:
    return 0.0 if _as_given(campaign) else campaign["buffer_m"]


def _widened(bounds: Bounds, by_m: float) -> Bounds:
    west, south, east, north = bounds
    return west - by_m, south - by_m, east + by_m, north + by_m


def _normalised(near: Around, core: Bounds, bounds: Bounds, campaign: Mapping, counts: Counter) -> Heights:
    """Heights of the points in `core`, which is `bounds` or more."""
    classes, limits = tuple(campaign["ground_classes"]), {"max_height_m": campaign["max_height_m"]}
    points = near.points(core)
    if len(points) == 0:
        return no_heights()
    try:
        ground = ground_around(core, campaign["buffer_m"], near.ground, lambda: near.far_ground)
    except NoGroundError:
        west, south, east, north = wide = _widened(bounds, campaign["buffer_m"])
        every = near.reader.points(wide)
        if len(every) >= SPARSE_PTS_M2 * (east - west) * (north - south):
            ground_surface(every, ground_classes=classes)  # raises, and says what was there
        counts.update(sparse=1)
        return no_heights()
    counts.update(grown=ground.grown)
    return heights_on(ground, points, ground_classes=classes, **limits)


def _regions(grid: Grid, block_window: Window, reader: Reader) -> Iterator[list[Window]]:
    """Windows that are read together: as many as hold about `HELD_POINTS`.

    Windows are counted from each chunk's corner and at most about `WINDOW_M` wide, whatever tiles there are. What is
    read together is a matter of memory and time alone: heights do not feel it.
    """
    size_px = math.ceil(grid.chunk_px / math.ceil(grid.chunk_px * grid.resolution_m / WINDOW_M))
    density = _density(reader, grid.bounds_of(block_window))
    if not density:
        return
    side_m = math.sqrt(HELD_POINTS / density)
    most = grid.chunk_px // size_px + 1
    together = int(min(max(side_m // (size_px * grid.resolution_m), 1), most))
    for _, chunk in grid.chunks(block_window):
        for row in range(chunk.row0, chunk.row1, size_px * together):
            for col in range(chunk.col0, chunk.col1, size_px * together):
                region = Window(row, row + size_px * together, col, col + size_px * together).clip(chunk)
                yield [
                    Window(r, r + size_px, c, c + size_px).clip(chunk)
                    for r in range(region.row0, region.row1, size_px)
                    for c in range(region.col0, region.col1, size_px)
                ]


def _density(reader: Reader, bounds: Bounds) -> float:
    """Points per m2 of the densest tile that touches some bounds, by its header; 0 where there is none."""
    densest = 0.0
    for tile in reader.touching(bounds):
        west, south, east, north = tile.bounds if isinstance(reader, CanopyReader) else reader.bounds_of(tile)
        densest = max(densest, tile.points / ((east - west) * (north - south)))
    return densest


def plot_metrics(
    campaign: Mapping,
    footprints: Sequence[Polygon],
    *,
    crs: str,
    names: Sequence[str] | None = None,
    kept: MutableMapping[str, np.ndarray] | None = None,
    sizes: Sequence[int] | None = None,
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
    sizes : sequence of int, optional
        How many successive footprints are places of one plot, whose heights come from what is around them all; 1 by default.

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
    table = np.full((len(footprints), len(names)), np.nan, np.float32)
    counts: Counter = Counter()
    ends = np.cumsum(np.ones(len(footprints), int) if sizes is None else sizes)
    plots = np.split(np.arange(len(footprints)), ends[:-1])
    groups = _neighbourhoods([footprints[rows[0]] for rows in plots])
    boxes = [[footprints[row].bounds for plot in group for row in plots[plot]] for group in groups]
    margin_m = max((_margin(campaign, reader, plot) for plot in footprints), default=0.0)
    for group, near in zip(groups, in_turn(reader, boxes, margin_m, campaign, counts), strict=True):
        for rows in (plots[plot] for plot in group):
            shapes = [footprints[row] for row in rows]
            for row, found in zip(rows, _plot_metrics(campaign, shapes, names, near, crs, counts), strict=True):
                if found:
                    table[row] = [found[name][0] for name in names]
    _log_counts("plots", counts, f"{counts['plots']} of {len(footprints)} footprints hold points")
    return pd.DataFrame(table, columns=names)


class Around:
    """What is near some boxes: their points, read at once, and the ground around them, read when it is asked for.

    Points are listed by squares, so that taking out a window looks at those near it alone; what was left out is counted
    once.
    """

    def __init__(
        self, reader: Reader, boxes: Sequence[Bounds], margin_m: float, campaign: Mapping, counts: Counter
    ) -> None:
        self.reader, self._campaign, self._counts = reader, campaign, counts
        self.box = _widened(_hull(boxes), margin_m)
        self.whole = reader.points(self.box)
        left_out = {name: getattr(self.whole, name) for name in ("withheld", "noise", "overlap", "thinned")}
        counts.update(read=sum(left_out.values()), doubles=self.whole.twins, **left_out)

    @cached_property
    def _squares(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        from pipeline.lidar.kernels import cells_of, in_order

        west, south, east, north = self.box
        rows, cols = (int(side // SQUARE_M) + 1 for side in (north - south, east - west))
        square = cells_of(self.whole.x, self.whole.y, west, north, SQUARE_M, rows, cols)
        return *in_order(square, rows * cols), rows, cols

    def points(self, bounds: Bounds) -> Points:
        """The points in `bounds`, which lie in the box that was read: x, y, z, class and return."""
        from pipeline.lidar.kernels import found_in

        if bounds == self.box:
            points = self.whole
        else:
            west, _, _, north = self.box
            order, starts, rows, cols = self._squares
            row0, row1 = int((north - bounds[3]) // SQUARE_M), min(int((north - bounds[1]) // SQUARE_M), rows - 1)
            col0, col1 = int((bounds[0] - west) // SQUARE_M), min(int((bounds[2] - west) // SQUARE_M), cols - 1)
            # In the order of the file inside each square: the walk from a point to the next is short.
            found = found_in(order, starts, cols, row0, row1, col0, col1, self.whole.x, self.whole.y, *bounds)
            points = Points(**{name: values[found] for name, values in self.whole.columns.items() if name in USED})
        self._counts.update(read=len(points))
        return points

    @cached_property
    def ground(self) -> GroundPoints:
        """All ground in the boxes and the campaign's buffer around them."""
        return self._ground(self._campaign["buffer_m"])

    @cached_property
    def far_ground(self) -> GroundPoints:
        """All ground up to `FAR_GROUND_M` around the boxes."""
        return self._ground(max(self._campaign["buffer_m"], FAR_GROUND_M))

    def _ground(self, reach_m: float) -> GroundPoints:
        classes = tuple(self._campaign["ground_classes"])
        return ground_points(self.reader.ground(_widened(self.box, reach_m), classes), classes)

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The tiles whose header boxes touch `bounds`."""
        return self.reader.touching(bounds)


def in_turn(
    reader: Reader, groups: Sequence[Sequence[Bounds]], margin_m: float, campaign: Mapping, counts: Counter
) -> Iterator[Around]:
    """The surroundings of each group of boxes, in their order; no piece is decoded twice as long as memory allows."""
    if not isinstance(reader, CanopyReader):
        boxes = [_widened(_hull(group), margin_m) for group in groups]
        far = [] if _as_given(campaign) else [_widened(box, max(campaign["buffer_m"], FAR_GROUND_M)) for box in boxes]
        reader.hold(boxes, far, tuple(campaign["ground_classes"]))
    for number, group in enumerate(groups):
        if not isinstance(reader, CanopyReader):
            reader.begin(number)
        yield Around(reader, group, margin_m, campaign, counts)


def _hull(boxes: Sequence[Bounds]) -> Bounds:
    west, south, east, north = np.array(boxes).T
    return west.min(), south.min(), east.max(), north.max()


def _plot_metrics(
    campaign: Mapping, footprints: Sequence[Polygon], names: Sequence[str], near: Around, crs: str, counts: Counter
) -> Iterator[dict[str, np.ndarray]]:
    """Metrics of the points inside each footprint of one plot; none where it holds no point."""
    margin_m = max(_margin(campaign, near.reader, footprint) for footprint in footprints)
    bounds = footprints[0].bounds if len(footprints) == 1 else _hull([footprint.bounds for footprint in footprints])
    heights = window_heights(campaign, bounds, crs=crs, reader=near, counts=counts, margin_m=margin_m)
    for footprint in footprints:
        yield _footprint_metrics(campaign, footprint, names, near, heights, counts)


def _footprint_metrics(
    campaign: Mapping, footprint: Polygon, names: Sequence[str], near: Around, heights: Heights, counts: Counter
) -> dict[str, np.ndarray]:
    import shapely

    inside = shapely.contains_xy(footprint, heights.x, heights.y)
    if not inside.any():
        return {}
    cover, canopy = _footprint_squares(campaign, footprint, near.reader)
    counts.update(plots=1)
    _count(counts, heights, inside)
    return metrics_by_cell(
        heights, np.where(inside, 0, -1), 1, cell_area_m2=footprint.area, names=names,
        fine=Fine(heights, 1, cover, canopy, heights.surface), min_covered_percent=campaign["min_covered_percent"],
    )  # fmt: skip


def _footprint_squares(campaign: Mapping, footprint: Polygon, reader: Reader) -> tuple[Squares, Squares]:
    """Squares of a footprint's cover and canopy, as fine as those of a pixel of its area."""
    side = math.sqrt(footprint.area)
    cover, canopy = _steps(campaign, reader, side)
    return squares_of_polygon(footprint, side / cover), squares_of_polygon(footprint, side / canopy, margin=1)


def _margin(campaign: Mapping, reader: Reader, footprint: Polygon) -> float:
    """How far around a footprint heights are wanted too: one of its squares."""
    side = math.sqrt(footprint.area)
    return side / min(_steps(campaign, reader, side))


def _neighbourhoods(footprints: Sequence[Polygon]) -> list[list[int]]:
    """Numbers of the footprints whose centres share a square of 1 km."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, footprint in enumerate(footprints):
        square = math.floor(footprint.centroid.x / NEIGHBOURHOOD_M), math.floor(footprint.centroid.y / NEIGHBOURHOOD_M)
        groups.setdefault(square, []).append(number)
    return list(groups.values())
