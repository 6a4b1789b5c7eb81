"""Tables of published parameters, each row with its source and status, and their readers.

equations : allometry, shipped, of users and of the US national system; wood : wood density; factors : root:shoot ratios,
expansion factors, carbon fractions, IPCC defaults.
"""

from catalogs.parameters.equations import (
    ALLOMETRY_COLUMNS,
    CHOICES,
    NATIONAL,
    allometry_table,
    group_table,
    shipped_allometry,
)
from catalogs.parameters.wood import WOOD_DENSITY_COLUMNS, wood_density_table

__all__ = [
    "ALLOMETRY_COLUMNS", "CHOICES", "NATIONAL", "WOOD_DENSITY_COLUMNS", "allometry_table", "group_table", "shipped_allometry",
    "wood_density_table",
]  # fmt: skip
