"""The square sky map around a target, in gnomonic projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from . import reading, sky
from .detector import Floats

KEYS = {
    "target_ra_deg": reading.number(0, 360, "deg"),
    "target_dec_deg": reading.number(-90, 90, "deg"),
    "on_radius_deg": reading.number(0.01, 2, "deg"),
    "map_width_deg": reading.number(0.1, 20, "deg"),
    "map_bin_deg": reading.number(0.001, 1, "deg"),
    "energy_range_tev": reading.rising("[low, high] in TeV", 2, low=1e-4),
    "bins_per_decade": reading.integer(1, 50),
}


@dataclass(frozen=True)
class Geometry:
    """Centre and on region in deg (ICRS), and a map of `pixels` by `pixels` of `pixel_deg`."""

    ra: float
    dec: float
    on_radius: float
    pixels: int
    pixel_deg: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Geometry:
        pixels = max(1, round(config["map_width_deg"] / config["map_bin_deg"]))
        names = ("target_ra_deg", "target_dec_deg", "on_radius_deg", "map_bin_deg")
        ra, dec, radius, pixel = (float(config[n]) for n in names)
        return cls(ra, dec, radius, pixels, pixel)

    @property
    def axis(self) -> Floats:
        """Pixel centres in deg from the map's centre, rising."""
        return (np.arange(self.pixels) - (self.pixels - 1) / 2) * self.pixel_deg

    @property
    def edges(self) -> Floats:
        return (np.arange(self.pixels + 1) - self.pixels / 2) * self.pixel_deg

    @property
    def offsets(self) -> Floats:
        """Distance of each pixel from the centre in deg, shape (pixels, pixels)."""
        return np.hypot(*np.meshgrid(self.axis, self.axis))

    @property
    def cards(self) -> dict[str, tuple[Any, str]]:
        """Describe the projection as FITS does: right ascension rises to the left."""
        centre = self.pixels / 2 + 0.5
        return {
            "CTYPE1": ("RA---TAN", "gnomonic projection"),
            "CTYPE2": ("DEC--TAN", "gnomonic projection"),
            "CUNIT1": ("deg", ""),
            "CUNIT2": ("deg", ""),
            "CRVAL1": (self.ra, "[deg] right ascension of the target"),
            "CRVAL2": (self.dec, "[deg] declination of the target"),
            "CRPIX1": (centre, "pixel of the target"),
            "CRPIX2": (centre, "pixel of the target"),
            "CDELT1": (-self.pixel_deg, "[deg] pixel"),
            "CDELT2": (self.pixel_deg, "[deg] pixel"),
            "RADESYS": ("ICRS", "frame of directions"),
        }

    def histogram(self, ra: Floats, dec: Floats) -> Floats:
        """Count directions (deg) in pixels, rows along declination."""
        east, north = sky.to_plane(ra, dec, self.ra, self.dec)
        counts, _, _ = np.histogram2d(north, -east, bins=(self.edges, self.edges))
        return np.asarray(counts)

    def distance_from(self, ra: float, dec: float) -> Floats:
        """Angle in deg of each pixel from a direction."""
        west, north = np.meshgrid(self.axis, self.axis)
        pixel_ra, pixel_dec = sky.from_plane(-west, north, self.ra, self.dec)
        return sky.separations(pixel_ra, pixel_dec, ra, dec)


def geometry_of(header: fits.Header) -> Geometry:
    """Read back what `cards` wrote, and ONRADIUS."""
    keys = ("CRVAL1", "CRVAL2", "ONRADIUS", "NAXIS1", "CDELT2")
    ra, dec, radius, pixels, pixel = (header[key] for key in keys)
    return Geometry(float(ra), float(dec), float(radius), int(pixels), float(pixel))
