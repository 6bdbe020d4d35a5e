"""One GADF full-enclosure IRF from many event files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable
from pyirf.io import (
    create_aeff2d_hdu,
    create_background_2d_hdu,
    create_energy_dispersion_hdu,
    create_psf_table_hdu,
)
from pyirf.irf import background_2d, effective_area_per_energy_and_fov, energy_dispersion, psf_table
from pyirf.simulations import SimulatedEventsInfo
from pyirf.spectral import IRFDOC_PROTON_SPECTRUM, PowerLaw, calculate_event_weights

from . import CREATOR, dl3, reading
from .detector import HADRON_SURVIVAL
from .efficiency import energy_edges
from .events import KEYWORDS, EventFile, Thrown, read_events
from .plot import plot_irf
from .reading import PayloadError
from .storing import FIXED_DATE, write_fits

LOG = logging.getLogger(__name__)
MIGRATION = np.geomspace(0.2, 5, 61)
PSF_RADIUS = np.linspace(0, 1, 101) * u.deg
POINTING = ("site", "array_layout", "model_version", "zenith_deg", "azimuth_deg", "systematic_uncertainty")
PROVENANCE = dl3.PROVENANCE | {
    "period_start": ("PERSTART", "first day of validity"),
    "period_end": ("PERSTOP", "last day of validity"),
}

MERGE = {
    "signal_files": reading.names(),
    "proton_files": reading.names(),
    "energy_range_tev": reading.rising("[low, high] in TeV", 2, low=1e-4),
    "bins_per_decade": reading.integer(1, 50, 5),
    "offset_edges_deg": reading.rising("edges in deg", default=[0, 1, 2, 3, 4, 5]),
    "observation_time_h": reading.number(1e-3, 1e5, "h", 50.0),
    "systematic_uncertainty": reading.number(0, 1, default=0.0),
    "date": reading.date(FIXED_DATE),
    "provenance": reading.cards(PROVENANCE),
}


@dataclass(frozen=True)
class Sample:
    """All event files of one role, as one simulation."""

    thrown: Thrown
    n_thrown: int
    events: QTable

    @property
    def info(self) -> SimulatedEventsInfo:
        t = self.thrown
        return SimulatedEventsInfo(
            n_showers=self.n_thrown,
            energy_min=t.energy_min_tev * u.TeV,
            energy_max=t.energy_max_tev * u.TeV,
            max_impact=t.max_impact_m * u.m,
            spectral_index=t.spectral_index,
            viewcone_min=0 * u.deg,
            viewcone_max=t.viewcone_deg * u.deg,
        )


def merge(config_path: Path, output: Path, plot: Path, threads: int = 1) -> None:
    """Make the IRF and its plot; PayloadError when the event files do not belong together."""
    config = reading.read_document(config_path, MERGE)
    if set(config["signal_files"]) & set(config["proton_files"]):
        raise PayloadError(f"{config_path}: a file is in signal_files and in proton_files")
    directory = config_path.parent
    with ThreadPoolExecutor(max(1, threads)) as pool:
        signal_files = list(pool.map(read_events, (directory / n for n in config["signal_files"])))
        proton_files = list(pool.map(read_events, (directory / n for n in config["proton_files"])))
    _require_belonging(signal_files, proton_files)
    signal, protons = _sample(signal_files), _sample(proton_files)
    _require_coverage(signal.thrown, config)
    LOG.info("TOY SIMULATION: this response has no physical meaning")
    LOG.info(
        "%d of %d %ss and %d of %d protons triggered",
        len(signal.events),
        signal.n_thrown,
        signal.thrown.particle,
        len(protons.events),
        protons.n_thrown,
    )
    hdus = make_hdus(signal, protons, config)
    write_fits(hdus, output, config["date"])
    plot_irf(hdus, plot)
    LOG.info("wrote %s and %s", output, plot)


def _require_belonging(signal: Sequence[EventFile], protons: Sequence[EventFile]) -> None:
    problems = [
        f"seed {seed} is in {n} files: {', '.join(f.name for f in (*signal, *protons) if f.seed == seed)}"
        for seed, n in Counter(f.seed for f in (*signal, *protons)).items()
        if n > 1
    ]
    for files, allowed in ((signal, ("gamma", "electron")), (protons, ("proton",))):
        problems += [
            f"{f.name} holds {f.thrown.particle}s: allowed {' or '.join(allowed)}"
            for f in files
            if f.thrown.particle not in allowed
        ]
        problems += _differences(files[0], files[1:], tuple(KEYWORDS))
    problems += _differences(signal[0], protons[:1], POINTING)
    if problems:
        raise PayloadError("the event files do not belong together:\n" + "\n".join(problems))


def _differences(first: EventFile, others: Iterable[EventFile], keys: Sequence[str]) -> list[str]:
    wanted = asdict(first.thrown)
    return [
        f"{key} = {value!r} in {other.name}, but {wanted[key]!r} in {first.name}"
        for other in others
        for key, value in asdict(other.thrown).items()
        if key in keys and value != wanted[key]
    ]


def _require_coverage(thrown: Thrown, config: dict[str, Any]) -> None:
    low, high = config["energy_range_tev"]
    if thrown.energy_min_tev > low or thrown.energy_max_tev < high:
        raise PayloadError(
            f"energy_range_tev = {low:g} to {high:g}: allowed is what was thrown, "
            f"{thrown.energy_min_tev:g} to {thrown.energy_max_tev:g} TeV"
        )
    if config["offset_edges_deg"][-1] > thrown.viewcone_deg:
        raise PayloadError(
            f"offset_edges_deg up to {config['offset_edges_deg'][-1]:g}: allowed is up to the view cone, "
            f"{thrown.viewcone_deg:g} deg"
        )


def _sample(files: Sequence[EventFile]) -> Sample:
    ordered = sorted(files, key=lambda f: f.seed)  # sums of weights depend on the order

    def column(name: str, unit: u.Unit) -> u.Quantity:
        return np.concatenate([f.column(name) for f in ordered]) * unit

    events = QTable(
        {
            "true_energy": column("TRUE_ENERGY", u.TeV),
            "reco_energy": column("RECO_ENERGY", u.TeV),
            "theta": column("THETA", u.deg),
            "true_source_fov_offset": column("TRUE_OFFSET", u.deg),
            "reco_source_fov_offset": column("RECO_OFFSET", u.deg),
        }
    )
    return Sample(ordered[0].thrown, sum(f.n_thrown for f in ordered), events)


def make_hdus(signal: Sample, protons: Sample, config: dict[str, Any]) -> fits.HDUList:
    """Compute effective area, energy dispersion, point spread function and background rate."""
    low, high = config["energy_range_tev"]
    energy = energy_edges(low, high, config["bins_per_decade"]) * u.TeV
    offset = np.asarray(config["offset_edges_deg"], dtype=float) * u.deg
    time = config["observation_time_h"] * u.h
    area = effective_area_per_energy_and_fov(signal.events, signal.info, energy, offset)
    dispersion = energy_dispersion(signal.events, energy, offset, MIGRATION)
    psf = psf_table(signal.events, energy, PSF_RADIUS, offset)
    protons.events["weight"] = HADRON_SURVIVAL * calculate_event_weights(
        protons.events["true_energy"], IRFDOC_PROTON_SPECTRUM, PowerLaw.from_simulation(protons.info, time)
    )
    rate = background_2d(protons.events, energy, offset, time)
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            create_aeff2d_hdu(area, energy, offset, point_like=False),
            create_energy_dispersion_hdu(
                dispersion, energy, MIGRATION, offset, point_like=False, extname="ENERGY DISPERSION"
            ),
            create_psf_table_hdu(psf, energy, PSF_RADIUS, offset, extname="POINT SPREAD FUNCTION"),
            create_background_2d_hdu(rate, energy, offset),
        ]
    )
    for hdu in hdus:
        _describe(hdu.header, signal, protons, config)
    return hdus


def _describe(header: fits.Header, signal: Sample, protons: Sample, config: dict[str, Any]) -> None:
    header["TELESCOP"] = ("TOY", "toy simulation, no telescope")
    header["INSTRUME"] = ("TOY", "toy simulation, no instrument")
    header["ORIGIN"] = "esap-batch"
    header["CREATOR"] = CREATOR
    for name, (keyword, comment) in KEYWORDS.items():
        header[keyword] = (getattr(signal.thrown, name), comment)
    header["SYSTUNC"] = (config["systematic_uncertainty"], KEYWORDS["systematic_uncertainty"][1])
    header["PROINDEX"] = (protons.thrown.spectral_index, "spectral index of protons thrown")
    header["NSIMGAM"] = (signal.n_thrown, "signal showers thrown")
    header["NSIMPRO"] = (protons.n_thrown, "proton showers thrown")
    header["NTRGGAM"] = (len(signal.events), "signal showers that triggered")
    header["NTRGPRO"] = (len(protons.events), "proton showers that triggered")
    header["OBSTIME"] = (config["observation_time_h"], "[h] observation time")
    dl3.put_cards(header, {PROVENANCE[n][0]: (v, PROVENANCE[n][1]) for n, v in config["provenance"].items()})
