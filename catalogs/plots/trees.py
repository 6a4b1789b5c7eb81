"""Tree lists as foresters keep them, under our names and units, checked row by row."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import tables, units
from catalogs.names import genus_name, scientific_name
from catalogs.parameters import wood
from catalogs.plots.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

IDS = ("visit", "plot", "tree", "record", "previous_record")
NAMES = ("species", "genus", "family", "status")
CLASSES = ("group", "decay", "structure")  # for equations that go by them
NUMBERS = (
    "dbh_cm", "height_m", "x_site_m", "y_site_m", "distance_m", "azimuth_deg", "trees_per_ha", "count",
    "wood_density_g_cm3", "volume_m3", "commercial_volume_m3",
    "upper_diameter_cm", "basal_diameter_cm", "crown_diameter_m", "cover_percent", "culm_age_du",  # of palms, shrubs, bamboo
)  # fmt: skip
OTHER_SIZES = ("upper_diameter_cm", "basal_diameter_cm", "crown_diameter_m", "cover_percent", "culm_age_du")
"""What a list may give instead of diameters: palms, shrubs and saplings have equations of their own."""
TREE_COLUMNS = (*IDS, "date", *NAMES, *CLASSES, *NUMBERS)
STATUS = {
    "live": "live", "alive": "live", "l": "live", "": "live", "dead": "dead", "d": "dead", "snag": "dead",
    "stump": "stump", "cut": "gone", "removed": "gone", "gone": "gone",
    "unseen": "unseen",
}  # fmt: skip
"""Statuses that need no `status_codes`: standing and living, standing and dead, a stump, not there any more, and not looked
for (outside what was sampled that time)."""
UNIDENTIFIED = ("indet", "unknown", "unidentified")
MAX_HEIGHT_M = 130.0  # above the tallest tree known


def tree_table(settings: dict[str, Any], findings: Findings, *, required: tuple[str, ...]) -> pd.DataFrame:
    """The tree list under our names, types and units; `row` is the row number of the file, dates only where it has them."""
    import pandas as pd

    file, columns = settings["trees"], settings["tree_columns"]
    raw = tables.read_table(
        file, layer=settings["tree_layer"], encoding=settings["encoding"],
        text=tables.named_in(columns, (*IDS, *NAMES, *CLASSES)), header_row=settings["tree_header_row"],
    )  # fmt: skip
    if settings["tree_visits"]:
        raw = tables.by_visit(raw, settings["tree_visits"], file=file, setting="plots.tree_visits")
    other = [name for name in OTHER_SIZES if name in columns or name in raw]
    trees = tables.named_columns(
        raw, columns, known=TREE_COLUMNS, required=[name for name in required if name != "dbh_cm" or not other], file=file,
        setting="plots.tree_columns",
    ).rename_axis("row").reset_index()  # fmt: skip
    if "dbh_cm" in required and "dbh_cm" not in trees:
        trees["dbh_cm"] = np.nan
    refuse = findings.refuse(trees, file)
    for column in (*IDS, *NAMES, *CLASSES):
        if column in trees:
            trees[column] = tables.texts(trees[column])
        elif column in ("tree", *NAMES):
            trees[column] = ""
    for column in NUMBERS:
        if column in trees:
            values = tables.numbers(trees[column].set_axis(trees["row"]), file=file, refuse=refuse)
            values = units.converted(values, settings["tree_units"].get(column), setting="plots.tree_units")
            trees[column] = values.to_numpy()
    if "height_m" not in trees:
        trees["height_m"] = np.nan
    if "date" in trees:
        trees["year_only"] = tables.texts(trees["date"]).str.fullmatch(r"\d{4}")
        trees["date"] = tables.dates(
            trees["date"].set_axis(trees["row"]), file=file, refuse=refuse, order=settings["date_order"],
            setting="plots.date_order",
        ).to_numpy()  # fmt: skip
        if trees["date"].isna().all():
            trees = trees.drop(columns="date")
    trees["numbered"] = trees["tree"] != ""
    trees["tree"] = trees["tree"].where(trees["numbered"], trees["row"].astype(str))
    _decode_species(trees, settings)
    _name_species(trees)
    _name_status(trees, settings)
    return trees if type(trees) is pd.DataFrame else pd.DataFrame(trees)


def _decode_species(trees: pd.DataFrame, settings: dict[str, Any]) -> None:
    """Codes replaced by the names of `species_codes`: a mapping, or a table `code, species` (and genus, family).

    A code that is not there stays as it is, and in the column `code_unknown`.
    """
    codes = settings["species_codes"]
    if not codes:
        return
    if isinstance(codes, str):
        table = tables.named_columns(
            tables.read_table(codes, text=("code",)), {}, known=("code", "species", "genus", "family"),
            required=("code", "species"), file=codes, setting="the header",
        )  # fmt: skip
        table = table.apply(tables.texts).set_index("code")
    else:
        import pandas as pd

        table = pd.DataFrame({"species": codes})
        table.index = table.index.astype(str)
    if table.index.duplicated().any():
        raise ValueError(f"{codes}: the code {table.index[table.index.duplicated()][0]!r} stands there twice")
    unknown = ~trees["species"].isin(table.index) & (trees["species"] != "")
    trees["code_unknown"] = trees["species"].where(unknown, "")
    for column in table.columns:
        found = trees["species"].map(table[column])
        trees[f"{column}_"] = found.fillna(trees["species"] if column == "species" else trees[column])
    for column in table.columns:
        trees[column] = trees.pop(f"{column}_")


def _name_species(trees: pd.DataFrame) -> None:
    """`species` as genus and epithet, `genus` as one word; what was not identified is '' at that level."""
    trees["species"] = trees["species"].map({name: scientific_name(name) for name in trees["species"].unique()})
    trees["genus"] = trees["genus"].map(genus_name)
    given = trees["species"] != ""
    joined = [
        species if not genus or " " in species or not species else f"{genus} {species}"
        for genus, species in zip(trees["genus"], trees["species"], strict=True)
    ]
    first = trees["species"].str.split(" ").str[0].fillna("")
    genus = trees["genus"].where(trees["genus"] != "", first.where(given, "").map(genus_name))
    trees["genus"] = genus.where(~genus.str.lower().str.startswith(UNIDENTIFIED), "")
    trees["species"] = np.where(given, joined, trees["genus"])


def _name_status(trees: pd.DataFrame, settings: dict[str, Any]) -> None:
    """`status` in our words; `left_out` for one that is not known, whose code stays in the column `status_unknown`."""
    codes = {str(code).strip().lower(): meaning for code, meaning in settings["status_codes"].items()}
    given = trees["status"]
    status = given.str.lower().map({**STATUS, **codes})
    unknown = status.isna()
    trees["status"] = status.fillna("left_out")
    if "dbh_cm" in trees:
        sizes = trees[trees.columns.intersection(["dbh_cm", *OTHER_SIZES])]
        blank = sizes.isna().all(axis=1) & (trees["species"] == "") & trees["status"].isin(["live", "none"])
        trees["status"] = trees["status"].where(~blank, "none")
    trees["status_unknown"] = given.where(unknown, "")


def check_names(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> None:
    """Codes of status and species that the configuration does not explain."""
    file = settings["trees"]
    unknown = trees.pop("status_unknown")
    if (unknown != "").any():
        what = (
            f"status {unknown[unknown != ''].iloc[0]!r} in <rows> is neither live nor dead; say what your codes mean in "
            "plots.status_codes"
        )
        findings.trees("status_unknown", trees, unknown != "", file=file, what=what)
    if "code_unknown" in trees:
        unknown = trees.pop("code_unknown")
        if (unknown != "").any():
            what = f"species code {unknown[unknown != ''].iloc[0]!r} in <rows> is not in plots.species_codes"
            findings.trees("code_unknown", trees, unknown != "", file=file, what=what)


def check_measurements(
    trees: pd.DataFrame, settings: dict[str, Any], findings: Findings, *, without_dbh: np.ndarray | None = None
) -> None:
    """Diameters, heights and wood densities that cannot be; their rules are carried out in place.

    `without_dbh` (trees,) marks those whose equation asks for none.
    """
    file, limit, dbh = settings["trees"], settings["max_dbh_cm"], trees["dbh_cm"]
    if "wood_density_g_cm3" in trees:
        _check_wood_density(trees, file, findings)
    unread = {row for one in findings.found if one.kind == "number_unreadable" and "dbh_cm" in one.what for row in one.rows}
    live = trees["status"] == "live"
    missing = dbh.isna() & live
    asked = missing & ~trees["row"].isin(unread)
    if without_dbh is not None:
        free = asked & without_dbh
        asked &= ~free
        if free.any():
            log.info("%d live trees have no dbh, and their equations need none: they count in biomass alone", free.sum())
    findings.trees("dbh_missing", trees, asked, file=file, what="dbh is missing")
    trees.loc[missing & trees["row"].isin(unread), "status"] = "left_out"
    findings.trees("dbh_impossible", trees, dbh <= 0, file=file, what="dbh is zero or below")
    counted = trees["status"].isin(["live", "dead"]) & (dbh > 0)
    if not counted.any():
        return
    median = dbh[counted].median()
    thick = counted & (dbh > limit)
    if thick.any():
        hint = "; the values look like millimetres" if median > 80 else ""
        what = f"dbh is above max_dbh_cm {limit:g} in <rows>, up to {dbh[thick].max():g}{hint}"
        findings.trees("dbh_too_large", trees, thick, file=file, what=what)
    if median > 100:
        findings.add(
            "dbh_unit", file=file,
            what="half of the trees have a dbh above 100, which no forest has; the values look like millimetres, and dbh_cm "
            "is in centimetres (plots.tree_units.dbh_cm: mm)",
        )  # fmt: skip
    height = trees["height_m"]
    wrong = (height <= 0) | (height > MAX_HEIGHT_M)
    if wrong.any():
        typical = height[height > 0].median()
        units_hint = {"cm": 100, "dm": 10, "mm": 1000}
        unit = next((name for name, many in units_hint.items() if typical > MAX_HEIGHT_M and 2 <= typical / many <= 60), None)
        hint = f"; the values look like {unit} (plots.tree_units.height_m: {unit})" if unit else ""
        what = (
            f"height is not within 0 to {MAX_HEIGHT_M:g} m in <rows>, such as {height[wrong].iloc[0]:g}; leave a height that "
            f"was not measured empty{hint}"
        )
        findings.trees("height_impossible", trees, wrong, file=file, what=what, value="height_m")


def _check_wood_density(trees: pd.DataFrame, file: str, findings: Findings) -> None:
    density = trees["wood_density_g_cm3"]
    wrong = density.notna() & ~density.between(*wood.LIMITS_G_CM3)
    if wrong.any():
        low, high = wood.LIMITS_G_CM3
        kilograms = "; the values look like kg/m3 (plots.tree_units.wood_density_g_cm3: kg/m3)"
        hint = kilograms if wood.in_kilograms(density[wrong]) else ""
        what = f"wood density is not within {low:g} to {high:g} g/cm3 in <rows>, such as {density[wrong].iloc[0]:g}{hint}"
        findings.trees("wood_density_impossible", trees, wrong, file=file, what=what, value="wood_density_g_cm3")
