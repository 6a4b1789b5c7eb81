"""Predicting a map: ours with standard error and domain beside scikit-learn's random forest, point prediction only.

Costs are per pixel, so the rows run on a quarter of a million pixels; `python -m benchmarks.prediction` shows that they stay
the same up to 20 Mpx (block by block), and what that takes of memory.
"""

from __future__ import annotations

from functools import partial

import numpy as np

SIDE = 512
PREDICTORS = 20
TREES = 300


def truth(predictors: np.ndarray) -> np.ndarray:
    """Target (n,) of standardised predictors (n, p): mostly linear on the root scale, with a bend."""
    return np.maximum(12 + 2 * predictors[:, 0] + predictors[:, 1] + np.sin(2 * predictors[:, 2]), 0.0) ** 2


def all_fields() -> list[np.ndarray]:
    """Predictors (rows, cols) that vary over tens of pixels, with noise of their own."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(30)
    smooth = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), 15, mode="wrap") for _ in range(PREDICTORS)]
    return [field / field.std() + rng.normal(0, 0.3, field.shape) for field in smooth]


def a_study(regressor: str, plots: int) -> tuple:
    """A fitted model, and a forest of 300 trees on the same plots, names and fields of predictors."""
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor

    from models.inference.fitted import fit_target

    rng = np.random.default_rng(31)
    fields = all_fields()
    names = [f"x{k:02d}" for k in range(PREDICTORS)]
    X = np.column_stack([field.ravel() for field in fields])
    rows = rng.choice(len(X), plots, replace=False)
    table = pd.DataFrame(X[rows], columns=names).assign(
        plot=[f"p{k:04d}" for k in range(plots)], cluster=[f"c{k:04d}" for k in range(plots)], year=2020,
        x=10.0 * (rows % SIDE), y=10.0 * (rows // SIDE), area_ha=0.04,
        agb_mg_ha=np.maximum(truth(X[rows]) + rng.normal(0, 30, plots), 0.0),
    )  # fmt: skip
    model, _ = fit_target(table, {"all": names}, target="agb", column="agb_mg_ha", regressor=regressor)
    forest = RandomForestRegressor(TREES, random_state=0, n_jobs=1).fit(X[rows], table["agb_mg_ha"])
    return model, forest, names, fields


def our_map(prepared: tuple, *, warm_up: bool) -> dict[str, np.ndarray]:
    """Prediction, standard error and domain of one chunk, as `estimate` makes them."""
    from pipeline.mapping import pixel_se, stock_layers, strips

    model, _, names, fields = prepared
    seen = {name: (field[:8] if warm_up else field).ravel() for name, field in zip(names, fields, strict=True)}
    n = len(seen[names[0]])
    found = {"value": np.empty(n, "float32"), "se": np.empty(n, "float32"), "in_domain": np.empty(n, bool)}
    for strip in strips(model, n):
        part = {name: array[strip] for name, array in seen.items()}
        layers = stock_layers(model, part, np.ones(strip.stop - strip.start), 2020)
        found["value"][strip], found["in_domain"][strip] = layers["value"], layers["in_domain"]
        found["se"][strip] = pixel_se(model, layers)
    return found


def forest_map(prepared: tuple, *, warm_up: bool) -> dict[str, np.ndarray]:
    """Point prediction alone, by scikit-learn."""
    _, forest, _, fields = prepared
    return {"value": forest.predict(np.column_stack([(field[:8] if warm_up else field).ravel() for field in fields]))}


def no_worse(ours: dict, other: dict) -> bool:
    """Every pixel has a standard error above zero, and the map is as near the truth as the forest's, or 5 % farther: a line
    cannot follow the bend that a forest of a thousand plots finds."""
    expected = truth(np.column_stack([field.ravel() for field in all_fields()[:3]]))
    error, theirs = (float(((one["value"] - expected) ** 2).mean()) for one in (ours, other))
    return bool((ours["se"] > 0).all()) and bool(ours["in_domain"].any()) and error <= 1.05**2 * theirs


def our_quantiles(prepared: tuple, *, warm_up: bool) -> dict[str, np.ndarray]:
    """The same, and three quantiles of each pixel, as `estimate` makes them for `model.quantiles`."""
    from models.inference.quantiles import conditional_quantiles
    from pipeline.mapping import strips

    found = our_map(prepared, warm_up=warm_up)
    model, _, names, fields = prepared
    n = len(found["value"])
    flat = {name: field.ravel()[:n] for name, field in zip(names, fields, strict=True)}
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
        "name": f"{regressor} of {plots} plots x {PREDICTORS} predictors, map + SE + domain, {SIDE * SIDE / 1e6:.2f} Mpx",
        "other_name": f"scikit-learn random forest, {TREES} trees, map only",
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


def scaling(regressor: str, plots: int, sizes: tuple[int, ...] = (1, 8, 76)) -> None:
    """CPU time per pixel and peak memory of maps of ever more blocks of 512 x 512 pixels, one after the other."""
    import time

    from benchmarks.timing import _peak_mb

    model, forest, names, fields = a_study(regressor, plots)
    our_map((model, forest, names, fields), warm_up=True)
    before = _peak_mb()
    for blocks in sizes:
        used = 0.0
        for block in range(blocks):
            shown = [np.roll(field, 37 * block + 11 * k) for k, field in enumerate(fields)]
            start = time.process_time()
            our_map((model, forest, names, shown), warm_up=False)
            used += time.process_time() - start
        pixels = blocks * SIDE**2
        print(
            f"{regressor}, {plots} plots: {pixels / 1e6:.2f} Mpx, {1e6 * used / pixels:.3f} us per pixel, "
            f"peak +{_peak_mb() - before:.0f} MB", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    for one, _ in COMPARED:
        for many in (100, 1000):
            scaling(one, many)
