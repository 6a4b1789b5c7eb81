"""What the plan makes of campaigns: patterns, addresses frozen for all jobs, tiles that lie elsewhere."""

from __future__ import annotations

import pytest
from conftest import make_study
from lidar_files import served, write_tile
from services.lidar_catalogue import api, make_item
from services.range_server import Fault, RangeServer

from pipeline.bridge import Plan
from pipeline.steps.lidar import open_campaign


def make_plan(tmp_path, points, **settings) -> Plan:
    """A study in UTM 33N around 500,000 / 5,000,000 with one campaign."""
    rows = [f"P{k},2019-07-01,{500040 + 30 * k},{5000040 + 20 * k},11.28,{80 + 10 * k}\n" for k in range(12)]
    (tmp_path / "plots.csv").write_text("plot,date,x,y,radius_m,agb_mg_ha\n" + "".join(rows))
    area = {"area.crs": "EPSG:32633", "area.bounds": [500_000, 5_000_000, 500_500, 5_000_500], "years": [2019]}
    area |= {"plots": {"file": str(tmp_path / "plots.csv"), "crs": "EPSG:32633"}}
    changes = {**area, "lidar": {"als": {"points": points, "date": 2019, **settings}}, "resources": str(tmp_path / "res")}
    return Plan(make_study({"stands": {"grid_m": 100}, **changes}))


def tile(folder, name: str, west: float = 500_010.0, crs: str | None = "EPSG:32633") -> str:
    folder.mkdir(exist_ok=True)
    return write_tile(folder / name, [west, west + 50], [5_000_010.0, 5_000_060.0], [300.0, 310.0], crs=crs, classification=2)


def test_a_pattern_becomes_the_files_that_jobs_wait_for(tmp_path):
    found = [tile(tmp_path / "tiles", f"t{number}.laz", 500_010 + 60 * number) for number in range(2)]
    plan = make_plan(tmp_path, str(tmp_path / "tiles" / "t*.laz"))
    plan.inspect()
    assert plan.campaigns.all_files == found
    assert "not there yet" not in plan.campaigns.tiles_touching("als", plan.blocks[0])


def test_tiles_at_addresses_are_listed_once_and_handed_to_every_job(tmp_path):
    tile(tmp_path / "tiles", "a.laz")
    with served(tmp_path / "tiles") as (address, asked):
        plan = make_plan(tmp_path, f"{address}/a.laz")
        plan.inspect()
        before = len(asked)
        again = make_plan(tmp_path, f"{address}/a.laz")
        assert again.settings("lidar", "als")["points"] == [f"{address}/a.laz"]
        assert again.settings_of_all("lidar")["als"]["points"] == [f"{address}/a.laz"]
        assert len(asked) == before and plan.campaigns.all_files == []


def test_a_campaign_none_of_whose_tiles_touches_the_area_is_told_before_the_run(tmp_path):
    tile(tmp_path / "far", "a.laz", 520_000.0)
    with pytest.raises(ValueError, match=r"lidar\.als: none of its 1 tiles touches the area; its first lies at x 520000"):
        make_plan(tmp_path, str(tmp_path / "far")).inspect()


def corners(folder, name: str, west: float, *, crs: str = "EPSG:32633") -> None:
    """A tile of 250 m x 500 m by its corner points."""
    write_tile(folder / name, [west, west + 250], [5_000_000.0, 5_000_500.0], [300.0, 310.0], crs=crs, classification=2)


def test_units_that_nobody_said_and_area_without_tiles_are_remarks(tmp_path):
    (tmp_path / "tiles").mkdir()
    corners(tmp_path / "tiles", "a.laz", 500_250)
    plan = make_plan(tmp_path, str(tmp_path / "tiles"))
    plan.inspect()
    unit, coverage = plan.remarks()
    assert unit.startswith("lidar.als: the files do not say in which unit heights are; metres are taken")
    assert coverage.startswith("lidar.als: its tiles cover 50.0 % of the area by their boxes; the largest part without reaches")
    assert "from x 500000 to 500250, y 5000000 to 5000500" in coverage
    corners(tmp_path / "tiles", "b.laz", 499_999.5)  # neighbours leave a crack of half a metre
    plan = make_plan(tmp_path, str(tmp_path / "tiles"), vertical_unit="m")
    plan.inspect()
    assert plan.remarks() == []


def test_files_that_say_their_unit_need_no_word_on_it(tmp_path):
    (tmp_path / "tiles").mkdir()
    for name, west in (("a.laz", 500_000), ("b.laz", 500_250)):
        corners(tmp_path / "tiles", name, west, crs="EPSG:32633+5703")
    plan = make_plan(tmp_path, str(tmp_path / "tiles"))
    plan.inspect()
    assert plan.remarks() == []


def test_the_study_says_what_was_done_to_its_points(tmp_path):
    plan = make_plan(tmp_path, str(tmp_path), classify_ground="csf", thin_to_pts_m2=2)
    notes = " ".join(plan.notes)
    assert "Campaign als: ground was classified here by cloth simulation" in notes
    assert "Campaign als: points are thinned to 2 per m2" in notes


def test_tiles_of_a_stac_api_are_listed_once_and_read_by_every_job(tmp_path):
    """What bears another name is not asked for; the file does not say its CRS, its item does; the first answer is a 429."""
    path = tile(tmp_path / "tiles", "a.laz", crs=None)
    faults = [Fault("status", status=429, first=1, headers=(("Retry-After", "0"),))]
    with RangeServer(tmp_path / "tiles", faults=faults) as server:
        items = [make_item("A_1", f"{server.address}/a.laz"), make_item("B_1", f"{server.address}/b.laz")]
        with api(items) as address:
            about = {"catalog": address, "collection": "3dep-lidar-copc", "items": "A_*", "date": "2020-06-01"}
            plan = make_plan(tmp_path, None, **about, max_days_apart=200)
            plan.inspect()
            campaign = plan.settings("lidar", "als")
            assert campaign["points"] == [f"{server.address}/a.laz"]
        again = make_plan(tmp_path, None, **about, max_days_apart=200).settings("lidar", "als")  # the API is gone
        assert again == campaign
        bounds = (500_000.0, 5_000_000.0, 500_100.0, 5_000_100.0)
        there = open_campaign(campaign, crs="EPSG:32633").points(bounds)
        here = open_campaign(campaign | {"points": path, "catalog": None, "crs": "EPSG:32633"}, crs="EPSG:32633").points(bounds)
        assert there.x.tolist() == here.x.tolist() and len(here) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"points": "tiles", "catalog": "planetary-computer", "collection": "c"}, "not several or none"),
        ({"catalog": "planetary-computer"}, "belong together"),
        ({"points": "tiles", "items": "A*"}, "belong together"),
    ],
    ids=["two_sources", "no_collection", "items_of_files"],
)
def test_where_points_come_from_is_said_once(changes, said):
    with pytest.raises(ValueError, match=said):
        make_study({"lidar": {"als": {"date": 2020, **changes}}})


def test_a_gap_narrower_than_a_strip_is_named_by_numbers():
    from catalogs.lidar.coverage import outside_tiles

    percent, largest = outside_tiles([(0.0, 0.0, 999.0, 1000.0)], (0.0, 0.0, 1002.0, 1000.0))
    assert 99 < percent < 100 and largest == [999.0, 0.0, 1002.0, 1000.0]
