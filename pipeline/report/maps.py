"""The section of maps: which bands are shown, on which colour scale, under which legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.model_card import listed
from pipeline.report import words
from pipeline.report.figures import NO_FOREST_COLOUR, Layer, class_image, inline, ramp_image
from pipeline.report.look import render, trusted
from pipeline.report.material import Material
from pipeline.report.styles import ERROR_RAMP, FOREST_CLASSES, SET_COLOURS, SINK_RAMP, STOCK_RAMP, nice_breaks

MOST_YEARS = 4
"""Above this many years the first and the last are shown; every year is in the folder of maps."""

MOST_OUTLINES = 2000
OUTSIDE = "#b5545c"
NOT_FOREST = 2
DOMAIN_CLASSES = {
    1: ("within what the plots covered", "#c5d6de"), 0: ("outside: extrapolated", OUTSIDE),
    NOT_FOREST: ("not forest", NO_FOREST_COLOUR),
}  # fmt: skip
"""Classes of the domain as the page shows them; the map itself has land without forest within, where nothing is predicted."""

SERVED_BY = "predictor_set"
"""The band that says which predictor set serves a pixel, 0 where there is no forest."""


@dataclass(frozen=True)
class Panel:
    """One band of one product, under the title that stands above its picture."""

    product: str
    band: str
    title: str


@dataclass(frozen=True)
class Group:
    """Panels on one colour scale with one legend. kind: stock, error, sink, forest, quantile, set, domain, index, density."""

    kind: str
    target: str
    title: str
    units: str
    panels: tuple[Panel, ...]

    @property
    def classes(self) -> bool:
        return self.kind in TITLES


def groups_of(products: Sequence[Mapping], years: Sequence[int]) -> list[Group]:
    """What the section shows of a study's products: stocks and sinks, their errors, forest, predictor sets, domain."""
    carbon = next((product["target"] for product in products if product["kind"] == "tree_carbon"), None)
    chosen = set(years) if len(years) <= MOST_YEARS else {years[0], years[-1]}
    maps: dict[tuple[str, str], list[Mapping]] = {}
    for product in products:
        kind = "tree_carbon" if product["kind"] == "stock" and product["target"] == carbon else product["kind"]
        if product["kind"] == kind and (len(product["years"]) > 1 or product["years"][0] in chosen):
            maps.setdefault((kind, product["target"]), []).append(product)
    maps = {key: found if len(found) <= MOST_YEARS else found[-1:] for key, found in maps.items()}
    order = ("tree_carbon", "sink", "stock")
    kinds = sorted((key for key in maps if key[0] in order), key=lambda key: order.index(key[0]))
    values = [(key[0], maps[key]) for key in kinds]
    groups = [_group_of("sink" if kind == "sink" else "stock", found, 0) for kind, found in values]
    groups += [_group_of("error", found, 1) for _, found in values]
    groups += [_group_of("forest", found, 0) for key, found in maps.items() if key[0] == "forest"]
    target = carbon or products[0]["target"]
    served = [p for p in products if p["kind"] == "stock" and p["target"] == target and p["years"][0] in chosen]
    groups += [group for key, found in maps.items() if key[0] == "stock" for group in _quantiles(found[-1])]
    if carbon:
        stocks = [p for p in products if p["kind"] == "stock" and p["target"] == carbon]
        groups += _quantiles(stocks[-1])
    return [*groups, _group_of("domain", served, 2), _group_of("set", served, 3)]


def _quantiles(product: Mapping) -> list[Group]:
    """The quantile bands of a stock, where the study asks for them (`model.quantiles`), on one scale."""
    bands = [band for band in product["bands"] if band.get("quantile") is not None]
    if not bands:
        return []
    (year,), title = product["years"], words.quantity(product["bands"][0]["name"])[0]
    panels = tuple(Panel(product["name"], band["name"], f"{100 * band['quantile']:g} %, {year}") for band in bands)
    return [Group("quantile", product["target"], f"{title}: quantiles of a plot", bands[0]["units"], panels)]


def reach_of(target: str, products: Sequence[Mapping]) -> list[Group]:
    """Maps of a target's area of applicability in the last year: in or out, how unlike the plots, how many plots alike."""
    stock = [product for product in products if product["kind"] == "stock" and product["target"] == target][-1:]
    own = [product for product in products if product["kind"] == "applicability" and product["target"] == target][-1:]
    kinds = [(stock, "domain", 2), (own, "index", 0), (own, "density", 1)]
    return [_group_of(kind, found, number) for found, kind, number in kinds if found]


NOTES = {
    "quantile": "What a plot there stays below with so much probability, as plots in places like it have it: how much single "
    "plots scatter, not how wrong the map is, and nothing of a stand's mean. Missing where a set learned from another set's "
    "predictions. ",
    "index": "0: a plot has the same predictors; beyond the threshold of the set that serves (table), no plot is like it.",
    "density": "How many plots are like the place. Few: the estimate there hangs on few plots; more plots of that kind help.",
    "sink": "Positive (green-blue): the forest took up more than it lost. "
    "Negative (brown): harvest, fire, death or clearing.",
    "error": "Of a single pixel. Errors of neighbouring pixels are alike: the error of a stand cannot be computed from "
    "these; it stands in the table below.",
    "domain": "Outside, no plot shows a place like it (area of applicability, Meyer & Pebesma 2021): the model extrapolates.",
    "set": "Each pixel is served by the first predictor set that is complete there.",
}
TITLES = {"forest": "Forest", "set": "What the estimate is made from", "domain": "Reach of the plots"}
MEASURES = {"index": "Dissimilarity index", "density": "Local point density"}
ZEROS = {
    "density": ("no plot is like it: outside", OUTSIDE), "index": None,
    "quantile": ("0: not forest, or bare plots are likely", NO_FOREST_COLOUR),
}  # fmt: skip
"""What exact zeros of a kind of map are, and their colour, where they are not land without forest."""


def _group_of(kind: str, products: Sequence[Mapping], number: int) -> Group:
    """One band (by its place) of each product as a group of panels."""
    band = products[0]["bands"][number]
    value = words.quantity(products[0]["bands"][0]["name"])[0]
    title = TITLES.get(kind) or MEASURES.get(kind) or (f"{value}: standard error" if kind == "error" else value)
    panels = tuple(
        Panel(p["name"], p["bands"][number]["name"], words.span(p["years"][0], p["years"][-1])) for p in products
    )
    units = "plots" if kind == "density" else "" if kind in TITLES or kind in MEASURES else band["units"]
    return Group(kind, products[0]["target"], title, units, panels)


def section(material: Material) -> str:
    """All groups of maps as HTML, with the stands' outlines defined once."""
    drawn = material.by_area.geometry.iloc[:MOST_OUTLINES]
    return render(
        TEMPLATE,
        groups=drawn_groups(groups_of(material.products, material.years), material),
        outlines="".join(material.frame.path(geometry) for geometry in drawn),
        undrawn=max(len(material.stands) - MOST_OUTLINES, 0),
        carbon=_carbon_sentence(material),
        left_out_years=material.years[1:-1] if len(material.years) > MOST_YEARS else [],
    )


def drawn_groups(groups: Sequence[Group], material: Material) -> str:
    """Groups of maps with their legends, for any section of the page."""
    text, percent = material.frame.scale_bar()
    return render(
        GROUPS, groups=[_group(group, material) for group in groups], view=material.frame.view, limit=material.frame.limit,
        area=trusted(material.frame.area), scale_text=text, scale_percent=percent,
    )  # fmt: skip


def _carbon_sentence(material: Material) -> str:
    pools = material.study["pools"]
    if material.stock_target != "agb" or pools["root_shoot"] == "from_plots":
        return ""
    factor = (1 + pools["root_shoot"]) * pools["carbon_fraction"]
    return f"Aboveground biomass in Mg/ha is tree carbon divided by {factor:.4g}; its maps are in the folder of maps."


def _group(group: Group, material: Material) -> dict:
    layers = [material.layers[(panel.product, panel.band)] for panel in group.panels]
    if group.kind == "domain":
        served = [material.layers.get((panel.product, SERVED_BY)) for panel in group.panels]
        layers = [layer if sets is None else _forest_alone(layer, sets) for layer, sets in zip(layers, served, strict=True)]
    if group.classes:
        classes = _classes(group, material)
        present = {int(value) for layer in layers for value in np.unique(layer.valid)}
        colours = {value: colour for value, (_, colour) in classes.items()}
        pictures = [class_image(layer, colours) for layer in layers]
        shown = [(name, colour) for value, (name, colour) in classes.items() if value in present]
        legend = {"ramp": (), "ticks": (), "swatches": shown}
    else:
        values = np.concatenate([layer.valid for layer in layers])
        ramp, breaks = scale_of(values, group.kind)
        zero = ZEROS.get(group.kind, ("not forest: 0", NO_FOREST_COLOUR))
        colour = zero[1] if zero else None
        pictures = [ramp_image(layer, ramp, breaks[0], breaks[-1], zero_colour=colour) for layer in layers]
        legend = {"ramp": ramp, "ticks": ticks_of(values, breaks, group.kind), "swatches": []}
        if zero and any((layer.values == 0).any() for layer in layers):
            legend["swatches"].append(zero)
    missing = any(layer.missing_percent > 0 for layer in layers)
    measured = group.kind in MEASURES
    panels = [
        {"title": panel.title, "picture": inline(picture), "missing": 0.0 if measured else layer.missing_percent}
        for panel, picture, layer in zip(group.panels, pictures, layers, strict=True)
    ]
    hatched = "not forest, or no estimate" if measured else "no estimate"
    drawn = render(LEGEND, view="", units=group.units, missing=missing, hatched=hatched, **legend)
    note = NOTES.get(group.kind, "") + (_where(group) if group.kind == "quantile" else "")
    return {"title": group.title, "panels": panels, "legend": drawn, "note": note}


def _forest_alone(domain: Layer, served: Layer) -> Layer:
    """The domain with land without forest as a class of its own."""
    bare = np.isfinite(domain.values) & (served.values == 0)
    return Layer(np.where(bare, NOT_FOREST, domain.values), domain.missing_percent)


def _where(group: Group) -> str:
    """The file and bands that a group's panels are of."""
    bands = listed([panel.band for panel in group.panels])
    every = "" if len(group.panels) == 1 else "s"
    return f"Band{every} {bands} of maps/{group.panels[0].product}, and of the map of every other year."


def _classes(group: Group, material: Material) -> dict[int, tuple[str, str]]:
    if group.kind == "forest":
        return FOREST_CLASSES
    if group.kind == "domain":
        return DOMAIN_CLASSES
    names = [one["name"] for one in material.models[group.target]["sets"]]
    sets = {
        n: (f"predictors: {name}", SET_COLOURS[(n - 1) % len(SET_COLOURS)]) for n, name in enumerate(names, start=1)
    }
    return {0: ("not forest", NO_FOREST_COLOUR), **sets}


def scale_of(values: np.ndarray, kind: str) -> tuple[Sequence[str], list[float]]:
    """Ramp and labelled values for a kind of map; the values farthest out (2 %, of a sink 5 %) take the end colours.

    Parameters
    ----------
    values : (n,) finite, of all maps that share the scale; zeros do not count.
    kind : stock (from zero, unless all values lie far above it), error, or sink (symmetric about zero).
    """
    sizes = np.abs(values[values != 0])
    reach = float(np.percentile(sizes, 95 if kind == "sink" else 98)) if sizes.size else 1.0
    if kind == "sink":
        half = nice_half(reach)
        return SINK_RAMP, [-half, 0.0, half]
    if kind in ("error", "index"):
        return ERROR_RAMP, nice_breaks(0.0, reach, classes=5)
    least = float(np.percentile(sizes, 2)) if sizes.size else 0.0
    return STOCK_RAMP, nice_breaks(least if least > 0.5 * reach else 0.0, reach, classes=5)


def nice_half(reach: float) -> float:
    """The smallest of 1, 2, 3, 4, 6, 8 or 10 times a power of ten that is not below `reach`."""
    power = 10.0 ** math.floor(math.log10(reach))
    return next(size * power for size in (1, 2, 3, 4, 6, 8, 10) if size * power >= reach * (1 - 1e-9))


def ticks_of(values: np.ndarray, breaks: Sequence[float], kind: str) -> list[tuple[float, str]]:
    """Place in percent and text of each labelled value; the ends say when values lie beyond them."""
    values = values[values != 0]
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    found = []
    for number, value in enumerate(breaks):
        text = f"{value:+g}" if kind == "sink" and value else f"{value:g}"
        text = text.replace("-", words.MINUS)
        if number == 0 and least < value:
            text = f"≤ {text}"
        if number == len(breaks) - 1 and most > value:
            text = f"≥ {text}"
        found.append((100 * number / (len(breaks) - 1), text))
    return found


LEGEND = """
<div class="legend {{ view }}">
{% if ramp %}
<div class="scale"><div class="unit">{{ units }}</div><div class="ramp"
style="background:linear-gradient(90deg, {{ ramp|join(", ") }})"></div>
<div class="ticks">
{% for place, text in ticks %}<span style="left:{{ "%.1f"|format(place) }}%">{{ text }}</span>{% endfor %}
</div></div>
{% endif %}
{% for name, colour in swatches %}
<span class="swatch"><i style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}
{% if missing %}<span class="swatch"><i class="hatched"></i>{{ hatched|default("no estimate") }}</span>{% endif %}
</div>
"""

GROUPS = """
<div class="groups">
{% for group in groups %}
<div class="mapgroup span{{ [group.panels|length, 3]|min }}">
<h3>{{ group.title }}</h3>
{{ group.legend }}
<div class="maps">
{% for panel in group.panels %}
<figure><figcaption>{{ panel.title }} {% if panel.missing > 0 %}
<span class="unit">{{ "%.2g"|format(panel.missing) }} % without estimate</span>{% endif %}</figcaption>
<div class="map" style="{{ limit }}"><svg viewBox="{{ view }}" role="img" aria-label="{{ group.title }} {{ panel.title }}">
<rect {{ area }} fill="url(#missing)"/>
<image {{ area }} preserveAspectRatio="none" href="{{ panel.picture }}"/>
<use href="#outlines" class="outline"/></svg>
<span class="bar" style="width:{{ "%.2f"|format(scale_percent) }}%">{{ scale_text }}</span></div>
</figure>
{% endfor %}
</div>
{% if group.note %}<p class="note">{{ group.note }}</p>{% endif %}
</div>
{% endfor %}
</div>
"""

TEMPLATE = """
<svg width="0" height="0" class="defs" aria-hidden="true"><defs>
<pattern id="missing" width="14" height="14" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="14" height="14" fill="#d9d9d9"/><rect width="5" height="14" fill="#b3b3b3"/></pattern>
<path id="outlines" d="{{ outlines }}"/>
</defs></svg>
{% if carbon %}<p>{{ carbon }}</p>{% endif %}
{% if left_out_years %}<p>Shown are the first and the last year; maps of {{ left_out_years|join(", ") }} are in the
folder of maps.</p>{% endif %}
{% if undrawn %}<p>Outlines of the {{ undrawn }} smallest stands are not drawn.</p>{% endif %}
{{ groups }}
"""
