"""The record of a run: what run.json says of it."""

import hashlib
import json
import os
import time
from dataclasses import asdict

from conftest import make_grid, make_study

from pipeline.products import products_of
from pipeline.steps.record import of_other_runs, record


def recorded(folder, **options):
    study = make_study()
    maps = {"agb_2019": folder / "maps" / "agb_2019.tif"}
    maps["agb_2019"].parent.mkdir(exist_ok=True)
    maps["agb_2019"].write_bytes(b"a map")
    products = [asdict(product) for product in products_of(study).values()]
    about = {"study": study.model_dump(mode="json"), "grid": make_grid().settings(), "products": products}
    record(run=folder / "run.json", collection=folder / "stac" / "collection.json", maps=maps, **about, **options)
    return json.loads((folder / "run.json").read_text())


def a_finished_run(folder):
    """A run whose configuration calls the folder `results/hills`, as seen from wherever the reader stands."""
    table, scenes = folder / "results/hills/stands.parquet", folder / "resources/scenes.json"
    for file in (table, scenes):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("as the run left it")
    run = folder / "results/hills/run.json"
    digests = {name: hashlib.sha256(b"as the run left it").hexdigest()
               for name in ("results/hills/stands.parquet", "resources/scenes.json")}  # fmt: skip
    run.write_text(json.dumps({"study": {"name": "hills", "results": "results/hills"}, "results_sha256": digests}))
    return run, table, scenes


def later(file, text, seconds=10):
    """The file with a content of a later time."""
    file.write_text(text)
    when = time.time() + seconds
    os.utime(file, (when, when))


def test_results_of_one_run_are_those_that_its_record_names(tmp_path):
    run, table, scenes = a_finished_run(tmp_path)
    assert of_other_runs(run) == []
    later(table, "as the run left it")  # copied: a new date, the same bytes
    later(scenes, "a later search")
    assert of_other_runs(run) == []


def test_a_run_that_was_stopped_leaves_files_that_the_record_does_not_name(tmp_path):
    run, table, _ = a_finished_run(tmp_path)
    later(table, "of the next run")
    assert of_other_runs(run) == ["stands.parquet"]
    table.unlink()  # the next run was stopped while it made this one
    assert of_other_runs(run) == ["stands.parquet"]


def test_the_list_of_indicators_that_a_study_follows_is_part_of_its_record(tmp_path):
    entries = [{"code": "F09", "name": "Burn", "ours": "s2_nbr", "unit": "1", "about": "Normalised burn ratio"}]
    standard = {"title": "A list", "source": "a test", "status": "user", "entries": entries}
    assert recorded(tmp_path, standard=standard)["indicator_profile"] == standard
    assert "indicator_profile" not in recorded(tmp_path)


def test_a_run_names_its_model_cards_and_holds_their_digests(tmp_path):
    card = tmp_path / "model_cards" / "agb.json"
    card.parent.mkdir()
    card.write_text("{}")
    found = recorded(tmp_path, cards={"agb": card})
    assert found["model_cards"] == {"agb": "model_cards/agb.json"}
    # SHA-256 of the two characters {}
    assert found["results_sha256"][card.as_posix()] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_a_record_names_what_nobody_checked_so_that_credits_can_be_refused(tmp_path):
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"warnings": ["a", "b"], "caveats": ["b"], "unverified": ["moso_culm"]}))
    run = recorded(tmp_path, said=said)
    assert (run["caveats"], run["unverified"]) == (["b"], ["moso_culm"])
    assert recorded(tmp_path)["unverified"] == []


def test_a_record_names_the_regressor_that_default_stands_for(tmp_path):
    card = tmp_path / "agb.json"
    sets = [{"name": "lidar", "regressor": {"name": "default", "stands_for": {"name": "linear"}}},
            {"name": "radar", "regressor": {"name": "ridge"}}]  # fmt: skip
    card.write_text(json.dumps({"sets": sets}))
    assert recorded(tmp_path, cards={"agb": card})["model"] == {"agb": {"lidar": "linear", "radar": "ridge"}}
