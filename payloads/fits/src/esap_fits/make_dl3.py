"""Toy observations at DL3 straight from a response: a point source with a power law, and the background.

What a detector with this response would see, so an analysis with the same response has to find the source's
flux again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import CREATOR, reading, sky
from .detector import Floats
from .dl3 import EventList, Interval, Observation, write_dl3, write_indices
from .reading import PayloadError
from .response import CM2_PER_M2, MEV_PER_TEV, Response, Table, read_response
from .storing import FIXED_DATE

LOG = logging.getLogger(__name__)
LIVE_SHARE = 0.98
OBSERVATION = {
    "obs_id": reading.integer(1, 999_999),
    "sb_id": reading.integer(1, 999_999),
    "project": reading.text(),
    "target": reading.text(),
    "site": reading.choice(*sky.SITES),
    "array_layout": reading.text(),
    "model_version": reading.text(),
    "start_time": reading.date(),
    "duration_s": reading.number(1, 36_000, "s"),
    "ra_pnt_deg": reading.number(0, 360, "deg"),
    "dec_pnt_deg": reading.number(-90, 90, "deg"),
    "ra_obj_deg": reading.number(0, 360, "deg"),
    "dec_obj_deg": reading.number(-90, 90, "deg"),
    "zenith_deg": reading.number(0, 70, "deg"),
    "azimuth_deg": reading.number(0, 360, "deg", 180.0),
    "seed": reading.integer(0, 2**53, 1),
}
CONFIG = {
    "irf": reading.Key("the file name of a response", lambda v: reading.names().accepts([v])),
    "amplitude": reading.number(0, 1e-6, "1/(cm2 s TeV) at 1 TeV"),
    "index": reading.number(1, 6, default=2.6),
    "observations": reading.Key("a list of observations", lambda v: isinstance(v, list) and bool(v)),
    "date": reading.date(FIXED_DATE),
}


def make_dl3(config_path: Path, directory: Path) -> list[dict[str, Any]]:
    """Write event lists and index tables; give a line for each event list."""
    config = reading.read_document(config_path, CONFIG)
    response = read_response(config_path.parent / config["irf"])
    LOG.info("TOY DATA: these observations have no physical meaning")
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _observe(
            reading.complete(o, OBSERVATION, f"{config_path}: observations[{n}]"), config, response, directory
        )
        for n, o in enumerate(config["observations"])
    ]


def _observe(
    o: Mapping[str, Any], config: Mapping[str, Any], response: Response, directory: Path
) -> dict[str, Any]:
    rng = np.random.default_rng([o["seed"], o["obs_id"]])
    pointing = o["ra_pnt_deg"], o["dec_pnt_deg"]
    source = sky.to_plane(np.array([o["ra_obj_deg"]]), np.array([o["dec_obj_deg"]]), *pointing)
    offset = sky.separation(o["ra_obj_deg"], o["dec_obj_deg"], *pointing)
    if offset >= response.max_offset_deg:
        raise PayloadError(
            f"observation {o['obs_id']}: the object is {offset:.2f} deg from the pointing: allowed below "
            f"{response.max_offset_deg:g} deg with this response"
        )
    live = o["duration_s"] * LIVE_SHARE
    parts = _signal(rng, response, config, offset, live), _background(rng, response, live)
    energy = np.concatenate([e for e, _, _ in parts])
    east = np.concatenate([parts[0][1] + source[0], parts[1][1]])
    north = np.concatenate([parts[0][2] + source[1], parts[1][2]])
    start = sky.seconds(o["start_time"])
    ra, dec = sky.from_plane(east, north, *pointing)
    count = len(energy)
    events = EventList(
        event_id=np.arange(1, count + 1),
        time=rng.uniform(start, start + o["duration_s"], count),
        ra=ra,
        dec=dec,
        energy=energy,
        east=east,
        north=north,
        telescopes=np.full(count, 2),
    )
    names = [f"{kind}_{o['obs_id']:06d}.fits.gz" for kind in ("dl3", "obs-index", "hdu-index")]
    paths = [directory / name for name in names]
    observation, good = _header(o, start), [Interval(start, start + o["duration_s"])]
    write_dl3(paths[0], observation, events, good, config["date"])
    write_indices([paths[0]], paths[1], paths[2], config["date"])
    return {"obs_id": o["obs_id"], "files": names, "events": count, "livetime_s": live}


def _header(o: Mapping[str, Any], start: float) -> Observation:
    return Observation(
        obs_id=o["obs_id"],
        sb_id=o["sb_id"],
        project=o["project"],
        target=o["target"],
        site=o["site"],
        ra_pnt=o["ra_pnt_deg"],
        dec_pnt=o["dec_pnt_deg"],
        ra_obj=o["ra_obj_deg"],
        dec_obj=o["dec_obj_deg"],
        zenith=o["zenith_deg"],
        azimuth=o["azimuth_deg"],
        start=start,
        stop=start + o["duration_s"],
        telescopes=[1, 2],
        live_share=LIVE_SHARE,
        array_layout=o["array_layout"],
        model_version=o["model_version"],
        campaign="sample",
        software=CREATOR,
        stand_in="events are drawn from a response",
    )


Events = tuple[Floats, Floats, Floats]  # energy in TeV; east and north in deg


def _signal(
    rng: np.random.Generator, response: Response, config: Mapping[str, Any], offset: float, live: float
) -> Events:
    edges = response.aeff.edges["ENERG"]
    power = 1 - config["index"]
    flux = config["amplitude"] * -np.diff(edges**power) / -power
    rate = flux * response.aeff.at_offset(offset) * CM2_PER_M2
    cells = _pick(rng, rate, rng.poisson(rate.sum() * live))
    energy = _within(rng, edges, cells, logarithmic=True)
    migra, radius = np.ones_like(energy), np.zeros_like(energy)
    for cell in np.unique(cells):
        own = cells == cell
        migra[own] = _drawn(rng, response.edisp, "MIGRA", offset, int(cell), int(own.sum()))
        radius[own] = _drawn(rng, response.psf, "RAD", offset, int(cell), int(own.sum()))
    angle = rng.uniform(0, 2 * np.pi, len(energy))
    return energy * migra, radius * np.cos(angle), radius * np.sin(angle)


def _drawn(rng: np.random.Generator, table: Table, axis: str, offset: float, cell: int, count: int) -> Floats:
    """Draw from the density that a component has at an energy, per unit of the axis or per solid angle."""
    edges = table.edges[axis]
    measure = -np.diff(np.cos(np.radians(edges))) if axis == "RAD" else np.diff(edges)
    return _within(
        rng, edges, _pick(rng, table.at_offset(offset)[:, cell] * measure, count), logarithmic=False
    )


def _background(rng: np.random.Generator, response: Response, live: float) -> Events:
    edges, theta = response.bkg.edges["ENERG"], response.bkg.edges["THETA"]
    solid = 2 * np.pi * -np.diff(np.cos(np.radians(theta)))
    mean = response.bkg.values * np.diff(edges) * MEV_PER_TEV * solid[:, None] * live  # (theta, energy)
    cells = _pick(rng, mean.ravel(), rng.poisson(mean.sum()))
    band, bin_ = np.divmod(cells, len(edges) - 1)
    radius = np.sqrt(rng.uniform(theta[band] ** 2, theta[band + 1] ** 2))
    angle = rng.uniform(0, 2 * np.pi, len(cells))
    return _within(rng, edges, bin_, logarithmic=True), radius * np.cos(angle), radius * np.sin(angle)


def _pick(rng: np.random.Generator, weights: Floats, count: int) -> Any:
    """Choose cells by their weights; PayloadError when there is nothing to choose from."""
    steps = np.cumsum(weights)
    if count and steps[-1] <= 0:
        raise PayloadError("the response is empty where events are to be drawn")
    return np.searchsorted(steps, rng.random(count) * steps[-1], side="right")


def _within(rng: np.random.Generator, edges: Floats, cells: Any, *, logarithmic: bool) -> Floats:
    low, high, share = edges[cells], edges[cells + 1], rng.random(len(cells))
    return np.asarray(low * (high / low) ** share if logarithmic else low + share * (high - low))
