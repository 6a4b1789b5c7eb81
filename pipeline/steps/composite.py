"""Make one image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import datetime as dt
import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.harmonisation import harmonised
from catalogs.remote import Source
from catalogs.scenes import (
    FAR_FROM_CLOUD_M,
    MIN_CLEAR_SHARE,
    REMOTE_READS,
    Feed,
    Kept,
    Look,
    SceneError,
    SceneReader,
    observations_of,
)
from catalogs.search import first_day, items_touching, last_day, with_local_paths
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.optical.composite import Image, Observations, band_names, reduce, reducers_named
from pipeline.optical.topography import HALO_PX, Relief, Sun, corrected
from pipeline.radar.backscatter import compose_backscatter, first_seen, reach_px

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

log = logging.getLogger(__name__)

REFLECTANCE_SCALE = 1e-4

HELD_MB = 480
"""Room for the scenes of a row of chunks; a block whose scenes need more is cut into narrower strips."""

Item = Mapping[str, Any]
Groups = list[tuple[int, list[Item]]]
"""Observations by their number in the season, each one or more granules."""


def composite(
    *,
    scenes: Path,
    raster: Path,
    sensor: str,
    year: int | str,
    block: str,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Sequence[str],
    dropped: Path | None = None,
    topography: Path | None = None,
    elevation: str | None = None,
) -> None:
    """Write the composite of a block: bands by role, `clear_count`, and what its dates say (series).

    Reflectance is int16 x 1e-4; backscatter is linear power, float32; elevation, in metres and float32, has no count and is
    the same in every year.

    Each chunk chooses and reduces its own scenes, so that the block size changes no pixel; memory holds a few chunks. A
    scene that cannot be read in a chunk is dropped there, and the block's record names it.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    year : int or str
        `static` for a sensor that shows every year alike.
    settings : mapping
        `pipeline.config.Sensor` as plain values: reducer, min_clear_count, max_scenes, target_day, upsampling,
        cloud_dilation_m, mask_water, harmonise, topographic, series, series_years, speckle, on_scene_error, private_hosts,
        data_folders.
    roles : sequence of str
        Bands that the study's predictors need, and those that its series are made of.
    topography, elevation : path and folder, optional
        What the step `topography` found, and the elevation on the study's grid; both where `topographic` is asked for.
    dropped : path, optional
        Where it is written how many scenes were used and which were dropped from some chunk or all, with the reason.

    Raises
    ------
    ValueError
        When the frozen scenes are of other years; when a scene cannot be read and `on_scene_error` is `fail` (it names
        scene and file), or when none of the block's scenes can.
    """
    study = Grid(**grid)
    window = study.block_window(block)
    season = SEASONS[sensor_named(sensor).kind](store.read_json(scenes), Path(scenes), sensor, year, settings)
    if settings.get("topographic", "none") != "none":
        found = store.read_json(topography)
        season.leave_out(found["dropped"])
        season.level = Levelling(found, study, elevation, settings["topographic"])
    names = season.names(roles)
    touching = season.touching(study.bounds_of(window))
    tally = _Tally(roles)
    with (
        season.reader() as reader,
        store.raster_by_window(
            raster,
            names,
            geobox=study.geobox_of(window),
            units=season.units(names),
            scales=season.scales(names),
        ) as file,
    ):
        for chunk, image in season.images(reader, study, window, roles):
            file.write(chunk.within(window), image)
            tally.add(image)
        if touching and not season.readable:
            raise ValueError(
                f"none of the {len(touching)} scenes of {sensor} in {year} can be read in block {block}; the first: "
                f"{next(iter(season.dropped.values()))}"
            )
    reasons = {scene: reason.removeprefix(f"scene {scene}: ") for scene, reason in season.dropped.items()}
    if dropped is not None:
        told = [{"id": scene, "reason": reasons[scene]} for scene in sorted(reasons)]
        store.write_json(dropped, {"used": len(season.readable), "dropped": told})
    _tell(f"{sensor} {year}, block {block}", block, reasons, len(season.readable), tally)


def _tell(title: str, block: str, reasons: Mapping[str, str], used: int, tally: _Tally) -> None:
    """Say which scenes were dropped, and what the composite is made of; louder where nothing of it is."""
    for scene, reason in reasons.items():
        log.warning("%s dropped in %s: %s", scene, block, reason)
    say = log.warning if tally.missing_share == 1.0 else log.info
    say(
        "%s: %d scenes%s, %.1f %% of pixels missing, %d scenes dropped",
        title, used, tally.clear_count, 100 * tally.missing_share, len(reasons),
    )  # fmt: skip


class Season:
    """The scenes of a sensor and year, and how a place's become one image; `dropped` holds what could not
    be read in some chunk, with the reason, `readable` what could in some chunk."""

    def __init__(
        self, frozen: Mapping[str, Any], file: Path, sensor: str, year: int | str, settings: Mapping[str, Any]
    ) -> None:
        static = sensor_named(sensor).static
        if not static and year not in frozen["query"]["years"]:
            held = ", ".join(map(str, frozen["query"]["years"]))
            raise ValueError(f"{file} holds scenes of {held}, not of {year}: search again for {sensor}")
        folder = file.resolve().parent
        frozen = with_local_paths(frozen, folder)
        allowed = {name: settings.get(name, ()) for name in ("private_hosts", "data_folders")}
        self.source = Source.of(frozen, folder, **allowed)
        known = sensor_named(sensor).with_dilation(settings.get("cloud_dilation_m"))
        self.sensor, self.settings = known.with_water_masked(settings.get("mask_water", False)), settings
        self.series = _SeriesOf(settings, self.sensor.prefix)
        to = settings.get("harmonise", "none")
        first = None if static else year - self.series.years + 1
        mine = [
            harmonised(item, sensor=self.sensor.name, to=to)
            for item in frozen["items"]
            if (item["year"] is None if static else item["year"] is not None and first <= item["year"] <= year)
        ]
        self.year = None if static else year
        self._passes = observations_of(mine)  # of the whole study: what belongs together is the same in every chunk
        season = frozen["query"].get("season", ("01-01", "12-31"))
        years = () if static else range(first - 1, year + 1)
        self._targets = {one: _target_day(settings.get("target_day"), one, season) for one in years}
        self._distances = any(one.cloud_distance for one in reducers_named(settings["reducer"]))
        self._remote = any("://" in band["href"] for item in mine for band in item["bands"].values())
        self.level: Levelling | None = None
        self.dropped: dict[str, str] = {}
        self.readable: set[str] = set()

    def names(self, roles: Sequence[str]) -> list[str]:
        """Bands of its file."""
        return [*band_names(roles, self.settings["reducer"]), *self.series.bands]

    def units(self, names: Sequence[str]) -> dict[str, str]:
        """Unit of each band of its file."""
        return dict.fromkeys(names, "1") | self.series.units

    def scales(self, names: Sequence[str]) -> dict[str, float] | None:
        """What a whole number of each band of its file stands for; None where the file holds float32."""
        return {**dict.fromkeys(names, REFLECTANCE_SCALE), "clear_count": 1.0} | self.series.scales

    def reach_px(self, resolution_m: float) -> int:
        """How far around a pixel its image looks."""
        return 0

    def reader(self) -> SceneReader:
        """Reads this season's scenes; over a network many at a time."""
        reads = {"reads": REMOTE_READS} if self._remote else {}
        return SceneReader(self.sensor, self.source, upsampling=self.settings.get("upsampling", "bilinear"), **reads)

    def leave_out(self, dropped: Mapping[str, str]) -> None:
        """Drop scenes, with the reason, whose slopes could not be looked at: uncorrected they would not fit the others."""
        self.dropped |= dropped
        self._passes = [[item for item in group if item["id"] not in dropped] for group in self._passes]

    def touching(self, bounds: tuple[float, float, float, float]) -> list[Item]:
        """Scenes that touch a place."""
        return [item for _, items in self._touching(bounds) for item in items]

    def images(
        self, reader: SceneReader, study: Grid, window: Window, roles: Sequence[str]
    ) -> Iterator[tuple[Window, Image]]:
        """Each chunk of a block and its image, strip by strip from north to south."""
        touching = self.touching(study.bounds_of(self._wide(study, window)))
        for mine, needed in self._by_roles(touching, roles):
            reader.open(mine, needed)
        for strip in _strips(study, window, self._strip_chunks(reader, study, window, touching, roles)):
            feed = reader.feed(self._around(study, strip))
            for row in self._rows(reader, feed, study, strip, roles):
                for chunk, chosen in row.chosen.items():
                    yield chunk, self._image(reader, row, chunk, chosen, self._around(study, chunk), roles)
                row.answers.clear()  # the pixels of two rows would be in memory while the next one is read

    def _around(self, study: Grid, window: Window) -> GeoBox:
        """A window's place on the ground, with what its image looks at around it."""
        return study.geobox_of(self._wide(study, window))

    def _wide(self, study: Grid, window: Window) -> Window:
        n = self.reach_px(study.resolution_m)
        return Window(window.row0 - n, window.row1 + n, window.col0 - n, window.col1 + n)

    def _strip_chunks(
        self, reader: SceneReader, study: Grid, window: Window, items: Sequence[Item], roles: Sequence[str]
    ) -> int:
        """How many chunks wide a strip may be for its scenes to fit into `HELD_MB`."""
        _, chunk = next(study.chunks(window))
        rows = 2 if self._remote else 1  # one is used while the next is read
        place = self._around(study, chunk)
        held = sum(reader.held_bytes(mine, needed, place) for mine, needed in self._by_roles(items, roles))
        chunk_mb = held * rows / 2**20
        return max(int(HELD_MB / max(chunk_mb, 1e-3)), 1)

    def _rows(
        self, reader: SceneReader, feed: Feed, study: Grid, strip: Window, roles: Sequence[str]
    ) -> Iterator[_Row]:
        """The rows of chunks of a strip with their scenes; over a network, one is read while the one before is used."""
        waiting: _Row | None = None
        for row in _rows_of(study, strip):
            begun = self._begin(reader, feed, study, row, roles)
            if not self._remote:
                yield begun
                continue
            if waiting is not None:
                yield waiting
            waiting = begun
        if waiting is not None:
            yield waiting

    def _begin(
        self, reader: SceneReader, feed: Feed, study: Grid, chunks: Sequence[Window], roles: Sequence[str]
    ) -> _Row:
        """Begin to read a row: all quality layers, then the bands of the observations that some chunk has chosen."""
        whole = self._around(study, Window(chunks[0].row0, chunks[0].row1, chunks[0].col0, chunks[-1].col1))
        groups = {chunk: self._touching(study.bounds_of(self._wide(study, chunk))) for chunk in chunks}
        items = {item["id"]: item for found in groups.values() for _, group in found for item in group}
        answers = {}
        for mine, needed in self._by_roles(items.values(), roles):
            answers |= feed.quality(mine, needed, whole)
        row = _Row({}, answers)
        for chunk, found in groups.items():
            row.chosen[chunk] = self._chosen(reader, row, found, study.geobox_of(chunk))
        wanted = {item["id"]: item for found in row.chosen.values() for _, group in found for item in group}
        for mine, needed in self._by_roles(wanted.values(), roles):
            answers |= feed.bands(mine, needed, whole)
        return row

    def _by_roles(self, items: Iterable[Item], roles: Sequence[str]) -> Iterator[tuple[list[Item], Sequence[str]]]:
        """Scenes with the bands that are read of them: of earlier years, which only a series looks at, its own."""
        for needed, earlier in ((roles, False), (self.series.roles, True)):
            if mine := [item for item in items if self.is_earlier(item) == earlier]:
                yield mine, needed

    def is_earlier(self, item: Item) -> bool:
        return item["year"] != self.year

    def _chosen(self, reader: SceneReader, row: _Row, found: Groups, geobox: GeoBox) -> Groups:
        """The observations to use for a chunk: all that touch it, or the clearest of them there."""
        most = self.settings.get("max_scenes")
        if not most:
            return found
        clear: dict[int, np.ndarray] = {}
        readable: dict[int, list[Item]] = {}
        for number, items in found:
            for item in items:
                try:
                    mask = reader.clear(item, geobox, held=row.held(item, ()))
                except SceneError as error:
                    self.drop(item, error)
                    continue
                clear[number] = clear[number] | mask if number in clear else mask
                readable.setdefault(number, []).append(item)
        best = sorted(readable, key=lambda number: (-int(clear[number].sum()), *self._rank(readable[number])))
        of_year: dict[int, list[int]] = {}
        for number in best:
            of_year.setdefault(readable[number][0]["year"], []).append(number)
        kept = sorted(number for numbers in of_year.values() for number in numbers[:most])
        return [(number, readable[number]) for number in kept]

    def _touching(self, bounds: tuple[float, float, float, float]) -> list[tuple[int, list[Item]]]:
        found = [(number, _within(group, bounds)) for number, group in enumerate(self._passes)]
        return [(number, items) for number, items in found if items]

    def _rank(self, items: Sequence[Item]) -> tuple[float, float, str]:
        """What decides between equally clear observations: cloud of the whole scene, nearness to the target day, id."""
        clouds = [100.0 if item.get("cloud_percent") is None else item["cloud_percent"] for item in items]
        return min(clouds), self._days_from_target(items), items[0]["id"]

    def _days_from_target(self, items: Sequence[Item]) -> float:
        moment = items[0].get("datetime")
        if moment is None:
            return 0.0
        return abs((dt.datetime.fromisoformat(moment.replace("Z", "+00:00")).date() - self._targets[items[0]["year"]]).days)

    def drop(self, item: Item, error: SceneError) -> None:
        if self.settings["on_scene_error"] == "fail":
            raise ValueError(f"{error}; set on_scene_error: drop to go on without such scenes") from None
        self.dropped[item["id"]] = str(error)

    def _image(
        self, reader: SceneReader, row: _Row, chunk: Window, chosen: Groups, geobox: GeoBox, roles: Sequence[str]
    ) -> Image:
        """The image of a chunk from what its scenes show; all missing where none shows anything."""
        fewest = self.settings["min_clear_count"]
        looks: dict[int, list[Look]] = {}
        for number, items in chosen:
            for item in items:
                needed = self.series.roles if self.is_earlier(item) else roles
                try:
                    look = reader.look(item, needed, geobox, held=row.held(item, needed))
                except SceneError as error:
                    self.drop(item, error)
                    continue
                if not self.is_earlier(item):
                    self.readable.add(item["id"])
                if look is not None:
                    looks.setdefault(number, []).append(self.level.of(look, chunk) if self.level else look)
        image = {name: np.full(chunk.shape, np.nan, "float32") for name in self.names(roles)}
        image["clear_count"] = np.zeros(chunk.shape, "int16")
        own = {number: found for number, found in looks.items() if not self.is_earlier(self._passes[number][0])}
        if own and self._distances:
            own = {number: self._with_distances(reader, number, found, geobox) for number, found in own.items()}
        if own:
            days = [self._days_from_target(self._passes[number]) for number in own]
            image |= self._reduced(list(own.values()), roles, days, geobox)
        if looks and self.series.bands:
            seen = Observations.of_looks(list(looks.values()), self.series.roles)
            dates = [np.datetime64(self._passes[number][0]["datetime"].rstrip("Z"), "s") for number in looks]
            image |= self.series.of(seen, dates, target=np.datetime64(self._targets[self.year], "s"), min_clear_count=fewest)
        return image

    def _with_distances(self, reader: SceneReader, number: int, looks: Sequence[Look], geobox: GeoBox) -> list[Look]:
        """Looks of an overpass with the distance to the nearest cloud that any of its granules shows, here or around.

        A granule that gives no pixel, because it is all cloud or ends beside the place, still says where clouds are.
        """
        box = geobox.boundingbox.buffered(FAR_FROM_CLOUD_M)
        distances = []
        for item in _within(self._passes[number], tuple(box)):
            try:
                distances.append(reader.cloud_distance(item, geobox))
            except SceneError as error:
                self.drop(item, error)
        nearest = np.minimum.reduce(distances)
        return [replace(look, cloud_distance_m=nearest) for look in looks]

    def _reduced(
        self, looks: Sequence[Sequence[Look]], roles: Sequence[str], days: Sequence[float], geobox: GeoBox
    ) -> Image:
        """One image from looks at a place, each group one overpass."""
        seen = Observations.of_looks(looks, roles, days_from_target=days)
        return reduce(seen, self.settings["reducer"], min_clear_count=self.settings["min_clear_count"])


class Backscatter(Season):
    """Radar: rims of overpasses cut, speckle filtered and dates reduced in linear power, which files hold as float32."""

    def reach_px(self, resolution_m: float) -> int:
        return reach_px(self.settings["speckle"], resolution_m)

    def scales(self, names: Sequence[str]) -> None:
        return None

    def _reduced(
        self, looks: Sequence[Sequence[Look]], roles: Sequence[str], days: Sequence[float], geobox: GeoBox
    ) -> Image:
        overpasses = [first_seen([{role: look.reflectance(role) for role in roles} for look in group]) for group in looks]
        return compose_backscatter(
            overpasses,
            reducer=self.settings["reducer"],
            speckle=self.settings["speckle"],
            resolution_m=geobox.transform.a,
            min_clear_count=self.settings["min_clear_count"],
            days_from_target=days,
        )


class Elevation(Season):
    """Tiles of an elevation model, joined without a seam: one raster for all years, float32 metres."""

    def names(self, roles: Sequence[str]) -> list[str]:
        return list(roles)

    def units(self, names: Sequence[str]) -> dict[str, str]:
        return {role: self.sensor.bands[role].units for role in names}

    def scales(self, names: Sequence[str]) -> None:
        return None

    def images(
        self, reader: SceneReader, study: Grid, window: Window, roles: Sequence[str]
    ) -> Iterator[tuple[Window, Image]]:
        for _, chunk in study.chunks(window):
            tiles, geobox = self.touching(study.bounds_of(chunk)), study.geobox_of(chunk)  # a tile just beside touches
            yield chunk, {role: self._joined(reader, tiles, role, geobox) for role in roles}

    def _joined(self, reader: SceneReader, tiles: Sequence[Item], role: str, geobox: GeoBox) -> np.ndarray:
        total, weight = np.zeros(geobox.shape, "float32"), np.zeros(geobox.shape, "float32")
        for item in tiles:
            try:
                part, share = reader.weighed(item, role, geobox)
            except SceneError as error:
                self.drop(item, error)
                continue
            self.readable.add(item["id"])
            total += part
            weight += share
        return np.divide(total, weight, out=np.full(geobox.shape, np.nan, "float32"), where=weight >= MIN_CLEAR_SHARE - 1e-5)


SEASONS = {"optical": Season, "radar": Backscatter, "elevation": Elevation}
"""How scenes become an image, by the sensor's kind."""


class _SeriesOf:
    """What a study asks of the dates of its indices (`pipeline.optical.series`); nothing where it asks nothing.

    The module is imported by its name as text: the digest of this step's code then does not hold the indices' formulas, and
    a formula that changes reruns the composites of the sensors that ask for it (`Plan.composite_code`), not all of them.
    """

    def __init__(self, settings: Mapping[str, Any], sensor: str) -> None:
        self._asked = settings.get("series") or {}
        self._seen_by = "oli" if settings.get("harmonise", "none") != "none" else None
        self._sensor, self.years = sensor, int(settings.get("series_years", 1)) if self._asked else 1
        self.roles: list[str] = []
        self.bands: list[str] = []
        self.units: dict[str, str] = {}
        self.scales: dict[str, float] = {}
        if self._asked:
            self._module = importlib.import_module("pipeline.optical.series")
            self.roles = self._module.series_roles(self._asked, sensor, self._seen_by)
            self.bands = list(self._module.series_bands(self._asked, years=self.years))
            self.units, self.scales = self._module.units_and_scales(self._asked, years=self.years)

    def of(self, seen: Observations, dates: Sequence[np.datetime64], **options: Any) -> Image:
        about = {"sensor": self._sensor, "seen_by": self._seen_by, "years": self.years}
        return self._module.statistics(seen, dates, self._asked, **about, **options)


class Levelling:
    """Looks with their slopes lit as level ground, by the c of each scene and band; slopes of a chunk are kept for its dates."""

    def __init__(self, found: Mapping[str, Any], study: Grid, elevation: str | Path, method: str) -> None:
        self._scenes, self._study, self._method = found["scenes"], study, method
        self._elevation = store.Mosaic(elevation, study)
        self._at: Window | None = None
        self._relief: Relief | None = None

    def of(self, look: Look, chunk: Window) -> Look:
        """The same look, its bands as corrected reflectance; a band without a c stays as it is."""
        scene = self._scenes.get(look.scene)
        if scene is None:
            raise ValueError(f"the topographic correction knows no scene {look.scene}: run the rule topography again")
        sun, cs = Sun(**scene["sun"]), {role: band["c"] for role, band in scene["bands"].items()}
        numbers, encoding = dict(look.numbers), dict(look.encoding)
        for role, values in look.numbers.items():
            if cs[role] is not None:
                numbers[role] = corrected(values, encoding[role], self._of_chunk(chunk), sun, cs[role], self._method)
                encoding[role] = (1.0, 0.0)
        return replace(look, numbers=numbers, encoding=encoding, limits=(-np.inf, np.inf))

    def _of_chunk(self, chunk: Window) -> Relief:
        if chunk != self._at:
            self._at, self._relief = chunk, relief_of(self._elevation, chunk)
        return self._relief


def relief_of(elevation: store.Mosaic, window: Window) -> Relief:
    """The slopes of a window from the elevation on the study's grid."""
    wide = Window(window.row0 - HALO_PX, window.row1 + HALO_PX, window.col0 - HALO_PX, window.col1 + HALO_PX)
    return Relief.of(elevation.read(wide, ["elevation"])["elevation"], elevation.grid.resolution_m)


@dataclass(frozen=True)
class _Row:
    """A row of chunks: the observations each chunk uses, and the pixels that are read for them."""

    chosen: dict[Window, Groups]
    answers: dict[str, Any]

    def held(self, item: Item, roles: Sequence[str]) -> dict[str, Kept]:
        """What is in memory of a scene's bands, and of its quality layer where it has one."""
        layer = [item["quality"]["href"]] if item["quality"] else []
        hrefs = [*layer, *(item["bands"][role]["href"] for role in roles if role in item["bands"])]
        found = {href: self.answers[href].result() for href in hrefs if href in self.answers}
        return {href: kept for href, kept in found.items() if kept is not None}


class _Tally:
    """How many pixels are missing and the median clear count, gathered chunk by chunk."""

    def __init__(self, roles: Sequence[str]) -> None:
        self._role = roles[0] if len(roles) else None
        self._pixels = self._missing = 0
        self._counts = np.zeros(1, "int64")

    def add(self, image: Image) -> None:
        first = next(iter(image.values()))
        self._pixels += first.size
        self._missing += int(np.isnan(image[self._role]).sum()) if self._role else 0
        if "clear_count" not in image:
            return
        counts = np.bincount(image["clear_count"].ravel(), minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts

    @property
    def missing_share(self) -> float:
        return self._missing / max(self._pixels, 1)

    @property
    def clear_count(self) -> str:
        """The median clear count in words; nothing where there is no count."""
        if not self._counts.sum():
            return ""
        below = np.cumsum(self._counts)
        middle = [int(np.searchsorted(below, place, side="right")) for place in ((below[-1] - 1) // 2, below[-1] // 2)]
        return f", median clear count {sum(middle) / 2:g}"


def _within(items: Sequence[Item], bounds: tuple[float, float, float, float]) -> list[Item]:
    return [item for item in items if items_touching({"items": [item]}, item["year"], bounds)]


def _target_day(target: str | None, year: int, season: Sequence[str]) -> dt.date:
    """The target day in the season of a year; the season's middle where none is set."""
    first, last = first_day(year, tuple(season)), last_day(year, tuple(season))
    if target is None:
        return first + (last - first) / 2
    day = first_day(year, (target, target))
    return day if day >= first or first.year == last.year else first_day(year + 1, (target, target))


def _strips(study: Grid, window: Window, chunks_wide: int) -> list[Window]:
    """A block cut into strips from north to south."""
    width = chunks_wide * study.chunk_px
    edges = [*range(window.col0, window.col1, width), window.col1]
    return [Window(window.row0, window.row1, left, right) for left, right in pairwise(edges)]


def _rows_of(study: Grid, strip: Window) -> list[list[Window]]:
    rows: dict[int, list[Window]] = {}
    for _, chunk in study.chunks(strip):
        if strip.col0 <= chunk.col0 < strip.col1:
            rows.setdefault(chunk.row0, []).append(chunk)
    return list(rows.values())
