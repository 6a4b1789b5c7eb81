"""Make one clear image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.scenes import SceneError, SceneReader
from catalogs.search import items_touching, with_local_paths
from catalogs.sensors import sensor_named
from pipeline import store
from pipeline.grid import Grid
from pipeline.optical.composite import compose

log = logging.getLogger(__name__)

REFLECTANCE_SCALE = 1e-4


def composite(
    *,
    scenes: Path,
    raster: Path,
    sensor: str,
    year: int,
    block: str,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Sequence[str],
) -> None:
    """Write the composite of a block: reflectance by role as int16 x 1e-4, and `clear_count`.

    Each chunk chooses and reduces its own scenes, so that the block size changes no pixel.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    settings : mapping
        `pipeline.config.Sensor` as plain values: reducer, min_clear_count, on_scene_error, cloud_dilation_m.
    roles : sequence of str
        Bands that the study's predictors need.

    Raises
    ------
    ValueError
        When the frozen scenes are of other years, or a scene cannot be read and `on_scene_error` is `fail` (it names
        scene and file).
    """
    study = Grid(**grid)
    window = study.block_window(block)
    frozen = with_local_paths(store.read_json(scenes), Path(scenes).resolve().parent)
    if year not in frozen["query"]["years"]:
        held = ", ".join(map(str, frozen["query"]["years"]))
        raise ValueError(f"{scenes} holds scenes of {held}, not of {year}: search again for {sensor}")
    image = {role: np.full(window.shape, np.nan, "float32") for role in roles}
    image["clear_count"] = np.zeros(window.shape, "int16")
    dropped: dict[str, str] = {}
    with SceneReader(sensor_named(sensor).with_dilation(settings.get("cloud_dilation_m"))) as reader:
        for _, chunk in study.chunks(window):
            items = items_touching(frozen, year, study.bounds_of(chunk))
            stack = _stack(reader, items, roles, study.geobox_of(chunk), settings["on_scene_error"], dropped)
            if not stack:
                continue
            part = compose(stack, settings["reducer"], min_clear_count=settings["min_clear_count"])
            for name, values in part.items():
                image[name][chunk.within(window).slices] = values
    store.write_raster(
        raster,
        image,
        geobox=study.geobox_of(window),
        units={**dict.fromkeys(roles, "1"), "clear_count": "1"},
        scales={**dict.fromkeys(roles, REFLECTANCE_SCALE), "clear_count": 1.0},
    )
    for scene, reason in dropped.items():
        log.warning("dropped in %s: %s", block, reason.removeprefix(f"scene {scene}: "))
    used = len(items_touching(frozen, year, study.bounds_of(window))) - len(dropped)
    missing = np.isnan(image[roles[0]]).mean() if len(roles) else 0.0
    median_count = float(np.median(image["clear_count"]))
    say = log.warning if missing == 1.0 else log.info
    say(
        "%s %d, block %s: %d scenes, median clear count %g, %.1f %% of pixels missing, %d scenes dropped",
        sensor, year, block, used, median_count, 100 * missing, len(dropped),
    )  # fmt: skip


def _stack(
    reader: SceneReader,
    items: Sequence[Mapping[str, Any]],
    roles: Sequence[str],
    geobox: Any,
    on_scene_error: str,
    dropped: dict[str, str],
) -> dict[str, np.ndarray]:
    """Reflectance (dates, rows, cols) by role of the scenes that see something of a chunk; empty when none does."""
    seen: dict[str, list[np.ndarray]] = {role: [] for role in roles}
    for item in items:
        try:
            bands = reader.read(item, roles, geobox)
        except SceneError as error:
            if on_scene_error == "fail":
                raise ValueError(f"{error}; set on_scene_error: drop to go on without such scenes") from None
            dropped[item["id"]] = str(error)
            continue
        if all(np.isnan(values).all() for values in bands.values()):
            continue
        for role, values in bands.items():
            seen[role].append(values)
    return {role: np.stack(values) for role, values in seen.items() if values}
