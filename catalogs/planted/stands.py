"""How the land is divided: stands, fields, a river and a road, and what befalls the stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from catalogs.planted.site import CELL_M, Site, stream
from catalogs.planted.species import FOREST_TYPES

if TYPE_CHECKING:
    from shapely import Geometry

    from catalogs.planted.settings import Planting

MIN_STAND_HA, MAX_STAND_HA = 1.0, 12.0
RIVER_WIDTH_M, ROAD_WIDTH_M = 28.0, 9.0
FIELD_SHARE, AFFORESTED_SHARE = 0.14, 0.05
GRASS, FOREST_LAND, CROPLAND, WATER, ROAD = 0, 1, 2, 3, 4
"""Ground cover of the canvas, whatever grows on it."""


@dataclass(frozen=True)
class Event:
    """A disturbance: where, when (in years, 2021.0 being the 1st of July 2021) and what share of the stems dies."""

    kind: str
    polygon: Geometry
    time: float
    kill_share: float
    removed: bool

    @property
    def date(self) -> str:
        return calendar_date(self.time)


def calendar_date(time: float) -> str:
    """The ISO date of a time counted in years from the 1st of July of the year it names."""
    import datetime as dt

    year = int(np.floor(time))
    return (dt.date(year, 7, 1) + dt.timedelta(days=round((time - year) * 365.25))).isoformat()


@dataclass(frozen=True)
class Layout:
    """Stands in order of their id, ground cover polygons, and events between the first and the last date."""

    site: Site
    ids: tuple[str, ...]
    polygons: tuple[Geometry, ...]
    forest_types: tuple[str, ...]
    ages: np.ndarray
    """Years since planting or since the oldest trees began, at the first date; negative where not planted yet."""
    fields: tuple[Geometry, ...]
    river: Geometry
    road: Geometry
    events: tuple[Event, ...]

    @cached_property
    def areas_ha(self) -> np.ndarray:
        return np.array([polygon.area for polygon in self.polygons]) / 1e4

    @cached_property
    def stand_canvas(self) -> np.ndarray:
        """Index of the stand at each canvas cell's centre, -1 outside stands (rows, cols)."""
        return self._burn(list(zip(self.polygons, range(len(self.polygons)), strict=True)), -1)

    @cached_property
    def ground_canvas(self) -> np.ndarray:
        """Ground cover code of each canvas cell (rows, cols)."""
        shapes = [(polygon, FOREST_LAND) for polygon in self.polygons] + [(field, CROPLAND) for field in self.fields]
        return self._burn([*shapes, (self.river, WATER), (self.road, ROAD)], GRASS)

    def event_canvas(self, kind: str) -> np.ndarray:
        """Time of the last event of a kind at each canvas cell, NaN where there is none (rows, cols)."""
        times = np.full(self.site.canvas_shape(), np.nan)
        for event in self.events:
            if event.kind == kind:
                times[self._burn([(event.polygon, 1)], 0) == 1] = event.time
        return times

    def _burn(self, shapes: list[tuple[Geometry, int]], fill: int) -> np.ndarray:
        from affine import Affine
        from rasterio.features import rasterize

        transform = Affine(CELL_M, 0, self.site.west_m, 0, -CELL_M, self.site.north_m)
        return rasterize(shapes, out_shape=self.site.canvas_shape(), transform=transform, fill=fill, dtype="int32")


def lay_out(site: Site, first: int, last: int, settings: Planting) -> Layout:
    """Divide the site into stands and other land and decide what happens between the first and the last date."""
    import shapely

    cells = _voronoi(site, settings)
    river, road = _river_and_road(site, settings.seed)
    cut = shapely.union_all([river.buffer(6.0), road.buffer(3.0)])  # banks and verges carry no stand
    rng = stream(settings.seed, "land use")
    distance_m = np.array([cell.centroid.distance(river) for cell in cells])
    near = np.argsort(distance_m + rng.exponential(150, len(cells)))
    is_field = np.zeros(len(cells), bool)
    is_field[near[: max(1, round(FIELD_SHARE * len(cells)))]] = True

    pieces, fields = [], []
    for cell, field in zip(cells, is_field, strict=True):
        parts = shapely.get_parts(cell.difference(cut))
        smallest_m2 = 1.0 if field else MIN_STAND_HA * 1e4
        (fields if field else pieces).extend(part for part in parts if part.area >= smallest_m2)
    polygons = [part for piece in pieces for part in _split_large(piece)]
    order = np.lexsort(([p.centroid.x for p in polygons], [-p.centroid.y for p in polygons]))
    polygons = [shapely.normalize(polygons[i]) for i in order]
    types, ages = _types_and_ages(polygons, fields, site, first, last, settings.seed)
    return Layout(
        site=site,
        ids=tuple(f"S{number:03d}" for number in range(1, len(polygons) + 1)),
        polygons=tuple(polygons),
        forest_types=tuple(types),
        ages=ages,
        fields=tuple(fields),
        river=river,
        road=road,
        events=_events(polygons, types, ages, site, first, last, settings),
    )


def _voronoi(site: Site, settings: Planting) -> list[Geometry]:
    """Cells around the points of a jittered grid, clipped to the site, row by row."""
    import shapely

    rng = stream(settings.seed, "stands")
    spacing = np.sqrt(settings.mean_stand_ha * 1e4)
    west, south, east, north = site.bounds
    n_x, n_y = max(2, round((east - west) / spacing)), max(2, round((north - south) / spacing))
    col, row = np.meshgrid(np.arange(-1, n_x + 1), np.arange(-1, n_y + 1))
    jitter = rng.uniform(-0.42, 0.42, (2, *col.shape))
    x = west + (col + 0.5 + jitter[0]) * (east - west) / n_x
    y = south + (row + 0.5 + jitter[1]) * (north - south) / n_y
    seeds = shapely.MultiPoint(np.column_stack([x.ravel(), y.ravel()]))
    cells = shapely.get_parts(shapely.voronoi_polygons(seeds)).tolist()
    clipped = [cell.intersection(shapely.box(*site.bounds)) for cell in cells]
    clipped = [cell for cell in clipped if cell.area > 0]
    return sorted(clipped, key=lambda cell: (-round(cell.centroid.y, 3), round(cell.centroid.x, 3)))


def _river_and_road(site: Site, seed: int) -> tuple[Geometry, Geometry]:
    """A winding river from north to south and a road from west to east, as polygons clipped to the site."""
    import shapely

    rng = stream(seed, "river and road")
    west, south, east, north = site.bounds
    along = np.linspace(-0.02, 1.02, 60)

    def winding(middle: float, sway: float) -> np.ndarray:
        phase = rng.uniform(0, 2 * np.pi, 2)
        return middle + sway * (np.sin(5.0 * along + phase[0]) + 0.4 * np.sin(13.0 * along + phase[1]))

    across = winding(rng.uniform(0.35, 0.65), 0.07)
    river = shapely.LineString(np.column_stack([west + across * (east - west), north - along * (north - south)]))
    across = winding(rng.uniform(0.3, 0.7), 0.05)
    road = shapely.LineString(np.column_stack([west + along * (east - west), south + across * (north - south)]))
    box = shapely.box(*site.bounds)
    return river.buffer(RIVER_WIDTH_M / 2).intersection(box), road.buffer(ROAD_WIDTH_M / 2).intersection(box)


def _split_large(polygon: Geometry) -> list[Geometry]:
    """The polygon, or its two halves across its longer side where it is above the largest stand."""
    import shapely

    if polygon.area <= MAX_STAND_HA * 1e4:
        return [polygon]
    west, south, east, north = polygon.bounds
    if east - west > north - south:
        middle = polygon.centroid.x
        halves = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
    else:
        middle = polygon.centroid.y
        halves = [shapely.box(west, south, east, middle), shapely.box(west, middle, east, north)]
    parts = [part for half in halves for part in shapely.get_parts(polygon.intersection(half)) if part.area > 1e4]
    return [piece for part in parts for piece in _split_large(part)]


def _types_and_ages(
    polygons: list[Geometry], fields: list[Geometry], site: Site, first: int, last: int, seed: int
) -> tuple[list[str], np.ndarray]:
    """Forest type and age per stand: types in their shares, dealt out at random; some stands still to be planted."""
    rng = stream(seed, "types")
    n = len(polygons)
    usual = [kind for kind in FOREST_TYPES.values() if kind.share > 0]
    edges = np.cumsum([kind.share for kind in usual]) / sum(kind.share for kind in usual)
    dealt = rng.permutation((np.arange(n) + rng.uniform()) / n)
    kinds = [usual[min(int(np.searchsorted(edges, share)), len(usual) - 1)] for share in dealt]
    ages = np.array([rng.uniform(*kind.age_years) for kind in kinds])

    wait = min(0.75, 0.15 * (last - first))  # planted in the spring after the first date
    distance_m = np.array([min((p.distance(f) for f in fields), default=0.0) for p in polygons])
    order = np.argsort(distance_m + rng.exponential(100, n))
    for position, stand in enumerate(order[: max(2, round(AFFORESTED_SHARE * n))]):
        kinds[stand] = FOREST_TYPES["eucalypt" if position % 2 == 0 else "chinese_fir"]
        ages[stand] = -wait
    return [kind.name for kind in kinds], ages


def _events(
    polygons: list[Geometry], types: list[str], ages: np.ndarray, site: Site, first: int, last: int, settings: Planting
) -> tuple[Event, ...]:
    """One stand and half of another felled, a burnt patch across borders, and small fellings of the last spring."""
    import shapely

    rng = stream(settings.seed, "events")
    span = last - first
    planted = np.array([FOREST_TYPES[kind].even_aged for kind in types])
    ripe = np.flatnonzero(planted & (ages >= 18))
    ripe = ripe if len(ripe) >= 2 else np.argsort(ages)[-4:]
    whole, half = rng.permutation(ripe)[:2]
    upper = shapely.box(site.west_m, polygons[half].centroid.y, site.east_m, site.north_m)
    felled_at = first + 0.45 * span
    events = [
        Event("harvest", polygons[whole], felled_at, 1.0, True),
        Event("harvest", polygons[half].intersection(upper), felled_at, 1.0, True),
    ]
    quiet = [i for i in range(len(polygons)) if i not in (whole, half) and ages[i] > 10]
    burnt = polygons[quiet[int(rng.integers(len(quiet)))]]
    radius = np.sqrt(0.012 * site.area_ha * 1e4 / np.pi)
    patch = shapely.affinity.scale(burnt.centroid.buffer(radius), 1.3, 1 / 1.3)
    events.append(Event("fire", patch.intersection(shapely.box(*site.bounds)), first + 0.55 * span, 0.93, False))

    disturbed = shapely.union_all([event.polygon for event in events]).buffer(60.0)
    inner = shapely.box(*site.bounds).buffer(-40.0)
    candidates = [i for i in quiet if ages[i] > 15]
    for _ in range(200):
        if sum(event.kind == "gap" for event in events) == settings.disturbed_plots_n:
            break
        stand = polygons[candidates[int(rng.integers(len(candidates)))]]
        west, south, east, north = stand.bounds
        point = shapely.Point(rng.uniform(west, east), rng.uniform(south, north))
        if stand.contains(point) and inner.contains(point) and not disturbed.contains(point):
            events.append(Event("gap", point.buffer(25.0), last - 34 / 365.25, 1.0, True))
            disturbed = disturbed.union(point.buffer(80.0))
    return tuple(events)
