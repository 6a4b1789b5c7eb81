"""Estimators on samples of a forest whose mean is known: bias, error that is promised, coverage.

    python -m benchmarks.estimators        prints the tables of docs/methods/estimators.md (3 minutes)

Monte Carlo errors stand in brackets. tests/models/test_design_simulation.py keeps a smaller version of the same forest.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.inference.area_models import DirectEstimates
from models.inference.area_totals import area_estimates
from models.inference.design_totals import Area
from models.inference.estimators import estimate
from models.inference.survey import Survey

SAMPLES = 1000
SETS = 300
POINTS = 40_000
STRATA = ("low", "middle", "high")
SIZES = {12: (60, 300), 25: (150, 800), 80: (400, 2000)}
"""Ground plots: points of phase 1, of phase 0."""


class Forest:
    """Points of a forest: target, two auxiliaries of which `wide` is the poorer, a map of other plots, areas, strata.

    The target's spread grows with its mean, and area north lies 12 above the model of all: what estimators have to bear.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(20)
        height = rng.gamma(4, 3, POINTS)
        self.wide = height + rng.normal(0, 3, POINTS)
        self.fine = height + rng.normal(0, 1.5, POINTS)
        self.area = np.array(["north", "south", "east", "west"])[rng.integers(0, 4, POINTS)]
        self.y = 10 + 8 * height + rng.normal(0, 1, POINTS) * (4 + 2 * height) + np.where(self.area == "north", 12, 0)
        self.stratum = np.where(self.wide < 9, "low", np.where(self.wide < 14, "middle", "high"))
        self.map = 5 + 8.2 * self.fine
        self.stratum_area_ha = {name: float((self.stratum == name).sum()) for name in STRATA}

    def survey(self, rng, phase_2: int, phase_1: int, phase_0: int) -> Survey:
        rows = rng.integers(0, POINTS, phase_0)
        phase = np.zeros(phase_0, dtype=int)
        phase[:phase_1], phase[:phase_2] = 1, 2
        auxiliaries = {"wide": self.wide[rows], "fine": np.where(phase > 0, self.fine[rows], np.nan), "map": self.map[rows]}
        y = np.where(phase == 2, self.y[rows], np.nan)
        return Survey(y, phase, auxiliaries, area=self.area[rows], stratum=self.stratum[rows], selection="probability")


WHOLE = {
    "expansion": {},
    "post_stratified": {"stratum_area_ha": True},
    "difference": {"prediction": "map"},
    "greg": {"auxiliaries": ["wide", "fine"], "means": ("wide", "fine")},
    "two_phase": {"auxiliaries": ["wide", "fine"]},
    "three_phase": {"auxiliaries": ["wide", "fine"], "reduced": ["wide"]},
    "three_phase, wide one known everywhere": {"auxiliaries": ["wide", "fine"], "reduced": ["wide"], "means": ("wide",)},
}
"""Estimators of the whole forest with their settings; True and names stand for what `settings_of` looks up."""

SMALL = {
    "small": {"auxiliaries": ["fine"]},
    "small, fine one known everywhere": {"auxiliaries": ["fine"], "means": ("fine",)},
    "small, three phases": {"auxiliaries": ["wide", "fine"], "reduced": ["wide"]},
    "extended_synthetic": {"auxiliaries": ["fine"]},
    "extended_synthetic, fine one known everywhere": {"auxiliaries": ["fine"], "means": ("fine",)},
    "extended_synthetic, three phases": {"auxiliaries": ["wide", "fine"], "reduced": ["wide"]},
    "synthetic, fine one known everywhere": {"auxiliaries": ["fine"], "means": ("fine",)},
}
"""Estimators of area north, a quarter of the forest."""


def settings_of(forest: Forest, plain: dict, where=slice(None)) -> dict:
    settings = dict(plain)
    if "means" in settings:
        settings["means"] = {name: float(getattr(forest, name)[where].mean()) for name in settings["means"]}
    if "stratum_area_ha" in settings:
        settings["stratum_area_ha"] = forest.stratum_area_ha
    return settings


def sampled(runs, truth: float) -> dict[str, np.ndarray]:
    found = [one for one in runs if np.isfinite(one.se)]
    error = np.array([one.mean - truth for one in found])
    covered = [one.interval(90)[0] <= truth <= one.interval(90)[1] for one in found]
    return {
        "bias": error.mean(), "bias_mc": error.std(ddof=1) / np.sqrt(len(error)), "samples": len(found),
        "ratio": np.mean([one.variance for one in found]) / error.var(ddof=1), "covered": 100 * np.mean(covered),
    }  # fmt: skip


def _row(forest: Forest, case: str, plain: dict, plots: int, variance: str | None, area: str | None) -> dict[str, float]:
    rng = np.random.default_rng(plots)
    where = slice(None) if area is None else forest.area == area
    settings, runs = settings_of(forest, plain, where), []
    if variance:
        settings["variance"] = variance
    if area:
        settings["area"] = area
    for _ in range(SAMPLES):
        survey = forest.survey(rng, plots, *SIZES[plots])
        if "three" not in case:
            survey = survey.at(survey.phase >= 1)
        try:
            runs.append(estimate(case.split(",")[0], survey, **settings))
        except ValueError:  # too few plots in the area or a stratum: counted as not estimated
            continue
    return sampled(runs, float(forest.y[where].mean()))


def areas() -> None:
    """EBLUP and Fay-Herriot in areas drawn from their own model: SD between areas 10, of plots 25."""
    print("| areas, plots in each | estimator | promised / true variance | covered at 90 % |")
    print("|---|---|---|---|")
    for count, least, most in ((8, 3, 3), (14, 1, 14), (30, 4, 4)):
        rng = np.random.default_rng(count)
        runs: dict[str, list] = {"bhf_eblup": [], "bhf_eblup, an area without plots": [], "fay_herriot": []}
        for _ in range(SETS):
            plots = rng.integers(least, most + 1, count)
            area, mu = np.repeat(np.arange(count), plots), rng.normal(12, 2, count + 1)
            effect, x = rng.normal(0, 10, count + 1), rng.gamma(4, 3, len(area))
            y = 20 + 6 * x + effect[area] + rng.normal(0, 25, len(area))
            survey = Survey(y, np.full(len(y), 2), {"x": x}, area=area.astype(str))
            found = estimate("bhf_eblup", survey, auxiliaries=["x"], means={str(i): {"x": mu[i]} for i in range(count + 1)})
            truth = 20 + 6 * mu + effect
            for number in range(count + 1):
                name = "bhf_eblup" + (", an area without plots" if number == count else "")
                runs[name].append((found[str(number)], truth[number]))
            error = 25**2 / plots
            own = DirectEstimates(
                np.arange(count).astype(str), truth[:-1] + rng.normal(0, np.sqrt(error)), error, mu[:-1, None]
            )
            runs["fay_herriot"] += list(zip(estimate("fay_herriot", own).values(), truth[:-1], strict=True))
        for name, pairs in runs.items():
            off = np.array([one.mean - true for one, true in pairs])
            inside = np.array([one.interval(90)[0] <= true <= one.interval(90)[1] for one, true in pairs])
            ratio = np.mean([one.variance for one, _ in pairs]) / (off**2).mean()
            mc = 100 * np.sqrt(inside.mean() * (1 - inside.mean()) / len(inside))
            held = f"{least}" if least == most else f"{least}-{most}"
            print(f"| {count}, {held} | {name} | {ratio:.2f} | {100 * inside.mean():.0f} ({mc:.1f}) |")


def drawn_areas(rng, plots, *, spread=15.0) -> tuple[pd.DataFrame, list[Area], dict[str, float]]:
    """A set of areas whose means depart from the map by chance (SD `spread`), plots in them (SD 20), and the true means."""
    names = [f"area {k}" for k in range(len(plots))]
    effect = rng.normal(0, spread, len(plots))
    rows, areas, truth = [], [], {}
    for name, n, own in zip(names, plots, effect, strict=True):
        level = rng.uniform(60, 200)
        at = level + rng.normal(0, 30, n)
        rows += [(name, value, value + own + rng.normal(0, 20)) for value in at]
        areas.append(Area(name, 100.0, level))
        truth[name] = level + own
    sample = pd.DataFrame(rows, columns=["stratum", "map", "y"])
    one_each = [f"p{k}" for k in range(len(sample))]
    return sample.assign(plot=one_each, cluster=one_each, weight=np.nan, selection="probability"), areas, truth


def family() -> None:
    """Every estimator of small areas as a study's totals make them, of areas with plots and of two without."""
    print("| areas | estimator | RMSE | promised / true variance | covered at 90 % |")
    print("|---|---|---|---|---|")
    for plots in ((9, 8, 7, 7, 6, 6, 0, 0), (6,) * 12 + (0, 0), (4,) * 30 + (0, 0)):
        rng, found = np.random.default_rng(len(plots)), {}
        for _ in range(SETS):
            sample, areas, truth = drawn_areas(rng, plots)
            for name, verdicts in area_estimates(sample, areas).items():
                for one in (one for one in verdicts if one.estimate is not None):
                    key = one.estimator + ("" if one.estimate.n["plots"] else ", no plots")
                    low, high = one.estimate.interval(90)
                    away = one.estimate.mean - truth[name]
                    found.setdefault(key, []).append((low <= truth[name] <= high, one.estimate.variance, away**2))
        for key, cases in found.items():
            held, promised, error = np.array(cases, float).mean(axis=0)
            mc = 100 * np.sqrt(held * (1 - held) / len(cases))
            sizes = f"{len(plots) - 2}, {min(plots[:-2])}" + ("" if min(plots[:-2]) == max(plots) else f"-{max(plots)}")
            print(f"| {sizes} | {key} | {error**0.5:.1f} | {promised / error:.2f} | {100 * held:.0f} ({mc:.1f}) |")


def main() -> None:
    areas()
    print()
    family()
    print()
    forest = Forest()
    print("| estimator | variance | " + " | ".join(f"{plots} plots" for plots in SIZES) + " |")
    print("|---" * (2 + len(SIZES)) + "|")
    for area, cases in ((None, WHOLE), ("north", SMALL)):
        for case, plain in cases.items():
            truth = float((forest.y if area is None else forest.y[forest.area == area]).mean())
            for variance in ("auto", "g_weight") if "auxiliaries" in plain else (None,):
                cells = []
                for plots in SIZES:
                    found = _row(forest, case, plain, plots, variance, area)
                    share = found["covered"] / 100
                    error = 100 * np.sqrt(share * (1 - share) / found["samples"])
                    left = "" if found["samples"] == SAMPLES else f", of {found['samples']}"
                    cells.append(
                        f"{100 * found['bias'] / truth:+.1f} ({100 * found['bias_mc'] / truth:.1f}), {found['ratio']:.2f}, "
                        f"{found['covered']:.0f} ({error:.0f}){left}"
                    )
                print(f"| {case}{' of north' if area else ''} | {variance or ''} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
