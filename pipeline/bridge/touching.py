"""What touches a block: foreign files indexed once, and the digest of those entries that lie within a box."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline import store
from pipeline.bridge.digests import digest

Bounds = tuple[float, float, float, float]

SIDECARS = (".dbf", ".shx", ".prj", ".cpg")
"""What a shapefile keeps beside its .shp: an edit of attributes changes only the .dbf."""


def within_reach(entries: Iterable[dict] | None, bounds: Bounds) -> str:
    """Digest of the entries (id, bounds, digest) that touch `bounds`; `not there yet` while there is no index of them."""
    if entries is None:
        return "not there yet"
    west, south, east, north = bounds
    return digest(
        sorted(
            [entry["id"], entry["digest"]]
            for entry in entries
            if entry["bounds"][0] < east
            and entry["bounds"][2] > west
            and entry["bounds"][1] < north
            and entry["bounds"][3] > south
        )
    )


def or_why_not(find: Callable[[], str]) -> str:
    """What `find` returns, or why it cannot: then the job runs and says so as its mistake, not the planning."""
    try:
        return find()
    except (ValueError, KeyError, OSError) as error:
        return f"unreadable: {error}"


def listed(source: str | tuple[str, ...]) -> list[str]:
    """The files of a setting that names one or several."""
    return list(source) if isinstance(source, tuple | list) else [str(source)]


def with_sidecars(path: str) -> list[str]:
    """A file and, for a shapefile, the files beside it that belong to it."""
    file = Path(path)
    if file.suffix.lower() != ".shp":
        return [path]
    return [path, *(found.as_posix() for end in SIDECARS if (found := file.with_suffix(end)).exists())]


def files_of(source: str | tuple[str, ...], endings: tuple[str, ...]) -> list[Path]:
    """The local files behind a setting: a file, the files of a folder, or a list of files; empty when none is there."""
    found: list[Path] = []
    for path in map(Path, source if isinstance(source, tuple) else (source,)):
        if path.is_dir():
            found += [file for file in path.rglob("*") if file.suffix.lower() in endings]
        elif path.exists():
            found += map(Path, with_sidecars(path.as_posix()))
    return sorted(found)


def kept_index(file: Path, about: object, files: list[Path], index: Callable[[], list[dict]]) -> list[dict]:
    """An index of foreign files, made again only when `about`, or size or time of one of the files, changed."""
    key = _key(about, files)
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["entries"]
    entries = json.loads(json.dumps(index()))
    store.write_json(file, {"key": key, "entries": entries})
    return entries


def kept_if_right(file: Path, about: object, files: list[Path], problems: Callable[[], list[str]]) -> list[str]:
    """What `problems` finds; that it found none is remembered in `file` until `about`, or size or time of a file, changes."""
    key = _key(about, files)
    if file.exists() and json.loads(file.read_text(encoding="utf-8")).get("key") == key:
        return []
    found = problems()
    if not found:
        store.write_json(file, {"key": key})
    return found


def _key(about: object, files: list[Path]) -> str:
    return digest([about, [(f.as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files]])


def bounds_in(bounds: Bounds, source: str | None, target: str) -> list[float]:
    """Bounds brought from one CRS to another; as they are where the first is unknown or the same."""
    from pyproj import CRS, Transformer

    if source is None or CRS.from_user_input(source).to_2d() == CRS.from_user_input(target):
        return list(bounds)
    return list(Transformer.from_crs(source, target, always_xy=True).transform_bounds(*bounds))
