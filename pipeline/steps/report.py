"""Rule `report`: one page with everything a reader and a verifier look at."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from catalogs.search import endpoints
from catalogs.sensors import is_sensor, sensor_named
from pipeline import store
from pipeline.grid import Grid, Window
from pipeline.lidar.canopy import canopy_grid
from pipeline.optical.topography import years_that_differ
from pipeline.products import CANOPY_BAND
from pipeline.report.figures import Layer, shrunk
from pipeline.report.maps import Group, Panel, groups_of, reach_of
from pipeline.report.material import Material
from pipeline.report.page import build_page
from pipeline.steps.stand_tables import read_project

log = logging.getLogger(__name__)


def report(
    *,
    page: Path,
    study: dict,
    grid: dict,
    products: Sequence[dict],
    maps: Mapping[str, Path],
    table: Path,
    estimates: Path,
    project: Path,
    models: Mapping[str, Path],
    left_out: Mapping[str, Path],
    training: Mapping[str, Path],
    validation: Mapping[str, Path],
    validated: Mapping[str, Path],
    cards: Mapping[str, Path],
    checks: Path,
    scenes: Mapping[str, Path] | None = None,
    said: Sequence[Path] = (),
    slopes: Sequence[Path] = (),
    dropped: Mapping[str, Sequence[Path]] | None = None,
    notes: Sequence[str] = (),
    standard: Mapping | None = None,
    canopies: Mapping[str, Path] | None = None,
    canopy_numbers: Mapping[str, Path] | None = None,
    totals: Path | None = None,
    ledger: Path | None = None,
    **_inputs: object,
) -> None:
    """Write the report, a single HTML file that fetches nothing.

    Parameters
    ----------
    study : dict
        The whole configuration as plain values.
    maps : mapping of product name to published raster
    models, left_out, training, validation, validated, cards : mappings of target to file
    scenes : mapping of sensor to its frozen scenes; none in a study without satellites
    said : what earlier steps warned of, a file each
    slopes : what the step `topography` found, a file per sensor and year
    dropped : mapping of sensor to what its composites say about scenes that could not be read
    canopies, canopy_numbers : mappings of campaign to its published canopy height model, and to what it says in numbers
    totals, ledger : what every estimator says of project and strata, and the sources of each composite
    notes : sentences on what this study does not make, and why
    standard : the list of indicators that the study follows (`bridge.Plan.standard`), where it follows one
    """
    frozen = {name: store.read_json(path) for name, path in (scenes or {}).items()}
    for name, paths in (dropped or {}).items():
        frozen[name]["dropped"] = _dropped(paths)
    material = Material(
        study=study,
        grid=grid,
        products=products,
        layers=_layers(_shown(products, study), maps, Grid(**grid)),
        stands=store.read_table(table),
        estimates=store.read_table(estimates),
        project=read_project(project),
        models={target: store.read_json(path) for target, path in models.items()},
        left_out={target: store.read_table(path) for target, path in left_out.items()},
        training={target: store.read_table(path) for target, path in training.items()},
        validation={target: store.read_json(path) for target, path in validation.items()},
        validated={target: store.read_table(path) for target, path in validated.items()},
        cards={target: store.read_json(path) for target, path in cards.items()},
        checks=store.read_json(checks),
        scenes=frozen,
        notes=notes,
        standard=standard,
        totals=store.read_table(totals) if totals else None,
        ledger=store.read_table(ledger) if ledger else None,
        said=[
            *(sentence for path in said for sentence in store.read_json(path)["warnings"]),
            *years_that_differ([store.read_json(path) for path in slopes]),
        ],
        sources=_sources(study, frozen),
        canopies={
            name: (store.read_json((canopy_numbers or {})[name]), _canopy(path, _fine_grid(grid, study, name)))
            for name, path in (canopies or {}).items()
        },
    )
    text = build_page(material)
    store.write_text(page, text)
    log.info("report of %d stands and %d maps: %.2f MB", len(material.stands), len(material.layers), len(text) / 1e6)


def _fine_grid(grid: dict, study: dict, campaign: str) -> Grid:
    return canopy_grid(Grid(**grid), study["lidar"][campaign]["chm_resolution_m"])


def _canopy(raster: Path, grid: Grid) -> Layer:
    def read(row0: int, row1: int):
        return store.read_raster(raster, bands=[CANOPY_BAND.name], window=Window(row0, row1, 0, grid.cols))[CANOPY_BAND.name]

    return shrunk(read, (grid.rows, grid.cols), most_px=1000)


def _dropped(paths: Sequence[Path]) -> list[dict]:
    """Scenes that could not be read, by id, with the reason and the number of composites they are missing from."""
    found: dict[str, dict] = {}
    for path in paths:
        for entry in store.read_json(path)["dropped"]:
            found.setdefault(entry["id"], {**entry, "composites": 0})["composites"] += 1
    return [found[name] for name in sorted(found)]


def _shown(products: Sequence[dict], study: dict) -> list[Group]:
    """Groups of maps on any section of the page."""
    return [*groups_of(products, study["years"]), *(group for name in study["targets"] for group in reach_of(name, products))]


def _layers(groups: Sequence[Group], maps: Mapping[str, Path], grid: Grid) -> dict[tuple[str, str], Layer]:
    return {
        (panel.product, panel.band): _layer(panel, maps, grid, classes=group.classes)
        for group in groups
        for panel in group.panels
    }


def _layer(panel: Panel, maps: Mapping[str, Path], grid: Grid, *, classes: bool) -> Layer:
    if panel.product not in maps:
        raise FileNotFoundError(f"the map {panel.product} is missing; there are {', '.join(maps)}")

    def read(row0: int, row1: int):
        rows = Window(row0, row1, 0, grid.cols)
        return store.read_raster(maps[panel.product], bands=[panel.band], window=rows)[panel.band]

    return shrunk(read, (grid.rows, grid.cols), classes=classes)


def _sources(study: Mapping, scenes: Mapping) -> list[dict]:
    """Where the scenes that were used, points, plots and stands come from, under which licence, and how to cite them."""
    planted = bool(study.get("planted"))
    found = []
    for name, sensor in study["sensors"].items():
        if name not in scenes:
            continue
        row = {"sensor": name, "what": _called(name)}
        known = endpoints().get(sensor["catalog"])
        if known:
            product = sensor_named(name).name if is_sensor(name) else name
            terms = {part: known[part].get(product, "as its owner says") for part in ("licence", "citation")}
            found.append(row | {"origin": known["title"]} | terms)
        else:
            found.append(row | _owned(sensor["catalog"], planted))
    for name, campaign in study["lidar"].items():
        source = campaign["points"] or campaign["canopy_height"] or f"{campaign['catalog']}: {campaign['collection']}"
        what = {"sensor": None, "what": f"Airborne lidar {name}"}
        found.append(what | _owned(source if isinstance(source, str) else source[0], planted))
    for what, file in (
        ("Field plots", study["plots"]["file"] or study["plots"]["corners"]),
        ("Stands", study["stands"]["file"]),
    ):
        if file:
            found.append({"sensor": None, "what": what} | _owned(file, planted))
    return found


def _called(name: str) -> str:
    """A sensor's title, with the name of the composite where it may be one of several."""
    if not is_sensor(name):
        return name
    known = sensor_named(name)
    return known.title if name == known.name else f"{known.title} ({name})"


def _owned(place: str, planted: bool) -> dict:
    """Origin and licence of the user's own files: by their names, since a page that moves should not name folders."""
    if planted:
        return {"origin": "planted by this study", "licence": "Apache-2.0", "citation": "none needed"}
    origin = place if "://" in place else Path(place).name
    return {"origin": origin, "licence": "as its owner says", "citation": "as its owner says"}
