"""Which maps a study makes, and what their bands say."""

from __future__ import annotations

import pytest
from conftest import make_study

from pipeline.products import estimands_of, products_of


def test_a_study_of_two_dates_makes_stocks_carbon_sink_and_forest_change():
    assert list(products_of(make_study())) == [
        "agb_2019", "agb_2024", "tree_carbon_2019", "tree_carbon_2024", "sink_2019_2024", "forest_2019_2024",
        "applicability_agb_2019", "applicability_agb_2024",
    ]  # fmt: skip


def test_a_study_of_one_date_makes_no_change():
    assert list(products_of(make_study({"years": [2019]}))) == ["agb_2019", "tree_carbon_2019", "applicability_agb_2019"]


def test_maps_of_the_area_of_applicability_can_be_left_out():
    found = products_of(make_study({"years": [2019], "model.applicability_maps": False}))
    assert list(found) == ["agb_2019", "tree_carbon_2019"]


def test_changes_are_between_successive_dates():
    found = products_of(make_study({"years": [2015, 2019, 2024]}))
    assert [name for name in found if name.startswith("sink")] == ["sink_2015_2019", "sink_2019_2024"]
    assert found["sink_2015_2019"].years == (2015, 2019)


def test_a_target_without_carbon_has_stocks_only():
    found = products_of(make_study({"targets": ["basal_area"], "model.applicability_maps": False}))
    assert list(found) == ["basal_area_2019", "basal_area_2024", "forest_2019_2024"]
    assert found["basal_area_2019"].units["basal_area_m2_ha"] == "m2/ha"


def test_carbon_comes_from_volume_where_no_biomass_is_mapped():
    factor = {"pools.expansion_factor_mg_m3": 0.6, "pools.expansion_factor_source": "a table"}
    found = products_of(make_study({"targets": ["volume"], **factor}))
    assert found["sink_2019_2024"].target == "volume"
    both = products_of(make_study({"targets": ["volume", "agb"], **factor}))
    assert both["sink_2019_2024"].target == "agb" and "volume_2019" in both


@pytest.mark.parametrize("name", ["agb_2019", "tree_carbon_2024", "sink_2019_2024"])
def test_every_value_has_its_error_beside_it_in_the_same_unit(name):
    product = products_of(make_study())[name]
    value, error, *_ = product.bands
    assert error.name == f"{value.name}_se" and error.units == value.units
    assert set(product.titles) == set(product.units) == {band.name for band in product.bands}


def test_a_sink_says_its_sign_and_unit():
    value = products_of(make_study())["sink_2019_2024"].bands[0]
    assert value.units == "t CO2/ha/yr" and "positive = sink" in value.title


def test_maps_of_carbon_say_whose_root_shoot_ratio_they_take_where_plots_tell_it():
    found = products_of(
        make_study({"pools.root_shoot": "from_plots", "plots.trees": "trees.csv", "plots.roots.by": "continuous"})
    )
    for name in ("tree_carbon_2024", "sink_2019_2024"):
        assert "roots by the plots' ratio, of each stand's stratum" in found[name].bands[0].title
        assert "roots" not in products_of(make_study())[name].bands[0].title


def test_estimands_are_each_year_and_each_step_between():
    assert estimands_of("agb", (2015, 2019, 2024)) == {
        "agb_2015": (2015,), "agb_2019": (2019,), "agb_2024": (2024,), "agb_2015_2019": (2015, 2019),
        "agb_2019_2024": (2019, 2024),
    }  # fmt: skip
    assert estimands_of("stems", (2019,)) == {"stems_2019": (2019,)}


def test_quantiles_that_a_study_asks_for_are_bands_of_its_stocks():
    asked = {"model.regressor": "quantile_forest", "model.quantiles": [0.025, 0.5, 0.95]}
    found = products_of(make_study(asked))
    told = [(band.name, band.units, band.quantile) for band in found["agb_2019"].bands[4:]]
    assert told == [
        ("agb_mg_ha_q2_5", "Mg/ha", 0.025), ("agb_mg_ha_q50", "Mg/ha", 0.5), ("agb_mg_ha_q95", "Mg/ha", 0.95),
    ]  # fmt: skip
    assert len(found["tree_carbon_2019"].bands) == 2
