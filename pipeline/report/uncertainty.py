"""Where a model applies, and where the uncertainty of its stands and project comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import ADVICE, MODEL_ESTIMATORS, VARIANCE_PARTS, parts_in, shares_of
from pipeline.report import words
from pipeline.report.figures import Bar, stacked
from pipeline.report.look import render, trusted
from pipeline.report.maps import drawn_groups, reach_of
from pipeline.report.material import Material

MOST_BARS = 120
"""Above so many stands every so many of them is drawn."""

LABELS_BELOW = 8
"""Areas written below the bars, at most."""

LIKELY = 0.05
"""Weight from which on a reading of the plots is called likely, as in `Structure.doubt`."""


# ---------------------------------------------------------------- where it applies


def reach_block(name: str, material: Material) -> str:
    """Maps of the area of applicability, and thresholds and shares in numbers."""
    card = material.cards[name]
    return trusted(
        render(
            REACH,
            maps=drawn_groups(reach_of(name, material.products), material),
            thresholds=[(one["name"], words.number(one["threshold"], digits=2)) for one in card["sets"]],
            rows=[
                {
                    "year": row["year"], "inside": f"{words.number(row['in_domain_percent'])} %",
                    "index": words.number(row["dissimilarity_index"], digits=2),
                    "density": words.number(row["local_point_density"], digits=2),
                    "stands": f"{row['stands_less_than_half_inside']} of {row['stands']}",
                }
                for row in card["domain"]
            ],
        )
    )  # fmt: skip


# ---------------------------------------------------------------- where the uncertainty comes from


def uncertainty_block(name: str, material: Material) -> str:
    """Parts of the variance per stand and of the project, and how residuals hang together."""
    model, units = material.models[name], TARGETS[name]["units"]
    estimates = material.estimates[material.estimates["target"] == name]
    names = parts_in(estimates) if "se" in estimates else []
    quoted = material.project["estimator"] if len(material.project) else []
    whole = "project" if all(one in MODEL_ESTIMATORS for one in quoted) else "project by the model"
    parts = [(VARIANCE_PARTS[one][0], VARIANCE_PARTS[one][1], ADVICE[one], SHORT[one]) for one in names]
    return trusted(
        render(
            UNCERTAINTY, parts=parts, rows=_rows(material.cards[name], names, units, whole),
            chart=_chart(estimates, names, units),
            structures=[row for one in model["sets"] for row in _structure_rows(one)], shared=bool(model["shared"]),
            mainly=_mainly(material.cards[name], names, whole), title=TARGETS[name]["title"],
        )
    )  # fmt: skip


SHORT = {
    "shared_variance": "shared", "sampling_variance": "plots", "residual_variance": "unexplained", "area_effect_variance": "area",
}  # fmt: skip


def _rows(card: Mapping, names: list[str], units: str, whole: str) -> list[dict]:
    found = []
    for row in card["uncertainty"]["parts"]:
        span = words.span(row["first_year"], row["last_year"])
        who = whole if row["level"] == "project" else f"{row['count']} stands by the model (means of shares, medians)"
        shares = row["shares_percent"]
        found.append(
            {
                "what": span if row["first_year"] == row["last_year"] else f"change {span}", "who": who,
                "mean": words.number(row["mean"], error=row["se"]), "se": f"{words.number(row['se'], digits=2)} {units}",
                "shares": [(shares.get(name, 0.0), VARIANCE_PARTS[name][1], VARIANCE_PARTS[name][0]) for name in names],
            }
        )  # fmt: skip
    return found


def _mainly(card: Mapping, names: list[str], whole: str) -> list[str]:
    """What rules the error of the project and of the stands in the last year, and what would make it smaller.

    What predictors leave unexplained and what an area has of its own are both of the place, and count together.
    """
    stocks = [row for row in card["uncertainty"]["parts"] if row["first_year"] == row["last_year"]]
    last = max((row["last_year"] for row in stocks), default=None)
    said = []
    for row in stocks:
        if row["last_year"] != last or not names:
            continue
        together = [[name for name in names if name in OF_THE_PLACE], *([name] for name in names if name not in OF_THE_PLACE)]
        summed = [(sum(row["shares_percent"].get(name, 0.0) for name in group), group) for group in together if group]
        share, largest = max(summed, key=lambda one: one[0])
        who = whole if row["level"] == "project" else f"mean of {row['count']} stands by the model"
        what = " and ".join(VARIANCE_PARTS[name][0] for name in largest)
        said.append(f"{last}, {who}: {share:.0f} % of the variance is {what}; {'; '.join(ADVICE[name] for name in largest)}.")
    return said


OF_THE_PLACE = ("residual_variance", "area_effect_variance")


def _chart(estimates: pd.DataFrame, names: list[str], units: str) -> dict | None:
    """Every stand's standard error of the last year, parted as its variance is; the largest stand first."""
    stands = estimates[(estimates["level"] == "stand") & (estimates["first_year"] == estimates["last_year"])]
    if not names or "se" not in stands or not (stands["se"] > 0).any():
        return None
    last = int(stands["last_year"].max())
    stands = stands[(stands["last_year"] == last) & (stands["se"] > 0)]
    stands = stands.sort_values(["area_ha", "stand"], ascending=[False, True])
    every = max(-(-len(stands) // MOST_BARS), 1)
    drawn = stands.iloc[::every]
    bars = [_bar(row, names, units) for _, row in drawn.iterrows()]
    at = np.unique(np.linspace(0, len(drawn) - 1, min(LABELS_BELOW, len(drawn))).round().astype(int))
    ticks = [(int(number), words.number(drawn["area_ha"].iloc[number], digits=2)) for number in at]
    svg = stacked(bars, ticks, x_title="Area of the stand (ha), the largest first", y_title=f"Standard error ({units})")
    return {"svg": trusted(svg), "year": last, "drawn": len(drawn), "found": len(stands), "every": every}


def _bar(row: pd.Series, names: list[str], units: str) -> Bar:
    shares = shares_of(row, names)
    told = ", ".join(f"{SHORT[name]} {shares[name]:.0f} %" for name in names)
    label = (
        f"stand {row['stand']}, {words.number(row['area_ha'], digits=2)} ha: "
        f"{words.number(row['mean'], error=row['se'])} {units}, standard error {words.number(row['se'], digits=2)} "
        f"({told} of the variance)"
    )
    return Bar(float(row["se"]), [(shares[name], VARIANCE_PARTS[name][1]) for name in names], label)


def _structure_rows(one: Mapping) -> list[dict]:
    """How residuals hang together in space: at one date, and where there are several, of their change."""
    residual, by_cells = one["residuals"], ", by cells" if one.get("second_stage") else ""
    kinds = [("one date", residual["level"])]
    if len(one["dates"]) > 1:
        kinds.append(("change between dates", residual["change"]))
    return [
        {
            "name": one["name"],
            "of": of,
            **_reach(structure),
            "identified": f"yes{by_cells}" if structure["identified"] else "no: every likely reading counts",
            "between": f"{residual['between_dates']:.2f}" if len(one["dates"]) > 1 else words.MISSING,
        }
        for of, structure in kinds
    ]


def _reach(structure: Mapping) -> dict[str, str]:
    """Range and nugget as texts: the span of the likely readings where they differ, one number where plots tell it."""
    likely = [] if structure["identified"] else [one for one in structure.get("readings", ()) if one["weight"] >= LIKELY]
    if not likely:
        return {"range": f"{words.number(structure['range_m'], digits=2)} m", "nugget": f"{100 * structure['nugget']:.0f} %"}
    ranges = [one["range_m"] for one in likely if one["smooth"] > 0]
    nuggets = [100 * one["nugget"] / (one["smooth"] + one["patch"] + one["nugget"]) for one in likely]
    told = _between(ranges, "m") if ranges else ""
    alone = "no correlation" if any(one["smooth"] + one["patch"] == 0 for one in likely) else ""
    return {"range": " or ".join(filter(None, (alone, told))) or words.MISSING, "nugget": _between(nuggets, "%")}


def _between(values: Sequence[float], unit: str) -> str:
    least, most = f"{min(values):.0f}", f"{max(values):.0f}"
    return f"{least} {unit}" if least == most else f"{least} to {most} {unit}"


REACH = """
<h4>Where the model applies</h4>
<p>A model knows only forests like those of its plots. The <b>dissimilarity index</b> is how far a place is from the
nearest plot in all predictors together, each weighed by what the model makes of it; 1 is as far as plots are from one
another on average. Up to the <b>threshold</b>, the largest index that plots themselves have against plots of other clusters
(outliers aside), a place is in the area of applicability; the <b>local point density</b> counts the plots that near.</p>
{{ maps }}
<div class="scroll"><table><thead><tr><th>Year</th><th class="n">Of the stands' forest and open land, inside</th>
<th class="n">Mean index</th><th class="n">Mean density (plots)</th>
<th class="n">Stands less than half inside</th></tr></thead><tbody>
{% for row in rows %}<tr><td>{{ row.year }}</td><td class="n">{{ row.inside }}</td><td class="n">{{ row.index }}</td>
<td class="n">{{ row.density }}</td><td class="n">{{ row.stands }}</td></tr>{% endfor %}
</tbody></table></div>
<p class="note">Threshold of the index:
{% for name, value in thresholds %}{{ name }} {{ value }}{{ ", " if not loop.last else "." }}{% endfor %}
 Each stand's share, index and density stand in stands.gpkg. Intervals do not hold the error of places outside.</p>
"""

UNCERTAINTY = """
{% if rows %}
<h4>Where the uncertainty comes from</h4>
<ul>{% for one in mainly %}<li>{{ one }}</li>{% endfor %}</ul>
<div class="legend">{% for meaning, colour, advice, short in parts %}<span class="swatch"><i
style="background:{{ colour }}"></i>{{ short }}: {{ meaning }}</span>
{% endfor %}</div>
{% if chart %}<figure class="wide"><figcaption>Standard error of every stand by the model, {{ chart.year }}
{% if chart.drawn < chart.found %}<span class="unit">every {{ chart.every }}th of {{ chart.found }}
stands</span>{% endif %}</figcaption>
<div class="scroll">{{ chart.svg }}</div>
<span class="unit">A bar is a stand; its height is its standard error, its colours share the height as they share the variance.
Where one colour rules, only what makes that part smaller helps. A stand that has a composite of model, plots or records is
reported with an error of its own, in the table of stands.</span></figure>{% endif %}
<div class="scroll"><table><thead><tr><th>{{ title }}</th><th>Of</th><th class="n">Mean</th><th
class="n">SE</th>
<th>Parts of the variance</th>{% for _, _, _, short in parts %}<th class="n">{{ short }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}
<tr><td class="w">{{ row.what }}</td><td class="w">{{ row.who }}</td><td class="n">{{ row.mean }}</td><td
class="n">{{ row.se }}</td>
<td class="w"><div class="parts">{% for share, colour, title in row.shares %}
<i style="width:{{ "%.1f"|format(share) }}%;background:{{ colour }}" title="{{ title }}"></i>{% endfor %}</div></td>
{% for share, colour, title in row.shares %}<td class="n">{{ "%.0f"|format(share) }} %</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<ul>{% for meaning, colour, advice, short in parts %}<li><b>{{ short }}</b> ({{ meaning }}): {{ advice }}.</li>{% endfor %}</ul>
{% if not shared %}<p class="note">The plots of this study carry no shared error (of allometry, wood density
or heights),
so it is not in the intervals.</p>{% endif %}
{% endif %}
<h4>What the model leaves unexplained</h4>
<p class="note">Residuals of neighbouring places are alike up to the range (where their correlation has fallen to 5
%); the nugget is the share of their variance that is a single plot's own. No pair of them is picked: the variance of a stand is
the mean of what every reading of the plots gives, each weighed by how likely it is. Where the readings agree on a stand of 5 ha,
the range is identified and their mean stands here; where they do not, the span of the likely ones, and intervals are wider for
the doubt.</p>
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Residuals of</th><th class="n">Range</th>
<th class="n">Nugget</th><th>Range identified</th><th class="n">Correlation between dates</th>
</tr></thead><tbody>
{% for one in structures %}
<tr><td>{{ one.name }}</td><td>{{ one.of }}</td><td class="n">{{ one.range }}</td><td class="n">{{ one.nugget }}</td>
<td>{{ one.identified }}</td><td class="n">{{ one.between }}</td></tr>
{% endfor %}
</tbody></table></div>
"""
