"""What a forester's column names mean: a first column map, to be read and corrected."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs import tables, units

if TYPE_CHECKING:
    import pandas as pd

TREE_WORDS: dict[str, tuple[str, ...]] = {
    "plot": ("plot", "plotid", "plotno", "plotnr", "plotnumber", "plotcode", "plotname", "idplot", "subplot", "placette",
             "parcelle", "parzelle", "probekreis", "probeflache", "parcela", "样地", "样地号", "样地编号",
             "样方号", "样圆号", "표본점", "표본점번호", "부표본점", "부표본점번호"),
    "tree": ("tree", "treeid", "treeno", "treenr", "treenumber", "tag", "tagno", "stem", "stemid", "baumnr", "baumnummer", "baum",
             "arbre", "narbre", "arbol", "narbol", "cn", "样木号", "树号", "임목번호"),
    "date": ("date", "measdate", "measuredate", "surveydate", "visitdate", "inventorydate", "datum", "aufnahmedatum",
             "messdatum", "fecha", "createddate",
             "调查日期", "조사일자", "year", "measyear", "invyr", "inventoryyear", "annee", "jahr", "ano",
             "aufnahmejahr", "anneemesure", "年度", "年份", "调查年度", "조사연도"),
    "species": ("scientificname", "latinname", "latin", "species", "speciesname", "spname", "spp", "sp", "speciescode", "spcd",
                "essence", "baumart", "especie", "树种", "수종명", "수종", "laji"),
    "genus": ("genus", "genre", "gattung", "genero", "属"),
    "family": ("family", "famille", "familie", "familia", "科"),
    "dbh_cm": ("dbh", "dbhcm", "dbhmm", "dbhin", "d", "dcm", "dia", "diam", "diameter", "d13", "d130", "bhd", "dap", "diametre",
               "diametro", "durchmesser", "brusthohendurchmesser", "胸径", "흉고직경"),
    "height_m": ("height", "heightm", "totalheight", "treeheight", "ht", "htm", "htft", "h", "hm", "hauteur", "hohe", "hoehe",
                 "baumhohe", "altura", "alturatotal", "树高", "수고"),
    "status": ("status", "statuscd", "treestatus", "livedead", "condition", "alive", "zustand", "状态"),
    "trees_per_ha": ("treesperha", "expansionfactor", "expf", "nha", "tpa", "tpaunadj"),
    "volume_m3": ("volume", "volumem3", "vol", "volm3", "volest", "v", "材积", "재적"),
    "distance_m": ("distance", "distancem", "dist", "水平距"),
    "azimuth_deg": ("azimuth", "azimut", "bearing", "方位角"),
}  # fmt: skip
"""Our tree columns and what they are called elsewhere: letters and digits, lower case."""

PLOT_WORDS: dict[str, tuple[str, ...]] = {
    "plot": TREE_WORDS["plot"],
    "date": TREE_WORDS["date"],
    "x": ("x", "easting", "east", "xutm", "utmx", "xcoord", "coordx", "pointx", "lon", "long", "longitude", "rechtswert",
          "经度", "横坐标",
          "경도"),
    "y": ("y", "northing", "north", "yutm", "utmy", "ycoord", "coordy", "pointy", "lat", "latitude", "hochwert", "纬度", "纵坐标",
          "위도"),
    "cluster": ("cluster", "clusterid", "tract", "trakt", "clstplot", "grappe"),
    "stratum": ("stratum", "strata", "strate", "layer", "层"),
    "radius_m": ("radius", "radiusm", "rayon", "plotradius", "半径"),
    "area_ha": ("areaha", "plotarea", "area", "plotsize", "surface", "superficie", "flache", "aream2", "样地面积", "面积",
                "면적"),
    "plot_status": ("plotstatuscd", "plotstatus"),
    "slope_deg": ("slope", "slopedeg", "slopegr", "slopepercent", "pente", "neigung", "坡度"),
    "weight": ("weight", "plotweight", "designweight", "samplingweight", "weightha", "locationha", "expns"),
    "phase": ("phase",),
    "agb_mg_ha": ("agb", "agbmgha", "agbtha", "agbha"),
    "volume_m3_ha": ("volumem3ha", "volha", "vha", "growingstock", "蓄积量"),
    "basal_area_m2_ha": ("basalarea", "basalaream2ha", "ba", "baha", "gm2ha", "totalba"),
    "stems_n_ha": ("stemsnha", "stems", "stemsha", "nha", "totaltd"),
    "dominant_height_m": ("dominantheight", "hdom", "topheight"),
}  # fmt: skip
HEADER_UNITS = {"tpa": "1/acre", "tpaunadj": "1/acre"}
ACRE_COMPANIONS = {"dbh_cm": ("dia", "inch"), "height_m": ("ht", "ft")}
"""Trees per acre stand beside diameters in inches and heights in feet: the tables of the US inventory (FIA database guide)."""
FIA_PLOT_STATUS = {"1": "measured", "2": "no_forest", "3": "not_measured"}
"""PLOT_STATUS_CD of the FIA database: forest sampled; sampled, no forest; not sampled."""
FIA_STATUS = {"0": "unseen", "1": "live", "2": "dead", "3": "gone"}
"""STATUSCD of the FIA database: not in the sample that time; live; dead; removed."""


def plain(header: str) -> str:
    """A header as letters and digits in lower case, without accents: 'DBH (cm)' is 'dbhcm', 'Höhe' is 'hohe'."""
    parts = unicodedata.normalize("NFKD", str(header).lower())
    bare = "".join(mark for mark in parts if unicodedata.category(mark) != "Mn")
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", bare))  # Hangul come apart above, and together here


def unit_in(header: str, ours: str) -> str | None:
    """The unit that a header ends in, such as 'DBH (inches)', 'ht_ft', 'SLOPE%', '面积(亩)'; None where it is ours, or none.

    Units of one letter (m) count in brackets only: 'plot_m' may be anything.
    """
    known = units.units_of(ours)
    text = unicodedata.normalize("NFC", str(header)).strip().lower()
    bracketed = re.search(r"[\(\[（【]\s*(?:in |en )?([^\(\)\[\]（）【】]+?)\s*[\)\]）】]\s*$", text)
    ending = re.search(r"(?:[\W_]|dbh|dia|ht|slope|area)([a-z]{2,}[23²³]?|m[2²]|%)[\W_]*$", text) or re.search(r"(%)$", text)
    for found in (bracketed, ending):
        if found and (unit := units.named_unit(found[1].strip(), known)) in known:
            return None if known[unit] == 1 else unit
    return None


def guess(headers: Iterable[str], words: dict[str, tuple[str, ...]]) -> tuple[dict[str, str], dict[str, str]]:
    """Column map (ours: theirs) and units (ours: unit) that a table's headers suggest."""
    by_name: dict[str, str] = {}
    for header in headers:
        by_name.setdefault(plain(header), str(header))
        unitless = re.sub(r"[\(\[（【].*?[\)\]）】]", "", str(header))
        by_name.setdefault(plain(unitless), str(header))
    columns, found_units = {}, {}
    for ours, names in words.items():
        found = next((by_name[name] for name in (plain(ours), *names) if name in by_name), None)
        if found is None or found in columns.values():
            continue
        columns[ours] = found
        unit = HEADER_UNITS.get(plain(found)) or unit_in(found, ours)
        found_units |= {ours: unit} if unit else {}
    if found_units.get("trees_per_ha") == "1/acre":
        found_units |= {ours: unit for ours, (name, unit) in ACRE_COMPANIONS.items() if plain(columns.get(ours, "")) == name}
    return columns, found_units


def headed(path: str, sheet: str | None = None) -> tuple[pd.DataFrame, int]:
    """A table and the row that names its columns: the first of ten of which more than half the cells hold a text."""
    for row in range(1, 11):
        try:
            frame = tables.read_table(path, layer=sheet, header_row=row)
        except ValueError:  # a title of one cell above a wider table; what is wrong with the file is said below
            continue
        named = [str(name) for name in frame.columns if not str(name).startswith("Unnamed: ")]
        if len(named) > len(frame.columns) / 2 and not all(re.fullmatch(r"[\d.]+", name) for name in named):
            return frame, row
    return tables.read_table(path, layer=sheet), 1


def tables_in(path: str) -> list[tuple[str, str | None]]:
    """The tables of a file with the sheet of each: `book.xlsx:sheet` is one, a workbook of several sheets those with plots."""
    workbook, colon, sheet = path.rpartition(":")
    if colon and workbook.lower().endswith(tables.SPREADSHEETS):
        return [(workbook, sheet)]
    if not path.lower().endswith(tables.SPREADSHEETS) or not Path(path).exists() or len(names := tables.sheets(path)) == 1:
        return [(path, None)]
    chosen = []
    for name in names:
        try:
            frame, _ = headed(path, name)
        except ValueError:  # a sheet without rows
            continue
        headers = [str(header) for header in frame.columns]
        trees, plots = guess(headers, TREE_WORDS)[0], guess(headers, PLOT_WORDS)[0]
        if "plot" in plots and ("dbh_cm" in trees or len(plots) > 1):
            chosen.append((path, name))
    if not chosen:
        raise ValueError(
            f"{path}: no sheet has a column of plots beside others that we know; it has {', '.join(names)}; name one as "
            f"{path}:{names[0]}"
        )
    return chosen


def _numeric(found: dict[str, Any]) -> bool:
    """Whether the columns taken for x and y hold numbers at all; coordinates may be masked."""
    import pandas as pd

    frame = tables.read_table(found["file"], layer=found.get("layer"), header_row=found.get("header_row", 1))
    return all(pd.to_numeric(frame[found["columns"][name]], errors="coerce").notna().any() for name in ("x", "y"))


def _link_as_fia_does(found: dict[str, Any]) -> None:
    """The keys of the US inventory, where both tables are of it: PLT_CN of a tree is CN of its visit, PREV_TRE_CN of its past."""
    if "file" not in found or "trees" not in found:
        return
    plots, trees = (
        list(tables.read_table(found[file], layer=found.get(layer), header_row=found.get(row, 1)).columns)
        for file, layer, row in (("file", "layer", "header_row"), ("trees", "tree_layer", "tree_header_row"))
    )
    if "PLT_CN" not in trees or not {"CN", "PLOT"} <= set(plots):
        return
    columns, tree_columns = found["columns"], found["tree_columns"]
    columns |= {"visit": "CN", "plot": [name for name in ("STATECD", "UNITCD", "COUNTYCD", "PLOT") if name in plots]}
    if {"MEASYEAR", "MEASMON"} <= set(plots):
        columns["date"] = ["MEASYEAR", "MEASMON"]
    for name in ("plot", "date"):  # those of the visit
        tree_columns.pop(name, None)
    tree_columns |= {"visit": "PLT_CN", "tree": [name for name in ("SUBP", "TREE") if name in trees]}
    if {"CN", "PREV_TRE_CN"} <= set(trees):
        tree_columns |= {"record": "CN", "previous_record": "PREV_TRE_CN"}
    if "STATUSCD" in trees:
        found["status_codes"] = dict(FIA_STATUS)


def guess_settings(paths: Iterable[str | Path]) -> dict[str, Any]:
    """What settings of `plots` some files suggest: which is the tree list, which the table of plots, and their columns."""
    found: dict[str, Any] = {}
    sources = [one for path in paths for one in tables_in(str(path))]
    # a workbook named once for its plots and once for its trees is the same sheets
    sources = [one for number, one in enumerate(sources) if one[1] is None or one not in sources[:number]]
    for path, sheet in sources:
        frame, row = headed(path, sheet)
        headers = [str(name) for name in frame.columns]
        columns, named_units = guess(headers, TREE_WORDS)
        if "dbh_cm" in columns and "trees" not in found:
            found |= {"trees": path, "tree_columns": columns, "tree_units": named_units}
            found |= ({"tree_header_row": row} if row > 1 else {}) | ({"tree_layer": sheet} if sheet else {})
            continue
        if "file" in found:
            named = f"{path}:{sheet}" if sheet else path
            first = f"{found['file']}:{found['layer']}" if "layer" in found else found["file"]
            raise ValueError(f"{named} has no column of dbh, so it is no tree list, and {first} is the table of plots")
        columns, named_units = guess(headers, PLOT_WORDS)
        found |= {"file": path, "columns": columns, "units": named_units} | ({"header_row": row} if row > 1 else {})
        found |= {"layer": sheet} if sheet else {}
        if plain(columns.get("plot_status", "")) == "plotstatuscd":
            found["plot_status_codes"] = dict(FIA_PLOT_STATUS)
        if hasattr(frame, "geom_type") and frame.crs is not None:
            found["crs"] = frame.crs.to_string()
    _link_as_fia_does(found)
    if "file" not in found:
        # the list of trees is the table of plots as well
        row, sheet = found.get("tree_header_row", 1), found.get("tree_layer")
        headers = [str(name) for name in tables.read_table(found["trees"], layer=sheet, header_row=row).columns]
        words = {ours: PLOT_WORDS[ours] for ours in ("plot", "date", "x", "y", "cluster", "stratum")}
        columns, named_units = guess(headers, words)
        found |= {"file": found["trees"], "columns": columns, "units": named_units} | ({"header_row": row} if row > 1 else {})
        found |= {"layer": sheet} if sheet else {}
    # columns that are there without numbers hold no position; columns that nobody recognised are the analyst's to name
    recognised = {"x", "y"} <= set(found["columns"])
    if not recognised or not _numeric(found):
        found |= {"rules": {"position_missing": "leave_out"}} if recognised else {}
        for name in ("x", "y"):
            found["columns"].pop(name, None)
    found["columns"] = {ours: theirs for ours, theirs in found["columns"].items() if ours != theirs}
    if "tree_columns" in found:
        found["tree_columns"] = {ours: theirs for ours, theirs in found["tree_columns"].items() if ours != theirs}
    return found
