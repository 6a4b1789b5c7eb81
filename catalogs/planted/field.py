"""What the field crews and the forest office of the planted study know: plots, trees, stands, tables, a land cover map.

Plots are an equal-probability sample of the stands' land (afforested and young stands included): anchors of clusters
fall anywhere in the site and keep those corners of a square that lie in stands; single plots fall anywhere in stands.
Anchors keep so far from the site's edge that no circle leaves it, so a strip of a square's side along the edge is
sampled half as densely by clusters. Plots on land that is felled in the last spring were put there on purpose.
The centre's recorded position is off by the GNSS error; the trees are those of the true circle. Measured at the first
and the last study year.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.planted.canopy import forest_cover
from catalogs.planted.forest import SPECIES_ORDER, Forest
from catalogs.planted.rasters import write_on_grid
from catalogs.planted.site import stream
from catalogs.planted.species import (
    ALLOMETRY,
    ALLOMETRY_COV_AB,
    ALLOMETRY_VAR_A,
    ALLOMETRY_VAR_B,
    FOREST_TYPES,
    MIN_DBH_CM,
    SPECIES,
)
from catalogs.planted.stands import CROPLAND, ROAD, WATER
from catalogs.planted.truth import FOREST_COVER_PERCENT

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

TREE_COVER, GRASSLAND, CROPS, BUILT_UP, OPEN_WATER = 10, 30, 40, 50, 80  # ESA WorldCover 2020 v100 product user manual
FIXED_DATE = "2024-12-31T00:00:00.000Z"


def write_field(folder: Path, forest: Forest, years: tuple[int, ...]) -> None:
    """Write plots.csv, trees.csv, plots.gpkg, stands.gpkg, allometry.csv, wood_density.csv and landcover_{year}.tif."""
    folder.mkdir(parents=True, exist_ok=True)
    circles = draw_plots(forest)
    plots, trees = measure(forest, circles, (years[0], years[-1]))
    _write_csv(folder / "plots.csv", plots)
    _write_csv(folder / "trees.csv", trees)
    _write_gpkg(folder / "plots.gpkg", _points(plots, forest.site.crs), "plots")
    _write_gpkg(folder / "stands.gpkg", stand_table(forest), "stands")
    _write_csv(folder / "allometry.csv", allometry_table())
    _write_csv(folder / "wood_density.csv", wood_density_table())
    for year in years:
        write_on_grid(folder / f"landcover_{year}.tif", land_cover(forest, year), forest.site, nodata=0)


def draw_plots(forest: Forest) -> pd.DataFrame:
    """True plot centres with cluster and stand (index); `gap` marks plots on land that is felled in the last spring."""
    import pandas as pd
    import shapely

    settings, site = forest.settings, forest.site
    rng = stream(settings.seed, "plots")
    west, south, east, north = site.bounds
    reach, side = settings.plot_radius_m + 0.5, settings.cluster_side_m
    land = shapely.union_all(list(forest.layout.polygons))
    rows: list[dict] = []

    def place(anchors: np.ndarray, corners: np.ndarray, prefix: str, wanted: int) -> None:
        made = 0
        for anchor in anchors:
            if made == wanted:
                break
            points = anchor + corners
            points = points[shapely.contains_xy(land, points[:, 0], points[:, 1])]
            made += len(points) > 0
            names = "ABCD" if len(corners) > 1 else ("",)
            rows.extend(
                {"plot": f"{prefix}{made:03d}{name}", "cluster": f"{prefix}{made:03d}", "x": x, "y": y, "gap": False}
                for name, (x, y) in zip(names, points, strict=False)
            )
        if made < wanted:
            raise ValueError(f"{wanted} plots do not find forest land in the planted area, only {made}; enlarge it")

    def anywhere(n: int, margin_m: float) -> np.ndarray:
        return rng.uniform((west + margin_m, south + margin_m), (east - margin_m, north - margin_m), (n, 2))

    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * side / 2
    n_clusters, n_single = settings.plot_clusters_n, settings.single_plots_n
    place(anywhere(20 * n_clusters + 50, reach + side / 2), square, "C", n_clusters)
    place(anywhere(20 * n_single + 50, reach), np.zeros((1, 2)), "P", n_single)
    for number, event in enumerate((e for e in forest.layout.events if e.kind == "gap"), start=1):
        x, y = event.polygon.centroid.x, event.polygon.centroid.y
        rows.append({"plot": f"D{number:03d}", "cluster": f"D{number:03d}", "x": x, "y": y, "gap": True})
    table = pd.DataFrame(rows)
    tree = shapely.STRtree(forest.layout.polygons)
    table["stand"] = tree.nearest(shapely.points(table["x"], table["y"]))
    return table


def measure(forest: Forest, circles: pd.DataFrame, years: tuple[int, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The plot table and the tree table of two inventories, as the crews would hand them in."""
    import pandas as pd

    settings = forest.settings
    gnss = settings.gnss_sd_m * stream(settings.seed, "gnss").standard_normal((len(circles), 2))
    days = stream(settings.seed, "field days").integers(1, 21, len(circles))
    struck = _disturbance_dates(forest, circles)
    plots, trees = [], []
    for order, year in enumerate(years):
        dates = [dt.date(year, 7, int(day)).isoformat() for day in days]
        if order == 1:
            dates = [f"{year}-05-20" if gap else date for gap, date in zip(circles["gap"], dates, strict=True)]
        table = pd.DataFrame(
            {
                "plot": circles["plot"],
                "cluster": circles["cluster"],
                "stratum": [forest.layout.forest_types[stand] for stand in circles["stand"]],
                "date": dates,
                "x": (circles["x"] + gnss[:, 0]).round(2),
                "y": (circles["y"] + gnss[:, 1]).round(2),
                "position_error_m": round(float(np.sqrt(2) * settings.gnss_sd_m), 2),  # root mean square distance
                "radius_m": settings.plot_radius_m,
                "disturbance_date": struck,
                # where a stand is about to be felled the crews put a plot on purpose
                "sampling": np.where(circles["gap"], "purposive", "probability"),
            }
        )
        plots.append(table)
        trees.append(_tally(forest, circles, year, order, dates))
    return (
        pd.concat(plots).sort_values(["plot", "date"], ignore_index=True),
        pd.concat(trees).sort_values(["plot", "date", "tree"], ignore_index=True),
    )


def _disturbance_dates(forest: Forest, circles: pd.DataFrame) -> list[str | None]:
    """Date of the event that touched each plot's circle between the dates, if any: the forest office keeps a list."""
    import shapely

    discs = shapely.buffer(shapely.points(circles["x"], circles["y"]), forest.settings.plot_radius_m)
    dates: list[str | None] = [None] * len(circles)
    for event in forest.layout.events:
        for position in np.flatnonzero(shapely.intersects(event.polygon, discs)):
            dates[position] = event.date
    return dates


def _tally(forest: Forest, circles: pd.DataFrame, year: int, order: int, dates: list[str]) -> pd.DataFrame:
    """Trees of 5 cm and more in every circle at one inventory, with the crews' errors."""
    import pandas as pd
    from scipy.spatial import cKDTree

    settings = forest.settings
    rng = stream(settings.seed, "tally", order)
    # plots on land felled in the last spring had their second visit before, when stems had yet to grow a few weeks
    visits = {False: forest.trees(year), True: forest.trees(year - 42 / 365.25 if order else year)}
    plot, x, y = (circles[name].to_numpy() for name in ("plot", "x", "y"))
    found: dict[str, list] = {name: [] for name in ("plot", "date", "tree", "species", "dbh_cm", "height_m", "status")}
    for gap, trees in visits.items():
        index = cKDTree(np.column_stack([trees.x, trees.y]))
        for position in np.flatnonzero(circles["gap"] == gap):
            inside = np.sort(index.query_ball_point((x[position], y[position]), settings.plot_radius_m))
            if len(inside) == 0:
                continue
            here = trees.where(inside.astype(int))
            error = 0.05 + settings.dbh_error_percent / 100 * here.dbh_cm
            dbh_cm = (here.dbh_cm + error * rng.standard_normal(len(inside))).round(1)
            height_m = here.height_m * (1 + settings.height_error_percent / 100 * rng.standard_normal(len(inside)))
            measured = (rng.uniform(size=len(inside)) < settings.heights_measured_share) & ~here.snag
            large = dbh_cm >= MIN_DBH_CM
            found["plot"] += [plot[position]] * int(large.sum())
            found["date"] += [dates[position]] * int(large.sum())
            found["tree"] += here.tree[large].tolist()
            found["species"] += [SPECIES_ORDER[species] for species in here.species[large]]
            found["dbh_cm"] += dbh_cm[large].tolist()
            found["height_m"] += np.where(measured, height_m.round(1), np.nan)[large].tolist()
            found["status"] += np.where(here.snag, "dead", "live")[large].tolist()
    return pd.DataFrame(found)


def stand_table(forest: Forest) -> gpd.GeoDataFrame:
    """Stand polygons with what the management plan says of them at the first date."""
    import geopandas as gpd

    layout = forest.layout
    species = [max(FOREST_TYPES[kind].species.items(), key=lambda pair: pair[1])[0] for kind in layout.forest_types]
    edges = [(0, "to be planted"), (10, "0-10"), (20, "10-20"), (30, "20-30"), (50, "30-50"), (np.inf, "50+")]
    return gpd.GeoDataFrame(
        {
            "stand": layout.ids,
            "species": species,
            "forest_type": layout.forest_types,
            f"age_class_{forest.first}": [next(name for top, name in edges if age < top) for age in layout.ages],
            "area_ha": layout.areas_ha.round(4),
        },
        geometry=list(layout.polygons),
        crs=forest.site.crs,
    )


def allometry_table() -> pd.DataFrame:
    """The analyst's allometry: the very distribution from which each seed draws its true parameters."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "name": f"planted_{name.replace(' ', '_').lower()}", "taxon": name, "level": "species", "form": "rho_d2h",
                "a": a, "b": b, "c": np.nan, "var_a": ALLOMETRY_VAR_A, "var_b": ALLOMETRY_VAR_B,
                "cov_ab": ALLOMETRY_COV_AB, "rse": rse, "dbh_min_cm": MIN_DBH_CM, "dbh_max_cm": 150.0,
                "bias_corrected": "no", "source": "planted", "status": "user",
            }
            for name, (a, b, rse) in ALLOMETRY.items()
        ]
    )  # fmt: skip


def wood_density_table() -> pd.DataFrame:
    """The analyst's wood densities: mean, its standard error, and the spread between trees of a species."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "family": s.family,
                "genus": s.name.split()[0],
                "species": s.name,
                "wood_density_g_cm3": s.wood_density_g_cm3,
                "se": s.wood_density_se,
                "sd_tree": s.wood_density_sd_tree,
            }
            for s in SPECIES.values()
        ]
    )


def land_cover(forest: Forest, year: int) -> np.ndarray:
    """A land cover map with WorldCover's codes on the study grid (uint8), wrong here and there along borders."""
    site = forest.site
    rng = stream(forest.settings.seed, "land cover", year)
    x, y = site.canvas_centres(site.resolution_m)
    cells = site.canvas_cells(*(c.ravel() for c in np.broadcast_arrays(x, y)))
    ground = forest.layout.ground_canvas.ravel()[cells].reshape(site.rows, site.cols)
    cover = forest_cover(forest, year)
    classes = np.full(ground.shape, GRASSLAND, np.uint8)
    for code, name in ((CROPLAND, CROPS), (WATER, OPEN_WATER), (ROAD, BUILT_UP)):
        classes[ground == code] = name
    # the mapper sees cover with an error, which matters only near the limit and so along borders
    seen = cover + 0.03 * rng.standard_normal(cover.shape)
    classes[seen >= FOREST_COVER_PERCENT / 100] = TREE_COVER
    step = int(rng.integers(3)), int(rng.integers(3))
    neighbour = np.pad(classes, 1, mode="edge")[step[0] :, step[1] :][: site.rows, : site.cols]
    swapped = (neighbour != classes) & (rng.uniform(size=classes.shape) < 0.04)
    return np.where(swapped, neighbour, classes)


def _points(plots: pd.DataFrame, crs: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.GeoDataFrame(plots, geometry=gpd.points_from_xy(plots["x"], plots["y"]), crs=crs)


def _write_csv(file: Path, table: pd.DataFrame) -> None:
    table.to_csv(file, index=False, lineterminator="\n")


def _write_gpkg(file: Path, table: gpd.GeoDataFrame, layer: str) -> None:
    """Write a GeoPackage whose own time stamps are fixed, so that the same table gives the same bytes."""
    import pyogrio

    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    try:
        file.unlink(missing_ok=True)
        table.to_file(file, layer=layer, driver="GPKG", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
