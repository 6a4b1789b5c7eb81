"""The sample that estimators are given: points of one, two or three phases, in clusters or single."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

GROUND = 2
"""The phase of points that were measured on the ground; 1 = all auxiliaries known, 0 = only the reduced ones."""


@dataclass(frozen=True)
class Survey:
    """Sample points (n), nested: the ground sample (phase 2) is part of phase 1, which is part of phase 0.

    Attributes
    ----------
    y : (n,) target per hectare at ground points, NaN elsewhere
    phase : (n,) 2 on the ground, 1 with all auxiliaries, 0 with the reduced auxiliaries alone
    auxiliaries : name -> (n,); NaN where a point of an earlier phase lacks it
    cluster : (n,) id; every point its own where sampling is simple. Sizes may differ: points outside the forest are left out
    area, stratum : (n,) labels, or None
    boundary_weight : (n,) share of the auxiliaries' support that lies inside the area, 1 without a border
    weight : (n,) hectares that each point stands for, up to a factor, where chances differed; None where they were equal
    selection : how points were chosen; anything but "probability" is refused by design-based estimators
    """

    y: np.ndarray
    phase: np.ndarray
    auxiliaries: Mapping[str, np.ndarray] = field(default_factory=dict)
    cluster: np.ndarray | None = None
    area: np.ndarray | None = None
    stratum: np.ndarray | None = None
    boundary_weight: np.ndarray | None = None
    selection: Literal["probability", "purposive", "unknown"] = "unknown"
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.y)
        parts = {"phase": self.phase, "cluster": self.cluster, "area": self.area, "stratum": self.stratum,
                 "boundary_weight": self.boundary_weight, "weight": self.weight, **self.auxiliaries}  # fmt: skip
        for name, values in parts.items():
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} values for {n} points")
        if not np.isin(self.phase, (0, 1, GROUND)).all():
            raise ValueError(f"phase is 0, 1 or 2 (ground); found {sorted(set(np.asarray(self.phase).tolist()))}")
        if not np.isfinite(self.y[self.ground]).all():
            missing = int((~np.isfinite(self.y[self.ground])).sum())
            raise ValueError(f"{missing} of {int(self.ground.sum())} ground points have no value of the target")
        if self.cluster is not None:
            ids, first, index = np.unique(self.cluster, return_index=True, return_inverse=True)
            mixed = np.asarray(self.phase) != np.asarray(self.phase)[first][index]
            if mixed.any():
                raise ValueError(
                    f"cluster {str(ids[index[mixed][0]])!r} has points of several phases, and a cluster is measured as a whole: "
                    "leave out its other points, or give every point a cluster of its own"
                )
        if self.boundary_weight is not None and not (np.asarray(self.boundary_weight) > 0).all():
            raise ValueError("boundary weights are shares above 0; a point wholly outside the area is left out of the survey")

    @property
    def ground(self) -> np.ndarray:
        return np.asarray(self.phase) == GROUND

    @property
    def clusters(self) -> np.ndarray:
        return np.arange(len(self.y)) if self.cluster is None else np.asarray(self.cluster)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        *,
        target: str,
        auxiliaries: Sequence[str] = (),
        reduced: Sequence[str] = (),
        phase: str | None = None,
        cluster: str | None = None,
        area: str | None = None,
        stratum: str | None = None,
        boundary_weight: str | None = None,
        weight: str | None = None,
        selection: Literal["probability", "purposive", "unknown"] = "unknown",
    ) -> Survey:
        """A survey from columns of a table, points with missing auxiliaries left out and counted.

        `phase` names a column of 0, 1, 2; without it a point is ground where the target is there, else phase 1.
        `reduced` are the auxiliaries that points of phase 0 must have.
        """
        y = table[target].to_numpy(float)
        phases = np.where(np.isfinite(y), GROUND, 1) if phase is None else table[phase].to_numpy(int)
        y = np.where(phases == GROUND, y, np.nan)
        names = list(dict.fromkeys([*auxiliaries, *reduced]))
        columns = {name: table[name].to_numpy(float) for name in names}
        here = {name: np.isfinite(values) for name, values in columns.items()}
        keep = np.ones(len(table), dtype=bool)
        for name in names:
            keep &= here[name] | ((phases == 0) & (name not in reduced))
        unmeasured = (phases == GROUND) & ~np.isfinite(y)
        if dropped := int((~keep | unmeasured).sum()):
            log.warning(
                "%d of %d sample points are left out: %d without an auxiliary, %d ground points without %s",
                dropped, len(table), int((~keep).sum()), int(unmeasured.sum()), target,
            )  # fmt: skip
        keep &= ~unmeasured

        def picked(name: str | None) -> np.ndarray | None:
            return None if name is None else table[name].to_numpy()[keep]

        return cls(
            y[keep], phases[keep], {name: values[keep] for name, values in columns.items()},
            picked(cluster), picked(area), picked(stratum), picked(boundary_weight), selection, picked(weight),
        )  # fmt: skip

    def at(self, rows: np.ndarray) -> Survey:
        """The survey of some rows (mask or indices)."""

        def cut(values):
            return None if values is None else np.asarray(values)[rows]

        return replace(
            self, y=self.y[rows], phase=self.phase[rows], auxiliaries={k: v[rows] for k, v in self.auxiliaries.items()},
            cluster=self.clusters[rows], area=cut(self.area), stratum=cut(self.stratum),
            boundary_weight=cut(self.boundary_weight), weight=cut(self.weight),
        )  # fmt: skip


@dataclass(frozen=True)
class Level:
    """A survey at the level of clusters (c): what Mandallaz writes M(x), Y_c(x), Z_c(x).

    size : (c,) points per cluster; y : (c,) mean of the target; z : (c, p) means of the auxiliaries, intercept first
    mean_z : (p,) mean over clusters, weighted by points (by boundary weights where there are some)
    """

    ids: np.ndarray
    size: np.ndarray
    y: np.ndarray
    z: np.ndarray
    mean_z: np.ndarray

    @property
    def n(self) -> int:
        return len(self.size)


def clusters_of(survey: Survey, names: Sequence[str], rows: np.ndarray, indicator: np.ndarray | None = None) -> Level:
    """Cluster means of the points in `rows` (mask); `indicator` (n,) is one more column, after the auxiliaries."""
    missing = [name for name in names if name not in survey.auxiliaries]
    if missing:
        raise ValueError(f"the survey has no auxiliary {missing[0]!r}; it has {', '.join(survey.auxiliaries) or 'none'}")
    columns = [np.ones(int(rows.sum())), *(np.asarray(survey.auxiliaries[name], float)[rows] for name in names)]
    if indicator is not None:
        columns.append(np.asarray(indicator, float)[rows])
    z = np.column_stack(columns)
    if not np.isfinite(z).all():
        bad = [name for name, column in zip(names, z[:, 1:].T, strict=False) if not np.isfinite(column).all()]
        raise ValueError(f"the auxiliary {bad[0]!r} is missing at points of a phase that must have it")
    ids, index = np.unique(survey.clusters[rows], return_inverse=True)
    size = np.bincount(index, minlength=len(ids)).astype(float)
    weight = np.ones(len(z)) if survey.boundary_weight is None else np.asarray(survey.boundary_weight, float)[rows]
    share = np.bincount(index, weights=weight, minlength=len(ids))
    means = np.column_stack([np.bincount(index, weights=weight * column, minlength=len(ids)) / share for column in z.T])
    y = np.bincount(index, weights=survey.y[rows], minlength=len(ids)) / size
    return Level(ids, size, y, means, (share @ means) / share.sum() if len(ids) else np.full(z.shape[1], np.nan))


def mean_of(values: np.ndarray, size: np.ndarray) -> float:
    """Ratio of sums: the mean over points of values that are means per cluster."""
    return float(values @ size / size.sum())


def spread_of_mean(values: np.ndarray, size: np.ndarray) -> float:
    """Variance between clusters of a ratio-of-sums mean, times the number of clusters; NaN for one cluster.

    sum (M / mean M)^2 (v - mean)^2 / (n - 1) (Mandallaz 2007, ch. 4); the sample variance where every M is 1.
    """
    if len(values) < 2:
        return float("nan")
    scale = size / size.mean()
    return float(((scale * (values - mean_of(values, size))) ** 2).sum() / (len(values) - 1))


def covariance_of_means(level: Level) -> np.ndarray:
    """Covariance (p, p) of the means of auxiliaries that were only sampled (Mandallaz 2013)."""
    centred = (level.size / level.size.mean())[:, None] * (level.z - level.mean_z)
    return centred.T @ centred / (level.n * (level.n - 1)) if level.n > 1 else np.full((level.z.shape[1],) * 2, np.nan)
