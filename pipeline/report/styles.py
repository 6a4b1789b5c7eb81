"""Colours of maps, and the QGIS styles (QML) that use them. Ramps keep their order without colour vision."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

STOCK_RAMP = ("#f6f1c3", "#cfdf8f", "#93c47d", "#52a37c", "#257f7d", "#1c5a73", "#1b3558")
"""Little to much, light to dark."""

ERROR_RAMP = ("#f6f1f5", "#dccbe3", "#b89ac9", "#8c69a8", "#603b82", "#36154f")
"""Sure to unsure, light to dark, another hue than any stock."""

SINK_RAMP = ("#6b3a06", "#a8691f", "#d6ad6b", "#f5f3ee", "#8cc9c0", "#35938a", "#0a4f49")
"""Source (brown) over zero (near white) to sink (green-blue)."""

FOREST_CLASSES = {
    0: ("no forest", "#e9e5dc"),
    1: ("forest remaining", "#9cc3a5"),
    2: ("forest gained", "#1f6fb2"),
    3: ("forest lost", "#d1620a"),
}

SET_COLOURS = ("#33658a", "#e3a53a", "#7d5ba6", "#3a9d8f", "#b5545c", "#6d6d6d")
"""One per predictor set, in order of preference."""

MISSING_COLOUR = "#b9b9b9"

QGIS_VERSION = "3.22.0"


def nice_breaks(low: float, high: float, *, classes: int = 6) -> list[float]:
    """Round numbers from at most `low` to at least `high`, in about `classes` steps of 1, 2, 2.5 or 5 x 10^n."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"breaks need finite limits, got {low} and {high}")
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / classes
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def ramp_colour(ramp: Sequence[str], share: float) -> str:
    """The colour at `share` (0 to 1) of a ramp of hex colours, straight between its stops."""
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    number = min(int(place), len(ramp) - 2)
    rest = place - number
    mixed = (a + (b - a) * rest for a, b in zip(_rgb(ramp[number]), _rgb(ramp[number + 1]), strict=True))
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def stand_style(wide: pd.DataFrame, years: Sequence[int], stock_target: str | None) -> str:
    """QML of the stands layer: graduated by what it reports of the last year, stands without an estimate hatched.

    Parameters
    ----------
    wide : DataFrame
        One row per stand with `reported_*_<year>` columns.
    years : sequence of int
        The study's years, rising.
    stock_target : str or None
        Where given, stands are coloured by tree carbon; else by the first target they report.
    """
    from pipeline.config import TARGETS

    year = years[-1]
    shown = {f"reported_{about['column']}_{year}": (about["title"], about["units"]) for about in TARGETS.values()}
    if stock_target is not None:
        shown = {f"reported_tree_carbon_t_ha_{year}": ("Tree carbon", "t C/ha"), **shown}
    column = next((name for name in shown if name in wide.columns), None)
    if column is None:
        raise ValueError(f"the stands table reports nothing for {year}; expected one of {', '.join(shown)}")
    title, units = shown[column]
    values = [float(value) for value in wide[column] if math.isfinite(value)]
    breaks = nice_breaks(0.0, max([*values, 1e-9]))
    return _document(
        lambda root: _graduated(root, column, f"{title} {year}", units, breaks), tip=_tip(wide, column, units)
    )


def _graduated(root: ElementTree.Element, column: str, title: str, units: str, breaks: Sequence[float]) -> None:
    renderer = ElementTree.SubElement(
        root, "renderer-v2", type="graduatedSymbol", attr=f'coalesce("{column}", -1)', graduatedMethod="GraduatedColor",
        symbollevels="0", enableorderby="0", forceraster="0",
    )  # fmt: skip
    ranges = ElementTree.SubElement(renderer, "ranges")
    symbols = ElementTree.SubElement(renderer, "symbols")
    classes = [(-1.0, -0.5, f"{title}: no estimate", None)]
    count = len(breaks) - 1
    for number, (low, high) in enumerate(pairwise(breaks)):
        label = f"{low:g} to {high:g} {units}"
        classes.append((low, high, label, ramp_colour(STOCK_RAMP, number / max(count - 1, 1))))
    for number, (low, high, label, colour) in enumerate(classes):
        ElementTree.SubElement(
            ranges, "range", lower=f"{low:.6f}", upper=f"{high:.6f}", label=label, symbol=str(number), render="true"
        )
        _fill(symbols, str(number), colour)


def _fill(symbols: ElementTree.Element, name: str, colour: str | None) -> None:
    """A filled polygon; hatched grey without a colour."""
    symbol = ElementTree.SubElement(symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1")
    layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    settings = {
        "color": ",".join(map(str, (*_rgb(colour or MISSING_COLOUR), 255))),
        "style": "solid" if colour else "b_diagonal",
        "outline_color": "60,60,60,255",
        "outline_style": "solid",
        "outline_width": "0.2",
        "outline_width_unit": "MM",
    }
    options = ElementTree.SubElement(layer, "Option", type="Map")
    for key, value in settings.items():
        ElementTree.SubElement(options, "Option", type="QString", name=key, value=value)


def _tip(wide: pd.DataFrame, column: str, units: str) -> str:
    """What QGIS shows when the pointer rests on a stand."""
    stem, year = column.rsplit("_", 1)
    low, high = f"{stem}_low_{year}", f"{stem}_high_{year}"
    value = f'[% round("{column}", 1) %] {units}'
    if low in wide.columns and high in wide.columns:
        value += f' (interval [% round("{low}", 1) %] to [% round("{high}", 1) %])'
    return f'<b>[% "stand" %]</b><br>{year}: {value}'


def raster_style(product: Mapping, low: float, high: float) -> str:
    """QML of a published map, for its first band.

    Parameters
    ----------
    product : mapping
        A `products.Product` as plain values: kind, title, bands.
    low, high : float
        Range of the values to show, in the band's unit; a sink's scale is made symmetric about zero.
    """
    band = product["bands"][0]
    if product["kind"] == "forest":
        return _document(_paletted)
    ramp = STOCK_RAMP
    if product["kind"] == "sink":
        ramp, reach = SINK_RAMP, max(abs(low), abs(high)) or 1.0
        low, high = -reach, reach
    elif high <= low:
        high = low + 1.0
    return _document(lambda root: _pseudocolour(root, ramp, low, high, band["units"]))


def _pseudocolour(root: ElementTree.Element, ramp: Sequence[str], low: float, high: float, units: str) -> None:
    renderer = _raster_renderer(
        root, "singlebandpseudocolor", classificationMin=f"{low:.6g}", classificationMax=f"{high:.6g}"
    )
    shader = ElementTree.SubElement(
        ElementTree.SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED",
        classificationMode="1", clip="0", minimumValue=f"{low:.6g}", maximumValue=f"{high:.6g}", labelPrecision="2",
    )  # fmt: skip
    for number, colour in enumerate(ramp):
        value = low + (high - low) * number / (len(ramp) - 1)
        ElementTree.SubElement(
            shader, "item", value=f"{value:.6g}", color=colour, alpha="255", label=f"{value:.3g} {units}"
        )


def _paletted(root: ElementTree.Element) -> None:
    palette = ElementTree.SubElement(_raster_renderer(root, "paletted"), "colorPalette")
    for value, (label, colour) in FOREST_CLASSES.items():
        ElementTree.SubElement(palette, "paletteEntry", value=str(value), color=colour, alpha="255", label=label)


def _raster_renderer(root: ElementTree.Element, kind: str, **settings: str) -> ElementTree.Element:
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor="", **settings
    )
    ElementTree.SubElement(renderer, "rasterTransparency")
    ElementTree.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ElementTree.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ElementTree.SubElement(pipe, "rasterresampler", maxOversampling="2")
    return renderer


def _document(fill, *, tip: str | None = None) -> str:
    root = ElementTree.Element("qgis", version=QGIS_VERSION, styleCategories="AllStyleCategories")
    fill(root)
    ElementTree.SubElement(root, "blendMode").text = "0"
    if tip is not None:
        ElementTree.SubElement(root, "mapTip").text = tip
    ElementTree.indent(root, space=" ")
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + ElementTree.tostring(root, encoding="unicode") + "\n"
