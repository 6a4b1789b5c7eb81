"""Who may import whom, who may write, who may look at the truth: read from the source, whatever runs."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

import pipeline.steps

PACKAGES = ("catalogs", "models", "pipeline")
PURE = ("config", "grid", "features", "mapping", "zonal", "products", "checks", "provenance", "template",
        "optical", "radar", "lidar", "indicators", "relief", "applicability", "model_card", "set_layers", "strata")  # fmt: skip
FLOORS = {"": 2, **dict.fromkeys(PURE, 2), "store": 3, "steps": 4, "report": 4, "bridge": 5, "rules": 5, "__main__": 5}
"""Floor of each part of `pipeline`; `catalogs` and `models` are floor 1."""

KNOWN_EXCEPTION = ("pipeline.config", "catalogs.planted.settings")
"""The configuration embeds the settings of the planted study, which import nothing but pydantic."""

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def floor_of(module: str) -> int:
    package, _, rest = module.partition(".")
    return 1 if package in ("catalogs", "models") else FLOORS[rest.split(".")[0]]


def modules() -> set[str]:
    return {module_of(path) for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_module_imports_from_its_own_floor_or_below(path):
    me = module_of(path)
    known = modules()
    for name in imports_of(path):
        if name.split(".")[0] not in PACKAGES or name not in known or name == "pipeline":
            continue
        assert floor_of(name) <= floor_of(me), f"{me} (floor {floor_of(me)}) imports {name} (floor {floor_of(name)})"


@pytest.mark.parametrize(("package", "other"), [("catalogs", "models"), ("models", "catalogs")])
def test_catalogs_and_models_know_neither_each_other_nor_the_pipeline(package, other):
    for path in SOURCES:
        if module_of(path).split(".")[0] == package:
            assert not {name.split(".")[0] for name in imports_of(path)} & {other, "pipeline", "snakemake"}, path


def test_the_pure_core_knows_no_catalogue():
    found = {
        (module_of(path), name)
        for path in SOURCES
        for name in imports_of(path) & modules()
        if module_of(path).startswith("pipeline.") and floor_of(module_of(path)) == 2 and name.startswith("catalogs.")
    }
    assert found <= {KNOWN_EXCEPTION, (KNOWN_EXCEPTION[0], "catalogs.planted")}
    assert imports_of(ROOT / "catalogs/planted/settings.py") <= {
        "__future__", "__future__.annotations", "typing", "typing.Annotated", "typing.Literal", "pydantic",
        "pydantic.BaseModel", "pydantic.ConfigDict", "pydantic.Field",
    }  # fmt: skip


def test_every_part_of_the_pipeline_has_a_floor():
    parts = {path.relative_to(ROOT / "pipeline").parts[0] for path in (ROOT / "pipeline").rglob("*.py")}
    assert {part.removesuffix(".py") for part in parts} - {"__init__"} <= set(FLOORS)


def test_no_module_is_a_drawer_for_leftovers():
    names = {name for module in modules() for name in module.split(".")}
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & names


def test_only_the_bridge_and_the_rules_know_snakemake():
    for path in SOURCES:
        me = module_of(path)
        knows = any(name.split(".")[0] == "snakemake" for name in imports_of(path))
        knows |= any(isinstance(node, ast.Name) and node.id == "snakemake" for node in ast.walk(tree_of(path)))
        assert not knows or me.startswith(("pipeline.bridge", "pipeline.rules")), me


# ---------------------------------------------------------------- who writes

WRITERS = {
    "to_parquet", "to_csv", "to_file", "to_json", "to_excel", "to_feather", "to_pickle", "to_netcdf", "to_zarr", "to_sql",
    "write_dataframe", "write_text", "write_bytes", "savefig", "tofile", "savez", "dump", "write_table",
}  # fmt: skip
MAY_WRITE = ("pipeline.store", "catalogs.planted", "pipeline.bridge", "pipeline.__main__")
"""`store` our results; `planted` the foreign formats; the bridge a job's log and last sentence; `new` a template."""


def writes(path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        modes = [arg.value for arg in [*node.args, *(k.value for k in node.keywords)] if isinstance(arg, ast.Constant)]
        if name in WRITERS and owner != "store":
            found.append(f"{owner}.{name}, line {node.lineno}")
        if name == "open" and any(isinstance(mode, str) and re.fullmatch(r"[rb]*[wax][rbt+]*|r\+b?", mode) for mode in modes):
            found.append(f"open to write, line {node.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_only_the_store_writes_files(path):
    if not module_of(path).startswith(MAY_WRITE):
        assert writes(path) == []


def test_the_search_for_writes_finds_those_that_are_there():
    assert writes(ROOT / "pipeline/store/tables.py") and writes(ROOT / "catalogs/planted/rasters.py")


# ---------------------------------------------------------------- who sees the truth

MAY_NAME_TRUTH = ("catalogs.planted", "pipeline.steps.check", "pipeline.steps.planted", "pipeline.bridge.plan")


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_nothing_but_planting_and_the_check_names_the_folder_of_truth(path):
    if module_of(path).startswith(MAY_NAME_TRUTH):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(^|[\w}/])/truth\b|\btruth/", node.value), f"{path}, line {node.lineno}"


def test_no_step_but_the_check_and_the_planting_is_handed_the_truth():
    handed = set()
    for found in pkgutil.iter_modules(pipeline.steps.__path__):
        module = import_module(f"pipeline.steps.{found.name}")
        for name, step in inspect.getmembers(module, inspect.isfunction):
            if step.__module__ == module.__name__ and "truth" in inspect.signature(step).parameters:
                handed.add((found.name, name))
    assert handed == {("check", "check"), ("planted", "plant_truth")}


def test_no_rule_but_the_check_takes_the_truth_as_input():
    takers = set()
    for file in (ROOT / "pipeline/rules").glob("*.smk"):
        for rule in re.split(r"(?m)^rule ", file.read_text(encoding="utf-8"))[1:]:
            inputs = re.search(r"(?s)\n    input:\n(.*?)\n    \w+:\n", rule)
            if inputs and "truth" in inputs[1]:
                takers.add(rule.split(":")[0])
    assert takers == {"check"}


# ---------------------------------------------------------------- rules hold no arithmetic


def test_every_rule_has_a_step_of_its_name():
    names = {
        name
        for file in (ROOT / "pipeline/rules").glob("*.smk")
        for name in re.findall(r"(?m)^rule (\w+):", file.read_text(encoding="utf-8"))
    }
    assert {"search", "composite", "lidar", "plots", "training", "fit", "estimate", "stands", "publish", "check"} <= names
    for name in names:
        module = import_module(f"pipeline.steps.{'planted' if name.startswith('plant_') else name}")
        assert callable(getattr(module, name)), name


def test_no_file_of_the_project_names_a_folder_of_one_machine():
    for path in [*SOURCES, *(ROOT / "config").glob("*.yaml"), ROOT / "Snakefile", ROOT / "Makefile", ROOT / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(work|home|root|Users)/\w", text), path
