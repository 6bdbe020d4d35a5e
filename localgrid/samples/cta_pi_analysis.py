"""Toy observations at DL3 of two projects at both sites, with the response that fits them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgrid.samples.observations import Observation, register_observations, sample_file, unpublished

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid

SCOPE, AREA = "dl3", "/ctao/dl3/sample"
IRF_DATASET = "/ctao/irf/prod6-v1.1/LaPalma/alpha/zen20/sample-irf-g1"
OWN, OTHER = "PI-2026-001", "PI-2026-002"  # the project of user alice, and one that she may not read
# Scheduling block, project and place of each observation.
OBSERVATIONS = {
    201: (21, OWN, "LAPALMA-DISK"),
    202: (21, OWN, "CSCS-DISK"),
    203: (22, OWN, "CSCS-DISK"),
    204: (22, OWN, "CSCS-DISK"),
    301: (31, OTHER, "CSCS-DISK"),
}
FIRST_START, DURATION_S = datetime(2026, 11, 5, 22, 0, 0), 1200  # UTC, s
SOURCE_RA, SOURCE_DEC, WOBBLE_DEG = 83.633, 22.0145, 0.7
AMPLITUDE = 6e-13  # 1/(cm2 s TeV) at 1 TeV
ENERGY_TEV = (0.02, 200.0)
POINTING = ("site", "array_layout", "model_version", "zenith_deg", "azimuth_deg")
IRF_REQUEST = {
    "period_start": "2026-11-01",
    "period_end": "2026-11-30",
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod6-v1.1",
    "particle": "gamma",
    "zenith_deg": 20.0,
    "azimuth_deg": 180.0,
    "energy_min_tev": ENERGY_TEV[0],
    "energy_max_tev": ENERGY_TEV[1],
}


def fill(grid: Grid, lake: RucioLake) -> None:
    """Put observations and response into the lake, those that are not there."""
    described = {dataset_of(o): o for o in observations()}
    todo = [described[dataset] for dataset in unpublished(lake, list(described))]
    if not todo and not unpublished(lake, [IRF_DATASET]):
        return
    program = grid.layout.program("fits", "esap-fits")
    with tempfile.TemporaryDirectory(prefix="esap-dl3-") as place:
        response = make_irf(program, Path(place))
        register_observations(lake, scope="irf", rse="CSCS-DISK", observations=[response])
        for one in make_dl3(program, todo, Path(place)) if todo else []:
            rse = OBSERVATIONS[int(one.metadata["obs_id"])][-1]
            register_observations(lake, scope=SCOPE, rse=rse, observations=[one])


def observations() -> list[dict[str, Any]]:
    """Describe the observations as `make-dl3` takes them, a day apart, pointing north and south in turn."""
    return [_described(obs_id, *known) for obs_id, known in OBSERVATIONS.items()]


def _described(obs_id: int, sb_id: int, project: str, _rse: str) -> dict[str, Any]:
    return {
        "obs_id": obs_id,
        "sb_id": sb_id,
        "project": project,
        "target": "Crab (toy)",
        **{name: IRF_REQUEST[name] for name in POINTING},
        "start_time": (FIRST_START + timedelta(days=obs_id % 100)).isoformat(),
        "duration_s": DURATION_S,
        "ra_pnt_deg": SOURCE_RA,
        "dec_pnt_deg": SOURCE_DEC + (WOBBLE_DEG if obs_id % 2 else -WOBBLE_DEG),
        "ra_obj_deg": SOURCE_RA,
        "dec_obj_deg": SOURCE_DEC,
    }


def dataset_of(observation: Mapping[str, Any]) -> str:
    """Name an observation's dataset."""
    return f"{AREA}/obs_{observation['obs_id']:06d}"


def make_dl3(program: str, described: Sequence[Mapping[str, Any]], directory: Path) -> list[Observation]:
    """Draw event lists from the response in `directory`; give what the lake has to know of them."""
    config = {"irf": "irf.fits.gz", "amplitude": AMPLITUDE, "observations": described}
    printed = _run(program, "make-dl3", config, directory, "--directory", ".")
    made = {line["obs_id"]: line for line in map(json.loads, printed.splitlines())}
    return [_observation(o, made[o["obs_id"]], directory) for o in described]


def _observation(o: Mapping[str, Any], made: Mapping[str, Any], directory: Path) -> Observation:
    stop = (datetime.fromisoformat(o["start_time"]) + timedelta(seconds=o["duration_s"])).isoformat()
    same = ("obs_id", "sb_id", "project", "target", "start_time")
    metadata = {name: o[name] for name in (*same, *POINTING, "ra_pnt_deg", "dec_pnt_deg")}
    metadata |= {"stop_time": stop, "livetime_s": made["livetime_s"], "data_level": "DL3"}
    lfns = [
        f"{dataset_of(o)}/{name}" for name in (made["files"][0], "obs-index.fits.gz", "hdu-index.fits.gz")
    ]
    files = [sample_file(directory / name, lfn) for name, lfn in zip(made["files"], lfns, strict=True)]
    return Observation(dataset_of(o), metadata, files)


def make_irf(program: str, directory: Path) -> Observation:
    """Simulate and merge a response; give what the lake has to know of it, as the workflow cta_irf would."""
    pointing = {name: IRF_REQUEST[name] for name in POINTING}
    showers = {"gamma": (1_500_000, 1, ENERGY_TEV[1]), "proton": (1_500_000, 2, 3 * ENERGY_TEV[1])}
    for particle, (events, seed, highest) in showers.items():
        config = {
            **pointing,
            "particle": particle,
            "n_events": events,
            "seed": seed,
            "energy_range_tev": [0.75 * ENERGY_TEV[0], 1.5 * highest],
            "spectral_index": -2.0,
        }
        _run(program, "simulate", config, directory, "--output", f"{particle}.fits.gz")
    config = {
        "signal_files": ["gamma.fits.gz"],
        "proton_files": ["proton.fits.gz"],
        "energy_range_tev": list(ENERGY_TEV),
        "provenance": {"note": "sample of the local grid"},
    }
    _run(program, "merge", config, directory, "--output", "irf.fits.gz", "--plot", "irf.png")
    metadata = {
        **{f"request_{name}": value for name, value in IRF_REQUEST.items()},
        "esap_workflow": "cta_irf",
        "esap_state": "published",
        "product_description": "Sample response of the local grid, made by a TOY simulation",
        "product_creation_time": "2026-11-01T00:00:00",
    }
    files = [
        sample_file(directory / name, f"{IRF_DATASET}/{name}", esap_file=name)
        for name in ("irf.fits.gz", "irf.png")
    ]
    return Observation(IRF_DATASET, metadata, files)


def _run(program: str, command: str, config: Mapping[str, Any], directory: Path, *more: str) -> str:
    path = directory / f"{command}.json"
    path.write_text(json.dumps(config))
    line = [program, command, "--config", str(path), *more]
    return subprocess.run(line, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout
