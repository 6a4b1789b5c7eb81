"""Rules `plant_*`: write one part of the planted study."""

from __future__ import annotations

from collections.abc import Sequence

import catalogs.planted


def plant_field(*, folder: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """Plots, trees, stands, the analyst's parameter tables and land cover."""
    catalogs.planted.plant_field(folder, area=area, years=tuple(years), settings=settings)


def plant_scenes(*, folder: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """Satellite scenes in a static STAC catalog."""
    catalogs.planted.plant_scenes(folder, area=area, years=tuple(years), settings=settings)


def plant_lidar(*, folder: str, campaign: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """One campaign's LAZ tiles."""
    catalogs.planted.plant_lidar(folder, campaign=campaign, area=area, years=tuple(years), settings=settings)


def plant_truth(*, folder: str, area: dict, years: Sequence[int], settings: dict) -> None:
    """What the check step alone may read."""
    catalogs.planted.plant_truth(folder, area=area, years=tuple(years), settings=settings)
