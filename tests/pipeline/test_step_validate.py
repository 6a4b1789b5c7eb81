"""The step that holds models against plots they have not seen: parts of the plots, failed folds, distances."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from conftest import UTM, make_plots

from models.inference.fitted import fit_target
from models.validation import SCHEMES
from pipeline import store
from pipeline.steps import validate as step


@pytest.fixture(scope="module")
def fitted():
    plots = make_plots(n=40, years=(2019, 2024)).assign(kept=True)
    plots["stratum"] = np.where(np.arange(len(plots)) % 8 == 0, None, "pine")
    return plots, fit_target(plots, {"lidar": ["zmean"]}, target="agb", column="agb_mg_ha")[0]


@pytest.fixture
def run(tmp_path, monkeypatch, fitted):
    """Run the step on a square of forest around the plots: the scores and the table."""
    plots, model = fitted
    places = gpd.GeoDataFrame(geometry=gpd.points_from_xy(plots["x"], plots["y"]), crs=UTM)
    store.write_table(tmp_path / "training.parquet", places.assign(**plots))
    store.write_json(tmp_path / "model.json", model.to_plain())
    shape = gpd.GeoDataFrame({"stand": ["a"]}, geometry=[shapely.box(*places.total_bounds).buffer(200)], crs=UTM)
    west, _, _, north = shape.total_bounds

    def go(stands=shape):
        monkeypatch.setattr(step, "read_stands", lambda *_, **__: stands)
        step.validate(
            scores=tmp_path / "scores.json", left_out=tmp_path / "left_out.parquet", table=tmp_path / "training.parquet",
            model=tmp_path / "model.json", column="agb_mg_ha", settings={}, confidence_percent=90.0,
            grid={"crs": UTM, "west_m": west, "north_m": north, "resolution_m": 20.0, "rows": 10, "cols": 10},
        )  # fmt: skip
        return store.read_json(tmp_path / "scores.json"), store.read_table(tmp_path / "left_out.parquet")

    return go


def test_every_scheme_scores_every_part_of_the_plots(run, fitted):
    plots, _ = fitted
    found, table = run()
    assert [row["scheme"] for row in found["scores"]] == list(SCHEMES)
    for row in found["scores"]:
        strata, years = ({part["name"]: part["n"] for part in row["by_group"][name]} for name in ("stratum", "year"))
        assert strata == {"pine": 70, "none given": 10} and years == {"2019": 40, "2024": 40}
        assert row["failed"] == [] and row["missing"] == 0
        assert sum(part["n"] for part in row["by_prediction"]) == len(plots) == (table["scheme"] == row["scheme"]).sum()


def test_plots_are_left_out_whole_and_distances_are_those_of_the_map(run, fitted):
    """Leaving a plot out with both its dates, its nearest neighbour is another plot; the map's places are near the plots."""
    found, table = run()
    quantiles = {row["scheme"]: row["distance_m"] for row in found["distances"]}
    assert quantiles["plots"][0] > 0, "a plot's other date is not its training"
    assert quantiles["clusters"][10] >= quantiles["plots"][10]
    assert all(later >= earlier for earlier, later in zip(quantiles[None], quantiles[None][1:], strict=False))
    one_plot = table[table["scheme"] == "plots"].groupby("plot")["fold"].nunique()
    assert (one_plot == 1).all() and len(one_plot) == 40


def test_a_fold_that_cannot_be_fitted_is_kept_with_its_reason(run, monkeypatch, caplog):
    known = step.predict_left_out

    def stubborn(rows, fitted, one, column, folds, machine=None, **ask):
        if 5 in folds[0][0]:
            raise np.linalg.LinAlgError("singular matrix")
        return known(rows, fitted, one, column, folds, machine, **ask)

    monkeypatch.setattr(step, "predict_left_out", stubborn)
    found, table = run()
    row = next(one for one in found["scores"] if one["scheme"] == "clusters")
    (failed,) = row["failed"]
    assert failed["why"] == "singular matrix" and failed["rows"] == row["missing"] > 0
    assert row["n"] == 80 - row["missing"]
    missing = table[(table["scheme"] == "clusters") & table["predicted"].isna()]
    assert len(missing) == row["missing"] and (missing["fold"] == failed["fold"]).all()
    folds = row["folds"]
    assert f"1 of {folds} folds ({failed['rows']} plot measurements) have no prediction: singular matrix" in caplog.text


def test_a_set_is_held_against_the_land_that_it_serves(run, fitted, tmp_path, monkeypatch):
    """Half of the stands lie 50 km east and are served by another set, or by none: distances are those of the west alone."""
    import pandas as pd

    plots, _ = fitted
    west = shapely.box(plots["x"].min(), plots["y"].min(), plots["x"].max(), plots["y"].max()).buffer(50)
    east = shapely.affinity.translate(west, 50_000)
    stands = gpd.GeoDataFrame({"stand": ["w", "e"]}, geometry=[west, east], crs=UTM)
    # stand, estimand, part and hectares of the sets; changes, other targets and interiors say nothing of it
    rows = [("w", "agb_2019", "all", 30.0), ("w", "agb_2024", "all", 30.0), ("e", "agb_2019_2024", "all", 9.0),
            ("e", "volume_2019", "all", 9.0), ("e", "agb_2019", "interior", 9.0), ("e", "agb_2019", "all", 0.0)]  # fmt: skip
    told = pd.DataFrame([(*row[:3], [row[3]]) for row in rows], columns=["stand", "estimand", "part", "set_ha"])
    store.write_table(tmp_path / "block.parquet", told)
    assert step.served_ha([tmp_path / "block.parquet"], "agb", ["w", "e"], 1).tolist() == [[60.0], [0.0]]
    assert step.served_ha((), "agb", ["w", "e"], 1) is None
    served = step._places(stands, np.array([60.0, 0.0]))
    assert len(served) == pytest.approx(step.PLACES, rel=0.05) and (served[:, 0] < plots["x"].max() + 51).all()
    everywhere = step._places(stands)
    assert (everywhere[:, 0] > 40_000 + plots["x"].min()).mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(step._places(stands, np.zeros(2)), everywhere), "a set that serves nothing is held against all"
    original = step.validate
    near = []
    sample = step._places
    monkeypatch.setattr(step, "validate", lambda **ask: original(**ask, partials=[tmp_path / "block.parquet"]))
    monkeypatch.setattr(step, "_places", lambda *asked: near.append(sample(*asked)) or near[-1])
    found, _ = run(stands)
    assert np.array_equal(near[0], served), "60 ha of the first stand are asked for, 0 of the other"
    assert found["distances"][0]["distance_m"][-1] < 10_000


def test_many_small_stands_share_the_sample():
    """10,000 stands of a hectare, the last half of them served: 2,000 places, all there."""
    stands = gpd.GeoDataFrame(geometry=[shapely.box(100 * k, 0, 100 * k + 100, 100) for k in range(10_000)], crs=UTM)
    found = step._places(stands, np.repeat([0.0, 1.0], 5_000))
    assert len(found) == step.PLACES and found[:, 0].min() > 500_000


def test_folds_of_a_second_stage_choose_for_the_set_that_sees_plots():
    first = SimpleNamespace(second_stage=None)
    second = SimpleNamespace(second_stage=SimpleNamespace(first_set="lidar"))
    fitted = SimpleNamespace(named={"lidar": first}.__getitem__)
    assert step._learner(fitted, second) is first and step._learner(fitted, first) is first


def test_a_choice_of_regressor_is_made_anew_in_the_folds_of_every_scheme(fitted):
    plots, _ = fitted
    places = plots[["x", "y"]].to_numpy() + 500.0
    learns, plain = SimpleNamespace(learns=True), SimpleNamespace(learns=False)
    chooser = SimpleNamespace(machine=SimpleNamespace(stands_for=learns, table=({"regressor": "mix"},)))
    linear = SimpleNamespace(machine=SimpleNamespace(stands_for=plain))
    anew = {scheme: step._folds(chooser, scheme, plots, places) for scheme in SCHEMES}
    assert all(again and len(folds) <= 5 for folds, again in anew.values()), "a choice is dear"
    learned = SimpleNamespace(machine=SimpleNamespace(stands_for=learns))
    assert len(step._folds(learned, "clusters", plots, places)[0]) == 10, "and so is a model that learns"
    folds, again = step._folds(linear, "plots", plots, places)
    assert len(folds) == 40 and not again


def test_the_regressor_that_is_named_is_learned_in_every_fold(fitted):
    """Plots left out from a linear set with k-NN named are those of a set that is k-NN."""
    from models.inference.fitted import predict_left_out, rows_of
    from models.regressors import regressor_named

    plots, linear = fitted
    near = fit_target(plots, {"lidar": ["zmean"]}, target="agb", column="agb_mg_ha", regressor="neighbours")[0]
    rows = rows_of(plots, linear.sets[0], "agb_mg_ha")
    folds = [(np.arange(8), np.arange(8, 80))]
    named, own, other = (
        predict_left_out(rows, model, model.sets[0], "agb_mg_ha", folds, machine=machine)["predicted"].to_numpy()[:8]
        for model, machine in ((linear, regressor_named("neighbours", transform="sqrt")), (near, None), (linear, None))
    )
    assert named == pytest.approx(own, rel=1e-9) and not np.allclose(named, other, rtol=1e-6)


def test_whether_dates_have_levels_of_their_own_is_decided_without_the_plots_left_out():
    """The model has levels of dates; where its rest shows none, a fold goes without them."""
    from models.inference.fitted import predict_left_out, rows_of

    plots = make_plots(n=24, years=(2019, 2024), noise=8)
    model, _ = fit_target(plots, {"lidar": ["zmean"]}, target="agb", column="agb_mg_ha", date_effect="always")
    (one,) = model.sets
    rows = rows_of(plots, one, "agb_mg_ha")
    own = rows["cluster"] == rows["cluster"].iloc[0]
    test, rest = np.flatnonzero(own), np.flatnonzero(~own)
    auto, always = (
        predict_left_out(rows, model, one, "agb_mg_ha", [(test, rest)], date_effect=how)["predicted"].to_numpy()[test]
        for how in ("auto", "always")
    )
    pooled, _ = fit_target(rows.iloc[rest], {"lidar": ["zmean"]}, target="agb", column="agb_mg_ha", date_effect="never")
    expected = pooled.predict({"zmean": rows["zmean"].to_numpy(float)[test]}, 2019)["mean"]
    assert auto == pytest.approx(expected, rel=1e-6), "no date effect was planted, and none is found"
    assert not np.allclose(always, expected, rtol=1e-4)
