"""Lidar in strips that chance has drawn, plots that chance has drawn in them: strips are the units of the sample.

Points of one strip are neighbours, and say the same thing again and again: an error made of points would be too small by far.
So the variance is that between strips, of all that was done in each of them (ultimate clusters). A poorer prediction that is
known everywhere, such as that of a satellite, bridges the land between: then only its departures are sampled.

References
----------
Gregoire et al. 2011, Canadian Journal of Forest Research 41:83-95, doi:10.1139/X10-195 (lidar strips, two stages).
Saarela et al. 2015, Remote Sensing of Environment 158:431-440, doi:10.1016/j.rse.2014.11.020 (strips and Landsat everywhere).
Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, section 4.3, doi:10.1007/978-1-4612-4378-6.
"""

from __future__ import annotations

import numpy as np

from models.inference.area_estimate import AreaEstimate
from models.inference.registry import estimator
from models.inference.survey import Survey


@estimator(auxiliaries="either", phases=2, reference="Gregoire et al. 2011, doi:10.1139/X10-195; Saarela et al. 2015")
def strips(
    survey: Survey,
    *,
    strip: np.ndarray,
    prediction: str,
    reduced: str | None = None,
    reduced_mean: float | None = None,
    area: str = "all",
) -> AreaEstimate:
    """Prediction in strips that chance has drawn, corrected by the plots in them

    Parameters
    ----------
    strip : (points,) the strip that each point lies in; empty or None outside all, where points do not count
    prediction : auxiliary known in strips. It must not have been fitted to these plots
    reduced, reduced_mean : auxiliary known everywhere, a prediction of the target too, and its mean over the area (three
        phases); without it the mean is that of the strips (two phases)

    Notes
    -----
    Points of phase 1 are pixels of the strips or points laid evenly in them; the plots are not counted among them.
    With p the prediction, q the reduced one (0 without), over points M_c of strips c and plots n_c in them
    mean = mean(q) + sum M_c (p - q)_c / sum M + sum n_c (y - p)_c / sum n; the variance is sum u_c^2 / (m (m - 1)) with
    u_c = M_c / mean M ((p - q)_c - their mean) + n_c / mean n ((y - p)_c - their mean): both ratios linearised, strip by strip.
    Strips are taken as drawn with replacement, plots as equally dense in all of them.
    """
    if (reduced is None) != (reduced_mean is None):
        raise ValueError("reduced and reduced_mean belong together: the poorer prediction, and its mean over the whole area")
    labels = np.array(["" if one is None else str(one) for one in strip])
    inside = (labels != "") & (labels != "nan")
    ids, index = np.unique(labels[inside], return_inverse=True)
    ground = np.asarray(survey.ground)[inside]
    n, size = (np.bincount(index, weights=one, minlength=len(ids)) for one in (ground, ~ground))
    if (size > 0).sum() < 2 or (n > 0).sum() < 2:
        raise ValueError(
            f"{len(ids)} strips of which {int((n > 0).sum())} hold plots tell nothing of how strips differ; at least 2 are needed"
        )
    told = _column(survey, prediction)[inside]
    known = _column(survey, reduced)[inside] if reduced is not None else np.zeros(inside.sum())
    away = np.where(ground, 0.0, told - known)
    left = np.where(ground, np.asarray(survey.y, float)[inside] - told, 0.0)
    mean_away, mean_left = float(away[~ground].mean()), float(left[ground].mean())
    pull = (np.bincount(index, weights=away, minlength=len(ids)) - size * mean_away) / size.mean()
    pull += (np.bincount(index, weights=left, minlength=len(ids)) - n * mean_left) / n.mean()
    m = len(ids)
    return AreaEstimate(
        area, "strips", (reduced_mean or 0.0) + mean_away + mean_left, {"sampling": float((pull**2).sum() / (m * (m - 1)))},
        float(m - 1), {"plots": int(ground.sum()), "clusters": m, "phase_1": int((~ground).sum())},
        notes=(f"strips are the units: {m} of them, {int((n > 0).sum())} with plots",),
    )  # fmt: skip


def _column(survey: Survey, name: str) -> np.ndarray:
    if name not in survey.auxiliaries:
        raise ValueError(f"the survey has no auxiliary {name!r}; it has {', '.join(survey.auxiliaries) or 'none'}")
    return np.asarray(survey.auxiliaries[name], float)
