"""The report: one page that fetches nothing, says what is missing, and quotes numbers as the tables have them."""

import re
from dataclasses import asdict
from html.parser import HTMLParser
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from conftest import make_study
from shapely import box

from models.validation import LEVELS
from pipeline import store
from pipeline.config import TARGETS, study_from
from pipeline.grid import Grid
from pipeline.products import products_of
from pipeline.report import words
from pipeline.report.figures import Frame, Layer, Series, axis_of, class_image, interval_bar, png, ramp_image, ranked, shrunk
from pipeline.report.maps import _where, groups_of, nice_half, scale_of
from pipeline.report.stands import Quantity, direction_sentence, identified_sentences, stocks_sentence
from pipeline.steps.report import report

ROWS, COLS, SIDE = 30, 40, 20.0


# ---------------------------------------------------------------- factories


def make_settings(**changes):
    settings = {
        "name": "small",
        "title": "Hills & <valleys>",
        "results": "results/small",
        "resources": "resources/small",
        "area": {"crs": "EPSG:32650", "bounds": (500000, 2999400, 500800, 3000000), "resolution_m": SIDE},
        "years": [2019, 2024],
        "sensors": {"sentinel-2-l2a": {"catalog": "earth-search", "season": ("06-01", "09-30")}},
        "lidar": {"als2019": {"points": "points", "date": "2019-07-01"}},
        "plots": {"file": "plots.csv", "trees": "trees.csv"},
        "stands": {"file": "stands.gpkg"},
        "targets": ["agb"],
    }
    return settings | changes


def make_maps(folder, study, grid, *, hole=True):
    """Every product as a raster: a slope in x, no forest in the first row, missing in the last columns."""
    maps = {}
    for product in products_of(study).values():
        slope = np.tile(np.linspace(50, 250, COLS, dtype="float32"), (ROWS, 1))
        bands = {}
        for band in product.bands:
            array = {
                "in_domain": np.ones_like(slope),
                "dissimilarity_index": slope / 1000,
                "local_point_density": np.round(slope / 50),
                "predictor_set": np.where(slope > 150, 2, 1).astype("float32"),
                "forest_class": np.tile(np.arange(COLS) % 4, (ROWS, 1)).astype("float32"),
            }.get(
                band.name, slope * (0.2 if band.name.endswith("_se") else 1.0) - (150 if product.kind == "sink" else 0)
            )
            array = array.copy()
            array[0] = 0
            if hole:
                array[:, -4:] = np.nan
            bands[band.name] = array
        maps[product.name] = folder / f"{product.name}.tif"
        store.write_raster(maps[product.name], bands, geobox=grid.geobox, units=product.units)
    return maps


def make_stands(
    study, *, count=4, flags=("sink", "source", "not distinguishable from zero", "no estimate"), strata=True
):
    """Squares in rows; the k-th has tree carbon 50 + k, SE 5, and the k-th flag."""
    import geopandas as gpd

    number = np.arange(count)
    side = 800 / np.ceil(np.sqrt(count))
    per_row = int(np.ceil(np.sqrt(count)))
    west, south = 500000 + side * (number % per_row), 2999400 + side * (number // per_row)
    frame = gpd.GeoDataFrame(
        {"stand": [f"S{k:03d}" for k in number], "stratum": ["pine & fir" if strata else None] * count},
        geometry=box(west, south, west + side, south + side),
        crs="EPSG:32650",
    )
    frame["area_ha"] = frame.area / 1e4 + number[::-1] * 1e-6
    for year in study.years:
        frame[f"cover_percent_{year}"] = 100.0
        for target in study.targets:
            spread_columns(frame, f"reported_{TARGETS[target]['column']}", 85.0 + number, 8.0, f"{year}")
        frame[f"forest_percent_{year}"] = frame[f"in_domain_percent_{year}"] = 100.0
        if study.stock_target:
            spread_columns(frame, "reported_tree_carbon_t_ha", 50.0 + number, 5.0, f"{year}")
            frame[f"reported_tree_carbon_t_{year}"] = (50.0 + number) * frame["area_ha"]
    for a, b in zip(study.years[:-1], study.years[1:], strict=True):
        if study.stock_target:
            mean = np.array([8.0 if flags[k % len(flags)] == "sink" else -8.0 for k in number])
            mean[[flags[k % len(flags)] == "no estimate" for k in number]] = np.nan
            spread_columns(frame, "reported_net_removal_t_co2_ha_yr", mean, 2.0, f"{a}_{b}")
            frame[f"reported_net_removal_t_co2_yr_{a}_{b}"] = mean * frame["area_ha"]
            frame[f"direction_{a}_{b}"] = [flags[k % len(flags)] for k in number]
    return frame


def spread_columns(frame, name, mean, se, suffix):
    for ending, values in (
        ("", mean),
        ("_se", np.full(len(frame), se)),
        ("_low", mean - 2 * se),
        ("_high", mean + 2 * se),
    ):
        frame[f"{name}{ending}_{suffix}"] = values


def make_estimates(study, stands):
    """Long rows whose variance of 100 splits into 40, 10 and 50."""
    rows = []
    for target in study.targets:
        spans = [(y, y) for y in study.years] + list(zip(study.years[:-1], study.years[1:], strict=True))
        for first, last in spans:
            for level, names in (("stand", stands["stand"]), ("project", ["project"])):
                rows += [
                    {
                        "level": level, "stand": name, "target": target, "first_year": first, "last_year": last,
                        "area_ha": 4.0,
                        "mean": 100.0, "se": 10.0, "low": 80.0, "high": 120.0, "sampling_variance": 40.0,
                        "shared_variance": 10.0, "residual_variance": 50.0, "degrees_of_freedom": 11, "has_total": True,
                        "in_domain_percent": 91.0, "dissimilarity_index": 0.21, "local_point_density": 4.4,
                    }
                    for name in names
                ]  # fmt: skip
    return pd.DataFrame(rows)


def make_project(study):
    quantities = [
        (TARGETS[t]["column"], TARGETS[t]["units"], y, y, 100.0, 10.0) for t in study.targets for y in study.years
    ]
    if study.stock_target:
        quantities += [("tree_carbon_t_ha", "t C/ha", y, y, 59.22, 4.5) for y in study.years]
        spans = zip(study.years[:-1], study.years[1:], strict=True)
        quantities += [("net_removal_t_co2_ha_yr", "t CO2/ha/yr", a, b, -3.21, 1.2) for a, b in spans]
    return pd.DataFrame(
        [
            {
                "quantity": name, "units": units, "first_year": first, "last_year": last, "mean": mean, "se": se,
                "low": mean - 2 * se, "high": mean + 2 * se, "area_ha": 1000.0, "total": mean * 1000,
                "total_se": se * 1000,
                "estimator": "model-based synthetic", "degrees_of_freedom": 11, "stands": 4, "stands_without_total": 0,
                "cover_percent": 100.0,
            }
            for name, units, first, last, mean, se in quantities
        ]
    )  # fmt: skip


CHOSEN = {
    "name": "auto",
    "inner": {"name": "ridge"},
    "table": [
        {"regressor": "linear", "rmse_percent": 31.46, "bias_percent": 0.4, "r2": 0.5},
        {"regressor": "ridge", "rmse_percent": 28.12, "bias_percent": -1.2, "r2": 0.61},
        {"regressor": "mix", "why": "no plots for it"},
    ],
}


def make_structure(range_m, nugget, *, identified=True):
    reading = {"weight": 1.0, "range_m": range_m, "smooth": 1 - nugget, "patch": 0.0, "nugget": nugget}
    return {
        "range_m": range_m, "nugget": nugget, "patch": 0.0, "identified": identified, "degrees_of_freedom": 9.0,
        "readings": [reading],
    }  # fmt: skip


def make_model(study, target, *, warnings=()):
    def one(name, predictors):
        return {
            "name": name, "predictors": predictors, "dates": list(study.years), "plot_ha": 0.04,
            "machine": {"name": "linear"} if name == "lidar" else CHOSEN,
            "residuals": {
                "scale": 1.0, "power": 0.5, "floor": 1.0, "between_dates": 0.6, "change_scale": 1.0,
                "level": make_structure(640.0, 0.3, identified=name == "lidar"), "change": make_structure(150.0, 0.8),
            },
            "domain": {"scale": [2.0], "centre": [0.0], "plots": [[0.0]], "mean_distance": 1.0, "threshold": 0.37},
            "scores": {"n": 24, "mean": 100.0, "rmse": 21.3, "rmse_percent": 21.3, "bias": -1.2, "bias_percent": -1.2,
                       "r2": 0.82},
        }  # fmt: skip

    return {
        "target": target, "regressor": "linear", "transform": "sqrt", "clusters": 12, "influence": [[0.0]],
        "shared": [[0.0]],
        "sets": [one("lidar", ["zq95"]), one("satellite", ["s2_ndmi"])], "warnings": list(warnings),
        "counts": {"plots": 12, "rows": 24, "clusters": 12},
    }  # fmt: skip


def make_training(study, target):
    number = np.arange(12)
    frame = pd.DataFrame(
        {
            "plot": [f"P{k:02d}" for k in number],
            "x": 500050.0 + 60 * number,
            "y": 2999700.0,
            "kept": number != 3,
            "cluster": [f"P{k:02d}" for k in number],
            "zq95": 10.0 + number,
            "s2_ndmi": 0.02 * number,
            "reason": np.where(number == 3, "disturbed between measurement and image or campaign", ""),
            "area_ha": 0.04,
            "support_ratio": np.where(number == 5, 4.0, 1.0),
            TARGETS[target]["column"]: 100.0,
            "f_allometry_1": 2.0,
        }
    )
    return pd.concat([frame.assign(year=year) for year in study.years], ignore_index=True)


def make_left_out(study):
    plots = [f"P{k:02d}" for k in range(12) if k != 3]
    rows = [(s, p, p, y) for s in ("lidar", "satellite") for p in plots for y in study.years]
    frame = pd.DataFrame(rows, columns=["set_name", "plot", "cluster", "year"])
    frame["observed"] = 100.0 + 10 * (np.arange(len(frame)) % 7)
    return frame.assign(predicted=110.0)


def half_widths(sd, n):
    """By level, of normal errors."""
    return {level: np.full(n, NormalDist().inv_cdf(0.5 + level / 200) * sd) for level in LEVELS}


def make_validation():
    """Scores of two sets by two schemes, and the third as too few plots."""
    from models.validation import SCHEMES, all_scores

    observed = np.array([80.0, 100, 120, 140, 160, 180])
    known = all_scores(
        observed, observed - 10, np.full(6, 8.0), half_widths(8.0, 6), degrees_of_freedom=np.full(6, 1e9), confidence_percent=90,
        groups={"stratum": np.array(["fir"] * 4 + ["oak"] * 2)},
    )  # fmt: skip
    rows = [
        {"set_name": name, "scheme": scheme, "folds": 6, "missing": 0, "failed": [], **known}
        for name in ("lidar", "satellite") for scheme in ("clusters", "map")
    ]  # fmt: skip
    few = "too few plots stay for a fit"
    failed = [{"fold": 0, "rows": 6, "why": few}]
    rows.append({"set_name": "satellite", "scheme": "blocks", "folds": 2, "missing": 6, "failed": failed, "why": few})
    distances = [
        {"set_name": name, "scheme": scheme, "distance_m": [0.0, 100.0 * (2 + (scheme is None)), 400.0, 500.0]}
        for name in ("lidar", "satellite") for scheme in (None, "clusters", "map")
    ]  # fmt: skip
    about = {"schemes": SCHEMES, "confidence_percent": 90.0, "quantiles_percent": [0, 50, 95, 100]}
    return about | {"scores": rows, "distances": distances}


def make_validated():
    number = np.arange(12)
    lidar = pd.DataFrame(
        {"set_name": "lidar", "scheme": "map", "fold": number % 4, "plot": [f"P{k:02d}" for k in number], "year": 2019,
         "x": 500050.0 + 60 * number, "y": 2999700.0, "observed": 120.0, "sd": 8.0,
         "predicted": np.where(number == 3, np.nan, 100.0)}
    )  # fmt: skip
    return pd.concat([lidar, lidar.assign(set_name="satellite", fold=0)], ignore_index=True)


def make_card(study, grid, stands, target, warnings=()):
    from pipeline.model_card import card_of

    return card_of(
        study=study.model_dump(mode="json"), grid=grid.settings(), target=target,
        model=make_model(study, target, warnings=warnings), training=make_training(study, target),
        validation=make_validation(), validated=make_validated(), estimates=make_estimates(study, stands),
        predictors={"zq95": {"units": "m", "title": "95 % quantile of heights"}}, caveats=[], software={"numpy": "2"},
        files={"run": "../run.json"},
    )  # fmt: skip


CHECKS = {
    "laws": [{"name": "an interval holds its estimate", "holds": True, "detail": "9 looked at"}],
    "truth": None,
    "comparisons": [],
}

SCENES = {
    "sensor": "sentinel-2-l2a",
    "items": [{"id": "a", "year": 2019}, {"id": "b", "year": 2024}],
    "left_out": [
        {"id": "c", "reason": "cloud cover 83.2 % is above max_cloud_percent 80"},
        {"id": "d", "reason": "cloud cover 97 % is above max_cloud_percent 80"},
        {"id": "e", "reason": "no quality band"},
    ],
}


def make_inputs(folder, *, checks=CHECKS, stands=None, project=None, warnings=(), hole=True, notes=(), **changes):
    """Everything `report` is given, written to a folder."""
    study = study_from(make_settings(**changes))
    grid = Grid.covering(study.area.bounds, crs=study.area.crs, resolution_m=SIDE)
    stands = make_stands(study) if stands is None else stands(study)
    files = {name: folder / f"{name}.parquet" for name in ("table", "estimates")}
    files |= {"project": folder / "project.csv", "checks": folder / "checks.json"}
    store.write_table(files["table"], stands)
    store.write_table(files["estimates"], make_estimates(study, stands))
    store.write_table(files["project"], make_project(study) if project is None else project)
    store.write_json(files["checks"], checks)
    groups = {"cards": {}, "models": {}, "left_out": {}, "training": {}, "validation": {}, "validated": {}, "scenes": {}}
    for target in study.targets:
        groups["models"][target] = folder / f"model_{target}.json"
        groups["left_out"][target] = folder / f"left_out_{target}.parquet"
        groups["training"][target] = folder / f"training_{target}.parquet"
        groups["validation"][target] = folder / f"validation_{target}.json"
        groups["validated"][target] = folder / f"validated_{target}.parquet"
        store.write_json(groups["validation"][target], make_validation())
        store.write_table(groups["validated"][target], make_validated())
        store.write_json(groups["models"][target], make_model(study, target, warnings=warnings))
        store.write_table(groups["left_out"][target], make_left_out(study))
        store.write_table(groups["training"][target], make_training(study, target))
        groups["cards"][target] = folder / f"card_{target}.json"
        store.write_json(groups["cards"][target], make_card(study, grid, stands, target, warnings))
    for sensor in study.sensors:
        groups["scenes"][sensor] = folder / f"{sensor}.json"
        store.write_json(groups["scenes"][sensor], SCENES)
    return {
        "study": study.model_dump(mode="json"),
        "grid": grid.settings(),
        "products": [asdict(product) for product in products_of(study).values()],
        "maps": make_maps(folder, study, grid, hole=hole),
        "notes": list(notes),
        **files,
        **groups,
    }


def page_of(folder, **changes):
    report(page=folder / "report.html", **make_inputs(folder, **changes))
    return (folder / "report.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Addresses, text and nesting of a page."""

    VOID = frozenset({"meta", "link", "br", "input", "image", "use", "rect", "path", "circle"})

    def __init__(self, page):
        super().__init__()
        self.addresses, self.ids, self.open, self.words, self.rows, self.unbalanced = [], [], [], [], 0, []
        self.feed(page)
        self.text = re.sub(r"[ \n]+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.addresses += [named[key] for key in ("href", "src", "srcset", "action") if named.get(key)]
        self.ids += [named["id"]] if "id" in named else []
        self.rows += tag == "tr" and "data-row" in named
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The page of a study with two years, satellite and lidar."""
    folder = tmp_path_factory.mktemp("usual")
    return Reader(page_of(folder, notes=["Campaigns differ."]))


# ---------------------------------------------------------------- the page


def test_the_page_fetches_nothing(tmp_path):
    page = page_of(tmp_path)
    assert all(address.startswith(("#", "data:")) for address in Reader(page).addresses)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page and "fetch(" not in page and "XMLHttpRequest" not in page


def test_every_element_is_closed_and_every_id_is_used_once(usual):
    assert usual.unbalanced == [] and usual.open == []
    assert len(usual.ids) == len(set(usual.ids))


def test_links_inside_the_page_lead_somewhere(usual):
    assert {address[1:] for address in usual.addresses if address.startswith("#")} <= set(usual.ids)


def test_what_a_user_wrote_is_escaped(tmp_path):
    page = page_of(tmp_path)
    assert "<valleys>" not in page
    assert "Hills &amp; &lt;valleys&gt;" in page
    assert "pine &amp; fir" in page


def test_the_same_results_give_the_same_bytes(tmp_path):
    inputs = make_inputs(tmp_path)
    report(page=tmp_path / "one.html", **inputs)
    report(page=tmp_path / "two.html", **inputs)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_headlines_quote_the_project_with_units_and_interval(usual):
    assert "59.2 t C/ha" in usual.text
    assert "90 % interval: 50.2 to 68.2" in usual.text
    assert f"59{words.THOUSANDS}200 t C" in usual.text


def test_a_loss_is_called_a_loss(usual):
    assert f"{words.MINUS}3.2 t CO2/ha/yr" in usual.text
    assert "The forest lost more than it took up." in usual.text


def test_the_page_says_what_intervals_hold_and_what_not(usual):
    assert "errors that all plots share (allometry)" in usual.text
    assert "the root:shoot ratio and the carbon fraction" in usual.text


def test_flagged_stands_stand_beside_what_chance_would_flag(usual):
    assert (
        "of 3 stands with an estimate, 1 is flagged as sinks, 1 as sources, and 1 cannot be told from zero"
        in usual.text
    )
    assert "about 0.15 of 3 as sinks" in usual.text


def test_missing_pixels_are_named_in_the_legend(usual):
    assert "no estimate" in usual.text
    assert "10 % without estimate" in usual.text


def test_a_map_without_missing_pixels_names_none(tmp_path):
    page = Reader(page_of(tmp_path, hole=False, stands=lambda study: make_stands(study, flags=("sink",))))
    assert "without estimate" not in page.text


def test_scores_stand_by_what_is_left_out_with_a_plot(tmp_path):
    """Ten below everywhere of a mean of 130: bias -7.7 %; intervals reach 12.9 either way, so all six are inside."""
    text = re.sub(r"\s+", " ", page_of(tmp_path))
    row = re.search(r'<tr style="font-weight:600"><td>lidar</td>(.*?)</tr>', text)[1]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells[0].startswith("folds as far from their training plots")
    assert cells[1:7] == ["6", "7.7 %", "−7.7 %", "0.91", "1.00", "100 %"]
    assert cells[7] == "26" and cells[9] == "1.25" and cells[10] == "−10"  # 2 x 12.9 wide; 10 over 8
    assert "too few plots stay for a fit" in text
    assert text.count("fold 4</title>") == 2 and "plot P03: fold 4, not predicted" in text


def test_scenes_left_out_are_counted_by_reason(usual):
    assert "2 used, 3 left out:" in usual.text
    assert "2: for example: cloud cover 83.2 % is above max_cloud_percent 80" in usual.text
    assert "1: no quality band" in usual.text


def test_a_sensor_that_nothing_was_made_of_is_neither_method_nor_source(tmp_path):
    inputs = make_inputs(tmp_path)
    (sensor,) = inputs["scenes"]
    for scenes, told in ((inputs["scenes"], True), ({}, False)):
        report(page=tmp_path / "report.html", **inputs | {"scenes": scenes})
        text = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text
        assert (f"Composite of {sensor}" in text) == ("Sentinel-2 MSI" in text) == told


def test_the_standard_that_is_followed_is_shown_in_its_order_with_its_codes(tmp_path):
    entries = [
        {"code": "F09", "name": "Burn", "ours": "s2_nbr", "unit": "1", "about": "Normalised burn ratio"},
        {"code": "F01", "name": "Wetness <index>", "ours": "-", "unit": "", "about": "absent: needs a catchment"},
    ]
    standard = {"title": "A list", "source": "a test", "status": "user, drawn up by the user", "entries": entries}
    page = Reader(page_of(tmp_path))
    assert "standard" not in page.ids
    report(page=tmp_path / "report.html", standard=standard, **make_inputs(tmp_path))
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "standard" in page.ids and "A list. Source: a test; status: user, drawn up by the user." in page.text
    assert re.search(r"F09 Burn s2_nbr 1 Normalised burn ratio\s+F01 Wetness <index> -\s+absent: needs a catchment", page.text)


def test_plots_left_out_are_counted_by_reason(usual):
    assert "2 of 24 measurements were left out:" in usual.text
    assert "2: disturbed between measurement and image or campaign" in usual.text


def test_plots_of_another_size_than_the_cells_are_flagged(usual):
    assert "2 of 24 measurements come from plots whose area differs" in usual.text


def test_notes_and_model_warnings_are_shown(tmp_path):
    page = Reader(
        page_of(tmp_path, notes=["No lidar within 1 years of 2024."], warnings=["predictor set x is left out"])
    )
    assert "No lidar within 1 years of 2024." in page.text
    assert "predictor set x is left out" in page.text


def test_scores_and_residual_structure_are_shown_per_set(usual):
    assert "21.3 Mg/ha (21 %)" in usual.text
    assert "0.82" in usual.text and "640 m" in usual.text and "30 %" in usual.text
    assert "lidar change between dates 150 m 80 % yes 0.60" in usual.text
    assert "no: every likely reading counts" in usual.text
    assert "11 degrees of freedom" in usual.text


def test_each_set_names_its_regressor_and_what_it_was_compared_with(usual):
    assert "lidar linear zq95 plots one level per year" in usual.text and "satellite ridge s2_ndmi" in usual.text
    assert "Regressors compared for satellite" in usual.text and "Regressors compared for lidar" not in usual.text
    assert "ridge 28.1 % −1.2 % 0.61 linear 31.5 % +0.4 % 0.50 mix no plots for it" in usual.text


def test_variance_parts_are_shares_of_the_whole(usual):
    assert re.search(r"10 % 40 % 50 %", usual.text), "shared, plots, unexplained"
    assert "2024, project: 50 % of the variance is what the predictors leave unexplained of the place itself;" in usual.text


def test_shares_of_stands_are_said_of_the_model_and_what_is_of_the_place_counts_together(usual):
    from pipeline.report.uncertainty import _mainly

    assert "2024, mean of 4 stands by the model: 50 % of the variance is what the predictors leave unexplained" in usual.text
    assert "Standard error of every stand by the model, 2024" in usual.text and "median stand" not in usual.text
    shares = {"shared_variance": 5.0, "sampling_variance": 40.0, "residual_variance": 30.0, "area_effect_variance": 25.0}
    row = {"level": "stands", "count": 46, "first_year": 2024, "last_year": 2024, "shares_percent": shares}
    (said,) = _mainly({"uncertainty": {"parts": [row]}}, list(shares), "project")
    assert said.startswith("2024, mean of 46 stands by the model: 55 % of the variance is what the predictors leave unexplained")
    assert "what an area without plots has of its own; better predictors" in said and said.endswith("plots inside the area help.")


def extrapolating(folder, inside, *, forest=80.0, **changes):
    """A page of whose stands' land so much, in percent, lies within what the plots show."""
    inputs = make_inputs(folder, **changes)
    table = store.read_table(inputs["estimates"]).assign(in_domain_percent=inside, forest_percent=forest)
    store.write_table(inputs["estimates"], table)
    report(page=folder / "report.html", **inputs)
    return Reader((folder / "report.html").read_text(encoding="utf-8")).text


def test_a_headline_that_is_mostly_extrapolated_says_so_where_it_stands_and_by_the_stands(tmp_path):
    """60 of 100 ha lie within, of the 80 ha of forest so 40 outside: half of it."""
    page = extrapolating(tmp_path, 60.0)
    said = "50 % of the forest lies outside what the plots show: the model extrapolates there, and its intervals do not hold"
    assert page.count(said) == 3, "at both headlines and by the stands"
    assert f"Aboveground biomass 2024: {said}" in page
    assert page.index(said) < page.index("All numbers of the project")


def test_a_little_extrapolation_is_not_said_at_the_headline_nor_much_at_one_by_design(tmp_path):
    assert "outside what the plots show" not in extrapolating(tmp_path, 85.0)  # 15 of 80 ha: 19 %
    by_design = make_project(study_from(make_settings())).assign(estimator="difference", plots=40, clusters=40)
    page = extrapolating(tmp_path, 60.0, project=by_design)
    assert page.count("of the forest lies outside what the plots show") == 1, "by the stands alone"


def test_land_without_forest_is_no_part_of_what_the_plots_cover_on_the_map():
    from pipeline.report.maps import DOMAIN_CLASSES, NOT_FOREST, _forest_alone

    domain = Layer(np.array([[1.0, 1.0, 0.0, np.nan]]), 25.0)
    served = Layer(np.array([[0.0, 2.0, 1.0, np.nan]]), 25.0)
    assert np.array_equal(_forest_alone(domain, served).values, [[NOT_FOREST, 1.0, 0.0, np.nan]], equal_nan=True)
    assert DOMAIN_CLASSES[NOT_FOREST][0] == "not forest"


def test_scores_by_stratum_say_whose_strata_they_are(usual):
    assert "Strata here are those that the plots themselves carry in their table" in usual.text


def test_a_level_is_told_by_plots_or_by_the_cells_that_a_set_learned_from():
    from pipeline.report.model import _strata_rows

    row = {"stratum": "fir", "plots": 9, "clusters": 5, "difference": 4.0, "se": 2.0, "own": True, "weight": 0.97}
    assert _strata_rows([row], "plots")[0]["told_by"] == "97 % its own plots"
    assert _strata_rows([row], "predictions")[0]["told_by"] == "97 % its own cells"
    assert _strata_rows([row | {"own": False, "weight": None}], "plots")[0]["told_by"] == "all strata"


def test_every_stand_has_a_bar_as_high_as_its_standard_error_parted_as_its_variance(usual, tmp_path):
    from pipeline.report.figures import Bar, stacked

    svg = stacked([Bar(80.0, [(25, "#111111"), (75, "#222222")], "a"), Bar(40.0, [(100, "#222222")], "b <c>")], [(1, "2 ha")],
                  x_title="area", y_title="error")  # fmt: skip
    bars = [(float(h), c) for h, c in re.findall(r'height="([\d.]+)" fill="(#\w+)"', svg)]
    assert [colour for _, colour in bars] == ["#111111", "#222222", "#222222"]
    (low, _), (high, _), (other, _) = bars
    assert high == pytest.approx(3 * low, rel=0.02) and low + high == pytest.approx(2 * other, rel=0.02)
    assert "b &lt;c&gt;" in svg and "2 ha" in svg
    page = page_of(tmp_path)
    assert page.count("standard error 10 (shared 10 %, plots 40 %, unexplained 50 % of the variance)") == 4


def test_scores_by_stratum_say_how_many_plots_they_rest_on(usual):
    """Ten below everywhere: of four plots of 80 to 140, mean 110, and of two of 160 and 180."""
    assert "lidar stratum fir 4 4 110 9.1 %" in usual.text and "lidar stratum oak 2 2 170 5.9 %" in usual.text
    assert usual.text.count("few plots: says little") == 4


def test_plots_without_a_stratum_are_said_to_have_none(tmp_path):
    inputs = make_inputs(tmp_path)
    plain = make_validation()
    for row in plain["scores"]:
        row["by_group"] = {}
    store.write_json(inputs["validation"]["agb"], plain)
    report(page=tmp_path / "report.html", **inputs)
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "The plots carry no stratum" in page.text and "By stratum and year" not in page.text


def test_each_set_has_its_calibration_coverage_folds_and_distances(usual):
    for said in (
        "Measured against predicted, from lidar", "Measured against predicted, from satellite", "Calibration: right on average?",
        "Do intervals hold what they promise?", "Folds like the map, lidar", "Folds like the map, satellite",
        "How far predictions reach, lidar", "4 folds: plots of one colour",
    ):  # fmt: skip
        assert said in usual.text, said


def test_the_area_of_applicability_is_mapped_and_its_thresholds_told(usual, tmp_path):
    assert "Dissimilarity index 0" in usual.text and "Local point density plots" in usual.text
    assert "no plot is like it: outside" in usual.text, "the first row has none"
    assert "lidar 0.37, satellite 0.37." in usual.text
    assert "2024 91.0 % 0.21 4.4 0 of 4" in usual.text
    settings = {"model": {"applicability_maps": False}}
    without = Reader(page_of(tmp_path, **settings))
    assert "Local point density plots" not in without.text and "Reach of the plots" in without.text


def test_the_page_says_what_the_map_is_not_for_and_where_its_card_lies(usual):
    assert "single trees" in usual.text and "model_cards/agb.json" in usual.text
    assert "predictor set satellite: how far residuals reach is poorly identified by these plots (ranges of about" in usual.text


def test_saturation_is_said_above_the_charts(tmp_path):
    """The highest predictions are 10 too low with no error to speak of."""
    from models.validation import all_scores

    inputs = make_inputs(tmp_path)
    observed = np.array([80.0, 100, 120, 140, 160, 180])
    predicted = np.array([80.0, 100, 120, 140, 150, 170.5])
    low = all_scores(
        observed, predicted, np.full(6, 8.0), half_widths(8.0, 6), degrees_of_freedom=np.full(6, 9.0), confidence_percent=90
    )
    scores = make_validation()
    scores["scores"] = [{"set_name": "lidar", "scheme": "map", "folds": 6, "missing": 0, "failed": [], **low}]
    store.write_json(inputs["validation"]["agb"], scores)
    report(page=tmp_path / "report.html", **inputs)
    text = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "lidar: the highest predictions level off. The 2 plots predicted highest, 160 Mg/ha on average, hold 9.8" in text


def test_lines_are_drawn_through_their_points_in_order_and_a_level_is_marked():
    from pipeline.report.figures import curves

    one = Series("a", "#123456", np.array([50.0, np.nan, 90.0]), np.array([40.0, 1.0, 100.0]))
    svg = curves([one], x_title="promised", y_title="inside", x_limits=(50, 100), y_limits=(0, 100), reference=90.0)
    line = re.search(r'stroke="#123456" stroke-width="1.8" d="M([\d. L]+)"', svg)[1]
    (x0, y0), (x1, y1) = [tuple(map(float, point.split())) for point in line.split("L")]
    assert x0 < x1 and y0 > y1 and svg.count("<circle") == 2
    assert 'class="line"' in svg and 'class="line"' not in curves([one], x_title="", y_title="", reference="none")


def test_laws_are_listed_and_a_broken_one_is_named(tmp_path):
    broken = CHECKS | {"laws": [{"name": "a stock is never negative", "holds": False, "detail": "3 break it"}]}
    page = page_of(tmp_path, checks=broken)
    assert 'class="broken">broken' in page and "3 break it" in page


# ---------------------------------------------------------------- studies that lack something


def test_one_date_shows_no_sink(tmp_path):
    page = Reader(page_of(tmp_path, years=[2019]))
    assert "change between dates" not in page.text
    assert "Net removal" not in page.text and "chance alone" not in page.text
    assert "Tree carbon 2019" in page.text


def test_lidar_alone_lists_no_scenes(tmp_path):
    page = Reader(page_of(tmp_path, sensors={}))
    assert "Scenes of" not in page.text and "Composite" not in page.text
    assert "Airborne lidar: als2019 (2019-07-01, leaf-on)" in page.text.replace(" :", ":")


def test_a_study_without_carbon_reports_what_it_maps(tmp_path):
    page = Reader(page_of(tmp_path, targets=["basal_area"]))
    assert "m2/ha" in page.text and "Basal area" in page.text
    assert "t C/ha" not in page.text and "root:shoot" not in page.text


def test_two_targets_are_both_shown(tmp_path):
    page = Reader(page_of(tmp_path, targets=["agb", "dominant_height"]))
    assert "Dominant height 2024" in page.text and "Tree carbon 2024" in page.text
    assert page.ids.count("outlines") == 1


def test_a_project_without_any_total_says_so(tmp_path):
    page = Reader(page_of(tmp_path, project=pd.DataFrame()))
    assert "No stand is covered well enough for a total" in page.text


def test_stands_below_the_least_cover_are_counted_and_named(tmp_path):
    def stands(study):
        frame = make_stands(study)
        frame.loc[1, "cover_percent_2024"] = 41.0
        frame.loc[1, "reported_tree_carbon_t_2024"] = np.nan
        return frame

    page = Reader(page_of(tmp_path, stands=stands))
    assert "1 of 4 stands are covered by estimates to less than 80 %" in page.text
    assert "2024: 1 stands are covered to less than 80 % (S001)" in page.text
    assert "no total" in page.text


def test_a_stand_without_estimate_stays_in_the_table_and_is_hatched(tmp_path):
    def stands(study):
        frame = make_stands(study)
        columns = [name for name in frame if name.startswith("reported_tree_carbon")]
        frame.loc[2, columns] = np.nan
        return frame

    page = page_of(tmp_path, stands=stands)
    assert Reader(page).rows == 4
    assert "--a:url(#missing)" in page


def test_many_stands_are_cut_to_the_largest_and_that_is_said(tmp_path):
    page = Reader(page_of(tmp_path, stands=lambda study: make_stands(study, count=520)))
    assert page.rows == 500
    assert "the 500 largest of 520 stands" in page.text


def test_a_missing_map_is_named(tmp_path):
    inputs = make_inputs(tmp_path)
    del inputs["maps"]["sink_2019_2024"]
    with pytest.raises(FileNotFoundError, match="the map sink_2019_2024 is missing"):
        report(page=tmp_path / "report.html", **inputs)


# ---------------------------------------------------------------- truth and other maps


def make_truth():
    stands = [
        {
            "stand": "a",
            "estimand": "agb_2024",
            "truth": 100.0,
            "mean": 110.0,
            "low": 90.0,
            "high": 130.0,
            "covered": True,
        },
        {
            "stand": "b",
            "estimand": "agb_2024",
            "truth": 10.0,
            "mean": 60.0,
            "low": 40.0,
            "high": 80.0,
            "covered": False,
        },
    ]
    summary = {
        "estimand": "agb_2024", "bias_percent": 4.2, "coverage_percent": 50.0, "n": 2, "project_truth": 55.0,
        "composites_n": 4, "composites_coverage_percent": 75.0, "composites_bias_percent": -3.1, "reported_n": 5,
        "reported_coverage_percent": 80.0, "reported_bias_percent": 1.7,
        "project_mean": 57.3, "project_low": 50.1, "project_high": 64.5,
    }  # fmt: skip
    about = {"quantity": "net_removal_t_co2_ha_yr", "units": "t CO2/ha/yr", "first_year": 2019, "last_year": 2024, "truth": 11.63}
    project = [
        about | {"estimator": "model-based synthetic", "reported": False, "mean": 10.7, "se": 3.2, "low": 5.3, "high": 16.1,
                 "covered": True},
        about | {"estimator": "difference", "reported": True, "mean": 9.4, "se": 1.2, "low": 7.3, "high": 11.5, "covered": False},
        about | {"estimator": "greg", "reported": False, "mean": 9.9, "se": 1.2, "low": 7.8, "high": 12.0, "covered": True},
    ]  # fmt: skip
    return {"stands": stands, "summary": [summary], "project": project}


def test_planted_truth_stands_beside_the_estimate(tmp_path):
    page = Reader(page_of(tmp_path, checks=CHECKS | {"truth": make_truth()}))
    assert "Aboveground biomass 2024" in page.text
    assert "+4.2 %" in page.text and "50 %" in page.text and "5 +1.7 % 80 %" in page.text and "4 \u22123.1 % 75 %" in page.text
    assert "stand b: planted 10.0, estimated 60.0" in page.text


def test_the_words_under_the_headline_are_of_the_estimator_that_made_it(tmp_path):
    study = study_from(make_settings())
    drawn = make_project(study).assign(estimator="difference", plots=120, clusters=54)
    text = Reader(page_of(tmp_path, project=drawn)).text
    assert "are by the estimator difference (the map corrected by what it is off at probability plots)" in text
    assert "which plots chance has drawn (120 plots in 54 clusters)" in text and "does not rest on the model being right" in text
    assert "intervals of stands, maps and all that the model says hold which plots happened" in text
    assert "project by the model" in text and "Uncertainty of the project" in text


def test_a_project_by_the_model_has_the_words_of_the_model_alone(usual):
    assert "The 90 % intervals hold which plots happened to be sampled" in usual.text
    assert "chance has drawn" not in usual.text and "project by the model" not in usual.text


def test_stocks_that_differ_from_the_net_removal_are_counted_and_said_why():
    """Of four with both numbers two are off by more than 1 t CO2/ha/yr, one of these with the other sign."""
    stands = pd.DataFrame({
        "reported_net_removal_t_co2_ha_yr_2019_2024": [5.0, 5.0, 1.0, 5.0, np.nan],
        "difference_of_stocks_t_co2_ha_yr_2019_2024": [5.5, 8.0, -2.0, 4.1, 3.0],
        "stocks_disagree_2019_2024": [False, False, True, False, False],
    })  # fmt: skip
    said = stocks_sentence(stands, 2019, 2024)
    assert "in 2 of 4 stands it is off by more than 1 t CO2/ha/yr, and in 1 it has the other sign" in said
    assert "beyond" not in said and "In none are they farther apart than the errors of both explain" in said
    beyond = stocks_sentence(stands.assign(stocks_beyond_error_2019_2024=[False, True, False, False, False]), 2019, 2024)
    assert "In 1 they are farther apart than the errors of both explain (stocks_beyond_error in the tables)" in beyond
    alike = stands.assign(difference_of_stocks_t_co2_ha_yr_2019_2024=5.0, reported_net_removal_t_co2_ha_yr_2019_2024=5.0)
    assert stocks_sentence(alike.assign(stocks_disagree_2019_2024=False), 2019, 2024) == ""
    assert stocks_sentence(stands[[]], 2019, 2024) == ""


def test_stands_whose_residual_structure_is_not_identified_are_counted_beside_their_table():
    """Of three stands with an estimate one is told, of a fourth there is none."""
    stock = Quantity("tree_carbon_t_ha", "Tree carbon 2024", "t C/ha", "2024", "stock")
    sink = Quantity("net_removal_t_co2_ha_yr", "Net removal 2019 to 2024", "t CO2/ha/yr", "2019_2024", "sink")
    stands = pd.DataFrame({
        "reported_tree_carbon_t_ha_2024": [50.0, 60.0, 70.0, np.nan],
        "range_identified_agb_mg_ha_2024": [True, False, False, False],
        "reported_net_removal_t_co2_ha_yr_2019_2024": [1.0, 2.0, 3.0, np.nan],
        "range_identified_net_removal_t_co2_ha_yr_2019_2024": [True, True, True, False],
    })  # fmt: skip
    (said,) = identified_sentences(stands, [stock, sink], "agb_mg_ha")
    assert "is not identified by the plots: Tree carbon 2024 in 2 of 3 stands (range_identified in the tables is false)" in said
    both = stands.assign(range_identified_net_removal_t_co2_ha_yr_2019_2024=False)
    (said,) = identified_sentences(both, [stock, sink], "agb_mg_ha")
    assert "Tree carbon 2024 in 2 of 3 stands and Net removal 2019 to 2024 in 3 of 3 stands" in said
    assert identified_sentences(stands.assign(range_identified_agb_mg_ha_2024=True), [stock, sink], "agb_mg_ha") == []


def test_both_paths_of_a_second_stage_are_compared_at_the_same_plots():
    from pipeline.report.model import _fitted_to

    compared = {"rmse": 54.5, "rmse_direct": 55.9, "outside": True}
    about = {"kind": "predictions", "of": "lidar", "cells": 604, "compared": compared}
    said = "what lidar predicts at 604 cells; at plots beyond lidar its RMSE is 54.5 Mg/ha, and 55.9 Mg/ha fitted to plots"
    assert _fitted_to(about, "Mg/ha") == said
    assert "at the plots that both predict" in _fitted_to(about | {"compared": compared | {"outside": False}}, "Mg/ha")


def test_the_number_that_is_reported_stands_beside_the_truth_with_the_verdict_on_it(tmp_path):
    """The headline misses the truth and the model alone does not: the page says both."""
    text = Reader(page_of(tmp_path, checks=CHECKS | {"truth": make_truth()})).text
    row = text[text.index("All stands together") :]
    assert "+11.6 +9.4 (+7.3 to +11.5) difference no +10.7 (+5.3 to +16.1) yes 2 of 3" in row


def test_a_study_without_truth_has_no_section_of_it(usual):
    assert "truth" not in usual.ids and "comparisons" not in usual.ids


def make_comparison(cells=30):
    rng = np.random.default_rng(1)
    theirs = rng.uniform(200, 500, cells)
    return {
        "name": "reference", "about": "A <posterior> median", "target": "agb", "year": 2019, "n": cells,
        "our_mean": 405.1,
        "their_mean": 412.5, "bias": -7.4, "rmse": 40.0, "correlation": 0.87, "inside_interval_percent": 91.0,
        "cells": [[float(value), float(value) + 20.0] for value in theirs],
    }  # fmt: skip


@pytest.mark.parametrize("cells", [30, 3000], ids=["points", "density"])
def test_maps_made_by_others_are_compared(tmp_path, cells):
    page = Reader(page_of(tmp_path, checks=CHECKS | {"comparisons": [make_comparison(cells)]}))
    assert "412 Mg/ha" in page.text and f"{words.MINUS}7.4 Mg/ha" in page.text
    assert "0.87" in page.text and "91.0 %" in page.text and "A <posterior> median" in page.text
    assert page.unbalanced == []


def test_a_map_without_interval_gets_no_share_inside_it(tmp_path):
    one = make_comparison() | {"inside_interval_percent": None}
    assert "they give none" in Reader(page_of(tmp_path, checks=CHECKS | {"comparisons": [one]})).text


# ---------------------------------------------------------------- numbers in words


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (62.3456, 4.52, "62.3"),
        (62.3456, 0.0452, "62.346"),
        (38234.0, 2760.0, f"38{words.THOUSANDS}200"),
        (3.0, 25.0, "3"),
        (-3.21, 1.2, f"{words.MINUS}3.2"),
        (-0.01, 1.2, f"{words.MINUS}0.01"),
        (29098.0, 4.2e6, f"29{words.THOUSANDS}000"),
        (2342.0, 3.1e5, f"2{words.THOUSANDS}300"),
        (67.3, 1200.0, "67"),
        (0.4, 1200.0, "0.4"),
        (1e-12, 1.2, "0.0"),
        (0.0, 1.2, "0.0"),
        (float("nan"), 1.0, words.MISSING),
    ],
)
def test_a_number_has_the_digits_its_error_warrants(value, error, expected):
    assert words.number(value, error=error) == expected


def test_a_number_without_error_has_three_digits():
    assert words.number(1234.5) == f"1{words.THOUSANDS}230"
    assert words.number(0.012345) == "0.0123"
    assert words.number(4.0, digits=2, signed=True) == "+4.0"
    assert words.number(None) == words.MISSING


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agb_2024", ("Aboveground biomass 2024", "Mg/ha")),
        ("agb_2019_2024", ("Aboveground biomass, change 2019 to 2024", "Mg/ha")),
        ("basal_area_2019", ("Basal area 2019", "m2/ha")),
        ("tree_carbon_t_ha_2024", ("Tree carbon 2024", "t C/ha")),
    ],
)
def test_an_estimand_is_read_with_its_unit(name, expected):
    assert words.estimand(name) == expected


def test_directions_are_counted_against_the_level_of_the_study():
    stands = pd.DataFrame(
        {"direction_2019_2024": ["sink"] * 30 + ["source"] * 10 + ["not distinguishable from zero"] * 60}
    )
    sentence = direction_sentence(stands, 2019, 2024, {"model": {"confidence_percent": 80.0}})
    assert "30 are flagged as sinks, 10 as sources, and 60 cannot" in sentence
    assert "about 10 of 100 as sinks and about 10 as sources (10 % on each side)" in sentence


def test_stands_where_the_map_saturates_are_counted_apart():
    stands = pd.DataFrame({"direction_2019_2024": ["sink"] * 3 + ["saturated: no map-only change"] * 2})
    sentence = direction_sentence(stands, 2019, 2024, {"model": {"confidence_percent": 90.0}})
    assert "of 3 stands with an estimate" in sentence and "2 more hold forest too dense for the map" in sentence


# ---------------------------------------------------------------- pictures


def decoded(picture):
    """Colours (rows, cols, 4) of a PNG, by a reader that is not ours."""
    from rasterio.io import MemoryFile

    with MemoryFile(picture) as memory, memory.open() as raster:
        index, palette = raster.read(1), raster.colormap(1)
    return np.array([[palette[value] for value in row] for row in index])


def test_a_png_is_read_back_by_another_reader():
    colours = decoded(png(np.array([[0, 1], [2, 1]], "uint8"), ["#000000", "#ff0000", "#0000ff"]))
    assert colours[0, 0, 3] == 0
    assert colours[0, 1].tolist() == [255, 0, 0, 255] and colours[1, 0].tolist() == [0, 0, 255, 255]


def test_missing_is_transparent_zero_is_apart_and_the_far_ends_take_the_end_colours():
    layer = Layer(np.array([[np.nan, 0.0, -5.0, 5.0, 999.0]], "float32"), 20.0)
    colours = decoded(ramp_image(layer, ("#000000", "#ffffff"), -10.0, 10.0))[0]
    assert colours[0, 3] == 0
    assert colours[1, :3].tolist() == [0xE9, 0xE5, 0xDC]
    assert colours[2, 0] == pytest.approx(64, abs=1) and colours[3, 0] == pytest.approx(191, abs=1)
    assert colours[4, :3].tolist() == [255, 255, 255]


def test_a_class_without_a_colour_is_transparent():
    colours = decoded(class_image(Layer(np.array([[1.0, 7.0]]), 0.0), {1: "#00ff00"}))[0]
    assert colours[0].tolist() == [0, 255, 0, 255] and colours[1, 3] == 0


def whole(array):
    return lambda row0, row1: array[row0:row1]


def test_making_a_map_small_keeps_its_mean_and_its_missing():
    array = np.arange(1200 * 600, dtype="float32").reshape(1200, 600)
    array[:, :300] = np.nan
    layer = shrunk(whole(array), array.shape, most_px=300)
    assert layer.values.shape == (300, 150)
    assert layer.missing_percent == 50.0
    assert np.isnan(layer.values[:, :75]).all()
    assert float(layer.valid.mean()) == pytest.approx(float(np.nanmean(array)), rel=1e-6)
    assert layer.values[0, 75] == pytest.approx(
        np.mean([600 * row + col for row in range(4) for col in range(300, 304)])
    )


def test_making_a_map_of_classes_small_invents_no_class():
    array = np.tile(np.array([0.0, 3.0], "float32"), (700, 350))
    layer = shrunk(whole(array), array.shape, most_px=100, classes=True)
    assert layer.values.shape == (100, 100)
    assert set(np.unique(layer.values)) <= {0.0, 3.0}


def test_a_small_map_is_left_as_it_is():
    array = np.array([[1.0, np.nan]], "float32")
    assert np.array_equal(shrunk(whole(array), array.shape).values, array, equal_nan=True)


def test_a_scale_bar_is_a_round_length():
    assert Frame(0, 0, 2560, 2560).scale_bar() == ("500 m", pytest.approx(100 * 500 / 2560))
    # a picture of 1000 m by 1000 / 1.7 = 588 m: 100 m is the largest of 1, 2, 5 below a quarter of that
    assert Frame(0, 0, 200, 1000).scale_bar() == ("100 m", pytest.approx(17.0))
    assert Frame(0, 0, 41000, 20000).scale_bar() == ("10 km", pytest.approx(100 * 10 / 41))


def test_a_polygon_is_drawn_where_it_lies():
    frame = Frame(500000, 3000000, 1000, 500)
    assert frame.view == "0 0 1000 500.0"
    path = frame.path(box(500100, 2999600, 500300, 2999900))
    points = {tuple(map(float, point.split())) for point in re.split("[MLZ]", path) if point}
    assert points == {(100.0, 100.0), (300.0, 100.0), (300.0, 400.0), (100.0, 400.0)}


def test_a_narrow_study_stands_in_the_middle_of_a_picture_wide_enough_to_see_its_plots():
    tall = Frame(500_000, 3_000_000, 200, 1000)
    assert tall.view == "0 0 1000 1700.0" and tall.limit == "max-width: 376px", "640 px high at most"
    assert tall.area == 'x="330.0" y="0.0" width="340.0" height="1700.0"'
    assert tall.place(500_000, 3_000_000) == pytest.approx((330, 0))
    assert tall.place(500_200, 2_999_000) == pytest.approx((670, 1700))
    flat = Frame(500_000, 3_000_000, 5000, 500)
    assert flat.view == "0 0 1000 400.0" and flat.area == 'x="0.0" y="150.0" width="1000.0" height="100.0"'
    assert flat.place(500_000, 3_000_000) == pytest.approx((0, 150))


def test_an_axis_holds_every_interval_unless_few_reach_far_beyond_the_rest():
    low, high = np.linspace(-10, 50, 100), np.linspace(0, 80, 100)
    assert axis_of(low, high) == (-10.0, 80.0)
    least, most = axis_of(np.append(low, -500.0), high)
    assert -12 < least < 0 and 70 < most < 80
    assert axis_of(np.array([3.0]), np.array([np.nan])) == (0.0, 1.0)
    assert axis_of(np.array([3.0]), np.array([5.0])) == (0.0, 5.0)


def test_an_interval_that_is_cut_has_an_arrow_and_one_that_is_not_has_none():
    assert "l" not in re.findall(r'd="([^"]*)"', interval_bar(5, 1, 9, (0, 10)))[0]
    bar = interval_bar(5, 1, 19, (0, 10))
    assert bar.count("<path") == 2 and "<circle" in bar
    assert "<circle" not in interval_bar(15, 12, 19, (0, 10)), "an estimate beyond the axis is not drawn at its edge"
    mean = np.array([5.0, 6.0])
    series = Series("stands", "", mean, mean, np.array([1.0, 2.0]), np.array([9.0, 99.0]), ["a", "b"])
    chart = ranked(series, ["#000000"] * 2, x_title="x", limits=(0, 10))
    assert "1 reach beyond the axis (arrows)" in chart
    assert "beyond" not in ranked(series, ["#000000"] * 2, x_title="x", limits=(0, 100))


def test_quantile_bands_are_shown_with_what_they_are_and_where():
    study = make_study({"model.regressor": "quantile_forest", "model.quantiles": [0.05, 0.95]})
    products = [asdict(product) for product in products_of(study).values()]
    (group,) = [one for one in groups_of(products, study.years) if one.kind == "quantile"]
    last = f"agb_{study.years[-1]}"
    assert [(panel.product, panel.band) for panel in group.panels] == [(last, "agb_mg_ha_q05"), (last, "agb_mg_ha_q95")]
    assert group.units == "Mg/ha" and group.panels[0].title.startswith("5 %")
    assert _where(group).startswith(f"Bands agb_mg_ha_q05 and agb_mg_ha_q95 of maps/{last}")
    without = [asdict(product) for product in products_of(make_study()).values()]
    assert not [one for one in groups_of(without, study.years) if one.kind == "quantile"]


def test_a_sink_scale_is_symmetric_and_a_stock_scale_begins_at_zero_where_that_shows_enough():
    _, breaks = scale_of(np.array([-31.0, 5.0, 12.0]), "sink")
    assert breaks == [-30, 0, 30]  # 95 % of the sizes lie below 29.1
    _, breaks = scale_of(np.array([20.0, 180.0]), "stock")
    assert breaks[0] == 0 and breaks[-1] >= 170
    _, breaks = scale_of(np.array([27.0, 30.0, 33.0]), "stock")
    assert 20 < breaks[0] <= 27.2 and 32.8 <= breaks[-1] < 40


@pytest.mark.parametrize(("reach", "expected"), [(1.0, 1), (35, 40), (41, 60), (0.5, 0.6), (100, 100)])
def test_half_a_symmetric_scale_is_a_round_number(reach, expected):
    assert nice_half(reach) == pytest.approx(expected)


def test_all_years_share_one_scale_and_many_years_are_cut_to_the_ends():
    study = study_from(make_settings(years=list(range(2015, 2025))))
    products = [asdict(product) for product in products_of(study).values()]
    groups = groups_of(products, study.years)
    stock = next(group for group in groups if group.kind == "stock")
    assert [panel.title for panel in stock.panels] == ["2015", "2024"]
    assert [panel.title for panel in next(g for g in groups if g.kind == "sink").panels] == ["2023 to 2024"]


def test_points_are_drawn_where_their_numbers_say():
    from pipeline.report.figures import observed_against_predicted

    one = Series("a", "#000000", np.array([0.0, 100.0]), np.array([100.0, 0.0]), labels=["first <plot>", "second"])
    chart = observed_against_predicted([one], x_title="predicted", y_title="measured")
    (x0, y0), (x1, y1) = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)]
    assert x0 < x1 and y0 < y1
    assert "first &lt;plot&gt;" in chart


def test_the_likely_span_stands_where_readings_of_the_residuals_differ():
    from pipeline.report.uncertainty import _reach

    smooth = {"patch": 0.0, "nugget": 0.25}
    readings = [
        {"weight": 0.5, "range_m": 100.0, "smooth": 0.0, "patch": 0.0, "nugget": 1.0},
        {"weight": 0.3, "range_m": 400.0, "smooth": 0.75, **smooth},
        {"weight": 0.18, "range_m": 1000.0, "smooth": 0.75, **smooth},
        {"weight": 0.02, "range_m": 9000.0, "smooth": 0.75, **smooth},
    ]  # fmt: skip
    about = {"range_m": 250.0, "nugget": 0.7, "identified": False, "readings": readings}
    assert _reach(about) == {"range": "no correlation or 400 to 1000 m", "nugget": "25 to 100 %"}
    assert _reach({**about, "identified": True}) == {"range": "250 m", "nugget": "70 %"}
