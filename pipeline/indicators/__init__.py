"""Indicators: declared formulas on bands. `INDICATORS` lists them; a plug-in adds one with `@indicator`."""

from pipeline.indicators import optical as _optical  # noqa: F401  (its formulas declare themselves on import)
from pipeline.indicators.registry import INDICATORS, Indicator, compute, indicator

__all__ = ["INDICATORS", "Indicator", "compute", "indicator"]
