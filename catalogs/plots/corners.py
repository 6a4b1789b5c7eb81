"""Plots given by corners: a site frame with a tape, laid on the map by a fit, and cut into square sub-plots."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import tables
from catalogs.plots.findings import Findings
from catalogs.plots.places import map_coordinates

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

CORNER_COLUMNS = ("plot", "x_site_m", "y_site_m", "x", "y")
MAX_OUTSIDE_M = 10.0  # a tree farther outside its plot's corners is a mistake, not a tree on the edge
MAX_FAR_SHARE = 0.05  # and more such trees are no slip of the pen, but coordinates of another frame
MAX_CORNER_RESIDUAL_M = 5.0


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


def plots_of_corners(settings: dict[str, Any], crs: str) -> gpd.GeoDataFrame:
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


def placed(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> pd.Series:
    """The sub-plot of each tree by its place in the site frame; trees just outside the corners go to the nearest."""
    file = settings["trees"]
    boxes = _site_boxes(_corner_table(settings))
    refuse_unknown_plots(trees, set(boxes.index), file, settings["corners"], findings)
    if settings.get("subplot_m") is None:
        return trees["plot"]
    columns = {"x_site_m", "y_site_m"} - set(trees)
    if columns:
        raise ValueError(
            f"{file} lacks {' and '.join(sorted(columns))}, which place trees in sub-plots (plots.tree_columns)"
        )
    known = trees["status"] != "left_out"
    missing = trees[["x_site_m", "y_site_m"]].isna().any(axis=1) & ~trees["status"].isin(["none", "left_out"])
    findings.trees("place_missing", trees, missing, file=file, what="no place in the site frame")
    box = boxes.reindex(trees["plot"]).set_index(trees.index)
    names, outside_m = trees["plot"], np.zeros(len(trees))
    for position, low, high in (("x_site_m", "x0", "x1"), ("y_site_m", "y0", "y1")):
        at = trees[position].fillna(box[low]).where(known, box[low])
        outside_m = np.maximum(outside_m, np.maximum(box[low] - at, at - box[high]))
        last = np.round((box[high] - box[low]) / settings["subplot_m"]) - 1
        index = np.floor((at - box[low]) / settings["subplot_m"]).clip(0, last)
        names = names + "_" + index.fillna(-1).astype(int).astype(str)
    _report_outside(trees, outside_m, file)
    return names


def _report_outside(trees: pd.DataFrame, outside_m: np.ndarray, file: str) -> None:
    """Say how many trees stand outside; refuse a list that is in another frame than the corners."""
    far = outside_m > MAX_OUTSIDE_M
    if far.mean() > MAX_FAR_SHARE:
        raise ValueError(
            f"{file}: {far.sum()} of {len(trees)} trees stand more than {MAX_OUTSIDE_M:g} m outside their plot's "
            f"corners ({tables.rows(trees.loc[far, 'row'])}); are x_site_m and y_site_m in the frame of the corners?"
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
            file, tables.rows(trees.loc[far, 'row']), outside_m.max(),
        )  # fmt: skip




def refuse_unknown_plots(trees: pd.DataFrame, known: set[str], file: str, plots_file: str, findings: Findings) -> None:
    """Trees of plots that are not there."""
    unknown = ~trees["plot"].isin(known) & (trees["plot"] != "")
    if unknown.any():
        names = list(dict.fromkeys(trees.loc[unknown, "plot"]))
        verb = "is" if len(names) == 1 else "are"
        what = f"{tables.rows(names, noun='plot')} of <rows> {verb} not in {plots_file}{tables.nearest(names[0], known)}"
        findings.trees("plot_unknown", trees, unknown, file=file, what=what)
