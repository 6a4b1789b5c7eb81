"""A sheet of management polygons before any run: encoding, coordinates, areas, attributes, and what is wrong, by feature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import stands as polygons
from catalogs import tables
from catalogs.findings import by_rule
from catalogs.stand_findings import StandFindings, findings_for

if TYPE_CHECKING:
    import geopandas as gpd

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
        files, facts (name: text), findings (list of kind, title, rule, file, sentence, rows), problems (sentences that stop
        a run), warnings, settings (a first guess).
    """
    file, raw = settings["file"], polygons.raw_stands(dict(settings))
    report: dict[str, Any] = {
        "files": [file], "facts": {}, "problems": [], "warnings": [], "findings": [], "settings": {"file": file},
    }  # fmt: skip
    present = {name.lower(): str(name) for name in raw.columns if name != raw.geometry.name}
    found = {what: next((present[word.lower()] for word in words if word.lower() in present), None)
             for what, words in ATTRIBUTES.items()}  # fmt: skip
    settings = dict(settings)
    if not named:
        settings |= _guessed(raw, found, report)
    report["facts"]["features"] = f"{len(raw)}, {', '.join(sorted(set(raw.geom_type.dropna())))}"
    _say_text(raw, report)
    raw, settings = _with_columns(raw, settings, report)
    findings = findings_for(settings, stops=False, quiet=True)
    layer = _placed(raw, settings, crs, findings, report)
    if layer is not None:
        report["facts"] |= findings.facts
        _say_shapes(layer, report)
        _say_areas(layer, settings, findings, report, declared_unit=settings["area_unit"] if named else None)
        _say_strata(layer, settings, report)
    _say_attributes(raw, found, report)
    report["findings"] = findings.listed(MOST_ROWS)
    report["problems"] += [one["sentence"] for one in report["findings"] if one["rule"] == "fail"]
    report["warnings"] += [one["sentence"] for one in report["findings"] if one["rule"] == "keep"]
    return report


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The sheet as lines: what is there, what stops a run, what is left out, what is said and goes on."""
    width = max(len(name) for name in report["facts"])
    lines = [", ".join(report["files"])]
    lines += [f"  {name.ljust(width)}  {text}" for name, text in report["facts"].items()]
    told = {one["sentence"] for one in report["findings"]}
    for heading, key in (("stops a run", "problems"), ("note", "warnings")):
        lines += [f"{heading}: {sentence}" for sentence in report[key] if sentence not in told]
    lines += by_rule(report["findings"])
    if not report["problems"] and not report["warnings"] and not report["findings"]:
        lines.append("nothing was found wrong")
    elif report["findings"]:
        lines += ["", "what is done about a kind is a setting: stands: {rules: {KIND: keep, leave_out, first, merge or fail}}"]
    return lines


def _with_columns(
    raw: gpd.GeoDataFrame, settings: dict[str, Any], report: dict[str, Any]
) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """What of the named columns is there, so that the rest can be looked at; the number of a feature where it has no id."""
    present = [str(name) for name in raw.columns if name != raw.geometry.name]
    for key in ("id", "stratum", "area_column"):
        listed = [settings[key]] if isinstance(settings[key], str) else list(settings[key] or [])
        absent = [column for column in listed if column not in present]
        if not absent:
            continue
        report["problems"].append(
            f"{settings['file']} has no column {absent[0]!r} (stands.{key}){tables.nearest(absent[0], present)}; "
            f"it has {', '.join(present)}"
        )
        settings = {**settings, key: "feature number" if key == "id" else None}
        if key == "id":
            raw = raw.assign(**{"feature number": raw.index.astype(str)})
    for key in ("stratum_classes", "stratum_codes"):
        settings[key] = {column: value for column, value in settings[key].items() if column in present}
    return raw, settings


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


def _placed(
    raw: gpd.GeoDataFrame, settings: dict[str, Any], crs: str | None, findings: StandFindings, report: dict[str, Any]
) -> gpd.GeoDataFrame | None:
    """The stands by the very steps of a run: zone numbers put right, degrees and CRS compared, rules carried out."""
    import logging

    declared = raw.crs.to_string() if raw.crs is not None else "none"
    report["facts"]["CRS"] = declared + (f", read as {settings['crs']}" if settings["crs"] else "")
    bounds = " ".join(f"{value:.7g}" for value in raw.total_bounds)
    report["facts"]["extent"] = f"{bounds} (west south east north)"
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("catalogs")
    logger.addHandler(handler)
    said, logger.propagate = logger.propagate, False
    try:
        target = crs or _metric(raw, settings)
        return polygons.stands_of(raw, settings, target, findings)
    except ValueError as error:
        report["problems"].append(str(error))
        return None
    finally:
        logger.removeHandler(handler)
        logger.propagate = said
        report["warnings"] += heard


def _metric(layer: gpd.GeoDataFrame, settings: dict[str, Any]) -> str:
    from pyproj import CRS

    source = CRS.from_user_input(settings["crs"]) if settings["crs"] else layer.crs
    if source is None:
        return "EPSG:3857"  # the question for its CRS comes first
    if source.is_projected:
        return source.to_string()
    return layer.set_crs(source, allow_override=True).estimate_utm_crs().to_string()


def _say_shapes(layer: gpd.GeoDataFrame, report: dict[str, Any]) -> None:
    import shapely

    area, parts = layer["area_ha"].to_numpy(), shapely.get_num_geometries(layer.geometry.to_numpy())
    report["facts"]["polygons"] = (
        f"{area.sum():.1f} ha; {area.min():.3g} to {area.max():.3g} ha, median {np.median(area):.3g}; "
        f"{int((parts > 1).sum())} of several parts"
    )


def _say_areas(
    layer: gpd.GeoDataFrame, settings: dict[str, Any], findings: StandFindings, report: dict[str, Any], *,
    declared_unit: str | None,
) -> None:  # fmt: skip
    """The unit that the declared areas are in by the polygons, and the features that differ from it."""
    column, file = settings["area_column"], settings["file"]
    if not column:
        return
    declared = layer["declared"].where(layer["declared"] > 0)
    ratio = declared / layer["area_ha"]
    if ratio.isna().all():
        report["problems"].append(f"{file}: {column} holds no area above zero")
        return
    middle = float(ratio.median())
    unit = next(
        (name for name, hectares in polygons.HECTARES.items() if abs(middle * hectares - 1) <= polygons.AREA_TOLERANCE), None
    )
    said = f"in {unit}" if unit else f"{middle:.4g} times the hectares drawn, in no unit"
    report["facts"]["declared area"] = f"{column}: {said}"
    report["settings"] |= {"area_column": column} | ({"area_unit": unit} if unit else {})
    if unit is None:
        report["warnings"].append(f"{file}: {column} is {middle:.4g} per hectare of the polygons, no unit we know")
        return
    if declared_unit and unit != declared_unit:
        report["problems"].append(
            f"{file}: {column} read as {declared_unit} is not the area of the polygons; it is in {unit}: set "
            f"stands.area_unit: {unit}"
        )
    checked = layer.assign(declared_area_ha=declared * polygons.HECTARES[unit])
    polygons.check_declared(checked, settings, findings)


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


def _say_strata(layer: gpd.GeoDataFrame, settings: dict[str, Any], report: dict[str, Any]) -> None:
    if not settings["stratum"]:
        return
    counts = layer["stratum"].dropna().value_counts()
    listed = ", ".join(f"{name} {count}" for name, count in counts.head(MOST_VALUES).items())
    report["facts"]["strata"] = f"{len(counts)}: {listed}{', ...' if len(counts) > MOST_VALUES else ''}"
    single = counts[counts == 1]
    if len(single):
        report["warnings"].append(
            f"{settings['file']}: {len(single)} strata have one stand each, such as {single.index[0]!r}; wider classes "
            "(stands.stratum_classes, stratum_codes) make strata that can be estimated"
        )
