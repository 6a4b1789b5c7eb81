"""Rule `publish`: one product's blocks become one cloud-optimised GeoTIFF, or block COGs under a VRT when it is large."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import store
from pipeline.grid import Grid
from pipeline.report.styles import raster_style
from pipeline.steps.notes import caveats_in

log = logging.getLogger(__name__)


def publish(
    *, raster: Path, style: Path, blocks: Sequence[Path], grid: dict, product: dict, said: Path | None = None
) -> None:
    """Publish a product as `raster`: a .tif is one COG, a .vrt joins block COGs that lie in a folder beside it.

    `style` is the QGIS style that QGIS loads by itself because it has the raster's name; `said` holds what the plots' step
    warned of, whose caveats every map carries in its metadata.
    """
    grid_ = Grid(**grid)
    units = {band["name"]: band["units"] for band in product["bands"]}
    titles = {band["name"]: band["title"] for band in product["bands"]}
    names = list(units)
    options = {"units": units, "titles": titles, "overviews": "mode" if product["kind"] == "forest" else "average"}
    options["caveats"] = caveats_in(said)
    whole = (
        {name: np.full((grid_.rows, grid_.cols), np.nan, "float32") for name in names}
        if raster.suffix == ".tif"
        else {}
    )
    parts, ranges = [], []
    for path in blocks:
        place = grid_.block_window(path.stem)
        arrays = store.read_raster(path, bands=names)
        ranges.append(_shown_range(arrays[names[0]]))
        if whole:
            for name, array in arrays.items():
                whole[name][place.slices] = array
        else:
            parts.append(raster.with_suffix("") / path.with_suffix(".tif").name)
            store.write_cog(parts[-1], arrays, geobox=grid_.geobox_of(place), **options)
    if whole:
        store.write_cog(raster, whole, geobox=grid_.geobox, **options)
        low, high = _shown_range(whole[names[0]])
    else:
        store.write_vrt(raster, parts, grid_)
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        log.info("%s: %d block COGs under a VRT", raster.name, len(parts))
    store.write_text(style, raster_style(product, low, high))


def _shown_range(array: np.ndarray) -> tuple[float, float]:
    """The 2nd and 98th percentile of what is there: the colour range a map reader wants."""
    valid = array[np.isfinite(array)]
    if valid.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(valid, [2, 98])
    return float(low), float(high) if high > low else float(low) + 1.0
