"""What a study does not make, and what it makes in a way that a reader has to know: sentences for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import Campaign

if TYPE_CHECKING:
    from pipeline.bridge.plan import Plan


def notes_of(plan: Plan) -> list[str]:
    """What this study does not make, and why: sentences for the report."""
    study, notes = plan.study, []
    if len(study.years) == 1:
        notes.append("One date only: no change and no sink can be computed.")
    if not study.lidar:
        notes.append("No airborne lidar: the map rests on satellite images, which saturate in dense forest.")
    if not plan.imagery.yearly:
        notes.append("No satellite sensor: there is no estimate where no lidar was flown.")
    notes += [
        f"Sensor {name} is configured, but no predictor uses it: nothing is made of it."
        for name in study.sensors
        if name not in plan.used_sensors
    ]
    if study.lidar:
        rest = "rests on satellite images alone" if plan.imagery.yearly else "has no estimate"
        notes += [
            f"No lidar within {study.plots.max_years_apart:g} years of {year}: that year {rest}."
            for year in study.years
            if plan.campaigns.nearest_to(year) is None
        ]
    if study.stock_target is None:
        notes.append("Neither biomass nor volume is a target: no carbon is computed.")
    if study.forest.source == "everywhere":
        notes.append("No forest definition is set: every pixel is treated as forest, fields and water too.")
    notes += [ground_note(name, campaign) for name, campaign in study.lidar.items() if campaign.classify_ground]
    notes += [
        f"Campaign {name}: points are thinned to {campaign.thin_to_pts_m2:g} per m2."
        for name, campaign in study.lidar.items()
        if campaign.thin_to_pts_m2
    ]
    if "lidar" in plan.predictor_sets and len({campaign.leaf for campaign in study.lidar.values()}) > 1:
        notes.append(
            "Campaigns differ in leaf condition: dates are kept apart by a date effect, never pooled untested."
        )
    return notes


def ground_note(name: str, campaign: Campaign) -> str:
    from pipeline.steps.ground import cloth_note

    return f"Campaign {name}: {cloth_note(campaign.cloth.model_dump())}."
