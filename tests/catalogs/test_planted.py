"""The planted study is a forest whose truth is known, written as others would write it."""

import hashlib
import json

import numpy as np
import pytest

from catalogs.planted import plant_field, plant_lidar, plant_scenes, plant_truth
from catalogs.planted.settings import SMALL_AREA, Planting

YEARS = (2019, 2024)
CLEAR, CLOUD, SHADOW, DILATED, WET = 21824, 22280, 23888, 21762, 21952  # QA_PIXEL values of real Landsat 8 scenes


def make_settings(seed=3, **changes):
    return Planting.small(seed, **changes).model_dump(mode="json")


def make_forest(seed=3, years=YEARS, **changes):
    from catalogs.planted.forest import grow
    from catalogs.planted.site import Site

    return grow(Site.of(SMALL_AREA), years[0], years[-1], Planting.small(seed, **changes))


def plant_all(folder, seed=3, years=YEARS, **changes):
    """The whole small study, each part grown anew as in a job of its own."""
    from catalogs.planted.forest import grow

    common = {"area": {**SMALL_AREA, "chunk_px": 16}, "years": years, "settings": make_settings(seed, **changes)}
    for plant in (plant_field, plant_scenes, plant_truth):
        grow.cache_clear()
        plant(folder, **common)
    for campaign in Planting.small(seed, **changes).campaigns(years):
        grow.cache_clear()
        plant_lidar(folder, campaign=campaign, **common)
    return folder


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(file):
    import rasterio

    with rasterio.open(file) as raster:
        return raster.read(1)


def items_of(folder, collection):
    return [json.loads(file.read_text()) for file in sorted((folder / collection).glob("*/*.json"))]


def reflectance(folder, item, band):
    """Reflectance by the asset's own scale and offset, missing NaN."""
    asset = item["assets"][band]
    numbers = read(folder / item["collection"] / item["id"] / asset["href"]).astype(float)
    encoding = asset["raster:bands"][0]
    return np.where(numbers == encoding["nodata"], np.nan, numbers * encoding["scale"] + encoding["offset"])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant_all(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def many_scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    settings = make_settings(sensors=["sentinel-2-l2a", "landsat-c2-l2"], scenes_per_year=4, cloud_share=0.3)
    plant_scenes(folder, area=SMALL_AREA, years=YEARS, settings=settings)
    return folder


def test_the_same_seed_gives_the_same_bytes_of_every_file(planted, tmp_path):
    first, again = digests(planted), digests(plant_all(tmp_path))
    assert len(first) > 50
    assert first == again


def test_another_seed_gives_another_forest(planted, tmp_path):
    plant_truth(tmp_path, area=SMALL_AREA, years=YEARS, settings=make_settings(4))
    here, there = read(planted / "truth/agb_2019.tif"), read(tmp_path / "truth/agb_2019.tif")
    assert abs(np.corrcoef(here.ravel(), there.ravel())[0, 1]) < 0.2
    drawn = [json.loads((folder / "truth/parameters.json").read_text())["a"] for folder in (planted, tmp_path)]
    assert drawn[0] != drawn[1]


def test_more_scenes_and_denser_points_move_no_tree():
    few, many = make_forest(), make_forest(scenes_per_year=6, lidar_pulses_m2=(3.0,), plot_clusters_n=3)
    for name, values in few.stems.items():
        np.testing.assert_array_equal(values, many.stems[name])


def test_annual_dates_share_the_truth_of_two_dates(planted, tmp_path):
    import pandas as pd

    years = (2019, 2020, 2022, 2024)
    plant_truth(tmp_path, area=SMALL_AREA, years=years, settings=make_settings())
    two, four = (pd.read_csv(folder / "truth/stands.csv") for folder in (planted, tmp_path))
    for year in YEARS:
        pd.testing.assert_series_equal(two[f"agb_mg_ha_{year}"], four[f"agb_mg_ha_{year}"])
    assert all((tmp_path / f"truth/agb_{year}.tif").exists() for year in years)


def test_pixels_and_stands_hold_the_same_biomass(planted):
    import pandas as pd

    stands = pd.read_csv(planted / "truth/stands.csv")
    for year in YEARS:
        pixels_mg = read(planted / f"truth/agb_{year}.tif").astype(float).sum() * 0.04  # a pixel of 20 m is 0.04 ha
        assert pixels_mg == pytest.approx((stands[f"agb_mg_ha_{year}"] * stands["area_ha"]).sum(), rel=1e-6)


def test_stand_biomass_is_the_sum_of_its_trees_by_hand():
    from catalogs.planted.forest import SPECIES_ORDER
    from catalogs.planted.truth import stand_agb

    forest = make_forest()
    trees, true = forest.trees(2024), forest.parameters
    stand, total_kg = 5, 0.0
    for i in np.flatnonzero((trees.stand == stand) & ~trees.snag & (trees.dbh_cm >= 5)):
        density, error = (forest.stems[name][trees.tree[i]] for name in ("wood_density", "allometry_error"))
        species = SPECIES_ORDER[trees.species[i]]
        size = density * trees.dbh_cm[i] ** 2 * trees.height_m[i]
        total_kg += np.exp(true.a[species] + error) * size ** true.b[species]
    assert stand_agb(forest, 2024)[stand] == pytest.approx(total_kg / 1000 / forest.layout.areas_ha[stand])


def test_growth_follows_chapman_richards():
    from catalogs.planted.forest import SPECIES_ORDER, diameter_cm

    fir = np.array([SPECIES_ORDER.index("Cunninghamia lanceolata")])
    # 25 (1 - exp(-0.065 x 10))^1.3 = 25 x 0.477954^1.3 = 25 x 0.38302
    assert diameter_cm(fir, np.array([10.0]))[0] == pytest.approx(9.5755, abs=2e-3)
    assert diameter_cm(fir, np.array([-1.0]))[0] == 0


def test_felled_land_is_bare_and_planted_land_grows():
    import shapely

    from catalogs.planted.truth import stand_agb

    forest = make_forest()
    trees = forest.trees(2024)
    for event in forest.layout.events:
        before = shapely.contains_xy(event.polygon, forest.trees(2019).x, forest.trees(2019).y).sum()
        living = shapely.contains_xy(event.polygon, trees.x, trees.y) & ~trees.snag
        assert before > 0
        assert living.sum() <= (0 if event.removed else 0.2 * before)
    afforested = forest.layout.ages < 0
    assert afforested.sum() >= 2
    assert (stand_agb(forest, 2019)[afforested] == 0).all()
    assert stand_agb(forest, 2024)[afforested].max() > 20


def test_stands_hold_what_foresters_know():
    from catalogs.planted.truth import stand_agb

    biomass, kinds, ages = [], [], []
    for seed in (3, 5, 7):
        forest = make_forest(seed)
        biomass.append(stand_agb(forest, 2019))
        kinds.append(forest.layout.forest_types)
        ages.append(forest.layout.ages)
        assert forest.layout.areas_ha.min() >= 1.0 and forest.layout.areas_ha.max() <= 12.0
        assert 25 < forest.trees(2019).height_m.max() < 42
    biomass, kinds, ages = map(np.concatenate, (biomass, kinds, ages))
    assert 120 < np.median(biomass[kinds == "broadleaf"]) < 350
    assert 40 < np.median(biomass[(kinds == "chinese_fir") & (ages > 10)]) < 200


def test_drawn_parameters_come_from_the_tables_that_the_analyst_reads(planted):
    import pandas as pd

    from catalogs.planted.forest import draw_parameters

    allometry = pd.read_csv(planted / "allometry.csv").set_index("taxon")
    density = pd.read_csv(planted / "wood_density.csv").set_index("species")
    drawn = [draw_parameters(seed) for seed in range(400)]
    for species, row in allometry.iterrows():
        covariance = np.array([[row.var_a, row.cov_ab], [row.cov_ab, row.var_b]])
        off = np.array([(p.a[species] - row.a, p.b[species] - row.b) for p in drawn])
        distance2 = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
        assert (distance2 < 4.605).mean() == pytest.approx(0.90, abs=0.06)  # chi-square, 2 degrees; 4 sd of 400 draws
        assert (np.abs(off[:, 0]) < 1.645 * np.sqrt(row.var_a)).mean() == pytest.approx(0.90, abs=0.06)
    z = [
        (p.wood_density_g_cm3[species] - row.wood_density_g_cm3) / row.se
        for p in drawn
        for species, row in density.iterrows()
    ]
    assert np.mean(z) == pytest.approx(0, abs=0.06)
    assert np.std(z) == pytest.approx(1, abs=0.05)
    # the induced standard error of a tree: 4 % where ln(rho D^2 H) = 8.5
    at = np.array([1, 8.5])
    assert np.sqrt(at @ covariance @ at) == pytest.approx(0.04, abs=1e-6)
    fir, pine = (np.array([p.a[name] for p in drawn]) for name in ("Cunninghamia lanceolata", "Pinus massoniana"))
    assert abs(np.corrcoef(fir, pine)[0, 1]) < 0.2  # each species has its own


def test_every_plot_has_a_row_at_both_dates_even_without_trees(planted):
    import pandas as pd

    plots, trees = pd.read_csv(planted / "plots.csv"), pd.read_csv(planted / "trees.csv")
    assert (plots.groupby("plot").size() == 2).all()
    tallied = set(zip(trees["plot"], trees["date"], strict=True))
    empty = [key not in tallied for key in zip(plots["plot"], plots["date"], strict=True)]
    assert 0 < sum(empty) < len(plots) / 3
    assert tallied <= set(zip(plots["plot"], plots["date"], strict=True))
    assert trees["dbh_cm"].min() >= 5
    assert set(trees["status"]) == {"live", "dead"}
    assert trees["height_m"].notna().mean() == pytest.approx(0.35, abs=0.05)


def test_plots_come_in_clusters_and_alone_inside_the_area(planted):
    import pandas as pd

    plots = pd.read_csv(planted / "plots.csv").drop_duplicates("plot")
    sizes = plots.groupby("cluster").size()
    assert sizes.max() <= 4
    assert (sizes > 1).sum() >= 5
    assert (sizes == 1).sum() >= 20
    assert plots["x"].between(500000 + 5, 501200 - 5).all()
    assert set(plots["position_error_m"]) == {2.12}  # 1.5 m in each coordinate
    assert plots["y"].between(2998800 + 5, 3000000 - 5).all()
    placed = plots["plot"].str.startswith("D")
    assert set(plots.loc[~placed, "sampling"]) == {"probability"}
    assert set(plots.loc[placed, "sampling"]) == {"purposive"}


def test_two_plots_were_measured_just_before_the_land_was_felled(planted):
    import pandas as pd

    plots = pd.read_csv(planted / "plots.csv")
    trees = pd.read_csv(planted / "trees.csv")
    late = plots[plots["date"].str.startswith("2024") & (plots["date"] < plots["disturbance_date"])]
    assert len(late) == 2
    assert (late["disturbance_date"] < "2024-06-01").all()
    assert set(zip(late["plot"], late["date"], strict=True)) <= set(zip(trees["plot"], trees["date"], strict=True))
    agb = read(planted / "truth/agb_2024.tif")
    for x, y in zip(late["x"], late["y"], strict=True):
        assert agb[int((3000000 - y) // 20), int((x - 500000) // 20)] < 60


def test_the_crews_tables_lead_back_to_the_truth():
    """With the true parameters in place of the tables', tallied trees give the biomass of the sampled land."""
    from catalogs.planted.field import draw_plots, measure
    from catalogs.planted.species import ALLOMETRY
    from catalogs.planted.truth import stand_agb

    forest = make_forest(plot_clusters_n=0, single_plots_n=600, heights_measured_share=1.0, disturbed_plots_n=0)
    _, trees = measure(forest, draw_plots(forest), YEARS)
    trees = trees[(trees["status"] == "live") & trees["date"].str.startswith("2019")]
    true = forest.parameters
    density, a, b = (trees["species"].map(part) for part in (true.wood_density_g_cm3, true.a, true.b))
    rse = trees["species"].map({name: row[2] for name, row in ALLOMETRY.items()})
    kg = np.exp(a + rse**2 / 2) * (density * trees["dbh_cm"] ** 2 * trees["height_m"]) ** b
    sampled_mg_ha = kg.sum() / 1000 / (600 * np.pi * 11.28**2 / 1e4)
    areas = forest.layout.areas_ha
    assert sampled_mg_ha == pytest.approx(np.average(stand_agb(forest, 2019), weights=areas), rel=0.08)


def test_stand_polygons_are_valid_unique_and_apart(planted):
    import geopandas as gpd
    import shapely

    stands = gpd.read_file(planted / "stands.gpkg")
    assert stands["stand"].is_unique and stands.is_valid.all() and stands.crs.to_epsg() == 32650
    assert stands["area_ha"].to_numpy() == pytest.approx(stands.area.to_numpy() / 1e4, abs=1e-3)
    assert shapely.union_all(stands.geometry).area == pytest.approx(stands.area.sum(), rel=1e-9)
    assert set(stands.columns) >= {"stand", "species", "forest_type", "age_class_2019", "area_ha"}


def test_land_cover_follows_the_forest_and_shows_its_loss_and_gain(planted):
    cover = {year: read(planted / f"landcover_{year}.tif") for year in YEARS}
    truth = {year: read(planted / f"truth/forest_{year}.tif") for year in YEARS}
    for year in YEARS:
        assert set(np.unique(cover[year])) <= {10, 30, 40, 50, 80}
        agreement = ((cover[year] == 10) == (truth[year] == 1)).mean()
        assert 0.94 < agreement < 1.0
    assert ((cover[2019] == 10) & (cover[2024] == 30)).sum() > 50
    assert ((cover[2019] != 10) & (cover[2024] == 10)).sum() > 50


def test_only_the_truth_folder_knows_biomass(planted):
    for file in planted.glob("*.csv"):
        assert "agb" not in file.read_text().splitlines()[0].replace("sampling", "")
    assert {path.name for path in planted.rglob("*agb*")} == {"agb_2019.tif", "agb_2024.tif"}
    drawn = json.loads((planted / "truth/parameters.json").read_text())
    for file in planted.rglob("*"):
        if file.suffix in (".csv", ".json") and file.parent.name != "truth":
            text = file.read_text()
            assert not any(repr(value) in text for value in drawn["a"].values())


def test_the_catalogue_opens_with_pystac_and_its_files_exist(many_scenes):
    import pystac

    items = list(pystac.Catalog.from_file(str(many_scenes / "catalog.json")).get_items(recursive=True))
    assert len(items) == 16  # 2 sensors, 2 years, 4 scenes
    assert {item.collection_id for item in items} == {"sentinel-2-l2a", "landsat-c2-l2"}
    for item in items:
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            assert (many_scenes / item.collection_id / item.id / asset.href).exists()


@pytest.mark.parametrize("collection", ["sentinel-2-l2a", "landsat-c2-l2"])
def test_items_hold_what_stac_requires_and_files_agree(many_scenes, collection):
    import rasterio

    for item in items_of(many_scenes, collection):
        assert item["type"] == "Feature" and item["stac_version"] == "1.0.0" and item["collection"] == collection
        assert item["geometry"]["type"] == "Polygon"
        ring = np.array(item["geometry"]["coordinates"][0])
        assert (ring[0] == ring[-1]).all()
        np.testing.assert_allclose(item["bbox"], [*ring.min(0), *ring.max(0)])
        assert item["properties"]["datetime"][4:7] in ("-06", "-07", "-08", "-09")
        assert item["properties"]["proj:epsg"] == 32650
        assert {"parent", "root", "collection"} <= {link["rel"] for link in item["links"]}
        for asset in item["assets"].values():
            with rasterio.open(many_scenes / collection / item["id"] / asset["href"]) as raster:
                assert list(raster.shape) == asset["proj:shape"]
                assert list(raster.transform)[:6] == asset["proj:transform"]
                assert raster.nodata == asset["raster:bands"][0]["nodata"]
                assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_baselines_on_both_sides_of_the_offset_decode_to_the_same_forest(many_scenes):
    items = items_of(many_scenes, "sentinel-2-l2a")
    offsets = {(i["properties"]["datetime"][:4], i["assets"]["red"]["raster:bands"][0]["offset"]) for i in items}
    assert offsets == {("2019", 0), ("2019", -0.1), ("2024", -0.1)}  # the date does not tell
    for item in items:
        old = float(item["properties"]["s2:processing_baseline"]) < 4
        assert (item["assets"]["red"]["raster:bands"][0]["offset"] == 0) == old
        forest = read(many_scenes / "sentinel-2-l2a" / item["id"] / "SCL.tif") == 4
        forest = forest.repeat(2, 0).repeat(2, 1)
        red, nir = (reflectance(many_scenes, item, band)[forest] for band in ("red", "nir"))
        assert 0.015 < np.median(red) < 0.065
        assert 0.65 < np.median((nir - red) / (nir + red)) < 0.92


def test_two_dates_a_year_show_the_edge_of_a_swath(many_scenes):
    for collection in ("sentinel-2-l2a", "landsat-c2-l2"):
        missing = [np.isnan(reflectance(many_scenes, i, "red")).mean() for i in items_of(many_scenes, collection)]
        partial = [share for share in missing if share > 0.1]
        assert len(partial) == 4
        assert all(share < 0.7 for share in partial)
        assert all(share == 0 for share in missing if share not in partial)


def test_clouds_are_bright_and_their_shadows_dark_in_both_quality_layers(many_scenes):
    cloudy = 0
    for item in items_of(many_scenes, "sentinel-2-l2a"):
        classes = read(many_scenes / "sentinel-2-l2a" / item["id"] / "SCL.tif")
        nir = reflectance(many_scenes, item, "nir08")
        if min((classes == value).sum() for value in (3, 4, 9)) > 100:
            cloudy += 1
            assert np.nanmedian(nir[classes == 3]) < 0.75 * np.nanmedian(nir[classes == 4])
            assert np.nanmedian(reflectance(many_scenes, item, "swir16")[classes == 9]) > 0.3
    assert cloudy >= 2
    seen = set()
    for item in items_of(many_scenes, "landsat-c2-l2"):
        quality = read(many_scenes / "landsat-c2-l2" / item["id"] / item["assets"]["qa_pixel"]["href"])
        seen |= set(np.unique(quality).tolist())
        assert ((quality == 1) == np.isnan(reflectance(many_scenes, item, "red"))).all()
        shaded = quality[quality == SHADOW]
        assert (shaded & (1 << 6) > 0).all()  # "clear" stays set in shadow
    assert {1, CLEAR, CLOUD, SHADOW, DILATED, WET} <= seen


def test_some_cloud_edges_escape_the_classification(many_scenes):
    share = []
    for item in items_of(many_scenes, "sentinel-2-l2a"):
        classes = read(many_scenes / "sentinel-2-l2a" / item["id"] / "SCL.tif")
        blue = reflectance(many_scenes, item, "blue")
        blue = blue.reshape(blue.shape[0] // 2, 2, -1, 2).mean((1, 3))
        share.append((blue[np.isin(classes, (4, 5))] > 0.16).mean())
    assert 0 < max(share) < 0.05


def test_a_shadow_falls_away_from_the_sun():
    from catalogs.planted.reflectance import land_of, sky_of, sun_position

    elevation, azimuth = sun_position(27.0, 172, 12.0)  # noon at the solstice: 90 - 27 + 23.45 degrees, due south
    assert (elevation, azimuth) == (pytest.approx(86.45, abs=0.01), pytest.approx(180, abs=0.01))
    forest = make_forest()
    land = land_of(forest, 2019, pad=48)
    sky = sky_of(forest, land, rng=np.random.default_rng(1), day_of_year=240, cloud_share=0.2, hour=10.5)
    assert 90 < sky.sun_azimuth_deg < 180
    best = max(
        ((np.roll(sky.cloud, (row, col), (0, 1)) * sky.shadow)[70:-70, 70:-70].sum(), -row, -col)
        for row in range(-60, 61, 6)
        for col in range(-60, 61, 6)
    )
    assert best[1] > 0 and best[2] > 0  # the shadow lies to the north and the west of its cloud


def test_reflectance_saturates_with_biomass():
    from catalogs.planted.reflectance import Sky, land_of, see_bands
    from catalogs.planted.truth import agb_map

    low, high = [], []
    for seed in (3, 5):
        forest = make_forest(seed)
        land = land_of(forest, 2019, pad=0)
        none = np.zeros(land.ground.shape, np.float32)
        seen = see_bands(land, Sky(65, 110, 0.8, none, none, none, 1.0), ("red", "nir08", "swir16"))
        red, nir, swir = (values.reshape(60, 4, 60, 4).mean((1, 3)).ravel() for values in seen.values())
        agb = agb_map(forest, 2019).ravel()
        stands = (forest.layout.stand_canvas.reshape(60, 4, 60, 4).min((1, 3)) >= 0).ravel()
        for store, inside in ((low, (agb > 0) & (agb < 80)), (high, (agb > 150) & (agb < 350))):
            inside &= stands
            slopes = [np.polyfit(agb[inside], values[inside], 1)[0] for values in ((nir - red) / (nir + red), swir)]
            store.append(slopes)
    low, high = np.mean(low, axis=0), np.mean(high, axis=0)
    assert low[0] > 3 * abs(high[0])
    assert low[1] < 0 and abs(low[1]) > 3 * abs(high[1])


def test_what_height_leaves_unexplained_is_correlated_in_space():
    from catalogs.planted.canopy import see_canopy
    from catalogs.planted.truth import agb_map

    near, far = [], []
    for seed in (3, 5, 7):
        forest = make_forest(seed)
        height = see_canopy(forest, 2019).height_m.reshape(60, 4, 60, 4).mean((1, 3))
        agb = agb_map(forest, 2019)
        forested = height > 4
        fit = np.polyfit(height[forested], np.sqrt(agb[forested]), 2)
        residual = np.where(forested, np.sqrt(agb) - np.polyval(fit, height), np.nan)
        for store, lag in ((near, 3), (far, 25)):
            here, there = residual[:, :-lag].ravel(), residual[:, lag:].ravel()
            both = np.isfinite(here) & np.isfinite(there)
            store.append(np.corrcoef(here[both], there[both])[0, 1])
    assert np.mean(near) > 0.2  # 60 m apart
    assert abs(np.mean(far)) < np.mean(near) / 2  # 500 m apart


@pytest.fixture(scope="module")
def points(planted):
    import laspy

    return {
        campaign: [laspy.read(file) for file in sorted((planted / "lidar" / campaign).glob("*.laz"))]
        for campaign in ("als2019", "als2024")
    }


def test_tiles_are_las_14_of_point_format_6_with_their_crs(points):
    for campaign, tiles in points.items():
        assert len(tiles) > 1
        for tile in tiles:
            assert str(tile.header.version) == "1.4" and tile.header.point_format.id == 6
            assert tile.header.parse_crs().to_epsg() == 32650
            assert tile.header.creation_date.year == int(campaign[3:])


def test_points_have_ground_noise_flags_lines_and_right_return_numbers(points):
    for tiles in points.values():
        classes = np.concatenate([np.asarray(tile.classification) for tile in tiles])
        assert {1, 2, 5, 7, 18} == set(np.unique(classes).tolist())
        assert 0.1 < (classes == 2).mean() < 0.7
        assert np.isin(classes, (7, 18)).mean() < 0.002
        assert any(np.asarray(tile.withheld).any() for tile in tiles)
        assert any(np.asarray(tile.overlap).any() for tile in tiles)
        assert len(np.unique(np.concatenate([np.asarray(tile.point_source_id) for tile in tiles]))) > 1
        for tile in tiles:
            number, of = np.asarray(tile.return_number), np.asarray(tile.number_of_returns)
            assert (number >= 1).all() and (number <= of).all()
            for n in range(2, of.max() + 1):  # as many first as last returns of every kind of pulse
                assert (number[of == n] == 1).sum() == (number[of == n] == n).sum()


def test_flight_lines_overlap_in_stripes_of_double_density(points):
    for tiles in points.values():
        first = [np.asarray(tile.return_number) == 1 for tile in tiles]
        x = np.concatenate([np.asarray(tile.x)[one] for tile, one in zip(tiles, first, strict=True)])
        flagged = [np.asarray(tile.overlap, bool)[one] for tile, one in zip(tiles, first, strict=True)]
        flagged = np.concatenate(flagged)
        counts, edges = np.histogram(x, bins=np.arange(x.min(), x.max(), 10))
        overlapping = np.histogram(x[flagged], bins=edges)[0] > 0.3 * counts
        assert np.median(counts[overlapping]) == pytest.approx(2 * np.median(counts[~overlapping]), rel=0.15)


def test_campaigns_cover_one_strip_with_their_own_density(points):
    covered = {}
    for campaign, tiles in points.items():
        x = np.concatenate([np.asarray(tile.x) for tile in tiles])
        covered[campaign] = x.min(), x.max()
        assert np.ptp(x) == pytest.approx(0.45 * 1200, abs=2)
    assert covered["als2024"][0] - covered["als2019"][0] == pytest.approx(30, abs=2)
    counts = [sum((np.asarray(t.return_number) == 1).sum() for t in tiles) for tiles in points.values()]
    assert counts[1] / counts[0] == pytest.approx(0.4 / 0.25, rel=0.05)


def test_returns_come_from_crowns_below_the_tree_tops_and_later_plants_stand_higher():
    from catalogs.planted.lidar import scan

    forest = make_forest()
    bounds = (500300.0, 2999000.0, 500600.0, 2999300.0)
    flown = {
        offset: scan(forest, bounds, bounds, year=2019, density=2.0, offset_m=offset, rng=np.random.default_rng(1))
        for offset in (0.0, 0.15)
    }
    first = flown[0.0]
    height = first.z - forest.terrain.elevation_m(first.x, first.y)
    trees = forest.trees(2019)
    west, south, east, north = bounds
    inside = (trees.x > west - 8) & (trees.x < east + 8) & (trees.y > south - 8) & (trees.y < north + 8)
    clean = ~np.isin(first.kind, (7, 18))
    assert height[clean].max() < trees.height_m[inside].max() + 0.3
    assert np.percentile(height[clean], 99.9) < trees.height_m[inside].max()
    assert abs(height[first.kind == 2]).max() < 0.25
    rise = flown[0.15].z - first.z
    assert rise[first.kind == 5].mean() == pytest.approx(0.15, abs=1e-6)
    assert abs(rise[first.kind == 2]).max() < 1e-6


def test_first_returns_above_two_metres_follow_crown_cover():
    from catalogs.planted.canopy import forest_cover
    from catalogs.planted.lidar import scan
    from catalogs.planted.stands import WATER

    forest = make_forest()
    bounds = west, _, _, north = (500200.0, 2999000.0, 500800.0, 2999600.0)
    returns = scan(forest, bounds, bounds, year=2019, density=1.0, offset_m=0.0, rng=np.random.default_rng(2))
    first = (returns.number == 1) & ~np.isin(returns.kind, (7, 18))
    x, y = returns.x[first], returns.y[first]
    above = (returns.z[first] - forest.terrain.elevation_m(x, y)) > 2
    cell = ((north - y) // 60).astype(int) * 10 + ((x - west) // 60).astype(int)
    seen = np.bincount(cell, above, minlength=100) / np.bincount(cell, minlength=100)
    pixels = forest_cover(forest, 2019)[20:50, 10:40]  # the same 600 m in pixels of 20 m
    true = pixels.reshape(10, 3, 10, 3).mean((1, 3)).ravel()
    dry = (forest.layout.ground_canvas != WATER)[80:200, 40:160].reshape(10, 12, 10, 12).all((1, 3)).ravel()
    assert np.corrcoef(seen[dry], true[dry])[0, 1] > 0.97
    assert (seen[dry] <= true[dry] + 0.05).all()
    assert 0.75 < seen[dry].sum() / true[dry].sum() < 1  # some pulses pass through crowns


def test_the_settings_are_checked_in_the_users_words(tmp_path):
    with pytest.raises(ValueError, match="no lidar campaign 'als2020'; it has als2019, als2024"):
        plant_lidar(tmp_path, campaign="als2020", area=SMALL_AREA, years=YEARS, settings={})
    with pytest.raises(ValueError, match="two or more years that rise"):
        plant_truth(tmp_path, area=SMALL_AREA, years=(2019,), settings={})
    with pytest.raises(ValueError, match="at least 600 x 600 m, got 400 x 400 m"):
        plant_truth(tmp_path, area={**SMALL_AREA, "rows": 20, "cols": 20}, years=YEARS, settings={})
