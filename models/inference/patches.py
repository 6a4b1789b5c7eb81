"""Which land departs as one: the stands that plots and cells lie in.

What a whole stand has in common and shares with no other (species mix, soil, history) is told by plots of one stand beside
plots of two. Where stands are drawn, a patch is a stand; without them plots of one cluster and stratum are the nearest thing,
which takes two stands of one type for one and plots of one stand in two clusters for two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

PATCH_HA = 20.0
"""Land up to which a stand is one patch, whose own departure does not average out; a larger one is made of several (our choice:
stands of managed forest are drawn to be alike inside, and are seldom larger)."""

STAND = "stand "
"""What the name of a patch that is a stand begins with."""


def with_stands(rows: pd.DataFrame, polygons: gpd.GeoDataFrame) -> pd.DataFrame:
    """Plots or cells (`x, y`) with the column `stand`: the one that each lies in, missing outside all and in those that are too
    large to be one patch; the first in order on a common border.

    Parameters
    ----------
    polygons : GeoDataFrame
        stand, area_ha and geometry, in the CRS of `x, y`.
    """
    import pandas as pd
    import shapely

    small = polygons[polygons["area_ha"] <= PATCH_HA]
    x, y = rows["x"].to_numpy(float), rows["y"].to_numpy(float)
    there = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    place, stand = shapely.STRtree(small.geometry.to_numpy()).query(shapely.points(x[there], y[there]), predicate="intersects")
    first = np.full(len(rows), len(small))
    np.minimum.at(first, there[place], stand)
    names = [*small["stand"].astype(str), None]
    return rows.assign(stand=pd.Series([names[number] for number in first], index=rows.index, dtype="string"))


def patches_of(rows: pd.DataFrame, otherwise: pd.Series) -> np.ndarray:
    """Name (n,) of the patch that each row lies in: its stand, where one is told; else what `otherwise` says."""
    if otherwise.isna().any():  # as text a missing name would cut all others to its first letter
        raise ValueError(f"{int(otherwise.isna().sum())} of {len(otherwise)} rows have no name of a patch")
    names = otherwise.astype(str).tolist()
    if "stand" in rows:
        names = [STAND + str(own) if own is not None else name for own, name in zip(_known(rows["stand"]), names, strict=True)]
    return np.array(names, str)


def _known(column: pd.Series) -> list:
    """Values of a column, None where missing."""
    return [None if missing else value for value, missing in zip(column, column.isna(), strict=True)]
