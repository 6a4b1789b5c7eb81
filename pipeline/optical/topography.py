"""Topographic correction: reflectance of a slope as level ground under the same sun would have reflected it.

C (Teillet et al. 1982) keeps the light that reaches a slope from the sky in one number per scene and band, c; SCS+C (Soenen
et al. 2005) is the same for trees, which stand upright on a slope and do not lean with it. c is the ratio of intercept and
slope of reflectance over cos(i), i the angle between sun and ground, fitted on vegetation of the whole scene (where that is
too little, of the season), like with like: conifers on shady slopes and broadleaves on sunny ones would otherwise pass for
light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.grid import Window
from pipeline.relief import gradient

METHODS = ("none", "c", "scs_c")

REFERENCES = {
    "c": "Teillet, Guindon and Goodenough 1982, doi:10.1080/07038992.1982.10855028",
    "scs_c": "Soenen, Peddle and Coburn 2005, doi:10.1109/TGRS.2005.852480",
}

HALO_PX = 1
"""How far around a pixel its slope looks."""

FLAT_DEG = 2.0
"""Ground that leans less is left as it is: there an elevation model's errors are larger than its slopes."""

MAX_FACTOR = 2.0
"""A reflectance is at most doubled or halved: beyond that the light is guessed, and noise with it (our choice)."""

VEGETATION = ("red", "nir08", "swir16")
"""What tells vegetation and its kind: ratios of two bands, in which most of the illumination cancels."""

KINDS = 10
"""Classes of NDVI, and as many of swir16 / nir08, each with as many pixels: within one, brightness is compared."""

FIT_NDVI, FIT_SLOPE_DEG = 0.5, 5.0
"""c is fitted on vegetation, whose brightness differs less than that of all land, where the ground leans enough to tell."""

MIN_PIXELS, MIN_CELLS, MIN_T = 500, 10, 3.0
"""Fewest pixels, and cells that hold them, of a fit, and the least t of its slope. The error of the slope is taken between
cells, because pixels beside each other say the same: pixels counted one by one would call any slope significant. With 2 of
few cells, chance would correct some scene of most seasons."""

DECIDES = "nir08"
"""The band in which vegetation shows light best. It, or half of all bands, says whether a season's slopes are corrected."""

WAVELENGTH_NM = {
    "blue": 490, "green": 560, "red": 665, "rededge1": 705, "rededge2": 740, "rededge3": 783, "nir": 842, "nir08": 865,
    "swir16": 1610, "swir22": 2200,
}  # fmt: skip
"""About where the bands lie (STAC EO common names): which of them is nearest to one that cannot tell its light."""

SQUARE_PX, SQUARES, CELL_PX = 128, 4, 16
"""c is fitted on squares of the study's grid, at most `SQUARES` x `SQUARES` of them, each of cells of `CELL_PX`."""


class Sun(NamedTuple):
    """Where the sun stands: degrees above the horizon, and from the grid's north, clockwise."""

    elevation_deg: float
    azimuth_deg: float

    @property
    def direction(self) -> tuple[float, float, float]:
        """A unit vector towards the sun: east, north, up."""
        up, round_ = np.radians(self.elevation_deg), np.radians(self.azimuth_deg)
        return float(np.cos(up) * np.sin(round_)), float(np.cos(up) * np.cos(round_)), float(np.sin(up))


@dataclass(frozen=True)
class Relief:
    """The direction that the ground faces (rows, cols), as unit vectors east, north, up, float32; missing NaN."""

    east: np.ndarray
    north: np.ndarray
    up: np.ndarray

    @classmethod
    def of(cls, elevation: np.ndarray, resolution_m: float) -> Relief:
        """The inner part of an elevation model, `HALO_PX` from its edges."""
        east, north = gradient(elevation, resolution_m)
        inner = (slice(HALO_PX, -HALO_PX), slice(HALO_PX, -HALO_PX))
        up = 1 / np.sqrt(1 + east[inner] ** 2 + north[inner] ** 2)
        return cls(*((part * up).astype("float32") for part in (-east[inner], -north[inner])), up.astype("float32"))

    @property
    def slope_deg(self) -> np.ndarray:
        return np.degrees(np.arccos(np.minimum(self.up, 1)))

    def cos_incidence(self, sun: Sun) -> np.ndarray:
        """Cosine of the angle between sun and ground (rows, cols), float32: negative where a slope shades itself."""
        east, north, up = (np.float32(part) for part in sun.direction)
        return self.east * east + self.north * north + self.up * up


class Fit(NamedTuple):
    """reflectance = intercept + slope x cos(i) on a scene's vegetation; `c` is None where it tells nothing, `why` then why.

    `r` is the correlation within kinds of vegetation, `t` the slope over its error between cells. `of` is `scene`, or `season`
    for a c that is shared by the scenes of a year: reflectance is then a share of each scene's mean; or another band's name,
    whose c this one was lent.
    """

    c: float | None
    why: str
    intercept: float = 0.0
    slope: float = 0.0
    r: float = 0.0
    t: float = 0.0
    pixels: int = 0
    cells: int = 0
    of: str = "scene"


def fit_c(reflectance: np.ndarray, cos_incidence: np.ndarray, cell: np.ndarray, kind: np.ndarray | None = None) -> Fit:
    """The c of a scene and band.

    Parameters
    ----------
    reflectance, cos_incidence : array (n)
        Of some pixels of vegetation.
    cell, kind : whole numbers (n)
        The place that each pixel lies in, and the kind of vegetation that it shows (`kinds_of`). The slope is that within
        kinds, its error that between cells.

    Returns
    -------
    Fit
        Without a c, and so without a correction, where pixels or cells are few, or reflectance does not rise with cos(i)
        beyond what differs between cells (`MIN_T`). A c below 0, of a band that would be black before the light is gone,
        counts as 0.
    """
    pixels, cells = len(reflectance), len(np.unique(cell))
    if pixels < MIN_PIXELS or cells < MIN_CELLS:
        why = f"{pixels} pixels in {cells} cells of sloping vegetation; {MIN_PIXELS} in {MIN_CELLS} are needed"
        return Fit(None, why, pixels=pixels, cells=cells)
    x, y = cos_incidence.astype("float64"), reflectance.astype("float64")
    alike = np.zeros(pixels, "int64") if kind is None else np.unique(kind, return_inverse=True)[1]
    away, level = _within(x, alike), _within(y, alike)
    spread, of_level = float(away @ away), float(level @ level)
    if spread <= 0:
        return Fit(None, "all slopes face the sun alike", pixels=pixels, cells=cells)
    slope = float(away @ level) / spread
    intercept = float(y.mean() - slope * x.mean())
    by_cell = np.bincount(np.unique(cell, return_inverse=True)[1], weights=away * (level - slope * away))
    error = float(np.sqrt((by_cell @ by_cell) * cells / (cells - 1))) / spread
    t = slope / error if error > 0 else 0.0
    r = slope * float(np.sqrt(spread / of_level)) if of_level > 0 else 0.0
    found = Fit(None, "", intercept, slope, r, t, pixels, cells)
    if slope <= 0 or t < MIN_T:
        return found._replace(why=f"reflectance does not rise with illumination: t {t:.2f}, {MIN_T:g} is needed")
    return found._replace(c=max(intercept / slope, 0.0))


def falls(fit: Fit) -> bool:
    """Whether a band gets darker with the light as clearly as it should get brighter: something else is at work."""
    return fit.c is None and fit.t <= -MIN_T


def of_scene(own: Mapping[str, Fit], season: Mapping[str, Fit]) -> tuple[str, dict[str, Fit]]:
    """What a scene is corrected with: all of its bands, or none.

    An index of corrected and uncorrected bands would show the slopes that neither shows. So the season decides, by its scenes
    together, whether there is light to take out, and a scene stays out only where it clearly falls with the light.

    Parameters
    ----------
    own, season : mapping of band to Fit
        Of the scene alone, and of the scenes of its season together; both of the same bands, `DECIDES` among them.

    Returns
    -------
    why : str
        Why none is corrected; empty where all are.
    fits : mapping of band to Fit
        Each with a c, or each without. A band's own c counts first, then the season's, then that of the band which is
        nearest in wavelength and has one.
    """
    why = _too_little_light(season) or _against_the_light(own)
    if why:
        return why, {role: fit if fit.c is None else fit._replace(c=None, why=why) for role, fit in own.items()}
    told = {role: fit if fit.c is not None else season[role] for role, fit in own.items()}
    sure = {role: fit for role, fit in told.items() if fit.c is not None}
    return "", {role: sure[role] if role in sure else _lent(role, own[role], sure) for role in own}


def _too_little_light(season: Mapping[str, Fit]) -> str:
    rising = sum(fit.c is not None for fit in season.values())
    if season[DECIDES].c is not None or 2 * rising >= len(season):
        return ""
    return f"the season does not tell its light: {rising} of {len(season)} bands rise with it, {DECIDES} ({season[DECIDES].why})"


def _against_the_light(own: Mapping[str, Fit]) -> str:
    falling = sum(map(falls, own.values()))
    if not falls(own[DECIDES]) and 2 * falling < len(own):
        return ""
    return f"the scene gets darker with the light in {falling} of {len(own)} bands: t {own[DECIDES].t:.2f} in {DECIDES}"


def _lent(role: str, own: Fit, sure: Mapping[str, Fit]) -> Fit:
    place = WAVELENGTH_NM.get(role, WAVELENGTH_NM[DECIDES])
    nearest = min(sure, key=lambda other: (abs(WAVELENGTH_NM.get(other, WAVELENGTH_NM[DECIDES]) - place), other))
    return own._replace(c=sure[nearest].c, why=f"{own.why}; c is that of {nearest}", of=nearest)


def years_that_differ(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence per sensor some of whose years are corrected and others not, or not in all scenes: their change shows slopes.

    Parameters
    ----------
    tables : what the step `topography` wrote, of any sensors and years
    """
    counts: dict[str, dict[int, tuple[int, int]]] = {}
    for table in tables:
        scenes = table["scenes"].values()
        counts.setdefault(table["sensor"], {})[table["year"]] = (sum(one["corrected"] for one in scenes), len(scenes))
    return [
        f"{sensor}: slopes are corrected in "
        + ", ".join(f"{done} of {of} scenes of {year}" for year, (done, of) in sorted(years.items()))
        + ": what changes between these years is partly the light on slopes; topographic: none treats all years alike"
        for sensor, years in sorted(counts.items())
        if len({done / of if of else 0.0 for done, of in years.values()}) > 1
    ]


class Seen(NamedTuple):
    """Sloping vegetation of a scene in one band: what `fit_c` takes."""

    reflectance: np.ndarray
    cos_incidence: np.ndarray
    cell: np.ndarray
    kind: np.ndarray


def fit_of_season(scenes: Sequence[Seen]) -> Fit:
    """The c that the scenes of a year share in a band, for those that cannot tell their own.

    c is the light of the sky over that of the sun, which differs less between the dates of a season than the sun's place
    does: reflectance = a (cos(i) + c), a and cos(i) of each scene its own. So each scene's reflectance is taken as a share of its
    mean, vegetation is compared within kinds of one scene, and a place that several scenes show counts as one cell.
    """
    there = [seen for seen in scenes if len(seen.reflectance)]
    if not there:
        return fit_c(np.zeros(0), np.zeros(0), np.zeros(0, "int64"))._replace(of="season")
    kinds = [seen.kind + number * KINDS**2 for number, seen in enumerate(there)]
    found = fit_c(
        np.concatenate([seen.reflectance / seen.reflectance.mean() for seen in there]),
        np.concatenate([seen.cos_incidence for seen in there]),
        np.concatenate([seen.cell for seen in there]),
        np.concatenate(kinds),
    )
    return found._replace(of="season")


def _within(values: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Values less the mean of their kind."""
    return values - (np.bincount(alike, weights=values) / np.bincount(alike))[alike]


def kinds_of(red: np.ndarray, nir08: np.ndarray, swir16: np.ndarray) -> np.ndarray:
    """The kind of vegetation of some pixels (n), whole numbers: tenths by NDVI crossed with tenths by swir16 / nir08."""
    if not len(red):
        return np.zeros(0, "int64")
    return _tenth((nir08 - red) / (nir08 + red)) * KINDS + _tenth(swir16 / nir08)


def _tenth(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.quantile(values, np.arange(1, KINDS) / KINDS), values)


def factor(relief: Relief, sun: Sun, c: float, method: str) -> np.ndarray:
    """What reflectance is multiplied with (rows, cols), float32: 1 on flat ground and where its height is missing.

    A slope that shades itself counts as lit from the sky alone (cos(i) = 0).
    """
    out = np.empty(relief.up.shape, "float32")
    _corrected(np.ones(out.shape, "float32"), 1.0, 0.0, relief, sun, c, method, out)
    return out


def corrected(
    numbers: np.ndarray, encoding: tuple[float, float], relief: Relief, sun: Sun, c: float, method: str
) -> np.ndarray:
    """Reflectance (rows, cols), float32, of a band's digital numbers, as level ground would have reflected it."""
    out = np.empty(relief.up.shape, "float32")
    _corrected(numbers, *encoding, relief, sun, c, method, out)
    return out


def _corrected(numbers, scale, offset, relief: Relief, sun: Sun, c: float, method: str, out: np.ndarray) -> None:
    from pipeline.optical import kernels

    if method not in METHODS[1:]:
        raise ValueError(f"a topographic correction is one of {', '.join(METHODS[1:])}, got {method!r}")
    flat = np.float32(np.cos(np.radians(FLAT_DEG)))
    arrays = (np.ascontiguousarray(numbers), relief.east, relief.north, relief.up)
    kernels.lit_level(*arrays, scale, offset, *sun.direction, c, method == "scs_c", flat, MAX_FACTOR, out)


def sample_windows(rows: int, cols: int) -> list[Window]:
    """Where c is fitted: squares spread evenly over a grid, the whole of a small one.

    They follow from the grid's size alone, not from chunks or blocks.
    """
    return [
        Window(row, min(row + SQUARE_PX, rows), col, min(col + SQUARE_PX, cols))
        for row in _starts(rows)
        for col in _starts(cols)
    ]


def _starts(size: int) -> list[int]:
    if size <= SQUARES * SQUARE_PX:
        return list(range(0, size, SQUARE_PX))
    return [number * (size - SQUARE_PX) // (SQUARES - 1) for number in range(SQUARES)]


def cells_of(window: Window, cols: int) -> np.ndarray:
    """The number of the cell that each pixel of a window lies in (rows, cols), counted over a grid of `cols` columns."""
    across = -(-cols // CELL_PX)
    row, col = np.arange(window.row0, window.row1) // CELL_PX, np.arange(window.col0, window.col1) // CELL_PX
    return row[:, None] * across + col


def sloping_vegetation(reflectance: Mapping[str, np.ndarray], relief: Relief) -> np.ndarray:
    """Where c is fitted (rows, cols): clear, green and steep enough; `reflectance` has red and nir08, missing NaN."""
    red, nir = reflectance["red"], reflectance["nir08"]
    with np.errstate(invalid="ignore", divide="ignore"):
        ndvi = (nir - red) / (nir + red)
        return (ndvi >= FIT_NDVI) & (relief.up <= np.cos(np.radians(FIT_SLOPE_DEG)))
