"""Scenes whose pixels are looked at: where metadata leave the radiometry open, and where they are only checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from catalogs.radiometry import Missing, Sampler, Unread, checked, settled
from catalogs.search.freezing import Doubt
from catalogs.sensors import Sensor

log = logging.getLogger(__name__)

LOOKING_AT_ONCE = 8


class _Stopped(Exception):
    """Why the search ends without an answer; no ValueError, which would leave out one scene."""


def unless_unread(look: Sampler | None, on_scene_error: str) -> Sampler | None:
    """A sampler that stops the search where pixels cannot be read this time, unless such scenes are to be dropped.

    A server in trouble would else shape the list for good; a file that is gone (`Missing`) would be left out next time as well.
    """
    if look is None or on_scene_error == "drop":
        return look

    def looking(scene: Mapping[str, Any], sensor: Sensor) -> Any:
        try:
            return look(scene, sensor)
        except Unread as error:
            advice = "nothing is written: run again, or set on_scene_error: drop to leave such scenes out"
            raise _Stopped(f"{scene['id']}: {error}; {advice}") from None

    return looking


def with_evidence(
    doubts: Sequence[Doubt], sensor: Sensor, look: Sampler | None, check_radiometry: bool
) -> Iterable[dict[str, Any] | ValueError]:
    """Frozen items with their radiometry settled, or why that cannot be; pixels of several scenes are read at once."""
    from concurrent.futures import ThreadPoolExecutor

    everything = check_radiometry and look is not None and sensor.quality is not None

    def outcome(doubt: Doubt) -> dict[str, Any] | ValueError:
        try:
            if doubt.why is not None:
                return _settled_by_pixels(doubt, sensor, look)
            return _checked_by_pixels(doubt.item, sensor, look) if everything else doubt.item
        except (Missing, Unread) as error:
            log.warning("%s is left out: %s", doubt.item["id"], error)
            return error
        except ValueError as error:
            return error

    if not everything and all(doubt.why is None for doubt in doubts):
        return [doubt.item for doubt in doubts]
    with ThreadPoolExecutor(LOOKING_AT_ONCE) as pool:
        try:
            return list(pool.map(outcome, doubts))
        except _Stopped as error:
            raise ValueError(str(error)) from None


def _settled_by_pixels(doubt: Doubt, sensor: Sensor, look: Sampler | None) -> dict[str, Any]:
    if look is None:
        raise ValueError(str(doubt.why))
    try:
        (scale, offset), words = settled(sensor, doubt.why.candidates, look(doubt.item, sensor))
    except (Missing, Unread):
        raise
    except ValueError as error:
        raise ValueError(f"{doubt.why}; {error}") from None
    chosen = {role: {**doubt.item["bands"][role], "scale": scale, "offset": offset} for role in doubt.roles}
    return {**doubt.item, "bands": doubt.item["bands"] | chosen, "evidence": f"{doubt.why}; {words}"}


def _checked_by_pixels(item: dict[str, Any], sensor: Sensor, look: Sampler) -> dict[str, Any]:
    """An item whose pixels agree with its metadata, or whose pixels cannot be looked at, which its evidence then says."""
    red = item["bands"].get("red")
    if red is None:
        return item
    try:
        sample = look(item, sensor)
    except (Missing, Unread):
        raise
    except ValueError as error:
        log.warning("%s: %s", item["id"], error)
        return {**item, "evidence": f"{item['evidence']}; {error}"}
    return {**item, "evidence": f"{item['evidence']}; {checked(sensor, (red['scale'], red['offset']), sample)}"}
