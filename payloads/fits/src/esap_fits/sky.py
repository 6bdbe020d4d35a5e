"""Places, times and directions: where the sites are, seconds of the data's clock, and the tangent plane.

The clock counts seconds of Terrestrial Time since J2000.0, as the headers say (MJDREFI, MJDREFF).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.time import Time

from .detector import Floats

TIME_KEYWORDS = {
    "MJDREFI": (51544, "[d] reference time, integer part"),
    "MJDREFF": (0.5, "[d] reference time, fraction"),
    "TIMEUNIT": ("s", "unit of times"),
    "TIMESYS": ("TT", "time scale"),
    "TIMEREF": ("LOCAL", "times are not corrected for light travel"),
}
REFERENCE = Time(51544, 0.5, format="mjd", scale="tt")


@dataclass(frozen=True)
class Place:
    """East longitude and latitude in deg, height in m."""

    longitude: float
    latitude: float
    height: float

    @property
    def keywords(self) -> dict[str, tuple[float, str]]:
        return {
            "GEOLON": (self.longitude, "[deg] longitude of the site"),
            "GEOLAT": (self.latitude, "[deg] latitude of the site"),
            "ALTITUDE": (self.height, "[m] height of the site"),
        }


SITES = {"LaPalma": Place(-17.8920, 28.7622, 2147.0), "Paranal": Place(-70.3166, -24.6834, 2150.0)}


def seconds(utc: str) -> float:
    """Give the clock's seconds of a UTC time in ISO 8601."""
    return float((Time(utc, scale="utc") - REFERENCE).sec)


def utc(clock: float) -> str:
    """Give the UTC time in ISO 8601 of the clock's seconds, to the millisecond."""
    from astropy.time import TimeDelta

    return str((REFERENCE + TimeDelta(clock, format="sec")).utc.isot)


def to_plane(ra: Floats, dec: Floats, ra_pnt: float, dec_pnt: float) -> tuple[Floats, Floats]:
    """Project directions within 90 deg of the pointing on its tangent plane: deg towards east and north."""
    delta, here, there = np.radians(ra - ra_pnt), np.radians(dec_pnt), np.radians(dec)
    depth = np.sin(here) * np.sin(there) + np.cos(here) * np.cos(there) * np.cos(delta)
    east = np.cos(there) * np.sin(delta) / depth
    north = (np.cos(here) * np.sin(there) - np.sin(here) * np.cos(there) * np.cos(delta)) / depth
    return np.degrees(east), np.degrees(north)


def from_plane(east: Floats, north: Floats, ra_pnt: float, dec_pnt: float) -> tuple[Floats, Floats]:
    """Give right ascension (0 to 360) and declination in deg of places in the tangent plane."""
    x, y, here = np.radians(east), np.radians(north), np.radians(dec_pnt)
    depth = np.cos(here) - y * np.sin(here)
    ra = (ra_pnt + np.degrees(np.arctan2(x, depth))) % 360
    dec = np.degrees(np.arctan2(np.sin(here) + y * np.cos(here), np.hypot(x, depth)))
    return ra, dec


def separation(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Give the angle in deg between two directions."""
    return float(separations(np.asarray(ra1), np.asarray(dec1), ra2, dec2))


def separations(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Floats:
    """Give the angles in deg of directions from one."""
    delta, a, b = np.radians(ra - ra0), np.radians(dec), np.radians(dec0)
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(delta / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))))
