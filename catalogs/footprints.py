"""Where scenes and study areas lie on the globe: polygons in degrees that are right across the antimeridian and at the poles.

Every polygon here is cut to longitudes from -180 to 180. A ring is read as the short way round from corner to corner, so a
scene must span less than 180 degrees between neighbouring corners, which any scene does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Bounds = tuple[float, float, float, float]

FOOTPRINT_MARGIN_M = 100.0
"""Footprints are drawn coarsely in degrees: a scene touches a place when it comes this close to it."""


class Area:
    """A study area as a polygon in degrees, and the CRS it was given in."""

    def __init__(self, bounds: Bounds, crs: str) -> None:
        """`bounds`: west, south, east, north in `crs`."""
        import numpy as np
        import shapely
        from pyproj import Transformer

        side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
        edge = shapely.segmentize(shapely.box(*bounds), side / 20)
        to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        lon, lat = to_degrees.transform(*shapely.get_coordinates(edge).T)
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise ValueError(f"the study area {list(bounds)} lies outside of what {crs} covers")
        self.bounds, self.crs, self.lonlat = bounds, crs, _on_the_globe([_unwrapped(np.column_stack([lon, lat]))])

    def __str__(self) -> str:
        return f"an area at {in_words(bbox_of(self.lonlat))}"

    def boxes(self) -> list[Bounds]:
        """Bounding boxes to ask a catalogue for: one, or one on either side of the antimeridian."""
        return [part.bounds for part in getattr(self.lonlat, "geoms", [self.lonlat])]


def footprint_of(item: Mapping[str, Any]) -> Any | None:
    """An item's footprint in degrees: its geometry, else its bbox, else None."""
    import shapely
    from shapely.geometry import shape

    try:
        drawn = shape(item["geometry"])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError):
        drawn = None
    if drawn is not None and not drawn.is_empty:
        parts = getattr(drawn, "geoms", [drawn])
        rings = [_unwrapped(shapely.get_coordinates(part.exterior)) for part in parts if part.geom_type == "Polygon"]
        if rings:
            return _on_the_globe(rings)
    box = item.get("bbox") or ()
    if len(box) not in (4, 6):
        return None
    west, south, east, north = flat(box)
    return _on_the_globe([_rectangle(west, south, east + 360 * (east < west), north)])


def bounds_in(footprint: Any, crs: str) -> list[float]:
    """Bounds of a footprint in the study's CRS, widened by the margin, whole metres."""
    import numpy as np
    import shapely
    from pyproj import Transformer

    edge = shapely.segmentize(footprint, 0.05)
    to_study = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    corners = np.asarray(to_study.transform(*shapely.get_coordinates(edge).T))
    corners = corners[:, np.isfinite(corners).all(axis=0)]
    low, high = corners.min(axis=1) - FOOTPRINT_MARGIN_M, corners.max(axis=1) + FOOTPRINT_MARGIN_M
    return [float(value) for value in (*np.floor(low), *np.ceil(high))]


def bbox_of(footprint: Any) -> Bounds:
    """West, south, east, north; west is greater than east across the antimeridian, as GeoJSON has it."""
    west, south, east, north = footprint.bounds
    parts = [part.bounds for part in getattr(footprint, "geoms", [footprint])]
    right = [part[0] for part in parts if part[2] > 180 - 1e-9]
    left = [part[2] for part in parts if part[0] < -180 + 1e-9]
    if len(parts) > 1 and right and left and max(left) < min(right):
        return min(right), south, max(left), north
    return west, south, east, north


def flat(box: Sequence[float]) -> Bounds:
    """West, south, east, north of a bbox that may hold heights as well."""
    half = len(box) // 2
    return box[0], box[1], box[half], box[half + 1]


def in_words(box: Bounds) -> str:
    """A bounding box as an analyst reads it."""
    west, south, east, north = box
    return f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"


def _rectangle(west: float, south: float, east: float, north: float) -> np.ndarray:
    import numpy as np

    return np.array([[west, south], [east, south], [east, north], [west, north], [west, south]], float)


def _unwrapped(ring: np.ndarray) -> np.ndarray:
    """A closed ring (n, 2) whose longitudes never jump; one that runs round a pole is closed over that pole."""
    import numpy as np
    lon = ring[:, 0].astype(float)
    step = np.diff(lon)
    step -= 360 * np.round(step / 360)
    lon = np.concatenate([lon[:1], lon[0] + np.cumsum(step)])
    open_by = lon[-1] - lon[0]
    whole = np.column_stack([lon, ring[:, 1]])
    if np.ptp(lon) == 0:  # from -180 to 180: the whole world, which has no short way round
        return ring
    if abs(open_by) < 180:
        return whole
    pole = np.copysign(90.0, ring[:, 1].mean())
    return np.vstack([whole, [lon[-1], pole], [lon[0], pole], whole[:1]])


def _on_the_globe(rings: Sequence[np.ndarray]) -> Any:
    """The union of rings, cut at the antimeridian; longitudes beyond 180 come back in from the other side."""
    import numpy as np
    import shapely
    from shapely.affinity import translate

    world = shapely.box(-180, -90, 180, 90)
    parts = []
    for ring in rings:
        polygon = shapely.Polygon(ring)
        polygon = polygon if polygon.is_valid else polygon.buffer(0)
        first, last = polygon.bounds[0], polygon.bounds[2]
        for turn in range(int(np.floor((first + 180) / 360)), int(np.ceil((last - 180) / 360)) + 1):
            part = world.intersection(translate(polygon, -360 * turn)) if turn or first < -180 or last > 180 else polygon
            parts += [piece for piece in getattr(part, "geoms", [part]) if piece.geom_type == "Polygon" and piece.area]
    return shapely.unary_union(parts)
