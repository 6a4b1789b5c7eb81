"""What can be set about the planted forest. Light to import: the configuration embeds it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
PlantedSensor = Literal["sentinel-2-l2a", "landsat-c2-l2", "sentinel-1-rtc", "copernicus-dem-glo30"]

DEMO_AREA = {
    "crs": "EPSG:32650",
    "west_m": 500000.0,
    "north_m": 3000000.0,
    "resolution_m": 20.0,
    "rows": 128,
    "cols": 128,
}
"""2.56 x 2.56 km in the hills of south China, where the demo's species grow."""

SMALL_AREA = {**DEMO_AREA, "rows": 60, "cols": 60}
"""1.2 x 1.2 km, for simulations over many seeds with `Planting.small(seed)`."""


class Planting(BaseModel):
    """Size, dates and difficulty of a planted study; the same settings give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(1, ge=0)

    mean_stand_ha: float = Field(6.0, ge=2, le=20)
    stems_multiplier: float = Field(1.0, gt=0, le=2)
    growth_multiplier: float = Field(1.0, ge=0, le=3)  # years grown per year gone, from the first date on

    plot_clusters_n: int = Field(24, ge=0)  # of up to four plots each
    single_plots_n: int = Field(30, ge=0)
    cluster_side_m: float = Field(90.0, gt=30)
    plot_radius_m: float = Field(11.28, gt=2)
    heights_measured_share: Share = 0.35
    dbh_error_percent: float = Field(1.0, ge=0)
    height_error_percent: float = Field(4.0, ge=0)
    gnss_sd_m: float = Field(1.5, ge=0)
    disturbed_plots_n: int = Field(2, ge=0)  # their land is felled just after the last visit

    lidar_years: tuple[int, ...] | None = None  # the first and last study year unless set
    lidar_pulses_m2: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.2, 2.5)  # of one line, by campaign
    lidar_cover_share: float = Field(0.45, gt=0, le=1)
    lidar_height_offset_m: float = Field(0.15, ge=-2, le=2)  # of plant returns, in every campaign but the first
    lidar_tile_m: float = Field(500.0, ge=100)

    sensors: tuple[PlantedSensor, ...] = ("sentinel-2-l2a", "landsat-c2-l2")
    scenes_per_year: int = Field(5, ge=1, le=20)
    cloud_share: Share = 0.25  # mean over a season's scenes, of which one is always clear

    @classmethod
    def small(cls, seed: int = 1, **changes) -> Planting:
        """The variant for simulations: few scenes of one sensor, sparse points, fewer plots; meant for `SMALL_AREA`."""
        values = {
            "seed": seed,
            "plot_clusters_n": 14,
            "single_plots_n": 20,
            "lidar_pulses_m2": (0.25, 0.4),
            "sensors": ("sentinel-2-l2a",),
            "scenes_per_year": 2,
            "cloud_share": 0.15,
        }
        return cls(**{**values, **changes})

    def campaigns(self, years: tuple[int, ...]) -> dict[str, int]:
        """Year of each lidar campaign by name (`als<year>`), in order; the first and last study year unless set."""
        flown = (years[0], years[-1]) if self.lidar_years is None else self.lidar_years
        return {f"als{year}": year for year in sorted(set(flown))}
