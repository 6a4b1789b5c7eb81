"""Where plots lie and what ground they cover: centres, polygons, repeated GPS fixes, radii, slopes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import gauss_krueger, tables, units
from catalogs.plots.findings import Findings
from catalogs.plots.tallies import MOST_AREA_HA, MOST_RADIUS_M

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from pyproj import CRS

log = logging.getLogger(__name__)

BEYOND = {"x": 1e8, "y": 1e8, "radius_m": MOST_RADIUS_M, "area_ha": MOST_AREA_HA}
"""Coordinates with a zone number in front reach 6e7 m. The largest plots of the world's forest observatories have 25 to 60 ha;
a plot of 400 m2 read as hectares is larger than any."""
LIKELY_AREA_HA = (0.001, 60.0)
FIX_COLUMNS = ("plot", "x", "y")
CIRCLE_CORNERS = 64
MAX_SLOPE_DEG = 80.0
SAME_PLACE_M = 1.0
MAX_MOVE_M = 10.0
"""Positions of one plot at two dates differ by the receivers' errors, a few metres under canopy; beyond this it is said."""
MAX_FIX_SD = 4.0
MIN_FIX_APART_M = 15.0
"""A fix is far from the others beyond 4 times their median distance (times 1.4826), and beyond what canopy alone does."""


def with_points(frame: pd.DataFrame, settings: dict[str, Any], crs: str, findings: Findings) -> gpd.GeoDataFrame:
    """The plots as points of the study's CRS by their columns x and y; a plot without position has no geometry."""
    import geopandas as gpd
    import shapely

    file = settings["file"]
    refuse = findings.refuse(frame, file)
    for column in ("x", "y"):
        if column not in frame:
            frame[column] = np.nan
        values = tables.numbers(frame[column].set_axis(frame["row"]), file=file, refuse=refuse)
        frame[column] = units.converted(values, settings["units"].get(column), setting="plots.units").to_numpy()
        clear_beyond(frame, column, file, findings)
    _clear_no_degrees(frame, np.ones(len(frame), bool), settings, file, findings, most_y=180.0)
    missing = frame["x"].isna() | frame["y"].isna()
    _say_missing(frame, missing, file, findings)
    geometry = np.full(len(frame), None, dtype=object)
    there = ~missing.to_numpy()
    if there.any():
        findings.settle()
        placed = frame[there]
        swapped = _swapped(placed, settings, crs)
        if swapped.any():
            names = tables.rows(list(dict.fromkeys(placed.loc[swapped, "plot"])), noun="plot")
            what = f"x and y of {names} look exchanged (<rows>): give plots.columns x the column of eastings or longitudes"
            mask = np.zeros(len(frame), bool)
            mask[np.flatnonzero(there)[swapped]] = True
            findings.plots("coordinates_swapped", frame, mask, file=file, what=what, noun="row")
            there &= ~mask
        _clear_no_degrees(frame, there, settings, file, findings, most_y=90.0)
        there &= frame["x"].notna().to_numpy()
    if there.any():
        x, y = map_coordinates(frame[there], settings, crs, file)
        geometry[there] = shapely.points(x, y)
    return gpd.GeoDataFrame(frame, geometry=geometry, crs=crs)


def clear_beyond(frame: pd.DataFrame, column: str, file: str, findings: Findings) -> None:
    """Coordinates and sizes that no plot can have are named and taken out of the frame."""
    far = frame[column].abs() > BEYOND.get(column, np.inf)
    if far.any():
        example = frame.loc[far, column].iloc[0]
        what = f"{column} is above {BEYOND[column]:g} in <rows>, such as {example:g}"
        low, high = LIKELY_AREA_HA
        if column == "area_ha" and low <= example * units.UNITS["ha"]["m2"] <= high:
            what += "; the values look like square metres (plots.units: {area_ha: m2})"
        findings.add("size_impossible", file=file, what=what, rows=frame.loc[far, "row"])
        frame.loc[far, column] = np.nan


def _clear_no_degrees(
    frame: pd.DataFrame, among: np.ndarray, settings: dict[str, Any], file: str, findings: Findings, *, most_y: float
) -> None:
    """Among longitudes and latitudes the few that are none are named and cleared; where most are none, the CRS is wrong.

    `most_y` is 180 as long as x and y may be exchanged, then 90.
    """
    from pyproj import CRS

    if not settings.get("crs") or not CRS.from_user_input(settings["crs"]).is_geographic:
        return
    x, y = frame["x"].abs().to_numpy(), frame["y"].abs().to_numpy()
    given = among & ~np.isnan(x) & ~np.isnan(y)
    wrong = given & ((x > 180) | (y > most_y))
    if not wrong.any() or wrong.sum() * 2 >= given.sum():
        return
    first = frame[wrong].iloc[0]
    what = f"x and y are no longitude and latitude in <rows>, such as {first['x']:g} and {first['y']:g}"
    findings.add("size_impossible", file=file, what=what, rows=frame.loc[wrong, "row"])
    findings.settle()
    frame.loc[wrong, ["x", "y"]] = np.nan


def _say_missing(frame: pd.DataFrame, missing: pd.Series, file: str, findings: Findings) -> None:
    findings.plots("position_missing", frame, missing, file=file, what="<plots> without position (<rows>)", noun="row")


def with_shapes(frame: gpd.GeoDataFrame, settings: dict[str, Any], crs: str, findings: Findings) -> gpd.GeoDataFrame:
    """The plots as the points or polygons of a vector file, in the study's CRS."""
    file = settings["file"]
    missing = frame.geometry.isna() | frame.geometry.is_empty
    _say_missing(frame, missing, file, findings)
    if frame.crs is None and not settings.get("crs"):
        raise ValueError(f"{file} does not say its coordinate reference system; name it in plots.crs")
    if frame.crs is None:
        frame = frame.set_crs(settings["crs"])
    if frame.crs != crs:
        log.info("%s: reprojected from %s to %s", file, frame.crs.to_string(), crs)
        frame = frame.to_crs(crs)
    kinds = sorted(set(frame.geom_type[~missing]) - {"Point", "Polygon", "MultiPolygon"})
    if kinds:
        raise ValueError(f"{file} holds {', '.join(kinds)}; plots are points (centres) or polygons")
    return frame


def map_coordinates(
    frame: pd.DataFrame, settings: dict[str, Any], crs: str, file: str
) -> tuple[np.ndarray, np.ndarray]:
    """The columns x and y of a table in the study's CRS, metres."""
    from pyproj import CRS, Transformer

    degrees = _like_degrees(frame["x"], frame["y"])
    if not settings.get("crs"):
        bounds = (frame["x"].min(), frame["y"].min(), frame["x"].max(), frame["y"].max())
        guess = "; they look like longitude and latitude (EPSG:4326)" if degrees else gauss_krueger.guessed_crs(bounds)
        raise ValueError(f"{file} does not say what its x and y are{guess}; name their CRS in plots.crs")
    source = CRS.from_user_input(settings["crs"])
    if degrees != source.is_geographic:
        looks = "look like degrees" if degrees else "are no degrees"
        kind = "geographic" if source.is_geographic else "projected"
        raise ValueError(f"{file}: x and y {looks}, but plots.crs {settings['crs']} is {kind}")
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    if not degrees:
        x = x + gauss_krueger.zone_shift_m(source, (x.min(), y.min(), x.max(), y.max()), file=file, setting="plots.crs")
    if source == CRS.from_user_input(crs):
        return x, y
    log.info("%s: reprojected from %s to %s", file, settings["crs"], crs)
    return Transformer.from_crs(source, crs, always_xy=True).transform(x, y)


def _like_degrees(x: pd.Series, y: pd.Series) -> bool:
    return bool((x.abs() <= 180).all() and (y.abs() <= 90).all())


def _swapped(frame: pd.DataFrame, settings: dict[str, Any], crs: str) -> np.ndarray:
    """Plots that lie outside where their CRS, or the study's, is used, and inside once x and y are exchanged."""
    from pyproj import CRS

    if not settings.get("crs"):
        return np.zeros(len(frame), bool)
    source, study = CRS.from_user_input(settings["crs"]), CRS.from_user_input(crs)
    x, y = frame["x"].to_numpy(float), frame["y"].to_numpy(float)
    return ~_used_at(x, y, source, study) & _used_at(y, x, source, study)


def _used_at(x: np.ndarray, y: np.ndarray, source: CRS, study: CRS) -> np.ndarray:
    """Whether coordinates of `source` lie where both CRSs are used, with 2 degrees around."""
    from pyproj import Transformer

    inside = np.ones(len(x), bool)
    if source.is_geographic:
        longitude, latitude = x, y
        inside &= np.abs(y) <= 90
    else:
        longitude, latitude = Transformer.from_crs(source, 4326, always_xy=True).transform(x, y)
    for used in (source.area_of_use, study.area_of_use):
        if used is not None and used.west <= used.east:
            inside &= (longitude >= used.west - 2) & (longitude <= used.east + 2)
            inside &= (latitude >= used.south - 2) & (latitude <= used.north + 2)
    return inside & np.isfinite(longitude) & np.isfinite(latitude)


# ---------------------------------------------------------------- repeated fixes


def fixes_of(settings: dict[str, Any], crs: str, findings: Findings) -> pd.DataFrame:
    """One position per plot from repeated GPS fixes, in the study's CRS.

    Returns
    -------
    DataFrame
        Indexed by plot: x, y (mean or median of its fixes), fixes_n, position_error_m: the root mean square of the
        horizontal distances of its fixes from it (n - 1 in the denominator), NaN for a plot of one fix. Fixes of one hour
        err together, so the spread is the error of the position, not the spread divided by the root of their number.
    """
    import pandas as pd

    file = settings["fixes"]
    fixes = tables.named_columns(
        tables.read_table(file, text=tables.named_in(settings["fix_columns"], ("plot",))), settings["fix_columns"],
        known=FIX_COLUMNS, required=FIX_COLUMNS, file=file, setting="plots.fix_columns",
    ).rename_axis("row").reset_index()  # fmt: skip
    fixes["plot"] = tables.texts(fixes["plot"])
    refuse = findings.refuse(fixes, file)
    for column in ("x", "y"):
        fixes[column] = tables.numbers(fixes[column].set_axis(fixes["row"]), file=file, refuse=refuse).to_numpy()
    missing = fixes["x"].isna() | fixes["y"].isna() | (fixes["plot"] == "")
    if missing.any():
        log.warning("%s: %d fixes without plot or position are left out", file, missing.sum())
        fixes = fixes[~missing].reset_index(drop=True)
    fixes["x"], fixes["y"] = map_coordinates(fixes, settings, crs, file)
    middle = fixes.groupby("plot")[["x", "y"]].transform("median")
    away = np.hypot(fixes["x"] - middle["x"], fixes["y"] - middle["y"])
    usual = 1.4826 * away.groupby(fixes["plot"]).transform("median")
    far = away > np.maximum(MAX_FIX_SD * usual, MIN_FIX_APART_M)
    if far.any():
        what = f"a GPS fix lies far from the others of its plot, up to {away[far].max():.0f} m"
        if findings.add("fixes_apart", file=file, what=what, rows=fixes.loc[far, "row"]) == "leave_out":
            fixes = fixes[~far]
    found = fixes.groupby("plot")[["x", "y"]].agg(settings["fix_position"])
    middle = found.loc[fixes["plot"]]
    square = (fixes["x"] - middle["x"].to_numpy()) ** 2 + (fixes["y"] - middle["y"].to_numpy()) ** 2
    count = fixes.groupby("plot").size()
    spread = np.sqrt(square.groupby(fixes["plot"]).sum() / (count - 1).where(count > 1))
    log.info("%s: %d fixes of %d plots, median spread %.1f m", file, len(fixes), len(found), spread.median())
    return pd.DataFrame({"x": found["x"], "y": found["y"], "fixes_n": count, "position_error_m": spread})


# ---------------------------------------------------------------- what a plot covers


def with_footprints(
    frame: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings, *, design_radius_m: np.ndarray | float | None
) -> gpd.GeoDataFrame:
    """Circles around centres; polygons stay. `design_radius_m` is that of plots without a size of their own (NaN: none).
 The area is the table's, else the radius's or the polygon's.

    Adds `level` (horizontal area per area laid out: the cosine of the slope where distances lie along the ground),
    `measured_share`, `radius_m` (as laid out, NaN for polygons) and `area_ha` (horizontal and measured).
    """
    file = settings["file"]
    centre = (frame.geom_type == "Point").to_numpy()
    nothing = np.full(len(frame), np.nan)
    area = frame["area_ha"].to_numpy(float) if "area_ha" in frame else nothing
    radius = frame["radius_m"].to_numpy(float) if "radius_m" in frame else nothing
    if settings["area_ha"] and not settings["radius_m"]:
        area = np.where(np.isnan(area) & np.isnan(radius), settings["area_ha"], area)
    fallback = settings["radius_m"] if design_radius_m is None else design_radius_m
    if fallback is not None:
        radius = np.where(np.isnan(radius) & np.isnan(area), fallback, radius)
    radius = np.where(np.isnan(radius), np.sqrt(area * 1e4 / np.pi), radius)
    frame["level"] = _level(frame, settings, findings)
    level = frame["level"].to_numpy()
    shapes = frame.geometry.area.fillna(0).to_numpy() / 1e4
    drawn = np.where(centre, np.pi * radius**2 / 1e4 * level, shapes)
    # a polygon is drawn on the map, so it is horizontal already; a table's area is as it was laid out
    area = np.where(np.isnan(area), np.where(shapes > 0, drawn, np.pi * radius**2 / 1e4 * level), area * level)
    sizeless = ~(area > 0) & (level > 0)
    what = "no size for <plots> (<rows>); give radius_m or area_ha, as a column or in the settings of plots"
    findings.plots("size_missing", frame, sizeless, file=file, what=what, noun="row")
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (np.abs(area / drawn - 1) > 0.05) & (drawn > 0)
    findings.plots("area_contradiction", frame, apart, file=file, what="area_ha differs from the footprint by more than 5 %")
    frame["measured_share"] = _share(frame, file, findings)
    cut = frame["measured_share"] < 1
    if cut.any():
        what = f"only a part was measured (measured_share), {frame.loc[cut, 'measured_share'].min():.0%} at least"
        findings.plots("plot_partly_outside", frame, cut, file=file, what=what)
    frame["radius_m"] = radius
    frame["area_ha"] = area * frame["measured_share"].to_numpy()
    if centre.any():
        aspect = frame["aspect_deg"].to_numpy(float) if "aspect_deg" in frame else nothing
        drawable = centre & (radius > 0) & (level > 0)
        geometry = frame.geometry.to_numpy().copy()
        geometry[drawable] = circle(
            frame.geometry[drawable].x, frame.geometry[drawable].y, radius[drawable],
            level=level[drawable], aspect_deg=aspect[drawable],
        )  # fmt: skip
        geometry[centre & ~drawable] = None
        frame = frame.set_geometry(geometry, crs=frame.crs)
    return frame


def _share(frame: gpd.GeoDataFrame, file: str, findings: Findings) -> np.ndarray:
    """Part of each plot that was measured, 1 where nothing is said; NaN where what is said cannot be."""
    share = frame["measured_share"].to_numpy(float) if "measured_share" in frame else np.ones(len(frame))
    wrong = ~np.isnan(share) & ~((share > 0) & (share <= 1))
    if wrong.any():
        percent = "; the values look like percent (plots.units: {measured_share: percent})"
        hint = percent if (share[wrong] > 2).all() and np.nanmax(share) <= 100 else ""
        none = "; a plot that nobody measured is plot_status: not_measured" if (share[wrong] == 0).any() else ""
        what = f"measured_share is not above 0 and at most 1 in <rows>, such as {share[wrong][0]:g}{hint}{none}"
        findings.plots("share_impossible", frame, wrong, file=file, what=what, noun="row")
    return np.where(wrong, np.nan, np.where(np.isnan(share), 1.0, share))


def _level(frame: gpd.GeoDataFrame, settings: dict[str, Any], findings: Findings) -> np.ndarray:
    if settings["distances"] == "horizontal":
        return np.ones(len(frame))
    if "slope_deg" not in frame:
        raise ValueError(
            f"{settings['file']}: plots.distances along_slope needs the slope of each plot; name its column in "
            "plots.columns.slope_deg"
        )
    slope = frame["slope_deg"].to_numpy(float)
    wrong = ~((slope >= 0) & (slope <= MAX_SLOPE_DEG))
    what = f"slope is missing or not within 0 to {MAX_SLOPE_DEG:g} degrees"
    findings.plots("slope_impossible", frame, wrong, file=settings["file"], what=what, noun="row")
    return np.cos(np.radians(np.where(wrong, np.nan, slope)))


def circle(
    x: np.ndarray, y: np.ndarray, radius_m: np.ndarray, *, level: np.ndarray | float = 1.0, aspect_deg: np.ndarray | None = None
) -> np.ndarray:
    """Polygons of 64 corners with the area of circles of these centres and radii, seen from above.

    A circle laid out along the ground is an ellipse on the map: `level` (cosine of the slope) times narrower along
    `aspect_deg` (clockwise from north); where the aspect is not known, a circle of the ellipse's area.
    """
    import shapely

    step = 2 * np.pi / CIRCLE_CORNERS
    outer = np.asarray(radius_m) * np.sqrt(step / np.sin(step))
    level = np.broadcast_to(level, outer.shape)
    known = np.zeros(outer.shape, bool) if aspect_deg is None else np.isfinite(aspect_deg)
    down = np.where(known, level, np.sqrt(level))[:, None]
    across = np.where(known, 1.0, np.sqrt(level))[:, None]
    turn = np.radians(np.where(known, 0.0 if aspect_deg is None else aspect_deg, 0.0))[:, None]
    angle = np.arange(CIRCLE_CORNERS) * step
    if not known.any() and (level == 1).all():
        east, north = np.cos(angle), np.sin(angle)
    else:
        along, beside = down * np.cos(angle), across * np.sin(angle)
        east = along * np.sin(turn) + beside * np.cos(turn)
        north = along * np.cos(turn) - beside * np.sin(turn)
    corners = np.stack(
        [np.asarray(x)[:, None] + outer[:, None] * east, np.asarray(y)[:, None] + outer[:, None] * north], axis=-1
    )
    return shapely.polygons(corners)
