"""What one scene shows of a window of the grid, and which scenes are one look at the ground."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SAME_PASS_S = 60.0
"""Scenes of one platform that follow one another within this time are parts of one overpass, cut up by the provider."""


class SceneError(ValueError):
    """A scene that cannot be read or is not what its item says; a caller may drop it and count."""


@dataclass(frozen=True)
class Look:
    """What one scene shows of a window of the grid.

    `numbers` are digital numbers by role (rows, cols): as the file holds them where its pixels are the grid's own, else
    float32 means of several, anything where `seen` is false. `encoding` is scale and offset by role: reflectance =
    scale x number + offset. `seen` (rows, cols) is true where every band has a clear value; `limits` are the least and
    the largest valid number. `cloud_distance_m` (rows, cols) is present when it was asked for.
    """

    scene: str
    numbers: dict[str, np.ndarray]
    encoding: dict[str, tuple[float, float]]
    seen: np.ndarray
    limits: tuple[float, float]
    cloud_distance_m: np.ndarray | None = None

    def reflectance(self, role: str) -> np.ndarray:
        """Clear-sky surface reflectance (rows, cols) of a band, float32, missing NaN."""
        return reflectance_of(self.numbers[role], self.seen, *self.encoding[role])


def reflectance_of(numbers: np.ndarray, valid: np.ndarray, scale: float, offset: float) -> np.ndarray:
    value = np.float32(offset) + np.float32(scale) * numbers.astype("float32")
    return np.where(valid, value, np.float32(np.nan))


def observations_of(items: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Items gathered into observations: granules of one overpass are one look at the ground, in the order of their ids.

    One overpass: the same platform, each within `SAME_PASS_S` of the one before, so that where a study ends decides
    nothing. Observations come by time and id. Where granules overlap they show the same photons twice, which would weigh
    double in a median.
    """

    def moment(item: Mapping[str, Any]) -> str:
        return item.get("datetime") or ""

    gathered: list[list[Mapping[str, Any]]] = []
    open_pass: dict[str, list[Mapping[str, Any]]] = {}
    for item in sorted(items, key=lambda item: (moment(item), item["id"])):
        platform = item.get("platform") or ""
        last = open_pass.get(platform) if platform and moment(item) else None
        if last is not None and _seconds(moment(last[-1]), moment(item)) <= SAME_PASS_S:
            last.append(item)
            continue
        open_pass[platform] = [item]
        gathered.append(open_pass[platform])
    return [sorted(group, key=lambda item: item["id"]) for group in gathered]


def _seconds(first: str, second: str) -> float:
    return abs((_moment(second) - _moment(first)).total_seconds())


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
