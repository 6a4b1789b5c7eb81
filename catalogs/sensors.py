"""Sensors as data: bands by role, what their pixels measure, quality rules, and what turns numbers into quantities."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["optical", "radar", "elevation"]


@dataclass(frozen=True)
class Band:
    """One band by its STAC common name; `keys` are the names catalogues give its asset, the native resolution first.

    `quantity` and `units` say what a pixel is once scale and offset are applied.
    """

    role: str
    keys: tuple[str, ...]
    resolution_m: float
    quantity: str = "surface reflectance"
    units: str = "1"


@dataclass(frozen=True)
class Quality:
    """The layer that tells clear pixels from others, and the rule that reads it.

    A class layer (SCL, Fmask) lists the classes that are clear, a bit layer (QA_PIXEL) the bits that must be 0.
    `grow` are the classes or bits whose pixels spread by `dilation_m`: cloud edges are missed by all algorithms.
    `vegetation_classes` (or, of a bit layer, a pixel that is clear and has no bit of `water_bits`) are where vegetation
    is looked for when pixels must settle a scene's radiometry. `water_classes` and `water_bits` show open water, which is
    clear unless a study masks it (`without_water`).
    """

    keys: tuple[str, ...]
    resolution_m: float
    fill: int
    clear_classes: tuple[int, ...] = ()
    unset_bits: tuple[int, ...] = ()
    grow: tuple[int, ...] = ()
    dilation_m: float = 0.0
    vegetation_classes: tuple[int, ...] = ()
    water_classes: tuple[int, ...] = ()
    water_bits: tuple[int, ...] = ()

    def without_water(self) -> Quality:
        """The rule by which open water is not clear, as clouds are; it does not grow, because shores are sharp."""
        clear = tuple(value for value in self.clear_classes if value not in self.water_classes)
        bits = tuple(sorted({*self.unset_bits, *self.water_bits})) if self.unset_bits else ()
        return replace(self, clear_classes=clear, unset_bits=bits)

    def clear(self, layer):
        """True where a quality layer (integers, rows x cols) says clear, before dilation."""
        import numpy as np

        if self.clear_classes:
            return np.isin(layer, self.clear_classes)
        return (layer & _bits(self.unset_bits)) == 0

    def growing(self, layer):
        """True where a quality layer shows what spreads to its neighbours."""
        import numpy as np

        if self.clear_classes:
            return np.isin(layer, self.grow)
        return (layer & _bits(self.grow)) != 0

    def clear_land(self, layer):
        """True where vegetation may stand in the clear: what a check of the radiometry looks at."""
        import numpy as np

        if self.clear_classes:
            return np.isin(layer, self.vegetation_classes)
        return (layer & _bits(self.unset_bits + self.water_bits)) == 0


def _bits(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in bits)


@dataclass(frozen=True)
class Radiometry:
    """quantity = scale * number + offset, and what the scene itself says to prove it."""

    scale: float
    offset: float
    evidence: str


class Undecided(ValueError):
    """Metadata that leave more than one radiometry possible: `candidates`, between which only pixels can decide."""

    def __init__(self, why: str, candidates: tuple[tuple[float, float], ...]) -> None:
        """`candidates`: (scale, offset)."""
        super().__init__(why)
        self.candidates = candidates


@dataclass(frozen=True)
class Identity:
    """What tells two processings of one acquisition from two acquisitions.

    `tile` is the place in the mission's own grid, `generation` grows with each processing, `told` is it in words.
    """

    tile: str
    generation: tuple
    told: str


@dataclass(frozen=True)
class Sensor:
    """A sensor's product: bands by role, valid numbers, quality rule and radiometry rule.

    `prefix` begins the names of its predictors (`s2_ndmi`; `s2_leafoff_ndmi` of one composite of several), `collections`
    are the names catalogues offer it under.
    `quality` is None where no layer tells clear pixels (radar, elevation), `nodata` None where no number means missing.
    A `static` sensor shows the same in every year: its items need no date. `radiometries` are the (scale, offset) that its
    product can come with, `identify` names an item's place and processing (None where that is not known).
    """

    name: str
    prefix: str
    title: str
    kind: Kind
    collections: tuple[str, ...]
    bands: Mapping[str, Band]
    quality: Quality | None
    data_type: str
    valid_dn: tuple[float, float]
    nodata: float | None
    radiometries: tuple[tuple[float, float], ...]
    calibrate: Callable[[Mapping[str, Any], Mapping[str, Any]], Radiometry]
    identify: Callable[[Mapping[str, Any]], Identity | None]
    static: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.bands)

    def with_dilation(self, dilation_m: float | None) -> Sensor:
        """The sensor with clouds and shadows grown by another distance; None leaves its own.

        Raises
        ------
        ValueError
            For a sensor without a quality layer.
        """
        if dilation_m is None:
            return self
        if self.quality is None:
            raise ValueError(f"{self.name} has no quality layer, so there are no clouds to grow by {dilation_m:g} m")
        return replace(self, quality=replace(self.quality, dilation_m=dilation_m))

    def with_water_masked(self, masked: bool) -> Sensor:
        """The sensor whose quality layer counts open water as not clear; as it is where that is not asked for.

        Raises
        ------
        ValueError
            For a sensor whose quality layer, if it has one, does not tell water.
        """
        if not masked:
            return self
        if self.quality is None or not (self.quality.water_classes or self.quality.water_bits):
            raise ValueError(f"{self.name} has no quality layer that tells water, so there is none to mask")
        return replace(self, quality=self.quality.without_water())


def radiometry(item: Mapping[str, Any], sensor: Sensor, role: str) -> Radiometry:
    """Scale and offset of one band of a STAC item, resolved from the item's own evidence, never from its date.

    Raises
    ------
    ValueError
        When the item offers no such band, is another product, says nothing about its radiometry or contradicts itself;
        `Undecided` where clear vegetation can tell which of its candidates is true.
    """
    key = asset_key(item, sensor.bands[role].keys)
    if key is None:
        raise ValueError(f"no asset for {role} (looked for {', '.join(sensor.bands[role].keys)})")
    return sensor.calibrate(item, item["assets"][key])


def asset_key(item: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """The first of `keys` that the item has an asset under."""
    return next((key for key in keys if key in item.get("assets", {})), None)


def declared(asset: Mapping[str, Any]) -> dict[str, float]:
    """Scale, offset and nodata that an asset declares: `raster:bands` (STAC 1.0), `bands` or the asset itself (1.1)."""
    found: dict[str, float] = {}
    for place in ((asset.get("raster:bands") or [{}])[0], (asset.get("bands") or [{}])[0], asset):
        for name in ("scale", "offset", "nodata"):
            value = place.get(f"raster:{name}", place.get(name))
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, value)
    return found


def crs_of(item: Mapping[str, Any], role_asset: Mapping[str, Any] | None = None) -> str | None:
    """The CRS an item declares for an asset, as `EPSG:32650`; None when it gives no code (a projjson alone, or nothing)."""
    for place in (role_asset or {}, item.get("properties", {})):
        if place.get("proj:code"):
            return str(place["proj:code"])
        if place.get("proj:epsg"):
            return f"EPSG:{place['proj:epsg']}"
    return None


def sensor_table() -> list[tuple[str, ...]]:
    """One row per sensor: name, predictor prefix, kind, band roles, collections, the catalogues that offer it by name."""
    from catalogs.search import endpoints

    return [
        (
            name,
            sensor.prefix,
            sensor.kind,
            " ".join(sensor.roles),
            " ".join(sensor.collections),
            " ".join(known for known, endpoint in endpoints().items() if name in endpoint["collections"]),
        )
        for name, sensor in SENSORS.items()
    ]


@cache
def sensor_named(name: str) -> Sensor:
    """The sensor that a configuration names, by its own name or as one composite of several.

    `s2_leafoff` is the sensor whose predictors begin with `s2`; what is made of that composite is then called
    `s2_leafoff_ndvi`. So a study can have a leaf-on and a leaf-off image of one sensor.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one and the list; for a composite called as a band is.
    """
    if name in SENSORS:
        return SENSORS[name]
    prefix, _, own = name.partition("_")
    sensor = next((one for one in SENSORS.values() if one.prefix == prefix), None)
    if sensor is not None and re.fullmatch("[a-z][a-z0-9]*", own):
        if own in sensor.roles:
            raise ValueError(f"{name!r} is what a band of {sensor.name} is called: give the composite another word than {own}")
        return replace(sensor, prefix=name)
    if sensor is not None:
        why = "small letters and digits, beginning with a letter"
        raise ValueError(f"{name!r} is not a composite of {sensor.name}: {prefix}_ is followed by one word of {why}")
    near = difflib.get_close_matches(name, SENSORS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    several = "one of several composites of a sensor is called by its prefix and a word, such as s2_leafoff"
    raise ValueError(f"{name!r} is not a known sensor{hint}; known: {', '.join(SENSORS)}; {several}")


def is_sensor(name: str) -> bool:
    """Whether `sensor_named` knows a name."""
    try:
        sensor_named(name)
    except ValueError:
        return False
    return True


def offered_roles(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Predictor prefix -> band roles, for the sensors of a study."""
    return {sensor.prefix: sensor.roles for sensor in map(sensor_named, names)}


S2_SCALE, S2_OFFSET = 1e-4, -0.1  # ESA: rho = (DN + BOA_ADD_OFFSET) / 10000, BOA_ADD_OFFSET = -1000 from baseline 04.00
OFFSET_FROM = 4.0  # the first baseline whose numbers are shifted
S2_RADIOMETRIES = ((S2_SCALE, 0.0), (S2_SCALE, S2_OFFSET))
LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-05, -0.2  # USGS Landsat Collection 2 Level 2, surface reflectance (MTL)
NBART_SCALE = 1e-4  # Geoscience Australia, DEA Landsat quick-guide: valid SR scaling 0 - 10,000, -999 is no-data
SHIFTED_STORES = ("sentinel-cogs",)  # buckets whose files may be shifted already: only the provider's flag can tell


def _sentinel2_radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Processing baseline first, then the provider's flag, then what the asset declares; disagreement is undecided."""
    said = declared(asset)
    if "MSI1C" in str(item.get("properties", {}).get("s2:product_type")) or re.search(r"_(MSI)?L1C_", item["id"]):
        raise ValueError("a Level 1C product (top of the atmosphere): Level 2A surface reflectance is needed")
    baseline, source = _baseline(item)
    _same_scale(said, S2_SCALE, "Sentinel-2 L2A")
    offset = said.get("offset")
    if offset is not None and min(abs(offset), abs(offset - S2_OFFSET)) > 1e-9:
        raise ValueError(f"offset {offset:g} is declared, but Sentinel-2 L2A has 0 or {S2_OFFSET}: they contradict")
    flag = _boa_flag(item)
    if baseline is None:
        if offset is None or "scale" not in said or flag is not None or _store(asset):
            raise Undecided(
                "no processing baseline, and nothing else that settles the offset of its digital numbers", S2_RADIOMETRIES
            )
        return Radiometry(S2_SCALE, offset, f"declared by the asset: offset {offset:g}; no processing baseline")
    if baseline < OFFSET_FROM:
        if flag:
            why = f"boa_offset_applied is true, but baseline {source} knows no offset: they contradict"
            raise Undecided(why, S2_RADIOMETRIES)
        if offset:
            why = f"offset {offset:g} is declared, but baseline {source} knows no offset: they contradict"
            raise Undecided(why, S2_RADIOMETRIES)
        return Radiometry(S2_SCALE, 0.0, f"baseline {source}, before 04.00: no offset")
    if flag:
        return Radiometry(S2_SCALE, 0.0, f"baseline {source}, boa_offset_applied: files shifted already, no offset")
    if _store(asset):
        raise Undecided(
            f"baseline {source} in {_store(asset)} without boa_offset_applied = true: such files are shifted all the "
            "same now and then (Earth Search issues 66 and 71), so the offset is uncertain (sentinel-2-c1-l2a has no "
            "such doubt)",
            S2_RADIOMETRIES,
        )
    if offset == 0:
        raise Undecided(
            f"offset 0 is declared, but baseline {source} has {S2_OFFSET}: they contradict", S2_RADIOMETRIES
        )
    agrees = "; the asset declares the same" if offset is not None else "; the asset declares none"
    return Radiometry(S2_SCALE, S2_OFFSET, f"baseline {source}, from 04.00: offset {S2_OFFSET}{agrees}")


def _baseline(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """Processing baseline as a number, and as written; from properties, else from the `N0510` of a product name.

    Of several statements the first counts; `Undecided` where one is before the offset came and another is not.
    """
    properties = item.get("properties", {})
    stated: list[tuple[float, str]] = []
    for name in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        text = str(properties.get(name) or "")
        if re.fullmatch(r"\d{1,2}\.\d{2}", text):
            stated.append((float(text), text))
        elif text:
            raise ValueError(f"{name} is {text!r}, which is not a processing baseline such as 05.10")
    for name in (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item.get("id")):
        match = re.match(r"S2[A-Z]_MSIL2A_\d{8}T\d{6}_N(\d{2})(\d{2})_", str(name or ""))
        if match:
            text = f"{match[1]}.{match[2]}"
            stated.append((float(text), f"{text} (product name)"))
    if len({number < OFFSET_FROM for number, _ in stated}) > 1:
        told = " and ".join(dict.fromkeys(text for _, text in stated))
        raise Undecided(f"baselines {told} are stated, on both sides of 04.00: they contradict", S2_RADIOMETRIES)
    return stated[0] if stated else (None, "")


def _boa_flag(item: Mapping[str, Any]) -> bool | None:
    """Whether the provider says that its files are shifted already; None where it says nothing."""
    properties = item.get("properties", {})
    told = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    flag = {"true": True, "false": False}.get(told.strip().lower()) if isinstance(told, str) else told
    if told is not None and not isinstance(flag, bool):
        raise Undecided(f"boa_offset_applied is {told!r}, which is neither true nor false", S2_RADIOMETRIES)
    return flag


def _store(asset: Mapping[str, Any]) -> str | None:
    return next((store for store in SHIFTED_STORES if store in str(asset.get("href", ""))), None)


def _landsat_radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Collection 2 Level 2 has one scale and offset; the item must show that it is that product."""
    said = declared(asset)
    _same_scale(said, LANDSAT_SCALE, "Landsat Collection 2 Level 2")
    if "offset" in said and abs(said["offset"] - LANDSAT_OFFSET) > 1e-9:
        raise ValueError(f"offset {said['offset']:g} is declared, but Landsat Collection 2 has {LANDSAT_OFFSET}")
    properties = item.get("properties", {})
    collection = str(properties.get("landsat:collection_number") or "")
    level = str(properties.get("landsat:correction") or "")
    name = re.match(r"L[CTE]0[4-9]_(L\w{3})_\d{6}_\d{8}(?:_\d{8})?_(\d{2})_(?:T1|T2|RT)", str(item.get("id", "")))
    collection, level = collection or (name[2] if name else ""), level or (name[1] if name else "")
    if collection not in ("", "02"):
        raise ValueError(f"Landsat collection {collection}: Collection 2 is needed")
    if level and not level.startswith("L2S"):
        raise ValueError(f"Landsat processing level {level}: Level 2 surface reflectance (L2SP or L2SR) is needed")
    if collection and level:
        agrees = ", declared by the asset as well" if "scale" in said else ""
        return Radiometry(LANDSAT_SCALE, LANDSAT_OFFSET, f"Landsat Collection 2, {level}{agrees}")
    if "scale" in said and "offset" in said:
        return Radiometry(LANDSAT_SCALE, LANDSAT_OFFSET, "declared by the asset")
    raise ValueError("nothing in its id, properties or assets shows that this is Landsat Collection 2 Level 2")


def _nbart_radiometry(platforms: str, item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Geoscience Australia's ARD has one scale and no offset; the item must show that it is that product."""
    said = declared(asset)
    _same_scale(said, NBART_SCALE, "DEA NBART")
    if said.get("offset"):
        raise ValueError(f"offset {said['offset']:g} is declared, but DEA NBART has none")
    properties = item.get("properties", {})
    named = (item.get("collection"), properties.get("odc:product"), properties.get("title"), asset.get("href"))
    shown = (re.search(rf"ga_({platforms})_ard_3", str(name or "")) for name in named)
    product = next((match[0] for match in shown if match), None)
    if product is None:
        raise ValueError(
            f"nothing in its collection, properties or hrefs shows the DEA product ga_<platform>_ard_3 ({platforms})"
        )
    return Radiometry(NBART_SCALE, 0.0, f"{product}: DEA NBART, one scale and no offset")


def _rtc_radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Terrain-corrected gamma0 as linear power needs no scale; decibels and uncorrected backscatter are other products."""
    said = declared(asset)
    _same_scale(said, 1.0, "Sentinel-1 RTC")
    if said.get("offset"):
        raise ValueError(f"offset {said['offset']:g} is declared, but Sentinel-1 RTC has none")
    unit = _unit(asset)
    if unit.lower() == "db":
        raise ValueError("backscatter in decibels: linear power is needed, because averages of decibels are not averages")
    properties = item.get("properties", {})
    named = f"{item.get('collection')} {item['id']}".lower()
    if str(properties.get("sar:product_type", "")).upper() != "RTC" and "rtc" not in named:
        raise ValueError("nothing in its id, collection or product type shows terrain-corrected backscatter (RTC)")
    state = properties.get("sat:orbit_state")
    return Radiometry(1.0, 0.0, f"Sentinel-1 RTC, gamma0 as linear power{f', {state}' if state else ''}")


def _glo30_radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Metres above the EGM2008 geoid, as delivered; other elevation models and GLO-90 are other products."""
    said = declared(asset)
    _same_scale(said, 1.0, "Copernicus DEM")
    match = re.match(r"Copernicus_DSM(?:_COG)?_(\d{2})_[NS]\d{2}_00_[EW]\d{3}_00", item["id"])
    if match is None:
        raise ValueError("its id is not that of a Copernicus DEM tile (Copernicus_DSM_COG_10_N53_00_W115_00_DEM)")
    if match[1] != "10":
        raise ValueError(f"a Copernicus DEM tile of {match[1]} arc seconds / 10: GLO-30 (10) is needed")
    if (unit := _unit(asset).lower()) not in ("", "m", "metre", "meter", "metres", "meters"):
        raise ValueError(f"elevation in {unit!r}: metres are needed")
    return Radiometry(1.0, 0.0, "Copernicus DEM GLO-30: metres above the EGM2008 geoid")


def _unit(asset: Mapping[str, Any]) -> str:
    """The unit an asset declares, or an empty text."""
    for place in ((asset.get("raster:bands") or [{}])[0], (asset.get("bands") or [{}])[0], asset):
        if place.get("unit"):
            return str(place["unit"])
    return ""


def _same_scale(said: Mapping[str, float], expected: float, product: str) -> None:
    if "scale" in said and abs(said["scale"] / expected - 1) > 1e-6:
        raise ValueError(f"scale {said['scale']:g} is declared, but {product} has {expected:g}")


# ---------------------------------------------------------------- which place, which processing


def _identify_sentinel2(item: Mapping[str, Any]) -> Identity | None:
    """MGRS tile; the newer baseline and, within one, the later processing is the newer generation."""
    properties = item.get("properties", {})
    told = [properties.get(name) for name in ("grid:code", "s2:mgrs_tile", "sentinel:mgrs", "odc:region_code")]
    for prefix in ("mgrs", "sentinel"):
        parts = [properties.get(f"{prefix}:{part}") for part in ("utm_zone", "latitude_band", "grid_square")]
        told += ["".join(map(str, parts))] if all(parts) else []
    names = [properties.get(key) for key in ("s2:product_uri", "sentinel:product_id", "s2:tile_id")] + [item["id"]]
    told += [match[1] for name in names if (match := re.search(r"_T?(\d{1,2}[C-X][A-Z]{2})(?:_|$)", str(name or "")))]
    tile = next((match for text in told if (match := re.search(r"(\d{1,2})([C-X][A-Z]{2})$", str(text or "")))), None)
    if tile is None:
        return None
    try:
        baseline, source = _baseline(item)
    except ValueError:
        baseline, source = None, ""
    uris = (re.search(r"_T\w{5}_(\d{8}T\d{6})", str(name or "")) for name in names)
    made = str(properties.get("s2:generation_time") or next((match[1] for match in uris if match), ""))
    made = re.sub(r"\D", "", made)[:14]
    words = (f"baseline {source}" if source else "", f"processed {made[:8]}" if made else "")
    return Identity(
        f"MGRS-{int(tile[1]):02d}{tile[2]}", (baseline or 0.0, made, _listed(item)), ", ".join(filter(None, words))
    )


def _listed(item: Mapping[str, Any]) -> str:
    """When the catalogue made its item, to the second: the last word between two of one processing."""
    return re.sub(r"\D", "", str(item.get("properties", {}).get("created") or ""))[:14]


def _identify_landsat(item: Mapping[str, Any]) -> Identity | None:
    """WRS path and row; what is not real-time, and what is processed later, is the newer generation."""
    properties = item.get("properties", {})
    name = re.match(r"L[COTEM]0\d_L\w{3}_(\d{3})(\d{3})_\d{8}(?:_(\d{8}))?_\d{2}_(\w{2})", str(item["id"]))
    path, row = properties.get("landsat:wrs_path"), properties.get("landsat:wrs_row")
    if path is None or row is None:
        if name is None:
            return None
        path, row = name[1], name[2]
    category = str(properties.get("landsat:collection_category") or (name[4] if name else ""))
    made = name[3] if name and name[3] else ""
    words = ", ".join(filter(None, (category, f"processed {made}" if made else "")))
    return Identity(f"WRS-{int(path):03d}{int(row):03d}", (category != "RT", made, _listed(item)), words)


def _identify_rtc(item: Mapping[str, Any]) -> Identity | None:
    """The slice of a pass, by the times and the orbit in a product's name, or its MGRS tile."""
    name = re.search(r"_(\d{8}T\d{6})_(\d{8}T\d{6})_(\d{6})_", item["id"])
    tile = re.search(r"_(\d{2}[C-X][A-Z]{2})_", item["id"])
    if name is None and tile is None:
        return None
    place = f"slice {name[1]} {name[2]} {name[3]}" if name else f"MGRS-{tile[1]}"
    return Identity(place, (_listed(item),), "")


def _identify_glo30(item: Mapping[str, Any]) -> Identity | None:
    match = re.search(r"_([NS]\d{2})_00_([EW]\d{3})_00", item["id"])
    made = str(item.get("properties", {}).get("datetime") or "")
    return Identity(f"CDEM-{match[1]}{match[2]}", (made,), f"of {made[:10]}") if match else None


# ---------------------------------------------------------------- the registry


def _bands(resolutions: dict[str, tuple[float, tuple[str, ...]]], **about: str) -> Mapping[str, Band]:
    return MappingProxyType({role: Band(role, keys, metres, **about) for role, (metres, keys) in resolutions.items()})


# Asset keys: Earth Search v1 and stactools, then Planetary Computer and Earth Search v0, then CDSE (native resolution).
SENTINEL2 = Sensor(
    name="sentinel-2-l2a",
    prefix="s2",
    title="Sentinel-2 MSI, Level 2A surface reflectance",
    kind="optical",
    collections=("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-s2-l2a-cogs", "s2_l2a_c1"),
    bands=_bands(
        {
            "blue": (10, ("blue", "B02", "B02_10m")),
            "green": (10, ("green", "B03", "B03_10m")),
            "red": (10, ("red", "B04", "B04_10m")),
            "rededge1": (20, ("rededge1", "B05", "B05_20m")),
            "rededge2": (20, ("rededge2", "B06", "B06_20m")),
            "rededge3": (20, ("rededge3", "B07", "B07_20m")),
            "nir": (10, ("nir", "B08", "B08_10m")),
            "nir08": (20, ("nir08", "B8A", "B8A_20m")),
            "swir16": (20, ("swir16", "B11", "B11_20m")),
            "swir22": (20, ("swir22", "B12", "B12_20m")),
        }
    ),
    # Clear: 4 vegetation, 5 not vegetated, 6 water, 7 unclassified (ESA: low cloud probability).
    # Not: 0 no data, 1 saturated, 2 dark area (often shadow), 3 shadow, 8-9 cloud, 10 cirrus, 11 snow.
    quality=Quality(
        keys=("scl", "SCL", "SCL_20m"),
        resolution_m=20,
        fill=0,
        clear_classes=(4, 5, 6, 7),
        grow=(3, 8, 9, 10),
        dilation_m=20,
        vegetation_classes=(4,),
        water_classes=(6,),
    ),
    data_type="uint16",
    valid_dn=(1, 32767),
    nodata=0,
    radiometries=S2_RADIOMETRIES,
    calibrate=_sentinel2_radiometry,
    identify=_identify_sentinel2,
)

LANDSAT = Sensor(
    name="landsat-c2-l2",
    prefix="ls",
    title="Landsat 4-9 TM, ETM+ and OLI, Collection 2 Level 2 surface reflectance",
    kind="optical",
    collections=("landsat-c2-l2", "landsat-c2l2-sr"),
    bands=_bands({role: (30, (role,)) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}),
    # 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 shadow, 5 snow must be 0. Bit 6 ("clear") is set in shadow and over
    # water, so it says nothing here; bit 7 (water) is a surface, masked where a study asks for it. Bit 1 is dilation already, so
    # cirrus, cloud and shadow grow only when a study asks for it.
    quality=Quality(
        keys=("qa_pixel",), resolution_m=30, fill=1, unset_bits=(0, 1, 2, 3, 4, 5), grow=(2, 3, 4), water_bits=(7,)
    ),
    data_type="uint16",
    valid_dn=(1, 65535),
    nodata=0,
    radiometries=((LANDSAT_SCALE, LANDSAT_OFFSET),),
    calibrate=_landsat_radiometry,
    identify=_identify_landsat,
)

# Geoscience Australia's own correction of Landsat and Sentinel-2 (BRDF and terrain corrected), another product than
# Collection 2 and L2A. Types, nodata and Fmask classes: the ODC product definitions ga_s2am_ard_3 and ga_ls8c_ard_3 in
# GeoscienceAustralia/dea-config @c35aebe1ce99 and @22341bf8524e; scale: see NBART_SCALE.
_FMASK = Quality(
    keys=("oa_fmask",), resolution_m=20, fill=0, clear_classes=(1, 5), grow=(2, 3), dilation_m=30, vegetation_classes=(1,),
    water_classes=(5,),
)  # fmt: skip

SENTINEL2_NBART = Sensor(
    name="sentinel-2-nbart",
    prefix="s2n",
    title="Sentinel-2 MSI, Geoscience Australia ARD (NBART), Australia",
    kind="optical",
    collections=("ga_s2am_ard_3", "ga_s2bm_ard_3", "ga_s2cm_ard_3"),
    bands=_bands(
        {
            "blue": (10, ("nbart_blue",)),
            "green": (10, ("nbart_green",)),
            "red": (10, ("nbart_red",)),
            "rededge1": (20, ("nbart_red_edge_1",)),
            "rededge2": (20, ("nbart_red_edge_2",)),
            "rededge3": (20, ("nbart_red_edge_3",)),
            "nir": (10, ("nbart_nir_1",)),  # band 8
            "nir08": (20, ("nbart_nir_2",)),  # band 8A
            "swir16": (20, ("nbart_swir_2",)),  # band 11
            "swir22": (20, ("nbart_swir_3",)),  # band 12
        }
    ),
    quality=_FMASK,
    data_type="int16",
    valid_dn=(1, 10000),
    nodata=-999,
    radiometries=((NBART_SCALE, 0.0),),
    calibrate=partial(_nbart_radiometry, "s2am|s2bm|s2cm"),
    identify=_identify_sentinel2,
)

LANDSAT_NBART = Sensor(
    name="landsat-nbart",
    prefix="lsn",
    title="Landsat 5-9 TM, ETM+ and OLI, Geoscience Australia ARD (NBART), Australia",
    kind="optical",
    collections=("ga_ls5t_ard_3", "ga_ls7e_ard_3", "ga_ls8c_ard_3", "ga_ls9c_ard_3"),
    bands=_bands(
        {
            "blue": (30, ("nbart_blue",)),
            "green": (30, ("nbart_green",)),
            "red": (30, ("nbart_red",)),
            "nir08": (30, ("nbart_nir",)),
            "swir16": (30, ("nbart_swir_1",)),
            "swir22": (30, ("nbart_swir_2",)),
        }
    ),
    quality=replace(_FMASK, resolution_m=30),
    data_type="int16",
    valid_dn=(1, 10000),
    nodata=-999,
    radiometries=((NBART_SCALE, 0.0),),
    calibrate=partial(_nbart_radiometry, "ls5t|ls7e|ls8c|ls9c"),
    identify=_identify_landsat,
)

SENTINEL1 = Sensor(
    name="sentinel-1-rtc",
    prefix="s1",
    title="Sentinel-1 C-band SAR, radiometrically terrain corrected gamma0",
    kind="radar",
    collections=("sentinel-1-rtc", "sentinel1-rtc-aws"),
    bands=_bands(
        {"vv": (10, ("vv", "gamma0_vv")), "vh": (10, ("vh", "gamma0_vh"))}, quantity="gamma0, linear power", units="1"
    ),
    quality=None,
    data_type="float32",
    valid_dn=(1e-6, 1e3),  # -60 to 30 dB: below lies what noise removal leaves, above no target
    nodata=-32768,
    radiometries=((1.0, 0.0),),
    calibrate=_rtc_radiometry,
    identify=_identify_rtc,
)

COPERNICUS_DEM = Sensor(
    name="copernicus-dem-glo30",
    prefix="dem",
    title="Copernicus DEM GLO-30, surface elevation",
    kind="elevation",
    collections=("cop-dem-glo-30",),
    bands=_bands({"elevation": (30, ("data",))}, quantity="elevation above the EGM2008 geoid", units="m"),
    quality=None,
    data_type="float32",
    valid_dn=(-500, 9000),
    nodata=None,
    radiometries=((1.0, 0.0),),
    calibrate=_glo30_radiometry,
    identify=_identify_glo30,
    static=True,
)

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (SENTINEL2, LANDSAT, SENTINEL1, COPERNICUS_DEM, SENTINEL2_NBART, LANDSAT_NBART)
}
"""Every sensor a study can name."""
