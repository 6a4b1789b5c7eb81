"""Between Snakemake and the steps: what each rule is given, and how a job runs. The only code that knows Snakemake."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import importlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.config import TARGETS, Study
from pipeline.features import default_predictors, required
from pipeline.grid import Grid, Window
from pipeline.products import Product, products_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "models", "catalogs")
LARGEST_PX = 20_000 * 20_000
"""Above this many pixels a map is published as block COGs under a VRT: one file of it would not open comfortably."""


class Plan:
    """A study as rules see it: paths, plain params and digests of what touches a block."""

    def __init__(self, study: Study) -> None:
        self.study = study
        for module in study.plugins:
            importlib.import_module(module)
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
    def blocks(self) -> list[str]:
        return self.grid.blocks()

    @cached_property
    def products(self) -> dict[str, Product]:
        return products_of(self.study)

    @cached_property
    def predictor_sets(self) -> dict[str, list[str]]:
        chosen = self.study.model.predictors or default_predictors(self.offered_roles, lidar=bool(self.study.lidar))
        return {name: list(names) for name, names in chosen.items()}

    @cached_property
    def needs(self):
        """Roles per sensor prefix, lidar metrics and halo that the predictors need."""
        names = [name for names in self.predictor_sets.values() for name in names]
        return required(names, self.offered_roles, metrics=None if self.study.lidar else ())

    @cached_property
    def offered_roles(self) -> dict[str, tuple[str, ...]]:
        """Band roles by predictor prefix of the study's sensors."""
        from catalogs.sensors import offered_roles

        return offered_roles(self.study.sensors)

    def settings(self, section: str, key: str | None = None) -> dict:
        """A section of the configuration (or one entry of it) as plain values."""
        part = getattr(self.study, section)
        return (part[key] if key is not None else part).model_dump(mode="json")

    def sensor_years(self, sensor: str) -> list[int]:
        return list(self.study.sensors[sensor].years or self.study.years)

    def roles(self, sensor: str) -> list[str]:
        from catalogs.sensors import SENSORS

        return sorted(self.needs.roles.get(SENSORS[sensor].prefix, ()))

    @cached_property
    def metrics(self) -> list[str]:
        """Lidar metrics that any predictor or the forest definition needs."""
        extra = {"zq95", "cover_2m"} if self.study.forest.source == "canopy" else set()
        return sorted(set(self.needs.metrics) | extra)

    @cached_property
    def sources(self) -> dict:
        """Where predictors of each study year are read from, as `steps.windows.read_predictors` takes it."""
        from catalogs.sensors import SENSORS

        used = {name: self.roles(name) for name in self.study.sensors}
        return {
            "sensors": {
                name: {
                    "folder": (self.resources / "composite").as_posix(),
                    "prefix": SENSORS[name].prefix,
                    "roles": roles,
                }
                for name, roles in used.items()
                if roles
            },
            "lidar_folder": (self.resources / "lidar").as_posix(),
            "campaign_of_year": {str(year): self._campaign_of(year) for year in self.study.years},
            "seen": {str(year): self._seen(year, bool(any(used.values()))) for year in self.study.years},
            "metrics": self.metrics,
            "halo_px": self.needs.halo_px,
        }

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
        """Dates of what shows a study year: its campaign, and the end of each sensor's season."""
        campaign = self._campaign_of(year)
        dates = [self.study.lidar[campaign].date.isoformat()] if campaign else []
        return dates + [f"{year}-{sensor.season[1]}" for sensor in self.study.sensors.values() if satellites]

    @cached_property
    def carbon(self) -> dict:
        pools = self.study.pools
        factor = pools.expansion_factor_mg_m3 if self.study.stock_target == "volume" else 1.0
        return {
            "root_shoot": pools.root_shoot,
            "carbon_fraction": pools.carbon_fraction,
            "biomass_per_target": factor or 1.0,
        }

    @cached_property
    def targets(self) -> dict[str, dict]:
        return {target: TARGETS[target] for target in self.study.targets}

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
        if not study.sensors:
            notes.append("No satellite sensor: there is no estimate where no lidar was flown.")
        if study.lidar:
            notes += [
                f"No lidar within {study.plots.max_years_apart:g} years of {year}: that year rests on satellite images alone."
                for year in study.years
                if self._campaign_of(year) is None and study.sensors
            ]
        if study.stock_target is None:
            notes.append("Neither biomass nor volume is a target: no carbon is computed.")
        if study.forest.source == "everywhere":
            notes.append("No forest definition is set: every pixel is treated as forest, fields and water too.")
        if "lidar" in self.predictor_sets and any(c.leaf == "off" for c in study.lidar.values()):
            leaf = {campaign.leaf for campaign in study.lidar.values()}
            if len(leaf) > 1:
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

    # ------------------------------------------------------------ files that rules name

    def prepare(self) -> None:
        """Check what can be checked before the first job: the grid, the predictors, and that every file named is there.

        Raises
        ------
        ValueError, FileNotFoundError
            With one line per problem.
        """
        if not self.grid.blocks():
            raise ValueError("area: the area has no pixel at this resolution")
        assert self.needs, "predictor names are checked by asking what they need"
        if missing := self.missing_files():
            raise FileNotFoundError("\n".join(missing))

    def missing_files(self) -> list[str]:
        """A sentence for every file or folder of the configuration that is not there."""
        problems = []
        for key, path in _paths_in(self.study.model_dump(), ""):
            planted = self.study.planted and Path(path).is_relative_to(self.resources / "planted")
            if not planted and not Path(path).exists():
                problems.append(f"{key}: {path} does not exist")
        return problems

    @cached_property
    def area_settings(self) -> dict:
        """The grid without its cutting: what does not depend on chunks and blocks is not rerun when they change."""
        cutting = {"chunk_px", "block_chunks"}
        return {name: value for name, value in self.grid_settings.items() if name not in cutting}

    def settings_of_all(self, section: str) -> dict:
        return {name: part.model_dump(mode="json") for name, part in getattr(self.study, section).items()}

    def composite_settings(self, sensor: str) -> dict:
        """What makes a composite of frozen scenes; where they were found does not matter any more."""
        return {
            name: value
            for name, value in self.settings("sensors", sensor).items()
            if name not in ("catalog", "collection")
        }

    @cached_property
    def model_settings(self) -> dict:
        return self.settings("model") | {"date_effect": self.date_effect}

    def plain_product(self, product: str) -> dict:
        return asdict(self.products[product])

    def local_catalog(self, wildcards: Any) -> list[str]:
        catalog = self.study.sensors[wildcards.sensor].catalog
        return [] if "://" in catalog else [catalog]

    def campaign_files(self, wildcards: Any) -> list[str]:
        settings = self.study.lidar[wildcards.campaign]
        source = settings.points or settings.canopy_height
        return list(source) if isinstance(source, tuple) else [str(source)]

    @property
    def all_campaign_files(self) -> list[str]:
        found = []
        for settings in self.study.lidar.values():
            source = settings.points or settings.canopy_height
            found += list(source) if isinstance(source, tuple) else [str(source)]
        return found

    @property
    def plot_files(self) -> list[str]:
        settings = self.study.plots
        named = (settings.file, settings.corners, settings.trees, settings.height_pairs, settings.wood_density)
        tables = [path for path in named if path]
        return tables + ([settings.allometry] if settings.allometry.endswith(".csv") else [])

    def predictor_files(self, blocks: Iterable[str]) -> list[str]:
        """Composite and lidar files of some blocks, of every study year."""
        found = []
        for block in blocks:
            for sensor in self.sources["sensors"]:
                found += [f"{self.resources}/composite/{sensor}_{year}/{block}.tif" for year in self.study.years]
            if self.metrics:
                campaigns = sorted({name for name in self.sources["campaign_of_year"].values() if name})
                found += [f"{self.resources}/lidar/{campaign}/{block}.tif" for campaign in campaigns]
        return found

    @property
    def all_predictor_files(self) -> list[str]:
        return self.predictor_files(self.blocks)

    @property
    def stand_files(self) -> list[str]:
        return [self.study.stands.file] if self.study.stands.file else []

    @property
    def forest_files(self) -> list[str]:
        return [self.study.forest.files[year] for year in self.study.years if year in self.study.forest.files]

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
    def training_files(self) -> dict[str, str]:
        return self._per_target("training", "training/{target}.parquet")

    @property
    def scene_files(self) -> dict[str, str]:
        return {
            f"scenes__{sensor.replace('-', '__dash__')}": f"{self.resources}/scenes/{sensor}.json"
            for sensor in self.sources["sensors"]
        }

    @property
    def published_maps(self) -> dict[str, str]:
        return {f"maps__{name}": f"{self.results}/maps/{name}{self.map_suffix}" for name in self.products}

    def made(self, *parts: str) -> list[str]:
        """The notes of what was planted, where the study is planted: see rules/planted.smk."""
        return [f"{self.resources}/planted/made/{part}.json" for part in parts] if self.study.planted else []

    @property
    def truth_files(self) -> dict[str, str]:
        return {"truth": f"{self.resources}/planted/truth"} if self.study.planted else {}

    # ------------------------------------------------------------ what touches a block

    def near(self, block: str) -> list[str]:
        """The block and the neighbours whose pixels its predictors' halo (or the forest definition) reads."""
        halo = self.needs.halo_px
        if self.study.forest.source == "canopy":
            halo = max(halo, int(self.study.forest.min_area_ha / self.grid.pixel_ha + 1))
        place = self.grid.block_window(block)
        return self.grid.blocks_touching(
            Window(place.row0 - halo, place.row1 + halo, place.col0 - halo, place.col1 + halo)
        )

    def scenes_touching(self, sensor: str, year: int, block: str) -> str:
        """Digest of the frozen scenes of a year that touch a block; `not searched yet` before the search."""
        frozen = self.resources / "scenes" / f"{sensor}.json"
        if not frozen.exists():
            return "not searched yet"
        from catalogs.search import items_touching

        bounds = self.grid.bounds_of(self.grid.block_window(block))
        return _digest(items_touching(_json(frozen, frozen.stat().st_mtime_ns), year, bounds))

    def tiles_touching(self, campaign: str, block: str) -> str:
        """Digest of the lidar tiles within reach of a block, by content; `not there yet` before they are made."""
        reach = self.study.lidar[campaign].buffer_m
        west, south, east, north = self.grid.bounds_of(self.grid.block_window(block))
        entries = self._tile_entries(campaign)
        if entries is None:
            return "not there yet"
        return _digest(_touching(entries, (west - reach, south - reach, east + reach, north + reach)))

    def stands_touching(self, block: str) -> str:
        """Digest of the stands that touch a block; `not there yet` before the file exists."""
        entries = self._stand_entries()
        if entries is None:
            return "not there yet"
        return _digest(_touching(entries, self.grid.bounds_of(self.grid.block_window(block))))

    def _tile_entries(self, campaign: str) -> list[dict] | None:
        settings = self.study.lidar[campaign]
        source = settings.points or settings.canopy_height
        files = _files_of(source, (".las", ".laz") if settings.points else (".tif", ".tiff", ".vrt"))
        if not files:
            return None

        def index() -> list[dict]:
            from catalogs.lidar import index_canopy, index_tiles

            if settings.points:
                tiles = index_tiles(_plain_source(source), crs=settings.crs)
            else:
                tiles = [index_canopy(str(source), crs=settings.crs)]
            return [
                {
                    "id": tile.path,
                    "bounds": _bounds_in(tile.bounds, settings.crs or tile.crs, self.study.area.crs),
                    "digest": tile.fingerprint,
                }
                for tile in tiles
            ]

        return self._cached(f"lidar_{campaign}", files, settings.model_dump(mode="json"), index)

    def _stand_entries(self) -> list[dict] | None:
        settings = self.study.stands
        if settings.file is None:
            return []
        files = _files_of(settings.file, ())
        if not files:
            return None

        def index() -> list[dict]:
            from catalogs.stands import index_stands

            return index_stands(settings.model_dump(mode="json"), crs=self.grid.crs, bounds=self.grid.bounds)

        return self._cached("stands", files, settings.model_dump(mode="json"), index)

    def _cached(self, name: str, files: list[Path], settings: dict, index: Callable[[], list[dict]]) -> list[dict]:
        """An index of foreign files, made again only when size or time of one of them changed."""
        key = _digest(
            [settings, self.study.area.crs, [(f.as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files]]
        )
        cache_file = self.resources / "index" / f"{name}.json"
        if cache_file.exists():
            kept = json.loads(cache_file.read_text())
            if kept["key"] == key:
                return kept["entries"]
        entries = json.loads(json.dumps(index()))
        from pipeline import store

        store.write_json(cache_file, {"key": key, "entries": entries})
        return entries


PATH_KEYS = {"file", "corners", "trees", "height_pairs", "wood_density", "points", "canopy_height", "catalog", "files"}


def _paths_in(part: Any, place: str) -> Iterable[tuple[str, str]]:
    """Dotted key and path of every local file that a configuration names."""
    for key, value in part.items():
        dotted = f"{place}.{key}" if place else str(key)
        inside = value.values() if isinstance(value, dict) and key in PATH_KEYS else value
        if key in PATH_KEYS and value:
            for path in [inside] if isinstance(inside, str) else inside:
                if "://" not in path:
                    yield dotted, path
        elif key == "allometry" and value.endswith(".csv"):
            yield dotted, value
        elif isinstance(value, dict):
            yield from _paths_in(value, dotted)


def _plain_source(source: Any) -> Any:
    return list(source) if isinstance(source, tuple) else source


def _files_of(source: Any, endings: tuple[str, ...]) -> list[Path]:
    """The local files behind a setting: the file, the files of a folder, or a list of files; empty when none is there."""
    paths = [Path(part) for part in (source if isinstance(source, tuple) else (source,))]
    found = []
    for path in paths:
        if path.is_dir():
            found += [file for file in path.rglob("*") if file.suffix.lower() in endings]
        elif path.exists():
            found.append(path)
    return sorted(found)


def _touching(entries: Iterable[dict], bounds: tuple[float, float, float, float]) -> list[list]:
    west, south, east, north = bounds
    return sorted(
        [entry["id"], entry["digest"]]
        for entry in entries
        if entry["bounds"][0] < east
        and entry["bounds"][2] > west
        and entry["bounds"][1] < north
        and entry["bounds"][3] > south
    )


def _bounds_in(bounds: tuple[float, float, float, float], source: str | None, target: str) -> list[float]:
    from pyproj import CRS, Transformer

    if source is None or CRS.from_user_input(source).to_2d() == CRS.from_user_input(target):
        return list(bounds)
    return list(Transformer.from_crs(source, target, always_xy=True).transform_bounds(*bounds))


def _extent_of(file: str | None, crs: str) -> tuple[float, float, float, float]:
    import geopandas as gpd

    if file is None or not Path(file).exists():
        raise FileNotFoundError(f"area.file: {file} does not exist")
    shapes = gpd.read_file(file)
    if shapes.crs is None:
        raise ValueError(f"area.file: {file} has no coordinate reference system")
    return tuple(float(value) for value in shapes.to_crs(crs).total_bounds)


@cache
def _json(path: Path, _changed: int) -> dict:
    return json.loads(path.read_text())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- code digests


@cache
def code(step: str, plugins: tuple[str, ...] = ()) -> str:
    """Digest of a step's module and of every module of ours that it imports, however deep."""
    seen: dict[str, str] = {}
    waiting = [f"pipeline.steps.{step}", *plugins]
    while waiting:
        module = waiting.pop()
        path = _module_file(module)
        if path is None or module in seen:
            continue
        text = path.read_text(encoding="utf-8")
        seen[module] = hashlib.sha256(text.encode()).hexdigest()
        waiting += _imports(text, module, is_package=path.name == "__init__.py")
    return _digest(sorted(seen.items()))


def _module_file(module: str) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        spec_path = ROOT / (module.replace(".", "/") + ".py")
        return spec_path if spec_path.exists() else None
    base = ROOT / module.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


def _imports(text: str, module: str, *, is_package: bool) -> list[str]:
    """Dotted names of our modules that a module's text imports, at its top or inside functions."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts if is_package else parts[:-1]
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    ours = [name for name in found if name.split(".")[0] in PACKAGES]
    return ours + [".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 1)]


# ---------------------------------------------------------------- running a job

NOT_FOR_STEPS = ("code", "touching")
"""Params that only decide about reruns."""


def run_step(job: Any) -> None:
    """Run the step a Snakemake `script:` job names, with its inputs, outputs, params and wildcards as keywords.

    Names such as `maps__agb_2019` are gathered into mappings: `maps={"agb_2019": ...}`. A user's mistake ends the job
    with one sentence (also kept for `onerror`) and exit code 1; any other error keeps its traceback.
    """
    _end_with_parent()
    log_file = Path(job.log[0]) if job.log else None
    _log_to(log_file)
    step = getattr(importlib.import_module(f"pipeline.steps.{step_module(job.rule)}"), job.rule)
    keywords = _gathered({**_named(job.input), **_named(job.output)}, Path)
    keywords |= _gathered({name: value for name, value in job.params.items() if name not in NOT_FOR_STEPS}, _thawed)
    for name, value in job.wildcards.items():
        keywords.setdefault(name, int(value) if name == "year" else value)
    try:
        step(**_known(step, keywords))
    except (ValueError, FileNotFoundError, PermissionError) as error:
        logging.getLogger(step.__module__).debug("the step stopped", exc_info=True)
        sentence = f"{job.rule}: {' '.join(str(error).split())}"
        logging.getLogger("forestsink").error(sentence)
        mistake_file(os.environ.get("FORESTSINK_RUN", "run")).write_text(sentence + "\n", encoding="utf-8")
        sys.exit(1)


def step_module(rule: str) -> str:
    """The module of a rule's step; the rules that plant a study share one."""
    return "planted" if rule.startswith("plant_") else rule


def mistake_file(run: str) -> Path:
    """Where a job leaves its last sentence for the process that started it."""
    folder = Path(".snakemake") / "forestsink"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{run}.txt"


def _known(step: Callable, keywords: dict) -> dict:
    """Keywords that a step takes; a step with `**` takes them all."""
    import inspect

    parameters = inspect.signature(step).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return keywords
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in keywords.items() if name in names}


def _named(files: Any) -> dict:
    return {name: value for name, value in files.items()}


def _gathered(values: Mapping[str, Any], convert: Callable) -> dict:
    gathered: dict[str, Any] = {}
    for name, value in values.items():
        many = isinstance(value, list | tuple) or (not isinstance(value, str) and hasattr(value, "_names"))
        converted = [convert(part) for part in value] if many and convert is Path else convert(value)
        group, _, key = name.partition("__")
        if key:
            gathered.setdefault(group, {})[key.replace("__dash__", "-")] = converted
        else:
            gathered[name] = converted
    return gathered


def _thawed(value: Any) -> Any:
    """Snakemake hands mappings and lists over as they are; a `Namedlist` becomes a list."""
    return list(value) if hasattr(value, "_names") else value


def _log_to(path: Path | None) -> None:
    """One line per event on the terminal, all detail in the job's log file."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if path else logging.INFO)
    for name in (
        "rasterio",
        "fiona",
        "matplotlib",
        "numba",
        "urllib3",
        "pyogrio",
        "botocore",
        "PIL",
        "asyncio",
        "fsspec",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("  %(message)s"))
    root.addHandler(console)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        detail = logging.FileHandler(path, mode="w", encoding="utf-8")
        detail.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(detail)


def _end_with_parent() -> None:
    """A job ends when the workflow that started it is gone, killed or not: nobody is left to want its result."""
    main = os.environ.get("FORESTSINK_MAIN", "")
    host, _, number = main.rpartition(":")
    if not number or host != socket.gethostname():
        return

    def watch() -> None:
        while True:
            time.sleep(1.0)
            try:
                os.kill(int(number), 0)
            except OSError:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def hold(folder: Path) -> Any:
    """Hold a study's folder for this process; the operating system lets go of it however the process ends.

    Raises
    ------
    RuntimeError
        When another run holds it.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = open(folder / ".run.lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RuntimeError(f"another run is working in {folder}; wait for it or stop it") from None
    return handle
