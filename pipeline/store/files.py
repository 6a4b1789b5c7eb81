"""Files that take their place whole or not at all: text, JSON, arrays by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A partial file beside `path` that takes its place when the body ends well and vanishes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(partial.name + ".aux.xml").unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """JSON with sorted keys; NaN is not JSON and becomes null."""
    write_text(path, json.dumps(_plain(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray | list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.bool_):
        return bool(content)
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    if isinstance(content, np.integer):
        return int(content)
    if isinstance(content, Path):
        return content.as_posix()
    return content


def read_json(path: str | Path) -> Any:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_text(path: str | Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


class KeptArrays(MutableMapping):
    """Arrays by name in a folder, kept from one job to the next: what is dear to find out and follows from its name.

    Whatever cannot be read counts as not there, and is made again.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return np.load(self._file(name), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise KeyError(name) from None

    def __setitem__(self, name: str, array: np.ndarray) -> None:
        with replacing(self._file(name)) as partial, partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    def __delitem__(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(file.stem for file in self._folder.glob("[!.]*.npy")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def clear_folder(path: str | Path) -> Path:
    """An empty folder in place of whatever stood there."""
    shutil.rmtree(path, ignore_errors=True)
    Path(path).mkdir(parents=True)
    return Path(path)
