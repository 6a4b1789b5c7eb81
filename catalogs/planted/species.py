"""The species of the planted forest: how they grow, what they look like, and what the analyst is told about their wood.

Growth in diameter follows Chapman-Richards, D(t) = D_max (1 - exp(-k t))^p (Richards 1959, J. Exp. Bot. 10:290-301);
heights follow the same form in diameter. The parameters are chosen so that plantations and natural stands reach the
sizes known from south China (fir at 25 years: about 18 cm and 15 m); they are not fitted to a data set.
"""

from __future__ import annotations

from dataclasses import dataclass

# ln AGB = a + b ln(rho D^2 H), one equation per species around Chave et al. 2014 (Glob. Change Biol. 20:3177: a = -2.7616,
# b = 0.976, residual 0.357) without the back-transformation factor. Conifers and eucalypts carry less branch wood.
ALLOMETRY: dict[str, tuple[float, float, float]] = {  # species: a, b, residual standard deviation
    "Cunninghamia lanceolata": (-2.80, 0.976, 0.28),
    "Pinus massoniana": (-2.74, 0.970, 0.30),
    "Schima superba": (-2.76, 0.980, 0.32),
    "Castanopsis carlesii": (-2.77, 0.982, 0.33),
    "Quercus glauca": (-2.72, 0.976, 0.33),
    "Liquidambar formosana": (-2.78, 0.978, 0.31),
    "Eucalyptus grandis": (-2.82, 0.978, 0.26),
}
# Uncertainty as of an equation fitted to some sixty trees: 4 % at ln(rho D^2 H) = 8.5, a tree of 24 cm, more elsewhere
ALLOMETRY_VAR_B = 0.015**2
ALLOMETRY_VAR_A = 0.04**2 + 8.5**2 * ALLOMETRY_VAR_B
ALLOMETRY_COV_AB = -8.5 * ALLOMETRY_VAR_B

MIN_DBH_CM = 5.0


@dataclass(frozen=True)
class Species:
    """One species. Wood density: mean and between-tree SD of the Global Wood Density Database v2 (g/cm3), rounded."""

    name: str
    family: str
    look: str  # spectral group
    wood_density_g_cm3: float
    wood_density_se: float
    wood_density_sd_tree: float
    dbh_max_cm: float
    rate_per_year: float
    shape: float
    height_max_m: float
    height_rate_per_cm: float
    height_shape: float
    crown_radius_m: tuple[float, float]  # at dbh 0 and per cm of dbh
    crown_length_share: float
    crown_power: float  # 1 = cone, 2 = rounded
    leaf_layers: float  # leaf area per crown projection area, m2/m2
    free_path_m: float  # mean depth at which a laser pulse meets something inside the crown


# Rows: name, family, look, wood density, its SE, SD between trees; then D_max, rate and shape of diameter growth,
# H_max, rate and shape of height over diameter, crown radius, length share and power, leaf layers, free path
# fmt: off
SPECIES: dict[str, Species] = {
    s.name: s
    for s in (
        Species(
            "Cunninghamia lanceolata", "Cupressaceae", "fir", 0.323, 0.015, 0.042,
            25, 0.065, 1.30, 22, 0.060, 1.10, (0.50, 0.065), 0.50, 1.1, 3.4, 1.8,
        ),
        Species(
            "Pinus massoniana", "Pinaceae", "pine", 0.485, 0.015, 0.053,
            28, 0.050, 1.20, 22, 0.055, 1.10, (0.60, 0.080), 0.38, 1.6, 2.4, 2.4,
        ),
        Species(
            "Schima superba", "Theaceae", "broadleaf", 0.574, 0.015, 0.062,
            31, 0.033, 1.05, 23, 0.052, 1.00, (0.70, 0.095), 0.55, 2.0, 3.2, 1.5,
        ),
        Species(
            "Castanopsis carlesii", "Fagaceae", "broadleaf", 0.528, 0.015, 0.070,
            33, 0.033, 1.05, 25, 0.050, 1.00, (0.70, 0.100), 0.55, 2.0, 3.4, 1.5,
        ),
        Species(
            "Quercus glauca", "Fagaceae", "broadleaf", 0.706, 0.015, 0.057,
            26, 0.034, 1.05, 20, 0.055, 1.00, (0.70, 0.100), 0.55, 2.0, 3.2, 1.6,
        ),
        Species(
            "Liquidambar formosana", "Altingiaceae", "broadleaf", 0.505, 0.015, 0.052,
            32, 0.036, 1.05, 27, 0.048, 1.00, (0.70, 0.090), 0.50, 1.8, 2.8, 1.9,
        ),
        Species(
            "Eucalyptus grandis", "Myrtaceae", "eucalypt", 0.569, 0.015, 0.060,
            17, 0.220, 1.10, 31, 0.060, 1.05, (0.55, 0.080), 0.40, 1.6, 2.2, 2.8,
        ),
    )
}
# fmt: on


@dataclass(frozen=True)
class ForestType:
    """What a stand can be: species by share of stems, ages at the first date, stems per hectare, one age or many."""

    name: str
    share: float
    species: dict[str, float]
    age_years: tuple[float, float]
    stems_per_ha: float
    even_aged: bool


FOREST_TYPES: dict[str, ForestType] = {
    kind.name: kind
    for kind in (
        ForestType("chinese_fir", 0.36, {"Cunninghamia lanceolata": 0.95, "Schima superba": 0.05}, (4, 34), 2500, True),
        ForestType("masson_pine", 0.22, {"Pinus massoniana": 0.92, "Schima superba": 0.08}, (8, 44), 1900, True),
        ForestType(
            "mixed",
            0.17,
            {
                "Pinus massoniana": 0.35,
                "Cunninghamia lanceolata": 0.20,
                "Schima superba": 0.25,
                "Castanopsis carlesii": 0.20,
            },
            (25, 60),
            1350,
            False,
        ),
        ForestType(
            "broadleaf",
            0.25,
            {
                "Castanopsis carlesii": 0.40,
                "Schima superba": 0.30,
                "Quercus glauca": 0.15,
                "Liquidambar formosana": 0.15,
            },
            (30, 85),
            1350,
            False,
        ),
        ForestType("eucalypt", 0.0, {"Eucalyptus grandis": 1.0}, (1, 6), 1350, True),
    )
}
