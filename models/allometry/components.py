"""Errors of components (stem, branches, roots, ...) and of the whole tree with its roots, per plot, to first order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.allometry.forms import COEFFICIENTS
from models.allometry.matching import COMPONENTS, of_component
from models.allometry.totals import Inventory, coefficient_parts, dbh_error_cm, error_parts, match_components, tree_components
from models.allometry.trees import tree_agb

if TYPE_CHECKING:
    import pandas as pd

SLOPES = ("by_dbh", "by_height", "by_wood_density", *(f"by_{name}" for name in COEFFICIENTS))


def component_errors(
    stock: Inventory, equations: pd.DataFrame, *, dbh_sd: Callable[[np.ndarray], np.ndarray] = dbh_error_cm
) -> pd.DataFrame:
    """Standard errors of the components that a table has rows for, with all that is uncertain, own and shared.

    Diameter, height, wood density and the errors of aboveground biomass that a component is a share of move a tree's parts
    together; residuals and coefficients of a component's own equation are its own. Components scaled to aboveground biomass
    (`sums_to_agb`) are held to be fixed shares of it.

    Returns
    -------
    DataFrame, one row per plot and date of `stock.keys`
        <component>_mg_ha_se (bgb_mg_ha_se for roots), Mg/ha, and tree_mg_ha_se of aboveground biomass and roots together where
        there are rows of roots. Missing where a tree of the plot has no equation for the component.
    """
    import pandas as pd

    live, whole = stock.live, tree_agb(stock.live, stock.equations, stock.served)
    parts = tree_components(live, equations, whole["agb_kg"], stock.served)
    found = {}
    for name in COMPONENTS[1:]:
        rows = of_component(equations, name)
        if len(rows) == 0 or name == "stem_volume":
            continue
        served = match_components(live, rows, stock.equations, stock.served, component=name)
        own = tree_agb(live.assign(agb_kg=whole["agb_kg"]), rows, served)
        share = own["by_agb"].to_numpy()
        if "sums_to_agb" in rows:
            scaled = np.append(rows["sums_to_agb"].to_numpy(dtype=bool), False)[served]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(scaled, parts[name].to_numpy() / whole["agb_kg"].to_numpy(), share)
            for column in ("residual_sd_kg", *SLOPES):
                own[column] = np.where(scaled, 0.0, own[column])
        apart = replace(stock, equations=rows, served=served)
        label = "bgb" if name == "roots" else name
        kg = parts[name].to_numpy()
        found[f"{label}_mg_ha_se"] = _se(stock, apart, whole, own, kg, share, dbh_sd)
        if name == "roots":
            found["tree_mg_ha_se"] = _se(stock, apart, whole, own, kg + whole["agb_kg"].to_numpy(), 1 + share, dbh_sd)
    return pd.DataFrame(found, index=stock.keys.index)


def _se(
    stock: Inventory, apart: Inventory, whole: pd.DataFrame, own: pd.DataFrame, kg: np.ndarray, share: np.ndarray,
    dbh_sd: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Standard error (plots,) of a quantity of trees, `kg`: it moves by `share` of their aboveground biomass and as `own`."""
    measured = ("by_dbh", "by_height", "by_wood_density")
    joined = whole.assign(agb_kg=kg, **{name: own[name] + share * whole[name] for name in measured})
    joined = joined.assign(**{name: share * whole[name] for name in SLOPES if name not in measured})
    residuals = (np.nan_to_num(own["residual_sd_kg"]), share * np.nan_to_num(whole["residual_sd_kg"]))
    joined["residual_sd_kg"] = np.hypot(*residuals)
    variance = np.zeros(len(stock.keys))
    for part, shared in error_parts(stock, joined, dbh_sd):
        variance = variance + part + _squares(list(shared.values()))
    for _, columns in coefficient_parts(apart, own):
        variance = variance + (columns**2).sum(axis=1)
    variance[stock.total(own["agb_kg"].isna()) > 0] = np.nan
    return np.sqrt(variance)


def _squares(columns: Sequence[np.ndarray]) -> np.ndarray | float:
    return sum((column**2 for column in columns), 0.0)
