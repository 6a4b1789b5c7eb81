"""The section of canopies: per campaign its canopy height model, and its trees in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.report import words
from pipeline.report.figures import inline, ramp_image
from pipeline.report.look import render, trusted
from pipeline.report.maps import LEGEND, scale_of, ticks_of
from pipeline.report.material import Material


def section(material: Material) -> str:
    """Pictures on one colour scale, and a table; empty where no campaign asked for canopy products."""
    if not material.canopies:
        return ""
    layers = [layer for _, layer in material.canopies.values()]
    values = np.concatenate([layer.valid for layer in layers])
    ramp, breaks = scale_of(values, "stock")
    text, percent = material.frame.scale_bar()
    legend = render(
        LEGEND, view="", units="m", ramp=ramp, ticks=ticks_of(values, breaks, "stock"), swatches=[],
        missing=any(layer.missing_percent > 0 for layer in layers),
    )  # fmt: skip
    panels = [
        (name, inline(ramp_image(layer, ramp, breaks[0], breaks[-1], zero_colour=None)))
        for name, (_, layer) in material.canopies.items()
    ]
    return render(
        TEMPLATE,
        legend=legend,
        panels=panels,
        frame=material.frame,
        area=trusted(material.frame.area),
        scale_text=text,
        scale_percent=percent,
        rows=[_row(name, numbers, material.study["lidar"][name]) for name, (numbers, _) in material.canopies.items()],
    )


def _row(campaign: str, numbers: Mapping, settings: Mapping) -> dict:
    rules = settings["canopy_products"]
    surface = "highest return" if rules["surface"] == "highest" or settings["canopy_height"] else "pit-free"
    return {
        "campaign": f"{campaign} ({settings['date']}, leaf-{settings['leaf']})",
        "surface": f"{surface}, squares of {numbers['resolution_m']:g} m",
        "rule": f"highest within {rules['search_radius_m']:g} m + {rules['search_radius_per_m']:g} x height, "
        f"{rules['min_height_m']:g} m and higher",
        **{
            name: words.number(numbers[name]) if numbers[name] is not None else "none"
            for name in (
                "area_ha", "drawn_percent", "mean_height_m", "p95_height_m", "trees", "trees_n_ha", "mean_tree_height_m",
                "crown_cover_percent",
            )
        },
    }  # fmt: skip


TEMPLATE = """
<div class="groups"><div class="mapgroup span{{ [panels|length, 3]|min }}">
<h3>Canopy height above ground</h3>
{{ legend }}
<div class="maps">
{% for name, picture in panels %}
<figure><figcaption>{{ name }}</figcaption>
<div class="map" style="{{ frame.limit }}"><svg viewBox="{{ frame.view }}" role="img" aria-label="Canopy height, {{ name }}">
<rect {{ area }} fill="url(#missing)"/>
<image {{ area }} preserveAspectRatio="none" href="{{ picture }}"/>
<use href="#outlines" class="outline"/></svg>
<span class="bar" style="width:{{ "%.2f"|format(scale_percent) }}%">{{ scale_text }}</span></div>
</figure>
{% endfor %}
</div></div></div>
<div class="scroll"><table><thead><tr><th>Campaign</th><th>Surface</th><th class="n">Flown, ha</th><th
class="n">Squares with a height, %</th><th class="n">Mean height, m</th><th class="n">95 % quantile, m</th><th
class="n">Trees</th><th class="n">Trees per ha</th><th class="n">Mean height of tops, m</th><th class="n">Under crowns,
%</th></tr></thead><tbody>
{% for row in rows %}
<tr><td>{{ row.campaign }}</td><td>{{ row.surface }}</td><td class="n">{{ row.area_ha }}</td><td
class="n">{{ row.drawn_percent }}</td><td class="n">{{ row.mean_height_m }}</td><td class="n">{{ row.p95_height_m }}</td><td
class="n">{{ row.trees }}</td><td class="n">{{ row.trees_n_ha }}</td><td class="n">{{ row.mean_tree_height_m }}</td><td
class="n">{{ row.crown_cover_percent }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">A tree is a top of the canopy ({{ rows[0].rule }}{% if rows|length > 1 %}; the settings of each campaign are in
run.json{% endif %}). Trees below others are not seen, one wide crown may count as two: these are no stem numbers.</p>
"""
