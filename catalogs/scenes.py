"""Scenes on the study's grid: digital numbers read, masked at the source and brought onto its pixels.

A pixel's value depends on the scene and on the pixel's own place, never on the window that is read with it.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from catalogs import remote
from catalogs.sensors import Sensor

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from odc.geo.geobox import GeoBox

MIN_CLEAR_SHARE = 0.5
"""A pixel of the study's grid has a value when at least this share of it is clear."""

FAR_FROM_CLOUD_M = 1500.0
"""Beyond this a cloud no longer matters to `Look.cloud_distance_m`: 50 pixels of 30 m (Griffiths et al. 2013)."""

SAME_PASS_S = 60.0
"""Scenes of one platform that follow one another within this time are parts of one overpass, cut up by the provider."""

UPSAMPLING = ("bilinear", "nearest")
"""How bands coarser than the grid reach its pixels."""

REMOTE_READS, LOCAL_READS = 16, 1
"""Files read at the same time: a network's delays overlap, a local file's decoding keeps one core busy."""

DECODERS = 2
"""Threads that decode what those of a network have fetched: more would only wake one another up, and each would look up
coordinate reference systems for itself."""

AHEAD_BYTES = 64 * 2**20
"""Room for what is fetched and not decoded yet; who finds none waits."""

DEGREE_M = 111_320.0
"""Metres per degree of latitude."""

OPEN_FILES = 200
DECODE_OPTIONS = {"GDAL_NUM_THREADS": "1", "GDAL_CACHEMAX": 24 * 2**20}
"""One thread per read, and little room for tiles: `Feed` keeps what is needed again."""


class SceneError(ValueError):
    """A scene that cannot be read or is not what its item says; a caller may drop it and count."""


@dataclass(frozen=True)
class Look:
    """What one scene shows of a window of the grid.

    `numbers` are digital numbers by role (rows, cols): as the file holds them where its pixels are the grid's own, else
    float32 means of several, anything where `seen` is false. `encoding` is scale and offset by role: reflectance =
    scale x number + offset. `seen` (rows, cols) is true where every band has a clear value; `limits` are the least and
    the largest valid number. `cloud_distance_m` (rows, cols) is present when it was asked for.
    """

    scene: str
    numbers: dict[str, np.ndarray]
    encoding: dict[str, tuple[float, float]]
    seen: np.ndarray
    limits: tuple[float, float]
    cloud_distance_m: np.ndarray | None = None

    def reflectance(self, role: str) -> np.ndarray:
        """Clear-sky surface reflectance (rows, cols) of a band, float32, missing NaN."""
        return _reflectance(self.numbers[role], self.seen, *self.encoding[role])


def _reflectance(numbers: np.ndarray, valid: np.ndarray, scale: float, offset: float) -> np.ndarray:
    value = np.float32(offset) + np.float32(scale) * numbers.astype("float32")
    return np.where(valid, value, np.float32(np.nan))


def read_scene(
    item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox, *, sensor: Sensor, **options: Any
) -> dict[str, np.ndarray]:
    """Clear-sky surface reflectance of one frozen scene; see `SceneReader.read`."""
    with SceneReader(sensor, **options) as reader:
        return reader.read(item, roles, geobox)


def observations_of(items: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Items gathered into observations: granules of one overpass are one look at the ground, in the order of their ids.

    One overpass: the same platform, each within `SAME_PASS_S` of the one before, so that where a study ends decides
    nothing. Observations come by time and id. Where granules overlap they show the same photons twice, which would weigh
    double in a median.
    """

    def moment(item: Mapping[str, Any]) -> str:
        return item.get("datetime") or ""

    gathered: list[list[Mapping[str, Any]]] = []
    open_pass: dict[str, list[Mapping[str, Any]]] = {}
    for item in sorted(items, key=lambda item: (moment(item), item["id"])):
        platform = item.get("platform") or ""
        last = open_pass.get(platform) if platform and moment(item) else None
        if last is not None and _seconds(moment(last[-1]), moment(item)) <= SAME_PASS_S:
            last.append(item)
            continue
        open_pass[platform] = [item]
        gathered.append(open_pass[platform])
    return [sorted(group, key=lambda item: item["id"]) for group in gathered]


def _seconds(first: str, second: str) -> float:
    return abs((_moment(second) - _moment(first)).total_seconds())


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep what a chunk frees for the next one; elsewhere nothing.

    Arrays of a chunk are a megabyte each: given back and asked for again, the kernel clears every page anew, which is one
    second in twenty of a composite's time. What is kept is no more than what was in use at once.
    """
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError, TypeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(trim_threshold, 512 * 2**20)
        allocator.mallopt(mmap_threshold, 32 * 2**20)


class SceneReader:
    """Reads frozen scenes window by window and keeps their files open in between; a context manager.

    Several threads may read at once: a file is opened once and read by one of them at a time. `upsampling` says how
    bands coarser than the grid reach its pixels: `bilinear`, or `nearest` where only observed numbers are wanted.
    """

    def __init__(
        self,
        sensor: Sensor,
        source: remote.Source | None = None,
        *,
        upsampling: str = "bilinear",
        reads: int = LOCAL_READS,
    ) -> None:
        """`source`: where the scenes' hrefs come from, which decides what they may point to; None trusts local files."""
        if upsampling not in UPSAMPLING:
            raise ValueError(f"upsampling must be {' or '.join(UPSAMPLING)}, got {upsampling!r}")
        self.sensor, self.upsampling, self.reads = sensor, upsampling, reads
        self.source = source or remote.Source()
        self._files: OrderedDict[str, remote.Raster] = OrderedDict()
        self._rasters: dict[str, _Raster | SceneError] = {}
        self._plans: OrderedDict[tuple, _Plan] = OrderedDict()
        self._reaches: dict[tuple, tuple[_Window, dict[str, _Window]]] = {}
        self._tables: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._decoders: ThreadPoolExecutor | None = None
        self._ahead = _Room(AHEAD_BYTES)

    def __enter__(self) -> SceneReader:
        from concurrent.futures import ThreadPoolExecutor

        self._options = self._environment()
        _keep_freed_memory()
        if self.reads > 1:
            self._pool = ThreadPoolExecutor(self.reads, "reads", self._environment)
            self._decoders = ThreadPoolExecutor(DECODERS, "decodes", self._environment)
        return self

    def __exit__(self, *problem: Any) -> None:
        for pool in (self._pool, self._decoders):  # what is being fetched may still wait for what is being decoded
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        while self._files:
            self._files.popitem()[1].close()
        self._options.__exit__(*problem)

    def _environment(self) -> Any:
        """GDAL's options, entered; a thread has its own."""
        import rasterio

        options = rasterio.Env(**remote.options(self.source.provider) | DECODE_OPTIONS)
        options.__enter__()
        return options

    def read(self, item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox) -> dict[str, np.ndarray]:
        """Clear-sky surface reflectance of one scene on a window of the grid.

        Parameters
        ----------
        item : mapping
            An item as `find_scenes` freezes it, with hrefs that can be opened from here.
        roles : sequence of str
            Bands to read.
        geobox : GeoBox
            North-up grid of square pixels.

        Returns
        -------
        dict of role to float32 array (rows, cols)
            Reflectance; NaN outside the scene and where less than half of the pixel is clear. Finer pixels are
            averaged by area over their clear part, coarser ones interpolated as `upsampling` says.

        Raises
        ------
        SceneError
            When a file is missing, damaged, or not the kind of raster the sensor delivers; it names scene and file.
        """
        image = {}
        for role, (numbers, valid) in self._bands(item, roles, geobox).items():
            band = item["bands"][role]
            image[role] = _reflectance(numbers, valid, band["scale"], band["offset"])
        return image

    def look(
        self,
        item: Mapping[str, Any],
        roles: Sequence[str],
        geobox: GeoBox,
        *,
        held: Held | None = None,
        cloud_distance: bool = False,
    ) -> Look | None:
        """What one scene shows of a window, as digital numbers; None when it shows nothing clear.

        Parameters as of `read`. Pixels that are in `held` are not read again; `cloud_distance` asks for the distance to
        the nearest cloud or shadow as well.

        Raises
        ------
        SceneError
            As `read`.
        """
        if not roles:
            return None
        numbers, seen = {}, None
        for role, (values, valid) in self._bands(item, roles, geobox, held).items():
            numbers[role] = values
            seen = valid if seen is None else np.logical_and(seen, valid, out=seen)
        if seen is None or not seen.any():
            return None
        encoding = {role: (item["bands"][role]["scale"], item["bands"][role]["offset"]) for role in roles}
        distance = self.cloud_distance(item, geobox) if cloud_distance else None
        return Look(item["id"], numbers, encoding, seen, self.sensor.valid_dn, distance)

    def clear(self, item: Mapping[str, Any], geobox: GeoBox, *, held: Held | None = None) -> np.ndarray:
        """True (rows, cols) where the quality layer alone calls a window's pixel clear, nearest neighbour.

        Of a sensor without such a layer, where its first band has a value.
        """
        if not item["quality"]:
            role = next(iter(item["bands"]))
            return self._bands(item, [role], geobox, held)[role][1]
        raster = self._raster(item, item["quality"]["href"])
        plan = self._plan(item, [raster], geobox)
        return plan.samples[raster.place].nearest(self._masks(item, plan, held)[raster.place])

    def weighed(self, item: Mapping[str, Any], role: str, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """A band's share of each pixel of a window, for tiles that continue one another.

        Returns
        -------
        total, weight : float32 arrays (rows, cols)
            Sum of weight x value over the valid pixels of the file that make up a pixel, and the sum of those weights: 1
            where the file holds the whole pixel. Sums over tiles, divided by one another, are what one file of all tiles
            would give, so that no seam shows; where tiles overlap they are averaged. Pixels larger than the file's are
            means over their area: of another CRS of bilinear samples half a pixel of the file apart.

        Raises
        ------
        SceneError
            As `read`.
        """
        raster = self._band_raster(item, role)
        ratio = 1.0 if raster.crs == _wkt(geobox) else _ratio(raster, geobox)
        finer = min(2 * math.ceil(ratio), MOST_FINER)
        if ratio <= 1.01:
            return self._weighed(item, role, raster, geobox)
        total, weight = np.empty(geobox.shape, "float32"), np.empty(geobox.shape, "float32")
        step = max(FINER_ROWS // finer, 1)
        for row in range(0, geobox.shape[0], step):
            strip = geobox[row : min(row + step, geobox.shape[0])]
            samples = self._weighed(item, role, raster, strip.zoom_out(1 / finer))
            for whole, part in zip((total, weight), samples, strict=True):
                whole[row : row + step] = _mean_of_squares(part, finer)
        return total, weight

    def _weighed(
        self, item: Mapping[str, Any], role: str, raster: _Raster, geobox: GeoBox
    ) -> tuple[np.ndarray, np.ndarray]:
        plan = self._plan(item, [raster], geobox)
        samples = plan.samples[raster.place]
        numbers, valid = self._valid_numbers(item, role, raster, samples.window, self._masks(item, plan, None)[raster.place])
        every = np.ones(valid.shape, bool)
        total, _ = samples.bring(np.where(valid, numbers, 0).astype("float32"), every)
        weight, _ = samples.bring(valid.astype("float32"), every)
        band = item["bands"][role]
        return np.float32(band["scale"]) * total + np.float32(band["offset"]) * weight, weight

    def open(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str]) -> None:
        """Open the files of scenes, many at a time; those that cannot be are left to be complained of when read."""

        def try_to(item: Mapping[str, Any], href: str) -> None:
            with suppress(SceneError):
                self._raster(item, href)

        begun = [self._start(try_to, item, href) for item in items for href in _hrefs(item, roles)]
        for answer in begun:
            answer.result()

    def held_bytes(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> int:
        """Memory that a `Feed` needs for a row of chunks: its rows down to the end of their tiles, as wide as it."""
        below = row.translate_pix(0, row.shape[0])
        total = 0
        for item in items:
            if self._readable(item, roles):
                under = self._reach(item, roles, below)
                for href, window in self._reach(item, roles, row).items():
                    raster = self._raster(item, href)
                    rows = {-(-one.row1 // raster.tile_rows) * raster.tile_rows - one.row0 for one in (window, under[href])}
                    most = rows.pop() if len(rows) == 1 else window.shape[0] + raster.tile_rows  # the same in every row, or not
                    cols = window.clip(raster.height, raster.width).shape[1]
                    total += min(most, raster.height) * cols * np.dtype(raster.data_type).itemsize
        return total

    def feed(self, strip: GeoBox) -> Feed:
        """Reads opened scenes along a strip of the grid, row of chunks by row of chunks; see `Feed`."""
        return Feed(self, strip)

    def _readable(self, item: Mapping[str, Any], roles: Sequence[str]) -> bool:
        return bool(roles) and all(role in item["bands"] for role in roles) and all(
            isinstance(self._rasters.get(href), _Raster) for href in _hrefs(item, roles)
        )

    def _bands(
        self, item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox, held: Held | None = None
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Numbers and validity (rows, cols) of each band; files are looked at before any pixel is read."""
        missing = [role for role in roles if role not in item["bands"]]
        if missing:
            raise SceneError(
                f"scene {item['id']} offers no band {', '.join(missing)}; it offers {', '.join(item['bands'])}"
            )
        rasters = {role: self._band_raster(item, role) for role in roles}
        plan = self._plan(item, rasters.values(), geobox)
        masks = self._masks(item, plan, held)
        return {role: self._band(item, role, raster, geobox, plan, masks, held) for role, raster in rasters.items()}

    def _band_raster(self, item: Mapping[str, Any], role: str) -> _Raster:
        href = item["bands"][role]["href"]
        raster = self._raster(item, href)
        expected = item["bands"][role].get("data_type", self.sensor.data_type)
        if raster.data_type != expected:
            raise SceneError(
                f"scene {item['id']}: {remote.shown(href)} holds {raster.data_type} with nodata {raster.nodata}, but "
                f"{self.sensor.title} comes as {expected}: this is another product, with another scale"
            )
        return raster

    def _band(
        self,
        item: Mapping[str, Any],
        role: str,
        raster: _Raster,
        geobox: GeoBox,
        plan: _Plan,
        masks: Mapping[str, np.ndarray],
        held: Held | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Digital numbers of one band on the grid, and where they are valid."""
        samples, clear = plan.samples[raster.place], masks[raster.place]
        if not clear.any():
            return np.zeros(geobox.shape, raster.data_type), np.zeros(geobox.shape, bool)
        return samples.bring(*self._valid_numbers(item, role, raster, samples.window, clear, held))

    def _valid_numbers(
        self,
        item: Mapping[str, Any],
        role: str,
        raster: _Raster,
        window: _Window,
        clear: np.ndarray,
        held: Held | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Digital numbers of a window of the file, and where they are clear and mean something."""
        from catalogs.resampling import usable

        band = item["bands"][role]
        numbers = self._pixels(item, band["href"], window, fill=band["nodata"], held=held)
        low, high = map(np.float32, self.sensor.valid_dn)
        no = [np.float32(np.nan if value is None else value) for value in (band["nodata"], raster.nodata)]
        return numbers, usable(numbers, clear, low, high, *no)

    def _masks(self, item: Mapping[str, Any], plan: _Plan, held: Held | None) -> dict[str, np.ndarray]:
        """True where the quality layer calls a pixel clear, dilation included, on the window of each kind of band."""
        from catalogs.resampling import classify, spread

        if not item["quality"]:
            return {place: np.ones(samples.window.shape, bool) for place, samples in plan.samples.items()}
        layer = self._pixels(item, item["quality"]["href"], plan.around, fill=self.sensor.quality.fill, held=held)
        clear = classify(layer, *self._tables_of(layer.dtype), plan.offsets[:, 0], plan.offsets[:, 1])
        return {place: spread(clear, row, col) for place, (row, col) in plan.nearest.items()}

    def _plan(self, item: Mapping[str, Any], rasters: Iterable[_Raster], geobox: GeoBox) -> _Plan:
        """How a scene's files make a window of the grid; kept, because the dates of a chunk share it."""
        kinds = {raster.place: raster for raster in rasters}
        own = self._quality_raster(item, kinds.values()) if item["quality"] else None
        key = (own and own.place, *kinds, tuple(geobox.shape), tuple(geobox.transform), str(geobox.crs))
        with self._guard:
            if key not in self._plans:
                while len(self._plans) >= KEPT_PLANS:
                    self._plans.popitem(last=False)
                samples = {place: _samples(raster, geobox, self.upsampling) for place, raster in kinds.items()}
                self._plans[key] = _Plan.of(own, self._reach_m, kinds, samples)
            return self._plans[key]

    def _quality_raster(self, item: Mapping[str, Any], bands: Iterable[_Raster]) -> _Raster:
        """What the quality layer's file is; it lies in the bands' CRS."""
        href = item["quality"]["href"]
        own = self._raster(item, href)
        if own.data_type not in ("uint8", "uint16"):
            raise SceneError(
                f"scene {item['id']}: {remote.shown(href)} holds {own.data_type}, "
                "a quality layer holds whole numbers from 0 to 65535"
            )
        for raster in bands:
            if raster.crs != own.crs:
                where = f"{remote.shown(href)} lies in {own.crs_name}, the bands in {raster.crs_name}"
                raise SceneError(f"scene {item['id']}: {where}")
        return own

    def _tables_of(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """What each possible value of a quality layer means: clear, and growing."""
        if dtype.str not in self._tables:
            every = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
            quality = self.sensor.quality
            self._tables[dtype.str] = quality.clear(every), quality.growing(every)
        return self._tables[dtype.str]

    def cloud_distance(self, item: Mapping[str, Any], geobox: GeoBox) -> np.ndarray:
        """Metres (rows, cols, float32) to the nearest cloud or shadow pixel, at most `FAR_FROM_CLOUD_M`.

        Cloud is what the quality layer lets grow, or, where it names no such classes, all that is neither clear nor
        outside the scene.
        """
        from scipy.ndimage import distance_transform_edt

        quality = self.sensor.quality
        href = item["quality"]["href"]
        raster = self._raster(item, href)
        samples = self._plan(item, [raster], geobox).samples[raster.place]
        size = raster.pixel_m
        down, right = (math.ceil(FAR_FROM_CLOUD_M / side) for side in size)
        window = samples.window
        wide = _Window(window.row0 - down, window.row1 + down, window.col0 - right, window.col1 + right)
        layer = self._pixels(item, href, wide, fill=quality.fill)
        clear, growing = self._tables_of(layer.dtype)
        cloud = growing[layer] if quality.grow else ~clear[layer] & (layer != quality.fill)
        if not cloud.any():
            return np.full(geobox.shape, FAR_FROM_CLOUD_M, "float32")
        distance = distance_transform_edt(~cloud, sampling=size)[down:-down, right:-right]
        return samples.nearest(np.minimum(distance, FAR_FROM_CLOUD_M).astype("float32"))

    def _pixels(
        self, item: Mapping[str, Any], href: str, window: _Window, *, fill: float, held: Held | None = None
    ) -> np.ndarray:
        """Pixels of a window of a file: from what is held, else from the file, which one thread reads at a time."""
        if held is not None and href in held:
            raster, kept = self._raster(item, href), held[href]
            inner = window.clip(raster.height, raster.width)
            if inner.size == 0:
                return np.full(window.shape, fill, raster.data_type)
            if kept.window.holds(inner):
                return _padded(kept.cut(inner), inner, window, fill)
        with self._lock_of(href):
            return self._numbers(item, href, self._open(item, href), window, fill=fill)

    def _raster(self, item: Mapping[str, Any], href: str) -> _Raster:
        """What a file is; kept, because asking an open file is dear. One that cannot be opened stays so."""
        if href not in self._rasters:
            with self._lock_of(href):
                try:
                    self._rasters[href] = self._decoding(_Raster.of, self._open(item, href)).result()
                except SceneError as error:
                    self._rasters[href] = error
        if isinstance(self._rasters[href], SceneError):
            raise SceneError(str(self._rasters[href]))
        return self._rasters[href]

    def _start(self, work: Callable[..., Any], *given: Any) -> Any:
        """Begin a piece of work in the pool, or do it where there is none; `.result()` gives its answer.

        Work may wait for the answer of work begun before it: threads begin it in order, so none waits for ever.
        """
        return _Answer(work(*given)) if self._pool is None else _Passed(self._pool.submit(work, *given))

    def _decoding(self, work: Callable[..., Any], *given: Any) -> Any:
        """Begin work that waits for nothing: in one of few threads where there are many, or do it where there are none."""
        return _Answer(work(*given)) if self._decoders is None else self._decoders.submit(work, *given)

    def _reach(self, item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox) -> dict[str, _Window]:
        """The windows of a scene's files that a window of the grid needs, by href."""
        own = self._raster(item, item["quality"]["href"]) if item["quality"] else None
        rasters = {item["bands"][role]["href"]: self._raster(item, item["bands"][role]["href"]) for role in roles}
        kinds = {raster.place: raster for raster in rasters.values()}
        key = (own and own.place, *kinds, tuple(geobox.shape), tuple(geobox.transform), str(geobox.crs))
        if key not in self._reaches:
            windows = {place: _reach_in(raster, geobox, self.upsampling) for place, raster in kinds.items()}
            around = _Plan.of(own, self._reach_m, kinds, windows).around
            self._reaches[key] = around, {place: samples.window for place, samples in windows.items()}
        around, by_place = self._reaches[key]
        bands = {href: by_place[raster.place] for href, raster in rasters.items()}
        return {item["quality"]["href"]: around, **bands} if item["quality"] else bands

    @property
    def _reach_m(self) -> float:
        quality = self.sensor.quality
        return quality.dilation_m if quality and quality.grow else 0.0

    def _lock_of(self, href: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(href, threading.Lock())

    def _numbers(
        self, item: Mapping[str, Any], href: str, file: remote.Raster, window: _Window, *, fill: float
    ) -> np.ndarray:
        """Pixels of a window that may reach beyond the file; `fill` outside."""
        raster = self._rasters[href]
        inner = window.clip(raster.height, raster.width)
        part = None
        if inner.size:
            try:
                part = remote.read_window(file, inner.of_rasterio)
            except remote.RemoteError as error:
                raise self._failed(item, href, file, error) from None
        if inner == window:
            return part
        return _padded(np.empty((0, 0), raster.data_type) if part is None else part, inner, window, fill)

    def _failed(self, item: Mapping[str, Any], href: str, file: remote.Raster, error: Exception) -> SceneError:
        """What to raise for a file that failed; it is opened anew, if at all."""
        with self._guard:
            self._files.pop(href, file).close()
        return SceneError(f"scene {item['id']}: {error}")

    def _open(self, item: Mapping[str, Any], href: str) -> remote.Raster:
        with self._guard:
            if href in self._files:
                self._files.move_to_end(href)
                return self._files[href]
        try:
            begun = remote.Beginning.of(href, self.source)
            return self._decoding(self._opened, item, href, begun).result()
        except remote.RemoteError as error:
            raise SceneError(f"scene {item['id']}: {error}") from None

    def _opened(self, item: Mapping[str, Any], href: str, begun: remote.Beginning) -> remote.Raster:
        file = begun.open()
        if file.crs is None or file.transform.b or file.transform.d or file.transform.e >= 0 or file.transform.a <= 0:
            file.close()
            raise SceneError(f"scene {item['id']}: {remote.shown(href)} has no coordinate reference system or is not north-up")
        self._keep(href, file)
        return file

    def _rows(self, item: Mapping[str, Any], href: str, window: _Window) -> Any:
        """Begin to read a window inside a file: its bytes are fetched here, and decoded in a thread that does so; the
        answer's `result` is pixels, or None where they cannot be had."""
        with self._lock_of(href):
            file = self._open(item, href)
            runs = file.runs(window.of_rasterio) if self._decoders is not None else []
        size = sum(stop - start for start, stop in runs)
        if not runs:  # nothing to fetch in advance: read by whoever asks
            return _Answer(self._decoded(item, href, file, window, 0))
        self._ahead.take(size)
        try:
            file.fetch(runs)
        except remote.RemoteError as error:
            self._ahead.give(size)
            raise self._failed(item, href, file, error) from None
        except BaseException:
            self._ahead.give(size)
            raise
        return self._decoding(self._decoded, item, href, file, window, size)

    def _decoded(
        self, item: Mapping[str, Any], href: str, file: remote.Raster, window: _Window, size: int
    ) -> np.ndarray | None:
        try:  # without the file's lock, which who opens a file holds while a decoding thread does it
            return self._numbers(item, href, file, window, fill=0)
        except SceneError:
            return None
        finally:
            self._ahead.give(size)

    def _keep(self, href: str, file: remote.Raster) -> None:
        """Hold a file open and close the longest unused ones beyond `OPEN_FILES` that no thread is reading."""
        with self._guard:
            self._files[href] = file
            for other in list(self._files)[: max(len(self._files) - OPEN_FILES, 0)]:
                if self._locks[other].acquire(blocking=False):
                    self._files.pop(other).close()
                    self._locks[other].release()


# ---------------------------------------------------------------- reading ahead


class Kept(NamedTuple):
    """Rows of one file in memory, as they were read; `clear` is false where a quality layer shows nothing clear."""

    window: _Window
    parts: tuple[tuple[int, np.ndarray], ...]
    clear: bool = True

    def cut(self, window: _Window) -> np.ndarray:
        """The pixels of a window inside, rows one after another in memory."""
        left, right = window.col0 - self.window.col0, window.col1 - self.window.col0
        pieces = [
            pixels[max(window.row0 - row0, 0) : window.row1 - row0, left:right]
            for row0, pixels in self.parts
            if row0 < window.row1 and window.row0 < row0 + len(pixels)
        ]
        return np.ascontiguousarray(pieces[0]) if len(pieces) == 1 else np.concatenate(pieces)


Held = Mapping[str, Kept]
"""Pixels in memory by href."""


class Feed:
    """Reads scenes along a strip of the grid, row of chunks by row of chunks from north to south.

    Tiles of a file seldom end where chunks do. What a tile holds for the next row is kept, so that each tile of the
    strip is decoded once; memory is the strip's width x a tile and a chunk in height x files. Files of a scene that
    shows nothing clear in a row are not read. Where the reader may read many files at a time, `quality` and `bands`
    return at once. What cannot be read is left to be read, and complained of, where it is needed.
    """

    def __init__(self, reader: SceneReader, strip: GeoBox) -> None:
        self._reader, self._strip = reader, strip
        self._last: dict[str, _Answer] = {}

    def quality(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> dict[str, _Answer]:
        """Begin to read the quality layers of a row; answers by href."""
        begun = {}
        for item in items:
            if item["quality"] and self._reader._readable(item, roles):
                href = item["quality"]["href"]
                begun[href] = self._begin(item, href, self._reach(item, roles, row)[href], None)
        return begun

    def bands(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> dict[str, _Answer]:
        """Begin to read the bands of a row whose quality layers were begun before; answers by href."""
        begun = {}
        for item in items:
            if self._reader._readable(item, roles):
                reach = self._reach(item, roles, row)
                after = self._last[item["quality"]["href"]] if item["quality"] else None
                for href in dict.fromkeys(item["bands"][role]["href"] for role in roles):
                    begun[href] = self._begin(item, href, reach[href], after)
        return begun

    def _reach(self, item: Mapping[str, Any], roles: Sequence[str], row: GeoBox) -> dict[str, _Window]:
        """Windows of a scene's files that a row needs: its own rows, the columns of the strip."""
        rows, cols = self._reader._reach(item, roles, row), self._reader._reach(item, roles, self._strip)
        return {href: _Window(rows[href].row0, rows[href].row1, cols[href].col0, cols[href].col1) for href in rows}

    def _begin(self, item: Mapping[str, Any], href: str, need: _Window, after: _Answer | None) -> _Answer:
        self._last[href] = self._reader._start(self._advance, item, href, need, self._last.get(href), after)
        return self._last[href]

    def _advance(
        self, item: Mapping[str, Any], href: str, need: _Window, last: _Answer | None, after: _Answer | None
    ) -> Any:
        """The pixels of a window down to the end of its tiles, those of the row before taken over: None, or an answer."""
        if after is not None and (layer := after.result()) is not None and not layer.clear:
            return None
        reader = self._reader
        raster = reader._raster(item, href)
        need = need.clip(raster.height, raster.width)
        end = min(-(-need.row1 // raster.tile_rows) * raster.tile_rows, raster.height)
        before = last.result() if last is not None else None
        parts: list[tuple[int, np.ndarray]] = []
        row0 = need.row0
        if before is not None and before.window[2:] == need[2:] and before.window.row0 <= row0 < before.window.row1:
            parts = [(first, pixels) for first, pixels in before.parts if row0 < first + len(pixels)]
            row0 = before.window.row1
        below = _Window(row0, end, need.col0, need.col1)
        window = _Window(need.row0, max(row0, end), need.col0, need.col1)
        is_layer = item["quality"] is not None and href == item["quality"]["href"]
        try:
            read = reader._rows(item, href, below) if row0 < end and need.size else None
        except SceneError:
            return None
        return _Rows(read, tuple(parts), below.row0, window, reader._tables_of if is_layer else None)


@dataclass(frozen=True)
class _Rows:
    """Rows of a file that are held, and those that are being decoded below them; `tables` where they are a quality layer's."""

    read: Any
    parts: tuple[tuple[int, np.ndarray], ...]
    row0: int
    window: _Window
    tables: Callable[[np.dtype], tuple[np.ndarray, np.ndarray]] | None

    def result(self) -> Kept | None:
        from catalogs.resampling import holds_any

        parts = self.parts
        if self.read is not None:
            pixels = self.read.result()
            if pixels is None:
                return None
            parts = (*parts, (self.row0, pixels))
        kept = Kept(self.window, parts, bool(parts))
        if self.tables is None or not parts:
            return kept
        clear_of = self.tables(parts[0][1].dtype)[0]
        return kept._replace(clear=any(holds_any(pixels, clear_of) for _, pixels in parts))


class _Passed:
    """The answer of work that may pass on another answer in place of its own; found once."""

    def __init__(self, future: Any) -> None:
        self._future, self._lock = future, threading.Lock()
        self._found: list[Any] = []

    def result(self) -> Any:
        with self._lock:
            if not self._found:
                found = self._future.result()
                self._found.append(found.result() if isinstance(found, _Rows) else found)
            return self._found[0]


class _Room:
    """Bytes that may be held at a time; one piece that is larger than all room is let in alone."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size

    def give(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()


class _Answer:
    """The answer of work that is done already; one of work under way is a `_Passed` or a `concurrent.futures.Future`."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer.result() if isinstance(answer, _Rows) else answer

    def result(self) -> Any:
        return self._answer


def _hrefs(item: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    """The files of a scene, its quality layer first where it has one."""
    layer = [item["quality"]["href"]] if item["quality"] else []
    return [*layer, *dict.fromkeys(item["bands"][role]["href"] for role in roles if role in item["bands"])]


def _padded(part: np.ndarray, inner: _Window, window: _Window, fill: float) -> np.ndarray:
    """Pixels of a window of which a file holds the part `inner`; `fill` outside."""
    if inner == window:
        return part
    whole = np.full(window.shape, fill, part.dtype)
    if inner.size:
        whole[
            inner.row0 - window.row0 : inner.row1 - window.row0, inner.col0 - window.col0 : inner.col1 - window.col0
        ] = part
    return whole


# ---------------------------------------------------------------- files and windows of a source


class _Raster(NamedTuple):
    """What a file says of itself; its CRS as WKT. Files of one `place` have their pixels in the same places."""

    name: str
    place: str
    transform: Any
    crs: str
    crs_name: str
    projected: bool
    data_type: str
    nodata: float | None
    height: int
    width: int
    tile_rows: int

    @property
    def pixel_m(self) -> tuple[float, float]:
        """Height and width of a pixel on the ground in metres; of degrees, in the middle of the file."""
        height, width = -self.transform.e, self.transform.a
        if self.projected:
            unit_m = _unit_m(self.crs)
            return height * unit_m, width * unit_m
        latitude = self.transform.f + self.transform.e * self.height / 2
        return height * DEGREE_M, width * DEGREE_M * max(math.cos(math.radians(latitude)), 0.01)

    @classmethod
    def of(cls, file: remote.Raster) -> _Raster:
        crs, wkt = file.crs, file.crs.to_wkt()
        place = f"{tuple(file.transform)} {wkt}"
        return cls(
            file.name,
            place,
            file.transform,
            wkt,
            str(crs),
            crs.is_projected,
            file.dtypes[0],
            file.nodata,
            file.height,
            file.width,
            file.block_shapes[0][0],
        )


class _Window(NamedTuple):
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def of_rasterio(self) -> Any:
        from rasterio.windows import Window

        return Window(self.col0, self.row0, *reversed(self.shape))

    def holds(self, other: _Window) -> bool:
        return (
            self.row0 <= other.row0 and other.row1 <= self.row1 and self.col0 <= other.col0 and other.col1 <= self.col1
        )

    def clip(self, height: int, width: int) -> _Window:
        row0, col0 = min(max(self.row0, 0), height), min(max(self.col0, 0), width)
        return _Window(row0, max(row0, min(self.row1, height)), col0, max(col0, min(self.col1, width)))


@dataclass(frozen=True)
class _Plan:
    """How the files of a scene make a window of the grid.

    By the place of a kind of band: `samples` from its pixels to the grid's, `nearest` the rows and columns of the
    quality layer under its pixels. `around` is the quality layer's window with what may grow into it, `offsets` (n, 2)
    how far that is. Without a quality layer (`own` is None) there is neither.
    """

    around: _Window | None
    offsets: np.ndarray
    samples: dict[str, _Same | _Separable | _Scattered]
    nearest: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, layer: _Raster | None, reach_m: float, kinds: Mapping[str, _Raster], samples: Mapping[str, Any]) -> _Plan:
        if layer is None:
            return cls(None, np.empty((0, 2), "int64"), dict(samples), {})
        places, own = {}, layer.transform
        for place, raster in kinds.items():
            window, band = samples[place].window, raster.transform
            rows = _nearest(band.f, band.e, window.row0, window.row1, own.f, own.e)
            places[place] = rows, _nearest(band.c, band.a, window.col0, window.col1, own.c, own.a)
        offsets = _offsets(reach_m, *layer.pixel_m)
        down, right = offsets.max(axis=0, initial=0)
        around = _Window(
            min(int(rows[0]) for rows, _ in places.values()) - down,
            max(int(rows[-1]) for rows, _ in places.values()) + 1 + down,
            min(int(cols[0]) for _, cols in places.values()) - right,
            max(int(cols[-1]) for _, cols in places.values()) + 1 + right,
        )
        nearest = {place: (rows - around.row0, cols - around.col0) for place, (rows, cols) in places.items()}
        return cls(around, offsets, dict(samples), nearest)


def _nearest(start: float, step: float, first: int, last: int, source_start: float, source_step: float) -> np.ndarray:
    """Source index under each pixel centre `first:last` of a line, nearest neighbour."""
    centres = start + step * (np.arange(first, last) + 0.5)
    return np.floor(np.round((centres - source_start) / source_step, 6)).astype("int64")


def _offsets(distance_m: float, height_m: float, width_m: float) -> np.ndarray:
    """Rows and columns (n, 2) from a pixel to all others within a distance, centre to centre; none for distance 0."""
    reach_down, reach_right = math.floor(distance_m / height_m + 1e-6), math.floor(distance_m / width_m + 1e-6)
    within = [
        (down, right)
        for down in range(-reach_down, reach_down + 1)
        for right in range(-reach_right, reach_right + 1)
        if math.hypot(down * height_m, right * width_m) <= distance_m + 1e-6
    ]
    return np.array(within if distance_m > 0 else [], "int64").reshape(-1, 2)


@cache
def _unit_m(crs: str) -> float:
    """Length of a projected CRS's unit in metres."""
    from rasterio.crs import CRS

    return CRS.from_user_input(crs).linear_units_factor[1]


@cache
def _wkt_of(crs: str) -> str:
    from rasterio.crs import CRS

    return CRS.from_user_input(crs).to_wkt()


def _wkt(geobox: GeoBox) -> str:
    return _wkt_of(str(geobox.crs))


# ---------------------------------------------------------------- from source pixels to the grid's

KEPT_PLANS = 6
MOST_FINER, FINER_ROWS = 12, 256
"""Samples along the side of a pixel, and rows of them held at a time, where tiles are averaged from another CRS."""

LATTICE_PX = 16
LEAST = np.float32(MIN_CLEAR_SHARE - 1e-5)


def _samples(raster: _Raster, geobox: GeoBox, upsampling: str) -> _Same | _Separable | _Scattered:
    source, grid = raster.transform, geobox.transform
    if raster.crs != _wkt(geobox):
        return _Scattered.between(raster, geobox, upsampling)
    down, right = (grid.f - source.f) / source.e, (grid.c - source.c) / source.a
    rows, cols = geobox.shape
    if round(grid.e / source.e, 9) == round(grid.a / source.a, 9) == 1 and _whole(down) and _whole(right):
        row0, col0 = round(down), round(right)
        return _Same(_Window(row0, row0 + rows, col0, col0 + cols))
    return _Separable(
        _Taps.along(down, grid.e / source.e, rows, upsampling), _Taps.along(right, grid.a / source.a, cols, upsampling)
    )


def _reach_in(raster: _Raster, geobox: GeoBox, upsampling: str) -> Any:
    """Something with the `window` of `_samples`, or one a little larger, found without placing every pixel."""
    if raster.crs == _wkt(geobox):
        return _samples(raster, geobox, upsampling)
    source = raster.transform
    x, y = _knots_in(raster, geobox)[:2]
    row, col = (y - source.f) / source.e, (x - source.c) / source.a
    low, high = (math.floor(row.min()) - 2, math.floor(col.min()) - 2), (math.ceil(row.max()) + 2, math.ceil(col.max()) + 2)
    return _Same(_Window(low[0], high[0], low[1], high[1]))


def _whole(value: float) -> bool:
    return round(value, 6) == round(value)


class _Same:
    """The file's pixels are the grid's: numbers go through as they are."""

    def __init__(self, window: _Window) -> None:
        self.window = window

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and validity on the grid."""
        return numbers, valid

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        return values


class _Separable:
    """Source and grid share a CRS: rows and columns are averaged one after the other."""

    def __init__(self, rows: _Taps, cols: _Taps) -> None:
        """Weights along the rows and along the columns."""
        self.rows, self.cols = rows, cols
        self.window = _Window(rows.first, rows.last, cols.first, cols.last)

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the valid part of each pixel; missing where that part is less than `MIN_CLEAR_SHARE`."""
        from catalogs import resampling

        rows, cols = self.rows, self.cols
        if rows.taps == 1 and cols.taps == 1:  # nearest neighbour: numbers stay as observed
            return self.nearest(numbers), self.nearest(valid)
        if rows.block and rows.block == cols.block:
            return resampling.mean_of_blocks(numbers, valid, rows.block, LEAST)
        if rows.doubled is not None and cols.doubled is not None:
            return resampling.doubled(
                numbers, valid, rows.index, rows.weight, cols.doubled, cols.index.shape[0], LEAST
            )
        return resampling.weighted(numbers, valid, rows.index, rows.weight, cols.index, cols.weight, LEAST)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        from catalogs.resampling import spread

        return spread(values, self.rows.nearest, self.cols.nearest)


class _Taps:
    """Source indices (n, taps) and weights of each pixel along one axis; `nearest` (n) holds its centre."""

    def __init__(self, index: np.ndarray, weight: np.ndarray, nearest: np.ndarray) -> None:
        used = (weight > 0).any(axis=0)
        index, weight = index[:, used], weight[:, used]
        self.first = int(min(index[weight > 0].min(), nearest.min()))
        self.last = int(max(index[weight > 0].max(), nearest.max())) + 1
        self.index = np.clip(index, self.first, self.last - 1) - self.first
        self.nearest = nearest - self.first
        self.weight = weight.astype("float32")
        self.taps = self.weight.shape[1]
        even = bool((self.weight == self.weight[0, 0]).all())
        self.block = self.taps if even and np.array_equal(self.index.ravel(), np.arange(self.index.size)) else 0
        self.doubled = self._doubled()

    def _doubled(self) -> int | None:
        """0 or 1, as `resampling.doubled` wants it, where pixels are halves of the source's; None elsewhere."""
        if self.taps != 2:
            return None
        start = int(self.weight[0, 0] == np.float32(0.25))
        number = np.arange(len(self.index)) + start
        expected = np.where(number[:, None] % 2, (0.25, 0.75), (0.75, 0.25)).astype("float32")
        pairs = np.array_equal(self.index, number[:, None] // 2 + np.arange(2))
        return start if pairs and np.array_equal(self.weight, expected) else None

    @classmethod
    def along(cls, start: float, step: float, n: int, upsampling: str) -> _Taps:
        """Pixels of `step` source pixels each from `start`: area weights when coarser, else linear or nearest."""
        edge = np.round(start + step * np.arange(n), 6)
        step = round(step, 9)
        nearest = np.floor(np.round(edge + step / 2, 6)).astype("int64")
        if step > 1:
            first = np.floor(edge).astype("int64")
            index = first[:, None] + np.arange(math.ceil(step) + 1)
            overlap = np.minimum(edge[:, None] + step, index + 1) - np.maximum(edge[:, None], index)
            weight = np.clip(np.round(overlap, 6), 0, None) / step
        elif upsampling == "nearest":
            index, weight = nearest[:, None], np.ones((n, 1))
        else:
            centre = np.round(edge + step / 2 - 0.5, 6)
            first = np.floor(centre).astype("int64")
            index = first[:, None] + np.arange(2)
            share = centre - first
            weight = np.stack([1 - share, share], axis=1)
        return cls(index, weight, nearest)


class _Scattered:
    """Source and grid differ in CRS: each pixel is the quadrilateral between its four corners in the source."""

    def __init__(self, row: np.ndarray, col: np.ndarray, *, coarser: bool, nearest: bool) -> None:
        """`row`, `col`: source coordinates (rows + 1, cols + 1) of the grid's pixel corners; `coarser` than the source's."""
        self.row, self.col, self.coarser, self.by_centre = row, col, coarser, nearest
        self.window = _Window(
            math.floor(row.min()) - 1, math.ceil(row.max()) + 1, math.floor(col.min()) - 1, math.ceil(col.max()) + 1
        )

    @classmethod
    def between(cls, raster: _Raster, geobox: GeoBox, upsampling: str) -> _Scattered:
        source = raster.transform
        x, y = _corners_in(raster, geobox)
        coarser = _ratio(raster, geobox) > 1.01
        row, col = np.round((y - source.f) / source.e, 6), np.round((x - source.c) / source.a, 6)
        return cls(row, col, coarser=coarser, nearest=not coarser and upsampling == "nearest")

    def bring(self, numbers: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the valid part of each pixel; missing where that part is less than `MIN_CLEAR_SHARE`."""
        from catalogs.resampling import averaged, sampled

        if self.by_centre:
            return self.nearest(numbers), self.nearest(valid)
        bring = averaged if self.coarser else sampled
        return bring(numbers, valid, self.row, self.col, self.window.row0, self.window.col0, LEAST)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Values of the source window on the grid, nearest neighbour."""
        from catalogs.resampling import nearest_scattered

        return nearest_scattered(values, self.row, self.col, self.window.row0, self.window.col0)


def _ratio(raster: _Raster, geobox: GeoBox) -> float:
    """Side of the grid's pixels by that of a file's."""
    return geobox.transform.a / raster.pixel_m[0]


def _mean_of_squares(values: np.ndarray, side: int) -> np.ndarray:
    """Means of `side` x `side` pixels, added in a fixed order."""
    total = np.zeros((values.shape[0] // side, values.shape[1] // side), "float64")
    for down in range(side):
        for right in range(side):
            total += values[down::side, right::side]
    return (total / side**2).astype("float32")


def _corners_in(raster: _Raster, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (rows + 1, cols + 1) of the grid's pixel corners in a file's CRS.

    PROJ is asked every `LATTICE_PX` pixels, at multiples counted from the CRS's origin so that windows agree, and
    corners between are interpolated: between UTM zones the two differ by less than a thousandth of a pixel.
    """
    x, y, from_north, from_west = _knots_in(raster, geobox)
    return _interpolated(x, from_north, from_west), _interpolated(y, from_north, from_west)


def _knots_in(raster: _Raster, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of the lattice's knots in a file's CRS, and the places of the grid's edges among them."""
    from pyproj import Transformer

    rows, cols = geobox.shape
    grid = geobox.transform
    east, from_west = _lattice(grid.c, grid.a, cols)
    south, from_north = _lattice(-grid.f, -grid.e, rows)
    to_source = Transformer.from_crs(str(geobox.crs), raster.crs, always_xy=True)
    x, y = to_source.transform(*np.meshgrid(east, -south))
    if not raster.projected:  # degrees east are counted to either side of the file, across the antimeridian too
        middle = raster.transform.c + raster.transform.a * raster.width / 2
        x = np.where(x - middle > 180, x - 360, np.where(x - middle < -180, x + 360, x))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SceneError(f"{raster.name} lies in {raster.crs_name}, where part of the study area has no coordinates")
    return x, y, from_north, from_west


def _lattice(start: float, step: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Knots along an axis that enclose `n` pixels, and the place of each of the n + 1 edges among them."""
    wide = LATTICE_PX * step
    place = (start + step * np.arange(n + 1)) / wide
    first, last = math.floor(place[0]), math.floor(place[-1]) + 1
    return np.arange(first, last + 1) * wide, place - first


def _interpolated(knots: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of a lattice at fractional rows and columns."""
    row, col = np.floor(down).astype("int64"), np.floor(right).astype("int64")
    down, right = down - row, right - col
    across = knots[:, col] + (knots[:, col + 1] - knots[:, col]) * right
    return across[row] + (across[row + 1] - across[row]) * down[:, None]
