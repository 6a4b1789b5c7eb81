"""Composites: one clear image from the scenes of a year and season."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np

Reducer = Callable[[np.ndarray, np.ndarray], np.ndarray]

REDUCERS: dict[str, Reducer] = {}
"""What turns the observations of a pixel into one value, by name."""


def reducer(formula: Reducer) -> Reducer:
    """Declare a reducer: observations (dates, rows, cols) with missing as NaN, their count (rows, cols) -> value."""
    REDUCERS[formula.__name__] = formula
    return formula


@reducer
def median(observations: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Middle observation, or the mean of the two in the middle."""
    ordered = np.sort(observations, axis=0)  # NaN goes last
    lower, upper = np.maximum(count - 1, 0) // 2, count // 2
    upper = np.minimum(upper, len(ordered) - 1)
    low = np.take_along_axis(ordered, lower[None], axis=0)[0]
    high = np.take_along_axis(ordered, upper[None], axis=0)[0]
    return (low + high) / 2


@reducer
def mean(observations: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean of the observations."""
    total = np.where(np.isnan(observations), 0, observations).sum(axis=0, dtype="float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count


def compose(
    stack: Mapping[str, np.ndarray], reducer: str = "median", *, min_clear_count: int = 1
) -> dict[str, np.ndarray]:
    """One image per band from clear observations, and how many there were.

    Parameters
    ----------
    stack : mapping of role to float32 array (dates, rows, cols)
        Reflectance, missing NaN. An observation counts only where every band has one, so that all bands of a pixel
        come from the same dates.
    reducer : str
        A name in `REDUCERS`.
    min_clear_count : int
        Pixels with fewer observations are missing.

    Returns
    -------
    dict of role to float32 array (rows, cols), and `clear_count` as int16

    Raises
    ------
    ValueError
        For an unknown reducer, an empty stack or bands of different shapes.
    """
    if reducer not in REDUCERS:
        near = difflib.get_close_matches(reducer, REDUCERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{reducer!r} is not a reducer{hint}; known: {', '.join(REDUCERS)}")
    shapes = {array.shape for array in stack.values()}
    if len(shapes) != 1 or not next(iter(shapes))[0]:
        raise ValueError(f"a composite needs bands of one shape and at least one date, got shapes {sorted(shapes)}")
    clear = np.logical_and.reduce([~np.isnan(array) for array in stack.values()])
    count = clear.sum(axis=0)
    enough = count >= max(min_clear_count, 1)
    image = {}
    for role, observations in stack.items():
        value = REDUCERS[reducer](np.where(clear, observations, np.float32(np.nan)), count)
        image[role] = np.where(enough, value, np.nan).astype("float32")
    image["clear_count"] = count.astype("int16")
    return image
