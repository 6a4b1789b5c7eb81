"""A sheet of management polygons before any run: encoding, coordinates, areas, attributes, and what is wrong, by feature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import stands as polygons
from catalogs import tables

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

SLIVER_WIDTH_M = 10.0
SLIVER_AREA_HA = 0.05
"""A polygon narrower than a crown or two (twice its area over its perimeter), or smaller than any plot, is left of drawing."""
MOST_ROWS = 12
MOST_VALUES = 8
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "id": ("stand", "standid", "stand_id", "id", "小班号", "小班", "XIAO_BAN", "XBH", "XB_ID", "BSM", "standno", "polyid"),
    "compartment": ("林班号", "林班", "LIN_BAN", "LBH", "compartment", "compt"),
    "area": ("面积", "小班面积", "MIAN_JI", "XBMJ", "MJ", "area", "area_ha", "hectares", "acres", "shape_area"),
    "species": ("优势树种", "树种", "YOU_SHI_SZ", "YSSZ", "SHU_ZHONG", "species", "sp", "forest_type", "treespecies", "baumart"),
    "age": ("平均年龄", "年龄", "PINGJUN_NL", "NIAN_LING", "NL", "age", "stdage", "stand_age"),
    "age class": ("龄组", "LING_ZU", "龄级", "LING_JI", "age_class", "ageclass"),
    "origin": ("起源", "QI_YUAN", "QY", "origin"),
    "land class": ("地类", "DI_LEI", "DL", "land_class", "landuse", "land_cover"),
}
"""Attributes of sub-compartments and the columns that usually hold them: words, pinyin of the national database, English."""


def inspect_stands(settings: Mapping[str, Any], *, crs: str | None = None, named: bool = True) -> dict[str, Any]:
    """Read stands as a run would, go on where it would stop, and report.

    Parameters
    ----------
    settings : mapping
        The section `stands` of a study, as plain values.
    crs : str, optional
        The study's projected CRS; without, the layer's own, or the UTM zone of longitudes and latitudes.
    named : bool
        Whether the settings name the columns; else id and area are guessed from the headers.

    Returns
    -------
    dict
        files, facts (name: text), problems (sentences that stop a run), warnings, settings (a first guess).
    """
    import geopandas as gpd

    file = settings["file"]
    raw = tables.read_table(file, layer=settings["layer"], encoding=settings["encoding"])
    if not isinstance(raw, gpd.GeoDataFrame):
        raise ValueError(f"{file} holds no polygons; stands are read from GeoPackage, shapefile, GeoJSON or GeoParquet")
    report: dict[str, Any] = {"files": [file], "facts": {}, "problems": [], "warnings": [], "settings": {"file": file}}
    present = {name.lower(): str(name) for name in raw.columns if name != raw.geometry.name}
    found = {what: next((present[word.lower()] for word in words if word.lower() in present), None)
             for what, words in ATTRIBUTES.items()}  # fmt: skip
    settings = dict(settings)
    if not named:
        settings |= _guessed(raw, found, report)
    report["facts"]["features"] = f"{len(raw)}, {', '.join(sorted(set(raw.geom_type.dropna())))}"
    _say_text(raw, report)
    layer = gpd.GeoDataFrame({"feature": raw.index}, geometry=raw.geometry.array, crs=raw.crs)
    layer["stand"] = _ids(raw, settings, report).to_numpy()
    layer = _without_empty(layer, file, report)
    _say_same(layer, file, report)
    layer = _placed(layer, settings, crs, report)
    if layer is not None and len(layer):
        _say_shapes(layer, file, report)
        _say_areas(raw, layer, settings, report, declared_unit=settings["area_unit"] if named else None)
    _say_attributes(raw, found, report)
    _say_strata(raw, settings, report)
    return report


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The sheet as lines: what is there, what stops a run, what is said and goes on."""
    width = max(len(name) for name in report["facts"])
    lines = [", ".join(report["files"])]
    lines += [f"  {name.ljust(width)}  {text}" for name, text in report["facts"].items()]
    for heading, key in (("stops a run", "problems"), ("flagged, and used as it is", "warnings")):
        if report[key]:
            lines += ["", f"{heading}:", *(f"  {sentence}" for sentence in report[key])]
    if not report["problems"] and not report["warnings"]:
        lines.append("nothing was found wrong")
    return lines


def _guessed(raw: gpd.GeoDataFrame, found: dict[str, str | None], report: dict[str, Any]) -> dict[str, Any]:
    guess: dict[str, Any] = {}
    if found["id"] is None:
        plain = [str(name) for name in raw.columns if name != raw.geometry.name]
        texts = {name: tables.texts(raw[name]) for name in plain if raw[name].dtype.kind != "f"}
        found["id"] = next((name for name, text in texts.items() if text.is_unique and (text != "").all()), None)
    if found["id"]:
        together = [found["compartment"], found["id"]] if found["compartment"] else [found["id"]]
        alone = not tables.texts(raw[found["id"]]).duplicated().any()
        guess["id"] = found["id"] if alone else tuple(together)
    if found["area"]:
        guess["area_column"] = found["area"]
    strata = [found[what] for what in ("species", "origin", "age class") if found[what]]
    if strata:
        guess["stratum"] = tuple(strata)
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in guess.items()}
    report["settings"] |= shown
    report["facts"]["columns guessed"] = ", ".join(f"{name}: {value}" for name, value in shown.items()) or "none"
    return guess


def _features(labels: Any) -> str:
    return tables.rows(labels, most=MOST_ROWS, noun="feature")


def _say_text(raw: gpd.GeoDataFrame, report: dict[str, Any]) -> None:
    """Texts that came through a wrong encoding: replacement marks, or Chinese read as Latin 1."""
    for name in raw.columns:
        if name == raw.geometry.name or not len(raw) or raw[name].dtype.kind not in "OT":
            continue
        text = raw[name].dropna().astype(str)
        broken = text.str.contains("�") | text.str.fullmatch(r"[\x80-\xff\s\d]*[\x80-\xff]{2,}[\x80-\xff\s\d]*")
        if broken.any():
            report["warnings"].append(
                f"{name} of {_features(text.index[broken])} looks garbled, such as {text[broken].iloc[0]!r}; name the encoding "
                "in stands.encoding (gbk, utf-8)"
            )


def _ids(raw: gpd.GeoDataFrame, settings: dict[str, Any], report: dict[str, Any]) -> pd.Series:
    file, columns = settings["file"], settings["id"]
    listed = [columns] if isinstance(columns, str) else list(columns)
    absent = [column for column in listed if column not in raw.columns]
    if absent:
        names = [str(name) for name in raw.columns if name != raw.geometry.name]
        report["problems"].append(
            f"{file} has no column {absent[0]!r} (stands.id){tables.nearest(absent[0], names)}; it has {', '.join(names)}"
        )
        return raw.index.to_series().astype(str)
    ids = polygons.stand_ids(raw, settings)
    if (ids == "").any():
        report["problems"].append(f"{file}: {' and '.join(listed)} is empty in {_features(ids.index[ids == ''])}")
    repeated = ids.duplicated(keep=False) & (ids != "")
    for name in list(dict.fromkeys(ids[repeated]))[:MOST_ROWS]:
        report["problems"].append(f"{file}: the stand id {name!r} stands in {_features(ids.index[ids == name])}")
    if repeated.any():
        report["facts"]["repeated ids"] = f"{ids[repeated].nunique()} ids in {int(repeated.sum())} features"
    return ids


def _without_empty(layer: gpd.GeoDataFrame, file: str, report: dict[str, Any]) -> gpd.GeoDataFrame:
    empty = layer.geometry.isna() | layer.geometry.is_empty
    if empty.any():
        report["problems"].append(f"{file}: {_features(layer.loc[empty, 'feature'])} has no polygon")
    other = ~empty & ~layer.geom_type.isin(["Polygon", "MultiPolygon"])
    if other.any():
        kinds = ", ".join(sorted(set(layer.geom_type[other])))
        report["problems"].append(f"{file}: {_features(layer.loc[other, 'feature'])} is {kinds}; stands are polygons")
    return layer[~empty & ~other].reset_index(drop=True)


def _say_same(layer: gpd.GeoDataFrame, file: str, report: dict[str, Any]) -> None:
    """Polygons drawn twice, whatever their ids."""
    outline = layer.geometry.normalize().to_wkb()
    for _, features in layer["feature"].groupby(outline.to_numpy(), sort=False):
        if len(features) > 1:
            report["problems"].append(f"{file}: {_features(features)} are the same polygon; delete all but one")


def _placed(
    layer: gpd.GeoDataFrame, settings: dict[str, Any], crs: str | None, report: dict[str, Any]
) -> gpd.GeoDataFrame | None:
    """The layer in metres, by the very steps of a run: zone numbers put right, degrees and CRS compared."""
    import logging

    declared = layer.crs.to_string() if layer.crs is not None else "none"
    report["facts"]["CRS"] = declared + (f", read as {settings['crs']}" if settings["crs"] else "")
    bounds = " ".join(f"{value:.7g}" for value in layer.total_bounds)
    report["facts"]["extent"] = f"{bounds} (west south east north)"
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("catalogs")
    logger.addHandler(handler)
    said, logger.propagate = logger.propagate, False
    try:
        target = crs or _metric(layer, settings)
        placed = polygons.in_crs(layer, settings, target)
        placed = polygons.mended(placed, settings["file"])
    except ValueError as error:
        report["problems"].append(str(error))
        return None
    finally:
        logger.removeHandler(handler)
        logger.propagate = said
    report["warnings"] += heard
    return placed


def _metric(layer: gpd.GeoDataFrame, settings: dict[str, Any]) -> str:
    from pyproj import CRS

    source = CRS.from_user_input(settings["crs"]) if settings["crs"] else layer.crs
    if source is None:
        return "EPSG:3857"  # the question for its CRS comes first
    if source.is_projected:
        return source.to_string()
    return layer.set_crs(source, allow_override=True).estimate_utm_crs().to_string()


def _say_shapes(layer: gpd.GeoDataFrame, file: str, report: dict[str, Any]) -> None:
    import shapely

    geometry = layer.geometry.to_numpy()
    area, length = shapely.area(geometry), shapely.length(geometry)
    report["facts"]["polygons"] = (
        f"{area.sum() / 1e4:.1f} ha; {area.min() / 1e4:.3g} to {area.max() / 1e4:.3g} ha, median {np.median(area) / 1e4:.3g}; "
        f"{int((shapely.get_num_geometries(geometry) > 1).sum())} of several parts"
    )
    thin = (2 * area / length < SLIVER_WIDTH_M) | (area < SLIVER_AREA_HA * 1e4)
    if thin.any():
        report["warnings"].append(
            f"{file}: {_features(layer.loc[thin, 'feature'])} is a sliver: narrower than {SLIVER_WIDTH_M:g} m or smaller than "
            f"{SLIVER_AREA_HA:g} ha"
        )
    first, second, common = polygons.overlapping(geometry)
    features, names = layer["feature"].to_numpy(), layer["stand"].to_numpy()
    order = np.argsort(-common, kind="stable")[:MOST_ROWS]
    for pair in order:
        report["problems"].append(
            f"{file}: features {features[first[pair]]} ({names[first[pair]]}) and {features[second[pair]]} "
            f"({names[second[pair]]}) overlap by {common[pair]:,.0f} m2 (stands.overlaps: first gives it to the first)"
        )
    if len(common):
        report["facts"]["overlaps"] = f"{len(common)} pairs, {common.sum() / 1e4:.4f} ha"


def _say_areas(
    raw: gpd.GeoDataFrame, layer: gpd.GeoDataFrame, settings: dict[str, Any], report: dict[str, Any], *, declared_unit: str | None
) -> None:
    """The unit that the declared areas are in by the polygons, and the features that differ from it."""
    column = settings["area_column"]
    if not column:
        return
    if column not in raw.columns:
        report["problems"].append(f"{settings['file']} has no column {column!r} (stands.area_column)")
        return
    try:
        declared = tables.numbers(raw[column], file=settings["file"]).loc[layer["feature"]].to_numpy()
    except ValueError as error:
        report["problems"].append(str(error))
        return
    area_ha = layer.area.to_numpy() / 1e4
    ratio = np.where(declared > 0, declared, np.nan) / area_ha
    if np.isnan(ratio).all():
        report["problems"].append(f"{settings['file']}: {column} holds no area above zero")
        return
    middle = float(np.nanmedian(ratio))
    unit = next(
        (name for name, hectares in polygons.HECTARES.items() if abs(middle * hectares - 1) <= polygons.AREA_TOLERANCE), None
    )
    said = f"in {unit}" if unit else f"{middle:.4g} times the hectares drawn, in no unit"
    report["facts"]["declared area"] = f"{column}: {said}"
    report["settings"] |= {"area_column": column} | ({"area_unit": unit} if unit else {})
    if unit is None:
        report["warnings"].append(f"{settings['file']}: {column} is {middle:.4g} per hectare of the polygons, no unit we know")
        return
    if declared_unit and unit != declared_unit:
        report["problems"].append(
            f"{settings['file']}: {column} read as {declared_unit} is not the area of the polygons; it is in {unit}: set "
            f"stands.area_unit: {unit}"
        )
    apart = np.abs(ratio * polygons.HECTARES[unit] - 1) > polygons.AREA_TOLERANCE
    if apart.any():
        report["warnings"].append(
            f"{settings['file']}: {column} differs from the polygon by more than {polygons.AREA_TOLERANCE:.0%} in "
            f"{_features(layer.loc[apart, 'feature'])}"
        )
    without = ~(declared > 0)
    if without.any():
        features = _features(layer.loc[without, "feature"])
        report["warnings"].append(f"{settings['file']}: {column} is missing or zero in {features}")


def _say_attributes(raw: gpd.GeoDataFrame, found: dict[str, str | None], report: dict[str, Any]) -> None:
    """What the columns that strata are made of hold, and where they hold nothing."""
    for what in ("species", "age", "age class", "origin", "land class"):
        column = found[what]
        if column is None:
            continue
        values = tables.texts(raw[column])
        missing = values == ""
        counts = values[~missing].value_counts()
        numeric = re.fullmatch(r"[\d.]+", str(counts.index[0])) is not None if len(counts) else False
        if numeric and len(counts) > MOST_VALUES:
            numbers = tables.numbers(raw[column], file=report["files"][0])
            text = f"{numbers.min():g} to {numbers.max():g}, median {numbers.median():g}"
        else:
            text = ", ".join(f"{value} {count}" for value, count in counts.head(MOST_VALUES).items())
            text += ", ..." if len(counts) > MOST_VALUES else ""
        report["facts"][what] = f"{column}: {text or 'empty'}"
        if missing.any():
            report["warnings"].append(f"{report['files'][0]}: {column} is empty in {_features(raw.index[missing])}")


def _say_strata(raw: gpd.GeoDataFrame, settings: dict[str, Any], report: dict[str, Any]) -> None:
    if not settings["stratum"]:
        return
    columns = [settings["stratum"]] if isinstance(settings["stratum"], str) else list(settings["stratum"])
    if absent := [column for column in columns if column not in raw.columns]:
        report["problems"].append(f"{settings['file']} has no column {absent[0]!r} (stands.stratum)")
        return
    try:
        strata = polygons.strata_of(raw, settings)
    except ValueError as error:
        report["problems"].append(str(error))
        return
    counts = strata[strata != ""].value_counts()
    listed = ", ".join(f"{name} {count}" for name, count in counts.head(MOST_VALUES).items())
    report["facts"]["strata"] = f"{len(counts)}: {listed}{', ...' if len(counts) > MOST_VALUES else ''}"
    single = counts[counts == 1]
    if len(single):
        report["warnings"].append(
            f"{settings['file']}: {len(single)} strata have one stand each, such as {single.index[0]!r}; wider classes "
            "(stands.stratum_classes, stratum_codes) make strata that can be estimated"
        )
