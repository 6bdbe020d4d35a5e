"""Observations at data level 3: event list and good time intervals as GADF 0.3 has them, and their index.

Used by every program of this project that writes DL3, so that their files have one layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from . import CREATOR, sky
from .detector import Floats
from .reading import LONGEST_VALUE
from .storing import write_fits
from .strict import DamagedError, load, parse

GADF = "https://github.com/open-gamma-ray-astro/gamma-astro-data-formats"
VERSION = "0.3"
EVENTS, GTI, OBS_INDEX, HDU_INDEX = "EVENTS", "GTI", "OBS_INDEX", "HDU_INDEX"
COLUMNS = {
    "EVENT_ID": ("K", None),
    "TIME": ("D", "s"),
    "RA": ("E", "deg"),
    "DEC": ("E", "deg"),
    "ENERGY": ("E", "TeV"),
    "DETX": ("E", "deg"),
    "DETY": ("E", "deg"),
    "MULTIP": ("I", None),
}
PROVENANCE = {
    "run_id": ("RUNID", "run of the workflow"),
    "fingerprint": ("FPRINT", "fingerprint of the request"),
    "owner": ("OWNER", "who asked for it"),
    "production_id": ("PRODID", "production"),
    "note": ("NOTE", "note"),
}


@dataclass(frozen=True)
class Interval:
    """A good time interval, in seconds of the data's clock."""

    start: float
    stop: float


@dataclass(frozen=True)
class EventList:
    """Events in any order: `time` in s of the data's clock, directions in deg (ICRS), energies in TeV.

    `east` and `north` are the places in the field of view in deg from the pointing.
    """

    event_id: Floats
    time: Floats
    ra: Floats
    dec: Floats
    energy: Floats
    east: Floats
    north: Floats
    telescopes: Floats  # how many have seen the event


@dataclass(frozen=True)
class Observation:
    """What the header says. Angles in deg, times in s of the data's clock, `live_share` as DEADC."""

    obs_id: int
    sb_id: int
    project: str
    target: str
    site: str
    ra_pnt: float
    dec_pnt: float
    ra_obj: float
    dec_obj: float
    zenith: float
    azimuth: float
    start: float
    stop: float
    telescopes: Sequence[int]
    live_share: float
    array_layout: str
    model_version: str
    campaign: str = ""
    software: str = CREATOR
    missing_files: int = 0
    stand_in: str = ""  # what of the chain is not the real thing, in one line
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_dl3(
    path: Path, observation: Observation, events: EventList, good: Sequence[Interval], date: str
) -> None:
    """Write events and good time intervals, in the order of time; `date` (UTC) becomes DATE."""
    order = np.argsort(events.time, kind="stable")
    values = {
        "EVENT_ID": events.event_id,
        "TIME": events.time,
        "RA": events.ra,
        "DEC": events.dec,
        "ENERGY": events.energy,
        "DETX": events.east,
        "DETY": events.north,
        "MULTIP": events.telescopes,
    }
    table = fits.BinTableHDU.from_columns(
        [fits.Column(n, form, unit, array=values[n][order]) for n, (form, unit) in COLUMNS.items()],
        name=EVENTS,
    )
    intervals = fits.BinTableHDU.from_columns(
        [
            fits.Column("START", "D", "s", array=[g.start for g in good]),
            fits.Column("STOP", "D", "s", array=[g.stop for g in good]),
        ],
        name=GTI,
    )
    put_cards(table.header, event_cards(observation, good))
    put_cards(intervals.header, gadf_cards("GTI") | sky.TIME_KEYWORDS | _common_cards(observation))
    write_fits(fits.HDUList([fits.PrimaryHDU(), table, intervals]), path, date)


Cards = dict[str, tuple[Any, str]]


def put_cards(header: fits.Header, cards: Cards) -> None:
    """Put cards into a header; a comment that does not fit beside its value is left out."""
    for key, (value, comment) in cards.items():
        room = LONGEST_VALUE - (len(value) + 3 if isinstance(value, str) else 20)
        header[key] = (value, comment if len(comment) <= room else None)


def gadf_cards(*classes: str) -> Cards:
    """Give the cards that say what an HDU is."""
    cards: Cards = {"HDUCLASS": ("GADF", "GADF data"), "HDUDOC": (GADF, ""), "HDUVERS": (VERSION, "")}
    return cards | {f"HDUCLAS{n}": (name, "") for n, name in enumerate(classes, 1)}


def _common_cards(o: Observation) -> Cards:
    cards: Cards = {
        "ORIGIN": ("esap-batch", "who made the file"),
        "CREATOR": (o.software, "program that made the file"),
        "TELESCOP": ("TOY", "toy simulation, no telescope"),
        "INSTRUME": ("TOY", "toy simulation, no instrument"),
        "OBS_ID": (o.obs_id, "observation"),
    }
    if o.stand_in:
        cards["STANDIN"] = (o.stand_in[:LONGEST_VALUE], "STAND-IN for a missing step")
    return cards


def event_cards(o: Observation, good: Sequence[Interval]) -> Cards:
    """Give the cards of an event list."""
    on_time = sum(g.stop - g.start for g in good)
    cards = (
        gadf_cards("EVENTS", "ACCEPTED") | sky.TIME_KEYWORDS | sky.SITES[o.site].keywords | _common_cards(o)
    )
    cards |= {
        "OBS_MODE": ("POINTING", "fixed pointing"),
        "OBSERVER": (o.project, "observing project"),
        "PROJECT": (o.project, "observing project"),
        "SB_ID": (o.sb_id, "scheduling block"),
        "OBJECT": (o.target, "observed object"),
        "RA_OBJ": (o.ra_obj, "[deg] right ascension of the object"),
        "DEC_OBJ": (o.dec_obj, "[deg] declination of the object"),
        "RA_PNT": (o.ra_pnt, "[deg] right ascension of the pointing"),
        "DEC_PNT": (o.dec_pnt, "[deg] declination of the pointing"),
        "ALT_PNT": (90 - o.zenith, "[deg] altitude of the pointing"),
        "AZ_PNT": (o.azimuth, "[deg] azimuth of the pointing"),
        "ZEN_PNT": (o.zenith, "[deg] zenith angle of the pointing"),
        "EQUINOX": (2000.0, ""),
        "RADECSYS": ("ICRS", "frame of all directions"),
        "DATE-OBS": (sky.utc(o.start), "start of the observation (UTC)"),
        "DATE-END": (sky.utc(o.stop), "end of the observation (UTC)"),
        "TSTART": (o.start, "[s] start of the observation"),
        "TSTOP": (o.stop, "[s] end of the observation"),
        "TELAPSE": (o.stop - o.start, "[s] between start and end"),
        "ONTIME": (on_time, "[s] sum of the good time intervals"),
        "LIVETIME": (on_time * o.live_share, "[s] without dead time"),
        "DEADC": (o.live_share, "LIVETIME / ONTIME"),
        "EV_CLASS": ("TOY", "no cut was made"),
        "TELLIST": (",".join(str(t) for t in o.telescopes), "telescopes"),
        "N_TELS": (len(o.telescopes), "number of telescopes"),
        "SITE": (o.site, "site of the array"),
        "LAYOUT": (o.array_layout, "layout of the array"),
        "MODEL": (o.model_version, "version of the array's model"),
        "CAMPAIGN": (o.campaign, "reprocessing campaign"),
        "NMISSING": (o.missing_files, "raw files that were not to be had"),
    }
    return cards | {PROVENANCE[k][0]: (v, PROVENANCE[k][1]) for k, v in o.provenance.items()}


INDEX_COLUMNS = {
    "OBS_ID": ("K", None),
    "OBS_MODE": ("A", None),
    "RA_PNT": ("D", "deg"),
    "DEC_PNT": ("D", "deg"),
    "ZEN_PNT": ("D", "deg"),
    "ALT_PNT": ("D", "deg"),
    "AZ_PNT": ("D", "deg"),
    "ONTIME": ("D", "s"),
    "LIVETIME": ("D", "s"),
    "DEADC": ("D", None),
    "TSTART": ("D", "s"),
    "TSTOP": ("D", "s"),
    "N_TELS": ("K", None),
    "TELLIST": ("A", None),
    "OBJECT": ("A", None),
    "RA_OBJ": ("D", "deg"),
    "DEC_OBJ": ("D", "deg"),
}
DERIVED_COLUMNS = {
    "DATE_OBS": ("A", None),
    "TIME_OBS": ("A", None),
    "DATE_END": ("A", None),
    "TIME_END": ("A", None),
    "QUALITY": ("K", None),
    "EVENT_COUNT": ("K", None),
}
HDU_COLUMNS = {
    "OBS_ID": ("K", None),
    "HDU_TYPE": ("A", None),
    "HDU_CLASS": ("A", None),
    "FILE_DIR": ("A", None),
    "FILE_NAME": ("A", None),
    "HDU_NAME": ("A", None),
    "SIZE": ("K", None),
}
INDEXED_HDUS = {EVENTS: "events", GTI: "gti"}


def write_indices(files: Sequence[Path], obs_index: Path, hdu_index: Path, date: str) -> None:
    """Write the two index tables of DL3 files, which lie in the same directory as the tables will.

    DamagedError when a file is no DL3 file that can be read.
    """
    headers = {path: _event_header(path) for path in files}
    observations = [_observation_row(header) for header in headers.values()]
    hdus = [
        {
            "OBS_ID": header["OBS_ID"],
            "HDU_TYPE": kind,
            "HDU_CLASS": kind,
            "FILE_DIR": ".",
            "FILE_NAME": path.name,
            "HDU_NAME": name,
            "SIZE": path.stat().st_size,
        }
        for path, header in headers.items()
        for name, kind in INDEXED_HDUS.items()
    ]
    _write_index(obs_index, OBS_INDEX, "OBS", INDEX_COLUMNS | DERIVED_COLUMNS, observations, date)
    _write_index(hdu_index, HDU_INDEX, "HDU", HDU_COLUMNS, hdus, date)


def _event_header(path: Path) -> fits.Header:
    hdus = parse(load(path))
    if EVENTS not in hdus:
        raise DamagedError(f"{path.name} has no {EVENTS}")
    return hdus[EVENTS].header


def _observation_row(header: fits.Header) -> dict[str, Any]:
    row = {name: header[name] for name in INDEX_COLUMNS}
    for side, key in (("OBS", "DATE-OBS"), ("END", "DATE-END")):
        row[f"DATE_{side}"], row[f"TIME_{side}"] = str(header[key]).split("T")
    return row | {"QUALITY": 0 if header["NMISSING"] == 0 else 1, "EVENT_COUNT": header["NAXIS2"]}


def _write_index(
    path: Path,
    name: str,
    kind: str,
    columns: Mapping[str, tuple[str, str | None]],
    rows: Sequence[Mapping[str, Any]],
    date: str,
) -> None:
    table = fits.BinTableHDU.from_columns([_index_column(n, *columns[n], rows) for n in columns], name=name)
    cards = gadf_cards("INDEX", kind) | sky.TIME_KEYWORDS
    cards |= {"CREATOR": (CREATOR, ""), "TELESCOP": ("TOY", "toy simulation, no telescope")}
    put_cards(table.header, cards)
    write_fits(fits.HDUList([fits.PrimaryHDU(), table]), path, date)


def _index_column(name: str, form: str, unit: str | None, rows: Sequence[Mapping[str, Any]]) -> fits.Column:
    values = [row[name] for row in rows]
    if form == "A":
        form = f"{max(1, *(len(str(v)) for v in values))}A"
    return fits.Column(name, form, unit, array=np.array(values))
