"""One place to add an estimator: a function with `@estimator(...)`, which also says what it needs.

The needs are checked before the function runs, so that no estimator whose proof is the sampling design is ever given plots
that somebody chose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal

from models.inference.survey import Survey


@dataclass(frozen=True)
class Estimator:
    """What an estimator is and what it needs.

    probability_sample : its proof is the sampling design: purposive plots are refused
    auxiliaries : none, sampled (means from the earlier phase), exhaustive (means given by the caller), either
    strata : plots and the area carry strata; areas : estimates areas smaller than what the plots were laid out for
    phases : phases of sampling, the ground sample included
    may_be_biased : biased for an area that departs from the model
    weighted : counts plots by their weights, so that it holds where places had unequal chances to become plots
    """

    name: str
    title: str
    function: Callable
    probability_sample: bool
    auxiliaries: Literal["none", "sampled", "exhaustive", "either"]
    strata: bool
    areas: bool
    phases: int
    may_be_biased: bool
    reference: str
    weighted: bool = False


ESTIMATORS: dict[str, Estimator] = {}


def estimator(
    *,
    reference: str,
    probability_sample: bool = True,
    auxiliaries: Literal["none", "sampled", "exhaustive", "either"] = "none",
    strata: bool = False,
    areas: bool = False,
    phases: int = 1,
    may_be_biased: bool = False,
    weighted: bool = False,
) -> Callable:
    """Enter a function under its own name; its first argument is a `Survey` (or a table of direct estimates), its docstring's
    first line the title."""

    def enter(function: Callable) -> Callable:
        name = function.__name__
        if name in ESTIMATORS:
            raise ValueError(f"two estimators are named {name!r}")

        @wraps(function)
        def checked(source, *args, **kwargs):
            if isinstance(source, Survey):
                check_needs(entry, source)
            return function(source, *args, **kwargs)

        title = (function.__doc__ or "").strip().split("\n")[0].rstrip(".")
        entry = ESTIMATORS[name] = Estimator(
            name, title, checked, probability_sample, auxiliaries, strata, areas, phases, may_be_biased, reference, weighted
        )
        return checked

    return enter


def check_needs(entry: Estimator, survey: Survey) -> None:
    """Refuse a survey that an estimator does not hold for.

    Raises
    ------
    ValueError
        With what is missing and which estimators do without it.
    """
    check_selection(entry, survey.selection)
    if entry.strata and survey.stratum is None:
        raise ValueError(f"{entry.name} needs the stratum of every plot, and the survey has none")
    if entry.areas and survey.area is None:
        raise ValueError(f"{entry.name} estimates areas, and the survey does not say in which area a plot lies")


def check_selection(entry: Estimator, selection: str) -> None:
    """Refuse plots that chance did not choose to an estimator whose proof is the sampling design."""
    if entry.probability_sample and selection != "probability":
        others = [name for name, other in ESTIMATORS.items() if not other.probability_sample]
        raise ValueError(
            f"{entry.name} draws its error from the chance by which plots were selected, and these plots are "
            f"{selection}: nobody knows with what chance each place could have become a plot, so neither the mean nor "
            f"its standard error would hold; use a model-based estimator ({', '.join(others) or 'of the maps'})"
        )
