"""What one STAC item says: its form, time, cloud, sun and pass."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

from catalogs.sensors import Identity

SUN = (
    ("view:sun_azimuth", "view:sun_elevation", False),
    ("s2:mean_solar_azimuth", "s2:mean_solar_zenith", True),
    ("oa_solar_azimuth", "oa_solar_zenith", True),
    ("eo:sun_azimuth", "eo:sun_elevation", False),
)
"""Where items say where the sun stood: azimuth, height, whether the height is counted from the zenith."""

OF_ANOTHER_FORM = (TypeError, AttributeError, LookupError, OverflowError)
"""What reading an item raises that is not built as STAC says."""


def check_form(item: Mapping[str, Any]) -> None:
    """ValueError for an item without properties or assets."""
    for name in ("properties", "assets"):
        if not isinstance(item.get(name), Mapping):
            raise ValueError(f"its {name} are not named values")


def malformed(error: Exception) -> str:
    """What is said of an item that is not built as STAC says."""
    return f"malformed: {first_line(error)}"


def first_line(error: Exception) -> str:
    """The first line of what an error says, or what kind of error it is."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def moment_of(item: Mapping[str, Any]) -> dt.datetime | None:
    """When an item was seen: its datetime, else its start; None where it tells neither."""
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def cloud_percent(item: Mapping[str, Any]) -> float | None:
    """The cloud cover that an item states; None where it states none."""
    value = item.get("properties", {}).get("eo:cloud_cover")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def check_clear_enough(item: Mapping[str, Any], max_cloud_percent: float) -> None:
    """ValueError for an item that is cloudier than a study takes."""
    cloud = cloud_percent(item)
    if cloud is not None and cloud > max_cloud_percent:
        raise ValueError(f"cloud cover {cloud:g} % is above max_cloud_percent {max_cloud_percent:g}")


def sun_position(properties: Mapping[str, Any]) -> dict[str, float] | None:
    """Where the sun stood, as an item's properties tell: degrees clockwise from north, and above the horizon; None if not."""
    for azimuth, height, zenith in SUN:
        told = properties.get(azimuth), properties.get(height)
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in told):
            return {"azimuth_deg": float(told[0]), "elevation_deg": 90.0 - told[1] if zenith else float(told[1])}
    return None


def overpass_of(item: Mapping[str, Any], identity: Identity | None, moment: dt.datetime) -> str:
    """One pass of a platform: the tiles that it saw on their way show the same moment where they overlap."""
    platform = str(item.get("properties", {}).get("platform") or "").lower().replace("_", "-")
    orbit = relative_orbit_of(item)
    path = identity.tile[4:7] if identity and identity.tile.startswith("WRS-") else None
    track = f" R{orbit:03d}" if orbit is not None else f" P{path}" if path else ""
    return f"{platform} {moment.date().isoformat()}{track}".strip()


def relative_orbit_of(item: Mapping[str, Any]) -> int | None:
    """The relative orbit that an item, or the name of its product, tells."""
    properties = item.get("properties", {})
    told = properties.get("sat:relative_orbit")
    names = (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item["id"])
    match = next((match for name in names if (match := re.search(r"_R(\d{3})_", str(name or "")))), None)
    return int(told) if told is not None else int(match[1]) if match else None
