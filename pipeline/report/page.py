"""The report: one page that holds all it shows, for a forester, an analyst and a verifier."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import MODEL_ESTIMATORS, listed, told_once
from pipeline.provenance import TREE_COLUMNS
from pipeline.report import canopy, evidence, maps, model, stands, totals, words
from pipeline.report.look import SCRIPT, STYLE, render, trusted
from pipeline.report.material import Material

SHARED_ERRORS = {"f_height": "tree heights", "f_allometry": "allometry", "f_wood_density": "wood density"}
"""What a plot table's factors of shared error stand for, by how their names begin."""


def build_page(material: Material) -> str:
    """The whole page as HTML text; the same material gives the same text."""
    sections = [
        ("maps", "Maps", maps.section(material)),
        ("canopy", "Canopy and trees", canopy.section(material)),
        ("stands", "Stands", stands.section(material)),
        ("totals", "Totals by stratum and estimator", totals.section(material)),
        ("model", "Model and its errors", model.model_section(material)),
        ("standard", "Indicators of the standard", _standard_section(material)),
        ("truth", "Planted truth beside estimates", evidence.truth_section(material)),
        ("comparisons", "Beside maps made by others", evidence.comparison_section(material)),
        ("left-out", "What was left out, and why", _left_out_section(material)),
        ("checks", "Checks", _checks_section(material)),
        ("method", "Method, sources and files", _method_section(material)),
    ]
    return str(
        render(
            PAGE,
            style=trusted(STYLE),
            script=trusted(SCRIPT),
            title=material.study["title"] or material.study["name"],
            planted=bool(material.study.get("planted")),
            facts=_facts(material),
            headlines=_headlines(material),
            project=_project_rows(material),
            confidence=material.confidence,
            intervals=_intervals_sentences(material),
            sections=[(name, title, body) for name, title, body in sections if body],
        )
    )


# ---------------------------------------------------------------- header


def _facts(material: Material) -> list[tuple[str, str]]:
    """Where, when and from what: name and sentence."""
    grid, study = material.grid, material.study
    side = grid["resolution_m"]
    width, height = grid["cols"] * side / 1000, grid["rows"] * side / 1000
    facts = [
        ("Area", f"{width:.3g} x {height:.3g} km ({grid['crs']}), cells of {side:g} m"),
        ("Years", ", ".join(map(str, material.years))),
        ("Stands", f"{len(material.stands)}, {words.number(material.stands['area_ha'].sum())} ha"),
    ]
    for source in material.sources:
        scenes = material.scenes.get(source.get("sensor"))
        if scenes is not None:
            years = pd.Series([item["year"] for item in scenes["items"]]).value_counts().sort_index()
            told = [f"{n} scenes of {year}" for year, n in years.items()]
            if scenes.get("query", {}).get("static"):
                count = len(scenes["items"])
                told = [f"{count} tile{'' if count == 1 else 's'}, the same in every year"]
            facts.append((source["what"], ", ".join(told) or "no scene"))
    if study["lidar"]:
        flown = [f"{name} ({one['date']}, leaf-{one['leaf']})" for name, one in study["lidar"].items()]
        facts.append(("Airborne lidar", ", ".join(flown)))
    plots = next(iter(material.training.values()))
    facts.append(
        (
            "Field plots",
            f"{plots['plot'].nunique()}, {len(plots)} measurements, {int(plots['kept'].sum())} of them used",
        )
    )
    return facts


def _headlines(material: Material) -> list[dict]:
    """The numbers people came for: stock of the last year, net removal of the last span; else what is mapped."""
    return [_headline(row, material) for _, row in _latest(material).iterrows()]


def _latest(material: Material) -> pd.DataFrame:
    """The project's rows that people came for."""
    project = material.project
    if project.empty:
        return project
    carbon = project[project["quantity"].isin(words.CARBON_QUANTITIES)]
    return (carbon if len(carbon) else project).groupby("quantity", sort=False).tail(1)


def _headline(row: pd.Series, material: Material) -> dict:
    title, units = words.quantity(row["quantity"])
    sink = row["quantity"] == "net_removal_t_co2_ha_yr"
    found = _quoted(row, signed=sink) | {
        "title": f"{title} of the project, {words.span(row['first_year'], row['last_year'])}",
        "units": units,
        "kind": "",
        "meaning": "",
        "estimator": row["estimator"].replace("_", " "),
        "without": _without_total(row),
        "extrapolated": _extrapolated(row, material),
        "area": words.number(row["area_ha"]),
    }
    if sink:
        if row["low"] > 0:
            found |= {"kind": "sink", "meaning": "The forest took up more than it lost."}
        elif row["high"] < 0:
            found |= {"kind": "source", "meaning": "The forest lost more than it took up."}
        else:
            found["meaning"] = f"Cannot be told from zero at {material.confidence}."
    return found


def _extrapolated(row: pd.Series, material: Material) -> str:
    """How much of the forest a number extrapolates to, where it is the model's; those by design rest on no model."""
    if row["estimator"] not in MODEL_ESTIMATORS:
        return ""
    of_target = [name for name, about in TARGETS.items() if about["column"] == row["quantity"]]
    target = of_target[0] if of_target else material.stock_target
    first, last = int(row["first_year"]), int(row["last_year"])
    return words.extrapolated(material.outside_percent(target, first, last)) if target else ""


def _without_total(row: pd.Series) -> str:
    """What of the project the number leaves out, because it is covered too little for a total."""
    lost, whole = row.get("stands_without_total", 0), row.get("all_stands_area_ha", row["area_ha"])
    if not lost:
        return ""
    missing = words.number(whole - row["area_ha"])
    return f"{int(lost)} stands ({missing} of {words.number(whole)} ha) have no total and are not in it."


def _quoted(row: pd.Series, *, signed: bool) -> dict:
    """Mean, total and their intervals of a project row as text, rounded by their standard errors."""
    per_ha = [words.number(row[name], error=row["se"], signed=signed) for name in ("mean", "low", "high")]
    ends = (row["total"], row["low"] * row["area_ha"], row["high"] * row["area_ha"])
    total = [words.number(value, error=row["total_se"], signed=signed) for value in ends]
    summed = row["units"].replace("/ha", "", 1) if row["units"].startswith(("t ", "Mg", "m3")) else ""
    return {
        "mean": per_ha[0],
        "interval": f"{per_ha[1]} to {per_ha[2]}",
        "total": f"{total[0]} {summed}" if summed else "",
        "total_interval": f"{total[1]} to {total[2]}" if summed else "",
    }


def _project_rows(material: Material) -> list[dict]:
    return [
        _quoted(row, signed=row["quantity"] == "net_removal_t_co2_ha_yr")
        | {
            "title": words.quantity(row["quantity"])[0],
            "years": words.span(row["first_year"], row["last_year"]),
            "units": row["units"],
            "area": words.number(row["area_ha"]),
            "stands": int(row["stands"]),
            "cover": words.number(row["cover_percent"]),
        }
        for _, row in material.project.iterrows()
    ]


def _intervals_sentences(material: Material) -> list[str]:
    """What the intervals hold and what they do not, in plain words: of the project by its estimator, and of what models say."""
    factors = {name for frame in material.training.values() for name in frame.columns if name.startswith("f_")}
    shared = [what for begin, what in SHARED_ERRORS.items() if any(name.startswith(begin) for name in factors)]
    told, exact = _carbon_factors(material)
    by_plots = [f"errors that all plots share ({', '.join(shared)})"] if shared else []
    by_carbon = [f"{listed(told)}, which all stands share"] if told else []
    missing = ["the forest definition", "the outlines of stands"]
    if exact:
        missing.insert(0, f"{listed(exact)}, which {'is' if len(exact) == 1 else 'are'} taken as exact")
    if not shared:
        missing.insert(0, "allometry, which the plots do not carry here")
    unexplained = "what the model leaves unexplained, which is alike in neighbouring places"
    modelled = ["which plots happened to be sampled", *by_plots, unexplained, *by_carbon]
    sentences = [_by_design_sentence(*one, [*by_plots, *by_carbon], material) for one in _design_based(material)]
    held = f"The {material.confidence} intervals{' of stands, maps and all that the model says' if sentences else ''} hold"
    sentences.append(f"{held} {listed(modelled)}.")
    sentences.append(f"{'No interval holds' if len(sentences) > 1 else 'They do not hold'} errors of {listed(missing)}.")
    if material.spans and material.stock_target:
        sentences.append("Net removal is positive where the forest took up more than it lost, in every table and map.")
    return sentences


def _design_based(material: Material) -> list[tuple[str, pd.DataFrame]]:
    """Headline rows of the project by each estimator that rests on chance having drawn the plots."""
    rows = _latest(material)
    if rows.empty or "plots" not in rows:
        return []
    return [(name, part) for name, part in rows.groupby("estimator", sort=False) if name not in MODEL_ESTIMATORS]


def _by_design_sentence(estimator: str, rows: pd.DataFrame, common: list[str], material: Material) -> str:
    what = [f"{words.quantity(row['quantity'])[0].lower()} {words.span(row['first_year'], row['last_year'])}"
            for _, row in rows.iterrows()]  # fmt: skip
    first = totals.TRUST.get(estimator, "").partition(". ")[0].rstrip(".")
    name, meaning = estimator.replace("_", " "), re.sub(r" \([^()]*\)", "", first)
    numbers = [f"{words.count(row['plots'])} plots in {words.count(row['clusters'])} clusters" for _, row in rows.iterrows()]
    seen = listed(list(dict.fromkeys(numbers)))
    named = listed(what)
    return (
        f"{named[:1].upper()}{named[1:]} of the project {'is' if len(what) == 1 else 'are'} by the estimator {name}"
        f"{f' ({meaning})' if meaning else ''}. The {material.confidence} interval holds "
        f"{listed([f'which plots chance has drawn ({seen})', *common])}; it does not rest on the model being right."
    )


def _carbon_factors(material: Material) -> tuple[list[str], list[str]]:
    """The factors from the target to carbon whose errors the intervals hold, and those that are taken as exact."""
    if not material.stock_target:
        return [], []
    pools = material.study["pools"]
    stated = {
        "the root:shoot ratio": pools["root_shoot"] == "from_plots" or pools["root_shoot_se"],
        "the carbon fraction": pools["carbon_fraction_se"],
    }
    if material.stock_target == "volume":
        stated = {"the expansion factor from volume to biomass": pools["expansion_factor_se"], **stated}
    return [name for name, error in stated.items() if error], [name for name, error in stated.items() if not error]


# ---------------------------------------------------------------- what was left out


def _left_out_section(material: Material) -> str:
    return render(
        LEFT_OUT,
        notes=material.notes,
        said=material.said,
        scenes=[_scenes_left_out(name, frozen) for name, frozen in material.scenes.items()],
        plots=[_plots_left_out(target, frame, material) for target, frame in material.training.items()],
        warnings=[(TARGETS[target]["title"], told_once(model["warnings"])) for target, model in material.models.items()],
        stands=_stands_without_total(material),
        least=material.study["min_cover_percent"],
    )


def _scenes_left_out(sensor: str, frozen: Mapping) -> dict:
    left_out = frozen["left_out"]
    return {
        "sensor": sensor,
        "used": len(frozen["items"]),
        "left_out": len(left_out),
        "reasons": words.counted_reasons(entry["reason"] for entry in left_out),
        "entries": [(entry["id"], entry["reason"]) for entry in left_out[:200]],
        "dropped": len(frozen.get("dropped", ())),
        "unread": [(entry["id"], entry["composites"], entry["reason"]) for entry in frozen.get("dropped", ())[:200]],
    }


def _plots_left_out(target: str, frame: pd.DataFrame, material: Material) -> dict:
    unused = frame[~frame["kept"].astype(bool)]
    ratio = frame["support_ratio"]
    return {
        "target": TARGETS[target]["title"],
        "found": len(frame),
        "left_out": len(unused),
        "reasons": words.counted_reasons(unused["reason"].fillna("no reason given")),
        "uneven": int(((ratio > 2) | (ratio < 0.5)).sum()),
        "cell_ha": words.size(material.grid["resolution_m"] ** 2 / 1e4),
        "plot_ha": words.size(frame["area_ha"].median()),
    }


def _stands_without_total(material: Material) -> list[tuple[str, list[str], int]]:
    """Per year: the first stands whose cover is below the study's limit, and how many there are."""
    found = []
    for year in material.years:
        column = f"cover_percent_{year}"
        if column in material.stands:
            short = material.stands.loc[~(material.stands[column] >= material.study["min_cover_percent"]), "stand"]
            found.append((f"{year}", sorted(map(str, short))[:30], len(short)))
    return found


# ---------------------------------------------------------------- checks, method, files


def _checks_section(material: Material) -> str:
    return render(CHECKS, laws=material.checks["laws"])


def _standard_section(material: Material) -> str:
    """The list of indicators that the study follows, in its order, with what serves each or why none does."""
    return render(STANDARD, standard=material.standard) if material.standard else ""


def _method_section(material: Material) -> str:
    study = material.study
    return render(
        METHOD,
        steps=_method(material),
        sources=material.sources,
        pools=study["pools"] if material.stock_target else None,
        carbon=bool(material.stock_target),
        canopies=list(material.canopies),
        tree_columns=TREE_COLUMNS,
        sinks=bool(material.spans and material.stock_target),
    )


def _method(material: Material) -> list[tuple[str, str]]:
    """What was done, one sentence per step, with this study's settings."""
    study, steps = material.study, []
    for name, sensor in study["sensors"].items():
        if name not in material.scenes:
            continue
        steps.append((f"Composite of {name}", _composite_sentence(name, sensor)))
    if study["lidar"]:
        steps.append(
            ("Lidar", "Heights above ground; metrics per cell, and for plots from the points inside each footprint.")
        )
    plots = study["plots"]
    if plots["trees"]:
        chosen = plots["allometry"] if isinstance(plots["allometry"], list | tuple) else [plots["allometry"]]
        name = ", ".join(one.replace("\\", "/").rsplit("/", 1)[-1] for one in chosen)
        steps.append(
            ("Plots", f"Trees become biomass by the allometry {name}, with the errors that trees and plots share.")
        )
    else:
        steps.append(("Plots", "Values per plot as the plot table gives them."))
    apart = f"{plots['max_years_apart']:g} year{'' if plots['max_years_apart'] == 1 else 's'}"
    steps.append(
        ("Meeting", f"A plot meets images and campaigns at most {apart} from its measurement, over its own footprint.")
    )
    steps.append(("Forest", FOREST_SOURCES[study["forest"]["source"]]))
    steps.append(("Model", "One regression per predictor set; the first set complete at a pixel serves it."))
    steps.append(("Uncertainty of what the model says", UNCERTAINTY))
    if by_design := [name.replace("_", " ") for name, _ in _design_based(material)]:
        steps.append(("Uncertainty of the project", BY_DESIGN.format(names=listed(by_design))))
    if material.stock_target:
        steps.append(("Carbon", _carbon_sentence(study["pools"], material.stock_target)))
    if material.stock_target and material.spans:
        steps.append((
            "Sink",
            "Stock difference divided by the years between (IPCC 2006, vol. 4, ch. 2, eq. 2.8), both dates together, "
            "so that errors they share do not count twice.",
        ))  # fmt: skip
    return steps


def _composite_sentence(name: str, sensor: Mapping) -> str:
    from catalogs.sensors import is_sensor, sensor_named

    kind = sensor_named(name).kind if is_sensor(name) else "optical"
    if kind == "elevation":
        return "Tiles of elevation joined on the study's grid, the same in every year; slope and the like are made of them."
    first, last = sensor["season"]
    reducers = sensor["reducer"] if isinstance(sensor["reducer"], list) else [sensor["reducer"]]
    if kind == "radar":
        filtered = "" if sensor["speckle"] == "none" else f" after the speckle filter {sensor['speckle']}"
        return (
            f"The {' and '.join(reducers).replace('_', ' ')} of backscatter (gamma0) in linear power from {first} to {last} of "
            f"each year{filtered}, at least {sensor['min_clear_count']} of them per pixel; decibels are taken of that."
        )
    return (
        f"The {' and '.join(reducers).replace('_', ' ')} of the clear observations from {first} to {last} of each year, at least "
        f"{sensor['min_clear_count']} per pixel; scenes up to {sensor['max_cloud_percent']:g} % cloud{_corrections(sensor)}."
    )


def _corrections(sensor: Mapping) -> str:
    """What is done to scenes before they become one image, where a study asks for it."""
    done = [
        f"instruments are brought to one ({sensor['harmonise']})" if sensor["harmonise"] != "none" else "",
        f"slopes are lit as level ground ({sensor['topographic']})" if sensor["topographic"] != "none" else "",
        "open water is left out" if sensor["mask_water"] else "",
    ]
    return "".join(f"; {one}" for one in done if one)


BY_DESIGN = (
    "The project's numbers by {names} have the error that follows from how chance has drawn the plots: the spread between "
    "clusters of plots of what each adds to the estimate, by Student's t; errors that all plots share come on top. What the "
    "model says of the project stands beside them under totals."
)

UNCERTAINTY = (
    "The error of a stand's mean, and of a stratum's or the project's where the model is what is reported, is what the "
    "residuals of the plots do to the model, less the mean residual of the place itself, both of one field that is correlated "
    "in space (Breidenbach et al. 2016, doi:10.1016/j.rse.2015.07.026). Fitting anew without each cluster of plots sets the "
    "least it can be; errors that all plots share come on top. Pixel errors are never summed as if they were independent."
)

FOREST_SOURCES = {
    "everywhere": "No definition is set: every pixel counts as forest.",
    "raster": "Where the forest raster of each year says so; elsewhere the stock is 0.",
    "stands": "Inside the stands; elsewhere the stock is 0.",
    "canopy": "Where canopy height and cover from lidar meet the definition; elsewhere the stock is 0.",
}


def _carbon_sentence(pools: Mapping, stock_target: str) -> str:
    begin = ""
    if stock_target == "volume":
        begin = f"Biomass = volume x {pools['expansion_factor_mg_m3']:g} Mg/m3 ({pools['expansion_factor_source']}). "
    by_plots = pools["root_shoot"] == "from_plots"
    ratio = "R" if by_plots else f"{pools['root_shoot']:g}"
    of_plots = "R of the plots, of each stand's stratum where that has its own, in tables and maps alike"
    source = of_plots if by_plots else pools["root_shoot_source"]
    return (
        f"{begin}Tree carbon = aboveground biomass x (1 + {ratio}) x {pools['carbon_fraction']:g}; "
        f"roots: {source}; carbon fraction: {pools['carbon_fraction_source']}; "
        "CO2 = carbon x 44/12. Dead wood, litter, soil and wood products are not in it."
    )


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style></head>
<body><div class="page">
<header><h1>{{ title }}</h1>
{% if planted %}<p class="warning">This forest is planted by the computer to test the method: its numbers describe no
real place.
</p>{% endif %}
{% for name, text in facts %}<p class="lead"><b>{{ name }}</b>: {{ text }}</p>{% endfor %}
{% if headlines %}<div class="headline">
{% for one in headlines %}
<div class="{{ one.kind }}"><div class="what">{{ one.title }}</div>
<div class="value">{{ one.mean }} <span class="unit">{{ one.units }}</span></div>
<div>{{ confidence }} interval: {{ one.interval }}</div>
<div class="total">estimator: {{ one.estimator }}</div>
{% if one.total %}<div class="total">in total {{ one.total }} ({{ one.total_interval }}) on {{ one.area }}
ha</div>{% endif %}
{% if one.without %}<div class="total">{{ one.without }}</div>{% endif %}
{% if one.meaning %}<div class="total">{{ one.meaning }}</div>{% endif %}
{% if one.extrapolated %}<div class="total broken">{{ one.extrapolated }}</div>{% endif %}</div>
{% endfor %}
</div>{% else %}<p class="warning">No stand is covered well enough for a total, so there is no number for the
project.</p>
{% endif %}
{% for sentence in intervals %}<p>{{ sentence }}</p>{% endfor %}
{% if project %}<details><summary>All numbers of the project</summary>
<div class="scroll"><table><thead><tr><th>Quantity</th><th>Years</th><th class="n">Mean</th><th
class="n">{{ confidence }} interval
</th><th>Unit</th><th class="n">In total</th><th class="n">Interval of the total</th><th class="n">Area, ha</th>
<th class="n">Stands</th><th class="n">Covered, %</th></tr></thead><tbody>
{% for row in project %}
<tr><td>{{ row.title }}</td><td>{{ row.years }}</td><td class="n">{{ row.mean }}</td><td
class="n">{{ row.interval }}</td>
<td>{{ row.units }}</td><td class="n">{{ row.total }}</td><td class="n">{{ row.total_interval }}</td><td
class="n">{{ row.area }}</td>
<td class="n">{{ row.stands }}</td><td class="n">{{ row.cover }}</td></tr>
{% endfor %}
</tbody></table></div></details>{% endif %}
<nav aria-label="Contents">{% for name, heading, _ in sections %}<a
href="#{{ name }}">{{ heading }}</a>{% endfor %}</nav>
</header>
{% for name, heading, body in sections %}
<section id="{{ name }}"><h2>{{ heading }}</h2>
{{ body }}</section>
{% endfor %}
<footer>Made by forestsink (Apache-2.0). This page holds all it shows and fetches nothing.</footer>
</div><script>{{ script }}</script></body></html>
"""

LEFT_OUT = """
{% if notes %}<ul>{% for one in notes %}<li>{{ one }}</li>{% endfor %}</ul>{% endif %}
{% for one in scenes %}
<h3>Scenes of {{ one.sensor }}</h3>
<p>{{ one.used }} used, {{ one.left_out }} left out{{ ":" if one.reasons else "." }}</p>
{% if one.reasons %}<ul>{% for n, reason in one.reasons %}<li>{{ n }}: {{ reason }}</li>{% endfor %}</ul>
<details><summary>Scene by scene{% if one.left_out > one.entries|length %} (the first
{{ one.entries|length }}){% endif %}
</summary><ul>{% for name, reason in one.entries %}<li>{{ name }}:
{{ reason }}</li>{% endfor %}</ul></details>{% endif %}
{% if one.dropped %}<p class="warning">{{ one.dropped }} of those used could not be read in part of the area and are missing
from the composites there:</p>
<ul>{% for name, composites, reason in one.unread %}<li>{{ name }}, missing from {{ composites }} composite{{ "s" if composites
> 1 }}: {{ reason }}</li>{% endfor %}</ul>{% endif %}
{% endfor %}
{% for one in plots %}
<h3>Plots{% if plots|length > 1 %} for {{ one.target }}{% endif %}</h3>
<p>{{ one.left_out }} of {{ one.found }} measurements were left out{{ ":" if one.reasons else "." }}</p>
{% if one.reasons %}<ul>{% for n, reason in one.reasons %}<li>{{ n }}: {{ reason }}</li>{% endfor %}</ul>{% endif %}
{% if one.uneven %}<p class="warning">{{ one.uneven }} of {{ one.found }} measurements come from plots whose area
differs from a
cell's ({{ one.cell_ha }} ha) by more than a factor of 2; the median plot has {{ one.plot_ha }} ha. Choose a
resolution nearer to
the plots' size.</p>
{% else %}<p>Plot areas (median {{ one.plot_ha }} ha) are within a factor of 2 of a cell's ({{ one.cell_ha }}
ha).</p>{% endif %}
{% endfor %}
{% if said %}
<h3>What was noticed in scenes, plots and stands</h3>
<ul>{% for one in said %}<li>{{ one }}</li>{% endfor %}</ul>
{% endif %}
{% for title, sentences in warnings %}{% if sentences %}
<h3>Model of {{ title.lower() }}</h3>
<ul>{% for one in sentences %}<li>{{ one }}</li>{% endfor %}</ul>
{% endif %}{% endfor %}
<h3>Stands without a total</h3>
<ul>{% for year, names, n in stands %}<li>{{ year }}: {% if n %}{{ n }} stands are covered to less than
{{ "%g"|format(least) }} %
({{ names|join(", ") }}{% if n > names|length %}, ...{% endif %}){% else %}none{% endif %}</li>{% endfor %}</ul>
"""

STANDARD = """
<p>{{ standard.title }}. Source: {{ standard.source }}; status: {{ standard.status }}.</p>
<div class="scroll"><table><thead><tr><th>Code</th><th>Name</th><th>Ours</th><th>Unit</th><th>What it is</th></tr></thead><tbody>
{% for one in standard.entries %}
<tr><td>{{ one.code }}</td><td>{{ one.name }}</td><td>{{ one.ours }}</td><td>{{ one.unit }}</td><td>{{ one.about }}</td></tr>
{% endfor %}
</tbody></table></div>
"""

CHECKS = """
<p>Laws that every result keeps, checked on the files as published. A broken law stops the run.</p>
<div class="scroll"><table><thead><tr><th>Law</th><th>Verdict</th><th>Detail</th></tr></thead><tbody>
{% for law in laws %}
<tr><td>{{ law.name }}</td><td
class="{{ "holds" if law.holds else "broken" }}">{{ "holds" if law.holds else "broken" }}</td>
<td>{{ law.detail }}</td></tr>
{% endfor %}
</tbody></table></div>
"""

METHOD = """
<ul>{% for name, text in steps %}<li><b>{{ name }}.</b> {{ text }}</li>{% endfor %}</ul>
{% if sources %}<h3>Sources and licences</h3>
<div class="scroll"><table><thead><tr><th>What</th><th>From</th><th>Licence</th><th>Citation</th></tr></thead><tbody>
{% for one in sources %}
<tr><td>{{ one.what }}</td><td>{{ one.origin }}</td><td>{{ one.licence }}</td><td>{{ one.citation }}</td></tr>
{% endfor %}
</tbody></table></div>{% endif %}
<h3>Files beside this page</h3>
<ul>
<li><b>stands.gpkg</b>: the stands with all numbers; QGIS opens it in the colours of this page.
<b>stands.parquet</b>: the same for
Python and R.</li>
<li><b>maps/</b>: one GeoTIFF per map, for QGIS or any GIS; each band says its name and unit.</li>
{% if canopies %}<li><b>canopy/</b>: per campaign the canopy height model (*_chm, m above ground) and its trees (*_trees.gpkg:
layers tree_tops and crowns).</li>{% endif %}
<li><b>model_cards/</b>: per target a JSON file on the models behind the map: plots, predictors, scores, folds, domain, warnings,
and what the map is not for.</li>
<li><b>project.csv</b>: the numbers of the project. <b>estimates.csv</b>: every estimator of the project and its strata, with
what it rests on. <b>ledger.csv</b>: the sources behind each composite of a stand. <b>checks.json</b>: checks and comparisons.
<b>run.json</b>: what
the run was made
from. <b>stac/collection.json</b>: the maps as a STAC collection.</li>
</ul>
<details><summary>How columns are named</summary><ul>
<li><b>map_*</b>: mean of all the map's pixels over the covered part of a stand, those on its border by their share;
<b>reported_*</b>: the estimate to quote, by the estimator in <b>reported_estimator</b>, from the pixels wholly inside
the stand (<b>interior_percent</b> of its area; below 25 % from all), which stand for the border pixels beside them, because a
pixel on a border mixes both sides.
<b>model_*</b>: what the model alone says, where a composite of several sources is reported.</li>
<li><b>*_se</b>, <b>*_low</b>, <b>*_high</b>: standard error and the ends of the interval; <b>_low_90</b>, <b>_high_95</b> and
so on at 90 and 95 %. The last part is the year,
or the first and
the last year of a change.</li>
{% if carbon %}<li><b>reported_tree_carbon_t_ha</b>: carbon in living trees above and below ground, t C/ha;
<b>reported_tree_carbon_t</b>: t C of the stand, missing where too little of it is covered.</li>{% endif %}
{% if sinks %}<li><b>reported_net_removal_t_co2_ha_yr</b>: t CO2/ha/yr, positive = net removal by the forest;
<b>direction</b>: sink or source where the interval leaves out zero; <b>difference_of_stocks_t_co2_ha_yr</b>: what the two
reported stocks differ by in that unit, which is another estimate of the same; <b>stocks_disagree</b>: whether it has the other
sign; <b>stocks_beyond_error</b>: whether the two are farther apart than their errors explain, whichever way these go together
(1.645 times the sum of both standard errors).</li>{% endif %}
<li><b>range_identified</b>: whether the plots identify how far residuals of the predictor sets that serve the stand reach (true)
or its interval is a mean over structures that differ much (false).</li>
<li><b>cover_percent</b>: share of the stand with an estimate; <b>extrapolated_percent</b>: the rest, which the total
takes to be like
the covered part; <b>in_domain_percent</b>: share of the covered part in the model's area of applicability:
where the plots show places like it; <b>dissimilarity_index</b>, <b>local_point_density</b>: means over its forest of how unlike
the plots it is and of the number of plots like it.</li>
{% if canopies %}{% for name, (units, meaning) in tree_columns.items() %}
<li><b>{{ name }}</b> of trees: {{ meaning }}{% if units != "1" %}, {{ units }}{% endif %}.</li>{% endfor %}{% endif %}
</ul></details>
<p class="note">The software is under the Apache License 2.0; data keep the licences of their sources.</p>
"""
