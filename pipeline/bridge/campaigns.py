"""A study's lidar campaigns as rules see them: their tiles, indexed once, and which campaign shows which year."""

from __future__ import annotations

import datetime as dt
import glob
from functools import cached_property
from pathlib import Path

from catalogs.lidar.tiles import is_listing
from pipeline.bridge.touching import bounds_in, files_of, kept_index, listed, or_why_not, within_reach
from pipeline.config import Study
from pipeline.grid import Grid
from pipeline.lidar.heights import FAR_GROUND_M


class Campaigns:
    """Files of a campaign may be local, at addresses, or listed by a catalogue."""

    def __init__(self, study: Study, grid: Grid) -> None:
        self.study, self.grid = study, grid
        self.resources = Path(study.resources)

    def nearest_to(self, year: int) -> str | None:
        """The campaign nearest to 1 July of a year, if it is near enough."""
        middle = dt.date(year, 7, 1)
        near = [
            (abs((campaign.date - middle).days), name)
            for name, campaign in self.study.lidar.items()
            if abs((campaign.date - middle).days) / 365.25 <= self.study.plots.max_years_apart
        ]
        return min(near)[1] if near else None

    @cached_property
    def flown_by_chance(self) -> dict[str, bool]:
        """By study year, whether chance has drawn the land that its campaign covers."""
        campaigns = {year: self.nearest_to(year) for year in self.study.years}
        return {
            str(year): name is not None and self.study.lidar[name].sampling == "probability" for year, name in campaigns.items()
        }

    def settings(self, campaign: str) -> dict:
        """A campaign's settings, tiles of catalogues and addresses frozen: no job asks a catalogue, and all see the same."""
        plain = self.study.lidar[campaign].model_dump(mode="json", exclude={"canopy_products", "sampling"})
        paths = listed(plain["points"] or ())
        if not plain["catalog"] and not any(_is_listed_elsewhere(path) for path in paths):
            return plain
        listings = [path for path in paths if is_listing(path)]
        try:
            entries = self.tiles(campaign) or []
            found = [entry["id"] for entry in entries] or plain["points"]
            said = entries[0]["crs"] if entries and not plain["crs"] else None  # all are in one CRS
            return plain | {"points": found, "listed_by": next(iter(listings), None), "item_crs": said}
        except (ValueError, OSError):
            return plain  # the job says what is wrong

    def _source_of(self, campaign: str) -> str | tuple[str, ...]:
        settings = self.study.lidar[campaign]
        return settings.points or settings.canopy_height or ()

    def files(self, campaign: str) -> list[str]:
        """Local files and folders of a campaign."""
        return _local_files(self._source_of(campaign))

    @property
    def all_files(self) -> list[str]:
        return [path for campaign in self.study.lidar for path in self.files(campaign)]

    def tiles_touching(self, campaign: str, block: str) -> str:
        """Digest of the lidar tiles within reach of a block; `not there yet` before they are made."""
        reach = max(self.study.lidar[campaign].buffer_m, FAR_GROUND_M)
        west, south, east, north = self.grid.bounds_of(self.grid.block_window(block))
        bounds = (west - reach, south - reach, east + reach, north + reach)
        return or_why_not(lambda: within_reach(self.tiles(campaign), bounds))

    def tiles(self, campaign: str) -> list[dict] | None:
        """A campaign's tiles (id, bounds in the study's CRS, crs, vertical_unit, digest); None while there are none to index."""
        settings = self.study.lidar[campaign]
        source = self._source_of(campaign)
        local = tuple(self.files(campaign))
        files = files_of(local, (".las", ".laz") if settings.points else (".tif", ".tiff", ".vrt"))
        if not files and not settings.catalog and (local or not any(map(is_pattern_or_address, listed(source)))):
            return None

        def index() -> list[dict]:
            from catalogs.lidar import access_of, index_canopy, index_tiles

            if not settings.canopy_height:
                asked = settings.model_dump(mode="json")
                paths, said = _tiles_in_catalog(asked, self.grid) if settings.catalog else (listed(source), None)
                tiles = index_tiles(
                    paths, crs=settings.crs, max_days_apart=settings.max_days_apart, access=access_of(asked), item_crs=said
                )
            else:
                tiles = [index_canopy(str(source), crs=settings.crs)]
            return [
                {
                    "id": tile.path,
                    "bounds": bounds_in(tile.bounds, settings.crs or tile.crs, self.study.area.crs),
                    "crs": tile.crs,
                    "vertical_unit": tile.vertical_unit,
                    "digest": tile.fingerprint,
                }
                for tile in tiles
            ]

        about = [settings.model_dump(mode="json"), self.grid.uncut()]
        return kept_index(self.resources / "index" / f"lidar_{campaign}.json", about, files, index)


def _tiles_in_catalog(campaign: dict, grid: Grid) -> tuple[list[str], str | None]:
    """Addresses of a campaign's tiles that its STAC API lists in the area, and as far around as ground is looked for.

    With the CRS that their items say, where all say the same.
    """
    from catalogs.lidar import access_of
    from catalogs.lidar.items import tiles_of_api

    access = access_of(campaign)
    if access.is_local:
        raise ValueError(
            f"catalog of a campaign is a STAC API or one known by name, not {campaign['catalog']}; name a static catalogue in "
            "points"
        )
    day, reach = dt.date.fromisoformat(campaign["date"]), dt.timedelta(days=campaign["max_days_apart"])
    around = max(campaign["buffer_m"], FAR_GROUND_M)
    west, south, east, north = grid.bounds
    found = tiles_of_api(
        access.catalogue, campaign["collection"], bounds=(west - around, south - around, east + around, north + around),
        crs=grid.crs, days=(day - reach, day + reach), ids=campaign["items"], access=access,
    )  # fmt: skip
    said = {crs for _, crs in found}
    return [path for path, _ in found], said.pop() if len(said) == 1 else None


def is_pattern_or_address(path: str) -> bool:
    from catalogs.lidar.ranges import is_remote

    return is_remote(path) or (glob.has_magic(path) and not Path(path).exists())


def _is_listed_elsewhere(path: str) -> bool:
    """Whether lidar tiles are listed by a STAC document or stand at addresses."""
    return is_listing(path) or (is_pattern_or_address(path) and "://" in path)


def _local_files(source: str | tuple[str, ...]) -> list[str]:
    """The local files and folders behind a campaign's setting: patterns filled in, addresses left out."""
    found: list[str] = []
    for path in listed(source):
        if not is_pattern_or_address(path):
            found.append(path)
        elif "://" not in path:
            found += sorted(glob.glob(path, recursive=True))
    return found
