"""What a forester checks first in lidar from others, and what is wrong with it: from headers and a sample of points."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalogs.lidar import references
from catalogs.lidar.coverage import overlaps_and_gaps, within_hull
from catalogs.lidar.headers import (
    Header,
    Pieces,
    Records,
    days,
    decode,
    first_points,
    header_of,
    pieces_of,
    refuse_overflow,
)
from catalogs.lidar.points import NOISE_CLASSES
from catalogs.lidar.ranges import Ranges, is_remote, name_of, open_ranges
from catalogs.lidar.references import METRES, Bounds
from catalogs.lidar.thinning import hashed
from catalogs.lidar.tiles import FIRST_POINTS, Tile, disagreements, refuse_lying_box, tile_crs, tile_paths
from catalogs.lidar.verdicts import CLASS_NAMES, GROUND, Declared, judged
from catalogs.remote.hrefs import Source

SAMPLE_POINTS = 2_500_000  # decoded in all, from pieces spread over every file
WHOLE_POINTS = 3_000_000  # read whole for the density: the files nearest to the middle size
REMOTE_PIECES = 2
CELL_M = 10.0
CUT = np.iinfo(np.int64).min  # number of cells that a file's box cuts: they hold fewer points than were flown
@dataclass
class Tally:
    """Counts of sampled points, added up piece by piece."""

    points: int = 0
    classes: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(16, np.int64))
    returns: np.ndarray = field(default_factory=lambda: np.zeros(16, np.int64))
    intensity: np.ndarray = field(default_factory=lambda: np.zeros(1 << 16, np.int64))
    flags: Counter = field(default_factory=Counter)
    twins: int = 0
    ground_z: list[float] = field(default_factory=list)
    low_z: list[float] = field(default_factory=list)
    high_z: list[float] = field(default_factory=list)
    flown: list[dt.date] = field(default_factory=list)
    sources: set[int] = field(default_factory=set)

    def add(self, records: Records) -> None:
        """Count one piece's points."""
        kind, number = records.classification, records.return_number
        self.points += len(records)
        self.classes += np.bincount(kind, minlength=256)
        self.numbers += np.bincount(number, minlength=16)
        self.returns += np.bincount(records.number_of_returns, minlength=16)
        self.intensity += np.bincount(records.intensity, minlength=1 << 16)
        for name in ("withheld", "overlap", "synthetic"):
            self.flags[name] += int(getattr(records, name).sum())
        self.twins += len(records) - len(np.unique(hashed(records.place(0), records.place(1), records.place(2),
                                                          records.time, number.astype(float))))  # fmt: skip
        z = records.place(2)
        clean = ~(np.isin(kind, NOISE_CLASSES) | records.withheld)
        if (kind == GROUND).any():
            self.ground_z.append(float(np.median(z[kind == GROUND])))
        if clean.any():
            low, high = np.percentile(z[clean], [1, 99.9])
            self.low_z.append(float(low))
            self.high_z.append(float(high))
        self.flown += days(records.header, records.time) or ()
        self.sources |= set(np.unique(records.source).tolist())


@dataclass
class CellCounts:
    """Points, first returns and ground points per occupied 10 m cell of the files that were read whole."""

    points: list[np.ndarray] = field(default_factory=list)
    pulses: list[np.ndarray] = field(default_factory=list)
    ground: list[np.ndarray] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def add(self, path: str, cell: np.ndarray, first: np.ndarray, ground: np.ndarray) -> None:
        """Count the points of one file by the number of their cell; those of cells that its box cuts, where all are."""
        uncut = cell != CUT
        if uncut.any():
            cell, first, ground = cell[uncut], first[uncut], ground[uncut]
        _, place = np.unique(cell, return_inverse=True)
        self.points.append(np.bincount(place))
        self.pulses.append(np.bincount(place, weights=first))
        self.ground.append(np.bincount(place, weights=ground))
        self.files.append(path)

    def medians_m2(self) -> dict[str, float] | None:
        """Median per m2 over all occupied cells; None where no file was read whole."""
        if not self.files:
            return None
        names = ("points", "pulses", "ground")
        return {name: float(np.median(np.concatenate(getattr(self, name)))) / CELL_M**2 for name in names}


def inspect_tiles(
    source: str | Sequence[str],
    *,
    crs: str | None = None,
    access: Source | None = None,
    declared: Declared | None = None,
    sample_points: int = SAMPLE_POINTS,
    whole_points: int = WHOLE_POINTS,
) -> dict[str, Any]:
    """What lidar tiles hold, from their headers and a sample of points, as plain values.

    Parameters
    ----------
    source, crs, access
        As of `index_tiles`.
    declared : Declared, optional
        What a study says of them; without one, what wants a setting is told as such.
    sample_points, whole_points : int
        How many points are decoded for shares, and how many of files read whole for densities.

    Returns
    -------
    dict
        `files` (one entry each), what they hold together, `problems` (sentences: what a run would refuse) and `remarks`
        (what makes the data weaker, or wants a setting). Shares are percent of the sampled points, areas hectares,
        densities per m2: medians over occupied 10 m cells of files read whole, not points over the header's area.
        Where files are in several CRS, `by_crs` holds such a report for each, and the whole has no numbers of place.
    """
    problems: list[str] = []
    tiles, headers = [], []
    asked: dict[str, Source | None] = {}
    for path, item_crs, asked[path] in tile_paths(source, access=access):
        try:
            header, tile, sentences = _listed(path, crs, item_crs, asked[path])
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        problems += sentences
        headers.append(header)
        if tile is not None:
            tiles.append(tile)
    if tiles:
        problems += disagreements(tiles, max_days_apart=(declared or Declared()).max_days_apart)
    groups = _by_crs(headers, tiles)
    share = max(len(groups), 1)
    about = {"access": asked, "declared": declared}
    about |= {"sample_points": sample_points // share, "whole_points": whole_points // share}
    parts = [_of_one_crs(own, tiles_there, **about) for own, tiles_there in groups] or [_of_one_crs([], [], **about)]
    if len(parts) == 1:
        return parts[0] | {"problems": [*problems, *parts[0]["problems"]]}
    named = [(_name_of(part), part) for part in parts]
    return {
        "files": [file for part in parts for file in part["files"]],
        "points": sum(part["points"] for part in parts),
        "sampled_points": sum(part["sampled_points"] for part in parts),
        "by_crs": parts,
        "problems": [*problems, *(f"{name}: {said}" for name, part in named for said in part["problems"])],
        "remarks": [f"{name}: {said}" for name, part in named for said in part["remarks"]],
    }


def _name_of(report: dict[str, Any]) -> str:
    return f"in {report['crs']['name']}" if report["crs"] else "without CRS"


def _by_crs(headers: Sequence[Header], tiles: Sequence[Tile]) -> list[tuple[list[Header], list[Tile]]]:
    """Files and tiles by the CRS they are in, and those that name none."""
    crs = {tile.path: tile.crs for tile in tiles}
    groups: list[tuple[str | None, list[Header]]] = []
    for header in headers:
        own = crs.get(header.path)
        for other, members in groups:
            if own == other or (own and other and references.same_crs(own, other)):
                members.append(header)
                break
        else:
            groups.append((own, [header]))
    by_path = {tile.path: tile for tile in tiles}
    return [(own, [by_path[header.path] for header in own if header.path in by_path]) for _, own in groups]


def _of_one_crs(
    headers: Sequence[Header], tiles: Sequence[Tile], *, access: Mapping[str, Source | None], declared: Declared | None,
    sample_points: int, whole_points: int,
) -> dict[str, Any]:
    """The report of files that share a CRS."""
    tally, cells = Tally(), CellCounts()
    unit_m = METRES.get(references.horizontal_unit(tiles[0].crs) or "m", 1.0) if tiles else 1.0
    problems = _sampled(headers, access, tally, cells, unit_m, sample_points, whole_points)
    report = _report(headers, tiles, tally, cells, unit_m)
    wrong, remarks = judged(report, headers, tiles, declared)
    return report | {"problems": [*problems, *wrong], "remarks": remarks}


def _listed(
    path: str, crs: str | None, item_crs: str | None, access: Source | None
) -> tuple[Header, Tile | None, list[str]]:
    """A file's header, its tile where its CRS is usable, and what is wrong with either."""
    sentences: list[str] = []
    with open_ranges(path, access) as ranges:
        header = header_of(path, ranges)
        points = first_points(header, ranges, pieces_of(header, ranges), at_most=FIRST_POINTS)
    found = unit = None
    checks = (
        lambda: refuse_overflow(points),
        lambda: refuse_lying_box(header, points.place(0), points.place(1)),
        lambda: references.refuse_impossible_place(found, header.bounds, path, declared=crs is not None),
    )
    try:
        found, unit = tile_crs(header, crs=crs, item_crs=item_crs)
    except ValueError as error:
        sentences.append(str(error))
    for check in checks if found else checks[:2]:
        try:
            check()
        except ValueError as error:
            sentences.append(str(error))
    if found is None:
        return header, None, sentences
    flown = days(header, points.time)
    return header, Tile(
        path, header.bounds, header.points, found, header.point_format, header.fingerprint, unit, flown, header.creation
    ), sentences  # fmt: skip


def _sampled(
    headers: Sequence[Header], access: Mapping[str, Source | None], tally: Tally, cells: CellCounts, unit_m: float,
    sample_points: int, whole_points: int,
) -> list[str]:
    """Count pieces spread over every file, and all points of some; sentences on files that cannot be read."""
    problems = []
    whole = _read_whole(headers, whole_points)
    for header in headers:
        try:
            with open_ranges(header.path, access.get(header.path)) as ranges:
                pieces = pieces_of(header, ranges)
                if header.path in whole:
                    _count_whole(header, ranges, pieces, tally, cells, unit_m)
                    continue
                for piece in _spread(pieces, sample_points // len(headers), is_remote(header.path)):
                    tally.add(decode(header, ranges, pieces, piece, extra=_extra(header)))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return problems


def _extra(header: Header) -> tuple[str, ...]:
    return ("intensity", "time", "source")


def _read_whole(headers: Sequence[Header], room: int) -> set[str]:
    """Files to read whole: those nearest to the middle size, as far as the points allowed go; none over the network."""
    local = sorted((header for header in headers if not is_remote(header.path)), key=lambda header: header.points)
    if not local:
        return set()
    middle = local[len(local) // 2].points
    chosen = set()
    for header in sorted(local, key=lambda header: (abs(header.points - middle), header.path)):
        if header.points <= room:
            chosen.add(header.path)
            room -= header.points
    return chosen


def _spread(pieces: Pieces, points: int, remote: bool) -> list[int]:
    """Numbers of pieces evenly spread over a file, one at least, that hold about `points` points."""
    count = len(pieces.start)
    wanted = min(count, max(1, int(points // max(1, pieces.points.mean()))))
    wanted = min(wanted, REMOTE_PIECES) if remote else wanted
    return np.unique(((np.arange(wanted) + 0.5) * count / wanted).astype(int)).tolist()


def _count_whole(
    header: Header, ranges: Ranges, pieces: Pieces, tally: Tally, cells: CellCounts, unit_m: float
) -> None:
    cell, first, ground = [], [], []
    for piece in range(len(pieces.start)):
        records = decode(header, ranges, pieces, piece, extra=_extra(header))
        tally.add(records)
        column, row = (np.floor(records.place(axis) * unit_m / CELL_M).astype(np.int64) for axis in (0, 1))
        edges = np.floor(np.array(header.bounds) * unit_m / CELL_M)
        uncut = (column > edges[0]) & (column < edges[2]) & (row > edges[1]) & (row < edges[3])
        cell.append(np.where(uncut, (column << 32) ^ (row & 0xFFFFFFFF), CUT))
        first.append(records.return_number <= 1)
        ground.append(records.classification == GROUND)
    cells.add(header.path, *map(np.concatenate, (cell, first, ground)))


def _report(
    headers: Sequence[Header], tiles: Sequence[Tile], tally: Tally, cells: CellCounts, unit_m: float
) -> dict[str, Any]:
    medians = cells.medians_m2()
    boxes = [header.bounds for header in headers]
    crs = tiles[0].crs if tiles else None
    overlap_m2, gap_m2, gap_at = overlaps_and_gaps(boxes, unit_m=unit_m) if boxes else (0.0, 0.0, None)
    hull_m2, largest = within_hull(boxes, unit_m=unit_m) if boxes else (0.0, None)
    intensity = np.flatnonzero(tally.intensity)
    return {
        "files": [_file(header, unit_m) for header in headers],
        "points": sum(header.points for header in headers),
        "sampled_points": tally.points,
        "bounds": _joined(boxes),
        "bounds_degrees": _degrees(crs, _joined(boxes)) if crs else None,
        "crs": _crs(crs) | {"vertical_unit": tiles[0].vertical_unit or None} if tiles else None,
        "density": None if medians is None else {
            "points_m2": medians["points"], "pulses_m2": medians["pulses"], "ground_m2": medians["ground"],
            "read_whole": [name_of(path) for path in cells.files],
        },
        "classes": {
            int(code): {"name": CLASS_NAMES.get(int(code), "not ASPRS"), "percent": _percent(tally.classes[code], tally)}
            for code in np.flatnonzero(tally.classes)
        },
        "return_numbers": {int(n): _percent(tally.numbers[n], tally) for n in np.flatnonzero(tally.numbers)},
        "returns_per_pulse": {int(n): _percent(tally.returns[n], tally) for n in np.flatnonzero(tally.returns)},
        "flags": {name: _percent(tally.flags[name], tally) for name in ("withheld", "overlap", "synthetic")},
        "noise_percent": _percent(tally.classes[list(NOISE_CLASSES)].sum(), tally),
        "ground_percent": _percent(tally.classes[GROUND], tally),
        "duplicate_percent": _percent(tally.twins, tally),
        "intensity": [int(intensity[0]), int(intensity[-1])] if len(intensity) else None,
        "z": [min(tally.low_z), max(tally.high_z)] if tally.low_z else None,
        "ground_z_median": float(np.median(tally.ground_z)) if tally.ground_z else None,
        "flown": [min(tally.flown).isoformat(), max(tally.flown).isoformat()] if tally.flown else None,
        "created": _range([header.creation.isoformat() for header in headers if header.creation]),
        "flight_lines": len(tally.sources - {0}),
        "tile_overlap_ha": overlap_m2 / 1e4,
        "tile_gap_ha": gap_m2 / 1e4,
        "largest_gap_at": gap_at,
        "hull_gap_ha": hull_m2 / 1e4,
        "largest_hull_gap": largest,
    }  # fmt: skip


def _file(header: Header, unit_m: float) -> dict[str, Any]:
    west, south, east, north = header.bounds
    area_m2 = (east - west) * (north - south) * unit_m**2
    return {
        "path": header.path, "points": header.points, "las": "{}.{}".format(*header.version),
        "point_format": header.point_format, "compressed": header.compressed, "copc": header.is_copc,
        "bounds": list(header.bounds), "scale": list(header.scales), "software": header.software,
        "created": header.creation.isoformat() if header.creation else None,
        "points_per_box_m2": header.points / area_m2 if area_m2 > 0 else None,
    }  # fmt: skip


def _percent(count: int, tally: Tally) -> float:
    return 100.0 * float(count) / tally.points if tally.points else 0.0


def _range(values: Sequence[str]) -> list[str] | None:
    return [min(values), max(values)] if values else None


def _joined(boxes: Sequence[Bounds]) -> list[float] | None:
    if not boxes:
        return None
    west, south, east, north = np.array(boxes).T
    return [float(west.min()), float(south.min()), float(east.max()), float(north.max())]


def _degrees(crs: str, bounds: Sequence[float]) -> list[float] | None:
    west, south, east, north = bounds
    lon, lat = references.to_degrees(crs, np.array([west, west, east, east]), np.array([south, north, south, north]))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    return [float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())]


def _crs(crs: str) -> dict[str, Any]:
    whole = references.parsed(crs)
    across = references.horizontal(crs)
    return {
        "name": whole.name,
        "horizontal": across.name,
        "epsg": across.to_epsg(),
        "horizontal_unit": references.horizontal_unit(crs) or across.axis_info[0].unit_name,
        "vertical": whole.sub_crs_list[1].name if whole.is_compound else None,
    }


# In words


def sentences(report: dict[str, Any]) -> list[str]:
    """A report of `inspect_tiles` as lines to print, what is wrong at the end."""
    files = report["files"]
    lines = [f"files: {len(files)}, {report['points']:,} points, {report['sampled_points']:,} of them looked at"]
    for part in report.get("by_crs", ()):
        lines += [f"{len(part['files'])} of them {_name_of(part)}:"]
        lines += [f"  {line}" for line in (_format_line(part["files"]), *_place_lines(part), *_content_lines(part))]
    if files and "by_crs" not in report:
        lines.append(_format_line(files))
        lines += _place_lines(report)
        lines += _content_lines(report)
    lines += [f"wrong: {sentence}" for sentence in report["problems"]]
    lines += [f"note: {sentence}" for sentence in report["remarks"]]
    if not report["problems"]:
        lines.append("nothing in it would stop a run")
    return lines


def _format_line(files: Sequence[dict[str, Any]]) -> str:
    kinds = Counter(
        f"LAS {file['las']}, point format {file['point_format']}"
        + (", COPC" if file["copc"] else ", LAZ" if file["compressed"] else "")
        for file in files
    )
    return "format: " + "; ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))


def _place_lines(report: dict[str, Any]) -> list[str]:
    west, south, east, north = report["bounds"]
    lines = [f"extent: x {west:.2f} to {east:.2f}, y {south:.2f} to {north:.2f}"]
    if report["bounds_degrees"]:
        lon0, lat0, lon1, lat1 = report["bounds_degrees"]
        lines.append(f"in degrees: longitude {lon0:.5f} to {lon1:.5f}, latitude {lat0:.5f} to {lat1:.5f}")
    if crs := report["crs"]:
        code = f" (EPSG:{crs['epsg']})" if crs["epsg"] else ""
        lines.append(
            f"CRS: {crs['horizontal']}{code}, {crs['horizontal_unit']} across; heights: {crs['vertical'] or 'datum not said'}, "
            f"{crs['vertical_unit'] or 'unit not said'}"
        )
    lines.append(
        f"tiles: overlap {report['tile_overlap_ha']:.2f} ha, gaps enclosed {report['tile_gap_ha']:.2f} ha; within their convex "
        f"hull {report['hull_gap_ha']:.2f} ha in no tile"
    )
    return lines


def _content_lines(report: dict[str, Any]) -> list[str]:
    lines = []
    if density := report["density"]:
        whole = density["read_whole"]
        where = whole[0] if len(whole) == 1 else f"{len(whole)} files"
        lines.append(
            f"density: {density['points_m2']:.2f} points, {density['pulses_m2']:.2f} pulses and {density['ground_m2']:.2f} "
            f"ground points per m2 (medians of occupied 10 m cells, {where} read whole)"
        )
    boxes = sorted(file["points_per_box_m2"] for file in report["files"] if file["points_per_box_m2"])
    if boxes:
        lines.append(f"points over the header's box: {boxes[0]:.2f} to {boxes[-1]:.2f} per m2")
    lines.append(
        "classes: " + ", ".join(f"{code} {c['name']} {c['percent']:.2f} %" for code, c in report["classes"].items())
    )
    lines.append("return numbers: " + ", ".join(f"{n}: {share:.1f} %" for n, share in report["return_numbers"].items()))
    lines.append(
        f"ground {report['ground_percent']:.2f} %, noise {report['noise_percent']:.2f} %, duplicates "
        f"{report['duplicate_percent']:.3f} %; flags: "
        + ", ".join(f"{name} {share:.2f} %" for name, share in report["flags"].items())
    )
    if report["z"]:
        lines.append(f"z: {report['z'][0]:.2f} to {report['z'][1]:.2f} (least p1 and greatest p99.9 of pieces, without noise)")
    if report["intensity"]:
        lines.append(f"intensity: {report['intensity'][0]} to {report['intensity'][1]}")
    flown, created = report["flown"], report["created"]
    lines.append(
        f"flown: {' to '.join(flown) if flown else 'not said'}; written: {' to '.join(created) if created else 'not said'}; "
        f"flight lines seen: {report['flight_lines'] or 'not numbered'}"
    )
    return lines
