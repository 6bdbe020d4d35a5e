"""Trigger efficiency of the toy detector, integrated: what the estimate of events to simulate starts from."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from . import reading
from .detector import LAYOUTS, MODELS, PARTICLES, Detector, Floats

DEFAULT_EDGES = {"low": 0.02, "high": 200.0, "per_decade": 5}
ENERGIES, IMPACTS, OFFSETS = 16, 200, 8  # integration points a bin
DIGITS = 4
# The efficiency rises with energy, so the steepest spectrum gives the lowest mean within a bin.
STEEPEST = -4.0

TABLE = {
    "particles": reading.Key("a list of particles", lambda v: _are(v, PARTICLES), ["gamma", "electron"]),
    "model_versions": reading.Key("a list of model versions", lambda v: _are(v, MODELS), list(MODELS)),
    "zeniths_deg": reading.rising("zenith angles in deg", default=[20, 40, 60]),
    "energy_range_tev": reading.rising(
        "[low, high] in TeV", 2, [DEFAULT_EDGES["low"], DEFAULT_EDGES["high"]]
    ),
    "bins_per_decade": reading.integer(1, 100, DEFAULT_EDGES["per_decade"]),
    "spectral_index": reading.number(-5, 0, default=STEEPEST),
    "viewcone_deg": reading.number(0.1, 20, "deg", default=6.0),
    "max_impact_m": reading.number(10, 10_000, "m", default=1000.0),
}


def _are(value: Any, known: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(v in known for v in value)


def energy_edges(low: float, high: float, per_decade: int) -> Floats:
    """Divide [low, high] into equal logarithmic bins, none narrower than 1/per_decade of a decade."""
    bins = max(1, math.floor(per_decade * math.log10(high / low) + 1e-9))
    return np.geomspace(low, high, bins + 1)


def offset_edges(viewcone_deg: float) -> Floats:
    """Divide the view cone into bands of at most one degree."""
    return np.append(np.arange(0, math.ceil(viewcone_deg)), viewcone_deg).astype(float)


def solid_angle_shares(edges_deg: Floats) -> Floats:
    """Share of the cone's solid angle that lies in each band."""
    cosines = np.cos(np.radians(edges_deg))
    return np.asarray(-np.diff(cosines) / (cosines[0] - cosines[-1]))


def efficiency(
    detector: Detector, edges_tev: Floats, bands_deg: Floats, index: float, max_impact_m: float
) -> Floats:
    """Mean trigger probability, shape (energy bins, offset bands), of showers thrown as E^index.

    Showers are even over the disc of radius `max_impact_m` and over solid angle, as the simulation has them.
    """
    energy = _log_points(edges_tev, ENERGIES)
    impact2 = max_impact_m**2 * (np.arange(IMPACTS) + 0.5) / IMPACTS
    offset = _offset_points(bands_deg, OFFSETS)
    weight = energy ** (index + 1)
    weight /= weight.sum(axis=1, keepdims=True)
    table = np.empty((len(energy), len(offset)))
    for i, j in product(range(len(energy)), range(len(offset))):
        probability = detector.trigger_probability(
            energy[i][:, None, None], impact2[None, :, None], offset[j][None, None, :]
        )
        table[i, j] = weight[i] @ probability.mean(axis=(1, 2))
    return table


def _log_points(edges: Floats, points: int) -> Floats:
    steps = (np.arange(points) + 0.5) / points
    ratio = np.log(edges[1:] / edges[:-1])
    return np.asarray(edges[:-1, None] * np.exp(ratio[:, None] * steps))


def _offset_points(edges_deg: Floats, points: int) -> Floats:
    cosines = np.cos(np.radians(edges_deg))
    steps = (np.arange(points) + 0.5) / points
    return np.degrees(np.arccos(cosines[:-1, None] + np.diff(cosines)[:, None] * steps))


def tables(config_path: Path | None) -> dict[str, Any]:
    """Give the efficiency of every layout, model version, particle and zenith angle that is asked for."""
    config = (
        reading.read_document(config_path, TABLE)
        if config_path
        else {name: key.default for name, key in TABLE.items()}
    )
    low, high = config["energy_range_tev"]
    edges = energy_edges(low, high, config["bins_per_decade"])
    bands = offset_edges(config["viewcone_deg"])
    cases = product(config["model_versions"], LAYOUTS, config["particles"], config["zeniths_deg"])
    return {
        "schema": 1,
        "description": (
            "Trigger efficiency of the toy detector of esap-fits: triggered over thrown showers by true "
            "energy; `efficiency` over the whole view cone, `by_offset` within each band of offsets. Means "
            "within a bin are for a spectrum of `spectral_index`, a lower bound for flatter ones."
        ),
        "energy_edges_tev": _rounded(edges),
        "offset_edges_deg": _rounded(bands),
        "offset_shares": _rounded(solid_angle_shares(bands)),
        **{k: config[k] for k in ("spectral_index", "viewcone_deg", "max_impact_m")},
        "tables": [
            _table(Detector.of(site, layout, model, particle, zenith), edges, bands, config)
            | {
                "model_version": model,
                "site": site,
                "array_layout": layout,
                "particle": particle,
                "zenith_deg": zenith,
            }
            for model, (site, layout), particle, zenith in cases
        ],
    }


def _table(detector: Detector, edges: Floats, bands: Floats, config: dict[str, Any]) -> dict[str, Any]:
    by_offset = efficiency(detector, edges, bands, config["spectral_index"], config["max_impact_m"])
    return {
        "efficiency": _rounded(by_offset @ solid_angle_shares(bands)),
        "by_offset": [_rounded(band) for band in by_offset.T],
    }


def _rounded(values: Floats) -> list[float]:
    return [float(f"{v:.{DIGITS}g}") for v in values]
