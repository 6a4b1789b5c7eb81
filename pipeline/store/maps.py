"""Published rasters: cloud-optimised GeoTIFFs with statistics and titles, and block files of them as one raster."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.grid import Grid, Window
from pipeline.store.files import replacing, write_text
from pipeline.store.rasters import TILE_PX, describe, opened_to_write, raster_by_window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

STRIP_PX = 16 * TILE_PX  # pixels across that are read at a time where a raster is too large for memory


def write_cog(
    path: str | Path,
    bands: Mapping[str, np.ndarray],
    *,
    geobox: GeoBox,
    units: Mapping[str, str],
    titles: Mapping[str, str],
    overviews: str = "average",
    caveats: Sequence[str] = (),
) -> None:
    """Published raster: cloud-optimised GeoTIFF, float32, deflate, overviews, nodata NaN, statistics.

    Band descriptions hold the name, units the unit, and a `TITLE` tag the sentence a GIS user sees. `overviews` says how
    pixels become larger ones: classes have no average and ask for `mode`. `caveats` stand in a tag CAVEATS of the file.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    with replacing(path) as partial, rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile() as memory:
        with opened_to_write(memory.name, bands, geobox, "float32", driver="GTiff") as raster:
            for number, (name, array) in enumerate(bands.items(), start=1):
                raster.write(np.asarray(array, "float32"), number)
                describe(raster, number, name, units.get(name, ""))
                raster.update_tags(number, TITLE=titles.get(name, name), **_statistics(array))
            if caveats:
                raster.update_tags(CAVEATS="; ".join(caveats))
        copy(
            memory.name,
            partial,
            driver="COG",
            compress="deflate",
            blocksize=512,
            predictor="yes",
            overview_resampling=overviews,
            num_threads=1,
        )


def _statistics(array: np.ndarray) -> dict[str, str]:
    valid = array[np.isfinite(array)].astype("float64")
    if valid.size == 0:
        return {"STATISTICS_VALID_PERCENT": "0"}
    return {
        "STATISTICS_MINIMUM": f"{valid.min():.6g}",
        "STATISTICS_MAXIMUM": f"{valid.max():.6g}",
        "STATISTICS_MEAN": f"{valid.mean():.6g}",
        "STATISTICS_STDDEV": f"{valid.std():.6g}",
        "STATISTICS_VALID_PERCENT": f"{100 * valid.size / array.size:.4g}",
    }


def write_cog_by_window(
    path: str | Path,
    read: Callable[[Window], Mapping[str, np.ndarray]],
    *,
    grid: Grid,
    window: Window,
    units: Mapping[str, str],
    titles: Mapping[str, str],
    seen: Callable[[Window, Mapping[str, np.ndarray]], None] = lambda window, bands: None,
) -> None:
    """As `write_cog`, of a part of a grid that is too large for memory: `read` gives windows of it, band by band.

    The windows are counted from the grid's corner, whatever made the pixels: the same pixels give the same bytes. `seen` is
    shown each window once.
    """
    import rasterio
    from rasterio.shutil import copy

    tallies = {name: _Tally() for name in units}
    plain = Path(path).with_suffix(".plain.tif")
    try:
        with raster_by_window(plain, list(units), geobox=grid.geobox_of(window), units=units, scales=None) as raster:
            for row in range(window.row0 // TILE_PX * TILE_PX, window.row1, TILE_PX):
                for col in range(window.col0 // STRIP_PX * STRIP_PX, window.col1, STRIP_PX):
                    part = Window(row, row + TILE_PX, col, col + STRIP_PX).clip(window)
                    bands = read(part)
                    for name in units:
                        tallies[name].add(bands[name])
                    seen(part, bands)
                    raster.write(part.within(window), bands)
        with rasterio.Env(GDAL_PAM_ENABLED=False):
            with rasterio.open(plain, "r+") as written:
                for number, name in enumerate(units, start=1):
                    written.update_tags(number, TITLE=titles.get(name, name), **tallies[name].statistics())
            with replacing(path) as partial:
                copy(
                    plain, partial, driver="COG", compress="deflate", blocksize=512, predictor="yes",
                    overview_resampling="average", num_threads=1, bigtiff="if_safer",
                )  # fmt: skip
    finally:
        plain.unlink(missing_ok=True)


class _Tally:
    """Statistics of a band, window by window."""

    def __init__(self) -> None:
        self.cells = self.count = 0
        self.low, self.high, self.total, self.squares = math.inf, -math.inf, 0.0, 0.0

    def add(self, array: np.ndarray) -> None:
        valid = array[np.isfinite(array)].astype("float64")
        self.cells += array.size
        if valid.size:
            self.count += valid.size
            self.low, self.high = min(self.low, float(valid.min())), max(self.high, float(valid.max()))
            self.total, self.squares = self.total + float(valid.sum()), self.squares + float((valid**2).sum())

    def statistics(self) -> dict[str, str]:
        if not self.count:
            return {"STATISTICS_VALID_PERCENT": "0"}
        mean = self.total / self.count
        return {
            "STATISTICS_MINIMUM": f"{self.low:.6g}",
            "STATISTICS_MAXIMUM": f"{self.high:.6g}",
            "STATISTICS_MEAN": f"{mean:.6g}",
            "STATISTICS_STDDEV": f"{math.sqrt(max(self.squares / self.count - mean**2, 0.0)):.6g}",
            "STATISTICS_VALID_PERCENT": f"{100 * self.count / self.cells:.4g}",
        }


def write_vrt(path: str | Path, files: Sequence[Path], grid: Grid) -> None:
    """Block COGs as one raster, for areas whose map does not fit one file comfortably."""
    import rasterio

    with rasterio.open(files[0]) as first:
        names, units = first.descriptions, first.units
    rows = [f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">', f"<SRS>{grid.crs}</SRS>"]
    west, _, _, north = grid.bounds
    rows.append(f"<GeoTransform>{west}, {grid.resolution_m}, 0, {north}, 0, {-grid.resolution_m}</GeoTransform>")
    for number, (name, unit) in enumerate(zip(names, units, strict=True), start=1):
        rows.append(f'<VRTRasterBand dataType="Float32" band="{number}">')
        rows.append(f"<Description>{name}</Description><UnitType>{unit or ''}</UnitType><NoDataValue>nan</NoDataValue>")
        for file in files:
            place = grid.block_window(file.stem)
            size = f'xSize="{place.shape[1]}" ySize="{place.shape[0]}"'
            rows.append(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{file.relative_to(Path(path).parent)}</SourceFilename>'
                f'<SourceBand>{number}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
                f'<DstRect xOff="{place.col0}" yOff="{place.row0}" {size}/></SimpleSource>'
            )
        rows.append("</VRTRasterBand>")
    rows.append("</VRTDataset>")
    write_text(path, "\n".join(rows) + "\n")
