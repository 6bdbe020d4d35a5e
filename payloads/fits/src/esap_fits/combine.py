"""Second step of an analysis: all counts together become a sky map, a spectrum and a significance."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import CREATOR, reading
from .analyse import ACCEPTANCE, COUNTS, ONOFF, edges_of
from .detector import Floats
from .geometry import KEYS, Geometry, geometry_of
from .reading import PayloadError
from .results import Outcome, write_outcome
from .skymap import ring_maps
from .spectrum import flux_points
from .storing import FIXED_DATE
from .strict import read_input

LOG = logging.getLogger(__name__)

CONFIG = {
    "counts": reading.names(),
    "units": reading.integer(1, 1_000_000),
    "observations": reading.integer(1, 1_000_000),
    "unmatched": reading.integer(0, 1_000_000),
    "target": reading.text(60),
    "production_id": reading.text(60),
    "date": reading.date(FIXED_DATE),
    **KEYS,
}


@dataclass(frozen=True)
class Counts:
    """What one job of the first step has counted; `rows` is its table of on and off counts."""

    name: str
    counts: Floats
    acceptance: Floats
    rows: Any


def combine(config_path: Path) -> None:
    """Make all results; PayloadError when the counts do not belong to the configuration."""
    config, directory = reading.read_document(config_path, CONFIG), config_path.parent
    LOG.info("TOY DATA: this result has no physical meaning")
    geometry, edges = Geometry.of(config), edges_of(config)
    parts = [read_counts(directory / name, geometry, edges) for name in config["counts"]]
    maps = ring_maps(geometry, sum_of([p.counts for p in parts]), sum_of([p.acceptance for p in parts]))
    n_on, n_off, alpha, expected = add_regions(parts)
    points = flux_points(edges, n_on, n_off, alpha, expected)
    outcome = Outcome(
        processor=CREATOR,
        config=config,
        units=len(parts),
        obs_ids=sorted({int(i) for p in parts for i in p.rows["OBS_ID"]}),
        livetime_s=float(sum(p.rows["LIVETIME"].sum() for p in parts)),
        n_on=int(n_on.sum()),
        n_off=int(n_off.sum()),
        alpha=mean_alpha(n_off, alpha),
        maps=maps,
        points=points,
    )
    write_outcome(outcome, directory)
    LOG.info("%s", json.dumps({k: outcome.document()[k] for k in ("n_on", "n_off", "significance")}))


def read_counts(path: Path, geometry: Geometry, edges: Floats) -> Counts:
    """Read counts; PayloadError for a damaged file, or one of another map or binning."""
    hdus = read_input(path)
    if missing := [name for name in (COUNTS, ACCEPTANCE, ONOFF) if name not in hdus]:
        raise PayloadError(f"{path.name} holds no counts: {', '.join(missing)} missing")
    if geometry_of(hdus[COUNTS].header) != geometry:
        raise PayloadError(f"{path.name} is of another map than the configuration's")
    rows = hdus[ONOFF].data
    if rows["ENERGY"].shape[1] != len(edges) or not np.allclose(rows["ENERGY"], edges, rtol=1e-9):
        raise PayloadError(f"{path.name} has other energy bins than the configuration")
    counts, acceptance = (np.asarray(hdus[n].data, dtype=float) for n in (COUNTS, ACCEPTANCE))
    return Counts(path.name, counts, acceptance, rows)


def sum_of(images: Sequence[Floats]) -> Floats:
    """Add images up in their order: sums of numbers depend on it."""
    total = np.zeros_like(images[0])
    for image in images:
        total = total + image
    return total


def add_regions(parts: Sequence[Counts]) -> tuple[Floats, Floats, Floats, Floats]:
    """Give on counts, off counts, their ratio and expected counts by energy, over all files.

    The ratio is the one with which all off counts together give the sum of the backgrounds.
    """
    rows: Mapping[str, Floats] = {
        name: np.concatenate([p.rows[name] for p in parts]).astype(float)
        for name in ("ALPHA", "N_ON", "N_OFF", "EXPECTED", "LIVETIME")
    }
    n_on, n_off, expected = (rows[n].sum(axis=0) for n in ("N_ON", "N_OFF", "EXPECTED"))
    background = (rows["N_OFF"] * rows["ALPHA"][:, None]).sum(axis=0)
    by_time = float((rows["ALPHA"] * rows["LIVETIME"]).sum() / rows["LIVETIME"].sum())
    alpha = np.where(n_off > 0, background / np.maximum(n_off, 1), by_time)
    return n_on, n_off, np.asarray(alpha), expected


def mean_alpha(n_off: Floats, alpha: Floats) -> float:
    """Give the ratio for all energies together."""
    return float((n_off * alpha).sum() / n_off.sum()) if n_off.sum() else float(alpha.mean())
