"""An airborne laser scanner over the planted forest: LAZ tiles as a flight company delivers them.

Pulses fall straight down along scan lines of overlapping flight lines; each meets the outermost crown at its place, may
pass through it, and goes on until it has spent itself or reached the ground. Returns from plants of a later campaign
stand a little higher than those of the first: a narrower beam finds more of the tree tops. The ground does not move.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogs.planted.canopy import crown_base_m, crown_tops
from catalogs.planted.forest import Forest, Trees, by_species
from catalogs.planted.site import stream
from catalogs.planted.stands import WATER

log = logging.getLogger(__name__)

LINE_SPACING_M, SWATH_M = 210.0, 270.0  # neighbouring lines overlap by 60 m
FLIGHT_HEIGHT_M, SPEED_M_S = 900.0, 60.0
MAX_RETURNS = 5
DEAD_ZONE_M = 1.2  # a scanner cannot tell returns closer than this apart
SCALE_M = 0.01
UNCLASSIFIED, GROUND, VEGETATION, LOW_NOISE, HIGH_NOISE = 1, 2, 5, 7, 18  # ASPRS LAS 1.4 R15, table 17


@dataclass(frozen=True)
class Returns:
    """Returns of a set of pulses in the order of their time, one value per return (n); heights in metres."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    number: np.ndarray
    of: np.ndarray
    kind: np.ndarray
    intensity: np.ndarray
    line: np.ndarray
    angle_deg: np.ndarray
    time_s: np.ndarray
    overlap: np.ndarray
    withheld: np.ndarray


def strip_of(forest: Forest, order: int) -> tuple[float, float, float, float]:
    """West, south, east, north of what a campaign flew: a strip from north to south, the next one 30 m further east."""
    west, south, east, north = forest.site.bounds
    width = forest.settings.lidar_cover_share * (east - west)
    start = west + stream(forest.settings.seed, "strip").uniform(0.2, 0.8) * (east - west - width)
    shift = min(30.0 * order, east - width - start)
    return start + shift, south, start + width + shift, north


def write_campaign(folder: Path, forest: Forest, *, campaign: str, campaigns: Mapping[str, int]) -> None:
    """Write the tiles of a campaign, one LAZ file per square of `lidar_tile_m` that the strip touches."""
    settings, order = forest.settings, list(campaigns).index(campaign)
    year = campaigns[campaign]
    density = settings.lidar_pulses_m2[min(order, len(settings.lidar_pulses_m2) - 1)]
    offset_m = settings.lidar_height_offset_m if order else 0.0
    strip = strip_of(forest, order)
    folder.mkdir(parents=True, exist_ok=True)
    points = 0
    for name, bounds in tiles_of(strip, settings.lidar_tile_m):
        rng = stream(settings.seed, "lidar", year, *(int(value) for value in name.split("_")))
        returns = scan(forest, bounds, strip, year=year, density=density, offset_m=offset_m, rng=rng)
        _write_laz(folder / f"{campaign}_{name}.laz", returns, crs=forest.site.crs, year=year)
        points += len(returns.x)
    log.info("campaign %s: %d points", campaign, points)


def tiles_of(
    strip: tuple[float, float, float, float], tile_m: float
) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Name (column and row of the tile counted from the CRS's origin) and the part of each tile inside the strip."""
    west, south, east, north = strip
    for row in range(int(np.floor(south / tile_m)), int(np.ceil(north / tile_m))):
        for col in range(int(np.floor(west / tile_m)), int(np.ceil(east / tile_m))):
            bounds = (
                max(west, col * tile_m), max(south, row * tile_m),
                min(east, (col + 1) * tile_m), min(north, (row + 1) * tile_m),
            )  # fmt: skip
            if bounds[2] - bounds[0] > 1 and bounds[3] - bounds[1] > 1:
                yield f"{col}_{row}", bounds


def scan(
    forest: Forest,
    bounds: tuple[float, float, float, float],
    strip: tuple[float, float, float, float],
    *,
    year: int,
    density: float,
    offset_m: float,
    rng: np.random.Generator,
) -> Returns:
    """All returns of a campaign inside `bounds` (west, south, east, north), flight line by flight line."""
    west, south, east, north = bounds
    cell_m = 0.5 if density >= 1 else 1.0
    trees = forest.trees(year)
    near = (trees.x > west - 8) & (trees.x < east + 8) & (trees.y > south - 8) & (trees.y < north + 8)
    trees = trees.where(near & (trees.height_m > 1))
    shape = int(np.ceil((north - south) / cell_m)), int(np.ceil((east - west) / cell_m))
    tops = crown_tops(trees, west_m=west, north_m=north, shape=shape, cell_m=cell_m, owners=True)
    parts = []
    half = LINE_SPACING_M / 2
    for line, middle in enumerate(np.arange(strip[0] + half, strip[2] + half, LINE_SPACING_M)):
        x, y, time_s = _pulses(bounds, middle, line, density, rng)
        if len(x):
            row = np.minimum(((north - y) / cell_m).astype(np.int64), shape[0] - 1)
            col = np.minimum(((x - west) / cell_m).astype(np.int64), shape[1] - 1)
            top, owner = tops.top_m[row, col], tops.owner[row, col]
            number, height, kind = _travel(top, owner, trees, _on_water(forest, x, y), rng)
            parts.append(_returns(forest, x, y, time_s, middle, line, number, height, kind, offset_m, rng))
    parts.append(_noise(forest, bounds, parts, rng))
    return Returns(*(np.concatenate([getattr(p, name) for p in parts]) for name in Returns.__dataclass_fields__))


def _pulses(
    bounds: tuple[float, float, float, float], middle_m: float, line: int, density: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where and when the pulses of one flight line strike: scan lines to and fro over the swath, flown northward."""
    west, south, east, north = bounds
    west, east = max(west, middle_m - SWATH_M / 2), min(east, middle_m + SWATH_M / 2)
    if east <= west:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    spacing = 1 / np.sqrt(density)
    n_along, n_across = max(1, round((north - south) / spacing)), max(1, round((east - west) / spacing))
    along, across = np.meshgrid(np.arange(n_along), np.arange(n_across), indexing="ij")
    jitter = rng.uniform(-0.35, 0.35, (2, n_along, n_across))
    x = west + (across + 0.5 + jitter[0]) * (east - west) / n_across
    y = south + (along + 0.5 + jitter[1]) * (north - south) / n_along
    order = np.where(along % 2, n_across - 1 - across, across)
    seconds = (south + along * (north - south) / n_along) % 1e6 / SPEED_M_S + order * (spacing / SPEED_M_S / n_across)
    sequence = np.lexsort((order.ravel(), along.ravel()))
    return x.ravel()[sequence], y.ravel()[sequence], (2e8 + 4e4 * line + seconds).ravel()[sequence]


def _on_water(forest: Forest, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return forest.layout.ground_canvas.ravel()[forest.site.canvas_cells(x, y)] == WATER


def _travel(
    top: np.ndarray, owner: np.ndarray, trees: Trees, water: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far pulses come: pulse, height above ground and class of every return, in the order of pulse and return.

    Inside a crown the depth to the next return is exponential with the species' free path (Beer-Lambert); below
    it stand shrubs and small trees, then the ground. After each return a pulse is strong enough for another with
    probability 0.55.
    """
    covered = owner >= 0
    base, path = np.zeros(len(top)), np.ones(len(top))
    stem = owner[covered]
    base[covered] = crown_base_m(trees)[stem]
    path[covered] = by_species(lambda s: s.free_path_m)[trees.species[stem]] * np.where(trees.snag[stem], 4.0, 1.0)
    height = top.astype(float)
    active = np.flatnonzero(~(water & (rng.uniform(size=len(top)) < 0.7)))  # still water throws most light away
    pulses, heights, kinds = [], [], []
    for turn in range(MAX_RETURNS):
        depth = rng.exponential(path[active]) + (DEAD_ZONE_M if turn else 0.0)
        now = height[active] - depth
        in_crown = covered[active] & (now > base[active])
        chance = np.where(covered[active], 0.16, 0.10)
        roof = np.minimum(height[active] - DEAD_ZONE_M * (turn > 0), np.where(covered[active], base[active], 1.2))
        shrub = ~in_crown & (roof > 0.3) & (rng.uniform(size=len(active)) < chance) & ~water[active]
        low = 0.2 + (roof - 0.2) * rng.beta(1.0, 2.2, len(active))
        now = np.where(in_crown, now, np.where(shrub, low, 0.0))
        plant = in_crown | shrub
        pulses.append(active)
        heights.append(now)
        kinds.append(np.where(plant, VEGETATION, GROUND))
        height[active] = now
        covered = covered & (height > base)
        active = active[plant & (now > DEAD_ZONE_M) & (rng.uniform(size=len(active)) < 0.55)]
    pulse, kind, above = np.concatenate(pulses), np.concatenate(kinds), np.concatenate(heights)
    order = np.argsort(pulse, kind="stable")
    return pulse[order], above[order], kind[order]


def _returns(
    forest: Forest,
    x: np.ndarray,
    y: np.ndarray,
    time_s: np.ndarray,
    middle_m: float,
    line: int,
    pulse: np.ndarray,
    height: np.ndarray,
    kind: np.ndarray,
    offset_m: float,
    rng: np.random.Generator,
) -> Returns:
    """Returns in map coordinates with what the scanner records about each."""
    n = len(pulse)
    of = np.bincount(pulse, minlength=len(x))[pulse]
    number = np.arange(n) - np.searchsorted(pulse, pulse) + 1
    plant = kind == VEGETATION
    z = forest.terrain.elevation_m(x, y)[pulse] + height + np.where(plant, offset_m, 0.0)
    z += 0.03 * rng.standard_normal(n)
    label = np.where(plant & (height < 0.5), UNCLASSIFIED, kind)
    label = np.where(~plant & (rng.uniform(size=n) < 0.04), UNCLASSIFIED, label)  # ground that the filter left out
    strength = np.where(plant, 90, 150) / of * np.exp(0.3 * rng.standard_normal(n))
    aside = x[pulse] - middle_m
    return Returns(
        x=x[pulse],
        y=y[pulse],
        z=z,
        number=number,
        of=of,
        kind=label,
        intensity=np.clip(strength * 256, 0, 65535),
        line=np.full(n, 101 + line),
        angle_deg=np.degrees(np.arctan(aside / FLIGHT_HEIGHT_M)),
        time_s=time_s[pulse],
        overlap=np.abs(aside) > LINE_SPACING_M / 2,
        withheld=rng.uniform(size=n) < 0.0004,
    )


def _noise(
    forest: Forest, bounds: tuple[float, float, float, float], parts: list[Returns], rng: np.random.Generator
) -> Returns:
    """Birds and multipath: single returns far above (class 18) and below (class 7) what is there."""
    n = max(4, round(sum(len(part.x) for part in parts) * 1.5e-4))
    x, y = rng.uniform(bounds[0], bounds[2], n), rng.uniform(bounds[1], bounds[3], n)
    low = np.arange(n) % 2 == 0
    z = forest.terrain.elevation_m(x, y) + np.where(low, -rng.uniform(3, 30, n), rng.uniform(60, 220, n))
    one = np.ones(n, np.int64)
    flown = next(part for part in parts if len(part.x))
    return Returns(
        x=x, y=y, z=z, number=one, of=one, kind=np.where(low, LOW_NOISE, HIGH_NOISE), intensity=np.full(n, 800.0),
        line=one * int(flown.line[0]), angle_deg=np.zeros(n), time_s=np.full(n, flown.time_s[0]),
        overlap=np.zeros(n, bool), withheld=np.zeros(n, bool),
    )  # fmt: skip


def _write_laz(file: Path, returns: Returns, *, crs: str, year: int) -> None:
    """Write a LAS 1.4 file of point format 6, compressed, with the CRS as WKT and a creation day that never changes."""
    import laspy
    from pyproj import CRS

    header = laspy.LasHeader(version="1.4", point_format=6)
    header.scales = np.full(3, SCALE_M)
    header.offsets = np.array([np.floor(returns.x.min()), np.floor(returns.y.min()), 0.0])
    header.creation_date = dt.date(year, 12, 1)
    header.system_identifier = "planted scanner"
    header.generating_software = "forestsink planted study"
    header.add_crs(CRS.from_user_input(crs))
    las = laspy.LasData(header)
    for axis, values in enumerate((returns.x, returns.y, returns.z)):
        setattr(las, "XYZ"[axis], np.rint((values - header.offsets[axis]) / SCALE_M).astype(np.int32))
    las.intensity = returns.intensity.astype(np.uint16)
    las.return_number = returns.number.astype(np.uint8)
    las.number_of_returns = returns.of.astype(np.uint8)
    las.classification = returns.kind.astype(np.uint8)
    las.scan_angle = np.rint(returns.angle_deg / 0.006).astype(np.int16)
    las.point_source_id = returns.line.astype(np.uint16)
    las.gps_time = returns.time_s
    las.overlap = returns.overlap.astype(bool)
    las.withheld = returns.withheld.astype(bool)
    las.write(str(file), do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
