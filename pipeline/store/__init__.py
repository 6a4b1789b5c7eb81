"""The only writer and reader of the files a study makes: rasters, tables, layers, JSON. Every write is atomic."""

from pipeline.store.files import KeptArrays, clear_folder, read_json, replacing, write_json, write_text
from pipeline.store.maps import write_cog, write_cog_by_window, write_vrt
from pipeline.store.rasters import Mosaic, kept_open, raster_bands, raster_by_window, read_raster, write_raster
from pipeline.store.tables import read_parts, read_table, write_layers, write_layers_by_batch, write_parts, write_table

__all__ = [
    "KeptArrays", "Mosaic", "clear_folder", "kept_open", "raster_bands", "raster_by_window", "read_json", "read_parts",
    "read_raster", "read_table", "replacing", "write_cog", "write_cog_by_window", "write_json", "write_layers",
    "write_layers_by_batch", "write_parts", "write_raster", "write_table", "write_text", "write_vrt",
]  # fmt: skip
