"""Points that tiles hold twice because they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

Bounds = tuple[float, float, float, float]


def shared_boxes(boxes: Sequence[Bounds]) -> list[Bounds]:
    """Where two of some boxes (west, south, east, north) overlap."""
    shared = []
    for one, other in combinations(boxes, 2):
        west, south = max(one[0], other[0]), max(one[1], other[1])
        east, north = min(one[2], other[2]), min(one[3], other[3])
        if west <= east and south <= north:
            shared.append((west, south, east, north))
    return sorted(set(shared))


def copies_of_points(points, boxes: Sequence[Bounds]) -> np.ndarray:
    """Which points are copies of another one, looked for inside some boxes only.

    A copy has the same x, y, z, class and return, and the same time where `points` has a `pulse` (its time and return
    number as one whole number): a return that two tiles hold is one return. Which of the copies stays makes no
    difference, as they are alike in all that is used.
    """
    copies = np.zeros(len(points.x), bool)
    near = np.zeros(len(points.x), bool)
    for west, south, east, north in boxes:
        near |= (points.x >= west) & (points.x <= east) & (points.y >= south) & (points.y <= north)
    candidates = np.flatnonzero(near)
    if len(candidates) < 2:
        return copies
    columns = [points.first_return, points.classification, points.z, points.y, points.x]
    if getattr(points, "pulse", None) is not None:
        columns.append(points.pulse)
    values = [column[candidates] for column in columns]
    order = np.lexsort(values)
    same = np.ones(len(order) - 1, bool)
    for column in values:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    copies[candidates[order[1:][same]]] = True
    return copies
