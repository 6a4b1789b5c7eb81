"""Kinds of what is found wrong or odd in field tables, and what is done to trees and plots by the rule of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from catalogs import findings, tables
from catalogs.findings import Kind

if TYPE_CHECKING:
    import pandas as pd

RULES = ("keep", "leave_out", "leave_out_plot", "fail")
WRONG, ODD, WHOLE, TOLD = ("fail", "leave_out", "leave_out_plot"), RULES, ("fail", "keep"), ("keep",)


KINDS: dict[str, Kind] = {
    # trees
    "number_unreadable": Kind("a cell that should hold a number and does not", "fail", ("fail", "leave_out"), "the value"),
    "date_unreadable": Kind("a cell that should hold a date and does not", "fail", ("fail", "leave_out"), "the value"),
    "plot_missing": Kind("a row without plot", "fail", ("fail", "leave_out")),
    "plot_unknown": Kind("a tree of a plot that the plot table lacks", "fail", ("fail", "leave_out")),
    "visit_unknown": Kind("a tree of a date that its plot lacks", "fail", ("fail", "leave_out")),
    "date_missing": Kind("no date of measurement", "fail", ("fail", "leave_out")),
    "status_unknown": Kind("a status that is neither known nor in plots.status_codes", "fail", WRONG),
    "code_unknown": Kind("a species code that is not in plots.species_codes", "fail", ODD),
    "dbh_missing": Kind("a live tree without dbh", "fail", WRONG),
    "dbh_impossible": Kind("a dbh of zero or below", "fail", WRONG),
    "dbh_too_large": Kind("a dbh above plots.max_dbh_cm", "fail", ODD),
    "dbh_outlier": Kind("a dbh at least twice any other of its species or list", "keep", ODD),
    "dbh_unit": Kind("diameters that look like another unit", "fail", WHOLE, "nothing"),
    "height_impossible": Kind("a height not above zero or above any tree's", "fail", WRONG, "the height"),
    "height_unit": Kind("heights that do not go with the diameters: another unit", "fail", WHOLE, "nothing"),
    "height_outlier": Kind("a height far from that of trees of its diameter", "keep", ODD, "the height"),
    "volume_unit": Kind("stem volumes that do not go with dbh and height: another unit", "keep", WHOLE, "nothing"),
    "volume_contradiction": Kind("a volume below its commercial part, or far from dbh and height", "keep", ODD),
    "wood_density_impossible": Kind("a tree's wood density not within 0.05 to 1.5 g/cm3", "fail", WRONG, "the wood density"),
    "species_missing": Kind("a live tree without species", "keep", ODD),
    "species_unmatched": Kind("a species that no equation or wood density is given for by name", "keep", TOLD, "nothing"),
    "species_unserved": Kind("a species none is given for by genus or family either (see plots.unknown_species)", "fail",
                             ("fail",), "nothing"),
    "species_misspelt": Kind("a rare name within two letters of a frequent one", "keep", TOLD, "nothing"),
    "row_repeated": Kind("a row that repeats an earlier one in all that is used", "leave_out", ODD),
    "tree_repeated": Kind("a tree number used twice in one plot at one date", "keep", ODD),
    "outside_plot": Kind("a tree farther from the centre than its dbh counts", "keep", ODD),
    "place_missing": Kind("a tree without the place that puts it in a sub-plot", "fail", WRONG),
    "tree_small": Kind("live trees thinner than plots.min_dbh_cm or the thinnest circle: they do not count", "keep", TOLD,
                       "nothing"),
    "expansion_contradiction": Kind("expansion factors given that do not go with the size of the plots", "keep", WHOLE,
                                    "nothing"),
    "expansion_missing": Kind("a live tree for which neither the table nor the plot's design says how many it stands for",
                              "fail", WRONG),
    # trees at two dates
    "dbh_shrinks": Kind("a tree thinner than before by more than errors of measurement explain", "keep", ODD),
    "dbh_jumps": Kind("a tree grown by more than 7.5 cm of dbh a year", "keep", ODD),
    "species_changes": Kind("a tree of another species than before", "keep", ODD),
    "tree_revives": Kind("a tree alive that was dead or gone", "keep", ODD),
    "tree_vanishes": Kind("a live tree that the next visit does not list", "keep", TOLD, "nothing"),
    "tree_missed": Kind("a live tree that one visit does not list and a later one does", "keep", TOLD, "nothing"),
    "tree_appears_large": Kind("a tree too thick to have grown in since the last visit", "keep", ODD),
    "tree_renumbered": Kind("a tree that seems to stand under another number at the next visit", "keep", TOLD, "nothing"),
    "tree_moved": Kind("a tree that seems to be listed in another plot at the next visit", "keep", TOLD, "nothing"),
    "numbers_do_not_last": Kind("tree numbers that name other trees at the next visit", "keep", WHOLE, "nothing"),
    # plots
    "position_missing": Kind("a plot without position", "fail", ("fail", "leave_out"), "the plot"),
    "coordinates_swapped": Kind("x and y exchanged", "fail", ("fail", "leave_out"), "the plot"),
    "position_repeated": Kind("two plots at one place", "keep", ("keep", "fail", "leave_out"), "the plots"),
    "plot_moved": Kind("a plot whose positions at its dates lie apart", "keep", ("keep", "fail", "leave_out"), "the plot"),
    "fixes_apart": Kind("a GPS fix far from the others of its plot", "keep", ("keep", "fail", "leave_out"), "the fix"),
    "plot_not_measured": Kind("a plot that nobody measured (plots.plot_status_codes)", "leave_out", ("leave_out",), "the plot"),
    "plot_status_unknown": Kind("a plot status that is neither known nor in plots.plot_status_codes", "fail",
                                ("fail", "leave_out"), "the plot"),
    "sampling_unknown": Kind("a way of choosing plots that is neither probability nor purposive", "fail",
                             ("fail", "leave_out"), "the word: plots.sampling counts"),
    "size_missing": Kind("a plot without radius, area or design", "fail", ("fail", "leave_out"), "the plot"),
    "size_contradiction": Kind("a radius, area or basal area factor of a plot that is not that of plots.nested, which counts",
                               "fail", WHOLE, "nothing"),
    "share_impossible": Kind("a measured share of zero, or above 1", "fail", ("fail", "leave_out"), "the plot"),
    "basal_area_low": Kind("half of the plots with less than 0.1 m2 of basal area per hectare: a size in another unit", "fail",
                           WHOLE, "nothing"),
    "plot_repeated": Kind("a plot listed twice for one date", "fail", ("fail", "leave_out"), "all but the first"),
    "value_negative": Kind("a size or total below zero", "fail", ("fail", "leave_out"), "the value"),
    "size_impossible": Kind("a coordinate beyond the earth, or a plot larger than 100 ha", "fail", ("fail", "leave_out"),
                            "the value"),
    "total_impossible": Kind("biomass, volume, basal area or stems beyond any forest", "fail", ("fail", "keep", "leave_out"),
                             "the plot"),
    "slope_impossible": Kind("a slope not within 0 to 80 degrees", "fail", ("fail", "leave_out"), "the plot"),
    "area_contradiction": Kind("an area that is not that of the footprint", "keep", ("keep", "fail", "leave_out"), "the plot"),
    "totals_contradict": Kind("totals of a plot that cannot be true together", "keep", ("keep", "fail", "leave_out"), "the plot"),
    "visit_without_trees": Kind("a dated visit without a tree in the list: it counts as empty", "keep",
                                ("keep", "fail", "leave_out"), "the plot"),
    "visit_not_listed": Kind("a plot without trees at a date when others of its first date have some, and no table says what was "
                             "found", "keep", WHOLE, "nothing"),
    "status_contradiction": Kind("a plot said to hold no forest, or not to be measured, that has trees in the list", "keep",
                                 ("keep", "fail", "leave_out"), "the plot"),
    "plot_outside": Kind("a plot not wholly inside the study's area", "leave_out", ("leave_out",), "the plot"),
    "plot_on_edge": Kind("a plot across the border of its stand", "keep", TOLD, "nothing"),
    "plot_partly_outside": Kind("a plot of which a part was not measured (measured_share)", "keep",
                                ("keep", "fail", "leave_out"), "the plot"),
}  # fmt: skip


def rules_from(chosen: Mapping[str, str]) -> dict[str, str]:
    """The rule of every kind of finding about plots and trees."""
    return findings.rules_of(chosen, KINDS, "plots")


@dataclass
class Findings(findings.Findings):
    """Of plots and trees. `visits` are the plots left out at a date, with the reason."""

    KINDS: ClassVar[Mapping[str, Kind]] = KINDS
    SECTION: ClassVar[str] = "plots"

    visits: dict[tuple[str, Any], str] = field(default_factory=dict)

    def trees(self, kind: str, frame: pd.DataFrame, wrong: Any, *, file: str, what: str, value: str | None = None) -> None:
        """Note a finding about trees and carry out its rule: a row left out keeps its place under the status `left_out`.

        Parameters
        ----------
        wrong : bool array or Series
            The rows of `frame` (it has a column `row`).
        value : str, optional
            The column that `leave_out` clears, where it does not take the whole tree.
        """
        wrong = np.asarray(wrong, bool)
        if not wrong.any():
            return
        rule = self.add(kind, file=file, what=what, rows=frame["row"].to_numpy()[wrong])
        if rule == "keep":
            return
        if rule == "leave_out" and value is not None:
            frame.loc[wrong, value] = np.nan
        elif rule == "leave_out":
            frame.loc[wrong, "status"] = "left_out"
        else:
            for visit in frame.loc[wrong, ["plot", "date"]].itertuples(index=False):
                self.visits.setdefault((visit.plot, visit.date), KINDS[kind].title)

    def plots(self, kind: str, frame: pd.DataFrame, wrong: Any, *, file: str, what: str, noun: str = "plot") -> None:
        """Note a finding about plots; `leave_out` writes the reason into the column `reason`, `<plots>` in `what` names them.

        Plots that nobody measured lack what they lack: nothing more is said of them.
        """
        wrong = np.asarray(wrong, bool) & (frame["reason"] != KINDS["plot_not_measured"].title).to_numpy()
        if not wrong.any():
            return
        names = list(dict.fromkeys(frame.loc[wrong, "plot"]))
        what = what.replace("<plots>", tables.rows(names, noun="plot"))
        labels = frame["row"].to_numpy()[wrong] if noun == "row" else names
        if self.add(kind, file=file, what=what, rows=labels, noun=noun) != "keep":
            frame.loc[wrong & (frame["reason"] == "").to_numpy(), "reason"] = KINDS[kind].title
