"""Make one image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.remote import Source
from catalogs.scenes import MIN_CLEAR_SHARE, REMOTE_READS, Feed, Kept, Look, SceneError, SceneReader, observations_of
from catalogs.search import first_day, items_touching, last_day, with_local_paths
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.optical.composite import Image, Observations, band_names, reduce, reducers_named
from pipeline.radar.backscatter import compose_backscatter, first_seen, reach_px

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

log = logging.getLogger(__name__)

REFLECTANCE_SCALE = 1e-4

HELD_MB = 400
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
) -> None:
    """Write the composite of a block: bands by role, and `clear_count`.

    Reflectance is int16 x 1e-4; backscatter is linear power, float32; elevation, in metres and float32, has no count and is
    the same in every year.

    Each chunk chooses and reduces its own scenes, so that the block size changes no pixel; memory holds a few chunks. A
    scene that cannot be read in one chunk is dropped from the whole block, which is then made again without it.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    year : int or str
        `static` for a sensor that shows every year alike.
    settings : mapping
        `pipeline.config.Sensor` as plain values: reducer, min_clear_count, max_scenes, target_day, upsampling,
        cloud_dilation_m, speckle, on_scene_error, private_hosts, data_folders.
    roles : sequence of str
        Bands that the study's predictors need.
    dropped : path, optional
        Where it is written how many scenes were used and which were dropped, with the reason.

    Raises
    ------
    ValueError
        When the frozen scenes are of other years; when a scene cannot be read and `on_scene_error` is `fail` (it names
        scene and file), or when none of the block's scenes can.
    """
    study = Grid(**grid)
    window = study.block_window(block)
    season = SEASONS[sensor_named(sensor).kind](store.read_json(scenes), Path(scenes), sensor, year, settings)
    names = season.names(roles)
    touching = season.touching(study.bounds_of(window))
    known: set[str] | None = None
    while known != set(season.dropped):
        known = set(season.dropped)
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
            if touching and len(season.dropped) == len(touching):
                raise ValueError(
                    f"none of the {len(touching)} scenes of {sensor} in {year} can be read in block {block}; the first: "
                    f"{next(iter(season.dropped.values()))}"
                )
    reasons = {scene: reason.removeprefix(f"scene {scene}: ") for scene, reason in season.dropped.items()}
    for scene, reason in reasons.items():
        log.warning("%s dropped in %s: %s", scene, block, reason)
    used = len(touching) - len(reasons)
    if dropped is not None:
        told = [{"id": scene, "reason": reasons[scene]} for scene in sorted(reasons)]
        store.write_json(dropped, {"used": used, "dropped": told})
    say = log.warning if tally.missing_share == 1.0 else log.info
    say(
        "%s %s, block %s: %d scenes%s, %.1f %% of pixels missing, %d scenes dropped",
        sensor, year, block, used, tally.clear_count, 100 * tally.missing_share, len(reasons),
    )  # fmt: skip


class Season:
    """The scenes of a sensor and year, and how a place's become one image; `dropped` holds what could not be read."""

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
        self.sensor, self.settings = sensor_named(sensor).with_dilation(settings.get("cloud_dilation_m")), settings
        mine = [item for item in frozen["items"] if item["year"] == (None if static else year)]
        self._passes = observations_of(mine)  # of the whole study: what belongs together is the same in every chunk
        season = frozen["query"].get("season", ("01-01", "12-31"))
        self._target = None if static else _target_day(settings.get("target_day"), year, season)
        self._distances = any(one.cloud_distance for one in reducers_named(settings["reducer"]))
        self._remote = any("://" in band["href"] for item in mine for band in item["bands"].values())
        self.dropped: dict[str, str] = {}

    def reach_px(self, resolution_m: float) -> int:
        """How far around a pixel its image looks."""
        return 0

    def names(self, roles: Sequence[str]) -> list[str]:
        """Bands of its file."""
        return band_names(roles, self.settings["reducer"])

    def units(self, names: Sequence[str]) -> dict[str, str]:
        """Unit of each band of its file."""
        return dict.fromkeys(names, "1")

    def scales(self, names: Sequence[str]) -> dict[str, float] | None:
        """What a whole number of each band of its file stands for; None where the file holds float32."""
        return {**dict.fromkeys(names, REFLECTANCE_SCALE), "clear_count": 1.0}

    def reader(self) -> SceneReader:
        """Reads this season's scenes; over a network many at a time."""
        reads = {"reads": REMOTE_READS} if self._remote else {}
        return SceneReader(self.sensor, self.source, upsampling=self.settings.get("upsampling", "bilinear"), **reads)

    def touching(self, bounds: tuple[float, float, float, float]) -> list[Item]:
        """Scenes that touch a place and have not been dropped."""
        return [item for _, items in self._touching(bounds) for item in items]

    def images(
        self, reader: SceneReader, study: Grid, window: Window, roles: Sequence[str]
    ) -> Iterator[tuple[Window, Image]]:
        """Each chunk of a block and its image, strip by strip from north to south."""
        touching = self.touching(study.bounds_of(window))
        reader.open(touching, roles)
        for strip in _strips(study, window, self._strip_chunks(reader, study, window, touching, roles)):
            feed = reader.feed(self._around(study, strip))
            for row in self._rows(reader, feed, study, strip, roles):
                for chunk, chosen in row.chosen.items():
                    yield chunk, self._image(reader, row, chunk, chosen, self._around(study, chunk), roles)

    def _around(self, study: Grid, window: Window) -> GeoBox:
        """A window's place on the ground, with what its image looks at around it."""
        n = self.reach_px(study.resolution_m)
        return study.geobox_of(Window(window.row0 - n, window.row1 + n, window.col0 - n, window.col1 + n))

    def _strip_chunks(
        self, reader: SceneReader, study: Grid, window: Window, items: Sequence[Item], roles: Sequence[str]
    ) -> int:
        """How many chunks wide a strip may be for its scenes to fit into `HELD_MB`."""
        _, chunk = next(study.chunks(window))
        rows = 2 if self._remote else 1  # one is used while the next is read
        chunk_mb = reader.held_bytes(items, roles, self._around(study, chunk)) * rows / 2**20
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
        groups = {chunk: self._touching(study.bounds_of(chunk)) for chunk in chunks}
        items = {item["id"]: item for found in groups.values() for _, group in found for item in group}
        answers = feed.quality(items.values(), roles, whole)
        row = _Row({}, answers)
        for chunk, found in groups.items():
            row.chosen[chunk] = self._chosen(reader, row, found, study.geobox_of(chunk))
        wanted = {item["id"]: item for found in row.chosen.values() for _, group in found for item in group}
        answers |= feed.bands(wanted.values(), roles, whole)
        return row

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
                    self._drop(item, error)
                    continue
                clear[number] = clear[number] | mask if number in clear else mask
                readable.setdefault(number, []).append(item)
        best = sorted(readable, key=lambda number: (-int(clear[number].sum()), *self._rank(readable[number])))
        return [(number, readable[number]) for number in sorted(best[:most])]

    def _touching(self, bounds: tuple[float, float, float, float]) -> list[tuple[int, list[Item]]]:
        left = [[item for item in group if item["id"] not in self.dropped] for group in self._passes]
        found = [(number, _within(group, bounds)) for number, group in enumerate(left)]
        return [(number, items) for number, items in found if items]

    def _rank(self, items: Sequence[Item]) -> tuple[float, float, str]:
        """What decides between equally clear observations: cloud of the whole scene, nearness to the target day, id."""
        clouds = [100.0 if item.get("cloud_percent") is None else item["cloud_percent"] for item in items]
        return min(clouds), self._days_from_target(items), items[0]["id"]

    def _days_from_target(self, items: Sequence[Item]) -> float:
        moment = items[0].get("datetime")
        if moment is None:
            return 0.0
        return abs((dt.datetime.fromisoformat(moment.replace("Z", "+00:00")).date() - self._target).days)

    def _drop(self, item: Item, error: SceneError) -> None:
        if self.settings["on_scene_error"] == "fail":
            raise ValueError(f"{error}; set on_scene_error: drop to go on without such scenes") from None
        self.dropped[item["id"]] = str(error)

    def _image(
        self, reader: SceneReader, row: _Row, chunk: Window, chosen: Groups, geobox: GeoBox, roles: Sequence[str]
    ) -> Image:
        """The image of a chunk from what its scenes show; all missing where none shows anything."""
        looks: dict[int, list[Look]] = {}
        for number, items in chosen:
            for item in items:
                try:
                    look = reader.look(
                        item, roles, geobox, held=row.held(item, roles), cloud_distance=self._distances
                    )
                except SceneError as error:
                    self._drop(item, error)
                    continue
                if look is not None:
                    looks.setdefault(number, []).append(look)
        if not looks:
            nothing = {name: np.full(chunk.shape, np.nan, "float32") for name in self.names(roles)}
            return nothing | {"clear_count": np.zeros(chunk.shape, "int16")}
        days = [self._days_from_target(self._passes[number]) for number in looks]
        return self._reduced(list(looks.values()), roles, days, geobox)

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
                self._drop(item, error)
                continue
            total += part
            weight += share
        return np.divide(total, weight, out=np.full(geobox.shape, np.nan, "float32"), where=weight >= MIN_CLEAR_SHARE - 1e-5)


SEASONS = {"optical": Season, "radar": Backscatter, "elevation": Elevation}
"""How scenes become an image, by the sensor's kind."""


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
