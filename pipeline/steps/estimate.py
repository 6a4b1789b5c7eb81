"""Rule `estimate`: one block's maps of every product, and its sums per stand."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.stands import read_stands
from models.applicability import other_unit
from models.inference.quantiles import conditional_quantiles
from models.inference.stratum_names import PREFIX, is_stratum
from models.inference.target_model import TargetModel
from models.pools import CarbonFactors, carbon_dioxide
from pipeline import mapping, store
from pipeline.applicability import applicability_layers, size_of
from pipeline.grid import Grid, Window
from pipeline.products import Product
from pipeline.set_layers import set_layers
from pipeline.steps.carbon import carbon_factors
from pipeline.steps.forest import read_forest
from pipeline.steps.notes import caveat, kept_warnings
from pipeline.steps.windows import read_predictors
from pipeline.strata import shares
from pipeline.zonal import NUMBERS, ONCE, VECTORS, coverage, partial_rows, within

log = logging.getLogger(__name__)


def estimate(
    *,
    maps: Mapping[str, Path],
    partials: Path,
    models: Mapping[str, Path],
    settings: dict,
    grid: dict,
    block: str,
    years: Sequence[int],
    sources: dict,
    forest: dict,
    products: Sequence[dict],
    carbon: dict,
    plots: Path | None = None,
    rooted: Path | None = None,
    sets: Mapping[str, Path] | None = None,
    said: Path | None = None,
    sizes: Path | None = None,
    **_inputs: object,
) -> None:
    """Stock and change with standard errors, chunk by chunk; sums per stand go to `partials`.

    `sets` gets what each predictor set says wherever it is complete, a raster per target and year, where estimators ask for it;
    `said` what was warned of, for the model card; `sizes` how large predictors are, to hold the whole map against the plots.
    """
    with kept_warnings(said):
        _estimate(
            maps, partials, models, settings, Grid(**grid), block, years, sources, forest,
            [Product(**product) for product in products], carbon_factors(carbon, rooted), plots, sets or {}, sizes,
        )  # fmt: skip


def _estimate(
    maps: Mapping[str, Path], partials: Path, models: Mapping[str, Path], settings: dict, grid_: Grid, block: str,
    years: Sequence[int], sources: dict, forest: dict, wanted: Sequence[Product], factors: CarbonFactors, plots: Path | None,
    sets: Mapping[str, Path], sizes_file: Path | None,
) -> None:  # fmt: skip
    """What `estimate` does, with its settings read."""
    place = grid_.block_window(block)
    fitted = {target: TargetModel.from_plain(store.read_json(path)) for target, path in models.items()}
    polygons = read_stands(
        settings, crs=grid_.crs, bounds=grid_.bounds, plots=store.read_table(plots) if plots else None
    )
    canvas = _Canvas({product.name: [band["name"] for band in product.bands] for product in wanted}, place)
    apart = _Canvas({name: [one.name for one in fitted[name.rpartition("_")[0]].sets] for name in sets or {}}, place)
    rows: list[dict] = []
    names = _names(fitted)
    rooted_strata = {name: PREFIX + name for name in factors.strata}
    others = [name for name in names if not is_stratum(name)]
    left, sizes = _Left(fitted), _Sizes(fitted)
    for chunk, window in grid_.chunks(place):
        covered = coverage(polygons, grid_, window)
        wood = {year: read_forest(grid_, window, year, forest, sources, polygons) for year in years}
        every = shares(covered, polygons, window.shape, [*names, *rooted_strata.values()])
        strata = {name: share for name, share in every.items() if name in names}
        seen = {year: read_predictors(grid_, window, year, sources, others) | strata for year in years}
        sizes.look(seen, wood)
        left.count(strata, wood[years[-1]] == 1)
        for target, model in fitted.items():
            own = [product for product in wanted if product.kind != "forest" and product.target == target]
            tiles = _Canvas({product.name: [band["name"] for band in product.bands] for product in own}, window, "float64")
            for strip, shown, parts in _strips_of(model, own, seen, wood, years):
                turned = factors.over({name: every[share].ravel()[strip] for name, share in rooted_strata.items()})
                for product in own:
                    tiles.put_strip(product.name, strip, _bands(product, model, parts, turned, shown))
                there = within(covered, strip)
                for estimand, found in parts.items():
                    found["place"] = window.pixels()[strip]
                    rows += partial_rows(chunk, estimand, there, found, pixel_ha=grid_.pixel_ha, n_sets=len(model.sets))
            for name, bands in tiles.layers.items():
                canvas.put(name, window, bands)
        for name in apart.layers:
            target, _, year = name.rpartition("_")
            apart.put(name, window, set_layers(fitted[target], seen[int(year)], wood[int(year)], int(year)))
        for product in wanted:
            if product.kind == "forest":
                changed = mapping.forest_class(*(wood[year] for year in product.years))
                canvas.put(product.name, window, {product.bands[0]["name"]: changed})
    geobox = grid_.geobox_of(place)
    for product in wanted:
        units = {band["name"]: band["units"] for band in product.bands}
        store.write_raster(maps[product.name], canvas.layers[product.name], geobox=geobox, units=units)
    for name, layers in apart.layers.items():
        store.write_raster(sets[name], layers, geobox=geobox, units={})
    store.write_table(partials, pd.DataFrame(rows, columns=None if rows else PARTIAL_COLUMNS))
    left.tell(block)
    if sizes_file:
        store.write_json(sizes_file, {"sizes": sizes.rows()})
    log.info("block %s: %d products, %d stands", block, len(wanted), len({row["stand"] for row in rows}))


PARTIAL_COLUMNS = ["chunk", "stand", "estimand", "part", *NUMBERS, *VECTORS, *ONCE]


class _Canvas:
    """Bands (rows, cols) of several rasters of one place of the grid, missing where nothing was put."""

    def __init__(self, bands: Mapping[str, Sequence[str]], place: Window, dtype: str = "float32") -> None:
        self._place = place
        self.layers = {name: {band: np.full(place.shape, np.nan, dtype) for band in own} for name, own in bands.items()}

    def put(self, name: str, window: Window, bands: Mapping[str, np.ndarray]) -> None:
        """Bands of a part of the place."""
        for band, values in bands.items():
            self.layers[name][band][window.within(self._place).slices] = values

    def put_strip(self, name: str, strip: slice, bands: Iterable[tuple[str, np.ndarray]]) -> None:
        """Bands of a strip of its pixels, counted row by row."""
        for band, values in bands:
            self.layers[name][band].reshape(-1)[strip] = values


class _Left:
    """Forest pixels that lie in no stratum that a target's models have a level for, counted chunk by chunk."""

    def __init__(self, fitted: Mapping[str, TargetModel]) -> None:
        told = {target: [name for name in _names({target: model}) if is_stratum(name)] for target, model in fitted.items()}
        self.names = {target: names for target, names in told.items() if names}
        self.with_error = {target: len(fitted[target].shrunk) > 0 for target in self.names}
        self.forest, self.outside = 0, dict.fromkeys(self.names, 0)

    def count(self, strata: Mapping[str, np.ndarray], wooded: np.ndarray) -> None:
        self.forest += int(wooded.sum())
        for target, names in self.names.items():
            self.outside[target] += int((sum(strata[name] for name in names)[wooded] < 0.5).sum())

    def tell(self, block: str) -> None:
        for target, count in self.outside.items():
            if count:
                caveat(
                    log,
                    "block %s: %.1f %% of %d forest pixels lies in no stratum that target %s has a level for: they take that of "
                    "all strata, %s", block, 100 * count / self.forest, self.forest, target,
                    "and what strata depart by in their error" if self.with_error[target]
                    else "with no error for what strata depart by",
                )  # fmt: skip


def _names(fitted: Mapping[str, TargetModel]) -> list[str]:
    return list(dict.fromkeys(name for model in fitted.values() for one in model.sets for name in one.predictors))


LOOKED_AT = 1000
"""Forest pixels of a chunk at which units are looked at, about."""


class _Sizes:
    """Predictors at forest pixels beside what they are at the plots: one read in another unit is of another size everywhere."""

    def __init__(self, fitted: Mapping[str, TargetModel]) -> None:
        self.fitted = fitted
        self.looked_at: dict[tuple[int, str], list[np.ndarray]] = {}

    def look(self, seen: Mapping, wood: Mapping) -> None:
        """Refuse a chunk that can be no forest in the plots' unit, and keep what is looked at."""
        for year, predictors in seen.items():
            forest = np.flatnonzero(wood[year].ravel() == 1)
            forest = forest[:: max(len(forest) // LOOKED_AT, 1)]
            for name, centre, spread in self._plots():
                values = predictors[name].ravel()[forest]
                self.looked_at.setdefault((year, name), []).append(values)
                if differs := other_unit(centre, spread, values):
                    raise ValueError(
                        f"predictor {name!r} of {year} is {differs}: one of the two has another unit or scale, so no map "
                        "is made; look at the files that it is read from"
                    )

    def rows(self) -> list[dict]:
        """How large each predictor is in the whole block, by year: what is told of the map once all blocks are there."""
        found = ((year, name, size_of(np.concatenate(values))) for (year, name), values in self.looked_at.items())
        return [{"predictor": name, "year": year, **size} for year, name, size in found if size]

    def _plots(self) -> Iterator[tuple[str, float, float]]:
        """Each predictor with its mean and standard deviation at the plots, of the first set that has it."""
        told = set()
        for model in self.fitted.values():
            for one in model.sets:
                for name, centre, spread in zip(one.predictors, one.centre, one.spread, strict=True):
                    if name not in told and not is_stratum(name):
                        told.add(name)
                        yield name, float(centre), float(spread)


def _strips_of(
    model: TargetModel, products: Sequence[Product], seen: Mapping, wood: Mapping, years: Sequence[int]
) -> Iterator[tuple[slice, dict, dict[str, dict[str, np.ndarray]]]]:
    """Of each strip of a chunk its pixels, their predictors, and flat layers by estimand, the domain too where a map shows it."""
    for strip in mapping.strips(model, wood[years[0]].size):
        shown = _part(seen, strip)
        parts = _layers(model, shown, _part(wood, strip), years)
        for product in products:
            if product.kind == "applicability":
                stock, (year,) = parts[f"{model.target}_{product.years[0]}"], product.years
                stock |= applicability_layers(model, shown[year], stock["set_number"])
        yield strip, shown, parts


def _layers(model: TargetModel, seen: Mapping, wood: Mapping, years: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
    """Estimand -> flat layers of one target."""
    stocks = {year: mapping.stock_layers(model, seen[year], wood[year], year) for year in years}
    found = {f"{model.target}_{year}": mapping.with_no_change(stock) for year, stock in stocks.items()}
    for a, b in pairwise(years):
        usable = mapping.sets_for_change(model, (seen[a], seen[b]), (wood[a], wood[b]))
        ends = [mapping.stock_layers(model, seen[year], wood[year], year, usable) for year in (a, b)]
        found[f"{model.target}_{a}_{b}"] = mapping.change_layers(model, *ends)
    return found


def _part(layers: Mapping[int, object], strip: slice) -> dict:
    """The pixels of a strip, flat, of every year's layer or layers by name."""
    return {
        year: {name: array.ravel()[strip] for name, array in one.items()} if isinstance(one, Mapping) else one.ravel()[strip]
        for year, one in layers.items()
    }


def _bands(
    product: Product, model: TargetModel, layers: Mapping, turned: tuple[np.ndarray | float, np.ndarray | float], seen: Mapping
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each band of a product on a strip; `turned` is what makes the target carbon there, and its error as a
    share of it (`CarbonFactors.over`)."""
    names = [band["name"] for band in product.bands]
    found = layers["_".join(map(str, [product.target, *product.years]))]
    if product.kind == "applicability":
        served = np.isfinite(found["dissimilarity_index"])
        yield from zip(names, (found["dissimilarity_index"], found["local_point_density"]), strict=False)
        yield names[2], np.where(served, found["in_domain"].astype(float), np.nan)
        return
    value, se = found["value"], mapping.pixel_se(model, found)
    if product.kind == "stock":
        yield names[0], value
        yield names[1], se
        yield names[2], np.where(np.isfinite(value), found["in_domain"].astype(float), np.nan)
        yield names[3], np.where(np.isfinite(value), found["set_number"] + 1.0, np.nan)
        yield from zip(names[4:], _quantiles(product, model, found, seen).T, strict=True)
        return
    per_unit, error = turned
    if product.kind != "tree_carbon":
        per_unit = carbon_dioxide(per_unit) / (product.years[1] - product.years[0])
    yield names[0], value * per_unit
    yield names[1], np.hypot(se, value * error) * per_unit


def _quantiles(product: Product, model: TargetModel, found: Mapping, seen: Mapping) -> np.ndarray:
    """Quantile bands (n, q) of a stock on a strip: 0 where there is no forest, missing where the stock is."""
    (year,) = product.years
    probabilities = [band["quantile"] for band in product.bands[4:]]
    told = conditional_quantiles(model, seen[year], year, found["set_number"], probabilities)
    told[(found["set_number"] < 0) & (found["value"] == 0)] = 0.0
    return told
