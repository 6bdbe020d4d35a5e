"""Real runs of KM3NeT's detectors: the DAQ files of km3net-testdata (PyPI, Tamas Gal, MIT licence)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from localgrid.samples.observations import Observation, register_observations, sample_file, unpublished

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid

SCOPE, AREA = "km3net", "/ctao/km3net/daq/sample"
PROJECT_ID = "KM3NET-TESTDATA"
FIND = "import json, sys, km3net_testdata as t; print(json.dumps([t.data_path(n) for n in sys.argv[1:]]))"
# Run, detector and place of each file with events. Their headers say which run and detector it was.
FILES = {
    "online/km3net_online.root": (6633, 44, "CSCS-DISK"),
    "online/events_sample.root": (6884, 44, "CSCS-DISK"),
    "online/muon_cc_daqevents.root": (13339, 133, "CSCS-DISK"),
    "online/KM3NeT_00000133_JDAQEvent.root": (13340, 133, "LAPALMA-DISK"),
    "online/KM3NeT_00000267_00025291_JDAQEvent_JDAQSummaryslice.root": (25291, 267, "CSCS-DISK"),
}


def fill(grid: Grid, lake: RucioLake) -> None:
    """Put into the lake what is not there."""
    wanted = {dataset_of(run): name for name, (run, _, _) in FILES.items()}
    missing = unpublished(lake, list(wanted))
    if not missing:
        return
    names = [wanted[dataset] for dataset in missing]
    line = [str(grid.layout.python("testdata")), "-c", FIND, *names]
    found = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
    for name, path in zip(names, found, strict=True):
        rse = FILES[name][2]
        register_observations(lake, scope=SCOPE, rse=rse, observations=[described(name, Path(path))])


def dataset_of(run: int) -> str:
    """Name a run's dataset."""
    return f"{AREA}/run_{run:08d}"


def described(name: str, path: Path) -> Observation:
    """Say what the lake has to know of a file."""
    run, detector, _ = FILES[name]
    dataset = dataset_of(run)
    metadata = {
        "obs_id": run,
        "project": PROJECT_ID,
        "target": f"detector {detector}",
        "detector_id": detector,
        "data_level": "DAQ",
    }
    return Observation(dataset, metadata, [sample_file(path, f"{dataset}/{path.name}")])
