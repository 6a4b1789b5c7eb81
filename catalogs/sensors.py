"""Satellite sensors as data: bands by role, quality rules, and what turns digital numbers into reflectance."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Band:
    """One band by its STAC common name; `keys` are the names catalogues give its asset, the native resolution first."""

    role: str
    keys: tuple[str, ...]
    resolution_m: float


@dataclass(frozen=True)
class Quality:
    """The layer that tells clear pixels from others, and the rule that reads it.

    A class layer (SCL) lists the classes that are clear, a bit layer (QA_PIXEL) the bits that must be 0.
    `grow` are the classes or bits whose pixels spread by `dilation_m`: cloud edges are missed by both algorithms.
    """

    keys: tuple[str, ...]
    resolution_m: float
    fill: int
    clear_classes: tuple[int, ...] = ()
    unset_bits: tuple[int, ...] = ()
    grow: tuple[int, ...] = ()
    dilation_m: float = 0.0

    def clear(self, layer):
        """True where a quality layer (integers, rows x cols) says clear, before dilation."""
        import numpy as np

        if self.clear_classes:
            return np.isin(layer, self.clear_classes)
        return (layer & sum(1 << bit for bit in self.unset_bits)) == 0

    def growing(self, layer):
        """True where a quality layer shows what spreads to its neighbours."""
        import numpy as np

        if self.clear_classes:
            return np.isin(layer, self.grow)
        return (layer & sum(1 << bit for bit in self.grow)) != 0


@dataclass(frozen=True)
class Radiometry:
    """reflectance = scale * DN + offset, and what the scene itself says to prove it."""

    scale: float
    offset: float
    evidence: str


@dataclass(frozen=True)
class Sensor:
    """A sensor's product: bands by role, valid digital numbers, quality rule and radiometry rule.

    `prefix` begins the names of its predictors (`s2_ndmi`), `collections` are the names catalogues offer it under.
    """

    name: str
    prefix: str
    title: str
    collections: tuple[str, ...]
    bands: Mapping[str, Band]
    quality: Quality
    data_type: str
    valid_dn: tuple[int, int]
    nodata: int
    calibrate: Callable[[Mapping[str, Any], Mapping[str, Any]], Radiometry]

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.bands)


def radiometry(item: Mapping[str, Any], sensor: Sensor, role: str) -> Radiometry:
    """Scale and offset of one band of a STAC item, resolved from the item's own evidence, never from its date.

    Raises
    ------
    ValueError
        When the item offers no such band, says nothing about its radiometry, or contradicts itself.
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


def sensor_named(name: str) -> Sensor:
    """The sensor that a configuration names.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one and the list.
    """
    if name not in SENSORS:
        near = difflib.get_close_matches(name, SENSORS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name!r} is not a known sensor{hint}; known: {', '.join(SENSORS)}")
    return SENSORS[name]


def offered_roles(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Predictor prefix -> band roles, for the sensors of a study."""
    return {sensor.prefix: sensor.roles for sensor in map(sensor_named, names)}


S2_SCALE, S2_OFFSET = 1e-4, -0.1  # ESA: rho = (DN + BOA_ADD_OFFSET) / 10000, BOA_ADD_OFFSET = -1000 from baseline 04.00
LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-05, -0.2  # USGS Landsat Collection 2 Level 2, surface reflectance (MTL)
SHIFTED_STORES = ("sentinel-cogs",)  # buckets whose files may be shifted already: only the provider's flag can tell


def _sentinel2_radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Radiometry:
    """Processing baseline first, then the provider's flag, then what the asset declares; disagreement refuses."""
    baseline, source = _baseline(item)
    said = declared(asset)
    if "MSI1C" in str(item.get("properties", {}).get("s2:product_type")) or re.search(r"_(MSI)?L1C_", item["id"]):
        raise ValueError("a Level 1C product (top of the atmosphere): Level 2A surface reflectance is needed")
    _same_scale(said, S2_SCALE, "Sentinel-2 L2A")
    offset = said.get("offset")
    flag = _boa_flag(item)
    if baseline is None:
        if offset is None or "scale" not in said or flag is not None or _store(asset):
            raise ValueError("no processing baseline, and nothing else that settles the offset of its digital numbers")
        return Radiometry(S2_SCALE, offset, f"declared by the asset: offset {offset:g}; no processing baseline")
    if baseline < 4:
        if flag:
            raise ValueError(f"boa_offset_applied is true, but baseline {source} knows no offset: they contradict")
        if offset not in (None, 0):
            raise ValueError(f"offset {offset:g} is declared, but baseline {source} knows no offset: they contradict")
        return Radiometry(S2_SCALE, 0.0, f"baseline {source}, before 04.00: no offset")
    if flag:
        return Radiometry(S2_SCALE, 0.0, f"baseline {source}, boa_offset_applied: files shifted already, no offset")
    if _store(asset):
        raise ValueError(
            f"baseline {source} in {_store(asset)} without boa_offset_applied = true: such files are shifted all the "
            "same now and then (Earth Search issues 66 and 71), so the offset is uncertain; use sentinel-2-c1-l2a"
        )
    if offset is not None and abs(offset - S2_OFFSET) > 1e-9:
        raise ValueError(f"offset {offset:g} is declared, but baseline {source} has {S2_OFFSET}: they contradict")
    agrees = "; the asset declares the same" if offset is not None else "; the asset declares none"
    return Radiometry(S2_SCALE, S2_OFFSET, f"baseline {source}, from 04.00: offset {S2_OFFSET}{agrees}")


def _baseline(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """Processing baseline as a number, and as written; from properties, else from the `N0510` of a product name."""
    properties = item.get("properties", {})
    for name in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        text = str(properties.get(name) or "")
        if re.fullmatch(r"\d{1,2}\.\d{2}", text):
            return float(text), text
        if text:
            raise ValueError(f"{name} is {text!r}, which is not a processing baseline such as 05.10")
    for name in (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item.get("id")):
        match = re.match(r"S2[A-Z]_MSIL2A_\d{8}T\d{6}_N(\d{2})(\d{2})_", str(name or ""))
        if match:
            text = f"{match[1]}.{match[2]}"
            return float(text), f"{text} (product name)"
    return None, ""


def _boa_flag(item: Mapping[str, Any]) -> bool | None:
    properties = item.get("properties", {})
    return properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))


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


def _same_scale(said: Mapping[str, float], expected: float, product: str) -> None:
    if "scale" in said and abs(said["scale"] / expected - 1) > 1e-6:
        raise ValueError(f"scale {said['scale']:g} is declared, but {product} has {expected:g}")


def _bands(resolutions: dict[str, tuple[float, tuple[str, ...]]]) -> Mapping[str, Band]:
    return MappingProxyType({role: Band(role, keys, metres) for role, (metres, keys) in resolutions.items()})


# Asset keys: Earth Search v1 and stactools, then Planetary Computer and Earth Search v0, then CDSE (native resolution).
SENTINEL2 = Sensor(
    name="sentinel-2-l2a",
    prefix="s2",
    title="Sentinel-2 MSI, Level 2A surface reflectance",
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
    ),
    data_type="uint16",
    valid_dn=(1, 32767),
    nodata=0,
    calibrate=_sentinel2_radiometry,
)

LANDSAT = Sensor(
    name="landsat-c2-l2",
    prefix="ls",
    title="Landsat 4-9 TM, ETM+ and OLI, Collection 2 Level 2 surface reflectance",
    collections=("landsat-c2-l2", "landsat-c2l2-sr"),
    bands=_bands({role: (30, (role,)) for role in ("blue", "green", "red", "nir08", "swir16", "swir22")}),
    # 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 shadow, 5 snow must be 0. Bit 6 ("clear") is set in shadow and over
    # water, so it says nothing here; bit 7 (water) is a surface, left to the forest mask. Bit 1 is dilation already.
    quality=Quality(keys=("qa_pixel",), resolution_m=30, fill=1, unset_bits=(0, 1, 2, 3, 4, 5)),
    data_type="uint16",
    valid_dn=(1, 65535),
    nodata=0,
    calibrate=_landsat_radiometry,
)

SENSORS: dict[str, Sensor] = {sensor.name: sensor for sensor in (SENTINEL2, LANDSAT)}
"""Every sensor a study can name."""
