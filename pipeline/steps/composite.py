"""Make one clear image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.scenes import REMOTE_READS, Look, SceneError, SceneReader, observations_of
from catalogs.search import first_day, items_touching, last_day, with_local_paths
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.optical.composite import Image, Observations, band_names, reduce, reducers_named

log = logging.getLogger(__name__)

REFLECTANCE_SCALE = 1e-4

Item = Mapping[str, Any]


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
        self._scratch: dict[str, np.ndarray] = {}
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
        """Each chunk of a block and its image; chunks that share tiles of the files follow one another."""
        chunks = sorted((chunk for _, chunk in study.chunks(window)), key=_nearby(study.chunk_px))
        distances = self._distances

        def jobs() -> Iterator[tuple[Window, int, Item | None]]:
            for chunk, groups in self._chosen(reader, study, chunks):
                for number, items in groups:
                    yield from ((chunk, number, item) for item in items)
                yield chunk, -1, None  # the chunk is complete

        def work(job: tuple[Window, int, Item | None]) -> Look | None:
            chunk, _, item = job
            return reader.look(item, roles, study.geobox_of(chunk), cloud_distance=distances) if item else None

        looks: dict[int, list[Look]] = {}
        for (chunk, number, item), look in reader.in_order(work, jobs()):
            if item is None:
                yield chunk, self._image(looks, roles, chunk.shape)
                looks = {}
            elif isinstance(look, SceneError):
                self._drop(item, look)
            elif look is not None:
                looks.setdefault(number, []).append(look)

    def _chosen(
        self, reader: SceneReader, study: Grid, chunks: Sequence[Window]
    ) -> Iterator[tuple[Window, list[tuple[int, list[Item]]]]]:
        """Numbered observations to read for each chunk: all that touch it, or the clearest of them."""
        most = self.settings.get("max_scenes")
        if not most:
            for chunk in chunks:
                yield chunk, self._touching(study.bounds_of(chunk))
            return

        def jobs() -> Iterator[tuple[Window, int, Item | None]]:
            for chunk in chunks:
                for number, items in self._touching(study.bounds_of(chunk)):
                    yield from ((chunk, number, item) for item in items)
                yield chunk, -1, None

        def work(job: tuple[Window, int, Item | None]) -> np.ndarray | None:
            chunk, _, item = job
            return reader.clear(item, study.geobox_of(chunk)) if item else None

        clear: dict[int, np.ndarray] = {}
        readable: dict[int, list[Item]] = {}
        for (chunk, number, item), mask in reader.in_order(work, jobs()):
            if item is None:
                best = sorted(readable, key=lambda number: (-int(clear[number].sum()), *self._rank(readable[number])))
                yield chunk, [(number, readable[number]) for number in sorted(best[:most])]
                clear, readable = {}, {}
            elif isinstance(mask, SceneError):
                self._drop(item, mask)
            else:
                clear[number] = clear[number] | mask if number in clear else mask
                readable.setdefault(number, []).append(item)

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

    def _image(self, looks: Mapping[int, list[Look]], roles: Sequence[str], shape: tuple[int, int]) -> Image:
        """The image of a chunk from what its scenes show; all missing where none shows anything."""
        settings = self.settings
        if not looks:
            names = band_names(roles, settings["reducer"])
            return {name: np.full(shape, np.nan, "float32") for name in names} | {"clear_count": np.zeros(shape, "int16")}
        numbers = sorted(looks)
        seen = Observations.of_looks(
            [looks[number] for number in numbers],
            roles,
            days_from_target=[self._days_from_target(self._passes[number]) for number in numbers],
            scratch=self._scratch,
        )
        return reduce(seen, settings["reducer"], min_clear_count=settings["min_clear_count"])


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


def _nearby(chunk_px: int) -> Callable[[Window], int]:
    """Orders chunks along a Z-shaped curve, so that those that share tiles of a file come soon after one another."""

    def place(chunk: Window) -> int:
        row, col = chunk.row0 // chunk_px, chunk.col0 // chunk_px
        return sum(((row >> bit & 1) << (2 * bit + 1)) | ((col >> bit & 1) << (2 * bit)) for bit in range(24))

    return place
