"""What is wrong with lidar tiles from others, by what `inspection` counted in them and by what a campaign says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalogs.lidar.headers import Header
from catalogs.lidar.ranges import name_of
from catalogs.lidar.references import METRES
from catalogs.lidar.tiles import MAX_DAYS_APART, Tile

GROUND = 2
MAN_MADE = (13, 14, 15, 16, 17)
CLASS_NAMES = {
    0: "never classified", 1: "unclassified", 2: "ground", 3: "low vegetation", 4: "medium vegetation",
    5: "high vegetation", 6: "building", 7: "low noise", 8: "model key point", 9: "water", 10: "rail", 11: "road",
    12: "overlap", 13: "wire guard", 14: "wire conductor", 15: "transmission tower", 16: "wire connector",
    17: "bridge deck", 18: "high noise",
}  # fmt: skip
"""ASPRS LAS 1.4 R15, table 17 (12: tables of LAS 1.1 to 1.3)."""


@dataclass(frozen=True)
class Declared:
    """What a campaign says of its points: how they are judged. By itself what a campaign is where it says nothing.

    `heights` and `vertical_unit` are None where the campaign leaves them at elevations and metres without saying so.
    """

    heights: str | None = None
    vertical_unit: str | None = None
    ground_classes: tuple[int, ...] = (GROUND,)
    classify_ground: bool = False
    max_days_apart: int = MAX_DAYS_APART
    max_height_m: float = 80.0


def judged(
    report: dict[str, Any], headers: Sequence[Header], tiles: Sequence[Tile], declared: Declared | None
) -> tuple[list[str], list[str]]:
    """Sentences on what a run would refuse, and on what makes the data weaker or wants a setting."""
    if not headers:
        return [], []
    problems = [*_on_heights(report, declared or Declared()), *(_on_declared_unit(report, declared) if declared else ())]
    remarks = [
        *_on_units(report, tiles, declared), *_on_time(report, headers), *_on_returns(report),
        *_on_flags(report), *_on_coverage(report), *_on_files(headers),
    ]  # fmt: skip
    return problems, remarks


def _on_heights(report: dict[str, Any], declared: Declared) -> list[str]:
    """Heights above ground in place of elevations and the other way round, and points without ground."""
    if report["z"] is None:
        return []
    low, high = report["z"]
    z = report["ground_z_median"]
    runs = f"z runs from {low:.1f} to {high:.1f}" + (f" with its ground at {z:.2f}" if z is not None else "")
    unit_m = METRES[declared.vertical_unit or "m"]
    if declared.heights == "normalised":
        if (z is not None and abs(z) * unit_m > 2) or low * unit_m > declared.max_height_m:
            return [f"heights: normalised says that z is above ground, but {runs}; set heights: elevation"]
        return []
    if declared.heights is None and -2 <= low <= 2 and high < 130 and (z is None or abs(z) < 0.5):
        return [
            f"{runs}: these look like heights above ground already; set heights: normalised of the campaign (or heights: "
            "elevation, where the ground does lie at sea level)"
        ]
    ground = sum(kind["percent"] for code, kind in report["classes"].items() if code in declared.ground_classes)
    if ground == 0 and not declared.classify_ground:
        wanted = ", ".join(map(str, declared.ground_classes))
        named = f"class {wanted} (ground)" if declared.ground_classes == (GROUND,) else f"the ground_classes {wanted}"
        return [
            f"no sampled point is of {named}, so no height can be measured: set ground_classes if the ground has "
            "another class, or classify_ground: csf"
        ]
    return []


def _on_declared_unit(report: dict[str, Any], declared: Declared) -> list[str]:
    up, said = report["crs"]["vertical_unit"] if report["crs"] else None, declared.vertical_unit or "m"
    if up in (None, said):
        return []
    return [
        f"the files say that heights are in {up}, the campaign says {said}; set vertical_unit: {up}, or crs "
        "if the files are wrong"
    ]


def _on_units(report: dict[str, Any], tiles: Sequence[Tile], declared: Declared | None) -> list[str]:
    """Units that want a setting; of a study only what nobody has said, for the rest it was asked or is refused."""
    if not tiles:
        return []
    across, up = report["crs"]["horizontal_unit"], report["crs"]["vertical_unit"]
    found = []
    if across != "m" and declared is None:
        found.append(f"coordinates count {across} across; they are brought to the study's CRS, in metres")
    if up not in (None, "m") and declared is None:
        found.append(f"heights are in {up}: set vertical_unit: {up} of the campaign")
    elif up is None and (declared is None or declared.vertical_unit is None):
        found.append(unsaid_unit(across))
    return found


def unsaid_unit(across: str) -> str:
    """What is to be said where neither files nor campaign name the unit of heights; `across` is that of the coordinates."""
    if across != "m":
        return (
            f"the files do not say in which unit heights are, and across they count {across}: set vertical_unit if heights are "
            "feet too"
        )
    return (
        "the files do not say in which unit heights are; metres are taken: look at them, and set vertical_unit (m, ft or us-ft)"
    )


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
    boxes = [(east - west) * (north - south) for west, south, east, north in (file["bounds"] for file in report["files"])]
    hull = report["largest_hull_gap"]
    if hull and (hull[2] - hull[0]) * (hull[3] - hull[1]) > float(np.median(boxes)) / 2:
        found.append(
            f"{report['hull_gap_ha']:.2f} ha within the convex hull of the tiles are in no tile, the largest part from "
            f"{span(hull)}: are all tiles there?"
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


def span(box: Sequence[float]) -> str:
    """A box in words."""
    west, south, east, north = box
    return f"x {west:.0f} to {east:.0f}, y {south:.0f} to {north:.0f}"


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
