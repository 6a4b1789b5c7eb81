"""The sections that let a reader judge the numbers: the model, its errors, the planted truth, maps made by others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
from pipeline.report import words
from pipeline.report.figures import Series, density, observed_against_predicted, residuals
from pipeline.report.look import render, trusted
from pipeline.report.maps import LEGEND, scale_of, ticks_of
from pipeline.report.material import Material
from pipeline.report.styles import SET_COLOURS, ramp_colour
from pipeline.report.validation import validation_block

INSIDE_COLOUR, OUTSIDE_COLOUR = "#33658a", "#d1620a"
PARTS = (
    ("sampling_variance", "which plots were sampled", "#33658a"),
    ("shared_variance", "errors all plots share", "#e3a53a"),
    ("residual_variance", "what the model leaves unexplained", "#9aa5a0"),
)
MOST_POINTS = 1500
"""Above this many points a chart shows counts, or a regular sample where points carry intervals."""


# ---------------------------------------------------------------- the model


def model_section(material: Material) -> str:
    """Scores, charts, residuals on the map and variance parts, per target."""
    return render(
        MODEL,
        targets=[_target(name, material) for name in material.models],
        parts=PARTS,
        view=material.frame.view,
        limit=material.frame.limit,
        scale=material.frame.scale_bar(),
        confidence=material.confidence,
    )


def _target(name: str, material: Material) -> dict:
    model, about = material.models[name], TARGETS[name]
    units, left_out = about["units"], material.left_out[name]
    return {
        "title": about["title"],
        "units": units,
        "intro": _fitted_sentence(model),
        "sets": [_set_row(one, units) for one in model["sets"]],
        "structures": [row for one in model["sets"] for row in _structure_rows(one)],
        "charts": [_set_charts(one, left_out, units) for one in model["sets"]],
        "plots": _plot_map(name, material, units),
        "variances": _variance_rows(name, material, units),
        "shared": bool(model["shared"]),
        "validation": validation_block(name, material, units),
        "warnings": list(model["warnings"]),
    }


TRANSFORMS = {"none": "", "sqrt": " on the square-root scale", "log": " on the logarithmic scale"}


def _fitted_sentence(model: Mapping) -> str:
    cells = model.get("blocks")
    joined = f"; where a set learned from cells, joined with those of their {cells} blocks" if cells else ""
    counts, scale = model["counts"], TRANSFORMS.get(model["transform"], f" (transform {model['transform']})")
    return (
        f"{counts['rows']} measurements of {counts['plots']} plots in {counts['clusters']} clusters; "
        f"regressor {model['regressor']}{scale}. Intervals use Student's t with {max(model['clusters'] - 1, 1)} "
        "degrees of freedom, one less than the clusters of the smallest predictor set"
        f"{joined}."
    )


def _set_row(one: Mapping, units: str) -> dict:
    scores = one["scores"]
    return {
        "name": one["name"],
        "regressor": _chosen(one["machine"]),
        "choice": _choice_rows(one["machine"]),
        "predictors": ", ".join(one["predictors"]),
        "fitted_to": _fitted_to(one, units),
        "dates": "one level per year" if len(one["dates"]) > 1 else "one level for all years",
        "n": scores["n"],
        "rmse": f"{words.number(scores['rmse'])} {units} ({words.number(scores['rmse_percent'], digits=2)} %)",
        "bias": f"{words.number(scores['bias'], digits=2, signed=True)} {units} "
        f"({words.number(scores['bias_percent'], digits=2, signed=True)} %)",
        "r2": "–" if scores["r2"] is None else f"{scores['r2']:.2f}".replace("-", words.MINUS),
    }


def _fitted_to(one: Mapping, units: str) -> str:
    """Whether a set was fitted to plots or to what another set predicts, and how both paths predict plots left out."""
    stage = one.get("second_stage")
    if stage is None:
        return "plots"
    told = f"what {stage['first_set']} predicts at {len(set(one['sample']['plot']))} cells in {len(stage['refits'])} blocks"
    if "rmse_direct" in stage["compared"]:
        told += f"; fitted to plots, its RMSE is {words.number(stage['compared']['rmse_direct'])} {units}"
    return told


def _chosen(machine: Mapping) -> str:
    """Name of a set's regressor; of `default` and `auto` the one that they stand for."""
    return _chosen(machine["inner"]) if "inner" in machine else machine["name"]


def _choice_rows(machine: Mapping) -> list[dict]:
    """What `auto` has compared, the best first."""
    table = sorted(machine.get("table", ()), key=lambda row: row.get("rmse_percent", np.inf))
    return [
        {"name": row["regressor"], "why": row["why"], "bold": False} if "why" in row
        else {
            "name": row["regressor"], "why": "", "bold": row["regressor"] == _chosen(machine),
            "rmse": f"{words.number(row['rmse_percent'], digits=3)} %",
            "bias": f"{row['bias_percent']:+.1f} %".replace("-", words.MINUS),
            "r2": f"{row['r2']:.2f}".replace("-", words.MINUS),
        }
        for row in table
    ]  # fmt: skip


def _structure_rows(one: Mapping) -> list[dict]:
    """How residuals hang together in space: at one date, and where there are several, of their change."""
    residual = one["residuals"]
    kinds = [("one date", residual["level"])]
    if len(one["dates"]) > 1:
        kinds.append(("change between dates", residual["change"]))
    return [
        {
            "name": one["name"],
            "of": of,
            "range": f"{words.number(structure['range_m'], digits=2)} m",
            "nugget": f"{100 * structure['nugget']:.0f} %",
            "identified": "yes" if structure["identified"] else "no: a cautious value",
            "between": f"{residual['between_dates']:.2f}" if len(one["dates"]) > 1 else words.MISSING,
        }
        for of, structure in kinds
    ]


def _set_charts(one: Mapping, left_out: pd.DataFrame, units: str) -> dict:
    rows = left_out[left_out["set_name"] == one["name"]]
    years = sorted(rows["year"].unique())
    groups = [
        (f"{year}", SET_COLOURS[n % len(SET_COLOURS)], rows[rows["year"] == year]) for n, year in enumerate(years)
    ]
    against, about_zero = [], []
    for name, colour, part in groups:
        observed, predicted = part["observed"].to_numpy(float), part["predicted"].to_numpy(float)
        labels = [
            f"plot {row.plot}, {row.year}: measured {words.number(row.observed)}, "
            f"predicted {words.number(row.predicted)} {units}"
            for row in part.itertuples()
        ]
        against.append(Series(name, colour, predicted, observed, labels=labels))
        about_zero.append(Series(name, colour, predicted, observed - predicted, labels=labels))
    predicted, observed = f"Predicted without the plot's cluster ({units})", f"Measured ({units})"
    return {
        "name": one["name"],
        "legend": [(name, colour) for name, colour, _ in groups],
        "against": trusted(observed_against_predicted(against, x_title=predicted, y_title=observed)),
        "residuals": trusted(residuals(about_zero, x_title=predicted, y_title=f"Measured less predicted ({units})")),
    }


def _plot_map(name: str, material: Material, units: str) -> dict:
    """Plots coloured by their mean residual in the first set that has them; those not used as crosses."""
    training, left_out = material.training[name], material.left_out[name]
    order = {one["name"]: number for number, one in enumerate(material.models[name]["sets"])}
    ranked = left_out.assign(
        order=left_out["set_name"].map(order), residual=left_out["observed"] - left_out["predicted"]
    )
    best = ranked[ranked["order"] == ranked.groupby("plot")["order"].transform("min")]
    residual = best.groupby("plot")["residual"].mean()
    places = training.drop_duplicates("plot")[["plot", "x", "y"]].sort_values("plot")
    ramp, breaks = scale_of(residual.to_numpy(float), "sink")
    used, unused = [], []
    for plot, x, y in places.itertuples(index=False):
        across, down = material.frame.place(x, y)
        spot = {"x": f"{across:.1f}", "y": f"{down:.1f}"}
        if plot in residual.index:
            share = (residual[plot] - breaks[0]) / (breaks[-1] - breaks[0])
            said = f"plot {plot}: measured less predicted {words.number(residual[plot], signed=True)} {units}"
            used.append(spot | {"colour": ramp_colour(ramp, share), "title": said})
        else:
            reasons = sorted({str(reason) for reason in training.loc[training["plot"] == plot, "reason"] if reason})
            unused.append(
                spot | {"title": f"plot {plot}: not used ({'; '.join(reasons) or 'no complete predictor set'})"}
            )
    ticks = ticks_of(residual.to_numpy(float), breaks, "sink")
    legend = render(LEGEND, view="", ramp=ramp, ticks=ticks, units=units, swatches=(), missing=False)
    return {"used": used, "unused": unused, "legend": legend}


def _variance_rows(name: str, material: Material, units: str) -> list[dict]:
    """Shares of each part in the variance, of the project and of the stand with the median standard error."""
    ours = material.estimates[material.estimates["target"] == name]
    if "se" not in ours:
        return []
    ours = ours[ours["se"] > 0]
    found = []
    for (first, last), rows in ours.groupby(["first_year", "last_year"], sort=True):
        what = words.span(first, last) if first == last else f"change {words.span(first, last)}"
        stands = rows[rows["level"] == "stand"].sort_values(["se", "stand"])
        chosen = [("project", row) for _, row in rows[rows["level"] == "project"].iterrows()]
        if len(stands):
            middle = stands.iloc[len(stands) // 2]
            chosen.append((f"median stand ({middle['stand']}, {words.number(middle['area_ha'], digits=2)} ha)", middle))
        for who, row in chosen:
            variance = row["se"] ** 2
            shares = [(100 * row[column] / variance, colour, title) for column, title, colour in PARTS]
            found.append(
                {"what": what, "who": who, "mean": words.number(row["mean"], error=row["se"]),
                 "se": f"{words.number(row['se'], digits=2)} {units}", "shares": shares}
            )  # fmt: skip
    return found


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
    width = (high - low) / 4 if None not in (low, high) else None
    mean, shown_low, shown_high = (words.number(value, error=width) for value in (mean, low, high))
    return {
        "title": title,
        "n": row["n"],
        "bias": f"{words.number(row['bias_percent'], digits=2, signed=True)} %",
        "coverage": f"{words.number(row['coverage_percent'], digits=2)} %",
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


MODEL = """
<p>Every plot is predicted by a model that has not seen its cluster; no score below is of the data a model was fitted
to.</p>
{% for target in targets %}
{% if targets|length > 1 %}<h3>{{ target.title }}</h3>{% endif %}
<p>{{ target.intro }}</p>
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Regressor</th><th>Predictors</th><th
>Fitted to</th><th>Years</th><th class="n">Measurements</th>
<th class="n">RMSE</th><th class="n">Bias (predicted less measured)</th><th class="n">R²</th></tr></thead><tbody>
{% for one in target.sets %}
<tr><td>{{ one.name }}</td><td>{{ one.regressor }}</td>
<td>{{ one.predictors }}</td><td>{{ one.fitted_to }}</td><td>{{ one.dates }}</td><td class="n">{{ one.n }}</td>
<td class="n">{{ one.rmse }}</td><td class="n">{{ one.bias }}</td><td class="n">{{ one.r2 }}</td></tr>
{% endfor %}
</tbody></table></div>
{% for one in target.sets %}{% if one.choice %}
<h3>Regressors compared for {{ one.name }}</h3>
<div class="scroll"><table><thead><tr><th>Regressor</th><th class="n">RMSE</th><th class="n">Bias</th><th
class="n">R²</th></tr></thead><tbody>
{% for row in one.choice %}<tr{% if row.bold %} style="font-weight:600"{% endif %}><td>{{ row.name }}</td>
{% if row.why %}<td colspan="3">{{ row.why }}</td>{% else %}<td class="n">{{ row.rmse }}</td><td class="n">{{ row.bias }}</td>
<td class="n">{{ row.r2 }}</td>{% endif %}</tr>{% endfor %}
</tbody></table></div>
<p class="note">Groups of clusters left out, tuning and all made anew in each; the row in bold was taken: the first of the
registry within a hundredth of the least error. The scores of the set itself are nested: the choice is repeated without the
plots that are left out.</p>{% endif %}{% endfor %}
{% if target.warnings %}<div
class="warning">{% for one in target.warnings %}<div>{{ one }}</div>{% endfor %}</div>{% endif %}
<div class="charts">
{% for chart in target.charts %}
<figure><figcaption>{{ target.title }} from {{ chart.name }}</figcaption>
<div class="legend">{% for name, colour in chart.legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: equal</span></div>{{ chart.against }}</figure>
<figure><figcaption>Residuals from {{ chart.name }}</figcaption>
<div class="legend">{% for name, colour in chart.legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: zero</span></div>{{ chart.residuals }}</figure>
{% if loop.first %}
<figure><figcaption>Plots: measured less predicted</figcaption>
{{ target.plots.legend }}
<div class="map" style="{{ limit }}"><svg viewBox="{{ view }}" role="img" aria-label="Map of plots"><use href="#outlines"
class="outline"/>
{% for one in target.plots.unused %}
<path d="M{{ one.x }} {{ one.y }}m-9 -9l18 18m0 -18l-18 18" stroke="#666" stroke-width="4" fill="none">
<title>{{ one.title }}</title></path>{% endfor %}
{% for one in target.plots.used %}
<circle cx="{{ one.x }}" cy="{{ one.y }}" r="13" fill="{{ one.colour }}" stroke="#111" stroke-width="2">
<title>{{ one.title }}</title></circle>{% endfor %}
</svg><span class="bar" style="width:{{ "%.2f"|format(scale[1]) }}%">{{ scale[0] }}</span></div>
<span class="unit">mean over the dates, from the first predictor set that has the plot{% if target.plots.unused %};
crosses: {{ target.plots.unused|length }} plots not used{% endif %}</span>
</figure>
{% endif %}
{% endfor %}
</div>
{{ target.validation }}
{% if target.variances %}
<h3>Where the uncertainty comes from</h3>
<div class="legend">{% for _, title, colour in parts %}<span class="swatch"><i
style="background:{{ colour }}"></i>{{ title }}</span>
{% endfor %}</div>
<div class="scroll"><table><thead><tr><th>{{ target.title }}</th><th>Of</th><th class="n">Mean</th><th
class="n">SE</th>
<th>Parts of the variance</th><th class="n">plots</th><th class="n">shared</th><th
class="n">unexplained</th></tr></thead><tbody>
{% for row in target.variances %}
<tr><td class="w">{{ row.what }}</td><td class="w">{{ row.who }}</td><td class="n">{{ row.mean }}</td><td
class="n">{{ row.se }}</td>
<td class="w"><div class="parts">{% for share, colour, title in row.shares %}
<i style="width:{{ "%.1f"|format(share) }}%;background:{{ colour }}" title="{{ title }}"></i>{% endfor %}</div></td>
{% for share, colour, title in row.shares %}<td class="n">{{ "%.0f"|format(share) }} %</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% if not target.shared %}<p class="note">The plots of this study carry no shared error (of allometry, wood density
or heights),
so it is not in the intervals.</p>{% endif %}
{% endif %}
<h3>What the model leaves unexplained</h3>
{% if loop.first %}
<p class="note">Residuals of neighbouring places are alike up to the range (where their correlation has fallen to 5
%); the nugget is the share that is not. Where plots cannot tell the range, a cautious (long) one is taken.</p>
{% endif %}
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Residuals of</th><th class="n">Range</th>
<th class="n">Nugget</th><th>Range identified by the plots</th><th class="n">Correlation between dates</th>
</tr></thead><tbody>
{% for one in target.structures %}
<tr><td>{{ one.name }}</td><td>{{ one.of }}</td><td class="n">{{ one.range }}</td><td class="n">{{ one.nugget }}</td>
<td>{{ one.identified }}</td><td class="n">{{ one.between }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endfor %}
"""

TRUTH = """
<p>The forest of this study is planted: its true biomass is known, and only the check step reads it. One planted
forest shows
how the intervals look; whether they hold what they promise is judged over many, since all stands of one forest share
the same
plots and so the same luck.</p>
<div class="scroll"><table><thead><tr><th>Estimate</th><th class="n">Project, planted</th>
<th class="n">Project, estimated ({{ confidence }} interval)</th><th>Interval holds it</th><th class="n">Stands</th>
<th class="n">Bias over stands</th><th class="n">Stands whose interval holds the truth</th></tr></thead><tbody>
{% for row in rows %}
<tr><td>{{ row.title }}</td><td class="n">{{ row.truth }}</td><td
class="n">{{ row.mean }}</td><td>{{ row.inside }}</td>
<td class="n">{{ row.n }}</td><td class="n">{{ row.bias }}</td><td class="n">{{ row.coverage }}</td></tr>
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
