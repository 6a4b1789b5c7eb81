"""Rule `model_card`: what a user of a target's map must know of the models that made it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from catalogs.sensors import is_sensor, sensor_named
from pipeline import store
from pipeline.applicability import scale_sentences
from pipeline.features import described
from pipeline.model_card import bias_sentences, card_of, honest_score
from pipeline.steps.notes import caveats_in
from pipeline.steps.stand_tables import read_project

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "numba")
"""What a model's numbers come from; run.json has the rest."""


def model_card(
    *,
    card: Path,
    target: str,
    model: Path,
    training: Path,
    validation: Path,
    validated: Path,
    estimates: Path,
    study: dict,
    grid: dict,
    table: Path,
    project: Path,
    warned: Path | None = None,
    mapped: Sequence[Path] = (),
    sizes: Sequence[Path] = (),
    **_inputs: object,
) -> None:
    """Write the card of one target: the keys of `pipeline.model_card.KEYS`.

    table, project : what is reported of stands and project, so that the card says of them what the report does
    mapped, sizes : what mapping each block warned of, and how large predictors are there
    """
    fitted = store.read_json(model)
    prefixes = [sensor_named(name).prefix for name in study["sensors"] if is_sensor(name) or "_" in name]
    names = dict.fromkeys(name for one in fitted["sets"] for name in one["predictors"])
    files = {"model": model, "plots": training, "validation": validation, "run": card.parent.parent / "run.json"}
    content = card_of(
        study=study, grid=grid, target=target, model=fitted, training=store.read_table(training),
        validation=store.read_json(validation), validated=store.read_table(validated), estimates=store.read_table(estimates),
        predictors={name: described(name, prefixes) for name in names}, caveats=caveats_in(warned),
        software={name: metadata.version(name) for name in PACKAGES},
        stands=store.read_table(table), project=read_project(project),
        mapped=[
            *scale_sentences([row for path in sizes for row in store.read_json(path)["sizes"]], fitted["sets"]),
            *(sentence for path in mapped for sentence in caveats_in(path)),
        ],
        files={name: Path(os.path.relpath(path, card.parent)).as_posix() for name, path in files.items()},
    )  # fmt: skip
    store.write_json(card, content)
    for one in content["sets"]:
        if score := honest_score(content["validation"], one["name"]):
            for sentence in bias_sentences(score, content["target"]["units"]):
                log.warning("%s: %s", target, sentence)
    log.info("card of %s: %d warnings, %d things it is not for", target, len(content["warnings"]), len(content["not_for"]))
