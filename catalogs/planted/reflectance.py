"""What a satellite sees of the planted land: spectra of crowns and ground, slope, season, haze, clouds and noise.

Reflectance follows leaves, crowns, shade and ground, never biomass: it saturates as leaves close over the ground (an
exponential in leaf area index, one extinction per spectral region) and darkens with the shade of a rough canopy.
Spectra are typical values of surface reflectance for such surfaces, by common band name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalogs.planted.canopy import LOOKS, Canopy, see_canopy
from catalogs.planted.forest import Forest
from catalogs.planted.site import CELL_M, SmoothField, stream
from catalogs.planted.stands import CROPLAND, FOREST_LAND, GRASS, ROAD, WATER

BANDS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22")
REGION = dict(zip(BANDS, ("vis",) * 3 + ("edge",) + ("nir",) * 4 + ("swir",) * 2, strict=True))
EXTINCTION = {"vis": 0.95, "edge": 0.8, "nir": 0.5, "swir": 0.65}  # per unit of leaf area index
SHADE = {"vis": 0.55, "edge": 0.5, "nir": 0.33, "swir": 0.5}  # share of light lost in full mutual shade
TERRAIN_C = {"vis": 1.6, "edge": 1.2, "nir": 0.9, "swir": 0.7}  # diffuse light, the C of Teillet et al. 1982
HAZE = {"blue": 0.030, "green": 0.020, "red": 0.014, "rededge1": 0.010}  # added at haze 1; 0.003 elsewhere

# fmt: off
LEAVES = {  # closed canopy without shade, by BANDS
    "fir":       (0.026, 0.056, 0.034, 0.092, 0.245, 0.315, 0.335, 0.345, 0.175, 0.085),
    "pine":      (0.030, 0.060, 0.040, 0.098, 0.235, 0.295, 0.315, 0.325, 0.190, 0.098),
    "broadleaf": (0.026, 0.064, 0.032, 0.105, 0.320, 0.420, 0.440, 0.450, 0.225, 0.102),
    "eucalypt":  (0.030, 0.068, 0.038, 0.112, 0.300, 0.385, 0.405, 0.415, 0.205, 0.098),
}
GROUND = {
    "understorey": (0.036, 0.070, 0.058, 0.115, 0.205, 0.240, 0.255, 0.265, 0.235, 0.145),
    "grass":       (0.042, 0.085, 0.068, 0.130, 0.245, 0.290, 0.310, 0.320, 0.250, 0.150),
    "crop":        (0.040, 0.080, 0.055, 0.120, 0.280, 0.340, 0.360, 0.370, 0.210, 0.115),
    "soil":        (0.070, 0.100, 0.130, 0.160, 0.185, 0.205, 0.225, 0.240, 0.320, 0.260),
    "char":        (0.040, 0.050, 0.058, 0.070, 0.085, 0.098, 0.105, 0.115, 0.190, 0.180),
    "road":        (0.120, 0.140, 0.155, 0.165, 0.175, 0.185, 0.195, 0.205, 0.250, 0.230),
    "water":       (0.045, 0.055, 0.038, 0.030, 0.020, 0.019, 0.018, 0.015, 0.008, 0.005),
    "cloud":       (0.520, 0.510, 0.500, 0.510, 0.520, 0.530, 0.540, 0.550, 0.400, 0.320),
}
# fmt: on


@dataclass(frozen=True)
class Land:
    """One year's land on the padded canvas of 5 m: all that does not depend on the day of the scene (rows, cols)."""

    pad: int
    west_m: float
    north_m: float
    ground: np.ndarray
    bare: np.ndarray
    """Share of soil laid bare by felling, fading as plants return."""
    char: np.ndarray
    canopy: Canopy
    colour: dict[str, np.ndarray]
    """Factor by spectral region that stands and places carry whatever their biomass."""
    slope: np.ndarray
    aspect: np.ndarray
    """Downhill direction, radians from north, clockwise."""


@dataclass(frozen=True)
class Sky:
    """What stands between the land and one scene (rows, cols of the padded canvas)."""

    sun_elevation_deg: float
    sun_azimuth_deg: float
    season: float
    """0 when growth begins, 1 at its height in August."""
    haze: np.ndarray
    cloud: np.ndarray
    """Opacity, 0..1."""
    shadow: np.ndarray
    """Share of direct light kept off by clouds, 0..1."""
    gain: float


def land_of(forest: Forest, year: int, *, pad: int) -> Land:
    """The land of a year, mirrored at the site's edges by `pad` cells because scenes reach beyond the study."""
    layout, site = forest.layout, forest.site

    def extend(values: np.ndarray) -> np.ndarray:
        return np.pad(values, pad, mode="symmetric").astype(np.float32)

    def fading(kind: str, years: float) -> np.ndarray:
        since = year - layout.event_canvas(kind)
        return np.where(since >= 0, np.exp(-np.maximum(since, 0) / years), 0.0)

    canopy = see_canopy(forest, year)
    padded = Canopy(
        *(extend(getattr(canopy, name)) for name in ("cover", "leaf_area_index", "height_m", "roughness_m")),
        looks={look: extend(share) for look, share in canopy.looks.items()},
    )
    east, north = forest.terrain.gradient(*site.canvas_centres())
    return Land(
        pad=pad,
        west_m=site.west_m - pad * CELL_M,
        north_m=site.north_m + pad * CELL_M,
        ground=np.pad(layout.ground_canvas, pad, mode="symmetric"),
        bare=extend(np.fmax(fading("harvest", 2.5), fading("gap", 2.5))),
        char=extend(fading("fire", 1.5)),
        canopy=padded,
        colour={region: extend(values) for region, values in _colour(forest, year).items()},
        slope=extend(np.arctan(np.hypot(east, north))),
        aspect=extend(np.arctan2(-east, -north)),
    )


def _colour(forest: Forest, year: int) -> dict[str, np.ndarray]:
    """Leaf colour by region: a lasting part by stand and place, and a smaller part of the year's weather."""
    seed, site, layout = forest.settings.seed, forest.site, forest.layout
    x, y = site.canvas_centres()
    factors = {}
    for number, (region, sd) in enumerate({"vis": 0.06, "edge": 0.05, "nir": 0.05, "swir": 0.06}.items()):
        rng = stream(seed, "colour", number)
        by_stand = np.append(rng.standard_normal(len(layout.ids)), 0.0)[layout.stand_canvas]
        place = SmoothField.draw(site, rng, range_m=250).at(x, y)
        weather = SmoothField.draw(site, stream(seed, "weather", number, year), range_m=400).at(x, y)
        factors[region] = np.exp(sd * (0.6 * by_stand + 0.7 * place + 0.35 * weather))
    return factors


def sky_of(
    forest: Forest, land: Land, *, rng: np.random.Generator, day_of_year: int, cloud_share: float, hour: float
) -> Sky:
    """The sky of one scene: sun by date and latitude, haze, and clouds whose shadows fall away from the sun."""
    elevation, azimuth = sun_position(latitude_of(forest), day_of_year, hour)
    shape = land.ground.shape
    rows, cols = np.indices(shape, sparse=True)
    x = land.west_m + (cols + 0.5) * CELL_M
    y = land.north_m - (rows + 0.5) * CELL_M
    throw_m = rng.uniform(600, 1100) / np.tan(np.radians(elevation))
    margin_m = land.pad * CELL_M + throw_m + 100
    density = SmoothField.draw(forest.site, rng, range_m=420, margin_m=margin_m)
    ripple = SmoothField.draw(forest.site, rng, range_m=120, margin_m=margin_m)

    def thickness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return density.at(x, y) + 0.35 * ripple.at(x, y)

    above = thickness(x, y)
    edge = np.quantile(above, 1 - cloud_share) if cloud_share > 0 else np.inf

    def opacity(depth: np.ndarray) -> np.ndarray:
        return np.clip(depth / 0.35, 0, 1).astype(np.float32)

    towards = np.radians(azimuth)
    haze = abs(0.5 * rng.standard_normal())
    haze = haze * (1 + 0.3 * SmoothField.draw(forest.site, rng, range_m=900, margin_m=margin_m).at(x, y))
    return Sky(
        sun_elevation_deg=elevation,
        sun_azimuth_deg=azimuth,
        season=float(np.clip(1 - abs(day_of_year - 215) / 90, 0, 1)),
        haze=np.maximum(haze, 0).astype(np.float32),
        cloud=opacity(above - edge),
        shadow=opacity(thickness(x + throw_m * np.sin(towards), y + throw_m * np.cos(towards)) - edge),
        gain=float(np.exp(0.015 * rng.standard_normal())),
    )


def latitude_of(forest: Forest) -> float:
    """Latitude of the middle of the site, degrees."""
    from pyproj import Transformer

    west, south, east, north = forest.site.bounds
    to_degrees = Transformer.from_crs(forest.site.crs, "EPSG:4326", always_xy=True)
    return to_degrees.transform((west + east) / 2, (south + north) / 2)[1]


def sun_position(latitude_deg: float, day_of_year: int, hour: float) -> tuple[float, float]:
    """Elevation and azimuth (from north, clockwise) of the sun, degrees, at a local solar hour (Cooper 1969)."""
    latitude = np.radians(latitude_deg)
    declination = np.radians(23.45 * np.sin(2 * np.pi * (284 + day_of_year) / 365))
    angle = np.radians(15 * (hour - 12))
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    east = -np.cos(declination) * np.sin(angle)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(angle)
    return float(np.degrees(np.arcsin(up))), float(np.degrees(np.arctan2(east, north)) % 360)


def leaf_area_seen(land: Land, season: float) -> np.ndarray:
    """Leaf area index of the day: broadleaves fill out by August, conifers hardly change (rows, cols)."""
    swing = 0.04 + 0.10 * (land.canopy.looks["broadleaf"] + land.canopy.looks["eucalypt"])
    return land.canopy.leaf_area_index * (1 - swing * (1 - season))


def ground_reflectance(land: Land, band: str, season: float) -> np.ndarray:
    """Reflectance of the ground under and between crowns (rows, cols)."""
    value = {name: values[BANDS.index(band)] for name, values in GROUND.items()}
    crop = value["crop"] * (0.25 + 0.75 * season) + value["soil"] * 0.75 * (1 - season)
    of_code = np.empty(5, np.float32)
    of_code[[GRASS, FOREST_LAND, WATER, ROAD]] = [value[n] for n in ("grass", "understorey", "water", "road")]
    of_code[CROPLAND] = crop
    ground = of_code[land.ground]
    ground = ground + land.bare * (value["soil"] - ground)
    return ground + land.char * (value["char"] - ground)


def see_bands(land: Land, sky: Sky, bands: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reflectance at the sensor's surface product by band name, without noise (rows, cols of the padded canvas)."""
    leaves = leaf_area_seen(land, sky.season)
    shade = (1 - np.exp(-land.canopy.height_m / 9)) * (0.55 + 0.45 * (1 - np.exp(-land.canopy.roughness_m / 2.5)))
    shade *= 0.75 + 0.5 * np.cos(np.radians(sky.sun_elevation_deg))
    cos_zenith = np.sin(np.radians(sky.sun_elevation_deg))
    lean = np.cos(np.radians(sky.sun_azimuth_deg) - land.aspect)
    cos_incidence = np.cos(land.slope) * cos_zenith
    cos_incidence += np.sin(land.slope) * np.cos(np.radians(sky.sun_elevation_deg)) * lean
    closed = {region: 1 - np.exp(-extinction * leaves) for region, extinction in EXTINCTION.items()}
    lit = {region: (np.maximum(cos_incidence, 0) + c) / (cos_zenith + c) for region, c in TERRAIN_C.items()}
    seen = {}
    for band in bands:
        region, position = REGION[band], BANDS.index(band)
        leaf = sum(LEAVES[look][position] * land.canopy.looks[look] for look in LOOKS) * (1 - SHADE[region] * shade)
        ground = ground_reflectance(land, band, sky.season)
        surface = ground + closed[region] * (leaf - ground)
        surface = surface * land.colour[region] * lit[region] * sky.gain
        surface = surface * (1 - 0.65 * sky.shadow * (1 - sky.cloud))
        surface = surface + HAZE.get(band, 0.003) * sky.haze
        seen[band] = surface + sky.cloud * (GROUND["cloud"][position] - surface)
    return seen
