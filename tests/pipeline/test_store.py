"""What we write: atomic, never wrapped, the same bytes twice, and readable by others."""

from __future__ import annotations

import json
import sqlite3

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from conftest import UTM, make_grid

from pipeline import store
from pipeline.grid import Window


def make_band(shape=(40, 56), *, seed=1, missing=0.1):
    rng = np.random.default_rng(seed)
    band = rng.uniform(0, 400, shape).astype("float32")
    band[rng.random(shape) < missing] = np.nan
    return band


def make_layer(n=3, **columns):
    shapes = [shapely.box(500_000 + 100 * k, 2_999_900, 500_100 + 100 * k, 3_000_000) for k in range(n)]
    return gpd.GeoDataFrame({"stand": [f"s{k}" for k in range(n)], **columns}, geometry=shapes, crs=UTM)


def write_cog(path, bands, grid, **options):
    names = dict.fromkeys(bands, "Mg/ha")
    store.write_cog(path, bands, geobox=grid.geobox, units=names, titles={name: f"Title of {name}" for name in bands}, **options)


# ---------------------------------------------------------------- atomic


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    grid, file = make_grid(), tmp_path / "a.tif"
    store.write_raster(file, {"agb": make_band()}, geobox=grid.geobox)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"band 'se' has shape \(3, 3\), the grid has \(40, 56\)"):
        store.write_raster(file, {"agb": make_band(seed=2), "se": np.zeros((3, 3))}, geobox=grid.geobox)
    with pytest.raises(RuntimeError), store.replacing(file) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError("the disk is full")
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_is_not_there_before_it_is_whole(tmp_path):
    file = tmp_path / "new" / "a.txt"
    with store.replacing(file) as partial:
        partial.write_text("half")
        assert not file.exists()
    assert file.read_text() == "half"


# ---------------------------------------------------------------- working rasters


def test_a_raster_gives_back_its_bands_with_missing_as_missing(tmp_path):
    grid, bands = make_grid(), {"agb": make_band(), "se": make_band(seed=2)}
    store.write_raster(tmp_path / "a.tif", bands, geobox=grid.geobox, units={"agb": "Mg/ha"})
    read = store.read_raster(tmp_path / "a.tif")
    assert list(read) == ["agb", "se"] and store.raster_bands(tmp_path / "a.tif") == ("agb", "se")
    for name, band in bands.items():
        np.testing.assert_array_equal(read[name], band)
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.units == ("Mg/ha", None) and raster.crs == UTM and np.isnan(raster.nodata)
        assert raster.bounds == grid.bounds


def test_packed_values_come_back_to_half_a_step_and_never_wrap_around(tmp_path):
    grid = make_grid(rows=1, cols=8)
    red = np.array([[0.0, 0.12344, 3.2767, 3.2768, 5.0, -3.2767, -9.0, np.nan]])
    bands = {"red": red, "clear_count": np.arange(8.0)[None]}
    store.write_raster(tmp_path / "a.tif", bands, geobox=grid.geobox, scales={"red": 1e-4, "clear_count": 1.0})
    read = store.read_raster(tmp_path / "a.tif")
    expected = [0, 0.1234, 3.2767, np.nan, np.nan, -3.2767, np.nan, np.nan]
    assert read["red"][0] == pytest.approx(expected, nan_ok=True, abs=1e-6)
    assert read["red"].dtype == np.float32 and read["clear_count"][0].tolist() == list(range(8))
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.dtypes == ("int16", "int16") and raster.scales == (1e-4, 1.0) and raster.nodata == -32768


def test_a_window_of_a_raster_counts_from_the_file_s_corner(tmp_path):
    band = make_band()
    store.write_raster(tmp_path / "a.tif", {"agb": band}, geobox=make_grid().geobox)
    window = Window(3, 21, 40, 56)
    np.testing.assert_array_equal(store.read_raster(tmp_path / "a.tif", window=window)["agb"], band[3:21, 40:56])


def test_what_is_not_there_or_not_whole_is_said_in_a_sentence(tmp_path):
    store.write_raster(tmp_path / "a.tif", {"agb": make_band()}, geobox=make_grid().geobox)
    with pytest.raises(ValueError, match=r"a.tif has no band 'height'; it has agb"):
        store.read_raster(tmp_path / "a.tif", bands=["height"])
    with pytest.raises(FileNotFoundError, match=r"b.tif does not exist"):
        store.read_raster(tmp_path / "b.tif")
    (tmp_path / "c.tif").write_bytes(b"no raster")
    with pytest.raises(ValueError, match=r"c.tif cannot be read as a raster; delete it and run again"):
        store.read_raster(tmp_path / "c.tif")
    for read in (store.read_table, store.read_json):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read(tmp_path / "d.parquet")


@pytest.mark.parametrize("block_chunks", [1, 2, 3])
def test_block_files_read_as_one_raster_across_their_edges(tmp_path, block_chunks):
    grid, band = make_grid(block_chunks=block_chunks), make_band()
    for block in grid.blocks():
        place = grid.block_window(block)
        store.write_raster(tmp_path / f"{block}.tif", {"agb": band[place.slices]}, geobox=grid.geobox_of(place))
    mosaic = store.Mosaic(tmp_path, grid)
    np.testing.assert_array_equal(mosaic.read(grid.window, ["agb"])["agb"], band)
    np.testing.assert_array_equal(mosaic.read(Window(13, 35, 30, 50), ["agb"])["agb"], band[13:35, 30:50])
    beyond = mosaic.read(Window(-4, 10, 50, 60), ["agb"])["agb"]
    np.testing.assert_array_equal(beyond[4:, :6], band[:10, 50:])
    assert np.isnan(beyond[:4]).all() and np.isnan(beyond[:, 6:]).all()
    assert np.isnan(mosaic.read(Window(300, 310, 0, 5), ["agb"])["agb"]).all()


def test_rasters_kept_open_read_as_before_and_are_opened_once(tmp_path, monkeypatch):
    grid, band = make_grid(), make_band()
    for block in grid.blocks():
        place = grid.block_window(block)
        arrays = {"agb": band[place.slices], "se": band[place.slices] / 10}
        store.write_raster(tmp_path / f"{block}.tif", arrays, geobox=grid.geobox_of(place), scales={"agb": 0.1, "se": 0.01})
    mosaic, windows = store.Mosaic(tmp_path, grid), [Window(k, k + 5, k, k + 9) for k in range(0, 35, 2)]
    before = [mosaic.read(window, ["se", "agb"]) for window in windows]
    opened, first = [], rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda path: opened.append(first(path)) or opened[-1])
    monkeypatch.setattr("pipeline.store.rasters.MOST_OPEN", 3)
    with store.kept_open(), store.kept_open():
        inside = [mosaic.read(window, ["se", "agb"]) for window in windows]
        assert sum(not raster.closed for raster in opened) <= 3
        assert store.raster_bands(tmp_path / f"{grid.blocks()[0]}.tif") == ("agb", "se")
    for window, one, other in zip(windows, before, inside, strict=True):
        np.testing.assert_array_equal(one["agb"], other["agb"], err_msg=str(window))
        np.testing.assert_array_equal(one["se"], other["se"], err_msg=str(window))
    assert all(raster.closed for raster in opened)
    assert len(opened) < len(windows), "plots go down the diagonal: each file is opened about once"
    mosaic.read(windows[0], ["agb"])
    assert opened[-1].closed, "outside the body nothing stays open"


# ---------------------------------------------------------------- published rasters


def test_a_published_map_is_a_cloud_optimised_tiff_that_explains_itself(tmp_path):
    grid = make_grid(rows=1200, cols=1100)
    band = make_band((1200, 1100))
    write_cog(tmp_path / "agb.tif", {"agb_mg_ha": band, "agb_mg_ha_se": band / 10}, grid)
    with rasterio.open(tmp_path / "agb.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.profile["compress"] == "deflate" and set(raster.dtypes) == {"float32"}
        assert raster.block_shapes == [(512, 512)] * 2 and raster.overviews(1) == [2, 4]
        assert np.isnan(raster.nodata) and raster.crs == UTM and raster.bounds == grid.bounds
        assert raster.descriptions == ("agb_mg_ha", "agb_mg_ha_se") and raster.units == ("Mg/ha", "Mg/ha")
        tags = raster.tags(1)
        assert tags["TITLE"] == "Title of agb_mg_ha"
        assert float(tags["STATISTICS_MEAN"]) == pytest.approx(np.nanmean(band), rel=1e-4)
        assert float(tags["STATISTICS_MAXIMUM"]) == pytest.approx(np.nanmax(band), rel=1e-4)
        assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(90, abs=1)
        np.testing.assert_array_equal(raster.read(1), band)
    assert [path.name for path in tmp_path.iterdir()] == ["agb.tif"]


def test_overviews_of_classes_show_classes_and_no_average_of_them(tmp_path):
    grid = make_grid(rows=1100, cols=1100)
    classes = np.zeros((1100, 1100))
    classes[::2, ::2] = 3.0
    classes[::2, 1::2] = 3.0
    classes[1::2, ::2] = 3.0
    write_cog(tmp_path / "a.tif", {"forest_class": classes}, grid, overviews="mode")
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as raster:
        assert set(np.unique(raster.read(1))) == {3.0}


def test_a_map_without_a_single_value_can_be_published(tmp_path):
    grid = make_grid()
    write_cog(tmp_path / "a.tif", {"agb": np.full((40, 56), np.nan)}, grid)
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert np.isnan(raster.read(1)).all() and raster.tags(1)["STATISTICS_VALID_PERCENT"] == "0"


def test_block_maps_under_a_vrt_are_the_whole_map(tmp_path):
    grid, band = make_grid(), make_band()
    files = []
    for block in grid.blocks():
        place = grid.block_window(block)
        files.append(tmp_path / "agb" / f"{block}.tif")
        part = {"agb": band[place.slices], "se": band[place.slices] * 2}
        store.write_cog(
            files[-1], part, geobox=grid.geobox_of(place), units={"agb": "Mg/ha", "se": "Mg/ha"}, titles={"agb": "Biomass"}
        )
    store.write_vrt(tmp_path / "agb.vrt", files, grid)
    with rasterio.open(tmp_path / "agb.vrt") as raster:
        np.testing.assert_array_equal(raster.read(1), band)
        np.testing.assert_array_equal(raster.read(2), band * 2)
        assert raster.descriptions == ("agb", "se") and raster.units == ("Mg/ha", "Mg/ha")
        assert raster.crs == UTM and raster.bounds == grid.bounds and np.isnan(raster.nodata)


# ---------------------------------------------------------------- the same bytes


def test_the_same_content_gives_the_same_bytes(tmp_path):
    grid, band = make_grid(), make_band()
    table = pd.DataFrame({"stand": ["a", "b"], "sums": [[1.0, 2.0], [3.0, np.nan]], "n": [1, 2]})
    written = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        store.write_raster(folder / "work.tif", {"agb": band}, geobox=grid.geobox)
        write_cog(folder / "map.tif", {"agb": band}, grid)
        store.write_table(folder / "table.parquet", table)
        store.write_table(folder / "layer.parquet", make_layer())
        store.write_table(folder / "table.csv", table.drop(columns="sums"))
        store.write_layers(folder / "stands.gpkg", {"stands": make_layer()}, styles={"stands": "<qgis/>"})
        store.write_json(folder / "a.json", {"b": 1, "a": [np.float32(2), np.nan]})
        written.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert list(written[0]) == sorted(written[0]) and len(written[0]) == 7
    for name, content in written[0].items():
        assert content == written[1][name], name


# ---------------------------------------------------------------- tables, layers, documents


def test_tables_come_back_as_they_were_geometry_and_lists_included(tmp_path):
    table = pd.DataFrame({"stand": ["a", "b"], "sums": [[1.0, 2.0], [3.0, 4.0]]})
    store.write_table(tmp_path / "t.parquet", table)
    read = store.read_table(tmp_path / "t.parquet")
    assert read["stand"].tolist() == ["a", "b"] and [list(row) for row in read["sums"]] == [[1, 2], [3, 4]]
    layer = make_layer(area_ha=[1.0, np.nan, 2.0])
    store.write_table(tmp_path / "l.parquet", layer)
    again = store.read_table(tmp_path / "l.parquet")
    assert isinstance(again, gpd.GeoDataFrame) and again.crs == UTM and again.geometry.geom_equals(layer.geometry).all()
    store.write_table(tmp_path / "t.csv", layer.drop(columns="geometry"))
    assert (tmp_path / "t.csv").read_bytes() == b"stand,area_ha\ns0,1.0\ns1,\ns2,2.0\n"
    assert np.isnan(store.read_table(tmp_path / "t.csv")["area_ha"][1])


def test_a_geopackage_carries_its_style_as_qgis_reads_it(tmp_path):
    file = tmp_path / "stands.gpkg"
    store.write_layers(file, {"stands": make_layer(), "plots": make_layer(2)}, styles={"stands": "<qgis>style</qgis>"})
    assert len(gpd.read_file(file, layer="stands")) == 3 and len(gpd.read_file(file, layer="plots")) == 2
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles").fetchall()
        geometry = database.execute("SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'stands'").fetchone()
        dates = {row[0] for row in database.execute("SELECT last_change FROM gpkg_contents")}
    assert rows == [("stands", geometry[0], "<qgis>style</qgis>", 1)]
    assert {date[:10] for date in dates} == {"2000-01-01"}


def test_json_has_null_for_what_is_no_number_and_plain_values_for_numpy_s(tmp_path):
    content = {"b": np.nan, "a": np.arange(2), 3: np.float32(0.5), "d": {"e": (np.bool_(True), np.int64(7), np.inf)}}
    store.write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": [0, 1], "b": None, "3": 0.5, "d": {"e": [True, 7, None]}}
    assert text.index('"3"') < text.index('"a"') < text.index('"b"')


def test_a_cleared_folder_is_there_and_empty(tmp_path):
    (tmp_path / "stac" / "old").mkdir(parents=True)
    assert list(store.clear_folder(tmp_path / "stac").iterdir()) == []
    assert store.clear_folder(tmp_path / "new").is_dir()
