"""Mean correlations of places: of two in an ellipse, of two in squares that lie apart. The correlation at d metres is
exp(-3 d / range)."""

from __future__ import annotations

from functools import cache

import numpy as np

RADII, RADIAL = np.polynomial.legendre.leggauss(20)
RADII, RADIAL = 2 * ((1 + RADII) / 2) ** 2, 2 * RADIAL * (1 + RADII) / 2  # more nodes near 0, where the correlation falls
ANGLES = (np.arange(16) + 0.5) * np.pi / 32
APART = (2 * np.arccos(RADII / 2) - RADII / 2 * np.sqrt(4 - RADII**2)) / np.pi**2 * RADII * RADIAL * (np.pi / 8)
APART /= APART.sum() * len(ANGLES)
"""Quadrature of the distance of two random points of a disc of radius 1: its covariogram, over radius and a quarter turn."""

SIZES = np.log(np.geomspace(1e-4, 300.0, 150))
SHAPES = np.linspace(0.0, np.log(12.0), 25)
"""Steps of the table of ellipses: logarithms of 3 x (mean radius) / range and of the ratio of the axes."""


def ellipse_correlation(axes_m: np.ndarray, range_m: float) -> np.ndarray:
    """Mean correlation (k,) of two random points of ellipses with half axes (k, 2): that of a disc, stretched.

    For compact and for elongated stands of the same area and second moment the standard error is within 1 % of the
    exact double sum (tests hold it against Fourier transforms of their shapes). Read off a table of `ellipse_quadrature`,
    within 1e-6 of it; shapes beyond the table's are integrated.
    """
    axes = np.ascontiguousarray(axes_m, float)
    found = np.empty(len(axes))
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(axes)
    size, shape = log.sum(axis=1) / 2 + np.log(3.0 / float(range_m)), np.abs(log[:, 0] - log[:, 1])
    told = (size >= SIZES[0]) & (size <= SIZES[-1]) & (shape <= SHAPES[-1])
    found[told] = np.exp(_ellipse_table().ev(size[told], shape[told]))
    found[~told] = ellipse_quadrature(axes[~told], float(range_m))
    return found


def ellipse_quadrature(axes_m: np.ndarray, range_m: float) -> np.ndarray:
    """The same (k,) by quadrature over radius and direction."""
    from models.inference.kernels import mean_exponential

    turn = np.cos(ANGLES), np.sin(ANGLES)
    return mean_exponential(np.ascontiguousarray(axes_m, float), RADII, APART, *turn, 3.0 / range_m)


@cache
def _ellipse_table():
    """Logarithm of the mean correlation as a spline of `SIZES` and `SHAPES`."""
    from scipy.interpolate import RectBivariateSpline

    size, shape = (part.ravel() for part in np.meshgrid(np.exp(SIZES), np.exp(SHAPES / 2), indexing="ij"))
    logs = np.log(ellipse_quadrature(np.column_stack([size * shape, size / shape]), 3.0))
    return RectBivariateSpline(SIZES, SHAPES, logs.reshape(len(SIZES), len(SHAPES)), kx=5, ky=5)


NEAR = 4.0  # sides: beyond, the curvature of the correlation tells the mean over two squares
STEPS_NEAR, STEPS_SIDE = np.linspace(0.0, NEAR, 41), np.geomspace(1e-2, 1e2, 61)


@cache
def square_table() -> np.ndarray:
    """Mean correlation of two random points of two squares of side 1, over directions: log of it by distance
    (`STEPS_NEAR`, in sides) and side (`STEPS_SIDE`, in ranges)."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half, share = (1 + nodes) / 2, weights / 2  # of a triangular offset; nodes lie dense where squares meet
    offset = np.concatenate([-half[::-1], half])
    share = np.concatenate([share[::-1], share]) * (1 - np.abs(offset))
    turn = (np.arange(8) + 0.5) * np.pi / 16
    table = np.empty((len(STEPS_NEAR), len(STEPS_SIDE)))
    for row, apart in enumerate(STEPS_NEAR):
        away = np.hypot(
            apart * np.cos(turn)[:, None, None] + offset[None, :, None],
            apart * np.sin(turn)[:, None, None] + offset[None, None, :],
        )
        for col, side in enumerate(STEPS_SIDE):
            table[row, col] = np.einsum("tij,i,j->", np.exp(-3 * side * away), share, share) / len(turn)
    return np.log(np.maximum(table, 1e-300))


def mean_correlation(distance_m: np.ndarray, side_m: np.ndarray, range_m: float) -> np.ndarray:
    """Correlation of two places, each anywhere in a square of side `side_m`, whose centres lie `distance_m` apart.

    Squares of two sizes are told by the root mean square of their sides, a point and a square by side / sqrt(2).
    `side_m` is of the shape of `distance_m` or can be spread to it.
    """
    from models.inference.kernels import square_correlation

    distance = np.asarray(distance_m, float)
    side = np.broadcast_to(np.asarray(side_m, float), distance.shape)
    found = square_correlation(
        distance.ravel(), side.ravel(), float(range_m), square_table(), NEAR, STEPS_SIDE[0], STEPS_SIDE[-1]
    )
    return found.reshape(distance.shape)
