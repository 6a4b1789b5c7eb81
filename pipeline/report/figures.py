"""Pictures of the report: maps as small indexed PNG, charts as SVG. Arrays in, bytes or text out; no file, no clock."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from pipeline.report.styles import nice_breaks, ramp_colour

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

NO_FOREST_COLOUR = "#e9e5dc"
WIDTH = 1000.0
"""Width of every map in its own units; all maps of a study share one frame."""

MOST_HEIGHT_PX = 640
TALLEST, FLATTEST = 1.7, 0.4
"""Height over width of a picture at most and at least."""


# ---------------------------------------------------------------- maps


@dataclass(frozen=True)
class Layer:
    """One band of a map, made small enough for a page.

    values : (rows, cols) float, missing NaN; missing_percent : of all pixels, before it was made small
    """

    values: np.ndarray
    missing_percent: float

    @property
    def valid(self) -> np.ndarray:
        """The finite values (n,)."""
        return self.values[np.isfinite(self.values)]


@dataclass(frozen=True)
class Frame:
    """Where a map stands: turns map coordinates into the units of its picture.

    A narrow study stands in the middle of a wider picture (`TALLEST`, `FLATTEST`): else a map as wide as the page allows would
    be a thread, or so small that nobody sees its plots.
    """

    west_m: float
    north_m: float
    width_m: float
    height_m: float

    @property
    def _shown_m(self) -> tuple[float, float]:
        """Width and height of the picture, on the ground."""
        return max(self.width_m, self.height_m / TALLEST), max(self.height_m, self.width_m * FLATTEST)

    @property
    def height(self) -> float:
        return WIDTH * self._shown_m[1] / self._shown_m[0]

    @property
    def area(self) -> str:
        """Attributes of the rectangle that the study fills in the picture."""
        scale, (left, top) = WIDTH / self._shown_m[0], self.place(self.west_m, self.north_m)
        return f'x="{left:.1f}" y="{top:.1f}" width="{scale * self.width_m:.1f}" height="{scale * self.height_m:.1f}"'

    @property
    def view(self) -> str:
        return f"0 0 {WIDTH:g} {self.height:.1f}"

    @property
    def limit(self) -> str:
        """CSS that keeps a tall map from being taller than a screen: its width is limited, so that its shape stays."""
        return f"max-width: {MOST_HEIGHT_PX * WIDTH / self.height:.0f}px"

    def place(self, x: float, y: float) -> tuple[float, float]:
        width, height = self._shown_m
        scale = WIDTH / width
        west, north = self.west_m - (width - self.width_m) / 2, self.north_m + (height - self.height_m) / 2
        return (x - west) * scale, (north - y) * scale

    def path(self, geometry: BaseGeometry) -> str:
        """A polygon's outline as SVG path, without detail finer than a pixel of the picture."""
        import shapely

        slim = shapely.simplify(geometry, 0.7 * self._shown_m[0] / WIDTH)
        slim = geometry if slim.is_empty else slim
        rings = [
            ring
            for part in shapely.get_parts(slim)
            if part.geom_type == "Polygon"
            for ring in (part.exterior, *part.interiors)
        ]
        return "".join(self._ring(np.asarray(ring.coords)[:-1]) for ring in rings)

    def _ring(self, xy: np.ndarray) -> str:
        x, y = self.place(xy[:, 0], xy[:, 1])
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)) + "Z"

    def scale_bar(self) -> tuple[str, float]:
        """Text and share of the width, in percent, of a round length of about a quarter of the map."""
        raw = self._shown_m[0] / 4
        power = 10.0 ** math.floor(math.log10(raw))
        length = max(step * power for step in (1, 2, 5) if step * power <= raw)
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
        return text, 100 * length / self._shown_m[0]


def shrunk(
    read: Callable[[int, int], np.ndarray], shape: tuple[int, int], *, most_px: int = 640, classes: bool = False
) -> Layer:
    """A layer of at most `most_px` pixels a side, read in strips so that a map of any size fits in memory.

    Parameters
    ----------
    read : callable (first row, last row + 1) -> array (rows, cols)
        Full resolution, missing NaN.
    shape : (rows, cols) of the whole.
    classes : bool
        Take the middle pixel of each cell instead of the mean of what is there.
    """
    rows, cols = shape
    factor = max(math.ceil(max(rows, cols) / most_px), 1)
    strip = factor * math.ceil(512 / factor)
    parts, missing = [], 0
    for row in range(0, rows, strip):
        array = read(row, min(row + strip, rows))
        missing += int(np.isnan(array).sum())
        parts.append(_coarse(array, factor, classes))
    return Layer(np.concatenate(parts), 100 * missing / (rows * cols))


def _coarse(array: np.ndarray, factor: int, classes: bool) -> np.ndarray:
    if factor == 1:
        return array
    rows, cols = (math.ceil(size / factor) for size in array.shape)
    if classes:
        middles = (np.minimum(np.arange(0, size, factor) + factor // 2, size - 1) for size in array.shape)
        return array[np.ix_(*middles)]
    padded = np.full((rows * factor, cols * factor), np.nan, "float32")
    padded[: array.shape[0], : array.shape[1]] = array
    cells = padded.reshape(rows, factor, cols, factor)
    there = np.isfinite(cells)
    found = there.sum(axis=(1, 3))
    total = np.where(there, cells, 0.0).sum(axis=(1, 3), dtype="float64")
    return np.where(found > 0, total / np.maximum(found, 1), np.nan).astype("float32")


def ramp_image(
    layer: Layer, ramp: Sequence[str], low: float, high: float, *, zero_colour: str | None = NO_FOREST_COLOUR
) -> bytes:
    """A continuous layer as PNG: missing transparent, beyond the limits the end colours.

    zero_colour : of exact zeros, by themselves the neutral colour of no forest; None where they are like other numbers.
    """
    steps = 254
    share = (np.nan_to_num(layer.values, nan=low) - low) / (high - low)
    index = 2 + np.clip(np.rint(share * (steps - 1)), 0, steps - 1)
    if zero_colour:
        index = np.where(layer.values == 0, 1, index)
    index = np.where(np.isfinite(layer.values), index, 0).astype("uint8")
    return png(index, ["#000000", zero_colour or "#000000", *(ramp_colour(ramp, n / (steps - 1)) for n in range(steps))])


def class_image(layer: Layer, colours: Mapping[int, str]) -> bytes:
    """A layer of classes as PNG: one colour per class, anything else transparent."""
    index = np.zeros(layer.values.shape, "uint8")
    for number, value in enumerate(colours, start=1):
        index[layer.values == value] = number
    return png(index, ["#000000", *colours.values()])


def png(index: np.ndarray, palette: Sequence[str]) -> bytes:
    """An indexed PNG whose first colour is transparent.

    Parameters
    ----------
    index : uint8 (rows, cols)
    palette : at most 256 hex colours

    References
    ----------
    ISO/IEC 15948 (PNG), section 11.
    """
    rows, cols = index.shape
    scanlines = np.zeros((rows, cols + 1), "uint8")
    scanlines[:, 1:] = index
    colours = b"".join(bytes.fromhex(colour[1:]) for colour in palette)
    header = struct.pack(">IIBBBBB", cols, rows, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", colours), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(scanlines.tobytes(), 9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")])


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def inline(picture: bytes) -> str:
    """A PNG as the address of itself, for a page that fetches nothing."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


# ---------------------------------------------------------------- charts


@dataclass(frozen=True)
class Series:
    """Points of one colour: x, y (n,), optionally an interval of y, and a text per point that a pointer brings up."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    labels: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Chart:
    """The plane of a chart: limits of both axes and where they lie in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 420.0
    height: float = 360.0
    left: float = 58.0
    bottom: float = 46.0
    top: float = 12.0
    right: float = 20.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.bottom - self.top),
        )


def observed_against_predicted(series: Sequence[Series], *, x_title: str, y_title: str) -> str:
    """Points beside the line where both are equal, on equal axes."""
    x = np.concatenate([one.x for one in series])
    y = np.concatenate([part for one in series for part in (one.y, one.low, one.high) if part is not None])
    both = np.concatenate([x[np.isfinite(x)], y[np.isfinite(y)]])
    chart, parts = _plane(both, both, x_title, y_title)
    parts.append(_reference_line(chart, equal=True))
    for one in series:
        parts += _bars(chart, one)
    for one in series:
        parts += _points(chart, one)
    return _svg(chart, parts, f"{y_title} against {x_title}")


def curves(
    series: Sequence[Series], *, x_title: str, y_title: str, x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None, reference: float | str = "equal", points: bool = True,
) -> str:  # fmt: skip
    """Lines through points, with a bar per point where its series has an interval.

    Parameters
    ----------
    x_limits, y_limits : of the axes; by default those of the data
    reference : a level of y that is marked by a dashed line, `equal` for the line where both are equal, or `none`
    points : whether points are drawn on the lines
    """
    x = np.concatenate([one.x for one in series])
    y = np.concatenate([part for one in series for part in (one.y, one.low, one.high) if part is not None])
    x = np.array(x_limits) if x_limits else x[np.isfinite(x)]
    y = np.array(y_limits) if y_limits else y[np.isfinite(y)]
    chart, parts = _plane(x, y, x_title, y_title)
    if reference != "none":
        equal = reference == "equal"
        parts.append(_reference_line(chart, equal=equal, level=0.0 if equal else float(reference)))
    for one in series:
        parts += _bars(chart, one)
    for one in series:
        places = [chart.at(a, b) for a, b in zip(one.x, one.y, strict=True) if np.isfinite([a, b]).all()]
        line = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        parts.append(f'<path fill="none" stroke="{one.colour}" stroke-width="1.8" d="M{line}"/>' if places else "")
        parts += _points(chart, one) if points else []
    return _svg(chart, parts, f"{y_title} against {x_title}")


@dataclass(frozen=True)
class Bar:
    """A bar of parts: shares of its height in percent with their colours, from the bottom up; and what a pointer brings up."""

    height: float
    shares: Sequence[tuple[float, str]]
    label: str


def stacked(bars: Sequence[Bar], ticks: Sequence[tuple[int, str]], *, x_title: str, y_title: str) -> str:
    """Bars side by side, each parted by its shares.

    ticks : number of a bar and the text below it
    """
    top = max((bar.height for bar in bars if math.isfinite(bar.height)), default=1.0)
    breaks = nice_breaks(0.0, top, classes=5)
    chart = Chart((0.0, float(max(len(bars), 1))), (0.0, breaks[-1]), width=860.0, height=320.0)
    parts = _horizontal_ticks(chart, breaks, y_title)
    for number, text in ticks:
        x, y = chart.at(number + 0.5, 0.0)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{escape(text)}</text>')
    parts.append(_title_below(chart, x_title))
    for number, bar in enumerate(bars):
        if not math.isfinite(bar.height):
            continue
        left, right = chart.at(number + 0.08, 0.0)[0], chart.at(number + 0.92, 0.0)[0]
        drawn, below = [], 0.0
        for share, colour in bar.shares:
            above = below + bar.height * share / 100
            high, low = chart.at(0.0, above)[1], chart.at(0.0, below)[1]
            drawn.append(
                f'<rect x="{left:.1f}" y="{high:.1f}" width="{right - left:.1f}" height="{low - high:.1f}" fill="{colour}"/>'
            )
            below = above
        parts.append(f"<g>{''.join(drawn)}<title>{escape(bar.label)}</title></g>")
    return _svg(chart, parts, f"{y_title}, by {x_title}")


def ranked(values: Series, colours: Sequence[str], *, x_title: str, limits: tuple[float, float]) -> str:
    """Estimates with their intervals in rising order, one line each, about a line at zero.

    Parameters
    ----------
    values : Series
        `x` the estimates with `low` and `high`, `labels` a text each; `y` is not used.
    colours : one per estimate
    limits : of the axis; what lies beyond is cut at its edge, with an arrow, and counted
    """
    known = np.flatnonzero(np.isfinite(values.x))
    order = known[np.argsort(values.x[known], kind="stable")]
    ticks = nice_breaks(*limits, classes=4)
    chart = Chart((ticks[0], ticks[-1]), (-1.0, float(max(len(order), 1))), height=520.0, left=14.0)
    parts = _vertical_ticks(chart, ticks, x_title)
    if ticks[0] < 0 < ticks[-1]:
        (a, b), (_, d) = chart.at(0.0, chart.y[0]), chart.at(0.0, chart.y[1])
        parts.append(f'<path class="line" d="M{a:.1f} {b:.1f}V{d:.1f}"/>')
    radius = min(3.4, max(1.2, 200 / max(len(order), 1)))
    cut = 0
    for rank, number in enumerate(order):
        ends = np.array([values.low[number], values.x[number], values.high[number]])
        low, mean, high = np.clip(ends, ticks[0], ticks[-1])
        (a, y), (b, _), (c, _) = chart.at(low, rank), chart.at(mean, rank), chart.at(high, rank)
        arrows = _arrow(a, y, -1) if ends[0] < ticks[0] else ""
        arrows += _arrow(c, y, 1) if ends[2] > ticks[-1] else ""
        cut += bool(arrows)
        dot = f'<circle cx="{b:.1f}" cy="{y:.1f}" r="{radius:.1f}" stroke="none"/>' if mean == ends[1] else ""
        parts.append(
            f'<g stroke="{colours[number]}" fill="{colours[number]}"><path stroke-width="1.2" d="M{a:.1f} {y:.1f}H{c:.1f}"/>'
            f"{arrows}{dot}<title>{escape(values.labels[number])}</title></g>"
        )
    if cut:  # below right: estimates rise from below left to above right
        x, y = chart.width - chart.right, chart.height - chart.bottom - 6
        parts.append(f'<text class="over" x="{x:g}" y="{y:g}" text-anchor="end">{cut} reach beyond the axis (arrows)</text>')
    return _svg(chart, parts, f"{values.name}: {x_title}")


def _arrow(x: float, y: float, way: int) -> str:
    """The head of an arrow that points out of a chart at its edge, to the left (-1) or to the right (1)."""
    return f'<path stroke="none" d="M{x + 5 * way:.1f} {y:.1f}l{-7 * way} -3.5v7z"/>'


MOST_STRETCHED = 2.0
"""An axis holds all intervals unless it were so many times longer than for all but the 2 % that reach farthest at either side."""


def axis_of(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Limits of an axis for intervals (n,): zero and all of them, or nearly all where few reach far beyond the rest."""
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    if not len(low) or not len(high):
        return 0.0, 1.0
    every = min(float(low.min()), 0.0), max(float(high.max()), 0.0)
    most = min(float(np.percentile(low, 2)), 0.0), max(float(np.percentile(high, 98)), 0.0)
    least, largest = every if every[1] - every[0] <= MOST_STRETCHED * (most[1] - most[0]) else most
    return (least, largest) if largest > least else (0.0, 1.0)


def density(x: np.ndarray, y: np.ndarray, *, x_title: str, y_title: str, cells: int = 56) -> str:
    """Many points as counts in square cells, beside the line where both are equal."""
    both = np.concatenate([x, y])
    chart, parts = _plane(both, both, x_title, y_title)
    counts, edges_x, edges_y = np.histogram2d(x, y, bins=cells, range=(chart.x, chart.y))
    top = math.log1p(counts.max())
    for i, j in np.argwhere(counts > 0):
        left, low = chart.at(edges_x[i], edges_y[j])
        right, high = chart.at(edges_x[i + 1], edges_y[j + 1])
        colour = ramp_colour(("#c9d8e6", "#12304f"), math.log1p(counts[i, j]) / top)
        parts.append(
            f'<rect x="{left:.1f}" y="{high:.1f}" width="{right - left:.1f}" height="{low - high:.1f}" fill="{colour}">'
            f"<title>{int(counts[i, j])} cells</title></rect>"
        )
    parts.append(_reference_line(chart, equal=True))
    return _svg(chart, parts, f"{y_title} against {x_title}")


def _plane(x: np.ndarray, y: np.ndarray, x_title: str, y_title: str) -> tuple[Chart, list[str]]:
    ticks_x, ticks_y = (
        nice_breaks(float(part.min()), float(part.max()), classes=5) if part.size else [0.0, 1.0] for part in (x, y)
    )
    chart = Chart((ticks_x[0], ticks_x[-1]), (ticks_y[0], ticks_y[-1]))
    return chart, _vertical_ticks(chart, ticks_x, x_title) + _horizontal_ticks(chart, ticks_y, y_title)


def _horizontal_ticks(chart: Chart, ticks: Sequence[float], title: str) -> list[str]:
    """Grid lines, numbers and title of the axis on the left."""
    parts = []
    for tick in ticks:
        (a, b), (c, _) = chart.at(chart.x[0], tick), chart.at(chart.x[1], tick)
        parts.append(f'<path class="grid" d="M{a:.1f} {b:.1f}H{c:.1f}"/>')
        parts.append(f'<text x="{a - 6:.1f}" y="{b + 4:.1f}" text-anchor="end">{_tick(tick)}</text>')
    middle = (chart.top + chart.height - chart.bottom) / 2
    turned = f'<text transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(title)}</text>'
    return [*parts, turned]


def _vertical_ticks(chart: Chart, ticks: Sequence[float], title: str) -> list[str]:
    """Grid lines, numbers and title of the axis below."""
    parts = []
    for tick in ticks:
        (a, b), (_, d) = chart.at(tick, chart.y[0]), chart.at(tick, chart.y[1])
        parts.append(f'<path class="grid" d="M{a:.1f} {b:.1f}V{d:.1f}"/>')
        parts.append(f'<text x="{a:.1f}" y="{b + 16:.1f}" text-anchor="middle">{_tick(tick)}</text>')
    return [*parts, _title_below(chart, title)]


def _title_below(chart: Chart, title: str) -> str:
    middle = (chart.left + chart.width - chart.right) / 2
    return f'<text x="{middle:.1f}" y="{chart.height - 8:.1f}" text-anchor="middle">{escape(title)}</text>'


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")


def _reference_line(chart: Chart, *, equal: bool, level: float = 0.0) -> str:
    if equal:
        low, high = max(chart.x[0], chart.y[0]), min(chart.x[1], chart.y[1])
        (a, b), (c, d) = chart.at(low, low), chart.at(high, high)
    else:
        (a, b), (c, d) = chart.at(chart.x[0], level), chart.at(chart.x[1], level)
    return f'<path class="line" d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>'


def _bars(chart: Chart, one: Series) -> list[str]:
    if one.low is None or one.high is None:
        return []
    found = []
    for x, low, high in zip(one.x, one.low, one.high, strict=True):
        if np.isfinite([x, low, high]).all():
            (a, b), (_, d) = chart.at(x, low), chart.at(x, high)
            found.append(f"M{a:.1f} {b:.1f}V{d:.1f}")
    return [f'<path class="bar" stroke="{one.colour}" d="{"".join(found)}"/>']


def _points(chart: Chart, one: Series) -> list[str]:
    found = []
    labels = one.labels or [""] * len(one.x)
    for x, y, label in zip(one.x, one.y, labels, strict=True):
        if np.isfinite([x, y]).all():
            a, b = chart.at(x, y)
            title = f"<title>{escape(label)}</title>" if label else ""
            found.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.4">{title}</circle>')
    return [f'<g class="points" fill="{one.colour}">{"".join(found)}</g>']


def _svg(chart: Chart, parts: Sequence[str], about: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" aria-label="{escape(about)}">'
        + "".join(parts)
        + "</svg>"
    )


def interval_bar(mean: float, low: float, high: float, limits: tuple[float, float]) -> str:
    """An interval as a small bar for a table cell, on limits that its column shares; a tick marks zero inside them."""
    if not np.isfinite([mean, low, high]).all():
        return ""
    width, (least, most) = 92.0, limits

    def at(value: float) -> float:
        return 2 + (width - 4) * min(max((value - least) / (most - least), 0.0), 1.0)

    zero = f'<path class="zero" d="M{at(0):.1f} 0V14"/>' if least < 0 < most else ""
    cut = (_arrow(5, 7, -1) if low < least else "") + (_arrow(width - 5, 7, 1) if high > most else "")
    dot = f'<circle cx="{at(mean):.1f}" cy="7" r="3"/>' if least <= mean <= most else ""
    return (
        f'<svg class="interval" viewBox="0 0 {width:g} 14" width="{width:g}" height="14" aria-hidden="true">{zero}'
        f'<path d="M{at(low):.1f} 7H{at(high):.1f}"/>{cut}{dot}</svg>'
    )
