"""Compiled loops over pixels. Importing this module loads numba, so it is imported where the work is."""

from __future__ import annotations

import numpy as np
from numba import njit

CONTRAST, HOMOGENEITY, ENTROPY, SECOND_MOMENT, CORRELATION, VARIANCE = range(6)
"""What `glcm` computes."""


@njit(cache=True)
def glcm(level, levels, half, min_present, what):
    """One property of the grey level co-occurrence matrix of the window around each pixel (float64, NaN missing).

    `level` (rows, cols, int16) is negative where missing. Of each of four directions (0, 45, 90 and 135 degrees, one
    pixel apart) the symmetric matrix is made of the pairs that are there, its property taken, and the mean of the
    directions with any pair returned. Counts and sums are whole numbers until the last division, so where a window lies
    in the array changes nothing.
    """
    rows, cols = level.shape
    found = np.full((rows, cols), np.nan)
    count = np.zeros((levels, levels), np.int32)
    side = 2 * half + 1
    first = np.empty(side * side, np.int16)
    second = np.empty(side * side, np.int16)
    log = np.zeros(2 * side * side + 1)
    for k in range(1, log.size):
        log[k] = np.log(k)
    for row in range(rows):
        top, bottom = max(0, row - half), min(rows - 1, row + half)
        for col in range(cols):
            if level[row, col] < 0:
                continue
            left, right = max(0, col - half), min(cols - 1, col + half)
            present = 0
            for r in range(top, bottom + 1):
                for c in range(left, right + 1):
                    if level[r, c] >= 0:
                        present += 1
            if present < min_present:
                continue
            total, directions = 0.0, 0
            for direction in range(4):
                down = 0 if direction == 0 else 1
                across = 1 if direction == 0 else 2 - direction  # (0, 1), (1, 1), (1, 0), (1, -1)
                pairs = 0
                for r in range(top, bottom + 1 - down):
                    for c in range(max(left, left - across), min(right, right - across) + 1):
                        a, b = level[r, c], level[r + down, c + across]
                        if a >= 0 and b >= 0:
                            first[pairs], second[pairs] = a, b
                            pairs += 1
                if pairs:
                    total += _property(first, second, pairs, count, log, what)
                    directions += 1
            if directions:
                found[row, col] = total / directions
    return found


@njit(cache=True)
def _property(first, second, pairs, count, log, what):
    """A property of the symmetric matrix of some pairs of grey levels; `count` is zero before and after."""
    n = 2 * pairs
    if what == CONTRAST:
        squares = 0
        for k in range(pairs):
            apart = int(first[k]) - int(second[k])
            squares += apart * apart
        return squares / pairs
    if what == HOMOGENEITY:
        near = 0.0
        for k in range(pairs):
            apart = int(first[k]) - int(second[k])
            near += 1.0 / (1 + apart * apart)
        return near / pairs
    if what in (CORRELATION, VARIANCE):
        s, ss, products = 0, 0, 0
        for k in range(pairs):
            a, b = int(first[k]), int(second[k])
            s += a + b
            ss += a * a + b * b
            products += 2 * a * b
        spread = n * ss - s * s  # n squared times the variance, a whole number
        if what == VARIANCE:
            return spread / (n * n)
        return (n * products - s * s) / spread if spread else 1.0
    for k in range(pairs):
        count[first[k], second[k]] += 1
        count[second[k], first[k]] += 1
    # A cell of count c holds c of the n pairs: summing over pairs weighs each cell by its probability.
    total = 0.0
    for k in range(pairs):
        cell = count[first[k], second[k]]
        total += cell / n if what == SECOND_MOMENT else log[n] - log[cell]
    for k in range(pairs):
        count[first[k], second[k]] = 0
        count[second[k], first[k]] = 0
    return total / pairs


@njit(cache=True)
def around(height, half_width, min_share):
    """Mean of the whole numbers in a disc around each pixel, without the pixel itself (float64, NaN missing).

    `height` (rows, cols, int64) is the least int64 where missing; `half_width[k]` is how far the disc reaches left and
    right, k rows from its middle. Missing where the pixel is, or less than `min_share` of the disc is there. Sums are of
    whole numbers along rows, so where the disc lies in the array changes nothing.
    """
    rows, cols = height.shape
    missing = np.iinfo(np.int64).min
    sums = np.zeros((rows, cols + 1), np.int64)
    counts = np.zeros((rows, cols + 1), np.int32)
    for row in range(rows):
        for col in range(cols):
            there = height[row, col] != missing
            sums[row, col + 1] = sums[row, col] + (height[row, col] if there else 0)
            counts[row, col + 1] = counts[row, col] + (1 if there else 0)
    reach = half_width.size - 1
    full = 0
    for k in range(-reach, reach + 1):
        full += 2 * half_width[abs(k)] + 1
    full -= 1
    found = np.full((rows, cols), np.nan)
    for row in range(rows):
        top, bottom = max(0, row - reach), min(rows - 1, row + reach)
        for col in range(cols):
            if height[row, col] == missing:
                continue
            total, n = -height[row, col], -1
            for r in range(top, bottom + 1):
                wide = half_width[abs(r - row)]
                left, right = max(0, col - wide), min(cols, col + wide + 1)
                total += sums[r, right] - sums[r, left]
                n += counts[r, right] - counts[r, left]
            if n > 0 and n >= min_share * full:
                found[row, col] = total / n
    return found


@njit(cache=True)
def least_squares(design, values, min_count):
    """Coefficients of a linear model in each pixel's present dates, with their count and residual mean square.

    `design` is (dates, parameters), `values` (dates, pixels) with NaN missing. Coefficients (parameters, pixels) are NaN
    where fewer than `min_count` dates are there or their dates cannot tell the parameters apart.
    """
    dates, parameters = design.shape
    pixels = values.shape[1]
    found = np.full((parameters, pixels), np.nan)
    count = np.zeros(pixels, np.int32)
    mean_square = np.full(pixels, np.nan)
    normal = np.empty((parameters, parameters))
    right = np.empty(parameters)
    for pixel in range(pixels):
        normal[:] = 0.0
        right[:] = 0.0
        n = 0
        for date in range(dates):
            y = values[date, pixel]
            if np.isnan(y):
                continue
            n += 1
            for i in range(parameters):
                right[i] += design[date, i] * y
                for j in range(i + 1):
                    normal[i, j] += design[date, i] * design[date, j]
        count[pixel] = n
        if n < min_count or not _solve(normal, right):
            continue
        squares = 0.0
        for date in range(dates):
            y = values[date, pixel]
            if np.isnan(y):
                continue
            for i in range(parameters):
                y -= design[date, i] * right[i]
            squares += y * y
        mean_square[pixel] = squares / n
        for i in range(parameters):
            found[i, pixel] = right[i]
    return found, count, mean_square


@njit(cache=True)
def _solve(normal, right):
    """Solve in place by Cholesky's decomposition; False where the dates cannot tell the parameters apart."""
    parameters = right.size
    for i in range(parameters):
        scale = normal[i, i]
        for j in range(i + 1):
            rest = normal[i, j]
            for k in range(j):
                rest -= normal[i, k] * normal[j, k]
            if i > j:
                normal[i, j] = rest / normal[j, j]
            else:
                # What other parameters leave of a parameter's own variation: the inverse of its variance inflation.
                if not rest > 1e-3 * scale:
                    return False
                normal[i, i] = np.sqrt(rest)
    for i in range(parameters):
        for k in range(i):
            right[i] -= normal[i, k] * right[k]
        right[i] /= normal[i, i]
    for i in range(parameters - 1, -1, -1):
        for k in range(i + 1, parameters):
            right[i] -= normal[k, i] * right[k]
        right[i] /= normal[i, i]
    return True


@njit(cache=True)
def quantiles(values, shares, min_count):
    """Quantiles (shares, pixels) of each pixel's present dates, linear between order statistics; NaN missing."""
    dates, pixels = values.shape
    found = np.full((shares.size, pixels), np.nan)
    present = np.empty(dates)
    for pixel in range(pixels):
        n = 0
        for date in range(dates):
            y = values[date, pixel]
            if not np.isnan(y):
                present[n] = y
                n += 1
        if n < max(1, min_count):
            continue
        sorted_ = np.sort(present[:n])
        for k in range(shares.size):
            place = shares[k] * (n - 1)
            below = min(int(place), n - 1)
            above = min(below + 1, n - 1)
            found[k, pixel] = sorted_[below] + (place - below) * (sorted_[above] - sorted_[below])
    return found
