"""Toy candidates of K0s of three runs of one project, two at one place and one at another."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from localgrid.samples.observations import Observation, register_observations, sample_file, unpublished

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid

SCOPE, AREA = "fair", "/ctao/fair/candidates/sample"
PROJECT_ID = "CBM-2026-001"
EVENTS = 120_000  # of a run
PLACES = {101: "CSCS-DISK", 102: "CSCS-DISK", 103: "LAPALMA-DISK"}


def fill(grid: Grid, lake: RucioLake) -> None:
    """Put into the lake what is not there."""
    wanted = {dataset_of(run): run for run in PLACES}
    program = grid.layout.program("root", "esap-root")
    with tempfile.TemporaryDirectory(prefix="esap-fair-") as place:
        for dataset in unpublished(lake, list(wanted)):
            run = wanted[dataset]
            observation = make_run(program, run, Path(place))
            register_observations(lake, scope=SCOPE, rse=PLACES[run], observations=[observation])


def dataset_of(run: int) -> str:
    """Name a run's dataset."""
    return f"{AREA}/run_{run:06d}"


def make_run(program: str, run: int, directory: Path) -> Observation:
    """Draw the candidates of a run; give what the lake has to know of it."""
    config, made = directory / "config.json", directory / f"candidates_{run:06d}.root"
    config.write_text(json.dumps({"run": run, "events": EVENTS, "seed": run}))
    subprocess.run([program, "make-candidates", "--config", config, "--output", made], check=True)
    metadata = {
        "obs_id": run,
        "project": PROJECT_ID,
        "target": "K0s (toy)",
        "data_level": "candidates",
        "start_time": f"2026-11-{run % 100:02d}T08:00:00",
    }
    dataset = dataset_of(run)
    return Observation(dataset, metadata, [sample_file(made, f"{dataset}/{made.name}")])
