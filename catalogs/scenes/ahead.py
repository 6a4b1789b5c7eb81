"""Pixels that are held in memory, and those that are on their way there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from catalogs.scenes.profiles import Window


class Kept(NamedTuple):
    """Rows of one file in memory, as they were read; `clear` is false where a quality layer shows nothing clear."""

    window: Window
    parts: tuple[tuple[int, np.ndarray], ...]
    clear: bool = True

    def cut(self, window: Window) -> np.ndarray:
        """The pixels of a window inside, rows one after another in memory."""
        left, right = window.col0 - self.window.col0, window.col1 - self.window.col0
        pieces = [
            pixels[max(window.row0 - row0, 0) : window.row1 - row0, left:right]
            for row0, pixels in self.parts
            if row0 < window.row1 and window.row0 < row0 + len(pixels)
        ]
        return np.ascontiguousarray(pieces[0]) if len(pieces) == 1 else np.concatenate(pieces)


Held = Mapping[str, Kept]
"""Pixels in memory by href."""


@dataclass(frozen=True)
class Rows:
    """Rows of a file that are held, and those that are being decoded below them; `tables` where they are a quality layer's."""

    read: Any
    parts: tuple[tuple[int, np.ndarray], ...]
    row0: int
    window: Window
    tables: Callable[[np.dtype], tuple[np.ndarray, np.ndarray]] | None

    def result(self) -> Kept | None:
        from catalogs.resampling import holds_any

        parts = self.parts
        if self.read is not None:
            pixels = self.read.result()
            if pixels is None:
                return None
            parts = (*parts, (self.row0, pixels))
        kept = Kept(self.window, parts, bool(parts))
        if self.tables is None or not parts:
            return kept
        clear_of = self.tables(parts[0][1].dtype)[0]
        return kept._replace(clear=any(holds_any(pixels, clear_of) for _, pixels in parts))


class Passed:
    """The answer of work that may pass on another answer in place of its own; found once."""

    def __init__(self, future: Any) -> None:
        self._future, self._lock = future, threading.Lock()
        self._found: list[Any] = []

    def result(self) -> Any:
        with self._lock:
            if not self._found:
                found = self._future.result()
                self._found.append(found.result() if isinstance(found, Rows) else found)
            return self._found[0]


class Room:
    """Bytes that may be held at a time; one piece that is larger than all room is let in alone."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size

    def give(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()


class Answer:
    """The answer of work that is done already; one of work under way is a `Passed` or a `concurrent.futures.Future`."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer.result() if isinstance(answer, Rows) else answer

    def result(self) -> Any:
        return self._answer
