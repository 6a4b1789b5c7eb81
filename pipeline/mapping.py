"""From predictors to maps on one chunk: stock and change with standard errors, inside forest. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from models.inference.residuals import difference_sd
from models.inference.target_model import PIECE, TargetModel

NO_FOREST, REMAINING, GAINED, LOST = 0, 1, 2, 3


def large_patches(forest: np.ndarray, min_px: int) -> np.ndarray:
    """Forest (rows, cols; 1, 0 or NaN) without patches smaller than `min_px` pixels (neighbours by edge or corner).

    A small patch that unknown pixels might complete is unknown. Exact for every pixel at least `min_px` pixels from the
    edge: a patch that is large enough has `min_px` connected pixels within that distance.
    """
    if min_px <= 1:
        return forest
    wooded, unknown = forest == 1, np.isnan(forest)
    small = wooded & (_patch_px(wooded) < min_px)
    unsure = small & (_patch_px(wooded | unknown) >= min_px) if unknown.any() else False
    return np.where(unsure, np.nan, np.where(small, 0.0, forest))


def _patch_px(mask: np.ndarray) -> np.ndarray:
    """Size in pixels of the patch that each pixel of a mask (rows, cols) is in."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return np.bincount(labels.ravel(), minlength=count + 1)[labels]


STRIP_NUMBERS = 8_000_000
"""Numbers that the gradients of one strip hold (32 MB): two dates, their change and what is made on the way fit 300 MB."""


def strips(model: TargetModel, n: int) -> list[slice]:
    """Parts of a chunk's n pixels that are served one after the other, so that gradients fit whatever the model."""
    rows = max(STRIP_NUMBERS // model.influence.shape[1], 1)
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def stock_layers(
    model: TargetModel,
    predictors: Mapping[str, np.ndarray],
    forest: np.ndarray,
    year: int,
    usable: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Stock of one year on a chunk.

    Parameters
    ----------
    predictors : mapping of name to array (rows, cols)
    forest : array (rows, cols)
        1 forest, 0 not (stock 0 without error), NaN unknown (missing).
    usable : array (rows x cols, sets), optional
        Predictor sets that may serve each pixel; all that are complete where it is not given.

    Returns
    -------
    dict of flat arrays (rows x cols)
        value, residual_sd, part_sd (n, sets), set_number, in_domain, forest, gradient (n, p); value is NaN where missing.
    """
    wooded = forest.ravel() == 1
    bare = forest.ravel() == 0
    pixels = slice(None) if wooded.all() else np.flatnonzero(wooded)
    seen = {name: array.ravel()[pixels] for name, array in predictors.items()}
    found = model.predict(seen, year, None if usable is None else usable[pixels])
    found = {
        "value": found["mean"], "residual_sd": found["residual_sd"], "set_number": found["set_number"],
        "part_sd": found["part_sd"], "in_domain": found["in_domain"], "gradient": found["gradient"],
    }  # fmt: skip
    found["residual_sd"][found["set_number"] < 0] = 0.0
    if isinstance(pixels, slice):
        return {**found, "forest": wooded}
    layers = {
        "value": np.where(bare, 0.0, np.nan),
        "residual_sd": np.zeros(wooded.size),
        "part_sd": np.zeros((wooded.size, len(model.sets))),
        "set_number": np.full(wooded.size, -1, "int8"),
        "in_domain": bare.copy(),
        "gradient": np.zeros((wooded.size, model.influence.shape[1]), "float32"),
    }
    for name, layer in layers.items():
        layer[pixels] = found[name]
    return {**layers, "forest": wooded}


def with_no_change(layers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A stock's layers with the columns that only a change fills."""
    nothing = np.zeros(layers["value"].size, bool)
    return {**layers, "gained": nothing, "lost": nothing}


def sets_for_change(
    model: TargetModel, predictors: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], forest: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Predictor sets (rows x cols, sets) that a change may be told from: those complete at both dates of a forest pixel.

    A pixel that lidar shows at one date and the satellite at the other would show the difference of two models as a
    change. Where no set is complete at both dates, or only one date is forest, every set may serve.
    """
    complete = [model.complete({name: array.ravel() for name, array in seen.items()}) for seen in predictors]
    common = complete[0] & complete[1]
    wooded = (forest[0].ravel() == 1) & (forest[1].ravel() == 1)
    return np.where((wooded & common.any(axis=1))[:, None], common, True)


def change_layers(
    model: TargetModel, first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Change between two years from their stock layers; missing where either is.

    The residuals of both years at a pixel are correlated as the plots' are; what a set left unexplained at one year alone
    counts as independent of the other year's, which is the cautious case.

    Returns
    -------
    dict of flat arrays (rows x cols)
        As `stock_layers`, and gained, lost; once (n, sets) int8: 1 where the set has residuals at the later year alone, -1 at the
        earlier alone, so that `part_sd` is that year's, else 0; column_set (p,): whose `once` each column of `gradient` follows.
    """
    s1, s2 = first["part_sd"], second["part_sd"]
    n1, n2 = first["set_number"], second["set_number"]
    sd = difference_sd(s1, s2, 0.0)
    once = np.subtract(s2 > 0, s1 > 0, dtype="int8")
    # parameters of a second stage are moved by plots through the first, whose residuals its places carry too
    roots = [np.full(len(one.params), carried[0]) for one, carried in zip(model.sets, model.carried, strict=True)]
    for number, one in enumerate(model.sets):
        both = (s1[:, number] > 0) & (s2[:, number] > 0)
        sd[both, number] = one.residuals.change_sd(s1[both, number], s2[both, number])
    return {
        "value": second["value"] - first["value"],
        "residual_sd": np.sqrt((sd**2).sum(axis=1)),
        "part_sd": sd,
        "set_number": np.where(n2 >= 0, n2, n1),
        "in_domain": first["in_domain"] & second["in_domain"],
        "forest": first["forest"] | second["forest"],
        "gained": ~first["forest"] & second["forest"],
        "lost": first["forest"] & ~second["forest"],
        "gradient": second["gradient"] - first["gradient"],
        "once": once,
        "column_set": np.concatenate(roots),
    }


def pixel_se(model: TargetModel, layers: dict[str, np.ndarray]) -> np.ndarray:
    """Standard error (n,) of a pixel's estimate as a prediction of the pixel's own value; missing where it is."""
    variance = layers["residual_sd"] ** 2
    for start in range(0, len(variance), PIECE):
        told = layers["gradient"][start : start + PIECE] @ model.root
        variance[start : start + PIECE] += np.einsum("ij,ij->i", told, told)
    return np.where(np.isfinite(layers["value"]), np.sqrt(variance), np.nan)


def forest_class(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """0 no forest, 1 remaining, 2 gained, 3 lost (rows, cols) from two forest layers; missing where either is."""
    classes = np.select(
        [(first == 1) & (second == 1), (first == 0) & (second == 1), (first == 1) & (second == 0)],
        [REMAINING, GAINED, LOST],
        NO_FOREST,
    ).astype(float)
    classes[np.isnan(first) | np.isnan(second)] = np.nan
    return classes
