"""Allometric equations: the shipped table, a user's own, and the US national system, in one shape and checked row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs import names, tables

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent
STATUSES = ("published", "user", "unverified")
LEVELS = ("species", "genus", "family", "group", "default")
COMPONENTS = ("agb", "stem", "stem_wood", "bark", "branches", "foliage", "roots", "stem_volume")
COEFFICIENTS = ("a", "b", "c", "d", "e", "f")
VARIANCES = tuple(f"var_{name}" for name in COEFFICIENTS)
COVARIANCES = tuple(f"cov_{one}{two}" for i, one in enumerate(COEFFICIENTS) for two in COEFFICIENTS[i + 1 :])
CHOICES = {
    "component": COMPONENTS,
    "rse_scale": ("ln", "share", "kg"),
    "rse_of": ("trees", "equations"),
    "dbh_unit": ("cm", "mm", "m", "in"),
    "height_unit": ("m", "dm", "cm", "ft"),
    "result_unit": ("kg", "g", "Mg", "lb", "m3", "dm3", "ft3"),
}
"""Columns that may be left out or empty, and what they may say; the first is what an empty one means (stem volumes: m3)."""
SAME_UNIT = {"inch": "in", "feet": "ft", "t": "Mg"}
"""Other words for units, those of `plots.tree_units` among them."""

REQUIRED = ("name", "taxon", "level", "form", "a", "dbh_min_cm", "dbh_max_cm", "bias_corrected", "source", "status")
NUMBERS = (
    *COEFFICIENTS, *VARIANCES, *COVARIANCES, "rse", "n", "dbh_min_cm", "dbh_max_cm", "height_min_m", "height_max_m",
    "correction_factor",
)  # fmt: skip
TEXTS = ("name", "taxon", "level", "region", "form", "bias_corrected", "sums_to_agb", "source", "status")
ALLOMETRY_COLUMNS = (
    "name", "taxon", "level", "region", "component", "form", *COEFFICIENTS, *VARIANCES, *COVARIANCES, "rse", "rse_scale",
    "rse_of", "n", "dbh_min_cm", "dbh_max_cm", "height_min_m", "height_max_m", "dbh_unit", "height_unit", "result_unit",
    "bias_corrected", "correction_factor", "sums_to_agb", "source", "status",
)  # fmt: skip
NATIONAL = ("nsvb", "nsvb_planted")
"""Names that the package nsvb serves."""

EXPANSION = "expansion"
"""Name under which the volume of trees becomes biomass by `plots.expansion`, in `plots.allometry`."""

GROUPS_OF = {"jenkins2003": "groups_jenkins2003.csv"}
"""Shipped tables of taxon, level and group, by the equations that go by them."""


def allometry_table(name_or_path: str | Path | Sequence[str | Path], *, region: str | None = None) -> pd.DataFrame:
    """Equations that serve the trees of a study: the shipped rows of one name, a user's own table, or several in turn.

    Parameters
    ----------
    name_or_path : str, path, or a list of them
        Of several that serve the same taxon at the same level and diameter, the first listed does.
    region : str, optional
        For `nsvb` the ecological division, such as M240; elsewhere see `models.allometry.in_region`.

    Returns
    -------
    DataFrame
        Columns `ALLOMETRY_COLUMNS`, numbers as float, missing as NaN (an unknown end of
        a range as 0 or infinity); `bias_corrected` and `sums_to_agb` as bool, and `correction_unknown` where the source does not
        say: such rows are taken as they are (bias_corrected is True), and may be too low by exp(rse^2 / 2); `file` and `row`, as
        a spreadsheet numbers it. Taxa are written as `catalogs.names` writes those of trees. `rse` is the standard
        deviation of the residual of ln M (M in kg), or what `rse_scale` says, of trees around the equation or, where `rse_of`
        says equations, of published equations around it, which all its trees share; `var_a`, `cov_ab`, ... are the
        (co)variances of the coefficients.

    Raises
    ------
    ValueError, FileNotFoundError
        With the rows of the file that are wrong, and what is wrong with them.
    """
    import pandas as pd

    if isinstance(name_or_path, list | tuple):
        parts = [allometry_table(one, region=region) for one in name_or_path]
        return pd.concat(parts, ignore_index=True)
    if Path(name_or_path).suffix:
        return checked_equations(tables.read_table(name_or_path), file=name_or_path)
    if str(name_or_path) in NATIONAL:
        from catalogs.parameters.national import national_table

        return national_table(division=region or "", planted=str(name_or_path) == "nsvb_planted")
    if str(name_or_path) == EXPANSION:
        row = {"name": EXPANSION, "taxon": "", "level": "default", "form": "expanded_volume", "a": 1.0, "dbh_min_cm": np.nan,
               "dbh_max_cm": np.nan, "bias_corrected": "yes", "source": "plots.expansion", "status": "published"}  # fmt: skip
        return checked_equations(pd.DataFrame([row]), file="plots.expansion")
    table = shipped_allometry()
    chosen = table[table["name"] == str(name_or_path)]
    if chosen.empty:
        names = [*dict.fromkeys(table["name"]), *NATIONAL, EXPANSION]
        raise ValueError(
            f"plots.allometry: no equation is called {str(name_or_path)!r}{tables.nearest(str(name_or_path), names)}; "
            f"shipped: {', '.join(names)}; or give the path of your own table (.csv)"
        )
    return chosen.reset_index(drop=True)


def shipped_allometry() -> pd.DataFrame:
    """Every equation that lies in the project itself, columns as of `allometry_table`."""
    shipped = FOLDER / "allometry.csv"
    return checked_equations(tables.read_table(shipped), file=shipped.name)


def checked_equations(raw: pd.DataFrame, *, file: str | Path) -> pd.DataFrame:
    """A table of equations in our shape; see `allometry_table`."""
    table = tables.named_columns(raw, {}, known=ALLOMETRY_COLUMNS, required=REQUIRED, file=file, setting="the header")
    unknown = [str(one) for one in raw.columns if str(one).startswith(("var_", "cov_")) and one not in ALLOMETRY_COLUMNS]
    if unknown:
        raise ValueError(f"{file}: {', '.join(unknown)} is not a (co)variance we know; write cov_ab, letters in order")
    for column in TEXTS:
        table[column] = tables.texts(table[column]) if column in table else ""
    for column in NUMBERS:
        table[column] = tables.numbers(table[column], file=file) if column in table else float("nan")
    table["taxon"] = names.written_as(table["taxon"], table["level"])
    for column, choices in CHOICES.items():
        table[column] = tables.texts(table[column]) if column in table else ""
        if column == "result_unit":
            table[column] = table[column].where((table[column] != "") | (table["component"] != "stem_volume"), "m3")
        same = {other: unit for other, unit in SAME_UNIT.items() if unit in choices}
        table[column] = table[column].replace({"": choices[0], **same})
    for variable in ("dbh_{}_cm", "height_{}_m"):
        table[variable.format("min")] = table[variable.format("min")].fillna(0.0)
        table[variable.format("max")] = table[variable.format("max")].fillna(float("inf"))
    table["sums_to_agb"] = table["sums_to_agb"].replace("", "no")
    _refuse_wrong_rows(table, file=file)
    table["correction_unknown"] = table["bias_corrected"] == "unknown"
    table["bias_corrected"] = table["bias_corrected"] != "no"
    table["sums_to_agb"] = table["sums_to_agb"] == "yes"
    _refuse_rivals(table, file=file)
    table["file"], table["row"] = str(file), table.index
    return table[[*ALLOMETRY_COLUMNS, "correction_unknown", "file", "row"]]


def _refuse_wrong_rows(table: pd.DataFrame, *, file: str | Path) -> None:
    volume = table["result_unit"].isin(["m3", "dm3", "ft3"])
    problems = [
        (table["name"] == "", "name is empty"),
        (~table["level"].isin(LEVELS), f"level is not one of {', '.join(LEVELS)}"),
        (~table["status"].isin(STATUSES), f"status is not one of {', '.join(STATUSES)}"),
        *((~table[column].isin(choices), f"{column} is not one of {', '.join(choices)}") for column, choices in CHOICES.items()),
        (~table["bias_corrected"].isin(["yes", "no", "unknown"]), "bias_corrected is not one of yes, no, unknown"),
        (~table["sums_to_agb"].isin(["yes", "no"]), "sums_to_agb is neither yes nor no"),
        (table["source"] == "", "source is empty: say where the numbers come from"),
        ((table["taxon"] == "") & (table["level"] != "default"), "taxon is empty"),
        (table["a"].isna(), "a is missing"),
        (table["dbh_min_cm"] >= table["dbh_max_cm"], "dbh_min_cm is not below dbh_max_cm"),
        (table["height_min_m"] >= table["height_max_m"], "height_min_m is not below height_max_m"),
        (
            (table["bias_corrected"] == "no") & table["rse"].isna() & table["correction_factor"].isna(),
            "rse is missing, and bias_corrected: no needs it (or a correction_factor)",
        ),
        (
            (table["bias_corrected"] != "no") & table["correction_factor"].notna(),
            "correction_factor is given, and only bias_corrected: no says that it is to be applied (yes: nothing is left to "
            "correct; unknown: nothing is)",
        ),
        ((table["correction_factor"] < 0.5) | (table["correction_factor"] > 3), "correction_factor is not within 0.5 to 3"),
        (
            (table["bias_corrected"] == "no") & (table["rse_scale"] != "ln") & table["correction_factor"].isna(),
            "bias_corrected: no is of equations in logarithms, and rse_scale is another",
        ),
        (table["rse"] < 0, "rse is negative"),
        (
            (table["rse"] > 3) & (table["rse_scale"] != "kg"),
            "rse is above 3: it is the residual SD of ln AGB, not of AGB in kg (rse_scale says which)",
        ),
        ((table[list(VARIANCES)] < 0).any(axis=1), "a variance is negative"),
        (_impossible_covariance(table), "cov_ab is larger than var_a and var_b allow (or another pair likewise)"),
        (volume & (table["component"] != "stem_volume"), "result_unit is a volume, and component is not stem_volume"),
        (~volume & (table["component"] == "stem_volume"), "component is stem_volume, and result_unit is a weight (m3, dm3, ft3)"),
    ]
    found = [f"{tables.rows(table.index[wrong])}: {message}" for wrong, message in problems if wrong.any()]
    if found:
        raise ValueError(f"{file}: {'; '.join(found)}")


def _impossible_covariance(table: pd.DataFrame) -> pd.Series:
    wrong = table["a"].isna() & False
    for name in COVARIANCES:
        one, two = name[-2], name[-1]
        allowed = (table[f"var_{one}"] * table[f"var_{two}"]).fillna(0.0)
        wrong |= table[name] ** 2 > allowed * (1 + 1e-9)
    return wrong


def _refuse_rivals(table: pd.DataFrame, *, file: str | Path) -> None:
    """Within one name, two equations for one component of one taxon in one region must not serve the same diameters."""
    keys = ["name", "component", "region", "level", "taxon"]
    ordered = table.sort_values([*keys, "dbh_min_cm"], kind="stable")
    after = ordered.shift(-1)
    same = (ordered[keys] == after[keys]).all(axis=1)
    overlap = same & (after["dbh_min_cm"] < ordered["dbh_max_cm"])
    if overlap.any():
        first = int(overlap.to_numpy().argmax())
        one = ordered.iloc[first]
        both = sorted(ordered.index[first : first + 2])
        raise ValueError(
            f"{file}: {tables.rows(both)} of {one['name']!r} both serve {one['taxon'] or one['level']} at the same dbh; keep one"
        )


GROUP_COLUMNS = ("taxon", "level", "group")


def group_table(path: str | Path | None, *, equations: pd.DataFrame) -> pd.DataFrame | None:
    """Which group a taxon belongs to: a user's table, else the shipped one of the equations; None where neither is.

    Returns
    -------
    DataFrame
        taxon, level (species, genus, family, default), group.

    Raises
    ------
    ValueError, FileNotFoundError
        With the rows that are wrong.
    """
    import pandas as pd

    shipped = [FOLDER / GROUPS_OF[name] for name in dict.fromkeys(equations["name"]) if name in GROUPS_OF]
    parts = [_groups_of(one) for one in ([path] if path else []) + shipped]
    if not parts:
        return None
    return pd.concat(parts, ignore_index=True).drop_duplicates(["level", "taxon"], ignore_index=True)


def _groups_of(path: str | Path) -> pd.DataFrame:
    table = tables.named_columns(
        tables.read_table(path), {}, known=GROUP_COLUMNS, required=GROUP_COLUMNS, file=path, setting="the header"
    )
    for column in GROUP_COLUMNS:
        table[column] = tables.texts(table[column])
    table["taxon"] = names.written_as(table["taxon"], table["level"])
    allowed = ("species", "genus", "family", "default")
    problems = [
        (~table["level"].isin(allowed), f"level is not one of {', '.join(allowed)}"),
        ((table["taxon"] == "") & (table["level"] != "default"), "taxon is empty"),
        (table["group"] == "", "group is empty"),
        (table.duplicated(["level", "taxon"], keep=False), "the taxon stands there more than once"),
    ]
    found = [f"{tables.rows(table.index[wrong])}: {message}" for wrong, message in problems if wrong.any()]
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}")
    return table.reset_index(drop=True)
