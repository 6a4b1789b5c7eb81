"""The configuration of a study: one frozen `Study`, checked as a whole before the first job."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from catalogs.planted.settings import Planting

TARGETS: dict[str, dict[str, str]] = {
    "agb": {"column": "agb_mg_ha", "units": "Mg/ha", "title": "Aboveground biomass"},
    "volume": {"column": "volume_m3_ha", "units": "m3/ha", "title": "Stem volume"},
    "basal_area": {"column": "basal_area_m2_ha", "units": "m2/ha", "title": "Basal area"},
    "dominant_height": {"column": "dominant_height_m", "units": "m", "title": "Dominant height"},
    "stems": {"column": "stems_n_ha", "units": "1/ha", "title": "Stem number"},
}
"""What a plot can carry and a study can map: plot-table column, unit and title per target."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _expand(value: Any) -> Any:
    """A path with `${VARIABLE}` filled from the environment; an unset variable is a mistake of its own."""
    if not isinstance(value, str):
        return value
    for variable in re.findall(r"\$\{(\w+)\}", value):
        if not os.environ.get(variable):
            held = value.split(f"${{{variable}}}", 1)[1].strip("/").split("/")[0]
            raise ValueError(
                f"{value!r} is under the folder named by the environment variable {variable}, which is not set"
                + (f"; set it to the folder that holds {held!r}" if held else "")
            )
    return os.path.expandvars(value)


def _expand_each(value: Any) -> Any:
    """One path or a list of paths, each with its variables filled."""
    parts = value if isinstance(value, list | tuple) else [value]
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"a path or a list of paths is needed, got {value!r}")
    return tuple(_expand(part) for part in parts) if parts is value else _expand(value)


FilePath = Annotated[str, BeforeValidator(_expand)]
FilePaths = Annotated[str | tuple[str, ...], BeforeValidator(_expand_each)]


def _as_date(value: Any) -> Any:
    """A bare year means its first of July, the middle of the growing season of most studies."""
    if isinstance(value, int) and not isinstance(value, bool):
        return dt.date(value, 7, 1)
    if isinstance(value, str) and re.fullmatch(r"\d{4}", value):
        return dt.date(int(value), 7, 1)
    return value


Date = Annotated[dt.date, BeforeValidator(_as_date)]


def _text_keys(value: Any) -> Any:
    """Codes as text: YAML takes an unquoted 1 for a number, and a code is a name."""
    return {str(key): meaning for key, meaning in value.items()} if isinstance(value, dict) else value


Codes = Annotated[dict[str, str], BeforeValidator(_text_keys)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Area(Section):
    """Where: bounds in a projected CRS, or a vector file whose extent is taken."""

    crs: str
    bounds: tuple[float, float, float, float] | None = None
    file: FilePath | None = None
    resolution_m: float = Field(gt=0)
    chunk_px: int = Field(512, ge=8)
    block_chunks: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _bounds_or_file(self) -> Area:
        if (self.bounds is None) == (self.file is None):
            raise ValueError("give either bounds (west, south, east, north in the CRS) or file, not both or none")
        if self.bounds is not None and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise ValueError(
                f"bounds must be west, south, east, north with west < east and south < north, got {list(self.bounds)}"
            )
        return self

    @field_validator("crs")
    @classmethod
    def _projected(cls, value: str) -> str:
        from pyproj import CRS
        from pyproj.exceptions import CRSError

        try:
            crs = CRS.from_user_input(value)
        except CRSError:
            raise ValueError(f"{value!r} is not a coordinate reference system that PROJ knows") from None
        if not crs.is_projected:
            raise ValueError(
                f"{value} is geographic (degrees); areas and distances need a projected CRS in metres, such as the UTM zone"
            )
        if abs(crs.axis_info[0].unit_conversion_factor - 1.0) > 1e-9:
            raise ValueError(
                f"{value} has the unit {crs.axis_info[0].unit_name!r}; a projected CRS in metres is needed"
            )
        return value


class Sensor(Section):
    """One satellite sensor of the study: where its scenes come from and how a year becomes one image."""

    catalog: FilePath
    collection: str | None = None
    years: tuple[int, ...] | None = None
    season: tuple[str, str] = ("01-01", "12-31")
    max_cloud_percent: float = Field(80.0, ge=0, le=100)
    check_radiometry: bool = True
    cloud_dilation_m: float | None = Field(None, ge=0, le=2000)
    mask_water: bool = False
    reducer: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = "median"
    min_clear_count: int = Field(1, ge=1)
    max_scenes: int | None = Field(None, ge=1)
    target_day: str | None = None
    upsampling: Literal["bilinear", "nearest"] = "bilinear"
    harmonise: Literal["none", "oli", "oli_ols"] = "none"
    topographic: Literal["none", "c", "scs_c"] = "none"
    series: dict[Name, tuple[Name, ...]] = {}
    series_years: int = Field(1, ge=1, le=50)
    orbit: Literal["auto", "both", "ascending", "descending"] = "auto"
    speckle: Name = "multitemporal"
    on_scene_error: Literal["drop", "fail"] = "fail"
    private_hosts: tuple[str, ...] = ()
    data_folders: tuple[FilePath, ...] = ()

    @field_validator("season")
    @classmethod
    def _month_days(cls, value: tuple[str, str]) -> tuple[str, str]:
        for day in value:
            try:
                dt.date.fromisoformat(f"2020-{day}")
            except ValueError:
                raise ValueError(f"{day!r} is not a month and day such as 06-01") from None
        return value

    @field_validator("target_day")
    @classmethod
    def _month_day(cls, value: str | None) -> str | None:
        return value if value is None else cls._month_days((value, value))[0]

    @property
    def reducers(self) -> tuple[str, ...]:
        """The names of its reducers; the first makes the bands that carry a role's plain name."""
        return (self.reducer,) if isinstance(self.reducer, str) else self.reducer


class Roots(Section):
    """How plots get their roots: not at all, by equations, by the continuous function, or by the IPCC 2019 ratios of a zone."""

    by: Literal["none", "equations", "continuous", "table"] = "none"
    per: Literal["plot", "stratum"] = "stratum"
    zone: str | None = None
    continent: str | None = None
    origin: Literal["natural", "planted"] = "natural"
    forest_type: str = "all"

    @model_validator(mode="after")
    def _zone_of_a_table(self) -> Roots:
        if self.by == "table" and not (self.zone and self.continent):
            raise ValueError("by: table needs zone and continent, such as zone: subtropical humid, continent: asia")
        return self


class Cloth(Section):
    """How the cloth of `classify_ground: csf` hangs; see docs/how-to/lidar-data.md for what was measured."""

    resolution_m: float = Field(0.5, gt=0)
    rigidness: Literal[1, 2, 3] = 1
    threshold_m: float = Field(0.5, gt=0)


class CanopyProducts(Section):
    """Canopy height model, tree tops and crowns of a campaign; see docs/methods/lidar.md."""

    surface: Literal["pit_free", "highest"] = "pit_free"
    longest_edge_m: float = Field(1.0, gt=0)
    min_height_m: float = Field(2.0, gt=0)
    search_radius_m: float = Field(0.4, ge=0)
    search_radius_per_m: float = Field(0.06, ge=0, le=1)
    max_crown_radius_m: float = Field(12.0, gt=0, le=100)


def _on_or_off(value: Any) -> Any:
    """`true` asks for a section as it is by itself, `false` for none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Campaign(Section):
    """One airborne campaign: point tiles, or a canopy height raster in their place."""

    points: FilePaths | None = None
    canopy_height: FilePath | None = None
    date: Date
    crs: str | None = None
    vertical_unit: Literal["m", "ft", "us-ft"] = "m"
    leaf: Literal["on", "off"] = "on"
    ground_classes: tuple[int, ...] = (2,)
    buffer_m: float = Field(30.0, ge=0)
    max_height_m: float = Field(80.0, gt=0)
    min_covered_percent: float = Field(50.0, ge=0, le=100)
    chm_resolution_m: float = Field(1.0, gt=0)
    max_days_apart: int = Field(400, ge=0)
    heights: Literal["elevation", "normalised"] = "elevation"
    drop_overlap: bool = False
    thin_to_pts_m2: float | None = Field(None, gt=0)
    thin_seed: int = Field(0, ge=0, lt=2**32)
    classify_ground: Literal["csf"] | None = None
    cloth: Cloth = Cloth()
    catalog: str | None = None
    collection: str | None = None
    items: str | None = None
    private_hosts: tuple[str, ...] = ()
    data_folders: tuple[FilePath, ...] = ()
    sampling: Literal["probability", "purposive"] = "purposive"
    canopy_products: Annotated[CanopyProducts | None, BeforeValidator(_on_or_off)] = None

    @model_validator(mode="after")
    def _ground_only_where_needed(self) -> Campaign:
        if self.classify_ground and (self.canopy_height or self.heights == "normalised"):
            raise ValueError(
                "classify_ground finds the ground of points that have elevations; a canopy height raster and normalised "
                "points need none, so leave it out"
            )
        if self.classify_ground and 2 not in self.ground_classes:
            raise ValueError(
                f"classify_ground gives ground the class 2, which ground_classes {list(self.ground_classes)} leaves out"
            )
        points_only = {"thin_to_pts_m2", "drop_overlap", "heights"} & self.model_fields_set
        if self.canopy_height and points_only:
            raise ValueError(f"{', '.join(sorted(points_only))} of a canopy height raster: only points have that setting")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Campaign:
        if sum(source is not None for source in (self.points, self.canopy_height, self.catalog)) != 1:
            raise ValueError(
                "give either points (a folder or files of LAS/LAZ), canopy_height (a raster) or catalog (a STAC API with its "
                "collection), not several or none"
            )
        if (self.catalog is None) != (self.collection is None) or (self.items and not self.catalog):
            raise ValueError(
                "catalog (a STAC API) and collection (such as 3dep-lidar-copc) belong together, and items is a pattern for the "
                "ids of its items"
            )
        return self


class Visit(Section):
    """One date of a table that has a row per plot (or tree) and columns per date."""

    date: Date
    columns: Annotated[dict[str, str], Field(min_length=1)]


class Circle(Section):
    """One circle of nested plots: the trees from a dbh on that are counted in a radius, on an area or by an angle."""

    min_dbh_cm: float = Field(0.0, ge=0)
    radius_m: float | None = Field(None, gt=0)
    area_ha: float | None = Field(None, gt=0)
    baf_m2_ha: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_way_of_counting(self) -> Circle:
        if sum(value is not None for value in (self.radius_m, self.area_ha, self.baf_m2_ha)) != 1:
            raise ValueError("give one of radius_m, area_ha and baf_m2_ha (basal area factor of an angle count)")
        return self


class Plots(Section):
    """Field plots: one table of plots (and dates), with tree lists or with the targets already in it."""

    file: FilePath | None = None
    layer: str | None = None
    corners: FilePath | None = None
    subplot_m: float | None = Field(None, gt=0)
    trees: FilePath | None = None
    crs: str | None = None
    date: Date | None = None
    date_order: Literal["day_first", "month_first"] | None = None
    columns: dict[str, str | tuple[str, ...]] = {}
    units: dict[str, str] = {}
    visits: tuple[Visit, ...] = ()
    header_row: int = Field(1, ge=1)
    tree_layer: str | None = None
    tree_header_row: int = Field(1, ge=1)
    tree_columns: dict[str, str | tuple[str, ...]] = {}
    tree_units: dict[str, str] = {}
    tree_visits: tuple[Visit, ...] = ()
    tree_numbers: Literal["lasting", "per_visit"] = "lasting"
    encoding: str | None = None
    status_codes: Annotated[
        dict[str, Literal["live", "dead", "stump", "gone", "unseen"]], BeforeValidator(_text_keys)
    ] = {}
    plot_status_codes: Annotated[
        dict[str, Literal["measured", "no_forest", "not_measured"]], BeforeValidator(_text_keys)
    ] = {}
    species_codes: FilePath | Codes | None = None
    fixes: FilePath | None = None
    fix_columns: dict[str, str] = {}
    fix_position: Literal["mean", "median"] = "mean"
    radius_m: float | None = Field(None, gt=0)
    area_ha: float | None = Field(None, gt=0)
    nested: tuple[Circle, ...] = ()
    distances: Literal["horizontal", "along_slope"] = "horizontal"
    sampling: Literal["probability", "purposive"] = "purposive"
    rules: dict[str, Literal["keep", "leave_out", "leave_out_plot", "fail"]] = {}
    allometry: FilePaths = "chave2014_with_height_by_site"
    region: str | None = None
    groups: FilePath | None = None
    environment_e: float | None = None
    expansion: FilePath | None = None
    expansion_per: Literal["plot", "stratum"] = "stratum"
    carbon_fractions: FilePath | None = None
    roots: Roots = Roots()
    errors: Literal["first_order", "monte_carlo"] = "first_order"
    iterations: int = Field(1000, ge=50, le=100_000)
    seed: int = Field(0, ge=0, lt=2**32)
    height_by: Literal["study", "stratum", "species"] = "study"
    wood_density: FilePath | None = None
    height_pairs: FilePath | None = None
    height_columns: dict[str, str] = {}
    height_units: dict[str, str] = {}
    height_model: Literal["auto", "michailoff", "naslund", "weibull", "loglog1", "loglog2"] = "michailoff"
    min_dbh_cm: float = Field(0.0, ge=0)
    max_dbh_cm: float = Field(400.0, gt=0)
    unknown_species: Literal["fail", "default"] = "fail"
    max_extrapolated_percent: float | None = Field(None, ge=0, le=100)
    max_years_apart: float = Field(1.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _sheets(cls, given: Any) -> Any:
        """`book.xlsx:sheet`, as the sheet's verb takes it, is a file and its layer."""
        if not isinstance(given, dict):
            return given
        given = dict(given)
        for file, layer in (("file", "layer"), ("trees", "tree_layer")):
            named = re.fullmatch(r"(.+\.(?:xlsx|xlsm)):(.+)", str(given.get(file)), re.IGNORECASE)
            if named and given.get(layer) not in (None, named[2]):
                raise ValueError(f"{file} names the sheet {named[2]} and {layer} the sheet {given[layer]}; leave one of them out")
            if named:
                given |= {file: named[1], layer: named[2]}
        return given

    @model_validator(mode="after")
    def _positions(self) -> Plots:
        if (self.file is None) == (self.corners is None):
            raise ValueError(
                "give either file (a table of plots) or corners (plot corners in the site frame and on the map), not both or none"
            )
        if self.corners is not None and self.trees is None:
            raise ValueError("corners place trees of a tree list: trees is missing")
        if self.corners is None and self.subplot_m is not None:
            raise ValueError("subplot_m cuts plots given by corners: corners is missing")
        return self


class StandRecord(Section):
    """A stand inventory: a column of the stand layer that says a target per hectare, with its error."""

    target: Name = "agb"
    column: str
    year: int
    se_column: str | None = None
    error_percent: float | None = Field(None, gt=0)
    unbiased: bool = False
    bias_percent: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _stated_error(self) -> StandRecord:
        if (self.se_column is None) == (self.error_percent is None):
            raise ValueError(
                "give either se_column (standard error per hectare) or error_percent (standard error in percent of the value): "
                "a number without an error cannot be weighed"
            )
        if self.unbiased and self.bias_percent is not None:
            raise ValueError("unbiased: true and bias_percent contradict each other; leave one out")
        return self


class Stands(Section):
    """Management polygons: a vector file, or a square grid that the study lays out itself."""

    file: FilePath | None = None
    layer: str | None = None
    id: str | tuple[str, ...] = "stand"
    stratum: str | tuple[str, ...] | None = None
    stratum_classes: dict[str, tuple[float, ...]] = {}
    stratum_codes: dict[str, Codes] = {}
    district: str | tuple[str, ...] | None = None
    crs: str | None = None
    encoding: str | None = None
    area_column: str | None = None
    area_unit: Literal["ha", "m2", "mu", "acre"] = "ha"
    grid_m: float | None = Field(None, gt=0)
    include_plots: bool = False
    overlaps: Literal["fail", "first"] = "fail"
    records: dict[Name, StandRecord] = {}
    rules: dict[str, Literal["keep", "leave_out", "first", "merge", "fail"]] = {}

    @model_validator(mode="after")
    def _one_source(self) -> Stands:
        if self.grid_m is not None and self.records:
            raise ValueError("records are columns of a file of stands; stands that the study lays out itself have none")
        if self.grid_m is not None and self.district:
            raise ValueError("district is a column of a file of stands; stands that the study lays out itself have none")
        if (self.file is None) == (self.grid_m is None):
            raise ValueError("give either file (polygons) or grid_m (the side of square stands), not both or none")
        return self


class Forest(Section):
    """Where the map holds biomass: the study's definition of forest, and what it is read from, per date."""

    source: Literal["everywhere", "raster", "stands", "canopy"] = "everywhere"
    files: dict[int, FilePath] = {}
    values: tuple[int, ...] = (10,)
    min_height_m: float = Field(2.0, ge=0)
    min_cover_percent: float = Field(20.0, ge=0, le=100)
    min_area_ha: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _raster_files(self) -> Forest:
        if (self.source == "raster") != bool(self.files):
            raise ValueError("files (year: raster) belong to source: raster, and source: raster needs them")
        return self


class Model(Section):
    """How plots become a map: the regressor, its predictors, and how dates are pooled."""

    regressor: Name = "default"
    transform: Literal["none", "sqrt", "log"] = "sqrt"
    predictors: dict[Name, tuple[str, ...]] | None = None
    profile: FilePath | None = None
    path: Literal["auto", "direct", "hierarchical"] = "auto"
    date_effect: Literal["auto", "always", "never"] = "always"
    strata: Literal["none", "levels", "slopes", "auto"] = "none"
    residuals: Literal["averaged", "upper_bound"] = "averaged"
    confidence_percent: float = Field(90.0, gt=50, lt=100)
    min_clusters: int = Field(4, ge=3)
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    max_outside_domain_percent: float = Field(80.0, gt=0, le=100)
    applicability_maps: bool = True

    @field_validator("quantiles")
    @classmethod
    def _rising_quantiles(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"quantiles must rise and not repeat, such as [0.05, 0.5, 0.95], got {list(value)}")
        return value

    @model_validator(mode="after")
    def _slopes_of_linear(self) -> Model:
        if self.strata == "slopes" and self.regressor not in ("linear", "default"):
            raise ValueError(
                f"strata: slopes needs regressor linear, got {self.regressor}: others take strata as predictors (levels)"
            )
        return self

    @model_validator(mode="after")
    def _profile_named(self) -> Model:
        listed = [name for name, chosen in (self.predictors or {}).items() if "profile" in chosen]
        if listed and self.profile is None:
            raise ValueError(f"predictors.{listed[0]} says profile, but profile (a file of indicators) is not given")
        return self


class Pools(Section):
    """From aboveground biomass to tree carbon, with the sources of the two factors."""

    root_shoot: Annotated[float, Field(ge=0)] | Literal["from_plots"] = 0.26
    root_shoot_se: float | None = Field(None, ge=0)
    root_shoot_source: str = "global non-mangrove fallback, wri/carbon-budget"
    carbon_fraction: float = Field(0.47, gt=0, lt=1)
    carbon_fraction_se: float | None = Field(None, ge=0, lt=0.5)
    carbon_fraction_source: str = "IPCC 2006, vol. 4, table 4.3"
    expansion_factor_mg_m3: float | None = Field(None, gt=0)
    expansion_factor_se: float | None = Field(None, ge=0)
    expansion_factor_source: str | None = None

    @model_validator(mode="after")
    def _sourced(self) -> Pools:
        if self.expansion_factor_mg_m3 is not None and not self.expansion_factor_source:
            raise ValueError(
                "expansion_factor_source is missing: name the table or study that expansion_factor_mg_m3 comes from"
            )
        if self.root_shoot == "from_plots" and self.root_shoot_se is not None:
            raise ValueError("root_shoot: from_plots brings its own error: leave root_shoot_se out")
        return self


class Comparison(Section):
    """A map made by others that the report sets beside ours."""

    file: FilePath
    year: int
    target: str = "agb"
    crs: str | None = None
    band: int = Field(1, ge=1)
    lower_band: int | None = Field(None, ge=1)
    upper_band: int | None = Field(None, ge=1)
    about: str = ""


class Study(Section):
    """A whole study, as its configuration file says it."""

    name: Name
    title: str = ""
    results: FilePath
    resources: FilePath
    area: Area
    years: Annotated[tuple[int, ...], Field(min_length=1)]
    sensors: dict[Name, Sensor] = {}
    lidar: dict[Name, Campaign] = {}
    plots: Plots
    stands: Stands
    forest: Forest = Forest()
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("agb",)
    model: Model = Model()
    pools: Pools = Pools()
    min_cover_percent: float = Field(80.0, ge=0, le=100)
    comparisons: dict[Name, Comparison] = {}
    plugins: tuple[str, ...] = ()
    planted: Planting | None = None

    @field_validator("years")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"years must rise and not repeat, got {list(value)}")
        if value[0] < 1900 or value[-1] > 2100:
            raise ValueError(f"years are written in full, such as 2019, got {list(value)}")
        return value

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for target in value:
            if target not in TARGETS:
                raise ValueError(f"{target!r} is not a target{nearest(target, TARGETS)}; known: {', '.join(TARGETS)}")
        return value

    @model_validator(mode="after")
    def _something_to_see_with(self) -> Study:
        problems = []
        if not self.sensors and not self.lidar:
            problems.append("a study needs sensors, lidar or both: there is nothing to derive predictors from")
        if self.forest.source == "canopy" and not self.lidar:
            problems.append("forest.source: canopy needs lidar, and the study has none")
        if self.forest.source == "raster" and (missing := [y for y in self.years if y not in self.forest.files]):
            problems.append(f"forest.files has no raster for {', '.join(map(str, missing))}")
        if self.pools.root_shoot == "from_plots" and (self.plots.trees is None or self.plots.roots.by == "none"):
            problems.append(
                "pools.root_shoot is from_plots, but plots.roots does not say how plots with a tree list get their roots "
                "(equations, continuous or table)"
            )
        if self.model.strata != "none" and self.stands.stratum is None:
            problems.append(
                f"model.strata is {self.model.strata}, and stands.stratum names no column of the stand layer: name the one that "
                "holds the strata, or leave model.strata out"
            )
        if "volume" in self.targets and "agb" not in self.targets and self.pools.expansion_factor_mg_m3 is None:
            problems.append(
                "a study of volume needs pools.expansion_factor_mg_m3 to reach biomass and carbon, or agb among its targets"
            )
        for name, record in self.stands.records.items():
            place = f"stands.records.{name}"
            if record.target not in self.targets:
                problems.append(f"{place}.target: {record.target} is not mapped; targets has {', '.join(self.targets)}")
            if record.year not in self.years:
                years = ", ".join(map(str, self.years))
                problems.append(f"{place}.year: {record.year} is no study year ({years}); a record is not grown to another date")
        for name, sensor in self.sensors.items():
            if sensor.years and (missing := [year for year in self.years if year not in sensor.years]):
                years = ", ".join(map(str, missing))
                problems.append(f"sensors.{name}.years leaves out {years}: every study year needs an image of every sensor")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def stock_target(self) -> str | None:
        """The target that carbon is computed from: biomass where it is mapped, else volume, else none."""
        return next((target for target in ("agb", "volume") if target in self.targets), None)


class StudyError(ValueError):
    """Everything that is wrong with a configuration, one sentence per problem."""

    def __init__(self, file: Path, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` for a typo among known words, or nothing."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]}?" if match else ""


class _OnceEach(yaml.SafeLoader):
    """YAML in which a key may stand once: plain YAML keeps the last of two and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands here twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_study(file: str | Path) -> Study:
    """The study that a YAML file describes.

    Raises
    ------
    StudyError
        With every problem found, one sentence each: dotted key, what is wrong, the nearest key for a typo.
    """
    file = Path(file)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_OnceEach)
    except FileNotFoundError:
        raise StudyError(file, ["the configuration file does not exist"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" near line {place.line + 1}" if place else ""
        raise StudyError(file, [f"this is not readable YAML{where}: {getattr(error, 'problem', error)!s}"]) from None
    return study_from(content, file=file)


def study_from(content: Any, *, file: str | Path = "configuration") -> Study:
    """The study that a mapping describes; `file` names it in messages."""
    if not isinstance(content, dict):
        raise StudyError(Path(file), ["the configuration must be a mapping of settings, such as name: my_study"])
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        entries = [entry for entry in error.errors() if not _follows(entry)]
        sentences = {sentence for entry in entries for sentence in _sentence(entry).splitlines()}
        raise StudyError(Path(file), sorted(sentences)) from None


PLAIN_WORDS = {
    "tuple_type": "a list is needed, such as [a, b]",
    "model_type": "a section with settings of its own is needed",
    "dict_type": "a section with settings of its own is needed",
    "too_short": "at least one entry is needed",
    "string_type": "a text is needed; put it in quotes",
    "string_pattern_mismatch": "a name has letters, digits, - and _ only, and begins with a letter or digit",
}
"""What is said in place of pydantic's words for Python's types."""


def _follows(entry: dict[str, Any]) -> bool:
    """Whether a list is only called too short because its entries were wrong, which is said of each."""
    return entry["type"] == "too_short" and bool(entry["input"])


def _sentence(entry: dict[str, Any]) -> str:
    place = [str(part) for part in entry["loc"] if part != "[key]"]
    key = ".".join(place) or "the study"
    if entry["type"] == "extra_forbidden":
        return f"{key} is not a setting{_nearest_setting(place)}"
    if entry["type"] == "missing":
        return f"{key} is missing"
    message = PLAIN_WORDS.get(entry["type"], entry["msg"].removeprefix("Value error, "))
    if entry["type"] == "value_error":
        return f"{key}: {message}" if place else message
    shown = entry.get("input")
    shown = repr(shown) if isinstance(shown, str | int | float | bool | list | tuple | None) else type(shown).__name__
    return f"{key}: {message[0].lower()}{message[1:]}, got {shown}"


def _nearest_setting(place: list[str]) -> str:
    """The known key nearest to a misspelt one, among the keys of the section it stands in."""
    section: Any = Study
    for part in place[:-1]:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        if field is not None:
            section = _section_in(field.annotation)
    fields = getattr(section, "model_fields", {})
    nearest = difflib.get_close_matches(place[-1], list(fields), n=1, cutoff=0.6)
    if nearest:
        return "; did you mean " + ".".join([*place[:-1], nearest[0]]) + "?"
    return f"; known here: {', '.join(fields)}" if fields else ""


def _section_in(annotation: Any) -> Any:
    """The section class inside an annotation such as `dict[str, Sensor]` or `Plots | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _section_in(part)
        if found is not None:
            return found
    return None
