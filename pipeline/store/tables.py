"""Tables, layers for a GIS, and tables in numbered parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store.files import replacing

if TYPE_CHECKING:
    import pandas as pd

FIXED_DATE = "2000-01-01T00:00:00.000Z"
"""Written into formats that insist on a date, so that the same study gives the same bytes."""


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """A table as (Geo)Parquet, or as CSV where the path ends so."""
    with replacing(path) as partial:
        if Path(path).suffix == ".csv":
            frame.to_csv(partial, index=False, lineterminator="\n")
        elif "geometry" in frame.columns:
            frame.to_parquet(partial, index=False, compression="zstd", write_covering_bbox=False)
        else:
            frame.to_parquet(partial, index=False, compression="zstd")


def read_table(path: str | Path) -> pd.DataFrame:
    """A table that `write_table` wrote; a GeoDataFrame when it holds geometry."""
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix == ".csv":
        return pd.read_csv(path)
    import pyarrow.parquet as parquet

    if b"geo" in (parquet.read_schema(path).metadata or {}):
        import geopandas as gpd

        return gpd.read_parquet(path)
    return pd.read_parquet(path)


def write_layers(
    path: str | Path, layers: Mapping[str, pd.DataFrame], *, styles: Mapping[str, str] | None = None
) -> None:
    """A GeoPackage of named layers; `styles` (layer: QML text) are embedded as each layer's default style."""
    write_layers_by_batch(path, [layers], styles=styles)


def write_layers_by_batch(
    path: str | Path,
    batches: Iterable[Mapping[str, pd.DataFrame]],
    *,
    styles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> None:
    """As `write_layers`, of layers that come in parts, at least one; `kinds` (layer: geometry type) where a part may be empty."""
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    names: dict[str, None] = {}
    with replacing(path) as partial:
        for layers in batches:
            for name, frame in layers.items():
                kind = (kinds or {}).get(name)
                pyogrio.write_dataframe(
                    frame, partial, layer=name, driver="GPKG", append=partial.exists(), geometry_type=kind
                )
                names[name] = None
        if styles:
            _embed_styles(partial, names, styles)


def _embed_styles(file: Path, layers: Iterable[str], styles: Mapping[str, str]) -> None:
    """QGIS reads its default styles from the table `layer_styles` of a GeoPackage."""
    import sqlite3

    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), "
            "f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, "
            "styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME)"
        )
        for name in layers:
            if name in styles:
                database.execute(
                    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
                    "styleQML, styleSLD, useAsDefault, description, owner, ui, update_time) "
                    "VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '', NULL, ?)",
                    (name, name, styles[name], FIXED_DATE),
                )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)",
            (FIXED_DATE,),
        )
    database.close()


def write_parts(path: str | Path, parts: Iterable[tuple[int, pd.DataFrame]], *, columns: Mapping[str, str]) -> int:
    """A Parquet file of numbered parts that are read one by one, in rising order; returns the number of rows.

    `columns` are all columns with their types as Arrow names them; a part of no rows is left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = pa.schema([("part", pa.int64()), *((name, pa.type_for_alias(kind)) for name, kind in columns.items())])
    rows = 0
    with replacing(path) as partial, parquet.ParquetWriter(partial, schema, compression="zstd") as file:
        for number, frame in parts:
            if len(frame):
                table = pa.Table.from_pandas(frame.assign(part=number)[schema.names], schema=schema, preserve_index=False)
                file.write_table(table, row_group_size=len(frame))
                rows += len(frame)
    return rows


def read_parts(paths: Iterable[str | Path]) -> Iterator[pd.DataFrame]:
    """The parts that `write_parts` wrote into some files, by their numbers, those of one number together; one at a time."""
    import pandas as pd
    import pyarrow.parquet as parquet

    places: dict[int, list[tuple[Path, int]]] = {}
    for path in map(Path, paths):
        about = parquet.read_metadata(path)
        for group in range(about.num_row_groups):
            places.setdefault(about.row_group(group).column(0).statistics.min, []).append((path, group))
    for number in sorted(places):
        found = [parquet.ParquetFile(path).read_row_group(group).to_pandas() for path, group in places[number]]
        yield pd.concat(found, ignore_index=True).drop(columns="part")
