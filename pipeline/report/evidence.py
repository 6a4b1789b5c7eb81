"""The sections that hold our numbers against others: the planted truth, maps made by others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
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
    stands = pd.DataFrame(truth["stands"], columns=["stand", "estimand", "truth", "mean", "low", "high", "covered"])
    return render(
        TRUTH,
        confidence=material.confidence,
        rows=[_truth_row(row) for row in truth["summary"]],
        charts=[_truth_chart(name, rows) for name, rows in stands.groupby("estimand", sort=True)],
        inside=INSIDE_COLOUR,
        outside=OUTSIDE_COLOUR,
    )


def _truth_row(row: Mapping) -> dict:
    title, units = words.estimand(row["estimand"])
    low, high, mean, true = (row[f"project_{name}"] for name in ("low", "high", "mean", "truth"))
    joined = row.get("composites_n", 0)
    width = (high - low) / 4 if None not in (low, high) else None
    mean, shown_low, shown_high = (words.number(value, error=width) for value in (mean, low, high))
    return {
        "title": title,
        "n": row["n"],
        "bias": f"{words.number(row['bias_percent'], digits=2, signed=True)} %",
        "coverage": f"{words.number(row['coverage_percent'], digits=2)} %",
        "composites": f"{words.number(row['composites_coverage_percent'], digits=2)} % of {joined}" if joined else "none",
        "truth": f"{words.number(true, error=width)} {units}",
        "mean": f"{mean} ({shown_low} to {shown_high}) {units}",
        "inside": "yes" if None not in (low, high, true) and low <= true <= high else "no",
    }


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
<div class="scroll"><table><thead><tr><th>Estimate</th><th class="n">Project, planted</th>
<th class="n">Project, estimated ({{ confidence }} interval)</th><th>Interval holds it</th><th class="n">Stands</th>
<th class="n">Bias over stands</th><th class="n">Stands whose interval holds the truth</th>
<th class="n">Composites whose interval does</th></tr></thead><tbody>
{% for row in rows %}
<tr><td>{{ row.title }}</td><td class="n">{{ row.truth }}</td><td
class="n">{{ row.mean }}</td><td>{{ row.inside }}</td>
<td class="n">{{ row.n }}</td><td class="n">{{ row.bias }}</td><td class="n">{{ row.coverage }}</td>
<td class="n">{{ row.composites }}</td></tr>
{% endfor %}
</tbody></table></div>
<div class="legend"><span class="swatch"><i class="dot" style="background:{{ inside }}"></i>interval holds the
truth</span>
<span class="swatch"><i class="dot" style="background:{{ outside }}"></i>interval misses it</span>
<span class="unit">one point per stand, bar: {{ confidence }} interval, dashed: equal</span></div>
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
