"""Management polygons as their owners keep them: any encoding, zone and unit of area, brought to the study's CRS."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import gauss_krueger, tables

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

HECTARES = {"ha": 1.0, "m2": 1e-4, "mu": 1 / 15, "acre": 0.40468564224}
"""Hectares in one unit of area; 15 mu are a hectare, the acre is the international one."""

MAX_OVERLAP_M2, MAX_OVERLAP_SHARE = 1.0, 0.001
AREA_TOLERANCE = 0.10
COLUMNS = ("stand", "stratum", "layer", "area_ha", "declared_area_ha", "geometry")


def read_stands(
    settings: dict[str, Any],
    *,
    crs: str,
    plots: gpd.GeoDataFrame | None = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> gpd.GeoDataFrame:
    """Stands of a study in its CRS: polygons of a file, or squares that the study lays out itself.

    Parameters
    ----------
    settings : dict
        The section `stands` of a study, as plain values.
    crs : str
        The study's projected CRS, metres.
    plots : GeoDataFrame, optional
        Plots with their footprints (`catalogs.plots.read_plots`), needed where `include_plots` asks for them.
    bounds : tuple, optional
        West, south, east, north of the study: where squares are laid, and outside which stands are counted.

    Returns
    -------
    GeoDataFrame
        stand (text, unique), stratum (missing where unknown), layer (stands, grid or plots; stands of one layer do not
        overlap, plots lie on top of the others), area_ha (of the geometry), declared_area_ha (NaN where not declared),
        geometry (valid polygons). Per record of `settings["records"]` (name: target, column, se_column or error_percent)
        `record_<name>` and `record_<name>_se`, NaN where the file says nothing.

    Raises
    ------
    ValueError, FileNotFoundError
        For stands that cannot be used: no CRS, repeated or missing ids, empty geometry, overlaps, an area column in
        another unit, none inside the study.
    """
    import pandas as pd

    if settings.get("grid_m"):
        if bounds is None:
            raise ValueError("stands.grid_m lays squares over the study's area, whose bounds were not given")
        layers = [_squares(settings["grid_m"], crs, bounds)]
    else:
        layers = [_stands_of_file(settings, crs)]
    if settings.get("include_plots"):
        if plots is None or plots.empty:
            raise ValueError("stands.include_plots asks for the plots as stands, and the study has none")
        layers.append(_plots_as_stands(plots.to_crs(crs)))
    stands = pd.concat(layers, ignore_index=True)
    twice = stands["stand"].duplicated(keep=False)
    if twice.any():
        raise ValueError(f"the stand {stands.loc[twice, 'stand'].iloc[0]!r} has the name of a plot's stand; rename one")
    if bounds is not None:
        _report_outside(stands, bounds, settings)
    records = [column for name in settings.get("records") or {} for column in record_columns(name)]
    return stands[[*COLUMNS[:-1], *records, COLUMNS[-1]]]


def record_columns(name: str) -> tuple[str, str]:
    """Columns of a stand inventory's value and of its standard error."""
    return f"record_{name}", f"record_{name}_se"


def index_stands(
    settings: dict[str, Any],
    *,
    crs: str,
    plots: gpd.GeoDataFrame | None = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> list[dict[str, Any]]:
    """Per stand its id, bounds in the study's CRS and a digest of outline and stratum: what an edit changes.

    Plain values in the order of the file, the same for the same stands; parameters as in `read_stands`. Plots as
    stands are in the index only where `plots` are given.
    """
    if plots is None:
        settings = {**settings, "include_plots": False}
    stands = read_stands(settings, crs=crs, plots=plots, bounds=bounds)
    index = []
    for stand, stratum, geometry in zip(stands["stand"], stands["stratum"], stands.geometry, strict=True):
        digest = hashlib.sha256(geometry.wkb + repr((stand, stratum)).encode()).hexdigest()[:16]
        index.append({"id": stand, "bounds": [float(value) for value in geometry.bounds], "digest": digest})
    return index


# ---------------------------------------------------------------- polygons of a file


def _stands_of_file(settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    file = settings["file"]
    raw = tables.read_table(file, layer=settings.get("layer"), encoding=settings.get("encoding"))
    if not isinstance(raw, gpd.GeoDataFrame):
        raise ValueError(f"{file} holds no polygons; stands are read from GeoPackage, shapefile, GeoJSON or GeoParquet")
    named = {
        "stands.id": settings["id"], "stands.stratum": settings.get("stratum"), "stands.area_column": settings.get("area_column"),
        "stands.stratum_classes": list(settings.get("stratum_classes", {})),
        "stands.stratum_codes": list(settings.get("stratum_codes", {})),
    }  # fmt: skip
    for name, record in (settings.get("records") or {}).items():
        named |= {f"stands.records.{name}.{key}": record[key] for key in ("column", "se_column")}
    for key, columns in named.items():
        for column in _several(columns):
            if column not in raw.columns:
                present = [str(name) for name in raw.columns if name != raw.geometry.name]
                raise ValueError(
                    f"{file} has no column {column!r} ({key}){tables.nearest(column, present)}; it has {', '.join(present)}"
                )
    stands = gpd.GeoDataFrame(
        {"stand": _ids(raw, settings), "stratum": _strata(raw, settings)}, geometry=raw.geometry.array, crs=raw.crs
    ).set_index(raw.index)
    _check_shapes(stands, file)
    stands = in_crs(stands, settings, crs)
    stands = mended(stands, file)
    stands["layer"] = "stands"
    stands = _without_overlaps(stands, settings)
    stands["area_ha"] = stands.area / 1e4
    stands["declared_area_ha"] = np.nan
    if settings.get("area_column"):
        declared = tables.numbers(raw[settings["area_column"]], file=file).loc[stands.index]
        stands["declared_area_ha"] = declared_area(declared, stands["area_ha"], settings)
    for name, record in (settings.get("records") or {}).items():
        value, error = _recorded(raw.loc[stands.index], name, record, file)
        stands[record_columns(name)[0]], stands[record_columns(name)[1]] = value, error
    log.info("read %d stands, %.1f ha", len(stands), stands["area_ha"].sum())
    return stands


def _recorded(raw: gpd.GeoDataFrame, name: str, record: dict[str, Any], file: str) -> tuple[np.ndarray, np.ndarray]:
    """What a stand inventory says per hectare, and its standard error; NaN where either is missing."""
    value = tables.numbers(raw[record["column"]], file=file).to_numpy(float)
    if record["se_column"] is not None:
        error = tables.numbers(raw[record["se_column"]], file=file).to_numpy(float)
    else:
        error = np.abs(value) * record["error_percent"] / 100
    if (value < 0).any():
        raise ValueError(f"{file}: {record['column']} (stands.records.{name}) is negative in {int((value < 0).sum())} stands")
    without = np.isfinite(value) & ~(error > 0)
    if without.any():
        log.warning(
            "%s: %d of %d values of %s (stands.records.%s) have no standard error above 0 and do not count",
            file, without.sum(), int(np.isfinite(value).sum()), record["column"], name,
        )  # fmt: skip
    told = np.isfinite(value) & (error > 0)
    return np.where(told, value, np.nan), np.where(told, error, np.nan)


def _ids(raw: gpd.GeoDataFrame, settings: dict[str, Any]) -> np.ndarray:
    file, ids = settings["file"], stand_ids(raw, settings)
    named = " and ".join(_several(settings["id"]))
    if (ids == "").any():
        raise ValueError(f"{file}: {named} is empty in {tables.rows(ids.index[ids == ''], noun='feature')}")
    repeated = ids.duplicated(keep=False)
    if repeated.any():
        first = ids[repeated].iloc[0]
        raise ValueError(
            f"{file}: the stand id {first!r} stands in {tables.rows(ids.index[ids == first], noun='feature')} "
            f"({ids[repeated].nunique()} ids are repeated); give each stand its own {named}, "
            "or merge its parts"
        )
    return ids.to_numpy(dtype=object)


def _strata(raw: gpd.GeoDataFrame, settings: dict[str, Any]) -> np.ndarray | None:
    columns = _several(settings.get("stratum"))
    if not columns:
        return None
    strata = strata_of(raw, settings)
    missing = int((strata == "").sum())
    if missing:
        log.warning("%d of %d stands have no %s", missing, len(strata), " and ".join(columns))
    return strata.where(strata != "", None).to_numpy(dtype=object)


def _several(columns: str | Sequence[str] | None) -> list[str]:
    return [] if columns is None else [columns] if isinstance(columns, str) else list(columns)


def stand_ids(raw: gpd.GeoDataFrame, settings: dict[str, Any]) -> pd.Series:
    """The name of each feature: its id column, or several joined by '_' (compartment and sub-compartment); '' if missing."""
    return tables.joined([raw[column] for column in _several(settings["id"])], "_")


def strata_of(raw: gpd.GeoDataFrame, settings: dict[str, Any]) -> pd.Series:
    """The stratum of each feature: its columns decoded and classed, joined by '_'; '' where one of them is missing.

    `stratum_codes` turns codes of a column into words; a code that is not there is named. `stratum_classes` turns numbers
    into classes: the edges 20 and 40 make 0-20, 20-40 and 40+ (a number on an edge belongs to the upper class).
    """
    import pandas as pd

    file, parts = settings["file"], []
    for column in _several(settings["stratum"]):
        edges, codes = settings.get("stratum_classes", {}).get(column), settings.get("stratum_codes", {}).get(column)
        if edges:
            values = tables.numbers(raw[column], file=file)
            names = [f"{low:g}-{high:g}" for low, high in pairwise([0, *edges])] + [f"{edges[-1]:g}+"]
            place = np.searchsorted(edges, values.to_numpy(), side="right")
            words = pd.Series(np.array(names, dtype=object)[place], index=raw.index).where(values.notna(), "")
        else:
            words = tables.texts(raw[column])
        if codes:
            unknown = ~words.isin(codes) & (words != "")
            if unknown.any():
                raise ValueError(
                    f"{file}: {column} {words[unknown].iloc[0]!r} of {tables.rows(raw.index[unknown], noun='feature')} is not in "
                    f"stands.stratum_codes.{column}; it has {', '.join(codes)}"
                )
            words = words.map(codes).fillna("")
        parts.append(words)
    return tables.joined(parts, "_")


def _check_shapes(stands: gpd.GeoDataFrame, file: str) -> None:
    empty = stands.geometry.isna() | stands.geometry.is_empty
    if empty.any():
        names = tables.rows([repr(stand) for stand in stands.loc[empty, "stand"]], noun="stand")
        raise ValueError(f"{file}: {names} without a polygon; draw it or delete the row")
    other = ~stands.geom_type.isin(["Polygon", "MultiPolygon"])
    if other.any():
        kinds = ", ".join(sorted(set(stands.geom_type[other])))
        raise ValueError(
            f"{file}: stands are polygons, but {tables.rows(stands.index[other], noun='feature')} is {kinds}"
        )


def mended(stands: gpd.GeoDataFrame, file: str) -> gpd.GeoDataFrame:
    """Polygons that cross themselves made valid; lines and points that this leaves over fall away."""
    import shapely

    geometry = shapely.force_2d(stands.geometry.to_numpy())
    invalid = ~shapely.is_valid(geometry)
    if invalid.any():
        before = shapely.area(geometry[invalid]).sum()
        geometry[invalid] = [polygons_of(shape) for shape in shapely.make_valid(geometry[invalid])]
        change_ha = (shapely.area(geometry[invalid]).sum() - before) / 1e4
        names = tables.rows(stands["stand"].to_numpy()[invalid], noun="stand")
        log.warning("%s: mended %d invalid polygons (%s), area %+.4f ha", file, invalid.sum(), names, change_ha)
    flat = shapely.area(geometry) <= 0
    if flat.any():
        names = tables.rows([repr(stand) for stand in stands["stand"].to_numpy()[flat]], noun="stand")
        raise ValueError(f"{file}: {names} has a polygon without area; draw it again")
    return stands.set_geometry(geometry, crs=stands.crs)


def polygons_of(shape: Any) -> Any:
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = parts[shapely.get_type_id(parts) == 3]
    return shapely.union_all(polygons)


# ---------------------------------------------------------------- coordinates


def in_crs(stands: gpd.GeoDataFrame, settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    file, named = settings["file"], settings.get("crs")
    if stands.crs is None and named is None:
        guess = gauss_krueger.guessed_crs(stands.total_bounds)
        raise ValueError(f"{file} does not say its coordinate reference system{guess}; name it in stands.crs")
    if named is not None:
        if stands.crs is not None and stands.crs != named:
            log.warning("%s declares %s; read as stands.crs %s", file, stands.crs.to_string(), named)
        stands = stands.set_crs(named, allow_override=True)
    _check_degrees(stands, file)
    stands = _zone_corrected(stands, file)
    if stands.crs != crs:
        kind = "geographic " if stands.crs.is_geographic else ""
        log.info("%s: reprojected from %s%s to %s", file, kind, stands.crs.to_string(), crs)
        stands = stands.to_crs(crs)
        if not np.isfinite(stands.total_bounds).all():
            raise ValueError(
                f"{file}: some stands cannot be brought to {crs}; does its CRS belong to these coordinates?"
            )
    return stands


def _check_degrees(stands: gpd.GeoDataFrame, file: str) -> None:
    west, south, east, north = stands.total_bounds
    degrees = west >= -180 and east <= 180 and south >= -90 and north <= 90
    if degrees and not stands.crs.is_geographic:
        raise ValueError(
            f"{file}: the coordinates look like degrees, but its CRS {stands.crs.to_string()} is projected"
        )
    if not degrees and stands.crs.is_geographic:
        raise ValueError(
            f"{file}: the coordinates ({west:.0f}, {south:.0f}) are no degrees, but its CRS {stands.crs.to_string()} "
            f"is geographic{gauss_krueger.guessed_crs(stands.total_bounds)}; name the right one in stands.crs"
        )


def _zone_corrected(stands: gpd.GeoDataFrame, file: str) -> gpd.GeoDataFrame:
    """Gauss-Krueger eastings with or without the zone number, brought to what the CRS expects where that is certain."""
    shift_m = gauss_krueger.zone_shift_m(stands.crs, stands.total_bounds, file=file, setting="stands.crs")
    return stands.set_geometry(stands.translate(xoff=shift_m)) if shift_m else stands


# ---------------------------------------------------------------- overlaps and areas


def overlapping(geometry: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of polygons that overlap by more than drawing errors: positions of both, the earlier first, and common area, m2."""
    import shapely

    first, second = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    ordered = np.lexsort((second, first))
    first, second = first[ordered], second[ordered]
    first, second = first[first < second], second[first < second]
    common = shapely.area(shapely.intersection(geometry[first], geometry[second]))
    smaller = np.minimum(shapely.area(geometry[first]), shapely.area(geometry[second]))
    real = (common > MAX_OVERLAP_M2) & (common > MAX_OVERLAP_SHARE * smaller)
    return first[real], second[real], common[real]


def _without_overlaps(stands: gpd.GeoDataFrame, settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """The stands as they are when none overlap; else a sentence, or the later stand cut by the earlier one."""
    import shapely

    geometry = stands.geometry.to_numpy().copy()
    first, second, common = overlapping(geometry)
    count = len(first)
    if not count:
        return stands
    names = stands["stand"].to_numpy()
    if settings["overlaps"] != "first":
        raise ValueError(
            f"{settings['file']}: stands {names[first[0]]!r} and {names[second[0]]!r} overlap by "
            f"{common[0]:,.0f} m2{f' ({count} pairs overlap in all)' if count > 1 else ''}; mend them, or set "
            "stands.overlaps: first to give the common part to the stand listed first"
        )
    for earlier, later in zip(first, second, strict=True):
        geometry[later] = polygons_of(shapely.difference(geometry[later], geometry[earlier]))
    log.warning(
        "%d pairs of stands overlap, by %.4f ha; the stand listed first keeps it", count, common.sum() / 1e4
    )
    covered = shapely.is_empty(geometry)
    if covered.any():
        raise ValueError(
            f"{settings['file']}: {tables.rows(names[covered], noun='stand')} lies wholly under earlier stands"
        )
    return stands.set_geometry(geometry, crs=stands.crs)


def declared_area(declared: pd.Series, area_ha: pd.Series, settings: dict[str, Any]) -> pd.Series:
    """Declared areas in hectares, after a check of their unit against the polygons."""
    file, unit, column = settings["file"], settings["area_unit"], settings["area_column"]
    given = declared.where(declared > 0) * HECTARES[unit]
    if given.notna().sum() == 0:
        raise ValueError(f"{file}: {column} (stands.area_column) holds no area above zero")
    ratio = float((given / area_ha).median())
    if abs(ratio - 1) > AREA_TOLERANCE:
        for other, hectares in HECTARES.items():
            if other != unit and abs(ratio / HECTARES[unit] * hectares - 1) <= AREA_TOLERANCE:
                raise ValueError(
                    f"{file}: {column} read as {unit} is {ratio:.3g} times the area of the polygons; "
                    f"it is in {other}: set stands.area_unit: {other}"
                )
        log.warning(
            "%s: %s read as %s is %.3g times the area of the polygons, in no unit we know", file, column, unit, ratio
        )
    else:
        apart = int(((given / area_ha - 1).abs() > AREA_TOLERANCE).sum())
        log.info("%s: declared areas are %.3f of the polygons'; %d stands differ by over 10 %%", file, ratio, apart)
    return given


def _report_outside(
    stands: gpd.GeoDataFrame, bounds: tuple[float, float, float, float], settings: dict[str, Any]
) -> None:
    import shapely

    inside = shapely.intersects(stands.geometry.to_numpy(), shapely.box(*bounds))
    if not inside.any():
        theirs, ours = ([f"{value:.0f}" for value in box] for box in (stands.total_bounds, bounds))
        raise ValueError(
            f"{settings.get('file') or 'the stands'}: no stand touches the study's area; stands span "
            f"{' '.join(theirs)}, the area {' '.join(ours)} (west south east north)"
        )
    if not inside.all():
        log.warning("%d of %d stands lie wholly outside the study's area", (~inside).sum(), len(stands))


# ---------------------------------------------------------------- stands that the study makes


def _squares(side_m: float, crs: str, bounds: tuple[float, float, float, float]) -> gpd.GeoDataFrame:
    """Squares from the north-west corner on, `g_r01_c01` first; the last row and column end at the bounds."""
    import geopandas as gpd
    import shapely

    west, south, east, north = bounds
    names, shapes = [], []
    for row in range(int(np.ceil((north - south) / side_m - 1e-9))):
        for col in range(int(np.ceil((east - west) / side_m - 1e-9))):
            top, left = north - row * side_m, west + col * side_m
            names.append(f"g_r{row + 1:02d}_c{col + 1:02d}")
            shapes.append(shapely.box(left, max(top - side_m, south), min(left + side_m, east), top))
    squares = gpd.GeoDataFrame({"stand": names, "stratum": None, "layer": "grid"}, geometry=shapes, crs=crs)
    return squares.assign(area_ha=squares.area / 1e4, declared_area_ha=np.nan)


def _plots_as_stands(plots: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """One stand per cluster of plots: the union of their footprints."""
    outlines = plots.drop_duplicates(["cluster", "plot"])[["cluster", "geometry"]].dissolve("cluster", sort=True)
    outlines = outlines.reset_index().assign(stratum=None, layer="plots", declared_area_ha=np.nan)
    outlines["stand"] = "plot_" + outlines["cluster"].astype(str)
    return outlines.assign(area_ha=outlines.area / 1e4).drop(columns="cluster")
