"""The toy sky: a point source with a power law, and protons from everywhere, as the toy detector sees them.

Rates and resolutions are those that the response of `irf` is made of, so the two fit each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .detector import HADRON_SURVIVAL, Detector, Floats

INDEX = -2.63
GAMMA_TEV, PROTON_TEV = (0.02, 100.0), (0.05, 300.0)
FIELD_DEG = 5.0
ENERGIES, OFFSETS, IMPACTS, MAX_IMPACT_M = 80, 25, 200, 1000.0
LARGEST_BACKGROUND = 0.5  # share of the events


@dataclass(frozen=True)
class Array:
    """What the detector has to be known by."""

    site: str
    layout: str
    model_version: str
    zenith_deg: float

    def detector(self, particle: str) -> Detector:
        return Detector.of(self.site, self.layout, self.model_version, particle, self.zenith_deg)


@dataclass(frozen=True)
class Showers:
    """Triggered showers: measured-energy scale in TeV, and true place in deg east and north of the pointing.

    `energy` is the true one, `scale` what is measured of it on average.
    """

    energy: Floats
    scale: Floats
    east: Floats
    north: Floats
    amplitude: float  # of the source, in 1/(cm2 s TeV) at 1 TeV


def draw(
    rng: np.random.Generator, array: Array, events: int, live_s: float, source: tuple[float, float]
) -> Showers:
    """Draw the showers of an observation, `events` on average, with the source at (east, north) in deg.

    The background is what the detector predicts, but not more than half of the events. The source has the
    rest, which fixes its amplitude.
    """
    table, edges, bands = _background(array)
    background = min(float(table.sum()) * live_s, LARGEST_BACKGROUND * events)
    signal = events - background
    offset = float(np.hypot(*source))
    rate, gamma_edges = _signal(array, offset)
    n_signal, n_background = rng.poisson(signal), rng.poisson(background)
    e_signal = _log_uniform(rng, gamma_edges, _pick(rng, rate, n_signal))
    cells = _pick(rng, table.ravel(), n_background)
    e_background = _log_uniform(rng, edges, cells // len(bands[1:]))
    band = cells % len(bands[1:])
    radius = np.sqrt(rng.uniform(bands[band] ** 2, bands[band + 1] ** 2))
    angle = rng.uniform(0, 2 * np.pi, n_background)
    scales = [array.detector(p).particle.measured for p in ("gamma", "proton")]
    return Showers(
        energy=np.concatenate([e_signal, e_background]),
        scale=np.repeat(scales, [n_signal, n_background]).astype(float),
        east=np.concatenate([np.full(n_signal, source[0]), radius * np.cos(angle)]),
        north=np.concatenate([np.full(n_signal, source[1]), radius * np.sin(angle)]),
        amplitude=signal / live_s / float(rate.sum()),
    )


def _area_cm2(detector: Detector, energy: Floats, offset_deg: float) -> Floats:
    impact2 = MAX_IMPACT_M**2 * (np.arange(IMPACTS) + 0.5) / IMPACTS
    probability = detector.trigger_probability(
        energy[:, None], impact2[None, :], np.full((1, 1), offset_deg, dtype=float)
    )
    return np.asarray(probability.mean(axis=1) * np.pi * (MAX_IMPACT_M * 100) ** 2)


def _bins(bounds_tev: tuple[float, float]) -> tuple[Floats, Floats]:
    edges = np.geomspace(*bounds_tev, ENERGIES + 1)
    return edges, np.sqrt(edges[1:] * edges[:-1])


@lru_cache(maxsize=64)
def _signal(array: Array, offset_deg: float) -> tuple[Floats, Floats]:
    """Give triggers per second and bin of true energy, for amplitude 1, and the bins' edges."""
    edges, centre = _bins(GAMMA_TEV)
    area = _area_cm2(array.detector("gamma"), centre, offset_deg)
    return area * centre**INDEX * np.diff(edges), edges


@lru_cache(maxsize=64)
def _background(array: Array) -> tuple[Floats, Floats, Floats]:
    """Give triggers per second, shape (energies, offsets), with the edges in TeV and deg."""
    import astropy.units as u
    from pyirf.spectral import IRFDOC_PROTON_SPECTRUM  # takes a second, and readers do not need it

    edges, centre = _bins(PROTON_TEV)
    bands = np.linspace(0, FIELD_DEG, OFFSETS + 1)
    solid = 2 * np.pi * -np.diff(np.cos(np.radians(bands)))
    middles = (bands[1:] + bands[:-1]) / 2
    flux = IRFDOC_PROTON_SPECTRUM(centre * u.TeV).to_value("cm-2 s-1 sr-1 TeV-1") * np.diff(edges)
    area = np.stack([_area_cm2(array.detector("proton"), centre, float(m)) for m in middles], axis=1)
    return HADRON_SURVIVAL * area * flux[:, None] * solid, edges, bands


def _pick(rng: np.random.Generator, weights: Floats, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    steps = np.cumsum(weights)
    return np.searchsorted(steps, rng.random(count) * steps[-1], side="right")


def _log_uniform(
    rng: np.random.Generator, edges: Floats, index: np.ndarray[tuple[int], np.dtype[np.intp]]
) -> Floats:
    return np.asarray(edges[index] * (edges[index + 1] / edges[index]) ** rng.random(len(index)))
