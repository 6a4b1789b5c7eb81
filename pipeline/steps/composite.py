"""Make one clear image of a sensor, year and block from its frozen scenes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.remote import Source
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
    dropped: Path | None = None,
) -> None:
    """Write the composite of a block: reflectance by role as int16 x 1e-4, and `clear_count`.

    Each chunk chooses and reduces its own scenes, so that the block size changes no pixel. A scene that cannot be read in
    one chunk is dropped from the whole block.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    settings : mapping
        `pipeline.config.Sensor` as plain values: reducer, min_clear_count, on_scene_error, cloud_dilation_m,
        private_hosts, data_folders.
    roles : sequence of str
        Bands that the study's predictors need.
    dropped : path, optional
        Where it is written how many scenes were used and which were dropped, with the reason.

    Raises
    ------
    ValueError
        When the frozen scenes are of other years; when a scene cannot be read and `on_scene_error` is `fail` (it names
        scene and file), or when none of the block's scenes can.
    """
    study = Grid(**grid)
    window = study.block_window(block)
    folder = Path(scenes).resolve().parent
    frozen = with_local_paths(store.read_json(scenes), folder)
    source = Source.of(
        frozen, folder, private_hosts=settings.get("private_hosts", ()), data_folders=settings.get("data_folders", ())
    )
    if year not in frozen["query"]["years"]:
        held = ", ".join(map(str, frozen["query"]["years"]))
        raise ValueError(f"{scenes} holds scenes of {held}, not of {year}: search again for {sensor}")
    image = {role: np.full(window.shape, np.nan, "float32") for role in roles}
    image["clear_count"] = np.zeros(window.shape, "int16")
    touching = items_touching(frozen, year, study.bounds_of(window))
    left: dict[str, str] = {}
    known_sensor = sensor_named(sensor).with_dilation(settings.get("cloud_dilation_m"))
    with SceneReader(known_sensor, source) as reader:
        waiting = [chunk for _, chunk in study.chunks(window)]
        while waiting:
            known = set(left)
            for chunk in waiting:
                items = [item for item in items_touching(frozen, year, study.bounds_of(chunk)) if item["id"] not in left]
                stack = _stack(reader, items, roles, study.geobox_of(chunk), settings["on_scene_error"], left)
                part = compose(stack, settings["reducer"], min_clear_count=settings["min_clear_count"]) if stack else {}
                for name, values in image.items():
                    values[chunk.within(window).slices] = part.get(name, 0 if name == "clear_count" else np.nan)
            fresh = {"items": [item for item in touching if item["id"] in left and item["id"] not in known]}
            waiting = [chunk for _, chunk in study.chunks(window) if items_touching(fresh, year, study.bounds_of(chunk))]
    if touching and len(left) == len(touching):
        raise ValueError(
            f"none of the {len(touching)} scenes of {sensor} in {year} can be read in block {block}; the first: "
            f"{next(iter(left.values()))}"
        )
    store.write_raster(
        raster,
        image,
        geobox=study.geobox_of(window),
        units={**dict.fromkeys(roles, "1"), "clear_count": "1"},
        scales={**dict.fromkeys(roles, REFLECTANCE_SCALE), "clear_count": 1.0},
    )
    for scene, reason in left.items():
        log.warning("%s dropped in %s: %s", scene, block, reason.removeprefix(f"scene {scene}: "))
    used = len(touching) - len(left)
    if dropped is not None:
        scenes_dropped = [{"id": scene, "reason": reason.removeprefix(f"scene {scene}: ")} for scene, reason in left.items()]
        store.write_json(dropped, {"used": used, "dropped": sorted(scenes_dropped, key=lambda entry: entry["id"])})
    missing = np.isnan(image[roles[0]]).mean() if len(roles) else 0.0
    median_count = float(np.median(image["clear_count"]))
    say = log.warning if missing == 1.0 else log.info
    say(
        "%s %d, block %s: %d scenes, median clear count %g, %.1f %% of pixels missing, %d scenes dropped",
        sensor, year, block, used, median_count, 100 * missing, len(left),
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
