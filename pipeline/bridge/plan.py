"""A study as rules see it: paths, plain params, and digests of what touches a block."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.bridge.campaigns import Campaigns
from pipeline.bridge.canopies import LARGEST_PX, Canopies
from pipeline.bridge.digests import code_digest, digest, import_plugins, plugins_of
from pipeline.bridge.imagery import STATIC, Imagery
from pipeline.bridge.jobs import step_module
from pipeline.bridge.notes import notes_of
from pipeline.bridge.problems import problems_of_files, problems_of_settings, remarks_of
from pipeline.bridge.touching import files_of, kept_index, listed, or_why_not, with_sidecars, within_reach
from pipeline.config import TARGETS, Study
from pipeline.features import default_predictors, required
from pipeline.grid import Grid, Window
from pipeline.products import Product, products_of


class Plan:
    """A study as rules see it. `held` is the hold on the study's folder while a run works in it."""

    held: Any = None

    def __init__(self, study: Study) -> None:
        import_plugins(study.plugins)
        self.study = study
        self.resources, self.results = Path(study.resources), Path(study.results)

    # ------------------------------------------------------------ parts that answer for themselves

    @cached_property
    def imagery(self) -> Imagery:
        """What the sensors' settings say."""
        return Imagery(self.study)

    @cached_property
    def campaigns(self) -> Campaigns:
        """Lidar campaigns and their tiles."""
        return Campaigns(self.study, self.grid)

    @cached_property
    def canopies(self) -> Canopies:
        """What is asked of canopies and trees."""
        return Canopies(self.study, self.grid)

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
        return self.grid.uncut()

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
            chosen = default_predictors(self.imagery.offered_roles, lidar=bool(self.study.lidar))
        return {name: [one for given in names for one in self._listed_by(given)] for name, names in chosen.items()}

    @property
    def predictors_named(self) -> bool:
        """Somebody chose the predictors of this study, rather than our defaults or an indicator profile."""
        return self.study.model.predictors is not None

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
            profile, self.imagery.offered_roles, metrics=self.offered_metrics, resolution_m=self.study.area.resolution_m
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
        table = rows(profile, self.imagery.offered_roles, of_study=True, **options)
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
        return self.needs_of(self.imagery.offered_roles)

    def needs_of(self, sensors: dict[str, tuple[str, ...]]):
        return required(
            _all_names(self.predictor_sets), sensors, metrics=self.offered_metrics, seen_by=self.imagery.seen_by,
            resolution_m=self.study.area.resolution_m,
        )  # fmt: skip

    @property
    def offered_metrics(self) -> tuple[str, ...] | None:
        """Lidar metrics on offer: all (None) or, without lidar, none."""
        return None if self.study.lidar else ()

    def settings(self, section: str, key: str | None = None) -> dict:
        """A section of the configuration (or one entry of it) as plain values."""
        if section == "lidar" and key is not None:
            return self.campaigns.settings(key)
        part = getattr(self.study, section)
        return (part[key] if key is not None else part).model_dump(mode="json")

    def settings_of_all(self, section: str) -> dict:
        return {name: self.settings(section, name) for name in getattr(self.study, section)}

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

    @cached_property
    def card_settings(self) -> dict:
        """What a model card says of the configuration: a change of anything else makes no other card."""
        study = self.study.model_dump(mode="json", include={"name", "title", "years"})
        plots = {name: self.settings("plots")[name] for name in ("sampling", "trees", "allometry")}
        level = {"confidence_percent": self.study.model.confidence_percent}
        about = {"sensors": list(self.study.sensors), "stock_target": self.study.stock_target}
        return {**study, **about, "plots": plots, "model": level}

    def roles(self, sensor: str) -> list[str]:
        """Bands that a sensor's rasters hold: those that predictors need, and of elevation always the elevation."""
        from catalogs.sensors import sensor_named
        from pipeline.optical.series import series_roles

        added = self.imagery.added_bands(sensor)
        asked = set(self.needs.roles.get(sensor_named(sensor).prefix, ()))
        needed = {role for band in asked for role in added.get(band, (band,))}
        if asked:
            prefix = sensor_named(sensor).prefix
            needed |= set(series_roles(self.study.sensors[sensor].series, prefix, self.imagery.seen_by.get(prefix)))
        return sorted(needed | set(sensor_named(sensor).roles if sensor_named(sensor).kind == "elevation" else ()))

    def composites(self, sensor: str, blocks: Iterable[str]) -> list[str]:
        """A sensor's rasters of some blocks."""
        return [
            f"{self.resources}/composite/{sensor}_{period}/{block}.tif"
            for block in blocks
            for period in self.imagery.periods(sensor)
        ]

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
                    **({"seen_by": self.imagery.seen_by[prefixes[name]]} if prefixes[name] in self.imagery.seen_by else {}),
                }
                for name, roles in used.items()
                if roles
            },
            "lidar_folder": (self.resources / "lidar").as_posix(),
            "campaign_of_year": {str(year): self.campaigns.nearest_to(year) for year in self.study.years},
            "seen": {str(year): self._seen(year, imagery) for year in self.study.years},
            "metrics": self.metrics,
            "halo_px": self.needs.halo_px,
        }

    @cached_property
    def used_sensors(self) -> list[str]:
        """Sensors that something is made of: those of predictors, and the elevation by which the slopes of these are lit."""
        used = list(self.sources["sensors"])
        lit_by = [self.imagery.elevation_sensor] if any(map(self.imagery.levels, used)) else []
        return list(dict.fromkeys([*used, *filter(None, lit_by)]))

    def _seen(self, year: int, satellites: bool) -> list[str]:
        """Dates of what shows a study year: its campaign, and both ends of each sensor's season."""
        from catalogs.search import first_day, last_day

        campaign = self.campaigns.nearest_to(year)
        dates = [self.study.lidar[campaign].date] if campaign else []
        for name in self.imagery.yearly if satellites else ():
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
        return notes_of(self)

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
        if problems := problems_of_settings(self):
            raise ValueError("\n".join(problems))

    def inspect(self) -> None:
        """As `prepare`; and open what others made and what is there already: lidar tiles, stands, tables of plots and trees.

        What was found right is not opened again until it, or what the study says of it, changes.

        Raises
        ------
        ValueError
            With one line per problem, each after the section of the study that it belongs to.
        """
        problems = problems_of_settings(self)
        if not any(problem.startswith("area") for problem in problems):
            problems += problems_of_files(self)
        if problems:
            raise ValueError("\n".join(dict.fromkeys(problems)))

    def remarks(self) -> list[str]:
        """Sentences on lidar tiles that stop no run but may surprise: call after `inspect`."""
        return remarks_of(self)

    # ------------------------------------------------------------ files that rules name

    @property
    def plot_files(self) -> list[str]:
        settings = self.study.plots
        codes = settings.species_codes if isinstance(settings.species_codes, str) else None
        named = (
            settings.file, settings.corners, settings.trees, settings.height_pairs, settings.wood_density, settings.fixes, codes,
        )  # fmt: skip
        tables = [part for path in named if path for part in with_sidecars(path)]
        named = [*listed(settings.allometry), settings.groups or "", settings.carbon_fractions or "", settings.expansion or ""]
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
                for period in self.imagery.periods(sensor)
                for block in self.blocks
            ]
            for sensor in self.used_sensors
        }

    @property
    def slope_files(self) -> list[str]:
        """What was found of the light on slopes, of each sensor and year that is corrected."""
        lit = [sensor for sensor in self.used_sensors if self.imagery.levels(sensor)]
        return [
            f"{self.resources}/topography/{sensor}_{period}.json" for sensor in lit for period in self.imagery.periods(sensor)
        ]

    @property
    def said_files(self) -> list[str]:
        """What steps warned of, for the report."""
        slopes = [f"topography_{Path(file).stem}" for file in self.slope_files]
        steps = [*(f"search_{sensor}" for sensor in self.used_sensors), *slopes, "plots", "stands"]
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
            years = list(range(int(period) - self.imagery.years_looked_back(sensor), int(period) + 1))

        def touching() -> list[dict]:
            found = _json(frozen, frozen.stat().st_mtime_ns)
            return [item for year in years for item in items_touching(found, year, bounds)]

        return or_why_not(lambda: digest(touching()))

    # ------------------------------------------------------------ slopes

    def levelling_files(self, wildcards: Any) -> dict[str, Any]:
        """What a composite needs to correct slopes: the c of its scenes, and the elevation of the block and around it."""
        if not self.imagery.levels(wildcards.sensor):
            return {}
        near = self.grid.blocks_touching(self._widened(wildcards.block, 1))
        return {
            "topography": f"{self.resources}/topography/{wildcards.sensor}_{wildcards.year}.json",
            "relief": self.composites(self.imagery.elevation_sensor, near),
        }

    @property
    def elevation_files(self) -> list[str]:
        """The elevation of the whole study; none where it has no elevation model."""
        return self.composites(self.imagery.elevation_sensor, self.blocks) if self.imagery.elevation_sensor else []

    def scenes_of_year(self, sensor: str, year: str) -> str:
        """Digest of the frozen scenes that a year's composites read, wherever they lie."""
        return digest([self.scenes_touching(sensor, year, block) for block in self.blocks])

    def stands_touching(self, block: str) -> str:
        """Digest of the stands that touch a block, or what its forest definition sees around it."""
        halo = self._forest_halo_px if self.study.forest.source == "stands" else 0
        bounds = self.grid.bounds_of(self._widened(block, halo))
        return or_why_not(lambda: within_reach(self.stand_entries(), bounds))

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

        return or_why_not(lambda: self._kept_index(f"patches_{target}", [*files, *tables], index)[0]["digest"])

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

    def stand_entries(self) -> list[dict] | None:
        settings = self.study.stands
        if settings.file is None:
            return []
        files = files_of(settings.file, ())
        if not files:
            return None

        def index() -> list[dict]:
            from catalogs.stands import index_stands

            return index_stands(settings.model_dump(mode="json"), crs=self.grid.crs, bounds=self.grid.bounds)

        return self._kept_index("stands", files, index)

    def _kept_index(self, name: str, files: list[Path], index: Callable[[], list[dict]]) -> list[dict]:
        """An index of what the stands say, kept until they, the area, or a file changes."""
        about = [self.settings("stands"), self.area_settings]
        return kept_index(self.resources / "index" / f"{name}.json", about, files, index)


def _all_names(sets: dict[str, list[str]]) -> list[str]:
    return [name for names in sets.values() for name in names]



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
