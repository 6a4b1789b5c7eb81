"""The section of totals: strata, estimators side by side, and where a stand's number comes from when it has several sources."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import MODEL_ESTIMATORS, listed
from pipeline.report import words
from pipeline.report.look import render
from pipeline.report.material import Material

MOST_LEDGER_STANDS = 200

TRUST = {
    "model-based synthetic": "the map's mean with the model's error. Needs no sample of plots, and holds as far as the model "
    "does; the one to take for places with few plots or none.",
    "expansion": "the mean of the plots alone. No bias and no map; wide, because plots differ.",
    "stratified": "means of strata weighed by area. Only where plots were drawn stratum by stratum.",
    "weighted_expansion": "the mean of plots that stand for unequal areas, each by its own.",
    "weighted_difference": "the difference for plots of unequal weight, as the verb design draws them. The one to take there.",
    "weighted_greg": "the same with a fitted slope.",
    "post_stratified": "the same with strata told after sampling. Better than the plain mean where strata differ.",
    "ratio": "the map's mean times what plots hold per unit of map. For maps off by a share; not for a change whose mean "
    "is near zero.",
    "ratio_of_areas": "what plots hold over the land they cover, for plots of uneven areas; one measured in part counts by it.",
    "difference": "the map corrected by what it is off at probability plots (each as seen without its cluster). No bias whatever "
    "the model does; the one to take from about ten clusters on.",
    "greg": "as the difference, with a slope fitted to map and plots. Close to it; better where the map is flat or steep, and "
    "wants some twenty clusters.",
    "two_phase": "plots and the map at points of a first phase. For maps that do not cover the area.",
    "three_phase": "plots, points with lidar, and satellites at more or everywhere; only for points that chance has drawn.",
    "strips": "plots and lidar in strips that chance has drawn, satellites between; its error is that between strips.",
    "small": "the map corrected by a line through all plots, and by the mean departure of the area's own.",
    "extended_synthetic": "the same in one fit, the area with a level of its own.",
    "synthetic": "what all plots say, at the area's map; its error holds how much areas depart. For areas without plots.",
    "bhf_eblup": "between the two, by how much areas differ (Battese, Harter and Fuller). For areas with few plots; needs no "
    "probability sample, and holds as far as the model does.",
    "fay_herriot": "the mean of the area's own plots, drawn towards a line of all areas through their maps.",
}
"""When to trust which, in one sentence each."""

FORMULAS = {"cr2": "CR2 (g-weights, mended for few clusters)", "g_weight": "g-weights", "external": "the external formula"}
MOST_AREAS = 200


def section(material: Material) -> str:
    """Strata and estimators of the main quantities, and the ledger of composites; empty without a table of totals."""
    totals = material.totals
    if totals is None or totals.empty:
        return ""
    quantities = _quantities(totals, material)
    return render(
        TEMPLATE,
        confidence=material.confidence,
        refusal=_refusal(totals),
        strata=[one for level in LEVELS for chosen in quantities if (one := _reported(totals, level, *chosen))],
        sums=_sums(totals, quantities, material),
        counted=_counted(totals, material),
        everything=[one for chosen in quantities if (one := _of_all_stands(totals, *chosen))["rows"] or one["refused"]],
        areas=[one for level in LEVELS for chosen in quantities if (one := _family(totals, level, *chosen))],
        estimators=[_side_by_side(totals, *chosen) for chosen in quantities],
        trust=[(_name(name), TRUST[name]) for name in dict.fromkeys(totals["estimator"]) if name in TRUST],
        ledger=_ledger(material),
        shown=MOST_LEDGER_STANDS,
    )


def _quantities(totals: pd.DataFrame, material: Material) -> list[tuple[str, int, int]]:
    """Carbon of the last year and the latest net removal; without carbon every target of the last year."""
    last = totals[["quantity", "first_year", "last_year"]].drop_duplicates()
    carbon = last[last["quantity"].isin(words.CARBON_QUANTITIES)]
    chosen = carbon if len(carbon) else last
    return [tuple(row) for row in chosen.groupby("quantity", sort=False).tail(1).itertuples(index=False)]


def _name(estimator: str) -> str:
    return {"bhf_eblup": "BHF EBLUP", "fay_herriot": "Fay-Herriot"}.get(estimator, estimator.replace("_", " "))


def _of(totals: pd.DataFrame, quantity: str, first: int, last: int) -> pd.DataFrame:
    return totals[(totals["quantity"] == quantity) & (totals["first_year"] == first) & (totals["last_year"] == last)]


def _refusal(totals: pd.DataFrame) -> str:
    """Why no design-based estimate is there at all; empty where one is."""
    design = totals[~totals["estimator"].isin(MODEL_ESTIMATORS)]
    if design.empty or design["mean"].notna().any():
        return ""
    said = design["note"].fillna("").str.removeprefix("refused: ")
    first = str(said.iloc[0])
    return f"{first[:1].upper()}{first[1:]}"


def _heading(quantity: str, first: int, last: int, units: str) -> str:
    return f"{words.quantity(quantity)[0]}, {words.span(first, last)} ({units})"


def _cells(row: pd.Series, *, signed: bool) -> dict:
    """Numbers of one estimate as text, rounded by its standard error."""

    def shown(name: str) -> str:
        return words.number(row[name], error=row["se"], signed=signed)

    summed = row["units"].startswith(SUMMED)
    return {
        "mean": shown("mean"),
        "se": words.number(row["se"], digits=2),
        "interval": f"{shown('low')} to {shown('high')}" if words.known(float(row["low"])) else words.MISSING,
        "interval_95": f"{shown('low_95')} to {shown('high_95')}" if words.known(float(row["low_95"])) else words.MISSING,
        "total": words.number(row["total"], error=row["total_se"], signed=signed) if summed else "",
        "area": words.number(row["area_ha"]),
        "estimator": _name(row["estimator"]),
        "clusters": words.count(row["clusters"]),
        "plots": words.count(row["plots"]),
    }


LEVELS = {"stratum": "Stratum", "district": "District"}
PLURAL = {"stratum": "Strata", "district": "Districts"}


def _reported(totals: pd.DataFrame, level: str, quantity: str, first: int, last: int) -> dict | None:
    """The reported estimate of each area of a level, and of all; none where the study has no such areas."""
    mine = _of(totals, quantity, first, last)
    chosen = mine[mine["reported"].astype(bool)]
    areas = chosen[chosen["level"] == level]
    if areas.empty:
        return None
    signed = quantity == "net_removal_t_co2_ha_yr"
    ordered = pd.concat([areas[:MOST_AREAS], chosen[chosen["level"] == "project"]])
    rows = [
        {"name": "all stands" if row["level"] == "project" else row["area"], "whole": row["level"] == "project"}
        | _cells(row, signed=signed)
        for _, row in ordered.iterrows()
    ]
    units = chosen["units"].iloc[0]
    summed = units.replace("/ha", "", 1) if rows[0]["total"] else ""
    return {"title": _heading(quantity, first, last, units), "rows": rows, "summed": summed, "what": LEVELS[level],
            "more": max(len(areas) - MOST_AREAS, 0), "beyond": _beyond(areas, chosen[chosen["level"] == "project"])}  # fmt: skip


def _beyond(areas: pd.DataFrame, whole: pd.DataFrame) -> bool:
    """Whether the mean of all stands lies outside the means of the areas, as no weighing of these could."""
    if whole.empty or areas["mean"].isna().any():
        return False
    return not areas["mean"].min() <= whole["mean"].iloc[0] <= areas["mean"].max()


def _sums(totals: pd.DataFrame, quantities: Sequence[tuple[str, int, int]], material: Material) -> dict | None:
    """Totals of the same land by what is added up: all stands, strata, districts, stands; none where there is one alone."""
    rows, levels = [], [level for level in LEVELS if (totals["level"] == level).any()]
    for quantity, first, last in quantities:
        mine = _of(totals, quantity, first, last)
        chosen = mine[mine["reported"].astype(bool)]
        whole = chosen[chosen["level"] == "project"]
        own = material.project
        own = own[(own["quantity"] == quantity) & (own["first_year"] == first) & (own["last_year"] == last)]
        if whole.empty or own.empty or "sum_of_stands" not in own or not whole["units"].iloc[0].startswith(SUMMED):
            continue
        units, error = whole["units"].iloc[0].replace("/ha", "", 1), whole["total_se"].iloc[0]
        signed = quantity == "net_removal_t_co2_ha_yr"
        added = [whole["total"].iloc[0], *(_added(chosen, level, whole["area_ha"].iloc[0]) for level in levels)]
        added.append(own["sum_of_stands"].iloc[0])
        rows.append(
            {"title": _heading(quantity, first, last, units), "estimator": _name(whole["estimator"].iloc[0]),
             "totals": [words.number(value, error=error, signed=signed) for value in added],
             "silent": int(own["stands_saturated"].iloc[0]) if "stands_saturated" in own else 0}
        )  # fmt: skip
    if not rows:
        return None
    return {"rows": rows, "heads": [f"{PLURAL[level]} added up" for level in levels], "silent": max(r["silent"] for r in rows)}


SUMMED = ("t ", "Mg", "m3")
"""How units begin of what adds up over hectares."""


def _added(chosen: pd.DataFrame, level: str, whole_ha: float) -> float:
    """Totals of the areas of a level added up; missing where they are not all of the land or one has none."""
    areas = chosen[chosen["level"] == level]
    return float(areas["total"].sum(skipna=False)) if abs(areas["area_ha"].sum() / whole_ha - 1) < 1e-6 else float("nan")


def _counted(totals: pd.DataFrame, material: Material) -> list[str]:
    """Whose plots and clusters the model's rows name, where predictor sets rest on different ones."""
    said = []
    for target, model in material.models.items():
        counts, sets = model["counts"], material.cards[target]["sets"]
        if "fewest_plots" not in counts or counts["clusters"] == model["clusters"]:
            continue
        fewest = min((one for one in sets if one["fitted_to"]["kind"] == "plots"), key=lambda one: one["clusters"])
        said.append(
            f"{TARGETS[target]['title']}: plots and clusters of {MODEL_ESTIMATORS[0]} are the {counts['fewest_plots']} plots in "
            f"{model['clusters']} clusters of the predictor set with the fewest ({fewest['name']}), by which its degrees of "
            f"freedom are reckoned; {counts['plots']} plots in {counts['clusters']} clusters serve all sets together."
        )
    return said


def _family(totals: pd.DataFrame, level: str, quantity: str, first: int, last: int) -> dict | None:
    """Every estimator of every area of a level: mean and standard error, the reported one marked, refusals as a dash."""
    mine = _of(totals, quantity, first, last)
    mine = mine[mine["level"] == level]
    if mine.empty:
        return None
    signed = quantity == "net_removal_t_co2_ha_yr"
    names = [name for name in dict.fromkeys(mine["estimator"]) if mine.loc[mine["estimator"] == name, "mean"].notna().any()]
    rows = []
    for area, own in list(mine.groupby("area", sort=False))[:MOST_AREAS]:
        by_name = own.drop_duplicates("estimator").set_index("estimator")
        direct = by_name.reindex(["expansion", "small", "bhf_eblup", "synthetic"])
        counted = direct[direct["mean"].notna()]
        rows.append(
            {"name": area, "plots": words.count(counted["plots"].iloc[0]) if len(counted) else words.MISSING,
             "clusters": words.count(counted["clusters"].iloc[0]) if len(counted) else words.MISSING,
             "cells": [_short(by_name.loc[name] if name in by_name.index else None, signed=signed) for name in names]}
        )  # fmt: skip
    reasons = mine[mine["mean"].isna()]["note"].fillna("").str.removeprefix("refused: ")
    title, more = _heading(quantity, first, last, mine["units"].iloc[0]), max(mine["area"].nunique() - MOST_AREAS, 0)
    return {"title": title, "what": LEVELS[level], "names": [_name(name) for name in names], "rows": rows, "more": more,
            "refused": words.counted_reasons(reasons)}  # fmt: skip


def _short(row: pd.Series | None, *, signed: bool) -> dict:
    """Mean and standard error of one estimate; a dash where it is refused, with the reason for who asks."""
    if row is None or not words.known(float(row["mean"])):
        why = "" if row is None else str(row["note"]).removeprefix("refused: ")
        return {"text": words.MISSING, "why": why, "reported": False}
    text = f"{words.number(row['mean'], error=row['se'], signed=signed)} ± {words.number(row['se'], digits=2)}"
    return {"text": text, "why": str(row["note"]) if isinstance(row["note"], str) else "", "reported": bool(row["reported"])}


def _side_by_side(totals: pd.DataFrame, quantity: str, first: int, last: int, level: str = "project") -> dict:
    mine = _of(totals, quantity, first, last)
    mine = mine[mine["level"] == level]
    signed = quantity == "net_removal_t_co2_ha_yr"
    rows, refused = [], []
    for _, row in mine.iterrows():
        if words.known(float(row["mean"])):
            freedom = words.number(row["degrees_of_freedom"])
            rows.append(_cells(row, signed=signed) | {"reported": bool(row["reported"]), "freedom": freedom})
        else:
            refused.append((_name(row["estimator"]), str(row["note"]).removeprefix("refused: ")))
    chosen = mine[mine["reported"].astype(bool)]
    why = f"Reported: {_name(chosen['estimator'].iloc[0])}; {chosen['why'].iloc[0]}." if len(chosen) else ""
    units = mine["units"].iloc[0] if len(mine) else ""
    title = _heading(quantity, first, last, units)
    refused = [(f"{listed(names)} {'is' if len(names) == 1 else 'are'}", why) for why, names in _by_reason(refused).items()]
    return {"title": title, "rows": rows, "refused": refused, "why": why, "formulas": _other_errors(mine)}


def _by_reason(refused: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Estimators by the reason of their refusal, which is told once: one that names the estimator is told of the estimators."""
    found: dict[str, list[str]] = {}
    for name, why in refused:
        own = re.sub(rf"\b{re.escape(name.replace(' ', '_'))} holds\b", "the estimator holds", why)
        found.setdefault(own, []).append(name)
    return found


def _other_errors(mine: pd.DataFrame) -> str:
    """By which formula standard errors of regression estimators are, and what the other published ones say."""
    told = mine[mine["variance_formula"].isin(FORMULAS) & mine["mean"].notna()] if "variance_formula" in mine else mine[:0]
    if told.empty:
        return ""
    said = []
    for _, row in told.iterrows():
        both = [
            f"{words.number(row[column], digits=2)} by {name}"
            for column, name in (("se_g_weight", "g-weights"), ("se_external", "the external formula"))
            if words.known(float(row[column]))
        ]
        said.append(f"{_name(row['estimator'])}: {' and '.join(both)}")
    formulas = ", ".join(FORMULAS[name] for name in dict.fromkeys(told["variance_formula"]))
    return f"Standard errors of regression estimators are by {formulas}. They would be, of {'; of '.join(said)}."


def _of_all_stands(totals: pd.DataFrame, quantity: str, first: int, last: int) -> dict:
    """Estimators of all stands, those that the map leaves out included."""
    return _side_by_side(totals, quantity, first, last, "all_stands")


def _ledger(material: Material) -> list[dict]:
    """Entries of the latest stock and the latest change of the stands that have a composite, largest departure first."""
    entries = material.ledger
    if entries is None or entries.empty:
        return []
    found = []
    for change in (False, True):
        kind = entries[(entries["first_year"] != entries["last_year"]) == change]
        if kind.empty:
            continue
        target, first, last = kind.iloc[-1][["target", "first_year", "last_year"]]
        mine = kind[(kind["target"] == target) & (kind["first_year"] == first) & (kind["last_year"] == last)]
        what = "change of " if change else ""
        found.append(
            {"title": f"{what}{target}, {words.span(first, last)} ({mine['units'].iloc[0]})", "stands": mine["stand"].nunique(),
             "rows": _ledger_rows(mine, signed=change)}
        )  # fmt: skip
    return found


def _ledger_rows(mine: pd.DataFrame, *, signed: bool) -> Sequence[dict]:
    away = mine.groupby("stand")["departure"].agg(lambda values: values.abs().max()).sort_values(ascending=False, kind="stable")
    rows = []
    for stand in away.index[:MOST_LEDGER_STANDS]:
        sources = mine[mine["stand"] == stand]
        for number, (_, row) in enumerate(sources.iterrows()):
            rows.append(
                {
                    "stand": stand if number == 0 else "", "source": row["source"],
                    "value": words.number(row["value"], error=row["se"], signed=signed), "se": words.number(row["se"], digits=2),
                    "bias": words.number(row["bias_removed"], error=row["se"], signed=True) if row["bias_removed"] else "0",
                    "weight": words.number(100 * row["weight"], digits=2),
                    "departure": words.number(row["departure"], digits=2, signed=True),
                    "composite": words.number(row["composite"], error=row["composite_se"], signed=signed) if number == 0 else "",
                    "composite_se": words.number(row["composite_se"], digits=2) if number == 0 else "",
                    "plots": words.count(row["plots"]) if words.known(float(row["plots"])) else "",
                    "first": number == 0,
                }
            )  # fmt: skip
    return rows


TEMPLATE = """
{% if refusal %}<p class="warning">Only the model speaks of totals here. {{ refusal }}.</p>{% endif %}
{% for one in strata %}
<h3>{{ one.title }}</h3>
<div class="scroll"><table><thead><tr><th>{{ one.what }}</th><th class="n">Area, ha</th><th class="n">Mean</th>
<th class="n">SE</th><th class="n">{{ confidence }} interval</th><th class="n">95 % interval</th>
<th class="n">In total{% if one.summed %}, {{ one.summed }}{% endif %}</th><th>Estimator</th></tr></thead><tbody>
{% for row in one.rows %}
<tr>{% set tag = "b" if row.whole else "span" %}<td><{{ tag }}>{{ row.name }}</{{ tag }}></td><td class="n">{{ row.area }}</td>
<td class="n"><{{ tag }}>{{ row.mean }}</{{ tag }}></td><td class="n">{{ row.se }}</td><td class="n">{{ row.interval }}</td>
<td class="n">{{ row.interval_95 }}</td><td class="n">{{ row.total }}</td><td class="w">{{ row.estimator }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if one.more %}<p class="note">{{ one.more }} more are in estimates.csv.</p>{% endif %}
{% if one.beyond %}<p class="note">All stands do not lie between the rows above, because the rows are not one estimate parted:
each has the best estimate of its own plots, and that of all stands rests on all plots. For the project quote all
stands.</p>{% endif %}
{% endfor %}
{% if strata %}<p class="note">Each row has the estimator of its own plots; estimates.csv has every estimator of every
one.</p>{% endif %}
{% if sums %}
<h3>Sums of the same land</h3>
<div class="scroll"><table><thead><tr><th>Total</th><th class="n">All stands (reported)</th><th>Estimator</th>
{% for head in sums.heads %}<th class="n">{{ head }}</th>{% endfor %}<th class="n">Stands added up</th></tr></thead><tbody>
{% for row in sums.rows %}
<tr><td>{{ row.title }}</td><td class="n"><b>{{ row.totals[0] }}</b></td><td class="w">{{ row.estimator }}</td>
{% for one in row.totals[1:] %}<td class="n">{{ one }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<p class="note">They are not one number, because each takes the best estimate of its own size: all stands together that of all
plots, a stratum that of its own plots, a stand the map or the composite of map, plots and record. What a design-based
estimator takes off the map for all stands is not taken off stand by stand. For the project quote the first.
{% if sums.silent %}{{ sums.silent }} stands in which the map saturates report no change and are not in the last.{% endif %}</p>
{% endif %}
{% macro side_by_side(one) %}
<p>{{ one.why }}</p>
<div class="scroll"><table><thead><tr><th>Estimator</th><th class="n">Mean</th><th class="n">SE</th>
<th class="n">{{ confidence }} interval</th><th class="n">95 % interval</th><th class="n">Plots</th><th class="n">Clusters</th>
<th class="n">Degrees of freedom</th></tr></thead><tbody>
{% for row in one.rows %}{% set tag = "b" if row.reported else "span" %}
<tr><td class="w"><{{ tag }}>{{ row.estimator }}{% if row.reported %} (reported){% endif %}</{{ tag }}></td>
<td class="n">{{ row.mean }}</td><td class="n">{{ row.se }}</td><td class="n">{{ row.interval }}</td>
<td class="n">{{ row.interval_95 }}</td><td class="n">{{ row.plots }}</td><td class="n">{{ row.clusters }}</td>
<td class="n">{{ row.freedom }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if one.formulas %}<p class="note">{{ one.formulas }}</p>{% endif %}
{% if one.refused and not refusal %}<ul>{% for name, why in one.refused %}<li>{{ name }} refused: {{ why }}</li>
{% endfor %}</ul>{% endif %}
{% endmacro %}
{% for one in everything %}
<details open><summary>All stands, those that the map leaves out included: {{ one.title }}</summary>
{{ side_by_side(one) }}</details>
{% endfor %}
{% for one in estimators %}
<details{% if loop.first %} open{% endif %}><summary>Estimators of all stands side by side: {{ one.title }}</summary>
{{ side_by_side(one) }}</details>
{% endfor %}
{% for sentence in counted %}<p class="note">{{ sentence }}</p>{% endfor %}
{% for one in areas %}
<details><summary>Every estimator of each {{ one.what|lower }}: {{ one.title }}</summary>
<p>Mean ± standard error; bold is the one reported, a dash one that is refused.</p>
<div class="scroll tall"><table><thead><tr><th>{{ one.what }}</th><th class="n">Plots</th><th class="n">Clusters</th>
{% for name in one.names %}<th class="n">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in one.rows %}
<tr><td>{{ row.name }}</td><td class="n">{{ row.plots }}</td><td class="n">{{ row.clusters }}</td>
{% for cell in row.cells %}{% set tag = "b" if cell.reported else "span" %}
<td class="n"{% if cell.why %} title="{{ cell.why }}"{% endif %}><{{ tag }}>{{ cell.text }}</{{ tag }}></td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% if one.more %}<p class="note">{{ one.more }} more are in estimates.csv.</p>{% endif %}
{% if one.refused and not refusal %}<p>Refused:</p><ul>{% for times, why in one.refused %}<li>{{ times }} times: {{ why }}</li>
{% endfor %}</ul>{% endif %}
</details>
{% endfor %}
<details><summary>When to trust which estimator</summary><ul>{% for name, why in trust %}<li><b>{{ name }}</b>: {{ why }}</li>
{% endfor %}</ul></details>
{% for one in ledger %}
<details><summary>Ledger of composites: {{ one.title }}, {{ one.stands }} stand{{ "s" if one.stands != 1 }}
{% if one.stands > shown %}({{ shown }} shown, the rest in ledger.csv){% endif %}</summary>
<p>A stand that holds plots or has an inventory record takes the mean of its sources, weighed by their errors; the map is taken
without the stand's own plots. Departures are from the composite, in standard errors.</p>
<div class="scroll tall"><table><thead><tr><th>Stand</th><th>Source</th><th class="n">Value</th><th class="n">SE</th>
<th class="n">Bias taken off</th><th class="n">Weight, %</th><th class="n">Departure</th><th class="n">Plots</th>
<th class="n">Composite</th><th class="n">SE</th></tr></thead><tbody>
{% for row in one.rows %}
<tr><td>{{ row.stand }}</td><td>{{ row.source }}</td><td class="n">{{ row.value }}</td><td class="n">{{ row.se }}</td>
<td class="n">{{ row.bias }}</td><td class="n">{{ row.weight }}</td><td class="n">{{ row.departure }}</td>
<td class="n">{{ row.plots }}</td><td class="n">{{ row.composite }}</td><td class="n">{{ row.composite_se }}</td></tr>
{% endfor %}
</tbody></table></div></details>
{% endfor %}
"""
