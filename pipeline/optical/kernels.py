"""Compiled loops over the dates of a pixel. Importing this module loads numba, so it is imported where the work is.

Stacks are (rows, dates, cols), so that all dates of a row lie together and stay in the processor's nearest cache.
Missing is the least value of the type (-32768, minus infinity) and sorts to the front.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

EQUAL = 1e-9
"""Sums of distances (reflectance) closer than this are one and the same but for rounding."""


@intrinsic
def _pointer(typing_context, address):
    """An address as a pointer, for `carray`."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), generate


def addresses(arrays: list[np.ndarray]) -> np.ndarray:
    """Where arrays (rows, cols, rows one after another) lie: loops over looks read them in place, without a copy.

    Whoever asks keeps the arrays alive until the loop is done.
    """
    if not all(array.flags.c_contiguous for array in arrays):
        raise ValueError("looks are read in place and must be contiguous")
    return np.array([array.ctypes.data for array in arrays], np.uintp)


@njit(cache=True, nogil=True, error_model="numpy")
def _gather_row(i, cols, numbers_at, like, take_at, shift, date_of, missing, tile):
    """Row `i` of all looks into a tile (dates, cols): number + shift where a look is taken, else missing.

    Looks come by date; the second of a date leaves what the first one saw.
    """
    for k in range(numbers_at.size):
        line = carray(_pointer(numbers_at[k] + np.uintp(i * cols * like.itemsize)), (cols,), like.dtype)
        take = carray(_pointer(take_at[k] + np.uintp(i * cols)), (cols,), np.bool_)
        target, more = tile[date_of[k]], shift[k]
        if k == 0 or date_of[k] != date_of[k - 1]:
            for j in range(cols):
                value = line[j] + more
                target[j] = value if take[j] else missing
        else:
            for j in range(cols):
                value = line[j] + more
                target[j] = value if take[j] else target[j]


@njit(cache=True, nogil=True, error_model="numpy")
def stacked(numbers_at, like, take_at, shift, date_of, missing, stack):
    """All looks as one stack (rows, dates, cols)."""
    for i in range(stack.shape[0]):
        _gather_row(i, stack.shape[2], numbers_at, like, take_at, shift, date_of, missing, stack[i])


def sorting_network(n: int) -> np.ndarray:
    """Pairs (k, 2) whose comparison in turn sorts any n values: Batcher's merge exchange (Knuth, TAOCP 3, 5.2.2 M)."""
    pairs = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            d, q, r = q - p, q // 2, p
        p //= 2
    return np.array(pairs, "int64").reshape(-1, 2)


def ranks(dates: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """By the number n of observations: where the lower of a type-7 quantile's two lies among sorted dates, its weight."""
    n = np.arange(dates + 1)
    place = np.maximum(n - 1, 0) * share
    below = np.floor(place)
    return (dates - n + below).astype("int16"), place - below


@njit(cache=True, nogil=True, error_model="numpy")
def quantile(numbers_at, like, take_at, shift, date_of, missing, count, network, low_of, beyond_of, scale, base, out):
    """Type-7 quantile of each pixel's dates, as base + scale x number; missing where `count` is 0.

    Dates of a row are sorted for all its columns at once by the network's comparisons, which have no branches and fill
    the processor's vector registers; then the two observations beside the quantile are picked (`ranks`).
    """
    rows, cols = out.shape
    dates = low_of.size - 1
    tile = np.full((dates + 1, cols), missing)  # one row more: the upper of the two where there is none
    tile[dates] = 0
    for i in range(rows):
        _gather_row(i, cols, numbers_at, like, take_at, shift, date_of, missing, tile[:dates])
        for k in range(network.shape[0]):
            low, high = tile[network[k, 0]], tile[network[k, 1]]
            for j in range(cols):
                a, b = low[j], high[j]
                low[j] = a if a < b else b
                high[j] = b if a < b else a
        for j in range(cols):
            n = np.uintp(count[i, j])
            row, col = np.uintp(low_of[n]), np.uintp(j)  # unsigned: no test for counting from the end
            first, second = np.float64(tile[row, col]), np.float64(tile[row + np.uintp(1), col])
            out[i, j] = base + scale * (first + beyond_of[n] * (second - first)) if n > 0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def mean(stack, count, missing, scale, base, out):
    """Mean of each pixel's dates, as base + scale x number."""
    rows, dates, cols = stack.shape
    total = np.empty(cols, np.float64)
    for i in range(rows):
        total[:] = 0
        for d in range(dates):
            line = stack[i, d]
            for j in range(cols):
                total[j] += np.float64(line[j]) if line[j] != missing else 0.0
        for j in range(cols):
            out[i, j] = base + scale * (total[j] / count[i, j]) if count[i, j] else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def pick(stack, chosen, scale, base, out):
    """The number of the chosen date of each pixel, as base + scale x number; missing where `chosen` is negative."""
    for i in range(chosen.shape[0]):
        for j in range(chosen.shape[1]):
            date = chosen[i, j]
            out[i, j] = base + scale * np.float64(stack[i, date, j]) if date >= 0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def medoid(cube, chosen):
    """Index of the date whose distances to all other dates of its pixel add up to the least; the earliest of equals.

    `cube` is reflectance (bands, rows, dates, cols), missing NaN in all bands at once; `chosen` (rows, cols) is -1
    where nothing is seen.
    """
    bands, rows, dates, cols = cube.shape
    index = np.empty(dates, np.int64)
    point = np.empty((dates, bands), np.float64)
    total = np.empty(dates, np.float64)
    for i in range(rows):
        for j in range(cols):
            n = _gather(cube, i, j, index, point)
            for a in range(n):
                total[a] = 0.0
            for a in range(n):
                for b in range(a + 1, n):
                    distance = _distance(point[a], point[b])
                    total[a] += distance
                    total[b] += distance
            best = -1
            for a in range(n):
                if best < 0 or total[a] < total[best] - EQUAL:
                    best = a
            chosen[i, j] = index[best] if best >= 0 else -1


@njit(cache=True, nogil=True, error_model="numpy")
def geometric_median(cube, tolerance, max_steps, out):
    """Point of least summed distance to a pixel's dates (bands, rows, cols); how many did not settle is returned.

    A date that is itself the answer is found first, by the condition of Vardi and Zhang (2000); elsewhere Weiszfeld's
    iteration runs from the mean until no step is longer than `tolerance`.
    """
    bands, rows, dates, cols = cube.shape
    index = np.empty(dates, np.int64)
    point = np.empty((dates, bands), np.float64)
    centre, following = np.empty(bands, np.float64), np.empty(bands, np.float64)
    unsettled = 0
    for i in range(rows):
        for j in range(cols):
            n = _gather(cube, i, j, index, point)
            if n == 0:
                out[:, i, j] = np.nan
                continue
            for band in range(bands):
                total = 0.0
                for a in range(n):
                    total += point[a, band]
                centre[band] = total / n
            own = _own_median(point, n, following) if n > 2 else -1
            if own >= 0:
                centre[:] = point[own]
            elif n > 2:
                settled = False
                for _ in range(max_steps):
                    weight = 0.0
                    following[:] = 0.0
                    for a in range(n):
                        distance = _distance(point[a], centre)
                        w = 1.0 / max(distance, 1e-12)
                        weight += w
                        for band in range(bands):
                            following[band] += w * point[a, band]
                    for band in range(bands):
                        following[band] /= weight
                    step = _distance(following, centre)
                    centre[:] = following
                    if step <= tolerance:
                        settled = True
                        break
                if not settled:
                    unsettled += 1
            for band in range(bands):
                out[band, i, j] = centre[band]
    return unsettled


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(cube, i, j, index, point):
    """The seen dates of a pixel and their bands; how many."""
    n = 0
    for date in range(cube.shape[2]):
        if not np.isnan(cube[0, i, date, j]):
            index[n] = date
            for band in range(cube.shape[0]):
                point[n, band] = cube[band, i, date, j]
            n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _distance(a, b):
    total = 0.0
    for band in range(a.size):
        total += (a[band] - b[band]) * (a[band] - b[band])
    return np.sqrt(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _own_median(point, n, pull):
    """The first point that is the geometric median itself: the others' unit pulls do not exceed its own weight."""
    for a in range(n):
        pull[:] = 0.0
        alike = 0
        for b in range(n):
            distance = _distance(point[a], point[b])
            if distance == 0.0:
                alike += 1
            else:
                for band in range(pull.size):
                    pull[band] += (point[b, band] - point[a, band]) / distance
        strength = 0.0
        for band in range(pull.size):
            strength += pull[band] * pull[band]
        if np.sqrt(strength) <= alike:
            return a
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def best(score, cube, chosen):
    """Index of the seen date with the highest score of each pixel, the earliest of equals; `score` (dates, rows, cols)."""
    for i in range(chosen.shape[0]):
        for j in range(chosen.shape[1]):
            found = -1
            for date in range(score.shape[0]):
                if not np.isnan(cube[0, i, date, j]) and (found < 0 or score[date, i, j] > score[found, i, j]):
                    found = date
            chosen[i, j] = found


@njit(cache=True, nogil=True, error_model="numpy")
def lit_level(numbers, east, north, up, scale, offset, sun_east, sun_north, sun_up, c, upright, flat, most, out):
    """Reflectance (offset + scale x number) of slopes as level ground under the same sun would show it; see `topography`.

    `east`, `north`, `up` is the direction that the ground faces; `upright` asks for SCS+C. Factors lie within 1 / `most`
    and `most`; where `up` is above `flat` or missing, it is 1.
    """
    least = 1.0 / most
    for i in range(out.shape[0]):
        line, e, n, u, target = numbers[i], east[i], north[i], up[i], out[i]
        for j in range(line.size):
            lit = max(e[j] * sun_east + n[j] * sun_north + u[j] * sun_up, 0.0)
            by = (sun_up * (u[j] if upright else 1.0) + c) / (lit + c)
            by = min(max(by, least), most)
            by = by if u[j] <= flat else 1.0
            target[j] = (offset + scale * line[j]) * by
