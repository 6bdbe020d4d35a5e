"""A full-enclosure response of GADF, as an analysis needs it: background rates, and counts to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from .detector import Floats
from .reading import PayloadError
from .strict import read_input
from .units import column

AXIS_UNITS = {"ENERG": "TeV", "MIGRA": "", "THETA": "deg", "RAD": "deg"}


@dataclass(frozen=True)
class Layout:
    """What GADF asks of one kind of HDU; `axes` in the order of FITS, numpy has them reversed."""

    hduclas2: tuple[str, ...]
    column: str
    unit: str
    axes: tuple[str, ...]


LAYOUTS = {
    "AEFF_2D": Layout(("EFF_AREA",), "EFFAREA", "m2", ("ENERG", "THETA")),
    "EDISP_2D": Layout(("EDISP",), "MATRIX", "", ("ENERG", "MIGRA", "THETA")),
    "PSF_TABLE": Layout(("RPSF", "PSF"), "RPSF", "sr-1", ("ENERG", "THETA", "RAD")),
    "BKG_2D": Layout(("BKG",), "BKG", "MeV-1 s-1 sr-1", ("ENERG", "THETA")),
}
HDUS = {
    "aeff": ("EFFECTIVE AREA", "AEFF_2D"),
    "edisp": ("ENERGY DISPERSION", "EDISP_2D"),
    "psf": ("POINT SPREAD FUNCTION", "PSF_TABLE"),
    "bkg": ("BACKGROUND", "BKG_2D"),
}
MEV_PER_TEV = 1e6
CM2_PER_M2 = 1e4
REFERENCE_INDEX, REFERENCE_AMPLITUDE = 2.6, 1e-11  # of the spectrum that counts are compared with; TeV, cm, s
FINE = 10  # steps within a bin of true energy


@dataclass(frozen=True)
class Table:
    """One component: bin edges of its axes by name, and its values, in the units of GADF."""

    edges: dict[str, Floats]
    values: Floats

    def at_offset(self, offset_deg: float) -> Floats:
        """Give the values of the offset band that `offset_deg` is in (theta is the last but one axis)."""
        return np.asarray(np.take(self.values, self.band(offset_deg), axis=-self._theta_from_end()))

    def band(self, offset_deg: float) -> int:
        theta = self.edges["THETA"]
        return int(np.clip(np.searchsorted(theta, offset_deg, side="right") - 1, 0, len(theta) - 2))

    def _theta_from_end(self) -> int:
        # FITS lists axes in the order of GADF, arrays have them the other way round.
        return list(self.edges).index("THETA") + 1


@dataclass(frozen=True)
class Response:
    """The four components: TeV, deg and m2; the PSF per sr, the background per MeV, sr and s."""

    name: str
    aeff: Table
    edisp: Table
    psf: Table
    bkg: Table

    @property
    def max_offset_deg(self) -> float:
        return float(self.aeff.edges["THETA"][-1])

    def background_rate(self, energies_tev: tuple[float, float], offset_deg: Floats) -> Floats:
        """Give background events in an energy range per s and sr at offsets; 0 beyond the response."""
        edges, theta = self.bkg.edges["ENERG"], self.bkg.edges["THETA"]
        low, high = np.maximum(edges[:-1], energies_tev[0]), np.minimum(edges[1:], energies_tev[1])
        width = np.maximum(high - low, 0) * MEV_PER_TEV
        by_offset = self.bkg.values @ width
        centres = (theta[1:] + theta[:-1]) / 2
        rate = np.interp(offset_deg, centres, by_offset)
        return np.asarray(np.where(offset_deg <= theta[-1], rate, 0.0))

    def expected(self, edges_tev: Floats, offset_deg: float, radius_deg: float) -> Floats:
        """Give events per s in bins of measured energy, within `radius_deg` of a point source.

        The source has the reference spectrum and lies at an offset from the pointing.
        """
        true = self.aeff.edges["ENERG"]
        fine = np.exp(
            np.interp(np.arange((len(true) - 1) * FINE + 1) / FINE, np.arange(len(true)), np.log(true))
        )
        centre, width = np.sqrt(fine[1:] * fine[:-1]), np.diff(fine)
        flux = reference_flux(centre) * width * CM2_PER_M2
        parent = np.repeat(np.arange(len(true) - 1), FINE)
        area = self.aeff.at_offset(offset_deg)[parent]
        contained = self._contained(offset_deg, radius_deg)[parent]
        return np.asarray((flux * area * contained) @ self._migration(centre, parent, edges_tev, offset_deg))

    def _contained(self, offset_deg: float, radius_deg: float) -> Floats:
        """Share of events within a radius, by true energy; the PSF table is per solid angle."""
        edges = self.psf.edges["RAD"]
        density = self.psf.at_offset(offset_deg)  # (radius, energy)
        rings = 2 * np.pi * -np.diff(np.cos(np.radians(edges)))
        shares = np.vstack([np.zeros(density.shape[1]), np.cumsum(density * rings[:, None], axis=0)])
        return np.asarray([np.interp(radius_deg, edges, column) for column in shares.T])

    def _migration(self, energy: Floats, parent: Any, edges_tev: Floats, offset_deg: float) -> Floats:
        """Probability that a true energy is measured in each bin, shape (energies, bins)."""
        edges = self.edisp.edges["MIGRA"]
        density = self.edisp.at_offset(offset_deg)  # (migra, energy)
        shares = np.vstack([np.zeros(density.shape[1]), np.cumsum(density * np.diff(edges)[:, None], axis=0)])
        below = np.stack(
            [np.interp(edges_tev / e, edges, shares[:, k]) for e, k in zip(energy, parent, strict=True)]
        )
        return np.diff(below, axis=1)


def reference_flux(energy_tev: Floats) -> Floats:
    """Give the reference spectrum in 1/(cm2 s TeV)."""
    return np.asarray(REFERENCE_AMPLITUDE * np.asarray(energy_tev, dtype=float) ** -REFERENCE_INDEX)


def read_response(path: Path) -> Response:
    """Read a response; PayloadError names the file and what is wrong with it."""
    hdus = read_input(path)
    try:
        tables = {name: _table(hdus[hdu], LAYOUTS[kind]) for name, (hdu, kind) in HDUS.items()}
    except (KeyError, ValueError) as error:
        raise PayloadError(f"{path.name} is no complete response of GADF: {error}") from error
    return Response(path.name, **tables)


def _table(hdu: Any, layout: Layout) -> Table:
    if not isinstance(hdu, fits.BinTableHDU) or len(hdu.data) != 1:
        raise ValueError(f"{hdu.name} is no table of one row")
    edges = {axis: _edges(hdu, axis) for axis in layout.axes}
    (values,) = column(hdu, layout.column, layout.unit)
    if values.shape != tuple(len(edges[axis]) - 1 for axis in reversed(layout.axes)):
        raise ValueError(f"{layout.column} has the shape {values.shape}, which is not that of its axes")
    return Table(edges, values)


def _edges(hdu: Any, axis: str) -> Floats:
    low, high = (column(hdu, f"{axis}_{side}", AXIS_UNITS[axis]).ravel() for side in ("LO", "HI"))
    return np.append(low, high[-1:])
