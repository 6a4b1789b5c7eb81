"""What a report is made from, read and made small: the sections take it and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.report.figures import Frame, Layer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Material:
    """Settings, tables and small maps of one study.

    study : `Study.model_dump(mode="json")`; grid : `Grid.settings()`; products : `products.Product` as plain values
    layers : (product name, band name) -> small map
    stands : one row per stand, with geometry; estimates : one row per stand or project and estimand
    project : one row per quantity of the project, in the units people quote; totals : what every estimator says of project and
        strata; ledger : the sources of each composite
    models, left_out, training, validation (scores), validated (plots as predicted by each fold), cards : per target
    notes : what is not made, and why; said : what reading plots and stands warned of
    canopies : per campaign with canopy products, its numbers and its small canopy height model
    standard : title, source, status and entries (code, name, ours, unit, about) of the list of indicators that is followed
    scenes : per sensor that something was made of; sources : rows of what, where from, licence, citation
    """

    study: Mapping
    grid: Mapping
    products: Sequence[Mapping]
    layers: Mapping[tuple[str, str], Layer]
    stands: pd.DataFrame
    estimates: pd.DataFrame
    project: pd.DataFrame
    models: Mapping[str, Mapping]
    left_out: Mapping[str, pd.DataFrame]
    training: Mapping[str, pd.DataFrame]
    validation: Mapping[str, Mapping]
    validated: Mapping[str, pd.DataFrame]
    cards: Mapping[str, Mapping]
    checks: Mapping
    scenes: Mapping[str, Mapping]
    notes: Sequence[str]
    sources: Sequence[Mapping]
    said: Sequence[str] = ()
    canopies: Mapping[str, tuple[Mapping, Layer]] = field(default_factory=dict)
    standard: Mapping | None = None
    totals: pd.DataFrame | None = None
    ledger: pd.DataFrame | None = None

    @cached_property
    def frame(self) -> Frame:
        side = self.grid["resolution_m"]
        return Frame(self.grid["west_m"], self.grid["north_m"], self.grid["cols"] * side, self.grid["rows"] * side)

    @cached_property
    def confidence(self) -> str:
        """The level of every interval, as in `90 %`."""
        return f"{self.study['model']['confidence_percent']:g} %"

    @property
    def years(self) -> list[int]:
        return list(self.study["years"])

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Successive pairs of years."""
        return list(zip(self.years[:-1], self.years[1:], strict=True))

    @property
    def stock_target(self) -> str | None:
        """The target that carbon is computed from."""
        return next((product["target"] for product in self.products if product["kind"] == "tree_carbon"), None)

    def outside_percent(self, target: str, first: int, last: int) -> float | None:
        """Share of the project's forest outside the area of applicability; none where it is not known.

        Land without forest counts as within it, see `steps.stands.check_extrapolation`.
        """
        rows = self.estimates
        if not {"in_domain_percent", "forest_percent"} <= set(rows.columns):
            return None
        rows = rows[(rows["level"] == "project") & (rows["target"] == target)]
        rows = rows[(rows["first_year"] == first) & (rows["last_year"] == last) & (rows["forest_percent"] > 0)]
        if rows.empty or not rows["in_domain_percent"].notna().iloc[0]:
            return None
        return float(min(100 * (100 - rows["in_domain_percent"].iloc[0]) / rows["forest_percent"].iloc[0], 100.0))

    @cached_property
    def by_area(self) -> pd.DataFrame:
        """Stands, largest first."""
        return self.stands.sort_values(["area_ha", "stand"], ascending=[False, True], ignore_index=True)
