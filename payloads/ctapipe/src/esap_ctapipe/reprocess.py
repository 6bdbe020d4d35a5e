"""Reprocessing of one observation with ctapipe: DL0 to DL2 for real, and a STAND-IN for the step to DL3.

`ctapipe-process` runs unmodified, with a configuration of ours. No tool of ctapipe writes event lists, and
its energies need trained models. The stand-in takes directions and cores from ctapipe's reconstruction,
energies from the toy's own light model, and writes them with the same code as esap-fits.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import tables
from ctapipe.io import EventSource, TableLoader
from esap_fits import sky
from esap_fits.dl3 import EventList, Interval, Observation, write_dl3, write_indices
from esap_fits.program import ProgramFailed
from esap_fits.reading import PayloadError
from esap_fits.reprocess import DIRECTION_SLACK_DEG, TIME_SLACK_S, read_configuration

from . import CREATOR
from .waveforms import LIGHT_POOL_M, PE_AT_CENTRE, SLOPE

LOG = logging.getLogger(__name__)
PROCESSOR = "ctapipe"
STAND_IN = "DL3 from DL2 by a toy light model; dead time is not known"
RECONSTRUCTOR = "HillasReconstructor"
TOOL = {
    "DataWriter": {
        "write_dl1_images": False,
        "write_dl1_parameters": True,
        "write_dl2": True,
        "Contact": {"name": "esap-batch"},
    },
    "CameraCalibrator": {"image_extractor_type": "LocalPeakWindowSum"},
    "ImageProcessor": {
        "image_cleaner_type": "TailcutsImageCleaner",
        "TailcutsImageCleaner": {
            "picture_threshold_pe": 8,
            "boundary_threshold_pe": 4,
            "min_picture_neighbors": 2,
        },
        "ImageQualityQuery": {"quality_criteria": [["size", "image.sum() > 50"]]},
    },
    "ShowerProcessor": {
        "reconstructor_types": [RECONSTRUCTOR],
        RECONSTRUCTOR: {
            "StereoQualityQuery": {"quality_criteria": [["size", "parameters.hillas.intensity > 50"]]}
        },
    },
}


class ToolError(ProgramFailed):
    """ctapipe-process ended badly; what it said stands in the log."""


def reprocess(config_path: Path) -> None:
    """Make DL2, DL3 and index tables of one raw file.

    Raises:
        PayloadError: the input is not what the configuration says.
        ToolError: ctapipe-process failed.

    """
    config, directory = read_configuration(config_path, PROCESSOR), config_path.parent
    if len(config["inputs"]) != 1:
        found = len(config["inputs"])
        raise PayloadError(f"{config_path}: inputs has {found} files: allowed 1, the observation's .dl0.h5")
    raw = directory / config["inputs"][0]
    LOG.info("TOY DATA: these events have no physical meaning")
    _require_observation(config, raw)
    dl2 = directory / config["dl2"]
    run_tool(raw, dl2)
    LOG.info("STAND-IN: %s", STAND_IN)
    observation, events = read_dl2(config, dl2)
    dl3, good = directory / config["dl3"], [Interval(observation.start, observation.stop)]
    write_dl3(dl3, observation, events, good, config["date"])
    indices = (directory / config["obs_index"], directory / config["hdu_index"])
    write_indices([dl3], *indices, config["date"])
    LOG.info("observation %d: %d events; wrote %s", config["obs_id"], len(events.time), dl3.name)


def _require_observation(config: Mapping[str, Any], raw: Path) -> None:
    try:
        with EventSource(raw) as source:
            blocks = list(source.observation_blocks.values())
        with tables.open_file(raw) as file:
            ra, dec = (float(file.root._v_attrs[key]) for key in ("RA_PNT", "DEC_PNT"))
    except Exception as error:  # ctapipe and PyTables raise nearly anything on files that are no data files
        raise PayloadError(f"cannot read {raw.name} with ctapipe: {type(error).__name__}: {error}") from error
    if len(blocks) != 1:
        raise PayloadError(f"{raw.name} has {len(blocks)} observations: allowed is 1")
    block = blocks[0]
    for name in ("obs_id", "sb_id"):
        if int(getattr(block, name)) != config[name]:
            raise PayloadError(f"{raw.name} has {name} {getattr(block, name)}, not {config[name]}")
    wanted = config["pointing"]
    off = sky.separation(ra, dec, wanted["ra_deg"], wanted["dec_deg"])
    if not off <= DIRECTION_SLACK_DEG:
        raise PayloadError(
            f"{raw.name} points to {ra:g}, {dec:g} deg, {off:.3f} deg from "
            f"{wanted['ra_deg']:g}, {wanted['dec_deg']:g}"
        )
    start = block.actual_start_time.utc.isot
    if abs(sky.seconds(start) - sky.seconds(config["start_time"])) > TIME_SLACK_S:
        raise PayloadError(f"{raw.name} starts at {start}, not at {config['start_time']}")


def run_tool(raw: Path, dl2: Path) -> None:
    """Run ctapipe-process. Its provenance log is appended to, so each try has a directory of its own."""
    with tempfile.TemporaryDirectory(dir=dl2.parent, prefix="ctapipe-") as place:
        settings, output = Path(place, "ctapipe.json"), Path(place, "dl2.h5")
        settings.write_text(json.dumps(TOOL))
        command = [str(Path(sys.executable).with_name("ctapipe-process")), "--config", str(settings)]
        command += ["--input", str(raw), "--output", str(output)]
        command += ["--provenance-log", str(Path(place, "provenance.log"))]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode != 0 or not output.exists():
            raise ToolError(f"ctapipe-process ended with exit code {done.returncode}")
        output.replace(dl2)


def read_dl2(config: Mapping[str, Any], dl2: Path) -> tuple[Observation, EventList]:
    """The STAND-IN: make the observation's header and events of ctapipe's DL2 and the toy's light model."""
    with TableLoader(dl2) as loader:
        array = loader.read_subarray_events(dl2=True, simulated=False)
        by_telescope = loader.read_telescope_events_by_id(dl1_parameters=True, dl2=True, simulated=False)
        block = loader.read_observation_information()[0]
    light, seen = _mean_light(by_telescope.values())
    numbers = np.asarray(array["event_id"]).tolist()
    usable = np.asarray(array[f"{RECONSTRUCTOR}_is_valid"], dtype=bool) & np.isin(numbers, list(light))
    if not usable.any():
        raise PayloadError(
            f"{dl2.name} has no event with a direction and a core, so there is nothing to write"
        )
    array = array[usable]
    # rows have no units
    altitude, azimuth = (float(block[f"subarray_pointing_{n}"]) for n in ("lat", "lon"))
    az, alt = (array[f"{RECONSTRUCTOR}_{n}"].quantity.to_value(u.deg) for n in ("az", "alt"))
    # The toy's camera axes are the sky's.
    east, north = sky.to_plane(az, alt, azimuth, altitude)
    pointing, target = config["pointing"], config["object"]
    ra, dec = sky.from_plane(east, north, pointing["ra_deg"], pointing["dec_deg"])
    number = np.asarray(array["event_id"])
    events = EventList(
        event_id=number,
        time=np.asarray((array["time"].tt - sky.REFERENCE).sec),
        ra=ra,
        dec=dec,
        energy=np.array([np.exp(light[n] / SLOPE) for n in number]),
        east=east,
        north=north,
        telescopes=np.array([seen[n] for n in number]),
    )
    observation = Observation(
        obs_id=config["obs_id"],
        sb_id=config["sb_id"],
        project=config["project"],
        target=target["name"],
        site=config["site"],
        ra_pnt=pointing["ra_deg"],
        dec_pnt=pointing["dec_deg"],
        ra_obj=target["ra_deg"],
        dec_obj=target["dec_deg"],
        zenith=90 - altitude,
        azimuth=azimuth,
        start=sky.seconds(config["start_time"]),
        stop=sky.seconds(config["stop_time"]),
        telescopes=sorted(by_telescope),
        live_share=1.0,
        array_layout=config["array_layout"],
        model_version=config["model_version"],
        campaign=config["campaign"],
        software=CREATOR,
        missing_files=len(config["missing_files"]),
        stand_in=STAND_IN,
        provenance=config["provenance"],
    )
    return observation, events


def _mean_light(telescopes: Any) -> tuple[dict[int, float], dict[int, int]]:
    """Give by event the mean over telescopes of ln(light at the shower's core), and how many have seen it."""
    values: dict[int, list[float]] = {}
    for table in telescopes:
        intensity = np.asarray(table["hillas_intensity"], dtype=float)
        distance = table[f"{RECONSTRUCTOR}_tel_impact_distance"].quantity.to_value(u.m)
        logs = np.log(intensity / PE_AT_CENTRE) + distance / LIGHT_POOL_M
        for number, value in zip(np.asarray(table["event_id"]).tolist(), logs.tolist(), strict=True):
            if np.isfinite(value):
                values.setdefault(number, []).append(value)
    means = {number: float(np.mean(logs)) for number, logs in values.items()}
    return means, {number: len(logs) for number, logs in values.items()}
