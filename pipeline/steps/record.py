"""Rule `record`: what a run was made from (run.json) and its maps as a STAC collection."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pipeline import store
from pipeline.grid import Grid
from pipeline.lidar.canopy import canopy_grid
from pipeline.provenance import canopy_item_of, collection_of, item_of
from pipeline.steps.notes import caveats_in, unverified_in

log = logging.getLogger(__name__)

PACKAGES = (
    "numpy",
    "pandas",
    "geopandas",
    "rasterio",
    "scikit-learn",
    "scipy",
    "laspy",
    "snakemake",
    "exactextract",
    "odc-geo",
)


def record(
    *,
    run: Path,
    collection: Path,
    maps: Mapping[str, Path],
    study: dict,
    products: Sequence[dict],
    grid: dict,
    canopies: Mapping[str, Path] | None = None,
    trees: Mapping[str, Path] | None = None,
    canopy_products: Mapping[str, dict] | None = None,
    said: Path | None = None,
    cards: Mapping[str, Path] | None = None,
    standard: dict | None = None,
    **inputs: object,
) -> None:
    """Write run.json (versions, configuration, digests of results) and the STAC collection, an item per map and canopy.

    `said` is what reading the plots warned of: its caveats, which every item of a map carries too, and the unverified sources
    stand in run.json, where who issues credits finds them.
    `cards` are the model cards, a file per target.
    `standard` is the list of indicators that the study follows (`bridge.Plan.standard`), where it follows one.
    """
    folder = store.clear_folder(collection.parent)
    shelf = next(iter(maps.values())).parent
    _name_strangers(shelf, maps.values())
    _name_strangers(shelf.parent / "canopy", [*(canopies or {}).values(), *(trees or {}).values()])
    grid_ = Grid(**grid)
    canopies, trees = canopies or {}, trees or {}
    published = [*maps.values(), *canopies.values(), *trees.values()]
    digests = {path.as_posix(): _sha256(path) for path in [*published, *_paths({"cards": cards or {}, **inputs})]}
    described = {product["name"]: product for product in products}
    items = [
        item_of(
            described[name], path=path, folder=folder, sha256=digests[path.as_posix()], grid=grid_, study=study,
            caveats=caveats_in(said),
        )
        for name, path in maps.items()
    ]  # fmt: skip
    items += [
        canopy_item_of(
            canopy_products[name], path=path, trees=trees[name], folder=folder,
            sha256={file: digests[file.as_posix()] for file in (path, trees[name])},
            grid=canopy_grid(grid_, study["lidar"][name]["chm_resolution_m"]), study=study,
            flown=study["lidar"][name]["date"],
        )
        for name, path in canopies.items()
    ]  # fmt: skip
    for item in items:
        store.write_json(folder / f"{item['id']}.json", item)
    store.write_json(collection, collection_of(study, items))
    store.write_json(run, {
        "study": study,
        **({"indicator_profile": standard} if standard else {}),
        "caveats": caveats_in(said),
        "unverified": unverified_in(said),
        "results_sha256": digests,
        "model_cards": {name: Path(os.path.relpath(path, run.parent)).as_posix() for name, path in (cards or {}).items()},
        **({"model": chosen} if (chosen := _regressors_in(cards or {})) else {}),
        **({"strata": told} if (told := _strata_in(cards or {})) else {}),
        "software": {name: metadata.version(name) for name in PACKAGES},
        "forestsink": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    })  # fmt: skip


def of_other_runs(run: Path) -> list[str]:
    """Results that are not those that `run.json` names, by their place in its folder: missing, or with another content.

    `record` is the last step of a run and each file takes its place whole, so these tell a run that was stopped on its way: some
    files are the new run's, others still the former's. Only files that are younger than `run.json` are read.
    """
    told = store.read_json(run)
    folder, sealed = Path(told["study"]["results"]), run.stat().st_mtime_ns
    found = []
    for name, digest in told["results_sha256"].items():
        if not Path(name).is_relative_to(folder):  # scenes, which a new search changes by itself
            continue
        place = Path(name).relative_to(folder)
        file = run.parent / place
        if not file.exists() or (file.stat().st_mtime_ns > sealed and _sha256(file) != digest):
            found.append(place.as_posix())
    return sorted(found)


def _strata_in(cards: Mapping[str, Path]) -> dict[str, dict[str, list]]:
    """Levels of the strata that models tell apart, by target and predictor set, as the cards have them."""
    found = {}
    for target, path in cards.items():
        told = {one["name"]: one["strata"] for one in store.read_json(path).get("sets", []) if one.get("strata")}
        if told:
            found[target] = told
    return found


def _regressors_in(cards: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Regressor of each target and predictor set, as the cards have them; of `default` and `auto` the one they stand for."""
    return {
        target: {one["name"]: one["regressor"].get("stands_for", one["regressor"])["name"] for one in sets}
        for target, path in cards.items()
        if (sets := store.read_json(path).get("sets"))
    }


def _name_strangers(shelf: Path, ours: Iterable[Path]) -> None:
    """Warn of maps beside ours that another configuration of this study made: they are not part of these results."""
    known = {path.stem for path in ours}
    there = shelf.iterdir() if shelf.is_dir() else ()
    strangers = sorted({path.name for path in there if path.suffix in (".tif", ".vrt", ".gpkg") and path.stem not in known})
    if strangers:
        log.warning("%s holds maps of an earlier configuration, not of this one: %s", shelf, ", ".join(strangers))


def _paths(inputs: Mapping[str, object]) -> list[Path]:
    found: list[Path] = []
    for value in inputs.values():
        if isinstance(value, Path):
            found.append(value)
        elif isinstance(value, Mapping):
            found += [part for part in value.values() if isinstance(part, Path)]
    return [path for path in found if path.is_file()]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _commit() -> str:
    """The checkout's commit, with `+changes` when files differ from it; `unknown` outside git."""
    here = Path(__file__).resolve().parent
    try:
        ask = ["git", "-C", str(here)]
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            [*ask, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
