"""What a model leaves unexplained: its size, and how it hangs together in space and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtrs
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

LEAST_LEFT = 0.1
"""Share of the residuals' squares that stays with them at least, whatever is said to be beside them."""


@dataclass(frozen=True)
class Reading:
    """One way to read the plots: how residuals of unit size may hang together, and how likely that is.

    Of the variance, `smooth` is a field whose correlation at d metres is exp(-3 d / range_m), `patch` is what a whole stand
    has in common and shares with no other (its species mix, soil, history), `nugget` belongs to the single plot's area. They
    add up to the variance that this reading gives the residuals, which is larger where the range is long.
    """

    weight: float
    range_m: float
    smooth: float
    patch: float
    nugget: float


FEWEST_BY_READINGS = 5.0
"""Degrees of freedom that readings which differ leave at least. An error that is normal within each reading lies, whatever the
readings and their weights, within 0.5756 / sqrt(1 - level) roots of the mean variance at levels from 77 %: within 1.82 at 90 and
2.57 at 95 %, where t with 5 degrees of freedom has 2.02 and 2.57 (docs/methods/inference.md): fewer would be too wide for any."""


BOUND = 0.9
"""Probability with which an upper bound of how far residuals reach is one."""


@dataclass(frozen=True)
class Structure:
    """How residuals hang together: every reading that the plots allow, for plots seldom tell one.

    range_m, nugget, patch : means over the readings, for people; `identified` is False where the readings differ so much
        that the error of a stand of `STAND_HA` hectares is known to a factor only, see `spatial_structure`
    degrees_of_freedom : of the residuals' size
    """

    range_m: float
    nugget: float
    patch: float
    identified: bool
    degrees_of_freedom: float
    readings: tuple[Reading, ...]

    @classmethod
    def of(cls, readings: Sequence[Reading], *, identified: bool, degrees_of_freedom: float) -> Structure:
        weight = np.array([one.weight for one in readings])
        weight = weight / weight.sum()
        parts = np.array([(one.smooth, one.patch, one.nugget) for one in readings])
        shares = weight @ (parts / parts.sum(axis=1, keepdims=True))
        range_m = float(np.exp(weight @ np.log([one.range_m for one in readings])))
        whole = tuple(replace(one, weight=float(part)) for one, part in zip(readings, weight, strict=True))
        return cls(range_m, float(shares[2]), float(shares[1]), identified, degrees_of_freedom, whole)

    @classmethod
    def known(cls, range_m: float, nugget: float, patch: float = 0.0) -> Structure:
        """The structure of one who knows the share `patch` that stands have in common, and range and nugget of the rest."""
        one = Reading(1.0, range_m, (1 - nugget) * (1 - patch), patch, nugget * (1 - patch))
        return cls.of([one], identified=True, degrees_of_freedom=1e6)

    def averaged(self, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (...) over the readings of variances (..., readings), and the variance of that mean as an estimate: from how far
        the readings differ, and from how few plots tell the residuals' size."""
        weight = np.array([one.weight for one in self.readings])
        mean = variances @ weight
        between = (variances - np.asarray(mean)[..., None]) ** 2 @ weight
        return mean, np.minimum(between, 2 * mean**2 / FEWEST_BY_READINGS) + 2 * mean**2 / self.degrees_of_freedom

    def upper_bound(self, probability: float = BOUND) -> Structure:
        """The one reading whose variance of a stand of `STAND_HA` is, with this probability, not exceeded by the true one's."""
        side = float(np.sqrt(1e4 * STAND_HA))
        left = [one.smooth * mean_in_square(side, one.range_m) + one.patch for one in self.readings]
        order = np.argsort(left, kind="stable")
        reached = np.cumsum(np.array([one.weight for one in self.readings])[order])
        chosen = order[min(int(np.searchsorted(reached, probability - 1e-9)), len(order) - 1)]
        one = replace(self.readings[chosen], weight=1.0)
        return Structure.of([one], identified=self.identified, degrees_of_freedom=self.degrees_of_freedom)

    def doubt(self) -> str:
        """What an analyst has to know where the plots do not identify the structure."""
        likely = [one for one in self.readings if one.weight >= 0.05]
        reach = sorted(one.range_m for one in likely if one.smooth > 0)
        alone = any(one.nugget > 0 == one.smooth + one.patch for one in likely)
        ranges = f"ranges between {reach[0]:.0f} and {reach[-1]:.0f} m" if reach else ""
        if len(set(reach)) == 1:
            ranges = f"ranges of about {reach[0]:.0f} m"
        if alone and ranges:
            said = f"no correlation at all and {ranges} are all likely"
        elif alone:
            said = "that they have nothing in common is likely, and no range is ruled out"
        else:
            said = f"{ranges} are all likely" if ranges else "only that whole stands depart together is likely"
        return (
            f"how far residuals reach is poorly identified by these plots ({said}), so that standard errors "
            "of stands are known to a factor only and have few degrees of freedom; pairs of plots 50 to 300 m apart would tell"
        )

    @classmethod
    def from_plain(cls, plain: Mapping) -> Structure:
        return cls(**{**plain, "readings": tuple(Reading(**one) for one in plain["readings"])})


@dataclass(frozen=True)
class Residuals:
    """A model of the residuals at plot support.

    sd = scale x max(mean, floor) ** power; two dates at one place correlate with `between_dates`. The change of the
    residual between two dates has an SD of change_scale x sqrt(s1^2 + s2^2 - 2 between_dates s1 s2) and a spatial
    structure of its own: noise of the sensors does not persist as the forest's own departures do.
    """

    scale: float
    power: float
    floor: float
    between_dates: float
    change_scale: float
    level: Structure
    change: Structure

    def sd(self, mean: np.ndarray) -> np.ndarray:
        """Residual standard deviation (same shape as `mean`, same unit)."""
        return self.scale * np.maximum(mean, self.floor) ** self.power

    def change_sd(self, first_sd: np.ndarray, second_sd: np.ndarray) -> np.ndarray:
        """Standard deviation of the change of the residual, from the standard deviations at two dates."""
        return self.change_scale * difference_sd(first_sd, second_sd, self.between_dates)

    def upper_bound(self) -> Residuals:
        """The same with the cautious reading of each structure in the place of their mean."""
        return replace(self, level=self.level.upper_bound(), change=self.change.upper_bound())

    @classmethod
    def from_plain(cls, plain: Mapping) -> Residuals:
        return cls(**{**plain, **{name: Structure.from_plain(plain[name]) for name in ("level", "change")}})


def difference_sd(first_sd: np.ndarray, second_sd: np.ndarray, rho: float | np.ndarray) -> np.ndarray:
    """Standard deviation of a difference of two correlated quantities."""
    return np.sqrt(np.maximum(first_sd**2 + second_sd**2 - 2 * rho * first_sd * second_sd, 0.0))


def correlation(distance_m: np.ndarray, range_m: float) -> np.ndarray:
    """Exponential correlation without nugget; `range_m` is where it has fallen to 5 %."""
    return np.exp(-3.0 * np.asarray(distance_m) / range_m)


LEAST_WOODED = 12


def above_floor(mean: np.ndarray, floor: float) -> np.ndarray:
    """Which plots (n,) tell of residuals: those predicted above the floor, all of them where these are too few."""
    wooded = mean > floor
    return wooded if wooded.sum() >= LEAST_WOODED else np.ones(len(mean), bool)


def spread_of(residual: np.ndarray, mean: np.ndarray) -> tuple[float, float, float]:
    """Scale, power and floor of the power-of-the-mean standard deviation, from residuals (n,) and predictions (n,).

    The power comes from the Gaussian likelihood on a grid between 0 and 1; the floor is a tenth of the mean prediction.
    Plots predicted below the floor do not count where enough others are at hand: bare plots that are predicted bare have
    hardly a residual, and with them the spread of thin forest came out a third too small (planted forests).
    """
    floor = max(0.1 * float(mean.mean()), 1e-6)
    wooded = above_floor(mean, floor)
    residual, mean = residual[wooded], mean[wooded]
    size = np.maximum(mean, floor)
    best = (np.inf, 0.0, 1.0)
    for power in np.linspace(0.0, 1.0, 11):
        unit = size**power
        scale = float(np.sqrt(np.mean((residual / unit) ** 2)))
        deviance = 2 * len(residual) * np.log(max(scale, 1e-12)) + 2 * np.log(unit).sum()
        if deviance < best[0] - 1e-9:
            best = (deviance, float(power), scale)
    return best[2], best[1], floor


TYPICAL_RANGE_M, RANGE_FACTOR = 1000.0, 3.0
"""Before plots speak: the range's median, and the factor that one standard deviation of its logarithm is."""
TYPICAL_NUGGET = 1 / 4
"""Before plots speak: the mean of the nugget's share where residuals correlate at all, Beta(1, 3)."""
UNCORRELATED = 0.1
"""Before plots speak: the probability that residuals of neighbours have nothing in common. All together expect residuals
83 m apart to correlate 0.48 +- 0.27; on quatre-montagnes-plots it was 0.37, 0.54 and 0.67."""
STAND_HA = 5.0
KNOWN = 0.5
"""A structure is identified where the readings' variances of a stand of `STAND_HA` have at most this coefficient of
variation: its standard error is then told to a quarter."""
SHORTEST_M = 40.0  # below, a range cannot be told from a nugget, by plots or by stands
LEAST_WEIGHT = 0.01  # readings that weigh less are left out
TOLD_PAIRS = 8
TOLD_PATCHES = 5
"""Patches, beyond what the regression's own columns tell of them, from which the variance between patches can be told: one patch
that holds all plots is the regression's level, and any variance of it would do."""


def spatial_structure(
    standardised: np.ndarray,
    xy: np.ndarray,
    columns: np.ndarray,
    patch: np.ndarray,
    *,
    together: np.ndarray | None = None,
    plots: int | None = None,
    beside: np.ndarray | None = None,
) -> Structure:
    """Every reading of standardised residuals that the plots allow, weighted by its restricted likelihood.

    One range and nugget, chosen by any rule, made intervals of stands either too wide or too narrow, because a hundred
    plots seldom tell them. So the likelihood is held on a grid, multiplied by a weak prior (`TYPICAL_RANGE_M`), and what
    is made of it is averaged. For each range the readings of all nuggets are one, because variances are linear in them; that
    residuals do not correlate at all is a reading of its own.

    Patches are read only where plots can tell them from a field: where neighbours of one patch and neighbours of two
    stand equally near to each other.

    Parameters
    ----------
    standardised : (n,) residuals divided by their standard deviation
    xy : (n, 2) coordinates, metres
    columns : (n, p) gradient of the mean with respect to the parameters, divided by the same standard deviation
    patch : (n,) patch that each row is in
    together : (n, n), optional
        Correlation of the rows' dates (1 for the same date).
    plots : int, optional
        Different plots among the rows; all of them unless given.
    beside : (n, n), optional
        Covariance of what the rows have beside their residuals: what wrong positions of plots do, see `position.beside`.
    """
    n = len(standardised)
    columns = spanned(columns)
    free = (plots or n) - columns.shape[1]
    distance = cdist(xy, xy)
    apart = distance[distance > 1.0]
    if free < 4 or apart.size == 0:
        # too few plots to tell: the cautious case, a stand departs as one
        alone = Reading(1.0, 1000.0, 0.0, 1.0, 0.0)
        return Structure.of([alone], identified=False, degrees_of_freedom=float(max(free, 1)))
    together = np.ones((n, n)) if together is None else together
    ranges = np.geomspace(SHORTEST_M, max(float(apart.max()), 2 * SHORTEST_M), 8)
    nuggets = np.linspace(0.0, 1.0, 11)
    same = (patch[:, None] == patch[None, :]).astype(float)
    fields, about = [], []
    for shared in (0.0, 0.5, 1.0) if patches_possible(distance, same, patch, columns) else (0.0,):
        for range_m in ranges if shared < 1.0 else ranges[:1]:
            fields.append(lambda d, rows, m=range_m, q=shared: (1 - q) * correlation(d, m) + q * same[np.ix_(rows, rows)])
            about.append((range_m, shared))
    likelihood, variance = restricted_likelihood(standardised, xy, columns, together, fields, nuggets, beside)
    range_m, shared = np.array([*about, (SHORTEST_M, 0.0)]).T  # the last reading is of no correlation at all
    likelihood, variance = (np.vstack([part, part[:1]]) for part in (likelihood, variance))
    weight = expected_before(ranges, shared[:-1], nuggets) * np.exp(likelihood - likelihood.max())
    return _averaged(range_m, shared, nuggets, weight, variance, float(free))


def spanned(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis (n, rank) of what columns (n, p) span, which is all that a restricted likelihood depends on.

    Columns may be sums of others: the shares of strata add up to the intercept's, and Snowdon's ratio moves a mean as all other
    parameters of its regression do together. A likelihood made of those would end in a singular matrix, or in rounding.
    """
    there = columns[:, np.abs(columns).max(axis=0) > 1e-12]
    if not there.shape[1]:
        return there
    vectors, sizes, _ = np.linalg.svd(there / np.linalg.norm(there, axis=0), full_matrices=False)
    return vectors[:, sizes > 1e-7 * sizes[0]]


def expected_before(ranges: np.ndarray, shared: np.ndarray, nuggets: np.ndarray) -> np.ndarray:
    """Probability (f + 1, k) of f readings of a field at each nugget, and last of no correlation, before plots speak.

    ranges : (r,) of each kind of field; shared : (f,) patch share, r of each below 1, then one; nuggets : (k,) from 0 to 1
    """
    of_range = np.exp(-0.5 * (np.log(ranges / TYPICAL_RANGE_M) / np.log(RANGE_FACTOR)) ** 2)
    of_range /= of_range.sum()
    kinds = len(np.unique(shared))
    by_field = np.resize(of_range, len(shared))
    by_field[shared == 1.0] = 1.0  # one reading for all ranges
    between = np.concatenate([[0.0], (nuggets[1:] + nuggets[:-1]) / 2, [1.0]])
    of_nugget = -np.diff((1 - between) ** (1 / TYPICAL_NUGGET - 1))
    alone = np.append(np.zeros(len(nuggets) - 1), UNCORRELATED)
    return np.vstack([(1 - UNCORRELATED) / kinds * by_field[:, None] * of_nugget, alone])


def _averaged(range_m, shared, nuggets, weight, variance, free: float) -> Structure:
    """Readings from the weight and the residuals' variance (fields, nuggets) of each."""
    readings = []
    for row in np.flatnonzero(weight.sum(axis=1) > LEAST_WEIGHT * weight.sum()):
        part = weight[row] / weight[row].sum() * variance[row]
        correlated = float(part @ (1 - nuggets))
        readings.append(
            Reading(
                float(weight[row].sum()), float(range_m[row]), (1 - float(shared[row])) * correlated,
                float(shared[row]) * correlated, float(part @ nuggets),
            )
        )  # fmt: skip
    side = np.sqrt(1e4 * STAND_HA)
    mean = np.array([mean_in_square(side, one) for one in range_m])
    share = (1 - nuggets) * (shared[:, None] + (1 - shared[:, None]) * mean[:, None])
    errors = np.maximum(variance * share, 1e-12)
    weight = weight / weight.sum()
    expected = float((weight * errors).sum())
    doubt = float(np.sqrt((weight * (errors - expected) ** 2).sum())) / expected
    return Structure.of(readings, identified=doubt <= KNOWN, degrees_of_freedom=free)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
OFFSET = (1 + _NODES) / 2
OFFSET_SHARE, OFFSET_AWAY = _WEIGHTS * (1 - OFFSET), np.hypot(OFFSET[:, None], OFFSET[None, :])
"""Quadrature of the offset of two random places of a square of side 1: share along an axis, and distance by both."""


def mean_in_square(side_m: float, range_m: float) -> float:
    """Mean correlation of two random places of a square, by the density of their offsets."""
    return float(OFFSET_SHARE @ correlation(side_m * OFFSET_AWAY, range_m) @ OFFSET_SHARE)


def patches_possible(distance: np.ndarray, same: np.ndarray, patch: np.ndarray, columns: np.ndarray) -> bool:
    """Whether enough pairs of plots stand in one patch that what they have in common may be the patch's, not the field's, and
    enough patches differ by more than what the regression's columns (n, p; orthonormal) take from them.

    Where no neighbours stand in two patches the plots cannot say which it is, and both readings count.
    """
    if int((np.triu(distance > 1.0) & (same > 0)).sum()) < TOLD_PAIRS:
        return False
    inside = (patch[:, None] == np.unique(patch)).astype(float)
    inside /= np.linalg.norm(inside, axis=0)
    left = inside - columns @ (columns.T @ inside)
    return int((np.linalg.svd(left, compute_uv=False) > 0.5).sum()) >= TOLD_PATCHES


RIDGE = 1e-6
"""Share of the variance that is added to each row by itself, so that rows of one place and date can be factorised."""

MOST_TOGETHER = 400
"""Plot measurements whose correlations are told from one matrix; more are split into compact groups of at most so many,
because the work grows with the cube. Correlations across the borders of such groups are left out."""


def restricted_likelihood(
    z: np.ndarray,
    xy: np.ndarray,
    columns: np.ndarray,
    together: np.ndarray,
    fields: Sequence[Callable[[np.ndarray, np.ndarray], np.ndarray]],
    nuggets: np.ndarray,
    beside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Restricted log-likelihood with the variance profiled out, and that variance, for every field and nugget.

    The correlation matrix is (1 - nugget) A + nugget B, with A that of the field and B that of measurements at one place.
    Each is factorised by itself: eleven Cholesky factors are less work than the one eigen-decomposition of A by B that would
    serve all nuggets (4 against 12 cubes of n), and what the rows have beside their residuals is added as it is.

    Parameters
    ----------
    z : (n,) standardised residuals; xy : (n, 2); columns : (n, p); together : (n, n) correlation of dates
    fields : r functions of distances (m, m) and rows (m,) that give the correlations A (m, m); nuggets : (k,)
    beside : (n, n), optional, added to each matrix

    Returns
    -------
    log-likelihood (r, k), -inf where the correlations cannot be; variance (r, k).

    References
    ----------
    Patterson & Thompson 1971, Biometrika 58:545-554, doi:10.1093/biomet/58.3.545.
    """
    n, p = columns.shape
    both = np.column_stack([columns, z])
    inner = np.zeros((len(fields), len(nuggets), p + 1, p + 1))
    logs = np.zeros((len(fields), len(nuggets)))
    for rows in compact_groups(xy, MOST_TOGETHER):
        distance, dates = cdist(xy[rows], xy[rows]), together[np.ix_(rows, rows)]
        _, place = connected_components(csr_array(distance <= 1.0), directed=False)
        alone = dates * (place[:, None] == place[None, :])
        known = alone + RIDGE * np.eye(len(rows))
        replaced = (1 - RIDGE) * known  # of what is known without a field, what a field stands in the place of
        if beside is not None:
            known, replaced = known + beside[np.ix_(rows, rows)], alone
        mixed = np.empty_like(alone)
        for number, field in enumerate(fields):
            instead = dates * field(distance, rows) - replaced
            for k, nugget in enumerate(nuggets):
                np.multiply(instead, 1 - nugget, out=mixed)
                mixed += known
                lower, failed = dpotrf(mixed.T, lower=1, overwrite_a=1, clean=0)
                if failed:
                    logs[number, k] = np.inf
                    continue
                white = dtrtrs(lower, both[rows], lower=1)[0]
                inner[number, k] += white.T @ white
                logs[number, k] += 2 * np.log(np.diag(lower)).sum()
    trend = inner[..., :p, :p] + 1e-9 * np.eye(p)
    cross = inner[..., :p, p]
    squares = inner[..., p, p] - np.einsum("rka,rka->rk", cross, np.linalg.solve(trend, cross[..., None])[..., 0])
    variance = np.maximum(squares, 1e-12) / (n - p)
    sign, log_trend = np.linalg.slogdet(trend)
    return np.where(sign > 0, -0.5 * ((n - p) * np.log(variance) + logs + log_trend), -np.inf), variance


def compact_groups(xy: np.ndarray, most: int) -> list[np.ndarray]:
    """Rows in groups of at most `most`, halved along the longer side of their box; rows of one place stay together."""

    def split(rows: np.ndarray) -> list[np.ndarray]:
        if len(rows) <= most:
            return [rows]
        box = np.ptp(xy[rows], axis=0)
        along = xy[rows, int(box.argmax())]
        low = along <= np.median(along)
        if low.all():
            low = along < along.max()
        if not low.any():  # all at one place
            return [rows]
        return split(rows[low]) + split(rows[~low])

    return split(np.arange(len(xy)))


def between_dates(
    standardised: np.ndarray, plot: np.ndarray, date: np.ndarray, beside: np.ndarray | None = None
) -> float:
    """Correlation of standardised residuals of the same plot at successive dates; 0 where no plot was measured twice.

    What the rows have `beside` their residuals (covariance, see `spatial_structure`) is taken out.
    """
    order = np.lexsort((date, plot))
    z, p = standardised[order], plot[order]
    same = p[1:] == p[:-1]
    if same.sum() < 3:
        return 0.0
    first, second = z[:-1][same], z[1:][same]
    product, squares = (first * second).sum(), np.array([(first**2).sum(), (second**2).sum()])
    if beside is not None:
        a, b = order[:-1][same], order[1:][same]
        product -= beside[a, b].sum()
        squares = np.maximum(squares - [beside[a, a].sum(), beside[b, b].sum()], LEAST_LEFT * squares)
    return float(np.clip(product / np.sqrt(squares[0] * squares[1]), 0.0, 0.99))
