"""Compiled loops over places, trees and neighbours. Importing this module loads numba."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 256
"""Places that a tree is asked about together: their masks stay in the nearest cache."""

_LOWEST = np.zeros(32, np.uint8)
for _bit in range(32):
    _LOWEST[((1 << _bit) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _bit
"""Number of the only bit of a word, by its product with a de Bruijn sequence."""


@njit(cache=True, nogil=True)
def _answer(column, edge, keep, masks):
    """One node's answer for the places of a block. Slices of one length let the compiler take many places at once."""
    for k in range(len(masks)):
        if column[k] > edge:
            masks[k] = masks[k] & keep


@njit(cache=True, nogil=True)
def _exits(columns, first, feature, threshold, keeps, start, stop, masks):
    """Leaf of one tree for each place of a block: every node whose answer is `no` takes the leaves to its left away, and
    the first that is left is the place's (Lucchese et al. 2015, QuickScorer, doi:10.1145/2766462.2767733)."""
    masks[:] = np.uint32(0xFFFFFFFF)
    for node in range(start, stop):
        _answer(columns[feature[node], first : first + len(masks)], threshold[node], keeps[node], masks)


@njit(cache=True, nogil=True)
def forest_means(columns, starts, feature, threshold, keeps, values, lowest):
    """Mean over trees of each place's leaf value.

    columns : (p, n) float32; starts : (trees + 1,) nodes of each tree; values : (trees, 32)
    """
    n, trees = columns.shape[1], len(starts) - 1
    found = np.zeros(n)
    block = np.empty(BLOCK, np.uint32)
    for first in range(0, n, BLOCK):
        masks = block[: min(BLOCK, n - first)]
        for tree in range(trees):
            _exits(columns, first, feature, threshold, keeps, starts[tree], starts[tree + 1], masks)
            for k in range(len(masks)):
                bit = masks[k] & (~masks[k] + np.uint32(1))
                found[first + k] += values[tree, lowest[np.uint32(bit * np.uint32(0x077CB531)) >> np.uint32(27)]]
    for k in range(n):
        found[k] /= trees
    return found


@njit(cache=True, nogil=True)
def forest_told(columns, starts, feature, threshold, keeps, values, directions, lowest):
    """Mean over trees of each place's leaf value (n,) and of the leaf's mean directions (n, r).

    directions : (trees, 32, r) float32
    """
    n, trees, r = columns.shape[1], len(starts) - 1, directions.shape[2]
    found = np.zeros(n)
    told = np.zeros((n, r), np.float32)
    block = np.empty(BLOCK, np.uint32)
    for first in range(0, n, BLOCK):
        masks = block[: min(BLOCK, n - first)]
        for tree in range(trees):
            _exits(columns, first, feature, threshold, keeps, starts[tree], starts[tree + 1], masks)
            for k in range(len(masks)):
                bit = masks[k] & (~masks[k] + np.uint32(1))
                leaf = lowest[np.uint32(bit * np.uint32(0x077CB531)) >> np.uint32(27)]
                found[first + k] += values[tree, leaf]
                row, more = told[first + k], directions[tree, leaf]
                for j in range(r):
                    row[j] += more[j]
    share = np.float32(1 / trees)
    for k in range(n):
        found[k] /= trees
        for j in range(r):
            told[k, j] *= share
    return found, told


@njit(cache=True, nogil=True)
def forest_leaves(columns, starts, feature, threshold, keeps, lowest):
    """Leaf of every tree for each place (n, trees)."""
    n, trees = columns.shape[1], len(starts) - 1
    found = np.empty((n, trees), np.uint8)
    block = np.empty(BLOCK, np.uint32)
    for first in range(0, n, BLOCK):
        masks = block[: min(BLOCK, n - first)]
        for tree in range(trees):
            _exits(columns, first, feature, threshold, keeps, starts[tree], starts[tree + 1], masks)
            for k in range(len(masks)):
                bit = masks[k] & (~masks[k] + np.uint32(1))
                found[first + k, tree] = lowest[np.uint32(bit * np.uint32(0x077CB531)) >> np.uint32(27)]
    return found


@njit(cache=True, nogil=True)
def weighted_quantiles(leaves, starts, members, shares, sorted_targets, probabilities):
    """Quantiles (n, q) of the targets under each place's weights.

    leaves : (n, trees); starts : (trees, 33) where the plots of each leaf of a tree begin among its `members`
    members : (trees, plots) rank of the target of each plot that a tree has drawn, leaf by leaf; shares : (trees, plots)
        its weight there
    sorted_targets : (plots,) rising; probabilities : (q,) rising
    """
    n, trees = leaves.shape
    plots = len(sorted_targets)
    found = np.empty((n, len(probabilities)))
    weight = np.empty(plots)
    for i in range(n):
        weight[:] = 0.0
        for tree in range(trees):
            leaf = leaves[i, tree]
            for at in range(starts[tree, leaf], starts[tree, leaf + 1]):
                weight[members[tree, at]] += shares[tree, at]
        total, q = 0.0, 0
        for rank in range(plots):
            total += weight[rank] / trees
            while q < len(probabilities) and total >= probabilities[q] - 1e-12:
                found[i, q] = sorted_targets[rank]
                q += 1
            if q == len(probabilities):
                break
        while q < len(probabilities):
            found[i, q] = sorted_targets[plots - 1]
            q += 1
    return found


@njit(cache=True, nogil=True)
def nearest_plots(places, plots, k):
    """Numbers (n, k) of the plots (m, p) nearest to each place (n, p), the nearest first; of equals the first listed."""
    n, m = len(places), len(plots)
    found = np.zeros((n, k), np.int64)
    best = np.empty(k)
    for i in range(n):
        best[:] = np.inf
        for j in range(m):
            total = 0.0
            for d in range(places.shape[1]):
                apart = places[i, d] - plots[j, d]
                total += apart * apart
                if total >= best[k - 1]:
                    break
            if total < best[k - 1]:
                at = k - 1
                while at > 0 and best[at - 1] > total:
                    best[at], found[i, at] = best[at - 1], found[i, at - 1]
                    at -= 1
                best[at], found[i, at] = total, j
    return found
