"""Reconstructed events of an observation (DL2) of the light chain: a table that lives as long as its run."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

from . import sky
from .dl3 import EventList, Observation, put_cards
from .storing import write_fits

EXTENSION = "DL2"
COLUMNS = {
    "EVENT_ID": ("K", None),
    "TIME": ("D", "s"),
    "ENERGY": ("E", "TeV"),
    "EAST": ("E", "deg"),
    "NORTH": ("E", "deg"),
    "MULTIP": ("I", None),
}
KEYWORDS = ("OBS_ID", "SB_ID", "RA_PNT", "DEC_PNT", "TSTART", "TSTOP", "SITE", "NEVENTS", "CREATOR")


def write_dl2(path: Path, observation: Observation, events: EventList, date: str) -> None:
    """Write what was reconstructed of each event, in the field of view."""
    o = observation
    values = (events.event_id, events.time, events.energy, events.east, events.north, events.telescopes)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(n, form, unit, array=column)
            for (n, (form, unit)), column in zip(COLUMNS.items(), values, strict=True)
        ],
        name=EXTENSION,
    )
    put_cards(
        table.header,
        sky.TIME_KEYWORDS
        | {
            "TELESCOP": ("TOY", "toy simulation, no telescope"),
            "CREATOR": (o.software, "program that made the file"),
            "OBS_ID": (o.obs_id, "observation"),
            "SB_ID": (o.sb_id, "scheduling block"),
            "RA_PNT": (o.ra_pnt, "[deg] right ascension of the pointing"),
            "DEC_PNT": (o.dec_pnt, "[deg] declination of the pointing"),
            "TSTART": (o.start, "[s] start of the observation"),
            "TSTOP": (o.stop, "[s] end of the observation"),
            "SITE": (o.site, "site of the array"),
            "NEVENTS": (len(events.time), "events"),
        },
    )
    write_fits(fits.HDUList([fits.PrimaryHDU(), table]), path, date)
