"""Wood density by taxon: our columns, or the export of the Global Wood Density Database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from catalogs import names, tables

if TYPE_CHECKING:
    import pandas as pd

LIMITS_G_CM3 = (0.05, 1.5)
"""Dry mass per green volume of any tree: balsa has 0.1 (0.05 where it grows fastest), the densest ironwoods 1.3."""
MOST_ERROR_G_CM3 = 0.5
"""Standard errors and deviations above it are no densities': all woods together have a standard deviation of 0.2."""
WOOD_DENSITY_COLUMNS = ("family", "genus", "species", "wood_density_g_cm3", "se", "sd_tree", "wsg", "sd", "level_tax")


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
    wrong = ~table["wood_density_g_cm3"].between(*LIMITS_G_CM3)
    if wrong.any():
        hint = "; the values look like kg/m3, divide them by 1000" if in_kilograms(table["wood_density_g_cm3"]) else ""
        raise ValueError(
            f"{path}: wood density is not within 0.05 to 1.5 g/cm3 in {tables.rows(table.index[wrong])}{hint}"
        )
    for column in ("se", "sd_tree", "sd"):
        wrong = table[column].notna() & ~table[column].between(0, MOST_ERROR_G_CM3)
        if wrong.any():
            raise ValueError(
                f"{path}: {column} of wood density is not within 0 to {MOST_ERROR_G_CM3:g} g/cm3 in "
                f"{tables.rows(table.index[wrong])}, such as {table.loc[wrong, column].iloc[0]:g}; leave empty what is not known"
            )
    table["se"] = table["se"].fillna(table["sd"])
    table["sd_tree"] = table["sd_tree"].fillna(0.0)
    table["level"] = "species"
    table.loc[table["species"] == "", "level"] = "genus"
    table.loc[(table["species"] == "") & (table["genus"] == ""), "level"] = "family"
    table["taxon"] = [row[row["level"]] for row in table.to_dict("records")]
    table["taxon"] = names.written_as(table["taxon"], table["level"])
    repeated = table.duplicated(["level", "taxon"], keep=False)
    if repeated.any():
        raise ValueError(
            f"{path}: {table.loc[repeated, 'taxon'].iloc[0]!r} stands in {tables.rows(table.index[repeated])}"
        )
    return table[["level", "taxon", "wood_density_g_cm3", "se", "sd_tree"]].reset_index(drop=True)


def in_kilograms(wood_density: pd.Series) -> bool:
    """Whether wood densities look like kg/m3."""
    return bool(wood_density.median() > 50)


def _binomial(genus: str, species: str) -> str:
    return species if not species or " " in species or not genus else f"{genus} {species}"
