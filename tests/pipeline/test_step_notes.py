"""What a step warned of is kept for the report."""

from __future__ import annotations

import json
import logging

import pytest

from pipeline.steps.notes import kept_warnings

catalogs = logging.getLogger("catalogs.stands")


def heard(path):
    return json.loads(path.read_text())["warnings"]


def test_warnings_are_kept_in_order_and_once_and_details_are_not(tmp_path):
    with kept_warnings(tmp_path / "said.json"):
        catalogs.warning("%d stands overlap", 3)
        catalogs.info("read 7 stands")
        logging.getLogger("somebody.else").warning("not ours")
        catalogs.warning("a second thing")
        catalogs.warning("%d stands overlap", 3)
    catalogs.warning("after the step")
    assert heard(tmp_path / "said.json") == ["3 stands overlap", "a second thing"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("/home/anna/data/stands.gpkg: mended 2", "stands.gpkg: mended 2"),
        ("../data/x/plots.csv has 3 t/ha", "plots.csv has 3 t/ha"),
        ("https://example.org/a/b: slow", "https://example.org/a/b: slow"),
    ],
    ids=["absolute", "relative", "address"],
)
def test_a_file_is_named_without_its_folder(tmp_path, said, kept):
    with kept_warnings(tmp_path / "said.json"):
        catalogs.warning(said)
    assert heard(tmp_path / "said.json") == [kept]


def test_a_step_that_fails_keeps_nothing(tmp_path):
    with pytest.raises(ValueError), kept_warnings(tmp_path / "said.json"):
        raise ValueError("no plots")
    assert not (tmp_path / "said.json").exists()
