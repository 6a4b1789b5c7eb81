"""Tables of published parameters (allometry, wood density), each row with its source and status, and their readers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from catalogs import tables

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent
STATUSES = ("published", "user", "unverified")
LEVELS = ("species", "genus", "family", "default")
ALLOMETRY_COLUMNS = (
    "name", "taxon", "level", "form", "a", "b", "c", "var_a", "var_b", "cov_ab", "rse", "dbh_min_cm", "dbh_max_cm",
    "bias_corrected", "source", "status",
)  # fmt: skip
WOOD_DENSITY_COLUMNS = ("family", "genus", "species", "wood_density_g_cm3", "se", "sd_tree", "wsg", "sd", "level_tax")


def allometry_table(name_or_path: str | Path) -> pd.DataFrame:
    """Equations that serve the trees of a study: the shipped rows of one name, or a user's own table.

    Returns
    -------
    DataFrame
        Columns `ALLOMETRY_COLUMNS`, numbers as float, missing as NaN (an unknown end of
        the dbh range as 0 or infinity); `bias_corrected` as bool. `rse` is the standard
        deviation of the residual of ln AGB (AGB in kg); `var_a`, `var_b`, `cov_ab` are the (co)variances of a and b.

    Raises
    ------
    ValueError, FileNotFoundError
        With the rows of the file that are wrong, and what is wrong with them.
    """
    if Path(name_or_path).suffix:
        return _checked_allometry(tables.read_table(name_or_path), file=name_or_path)
    table = shipped_allometry()
    chosen = table[table["name"] == str(name_or_path)]
    if chosen.empty:
        names = list(dict.fromkeys(table["name"]))
        raise ValueError(
            f"plots.allometry: no equation is called {str(name_or_path)!r}{tables.nearest(str(name_or_path), names)}; "
            f"shipped: {', '.join(names)}; or give the path of your own table (.csv)"
        )
    return chosen.reset_index(drop=True)


def shipped_allometry() -> pd.DataFrame:
    """Every equation that comes with the project, columns as of `allometry_table`."""
    shipped = FOLDER / "allometry.csv"
    return _checked_allometry(tables.read_table(shipped), file=shipped.name)


def _checked_allometry(raw: pd.DataFrame, *, file: str | Path) -> pd.DataFrame:
    required = [column for column in ALLOMETRY_COLUMNS if column not in ("c", "var_a", "var_b", "cov_ab", "rse")]
    table = tables.named_columns(raw, {}, known=ALLOMETRY_COLUMNS, required=required, file=file, setting="the header")
    for column in ("name", "taxon", "level", "form", "bias_corrected", "source", "status"):
        table[column] = tables.texts(table[column])
    for column in ("a", "b", "c", "var_a", "var_b", "cov_ab", "rse", "dbh_min_cm", "dbh_max_cm"):
        table[column] = tables.numbers(table[column], file=file) if column in table else float("nan")
    table["dbh_min_cm"] = table["dbh_min_cm"].fillna(0.0)
    table["dbh_max_cm"] = table["dbh_max_cm"].fillna(float("inf"))
    problems = [
        (table["name"] == "", "name is empty"),
        (~table["level"].isin(LEVELS), f"level is not one of {', '.join(LEVELS)}"),
        (~table["status"].isin(STATUSES), f"status is not one of {', '.join(STATUSES)}"),
        (~table["bias_corrected"].isin(["yes", "no"]), "bias_corrected is neither yes nor no"),
        (table["source"] == "", "source is empty: say where the numbers come from"),
        ((table["taxon"] == "") & (table["level"] != "default"), "taxon is empty"),
        (table[["a", "b"]].isna().any(axis=1), "a or b is missing"),
        (table["dbh_min_cm"] >= table["dbh_max_cm"], "dbh_min_cm is not below dbh_max_cm"),
        ((table["bias_corrected"] == "no") & table["rse"].isna(), "rse is missing, and bias_corrected: no needs it"),
        (table["rse"] < 0, "rse is negative"),
        ((table["rse"] > 3), "rse is above 3: it is the residual SD of ln AGB, not of AGB in kg"),
        ((table[["var_a", "var_b"]] < 0).any(axis=1), "a variance is negative"),
        (
            table["cov_ab"] ** 2 > table["var_a"] * table["var_b"] * (1 + 1e-9),
            "cov_ab is larger than var_a and var_b allow",
        ),
    ]
    found = [f"{tables.rows(table.index[wrong])}: {message}" for wrong, message in problems if wrong.any()]
    if found:
        raise ValueError(f"{file}: {'; '.join(found)}")
    table["bias_corrected"] = table["bias_corrected"] == "yes"
    _refuse_rivals(table, file=file)
    return table[list(ALLOMETRY_COLUMNS)]


def _refuse_rivals(table: pd.DataFrame, *, file: str | Path) -> None:
    """Within one name, two equations for one taxon must not serve the same diameters."""
    for (name, level, taxon), group in table.groupby(["name", "level", "taxon"], sort=False):
        ordered = group.sort_values("dbh_min_cm")
        overlap = ordered["dbh_min_cm"].to_numpy()[1:] < ordered["dbh_max_cm"].to_numpy()[:-1]
        if overlap.any():
            first = int(overlap.argmax())
            both = sorted(ordered.index[first : first + 2])
            raise ValueError(
                f"{file}: {tables.rows(both)} of {name!r} both serve {taxon or level} at the same dbh; keep one"
            )


def wood_density_table(path: str | Path) -> pd.DataFrame:
    """Wood density by taxon: our columns, or the export `wsg_estimates.csv` of the Global Wood Density Database.

    Returns
    -------
    DataFrame
        level (species, genus or family), taxon (unique within its level), wood_density_g_cm3, se (of the taxon's
        mean), sd_tree (between trees of the taxon). The database's one `sd` does not tell the two apart: it counts
        whole as `se`, the part that does not average out among the trees of a species, and `sd_tree` is 0.

    Raises
    ------
    ValueError, FileNotFoundError
        With the rows that are wrong.
    """
    table = tables.named_columns(
        tables.read_table(path), {}, known=WOOD_DENSITY_COLUMNS, required=(), file=path, setting="the header"
    )
    if "wsg" in table and "wood_density_g_cm3" not in table:
        table = table.rename(columns={"wsg": "wood_density_g_cm3"})
    if "wood_density_g_cm3" not in table or not {"species", "genus"} & set(table):
        raise ValueError(f"{path} lacks wood_density_g_cm3 (or wsg), or species and genus; it has {', '.join(table)}")
    for column in ("family", "genus", "species"):
        table[column] = tables.texts(table[column]) if column in table else ""
    table["species"] = [
        _binomial(genus, species) for genus, species in zip(table["genus"], table["species"], strict=True)
    ]
    for column in ("wood_density_g_cm3", "se", "sd_tree", "sd"):
        table[column] = tables.numbers(table[column], file=path) if column in table else float("nan")
    wrong = ~table["wood_density_g_cm3"].between(0.05, 1.5)
    if wrong.any():
        kilograms = table["wood_density_g_cm3"].median() > 50
        hint = "; the values look like kg/m3, divide them by 1000" if kilograms else ""
        raise ValueError(
            f"{path}: wood density is not within 0.05 to 1.5 g/cm3 in {tables.rows(table.index[wrong])}{hint}"
        )
    table["se"] = table["se"].fillna(table["sd"])
    table["sd_tree"] = table["sd_tree"].fillna(0.0)
    table["level"] = "species"
    table.loc[table["species"] == "", "level"] = "genus"
    table.loc[(table["species"] == "") & (table["genus"] == ""), "level"] = "family"
    table["taxon"] = [row[row["level"]] for row in table.to_dict("records")]
    repeated = table.duplicated(["level", "taxon"], keep=False)
    if repeated.any():
        raise ValueError(
            f"{path}: {table.loc[repeated, 'taxon'].iloc[0]!r} stands in {tables.rows(table.index[repeated])}"
        )
    return table[["level", "taxon", "wood_density_g_cm3", "se", "sd_tree"]].reset_index(drop=True)


def _binomial(genus: str, species: str) -> str:
    return species if not species or " " in species or not genus else f"{genus} {species}"
