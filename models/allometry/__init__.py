"""Tree biomass by allometry, and plot totals with the error that is a plot's own and the error that plots share.

forms : how equations compute; matching : which one serves a tree; wood : wood densities; trees : single trees;
totals : plots, with errors to first order; components : errors of their parts and roots; change : of plots between visits;
monte_carlo : the same by simulation.
"""

from models.allometry.change import SAME_TREE_CORRELATION, plot_changes
from models.allometry.components import component_errors
from models.allometry.forms import COEFFICIENTS, FORMS, VARIABLES, Form, form
from models.allometry.matching import (
    COMPONENTS,
    LEVELS,
    asked,
    asked_by_any,
    check_equations,
    in_region,
    levels_served,
    match_equations,
    needs,
    of_component,
    unverified,
    with_groups,
)
from models.allometry.monte_carlo import plot_totals_monte_carlo
from models.allometry.totals import (
    Inventory,
    dbh_error_cm,
    dominant_height,
    inventory,
    match_components,
    plot_totals,
    tree_components,
    visits,
)
from models.allometry.trees import tree_agb
from models.allometry.wood import match_wood_density

__all__ = [
    "COEFFICIENTS",
    "COMPONENTS",
    "FORMS",
    "LEVELS",
    "SAME_TREE_CORRELATION",
    "VARIABLES",
    "Form",
    "Inventory",
    "asked",
    "asked_by_any",
    "check_equations",
    "component_errors",
    "dbh_error_cm",
    "dominant_height",
    "form",
    "in_region",
    "inventory",
    "levels_served",
    "match_components",
    "match_equations",
    "match_wood_density",
    "needs",
    "of_component",
    "plot_changes",
    "plot_totals",
    "plot_totals_monte_carlo",
    "tree_agb",
    "tree_components",
    "unverified",
    "visits",
    "with_groups",
]  # fmt: skip
