"""What every estimator returns: one mean with the named parts of its variance, degrees of freedom and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student

PARTS: dict[str, str] = {
    "sampling": "plots stand for the area (ground sample alone)",
    "auxiliary_means": "means of the auxiliaries come from a sample, not from a map of the whole area",
    "reduced_model": "the ground sample through the model of the widely known auxiliaries (three phases)",
    "regression": "residuals of the ground sample, the coefficients that they make included (g-weights)",
    "area_residual": "mean residual of the area's own plots",
    "post_stratification": "numbers of plots per stratum are random",
    "area_effect": "what the area has of its own and its plots leave unknown",
    "coefficients": "coefficients of a model-based estimator",
    "variance_components": "variance components are estimated too",
    "sources": "errors of the sources of a composite",
    "bias": "the bias of a source is corrected with an estimate, or only bounded",
}
"""Names of the parts of a variance. They add up to the squared standard error."""


@dataclass(frozen=True)
class AreaEstimate:
    """The mean of an area by one estimator, in the unit of the target per hectare.

    Attributes
    ----------
    area : name of the area; method : name of the estimator in `ESTIMATORS`
    mean : unit of the target (Mg/ha where the target is `agb_mg_ha`)
    variance_parts : unit squared, keys of `PARTS`; a part that cannot be told (one plot) is NaN, and so is the error
    degrees_of_freedom : of the t quantiles; inf for the normal
    n : what the estimate rests on: plots, clusters, points of the earlier phases
    other_variances : the same variance by other published formulas, by name
    notes : what the reader of the number has to know, one sentence each
    formula : which of several published formulas `variance_parts` follow (cr2, g_weight, external); empty where there is one
    """

    area: str
    method: str
    mean: float
    variance_parts: Mapping[str, float]
    degrees_of_freedom: float
    n: Mapping[str, int]
    other_variances: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    formula: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.variance_parts) - set(PARTS)
        if unknown:
            raise ValueError(f"{self.method} names variance parts {sorted(unknown)}; known: {', '.join(PARTS)}")

    @property
    def variance(self) -> float:
        return float(sum(self.variance_parts.values()))

    @property
    def se(self) -> float:
        return float(np.sqrt(self.variance))

    def interval(self, confidence_percent: float) -> tuple[float, float]:
        """Two-sided interval of the mean; (NaN, NaN) where the error is missing."""
        if not np.isfinite(self.se) or self.degrees_of_freedom <= 0:
            return (float("nan"), float("nan"))
        reach = float(student.ppf(0.5 + confidence_percent / 200, self.degrees_of_freedom)) * self.se
        return (self.mean - reach, self.mean + reach)

    def as_row(self, column: str) -> dict[str, object]:
        """One row of a table; `column` is the target's column with its unit, such as agb_mg_ha."""
        low_90, high_90 = self.interval(90)
        low_95, high_95 = self.interval(95)
        return {
            "area": self.area,
            "method": self.method,
            column: self.mean,
            f"{column}_se": self.se,
            f"{column}_low_90": low_90,
            f"{column}_high_90": high_90,
            f"{column}_low_95": low_95,
            f"{column}_high_95": high_95,
            "degrees_of_freedom": self.degrees_of_freedom,
            **{f"n_{name}": count for name, count in self.n.items()},
            **{f"{column}_variance_{name}": self.variance_parts.get(name, 0.0) for name in PARTS},
            "notes": "; ".join(self.notes),
        }
