"""Tables of `benchmarks.coverage`, as Markdown: what is covered of each size of stand, and where the gate is missed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.coverage_land import STANDS

CONFIDENCE = 90.0
GATE = (84.0, 96.0)
BELOW_ORACLE = 3.0  # points; facts of the project, 5


def per_seed(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Coverage in %, its Monte Carlo error over seeds, mean half-width and root mean square error, by groups."""
    seeds = rows.assign(square=rows["error"].astype(float) ** 2).groupby([*by, "seed"], observed=True)
    seeds = seeds[["covered", "half", "square"]].mean()
    groups = seeds.groupby(list(by), observed=True)
    found = groups.mean()
    return pd.DataFrame(
        {"covered": 100 * found["covered"], "mc": 100 * groups["covered"].std() / np.sqrt(groups["covered"].count()),
         "half": found["half"], "rmse": np.sqrt(found["square"])}
    )  # fmt: skip


def groups_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each column of a table: stands by size, those around a plot, all of them together."""
    plain = rows["shape"].isin(["compact", "elongated"])
    found = {f"{size} ha": rows[(rows["size_ha"] == size) & plain] for size in STANDS}
    found |= {"5 ha around a plot": rows[rows["shape"] == "with plots"], "project": rows[rows["shape"] == "project"]}
    return {name: part for name, part in found.items() if len(part)}


def against_oracle(rows: pd.DataFrame) -> tuple[float, float]:
    """Ours less the oracle's coverage in points, and the Monte Carlo error of that difference."""
    seeds = rows.pivot_table(index="seed", columns="method", values="covered", aggfunc="mean")
    less = 100 * (seeds["ours"] - seeds["oracle"])
    return float(less.mean()), float(less.std() / np.sqrt(len(less)))


def show(rows: pd.DataFrame) -> None:
    """All tables of some rows: one for each path, regressor, estimand and place."""
    seeds = rows.groupby(["path", "regressor"])["seed"]
    for (path, regressor), count in seeds.nunique().items():
        low, high = seeds.min()[path, regressor], seeds.max()[path, regressor]
        print(f"\n{count} seeds ({low}-{high}), path {path}, regressor {regressor}")
        part = rows[(rows["path"] == path) & (rows["regressor"] == regressor)]
        for kind in dict.fromkeys(part["kind"]):
            for place in dict.fromkeys(part["place"]):
                here = part[(part["kind"] == kind) & (part["place"] == place)]
                if place == "across":
                    count = int((here["method"] == "ours").sum())
                    print(f"\n{count} intervals of stands across the strip's border are in no table")
                elif len(here):
                    print(f"\n{kind}" + ("" if place == "everywhere" else f", stands {place} the strip") + ":\n")
                    table(here)


def table(rows: pd.DataFrame) -> None:
    """A Markdown table: **ours** (Monte Carlo error) / oracle / parameters / pixels; half-width over that of the oracle."""
    groups = groups_of(rows)
    print("| plots | range m | identified | " + " | ".join(groups) + " |")
    print("|---" * (3 + len(groups)) + "|")
    tables = {name: per_seed(part, ["layout", "range_m", "method"]) for name, part in groups.items()}
    missed, total = [], 0  # name and coverage of the cells beyond the gate
    for layout in dict.fromkeys(rows["layout"]):
        for range_m in sorted(rows["range_m"].unique()):
            cells = []
            for name, found in tables.items():
                at = found.loc[layout, range_m]
                shown = [f"**{at.covered['ours']:.0f}** ({at.mc['ours']:.1f})"]
                shown += [f"{at.covered[way]:.0f}" for way in ("oracle", "parameters", "pixels") if way in at.index]
                cells.append(" / ".join(shown) + f"; {at.half['ours'] / at.half['oracle']:.2f}")
                if name != "project":
                    own = groups[name]
                    less, error = against_oracle(own[(own["layout"] == layout) & (own["range_m"] == range_m)])
                    total += 1
                    if not GATE[0] <= at.covered["ours"] <= GATE[1] or less < -BELOW_ORACLE:
                        covered = float(at.covered["ours"])
                        missed.append((f"{layout} {range_m:.0f} m {name} {covered:.0f} ({less:+.1f}, {error:.1f})", covered))
            models = rows[(rows["layout"] == layout) & (rows["range_m"] == range_m)].groupby("seed")["identified"].first()
            print(f"| {layout} | {range_m:.0f} | {100 * models.mean():.0f} % | " + " | ".join(cells) + " |")
    if total == 0:
        return
    high = [one for one, covered in missed if covered > GATE[1]]
    low = [one for one, covered in missed if covered <= GATE[1]]
    print(
        f"\n{total - len(missed)} of {total} cells of stands within {GATE[0]:.0f}-{GATE[1]:.0f} % and at most {BELOW_ORACLE:.0f} "
        f"points below the oracle; {len(high)} above; too low (difference to the oracle, its Monte Carlo error): "
        + ("; ".join(low) or "none")
    )
    plain = rows[(rows["method"] == "ours") & rows["shape"].isin(["compact", "elongated"])]
    if len(plain) >= 1000:
        found = per_seed(plain.assign(decile=pd.qcut(plain["mean"], 10, labels=range(1, 11))), ["decile"])
        print("by decile of the prediction: " + ", ".join(f"{row.covered:.0f}" for row in found.itertuples()) + " %")
