"""A study's sensors as rules see them: bands on offer, years, periods, and the settings that each step depends on."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pipeline.config import Study

STATIC = "static"
"""What stands in place of the year in the path of a raster that shows every year alike."""

ASKED = ("catalog", "collection", "years", "season", "max_cloud_percent", "check_radiometry", "orbit")
"""Settings of a sensor that decide which scenes are found, and nothing else."""

FOR_SEARCH = (*ASKED, "private_hosts", "data_folders", "harmonise")
"""Those, where files may lie whose pixels are looked at, and what leaves out platforms that it knows nothing of."""


class Imagery:
    """What the configuration alone says of the sensors; which of their bands predictors need, `Plan.needs` knows."""

    def __init__(self, study: Study) -> None:
        self.study, self.resources = study, Path(study.resources)

    @cached_property
    def offered_roles(self) -> dict[str, tuple[str, ...]]:
        """Bands by predictor prefix of the study's composites: roles of the sensor, and what reducers and series add."""
        from catalogs.sensors import offered_roles, sensor_named

        offered = offered_roles(self.study.sensors)
        prefixes = {name: sensor_named(name).prefix for name in self.study.sensors}
        return {prefix: (*offered[prefix], *self.added_bands(name)) for name, prefix in prefixes.items()}

    def added_bands(self, sensor: str) -> dict[str, tuple[str, ...]]:
        """Bands of a sensor's composites beyond its roles -> the roles they are made of: `red_p10`, `ndvi_p90`."""
        from catalogs.sensors import sensor_named
        from pipeline.indicators import INDICATORS
        from pipeline.optical.composite import REDUCERS
        from pipeline.optical.series import STATISTICS, series_bands

        chosen, known = self.study.sensors[sensor], sensor_named(sensor)
        added = {f"{role}_{name}": (role,) for name in chosen.reducers[1:] if name in REDUCERS for role in known.roles}
        series = {
            index: [name for name in names if name in STATISTICS]
            for index, names in chosen.series.items()
            if index in INDICATORS and known.kind == "optical"
        }
        for band, (index, _, _) in series_bands(series, years=chosen.series_years).items():
            added[band] = INDICATORS[index].roles(known.prefix, self.seen_by.get(known.prefix))
        return added

    @cached_property
    def seen_by(self) -> dict[str, str]:
        """The instrument that reflectance is brought to, by predictor prefix, where it is."""
        from catalogs.sensors import sensor_named

        return {sensor_named(name).prefix: "oli" for name, one in self.study.sensors.items() if one.harmonise != "none"}

    @cached_property
    def yearly(self) -> list[str]:
        """Sensors that see the land anew each year; an elevation model does not."""
        from catalogs.sensors import is_sensor, sensor_named

        return [name for name in self.study.sensors if not is_sensor(name) or not sensor_named(name).static]

    @cached_property
    def elevation_sensor(self) -> str | None:
        """The study's elevation model, by its sensor's name."""
        from catalogs.sensors import sensor_named

        return next((name for name in self.study.sensors if sensor_named(name).kind == "elevation"), None)

    @cached_property
    def elevation_folder(self) -> str | None:
        """Folder of the elevation on the study's grid, block by block, as `steps.windows.read_elevation` takes it.

        None where the study has no elevation sensor. `Plan.composites(elevation_sensor, blocks)` are its files.
        """
        sensor = self.elevation_sensor
        return f"{self.resources.as_posix()}/composite/{sensor}_{STATIC}" if sensor else None

    def elevation_param(self, sensor: str) -> str | None:
        return self.elevation_folder if self.levels(sensor) else None

    def levels(self, sensor: str) -> bool:
        """Whether a sensor's reflectance is corrected for slopes."""
        return self.study.sensors[sensor].topographic != "none"

    def periods(self, sensor: str) -> list[str]:
        """The rasters of a sensor, `composite/{sensor}_{period}`: one per study year, or one `static` for all of them."""
        from catalogs.sensors import sensor_named

        return [STATIC] if sensor_named(sensor).static else [str(year) for year in self.study.years]

    def years(self, sensor: str) -> list[int]:
        """Years whose scenes are searched: those named or the study's, and those that a series looks back to."""
        years = set(self.study.sensors[sensor].years or self.study.years)
        back = self.years_looked_back(sensor)
        return sorted(years | {year - ago for year in self.study.years for ago in range(back + 1)})

    def years_looked_back(self, sensor: str) -> int:
        """How many years before its own a composite reads scenes of."""
        chosen = self.study.sensors[sensor]
        return chosen.series_years - 1 if chosen.series else 0

    def search_settings(self, sensor: str) -> dict:
        """What decides which scenes are found, and where their files may lie when their pixels are looked at."""
        return {name: value for name, value in self._settings(sensor).items() if name in FOR_SEARCH}

    def composite_settings(self, sensor: str) -> dict:
        """What makes a composite of frozen scenes; a new search reruns it by itself."""
        return {name: value for name, value in self._settings(sensor).items() if name not in ASKED}

    def topography_settings(self, sensor: str) -> dict:
        """What decides how bright a scene's slopes are; how its dates become one image, and the kind of correction, do not."""
        elsewhere = {"topographic", "min_clear_count", "max_scenes", "target_day"}
        return {name: value for name, value in self.composite_settings(sensor).items() if name not in elsewhere}

    def _settings(self, sensor: str) -> dict:
        return self.study.sensors[sensor].model_dump(mode="json")

    def local_catalog(self, sensor: str) -> list[str]:
        from catalogs.search import is_local

        catalog = self.study.sensors[sensor].catalog
        return [catalog.removeprefix("file://")] if is_local(catalog) else []
