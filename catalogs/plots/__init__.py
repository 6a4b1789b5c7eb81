"""Field plots and their trees: positions, footprints, dates and diameters, as a forester's tables hold them.

`reading` gives plots and trees as a run uses them, `findings` the kinds of mistakes and the rule of each, `inspection` the
same as a sheet to read before any run.
"""

from catalogs.plots.findings import Findings
from catalogs.plots.reading import read_height_pairs, read_plots, read_trees

__all__ = ["Findings", "read_height_pairs", "read_plots", "read_trees"]
