"""Numbers that are possible one by one and not together: heights against diameters, volumes against both, plots against plots."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING

import numpy as np

from catalogs.plots.findings import Findings
from catalogs.plots.places import MAX_MOVE_M, SAME_PLACE_M
from catalogs.plots.trees import TREE_COLUMNS, UNIDENTIFIED

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

MIN_PAIRS = 20
OUTLIER_DBH = 2.0
OUTLIER_SD, OUTLIER_FACTOR = 4.0, 1.5
"""A height is odd beyond both: 4 robust standard deviations of ln H about the curve, and 1.5 times or less what it says."""
TALLNESS = (0.8, 4.0)
"""Height (m) over dbh (cm) to the power 0.6 of the median tree from 5 cm on: stunted and open-grown stands lie near 1,
crowded ones of tall species near 3.5; with dbh in inches it is 1.75 times as much, with heights in feet 3.28 times."""
FORM_FACTOR = (0.2, 0.9)
"""Stem volume over basal area times height of the median tree: a cone is 0.33, a cylinder 1."""
ONE_FORM_FACTOR = (0.1, 1.1)
AGB_PER_VOLUME = (0.2, 3.0)
"""Mg of biomass per m3 of stem where there are more than 20 m3/ha: light conifers without crowns to IPCC 2006, table 4.5."""
LEAST_M2_HA, FEW_VISITS = 0.1, 3
"""Fifty trees of 5 cm have 0.1 m2 of basal area; plots with trees that hold less a hectare are read as far too large."""
FORM_HEIGHT_M = (1.0, 40.0)
MEAN_DBH_CM = (1.0, 200.0)
MOST_PER_HA = {"agb_mg_ha": 2000.0, "volume_m3_ha": 5000.0, "basal_area_m2_ha": 300.0, "stems_n_ha": 1e6}
"""Beyond nearly any forest: closed Eucalyptus regnans holds 1 000 to 1 800 Mg/ha (Keith et al. 2009), some redwoods more."""
NEAR = 0.9
"""Likeness (difflib) from which a rare name counts as a slip in a frequent one, and how many times more frequent that is."""
RARE = 10
LEVELS = ("species", "genus", "family", "group", "default")


# ---------------------------------------------------------------- trees


def check_trees(trees: pd.DataFrame, file: str, findings: Findings) -> None:
    """What one visit of a tree list says against itself."""
    live = trees["status"] == "live"
    findings.trees("species_missing", trees, live & (trees["species"] == ""), file=file, what="a live tree has no species")
    _check_repeated(trees, file, findings)
    _check_spelling(trees[live], file, findings)
    thick = _far_diameters(trees)
    if thick.any():
        what = f"dbh is at least {OUTLIER_DBH:g} times any other in <rows>, up to {trees.loc[thick, 'dbh_cm'].max():g}: a slip?"
        findings.trees("dbh_outlier", trees, thick, file=file, what=what)
    check_heights(trees, file, findings, setting="plots.tree_units")
    _check_volumes(trees, file, findings)


def check_heights(trees: pd.DataFrame, file: str, findings: Findings, *, setting: str) -> None:
    """Measured heights against diameters: another unit (`setting` is where one would say so), and single ones far off."""
    if not _check_height_unit(trees, file, findings, setting):
        return
    odd = _far_heights(trees)
    if odd.any():
        first = trees[odd].iloc[0]
        what = f"height is far from that of trees of its dbh in <rows>, such as {first['height_m']:g} m at {first['dbh_cm']:g} cm"
        findings.trees("height_outlier", trees, odd, file=file, what=what, value="height_m")


def check_basal_area(trees: pd.DataFrame, file: str, findings: Findings) -> None:
    """Plots with trees that add up to next to nothing: their size is said in another unit, or trees_per_ha is."""
    live = trees[(trees["status"] == "live") & (trees["dbh_cm"] > 0) & (trees["trees_per_ha"] > 0)]
    per_ha = np.pi / 4 * (live["dbh_cm"] / 100) ** 2 * live["trees_per_ha"]
    totals = per_ha.groupby([live["plot"], live["date"]]).sum()
    if len(totals) < FEW_VISITS or totals.median() >= LEAST_M2_HA:
        return
    what = (
        f"half of the {len(totals)} plots and dates with trees have less than {LEAST_M2_HA:g} m2 of basal area per hectare, the "
        f"median {totals.median():.2g}: is the plots' size (or trees_per_ha) in another unit?"
    )
    findings.add("basal_area_low", file=file, what=what)


def _far_diameters(trees: pd.DataFrame) -> np.ndarray:
    """The thickest hundredth (one tree at least) where it begins with a gap: twice as thick as all others of its species, or
    of the list. A decimal point that slipped makes ten times."""
    chosen = np.flatnonzero((trees["status"] == "live") & (trees["dbh_cm"] > 0))
    odd = np.zeros(len(trees), bool)
    dbh, species = trees["dbh_cm"].to_numpy(float)[chosen], trees["species"].to_numpy()[chosen]
    for among in [np.ones(len(chosen), bool), *(species == name for name in set(species) - {""})]:
        order = np.flatnonzero(among)[np.argsort(dbh[among], kind="stable")]
        count = len(order)
        if count < MIN_PAIRS:
            continue
        top = count - max(1, count // 100)
        gaps = np.flatnonzero(dbh[order[top:]] >= OUTLIER_DBH * dbh[order[top - 1 : -1]])
        if len(gaps):
            odd[chosen[order[top + gaps[0] :]]] = True
    return odd


def _check_repeated(trees: pd.DataFrame, file: str, findings: Findings) -> None:
    used = trees["numbered"] & ~trees["status"].isin(["left_out", "none"])
    key = ["plot", "date", "tree"]
    said = [name for name in TREE_COLUMNS if name in trees and name not in key]
    same = used & trees[used].duplicated([*key, *said]).reindex(trees.index, fill_value=False)
    findings.trees("row_repeated", trees, same, file=file, what="a row repeats an earlier one")
    rest = used & ~same
    twice = rest & trees[rest].duplicated(key, keep=False).reindex(trees.index, fill_value=False)
    what = "a tree number stands twice in one plot at one date (stems of one tree, or a slip)"
    findings.trees("tree_repeated", trees, twice, file=file, what=what)


def _check_spelling(live: pd.DataFrame, file: str, findings: Findings) -> None:
    counts = live.loc[live["species"] != "", "species"].value_counts()
    for name, count in counts.items():
        frequent = counts.index[counts.to_numpy() >= RARE * count]
        if len(frequent) == 0:
            continue
        near = difflib.get_close_matches(str(name), list(frequent), n=1, cutoff=NEAR)
        if near and near[0].lower() != str(name).lower():
            what = f"species {name!r} in <rows>, {count} trees, is near {near[0]!r}, {counts[near[0]]} trees: a slip?"
            findings.add("species_misspelt", file=file, what=what, rows=live.loc[live["species"] == name, "row"])


def check_taxa(
    trees: pd.DataFrame, table: pd.DataFrame, file: str, findings: Findings, *, source: str, levels: np.ndarray | None = None
) -> None:
    """Live trees that a table of parameters (level, taxon) does not serve by name, as a run looks them up.

    `levels` (trees,) are those by which a run found them in the table, '' for none; without, by species, genus and family.

    A name near a known one (a slip) has a finding of its own, all that are served by genus or family share one, and so do
    all that are not served at all. Trees identified to the genus only are no slip.
    """
    known = {level: set(table.loc[table["level"] == level, "taxon"].dropna()) for level in ("species", "genus", "family")}
    by_letter: dict[str, list[str]] = {}
    for name in sorted(known["species"]):
        by_letter.setdefault(name[:1].lower(), []).append(name)
    if levels is None:
        by_name = [trees[level].isin(known[level] - {""}) for level in ("species", "genus", "family")]
        levels = np.select(by_name, ["species", "genus", "family"], default="")
    chosen = (trees["status"] == "live").to_numpy() & (levels != "species")
    live, served = trees[chosen], levels[chosen] != ""
    slips = []
    for name, rows in live[live["genus"] != ""].groupby("species", sort=True)["row"]:
        epithet = str(name).split()[1:2]
        if epithet and epithet[0].lower().startswith((*UNIDENTIFIED, "sp.")):
            continue
        candidates = {one.lower(): one for one in by_letter.get(str(name)[:1].lower(), [])}
        near = difflib.get_close_matches(str(name).lower(), list(candidates), n=1, cutoff=NEAR)
        if near:
            slips.append(name)
            what = f"species {name!r} in <rows>, {len(rows)} trees, is not in {source} (did you mean {candidates[near[0]]!r}?)"
            findings.add("species_unmatched", file=file, what=what, rows=rows)
    rest = live[served & ~live["species"].isin(slips) & (live["species"] != live["genus"])]
    if len(rest):
        by = sorted(set(levels[chosen]) - {""}, key=LEVELS.index)
        what = f"{_named(rest)} are in {source} by {' or '.join(by)} only: <rows>"
        findings.add("species_unmatched", file=file, what=what, rows=rest["row"])
    if not served.all():
        what = f"{_named(live[~served])} are in {source} neither by species nor by genus or family: <rows>"
        findings.add("species_unserved", file=file, what=what, rows=live.loc[~served, "row"])


def _named(trees: pd.DataFrame) -> str:
    """'3 species of 7 trees (Abies x, Picea y, ...)'."""
    names = sorted(trees["species"].replace("", "no name").unique())
    return f"{len(names)} species of {len(trees)} trees ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def _check_height_unit(trees: pd.DataFrame, file: str, findings: Findings, setting: str) -> bool:
    """Whether the measured heights go with the diameters in the middle; else a sentence with the units that would."""
    paired = (trees["status"] == "live") & (trees["dbh_cm"] >= 5) & trees["height_m"].notna()
    if paired.sum() < MIN_PAIRS:
        return True
    dbh, height = trees.loc[paired, "dbh_cm"], trees.loc[paired, "height_m"]
    ratio = float((height / dbh**0.6).median())
    low, high = TALLNESS
    if low <= ratio <= high:
        return True
    guesses = {
        "height_m: ft": ratio * 0.3048, "height_m: dm": ratio * 0.1, "height_m: cm": ratio * 0.01,
        "dbh_cm: inch": ratio / 2.54**0.6, "dbh_cm: mm": ratio * 10**0.6,
        "dbh_cm: inch, height_m: ft": ratio * 0.3048 / 2.54**0.6,
    }  # fmt: skip
    fitting = [f"{{{name}}}" for name, value in guesses.items() if low <= value <= high]
    advice = f"; {setting} of {' or '.join(fitting)} would do" if fitting else ""
    taller = "tall" if ratio > high else "short"
    what = (
        f"trees are too {taller} for their dbh: at a median dbh_cm of {dbh.median():.3g} the median height_m is "
        f"{height.median():.3g}{advice}"
    )
    findings.add("height_unit", file=file, what=what)
    return False


def _far_heights(trees: pd.DataFrame) -> np.ndarray:
    """Heights far from a robust curve: ln H on ln D and its square (Tukey's biweight), shifted by each genus' median."""
    paired = ((trees["status"] == "live") & (trees["dbh_cm"] > 0) & trees["height_m"].notna()).to_numpy()
    odd = np.zeros(len(trees), bool)
    if paired.sum() < MIN_PAIRS:
        return odd
    x, y = np.log(trees.loc[paired, "dbh_cm"].to_numpy(float)), np.log(trees.loc[paired, "height_m"].to_numpy(float))
    design = np.column_stack([np.ones_like(x), x, x**2])
    weight = np.ones_like(x)
    for _ in range(20):
        root = np.sqrt(weight)
        coefficients, *_ = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)
        residual = y - design @ coefficients
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-12
        weight = np.clip(1 - (residual / (4.685 * spread)) ** 2, 1e-6, None) ** 2
    import pandas as pd

    genus = trees.loc[paired, "genus"].to_numpy()
    by_genus = pd.Series(residual).groupby(genus)
    shift = np.where(by_genus.transform("size") >= MIN_PAIRS, by_genus.transform("median"), 0.0)
    residual = residual - shift
    spread = max(1.4826 * float(np.median(np.abs(residual))), 1e-12)
    odd[paired] = np.abs(residual) > max(OUTLIER_SD * spread, np.log(OUTLIER_FACTOR))
    return odd


def _check_volumes(trees: pd.DataFrame, file: str, findings: Findings) -> None:
    if "volume_m3" not in trees:
        return
    counted = trees["status"].isin(["live", "dead"])
    volume = trees["volume_m3"]
    if "commercial_volume_m3" in trees:
        below = counted & (volume < trees["commercial_volume_m3"] * 0.999)
        findings.trees(
            "volume_contradiction", trees, below, file=file, what="volume is smaller than its commercial part"
        )
    basal_area_m2 = np.pi / 4 * (trees["dbh_cm"] / 100) ** 2
    form = volume / (basal_area_m2 * trees["height_m"])
    paired = counted & form.notna() & (trees["dbh_cm"] >= 5)
    if paired.sum() < MIN_PAIRS:
        return
    median = float(form[paired].median())
    if not FORM_FACTOR[0] <= median <= FORM_FACTOR[1]:
        guesses = {"dm3": 1e-3, "ft3": 0.3048**3, "cm3": 1e-6}
        fitting = [unit for unit, factor in guesses.items() if FORM_FACTOR[0] <= median * factor <= FORM_FACTOR[1]]
        advice = f"; plots.tree_units of {{volume_m3: {fitting[0]}}} would do" if fitting else ""
        what = (
            f"volume_m3 is {median:.3g} times basal area times height of the median tree, and stems have "
            f"{FORM_FACTOR[0]} to {FORM_FACTOR[1]}{advice}"
        )
        findings.add("volume_unit", file=file, what=what)
        return
    odd = paired & ~form.between(*ONE_FORM_FACTOR)
    what = f"volume is not within {ONE_FORM_FACTOR[0]} to {ONE_FORM_FACTOR[1]} times basal area times height"
    findings.trees("volume_contradiction", trees, odd, file=file, what=what)


# ---------------------------------------------------------------- plots


def check_places(plots: gpd.GeoDataFrame, file: str, findings: Findings) -> None:
    """Two plots at one place, and one plot at two places."""
    from scipy.spatial import cKDTree

    placed = (plots.geometry.notna() & (plots["reason"] == "")).to_numpy()
    if not placed.any():
        return
    centre = plots.geometry[placed].centroid
    xy = np.column_stack([centre.x, centre.y])
    names = plots.loc[placed, "plot"].to_numpy()
    pairs = cKDTree(xy).query_pairs(SAME_PLACE_M, output_type="ndarray")
    pairs = pairs[names[pairs[:, 0]] != names[pairs[:, 1]]]
    if len(pairs):
        wrong = np.zeros(len(plots), bool)
        wrong[np.flatnonzero(placed)[pairs.ravel()]] = True
        what = f"plots share one place, such as {names[pairs[0, 0]]} and {names[pairs[0, 1]]}: <rows>"
        findings.plots("position_repeated", plots, wrong, file=file, what=what, noun="row")
    import pandas as pd

    by_plot = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1]}).groupby(names)
    reach = np.hypot(by_plot["x"].transform(np.ptp), by_plot["y"].transform(np.ptp))
    moved = np.zeros(len(plots), bool)
    moved[placed] = (reach > MAX_MOVE_M).to_numpy()
    if moved.any():
        what = f"the positions of a plot at its dates lie apart, up to {reach.max():.0f} m: <rows>"
        findings.plots("plot_moved", plots, moved, file=file, what=what)


def check_limits(plots: pd.DataFrame, file: str, findings: Findings) -> None:
    """Totals per hectare beyond any forest, of a table or computed from trees."""
    for column, most in MOST_PER_HA.items():
        if column not in plots:
            continue
        over = (plots[column] > most) & (plots["reason"] == "")
        if over.any():
            largest = plots.loc[over, column].max()
            what = f"{column} of <plots> is above {most:g} (<rows>), up to {largest:.4g}: is a unit or a size wrong?"
            by_row = "row" in plots
            what = what if by_row else what.replace(" (<rows>)", "").replace("<plots>", "<rows>")
            findings.plots("total_impossible", plots, over, file=file, what=what, noun="row" if by_row else "plot")


def check_totals(plots: pd.DataFrame, file: str, findings: Findings) -> None:
    """Totals of a plot table that cannot be true together."""
    import pandas as pd

    nothing = pd.Series(np.nan, index=plots.index)
    agb, volume, basal_area, stems, height, commercial = (
        plots.get(column, nothing)
        for column in (
            "agb_mg_ha", "volume_m3_ha", "basal_area_m2_ha", "stems_n_ha", "dominant_height_m", "commercial_volume_m3_ha",
        )
    )  # fmt: skip
    totals = pd.concat([agb, volume, basal_area, stems], axis=1)
    some_zero = (totals == 0).any(axis=1) & (totals > 0).any(axis=1)
    _say(plots, some_zero, "one of biomass, volume, basal area and stems is zero, and another is not", file, findings)
    _say(plots, volume < commercial * 0.999, "volume is smaller than commercial volume", file, findings)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (agb / volume).where(volume > 20)
        low, high = AGB_PER_VOLUME
        _say(plots, (ratio < low) | (ratio > high), f"biomass is not {low} to {high} Mg per m3 of volume", file, findings)
        form_height = (volume / basal_area).where(basal_area > 2)
        low, high = FORM_HEIGHT_M
        _say(plots, (form_height < low) | (form_height > high), "volume does not go with basal area", file, findings)
        taller = form_height > height
        _say(plots, taller, "volume over basal area is more than the dominant height", file, findings)
        mean_dbh = 100 * np.sqrt(4 * basal_area / (np.pi * stems))
        low, high = MEAN_DBH_CM
        _say(plots, (mean_dbh < low) | (mean_dbh > high), "basal area does not go with the number of stems", file, findings)


def _say(plots: pd.DataFrame, wrong: pd.Series, what: str, file: str, findings: Findings) -> None:
    findings.plots("totals_contradict", plots, wrong.fillna(False), file=file, what=what, noun="row")
