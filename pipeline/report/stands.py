"""The section of stands: a map to point at, and a table to sort and filter. Both work as plain HTML without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import SURE, UNSURE, directions_in
from pipeline.report import words
from pipeline.report.figures import Series, axis_of, interval_bar, ranked
from pipeline.report.look import render, trusted
from pipeline.report.maps import LEGEND, scale_of, ticks_of
from pipeline.report.material import Material
from pipeline.report.styles import ramp_colour
from pipeline.steps.stand_tables import IDENTIFIED, SATURATED, STOCKS_APART, STOCKS_BEYOND, STOCKS_DISAGREE

MOST_ROWS = 500
DIRECTION_COLOURS = {"sink": "#35938a", "source": "#a8691f"}
NEUTRAL_COLOUR = "#8b9691"


@dataclass(frozen=True)
class Quantity:
    """Something the stands table reports per hectare. kind: stock or sink; total: the column of totals, if any."""

    name: str
    title: str
    units: str
    suffix: str
    kind: str
    total: tuple[str, str] | None = None

    def columns(self) -> list[str]:
        """Names of estimate, standard error, low and high."""
        return [f"reported_{self.name}{ending}_{self.suffix}" for ending in ("", "_se", "_low", "_high")]


def quantities_of(material: Material) -> list[Quantity]:
    """What map and table show: carbon of the first and last year, other targets of the last, the latest sink."""
    first, last = material.years[0], material.years[-1]
    found = []
    if material.stock_target:
        for year in dict.fromkeys((first, last)):
            total = (f"reported_tree_carbon_t_{year}", "t C") if year == last else None
            found.append(Quantity("tree_carbon_t_ha", f"Tree carbon {year}", "t C/ha", f"{year}", "stock", total))
    for target in material.study["targets"]:
        if target != material.stock_target:
            about = TARGETS[target]
            found.append(Quantity(about["column"], f"{about['title']} {last}", about["units"], f"{last}", "stock"))
    if material.stock_target and material.spans:
        a, b = material.spans[-1]
        total = (f"reported_net_removal_t_co2_yr_{a}_{b}", "t CO2/yr")
        found.append(
            Quantity("net_removal_t_co2_ha_yr", f"Net removal {a} to {b}", "t CO2/ha/yr", f"{a}_{b}", "sink", total)
        )
    return [quantity for quantity in found if quantity.columns()[0] in material.stands.columns]


def section(material: Material) -> str:
    """Directions in words, the map of stands and their table."""
    quantities = quantities_of(material)
    rows = material.by_area.iloc[:MOST_ROWS]
    views = views_of(quantities, material)
    return render(
        TEMPLATE,
        found=len(material.stands),
        shown=len(rows),
        confidence=material.confidence,
        directions=[
            one for years in _directed(material)
            for one in (direction_sentence(material.stands, *years, material.study), stocks_sentence(material.stands, *years))
            if one
        ]
        + identified_sentences(material.stands, quantities, _stock_column(material)),
        extrapolated=extrapolated_sentences(material),
        views=[_view(one, rows, letter) for one, letter in zip(views, "ab", strict=False)],
        frame=material.frame,
        ranks=_ranks(rows, views[-1], quantities) if views else "",
        ranked=views[-1] if views else None,
        shapes=_shapes(rows, quantities, views, material),
        heads=_heads(rows, quantities, material),
        rows=_rows(rows, quantities, material),
        strata=_has_strata(rows),
        sinks=any(one.kind == "sink" for one in quantities),
        saturated=SATURATED if any((rows.get(f"direction_{a}_{b}") == SATURATED).any() for a, b in _directed(material)) else "",
        without=_without_total(material),
        least=material.study["min_cover_percent"],
        scale=material.frame.scale_bar(),
    )


def extrapolated_sentences(material: Material) -> list[str]:
    """Per target: how much of the last year's forest the stands' numbers extrapolate to, where that is much."""
    last, found = material.years[-1], []
    for target in material.study["targets"]:
        if told := words.extrapolated(material.outside_percent(target, last, last)):
            column = f"in_domain_percent_{last}"
            where = " The last column of the table says of which stands." if column in material.stands else ""
            found.append(f"{TARGETS[target]['title']} {last}: {told}{where}")
    return found


def views_of(quantities: Sequence[Quantity], material: Material) -> list[Quantity]:
    """What the map can be coloured by: a stock of the last year, and the sink."""
    stocks = [one for one in quantities if one.kind == "stock" and one.suffix == f"{material.years[-1]}"]
    return [*stocks[:1], *[one for one in quantities if one.kind == "sink"]]


def _stock_column(material: Material) -> str | None:
    return TARGETS[material.stock_target]["column"] if material.stock_target else None


def _directed(material: Material) -> list[tuple[int, int]]:
    return [(a, b) for a, b in material.spans if f"direction_{a}_{b}" in material.stands.columns]


def direction_sentence(stands: pd.DataFrame, first: int, last: int, study: dict) -> str:
    """How many stands are distinguishable from zero, and how many chance alone would flag."""
    counts = directions_in(stands, first, last)
    sinks, sources, neither, silent = (counts.get(name, 0) for name in (*SURE, UNSURE, SATURATED))
    judged = sinks + sources + neither
    dense = f" {silent} more hold forest too dense for the map: it alone tells no change there." if silent else ""
    if judged == 0:
        return f"{first} to {last}: no stand has an estimate of its net removal.{dense}"
    side = (100 - study["model"]["confidence_percent"]) / 2
    by_chance = words.number(judged * side / 100, digits=2)
    told = "is" if sinks == 1 else "are"
    return (
        f"{first} to {last}: of {judged} stands with an estimate, {sinks} {told} flagged as sinks, {sources} as sources, "
        f"and {neither} cannot be told from zero. Had no stand changed, chance alone would still flag about "
        f"{by_chance} of {judged} as sinks and about {by_chance} as sources ({side:g} % on each side).{dense}"
    )


APART_T_CO2_HA_YR = 1.0
"""Stocks and net removal that differ by more are counted."""


def stocks_sentence(stands: pd.DataFrame, first: int, last: int) -> str:
    """Why the net removal of a stand is not the difference of its two stocks, and in how many stands it shows; empty where it
    is everywhere."""
    suffix = f"{first}_{last}"
    by_stocks, reported = stands.get(f"{STOCKS_APART}_{suffix}"), stands.get(f"reported_net_removal_t_co2_ha_yr_{suffix}")
    if by_stocks is None or reported is None:
        return ""
    both = by_stocks.notna() & reported.notna()
    apart = int(((by_stocks - reported)[both].abs() > APART_T_CO2_HA_YR).sum())
    otherwise = int(stands[f"{STOCKS_DISAGREE}_{suffix}"].sum())
    beyond = int(stands[f"{STOCKS_BEYOND}_{suffix}"].sum()) if f"{STOCKS_BEYOND}_{suffix}" in stands else 0
    if not apart and not otherwise:
        return ""
    contradicted = (
        f" In {beyond} they are farther apart than the errors of both explain ({STOCKS_BEYOND} in the tables): chance hardly "
        "makes that, so look at these first."
        if beyond else " In none are they farther apart than the errors of both explain."
    )  # fmt: skip
    return (
        f"Net removal {words.span(first, last)} is estimated as a change of its own, from what sees a stand at both dates and "
        "from plots measured twice, while each stock takes the best of its own date. So the difference of a stand's two stocks "
        f"need not be its net removal: in {apart} of {int(both.sum())} stands it is off by more than {APART_T_CO2_HA_YR:g} t "
        f"CO2/ha/yr, and in {otherwise} it has the other sign (marked {OTHERWISE}).{contradicted} For change take the net "
        "removal: errors that both dates share are out of it."
    )


def identified_sentences(stands: pd.DataFrame, quantities: Sequence[Quantity], stock_column: str | None) -> list[str]:
    """Of the latest stock and the latest change: in how many stands the plots do not identify how far residuals reach."""
    found = []
    for quantity in reversed(quantities):
        name = stock_column if quantity.name == "tree_carbon_t_ha" else quantity.name
        column = f"{IDENTIFIED}_{name}_{quantity.suffix}"
        if column not in stands or any(quantity.kind == kind for kind, _ in found):
            continue
        told = stands[quantity.columns()[0]].notna()
        doubtful = int((told & ~stands[column].astype(bool)).sum())
        if doubtful:
            found.append((quantity.kind, f"{quantity.title} in {doubtful} of {int(told.sum())} stands"))
    if not found:
        return []
    return [
        f"How far residuals reach, on which the width of intervals rests, is not identified by the plots: "
        f"{' and '.join(said for _, said in reversed(found))} ({IDENTIFIED} in the tables is false). Their intervals are means "
        "over all that the plots allow, and mostly wider than need be; the section on the model says what would help."
    ]


OTHERWISE = "\u2260"
"""Mark of a net removal whose stocks have the other sign."""


def _without_total(material: Material) -> int:
    last = material.years[-1]
    column = f"cover_percent_{last}"
    if column not in material.stands:
        return 0
    return int((~(material.stands[column] >= material.study["min_cover_percent"])).sum())


def _has_strata(rows: pd.DataFrame) -> bool:
    return "stratum" in rows and bool(rows["stratum"].notna().any())


# ---------------------------------------------------------------- the map


def _view(quantity: Quantity, rows: pd.DataFrame, letter: str) -> dict:
    values = _values(quantity, rows)
    ramp, breaks = scale_of(values[np.isfinite(values)], quantity.kind)
    ticks = ticks_of(values[np.isfinite(values)], breaks, quantity.kind)
    missing = bool(np.isnan(values).any())
    legend = render(LEGEND, view=letter, ramp=ramp, ticks=ticks, units=quantity.units, swatches=(), missing=missing)
    return {"letter": letter, "title": quantity.title, "legend": legend}


def _values(quantity: Quantity, rows: pd.DataFrame) -> np.ndarray:
    return rows[quantity.columns()[0]].to_numpy(float)


def _shapes(
    rows: pd.DataFrame, quantities: Sequence[Quantity], views: Sequence[Quantity], material: Material
) -> list[dict]:
    fills = []
    for one in views:
        values = _values(one, rows)
        ramp, breaks = scale_of(values[np.isfinite(values)], one.kind)
        fills.append([_fill(value, ramp, breaks) for value in values])
    return [
        {
            "row": number,
            "path": material.frame.path(row.geometry),
            "style": ";".join(f"--{letter}:{fill[number]}" for letter, fill in zip("ab", fills, strict=False)),
            "title": _said(row, quantities),
        }
        for number, row in enumerate(rows.itertuples(index=False))
    ]


def _ranks(rows: pd.DataFrame, quantity: Quantity, quantities: Sequence[Quantity]) -> str:
    """All stands of the table with their intervals, in rising order."""
    mean, _, low, high = (rows[name].to_numpy(float) for name in quantity.columns())
    directions = rows.get(f"direction_{quantity.suffix}", pd.Series("", index=rows.index))
    labels = [_said(row, quantities) for row in rows.itertuples(index=False)]
    series = Series("stands in rising order", "", mean, mean, low, high, labels)
    colours = [DIRECTION_COLOURS.get(str(direction), NEUTRAL_COLOUR) for direction in directions]
    return trusted(
        ranked(series, colours, x_title=f"{quantity.title} ({quantity.units})", limits=_limits(quantity, rows))
    )


def _fill(value: float, ramp: Sequence[str], breaks: Sequence[float]) -> str:
    if not np.isfinite(value):
        return "url(#missing)"
    return ramp_colour(ramp, (value - breaks[0]) / (breaks[-1] - breaks[0]))


def _said(row: tuple, quantities: Sequence[Quantity]) -> str:
    """What the map says of a stand, one line per quantity."""
    stratum = getattr(row, "stratum", None)
    lines = [f"Stand {row.stand}{f' ({stratum})' if isinstance(stratum, str) else ''}, {words.number(row.area_ha)} ha"]
    for one in quantities:
        mean, se, low, high = (getattr(row, name, np.nan) for name in one.columns())
        lines.append(f"{one.title}: {estimate(mean, se, low, high, one)} {one.units}")
        if one.kind == "sink":
            lines.append(f"Direction: {getattr(row, f'direction_{one.suffix}', 'no estimate')}")
    return "\n".join(lines)


def estimate(mean: float, se: float, low: float, high: float, quantity: Quantity) -> str:
    """An estimate with its interval, rounded by its standard error."""
    if not np.isfinite(mean):
        return "no estimate"
    signed = quantity.kind == "sink"
    parts = [words.number(value, error=se, signed=signed) for value in (mean, low, high)]
    return f"{parts[0]} ({parts[1]} to {parts[2]})"


# ---------------------------------------------------------------- the table


def _heads(rows: pd.DataFrame, quantities: Sequence[Quantity], material: Material) -> list[tuple[str, str, bool]]:
    """Title, unit and whether it is a number, per column."""
    heads = [("Stand", "", False)]
    heads += [("Stratum", "", False)] if _has_strata(rows) else []
    heads.append(("Area", "ha", True))
    for one in quantities:
        heads.append((one.title, f"{one.units} ({material.confidence} interval)", True))
        if one.total:
            heads.append(("In total", one.total[1], True))
        if one.kind == "sink":
            heads.append(("Direction", "", False))
    last = material.years[-1]
    shares = (
        (f"forest_percent_{last}", "Forest"),
        (f"cover_percent_{last}", "Covered"),
        (f"in_domain_percent_{last}", "Within plots' reach"),
    )
    return heads + [(title, "%", True) for column, title in shares if column in rows]


def _rows(rows: pd.DataFrame, quantities: Sequence[Quantity], material: Material) -> list[dict]:
    limits = {one.title: _limits(one, rows) for one in quantities}
    strata, last = _has_strata(rows), material.years[-1]
    shares = [f"{name}_{last}" for name in ("forest_percent", "cover_percent", "in_domain_percent")]
    found = []
    for number, row in enumerate(rows.to_dict("records")):
        cells = [{"text": row["stand"], "key": None}]
        if strata:
            cells.append({"text": row["stratum"] if isinstance(row["stratum"], str) else words.MISSING, "key": None})
        cells.append(_number_cell(row["area_ha"], words.number(row["area_ha"])))
        direction = "no estimate"
        for one in quantities:
            cells += _quantity_cells(one, row, limits[one.title])
            if one.kind == "sink":
                direction = row.get(f"direction_{one.suffix}", direction)
                shown = direction.removesuffix(" from zero").partition(":")[0]
                cells.append({"text": shown, "key": None, "kind": f"w is-{shown.split()[0]}"})
        cells += [_number_cell(row[name], words.count(row[name])) for name in shares if name in row]
        about = f"{row['stand']} {row['stratum'] if strata else ''} {direction}".lower()
        found.append({"number": number, "cells": cells, "words": about, "direction": direction})
    return found


def _number_cell(value: float, text: str, bar: str = "") -> dict:
    key = f"{value:.6g}" if words.known(float(value)) else ""
    return {"text": text, "key": key, "bar": trusted(bar)}


def _quantity_cells(one: Quantity, row: dict, limits: tuple[float, float]) -> list[dict]:
    mean, se, low, high = (float(row.get(name, np.nan)) for name in one.columns())
    mark = f"{OTHERWISE} " if one.kind == "sink" and row.get(f"{STOCKS_DISAGREE}_{one.suffix}") else ""
    cells = [_number_cell(mean, mark + estimate(mean, se, low, high, one), interval_bar(mean, low, high, limits))]
    if one.total:
        total = row.get(one.total[0], np.nan)
        text = words.number(total, error=se * row["area_ha"], signed=one.kind == "sink")
        cells.append(_number_cell(total, text if words.known(float(total)) else "no total"))
    return cells


def _limits(one: Quantity, rows: pd.DataFrame) -> tuple[float, float]:
    """Common limits of a column's bars."""
    _, _, low, high = (
        rows[name].to_numpy(float) if name in rows else np.full(len(rows), np.nan) for name in one.columns()
    )
    return axis_of(low, high)


TEMPLATE = """
{% for sentence in directions %}<p>{{ sentence }}</p>{% endfor %}
{% for sentence in extrapolated %}<p class="warning">{{ sentence }}</p>{% endfor %}
{% if without %}<p class="warning">{{ without }} of {{ found }} stands are covered by estimates to less than
{{ "%g"|format(least) }} % and have no total.</p>{% endif %}
{% if shown < found %}<p>Map and table show the {{ shown }} largest of {{ found }} stands; all are in stands.gpkg and
stands.parquet.</p>{% endif %}
{% if views %}
<div class="standmap">
{% for view in views %}
<input type="radio" name="view" id="view-{{ view.letter }}"{% if loop.first %} checked{% endif %}>
{% endfor %}
{% if views|length > 1 %}<div class="switch">
{% for view in views %}<label class="{{ view.letter }}"
for="view-{{ view.letter }}">{{ view.title }}</label>{% endfor %}
</div>{% endif %}
{% for view in views %}{{ view.legend }}{% endfor %}
<div class="map" style="{{ frame.limit }}"><svg
viewBox="{{ frame.view }}" role="img" aria-label="Map of stands; their values are in the table">
<g>{% for shape in shapes %}
<path class="stand" data-row="{{ shape.row }}" style="{{ shape.style }}"
d="{{ shape.path }}"><title>{{ shape.title }}</title></path>
{% endfor %}</g></svg>
<span class="bar" style="width:{{ "%.2f"|format(scale[1]) }}%">{{ scale[0] }}</span></div>
<div class="beside">
<div class="said" id="said">Point at a stand or tap it: its values appear here and its row is marked.</div>
<figure class="ranks"><figcaption>Every stand with its {{ confidence }} interval, in rising order</figcaption>
{% if ranked.kind == "sink" %}<div class="legend"><span class="swatch"><i class="dot"
style="background:#35938a"></i>sink</span>
<span class="swatch"><i class="dot" style="background:#a8691f"></i>source</span>
<span class="swatch"><i class="dot" style="background:#8b9691"></i>not distinguishable from
zero</span></div>{% endif %}
{{ ranks }}</figure></div>
</div>
{% endif %}
<div class="filters"><label>Find <input id="filter-words" type="search"
placeholder="stand{% if strata %} or stratum{% endif %}"></label>
{% if sinks %}<label>Direction <select id="filter-direction"><option value="">all</option><option>sink</option>
<option>source</option><option>not distinguishable from zero</option>{% if saturated %}<option>{{ saturated }}</option>{% endif %}
<option>no estimate</option></select></label>{% endif %}
<span id="rows-shown"></span></div>
<div class="scroll tall"><table id="stands-table"><thead><tr>
{% for title, units, is_number in heads %}<th{% if is_number %} class="n"{% endif %}>{{ title }}
{% if units %}<br><span class="unit">{{ units }}</span>{% endif %}</th>{% endfor %}
</tr></thead><tbody>
{% for row in rows %}
<tr data-row="{{ row.number }}" data-words="{{ row.words }}" data-direction="{{ row.direction }}">
{% for cell in row.cells %}
{% if cell.key is none %}<td{% if cell.kind is defined %} class="{{ cell.kind }}"{% endif %}>{{ cell.text }}</td>
{% else %}<td class="n" data-v="{{ cell.key }}">{{ cell.text }}{{ cell.bar }}</td>{% endif %}
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""
