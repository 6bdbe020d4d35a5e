"""Event files: the toy simulation that makes them, and their reading."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from . import CREATOR, reading
from .detector import LAYOUTS, MODELS, PARTICLES, Detector, Floats
from .reading import PayloadError
from .storing import FIXED_DATE, write_fits
from .strict import read_input

LOG = logging.getLogger(__name__)
EXTENSION = "EVENTS"
CHUNK = 200_000  # showers in memory at a time: about 20 MB
COLUMNS = {
    "EVENT_ID": ("J", ""),
    "TRUE_ENERGY": ("E", "TeV"),
    "RECO_ENERGY": ("E", "TeV"),
    "THETA": ("E", "deg"),
    "TRUE_OFFSET": ("E", "deg"),
    "RECO_OFFSET": ("E", "deg"),
}
SIMULATION = {
    "particle": reading.choice(*PARTICLES),
    "n_events": reading.integer(1, 2_000_000_000),
    "seed": reading.integer(0, 2**53),
    "energy_range_tev": reading.rising("[low, high] in TeV", 2, low=1e-4),
    "spectral_index": reading.number(-5, 0),
    "zenith_deg": reading.number(0, 70, "deg"),
    "azimuth_deg": reading.number(0, 360, "deg"),
    "site": reading.choice(*dict.fromkeys(site for site, _ in LAYOUTS)),
    "array_layout": reading.choice(*dict.fromkeys(layout for _, layout in LAYOUTS)),
    "model_version": reading.choice(*MODELS),
    "systematic_uncertainty": reading.number(0, 1, default=0.0),
    "viewcone_deg": reading.number(0.1, 20, "deg", default=6.0),
    "max_impact_m": reading.number(10, 10_000, "m", default=1000.0),
    "date": reading.date(FIXED_DATE),
}


@dataclass(frozen=True)
class Thrown:
    """What was thrown, as the header of an event file has it. Equal for all files of a role of an IRF."""

    particle: str
    energy_min_tev: float
    energy_max_tev: float
    spectral_index: float
    zenith_deg: float
    azimuth_deg: float
    site: str
    array_layout: str
    model_version: str
    systematic_uncertainty: float
    viewcone_deg: float
    max_impact_m: float

    @classmethod
    def of(cls, config: dict[str, Any]) -> Thrown:
        """Take it from a configuration as `SIMULATION` describes it."""
        low, high = config["energy_range_tev"]
        same = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        return cls(energy_min_tev=low, energy_max_tev=high, **same)

    @property
    def detector(self) -> Detector:
        return Detector.of(self.site, self.array_layout, self.model_version, self.particle, self.zenith_deg)


KEYWORDS = {
    "particle": ("PARTICLE", "primary particle"),
    "energy_min_tev": ("E_MIN", "[TeV] lowest energy thrown"),
    "energy_max_tev": ("E_MAX", "[TeV] highest energy thrown"),
    "spectral_index": ("SPINDEX", "spectral index thrown"),
    "zenith_deg": ("ZENITH", "[deg] zenith angle"),
    "azimuth_deg": ("AZIMUTH", "[deg] azimuth"),
    "site": ("SITE", "site of the array"),
    "array_layout": ("LAYOUT", "layout of the array"),
    "model_version": ("MODEL", "version of the array's model"),
    "systematic_uncertainty": ("SYSTUNC", "relative systematic uncertainty"),
    "viewcone_deg": ("VIEWCONE", "[deg] radius of the view cone"),
    "max_impact_m": ("MAXIMP", "[m] largest impact distance thrown"),
}


@dataclass(frozen=True)
class EventFile:
    """A simulation's output: what was thrown, how much of it with which seed, and what triggered."""

    name: str
    thrown: Thrown
    n_thrown: int
    seed: int
    table: Any

    def column(self, name: str) -> Floats:
        """Give a column as float64, in the unit of `COLUMNS`."""
        return np.asarray(self.table[name], dtype=np.float64)


def power_law(uniform: Floats, low: float, high: float, index: float) -> Floats:
    """Map uniform numbers in [0, 1) to energies of a power law E^index between low and high."""
    slope = index + 1
    if abs(slope) < 1e-9:  # noqa: PLR2004 - E^-1 is uniform in the logarithm
        return np.asarray(low * (high / low) ** uniform)
    return np.asarray((low**slope + uniform * (high**slope - low**slope)) ** (1 / slope))


def throw(thrown: Thrown, n_events: int, seed: int) -> Iterator[dict[str, Floats]]:
    """Throw showers over a disc and a cone, chunk by chunk, and give the columns of those that trigger."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_events, CHUNK):
        yield _throw_chunk(thrown, min(CHUNK, n_events - start), start, rng)


def _throw_chunk(thrown: Thrown, size: int, first_id: int, rng: np.random.Generator) -> dict[str, Floats]:
    detector = thrown.detector
    energy = power_law(rng.random(size), thrown.energy_min_tev, thrown.energy_max_tev, thrown.spectral_index)
    impact2 = thrown.max_impact_m**2 * rng.random(size)
    cone = 1 - np.cos(np.radians(thrown.viewcone_deg))
    offset = np.degrees(np.arccos(1 - rng.random(size) * cone))
    triggered = np.flatnonzero(rng.random(size) < detector.trigger_probability(energy, impact2, offset))
    energy, offset = energy[triggered], offset[triggered]
    theta = rng.rayleigh(detector.angular_sigma_deg(energy))
    along = np.cos(rng.uniform(0, 2 * np.pi, energy.size))
    measured = detector.particle.measured * rng.lognormal(0, detector.energy_sigma(energy))
    return {
        "EVENT_ID": first_id + triggered,
        "TRUE_ENERGY": energy,
        "RECO_ENERGY": energy * measured,
        "THETA": theta,
        "TRUE_OFFSET": offset,
        # A flat sky is good enough for a few degrees.
        "RECO_OFFSET": np.sqrt(np.maximum(offset**2 + theta**2 + 2 * offset * theta * along, 0)),
    }


def simulate(config_path: Path, output: Path) -> int:
    """Run the toy simulation that a configuration asks for; give the number of triggered events."""
    config = reading.read_document(config_path, SIMULATION)
    thrown = Thrown.of(config)
    LOG.info("TOY SIMULATION: these events have no physical meaning")
    LOG.info("throwing %d x %s with seed %d: %s", config["n_events"], thrown.particle, config["seed"], thrown)
    chunks = list(throw(thrown, config["n_events"], config["seed"]))
    columns = [
        fits.Column(name, form, unit or None, array=np.concatenate([c[name] for c in chunks]))
        for name, (form, unit) in COLUMNS.items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name=EXTENSION)
    triggered = len(table.data)
    primary = fits.PrimaryHDU()
    for header in (primary.header, table.header):
        _describe(header, thrown, config, triggered)
    write_fits(fits.HDUList([primary, table]), output, config["date"])
    LOG.info("%d of %d triggered; wrote %s", triggered, config["n_events"], output)
    return triggered


def _describe(header: fits.Header, thrown: Thrown, config: dict[str, Any], triggered: int) -> None:
    header["TELESCOP"] = ("TOY", "toy simulation, no telescope")
    header["INSTRUME"] = ("TOY", "toy simulation, no instrument")
    header["CREATOR"] = CREATOR
    for name, (keyword, comment) in KEYWORDS.items():
        header[keyword] = (getattr(thrown, name), comment)
    header["NTHROWN"] = (config["n_events"], "showers thrown")
    header["NTRIG"] = (triggered, "showers that triggered")
    header["SEED"] = (config["seed"], "seed of the random numbers")


def read_events(path: Path) -> EventFile:
    """Read what `simulate` wrote; PayloadError names the file and what is wrong with it."""
    hdus = read_input(path)
    try:
        table = hdus[EXTENSION]
        header = table.header
        thrown = Thrown(**{name: header[keyword] for name, (keyword, _) in KEYWORDS.items()})
        missing = [name for name in COLUMNS if name not in table.columns.names]
        if missing:
            raise PayloadError(f"{path} has no column {', '.join(missing)} in {EXTENSION}")
        return EventFile(path.name, thrown, int(header["NTHROWN"]), int(header["SEED"]), table.data)
    except KeyError as error:
        raise PayloadError(f"{path} is no event file of esap-fits: {error.args[0]}") from error
