"""What is found wrong or odd in what others made, and the rule for each kind of it: one list for the sheet and for the run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from catalogs import tables

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RULES = {
    "keep": "flagged and used as it is",
    "leave_out": "the row or the value is left out, counted",
    "leave_out_plot": "the whole plot at that date is left out, counted",
    "first": "the first is used and what repeats it is left out, counted",
    "merge": "what carries one name becomes one, counted",
    "fail": "the run stops",
}


@dataclass(frozen=True)
class Kind:
    """One kind of finding: what it is, the rule where the configuration names none, the rules it may have."""

    title: str
    default: str
    rules: tuple[str, ...]
    takes: str = "the row"


@dataclass(frozen=True)
class Finding:
    """One kind of finding in one file: the sentence, its rows as a spreadsheet numbers them, the rule that was applied."""

    kind: str
    file: str
    what: str
    rows: tuple[Any, ...]
    rule: str
    noun: str = "row"

    def sentence(self, most: int = 5) -> str:
        """What was found and where; `<rows>` in `what` is the place of the rows, which else come last."""
        where = tables.rows(self.rows, most=most, noun=self.noun) if self.rows else ""
        if "<rows>" in self.what or not where:
            return f"{self.file}: {self.what.replace('<rows>', where)}"
        return f"{self.file}: {self.what} in {where}"


def rules_of(chosen: Mapping[str, str], kinds: Mapping[str, Kind], section: str) -> dict[str, str]:
    """The rule of every kind; a kind or rule that is not known is a mistake of the configuration (`section`.rules)."""
    for kind, rule in chosen.items():
        if kind not in kinds:
            raise ValueError(f"{section}.rules.{kind} is not a kind of finding{tables.nearest(kind, kinds)}")
        if rule not in kinds[kind].rules:
            raise ValueError(
                f"{section}.rules.{kind}: {rule!r} cannot be done with {kinds[kind].title}; "
                f"choose {' or '.join(kinds[kind].rules)}"
            )
    return {kind: chosen.get(kind, about.default) for kind, about in kinds.items()}


@dataclass
class Findings:
    """Collects what checks find and carries out the rules; `stops=False` goes on where a run would stop, for the sheet."""

    KINDS: ClassVar[Mapping[str, Kind]] = {}
    SECTION: ClassVar[str] = ""

    rules: Mapping[str, str] = field(default_factory=dict)
    stops: bool = True
    quiet: bool = False
    found: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rules = rules_of(self.rules, self.KINDS, self.SECTION)

    def add(self, kind: str, *, file: str, what: str, rows: Iterable[Any] = (), noun: str = "row") -> str:
        """Note a finding; returns what is to be done with its rows: any rule but `fail`."""
        rule = self.rules[kind]
        listed = list(rows)
        ordered = sorted(listed) if all(isinstance(row, int | np.integer) for row in listed) else listed
        finding = Finding(kind, str(file), what, tuple(ordered), rule, noun)
        self.found.append(finding)
        if rule == "fail":
            # where nothing stops, a row that cannot be used is looked at no further
            return "leave_out" if "leave_out" in self.KINDS[kind].rules else "keep"
        if not self.quiet:
            log.warning("%s%s", finding.sentence(), "" if rule == "keep" else f": {self._done(kind, rule)}")
        return rule

    def _done(self, kind: str, rule: str) -> str:
        done = {"leave_out_plot": "the plot is left out at that date", "merge": "merged into one"}
        return done.get(rule, f"left out: {self.KINDS[kind].takes}")

    def settle(self) -> None:
        """Stop the run where the rule of something found is `fail`."""
        stopping = [finding for finding in self.found if finding.rule == "fail"]
        if not stopping or not self.stops:
            return
        more = len({finding.kind for finding in stopping} - {stopping[0].kind})
        others = f"{more} more {'kind' if more == 1 else 'kinds'} of mistake, see `python -m pipeline inspect {self.SECTION}`"
        raise ValueError(f"{stopping[0].sentence()}{f'; {others}' if more else ''}")

    def refuse(self, frame: pd.DataFrame, file: str, *, noun: str = "row") -> tables.Refuse:
        """What `tables.numbers` and `tables.dates` tell of cells that they cannot read (their value is missing then)."""

        def refuse(kind: str, wrong: pd.Series, what: str) -> None:
            self.add(kind, file=file, what=what, rows=frame["row"].to_numpy()[np.asarray(wrong, bool)], noun=noun)

        return refuse

    def listed(self, most: int) -> list[dict[str, Any]]:
        """The findings as plain values for a sheet: kind, title, rule, file, sentence (with `most` rows) and all rows."""
        return [
            {
                "kind": one.kind, "title": self.KINDS[one.kind].title, "rule": one.rule, "file": one.file,
                "sentence": one.sentence(most), "rows": [row.item() if isinstance(row, np.generic) else row for row in one.rows],
            }
            for one in self.found
        ]  # fmt: skip


def by_rule(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of a sheet: what was found by what is done about it, worst first."""
    found, lines = list(found), []
    headings = {"fail": "stops a run", "keep": "flagged, and used as it is"}
    for rule in ("fail", "leave_out_plot", "leave_out", "first", "merge", "keep"):
        chosen = [one for one in found if one["rule"] == rule]
        if chosen:
            lines += ["", f"{headings.get(rule, RULES[rule])}:", *(f"  [{one['kind']}] {one['sentence']}" for one in chosen)]
    return lines
