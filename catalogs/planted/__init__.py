"""A synthetic forest whose truth is known, written out in the formats that real data come in.

Four parts, each a job of its own, each growing the same forest from the same seed: what the field crews write down,
what the satellites see, what the airborne scanner sees, and the truth, which only a check may read.
Heavy libraries are imported inside the functions, because the study's configuration imports this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plant_field(
    folder: str | Path, *, area: Mapping[str, Any], years: Sequence[int], settings: Mapping[str, Any]
) -> None:
    """Write plots.csv, trees.csv, plots.gpkg, stands.gpkg, allometry.csv, wood_density.csv and landcover_{year}.tif.

    Parameters
    ----------
    folder : path
        Where the files go; made when absent.
    area : mapping
        `crs` (projected, metres), `west_m`, `north_m`, `resolution_m`, `rows`, `cols` of the study grid; other keys are
        ignored, so `Grid.settings()` serves.
    years : sequence of int
        Study years, two or more, rising. The forest depends on the first and the last only.
    settings : mapping
        Values of `catalogs.planted.settings.Planting`.

    Raises
    ------
    ValueError
        If the area is too small for stands and plots, or there are fewer than two years.
    """
    from catalogs.planted.field import write_field

    write_field(Path(folder), _forest(area, years, settings), tuple(years))


def plant_scenes(
    folder: str | Path, *, area: Mapping[str, Any], years: Sequence[int], settings: Mapping[str, Any]
) -> None:
    """Write a static STAC catalogue (catalog.json) of the scenes of `settings.sensors` as COGs; see `plant_field`."""
    from catalogs.planted.scenes import write_scenes

    write_scenes(Path(folder), _forest(area, years, settings), tuple(years))


def plant_lidar(
    folder: str | Path, *, campaign: str, area: Mapping[str, Any], years: Sequence[int], settings: Mapping[str, Any]
) -> None:
    """Write the LAZ tiles of one campaign (named `als<year>`) to lidar/<campaign>/; see `plant_field`."""
    from catalogs.planted.lidar import write_campaign

    forest = _forest(area, years, settings)
    campaigns = forest.settings.campaigns(tuple(years))
    if campaign not in campaigns:
        raise ValueError(f"the planted study has no lidar campaign {campaign!r}; it has {', '.join(campaigns)}")
    write_campaign(Path(folder) / "lidar" / campaign, forest, campaign=campaign, campaigns=campaigns)


def plant_truth(
    folder: str | Path, *, area: Mapping[str, Any], years: Sequence[int], settings: Mapping[str, Any]
) -> None:
    """Write agb_{year}.tif (Mg/ha), forest_{year}.tif, stands.csv and parameters.json to truth/; see `plant_field`."""
    from catalogs.planted.truth import write_truth

    write_truth(Path(folder) / "truth", _forest(area, years, settings), tuple(years))


def _forest(area: Mapping[str, Any], years: Sequence[int], settings: Mapping[str, Any]):
    from catalogs.planted.forest import grow
    from catalogs.planted.settings import Planting
    from catalogs.planted.site import Site

    years = tuple(years)
    if len(years) < 2 or list(years) != sorted(set(years)):
        raise ValueError(f"a planted study needs two or more years that rise, got {list(years)}")
    return grow(Site.of(area), years[0], years[-1], Planting(**settings))
