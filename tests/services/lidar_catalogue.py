"""A STAC API on loopback that lists lidar tiles as 3DEP's does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyproj import CRS, Transformer

from services.stac_api import application, serving

UTM = "EPSG:32633"
BOX = (500_000.0, 5_000_000.0, 500_200.0, 5_000_200.0)


def make_item(name: str, href: str, *, west: float = BOX[0], year: int = 2020, crs: str | None = UTM) -> dict:
    """An item as 3DEP's: no `datetime`, no code of its CRS, which is a projjson alone."""
    degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform_bounds(west, BOX[1], west + 200, BOX[3])
    w, s, e, n = degrees
    about = {"proj:epsg": None} | ({"proj:projjson": CRS.from_user_input(crs).to_json_dict()} if crs else {})
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "3dep-lidar-copc", "bbox": list(degrees),
        "links": [],
        "geometry": {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]},
        "properties": {
            "datetime": None, "start_datetime": f"{year}-01-01T00:00:00Z", "end_datetime": f"{year}-12-31T00:00:00Z", **about,
        },
        "assets": {
            "thumbnail": {"href": f"{href}.png", "type": "image/png"},
            "data": {"href": href, "type": "application/vnd.laszip+copc", "roles": ["data"]},
        },
    }  # fmt: skip


@contextmanager
def api(items: list[dict]) -> Iterator[str]:
    """The address of an API over some items."""
    collection = {
        "type": "Collection", "id": "3dep-lidar-copc", "stac_version": "1.0.0", "description": "tiles", "license": "other",
        "links": [], "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip
    with serving(application(items, [collection])) as address:
        yield address
