"""Toy raw data (DL0): per telescope and stretch of time one file with the camera images that it triggered on.

An image is its charge in counts of the converter and its centre in mm in the camera. What turns counts into
photo-electrons (pedestal, gain) and those into energy (light yield) stands in the header.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from . import CREATOR, reading, sky
from .detector import LAYOUTS, MODELS, Floats
from .reading import PayloadError
from .storing import FIXED_DATE, write_fits
from .strict import read_input
from .toy_sky import Array, Showers, draw

LOG = logging.getLogger(__name__)
EXTENSION = "TRIGGERS"
COLUMNS = {
    "EVENT_ID": ("J", None),
    "TIME": ("D", "s"),
    "CHARGE": ("J", "adu"),
    "X": ("E", "mm"),
    "Y": ("E", "mm"),
}
FOCAL_MM = 16_000.0
PE_PER_TEV = 5000.0
PEDESTAL = 400.0  # counts
LIVE_SHARE = 0.98  # of the time the cameras are ready


def gain(tel_id: int) -> float:
    """Counts a photo-electron; every camera has its own."""
    return 5.0 + 0.1 * (tel_id % 10)


def _are_telescopes(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(v, int) and 1 <= v <= 999 for v in value)  # noqa: PLR2004
    return numbers and bool(value) and sorted(set(value)) == value


OBSERVATION = {
    "obs_id": reading.integer(1, 999_999),
    "sb_id": reading.integer(1, 999_999),
    "telescopes": reading.Key("rising numbers from 1 to 999", _are_telescopes),
    "files_per_telescope": reading.integer(1, 99),
    "events": reading.integer(1, 10_000_000),
    "start_time": reading.date(),
    "duration_s": reading.number(1, 36_000, "s"),
    "ra_pnt_deg": reading.number(0, 360, "deg"),
    "dec_pnt_deg": reading.number(-90, 90, "deg"),
    "ra_obj_deg": reading.number(0, 360, "deg"),
    "dec_obj_deg": reading.number(-90, 90, "deg"),
    "target": reading.text(),
    "project": reading.text(),
    "site": reading.choice(*sky.SITES),
    "array_layout": reading.choice(*dict.fromkeys(name for _, name in LAYOUTS), default="alpha"),
    "model_version": reading.choice(*MODELS, default="prod6-v1.1"),
    "zenith_deg": reading.number(0, 70, "deg"),
    "azimuth_deg": reading.number(0, 360, "deg", 180.0),
    "seed": reading.integer(0, 2**53),
}
CONFIG = {
    "observations": reading.Key("a list of observations", lambda v: isinstance(v, list) and bool(v)),
    "date": reading.date(FIXED_DATE),
}


@dataclass(frozen=True)
class Keywords:
    """What the header of a raw file says of its observation, telescope and stretch of time."""

    obs_id: int
    sb_id: int
    tel_id: int
    chunk: int  # from 0
    chunks: int  # of the observation
    telescopes: str  # "1,2"
    start: float  # s of the data's clock, of the chunk
    stop: float
    ra_pnt: float
    dec_pnt: float
    ra_obj: float
    dec_obj: float
    zenith: float
    azimuth: float
    target: str
    project: str
    site: str
    array_layout: str
    model_version: str
    pedestal: float
    gain: float
    pe_per_tev: float
    focal_mm: float
    live_share: float
    amplitude: float


CARDS = {
    "obs_id": ("OBS_ID", "observation"),
    "sb_id": ("SB_ID", "scheduling block"),
    "tel_id": ("TEL_ID", "telescope"),
    "chunk": ("CHUNK", "stretch of time, from 0"),
    "chunks": ("NCHUNKS", "stretches of time of the observation"),
    "telescopes": ("TELLIST", "telescopes of the observation"),
    "start": ("TSTART", "[s] start of the stretch"),
    "stop": ("TSTOP", "[s] end of the stretch"),
    "ra_pnt": ("RA_PNT", "[deg] right ascension of the pointing"),
    "dec_pnt": ("DEC_PNT", "[deg] declination of the pointing"),
    "ra_obj": ("RA_OBJ", "[deg] right ascension of the object"),
    "dec_obj": ("DEC_OBJ", "[deg] declination of the object"),
    "zenith": ("ZENITH", "[deg] zenith angle"),
    "azimuth": ("AZIMUTH", "[deg] azimuth"),
    "target": ("OBJECT", "observed object"),
    "project": ("PROJECT", "observing project"),
    "site": ("SITE", "site of the array"),
    "array_layout": ("LAYOUT", "layout of the array"),
    "model_version": ("MODEL", "version of the array's model"),
    "pedestal": ("PEDESTAL", "[adu] counts without light"),
    "gain": ("GAIN", "[adu] counts a photo-electron"),
    "pe_per_tev": ("PEPERTEV", "photo-electrons a TeV"),
    "focal_mm": ("FOCALLEN", "[mm] focal length"),
    "live_share": ("DEADC", "share of the time without dead time"),
    "amplitude": ("SRCAMPL", "[cm-2 s-1 TeV-1] of the toy source at 1 TeV"),
}


@dataclass(frozen=True)
class RawFile:
    """A raw file: its name, what its header says, and the images as columns of `COLUMNS`."""

    name: str
    header: Keywords
    table: Any

    def column(self, name: str) -> Floats:
        return np.asarray(self.table[name], dtype=np.float64)


def file_name(obs_id: int, tel_id: int, chunk: int, extension: str = "fits.gz") -> str:
    """Name a raw file."""
    return f"obs_{obs_id:06d}_tel{tel_id:03d}_{chunk:02d}.{extension}"


def telescope_and_chunk(lfn: str) -> tuple[int, int] | None:
    """Read from a raw file's name what `file_name` put there; None for other names."""
    match = re.fullmatch(r"obs_\d{6}_tel(\d{3})_(\d{2})\..+", lfn.rsplit("/", 1)[-1])
    return (int(match[1]), int(match[2])) if match else None


def read_observations(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Read the configuration of `make-dl0`; give the observations with their defaults, and the date."""
    config = reading.read_document(path, CONFIG)
    observations = [
        reading.complete(o, OBSERVATION, f"{path}: observations[{n}]")
        for n, o in enumerate(config["observations"])
    ]
    numbers = [o["obs_id"] for o in observations]
    if doubled := sorted({n for n in numbers if numbers.count(n) > 1}):
        raise PayloadError(f"{path}: obs_id {doubled[0]} is there more than once: each may be there once")
    for n, o in enumerate(observations):
        if (o["site"], o["array_layout"]) not in LAYOUTS:
            raise PayloadError(f"{path}: observations[{n}]: {o['site']} has no layout {o['array_layout']}")
    return observations, config["date"]


def make_dl0(config_path: Path, directory: Path) -> Iterator[dict[str, Any]]:
    """Write the raw files of all observations; give name, size and adler32 of each as it is written."""
    observations, date = read_observations(config_path)
    directory.mkdir(parents=True, exist_ok=True)
    LOG.info("TOY DATA: these observations have no physical meaning")
    for observation in observations:
        for header, columns in images(observation):
            path = directory / file_name(header.obs_id, header.tel_id, header.chunk)
            _write(path, header, columns, date)
            content = path.read_bytes()
            yield {
                "obs_id": header.obs_id,
                "tel_id": header.tel_id,
                "chunk": header.chunk,
                "name": path.name,
                "bytes": len(content),
                "adler32": f"{zlib.adler32(content):08x}",
            }


def images(observation: dict[str, Any]) -> Iterator[tuple[Keywords, dict[str, Floats]]]:
    """Draw an observation and give the header and the images of each raw file."""
    o = observation
    rng = np.random.default_rng([o["seed"], o["obs_id"]])
    array = Array(o["site"], o["array_layout"], o["model_version"], o["zenith_deg"])
    source = sky.to_plane(o["ra_obj_deg"], o["dec_obj_deg"], o["ra_pnt_deg"], o["dec_pnt_deg"])
    showers = draw(
        rng, array, o["events"], o["duration_s"] * LIVE_SHARE, (float(source[0]), float(source[1]))
    )
    start = sky.seconds(o["start_time"])
    time = rng.uniform(0, o["duration_s"], len(showers.energy))
    order = np.argsort(time)
    edges = np.linspace(0, o["duration_s"], o["files_per_telescope"] + 1)
    cuts = np.searchsorted(time[order], edges)
    for tel_id in o["telescopes"]:
        columns = _seen(rng, array, showers, tel_id, len(o["telescopes"]))
        columns |= {"TIME": start + time}
        for chunk, (first, last) in enumerate(pairwise(cuts)):
            rows = order[first:last]
            header = _keywords(o, tel_id, chunk, (start + edges[chunk], start + edges[chunk + 1]), showers)
            numbers = {"EVENT_ID": np.arange(first, last) + 1}
            yield header, numbers | {name: values[rows] for name, values in columns.items()}


def _seen(
    rng: np.random.Generator, array: Array, showers: Showers, tel_id: int, telescopes: int
) -> dict[str, Floats]:
    """Give the images in one telescope. Their mean over all telescopes has the detector's resolution."""
    detector, size = array.detector("gamma"), len(showers.energy)
    spread = np.sqrt(telescopes)
    off = rng.normal(0, 1, (2, size)) * detector.angular_sigma_deg(showers.energy) * spread
    measured = showers.scale * rng.lognormal(0, detector.energy_sigma(showers.energy) * spread)
    counts = PEDESTAL + gain(tel_id) * PE_PER_TEV * showers.energy * measured
    return {
        "CHARGE": np.minimum(np.rint(counts), np.iinfo(np.int32).max),
        "X": FOCAL_MM * np.radians(showers.east + off[0]),
        "Y": FOCAL_MM * np.radians(showers.north + off[1]),
    }


def _keywords(
    o: dict[str, Any], tel_id: int, chunk: int, between: tuple[float, float], showers: Showers
) -> Keywords:
    return Keywords(
        obs_id=o["obs_id"],
        sb_id=o["sb_id"],
        tel_id=tel_id,
        chunk=chunk,
        chunks=o["files_per_telescope"],
        telescopes=",".join(str(t) for t in o["telescopes"]),
        start=float(between[0]),
        stop=float(between[1]),
        ra_pnt=float(o["ra_pnt_deg"]),
        dec_pnt=float(o["dec_pnt_deg"]),
        ra_obj=float(o["ra_obj_deg"]),
        dec_obj=float(o["dec_obj_deg"]),
        zenith=float(o["zenith_deg"]),
        azimuth=float(o["azimuth_deg"]),
        target=o["target"],
        project=o["project"],
        site=o["site"],
        array_layout=o["array_layout"],
        model_version=o["model_version"],
        pedestal=PEDESTAL,
        gain=gain(tel_id),
        pe_per_tev=PE_PER_TEV,
        focal_mm=FOCAL_MM,
        live_share=LIVE_SHARE,
        amplitude=showers.amplitude,
    )


def _write(path: Path, header: Keywords, columns: dict[str, Floats], date: str) -> None:
    table = fits.BinTableHDU.from_columns(
        [fits.Column(n, form, unit, array=columns[n]) for n, (form, unit) in COLUMNS.items()], name=EXTENSION
    )
    cards: list[tuple[str, Any, str]] = [
        ("TELESCOP", "TOY", "toy simulation, no telescope"),
        ("INSTRUME", "TOY", "toy simulation, no instrument"),
        ("CREATOR", CREATOR, ""),
    ]
    cards += [(key, getattr(header, name), comment) for name, (key, comment) in CARDS.items()]
    cards += [(key, value, comment) for key, (value, comment) in sky.TIME_KEYWORDS.items()]
    table.header.extend(cards)
    write_fits(fits.HDUList([fits.PrimaryHDU(), table]), path, date)


def read_dl0(path: Path) -> RawFile:
    """Read a raw file; PayloadError names the file and what is wrong with it."""
    hdus = read_input(path)
    try:
        table = hdus[EXTENSION]
        header = Keywords(**{name: table.header[key] for name, (key, _) in CARDS.items()})
    except KeyError as error:
        raise PayloadError(f"{path.name} is no raw file of esap-fits: {error.args[0]}") from error
    if missing := [name for name in COLUMNS if name not in table.columns.names]:
        raise PayloadError(f"{path.name} has no column {', '.join(missing)} in {EXTENSION}")
    return RawFile(path.name, header, table.data)
