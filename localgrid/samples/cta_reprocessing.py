"""Six toy observations of one project on tape at La Palma: what the example of cta_reprocessing asks for."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgrid.samples.observations import Observation, SampleFile, register_observations, unpublished

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid

SCOPE, TAPE = "acada", "LAPALMA-TAPE"
PROJECT_ID = "PI-2026-001"
FIRST_START = datetime(2026, 11, 5, 22, 0, 0)  # UTC
DURATION_S = 1200
SOURCE_RA, SOURCE_DEC, WOBBLE_DEG = 83.633, 22.0145, 0.5
SCHEDULING_BLOCKS = {11: (101, 102, 103), 12: (104, 105, 106)}
HEAVY_BLOCKS = {91: (901, 902)}


def fill(grid: Grid, lake: RucioLake) -> None:
    """Put the observations of the light chain into the lake, those that are not there."""
    put(lake, grid.layout.program("fits", "esap-fits"), night(SCHEDULING_BLOCKS))


def fill_heavy(grid: Grid, lake: RucioLake) -> None:
    """Put observations with waveforms into the lake, for the processor `ctapipe`; needs its environment."""
    program = grid.layout.program("ctapipe", "esap-ctapipe")
    put(lake, program, night(HEAVY_BLOCKS, telescopes=[1, 2, 3, 4], files_per_telescope=1, events=100))


def night(blocks: Mapping[int, Sequence[int]], **changes: Any) -> list[dict[str, Any]]:
    """Describe observations for `make-dl0`: each a day later than the last, wobbling north and south."""
    numbered = [(sb_id, obs_id) for sb_id, obs_ids in blocks.items() for obs_id in obs_ids]
    return [
        {
            "obs_id": obs_id,
            "sb_id": sb_id,
            "telescopes": [1, 2],
            "files_per_telescope": 2,
            "events": 4000,
            "start_time": (FIRST_START + timedelta(days=day)).isoformat(),
            "duration_s": DURATION_S,
            "ra_pnt_deg": SOURCE_RA,
            "dec_pnt_deg": SOURCE_DEC + (WOBBLE_DEG if obs_id % 2 else -WOBBLE_DEG),
            "ra_obj_deg": SOURCE_RA,
            "dec_obj_deg": SOURCE_DEC,
            "target": "Crab (toy)",
            "project": PROJECT_ID,
            "site": "LaPalma",
            "array_layout": "alpha",
            "model_version": "prod6-v1.1",
            "zenith_deg": 20,
            "azimuth_deg": 180,
            "seed": 1,
        }
        | changes
        for day, (sb_id, obs_id) in enumerate(numbered)
    ]


def put(lake: RucioLake, program: str, observations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Make raw data with `program make-dl0` and publish them on tape; give the datasets that were new.

    Raises:
        subprocess.CalledProcessError: the program failed; its standard error was shown.

    """
    names = {dataset_of(o): o for o in observations}
    todo = [names[dataset] for dataset in unpublished(lake, list(names))]
    if not todo:
        return []
    with tempfile.TemporaryDirectory(prefix="esap-dl0-") as place:
        directory = Path(place)
        raw = raw_observations(program, todo, directory)
        return register_observations(lake, scope=SCOPE, rse=TAPE, observations=raw)


def raw_observations(
    program: str, observations: Sequence[Mapping[str, Any]], directory: Path
) -> list[Observation]:
    """Make raw data in a directory, and tell what the lake has to know of them."""
    config = directory / "make-dl0.json"
    config.write_text(json.dumps({"observations": observations}))
    command = [program, "make-dl0", "--config", str(config), "--directory", str(directory)]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    files: dict[int, list[dict[str, Any]]] = {}
    for file in map(json.loads, made):
        files.setdefault(file["obs_id"], []).append(file)
    return [_observation(o, files[o["obs_id"]], directory) for o in observations]


def dataset_of(observation: Mapping[str, Any]) -> str:
    """Name an observation's dataset by site, day and number."""
    day = observation["start_time"][:10].replace("-", "/")
    return f"/ctao/{SCOPE}/DL0/{observation['site']}/{day}/obs_{observation['obs_id']:06d}"


def _observation(o: Mapping[str, Any], files: Sequence[Mapping[str, Any]], directory: Path) -> Observation:
    stop = datetime.fromisoformat(o["start_time"]) + timedelta(seconds=o["duration_s"])
    same = (
        *("obs_id", "sb_id", "project", "target", "site", "array_layout", "model_version", "start_time"),
        *("ra_pnt_deg", "dec_pnt_deg", "ra_obj_deg", "dec_obj_deg", "zenith_deg", "azimuth_deg"),
    )
    metadata = {name: o[name] for name in same} | {"stop_time": stop.isoformat(), "data_level": "DL0"}
    dataset = dataset_of(o)
    return Observation(
        dataset,
        metadata,
        [
            SampleFile(
                f"{dataset}/{f['name']}",
                directory / f["name"],
                f["bytes"],
                f["adler32"],
                {"tel_id": f["tel_id"]},
            )
            for f in files
        ],
    )
