"""Rules `plant_*`: write one part of the planted study, and the digests of what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import catalogs.planted
from pipeline import store


def plant_field(
    *, made: Path, folder: str, area: dict, years: Sequence[int], settings: dict, **written: object
) -> None:
    """Plots, trees, stands, the analyst's parameter tables and land cover."""
    catalogs.planted.plant_field(folder, area=area, years=tuple(years), settings=settings)
    _note(made, [path for value in written.values() for path in (value if isinstance(value, list) else [value])])


def plant_scenes(*, made: Path, folder: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """Scenes and tiles of elevation in a static STAC catalog."""
    catalogs.planted.plant_scenes(folder, area=area, years=tuple(years), settings=settings)
    collections = [path.parent for path in Path(folder).glob("*/collection.json")]
    _note(made, [*(file for place in collections for file in place.rglob("*")), Path(folder) / "catalog.json"])


def plant_lidar(
    *, made: Path, tiles: Path, folder: str, campaign: str, area: dict, years: Sequence[int], settings: dict
) -> None:
    """One campaign's LAZ tiles."""
    catalogs.planted.plant_lidar(folder, campaign=campaign, area=area, years=tuple(years), settings=settings)
    _note(made, tiles.glob("*"))


def plant_truth(*, made: Path, truth: Path, folder: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """What the check step alone may read."""
    catalogs.planted.plant_truth(folder, area=area, years=tuple(years), settings=settings)
    _note(made, truth.glob("*"))


def _note(made: Path, files: Iterable[Path]) -> None:
    digests = {}
    for file in sorted(path for path in files if isinstance(path, Path) and path.is_file()):
        digests[file.as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    store.write_json(made, digests)
