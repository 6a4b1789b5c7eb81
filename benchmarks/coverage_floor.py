"""How far plots can tell ranges of residuals apart, and how narrow intervals could be at best because of that.

    python -m benchmarks.coverage_floor           the table of docs/methods/inference.md (1 minute)

A method does not know which range is the true one; it has to cover at each of them. Suppose it does, by at least 87 % (an
oracle's 90 less 3 points) without correlation and at 60, 100, 170, 300, 550 and 1000 m, and that it knows all else: the
residuals' variance, the nugget, that there are no other ranges and no patches. Of all such methods the narrowest at one truth
is found here: the half-width h(plots) with the least mean at that truth, whatever it makes of the plots. By Lagrange (as in
Neyman and Pearson's lemma for tests) h solves

    sum over ranges b of  lambda_b  L_b / L_a  2 phi(h / sd_b) / sd_b  = 1,

with L the likelihoods of the plots' residuals (error contrasts) and sd_b a stand's standard error if b is true; the lambdas are
those that make the coverages 87 %. Its mean over the oracle's half-width (1.645 sd_a) is a floor: nobody's intervals around
the same estimate are narrower on average and cover as asked.

Stands lie far from plots; their estimate is that of least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import null_space
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from benchmarks.coverage_land import BETWEEN_DATES, CELL_HA, CELL_M, LAYOUTS, NUGGET, draw_plots
from models.inference.residuals import _mean_in_square, correlation

RANGES_M = (0.0, 60.0, 100.0, 170.0, 300.0, 550.0, 1000.0)
SHOWN_M = (0.0, 60.0, 300.0, 1000.0)
SIZES_HA = (5, 20)
LEAST = 0.87
NORMAL = 1.6449
DRAWS, RESIDUALS = 8, 150


def mean_of_square(hectares: float, range_m: float) -> float:
    """Variance of the mean residual of a square stand, of residuals of unit variance."""
    alone = CELL_HA / hectares
    return alone if range_m == 0 else (1 - NUGGET) * _mean_in_square(float(np.sqrt(1e4 * hectares)), range_m) + NUGGET * alone


@dataclass(frozen=True)
class Told:
    """What simulated plots say: log-likelihood (truth, sample, range) and a stand's standard error (sample, size, range)."""

    likelihood: np.ndarray
    se: np.ndarray


def simulate(layout: str, *, first_seed: int = 1, draws: int = DRAWS, residuals: int = RESIDUALS) -> Told:
    """Plots drawn anew, measured at two dates, and residuals of each truth at them."""
    likelihood, se = [], []
    for seed in range(first_seed, first_seed + draws):
        rows, cols, _ = draw_plots(seed, layout)
        rng = np.random.default_rng([seed, 9])
        n = len(rows)
        apart = cdist(CELL_M * np.column_stack([rows, cols]), CELL_M * np.column_stack([rows, cols]))
        dates = np.array([[1.0, BETWEEN_DATES], [BETWEEN_DATES, 1.0]])
        columns = np.column_stack([np.ones(2 * n), np.tile(rng.normal(size=(n, 3)), (2, 1)), np.repeat([0.0, 1.0], n)])
        alone = (apart < 1.0).astype(float)
        smooth = [alone if one == 0 else (1 - NUGGET) * correlation(apart, one) + NUGGET * alone for one in RANGES_M]
        matrices = [np.kron(dates, one) for one in smooth]
        contrasts = null_space(columns.T)
        roots = [np.linalg.cholesky(contrasts.T @ one @ contrasts) for one in matrices]
        found = np.empty((len(RANGES_M), residuals, len(RANGES_M)))
        for truth, root in enumerate(roots):
            z = root @ rng.normal(size=(len(root), residuals))
            for other, lower in enumerate(roots):
                white = np.linalg.solve(lower, z)
                found[truth, :, other] = -0.5 * (white**2).sum(axis=0) - np.log(np.diag(lower)).sum()
        likelihood.append(found)
        weight = columns @ np.linalg.solve(columns.T @ columns, np.eye(columns.shape[1])[0])
        variance = [[weight @ matrix @ weight + mean_of_square(size, one) for one, matrix in zip(RANGES_M, matrices, strict=True)]
                    for size in SIZES_HA]  # fmt: skip
        se.append(np.tile(np.sqrt(variance), (residuals, 1, 1)))
    return Told(np.concatenate(likelihood, axis=1), np.concatenate(se))


def narrowest(told: Told, truth: int, size: int, *, least: float = LEAST) -> tuple[float, np.ndarray]:
    """Least mean half-width at a truth over the oracle's, and what is covered at each truth then.

    The dual of a convex problem: the multiplier of a range whose truth is covered too seldom grows, the others shrink.
    """
    ratio = told.likelihood - told.likelihood[..., truth : truth + 1]
    log_ratio = np.clip(ratio, -300, 300)
    se = np.broadcast_to(told.se[:, size], told.likelihood.shape)
    count = len(told.likelihood)
    log_multiplier = np.zeros(count)
    for step in range(STEPS):
        half = _half_widths(log_ratio + log_multiplier - np.log(se), se)
        covered = np.array([(2 * ndtr(half[k] / se[k, :, k]) - 1).mean() for k in range(count)])
        log_multiplier += 40.0 / (1 + 0.04 * step) * np.clip(least - covered, -0.05, 0.05)
    return float((half[truth] / (NORMAL * se[truth, :, truth])).mean()), 100 * covered


STEPS = 300


def _half_widths(log_weight: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Where (truths, samples) the gain of a wider interval is no more than its width; 0 where it never is more."""
    low, high = np.zeros(se.shape[:2]), np.full(se.shape[:2], 8.0 * se.max())
    for _ in range(22):
        middle = (low + high) / 2
        gain = np.exp(log_weight - 0.5 * (middle[..., None] / se) ** 2).sum(axis=-1)
        low, high = np.where(gain > 1, middle, low), np.where(gain > 1, high, middle)
    return (low + high) / 2


def main() -> None:
    print(f"| plots | true range m | log-likelihood ratio to {' / '.join(f'{one:.0f}' for one in SHOWN_M)} m | "
          + " | ".join(f"least half-width over the oracle's, {size} ha" for size in SIZES_HA) + " |")  # fmt: skip
    print("|---" * (3 + len(SIZES_HA)) + "|")
    for layout in LAYOUTS:
        told = simulate(layout)
        shown = [RANGES_M.index(one) for one in SHOWN_M]
        for truth in shown:
            mean = told.likelihood[truth].mean(axis=0)
            apart = " / ".join("-" if k == truth else f"{mean[truth] - mean[k]:.2f}" for k in shown)
            cells = []
            for size in range(len(SIZES_HA)):
                cells.append(f"{narrowest(told, truth, size)[0]:.2f}")
            print(f"| {layout} | {RANGES_M[truth]:.0f} | {apart} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
