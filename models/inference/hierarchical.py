"""Plots -> first set (lidar) -> second set (satellite): where the first covers a part of the area, the second learns from it.

The truth at a place that only the second set sees is m(x; a) + e2 + e1: e2 is what the second set leaves unexplained of the
first one's predictions g(z; b), e1 what these leave unexplained of the plots, as where the first set serves. Errors of a
and b, e1 and e2 are told apart and added up:

- b from plots, by leaving out clusters; a from g(z; b) at cells, so that each refit of b is a refit of a, and a residual of a
  plot or an error that plots share moves a through b (`SecondStage.moves`);
- a from cells, by leaving out blocks of them;
- e1 as a field that goes on where the first set ends; e2 as a field of its own, told by hundreds of cells.

`models.inference.stands` adds the two fields up for stands, with what their values at plots and at cells do to the estimate.

    model, left_out = fit_in_stages(plots, {"lidar": ["zmean"], "satellite": ["s2_ndmi"]}, cells, path="hierarchical",
                                    target="agb", column="agb_mg_ha")

takes `plots` as `fitted.fit_target` does and `cells` (a sample of the map's cells, one row per cell and year: `cell, year, x, y,
cell_ha` and the predictors of all sets; `site`, optional, names cells that were taken together), and returns what `fit_target`
returns. `path` is `direct` (as fit_target), `hierarchical`, or `auto`: the better one at plots left out.

References
----------
Saarela et al. 2016, Annals of Forest Science 73:895-910, doi:10.1007/s13595-016-0590-1 (hierarchical model-based inference).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from models.inference import strata as terms
from models.inference.diagnostics import dates_differ, gradients_of_change, residual_structure, slopes
from models.inference.fitted import away_from_home, fits_of, joined
from models.inference.patches import patches_of
from models.inference.residuals import Residuals, spread_of
from models.inference.target_model import Sample, SecondStage, SetModel, TargetModel, design_of
from models.regressors import Regressor, regressor_named
from models.regressors.mix import Default
from models.validation import scores

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

FEW_BLOCKS, MANY_BLOCKS = 12, 40
"""Squares of land that cells are left out by: as wide as `RANGES` ranges of what the second stage leaves unexplained, so that
blocks have little to do with one another, but not so wide that there are fewer, nor so narrow that there are many more."""
RANGES = 2.0
LEAST_BLOCKS = 10
NOISE = 2.0
"""Standard errors that tell one path from the other at plots left out. A second stage may look worse by so much at plots
under the first set's cover and still be taken; where plots beyond the cover decide it has to be better by so much, because the
other path is fitted to them."""
LEAST_CELLS = 60
LEAST_INSIDE_PERCENT = 50.0
FEW_CLUSTERS = 8
"""Clusters of plots beyond the first set's cover from which on these decide between the paths."""
MOST_LEARNED = 600
"""Cells and dates that a regressor which learns more than parameters is given."""
MOST_FOR_STRUCTURE = 200
"""Cells and dates whose residuals the likelihood of their structure is made of."""
MOST_FOR_DOMAIN = 300
"""Cells and dates that a place is held against; a map pays for each of them."""


def fit_in_stages(
    plots: pd.DataFrame,
    predictor_sets: Mapping[str, Sequence[str]],
    cells: pd.DataFrame | None,
    *,
    target: str,
    column: str,
    path: str = "auto",
    regressor: str = "linear",
    transform: str = "sqrt",
    date_effect: str = "always",
    min_clusters: int = 4,
    strata: str = "none",
) -> tuple[TargetModel, pd.DataFrame]:
    """As `fitted.fit_target`, with sets after the first fitted to predictions of an earlier one at cells.

    Parameters
    ----------
    cells : DataFrame or None
        See the module; without cells every set is fitted to plots.
    path : direct, hierarchical or auto
        `hierarchical` wherever there are cells enough; `auto` where, besides, plots left out are predicted no worse than by
        the set fitted to plots (see `_compared`).
    """
    if path not in ("direct", "hierarchical", "auto"):
        raise ValueError(f"path {path!r} is not one of direct, hierarchical, auto")
    options = {"column": column, "regressor": regressor, "transform": transform, "date_effect": date_effect}
    fits, reasons, notes = fits_of(plots, predictor_sets, min_clusters=min_clusters, strata=strata, **options)
    names, chosen = list(predictor_sets), dict(fits)
    if path == "hierarchical" and cells is None and len(names) > 1:
        notes.append(
            "path is hierarchical, and no cell shows where one predictor set could learn from another: the first has no lidar, "
            "or it is everywhere or nowhere; all sets are fitted to plots"
        )
    for number, name in enumerate(names if cells is not None and path != "direct" else []):
        earlier = [other for other in names[:number] if other in fits]
        if not earlier:
            continue
        first = min(earlier, key=lambda other: fits[other]["model"].scores["rmse"])
        own_notes: list[str] = []
        term = terms.term_of(fits.get(name, fits[first])["model"])
        try:
            second = _second_stage(plots, cells, fits[first], name, tuple(predictor_sets[name]), own_notes, term=term, **options)
        except ValueError as error:
            why = f"predictor set {name} cannot learn from predictions of {first} ({error})"
            log.info("%s", why)
            if path == "hierarchical":
                notes.append(f"{why}; it is fitted to plots" if name in fits else why)
            continue
        second, better = _compared(plots, second, fits.get(name), fits[first]["model"])
        log.info("%s", told(second["model"]))
        if path == "hierarchical" or better:
            chosen[name] = second
            reasons.pop(name, None)
            notes = [note for note in notes if not note.startswith(f"predictor set {name}:")] + own_notes
    ordered = {name: chosen[name] for name in names if name in chosen}
    return joined(plots, ordered, reasons, notes, target=target, column=column, regressor=regressor, transform=transform)


def told(one: SetModel) -> str:
    """A sentence on a second stage: what it learned from, and how both paths predict plots left out."""
    stage = one.second_stage
    said = stage.compared
    sentence = (
        f"predictor set {one.name}: {len(np.unique(one.sample.plot))} cells in {len(stage.refits)} blocks teach it what "
        f"{stage.first_set} predicts; RMSE at plots left out{' beyond its cover' if said['outside'] else ''} {said['rmse']:.4g}"
        f" ({said['expected']:.4g} expected)"
    )
    if "rmse_direct" in said:
        sentence += (
            f", fitted to plots {said['rmse_direct']:.4g} (difference of mean squares {said['difference']:+.4g}, standard error "
            f"{said['difference_se']:.4g})"
        )
    return sentence


def _compared(plots: pd.DataFrame, second: dict, direct: dict | None, first: SetModel) -> tuple[dict, bool]:
    """The second stage with both paths' errors at plots left out, and whether it is the one to take.

    The second set serves where the first ends. Plots that lie there are asked, and the second stage is taken if it is better
    by more than noise: the direct fit has seen the land there, so that what its plots have in common is in it, where a second
    stage carries from the cover what fields of both stages do as far as there. Where plots beyond lie in too few clusters all
    plots are asked, and the second stage is taken unless it is worse by more than noise: its cells around a plot are left out,
    and the plots around it, which flatter the direct fit, are not.
    """
    one, keys = second["model"], ["plot", "cluster", "year"]
    blocks = len(one.second_stage.refits)
    told = second["left_out"]
    if direct is not None:
        told = told.merge(direct["left_out"][[*keys, "predicted"]], on=keys, suffixes=("", "_direct"))
    covered = np.isfinite(plots[list(first.predictors)].to_numpy(float)).all(axis=1)
    beyond = told.merge(plots.loc[~covered, keys], on=keys)
    outside = beyond["cluster"].nunique() >= FEW_CLUSTERS
    told = beyond if outside else told
    squares = (told["observed"] - told["predicted"]) ** 2
    first_sd, own_sd = (part.residuals.sd(told["predicted"].to_numpy()) for part in (first, one))
    first_part, own_part = float(np.mean(first_sd**2)), float(np.mean(own_sd**2))
    by_plots, whole = float(squares.mean()) - first_part, first_part + own_part
    pooled = _pooled(own_part, by_plots, whole, blocks, told["cluster"].nunique())
    beyond_doubt = by_plots - _se_of_mean(squares, told["cluster"])
    widened = float(np.sqrt(max(pooled / own_part, beyond_doubt / own_part, 1.0)))
    said = {
        "rmse": float(np.sqrt(squares.mean())), "expected": float(np.sqrt(whole)),
        "widened": widened, "outside": outside,
    }  # fmt: skip
    better = True
    if direct is not None:
        other = (told["observed"] - told["predicted_direct"]) ** 2
        less = squares - other
        se = _se_of_mean(less, told["cluster"])
        better = bool(less.mean() <= (-NOISE if outside else NOISE) * se)
        said |= {
            "rmse_direct": float(np.sqrt(other.mean())), "difference": float(less.mean()), "difference_se": se,
            "clusters": told["cluster"].nunique(),
        }  # fmt: skip
    residuals = replace(one.residuals, scale=one.residuals.scale * widened)
    stage = replace(one.second_stage, compared=said)
    return {**second, "model": replace(one, second_stage=stage, residuals=residuals)}, better


def _pooled(by_cells: float, by_plots: float, whole: float, blocks: int, clusters: int) -> float:
    """Variance of what a second stage leaves unexplained, told by blocks of cells left out and by clusters of plots left out.

    Each weighs by how well it is known: a mean of so many squares has a relative variance of two over their number, and what
    plots show is a difference from the `whole` error there.
    """
    known = [blocks / (2 * by_cells**2), clusters / (2 * whole**2)]
    return float(np.average([by_cells, by_plots], weights=known))


def _se_of_mean(values: pd.Series, cluster: pd.Series) -> float:
    """Standard error of a mean over rows that hang together in clusters."""
    by_cluster = (values - values.mean()).groupby(cluster.astype(str)).sum()
    count = len(by_cluster)
    return float(np.sqrt(count / max(count - 1, 1) * (by_cluster**2).sum()) / len(values))


def _second_stage(
    plots: pd.DataFrame, cells: pd.DataFrame, first: dict, name: str, predictors: tuple[str, ...], notes: list[str], *,
    column: str, regressor: str, transform: str, date_effect: str, term: terms.Term,
) -> dict:  # fmt: skip
    """What `fitted._fit_set` makes of a set and plots, of a set and cells that the set of the fit `first` predicts."""
    teacher: SetModel = first["model"]
    machine = regressor_named(regressor, transform=transform)
    if isinstance(machine, Default):
        # what cells are predicted is all made of the plots: however many cells, they say no more than the plots' clusters do
        machine = machine.pick(len(teacher.sample.plot), len(first["clusters"]), len(predictors))
    predictors = term.predictors(predictors)
    machine = term.machine(machine, predictors)
    lesson = _Lesson.of(_usable(cells, teacher, predictors, machine), teacher, predictors, machine, transform, date_effect)
    if lesson.pooled:
        notes.append(f"predictor set {name}: dates are pooled, no date effect was found (tested)")
    learnt = _Learnt.of(lesson, machine, predictors)
    if learnt.machine.stands_for.caution:
        notes.append(f"predictor set {name}: {learnt.machine.stands_for.caution}")
    moves = _moves(learnt.machine, lesson.design, lesson.answers, lesson.penalised, lesson.first_gradient, teacher)
    one = _set_model(name, predictors, lesson, learnt, teacher, moves)
    size = np.sqrt((len(first["clusters"]) - 1) / len(first["clusters"]))
    apart = np.array([  # exact refits, where a residual of one plot is told by `moves`
        learnt.machine.fit(lesson.design, lesson.answers_by(teacher.params + row / size), lesson.penalised)
        for row in first["influence"]
    ])  # fmt: skip
    predicted = _left_out(plots, one, column, dict(zip(first["clusters"], apart, strict=True)))
    one = replace(one, scores=scores(predicted["observed"].to_numpy(), predicted["predicted"].to_numpy()))
    if one.scores["r2"] <= 0:
        notes.append(
            f"predictor set {name}: taught by {teacher.name}, it predicts plots left out no better than the plots' mean (R2 "
            f"{one.scores['r2']:.2f}); use other predictors, or plots where {teacher.name} is"
        )
    count, some = len(learnt.refits), _some(len(lesson.X), MOST_FOR_STRUCTURE)
    shrunk = terms.shrinking_of(learnt.machine, lesson.design, lesson.answers, lesson.penalised, learnt.params)
    own = terms.effects_of(learnt.machine, predictors, shrunk)
    return {
        "model": one,
        "influence": size * (apart - learnt.params),
        "clusters": first["clusters"],
        "block_influence": np.sqrt((count - 1) / count) * (learnt.refits - learnt.params),
        "gradient": (learnt.gradient[some], gradients_of_change(learnt.gradient[some], learnt.sample.at(some))),
        "shared": first["shared"] @ moves.T,
        "shrunk": {effect: moves @ row for effect, row in first["shrunk"].items()}
        | {f"{name}: {effect}": row for effect, row in own.items()},
        "left_out": predicted,
    }


@dataclass(frozen=True)
class _Lesson:
    """What a first set says of cells (n), and what a second set is told of them.

    X, Z : raw predictors (n, k) of the second and (n, l) of the first set; design, first_design : columns of their regressions
    answers, first_gradient : (n,) and (n, q) what the first set predicts, and its derivatives; block : (n,) square of land
    pooled : dates were held against each other, and no effect was found
    """

    seen: pd.DataFrame
    teacher: SetModel
    X: np.ndarray
    Z: np.ndarray
    year: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    dates: tuple[int, ...]
    design: np.ndarray
    penalised: np.ndarray
    first_design: np.ndarray
    answers: np.ndarray
    first_gradient: np.ndarray
    block: np.ndarray
    pooled: bool

    @classmethod
    def of(
        cls, seen: pd.DataFrame, teacher: SetModel, predictors: tuple[str, ...], machine: Regressor, transform: str,
        date_effect: str,
    ) -> _Lesson:  # fmt: skip
        X, Z = (seen[list(names)].to_numpy(float) for names in (predictors, teacher.predictors))
        year = seen["year"].to_numpy(int)
        first_design = teacher.design(Z, year)
        answers, first_gradient = (one.astype(float) for one in teacher.machine.both(teacher.params, first_design))
        centre, spread = terms.standardisation(X, predictors)
        dates = tuple(sorted(set(year.tolist()))) if date_effect != "never" else (int(year.min()),)
        design = design_of(X, year, centre, spread, dates)
        penalised = np.arange(design.shape[1]) < len(predictors)
        block = _blocks(design, answers, penalised, seen, transform, max(LEAST_BLOCKS, machine.least_clusters(len(predictors))))
        pooled = (
            len(dates) > 1 and date_effect == "auto" and not dates_differ(design, answers, block, penalised, transform)
        )
        if pooled:
            dates, design, penalised = dates[:1], design[:, : len(predictors)], penalised[: len(predictors)]
        return cls(
            seen, teacher, X, Z, year, centre, spread, dates, design, penalised, first_design, answers, first_gradient, block,
            pooled,
        )  # fmt: skip

    def answers_by(self, params: np.ndarray) -> np.ndarray:
        """What the first set would say (n,) with other parameters (q,)."""
        return self.teacher.machine.mean(params, self.first_design).astype(float)


@dataclass(frozen=True)
class _Learnt:
    """A second set's regression of a lesson: parameters (p,), those without each block, and what it leaves unexplained."""

    machine: Regressor
    params: np.ndarray
    refits: np.ndarray
    gradient: np.ndarray
    sample: Sample
    residuals: Residuals

    @classmethod
    def of(cls, lesson: _Lesson, machine: Regressor, predictors: tuple[str, ...]) -> _Learnt:
        design, answers, penalised, seen = lesson.design, lesson.answers, lesson.penalised, lesson.seen
        machine = terms.decided(machine, design, answers, lesson.block, penalised, predictors)
        machine = machine.learned(design, answers, lesson.block, penalised)
        params = machine.fit(design, answers, penalised)
        refits, left_out = machine.without_each(design, answers, lesson.block, penalised, params)
        fitted, gradient = machine.both(params, design)
        gradient = gradient.astype(float)
        scale, power, floor = spread_of(answers - left_out, left_out)
        sd = scale * np.maximum(fitted, floor) ** power
        sample = Sample(
            plot=seen["cell"].astype(str).to_numpy(str), patch=patches_of(seen, seen["cell"]), year=lesson.year,
            x=seen["x"].to_numpy(float), y=seen["y"].to_numpy(float), sd=sd,
            influence=machine.pulled(design, answers, penalised, params, np.maximum(fitted, floor), sd),
        )  # fmt: skip
        residual = answers - (left_out if machine.flexible else fitted)
        structure = _cell_structure(residual, fitted[:, None] if machine.flexible else gradient, sample, _sites(seen))
        return cls(machine, params, refits, gradient, sample, Residuals(scale, power, floor, **structure))


def _set_model(
    name: str, predictors: tuple[str, ...], lesson: _Lesson, learnt: _Learnt, teacher: SetModel, moves: np.ndarray
) -> SetModel:
    few = _some(len(lesson.X), MOST_FOR_DOMAIN)
    slope = slopes(learnt.machine, learnt.params, lesson.design, len(predictors))
    return SetModel(
        name=name, predictors=predictors, dates=lesson.dates, centre=lesson.centre, spread=lesson.spread, machine=learnt.machine,
        params=learnt.params, domain=terms.domain_of(lesson.X[few], lesson.block[few], slope, predictors),
        residuals=learnt.residuals, plot_ha=float(lesson.seen["cell_ha"].median()), sample=learnt.sample,
        second_stage=SecondStage(
            teacher.name, moves, lesson.X, lesson.Z, lesson.block, learnt.refits, _reach(lesson.seen)
        ),
    )  # fmt: skip


def _usable(
    cells: pd.DataFrame, teacher: SetModel, predictors: tuple[str, ...], machine: Regressor
) -> pd.DataFrame:
    """Cells at which both sets are complete; fewer where the regressor learns.

    Cells beyond the first set's domain stay: leaving out those it predicts highest would make the second predict too little.
    """
    complete = np.isfinite(cells[[*predictors, *teacher.predictors]].to_numpy(float)).all(axis=1)
    seen = cells[complete].reset_index(drop=True)
    if len(seen) < LEAST_CELLS:
        raise ValueError(
            f"{len(seen)} of {len(cells)} cells have the predictors of both, at least {LEAST_CELLS} are needed"
        )
    inside = 100 * float(teacher.inside(seen[list(teacher.predictors)].to_numpy(float)).mean())
    log.info(
        "%d of %d cells have the predictors of both sets; %.0f %% of them lie where %s may be trusted",
        len(seen), len(cells), inside, teacher.name,
    )  # fmt: skip
    if inside < LEAST_INSIDE_PERCENT:
        raise ValueError(
            f"{inside:.0f} % of {len(seen)} cells lie where {teacher.name} may be trusted, at least {LEAST_INSIDE_PERCENT:g} % "
            "are needed: more plots under the lidar, unlike those that there are"
        )
    if machine.learns:
        sites, number = np.unique(_sites(seen), return_inverse=True)
        kept = _some(len(sites), max(int(MOST_LEARNED * len(sites) / len(seen)), 1))
        seen = seen[np.isin(number.ravel(), kept)].reset_index(drop=True)
    flat = [one for one, width in zip(predictors, seen[list(predictors)].std(), strict=True) if width < 1e-12]
    if flat:
        raise ValueError(f"the predictor {flat[0]} is constant over the cells")
    return seen


def _blocks(
    design: np.ndarray, answers: np.ndarray, penalised: np.ndarray, seen: pd.DataFrame, transform: str, needed: int
) -> np.ndarray:
    """The block of land of each cell, as wide as the reach of what a linear regression leaves unexplained asks for."""
    xy, site = seen[["x", "y"]].to_numpy(float), _sites(seen)
    machine = regressor_named("linear", transform=transform)
    params = machine.fit(design, answers, penalised)
    fitted, gradient = machine.both(params, design)
    scale, power, floor = spread_of(answers - fitted, fitted)
    nothing = np.zeros((len(xy), 0))
    cell = seen["cell"].astype(str).to_numpy(str)
    sample = Sample(cell, cell, seen["year"].to_numpy(int), *xy.T, scale * np.maximum(fitted, floor) ** power, nothing)
    reach_m = RANGES * _cell_structure(answers - fitted, gradient, sample, site)["level"].range_m
    block = blocks_of(xy, reach_m)
    if (count := len(np.unique(block))) < needed:
        raise ValueError(f"the cells lie in {count} blocks, at least {needed} are needed")
    return block


def blocks_of(xy: np.ndarray, reach_m: float = 0.0) -> np.ndarray:
    """Names (n,) of the squares that places (n, 2) lie in: of side `reach_m`, or smaller until `FEW_BLOCKS` are filled, or
    larger until no more than `MANY_BLOCKS` are.

    Squares with less than a quarter of the mean number of places are joined to the nearest other.
    """
    low, side = xy.min(axis=0), float(max(np.ptp(xy, axis=0).max(), 1.0))
    while True:
        _, number = np.unique(np.floor((xy - low) / side + 1e-9).astype(int), axis=0, return_inverse=True)
        number = number.ravel()
        count = np.bincount(number)
        large = count >= 0.25 * count.mean()
        enough = large.sum() >= FEW_BLOCKS and (0.9 * side < reach_m or large.sum() >= MANY_BLOCKS)
        if enough or count.max() == 1 or side < 1.0:
            break
        side *= 0.9
    centres = np.column_stack([np.bincount(number, weights=axis) / count for axis in xy.T])
    _, nearest = cKDTree(centres[large]).query(centres)
    joined_to = np.flatnonzero(large)[nearest]
    return np.array([f"b{one:03d}" for one in np.where(large[number], number, joined_to[number])])


def _sites(seen: pd.DataFrame) -> np.ndarray:
    """The site (n,) of each cell; the cell itself where sites are not told."""
    return seen["site" if "site" in seen else "cell"].astype(str).to_numpy(str)


def _some(n: int, most: int) -> np.ndarray:
    """At most so many of n rows, evenly spread over them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _reach(seen: pd.DataFrame) -> float:
    """Twice the median distance of a site to the next: a plot nearer to a cell lies among them."""
    xy = seen.groupby(_sites(seen))[["x", "y"]].mean().to_numpy()
    return 2 * float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1]))


def _moves(
    machine: Regressor, design: np.ndarray, answers: np.ndarray, penalised: np.ndarray, first_gradient: np.ndarray,
    teacher: SetModel,
) -> np.ndarray:  # fmt: skip
    """Change of the second stage's parameters per change of the first's (p, q)."""
    typical = float(np.median(teacher.sample.sd))
    columns = []
    for slope in first_gradient.T:
        size = float(np.sqrt((slope**2).mean()))
        if size == 0:
            columns.append(np.zeros(machine.size(design.shape[1])))
            continue
        columns.append(machine.shifted(design, answers, penalised, slope * typical / size) * size / typical)
    return np.column_stack(columns)


def _cell_structure(residual: np.ndarray, gradient: np.ndarray, sample: Sample, site: np.ndarray) -> dict:
    """How residuals of cells hang together, told from some whole sites spread over all of them."""
    sites, number = np.unique(site, return_inverse=True)
    number = number.ravel()
    picked = np.random.default_rng(0).permutation(len(sites))[: max(int(MOST_FOR_STRUCTURE * len(sites) / len(site)), 2)]
    rows = np.flatnonzero(np.isin(number, picked))
    return residual_structure(residual[rows], gradient[rows], sample.at(rows))


def _left_out(plots: pd.DataFrame, one: SetModel, column: str, apart: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Plots as predicted by stages that have seen neither their cluster nor the cells around them."""
    there = np.isfinite(plots[[*one.predictors, column]].to_numpy(float)).all(axis=1)
    rows = plots[there]
    clusters = rows["cluster"].astype(str)
    params = np.array([apart.get(name, one.params) for name in clusters]).reshape(len(rows), -1)
    X, year = rows[list(one.predictors)].to_numpy(float), rows["year"].to_numpy(int)
    mean = away_from_home(one, params, X, year, rows[["x", "y"]].to_numpy(float))
    observed = rows[column].to_numpy(float)
    return rows[["plot", "cluster", "year"]].assign(set_name=one.name, observed=observed, predicted=mean)
