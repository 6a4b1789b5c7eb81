"""What a step warned of, kept beside what it made, so that the report can say it to those who never see a terminal."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import store

if TYPE_CHECKING:
    import pandas as pd

OURS = ("catalogs", "models", "pipeline")


@contextmanager
def kept_warnings(path: Path | None) -> Iterator[None]:
    """Write the warnings of our packages within the block to `path`, in order and once each, as {"warnings": [...]}, and
    those that every product must carry (`caveat`) a second time under "caveats", where there are any, with the names of
    unverified sources under "unverified".

    Folders are left out of file names: a page that moves should not tell where it was made. Nothing is written when the
    block fails, or where no path is given.
    """
    if path is None:
        yield
        return
    heard = _Heard()
    loggers = [logging.getLogger(name) for name in OURS]
    for logger in loggers:
        logger.addHandler(heard)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(heard)
    content = {"warnings": list(dict.fromkeys(heard.sentences))}
    if heard.caveats:
        content["caveats"] = list(dict.fromkeys(heard.caveats))
    if heard.unverified:
        content["unverified"] = list(dict.fromkeys(heard.unverified))
    store.write_json(path, content)


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """The warnings of our packages within the block, in order and once each, and not on the terminal: for a sheet that tells
    them itself."""
    heard = _Heard()
    sentences: list[str] = []
    loggers = [logging.getLogger(name) for name in OURS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(heard)
        logger.propagate = False
    try:
        yield sentences
    finally:
        for logger, passed_on in zip(loggers, before, strict=True):
            logger.removeHandler(heard)
            logger.propagate = passed_on
        sentences += dict.fromkeys(heard.sentences)


def caveat(log: logging.Logger, message: str, *arguments: object, unverified: Sequence[str] = ()) -> None:
    """Warn of what a user of any product must know, such as numbers nobody has checked: maps and tables say it too.

    `unverified` are the names of equations, factors and fractions of that status that products rest on: `unverified_in` tells
    them to who must refuse them.
    """
    log.warning(message, *arguments, extra={"caveat": True, "unverified": list(unverified)})


def caveats_in(path: Path | None) -> list[str]:
    """The caveats that a step kept at `path`; none where it kept none."""
    return [] if path is None else store.read_json(path).get("caveats", [])


def unverified_in(path: Path | None) -> list[str]:
    """Names of the unverified equations, factors and fractions that a step's results rest on, as it kept them at `path`."""
    return [] if path is None else store.read_json(path).get("unverified", [])


def with_caveats(frame: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """A table with what was kept at `path` in every row's `caveats` and `unverified`; as it is where there are no caveats."""
    if not (caveats := caveats_in(path)):
        return frame
    return frame.assign(caveats="; ".join(caveats), unverified="; ".join(unverified_in(path)))


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []
        self.caveats: list[str] = []
        self.unverified: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        sentence = re.sub(r"(?<!\S)(?:[\w.~-]*/)+(?=[\w-]+\.\w)", "", record.getMessage())
        self.sentences.append(sentence)
        if getattr(record, "caveat", False):
            self.caveats.append(sentence)
            self.unverified += getattr(record, "unverified", [])
