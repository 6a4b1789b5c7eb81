"""Make one clear image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.scenes import REMOTE_READS, Feed, Kept, Look, SceneError, SceneReader, observations_of
from catalogs.search import first_day, items_touching, last_day, with_local_paths
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.optical.composite import Image, Observations, band_names, reduce, reducers_named

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
    year: int,
    block: str,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Sequence[str],
) -> None:
    """Write the composite of a block: reflectance by role as int16 x 1e-4, and `clear_count`.

    Each chunk chooses and reduces its own scenes, so that the block size changes no pixel; memory holds a few chunks.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    settings : mapping
        `pipeline.config.Sensor` as plain values: reducer, min_clear_count, max_scenes, target_day, upsampling,
        on_scene_error.
    roles : sequence of str
        Bands that the study's predictors need.

    Raises
    ------
    ValueError
        When the frozen scenes are of other years, or a scene cannot be read and `on_scene_error` is `fail` (it names
        scene and file).
    """
    study = Grid(**grid)
    window = study.block_window(block)
    season = Season(store.read_json(scenes), Path(scenes), sensor, year, settings)
    names = band_names(roles, settings["reducer"])
    tally = _Tally(roles)
    with (
        season.reader() as reader,
        store.raster_by_window(
            raster,
            names,
            geobox=study.geobox_of(window),
            units=dict.fromkeys(names, "1"),
            scales={**dict.fromkeys(names, REFLECTANCE_SCALE), "clear_count": 1.0},
        ) as file,
    ):
        for chunk, image in season.images(reader, study, window, roles):
            file.write(chunk.within(window), image)
            tally.add(image)
    for scene, reason in season.dropped.items():
        log.warning("dropped in %s: %s", block, reason.removeprefix(f"scene {scene}: "))
    used = sum(map(len, season.touching(study.bounds_of(window)))) - len(season.dropped)
    say = log.warning if tally.missing_share == 1.0 else log.info
    say(
        "%s %d, block %s: %d scenes, median clear count %g, %.1f %% of pixels missing, %d scenes dropped",
        sensor, year, block, used, tally.median_count, 100 * tally.missing_share, len(season.dropped),
    )  # fmt: skip


class Season:
    """The scenes of a sensor and year, and how a place's become one image; `dropped` holds what could not be read."""

    def __init__(
        self, frozen: Mapping[str, Any], file: Path, sensor: str, year: int, settings: Mapping[str, Any]
    ) -> None:
        if year not in frozen["query"]["years"]:
            held = ", ".join(map(str, frozen["query"]["years"]))
            raise ValueError(f"{file} holds scenes of {held}, not of {year}: search again for {sensor}")
        frozen = with_local_paths(frozen, file.resolve().parent)
        self.sensor, self.settings = sensor_named(sensor), settings
        mine = [item for item in frozen["items"] if item["year"] == year]
        self._passes = observations_of(mine)  # of the whole study: what belongs together is the same in every chunk
        self._target = _target_day(settings.get("target_day"), year, frozen["query"].get("season", ("01-01", "12-31")))
        self._distances = any(one.cloud_distance for one in reducers_named(settings["reducer"]))
        self._remote = any("://" in item["quality"]["href"] for item in mine)
        self.dropped: dict[str, str] = {}

    def reader(self) -> SceneReader:
        """Reads this season's scenes; over a network many at a time."""
        reads = {"reads": REMOTE_READS} if self._remote else {}
        return SceneReader(self.sensor, upsampling=self.settings.get("upsampling", "bilinear"), **reads)

    def touching(self, bounds: tuple[float, float, float, float]) -> list[list[Item]]:
        """Observations whose scenes touch a place."""
        return [items for _, items in self._touching(bounds)]

    def images(
        self, reader: SceneReader, study: Grid, window: Window, roles: Sequence[str]
    ) -> Iterator[tuple[Window, Image]]:
        """Each chunk of a block and its image, strip by strip from north to south."""
        touching = [item for _, items in self._touching(study.bounds_of(window)) for item in items]
        reader.open(touching, roles)
        for strip in _strips(study, window, self._strip_chunks(reader, study, window, touching, roles)):
            feed = reader.feed(study.geobox_of(strip))
            for row in self._rows(reader, feed, study, strip, roles):
                for chunk, chosen in row.chosen.items():
                    yield chunk, self._image(reader, row, chunk, chosen, study.geobox_of(chunk), roles)
                row.answers.clear()  # the pixels of two rows would be in memory while the next one is read

    def _strip_chunks(
        self, reader: SceneReader, study: Grid, window: Window, items: Sequence[Item], roles: Sequence[str]
    ) -> int:
        """How many chunks wide a strip may be for its scenes to fit into `HELD_MB`."""
        _, chunk = next(study.chunks(window))
        rows = 2 if self._remote else 1  # one is used while the next is read
        chunk_mb = reader.held_bytes(items, roles, study.geobox_of(chunk)) * rows / 2**20
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
        whole = study.geobox_of(Window(chunks[0].row0, chunks[0].row1, chunks[0].col0, chunks[-1].col1))
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
        return abs((dt.datetime.fromisoformat(moment.replace("Z", "+00:00")).date() - self._target).days)

    def _drop(self, item: Item, error: SceneError) -> None:
        if self.settings["on_scene_error"] == "fail":
            raise ValueError(f"{error}; set on_scene_error: drop to go on without such scenes") from None
        self.dropped[item["id"]] = str(error)

    def _image(
        self, reader: SceneReader, row: _Row, chunk: Window, chosen: Groups, geobox: GeoBox, roles: Sequence[str]
    ) -> Image:
        """The image of a chunk from what its scenes show; all missing where none shows anything."""
        settings = self.settings
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
            names = band_names(roles, settings["reducer"])
            nothing = {name: np.full(chunk.shape, np.nan, "float32") for name in names}
            return nothing | {"clear_count": np.zeros(chunk.shape, "int16")}
        seen = Observations.of_looks(
            list(looks.values()),
            roles,
            days_from_target=[self._days_from_target(self._passes[number]) for number in looks],
        )
        return reduce(seen, settings["reducer"], min_clear_count=settings["min_clear_count"])


@dataclass(frozen=True)
class _Row:
    """A row of chunks: the observations each chunk uses, and the pixels that are read for them."""

    chosen: dict[Window, Groups]
    answers: dict[str, Any]

    def held(self, item: Item, roles: Sequence[str]) -> dict[str, Kept]:
        """What is in memory of a scene's quality layer and bands."""
        hrefs = [item["quality"]["href"], *(item["bands"][role]["href"] for role in roles if role in item["bands"])]
        found = {href: self.answers[href].result() for href in hrefs if href in self.answers}
        return {href: kept for href, kept in found.items() if kept is not None}


class _Tally:
    """How many pixels are missing and the median clear count, gathered chunk by chunk."""

    def __init__(self, roles: Sequence[str]) -> None:
        self._role = roles[0] if len(roles) else None
        self._missing = 0
        self._counts = np.zeros(1, "int64")

    def add(self, image: Image) -> None:
        counts = np.bincount(image["clear_count"].ravel(), minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self._missing += int(np.isnan(image[self._role]).sum()) if self._role else 0

    @property
    def missing_share(self) -> float:
        return self._missing / max(int(self._counts.sum()), 1)

    @property
    def median_count(self) -> float:
        below = np.cumsum(self._counts)
        middle = [int(np.searchsorted(below, place, side="right")) for place in ((below[-1] - 1) // 2, below[-1] // 2)]
        return sum(middle) / 2


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
