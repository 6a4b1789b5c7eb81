"""Rule `publish_canopy`: a campaign's canopy height model as a COG, its trees as a GeoPackage, and what both say in numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import canopy_grid
from pipeline.products import CANOPY_BAND
from pipeline.report.styles import raster_style

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

BATCH = 50_000  # trees written at a time
BIN_M = 0.5
LEAST_DRAWN = 0.75  # of a flown cell's squares: fewer are single returns rather than a surface


def publish_canopy(
    *,
    raster: Path,
    style: Path,
    layers: Path,
    summary: Path,
    rasters: Sequence[Path],
    tables: Sequence[Path],
    grid: dict,
    campaign: dict,
    product: dict,
) -> None:
    """Publish the canopy and the trees of a campaign.

    Parameters
    ----------
    raster, style : Path
        The canopy height model (.tif one COG, .vrt joins block COGs in a folder beside it) and its QGIS style.
    layers : Path
        GeoPackage of `tree_tops` (points) and `crowns` (polygons): `tree`, `height_m`, `area_m2`.
    summary : Path
        JSON: numbers for the report.
    rasters, tables : paths
        Of all blocks.
    """
    study_grid = Grid(**grid)
    fine = canopy_grid(study_grid, campaign["chm_resolution_m"])
    seen = _Numbers(study_grid, round(study_grid.resolution_m / fine.resolution_m))
    _publish_raster(raster, rasters, fine, product, seen)
    store.write_text(style, raster_style(product, 0.0, max(seen.quantile(0.98), BIN_M)))
    tally = _TreeTally()
    store.write_layers_by_batch(
        layers, _batches(tables, study_grid.crs, tally), kinds={"tree_tops": "Point", "crowns": "Polygon"}
    )
    area_ha, drawn_ha = seen.area_ha, seen.count * fine.resolution_m**2 / 1e4
    store.write_json(summary, {
        "resolution_m": fine.resolution_m,
        "area_ha": area_ha,
        "drawn_percent": 100 * drawn_ha / area_ha if area_ha else None,
        "mean_height_m": seen.total / seen.count if seen.count else None,
        "p95_height_m": seen.quantile(0.95) if seen.count else None,
        "trees": tally.count,
        "trees_n_ha": tally.count / area_ha if area_ha else None,
        "mean_tree_height_m": tally.height_m / tally.count if tally.count else None,
        "crown_cover_percent": 100 * tally.crown_m2 / 1e4 / area_ha if area_ha else None,
    })  # fmt: skip
    log.info("%s: %d trees on %.1f ha that were flown", layers.name, tally.count, area_ha)
    if area_ha and drawn_ha < LEAST_DRAWN * area_ha:
        log.warning(
            "%s: only %.0f %% of the squares of %g m hold a return; tops are those of single returns: set surface: pit_free of "
            "canopy_products, or a larger chm_resolution_m", raster.name, 100 * drawn_ha / area_ha, fine.resolution_m,
        )  # fmt: skip


def _publish_raster(raster: Path, rasters: Sequence[Path], fine: Grid, product: dict, numbers: _Numbers) -> None:
    mosaic = store.Mosaic(rasters[0].parent, fine)
    about = {
        "grid": fine,
        "units": {band["name"]: band["units"] for band in product["bands"]},
        "titles": {band["name"]: band["title"] for band in product["bands"]},
        "seen": lambda window, bands: numbers.add(window, bands[CANOPY_BAND.name]),
    }

    def read(window: Window) -> dict[str, np.ndarray]:
        return mosaic.read(window, [CANOPY_BAND.name])

    if raster.suffix == ".tif":
        store.write_cog_by_window(raster, read, window=fine.window, **about)
        return
    parts = [raster.with_suffix("") / path.name for path in rasters]
    for part in parts:
        store.write_cog_by_window(part, read, window=fine.block_window(part.stem), **about)
    store.write_vrt(raster, parts, fine)


class _Numbers:
    """Heights in bins, for means and quantiles of a raster too large for memory; and which of the study's cells hold any."""

    def __init__(self, grid: Grid, steps: int) -> None:
        self.bins = np.zeros(int(1000 / BIN_M), np.int64)
        self.count, self.total = 0, 0.0
        self.steps, self.pixel_ha = steps, grid.pixel_ha
        self.flown = np.zeros((grid.rows, grid.cols), bool)

    @property
    def area_ha(self) -> float:
        """Area of the study's cells in which a canopy is drawn, be it of one square."""
        return float(self.flown.sum()) * self.pixel_ha

    def add(self, window: Window, array: np.ndarray) -> None:
        rows, cols = np.nonzero(np.isfinite(array))
        self.flown[(rows + window.row0) // self.steps, (cols + window.col0) // self.steps] = True
        valid = array[np.isfinite(array)]
        self.count += valid.size
        self.total += float(valid.sum(dtype="float64"))
        place = np.clip(valid / BIN_M, 0, len(self.bins) - 1).astype(int)
        self.bins += np.bincount(place, minlength=len(self.bins))

    def quantile(self, share: float) -> float:
        """The upper end of the bin that holds it."""
        if not self.count:
            return 0.0
        return BIN_M * (1 + int(np.searchsorted(np.cumsum(self.bins), share * self.count)))


class _TreeTally:
    def __init__(self) -> None:
        self.count, self.height_m, self.crown_m2 = 0, 0.0, 0.0


def _batches(tables: Sequence[Path], crs: str, tally: _TreeTally) -> Iterator[dict[str, gpd.GeoDataFrame]]:
    """Trees in the order of their tiles, some tiles at a time; counted in passing. One batch at least."""
    import pandas as pd

    waiting: list[pd.DataFrame] = []
    yielded = False
    for part in store.read_parts(tables):
        part = part.sort_values("tree", ignore_index=True)
        tally.count += len(part)
        tally.height_m += float(part["height_m"].sum())
        tally.crown_m2 += float(part["area_m2"].sum())
        waiting.append(part)
        if sum(map(len, waiting)) >= BATCH:
            yield _layers(pd.concat(waiting, ignore_index=True), crs)
            waiting, yielded = [], True
    if waiting or not yielded:
        empty = pd.DataFrame({"tree": np.empty(0, np.int64), **dict.fromkeys(("x", "y", "height_m", "area_m2"), np.empty(0)),
                              "crown": np.empty(0, object)})  # fmt: skip
        yield _layers(pd.concat(waiting, ignore_index=True) if waiting else empty, crs)


def _layers(frame: pd.DataFrame, crs: str) -> dict[str, gpd.GeoDataFrame]:
    import geopandas as gpd
    import shapely

    values = frame[["tree", "height_m", "area_m2"]]
    tops = gpd.GeoDataFrame(values, geometry=gpd.points_from_xy(frame["x"], frame["y"]), crs=crs)
    return {"tree_tops": tops, "crowns": gpd.GeoDataFrame(values, geometry=shapely.from_wkb(frame["crown"]), crs=crs)}
