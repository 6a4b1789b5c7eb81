"""The factors from biomass to carbon as steps use them: those of the settings, or what the plots say of their roots."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models import pools
from models.inference.stratum_names import PREFIX
from pipeline import store
from pipeline.strata import shares_of

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from pipeline.grid import Grid, Window

log = logging.getLogger(__name__)

LEAST_CLUSTERS = 3
"""Clusters of plots that a stratum needs for a root:shoot ratio of its own."""


def carbon_factors(carbon: Mapping, rooted: Path | None = None) -> pools.CarbonFactors:
    """The factors of a study (`Plan.carbon`); `rooted` is the table of plots where the root:shoot ratio is theirs.

    Raises
    ------
    ValueError
        When no plot that is kept has roots.
    """
    if rooted is None:
        return pools.CarbonFactors(**carbon)
    frame = store.read_table(rooted)
    whole, strata = root_shoot_of_plots(frame)
    return pools.CarbonFactors(**{**carbon, "root_shoot": whole[0], "root_shoot_se": whole[1]}, strata=strata)


def root_shoot_of_plots(frame: pd.DataFrame) -> tuple[tuple[float, float], dict[str, tuple[float, float]]]:
    """Roots per shoots over all plots that are kept, and of each stratum with plots enough, with standard errors.

    The error holds how the ratio differs between clusters, and the error that the plots' own source of it states
    (`root_shoot_se`), which they share whole.
    """
    rooted = "bgb_mg_ha" in frame
    plots = frame[frame["kept"] & frame["bgb_mg_ha"].notna() & (frame["agb_mg_ha"] > 0)] if rooted else frame.iloc[:0]
    if plots.empty:
        raise ValueError("pools.root_shoot is from_plots, and no plot that is kept has roots; see plots.roots, or name a ratio")
    strata = {}
    for stratum, part in plots.groupby(plots["stratum"].fillna("").astype(str)):
        if stratum and part["cluster"].nunique() >= LEAST_CLUSTERS:
            strata[stratum] = _ratio(part)
        elif stratum:
            log.warning(
                "stratum %s has plots with roots in %d clusters only: it takes the root:shoot ratio of all plots",
                stratum, part["cluster"].nunique(),
            )  # fmt: skip
    whole = _ratio(plots)
    told = ", ".join(f"{name} {ratio:.3f} +- {se:.3f}" for name, (ratio, se) in strata.items())
    log.info("root:shoot ratio of %d plots and dates %.3f +- %.3f%s", len(plots), *whole, f"; of strata {told}" if told else "")
    return whole, strata


def _ratio(plots: pd.DataFrame) -> tuple[float, float]:
    above, below = (plots[name].to_numpy(float) for name in ("agb_mg_ha", "bgb_mg_ha"))
    ratio, sampled = pools.ratio_of_plots(below, above, plots["cluster"].astype(str).to_numpy())
    stated = plots["root_shoot_se"].fillna(0.0).to_numpy(float) if "root_shoot_se" in plots else np.zeros(len(plots))
    return ratio, float(np.hypot(np.nan_to_num(sampled), (stated * above).sum() / above.sum()))


def warn_of_strata_without_stands(factors: pools.CarbonFactors, stands: gpd.GeoDataFrame) -> None:
    """Say of strata that plots have a ratio of and no stand lies in: their names may be written in two ways."""
    known = set(stands["stratum"].dropna().astype(str)) if "stratum" in stands else set()
    without = sorted(set(factors.strata) - known)
    if without:
        log.warning(
            "no stand is in stratum %s, of which plots have a root:shoot ratio; stands are in %s: is a name written in two ways?",
            ", ".join(without), ", ".join(sorted(known)) or "none",
        )  # fmt: skip


def relative_factor(factors: pools.CarbonFactors, stands: gpd.GeoDataFrame, grid: Grid, window: Window) -> float | np.ndarray:
    """How many times the study's factor to carbon a pixel's is: 1, or (rows, cols) where strata of stands have their own.

    What turns a published map of carbon back into the target: maps take ratios of strata by their shares of a pixel.
    """
    if not factors.strata or "stratum" not in stands:
        return 1.0
    found = shares_of(stands, grid, window, [PREFIX + name for name in factors.strata])
    per_unit, _ = factors.over({name.removeprefix(PREFIX): share for name, share in found.items()})
    return per_unit / factors.tree_carbon()


@dataclass(frozen=True)
class Quantity:
    """A number that people quote of the estimates of a target: the target itself, its tree carbon, or its net removal.

    factors : None for the target itself; years : of a change, between its dates
    """

    name: str
    units: str
    factors: pools.CarbonFactors | None = None
    years: float | None = None

    @property
    def is_carbon(self) -> bool:
        return self.factors is not None

    def of_stands(self, rows: pd.DataFrame, strata: Sequence | None = None) -> pd.DataFrame:
        """Estimates of stands (mean, se, low..., high...) in this quantity; `strata` (n,) of the rows."""
        return rows if self.factors is None else in_carbon(rows, self.factors, years=self.years, strata=strata)

    def of_region(self, rows: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
        """The model's one row of a region in this quantity; `members` (mean, area_ha, stratum) are its stands."""
        return rows if self.factors is None else region_in_carbon(rows, self.factors, members, years=self.years)

    def per_unit(self, members: pd.DataFrame) -> tuple[float, float]:
        """The region's mean factor, weighted by what its stands hold, and the factor's relative standard error."""
        if self.factors is None:
            return 1.0, 0.0
        strata = members["stratum"].fillna("").astype(str).tolist() if self.factors.strata and len(members) else None
        factor = self.factors.tree_carbon(strata) if self.years is None else self.factors.net_removal(self.years, strata)
        error = self.factors.relative_se(strata)
        if strata is None:
            return float(factor), float(error)
        weight = np.abs((members["mean"] * members["area_ha"]).to_numpy(float))
        weight = weight if weight.any() else np.ones(len(members))
        return float((weight * factor).sum() / weight.sum()), float((weight * factor * error).sum() / (weight * factor).sum())


def quantities_of(
    target: str, first: int, last: int, targets: Mapping, factors: pools.CarbonFactors, stock_target: str | None
) -> Iterator[Quantity]:
    """What people quote of an estimate of a target: as mapped, carbon, net removal."""
    if first == last:
        yield Quantity(targets[target]["column"], targets[target]["units"])
    if target != stock_target:
        return
    if first == last:
        yield Quantity("tree_carbon_t_ha", "t C/ha", factors)
    else:
        yield Quantity("net_removal_t_co2_ha_yr", "t CO2/ha/yr", factors, last - first)


def in_carbon(
    rows: pd.DataFrame, factors: pools.CarbonFactors, *, years: float | None = None, strata: Sequence | None = None
) -> pd.DataFrame:
    """Estimates of a target (columns mean, se, low..., high...) as tree carbon, t C/ha, or, of a change over so many years,
    as net removal, t CO2/ha/yr; `strata` (n,) of the rows where strata have factors of their own."""
    strata = strata if factors.strata else None
    factor = factors.tree_carbon(strata) if years is None else factors.net_removal(years, strata)
    wider = pools.with_factor_error(rows, factors.relative_se(strata), lowest=0.0 if years is None else -np.inf)
    rows = rows.assign(**wider)
    numbers = ["mean", *wider]
    return rows.assign(**{name: rows[name] * factor for name in numbers})


def region_in_carbon(
    rows: pd.DataFrame, factors: pools.CarbonFactors, members: pd.DataFrame, *, years: float | None = None
) -> pd.DataFrame:
    """`in_carbon` of the one row of a region whose stands, `members` (mean, area_ha, stratum), may have factors of their own.

    The mean is that of the stands' own carbon; the biomass's error is turned by their mean factor, and errors of the
    strata's ratios are taken to be one error, which they are where one table gave them.
    """
    if not factors.strata or members.empty:
        return in_carbon(rows, factors, years=years)
    strata = members["stratum"].fillna("").astype(str).tolist()
    weight = (members["mean"] * members["area_ha"]).to_numpy(float)
    factor = factors.tree_carbon(strata) if years is None else factors.net_removal(years, strata)
    per_ha = float((weight * factor).sum() / members["area_ha"].sum())
    turned = float((np.abs(weight) * factor).sum() / np.abs(weight).sum()) if weight.any() else float(np.mean(factor))
    error = float(np.abs((weight * factor * factors.relative_se(strata)).sum()) / members["area_ha"].sum())
    se = np.hypot(rows["se"] * turned, error)
    found = {"se": se}
    for name in (name for name in rows if str(name).startswith(("low", "high"))):
        reach = (rows[name] - rows["mean"]) / rows["se"].where(rows["se"] > 0)
        found[name] = (per_ha + reach.fillna(0.0) * se).clip(lower=0.0 if years is None else None)
    return rows.assign(mean=per_ha, **found)
