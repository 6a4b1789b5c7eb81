"""QGIS styles: well-formed, in the study's units, and accepted by QGIS itself where it is installed."""

import subprocess
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from pipeline.report.styles import (
    ERROR_RAMP,
    FOREST_CLASSES,
    SINK_RAMP,
    STOCK_RAMP,
    nice_breaks,
    ramp_colour,
    raster_style,
    stand_style,
)

QGIS_PYTHON = "/usr/bin/python3"

LOAD_IN_QGIS = """
import sys
from qgis.core import QgsApplication, QgsRasterLayer, QgsRenderContext, QgsVectorLayer
application = QgsApplication([], False)
application.initQgis()
kind, data, style = sys.argv[1:]
layer = QgsRasterLayer(data, "map") if kind == "raster" else QgsVectorLayer(data, "stands", "ogr")
assert layer.isValid(), "the layer does not load"
message, accepted = layer.loadNamedStyle(style)
assert accepted, message
renderer = layer.renderer()
if kind == "vector":
    print(renderer.type(), len(renderer.ranges()), len(renderer.symbols(QgsRenderContext())))
elif renderer.type() == "paletted":
    print(renderer.type(), len(renderer.classes()))
else:
    print(renderer.type(), len(renderer.shader().rasterShaderFunction().colorRampItemList()))
"""


def make_wide(**columns):
    stem = "reported_tree_carbon_t_ha"
    return pd.DataFrame(
        {
            "stand": ["a", "b", "c"],
            f"{stem}_2024": [20.0, 117.0, np.nan],
            f"{stem}_low_2024": [15.0, 90.0, np.nan],
            f"{stem}_high_2024": [25.0, 140.0, np.nan],
            "reported_agb_mg_ha_2024": [33.0, 197.0, np.nan],
        }
        | columns
    )


def make_product(kind="stock", units="Mg/ha"):
    band = {"name": "value", "units": units, "title": "value"}
    return {"name": "map", "kind": kind, "title": "A map", "bands": [band]}


def parsed(style):
    return ElementTree.fromstring(style)


def items(style):
    return [(float(item.get("value")), item.get("color"), item.get("label")) for item in parsed(style).iter("item")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 133, [0, 25, 50, 75, 100, 125, 150]),
        (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (-4, 8, [-4, -2, 0, 2, 4, 6, 8]),
    ],
)
def test_breaks_are_round_numbers_that_hold_all_values(low, high, expected):
    assert nice_breaks(low, high) == pytest.approx(expected)


def test_breaks_of_one_single_value_still_make_a_class():
    breaks = nice_breaks(50, 50)
    assert breaks[0] <= 50 <= breaks[-1] and len(breaks) >= 2


def test_breaks_without_finite_limits_are_refused():
    with pytest.raises(ValueError, match="finite limits"):
        nice_breaks(0, float("nan"))


def test_a_ramp_begins_and_ends_with_its_own_colours_and_mixes_between():
    assert ramp_colour(("#000000", "#ffffff"), 0) == "#000000"
    assert ramp_colour(("#000000", "#ffffff"), 1) == "#ffffff"
    assert ramp_colour(("#000000", "#646464"), 0.5) == "#323232"


@pytest.mark.parametrize("ramp", [STOCK_RAMP, ERROR_RAMP], ids=["stock", "error"])
def test_a_ramp_from_little_to_much_darkens_steadily_so_that_it_reads_in_grey(ramp):
    grey = [0.299 * int(c[1:3], 16) + 0.587 * int(c[3:5], 16) + 0.114 * int(c[5:7], 16) for c in ramp]
    assert all(later < earlier - 10 for earlier, later in pairwise(grey))


def test_stands_are_graduated_by_tree_carbon_of_the_last_year():
    renderer = parsed(stand_style(make_wide(), [2019, 2024], "agb")).find("renderer-v2")
    assert renderer.get("type") == "graduatedSymbol"
    assert renderer.get("attr") == 'coalesce("reported_tree_carbon_t_ha_2024", -1)'
    ranges = renderer.findall("ranges/range")
    assert float(ranges[1].get("lower")) == 0
    assert float(ranges[-1].get("upper")) >= 117
    assert ranges[1].get("label").endswith("t C/ha")


def test_stands_without_an_estimate_have_a_class_of_their_own():
    renderer = parsed(stand_style(make_wide(), [2024], "agb")).find("renderer-v2")
    first = renderer.findall("ranges/range")[0]
    assert float(first.get("lower")) <= -1 < float(first.get("upper")) < 0
    assert "no estimate" in first.get("label")
    options = {option.get("name"): option.get("value") for option in renderer.find("symbols/symbol").iter("Option")}
    assert options["style"] == "b_diagonal"


def test_a_study_without_carbon_is_graduated_by_what_it_maps():
    wide = make_wide(reported_basal_area_m2_ha_2024=[10.0, 20.0, 30.0])
    wide = wide[[name for name in wide.columns if "carbon" not in name and "agb" not in name]]
    renderer = parsed(stand_style(wide, [2024], None)).find("renderer-v2")
    assert "reported_basal_area_m2_ha_2024" in renderer.get("attr")
    assert renderer.findall("ranges/range")[1].get("label").endswith("m2/ha")


def test_stands_that_report_nothing_are_named_as_the_mistake():
    with pytest.raises(ValueError, match="reports nothing for 2030"):
        stand_style(make_wide(), [2030], "agb")


def test_a_stand_layer_with_only_missing_values_still_has_a_style():
    wide = make_wide(reported_tree_carbon_t_ha_2024=[np.nan] * 3)
    assert parsed(stand_style(wide, [2024], "agb")).find("renderer-v2/ranges/range") is not None


def test_a_stock_map_runs_from_low_to_high_with_units_in_its_labels():
    found = items(raster_style(make_product(), 0, 300))
    assert found[0] == (0, STOCK_RAMP[0], "0 Mg/ha")
    assert found[-1] == (300, STOCK_RAMP[-1], "300 Mg/ha")
    assert len(found) == len(STOCK_RAMP)


def test_a_sink_map_is_symmetric_about_zero_with_the_neutral_colour_there():
    found = items(raster_style(make_product("sink", "t CO2/ha/yr"), -40, 15))
    assert found[0][0] == -40 and found[-1][0] == 40
    assert found[len(found) // 2] == (0, SINK_RAMP[3], "0 t CO2/ha/yr")


def test_forest_classes_have_one_colour_each():
    entries = list(parsed(raster_style(make_product("forest", "1"), 0, 3)).iter("paletteEntry"))
    assert [(int(e.get("value")), e.get("label")) for e in entries] == [(k, v[0]) for k, v in FOREST_CLASSES.items()]


def test_a_map_of_one_single_value_still_has_a_range():
    values = [value for value, _, _ in items(raster_style(make_product(), 5, 5))]
    assert values == sorted(values) and values[0] < values[-1]


def in_qgis(kind, data, style, tmp_path):
    """What QGIS makes of a style: renderer and number of classes."""
    program, file = tmp_path / "load.py", tmp_path / "style.qml"
    program.write_text(LOAD_IN_QGIS)
    file.write_text(style)
    ran = subprocess.run(
        [QGIS_PYTHON, str(program), kind, str(data), str(file)],
        env={"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def qgis():
    try:
        found = subprocess.run([QGIS_PYTHON, "-c", "import qgis.core"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        found = False
    if not found:
        pytest.skip("needs the Debian package python3-qgis")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("stock", "singlebandpseudocolor 7"), ("sink", "singlebandpseudocolor 7"), ("forest", "paletted 4")],
)
def test_qgis_takes_the_style_of_a_map(qgis, tmp_path, kind, expected):
    import rasterio

    file = tmp_path / "map.tif"
    with rasterio.open(
        file, "w", driver="GTiff", width=4, height=4, count=1, dtype="float32", crs="EPSG:32650",
        transform=rasterio.transform.from_origin(500000, 3000000, 20, 20), nodata=float("nan"),
    ) as raster:  # fmt: skip
        raster.write(np.arange(16, dtype="float32").reshape(4, 4), 1)
    assert in_qgis("raster", file, raster_style(make_product(kind), 0, 15), tmp_path) == expected


def test_qgis_takes_the_style_of_the_stands(qgis, tmp_path):
    import geopandas as gpd
    from shapely import box

    shapes = [box(500000 + 100 * n, 0, 500100 + 100 * n, 100) for n in range(3)]
    gpd.GeoDataFrame(make_wide(), geometry=shapes, crs="EPSG:32650").to_file(tmp_path / "stands.gpkg", layer="stands")
    style = stand_style(make_wide(), [2024], "agb")
    classes = len(parsed(style).findall("renderer-v2/ranges/range"))
    assert in_qgis("vector", tmp_path / "stands.gpkg", style, tmp_path) == f"graduatedSymbol {classes} {classes}"
