"""How well plots are predicted by models that have not seen them: charts, maps of plots, tables by scheme and by stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.config import TARGETS
from pipeline.model_card import HONEST, honest_score, saturation
from pipeline.report import words
from pipeline.report.figures import Series, curves, observed_against_predicted
from pipeline.report.look import render, trusted
from pipeline.report.maps import LEGEND, scale_of, ticks_of
from pipeline.report.material import Material
from pipeline.report.styles import SET_COLOURS, ramp_colour

FOLD_COLOURS = (
    "#33658a", "#e3a53a", "#7d5ba6", "#3a9d8f", "#b5545c", "#8f8f8f", "#a9cfa4", "#111111", "#d1620a", "#d9a3c7",
)  # fmt: skip
"""Folds that lie side by side differ; there are ten at most where a map speaks of them."""

SCHEME_COLOURS = {"plots": "#b8b8b8", "clusters": "#e3a53a", "blocks": "#7d5ba6", "map": "#33658a", "map_each": "#3a9d8f"}
SHORT = {"plots": "plots", "clusters": "clusters", "blocks": "squares", "map": "folds like the map", "map_each": "NNDM"}
LEVEL_TICKS = (50.0, 100.0)
MOST_POINTS = 1500


def validation_block(name: str, material: Material) -> object:
    """Everything that plots left out say of one target."""
    found, units = material.validation[name], TARGETS[name]["units"]
    sets = list(dict.fromkeys(row["set_name"] for row in found["scores"]))
    honest = {one: score for one in sets if (score := honest_score(found, one)) is not None}
    level = found["confidence_percent"]
    return trusted(
        render(
            VALIDATION,
            title=TARGETS[name]["title"],
            units=units,
            confidence=f"{level:g} %",
            against=[_against(one, score["scheme"], material.validated[name], units) for one, score in honest.items()],
            legend=[(one, SET_COLOURS[number % len(SET_COLOURS)]) for number, one in enumerate(honest)],
            calibration=_calibration(honest, units),
            reliability=_reliability(honest),
            coverage=_coverage(honest, units, level),
            saturated=[_saturated(one, part, units) for one, score in honest.items() if (part := saturation(score))],
            residual_map=_residual_map(name, material, units),
            folds=[fold for one in sets if (fold := _fold_map(one, honest, name, material))],
            distances=[chart for one in sets if (chart := _distances(one, found))],
            rows=[_row(one, found["schemes"]) for one in found["scores"]],
            groups=[row for one, score in honest.items() for row in _group_rows(one, score)],
            strata=any("stratum" in score["by_group"] for score in honest.values()),
            no_strata=bool(honest) and not any("stratum" in score["by_group"] for score in honest.values()),
            view=material.frame.view,
            limit=material.frame.limit,
            scale=material.frame.scale_bar(),
        )
    )


# ---------------------------------------------------------------- charts


def _against(one: str, scheme: str, validated: pd.DataFrame, units: str) -> dict:
    rows = validated[(validated["set_name"] == one) & (validated["scheme"] == scheme)].dropna(subset=["predicted"])
    rows = rows.iloc[:: max(-(-len(rows) // MOST_POINTS), 1)]
    years, series = sorted(rows["year"].unique()), []
    for number, year in enumerate(years):
        part = rows[rows["year"] == year]
        labels = [
            f"plot {row.plot}, {row.year}: measured {words.number(row.observed)}, "
            f"predicted {words.number(row.predicted)} {units}"
            for row in part.itertuples()
        ]
        colour = SET_COLOURS[number % len(SET_COLOURS)]
        series.append(
            Series(f"{year}", colour, part["predicted"].to_numpy(float), part["observed"].to_numpy(float), labels=labels)
        )
    svg = observed_against_predicted(series, x_title=f"Predicted, plot not seen ({units})", y_title=f"Measured ({units})")
    return {"name": one, "legend": [(part.name, part.colour) for part in series], "svg": trusted(svg)}


def _calibration(honest: Mapping[str, Mapping], units: str) -> object:
    """Measured against predicted means of the parts by prediction, with two standard errors."""
    series = []
    for number, (one, score) in enumerate(honest.items()):
        parts = score["by_prediction"]
        x, y = (np.array([part[name] for part in parts], float) for name in ("predicted", "observed"))
        reach = 2 * np.array([_or_nan(part["bias_se"]) for part in parts])
        labels = [
            f"{one}: {part['n']} plots predicted {words.number(part['predicted'])}, measured {words.number(part['observed'])} "
            f"{units} on average"
            for part in parts
        ]
        low = np.maximum(y - reach, np.minimum(y, 0.0))  # a mean of stocks is not below zero, whatever its error
        series.append(Series(one, SET_COLOURS[number % len(SET_COLOURS)], x, y, low, y + reach, labels))
    if not series:
        return ""
    titles = {"x_title": f"Mean predicted ({units})", "y_title": f"Mean measured ({units})"}
    limits = _limits(series)
    return trusted(curves(series, x_limits=limits, y_limits=limits, **titles))


def _limits(series: Sequence[Series]) -> tuple[float, float]:
    every = np.concatenate([part for one in series for part in (one.x, one.y, one.low, one.high)])
    every = every[np.isfinite(every)]
    return float(min(every.min(), 0.0)), float(every.max())


def _reliability(honest: Mapping[str, Mapping]) -> object:
    """Share of plots inside their interval at each nominal level, with two standard errors."""
    series = []
    for number, (one, score) in enumerate(honest.items()):
        level, share, error = (
            np.array([row[name] for row in score["by_level"]], float)
            for name in ("level_percent", "coverage_percent", "se_percent")
        )
        labels = [f"{one}: intervals of {a:g} % hold {b:.0f} % of the plots" for a, b in zip(level, share, strict=True)]
        low, high = np.maximum(share - 2 * error, 0.0), np.minimum(share + 2 * error, 100.0)
        series.append(Series(one, SET_COLOURS[number % len(SET_COLOURS)], level, share, low, high, labels))
    if not series:
        return ""
    lowest = min(LEVEL_TICKS[0], *(float(one.low.min()) for one in series))
    titles = {"x_title": "Promised: level of the interval (%)", "y_title": "Plots inside (%)"}
    return trusted(curves(series, x_limits=LEVEL_TICKS, y_limits=(lowest, 100.0), **titles))


def _coverage(honest: Mapping[str, Mapping], units: str, level: float) -> object:
    """Share of plots inside their interval, by prediction: whether it is right for open and for dense forest alike."""
    series = []
    for number, (one, score) in enumerate(honest.items()):
        parts = score["by_prediction"]
        x, y = (np.array([part[name] for part in parts], float) for name in ("predicted", "coverage_percent"))
        reach = 2 * np.sqrt(level * (100 - level) / np.array([part["n"] for part in parts]))
        labels = [f"{one}: of {part['n']} plots {part['coverage_percent']:.0f} % inside" for part in parts]
        bars = np.maximum(y - reach, 0.0), np.minimum(y + reach, 100.0)
        series.append(Series(one, SET_COLOURS[number % len(SET_COLOURS)], x, y, *bars, labels))
    if not series:
        return ""
    lowest = min(50.0, *(float(one.low.min()) for one in series))
    titles = {"x_title": f"Mean predicted ({units})", "y_title": "Plots inside (%)"}
    x = np.concatenate([one.x for one in series])
    return trusted(
        curves(series, x_limits=(min(0.0, float(x.min())), float(x.max())), y_limits=(lowest, 100.0), reference=level, **titles)
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _saturated(one: str, part: Mapping, units: str) -> str:
    return (
        f"{one}: the highest predictions level off. The {part['n']} plots predicted highest, {words.number(part['predicted'])} "
        f"{units} on average, hold {words.number(-part['bias'], digits=2)} {units} more than that"
    )


def _distances(one: str, found: Mapping) -> dict | None:
    """How far plots left out are from those that stay, scheme by scheme, beside how far the map is from the plots."""
    rows = [row for row in found["distances"] if row["set_name"] == one and row["distance_m"]]
    if not rows:
        return None
    share = np.array(found["quantiles_percent"], float)
    farthest = max(row["distance_m"][-2] for row in rows)  # 95 %: single far places would press all lines to the left
    km = farthest >= 5000
    series = []
    for row in sorted(rows, key=lambda row: row["scheme"] is None):
        distance = np.array(row["distance_m"], float)
        inside = distance <= farthest
        name, colour = ("the map", "#111111") if row["scheme"] is None else (SHORT[row["scheme"]], SCHEME_COLOURS[row["scheme"]])
        series.append(Series(name, colour, distance[inside] / (1000 if km else 1), share[inside]))
    unit = "km" if km else "m"
    svg = curves(
        series, x_title=f"Distance to the nearest plot in training ({unit})", y_title="Share (%)", y_limits=(0.0, 100.0),
        x_limits=(0.0, farthest / (1000 if km else 1)), reference="none", points=False,
    )  # fmt: skip
    return {"name": one, "legend": [(line.name, line.colour) for line in series], "svg": trusted(svg)}


# ---------------------------------------------------------------- maps of plots


def _fold_map(one: str, honest: Mapping, name: str, material: Material) -> dict | None:
    """Plots of a predictor set coloured by their fold of the scheme that speaks of the map."""
    table = material.validated[name]
    table = table[(table["scheme"] == HONEST) & (table["set_name"] == one)]
    if table.empty:
        return None
    places = table.drop_duplicates("plot").sort_values("plot")
    spots = [_spot(row, material) for row in places.itertuples()]
    return {"name": one, "count": int(places["fold"].nunique()), "plots": spots, "scored": one in honest}


def _spot(row, material: Material) -> dict:
    across, down = material.frame.place(row.x, row.y)
    seen = pd.notna(row.predicted)
    return {
        "x": f"{across:.1f}", "y": f"{down:.1f}", "colour": FOLD_COLOURS[row.fold % len(FOLD_COLOURS)] if seen else "#fff",
        "title": f"plot {row.plot}: fold {row.fold + 1}{'' if seen else ', not predicted'}",
    }  # fmt: skip


def _residual_map(name: str, material: Material, units: str) -> dict:
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


# ---------------------------------------------------------------- tables


def _row(one: Mapping, titles: Mapping) -> dict:
    about = {"set": one["set_name"], "title": titles[one["scheme"]], "folds": one["folds"], "why": None}
    about["bold"] = one["scheme"] == HONEST
    if "rmse" not in one:
        return about | {"why": one["why"]}
    last = one["by_prediction"][-1]
    return about | {
        "folds": _folds_said(one),
        "rmse": f"{words.number(one['rmse_percent'], digits=2)} %",
        "bias": f"{one['bias_percent']:+.1f} %".replace("-", words.MINUS),
        "r2": _plain(one["r2"]),
        "slope": _plain(one["calibration_slope"]),
        "coverage": f"{one['coverage_percent']:.0f} %",
        "width": words.number(one["width"], digits=2),
        "crps": words.number(one["crps"], digits=2),
        "over_sd": _plain(one.get("error_over_sd")),
        "highest": words.number(last["bias"], digits=2, signed=True),
    }


def _folds_said(one: Mapping) -> str:
    """Number of folds; where not every plot is predicted by one, how many measurements are, and how many folds failed."""
    said = [f"{len(one['failed'])} not fitted"] if one.get("failed") else []
    if one.get("missing"):
        said.append(f"{one['n']} of {one['n'] + one['missing']} measurements")
    return f"{one['folds']}" + (f" ({', '.join(said)})" if said else "")


def _group_rows(one: str, score: Mapping) -> list[dict]:
    found = []
    for kind, parts in score["by_group"].items():
        for part in parts:
            found.append(
                {
                    "set": one, "kind": kind, "name": part["name"], "n": part["n"], "clusters": part["clusters"],
                    "mean": words.number(part["mean"]),
                    "rmse": f"{words.number(part['rmse_percent'], digits=2)} %",
                    "bias": f"{words.number(part['bias'], digits=2, signed=True)} ± {words.number(part['bias_se'], digits=2)}",
                    "coverage": f"{part['coverage_percent']:.0f} %", "few": part["few"],
                }
            )  # fmt: skip
    return found


def _plain(value: float | None) -> str:
    return words.MISSING if not words.known(value) else f"{value:.2f}".replace("-", words.MINUS)


VALIDATION = """
<h4>How well it predicts plots it has not seen</h4>
{% for one in saturated %}<p class="warning">{{ one }} (saturation).</p>{% endfor %}
<div class="charts">
{% for chart in against %}
<figure><figcaption>Measured against predicted, from {{ chart.name }}</figcaption>
<div class="legend">{% for name, colour in chart.legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: equal</span></div>{{ chart.svg }}
<span class="unit">A point is a plot at a date. The nearer the points to the line, the better single plots are
predicted.</span></figure>
{% endfor %}
{% if legend %}
<figure><figcaption>Calibration: right on average?</figcaption>
<div class="legend">{% for name, colour in legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: equal</span></div>{{ calibration }}
<span class="unit">Plots in equal parts, from the lowest to the highest prediction; bars: two standard errors. Points above
the line at the right end: dense forest is predicted too low.</span></figure>
<figure><figcaption>Do intervals hold what they promise?</figcaption>
<div class="legend">{% for name, colour in legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: as promised</span></div>{{ reliability }}
<span class="unit">Intervals of plots, from 50 to 99 %; bars: two standard errors. Below the line they are too narrow, above it
wider than need be.</span></figure>
<figure><figcaption>... and for open and dense forest alike?</figcaption>
<div class="legend">{% for name, colour in legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>
{% endfor %}<span class="unit">dashed: the {{ confidence }} promised</span></div>{{ coverage }}
<span class="unit">The same parts of the plots as in the calibration; bars: two standard errors of chance.</span></figure>
{% endif %}
<figure><figcaption>Plots: measured less predicted</figcaption>
{{ residual_map.legend }}
<div class="map" style="{{ limit }}"><svg viewBox="{{ view }}" role="img" aria-label="Map of plots"><use href="#outlines"
class="outline"/>
{% for one in residual_map.unused %}
<path d="M{{ one.x }} {{ one.y }}m-9 -9l18 18m0 -18l-18 18" stroke="#666" stroke-width="4" fill="none">
<title>{{ one.title }}</title></path>{% endfor %}
{% for one in residual_map.used %}
<circle cx="{{ one.x }}" cy="{{ one.y }}" r="13" fill="{{ one.colour }}" stroke="#111" stroke-width="2">
<title>{{ one.title }}</title></circle>{% endfor %}
</svg><span class="bar" style="width:{{ "%.2f"|format(scale[1]) }}%">{{ scale[0] }}</span></div>
<span class="unit">Mean over the dates, from the first predictor set that has the plot{% if residual_map.unused %};
crosses: {{ residual_map.unused|length }} plots not used{% endif %}. Plots of one colour side by side: the model errs by
region.</span>
</figure>
{% for fold in folds %}
<figure><figcaption>Folds like the map, {{ fold.name }}</figcaption>
<div class="map" style="{{ limit }}"><svg viewBox="{{ view }}" role="img" aria-label="Map of folds"><use href="#outlines"
class="outline"/>
{% for one in fold.plots %}
<circle cx="{{ one.x }}" cy="{{ one.y }}" r="13" fill="{{ one.colour }}" stroke="#111" stroke-width="2">
<title>{{ one.title }}</title></circle>
{% endfor %}
</svg><span class="bar" style="width:{{ "%.2f"|format(scale[1]) }}%">{{ scale[0] }}</span></div>
<span class="unit">{{ fold["count"] }} folds: plots of one colour are left out together and predicted by a model of the
others{% if not fold.scored %} (here too few stay for a fit){% endif %}.</span></figure>
{% endfor %}
{% for chart in distances %}
<figure><figcaption>How far predictions reach, {{ chart.name }}</figcaption>
<div class="legend">{% for name, colour in chart.legend %}
<span class="swatch"><i class="dot" style="background:{{ colour }}"></i>{{ name }}</span>{% endfor %}</div>{{ chart.svg }}
<span class="unit">Black: the stands' distance to their nearest plot. A way to leave plots out is honest where its line lies on
the black one, and flatters where it lies left of it.</span></figure>
{% endfor %}
</div>
<h4>By what is left out together</h4>
<div class="scroll"><table class="dense"><thead><tr><th>Predictor set</th><th>Left out</th><th class="n">Folds</th>
<th class="n">RMSE</th><th class="n">Bias</th><th class="n">R²</th><th class="n">Calibration slope</th>
<th class="n">Inside the {{ confidence }} interval</th><th class="n">Its width ({{ units }})</th>
<th class="n">CRPS ({{ units }})</th><th class="n">Error / SD</th><th class="n">Bias of the highest ({{ units }})</th>
</tr></thead><tbody>
{% for row in rows %}
<tr{% if row.bold %} style="font-weight:600"{% endif %}><td>{{ row.set }}</td>
<td>{{ row.title }}</td><td class="folds">{{ row.folds }}</td>
{% if row.why %}<td colspan="9">{{ row.why }}</td>{% else %}
<td class="n">{{ row.rmse }}</td><td class="n">{{ row.bias }}</td><td class="n">{{ row.r2 }}</td>
<td class="n">{{ row.slope }}</td>
<td class="n">{{ row.coverage }}</td><td class="n">{{ row.width }}</td><td class="n">{{ row.crps }}</td>
<td class="n">{{ row.over_sd }}</td><td class="n">{{ row.highest }}</td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
<p class="note">Standardisation, fit, back-transformation and the spread of residuals are made anew in every fold; clusters stay
whole but in the first row of a set. The row in bold speaks of the map: its folds lie as far from their training plots as
the stands lie from all plots; charts and the table below are of it (where none of its folds could be fitted, of whole clusters
left out). A slope below 1 exaggerates differences; a bias of the
highest predictions (their last tenth, fifth of fewer than 100, or third of fewer than 50) far below zero is saturation. CRPS is
the error of the whole predicted distribution. Error / SD holds errors against the standard deviations that the model expects of
them, from which errors of stands are made: 1 is right, above 1 they are too small.</p>
{% if groups %}
<h4>By stratum and year</h4>
<div class="scroll"><table><thead><tr><th>Predictor set</th><th>Part</th><th class="n">Measurements</th>
<th class="n">Clusters</th>
<th class="n">Measured mean ({{ units }})</th><th class="n">RMSE</th><th class="n">Bias ± standard error ({{ units }})</th>
<th class="n">Inside the {{ confidence }} interval</th><th>Remark</th></tr></thead><tbody>
{% for row in groups %}
<tr><td>{{ row.set }}</td><td>{{ row.kind }} {{ row.name }}</td><td class="n">{{ row.n }}</td>
<td class="n">{{ row.clusters }}</td>
<td class="n">{{ row.mean }}</td><td class="n">{{ row.rmse }}</td><td class="n">{{ row.bias }}</td>
<td class="n">{{ row.coverage }}</td><td>{% if row.few %}few plots: says little{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">RMSE in percent of the part's own mean. A bias of more than two standard errors is hardly chance: the model
takes that part for another.{% if strata %} Strata here are those that the plots themselves carry in their table; the table of
strata told apart, and the totals, use those of the stands, so a plot may stand in another part there.{% endif %}</p>
{% endif %}
{% if no_strata %}<p class="note">The plots carry no stratum, so scores are not told by stratum.</p>{% endif %}
"""
