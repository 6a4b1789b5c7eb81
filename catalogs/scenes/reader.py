"""Reads frozen scenes window by window: digital numbers, masked at the source and brought onto the grid's pixels."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import remote
from catalogs.scenes.ahead import Answer, Held, Passed, Room
from catalogs.scenes.feed import Feed
from catalogs.scenes.looks import Look, SceneError, reflectance_of
from catalogs.scenes.masking import Plan
from catalogs.scenes.placing import UPSAMPLING, mean_of_squares, ratio_of, reach_of, samples_of
from catalogs.scenes.profiles import Profile, Window, wkt_of
from catalogs.sensors import Sensor

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from odc.geo.geobox import GeoBox

FAR_FROM_CLOUD_M = 1500.0
"""Beyond this a cloud no longer matters to `Look.cloud_distance_m`: 50 pixels of 30 m (Griffiths et al. 2013)."""

REMOTE_READS, LOCAL_READS = 16, 1
"""Files read at the same time: a network's delays overlap, a local file's decoding keeps one core busy."""

DECODERS = 2
"""Threads that decode what those of a network have fetched: more would only wake one another up, and each would look up
coordinate reference systems for itself."""

AHEAD_BYTES = 64 * 2**20
"""Room for what is fetched and not decoded yet; who finds none waits."""

MOST_FINER, FINER_ROWS = 12, 256
"""Samples along the side of a pixel, and rows of them held at a time, where tiles are averaged from another CRS."""

OPEN_FILES = 200
KEPT_PLANS = 6
DECODE_OPTIONS = {"GDAL_NUM_THREADS": "1", "GDAL_CACHEMAX": 24 * 2**20}
"""One thread per read, and little room for tiles: `Feed` keeps what is needed again."""


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
        self._rasters: dict[str, Profile | SceneError] = {}
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._reaches: dict[tuple, tuple[Window, dict[str, Window]]] = {}
        self._tables: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._decoders: ThreadPoolExecutor | None = None
        self._ahead = Room(AHEAD_BYTES)

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
            image[role] = reflectance_of(numbers, valid, band["scale"], band["offset"])
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
        raster = self.raster(item, item["quality"]["href"])
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
        ratio = 1.0 if raster.crs == wkt_of(geobox) else ratio_of(raster, geobox)
        finer = min(2 * math.ceil(ratio), MOST_FINER)
        if ratio <= 1.01:
            return self._weighed(item, role, raster, geobox)
        total, weight = np.empty(geobox.shape, "float32"), np.empty(geobox.shape, "float32")
        step = max(FINER_ROWS // finer, 1)
        for row in range(0, geobox.shape[0], step):
            strip = geobox[row : min(row + step, geobox.shape[0])]
            samples = self._weighed(item, role, raster, strip.zoom_out(1 / finer))
            for whole, part in zip((total, weight), samples, strict=True):
                whole[row : row + step] = mean_of_squares(part, finer)
        return total, weight

    def _weighed(
        self, item: Mapping[str, Any], role: str, raster: Profile, geobox: GeoBox
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
                self.raster(item, href)

        begun = [self.start(try_to, item, href) for item in items for href in hrefs_of(item, roles)]
        for answer in begun:
            answer.result()

    def held_bytes(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> int:
        """Memory that a `Feed` needs for a row of chunks: its rows down to the end of their tiles, as wide as it."""
        below = row.translate_pix(0, row.shape[0])
        total = 0
        for item in items:
            if self.readable(item, roles):
                under = self.reach(item, roles, below)
                for href, window in self.reach(item, roles, row).items():
                    raster = self.raster(item, href)
                    rows = {-(-one.row1 // raster.tile_rows) * raster.tile_rows - one.row0 for one in (window, under[href])}
                    most = rows.pop() if len(rows) == 1 else window.shape[0] + raster.tile_rows  # the same in every row, or not
                    cols = window.clip(raster.height, raster.width).shape[1]
                    total += min(most, raster.height) * cols * np.dtype(raster.data_type).itemsize
        return total

    def feed(self, strip: GeoBox) -> Feed:
        """Reads opened scenes along a strip of the grid, row of chunks by row of chunks; see `Feed`."""
        return Feed(self, strip)

    def readable(self, item: Mapping[str, Any], roles: Sequence[str]) -> bool:
        return bool(roles) and all(role in item["bands"] for role in roles) and all(
            isinstance(self._rasters.get(href), Profile) for href in hrefs_of(item, roles)
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

    def _band_raster(self, item: Mapping[str, Any], role: str) -> Profile:
        href = item["bands"][role]["href"]
        raster = self.raster(item, href)
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
        raster: Profile,
        geobox: GeoBox,
        plan: Plan,
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
        raster: Profile,
        window: Window,
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

    def _masks(self, item: Mapping[str, Any], plan: Plan, held: Held | None) -> dict[str, np.ndarray]:
        """True where the quality layer calls a pixel clear, dilation included, on the window of each kind of band."""
        from catalogs.resampling import classify, spread

        if not item["quality"]:
            return {place: np.ones(samples.window.shape, bool) for place, samples in plan.samples.items()}
        layer = self._pixels(item, item["quality"]["href"], plan.around, fill=self.sensor.quality.fill, held=held)
        clear = classify(layer, *self.tables_of(layer.dtype), plan.offsets[:, 0], plan.offsets[:, 1])
        return {place: spread(clear, row, col) for place, (row, col) in plan.nearest.items()}

    def _plan(self, item: Mapping[str, Any], rasters: Iterable[Profile], geobox: GeoBox) -> Plan:
        """How a scene's files make a window of the grid; kept, because the dates of a chunk share it."""
        kinds = {raster.place: raster for raster in rasters}
        own = self._quality_raster(item, kinds.values()) if item["quality"] else None
        key = (own and own.place, *kinds, tuple(geobox.shape), tuple(geobox.transform), str(geobox.crs))
        with self._guard:
            if key not in self._plans:
                while len(self._plans) >= KEPT_PLANS:
                    self._plans.popitem(last=False)
                samples = {place: samples_of(raster, geobox, self.upsampling) for place, raster in kinds.items()}
                self._plans[key] = Plan.of(own, self._reach_m, kinds, samples)
            return self._plans[key]

    def _quality_raster(self, item: Mapping[str, Any], bands: Iterable[Profile]) -> Profile:
        """What the quality layer's file is; it lies in the bands' CRS."""
        href = item["quality"]["href"]
        own = self.raster(item, href)
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

    def tables_of(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
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
        raster = self.raster(item, href)
        samples = self._plan(item, [raster], geobox).samples[raster.place]
        size = raster.pixel_m
        down, right = (math.ceil(FAR_FROM_CLOUD_M / side) for side in size)
        window = samples.window
        wide = Window(window.row0 - down, window.row1 + down, window.col0 - right, window.col1 + right)
        layer = self._pixels(item, href, wide, fill=quality.fill)
        clear, growing = self.tables_of(layer.dtype)
        cloud = growing[layer] if quality.grow else ~clear[layer] & (layer != quality.fill)
        if not cloud.any():
            return np.full(geobox.shape, FAR_FROM_CLOUD_M, "float32")
        distance = distance_transform_edt(~cloud, sampling=size)[down:-down, right:-right]
        return samples.nearest(np.minimum(distance, FAR_FROM_CLOUD_M).astype("float32"))

    def _pixels(
        self, item: Mapping[str, Any], href: str, window: Window, *, fill: float, held: Held | None = None
    ) -> np.ndarray:
        """Pixels of a window of a file: from what is held, else from the file, which one thread reads at a time."""
        if held is not None and href in held:
            raster, kept = self.raster(item, href), held[href]
            inner = window.clip(raster.height, raster.width)
            if inner.size == 0:
                return np.full(window.shape, fill, raster.data_type)
            if kept.window.holds(inner):
                return padded(kept.cut(inner), inner, window, fill)
        with self._lock_of(href):
            return self._numbers(item, href, self._open(item, href), window, fill=fill)

    def raster(self, item: Mapping[str, Any], href: str) -> Profile:
        """What a file is; kept, because asking an open file is dear. One that cannot be opened stays so."""
        if href not in self._rasters:
            with self._lock_of(href):
                try:
                    self._rasters[href] = self._decoding(Profile.of, self._open(item, href)).result()
                except SceneError as error:
                    self._rasters[href] = error
        if isinstance(self._rasters[href], SceneError):
            raise SceneError(str(self._rasters[href]))
        return self._rasters[href]

    def start(self, work: Callable[..., Any], *given: Any) -> Any:
        """Begin a piece of work in the pool, or do it where there is none; `.result()` gives its answer.

        Work may wait for the answer of work begun before it: threads begin it in order, so none waits for ever.
        """
        return Answer(work(*given)) if self._pool is None else Passed(self._pool.submit(work, *given))

    def _decoding(self, work: Callable[..., Any], *given: Any) -> Any:
        """Begin work that waits for nothing: in one of few threads where there are many, or do it where there are none."""
        return Answer(work(*given)) if self._decoders is None else self._decoders.submit(work, *given)

    def reach(self, item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox) -> dict[str, Window]:
        """The windows of a scene's files that a window of the grid needs, by href."""
        own = self.raster(item, item["quality"]["href"]) if item["quality"] else None
        rasters = {item["bands"][role]["href"]: self.raster(item, item["bands"][role]["href"]) for role in roles}
        kinds = {raster.place: raster for raster in rasters.values()}
        key = (own and own.place, *kinds, tuple(geobox.shape), tuple(geobox.transform), str(geobox.crs))
        if key not in self._reaches:
            windows = {place: reach_of(raster, geobox, self.upsampling) for place, raster in kinds.items()}
            around = Plan.of(own, self._reach_m, kinds, windows).around
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
        self, item: Mapping[str, Any], href: str, file: remote.Raster, window: Window, *, fill: float
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
        return padded(np.empty((0, 0), raster.data_type) if part is None else part, inner, window, fill)

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

    def rows_of(self, item: Mapping[str, Any], href: str, window: Window) -> Any:
        """Begin to read a window inside a file: its bytes are fetched here, and decoded in a thread that does so; the
        answer's `result` is pixels, or None where they cannot be had."""
        with self._lock_of(href):
            file = self._open(item, href)
            runs = file.runs(window.of_rasterio) if self._decoders is not None else []
        size = sum(stop - start for start, stop in runs)
        if not runs:  # nothing to fetch in advance: read by whoever asks
            return Answer(self._decoded(item, href, file, window, 0))
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
        self, item: Mapping[str, Any], href: str, file: remote.Raster, window: Window, size: int
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


def hrefs_of(item: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    """The files of a scene, its quality layer first where it has one."""
    layer = [item["quality"]["href"]] if item["quality"] else []
    return [*layer, *dict.fromkeys(item["bands"][role]["href"] for role in roles if role in item["bands"])]


def padded(part: np.ndarray, inner: Window, window: Window, fill: float) -> np.ndarray:
    """Pixels of a window of which a file holds the part `inner`; `fill` outside."""
    if inner == window:
        return part
    whole = np.full(window.shape, fill, part.dtype)
    if inner.size:
        whole[
            inner.row0 - window.row0 : inner.row1 - window.row0, inner.col0 - window.col0 : inner.col1 - window.col0
        ] = part
    return whole


def read_scene(
    item: Mapping[str, Any], roles: Sequence[str], geobox: GeoBox, *, sensor: Sensor, **options: Any
) -> dict[str, np.ndarray]:
    """Clear-sky surface reflectance of one frozen scene; see `SceneReader.read`."""
    with SceneReader(sensor, **options) as reader:
        return reader.read(item, roles, geobox)
