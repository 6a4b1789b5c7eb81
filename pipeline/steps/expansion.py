"""From stem volume to biomass by the expansion factors that a study names: of plots, or of every tree."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.parameters import factors
from models import pools
from pipeline.steps.notes import caveat

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)


def with_expanded_volume(frame: gpd.GeoDataFrame, settings: dict[str, Any]) -> gpd.GeoDataFrame:
    """Plots that carry volume and no biomass, with biomass by the expansion factors that the study names.

    With `expansion_per: stratum` the mean volume of a stratum over all its plots and dates decides its class, so that no plot has
    less biomass than one with less volume, or than itself before it grew; plots without strata are one. A plot whose biomass is
    not known because that of one of its trees is not stays unknown: its volume is of the trees that were measured.
    """
    if not settings["expansion"] or "volume_m3_ha" not in frame:
        return frame
    known = (frame["agb_mg_ha"] if "agb_mg_ha" in frame else frame["volume_m3_ha"] * np.nan).to_numpy()
    volume = frame["volume_m3_ha"].to_numpy()
    served = np.isnan(known) & np.isfinite(volume)
    if "trees_without_biomass_n" in frame:
        incomplete = served & (frame["trees_without_biomass_n"] > 0).to_numpy()
        if incomplete.any():
            log.warning(
                "%d plots and dates have trees whose biomass could not be computed; plots.expansion does not stand in for it "
                "(plots.allometry: expansion takes the volume of every tree)", incomplete.sum(),
            )  # fmt: skip
        served &= ~incomplete
    classes, factor = _expansion_factors(volume, frame["stratum"], settings, served)
    log.info("biomass of %d plots by expansion factors %s (%s)", served.sum(), settings["expansion"], classes.source)
    out = frame.assign(agb_mg_ha=np.where(served, volume * factor, known))
    if served.any():
        caveat(log, "expansion factors %s state no error: biomass has that of its volume alone", settings["expansion"])
        if classes.status == "unverified":
            named = f"expansion factors {settings['expansion']}"
            caveat(log, "%s are of status unverified: %s", named, classes.source, unverified=[named])
            out["unverified"] = and_unverified(out, served, named)
    if "volume_m3_ha_se" in frame:
        before_se = frame.get("agb_mg_ha_se", np.nan)
        out["agb_mg_ha_se"] = np.where(served, frame["volume_m3_ha_se"] * factor, before_se)
    return out


def _expansion_factors(
    volume: np.ndarray, strata: pd.Series, settings: dict[str, Any], served: np.ndarray
) -> tuple[factors.ExpansionClasses, np.ndarray]:
    """The classes that `plots.expansion` names, and the factor (n,), Mg/m3, by each one's volume or its stratum's."""
    classes = factors.expansion_classes(settings["expansion"])
    own = pools.by_class(volume, classes.upper_m3_ha, classes.stock_mg_m3)
    if settings["expansion_per"] != "stratum":
        return classes, own
    groups = strata.fillna("").astype(str).to_numpy()
    factor = pools.by_class_of_groups(volume, groups, upper=classes.upper_m3_ha, factors=classes.stock_mg_m3)
    apart = served & (factor != own)
    if apart.any():
        log.warning(
            "%d of %d plots and dates have a volume of another class of %s than the mean of their stratum, which decides; "
            "each by its own class, biomass would be %+.1f %%", apart.sum(), served.sum(), settings["expansion"],
            100 * ((volume * own)[served].sum() / (volume * factor)[served].sum() - 1),
        )  # fmt: skip
    return classes, factor


def and_unverified(frame: pd.DataFrame, where: np.ndarray, named: str) -> np.ndarray:
    """The column `unverified` with one more name in some rows."""
    before = frame["unverified"].fillna("").tolist() if "unverified" in frame else [""] * len(frame)
    return np.where(where, [f"{one}, {named}" if one else named for one in before], before)


def with_expansion_factors(
    trees: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trees with the factor of the class that the volume of their plot (or stratum) lies in."""
    if not settings["expansion"]:
        raise ValueError("plots.allometry: expansion takes the factors that plots.expansion names, which is not set")
    if "volume_m3" not in trees:
        raise ValueError(
            f"plots.allometry: expansion needs the stem volume of each tree, and {settings['trees']} has none; name its column "
            "in plots.tree_columns.volume_m3"
        )
    live = trees["status"] == "live"
    per_ha = (trees["volume_m3"] * trees["trees_per_ha"]).where(live, 0.0)
    keys = ["plot", "date"]
    plots = trees[[*keys, "stratum"]].assign(volume=per_ha).groupby(keys, as_index=False).agg(
        volume=("volume", lambda part: part.sum(skipna=False)), stratum=("stratum", "first")
    )  # fmt: skip
    volume = plots["volume"].to_numpy(dtype="float64")
    classes, factor = _expansion_factors(volume, plots["stratum"], settings, np.isfinite(volume))
    log.info("biomass of trees by their volume and the expansion factors %s (%s)", settings["expansion"], classes.source)
    trees = trees.merge(plots[keys].assign(expansion_mg_m3=factor), on=keys, how="left")
    of_volume = equations["form"] == "expanded_volume"
    known = {"status": classes.status, "source": classes.source}
    return trees, equations.assign(**{name: equations[name].mask(of_volume, value) for name, value in known.items()})
