"""Compiled loops from a scene's pixels to the grid's. Importing this module loads numba, so it is imported where the work is.

Every loop treats a pixel of the grid by itself, in a fixed order of additions: neither the window nor the number of
threads changes a bit. All release the interpreter's lock.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NAN = np.float32(np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def classify(layer, clear_of, grows_of, down, right):
    """Clear mask (rows, cols) of a quality layer by two tables, what grows spread over the offsets `down`, `right`."""
    rows, cols = layer.shape
    clear = np.empty((rows, cols), np.bool_)
    growing = np.zeros(rows, np.bool_)
    for i in range(rows):
        grows = False
        for j in range(cols):
            clear[i, j] = clear_of[np.uintp(layer[i, j])]
            grows |= grows_of[np.uintp(layer[i, j])]
        growing[i] = grows
    for i in range(rows):
        if not growing[i] or not down.size:
            continue
        for j in range(cols):
            if grows_of[np.uintp(layer[i, j])]:
                for k in range(down.size):
                    y, x = i + down[k], j + right[k]
                    if 0 <= y < rows and 0 <= x < cols:
                        clear[y, x] = False
    return clear


@njit(cache=True, nogil=True, error_model="numpy")
def holds_any(layer, wanted):
    """Whether a quality layer (rows, cols) holds any value that the table `wanted` is true of; looks until it finds one."""
    for i in range(layer.shape[0]):
        for j in range(layer.shape[1]):
            if wanted[np.uintp(layer[i, j])]:
                return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def spread(values, row, col):
    """Nearest neighbour along rows and columns: `values[row[i], col[j]]`."""
    out = np.empty((row.size, col.size), values.dtype)
    for i in range(row.size):
        target = out[i]
        if i and row[i] == row[i - 1]:
            line = out[i - 1]
            for j in range(col.size):
                target[j] = line[j]
        else:
            line = values[row[i]]
            for j in range(col.size):
                target[j] = line[np.uintp(col[j])]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def usable(numbers, clear, low, high, nodata, file_nodata):
    """True where a number is clear, in the sensor's range and not one of the two values for missing (NaN: none)."""
    rows, cols = numbers.shape
    valid = np.empty((rows, cols), np.bool_)
    for i in range(rows):
        for j in range(cols):
            number = np.float32(numbers[i, j])
            valid[i, j] = (
                clear[i, j] & (number >= low) & (number <= high) & (number != nodata) & (number != file_nodata)
            )
    return valid


@njit(cache=True, nogil=True, error_model="numpy")
def mean_of_blocks(numbers, valid, side, least):
    """Mean of the valid part of whole `side` x `side` blocks; missing below a share of `least`."""
    rows, cols = numbers.shape[0] // side, numbers.shape[1] // side
    out = np.empty((rows, cols), np.float32)
    ok = np.empty((rows, cols), np.bool_)
    total, count = np.empty(numbers.shape[1], np.float32), np.empty(numbers.shape[1], np.float32)
    enough = np.float32(least * side * side)
    for i in range(rows):
        total[:] = 0
        count[:] = 0
        for k in range(side):
            line, good = numbers[i * side + k], valid[i * side + k]
            for j in range(total.size):
                total[j] += np.float32(line[j]) if good[j] else np.float32(0)
                count[j] += np.float32(1) if good[j] else np.float32(0)
        if side == 2:
            for j in range(cols):
                t, n = total[2 * j] + total[2 * j + 1], count[2 * j] + count[2 * j + 1]
                ok[i, j] = n >= enough
                out[i, j] = t / n if n >= enough else NAN
        else:
            for j in range(cols):
                t, n = np.float32(0), np.float32(0)
                for k in range(side):
                    t += total[j * side + k]
                    n += count[j * side + k]
                ok[i, j] = n >= enough
                out[i, j] = t / n if n >= enough else NAN
    return out, ok


@njit(cache=True, nogil=True, error_model="numpy")
def _down_the_rows(numbers, valid, index, weight, total, share):
    """Weighted sums over the source rows of one row of the grid, into `total` and `share` (source columns)."""
    total[:] = 0
    share[:] = 0
    for k in range(index.size):
        w = weight[k]
        if w > 0:
            line, good = numbers[index[k]], valid[index[k]]
            for j in range(total.size):
                total[j] += w * np.float32(line[j]) if good[j] else np.float32(0)
                share[j] += w if good[j] else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def weighted(numbers, valid, row_index, row_weight, col_index, col_weight, least):
    """Weighted mean of the valid part of each pixel, rows first; weights of a pixel add up to 1."""
    rows, cols, taps = row_index.shape[0], col_index.shape[0], col_index.shape[1]
    out = np.empty((rows, cols), np.float32)
    ok = np.empty((rows, cols), np.bool_)
    total, share = np.empty(numbers.shape[1], np.float32), np.empty(numbers.shape[1], np.float32)
    for i in range(rows):
        _down_the_rows(numbers, valid, row_index[i], row_weight[i], total, share)
        for j in range(cols):
            t, s = np.float32(0), np.float32(0)
            for k in range(taps):
                t += col_weight[j, k] * total[col_index[j, k]]
                s += col_weight[j, k] * share[col_index[j, k]]
            ok[i, j] = s >= least
            out[i, j] = t / s if s >= least else NAN
    return out, ok


@njit(cache=True, nogil=True, error_model="numpy")
def doubled(numbers, valid, row_index, row_weight, start, cols, least):
    """`weighted` for pixels half as large on the same edges (20 m to 10 m): columns in pairs of 1/4 and 3/4.

    `start` is 0 where the first column lies right of its source pixel's centre, 1 where it lies left of the next one's.
    Between two source rows lie two of the grid's: what is valid of a source row is told once.
    """
    rows, width = row_index.shape[0], numbers.shape[1]
    out = np.empty((rows, cols), np.float32)
    ok = np.empty((rows, cols), np.bool_)
    value, share = np.zeros((2, width), np.float32), np.zeros((2, width), np.float32)  # of an even and an odd row
    told, whole = np.full(2, -1, np.int64), np.zeros(2, np.bool_)
    t, s = np.empty(width, np.float32), np.empty(width, np.float32)
    line = np.empty(2 * width, np.float32)
    left, right = np.empty(width, np.float32), np.empty(width, np.float32)
    near, far = np.float32(0.75), np.float32(0.25)
    for i in range(rows):
        for k in range(2):
            row = row_index[i, k]
            if told[row % 2] != row:
                told[row % 2] = row
                number, good, v, w = numbers[row], valid[row], value[row % 2], share[row % 2]
                present = 0
                for j in range(width):
                    v[j] = np.float32(number[j]) if good[j] else np.float32(0)
                    w[j] = np.float32(1) if good[j] else np.float32(0)
                    present += good[j]
                whole[row % 2] = present == width
        first, second = row_index[i, 0] % 2, row_index[i, 1] % 2
        a, b, c, d = value[first], value[second], share[first], share[second]
        above, below = row_weight[i, 0], row_weight[i, 1]
        for j in range(width):
            t[j] = above * a[j] + below * b[j]
        if whole[first] and whole[second]:  # all shares are exactly 1
            for j in range(width - 1):
                left[j] = near * t[j] + far * t[j + 1]
                right[j] = far * t[j] + near * t[j + 1]
        else:
            for j in range(width):
                s[j] = above * c[j] + below * d[j]
            for j in range(width - 1):
                part = near * s[j] + far * s[j + 1]
                left[j] = (near * t[j] + far * t[j + 1]) / part if part >= least else NAN
            for j in range(width - 1):
                part = far * s[j] + near * s[j + 1]
                right[j] = (far * t[j] + near * t[j + 1]) / part if part >= least else NAN
        for j in range(width - 1):
            line[2 * j] = left[j]
            line[2 * j + 1] = right[j]
        target, seen = out[i], ok[i]
        for j in range(cols):
            target[j] = line[start + j]
        if whole[first] and whole[second]:
            for j in range(cols):
                seen[j] = True
        else:
            for j in range(cols):
                seen[j] = target[j] == target[j]
    return out, ok


@njit(cache=True, nogil=True, error_model="numpy")
def _inside(corners, i, j, down, right):
    """A coordinate inside a pixel, interpolated between its four corners."""
    upper = (1 - right) * corners[i, j] + right * corners[i, j + 1]
    lower = (1 - right) * corners[i + 1, j] + right * corners[i + 1, j + 1]
    return (1 - down) * upper + down * lower


@njit(cache=True, nogil=True, error_model="numpy")
def _cover(cover, y0, x0, y1, x1):
    """Add what lies between an edge of a polygon and the right, as differences along each row of cells.

    Added up from the left, `cover` (rows, cols + 1) is the signed share of each cell that the polygon covers, once all its
    edges are in: an edge that goes down by d in a cell, on average at m of its width, covers d (1 - m) of it and d of every
    cell to its right.
    """
    if y0 == y1:
        return
    sign = 1.0 if y0 < y1 else -1.0
    if y0 > y1:
        y0, x0, y1, x1 = y1, x1, y0, x0
    y, x = y0, x0
    while y < y1:
        row = int(np.floor(y))
        y_end = min(row + 1.0, y1)
        x_end = x1 if y_end == y1 else x0 + (x1 - x0) * ((y_end - y0) / (y1 - y0))
        down = (y_end - y) / (x_end - x) if x_end != x else 0.0
        while True:  # piece by piece from cell to cell
            col = int(np.ceil(x)) - 1 if x_end < x else int(np.floor(x))
            x_stop = max(float(col), x_end) if x_end < x else min(col + 1.0, x_end)
            last = x_stop == x_end
            y_stop = y_end if last else y + (x_stop - x) * down
            share = sign * (y_stop - y)
            middle = 0.5 * (x + x_stop) - col
            cover[row, col] += share * (1.0 - middle)
            cover[row, col + 1] += share * middle
            x, y = x_stop, y_stop
            if last:
                break
        y = y_end


@njit(cache=True, nogil=True, error_model="numpy")
def averaged(numbers, valid, row, col, row0, col0, least):
    """Mean of the valid part of each pixel, every source pixel weighed by the area that the two share.

    A pixel is the quadrilateral between its corners; `row`, `col` (rows + 1, cols + 1) are their source coordinates, counted
    from the file's corner, `row0`, `col0` where the window begins.
    """
    rows, cols = row.shape[0] - 1, row.shape[1] - 1
    out = np.empty((rows, cols), np.float32)
    ok = np.empty((rows, cols), np.bool_)
    cover = np.zeros((4, 4))
    for i in range(rows):
        for j in range(cols):
            top = int(np.floor(min(row[i, j], row[i, j + 1], row[i + 1, j], row[i + 1, j + 1])))
            left = int(np.floor(min(col[i, j], col[i, j + 1], col[i + 1, j], col[i + 1, j + 1])))
            height = int(np.ceil(max(row[i, j], row[i, j + 1], row[i + 1, j], row[i + 1, j + 1]))) - top
            width = int(np.ceil(max(col[i, j], col[i, j + 1], col[i + 1, j], col[i + 1, j + 1]))) - left
            if cover.shape[0] < height + 1 or cover.shape[1] < width + 2:
                cover = np.zeros((height + 4, width + 4))
            for k in range(height + 1):
                for m in range(width + 2):
                    cover[k, m] = 0.0
            for k in range(4):  # around the pixel
                a, b = (i, i, i + 1, i + 1)[k], (j, j + 1, j + 1, j)[k]
                c, d = (i, i + 1, i + 1, i)[k], (j + 1, j + 1, j, j)[k]
                _cover(cover, row[a, b] - top, col[a, b] - left, row[c, d] - top, col[c, d] - left)
            whole, t, s = 0.0, 0.0, 0.0
            for k in range(height):
                share = 0.0
                for m in range(width):
                    share += cover[k, m]
                    whole += share
                    if abs(share) > 1e-9 and valid[top + k - row0, left + m - col0]:
                        s += share
                        t += share * np.float64(numbers[top + k - row0, left + m - col0])
            enough = whole != 0.0 and s / whole >= least
            ok[i, j] = enough
            out[i, j] = t / s if enough else NAN
    return out, ok


@njit(cache=True, nogil=True, error_model="numpy")
def sampled(numbers, valid, row, col, row0, col0, least):
    """One bilinear sample of the valid pixels around each pixel's centre.

    `row`, `col` are the source coordinates of the pixels' corners, counted from the file's corner, `row0`, `col0` where
    the window begins: places are found in the file first, so that they do not depend on the window.
    """
    rows, cols = row.shape[0] - 1, row.shape[1] - 1
    out = np.empty((rows, cols), np.float32)
    ok = np.empty((rows, cols), np.bool_)
    for i in range(rows):
        for j in range(cols):
            t, s = np.float32(0), np.float32(0)
            y, x = _inside(row, i, j, 0.5, 0.5) - 0.5, _inside(col, i, j, 0.5, 0.5) - 0.5
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            down, right = np.float32(y - y0), np.float32(x - x0)
            y0, x0 = y0 - row0, x0 - col0
            for k in range(2):
                for m in range(2):
                    if valid[y0 + k, x0 + m]:
                        w = (down if k else np.float32(1) - down) * (right if m else np.float32(1) - right)
                        s += w
                        t += w * np.float32(numbers[y0 + k, x0 + m])
            enough = s >= least
            ok[i, j] = enough
            out[i, j] = t / s if enough else NAN
    return out, ok


@njit(cache=True, nogil=True, error_model="numpy")
def nearest_scattered(values, row, col, row0, col0):
    """The value whose pixel holds each pixel's centre; `row`, `col`, `row0`, `col0` as in `sampled`."""
    rows, cols = row.shape[0] - 1, row.shape[1] - 1
    out = np.empty((rows, cols), values.dtype)
    for i in range(rows):
        for j in range(cols):
            y = int(np.floor(_inside(row, i, j, 0.5, 0.5))) - row0
            x = int(np.floor(_inside(col, i, j, 0.5, 0.5))) - col0
            out[i, j] = values[y, x]
    return out
