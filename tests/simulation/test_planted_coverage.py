"""Forty planted forests, each mapped from its own plots, points and scenes: bias and coverage against the planted truth.

The gate for stands and projects is 90 +- 6 % covered at nominal 90 %, which 200 forests can tell (15 minutes on an idle
core): `FORESTSINK_SEEDS=231-430 python -m pytest tests/simulation`. Forty know it to their Monte Carlo error, 1 point for
stands and 5 for projects, so limits are two of those wider here.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FIRST, LAST = map(int, os.environ.get("FORESTSINK_SEEDS", "81-120").split("-"))
SEEDS = range(FIRST, LAST + 1)
"""Methods are developed on seeds 1 to 80; 81 to 120 are those of CI; 121 to 430 are kept for what is to be believed."""


def one_forest(seed: int) -> dict[str, list[dict]]:
    """Truth beside the estimates of every stand, every composite and the project of one small planted forest.

    What the workflow makes besides (published maps, totals by design, laws) takes a fifth of the time and is left out.
    """
    import logging

    import chain

    from pipeline import store
    from pipeline.bridge import Plan
    from pipeline.checks import against_truth

    chain.one_thread()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(chain.small_study(Path(folder), seed=seed))
        chain.plant(plan)
        chain.see(plan)
        chain.learn(plan)
        chain.map_blocks(plan, maps=False)
        chain.stand_tables(plan)
        known = pd.read_csv(plan.resources / "planted/truth/stands.csv", dtype={"stand": str})
        found = against_truth(store.read_table(plan.resources / "estimates.parquet"), known, target="agb")
    return {what: [row | {"seed": seed} for row in rows] for what, rows in found.items()}


@pytest.fixture(scope="module")
def forests() -> dict[str, pd.DataFrame]:
    here = str(Path(__file__).resolve().parent.parent)
    root = str(Path(here).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, here, os.environ.get("PYTHONPATH", "")])
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(one_forest, SEEDS))
    return {what: pd.DataFrame([row for one in found for row in one[what]]) for what in found[0]}


def per_seed(values: pd.Series) -> tuple[float, float]:
    """Mean over seeds and its Monte Carlo standard error: the stands of a seed share their errors."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024"])
def test_stand_biomass_is_unbiased_over_forty_forests(forests, estimand):
    stands = forests["stands"].query("estimand == @estimand")
    sums = stands.groupby("seed")[["mean", "truth"]].sum()
    ratio, error = per_seed(100 * (sums["mean"] / sums["truth"] - 1))
    print(f"{estimand}: bias {ratio:+.1f} % (Monte Carlo error {error:.1f})")
    assert abs(ratio) <= 5


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024"])
def test_stand_intervals_of_stock_cover_the_planted_truth(forests, estimand):
    stands = forests["stands"].query("estimand == @estimand")
    percent, error = per_seed(100 * stands.groupby("seed")["covered"].mean())
    print(f"{estimand}: {percent:.1f} % of stands covered at nominal 90 % (Monte Carlo error {error:.1f})")
    assert 84 - 2 * error <= percent <= 96 + 2 * error


def test_stand_intervals_of_change_cover_the_planted_truth(forests):
    stands = forests["stands"].query("estimand == 'agb_2019_2024'")
    percent, error = per_seed(100 * stands.groupby("seed")["covered"].mean())
    print(f"change: {percent:.1f} % of stands covered at nominal 90 % (Monte Carlo error {error:.1f})")
    assert 84 - 2 * error <= percent <= 96 + 2 * error


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024", "agb_2019_2024"])
def test_intervals_of_composites_cover_the_planted_truth(forests, estimand):
    """Of stands with plots of their own. Those partly felled or burnt between the dates are missed half of the time: what the
    forest mask gets wrong along the new edge is in no interval (docs/methods/hierarchical.md)."""
    stands = forests["composites"].query("estimand == @estimand")
    percent, error = per_seed(100 * stands.groupby("seed")["covered"].mean())
    print(f"{estimand}: {percent:.1f} % of composites covered at nominal 90 % (Monte Carlo error {error:.1f})")
    assert 84 - 2 * error <= percent <= 96 + 2 * error


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024", "agb_2019_2024"])
def test_project_intervals_cover_the_planted_truth(forests, estimand):
    projects = forests["summary"].query("estimand == @estimand")
    inside = (projects["project_low"] <= projects["project_truth"]) & (projects["project_truth"] <= projects["project_high"])
    percent, error = per_seed(100 * inside.astype(float))
    print(f"{estimand}: {percent:.1f} % of projects covered at nominal 90 % (Monte Carlo error {error:.1f})")
    assert percent >= 84 - 2 * 100 * np.sqrt(0.84 * 0.16 / len(projects))


def test_intervals_are_not_so_wide_that_they_say_nothing(forests):
    """The project's half-width stays within four times its error: covering by width alone would be no achievement."""
    for estimand, projects in forests["summary"].groupby("estimand"):
        error = np.sqrt(((projects["project_mean"] - projects["project_truth"]) ** 2).mean())
        half = ((projects["project_high"] - projects["project_low"]) / 2).mean()
        print(f"{estimand}: root mean square error {error:.1f}, mean half-width {half:.1f} Mg/ha")
        assert half < 4 * error
