"""Field plots and their trees: positions, footprints, dates and diameters, as a forester's tables hold them."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import tables

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

TARGET_COLUMNS = ("agb_mg_ha", "volume_m3_ha", "basal_area_m2_ha", "dominant_height_m", "stems_n_ha")
MEASURED_COLUMNS = (*TARGET_COLUMNS, *(f"{column}_se" for column in TARGET_COLUMNS))
PLOT_COLUMNS = (
    "plot", "date", "x", "y", "cluster", "stratum", "radius_m", "area_ha", "disturbance_date", *MEASURED_COLUMNS,
)  # fmt: skip
CORNER_COLUMNS = ("plot", "x_site_m", "y_site_m", "x", "y")
TREE_COLUMNS = (
    "plot", "date", "tree", "species", "genus", "family", "dbh_cm", "height_m", "status", "x_site_m", "y_site_m",
    "trees_per_ha", "wood_density_g_cm3", "volume_m3",
)  # fmt: skip
HEIGHT_COLUMNS = ("plot", "dbh_cm", "height_m", "species", "genus")
STATUS = {"live": "live", "alive": "live", "l": "live", "dead": "dead", "d": "dead", "": "live"}
UNIDENTIFIED = ("indet", "unknown", "unidentified")
CIRCLE_CORNERS = 64
MAX_OUTSIDE_M = 10.0  # a tree farther outside its plot's corners is a mistake, not a tree on the edge
MAX_FAR_SHARE = 0.05  # and more such trees are no slip of the pen, but coordinates of another frame
MAX_CORNER_RESIDUAL_M = 5.0
MAX_HEIGHT_M = 130.0  # above the tallest tree known


def read_plots(settings: dict[str, Any], *, crs: str) -> gpd.GeoDataFrame:
    """Plots with their footprints, one row per plot and date, in the study's CRS.

    Parameters
    ----------
    settings : dict
        The section `plots` of a study, as plain values.
    crs : str
        The study's projected CRS, metres.

    Returns
    -------
    GeoDataFrame
        plot, date, visited (the table itself gives the date: someone was there), cluster, stratum (missing where
        unknown), disturbance_date, area_ha, the target columns of the table, geometry (footprint: polygons as given,
        circles as polygons of 64 corners and the circle's area, sub-plots as quadrilaterals). Ordered by plot and date.

    Raises
    ------
    ValueError, FileNotFoundError
        For tables that cannot be used: zero plots, plots without position, size or date, repeated plot and date,
        an unknown CRS.
    """
    import pandas as pd

    frame = _plots_of_corners(settings, crs) if settings.get("corners") else _plots_of_table(settings, crs)
    frame = _dated(frame, settings)
    file = settings.get("corners") or settings["file"]
    repeated = frame.duplicated(["plot", "date"], keep=False)
    if repeated.any():
        first = frame[repeated].iloc[0]
        same = (frame["plot"] == first["plot"]) & (frame["date"] == first["date"])
        where = "" if settings.get("corners") else f"{tables.rows(dict.fromkeys(frame.index[same]))}; "
        raise ValueError(
            f"{file}: plot {first['plot']} is listed more than once for {first['date']:%Y-%m-%d} "
            f"({where}{int(repeated.sum())} such rows in all)"
        )
    if "disturbance_date" not in frame:
        frame["disturbance_date"] = pd.NaT
    frame["disturbance_date"] = frame["disturbance_date"].astype("datetime64[us]")
    targets = [column for column in MEASURED_COLUMNS if column in frame]
    kept = ["plot", "date", "visited", "cluster", "stratum", "disturbance_date", "area_ha", *targets, "geometry"]
    log.info("read %d plots, %d rows of plot and date", frame["plot"].nunique(), len(frame))
    return frame.sort_values(["plot", "date"], kind="stable", ignore_index=True)[kept]


def read_trees(settings: dict[str, Any], *, plots: gpd.GeoDataFrame) -> pd.DataFrame:
    """Trees of the plots, checked row by row.

    Parameters
    ----------
    settings : dict
        The section `plots` of a study, as plain values.
    plots : GeoDataFrame
        What `read_plots` gave: every tree must belong to one of its plots and dates.

    Returns
    -------
    DataFrame
        plot, date, cluster, tree, species (genus and epithet, '' where unknown), genus, family, dbh_cm, height_m
        (NaN where not measured), status (live; dead, small and none do not count), trees_per_ha (one over the plot's
        area unless given), and wood_density_g_cm3, volume_m3 where given. Status `none` marks visits that found no
        tree: rows with neither dbh nor species, and one row for each visited plot and date that the list lacks.

    Raises
    ------
    ValueError, FileNotFoundError
        Naming the rows with an impossible dbh or height, an unknown status, or a plot or date not in `plots`.
    """
    file = settings["trees"]
    trees = _tree_table(settings, required=["plot", "dbh_cm"])
    _check_diameters(trees, settings)
    _check_heights(trees, file)
    small = (trees["dbh_cm"] < settings["min_dbh_cm"]) & (trees["status"] == "live")
    if small.any():
        log.info(
            "%d of %d trees are below min_dbh_cm %g and do not count", small.sum(), len(trees), settings["min_dbh_cm"]
        )
        trees.loc[small, "status"] = "small"
    if settings.get("corners"):
        trees["plot"] = _placed(trees, settings)
    trees = _joined(trees, plots, settings)
    trees = _with_empty_visits(trees, plots)
    dead = int((trees["status"] == "dead").sum())
    measured = int(trees["height_m"].notna().sum())
    count = int((trees["status"] != "none").sum())
    log.info("read %d trees, %d of them dead, %d with a measured height", count, dead, measured)
    return trees.sort_values(["plot", "date"], kind="stable", ignore_index=True)


def read_height_pairs(settings: dict[str, Any]) -> pd.DataFrame:
    """Diameters with measured heights from the file `height_pairs`: dbh_cm, height_m, and plot where known."""
    file = settings["height_pairs"]
    frame = tables.named_columns(
        tables.read_table(file),
        settings["height_columns"],
        known=HEIGHT_COLUMNS,
        required=("dbh_cm", "height_m"),
        file=file,
        setting="plots.height_columns",
    )
    for column in ("dbh_cm", "height_m"):
        frame[column] = tables.numbers(frame[column], file=file)
    complete = frame["dbh_cm"].notna() & frame["height_m"].notna()
    if not complete.all():
        log.info("%s: left out %d of %d rows without dbh or height", file, (~complete).sum(), len(frame))
    frame = frame[complete]
    _check_diameters(frame, {**settings, "trees": file})
    _check_heights(frame, file)
    if "plot" in frame:
        frame["plot"] = tables.texts(frame["plot"])
    return frame


# ---------------------------------------------------------------- plots given by a table


def _plots_of_table(settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    file = settings["file"]
    raw = tables.read_table(file, layer=settings.get("layer"))
    shaped = hasattr(raw, "geom_type")
    frame = tables.named_columns(
        raw,
        settings["columns"],
        known=PLOT_COLUMNS,
        required=["plot"] if shaped else ["plot", "x", "y"],
        file=file,
        setting="plots.columns",
    )
    frame["plot"] = tables.texts(frame["plot"])
    if (frame["plot"] == "").any():
        raise ValueError(f"{file}: the plot is missing in {tables.rows(frame.index[frame['plot'] == ''])}")
    for column in frame.columns.intersection(["radius_m", "area_ha", *MEASURED_COLUMNS]):
        frame[column] = tables.numbers(frame[column], file=file)
        negative = frame[column] < 0
        if negative.any():
            raise ValueError(f"{file}: {column} is negative in {tables.rows(frame.index[negative])}")
    if "disturbance_date" in frame:
        frame["disturbance_date"] = tables.dates(frame["disturbance_date"], file=file)
    frame["cluster"] = tables.texts(frame["cluster"]) if "cluster" in frame else frame["plot"]
    frame["cluster"] = frame["cluster"].where(frame["cluster"] != "", frame["plot"])
    stratum = tables.texts(frame["stratum"]) if "stratum" in frame else None
    frame["stratum"] = None if stratum is None else stratum.where(stratum != "", None)
    points = _shapes(frame, settings, crs) if shaped else _points(frame, settings, crs)
    return _footprints(points, settings, file)


def _shapes(frame: gpd.GeoDataFrame, settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    file = settings["file"]
    missing = frame.geometry.isna() | frame.geometry.is_empty
    if missing.any():
        names = tables.rows(frame.loc[missing, "plot"], noun="plot")
        raise ValueError(f"{file}: {names} {'has' if missing.sum() == 1 else 'have'} no position")
    if frame.crs is None and not settings.get("crs"):
        raise ValueError(f"{file} does not say its coordinate reference system; name it in plots.crs")
    if frame.crs is None:
        frame = frame.set_crs(settings["crs"])
    if frame.crs != crs:
        log.info("%s: reprojected from %s to %s", file, frame.crs.to_string(), crs)
        frame = frame.to_crs(crs)
    kinds = sorted(set(frame.geom_type) - {"Point", "Polygon", "MultiPolygon"})
    if kinds:
        raise ValueError(f"{file} holds {', '.join(kinds)}; plots are points (centres) or polygons")
    return frame


def _points(frame: pd.DataFrame, settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    file = settings["file"]
    for column in ("x", "y"):
        frame[column] = tables.numbers(frame[column], file=file)
    missing = frame["x"].isna() | frame["y"].isna()
    if missing.any():
        names = tables.rows(dict.fromkeys(frame.loc[missing, "plot"]), noun="plot")
        raise ValueError(f"{file}: {names} without position ({tables.rows(frame.index[missing])})")
    x, y = map_coordinates(frame, settings, crs, file)
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(x, y), crs=crs)


def map_coordinates(
    frame: pd.DataFrame, settings: dict[str, Any], crs: str, file: str
) -> tuple[np.ndarray, np.ndarray]:
    """The columns x and y of a table in the study's CRS, metres."""
    from pyproj import CRS, Transformer

    degrees = bool((frame["x"].abs() <= 180).all() and (frame["y"].abs() <= 90).all())
    if not settings.get("crs"):
        guess = "; they look like longitude and latitude (EPSG:4326)" if degrees else ""
        raise ValueError(f"{file} does not say what its x and y are{guess}; name their CRS in plots.crs")
    source = CRS.from_user_input(settings["crs"])
    if degrees != source.is_geographic:
        looks = "look like degrees" if degrees else "are no degrees"
        kind = "geographic" if source.is_geographic else "projected"
        raise ValueError(f"{file}: x and y {looks}, but plots.crs {settings['crs']} is {kind}")
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    if source == CRS.from_user_input(crs):
        return x, y
    log.info("%s: reprojected from %s to %s", file, settings["crs"], crs)
    return Transformer.from_crs(source, crs, always_xy=True).transform(x, y)


def _footprints(frame: gpd.GeoDataFrame, settings: dict[str, Any], file: str) -> gpd.GeoDataFrame:
    """Circles around centres; polygons stay. The area is the table's, else the radius's or the polygon's."""
    centre = (frame.geom_type == "Point").to_numpy()
    area = frame["area_ha"].to_numpy() if "area_ha" in frame else np.full(len(frame), np.nan)
    radius = frame["radius_m"].to_numpy() if "radius_m" in frame else np.full(len(frame), np.nan)
    if settings.get("area_ha") and not settings.get("radius_m"):
        area = np.where(np.isnan(area) & np.isnan(radius), settings["area_ha"], area)
    if settings.get("radius_m"):
        radius = np.where(np.isnan(radius) & np.isnan(area), settings["radius_m"], radius)
    radius = np.where(np.isnan(radius), np.sqrt(area * 1e4 / np.pi), radius)
    shaped = np.where(centre, np.pi * radius**2, frame.geometry.area.to_numpy()) / 1e4
    area = np.where(np.isnan(area), shaped, area)
    sizeless = np.isnan(area) | (area <= 0)
    if sizeless.any():
        names = tables.rows(dict.fromkeys(frame.loc[sizeless, "plot"]), noun="plot")
        raise ValueError(
            f"{file}: no size for {names}; give radius_m or area_ha, as a column or in the settings of plots"
        )
    apart = np.abs(area / shaped - 1) > 0.05
    if apart.any():
        log.warning("%s: area_ha differs from the footprint by more than 5 %% in %d plots", file, apart.sum())
    frame["area_ha"] = area
    if centre.any():
        circles = circle(frame.geometry.x[centre], frame.geometry.y[centre], radius[centre])
        geometry = frame.geometry.array.copy()
        geometry[centre] = circles
        frame = frame.set_geometry(geometry)
    return frame


def circle(x: np.ndarray, y: np.ndarray, radius_m: np.ndarray) -> np.ndarray:
    """Polygons of 64 corners with the area of circles of these centres and radii."""
    import shapely

    step = 2 * np.pi / CIRCLE_CORNERS
    outer = np.asarray(radius_m) * np.sqrt(step / np.sin(step))
    angle = np.arange(CIRCLE_CORNERS) * step
    corners = np.stack(
        [
            np.asarray(x)[:, None] + outer[:, None] * np.cos(angle),
            np.asarray(y)[:, None] + outer[:, None] * np.sin(angle),
        ],
        axis=-1,
    )
    return shapely.polygons(corners)


# ---------------------------------------------------------------- plots given by corners


def _corner_table(settings: dict[str, Any]) -> pd.DataFrame:
    file = settings["corners"]
    frame = tables.named_columns(
        tables.read_table(file, layer=settings.get("layer")),
        settings["columns"],
        known=CORNER_COLUMNS,
        required=CORNER_COLUMNS,
        file=file,
        setting="plots.columns",
    )
    frame["plot"] = tables.texts(frame["plot"])
    for column in ("x_site_m", "y_site_m", "x", "y"):
        frame[column] = tables.numbers(frame[column], file=file)
    missing = frame[["x_site_m", "y_site_m", "x", "y"]].isna().any(axis=1) | (frame["plot"] == "")
    if missing.any():
        raise ValueError(f"{file}: plot or position is missing in {tables.rows(frame.index[missing])}")
    return frame


def _site_boxes(corners: pd.DataFrame) -> pd.DataFrame:
    """Per plot its extent in the site frame: x0, y0, x1, y1, metres."""
    grouped = corners.groupby("plot", sort=True)
    return grouped.agg(x0=("x_site_m", "min"), y0=("y_site_m", "min"), x1=("x_site_m", "max"), y1=("y_site_m", "max"))


def _plots_of_corners(settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
    """The plots, or their square sub-plots, laid on the map by a least-squares affine fit to each plot's corners."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    file = settings["corners"]
    corners = _corner_table(settings)
    corners["x"], corners["y"] = map_coordinates(corners, settings, crs, file)
    boxes = _site_boxes(corners)
    records, shapes = [], []
    for plot, box in boxes.iterrows():
        matrix = _site_to_map(corners[corners["plot"] == plot], plot, file)
        across, up = _divisions(box, settings.get("subplot_m"), plot, file)
        for i, (west, east) in enumerate(pairwise(across)):
            for j, (south, north) in enumerate(pairwise(up)):
                ring = np.array([[west, south, 1], [east, south, 1], [east, north, 1], [west, north, 1]])
                shapes.append(shapely.polygons(ring @ matrix))
                name = plot if settings.get("subplot_m") is None else f"{plot}_{i}_{j}"
                records.append({"plot": name, "cluster": plot, "area_ha": (east - west) * (north - south) / 1e4})
    frame = gpd.GeoDataFrame(pd.DataFrame(records).assign(stratum=None), geometry=shapes, crs=crs)
    ratio = float(frame.area.sum() / 1e4 / frame["area_ha"].sum())
    log.info("%d plots by corners; their area on the map is %.4f of that on the tape", len(boxes), ratio)
    if abs(ratio - 1) > 0.02:
        log.warning("%s: the plots' area on the map is %.3f of that in the site frame", file, ratio)
    return frame


def _site_to_map(corners: pd.DataFrame, plot: str, file: str) -> np.ndarray:
    """(3, 2) matrix: [x_site, y_site, 1] @ matrix = [x, y]; repeated fixes of a corner average out."""
    site = np.column_stack([corners["x_site_m"], corners["y_site_m"], np.ones(len(corners))])
    target = corners[["x", "y"]].to_numpy()
    if np.linalg.matrix_rank(site) < 3:
        raise ValueError(
            f"{file}: plot {plot} has {len(corners)} corners on one line; at least three corners are needed"
        )
    matrix, *_ = np.linalg.lstsq(site, target, rcond=None)
    residual = float(np.sqrt(((site @ matrix - target) ** 2).sum(axis=1).mean()))
    if residual > MAX_CORNER_RESIDUAL_M:
        raise ValueError(
            f"{file}: the corners of plot {plot} miss a straight fit of site frame to map by {residual:.1f} m; "
            "look for exchanged corners or coordinates"
        )
    return matrix


def _divisions(box: pd.Series, side_m: float | None, plot: str, file: str) -> list[np.ndarray]:
    edges = []
    for low, high in ((box.x0, box.x1), (box.y0, box.y1)):
        count = 1 if side_m is None else round((high - low) / side_m)
        if side_m is not None and (count < 1 or abs(count * side_m - (high - low)) > 0.01 * side_m):
            raise ValueError(f"{file}: subplot_m {side_m:g} does not divide the {high - low:g} m side of plot {plot}")
        edges.append(np.linspace(low, high, count + 1))
    return edges


def _placed(trees: pd.DataFrame, settings: dict[str, Any]) -> pd.Series:
    """The sub-plot of each tree by its place in the site frame; trees just outside the corners go to the nearest."""
    file = settings["trees"]
    boxes = _site_boxes(_corner_table(settings))
    _refuse_unknown_plots(trees, set(boxes.index), file, settings["corners"])
    if settings.get("subplot_m") is None:
        return trees["plot"]
    columns = {"x_site_m", "y_site_m"} - set(trees)
    if columns:
        raise ValueError(
            f"{file} lacks {' and '.join(sorted(columns))}, which place trees in sub-plots (plots.tree_columns)"
        )
    missing = (trees[["x_site_m", "y_site_m"]].isna().any(axis=1)) & (trees["status"] != "none")
    if missing.any():
        raise ValueError(f"{file}: no place in the site frame in {tables.rows(trees.index[missing])}")
    box = boxes.loc[trees["plot"]].set_index(trees.index)
    names, outside_m = trees["plot"], np.zeros(len(trees))
    for position, low, high in (("x_site_m", "x0", "x1"), ("y_site_m", "y0", "y1")):
        at = trees[position].fillna(box[low])
        outside_m = np.maximum(outside_m, np.maximum(box[low] - at, at - box[high]))
        last = np.round((box[high] - box[low]) / settings["subplot_m"]).astype(int) - 1
        index = np.floor((at - box[low]) / settings["subplot_m"]).clip(0, last).astype(int)
        names = names + "_" + index.astype(str)
    _report_outside(trees, outside_m, file)
    return names


def _report_outside(trees: pd.DataFrame, outside_m: np.ndarray, file: str) -> None:
    """Say how many trees stand outside; refuse a list that is in another frame than the corners."""
    far = outside_m > MAX_OUTSIDE_M
    if far.mean() > MAX_FAR_SHARE:
        raise ValueError(
            f"{file}: {far.sum()} of {len(trees)} trees stand more than {MAX_OUTSIDE_M:g} m outside their plot's "
            f"corners ({tables.rows(trees.index[far])}); are x_site_m and y_site_m in the frame of the corners?"
        )
    near = (outside_m > 0) & ~far
    if near.any():
        log.info(
            "%d trees stand up to %.1f m outside their plot's corners: counted in the nearest sub-plot",
            near.sum(), outside_m[near].max(),
        )  # fmt: skip
    if far.any():
        log.warning(
            "%s: the trees of %s stand up to %.0f m outside their plot's corners: counted in the nearest sub-plot",
            file, tables.rows(trees.index[far]), outside_m.max(),
        )  # fmt: skip


# ---------------------------------------------------------------- dates


def _dated(frame: gpd.GeoDataFrame, settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """The table's dates, else the trees' dates (each plot once per date), else the one date of the settings."""
    import pandas as pd

    file = settings.get("corners") or settings["file"]
    default = pd.Timestamp(settings["date"]) if settings.get("date") else pd.NaT
    frame["visited"] = False
    if "date" in frame:
        frame["date"] = tables.dates(frame["date"], file=file)
        frame["visited"] = frame["date"].notna()
    elif settings.get("trees"):
        trees = _tree_table(settings, required=["plot"])
        if "date" in trees:
            key = "cluster" if settings.get("corners") else "plot"
            visits = trees[["plot", "date"]].drop_duplicates().rename(columns={"plot": key})
            frame = frame.rename_axis("row").reset_index().merge(visits, on=key, how="left").set_index("row")
    if "date" not in frame:
        frame["date"] = default
    frame["date"] = frame["date"].fillna(default).astype("datetime64[us]")
    undated = frame["date"].isna()
    if undated.any():
        names = tables.rows(dict.fromkeys(frame.loc[undated, "plot"]), noun="plot")
        raise ValueError(f"{file}: no date of measurement for {names}; add a column date or set plots.date")
    return frame


# ---------------------------------------------------------------- trees


def _tree_table(settings: dict[str, Any], *, required: list[str]) -> pd.DataFrame:
    """The tree list under our names and types; dates only where the file has them."""
    file = settings["trees"]
    trees = tables.named_columns(
        tables.read_table(file),
        settings["tree_columns"],
        known=TREE_COLUMNS,
        required=required,
        file=file,
        setting="plots.tree_columns",
    )
    for column in ("plot", "tree", "species", "genus", "family", "status"):
        trees[column] = tables.texts(trees[column]) if column in trees else ""
    if (trees["plot"] == "").any():
        raise ValueError(f"{file}: the plot is missing in {tables.rows(trees.index[trees['plot'] == ''])}")
    numeric = ("dbh_cm", "height_m", "x_site_m", "y_site_m", "trees_per_ha", "wood_density_g_cm3", "volume_m3")
    for column in numeric:
        if column in trees:
            trees[column] = tables.numbers(trees[column], file=file)
    if "height_m" not in trees:
        trees["height_m"] = np.nan
    if "date" in trees:
        trees["date"] = tables.dates(trees["date"], file=file)
        if trees["date"].isna().all():
            trees = trees.drop(columns="date")
    trees["tree"] = trees["tree"].where(trees["tree"] != "", trees.index.astype(str))
    _name_species(trees)
    _name_status(trees, file)
    return trees


def _name_species(trees: pd.DataFrame) -> None:
    """`species` as genus and epithet, `genus` as one word; what was not identified is '' at that level."""
    given = trees["species"] != ""
    joined = [
        species if not genus or " " in species or not species else f"{genus} {species}"
        for genus, species in zip(trees["genus"], trees["species"], strict=True)
    ]
    first = trees["species"].str.split(" ").str[0].fillna("")
    genus = trees["genus"].where(trees["genus"] != "", first.where(given, ""))
    trees["genus"] = genus.where(~genus.str.lower().str.startswith(UNIDENTIFIED), "")
    trees["species"] = np.where(given, joined, trees["genus"])


def _name_status(trees: pd.DataFrame, file: str) -> None:
    status = trees["status"].str.lower().map(STATUS)
    unknown = status.isna()
    if unknown.any():
        raise ValueError(
            f"{file}: status {trees.loc[unknown, 'status'].iloc[0]!r} in {tables.rows(trees.index[unknown])} "
            "is neither live nor dead"
        )
    if "dbh_cm" in trees:
        status = status.where(~(trees["dbh_cm"].isna() & (trees["species"] == "")), "none")
    trees["status"] = status


def _check_diameters(trees: pd.DataFrame, settings: dict[str, Any]) -> None:
    file, limit = settings["trees"], settings["max_dbh_cm"]
    dbh = trees["dbh_cm"]
    listed = trees["status"] != "none" if "status" in trees else dbh.notna()
    if (dbh.isna() & listed).any():
        raise ValueError(f"{file}: dbh is missing in {tables.rows(trees.index[dbh.isna() & listed])}")
    if (dbh <= 0).any():
        raise ValueError(f"{file}: dbh is zero or below in {tables.rows(trees.index[dbh <= 0])}")
    if (dbh > limit).any():
        hint = "; the values look like millimetres" if dbh.median() > 80 else ""
        raise ValueError(
            f"{file}: dbh is above max_dbh_cm {limit:g} in {tables.rows(trees.index[dbh > limit])}, "
            f"up to {dbh.max():g}{hint}"
        )
    if dbh.median() > 100:
        raise ValueError(
            f"{file}: half of the trees have a dbh above 100, which no forest has; the values look like millimetres, "
            "and dbh_cm is in centimetres"
        )


def _check_heights(trees: pd.DataFrame, file: str) -> None:
    wrong = (trees["height_m"] <= 0) | (trees["height_m"] > MAX_HEIGHT_M)
    if wrong.any():
        raise ValueError(
            f"{file}: height is not within 0 to {MAX_HEIGHT_M:g} m in {tables.rows(trees.index[wrong])}, "
            f"such as {trees.loc[wrong, 'height_m'].iloc[0]:g}; leave a height that was not measured empty"
        )


def _refuse_unknown_plots(trees: pd.DataFrame, known: set[str], file: str, plots_file: str) -> None:
    unknown = ~trees["plot"].isin(known)
    if unknown.any():
        names = list(dict.fromkeys(trees.loc[unknown, "plot"]))
        raise ValueError(
            f"{file}: {tables.rows(names, noun='plot')} of {tables.rows(trees.index[unknown])} "
            f"{'is' if len(names) == 1 else 'are'} not in {plots_file}{tables.nearest(names[0], known)}"
        )


def _joined(trees: pd.DataFrame, plots: gpd.GeoDataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """Trees with the cluster and area of their plot and date."""
    import pandas as pd

    file = settings["trees"]
    _refuse_unknown_plots(trees, set(plots["plot"]), file, "the plot table")
    trees = trees.rename_axis("row").reset_index()
    keys = ["plot", "date"]
    if "date" not in trees:
        several = plots.loc[plots.duplicated("plot"), "plot"]
        if len(several):
            raise ValueError(
                f"{file} has no column date, but plot {several.iloc[0]} was measured on several dates; "
                "add the date of each tree"
            )
        keys = ["plot"]
    elif trees["date"].isna().any():
        if not settings.get("date"):
            undated = trees.loc[trees["date"].isna(), "row"]
            raise ValueError(f"{file}: the date is missing in {tables.rows(undated)}; fill it in or set plots.date")
        trees["date"] = trees["date"].fillna(pd.Timestamp(settings["date"]))
    columns = ["plot", "date", "cluster", "area_ha"]
    merged = trees.merge(pd.DataFrame(plots)[columns], on=keys, how="left")
    lost = merged["area_ha"].isna()
    if lost.any():
        first = merged[lost].iloc[0]
        dates = ", ".join(f"{day:%Y-%m-%d}" for day in plots.loc[plots["plot"] == first["plot"], "date"])
        raise ValueError(
            f"{file}: the trees of {tables.rows(merged.loc[lost, 'row'])} have a date that their plot does not have: "
            f"plot {first['plot']} on {first['date']:%Y-%m-%d}, the plot table has {dates}"
        )
    whole = 1 / merged["area_ha"]
    merged["trees_per_ha"] = merged["trees_per_ha"].fillna(whole) if "trees_per_ha" in merged else whole
    return merged.drop(columns=["row", "area_ha", "x_site_m", "y_site_m"], errors="ignore")


def _with_empty_visits(trees: pd.DataFrame, plots: gpd.GeoDataFrame) -> pd.DataFrame:
    """The trees, and a row of status `none` for each visit that the plot table dates and that lists no tree."""
    import pandas as pd

    visits = pd.DataFrame(plots.loc[plots["visited"], ["plot", "date", "cluster", "area_ha"]])
    listed = pd.MultiIndex.from_frame(trees[["plot", "date"]])
    empty = visits[~pd.MultiIndex.from_frame(visits[["plot", "date"]]).isin(listed)]
    if empty.empty:
        return trees
    names = tables.rows(dict.fromkeys(empty["plot"]), noun="plot")
    log.warning("%d dated rows of the plot table have no tree in the list and count as empty: %s", len(empty), names)
    blank = dict.fromkeys(["tree", "species", "genus", "family"], "")
    rows = empty.assign(**blank, status="none", dbh_cm=np.nan, height_m=np.nan, trees_per_ha=1 / empty["area_ha"])
    return pd.concat([trees, rows.drop(columns="area_ha")], ignore_index=True)
