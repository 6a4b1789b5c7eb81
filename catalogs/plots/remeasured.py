"""The same trees at two dates: survivors, ingrowth, mortality, and the slips that remeasuring brings to light."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.plots.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MEASUREMENT_SD = (0.006214, 0.09036)
"""Slope and intercept (cm) of the standard deviation of a dbh measured twice, cm: trim.growth of the CTFS R package."""
ERROR_LIMIT, MAX_GROWTH_CM_YR = 4.0, 7.5
"""Both as trim.growth has them: shrinking beyond 4 standard deviations and growing by 75 mm a year are no growth."""
RENUMBERED_GROWTH_CM_YR, RENUMBERED_APART_M = 2.0, 1.0
INGROWTH_CM_YR, INGROWTH_GROWTH = 1.5, 1.5
"""What a new tree may have grown in a year since the last visit: 1.5 cm, or 1.5 times what all but the fastest twentieth of the
list's own trees grow."""
UNSTABLE_SHARE, UNSTABLE_PAIRS = 0.2, 20
"""Numbers of which a fifth change species or shrink name other trees."""
CHANGES = {
    "survivor": "alive at both dates",
    "ingrowth": "alive, and not counted before",
    "mortality": "dead, and alive before",
    "removed": "cut or gone, and alive before",
    "revived": "alive, and dead or gone before",
}
STANDING = ("live", "small")


def linked(trees: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> pd.DataFrame:
    """Trees beside their earlier selves.

    Parameters
    ----------
    trees : DataFrame
        plot, date, tree, numbered, species, dbh_cm, height_m, status, row, and record with previous_record where the
        table links its rows itself.

    Returns
    -------
    DataFrame
        The same rows with stem (one name for a tree at all its dates), change (see `CHANGES`; '' at a plot's first date,
        and where nothing can be told), dbh_before_cm, dbh_growth_cm_yr and height_growth_m_yr (per year since the plot's
        date before at which the tree was seen; NaN without both). A tree that a visit missed, or did not look for, is
        compared with the last visit that saw it.
    """
    trees = trees.assign(
        stem=trees["plot"] + "/" + trees["tree"], change="", dbh_before_cm=np.nan, dbh_growth_cm_yr=np.nan,
        height_growth_m_yr=np.nan,
    )  # fmt: skip
    given = {"record", "previous_record"} <= set(trees)
    if given:
        trees["stem"] = _chained(trees)
    elif settings["tree_numbers"] == "per_visit" or not trees["numbered"].any():
        return trees
    visits = _visits(trees)
    if visits["order"].max() == 0:
        return trees
    trees = trees.merge(visits, on=["plot", "date"], how="left")
    used = (~trees["status"].isin(["left_out", "none"]) & (trees["numbered"] | given)).to_numpy()
    used = used & ~trees.duplicated(["stem", "plot", "date"], keep=False).to_numpy()
    unseen = (trees["status"] == "unseen").to_numpy()
    pairs, seen_before = _pairs(trees, used, unseen)
    if not given and _unstable(trees, pairs, settings, findings):
        return trees.drop(columns=["order", "before", "last"])
    # what nobody looked for before is neither new nor known from before
    first_unseen = trees["stem"].map(trees[unseen].groupby("stem")["order"].min()).astype(float)
    known = (first_unseen < trees["order"]).to_numpy()
    _name_changes(trees, pairs, used & (trees["order"] > 0).to_numpy() & ~seen_before & ~known)
    _check_pairs(trees, pairs, settings["trees"], findings)
    _check_missed(trees, pairs, unseen, settings["trees"], findings)
    _check_gone_and_new(trees, pairs, used & ~unseen & ~_looked_away(trees, unseen), settings, findings)
    counts = trees["change"].value_counts()
    log.info(
        "remeasured: %s; median growth of survivors %.2f cm a year",
        ", ".join(f"{name} {counts.get(name, 0)}" for name in CHANGES),
        trees.loc[trees["change"] == "survivor", "dbh_growth_cm_yr"].median(),
    )
    return trees.drop(columns=["order", "before", "last"])


def _chained(trees: pd.DataFrame) -> np.ndarray:
    """The first record of each tree: rows point at their earlier selves, and those at theirs."""
    import pandas as pd

    place = pd.Series(np.arange(len(trees)), index=trees["record"])
    if not place.index.is_unique:
        again = place.index[place.index.duplicated()][0]
        raise ValueError(f"the record {again!r} (plots.tree_columns.record) stands in two rows; it must be unique")
    earlier = trees["previous_record"].map(place)
    root = np.where(earlier.isna(), np.arange(len(trees)), earlier.fillna(0)).astype(int)
    for _ in range(len(trees).bit_length()):  # each round doubles how far back a row points
        root = root[root]
    if earlier.notna().to_numpy()[root].any():
        raise ValueError("previous_record goes round in a circle (plots.tree_columns.previous_record)")
    return trees["record"].to_numpy()[root]


def _visits(trees: pd.DataFrame) -> pd.DataFrame:
    """Per plot and date its order (0, 1, ...), the date before, and whether it is the plot's last."""
    visits = trees[["plot", "date"]].drop_duplicates().sort_values(["plot", "date"], ignore_index=True)
    visits["order"] = visits.groupby("plot").cumcount()
    visits["before"] = visits.groupby("plot")["date"].shift()
    visits["last"] = ~visits.duplicated("plot", keep="last")
    return visits


def _pairs(trees: pd.DataFrame, used: np.ndarray, unseen: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Positions of the rows of a stem at a visit and at the last one before that saw it: earlier, later, years between,
    visits missed; and which rows have an earlier one."""
    import pandas as pd

    rows = pd.DataFrame(
        {"stem": trees["stem"], "order": trees["order"], "at": np.arange(len(trees)), "date": trees["date"]}
    )[used].sort_values(["stem", "date"], kind="stable")  # fmt: skip
    seen_at = rows[["order", "at", "date"]].copy()
    seen_at[unseen[rows["at"].to_numpy()]] = None
    before = seen_at.groupby(rows["stem"], sort=False).ffill().groupby(rows["stem"], sort=False).shift()
    both = before["at"].notna()
    rows, before = rows[both].sort_values("at"), before[both]
    before = before.loc[rows.index]
    pairs = pd.DataFrame(
        {
            "earlier": before["at"].to_numpy(int), "later": rows["at"].to_numpy(),
            "years": ((rows["date"] - before["date"]) / pd.Timedelta(days=365.25)).to_numpy(),
            "missed": (rows["order"] - before["order"]).to_numpy(int) - 1,
        }
    )  # fmt: skip
    seen = np.zeros(len(trees), bool)
    seen[pairs["later"].to_numpy()] = True
    return pairs, seen


def _looked_away(trees: pd.DataFrame, unseen: np.ndarray) -> np.ndarray:
    """Rows of trees that nobody looked for at the plot's next visit."""
    import pandas as pd

    away = pd.MultiIndex.from_arrays([trees.loc[unseen, "stem"], trees.loc[unseen, "order"] - 1])
    return pd.MultiIndex.from_arrays([trees["stem"], trees["order"]]).isin(away)


def _beyond_error(before: np.ndarray, trees: pd.DataFrame) -> np.ndarray:
    """Centimetres that two measurements of one dbh may differ by, with the rounding that the list shows."""
    dbh = trees["dbh_cm"].dropna().to_numpy()
    step = next((step for step in (2.0, 1.0, 0.5) if len(dbh) and (np.mod(dbh, step) == 0).all()), 0.0)
    return ERROR_LIMIT * (MEASUREMENT_SD[0] * before + MEASUREMENT_SD[1]) + step


def _unstable(trees: pd.DataFrame, pairs: pd.DataFrame, settings: dict[str, Any], findings: Findings) -> bool:
    """Whether the numbers name other trees at the next visit; said with the shares that show it."""
    species = trees["species"].to_numpy()
    first, second = pairs["earlier"].to_numpy(), pairs["later"].to_numpy()
    named = (species[first] != "") & (species[second] != "")
    dbh = trees["dbh_cm"].to_numpy(float)
    measured = ~np.isnan(dbh[first]) & ~np.isnan(dbh[second])
    if named.sum() < UNSTABLE_PAIRS and measured.sum() < UNSTABLE_PAIRS:
        return False
    other = float((species[first] != species[second])[named].mean()) if named.any() else 0.0
    shrunk = dbh[second] < dbh[first] - _beyond_error(dbh[first], trees)
    shrinking = float(shrunk[measured].mean()) if measured.any() else 0.0
    if max(other, shrinking) < UNSTABLE_SHARE:
        return False
    what = (
        f"tree numbers do not last: of {len(pairs)} that come again at the next visit {other:.0%} are of another species and "
        f"{shrinking:.0%} are thinner than before, so no tree is linked (plots.tree_numbers: per_visit says you know)"
    )
    findings.add("numbers_do_not_last", file=settings["trees"], what=what)
    return True


def _name_changes(trees: pd.DataFrame, pairs: pd.DataFrame, new: np.ndarray) -> None:
    status = trees["status"].to_numpy()
    first, second = pairs["earlier"].to_numpy(), pairs["later"].to_numpy()
    was, now = status[first], status[second]
    alive_before, alive = np.isin(was, STANDING), np.isin(now, STANDING)
    change = np.select(
        [
            (was == "small") & (now == "live"), alive_before & alive, alive_before & (now == "dead"),
            alive_before & np.isin(now, ["gone", "stump"]), ~alive_before & alive,
        ],
        ["ingrowth", "survivor", "mortality", "removed", "revived"], default="",
    )  # fmt: skip
    column = trees["change"].to_numpy(dtype=object, copy=True)
    column[second] = change
    column[new & (status == "live")] = "ingrowth"
    trees["change"] = column
    years = pairs["years"].to_numpy()
    for source, growth in (("dbh_cm", "dbh_growth_cm_yr"), ("height_m", "height_growth_m_yr")):
        values = trees[source].to_numpy(float)
        grown = np.full(len(trees), np.nan)
        both = alive_before & alive
        grown[second[both]] = (values[second[both]] - values[first[both]]) / years[both]
        trees[growth] = grown
    before = np.full(len(trees), np.nan)
    before[second] = trees["dbh_cm"].to_numpy(float)[first]
    trees["dbh_before_cm"] = before


def _check_pairs(trees: pd.DataFrame, pairs: pd.DataFrame, file: str, findings: Findings) -> None:
    first, second = pairs["earlier"].to_numpy(), pairs["later"].to_numpy()
    alive = np.isin(trees["change"].to_numpy()[second], ["survivor", "ingrowth", "revived"])
    before = trees["dbh_before_cm"].to_numpy(float)
    allowed = _beyond_error(before, trees)
    survivor = np.zeros(len(trees), bool)
    survivor[second[alive]] = True
    shrinks = survivor & (trees["dbh_cm"].to_numpy(float) < before - allowed)
    if shrinks.any():
        most = float(np.nanmax((before - trees["dbh_cm"].to_numpy(float))[shrinks]))
        what = f"a tree is thinner than before in <rows>, by up to {most:.1f} cm"
        findings.trees("dbh_shrinks", trees, shrinks, file=file, what=what)
    growth = trees["dbh_growth_cm_yr"].to_numpy(float)
    years = np.full(len(trees), np.nan)
    years[second] = pairs["years"]
    jumps = survivor & (growth * years > MAX_GROWTH_CM_YR * years + allowed)
    if jumps.any():
        what = f"a tree has grown by more than {MAX_GROWTH_CM_YR:g} cm a year in <rows>, by up to {growth[jumps].max():.1f}"
        findings.trees("dbh_jumps", trees, jumps, file=file, what=what)
    species = trees["species"].to_numpy()
    other = np.zeros(len(trees), bool)
    other[second] = (species[first] != species[second]) & (species[first] != "") & (species[second] != "")
    if other.any():
        at = int(np.flatnonzero(other[second])[0])
        now, then = species[second[at]], species[first[at]]
        what = f"a tree is of another species than before in <rows>, such as {now!r} that was {then!r}"
        findings.trees("species_changes", trees, other, file=file, what=what)
    findings.trees(
        "tree_revives", trees, trees["change"] == "revived", file=file, what="a tree is alive that was dead or gone before"
    )


def _check_missed(trees: pd.DataFrame, pairs: pd.DataFrame, unseen: np.ndarray, file: str, findings: Findings) -> None:
    """Live trees of two visits that one between them does not list: it lacks their biomass."""
    second = pairs.loc[pairs["missed"] > 0, "later"].to_numpy()
    missed = np.zeros(len(trees), bool)
    missed[second] = True
    missed &= trees["change"].isin(["survivor", "ingrowth"]).to_numpy()
    missed &= ~trees["stem"].isin(trees.loc[unseen, "stem"]).to_numpy()  # nobody looked, so nobody forgot
    what = "a tree comes back that the visit before did not list (it was forgotten there, and its biomass is missing)"
    findings.trees("tree_missed", trees, missed, file=file, what=what)


def _check_gone_and_new(
    trees: pd.DataFrame, pairs: pd.DataFrame, expected: np.ndarray, settings: dict[str, Any], findings: Findings
) -> None:
    """Live trees that no later visit lists, trees too thick to be new, and the two that are one tree; `expected` are those
    that somebody looked for at the next visit."""
    file = settings["trees"]
    again = np.zeros(len(trees), bool)
    again[pairs["earlier"].to_numpy()] = True
    vanished = expected & ~again & ~trees["last"].to_numpy() & (trees["status"] == "live").to_numpy()
    what = "a live tree is not listed at the next visit (dead, cut, or forgotten)"
    findings.trees("tree_vanishes", trees, vanished, file=file, what=what)
    large = _too_large(trees, settings)
    if large.any():
        what = f"a tree appears that is too thick to have grown in, up to {trees.loc[large, 'dbh_cm'].max():g} cm"
        findings.trees("tree_appears_large", trees, large, file=file, what=what)
    _check_renumbered(trees, vanished, large, file, findings)
    new = (trees["change"] == "ingrowth").to_numpy() & trees["dbh_before_cm"].isna().to_numpy()
    _check_moved(trees, vanished, new, file, findings)


def _too_large(trees: pd.DataFrame, settings: dict[str, Any]) -> np.ndarray:
    """Ingrowth thicker than the widest circle's threshold and all it could grow since the last visit.

    A tree may enter a wider circle at that circle's threshold (ongrowth); angle counts have no threshold.
    """
    tiers = settings["nested"]
    if any(tier["baf_m2_ha"] is not None for tier in tiers):
        return np.zeros(len(trees), bool)
    dbh = trees["dbh_cm"].to_numpy(float)
    threshold = tiers[-1]["min_dbh_cm"] if tiers else settings["min_dbh_cm"] or float(np.nanmin(dbh))
    years = ((trees["date"] - trees["before"]).dt.days / 365.25).to_numpy()
    new = (trees["change"] == "ingrowth").to_numpy() & trees["dbh_before_cm"].isna().to_numpy()
    growth = trees.loc[trees["change"] == "survivor", "dbh_growth_cm_yr"].dropna()
    usual = INGROWTH_GROWTH * float(growth.quantile(0.95)) if len(growth) >= UNSTABLE_PAIRS else 0.0
    return new & (dbh > threshold + max(INGROWTH_CM_YR, usual) * years)


def _check_renumbered(
    trees: pd.DataFrame, vanished: np.ndarray, large: np.ndarray, file: str, findings: Findings
) -> None:
    """A tree that vanished and one that appears, of one plot, one species, fitting dbh and place, each the other's only fit."""
    both = _candidates(trees, vanished, large, ["plot", "species"])
    if both.empty:
        return
    growth = both["dbh_2"] - both["dbh_1"]
    fits = (growth > -_beyond_error(both["dbh_1"].to_numpy(), trees)) & (growth < RENUMBERED_GROWTH_CM_YR * both["years"] + 1)
    apart = np.hypot(both["x_2"] - both["x_1"], both["y_2"] - both["y_1"])
    both = both[fits & ~(apart > RENUMBERED_APART_M)]
    single = ~both.duplicated("at_1", keep=False) & ~both.duplicated("at_2", keep=False)
    if single.any():
        pair = both[single].iloc[0]
        what = (
            f"{int(single.sum())} trees seem to stand under another number at the next visit: <rows>, such as "
            f"{pair['tree_1']!r} of plot {pair['plot']}, then {pair['tree_2']!r}"
        )
        findings.add("tree_renumbered", file=file, what=what, rows=trees["row"].to_numpy()[both.loc[single, "at_2"]])


def _check_moved(trees: pd.DataFrame, vanished: np.ndarray, new: np.ndarray, file: str, findings: Findings) -> None:
    """A number that leaves one plot and turns up in another, where numbers are the whole study's."""
    if trees.duplicated(["tree", "order"]).mean() > 0.01:
        return
    both = _candidates(trees, vanished, new, ["tree", "species"])
    both = both[both["plot_1"] != both["plot_2"]] if len(both) else both
    if len(both):
        first = both.iloc[0]
        what = f"a tree moves to another plot in <rows>, such as {first['tree']!r} from {first['plot_1']} to {first['plot_2']}"
        findings.add("tree_moved", file=file, what=what, rows=trees["row"].to_numpy()[both["at_2"]])


def _candidates(trees: pd.DataFrame, vanished: np.ndarray, appeared: np.ndarray, keys: list[str]) -> pd.DataFrame:
    """Every tree that vanished beside every tree that appeared at the next visit with the same keys."""
    import pandas as pd

    x, y = _places(trees)
    table = pd.DataFrame(
        {
            "at": np.arange(len(trees)), "plot": trees["plot"], "tree": trees["tree"], "species": trees["species"],
            "dbh": trees["dbh_cm"], "x": x, "y": y, "order": trees["order"], "date": trees["date"],
        }
    )  # fmt: skip
    left, right = table[vanished], table[appeared]
    both = left.assign(order=left["order"] + 1).merge(right, on=[*keys, "order"], suffixes=("_1", "_2"))
    return both.assign(years=(both["date_2"] - both["date_1"]) / pd.Timedelta(days=365.25))


def _places(trees: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where trees stand in their plot, metres: site coordinates, else distance and azimuth; NaN where not known."""
    if {"x_site_m", "y_site_m"} <= set(trees):
        return trees["x_site_m"].to_numpy(float), trees["y_site_m"].to_numpy(float)
    if {"distance_m", "azimuth_deg"} <= set(trees):
        angle = np.radians(trees["azimuth_deg"].to_numpy(float))
        distance = trees["distance_m"].to_numpy(float)
        return distance * np.sin(angle), distance * np.cos(angle)
    return np.full(len(trees), np.nan), np.full(len(trees), np.nan)


def changes_of_plots(trees: pd.DataFrame) -> pd.DataFrame:
    """Per plot and date the number of trees by kind of change: survivor_n, ingrowth_n, ...; plots at their first date lack."""
    import pandas as pd

    told = trees[trees["change"] != ""]
    counts = pd.crosstab([told["plot"], told["date"]], told["change"]).reindex(columns=list(CHANGES), fill_value=0)
    return counts.add_suffix("_n").rename_axis(columns=None).reset_index()
