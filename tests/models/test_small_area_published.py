"""Small areas against what others computed: 14 Norwegian municipalities (JoSAE) and the crops of Iowa's counties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import data_set

from models.inference.area_models import fit_unit_model
from models.inference.estimators import estimate
from models.inference.survey import Survey

NAME = "mean.canopy.ht"
PRINTED = 0.005
"""The vignette prints two decimals; expected_josae_eblup.csv holds more, of an optimiser that stops at 1e-6 or so."""


@pytest.fixture(scope="module")
def norway(data):
    folder = data_set(data, "josae-norway-sae")
    plots = pd.read_csv(folder / "sample_plots.csv")
    survey = Survey.from_table(plots, target="biomass.ha", auxiliaries=[NAME], area="domain.ID", selection="probability")
    means = pd.read_csv(folder / "domains.csv").set_index("domain.ID")[f"{NAME}.bar"]
    expected = pd.read_csv(folder / "expected_josae_eblup.csv").set_index("domain.ID")
    assert len(expected) == 14
    return survey, {str(area): {NAME: float(mean)} for area, mean in means.items()}, expected


@pytest.mark.parametrize(("mse", "column"), [("area_specific_1", "EBLUP.se.1"), ("area_specific_2", "EBLUP.se.2")])
def test_eblup_and_both_its_errors_are_those_of_josae_in_every_municipality(norway, mse, column):
    survey, means, expected = norway
    found = estimate("bhf_eblup", survey, auxiliaries=[NAME], means=means, mse=mse)
    for area, row in expected.iterrows():
        assert found[str(area)].mean == pytest.approx(row["EBLUP"], abs=1e-4)
        assert found[str(area)].se == pytest.approx(row[column], abs=1e-4)
        assert found[str(area)].variance_parts["area_effect"] == pytest.approx(row["c1"], abs=PRINTED)
        assert found[str(area)].variance_parts["coefficients"] == pytest.approx(row["c2"], abs=PRINTED)


def test_prasad_rao_error_is_made_of_the_components_that_josae_prints(norway):
    survey, means, expected = norway
    found = estimate("bhf_eblup", survey, auxiliaries=[NAME], means=means)
    for area, row in expected.iterrows():
        assert found[str(area)].variance == pytest.approx(row["c1"] + row["c2"] + 2 * row["c3"], abs=PRINTED)
        assert found[str(area)].other_variances["area_specific_1"] == pytest.approx(row["EBLUP.var.1"], abs=PRINTED)


def test_greg_synthetic_and_sample_means_are_those_of_josae_in_every_municipality(norway):
    survey, means, expected = norway
    for area, row in expected.iterrows():
        known = {"area": str(area), "auxiliaries": [NAME], "means": means[str(area)]}
        greg = estimate("small", survey, **known, variance="external")
        plots = estimate("expansion", survey, area=str(area))
        assert estimate("synthetic", survey, **known).mean == pytest.approx(row["Synth"], abs=1e-9)
        assert greg.mean == pytest.approx(row["GREG"], abs=1e-9)
        assert greg.se == pytest.approx(row["GREG.se"], abs=1e-9, nan_ok=True)
        assert plots.mean == pytest.approx(row["biomass.ha.sample.mean"], abs=1e-6)
        assert plots.se == pytest.approx(row["sample.se"], abs=1e-6, nan_ok=True)
        assert plots.n["plots"] == row["n.i.sample"]


def test_two_plots_that_happen_to_agree_do_not_make_a_small_error(norway):
    """Municipality 4: the printed GREG error from its own two residuals is 0.65 Mg/ha."""
    survey, means, expected = norway
    known = {"area": "4", "auxiliaries": [NAME], "means": means["4"]}
    residual_sd = np.sqrt(fit_unit_model_of(survey).residual_variance)
    found = estimate("small", survey, **known)
    assert expected.loc[4, "GREG.se"] < 1
    assert found.se > residual_sd / np.sqrt(2)
    assert found.other_variances["external"] == pytest.approx(expected.loc[4, "GREG.se"] ** 2)


def fit_unit_model_of(survey):
    return fit_unit_model(survey.y, np.column_stack([np.ones(len(survey.y)), survey.auxiliaries[NAME]]), survey.area)


def test_municipalities_with_one_plot_have_no_error_of_their_own_and_say_so(norway):
    survey, _, _ = norway
    found = estimate("expansion", survey, area="1")
    assert np.isnan(found.se) and found.notes
    assert all(np.isnan(found.interval(90)))


def test_hectares_of_corn_in_iowa_have_the_published_variance_components(data):
    """Battese, Harter and Fuller 1988: b = (51, 0.329, -0.134), variance between counties 140, within 147; one outlier out."""
    table = pd.read_csv(data_set(data, "josae-norway-sae") / "landsat_battese1988.csv")
    table = table[~table["outlier"]]
    X = np.column_stack([np.ones(len(table)), table["PixelsCorn"], table["PixelsSoybeans"]])
    model = fit_unit_model(table["HACorn"].to_numpy(), X, table["CountyName"].to_numpy().astype(str))
    assert model.b == pytest.approx([51, 0.329, -0.134], abs=0.1)
    assert model.b[1:] == pytest.approx([0.329, -0.134], abs=0.001)
    assert model.area_variance == pytest.approx(140, abs=0.5) and model.residual_variance == pytest.approx(147, abs=0.5)
