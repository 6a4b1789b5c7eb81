"""Scenes for the composite rows: Sentinel-2 files of a synthetic landscape, written by the planted catalogue's writer.

Deflate level 6 with predictor 2 in 256 px tiles and the sensor noise of the planted study, so that a file is about as
dense as a real one and its decoding as dear. Six bands at 10 and 20 m and the scene classification, half of the dates
of a processing baseline with offset.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

BANDS = {"blue": (10, 300), "green": (10, 550), "red": (10, 400), "nir08": (20, 3200), "swir16": (20, 1700), "swir22": (20, 800)}
"""Role -> resolution in metres and mean digital number."""

INDICATORS = ("ndvi", "evi2", "gndvi", "ndmi", "nbr", "bsi")
WEST, NORTH, CRS = 500_000.0, 3_000_000.0, "EPSG:32650"


def write_scenes(folder: Path, *, side_px: int, dates: int, cloud_share: float = 0.3) -> Path:
    """Frozen scenes over a square of `side_px` pixels of 10 m; the path of the file that lists them."""
    from catalogs.planted.rasters import write_cog

    made = folder / "scenes.json"
    if made.exists():
        return made
    rng = np.random.default_rng(22)
    fine = _field(rng, side_px, 40)
    land = {10: fine, 20: fine.reshape(side_px // 2, 2, side_px // 2, 2).mean((1, 3))}
    items = []
    for number in range(dates):
        name = f"S2{'AB'[number % 2]}_50RNR_2023{6 + number // 4:02d}{1 + 7 * (number % 4):02d}_0_L2A"
        (folder / name).mkdir(parents=True, exist_ok=True)
        offset_dn = 1000 if number % 2 else 0
        cloud = _field(rng, side_px // 2, 60)
        limit = np.quantile(cloud, 1 - cloud_share)
        classes = np.where(cloud > limit, 9, np.where(np.roll(cloud, 12, axis=(0, 1)) > limit, 3, 4))
        classes[rng.uniform(size=classes.shape) < 0.003] = 7
        entries = {}
        for role, (resolution_m, mean) in BANDS.items():
            base = mean * (1 + 0.25 * land[resolution_m])
            noise = rng.standard_normal(base.shape, dtype="float32") * (15 + 0.008 * base)  # as the planted sensor's
            veil = cloud if resolution_m == 20 else np.repeat(np.repeat(cloud, 2, axis=0), 2, axis=1)
            values = base + noise + np.where(veil > limit, 3500 + 800 * (veil - limit), 0)
            numbers = np.clip(np.rint(values) + offset_dn, 1, 32767).astype("uint16")
            href = f"{name}/{role}.tif"
            write_cog(
                folder / href, numbers, crs=CRS, west_m=WEST, north_m=NORTH, resolution_m=resolution_m, nodata=0
            )
            entries[role] = {"href": href, "scale": 1e-4, "offset": -offset_dn * 1e-4, "nodata": 0}
        write_cog(
            folder / name / "SCL.tif", classes.astype("uint8"), crs=CRS, west_m=WEST, north_m=NORTH, resolution_m=20,
            nodata=0,
        )  # fmt: skip
        items.append(
            {
                "id": name,
                "datetime": f"{name[10:14]}-{name[14:16]}-{name[16:18]}T02:55:00Z",
                "platform": f"sentinel-2{'ab'[number % 2]}",
                "cloud_percent": 100 * cloud_share,
                "year": 2023,
                "bounds": [WEST, NORTH - 10 * side_px, WEST + 10 * side_px, NORTH],
                "bands": entries,
                "quality": {"href": f"{name}/SCL.tif"},
            }
        )
    query = {"years": [2023], "season": ["06-01", "08-31"]}
    made.write_text(json.dumps({"sensor": "sentinel-2-l2a", "query": query, "items": items, "left_out": []}))
    return made


def _field(rng: np.random.Generator, side: int, grain: int) -> np.ndarray:
    """A smooth random field of mean 0 and deviation 1 with some fine structure (side, side), float32."""
    from scipy.ndimage import zoom

    total = np.zeros((side, side), "float32")
    for step, weight in ((grain * 4, 1.0), (grain, 0.6), (max(grain // 8, 2), 0.25)):
        coarse = rng.standard_normal((side // step + 3, side // step + 3)).astype("float32")
        total += weight * zoom(coarse, step, order=1)[:side, :side]
    return (total - total.mean()) / total.std()
