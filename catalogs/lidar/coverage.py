"""What a campaign's tiles cover by their boxes: more than once, not at all, and of a study's area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalogs.lidar.references import Bounds

CRACK_M = 2.0  # neighbours leave a crack of one point spacing, which is no gap
STRIP_M = 20.0  # narrower parts along the tiles' edges are counted, but not told as a place


def overlaps_and_gaps(
    boxes: Sequence[Bounds], *, unit_m: float = 1.0
) -> tuple[float, float, tuple[float, float] | None]:
    """Area covered more than once, area of holes and cracks between tiles (m2), and a place in the largest of these.

    A crack is what closes when the tiles are grown by a twentieth of their side; a notch in the outline of a campaign is
    no gap. Boxes are those of the headers: a strip of a few scale steps between neighbours is no gap either.
    """
    import shapely

    tiles = shapely.box(*np.array(boxes, float).T)
    reach = float(np.median(np.sqrt(shapely.area(tiles)))) / 20
    union = shapely.union_all(tiles)
    overlap = float(shapely.area(tiles).sum() - shapely.area(union))
    touching = _closed(union, CRACK_M / 2 / unit_m)
    outline = shapely.union_all([shapely.Polygon(part.exterior) for part in _parts(_closed(union, reach))])
    gaps = [part for part in _parts(shapely.difference(outline, touching)) if shapely.area(part) > (1.0 / unit_m) ** 2]
    if not gaps:
        return overlap * unit_m**2, 0.0, None
    place = max(gaps, key=shapely.area).representative_point()
    return overlap * unit_m**2, sum(map(shapely.area, gaps)) * unit_m**2, (place.x, place.y)


def within_hull(boxes: Sequence[Bounds], *, unit_m: float = 1.0) -> tuple[float, list[float] | None]:
    """Area of the tiles' convex hull that is in no tile (m2), and the box of its largest part.

    A whole tile that is missing is a notch in the outline, no hole; so is what a supplier never flew.
    """
    import shapely

    touching = _closed(shapely.union_all(shapely.box(*np.array(boxes, float).T)), CRACK_M / 2 / unit_m)
    return _left(touching.convex_hull, touching, unit_m)


def outside_tiles(boxes: Sequence[Bounds], area: Bounds) -> tuple[float, list[float] | None]:
    """Percent of an area that lies in a tile, and the box of its largest part without; all in metres."""
    import shapely

    whole = shapely.box(*area)
    tiles = shapely.intersection(shapely.box(*np.array(boxes, float).T), shapely.buffer(whole, CRACK_M, join_style="mitre"))
    left_m2, largest = _left(whole, _closed(shapely.union_all(tiles), CRACK_M / 2), 1.0)
    return 100.0 * (1.0 - left_m2 / shapely.area(whole)), largest


def _left(whole, covered, unit_m: float) -> tuple[float, list[float] | None]:
    import shapely

    left = shapely.difference(whole, covered)
    parts = [part for part in _parts(left) if shapely.area(part) > (CRACK_M / unit_m) ** 2]
    wide = _parts(_opened(left, STRIP_M / 2 / unit_m))  # strips along the tiles join parts that are far from one another
    largest = max(wide or parts, key=shapely.area, default=None)
    area_m2 = float(sum(map(shapely.area, parts))) * unit_m**2
    return area_m2, None if largest is None else [float(side) for side in largest.bounds]


def _closed(shape, reach: float):
    import shapely

    grown = shapely.buffer(shape, reach, cap_style="square", join_style="mitre")
    return shapely.union(shapely.buffer(grown, -reach, cap_style="square", join_style="mitre"), shape)


def _opened(shape, reach: float):
    import shapely

    shrunk = shapely.buffer(shape, -reach, cap_style="square", join_style="mitre")
    return shapely.intersection(shapely.buffer(shrunk, reach, cap_style="square", join_style="mitre"), shape)


def _parts(shape) -> list:
    import shapely

    return [part for part in shapely.get_parts(shape).tolist() if part.geom_type == "Polygon" and not part.is_empty]
