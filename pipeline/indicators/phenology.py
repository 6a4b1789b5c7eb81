"""What a series of images says of the seasons: harmonics, percentiles and amplitude of each pixel.

These take a stack of dates, so they are computed where the dates still are, when a composite is made; they are functions,
not declared indicators of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

YEAR_DAYS = 365.25
OBSERVATIONS_PER_PARAMETER = 2


@dataclass(frozen=True)
class Harmonic:
    """A yearly wave with a trend, per pixel (rows, cols), float32; missing where it cannot be told.

    `mean` is the level at `reference_date`, `trend_per_year` its change in a year, `amplitude` half the height of the wave,
    `phase_days` the day of the year, from 0 on 1 January, when the wave is highest; `rmse` of the fit and `count` of dates.
    """

    mean: np.ndarray
    trend_per_year: np.ndarray
    amplitude: np.ndarray
    phase_days: np.ndarray
    rmse: np.ndarray
    count: np.ndarray
    reference_date: np.datetime64


def harmonic(values: np.ndarray, dates: ArrayLike, *, trend: bool = True, min_count: int | None = None) -> Harmonic:
    """A yearly harmonic of each pixel by least squares over the dates that are there.

    Parameters
    ----------
    values : array (dates, rows, cols)
        Missing NaN.
    dates : datetimes (dates)
        In any order; several a day are allowed.
    trend : bool
        Whether the level may change linearly. Without it `trend_per_year` is 0.
    min_count : int, optional
        Fewest dates of a pixel; two per parameter (8 with a trend, 6 without) where it is not given.

    Returns
    -------
    Harmonic
        Missing also where the dates lie so that level, trend and wave cannot be told apart: all within one season, say.

    Raises
    ------
    ValueError
        When dates and values differ in number, or fewer dates are asked for than the model has parameters.

    References
    ----------
    Jakubauskas et al. 2001, Photogrammetric Engineering and Remote Sensing 67, 461-470; Zhu and Woodcock 2014,
    doi:10.1016/j.rse.2014.01.011 (one wave with a trend).
    """
    from pipeline.indicators.kernels import least_squares

    stack, shape = _stack(values, dates)
    when = np.asarray(dates, "datetime64[s]")
    reference = when.min() + (when.max() - when.min()) // 2
    year = np.timedelta64(round(YEAR_DAYS * 86_400), "s")
    years = (when - reference) / year
    turn = 2 * np.pi * ((when - np.datetime64("1970-01-01", "s")) / year)  # a time span times a number would be cut to seconds
    design = np.stack([np.ones_like(years), np.cos(turn), np.sin(turn), *([years] if trend else [])], axis=1)
    parameters = design.shape[1]
    fewest = OBSERVATIONS_PER_PARAMETER * parameters if min_count is None else min_count
    if fewest < parameters:
        raise ValueError(f"min_count {fewest} is less than the {parameters} parameters of the model")
    found, count, mean_square = least_squares(design, stack, fewest)
    phase = np.mod(np.arctan2(found[2], found[1]) / (2 * np.pi), 1) * YEAR_DAYS
    level = np.where(np.isnan(found[0]), np.nan, 0.0)
    layers = (found[0], found[3] if trend else level, np.hypot(found[1], found[2]), phase, np.sqrt(mean_square))
    mean, slope, amplitude, phase, rmse = (layer.reshape(shape).astype("float32") for layer in layers)
    return Harmonic(mean, slope, amplitude, phase, rmse, count.reshape(shape), reference)


def percentiles(values: np.ndarray, percents: Sequence[float] = (10, 50, 90), *, min_count: int = 1) -> np.ndarray:
    """Percentiles of each pixel over the dates that are there (percents, rows, cols), float32.

    Linear between the ordered values (type 7 of Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, as numpy's).
    Missing where fewer than `min_count` dates are there.

    Raises
    ------
    ValueError
        For a percentage below 0 or above 100.
    """
    from pipeline.indicators.kernels import quantiles

    if not all(0 <= percent <= 100 for percent in percents):
        raise ValueError(f"percentiles lie between 0 and 100, got {list(percents)}")
    stack, shape = _stack(values)
    found = quantiles(stack, np.asarray(percents, "float64") / 100, min_count)
    return found.reshape(len(percents), *shape).astype("float32")


def amplitude(values: np.ndarray, *, low: float = 10, high: float = 90, min_count: int = 2) -> np.ndarray:
    """Difference of two percentiles of each pixel (rows, cols), float32: how much a season changes it.

    Percentiles, not the extremes: one cloud that was not masked would be the largest amplitude of all.
    """
    lower, upper = percentiles(values, (low, high), min_count=min_count)
    return upper - lower


def _stack(values: np.ndarray, dates: ArrayLike | None = None) -> tuple[np.ndarray, tuple[int, ...]]:
    """Values as (dates, pixels), and the shape of one date."""
    values = np.asarray(values)
    if values.ndim < 2:
        raise ValueError(f"values of dates, rows and columns are needed, got an array of shape {values.shape}")
    if dates is not None and len(np.asarray(dates)) != len(values):
        raise ValueError(f"{len(np.asarray(dates))} dates do not belong to {len(values)} images")
    return np.ascontiguousarray(values.reshape(len(values), -1)), values.shape[1:]
