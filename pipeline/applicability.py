"""How far a map may be trusted, pixel by pixel: how unlike the plots a place is, and how many plots are like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.applicability import FEWEST, beside, scale_differs
from models.inference.stratum_names import is_stratum

if TYPE_CHECKING:
    from models.inference.target_model import TargetModel

PIECE = 4096
"""Pixels that are looked at together: what is worked out for them on the way stays in the processor's cache."""

NAMES = ("dissimilarity_index", "local_point_density")


def applicability_layers(
    model: TargetModel, predictors: Mapping[str, np.ndarray], set_number: np.ndarray
) -> dict[str, np.ndarray]:
    """Dissimilarity index and local point density of a chunk's pixels, against the plots of the set that serves each.

    Parameters
    ----------
    predictors : mapping of name to array of n pixels, of any shape
    set_number : (n,) predictor set that serves each pixel, -1 where none does (no forest, or no complete set)

    Returns
    -------
    dict of flat arrays (n,)
        `dissimilarity_index` (1) and `local_point_density` (plots); NaN where no set serves.
    """
    found = {name: np.full(len(set_number), np.nan) for name in NAMES}
    for number, one in enumerate(model.sets):
        served = np.flatnonzero(set_number == number)
        columns = [predictors[name].ravel() for name in one.predictors] if len(served) else []
        for start in range(0, len(served), PIECE):
            rows = served[start : start + PIECE]
            index, density = one.domain.told(np.column_stack([column[rows] for column in columns]))
            found["dissimilarity_index"][rows] = index
            found["local_point_density"][rows] = density
    return found


def size_of(values: np.ndarray) -> dict[str, float] | None:
    """How large a predictor is at places (n,): count, mean, standard deviation and 5 and 95 % quantiles; None where none is."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.05, 0.95])
    return {
        "n": len(known), "mean": float(known.mean()), "sd": float(known.std()), "low": float(low), "high": float(high),
    }  # fmt: skip


def scale_sentences(sizes: Sequence[Mapping], sets: Sequence[Mapping]) -> list[str]:
    """Predictors that on the map as a whole are of another scale than at the plots: a sentence each. Of a block alone it may be
    what grows there.

    Parameters
    ----------
    sizes : predictor and year with what `size_of` says, a row for each block; ranges are those of all blocks
    sets : predictors of each predictor set with their `centre` and `spread` at the plots, as `SetModel` has them in plain values
    """
    return [
        f"predictor {name!r} of {year} is {differs}: another unit or scale, or a forest that the plots do not show; look at the "
        "files that it is read from, and at the area of applicability"
        for (name, year), numbers in _beside_plots(sizes, sets).items() if (differs := scale_differs(*numbers))
    ]  # fmt: skip


def farthest_sentence(sizes: Sequence[Mapping], sets: Sequence[Mapping]) -> str:
    """The predictor whose mean on the map is the most standard deviations away from that of the plots; empty where none is
    known. Parameters as of `scale_sentences`."""
    told = _beside_plots(sizes, sets)
    if not told:
        return ""
    name, year = max(told, key=lambda key: abs(told[key][2] - told[key][0]) / told[key][1])
    centre, spread, _, _, low, high = told[name, year]
    return (
        f"farthest from the plots is predictor {name!r} of {year}, {beside(low, high, centre, spread)}: are both in one unit "
        "and of one kind?"
    )


def _beside_plots(sizes: Sequence[Mapping], sets: Sequence[Mapping]) -> dict[tuple[str, int], tuple[float, ...]]:
    """Of each predictor and year: mean and standard deviation at the plots, those of the map, least and largest quantile of a
    block."""
    plots: dict[str, tuple[float, float]] = {}
    for one in sets:
        for name, centre, spread in zip(one["predictors"], one["centre"], one["spread"], strict=True):
            if not is_stratum(name):
                plots.setdefault(name, (float(centre), float(spread)))
    blocks: dict[tuple[str, int], list[Mapping]] = {}
    for row in sorted(sizes, key=lambda row: int(row["year"])):
        blocks.setdefault((row["predictor"], int(row["year"])), []).append(row)
    found = {}
    for (name, year), rows in blocks.items():
        n, mean, sd, low, high = (np.array([row[key] for row in rows], float) for key in ("n", "mean", "sd", "low", "high"))
        if name not in plots or n.sum() < FEWEST:
            continue
        middle = float(n @ mean / n.sum())
        width = float(np.sqrt(max(n @ (sd**2 + mean**2) / n.sum() - middle**2, 0.0)))
        found[name, year] = (*plots[name], middle, width, float(low.min()), float(high.max()))
    return found
