"""From trees to biomass and carbon per plot: what the step `plots` does with a tree list."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import parameters, tables
from catalogs.plots import read_height_pairs
from models import allometry, heights, pools
from pipeline.steps.expansion import with_expansion_factors
from pipeline.steps.notes import caveat
from pipeline.steps.roots import named_equations, with_carbon

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

log = logging.getLogger(__name__)

MANY_DEAD_LEFT_OUT = 0.05  # share of dead trees without an equation or a height above which it is warned of


def with_trees(
    frame: gpd.GeoDataFrame, trees: pd.DataFrame, settings: dict[str, Any]
) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Plots with the totals of their trees in place of what the plot table itself said, and the trees with what was done to each.

    Returns
    -------
    frame
        The totals of `models.allometry.plot_totals`; agb_change_mg_ha with agb_change_mg_ha_se since the visit before, where
        plots were visited again; trees_without_biomass_n; standing_dead_mg_ha where trees are dead;
        bgb_mg_ha, root_shoot and tree_carbon_t_ha where `roots` says how, with root_shoot_se (the error of the ratio, which all
        plots share) and errors that hold it and all of biomass; unverified: whose numbers nobody has checked.
    trees
        One row per live tree: plot, date, tree, species, dbh_cm, height_m, height_from, wood_density_g_cm3,
        wood_density_level, equation, equation_level, extrapolated, agb_kg.
    """
    equations = parameters.allometry_table(settings["allometry"], region=settings["region"])
    allometry.check_equations(equations)
    equations = allometry.in_region(equations, settings["region"])
    if "stratum" not in trees:
        strata = frame[["plot", "date", "stratum"]].drop_duplicates(["plot", "date"])
        trees = trees.merge(strata, on=["plot", "date"], how="left")
    trees, equations = _with_what_equations_ask(trees, equations, settings)
    whole = allometry.of_component(equations, "agb")
    live = trees[trees["status"] == "live"]
    served = _checked_served(live, whole, settings)
    unchecked = _unverified_equations(trees, equations)
    if unchecked:
        named = ", ".join(unchecked)
        caveat(log, "allometry %s has rows of status unverified, and trees rest on them", named, unverified=unchecked)
    _say_what_equations_lack(whole.iloc[np.unique(served)])
    _say_what_wood_densities_lack(live, whole, served, settings)
    models = _height_models(trees, whole, settings)
    totals = _totals(trees, equations, models, settings)
    stock = allometry.inventory(trees, equations, height_model=models)
    listed = _tree_list(stock)
    totals["trees_without_biomass_n"] = _without_biomass(stock, listed, settings)
    totals = _with_changes(totals, stock)
    errors = allometry.component_errors(stock, equations)
    totals = totals.assign(**{name: errors[name] for name in errors})
    _check_extrapolation(totals, settings)
    _say_heights_beyond_pairs(stock, listed["agb_kg"].to_numpy())
    totals = _with_dead(totals, trees, equations, models)
    totals, doubted = with_carbon(totals, stock, listed, equations, frame, settings)
    totals = totals.drop(columns="tree_mg_ha_se", errors="ignore")
    totals["unverified"] = ", ".join(dict.fromkeys(unchecked + doubted))
    computed = totals.columns.drop(["plot", "date", "extrapolated_percent"])
    frame = frame.drop(columns=frame.columns.intersection(computed))
    return frame.merge(totals, on=["plot", "date"], how="left"), listed


# ---------------------------------------------------------------- equations


def _with_what_equations_ask(
    trees: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trees with groups, wood density, site values and expansion factors, where an equation that serves them needs them; and
    the equations with the status of what `plots.expansion` names."""
    groups = parameters.group_table(settings["groups"], equations=equations)
    if groups is not None:
        trees = allometry.with_groups(trees, groups)
    weighed = trees["status"].isin(["live", "dead"]).to_numpy()

    def asks(variable: str) -> np.ndarray:
        return weighed & allometry.asked_by_any(trees, equations, variable)

    if asks("environment_e").any():
        if settings["environment_e"] is None:
            raise ValueError(
                f"allometry {named_equations(settings)} needs the environmental stress E of the site; set plots.environment_e "
                "(Chave et al. 2014: (0.178 TS - 0.938 CWD - 6.61 PS) / 1000)"
            )
        trees = trees.assign(environment_e=settings["environment_e"])
    if asks("expansion_mg_m3").any():
        trees, equations = with_expansion_factors(trees, equations, settings)
    dense = asks("wood_density_g_cm3")
    return (_with_wood_density(trees, dense, settings) if dense.any() else trees), equations


def _checked_served(live: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]) -> np.ndarray:
    served = allometry.match_equations(live, equations)
    unserved = live[served < 0]
    if len(unserved):
        raise ValueError(
            f"{settings['trees']}: allometry {named_equations(settings)} has no equation for "
            f"{_named(unserved['species'], equations['taxon'])}; add rows for them, or one of level default"
        )
    levels, counts = np.unique(allometry.levels_served(equations, served), return_counts=True)
    log.info("equations of trees by %s", ", ".join(f"{level} {count}" for level, count in zip(levels, counts, strict=True)))
    return served


def _unverified_equations(trees: pd.DataFrame, equations: pd.DataFrame) -> list[str]:
    """Names of the equations of any component that serve trees, live or dead, although nobody has checked their numbers."""
    weighed = trees[(trees["status"] == "live") | ((trees["status"] == "dead") & trees["dbh_cm"].notna())]
    whole = allometry.of_component(equations, "agb")
    served = allometry.match_equations(weighed, whole)
    names = allometry.unverified(whole, served)
    for component in allometry.COMPONENTS[1:]:
        rows = allometry.of_component(equations, component)
        if len(rows):
            chosen = allometry.match_components(weighed, rows, whole, served, component=component)
            names += allometry.unverified(rows, chosen)
    return list(dict.fromkeys(names))


def _say_what_equations_lack(used: pd.DataFrame) -> None:
    """Every product must say it where equations that serve trees count as better known than they are."""
    by_dbh = np.array(["dbh_cm" in allometry.FORMS[form].variables for form in used["form"]], dtype=bool)
    lacks = (
        (used["rse"].isna(), "allometry %s has no rse: the spread of trees around it is left out of the errors"),
        (
            used["rse_of"] == "equations",
            "allometry %s states the spread of published equations around it, which its trees share; the spread of trees is left "
            "out of the errors",
        ),
        (
            used["var_a"].isna() & (used["rse_of"] != "equations"),
            "allometry %s has no parameter covariance: its error, which all plots share, is left out",
        ),
        (
            used["correction_unknown"],
            "nothing says whether allometry %s is corrected for logarithms: it is taken as printed, and may be low",
        ),
        (
            by_dbh & np.isinf(used["dbh_max_cm"]),
            "allometry %s does not say how thick its sample's trees were: which trees lie outside is not known",
        ),
    )
    for rows, sentence in lacks:
        if rows.any():
            caveat(log, sentence, ", ".join(dict.fromkeys(used.loc[rows, "name"])))


def _say_what_wood_densities_lack(
    live: pd.DataFrame, equations: pd.DataFrame, served: np.ndarray, settings: dict[str, Any]
) -> None:
    asked = allometry.asked(equations, served, "wood_density_g_cm3")
    if not asked.any():
        return
    silent = asked & live["wood_density_se"].isna().to_numpy()
    if silent.any():
        caveat(
            log, "wood densities%s state no error for %d of %d trees: it is left out of theirs",
            f" {settings['wood_density']}" if settings.get("wood_density") else "", silent.sum(), asked.sum(),
        )  # fmt: skip
    own = asked & (live["wood_density_level"] == "tree").to_numpy()
    if own.any():
        log.info("wood densities given with %d trees count as exact", own.sum())


def _with_wood_density(trees: pd.DataFrame, asked: np.ndarray, settings: dict[str, Any]) -> pd.DataFrame:
    """Wood density of the trees whose equation asks for one; missing for the others."""
    import pandas as pd

    table = parameters.wood_density_table(settings["wood_density"]) if settings.get("wood_density") else None
    if table is None and "wood_density_g_cm3" not in trees:
        raise ValueError(
            f"allometry {named_equations(settings)} needs wood density: name a table in plots.wood_density, or give "
            "the trees a column wood_density_g_cm3"
        )
    live = asked & (trees["status"] == "live")
    matched = allometry.match_wood_density(trees[live], table, groups=trees.loc[live, "cluster"])
    unknown = matched["wood_density_level"] == "group"
    if unknown.any() and settings["unknown_species"] == "fail":
        taxa = table.loc[table["level"] != "family", "taxon"] if table is not None else []
        raise ValueError(
            f"{settings['trees']}: no wood density for {_named(trees.loc[live, 'species'][unknown], taxa)}; "
            "correct the names, add them to plots.wood_density, or set plots.unknown_species: default to take the "
            "mean of the known trees around"
        )
    if matched["wood_density_g_cm3"].isna().any():
        raise ValueError(f"{settings['trees']}: not one species is in {settings['wood_density']}")
    counts = matched["wood_density_level"].value_counts()
    log.info("wood density of trees by %s", ", ".join(f"{level} {count}" for level, count in counts.items()))
    dead = asked & (trees["status"] == "dead")
    if dead.any():
        both = live | dead
        beside = allometry.match_wood_density(trees[both], table, groups=trees.loc[both, "cluster"])
        matched = pd.concat([matched, beside[dead[both]]])
    return trees.drop(columns=matched.columns, errors="ignore").join(matched)


def _named(species: pd.Series, known: Any) -> str:
    """'3 trees of 2 species (Abies x, Picea y)', the first few, each with the nearest known name."""
    counts = species.replace("", "(no name)").value_counts()
    names = [f"{name}{tables.nearest(name, known)}" for name in counts.index[:3]]
    return f"{len(species)} trees of {len(counts)} species ({', '.join(names)}{', ...' if len(counts) > 3 else ''})"


# ---------------------------------------------------------------- heights


def _height_models(
    trees: pd.DataFrame, equations: pd.DataFrame, settings: dict[str, Any]
) -> heights.HeightModel | Mapping[str, heights.HeightModel] | None:
    """The height-diameter models that unmeasured heights ask for; none when all are measured, or they are not needed.

    Dead trees without a height ask for one too, but none is missed where there are too few pairs for it. With `height_by`
    each stratum or species with enough pairs has a model of its own, the others share that of all.
    """
    live = trees[(trees["status"] == "live") & trees["dbh_cm"].notna()]  # shrubs have no height by diameter
    unmeasured = live["height_m"].isna().to_numpy()
    missing = int(unmeasured.sum())
    dead_missing = bool(trees.loc[(trees["status"] == "dead") & trees["dbh_cm"].notna(), "height_m"].isna().any())
    if missing == 0 and not dead_missing:
        return None
    if settings.get("height_pairs"):
        pairs = read_height_pairs(settings)
        labels = pairs["plot"].to_numpy() if "plot" in pairs else None
    else:
        pairs = live[live["height_m"].notna()]
        labels = allometry.visits(pairs)
    asking = unmeasured & allometry.asked(equations, allometry.match_equations(live, equations), "height_m")
    needed = int(asking.sum())
    if not needed and len(pairs) < heights.MIN_PAIRS:
        return None
    try:
        common = _fitted(pairs, labels, settings)
    except ValueError as error:
        if missing == 0:
            return None
        if not needed:
            log.warning("no dominant height: %s", error)
            return None
        raise ValueError(
            f"{settings.get('height_pairs') or settings['trees']}: {needed} trees have no height, and {error}; "
            "name more pairs in plots.height_pairs, or an allometry without height"
        ) from None
    log.info(
        "%d heights by %s from %d pairs, residual SD %.3g%s, between plots %.3g",
        missing, common.name, common.pairs, common.residual_sd, " of ln H" if common.curve.logarithmic else " m",
        common.between_sd,
    )  # fmt: skip
    if settings["height_by"] == "study":
        return common
    return _models_by_group(trees, pairs, labels, common, settings)


def _models_by_group(
    trees: pd.DataFrame, pairs: pd.DataFrame, labels: np.ndarray | None, common: heights.HeightModel, settings: dict[str, Any]
) -> Mapping[str, heights.HeightModel]:
    by = settings["height_by"]
    if by not in pairs or by not in trees:
        where = settings.get("height_pairs") or settings["trees"]
        raise ValueError(f"plots.height_by: {by} needs the {by} of each measured height, which {where} does not give")
    models, group = {"": common}, trees[by].fillna("").astype(str)
    for name in sorted(set(group) - {""}):
        chosen = (pairs[by].fillna("").astype(str) == name).to_numpy()
        try:
            models[name] = _fitted(pairs[chosen], None if labels is None else labels[chosen], settings)
        except ValueError as error:
            log.info("%s %s takes the height model of all: %s", by, name, error)
    trees["height_group"] = np.where(group.isin(list(models)), group, "")
    log.info("height models of their own: %s", ", ".join(name for name in models if name) or "none")
    return models


def _fitted(pairs: pd.DataFrame, labels: np.ndarray | None, settings: dict[str, Any]) -> heights.HeightModel:
    dbh, height, model = pairs["dbh_cm"].to_numpy(), pairs["height_m"].to_numpy(), settings["height_model"]
    if model == "auto":
        found = heights.select_heights(dbh, height, plots=labels)
        model = found.best
        errors = ", ".join(f"{name} {error:.2f} m" for name, error in found.rmse_m.items())
        log.info("height models by error at left-out %s: %s", found.by, errors)
    return heights.fit_heights(dbh, height, model=model, plots=labels)


# ---------------------------------------------------------------- totals


def _totals(trees: pd.DataFrame, equations: pd.DataFrame, models: Any, settings: dict[str, Any]) -> pd.DataFrame:
    if settings["errors"] == "first_order":
        return allometry.plot_totals(trees, equations, height_model=models)
    log.info("errors of biomass from %d draws", settings["iterations"])
    return allometry.plot_totals_monte_carlo(
        trees, equations, height_model=models, iterations=settings["iterations"], seed=settings["seed"]
    )


def _with_changes(totals: pd.DataFrame, stock: allometry.Inventory) -> pd.DataFrame:
    """agb_change_mg_ha and its error since each plot's visit before, where there are such."""
    if not totals.duplicated("plot").any():
        return totals
    found = allometry.plot_changes(stock, totals["agb_mg_ha"].to_numpy(), totals["agb_mg_ha_se"].to_numpy())
    log.info(
        "changes of plots: a tree's residual and height correlate %g between visits, median error of a plot's own %.3g Mg/ha",
        allometry.SAME_TREE_CORRELATION, found["agb_change_mg_ha_se"].median(),
    )  # fmt: skip
    return totals.assign(**{name: found[name] for name in found})


def _tree_list(stock: allometry.Inventory) -> pd.DataFrame:
    """Every live tree with what was done to it, for who wants to follow a number to its source."""
    agb = allometry.tree_agb(stock.live, stock.equations, stock.served, derivatives=False)
    columns = ["plot", "date", "tree", "species", "dbh_cm", "height_m", "wood_density_g_cm3", "wood_density_level"]
    listed = stock.live[[column for column in columns if column in stock.live]].copy()
    listed["height_from"] = np.where(stock.modelled, "model", np.where(listed["height_m"].notna(), "measured", ""))
    listed["equation"] = agb["equation"]
    listed["equation_level"] = allometry.levels_served(stock.equations, stock.served)
    listed["extrapolated"] = agb["extrapolated"]
    listed["trees_per_ha"] = stock.live["trees_per_ha"]
    listed["agb_kg"] = agb["agb_kg"]
    return listed


def _without_biomass(stock: allometry.Inventory, listed: pd.DataFrame, settings: dict[str, Any]) -> np.ndarray:
    """Trees (plots and dates,) whose biomass could not be computed, which leaves that of their plot unknown."""
    lost = listed["agb_kg"].isna().to_numpy()
    if lost.any():
        rows = f" ({tables.rows(stock.live.loc[lost, 'row'].tolist())})" if "row" in stock.live else ""
        log.warning(
            "%s: biomass of %d of %d trees could not be computed%s: something that their equation (%s) asks for is missing; "
            "the biomass of their %d plots and dates is not known", settings["trees"], lost.sum(), len(lost), rows,
            ", ".join(dict.fromkeys(listed.loc[lost, "equation"])), len(set(stock.member[lost])),
        )  # fmt: skip
    return stock.total(lost).astype(int)


def _check_extrapolation(totals: pd.DataFrame, settings: dict[str, Any]) -> None:
    biomass = totals["agb_mg_ha"].sum()
    percent = (totals["extrapolated_percent"] * totals["agb_mg_ha"]).sum() / biomass if biomass > 0 else 0.0
    limit = settings["max_extrapolated_percent"]
    if limit is not None and percent > limit:
        raise ValueError(
            f"{settings['trees']}: {percent:.3g} % of the biomass is of trees outside the diameters or heights of their equation "
            f"({named_equations(settings)}), and plots.max_extrapolated_percent is {limit:g}; name an equation that was made "
            "with such trees, or raise the limit"
        )
    if percent > 0:
        caveat(log, "%.3g %% of the biomass is of trees outside the diameters or heights of their equation", percent)


def _say_heights_beyond_pairs(stock: allometry.Inventory, kg: np.ndarray) -> None:
    """A curve says little beyond the diameters that it was fitted to, and one with a square may turn down there."""
    biomass = np.nansum(stock.weight * kg)
    for name, model, chosen, dbh, _ in stock.modelled_parts():
        beyond = chosen[dbh > model.dbh_range_cm[1]]
        if len(beyond):
            log.warning(
                "heights of %d trees%s are by %s beyond the thickest measured tree of %.3g cm; they hold %.3g %% of the biomass",
                len(beyond), f" of {name}" if name else "", model.name, model.dbh_range_cm[1],
                100 * np.nansum((stock.weight * kg)[beyond]) / biomass if biomass > 0 else 0.0,
            )  # fmt: skip


def _with_dead(totals: pd.DataFrame, trees: pd.DataFrame, equations: pd.DataFrame, models: Any) -> pd.DataFrame:
    """standing_dead_mg_ha: what the dead trees would weigh alive, times what is left of it (CDM AR-TOOL12)."""
    dead = trees[(trees["status"] == "dead") & trees["dbh_cm"].notna()]
    if dead.empty:
        return totals
    stock = allometry.inventory(dead.assign(status="live"), equations, height_model=models)
    kg = allometry.tree_agb(stock.live, stock.equations, stock.served, derivatives=False)["agb_kg"].to_numpy()
    empty = np.full(len(dead), "")
    left = pools.standing_dead_share(
        dead["decay"].fillna("").to_numpy() if "decay" in dead else empty,
        dead["structure"].fillna("").to_numpy() if "structure" in dead else empty,
    )
    lost = int(np.isnan(kg).sum())
    say = log.warning if lost > MANY_DEAD_LEFT_OUT * len(kg) else log.info
    if lost:
        say("standing dead biomass leaves out %d of %d dead trees without an equation or a height", lost, len(kg))
    if "decay" not in dead:
        log.info("%d dead trees without a column decay count as sound wood without leaves (0.975 of a live tree)", len(kg))
    found = stock.keys.assign(standing_dead_mg_ha=stock.total(stock.weight * np.nan_to_num(kg) * left))
    merged = totals.merge(found, on=["plot", "date"], how="left")
    return merged.assign(standing_dead_mg_ha=merged["standing_dead_mg_ha"].fillna(0.0))
