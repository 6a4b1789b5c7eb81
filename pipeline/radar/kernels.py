"""Compiled loops over radar images. Importing this module loads numba, so it is imported where the work is.

Every pixel's sums are taken by themselves, in a fixed order and in float64: the window that is filtered changes no bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NAN = np.float32(np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def local_sums(image, half, total, squares, count):
    """Sum, sum of squares and number of the values within `half` pixels of each pixel, rows first; missing is NaN."""
    rows, cols = image.shape
    s, ss, n = np.empty(cols), np.empty(cols), np.empty(cols, np.int64)
    for i in range(rows):
        s[:] = 0
        ss[:] = 0
        n[:] = 0
        for k in range(max(0, i - half), min(rows, i + half + 1)):
            line = image[k]
            for j in range(cols):
                value = np.float64(line[j])
                there = value == value
                s[j] += value if there else 0.0
                ss[j] += value * value if there else 0.0
                n[j] += 1 if there else 0
        for j in range(cols):
            a, b, c = 0.0, 0.0, 0
            for k in range(max(0, j - half), min(cols, j + half + 1)):
                a += s[k]
                b += ss[k]
                c += n[k]
            total[i, j], squares[i, j], count[i, j] = a, b, c


@njit(cache=True, nogil=True, error_model="numpy")
def multitemporal(stack, half):
    """Each date's local mean times the mean over dates of intensity / local mean (dates, rows, cols); missing is NaN."""
    dates, rows, cols = stack.shape
    out = np.empty(stack.shape, np.float32)
    total, squares = np.empty((rows, cols)), np.empty((rows, cols))
    count = np.empty((rows, cols), np.int64)
    ratio, seen = np.zeros((rows, cols)), np.zeros((rows, cols), np.int64)
    for date in range(dates):
        local_sums(stack[date], half, total, squares, count)
        for i in range(rows):
            for j in range(cols):
                value = np.float64(stack[date, i, j])
                mean = total[i, j] / count[i, j]
                there = value == value
                out[date, i, j] = np.float32(mean) if there else NAN
                ratio[i, j] += value / mean if there else 0.0
                seen[i, j] += 1 if there else 0
    for date in range(dates):
        for i in range(rows):
            for j in range(cols):
                out[date, i, j] = np.float32(np.float64(out[date, i, j]) * (ratio[i, j] / seen[i, j]))
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def lee(image, half, looks):
    """Local mean and the pixel's own value, weighed by how far the local variation exceeds that of speckle (rows, cols)."""
    rows, cols = image.shape
    out = np.empty(image.shape, np.float32)
    total, squares = np.empty((rows, cols)), np.empty((rows, cols))
    count = np.empty((rows, cols), np.int64)
    local_sums(image, half, total, squares, count)
    for i in range(rows):
        for j in range(cols):
            value = np.float64(image[i, j])
            n = count[i, j]
            if value != value:
                out[i, j] = NAN
            elif n < 2:
                out[i, j] = image[i, j]
            else:
                mean = total[i, j] / n
                variation = max(squares[i, j] - n * mean * mean, 0.0) / (n - 1) / (mean * mean)
                weight = max(0.0, 1.0 - 1.0 / (looks * variation)) if variation > 0 else 0.0
                out[i, j] = np.float32(mean + weight * (value - mean))
    return out


@njit(cache=True, nogil=True)
def missing_around(valid, half):
    """How many pixels within `half` rows and columns are not valid (rows, cols); beyond the array none is counted."""
    rows, cols = valid.shape
    found = np.empty((rows, cols), np.int32)
    down = np.zeros(cols, np.int32)  # missing in the rows around, by column; whole numbers may be added and taken away
    for i in range(min(half, rows)):
        for j in range(cols):
            down[j] += not valid[i, j]
    for i in range(rows):
        if i + half < rows:
            for j in range(cols):
                down[j] += not valid[i + half, j]
        if i - half - 1 >= 0:
            for j in range(cols):
                down[j] -= not valid[i - half - 1, j]
        n = np.int32(0)
        for j in range(min(half, cols)):
            n += down[j]
        for j in range(cols):
            if j + half < cols:
                n += down[j + half]
            if j - half - 1 >= 0:
                n -= down[j - half - 1]
            found[i, j] = n
    return found
