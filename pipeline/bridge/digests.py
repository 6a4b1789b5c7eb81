"""Digests that decide about reruns: of values, and of the code that a step runs."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipeline", "models", "catalogs")


def digest(content: Any) -> str:
    """A short digest of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(module: str, plugins: Iterable[str] = ()) -> str:
    """Digest of a module, of every module of ours that it imports, however deep, and of the tables they read.

    `plugins` count with all they import themselves.
    """
    found: dict[str, str] = {}
    for start in (module, *plugins):
        for name in closure(start):
            found[name] = _read(name)[0]
    return digest(sorted(found.items()))


def text_digest(modules: Iterable[str]) -> str:
    """Digest of some modules themselves, without what they import."""
    return digest(sorted((name, _read(name)[0]) for name in modules))


@cache
def closure(start: str) -> frozenset[str]:
    """A module and every module of ours, or of its own package, that it imports, at its top or inside functions."""
    ours = (*PACKAGES, start.split(".")[0])
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen or _file_of(module) is None:
            continue
        seen.add(module)
        waiting += [name for name in _read(module)[1] if name.split(".")[0] in ours]
    return frozenset(seen)


def plugins_of(module: str, plugins: Iterable[str]) -> list[str]:
    """The plug-ins that add to something the module uses: they import a module of ours that it imports too.

    So a plug-in with an indicator reruns training and estimates, but no composite.
    """
    used = {name for name in closure(module) if "." in name}
    return [name for name in plugins if used & set(_read(name)[1])]


def import_plugins(names: Iterable[str]) -> None:
    """Import the modules that a study names; they lie in the folder that the workflow runs in, or are installed.

    Raises
    ------
    ValueError
        When one is not there.
    """
    names = list(names)
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise
            raise ValueError(
                f"plugins: there is no module {name} in {os.getcwd()}, nor is one of that name installed"
            ) from None


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's text and of the tables beside it that the text names; dotted names of what it imports."""
    path = _file_of(module)
    text = path.read_text(encoding="utf-8")
    parts = [text, *(f"{table.name} {_bytes_digest(table)}" for table in _tables_beside(path) if table.name in text)]
    return digest(parts), tuple(_imports(text, module, is_package=path.name == "__init__.py"))


@cache
def _tables_beside(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.parent.glob("*.csv")))


def _bytes_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _file_of(module: str) -> Path | None:
    """The source of a module: of ours from this checkout, of a plug-in from wherever it is imported from."""
    if module.split(".")[0] in PACKAGES:
        base = ROOT / module.replace(".", "/")
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imports(text: str, module: str, *, is_package: bool) -> list[str]:
    """Dotted names that a module's text may import; what a `from` names may be a module or a name in one."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts if is_package else parts[:-1]
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    whole = [".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 2)]
    return list(dict.fromkeys(whole))
