"""Reprocessing of one observation, from raw files (DL0) to an event list (DL3): the light, toy chain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import CREATOR, reading, sky
from .detector import Floats
from .dl0 import Keywords, RawFile, read_dl0, telescope_and_chunk
from .dl2 import write_dl2
from .dl3 import PROVENANCE, EventList, Interval, Observation, write_dl3, write_indices
from .reading import Key, PayloadError
from .storing import FIXED_DATE

LOG = logging.getLogger(__name__)
PROCESSOR = "esap-fits"
DIRECTION_SLACK_DEG = 1e-3
TIME_SLACK_S = 1.0
# What all raw files of an observation have in common; the rest belongs to a telescope or a stretch of time.
OWN = ("tel_id", "chunk", "start", "stop", "gain", "pedestal")
SAME = ("obs_id", "sb_id", "site", "array_layout", "model_version")  # in the configuration and in raw files


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v for v in value)


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and Path(value).name == value


def _object(what: str, **keys: Key) -> Key:
    def accepts(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and set(value) == set(keys)
            and all(key.accepts(value[name]) for name, key in keys.items())
        )

    return Key(f"{what}: " + ", ".join(f"{name} ({key.allowed})" for name, key in keys.items()), accepts)


RA, DEC = reading.number(0, 360, "deg"), reading.number(-90, 90, "deg")
FILE_NAME = Key("a file name in the job's directory", _is_file_name)


def configuration(processor: str) -> dict[str, Key]:
    """Give the keys of the configuration of `reprocess`; every processor has the same."""
    return {
        "processor": reading.choice(processor, default=processor),
        "obs_id": reading.integer(1, 999_999),
        "sb_id": reading.integer(1, 999_999),
        "inputs": reading.names(),
        "dl2": FILE_NAME,
        "dl3": FILE_NAME,
        "obs_index": FILE_NAME,
        "hdu_index": FILE_NAME,
        "pointing": _object("the pointing", ra_deg=RA, dec_deg=DEC),
        "object": _object("the target", name=reading.text(), ra_deg=RA, dec_deg=DEC),
        "site": reading.choice(*sky.SITES),
        "array_layout": reading.text(),
        "model_version": reading.text(),
        "start_time": reading.date(),
        "stop_time": reading.date(),
        "project": reading.text(),
        "campaign": reading.text(),
        "software_version": reading.text(),
        "expected_files": reading.integer(1, 1_000_000),
        "missing_files": Key("a list of texts", _is_list_of_texts, []),
        "provenance": reading.cards(PROVENANCE),
        "date": reading.date(FIXED_DATE),
    }


def read_configuration(path: Path, processor: str) -> dict[str, Any]:
    """Read the configuration; PayloadError names every key that is wrong, or that does not fit the others."""
    config = reading.read_document(path, configuration(processor))
    found, missing = len(config["inputs"]), len(config["missing_files"])
    problems = []
    if found + missing != config["expected_files"]:
        problems.append(
            f"expected_files = {config['expected_files']}: allowed {found + missing}, "
            f"{found} inputs and {missing} missing_files"
        )
    if sky.seconds(config["stop_time"]) <= sky.seconds(config["start_time"]):
        problems.append(f"stop_time = {config['stop_time']}: allowed after start_time {config['start_time']}")
    outputs = [config[name] for name in ("dl2", "dl3", "obs_index", "hdu_index")]
    if len({*outputs, *config["inputs"]}) < len(outputs) + found:
        problems.append("dl2, dl3, obs_index and hdu_index: allowed are different names that are no inputs")
    if problems:
        raise PayloadError("\n".join(f"{path}: {problem}" for problem in problems))
    return config


def reprocess(config_path: Path) -> None:
    """Make DL2, DL3 and index tables; PayloadError when the inputs are not what the configuration says."""
    config, directory = read_configuration(config_path, PROCESSOR), config_path.parent
    LOG.info("TOY RECONSTRUCTION: these events have no physical meaning")
    files = [read_dl0(directory / name) for name in config["inputs"]]
    require_observation(config, files)
    complete = _complete_chunks(files, _expected_places(config, files))
    events = _reconstruct([f for chunk in complete for f in chunk])
    good = join_intervals([Interval(chunk[0].header.start, chunk[0].header.stop) for chunk in complete])
    observation = _observation(config, complete[0])
    write_dl2(directory / config["dl2"], observation, events, config["date"])
    dl3 = directory / config["dl3"]
    write_dl3(dl3, observation, events, good, config["date"])
    indices = (directory / config["obs_index"], directory / config["hdu_index"])
    write_indices([dl3], *indices, config["date"])
    LOG.info(
        "observation %d: %d files of %d, %d events in %.1f s of %.1f s; wrote %s",
        *(config["obs_id"], len(files), config["expected_files"], len(events.time)),
        *(sum(g.stop - g.start for g in good), observation.stop - observation.start, config["dl3"]),
    )


def require_observation(config: Mapping[str, Any], files: Sequence[RawFile]) -> None:
    """See that the raw files are this observation's, each once; PayloadError names those that are not."""
    for file in files:
        _require_own(config, file)
        for name in Keywords.__dataclass_fields__:
            wanted, found = getattr(files[0].header, name), getattr(file.header, name)
            if name not in OWN and found != wanted:
                raise PayloadError(f"{name} = {found!r} in {file.name}, but {wanted!r} in {files[0].name}")
    places: dict[tuple[int, int], str] = {}
    for file in files:
        place = (file.header.tel_id, file.header.chunk)
        if place in places:
            raise PayloadError(
                f"{file.name} and {places[place]} both are chunk {place[1]} of telescope {place[0]}"
            )
        places[place] = file.name


def _expected_places(config: Mapping[str, Any], files: Sequence[RawFile]) -> list[tuple[int, int]]:
    """Give telescope and chunk of all files that there should be, of the telescopes that were asked for."""
    there = [(f.header.tel_id, f.header.chunk) for f in files]
    missing = {lfn: telescope_and_chunk(lfn) for lfn in config["missing_files"]}
    for lfn, place in missing.items():
        if place is None or place in there:
            raise PayloadError(
                f"missing_files has {lfn}: allowed are raw files that are not among the inputs"
            )
    telescopes = sorted({tel_id for tel_id, _ in (*there, *filter(None, missing.values()))})
    expected = [(tel_id, chunk) for tel_id in telescopes for chunk in range(files[0].header.chunks)]
    if config["expected_files"] != len(expected):
        raise PayloadError(
            f"expected_files = {config['expected_files']}: {files[0].name} says that there are "
            f"{len(expected)} of telescopes {', '.join(str(t) for t in telescopes)}"
        )
    return expected


def _require_own(config: Mapping[str, Any], file: RawFile) -> None:
    header = file.header
    for name in SAME:
        if getattr(header, name) != config[name]:
            raise PayloadError(f"{file.name} has {name} {getattr(header, name)}, not {config[name]}")
    pointing = config["pointing"]
    off = sky.separation(header.ra_pnt, header.dec_pnt, pointing["ra_deg"], pointing["dec_deg"])
    if off > DIRECTION_SLACK_DEG:
        raise PayloadError(
            f"{file.name} points to {header.ra_pnt:g}, {header.dec_pnt:g} deg, {off:.3f} deg from "
            f"{pointing['ra_deg']:g}, {pointing['dec_deg']:g}"
        )
    start, stop = sky.seconds(config["start_time"]), sky.seconds(config["stop_time"])
    if header.start < start - TIME_SLACK_S or header.stop > stop + TIME_SLACK_S:
        raise PayloadError(
            f"{file.name} is of {sky.utc(header.start)} to {sky.utc(header.stop)}, which is not within "
            f"{config['start_time']} to {config['stop_time']}"
        )


def _complete_chunks(files: Sequence[RawFile], expected: Sequence[tuple[int, int]]) -> list[list[RawFile]]:
    """Give the stretches of time that every telescope has a file of, in the order of time."""
    there = {(f.header.tel_id, f.header.chunk): f for f in files}
    telescopes, numbers = (sorted(set(each)) for each in zip(*expected, strict=True))
    complete = []
    for chunk in numbers:
        lacking = [t for t in telescopes if (t, chunk) not in there]
        if lacking:
            LOG.warning("chunk %d is left out: no file of telescope %s", chunk, lacking[0])
        else:
            complete.append([there[t, chunk] for t in telescopes])
    if not complete:
        raise PayloadError("no chunk has the files of all telescopes, so nothing can be reconstructed")
    return complete


def join_intervals(intervals: Sequence[Interval]) -> list[Interval]:
    """Join intervals that follow on each other; they are in the order of time."""
    joined: list[Interval] = []
    for one in intervals:
        if joined and one.start - joined[-1].stop <= 1e-6:  # noqa: PLR2004 - s, the clock's precision
            joined[-1] = Interval(joined[-1].start, one.stop)
        else:
            joined.append(one)
    return joined


def _reconstruct(files: Sequence[RawFile]) -> EventList:
    """Give each event that all telescopes have seen the mean of what they saw of it."""
    images = {name: np.concatenate([f.column(name) for f in files]) for name in ("EVENT_ID", "TIME")}
    images |= {name: np.concatenate([values(f) for f in files]) for name, values in CALIBRATED.items()}
    ids, first, event, seen = np.unique(
        images["EVENT_ID"], return_index=True, return_inverse=True, return_counts=True
    )
    means = {name: np.bincount(event, images[name]) / seen for name in CALIBRATED}
    header = files[0].header
    whole = seen == len({f.header.tel_id for f in files})
    east, north = means["east"][whole], means["north"][whole]
    ra, dec = sky.from_plane(east, north, header.ra_pnt, header.dec_pnt)
    energy = np.exp(means["log_energy"][whole])
    return EventList(ids[whole], images["TIME"][first][whole], ra, dec, energy, east, north, seen[whole])


def _log_energy(file: RawFile) -> Floats:
    header = file.header
    light = (file.column("CHARGE") - header.pedestal) / header.gain
    if (light <= 0).any():
        raise PayloadError(f"{file.name} has images with no light: {int((light <= 0).sum())}")
    return np.asarray(np.log(light / header.pe_per_tev))


def _degrees(name: str, file: RawFile) -> Floats:
    return np.degrees(file.column(name) / file.header.focal_mm)


CALIBRATED: Mapping[str, Callable[[RawFile], Floats]] = {
    "log_energy": _log_energy,
    "east": lambda file: _degrees("X", file),
    "north": lambda file: _degrees("Y", file),
}


def _observation(config: Mapping[str, Any], files: Sequence[RawFile]) -> Observation:
    header = files[0].header
    return Observation(
        obs_id=config["obs_id"],
        sb_id=config["sb_id"],
        project=config["project"],
        target=config["object"]["name"],
        site=config["site"],
        ra_pnt=config["pointing"]["ra_deg"],
        dec_pnt=config["pointing"]["dec_deg"],
        ra_obj=config["object"]["ra_deg"],
        dec_obj=config["object"]["dec_deg"],
        zenith=header.zenith,
        azimuth=header.azimuth,
        start=sky.seconds(config["start_time"]),
        stop=sky.seconds(config["stop_time"]),
        telescopes=[f.header.tel_id for f in files],
        live_share=header.live_share,
        array_layout=config["array_layout"],
        model_version=config["model_version"],
        campaign=config["campaign"],
        software=CREATOR,
        missing_files=len(config["missing_files"]),
        provenance=config["provenance"],
    )
