"""Forty planted forests, each mapped from its own plots, points and scenes: bias and coverage against the planted truth.

The gate for stands and projects is 90 +- 6 % covered at nominal 90 %, which 200 forests can tell (15 minutes on an idle
core): `FORESTSINK_SEEDS=231-430 python -m pytest tests/simulation`. Fewer know it to a Monte Carlo error, and limits are two of
those wider here. That error is stated beforehand (`KNOWN_TO`), never measured in the same run: a noisier method has the larger
one and would pass the easier. For the same reason errors and widths have limits in Mg/ha, and none is told by another.
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


FROM_SEED_TO_SEED = {"stands": 6.6, "changes": 4.8, "composites": 8.0}
"""Standard deviation of a forest's percentage of stands covered, over 68 held-out forests (docs/methods/inference.md)."""


def known_to(what: str) -> float:
    """Monte Carlo error in points of a percentage covered, mean over as many forests as there are."""
    return FROM_SEED_TO_SEED[what] / np.sqrt(len(SEEDS))


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


def holds(stands: pd.DataFrame, what: str) -> None:
    """The gate, 84 to 96 % of stands covered, known to two errors stated beforehand."""
    percent, error = per_seed(100 * stands.groupby("seed")["covered"].mean())
    print(f"{percent:.1f} % of {what} covered at nominal 90 % (Monte Carlo error {error:.1f}, stated {known_to(what):.1f})")
    assert 84 - 2 * known_to(what) <= percent <= 96 + 2 * known_to(what)


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024"])
def test_stand_biomass_is_unbiased_over_forty_forests(forests, estimand):
    stands = forests["stands"].query("estimand == @estimand")
    sums = stands.groupby("seed")[["mean", "truth"]].sum()
    ratio, error = per_seed(100 * (sums["mean"] / sums["truth"] - 1))
    print(f"{estimand}: bias {ratio:+.1f} % (Monte Carlo error {error:.1f})")
    assert abs(ratio) <= 5


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024"])
def test_stand_intervals_of_stock_cover_the_planted_truth(forests, estimand):
    holds(forests["stands"].query("estimand == @estimand"), "stands")


def test_stand_intervals_of_change_cover_the_planted_truth(forests):
    holds(forests["stands"].query("estimand == 'agb_2019_2024'"), "changes")


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024", "agb_2019_2024"])
def test_intervals_of_composites_cover_the_planted_truth(forests, estimand):
    """Of stands with plots of their own. Those partly felled or burnt between the dates are missed in one of five: what stands on
    land that the mask calls no forest is in no interval (docs/methods/hierarchical.md)."""
    holds(forests["composites"].query("estimand == @estimand"), "composites")


@pytest.mark.parametrize("estimand", ["agb_2019", "agb_2024", "agb_2019_2024"])
def test_project_intervals_cover_the_planted_truth(forests, estimand):
    """At least 84 %, known to two binomial errors; from above widths are held (below), for 40 of 40 is no rare thing at 95 %."""
    projects = forests["summary"].query("estimand == @estimand")
    inside = (projects["project_low"] <= projects["project_truth"]) & (projects["project_truth"] <= projects["project_high"])
    percent = float(100 * inside.mean())
    print(f"{estimand}: {percent:.1f} % of projects covered at nominal 90 %")
    assert percent >= 84 - 2 * 100 * np.sqrt(0.84 * 0.16 / len(projects))


@pytest.mark.parametrize(
    ("estimand", "largest_error", "widest"),
    [("agb_2019", 14.2, 22.4), ("agb_2024", 15.5, 24.3), ("agb_2019_2024", 8.5, 14.7)],
)
def test_projects_are_known_well_and_their_intervals_say_so(forests, estimand, largest_error, widest):
    """Root mean square error and mean half-width, each with a limit of its own in Mg/ha: were one held against the other, noise
    would buy room. Held-out forests have errors of 10.6, 11.6 and 6.4, which forty know to 11 %, and half-widths of 20.0, 21.7
    and 13.1, which vary by a quarter from forest to forest and so are known to 4 %; limits are three of those errors higher."""
    projects = forests["summary"].query("estimand == @estimand")
    error = np.sqrt(((projects["project_mean"] - projects["project_truth"]) ** 2).mean())
    half = ((projects["project_high"] - projects["project_low"]) / 2).mean()
    print(f"{estimand}: root mean square error {error:.1f}, mean half-width {half:.1f} Mg/ha")
    assert error <= largest_error
    assert half <= widest
