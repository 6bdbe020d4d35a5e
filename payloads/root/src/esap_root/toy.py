"""Toy candidates of K0s -> pi+ pi-: a peak over a falling background. No physics is simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import uproot
from esap_fits.reading import integer, read_document

M_K0S_GEV, M_PION_GEV = 0.497611, 0.13957  # Particle Data Group 2024
RESOLUTION_GEV, SIGNAL_SHARE = 0.005, 0.3
BACKGROUND_SLOPE_GEV, PT_SLOPE_GEV = 0.25, 0.6
KEYS = {
    "run": integer(1, 10**9),
    "events": integer(1, 10**8),
    "seed": integer(0, 2**32 - 1),
}


def make_candidates(config: Path, output: Path) -> None:
    """Draw candidates as `config` (run, events, seed) says; masses and momenta in GeV."""
    told = read_document(config, KEYS)
    rng, count = np.random.default_rng(told["seed"]), told["events"]
    is_signal = rng.random(count) < SIGNAL_SHARE
    peak = rng.normal(M_K0S_GEV, RESOLUTION_GEV, count)
    below = 2 * M_PION_GEV + rng.exponential(BACKGROUND_SLOPE_GEV, count)
    columns = {
        "run": np.full(count, told["run"], dtype="i4"),
        "mass": np.where(is_signal, peak, below),
        "pt": rng.exponential(PT_SLOPE_GEV, count),
    }
    with uproot.recreate(output) as file:
        file.mktree("candidates", {name: column.dtype for name, column in columns.items()})
        file["candidates"].extend(columns)
        file["about"] = "TOY candidates of K0s without physical meaning"
