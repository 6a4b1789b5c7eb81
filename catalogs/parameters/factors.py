"""Published factors between pools: root:shoot ratios, expansion factors, carbon fractions, IPCC defaults."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs import names, tables
from catalogs.parameters.equations import STATUSES

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
IPCC_2019 = "IPCC 2019 Refinement, vol. 4, ch. 4 (advance version of June 2019), table "
IPCC_TABLES = {
    "root_shoot": "4.4", "agb_natural": "4.7", "agb_planted": "4.8", "growth_natural": "4.9", "growth_planted": "4.10",
}  # fmt: skip
VALUE_OF = {"root_shoot": "r", "agb_natural": "agb", "agb_planted": "agb", "growth_natural": "growth", "growth_planted": "growth"}
ZONES = (
    "tropical rainforest", "tropical moist", "tropical dry", "tropical shrubland", "tropical mountain", "subtropical humid",
    "subtropical dry", "subtropical steppe", "subtropical mountain", "temperate oceanic", "temperate continental",
    "temperate steppe", "temperate desert", "temperate mountain", "boreal coniferous", "boreal tundra", "boreal mountain",
)  # fmt: skip
CONTINENTS = ("africa", "asia", "europe", "north america", "south america", "oceania")


@dataclass(frozen=True)
class RootShootClasses:
    """Root:shoot ratios by class of aboveground biomass, the lowest class first.

    upper_mg_ha : upper bound of each class, the last infinite; a bound belongs to its class
    ratio, sd : t roots per t shoots, NaN where print gives no error; source : where from; doubts : what print leaves open
    """

    upper_mg_ha: tuple[float, ...]
    ratio: tuple[float, ...]
    sd: tuple[float, ...]
    source: str
    doubts: tuple[str, ...] = ()


def root_shoot_classes(
    *, zone: str, continent: str, origin: str = "natural", forest_type: str = "all"
) -> RootShootClasses:
    """The IPCC 2019 ratios of a zone, continent, origin and forest type.

    A printed row for all forest types serves any; a class that print leaves out takes the ratio of the other, as a doubt.
    Where print has several ratios for one class, that of the zone alone and of the class alone serves, as a doubt.
    Rows whose zone is missing in print, or that contradict another row, never serve.

    Raises
    ------
    ValueError
        When print has no such row, with what it has there; nothing is borrowed from elsewhere in silence.
    """
    table = ipcc_table("root_shoot")
    here = table[_at(table, zone, continent)]
    here = here[~here["note"].str.contains("printed as Natural")]
    chosen = here[here["origin"].str.contains(origin.lower(), regex=False) | (here["origin"] == "all")]
    typed = chosen[chosen["forest_type"].str.lower() == forest_type.lower()]
    chosen = typed if len(typed) else chosen[chosen["forest_type"] == "all"]
    if chosen.empty:
        has = sorted({f"{row.origin}, {row.forest_type}" for row in here.itertuples()})
        raise ValueError(
            f"{IPCC_2019}4.4 has no root:shoot ratio for {zone}, {continent}, {origin}, {forest_type}; "
            + (f"there it has: {'; '.join(has)}. " if has else "it has none for that zone and continent. ")
            + "Name another of them knowingly, or take the continuous function, or a ratio of your own: a row of the component "
            "roots and the form share in your allometry, with roots by equations"
        )
    limit = 75.0 if zone.startswith("boreal") else 125.0
    by_class: dict[str, tuple] = {}
    for row in chosen.sort_values("ecological_zone", key=lambda zones: zones.str.contains(";"), kind="stable").itertuples():
        by_class.setdefault(row.agb_class[:1], row)  # rows of the zone alone before those of several zones
    whole = by_class.get("a")
    low, high = by_class.get("<", whole), by_class.get(">", whole)
    served = {row.Index: row for row in (low, high) if row is not None}.values()
    doubts = [f"R {row.r:g} ({row.agb_class}): {row.note}" for row in served if row.status == "unverified"]
    doubts += [
        f"print has several: R {row.r:g} ({row.agb_class}, {row.ecological_zone}) serves, {' and '.join(rivals)} stands there too"
        for row in served
        if (rivals := _rivals(row, chosen))
    ]
    if low is None or high is None:
        doubts.append(f"print has the class {'above' if low is None else 'up to'} {limit:g} t/ha only; it serves the other too")
    low, high = low or high, high or low
    return RootShootClasses(
        upper_mg_ha=(limit, float("inf")),
        ratio=(low.r, high.r),
        sd=(_sd(low), _sd(high)),
        source=f"{IPCC_2019}4.4: {zone}, {continent}, {origin}, {low.forest_type}",
        doubts=tuple(doubts),
    )


def _rivals(row: object, chosen: pd.DataFrame) -> list[str]:
    """Other ratios that print has for the class of a row: rows for all classes, or of several zones together."""
    same = chosen if row.agb_class == "all" else chosen[chosen["agb_class"].isin([row.agb_class, "all"])]
    other = same[same["r"] != row.r]
    return [f"R {one.r:g} ({one.agb_class}, {one.ecological_zone})" for one in other.itertuples()]


def _sd(row: object) -> float:
    """Standard deviation; the printed default of 90 % is half of a 95 % interval."""
    if row.uncertainty_type == "SD":
        return float(row.uncertainty)
    if row.uncertainty_type == "default_pct":
        return row.r * float(row.uncertainty) / 100 / 1.96
    if row.uncertainty_type == "range":
        low, high = (float(part) for part in str(row.uncertainty).split("-"))
        return (high - low) / (2 * 1.96)
    return float("nan")


def ipcc_default(
    kind: str, *, zone: str, continent: str, doubtful: bool = False, **labels: str
) -> pd.DataFrame:
    """Rows of an IPCC 2019 default table that serve a zone and continent.

    Parameters
    ----------
    kind : str
        One of `IPCC_TABLES`.
    doubtful : bool
        Whether rows that print leaves in doubt may serve (column note says why); they are warned of.
    labels
        Further columns that must say so exactly, such as succession="Primary", species="Pinus sp.".

    Returns
    -------
    DataFrame
        The printed columns with `value` (NaN where print gives a range only), source, status.

    Raises
    ------
    ValueError
        When no row is left, saying what there is.
    """
    table = ipcc_table(kind)
    here = table[_at(table, zone, continent)]
    for column, value in labels.items():
        if column not in here:
            raise ValueError(f"{IPCC_2019}{IPCC_TABLES[kind]} has no column {column}; it has {', '.join(table.columns)}")
        here = here[here[column].str.lower() == value.lower()]
    sure = here[here["status"] == "published"]
    if doubtful:
        for row in here[here["status"] == "unverified"].itertuples():
            log.warning("%s%s: a doubtful row serves %s, %s: %s", IPCC_2019, IPCC_TABLES[kind], zone, continent, row.note)
        sure = here
    if sure.empty:
        beside = f"; {len(here)} doubtful rows are there (doubtful=True takes them)" if len(here) else ""
        raise ValueError(f"{IPCC_2019}{IPCC_TABLES[kind]} has no row for {zone}, {continent}, {labels}{beside}")
    return sure.assign(value=sure[VALUE_OF[kind]], source=f"{IPCC_2019}{IPCC_TABLES[kind]}").reset_index(drop=True)


def ipcc_table(kind: str) -> pd.DataFrame:
    """A table of defaults as printed, with `note` and `status` (unverified where print is in doubt)."""
    if kind not in IPCC_TABLES:
        raise ValueError(f"{kind!r} is not a table of IPCC defaults; there are {', '.join(IPCC_TABLES)}")
    file = FOLDER / f"ipcc2019_{kind}.csv"
    table = tables.read_table(file)
    for column in table:
        if column not in (VALUE_OF[kind], "uncertainty", "sd", "agb_low", "agb_high", "growth_low", "growth_high"):
            table[column] = tables.texts(table[column])
    return table


def _at(table: pd.DataFrame, zone: str, continent: str) -> pd.Series:
    """Which rows serve a zone and a continent, by their printed labels."""
    zone, continent = zone.lower(), continent.lower()
    if zone not in ZONES:
        raise ValueError(f"{zone!r} is not an ecological zone{tables.nearest(zone, ZONES)}; known: {', '.join(ZONES)}")
    if continent not in CONTINENTS:
        raise ValueError(
            f"{continent!r} is not a continent{tables.nearest(continent, CONTINENTS)}; known: {', '.join(CONTINENTS)}"
        )
    domain, kind = zone.split(" ")
    printed = table["ecological_zone"].str.lower().str.replace("rain forest", "rainforest")
    stem = {"rainforest": "rainforest", "shrubland": "shrub"}.get(kind, kind)
    zones = (table["domain"].str.lower() == domain) & printed.str.contains(rf"\b{stem}", regex=True)
    words = {"north america": r"america", "south america": r"america"}.get(continent, continent)
    places = table["continent"].str.lower()
    other = {"north america": "south america", "south america": "north america"}.get(continent)
    serves = places.str.contains(words, regex=False) | (places == "all")
    serves &= ~places.str.contains(r"\(", regex=True)  # parts of Asia are named apart: never matched by the whole
    if other:
        serves &= places != other
    return zones & serves


# ---------------------------------------------------------------- volume to biomass


@dataclass(frozen=True)
class ExpansionClasses:
    """Biomass conversion and expansion factors by class of growing stock: Mg of aboveground biomass per m3 of stock.

    Increments and removals are missing (NaN) where a source gives one factor for all.
    """

    upper_m3_ha: tuple[float, ...]
    stock_mg_m3: tuple[float, ...]
    increment_mg_m3: tuple[float, ...]
    removal_mg_m3: tuple[float, ...]
    source: str
    status: str = "published"


EXPANSION_COLUMNS = (
    "name", "volume_min_m3_ha", "volume_max_m3_ha", "stock_mg_m3", "increment_mg_m3", "removal_mg_m3", "source", "status",
)  # fmt: skip
CHINA = "china_"


def expansion_classes(name: str) -> ExpansionClasses:
    """The factors of a forest type, such as temperate_pines (IPCC 2006, table 4.5), or of a species group of China.

    Parameters
    ----------
    name : str
        A name of the shipped table; `china_<taxon>` (BEF x density, of status unverified); or the path of a table of one's own
        that holds one forest type.

    Raises
    ------
    ValueError, FileNotFoundError
        For a name that the table lacks, or a table that cannot be used.
    """
    if Path(name).suffix:
        return _own_expansion(name)
    table = tables.read_table(FOLDER / "bcef.csv")
    species = {CHINA + row.taxon.lower().replace(" ", "_"): row for row in china_expansion().itertuples()}
    if name in species:
        row = species[name]
        factor = row.bef * row.density_mg_m3  # IPCC 2006, vol. 4, ch. 2: BCEF = BEF x D
        return ExpansionClasses((float("inf"),), (factor,), (float("nan"),), (float("nan"),), row.source, row.status)
    rows = table[table["name"] == name]
    if rows.empty:
        known = [*dict.fromkeys(table["name"]), *species]
        raise ValueError(
            f"plots.expansion: no expansion factors are called {name!r}{tables.nearest(name, known)}; known: {', '.join(known)}"
        )
    return _classes(rows)


def _own_expansion(file: str) -> ExpansionClasses:
    required = ("volume_min_m3_ha", "volume_max_m3_ha", "stock_mg_m3", "source", "status")
    raw = tables.read_table(file)
    table = tables.named_columns(raw, {}, known=EXPANSION_COLUMNS, required=required, file=file, setting="the header")
    for column in EXPANSION_COLUMNS[1:6]:
        table[column] = tables.numbers(table[column], file=file) if column in table else float("nan")
    for column in ("source", "status"):
        table[column] = tables.texts(table[column])
    table = table.sort_values("volume_min_m3_ha")
    last = table.index == table.index[-1]
    problems = [
        (~table["stock_mg_m3"].between(0.1, 10), "stock_mg_m3 is not within 0.1 to 10 Mg/m3"),
        (table["source"] == "", "source is empty: say where the numbers come from"),
        (~table["status"].isin(STATUSES), f"status is not one of {', '.join(STATUSES)}"),
        (
            table["volume_max_m3_ha"].notna() & last,
            "the last class ends, and nothing is said of more volume; leave its volume_max_m3_ha empty",
        ),
    ]
    found = [f"{tables.rows(table.index[wrong])}: {message}" for wrong, message in problems if wrong.any()]
    if found:
        raise ValueError(f"{file}: {'; '.join(found)}")
    ends, begins = table["volume_max_m3_ha"].to_numpy()[:-1], table["volume_min_m3_ha"].to_numpy()[1:]
    if (ends != begins).any() or table["volume_min_m3_ha"].iloc[0] != 0:
        raise ValueError(f"{file}: the classes of volume do not begin at 0 and follow one another without gaps")
    return _classes(table)


def _classes(rows: pd.DataFrame) -> ExpansionClasses:
    rows = rows.sort_values("volume_min_m3_ha")
    return ExpansionClasses(
        upper_m3_ha=tuple(rows["volume_max_m3_ha"].fillna(float("inf"))),
        stock_mg_m3=tuple(rows["stock_mg_m3"]),
        increment_mg_m3=tuple(rows["increment_mg_m3"]),
        removal_mg_m3=tuple(rows["removal_mg_m3"]),
        source=str(rows["source"].iloc[0]),
        status="unverified" if (rows["status"] == "unverified").any() else str(rows["status"].iloc[0]),
    )


# ---------------------------------------------------------------- carbon fractions

CARBON_COLUMNS = ("level", "taxon", "carbon_fraction", "sd", "source", "status")


def carbon_fractions(name_or_path: str | Path | None = None) -> pd.DataFrame:
    """Carbon fractions by species, genus, family, group or default: shipped, of the US system (`nsvb`), or a user's own table.

    The shipped default of 0.47 stands behind every other table.

    Raises
    ------
    ValueError, FileNotFoundError
        With the rows that are wrong.
    """
    import pandas as pd

    shipped = _checked_fractions(tables.read_table(FOLDER / "carbon_fractions.csv"), "carbon_fractions.csv")
    if name_or_path is None:
        return shipped[shipped["level"] == "default"].reset_index(drop=True)
    if str(name_or_path) == "shipped":
        return shipped
    if str(name_or_path) == "nsvb":
        from catalogs.parameters.national import carbon_fractions as national

        own = national()
        own["taxon"] = names.written_as(own["taxon"], own["level"])
    elif Path(name_or_path).suffix:
        own = _checked_fractions(tables.read_table(name_or_path), name_or_path)
    else:
        raise ValueError(f"plots.carbon_fractions: {str(name_or_path)!r} is neither shipped, nsvb nor the path of a table (.csv)")
    default = shipped[shipped["level"] == "default"]
    return own if (own["level"] == "default").any() else pd.concat([own, default], ignore_index=True)


def _checked_fractions(raw: pd.DataFrame, file: str | Path) -> pd.DataFrame:
    required = [column for column in CARBON_COLUMNS if column != "sd"]
    table = tables.named_columns(raw, {}, known=CARBON_COLUMNS, required=required, file=file, setting="the header")
    for column in ("level", "taxon", "source", "status"):
        table[column] = tables.texts(table[column])
    table["taxon"] = names.written_as(table["taxon"], table["level"])
    for column in ("carbon_fraction", "sd"):
        table[column] = tables.numbers(table[column], file=file) if column in table else float("nan")
    problems = [
        (~table["level"].isin(["species", "genus", "family", "group", "default"]), "level is not one we know"),
        (~table["carbon_fraction"].between(0.3, 0.7), "carbon_fraction is not a share within 0.3 to 0.7"),
        (table["source"] == "", "source is empty: say where the number comes from"),
        (~table["status"].isin(STATUSES), f"status is not one of {', '.join(STATUSES)}"),
        (table.duplicated(["level", "taxon"], keep=False), "the taxon stands there more than once"),
    ]
    found = [f"{tables.rows(table.index[wrong])}: {message}" for wrong, message in problems if wrong.any()]
    if found:
        raise ValueError(f"{file}: {'; '.join(found)}")
    return table[list(CARBON_COLUMNS)].reset_index(drop=True)


def china_expansion() -> pd.DataFrame:
    """Wood density, BEF, root:shoot ratio and carbon fraction by species group, all of status unverified (quoted from memory)."""
    return tables.read_table(FOLDER / "china_expansion.csv")


