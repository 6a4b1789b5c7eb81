"""A study as rules see it: paths, plain params, and digests of what touches a block."""

from __future__ import annotations

import datetime as dt
import glob
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from catalogs.lidar.tiles import is_listing
from pipeline.bridge.canopies import LARGEST_PX, Canopies
from pipeline.bridge.digests import code_digest, digest, import_plugins, plugins_of
from pipeline.bridge.jobs import step_module
from pipeline.bridge.opening import problems_of_plots, problems_of_points, remarks_on_points, shortened
from pipeline.bridge.touching import bounds_in, files_of, kept_if_right, kept_index, with_sidecars, within_reach
from pipeline.config import TARGETS, Campaign, Study, nearest
from pipeline.features import default_predictors, required, split_name
from pipeline.grid import Grid, Window
from pipeline.indicators.registry import family
from pipeline.lidar.heights import FAR_GROUND_M
from pipeline.products import Product, products_of

STATIC = "static"
"""What stands in place of the year in the path of a raster that shows every year alike."""

ASKED = ("catalog", "collection", "years", "season", "max_cloud_percent", "check_radiometry", "orbit")
"""Settings of a sensor that decide which scenes are found, and nothing else."""

FOR_SEARCH = (*ASKED, "private_hosts", "data_folders", "harmonise")
"""Those, where files may lie whose pixels are looked at, and what leaves out platforms that it knows nothing of."""

MEANT_FOR = {
    "orbit": ("radar",), "speckle": ("radar",),
    **dict.fromkeys(("max_cloud_percent", "check_radiometry", "cloud_dilation_m", "mask_water"), ("optical",)),
    **dict.fromkeys(
        ("years", "season", "reducer", "min_clear_count", "max_scenes", "target_day", "upsampling"), ("optical", "radar")
    ),
}  # fmt: skip
"""Kinds of sensor that a setting says something about, where that is not all of them."""


class Plan:
    """A study as rules see it. `held` is the hold on the study's folder while a run works in it."""

    held: Any = None

    def __init__(self, study: Study) -> None:
        import_plugins(study.plugins)
        self.study = study
        self.resources, self.results = Path(study.resources), Path(study.results)

    # ------------------------------------------------------------ the study in plain values

    @cached_property
    def grid(self) -> Grid:
        area = self.study.area
        bounds = area.bounds or _extent_of(area.file, area.crs)
        return Grid.covering(
            bounds, crs=area.crs, resolution_m=area.resolution_m, chunk_px=area.chunk_px, block_chunks=area.block_chunks
        )

    @cached_property
    def grid_settings(self) -> dict:
        return self.grid.settings()

    @cached_property
    def area_settings(self) -> dict:
        """The grid without its cutting: what does not depend on chunks and blocks is not rerun when they change."""
        cutting = {"chunk_px", "block_chunks"}
        return {name: value for name, value in self.grid_settings.items() if name not in cutting}

    @cached_property
    def blocks(self) -> list[str]:
        return self.grid.blocks()

    @cached_property
    def products(self) -> dict[str, Product]:
        return products_of(self.study)

    @cached_property
    def predictor_sets(self) -> dict[str, list[str]]:
        chosen = self.study.model.predictors
        if chosen is None:
            if self.study.model.profile:
                return {"profile": list(self.predictor_titles)}
            chosen = default_predictors(self.offered_roles, lidar=bool(self.study.lidar))
        return {name: [one for listed in names for one in self._listed_by(listed)] for name, names in chosen.items()}

    def _listed_by(self, name: str) -> list[str]:
        """A predictor, or all those of the indicator profile where a set says `profile`."""
        return list(self.predictor_titles) if name == "profile" else [name]

    @cached_property
    def predictor_titles(self) -> dict[str, str]:
        """Predictors of the study's indicator profile with their code and name there, in its order; none without one."""
        from pipeline.indicators.profile import load_profile, predictors_of, titles

        if self.study.model.profile is None:
            return {}
        profile = load_profile(self.study.model.profile)
        found = predictors_of(
            profile, self.offered_roles, metrics=self.offered_metrics, resolution_m=self.study.area.resolution_m
        )
        return titles(found)

    @cached_property
    def standard(self) -> dict | None:
        """The study's indicator profile for readers: title, source, status in words, and an entry per row in its order."""
        from pipeline.indicators.profile import STATUSES, load_profile, rows

        if self.study.model.profile is None:
            return None
        profile = load_profile(self.study.model.profile)
        options = {"metrics": self.offered_metrics, "resolution_m": self.study.area.resolution_m}
        table = rows(profile, self.offered_roles, of_study=True, **options)
        names = ("code", "name", "ours", "unit", "about")
        return {
            "title": profile.title,
            "source": profile.source,
            "status": f"{profile.status}, {STATUSES[profile.status]}",
            "entries": [dict(zip(names, row, strict=True)) for row in table],
        }

    @cached_property
    def needs(self):
        """Roles per sensor prefix, lidar metrics and halo that the predictors need."""
        return self._needs_of(self.offered_roles)

    def _needs_of(self, sensors: dict[str, tuple[str, ...]]):
        return required(
            _all_names(self.predictor_sets), sensors, metrics=self.offered_metrics, seen_by=self.seen_by,
            resolution_m=self.study.area.resolution_m,
        )  # fmt: skip

    @cached_property
    def seen_by(self) -> dict[str, str]:
        """The instrument that reflectance is brought to, by predictor prefix, where it is."""
        from catalogs.sensors import sensor_named

        return {sensor_named(name).prefix: "oli" for name, one in self.study.sensors.items() if one.harmonise != "none"}

    @property
    def offered_metrics(self) -> tuple[str, ...] | None:
        """Lidar metrics on offer: all (None) or, without lidar, none."""
        return None if self.study.lidar else ()

    @cached_property
    def offered_roles(self) -> dict[str, tuple[str, ...]]:
        """Bands by predictor prefix of the study's composites: roles of the sensor, and what reducers and series add."""
        from catalogs.sensors import offered_roles, sensor_named

        offered = offered_roles(self.study.sensors)
        prefixes = {name: sensor_named(name).prefix for name in self.study.sensors}
        return {prefix: (*offered[prefix], *self._added_bands(name)) for name, prefix in prefixes.items()}

    def _added_bands(self, sensor: str) -> dict[str, tuple[str, ...]]:
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

    def settings(self, section: str, key: str | None = None) -> dict:
        """A section of the configuration (or one entry of it) as plain values."""
        part = getattr(self.study, section)
        one = part[key] if key is not None else part
        if section == "lidar" and key is not None:
            return self._with_tiles(key, one.model_dump(mode="json", exclude={"canopy_products", "sampling"}))
        return one.model_dump(mode="json")

    def settings_of_all(self, section: str) -> dict:
        return {name: self.settings(section, name) for name in getattr(self.study, section)}

    def _with_tiles(self, campaign: str, plain: dict) -> dict:
        """A campaign's settings, tiles of catalogues and addresses frozen: no job asks a catalogue, and all see the same."""
        listed = _listed(plain["points"] or ())
        if not plain["catalog"] and not any(_is_listed_elsewhere(path) for path in listed):
            return plain
        listings = [path for path in listed if is_listing(path)]
        try:
            entries = self._tile_entries(campaign) or []
            found = [entry["id"] for entry in entries] or plain["points"]
            said = entries[0]["crs"] if entries and not plain["crs"] else None  # all are in one CRS
            return plain | {"points": found, "listed_by": next(iter(listings), None), "item_crs": said}
        except (ValueError, OSError):
            return plain  # the job says what is wrong

    @cached_property
    def model_settings(self) -> dict:
        """What makes a model; how wide its intervals are drawn does not, and its predictors are a param of their own."""
        elsewhere = {
            "predictors", "profile", "confidence_percent", "quantiles", "max_outside_domain_percent", "applicability_maps",
        }  # fmt: skip
        kept = {name: value for name, value in self.settings("model").items() if name not in elsewhere}
        return kept | {"date_effect": self.date_effect}

    @cached_property
    def stand_shapes(self) -> dict:
        """What makes the stands' outlines and strata; inventory records and districts only tables are made of."""
        return self.settings("stands") | {"records": {}, "district": None}

    @property
    def patch_settings(self) -> dict | None:
        """What makes the stands that plots and cells lie in; None where the study draws none."""
        return self.stand_shapes | {"include_plots": False} if self.study.stands.file else None

    @property
    def sampled_maps(self) -> list[str]:
        """Blocks of the maps that plots are held against: stocks and sinks."""
        names = [name for name, product in self.products.items() if product.kind in ("stock", "sink")]
        return [f"{self.resources}/maps/{name}/{block}.tif" for name in names for block in self.blocks]

    @cached_property
    def set_maps(self) -> list[str]:
        """Target and year of the maps that each predictor set makes by itself: of several phases, where lidar is one of them.

        None where no plot was chosen by chance: no estimator would read them.
        """
        plots = self.study.plots
        if not self.study.lidar or not (plots.sampling == "probability" or "sampling" in plots.columns):
            return []
        return [f"{target}_{year}" for target in self.study.targets for year in self.study.years]

    @property
    def set_map_files(self) -> list[str]:
        return [f"{self.resources}/sets/{name}/{block}.tif" for name in self.set_maps for block in self.blocks]

    @property
    def flown_by_chance(self) -> dict[str, bool]:
        """By study year, whether chance has drawn the land that its campaign covers."""
        campaigns = {year: self._campaign_of(year) for year in self.study.years}
        return {
            str(year): name is not None and self.study.lidar[name].sampling == "probability" for year, name in campaigns.items()
        }

    @cached_property
    def card_settings(self) -> dict:
        """What a model card says of the configuration: a change of anything else makes no other card."""
        study = self.study.model_dump(mode="json", include={"name", "title", "years"})
        plots = {name: self.settings("plots")[name] for name in ("sampling", "trees", "allometry")}
        level = {"confidence_percent": self.study.model.confidence_percent}
        about = {"sensors": list(self.study.sensors), "stock_target": self.study.stock_target}
        return {**study, **about, "plots": plots, "model": level}

    def search_settings(self, sensor: str) -> dict:
        """What decides which scenes are found, and where their files may lie when their pixels are looked at."""
        return {name: value for name, value in self.settings("sensors", sensor).items() if name in FOR_SEARCH}

    def composite_settings(self, sensor: str) -> dict:
        """What makes a composite of frozen scenes; a new search reruns it by itself."""
        return {name: value for name, value in self.settings("sensors", sensor).items() if name not in ASKED}

    def topography_settings(self, sensor: str) -> dict:
        """What decides how bright a scene's slopes are; how its dates become one image, and the kind of correction, do not."""
        elsewhere = {"topographic", "min_clear_count", "max_scenes", "target_day"}
        return {name: value for name, value in self.composite_settings(sensor).items() if name not in elsewhere}

    def sensor_years(self, sensor: str) -> list[int]:
        """Years whose scenes are searched: those named or the study's, and those that a series looks back to."""
        years = set(self.study.sensors[sensor].years or self.study.years)
        back = self._years_looked_back(sensor)
        return sorted(years | {year - ago for year in self.study.years for ago in range(back + 1)})

    def roles(self, sensor: str) -> list[str]:
        """Bands that a sensor's rasters hold: those that predictors need, and of elevation always the elevation."""
        from catalogs.sensors import sensor_named
        from pipeline.optical.series import series_roles

        added = self._added_bands(sensor)
        asked = set(self.needs.roles.get(sensor_named(sensor).prefix, ()))
        needed = {role for band in asked for role in added.get(band, (band,))}
        if asked:
            prefix = sensor_named(sensor).prefix
            needed |= set(series_roles(self.study.sensors[sensor].series, prefix, self.seen_by.get(prefix)))
        return sorted(needed | set(sensor_named(sensor).roles if sensor_named(sensor).kind == "elevation" else ()))

    def periods(self, sensor: str) -> list[str]:
        """The rasters of a sensor, `composite/{sensor}_{period}`: one per study year, or one `static` for all of them."""
        from catalogs.sensors import sensor_named

        return [STATIC] if sensor_named(sensor).static else [str(year) for year in self.study.years]

    def composites(self, sensor: str, blocks: Iterable[str]) -> list[str]:
        """A sensor's rasters of some blocks."""
        return [
            f"{self.resources}/composite/{sensor}_{period}/{block}.tif"
            for block in blocks
            for period in self.periods(sensor)
        ]

    @cached_property
    def elevation_folder(self) -> str | None:
        """Folder of the elevation on the study's grid, block by block, as `steps.windows.read_elevation` takes it.

        None where the study has no elevation sensor. `composites(elevation_sensor, blocks)` are its files.
        """
        sensor = self.elevation_sensor
        return f"{self.resources.as_posix()}/composite/{sensor}_{STATIC}" if sensor else None

    @cached_property
    def elevation_sensor(self) -> str | None:
        """The study's elevation model, by its sensor's name."""
        from catalogs.sensors import sensor_named

        return next((name for name in self.study.sensors if sensor_named(name).kind == "elevation"), None)

    @cached_property
    def metrics(self) -> list[str]:
        """Lidar metrics that any predictor or the forest definition needs."""
        extra = {"zq95", "cover_2m"} if self.study.forest.source == "canopy" else set()
        return sorted(set(self.needs.metrics) | extra)

    @cached_property
    def sources(self) -> dict:
        """Where predictors of each study year are read from, as `steps.windows.read_predictors` takes it."""
        from catalogs.sensors import sensor_named

        prefixes = {name: sensor_named(name).prefix for name in self.study.sensors}
        used = {name: sorted(self.needs.roles.get(prefix, ())) for name, prefix in prefixes.items()}
        imagery = any(roles and not sensor_named(name).static for name, roles in used.items())
        return {
            "sensors": {
                name: {
                    "folder": (self.resources / "composite").as_posix(),
                    "prefix": prefixes[name],
                    "roles": roles,
                    **({"period": STATIC} if sensor_named(name).static else {}),
                    **({"seen_by": self.seen_by[prefixes[name]]} if prefixes[name] in self.seen_by else {}),
                }
                for name, roles in used.items()
                if roles
            },
            "lidar_folder": (self.resources / "lidar").as_posix(),
            "campaign_of_year": {str(year): self._campaign_of(year) for year in self.study.years},
            "seen": {str(year): self._seen(year, imagery) for year in self.study.years},
            "metrics": self.metrics,
            "halo_px": self.needs.halo_px,
        }

    @cached_property
    def used_sensors(self) -> list[str]:
        """Sensors that something is made of: those of predictors, and the elevation by which the slopes of these are lit."""
        used = list(self.sources["sensors"])
        lit_by = [self.elevation_sensor] if any(map(self.levels, used)) else []
        return list(dict.fromkeys([*used, *filter(None, lit_by)]))

    @cached_property
    def _imagery(self) -> list[str]:
        """Sensors that see the land anew each year; an elevation model does not."""
        from catalogs.sensors import is_sensor, sensor_named

        return [name for name in self.study.sensors if not is_sensor(name) or not sensor_named(name).static]

    def _campaign_of(self, year: int) -> str | None:
        """The campaign nearest to 1 July of a year, if it is near enough."""
        middle = dt.date(year, 7, 1)
        near = [
            (abs((campaign.date - middle).days), name)
            for name, campaign in self.study.lidar.items()
            if abs((campaign.date - middle).days) / 365.25 <= self.study.plots.max_years_apart
        ]
        return min(near)[1] if near else None

    def _seen(self, year: int, satellites: bool) -> list[str]:
        """Dates of what shows a study year: its campaign, and both ends of each sensor's season."""
        from catalogs.search import first_day, last_day

        campaign = self._campaign_of(year)
        dates = [self.study.lidar[campaign].date] if campaign else []
        for name in self._imagery if satellites else ():
            sensor = self.study.sensors[name]
            dates += [first_day(year, sensor.season), last_day(year, sensor.season)]
        return [date.isoformat() for date in dates]

    @cached_property
    def carbon(self) -> dict:
        pools = self.study.pools
        by_volume = self.study.stock_target == "volume"
        return {
            "root_shoot": pools.root_shoot,
            "root_shoot_se": pools.root_shoot_se or 0.0,
            "carbon_fraction": pools.carbon_fraction,
            "carbon_fraction_se": pools.carbon_fraction_se or 0.0,
            "biomass_per_target": (pools.expansion_factor_mg_m3 if by_volume else None) or 1.0,
            "biomass_per_target_se": (pools.expansion_factor_se if by_volume else None) or 0.0,
        }

    @cached_property
    def rooted_plots(self) -> dict[str, str]:
        """The plots' table as `rooted`, where the root:shoot ratio is theirs."""
        return {"rooted": f"{self.resources}/plots.parquet"} if self.study.pools.root_shoot == "from_plots" else {}

    @cached_property
    def targets(self) -> dict[str, dict]:
        return {target: TARGETS[target] for target in self.study.targets}

    def plain_product(self, product: str) -> dict:
        return asdict(self.products[product])

    @cached_property
    def plain_products(self) -> list[dict]:
        return [asdict(product) for product in self.products.values()]

    @cached_property
    def notes(self) -> list[str]:
        """What this study does not make, and why: sentences for the report."""
        study, notes = self.study, []
        if len(study.years) == 1:
            notes.append("One date only: no change and no sink can be computed.")
        if not study.lidar:
            notes.append("No airborne lidar: the map rests on satellite images, which saturate in dense forest.")
        if not self._imagery:
            notes.append("No satellite sensor: there is no estimate where no lidar was flown.")
        notes += [
            f"Sensor {name} is configured, but no predictor uses it: nothing is made of it."
            for name in study.sensors
            if name not in self.used_sensors
        ]
        if study.lidar:
            rest = "rests on satellite images alone" if self._imagery else "has no estimate"
            notes += [
                f"No lidar within {study.plots.max_years_apart:g} years of {year}: that year {rest}."
                for year in study.years
                if self._campaign_of(year) is None
            ]
        if study.stock_target is None:
            notes.append("Neither biomass nor volume is a target: no carbon is computed.")
        if study.forest.source == "everywhere":
            notes.append("No forest definition is set: every pixel is treated as forest, fields and water too.")
        notes += [_of_campaign(name, campaign) for name, campaign in study.lidar.items() if campaign.classify_ground]
        notes += [
            f"Campaign {name}: points are thinned to {campaign.thin_to_pts_m2:g} per m2."
            for name, campaign in study.lidar.items()
            if campaign.thin_to_pts_m2
        ]
        if "lidar" in self.predictor_sets and len({campaign.leaf for campaign in study.lidar.values()}) > 1:
            notes.append(
                "Campaigns differ in leaf condition: dates are kept apart by a date effect, never pooled untested."
            )
        return notes

    @property
    def date_effect(self) -> str:
        """Leaf-on and leaf-off campaigns are never pooled untested, whatever the configuration says."""
        leaves = {campaign.leaf for campaign in self.study.lidar.values()}
        chosen = self.study.model.date_effect
        return "auto" if len(leaves) > 1 and chosen == "never" else chosen

    @property
    def map_suffix(self) -> str:
        return ".tif" if self.grid.rows * self.grid.cols <= LARGEST_PX else ".vrt"

    # ------------------------------------------------------------ before the first job

    def prepare(self) -> None:
        """Check what the configuration alone can be checked for: the grid, the names it uses, the files it names.

        Raises
        ------
        ValueError
            With one line per problem.
        """
        if problems := self._problems_of_settings():
            raise ValueError("\n".join(problems))

    def _problems_of_settings(self) -> list[str]:
        missing = self._missing_files()
        try:
            if not self.grid.blocks():
                return [*missing, "area: the area has no pixel at this resolution"]
        except (ValueError, OSError) as error:
            return [*missing, *(() if any(one.startswith("area.file: ") for one in missing) else (str(error),))]
        return [*missing, *self._unknown_names(), *self._years_unseen(), *self._foreign_results()]

    def inspect(self) -> None:
        """As `prepare`; and open what others made and what is there already: lidar tiles, stands, tables of plots and trees.

        What was found right is not opened again until it, or what the study says of it, changes.

        Raises
        ------
        ValueError
            With one line per problem, each after the section of the study that it belongs to.
        """
        problems = self._problems_of_settings()
        if not any(problem.startswith("area") for problem in problems):
            problems += self._problems_of_files()
        if problems:
            raise ValueError("\n".join(dict.fromkeys(problems)))

    def remarks(self) -> list[str]:
        """Sentences on lidar tiles that stop no run but may surprise: call after `inspect`."""
        return [
            f"lidar.{name}: {said}"
            for name, campaign in self.study.lidar.items()
            if not self._is_planted(_local_files(self._source_of(name)))
            for said in remarks_on_points(campaign, self._tile_entries(name) or [], self.grid.bounds)
        ]

    def _problems_of_files(self) -> list[str]:
        """A sentence for everything that is wrong with the files of others that the study names."""
        problems = [sentence for name in self.study.lidar for sentence in shortened(self._campaign_problems(name))]
        try:
            self._stand_entries()
        except (ValueError, OSError) as error:
            problems.append(f"stands: {error}")
        return problems + [f"plots: {sentence}" for sentence in shortened(self._plot_problems())]

    def _campaign_problems(self, name: str) -> list[str]:
        """What is wrong with a campaign: with the headers of its tiles, else where they lie, and what a sample of them holds."""
        settings = self.study.lidar[name]
        try:
            entries = self._tile_entries(name)
        except (ValueError, OSError) as error:
            listed = [f"lidar.{name}: {error}"]
        else:
            listed = self._elsewhere(name, entries or [])
        local = _local_files(self._source_of(name))
        files = files_of(tuple(local), (".las", ".laz") if settings.points else (".tif", ".tiff", ".vrt"))
        if self._is_planted(local) or not files:
            return listed
        about = settings.model_dump(mode="json") | {"said": sorted(settings.model_fields_set)}
        held = kept_if_right(
            self.resources / "index" / f"opened_lidar_{name}.json", about, files,
            lambda: problems_of_points(name, settings, local),
        )  # fmt: skip
        return list(dict.fromkeys([*listed, *held]))

    def _plot_problems(self) -> list[str]:
        """What is wrong with the settings and tables of plots; those of a planted study are made by the run itself."""
        from catalogs.plots.reading import check_settings

        try:
            check_settings(self.settings("plots"))
        except ValueError as error:
            return [str(error)]
        files = files_of(tuple(self.plot_files), ())
        if self._is_planted(self.plot_files) or not all(Path(path).exists() for path in self.plot_files):
            return []
        about = [self.settings("plots"), self.area_settings, list(self.study.targets), self.code("plots")]
        return kept_if_right(
            self.resources / "index" / "opened_plots.json", about, files,
            lambda: problems_of_plots(self.settings("plots"), self.area_settings, list(self.study.targets)),
        )  # fmt: skip

    def _is_planted(self, paths: Iterable[str]) -> bool:
        made = self.resources / "planted"
        return bool(self.study.planted) and all(Path(path).is_relative_to(made) for path in paths)

    def _elsewhere(self, name: str, entries: list[dict]) -> list[str]:
        """A sentence on a campaign none of whose tiles touches the area: its lidar would be silently missing."""
        west, south, east, north = self.grid.bounds
        boxes = [entry["bounds"] for entry in entries]
        if not boxes or any(w < east and e > west and s < north and n > south for w, s, e, n in boxes):
            return []
        said = self.study.lidar[name].crs
        check = f"lidar.{name}.crs, which says {said}" if said else "crs of the campaign"
        return [
            f"lidar.{name}: none of its {len(boxes)} tiles touches the area; its first lies at x {boxes[0][0]:.0f}, "
            f"y {boxes[0][1]:.0f} of {self.study.area.crs}, so check area and {check}"
        ]

    def _years_unseen(self) -> list[str]:
        """A sentence for every study year that neither a sensor nor a campaign shows."""
        if self._imagery:
            return []
        near = self.study.plots.max_years_apart
        return [
            f"years: {year} cannot be mapped: no campaign within {near:g} years of it (plots.max_years_apart) and no sensor"
            for year in self.study.years
            if self._campaign_of(year) is None
        ]

    def _foreign_results(self) -> list[str]:
        """A sentence where the results folder holds another study's results, which this one would replace."""
        run = self.results / "run.json"
        if not run.exists():
            return []
        other = json.loads(run.read_text(encoding="utf-8"))["study"]["name"]
        if other == self.study.name:
            return []
        return [f"results: {self.results} holds the results of the study {other}; give this one a folder of its own"]

    def _missing_files(self) -> list[str]:
        """A sentence for every file or folder of the configuration that is not there."""
        problems = []
        for key, path in _paths_in(self.study.model_dump(), ""):
            planted = self.study.planted and Path(path).is_relative_to(self.resources / "planted")
            if not planted and not Path(path).exists() and not (key.endswith(".points") and _is_pattern_or_address(path)):
                problems.append(f"{key}: {path} does not exist")
        return problems

    def _unknown_names(self) -> list[str]:
        """A sentence for every name of the configuration that is in no registry, and no product of the study."""
        from catalogs.sensors import is_sensor, sensor_named
        from models.regressors import REGRESSORS
        from pipeline.optical.composite import REDUCERS
        from pipeline.radar.speckle import SPECKLE

        asked = [("model.regressor", self.study.model.regressor, REGRESSORS)]
        asked += [
            (f"sensors.{name}.reducer", reducer, REDUCERS)
            for name, one in self.study.sensors.items()
            for reducer in one.reducers
        ]
        asked += [(f"sensors.{name}.speckle", one.speckle, SPECKLE) for name, one in self.study.sensors.items()]
        problems = [
            f"{key}: {name!r} is not known{nearest(name, known)}; known: {', '.join(known)}"
            for key, name, known in asked
            if name not in known
        ]
        problems += self._quantiles_not_told()
        problems += self._settings_of_other_kinds()
        problems += [
            f"sensors.{name}.reducer: {reducer} scores the distance to clouds, and {sensor_named(name).title} has no clouds"
            for name, one in self.study.sensors.items()
            if is_sensor(name) and sensor_named(name).kind == "radar"
            for reducer in one.reducers
            if reducer in REDUCERS and REDUCERS[reducer].cloud_distance
        ]
        problems += [sentence for name in self.study.sensors if is_sensor(name) for sentence in self._wrong_corrections(name)]
        problems += [sentence for name in self.study.sensors if is_sensor(name) for sentence in self._wrong_catalogue(name)]
        try:
            place = "sensors"
            sensors = self.offered_roles
            place = "model.profile"
            _ = self.predictor_titles
            place = "model.predictors"
            if absent := self._sensors_absent(sensors):
                raise ValueError("\n".join(absent))
            self._needs_of(sensors)
        except ValueError as error:
            problems += [f"{place}: {sentence}" for sentence in str(error).splitlines()]
        stocks = [product.name for product in self.products.values() if product.kind == "stock"]
        for name, other in self.study.comparisons.items():
            if f"{other.target}_{other.year}" not in stocks:
                problems.append(
                    f"comparisons.{name}: there is no map {other.target}_{other.year} to compare; "
                    f"the study makes {', '.join(stocks)}"
                )
        return problems

    def _quantiles_not_told(self) -> list[str]:
        """A sentence where quantiles are asked of a regressor that has none."""
        from models.regressors import REGRESSORS

        model = self.study.model
        if not model.quantiles or getattr(REGRESSORS.get(model.regressor), "tells_quantiles", True):
            return []
        telling = ", ".join(name for name, one in REGRESSORS.items() if getattr(one, "tells_quantiles", False))
        return [f"model.quantiles: regressor {model.regressor} tells no quantiles; {telling} do"]

    def _wrong_catalogue(self, sensor: str) -> list[str]:
        """A sentence where a sensor's catalogue is known not to offer it, or is at an address that nothing here asks."""
        from catalogs.remote import Refused
        from catalogs.search import check_catalogue
        from catalogs.sensors import sensor_named

        try:
            check_catalogue(self.study.sensors[sensor].catalog, sensor_named(sensor))
        except (ValueError, Refused) as error:
            return [f"sensors.{sensor}.catalog: {error}"]
        return []

    def _wrong_corrections(self, sensor: str) -> list[str]:
        """A sentence for every correction or series that a sensor's scenes do not allow."""
        from catalogs.harmonisation import sensors_harmonised
        from catalogs.search import first_day, last_day
        from catalogs.sensors import sensor_named
        from pipeline.indicators import INDICATORS
        from pipeline.optical.series import problems_of

        chosen, known, key = self.study.sensors[sensor], sensor_named(sensor), f"sensors.{sensor}"
        problems = []
        if chosen.harmonise != "none" and known.name not in sensors_harmonised():
            offered = ", ".join(sensors_harmonised())
            problems.append(f"{key}.harmonise: there are no published lines for {known.name}; there are for {offered}")
        if (own := sensor.partition("_")[2]) in INDICATORS:
            problems.append(f"{key}: {own} is an indicator, so {sensor} would mean two things; give the composite another word")
        if chosen.topographic != "none" and known.kind != "optical":
            problems.append(f"{key}.topographic: slopes are corrected in optical images; {known.title} is {known.kind}")
        elif chosen.topographic != "none" and self.elevation_sensor is None:
            problems.append(
                f"{key}.topographic: {chosen.topographic} needs the elevation of the ground: "
                "add copernicus-dem-glo30 to sensors"
            )
        days = (last_day(2021, chosen.season) - first_day(2021, chosen.season)).days + 1
        if chosen.series and known.kind != "optical":
            problems.append(f"{key}.series: series are made of optical images; {known.title} is {known.kind}")
        elif chosen.series:
            found = problems_of(chosen.series, known.prefix, known.roles, days, years=chosen.series_years)
            problems += [f"{key}.series: {sentence}" for sentence in found]
        return problems

    def _settings_of_other_kinds(self) -> list[str]:
        """A sentence for every setting that says nothing about a sensor of its kind and yet is not what it is by itself."""
        from catalogs.sensors import is_sensor, sensor_named

        return [
            f"sensors.{name}.{setting}: {sensor_named(name).title} is {sensor_named(name).kind}, and this setting is for "
            f"{' and '.join(kinds)} sensors; take it out"
            for name, one in self.study.sensors.items()
            if is_sensor(name)
            for setting, kinds in MEANT_FOR.items()
            if sensor_named(name).kind not in kinds and getattr(one, setting) != type(one).model_fields[setting].default
        ]

    def _sensors_absent(self, offered: Mapping[str, tuple[str, ...]]) -> list[str]:
        """A sentence for every predictor of a sensor that we know and the study does not list."""
        from catalogs.sensors import SENSORS

        known, families = {sensor.prefix: name for name, sensor in SENSORS.items()}, set(map(family, offered))
        names = dict.fromkeys(_all_names(self.predictor_sets))
        return [
            f"{name!r} needs the sensor {known[prefix]}, which the study does not list under sensors"
            for name in names
            if split_name(name, offered)[0] is None and (prefix := split_name(name, known)[0]) and prefix not in families
        ]

    # ------------------------------------------------------------ files that rules name

    def local_catalog(self, wildcards: Any) -> list[str]:
        from catalogs.search import is_local

        catalog = self.study.sensors[wildcards.sensor].catalog
        return [catalog.removeprefix("file://")] if is_local(catalog) else []

    def campaign_files(self, wildcards: Any) -> list[str]:
        return _local_files(self._source_of(wildcards.campaign))

    def _source_of(self, campaign: str) -> str | tuple[str, ...]:
        settings = self.study.lidar[campaign]
        return settings.points or settings.canopy_height or ()

    @property
    def all_campaign_files(self) -> list[str]:
        return [path for campaign in self.study.lidar for path in _local_files(self._source_of(campaign))]

    @property
    def plot_files(self) -> list[str]:
        settings = self.study.plots
        codes = settings.species_codes if isinstance(settings.species_codes, str) else None
        named = (
            settings.file, settings.corners, settings.trees, settings.height_pairs, settings.wood_density, settings.fixes, codes,
        )  # fmt: skip
        tables = [part for path in named if path for part in with_sidecars(path)]
        named = [*_listed(settings.allometry), settings.groups or "", settings.carbon_fractions or "", settings.expansion or ""]
        return tables + [path for path in named if Path(path).suffix]

    @property
    def tree_list(self) -> dict[str, str]:
        """Where the trees are kept with what was done to each, where the study has trees."""
        return {"tree_list": f"{self.resources}/trees.parquet"} if self.study.plots.trees else {}

    def predictor_files(self, blocks: Iterable[str]) -> list[str]:
        """Composite and lidar files of some blocks, of every study year."""
        found = []
        for block in blocks:
            for sensor in self.sources["sensors"]:
                found += self.composites(sensor, [block])
            if self.metrics:
                campaigns = sorted({name for name in self.sources["campaign_of_year"].values() if name})
                found += [f"{self.resources}/lidar/{campaign}/{block}.tif" for campaign in campaigns]
        return found

    @property
    def all_predictor_files(self) -> list[str]:
        return self.predictor_files(self.blocks)

    @cached_property
    def canopies(self) -> Canopies:
        """What is asked of canopies and trees."""
        return Canopies(self.study, self.grid)

    @property
    def stand_files(self) -> list[str]:
        return with_sidecars(self.study.stands.file) if self.study.stands.file else []

    @property
    def forest_files(self) -> list[str]:
        return [self.study.forest.files[year] for year in self.study.years if year in self.study.forest.files]

    @property
    def forest_rasters(self) -> list[str]:
        """Rasters that tell forest by its height and cover, where the study defines it so."""
        return self.all_predictor_files if self.study.forest.source == "canopy" else []

    @property
    def cell_files(self) -> dict[str, str]:
        """The sample of cells that sets of predictors learn from, where the study has one."""
        return {"cells": f"{self.resources}/cells.parquet"} if self.has_cells else {}

    @property
    def has_cells(self) -> bool:
        """Whether a set of predictors may learn from another: the first is lidar's, which ends somewhere, and others follow."""
        sets = list(self.predictor_sets.values())
        return self.study.model.path != "direct" and len(sets) > 1 and bool(set(sets[0]) & set(self.metrics))

    @property
    def comparison_files(self) -> list[str]:
        return [comparison.file for comparison in self.study.comparisons.values()]

    @property
    def plots_if_stands(self) -> dict[str, str]:
        """The plots, where the study makes stands of them."""
        return {"plots": f"{self.resources}/plots.parquet"} if self.study.stands.include_plots else {}

    def _per_target(self, group: str, path: str) -> dict[str, str]:
        return {f"{group}__{target}": f"{self.resources}/{path.format(target=target)}" for target in self.study.targets}

    @property
    def model_files(self) -> dict[str, str]:
        return self._per_target("models", "model/{target}/model.json")

    @property
    def left_out_files(self) -> dict[str, str]:
        return self._per_target("left_out", "model/{target}/left_out.parquet")

    @property
    def validation_files(self) -> dict[str, str]:
        return {
            **self._per_target("validation", "model/{target}/validation.json"),
            **self._per_target("validated", "model/{target}/validation.parquet"),
        }

    @property
    def card_files(self) -> dict[str, str]:
        return {f"cards__{target}": f"{self.results}/model_cards/{target}.json" for target in self.study.targets}

    @property
    def training_files(self) -> dict[str, str]:
        return self._per_target("training", "training/{target}.parquet")

    @property
    def scene_files(self) -> dict[str, str]:
        return {
            f"scenes__{sensor.replace('-', '__dash__')}": f"{self.resources}/scenes/{sensor}.json"
            for sensor in self.used_sensors
        }

    @property
    def dropped_files(self) -> dict[str, list[str]]:
        """What each composite says about scenes that could not be read, per sensor."""
        return {
            f"dropped__{sensor.replace('-', '__dash__')}": [
                f"{self.resources}/composite/{sensor}_{period}/{block}.json"
                for period in self.periods(sensor)
                for block in self.blocks
            ]
            for sensor in self.used_sensors
        }

    @property
    def slope_files(self) -> list[str]:
        """What was found of the light on slopes, of each sensor and year that is corrected."""
        lit = [sensor for sensor in self.used_sensors if self.levels(sensor)]
        return [f"{self.resources}/topography/{sensor}_{period}.json" for sensor in lit for period in self.periods(sensor)]

    @property
    def said_files(self) -> list[str]:
        """What steps warned of, for the report."""
        used = self.used_sensors
        slopes = [f"topography_{sensor}_{period}" for sensor in used if self.levels(sensor) for period in self.periods(sensor)]
        steps = [*(f"search_{sensor}" for sensor in used), *slopes, "plots", "stands"]
        return [f"{self.resources}/said/{step}.json" for step in steps]

    @property
    def published_maps(self) -> dict[str, str]:
        return {f"maps__{name}": f"{self.results}/maps/{name}{self.map_suffix}" for name in self.products}

    def made(self, *parts: str) -> list[str]:
        """The notes of what was planted, where the study is planted: see rules/planted.smk."""
        return [f"{self.resources}/planted/made/{part}.json" for part in parts] if self.study.planted else []

    @property
    def truth_files(self) -> dict[str, str]:
        return {"truth": f"{self.resources}/planted/truth"} if self.study.planted else {}

    # ------------------------------------------------------------ what a rerun is decided on

    def code(self, rule: str) -> dict:
        """Digest of the code that a rule's step runs, with the plug-ins that add to it."""
        plugins = plugins_of(step_module(rule), self.study.plugins)
        return {"digest": code_digest(step_module(rule), plugins), "plugins": plugins}

    def composite_code(self, sensor: str) -> dict:
        """As `code`, with the formulas of the indices whose series the sensor is asked for."""
        from pipeline.bridge.digests import text_digest
        from pipeline.optical.series import formula_modules

        code, series = self.code("composite"), self.study.sensors[sensor].series
        if not series:
            return code
        modules = formula_modules(series)
        plugins = [name for name in self.study.plugins if name in modules]
        return {"digest": digest([code["digest"], text_digest(modules)]), "plugins": [*{*code["plugins"], *plugins}]}

    @property
    def _forest_halo_px(self) -> int:
        """How far beyond a window the forest definition looks: a patch of the smallest area fits in."""
        return math.ceil(self.study.forest.min_area_ha / self.grid.pixel_ha - 1e-9)

    def near(self, block: str) -> list[str]:
        """The block and the neighbours whose pixels its predictors' halo (or the forest definition) reads."""
        halo = self.needs.halo_px
        if self.study.forest.source == "canopy":
            halo = max(halo, self._forest_halo_px)
        return self.grid.blocks_touching(self._widened(block, halo))

    def _widened(self, block: str, halo_px: int) -> Window:
        place = self.grid.block_window(block)
        return Window(place.row0 - halo_px, place.row1 + halo_px, place.col0 - halo_px, place.col1 + halo_px)

    def scenes_touching(self, sensor: str, period: str, block: str) -> str:
        """Digest of the frozen scenes of a year (or static ones) that touch a block; `not searched yet` before the search."""
        from catalogs.search import items_touching

        frozen = self.resources / "scenes" / f"{sensor}.json"
        bounds = self.grid.bounds_of(self.grid.block_window(block))
        if not frozen.exists():
            return "not searched yet"
        if period == STATIC:
            years: list[int | None] = [None]
        else:
            years = list(range(int(period) - self._years_looked_back(sensor), int(period) + 1))

        def touching() -> list[dict]:
            found = _json(frozen, frozen.stat().st_mtime_ns)
            return [item for year in years for item in items_touching(found, year, bounds)]

        return _or_why_not(lambda: digest(touching()))

    def _years_looked_back(self, sensor: str) -> int:
        """How many years before its own a composite reads scenes of."""
        chosen = self.study.sensors[sensor]
        return chosen.series_years - 1 if chosen.series else 0

    # ------------------------------------------------------------ slopes

    def levels(self, sensor: str) -> bool:
        """Whether a sensor's reflectance is corrected for slopes."""
        return self.study.sensors[sensor].topographic != "none"

    def levelling_files(self, wildcards: Any) -> dict[str, Any]:
        """What a composite needs to correct slopes: the c of its scenes, and the elevation of the block and around it."""
        if not self.levels(wildcards.sensor):
            return {}
        near = self.grid.blocks_touching(self._widened(wildcards.block, 1))
        return {
            "topography": f"{self.resources}/topography/{wildcards.sensor}_{wildcards.year}.json",
            "relief": self.composites(self.elevation_sensor, near),
        }

    @property
    def elevation_files(self) -> list[str]:
        """The elevation of the whole study; none where it has no elevation model."""
        return self.composites(self.elevation_sensor, self.blocks) if self.elevation_sensor else []

    def elevation_param(self, sensor: str) -> str | None:
        return self.elevation_folder if self.levels(sensor) else None

    def scenes_of_year(self, sensor: str, year: str) -> str:
        """Digest of the frozen scenes that a year's composites read, wherever they lie."""
        return digest([self.scenes_touching(sensor, year, block) for block in self.blocks])

    def tiles_touching(self, campaign: str, block: str) -> str:
        """Digest of the lidar tiles within reach of a block; `not there yet` before they are made."""
        reach = max(self.study.lidar[campaign].buffer_m, FAR_GROUND_M)
        west, south, east, north = self.grid.bounds_of(self.grid.block_window(block))
        bounds = (west - reach, south - reach, east + reach, north + reach)
        return _or_why_not(lambda: _reached(self._tile_entries(campaign), bounds))

    def stands_touching(self, block: str) -> str:
        """Digest of the stands that touch a block, or what its forest definition sees around it."""
        halo = self._forest_halo_px if self.study.forest.source == "stands" else 0
        bounds = self.grid.bounds_of(self._widened(block, halo))
        return _or_why_not(lambda: _reached(self._stand_entries(), bounds))

    def patches_of(self, target: str) -> str:
        """Digest of the stands that a target's plots and cells lie in; `not there yet` before these are made."""
        tables = [Path(path) for path in (f"{self.resources}/training/{target}.parquet", *self.cell_files.values())]
        files = files_of(self.study.stands.file, ()) if self.study.stands.file else []
        if not files or not all(table.exists() for table in tables):
            return "not there yet" if self.study.stands.file else "no stands"

        def index() -> list[dict]:
            from catalogs.stands import read_stands
            from models.inference.patches import with_stands
            from pipeline import store

            polygons = read_stands(self.patch_settings, crs=self.grid.crs, bounds=self.grid.bounds)
            lie_in = [with_stands(store.read_table(table), polygons)["stand"].fillna("").tolist() for table in tables]
            return [{"digest": digest(lie_in)}]

        return _or_why_not(
            lambda: self._kept_index(f"patches_{target}", self.study.stands, [*files, *tables], index)[0]["digest"]
        )

    @property
    def has_strata(self) -> bool:
        """Whether models tell strata of stands apart."""
        return self.study.model.strata != "none"

    @property
    def stands_of_model(self) -> dict:
        """What makes the strata that models tell apart; nothing where they tell none."""
        return {**self.stand_shapes, "include_plots": False} if self.has_strata else {}

    @property
    def cells_need_stands(self) -> bool:
        """Whether cells lie in stands that matter: in forest that stands define, or in strata that models tell apart."""
        return self.has_strata or self.study.forest.source == "stands"

    def digests_of_stands(self, needed: bool) -> list[str]:
        """Digests of the stands, block by block, where they are needed."""
        return [self.stands_touching(block) for block in self.blocks] if needed else []

    def _tile_entries(self, campaign: str) -> list[dict] | None:
        settings = self.study.lidar[campaign]
        source = self._source_of(campaign)
        local = tuple(_local_files(source))
        files = files_of(local, (".las", ".laz") if settings.points else (".tif", ".tiff", ".vrt"))
        if not files and not settings.catalog and (local or not any(map(_is_pattern_or_address, _listed(source)))):
            return None

        def index() -> list[dict]:
            from catalogs.lidar import access_of, index_canopy, index_tiles

            if not settings.canopy_height:
                asked = settings.model_dump(mode="json")
                paths, said = _tiles_in_catalog(asked, self.grid) if settings.catalog else (_listed(source), None)
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

        return self._kept_index(f"lidar_{campaign}", settings, files, index)

    def _stand_entries(self) -> list[dict] | None:
        settings = self.study.stands
        if settings.file is None:
            return []
        files = files_of(settings.file, ())
        if not files:
            return None

        def index() -> list[dict]:
            from catalogs.stands import index_stands

            return index_stands(settings.model_dump(mode="json"), crs=self.grid.crs, bounds=self.grid.bounds)

        return self._kept_index("stands", settings, files, index)

    def _kept_index(self, name: str, settings: Any, files: list[Path], index: Callable[[], list[dict]]) -> list[dict]:
        about = [settings.model_dump(mode="json"), self.area_settings]
        return kept_index(self.resources / "index" / f"{name}.json", about, files, index)


def _of_campaign(name: str, campaign: Campaign) -> str:
    from pipeline.steps.ground import cloth_note

    return f"Campaign {name}: {cloth_note(campaign.cloth.model_dump())}."


def _all_names(sets: dict[str, list[str]]) -> list[str]:
    return [name for names in sets.values() for name in names]


def _reached(entries: list[dict] | None, bounds: tuple[float, float, float, float]) -> str:
    return "not there yet" if entries is None else within_reach(entries, bounds)


def _or_why_not(find: Callable[[], str]) -> str:
    """What `find` returns, or why it cannot: then the job runs and says so as its mistake, not the planning."""
    try:
        return find()
    except (ValueError, KeyError, OSError) as error:
        return f"unreadable: {error}"


PATH_KEYS = {
    "file", "groups", "corners", "trees", "fixes", "height_pairs", "wood_density", "points", "canopy_height", "catalog", "files",
    "profile",
}  # fmt: skip

NAME_OR_PATH_KEYS = {"allometry", "carbon_fractions", "expansion"}
"""Settings that name something of ours, or a file where they end like one."""


def _paths_in(part: Any, place: str) -> Iterable[tuple[str, str]]:
    """Dotted key and path of every local file that a configuration names."""
    from catalogs.search import is_local

    for key, value in part.items():
        dotted = f"{place}.{key}" if place else str(key)
        if key == "catalog" and (place.startswith("lidar.") or not is_local(value)):
            continue
        if key in PATH_KEYS and value:
            for path in value.values() if isinstance(value, dict) else _listed(value):
                yield dotted, path
        elif key in NAME_OR_PATH_KEYS and value:
            yield from ((dotted, path) for path in _listed(value) if Path(path).suffix)
        elif key == "species_codes" and isinstance(value, str):
            yield dotted, value
        elif isinstance(value, dict):
            yield from _paths_in(value, dotted)


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


def _is_pattern_or_address(path: str) -> bool:
    from catalogs.lidar.ranges import is_remote

    return is_remote(path) or (glob.has_magic(path) and not Path(path).exists())


def _is_listed_elsewhere(path: str) -> bool:
    """Whether lidar tiles are listed by a STAC document or stand at addresses."""
    return is_listing(path) or (_is_pattern_or_address(path) and "://" in path)


def _local_files(source: str | tuple[str, ...]) -> list[str]:
    """The local files and folders behind a campaign's setting: patterns filled in, addresses left out."""
    found: list[str] = []
    for path in _listed(source):
        if not _is_pattern_or_address(path):
            found.append(path)
        elif "://" not in path:
            found += sorted(glob.glob(path, recursive=True))
    return found


def _listed(source: str | tuple[str, ...]) -> list[str]:
    return list(source) if isinstance(source, tuple | list) else [str(source)]


def _extent_of(file: str | None, crs: str) -> tuple[float, float, float, float]:
    import geopandas as gpd
    from pyogrio.errors import DataSourceError

    try:
        shapes = gpd.read_file(file)
    except DataSourceError:
        raise ValueError(f"area.file: {file} cannot be read as a vector file") from None
    if shapes.crs is None:
        raise ValueError(f"area.file: {file} has no coordinate reference system")
    if shapes.empty:
        raise ValueError(f"area.file: {file} holds no shape")
    return tuple(float(value) for value in shapes.to_crs(crs).total_bounds)


@cache
def _json(path: Path, _changed: int) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
