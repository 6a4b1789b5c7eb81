"""The planted forest itself: stems with species, position and growth, and the biomass that nobody measures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from catalogs.planted.site import Site, SmoothField, Terrain, stream
from catalogs.planted.species import (
    ALLOMETRY,
    ALLOMETRY_COV_AB,
    ALLOMETRY_VAR_A,
    ALLOMETRY_VAR_B,
    FOREST_TYPES,
    MIN_DBH_CM,
    SPECIES,
    Species,
)
from catalogs.planted.stands import Layout, lay_out

if TYPE_CHECKING:
    from catalogs.planted.settings import Planting

log = logging.getLogger(__name__)

SPECIES_ORDER = tuple(SPECIES)
SNAG_YEARS = 4.0  # how long a dead stem stands


@dataclass(frozen=True)
class Parameters:
    """The true allometry of one seed by species: drawn once from the distribution that the analyst's tables state."""

    a: dict[str, float]
    b: dict[str, float]
    wood_density_g_cm3: dict[str, float]


@dataclass(frozen=True)
class Trees:
    """Stems at one date, one value per stem (n). `snag` marks the standing dead, which carry no living biomass."""

    tree: np.ndarray
    """Row of the stem in the forest, the same at every date."""
    x: np.ndarray
    y: np.ndarray
    stand: np.ndarray
    species: np.ndarray
    dbh_cm: np.ndarray
    height_m: np.ndarray
    crown_radius_m: np.ndarray
    snag: np.ndarray

    def where(self, mask: np.ndarray) -> Trees:
        """The stems for which `mask` holds."""
        return Trees(**{name: getattr(self, name)[mask] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Forest:
    """A grown forest: `trees(year)` gives its stems at the 1st of July of any year, `agb_kg` their living biomass."""

    site: Site
    first: int
    last: int
    settings: Planting
    terrain: Terrain
    layout: Layout
    parameters: Parameters
    stems: dict[str, np.ndarray]
    cache: dict = field(default_factory=dict, repr=False)

    def trees(self, year: float) -> Trees:
        """Living stems and snags that stand at the 1st of July of `year`, whatever their size."""
        if ("trees", year) not in self.cache:
            self.cache["trees", year] = self._trees(year)
        return self.cache["trees", year]

    def _trees(self, year: float) -> Trees:
        stems = self.stems
        dead = stems["death"] <= year
        standing = ~dead | ((year - stems["death"] < SNAG_YEARS) & ~stems["removed"])
        age = stems["age"] + self.settings.growth_multiplier * (np.minimum(year, stems["death"]) - self.first)
        here = np.flatnonzero(standing & (age > 0.3))
        stem = {name: values[here] for name, values in stems.items()}
        dbh_cm = diameter_cm(stem["species"], age[here]) * stem["vigour"]
        height_m = height_of(stem["species"], dbh_cm) * stem["height_factor"]
        reach = by_species(lambda s: s.crown_radius_m[0])[stem["species"]]
        per_cm = by_species(lambda s: s.crown_radius_m[1])[stem["species"]]
        radius = (reach * np.minimum(1, dbh_cm / 5) + per_cm * dbh_cm) * stem["crown_factor"]
        snag = dead[here]
        return Trees(
            here, stem["x"], stem["y"], stem["stand"], stem["species"],
            dbh_cm, height_m, np.where(snag, 0.35 * radius, radius), snag,
        )  # fmt: skip

    def agb_kg(self, trees: Trees) -> np.ndarray:
        """True aboveground biomass of each stem, kg; zero for snags and for stems below 5 cm, which nobody counts."""
        true = self.parameters
        density = self.stems["wood_density"][trees.tree]
        with np.errstate(divide="ignore"):
            a, b = (np.array([part[name] for name in SPECIES_ORDER])[trees.species] for part in (true.a, true.b))
            log_agb = a + b * np.log(density * trees.dbh_cm**2 * trees.height_m)
        counted = ~trees.snag & (trees.dbh_cm >= MIN_DBH_CM)
        return np.where(counted, np.exp(log_agb + self.stems["allometry_error"][trees.tree]), 0.0)


def by_species(value: Callable[[Species], float]) -> np.ndarray:
    """One value per species, in the order of `SPECIES_ORDER`, so that a stem's species (index) picks its own."""
    return np.array([value(SPECIES[name]) for name in SPECIES_ORDER], dtype=float)


def diameter_cm(species: np.ndarray, age_years: np.ndarray) -> np.ndarray:
    """Diameter of an average stem of each species (index) at an age, zero before it began; Richards (1959)."""
    largest, rate, shape = (
        by_species(lambda s, n=n: getattr(s, n)) for n in ("dbh_max_cm", "rate_per_year", "shape")
    )
    age_years = np.maximum(age_years, 0)
    return largest[species] * (-np.expm1(-rate[species] * age_years)) ** shape[species]


def height_of(species: np.ndarray, dbh_cm: np.ndarray) -> np.ndarray:
    """Height of an average stem of each species (index) and diameter, metres; Richards' form in diameter."""
    tallest, rate, shape = (
        by_species(lambda s, n=n: getattr(s, n)) for n in ("height_max_m", "height_rate_per_cm", "height_shape")
    )
    return 1.3 + tallest[species] * (-np.expm1(-rate[species] * dbh_cm)) ** shape[species]


def draw_parameters(seed: int) -> Parameters:
    """The true allometric parameters of a seed, drawn from exactly what the analyst's tables say of them."""
    rng = stream(seed, "parameters")
    lower = np.linalg.cholesky([[ALLOMETRY_VAR_A, ALLOMETRY_COV_AB], [ALLOMETRY_COV_AB, ALLOMETRY_VAR_B]])
    drawn = {name: np.array(ALLOMETRY[name][:2]) + lower @ rng.standard_normal(2) for name in SPECIES_ORDER}
    densities = {
        name: float(s.wood_density_g_cm3 + s.wood_density_se * rng.standard_normal()) for name, s in SPECIES.items()
    }
    a, b = ({name: float(pair[i]) for name, pair in drawn.items()} for i in (0, 1))
    return Parameters(a, b, densities)


@lru_cache(maxsize=2)
def grow(site: Site, first: int, last: int, settings: Planting) -> Forest:
    """Grow the forest of a seed between two years; what happens between them depends on these two years only."""
    layout = lay_out(site, first, last, settings)
    terrain = Terrain.draw(site, settings.seed)
    parameters = draw_parameters(settings.seed)
    stems = _plant_stems(layout, settings)
    stems |= _individuality(stems, layout, settings)
    stems |= _deaths(stems, layout, first, settings)
    stems |= _wood(stems, parameters, settings)
    forest = Forest(site, first, last, settings, terrain, layout, parameters, stems)
    log.info("grew %d stems in %d stands, %.0f ha", len(stems["x"]), len(layout.ids), layout.areas_ha.sum())
    return forest


def _plant_stems(layout: Layout, settings: Planting) -> dict[str, np.ndarray]:
    """Positions, stand, species and age (years at the first date) of all stems, stand by stand."""
    import shapely

    rng = stream(settings.seed, "stems")
    gaps = SmoothField.draw(layout.site, rng, range_m=60)
    parts: dict[str, list[np.ndarray]] = {"x": [], "y": [], "stand": [], "species": [], "age": []}
    for number, (polygon, kind, age) in enumerate(zip(layout.polygons, layout.forest_types, layout.ages, strict=True)):
        kind = FOREST_TYPES[kind]
        per_ha = kind.stems_per_ha * settings.stems_multiplier * rng.lognormal(0, 0.12)
        x, y = _rows(polygon, per_ha, rng) if kind.even_aged else _scattered(polygon, per_ha, rng)
        thinned = 0.021 * max(age, 0) if kind.even_aged else 0.05 + 0.006 * max(age - 35, 0)
        keep = rng.uniform(size=len(x)) < np.exp(-thinned) * np.clip(0.92 + 0.13 * gaps.at(x, y), 0.2, 1)
        keep &= shapely.contains_xy(polygon, x, y)
        x, y = x[keep], y[keep]
        shares = list(kind.species.values())
        species = rng.choice([SPECIES_ORDER.index(name) for name in kind.species], size=len(x), p=shares)
        if kind.even_aged:
            ages = age + 0.3 * rng.standard_normal(len(x)) * (age > 2)
        else:
            ages = age * rng.uniform(0.05, 1, len(x)) ** 0.8
        values = (x, y, np.full(len(x), number), species, ages)
        for name, column in zip(parts, values, strict=True):
            parts[name].append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _rows(polygon, per_ha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Planting positions in rows of a random bearing over the polygon's surroundings, as planters manage on a slope."""
    west, south, east, north = polygon.bounds
    spacing = 100 / np.sqrt(per_ha)
    reach = int(np.hypot(east - west, north - south) / 2 / spacing) + 1
    along, across = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    along = (along + rng.uniform(-0.3, 0.3, along.shape)).ravel() * spacing
    across = (across + rng.uniform(-0.3, 0.3, across.shape)).ravel() * spacing
    bearing = rng.uniform(0, np.pi)
    x = (west + east) / 2 + along * np.cos(bearing) - across * np.sin(bearing)
    y = (south + north) / 2 + along * np.sin(bearing) + across * np.cos(bearing)
    inside = (x > west) & (x < east) & (y > south) & (y < north)
    return x[inside], y[inside]


def _scattered(polygon, per_ha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    west, south, east, north = polygon.bounds
    n = rng.poisson(per_ha * (east - west) * (north - south) / 1e4)
    return rng.uniform(west, east, n), rng.uniform(south, north, n)


def _individuality(stems: dict[str, np.ndarray], layout: Layout, settings: Planting) -> dict[str, np.ndarray]:
    """How each stem departs from its species' average: site quality by stand and place, then the stem's own luck.

    Height for diameter departs by stand, by place and by stem too: no sensor tells a slender stem from a stout one,
    so this part of a map's error is correlated in space.
    """
    rng = stream(settings.seed, "individuality")
    n, x, y, stand = len(stems["x"]), stems["x"], stems["y"], stems["stand"]
    even = np.array([FOREST_TYPES[kind].even_aged for kind in layout.forest_types])[stand]
    site_quality = 0.07 * _ordinary(rng, len(layout.ids))[stand]
    site_quality += 0.04 * SmoothField.draw(layout.site, rng, range_m=160).at(x, y)
    weibull = (-np.log(rng.uniform(size=n))) ** (1 / 4.2) / 0.909  # shape 4.2 has mean 0.909 of its scale
    own = np.where(even, weibull, rng.lognormal(-0.03, 0.25, n))
    slender = 0.09 * _ordinary(rng, len(layout.ids))[stand]
    slender += 0.08 * SmoothField.draw(layout.site, rng, range_m=120).at(x, y)
    return {
        "luck": own,
        "vigour": np.exp(site_quality) * own,
        "height_factor": np.exp(0.5 * site_quality + slender + 0.07 * rng.standard_normal(n)),
        "crown_factor": np.exp(0.12 * rng.standard_normal(n)),
    }


def _ordinary(rng: np.random.Generator, n: int) -> np.ndarray:
    """Normal draws (n,) without the rare extremes: no stand of these hills carries 600 Mg/ha."""
    return np.clip(rng.standard_normal(n), -1.7, 1.7)


def _deaths(stems: dict[str, np.ndarray], layout: Layout, first: int, settings: Planting) -> dict[str, np.ndarray]:
    """When each stem dies (years): suppressed stems of crowded stands first, and whatever an event strikes."""
    import shapely

    rng = stream(settings.seed, "deaths")
    n = len(stems["x"])
    even = np.array([FOREST_TYPES[kind].even_aged for kind in layout.forest_types])[stems["stand"]]
    suppressed = np.clip(1.15 - stems["luck"], 0, 1) ** 1.5
    hazard_per_year = np.where(even, 0.005 + 0.035 * suppressed, 0.012 * (1 + suppressed))
    start = np.maximum(first - SNAG_YEARS, first - stems["age"])
    death = start + rng.exponential(1 / hazard_per_year, n)
    removed = np.zeros(n, bool)
    for event in layout.events:
        west, south, east, north = event.polygon.bounds
        x, y = stems["x"], stems["y"]
        near = np.flatnonzero((x >= west) & (x <= east) & (y >= south) & (y <= north) & (death > event.time))
        struck = near[shapely.contains_xy(event.polygon, x[near], y[near])]
        struck = struck[rng.uniform(size=len(struck)) < event.kill_share]
        death[struck] = event.time
        removed[struck] = event.removed
    return {"death": death, "removed": removed}


def _wood(stems: dict[str, np.ndarray], parameters: Parameters, settings: Planting) -> dict[str, np.ndarray]:
    """Wood density and allometric departure of each stem, which stay with it for life."""
    rng = stream(settings.seed, "wood")
    n = len(stems["x"])
    mean = np.array([parameters.wood_density_g_cm3[name] for name in SPECIES_ORDER])[stems["species"]]
    sd = by_species(lambda s: s.wood_density_sd_tree)[stems["species"]]
    density = np.clip(mean + sd * rng.standard_normal(n), 0.1, 1.3)
    rse = np.array([ALLOMETRY[name][2] for name in SPECIES_ORDER])[stems["species"]]
    return {"wood_density": density, "allometry_error": rse * rng.standard_normal(n)}
