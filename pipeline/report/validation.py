"""How well plots are predicted by models that have not seen them, by what is left out with them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from pipeline.report import words
from pipeline.report.look import render, trusted
from pipeline.report.material import Material
from pipeline.report.styles import SET_COLOURS

HONEST = "map"
"""The scheme whose scores speak of the map: the row that is set in bold, and whose folds are drawn."""


def validation_block(name: str, material: Material, units: str) -> object:
    """The table of schemes and the map of folds of one target."""
    found = material.validation[name]
    rows = [_row(one, found["schemes"]) for one in found["scores"]]
    return trusted(
        render(
            VALIDATION, rows=rows, units=units, folds=_fold_map(name, material), view=material.frame.view,
            scale=material.frame.scale_bar(), confidence=f"{found['confidence_percent']:g} %",
        )
    )  # fmt: skip


def _row(one: Mapping, titles: Mapping) -> dict:
    about = {"set": one["set_name"], "title": titles[one["scheme"]], "folds": one["folds"], "why": None}
    about["bold"] = one["scheme"] == HONEST
    if "rmse" not in one:
        return about | {"why": one["why"]}
    last = one["by_prediction"][-1]
    return about | {
        "rmse": f"{words.number(one['rmse_percent'], digits=2)} %",
        "bias": f"{one['bias_percent']:+.1f} %".replace("-", words.MINUS),
        "r2": _plain(one["r2"]),
        "slope": _plain(one["calibration_slope"]),
        "coverage": f"{one['coverage_percent']:.0f} %",
        "crps": words.number(one["crps"], digits=2),
        "highest": words.number(last["bias"], digits=2, signed=True),
    }


def _plain(value: float | None) -> str:
    return words.MISSING if not words.known(value) else f"{value:.2f}".replace("-", words.MINUS)


def _fold_map(name: str, material: Material) -> dict | None:
    """Plots of the first predictor set coloured by their fold of the scheme that speaks of the map."""
    table = material.validated[name]
    table = table[table["scheme"] == HONEST]
    if table.empty:
        return None
    first = table["set_name"].iloc[0]
    places = table[table["set_name"] == first].drop_duplicates("plot").sort_values("plot")
    return {"name": first, "count": int(places["fold"].nunique()), "plots": [_spot(row, material) for row in places.itertuples()]}


def _spot(row, material: Material) -> dict:
    across, down = material.frame.place(row.x, row.y)
    colour = SET_COLOURS[row.fold % len(SET_COLOURS)] if pd.notna(row.predicted) else "#666"
    return {"x": f"{across:.1f}", "y": f"{down:.1f}", "colour": colour, "title": f"plot {row.plot}: fold {row.fold + 1}"}


VALIDATION = """
<h3>Plots that the model has not seen, by what is left out with them</h3>
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Left out</th><th class="n">Folds</th><th class="n">RMSE</th>
<th class="n">Bias</th><th class="n">R²</th><th class="n">Calibration slope</th>
<th class="n">Inside the {{ confidence }} interval</th>
<th class="n">CRPS ({{ units }})</th><th class="n">Bias of the highest ({{ units }})</th>
</tr></thead><tbody>
{% for row in rows %}
<tr{% if row.bold %} style="font-weight:600"{% endif %}><td>{{ row.set }}</td>
<td>{{ row.title }}</td><td class="n">{{ row.folds }}</td>
{% if row.why %}<td colspan="7">{{ row.why }}</td>{% else %}
<td class="n">{{ row.rmse }}</td><td class="n">{{ row.bias }}</td><td class="n">{{ row.r2 }}</td>
<td class="n">{{ row.slope }}</td>
<td class="n">{{ row.coverage }}</td><td class="n">{{ row.crps }}</td><td class="n">{{ row.highest }}</td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
<p class="note">Standardisation, fit, back-transformation and the spread of residuals are made anew in every fold; clusters stay
whole but in the first row of a set. The row in bold speaks of the map: its folds lie as far from their training plots as
the stands lie from all plots. A slope below 1 exaggerates differences; a bias of the highest predictions (their last tenth,
or third of fewer than 100) far below zero is saturation. CRPS is the error of the whole predicted distribution.</p>
{% if folds %}
<div class="charts"><figure><figcaption>Folds of the row in bold ({{ folds.name }})</figcaption>
<div class="map"><svg viewBox="{{ view }}" role="img" aria-label="Map of folds"><use href="#outlines" class="outline"/>
{% for one in folds.plots %}
<circle cx="{{ one.x }}" cy="{{ one.y }}" r="13" fill="{{ one.colour }}" stroke="#111" stroke-width="2">
<title>{{ one.title }}</title></circle>
{% endfor %}
</svg><span class="bar" style="width:{{ "%.2f"|format(scale[1]) }}%">{{ scale[0] }}</span></div>
<span class="unit">{{ folds["count"] }} folds; plots of one colour that lie together are left out together</span>
</figure></div>
{% endif %}
"""
