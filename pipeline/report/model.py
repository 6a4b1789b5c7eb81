"""The section of the model: what it is, what it is not for, how well it predicts, where it applies, and its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.inference.stratum_names import NO_STRATUM, is_stratum
from pipeline.report import words
from pipeline.report.look import render
from pipeline.report.material import Material
from pipeline.report.uncertainty import reach_block, uncertainty_block
from pipeline.report.validation import validation_block


def model_section(material: Material) -> str:
    """One part per target; whatever a number says of plots, its model had not seen their cluster."""
    return render(MODEL, targets=[_target(name, material) for name in material.models])


def _target(name: str, material: Material) -> dict:
    model, card = material.models[name], material.cards[name]
    return {
        "name": name,
        "title": card["target"]["title"],
        "intro": _fitted_sentence(model, card),
        "warnings": card["warnings"],
        "caveats": card["caveats"],
        "not_for": card["not_for"],
        "sets": [
            _set_row(one, about, card["target"]["units"])
            for one, about in zip(model["sets"], card["sets"], strict=True)
        ],
        "predictors": [row for one in card["sets"] for row in _predictor_rows(one)],
        "units": card["target"]["units"],
        "strata": [
            (one["name"], _strata_rows(one["strata"], one["fitted_to"]["kind"])) for one in card["sets"] if one.get("strata")
        ],
        "choices": [(one["name"], rows) for one in model["sets"] if (rows := _choice_rows(one["machine"]))],
        "lacking": [_lacking_sentence(one) for one in card["sets"] if one["lacking"]["measurements"]],
        "validation": validation_block(name, material),
        "reach": reach_block(name, material),
        "uncertainty": uncertainty_block(name, material),
        "data": _data_rows(card),
    }


TRANSFORMS = {"none": "", "sqrt": " on the square-root scale", "log": " on the logarithmic scale"}


def _fitted_sentence(model: Mapping, card: Mapping) -> str:
    counts, scale = model["counts"], TRANSFORMS.get(model["transform"], f" (transform {model['transform']})")
    cells = model.get("blocks")
    joined = f"; where a set learned from cells, joined with those of their {cells} blocks" if cells else ""
    return (
        f"{counts['rows']} measurements of {counts['plots']} plots in {counts['clusters']} clusters; "
        f"regressor {model['regressor']}{scale}. Intervals of what it says use Student's t with at most "
        f"{card['uncertainty']['degrees_of_freedom']} degrees of freedom, one less than the clusters of the smallest predictor "
        f"set{joined}; fewer where plots hardly tell how far residuals reach."
    )


def _set_row(one: Mapping, about: Mapping, units: str) -> dict:
    scores, lacking = one["scores"], about["lacking"]["measurements"]
    return {
        "name": one["name"],
        "regressor": chosen(one["machine"]),
        "predictors": _predictors_of(one),
        "fitted_to": _fitted_to(about["fitted_to"], units),
        "dates": "one level per year" if len(one["dates"]) > 1 else "one level for all years",
        "n": f"{about['measurements']} of {about['measurements'] + lacking}" if lacking else scores["n"],
        "rmse": f"{words.number(scores['rmse'])} {units} ({words.number(scores['rmse_percent'], digits=2)} %)",
        "bias": f"{words.number(scores['bias'], digits=2, signed=True)} {units} "
        f"({words.number(scores['bias_percent'], digits=2, signed=True)} %)",
        "r2": words.MISSING if scores["r2"] is None else f"{scores['r2']:.2f}".replace("-", words.MINUS),
    }


MOST_NAMED = 30


def _lacking_sentence(about: Mapping) -> str:
    """Plots that a predictor set could not use, because a predictor is missing where they are (or the target)."""
    lacking = about["lacking"]
    names = lacking["plots"]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"{about['name']} could not use {lacking['measurements']} measurements, where a predictor or the target is missing: "
        f"plots {', '.join(names[:MOST_NAMED])}{more}"
    )


def _predictors_of(one: Mapping) -> str:
    """Names of predictors; strata, which the model tells apart, are counted."""
    named = [name for name in one["predictors"] if not is_stratum(name)]
    count = len(one["predictors"]) - len(named)
    return ", ".join(named) + (f"; {count} strata of stands" if count else "")


def _strata_rows(strata: Sequence[Mapping], fitted_to: str) -> list[dict]:
    """What the model makes of each stratum, the one with most of the target first."""
    return [
        {
            "stratum": "in no stratum" if row["stratum"] == NO_STRATUM else row["stratum"], "plots": row["plots"],
            "clusters": row["clusters"], "difference": words.number(row["difference"], digits=2, signed=True),
            "se": words.number(row["se"], digits=2), "told_by": _told_by(row, "plots" if fitted_to == "plots" else "cells"),
        }
        for row in sorted(strata, key=lambda row: -row["difference"])
    ]  # fmt: skip


def _told_by(row: Mapping, own: str) -> str:
    """Whose plots, or cells of a set that learned from another's predictions, a stratum's level comes from."""
    if not row["own"]:
        return "all strata"
    return f"its own {own}" if row["weight"] is None else f"{100 * row['weight']:.0f} % its own {own}"


def _fitted_to(about: Mapping, units: str) -> str:
    """What a set was fitted to; of predictions of another set, how both paths predict plots left out."""
    if about["kind"] == "plots":
        return "plots"
    told, compared = f"what {about['of']} predicts at {about['cells']} cells", about["compared"]
    if "rmse_direct" in compared:  # of other plots than the set's own scores, so both stand here
        where = f"plots beyond {about['of']}" if compared["outside"] else "the plots that both predict"
        told += (
            f"; at {where} its RMSE is {words.number(compared['rmse'])} {units}, and {words.number(compared['rmse_direct'])} "
            f"{units} fitted to plots"
        )
    return told


def chosen(machine: Mapping) -> str:
    """Name of a set's regressor; of `default` and `auto` the one that they stand for."""
    return chosen(machine["inner"]) if "inner" in machine else machine["name"]


def _choice_rows(machine: Mapping) -> list[dict]:
    """What `auto` has compared, the best first."""
    table = sorted(machine.get("table", ()), key=lambda row: row.get("rmse_percent", np.inf))
    return [
        {"name": row["regressor"], "why": row["why"], "bold": False} if "why" in row
        else {
            "name": row["regressor"], "why": "", "bold": row["regressor"] == chosen(machine),
            "rmse": f"{words.number(row['rmse_percent'], digits=3)} %",
            "bias": f"{row['bias_percent']:+.1f} %".replace("-", words.MINUS),
            "r2": f"{row['r2']:.2f}".replace("-", words.MINUS),
        }
        for row in table
    ]  # fmt: skip


def _predictor_rows(one: Mapping) -> list[dict]:
    """Each predictor with its range at the plots and what the model makes of it."""
    heaviest = max((part["weight"] for part in one["predictors"]), default=0.0) or 1.0
    return [
        {
            "set": one["name"], "name": part["name"], "title": part["title"], "units": part["units"],
            "range": f"{words.number(part['least'])} to {words.number(part['most'])}",
            "median": words.number(part["median"]), "weight": f"{100 * part['weight'] / heaviest:.0f} %",
        }
        for part in one["predictors"]
    ]  # fmt: skip


def _data_rows(card: Mapping) -> list[tuple[str, str]]:
    """What the plots are, in a sentence each."""
    data, units = card["data"], card["target"]["units"]
    area, values = data["area_ha"], data["values"]
    strata = ", ".join(f"{name} {n}" for name, n in data["strata"].items())
    years = ", ".join(f"{year}: {n}" for year, n in data["years"].items())
    how = f"trees, by the allometry {', '.join(data['allometry'])}" if data["allometry"] else "values of the plot table"
    shared = len(data["shared_errors"])
    rows = [
        ("Measurements", f"{data['measurements_used']} of {data['measurements']} used ({years}), "
         f"{data['first_date'] or words.MISSING} to {data['last_date'] or words.MISSING}"),
        ("Chosen", ", ".join(f"{SAMPLING.get(how, how)}: {n}" for how, n in data["sampling"].items())),
        ("Plot area", f"{words.size(area['median'])} ha (from {words.size(area['least'])} to {words.size(area['most'])})"),
        ("Values", f"{words.number(values['least'])} to {words.number(values['most'])} {units}, mean "
         f"{words.number(values['mean'])}"),
        ("Made from", f"{how}; {shared or 'no'} errors that all plots share"),
        ("Strata (measurements)", strata or "the plots carry none"),
        ("Software", ", ".join(f"{name} {version}" for name, version in card["software"].items())),
    ]  # fmt: skip
    unverified = "; ".join(f"{names}: {n}" for names, n in data["unverified"].items())
    return [*rows, ("Equations that nobody has checked (measurements)", unverified)] if unverified else rows


SAMPLING = {"probability": "at random (a probability sample)", "purposive": "on purpose, or not said to be at random"}

MODEL = """
<p>Every score below is of plots that the model had not seen, nor their neighbours of the same cluster; one row of the
tables, which leaves out single plots, is there to show what that would flatter.</p>
{% for target in targets %}
<h3 class="target">{{ target.title }}</h3>
<p>{{ target.intro }}</p>
{% if target.warnings or target.caveats %}<div class="warning">
{% for one in target.caveats %}<div>{{ one }}</div>{% endfor %}
{% for one in target.warnings %}<div>{{ one }}</div>{% endfor %}</div>{% endif %}
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Regressor</th><th>Predictors</th><th>Fitted to</th>
<th>Years</th><th class="n">Measurements</th>
<th class="n">RMSE</th><th class="n">Bias (predicted less measured)</th><th class="n">R²</th></tr></thead><tbody>
{% for one in target.sets %}
<tr><td>{{ one.name }}</td><td>{{ one.regressor }}</td>
<td>{{ one.predictors }}</td><td class="text">{{ one.fitted_to }}</td><td>{{ one.dates }}</td><td class="n">{{ one.n }}</td>
<td class="n">{{ one.rmse }}</td><td class="n">{{ one.bias }}</td><td class="n">{{ one.r2 }}</td></tr>
{% endfor %}
</tbody></table></div>
{% for one in target.lacking %}<p class="note">{{ one }}.</p>{% endfor %}
<h4>What this map is not for</h4>
<ul>{% for one in target.not_for %}<li>{{ one }}</li>{% endfor %}</ul>
<p class="note">All of this, with every number, is in the model card <b>model_cards/{{ target.name }}.json</b> beside this
page.</p>
{% for name, rows in target.choices %}
<h4>Regressors compared for {{ name }}</h4>
<div class="scroll"><table><thead><tr><th>Regressor</th><th class="n">RMSE</th><th class="n">Bias</th><th
class="n">R²</th></tr></thead><tbody>
{% for row in rows %}<tr{% if row.bold %} style="font-weight:600"{% endif %}><td>{{ row.name }}</td>
{% if row.why %}<td colspan="3">{{ row.why }}</td>{% else %}<td class="n">{{ row.rmse }}</td><td class="n">{{ row.bias }}</td>
<td class="n">{{ row.r2 }}</td>{% endif %}</tr>{% endfor %}
</tbody></table></div>
<p class="note">Groups of clusters left out, tuning and all made anew in each; the row in bold was taken: the first of the
registry within a hundredth of the least error. The scores of the set itself are nested, and so is the row below that speaks
of the map: the choice is repeated without the plots that are left out.</p>{% endfor %}
{% for name, rows in target.strata %}
<h4>Strata told apart by {{ name }}</h4>
<div class="scroll"><table><thead><tr><th>Stratum of the stands</th><th class="n">Plots</th><th class="n">Clusters</th>
<th class="n">Difference ({{ target.units }})</th><th class="n">Standard error</th><th>Level told by</th></tr></thead><tbody>
{% for row in rows %}<tr><td>{{ row.stratum }}</td><td class="n">{{ row.plots }}</td><td class="n">{{ row.clusters }}</td>
<td class="n">{{ row.difference }}</td><td class="n">{{ row.se }}</td><td>{{ row.told_by }}</td></tr>{% endfor %}
</tbody></table></div>
<p class="note">By how much a place of the stratum has more than the mean of the strata that have a level, weighed by their
plots, all with the plots' mean predictors. Strata are those of the stands that plots lie in. A level is told by the stratum's own
plots (cells, of a set that learned from what another predicts there), the fewer they are the more by all
strata; one without plots enough has the level of all, and what strata depart by in its error.</p>{% endfor %}
{{ target.validation }}
{{ target.reach }}
{{ target.uncertainty }}
<details><summary>Plots and predictors of {{ target.title|lower }}</summary>
<ul>{% for name, text in target.data %}<li><b>{{ name }}</b>: {{ text }}</li>{% endfor %}</ul>
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Predictor</th><th>What it is</th><th>Unit</th>
<th class="n">At the plots</th><th class="n">Median</th><th class="n">Weight</th></tr></thead><tbody>
{% for row in target.predictors %}<tr><td>{{ row.set }}</td><td>{{ row.name }}</td><td>{{ row.title }}</td>
<td>{{ row.units }}</td><td class="n">{{ row.range }}</td><td class="n">{{ row.median }}</td>
<td class="n">{{ row.weight }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">Weight: how much the prediction moves with a standard deviation of the predictor, in percent of the strongest;
the dissimilarity index weighs predictors so.</p></details>
{% endfor %}
"""
