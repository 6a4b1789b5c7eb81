"""Numbers as people read them: as many digits as their error warrants, missing said as such."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from pipeline.config import TARGETS

MISSING = "–"
MINUS = "\u2212"
THOUSANDS = "\u202f"

CARBON_QUANTITIES = {
    "tree_carbon_t_ha": ("Tree carbon", "t C/ha"),
    "net_removal_t_co2_ha_yr": ("Net removal", "t CO2/ha/yr"),
}
"""Title and unit of what is computed from a stock and its change."""


def known(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: float | None, *, digits: int = 3, error: float | None = None, signed: bool = False) -> str:
    """A number as text.

    Parameters
    ----------
    digits : int
        Significant digits, where no error is given.
    error : float, optional
        A standard error: the number is rounded to where the error has its second digit, but never away: of a number much smaller
        than its error two digits stay before the decimal point, or its first behind it.
    signed : bool
        Whether a plus sign is shown.
    """
    if value is None or not known(float(value)):
        return MISSING
    value = float(value)
    decimals = digits - 1 - _magnitude(value)
    if error is not None and known(float(error)) and error > 0:
        decimals = max(1 - _magnitude(float(error)), _fewest(value, 1 - _magnitude(float(error))))
    return _grouped(round(value, decimals), max(decimals, 0), signed)


NOTHING_DECIMALS = 3
"""A number whose first digit lies so many places behind the last that its error warrants is zero for people."""


def _fewest(value: float, warranted: int) -> int:
    """Decimals with which something of a value is left, where its error would leave less."""
    first = -_magnitude(value) if value else warranted
    if first > warranted + NOTHING_DECIMALS:
        return warranted
    return max(first, min(first + 1, 0))


def count(value: float | None) -> str:
    """A whole number."""
    return MISSING if value is None or not known(float(value)) else _grouped(round(float(value)), 0, False)


def size(value: float | None) -> str:
    """An area or length as it is spoken of: three digits, no zeros at the end."""
    return MISSING if value is None or not known(float(value)) else f"{float(value):.3g}"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _grouped(value: float, decimals: int, signed: bool) -> str:
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    if float(value) == 0:
        text = text.lstrip("+-")
    return text.replace(",", THOUSANDS).replace("-", MINUS)


TELL_OUTSIDE_PERCENT = 20.0
"""Share of the forest outside what plots show from which on a number is said to be extrapolated where it stands."""


def extrapolated(percent: float | None) -> str:
    """That a number is of forest that the plots do not show; empty below `TELL_OUTSIDE_PERCENT`."""
    if percent is None or percent < TELL_OUTSIDE_PERCENT:
        return ""
    return (
        f"{percent:.0f} % of the forest lies outside what the plots show: the model extrapolates there, and its intervals do not "
        "hold the error of that."
    )


def span(first: int, last: int) -> str:
    """A year, or two with what lies between."""
    return f"{first}" if first == last else f"{first} to {last}"


def quantity(name: str) -> tuple[str, str]:
    """Title and unit of a quantity such as `agb_mg_ha` or `tree_carbon_t_ha`."""
    if name in CARBON_QUANTITIES:
        return CARBON_QUANTITIES[name]
    return next(
        ((about["title"], about["units"]) for about in TARGETS.values() if about["column"] == name),
        (name.replace("_", " "), ""),
    )


def estimand(name: str) -> tuple[str, str]:
    """Title and unit of an estimand such as `agb_2024` or the change `agb_2019_2024`."""
    years = re.findall(r"(?<=_)\d{4}(?=_|$)", name)
    target = name
    for year in reversed(years):
        target = target.removesuffix(f"_{year}")
    about = TARGETS.get(target)
    title, units = (about["title"], about["units"]) if about else quantity(target)
    if len(years) == 2:
        return f"{title}, change {years[0]} to {years[1]}", units
    return f"{title} {years[0]}" if years else title, units


def counted_reasons(reasons: Iterable[str]) -> list[tuple[int, str]]:
    """How often each reason is given, most frequent first; reasons that differ in a number alone count as one.

    A reason that stands for several is shown as the first of them, marked as an example.
    """
    alike: dict[str, Counter] = {}
    for reason in reasons:
        alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), Counter())[reason] += 1
    found = [
        (sum(variants.values()), f"for example: {min(variants)}" if len(variants) > 1 else next(iter(variants)))
        for variants in alike.values()
    ]
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))
