"""Where the cells of an HI cube are: what its header must say, and what that means.

Axes are in the order of FITS: x (right ascension), y (declination), channel; others have to be of length 1.
Positions in deg (ICRS), velocities in km/s of the radio convention, flux densities in Jy/beam.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import constants
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales
from esap_fits.reading import PayloadError

from .arrays import Floats
from .sky import frame_problem, to_icrs

LIGHT_KMS = constants.c.to_value("km/s")
HI_REST_HZ = 1420405751.7667
FWHM_AREA = np.pi / (4 * np.log(2))  # solid angle of a Gaussian beam of FWHM 1 x 1
RADIO = "VRAD-???"  # velocity of the radio convention, for wcslib to find out how
REST = ("RESTFRQ", "RESTFREQ")
CARDS = ("BUNIT", "BMAJ", "BMIN", "BPA", "OBJECT")


@dataclass(frozen=True)
class Geometry:
    """Where the cells of a cube are. `shape` is x, y, channel; `spectral` the channels' axis in the file.

    `velocities` are those of the channels' middles and `widths` (above 0) of the channels. `cards` are those
    of a header of three axes that tell all of it.
    """

    shape: tuple[int, int, int]
    spectral: int
    celestial: WCS
    velocities: Floats
    widths: Floats
    beam_deg: tuple[float, float, float]
    target: str
    cards: fits.Header

    @property
    def pixel_area(self) -> float:
        """Solid angle of a pixel in deg2."""
        return float(np.prod(proj_plane_pixel_scales(self.celestial)))

    @property
    def beam_pixels(self) -> float:
        """Pixels that the beam's solid angle covers: Jy/beam summed over pixels, divided by it, is Jy."""
        major, minor, _ = self.beam_deg
        return float(FWHM_AREA * major * minor / self.pixel_area)

    @property
    def ends_kms(self) -> tuple[float, float]:
        """Lowest and highest velocity of a channel."""
        return float(self.velocities.min()), float(self.velocities.max())

    def velocity(self, channel: Floats) -> Floats:
        """Give velocities in km/s of channels counted from 0, and of places between them."""
        return np.interp(channel, np.arange(len(self.velocities)), self.velocities)

    def position(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Give right ascension and declination in deg of pixels counted from 0."""
        return to_icrs(self.celestial, x, y)


def geometry_of(header: fits.Header, shape: tuple[int, ...], where: str) -> Geometry:
    """Give the geometry that a header tells; PayloadError names everything in it that cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header)
    except ValueError as error:
        raise PayloadError(f"{where}: its axes cannot be understood: {error}") from error
    _refuse(where, [*_axis_problems(wcs, shape), *_unit_problems(header)])
    spectral = int(wcs.wcs.spec)
    if not any(key in header for key in REST):
        wcs.wcs.restfrq = HI_REST_HZ
    celestial, beam = wcs.celestial, tuple(float(header.get(k, 0.0)) for k in ("BMAJ", "BMIN", "BPA"))
    edges, problem = _edges(wcs, shape[spectral])
    _refuse(where, [p for p in (problem, _beam_problem(celestial, beam[0], shape)) if p])
    cards = wcs.sub([1, 2, spectral + 1]).to_header()
    cards.update({k: header[k] for k in CARDS if k in header})
    return Geometry(
        shape=(shape[0], shape[1], shape[spectral]),
        spectral=spectral,
        celestial=celestial,
        velocities=edges[1::2],
        widths=np.abs(np.diff(edges[::2])),
        beam_deg=(beam[0], beam[1], beam[2]),
        target=str(header.get("OBJECT", "")).strip() or "unknown",
        cards=cards,
    )


def _refuse(where: str, problems: list[str]) -> None:
    if problems:
        raise PayloadError("\n".join(f"{where}: {p}" for p in problems))


def _axis_problems(wcs: WCS, shape: tuple[int, ...]) -> Iterator[str]:
    kinds, spectral = list(wcs.wcs.ctype), int(wcs.wcs.spec)
    if len(kinds) != len(shape):
        yield f"it describes {len(kinds)} axes and has {len(shape)}"
    if (wcs.wcs.lng, wcs.wcs.lat) != (0, 1) or not (kinds[0].startswith("RA") and kinds[1].startswith("DEC")):
        yield f"CTYPE1, CTYPE2 = {', '.join(map(repr, kinds[:2]))}: allowed RA and DEC, in degrees"
    elif problem := frame_problem(wcs.celestial):
        yield problem
    if not 1 < spectral < len(shape):
        yield (
            f"CTYPE3 and on = {', '.join(map(repr, kinds[2:])) or None}: allowed is one of VRAD, FREQ, VOPT "
            "and others that make a velocity"
        )
    elif others := [n for axis, n in enumerate(shape) if axis not in (0, 1, spectral) and n != 1]:
        yield f"axes beside those of sky and spectrum have lengths {others}: allowed 1"


def _unit_problems(header: fits.Header) -> Iterator[str]:
    if not _is_jansky(header.get("BUNIT")):
        yield f"BUNIT = {header.get('BUNIT')!r}: allowed Jy/beam"
    wanted: Mapping[str, str] = {"BMAJ": "deg", "BMIN": "deg", **{k: "Hz" for k in REST if k in header}}
    for key, unit in wanted.items():
        if not _is_positive(header.get(key)):
            yield f"{key} = {header.get(key)!r}: allowed a number above 0, in {unit}"


def _beam_problem(celestial: WCS, major_deg: float, shape: tuple[int, ...]) -> str:
    side = float(max(proj_plane_pixel_scales(celestial) * shape[:2]))
    told = f"BMAJ = {major_deg:g}: allowed at most {side:g}, the side of the map in deg"
    return told if major_deg > side else ""


def _edges(wcs: WCS, channels: int) -> tuple[Floats, str]:
    """Give velocities in km/s of each channel's beginning and middle, and of the end of the last.

    And a problem when there is one.
    """
    allowed = "allowed is an axis that wcslib makes a velocity"
    spectral = wcs.sub([int(wcs.wcs.spec) + 1])
    try:
        spectral.wcs.sptr(RADIO)
        places = np.arange(2 * channels + 1) / 2 - 0.5
        edges = np.asarray(spectral.wcs_pix2world(places[:, None], 0), dtype=float)[:, 0] / 1000.0
    except ValueError as error:
        return np.zeros(0), f"its channels have no velocity: {error}: {allowed}"
    steps = np.diff(edges)
    if not np.isfinite(edges).all() or not ((steps > 0).all() or (steps < 0).all()):
        ends = f"{edges[1]:g} to {edges[-2]:g} km/s"
        return edges, f"its channels' velocities, {ends}, do not rise or fall throughout: {allowed}"
    return edges, ""


def _is_jansky(unit: Any) -> bool:
    return str(unit or "").replace(" ", "").lower() in ("jy/beam", "jybeam-1", "beam-1jy", "jy.beam-1")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf
