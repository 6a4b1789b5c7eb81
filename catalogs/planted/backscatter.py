"""What a radar sees of the planted land: gamma0 as linear power with speckle, from both orbit directions.

Backscatter follows canopy cover, height and leaves, never biomass, and saturates where a canopy hides the ground: the
water cloud model of Attema and Ulaby 1978 (doi:10.1029/RS013i002p00357) with typical C-band levels. Keys, names and
properties are those of Planetary Computer's `sentinel-1-rtc`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.planted.forest import Forest
from catalogs.planted.rasters import write_cog
from catalogs.planted.reflectance import Land
from catalogs.planted.scenes import (
    COG,
    SEASON_DAYS,
    Frame,
    as_item,
    footprint_ring,
    frame_of,
    projection_of,
    swath,
    write_json,
)
from catalogs.planted.site import CELL_M, SmoothField, stream
from catalogs.planted.stands import CROPLAND, FOREST_LAND, GRASS, ROAD, WATER

LOOKS = 4.4  # sar:looks_equivalent_number of IW GRDH
LOOK_WEIGHTS = (1, 1, 1, 1, 0.2207)  # (sum of weights)^2 / sum of their squares = 4.4
NODATA = -32768.0
RIM_M = 60.0  # zeros along the swath's edge that nothing marks as missing, as in products of before 2018
SLICE_S = 25
OVERLAP_PX = 10  # rows that two slices of a pass share
RESOLUTION_M = 10

CANOPY_DB = {"vv": -7.5, "vh": -13.0}  # of a canopy that hides the ground
GROUND_DB = {
    "vv": {GRASS: -11.5, FOREST_LAND: -11.0, WATER: -20.0, ROAD: -13.5, CROPLAND: -10.0},
    "vh": {GRASS: -19.5, FOREST_LAND: -19.0, WATER: -27.0, ROAD: -21.5, CROPLAND: -17.5},
}
EXTINCTION = {"vv": 0.65, "vh": 0.75}  # two-way, per 10 m of canopy that closes overhead
LEAFY_DB = {"vv": 0.2, "vh": 0.5}  # what broadleaved crowns send back beyond needles
ASCENDING_DB = {"vv": 0.5, "vh": 0.3}  # evening passes against morning ones
TERRAIN_DB = 2.5  # left by the terrain correction per radian of slope towards the radar
RADAR_AZIMUTH_DEG = {"ascending": 258.0, "descending": 102.0}  # where a right-looking radar stands, seen from the ground
RELATIVE_ORBIT = {"ascending": 69, "descending": 3}
EXTENSIONS = [
    "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]


@dataclass(frozen=True)
class RadarPass:
    """One overpass: its moment and direction, whether it ends inside the area, and in how many slices it comes."""

    number: int
    moment: dt.datetime
    state: str
    partial: bool
    slices: int

    @property
    def orbit(self) -> int:
        """Absolute orbit number: 175 orbits in 12 days."""
        days = (self.moment - dt.datetime(2014, 4, 3)).total_seconds() / 86400
        return int(days * 175 / 12)


def write_passes(folder: Path, forest: Forest, land: Land, year: int) -> list[dict[str, Any]]:
    """Write the scenes of a year below `folder`; their items are returned."""
    items = []
    for one in plan_radar(forest, year):
        rng = stream(forest.settings.seed, "radar pass", year, one.number)
        items += _write_pass(folder, forest, land, one, rng)
    return items


def plan_radar(forest: Forest, year: int) -> list[RadarPass]:
    """Passes of a season: as many descending as optical scenes, half as many ascending.

    The second descending pass comes in two slices; of four or more, the last ends inside the area.
    """
    n = forest.settings.scenes_per_year
    passes = []
    for state, count, hour in (("descending", n, 22), ("ascending", max(1, n // 2), 10)):
        rng = stream(forest.settings.seed, "radar passes", year, int(state == "ascending"))
        step = (SEASON_DAYS[1] - SEASON_DAYS[0]) / count
        days = SEASON_DAYS[0] + np.floor((np.arange(count) + rng.uniform(0.05, 0.95)) * step).astype(int)
        for position, day in enumerate(days):
            moment = dt.datetime(year, 1, 1, hour, 20, 14) + dt.timedelta(days=int(day) - 1)
            down = state == "descending"
            sliced, partial = down and position == 1, down and n >= 4 and position == n - 1
            passes.append(RadarPass(len(passes), moment, state, partial, 2 if sliced else 1))
    return passes


def see_backscatter(forest: Forest, land: Land, state: str) -> dict[str, np.ndarray]:
    """Gamma0 by polarisation without speckle, linear power (rows, cols of the padded canvas)."""
    canopy = land.canopy
    depth = canopy.cover * canopy.height_m / 10.0 + 0.05 * canopy.leaf_area_index
    leafy = canopy.looks["broadleaf"] + canopy.looks["eucalypt"]
    towards = np.cos(land.aspect - np.radians(RADAR_AZIMUTH_DEG[state]))
    residual_db = TERRAIN_DB * land.slope * towards
    seen = {}
    for number, (role, closed_db) in enumerate(CANOPY_DB.items()):
        of_code = np.empty(max(GROUND_DB[role]) + 1)
        of_code[list(GROUND_DB[role])] = list(GROUND_DB[role].values())
        ground_db = of_code[land.ground] + 1.0 * land.bare
        through = np.exp(-2 * EXTINCTION[role] * depth)
        power = 10 ** ((closed_db + LEAFY_DB[role] * leafy) / 10) * (1 - through) + 10 ** (ground_db / 10) * through
        lasting_db = 0.35 * _texture(forest, land, number)
        level_db = residual_db + lasting_db + (ASCENDING_DB[role] if state == "ascending" else 0.0)
        seen[role] = power * 10 ** (level_db / 10)
    return seen


def _texture(forest: Forest, land: Land, number: int) -> np.ndarray:
    """What structure and moisture of a place do to its backscatter whatever its canopy, the same at every date."""
    field = SmoothField.draw(forest.site, stream(forest.settings.seed, "backscatter", number), range_m=200)
    inner = field.at(*forest.site.canvas_centres())
    return np.pad(inner, land.pad, mode="symmetric")


def speckle(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Intensity of mean 1 and `LOOKS` looks, neighbours correlated because resolution cells of 20 m overlap (rows, cols).

    Four looks and a fifth of smaller weight, each the squared amplitude of waves that add up over 2 x 2 pixels.
    """
    power, rows, cols = np.zeros(shape), *shape
    for weight in LOOK_WEIGHTS:
        for _ in range(2):  # real and imaginary part
            waves = rng.standard_normal((rows + 1, cols + 1))
            amplitude = waves[1:, 1:] + waves[:-1, 1:] + waves[1:, :-1] + waves[:-1, :-1]
            power += weight * amplitude**2 / 8
    return power / sum(LOOK_WEIGHTS)


def _write_pass(folder: Path, forest: Forest, land: Land, one: RadarPass, rng: np.random.Generator) -> list[dict[str, Any]]:
    frame = frame_of(forest, land, RESOLUTION_M, 0.0)
    edge = swath(land, rng) if one.partial else np.ones(land.ground.shape, np.float32)
    inside = frame.shrink(edge) >= 0.999
    rim = inside & ~np.roll(inside, round(RIM_M / RESOLUTION_M), axis=1) & one.partial
    wet_db = 0.4 * rng.standard_normal()
    images = {}
    for role, power in see_backscatter(forest, land, one.state).items():
        values = frame.shrink(power) * 10 ** (wet_db / 10) * speckle(rng, (frame.rows, frame.cols))
        values = np.where(rim, 0.0, values)
        images[role] = np.where(inside, values, NODATA).astype("float32")
    return [_write_slice(folder, forest, land, one, number, frame, edge, images) for number in range(one.slices)]


def _write_slice(
    folder: Path,
    forest: Forest,
    land: Land,
    one: RadarPass,
    number: int,
    whole: Frame,
    edge: np.ndarray,
    images: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Write one slice of a pass (a pass flies south when it descends) and its item, which is returned."""
    middle = whole.rows // 2
    first, last = (0, whole.rows) if one.slices == 1 else ((0, middle + OVERLAP_PX), (middle, whole.rows))[number]
    cells = round(RESOLUTION_M / CELL_M)
    frame = replace(
        whole, north_m=whole.north_m - first * RESOLUTION_M, rows=last - first, row0=whole.row0 + first * cells
    )
    start = one.moment + dt.timedelta(seconds=SLICE_S * number)
    end = start + dt.timedelta(seconds=SLICE_S)
    name = f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}_{one.orbit:06d}_{one.orbit * 8:06X}_rtc"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    assets = {}
    for role, values in images.items():
        file = f"iw-{role}.rtc.tiff"
        write_cog(
            place / file, values[first:last], crs=forest.site.crs, west_m=frame.west_m, north_m=frame.north_m,
            resolution_m=RESOLUTION_M, nodata=NODATA,
        )  # fmt: skip
        assets[role] = {
            "href": f"./{file}", "type": COG, "roles": ["data"], "title": role.upper(),
            "raster:bands": [{"nodata": NODATA, "data_type": "float32", "spatial_resolution": 10.0}],
        }  # fmt: skip
    item = _item(forest, one, name, start, end, frame, footprint_ring(forest, land, frame, edge), assets)
    write_json(place / f"{name}.json", item)
    return item


def _item(
    forest: Forest,
    one: RadarPass,
    name: str,
    start: dt.datetime,
    end: dt.datetime,
    frame: Frame,
    ring: list[list[float]],
    assets: dict[str, Any],
) -> dict[str, Any]:
    from pyproj import CRS

    code = CRS.from_user_input(forest.site.crs).to_epsg()
    properties = {
        "datetime": (start + (end - start) / 2).isoformat() + "Z",
        "start_datetime": start.isoformat() + "Z",
        "end_datetime": end.isoformat() + "Z",
        "platform": "SENTINEL-1A",
        "constellation": "Sentinel-1",
        "proj:epsg": code,
        **projection_of(frame),
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "sar:looks_equivalent_number": LOOKS,
        "sar:observation_direction": "right",
        "sat:orbit_state": one.state,
        "sat:absolute_orbit": one.orbit,
        "sat:relative_orbit": RELATIVE_ORBIT[one.state],
    }
    if code is None:
        properties["proj:wkt2"] = CRS.from_user_input(forest.site.crs).to_wkt()
    return as_item(name, "sentinel-1-rtc", EXTENSIONS, ring, properties, assets)
