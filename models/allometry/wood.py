"""Wood density of trees: their own, or that of their species, genus, family, or of the trees around."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WOOD_DENSITY_LEVELS = ("species", "genus", "family")


def match_wood_density(trees: pd.DataFrame, table: pd.DataFrame | None, *, groups: pd.Series) -> pd.DataFrame:
    """Wood density per tree: its own, by species, genus or family, else the mean of the known trees around it.

    Parameters
    ----------
    trees : DataFrame
        species, genus, and family and wood_density_g_cm3 where known.
    table : DataFrame, optional
        level, taxon, wood_density_g_cm3, se, sd_tree.
    groups : Series
        The plot or cluster whose known trees stand in for an unknown one; where it has none, all known trees do.

    Returns
    -------
    DataFrame, index as `trees`
        wood_density_g_cm3 (NaN where no tree is known), wood_density_se (of the mean of its species: shared by all
        trees of the species; NaN where the table states none), wood_density_sd (of the single tree), wood_density_level
        (tree, species, genus, family, group). A species that only genus, family or group stand in for departs from them as a
        whole, so their spread counts as shared; of trees not identified to species it counts as their own.
    """
    import pandas as pd

    out = pd.DataFrame(index=trees.index)
    given = trees["wood_density_g_cm3"] if "wood_density_g_cm3" in trees else pd.Series(np.nan, index=trees.index)
    out["wood_density_g_cm3"] = given
    out["wood_density_se"] = np.where(given.notna(), 0.0, np.nan)
    out["wood_density_sd"] = np.where(given.notna(), 0.0, np.nan)
    out["wood_density_level"] = np.where(given.notna(), "tree", "")
    for level in WOOD_DENSITY_LEVELS if table is not None else ():
        if level not in trees:
            continue
        known = table[table["level"] == level].set_index("taxon")
        found = (out["wood_density_level"] == "") & trees[level].isin(known.index) & (trees[level] != "")
        taxa = known.loc[trees.loc[found, level]]
        for ours, theirs in (("g_cm3", "wood_density_g_cm3"), ("se", "se"), ("sd", "sd_tree")):
            out.loc[found, f"wood_density_{ours}"] = taxa[theirs].to_numpy()
        out.loc[found, "wood_density_level"] = level
    unknown = out["wood_density_level"] == ""
    known_trees = out.loc[~unknown, "wood_density_g_cm3"]
    spread = float(known_trees.std()) if len(known_trees) > 1 else np.nan
    around = known_trees.groupby(groups[~unknown]).mean()
    out.loc[unknown, "wood_density_g_cm3"] = groups[unknown].map(around).astype("float64").fillna(known_trees.mean())
    out.loc[unknown, "wood_density_se"] = spread
    out.loc[unknown, "wood_density_sd"] = 0.0
    out.loc[unknown, "wood_density_level"] = "group"
    unnamed = ~out["wood_density_level"].isin(["tree", "species"]) & ~_identified(trees["species"])
    unnamed &= out["wood_density_se"].notna()
    out.loc[unnamed, "wood_density_sd"] = np.hypot(out["wood_density_sd"], out["wood_density_se"])[unnamed]
    out.loc[unnamed, "wood_density_se"] = 0.0
    return out


def _identified(species: pd.Series) -> pd.Series:
    """Whether a name is a species: a genus and an epithet other than indet. or sp."""
    epithet = species.str.split(" ").str[1].fillna("").str.lower()
    vague = epithet.str.startswith("indet") | epithet.isin(["", "sp", "sp.", "spp", "spp."])
    return ~vague & ~species.str.lower().str.startswith("indet")
