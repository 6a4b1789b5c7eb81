"""Predicting a map: ours with standard error and domain beside scikit-learn's random forest, point prediction only.

Ours maps 20 Mpx, block by block as `estimate` does. The forest maps one of the blocks, and its seconds are taken times their
number, for its cost is per pixel: `python -m benchmarks.prediction` shows that of both sides at 0.26 to 20 Mpx (the forest's to
1 Mpx), and what ours takes of memory.
"""

from __future__ import annotations

from functools import partial

import numpy as np

SIDE = 512
BLOCKS = 76
"""Blocks of SIDE x SIDE pixels in 20 Mpx."""
PREDICTORS = 20
TREES = 300


def truth(predictors: np.ndarray) -> np.ndarray:
    """Target (n,) of standardised predictors (n, p): mostly linear on the root scale, with a bend."""
    return np.maximum(12 + 2 * predictors[:, 0] + predictors[:, 1] + np.sin(2 * predictors[:, 2]), 0.0) ** 2


def all_fields() -> list[np.ndarray]:
    """Predictors (2 x SIDE, SIDE) that vary over tens of pixels, with noise of their own; the lower half repeats the upper."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(30)
    smooth = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), 15, mode="wrap") for _ in range(PREDICTORS)]
    noisy = [(field / field.std() + rng.normal(0, 0.3, field.shape)).astype("float32") for field in smooth]
    return [np.concatenate([field, field]) for field in noisy]


def block_of(fields: list[np.ndarray], block: int, rows: int = SIDE) -> list[np.ndarray]:
    """Predictors (rows x SIDE,) of one of many blocks: each field from another row on, so that no two blocks are alike."""
    starts = [(37 + 11 * number) * block % SIDE for number in range(len(fields))]
    return [field[start : start + rows].ravel() for field, start in zip(fields, starts, strict=True)]


def a_study(regressor: str, plots: int) -> tuple:
    """A fitted model, and a forest of 300 trees on the same plots, names and fields of predictors."""
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor

    from models.inference.fitted import fit_target

    rng = np.random.default_rng(31)
    fields = all_fields()
    names = [f"x{k:02d}" for k in range(PREDICTORS)]
    X = np.column_stack(block_of(fields, 0))
    rows = rng.choice(len(X), plots, replace=False)
    table = pd.DataFrame(X[rows], columns=names).assign(
        plot=[f"p{k:04d}" for k in range(plots)], cluster=[f"c{k:04d}" for k in range(plots)], year=2020,
        x=10.0 * (rows % SIDE), y=10.0 * (rows // SIDE), area_ha=0.04,
        agb_mg_ha=np.maximum(truth(X[rows]) + rng.normal(0, 30, plots), 0.0),
    )  # fmt: skip
    model, _ = fit_target(table, {"all": names}, target="agb", column="agb_mg_ha", regressor=regressor)
    forest = RandomForestRegressor(TREES, random_state=0, n_jobs=1).fit(X[rows], table["agb_mg_ha"])
    return model, forest, names, fields


def our_map(prepared: tuple, *, warm_up: bool, blocks: int = BLOCKS) -> dict[str, np.ndarray]:
    """Prediction, standard error and domain of many blocks, as `estimate` makes them; what is kept is the first block's, and the
    least standard error of all."""
    first, least = {}, np.inf
    for block in range(1 if warm_up else blocks):
        found = our_block(prepared, block, rows=8 if warm_up else SIDE)
        first = first or found
        least = min(least, float(found["se"].min()))
    return {**first, "least_se": np.array(least)}


def our_block(prepared: tuple, block: int, rows: int = SIDE) -> dict[str, np.ndarray]:
    """Prediction, standard error and domain (n,) of one block."""
    from pipeline.mapping import pixel_se, stock_layers, strips

    model, _, names, fields = prepared
    seen = dict(zip(names, block_of(fields, block, rows), strict=True))
    n = len(seen[names[0]])
    found = {"value": np.empty(n, "float32"), "se": np.empty(n, "float32"), "in_domain": np.empty(n, bool)}
    for strip in strips(model, n):
        part = {name: array[strip] for name, array in seen.items()}
        layers = stock_layers(model, part, np.ones(strip.stop - strip.start), 2020)
        found["value"][strip], found["in_domain"][strip] = layers["value"], layers["in_domain"]
        found["se"][strip] = pixel_se(model, layers)
    return found


def forest_map(prepared: tuple, *, warm_up: bool) -> dict[str, np.ndarray]:
    """Point prediction of the first block alone, by scikit-learn."""
    _, forest, _, fields = prepared
    return {"value": forest.predict(np.column_stack(block_of(fields, 0, 8 if warm_up else SIDE)))}


def no_worse(ours: dict, other: dict) -> bool:
    """Every pixel has a standard error above zero, and the map is as near the truth as the forest's, or 5 % farther: a line
    cannot follow the bend that a forest of a thousand plots finds."""
    expected = truth(np.column_stack(block_of(all_fields()[:3], 0)).astype(float))
    error, theirs = (float(((one["value"] - expected) ** 2).mean()) for one in (ours, other))
    return bool(ours["least_se"] > 0) and bool(ours["in_domain"].any()) and error <= 1.05**2 * theirs


def our_quantiles(prepared: tuple, *, warm_up: bool) -> dict[str, np.ndarray]:
    """The same, and three quantiles of each pixel, as `estimate` makes them for `model.quantiles`."""
    from models.inference.quantiles import conditional_quantiles
    from pipeline.mapping import strips

    rows = 8 if warm_up else SIDE
    found = our_block(prepared, 0, rows)
    model, _, names, fields = prepared
    n = len(found["value"])
    flat = dict(zip(names, block_of(fields, 0, rows), strict=True))
    told = np.empty((n, 3), "float32")
    for strip in strips(model, n):
        part = {name: array[strip] for name, array in flat.items()}
        told[strip] = conditional_quantiles(model, part, 2020, np.zeros(strip.stop - strip.start, "int8"), [0.05, 0.5, 0.95])
    return found | {"quantiles": told}


def rising(ours: dict, other: dict) -> bool:
    """Quantiles rise, and hold the mean of about as many plots as they should: the forest's own map lies inside nearly all."""
    low, middle, high = ours["quantiles"].T
    inside = (low <= other["value"]) & (other["value"] <= high)
    return bool((low <= middle).all() and (middle <= high).all() and inside.mean() > 0.95)


COMPARED = [("linear", 30.0), ("mix", 5.0)]

ROWS = [
    {
        "name": f"{regressor} of {plots} plots x {PREDICTORS} predictors, map + SE + domain, {BLOCKS * SIDE**2 / 1e6:.1f} Mpx",
        "other_name": f"scikit-learn random forest, {TREES} trees, map only, of 1 block times {BLOCKS}",
        "other_part": 1 / BLOCKS,
        "target": target,
        "prepare": partial(a_study, regressor, plots),
        "ours": our_map,
        "other": forest_map,
        "agree": no_worse,
        "repeats": 3,
    }
    for regressor, target in COMPARED
    for plots in (100, 1000)
] + [
    {
        "name": f"quantile_forest of {plots} plots x {PREDICTORS} predictors, map + SE + domain + 3 quantiles, 0.26 Mpx",
        "other_name": f"scikit-learn random forest, {TREES} trees, map only",
        "target": None,
        "prepare": partial(a_study, "quantile_forest", plots),
        "ours": our_quantiles,
        "other": forest_map,
        "agree": rising,
        "repeats": 3,
    }
    for plots in (100, 1000)
]


def scaling(regressor: str, plots: int, sizes: tuple[int, ...] = (1, 8, BLOCKS), forests: tuple[int, ...] = (1, 4)) -> None:
    """CPU time per pixel of maps of ever more blocks, ours and the forest's, and peak memory of ours."""
    import time

    from benchmarks.timing import _peak_mb

    prepared = a_study(regressor, plots)
    our_map(prepared, warm_up=True)
    before = _peak_mb()
    for blocks in sizes:
        start = time.process_time()
        our_map(prepared, warm_up=False, blocks=blocks)
        _show(f"{regressor}, {plots} plots", blocks, time.process_time() - start, f", peak +{_peak_mb() - before:.0f} MB")
    for blocks in forests:
        places = np.concatenate([np.column_stack(block_of(prepared[3], block)) for block in range(blocks)])
        start = time.process_time()
        prepared[1].predict(places)
        _show(f"random forest, {plots} plots", blocks, time.process_time() - start, "")


def _show(what: str, blocks: int, cpu_s: float, more: str) -> None:
    pixels = blocks * SIDE**2
    print(f"{what}: {pixels / 1e6:.2f} Mpx, {1e6 * cpu_s / pixels:.3f} us per pixel{more}", flush=True)


if __name__ == "__main__":
    for one, _ in COMPARED:
        for many in (100, 1000):
            scaling(one, many)
