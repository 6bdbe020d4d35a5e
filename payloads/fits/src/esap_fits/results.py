"""The results of an analysis, the same for every program: maps, flux points, plots and their summary."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .analysis_plots import plot_skymap, plot_spectrum
from .counting import li_ma
from .skymap import SkyMaps, write_skymap
from .spectrum import FluxPoint, write_spectrum

FORMAT, SCHEMA = "esap-pi-result", 1
NOTE = "TOY DATA without physical meaning"


@dataclass(frozen=True)
class Outcome:
    """All that has come out. `config` is the configuration of the step, `fit` what a fit has found."""

    processor: str
    config: Mapping[str, Any]
    units: int
    obs_ids: Sequence[int]
    livetime_s: float
    n_on: int
    n_off: int
    alpha: float
    maps: SkyMaps
    points: Sequence[FluxPoint]
    fit: Mapping[str, Any] | None = None

    @property
    def excess(self) -> float:
        return self.n_on - self.alpha * self.n_off

    @property
    def significance(self) -> float | None:
        value = float(li_ma(np.array(self.n_on), np.array(self.n_off), np.array(self.alpha)))
        return value if math.isfinite(value) else None

    def document(self) -> dict[str, Any]:
        """Give the summary as JSON."""
        config = self.config
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "note": NOTE,
            "processor": self.processor,
            "production_id": config["production_id"],
            "target": config["target"],
            "position": {"ra_deg": config["target_ra_deg"], "dec_deg": config["target_dec_deg"]},
            "on_radius_deg": config["on_radius_deg"],
            "energy_range_tev": config["energy_range_tev"],
            "units": {"expected": config["units"], "analysed": self.units},
            "observations": {"expected": config["observations"], "analysed": list(self.obs_ids)},
            "unmatched_entries": config["unmatched"],
            "livetime_s": self.livetime_s,
            "n_on": self.n_on,
            "n_off": self.n_off,
            "alpha": self.alpha,
            "excess": self.excess,
            "significance": self.significance,
            "spectrum": [asdict(p) for p in self.points],
            "fit": dict(self.fit) if self.fit else None,
        }


def write_outcome(outcome: Outcome, directory: Path) -> None:
    """Write skymap.fits.gz, skymap.png, spectrum.fits, spectrum.png and result.json."""
    config = outcome.config
    cards = {
        "CREATOR": (outcome.processor, "program that made the file"),
        "TELESCOP": ("TOY", "toy simulation, no telescope"),
        "OBJECT": (str(config["target"]), "target"),
        "PRODID": (str(config["production_id"]), "production"),
        "LIVETIME": (outcome.livetime_s, "[s] of all observations"),
        "NOBS": (len(outcome.obs_ids), "number of observations"),
    }
    write_skymap(outcome.maps, directory / "skymap.fits.gz", cards, config["date"])
    write_spectrum(outcome.points, directory / "spectrum.fits", cards, config["date"])
    summary = outcome.document()
    plot_skymap(outcome.maps, summary, directory / "skymap.png")
    plot_spectrum(outcome.points, summary, directory / "spectrum.png")
    text = json.dumps(_finite(summary), indent=1, sort_keys=True, allow_nan=False) + "\n"
    (directory / "result.json").write_text(text, encoding="utf-8")


def _finite(node: Any) -> Any:
    """Write null for numbers that are not finite: JSON has none."""
    if isinstance(node, dict):
        return {k: _finite(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(v) for v in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
