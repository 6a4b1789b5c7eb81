"""The maps a study makes. One place to add one: `products_of`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.config import TARGETS

if TYPE_CHECKING:
    from pipeline.config import Study


@dataclass(frozen=True)
class Band:
    """One band of a product: its name, unit and the sentence a GIS user reads; `quantile` is the probability it is one of."""

    name: str
    units: str
    title: str
    quantile: float | None = None


@dataclass(frozen=True)
class Product:
    """A map: what it shows (`kind`), of which target, at which years (two for a change)."""

    name: str
    kind: str
    target: str
    years: tuple[int, ...]
    title: str
    bands: tuple[Band, ...]

    @property
    def units(self) -> dict[str, str]:
        return {band.name: band.units for band in self.bands}

    @property
    def titles(self) -> dict[str, str]:
        return {band.name: band.title for band in self.bands}


def products_of(study: Study) -> dict[str, Product]:
    """Name -> product of everything the configuration allows, in the order a reader wants them."""
    found: list[Product] = []
    for target in study.targets:
        found += [_stock(target, year, study.model.quantiles) for year in study.years]
    if study.stock_target:
        roots = BY_PLOTS if study.pools.root_shoot == "from_plots" else ""
        found += [_tree_carbon(study.stock_target, year, roots) for year in study.years]
        found += [_sink(study.stock_target, years, roots) for years in pairwise(study.years)]
    found += [_forest_change(study.targets[0], years) for years in pairwise(study.years)]
    if study.model.applicability_maps:
        found += [_applicability(target, year) for target in study.targets for year in study.years]
    return {product.name: product for product in found}


def _stock(target: str, year: int, quantiles: tuple[float, ...]) -> Product:
    about = TARGETS[target]
    column, units, title = about["column"], about["units"], about["title"]
    bands = (
        Band(column, units, f"{title}, {year}; 0 outside forest"),
        Band(f"{column}_se", units, f"Standard error of a pixel's {title.lower()}, {year}"),
        Band("in_domain", "1", "1 in the area of applicability: where the plots show places like it"),
        Band("predictor_set", "1", "Which predictor set served the pixel, counted from 1; 0 outside forest"),
        *(_quantile(column, units, f"{title.lower()}, {year}", probability) for probability in quantiles),
    )
    return Product(f"{target}_{year}", "stock", target, (year,), f"{title} {year}", bands)


def _quantile(column: str, units: str, what: str, probability: float) -> Band:
    """`agb_mg_ha_q05`: what a plot there stays below with this probability, by plots like it."""
    percent = f"{100 * probability:g}"
    name = f"{column}_q{percent.zfill(2).replace('.', '_')}"
    return Band(name, units, f"{percent} % quantile of a plot's {what}, as plots in places like it have it", probability)


def _applicability(target: str, year: int) -> Product:
    title = f"{TARGETS[target]['title']}: area of applicability {year}"
    bands = (
        Band("dissimilarity_index", "1", "Dissimilarity index: distance to the nearest plot among the predictors, relative"),
        Band("local_point_density", "1", "Number of plots that are as like the place as the threshold asks; 0 is outside"),
        Band("in_domain", "1", "1 where the dissimilarity index is within the threshold of the predictor set that serves"),
    )
    return Product(f"applicability_{target}_{year}", "applicability", target, (year,), title, bands)


BY_PLOTS = "; roots by the plots' ratio, of each stand's stratum where that has its own"
"""What a map of carbon says of itself where the root:shoot ratio comes from plots, as in tables of stands."""


def _tree_carbon(target: str, year: int, roots: str) -> Product:
    bands = (
        Band("tree_carbon_t_ha", "t C/ha", f"Carbon in living trees above and below ground, {year}{roots}"),
        Band("tree_carbon_t_ha_se", "t C/ha", f"Standard error of a pixel's tree carbon, {year}"),
    )
    return Product(f"tree_carbon_{year}", "tree_carbon", target, (year,), f"Tree carbon {year}", bands)


def _sink(target: str, years: tuple[int, int], roots: str) -> Product:
    span = f"{years[0]} to {years[1]}"
    bands = (
        Band("net_removal_t_co2_ha_yr", "t CO2/ha/yr", f"Net removal by living trees, {span}; positive = sink{roots}"),
        Band("net_removal_t_co2_ha_yr_se", "t CO2/ha/yr", f"Standard error of a pixel's net removal, {span}"),
    )
    return Product(f"sink_{years[0]}_{years[1]}", "sink", target, years, f"Net removal {span}", bands)


def _forest_change(target: str, years: tuple[int, int]) -> Product:
    bands = (Band("forest_class", "1", "0 no forest, 1 forest remaining, 2 forest gained, 3 forest lost"),)
    return Product(f"forest_{years[0]}_{years[1]}", "forest", target, years, f"Forest {years[0]} to {years[1]}", bands)


CANOPY_BAND = Band("canopy_height_m", "m", "Canopy height above ground, to 1 cm; missing where no return is near")


def canopy_product(campaign: str, year: int) -> Product:
    """The canopy height model of a campaign: made of its points alone, so it is no map of `products_of`."""
    return Product(f"canopy_{campaign}", "canopy", "", (year,), f"Canopy height, campaign {campaign}", (CANOPY_BAND,))


def estimands_of(target: str, years: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name -> years of what is summed per stand: the target at each year and its change between successive years."""
    stocks = {f"{target}_{year}": (year,) for year in years}
    return stocks | {f"{target}_{a}_{b}": (a, b) for a, b in pairwise(years)}
