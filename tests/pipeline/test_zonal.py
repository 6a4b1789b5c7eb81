"""Stand sums: exact areas, sums that add up, the same bytes whatever the blocks."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import UTM, make_grid

from pipeline import store
from pipeline.zonal import KEYS, NUMBERS, ONCE, VECTORS, _added, combine, coverage, partial_rows, vectors

WEST, NORTH = 500_000, 3_000_000


def make_stands(**shapes):
    """Stands by name from outlines counted east and south from the grid's corner, metres."""

    def placed(xy):
        return np.column_stack([WEST + xy[:, 0], NORTH - xy[:, 1]])

    moved = [shapely.transform(shape, placed) for shape in shapes.values()]
    return gpd.GeoDataFrame({"stand": list(shapes)}, geometry=moved, crs=UTM)


@pytest.fixture
def stands():
    ring = shapely.Point(300, 200).buffer(150).difference(shapely.Point(300, 200).buffer(70))
    return make_stands(
        angle=shapely.Polygon([(13, 7), (217, 31), (190, 188), (120, 60), (40, 240)]),
        ring=ring,
        sliver=shapely.Polygon([(400, 5), (550, 6), (550, 7.5), (400, 6)]),
        parts=shapely.MultiPolygon([shapely.box(5, 300, 44, 333), shapely.box(500, 350, 555, 399)]),
    )


def make_layers(grid, seed=1, n_params=3):
    rng = np.random.default_rng(seed)
    n = grid.rows * grid.cols
    value = rng.uniform(0, 300, n)
    value[rng.random(n) < 0.1] = np.nan
    sd = rng.uniform(5, 40, n)
    gained, number = rng.random(n) < 0.1, rng.integers(-1, 2, n).astype("int8")
    return {
        "value": value,
        "part_sd": np.where(number[:, None] == np.arange(2), sd[:, None], 0.0),
        "set_number": number,
        "gradient": rng.normal(size=(n, n_params)),
        "in_domain": rng.random(n) < 0.8,
        "forest": rng.random(n) < 0.7,
        "gained": gained,
        "lost": ~gained & (rng.random(n) < 0.1),
    }


def partials(grid, stands, layers):
    """Rows of all chunks, block by block as jobs would make them."""
    rows = []
    numbers = np.arange(grid.rows * grid.cols).reshape(grid.rows, grid.cols)
    for block in grid.blocks():
        for chunk, window in grid.chunks(grid.block_window(block)):
            here = {name: layer[numbers[window.slices].ravel()] for name, layer in layers.items()}
            covered = coverage(stands, grid, window)
            rows += partial_rows(chunk, "agb_2019", covered, here, pixel_ha=grid.pixel_ha, n_sets=2)
    return pd.DataFrame(rows)


def test_the_share_of_each_pixel_is_the_area_that_a_polygon_cuts_out_of_it(stands):
    grid = make_grid()
    found = coverage(stands, grid, grid.window)
    assert [stand for stand, *_ in found] == ["angle", "ring", "sliver", "parts"]
    cells = [shapely.box(*grid.bounds_of(type(grid.window)(r, r + 1, c, c + 1))) for r in range(40) for c in range(56)]
    for (_, pixel, fraction, _), shape in zip(found, stands.geometry, strict=True):
        expected = shapely.area(shapely.intersection(cells, shape)) / 100
        ours = np.zeros(40 * 56)
        ours[pixel] = fraction
        assert ours == pytest.approx(expected, abs=1e-6)
        assert fraction.sum() * 100 == pytest.approx(shape.area, rel=1e-6)


def test_a_chunk_lists_only_the_stands_it_meets_in_their_order(stands):
    grid = make_grid()
    met = {name: [stand for stand, *_ in coverage(stands, grid, window)] for name, window in grid.chunks()}
    assert met["k0000_0000"] == met["k0001_0001"] == ["angle", "ring"]
    assert met["k0000_0003"] == ["sliver"] and met["k0002_0003"] == ["parts"]
    assert coverage(stands.iloc[[2]], grid, dict(grid.chunks())["k0002_0000"]) == []


def test_sums_of_one_stand_are_those_of_hand_arithmetic():
    layers = {
        "value": np.array([100.0, 200.0, np.nan, 0.0]),
        "part_sd": np.array([[10.0, 0.0], [0.0, 20.0], [30.0, 0.0], [0.0, 0.0]]),
        "set_number": np.array([0, 1, 0, -1]),
        "gradient": np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0], [0.0, 0.0]]),
        "in_domain": np.array([True, False, True, True]),
        "forest": np.array([True, True, True, False]),
        "gained": np.array([False, True, False, False]),
        "lost": np.array([False, False, True, True]),
    }
    index = {"dissimilarity_index": np.array([0.5, 1.0, 0.1, np.nan]), "local_point_density": np.array([3.0, 0.0, 9.0, np.nan])}
    fraction = np.array([1.0, 0.5, 1.0, 0.25])
    covered = [("a", np.array([0, 1, 2, 3]), fraction, np.array([1.5, 0.0, 1.25, 0.0]))]
    (without, _) = partial_rows("k0", "agb_2019", covered, layers, pixel_ha=0.04, n_sets=2)
    assert np.isnan(without["sum_dissimilarity"]) and np.isnan(without["sum_density"])
    row, inside = partial_rows("k0", "agb_2019", covered, layers | index, pixel_ha=0.04, n_sets=2)
    # hectares 0.04, 0.02, 0.04 (missing), 0.01
    assert row["n_px"] == 4 and row["area_ha"] == pytest.approx(0.11) and row["covered_ha"] == pytest.approx(0.07)
    assert row["forest_ha"] == pytest.approx(0.06) and row["in_domain_ha"] == pytest.approx(0.05)
    assert row["gained_ha"] == pytest.approx(0.02) and row["lost_ha"] == pytest.approx(0.01)
    assert row["sum_value"] == pytest.approx(4.0 + 4.0)
    assert row["set_ha"] == pytest.approx([0.04, 0.02])
    assert row["sum_dissimilarity"] == pytest.approx(0.02 + 0.02) and row["sum_density"] == pytest.approx(0.12)
    assert row["sum_s"] == pytest.approx([0.4, 0.4]) and row["sum_s2"] == pytest.approx([4.0, 8.0])
    assert row["sum_gradient"] == pytest.approx([0.04 + 0.06, 0.08 + 0.08])
    # wholly inside: the first pixel, which stands for half a pixel of the rim too, and the third, which is missing
    assert (row["part"], inside["part"], inside["n_px"]) == ("all", "interior", 2)
    assert inside["area_ha"] == pytest.approx(0.08) and inside["covered_ha"] == pytest.approx(0.06)
    assert inside["sum_value"] == pytest.approx(6.0) and inside["set_ha"] == pytest.approx([0.06, 0.0])


def test_sums_of_a_change_keep_apart_the_land_that_a_set_shows_at_one_date_alone():
    layers = {
        "value": np.array([10.0, 60.0, -90.0, 0.0]),
        "part_sd": np.array([[5.0], [20.0], [30.0], [0.0]]),
        "set_number": np.array([0, 0, 0, -1]),
        "gradient": np.array([[1.0, 1.0], [2.0, 3.0], [-4.0, 0.0], [0.0, 0.0]]),
        "in_domain": np.ones(4, bool),
        "forest": np.array([True, True, True, False]),
        "gained": np.array([False, True, False, False]),
        "lost": np.array([False, False, True, False]),
        "once": np.array([[0], [1], [-1], [0]], "int8"),
        "column_set": np.array([0, 0]),
        "place": np.array([[7, 1], [7, 2], [8, 1], [8, 2]]),
    }
    share = np.array([1.0, 0.5, 1.0, 1.0])
    row = partial_rows("k0", "agb_2019_2024", [("a", np.arange(4), share, share)], layers, pixel_ha=0.04, n_sets=1)[0]
    # hectares 0.04, 0.02, 0.04, 0.04; residuals of both dates, of the later, of the earlier, of none
    assert row["sum_s"] == pytest.approx([0.2]) and row["sum_s2"] == pytest.approx([1.0])
    assert row["sum_s_later"] == pytest.approx([0.4]) and row["sum_s2_later"] == pytest.approx([8.0])
    assert row["sum_s_earlier"] == pytest.approx([1.2]) and row["sum_s2_earlier"] == pytest.approx([36.0])
    assert row["set_ha"] == pytest.approx([0.1]) and row["set_ha_later"] == pytest.approx([0.02])
    assert row["sum_gradient"] == pytest.approx([0.04 + 0.04 - 0.16, 0.04 + 0.06])
    # of the stocks: of the earlier date their own sign
    assert row["sum_gradient_later"] == pytest.approx([0.04, 0.06]) and row["sum_gradient_earlier"] == pytest.approx([0.16, 0.0])
    assert row["sum_value_later"] == pytest.approx([1.2]) and row["sum_value_earlier"] == pytest.approx([3.6])
    # hectares, and times row 7, column 2, and 49 + 4
    assert row["places_later"] == pytest.approx([0.02, 0.14, 0.04, 1.06])
    assert row["places"] == pytest.approx([0.1, 0.28 + 0.14 + 0.32, 0.04 + 0.04 + 0.04, 0.04 * 50 + 0.02 * 53 + 0.04 * 65])


def change_on_a_square(rows: slice) -> tuple[dict, list]:
    """Change of a stand of 8 x 8 whole pixels of which the first row is gained; layers and cover of some rows of it."""
    row, col = (place.ravel() for place in np.mgrid[0:8, 0:8][:, rows])
    late = row == 0
    layers = {
        "value": np.where(late, 60.0, 10.0), "part_sd": np.where(late, 20.0, 5.0)[:, None],
        "set_number": np.zeros(len(row), int), "gradient": np.column_stack([np.ones(len(row)), col + 1.0]),
        "in_domain": np.ones(len(row), bool), "forest": np.ones(len(row), bool), "gained": late, "lost": np.zeros(len(row), bool),
        "once": late.astype("int8")[:, None], "column_set": np.array([0, 0]), "place": np.column_stack([row, col]),
    }  # fmt: skip
    return layers, [("a", np.arange(len(row)), np.ones(len(row)), np.ones(len(row)))]


@pytest.mark.parametrize("height", [1, 2, 4])
def test_sums_of_a_change_are_the_same_however_a_stand_is_cut(height):
    """Strips without land of one date count for how far the stand reaches, too."""
    found = []
    for step in (8, height):
        rows = []
        for start in range(0, 8, step):
            layers, covered = change_on_a_square(slice(start, start + step))
            rows += partial_rows(f"k{start}", "agb_2019_2024", covered, layers, pixel_ha=0.04, n_sets=1)
        found.append(added(pd.DataFrame(rows)))
    whole, cut = (one.drop(columns=["estimand", *KEYS]) for one in found)
    assert cut[whole.columns].to_numpy(float) == pytest.approx(whole.to_numpy(float), nan_ok=True)
    assert whole["places_0"].tolist() == pytest.approx([64 * 0.04] * 2)


def test_blocks_without_such_land_add_none_of_it():
    """One block of a stand says nothing of it, for it has none."""
    first = {"chunk": "k0", "stand": "a", "estimand": "agb_2019_2024", "part": "all", **dict.fromkeys(NUMBERS, 1.0),
             **{name: [1.0] for name in VECTORS}}  # fmt: skip
    first["places"] = [0.0]
    second = first | {"chunk": "k1", **{name: [2.0] for name in ONCE}}
    for rows in ([first, second], [second, first]):
        totals = added(pd.concat([pd.DataFrame([row]) for row in rows], ignore_index=True))
        apart = combine([pd.DataFrame([row]) for row in rows])["agb_2019_2024"]
        pd.testing.assert_frame_equal(totals, apart)
        assert vectors(totals, "sum_s").tolist() == [[2.0]] and vectors(totals, "sum_s_later").tolist() == [[2.0]]
        assert not totals.isna().any(axis=None)
    stock = {name: value for name, value in first.items() if name != "places"}
    assert not any(column.startswith(ONCE) for column in added(pd.DataFrame([stock])))


def test_pixels_inside_a_stand_stand_for_the_rim_beside_them():
    """A square of 30 m laid half a pixel off: four pixels inside, each with two halves and a quarter beside it."""
    (piece,) = coverage(make_stands(square=shapely.box(105, 105, 135, 135)), make_grid(), make_grid().window)
    inside = piece.fraction >= 0.999
    assert inside.sum() == 4 and piece.stands_for[inside] == pytest.approx([2.25] * 4)
    assert (piece.stands_for[~inside] == 0).all()


def test_a_stand_that_lies_on_another_has_its_own_rim():
    alone = make_stands(small=shapely.box(205, 105, 245, 145))
    both = make_stands(large=shapely.box(103, 3, 347, 247), small=shapely.box(205, 105, 245, 145))
    for stands in (both, both.iloc[::-1]):
        pieces = {piece.stand: piece for piece in coverage(stands, make_grid(), make_grid().window)}
        (expected,) = coverage(alone, make_grid(), make_grid().window)
        assert pieces["small"].stands_for == pytest.approx(expected.stands_for)
        assert pieces["large"].stands_for.sum() == pytest.approx(pieces["large"].fraction.sum())


def test_stands_that_lie_on_many_others_have_the_rims_that_they_have_alone():
    """Layers of squares that overlap at random: what each pixel stands for does not depend on who else lies there."""
    rng, grid = np.random.default_rng(3), make_grid(40, 40)
    corners, sides = rng.uniform(0, 250, (30, 2)), rng.uniform(40, 150, 30)
    shapes = {
        f"s{k:02d}": shapely.box(x, y, x + side, y + side)
        for k, ((x, y), side) in enumerate(zip(corners, sides, strict=True))
    }
    together = coverage(make_stands(**shapes), grid, grid.window)
    assert len(together) == 30
    for piece in together:
        (alone,) = coverage(make_stands(**{piece.stand: shapes[piece.stand]}), grid, grid.window)
        assert np.array_equal(piece.pixel, alone.pixel) and np.array_equal(piece.stands_for, alone.stands_for)


def test_a_rim_pixel_is_shared_out_alike_whatever_the_windows(stands):
    grid = make_grid(chunk_px=8)
    whole = {piece.stand: piece for piece in coverage(stands, grid, grid.window)}
    parts: dict[str, np.ndarray] = {}
    for _, window in grid.chunks():
        for piece in coverage(stands, grid, window):
            row, col = np.divmod(piece.pixel, window.shape[1])
            found = parts.setdefault(piece.stand, np.zeros(grid.rows * grid.cols))
            found[(row + window.row0) * grid.cols + col + window.col0] += piece.stands_for
    for stand, piece in whole.items():
        assert parts[stand][piece.pixel] == pytest.approx(piece.stands_for, abs=1e-12)
        rim = piece.fraction[piece.fraction < 0.999].sum()
        taken = piece.stands_for.sum() - piece.fraction[piece.fraction >= 0.999].sum()
        assert taken <= rim + 1e-9 and (stand == "sliver" or taken > 0.8 * rim)


def test_a_stand_burnt_in_its_middle_is_not_told_as_if_its_rim_had_burnt_too():
    """160 m square of 200 Mg/ha, half a pixel of 20 m off the grid: 49 pixels inside, the middle nine burnt (0.36 ha)."""
    grid = make_grid(resolution_m=20.0)
    (piece,) = coverage(make_stands(square=shapely.box(110, 110, 270, 270)), grid, grid.window)
    row, col = np.divmod(piece.pixel, grid.cols)
    value = np.where((abs(col - 9) <= 1) & (abs(row - 9) <= 1), 0.0, 200.0)
    inside = piece.fraction >= 0.999
    assert inside.sum() == 49 and value[inside].mean() == pytest.approx(200 * 40 / 49)
    assert piece.stands_for @ value / piece.stands_for.sum() == pytest.approx(200 * (1 - 0.36 / 2.56))



def added(rows: pd.DataFrame) -> pd.DataFrame:
    """The sums of the only estimand of some rows."""
    (totals,) = combine([rows]).values()
    return totals


def test_a_stand_without_a_whole_pixel_has_no_interior_row(stands):
    rows = partials(make_grid(), stands, make_layers(make_grid()))
    parts = rows.groupby("stand")["part"].agg(set)
    assert parts["sliver"] == {"all"} and parts["angle"] == parts["ring"] == {"all", "interior"}


def test_interior_pixels_are_those_that_lie_inside_but_for_a_thousandth(stands):
    grid = make_grid()
    totals = added(partials(grid, stands, make_layers(grid)))
    cells = [shapely.box(*grid.bounds_of(type(grid.window)(r, r + 1, c, c + 1))) for r in range(40) for c in range(56)]
    for row in totals[totals["part"] == "interior"].itertuples():
        shape = stands.set_index("stand").geometry[row.stand]
        assert row.n_px == (shapely.area(shapely.intersection(cells, shape)) >= 99.9).sum()
        assert row.area_ha == pytest.approx(row.n_px * grid.pixel_ha, rel=1e-3)


@pytest.mark.parametrize("block_chunks", [2, 3, 8])
def test_sums_are_the_same_bytes_whatever_the_block_size(stands, block_chunks, tmp_path):
    layers = make_layers(make_grid())
    for size, name in ((1, "one"), (block_chunks, "many")):
        store.write_table(tmp_path / f"{name}.parquet", added(partials(make_grid(block_chunks=size), stands, layers)))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()


def test_the_order_in_which_blocks_arrive_changes_nothing(stands):
    rows = partials(make_grid(), stands, make_layers(make_grid()))
    mixed = rows.sample(frac=1, random_state=2).reset_index(drop=True)
    pd.testing.assert_frame_equal(added(rows), added(mixed))


def test_chunks_add_up_to_the_whole_whatever_their_size(stands):
    layers = make_layers(make_grid())
    small = added(partials(make_grid(chunk_px=8), stands, layers))
    large = added(partials(make_grid(chunk_px=64), stands, layers))
    assert small[["stand", "part"]].equals(large[["stand", "part"]])
    for column in ("area_ha", "covered_ha", "forest_ha", "gained_ha", "lost_ha", "in_domain_ha", "sum_value"):
        assert small[column].to_numpy() == pytest.approx(large[column].to_numpy(), rel=1e-9)
    for column in ("set_ha", "sum_s", "sum_s2", "sum_gradient"):
        assert vectors(small, column).size > 0
        assert vectors(small, column) == pytest.approx(vectors(large, column), rel=1e-9)
    areas = dict(zip(stands["stand"], stands.area / 1e4, strict=True))
    large = large[large["part"] == "all"]
    assert large["area_ha"].tolist() == pytest.approx([areas[stand] for stand in large["stand"]], rel=1e-6)


def test_a_stand_that_reaches_beyond_the_grid_counts_only_what_lies_on_it():
    grid = make_grid()
    layers = make_layers(grid)
    layers["value"][:] = 100.0
    row, inside = added(partials(grid, make_stands(out=shapely.box(-100, 50, 100, 150)), layers)).to_dict("records")
    assert inside["area_ha"] == pytest.approx(1.0)
    assert row["area_ha"] == pytest.approx(1.0) and row["sum_value"] / row["covered_ha"] == pytest.approx(100.0)


def test_stands_are_named_as_text_and_estimands_kept_apart(stands):
    rows = partials(make_grid(), stands, make_layers(make_grid()))
    later = rows.assign(estimand="agb_2024", set_ha=[[1.0]] * len(rows))  # another target's vectors have another length
    both = combine([rows.iloc[:5], pd.concat([rows.iloc[5:], later])])
    assert list(both) == ["agb_2019", "agb_2024"] and vectors(both["agb_2024"], "set_ha").shape == (7, 1)
    for estimand, totals in both.items():
        assert set(totals["estimand"]) == {estimand}
        assert totals.loc[totals["part"] == "all", "stand"].tolist() == ["angle", "parts", "ring", "sliver"]
    pd.testing.assert_frame_equal(both["agb_2019"], added(rows))


@pytest.mark.filterwarnings("error")
def test_sums_of_many_parameters_are_joined_without_a_warning():
    """Two chunks of one stand with 150 numbers each: their sums, in their order."""
    rows = pd.DataFrame({"estimand": "agb_2024", "stand": "a", "part": "all", "chunk": [0, 1]})
    rows = pd.concat([rows, pd.DataFrame({f"sum_{k}": [float(k), 1.0] for k in range(150)})], axis=1)
    total = _added(rows)
    assert list(total) == ["estimand", "stand", "part", *(f"sum_{k}" for k in range(150))]
    assert total.iloc[0, 3:].tolist() == [k + 1.0 for k in range(150)]
