"""How well a model predicts plots it has not seen."""

from __future__ import annotations

import numpy as np


def scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """RMSE, bias and R2 of predictions of left-out plots; percentages refer to the observed mean.

    Bias is predicted minus observed. R2 = 1 - SSE / SST can be negative.
    """
    error = predicted - observed
    mean = float(observed.mean())
    rmse, bias = float(np.sqrt((error**2).mean())), float(error.mean())
    spread = float(((observed - mean) ** 2).sum())
    return {
        "n": len(observed),
        "mean": mean,
        "rmse": rmse,
        "rmse_percent": 100 * rmse / mean if mean else float("nan"),
        "bias": bias,
        "bias_percent": 100 * bias / mean if mean else float("nan"),
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else float("nan"),
    }
