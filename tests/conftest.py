"""Factories with readable defaults, and what every test process needs: the checkout on the path, data, one thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))
os.environ.setdefault("FORESTSINK_DATA", str(ROOT.parent / "shared" / "data"))
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402

from models.applicability import Applicability  # noqa: E402
from models.inference.residuals import Residuals, Structure  # noqa: E402
from models.inference.target_model import Sample, SetModel, TargetModel  # noqa: E402
from models.regressors import Linear  # noqa: E402
from pipeline.config import Study, study_from  # noqa: E402
from pipeline.grid import Grid  # noqa: E402

UTM = "EPSG:32650"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets; `data_set(data, name)` skips a test whose set is absent."""
    return Path(os.environ["FORESTSINK_DATA"])


def data_set(data: Path, name: str) -> Path:
    """One real data set, or a skip that names it."""
    if not (data / name).is_dir():
        pytest.skip(f"the data set {name} is not under FORESTSINK_DATA ({data})")
    return data / name


def make_grid(rows=40, cols=56, *, resolution_m=10.0, chunk_px=16, block_chunks=2) -> Grid:
    """A grid of several chunks and blocks, the last of them cut off by the edge."""
    return Grid(UTM, 500_000.0, 3_000_000.0, resolution_m, rows, cols, chunk_px, block_chunks)


def make_plots(
    n=30, *, per_cluster=1, years=(2019,), seed=1, noise=15.0, area_ha=0.04, spread_m=5000.0, **columns
) -> pd.DataFrame:
    """Plots whose biomass follows a square: sqrt(agb) = 3 + 0.5 zmean, plus noise (Mg/ha), at every year.

    The second predictor `cover_2m` has nothing to say. Plots of a cluster lie within 60 m of each other.
    """
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) // per_cluster
    centre = rng.uniform(0, spread_m, (cluster[-1] + 1, 2))
    x, y = (centre[cluster] + rng.uniform(-30, 30, (n, 2))).T
    visits = []
    for growth, year in enumerate(years):
        zmean = rng.uniform(4, 24, n) + growth
        agb = (3 + 0.5 * zmean) ** 2 + rng.normal(0, noise, n)
        visits.append(
            pd.DataFrame(
                {
                    "plot": [f"p{k:03d}" for k in range(n)],
                    "cluster": [f"c{k:03d}" for k in cluster],
                    "year": year,
                    "x": 500_000 + x,
                    "y": 3_000_000 - y,
                    "area_ha": area_ha,
                    "agb_mg_ha": np.maximum(agb, 1.0),
                    "zmean": zmean,
                    "cover_2m": rng.uniform(20, 90, n),
                }
            )
        )
    return pd.concat(visits, ignore_index=True).assign(**columns)


def make_target_model(
    *,
    params=(1.0, 50.0, 10.0),
    scale=20.0,
    power=0.0,
    range_m=300.0,
    nugget=0.0,
    patch=0.0,
    plot_ha=0.04,
    influence=None,
    shared=None,
    dates=(2019,),
    between_dates=0.0,
    change_scale=1.0,
    plots=None,
    pull=None,
    years=None,
    domain=(-2.0, 2.0),
    clusters=30,
    transform="none",
) -> TargetModel:
    """A model of one set and one standardised predictor `zmean`, mean = 50 + 10 zmean, that knows its parameters.

    `influence` (clusters, params) and `shared` (factors, params) are zero unless given; so is what its plots, at `plots`
    (n, 2) and `years` (n,), do to the parameters, `pull` (n, params).
    """
    params = np.array(params, float)
    plots = np.zeros((1, 2)) if plots is None else np.asarray(plots, float)
    n = len(plots)
    structure = Structure.known(range_m, nugget, patch)
    names = np.array([f"p{k:03d}" for k in range(n)])
    sample = Sample(
        names,
        names,
        np.full(n, dates[0]) if years is None else np.asarray(years),
        plots[:, 0],
        plots[:, 1],
        np.full(n, scale),
        np.zeros((n, len(params))) if pull is None else np.asarray(pull, float),
    )
    one = SetModel(
        name="lidar",
        predictors=("zmean",),
        dates=tuple(dates),
        centre=np.zeros(1),
        spread=np.ones(1),
        machine=Linear(transform=transform),
        params=params,
        domain=Applicability(np.zeros(1), np.ones(1), np.array([[sum(domain) / 2]]), 1.0, (domain[1] - domain[0]) / 2),
        residuals=Residuals(scale, power, 1.0, between_dates, change_scale, structure, structure),
        plot_ha=plot_ha,
        sample=sample,
    )
    nothing = np.zeros((0, len(params)))
    return TargetModel(
        target="agb",
        regressor="linear",
        transform=transform,
        sets=(one,),
        influence=nothing if influence is None else np.asarray(influence, float),
        shared=nothing if shared is None else np.asarray(shared, float),
        between_sets=np.ones((1, 1)),
        clusters=clusters,
    )


def make_settings(changes: dict | None = None) -> dict:
    """The configuration of a small lidar study; `changes` holds dotted keys and their values, None takes a key out."""
    settings: dict = {
        "name": "hills",
        "results": "results/hills",
        "resources": "resources/hills",
        "area": {"crs": UTM, "bounds": [500_000, 2_999_000, 501_000, 3_000_000], "resolution_m": 20},
        "years": [2019, 2024],
        "lidar": {"als2019": {"points": "tiles", "date": 2019}},
        "plots": {"file": "plots.csv"},
        "stands": {"file": "stands.gpkg"},
    }
    for dotted, value in (changes or {}).items():
        *sections, key = dotted.split(".")
        section = settings
        for name in sections:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(key)
        else:
            section[key] = value
    return settings


def make_study(changes: dict | None = None) -> Study:
    """The study of `make_settings`."""
    return study_from(make_settings(changes))
