"""The toy detector: which showers trigger, and how well they are measured.

Declared in a few numbers, after nothing but the general shape of Cherenkov arrays:

- The energy threshold rises with zenith angle z as cos(z)^-2 (the light spreads over a larger pool) and the
  radius of the pool as 1/cos(z).
- A site's layout has a threshold and a pool radius, a model version a light yield.
- Protons rarely trigger, and are measured at a third of their energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

POOL_GROWTH_FROM_TEV = 0.01
CAMERA_DEG = 4.5
TURN_ON = 3
HADRON_SURVIVAL = 0.01  # stands for a cut between gammas and hadrons


@dataclass(frozen=True)
class Layout:
    """Threshold in TeV and radius of the light pool in m, both at zenith angle 0."""

    threshold_tev: float
    pool_radius_m: float


@dataclass(frozen=True)
class Particle:
    """Largest trigger probability, light yield, and measured over true energy."""

    trigger: float
    light: float
    measured: float


LAYOUTS = {
    ("LaPalma", "alpha"): Layout(0.020, 180.0),
    ("LaPalma", "beta"): Layout(0.030, 200.0),
    ("Paranal", "alpha"): Layout(0.040, 260.0),
    ("Paranal", "beta"): Layout(0.030, 300.0),
}
MODELS = {"prod5-v2.0": 1.0, "prod6-v1.1": 1.1}
PARTICLES = {
    "gamma": Particle(0.90, 1.0, 1.0),
    "electron": Particle(0.85, 0.95, 1.0),
    "proton": Particle(0.02, 1.0, 0.3),
}


@dataclass(frozen=True)
class Detector:
    """A layout under a model version, pointing at `zenith_deg`, for one kind of particle."""

    layout: Layout
    particle: Particle
    light_yield: float
    zenith_deg: float

    @classmethod
    def of(cls, site: str, layout: str, model_version: str, particle: str, zenith_deg: float) -> Detector:
        """Look the numbers up; KeyError for names that are not in the tables."""
        return cls(LAYOUTS[site, layout], PARTICLES[particle], MODELS[model_version], zenith_deg)

    @property
    def threshold_tev(self) -> float:
        return float(self.layout.threshold_tev / np.cos(np.radians(self.zenith_deg)) ** 2)

    @property
    def pool_radius_m(self) -> float:
        return float(self.layout.pool_radius_m / np.cos(np.radians(self.zenith_deg)))

    def trigger_probability(self, energy_tev: Floats, impact2_m2: Floats, offset_deg: Floats) -> Floats:
        """Probability that a shower of some energy, squared impact distance and offset triggers."""
        growth = 1 + np.log10(np.maximum(energy_tev / POOL_GROWTH_FROM_TEV, 1))
        dimming = impact2_m2 / (self.pool_radius_m**2 * growth) + (offset_deg / CAMERA_DEG) ** 4
        light = energy_tev * self.particle.light * self.light_yield * np.exp(-dimming)
        # The bound keeps showers that give no light at all from overflowing; they trigger with ~1e-36.
        ratio = self.threshold_tev / np.maximum(light, 1e-12 * self.threshold_tev)
        return np.asarray(self.particle.trigger / (1 + ratio**TURN_ON))

    def angular_sigma_deg(self, energy_tev: Floats) -> Floats:
        """Standard deviation of the direction in each of two axes."""
        return np.asarray(0.03 + 0.07 / np.sqrt(energy_tev / 0.1))

    def energy_sigma(self, energy_tev: Floats) -> Floats:
        """Standard deviation of the logarithm of the measured energy."""
        return np.asarray(0.08 + 0.08 / np.sqrt(energy_tev / 0.1 + 0.3))
