"""Places in the sky, always as ICRS in deg, whatever frame a header is in (RADESYS, EQUINOX)."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from .arrays import Floats

SYSTEM = "ICRS"


def frame_problem(wcs: WCS) -> str:
    """Say why places of two axes of the sky cannot be made ICRS; "" when they can."""
    try:
        wcs_to_celestial_frame(wcs)
    except ValueError:
        return f"RADESYS = {wcs.wcs.radesys!r}: allowed ICRS, FK5, FK4 and FK4-NO-E"
    return ""


def to_icrs(wcs: WCS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Give right ascension and declination of pixels counted from 0."""
    first, second = wcs.wcs_pix2world(x, y, 0)
    place = SkyCoord(first, second, unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
    return np.asarray(place.ra.deg, dtype=float), np.asarray(place.dec.deg, dtype=float)


def to_pixels(wcs: WCS, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Give the pixels, counted from 0, of right ascensions and declinations."""
    place = SkyCoord(ra, dec, unit="deg", frame="icrs").transform_to(wcs_to_celestial_frame(wcs))
    x, y = wcs.wcs_world2pix(place.spherical.lon.deg, place.spherical.lat.deg, 0)
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float)
