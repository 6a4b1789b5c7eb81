"""One number per stand where several sources speak of it: the map, the stand's own plots, its inventory record."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from catalogs.stands import record_columns
from models.inference.area_estimate import AreaEstimate
from models.inference.fusion import ENOUGH_STANDS, Fusion, Source, fuse
from models.inference.own_plots import LeftOut, OwnPlots, own_plots, shift_without, without_pull
from models.inference.stands import Estimate, RegionEstimator, Regions, Sums
from models.inference.target_model import TargetModel

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

MAP, PLOTS = "map", "plots"
LEDGER_COLUMNS = [
    "stand", "target", "units", "first_year", "last_year", "source", "value", "se", "bias_removed", "used_se", "weight",
    "departure", "correlation_with_map", "plots", "clusters", "plots_mean", "composite", "composite_se", "note",
]  # fmt: skip
BY_MODEL = "purposive plots: they speak by their departures from the map, as the model sees them, not by the sampling design"


@dataclass(frozen=True)
class Mapped:
    """What the map says of a stand: sums of its pixels, its shape, and the estimate made of them."""

    sums: Sums
    region: Regions
    estimate: Estimate


class Maps(Mapping[str, Mapped]):
    """What the map says of many stands at once; each is taken out where it is asked for."""

    def __init__(self, stands: Sequence[str], sums: Sums, regions: Regions, rows: np.ndarray, estimates: Estimate) -> None:
        self._place = {stand: number for number, stand in enumerate(stands)}
        self._sums, self._regions, self._rows, self._estimates = sums, regions, rows, estimates

    def __getitem__(self, stand: str) -> Mapped:
        number = self._place[stand]
        return Mapped(self._sums[number], self._regions[int(self._rows[number])], self._estimates[number])

    def __contains__(self, stand: object) -> bool:
        return stand in self._place

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)


@dataclass(frozen=True)
class Field:
    """The plots of a target: left-out predictions, what the models saw of them, the stand that each plot that may speak lies in,
    whether chance chose them.

    Where some plots were chosen by chance, the others are left aside: one purposive plot would make a stand's sample none.
    """

    left_out: pd.DataFrame
    training: pd.DataFrame
    stand_of: Mapping[str, str]
    by_chance: bool

    @classmethod
    def of(cls, left_out: pd.DataFrame, training: pd.DataFrame, polygons: gpd.GeoDataFrame) -> Field:
        """From a training table: plots by the stand that their centre lies in; plots that are stands themselves are none."""
        places = training.drop_duplicates("plot")
        drawn = places["sampling"] == "probability"
        if drawn.any() and not drawn.all():
            log.info("%d purposive plots beside a probability sample speak in no stand's composite", int((~drawn).sum()))
            places = places[drawn]
        inside = stands_at(places["x"].to_numpy(float), places["y"].to_numpy(float), polygons[polygons["layer"] != "plots"])
        stand_of = {str(plot): stand for plot, stand in zip(places["plot"], inside, strict=True) if stand is not None}
        return cls(left_out, training, stand_of, bool(drawn.any()))


def stands_at(x: np.ndarray, y: np.ndarray, polygons: gpd.GeoDataFrame) -> list[str | None]:
    """The stand that each place lies in, None outside all; the first in order on a common border."""
    import shapely

    found: list[str | None] = [None] * len(x)
    there = np.isfinite(x) & np.isfinite(y)
    which, where = polygons.sindex.query(shapely.points(x[there], y[there]), predicate="intersects")
    names, rows = polygons["stand"].to_numpy(), np.flatnonzero(there)
    for place, stand in sorted(zip(which.tolist(), where.tolist(), strict=True), reverse=True):
        found[int(rows[place])] = str(names[stand])
    return found


def composites(
    target: str,
    span: Sequence[int],
    mapped: Mapping[str, Mapped],
    polygons: gpd.GeoDataFrame,
    estimator: RegionEstimator,
    field: Field,
    records: Mapping[str, Mapping],
    *,
    units: str,
) -> tuple[dict[str, dict], list[dict]]:
    """Columns of the stands that have more than one source (or a record alone), and the ledger of all sources of them.

    The map of a stand that holds plots is taken without their clusters, so that its error and theirs have nothing in common
    but what all plots share. A source whose bias nothing tells is left out with a warning.
    """
    model = estimator.model
    told = {stand: mapped[stand] for stand in dict.fromkeys(field.stand_of.values()) if stand in mapped}
    sums, shapes = ({stand: getattr(one, name) for stand, one in told.items()} for name in ("sums", "region"))
    own = own_plots(model, field.left_out, field.training, field.stand_of, sums, shapes, span)
    used = {name: record for name, record in records.items() if record["target"] == target and list(span) == [record["year"]]}
    spoken = polygons["stand"].isin(own)
    for name in used:
        spoken |= polygons[record_columns(name)[0]].notna()
    rows = polygons[spoken & (polygons["layer"] != "plots")]
    if rows.empty:
        return {}, []
    names = rows["stand"].tolist()
    maps = _maps_apart(names, mapped, own, estimator, field)
    sources, correlation = _sources(rows, names, maps, own, field, used, model)
    kept = _usable(sources, f"{target} {'-'.join(map(str, span))}", names, correlation)
    if len(kept) == 1 and kept[0].name == MAP:
        return {}, []
    inside = {pair: value for pair, value in correlation.items() if {one.name for one in kept} >= set(pair)}
    found = fuse(names, kept, correlation=inside)
    unused = _bounds_unused(found, used, f"{target} {'-'.join(map(str, span))}")
    weights: dict[str, dict[str, float]] = {}
    for row in found.ledger:
        weights.setdefault(row.stand, {})[row.source] = row.weight
    columns = {
        name: _columns(found.estimates[name], weight, maps.get(name), own.get(name), estimator)
        for name, weight in weights.items()
        if set(weight) != {MAP}  # more than the map speaks of it
    }
    about = {"target": target, "units": units, "first_year": span[0], "last_year": span[-1]}
    hanging = dict(zip(names, correlation.get((MAP, PLOTS), ()), strict=False))
    return columns, [row for row in _ledger(found, own, field, about, hanging, unused) if row["stand"] in columns]


@dataclass(frozen=True)
class Apart:
    """The map of a stand as it is told without the clusters of the stand's own plots; `gradient` (parameters,) of its mean."""

    mean: float
    estimate: Estimate
    gradient: np.ndarray


def _maps_apart(
    names: Sequence[str], mapped: Mapping[str, Mapped], own: Mapping[str, OwnPlots], estimator: RegionEstimator, field: Field
) -> dict[str, Apart]:
    """Per stand with a map: what it says without the stand's own clusters of plots."""
    model, cache, found = estimator.model, {}, {}
    left_out = LeftOut.of(model, field.left_out) if own else None
    for name in names:
        if name not in mapped:
            continue
        one, moved, estimate = mapped[name], 0.0, mapped[name].estimate
        gradient = one.sums.gradient / one.sums.covered_ha
        if name in own:
            clusters = own[name].without
            moved = shift_without(model, left_out, gradient, clusters)
            if clusters not in cache:
                apart: TargetModel = without_pull(model, left_out, clusters)
                cache = {clusters: estimator.with_model(apart)}  # stands come in order: neighbours share clusters
            estimate = cache[clusters].estimate([one.sums], [one.region])
        found[name] = Apart(estimate.mean + moved, estimate, gradient)
    return found


def _sources(
    rows, names: Sequence[str], maps: Mapping[str, Apart], own: Mapping[str, OwnPlots], field: Field,
    records: Mapping[str, Mapping], model: TargetModel,
) -> tuple[list[Source], dict]:  # fmt: skip
    """What speaks of the stands, and how the errors of map and plots hang together.

    The plots' value is the map's with what they say that the stand departs by from it. Parameters have their part in its error
    as far as predictions of the plots follow them otherwise than the stand's, shared errors as far as they are those of these
    plots; what the stand departs by is in no error of it but in the map's.
    """
    n, nan = len(names), np.nan
    map_mean, map_se, map_free, plot_mean, plot_se, free, common = (np.full(n, nan) for _ in range(7))
    for number, name in enumerate(names):
        if name not in maps:
            continue
        one = maps[name]
        map_mean[number], map_se[number] = one.mean, max(one.estimate.se, 1e-9)
        map_free[number] = one.estimate.degrees_of_freedom
        if name in own:
            mine, (by_map, by_plots) = own[name], shared_errors(model, one, own[name])
            through, rest = (_sampled(model) @ gradient for gradient in (one.gradient, one.gradient - mine.pull))
            moved, total = float(rest @ rest), mine.departure_se**2 + float(rest @ rest) + float(by_plots @ by_plots)
            plot_mean[number], plot_se[number] = one.mean + mine.departure, max(np.sqrt(total), 1e-9)
            doubt = mine.departure_se**4 / mine.freedom + moved**2 / model.degrees_of_freedom
            free[number] = max(total**2 / doubt, 1.0) if doubt > 0 else np.inf
            both = mine.in_common + float(through @ rest) + float(by_map @ by_plots)
            common[number] = np.clip(both / (map_se[number] * plot_se[number]), -0.999, 0.999)
    chance, sources = field.by_chance, []
    if np.isfinite(plot_mean).any():
        sources.append(Source(PLOTS, plot_mean, plot_se, unbiased=chance, bias_sd=None if chance else 0.0, fitted=not chance,
                              freedom=free))  # fmt: skip
    for name, record in records.items():
        value, error = (rows[column].to_numpy(float) for column in record_columns(name))
        percent = record["bias_percent"]
        sources.append(
            Source(name, value, error, unbiased=record["unbiased"],
                   bias_sd=None if percent is None else percent / 100 * np.abs(value))
        )  # fmt: skip
    sources.append(Source(MAP, map_mean, map_se, fitted=True, freedom=map_free))
    return sources, {(MAP, PLOTS): common} if np.isfinite(common).any() else {}


def _sampled(model: TargetModel) -> np.ndarray:
    """Rows whose products with a gradient are what plots, cells and strata leave uncertain of a mean."""
    return np.vstack([model.influence, model.block_influence, model.shrunk])


def shared_errors(model: TargetModel, one: Apart, mine: OwnPlots | None) -> tuple[np.ndarray, np.ndarray]:
    """What each error that all plots share, by one standard deviation, does to the map's value and to the plots'."""
    by_map = model.shared @ one.gradient
    if mine is None:
        return by_map, np.zeros_like(by_map)
    return by_map, by_map - model.shared @ mine.pull + mine.factors


def _usable(sources: list[Source], what: str, names: Sequence[str], correlation: Mapping) -> list[Source]:
    """The sources without those whose bias nothing tells; said of each that is left out."""
    kept = list(sources)
    for one in sources:
        if one.unbiased or one.fitted:
            continue
        beside = [other for other in kept if other is one or other.unbiased]
        try:
            fuse(names, beside)
        except ValueError as error:
            log.warning("%s: record %s is not used: %s (stands.records.%s.bias_percent)", what, one.name, error, one.name)
            kept.remove(one)
    return kept


def _columns(
    one: AreaEstimate, weight: Mapping[str, float], mapped: Apart | None, mine: OwnPlots | None, estimator: RegionEstimator
) -> dict:
    through, spoken = weight.get(MAP, 0.0), weight.get(PLOTS, 0.0)
    parts = {"shared_variance": 0.0, "sampling_variance": 0.0, "area_effect_variance": 0.0}
    if mapped is not None:
        by_map, by_plots = shared_errors(estimator.model, mapped, mine)
        rest = mapped.gradient - mine.pull if mine else 0.0 * mapped.gradient
        moved = _sampled(estimator.model) @ (through * mapped.gradient + spoken * rest)
        parts = {
            "shared_variance": float(((through * by_map + spoken * by_plots) ** 2).sum()),
            "sampling_variance": float(moved @ moved),
            "area_effect_variance": mapped.estimate.area_effect_variance * through**2,
        }
    known = parts["shared_variance"] + parts["sampling_variance"]
    spoke = [source for source in (MAP, PLOTS, *weight) if weight.get(source)]
    return {
        "mean": max(one.mean, estimator.lowest),
        "se": one.se,
        **parts,
        "residual_variance": max(one.variance - known, 0.0),
        "degrees_of_freedom": one.degrees_of_freedom,
        "estimator": "composite of " + ", ".join(dict.fromkeys(spoke)),
        "map_only": False,
        "plots": mine.plots if mine else 0,
        "clusters": mine.clusters if mine else 0,
    }


def _bounds_unused(found: Fusion, records: Mapping[str, Mapping], what: str) -> dict[str, str]:
    """A note for each record whose `bias_percent` says nothing, because plots tell its bias; said in the log too."""
    notes = {}
    for one in found.calibrations:
        percent = records.get(one.source, {}).get("bias_percent")
        if percent is None or one.stands < ENOUGH_STANDS:
            continue
        notes[one.source] = f"bias_percent {percent:g} is not used: probability plots in {one.stands} stands tell its bias"
        log.warning(
            "%s: record %s: %s, %+.3g with a standard error of %.2g per hectare in every stand",
            what, one.source, notes[one.source], one.bias, one.bias_se,
        )  # fmt: skip
    return notes


def _ledger(
    found: Fusion, own: Mapping[str, OwnPlots], field: Field, about: Mapping, hanging: Mapping[str, float],
    unused: Mapping[str, str],
) -> list[dict]:  # fmt: skip
    """Rows of the sources; `hanging`, by stand, is the correlation of the plots' error with the map's; `unused`, by source, notes
    of bounds that were not used."""
    rows = []
    for row in found.ledger:
        mine = own.get(row.stand) if row.source == PLOTS else None
        notes = [one for one in (row.note, unused.get(row.source)) if one]
        if mine is not None:
            notes += [] if field.by_chance else [BY_MODEL]
        if row.source == MAP and row.stand in own:
            notes.append("without the clusters of the stand's own plots")
        rows.append(
            {"stand": row.stand, **about, "source": row.source, "value": row.mean, "se": row.se, "bias_removed": row.bias,
             "used_se": row.used_se, "weight": row.weight, "departure": row.departure,
             "correlation_with_map": hanging.get(row.stand) if mine else None,
             "plots": mine.plots if mine else None, "clusters": mine.clusters if mine else None,
             "plots_mean": mine.mean if mine else None, "composite": found.estimates[row.stand].mean,
             "composite_se": found.estimates[row.stand].se, "note": "; ".join(notes)}
        )  # fmt: skip
    return rows
