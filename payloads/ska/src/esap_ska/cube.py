"""HI data cubes: what their headers must say, and reading of a part without the rest.

Axes are in the order of FITS: x (right ascension), y (declination), channel. Positions in deg, velocities in
km/s of the radio convention, flux densities in Jy/beam.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from astropy import constants
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning
from esap_fits.reading import PayloadError

Floats: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = npt.NDArray[np.int64]
LIGHT_KMS = constants.c.to_value("km/s")
HI_REST_HZ = 1420405751.7667
AXES = 3
FWHM_AREA = np.pi / (4 * np.log(2))  # solid angle of a Gaussian beam of FWHM 1 x 1
VELOCITY, FREQUENCY = "VRAD", "FREQ"
CARDS = ("BUNIT", "BMAJ", "BMIN", "BPA", "OBJECT", "RESTFRQ", "RESTFREQ")
Box: TypeAlias = tuple[slice, slice, slice]  # x, y, channel


@dataclass(frozen=True)
class Geometry:
    """Where the cells of a cube are. `shape` is x, y, channel; widths and beam as the module says.

    `cards` are those of the header that tell all of it.
    """

    shape: tuple[int, int, int]
    celestial: WCS
    first_kms: float
    step_kms: float
    beam_deg: tuple[float, float, float]
    target: str
    cards: fits.Header

    @property
    def pixel_area(self) -> float:
        """Solid angle of a pixel in deg2."""
        return float(np.prod(np.abs(self.celestial.proj_plane_pixel_scales_deg)))

    @property
    def beam_pixels(self) -> float:
        """Pixels that the beam's solid angle covers: Jy/beam summed over pixels, divided by it, is Jy."""
        major, minor, _ = self.beam_deg
        return float(FWHM_AREA * major * minor / self.pixel_area)

    def velocity(self, channel: Floats) -> Floats:
        """Give velocities in km/s of channels counted from 0."""
        return self.first_kms + self.step_kms * np.asarray(channel, dtype=float)

    def position(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Give right ascension and declination in deg of pixels counted from 0."""
        ra, dec = self.celestial.wcs_pix2world(x, y, 0)
        return np.asarray(ra, dtype=float) % 360, np.asarray(dec, dtype=float)


class Celestial(WCS):
    """Two axes of the sky."""

    @property
    def proj_plane_pixel_scales_deg(self) -> Floats:
        from astropy.wcs.utils import proj_plane_pixel_scales

        return np.asarray(proj_plane_pixel_scales(self), dtype=float)


@dataclass(frozen=True)
class Cube:
    """A cube on disk."""

    path: Path
    geometry: Geometry

    def read(self, box: Box) -> Floats:
        """Read a part: an array by channel, y, x; cells without a value are NaN."""
        x, y, channel = box
        with fits.open(self.path, mode="readonly", memmap=True) as hdus:
            part = np.array(hdus[0].section[channel, y, x], dtype=np.float64)
        part[~np.isfinite(part)] = np.nan
        return part


def open_cube(path: Path) -> Cube:
    """Read a cube's header; PayloadError names everything in it that cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(path, mode="readonly", memmap=True) as hdus:
                header = hdus[0].header.copy()
                shape = tuple(reversed(hdus[0].shape))
    except Exception as error:  # on damaged headers astropy raises nearly anything
        raise PayloadError(f"{path}: it cannot be read as FITS: {type(error).__name__}: {error}") from error
    return Cube(path, geometry_of(header, shape, str(path)))


def geometry_of(header: fits.Header, shape: tuple[int, ...], where: str) -> Geometry:
    """Give the geometry that a header tells; PayloadError names everything in it that cannot be used."""
    problems = _header_problems(header, shape)
    if problems:
        raise PayloadError("\n".join(f"{where}: {p}" for p in problems))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        whole = WCS(header)
    celestial = Celestial(whole.celestial.to_header())
    first, step = _velocities(header, whole)
    beam = tuple(float(header.get(k, 0.0)) for k in ("BMAJ", "BMIN", "BPA"))
    target = str(header.get("OBJECT", "")).strip() or "unknown"
    nx, ny, channels = shape
    cards = whole.to_header()
    cards.update({k: header[k] for k in CARDS if k in header})
    return Geometry((nx, ny, channels), celestial, first, step, (beam[0], beam[1], beam[2]), target, cards)


def _header_problems(header: fits.Header, shape: tuple[int, ...]) -> list[str]:
    kinds = [str(header.get(f"CTYPE{n}", "")) for n in range(1, AXES + 1)]
    checks: Mapping[str, bool] = {
        f"it has {len(shape)} axes: allowed {AXES}": len(shape) == AXES,
        f"CTYPE1, CTYPE2 = {kinds[0]!r}, {kinds[1]!r}: allowed RA and DEC, in degrees": (
            kinds[0].startswith("RA--") and kinds[1].startswith("DEC-")
        ),
        f"CTYPE3 = {kinds[2]!r}: allowed {VELOCITY} and {FREQUENCY}": kinds[2] in (VELOCITY, FREQUENCY),
        f"BUNIT = {header.get('BUNIT')!r}: allowed Jy/beam": _is_jansky(header.get("BUNIT")),
    }
    beam = {k: header.get(k) for k in ("BMAJ", "BMIN")}
    checks = {
        **checks,
        **{f"{k} = {v!r}: allowed a number above 0, in deg": _is_positive(v) for k, v in beam.items()},
    }
    return [problem for problem, passed in checks.items() if not passed]


def _is_jansky(unit: Any) -> bool:
    return str(unit or "").replace(" ", "").lower() in ("jy/beam", "jybeam-1", "beam-1jy", "jy.beam-1")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf


def _velocities(header: fits.Header, wcs: WCS) -> tuple[float, float]:
    """Give velocity of the first channel and step in km/s. Both axes are linear in the radio convention."""
    spectral = wcs.sub([AXES])
    ends = np.asarray(spectral.wcs_pix2world([[0.0], [1.0]], 0), dtype=float).ravel()
    if str(header["CTYPE3"]) == VELOCITY:
        velocities = ends / 1000.0
    else:
        rest = float(header.get("RESTFRQ", header.get("RESTFREQ", HI_REST_HZ)))
        velocities = LIGHT_KMS * (1.0 - ends / rest)
    return float(velocities[0]), float(velocities[1] - velocities[0])
