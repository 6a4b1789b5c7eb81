"""The sections that hold our numbers against others: the planted truth, maps made by others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import MODEL_ESTIMATORS
from pipeline.report import words
from pipeline.report.figures import Series, density, observed_against_predicted
from pipeline.report.look import render, trusted
from pipeline.report.material import Material

INSIDE_COLOUR, OUTSIDE_COLOUR = "#33658a", "#d1620a"
MOST_POINTS = 1500
"""Above this many points a chart shows counts, or a regular sample where points carry intervals."""


# ---------------------------------------------------------------- the planted truth


def truth_section(material: Material) -> str:
    """Planted truth beside estimates; empty where nothing was planted."""
    truth = material.checks.get("truth")
    if not truth:
        return ""
    columns = ["stand", "estimand", "truth", "mean", "low", "high", "covered"]
    stands = pd.DataFrame(truth.get("reported_stands") or truth["stands"], columns=columns)
    return render(
        TRUTH,
        confidence=material.confidence,
        project=_project_rows(truth.get("project") or []),
        rows=[_truth_row(row) for row in truth["summary"]],
        charts=[_truth_chart(name, rows) for name, rows in stands.groupby("estimand", sort=True)],
        in_how_many=100 / (100 - material.study["model"]["confidence_percent"]),
        inside=INSIDE_COLOUR,
        outside=OUTSIDE_COLOUR,
    )


def _project_rows(found: Sequence[Mapping]) -> list[dict]:
    """The project's planted truth with what is reported and what the model alone says, in the units that are quoted."""
    rows = pd.DataFrame(found)
    told = []
    for (name, first, last), mine in rows.groupby(["quantity", "first_year", "last_year"], sort=False) if len(rows) else ():
        reported, model = mine[mine["reported"]], mine[mine["estimator"] == MODEL_ESTIMATORS[0]]
        if reported.empty:
            continue
        one, signed = reported.iloc[0], name == "net_removal_t_co2_ha_yr"
        told.append(
            {
                "title": f"{words.quantity(name)[0]}, {words.span(first, last)} ({one['units']})",
                "truth": words.number(one["truth"], error=one["se"], signed=signed),
                "estimator": one["estimator"].replace("_", " "), "reported": _held(one, signed=signed),
                "model": _held(model.iloc[0], signed=signed) if len(model) else None,
                "others": f"{int(mine['covered'].sum())} of {len(mine)}",
            }
        )  # fmt: skip
    return told


def _held(row: pd.Series, *, signed: bool) -> dict:
    """An estimate with its interval, and whether it holds the truth."""
    mean, low, high = (words.number(row[name], error=row["se"], signed=signed) for name in ("mean", "low", "high"))
    return {"text": f"{mean} ({low} to {high})", "holds": bool(row["covered"])}


def _truth_row(row: Mapping) -> dict:
    title, _ = words.estimand(row["estimand"])

    def of_stands(kind: str) -> dict:
        count = row.get(f"{kind}n", 0)
        if not count:
            return {"n": 0, "bias": words.MISSING, "coverage": words.MISSING}
        bias, coverage = row[f"{kind}bias_percent"], row[f"{kind}coverage_percent"]
        return {
            "n": count, "bias": f"{words.number(bias, digits=2, signed=True)} %",
            "coverage": f"{words.number(coverage, digits=2)} %",
        }  # fmt: skip

    return {"title": title, "kinds": [of_stands(kind) for kind in ("reported_", "", "composites_")]}


def _truth_chart(name: str, rows: pd.DataFrame) -> dict:
    title, units = words.estimand(name)
    every = max(-(-len(rows) // MOST_POINTS), 1)
    drawn = rows.iloc[::every]
    series = []
    for covered, colour, said in ((True, INSIDE_COLOUR, "holds it"), (False, OUTSIDE_COLOUR, "misses it")):
        part = drawn[drawn["covered"].astype(bool) == covered]
        true, mean, low, high = (part[column].to_numpy(float) for column in ("truth", "mean", "low", "high"))
        labels = [
            f"stand {row.stand}: planted {words.number(row.truth)}, estimated {words.number(row.mean)} "
            f"({words.number(row.low)} to {words.number(row.high)}) {units}"
            for row in part.itertuples()
        ]
        series.append(Series(said, colour, true, mean, low, high, labels))
    chart = observed_against_predicted(series, x_title=f"Planted truth ({units})", y_title=f"Estimated ({units})")
    return {"title": title, "svg": trusted(chart), "drawn": len(drawn), "found": len(rows)}


# ---------------------------------------------------------------- maps made by others


def comparison_section(material: Material) -> str:
    """Our map beside maps made by others; empty where the study names none."""
    comparisons = material.checks.get("comparisons") or []
    return render(COMPARISON, comparisons=[_comparison(one) for one in comparisons]) if comparisons else ""


def _comparison(one: Mapping) -> dict:
    about = TARGETS[one["target"]]
    units = one.get("units") or about["units"]
    cells = np.array(one["cells"], float).reshape(-1, 2)
    ours, theirs = f"Our map ({units})", f"Their map ({units})"
    chart = ""
    if len(cells) > MOST_POINTS:
        chart = density(cells[:, 1], cells[:, 0], x_title=theirs, y_title=ours)
    elif len(cells):
        points = Series("cells", INSIDE_COLOUR, cells[:, 1], cells[:, 0])
        chart = observed_against_predicted([points], x_title=theirs, y_title=ours)
    inside = one["inside_interval_percent"]
    return {
        "name": one["name"],
        "about": one["about"],
        "title": f"{about['title']} {one['year']}",
        "facts": [
            ("cells compared", words.count(one["n"])),
            ("mean of our map", f"{words.number(one['our_mean'])} {units}"),
            ("mean of theirs", f"{words.number(one['their_mean'])} {units}"),
            ("bias (ours less theirs)", f"{words.number(one['bias'], digits=2, signed=True)} {units}"),
            ("root mean square difference", f"{words.number(one['rmse'])} {units}"),
            ("correlation", words.number(one["correlation"], digits=2)),
            ("our cells inside their interval", "they give none" if inside is None else f"{words.number(inside)} %"),
        ],
        "svg": trusted(chart),
        "drawn": len(cells),
    }


TRUTH = """
<p>The forest of this study is planted: its true biomass is known, and only the check step reads it. One planted
forest shows
how the intervals look; whether they hold what they promise is judged over many, since all stands of one forest share
the same
plots and so the same luck.</p>
{% if project %}<h3>All stands together</h3>
<div class="scroll"><table><thead><tr><th>Quantity</th><th class="n">Planted</th>
<th class="n">Reported ({{ confidence }} interval)</th><th>by</th><th>Holds the truth</th>
<th class="n">The model alone</th><th>Holds the truth</th><th class="n">Estimators whose interval does</th></tr></thead><tbody>
{% for row in project %}
<tr><td>{{ row.title }}</td><td class="n">{{ row.truth }}</td><td class="n"><b>{{ row.reported.text }}</b></td>
<td class="w">{{ row.estimator }}</td><td class="{{ "holds" if row.reported.holds else "is-source" }}">{{ "yes" if
row.reported.holds else "no" }}</td>
<td class="n">{{ row.model.text if row.model else "" }}</td><td{% if row.model %} class="{{ "holds" if row.model.holds
else "is-source" }}"{% endif %}>{% if row.model %}{{ "yes" if row.model.holds else "no" }}{% endif %}</td>
<td class="n">{{ row.others }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">Carbon is the planted biomass times the study's own factors. An interval at {{ confidence }} misses the truth of
one forest in {{ "%.0f"|format(in_how_many) }} where all is well; plots are the same in all rows, so that a miss in one is often
one in others.</p>{% endif %}
<h3>Stand by stand</h3>
<div class="scroll"><table><thead><tr><th rowspan="2">Estimate</th>
{% for kind in ("As reported", "The model alone", "Composites") %}<th colspan="3">{{ kind }}</th>{% endfor %}</tr><tr>
{% for kind in range(3) %}<th class="n">Stands</th><th class="n">Bias</th><th class="n">Intervals that hold the
truth</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}
<tr><td>{{ row.title }}</td>
{% for one in row.kinds %}<td class="n">{{ one.n }}</td><td class="n">{{ one.bias }}</td><td class="n">{{ one.coverage }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<div class="legend"><span class="swatch"><i class="dot" style="background:{{ inside }}"></i>interval holds the
truth</span>
<span class="swatch"><i class="dot" style="background:{{ outside }}"></i>interval misses it</span>
<span class="unit">one point per stand as reported, bar: {{ confidence }} interval, dashed: equal</span></div>
<div class="charts">
{% for chart in charts %}
<figure><figcaption>{{ chart.title }}
{% if chart.drawn < chart.found %}<span class="unit">every {{ chart.found // chart.drawn }}th of {{ chart.found }}
stands
</span>{% endif %}</figcaption>{{ chart.svg }}</figure>
{% endfor %}
</div>
"""

COMPARISON = """
<p>A map made by others is not the truth either; what counts is where both agree and why they differ. Our map is
averaged onto
the cells of theirs.</p>
{% for one in comparisons %}
<h3>{{ one.title }} against {{ one.name }}</h3>
{% if one.about %}<p>{{ one.about }}</p>{% endif %}
<div class="charts">
<figure>{{ one.svg }}{% if one.drawn %}<span class="unit">{{ one.drawn }} cells, dashed:
equal</span>{% endif %}</figure>
<div class="scroll"><table><tbody>
{% for name, value in one.facts %}<tr><td>{{ name }}</td><td class="n">{{ value }}</td></tr>{% endfor %}
</tbody></table></div>
</div>
{% endfor %}
"""
