"""The US national-scale volume and biomass system (USFS GTR-WO-104) as rows of the allometry table, by the package nsvb.

Its coefficients and species are the package's own; only their shape is ours. Diameters in inches, heights in feet, weights in
pounds, volumes in cubic feet: the rows say so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "USFS GTR-WO-104 (2023) by the package nsvb"
FORM_OF_MODEL = {
    1: "nsvb_schumacher_hall", 2: "nsvb_segmented", 3: "nsvb_continuously_variable", 4: "nsvb_modified_wiley",
    5: "nsvb_schumacher_hall",
}  # fmt: skip
TABLE_OF = {"agb": "s8", "stem_wood": "s1", "bark": "s6", "branches": "s7", "foliage": "s9", "stem_volume": "s1"}
TOGETHER = ("stem_wood", "bark", "branches")  # scaled together to aboveground biomass, which holds no foliage
WATER_LB_FT3 = 62.4
SCORES = "Table S13_component_spcd_scorecard.csv", "Table S12_component_scorecard.csv"
SCORED = "TT_WDBK_DW_ADJ"  # whole tree, wood and bark: what aboveground biomass is here
MIN_SCORED_TREES = 30  # fewer destructively sampled trees tell little of a species' own spread


def package() -> Any:
    """The package's tables.

    Raises
    ------
    ValueError
        When it is not installed.
    """
    try:
        from nsvb import tables
    except ImportError:
        raise ValueError(
            "plots.allometry: nsvb needs the Python package nsvb, which is not installed here; install it (pip install nsvb), "
            "or take jenkins2003, which needs nothing"
        ) from None
    return tables


def national_table(*, division: str = "", planted: bool = False) -> pd.DataFrame:
    """Equations of every species of the USFS list, columns as of `equations.allometry_table`.

    Parameters
    ----------
    division : str
        Ecological division, such as 240 or M240; species without coefficients of their own there take those of all.
    planted : bool
        Coefficients of planted stands, where slash and loblolly pine have them.

    Raises
    ------
    ValueError
        For a division that the system does not know, or when the package is absent.
    """
    import pandas as pd

    from catalogs.parameters.equations import checked_equations

    nsvb = package()
    divisions = {key[1] for name in TABLE_OF.values() for key in nsvb.TABLES[f"{name}a"] if key[1]}
    if division and division not in divisions | set(nsvb.ECO_DIV_PROV):
        raise ValueError(
            f"plots.region {division!r} is not an ecological division of the US national system; with coefficients of their "
            f"own: {', '.join(sorted(divisions))}"
        )
    name = "nsvb_planted" if planted else "nsvb"
    species = {taxon: code for taxon, code in _species(nsvb) if _group(nsvb, code) in nsvb.TABLES["s8b"]}
    rows = [
        {"name": name, "region": division, "component": component, **row}
        for taxon, code in species.items()
        for component, row in _rows(nsvb, taxon, code, division, "1" if planted else "0")
    ]
    return checked_equations(pd.DataFrame(rows), file="nsvb")


def _group(nsvb: Any, code: int) -> int:
    text = nsvb.REF_SPECIES[code]["JENKINS_SPGRPCD"]
    return int(text) if text else -1


def _species(nsvb: Any) -> Iterator[tuple[tuple[str, str], int]]:
    """Level and taxon with its code, the species itself before its varieties."""
    seen = set()
    listed = nsvb.REF_SPECIES.items()
    for code, row in sorted(listed, key=lambda pair: (bool(pair[1]["VARIETY"] or pair[1]["SUBSPECIES"]), pair[0])):
        genus, epithet = row["GENUS"], row["SPECIES"]
        if not genus or not epithet or genus in ("Tree", "Unknown"):
            continue
        taxon = ("genus", genus) if epithet in ("spp.", "sp.") else ("species", f"{genus} {epithet}")
        if taxon not in seen:
            seen.add(taxon)
            yield taxon, code


def _rows(nsvb: Any, taxon: tuple[str, str], code: int, division: str, origin: str) -> Iterator[tuple[str, dict]]:
    density = float(nsvb.REF_SPECIES[code]["WOOD_SPGR_GREENVOL_DRYWT"] or "nan")
    level, named = taxon
    for component, table in TABLE_OF.items():
        try:
            found, own = nsvb.lookup_spcd_coefs(nsvb.TABLES[f"{table}a"], code, division, origin), True
        except KeyError:
            found, own = nsvb.TABLES[f"{table}b"][_group(nsvb, code)], False
        factor = density if found["model"] == 5 else 1.0
        factor *= density * WATER_LB_FT3 if component == "stem_wood" else 1.0
        if not factor > 0:
            continue  # no wood density in the list: the species is not served, which the plots step says
        row = {name: found.get(name) for name in ("a", "b", "c")}
        row["a"] = row["a"] * factor
        if found["model"] == 2:
            row |= {"d": found["b1"], "e": nsvb.segmentation_point(code)}
        elif found["model"] == 3:
            row |= {"d": found["a1"], "e": found["c1"]}
        elif found["model"] == 4:
            row |= {"d": found["b1"]}
        by = "" if own else f", by Jenkins group {_group(nsvb, code)}"
        row |= {
            "level": level, "taxon": named, "form": FORM_OF_MODEL[found["model"]], "dbh_min_cm": 2.54, "dbh_max_cm": None,
            "dbh_unit": "in", "height_unit": "ft", "result_unit": "ft3" if component == "stem_volume" else "lb",
            "bias_corrected": "yes", "sums_to_agb": "yes" if component in TOGETHER else "no", "status": "published",
            "source": f"{SOURCE}, table {table.upper()}{'a' if own else 'b'}, species {code}{by}",
        }  # fmt: skip
        if component == "agb":
            row |= _spread(code)
        yield component, row


def _spread(code: int) -> dict[str, Any]:
    """Relative spread of trees around their prediction, and the largest tree that was weighed, from the system's scores."""
    scores = _scores()
    spread, largest, count = scores.get(str(code), scores[""])
    return {"rse": spread, "rse_scale": "share", "dbh_max_cm": largest, "n": count}


@cache
def _scores() -> dict[str, tuple[float, float, int]]:
    from importlib.resources import files

    found = {}
    for file in SCORES:
        text = files("nsvb").joinpath("data").joinpath(file).read_text(encoding="utf-8-sig")
        for row in csv.DictReader(text.splitlines()):
            enough = int(row["N"]) >= MIN_SCORED_TREES
            if row["VAR3"] == SCORED and enough:
                found[row.get("SPCD", "")] = (float(row["SD(PE%)"]) / 100, float(row["Max_DBH"]) * 2.54, int(row["N"]))
    return found


def carbon_fractions() -> pd.DataFrame:
    """Carbon fraction of live wood by species and genus, t C per t dry matter: table S10a of the system."""
    import pandas as pd

    nsvb = package()
    rows = [
        {"level": level, "taxon": named, "carbon_fraction": nsvb.CARBON_FRACTION_LIVE[code], "sd": float("nan"),
         "source": f"{SOURCE}, table S10a, species {code}", "status": "published"}
        for (level, named), code in _species(nsvb)
        if code in nsvb.CARBON_FRACTION_LIVE
    ]  # fmt: skip
    return pd.DataFrame(rows)
