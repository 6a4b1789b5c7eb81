"""Slopes lit as level ground: hand arithmetic, planted light, and the step that finds c once for a whole study."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from chain import small_study
from conftest import make_study

from catalogs.scenes import Look
from pipeline import store
from pipeline.bridge import Plan
from pipeline.bridge.problems import wrong_corrections
from pipeline.grid import Grid, Window
from pipeline.optical.topography import (
    MIN_CELLS,
    MIN_PIXELS,
    Fit,
    Relief,
    Seen,
    Sun,
    cells_of,
    corrected,
    factor,
    falls,
    fit_c,
    fit_of_season,
    kinds_of,
    of_scene,
    sample_windows,
    sloping_vegetation,
    years_that_differ,
)
from pipeline.steps import planted
from pipeline.steps.composite import Levelling, composite
from pipeline.steps.search import search
from pipeline.steps.topography import topography, turn_deg

SIDE_M = 20.0


def make_plane(east=0.0, north=0.0, side=6):
    """The relief of a plane that rises `east` and `north` metres a metre."""
    rows, cols = np.indices((side + 2, side + 2))
    return Relief.of(100 + SIDE_M * (east * cols - north * rows), SIDE_M)


# A plane that rises 0.5 m a metre towards east leans 26.565 degrees to the west: normal (-0.5, 0, 1) / 1.1180.
EAST, WEST, NORTH = Sun(45, 90), Sun(45, 270), Sun(45, 0)


@pytest.mark.parametrize(
    ("sun", "expected"),
    [(EAST, 0.316228), (WEST, 0.948683), (NORTH, 0.632456), (Sun(90, 0), 0.894427), (Sun(20, 90), -0.114331)],
    ids=["behind", "in_front", "beside", "above", "self_shaded"],
)
def test_light_falls_on_a_plane_as_trigonometry_says(sun, expected):
    """cos(i) = cos(slope) sin(elevation) + sin(slope) cos(elevation) cos(sun's azimuth - aspect), the aspect 270 degrees."""
    slope, height, turned = math.atan(0.5), math.radians(sun.elevation_deg), math.radians(sun.azimuth_deg - 270)
    by_angles = math.cos(slope) * math.sin(height) + math.sin(slope) * math.cos(height) * math.cos(turned)
    assert by_angles == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(make_plane(east=0.5).cos_incidence(sun), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "sun", "c", "expected"),
    [
        ("c", EAST, 0.5, 1.478882),  # (0.707107 + 0.5) / (0.316228 + 0.5)
        ("c", WEST, 0.5, 0.833248),
        ("c", EAST, 2.0, 1.168760),  # much light of the sky: little to correct
        ("scs_c", EAST, 0.5, 1.387421),  # (0.894427 x 0.707107 + 0.5) / (0.316228 + 0.5)
        ("scs_c", WEST, 0.5, 0.781717),
        ("c", EAST, 0.0, 2.0),  # the cosine alone would ask for 2.236
        ("c", Sun(20, 90), 0.5, 1.684040),  # self-shaded counts as cos(i) = 0: (0.342020 + 0.5) / 0.5
    ],
)
def test_the_factor_is_that_of_the_papers_equations(method, sun, c, expected):
    np.testing.assert_allclose(factor(make_plane(east=0.5), sun, c, method), expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["c", "scs_c"])
def test_flat_ground_and_ground_without_a_height_stay_as_they_are(method):
    np.testing.assert_array_equal(factor(make_plane(east=math.tan(math.radians(1.9))), EAST, 0.1, method), 1)
    assert (factor(make_plane(east=math.tan(math.radians(2.1))), EAST, 0.1, method) > 1).all()
    sea = Relief.of(np.full((8, 8), np.nan), SIDE_M)
    np.testing.assert_array_equal(factor(sea, EAST, 0.1, method), 1)


def test_the_correction_works_on_reflectance_and_not_on_numbers():
    numbers = np.full((6, 6), 2600, "uint16")
    level = corrected(numbers, (1e-4, -0.1), make_plane(east=0.5), EAST, 0.5, "c")
    np.testing.assert_allclose(level, 0.16 * 1.478882, rtol=1e-5)


def test_an_unknown_correction_is_refused():
    with pytest.raises(ValueError, match="one of c, scs_c, got 'cosine'"):
        factor(make_plane(), EAST, 0.5, "cosine")


# ---------------------------------------------------------------- c


def make_light(n_cells=40, per_cell=50, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1.0, n_cells * per_cell), np.repeat(np.arange(n_cells), per_cell), rng


def test_the_c_of_planted_light_comes_back():
    light, cell, rng = make_light()
    found = fit_c(0.12 + 0.15 * light + rng.normal(0, 0.01, light.size), light, cell)
    assert found.c == pytest.approx(0.8, abs=0.02) and found.why == ""  # 0.12 / 0.15
    assert found.slope == pytest.approx(0.15, abs=0.002) and found.pixels == 2000 and found.cells == 40


def test_what_differs_between_places_is_not_taken_for_light():
    """Two stands, the brighter on the sunny side: 2000 pixels, but two facts. Counted by pixel, t would be above 40."""
    light, cell, rng = make_light(n_cells=12, per_cell=200)
    stand = cell % 2
    light = np.where(stand, 0.8, 0.6) + rng.uniform(-0.05, 0.05, light.size)
    bright = 0.2 + 0.03 * rng.normal(size=12)[cell]
    found = fit_c(bright + rng.normal(0, 0.002, light.size), light, cell)
    naive = np.corrcoef(light, bright)[0, 1] * math.sqrt(light.size)
    assert abs(naive) > 3 and found.c is None and "does not rise with illumination" in found.why


@pytest.mark.parametrize(
    ("reflectance", "cells", "why"),
    [
        (lambda light: 0.3 - 0.1 * light, 40, "does not rise with illumination"),
        (lambda light: 0.2 + 0.1 * light, MIN_CELLS - 1, f"in {MIN_CELLS} are needed"),
    ],
    ids=["falls", "few_cells"],
)
def test_without_a_clear_rise_or_places_enough_there_is_no_c(reflectance, cells, why):
    light, _, _ = make_light()
    found = fit_c(reflectance(light), light, np.arange(light.size) % cells)
    assert found.c is None and why in found.why


def test_a_scene_without_vegetation_says_so():
    nothing = np.zeros(0)
    why = f"0 pixels in 0 cells of sloping vegetation; {MIN_PIXELS} in {MIN_CELLS} are needed"
    assert fit_c(nothing, nothing, nothing).why == why


def test_kinds_that_differ_in_brightness_and_in_place_are_compared_each_with_itself():
    """A brighter kind on the sunny side: across kinds the slope would be 0.32 and more, within them it is the 0.15 planted."""
    light, cell, rng = make_light()
    kind = (light > 0.65).astype(int)
    bright = 0.12 + 0.15 * light + 0.1 * kind + rng.normal(0, 0.01, light.size)
    assert fit_c(bright, light, cell).slope > 0.3
    assert fit_c(bright, light, cell, kind).slope == pytest.approx(0.15, abs=0.005)


def test_kinds_do_not_follow_the_light():
    """Reflectance under half the light has the same ratios of bands, and so the same kind."""
    rng = np.random.default_rng(4)
    red, nir, swir = rng.uniform(0.02, 0.06, 400), rng.uniform(0.2, 0.5, 400), rng.uniform(0.1, 0.3, 400)
    np.testing.assert_array_equal(kinds_of(red, nir, swir), kinds_of(red / 2, nir / 2, swir / 2))
    assert len(np.unique(kinds_of(red, nir, swir))) > 80


def test_a_band_that_is_black_before_the_light_is_gone_is_corrected_by_the_cosine():
    light, cell, _ = make_light()
    assert fit_c(-0.02 + 0.2 * light, light, cell).c == 0.0


def lit_scene(rng, sky, level, sun_height, pixels=150, cells=8):
    """Sloping vegetation of a scene whose light is a (cos(i) + sky), of two kinds that differ in brightness."""
    cos_incidence = np.clip(rng.normal(sun_height, 0.15, pixels), 0.1, 1)
    kind = rng.integers(0, 2, pixels)
    reflectance = level * (1 + kind) * (cos_incidence + sky) * rng.normal(1, 0.02, pixels)
    return Seen(reflectance, cos_incidence, rng.integers(0, cells, pixels) + 100 * rng.integers(0, 4), kind)


def test_scenes_that_show_too_little_alone_share_the_c_of_their_season():
    rng = np.random.default_rng(1)
    dates = ((0.2, 0.5), (0.25, 0.7), (0.22, 0.9), (0.3, 0.8), (0.2, 0.6))
    scenes = [lit_scene(rng, 0.6, level, height) for level, height in dates]
    assert all(fit_c(*seen).c is None and not falls(fit_c(*seen)) for seen in scenes)
    shared = fit_of_season(scenes)
    assert shared.of == "season" and shared.pixels == 750 and shared.c == pytest.approx(0.6, rel=0.1)
    assert fit_of_season(scenes[:2]).c is None and fit_of_season([]).c is None


@pytest.mark.parametrize("slope", [0.3, 0.0, -0.3], ids=["rises", "level", "falls"])
def test_a_band_rises_with_the_light_or_falls_or_says_nothing(slope):
    rng = np.random.default_rng(3)
    light = rng.uniform(0.4, 1, 2000)
    fit = fit_c(0.3 + slope * light + rng.normal(0, 0.03, 2000), light, rng.integers(0, 40, 2000))
    assert falls(fit) == (slope < 0) and (fit.c is not None) == (slope > 0)


def fits_of(**ts):
    """Fits by band from their t: those of 3 and more have a c of a tenth of it."""
    return {role: Fit(t / 10 if t >= 3 else None, "" if t >= 3 else "lost", t=t) for role, t in ts.items()}


def test_bands_that_cannot_tell_take_the_seasons_c_or_that_of_the_band_nearest_in_wavelength():
    own = fits_of(blue=1, red=1, rededge1=1, nir08=5, swir16=2, swir22=-4)
    season = fits_of(blue=2, red=4, rededge1=2, nir08=6, swir16=2, swir22=-4)
    why, fits = of_scene(own, season)
    assert why == "" and {role: (fit.c, fit.of) for role, fit in fits.items()} == {
        "blue": (0.4, "red"), "red": (0.4, "scene"), "rededge1": (0.4, "red"), "nir08": (0.5, "scene"),
        "swir16": (0.5, "nir08"), "swir22": (0.5, "nir08"),
    }  # fmt: skip
    assert fits["blue"].t == 1 and "c is that of red" in fits["blue"].why  # the fit stays its own


@pytest.mark.parametrize(
    ("own", "season", "why"),
    [
        ({"nir08": 5, "red": 5, "blue": 5}, {"nir08": 2, "red": 4, "blue": 1}, "does not tell its light: 1 of 3 bands rise"),
        ({"nir08": 5, "red": 5, "blue": 1}, {"nir08": 2, "red": 4, "blue": 4}, ""),
        ({"nir08": 0, "red": 0, "blue": 0}, {"nir08": 3, "red": 0, "blue": 0}, ""),
        ({"nir08": -4, "red": 4, "blue": 4}, {"nir08": 4, "red": 4, "blue": 4}, "darker with the light in 1 of 3 bands"),
        ({"nir08": 1, "red": -4, "blue": -4}, {"nir08": 4, "red": 4, "blue": 4}, "darker with the light in 2 of 3 bands"),
        ({"nir08": 4, "red": -4, "blue": 1}, {"nir08": 4, "red": 4, "blue": 4}, ""),
    ],
    ids=["few_rise", "half_rise", "nir_alone", "nir_falls", "half_fall", "one_falls"],
)
def test_all_bands_of_a_scene_are_corrected_or_none(own, season, why):
    found, fits = of_scene(fits_of(**own), fits_of(**season))
    assert why in found and bool(found) == bool(why)
    assert [fit.c is None for fit in fits.values()] == [bool(why)] * 3


def test_years_that_are_corrected_differently_are_told():
    def table(sensor, year, *corrected):
        return {"sensor": sensor, "year": year, "scenes": {str(n): {"corrected": one} for n, one in enumerate(corrected)}}

    alike = [table("ls", 2019, True), table("ls", 2024, True, True)]
    (said,) = years_that_differ([*alike, table("s2", 2024, False, False), table("s2", 2019, True, False)])
    assert said.startswith("s2: slopes are corrected in 1 of 2 scenes of 2019, 0 of 2 scenes of 2024: what changes")
    assert years_that_differ(alike) == years_that_differ([]) == []


def test_a_place_that_several_scenes_show_is_one_place():
    rng = np.random.default_rng(2)
    scenes = [lit_scene(rng, 0.6, 0.2, 0.7, pixels=300)._replace(cell=np.arange(300) % 5) for _ in range(4)]
    shared = fit_of_season(scenes)  # four looks at five cells are not twenty
    assert shared.cells == 5 and shared.c is None


def test_c_is_fitted_on_green_slopes_alone():
    relief = make_plane(east=0.2)
    red, nir = np.full((6, 6), 0.04), np.full((6, 6), 0.3)
    red[0, 0], nir[1, 1] = 0.2, np.nan
    there = sloping_vegetation({"red": red, "nir08": nir}, relief)
    assert not there[0, 0] and not there[1, 1] and there.sum() == 34
    assert not sloping_vegetation({"red": red, "nir08": nir}, make_plane(east=0.05)).any()


@pytest.mark.parametrize("size", [(60, 60), (512, 100), (5490, 5490), (20_000, 700)])
def test_samples_lie_inside_the_grid_apart_and_from_edge_to_edge(size):
    windows = sample_windows(*size)
    assert len(windows) <= 16
    assert min(w.row0 for w in windows) == min(w.col0 for w in windows) == 0
    assert max(w.row1 for w in windows) == size[0] and max(w.col1 for w in windows) == size[1]
    seen = [set(np.unique(cells_of(window, size[1]))) for window in windows]
    if max(size) <= 512:
        assert sum(w.shape[0] * w.shape[1] for w in windows) == size[0] * size[1]
    assert all(not (one & other) for k, one in enumerate(seen) for other in seen[:k]) or max(size) > 512


# ---------------------------------------------------------------- the step, on planted scenes

S2, SEED, YEARS = "sentinel-2-l2a", 3, (2019, 2024)
ROLES = ["nir08", "red", "swir16"]


@pytest.fixture(scope="module")
def hills(tmp_path_factory):
    """Planted scenes of 2.56 x 2.56 km of hills, searched, and the true elevation on the study's grid as block files."""
    from catalogs.planted.settings import DEMO_AREA, Planting

    folder = tmp_path_factory.mktemp("hills")
    area, side = DEMO_AREA, DEMO_AREA["rows"] * DEMO_AREA["resolution_m"]
    study = small_study(
        folder,
        lidar={},
        planted=Planting.small(SEED, scenes_per_year=4, cloud_share=0.1).model_dump(mode="json"),
        area={
            "crs": area["crs"], "resolution_m": area["resolution_m"], "chunk_px": 32, "block_chunks": 4,
            "bounds": [area["west_m"], area["north_m"] - side, area["west_m"] + side, area["north_m"]],
        },
    )  # fmt: skip
    plan = Plan(study)
    planted.plant_scenes(
        made=folder / "made.json", folder=str(plan.resources / "planted"), area=plan.grid_settings, years=YEARS,
        settings=plan.settings("planted"),
    )  # fmt: skip
    settings, scenes = plan.settings("sensors", S2), folder / "scenes.json"
    search(scenes=scenes, settings=settings, sensor=S2, grid=plan.area_settings, years=YEARS)
    write_elevation(plan.grid, folder / "elevation")
    return folder, plan, scenes


def terrain():
    from catalogs.planted.settings import DEMO_AREA
    from catalogs.planted.site import Site, Terrain

    return Terrain.draw(Site.of(DEMO_AREA), SEED)


def centres_of(grid, window):
    cols, rows = np.arange(window.col0, window.col1) + 0.5, np.arange(window.row0, window.row1) + 0.5
    return (grid.west_m + cols * grid.resolution_m)[None, :], (grid.north_m - rows * grid.resolution_m)[:, None]


def write_elevation(grid, folder):
    for block in grid.blocks():
        window = grid.block_window(block)
        elevation = terrain().elevation_m(*centres_of(grid, window)).astype("float32")
        store.write_raster(
            folder / f"{block}.tif", {"elevation": elevation}, geobox=grid.geobox_of(window), units={"elevation": "m"}
        )


def compose(hills, out, method, *, grid=None, elevation=None, series=None):
    """The bands of all blocks as one, and what the step `topography` found."""
    folder, plan, scenes = hills
    grid = grid or plan.grid
    settings = plan.imagery.composite_settings(S2) | {"topographic": method, "series": series or {}}
    about = {"scenes": scenes, "sensor": S2, "year": 2019, "grid": grid.settings(), "settings": settings, "roles": ROLES,
             "elevation": str(elevation or folder / "elevation")}  # fmt: skip
    table = out / "topography.json"
    if method != "none":
        topography(table=table, **about)
    for block in grid.blocks():
        composite(raster=out / f"{block}.tif", block=block, topography=table, **about)
    found = json.loads(table.read_text())["scenes"] if method != "none" else {}
    return store.Mosaic(out, grid).read(grid.window, store.raster_bands(out / f"{grid.blocks()[0]}.tif")), found


def test_the_step_finds_the_light_of_the_sky_that_was_planted(hills, tmp_path):
    """Planted: lit = (cos(i) + C) / (cos(zenith) + C), C 0.9 in the near and 0.7 in the short-wave infrared."""
    _, found = compose(hills, tmp_path, "c")
    assert len(found) == 4
    for role, sky in (("nir08", 0.9), ("swir16", 0.7)):
        fits = [scene["bands"][role] for scene in found.values()]
        assert all(fit["c"] is not None and fit["t"] > 4 for fit in fits), [fit["why"] for fit in fits]
        assert np.mean([fit["c"] for fit in fits]) == pytest.approx(sky, rel=0.35)
    assert all(50 < scene["sun"]["elevation_deg"] < 80 for scene in found.values())


def bent(grid, image, role):
    """Slope of reflectance over cos(i) within the commonest forest type, as a share of its mean; sun as on the mean date."""
    from catalogs.planted.forest import grow
    from catalogs.planted.settings import DEMO_AREA, Planting
    from catalogs.planted.site import Site

    layout = grow(Site.of(DEMO_AREA), *YEARS, Planting.small(SEED, scenes_per_year=4, cloud_share=0.1)).layout
    kinds, counts = np.unique(layout.forest_types, return_counts=True)
    common = np.array([kind == kinds[counts.argmax()] for kind in layout.forest_types] + [False])
    n = round(grid.resolution_m / 5)
    inside = common[layout.stand_canvas].reshape(grid.rows, n, grid.cols, n).all(axis=(1, 3))
    east, north = terrain().gradient(*centres_of(grid, grid.window))
    sun = Sun(68, 120).direction
    light = (-east * sun[0] - north * sun[1] + sun[2]) / np.sqrt(1 + east**2 + north**2)
    there = inside & np.isfinite(image[role])
    return np.polyfit(light[there], image[role][there], 1)[0] / image[role][there].mean()


@pytest.mark.parametrize("method", ["c", "scs_c"])
def test_within_one_forest_type_slopes_lose_most_of_their_light_and_shade(hills, tmp_path, method):
    grid = hills[1].grid
    before, _ = compose(hills, tmp_path / "none", "none")
    after, _ = compose(hills, tmp_path / method, method)
    for role in ("nir08", "swir16"):
        was, left = bent(grid, before, role), bent(grid, after, role)
        assert was > 0.5 and abs(left) < was / 5, (role, was, left)


def test_a_scene_that_cannot_tell_one_band_is_corrected_in_all_and_the_season_says_if_it_is(hills, tmp_path, monkeypatch, caplog):
    """Red is made to tell nothing, in scenes and season: it is lent a c. Then nothing tells: no band is touched, and said."""
    import pipeline.steps.topography as step

    deaf, whole = set(), step._Samples._scene

    def scene(self, name, roles):
        return {role: seen._replace(reflectance=np.full(len(seen.reflectance), 0.1)) if role in deaf else seen
                for role, seen in whole(self, name, roles).items()}  # fmt: skip

    monkeypatch.setattr(step._Samples, "_scene", scene)
    deaf.add("red")
    _, found = compose(hills, tmp_path / "lent", "c")
    for one in found.values():
        assert one["corrected"] and one["bands"]["red"]["of"] in ("nir08", "swir16")
        assert one["bands"]["red"]["c"] == one["bands"][one["bands"]["red"]["of"]]["c"]
    deaf.update(ROLES)
    untouched, found = compose(hills, tmp_path / "deaf", "c")
    none, _ = compose(hills, tmp_path / "none", "none")
    assert not any(one["corrected"] for one in found.values())
    assert f"{S2} 2019: slopes are corrected in 0 of 4 scenes and left as they are in the others" in caplog.text
    for name, values in none.items():
        np.testing.assert_array_equal(untouched[name], values)


def test_a_scene_that_shows_too_little_takes_the_c_of_its_season(hills, tmp_path, monkeypatch):
    _, own = compose(hills, tmp_path / "own", "c")
    counts = {scene: one["bands"]["swir16"]["pixels"] for scene, one in own.items()}
    cloudiest = min(counts, key=counts.get)
    monkeypatch.setattr("pipeline.optical.topography.MIN_PIXELS", counts[cloudiest] + 1)
    _, found = compose(hills, tmp_path / "shared", "c")
    for scene, one in found.items():
        for role, fit in one["bands"].items():
            assert fit["of"] == ("season" if scene == cloudiest else "scene"), (scene, role, fit)
    rest = [one["bands"]["swir16"]["c"] for scene, one in own.items() if scene != cloudiest]
    assert min(rest) * 0.8 < found[cloudiest]["bands"]["swir16"]["c"] < max(rest) * 1.2


def test_neither_blocks_nor_chunks_change_how_a_scene_is_corrected(hills, tmp_path):
    whole, found = compose(hills, tmp_path / "whole", "scs_c")
    grid = dataclasses.replace(hills[1].grid, chunk_px=48, block_chunks=1)
    write_elevation(grid, tmp_path / "elevation")
    cut, again = compose(hills, tmp_path / "cut", "scs_c", grid=grid, elevation=tmp_path / "elevation")
    assert again == found
    for name, values in whole.items():
        np.testing.assert_array_equal(cut[name], values)


def test_level_land_is_not_touched(hills, tmp_path):
    """Where all land is flat there is nothing to fit, and what is said to be corrected is what it was."""
    plan = hills[1]
    for block in plan.grid.blocks():
        window = plan.grid.block_window(block)
        store.write_raster(
            tmp_path / f"flat/{block}.tif", {"elevation": np.full(window.shape, 80.0, "float32")},
            geobox=plan.grid.geobox_of(window), units={"elevation": "m"},
        )  # fmt: skip
    flat, found = compose(hills, tmp_path / "c", "c", elevation=tmp_path / "flat")
    assert {band["why"][:19] for scene in found.values() for band in scene["bands"].values()} == {"0 pixels in 0 cells"}
    none, _ = compose(hills, tmp_path / "none", "none")
    for name, values in none.items():
        np.testing.assert_array_equal(flat[name], values)


def test_a_scene_that_does_not_say_where_the_sun_stood_is_refused(hills, tmp_path):
    folder, plan, scenes = hills
    frozen = json.loads(scenes.read_text())
    frozen["items"][1]["sun"] = None
    broken = folder / "broken.json"
    broken.write_text(json.dumps(frozen))
    with pytest.raises(ValueError, match=r"does not say where the sun stood .*set topographic: none"):
        compose((folder, plan, broken), tmp_path, "c")


def test_a_scene_that_was_not_fitted_is_refused(hills, tmp_path):
    found = {"scenes": {}}
    level = Levelling(found, hills[1].grid, hills[0] / "elevation", "c")
    with pytest.raises(ValueError, match="knows no scene s1"):
        level.of(Look("s1", {}, {}, np.ones((2, 2), bool), (0, 1)), Window(0, 2, 0, 2))


@pytest.mark.parametrize(("lon_from_middle", "lat"), [(2.0, 30.0), (-2.0, 30.0), (2.0, -30.0), (0.0, 50.0)])
def test_the_suns_azimuth_is_turned_by_the_convergence_of_meridians(lon_from_middle, lat):
    """On a transverse Mercator, true north lies atan(tan(dlon) sin(lat)) to the left of the grid's north east of the middle."""
    from pyproj import Transformer

    crs = "EPSG:32650" if lat > 0 else "EPSG:32750"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(117 + lon_from_middle, lat)
    grid = Grid.covering((x - 100, y - 100, x + 100, y + 100), crs=crs, resolution_m=20)
    convergence = math.degrees(math.atan(math.tan(math.radians(lon_from_middle)) * math.sin(math.radians(lat))))
    assert turn_deg(grid) == pytest.approx(-convergence, abs=0.01)


# ---------------------------------------------------------------- a study that asks for it


def asked(**changes):
    sensors = {S2: {"catalog": "catalog.json", "topographic": "scs_c", **changes}}
    return {"stands": {"grid_m": 100}, "sensors": sensors, "model.predictors": {"a": ["s2_ndmi"]}}


def test_a_correction_needs_the_elevation_of_the_ground():
    with pytest.raises(ValueError, match=rf"sensors\.{S2}\.topographic: scs_c needs the elevation .*add copernicus-dem-glo30"):
        problems_of(asked())


def problems_of(content):
    plan = Plan(make_study(content))
    if problems := wrong_corrections(plan, S2):
        raise ValueError("\n".join(problems))


def test_a_composite_that_corrects_slopes_waits_for_them_and_for_the_ground_around_it():
    content = asked() | {"area.chunk_px": 16, "area.block_chunks": 1}
    content["sensors"]["copernicus-dem-glo30"] = {"catalog": "catalog.json"}
    plan = Plan(make_study(content))
    files = plan.levelling_files(SimpleNamespace(sensor=S2, year="2019", block="r001c001"))
    assert files["topography"] == f"resources/hills/topography/{S2}_2019.json"
    assert len(files["relief"]) == 9 and plan.imagery.elevation_param(S2) == plan.imagery.elevation_folder
    plain = Plan(make_study(asked(topographic="none")))
    assert plain.levelling_files(SimpleNamespace(sensor=S2, year="2019", block="r001c001")) == {}
    assert plain.elevation_files == [] and plain.imagery.elevation_param(S2) is None
