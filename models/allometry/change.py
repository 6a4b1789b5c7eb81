"""Change of plots between two visits, with an error that knows that most trees are the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.allometry.matching import needs
from models.allometry.totals import Inventory, common_species
from models.allometry.trees import spread_is_shared, tree_agb

if TYPE_CHECKING:
    import pandas as pd

SAME_TREE_CORRELATION = 0.9
"""Of a tree's departure from its equation and from its height curve at two visits. Our choice, no measurement: the form of a tree
changes slowly, and not at all would be too good to be true. Two readings of a diameter are independent."""


def plot_changes(
    stock: Inventory, agb_mg_ha: np.ndarray, own_se: np.ndarray, *, same_tree: float = SAME_TREE_CORRELATION
) -> pd.DataFrame:
    """Change of aboveground biomass of each plot since its visit before, and the part of its error that is the plot's own.

    Parameters
    ----------
    stock : Inventory
        Trees of all visits; `stem` names a tree at all its dates. Trees that are not linked share nothing.
    agb_mg_ha, own_se : array (plots and dates,)
        In the order of `stock.keys`: biomass and its own standard error, shared factors left out, as `plot_totals` gives them.
    same_tree : float
        Correlation of a tree's residual, and of its height around the curve, between its visits.

    Returns
    -------
    DataFrame, index as `stock.keys`
        agb_change_mg_ha and agb_change_mg_ha_se (NaN at a plot's first visit). Shared factors of a change are the differences of
        those of its two visits, for they hold what is wrong at both.

    Notes
    -----
    var(B2 - B1) = var B1 + var B2 - 2 cov: the covariance is the sum over trees that both visits hold of `same_tree` times their
    residuals and heights, of the whole of their wood density's departure, and of the mean densities of rarer species. Diameters
    are read anew, so their errors do not cancel. Residuals of a tree that another equation serves are independent.
    """
    import pandas as pd

    keys = stock.keys.assign(at=np.arange(len(stock.keys)))
    keys["before"] = keys.groupby("plot")["at"].shift()
    visit = keys["at"].to_numpy()
    known = keys["before"].notna().to_numpy()
    before = keys["before"].fillna(0).to_numpy(dtype=int)
    covariance = _covariance_of_trees(stock, keys, same_tree) + _covariance_of_rarer_species(stock, before)
    variance = own_se[visit] ** 2 + own_se[before] ** 2 - 2 * covariance
    change = np.where(known, agb_mg_ha[visit] - agb_mg_ha[before], np.nan)
    return pd.DataFrame(
        {"agb_change_mg_ha": change, "agb_change_mg_ha_se": np.where(known, np.sqrt(np.maximum(variance, 0.0)), np.nan)},
        index=stock.keys.index,
    )


def _covariance_of_trees(stock: Inventory, keys: pd.DataFrame, same_tree: float) -> np.ndarray:
    """Of each visit (plots and dates,) with the one before, from the trees that both hold."""
    import pandas as pd

    live = stock.live
    if "stem" not in live:
        return np.zeros(len(keys))
    agb = tree_agb(live, stock.equations, stock.served)
    shared = np.append([spread_is_shared(row) for row in stock.equations.to_dict("records")], False).astype(bool)[stock.served]
    around = np.zeros(len(live))
    for _, model, chosen, at, where in stock.modelled_parts():
        around[chosen] = agb["by_height"].to_numpy()[chosen] * model.residual_sd_m(at, where)
    density = np.zeros(len(live))
    if "wood_density_sd" in live:
        density = agb["by_wood_density"].to_numpy() * live["wood_density_sd"].to_numpy(dtype="float64")
    effects = {"residual": np.where(shared, 0.0, agb["residual_sd_kg"]), "around": around, "density": density}
    weighed = {name: np.nan_to_num(stock.weight * effect) for name, effect in effects.items()}
    trees = pd.DataFrame({"stem": live["stem"].to_numpy(), "at": stock.member, "served": stock.served, **weighed})
    trees["before"] = keys["before"].to_numpy()[stock.member]
    trees = trees[~trees.duplicated(["stem", "at"], keep=False) & (trees["stem"] != "")]
    pairs = trees.merge(trees, left_on=["stem", "before"], right_on=["stem", "at"], suffixes=("", "_1"))
    same = (pairs["served"] == pairs["served_1"]).to_numpy()
    products = {name: (pairs[name] * pairs[f"{name}_1"]).to_numpy() for name in effects}
    each = same_tree * (same * products["residual"] + products["around"]) + products["density"]
    return np.bincount(pairs["at"], each, minlength=len(keys))


def _covariance_of_rarer_species(stock: Inventory, before: np.ndarray) -> np.ndarray:
    """Of visits with those before, from species whose mean density has no factor of its own."""
    live = stock.live
    if "wood_density_se" not in live or not needs(stock.equations, "wood_density_g_cm3"):
        return np.zeros(len(before))
    agb = tree_agb(live, stock.equations, stock.served)
    common = set(common_species(live, stock.weight * agb["agb_kg"].to_numpy()))
    species = live["species"].to_numpy()
    error = np.nan_to_num(stock.weight * agb["by_wood_density"].to_numpy() * live["wood_density_se"].to_numpy(dtype="float64"))
    found = np.zeros(len(before))
    for name in sorted(set(species[error != 0]) - common):
        column = stock.total(np.where(species == name, error, 0.0))
        found += column * column[before]
    return found
