"""The reference page of indicators, made from the registry, so that it cannot fall behind it."""

from __future__ import annotations

import inspect
import math
import sys

from pipeline.indicators.registry import AMBIGUOUS, INDICATORS, Indicator

HEADING = {
    "optical": "Vegetation, water, soil and red edge",
    "tasselled_cap": "Tasselled cap",
    "texture": "Texture",
    "radar": "Radar",
    "terrain": "Terrain",
}

INTRODUCTION = """# Indicators

Written by `python -m pipeline list indicators --page`; a test keeps it in step with the code.

A predictor of a study is `<sensor prefix>_<indicator>`, such as `s2_ndmi`, or `<sensor prefix>_<band>`, such as
`s1_vh`, which is the band itself (backscatter in linear power). Bands are named by role, as STAC names them. An indicator is
offered for every sensor that has its bands, unless the column *sensors* names those it holds for.

- Missing in any band is missing in the indicator, and so is a division by zero.
- Reflectance below zero, an artefact of the atmospheric correction of dark surfaces, counts as zero. Backscatter of zero or
  less is missing.
- The range holds for reflectance from 0 to 1. A range without bounds belongs to a ratio whose denominator can vanish.
- *Reach* is how far around a pixel it looks; blocks are read that much wider, so cutting changes nothing.
- On Sentinel-2 near infrared is `nir08` (B8A, narrow, 20 m) as on Landsat, so that formulas agree; texture and the tasselled
  cap (of reflectance that was not brought to OLI) take `nir` (B08, 10 m).

Every formula is compared with [Awesome Spectral Indices](https://github.com/awesome-spectral-indices) (spyndex) in the
tests. Differences on purpose: what is said above of missing, zero and of near infrared on Sentinel-2; `bsi` is their `BI`,
`ci_red_edge` their `CIRE`, `ndre` their `NDREI`; `kndvi` fixes sigma at half the sum of near infrared and red, which they
leave to the caller, and `savi` L at 0.5, where their default is 1; `msavi` is multiplied out, which loses no digits;
`vh_vv_ratio_db` is in decibels where theirs is a ratio. They have no tasselled cap, texture or terrain.

Left out: the topographic wetness index, which needs the flow of a whole catchment; leaf area, absorbed light and cover by
the networks of ESA's Sentinel-2 toolbox, whose weights we could find only inside software under the GPL, not in a publication
that can be cited number by number, and which need the angles of view and sun that composites do not carry.
"""

SEASONS = """## Seasons

Percentiles, amplitude and harmonics (mean, trend, amplitude, phase) take the dates of a season or of years, so they are made
with the composite and not from it: `pipeline/indicators/phenology.py`.
"""


def rows() -> list[tuple[str, ...]]:
    """Name, unit, range, reach, sensors, title, bands and reference of every indicator."""
    return [
        (name, one.units, _range(one), reach(one), " ".join(one.sensors), one.title, " ".join(one.bands), one.reference)
        for name, one in INDICATORS.items()
    ]


def page() -> str:
    """The page as Markdown: indicators of our own by module, then names that are other things elsewhere."""
    parts = [INTRODUCTION]
    for module, heading in HEADING.items():
        full = f"pipeline.indicators.{module}"
        about = (inspect.getdoc(sys.modules[full]) or "").partition("\n\n")[2]
        parts.append(f"## {heading}\n" + (f"\n{about}\n" if about else ""))
        parts.append("| name | what | formula | unit | range | bands | reach | sensors | reference |\n|" + "---|" * 9)
        parts += [_line(one) for one in INDICATORS.values() if one.formula.__module__ == full]
        parts.append("")
    parts.append(SEASONS)
    parts.append("## Other names\n\n| asked for | here |\n|---|---|")
    parts += [f"| {alias} | `{one.name}` |" for one in INDICATORS.values() for alias in one.aliases]
    parts += [f"| {name} | {meaning} |" for name, meaning in AMBIGUOUS.items()]
    return "\n".join(parts) + "\n"


def reach(one: Indicator) -> str:
    if one.halo_m:
        return f"{one.halo_m:g} m"
    return f"{one.halo_px} px" if one.halo_px else ""


def _line(one: Indicator) -> str:
    formula = f"`{one.expression}`" if one.expression else ""
    cells = (
        f"`{one.name}`", one.title, formula, one.units, _range(one), " ".join(one.bands), reach(one),
        " ".join(one.sensors), one.reference,
    )  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _range(one: Indicator) -> str:
    low, high = (f"{value:.5g}" if math.isfinite(value) else "" for value in one.valid_range)
    return f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}" if high else "without bounds"
