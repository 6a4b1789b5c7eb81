"""Join the tiles of an elevation model on a block of the study's grid, the same for every year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.steps.composite import composite


def elevation(
    *,
    scenes: Path,
    raster: Path,
    sensor: str,
    block: str,
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Sequence[str],
    dropped: Path | None = None,
) -> None:
    """As `composite`, of what shows every year alike.

    A rule of its own because composites of other sensors wait for it (`topographic`): Snakemake's `--until composite` cannot
    end at a rule whose jobs need one another.
    """
    composite(
        scenes=scenes, raster=raster, sensor=sensor, year="static", block=block, grid=grid, settings=settings, roles=roles,
        dropped=dropped,
    )  # fmt: skip
