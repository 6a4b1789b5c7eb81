"""One number per stand from several: the stand's plots, an inventory record with stated error, a map with its error.

Sources are combined with the weights that make the variance of the composite smallest, given their errors and the correlations
between those. What a source is off by on the whole, and by how much it scatters beyond its stated error, is told by the stands
where an unbiased source speaks too (a Fay-Herriot model of the differences); both enter its variance before it is weighted.

References
----------
Rao and Molina 2015, Small Area Estimation, 2nd ed., Wiley, doi:10.1002/9781118735855 (chapter 3: composite; 6: Fay-Herriot).
Breidenbach, Magnussen, Rahlf and Astrup 2018, Remote Sensing of Environment 212:199-211, doi:10.1016/j.rse.2018.04.028.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.area_models import fit_area_model

log = logging.getLogger(__name__)

ENOUGH_STANDS = 5
"""Stands with both a reference and the source, below which the source's bias and scatter are not estimated."""


@dataclass(frozen=True)
class Source:
    """What one source says of all stands.

    Attributes
    ----------
    name : such as plots, record, map
    mean, se : (stands,) unit of the target per hectare; NaN where the source says nothing
    unbiased : free of bias by design (the stand's own probability plots): the others are held against it
    bias_sd : standard deviation of its bias where stands cannot tell it, one number or (stands,): of a bias in percent, that
        share of each stand's value; None where a bias may not be left unknown
    fitted : fitted to the reference's own plots, so that it has no mean departure from them to be told, and what its
        parameters are off by is in its error already; it is not held against the reference
    freedom : (stands,) degrees of freedom of its error, or one number for all
    """

    name: str
    mean: np.ndarray
    se: np.ndarray
    unbiased: bool = False
    bias_sd: np.ndarray | float | None = None
    fitted: bool = False
    freedom: np.ndarray | float = np.inf


@dataclass(frozen=True)
class Calibration:
    """What the stands tell of a source: bias (source minus reference) with its error (one, or (stands,) where it is a share of
    each stand's value), scatter beyond the stated errors."""

    source: str
    stands: int
    bias: float
    bias_se: np.ndarray | float
    scatter_sd: float


@dataclass(frozen=True)
class LedgerRow:
    """One source in one stand's composite.

    weight : share in the composite, 0 where it was left out; bias : what was subtracted; used_se : its error after that;
    departure : value after correction minus composite, in standard errors of that difference (None for a single source)
    """

    stand: str
    source: str
    mean: float
    se: float
    bias: float
    used_se: float
    weight: float
    departure: float | None
    note: str = ""


@dataclass(frozen=True)
class Fusion:
    """Composites by stand, the ledger behind them, and what was learnt of each source."""

    estimates: dict[str, AreaEstimate]
    ledger: tuple[LedgerRow, ...]
    calibrations: tuple[Calibration, ...]


Correlation = Mapping[tuple[str, str], "float | np.ndarray"]


def fuse(stands: Sequence[str], sources: Sequence[Source], *, correlation: Correlation | None = None) -> Fusion:
    """Composite of every stand that at least one source speaks of.

    Parameters
    ----------
    stands : (stands,) names
    sources : what is combined; at least one
    correlation : of the errors of two sources in one stand, by their names, where it is not 0: a map that was fitted to the
        stand's own plots shares their errors; one number, or one per stand

    Raises
    ------
    ValueError
        Where an error is missing or not positive, correlations contradict one another, or a source's bias is neither told by
        enough stands nor bounded by its `bias_sd`.
    """
    _check(stands, sources, correlation)
    calibrations = [_calibration(source, sources, correlation) for source in sources]
    names = [source.name for source in sources]
    estimates, ledger, silent = {}, [], 0
    for number, stand in enumerate(stands):
        here = [k for k, source in enumerate(sources) if np.isfinite(source.mean[number])]
        if not here:
            silent += 1
            continue
        rho = _correlations(names, correlation, number)
        estimate, rows = _composite(str(stand), number, here, sources, calibrations, rho)
        estimates[str(stand)] = estimate
        ledger += rows
    if silent:
        log.warning("no source speaks of %d of %d stands; they have no composite", silent, len(stands))
    return Fusion(estimates, tuple(ledger), tuple(calibrations))


def _check(stands: Sequence[str], sources: Sequence[Source], correlation: Correlation | None) -> None:
    if not sources or len({source.name for source in sources}) < len(sources):
        raise ValueError("sources need names of their own, and there must be at least one")
    for source in sources:
        if len(source.mean) != len(stands) or len(source.se) != len(stands):
            raise ValueError(f"source {source.name!r} has {len(source.mean)} values for {len(stands)} stands")
        spoken = np.isfinite(source.mean)
        if not (np.isfinite(source.se[spoken]) & (source.se[spoken] > 0)).all():
            raise ValueError(
                f"source {source.name!r} has values without a standard error above 0: a number with no error cannot be weighted"
            )
    known = {source.name for source in sources}
    for pair, value in (correlation or {}).items():
        stated = np.asarray(value, float)
        if set(pair) - known or stated.shape not in ((), (len(stands),)) or not (np.abs(stated[np.isfinite(stated)]) < 1).all():
            raise ValueError(f"correlation {pair}: {value} is not between two of {', '.join(sorted(known))} and inside (-1, 1)")


def _correlations(names: Sequence[str], correlation: Correlation | None, number: int) -> np.ndarray:
    """Correlations (sources, sources) in one stand; NaN of a source that says nothing there counts as none."""
    rho = np.eye(len(names))
    for (one, other), value in (correlation or {}).items():
        i, j = names.index(one), names.index(other)
        rho[i, j] = rho[j, i] = np.nan_to_num(_in_stand(value, number))
    if np.linalg.eigvalsh(rho)[0] <= 0:
        raise ValueError("the correlations between sources contradict one another: no errors can hang together like that")
    return rho


def _in_stand(value: np.ndarray | float, number: int) -> float:
    """What is said of one stand, of a number per stand or of one for all."""
    return float(value if np.ndim(value) == 0 else np.asarray(value)[number])


def _calibration(source: Source, sources: Sequence[Source], correlation: Correlation | None) -> Calibration:
    """Bias and scatter of a source from the stands where the first unbiased source speaks too."""
    if source.unbiased or source.fitted:
        return Calibration(source.name, 0, 0.0, 0.0 if source.bias_sd is None else source.bias_sd, 0.0)
    reference = next((other for other in sources if other.unbiased), None)
    both = np.zeros(0, dtype=int)
    if reference is not None:
        both = np.flatnonzero(np.isfinite(source.mean) & np.isfinite(reference.mean))
    if len(both) >= ENOUGH_STANDS:
        pairs = correlation or {}
        rho = pairs.get((source.name, reference.name), pairs.get((reference.name, source.name), 0.0))
        rho = np.nan_to_num(np.broadcast_to(np.asarray(rho, float), source.mean.shape)[both])
        gap = source.mean[both] - reference.mean[both]
        own, theirs = source.se[both], reference.se[both]
        model = fit_area_model(gap, own**2 + theirs**2 - 2 * rho * own * theirs, np.ones((len(both), 1)))
        return Calibration(
            source.name, len(both), float(model.b[0]), float(np.sqrt(model.covariance[0, 0])), float(np.sqrt(model.area_variance))
        )
    if source.bias_sd is None:
        told = "no source is unbiased by design" if reference is None else f"{len(both)} stands have both it and {reference.name}"
        raise ValueError(
            f"nothing tells the bias of source {source.name!r}: {told}, and at least {ENOUGH_STANDS} are needed; give its "
            "bias_sd, the standard deviation of a bias it may have"
        )
    return Calibration(source.name, len(both), 0.0, source.bias_sd, 0.0)


def _composite(
    stand: str,
    number: int,
    here: list[int],
    sources: Sequence[Source],
    calibrations: Sequence[Calibration],
    rho: np.ndarray,
) -> tuple[AreaEstimate, list[LedgerRow]]:
    se = np.array([source.se[number] if k in here else 1.0 for k, source in enumerate(sources)])
    stated = rho * np.outer(se, se)
    scatter = np.array([one.scatter_sd for one in calibrations])
    bias = np.array([np.nan_to_num(_in_stand(one.bias_se, number)) for one in calibrations])
    own = np.diag(scatter**2 + bias**2)
    full = stated + own
    value = np.array([source.mean[number] - one.bias for source, one in zip(sources, calibrations, strict=True)])
    kept = list(here)
    while True:
        inverse = np.linalg.solve(full[np.ix_(kept, kept)], np.ones(len(kept)))
        share = inverse / inverse.sum()
        if share.min() >= 0 or len(kept) == 1:
            break
        # a source whose errors are mostly another's, only larger, would be subtracted: leave out what speaks against the rest
        kept.pop(int(share.argmin()))
    weight = np.zeros(len(sources))
    weight[kept] = share
    mean = float(weight[kept] @ value[kept])
    parts = {"sources": float(weight @ stated @ weight)}
    parts["area_effect"] = float(((weight * scatter) ** 2).sum())
    parts["bias"] = float(((weight * bias) ** 2).sum())
    rows = []
    for k in here:
        spread = full[k, k] + sum(parts.values()) - 2 * float(full[k] @ weight)
        gap = None if len(here) == 1 or spread <= 1e-12 * full[k, k] else float((value[k] - mean) / np.sqrt(spread))
        rows.append(
            LedgerRow(
                stand, sources[k].name, float(sources[k].mean[number]), float(se[k]), calibrations[k].bias,
                float(np.sqrt(full[k, k])), float(weight[k]), gap,
                "" if k in kept else "left out: its errors are those of another source, only larger",
            )
        )
    apart = [row.source for row in rows if row.departure is not None and abs(row.departure) > 3]
    notes = tuple(f"source {name} departs from the composite by more than three of its standard errors" for name in apart)
    learnt = [one.stands - 1.0 if one.stands >= ENOUGH_STANDS else np.inf for one in calibrations]
    own_freedom = [_in_stand(source.freedom, number) for source in sources]
    freedom = _freedom([(weight * se) ** 2, weight**2 * (scatter**2 + bias**2)], [own_freedom, learnt])
    return AreaEstimate(stand, "composite", mean, parts, freedom, {"sources": len(kept)}, {}, notes), rows


def _freedom(parts: Sequence[np.ndarray], freedoms: Sequence[Sequence[float]]) -> float:
    """Satterthwaite's degrees of freedom of the composite: errors of sources have their own, bias and scatter stands - 1."""
    each, free = np.concatenate(parts), np.concatenate(freedoms)
    spread = float((each[each > 0] ** 2 / free[each > 0]).sum())
    return float(each.sum()) ** 2 / spread if spread > 0 else float("inf")
