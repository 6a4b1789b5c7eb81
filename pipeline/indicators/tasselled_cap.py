"""Tasselled cap: brightness, greenness and wetness of six bands, with the coefficients of each sensor.

Which coefficients, and for what they were derived:

- `ls`, Landsat 4-9 surface reflectance as it is: Crist 1985, derived for reflectance factors of the Thematic Mapper's bands, that
  is, without an atmosphere. A composite may mix TM, ETM+ and OLI, and all years of a study share one model, so one set must serve
  all of them: a set of each year's own instrument would turn the axes between years and show as change. Digital Earth
  Australia uses this set for TM, ETM+ and OLI alike (wetness percentiles).
- `ls:oli` and `s2:oli`, Landsat and Sentinel-2 that were brought to OLI (`harmonise`): Zhai et al. 2022, table 1, six bands,
  derived for Landsat 8 surface reflectance. Of scenes of Landsat 8 and 9 alone `harmonise: oli` changes no pixel: it only says
  whose set is meant. Of Sentinel-2 the near infrared is then `nir08` (B8A), the band that has a line to OLI's.
- `s2`, Sentinel-2 as it is: Shi and Xu 2019, six bands (B02, B03, B04, B08, B11, B12), derived for reflectance at the top of the
  atmosphere: for surface reflectance we found nothing that could be checked. A regression on plots takes up the
  difference, which is the same at all dates; do not compare its values with those of Landsat. Nedkov 2017 needs B01, B09 and B10,
  which composites do not hold.

Huang et al. 2002 (ETM+) and Baig et al. 2014 (OLI) are quoted alike by many, but are for reflectance at the top of the
atmosphere and do not belong on Level 2. The numbers of Zhai et al. are the same in three public sources that name the paper;
they are, as they must be, axes of length one at right angles.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.indicators.registry import indicator

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")

CRIST_1985 = {
    "brightness": (0.2043, 0.4158, 0.5524, 0.5741, 0.3124, 0.2303),
    "greenness": (-0.1603, -0.2819, -0.4934, 0.7940, -0.0002, -0.1446),
    "wetness": (0.0315, 0.2021, 0.3102, 0.1594, -0.6806, -0.6109),
}  # doi:10.1016/0034-4257(85)90102-6

SHI_XU_2019 = {
    "brightness": (0.3510, 0.3813, 0.3437, 0.7196, 0.2396, 0.1949),
    "greenness": (-0.3599, -0.3533, -0.4734, 0.6633, 0.0087, -0.2856),
    "wetness": (0.2578, 0.2305, 0.0883, 0.1071, -0.7611, -0.5308),
}  # doi:10.1109/JSTARS.2019.2938388

ZHAI_2022 = {
    "brightness": (0.3690, 0.4271, 0.4689, 0.5073, 0.3824, 0.2406),
    "greenness": (-0.2870, -0.2685, -0.4087, 0.8145, 0.0637, -0.1052),
    "wetness": (0.0382, 0.2137, 0.3536, 0.2270, -0.6108, -0.6351),
}  # doi:10.1016/j.rse.2022.112992

SETS: dict[str, Mapping[str, tuple[float, ...]]] = {
    "ls": CRIST_1985, "ls:oli": ZHAI_2022, "s2": SHI_XU_2019, "s2:oli": ZHAI_2022
}  # fmt: skip
"""Coefficients by predictor prefix of the sensor, and of what its reflectance was brought to."""

REFERENCE = (
    "Landsat: Crist 1985, doi:10.1016/0034-4257(85)90102-6; Landsat and Sentinel-2 with harmonise: Zhai et al. "
    "2022, doi:10.1016/j.rse.2022.112992; Sentinel-2: Shi and Xu 2019, doi:10.1109/JSTARS.2019.2938388"
)
BROAD_NIR = {"s2": {"nir08": "nir"}, "s2:oli": {}}  # Shi and Xu derived theirs for B08; OLI sees what B8A does


def _range(component: str) -> tuple[float, float]:
    """Least and largest value for reflectance from 0 to 1, over the sensors."""
    sets = [chosen[component] for chosen in SETS.values()]
    low = min(sum(min(weight, 0) for weight in weights) for weights in sets)
    return low, max(sum(max(weight, 0) for weight in weights) for weights in sets)


def _weighted(weights, blue, green, red, nir08, swir16, swir22):
    total = weights[0] * blue
    for weight, band in zip(weights[1:], (green, red, nir08, swir16, swir22), strict=True):
        total += weight * band
    return total


@indicator(
    units="1",
    valid_range=_range("brightness"),
    reference=REFERENCE,
    coefficients=SETS,
    instead=BROAD_NIR,
    aliases=("tcb",),
)
def tc_brightness(blue, green, red, nir08, swir16, swir22, *, coefficients):
    """Tasselled cap brightness: soil and albedo."""
    return _weighted(coefficients["brightness"], blue, green, red, nir08, swir16, swir22)


@indicator(
    units="1",
    valid_range=_range("greenness"),
    reference=REFERENCE,
    coefficients=SETS,
    instead=BROAD_NIR,
    aliases=("tcg",),
)
def tc_greenness(blue, green, red, nir08, swir16, swir22, *, coefficients):
    """Tasselled cap greenness: near infrared against the visible."""
    return _weighted(coefficients["greenness"], blue, green, red, nir08, swir16, swir22)


@indicator(
    units="1",
    valid_range=_range("wetness"),
    reference=REFERENCE,
    coefficients=SETS,
    instead=BROAD_NIR,
    aliases=("tcw",),
)
def tc_wetness(blue, green, red, nir08, swir16, swir22, *, coefficients):
    """Tasselled cap wetness: moisture and shadow, which follow the structure and age of a forest."""
    return _weighted(coefficients["wetness"], blue, green, red, nir08, swir16, swir22)


@indicator(
    units="degree",
    valid_range=(-90, 90),
    reference="Powell et al. 2010, doi:10.1016/j.rse.2009.12.018; " + REFERENCE,
    coefficients=SETS,
    instead=BROAD_NIR,
    aliases=("tca",),
)
def tc_angle(blue, green, red, nir08, swir16, swir22, *, coefficients):
    """Tasselled cap angle, arctan(greenness / brightness): the share of vegetation in what is seen."""
    import numpy as np

    six = (blue, green, red, nir08, swir16, swir22)
    ratio = _weighted(coefficients["greenness"], *six) / _weighted(coefficients["brightness"], *six)
    return np.degrees(np.arctan(ratio))
