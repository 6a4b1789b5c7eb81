"""What a forester checks first in lidar from others, and what is wrong with it: from headers and a sample of points."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalogs.lidar import references
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
from catalogs.lidar.tiles import FIRST_POINTS, MAX_DAYS_APART, Tile, disagreements, refuse_lying_box, tile_crs, tile_paths

SAMPLE_POINTS = 2_500_000  # decoded in all, from pieces spread over every file
WHOLE_POINTS = 3_000_000  # read whole for the density: the files nearest to the middle size
REMOTE_PIECES = 2
CELL_M = 10.0
CUT = np.iinfo(np.int64).min  # number of cells that a file's box cuts: they hold fewer points than were flown
GROUND = 2
MAN_MADE = (13, 14, 15, 16, 17)
CLASS_NAMES = {
    0: "never classified", 1: "unclassified", 2: "ground", 3: "low vegetation", 4: "medium vegetation",
    5: "high vegetation", 6: "building", 7: "low noise", 8: "model key point", 9: "water", 10: "rail", 11: "road",
    12: "overlap", 13: "wire guard", 14: "wire conductor", 15: "transmission tower", 16: "wire connector",
    17: "bridge deck", 18: "high noise",
}  # fmt: skip
"""ASPRS LAS 1.4 R15, table 17 (12: tables of LAS 1.1 to 1.3)."""


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


def inspect_tiles(source: str | Sequence[str], *, crs: str | None = None) -> dict[str, Any]:
    """What lidar tiles hold, from their headers and a sample of points, as plain values.

    Parameters
    ----------
    source, crs
        As of `index_tiles`.

    Returns
    -------
    dict
        `files` (one entry each), what they hold together, `problems` (sentences: what a run would refuse) and `remarks`
        (what makes the data weaker, or wants a setting). Shares are percent of the sampled points, areas hectares,
        densities per m2: medians over occupied 10 m cells of files read whole, not points over the header's area.
    """
    problems: list[str] = []
    tiles, headers = [], []
    for path, item_crs in tile_paths(source):
        try:
            header, tile, sentences = _listed(path, crs, item_crs)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        problems += sentences
        headers.append(header)
        if tile is not None:
            tiles.append(tile)
    if tiles:
        problems += disagreements(tiles, max_days_apart=MAX_DAYS_APART)
    tally, cells = Tally(), CellCounts()
    unit_m = METRES.get(references.horizontal_unit(tiles[0].crs) or "m", 1.0) if tiles else 1.0
    problems += _sampled(headers, tally, cells, unit_m)
    report = _report(headers, tiles, tally, cells, unit_m)
    wrong, remarks = _judged(report, headers, tiles)
    return report | {"problems": [*problems, *wrong], "remarks": remarks}


def _listed(path: str, crs: str | None, item_crs: str | None) -> tuple[Header, Tile | None, list[str]]:
    """A file's header, its tile where its CRS is usable, and what is wrong with either."""
    sentences: list[str] = []
    with open_ranges(path) as ranges:
        header = header_of(path, ranges)
        points = first_points(header, ranges, pieces_of(header, ranges), at_most=FIRST_POINTS)
    found = unit = None
    checks = (
        lambda: refuse_overflow(points),
        lambda: refuse_lying_box(header, points.place(0), points.place(1)),
        lambda: references.refuse_impossible_place(found, header.bounds, path),
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


def _sampled(headers: Sequence[Header], tally: Tally, cells: CellCounts, unit_m: float) -> list[str]:
    """Count pieces spread over every file, and all points of some; sentences on files that cannot be read."""
    problems = []
    whole = _read_whole(headers)
    for header in headers:
        try:
            with open_ranges(header.path) as ranges:
                pieces = pieces_of(header, ranges)
                if header.path in whole:
                    _count_whole(header, ranges, pieces, tally, cells, unit_m)
                    continue
                for piece in _spread(pieces, SAMPLE_POINTS // len(headers), is_remote(header.path)):
                    tally.add(decode(header, ranges, pieces, piece, extra=_extra(header)))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return problems


def _extra(header: Header) -> tuple[str, ...]:
    return ("intensity", "time", "source")


def _read_whole(headers: Sequence[Header]) -> set[str]:
    """Files to read whole: those nearest to the middle size, as far as the points allowed go; none over the network."""
    local = sorted((header for header in headers if not is_remote(header.path)), key=lambda header: header.points)
    if not local:
        return set()
    middle = local[len(local) // 2].points
    chosen, room = set(), WHOLE_POINTS
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


def overlaps_and_gaps(
    boxes: Sequence[Bounds], *, unit_m: float = 1.0
) -> tuple[float, float, tuple[float, float] | None]:
    """Area covered more than once, area of holes and cracks between tiles (m2), and a place in the largest of these.

    A crack is what closes when the tiles are grown by a twentieth of their side; a notch in the outline of a campaign is
    no gap. Boxes are those of the headers: a strip of a few scale steps between neighbours is no gap either.
    """
    import shapely

    tiles = shapely.box(*np.array(boxes, float).T)
    reach = float(np.median(np.sqrt(shapely.area(tiles)))) / 20
    union = shapely.union_all(tiles)
    overlap = float(shapely.area(tiles).sum() - shapely.area(union))
    # Neighbours leave a crack of one point spacing: 2 m are closed first.
    touching = _closed(union, 1.0 / unit_m)
    outline = shapely.union_all([shapely.Polygon(part.exterior) for part in _parts(_closed(union, reach))])
    gaps = [part for part in _parts(shapely.difference(outline, touching)) if shapely.area(part) > (1.0 / unit_m) ** 2]
    if not gaps:
        return overlap * unit_m**2, 0.0, None
    place = max(gaps, key=shapely.area).representative_point()
    return overlap * unit_m**2, sum(map(shapely.area, gaps)) * unit_m**2, (place.x, place.y)


def _closed(shape, reach: float):
    import shapely

    grown = shapely.buffer(shape, reach, cap_style="square", join_style="mitre")
    return shapely.union(shapely.buffer(grown, -reach, cap_style="square", join_style="mitre"), shape)


def _parts(shape) -> list:
    import shapely

    return [part for part in shapely.get_parts(shape).tolist() if part.geom_type == "Polygon"]


# What is wrong with it


def _judged(report: dict[str, Any], headers: Sequence[Header], tiles: Sequence[Tile]) -> tuple[list[str], list[str]]:
    """Sentences on what a run would refuse, and on what makes the data weaker or wants a setting."""
    if not headers:
        return [], []
    problems = [*_on_ground(report)]
    remarks = [
        *_on_units(report, tiles), *_on_time(report, headers), *_on_returns(report), *_on_flags(report),
        *_on_coverage(report), *_on_files(headers),
    ]  # fmt: skip
    return problems, remarks


def _on_ground(report: dict[str, Any]) -> list[str]:
    if report["z"] is None:
        return []
    low, high = report["z"]
    ground, z = report["ground_percent"], report["ground_z_median"]
    if -2 <= low <= 2 and high < 130 and (z is None or abs(z) < 0.5):
        return [
            f"z runs from {low:.1f} to {high:.1f}"
            + (f" with its ground at {z:.2f}" if z is not None else "")
            + ": these look like heights above ground already; set heights: normalised of the campaign"
        ]
    if ground == 0:
        return [
            "no sampled point is of class 2 (ground), so no height can be measured: set ground_classes if the ground has "
            "another class, or classify_ground: csf"
        ]
    return []


def _on_units(report: dict[str, Any], tiles: Sequence[Tile]) -> list[str]:
    if not tiles:
        return []
    across, up = report["crs"]["horizontal_unit"], report["crs"]["vertical_unit"]
    found = []
    if across != "m":
        found.append(f"coordinates count {across} across; they are brought to the study's CRS, in metres")
    if up not in (None, "m"):
        found.append(f"heights are in {up}: set vertical_unit: {up} of the campaign")
    elif up is None:
        found.append(
            "the files do not say in which unit heights are"
            + (f", and across they count {across}: set vertical_unit if heights are feet too" if across != "m" else
               "; metres are taken unless vertical_unit says otherwise")
        )  # fmt: skip
    return found


def _on_time(report: dict[str, Any], headers: Sequence[Header]) -> list[str]:
    if report["flown"]:
        return []
    weekly = any(not header.adjusted_time for header in headers)
    return [
        "when it was flown cannot be told: "
        + ("GPS times are seconds of an unnamed week, or not set" if weekly else "GPS times are not set")
        + "; take the date from the supplier's report"
    ]


def _on_returns(report: dict[str, Any]) -> list[str]:
    found = []
    if report["return_numbers"] and set(report["return_numbers"]) <= {0}:
        found.append("return numbers are not set: every point counts as a first return")
    elif set(report["returns_per_pulse"]) <= {0, 1} and report["returns_per_pulse"]:
        found.append("every pulse has one return: photogrammetry, or last returns were left out")
    if report["intensity"] and report["intensity"][0] == report["intensity"][1]:
        found.append("intensity is not set")
    if report["duplicate_percent"] > 0.01:
        found.append(
            f"{report['duplicate_percent']:.2f} % of the sampled points are there twice (same place, time and return)"
        )
    return found


def _on_flags(report: dict[str, Any]) -> list[str]:
    found, flags = [], report["flags"]
    if flags["withheld"]:
        found.append(f"{flags['withheld']:.2f} % of the points are withheld; they are left out and counted")
    if report["noise_percent"]:
        found.append(f"{report['noise_percent']:.2f} % are noise (classes 7, 18); they are left out and counted")
    if flags["overlap"]:
        found.append(
            f"{flags['overlap']:.1f} % are overlap of flight lines (flag or class 12); they are used unless drop_overlap: true"
        )
    foreign = [code for code in report["classes"] if code not in CLASS_NAMES]
    if foreign:
        found.append(f"classes {', '.join(map(str, foreign))} are not those of ASPRS; ask the supplier what they are")
    built = sum(report["classes"][code]["percent"] for code in MAN_MADE if code in report["classes"])
    if built > 1:
        named = ", ".join(f"{code} ({CLASS_NAMES[code]})" for code in MAN_MADE if code in report["classes"])
        found.append(f"{built:.1f} % are of classes {named}, rare in a forest; ask the supplier what they mean here")
    return found


def _on_coverage(report: dict[str, Any]) -> list[str]:
    found = []
    if report["tile_overlap_ha"] > 0.01:
        found.append(
            f"tiles overlap by {report['tile_overlap_ha']:.2f} ha by their boxes; points that are in two tiles count once"
        )
    if report["tile_gap_ha"] > 0:
        x, y = report["largest_gap_at"]
        found.append(
            f"there are gaps of {report['tile_gap_ha']:.2f} ha between tiles, the largest around {x:.0f}, {y:.0f}; cells there "
            "stay missing"
        )
    densities = [(file["points_per_box_m2"], file["path"]) for file in report["files"] if file["points_per_box_m2"]]
    middle = float(np.median([density for density, _ in densities])) if densities else 0.0
    thin = [name_of(path) for density, path in densities if density < middle / 4]
    if thin:
        shown = ", ".join(thin[:5]) + (f" and {len(thin) - 5} more" if len(thin) > 5 else "")
        found.append(f"{len(thin)} of {len(densities)} tiles have less than a quarter of the usual density: {shown}")
    density = report["density"]
    if density and density["pulses_m2"] < 1:
        found.append(
            f"{density['pulses_m2']:.2f} pulses per m2: heights and their percentiles hold for stands, single trees do not show"
        )
    if density and report["ground_percent"] and density["ground_m2"] < 0.1:
        found.append(f"{density['ground_m2']:.3f} ground points per m2: the ground surface is weak under dense canopy")
    return found


def _on_files(headers: Sequence[Header]) -> list[str]:
    found = []
    old = [header for header in headers if header.version < (1, 2)]
    if old:
        found.append(f"{name_of(old[0].path)} is LAS {'{}.{}'.format(*old[0].version)}, older than LAS 1.2; it can be read")
    waves = [header for header in headers if header.point_format in (4, 5, 9, 10)]
    if waves:
        found.append(f"{name_of(waves[0].path)} has waveforms (point format {waves[0].point_format}), which are passed over")
    coarse = [header for header in headers if max(header.scales) > 0.05]
    if coarse:
        found.append(f"{name_of(coarse[0].path)} stores coordinates in steps of {max(coarse[0].scales):g}: coarse for heights")
    if len({header.point_format for header in headers}) > 1:
        formats = Counter(header.point_format for header in headers)
        found.append("point formats are mixed: " + ", ".join(f"{n} files of {form}" for form, n in sorted(formats.items())))
    return found


# In words


def sentences(report: dict[str, Any]) -> list[str]:
    """A report of `inspect_tiles` as lines to print, what is wrong at the end."""
    files = report["files"]
    lines = [f"files: {len(files)}, {report['points']:,} points, {report['sampled_points']:,} of them looked at"]
    if files:
        kinds = Counter(
            f"LAS {file['las']}, point format {file['point_format']}"
            + (", COPC" if file["copc"] else ", LAZ" if file["compressed"] else "")
            for file in files
        )
        lines.append("format: " + "; ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items())))
        lines += _place_lines(report)
        lines += _content_lines(report)
    lines += [f"wrong: {sentence}" for sentence in report["problems"]]
    lines += [f"note: {sentence}" for sentence in report["remarks"]]
    if not report["problems"]:
        lines.append("nothing in it would stop a run")
    return lines


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
    lines.append(f"tiles: overlap {report['tile_overlap_ha']:.2f} ha, gaps {report['tile_gap_ha']:.2f} ha")
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
