"""The stand table: intervals by hand, composites in place, and no change told by a map that saturates."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import make_plots

from models.inference.fitted import fit_target
from models.pools import CarbonFactors
from models.saturation import Saturation
from pipeline.config import TARGETS
from pipeline.steps.stand_rows import flag_saturated, range_identified
from pipeline.steps.stand_tables import SATURATED, intervals, wide_table
from pipeline.steps.stands import saturation_of

CARBON = CarbonFactors(root_shoot=0.26, carbon_fraction=0.47)
PER_UNIT = 1.26 * 0.47 * 44 / 12 / 5
"""t CO2/ha/yr per Mg/ha of biomass over five years."""


def polygons(names="abc") -> gpd.GeoDataFrame:
    shapes = [shapely.box(200 * k, 0, 200 * k + 200, 200) for k in range(len(names))]
    frame = {"stand": list(names), "layer": "stands", "stratum": None, "area_ha": 4.0, "declared_area_ha": np.nan}
    return gpd.GeoDataFrame(frame, geometry=shapes, crs="EPSG:32650")


def row(stand, first, last, mean, se, *, level="stand", **columns) -> dict:
    return {
        "level": level, "stand": stand, "target": "agb", "first_year": first, "last_year": last, "mean": mean, "se": se,
        "low": mean - 2 * se, "high": mean + 2 * se, **intervals(mean, se, 20, -np.inf), "cover_percent": 100.0,
        "has_total": True,
        "dissimilarity_index": 0.5, "local_point_density": 9.0,
        "map_mean": mean - 1, "forest_percent": 100.0, "in_domain_percent": 100.0, "interior_percent": 80.0, "gained_ha": 0.0,
        "lost_ha": 0.0, "estimator": "model-based synthetic", "map_only": True, "saturated": False, **columns,
    }  # fmt: skip


def table(rows: list[dict], names="abc") -> pd.DataFrame:
    targets = {"agb": TARGETS["agb"]}
    found = wide_table(polygons(names), pd.DataFrame(rows), (2019, 2024), CARBON, "agb", targets, 90.0, "model-based synthetic")
    return found.set_index("stand")


def test_an_interval_is_that_of_students_t_and_ends_at_zero_for_a_stock():
    """t of 10 degrees of freedom: 1.8125 at 90 %, 2.2281 at 95 % (printed tables)."""
    found = intervals(100.0, 10.0, 10, 0.0)
    assert found == pytest.approx({"low_90": 81.875, "high_90": 118.125, "low_95": 77.719, "high_95": 122.281}, abs=0.01)
    assert intervals(5.0, 10.0, 10, 0.0)["low_90"] == 0.0
    assert intervals(5.0, 10.0, 10, -np.inf)["low_90"] < 0


def test_a_change_is_told_in_carbon_dioxide_with_its_direction():
    found = table([row("a", 2019, 2024, 20.0, 2.0), row("b", 2019, 2024, -20.0, 2.0), row("c", 2019, 2024, 1.0, 2.0)])
    told = found["reported_net_removal_t_co2_ha_yr_2019_2024"].tolist()
    assert told == pytest.approx([20 * PER_UNIT, -20 * PER_UNIT, PER_UNIT])
    assert found["direction_2019_2024"].tolist() == ["sink", "source", "not distinguishable from zero"]
    assert found["reported_net_removal_t_co2_yr_2019_2024"].iloc[0] == pytest.approx(80 * PER_UNIT)


def test_the_difference_of_the_stocks_stands_beside_a_change_with_whether_it_has_the_other_sign():
    """Stock 100 and 130 Mg/ha: 30 x PER_UNIT; a reported change of -5 is of the other sign, one that is missing of none."""
    stocks = [row(name, year, year, mean, 5.0) for name in "abc" for year, mean in ((2019, 100.0), (2024, 130.0))]
    changes = [row("a", 2019, 2024, 20.0, 2.0), row("b", 2019, 2024, -5.0, 2.0), row("c", 2019, 2024, 20.0, 2.0, saturated=True)]
    found = table([*stocks, *changes])
    assert found["difference_of_stocks_t_co2_ha_yr_2019_2024"].tolist() == pytest.approx([30 * PER_UNIT] * 3)
    assert found["stocks_disagree_2019_2024"].tolist() == [False, True, False]
    assert "stocks_disagree_2019_2024" not in table(changes)


def test_stocks_are_beyond_error_where_they_differ_from_the_change_by_more_than_all_errors_together():
    """Difference 30 with errors of 5 each: 7.07; change error 2: 1.645 x 9.07 = 14.92, so 15.0 away is beyond and 14.8 is not."""
    stocks = [row(name, year, year, mean, 5.0) for name in "abc" for year, mean in ((2019, 100.0), (2024, 130.0))]
    changes = [row("a", 2019, 2024, 15.2, 2.0), row("b", 2019, 2024, 15.0, 2.0), row("c", 2019, 2024, 45.0, 2.0)]
    found = table([*stocks, *changes])
    assert found["stocks_beyond_error_2019_2024"].tolist() == [False, True, True]
    silent = table([*stocks, *(one | {"saturated": True} for one in changes)])
    assert not silent["stocks_beyond_error_2019_2024"].any()


def test_whether_the_plots_identify_the_residual_structure_stands_beside_each_estimate():
    told = {"a": True, "b": False, "c": np.nan}
    rows = [row(name, *span, 20.0, 2.0, range_identified=told[name]) for name in "abc" for span in ((2024, 2024), (2019, 2024))]
    found = table(rows)
    for name in ("agb_mg_ha_2024", "net_removal_t_co2_ha_yr_2019_2024"):
        assert found[f"range_identified_{name}"].dtype == bool
        assert found[f"range_identified_{name}"].tolist() == [True, False, False]


def test_a_stand_is_identified_where_every_set_that_serves_it_is_and_those_it_learned_from():
    class Structure:
        def __init__(self, identified):
            self.identified = identified

    def made(name, level, change, teacher=None):
        stage = None if teacher is None else SimpleNamespace(first_set=teacher)
        residuals = SimpleNamespace(level=Structure(level), change=Structure(change))
        return SimpleNamespace(name=name, residuals=residuals, second_stage=stage)

    sets = {one.name: one for one in (made("lidar", True, False), made("s2", True, True, "lidar"), made("radar", False, True))}
    model = SimpleNamespace(sets=tuple(sets.values()), named=sets.get)
    served = np.array([[1.0, 0, 0], [1, 1, 0], [0.5, 0, 0.1], [0, 0, 2], [0, 1, 0]])
    assert range_identified(model, served, change=False).tolist() == [True, True, False, False, True]
    assert range_identified(model, served, change=True).tolist() == [False, False, False, True, False]


def test_no_change_is_reported_where_a_saturated_map_alone_tells_it():
    rows = [row(name, 2019, 2024, 20.0, 2.0, saturated=name != "c") for name in "abc"]
    by_plots = {"level": "composite", "estimator": "composite of map, plots", "map_only": False, "saturated": True}
    rows.append(row("b", 2019, 2024, 12.0, 1.0, **by_plots))
    found = table(rows)
    assert found["direction_2019_2024"].tolist() == [SATURATED, "sink", "sink"]
    numbers = [name for name in found if name.startswith("reported_net_removal") and "estimator" not in name]
    assert len(numbers) == 9
    assert found.loc["a", numbers].isna().all() and found.loc[["b", "c"], numbers].notna().all(axis=None)
    assert found.loc["b", "reported_net_removal_t_co2_ha_yr_2019_2024"] == pytest.approx(12 * PER_UNIT)  # its plots speak
    assert found.loc["a", "model_net_removal_t_co2_ha_yr_2019_2024"] == pytest.approx(20 * PER_UNIT)  # nothing is lost


def test_a_composite_takes_the_place_of_the_model_and_the_model_stays_beside_it():
    rows = [row(name, 2019, 2019, 100.0, 20.0) for name in "abc"]
    rows.append(row("b", 2019, 2019, 120.0, 10.0, level="composite", estimator="composite of map, plots", map_only=False))
    found = table(rows)
    assert found["reported_agb_mg_ha_2019"].tolist() == [100, 120, 100] and found["model_agb_mg_ha_2019"].tolist() == [100] * 3
    assert found["map_agb_mg_ha_2019"].tolist() == [99] * 3
    assert found["reported_agb_mg_ha_estimator_2019"].tolist()[1] == "composite of map, plots"
    assert found["reported_agb_mg_ha_low_95_2019"].iloc[1] == pytest.approx(120 - 2.086 * 10, abs=0.01)
    assert found["reported_tree_carbon_t_2019"].iloc[1] == pytest.approx(120 * 1.26 * 0.47 * 4)


def test_a_stand_is_saturated_by_the_set_that_serves_most_of_it_and_by_its_forest():
    """From 200 Mg/ha on the satellite says no more. `d` has 150 on all of it, but all of that on 60 % forest: 250."""
    about = [("a", 90, 10, 220, 100), ("b", 10, 90, 220, 100), ("c", 10, 90, 190, 100), ("d", 0, 60, 150, 60)]
    stocks = [
        {"stand": stand, "first_year": 2019, "last_year": 2019, "lidar_percent": lidar, "satellite_percent": satellite,
         "map_mean": mean, "forest_percent": forest}
        for stand, lidar, satellite, mean, forest in about
    ]  # fmt: skip
    changes = [{"stand": stand, "first_year": 2019, "last_year": 2024} for stand in "abcd"]
    flagged: dict = {}
    for rows in (pd.DataFrame(stocks), pd.DataFrame(changes)):
        flag_saturated(rows, flagged, {"satellite": Saturation(200.0, 180.0, 0.0, 1.0, 30)}, ["lidar", "satellite"])
        assert rows["saturated"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("ceiling_m", [None, 14.0], ids=["follows", "saturates_at_14_m"])
def test_a_planted_sensor_that_sees_no_trees_above_14_metres_is_told_from_left_out_plots(ceiling_m, caplog):
    """The factory's biomass is (3 + 0.5 zmean)^2 with zmean up to 24 m: 100 Mg/ha at 14 m."""
    plots = make_plots(120, per_cluster=2, noise=10.0)
    if ceiling_m:
        plots["zmean"] = np.minimum(plots["zmean"], ceiling_m) + np.random.default_rng(1).normal(0, 1.0, len(plots))
    model, left_out = fit_target(plots, {"lidar": ("zmean",)}, target="agb", column="agb_mg_ha", date_effect="never")
    found = saturation_of(model, left_out)
    assert set(found) == ({"lidar"} if ceiling_m else set())
    if ceiling_m:
        assert found["lidar"].ceiling_of == pytest.approx(100, abs=20) and "agb from lidar saturates" in caplog.text
