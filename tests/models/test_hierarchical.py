"""Plots -> lidar -> satellite: a planted field whose every part is known, closed forms, and sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import shapely

from models.inference.residuals import Structure
from models.inference.stands import RegionEstimator, Sums, lattice

SETS = {"lidar": ("zmean",), "satellite": ("s2_ndmi",)}
SIDE, CELL = 36, 30.0
PLOT_E1, CELL_E2 = Structure(240.0, 0.3, True, 0.0), Structure(200.0, 0.2, True, 0.0)
SD_1, SD_2 = 20.0, 25.0


class Field:
    """A square of cells: y = 100 + 12 zmean + e1; 12 zmean = 18 x + e2; the satellite sees x, lidar the western third."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        centre = (np.arange(SIDE) + 0.5) * CELL
        self.x, self.y = (part.ravel() for part in np.meshgrid(centre, centre))
        apart = np.hypot(self.x[:, None] - self.x[None, :], self.y[:, None] - self.y[None, :])
        self.roots = [
            np.linalg.cholesky((1 - s.nugget) * np.exp(-3 * apart / s.range_m) + s.nugget * np.eye(len(apart)))
            for s in (PLOT_E1, CELL_E2, Structure(150.0, 0.3, True, 0.0))
        ]
        self.flown = self.x < SIDE * CELL / 3

    def draw(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """All cells with their truth, plots in 14 clusters of three where lidar flew, and every other cell there."""
        e1, e2, x = (root @ self.rng.normal(size=len(root)) for root in self.roots)
        zmean = 10 + (18 * x + SD_2 * e2) / 12
        whole = pd.DataFrame({
            "cell": [f"k{k:04d}" for k in range(len(x))], "year": 2019, "x": self.x, "y": self.y, "cell_ha": CELL**2 / 1e4,
            "s2_ndmi": x, "zmean": zmean, "agb_mg_ha": 100 + 12 * zmean + SD_1 * e1,
        })  # fmt: skip
        inside = self.flown & (self.x < SIDE * CELL / 3 - 2 * CELL) & (self.y < (SIDE - 2) * CELL)
        corner = self.rng.permutation(np.flatnonzero(inside))
        taken: list[int] = []
        for one in corner:
            group = [one, one + 1, one + SIDE]
            if not set(group) & set(taken):
                taken += group
            if len(taken) == 42:
                break
        plots = whole.iloc[taken].assign(
            plot=[f"p{k:02d}" for k in range(42)], cluster=[f"c{k // 3:02d}" for k in range(42)], area_ha=CELL**2 / 1e4
        )
        return whole, plots.reset_index(drop=True), whole[self.flown].iloc[::2].reset_index(drop=True)


def interval_of(model, whole, shape) -> tuple[float, float, float]:
    rows = whole[shapely.contains_xy(shape, whole["x"], whole["y"])]
    found = model.predict({"s2_ndmi": rows["s2_ndmi"].to_numpy()}, 2019)
    hectares = rows["cell_ha"].to_numpy()
    own = found["part_sd"]
    sums = Sums(
        hectares.sum(), hectares @ found["mean"], np.array([0.0, hectares.sum()]), hectares @ own, hectares @ own**2,
        hectares @ found["gradient"].astype(float),
    )  # fmt: skip
    estimate = RegionEstimator(model, years=[2019], confidence_percent=90).estimate([sums], [lattice(shape)])
    return estimate.low, estimate.high, float(rows["agb_mg_ha"].mean())
