"""`python -m pipeline design CONFIG`: how many plots a wanted precision takes, and where they lie."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.inference import sample_draw
from models.inference.design_totals import ENOUGH_CLUSTERS
from models.inference.sample_draw import CLUSTER_PLOTS, Clusters, Drawn, Frame, draw_sample, spread_of
from models.inference.sample_size import Layout, SampleSize, Stratum, best_plots_per_cluster, plots_needed, strata_from_pilot
from pipeline import store
from pipeline.grid import Grid

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

MOST_PLACES = 100_000
"""Cells of the frame; a larger area takes coarser cells, within which a plot lies at random."""
GPX = "http://www.topografix.com/GPX/1/1"
WHOLE = "all"
"""Name of the only stratum where stands carry none."""


def design(
    *,
    folder: Path,
    stands: Mapping[str, Any],
    grid: Mapping[str, Any],
    column: str,
    year: int,
    left_out: Path,
    plots: Path,
    table: Path,
    mean: float | None = None,
    sd: float | None = None,
    r2: float | None = None,
    half_width_percent: float = 10.0,
    confidence_percent: float = 90.0,
    allocation: str = "neyman",
    use_map: bool = True,
    method: str = "balanced",
    cluster_share: float = 0.0,
    cluster_shape: str = "square",
    cluster_spacing_m: float = 60.0,
    plots_per_cluster: int | None = None,
    cost_of_location: float | None = None,
    cost_of_plot: float | None = None,
    correlation: float = 0.5,
    seed: int = 1,
    radius_m: float | None = None,
) -> list[str]:
    """Write `plots.gpkg`, `plots.gpx`, `plots.csv` and `design.json` into `folder`; what was decided, as sentences.

    Parameters
    ----------
    column, year : target (`agb_mg_ha`) and date that the pilot speaks of
    left_out, plots, table : of a finished run: left-out predictions, plots, stands; without them `mean` and `sd` are needed
    mean, sd, r2 : of the target at plot support, the same in every stratum; they go before the run's
    use_map : the estimator will use the map (difference, GREG), so that only what it leaves counts
    plots_per_cluster : None for the shape's own number, or for the cheapest where both costs are given
    cost_of_location, cost_of_plot : of reaching a place and of measuring a plot there, in one currency
    radius_m : of a plot, where the study says it: a plot that reaches over the study's edge cannot be used
    """
    _check_clusters(cluster_share, cluster_spacing_m, plots_per_cluster, correlation, half_width_percent, radius_m)
    grid_ = Grid(**grid)
    polygons = _stands_with_strata(stands, grid_)
    frame = frame_of(polygons, grid_)
    area_ha = {name: frame.area_ha(name) for name in sorted(set(frame.stratum.tolist()))}
    strata, notes = _strata(area_ha, polygons, column, year, left_out, plots, table, mean, sd, r2)
    share, count, told = _size_of_clusters(
        cluster_share, cluster_shape, plots_per_cluster, cost_of_location, cost_of_plot, correlation
    )
    look = lookup(polygons)
    offsets = sample_draw.cluster_offsets(cluster_shape, cluster_spacing_m, count)
    clusters = sample_draw.clusters_in(frame, offsets, look) if share else None
    layout = layouts(area_ha, clusters, share, correlation)
    wanted = {
        "half_width_percent": half_width_percent, "confidence_percent": confidence_percent, "allocation": allocation,
        "layout": layout, "min_locations": ENOUGH_CLUSTERS,
    }  # fmt: skip
    without, with_map = plots_needed(strata, **wanted), plots_needed(strata, **wanted, with_map=True)
    chosen = with_map if use_map else without
    locations = dict(zip(chosen.strata, chosen.locations, strict=True))
    drawn = draw_sample(
        frame, locations, method=method, seed=seed, cluster_share=share, clusters=clusters, stratum_at=look
    )
    even, anywhere = spread_of(frame, drawn, locations, seed=seed)
    notes += [*told, *_of_drawn(drawn, grid_.bounds, cluster_spacing_m, radius_m)]
    decided = {
        "target": column, "year": year, "seed": seed, "method": method, "allocation": allocation, "with_map": chosen is with_map,
        "half_width_percent": half_width_percent, "confidence_percent": confidence_percent, "cell_m": frame.cell_m,
        "strata": [{**vars(one), "without_map": a, "with_map": b}
                   for one, a, b in zip(strata, without.locations, with_map.locations, strict=True)],
        "layout": {name: vars(one) for name, one in layout.items()}, "notes": notes,
        "clusters": {"shape": cluster_shape, "spacing_m": cluster_spacing_m, "plots": count} if clusters else None,
        "imbalance": even, "imbalance_anywhere": anywhere,
    }  # fmt: skip
    _write(folder, plot_table(drawn, polygons), decided)
    return [
        *_sentences(strata, without, with_map, chosen, drawn, half_width_percent, confidence_percent, column),
        f"spread: imbalance {even:.2f}, where locations that fall anywhere have {anywhere:.2f} (0 is even)",
        *notes,
        *_costs(drawn, cost_of_location, cost_of_plot),
        f"wrote {folder}: plots.gpkg, plots.gpx (for receivers), plots.csv, design.json",
        "plots.csv is the table to fill in: totals need its columns weight and sampling",
    ]


def _stands_with_strata(stands: Mapping[str, Any], grid: Grid) -> gpd.GeoDataFrame:
    polygons = read_stands({**stands, "include_plots": False}, crs=grid.crs, bounds=grid.bounds)
    polygons["stratum"] = polygons["stratum"].fillna(WHOLE).astype(str) if polygons["stratum"].notna().any() else WHOLE
    return polygons


def _check_clusters(
    share: float, spacing_m: float, plots: int | None, correlation: float, half_width_percent: float, radius_m: float | None
) -> None:
    """Options that no design can have, told by the name that the analyst gave them."""
    if not 0 <= share <= 1:
        raise ValueError(f"--cluster-share is the share of locations that are clusters, between 0 and 1; got {share:g}")
    if not 0 <= correlation <= 1:
        raise ValueError(f"--correlation, of two plots of a cluster, is between 0 and 1; got {correlation:g}")
    if not half_width_percent > 0:
        raise ValueError(f"--half-width-percent is above 0, such as 10; got {half_width_percent:g}")
    if plots is not None and plots < 2:
        raise ValueError(f"--plots-per-cluster is 2 or more, got {plots}; for single plots leave --cluster-share at 0")
    if share and radius_m is not None and spacing_m < 2 * radius_m:
        raise ValueError(
            f"--cluster-spacing-m {spacing_m:g} lets plots with a radius of {radius_m:g} m overlap; take {2 * radius_m:g} or more"
        )


def _of_drawn(drawn: Drawn, bounds: tuple[float, float, float, float], spacing_m: float, radius_m: float | None) -> list[str]:
    """What is wrong with the plots as drawn: those that a run would leave out, clusters of one plot."""
    said = []
    (west, south, east, north), (x, y) = bounds, drawn.xy.T
    away = np.min([x - west, east - x, y - south, north - y], axis=0)  # of the nearest edge, below zero beyond it
    over = away < (radius_m or 0.0)
    if over.any():
        gone = len(np.unique(drawn.location)) - len(np.unique(drawn.location[~over]))
        beyond = f", {int((away < 0).sum())} of them with their centre" if (away < 0).any() and radius_m else ""
        reach = max(float(-away.min()), 0.0) + (radius_m or 0.0)
        said.append(
            f"warning: {int(over.sum())} of {len(x)} plots reach over the edge of the study's area{beyond} and a run would leave "
            f"them out, {gone} of {len(np.unique(drawn.location))} locations whole, so that totals are not free of bias; widen "
            f"area.bounds by {reach:.3g} m or more on each side, and draw anew, before field work"
        )
    plots = np.unique(drawn.location[drawn.kind == "cluster"], return_counts=True)[1]
    alone = int((plots == 1).sum())
    if len(plots) and alone > len(plots) / 2:
        said.append(
            f"warning: {alone} of {len(plots)} clusters have a single plot, because the others fall outside their stratum; "
            f"--cluster-spacing-m {spacing_m:g} is too wide for these stands"
        )
    return said


def _costs(drawn: Drawn, of_location: float | None, of_plot: float | None) -> list[str]:
    if of_location is None or of_plot is None:
        return []
    cost = len(np.unique(drawn.location)) * of_location + len(drawn.xy) * of_plot
    return [f"locations and plots cost {cost:g} together"]


def _size_of_clusters(
    share: float, shape: str, plots: int | None, cost_of_location: float | None, cost_of_plot: float | None, correlation: float
) -> tuple[float, int, list[str]]:
    """Share of clusters, plots of each, and what there is to say about it."""
    share, count, said = _cheapest_clusters(share, shape, plots, cost_of_location, cost_of_plot, correlation)
    if plots is not None and not share:
        said.append("--plots-per-cluster is not used, because no location is a cluster; --cluster-share 1 draws clusters")
    return share, count, said


def _cheapest_clusters(
    share: float, shape: str, plots: int | None, cost_of_location: float | None, cost_of_plot: float | None, correlation: float
) -> tuple[float, int, list[str]]:
    if (cost_of_location is None) != (cost_of_plot is None):
        raise ValueError("--cost-of-location and --cost-of-plot belong together: how many plots a cluster has is decided by both")
    if cost_of_location is None or cost_of_plot is None:
        return share, plots or CLUSTER_PLOTS[shape], []
    best = best_plots_per_cluster(cost_of_location=cost_of_location, cost_of_plot=cost_of_plot, correlation=correlation)
    at = f"at a cost of {cost_of_location:g} per location, {cost_of_plot:g} per plot and a correlation of {correlation:g}"
    if plots is not None:
        return share, plots, [f"{at} clusters of {best} would be cheapest; {plots} were asked for"]
    if best == 1:
        return 0.0, CLUSTER_PLOTS[shape], [f"{at} single plots are cheaper than clusters, so all locations are single"]
    if not share:
        return share, best, [f"{at} clusters of {best} would be cheapest; --cluster-share 1 draws them"]
    return share, best, [f"{at} clusters of {best} are cheapest, and those are drawn"]


def layouts(area_ha: Mapping[str, float], clusters: Clusters | None, share: float, correlation: float) -> dict[str, Layout]:
    """Per stratum how large clusters are on average once the border has cut them: small where stands are small."""
    if clusters is None:
        return {name: Layout() for name in area_ha}
    middles = clusters.middles
    return {
        name: Layout(share, max(middles[name].size, 1.0), correlation, max(middles[name].square_size, 1.0)) for name in area_ha
    }


def frame_of(polygons: gpd.GeoDataFrame, grid: Grid) -> Frame:
    """Cells of the study's grid with the share of each that lies in a stratum; coarser cells where they would be too many."""
    import shapely

    cell = grid.resolution_m
    while polygons.area.sum() / cell**2 > MOST_PLACES:
        cell *= 2
    west, south, east, north = polygons.total_bounds
    x = np.arange(np.floor(west / cell) * cell + cell / 2, east + cell / 2, cell)
    y = np.arange(np.floor(south / cell) * cell + cell / 2, north + cell / 2, cell)
    shapes, labels = polygons.geometry.to_numpy(), polygons["stratum"].to_numpy(dtype=str)
    shapely.prepare(shapes)
    tree, parts = shapely.STRtree(shapes), []
    for row in y:  # a row at a time: a country's bounds hold many cells outside its stands
        cells = shapely.box(x - cell / 2, row - cell / 2, x + cell / 2, row + cell / 2)
        which, owner = tree.query(cells, predicate="intersects")
        if not len(which):
            continue
        whole = shapely.contains_properly(shapes[owner], cells[which])
        share = np.where(whole, 1.0, 0.0)
        share[~whole] = shapely.area(shapely.intersection(shapes[owner[~whole]], cells[which[~whole]])) / cell**2
        parts.append(pd.DataFrame({"x": x[which], "y": row, "stratum": labels[owner], "share": share}))
    if not parts:
        raise ValueError("the stand layer has no stand within area.bounds, so there is nowhere to draw plots")
    places = pd.concat(parts).groupby(["y", "x", "stratum"], as_index=False, sort=True)["share"].sum()
    places = places[places["share"] >= sample_draw.LEAST_SHARE]
    share = np.minimum(places["share"].to_numpy(), 1.0)  # stands that lie on top of each other
    return Frame(places[["x", "y"]].to_numpy(), places["stratum"].to_numpy(dtype=str), float(cell), share)


def lookup(polygons: gpd.GeoDataFrame) -> Callable[[np.ndarray], np.ndarray]:
    """Points (k, 2) -> the stratum (k,) that they lie in, "" outside the stands."""
    import shapely

    tree, labels = shapely.STRtree(polygons.geometry.to_numpy()), polygons["stratum"].to_numpy(dtype=str)

    def stratum_at(points: np.ndarray) -> np.ndarray:
        found = np.full(len(points), "", dtype=labels.dtype)
        which, owner = tree.query(shapely.points(points), predicate="within")
        found[which] = labels[owner]
        return found

    return stratum_at


def _strata(
    area_ha: Mapping[str, float],
    polygons: gpd.GeoDataFrame,
    column: str,
    year: int,
    left_out: Path,
    plots: Path,
    table: Path,
    mean: float | None,
    sd: float | None,
    r2: float | None,
) -> tuple[list[Stratum], list[str]]:
    """What is known of each stratum: numbers that were given, else those of a finished run."""
    if (mean is None) != (sd is None):
        raise ValueError("--mean and --sd belong together: the target's mean and its standard deviation between plots")
    if mean is not None:
        return [Stratum(name, ha, mean, sd, r2 or 0.0) for name, ha in area_ha.items()], [
            "the same mean and spread is taken for every stratum, so that allocation is by area"
        ]
    if not left_out.exists() or not plots.exists():
        raise ValueError(
            "nothing tells how much the target varies between plots: run the study first, or give --mean and --sd "
            "(of plots of the size to be used, from an older inventory or a pilot)"
        )
    pilot = _pilot(polygons, left_out, plots, year)
    known = _map_means(table, column, year) if table.exists() else None
    strata, notes = strata_from_pilot(
        area_ha, pilot["stratum"].to_numpy(dtype=str), pilot["observed"].to_numpy(), pilot["predicted"].to_numpy(), mean=known
    )
    if r2 is not None:
        strata = [Stratum(one.name, one.area_ha, one.mean, one.sd, r2) for one in strata]
    return strata, notes


def _pilot(polygons: gpd.GeoDataFrame, left_out: Path, plots: Path, year: int) -> pd.DataFrame:
    """Plots of the date (or the latest before it) with the map's left-out prediction, in the stratum that they lie in."""
    rows = store.read_table(left_out)
    years = [one for one in rows["year"].unique() if one <= year] or list(rows["year"].unique())
    rows = rows[rows["year"] == max(years)].drop_duplicates("plot")  # the first predictor set goes before the others
    places = store.read_table(plots).drop_duplicates("plot").set_index("plot").geometry.representative_point()
    rows = rows[rows["plot"].isin(places.index)].reset_index(drop=True)
    here = places.loc[rows["plot"]]
    xy = np.column_stack([here.x, here.y])
    log.info("%d plots of %d as the pilot", len(rows), max(years))
    return rows.assign(stratum=lookup(polygons)(xy))


def _map_means(table: Path, column: str, year: int) -> dict[str, float] | None:
    """Area-weighted mean of the reported estimate per stratum; None where the table has no such target."""
    stands, name = store.read_table(table), f"reported_{column}_{year}"
    if name not in stands:
        return None
    stands = stands[(stands["layer"] != "plots") & stands[name].notna()]
    stratum = stands["stratum"].fillna(WHOLE).astype(str) if stands["stratum"].notna().any() else WHOLE
    grouped = stands.assign(stratum=stratum, sum=stands[name] * stands["area_ha"]).groupby("stratum")[["sum", "area_ha"]].sum()
    return {str(key): float(row["sum"] / row["area_ha"]) for key, row in grouped.iterrows()}


def plot_table(drawn: Drawn, polygons: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """One row per plot, as a study's table of plots has it: names, stratum, stand, coordinates on the map and in degrees.

    weight : hectares that the plot stands for; sampling : that chance chose it. Totals need both.
    """
    import geopandas as gpd
    import shapely

    points = shapely.points(drawn.xy)
    which, owner = shapely.STRtree(polygons.geometry.to_numpy()).query(points, predicate="within")
    stand = np.full(len(points), "", dtype=object)
    stand[which] = polygons["stand"].to_numpy()[owner]
    within = pd.Series(drawn.location).groupby(drawn.location).cumcount().to_numpy()
    digits = max(len(str(drawn.location.max())), 3)
    name = [f"L{one:0{digits}d}" for one in drawn.location]
    letters = [chr(ord("A") + step) if kind == "cluster" else "" for step, kind in zip(within, drawn.kind, strict=True)]
    frame = gpd.GeoDataFrame(
        {
            "plot": [a + b for a, b in zip(name, letters, strict=True)], "cluster": name, "kind": drawn.kind,
            "stratum": drawn.stratum, "stand": stand, "x": drawn.xy[:, 0].round(2), "y": drawn.xy[:, 1].round(2),
            "weight": drawn.weight.round(6), "sampling": "probability",
        },
        geometry=points, crs=polygons.crs,
    )  # fmt: skip
    degrees = frame.geometry.to_crs("EPSG:4326")
    return frame.assign(longitude=degrees.x.round(7), latitude=degrees.y.round(7))


def _sentences(
    strata: list[Stratum],
    without: SampleSize,
    with_map: SampleSize,
    chosen: SampleSize,
    drawn: Drawn,
    half_width_percent: float,
    confidence_percent: float,
    column: str,
) -> list[str]:
    said = [
        f"{one.name}: {one.area_ha:.1f} ha, {column} {one.mean:.1f}, between plots {one.sd:.1f}, r2 of the map {one.r2:.2f}: "
        f"{a} locations, {b} with the map"
        for one, a, b in zip(strata, without.locations, with_map.locations, strict=True)
    ]
    said.append(
        f"+-{half_width_percent:g} % at {confidence_percent:g} % takes {without.total} locations, {with_map.total} where the map "
        f"is the auxiliary (difference, GREG): it saves {without.total - with_map.total}"
    )
    places = len(np.unique(drawn.location))
    clusters = len(np.unique(drawn.location[drawn.kind == "cluster"]))
    promised = f"; expected +-{chosen.half_width_percent:.1f} %" if places == chosen.total else f", {chosen.total} were expected"
    said.append(f"drawn: {places} locations, {clusters} of them clusters, {len(drawn.xy)} plots{promised}")
    if drawn.outside:
        said.append(f"{drawn.outside} plots of clusters fall into another stratum or outside the stands and are left out")
    return said


def _write(folder: Path, points: gpd.GeoDataFrame, decided: Mapping[str, Any]) -> None:
    store.write_layers(folder / "plots.gpkg", {"plots": points})
    store.write_table(folder / "plots.csv", pd.DataFrame(points.drop(columns="geometry")))
    store.write_json(folder / "design.json", decided)
    rows = ['<?xml version="1.0" encoding="UTF-8"?>', f'<gpx version="1.1" creator="forestsink" xmlns="{GPX}">']
    rows += [
        f'<wpt lat="{row.latitude:.7f}" lon="{row.longitude:.7f}"><name>{escape(row.plot)}</name>'
        f"<desc>{escape(f'{row.stratum}, {row.kind}, stand {row.stand}')}</desc></wpt>"
        for row in points.itertuples()
    ]
    store.write_text(folder / "plots.gpx", "\n".join([*rows, "</gpx>"]) + "\n")
