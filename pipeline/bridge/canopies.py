"""Canopies and trees as rules see them: which campaigns, paths, and which blocks a block's trees are decided with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.config import Study
from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import canopy_grid
from pipeline.lidar.trees import Trees
from pipeline.products import canopy_product
from pipeline.steps.trees import rules_of

LARGEST_PX = 20_000 * 20_000
"""Above this many pixels a map is published as block COGs under a VRT: one file of it would not open comfortably."""


class Canopies:
    """Of the campaigns that ask for `canopy_products`."""

    def __init__(self, study: Study, grid: Grid) -> None:
        self.study, self.grid = study, grid
        self.resources, self.results = Path(study.resources), Path(study.results)
        self.campaigns = [name for name, campaign in study.lidar.items() if campaign.canopy_products]

    def settings(self, campaign: str) -> dict:
        return self.study.lidar[campaign].canopy_products.model_dump(mode="json")

    def product(self, campaign: str) -> dict:
        """The canopy height model as plain values of a `products.Product`."""
        return asdict(canopy_product(campaign, self.study.lidar[campaign].date.year))

    @property
    def products(self) -> dict[str, dict]:
        return {name: self.product(name) for name in self.campaigns}

    def grid_of(self, campaign: str) -> Grid:
        return canopy_grid(self.grid, self.study.lidar[campaign].chm_resolution_m)

    def blocks(self, campaign: str) -> list[str]:
        """The canopy of all blocks."""
        return self._rasters(campaign, self.grid.blocks())

    def near(self, campaign: str, block: str) -> list[str]:
        """The canopy of a block and of those around it that its trees are decided with."""
        fine = self.grid_of(campaign)
        rules = rules_of(self.study.lidar[campaign].model_dump(mode="json"), self.settings(campaign))
        halo_px = Trees(fine, None, rules).reach_around_px
        place = fine.block_window(block)
        wide = Window(place.row0 - halo_px, place.row1 + halo_px, place.col0 - halo_px, place.col1 + halo_px)
        return self._rasters(campaign, fine.blocks_touching(wide))

    def _rasters(self, campaign: str, blocks: Iterable[str]) -> list[str]:
        return [f"{self.resources}/canopy/{campaign}/{block}.tif" for block in blocks]

    @property
    def suffix(self) -> str:
        """Of published canopies: one file each, or block COGs under a VRT."""
        sizes = [self.grid_of(name).rows * self.grid_of(name).cols for name in self.campaigns]
        return ".tif" if max(sizes, default=0) <= LARGEST_PX else ".vrt"

    @property
    def files(self) -> dict[str, str]:
        """What is published, per campaign: `canopies__` and `trees__`."""
        return {
            **self._each("canopies", f"{self.results}/canopy/{{campaign}}_chm{self.suffix}"),
            **self._each("trees", f"{self.results}/canopy/{{campaign}}_trees.gpkg"),
        }

    @property
    def summaries(self) -> dict[str, str]:
        return self._each("canopy_numbers", f"{self.resources}/canopy/{{campaign}}.json")

    def _each(self, group: str, path: str) -> dict[str, str]:
        return {f"{group}__{name.replace('-', '__dash__')}": path.format(campaign=name) for name in self.campaigns}
