"""Tables that others made: CSV, Excel, Parquet, GeoPackage and shapefiles, with row numbers that a user finds again."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TEXT, SPREADSHEETS, PARQUET = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm"), (".parquet", ".geoparquet")
VECTORS = (".gpkg", ".shp", ".geojson", ".json", ".fgb")


def read_table(
    path: str | Path, *, layer: str | None = None, encoding: str | None = None, text: Iterable[str] = (), header_row: int = 1
) -> pd.DataFrame:
    """A table as it stands in the file; a GeoDataFrame where the format has geometry.

    The columns named in `text` are not taken for numbers where the file leaves that open (CSV, Excel): an identifier of
    20 digits, or one with zeros in front, comes through unharmed. `header_row` is the row of a spreadsheet or CSV that names
    the columns, where a title stands above it.

    The index holds the row numbers that the user sees: a spreadsheet's or a CSV's first row of data is row 2, a
    vector file's first feature is row 1. Text that is not UTF-8 is read as GB 18030, and said so.

    Raises
    ------
    FileNotFoundError, ValueError
        When the file is absent, of a format not known here, unreadable, or empty.
    """
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    suffix = path.suffix.lower()
    readers = {TEXT: _read_text, SPREADSHEETS: _read_spreadsheet, PARQUET: _read_parquet, VECTORS: _read_vector}
    reader = next((function for suffixes, function in readers.items() if suffix in suffixes), None)
    if reader is None:
        known = ", ".join(suffix for suffixes in readers for suffix in suffixes)
        older = {".xls": ".xlsx", ".xlsb": ".xlsx", ".ods": ".xlsx", ".dbf": ".csv", ".mdb": ".csv", ".accdb": ".csv"}.get(suffix)
        advice = f"; save it as {older}" if older else ""
        raise ValueError(f"{path} ends in {suffix or 'nothing'!r}; tables are read from {known}{advice}")
    headed = suffix in (*TEXT, *SPREADSHEETS)
    frame = reader(path, layer, encoding, text, *([header_row - 1] if headed else []))
    if frame.empty:
        raise ValueError(f"{path} holds no rows")
    # blank rows are gone, but the numbers of those below them stay as the spreadsheet shows them
    counted = frame.index.to_numpy() if headed else np.arange(len(frame))
    frame.index = pd.Index(counted + (1 if suffix in VECTORS else header_row + 1 if headed else 2))
    return frame


def _read_text(path: Path, layer: str | None, encoding: str | None, text: Iterable[str], header: int) -> pd.DataFrame:
    import csv

    import pandas as pd

    for tried in [encoding] if encoding else ["utf-8-sig", "gb18030"]:
        try:
            separator, decimal, width = _layout(path, tried, header)
            # pandas would take surplus fields for an index and shift every column, so the columns are counted beforehand
            frame = pd.read_csv(
                path, sep=separator, decimal=decimal, encoding=tried, skipinitialspace=True, skip_blank_lines=False,
                dtype=dict.fromkeys(text, "string"), low_memory=False, skiprows=header, index_col=False, usecols=range(width),
            )  # fmt: skip
        except UnicodeDecodeError:
            continue
        except pd.errors.EmptyDataError:
            raise ValueError(f"{path} is empty") from None
        except (pd.errors.ParserError, csv.Error) as error:
            reason = str(error).split("C error:")[-1].strip().lower()
            raise ValueError(f"{path} is not a table with the same number of columns in every row: {reason}") from None
        if decimal == ",":
            _mark_thousands(frame, set(text))
        if separator != "," or decimal != ".":
            marks = {",": "commas", ";": "semicolons", "\t": "tabs"}
            log.info("%s: columns are separated by %s, decimals by %s", path.name, marks[separator],
                     "commas" if decimal == "," else "points")  # fmt: skip
        if tried == "gb18030":
            log.info("%s is not UTF-8; read as GB 18030", path.name)
        return frame.dropna(how="all")
    raise ValueError(f"{path} is not text in {encoding or 'UTF-8 or GB 18030'}; save it as UTF-8")


class Thousands(str):
    """A number such as 1.250 where other numbers have a decimal comma: 1250, or 1.25 by another hand?"""


def _mark_thousands(frame: pd.DataFrame, text: set[str]) -> None:
    """Numbers with points, in a text whose decimals are commas, that may be thousands become `Thousands`; `numbers` asks then.

    A point is surely a decimal one where a number of its column has it elsewhere (0.612, 12.5). Numbers with a comma, which stay
    text beside others with a point, get the point that all else reads.
    """
    import pandas as pd

    for name in frame.columns:
        column = frame[name]
        if str(name) in text or pd.api.types.is_numeric_dtype(column):
            continue
        written = column.dropna().astype(str).str.strip()
        pointed = written[written.str.fullmatch(r"[-+]?\d+(\.\d+)+(,\d+)?")]
        if pointed.empty or not written.str.fullmatch(r"[-+]?[\d.,]*").all():
            continue
        comma = written[written.str.fullmatch(r"[-+]?\d+,\d+")]
        values = column.astype(object)
        values.loc[comma.index] = comma.str.replace(",", ".", regex=False).astype(object)
        if pointed.str.fullmatch(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?").all():
            values.loc[pointed.index] = pd.Series([Thousands(value) for value in pointed], index=pointed.index, dtype=object)
        frame[name] = values


def _layout(path: Path, encoding: str, header: int) -> tuple[str, str, int]:
    """Separator (the commonest of comma, semicolon and tab in the header), decimal mark and number of columns of a text table.

    Rows may end in separators that the header lacks, as spreadsheets write them; a row with a text or number beyond the
    last named column is refused, for nobody knows which of its fields is too many.
    """
    import csv

    import pandas as pd

    with path.open(encoding=encoding, newline="") as lines:
        plain = next((line for number, line in enumerate(lines) if number == header), "")
        outside = re.sub(r'"[^"]*"', "", plain)
        usual = "\t" if path.suffix.lower() == ".tsv" else ","
        separator = max((usual, ",", ";", "\t"), key=outside.count)
        lines.seek(0)
        width, beyond, comma = 0, [], False
        decimal_comma = re.compile(r"\s*[-+]?\d+,\d+\s*").fullmatch
        for number, fields in enumerate(csv.reader(lines, delimiter=separator, skipinitialspace=True)):
            if number < header:
                continue
            if number == header:
                width = len(fields)
                continue
            if len(fields) > width and any(field.strip() for field in fields[width:]):
                beyond.append(number + 1)
            comma = comma or (separator != "," and any(map(decimal_comma, fields)))
    if not width:
        raise pd.errors.EmptyDataError
    if beyond:
        raise ValueError(
            f"{path}: the header names {width} columns, and there is more in {rows(beyond)}; name every column, and put texts "
            "with a separator between quotation marks"
        )
    return separator, "," if comma else ".", width


def _read_spreadsheet(path: Path, layer: str | None, encoding: str | None, text: Iterable[str], header: int) -> pd.DataFrame:
    import zipfile

    import pandas as pd

    try:
        if layer is not None and layer not in (known := sheets(path)):
            raise ValueError(f"there is no sheet {layer!r}{nearest(layer, known)}; it has {', '.join(known)}")
        sheet = layer if layer is not None else 0
        frame = pd.read_excel(path, sheet_name=sheet, engine="openpyxl", dtype=dict.fromkeys(text, "string"), header=header)
        return frame.dropna(how="all")
    except ValueError as error:
        raise ValueError(f"{path}: {str(error)[0].lower()}{str(error)[1:]}") from None
    except (zipfile.BadZipFile, KeyError, OSError):
        raise ValueError(f"{path} is not a readable Excel workbook (.xlsx)") from None


def sheets(path: str | Path) -> list[str]:
    """The names of a workbook's sheets, in their order."""
    import zipfile

    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True)
    except (zipfile.BadZipFile, KeyError, OSError):
        raise ValueError(f"{path} is not a readable Excel workbook (.xlsx)") from None
    names = list(book.sheetnames)
    book.close()
    return names


def _read_parquet(path: Path, layer: str | None, encoding: str | None, text: Iterable[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (pyarrow.ArrowInvalid, OSError):
        raise ValueError(f"{path} is not a readable Parquet file") from None
    if b"geo" in metadata:
        import geopandas as gpd

        return gpd.read_parquet(path)
    return pd.read_parquet(path)


def _read_vector(path: Path, layer: str | None, encoding: str | None, text: Iterable[str]) -> pd.DataFrame:
    import geopandas as gpd
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        if path.suffix.lower() == ".shp":
            return _read_shapefile(path, encoding)
        return gpd.read_file(path, layer=layer) if layer else gpd.read_file(path)
    except DataLayerError:
        import pyogrio

        names = ", ".join(pyogrio.list_layers(path)[:, 0])
        raise ValueError(f"{path} has no layer {layer!r}; it has {names}") from None
    except DataSourceError as error:
        missing = [end for end in (".shx", ".dbf") if path.suffix == ".shp" and not path.with_suffix(end).exists()]
        beside = f"; its companion {path.with_suffix(missing[0]).name} is missing" if missing else ""
        raise ValueError(f"{path} cannot be read as a vector file{beside or f' ({error})'}") from None


def _read_shapefile(path: Path, encoding: str | None) -> pd.DataFrame:
    """The encoding that the user or the .cpg file declares, then strict UTF-8, then GB 18030, whichever fits first."""
    import warnings

    import geopandas as gpd

    declared = path.with_suffix(".cpg")
    names = [encoding] if encoding else []
    if not encoding and declared.exists():
        name = declared.read_text(encoding="ascii", errors="replace").strip()
        names.append(f"cp{name}" if name.isdigit() else name)
    if not encoding:
        names += ["UTF-8", "gb18030"]
    for name in dict.fromkeys(filter(None, names)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                frame = gpd.read_file(path, encoding=name)
        except (UnicodeDecodeError, LookupError, RuntimeWarning):
            continue
        if name.upper().replace("-", "") != "UTF8":
            log.info("%s: text read as %s", path.name, name)
        return frame
    raise ValueError(f"{path}: the text is not in {' or '.join(names)}; name its encoding (stands.encoding)")


def named_columns(
    frame: pd.DataFrame,
    columns: Mapping[str, str | Sequence[str]],
    *,
    known: Iterable[str],
    required: Iterable[str],
    file: str | Path,
    setting: str,
) -> pd.DataFrame:
    """The columns that we know, under our names; geometry stays. Columns of other names are left behind.

    Parameters
    ----------
    columns : mapping
        Our name to theirs, as in the configuration; a column that carries our name needs no entry. Several of theirs
        are joined: a date from year, month and day with '-', a name from its parts with '_'.
    setting : str
        The dotted key of `columns` in the configuration, for messages.
    """
    known = list(known)
    for ours in columns:
        if ours not in known:
            raise ValueError(
                f"{setting}.{ours} is not a column we use{nearest(ours, known)}; known: {', '.join(known)}"
            )
    present = [str(column) for column in frame.columns]
    chosen = {}
    for ours in known:
        theirs = columns.get(ours, ours)
        if not isinstance(theirs, str):
            absent = [part for part in theirs if part not in present]
            if absent:
                raise ValueError(f"{file} has no column {absent[0]!r} ({setting}.{ours}){nearest(absent[0], present)}")
            chosen[ours] = joined([frame[part] for part in theirs], "-" if ours.endswith("date") else "_").rename(ours)
        elif theirs in present:
            chosen[ours] = frame[theirs]
        elif ours in columns:
            raise ValueError(f"{file} has no column {theirs!r} ({setting}.{ours}){nearest(theirs, present)}")
    for theirs in named_in(columns, chosen):
        # pandas calls the second of two columns of one name X.1; which of the two is meant nobody knows
        if theirs in present and f"{theirs}.1" in present:
            log.warning("%s: the column %s stands twice; the first one is used", file, theirs)
    missing = [ours for ours in required if ours not in chosen]
    if missing:
        sentences = [f"{ours!r}{nearest(ours, present)}" for ours in missing]
        raise ValueError(
            f"{file} lacks the column {' and '.join(sentences)}; it has {', '.join(present)}; "
            f"name yours in {setting}, such as {missing[0]}: {present[0]}"
        )
    geometry = getattr(frame, "_geometry_column_name", None)
    if geometry in frame.columns:
        import geopandas as gpd

        return gpd.GeoDataFrame(chosen, geometry=frame.geometry.array, crs=frame.crs, index=frame.index)
    import pandas as pd

    return pd.DataFrame(chosen, index=frame.index)


def joined(parts: Sequence[pd.Series], mark: str) -> pd.Series:
    """Texts side by side, '' where one of them is missing."""
    columns = [texts(part) for part in parts]
    joined, missing = columns[0], columns[0] == ""
    for column in columns[1:]:
        joined, missing = joined + mark + column, missing | (column == "")
    return joined.where(~missing, "")


def named_in(columns: Mapping[str, str | Sequence[str]], ours: Iterable[str]) -> list[str]:
    """Their names of some columns of ours, joined ones part by part."""
    named = [columns.get(name, name) for name in ours]
    return [part for name in named for part in ([name] if isinstance(name, str) else name)]


def by_visit(frame: pd.DataFrame, visits: Sequence[Mapping[str, Any]], *, file: str | Path, setting: str) -> pd.DataFrame:
    """A table with one row per plot or tree and columns per date, as one row per date; row numbers repeat.

    Parameters
    ----------
    visits : sequence of mappings
        Per visit its `date` and `columns` (our name: their column of that date).
    """
    import pandas as pd

    spread = {theirs for visit in visits for theirs in visit["columns"].values()}
    absent = [name for name in spread if name not in frame.columns]
    if absent:
        raise ValueError(f"{file} has no column {absent[0]!r} ({setting}){nearest(absent[0], map(str, frame.columns))}")
    kept = frame[[name for name in frame.columns if name not in spread]]
    parts = []
    for visit in visits:
        named = {ours: frame[theirs] for ours, theirs in visit["columns"].items()}
        part = pd.concat([kept, pd.DataFrame({**named, "date": str(visit["date"])}, index=frame.index)], axis=1)
        given = frame[list(visit["columns"].values())].notna().any(axis=1)  # a tree not yet there has no row for the date
        parts.append(part[given])
    return pd.concat(parts)


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the known word nearest to a misspelt one, or ''."""
    lowered: dict[str, str] = {}
    for name in known:
        lowered.setdefault(str(name).lower(), str(name))
    match = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f" (did you mean {lowered[match[0]]!r}?)" if match else ""


def rows(labels: Iterable[Any], *, most: int = 5, noun: str = "row") -> str:
    """'row 7', 'rows 3, 9 and 12', or the first few and how many more."""
    labels = [str(label) for label in labels]
    if len(labels) == 1:
        return f"{noun} {labels[0]}"
    if len(labels) > most:
        return f"{noun}s {', '.join(labels[:most])} and {len(labels) - most} more"
    return f"{noun}s {', '.join(labels[:-1])} and {labels[-1]}"


Refuse = Callable[[str, "pd.Series", str], None]
"""Told of cells that cannot be read: kind of mistake, mask of rows, sentence without file and rows."""


def numbers(column: pd.Series, *, file: str | Path, refuse: Refuse | None = None) -> pd.Series:
    """A column as float64, missing as NaN; what is not a finite number is named with its rows, or told to `refuse`.

    Text that is no number, TRUE and FALSE, and infinities are none.
    """
    import pandas as pd

    truth = pd.Series(pd.api.types.is_bool_dtype(column), index=column.index)
    if column.dtype == object:
        truth = column.map(lambda value: isinstance(value, bool | np.bool_)).astype(bool)
    column = _with_points(column)
    values = pd.to_numeric(column.where(~truth, np.nan), errors="coerce").astype("float64")
    infinite = np.isinf(values)
    wrong = truth | infinite
    if column.dtype == object:
        thousands = column.map(lambda value: isinstance(value, Thousands)).astype(bool)
        wrong, values = wrong | thousands, values.where(~thousands)
    if not pd.api.types.is_numeric_dtype(column):
        text = column.astype("string").str.strip().fillna("")
        wrong |= values.isna() & ~text.str.lower().isin(["", "na", "nan", "null", "none", "-"])
    values = values.where(~infinite)
    if wrong.any():
        example = str(column[wrong].iloc[0]).strip()
        thousands = re.fullmatch(r"-?\d{1,3}(,\d{3})+", example)
        hint = "; is that a decimal comma or one of thousands? write decimals with a point" if thousands else ""
        if isinstance(column[wrong].iloc[0], Thousands):
            hint = "; decimals have a comma elsewhere, so is that a thousand? leave out points between thousands"
        if refuse is not None:
            refuse("number_unreadable", wrong, f"{column.name} is not a number in <rows>, such as {example!r}{hint}")
            return values
        raise ValueError(
            f"{file}: {column.name} is not a number in {rows(column.index[wrong])}, such as {example!r}{hint}"
        )
    return values


def _with_points(column: pd.Series) -> pd.Series:
    """Texts such as '12,5' with a decimal point: cells of a spreadsheet, or of a list that mixes both marks.

    Three figures behind a comma may be thousands ('1,250'): such cells are decimals only where another one of the column
    shows that its commas are.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    text = column.map(lambda value: value.strip() if isinstance(value, str) else "")
    comma = text.str.fullmatch(r"[-+]?\d+,\d+").astype(bool)
    certain = comma & ~text.str.fullmatch(r"[-+]?\d{1,3},\d{3}").astype(bool)
    if not certain.any():
        return column
    return column.astype(object).where(~comma, text.str.replace(",", "."))


def texts(column: pd.Series) -> pd.Series:
    """A column as stripped text, missing as ''; whole numbers without '.0', so that plot 12.0 is plot '12'."""
    import pandas as pd

    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip().fillna("")
    if not pd.api.types.is_numeric_dtype(column):
        # a column of whole numbers with gaps, written by a program that has no missing integers
        floats = text.str.fullmatch(r"-?\d+\.0|") & True
        if floats.all() and (text != "").any():
            text = text.str.removesuffix(".0")
    return text.astype(object)


EXCEL_DAY_ZERO = "1899-12-30"
EXCEL_SERIALS = r"[1-7]\d{4}(?:\.\d+)?"
"""Days since 30 December 1899 as spreadsheets count them: 10000 is 1927, 79999 is 2119."""
YEARS = (1800, 2100)
"""No field plot was measured outside these; such a year is a slip (2919, 0201)."""
DATE_ORDERS = ("day_first", "month_first")


def dates(
    column: pd.Series, *, file: str | Path, refuse: Refuse | None = None, order: str | None = None, setting: str = "date_order"
) -> pd.Series:
    """A column as days; a bare year is its first of July, a year and month that month's 15th.

    Year first in any usual writing; day, month, year with points (01.07.2019, where only the day can stand first); with
    slashes or hyphens (1/7/2019) by `order` (day_first, month_first), or by the column itself where one of its dates has a
    number above 12; a spreadsheet's number of a day (43647).

    Missing stays missing; other text, and years no plot was measured in, are named with their rows, or told to `refuse`.
    `setting` is the key of `order` in the configuration, for messages.
    """
    import pandas as pd

    ambiguous = False
    if not pd.api.types.is_datetime64_any_dtype(column):
        text = texts(column)
        year_first = text.str.extract(r"^(\d{4})(?:[-/.年](\d{1,2})(?:月|[-/.月](\d{1,2})日?(?:[T ].*)?)?|(\d{2})(\d{2}))?$")
        month, day = year_first[1].fillna(year_first[3]), year_first[2].fillna(year_first[4])
        day = day.fillna(month.notna().map({True: "15", False: "1"}))
        month = month.fillna("7")
        parsed = pd.to_datetime(year_first[0] + "-" + month.str.zfill(2) + "-" + day.str.zfill(2), errors="coerce")
        year_last = text.str.extract(r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{4})(?:[T ].*)?$")
        if year_last[0].notna().any():
            first, second = (pd.to_numeric(year_last[part]) for part in (0, 2))
            pointed = year_last[1] == "."
            shown = "day_first" if (first[~pointed] > 12).any() else "month_first" if (second[~pointed] > 12).any() else None
            order = order or shown
            ambiguous = order is None and bool((first.notna() & ~pointed).any())
            swapped = ~pointed & (order == "month_first")
            days, months = first.where(~swapped, second), second.where(~swapped, first)
            writing = pd.DataFrame({"year": pd.to_numeric(year_last[3]), "month": months, "day": days})
            if ambiguous:
                writing = writing[pointed]
            parsed = parsed.fillna(pd.to_datetime(writing.dropna(), errors="coerce").reindex(text.index))
        serial = text.str.fullmatch(EXCEL_SERIALS).astype(bool) & parsed.isna()
        if serial.any():
            log.info("%s: %d dates of %s are a spreadsheet's numbers of days", file, serial.sum(), column.name)
            counted = pd.to_timedelta(pd.to_numeric(text.where(serial)), unit="D")
            parsed = parsed.fillna(pd.Timestamp(EXCEL_DAY_ZERO) + counted)
        wrong = parsed.isna() & (text != "")
        column = parsed.rename(column.name)
    else:
        text, wrong = column.astype("string"), pd.Series(False, index=column.index)
        if column.dt.tz is not None:
            column = column.dt.tz_localize(None)
    wrong |= column.notna() & ~column.dt.year.between(*YEARS)
    column = column.where(~wrong)
    if wrong.any():
        advice = f"; say {setting}: {' or '.join(DATE_ORDERS)}" if ambiguous else "; write 2019-07-15"
        what = f"such as {text[wrong].iloc[0]!r}{advice}"
        if refuse is None:
            raise ValueError(f"{file}: {column.name} is not a date in {rows(column.index[wrong])}, {what}")
        refuse("date_unreadable", wrong, f"{column.name} is not a date in <rows>, {what}")
    return column.dt.normalize().astype("datetime64[us]")
