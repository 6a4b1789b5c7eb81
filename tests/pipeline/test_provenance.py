"""Our maps as STAC: read by pystac, in the right place, with the facts of the file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import pairwise

import pystac
import pytest
from conftest import make_grid, make_study

from pipeline.products import products_of
from pipeline.provenance import collection_of, item_of
from pipeline.steps.record import record


@pytest.fixture
def study():
    return make_study().model_dump(mode="json")


def make_item(tmp_path, study, name="agb_2019"):
    file = tmp_path / "maps" / f"{name}.tif"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"a map")
    return item_of(
        asdict(products_of(make_study())[name]),
        path=file,
        folder=tmp_path / "stac",
        sha256=hashlib.sha256(b"a map").hexdigest(),
        grid=make_grid(),
        study=study,
    )


def test_an_item_is_read_by_pystac_and_lies_where_the_grid_lies(tmp_path, study):
    item = pystac.Item.from_dict(make_item(tmp_path, study))
    # EPSG:32650 has its meridian 117 E at 500 km; 3000 km north is 27.12 N
    assert item.bbox == pytest.approx([117.0, 27.118, 117.00565, 27.122], abs=1e-3)
    ring = item.geometry["coordinates"][0]
    assert ring[0] == ring[-1] and len(ring) == 5
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert area > 0  # counter-clockwise, as GeoJSON asks
    assert item.properties["proj:code"] == "EPSG:32650" and item.properties["proj:shape"] == [40, 56]
    assert item.properties["proj:transform"] == [10, 0, 500_000, 0, -10, 3_000_000]
    assert item.datetime.isoformat() == "2019-07-01T00:00:00+00:00"


def test_a_change_has_a_start_and_an_end_in_place_of_one_date(tmp_path, study):
    item = make_item(tmp_path, study, "sink_2019_2024")
    properties = item["properties"]
    assert properties["datetime"] is None
    assert (properties["start_datetime"][:4], properties["end_datetime"][:4]) == ("2019", "2024")
    pystac.Item.from_dict(item)


def test_the_file_can_be_found_and_verified(tmp_path, study):
    asset = make_item(tmp_path, study)["assets"]["map"]
    assert asset["href"] == "../maps/agb_2019.tif" and asset["file:size"] == 5
    # multihash: code 12 (sha2-256), length 20 (32 bytes) in hexadecimal
    assert asset["file:checksum"] == "1220" + hashlib.sha256(b"a map").hexdigest()
    assert [band["unit"] for band in asset["bands"]] == ["Mg/ha", "Mg/ha", "1", "1"]


def test_the_collection_spans_its_items_and_links_to_each(tmp_path, study):
    items = [make_item(tmp_path, study, name) for name in ("agb_2019", "sink_2019_2024")]
    found = collection_of(study, items)
    collection = pystac.Collection.from_dict(found)
    assert collection.extent.spatial.bboxes == [items[0]["bbox"]]
    assert [str(date.year) for date in collection.extent.temporal.intervals[0]] == ["2019", "2024"]
    assert [link["href"] for link in found["links"] if link["rel"] == "item"] == ["./agb_2019.json", "./sink_2019_2024.json"]
    assert found["title"] == "hills" and "positive = net removal" in found["description"]


def test_an_item_says_what_its_user_must_know_of_the_plots(tmp_path, study):
    """The step `record` reads what the plots' step kept; a study without caveats has no such property."""
    file = tmp_path / "results" / "maps" / "agb_2019.tif"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a map")
    said = tmp_path / "plots.json"
    for caveats in (["allometry own has no rse"], []):
        said.write_text(json.dumps({"warnings": ["another thing"], "caveats": caveats}))
        record(
            run=tmp_path / "results" / "run.json", collection=tmp_path / "results" / "stac" / "collection.json",
            maps={"agb_2019": file}, study=study, products=[asdict(products_of(make_study())["agb_2019"])],
            grid=make_grid().settings(), said=said,
        )  # fmt: skip
        item = json.loads((tmp_path / "results" / "stac" / "agb_2019.json").read_text())
        assert item["properties"].get("forestsink:caveats", []) == caveats
        assert "plots.json" not in (tmp_path / "results" / "run.json").read_text()
        pystac.Item.from_dict(item)
