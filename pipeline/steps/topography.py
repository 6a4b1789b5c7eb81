"""Find how much the light of the sky softens a scene's slopes: the c of each scene and band, once for the whole study."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.scenes import SceneError
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.optical.topography import (
    DECIDES,
    VEGETATION,
    Fit,
    Seen,
    Sun,
    cells_of,
    fit_c,
    fit_of_season,
    kinds_of,
    of_scene,
    sample_windows,
    sloping_vegetation,
)
from pipeline.steps.composite import Item, Season, relief_of
from pipeline.steps.notes import kept_warnings

log = logging.getLogger(__name__)


def topography(
    *,
    scenes: Path,
    table: Path,
    sensor: str,
    year: int,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Sequence[str],
    elevation: str,
    said: Path | None = None,
) -> None:
    """Write the sun and the c of every scene that a year's composites use, and how each was found.

    c is fitted on squares spread over the study area, never on a chunk or block, so that all blocks correct a scene alike.
    All bands of a scene are corrected or none (`of_scene`): a band that cannot tell its c takes that of the season
    (`of: season`) or of the nearest band.

    Parameters
    ----------
    scenes : path
        Frozen scenes that `search` wrote.
    table : path
        Written: `scenes` {id: {sun {elevation_deg, azimuth_deg from the grid's north}, corrected, why (not), bands {role: a
        `Fit`}}}.
    settings, roles
        As of `composite`.
    elevation : str
        Folder of the elevation on the study's grid.
    said : path, optional
        Written: what was warned of, for the report.

    Raises
    ------
    ValueError
        When a scene does not say where the sun stood, or cannot be read and `on_scene_error` is `fail`.
    """
    with kept_warnings(said):
        _find(scenes, table, sensor, year, Grid(**grid), settings, roles, elevation)


def _find(
    scenes: Path,
    table: Path,
    sensor: str,
    year: int,
    study: Grid,
    settings: Mapping[str, Any],
    roles: Sequence[str],
    elevation: str,
) -> None:
    season = Season(store.read_json(scenes), Path(scenes), sensor, year, settings)
    items = season.touching(study.bounds)
    turn = turn_deg(study)
    suns = {item["id"]: _sun(item, turn) for item in items}
    samples = _Samples(study, season, roles, store.Mosaic(elevation, study))
    with season.reader() as reader:
        for window in sample_windows(study.rows, study.cols):
            samples.take(reader, items, window)
    found = {}
    for item in items:
        if item["id"] in season.dropped:
            continue
        why, fits = samples.fits(item)
        bands = {role: fit._asdict() for role, fit in fits.items()}
        found[item["id"]] = {"sun": suns[item["id"]]._asdict(), "corrected": not why, "why": why, "bands": bands}
    store.write_json(table, {"sensor": sensor, "year": year, "scenes": found, "dropped": dict(season.dropped)})
    corrected = [one for one in found.values() if one["corrected"]]
    lent = [fit["of"] for one in corrected for fit in one["bands"].values() if fit["of"] != "scene"]
    log.info(
        "%s %d: slopes are corrected in %d of %d scenes, %d bands of them by the c of the season and %d by that of another band",
        sensor, year, len(corrected), len(found), lent.count("season"), len(lent) - lent.count("season"),
    )  # fmt: skip
    if len(corrected) < len(found):
        reasons = dict.fromkeys(one["why"] for one in found.values() if one["why"])
        log.warning(
            "%s %d: slopes are corrected in %d of %d scenes and left as they are in the others: %s",
            sensor, year, len(corrected), len(found), "; ".join(reasons),
        )  # fmt: skip


class _Samples:
    """Sloping vegetation of each scene: reflectance by band, cos(i) and cell, square by square."""

    def __init__(self, study: Grid, season: Season, roles: Sequence[str], elevation: store.Mosaic) -> None:
        self._study, self._season, self._roles, self._elevation = study, season, roles, elevation
        self._turn = turn_deg(study)
        self._taken: dict[str, list[dict[str, np.ndarray]]] = {}
        self._seen: dict[str, dict[str, Seen]] = {}
        self._of_season: dict[str, Fit] = {}

    def _roles_of(self, item: Item) -> Sequence[str]:
        return self._season.series.roles if self._season.is_earlier(item) else self._roles

    def take(self, reader: Any, items: Sequence[Item], window: Window) -> None:
        """Look at a square in every scene."""
        study = self._study
        relief, cells = relief_of(self._elevation, window), cells_of(window, study.cols)
        near = {item["id"] for item in self._season.touching(study.bounds_of(window))}
        for item in items:
            if item["id"] not in near:
                continue
            roles = list(dict.fromkeys([*self._roles_of(item), *VEGETATION]))
            try:
                look = reader.look(item, roles, study.geobox_of(window))
            except SceneError as error:
                self._season.drop(item, error)
                continue
            if look is None:
                continue
            image = {role: look.reflectance(role) for role in roles}
            there = sloping_vegetation(image, relief)
            taken = {role: image[role][there] for role in roles}
            taken["cos_incidence"] = relief.cos_incidence(_sun(item, self._turn))[there]
            taken["cell"] = cells[there]
            self._taken.setdefault(item["id"], []).append(taken)

    def fits(self, item: Item) -> tuple[str, dict[str, Fit]]:
        """Why a scene is not corrected, or nothing, and the fit of each of its bands: all with a c, or none."""
        asked = self._roles_of(item)
        roles = list(dict.fromkeys([*asked, DECIDES]))
        own = {role: fit_c(*seen) for role, seen in self._scene(item["id"], roles).items()}
        why, fits = of_scene(own, {role: self._shared(role) for role in roles})
        return why, {role: fits[role] for role in asked}

    def _shared(self, role: str) -> Fit:
        if role not in self._of_season:
            scenes = [self._scene(scene, [role])[role] for scene, parts in sorted(self._taken.items()) if role in parts[0]]
            self._of_season[role] = fit_of_season(scenes)
        return self._of_season[role]

    def _scene(self, scene: str, roles: Sequence[str]) -> dict[str, Seen]:
        """What was taken of a scene, all squares together, by band."""
        parts, mine = self._taken.get(scene, []), self._seen.setdefault(scene, {})

        def whole(name: str) -> np.ndarray:
            return np.concatenate([part[name] for part in parts]) if parts else np.zeros(0)

        for role in roles:
            if role not in mine:
                mine[role] = Seen(
                    whole(role), whole("cos_incidence"), whole("cell").astype("int64"), kinds_of(*map(whole, VEGETATION))
                )
        return {role: mine[role] for role in roles}


def _sun(item: Item, turn_deg: float) -> Sun:
    """Where the sun stood, its azimuth from the grid's north."""
    told = item.get("sun")
    if not told:
        raise ValueError(
            f"scene {item['id']} does not say where the sun stood (view:sun_azimuth and view:sun_elevation), which a "
            "topographic correction needs; set topographic: none, or search again if the scenes were frozen by an older version"
        )
    return Sun(told["elevation_deg"], (told["azimuth_deg"] + turn_deg) % 360)


def turn_deg(study: Grid) -> float:
    """Where true north lies on the grid, in the middle of the study: degrees clockwise from the grid's own north."""
    from pyproj import Transformer

    west, south, east, north = study.bounds
    to_degrees = Transformer.from_crs(study.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((west + east) / 2, (south + north) / 2)
    step = 0.01 if lat < 0 else -0.01  # towards the equator: the pole is no direction
    (x0, x1), (y0, y1) = to_degrees.transform([lon, lon], [lat, lat + step], direction="INVERSE")
    away = np.sign(step)
    return float(np.degrees(np.arctan2((x1 - x0) * away, (y1 - y0) * away)))
