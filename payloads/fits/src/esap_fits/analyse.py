"""First step of an analysis: count the events of some observations, on the sky and in on and off regions.

The off regions mirror the on region around the pointing, where the response to background is the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from . import CREATOR, reading, sky
from .detector import Floats
from .dl3 import EVENTS, put_cards
from .efficiency import energy_edges
from .geometry import KEYS, Geometry
from .reading import PayloadError
from .response import Response, read_response
from .storing import FIXED_DATE, write_fits
from .strict import read_input
from .units import column

LOG = logging.getLogger(__name__)
COUNTS, ACCEPTANCE, ONOFF = "COUNTS", "ACCEPTANCE", "ONOFF"
NEEDED = ("OBS_ID", "RA_PNT", "DEC_PNT", "LIVETIME")
READ = {"RA": "deg", "DEC": "deg", "ENERGY": "TeV"}
# Events of the source spill over into regions close to the on region.
NEIGHBOURS, ENOUGH_REGIONS = 1, 3


def _is_part(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"obs_id", "events", "irf"}
        and reading.names().accepts(value["events"])
        and reading.names().accepts([value["irf"]])
        and isinstance(value["obs_id"], int)
    )


CONFIG = {
    "label": reading.text(200),
    "parts": reading.Key(
        "a list of objects of obs_id, events (file names) and irf (file name)",
        lambda v: isinstance(v, list) and bool(v) and all(_is_part(p) for p in v),
    ),
    "outputs": reading.names(),
    "date": reading.date(FIXED_DATE),
    **KEYS,
}


@dataclass(frozen=True)
class EventFile:
    """Events of one file: directions in deg, energies in TeV, and the header."""

    name: str
    header: fits.Header
    ra: Floats
    dec: Floats
    energy: Floats

    @property
    def pointing(self) -> tuple[float, float]:
        return float(self.header["RA_PNT"]), float(self.header["DEC_PNT"])


@dataclass(frozen=True)
class OnOff:
    """Counts of one file by energy bin, the ratio `alpha`, and what the reference spectrum would give."""

    obs_id: int
    livetime_s: float
    alpha: float
    n_on: Floats
    n_off: Floats
    expected: Floats


def analyse(config_path: Path) -> None:
    """Count what the configuration names; PayloadError when a file is not what it should be."""
    config, directory = reading.read_document(config_path, CONFIG), config_path.parent
    LOG.info("TOY DATA: these counts have no physical meaning")
    geometry, edges = Geometry.of(config), edges_of(config)
    counts, acceptance = np.zeros((2, geometry.pixels, geometry.pixels))
    rows = []
    for part in config["parts"]:
        response = read_response(directory / part["irf"])
        for name in part["events"]:
            events = read_events(directory / name, part["obs_id"])
            chosen = (events.energy >= edges[0]) & (events.energy < edges[-1])
            counts += geometry.histogram(events.ra[chosen], events.dec[chosen])
            acceptance += background_map(geometry, events, response, (edges[0], edges[-1]))
            rows.append(count_regions(geometry, events, response, edges))
            LOG.info("%s: observation %d, on %d, off %d, alpha %.3f", name, *_told(rows[-1]))
    write_fits(
        make_hdus(geometry, edges, counts, acceptance, rows), directory / config["outputs"][0], config["date"]
    )


def edges_of(config: Mapping[str, Any]) -> Floats:
    """Give the bins of measured energy in TeV."""
    low, high = config["energy_range_tev"]
    return energy_edges(low, high, config["bins_per_decade"])


def read_events(path: Path, obs_id: int) -> EventFile:
    """Read an event list; PayloadError for a damaged file, or one of another observation."""
    hdus = read_input(path)
    if EVENTS not in hdus or (missing := [k for k in NEEDED if k not in hdus[EVENTS].header]):
        what = f"has no {', '.join(missing)}" if EVENTS in hdus else f"has no table {EVENTS}"
        raise PayloadError(f"{path.name} is no event list of GADF: it {what}")
    header = hdus[EVENTS].header
    if header["OBS_ID"] != obs_id:
        raise PayloadError(f"{path.name} is of observation {header['OBS_ID']}: allowed {obs_id}")
    try:
        ra, dec, energy = (column(hdus[EVENTS], name, unit) for name, unit in READ.items())
    except (KeyError, ValueError) as error:
        raise PayloadError(f"{path.name} is no event list of GADF: {error}") from error
    return EventFile(path.name, header, ra, dec, energy)


def background_map(
    geometry: Geometry, events: EventFile, response: Response, energies_tev: tuple[float, float]
) -> Floats:
    """Background events that the response lets expect in each pixel."""
    distance = geometry.distance_from(*events.pointing)
    solid_angle = np.radians(geometry.pixel_deg) ** 2
    rate = response.background_rate(energies_tev, distance)
    return np.asarray(rate * solid_angle * float(events.header["LIVETIME"]))


def count_regions(geometry: Geometry, events: EventFile, response: Response, edges: Floats) -> OnOff:
    """Count on and off events by energy; PayloadError when there is no room for an off region."""
    offset = sky.separation(geometry.ra, geometry.dec, *events.pointing)
    if offset + geometry.on_radius > response.max_offset_deg:
        raise PayloadError(
            f"{events.name}: the target is {offset:.2f} deg from the pointing: allowed at most "
            f"{response.max_offset_deg - geometry.on_radius:.2f} deg with this response"
        )
    centres = off_regions(geometry, events.pointing, offset)
    if not centres:
        raise PayloadError(
            f"{events.name}: the target is {offset:.3f} deg from the pointing: allowed at least "
            f"{geometry.on_radius / math.sin(math.pi / 3):.3f} deg with on_radius_deg = "
            f"{geometry.on_radius:g}, else there is no room for an off region"
        )
    n_on = _histogram(events, (geometry.ra, geometry.dec), geometry.on_radius, edges)
    n_off = sum(_histogram(events, centre, geometry.on_radius, edges) for centre in centres)
    livetime = float(events.header["LIVETIME"])
    expected = response.expected(edges, offset, geometry.on_radius) * livetime
    return OnOff(int(events.header["OBS_ID"]), livetime, 1 / len(centres), n_on, np.asarray(n_off), expected)


def off_regions(
    geometry: Geometry, pointing: tuple[float, float], offset_deg: float
) -> list[tuple[float, float]]:
    """Give the centres of circles like the on region, at the same offset, none touching another."""
    if offset_deg <= geometry.on_radius:
        return []
    places = math.floor(math.pi / math.asin(geometry.on_radius / offset_deg))
    east, north = sky.to_plane(np.array([geometry.ra]), np.array([geometry.dec]), *pointing)
    start, radius = math.atan2(north[0], east[0]), math.hypot(east[0], north[0])
    skipped = NEIGHBOURS if places - 1 - 2 * NEIGHBOURS >= ENOUGH_REGIONS else 0
    angles = start + 2 * np.pi * np.arange(1 + skipped, places - skipped) / places
    ra, dec = sky.from_plane(radius * np.cos(angles), radius * np.sin(angles), *pointing)
    return list(zip(ra.tolist(), dec.tolist(), strict=True))


def _histogram(events: EventFile, centre: tuple[float, float], radius_deg: float, edges: Floats) -> Floats:
    inside = sky.separations(events.ra, events.dec, *centre) <= radius_deg
    return np.histogram(events.energy[inside], bins=edges)[0].astype(float)


def _told(row: OnOff) -> tuple[int, int, int, float]:
    return row.obs_id, int(row.n_on.sum()), int(row.n_off.sum()), row.alpha


def make_hdus(
    geometry: Geometry, edges: Floats, counts: Floats, acceptance: Floats, rows: list[OnOff]
) -> fits.HDUList:
    """Put counts, expected background and the table of on and off counts into one file."""
    bins = f"{len(edges) - 1}D"
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("OBS_ID", "K", array=[r.obs_id for r in rows]),
            fits.Column("LIVETIME", "D", "s", array=[r.livetime_s for r in rows]),
            fits.Column("ALPHA", "D", array=[r.alpha for r in rows]),
            *(
                fits.Column(name.upper(), bins, array=np.stack([getattr(r, name) for r in rows]))
                for name in ("n_on", "n_off", "expected")
            ),
            fits.Column("ENERGY", f"{len(edges)}D", "TeV", array=np.stack([edges] * len(rows))),
        ],
        name=ONOFF,
    )
    images = [
        fits.ImageHDU(counts.astype(np.int32), name=COUNTS),
        fits.ImageHDU(acceptance.astype(np.float64), name=ACCEPTANCE),
    ]
    for image in images:
        put_cards(image.header, geometry.cards)
    for hdu in (*images, table):
        put_cards(hdu.header, toy_cards(geometry))
    return fits.HDUList([fits.PrimaryHDU(), *images, table])


def toy_cards(geometry: Geometry) -> dict[str, tuple[Any, str]]:
    """Say in a header what made the file, and that it is a toy."""
    return {
        "TELESCOP": ("TOY", "toy simulation, no telescope"),
        "INSTRUME": ("TOY", "toy simulation, no instrument"),
        "ORIGIN": ("esap-batch", "who made the file"),
        "CREATOR": (CREATOR, "program that made the file"),
        "ONRADIUS": (geometry.on_radius, "[deg] radius of the on region"),
    }
