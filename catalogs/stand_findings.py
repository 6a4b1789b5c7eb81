"""Kinds of what is found wrong or odd in polygons of stands, and what is done to stands by the rule of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from catalogs import findings
from catalogs.findings import Kind

if TYPE_CHECKING:
    import geopandas as gpd

WRONG, ODD = ("fail", "leave_out"), ("keep", "leave_out", "fail")

KINDS: dict[str, Kind] = {
    "id_missing": Kind("a stand without id", "fail", WRONG, "the stand"),
    "id_repeated": Kind("an id that several features carry", "fail", ("fail", "first", "merge"), "all but the first"),
    "polygon_missing": Kind("a stand without polygon", "fail", WRONG, "the stand"),
    "polygon_kind": Kind("a feature that is a line or a point", "fail", WRONG, "the stand"),
    "polygon_mended": Kind("a polygon that crosses itself: it is made valid", "keep", ODD, "the stand"),
    "polygon_flat": Kind("a polygon without area", "fail", WRONG, "the stand"),
    "polygon_repeated": Kind("a polygon that is drawn twice", "fail", ("fail", "first"), "all but the first"),
    "overlap": Kind("two stands that overlap (stands.overlaps says the same)", "fail", ("fail", "first"),
                    "the common part, which the first keeps"),
    "covered": Kind("a stand that lies wholly under earlier ones", "fail", WRONG, "the stand"),
    "sliver": Kind("a polygon narrower than 10 m or smaller than 0.05 ha", "keep", ODD, "the stand"),
    "number_unreadable": Kind("a cell that should hold a number and does not", "fail", WRONG, "the value"),
    "code_unknown": Kind("a code that is not in stands.stratum_codes", "fail", WRONG, "the stratum"),
    "class_negative": Kind("a number below zero where classes are made of it, such as an age", "fail", WRONG, "the stratum"),
    "stratum_missing": Kind("a stand without an attribute that its stratum is made of", "keep", ODD, "the stand"),
    "area_differs": Kind("a declared area that differs from the polygon by more than 10 %", "keep", ODD, "the declared area"),
    "area_missing": Kind("a stand without declared area, or with one of zero", "keep", ODD, "the stand"),
}  # fmt: skip


@dataclass
class StandFindings(findings.Findings):
    """Of stands. `facts` are what the checks measured on the way, for the sheet."""

    KINDS: ClassVar[Mapping[str, Kind]] = KINDS
    SECTION: ClassVar[str] = "stands"

    facts: dict[str, str] = field(default_factory=dict)

    def stands(self, kind: str, layer: gpd.GeoDataFrame, wrong: Any, *, file: str, what: str) -> gpd.GeoDataFrame:
        """Note a finding about features of `layer` (its index numbers them); returns the layer without those left out.

        `<stands>` in `what` names them by their ids.
        """
        wrong = np.asarray(wrong, bool)
        if not wrong.any():
            return layer
        what = what.replace("<stands>", names_of(layer, wrong))
        rule = self.add(kind, file=file, what=what, rows=layer.index[wrong], noun="feature")
        return layer[~wrong] if rule in ("leave_out", "first") else layer


def names_of(layer: gpd.GeoDataFrame, chosen: np.ndarray) -> str:
    """'stand a', 'stands a and b', by their ids."""
    from catalogs import tables

    return tables.rows(layer["stand"].to_numpy()[chosen], noun="stand")


def findings_for(settings: Mapping[str, Any], *, stops: bool = True, quiet: bool = False) -> StandFindings:
    """By the rules of the section `stands`, where `overlaps` is the rule of overlaps unless `rules` names one."""
    rules = {"overlap": settings["overlaps"], **settings["rules"]}
    return StandFindings(rules, stops=stops, quiet=quiet)
