"""Quantities of single trees by their equations, and how they move with what was measured and with the coefficients."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from models.allometry.forms import COEFFICIENTS, FORMS, Form
from models.allometry.matching import match_equations

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LENGTH_CM = {"cm": 1.0, "mm": 0.1, "m": 100.0, "in": 2.54}
LENGTH_M = {"m": 1.0, "dm": 0.1, "cm": 0.01, "ft": 0.3048}
QUANTITY = {"kg": 1.0, "g": 0.001, "Mg": 1000.0, "lb": 0.45359237, "m3": 1.0, "dm3": 0.001, "ft3": 0.3048**3}
"""One unit of an equation in ours: cm, m, kg (m3 for volumes)."""

QUANTITY_NAMES = {"agb": "biomass", "stem_wood": "stem wood", "stem_volume": "stem volume"}
"""Components as a sentence names them, where that is not their own name."""

RSE_SCALES = ("ln", "share", "kg")


def units_of(row: Mapping[str, Any], form: Form) -> tuple[dict[str, float], float]:
    """One of the equation's units in ours, by variable, and of its result."""
    diameter = LENGTH_CM[row.get("dbh_unit") or "cm"]
    scale = dict.fromkeys(form.variables, 1.0)
    scale |= {name: diameter for name in form.variables if name.endswith("diameter_cm") or name == "dbh_cm"}
    if "height_m" in scale:
        scale["height_m"] = LENGTH_M[row.get("height_unit") or "m"]
    return scale, QUANTITY[row.get("result_unit") or "kg"]


def correction_of(row: Mapping[str, Any]) -> float:
    """What a prediction is multiplied by to be a mean: exp(rse^2 / 2) (Baskerville 1972) or the equation's own factor."""
    if row["bias_corrected"]:
        return 1.0
    own = row.get("correction_factor", np.nan)
    return float(own) if np.isfinite(own) else float(np.exp(row["rse"] ** 2 / 2))


def residual_sd(row: Mapping[str, Any], value: np.ndarray) -> np.ndarray:
    """Standard deviation of a tree around its equation, in the unit of `value` (n,); NaN where the equation has no rse."""
    scale = row.get("rse_scale") or "ln"
    if scale == "kg":
        return np.full(len(value), row["rse"])
    return value * (row["rse"] if scale == "share" else np.sqrt(np.expm1(row["rse"] ** 2)))


def spread_is_shared(row: Mapping[str, Any]) -> bool:
    """Whether the rse of an equation is that of published equations around it: an error that all its trees have in common."""
    return row.get("rse_of") == "equations" and bool(row["rse"] > 0)


def variables_of(trees: pd.DataFrame, form: Form, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The variables of a form (n,) in our units.

    Raises
    ------
    ValueError
        Where the tree table lacks one.
    """
    found = {}
    for name in form.variables:
        if name not in trees:
            raise ValueError(
                f"equation {row['name']!r} ({form.title}) needs {name} of each tree, and the tree table has none; "
                "give it, or choose an equation without it"
            )
        found[name] = trees[name].to_numpy(dtype="float64")
    return found


def tree_agb(
    trees: pd.DataFrame, equations: pd.DataFrame, served: np.ndarray | None = None, *, derivatives: bool = True
) -> pd.DataFrame:
    """Aboveground biomass of trees and its derivatives.

    Parameters
    ----------
    trees : DataFrame
        dbh_cm, and what the equations need: height_m, wood_density_g_cm3, ... (`VARIABLES`), species, genus, family and
        group where equations go by them.
    equations : DataFrame
        Rows of an allometry table, of one component.
    served : array (n,) of int, optional
        The equation of each tree, by default `match_equations`.

    Returns
    -------
    DataFrame, index as `trees`
        agb_kg (mean: equations not yet corrected are, see `correction_of`), by_dbh, by_height, by_wood_density, by_agb (kg per
        cm, m, g/cm3, kg; others held fixed; the last of components that are shares of it), by_a ... by_f (kg per coefficient,
        0 for those that a tree's equation lacks), residual_sd_kg (NaN where the equation has no rse), equation (name),
        extrapolated (dbh or height outside the
        equation's range). Missing where a variable that the equation needs is missing, or no equation serves the tree. A
        polynomial below zero counts as zero, with a warning.
    """
    import pandas as pd

    served = match_equations(trees, equations) if served is None else served
    named = {"by_dbh": "dbh_cm", "by_height": "height_m", "by_wood_density": "wood_density_g_cm3", "by_agb": "agb_kg"}
    named |= {f"by_{name}": name for name in COEFFICIENTS}
    found = {name: np.full(len(trees), np.nan) for name in ("agb_kg", "residual_sd_kg", *named)}
    equation, extrapolated = np.full(len(trees), "", dtype=object), np.zeros(len(trees), dtype=bool)
    dbh, records = trees["dbh_cm"].to_numpy(dtype="float64"), equations.to_dict("records")
    negative: dict[str, int] = {}
    for position in np.unique(served[served >= 0]).tolist():
        row, members = records[position], np.flatnonzero(served == position)
        form = FORMS[row["form"]]
        variables = variables_of(trees.iloc[members], form, row)
        scale, unit = units_of(row, form)
        scaled = {name: values / scale[name] for name, values in variables.items()}
        factor = unit * correction_of(row)
        agb = form.value(scaled, row) * factor
        below = agb < 0
        quantity = QUANTITY_NAMES.get(row.get("component") or "agb", row.get("component"))
        negative[quantity] = negative.get(quantity, 0) + int(below.sum())
        agb = np.where(below, 0.0, agb)
        found["agb_kg"][members] = agb
        found["residual_sd_kg"][members] = residual_sd(row, agb)
        if derivatives:
            slopes = form.derivatives(scaled, row)
            for ours, theirs in named.items():
                slope = slopes.get(theirs, np.zeros(len(members))) * factor / scale.get(theirs, 1.0)
                found[ours][members] = np.where(below, 0.0, np.where(np.isnan(agb), np.nan, slope))
        equation[members] = row["name"]
        extrapolated[members] = _outside(row, dbh[members], variables.get("height_m"))
    for quantity, count in negative.items():
        if count:
            log.warning("%d trees are so thin that their equation gives %s below zero; they count as zero", count, quantity)
    return pd.DataFrame(found, index=trees.index).assign(equation=equation, extrapolated=extrapolated)


def _outside(row: Mapping[str, Any], dbh: np.ndarray, height: np.ndarray | None) -> np.ndarray:
    outside = (dbh < row["dbh_min_cm"]) | (dbh > row["dbh_max_cm"])
    if height is not None:
        outside |= (height < row.get("height_min_m", 0.0)) | (height > row.get("height_max_m", np.inf))
    return outside


def covariance_of(row: Mapping[str, Any]) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The coefficients whose errors an equation states, and their covariance (p, p); None where it states none."""
    names = tuple(name for name in FORMS[row["form"]].coefficients if np.isfinite(row.get(f"var_{name}", np.nan)))
    if not names:
        return None
    matrix = np.diag([float(row[f"var_{name}"]) for name in names])
    for i, first in enumerate(names):
        for j, second in enumerate(names[i + 1 :], start=i + 1):
            between = row.get(f"cov_{first}{second}", np.nan)
            matrix[i, j] = matrix[j, i] = between if np.isfinite(between) else 0.0
    return names, matrix


def root_of(covariance: np.ndarray) -> np.ndarray:
    """L with L L' = covariance; columns of zero variance stay zero, so that known parameters cause no error."""
    if not covariance.size:
        return covariance
    values, vectors = np.linalg.eigh(covariance)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    return vectors * signs * np.sqrt(np.maximum(values, 0.0))
