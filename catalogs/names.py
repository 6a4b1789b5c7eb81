"""Scientific names as tree lists and parameter tables write them, brought to one spelling so that the two meet."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RANKS = ("var.", "subsp.", "ssp.", "f.", "fo.", "for.", "forma", "cv.", "x")
LATIN_GENUS = r"[a-z]{2,}(?:us|a|is|um|ix|dron|ops|ys|er|es|ex)"
LATIN_EPITHET = r"[a-z-]{2,}(?:a|us|um|is|i|or|ur|ens|ans|es|ense|ex)"
SHORTEST = 4
"""Letters of the shortest genera and epithets (Acer, alba): shorter words that end like Latin are words of other languages,
such as the pinyin of Masson pine, ma wei song."""


def scientific_name(name: str) -> str:
    """Genus and epithet of a scientific name, however it is written; names of other languages as they are."""
    return bare_name(capitalised(name))


def genus_name(name: str) -> str:
    """A genus (or family) with a capital, where it is one word of plain letters in one case."""
    return name.capitalize() if re.fullmatch("[a-z]+|[A-Z]+", name) else name


def written_as(taxa: pd.Series, levels: pd.Series) -> pd.Series:
    """Taxa of a parameter table in the spelling of trees: species, genera and families; groups as they are.

    Varieties of a species that has a row of its own keep their whole name, which no tree has.
    """
    species, genera = levels == "species", levels.isin(["genus", "family"])
    written = taxa.where(~species, taxa.map(scientific_name)).where(~genera, taxa.map(genus_name))
    beside = (written != taxa) & written.isin(set(taxa[species & (written == taxa)]))
    if beside.any():
        log.info("%d varieties serve no tree, for their species has a row of its own", taxa[beside].nunique())
    return written.mask(beside, taxa)


def bare_name(name: str) -> str:
    """Genus and epithet of a scientific name: authors, variety and subspecies taken off; other names as they are."""
    words = re.sub(r"(?<=[^\W\d_])\(", " (", name.replace("×", " x ")).split()
    if len(words) < 3 or not words[0][:1].isupper() or not words[1][:1].islower():
        return " ".join(name.replace("×", " x ").split())
    if words[1] == "x":
        return " ".join(words[:3])
    follows = words[2]
    authored = follows[:1].isupper() or follows.startswith(("(", "ex", "&")) or follows.lower() in RANKS
    return " ".join(words[:2]) if authored else " ".join(words)


def capitalised(name: str) -> str:
    """A scientific name with its genus alone in a capital, also where all is in capitals or each word begins with one; names that
    do not end as Latin ones do stay as they are ('red oak', 'RED OAK')."""
    words = name.split()
    if len(words) < 2 or not _latin(*(word.lower() for word in words[:2])):
        return name
    if words[0].islower():
        return f"{words[0].capitalize()} {' '.join(words[1:])}"
    if words[1].islower():
        return name
    shouted = words[0].isupper() and words[1].isupper()
    if shouted or (words[1][:1].isupper() and words[1][1:].islower()):
        rest = [word.capitalize() if shouted and word.lower() not in RANKS else word for word in words[2:]]
        return " ".join([words[0].capitalize(), words[1].lower(), *rest])
    return name


def _latin(genus: str, epithet: str) -> bool:
    epithet = epithet.split("(")[0]  # an author written on to it
    long = len(genus) >= SHORTEST and len(epithet) >= SHORTEST
    return long and bool(re.fullmatch(LATIN_GENUS, genus)) and bool(re.fullmatch(LATIN_EPITHET, epithet))
