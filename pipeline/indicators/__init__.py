"""Indicators: declared formulas on bands. `INDICATORS` lists them; a plug-in adds one with `@indicator`."""

# Their formulas declare themselves on import, in the order in which tables list them.
from pipeline.indicators import optical, tasselled_cap, texture, radar, terrain  # noqa: F401  isort: skip
from pipeline.indicators.registry import INDICATORS, Indicator, called_here, compute, indicator, known_as

__all__ = ["INDICATORS", "Indicator", "called_here", "compute", "indicator", "known_as"]
