"""Which equation serves a tree: by species, else genus, else family, else group, else the default."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from models.allometry.forms import COEFFICIENTS, FORMS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LEVELS = ("species", "genus", "family", "group", "default")
COMPONENTS = ("agb", "stem", "stem_wood", "bark", "branches", "foliage", "roots", "stem_volume")


def check_equations(equations: pd.DataFrame) -> None:
    """Refuse forms that are not known, and coefficients that they lack or that lie where they cannot.

    Raises
    ------
    ValueError
        Naming the equations with their taxon, file and row where the table says them, all at once.
    """
    problems = []
    for row in equations.to_dict("records"):
        where = _named_row(row)
        if row["form"] not in FORMS:
            problems.append(f"{where} has the form {row['form']!r}; known forms: {', '.join(FORMS)}")
            continue
        form = FORMS[row["form"]]
        missing = [name for name in form.coefficients if not np.isfinite(row.get(name, np.nan))]
        if missing:
            problems.append(f"{where} of the form {form.name} ({form.title}) needs the coefficient {' and '.join(missing)}")
        unused = [name for name in COEFFICIENTS if name not in form.coefficients and np.isfinite(row.get(name, np.nan))]
        if unused and not missing:
            problems.append(
                f"{where} of the form {form.name} ({form.title}) has no coefficient {' and '.join(unused)}; "
                "leave it empty, or choose the form that has it"
            )
        for name in form.positive:
            if row.get(name, np.nan) <= 0:
                problems.append(f"{where} of the form {form.name} needs {name} above zero, got {row[name]}")
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))


def _named_row(row: Mapping[str, Any]) -> str:
    """'my.csv, row 7: equation 'gb' for Abies x (agb)', as far as the table says."""
    place = f"{row['file']}, row {row['row']}: " if row.get("file") else ""
    taxon = row.get("taxon") or row.get("level")
    part = f" ({row['component']})" if row.get("component", "agb") not in ("", "agb") else ""
    return f"{place}equation {row['name']!r}" + (f" for {taxon}" if taxon else "") + part


def of_component(equations: pd.DataFrame, component: str) -> pd.DataFrame:
    """The rows of one component, in order; a table without the column `component` is of aboveground biomass."""
    if "component" not in equations:
        return equations if component == "agb" else equations.iloc[:0]
    return equations[equations["component"] == component].reset_index(drop=True)


def needs(equations: pd.DataFrame, variable: str) -> bool:
    """Whether any of the equations uses a tree variable, such as `height_m`."""
    return any(variable in FORMS[form].variables for form in equations["form"].unique())


def asked(equations: pd.DataFrame, served: np.ndarray, variable: str) -> np.ndarray:
    """Whether the equation of each tree (n,) uses a variable, such as `dbh_cm`; False where none serves it."""
    uses = [variable in FORMS[form].variables for form in equations["form"]]
    return np.append(np.array(uses, dtype=bool), False)[served]


def asked_by_any(trees: pd.DataFrame, equations: pd.DataFrame, variable: str) -> np.ndarray:
    """Whether an equation of any component that serves a tree (n,) uses a variable."""
    found = np.zeros(len(trees), dtype=bool)
    for component in COMPONENTS:
        rows = of_component(equations, component)
        if len(rows) and needs(rows, variable):
            found |= asked(rows, match_equations(trees, rows), variable)
    return found


def in_region(equations: pd.DataFrame, region: str | None) -> pd.DataFrame:
    """The rows that serve a study's region.

    Where a taxon has rows of several regions, those of `region` are taken, else those of no region. Rows of one region
    alone serve any study: that they come from elsewhere is warned of.

    Raises
    ------
    ValueError
        Where a taxon has rows of several regions, and `region` is none of them.
    """
    if "region" not in equations or (equations["region"] == "").all():
        return equations
    keys = ["name", "component", "level", "taxon"]
    several = equations.groupby(keys, sort=False)["region"].transform("nunique") > 1
    kept = equations.index[~several].tolist()
    alone = equations[~several & ~equations["region"].isin(["", region or ""])]
    foreign = set(zip(alone["name"], alone["region"], strict=True))
    for (name, component, level, taxon), rows in equations[several].groupby(keys, sort=False):
        regions = list(dict.fromkeys(rows["region"]))
        chosen = region if region in regions else ("" if "" in regions else None)
        if chosen is None:
            raise ValueError(
                f"equation {name!r} has rows of several regions for {taxon or level} ({component}): {', '.join(regions)}; "
                f"plots.region is {region or 'not set'}; set it to one of them"
            )
        kept += rows.index[rows["region"] == chosen].tolist()
    if region:
        for name, theirs in sorted(foreign):
            log.warning("equation %s was made in %s and serves a study in %s", name, theirs, region)
    return equations.loc[sorted(kept)].reset_index(drop=True)


def with_groups(trees: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """The trees with a column `group` from a table of level, taxon and group, where they have none of their own.

    The species' own row goes before its genus' and its family's; a row of the level default serves the rest.
    """
    import pandas as pd

    found = trees["group"].astype(object) if "group" in trees else pd.Series("", index=trees.index, dtype=object)
    for level in LEVELS[:3]:
        rows = groups[groups["level"] == level]
        if level in trees and len(rows):
            known = rows.set_index("taxon")["group"]
            found = found.where(found != "", trees[level].map(known).astype(object).fillna(""))
    rest = groups.loc[groups["level"] == "default", "group"]
    if len(rest):
        found = found.where(found != "", rest.iloc[0])
    return trees.assign(group=found)


def match_equations(trees: pd.DataFrame, equations: pd.DataFrame) -> np.ndarray:
    """The equation of each tree: by species, else genus, family, group, else the default; of several, by dbh.

    Parameters
    ----------
    trees : DataFrame
        dbh_cm, and species, genus, family and group where known.
    equations : DataFrame
        Rows as in the table of allometry (`level`, `taxon`, `dbh_min_cm`, `dbh_max_cm`), of one component.

    Returns
    -------
    array (n,) of int
        Positions in `equations`, -1 where none serves the tree. Of several rows for one taxon the one whose range of
        diameters holds the tree is taken, the first listed where more than one does. A tree outside every range of its
        taxon takes the nearest one: extrapolation, which `tree_agb` flags. What has no dbh (palms, shrubs) takes the first.
    """
    import pandas as pd

    served = np.full(len(trees), -1)
    dbh = trees["dbh_cm"].to_numpy(dtype="float64")
    low, high = equations["dbh_min_cm"].to_numpy(), equations["dbh_max_cm"].to_numpy()
    level, taxon = equations["level"].to_numpy(), equations["taxon"].to_numpy()
    for name in LEVELS:
        at_level = np.flatnonzero(level == name)
        if not len(at_level) or (name != "default" and name not in trees):
            continue
        if name == "default":
            members = {"": np.flatnonzero(served < 0)}
            rows_of = {"": at_level}
        else:
            waiting = np.flatnonzero(served < 0)
            codes, names = pd.factorize(trees[name].to_numpy()[waiting])
            rows_of = {one: at_level[taxon[at_level] == one] for one in names if one}
            members = {one: waiting[codes == code] for code, one in enumerate(names) if len(rows_of.get(one, ()))}
        for one, trees_of in members.items():
            rows = rows_of[one]
            away = np.maximum(low[rows] - dbh[trees_of, None], dbh[trees_of, None] - high[rows])
            away = np.where(dbh[trees_of, None] == high[rows], 1e-9, np.maximum(away, 0.0))
            served[trees_of] = rows[np.argmin(away, axis=1)]
    return served


def levels_served(equations: pd.DataFrame, served: np.ndarray) -> np.ndarray:
    """The level by which each tree found its equation (n,), '' where none serves it."""
    levels = np.append(equations["level"].to_numpy(dtype=object), "")
    return levels[served]


def unverified(equations: pd.DataFrame, served: Iterable[int]) -> list[str]:
    """Names of the equations that serve trees although nobody has checked their numbers against the original."""
    used = equations.iloc[sorted({int(one) for one in served if one >= 0})]
    return list(dict.fromkeys(used.loc[used["status"] == "unverified", "name"]))
