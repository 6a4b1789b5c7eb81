"""All estimators by name: `estimate("greg", survey, ...)`. Adding one is a function with `@estimator` in a module named here."""

from __future__ import annotations

from models.inference import area_models, expansion, regression, strips, weighted
from models.inference.area_estimate import AreaEstimate
from models.inference.registry import ESTIMATORS
from models.inference.survey import Survey

MODULES = (expansion, weighted, regression, strips, area_models)


def estimate(name: str, survey: Survey, **settings) -> AreaEstimate | dict[str, AreaEstimate]:
    """Run an estimator of `ESTIMATORS`, after its needs are checked.

    Raises
    ------
    ValueError
        Where the name is unknown or the survey is not what the estimator needs.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"{name!r} is not an estimator; known: {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name].function(survey, **settings)
